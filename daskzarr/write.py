"""The verb to_zarr: a dask array and a place -> the array stored there, every stored chunk by one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import dask.array as da
import numpy as np
from dask.base import get_scheduler
from dask.multiprocessing import get as get_processes

from daskzarr.alignment import owned_blocks
from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, RegularCuts, cuts
from daskzarr.chunk_grid import Box
from daskzarr.create import write_new_array
from daskzarr.errors import AlignmentError, DaskZarrError, MetadataError, NodeExistsError, UnsupportedError, raise_from
from daskzarr.graph.generation import note_write
from daskzarr.graph.read import sources
from daskzarr.graph.write import Write, write_array, written_array
from daskzarr.hierarchy import StoredArray, open_array, writable
from daskzarr.metadata import ZarrFormat
from daskzarr.read import from_zarr
from daskzarr.settings import ArraySettings, FillValue, new_array_metadata
from daskzarr.store import Location, locate
from daskzarr.synonyms import one_of

_MODES = ("w-", "a", "w", "r+")


def to_zarr(
    arr: da.Array,
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    region: Any = None,
    compute: bool = True,
    return_stored: bool = False,
    mode: str = "w-",
    *,
    overwrite: bool = False,
    chunks: Sequence[Any] | int | None = None,
    shards: Sequence[int] | int | None = None,
    compressors: Any = "auto",
    compressor: Any = "auto",
    filters: Any = None,
    serializer: Any = None,
    codecs: Any = None,
    order: str = "C",
    fill_value: Any = FillValue.DEFAULT,
    dimension_names: Sequence[str | None] | None = None,
    dimension_separator: str | None = None,
    chunk_key_encoding: Any = None,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    zarr_version: ZarrFormat | None = None,
    dtype: Any = None,
    write_empty_chunks: bool = False,
    name: str | None = None,
    path: str | None = None,
) -> Write | da.Array | None:
    """Store a dask array. Reading, computing and writing a block are one task, and one task writes each stored chunk.

    A drop-in for ``dask.array.to_zarr``. The documents are written at once, before any chunk.

    Parameters
    ----------
    arr
        The array. Every block has to cover whole stored chunks, padding at the array's far edges aside.
    url
        Path, URL, ``os.PathLike``, mapping or store to make a new array in; or an opened array, or an array of
        zarr-python, to write into.
    component, path, name
        Path of the array below ``url``. Default: ``url`` is the array. Groups above it are made.
    storage_options
        For fsspec, with a URL.
    region
        Part of an array that exists: a tuple of slices (step 1), integers or ``...``. Default: all of it.
    compute
        Whether to write now. Default True. Otherwise a delayed value comes back; its ``compute()`` writes.
    return_stored
        Whether to return the stored array as a dask array. Default False.
    mode
        ``"w-"`` (default) and ``"a"``: a new array, and an error if there is a node. ``"w"``: a new array in the place
        of whatever is there. ``"r+"``: into an array that exists.
    overwrite
        The same as ``mode="w"``.
    chunks
        Shape of the stored chunks, or, with ``shards``, of the inner chunks. Default: that of Dask's blocks; where
        those differ in length, a ``rectilinear`` grid (Zarr v3) stores each as it is.
    shards
        Shape of the stored objects that hold many inner chunks each. Default None: each chunk is an object of its own.
        Every block has to cover whole shards; one task writes each with one request.
    dtype
        Data type to store, as for :func:`create_array`. Default: the array's own; objects are stored as text.
    compressors, compressor, filters, serializer, codecs, order, fill_value, dimension_names
        As for :func:`create_array`; only for a new array.
    dimension_separator, chunk_key_encoding, attributes
        As for :func:`create_array`; only for a new array.
    zarr_format, zarr_version
        3, 2 or "n5". Default 3 for a new array.
    write_empty_chunks
        Whether chunks that hold nothing but the fill value are stored. Default False: they are left out, and
        what was stored of them before is deleted.

    Returns
    -------
    None, a delayed value, or a dask array
        None with ``compute=True``; a delayed value, whose result is the number of bytes stored, without; the stored
        array with ``return_stored=True``.

    Raises
    ------
    AlignmentError
        If two blocks would write one stored chunk. It names axis and block, and the ``rechunk`` that mends it.
    NodeExistsError, NodeNotFoundError
        If there is a node where a new one goes, or none where one has to be.
    MetadataError, UnknownCodecError, UnsupportedError
        If a setting cannot be. All of these come before anything is written.
    StoreError
        If the store fails; it names store, node and chunk. What is written stays, and writing again is safe.

    Examples
    --------
    >>> import dask.array as da
    >>> to_zarr(da.arange(6, chunks=2) * 2, store := {}, dimension_names=["x"])
    >>> sorted(store)
    ['c/0', 'c/1', 'c/2', 'zarr.json']
    """
    if mode == "r":
        raise MetadataError("Cannot use mode 'r' (read-only) when writing to zarr; use 'w-', 'w' or 'r+'", field="mode")
    if mode not in _MODES:
        raise MetadataError(f"mode is {mode!r}; it can be {', '.join(map(repr, _MODES))}", field="mode")
    _check_sizes_known(arr)
    component = one_of("component", component, "path", one_of("path", path, "name", name))
    zarr_format = one_of("zarr_format", zarr_format, "zarr_version", zarr_version)
    settings = ArraySettings(
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        compressor=compressor,
        filters=filters,
        serializer=serializer,
        codecs=codecs,
        order=order,
        fill_value=fill_value,
        dimension_names=dimension_names,
        dimension_separator=dimension_separator,
        chunk_key_encoding=chunk_key_encoding,
        attributes=attributes,
    )
    location = locate(url, component, storage_options)
    try:
        existing = mode == "r+" or (component is None and _is_array(url))
        if existing:
            target, blocks = _existing_array(arr, location, region, zarr_format, settings, dtype)
        else:
            target, blocks = _new_array(
                arr, location, region, zarr_format or 3, settings, dtype, overwrite or mode == "w"
            )
        handle = ArrayHandle.of(target, write_empty_chunks=write_empty_chunks, allow_pickle=True)
        handle.pipeline.check_can_write()
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    note_write(location.store.url, location.path)
    if not compute:
        return written_array(arr, handle, blocks) if return_stored else write_array(arr, handle, blocks)
    write_array(arr, handle, blocks).compute()
    return _stored(target, blocks) if return_stored else None


def _existing_array(
    arr: da.Array,
    location: Location,
    region: Any,
    zarr_format: ZarrFormat | None,
    settings: ArraySettings,
    dtype: Any,
) -> tuple[StoredArray, BlockGrid]:
    """The array to write into, and the box of each block."""
    _check_store(arr, location)
    given = settings.chosen() + ([] if dtype is None else ["dtype"])
    if given:
        raise MetadataError(f"{', '.join(given)} can be chosen for a new array only; this one exists", field=given[0])
    target = open_array(location, zarr_format=zarr_format)
    box = _region_box(region, target, arr)
    blocks = owned_blocks(arr.chunks, box.start, target.metadata.chunk_grid)
    _refuse_own_source(arr, location, box)
    return target, blocks


def _new_array(
    arr: da.Array,
    location: Location,
    region: Any,
    zarr_format: ZarrFormat,
    settings: ArraySettings,
    dtype: Any,
    overwrite: bool,
) -> tuple[StoredArray, BlockGrid]:
    """Check everything there is to check, then write the documents of a new array."""
    _check_store(arr, location)
    if region is not None:
        raise MetadataError(
            "Cannot use region= for a new array: it says where in one that exists; pass mode='r+' or an open array",
            field="region",
        )
    chosen_chunks = settings.chunks is not None
    if not chosen_chunks:
        settings = replace(settings, chunks=_chunks_of(arr, settings, zarr_format))
    chosen = arr.dtype if dtype is None else dtype
    metadata = new_array_metadata(settings, shape=arr.shape, dtype=chosen, zarr_format=zarr_format)
    if dtype is not None:
        _check_cast(arr, metadata.data_type.dtype, location)
    try:
        blocks = owned_blocks(arr.chunks, (0,) * arr.ndim, metadata.chunk_grid)
    except AlignmentError as error:
        if zarr_format != 3 and not chosen_chunks:
            error.message += "; Zarr v3 can store blocks of different lengths as they are"
        raise
    whole = Box((0,) * arr.ndim, arr.shape)
    _refuse_own_source(arr, location, whole, below=True)
    return write_new_array(location, metadata, overwrite=overwrite), blocks


def _chunks_of(arr: da.Array, settings: ArraySettings, zarr_format: ZarrFormat) -> Any:
    """Dask's blocks as stored chunks. Blocks of different lengths need a grid that only v3 has."""
    longest = tuple(max(int(max(lengths)), 1) for lengths in arr.chunks)
    if zarr_format != 3 or settings.shards is not None:
        return longest
    axes = (cuts(0, lengths) for lengths in arr.chunks)
    return tuple(
        length if isinstance(axis, RegularCuts) or length == sum(lengths) else tuple(map(int, lengths))
        for length, axis, lengths in zip(longest, axes, arr.chunks, strict=True)
    )


