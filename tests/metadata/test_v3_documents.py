"""zarr.json: writing what was read gives the canonical document, and what the format forbids is refused."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError
from daskzarr.metadata import ArrayMetadata, v3
from daskzarr.metadata.array import strip_for_reading
from daskzarr.metadata.json_text import format_object, parse_object

NAMES = (
    ["bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "complex64", "complex128"]
)
MANDATORY = ["zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"]
MANDATORY += ["fill_value", "codecs"]
KNOWN = {*MANDATORY, "attributes", "dimension_names", "storage_transformers", "consolidated_metadata"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(st.text(max_size=4), json_values, max_size=2)
lengths = st.integers(0, 9) | st.integers(0, 2**63 - 1)


def exactly(document):
    """JSON text that tells 1 from 1.0 from true and 0.0 from -0.0, whatever the order of members."""
    return json.dumps(document, sort_keys=True)


def spelled(name, configuration=None):
    """An extension point in any of the ways the format allows; the first is the canonical one."""
    full = {"name": name} | ({"configuration": configuration} if configuration else {})
    ways = [full, full | {"must_understand": True}]
    if not configuration:
        ways += [name, full | {"configuration": {}}]
    return st.sampled_from(ways)


@st.composite
def real_fills(draw, size):
    """A float's fill value as JSON: a number, a name, or bits in hexadecimal."""
    digits = st.binary(min_size=size, max_size=size).map(lambda raw: "0x" + raw.hex())
    names = st.sampled_from(["NaN", "Infinity", "-Infinity", -0.0, 0.0, 0, 7])
    return draw(digits | names | st.floats(-60000, 60000) | st.integers(-2048, 2048))


