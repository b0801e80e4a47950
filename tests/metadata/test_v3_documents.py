"""zarr.json: writing what was read gives the canonical document, and what the format forbids is refused."""

import base64
import json
import pickle
import random
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from daskzarr import from_zarr
from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError
from daskzarr.hierarchy import StoredArray
from daskzarr.metadata import ArrayMetadata, DataType, NamedConfig, default_fill, v2, v3
from daskzarr.metadata.array import strip_for_reading
from daskzarr.metadata.json_text import format_object, parse_object
from daskzarr.rectilinear_grid import RectilinearGrid
from daskzarr.stores import Location, MappingStore

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
def real_fills(draw, size, *, special=True, mask=255):
    """A float's fill value as JSON: a number, a name, or bits in hexadecimal."""
    digits = st.binary(min_size=size, max_size=size).map(lambda raw: "0x" + bytes(byte & mask for byte in raw).hex())
    names = st.sampled_from(["NaN", "Infinity", "-Infinity", "nan", "-inf"] if special else [0.5])
    numbers = (
        st.sampled_from([0.0, -0.0, 1, 1.5, -2.0]) if size == 1 else st.floats(-60000, 60000) | st.integers(-2048, 2048)
    )
    return draw(digits | names | numbers)


def integers(low, high):
    return st.sampled_from([low, high, high - 1]) | st.integers(low, high)


