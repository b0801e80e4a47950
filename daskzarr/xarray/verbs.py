"""The verbs open_zarr and open_mfdataset: places -> a dataset of xarray, by the engine of this package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import fsspec
import xarray
from xarray import Dataset

from daskzarr.errors import MetadataError, NodeNotFoundError
from daskzarr.metadata import ZarrFormat
from daskzarr.stores.beside import ENDING
from daskzarr.xarray.engine import DaskzarrBackendEntrypoint
from daskzarr.xarray.opening import normal_place


def open_zarr(
    store: Any,
    group: str | None = None,
    chunks: Any = "default",
    decode_cf: bool = True,
    mask_and_scale: Any = None,
    decode_times: Any = None,
    concat_characters: Any = None,
    decode_coords: Any = None,
    drop_variables: str | Iterable[str] | None = None,
    consolidated: bool | None = None,
    overwrite_encoded_chunks: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    decode_timedelta: Any = None,
    use_cftime: bool | None = None,
    zarr_format: ZarrFormat | None = None,
    use_zarr_fill_value_as_mask: bool | None = None,
    chunked_array_type: str | None = None,
    from_array_kwargs: dict[str, Any] | None = None,
    create_default_indexes: bool = True,
) -> Dataset:
    """Open a stored group as a dataset of dask arrays: ``xarray.open_zarr`` without zarr-python.

    Parameters
    ----------
    store
        Path, URL, ``os.PathLike``, mapping or store.
    group
        Path of the group below it. Default: the top.
    chunks
        How dask arrays are cut: ``"auto"`` as for :func:`daskzarr.from_zarr`, a length for all axes, or lengths by
        dimension. Default, and ``{}``: one block a stored object (a chunk, or a shard of many). ``None``: no dask
        arrays; cells are read when they are asked for.
    decode_cf, mask_and_scale, decode_times, concat_characters, decode_coords, drop_variables
        As for ``xarray.open_dataset``. An array that is dropped may be damaged.
    decode_timedelta, use_cftime, chunked_array_type, from_array_kwargs, create_default_indexes
        As for ``xarray.open_dataset``.
    consolidated
        None (default): consolidated metadata are read if there are any, else the documents one by one, with a
        warning. True: they have to be there. False: they are not looked for.
    overwrite_encoded_chunks
        Whether ``encoding["chunks"]`` is left out. Default False.
    storage_options, zarr_format
        As for :func:`daskzarr.open_group`.
    use_zarr_fill_value_as_mask
        Whether cells that hold an array's fill value are missing. Default None: in Zarr v2 they are, in Zarr v3 those
        that the attribute ``_FillValue`` names.
    Returns
    -------
    xarray.Dataset

    Raises
    ------
    NodeNotFoundError
        If there is no group.
    MetadataError
        If there are no consolidated metadata and they have to be there, or an array has no names of dimensions.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> store = {}
    >>> _ = create_array(store, "a", shape=(4,), chunks=(2,), dtype="i4", dimension_names=["x"])
    >>> open_zarr(store, consolidated=False)["a"].chunks
    ((2, 2),)
    """
    decoders = {
        "mask_and_scale": mask_and_scale,
        "decode_times": decode_times,
        "concat_characters": concat_characters,
        "decode_coords": decode_coords,
        "decode_timedelta": decode_timedelta,
        "use_cftime": use_cftime,
    }
    where: dict[str, Any] = {
        "group": group,
        "drop_variables": drop_variables,
        "consolidated": consolidated,
        "storage_options": storage_options,
        "zarr_format": zarr_format,
        "use_zarr_fill_value_as_mask": use_zarr_fill_value_as_mask,
    }
    if isinstance(chunks, str) and chunks == "default":
        chunks = {}
    if chunks is None or chunked_array_type not in (None, "dask") or from_array_kwargs:
        return xarray.open_dataset(
            normal_place(store),
            engine=DaskzarrBackendEntrypoint,
            chunks=chunks,
            decode_cf=decode_cf,
            create_default_indexes=create_default_indexes,
            overwrite_encoded_chunks=overwrite_encoded_chunks,
            chunked_array_type=chunked_array_type,
            from_array_kwargs=from_array_kwargs or {},
            **decoders,
            **where,
        )
    chosen: dict[str, Any] = {
        name: value if decode_cf else False for name, value in decoders.items() if value is not None or not decode_cf
    }
    found = DaskzarrBackendEntrypoint().open_dataset(store, blocks=chunks, **chosen, **where)
    if isinstance(chunks, Mapping) and (unknown := [dim for dim in chunks if dim not in found.sizes]):
        raise MetadataError(f"there are no dimensions {unknown} to be cut, only {list(found.sizes)}", field="chunks")
    if create_default_indexes:
        labels = {name: each.variable for name, each in found.coords.items() if each.dims == (name,)}
        found = found.assign_coords(xarray.Coordinates(labels))
    for variable in found.variables.values() if overwrite_encoded_chunks else ():
        variable.encoding.pop("chunks", None)
    if isinstance(store, (str, os.PathLike)):
        found.encoding["source"] = str(normal_place(store))
    return found


def glob(url: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """The places that a pattern with ``*`` stands for, sorted; on this machine, or on a server by its URL.

    Raises
    ------
    NodeNotFoundError
        If there are none.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "b.zarr").mkdir(), (folder / "a.zarr").mkdir()
    (None, None)
    >>> [pathlib.Path(place).name for place in glob(f"{folder}/*.zarr")]
    ['a.zarr', 'b.zarr']
    """
    filesystem, path = fsspec.url_to_fs(normal_place(url), **(storage_options or {}))
    found = sorted(each for each in filesystem.glob(path) if not str(each).endswith(ENDING))
    if not found:
        raise NodeNotFoundError("nothing is there that this pattern stands for", url=str(url))
    return [filesystem.unstrip_protocol(each) if "://" in url else str(each) for each in found]


def open_mfdataset(
    paths: Any, *, storage_options: Mapping[str, Any] | None = None, chunks: Any = "default", **settings: Any
) -> Dataset:
    """Several stored groups as one dataset: ``xarray.open_mfdataset``, which also takes patterns of URLs.

    Parameters
    ----------
    paths
        A pattern with ``*``, or a list of places, nested as ``combine="nested"`` has it.
    storage_options
        As for :func:`daskzarr.open_group`.
    chunks
        As for :func:`open_zarr`.
    **settings
        As for ``xarray.open_mfdataset``, but no ``engine``.

    Returns
    -------
    xarray.Dataset
    """
    if "engine" in settings:
        raise MetadataError("the engine is daskzarr's; pass another one to xarray.open_mfdataset", field="engine")
    if isinstance(paths, str) and "*" in paths:
        paths = glob(paths, storage_options)
    found: Dataset = xarray.open_mfdataset(
        paths,
        engine=DaskzarrBackendEntrypoint,
        chunks={} if isinstance(chunks, str) and chunks == "default" else chunks,
        storage_options=storage_options,
        **settings,
    )
    return found
