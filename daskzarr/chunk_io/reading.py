"""A box of cells of a stored array -> a NumPy array, from the objects that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box, ChunkProjection
from daskzarr.errors import CodecError, MissingChunkError, raise_from
from daskzarr.shard_io import decode_part_of_shard, read_part_of_shard, reads_less
from daskzarr.stores import Buffer, RangeStore, ReadIntoStore
from daskzarr.stores.overlap import overlapped
from daskzarr.stores.retries import get_many

Array = npt.NDArray[Any]
_Result = TypeVar("_Result")

_READ_AGAIN = 3  # times an object is read again whose bytes do not decode
_LARGE = 2**17  # from here on, memory fresh from the system costs more than a copy through memory at hand


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
    with handle.traffic.gate:
        data = handle.persist(handle.store.get, key)
    if data is None:
        return None
    pipeline = handle.pipeline_at(index)
    shape = None if pipeline.shard is None else handle.grid.box(index).shape
    if shape is None or shape == pipeline.spec.shape:
        return decoded(handle, key, data, pipeline.decode)
    cells = np.empty(shape, handle.dtype)
    inside = tuple(map(slice, (0,) * len(shape), shape))
    decoded(handle, key, data, lambda data: decode_part_of_shard(data, pipeline, inside, cells))
    return cells


def decoded(handle: ArrayHandle, key: str, data: Buffer, decode: Callable[[Buffer], _Result]) -> _Result:
    """What an object's bytes decode to. Those that do not are read again: they may be damaged on their way, or torn.

    Only what comes twice the same is taken for what is stored. That holds for no bytes at all, too, which N5 takes for
    a block that is not there.
    """
    for _ in range(_READ_AGAIN):
        try:
            if len(data):
                return decode(data)
        except (CodecError, MissingChunkError):
            pass
        with handle.traffic.gate:
            again = handle.persist(handle.store.get, key)
        if again is None or again == data:
            break
        data = again
    return decode(data)


def _read_raw(handle: ArrayHandle, key: str, out: Array | None = None) -> Array | None:
    """A chunk that is stored as it lies in memory, read into ``out`` or into new memory; None when it is absent."""
    chunk = handle.pipeline.new_chunk() if out is None else out
    read_into = cast(ReadIntoStore, handle.store).read_into
    before = -1
    while True:
        with handle.traffic.gate:
            size = handle.persist(read_into, key, chunk.reshape(-1).view(np.uint8).data)
        if size is None or size == chunk.nbytes:
            return None if size is None else chunk
        if size == before:
            raise CodecError(f"{size} bytes are stored where {chunk.nbytes} have to be: the chunk is damaged")
        before = size


def read_box_into(handle: ArrayHandle, box: Box, out: Array) -> None:
    """Fill ``out``, of the box's shape, with its cells: chunks that lie in it whole are decoded in place."""
    pipeline = handle.pipeline
    chunk_shape = pipeline.spec.shape
    projections = list(handle.grid.project(box))
    if handle.reads_into and (pipeline.spec.nbytes > _LARGE or out[tuple(map(slice, chunk_shape))].flags.c_contiguous):
        _read_box_raw(handle, projections, [handle.key(p.chunk) for p in projections], out)
        return
    if pipeline.shard is not None:
        projections = _read_parts(handle, projections, out)
    keys = [handle.key(projection.chunk) for projection in projections]
    with handle.traffic.gate:
        values = get_many(handle.store, keys, handle.traffic)
        for projection, key in zip(projections, keys, strict=True):
            try:
                data = next(values)
                if data is None:
                    _check_absent(handle, key)
                    handle.fill.into(out[projection.out_slices])
                else:
                    _place(handle, projection, key, data, out[projection.out_slices])
                del data  # before the next one is read
            except Exception as error:
                raise_from(handle.failure("reading a chunk", error, key), error)


def each_part(handle: ArrayHandle, box: Box) -> Iterator[tuple[ChunkProjection, Array]]:
    """The cells of a box, chunk by chunk: each is there until the next one is asked for."""
    projections = list(handle.grid.project(box))
    keys = [handle.key(projection.chunk) for projection in projections]
    read = _each_raw if handle.reads_into else _each_decoded
    values = read(handle, projections, keys)
    with handle.traffic.gate:
        for projection, key in zip(projections, keys, strict=True):
            try:
                cells = next(values)
                if cells is None:
                    _check_absent(handle, key)
                    cells = handle.fill.array(tuple(part.stop - part.start for part in projection.out_slices))
            except Exception as error:
                raise_from(handle.failure("reading a chunk", error, key), error)
            yield projection, cells
            del cells  # before the next ones are read