def of_core(name):
    """Fill values of a core type."""
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return st.booleans() | st.sampled_from([0, 1])
    if dtype.kind in "iu":
        return integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) | st.just(9.0)
    if dtype.kind == "c":
        return st.tuples(*[real_fills(dtype.itemsize // 2)] * 2).map(list)
    return real_fills(dtype.itemsize)


def base64_of(length, *, least=None):
    return st.binary(min_size=length if least is None else least, max_size=length).map(
        lambda raw: base64.b64encode(raw).decode()
    )


characters = st.characters(exclude_categories=())
SMALL = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}
ML_FLOATS = {
    "bfloat16": {"size": 2},
    "float8_e4m3": {"size": 1},
    "float8_e5m2": {"size": 1},
    "float8_e8m0fnu": {"size": 1, "special": False},
    "float8_e4m3fn": {"size": 1, "special": False},
    "float6_e2m3fn": {"size": 1, "special": False, "mask": 63},
    "float4_e2m1fn": {"size": 1, "special": False, "mask": 15},
}
PAIRS = {"complex_float32": {"size": 4}, "complex_float64": {"size": 8}, "complex_float16": {"size": 2}}
PAIRS |= {"complex_" + name: options for name, options in ML_FLOATS.items() if "e8m0" not in name}
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as"]


@st.composite
def plain_types(draw):
    """A type of fixed size, whether its elements have a byte order, and its fill values."""
    kind = draw(st.integers(0, 9))
    if kind < 3:
        name = draw(st.sampled_from(NAMES))
        return name, np.dtype(name).itemsize > 1, of_core(name)
    if kind == 3:
        name = draw(st.sampled_from(list(SMALL)))
        return name, False, integers(*SMALL[name])
    if kind == 4:
        name = draw(st.sampled_from(list(ML_FLOATS)))
        options = ML_FLOATS[name]
        numbers = real_fills(**options)
        return name, options["size"] > 1, st.just(1.0) | st.just("0x7f") if name == "float8_e8m0fnu" else numbers
    if kind == 5:
        name = draw(st.sampled_from(list(PAIRS)))
        return name, PAIRS[name]["size"] > 1, st.tuples(*[real_fills(**PAIRS[name])] * 2).map(list)
    if kind == 6:
        length = draw(st.integers(1, 5))
        return f"r{8 * length}", False, base64_of(length) | st.binary(min_size=length, max_size=length).map(list)
    if kind == 7:
        length = draw(st.integers(1, 5))
        name = draw(st.sampled_from(["raw_bytes", "null_terminated_bytes"]))
        fills = base64_of(length) | st.just("") if name == "raw_bytes" else base64_of(length, least=0)
        return {"name": name, "configuration": {"length_bytes": length}}, False, fills
    if kind == 8:
        length = draw(st.integers(1, 3))
        config = {"name": "fixed_length_utf32", "configuration": {"length_bytes": 4 * length}}
        return config, True, st.text(characters, max_size=length)
    unit, factor = draw(st.sampled_from(UNITS)), draw(st.sampled_from([1, 25, 2**31 - 1]))
    unit, factor = draw(st.sampled_from([(unit, factor), (unit, factor), ("generic", 1)]))
    name = draw(st.sampled_from(["numpy.datetime64", "numpy.timedelta64"]))
    config = {"name": name, "configuration": {"unit": unit, "scale_factor": factor}}
    return config, True, integers(-(2**63), 2**63 - 1) | st.just("NaT")


@st.composite
def structures(draw, inner):
    names = draw(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3, unique=True))
    parts = {name: draw(inner) for name in names}
    fields = []
    for name, (data_type, _, _) in parts.items():
        one, other = [name, data_type], {"name": name, "data_type": data_type}
        fields.append(draw(st.sampled_from([one, other])))
    config = {"name": "struct", "configuration": {"fields": fields}}
    return (
        config,
        any(ordered for _, ordered, _ in parts.values()),
        st.fixed_dictionaries({n: p[2] for n, p in parts.items()}),
    )


@st.composite
def legacy_structures(draw, endian):
    """A type of the legacy name, a fill value as it may be, and as it is written: base64 of an element."""
    order = {"big": ">"}.get(endian, "<")
    parts = {"int8": "i1", "uint16": "u2", "int32": "i4", "complex64": "c8", "r24": "V3", "float64": "f8"}
    parts |= {"numpy.datetime64": "i8", "fixed_length_utf32": "U1"}
    chosen = draw(st.lists(st.sampled_from(list(parts)), min_size=1, max_size=4))
    configurations = {"numpy.datetime64": {"unit": "s", "scale_factor": 2}, "fixed_length_utf32": {"length_bytes": 4}}
    fields = [
        [f"f{i}", {"name": name, "configuration": configurations[name]} if name in configurations else name]
        for i, name in enumerate(chosen)
    ]
    element = np.zeros((), [(f"f{i}", order + parts[name]) for i, name in enumerate(chosen)])
    for name in element.dtype.names:
        part = element[name]
        if part.dtype.kind == "U":
            part[...] = draw(st.sampled_from(["", "é", "\U0010ffff"]))
        else:
            part[...] = np.frombuffer(draw(st.binary(min_size=part.nbytes, max_size=part.nbytes)), part.dtype)[0]
    text = base64.b64encode(element.tobytes()).decode()
    zeros = base64.b64encode(bytes(element.nbytes)).decode()
    if draw(st.integers(0, 4)) == 0 and not {"r24", "complex64", "fixed_length_utf32"} & set(chosen):
        text, fill = zeros, {f"f{i}": 0 for i in range(len(chosen))}
    else:
        fill = text
    return {"name": "structured", "configuration": {"fields": fields}}, fill, text


TEXTS = st.just(("string", "vlen-utf8")), st.text(characters, max_size=4)
BYTES = (
    st.sampled_from(["bytes", "variable_length_bytes", "binary"]).map(lambda name: (name, "vlen-bytes")),
    st.binary(max_size=4).map(list) | base64_of(4, least=0),
)
types = plain_types() | st.recursive(plain_types(), structures, max_leaves=4)


@st.composite
def codec_lists(draw, ndim, serializer):
    """Codecs in some spelling, and in the canonical one."""
    chain = []
    if draw(st.booleans()):
        chain.append(("transpose", {"order": draw(st.permutations(range(ndim)))}))
    chain.append(serializer)
    blosc = {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle", "typesize": 4, "blocksize": 0}
    known = [("gzip", {"level": 5}), ("zstd", {"level": -3, "checksum": True}), ("blosc", blosc), ("crc32c", {})]
    chain += draw(st.lists(st.sampled_from([*known, ("numcodecs.lz4", {"acceleration": 2})]), max_size=3))
    written = [draw(spelled(name, configuration)) for name, configuration in chain]
    canonical = [{"name": n} | ({"configuration": c} if c else {}) for n, c in chain]
    if draw(st.booleans()):
        optional = {"name": "x.unknown", "configuration": {"a": [1, None]}, "must_understand": False}
        written, canonical = [*written, optional], [*canonical, optional]
    return written, canonical


@st.composite
def serializers(draw, ordered):
    """What turns elements into bytes: as they are, or in shards."""
    endian = draw(st.sampled_from(["little", "big"] if ordered else [None, "little", "big"]))
    plain = (draw(st.sampled_from(["bytes", "endian"])), {"endian": endian} if endian else {})
    inner = {"chunk_shape": [1], "codecs": ["bytes", {"name": "crc32c"}], "index_codecs": [], "index_location": "start"}
    return draw(st.sampled_from([plain, plain, ("sharding_indexed", inner), ("x.novel", {"a": 1})]))


@st.composite
def typed_codecs(draw, ndim):
    """Data type, fill value and codecs: as they may be, and as they are written."""
    kind = draw(st.integers(0, 7))
    if kind < 5:
        data_type, ordered, fills = draw(types)
        fill = written_fill = draw(fills)
        serializer = draw(serializers(ordered))
    elif kind < 7:
        (data_type, name), fill = draw(st.tuples(*draw(st.sampled_from([TEXTS, BYTES]))))
        written_fill, serializer = fill, (name, {})
    else:
        endian = draw(st.sampled_from([None, "little", "big"]))
        data_type, fill, written_fill = draw(legacy_structures(endian))
        serializer = ("bytes", {"endian": endian} if endian else {})
    codecs, written_codecs = draw(codec_lists(ndim, serializer))
    if kind == 7:  # where the order is not said it is little
        for codec in written_codecs:
            if codec["name"] == "bytes":
                codec["configuration"] = {"endian": "little"} | codec.get("configuration", {})
    config = data_type if isinstance(data_type, dict) else {"name": data_type}
    spelled_type = draw(spelled(config["name"], config.get("configuration")))
    return (spelled_type, fill, codecs), (data_type, written_fill, written_codecs)


def split(draw, length):
    """Chunk lengths that cover an axis and may go beyond it, in runs; and the canonical runs."""
    runs = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=3))
    missing = length - sum(n * count for n, count in runs)
    if missing > 0:
        runs.insert(draw(st.integers(0, len(runs))), (missing, 1))
    given_runs, merged = [], []
    for n, count in runs:
        given_runs += draw(st.sampled_from([[[n, count]], [n] * count, [[n, 1]] * count]))
        if merged and merged[-1][0] == n:
            merged[-1][1] += count
        else:
            merged.append([n, count])
    return given_runs, [n if count == 1 else [n, count] for n, count in merged]


