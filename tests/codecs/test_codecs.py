"""Each codec on its own: the formats' byte vectors, its peers' streams, and configurations it refuses."""

import bz2
import gzip
import importlib
import itertools
import json
import lzma
import re
import zlib

import numcodecs
import numpy as np
import pytest

from daskzarr.codecs import BytesSpec, ChunkSpec, CodecPipeline
from daskzarr.codecs.registry import _OURS, codec_class
from daskzarr.errors import CodecError, UnknownCodecError
from daskzarr.metadata import NamedConfig

BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0}
CNAMES = ["lz4", "lz4hc", "blosclz", "zlib", "zstd"]
RAW_LZMA = {"format": 3, "filters": [{"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_LZMA2, "preset": 1}]}
NUMBERS = np.arange(6, dtype="<i4").tobytes()


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def on_bytes(name, configuration=None, size=24, itemsize=4):
    return codec_class(name).from_config(configuration or {}, BytesSpec(size, itemsize))


def on_array(name, configuration, shape, dtype):
    return codec_class(name).from_config(configuration, ChunkSpec(shape, np.dtype(dtype), 0))


def decoded(codec, data):
    return bytes(codec.decode(data))


def varied(count):
    """Bytes that compress, no part of which is like another."""
    return (np.arange(-(-count // 4), dtype="<u4") ** 2).tobytes()[:count]


# ---- bytes


@pytest.mark.parametrize(
    ("dtype", "values", "endian", "expected"),
    [
        ("bool", [True, False, True], None, "01 00 01"),
        ("uint8", [1, 255], None, "01 ff"),
        ("int8", [-1, 2], "big", "ff 02"),
        ("int16", [1, 2, -2], "little", "01 00 02 00 fe ff"),
        ("int16", [1, 2, -2], "big", "00 01 00 02 ff fe"),
        ("uint64", [2**64 - 2], "little", "fe ff ff ff ff ff ff ff"),
        ("float16", [1.5], "big", "3e 00"),
        ("float32", [1.5], "little", "00 00 c0 3f"),
        ("float64", [-0.0], "big", "80 00 00 00 00 00 00 00"),
        ("complex64", [1 + 2j], "little", "00 00 80 3f 00 00 00 40"),
        ("complex64", [1 + 2j], "big", "3f 80 00 00 40 00 00 00"),
    ],
)
def test_bytes_lays_elements_out_in_the_stated_order(dtype, values, endian, expected):
    codec = on_array("bytes", {"endian": endian} if endian else {}, (len(values),), dtype)
    array = np.array(values, dtype)
    assert bytes(codec.encode(array)) == unhex(expected)
    found = codec.decode(unhex(expected))
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert found.flags.writeable
    assert found.tobytes() == array.tobytes()


def test_bytes_writes_c_order_whatever_the_memory_is_like():
    codec = on_array("bytes", {"endian": "little"}, (2, 3), "int16")
    array = np.arange(1, 7, dtype="int16").reshape(2, 3)
    for same in (array, np.asfortranarray(array), array.astype(">i2"), np.arange(1, 13, dtype="int16")[::2] // 2 + 1):
        assert bytes(codec.encode(same.reshape(2, 3))) == unhex("0100 0200 0300 0400 0500 0600")


def test_bytes_reads_any_non_zero_byte_as_true():
    found = on_array("bytes", {}, (4,), "bool").decode(b"\x00\x01\x02\xff")
    assert found.tolist() == [False, True, True, True]
    assert (found == np.array([False, True, True, True])).all()


def test_bytes_is_read_under_the_name_of_old_drafts():
    codec = on_array("endian", {"endian": "big"}, (2,), "int16")
    assert codec.decode(unhex("00 01 ff fe")).tolist() == [1, -2]


@pytest.mark.parametrize("size", [0, 11, 13, 24])
def test_bytes_refuses_another_number_of_bytes(size):
    with pytest.raises(CodecError):
        on_array("bytes", {"endian": "little"}, (2, 3), "int16").decode(bytes(range(size)))


# ---- transpose


def test_transpose_of_two_axes_is_column_order():
    transpose = on_array("transpose", {"order": [1, 0]}, (2, 3), "int16")
    serializer = codec_class("bytes").from_config({"endian": "little"}, transpose.encoded_spec())
    array = np.array([[1, 2, 3], [4, 5, 6]], "int16")
    assert bytes(serializer.encode(transpose.encode(array))) == unhex("01 00 04 00 02 00 05 00 03 00 06 00")


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0], [0, 2, 1], [2, 1, 0], [0, 1, 2]])
def test_transpose_permutes_like_numpy_and_decodes_with_the_inverse(order):
    array = np.arange(24).reshape(2, 3, 4)
    codec = on_array("transpose", {"order": order}, (2, 3, 4), "int64")
    encoded = codec.encode(array)
    assert encoded.shape == codec.encoded_spec().shape == tuple((2, 3, 4)[axis] for axis in order)
    assert np.array_equal(encoded, array.transpose(order))
    assert np.array_equal(codec.decode(encoded), array)


def test_a_cycle_of_three_axes_is_not_its_own_inverse():
    array = np.arange(24).reshape(2, 3, 4)
    codec = on_array("transpose", {"order": [2, 0, 1]}, (2, 3, 4), "int64")
    assert codec.encode(array).shape == (4, 2, 3)
    assert codec.encode(array)[3, 1, 2] == array[1, 2, 3]
    assert codec.inverse == (1, 2, 0)


@pytest.mark.parametrize(("word", "order"), [("C", (0, 1, 2)), ("F", (2, 1, 0))])
def test_transpose_reads_the_withdrawn_words(word, order):
    assert on_array("transpose", {"order": word}, (2, 3, 4), "int64").order == order


def test_transpose_of_many_axes_names_each_once():
    order = [10, 2, 1, 0, 9, 8, 7, 6, 5, 4, 3, 11]
    assert on_array("transpose", {"order": order}, tuple(range(1, 13)), "int8").order == tuple(order)


@pytest.mark.parametrize("order", [None, [], [0], [0, 0], [1, 2], [0, 1, 2], [-1, 0], "A", 1, {}, ["0", "1"]])
def test_transpose_refuses_what_does_not_name_each_axis_once(order):
    with pytest.raises(UnknownCodecError):
        on_array("transpose", {"order": order}, (2, 3), "int16")


@pytest.mark.parametrize("order", [[1.0, 0.0], [True, False]])
def test_transpose_refuses_axes_that_are_no_integers(order):
    with pytest.raises(UnknownCodecError):
        on_array("transpose", {"order": order}, (2, 3), "int16")


def test_transpose_takes_the_tuple_that_zarr_pythons_codec_gives():
    assert on_array("transpose", {"order": (1, 0)}, (2, 3), "int16").order == (1, 0)


# ---- gzip, zlib, bz2


@pytest.mark.parametrize("name", ["gzip", "numcodecs.gzip"])
def test_gzip_writes_no_time(name):
    encoded = on_bytes(name, {"level": 5}).encode(NUMBERS)
    assert encoded[:3] == unhex("1f 8b 08")
    assert encoded[4:8] == bytes(4)
    assert gzip.decompress(encoded) == NUMBERS


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("gzip", {"level": 9}),
        ("numcodecs.zlib", {}),
        ("numcodecs.bz2", {}),
        ("numcodecs.lzma", {}),
        ("numcodecs.lz4", {}),
        ("zstd", {}),
        ("blosc", BLOSC),
        ("crc32c", {}),
    ],
)
def test_equal_chunks_give_equal_bytes(name, configuration):
    data = varied(5000)
    first, second = (on_bytes(name, configuration, len(data)) for _ in range(2))
    assert bytes(first.encode(data)) == bytes(first.encode(bytearray(data))) == bytes(second.encode(memoryview(data)))


def test_gzip_reads_a_stream_of_another_writer():
    stream = unhex("1f8b0800000000000003 636064606360626007 00 b060f5d1 08000000")
    assert decoded(on_bytes("gzip", size=8), stream) == unhex("00 01 00 06 00 02 00 07")


MEMBERS = {
    "gzip": lambda part: gzip.compress(part, mtime=1234567890),
    "numcodecs.gzip": lambda part: gzip.compress(part, 0),
    "numcodecs.zlib": zlib.compress,
    "numcodecs.bz2": bz2.compress,
    "numcodecs.lzma": lzma.compress,
}


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("cuts", [(0, 24), (0, 10, 24), (0, 4, 4, 23, 24), (0, 0, 24), (0, 24, 24)])
def test_several_members_are_read_one_after_the_other(name, cuts):
    stream = b"".join(MEMBERS[name](NUMBERS[a:b]) for a, b in itertools.pairwise(cuts))
    assert decoded(on_bytes(name), stream) == NUMBERS


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("count", [0, 12, 23, 25, 48])
def test_members_of_another_number_of_bytes_are_refused(name, count):
    data = varied(count)
    for stream in (MEMBERS[name](data), MEMBERS[name](data[:11]) + MEMBERS[name](data[11:])):
        with pytest.raises(CodecError):
            on_bytes(name).decode(stream)


def test_a_stream_that_unpacks_to_far_more_is_refused_before_it_is_unpacked():
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(CodecError):
        on_bytes("numcodecs.zlib").decode(bomb)


# ---- lzma


@pytest.mark.parametrize(
    ("configuration", "magic"),
    [({"format": 1}, "fd 37 7a 58 5a 00"), ({"format": 2}, "5d 00 00"), (RAW_LZMA, "")],
)
def test_lzma_reads_and_writes_its_three_forms(configuration, magic):
    data = varied(3000)
    codec = on_bytes("numcodecs.lzma", configuration, len(data))
    encoded = codec.encode(data)
    assert encoded.startswith(unhex(magic))
    assert lzma.decompress(encoded, configuration["format"], None, configuration.get("filters")) == data
    assert decoded(codec, encoded) == data


@pytest.mark.parametrize("options", [{"check": 0}, {"check": 10}, {"preset": 0}, {"preset": 9 | lzma.PRESET_EXTREME}])
def test_lzma_passes_its_parameters_on(options):
    assert on_bytes("numcodecs.lzma", options).encode(NUMBERS) == lzma.compress(NUMBERS, **options)


# ---- lz4


def test_lz4_is_a_size_and_a_block():
    encoded = on_bytes("numcodecs.lz4").encode(NUMBERS)
    assert encoded.startswith(unhex("18 00 00 00 f0 09 00 00 00 00 01 00"))
    assert decoded(on_bytes("numcodecs.lz4"), encoded) == NUMBERS


@pytest.mark.parametrize("stated", [0, 23, 25, 2**31 - 1, 2**31, 2**32 - 1])
def test_lz4_compares_the_stated_size_first(stated):
    encoded = on_bytes("numcodecs.lz4").encode(NUMBERS)
    with pytest.raises(CodecError):
        on_bytes("numcodecs.lz4").decode(stated.to_bytes(4, "little") + encoded[4:])


# ---- zstd

MAGIC = unhex("28 b5 2f fd")


def block(data, last=True):
    return (last | len(data) << 3).to_bytes(3, "little") + data


def sized_frame(data):
    return MAGIC + bytes([0x20, len(data)]) + block(data)


def unsized_frame(data):
    """A frame that says nothing of its content's size, in two blocks."""
    return MAGIC + unhex("00 58") + block(data[:3], last=False) + block(data[3:])


SKIPPABLE = unhex("50 2a 4d 18 05 00 00 00") + b"notes"


def test_zstd_with_a_checksum():
    codec = on_bytes("zstd", {"level": 0, "checksum": True}, size=2)
    stream = unhex("28 b5 2f fd 24 02 11 00 00 01 02 46 be 86 39")
    assert codec.encode(b"\x01\x02") == stream
    assert decoded(codec, stream) == decoded(on_bytes("zstd", size=2), stream) == b"\x01\x02"


def test_zstd_checks_the_checksum_whatever_the_configuration_says():
    stream = bytearray(unhex("28 b5 2f fd 24 02 11 00 00 01 02 46 be 86 39"))
    stream[-1] ^= 1
    with pytest.raises(CodecError):
        on_bytes("zstd", {"checksum": False}, size=2).decode(bytes(stream))


@pytest.mark.parametrize("level", [-131072, -5, 0, 1, 22])
def test_zstd_takes_all_levels(level):
    data = varied(3000)
    codec = on_bytes("zstd", {"level": level}, len(data))
    assert decoded(codec, codec.encode(data)) == data


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize(
    "frames",
    [
        [sized_frame(NUMBERS)],
        [unsized_frame(NUMBERS)],
        [sized_frame(NUMBERS[:9]), sized_frame(NUMBERS[9:])],
        [unsized_frame(NUMBERS[:9]), unsized_frame(NUMBERS[9:])],
        [sized_frame(NUMBERS[:9]), unsized_frame(NUMBERS[9:])],
        [unsized_frame(NUMBERS[:9]), sized_frame(NUMBERS[9:])],
        [sized_frame(b""), sized_frame(NUMBERS)],
        [sized_frame(NUMBERS), sized_frame(b"")],
        [sized_frame(NUMBERS), unsized_frame(b"")],
        [SKIPPABLE, sized_frame(NUMBERS)],
        [sized_frame(NUMBERS[:5]), SKIPPABLE, unsized_frame(NUMBERS[5:])],
        [sized_frame(bytes([i])) for i in NUMBERS],
    ],
)
def test_zstd_reads_any_conforming_frames(frames, out):
    memory = np.full(len(NUMBERS), 255, "u1") if out else None
    assert bytes(on_bytes("zstd").decode(b"".join(frames), memory)) == NUMBERS


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize("make", [sized_frame, unsized_frame])
@pytest.mark.parametrize("cuts", [(0, 23), (0, 25), (0, 9, 23), (0, 9, 25), (0, 24, 25), (0, 24, 48), (0, 0), (0, 1)])
def test_zstd_frames_of_another_number_of_bytes_are_refused(make, cuts, out):
    data = varied(cuts[-1])
    memory = np.full(len(NUMBERS), 255, "u1") if out else None
    with pytest.raises(CodecError):
        on_bytes("zstd").decode(b"".join(make(data[a:b]) for a, b in itertools.pairwise(cuts)), memory)


@pytest.mark.parametrize("stated", [2**60, 2**63 - 1])
def test_zstd_behind_another_compressor_does_not_believe_a_huge_size(stated):
    stream = MAGIC + unhex("e0") + stated.to_bytes(8, "little") + block(b"")
    with pytest.raises(CodecError):
        on_bytes("zstd", size=None).decode(stream)


# ---- blosc


def test_blosc_writes_a_header_that_describes_the_buffer():
    codec = on_bytes("blosc", BLOSC, size=128, itemsize=2)
    encoded = codec.encode(np.arange(64, dtype="<i2").tobytes())
    assert encoded[:16] == unhex("02 01 31 02 | 80 00 00 00 | 80 00 00 00 | 68 00 00 00")
    assert encoded[16:30] == unhex("14 00 00 00 | 50 00 00 00 | ff 36 00 01 02 03")
    assert len(encoded) == 0x68


def test_blosc_stores_a_tiny_chunk_as_it_is():
    data = bytes(range(1, 9))
    encoded = on_bytes("blosc", BLOSC, size=8, itemsize=2).encode(data)
    assert encoded == unhex("02 01 33 02 08 00 00 00 08 00 00 00 18 00 00 00") + data


@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle"])
@pytest.mark.parametrize("cname", CNAMES)
@pytest.mark.parametrize("clevel", [0, 1, 9])
def test_blosc_in_all_its_forms(cname, shuffle, clevel):
    data = varied(4000)
    configuration = {"cname": cname, "clevel": clevel, "shuffle": shuffle, "typesize": 4, "blocksize": 0}
    codec = on_bytes("blosc", configuration, len(data))
    encoded = codec.encode(data)
    bit = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 4}[shuffle]
    assert encoded[2] & 5 == bit
    assert encoded[3] == 4
    assert decoded(codec, encoded) == numcodecs.Blosc().decode(encoded) == data


def test_blosc_decodes_a_buffer_that_was_made_otherwise_than_configured():
    data = varied(4000)
    written = on_bytes("blosc", BLOSC | {"cname": "zstd", "shuffle": "bitshuffle", "typesize": 8}, len(data))
    assert decoded(on_bytes("blosc", BLOSC, len(data)), written.encode(data)) == data


@pytest.mark.parametrize(("shuffle", "itemsize", "flags"), [(-1, 1, 0x36), (-1, 2, 0x33), (0, 2, 0x32), (1, 2, 0x33)])
def test_blosc_of_v2_has_shuffles_by_number(shuffle, itemsize, flags):
    codec = on_bytes("numcodecs.blosc", {"shuffle": shuffle}, size=8, itemsize=itemsize)
    encoded = codec.encode(bytes(range(8)))
    assert encoded[2:4] == bytes([flags, itemsize])


def test_blosc_without_shuffle_needs_no_typesize():
    codec = on_bytes("blosc", {"cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0})
    assert decoded(codec, codec.encode(NUMBERS)) == NUMBERS


@pytest.mark.parametrize("offset", [4, 12])
@pytest.mark.parametrize("value", [0, 1, 23, 25, 2**31 - 1, 2**32 - 1])
def test_blosc_compares_the_sizes_in_the_header_first(offset, value):
    encoded = bytearray(on_bytes("blosc", BLOSC).encode(NUMBERS))
    encoded[offset : offset + 4] = value.to_bytes(4, "little")
    with pytest.raises(CodecError):
        on_bytes("blosc", BLOSC).decode(bytes(encoded))


def test_blosc_refuses_a_chunk_beyond_its_limit():
    assert on_bytes("blosc", BLOSC, size=2**31 - 1)
    with pytest.raises(UnknownCodecError, match="2\\^31"):
        on_bytes("blosc", BLOSC, size=2**31)


# ---- crc32c


@pytest.mark.parametrize("name", ["crc32c", "numcodecs.crc32c"])
@pytest.mark.parametrize(
    ("data", "checksum"),
    [(b"123456789", "83 92 06 e3"), (unhex("01 00 02 00"), "91 d1 67 b2"), (NUMBERS, "28 13 a4 86")],
)
def test_crc32c_puts_the_checksum_behind(name, data, checksum):
    codec = on_bytes(name, size=len(data))
    assert codec.encode(data) == data + unhex(checksum)
    assert decoded(codec, data + unhex(checksum)) == data
    assert codec.encoded_spec().size == len(data) + 4


@pytest.mark.parametrize("bit", range(8 * (len(NUMBERS) + 4)))
def test_crc32c_finds_every_flipped_bit(bit):
    codec = on_bytes("crc32c")
    damaged = bytearray(codec.encode(NUMBERS))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CodecError, match="checksum"):
        codec.decode(bytes(damaged))


@pytest.mark.parametrize("size", range(4))
def test_crc32c_refuses_what_is_too_short_for_a_checksum(size):
    with pytest.raises(CodecError):
        on_bytes("crc32c", size=0).decode(bytes(size))


# ---- the same streams as numcodecs


@pytest.mark.parametrize(
    "configuration",
    [
        {"id": "zlib", "level": 6},
        {"id": "gzip", "level": 1},
        {"id": "bz2", "level": 9},
        {"id": "lzma"},
        {"id": "lzma", "format": 2, "preset": 3},
        {"id": "lzma", **RAW_LZMA},
        {"id": "zstd", "level": 5},
        {"id": "zstd", "level": 1, "checksum": True},
        {"id": "lz4", "acceleration": 3},
        {"id": "blosc", "cname": "zlib", "clevel": 3, "shuffle": 2, "blocksize": 0},
    ],
)
@pytest.mark.parametrize("count", [1, 24, 10_000])
def test_numcodecs_reads_what_is_written_and_the_other_way_round(configuration, count):
    data = varied(count)
    peer = numcodecs.get_codec(dict(configuration))
    options = {k: v for k, v in configuration.items() if k != "id"}
    codec = on_bytes("numcodecs." + configuration["id"], options, count)
    assert bytes(peer.decode(codec.encode(data))) == data
    assert decoded(codec, bytes(peer.encode(np.frombuffer(data, "u1")))) == data


# ---- configurations

BAD_MEMBERS = [
    ("bytes", {"endian": "middle"}),
    ("bytes", {"endian": None}),
    ("bytes", {"endian": ["little"]}),
    ("bytes", {}),
    ("transpose", {}),
    ("gzip", {"level": 10}),
    ("gzip", {"level": -2}),
    ("gzip", {"level": "5"}),
    ("gzip", {"level": 5.0}),
    ("gzip", {"level": True}),
    ("gzip", {"level": None}),
    ("zstd", {"level": 23}),
    ("zstd", {"level": -131073}),
    ("zstd", {"level": 1.0}),
    ("zstd", {"checksum": "yes"}),
    ("zstd", {"checksum": None}),
    ("zstd", {"checksum": []}),
    ("blosc", {}),
    ("blosc", {k: v for k, v in BLOSC.items() if k != "typesize"}),
    ("blosc", {k: v for k, v in BLOSC.items() if k != "shuffle"}),
    *(("blosc", BLOSC | {"shuffle": value}) for value in (1, None, "auto", "SHUFFLE", ["shuffle"])),
    *(("blosc", BLOSC | {"cname": value}) for value in ("snappy", "gzip", None, 1, "LZ4")),
    *(("blosc", BLOSC | {"clevel": value}) for value in (-1, 10, "5", 5.0, None, True)),
    *(("blosc", BLOSC | {"typesize": value}) for value in (0, -1, "4", 4.0, None)),
    *(("blosc", BLOSC | {"blocksize": value}) for value in (-1, "0", None, 2**31)),
    *(("numcodecs.blosc", {"shuffle": value}) for value in ("shuffle", 3, -2, None)),
    ("numcodecs.blosc", {"cname": "snappy"}),
    ("numcodecs.zlib", {"level": 10}),
    ("numcodecs.bz2", {"level": 0}),
    ("numcodecs.bz2", {"level": 10}),
    ("numcodecs.lz4", {"acceleration": "1"}),
    ("numcodecs.lz4", {"acceleration": 1.5}),
    ("crc32c", {"location": "start"}),
    *(("numcodecs.lzma", {"format": value}) for value in (0, 4, "1", None)),
    ("numcodecs.lzma", {"format": 3}),
    ("numcodecs.lzma", {"format": 2, "check": 1}),
    *(("numcodecs.lzma", {"check": value}) for value in (-2, 7, 16, "4")),
    *(("numcodecs.lzma", {"preset": value}) for value in (10, "6", 1.5, [6])),
    *(("numcodecs.lzma", RAW_LZMA | {"filters": value}) for value in ([], {}, "x", 5, [1], [{}], [{"id": 99}])),
    ("numcodecs.lzma", RAW_LZMA | {"filters": [{"id": 33, "x": 1}]}),
]


def built(name, configuration):
    if codec_class(name).kind == "bytes_to_bytes":
        return on_bytes(name, configuration)
    return on_array(name, configuration, (2, 3), "int16")


@pytest.mark.parametrize(("name", "configuration"), BAD_MEMBERS)
def test_a_member_that_means_nothing_is_refused(name, configuration):
    with pytest.raises(UnknownCodecError) as caught:
        built(name, configuration)
    assert caught.value.codec == name.removeprefix("numcodecs.") or caught.value.codec == name


@pytest.mark.parametrize(
    "configuration",
    [{"preset": -1}, {"preset": 2**70}, RAW_LZMA | {"filters": [{"id": 2**70}]}, RAW_LZMA | {"filters": [{"id": -1}]}],
)
def test_an_lzma_number_beyond_all_range_is_refused(configuration):
    with pytest.raises(UnknownCodecError):
        on_bytes("numcodecs.lzma", configuration)


def test_gzip_of_v3_has_levels_from_0():
    with pytest.raises(UnknownCodecError):
        on_bytes("gzip", {"level": -1})


def test_gzip_and_zlib_of_v2_take_the_librarys_own_default_level():
    for name in ("numcodecs.gzip", "numcodecs.zlib"):
        codec = on_bytes(name, {"level": -1})
        assert decoded(codec, codec.encode(NUMBERS)) == NUMBERS


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("bytes", {"endian": "little"}),
        ("transpose", {"order": [1, 0]}),
        ("gzip", {"level": 5}),
        ("zstd", {"level": 0, "checksum": False}),
        ("blosc", BLOSC),
        ("crc32c", {}),
    ],
)
def test_a_member_that_v3_does_not_know_is_refused(name, configuration):
    assert built(name, configuration)
    with pytest.raises(UnknownCodecError, match="novel"):
        built(name, configuration | {"novel": 1})