def fills(name):
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        limits = st.sampled_from([int(info.min), int(info.max), int(info.max) - 1])
        return limits | st.integers(int(info.min), int(info.max))
    if dtype.kind == "c":
        return st.tuples(*[real_fills(dtype.itemsize // 2)] * 2).map(list)
    return real_fills(dtype.itemsize)


@st.composite
def codec_lists(draw, ndim, itemsize):
    """Codecs in some spelling, and in the canonical one."""
    chain = []
    if draw(st.booleans()):
        chain.append(("transpose", {"order": draw(st.permutations(range(ndim)))}))
    endian = draw(st.sampled_from(["little", "big"])) if itemsize > 1 else draw(st.sampled_from([None, "little"]))
    chain.append(("bytes", {"endian": endian} if endian else {}))
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "typesize": itemsize, "blocksize": 0}
    known = [("gzip", {"level": 5}), ("zstd", {"level": -3, "checksum": True}), ("blosc", blosc), ("crc32c", {})]
    chain += draw(st.lists(st.sampled_from([*known, ("numcodecs.lz4", {"acceleration": 2})]), max_size=3))
    written = [draw(spelled(name, configuration)) for name, configuration in chain]
    canonical = [{"name": n} | ({"configuration": c} if c else {}) for n, c in chain]
    if draw(st.booleans()):
        optional = {"name": "x.unknown", "configuration": {"a": [1, None]}, "must_understand": False}
        written, canonical = [*written, optional], [*canonical, optional]
    return written, canonical


@st.composite
def array_documents(draw):
    """A document, and the canonical one that says the same."""
    shape = draw(st.lists(lengths, max_size=3))
    chunk_shape = [draw(st.integers(1, 9) | st.integers(1, 2**63 - 1)) for _ in shape]
    name = draw(st.sampled_from(NAMES))
    key_name = draw(st.sampled_from(["default", "v2"]))
    separator = draw(st.sampled_from([None, "/", "."]))
    codecs, canonical_codecs = draw(codec_lists(len(shape), np.dtype(name).itemsize))
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": draw(spelled(name)),
        "chunk_grid": draw(spelled("regular", {"chunk_shape": chunk_shape})),
        "chunk_key_encoding": draw(spelled(key_name, {"separator": separator} if separator else None)),
        "fill_value": draw(fills(name)),
        "codecs": codecs,
    }
    canonical = document | {
        "data_type": name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {
            "name": key_name,
            "configuration": {"separator": separator or {"default": "/", "v2": "."}[key_name]},
        },
        "codecs": canonical_codecs,
        "attributes": {},
    }
    if draw(st.booleans()):
        canonical["attributes"] = document["attributes"] = draw(objects)
    if draw(st.booleans()):
        document["dimension_names"] = draw(st.none() | st.tuples(*[st.none() | st.text(max_size=3) for _ in shape]))
        if document["dimension_names"] is not None:
            canonical["dimension_names"] = document["dimension_names"] = list(document["dimension_names"])
    if draw(st.booleans()):
        document["storage_transformers"] = []
    extra = draw(st.dictionaries(st.text(max_size=4).filter(lambda k: k not in KNOWN), objects, max_size=2))
    extra = {k: value | {"must_understand": False} for k, value in extra.items()}
    order = draw(st.permutations(list(document | extra)))
    return {member: (document | extra)[member] for member in order}, canonical | extra


def base(**changes):
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [5, 7],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {"a": 1},
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


# ---- the law


@given(array_documents())
def test_writing_what_was_read_gives_the_canonical_document(pair):
    document, canonical = pair
    stored = parse_object(format_object(document), "zarr.json")
    assert v3.read_node_type(stored) == "array"
    written = parse_object(format_object(v3.write_array(v3.read_array(stored))), "zarr.json")
    assert exactly(written) == exactly(canonical)


@given(array_documents())
def test_reading_what_was_written_gives_the_same_model(pair):
    metadata = v3.read_array(pair[0])
    assert v3.read_array(v3.write_array(metadata)) == metadata


@given(array_documents())
def test_the_compact_form_keeps_all_that_chunks_need(pair):
    metadata = v3.read_array(pair[0])
    compact = ArrayMetadata.from_compact(metadata.compact())
    assert compact == strip_for_reading(metadata)
    assert compact.fill_scalar.tobytes() == metadata.fill_scalar.tobytes()


@given(objects, objects, st.none() | objects)
def test_writing_a_group_that_was_read_gives_the_canonical_document(attributes, extra, consolidated):
    kept = {"x.extra": extra | {"must_understand": False}}
    if consolidated is not None:
        kept["consolidated_metadata"] = consolidated
    document = {"node_type": "group", "zarr_format": 3, "attributes": attributes} | kept
    assert v3.read_node_type(document) == "group"
    assert exactly(v3.write_group(v3.read_group(document))) == exactly(document)


def test_a_group_without_attributes_gets_empty_ones():
    metadata = v3.read_group({"zarr_format": 3, "node_type": "group"})
    assert v3.write_group(metadata) == {"zarr_format": 3, "node_type": "group", "attributes": {}}


# ---- what a document means


def test_the_model_holds_what_the_document_says():
    metadata = v3.read_array(base(dimension_names=["y", None], fill_value="NaN"))
    assert metadata.shape == metadata.chunk_grid.shape == (5, 7)
    assert metadata.chunk_grid.chunk_shape == (2, 3)
    assert metadata.data_type.dtype == np.dtype("float32")
    assert metadata.dimension_names == ("y", None)
    assert np.isnan(metadata.fill_scalar)
    assert metadata.chunk_key_encoding.encode((1, 2)) == "c/1/2"
    assert metadata.attributes == {"a": 1}
    assert metadata.zarr_format == 3


@pytest.mark.parametrize(
    ("encoding", "key"),
    [
        ("default", "c/1/2"),
        ({"name": "default"}, "c/1/2"),
        ({"name": "default", "configuration": {"separator": "."}}, "c.1.2"),
        ("v2", "1.2"),
        ({"name": "v2", "configuration": {}}, "1.2"),
        ({"name": "v2", "configuration": {"separator": "/"}}, "1/2"),
    ],
)
def test_the_separator_defaults_by_encoding(encoding, key):
    assert v3.read_array(base(chunk_key_encoding=encoding)).chunk_key_encoding.encode((1, 2)) == key


def test_names_may_repeat_or_be_empty():
    assert v3.read_array(base(dimension_names=["x", "x"])).dimension_names == ("x", "x")
    assert v3.read_array(base(dimension_names=["", ""])).dimension_names == ("", "")


def test_integers_beyond_the_range_of_doubles_stay_exact():
    text = json.dumps(base(data_type="uint64", fill_value=2**64 - 1, attributes={"big": 2**63 + 1}))
    document = v3.write_array(v3.read_array(parse_object(text.encode(), "zarr.json")))
    assert document["fill_value"] == 2**64 - 1
    assert document["attributes"] == {"big": 2**63 + 1}


def test_bare_nan_tokens_are_read_and_never_written():
    text = re.sub('"(NaN|Infinity)"', r"\1", json.dumps(base(attributes={"a": "NaN", "b": "Infinity"})))
    metadata = v3.read_array(parse_object(text.encode(), "zarr.json"))
    assert np.isnan(metadata.attributes["a"])
    with pytest.raises(MetadataError):
        format_object(v3.write_array(metadata))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"null", b'"x"', b"\xff\xfe{", b"{'a': 1}", b"[" * 10**5])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(MetadataError) as caught:
        parse_object(text, "zarr.json")
    assert caught.value.field == "zarr.json"


