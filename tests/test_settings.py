"""Settings of new arrays: what people type, in each format's own words; and what cannot be."""

import json

import ml_dtypes
import numcodecs
import numpy as np
import pytest
import zarr.codecs
from hypothesis import given
from hypothesis import strategies as st

from daskzarr import create_array, from_zarr, open_array
from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import DaskZarrError, MetadataError, UnknownCodecError, UnsupportedError
from daskzarr.metadata import DataType, NamedConfig, n5, v2, v3
from daskzarr.rectilinear_grid import RectilinearGrid
from daskzarr.settings import ArraySettings, FillValue, check_zarr_format, new_array_metadata, read_dtype

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
NAT = -(2**63)
SHAPE, CHUNKS = (6, 7), (2, 3)


def made(zarr_format=3, *, shape=SHAPE, dtype="int32", chunks=CHUNKS, **settings):
    """The metadata of a new array."""
    return new_array_metadata(
        ArraySettings(chunks=chunks, **settings), shape=shape, dtype=dtype, zarr_format=zarr_format
    )


def document(zarr_format=3, **settings):
    """The document of a new array; of v2 the .zarray."""
    metadata = made(zarr_format, **settings)
    if zarr_format == 2:
        return v2.write_array(metadata)[0]
    return v3.write_array(metadata) if zarr_format == 3 else n5.write_array(metadata)


def refused(kind, *, zarr_format=3, says=(), field=None, **settings):
    with pytest.raises(kind) as caught:
        made(zarr_format, **settings)
    assert all(word in str(caught.value) for word in says)
    if field:
        assert caught.value.field == field


# ---- dtypes

DTYPES = [
    ("int32", "int32", "i4"),
    ("<i4", "int32", "<i4"),
    (">i4", "int32", ">i4"),
    (int, "int64", "i8"),
    (np.float32, "float32", "f4"),
    (np.dtype("?"), "bool", "?"),
    (ml_dtypes.bfloat16, "bfloat16", ml_dtypes.bfloat16),
    ("bfloat16", "bfloat16", ml_dtypes.bfloat16),
    ("float8_e4m3", "float8_e4m3", ml_dtypes.float8_e4m3),
    ("int4", "int4", ml_dtypes.int4),
    ("complex_float32", "complex_float32", "c8"),
    ("r24", "r24", "V3"),
    ("V3", "r24", "V3"),
    ("S3", "null_terminated_bytes", "S3"),
    (">U3", "fixed_length_utf32", ">U3"),
    ("M8[25s]", "numpy.datetime64", "M8[25s]"),
    ("timedelta64[ns]", "numpy.timedelta64", "m8[ns]"),
    (str, "string", "O"),
    (bytes, "bytes", "O"),
    ("U", "string", "O"),
    ("S", "bytes", "O"),
    (object, "string", "O"),
    ("string", "string", "O"),
    ("bytes", "bytes", "O"),
    ("variable_length_bytes", "variable_length_bytes", "O"),
    ({"name": "raw_bytes", "configuration": {"length_bytes": 3}}, "raw_bytes", "V3"),
    (NamedConfig("numpy.datetime64", {"unit": "us", "scale_factor": 1}), "numpy.datetime64", "M8[us]"),
    (DataType.named("r24"), "r24", "V3"),
    ([("a", ">i4"), ("b", "<f8")], "struct", [("a", ">i4"), ("b", "<f8")]),
    ("i4,f8", "struct", "i4,f8"),
    ([("a", "i4", (2,))], "v2.dtype", [("a", "i4", (2,))]),
]


@pytest.mark.parametrize(("given_dtype", "name", "dtype"), DTYPES)
def test_a_dtype_is_what_numpy_takes_or_what_v3_calls_it(given_dtype, name, dtype):
    data_type, stored = read_dtype(given_dtype)
    assert data_type.name == name
    assert stored == np.dtype(dtype)
    assert stored.str == np.dtype(dtype).str
    assert data_type.dtype.isnative or data_type.dtype.hasobject


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="this NumPy has no StringDType")
def test_numpys_strings_are_strings():
    data_type, _ = read_dtype(np.dtype("T"))
    assert data_type.name == "string"


@pytest.mark.parametrize(
    ("given_dtype", "kind"),
    [
        *((value, MetadataError) for value in (5, 1.5, object(), [], (1, 2), ["i4"], {}, {"names": ["a"]}, "struct")),
        *(
            (value, UnsupportedError)
            for value in ("g", "V", "int128", "M8[xx]", "", "i4\0", "é", [("a", "O")], [("a", "S0")])
        ),
        ({"name": "int32", "configuration": {"x": 1}}, MetadataError),
        ({"name": "int128"}, UnsupportedError),
    ],
)
def test_what_is_no_dtype_is_refused(given_dtype, kind):
    refused(kind, dtype=given_dtype)


