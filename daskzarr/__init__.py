"""Chunked arrays (Zarr v2 and v3) read, computed and written from Dask.

The data's way, one module an arrow::

    url -store-> Store -hierarchy-> documents -metadata-> ArrayMetadata -chunk_grid-> chunk indices, boxes
        -graph-> one task per block -chunk_io-> chunk key, bytes -codecs/pipeline-> NumPy block

Names are loaded when first used, so that importing one of the lower modules does not load Dask.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskzarr.appending import append
    from daskzarr.codecs.registry import register_codec
    from daskzarr.convert import convert
    from daskzarr.create import create_array, create_group
    from daskzarr.errors import (
        AlignmentError,
        AppendError,
        CodecError,
        DaskZarrError,
        MetadataError,
        MissingChunkError,
        NodeExistsError,
        NodeNotFoundError,
        PlanLimitError,
        ResumeError,
        StoreError,
        StorePermissionError,
        UnknownCodecError,
        UnsupportedError,
        WriteFailedError,
    )
    from daskzarr.hierarchy import StoredArray, StoredGroup, open_array, open_group
    from daskzarr.install import install_dask, uninstall_dask
    from daskzarr.nodes import consolidate, copy_node, delete_node, update_attributes
    from daskzarr.read import from_zarr
    from daskzarr.rechunking import plan_rechunk, rechunk
    from daskzarr.repairing import repair
    from daskzarr.resizing import resize
    from daskzarr.stores import open_store
    from daskzarr.storing import store
    from daskzarr.verification import verify
    from daskzarr.write import plan, to_zarr

__version__ = "0.1.0"

_PLACES = {
    "AlignmentError": "errors",
    "AppendError": "errors",
    "CodecError": "errors",
    "DaskZarrError": "errors",
    "MetadataError": "errors",
    "MissingChunkError": "errors",
    "NodeExistsError": "errors",
    "NodeNotFoundError": "errors",
    "PlanLimitError": "errors",
    "ResumeError": "errors",
    "StoreError": "errors",
    "StorePermissionError": "errors",
    "StoredArray": "hierarchy",
    "StoredGroup": "hierarchy",
    "UnknownCodecError": "errors",
    "UnsupportedError": "errors",
    "WriteFailedError": "errors",
    "append": "appending",
    "consolidate": "nodes",
    "convert": "convert",
    "copy_node": "nodes",
    "create_array": "create",
    "create_group": "create",
    "delete_node": "nodes",
    "from_zarr": "read",
    "install_dask": "install",
    "open_array": "hierarchy",
    "open_group": "hierarchy",
    "open_store": "stores",
    "plan": "write",
    "plan_rechunk": "rechunking",
    "rechunk": "rechunking",
    "register_codec": "codecs.registry",
    "repair": "repairing",
    "resize": "resizing",
    "store": "storing",
    "to_zarr": "write",
    "uninstall_dask": "install",
    "update_attributes": "nodes",
    "verify": "verification",
}

__all__ = [
    "AlignmentError",
    "AppendError",
    "CodecError",
    "DaskZarrError",
    "MetadataError",
    "MissingChunkError",
    "NodeExistsError",
    "NodeNotFoundError",
    "PlanLimitError",
    "ResumeError",
    "StoreError",
    "StorePermissionError",
    "StoredArray",
    "StoredGroup",
    "UnknownCodecError",
    "UnsupportedError",
    "WriteFailedError",
    "append",
    "consolidate",
    "convert",
    "copy_node",
    "create_array",
    "create_group",
    "delete_node",
    "from_zarr",
    "install_dask",
    "open_array",
    "open_group",
    "open_store",
    "plan",
    "plan_rechunk",
    "rechunk",
    "register_codec",
    "repair",
    "resize",
    "store",
    "to_zarr",
    "uninstall_dask",
    "update_attributes",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'daskzarr' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"daskzarr.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
