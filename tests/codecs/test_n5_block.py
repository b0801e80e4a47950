"""N5's blocks: the format's byte vectors, its peers' streams both ways, and damage that has to be noticed."""

import bz2
import gzip
import itertools
import json
import lzma
import random
import struct
import zlib

import numcodecs
import numpy as np
import pytest
import tensorstore
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.codecs import BytesSpec, ChunkSpec, CodecPipeline
from daskzarr.codecs.lz4_frames import Lz4FramesCodec
from daskzarr.codecs.n5_block import N5BlockCodec, N5DefaultCodec
from daskzarr.codecs.n5_compression import read_compression
from daskzarr.codecs.registry import codec_class
from daskzarr.codecs.xxh32 import xxh32
from daskzarr.errors import CodecError, DaskZarrError, UnknownCodecError
from daskzarr.metadata import n5
from daskzarr.testing.strategies import distinct_values

DTYPES = [*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("u", "")), "float32", "float64"]
COMPRESSIONS = [
    {"type": "raw"},
    {"type": "gzip"},
    {"type": "gzip", "level": 9, "useZlib": False},
    {"type": "gzip", "level": 1, "useZlib": True},
    {"type": "zlib", "level": 3},
    {"type": "bzip2", "blockSize": 1},
    {"type": "xz", "preset": 0},
    {"type": "lz4", "blockSize": 64},
    {"type": "lz4"},
    {"type": "zstd", "level": 1},
    {"type": "blosc"},
    {"type": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2, "blocksize": 0, "nthreads": 4},
    {"type": "blosc", "cname": "lz4", "clevel": 9, "shuffle": 1, "blocksize": 0},
]
OF_TENSORSTORE = [
    {"type": "raw"},
    {"type": "gzip", "level": 6},
    {"type": "gzip", "level": 6, "useZlib": True},
    {"type": "bzip2", "blockSize": 9},
    {"type": "xz", "preset": 0},
    {"type": "zstd", "level": 3},
    *(
        {"type": "blosc", "cname": cname, "clevel": 5, "shuffle": shuffle}
        for cname, shuffle in [("lz4", 1), ("zstd", 2), ("blosclz", 0), ("zlib", 1), ("lz4hc", 1)]
    ),
]


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def numbers(shape, dtype="int16", compression=None):
    spec = ChunkSpec(shape, np.dtype(dtype), np.dtype(dtype).type(0))
    return N5BlockCodec.from_config({"compression": compression or {"type": "raw"}}, spec)


def objects(shape, data_type, compression=None):
    spec = ChunkSpec(shape, np.dtype(object), "" if data_type == "string" else b"")
    return N5BlockCodec.from_config({"compression": compression or {"type": "raw"}, "dataType": data_type}, spec)


def in_v3(shape, dtype="int16", *compressors, endian="big"):
    order = list(range(len(shape)))[::-1]
    codecs = [
        {"name": "transpose", "configuration": {"order": order}},
        {"name": "bytes", "configuration": {"endian": endian} if endian else {}},
        *compressors,
    ]
    return N5DefaultCodec.from_config({"codecs": codecs}, ChunkSpec(shape, np.dtype(dtype), np.dtype(dtype).type(0)))


def head(*shape, mode=0, count=None):
    return struct.pack(f">HH{len(shape)}I", mode, len(shape), *shape) + (b"" if count is None else words(count))


def words(*values):
    return struct.pack(f">{len(values)}I", *values)


def big(*values):
    return np.array(values, ">i2").tobytes()


# ---- vectors

FIFTEEN = np.arange(1, 16, dtype="int16").reshape(3, 5)  # dimensions 5 x 3 in N5's order


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ((0, 0), "00 00 | 00 02 | 00 00 00 02 | 00 00 00 02 | 00 01 00 02 00 06 00 07"),
        ((1, 2), "00 00 | 00 02 | 00 00 00 01 | 00 00 00 01 | 00 0f"),
        ((0, 2), "00 00 | 00 02 | 00 00 00 01 | 00 00 00 02 | 00 05 00 0a"),
        ((1, 0), "00 00 | 00 02 | 00 00 00 02 | 00 00 00 01 | 00 0b 00 0c"),
    ],
)
def test_blocks_are_written_as_z5_does(index, expected):
    cells = FIFTEEN[2 * index[0] : 2 * index[0] + 2, 2 * index[1] : 2 * index[1] + 2]
    codec = numbers((2, 2))
    assert bytes(codec.encode(cells)) == unhex(expected)
    found = codec.decode(unhex(expected))
    assert found.shape == (2, 2)
    assert np.array_equal(found[tuple(map(slice, cells.shape))], cells)
    assert found.sum() == cells.sum()  # the rest is 0


def test_a_padded_block_is_read():
    stored = unhex("00 00 | 00 02 | 00 00 00 02 | 00 00 00 02 | 00 0f 00 00 00 00 00 00")
    assert numbers((2, 2)).decode(stored).tolist() == [[15, 0], [0, 0]]