@pytest.mark.parametrize("given_dtype", ["i4,[", "\ud800", [("a", "i4", -1)]], ids=ascii)
def test_what_numpy_refuses_in_its_own_way_is_refused_in_ours(given_dtype):
    refused(DaskZarrError, dtype=given_dtype)


def test_fields_are_written_as_objects():
    found = document(dtype={"name": "struct", "configuration": {"fields": [["a", "int32"]]}})
    expected = {"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": "int32"}]}}
    assert found["data_type"] == expected


def test_the_legacy_name_of_structures_is_written_for_those_who_ask_for_it():
    legacy = {"name": "structured", "configuration": {"fields": [["a", "int32"]]}}
    assert document(dtype=legacy)["data_type"] == legacy
    assert document(dtype=[("a", "i4")])["data_type"]["name"] == "struct"


# ---- the byte order that was asked for


@pytest.mark.parametrize(
    ("dtype", "v3_codec", "v2_dtype"),
    [
        ("<i4", LITTLE, "<i4"),
        (">i4", BIG, ">i4"),
        ("i1", {"name": "bytes"}, "|i1"),
        (">U2", BIG, ">U2"),
        (">M8[s]", BIG, ">M8[s]"),
        ("S2", {"name": "bytes"}, "|S2"),
        (ml_dtypes.bfloat16, LITTLE, "bfloat16"),
        ([("a", ">i4"), ("b", ">f8")], BIG, [["a", ">i4"], ["b", ">f8"]]),
        ([("a", "<i4"), ("b", ">f8")], LITTLE, [["a", "<i4"], ["b", ">f8"]]),
        ([("a", "i1"), ("b", "S3")], {"name": "bytes"}, [["a", "|i1"], ["b", "|S3"]]),
    ],
)
def test_cells_are_stored_in_the_order_of_the_dtype(dtype, v3_codec, v2_dtype):
    assert document(dtype=dtype)["codecs"] == [v3_codec, ZSTD]
    assert document(2, dtype=dtype)["dtype"] == v2_dtype
    if v3_codec == BIG:
        assert document(dtype=dtype, serializer=LITTLE)["codecs"][0] == LITTLE


def test_an_aligned_structure_is_packed():
    dtype = np.dtype([("a", "i1"), ("b", "<f8")], align=True)
    assert made(dtype=dtype).data_type.dtype.itemsize == 9
    assert document(2, dtype=dtype)["dtype"] == [["a", "|i1"], ["b", "<f8"]]


def test_fields_that_are_arrays_are_for_v2():
    dtype = [("a", "<i4", (2,))]
    assert document(2, dtype=dtype)["dtype"] == [["a", "<i4", [2]]]
    refused(UnsupportedError, dtype=dtype, field="data_type", says=["zarr_format=2"])


# ---- fill values

DEFAULTS = [
    ("i4", 0, 0),
    ("f4", 0.0, 0.0),
    ("?", False, False),
    ("c8", [0.0, 0.0], [0.0, 0.0]),
    ("M8[s]", NAT, NAT),
    ("m8", NAT, NAT),
    ("S3", "AAAA", "AAAA"),
    ("U3", "", ""),
    ("V3", [0, 0, 0], "AAAA"),
    (ml_dtypes.bfloat16, 0.0, 0.0),
    (str, "", ""),
    (bytes, "", ""),
    ([("a", "<i2"), ("b", "S1")], {"a": 0, "b": "AA=="}, "AAAA"),
]


@pytest.mark.parametrize(("dtype", "of_v3", "of_v2"), DEFAULTS)
def test_a_fill_value_that_was_not_chosen_is_zero_and_recorded(dtype, of_v3, of_v2):
    assert json.dumps(document(dtype=dtype)["fill_value"]) == json.dumps(of_v3)
    assert json.dumps(document(dtype=dtype, fill_value=None)["fill_value"]) == json.dumps(of_v3)
    assert json.dumps(document(2, dtype=dtype)["fill_value"]) == json.dumps(of_v2)
    assert document(2, dtype=dtype, fill_value=None)["fill_value"] is None