@st.composite
def grids(draw, shape):
    """A grid in some spelling, and in the canonical one."""
    if draw(st.booleans()):
        chunk_shape = [draw(st.integers(1, 9) | st.integers(1, 2**63 - 1)) for _ in shape]
        configuration = {"chunk_shape": chunk_shape}
        return draw(spelled("regular", configuration)), {"name": "regular", "configuration": configuration}
    axes = [(step, step) if (step := draw(st.sampled_from([0, 0, 1, 7, 2**62]))) else split(draw, n) for n in shape]
    name, kind = "rectilinear", {"kind": "inline"}
    ways = [{**kind, "chunk_shapes": [axis[i] for axis in axes]} for i in (0, 1)]
    return draw(spelled(name, ways[0])), {"name": name, "configuration": ways[1]}


@st.composite
def array_documents(draw):
    """A document, and the canonical one that says the same."""
    shape = draw(st.lists(lengths, max_size=3))
    key_name = draw(st.sampled_from(["default", "v2"]))
    separator = draw(st.sampled_from([None, "/", "."]))
    (data_type, fill, codecs), (written_type, written_fill, written_codecs) = draw(typed_codecs(len(shape)))
    grid, written_grid = draw(grids(shape))
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": grid,
        "chunk_key_encoding": draw(spelled(key_name, {"separator": separator} if separator else None)),
        "fill_value": fill,
        "codecs": codecs,
    }
    canonical = document | {
        "data_type": written_type,
        "fill_value": written_fill,
        "chunk_grid": written_grid,
        "chunk_key_encoding": {
            "name": key_name,
            "configuration": {"separator": separator or {"default": "/", "v2": "."}[key_name]},
        },
        "codecs": written_codecs,
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
    metadata = v3.read_array(stored)
    written = parse_object(format_object(v3.write_array(metadata)), "zarr.json")
    assert exactly(written) == exactly(canonical)
    again = v3.read_array(written)
    assert again == metadata
    assert hash(again) == hash(metadata)
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    check_compact(metadata)


def check_compact(metadata):
    """The compact form keeps all that chunks need."""
    compact = ArrayMetadata.from_compact(metadata.compact())
    assert compact == strip_for_reading(metadata)
    assert compact.compact() == metadata.compact()
    if metadata.data_type.variable:
        assert type(compact.fill_scalar) is metadata.data_type.variable
        assert compact.fill_scalar == metadata.fill_scalar
    else:
        assert memory(compact) == memory(metadata)


def memory(metadata):
    """The bytes of the fill value."""
    return np.asarray(metadata.fill_scalar, metadata.data_type.dtype).tobytes()


@pytest.mark.parametrize("name", [*NAMES, "string", "r64", "bfloat16", "int4", "complex_float8_e5m2"])
def test_what_travels_in_every_task_is_small(name):
    serializer = {"name": "bytes", "configuration": {"endian": "little"}}
    codecs = [
        {"name": "vlen-utf8"} if name == "string" else serializer,
        {"name": "zstd", "configuration": {"level": 3}},
    ]
    document = base(
        data_type=name, fill_value=default_fill(DataType.named(name)), codecs=codecs, attributes={"x": "y" * 9999}
    )
    metadata = v3.read_array(document | {"dimension_names": ["long" * 99] * 2, "more": {"must_understand": False}})
    assert len(metadata.compact()) < 300
    handle = ArrayHandle.of(StoredArray(Location(MappingStore({}), "a"), metadata))
    assert len(pickle.dumps((handle.path, handle.document))) < 400


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
        *("int128", "<f4", "r7", "r0", "text", "float8", "complex_int8", "v2.dtype", "O"),
        {"name": "numpy.complex", "configuration": {}},
        {"name": "struct", "configuration": {"fields": [["a", "int128"]]}},
        {"name": "structured", "configuration": {"fields": [{"name": "a", "data_type": "v2.dtype"}]}},
    ],
)
def test_names_a_data_type_it_does_not_support(value):
    refused(base(data_type=value), "data_type", UnsupportedError)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "float32", "configuration": {"unit": "m"}},
        {"name": "v2.dtype", "configuration": {"dtype": "<i4"}},
        {"name": "numpy.datetime64"},
        {"name": "numpy.datetime64", "configuration": {"unit": "x", "scale_factor": 1}},
        {"name": "fixed_length_utf32", "configuration": {"length_bytes": 5}},
        {"name": "raw_bytes", "configuration": {"length_bytes": 0}},
        {"name": "struct", "configuration": {"fields": []}},
        {"name": "struct", "configuration": {"fields": [["a", "int8"], ["a", "int8"]]}},
        {"name": "struct", "configuration": {"fields": [["a", "string"]]}},
        {"name": "struct", "configuration": {"fields": [["a", {"name": "int8", "must_understand": False}]]}},
    ],
)
def test_refuses_a_data_type_that_is_configured_wrongly(value):
    refused(base(data_type=value), "data_type", DaskZarrError)


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


