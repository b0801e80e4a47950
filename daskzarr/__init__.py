"""Chunked arrays (Zarr v2 and v3) read, computed and written from Dask.

The data's way, one module an arrow::

    url -store-> Store -hierarchy-> documents -metadata-> ArrayMetadata -chunk_grid-> chunk indices, boxes
        -graph-> one task per block -chunk_io-> chunk key, bytes -codecs/pipeline-> NumPy block

Names are loaded when first used, so that importing one of the lower modules does not load Dask.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskzarr.create import create_array, create_group
    from daskzarr.errors import (
        AlignmentError,
        CodecError,
        DaskZarrError,
        MetadataError,
        MissingChunkError,
        NodeExistsError,
        NodeNotFoundError,
        StoreError,
        StorePermissionError,
        UnknownCodecError,
        UnsupportedError,
    )
    from daskzarr.hierarchy import StoredArray, StoredGroup, open_array, open_group
    from daskzarr.read import from_zarr
    from daskzarr.store import open_store
    from daskzarr.write import to_zarr

__version__ = "0.1.0"

_PLACES = {
    "AlignmentError": "errors",
    "CodecError": "errors",
    "DaskZarrError": "errors",
    "MetadataError": "errors",
    "MissingChunkError": "errors",
    "NodeExistsError": "errors",
    "NodeNotFoundError": "errors",
    "StoreError": "errors",
    "StorePermissionError": "errors",
    "StoredArray": "hierarchy",
    "StoredGroup": "hierarchy",
    "UnknownCodecError": "errors",
    "UnsupportedError": "errors",
    "create_array": "create",
    "create_group": "create",
    "from_zarr": "read",
    "open_array": "hierarchy",
    "open_group": "hierarchy",
    "open_store": "store",
    "to_zarr": "write",
}

__all__ = [
    "AlignmentError",
    "CodecError",
    "DaskZarrError",
    "MetadataError",
    "MissingChunkError",
    "NodeExistsError",
    "NodeNotFoundError",
    "StoreError",
    "StorePermissionError",
    "StoredArray",
    "StoredGroup",
    "UnknownCodecError",
    "UnsupportedError",
    "create_array",
    "create_group",
    "from_zarr",
    "open_array",
    "open_group",
    "open_store",
    "to_zarr",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'daskzarr' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"daskzarr.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
