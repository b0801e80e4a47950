"""Shards: what daskzarr writes, zarr-python, zarrs and tensorstore read bit for bit; and the other way round."""

import itertools
import json
import tempfile
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import create_array, from_zarr, to_zarr
from daskzarr.testing import distinct_values

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
CRC32C = {"name": "crc32c"}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 4, "blocksize": 0},
}
pytestmark = pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec:UserWarning")

SHAPE, SHARDS, INNER = (18, 14), (8, 6), (2, 3)


def transpose(*order):
    return {"name": "transpose", "configuration": {"order": list(order)}}


def sharded(inner, codecs=(LITTLE,), index=(LITTLE, CRC32C), location="end"):
    members = {"chunk_shape": list(inner), "codecs": list(codecs), "index_codecs": list(index)}
    return {"name": "sharding_indexed", "configuration": {**members, "index_location": location}}


def document(codecs, shape=SHAPE, shards=SHARDS, data_type="int32", fill_value=5):
    members = {"zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": data_type}
    members["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": list(shards)}}
    members["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
    return json.dumps(members | {"fill_value": fill_value, "codecs": codecs, "attributes": {}})


def put_document(folder, *args, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(document(*args, **options))
    return str(folder)


class ZarrPython:
    """zarr-python, with the codecs of its own."""

    pipeline = "zarr.core.codec_pipeline.BatchedCodecPipeline"
    name = "BatchedCodecPipeline"

    def opened(self, path):
        array = zarr.open_array(path, mode="r+", zarr_format=3)
        assert type(array._async_array.codec_pipeline).__name__ == self.name
        return array

    def write(self, path, cells, where=...):
        with zarr.config.set({"codec_pipeline.path": self.pipeline, "array.write_empty_chunks": False}):
            self.opened(path)[where] = cells

    def read(self, path, where=...):
        with zarr.config.set({"codec_pipeline.path": self.pipeline}):
            return np.asarray(self.opened(path)[where])


class Zarrs(ZarrPython):
    """zarrs, in the place of the codecs of zarr-python."""

    pipeline, name = "zarrs.ZarrsCodecPipeline", "ZarrsCodecPipeline"


class Tensorstore:
    """tensorstore."""

    def opened(self, path):
        return tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}).result()

    def write(self, path, cells, where=...):
        self.opened(path)[where] = cells

    def read(self, path, where=...):
        return self.opened(path)[where].read().result()


PEERS = {"zarr-python": ZarrPython(), "zarrs": Zarrs(), "tensorstore": Tensorstore()}


@pytest.fixture(params=PEERS)
def peer(request):
    if request.param == "zarrs":
        pytest.importorskip("zarrs")
    return PEERS[request.param]


PIPELINES = {
    "raw": [sharded(INNER)],
    "big-endian": [sharded(INNER, [BIG])],
    "gzip": [sharded(INNER, [LITTLE, GZIP])],
    "zstd, checked": [sharded(INNER, [LITTLE, ZSTD, CRC32C])],
    "blosc": [sharded(INNER, [LITTLE, BLOSC])],
    "index at start": [sharded(INNER, location="start")],
    "index at start, compressed": [sharded(INNER, [LITTLE, ZSTD], location="start")],
    "index without checksum": [sharded(INNER, index=[LITTLE])],
    "big-endian index": [sharded(INNER, index=[BIG, CRC32C])],
    "transposed index": [sharded(INNER, index=[transpose(2, 0, 1), LITTLE, CRC32C])],
    "single cells": [sharded((1, 1))],
    "one inner chunk": [sharded(SHARDS)],
    "transposed within": [sharded(INNER, [transpose(1, 0), LITTLE])],
    "transposed before, square": [transpose(1, 0), sharded((2, 2))],
    "transposed before": [transpose(1, 0), sharded((3, 2))],
    "nested": [sharded((4, 6), [sharded(INNER)])],
    "nested thrice": [sharded((4, 6), [sharded((2, 6), [sharded((1, 2), [LITTLE, GZIP])], location="start")])],
    "nested, transposed": [sharded((4, 6), [transpose(1, 0), sharded((3, 2), [LITTLE, ZSTD])])],
    "compressed as a whole": [sharded(INNER), ZSTD],
}
REFUSED = {
    # The inner shape has to divide the shard as transposed; it is held against the one that is not.
    (ZarrPython, "transposed before"): "needs to be divisible",
    (Zarrs, "transposed before"): "needs to be divisible",
    (Tensorstore, "compressed as a whole"): "FAILED_PRECONDITION",
}


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def cells():
    cells = distinct_values(SHAPE, "int32", 1)
    cells[3:9, 4:10] = cells[8:16, 6:12] = cells[16:, :2] = 5  # fill: inner chunks, and a whole shard
    return cells