@pytest.mark.parametrize("name", ["rectangular", "zarrs.regular_bounded", "Regular", "", "hashed"])
def test_names_a_chunk_grid_it_does_not_support(name):
    grid = {"name": name, "configuration": {"kind": "inline", "chunk_shapes": [2, [3, 4]]}}
    refused(base(chunk_grid=grid), "chunk_grid", UnsupportedError)
    with pytest.raises(UnsupportedError, match="'regular' and 'rectilinear'"):
        read(base(chunk_grid=grid))


RECTILINEAR = [
    ([[2, 3], [3, 4]], (((2, 1), (3, 1)), ((3, 1), (4, 1))), (2, 2)),
    ([[[1, 5]], 3], (((1, 5),), 3), (5, 3)),
    ([[5], [7]], (((5, 1),), ((7, 1),)), (1, 1)),
    ([[4, 4], 100], (((4, 2),), 100), (2, 1)),
    ([[2, 2, 1, 9, 9], 7], (((2, 2), (1, 1), (9, 2)), 7), (3, 1)),
    ([[[2, 2], [2, 1], 1], 1], (((2, 3), (1, 1)), 1), (3, 7)),
]


@pytest.mark.parametrize(("chunk_shapes", "runs", "counts"), RECTILINEAR)
def test_chunks_have_the_lengths_that_a_rectilinear_grid_lists(chunk_shapes, runs, counts):
    configuration = {"kind": "inline", "chunk_shapes": chunk_shapes}
    grid = read(base(chunk_grid={"name": "rectilinear", "configuration": configuration})).chunk_grid
    assert grid == RectilinearGrid((5, 7), runs)
    assert grid.counts == counts


def test_a_rectilinear_grid_of_equal_steps_stays_one():
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [2, 3]}}
    metadata = read(base(chunk_grid=grid))
    assert metadata.chunk_grid == RectilinearGrid((5, 7), (2, 3))
    assert v3.write_array(metadata)["chunk_grid"] == grid
    assert ArrayMetadata.from_compact(metadata.compact()).chunk_grid == metadata.chunk_grid