# The example of the N5 file-system specification: uint16, 1 x 2 x 3.
README = {
    "raw": "00 01 00 02 00 03 00 04 00 05 00 06",
    "bzip2": "42 5a 68 39 31 41 59 26 53 59 02 3e 0d d2 00 00 00 40 00 7f 00 20 00 31 0c 01 0d 31 a8 73 94 33 7c 5d c9"
    "14 e1 42 40 08 f8 37 48",
    "gzip": "1f 8b 08 00 00 00 00 00 00 00 63 60 64 60 62 60 66 60 61 60 65 60 03 00 aa ea 6d bf 0c 00 00 00",
    "xz": "fd 37 7a 58 5a 00 00 04 e6 d6 b4 46 02 00 21 01 16 00 00 00 74 2f e5 a3 01 00 0b 00 01 00 02 00 03 00 04 00"
    "05 00 06 00 0d 03 09 ca 34 ec 15 a7 00 01 24 0c a6 18 d8 d8 1f b6 f3 7d 01 00 00 00 00 04 59 5a",
}


@pytest.mark.parametrize("compression", README)
def test_the_examples_of_the_specification_are_read(compression):
    codec = numbers((3, 2, 1), "uint16", {"type": compression})
    stored = unhex("00 00 00 03 00 00 00 01 00 00 00 02 00 00 00 03") + unhex(README[compression])
    assert codec.decode(stored).tolist() == [[[1], [2]], [[3], [4]], [[5], [6]]]


def test_raw_blocks_are_written_as_in_the_specification():
    cells = np.arange(1, 7, dtype="uint16").reshape(3, 2, 1)
    assert numbers((3, 2, 1), "uint16").encode(cells) == head(1, 2, 3) + unhex(README["raw"])


# int16 23, 60, 97, 134 at the far edge of chunks of 2 x 3 x 4: z5py 3.0.2, which writes no more than there is ...
TRUNCATED = {
    "raw": "0017003c00610086",
    "gzip": "1f8b08000000000000ff010800f7ff0017003c00610086acaf44ee08000000",
    "bzip2": "425a6835314159265359462a8d7700000069404000008000042000010020002183419a02e04b8bb9229c2848231546bb80",
    "xz": "fd377a585a000004e6d6b4460200210116000000742fe5a30100070017003c0061008600fc04cfe38253bd2100012008bb19d9bb1fb6"
    "f37d010000000004595a",
    "lz4": "800017003c00610086",
    "zstd": "28b52ffd20084100000017003c00610086",
    "blosc": "020133020800000008000000180000000017003c00610086",
}
# ... and zarr-python 2.18.7, which pads.
PADDED = {
    "raw": "0017003c00610086" + "00" * 40,
    "gzip": "1f8b0800a882016b00ff631067b0614864686320120000b776950930000000",
    "bzip2": "425a68333141592653594ded795a000001f940400000800400000420000100200030c0069a7a15a1929cb0bb9229c284826f"
    "6bcad0",
    "xz": "fd377a585a000004e6d6b4460200210114000000ffe7ec09e0002f000f5d000006620011e2ed8992f5da8d5410000000154e"
    "e0e25a887d8b00012b30ee782f701fb6f37d010000000004595a",
    "lz4": "300000009f0017003c006100860001000f500000000000",
    "zstd": "28b52ffd20307d0000480017003c006100860001004a7004",
    "blosc": "020133023000000030000000400000000017003c00610086" + "00" * 40,
}


@pytest.mark.parametrize("compression", TRUNCATED)
def test_blocks_of_other_writers_are_read_truncated_or_padded(compression):
    codec = numbers((2, 3, 4), "int16", {"type": compression})
    expected = np.zeros((2, 3, 4), "int16")
    expected[0, 0] = [23, 60, 97, 134]
    for stored in (head(4, 1, 1) + unhex(TRUNCATED[compression]), head(4, 3, 2) + unhex(PADDED[compression])):
        found = codec.decode(stored)
        assert np.array_equal(found, expected)
        assert found.dtype.isnative
        assert found.flags.writeable


# ---- the round trip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS, ids=json.dumps)
def test_cells_come_back(dtype, compression):
    codec = numbers((3, 4, 5), dtype, compression)
    array = distinct_values((3, 4, 5), dtype)
    for cells in (array, np.asfortranarray(array), array[:2, :, :3], array[2:, 1:2]):
        stored = bytes(codec.encode(cells))
        assert stored[:16] == head(*cells.shape[::-1])
        assert stored == bytes(numbers((3, 4, 5), dtype, compression).encode(cells.copy()))
        found = codec.decode(stored)
        assert (found.shape, found.dtype) == ((3, 4, 5), np.dtype(dtype))
        assert found.dtype.isnative
        assert found.flags.writeable
        inside = tuple(map(slice, cells.shape))
        assert found[inside].tobytes() == np.ascontiguousarray(cells).tobytes()
        found[inside] = 0
        assert not found.any()