SLICES = [
    (slice(3, 5), slice(3, 5)),
    (slice(0, 1), slice(None)),
    (slice(None), slice(13, 14)),
    (slice(7, 9), slice(5, 13)),
    (slice(17, 18), slice(2, 3)),
]


def same(array, expected):
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(expected).tobytes()


def check_ours(path, cells, slices=SLICES):
    """Read with daskzarr: whole, and in parts."""
    array = from_zarr(path)
    same(array.compute(), cells)
    for part in slices:
        same(array[part].compute(), cells[part])


@pytest.mark.parametrize("name", PIPELINES)
def test_each_reads_what_the_other_wrote(peer, name, cells, tmp_path):
    codecs = PIPELINES[name]
    theirs, ours = (put_document(tmp_path / who, codecs) for who in ("theirs", "ours"))
    to_zarr(da.from_array(cells, chunks=SHARDS), ours, mode="r+")
    refusal = REFUSED.get((type(peer), name))
    if refusal:
        with pytest.raises(ValueError, match=refusal):
            peer.read(ours)
        return
    peer.write(theirs, cells)
    check_ours(theirs, cells)
    same(peer.read(ours), cells)
    for part in SLICES:
        same(peer.read(ours, part), cells[part])


@pytest.mark.parametrize(
    "name", ["raw", "index at start, compressed", "nested thrice", "transposed before", "compressed as a whole"]
)
def test_parts_that_peers_replace_in_our_shards_are_read(peer, name, cells, tmp_path):
    if (type(peer), name) in REFUSED:
        pytest.skip("refused")
    path = put_document(tmp_path / "both", PIPELINES[name])
    to_zarr(da.from_array(cells, chunks=SHARDS), path, mode="r+")
    check_ours(path, cells)
    expected = cells.copy()
    for number, part in enumerate(SLICES):
        expected[part] = -expected[part] - number
        peer.write(path, expected[part], part)
        check_ours(path, expected)
    expected[8:16, 0:6] = 5
    peer.write(path, expected[8:16, 0:6], (slice(8, 16), slice(0, 6)))
    check_ours(path, expected)
    to_zarr(da.from_array(cells, chunks=SHARDS), path, mode="r+")
    same(peer.read(path), cells)