@pytest.mark.parametrize(
    "configuration",
    [
        *({}, {"kind": "inline"}, {"chunk_shapes": [2, 3]}, {"kind": "inline", "chunk_shapes": [2, 3], "x": 1}),
        *({"kind": kind, "chunk_shapes": [2, 3]} for kind in (None, "external", "", ["inline"], 1)),
        *({"kind": "inline", "chunk_shapes": value} for value in (None, 5, "23", {}, [], [2], [2, 3, 4], [None, 3])),
        *({"kind": "inline", "chunk_shapes": [value, 3]} for value in (0, -1, 2.0, True, "2", {}, 2**63, None)),
        *(
            {"kind": "inline", "chunk_shapes": [[value, 9], 3]}
            for value in (0, -1, 2.0, True, "2", {}, 2**63, None, [])
        ),
        *({"kind": "inline", "chunk_shapes": [[[value, 9]], 3]} for value in (0, -1, 2.0, True, "2", {}, 2**63, None)),
        *({"kind": "inline", "chunk_shapes": [[[9, value]], 3]} for value in (0, -1, 2.0, True, "2", {}, 2**63, None)),
        *({"kind": "inline", "chunk_shapes": [[pair], 3]} for pair in ([], [9], [9, 1, 1], [[9], 1], [9, [1]])),
    ],
)
def test_refuses_a_rectilinear_grid_that_lists_no_lengths(configuration):
    refused(base(chunk_grid={"name": "rectilinear", "configuration": configuration}), "chunk_grid")


@pytest.mark.parametrize(("lengths", "covered"), [([], 0), ([4], 4), ([2, 2], 4), ([[1, 4]], 4), ([[2, 1], 1], 3)])
def test_refuses_chunks_that_do_not_cover_the_array(lengths, covered):
    for axis, chunk_shapes in enumerate([[lengths, 7], [5, [7]]]):
        if axis == 0:
            configuration = {"kind": "inline", "chunk_shapes": chunk_shapes}
            with pytest.raises(MetadataError, match=f"cover {covered} of its 5 cells") as caught:
                read(base(chunk_grid={"name": "rectilinear", "configuration": configuration}))
            assert (caught.value.field, caught.value.axis) == ("chunk_grid", 0)


def test_an_axis_without_cells_needs_no_chunks():
    for entry in ([], [3], [[3, 9]], 4):
        configuration = {"kind": "inline", "chunk_shapes": [entry, [7]]}
        grid = {"name": "rectilinear", "configuration": configuration}
        metadata = read(base(shape=[0, 7], chunk_grid=grid))
        assert metadata.chunk_grid.counts == (0, 1)
        assert v3.read_array(v3.write_array(metadata)) == metadata


# ---- fill values of structures

FIELDS = {"fields": [["a", "int16"], ["b", "bool"]]}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    ("codec", "text"), [(BIG, "AQIB"), (LITTLE, "AgEB"), ("bytes", "AgEB"), ({"name": "endian"}, "AgEB")]
)
def test_a_structured_fill_value_is_read_in_the_order_of_the_bytes(codec, text):
    document = base(data_type={"name": "structured", "configuration": FIELDS}, fill_value=text, codecs=[codec])
    metadata = read(document)
    assert metadata.fill_value == {"a": 258, "b": True}
    assert metadata.fill_scalar.tolist() == (258, True)
    written = v3.write_array(metadata)
    assert written["fill_value"] == text
    assert written["codecs"][0]["configuration"]["endian"] == ("big" if codec is BIG else "little")


@pytest.mark.parametrize("value", ["", "AA==", "AgEBAA==", "x", 5, [], True, {}, {"a": 1}, {"a": 1, "b": True, "c": 1}])
@pytest.mark.parametrize("name", ["struct", "structured"])
def test_refuses_a_fill_value_that_lacks_a_field_or_has_one_too_many(name, value):
    refused(base(data_type={"name": name, "configuration": FIELDS}, fill_value=value, codecs=[BIG]), "fill_value")


def test_refuses_base64_for_struct():
    refused(base(data_type={"name": "struct", "configuration": FIELDS}, fill_value="AgEB", codecs=[BIG]), "fill_value")


def test_legacy_structures_in_shards_are_little_too():
    sharding = {"chunk_shape": [1, 1], "codecs": ["bytes"], "index_codecs": [LITTLE], "index_location": "end"}
    document = base(
        data_type={"name": "structured", "configuration": FIELDS},
        fill_value="AgEB",
        codecs=[{"name": "sharding_indexed", "configuration": sharding}],
    )
    opened(document)


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


def test_storage_transformers_that_need_not_be_understood_are_kept():
    kept = [{"name": "x", "must_understand": False}]
    assert v3.write_array(read(base(storage_transformers=kept)))["storage_transformers"] == kept


@pytest.mark.parametrize("name", ["v2.bytes", "n5.block", "v2.", "n5.anything"])
def test_codecs_that_no_document_can_name_are_unsupported(name):
    refused(base(codecs=[{"name": name, "configuration": {"dtype": "<f4"}}]), "codecs[0]", UnsupportedError)


def test_refuses_more_axes_than_there_can_be():
    grid = {"name": "regular", "configuration": {"chunk_shape": [1] * 65}}
    refused(base(shape=[1] * 65, chunk_grid=grid), "shape", UnsupportedError)


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


