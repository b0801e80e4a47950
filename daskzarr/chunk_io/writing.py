"""A box of cells -> the stored objects that hold them, each with one request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.checksum import crc32c
from daskzarr.chunk_grid import Box, ChunkProjection
from daskzarr.chunk_io.conforming import conform
from daskzarr.chunk_io.reading import Array, read_box
from daskzarr.errors import raise_from
from daskzarr.receipt import Outcome, Receipt
from daskzarr.shard_io import forget_index
from daskzarr.stores import Buffer, waits
from daskzarr.stores.overlap import overlapped
from daskzarr.stores.retries import get_many


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
    if index is not None and not terms.collect:
        if terms.only is not None and index not in terms.only:
            return Outcome()
        ready = _encode(handle, index, block)
        with handle.traffic.gate:
            return Outcome([_put(handle, ready, terms)])
    parts = [part for part in grid.project(box) if terms.only is None or part.chunk in terms.only]
    return _write_parts(handle, parts, block, terms)


def _write_parts(handle: ArrayHandle, parts: Sequence[ChunkProjection], block: Array, terms: Terms) -> Outcome:
    """Store several objects of a block, one encoded while others are on their way."""
    reused = handle.pipeline.as_in_memory and not waits(handle.store)  # several are under way there
    memory = handle.pipeline.new_chunk() if reused else None

    def ready() -> Iterator[_Ready | Exception]:
        for part in parts:
            try:
                yield _encode(handle, part.chunk, _merged(handle, part, block[part.out_slices]), memory)
            except Exception as error:
                yield error

    def put(ready: _Ready | Exception) -> Receipt:
        if isinstance(ready, Exception):
            raise ready
        return _put(handle, ready, terms)

    receipts, failures = [], []
    with handle.traffic.gate, overlapped(handle.store, put, ready(), handle.traffic) as stored:
        for part in parts:
            try:
                receipts.append(next(stored))
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
        cells[where.slices_in(box)] = part
    return write_box(handle, box, cells, terms)


def _merged(handle: ArrayHandle, part: ChunkProjection, cells: Array) -> Array:
    """The cells of a chunk: those given, and around them what is stored."""
    if part.whole:
        return cells
    found = read_box(handle, handle.grid.box(part.chunk))
    found[part.chunk_slices] = cells
    return found


class _Ready(NamedTuple):
    """An object as it is to be stored; None where it is to go."""

    key: str
    data: Buffer | None
    started: float


def _encode(handle: ArrayHandle, index: tuple[int, ...], cells: Array, memory: Array | None = None) -> _Ready:
    """One chunk, padded with fill to its full shape, as it is stored; ``memory`` for that is used again and again.

    Memory fresh from the system for each chunk costs more than the copy, the more so on workers of a cluster, which
    give back at once what is freed.
    """
    started = perf_counter()
    key = handle.key(index)
    try:
        pipeline = handle.pipeline_at(index)
        if handle.leaves_out and handle.fill.covers(cells):
            return _Ready(key, None, started)
        shape = pipeline.spec.shape
        padded = cells.shape != shape and not pipeline.truncates
        if padded or (memory is not None and memory.shape == shape and not cells.flags.c_contiguous):
            if memory is None or memory.shape != shape:
                memory = handle.fill.array(shape)
            elif padded:
                handle.fill.into(memory)
            memory[tuple(map(slice, cells.shape))] = cells
            cells = memory
        return _Ready(key, pipeline.encode(cells), started)
    except Exception as error:
        raise_from(handle.failure("encoding a chunk", error, key), error)


def _put(handle: ArrayHandle, ready: _Ready, terms: Terms) -> Receipt:
    """Store an object, or remove it."""
    key, data, started = ready
    store = handle.writer
    try:
        if data is None:
            handle.persist(store.delete, key)
        else:
            handle.persist(store.set, key, data)
    except Exception as error:
        raise_from(handle.failure("writing a chunk", error, key), error)
    finally:
        if handle.pipeline.shard is not None:
            forget_index(store, key)
    if data is None:
        return Receipt(key[handle.lead :], 0, None, perf_counter() - started)
    digest = crc32c(data) if terms.digests else 0
    return Receipt(key[handle.lead :], len(data), digest, perf_counter() - started)


def copy_box(source: ArrayHandle, target: ArrayHandle, box: Box) -> list[Receipt]:
    """Copy the stored chunks of a box as they are to an array of the same grid and codecs.

    Chunks that are not there are left out; if the target stores empty chunks, they are written, full of the source's
    fill value.
    """
    chunks = [part.chunk for part in source.grid.project(box)]
    with (
        source.traffic.gate,
        overlapped(
            target.store, lambda ready: _put(target, ready, PLAIN), _stored(source, target, chunks), target.traffic
        ) as receipts,
    ):
        return list(receipts)


def _stored(source: ArrayHandle, target: ArrayHandle, chunks: Sequence[tuple[int, ...]]) -> Iterator[_Ready]:
    """Chunks of an array as they are to be stored in another one."""
    empty: Buffer | None = None
    keys = [source.key(chunk) for chunk in chunks]
    values = get_many(source.store, keys, source.traffic)
    for chunk, key in zip(chunks, keys, strict=True):
        started = perf_counter()
        try:
            data = next(values)
        except Exception as error:
            raise_from(source.failure("reading a chunk", error, key), error)
        if data is None and target.write_empty_chunks:
            data = empty = _filled(source, target, target.key(chunk)) if empty is None else empty
        if data is not None:
            yield _Ready(target.key(chunk), data, started)


def _filled(source: ArrayHandle, target: ArrayHandle, key: str) -> Buffer:
    """A chunk full of one array's fill value, as another one stores it."""
    try:
        return target.pipeline.encode(source.fill.array(target.pipeline.spec.shape))
    except Exception as error:
        raise_from(target.failure("encoding a chunk", error, key), error)