# ---- refusals

NO_LENGTHS = [None, 5, "5", {}, [1.0, 2.0], [True, True], [-1, 2], ["1", "2"], [[1], [2]], [2**63, 2], [None, 2]]


def read(document):
    assert v3.read_node_type(document) == "array"
    return v3.read_array(document)


def refused(document, field, error=MetadataError):
    with pytest.raises(error) as caught:
        read(document)
    assert caught.value.field == field


@pytest.mark.parametrize("member", MANDATORY)
def test_refuses_a_document_without_a_mandatory_member(member):
    refused(base(**{member: ...}), member)


@pytest.mark.parametrize("value", [2, 4, "3", 3.0, True, None, [3]])
def test_refuses_another_format_number(value):
    refused(base(zarr_format=value), "zarr_format")


@pytest.mark.parametrize("value", ["Array", "", "dataset", None, 3, ["array"], {"name": "array"}])
def test_refuses_another_node_type(value):
    refused(base(node_type=value), "node_type")


@pytest.mark.parametrize("value", NO_LENGTHS)
def test_refuses_a_shape_that_is_no_list_of_lengths(value):
    refused(base(shape=value), "shape")


@pytest.mark.parametrize("value", [None, 5, [], ["float32"], {}, {"configuration": {}}, {"name": 4}])
def test_refuses_a_data_type_without_a_name(value):
    refused(base(data_type=value), "data_type")


@pytest.mark.parametrize(
    "value",
    [
        "int128",
        "<f4",
        "string",
        "bfloat16",
        "r24",
        {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}},
        {"name": "float32", "configuration": {"unit": "m"}},
    ],
)
def test_names_a_data_type_it_does_not_support(value):
    refused(base(data_type=value), "data_type", UnsupportedError)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "regular",
        {"name": "regular"},
        {"name": "regular", "configuration": {}},
        {"name": "regular", "configuration": {"chunk_shape": [2, 3], "x": 1}},
        {"chunk_shape": [2, 3]},
        *({"name": "regular", "configuration": {"chunk_shape": v}} for v in [*NO_LENGTHS, [0, 3], [2], [2, 3, 4], []]),
    ],
)
def test_refuses_a_chunk_grid_without_a_chunk_length_for_each_axis(value):
    refused(base(chunk_grid=value), "chunk_grid")


@pytest.mark.parametrize("name", ["rectilinear", "rectangular", "zarrs.regular_bounded", "Regular"])
def test_names_a_chunk_grid_it_does_not_support(name):
    grid = {"name": name, "configuration": {"kind": "inline", "chunk_shapes": [2, [3, 4]]}}
    refused(base(chunk_grid=grid), "chunk_grid", UnsupportedError)


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        {},
        {"separator": "/"},
        {"name": "default", "separator": "/"},
        *({"name": "default", "configuration": {"separator": v}} for v in ["", "-", "//", None, 1, ["/"]]),
        {"name": "v2", "configuration": {"separator": ".", "x": 1}},
        {"name": "default", "configuration": ["/"]},
    ],
)
def test_refuses_a_chunk_key_encoding_it_cannot_read(value):
    refused(base(chunk_key_encoding=value), "chunk_key_encoding")