def _each_raw(handle: ArrayHandle, projections: list[ChunkProjection], keys: list[str]) -> Iterator[Array | None]:
    """The same where chunks are stored as they lie in memory: one after the other in the same memory."""
    memory = handle.pipeline.new_chunk()
    for projection, key in zip(projections, keys, strict=True):
        chunk = _read_raw(handle, key, memory)
        yield None if chunk is None else chunk[projection.chunk_slices]


def _each_decoded(handle: ArrayHandle, projections: list[ChunkProjection], keys: list[str]) -> Iterator[Array | None]:
    """The same where they have to be decoded; of shards only what is asked for."""
    whole = [key for each, key in zip(projections, keys, strict=True) if not _in_parts(handle, each)]
    values = get_many(handle.store, whole, handle.traffic)
    for projection, key in zip(projections, keys, strict=True):
        pipeline = handle.pipeline_at(projection.chunk)
        shape = tuple(part.stop - part.start for part in projection.out_slices)
        if _in_parts(handle, projection):
            cells = np.empty(shape, handle.dtype)
            _read_part(handle, projection, cells)
            yield cells
            del cells
            continue
        data = next(values)
        if data is None:
            yield None
            continue
        if pipeline.shard is not None:
            cells = np.empty(shape, handle.dtype)
            _place(handle, projection, key, data, cells)
        else:
            cells = decoded(handle, key, data, pipeline.decode)[projection.chunk_slices]
        del data
        yield cells
        del cells


def _in_parts(handle: ArrayHandle, projection: ChunkProjection) -> bool:
    """Whether only a part of a shard is read for what is asked of it."""
    pipeline = handle.pipeline_at(projection.chunk)
    if pipeline.shard is None or projection.whole:
        return False
    return reads_less(handle.store, pipeline, projection.chunk_slices)


def _place(handle: ArrayHandle, projection: ChunkProjection, key: str, data: Buffer, cells: Array) -> None:
    """Decode the cells of a chunk that are asked for to where they go."""
    pipeline = handle.pipeline_at(projection.chunk)
    if cells.shape == pipeline.spec.shape:
        decoded(handle, key, data, lambda data: pipeline.decode_into(data, cells))
    elif pipeline.shard is not None:
        decoded(handle, key, data, lambda data: decode_part_of_shard(data, pipeline, projection.chunk_slices, cells))
    else:
        cells[...] = decoded(handle, key, data, pipeline.decode)[projection.chunk_slices]


def _read_parts(handle: ArrayHandle, projections: list[ChunkProjection], out: Array) -> list[ChunkProjection]:
    """Read parts of shards by their indices, where that is less than the whole; gives the shards that are left."""
    left: list[ChunkProjection] = []
    parts: list[ChunkProjection] = []
    for each in projections:
        (parts if _in_parts(handle, each) else left).append(each)
    with (
        handle.traffic.gate if parts else nullcontext(),
        overlapped(
            handle.store, lambda part: _read_part(handle, part, out[part.out_slices]), parts, handle.traffic
        ) as done,
    ):
        for _ in done:
            pass
    return left


def _read_part(handle: ArrayHandle, part: ChunkProjection, cells: Array) -> None:
    """Read the part of a shard by its index."""
    pipeline, key = handle.pipeline_at(part.chunk), handle.key(part.chunk)
    store = cast(RangeStore, handle.store)
    try:
        for attempt in range(_READ_AGAIN + 1):
            try:
                there = handle.persist(
                    read_part_of_shard, store, key, pipeline, part.chunk_slices, cells, handle.traffic
                )
                break
            except CodecError:  # damaged on its way, perhaps
                if attempt == _READ_AGAIN:
                    raise
        if not there:
            _check_absent(handle, key)
            handle.fill.into(cells)
    except Exception as error:
        raise_from(handle.failure("reading a part of a shard", error, key), error)


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