@pytest.mark.parametrize(
    ("dtype", "value", "of_v3", "of_v2"),
    [
        ("i4", 7.0, 7, 7),
        (">f8", np.float32("nan"), "NaN", "NaN"),
        ("f4", -0.0, -0.0, -0.0),
        ("M8[s]", np.datetime64("1970-01-01T00:01"), 60, 60),
        ("S3", b"a", "YQAA", "YQAA"),
        (">U3", "é", "é", "é"),
        ("V2", b"ab", [97, 98], "YWI="),
        ([("a", ">i2"), ("b", "S1")], (258, b"x"), {"a": 258, "b": "eA=="}, "AQJ4"),
        (str, "é", "é", "é"),
        (bytes, b"ab", "YWI=", "YWI="),
    ],
)
def test_a_chosen_fill_value_is_written_in_each_formats_words(dtype, value, of_v3, of_v2):
    assert json.dumps(document(dtype=dtype, fill_value=value)["fill_value"]) == json.dumps(of_v3)
    assert json.dumps(document(2, dtype=dtype, fill_value=value)["fill_value"]) == json.dumps(of_v2)


@pytest.mark.parametrize("value", [True, "5", 1.5, 2**31, [], {}, np.zeros(2), object(), 1j])
@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_a_fill_value_that_does_not_fit_is_refused(zarr_format, value):
    refused(MetadataError, zarr_format=zarr_format, fill_value=value, field="fill_value")


# ---- codecs

