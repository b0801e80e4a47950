"""Arrays in shards, from dask array to stored objects and back: what is stored, what it costs, and what goes wrong."""

import ast
import itertools
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tracemalloc

import dask
import dask.array as da
import fsspec
import google_crc32c
import numcodecs
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import (
    AlignmentError,
    CodecError,
    DaskZarrError,
    MetadataError,
    MissingChunkError,
    UnsupportedError,
    create_array,
    from_zarr,
    to_zarr,
)
from daskzarr.byte_range import ByteRange
from daskzarr.receipt import Written
from daskzarr.stores import FilesystemStore, LocalStore, MappingStore
from daskzarr.testing import READS, RecordingStore, distinct_values

ABSENT = 2**64 - 1
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
BYTES = {"name": "bytes"}
CRC32C = {"name": "crc32c"}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
SHAPE, SHARDS, INNER = (18, 14), (8, 6), (2, 3)  # shards hang over both edges
CELLS = distinct_values(SHAPE, "int32", 1)


def transpose(*order):
    return {"name": "transpose", "configuration": {"order": list(order)}}


def sharded(inner, codecs=(LITTLE,), index=(LITTLE, CRC32C), location="end"):
    members = {"chunk_shape": list(inner), "codecs": list(codecs), "index_codecs": list(index)}
    return {"name": "sharding_indexed", "configuration": {**members, "index_location": location}}


def regular(*chunk_shape):
    return {"name": "regular", "configuration": {"chunk_shape": list(chunk_shape)}}


def rectilinear(*axes):
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": list(axes)}}