@given(st.data())
def test_any_block_of_any_chunk_comes_back(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    part = tuple(data.draw(st.integers(1, length)) for length in shape)
    dtype = data.draw(st.sampled_from(DTYPES))
    cells = distinct_values(part, dtype, data.draw(st.integers(0, 2**20)))
    order = data.draw(st.permutations(range(len(shape))))
    laid_out = np.ascontiguousarray(cells.transpose(order)).transpose(np.argsort(order))
    fill = np.dtype(dtype).type(data.draw(st.sampled_from([0, 7])))
    configuration = {"compression": data.draw(st.sampled_from(COMPRESSIONS))}
    codec = N5BlockCodec.from_config(configuration, ChunkSpec(shape, np.dtype(dtype), fill))
    expected = np.full(shape, fill)
    expected[tuple(map(slice, part))] = cells
    assert codec.decode(codec.encode(laid_out)).tobytes() == expected.tobytes()


def test_the_codec_is_known_by_its_names_and_says_that_it_truncates():
    assert codec_class("n5.block") is N5BlockCodec
    assert codec_class("n5_default") is N5DefaultCodec
    assert N5BlockCodec.truncates
    assert not getattr(N5DefaultCodec, "truncates", False)


def test_axes_as_n5_has_them_are_a_transpose_before_the_block():
    document = {"dimensions": [3, 5], "blockSize": [2, 2], "dataType": "int16", "compression": {"type": "raw"}}
    metadata = n5.read_array(document, reverse_axes=False)
    pipeline = CodecPipeline.resolve(metadata.codecs, ChunkSpec((2, 2), np.dtype("int16"), np.int16(0)))
    stored = unhex("00 00 | 00 02 | 00 00 00 02 | 00 00 00 02 | 00 01 00 06 00 02 00 07")
    assert pipeline.decode(stored).tolist() == [[1, 2], [6, 7]]
    assert bytes(pipeline.encode(FIFTEEN[:2, :2])) == stored
    assert bytes(pipeline.encode(FIFTEEN[2:, :2])) == head(1, 2) + big(11, 12)


# ---- tensorstore


def opened(path, document=None, **more):
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec | ({"metadata": document} if document else {}), **more).result()


def pipeline_of(metadata):
    spec = ChunkSpec(metadata.chunk_grid.chunk_shape, metadata.data_type.dtype, metadata.fill_scalar)
    return CodecPipeline.resolve(metadata.codecs, spec)


def read_blocks(path, metadata, decode):
    """The whole array out of a directory of blocks."""
    out = np.zeros(metadata.shape, metadata.data_type.dtype)
    for index in np.ndindex(metadata.chunk_grid.counts):
        file = path / metadata.chunk_key_encoding.encode(index)
        if file.exists():
            box = metadata.chunk_grid.box(index)
            out[box.slices] = decode(file.read_bytes())[tuple(map(slice, box.shape))]
    return out


def write_blocks(path, metadata, encode, array):
    for index in np.ndindex(metadata.chunk_grid.counts):
        file = path / metadata.chunk_key_encoding.encode(index)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(array[metadata.chunk_grid.box(index).slices]))


@pytest.mark.parametrize("compression", OF_TENSORSTORE, ids=json.dumps)
@pytest.mark.parametrize("dtype", ["int16", "uint64", "float32", "uint8"])
@pytest.mark.parametrize("reverse_axes", [True, False])
def test_tensorstore_reads_and_writes_the_same_blocks(tmp_path, compression, dtype, reverse_axes):
    document = {"dimensions": [5, 4, 7], "blockSize": [2, 4, 3], "dataType": dtype, "compression": compression}
    array = distinct_values((5, 4, 7), dtype)
    ours = array.T if reverse_axes else array

    theirs = opened(tmp_path / "theirs", document, create=True)
    theirs.write(array).result()
    stored = json.loads((tmp_path / "theirs" / n5.ATTRIBUTES_DOCUMENT).read_bytes())
    metadata = n5.read_array(stored, reverse_axes=reverse_axes)
    assert n5.write_array(metadata) == stored
    pipeline = pipeline_of(metadata)
    assert np.array_equal(read_blocks(tmp_path / "theirs", metadata, pipeline.decode), ours)

    write_blocks(tmp_path / "ours", metadata, pipeline.encode, ours)
    (tmp_path / "ours" / n5.ATTRIBUTES_DOCUMENT).write_text(json.dumps(n5.write_array(metadata)))
    assert np.array_equal(opened(tmp_path / "ours").read().result(), array)


@pytest.mark.parametrize(
    ("compression", "codecs"),
    [
        ({"type": "raw"}, []),
        ({"type": "gzip", "level": 5}, [{"name": "gzip", "configuration": {"level": 5}}]),
        ({"type": "zstd", "level": 3}, ["zstd"]),
        (
            {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
            [{"name": "blosc", "configuration": {"cname": "lz4", "shuffle": "shuffle", "typesize": 4}}],
        ),
    ],
)
def test_n5_default_is_what_tensorstore_stores_in_n5(tmp_path, compression, codecs):
    document = {"dimensions": [5, 4, 7], "blockSize": [2, 4, 3], "dataType": "int32", "compression": compression}
    array = distinct_values((5, 4, 7), "int32")
    opened(tmp_path / "theirs", document, create=True).write(array).result()
    metadata = n5.read_array(document, reverse_axes=False)
    codec = in_v3((2, 4, 3), "int32", *codecs)
    assert np.array_equal(read_blocks(tmp_path / "theirs", metadata, codec.decode), array)

    def encode(cells):
        padded = np.zeros((2, 4, 3), "int32")
        padded[tuple(map(slice, cells.shape))] = cells
        return codec.encode(padded)

    write_blocks(tmp_path / "ours", metadata, encode, array)
    (tmp_path / "ours" / n5.ATTRIBUTES_DOCUMENT).write_text(json.dumps(document))
    assert np.array_equal(opened(tmp_path / "ours").read().result(), array)


# ---- n5_default


def test_n5_default_states_the_shape_in_the_arrays_own_order():
    codec = in_v3((2, 3))
    array = np.array([[1, 2, 3], [4, 5, 6]], "int16")
    stored = head(2, 3) + big(1, 4, 2, 5, 3, 6)
    assert codec.encode(array) == stored
    assert codec.decode(stored).tolist() == array.tolist()


def test_n5_default_reads_truncated_and_larger_blocks():
    codec = N5DefaultCodec.from_config(
        {"codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, {"name": "bytes",
         "configuration": {"endian": "big"}}]},
        ChunkSpec((2, 2), np.dtype("int16"), np.int16(9)),
    )  # fmt: skip
    assert codec.decode(head(1, 2) + big(1, 2)).tolist() == [[1, 2], [9, 9]]
    assert codec.decode(head(2, 1) + big(1, 2)).tolist() == [[1, 9], [2, 9]]
    assert codec.decode(head(3, 2) + big(1, 2, 3, 4, 5, 6)).tolist() == [[1, 4], [2, 5]]