# ---- models that v3 cannot express


def test_what_only_v2_can_say_is_unsupported():
    little = v2.read_array(OF_V2 | {"dtype": [["a", "<i4", [2]]]}, {})
    with pytest.raises(UnsupportedError, match="zarr_format=2") as caught:
        v3.write_array(little)
    assert caught.value.field == "data_type"
    for objects_of in ("json2", "vlen-array"):
        with pytest.raises(UnsupportedError):
            v3.write_array(v2.read_array(OF_V2 | {"dtype": "|O", "filters": [{"id": objects_of}]}, {}))
    mixed = v2.read_array(OF_V2 | {"dtype": [["a", "<i4"], ["b", ">i4"]]}, {})
    with pytest.raises(UnsupportedError) as caught:
        v3.write_array(mixed)
    assert caught.value.codec == "v2.bytes"


OF_V2 = {"zarr_format": 2, "shape": [3], "chunks": [2], "dtype": "<i4", "fill_value": None, "order": "C"}
OF_V2 |= {"filters": None, "compressor": None}


def test_keys_of_n5_are_unsupported():
    metadata = replace(read(base()), chunk_key_encoding=ChunkKeyEncoding("n5", "/"))
    with pytest.raises(UnsupportedError) as caught:
        v3.write_array(metadata)
    assert caught.value.field == "chunk_key_encoding"


# ---- documents that cost more than they are


def sized(name, length):
    return {"name": name, "configuration": {"length_bytes": length}}


@pytest.mark.parametrize("name", ["raw_bytes", "null_terminated_bytes", "fixed_length_utf32"])
def test_a_wide_element_costs_no_memory_to_read_about(name):
    document = base(data_type=sized(name, 4 * 10**7), fill_value="", codecs=[LITTLE])
    tracemalloc.start()
    found = outcome(document)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7
    assert isinstance(found, DaskZarrError) or len(found.compact()) < 1000


# ---- any document


def opened(document):
    """What opening an array does with its document."""
    assert v3.read_node_type(document) == "array"
    metadata = v3.read_array(document)
    ArrayHandle.of(StoredArray(Location(MappingStore({}), ""), metadata))
    return metadata


def outcome(document):
    """The model of a document, or the error that it is."""
    try:
        return opened(document)
    except DaskZarrError as error:
        return error


WORDS = [
    "",
    "NaN",
    "NaT",
    "0x7fc00000",
    "AAAA",
    "A",
    "\0",
    "\ud800",
    "é",
    "C",
    "F",
    "/",
    ".",
    "x" * 60,
    "little",
    "end",
]
NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31,
    2**62,
    2**63,
    2**64,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e300,
    float("nan"),
    float("inf"),
]
TYPE_NAMES = [
    *NAMES,
    "r8",
    "r24",
    "r7",
    "r",
    "r" + "8" * 4000,
    "r٨",
    "string",
    "bytes",
    "bfloat16",
    "float8_e4m3",
    "int4",
    "x",
    "",
]
TYPE_NAMES += ["complex_bfloat16", "complex_float4_e2m1fn", "complex_int8", "v2.dtype", "struct", "raw_bytes", "uint2"]
CODECS = {
    "bytes": ["endian"],
    "endian": ["endian"],
    "transpose": ["order"],
    "gzip": ["level"],
    "zstd": ["level", "checksum"],
    "blosc": ["cname", "clevel", "shuffle", "typesize", "blocksize"],
    "sharding_indexed": ["chunk_shape", "codecs", "index_codecs", "index_location"],
    "cast_value": ["data_type", "rounding", "out_of_range", "scalar_map"],
    "scale_offset": ["scale", "offset"],
    "packbits": ["padding_encoding", "first_bit", "last_bit"],
    "reshape": ["shape"],
    "conditional": ["codecs"],
    "bitround": ["keepbits"],
    "zfp": ["mode", "precision", "rate", "tolerance"],
    "n5_default": ["codecs"],
    "numcodecs.delta": ["dtype", "astype"],
    "numcodecs.shuffle": ["elementsize"],
    "numcodecs.lzma": ["format", "filters"],
    "vlen-utf8": [],
    "crc32c": [],
    "numcodecs.pickle": [],
    "numcodecs.": [],
    "v2.bytes": ["dtype"],
}