def objects(path):
    """Every stored shard by its key."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in sorted((path / "c").rglob("*")) if file.is_file()
    }


@pytest.mark.parametrize("name", ["raw", "big-endian", "index without checksum", "index at start", "transposed before"])
def test_tensorstore_writes_the_same_bytes(name, cells, tmp_path):
    for who in ("theirs", "ours"):
        put_document(tmp_path / who, PIPELINES[name])
    to_zarr(da.from_array(cells, chunks=SHARDS), tmp_path / "ours", mode="r+")
    PEERS["tensorstore"].write(str(tmp_path / "theirs"), cells)
    assert objects(tmp_path / "ours") == objects(tmp_path / "theirs")


@pytest.mark.parametrize("who", ["zarr-python", "zarrs"])
def test_others_write_the_same_inner_chunks_in_another_order(who, cells, tmp_path):
    if who == "zarrs":
        pytest.importorskip("zarrs")
    for place in ("theirs", "ours"):
        put_document(tmp_path / place, PIPELINES["raw"])
    to_zarr(da.from_array(cells, chunks=SHARDS), tmp_path / "ours", mode="r+")
    PEERS[who].write(str(tmp_path / "theirs"), cells)
    theirs, ours = objects(tmp_path / "theirs"), objects(tmp_path / "ours")
    assert theirs.keys() == ours.keys()
    for key in ours:
        assert len(theirs[key]) == len(ours[key])
        assert inner_chunks(theirs[key]) == inner_chunks(ours[key])


def inner_chunks(shard):
    index = np.frombuffer(shard[-132:-4], "<u8").reshape(8, 2).tolist()
    return [None if offset == 2**64 - 1 else shard[offset : offset + size] for offset, size in index]


def test_what_we_make_peers_call_shards(tmp_path):
    cells = distinct_values(SHAPE, "int32", 1)
    to_zarr(da.from_array(cells, chunks=SHARDS), tmp_path / "a", shards=SHARDS, chunks=INNER)
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert (array.chunks, array.shards) == (INNER, SHARDS)
    grid = PEERS["tensorstore"].opened(str(tmp_path / "a")).chunk_layout
    assert (grid.read_chunk.shape, grid.write_chunk.shape) == (INNER, SHARDS)
    create_array(tmp_path / "b", shape=SHAPE, dtype="int32", shards=SHARDS, chunks=INNER, order="F", compressors="gzip")
    zarr.open_array(tmp_path / "b", mode="r+")[:] = cells
    check_ours(str(tmp_path / "b"), cells)


def test_what_zarr_python_makes_we_read(tmp_path):
    cells = distinct_values(SHAPE, "float64", 1)
    array = zarr.create_array(tmp_path / "a", shape=SHAPE, chunks=INNER, shards=SHARDS, dtype="f8", fill_value=np.nan)
    array[:] = cells
    assert from_zarr(tmp_path / "a").chunks == ((8, 8, 2), (6, 6, 2))
    check_ours(str(tmp_path / "a"), cells)
    to_zarr(da.from_array(-cells, chunks=SHARDS), array)
    same(array[:], -cells)


def test_three_axes_in_a_cycle(tmp_path):
    cells = distinct_values((5, 7, 9), "int16", 1)
    codecs = [transpose(2, 0, 1), sharded((3, 2, 2), [transpose(1, 2, 0), LITTLE])]
    paths = [put_document(tmp_path / who, codecs, (5, 7, 9), (4, 4, 6), "int16", 0) for who in ("theirs", "ours")]
    PEERS["tensorstore"].write(paths[0], cells)
    to_zarr(da.from_array(cells, chunks=(4, 4, 6)), paths[1], mode="r+")
    assert objects(tmp_path / "ours") == objects(tmp_path / "theirs")
    slices = list(itertools.product([slice(1, 2), slice(3, 5)], [slice(0, 1), slice(3, 6)], [slice(5, 7), slice(8, 9)]))
    check_ours(paths[0], cells, slices)


FILLS = {"NaN": "NaN", "payload": "0x7ff8000000000123", "minus zero": "0x8000000000000000", "infinity": "-Infinity"}


@pytest.mark.parametrize("fill", FILLS)
def test_inner_chunks_that_are_absent_read_as_the_same_fill(fill, tmp_path):
    path = put_document(tmp_path / "a", [sharded((2,))], (10,), (8,), "float64", FILLS[fill])
    expected = np.zeros(10)
    expected[:4] = expected[8:] = np.nan
    array = from_zarr(path)
    filled = array.compute()
    assert len(set(filled.view("u8").tolist())) == 1
    expected[:4] = expected[8:] = filled[0]
    expected[4:8] = [1.5, 0.0, -0.0, 7.25]
    for who in ("zarr-python", "tensorstore"):
        PEERS[who].write(path, expected[4:8], slice(4, 8))
        check_ours(path, expected, [slice(3, 5), slice(6, 7), slice(9, 10)])
    to_zarr(da.from_array(expected, chunks=8), path, mode="r+")
    assert not (tmp_path / "a" / "c" / "1").exists()
    for who in ("zarr-python", "tensorstore"):
        same(PEERS[who].read(path), expected)


DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(peer, dtype, tmp_path):
    cells = distinct_values((10, 6), dtype, 1)
    serializer = {"name": "bytes"} if cells.itemsize == 1 else LITTLE
    fill = [0, 0] if cells.dtype.kind == "c" else False if cells.dtype.kind == "b" else 0
    codecs = [sharded((2, 2), [serializer, CRC32C])]
    theirs, ours = (put_document(tmp_path / who, codecs, (10, 6), (4, 4), dtype, fill) for who in ("theirs", "ours"))
    peer.write(theirs, cells)
    check_ours(theirs, cells, [(slice(1, 2), slice(1, 2)), (slice(3, 5), slice(3, 5))])
    to_zarr(da.from_array(cells, chunks=(4, 4)), ours, mode="r+")
    same(peer.read(ours), cells)


def test_texts_of_zarr_python(tmp_path):
    texts = np.array(["", "a", "longer", "\u00fc\U0001f30a"] * 6, object).reshape(8, 3)
    array = zarr.create_array(tmp_path / "a", shape=(8, 3), chunks=(2, 1), shards=(4, 3), dtype=str)
    array[:] = texts
    read = from_zarr(tmp_path / "a")
    assert read.compute().tolist() == texts.tolist()
    assert read[3:5, 1:2].compute().tolist() == texts[3:5, 1:2].tolist()
    to_zarr(da.from_array(texts, chunks=(4, 3)), tmp_path / "b", shards=(4, 3), chunks=(2, 1), dtype=str)
    assert zarr.open_array(tmp_path / "b")[:].astype(object).tolist() == texts.tolist()


def test_dates_of_zarr_python(tmp_path):
    dates = np.arange(20).astype("M8[h]").reshape(10, 2)
    dates[3, 1] = "NaT"
    array = zarr.create_array(tmp_path / "a", shape=(10, 2), chunks=(2, 1), shards=(4, 2), dtype=dates.dtype)
    array[:] = dates
    same(from_zarr(tmp_path / "a").compute(), dates)
    same(from_zarr(tmp_path / "a")[3:5, 1:].compute(), dates[3:5, 1:])
    to_zarr(da.from_array(dates, chunks=(4, 2)), tmp_path / "b", shards=(4, 2), chunks=(2, 1))
    same(zarr.open_array(tmp_path / "b")[:], dates)


@pytest.mark.filterwarnings("ignore:The data type")
def test_structures_of_zarr_python(tmp_path):
    dtype = np.dtype([("a", "<i4"), ("b", "<f4")])
    cells = np.zeros(8, dtype)
    cells["a"], cells["b"] = np.arange(8), np.arange(8) / 2
    zarr.create_array(tmp_path / "a", shape=(8,), chunks=(2,), shards=(4,), dtype=dtype)
    to_zarr(da.from_array(cells, chunks=4), tmp_path / "a", mode="r+")
    same(from_zarr(tmp_path / "a").compute(), cells)  # zarr-python 3.1 itself cannot read or write such shards


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_any_shards_of_tensorstore_and_zarr_python_are_read(data):
    ndim = data.draw(st.integers(1, 3))
    sides = st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)
    inner = data.draw(sides)
    middle = [n * t for n, t in zip(inner, data.draw(sides), strict=True)]
    shards = [n * t for n, t in zip(middle, data.draw(sides), strict=True)]
    shape = [data.draw(st.integers(1, 2 * n + 1)) for n in shards]
    order = data.draw(st.permutations(range(ndim)))
    codecs = [transpose(*order), data.draw(st.sampled_from([LITTLE, BIG]))]
    codecs += data.draw(st.sampled_from([[], [ZSTD], [CRC32C]]))
    locations = st.sampled_from(["start", "end"])
    codecs = [sharded(inner, codecs, location=data.draw(locations))]
    if data.draw(st.booleans()):
        codecs = [sharded(middle, codecs, location=data.draw(locations))]
    cells = distinct_values(tuple(shape), "int32", 1)
    cells[tuple(slice(0, data.draw(st.integers(0, n))) for n in shape)] = 5
    peer = PEERS[data.draw(st.sampled_from(["tensorstore", "zarr-python"]))]
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = (put_document(Path(folder) / who, codecs, shape, shards) for who in ("theirs", "ours"))
        peer.write(theirs, cells)
        check_ours(theirs, cells, [tuple(data.draw(st.slices(n)) for n in shape) for _ in range(3)])
        to_zarr(da.from_array(cells, chunks=tuple(shards)), ours, mode="r+")
        same(peer.read(ours), cells)