@pytest.mark.parametrize("compressor", ["zstd", "crc32c", {"name": "gzip", "configuration": {"level": 0}}])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_n5_default_brings_cells_back(compressor, dtype):
    array = distinct_values((3, 1, 4), dtype)
    codec = in_v3((3, 1, 4), dtype, compressor)
    found = codec.decode(codec.encode(array))
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


def test_n5_default_takes_an_array_without_axes_and_single_bytes_without_endian():
    assert in_v3((), "int16").decode(head() + big(7)) == 7
    assert in_v3((2,), "uint8", endian=None).decode(head(2) + b"\1\2").tolist() == [1, 2]


TRANSPOSE = {"name": "transpose", "configuration": {"order": [1, 0]}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    "codecs",
    [
        None,
        {},
        [],
        "bytes",
        [BIG],
        [TRANSPOSE],
        [BIG, TRANSPOSE],
        [TRANSPOSE, LITTLE],
        [TRANSPOSE, "bytes"],
        [TRANSPOSE, BIG, BIG],
        [TRANSPOSE, TRANSPOSE, BIG],
        [TRANSPOSE, BIG, TRANSPOSE],
        [TRANSPOSE, BIG, "zstd", "crc32c"],
        [TRANSPOSE, BIG, "nonsense"],
        [TRANSPOSE, BIG, {"name": "nonsense", "must_understand": False}],
        [{"name": "transpose", "configuration": {"order": [0, 1]}}, BIG],
        [{"name": "transpose"}, BIG],
        [TRANSPOSE, {"name": "n5_default", "configuration": {"codecs": [TRANSPOSE, BIG]}}],
        [1, 2],
    ],
)
def test_n5_default_refuses_other_codecs(codecs):
    with pytest.raises(DaskZarrError):
        N5DefaultCodec.from_config({"codecs": codecs}, ChunkSpec((2, 3), np.dtype("int16"), np.int16(0)))


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64", "S2", "U1", "M8[s]", "O"])
def test_types_that_n5_has_not_are_refused(dtype):
    spec = ChunkSpec((2, 3), np.dtype(dtype), 0)
    with pytest.raises(UnknownCodecError):
        N5DefaultCodec.from_config({"codecs": [TRANSPOSE, BIG]}, spec)
    with pytest.raises(UnknownCodecError):
        N5BlockCodec.from_config({"compression": {"type": "raw"}}, spec)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\0",
        head(2, 2),
        head(2, 2) + big(1, 2, 3),
        head(2, 2) + big(1, 2, 3, 4, 5),
        head(2, 2, mode=1, count=4) + big(1, 2, 3, 4),
        unhex("00 02 00 00 00 08") + big(1, 2, 3, 4),
        head(4) + big(1, 2, 3, 4),
        head(2, 2, 1) + big(1, 2, 3, 4),
        head(2, 0),
        head(2**32 - 1, 2**32 - 1) + big(1, 2, 3, 4),
    ],
)
def test_n5_default_refuses_damage(stored):
    with pytest.raises(CodecError):
        in_v3((2, 2)).decode(stored)


# ---- strings and objects


def strings(*values):
    return np.array(values, object)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=json.dumps)
def test_strings_are_stored_with_a_nul_behind_each(compression):
    codec = objects((2, 2), "string", compression)
    cells = strings(["a", "ß€"], ["", "ddd"])
    stored = bytes(codec.encode(cells))
    payload = "a\0ß€\0\0ddd\0".encode()
    assert stored[:16] == head(2, 2, mode=1, count=len(payload))
    if compression["type"] == "raw":
        assert stored[16:] == payload
    found = codec.decode(stored)
    assert found.tolist() == cells.tolist()
    assert found.dtype == object
    assert found.flags.writeable


def test_the_count_of_a_block_of_strings_is_that_of_its_bytes():
    stored = unhex("00 01 | 00 01 | 00 00 00 02 | 00 00 00 05") + b"ab\0c\0"
    codec = objects((2,), "string")
    assert codec.encode(strings("ab", "c")) == stored
    assert codec.decode(stored).tolist() == ["ab", "c"]


def test_strings_as_short_as_their_number_were_once_written_as_default_blocks():
    assert objects((3,), "string").decode(head(3) + b"\0\0\0").tolist() == ["", "", ""]
    assert objects((3,), "string").decode(head(2) + b"\0\0").tolist() == ["", "", ""]


def test_an_edge_block_of_strings_is_truncated():
    codec = objects((2, 3), "string")
    stored = codec.encode(strings(["a", "b"]))
    assert stored == head(2, 1, mode=1, count=4) + b"a\0b\0"
    assert codec.decode(stored).tolist() == [["a", "b", ""], ["", "", ""]]
    larger = head(3, 3, mode=1, count=18) + b"".join(b"%d\0" % i for i in range(9))
    assert codec.decode(larger).tolist() == [["0", "1", "2"], ["3", "4", "5"]]