BLOSC_V3 = {"cname": "lz4", "clevel": 5, "typesize": 4, "blocksize": 0, "shuffle": "shuffle"}
BLOSC_V2 = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
LZMA = {"format": 1, "check": -1, "preset": None, "filters": None}
COMPRESSORS = [
    ("zstd", ZSTD, {"id": "zstd", "level": 0}),
    ("gzip", {"name": "gzip", "configuration": {"level": 5}}, {"id": "gzip", "level": 1}),
    ("blosc", {"name": "blosc", "configuration": BLOSC_V3}, BLOSC_V2),
    ("crc32c", {"name": "crc32c"}, {"id": "crc32c"}),
    ("numcodecs.zlib", {"name": "numcodecs.zlib", "configuration": {"level": 1}}, {"id": "zlib", "level": 1}),
    ({"id": "zlib", "level": 3}, {"name": "numcodecs.zlib", "configuration": {"level": 3}}, {"id": "zlib", "level": 3}),
    ({"id": "lzma"}, {"name": "numcodecs.lzma", "configuration": LZMA}, {"id": "lzma", **LZMA}),
    (
        {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
        {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
        {"id": "zstd", "level": 3, "checksum": True},
    ),
    (
        {"name": "blosc", "configuration": {"shuffle": "bitshuffle", "cname": "zstd"}},
        {"name": "blosc", "configuration": BLOSC_V3 | {"shuffle": "bitshuffle", "cname": "zstd"}},
        BLOSC_V2 | {"shuffle": 2, "cname": "zstd"},
    ),
    (
        numcodecs.Blosc(cname="zstd", clevel=3, shuffle=0),
        {"name": "blosc", "configuration": BLOSC_V3 | {"cname": "zstd", "clevel": 3, "shuffle": "noshuffle"}},
        BLOSC_V2 | {"cname": "zstd", "clevel": 3, "shuffle": 0},
    ),
    (numcodecs.Zstd(5), {"name": "zstd", "configuration": {"level": 5, "checksum": False}}, {"id": "zstd", "level": 5}),
    (numcodecs.GZip(3), {"name": "gzip", "configuration": {"level": 3}}, {"id": "gzip", "level": 3}),
    (zarr.codecs.GzipCodec(level=3), {"name": "gzip", "configuration": {"level": 3}}, {"id": "gzip", "level": 3}),
    (zarr.codecs.ZstdCodec(level=0), ZSTD, {"id": "zstd", "level": 0}),
    (zarr.codecs.Crc32cCodec(), {"name": "crc32c"}, {"id": "crc32c"}),
]


def as_set(document):
    """A document's members, in whatever order."""
    return json.dumps(document, sort_keys=True)


@pytest.mark.parametrize(("given_codec", "of_v3", "of_v2"), COMPRESSORS)
@pytest.mark.parametrize("word", ["compressors", "compressor"])
def test_a_compressor_in_any_spelling_is_written_in_each_formats_words(given_codec, of_v3, of_v2, word):
    found = document(**{word: given_codec})["codecs"]
    assert as_set(found) == as_set([LITTLE, of_v3])
    assert as_set(document(**{word: [given_codec]})["codecs"]) == as_set(found)
    old = document(2, **{word: given_codec})
    assert as_set(old["compressor"]) == as_set(of_v2)
    assert old["filters"] is None


@pytest.mark.parametrize("none", [None, [], ()])
def test_no_compressor_is_none(none):
    assert document(compressors=none)["codecs"] == [LITTLE]
    assert document(2, compressors=none)["compressor"] is None
    assert document("n5", compressors=none)["compression"] == {"type": "raw"}


def test_several_codecs_on_bytes_follow_on_each_other():
    assert document(compressors=["zstd", "crc32c"])["codecs"] == [LITTLE, ZSTD, {"name": "crc32c"}]
    old = document(2, compressors=["zstd", "crc32c"])
    assert (old["filters"], old["compressor"]) == ([{"id": "zstd", "level": 0}], {"id": "crc32c"})


@pytest.mark.parametrize(
    ("dtype", "typesize", "shuffle"), [("i1", 1, "bitshuffle"), ("i4", 4, "shuffle"), ("c16", 16, "shuffle")]
)
def test_blosc_shuffles_by_the_size_of_an_element(dtype, typesize, shuffle):
    for codec in ("blosc", numcodecs.Blosc(shuffle=-1)):
        configuration = document(dtype=dtype, compressors=codec)["codecs"][1]["configuration"]
        assert (configuration["typesize"], configuration["shuffle"]) == (typesize, shuffle)


FILTERS = [
    numcodecs.Delta("<i4"),
    {"id": "delta", "dtype": "<i4", "astype": "<i4"},
    {"name": "numcodecs.delta", "configuration": {"dtype": "<i4", "astype": "<i4"}},
]


@pytest.mark.parametrize("delta", FILTERS, ids=["object", "v2", "v3"])
def test_filters_come_first_and_in_the_words_of_the_format(delta):
    configuration = {"dtype": "<i4", "astype": "<i4"}
    found = document(filters=delta)["codecs"]
    assert as_set(found) == as_set([{"name": "numcodecs.delta", "configuration": configuration}, LITTLE, ZSTD])
    old = document(2, filters=[delta])
    assert as_set(old["filters"]) == as_set([{"id": "delta", **configuration}])
    assert old["compressor"] == {"id": "zstd", "level": 0}


def test_filters_on_bytes_are_for_v2():
    shuffle = {"id": "shuffle", "elementsize": 4}
    assert document(2, filters=[FILTERS[1], shuffle])["filters"] == [FILTERS[1], shuffle]
    refused(UnknownCodecError, filters=[FILTERS[1], shuffle])


def test_order_f_is_a_transpose():
    reverse = {"name": "transpose", "configuration": {"order": [1, 0]}}
    assert document(order="F")["codecs"] == [reverse, LITTLE, ZSTD]
    assert document(2, order="F")["order"] == "F"
    assert document(2)["order"] == "C"


@pytest.mark.parametrize(
    ("serializer", "of_v3", "of_v2"),
    [
        (BIG, BIG, ">i4"),
        (zarr.codecs.BytesCodec(endian="big"), BIG, ">i4"),
        (zarr.codecs.BytesCodec(endian="little"), LITTLE, "<i4"),
    ],
)
def test_the_serializer_has_the_last_word_on_the_order(serializer, of_v3, of_v2):
    assert document(serializer=serializer, compressors=None)["codecs"] == [of_v3]
    assert document(2, serializer=serializer)["dtype"] == of_v2


@pytest.mark.parametrize("dtype", [str, object, "string", "U"])
def test_text_of_any_length_is_stored_by_its_own_codec(dtype):
    assert document(dtype=dtype)["codecs"] == [{"name": "vlen-utf8"}, ZSTD]
    old = document(2, dtype=dtype)
    assert (old["dtype"], old["filters"]) == ("|O", [{"id": "vlen-utf8"}])


@pytest.mark.parametrize("dtype", [bytes, "bytes", "S"])
def test_bytes_of_any_length_are_stored_by_theirs(dtype):
    assert document(dtype=dtype)["codecs"] == [{"name": "vlen-bytes"}, ZSTD]
    assert document(2, dtype=dtype)["filters"] == [{"id": "vlen-bytes"}]


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ({"id": "json2"}, "v2.dtype"),
        ({"id": "msgpack2"}, "v2.dtype"),
        ({"id": "vlen-array", "dtype": "<i4"}, "v2.dtype"),
        ({"id": "vlen-bytes"}, "bytes"),
        ({"id": "vlen-utf8"}, "string"),
        ({"id": "categorize", "labels": ["a"], "dtype": "|O", "astype": "|u1"}, "string"),
    ],
)
@pytest.mark.parametrize("word", ["filters", "serializer"])
def test_in_v2_a_codec_says_what_objects_are(codec, name, word):
    if word == "serializer" and codec["id"] == "categorize":
        return
    metadata = made(2, dtype=object, fill_value=None, **{word: codec})
    assert metadata.data_type.name == name
    assert v2.write_array(metadata)[0]["filters"][0]["id"] == codec["id"]