def _stored(target: StoredArray, blocks: BlockGrid) -> da.Array:
    """What was written, as it is stored."""
    array = from_zarr(target, chunks=tuple(axis.lengths for axis in blocks.axes))
    start = blocks.region.start
    return array[tuple(slice(a, b) for a, b in zip(start, blocks.region.stop, strict=True))] if any(start) else array


def _is_array(place: Any) -> bool:
    """Whether a place is an array that exists: one of ours, or one of zarr-python."""
    return isinstance(place, StoredArray) or (hasattr(place, "store_path") and hasattr(place, "shape"))


def _check_sizes_known(arr: Any) -> None:
    """A stored array has to know its shape."""
    if not isinstance(arr, da.Array):
        raise MetadataError(
            f"to_zarr writes dask arrays, not a {type(arr).__name__}; wrap it with dask.array.from_array first",
            field="arr",
        )
    if any(math.isnan(n) for n in arr.shape):
        raise MetadataError(
            "the array has unknown chunk sizes, so its shape is unknown; call x.compute_chunk_sizes() first",
            field="chunks",
        )


def _region_box(region: Any, target: StoredArray, arr: da.Array) -> Box:
    """The cells of the target that the array goes to."""
    shape = target.shape
    parts = list(region) if isinstance(region, tuple) else [... if region is None else region]
    if ... in parts:
        at = parts.index(...)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    start, stop = [], []
    for axis, (part, length) in enumerate(zip(parts, shape, strict=False)):
        if isinstance(part, Integral):
            if not -length <= int(part) < length:
                raise MetadataError(f"region has {part}, and the axis {length} cells", axis=axis, field="region")
            part = slice(int(part) % max(length, 1), int(part) % max(length, 1) + 1)
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise MetadataError(
                f"region has {part!r}; it can hold slices of step 1, integers and ...", axis=axis, field="region"
            )
        first, last, _ = part.indices(length)
        start.append(first)
        stop.append(max(first, last))
    box = Box(tuple(start), tuple(stop))
    if len(parts) != len(shape) or box.shape != arr.shape:
        where = "the array" if region is None else f"the region {region!r}"
        raise MetadataError(
            f"an array of shape {arr.shape} does not fit {where}, which has shape {box.shape}",
            url=target.location.store.url,
            node=target.location.path,
            field="region",
        )
    _check_cast(arr, target.dtype, target.location)
    return box