def any_type(rng, depth=0):
    kind = rng.randrange(8)
    if kind < 4 or depth > 3:
        return rng.choice(TYPE_NAMES)
    if kind == 4:
        units = ["s", "us", "μs", "generic", "x", None, ["s"], {}]
        numbers = [1, 1, 5, 0, -1, True, 1.0, 2**31 - 1, 2**31, 10**400, "1"]
        configuration = {"unit": rng.choice(units), "scale_factor": rng.choice(numbers)}
        return {"name": rng.choice(["numpy.datetime64", "numpy.timedelta64"]), "configuration": configuration}
    if kind == 5:
        name = rng.choice(["fixed_length_utf32", "null_terminated_bytes", "raw_bytes"])
        return sized(name, rng.choice([4, 8, 0, 3, -4, True, 4.0, "4", 2**31, 10**30, None, [4]]))
    if kind == 6:
        return any_value(rng)
    fields = []
    for name in rng.choices(["a", "b", "real", "imag", "\0", "", "\ud800"], k=rng.choice([0, 1, 2, 3])):
        data_type = any_type(rng, depth + 1)
        fields.append([name, data_type] if rng.random() < 0.5 else {"name": name, "data_type": data_type})
    return {"name": rng.choice(["struct", "structured"]), "configuration": {"fields": fields}}