@pytest.mark.parametrize("cells", [["a", "b\0c"], ["a", b"b"], ["a", None], ["a", 1], ["a", "\ud800"], ["a", np.nan]])
def test_cells_that_are_no_strings_are_refused(cells):
    with pytest.raises(CodecError):
        objects((2,), "string").encode(strings(*cells))


@pytest.mark.parametrize(
    "stored",
    [
        head(2, mode=1, count=3) + b"a\0b",
        head(2, mode=1, count=5) + b"a\0b\0x",
        unhex("00 02 00 00 00 02") + b"a\0",
        head(2, mode=1, count=2) + b"a\0",
        head(2, mode=1, count=6) + b"a\0b\0c\0",
        head(2, mode=1, count=4) + b"\xff\0b\0",
        head(2, mode=1, count=5) + b"a\0b\0",
        head(2, mode=1, count=2**32 - 1) + b"a\0b\0",
        head(2, mode=1),
        head(0, mode=1, count=0),
        head(2**32 - 1, mode=1, count=4) + b"a\0b\0",
        head(2) + b"a\0b\0",
        words(4)[2:] + words(4) + b"a\0b\0",
        unhex("00 02 00 00 00 04") + b"a\0b\0",
    ],
)
def test_damaged_strings_are_refused(stored):
    with pytest.raises(CodecError):
        objects((2,), "string").decode(stored)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=json.dumps)
@pytest.mark.parametrize("content", [b"anything", b"\0" * 300, b""])
def test_an_object_is_one_run_of_bytes(compression, content):
    codec = objects((2, 2), "object", compression)
    cells = strings([content, b""], [b"", b""])
    stored = bytes(codec.encode(cells))
    assert stored[:6] == unhex("00 02") + words(len(content))
    if compression["type"] == "raw":
        assert stored[6:] == content
    found = codec.decode(stored)
    assert found.tolist() == cells.tolist()
    assert found.flags.writeable
    assert codec.decode(codec.encode(cells[:1, :1])).tolist() == cells.tolist()


def test_an_object_in_a_block_with_a_shape_is_read():
    expected = [[b"abcd", b""], [b"", b""]]
    assert objects((2, 2), "object").decode(head(2, 2, mode=1, count=4) + b"abcd").tolist() == expected
    assert objects((2, 2), "object").decode(head(2, 2) + b"abcd").tolist() == expected


@pytest.mark.parametrize("cells", [[b"a", b"b"], [b"", b"b"], [b"a", ""], ["a", b""], [None, b""], [b"a", None]])
def test_more_than_one_object_in_a_block_is_refused(cells):
    with pytest.raises(CodecError):
        objects((2,), "object").encode(strings(*cells))


@pytest.mark.parametrize("stored", [words(4)[2:] + words(3) + b"abcd", b"\0\2", b"\0\2\0\0\0", head(4) + b"abc"])
def test_a_damaged_object_is_refused(stored):
    with pytest.raises(CodecError):
        objects((4,), "object").decode(stored)


@pytest.mark.parametrize("compression", [{"type": "zstd"}, {"type": "blosc"}])
def test_an_object_of_no_bytes_is_not_taken_for_one_whose_count_is_damaged(compression):
    stored = bytearray(objects((1,), "object", compression).encode(strings(b"abcd")))
    stored[2:6] = words(0)
    with pytest.raises(CodecError):
        objects((1,), "object", compression).decode(bytes(stored))


# ---- damage


def test_no_bytes_at_all_are_a_block_that_is_not_there():
    assert numbers((2, 2)).decode(b"").tolist() == [[0, 0], [0, 0]]
    assert objects((2,), "string").decode(memoryview(b"")).tolist() == ["", ""]
    assert objects((2,), "object").decode(b"").tolist() == [b"", b""]


def test_a_block_as_long_as_its_count_says_may_be_variable():
    assert numbers((2, 2)).decode(head(2, 2, mode=1, count=4) + big(1, 2, 3, 4)).tolist() == [[1, 2], [3, 4]]


def test_a_larger_block_is_cut():
    assert numbers((2, 2)).decode(head(3, 2) + big(1, 2, 3, 4, 5, 6)).tolist() == [[1, 2], [4, 5]]
    assert numbers((2, 2)).decode(head(1, 3) + big(1, 2, 3)).tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize(
    "stored",
    [
        b"\0",
        b"\0\0\0",
        b"\0\0\0\2\0\0\0\2\0\0\0",
        head(2, 2),
        head(2, 2) + big(1, 2, 3),
        head(2, 2) + big(1, 2, 3, 4) + b"\0",
        head(2, 1) + big(1, 2, 3, 4),
        head(3, 2) + big(1, 2, 3, 4),
        head(4) + big(1, 2, 3, 4),
        head(2, 2, 1) + big(1, 2, 3, 4),
        head(0, 2),
        head(2, 2, mode=1) + b"\0\0",
        head(2, 2, mode=1, count=3) + big(1, 2, 3),
        head(2, 2, mode=1, count=8) + big(1, 2, 3, 4),
        head(2, 2, mode=3) + big(1, 2, 3, 4),
        head(2, 2, mode=256) + big(1, 2, 3, 4),
        head(2, 2, mode=3, count=4) + big(1, 2, 3, 4),
        unhex("00 02 00 00 00 01") + big(1),
        unhex("00 02 00 00 00 08") + big(1, 2, 3, 4),
        head(5, 7) + bytes(70),
        head(33, 1) + bytes(66),
        head(2**32 - 1, 2**32 - 1) + big(1, 2, 3, 4),
    ],
)
def test_a_damaged_block_is_refused(stored):
    with pytest.raises(CodecError):
        numbers((2, 2)).decode(stored)