def test_the_whole_pipeline_may_be_given():
    codecs = [{"name": "transpose", "configuration": {"order": [1, 0]}}, BIG, "crc32c"]
    assert document(codecs=codecs)["codecs"] == [*codecs[:2], {"name": "crc32c"}]
    assert document(codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()])["codecs"] == [LITTLE, ZSTD]
    for beside in ({"order": "F"}, {"compressors": None}, {"compressor": "zstd"}, {"filters": []}, {"serializer": BIG}):
        refused(MetadataError, codecs=codecs, field="codecs", **beside)


NO_CODECS = [False, True, 5, 1.5, {}, {"type": "gzip"}, {"configuration": {}}, object(), ["zstd", None], [[ZSTD]]]


@pytest.mark.parametrize("value", NO_CODECS)
@pytest.mark.parametrize("word", ["compressors", "compressor", "filters", "serializer", "codecs"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_no_codec_is_refused(zarr_format, word, value):
    refused(MetadataError, zarr_format=zarr_format, **{word: value})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compressors": "zip9"}, "zip9"),
        ({"compressors": {"id": "zip9"}}, "zip9"),
        ({"compressors": ""}, "codec"),
        ({"filters": {"id": "packbits"}}, "bool"),
        ({"serializer": "bytes"}, "endian"),
        ({"serializer": "vlen-utf8"}, "vlen-utf8"),
        ({"compressors": {"name": "gzip", "configuration": {"level": 10}}}, "level"),
        ({"codecs": []}, "codecs"),
        ({"codecs": "zstd"}, "zstd"),
        ({"codecs": [LITTLE, LITTLE]}, "bytes"),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_codecs_that_cannot_be_are_refused_and_named(zarr_format, settings, says):
    refused(UnknownCodecError, zarr_format=zarr_format, says=[says], **settings)


def test_a_second_serializer_is_refused():
    refused(UnknownCodecError, compressors=[BIG], says=["bytes"])


@pytest.mark.parametrize(
    "codec", [{"id": "json2"}, {"id": "msgpack2"}, {"id": "vlen-array", "dtype": "<i4"}, {"id": "vlen-bytes"}]
)
def test_objects_of_v3_are_stored_as_what_their_data_type_is(codec):
    refused(DaskZarrError, dtype=str, serializer=codec)


def test_a_codecs_unknown_option_is_refused():
    unknown = {"name": "zstd", "configuration": {"level": 1, "speed": 2}}
    refused(UnknownCodecError, compressors=unknown, says=["speed"])


@pytest.mark.parametrize("zarr_format", [2, "n5"])
def test_a_codecs_unknown_option_is_refused_in_every_format(zarr_format):
    refused(DaskZarrError, zarr_format=zarr_format, compressors={"id": "zlib", "level": 1, "speed": 2})


def test_both_words_for_compressors_are_one_too_many():
    refused(MetadataError, compressors="zstd", compressor="zstd", field="compressors")
    refused(MetadataError, compressors=None, compressor=None, field="compressors")


# ---- chunks and shards


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((2, 3), (2, 3)),
        ([2, 3], (2, 3)),
        (3, (3, 3)),
        (np.int64(3), (3, 3)),
        (np.array([2, 3]), (2, 3)),
        ((2.0, 3), (2, 3)),
        (((2, 2, 2), 3), (2, 3)),
        (((2, 2, 2), (3, 3, 1)), (2, 3)),
        ([[6], [7]], (6, 7)),
        (((2, 2, 0, 2), (7,)), (2, 7)),
        ((100, 100), (100, 100)),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_of_one_shape_are_a_regular_grid(zarr_format, chunks, expected):
    assert made(zarr_format, chunks=chunks).chunk_grid == RegularGrid(SHAPE, expected)


@pytest.mark.parametrize(
    ("chunks", "runs", "written"),
    [
        (((2, 4), (3, 3, 1)), (((2, 1), (4, 1)), 3), [[2, 4], 3]),
        (((2, 4), 3), (((2, 1), (4, 1)), 3), [[2, 4], 3]),
        (((1, 1, 4), (1, 2, 2, 2)), (((1, 2), (4, 1)), ((1, 1), (2, 3))), [[[1, 2], 4], [1, [2, 3]]]),
        ([[4, 0, 2], [3, 4]], (4, ((3, 1), (4, 1))), [4, [3, 4]]),
    ],
)
def test_chunks_of_several_shapes_are_a_rectilinear_grid(chunks, runs, written):
    metadata = made(chunks=chunks)
    assert metadata.chunk_grid == RectilinearGrid(SHAPE, runs)
    configuration = {"kind": "inline", "chunk_shapes": written}
    assert v3.write_array(metadata)["chunk_grid"] == {"name": "rectilinear", "configuration": configuration}


@given(st.lists(st.integers(0, 4), max_size=6), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_grid_has_just_the_chunks_that_were_listed(first, second):
    metadata = made(shape=(sum(first), sum(second)), chunks=(tuple(first), tuple(second)))
    for axis, lengths in enumerate((first, second)):
        bounds = [metadata.chunk_grid.box(index) for index in np.ndindex(metadata.chunk_grid.counts)]
        found = sorted({(box.start[axis], box.stop[axis]) for box in bounds})
        if bounds:
            assert [stop - start for start, stop in found] == [n for n in lengths if n]


@pytest.mark.parametrize("zarr_format", [2, "n5"])
def test_only_v3_has_chunks_of_several_shapes(zarr_format):
    refused((UnsupportedError, MetadataError), zarr_format=zarr_format, chunks=((2, 4), 3))


def test_equal_lengths_are_one_shape_in_n5_too():
    assert document("n5", chunks=((2, 2, 2), (7,)))["blockSize"] == [7, 2]


NO_CHUNKS = [None, "auto", "x", {}, Ellipsis, 0, -1, (0, 3), (2, -3), (2,), (2, 3, 4), (2.5, 3), ("2", 3), (None, 3)]
NO_CHUNKS += [
    ((2, 4), (3, 3)),
    ((2, 2, 3), 3),
    ((2, 4), 0),
    ((2, 4),),
    ((2, 4), (7,), 1),
    ((2, -2, 6), 7),
    (([2], 4), 7),
]


@pytest.mark.parametrize("chunks", NO_CHUNKS, ids=str)
def test_chunks_that_are_none_are_refused(chunks):
    refused(MetadataError, chunks=chunks, field="chunks")


@pytest.mark.parametrize("settings", [{"chunks": True}, {"chunks": (True, 3)}, {"shape": (True, 7)}], ids=str)
def test_booleans_are_no_lengths(settings):
    refused(MetadataError, **settings)


NO_SHAPES = [None, "x", {1: 2}, -1, (-1, 2), ("a", 2), (1.5, 2), ((1,), 2), (None, 2), Ellipsis]


@pytest.mark.parametrize("shape", NO_SHAPES, ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_a_shape_that_is_none_is_refused(zarr_format, shape):
    refused(MetadataError, zarr_format=zarr_format, shape=shape)


@pytest.mark.parametrize("settings", [{"shape": (2**63, 7)}, {"chunks": (2**63, 3)}], ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_lengths_beyond_what_can_be_read_are_refused(zarr_format, settings):
    refused(DaskZarrError, zarr_format=zarr_format, **settings)


def test_a_length_is_a_shape_of_one_axis():
    assert made(shape=5, chunks=2).shape == (5,)
    assert made(shape=np.int64(5), chunks=2).chunk_grid == RegularGrid((5,), (2,))
    assert made(shape=(), chunks=()).chunk_grid == RegularGrid((), ())


INDEX = [LITTLE, {"name": "crc32c"}]


@pytest.mark.parametrize(
    ("settings", "inner"), [({}, [LITTLE, ZSTD]), ({"codecs": [BIG]}, [BIG]), ({"compressors": None}, [LITTLE])]
)
def test_shards_hold_chunks(settings, inner):
    found = document(chunks=(2, 3), shards=(4, 6), **settings)
    assert found["chunk_grid"] == {"name": "regular", "configuration": {"chunk_shape": [4, 6]}}
    configuration = {"chunk_shape": [2, 3], "codecs": inner, "index_codecs": INDEX, "index_location": "end"}
    assert found["codecs"] == [{"name": "sharding_indexed", "configuration": configuration}]


def test_order_f_in_shards_is_within_the_chunks():
    (sharding,) = document(chunks=(2, 3), shards=(4, 6), order="F")["codecs"]
    assert sharding["configuration"]["chunk_shape"] == [2, 3]
    assert sharding["configuration"]["codecs"][0] == {"name": "transpose", "configuration": {"order": [1, 0]}}


@pytest.mark.parametrize("shards", [(4, 5), (3, 6), (1, 1), True, "x", (0, 0), (4,), (4, 6, 8)], ids=str)
def test_shards_that_chunks_do_not_divide_are_refused(shards):
    refused(MetadataError, chunks=(2, 3), shards=shards)


@pytest.mark.parametrize("zarr_format", [2, "n5"])
def test_only_v3_has_shards(zarr_format):
    refused(UnsupportedError, zarr_format=zarr_format, shards=(4, 6), field="shards", says=["shards"])


def test_nothing_may_follow_a_shard():
    (sharding,) = document(chunks=(2, 3), shards=(4, 6))["codecs"]
    refused(UnsupportedError, chunks=(4, 6), codecs=[sharding, "crc32c"], field="codecs")


def test_codecs_have_to_take_every_length_of_chunks():
    (sharding,) = document(chunks=(4, 3), shards=(4, 6))["codecs"]
    store = {}
    try:
        create_array(store, shape=SHAPE, chunks=((2, 4), 6), dtype="int32", codecs=[sharding])
    except DaskZarrError:
        return
    assert from_zarr(store).shape == SHAPE


# ---- names, keys, attributes


def test_names_of_dimensions():
    assert document(dimension_names=["x", None])["dimension_names"] == ["x", None]
    assert document(dimension_names=("x", ""))["dimension_names"] == ["x", ""]
    assert "dimension_names" not in document()
    assert document(shape=5, chunks=2, dimension_names="x")["dimension_names"] == ["x"]
    assert document("n5", dimension_names=["y", "x"])["axes"] == ["x", "y"]
    assert v2.write_array(made(2, dimension_names=["y", "x"]))[1] == {"_ARRAY_DIMENSIONS": ["y", "x"]}


@pytest.mark.parametrize("names", [["x"], "x", ["x", "y", "z"], [1, 2], ["x", b"y"], [["x"], "y"]], ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_names_that_do_not_name_each_dimension_are_refused(zarr_format, names):
    refused(MetadataError, zarr_format=zarr_format, dimension_names=names, field="dimension_names")


@pytest.mark.parametrize(
    ("zarr_format", "names"), [(2, 5), (3, 5), ("n5", 5), ("n5", ["x"]), ("n5", ["x", "y", "z"])], ids=str
)  # fmt: skip
def test_names_that_are_none_are_refused(zarr_format, names):
    refused(MetadataError, zarr_format=zarr_format, dimension_names=names, field="dimension_names")


@pytest.mark.parametrize(
    ("settings", "key_of_v3", "key_of_v2"),
    [
        ({}, "c/1/2", "1.2"),
        ({"dimension_separator": "/"}, "c/1/2", "1/2"),
        ({"dimension_separator": "."}, "c.1.2", "1.2"),
        ({"chunk_key_encoding": "v2"}, "1.2", "1.2"),
        ({"chunk_key_encoding": {"name": "v2", "separator": "/"}}, "1/2", "1/2"),
        ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/"}}}, "1/2", "1/2"),
        ({"chunk_key_encoding": "v2", "dimension_separator": "/"}, "1/2", "1/2"),
        ({"chunk_key_encoding": "default"}, "c/1/2", None),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}, "c.1.2", None),
    ],
)
def test_keys_are_as_asked_for(settings, key_of_v3, key_of_v2):
    assert made(**settings).chunk_key_encoding.encode((1, 2)) == key_of_v3
    if key_of_v2:
        assert made(2, **settings).chunk_key_encoding.encode((1, 2)) == key_of_v2
    else:
        refused(MetadataError, zarr_format=2, field="chunk_key_encoding", **settings)


NO_KEYS = [{"dimension_separator": value} for value in ("-", "", 5, ["/"], True)]
NO_KEYS += [
    {"chunk_key_encoding": value} for value in ("x", 5, {}, {"separator": "/"}, {"name": "v2", "separator": "-"}, "n5")
]
NO_KEYS += [{"chunk_key_encoding": {"name": "v2", "configuration": {"separator": ["/"]}}}]


@pytest.mark.parametrize("settings", NO_KEYS, ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_keys_that_no_format_has_are_refused(zarr_format, settings):
    refused(MetadataError, zarr_format=zarr_format, field="chunk_key_encoding", **settings)


def test_an_unknown_option_of_keys_is_refused():
    refused(
        MetadataError, chunk_key_encoding={"name": "default", "configuration": {"x": 1}}, field="chunk_key_encoding"
    )


def test_attributes_become_json():
    attributes = {"a": np.int8(3), "b": np.arange(2), "c": [np.float32(0.5)], 1: (2,)}
    assert document(attributes=attributes)["attributes"] == {"a": 3, "b": [0, 1], "c": [0.5], "1": [2]}
    assert document()["attributes"] == {}


@pytest.mark.parametrize("attributes", [[1], "x", 5, True])
def test_attributes_that_are_no_mapping_are_refused(attributes):
    refused(MetadataError, attributes=attributes, field="attributes")


# ---- N5


@pytest.mark.parametrize(
    ("codec", "compression"),
    [
        ("auto", {"type": "gzip", "level": 6, "useZlib": False}),
        ("gzip", {"type": "gzip", "level": 1, "useZlib": False}),
        (numcodecs.Zlib(3), {"type": "gzip", "level": 3, "useZlib": True}),
        ("bz2", {"type": "bzip2", "blockSize": 1}),
        ("lzma", {"type": "xz", "preset": 6}),
        ("lz4", {"type": "lz4", "blockSize": 65536}),
        ({"id": "zstd", "level": 5}, {"type": "zstd", "level": 5}),
        ({"type": "gzip", "level": 3, "useZlib": False}, {"type": "gzip", "level": 3, "useZlib": False}),
        (
            numcodecs.Blosc(cname="zstd", clevel=3, shuffle=2),
            {"type": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0, "nthreads": 1},
        ),
    ],
)
def test_n5_has_words_of_its_own_for_compressors(codec, compression):
    found = document("n5", compressors=codec)
    assert found["compression"] == compression
    assert (found["dimensions"], found["blockSize"], found["dataType"]) == ([7, 6], [3, 2], "int32")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"order": "F"}, "order"),
        ({"filters": []}, "filters"),
        ({"serializer": LITTLE}, "serializer"),
        ({"codecs": [LITTLE]}, "codecs"),
        ({"dimension_separator": "/"}, "dimension_separator"),
        ({"chunk_key_encoding": "v2"}, "chunk_key_encoding"),
        ({"fill_value": 5}, "fill_value"),
        ({"compressors": "crc32c"}, "compression"),
        ({"compressors": ["gzip", "zstd"]}, "compression"),
    ],
)
def test_what_n5_does_not_have_is_unsupported(settings, field):
    refused(UnsupportedError, zarr_format="n5", field=field, **settings)


@pytest.mark.parametrize(
    "dtype", ["bool", "float16", "complex64", "S3", "M8[s]", [("a", "i4")], ml_dtypes.bfloat16, "r24"]
)
def test_types_that_n5_does_not_have_are_unsupported(dtype):
    refused(DaskZarrError, zarr_format="n5", dtype=dtype)


# ---- all in all


@pytest.mark.parametrize("value", [2, 3, "n5", np.int64(2)])
def test_there_are_three_formats(value):
    assert check_zarr_format(value) == value


@pytest.mark.parametrize("value", [None, 1, 4, "2", "3", "N5", True, False, [2], {}, "zarr"])
def test_there_are_no_others(value):
    with pytest.raises(UnsupportedError) as caught:
        check_zarr_format(value)
    assert caught.value.field == "zarr_format"


@pytest.mark.parametrize("order", ["A", "c", "", None, 0, ["F"], "K"])
@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_another_order_is_refused(zarr_format, order):
    refused(MetadataError, zarr_format=zarr_format, order=order, field="order")


def test_settings_know_which_of_them_were_chosen():
    assert ArraySettings().chosen() == []
    assert ArraySettings(chunks=3, order="C", compressors="auto", fill_value=FillValue.DEFAULT).chosen() == ["chunks"]
    chosen = ArraySettings(fill_value=None, compressors=None, compressor=None, order="F", attributes={})
    assert set(chosen.chosen()) == {"fill_value", "compressors", "compressor", "order", "attributes"}
    assert repr(FillValue.DEFAULT) == "FillValue.DEFAULT"


DTYPES_OF_ALL = [dtype for dtype, name, _ in DTYPES if name not in ("v2.dtype", "complex_float32")]


@pytest.mark.parametrize("dtype", DTYPES_OF_ALL, ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_was_made_is_what_is_opened(zarr_format, dtype):
    store = {}
    new = create_array(
        store, shape=SHAPE, chunks=CHUNKS, dtype=dtype, zarr_format=zarr_format, dimension_names=["a", "b"]
    )
    opened = open_array(store)
    assert (
        (opened.shape, opened.chunks, opened.dtype) == (new.shape, new.chunks, new.dtype) == (SHAPE, CHUNKS, new.dtype)
    )
    assert np.asarray(opened.fill_value, new.dtype).tolist() == np.asarray(new.fill_value, new.dtype).tolist()
    assert opened.dimension_names == new.dimension_names == ("a", "b")
    if zarr_format == 3:
        again = made(dtype=opened.metadata.data_type, dimension_names=["a", "b"])
        assert (again.data_type, again.fill_value) == (opened.metadata.data_type, opened.metadata.fill_value)


@pytest.mark.parametrize("dtype", [str, bytes])
def test_a_new_array_of_v2_has_the_codecs_that_it_has_when_opened(dtype):
    new = create_array(store := {}, shape=SHAPE, chunks=CHUNKS, dtype=dtype, zarr_format=2)
    assert open_array(store).metadata.codecs == new.metadata.codecs