def document(shape, grid, codecs, data_type="int32", fill_value=0):
    members = {"zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": data_type}
    members |= {"chunk_grid": grid, "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}}
    return json.dumps(members | {"fill_value": fill_value, "codecs": codecs}).encode()


def summed(data):
    return data + google_crc32c.value(data).to_bytes(4, "little")


def blocks(cells=CELLS, chunks=SHARDS):
    return da.from_array(cells, chunks=chunks)


def put_array(store, cells=CELLS, **options):
    """Store the cells in shards."""
    to_zarr(blocks(cells), store, **{"shards": SHARDS, "chunks": INNER, "compressors": None} | options)
    return store


def same(array, expected):
    """Whether two arrays are the same to the bit."""
    array = np.asarray(array)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.fixture(params=["mapping", "local"])
def store(request, tmp_path):
    """An empty store that counts."""
    return RecordingStore(MappingStore({}) if request.param == "mapping" else LocalStore(str(tmp_path)))


ALL_KEYS = [f"c/{i}/{j}" for i in range(3) for j in range(3)]
SLICES = [
    (slice(None), slice(None)),
    (slice(3, 4), slice(5, 6)),
    (slice(7, 9), slice(5, 7)),
    (slice(0, 8), slice(6, 12)),
    (slice(16, 18), slice(12, 14)),
    (slice(17, 18), slice(13, 14)),
    (slice(None), slice(2, 3)),
    (slice(5, 6), slice(None)),
    (slice(4, 4), slice(None)),
    (slice(None, None, 3), slice(1, None, 5)),
    (-1, slice(None, -9)),
    (slice(None, None, -1), 3),
]

# ---- what is stored


def test_a_shard_is_stored_as_the_format_has_it():
    values = {}
    to_zarr(
        da.from_array(np.array([[1, 2], [3, 4]], "i2"), chunks=2), values, shards=2, chunks=(1, 2), compressors=None
    )
    assert json.loads(values["zarr.json"])["chunk_grid"] == regular(2, 2)
    assert json.loads(values["zarr.json"])["codecs"] == [sharded((1, 2))]
    assert values["c/0/0"] == bytes.fromhex(
        "01000200 03000400 0000000000000000 0400000000000000 0400000000000000 0400000000000000 f6ff6f8f"
    )


def test_an_edge_shard_is_stored_whole():
    values = {}
    cells = np.arange(1, 5, dtype="i2")
    to_zarr(da.from_array(cells, chunks=6), values, shards=6, chunks=3, compressors=None, fill_value=-1)
    index = np.array([0, 6, 6, 6], "<u8").tobytes()
    assert values["c/0"] == bytes.fromhex("010002000300 0400ffffffff") + index + bytes.fromhex("589b908d")


def test_the_documents_spell_every_member_out():
    values = {}
    to_zarr(blocks(), values, shards=SHARDS, chunks=INNER)
    zstd = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
    assert json.loads(values["zarr.json"])["codecs"] == [sharded(INNER, [LITTLE, zstd])]
    assert sorted(values) == [*ALL_KEYS, "zarr.json"]


def test_order_f_stays_within_inner_chunks():
    values = {}
    put_array(values, order="F")
    assert json.loads(values["zarr.json"])["codecs"] == [sharded(INNER, [transpose(1, 0), LITTLE])]
    assert values["c/0/0"][:24] == CELLS[:2, :3].tobytes(order="F")
    check_slices(values)


def test_one_number_stands_for_every_axis():
    values = {}
    to_zarr(blocks(chunks=(8, 8)), values, shards=8, chunks=2)
    assert json.loads(values["zarr.json"])["chunk_grid"] == regular(8, 8)
    assert json.loads(values["zarr.json"])["codecs"][0]["configuration"]["chunk_shape"] == [2, 2]


def test_equal_arrays_are_stored_as_equal_bytes():
    first, second = {}, {}
    put_array(first, compressors="zstd")
    put_array(second, compressors="zstd")
    put_array(second, compressors="zstd", mode="w")
    assert first == second


def test_a_created_array_is_written_into():
    values = {}
    create_array(values, shape=SHAPE, dtype="i4", shards=SHARDS, chunks=INNER, compressors="gzip")
    to_zarr(blocks(chunks=(8, 12)), values, mode="r+")
    check_slices(values)


def check_slices(values, cells=CELLS, scheduler="sync", **options):
    array = from_zarr(values, **options)
    with dask.config.set(scheduler=scheduler):
        for slices in SLICES:
            same(array[slices].compute(), cells[slices])
            same((array[slices] + 0).compute(), cells[slices])


# ---- what it costs to write


def test_each_shard_is_set_once(store):
    put_array(store)
    assert sorted(store.keys("set")) == [*ALL_KEYS, "zarr.json"]
    assert not [key for key in store.keys(*READS) if key.startswith("c/")]
    store.clear()
    to_zarr(blocks(chunks=(16, 6)), store, mode="r+")
    assert sorted(store.keys("set")) == ALL_KEYS
    assert not [request for request in store.requests if request.kind != "set" and request.key.startswith("c/")]


class Tasks(Callback):
    """Counts the tasks that run."""

    def __init__(self):
        self.keys = []

    def _posttask(self, key, result, dsk, state, worker_id):
        self.keys.append(key)


@pytest.mark.parametrize("chunks", [SHARDS, (16, 6), (8, 14)], ids=str)
def test_reading_computing_and_writing_shards_is_one_task_a_block(store, chunks):
    values = {}
    put_array(values)
    array = from_zarr(values, chunks=chunks) + 1
    with Tasks() as tasks:
        put_array_again = to_zarr(array, store, shards=SHARDS, chunks=INNER, compute=False)
        put_array_again.compute()
    assert len(tasks.keys) == array.npartitions + 1
    same(from_zarr(store).compute(), CELLS + 1)


def test_a_shard_of_fill_is_not_stored_and_goes_if_it_was():
    cells = CELLS.copy()
    cells[8:16, 6:12] = 7
    cells[16:, 12:] = 7
    values = put_array({}, fill_value=7)
    store = RecordingStore(MappingStore(values))
    to_zarr(blocks(cells), store, mode="r+")
    assert sorted(store.keys("delete")) == ["c/1/1", "c/2/2"]
    assert sorted(store.keys("set")) == [key for key in ALL_KEYS if key not in ("c/1/1", "c/2/2")]
    same(from_zarr(values).compute(), cells)


def test_every_inner_chunk_is_stored_if_that_is_asked_for():
    cells = np.zeros(SHAPE, "i4")
    cells[3, 4] = 1
    values = put_array({}, cells, write_empty_chunks=True)
    assert sorted(values) == [*ALL_KEYS, "zarr.json"]
    for key in ALL_KEYS:
        assert len(values[key]) == 8 * 6 * 4 + 8 * 16 + 4
    check_slices(values, cells, missing="error")
    to_zarr(blocks(cells), values, mode="r+", write_empty_chunks=False)
    assert sorted(values) == ["c/0/0", "zarr.json"]
    assert len(values["c/0/0"]) == 2 * 3 * 4 + 8 * 16 + 4


def test_the_number_of_bytes_stored_is_given_back():
    values = {}
    write = to_zarr(blocks(), values, shards=SHARDS, chunks=INNER, compute=False)
    stored = write.compute()
    assert stored == Written(9, 0, sum(len(value) for key, value in values.items() if key.startswith("c/")), ())
    cells = CELLS.copy()
    cells[:8, 6:] = 0
    stored = to_zarr(blocks(cells), values, mode="r+", compute=False).compute()
    assert stored == Written(7, 2, sum(len(value) for key, value in values.items() if key.startswith("c/")), ())


def test_what_was_stored_can_be_given_back():
    stored = to_zarr(blocks(), {}, shards=SHARDS, chunks=INNER, return_stored=True)
    assert stored.chunks == blocks().chunks
    same(stored.compute(), CELLS)
    same(to_zarr(blocks(), {}, shards=SHARDS, chunks=INNER, return_stored=True, compute=False).compute(), CELLS)


def test_regions_of_whole_shards_are_written(store):
    put_array(store)
    store.clear()
    expected = CELLS.copy()
    expected[8:18, 0:12] *= -1
    to_zarr(da.from_array(expected[8:, :12], chunks=(8, 12)), store, mode="r+", region=(slice(8, None), slice(12)))
    assert sorted(store.keys("set")) == ["c/1/0", "c/1/1", "c/2/0", "c/2/1"]
    same(from_zarr(store).compute(), expected)
    same(from_zarr(store)[7:9, 11:13].compute(), expected[7:9, 11:13])


# ---- blocks that share a shard


SHARING = [INNER, (4, 6), (6, 6), (12, 6), (8, 9), ((8, 8, 2), (6, 5, 3)), (18, 13)]


@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_blocks_that_share_a_shard_are_refused_before_anything_is_written_if_that_is_asked_for(chunks):
    store = RecordingStore(MappingStore({}))
    with pytest.raises(AlignmentError) as caught:
        to_zarr(blocks(chunks=chunks), store, shards=SHARDS, chunks=INNER, align="error")
    assert store.store.mapping == {}
    assert not store.keys("set", "delete", "delete_below")
    named = rechunking_in(str(caught.value))
    to_zarr(blocks(chunks=chunks).rechunk(named), store, shards=SHARDS, chunks=INNER, align="error")
    same(from_zarr(store).compute(), CELLS)


def rechunking_in(message):
    """The rechunking that an error names."""
    return ast.literal_eval(re.search(r"rechunk\((\{.*?\})\)", message)[1])


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_a_shard_that_blocks_share_is_written_once_and_not_read(store, chunks, align):
    to_zarr(blocks(chunks=chunks), store, shards=SHARDS, chunks=INNER, align=align)
    assert sorted(store.keys("set")) == [*ALL_KEYS, "zarr.json"]
    assert not any(key.startswith("c/") for key in store.keys(*READS))
    assert not store.keys("delete", "delete_below")
    same(from_zarr(store).compute(), CELLS)
    store.clear()
    to_zarr(blocks(-CELLS, chunks=chunks), store, mode="r+", align=align)
    assert sorted(store.keys("set")) == ALL_KEYS
    assert store.keys(*READS) == ["zarr.json"]
    same(from_zarr(store).compute(), -CELLS)


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_shards_are_the_same_bytes_however_the_blocks_are_cut(chunks, align):
    to_zarr(blocks(chunks=chunks), values := {}, shards=SHARDS, chunks=INNER, align=align)
    assert values == put_array({}, compressors="auto")


def test_inner_chunks_of_fill_are_left_out_of_shards_that_blocks_share():
    cells = CELLS.copy()
    cells[8:16, 6:12], cells[2:4, 3:6] = 0, 0
    to_zarr(blocks(cells, (5, 4)), values := {}, shards=SHARDS, chunks=INNER, compressors=None)
    assert values == put_array({}, cells)
    assert "c/1/1" not in values
    cells[8:16, 6:12], cells[0:8, 0:6] = 7, 0
    to_zarr(blocks(cells, (5, 4)), values, mode="r+")
    assert values == put_array({}, cells)
    assert "c/0/0" not in values


def test_blocks_that_share_a_shard_of_an_array_that_exists_are_refused_if_that_is_asked_for():
    values = put_array({})
    before = dict(values)
    with pytest.raises(AlignmentError, match="axis 0"):
        to_zarr(blocks(CELLS + 1, chunks=(4, 6)), values, mode="r+", align="error")
    for region in CUTTING:
        with pytest.raises(AlignmentError, match="widen the region"):
            to_zarr(da.from_array(CELLS[region], chunks=-1), values, mode="r+", region=region, align="error")
    assert values == before


CUTTING = [
    (slice(2, 18), slice(None)),
    (slice(None), slice(0, 13)),
    (slice(0, 8), slice(3, 6)),
    (slice(7, 9), slice(5, 7)),
    (slice(3, 4), slice(4, 5)),
]


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", [-1, (5, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("region", CUTTING, ids=str)
def test_regions_that_cut_shards_keep_the_cells_around_them(store, region, chunks, align):
    put_array(store)
    store.clear()
    expected = CELLS.copy()
    expected[region] *= -1
    to_zarr(da.from_array(expected[region], chunks=chunks), store, mode="r+", region=region, align=align)
    same(from_zarr(store).compute(), expected)
    touched = sorted(key for key in ALL_KEYS for box in [box_of(key)] if (expected[box] != CELLS[box]).any())
    cut = sorted(key for key in touched if (expected[box_of(key)] == CELLS[box_of(key)]).any())
    assert sorted(store.keys("set")) == touched
    store.clear()
    to_zarr(da.from_array(expected[region], chunks=chunks), store, mode="r+", region=region, align=align)
    assert sorted(store.keys(*READS)) == [*cut, "zarr.json"]


def box_of(key):
    """The cells of a shard, by its key."""
    return tuple(slice(int(i) * n, (int(i) + 1) * n) for i, n in zip(key.split("/")[1:], SHARDS, strict=True))


# ---- settings that cannot be

BAD_SETTINGS = {
    "inner chunks that do not divide": ({"shards": (8, 6), "chunks": (3, 3)}, MetadataError),
    "inner chunks larger than shards": ({"shards": (8, 6), "chunks": (16, 6)}, MetadataError),
    "too few lengths of shards": ({"shards": (8,), "chunks": (2, 3)}, MetadataError),
    "too few lengths of inner chunks": ({"shards": (8, 6), "chunks": (2,)}, MetadataError),
    "shards of nothing": ({"shards": (0, 6), "chunks": (2, 3)}, MetadataError),
    "shards of fractions": ({"shards": (8.5, 6), "chunks": (2, 3)}, MetadataError),
    "shards listed": ({"shards": ((8, 10), 6), "chunks": (2, 3)}, MetadataError),
    "inner chunks listed": ({"shards": (8, 6), "chunks": ((2, 6), 3)}, MetadataError),
    "shards of v2": ({"shards": (8, 6), "chunks": (2, 3), "zarr_format": 2}, UnsupportedError),
    "shards of N5": ({"shards": (8, 6), "chunks": (2, 3), "zarr_format": "n5"}, UnsupportedError),
    "codecs after the shard": ({"codecs": [sharded((2, 3)), ZSTD], "chunks": (8, 6)}, UnsupportedError),
    "a checksum after the shard": ({"codecs": [sharded((2, 3)), CRC32C], "chunks": (8, 6)}, UnsupportedError),
    "an inner codec that is not known": (
        {"shards": (8, 6), "chunks": (2, 3), "compressors": "nonesuch"},
        MetadataError,
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(name):
    settings, kind = BAD_SETTINGS[name]
    values = {}
    with pytest.raises(kind):
        to_zarr(blocks(), values, **settings)
    with pytest.raises(kind):
        create_array(values, shape=SHAPE, dtype="i4", **settings)
    assert values == {}


def test_a_codec_after_a_nested_shard_is_refused_for_a_new_array():
    with pytest.raises(UnsupportedError):
        to_zarr(blocks(), {}, codecs=[sharded((4, 6), [sharded((2, 3)), ZSTD])], chunks=SHARDS)


# ---- what it costs to read


def test_a_whole_shard_is_one_request(store):
    put_array(store)
    array = from_zarr(store)
    assert array.chunks == ((8, 8, 2), (6, 6, 2))
    for read in (array, array + 0):
        store.clear()
        same(read.compute(), CELLS)
        assert sorted(store.keys(*READS)) == ALL_KEYS
    store.clear()
    array[8:16, 6:12].compute()
    array[16:, 12:].compute()
    assert store.keys() == ["c/1/1", "c/2/2"]


def test_part_of_a_shard_is_its_index_and_what_is_needed_of_it(counted, place):
    array = from_zarr(place)
    same(array[9:11, 7:9].compute(), CELLS[9:11, 7:9])  # two inner chunks, with one between them
    assert counted == [("c/1/1", ByteRange(-132)), ("c/1/1", ByteRange(0, 72))]
    counted.clear()
    same(array[12:13, 6:7].compute(), CELLS[12:13, 6:7])
    assert counted == [("c/1/1", ByteRange(96, 24))]


def test_parts_of_several_shards(counted, place):
    array = from_zarr(place)
    same(array[7:9, 5:7].compute(scheduler="sync"), CELLS[7:9, 5:7])
    assert sorted(key for key, _ in counted) == ["c/0/0"] * 2 + ["c/0/1"] * 2 + ["c/1/0"] * 2 + ["c/1/1"] * 2
    counted.clear()
    same(array[6:10, 0:3].compute(scheduler="sync"), CELLS[6:10, 0:3])
    assert sorted(key for key, _ in counted) == ["c/0/0", "c/1/0"]


@pytest.fixture(params=["local", "memory file system"])
def place(request, tmp_path):
    """Where an array in shards is, in a store that reads ranges."""
    if request.param == "local":
        yield put_array(str(tmp_path))
        return
    root = f"/sharded-{tmp_path.name}-{os.getpid()}"
    yield put_array("memory:/" + root)
    fsspec.filesystem("memory").rm(root, recursive=True)


@pytest.fixture
def counted(monkeypatch, place):
    """Every range of a value that was asked for, by its key."""
    asked = []
    for kind in (LocalStore, FilesystemStore):

        def get_ranges(self, key, byte_ranges, traffic=None, get=kind.get_ranges):
            asked.extend((key, byte_range) for byte_range in byte_ranges)
            return get(self, key, byte_ranges)

        monkeypatch.setattr(kind, "get_ranges", get_ranges)
    return asked


def test_a_store_that_reads_no_ranges_gives_whole_shards_once_each():
    store = put_array(RecordingStore(MappingStore({})))
    array = from_zarr(store)
    store.clear()
    same(array[7:9, 5:7].compute(), CELLS[7:9, 5:7])
    assert sorted(store.keys()) == ["c/0/0", "c/0/1", "c/1/0", "c/1/1"]


def test_more_than_half_of_a_shard_is_read_whole(store):
    put_array(store)
    array = from_zarr(store)
    store.clear()
    same(array[0:7, 0:4].compute(), CELLS[0:7, 0:4])
    assert store.keys() == ["c/0/0"]


def test_one_task_an_inner_chunk_reads_each_index_once(store):
    put_array(store)
    array = from_zarr(store, chunks=INNER)
    assert array.npartitions == 9 * 5
    store.clear()
    same((array + 0).compute(scheduler="sync"), CELLS)
    counts = store.count()["get"] + store.count()["get_many"]
    # Seven whole edge shards' pieces are less than half as well: a request an inner chunk, and one an index.
    assert counts <= 45 + 9
    store.clear()
    same(array.compute(scheduler="sync"), CELLS)
    assert sorted(store.keys(*READS)) == ALL_KEYS  # computed alone, it is read in whole shards


def test_a_shard_replaced_by_another_store_is_read_by_its_own_index(tmp_path):
    put_array(str(tmp_path))
    array = from_zarr(str(tmp_path))
    same(array[9:11, 7:9].compute(), CELLS[9:11, 7:9])
    other = LocalStore(str(tmp_path))
    changed = CELLS.copy()
    changed[8:10, 6:9] = 0  # the first inner chunk goes, all others move, and the last comes
    before = other.get("c/1/1")
    for cells in (changed, CELLS):
        values = put_array({}, cells)
        other.set("c/1/1", values["c/1/1"])
        same(array[11:13, 7:9].compute(), cells[11:13, 7:9])
    assert other.get("c/1/1") == before


def test_handles_of_sharded_arrays_are_small(tmp_path):
    put_array(str(tmp_path), compressors="blosc")
    handle, _, _ = from_zarr(str(tmp_path))._read
    assert len(pickle.dumps(handle)) < 900
    assert pickle.loads(pickle.dumps(handle)) is handle


@pytest.mark.parametrize("chunks", [None, "auto", INNER, (3, 5), -1, ((5, 8, 5), (14,)), (8, 3)], ids=str)
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_any_cut_reads_the_same(chunks, scheduler):
    values = put_array({}, compressors="zstd")
    check_slices(values, chunks=chunks, scheduler=scheduler)


PROGRAM = """
import dask, numpy as np, dask.array as da
from daskzarr import from_zarr, to_zarr
assert da.array_expr_enabled()
cells = np.arange(1, 18 * 14 + 1, dtype="i4").reshape(18, 14)
for options in ({"shards": (8, 6), "chunks": (2, 3)}, {}):
    chunks = (8, 6) if options else ((8, 4, 6), (6, 7, 1))
    to_zarr(da.from_array(cells, chunks=chunks), values := {}, **options)
    array = from_zarr(values)
    assert array.chunks == da.from_array(cells, chunks=chunks).chunks
    for slices in (np.s_[:], np.s_[3:9, 4:8], np.s_[-1], np.s_[::3, 5]):
        np.testing.assert_array_equal(array[slices].compute(), cells[slices])
        np.testing.assert_array_equal((array + 1)[slices].compute(), cells[slices] + 1)
"""


def test_shards_and_chunks_of_different_lengths_under_query_planning():
    environment = {**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True"}
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], env=environment, check=True)


# ---- codecs

PIPELINES = {
    "two levels": [sharded((4, 6), [sharded((2, 3))])],
    "three levels": [sharded((4, 6), [sharded((2, 6), [sharded((1, 2), [LITTLE, CRC32C])])])],
    "index at start": [sharded((2, 3), location="start")],
    "big-endian index": [sharded((2, 3), index=[BIG])],
    "index without checksum": [sharded((2, 3), index=[LITTLE])],
    "transposed before": [transpose(1, 0), sharded((3, 2))],
    "transposed within": [sharded((2, 3), [transpose(1, 0), BIG])],
    "transposed at every level": [transpose(1, 0), sharded((6, 4), [transpose(1, 0), sharded((2, 3))])],
    "compressed": [sharded((2, 3), [LITTLE, ZSTD, CRC32C])],
    "one inner chunk": [sharded((8, 6))],
    "single cells": [sharded((1, 1))],
    "filtered before": [{"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}}, sharded((2, 3))],
    "filtered within": [sharded((2, 3), [{"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}}, LITTLE])],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_any_pipeline_is_written_and_read(name):
    values = {}
    cells = CELLS.copy()
    cells[:8, :3] = cells[9:12, 7:] = 5
    to_zarr(blocks(cells), values, codecs=PIPELINES[name], chunks=SHARDS, fill_value=5)
    assert json.loads(values["zarr.json"])["codecs"] == PIPELINES[name]
    check_slices(values, cells)


def test_three_axes_in_a_cycle():
    cells = distinct_values((5, 7, 9), "int16", 1)
    values = {}
    codecs = [transpose(2, 0, 1), sharded((3, 2, 2), [transpose(1, 2, 0), LITTLE])]
    to_zarr(da.from_array(cells, chunks=(4, 4, 6)), values, codecs=codecs, chunks=(4, 4, 6))
    array = from_zarr(values)
    same(array.compute(), cells)
    for slices in itertools.product([slice(1, 2), slice(3, 5)], [slice(0, 1), slice(3, 6)], [slice(5, 7), slice(8, 9)]):
        same(array[slices].compute(), cells[slices])
    assert values["c/0/0/0"][:24] == cells[:2, :2, :3].transpose(2, 0, 1).transpose(1, 2, 0).tobytes()


@pytest.mark.parametrize("after", [[ZSTD], [CRC32C], [ZSTD, CRC32C]], ids=str)
def test_codecs_after_the_shard_are_read_through_the_whole_object(after, store):
    inner = CELLS[:8, :6].reshape(4, 2, 2, 3).swapaxes(1, 2).copy()
    index = np.array([(24 * i, 24) for i in range(8)], "<u8").tobytes()
    value = inner.tobytes() + summed(index)
    for codec in after:
        value = numcodecs.zstd.compress(value) if codec is ZSTD else summed(value)
    store.set("zarr.json", document((8, 6), regular(8, 6), [sharded((2, 3)), *after]))
    store.set("c/0/0", value)
    array = from_zarr(store)
    same(array.compute(), CELLS[:8, :6])
    store.clear()
    same(array[3:4, 4:6].compute(), CELLS[3:4, 4:6])
    assert store.count().total() == 1


# ---- cells and fill values

FLOATS = {"minus zero": "0x80000000", "NaN": "NaN", "payload": "0x7fc00123", "infinity": "Infinity", "zero": 0.0}


@pytest.mark.parametrize("fill", FLOATS)
def test_fill_values_are_kept_to_the_bit(fill):
    bits = {"minus zero": 1 << 31, "NaN": 0x7FC00000, "payload": 0x7FC00123, "infinity": 0x7F800000, "zero": 0}
    cells = np.array(list(bits.values()), "u4").view("f4").repeat(4)
    values = {"zarr.json": document((20,), regular(12), [sharded((4,))], "float32", FLOATS[fill])}
    to_zarr(da.from_array(cells, chunks=12), values, mode="r+")
    same(from_zarr(values).compute(), cells)
    same(from_zarr(values)[3:6].compute(), cells[3:6])
    absent = [
        pair for key in ("c/0", "c/1") for pair in np.frombuffer(values[key][-52:-4], "<u8").reshape(3, 2).tolist()
    ]
    # The second shard's last inner chunk lies outside the array: it is fill whatever is there.
    assert absent.count([ABSENT, ABSENT]) == 2
    assert absent[list(bits).index(fill)] == [ABSENT, ABSENT]


DTYPES = ["bool", "u1", "i8", "f2", "f8", "c8", "M8[ns]", "m8[s]", "S4", "U3", "V3", [("a", "i2"), ("b", "f8")]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cells_of_every_dtype(dtype):
    dtype = np.dtype(dtype)
    count = 60
    if dtype.kind in "SU":
        cells = np.array([str(i) for i in range(count)], dtype)
    elif dtype.kind in "MmV":
        cells = (np.arange(count * dtype.itemsize) % 251 + 1).astype("u1").view(dtype).copy()
    else:
        cells = distinct_values((count,), dtype, 1)
    cells = cells.reshape(10, 6)
    values = {}
    to_zarr(da.from_array(cells, chunks=(4, 4)), values, shards=(4, 4), chunks=(2, 2))
    array = from_zarr(values)
    same(array.compute(), cells)
    for slices in [(slice(1, 2), slice(1, 2)), (slice(3, 5), slice(3, 5)), (slice(9, 10), slice(None))]:
        same(array[slices].compute(), cells[slices])


def test_texts_of_any_length():
    cells = np.array([["a", "", "longer than the others"], ["\u00fc\U0001f30a", "b", ""]] * 3, object)
    values = {}
    to_zarr(da.from_array(cells, chunks=(4, 2)), values, shards=(4, 2), chunks=(2, 1), dtype=str)
    array = from_zarr(values)
    assert array.compute().tolist() == cells.tolist()
    assert array[1:2, 1:3].compute().tolist() == cells[1:2, 1:3].tolist()


def test_a_scalar_in_a_shard():
    values = {}
    to_zarr(da.from_array(np.array(7, "i2")), values, shards=(), chunks=(), compressors=None)
    assert values["c"] == b"\7\0" + summed(np.array([0, 2], "<u8").tobytes())
    assert from_zarr(values).compute() == 7


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_arrays_without_cells(shape):
    values = {}
    to_zarr(da.zeros(shape, chunks=4), values, shards=(4,) * len(shape), chunks=(2,) * len(shape))
    assert sorted(values) == ["zarr.json"]
    assert from_zarr(values).compute().shape == shape


# ---- chunks that are not there


def test_absent_shards_and_inner_chunks_read_as_fill():
    cells = CELLS.copy()
    cells[:8] = cells[10:12, 6:9] = -3
    values = put_array({}, cells, fill_value=-3)
    assert "c/0/0" not in values
    check_slices(values, cells)


def test_an_absent_inner_chunk_is_an_error_that_names_it_if_that_is_asked_for():
    cells = CELLS.copy()
    cells[10:12, 6:9] = 0
    values = put_array({}, cells, write_empty_chunks=True)
    one = put_array({}, cells)["c/1/1"]
    values["c/1/1"] = one
    strict = from_zarr(values, missing="error")
    same(strict[:8].compute(), cells[:8])
    same(strict[8:10, 7:8].compute(), cells[8:10, 7:8])
    same(strict[13:15, 9:12].compute(), cells[13:15, 9:12])
    for slices in [(slice(11, 12), slice(7, 8)), (slice(8, 16), slice(6, 12)), (slice(None), slice(None))]:
        for array in (strict[slices], strict[slices] + 0):
            with pytest.raises(MissingChunkError, match=r"inner chunk \(1, 0\)") as caught:
                array.compute()
            assert caught.value.chunk_key == "c/1/1"


def test_an_absent_shard_is_an_error_if_that_is_asked_for():
    values = put_array({}, write_empty_chunks=True)
    del values["c/1/1"]
    strict = from_zarr(values, missing="error")
    for slices in [(slice(9, 10), slice(7, 8)), (slice(8, 16), slice(6, 12))]:
        with pytest.raises(MissingChunkError) as caught:
            strict[slices].compute()
        assert caught.value.chunk_key == "c/1/1"


@pytest.mark.parametrize("chunks", [None, -1], ids=["a block a shard", "one block"])
def test_an_inner_chunk_outside_the_array_is_not_missing(chunks):
    values = put_array({})
    same(from_zarr(values, chunks=chunks, missing="error").compute(), CELLS)


# ---- damage

READERS = {
    "whole": lambda array: array[8:16, 6:12].compute(),
    "a task a block": lambda array: (array + 0).compute(),
    "part": lambda array: array[12:14, 8:10].compute(),
    "cut": lambda array: (array.rechunk(5)[5:15, 5:10] + 0).compute(),
}


@pytest.mark.parametrize("how", READERS)
def test_every_damage_that_can_be_seen_is_a_codec_error_that_names_the_shard(how):
    values = put_array({}, codecs=[sharded(INNER, [LITTLE, CRC32C])], chunks=SHARDS, shards=None, compressors="auto")
    sound = values["c/1/1"]
    index_size = 8 * 16 + 4
    damaged = [sound[:n] for n in (0, 1, index_size - 1, index_size, len(sound) // 2, len(sound) - 1)]
    flips = [28 * 4 + 2, *range(len(sound) - index_size, len(sound), 7)]  # first the inner chunk (2, 0): all need it
    damaged += [sound[:at] + bytes([sound[at] ^ 0x20]) + sound[at + 1 :] for at in flips]
    for number, value in enumerate(damaged):
        values["c/1/1"] = value
        with pytest.raises(CodecError) as caught:
            READERS[how](from_zarr(MappingStore(dict(values))))
        assert caught.value.chunk_key == "c/1/1", number
        assert pickle.loads(pickle.dumps(caught.value)).chunk_key == "c/1/1"
    values["c/1/1"] = sound
    READERS[how](from_zarr(values))


@pytest.mark.parametrize("how", ["whole", "part"])
@pytest.mark.parametrize("place", [(2**63, 8), (2**63 - 4, 4), (2**62, 2**62), (10**6, 24), (100, 0)], ids=str)
def test_an_index_that_leads_nowhere_is_a_codec_error(how, place):
    values = put_array({})
    index = np.frombuffer(values["c/1/1"][-132:-4], "<u8").copy()
    index[8:10] = place  # the inner chunk (2, 0)
    values["c/1/1"] = values["c/1/1"][:-132] + summed(index.tobytes())
    with pytest.raises(CodecError, match=r"inner chunk \(2, 0\)") as caught:
        READERS[how](from_zarr(values))
    assert caught.value.chunk_key == "c/1/1"


# ---- memory


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE = {"10^8 inner chunks": (10**8, 1), "an inner chunk of 2^62 cells": (2**62, 2**62), "2^60 cells": (2**60, 2**54)}


@pytest.mark.parametrize("part", [slice(0, 1), slice(0, 3)])
@pytest.mark.parametrize("name", HUGE)
def test_a_document_of_huge_shards_takes_no_memory_before_there_are_data(name, part):
    shard, inner = HUGE[name]
    values = {"zarr.json": document((4,), regular(shard), [sharded((inner,))])}

    def read():
        same(from_zarr(values)[part].compute(), np.zeros(4, "i4")[part])

    assert peak_of(read) < 2**20


@pytest.mark.parametrize("part", [slice(0, 1), slice(0, 4)], ids=["part", "whole"])
@pytest.mark.parametrize("name", HUGE)
def test_a_huge_shard_of_few_bytes_is_a_codec_error(name, part):
    shard, inner = HUGE[name]
    values = {"zarr.json": document((4,), regular(shard), [sharded((inner,))])}
    values["c/0"] = b"\1\0\0\0" + summed(np.array([0, 4] * min(shard // inner, 64), "<u8").tobytes())

    def read():
        with pytest.raises(CodecError):
            from_zarr(values)[part].compute()

    assert peak_of(read) < 2**20


def test_a_huge_shard_of_which_little_is_stored_is_read():
    values = {"zarr.json": document((4,), regular(2**50), [sharded((2**49,))])}
    values["c/0"] = summed(np.array([ABSENT] * 4, "<u8").tobytes())
    same(from_zarr(values).compute(), np.zeros(4, "i4"))


# ---- chunks of different lengths, in shards

EDGES = ((4, 8, 6), (6, 9))  # the shards of a rectilinear grid: multiples of (2, 3)


def irregular(**options):
    values = {"zarr.json": document((18, 15), rectilinear([4, 8, 6], [6, 9]), [sharded((2, 3))], **options)}
    cells = distinct_values((18, 15), "int32", 1)
    cells[4:6, 6:9] = 0
    to_zarr(da.from_array(cells, chunks=EDGES), values, mode="r+")
    return values, cells


def test_shards_of_different_lengths_have_indices_of_different_lengths():
    values, cells = irregular()
    array = from_zarr(values)
    assert array.chunks == EDGES
    for (i, rows), (j, columns) in itertools.product(enumerate(EDGES[0]), enumerate(EDGES[1])):
        absent = int((i, j) == (1, 1))
        count = rows * columns // 6
        assert len(values[f"c/{i}/{j}"]) == (count - absent) * 24 + 16 * count + 4
    same(array.compute(), cells)
    for slices in [(slice(3, 5), slice(5, 7)), (slice(11, 12), slice(14, 15)), (slice(13, 18), slice(0, 1))]:
        same(array[slices].compute(), cells[slices])
        same((from_zarr(values, chunks=(5, 4))[slices] + 0).compute(), cells[slices])


def test_shards_that_hang_over_the_edge_of_an_irregular_grid():
    values = {"zarr.json": document((7,), rectilinear([[4, 1], 8, 4]), [sharded((2,))])}
    cells = np.arange(1, 8, dtype="i4")
    to_zarr(da.from_array(cells, chunks=((4, 3),)), values, mode="r+")
    assert sorted(values) == ["c/0", "c/1", "zarr.json"]
    assert len(values["c/1"]) == 2 * 8 + 4 * 16 + 4
    same(from_zarr(values).compute(), cells)
    same(from_zarr(values)[6:7].compute(), cells[6:7])


@pytest.mark.parametrize("axes", [([4, 7, 7], [6, 9]), ([4, 8, 6], [6, 8, 1]), ([4, 8, 6], 5)], ids=str)
def test_lengths_that_inner_chunks_do_not_divide_are_refused(axes):
    values = {"zarr.json": document((18, 15), rectilinear(*axes), [sharded((2, 3))])}
    with pytest.raises(MetadataError, match="does not divide"):
        from_zarr(values)


# ---- any array, any shards, any layout of them, any slices


def write_shard(cells, inner, fill, dtype, options, rng):
    """The bytes of a shard: independent of ours, in any order, with gaps, and some of fill left out."""
    counts = [n // c for n, c in zip(cells.shape, inner, strict=True)]
    index = np.full([*counts, 2], ABSENT, "u8")
    size = 16 * index.size // 2 + 4 * options["checked"]
    start = size if options["location"] == "start" else 0
    numbers = list(np.ndindex(*counts))
    rng.shuffle(numbers)
    body = b""
    for number in numbers:
        chunk = cells[tuple(slice(i * c, (i + 1) * c) for i, c in zip(number, inner, strict=True))]
        if chunk.tobytes() == np.full(chunk.shape, fill, dtype).tobytes() and rng.random() < 0.8:
            continue
        data = chunk.transpose(options["order"]).astype(dtype.newbyteorder("<>"[options["big"]])).tobytes()
        data = numcodecs.zstd.compress(data) if options["compressed"] else data
        body += rng.randbytes(rng.choice([0, 0, 3]))
        found = body.find(data) if rng.random() < 0.5 else -1
        index[number] = start + (len(body) if found < 0 else found), len(data)
        body += data if found < 0 else b""
    stored = index.astype("<u8").tobytes()
    stored = summed(stored) if options["checked"] else stored
    return stored + body if start else body + stored


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_array_in_shards_is_read(data):
    ndim = data.draw(st.integers(1, 3))
    sides = st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)
    inner = tuple(data.draw(sides))
    shard = tuple(n * t for n, t in zip(inner, data.draw(sides), strict=True))
    shape = tuple(data.draw(st.integers(1, 2 * n + 1)) for n in shard)
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", "f4", "f8", "c8"])))
    options = {name: data.draw(st.booleans()) for name in ("big", "checked", "compressed")}
    options["location"] = data.draw(st.sampled_from(["start", "end"]))
    options["order"] = data.draw(st.permutations(range(ndim)))
    before = data.draw(st.permutations(range(ndim)))
    cells = distinct_values(shape, dtype, 1)
    cells[tuple(slice(0, data.draw(st.integers(0, n))) for n in shape)] = 3
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    grid = [range(-(-n // c)) for n, c in zip(shape, shard, strict=True)]
    endian = BYTES if dtype.itemsize == 1 else BIG if options["big"] else LITTLE
    codecs = [transpose(*options["order"]), endian, *([ZSTD] if options["compressed"] else [])]
    index = [LITTLE, CRC32C] if options["checked"] else [LITTLE]
    codecs = [transpose(*before), sharded([inner[i] for i in before], codecs, index, options["location"])]
    fill = [3.0, 0.0] if dtype.kind == "c" else 3
    values = {"zarr.json": document(shape, regular(*shard), codecs, dtype.name, fill)}
    for number in itertools.product(*grid):
        whole = np.full(shard, 3, dtype)
        slices = tuple(slice(i * c, (i + 1) * c) for i, c in zip(number, shard, strict=True))
        part = cells[slices]
        whole[tuple(map(slice, part.shape))] = part
        key = "/".join(["c", *map(str, number)])
        stored = whole.transpose(before)
        values[key] = write_shard(stored, [inner[i] for i in before], 3, dtype, options, rng)
    array = from_zarr(values)
    with dask.config.set(scheduler="sync"):
        same(array.compute(), cells)
        for _ in range(3):
            slices = tuple(data.draw(st.slices(n)) for n in shape)
            same(array[slices].compute(), cells[slices])
        odd = from_zarr(values, chunks=tuple(data.draw(st.integers(1, n)) for n in shape))
        same((odd + 0).compute(), cells)
        again = {}
        to_zarr(array, again, shards=shard, chunks=inner, fill_value=3)
        same(from_zarr(again).compute(), cells)
        same(from_zarr(again)[slices].compute(), cells[slices])


def test_a_document_of_shards_in_shards_without_end_is_an_error():
    codecs = [LITTLE]
    for _ in range(310):
        codecs = [sharded((1,), codecs)]
    with pytest.raises(DaskZarrError):
        from_zarr({"zarr.json": document((4,), regular(1), codecs)})