def any_value(rng, depth=0):
    kind = rng.randrange(9)
    if kind < 5 or depth > 3:
        return rng.choice([*NUMBERS, *WORDS, None, True, False])
    if kind < 7:
        return [any_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    if kind == 7:
        names = ["a", "b", "name", "configuration", "real", "imag", "must_understand"]
        return {name: any_value(rng, depth + 1) for name in rng.sample(names, rng.choice([0, 1, 2, 3]))}
    nested = any_value(rng, depth + 1)
    for _ in range(rng.choice([1, 40, 200])):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


SETTINGS = {
    "level": 1,
    "checksum": True,
    "cname": "lz4",
    "clevel": 5,
    "shuffle": "shuffle",
    "typesize": 4,
    "blocksize": 0,
}
SETTINGS |= {
    "index_location": "end",
    "keepbits": 3,
    "elementsize": 4,
    "scale": 2,
    "offset": 1,
    "format": 1,
    "filters": None,
}


def any_codec(rng, depth=0):
    name = rng.choice(list(CODECS))
    shapes = [[1, 3], [2, 3], [6], [[0, 1]], [-1], [0, 3], [2**62, 2**62], [1, 1, 1], [True, 3], [1.0, 3.0], [[0, 0]]]
    usual = {
        "endian": lambda: rng.choice(["little", "big"]),
        "order": lambda: rng.choice([[1, 0], [0, 1], "C", "F", [0, 0], [[0], [1]], [1.0, 0.0]]),
        "codecs": lambda: [any_codec(rng, depth + 1) for _ in range(rng.choice([1, 1, 2]))] if depth < 3 else ["bytes"],
        "data_type": lambda: any_type(rng),
        "chunk_shape": lambda: rng.choice(shapes),
        "dtype": lambda: rng.choice(["<f4", ">f4", "|u1", "<i4", "O", "x", "<U3"]),
    }
    usual |= {"index_codecs": lambda: [LITTLE, "crc32c"], "astype": usual["dtype"], "shape": lambda: rng.choice(shapes)}
    usual |= {name: lambda name=name: SETTINGS[name] for name in SETTINGS}
    configuration = {
        member: usual[member]() if member in usual and rng.random() < 0.9 else any_value(rng)
        for member in CODECS[name]
        if rng.random() < 0.85
    }
    return rng.choice(
        [name, {"name": name, "configuration": configuration}, {"name": name, "configuration": configuration}]
    )


def any_grid(rng):
    odd = [0, -1, True, "2", None, [0, 1], [2], [2**62, 2**62], 2**62, [2, 2.0]]

    def axis(length):
        if rng.random() < 0.2:
            return rng.choice([2, 3, 7, 0, True, None, []])
        edges = [
            rng.choice(odd) if rng.random() < 0.03 else rng.choice([1, 2, 3, [2, 3], [3, 2]])
            for _ in range(rng.randrange(4))
        ]
        return [*edges, length] if rng.random() < 0.8 else edges

    axes = [axis(5), axis(7), axis(3)][: rng.choice([2, 2, 2, 2, 2, 2, 1, 3])]
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": axes}}


def any_document(rng):
    """A document whose members are mostly of the right kind, of which one or two are not."""
    data_type = rng.choice([*NAMES, "string", "bfloat16", "int4", "r24"])
    codecs = ["vlen-utf8"] if data_type == "string" else [LITTLE]
    document = base(data_type=data_type, fill_value=default_fill(DataType.named(data_type)), codecs=codecs)
    makers = {
        "data_type": any_type,
        "fill_value": any_value,
        "codecs": lambda rng: [any_codec(rng)] + ([*codecs, any_codec(rng)] if rng.random() < 0.5 else codecs),
        "chunk_grid": any_grid,
        rng.choice([*MANDATORY, "attributes", "dimension_names", "storage_transformers", "x"]): any_value,
    }
    for member in rng.sample(list(makers), rng.choice([1, 1, 2])):
        document[member] = makers[member](rng)
    if rng.random() < 0.05:
        del document[rng.choice(list(document))]
    elif "data_type" in document and document["fill_value"] == 0 and rng.random() < 0.8:
        document["fill_value"] = fitting_fill(document["data_type"])
    return document


def fitting_fill(data_type):
    """The default of a data type, if it is one."""
    try:
        return default_fill(DataType.read(NamedConfig.read(data_type, "data_type")))
    except DaskZarrError:
        return 0


def test_of_any_document_come_only_errors_that_name_a_place():
    errors = 0
    for seed in range(600):
        document = any_document(random.Random(seed))
        before = repr(document)
        found = outcome(document)
        assert repr(document) == before, seed
        if isinstance(found, DaskZarrError):
            errors += 1
            assert found.field or found.codec, (seed, found)
        else:
            written = v3.write_array(found)
            assert exactly(v3.write_array(v3.read_array(written))) == exactly(written), seed
    assert 100 < errors < 560


@pytest.mark.parametrize("member", [*MANDATORY[:-2], "dimension_names"])
@pytest.mark.parametrize("value", ["x" * 100_000, [[None] * 30_000]], ids=["text", "list"])
def test_an_error_is_no_longer_than_a_page(member, value):
    found = outcome(base(**{member: value}))
    assert isinstance(found, DaskZarrError)
    assert len(str(found)) < 3000


def test_no_depth_is_too_great_to_be_refused():
    document = base(codecs=[{"name": "bytes", "configuration": {"endian": "DEEP"}}])
    text = json.dumps(document)
    for depth in range(850, 1000):
        store = {"zarr.json": text.replace('"DEEP"', "[" * depth + "]" * depth).encode()}
        with pytest.raises(DaskZarrError):
            from_zarr(store)


# ---- the documents of a peer


def peer_cases():
    """Data types and fill values, of every kind that zarr-python writes and others can read."""
    for name in NAMES:
        dtype = np.dtype(name)
        fills = [1]
        if dtype.kind in "iu":
            fills = [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
        if dtype.kind == "f":
            fills = [np.nan, np.inf, -np.inf, -0.0, 1.1]
        if dtype.kind == "c":
            fills = [complex(1.1, -0.0), complex(np.nan, -np.inf)]
        yield from ((dtype.newbyteorder(order), fill) for order in "<>" for fill in fills)
    for unit in [unit for unit in UNITS if unit != "μs"] + ["25s"]:
        step = np.datetime_data(f"M8[{unit}]")
        yield np.dtype(f"M8[{unit}]"), np.datetime64(5, step)
        yield np.dtype(f"m8[{unit}]"), np.timedelta64("NaT", step)
    yield np.dtype([("a", "<i4"), ("b", "<f8"), ("c", "S3"), ("d", "<U2")]), (1, 2.5, b"x", "é")
    yield from ((np.dtype("<U3"), "éx"), (np.dtype("S4"), b"ab"), (np.dtype("V3"), np.void(b"abc")))
    yield from ((str, "éx"), (str, ""), ("variable_length_bytes", b"ab"), ("variable_length_bytes", b""))


@pytest.mark.filterwarnings("ignore")
def test_zarr_pythons_documents_say_to_us_what_they_say_to_it():
    for dtype, fill in peer_cases():
        store = {}
        array = zarr.create_array(store, shape=(3, 5), chunks=(2, 3), dtype=dtype, fill_value=fill, zarr_format=3)
        document = json.loads(store["zarr.json"].to_bytes())
        metadata = opened(document)
        assert (metadata.shape, metadata.chunk_grid) == (array.shape, RegularGrid((3, 5), array.chunks))
        if metadata.data_type.variable:
            assert metadata.fill_scalar == array.fill_value == fill
            continue
        assert metadata.data_type.dtype == array.dtype.newbyteorder("=")
        assert memory(metadata) == np.asarray(array.fill_value, array.dtype).astype(metadata.data_type.dtype).tobytes()
        assert memory(metadata) == np.asarray(fill, dtype).astype(metadata.data_type.dtype).tobytes()
        text = json.dumps(v3.write_array(metadata)).encode()
        again = zarr.open_array(
            {"zarr.json": zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(text)}, mode="r"
        )
        assert again.dtype == array.dtype.newbyteorder("=")
        assert np.asarray(again.fill_value, dtype).tobytes() == np.asarray(array.fill_value, dtype).tobytes()
