""".zarray, .zattrs and .zgroup: writing what was read gives the canonical document; the rest is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.metadata import ArrayMetadata, NamedConfig, v2
from daskzarr.metadata.array import strip_for_reading
from daskzarr.metadata.json_text import format_object, parse_object

SEVERAL_BYTES = ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
DTYPES = ["|b1", "|i1", "|u1", *(order + kind for order in "<>" for kind in SEVERAL_BYTES)]
MEMBERS = {"zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"}
COMPRESSORS = [
    {"id": "zlib", "level": 1},
    {"id": "gzip"},
    {"id": "bz2", "level": 9},
    {"id": "lzma", "format": 3, "check": -1, "preset": None, "filters": [{"id": 33, "preset": 1}]},
    {"id": "zstd", "level": 0, "checksum": "NO"},
    {"id": "lz4", "acceleration": 1},
    {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": -1, "blocksize": 0, "typesize": 4},
    {"id": "x.unknown", "a": {"b": [1]}},
]
ON_ARRAYS = [{"id": "delta", "dtype": "<i4"}, {"id": "packbits"}, {"id": "bitround", "keepbits": 3}]
ON_BYTES = [{"id": "shuffle", "elementsize": 4}, {"id": "crc32c"}, {"id": "zlib", "level": 2}]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(st.text(max_size=4), json_values, max_size=2)


def exactly(document):
    """JSON text that tells 1 from 1.0 from true and 0.0 from -0.0, whatever the order of members."""
    return json.dumps(document, sort_keys=True)


@st.composite
def real_fills(draw, size):
    digits = st.binary(min_size=size, max_size=size).map(lambda raw: "0x" + raw.hex())
    names = st.sampled_from(["NaN", "Infinity", "-Infinity", "nan", "-inf", -0.0, 0.0, 0, 7])
    return draw(names | digits | st.floats(-60000, 60000) | st.integers(-2048, 2048))


def fills(dtype):
    if dtype.kind == "b":
        return st.sampled_from([True, False, 0, 1])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        limits = st.sampled_from([int(info.min), int(info.max), int(info.max) - 1, 9.0])
        return limits | st.integers(int(info.min), int(info.max))
    if dtype.kind == "c":
        return st.tuples(*[real_fills(dtype.itemsize // 2)] * 2).map(list)
    return real_fills(dtype.itemsize)


@st.composite
def dimension_attributes(draw, ndim):
    """Attributes: with the names of the dimensions, or a user's own value in their place."""
    names = st.lists(st.none() | st.text(max_size=3), min_size=ndim, max_size=ndim)
    own = st.just("x") | st.lists(st.text(max_size=2), min_size=ndim + 1, max_size=ndim + 1) | st.just([5])
    attributes = draw(objects)
    return draw(st.sampled_from([attributes, attributes | {v2.DIMENSIONS: draw(names | own)}]))


@st.composite
def array_documents(draw):
    """``.zarray`` and ``.zattrs``, and the canonical ``.zarray`` that says the same."""
    shape = draw(st.lists(st.integers(0, 9) | st.integers(0, 2**63 - 1), max_size=3))
    chunks = [draw(st.integers(0 if n == 0 else 1, 9) | st.integers(1, 2**63 - 1)) for n in shape]
    text = draw(st.sampled_from(DTYPES))
    order = draw(st.sampled_from("|<>")) if text[0] == "|" else text[0]
    fill = draw(st.none() | fills(np.dtype(text)))
    on_arrays = draw(st.lists(st.sampled_from(ON_ARRAYS), max_size=2))
    on_bytes = draw(st.lists(st.sampled_from(ON_BYTES), max_size=2))
    compressor = draw(st.none() | st.sampled_from(COMPRESSORS))
    separator = draw(st.sampled_from([None, ".", "/"]))
    document = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": order + text[1:],
        "compressor": compressor,
        "fill_value": [fill] if fill is not None and draw(st.integers(0, 9)) == 0 else fill,
        "order": draw(st.sampled_from("CF")),
        "filters": on_arrays + on_bytes or draw(st.sampled_from([None, []])),
    } | ({"dimension_separator": separator} if separator else {})
    if compressor is None and on_bytes:
        compressor = on_bytes.pop()  # the last codec on bytes: as filter or compressor, it makes the same bytes
    canonical = document | {
        "chunks": [max(c, 1) for c in chunks],
        "dtype": text,
        "compressor": compressor,
        "fill_value": fill,
        "filters": on_arrays + on_bytes or None,
        "dimension_separator": separator or ".",
    }
    known = MEMBERS | {"dimension_separator"}
    extra = draw(st.dictionaries(st.text(max_size=4).filter(lambda k: k not in known), json_values, max_size=2))
    return document | extra, draw(dimension_attributes(len(shape))), canonical | extra