BOMB = bytes(5_000_000)
BOMBS = {
    "gzip": gzip.compress(BOMB, 1),
    "zlib": zlib.compress(BOMB, 1),
    "bzip2": bz2.compress(BOMB, 1),
    "xz": lzma.compress(BOMB, preset=0),
    "zstd": numcodecs.zstd.compress(BOMB),
    "blosc": numcodecs.blosc.compress(BOMB, b"zstd", 1, 0),
    "lz4": numcodecs.lz4.compress(BOMB),
}


@pytest.mark.parametrize("compression", BOMBS)
def test_more_bytes_than_the_header_says_are_refused(compression):
    stored = BOMBS[compression]
    with pytest.raises(CodecError):
        numbers((2, 2), "uint8", {"type": compression}).decode(head(2, 2) + stored)
    with pytest.raises(CodecError):
        objects((2, 2), "string", {"type": compression}).decode(head(2, 2, mode=1, count=4) + stored)
    with pytest.raises(CodecError):
        objects((2, 2), "object", {"type": compression}).decode(unhex("00 02 00 00 00 04") + stored)


@pytest.mark.parametrize("compression", [c for c in COMPRESSIONS if c["type"] != "raw"], ids=json.dumps)
def test_a_size_of_which_nothing_is_there_is_refused(compression):
    payload = read_compression(compression, 1).encode(b"abcd\0")
    for size in (4, 6, 2**31 - 1, 2**31, 2**32 - 1):
        with pytest.raises(CodecError):
            objects((1,), "string", compression).decode(head(1, mode=1, count=size) + payload)
        with pytest.raises(CodecError):
            objects((1,), "object", compression).decode(unhex("00 02") + words(size) + payload)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2,), (1, 2, 2), (), (0, 2), (2, 0)])
def test_a_block_that_is_no_part_of_a_chunk_is_not_written(shape):
    for codec in (numbers((2, 2)), in_v3((2, 2))):
        with pytest.raises(CodecError):
            codec.encode(np.zeros(shape, "int16"))


def damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(data)) if data else 0
        change = rng.randrange(5)
        if change == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            del data[at : at + rng.randint(1, 4)]
        elif change == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 4))
        elif change == 3 and data:
            data[at] = rng.choice([0, 1, 127, 128, 255])
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=json.dumps)
def test_nothing_but_a_codec_error_comes_out_of_damage(compression):
    rng = random.Random(json.dumps(compression))
    array = distinct_values((3, 4), "int32")
    text = strings(*([f"{i}é" for i in range(3 * row, 3 * row + 3)] for row in range(3)))
    blobs = strings([b"0123456789" * 3, b""], [b"", b""])
    cases = [
        (numbers((3, 4), "int32", compression), array),
        (objects((3, 3), "string", compression), text),
        (objects((2, 2), "object", compression), blobs),
    ]
    refused = 0
    for (codec, cells), _ in itertools.product(cases, range(60)):
        try:
            found = codec.decode(damaged(rng, codec.encode(cells)))
        except CodecError:
            refused += 1
        else:
            assert (found.shape, found.dtype) == (cells.shape, cells.dtype)
    assert refused > 60


# ---- configuration


@pytest.mark.parametrize(
    "compression",
    [
        None,
        "gzip",
        {},
        {"type": None},
        {"type": ["gzip"]},
        {"type": "jpeg"},
        {"type": "GZIP"},
        {"type": "snappy"},
        *({"type": "gzip", "level": value} for value in (-2, 10, "5", 5.0, None, True)),
        {"type": "gzip", "useZlib": "yes"},
        {"type": "zlib", "level": 10},
        *({"type": "bzip2", "blockSize": value} for value in (0, 10, "9", None)),
        *({"type": "xz", "preset": value} for value in (-1, 10, "6", None)),
        *({"type": "lz4", "blockSize": value} for value in (-1, 2**31, "64", None)),
        *({"type": "zstd", "level": value} for value in (23, "3", None)),
        *({"type": "blosc", "cname": value} for value in ("snappy", None, 1)),
        *({"type": "blosc", "shuffle": value} for value in (3, "shuffle", None, [1])),
        {"type": "blosc", "clevel": 10},
        {"type": "blosc", "blocksize": -1},
    ],
)
def test_a_compression_that_means_nothing_is_refused(compression):
    with pytest.raises(UnknownCodecError):
        N5BlockCodec.from_config({"compression": compression}, ChunkSpec((2, 2), np.dtype("int16"), np.int16(0)))