@pytest.mark.parametrize("name", ["zarrs.default_suffix", "Default", "v3", ""])
def test_names_a_chunk_key_encoding_it_does_not_support(name):
    refused(base(chunk_key_encoding={"name": name}), "chunk_key_encoding", UnsupportedError)


@pytest.mark.parametrize("member", ["data_type", "chunk_grid", "chunk_key_encoding"])
def test_only_codecs_may_be_marked_as_not_to_be_understood(member):
    value = base()[member]
    value = {"name": value} if isinstance(value, str) else value
    refused(base(**{member: value | {"must_understand": False}}), member)


@pytest.mark.parametrize("value", [None, "x", True, [], [0.0], {}, "0x3f80", "0x3fc000000", "0x3fc0000g"])
def test_refuses_a_fill_value_that_is_none_of_the_type(value):
    refused(base(fill_value=value), "fill_value")


@pytest.mark.parametrize("value", [None, 256, -1, 9.5, True, "1"])
def test_refuses_a_fill_value_beyond_an_integer_types_range(value):
    refused(base(data_type="uint8", codecs=["bytes"], fill_value=value), "fill_value")


@pytest.mark.parametrize("value", [None, [], {}, "bytes", {"name": "bytes"}])
def test_refuses_codecs_that_are_no_list_of_some(value):
    refused(base(codecs=value), "codecs")


@pytest.mark.parametrize(
    "codec",
    [
        *(None, 5, [], {}, {"configuration": {}}, {"id": "zlib"}, {"name": 1}, {"name": "gzip", "level": 5}),
        {"name": "gzip", "configuration": []},
        {"name": "gzip", "must_understand": "no"},
    ],
)
def test_refuses_a_codec_without_a_name_and_says_which(codec):
    refused(base(codecs=["bytes", codec]), "codecs[1]")


@pytest.mark.parametrize("value", [None, [], "x", 5, [["a", 1]]])
def test_refuses_attributes_that_are_no_object(value):
    refused(base(attributes=value), "attributes")


@pytest.mark.parametrize("value", ["xy", {}, 2, [1, 2], ["x"], ["x", "y", "z"], [], ["x", True], [["x"], "y"]])
def test_refuses_dimension_names_that_do_not_name_each_axis(value):
    refused(base(dimension_names=value), "dimension_names")


@pytest.mark.parametrize("value", [["x"], [{"name": "x"}], [{"name": "x", "configuration": {}}], [1]])
def test_refuses_storage_transformers(value):
    refused(base(storage_transformers=value), "storage_transformers", UnsupportedError)


@pytest.mark.parametrize("value", [{}, "", 0, False, {"name": "x"}, "x"])
def test_refuses_storage_transformers_that_are_no_list(value):
    refused(base(storage_transformers=value), "storage_transformers", DaskZarrError)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, False, [], "x", {}, {"name": "x"}),
        *({"must_understand": value} for value in (True, 0, None, "false")),
    ],
)
@pytest.mark.parametrize("member", ["x", "shards", "consolidated_metadata"])
def test_refuses_a_member_it_does_not_know_and_must_understand(member, value):
    refused(base(**{member: value}), member, UnsupportedError)


@pytest.mark.parametrize("value", [1, {}, {"must_understand": True}])
def test_refuses_such_a_member_of_a_group_too(value):
    with pytest.raises(UnsupportedError) as caught:
        v3.read_group({"zarr_format": 3, "node_type": "group", "x": value})
    assert caught.value.field == "x"


@pytest.mark.parametrize("value", [None, [], "x"])
def test_refuses_attributes_of_a_group_that_are_no_object(value):
    with pytest.raises(MetadataError) as caught:
        v3.read_group({"zarr_format": 3, "node_type": "group", "attributes": value})
    assert caught.value.field == "attributes"
