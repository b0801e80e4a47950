"""A box of cells <-> the stored objects that hold them: what one task does. Plain NumPy, no Dask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import google_crc32c
import numpy as np
import numpy.typing as npt

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box, ChunkProjection
from daskzarr.errors import CodecError, MissingChunkError, raise_from
from daskzarr.receipt import Outcome, Receipt
from daskzarr.shard_io import decode_part_of_shard, forget_index, read_part_of_shard, reads_less
from daskzarr.stores import RangeStore, ReadIntoStore
from daskzarr.stores.retries import get_many, persist

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
    data = persist(handle.store.get, key)
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
    size = persist(cast(ReadIntoStore, handle.store).read_into, key, chunk.reshape(-1).view(np.uint8).data)
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
    values = get_many(handle.store, keys)
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
        store = cast(RangeStore, handle.store)
        if not persist(read_part_of_shard, store, key, pipeline, part.chunk_slices, cells):
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


@dataclass(frozen=True, slots=True)
class Terms:
    """How a write's tasks write.

    Parameters
    ----------
    digests
        Whether receipts say the CRC-32C of what was stored.
    only
        The objects to write, by index; others are left as they are. None: all.
    collect
        Whether an object that cannot be written is named in the outcome, and the others are; otherwise it is an error.
    """

    digests: bool = False
    only: frozenset[tuple[int, ...]] | None = None
    collect: bool = False


PLAIN = Terms()


def write_box(handle: ArrayHandle, box: Box, block: Array, terms: Terms = PLAIN) -> Outcome:
    """Store the cells of a box, each stored object with one request; says what became of each.

    An object the box covers whole, padding beyond the array's edge aside, is not read; the other cells of one it covers
    in part are read and kept: that no other task writes it meanwhile is the planner's to ensure. A chunk of nothing but
    fill is not stored, and what is there of it goes, unless the handle says otherwise. Doing it again changes nothing.
    """
    block = conform(handle, box, block)
    grid = handle.grid
    index = grid.single(box)
    if index is not None:
        if terms.only is not None and index not in terms.only:
            return Outcome()
        if not terms.collect:
            return Outcome([_write_chunk(handle, index, block, terms)])
    receipts, failures = [], []
    for part in grid.project(box):
        if terms.only is not None and part.chunk not in terms.only:
            continue
        try:
            receipts.append(_write_chunk(handle, part.chunk, _merged(handle, part, block[part.out_slices]), terms))
        except Exception as error:
            if not terms.collect:
                raise
            failures.append((handle.key(part.chunk)[handle.lead :], f"{type(error).__name__}: {error}"))
    return Outcome(receipts, tuple(failures))


def write_pieces(handle: ArrayHandle, box: Box, pieces: Sequence[tuple[Box, Array]], terms: Terms) -> Outcome:
    """Store the objects of a box that several blocks have cells in; where those are not all its cells, the others stay.

    Pieces are in the dtype that is stored, and have no cell in common.
    """
    if sum(part.size for _, part in pieces) == math.prod(box.shape):
        cells = np.empty(box.shape, handle.dtype)
    else:
        cells = read_box(handle, box)
    for where, part in pieces:
        cells[tuple(slice(a - o, b - o) for a, b, o in zip(*where, box.start, strict=True))] = part
    return write_box(handle, box, cells, terms)


def _merged(handle: ArrayHandle, part: ChunkProjection, cells: Array) -> Array:
    """The cells of a chunk: those given, and around them what is stored."""
    if part.whole:
        return cells
    found = read_box(handle, handle.grid.box(part.chunk))
    found[part.chunk_slices] = cells
    return found


def copy_box(source: ArrayHandle, target: ArrayHandle, box: Box) -> list[Receipt]:
    """Copy the stored chunks of a box as they are to an array of the same grid and codecs."""
    chunks = [part.chunk for part in source.grid.project(box)]
    keys = [source.key(chunk) for chunk in chunks]
    values = get_many(source.store, keys)
    receipts = []
    for chunk, key in zip(chunks, keys, strict=True):
        started = perf_counter()
        try:
            data = next(values)
        except Exception as error:
            raise_from(source.failure("reading a chunk", error, key), error)
        if data is None:
            continue
        goal = target.key(chunk)
        try:
            persist(target.writer.set, goal, data)
        except Exception as error:
            raise_from(target.failure("writing a chunk", error, goal), error)
        finally:
            forget_index(target.store, goal)
        receipts.append(Receipt(goal[target.lead :], len(data), 0, perf_counter() - started))
    return receipts


def conform(handle: ArrayHandle, box: Box, given: Any) -> Array:
    """A block as the metadata promised it, in the dtype that is stored, with all axes of the stored array."""
    block: Array = np.asarray(given)
    if block.shape == box.shape and block.dtype == handle.dtype:
        return block
    if block.ndim < len(box.shape) and _without_ones(block.shape) == _without_ones(box.shape):
        block = block.reshape(box.shape)  # an integer in the region took an axis away
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


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    """The lengths of a shape other than 1."""
    return [n for n in shape if n != 1]


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


def _write_chunk(handle: ArrayHandle, index: tuple[int, ...], cells: Array, terms: Terms) -> Receipt:
    """Store one chunk, padded with fill to its full shape."""
    started = perf_counter()
    key = handle.key(index)
    store = handle.writer
    try:
        pipeline = handle.pipeline_at(index)
        if handle.leaves_out and handle.fill.covers(cells):
            persist(store.delete, key)
            return Receipt(key[handle.lead :], 0, None, perf_counter() - started)
        if cells.shape != pipeline.spec.shape and not pipeline.truncates:
            padded = handle.fill.array(pipeline.spec.shape)
            padded[tuple(map(slice, cells.shape))] = cells
            cells = padded
        data = pipeline.encode(cells)
        persist(store.set, key, data)
    except Exception as error:
        raise_from(handle.failure("writing a chunk", error, key), error)
    finally:
        if handle.pipeline.shard is not None:
            forget_index(store, key)
    digest = google_crc32c.value(data if type(data) is bytes else bytes(data)) if terms.digests else 0
    return Receipt(key[handle.lead :], len(data), digest, perf_counter() - started)