@pytest.mark.parametrize(
    ("configuration", "dtype"),
    [
        ({}, "int16"),
        ({"compression": {"type": "raw"}, "novel": 1}, "int16"),
        ({"compression": {"type": "raw"}, "dataType": "string"}, "int16"),
        ({"compression": {"type": "raw"}}, "O"),
        ({"compression": {"type": "raw"}, "dataType": "int16"}, "O"),
        ({"compression": {"type": "raw"}, "dataType": ["string"]}, "O"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(configuration, dtype):
    with pytest.raises(UnknownCodecError):
        N5BlockCodec.from_config(configuration, ChunkSpec((2, 2), np.dtype(dtype), 0))


@pytest.mark.parametrize("shape", [(2**32, 1), (1,) * 100])
def test_chunks_that_no_header_can_state_are_refused(shape):
    with pytest.raises(UnknownCodecError):
        numbers(shape)
    with pytest.raises(UnknownCodecError):
        in_v3(shape)


def test_parameters_that_are_not_known_mean_nothing():
    cells = distinct_values((2, 2), "int16")
    for compression in COMPRESSIONS:
        plain, more = (numbers((2, 2), "int16", compression | extra) for extra in ({}, {"novel": [1], "nthreads": 8}))
        assert bytes(plain.encode(cells)) == bytes(more.encode(cells))


def test_gzip_is_read_as_what_it_is_whatever_the_document_says():
    cells = distinct_values((2, 3), "int16")
    kinds = [{"type": "gzip"}, {"type": "gzip", "useZlib": True}, {"type": "zlib"}]
    for written, read in itertools.product(kinds, kinds):
        stored = numbers((2, 3), "int16", written).encode(cells)
        assert np.array_equal(numbers((2, 3), "int16", read).decode(stored), cells)
    assert numbers((2, 3), "int16", kinds[0]).encode(cells)[12:14] == unhex("1f 8b")
    assert numbers((2, 3), "int16", kinds[1]).encode(cells)[12:13] == unhex("78")


def test_several_gzip_members_are_read():
    payload = gzip.compress(big(1, 2, 3)) + gzip.compress(big(4))
    assert numbers((2, 2), "int16", {"type": "gzip"}).decode(head(2, 2) + payload).tolist() == [[1, 2], [3, 4]]


def test_the_size_of_an_element_reaches_blosc():
    cells = np.arange(1000, dtype="int32")
    stored = numbers((1000,), "int32", {"type": "blosc", "shuffle": 1}).encode(cells)
    assert stored[8 + 3] == 4
    assert len(stored) < len(numbers((1000,), "int32", {"type": "blosc", "shuffle": 0}).encode(cells))


# ---- lz4


def frames(size, block_size=2**16):
    return Lz4FramesCodec.from_config({"blockSize": block_size}, BytesSpec(size, 1))


BIG_ENDIAN_64 = big(1, 2, 3, 4, *[0] * 28)


def test_an_lz4_stream_by_hand():
    stored = unhex(
        "4c 5a 34 42 6c 6f 63 6b | 26 | 13 00 00 00 | 40 00 00 00 | 9a 91 36 0e |"
        "9f 00 01 00 02 00 03 00 04 00 01 00 1f 50 00 00 00 00 00 |"
        "4c 5a 34 42 6c 6f 63 6b | 16 |" + "00" * 12
    )
    assert frames(64).encode(BIG_ENDIAN_64) == stored
    assert frames(64).decode(stored) == BIG_ENDIAN_64


# lz4-java 1.8.0, blockSize 64: a frame stored as it is, and two that are compressed.
OF_JAVA = (
    "4c5a34426c6f636b10400000004000000098aa4d0600010409101924314051647990a9c4e10526496e95bee91b4a7baee31f5893d0145598"
    "dd2972bd0f5eaf075cb3116cc92d8ef15bc2309b0d7ced65da56cf4fcc4c5a34426c6f636b201c00000040000000f5ed0e0dff0250d159de"
    "6af38315a43acd67039c3cd9000100175000000000004c5a34426c6f636b200f0000002000000017faa90217000100296162020050626162"
    "61624c5a34426c6f636b10000000000000000000000000"
)
OF_JAVA_DATA = bytes(i * i % 251 for i in range(80)) + bytes(60) + b"ab" * 10


def test_a_stream_of_lz4_java_is_read():
    for size in (160, None):
        assert frames(size).decode(unhex(OF_JAVA)) == OF_JAVA_DATA


@pytest.mark.parametrize("block_size", [64, 65, 1000, 1024, 1025, 4096, 2**16, 2**25])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 5000, 70_000])
def test_lz4_frames_come_back(size, block_size):
    data = (np.arange(size, dtype="<u8") ** 2).tobytes()[:size]
    noise = random.Random(size).randbytes(size)
    for content in (data, noise, bytes(size)):
        codec = frames(size, block_size)
        assert codec.decode(codec.encode(memoryview(content))) == content


def test_lz4_frames_hold_what_was_asked_for_within_limits():
    assert frames(200, 64).encode(bytes(200)).count(b"LZ4Block") == 5
    for block_size, level in [(64, 0), (1024, 0), (1025, 1), (2048, 1), (2**16, 6), (2**25, 15), (2**31 - 1, 15)]:
        assert frames(10, block_size).encode(bytes(10))[8] & 15 == level
    for too_small in (0, 6, 63):  # z5 states a level there
        assert frames(200, too_small).encode(bytes(200)) == frames(200).encode(bytes(200))


def test_the_other_two_framings_of_lz4_are_read():
    packed = numcodecs.lz4.compress(BIG_ENDIAN_64)
    assert frames(64).decode(packed) == BIG_ENDIAN_64
    assert frames(64).decode(packed[4:]) == BIG_ENDIAN_64
    assert frames(None).decode(packed) == BIG_ENDIAN_64


def test_a_bare_block_may_begin_like_a_size():
    # A zero, copied 65,561 times from one back, then five letters: 65,567 bytes, which is 1f 00 01 00.
    bare = unhex("1f 00 01 00") + b"\xff" * 257 + b"\x07" + b"\x50abcde"
    data = bytes(65_562) + b"abcde"
    assert bare[:4] == len(data).to_bytes(4, "little")
    assert frames(len(data)).decode(bare) == data


@pytest.mark.parametrize("position", range(21))
def test_every_bit_of_a_frames_head_counts(position):
    stored = bytearray(frames(64).encode(BIG_ENDIAN_64))
    for bit in range(8):
        stored[position] ^= 1 << bit
        if position == 8 and bit < 4:
            assert frames(64).decode(bytes(stored)) == BIG_ENDIAN_64  # how much a frame may hold: no less than it does
        else:
            with pytest.raises(CodecError):
                frames(64).decode(bytes(stored))
        stored[position] ^= 1 << bit


def test_damaged_data_of_a_frame_never_read_as_other_data():
    data = random.Random(1).randbytes(100)
    for content in (data, BIG_ENDIAN_64, b"abcabcabcd" * 9):
        stored = bytearray(frames(len(content)).encode(content))
        for position, bit in itertools.product(range(21, len(stored) - 21), range(8)):
            stored[position] ^= 1 << bit
            try:
                assert frames(len(content)).decode(bytes(stored)) == content  # a copy may come from elsewhere
            except CodecError:
                pass
            stored[position] ^= 1 << bit


def frame(data, token, stored=None, size=None, checksum=None):
    found = int(xxh32(np.frombuffer(data, "u1").reshape(1, -1), 0x9747B28C)[0]) & 0x0FFFFFFF
    stated = [len(data) if stored is None else stored, len(data) if size is None else size]
    return struct.pack("<8sBIII", b"LZ4Block", token, *stated, found if checksum is None else checksum) + data


END = frame(b"", 0x16, checksum=0)


def test_lz4_frames_by_hand_are_read():
    assert frames(5).decode(frame(b"abcde", 0x10) + END) == b"abcde"
    assert frames(5).decode(frame(b"abc", 0x16) + frame(b"de", 0x1F) + END) == b"abcde"
    assert frames(1024).decode(frame(bytes(1024), 0x10) + END) == bytes(1024)
    assert frames(0).decode(END) == b""


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        (5, frame(b"abcde", 0x10)),
        (5, frame(b"abcde", 0x00) + END),
        (5, frame(b"abcde", 0x30) + END),
        (5, frame(b"abcde", 0x20) + END),
        (1025, frame(bytes(1025), 0x10) + END),
        (7, frame(b"abcde", 0x10, size=7) + END),
        (5, frame(b"abcde", 0x10, size=7) + END),
        (3, frame(b"abcde", 0x10, size=3) + END),
        (5, frame(b"abcde", 0x10) + frame(b"", 0x16, checksum=1)),
        (5, frame(b"abcde", 0x10) + frame(b"fgh", 0x20, size=0, checksum=0) + END),
        (5, frame(b"abcde", 0x10) + END.replace(b"Block", b"block")),
        (5, frame(b"abc", 0x10) + frame(b"de", 0x10).replace(b"LZ4", b"LZ5") + END),
        (5, frame(b"abcde", 0x10, checksum=0) + END),
        (5, frame(b"abcde", 0x10, stored=6) + END),
        (5, frame(b"abcde", 0x20, stored=5, size=2**32 - 1) + END),
    ],
)
def test_lz4_frames_that_contradict_themselves_are_refused(size, stored):
    with pytest.raises(CodecError):
        frames(size).decode(stored)


