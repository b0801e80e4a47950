"""A part of a shard's cells <-> its index, which is kept, and the byte ranges that hold them. Plain NumPy, no Dask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from daskzarr.byte_range import ByteRange
from daskzarr.chunk_grid import Box
from daskzarr.codecs import CodecPipeline
from daskzarr.codecs.base import Array
from daskzarr.codecs.sharding import Index, ShardingCodec, inner_count
from daskzarr.errors import CodecError, MissingChunkError
from daskzarr.stores import TRAFFIC, Buffer, RangeStore, Store, Traffic, VersionedStore

_MOST_BYTES = 64 * 2**20
_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Kept:
    """An index, and what the shard was when it was read."""

    index: Index
    version: Hashable


class IndexCache:
    """The indices read last, at most so many bytes of them."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._most_bytes = most_bytes
        self._bytes = 0

    def get(self, store: Store, key: str) -> _Kept | None:
        """The index of a shard, as it was when it was read."""
        place = _place(store, key)
        with self._lock:
            kept = self._kept.get(place)
            if kept is not None:
                self._kept.move_to_end(place)
            return kept

    def put(self, store: Store, key: str, index: Index, version: Hashable) -> None:
        """Keep an index, and let go of those that were not used for longest."""
        place = _place(store, key)
        with self._lock:
            self._drop(place)
            if index.nbytes > self._most_bytes:
                return
            self._kept[place] = _Kept(index, version)
            self._bytes += index.nbytes
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def forget(self, store: Store, key: str) -> None:
        """Let go of a shard's index: it is being replaced."""
        with self._lock:
            self._drop(_place(store, key))

    def _drop(self, place: tuple[str, str, str]) -> None:
        """Let go of one index; the lock is held."""
        old = self._kept.pop(place, None)
        if old is not None:
            self._bytes -= old.index.nbytes


_cache = IndexCache(_MOST_BYTES)


def forget_index(store: Store, key: str) -> None:
    """Let go of what is known of a shard that is about to be written."""
    _cache.forget(store, key)


def reads_less(store: Store, pipeline: CodecPipeline, chunk_slices: tuple[slice, ...]) -> bool:
    """Whether a part of a chunk is better read by the index of a shard than by reading it whole."""
    shard: ShardingCodec | None = pipeline.shard
    if shard is None or not isinstance(store, RangeStore):
        return False
    touched, count = inner_count(shard, _stored_box(pipeline, chunk_slices))
    return 2 * touched <= count


def read_part_of_shard(
    store: RangeStore,
    key: str,
    pipeline: CodecPipeline,
    chunk_slices: tuple[slice, ...],
    out: Array,
    traffic: Traffic = TRAFFIC,
) -> bool:
    """Fill ``out`` with the cells of a shard that ``chunk_slices`` name; False if the shard is not there.

    Index and cells are of one shard: where the store tells versions, that is looked at after reading, and what was
    replaced meanwhile is read again. Only such stores have their indices kept.
    """
    shard: ShardingCodec = pipeline.shard
    box = _stored_box(pipeline, chunk_slices)
    cells = out.transpose(pipeline.axes)
    kept = _cache.get(store, key)
    if kept is not None and kept.index.shape != shard.index.spec.shape:
        kept = None  # another array was put there since
    for _ in range(_TRIES):
        version = _version(store, key) if kept is None else kept.version
        index = _read_index(store, key, shard) if kept is None else kept.index
        if index is None:
            return False
        try:
            shard.read_box(index, box, cells, lambda ranges: _get_ranges(store, key, ranges, traffic), traffic.gap)
        except (CodecError, MissingChunkError):
            if version == _version(store, key):
                raise
        if version == _version(store, key):
            if kept is None and version is not None:
                _cache.put(store, key, index, version)
            return True
        kept = None
    raise CodecError("the shard was replaced again and again while it was read; read it once that is over")


def _read_index(store: RangeStore, key: str, shard: ShardingCodec) -> Index | None:
    """The index of a shard; None if that is not there."""
    data = store.get_ranges(key, [shard.index_range])[0]
    if data is None:
        return None
    if len(data) != shard.index_size:
        raise shard.too_short(len(data))
    return shard.read_index(data)


def decode_part_of_shard(data: Buffer, pipeline: CodecPipeline, chunk_slices: tuple[slice, ...], out: Array) -> None:
    """Fill ``out`` with the cells of a shard that ``chunk_slices`` name, from the whole of its bytes."""
    shard: ShardingCodec = pipeline.shard
    view = memoryview(data)
    start, stop = shard.index_range.bounds(len(view))
    if stop - start != shard.index_size:
        raise shard.too_short(len(view))
    index = shard.read_index(view[start:stop])
    cells = out.transpose(pipeline.axes)
    shard.read_box(index, _stored_box(pipeline, chunk_slices), cells, lambda ranges: _cut(view, ranges))


def _cut(view: memoryview, ranges: Sequence[ByteRange]) -> Sequence[Buffer]:
    """Parts of a value at hand."""
    bounds = (byte_range.bounds(len(view)) for byte_range in ranges)
    return [view[start:stop] for start, stop in bounds]


def _stored_box(pipeline: CodecPipeline, chunk_slices: tuple[slice, ...]) -> Box:
    """A part of a chunk along the axes of the shard."""
    axes = pipeline.axes or ()
    return Box(tuple(chunk_slices[i].start for i in axes), tuple(chunk_slices[i].stop for i in axes))


def _place(store: Store, key: str) -> tuple[str, str, str]:
    """What tells one shard from all others, and holds on to no store."""
    return store.url, str(getattr(store, "identity", "")), key


def _version(store: Store, key: str) -> Hashable:
    """What changes when a value is replaced; None where the store cannot tell."""
    return store.version(key) if isinstance(store, VersionedStore) else None


def _get_ranges(store: RangeStore, key: str, ranges: Sequence[ByteRange], traffic: Traffic) -> Sequence[Buffer]:
    """Parts of a shard, which is there."""
    found = store.get_ranges(key, ranges, traffic)
    if any(data is None for data in found):
        raise CodecError("the shard was removed while it was read", codec="sharding_indexed")
    return found  # type: ignore[return-value]
