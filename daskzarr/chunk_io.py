"""A box of cells <-> the stored objects that hold them: what one task does. Plain NumPy, no Dask."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box, ChunkProjection
from daskzarr.errors import CodecError, MissingChunkError, raise_from
from daskzarr.shard_io import decode_part_of_shard, forget_index, read_part_of_shard, reads_less
from daskzarr.store import RangeStore, ReadIntoStore

Array = npt.NDArray[Any]

_LARGE = 2**20  # from here on, memory fresh from the system costs more than a copy through memory at hand


def read_box(handle: ArrayHandle, box: Box) -> Array:
    """A new array with the cells of a box, from one bulk read of the chunks it touches.

    The array can be written to. A chunk that is not there reads as fill (or is an error, if the handle says so); a
    read that fails is always an error.
    """
    index = handle.grid.single(box)
    if index is not None:
        return _read_single(handle, box, index)
    out = np.empty(box.shape, handle.dtype)
    read_box_into(handle, box, out)
    return out


def _read_single(handle: ArrayHandle, box: Box, index: tuple[int, ...]) -> Array:
    """The cells of one whole chunk, in the memory it was decoded to."""
    key = handle.key(index)
    try:
        chunk = _read_raw(handle, key) if handle.reads_into else _read_chunk(handle, key, index)
    except Exception as error:
        raise_from(handle.failure("reading a chunk", error, key), error)
    shape = box.shape
    if chunk is None:
        _check_absent(handle, key)
        return handle.fill.array(shape)
    return chunk if chunk.shape == shape else chunk[tuple(map(slice, shape))]


def _read_chunk(handle: ArrayHandle, key: str, index: tuple[int, ...]) -> Array | None:
    """A chunk decoded, None when it is absent; of a shard at the edge only what is inside the array."""
    data = handle.store.get(key)
    if data is None:
        return None
    pipeline = handle.pipeline_at(index)
    shape = None if pipeline.shard is None else handle.grid.box(index).shape
    if shape is None or shape == pipeline.spec.shape:
        return pipeline.decode(data)
    cells = np.empty(shape, handle.dtype)
    decode_part_of_shard(data, pipeline, tuple(map(slice, (0,) * len(shape), shape)), cells)
    return cells


def _read_raw(handle: ArrayHandle, key: str, out: Array | None = None) -> Array | None:
    """A chunk that is stored as it lies in memory, read into ``out`` or into new memory; None when it is absent."""
    chunk = handle.pipeline.new_chunk() if out is None else out
    size = cast(ReadIntoStore, handle.store).read_into(key, chunk.reshape(-1).view(np.uint8).data)
    if size is None:
        return None
    if size != chunk.nbytes:
        raise CodecError(f"{size} bytes are stored where {chunk.nbytes} have to be: the chunk is damaged")
    return chunk


def read_box_into(handle: ArrayHandle, box: Box, out: Array) -> None:
    """Fill ``out``, of the box's shape, with its cells: chunks that lie in it whole are decoded in place."""
    pipeline = handle.pipeline
    chunk_shape = pipeline.spec.shape
    projections = list(handle.grid.project(box))
    if handle.reads_into and (pipeline.spec.nbytes > _LARGE or out[tuple(map(slice, chunk_shape))].flags.c_contiguous):
        _read_box_raw(handle, projections, [handle.key(p.chunk) for p in projections], out)
        return
    if pipeline.shard is not None:
        projections = [part for part in projections if not _read_part(handle, part, out[part.out_slices])]
    keys = [handle.key(projection.chunk) for projection in projections]
    values = iter(handle.store.get_many(keys))
    for projection, key in zip(projections, keys, strict=True):
        cells = out[projection.out_slices]
        try:
            data = next(values)
            if data is None:
                _check_absent(handle, key)
                handle.fill.into(cells)
                continue
            pipeline = handle.pipeline_at(projection.chunk)
            if cells.shape == pipeline.spec.shape:
                pipeline.decode_into(data, cells)
            elif pipeline.shard is not None:
                decode_part_of_shard(data, pipeline, projection.chunk_slices, cells)
            else:
                cells[...] = pipeline.decode(data)[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


def _read_part(handle: ArrayHandle, part: ChunkProjection, cells: Array) -> bool:
    """Read the part of a shard by its index, if that is less than the whole; returns whether it did."""
    pipeline = handle.pipeline_at(part.chunk)
    if part.whole or not reads_less(handle.store, pipeline, part.chunk_slices):
        return False
    key = handle.key(part.chunk)
    try:
        if not read_part_of_shard(cast(RangeStore, handle.store), key, pipeline, part.chunk_slices, cells):
            _check_absent(handle, key)
            handle.fill.into(cells)
    except Exception as error:
        raise_from(handle.failure("reading a part of a shard", error, key), error)
    return True


def _read_box_raw(handle: ArrayHandle, projections: list[ChunkProjection], keys: list[str], out: Array) -> None:
    """The same where chunks are stored as they lie in memory: there if their cells are one run of ``out``."""
    chunk_shape = handle.pipeline.spec.shape
    scratch = handle.pipeline.new_chunk()
    for projection, key in zip(projections, keys, strict=True):
        cells = out[projection.out_slices]
        in_place = cells.shape == chunk_shape and cells.flags.c_contiguous
        try:
            chunk = _read_raw(handle, key, cells if in_place else scratch)
            if chunk is None:
                _check_absent(handle, key)
                handle.fill.into(cells)
            elif not in_place:
                cells[...] = chunk[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


def _check_absent(handle: ArrayHandle, key: str) -> None:
    """An absent chunk reads as fill, if that is allowed."""
    if handle.missing == "error":
        raise MissingChunkError(
            'the chunk is not in the store, and missing="error" was asked for',
            url=handle.store.url,
            node=handle.path,
            chunk_key=key.removeprefix(handle.path).lstrip("/"),
        )


def write_box(handle: ArrayHandle, box: Box, block: Array) -> int:
    """Store the chunks a box owns, each with one request; returns how many bytes they take.

    The box has to cover its chunks whole, padding beyond the array's edge aside: that is the planner's to ensure. A
    chunk of nothing but fill is not stored, and what is there of it goes, unless the handle says otherwise. Doing it
    again changes nothing.
    """
    block = np.asarray(block)
    if block.shape != box.shape or block.dtype != handle.dtype:
        block = _conform(handle, box, block)
    grid = handle.grid
    index = grid.single(box)
    if index is not None:
        return _write_chunk(handle, index, block)
    return sum(_write_chunk(handle, part.chunk, block[part.out_slices]) for part in grid.project(box))


def copy_box(source: ArrayHandle, target: ArrayHandle, box: Box) -> int:
    """Copy the stored chunks of a box as they are to an array of the same grid and codecs; returns their bytes."""
    chunks = [part.chunk for part in source.grid.project(box)]
    keys = [source.key(chunk) for chunk in chunks]
    values = iter(source.store.get_many(keys))
    total = 0
    for chunk, key in zip(chunks, keys, strict=True):
        try:
            data = next(values)
        except Exception as error:
            raise_from(source.failure("reading a chunk", error, key), error)
        if data is None:
            continue
        goal = target.key(chunk)
        try:
            target.writer.set(goal, data)
        except Exception as error:
            raise_from(target.failure("writing a chunk", error, goal), error)
        finally:
            forget_index(target.store, goal)
        total += len(data)
    return total


def _conform(handle: ArrayHandle, box: Box, block: Array) -> Array:
    """A block as the metadata promised it, in the dtype that is stored."""
    if block.shape != box.shape:
        raise CodecError(
            f"a block of shape {block.shape} came where {box.shape} was promised; give the right chunks= to map_blocks",
            url=handle.store.url,
            node=handle.path,
        )
    if block.dtype == handle.dtype:
        return block
    try:
        return cast_exactly(block, handle.dtype)
    except CodecError as error:
        raise_from(error.locate(url=handle.store.url, node=handle.path), error)


def cast_exactly(cells: Array, dtype: np.dtype[Any]) -> Array:
    """Cells in another dtype, where each stays what it is; only floats may be rounded to fewer digits.

    >>> cast_exactly(np.array([1, 2]), np.dtype("i1"))
    array([1, 2], dtype=int8)
    """
    with np.errstate(all="ignore"):
        found = cells.astype(dtype)
        if dtype.hasobject or cells.dtype.hasobject or cells.dtype.names is not None:
            return found
        if cells.dtype.kind in "fc" and dtype.kind in "fc":
            changed = np.isfinite(cells) & ~np.isfinite(found)
        else:
            back = found.astype(cells.dtype)
            changed = ~((back == cells) | ((back != back) & (cells != cells)))  # not-a-time equals nothing
    if changed.any():
        first = cells[tuple(axis[0] for axis in np.nonzero(changed))] if cells.ndim else cells[()]
        raise CodecError(
            f"{np.count_nonzero(changed)} cells of {cells.dtype} do not fit {dtype}, such as {first}; store another "
            "dtype, or convert with astype first"
        )
    return found


def _write_chunk(handle: ArrayHandle, index: tuple[int, ...], cells: Array) -> int:
    """Store one chunk, padded with fill to its full shape."""
    key = handle.key(index)
    store = handle.writer
    try:
        pipeline = handle.pipeline_at(index)
        if handle.leaves_out and handle.fill.covers(cells):
            store.delete(key)
            return 0
        if cells.shape != pipeline.spec.shape and not pipeline.truncates:
            padded = handle.fill.array(pipeline.spec.shape)
            padded[tuple(map(slice, cells.shape))] = cells
            cells = padded
        data = pipeline.encode(cells)
        store.set(key, data)
    except Exception as error:
        raise_from(handle.failure("writing a chunk", error, key), error)
    finally:
        if handle.pipeline.shard is not None:
            forget_index(store, key)
    return len(data)