def test_what_does_not_compress_is_stored_as_it_is():
    noise = random.Random(2).randbytes(64)
    assert frames(64).encode(noise) == frame(noise, 0x16) + END


@pytest.mark.parametrize("cut", [*range(1, 61), -1, -12, -20])
def test_a_truncated_lz4_stream_is_refused(cut):
    stored = frames(64).encode(BIG_ENDIAN_64)
    with pytest.raises(CodecError):
        frames(64).decode(stored[:cut])


def test_lz4_frames_of_another_number_of_bytes_are_refused():
    for size in (0, 63, 65, 128):
        with pytest.raises(CodecError):
            frames(size).decode(frames(64).encode(BIG_ENDIAN_64))
    stored = frames(64).encode(BIG_ENDIAN_64)
    with pytest.raises(CodecError):
        frames(64).decode(stored + b"\0")
    with pytest.raises(CodecError):
        frames(64).decode(stored + stored)
    assert frames(128).decode(stored + stored) == BIG_ENDIAN_64 * 2


# ---- XXH32


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0x02CC5D05),
        (b"abc", 0, 0x32D153FF),
        (b"", 0x9747B28C, 0x8D3B42D8),
        (bytes(range(16)), 0, 0xB72837F4),
        (bytes(range(101)), 0x9747B28C, 0xCA49C2CE),
    ],
)
def test_xxh32(data, seed, expected):
    assert xxh32(np.frombuffer(data, "u1").reshape(1, -1), seed).tolist() == [expected]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 15, 16, 17, 31, 32, 100, 5000])
def test_xxh32_of_many_rows_is_that_of_each(length):
    rows = np.frombuffer(random.Random(length).randbytes(40 * length), "u1").reshape(40, length)
    one_by_one = [int(xxh32(rows[i : i + 1], 7)[0]) for i in range(40)]
    for count in (1, 2, 15, 16, 17, 40):
        assert xxh32(rows[:count], 7).tolist() == one_by_one[:count]
