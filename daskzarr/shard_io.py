"""A part of a shard's cells <-> its index, which is kept, and the byte ranges that hold them. Plain NumPy, no Dask."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.chunk_grid import Box
from daskzarr.codecs import CodecPipeline
from daskzarr.codecs.base import Array
from daskzarr.codecs.sharding import Index, ShardingCodec, inner_count
from daskzarr.errors import CodecError
from daskzarr.store import Buffer, RangeStore, Store, VersionedStore

_MOST_BYTES = 64 * 2**20
_SECONDS = 30.0  # how long an index is believed where the store cannot tell whether the shard is still the same


@dataclass(frozen=True, slots=True)
class _Kept:
    """An index, what the shard was when it was read, and when that was."""

    index: Index
    version: Any
    read_at: float


class IndexCache:
    """The indices read last, at most so many bytes of them."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._most_bytes = most_bytes
        self._bytes = 0

    def get(self, store: Store, key: str) -> Index | None:
        """The index of a shard, unless the shard has changed or may have."""
        place = _place(store, key)
        kept = self._kept.get(place)
        if kept is None:
            return None
        if kept.version is not None:
            valid = kept.version == _version(store, key)
        else:
            valid = time.monotonic() - kept.read_at < _SECONDS
        if not valid:
            self.forget(store, key)
            return None
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
        return kept.index

    def put(self, store: Store, key: str, index: Index, version: Any) -> None:
        """Keep an index, and let go of those that were not used for longest."""
        self.forget(store, key)
        with self._lock:
            self._kept[_place(store, key)] = _Kept(index, version, time.monotonic())
            self._bytes += index.nbytes
            while self._bytes > self._most_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.index.nbytes

    def forget(self, store: Store, key: str) -> None:
        """Let go of a shard's index: it is being replaced."""
        with self._lock:
            old = self._kept.pop(_place(store, key), None)
            if old is not None:
                self._bytes -= old.index.nbytes


_cache = IndexCache(_MOST_BYTES)


def forget_index(store: Store, key: str) -> None:
    """Let go of what is known of a shard that is about to be written."""
    _cache.forget(store, key)


def reads_less(pipeline: CodecPipeline, chunk_slices: tuple[slice, ...]) -> bool:
    """Whether a part of a chunk is better read by the index of a shard than by reading it whole."""
    shard: ShardingCodec | None = pipeline.shard
    if shard is None:
        return False
    return 2 * inner_count(shard, _stored_box(pipeline, chunk_slices)) <= shard.grid.chunk_count


def read_part_of_shard(
    store: Store, key: str, pipeline: CodecPipeline, chunk_slices: tuple[slice, ...], out: Array
) -> bool:
    """Fill ``out`` with the cells of a shard that ``chunk_slices`` name; False if the shard is not there.

    An index at hand that leads nowhere is read again: the shard may have been replaced since.
    """
    shard: ShardingCodec = pipeline.shard
    box = _stored_box(pipeline, chunk_slices)
    cells = out.transpose(pipeline.axes)

    def get_ranges(ranges: Sequence[ByteRange]) -> Sequence[Buffer]:
        found = _get_ranges(store, key, ranges)
        if any(data is None for data in found):
            raise CodecError("the shard was removed while it was read", codec="sharding_indexed")
        return found  # type: ignore[return-value]

    index = _cache.get(store, key)
    if index is not None:
        try:
            shard.read_box(index, box, cells, get_ranges)
            return True
        except CodecError:
            _cache.forget(store, key)
    version = _version(store, key)
    data = _get_ranges(store, key, [shard.index_range])[0]
    if data is None:
        return False
    if len(data) != shard.index_size:
        raise _too_short(shard, len(data))
    index = shard.read_index(data)
    shard.read_box(index, box, cells, get_ranges)
    if version == _version(store, key):
        _cache.put(store, key, index, version)
    return True


def decode_part_of_shard(data: Buffer, pipeline: CodecPipeline, chunk_slices: tuple[slice, ...], out: Array) -> None:
    """Fill ``out`` with the cells of a shard that ``chunk_slices`` name, from the whole of its bytes."""
    shard: ShardingCodec = pipeline.shard
    view = memoryview(data)
    start, stop = shard.index_range.bounds(len(view))
    if stop - start != shard.index_size:
        raise _too_short(shard, len(view))
    index = shard.read_index(view[start:stop])
    cells = out.transpose(pipeline.axes)
    shard.read_box(index, _stored_box(pipeline, chunk_slices), cells, lambda ranges: _cut(view, ranges))


def _cut(view: memoryview, ranges: Sequence[ByteRange]) -> Sequence[Buffer]:
    """Parts of a value at hand."""
    bounds = (byte_range.bounds(len(view)) for byte_range in ranges)
    return [view[start:stop] for start, stop in bounds]


def _too_short(shard: ShardingCodec, size: int) -> CodecError:
    """The error for a shard that has no room for its index."""
    return CodecError(
        f"the shard has {size} bytes, too few for its index of {shard.index_size}: it is truncated",
        codec="sharding_indexed",
    )


def _stored_box(pipeline: CodecPipeline, chunk_slices: tuple[slice, ...]) -> Box:
    """A part of a chunk along the axes of the shard."""
    axes = pipeline.axes or ()
    return Box(tuple(chunk_slices[i].start for i in axes), tuple(chunk_slices[i].stop for i in axes))


def _place(store: Store, key: str) -> tuple[str, str, str]:
    """What tells one shard from all others, and holds on to no store."""
    return store.url, str(getattr(store, "identity", "")), key


def _version(store: Store, key: str) -> Any:
    """What changes when a value is replaced, where the store can tell at once; None otherwise."""
    return store.version(key) if isinstance(store, VersionedStore) else None


def _get_ranges(store: Store, key: str, ranges: Sequence[ByteRange]) -> Sequence[Buffer | None]:
    """Parts of one value, with one call where the store has one."""
    if isinstance(store, RangeStore):
        return store.get_ranges(key, ranges)
    return [store.get(key, wanted) for wanted in ranges]