def base(**changes):
    document = {
        "zarr_format": 2,
        "shape": [5, 7],
        "chunks": [2, 3],
        "dtype": "<i4",
        "compressor": {"id": "zlib", "level": 1},
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def read(**changes):
    return v2.read_array(base(**changes), {})


# ---- the law


@given(array_documents())
def test_writing_what_was_read_gives_the_canonical_documents(case):
    document, attributes, canonical = case
    stored = parse_object(format_object(document), ".zarray")
    zarray, zattrs = v2.write_array(v2.read_array(stored, parse_object(format_object(attributes), ".zattrs")))
    assert exactly(parse_object(format_object(zarray), ".zarray")) == exactly(canonical)
    assert exactly(parse_object(format_object(zattrs), ".zattrs")) == exactly(attributes)


@given(array_documents())
def test_reading_what_was_written_gives_the_same_model(case):
    metadata = v2.read_array(case[0], case[1])
    assert v2.read_array(*v2.write_array(metadata)) == metadata


@given(array_documents())
def test_the_compact_form_keeps_all_that_chunks_need(case):
    metadata = v2.read_array(case[0], case[1])
    compact = ArrayMetadata.from_compact(metadata.compact())
    assert compact == strip_for_reading(metadata)
    assert compact.fill_scalar.tobytes() == metadata.fill_scalar.tobytes()


@given(objects)
def test_groups_are_written_with_the_format_number_and_nothing_else(attributes):
    metadata = v2.read_group({"zarr_format": 2, "_NCZARR_GROUP": {"dims": {}}}, attributes)
    zgroup, zattrs = v2.write_group(metadata)
    assert zgroup == {"zarr_format": 2}
    assert exactly(zattrs) == exactly(attributes)


# ---- what a document means


def test_the_model_holds_what_the_documents_say():
    document = base(dtype=">f8", order="F", fill_value="NaN", dimension_separator="/", filters=[{"id": "delta"}])
    metadata = v2.read_array(document, {"a": 1, "_ARRAY_DIMENSIONS": ["y", "x"]})
    assert metadata.shape == (5, 7)
    assert metadata.chunk_grid.chunk_shape == (2, 3)
    assert metadata.data_type.name == "float64"
    assert metadata.dimension_names == ("y", "x")
    assert metadata.attributes == {"a": 1}
    assert metadata.chunk_key_encoding == ChunkKeyEncoding("v2", "/")
    assert [(codec.name, codec.configuration) for codec in metadata.codecs] == [
        ("transpose", {"order": [1, 0]}),
        ("numcodecs.delta", {}),
        ("bytes", {"endian": "big"}),
        ("numcodecs.zlib", {"level": 1}),
    ]


@pytest.mark.parametrize(("dtype", "configuration"), [("<i4", {"endian": "little"}), (">i4", {"endian": "big"})])
def test_the_byte_order_goes_to_the_bytes_codec(dtype, configuration):
    assert read(dtype=dtype).codecs[0] == NamedConfig("bytes", configuration)


def test_one_byte_types_have_no_byte_order():
    assert read(dtype=">i1").codecs[0] == NamedConfig("bytes")


def test_keys_are_separated_by_dots_unless_it_is_said():
    assert read().chunk_key_encoding.encode((1, 2)) == "1.2"
    assert read(dimension_separator="/").chunk_key_encoding.encode((1, 2)) == "1/2"


def test_filters_on_bytes_come_after_the_bytes_codec():
    filters = [{"id": "delta", "dtype": "<i4"}, {"id": "shuffle", "elementsize": 4}]
    names = [codec.name for codec in read(filters=filters).codecs]
    assert names == ["numcodecs.delta", "bytes", "numcodecs.shuffle", "numcodecs.zlib"]


def test_an_undefined_fill_value_stays_undefined_and_reads_as_zero():
    metadata = read(fill_value=None)
    assert metadata.fill_value is None
    assert metadata.fill_scalar == 0


def test_members_it_does_not_know_are_kept():
    zarray, _ = v2.write_array(read(_NCZARR_ARRAY={"dimrefs": ["/y"]}, x=1))
    assert zarray["_NCZARR_ARRAY"] == {"dimrefs": ["/y"]}
    assert zarray["x"] == 1


@pytest.mark.parametrize("value", ["x", ["x"], ["x", "y", "z"], [1, 2], {"x": 1}, None])
def test_an_attribute_that_cannot_name_the_dimensions_stays_an_attribute(value):
    metadata = v2.read_array(base(), {"_ARRAY_DIMENSIONS": value})
    assert metadata.dimension_names is None
    assert metadata.attributes == {"_ARRAY_DIMENSIONS": value}


def test_reading_leaves_the_callers_attributes_alone():
    attributes = {"_ARRAY_DIMENSIONS": ["y", "x"]}
    v2.read_array(base(), attributes)
    assert attributes == {"_ARRAY_DIMENSIONS": ["y", "x"]}


def test_an_empty_list_of_filters_is_never_written():
    assert v2.write_array(read(filters=[]))[0]["filters"] is None


# ---- refusals

NO_LENGTHS = [None, 5, "5", {}, [1.0, 2.0], [True, True], [-1, 2], ["1", "2"], [[1], [2]], [2**63, 2], [None, 2]]


def refused(document, field, error=MetadataError):
    with pytest.raises(error) as caught:
        v2.read_array(document, {})
    assert caught.value.field == field


@pytest.mark.parametrize("member", sorted(MEMBERS))
def test_refuses_a_document_without_a_mandatory_member(member):
    refused(base(**{member: ...}), member)


@pytest.mark.parametrize("value", [1, 3, "2", 2.0, True, None, [2]])
def test_refuses_another_format_number(value):
    refused(base(zarr_format=value), "zarr_format")
    with pytest.raises(MetadataError) as caught:
        v2.read_group({"zarr_format": value}, {})
    assert caught.value.field == "zarr_format"


@pytest.mark.parametrize("value", NO_LENGTHS)
def test_refuses_a_shape_that_is_no_list_of_lengths(value):
    refused(base(shape=value), "shape")


@pytest.mark.parametrize("value", NO_LENGTHS)
def test_refuses_chunks_that_are_no_list_of_lengths(value):
    refused(base(chunks=value), "chunks")


@pytest.mark.parametrize("value", [[2], [2, 3, 4], []])
def test_refuses_chunks_of_other_than_the_shapes_length(value):
    with pytest.raises(MetadataError) as caught:
        read(chunks=value)
    assert caught.value.field in ("chunks", "chunk_grid")


def test_a_chunk_length_of_0_means_1_where_the_axis_has_no_cells():
    assert read(shape=[0, 7], chunks=[0, 3]).chunk_grid.chunk_shape == (1, 3)


def test_refuses_a_chunk_length_of_0_where_the_axis_has_cells():
    refused(base(chunks=[0, 3]), "chunks")


@pytest.mark.parametrize("value", ["i4", "|O", "|S4", "<M8[ns]", "<f16", [["a", "<i4"]], None, 4, "bfloat16"])
def test_names_a_dtype_it_does_not_support(value):
    refused(base(dtype=value), "dtype", UnsupportedError)


def test_refuses_several_bytes_without_an_order():
    refused(base(dtype="|i4"), "dtype")


@pytest.mark.parametrize("value", ["zlib", 5, [], {}, {"level": 1}, {"id": 5}, {"id": None}, {"name": "gzip"}, False])
def test_refuses_a_compressor_without_an_id(value):
    refused(base(compressor=value), "compressor")


@pytest.mark.parametrize("value", [9.5, 2**31, -(2**31) - 1, "0", "NaN", True, {}, [], [1, 2]])
def test_refuses_a_fill_value_that_is_none_of_the_type(value):
    refused(base(fill_value=value), "fill_value")


@pytest.mark.parametrize("value", ["x", True, {}, [1, 2], "0x3f80", ""])
def test_refuses_a_fill_value_that_is_no_float(value):
    refused(base(dtype="<f4", fill_value=value), "fill_value")


@pytest.mark.parametrize("value", ["A", "c", "", None, 0, ["C"]])
def test_refuses_another_order(value):
    refused(base(order=value), "order")


@pytest.mark.parametrize("value", ["x", {}, 5, {"id": "delta"}])
def test_refuses_filters_that_are_no_list(value):
    refused(base(filters=value), "filters")


@pytest.mark.parametrize("value", [None, "delta", {}, {"dtype": "<i4"}, {"id": 3}])
def test_refuses_a_filter_without_an_id_and_says_which(value):
    refused(base(filters=[{"id": "delta"}, value]), "filters[1]")


def test_a_filter_on_arrays_after_one_on_bytes_is_unsupported():
    refused(base(filters=[{"id": "shuffle"}, {"id": "delta"}]), "filters", UnsupportedError)


@pytest.mark.parametrize("value", ["", "-", "//", 5, ["."]])
def test_refuses_another_separator(value):
    refused(base(dimension_separator=value), "dimension_separator")


# ---- models that v2 cannot express

LITTLE = NamedConfig("bytes", {"endian": "little"})


@pytest.mark.parametrize(
    "codecs",
    [
        (),
        (NamedConfig("numcodecs.zlib"),),
        (LITTLE, LITTLE),
        (LITTLE, NamedConfig("gzip", {"level": 1})),
        (LITTLE, NamedConfig("crc32c"), NamedConfig("numcodecs.zlib")),
        (NamedConfig("transpose", {"order": [0, 1]}), LITTLE),
        (NamedConfig("numcodecs.delta"), NamedConfig("transpose", {"order": [1, 0]}), LITTLE),
    ],
)
def test_codecs_v2_has_no_word_for_are_refused(codecs):
    with pytest.raises(MetadataError):
        v2.write_array(replace(read(), codecs=codecs))


def test_keys_v2_does_not_have_are_refused():
    with pytest.raises(MetadataError) as caught:
        v2.write_array(replace(read(), chunk_key_encoding=ChunkKeyEncoding("default", "/")))
    assert caught.value.field == "chunk_key_encoding"