def _check_cast(arr: da.Array, dtype: np.dtype[Any], location: Location) -> None:
    """Cells have to be of a kind that the stored dtype can take."""
    text_to_objects = dtype.hasobject and arr.dtype.kind in "OSTU"
    if not text_to_objects and not np.can_cast(arr.dtype, dtype, "same_kind"):
        raise MetadataError(
            f"cells of {arr.dtype} cannot go to an array of {dtype}; convert with astype first",
            url=location.store.url,
            node=location.path,
            field="data_type",
        )


def _check_store(arr: da.Array, location: Location) -> None:
    """The store has to be one that can be written, from wherever the tasks run."""
    if not writable(location).shared:
        _refuse_cluster(arr, location)


def _refuse_own_source(arr: da.Array, target: Location, box: Box, *, below: bool = False) -> None:
    """An array that is still to be read from the place it is to be written to would lose its cells."""
    place = _joined(target.store.url, target.path)
    for handle, region in sources(arr):
        source = _joined(handle.store.url, handle.path)
        overlap = all(a < d and c < b for a, b, c, d in zip(*region, *box, strict=False))
        if (source == place and overlap) or (below and source.startswith(place)):
            raise NodeExistsError(
                "the array to be written is read from the very place it would go to; write it elsewhere, or load it "
                "first with persist() or compute()",
                url=target.store.url,
                node=target.path,
            )


def _joined(url: str, path: str) -> str:
    """A node's place as one text that ends in a slash, however it is divided in store and path."""
    return f"{url}/{path}/" if path else f"{url}/"


def _refuse_cluster(arr: da.Array, location: Location) -> None:
    """Workers in other processes cannot write into this one's memory."""
    run = get_scheduler(collections=[arr])
    if run is get_processes or "distributed" in type(getattr(run, "__self__", None)).__module__:
        name = "multiprocessing" if run is get_processes else "distributed"
        raise UnsupportedError(
            f"a store in this process's memory cannot be written from the {name} scheduler; use a path or a URL",
            url=location.store.url,
            node=location.path,
        )
