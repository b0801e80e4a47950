"""The verb from_zarr: the place of a stored array -> a dask array that reads it lazily."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dask
import dask.array as da
from dask.array.core import PerformanceWarning, normalize_chunks
from dask.utils import parse_bytes

from daskzarr.array_handle import ArrayHandle, Missing
from daskzarr.block_grid import BlockGrid, RegularCuts, cuts, grid_cuts, grow_blocks
from daskzarr.chunk_grid import RegularGrid
from daskzarr.configured import traffic_to
from daskzarr.errors import MetadataError
from daskzarr.graph.generation import generation_of
from daskzarr.graph.read import read_array
from daskzarr.hierarchy import StoredArray, expect_array, open_array, read_node
from daskzarr.metadata import ZarrFormat
from daskzarr.stores import locate
from daskzarr.synonyms import one_of
from daskzarr.warning import warn

_MANY_BLOCKS = 5_000
_TINY_BLOCK = 2**20
_PARALLEL_BLOCKS = 32
_LEAST_SPLIT = 8 * 2**20
_MOST_BLOCKS = 2**20


def from_zarr(
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    chunks: Any = None,
    name: str | None = None,
    inline_array: bool = True,
    *,
    missing: Missing = "fill",
    allow_pickle: bool = False,
    consolidated: bool | None = None,
    zarr_format: ZarrFormat | None = None,
    zarr_version: ZarrFormat | None = None,
    path: str | None = None,
) -> da.Array:
    """Open a stored array as a dask array. One document is read; chunks are, when something is computed.

    A drop-in for ``dask.array.from_zarr``.

    Parameters
    ----------
    url
        Path, URL (chained ones too), ``os.PathLike``, mapping, store, opened array, or array of zarr-python.
    component, path
        Path of the array below ``url``. Default: ``url`` is the array.
    storage_options
        For fsspec, with a URL.
    chunks
        How the dask array is cut. Default None: one block a stored chunk. ``"auto"``: blocks of many whole stored
        chunks, near but not above Dask's ``array.chunk-size``, and smaller (down to 8 MiB) where there would be
        fewer than 32 of them, so that all workers have something to do; each is read by one task. Any other value
        is as for ``dask.array.from_array``, in cells; ``"auto"`` may stand for single axes too. A block that cuts
        stored chunks is read right, but its chunks are decoded for each block that needs them.
    name
        Key name of the array. Default: made from where and what is read, so that equal reads are equal.
    inline_array
        Accepted for Dask's sake. A task carries a handle of a few hundred bytes, always.
    missing
        ``"fill"`` (default, the format's rule): an absent chunk reads as the fill value; ``"error"``: as a
        :class:`MissingChunkError`, also one left out because it held nothing but fill. A chunk that cannot be read
        is an error in any case.
    allow_pickle
        Whether Python objects that were pickled (Zarr v2 only) may be loaded, which runs whatever code they hold.
        Default False: such an array is refused.
    consolidated
        Whether the consolidated metadata of the group at ``url`` are read in the place of the array's own document.
        Default None, and False: they are not, as that takes no request more.
    zarr_format, zarr_version
        2, 3 or "n5". Default None: v3 is looked for first, then v2, then N5; naming it saves requests.

    Returns
    -------
    dask.array.Array
        Of the stored shape, with a dtype of native byte order. Slices of it read only what they need.

    Raises
    ------
    NodeNotFoundError
        If there is no array.
    MetadataError, UnknownCodecError, UnsupportedError
        If its document breaks the rules of the format, or asks for what is not supported.

    Warns
    -----
    PerformanceWarning
        If there are thousands of blocks below 1 MiB; it names the ``chunks=`` to use.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import to_zarr
    >>> to_zarr(da.arange(6, chunks=2), store := {})
    >>> from_zarr(store, chunks="auto")[1:4].compute()
    array([1, 2, 3])
    """
    component = one_of("component", component, "path", path)
    zarr_format = one_of("zarr_format", zarr_format, "zarr_version", zarr_version)
    if missing not in ("fill", "error"):
        raise MetadataError(f"missing is {missing!r}; it can be 'fill' or 'error'", field="missing")
    array = stored_array(url, component, storage_options, zarr_format, consolidated)
    traffic = traffic_to(array.location.store)
    handle = ArrayHandle.of(array, missing=missing, allow_pickle=allow_pickle, traffic=traffic)
    blocks = _blocks(array, chunks)
    if name is None:
        location = array.location
        generation = generation_of(location.store.url, location.path)
        token = dask.base.tokenize(handle.token, repr(blocks), generation)
        name = f"daskzarr-read-{token}"
    return read_array(handle, blocks, name)


def stored_array(
    url: Any, component: str | None, options: Any, zarr_format: ZarrFormat | None, consolidated: bool | None
) -> StoredArray:
    """The array, with as few requests as its format allows."""
    if consolidated:
        return open_array(url, component, storage_options=options, zarr_format=zarr_format, consolidated=True)
    if isinstance(url, StoredArray) and component is None:
        return url
    return expect_array(read_node(locate(url, component, options), zarr_format, attributes=False))


def _blocks(array: StoredArray, chunks: Any) -> BlockGrid:
    """How the dask array is cut."""
    shape, grid = array.shape, array.metadata.chunk_grid
    if chunks is None:
        blocks = BlockGrid(grid_cuts(grid, (0,) * len(shape), shape, _one_by_one(array)))
        _warn_of_tiny_blocks(array, blocks)
        return blocks
    if isinstance(chunks, str) and chunks == "auto":
        return BlockGrid(grid_cuts(grid, (0,) * len(shape), shape, auto_chunks(array)))
    elif not isinstance(chunks, (int, float, str)) and "auto" in (
        chunks.values() if isinstance(chunks, dict) else chunks
    ):
        chunks = _fill_in_auto(chunks, array)
    previous = tuple((c,) for c in grid.chunk_shape)
    try:
        lengths = normalize_chunks(chunks, shape, dtype=array.dtype, previous_chunks=previous)
    except ZeroDivisionError:
        raise MetadataError(f"chunks is {chunks!r}; blocks have at least one cell", field="chunks") from None
    return BlockGrid(tuple(cuts(0, axis) for axis in lengths))


def _one_by_one(array: StoredArray) -> tuple[int, ...]:
    """Lengths that make a block of each stored chunk, save on axes so long that Dask could not list their blocks."""
    grid = array.metadata.chunk_grid
    if isinstance(grid, RegularGrid):
        return tuple(c * _times(n, c) for n, c in zip(array.shape, grid.chunk_shape, strict=True))
    return tuple(1 if axis.count <= _MOST_BLOCKS else -(-axis.size // _MOST_BLOCKS) for axis in grid.axes)


def _times(length: int, step: int) -> int:
    """How many steps make a block: one, save on axes so long that Dask could not list their blocks."""
    return -(-length // (step * _MOST_BLOCKS)) or 1


def auto_chunks(array: StoredArray) -> tuple[int, ...]:
    """The block shape that ``chunks="auto"`` stands for."""
    itemsize = array.dtype.itemsize
    limit = parse_bytes(dask.config.get("array.chunk-size"))
    total = math.prod(array.shape) * itemsize
    wanted = min(limit, max(total // _PARALLEL_BLOCKS, _LEAST_SPLIT))
    shape = grow_blocks(array.shape, array.metadata.chunk_grid.chunk_shape, wanted // itemsize)
    lengths = (n * _times(length, n) for n, length in zip(shape, array.shape, strict=True))
    return tuple(max(min(n, length), 1) for n, length in zip(lengths, array.shape, strict=True))


def _fill_in_auto(chunks: Any, array: StoredArray) -> tuple[Any, ...]:
    """Chunks with ``"auto"`` for some axes: those grow in whole stored chunks, beside what the others are."""
    given = [chunks.get(i) for i in range(array.ndim)] if isinstance(chunks, dict) else list(chunks)
    if len(given) != array.ndim:
        raise MetadataError(f"chunks is {chunks!r} for an array of {array.ndim} axes", field="chunks")
    open_axes = [i for i, part in enumerate(given) if isinstance(part, str) and part == "auto"]
    fixed = math.prod(
        array.shape[i] if part in (None, -1) else part if isinstance(part, int) else max(part)
        for i, part in enumerate(given)
        if i not in open_axes
    )
    cells = parse_bytes(dask.config.get("array.chunk-size")) // array.dtype.itemsize // max(fixed, 1)
    stored = array.metadata.chunk_grid.chunk_shape
    grown = grow_blocks([array.shape[i] for i in open_axes], [stored[i] for i in open_axes], cells)
    cut = grid_cuts(array.metadata.chunk_grid, (0,) * array.ndim, array.shape, _spread(grown, open_axes, array.ndim))
    for axis, length in zip(open_axes, grown, strict=True):
        regular = isinstance(cut[axis], RegularCuts)
        given[axis] = max(min(length, array.shape[axis]), 1) if regular else cut[axis].lengths
    return tuple(-1 if part is None else part for part in given)


def _spread(lengths: tuple[int, ...], axes: list[int], ndim: int) -> tuple[int, ...]:
    """Lengths for some axes as lengths for all; those of the others do not matter."""
    found = dict(zip(axes, lengths, strict=True))
    return tuple(found.get(axis, 1) for axis in range(ndim))


def _warn_of_tiny_blocks(array: StoredArray, blocks: BlockGrid) -> None:
    """Thousands of tasks with little to do: each costs Dask more than the reading."""
    stored = array.metadata.chunk_grid.chunk_shape
    nbytes = math.prod(stored) * array.dtype.itemsize
    if blocks.block_count < _MANY_BLOCKS or nbytes >= _TINY_BLOCK:
        return
    better = auto_chunks(array)
    if math.prod(better) <= math.prod(stored):
        return
    warn(
        f"{blocks.block_count} blocks of {nbytes / 2**10:.3g} KiB make as many tasks, each of which costs Dask more "
        f'than reading it; pass chunks="auto" (here chunks={better}) to read many stored chunks with one task',
        PerformanceWarning,
    )