@pytest.mark.parametrize("codec_id", ["zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "blosc"])
def test_a_member_that_v2_does_not_know_is_ignored(codec_id):
    codec = on_bytes("numcodecs." + codec_id, {"novel": 1, "checksum": False})
    assert decoded(codec, codec.encode(NUMBERS)) == NUMBERS


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("zstd", {"checksum": "NO"}),
        ("numcodecs.zstd", {"level": 9, "checksum": "NO"}),
        ("numcodecs.blosc", {"typesize": 4, "nthreads": 8}),
        ("numcodecs.blosc", {}),
        ("numcodecs.crc32c", {"location": "end"}),
    ],
)
def test_members_met_in_the_wild_are_read(name, configuration):
    codec = on_bytes(name, configuration)
    assert decoded(codec, codec.encode(NUMBERS)) == NUMBERS


@pytest.mark.parametrize("name", ["", "Gzip", "zlib", "snappy", "numcodecs.snappy", "numcodecs.zlib "])
def test_an_unknown_codec_is_named(name):
    with pytest.raises(UnknownCodecError) as caught:
        codec_class(name)
    assert caught.value.codec == name


# ---- documentation

MODULES = sorted({place.partition(":")[0] for place in _OURS})
TEXT = np.array([["a", "b", ""], ["b", "a", "a"]], object)
CHUNKS = {
    "bitround": np.arange(6, dtype="f4").reshape(2, 3),
    "categorize": TEXT,
    "objects": TEXT,
    "quantize": np.arange(6, dtype="f4").reshape(2, 3) / 8,
    "vlen": TEXT,
}


@pytest.mark.parametrize("module", MODULES)
def test_the_example_in_a_codecs_docstring_builds_it(module):
    text = importlib.import_module(f"daskzarr.codecs.{module}").__doc__
    (example,) = re.findall(r"^Example: `+(\{.*?\})`+$", text, re.MULTILINE | re.DOTALL)
    config = NamedConfig.read(json.loads(example), "codecs")
    kind = codec_class(config.name).kind
    array = CHUNKS.get(module, np.arange(6, dtype="int32").reshape(2, 3))
    serializer = [] if kind == "array_to_bytes" else [NamedConfig("bytes", {"endian": "little"})]
    chain = [config, *serializer] if kind == "array_to_array" else [*serializer, config]
    spec = ChunkSpec((2, 3), array.dtype, "" if array.dtype == object else array.dtype.type(0))
    pipeline = CodecPipeline.resolve(chain, spec)
    assert np.array_equal(pipeline.decode(pipeline.encode(array)), array)
    assert f"``{config.name}``" in text
