"""Parts of shards: which requests they cost, which indices are kept and how long, and that none is used when old."""

import gc
import json
import os
import threading
import tracemalloc
import weakref

import dask.array as da
import fsspec
import google_crc32c
import numpy as np
import pytest

from daskzarr import CodecError, MissingChunkError, convert, from_zarr, open_array, to_zarr
from daskzarr.array_handle import ArrayHandle
from daskzarr.byte_range import ByteRange
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.metadata import NamedConfig
from daskzarr.metadata.shards import shard_config
from daskzarr.shard_io import IndexCache, read_part_of_shard, reads_less
from daskzarr.stores import LocalStore, MappingStore, RangeStore, VersionedStore, open_store
from daskzarr.testing import RecordingStore, distinct_values

ABSENT = 2**64 - 1
RAW = NamedConfig("bytes", {"endian": "little"})
CELLS = distinct_values((16,), "int16", 1)


def pipeline_of(shape=(16,), inner=(2,), dtype="int16", codecs=(RAW,), before=(), **options):
    spec = ChunkSpec(shape, np.dtype(dtype), np.zeros(1, dtype)[0], **options)
    return CodecPipeline.resolve([*before, shard_config(inner, list(codecs))], spec)


PIPELINE = pipeline_of()


def shard_of(cells, order):
    """A shard of raw inner chunks of two cells, one after the other in this order."""
    index = np.full((len(cells) // 2, 2), ABSENT, "<u8")
    body = b""
    for number in order:
        index[number] = len(body), 4
        body += cells[2 * number : 2 * number + 2].tobytes()
    words = index.tobytes()
    return body + words + google_crc32c.value(words).to_bytes(4, "little")


def document_of(shape, shards, codec):
    """The metadata of an array of int16."""
    members = {"zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": "int16", "fill_value": 0}
    members["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": list(shards)}}
    return json.dumps(members | {"chunk_key_encoding": {"name": "default"}, "codecs": [codec.write()]}).encode()


DOCUMENT = document_of((16,), (16,), shard_config((2,), [RAW]))
FORWARD = shard_of(CELLS, range(8))
OTHERS = CELLS[::-1].copy()
BACKWARD = shard_of(OTHERS, range(7, -1, -1))  # of the same size, laid out otherwise, with other cells


def part(store, start, stop, key="c/0", pipeline=PIPELINE):
    """Some cells of a shard, None if it is not there."""
    out = np.full(stop - start, -1, pipeline.spec.dtype)
    return out.tolist() if read_part_of_shard(store, key, pipeline, (slice(start, stop),), out) else None


def cells(start, stop, of=CELLS):
    return of[start:stop].tolist()


class Versionless:
    """A local store that reads ranges and notes which, and tells no versions; ``between`` runs before each reading."""

    def __init__(self, root):
        self.local, self.root, self.log, self.between = LocalStore(root), root, [], None

    @property
    def url(self):
        return self.local.url

    def get(self, key, byte_range=None):
        self.log.append(("get", byte_range))
        return self.local.get(key, byte_range)

    def get_many(self, keys, traffic=None):
        return map(self.get, keys)

    def get_ranges(self, key, byte_ranges, traffic=None):
        if self.between:
            self.between(len(self.log))
        self.log.append(("get_ranges", *byte_ranges))
        return self.local.get_ranges(key, byte_ranges)


class CountingStore(Versionless):
    """The same with versions."""

    def version(self, key):
        return self.local.version(key)


@pytest.fixture
def counting(tmp_path):
    store = CountingStore(str(tmp_path))
    store.local.set("c/0", FORWARD)
    assert isinstance(store, RangeStore)
    assert isinstance(store, VersionedStore)
    return store


@pytest.fixture(params=["local", "memory file system"])
def store(request, tmp_path):
    """An empty store of each kind that reads ranges."""
    if request.param == "local":
        yield LocalStore(str(tmp_path))
    else:
        root = f"/shards-{tmp_path.name}-{os.getpid()}"
        yield open_store("memory:/" + root)
        fs = fsspec.filesystem("memory")
        if fs.exists(root):
            fs.rm(root, recursive=True)


# ---- requests


def test_a_part_is_one_request_for_the_index_and_one_for_what_is_needed(counting):
    assert part(counting, 3, 7) == cells(3, 7)
    assert counting.log == [("get_ranges", ByteRange(-132)), ("get_ranges", ByteRange(4, 12))]


def test_the_index_is_asked_for_once(counting):
    part(counting, 3, 4)
    counting.log.clear()
    assert part(counting, 14, 16) == cells(14, 16)
    assert counting.log == [("get_ranges", ByteRange(28, 4))]


def test_the_index_of_another_shard_is_its_own(counting):
    counting.local.set("c/1", BACKWARD)
    part(counting, 3, 4)
    counting.log.clear()
    assert part(counting, 3, 4, "c/1") == cells(3, 4, OTHERS)
    assert counting.log == [("get_ranges", ByteRange(-132)), ("get_ranges", ByteRange(24, 4))]
    counting.log.clear()
    part(counting, 3, 4)
    assert len(counting.log) == 1


def test_a_replaced_shards_index_is_asked_for_again(counting):
    part(counting, 3, 4)
    LocalStore(counting.root).set("c/0", BACKWARD)
    counting.log.clear()
    assert part(counting, 3, 5) == cells(3, 5, OTHERS)
    assert counting.log[-2:] == [("get_ranges", ByteRange(-132)), ("get_ranges", ByteRange(20, 8))]
    counting.log.clear()
    part(counting, 3, 4)
    assert len(counting.log) == 1


def test_a_store_without_ranges_is_asked_for_whole_shards():
    values = MappingStore({"zarr.json": DOCUMENT, "c/0": FORWARD})
    assert not isinstance(values, RangeStore)
    assert not reads_less(values, PIPELINE, (slice(3, 4),))
    store = RecordingStore(values)
    array = from_zarr(store)
    store.clear()
    assert array[3:4].compute().tolist() == cells(3, 4)
    assert store.keys() == ["c/0"]


def test_an_absent_shard_is_one_request_and_not_kept(counting):
    assert part(counting, 3, 4, "c/9") is None
    assert len(counting.log) == 1
    counting.local.set("c/9", BACKWARD)
    assert part(counting, 3, 4, "c/9") == cells(3, 4, OTHERS)


def test_a_shard_that_was_removed_is_absent(store):
    store.set("c/0", FORWARD)
    part(store, 3, 4)
    store.delete("c/0")
    assert part(store, 3, 4) is None
    store.set("c/0", BACKWARD)
    assert part(store, 3, 4) == cells(3, 4, OTHERS)


def test_a_shard_that_is_removed_between_its_index_and_its_cells_is_absent(counting):
    counting.between = lambda count: counting.local.delete("c/0") if count == 1 else None
    assert part(counting, 3, 4) is None


def test_a_shard_that_is_removed_while_it_is_read_is_an_error_where_there_are_no_versions(counting):
    counting = Versionless(counting.root)
    counting.between = lambda count: counting.local.delete("c/0") if count == 1 else None
    with pytest.raises(CodecError, match="removed while it was read"):
        part(counting, 3, 4)


def test_the_cells_of_a_transposed_shard_are_found(tmp_path):
    array = distinct_values((4, 6), "int32", 1)
    pipeline = pipeline_of((4, 6), (3, 2), "int32", before=[NamedConfig("transpose", {"order": [1, 0]})])
    store = LocalStore(str(tmp_path))
    store.set("k", bytes(pipeline.encode(array)))
    out = np.empty((3, 2), "i4")
    assert read_part_of_shard(store, "k", pipeline, (slice(1, 4), slice(2, 4)), out)
    np.testing.assert_array_equal(out, array[1:4, 2:4])


# ---- how much is too much to be read in parts


def test_a_part_is_read_by_the_index_up_to_half_of_the_inner_chunks(counting):
    assert reads_less(counting, PIPELINE, (slice(3, 8),))  # four of eight
    assert reads_less(counting, PIPELINE, (slice(0, 8),))
    assert not reads_less(counting, PIPELINE, (slice(1, 9),))
    assert not reads_less(counting, PIPELINE, (slice(0, 16),))
    assert not reads_less(counting, pipeline_of(inner=(16,)), (slice(0, 1),))
    square = pipeline_of((4, 6), (3, 1), before=[NamedConfig("transpose", {"order": [1, 0]})])
    assert reads_less(counting, square, (slice(0, 2), slice(0, 6)))  # inner chunks are rows' halves
    assert not reads_less(counting, square, (slice(0, 3), slice(2, 4)))


def test_what_is_no_shard_is_read_whole(counting):
    plain = CodecPipeline.resolve([RAW], PIPELINE.spec)
    compressed = CodecPipeline.resolve([shard_config((2,), [RAW]), NamedConfig("crc32c")], PIPELINE.spec)
    assert not reads_less(counting, plain, (slice(0, 1),))
    assert not reads_less(counting, compressed, (slice(0, 1),))


def test_the_inner_chunks_of_a_nested_shard_are_what_counts(counting):
    nested = pipeline_of((16,), (16,), codecs=[shard_config((1,), [RAW])])
    assert reads_less(counting, nested, (slice(3, 4),))


# ---- an index is not believed for too long


def test_a_shard_replaced_many_times_is_never_read_with_an_old_index(tmp_path):
    writer, reader = LocalStore(str(tmp_path)), LocalStore(str(tmp_path))
    for i in range(100):
        writer.set("c/0", BACKWARD if i % 2 else FORWARD)
        assert part(reader, 4, 7) == cells(4, 7, OTHERS if i % 2 else CELLS)


@pytest.mark.parametrize("kind", ["mapping", "local", "memory file system"])
def test_a_shard_that_another_writer_replaced_is_not_read_with_an_old_index(kind, tmp_path):
    place = f"another-writer-{tmp_path.name}-{os.getpid()}"
    values, memory = {}, fsspec.filesystem("memory")
    stores = {
        "mapping": (MappingStore(values), lambda data: values.update({"c/0": data})),
        "local": (LocalStore(str(tmp_path)), lambda data: (tmp_path / "c" / "0").write_bytes(data)),
        "memory file system": (
            open_store(f"memory://{place}"),
            lambda data: memory.pipe_file(f"/{place}/c/0", data),
        ),
    }
    store, write = stores[kind]
    store.set("zarr.json", DOCUMENT)
    store.set("c/0", FORWARD)
    array = from_zarr(store)
    for _ in range(3):
        for data, expected in [(FORWARD, CELLS), (BACKWARD, OTHERS), (shard_of(CELLS, [3, 2, 7]), None)]:
            write(data)
            if expected is not None:
                assert array[4:7].compute().tolist() == cells(4, 7, expected)
            assert array[15:].compute().tolist() == cells(15, 16, CELLS if expected is None else expected)


def test_without_versions_no_index_is_kept(counting):
    counting = Versionless(counting.root)
    assert not isinstance(counting, VersionedStore)
    for data, expected in [(FORWARD, CELLS), (BACKWARD, OTHERS), (BACKWARD, OTHERS)]:
        counting.local.set("c/0", data)
        counting.log.clear()
        assert part(counting, 4, 7) == cells(4, 7, expected)
        assert len(counting.log) == 2


def test_an_old_index_that_leads_nowhere_is_read_again(tmp_path):
    config = shard_config((2,), [RAW])
    at_start = NamedConfig(config.name, {**config.configuration, "index_location": "start"})
    pipeline = CodecPipeline.resolve([at_start], PIPELINE.spec)
    store = LocalStore(str(tmp_path))
    store.set("c/0", bytes(pipeline.encode(CELLS)))
    assert part(store, 14, 16, pipeline=pipeline) == cells(14, 16)
    store.set("c/0", bytes(pipeline.encode(np.where(np.arange(16) < 14, 0, OTHERS))))
    assert part(store, 14, 16, pipeline=pipeline) == cells(14, 16, OTHERS)
    assert part(store, 0, 2, pipeline=pipeline) == [0, 0]


def test_an_inner_chunk_that_is_there_by_now_is_not_said_to_be_missing(store):
    strict = pipeline_of(absent_is_error=True)
    store.set("c/0", shard_of(CELLS, [0]))
    assert part(store, 0, 2, pipeline=strict) == cells(0, 2)
    store.set("c/0", FORWARD)
    assert part(store, 4, 6, pipeline=strict) == cells(4, 6)


def test_an_old_index_of_other_inner_chunks_is_not_looked_into(store):
    wide = pipeline_of(inner=(4,))
    store.set("c/0", bytes(wide.encode(CELLS)))
    assert part(store, 0, 3, pipeline=wide) == cells(0, 3)
    store.set("c/0", FORWARD)  # another writer has made the array anew
    assert part(store, 14, 16) == cells(14, 16)


@pytest.mark.parametrize("kept", [False, True], ids=["index just read", "index kept"])
def test_a_shard_replaced_between_its_index_and_its_cells_is_not_read_half_old_half_new(counting, kept):
    if kept:
        part(counting, 0, 2)
        counting.log.clear()
    replace_at = 0 if kept else 1
    counting.between = lambda count: counting.local.set("c/0", BACKWARD) if count == replace_at else None
    assert part(counting, 4, 7) in (cells(4, 7), cells(4, 7, OTHERS))


def test_a_shard_that_is_replaced_again_and_again_is_an_error_or_right(counting):
    counting.between = lambda count: counting.local.set("c/0", BACKWARD if count % 2 else FORWARD)
    try:
        found = part(counting, 4, 7)
    except CodecError:
        return
    assert found in (cells(4, 7), cells(4, 7, OTHERS))


def test_what_was_written_is_read_at_once(store):
    array = np.arange(1, 33, dtype="i4")
    to_zarr(da.from_array(array, chunks=16), store, shards=16, chunks=2, compressors=None)
    for i in range(4):
        changed = np.where(array % 5 == i, 0, array + i)
        to_zarr(da.from_array(changed, chunks=16), store, mode="r+")
        assert from_zarr(store)[19:22].compute().tolist() == changed[19:22].tolist()
        assert from_zarr(store)[3:5].compute().tolist() == changed[3:5].tolist()


def test_an_index_read_while_the_shard_is_being_written_is_not_believed(store):
    to_zarr(da.from_array(CELLS, chunks=16), store, shards=16, chunks=2, compressors=None)

    class Busy(RecordingStore):
        """Somebody reads a part of each shard just before it is replaced."""

        def before(self, kind, key):
            if kind == "set":
                assert part(self.store, 0, 2, key) == cells(0, 2)

    changed = np.where(np.arange(16) < 2, 0, CELLS)
    to_zarr(da.from_array(changed, chunks=16), Busy(store), mode="r+")
    assert part(store, 4, 7) == cells(4, 7, changed)


def test_a_shard_that_was_copied_over_is_read_with_its_own_index(store):
    other, changed = {}, np.where(np.arange(16) < 2, 0, CELLS)
    for target, array in [(store, CELLS), (other, changed)]:
        to_zarr(da.from_array(array, chunks=16), target, shards=16, chunks=2, compressors=None)
    assert from_zarr(store)[4:7].compute().tolist() == cells(4, 7)
    convert(other, store, zarr_format=3, overwrite=True)
    assert from_zarr(store)[4:7].compute().tolist() == cells(4, 7, changed)


def test_an_array_made_anew_with_other_shards_is_read_with_their_indices(store):
    for shards, chunks in [(16, 2), (16, 4), (8, 2), (16, 2)]:
        to_zarr(da.from_array(CELLS, chunks=16), store, mode="w", shards=shards, chunks=chunks, compressors=None)
        array = from_zarr(store)
        assert [array[i : i + 1].compute()[0] for i in range(16)] == CELLS.tolist()


# ---- damage


@pytest.mark.parametrize("length", [0, 1, 131, 132, 140, len(FORWARD) - 1])
def test_a_truncated_shard_is_an_error(store, length):
    store.set("c/0", FORWARD[:length])
    with pytest.raises(CodecError):
        part(store, 4, 7)


def test_a_damaged_index_is_not_kept(store):
    damaged = bytearray(FORWARD)
    damaged[-20] ^= 1
    store.set("c/0", bytes(damaged))
    for _ in range(2):
        with pytest.raises(CodecError, match="index"):
            part(store, 4, 7)
    store.set("c/0", FORWARD)
    assert part(store, 4, 7) == cells(4, 7)


def test_missing_inner_chunks_are_errors_if_that_is_asked_for(store):
    store.set("c/0", shard_of(CELLS, [0, 2]))
    strict = pipeline_of(absent_is_error=True)
    assert part(store, 0, 2, pipeline=strict) == cells(0, 2)
    with pytest.raises(MissingChunkError, match=r"inner chunk \(1,\)"):
        part(store, 1, 5, pipeline=strict)
    assert part(store, 1, 5) == [CELLS[1], 0, 0, CELLS[4]]


# ---- the indices that are kept


def index_of(number, count=4):
    return np.full((count, 2), number, "u8")  # 16 bytes an inner chunk


def kept(cache, store, key):
    """The index that is kept, and its version."""
    found = cache.get(store, key)
    return None if found is None else (found.index, found.version)


def test_an_index_is_given_back_to_those_who_ask_for_its_shard():
    cache, store, other = IndexCache(1000), MappingStore({}), MappingStore({})
    one, two, three = (index_of(i) for i in range(3))
    cache.put(store, "a", one, "first")
    cache.put(store, "b", two, "second")
    cache.put(other, "a", three, "third")
    assert kept(cache, store, "a") == (one, "first")
    assert kept(cache, store, "b") == (two, "second")
    assert kept(cache, other, "a") == (three, "third")
    assert kept(cache, store, "a")[0] is one
    assert cache.get(other, "b") is None
    cache.forget(store, "a")
    cache.forget(store, "nonesuch")
    assert cache.get(store, "a") is None
    assert kept(cache, other, "a") == (three, "third")


def test_stores_of_the_same_place_share_indices_and_those_of_other_access_do_not():
    cache = IndexCache(1000)
    one, same = open_store("memory://a-place"), open_store("memory://a-place")
    cache.put(one, "k", index_of(1), 1)
    assert cache.get(same, "k") is not None
    object.__setattr__(same, "identity", "somebody else")
    assert cache.get(same, "k") is None


def test_the_indices_used_last_are_kept():
    cache, store = IndexCache(4 * 64), MappingStore({})
    for i in range(4):
        cache.put(store, f"k{i}", index_of(i), i)
    cache.get(store, "k0")
    cache.put(store, "k4", index_of(4), 4)
    assert [i for i in range(5) if cache.get(store, f"k{i}") is not None] == [0, 2, 3, 4]
    cache.put(store, "k5", index_of(5, 8), 5)  # as large as two
    assert [i for i in range(6) if cache.get(store, f"k{i}") is not None] == [3, 4, 5]


def test_no_more_bytes_are_kept_than_are_allowed():
    rng = np.random.default_rng(1)
    cache, store = IndexCache(10_000), MappingStore({})
    for i in range(300):
        key = f"k{rng.integers(50)}"
        if rng.random() < 0.1:
            cache.forget(store, key)
        else:
            cache.put(store, key, index_of(i, int(rng.integers(1, 100))), i)
        found = [cache.get(store, f"k{n}") for n in range(50)]
        assert sum(one.index.nbytes for one in found if one is not None) <= 10_000


def test_putting_an_index_again_takes_no_more_room():
    cache, store = IndexCache(3 * 64), MappingStore({})
    cache.put(store, "a", index_of(0), 0)
    for i in range(100):
        cache.put(store, "b", index_of(i), i)
    assert cache.get(store, "a") is not None
    assert kept(cache, store, "b")[1] == 99


def test_an_index_that_does_not_fit_pushes_no_other_out():
    cache, store = IndexCache(4 * 64), MappingStore({})
    cache.put(store, "a", index_of(1), 1)
    cache.put(store, "b", index_of(2), 2)
    cache.put(store, "b", index_of(3, 17), 3)
    assert cache.get(store, "b") is None
    assert cache.get(store, "a") is not None


def test_an_index_keeps_no_store_alive():
    cache, store = IndexCache(1000), MappingStore({})
    cache.put(store, "k", index_of(1), 1)
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None


def test_many_threads_may_use_the_cache_at_once():
    cache, store, errors = IndexCache(64 * 20), MappingStore({}), []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for number in rng.integers(0, 40, 2000).tolist():
                action = rng.integers(10)
                if action < 4:
                    found = cache.get(store, f"k{number}")
                    assert found is None or found.index[0, 0] == found.version == number
                elif action < 9:
                    cache.put(store, f"k{number}", index_of(number, 4 + number % 3), number)
                else:
                    cache.forget(store, f"k{number}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(100, 120):  # whatever they did, there is room for as many as before
        cache.put(store, f"k{number}", index_of(number), number)
    assert all(cache.get(store, f"k{number}") is not None for number in range(100, 120))


def test_two_threads_that_put_the_same_index_leave_room_for_others():
    class Interrupted(IndexCache):
        """Between letting the old index go and putting the new one, another thread does the same, if it can."""

        inside = False

        def forget(self, store, key):
            super().forget(store, key)
            if not self.inside:
                self.inside = True
                self.put(store, key, index_of(0), 0)
                self.inside = False

    cache, store = Interrupted(4 * 64), MappingStore({})
    for _ in range(10):
        cache.put(store, "a", index_of(1), 1)
    cache.inside = True  # no other thread any more
    for key in "abcd":
        cache.put(store, key, index_of(2), 2)
    assert [key for key in "abcd" if cache.get(store, key) is not None] == ["a", "b", "c", "d"]


# ---- memory


def test_a_part_of_a_shard_that_declares_very_many_inner_chunks_is_an_error_before_memory_is_taken(store):
    store.set("zarr.json", document_of((4,), (10**8,), shard_config((1,), [RAW])))
    store.set("c/0", FORWARD)
    handle = ArrayHandle.of(open_array(store))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="too few for its index of 1600000004"):
            part(store, 1, 2, pipeline=handle.pipeline)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
