""".zarray, .zattrs and .zgroup: writing what was read gives the canonical document; the rest is refused."""

import base64
import json
import math
import pickle
import random
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError
from daskzarr.hierarchy import StoredArray
from daskzarr.metadata import ArrayMetadata, DataType, NamedConfig, v2
from daskzarr.metadata.array import strip_for_reading
from daskzarr.metadata.json_text import format_object, parse_object
from daskzarr.rectilinear_grid import RectilinearGrid
from daskzarr.stores import Location, MappingStore

SEVERAL_BYTES = ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "U1", "U3"]
ONE_BYTE = ["b1", "i1", "u1", "S1", "S5", "V1", "V4"]
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
ML_NAMES = ["bfloat16", "int4", "uint2", "float8_e4m3fn", "float8_e5m2fnuz", "float4_e2m1fn"]
ML_MASKS = {"int4": 15, "uint2": 3, "float4_e2m1fn": 15}
NANS = {"float16": 0x7E00, "float32": 0x7FC00000, "float64": 0x7FF8000000000000, "bfloat16": 0x7FC0}
NANS |= {"float8_e4m3fn": 0x7F, "float8_e5m2fnuz": 0x80}
MEMBERS = {"zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"}
COMPRESSORS = [
    {"id": "zlib", "level": 1},
    {"id": "gzip"},
    {"id": "bz2", "level": 9},
    {"id": "lzma", "format": 3, "check": -1, "preset": None, "filters": [{"id": 33, "preset": 1}]},
    {"id": "zstd", "level": 0, "checksum": "NO"},
    {"id": "lz4", "acceleration": 1},
    {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": -1, "blocksize": 0, "typesize": 4},
    {"id": "fletcher32"},
    {"id": "pcodec", "level": 8},
    {"id": "x.unknown", "a": {"b": [1]}},
]
IN_ANY_ORDER = [{"id": "delta"}, {"id": "bitround", "keepbits": 3}]
IN_LITTLE = [
    *({"id": "delta", "dtype": "<i4", "astype": astype} for astype in ("|i1", "<i8", "<i4")),
    {"id": "fixedscaleoffset", "offset": 1, "scale": 10, "dtype": "<f4", "astype": "<i2"},
    {"id": "quantize", "digits": 2, "dtype": "<f8"},
    {"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<f8"},
    {"id": "categorize", "labels": ["a"], "dtype": "<U3", "astype": "|u1"},
    {"id": "packbits"},
]
ON_BYTES = [{"id": "shuffle", "elementsize": 0}, {"id": "crc32c"}, {"id": "zlib", "level": 2}, {"id": "base64"}]
OF_TEXT = [{"id": "vlen-utf8"}, {"id": "categorize", "labels": ["a", "é"], "dtype": "|O", "astype": "|u1"}]
OF_BYTES = [{"id": "vlen-bytes"}]
OF_ANYTHING = [{"id": "json2", "encoding": "utf-8"}, {"id": "msgpack2"}, {"id": "pickle", "protocol": 5}]
OF_ANYTHING += [{"id": "vlen-array", "dtype": "<i4"}]
NO_COMPRESSOR = {"delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits", "categorize"}
NO_COMPRESSOR |= {"vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2", "pickle"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(st.text(max_size=4), json_values, max_size=2)


def exactly(document):
    """JSON text that tells 1 from 1.0 from true and 0.0 from -0.0, whatever the order of members."""
    return json.dumps(document, sort_keys=True)


# ---- dtypes: as a document may spell one, as it is written, and as NumPy knows it


@st.composite
def simple_dtypes(draw):
    kind = draw(st.integers(0, 9))
    if kind < 4:
        text = draw(st.sampled_from("<>")) + draw(st.sampled_from(SEVERAL_BYTES))
        return text, text, np.dtype(text)
    if kind < 6:
        text = draw(st.sampled_from(ONE_BYTE))
        return draw(st.sampled_from("|<>")) + text, "|" + text, np.dtype(text)
    if kind < 8:
        lead = draw(st.sampled_from("<>")) + draw(st.sampled_from("mM")) + "8"
        unit, factor = draw(st.sampled_from(UNITS)), draw(st.sampled_from([1, 1, 25, 2**31 - 1]))
        written = f"{lead}[{factor if factor > 1 else ''}{unit}]"
        ways = [written, f"{lead}[{factor}{unit}]", written.replace("us]", "μs]")]
        if draw(st.integers(0, 5)) == 0:
            ways, written = [lead, lead + "[generic]", lead + "[1generic]"], lead
        return draw(st.sampled_from(ways)), written, np.dtype(written)
    name = draw(st.sampled_from(ML_NAMES))
    return name, name, np.dtype(getattr(ml_dtypes, name))


@st.composite
def structures(draw, inner):
    names = draw(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3, unique=True))
    given_fields, written_fields, fields = [], [], []
    for name in names:
        spec, written, dtype = draw(inner)
        shape = draw(st.none() | st.lists(st.integers(1, 3), max_size=2))
        ways = [[]] if shape is None else [[shape], *([[shape[0]]] if len(shape) == 1 else [])]
        given_fields.append([name, spec, *draw(st.sampled_from(ways))])
        written_fields.append([name, written, *([shape] if shape else [])])
        fields.append((name, dtype, tuple(shape or ())))
    return given_fields, written_fields, np.dtype(fields)


dtypes = simple_dtypes() | st.recursive(simple_dtypes(), structures, max_leaves=4)


# ---- fill values: any element, and the ways to spell it


def native(dtype):
    return dtype.newbyteorder("=") if dtype.newbyteorder("=") != dtype else dtype


def parts(array):
    """The fields of an array, however deep, that are no structures."""
    if array.dtype.names is None:
        yield array
    for name in array.dtype.names or ():
        yield from parts(array[name])


@st.composite
def elements(draw, dtype):
    """An element, of any bits that mean something."""
    array = np.zeros((), dtype)
    rng = draw(st.randoms(use_true_random=False))
    zeros = draw(st.integers(0, 4)) == 0
    for part in () if zeros else parts(array):
        size = part.dtype.itemsize * part.size
        if part.dtype.kind == "U":
            raw = np.array([rng.choice([0, 65, 0xE9, 0x10FFFF]) for _ in range(size // 4)], "u4").tobytes()
        else:
            mask = 1 if part.dtype.kind == "b" else ML_MASKS.get(part.dtype.name, 255)
            raw = bytes(byte & mask for byte in rng.randbytes(size))
        part[...] = np.frombuffer(raw, native(part.dtype)).reshape(part.shape)
    return array


def is_small(dtype):
    return dtype.name in ML_NAMES


def real(part):
    """A float as it is written."""
    number, size = float(part), part.dtype.itemsize
    if math.isfinite(number):
        return number
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    bits = int(np.asarray(part).view(f"u{size}"))
    return "NaN" if bits == NANS[part.dtype.name] else f"0x{bits:0{2 * size}x}"


def real_ways(part):
    """A float in the ways it may be spelled."""
    size, usual = part.dtype.itemsize, real(part)
    ways = [usual, f"0x{int(np.asarray(part).view(f'u{size}')):0{2 * size}X}".replace("X", "x", 1)]
    ways[1] = "0x" + ways[1][2:]
    return ways + {"NaN": ["nan"], "Infinity": ["inf", "+Infinity"], "-Infinity": ["-inf"]}.get(usual, [])


def spellings(element):
    """The one way an element is written, and all that it may be read from."""
    dtype, value = element.dtype, element.astype(native(element.dtype))[()]
    if is_small(dtype) and "int" in dtype.name:
        return int(value), [int(value), float(value)]
    if dtype.kind == "f" or is_small(dtype):
        return real(value), real_ways(value)
    if dtype.kind == "c":
        written = [real(value.real), real(value.imag)]
        return written, [written, [real_ways(value.real)[1], real_ways(value.imag)[-1]]]
    if dtype.kind == "b":
        return bool(value), [bool(value), int(value), float(value)]
    if dtype.kind in "iu":
        exact = abs(int(value)) < 2**53
        return int(value), [int(value), *([float(value)] if exact else [])]
    if dtype.kind in "mM":
        number = int(value.view("i8"))
        return number, [number, *(["NaT"] if number == -(2**63) else [])]
    if dtype.kind == "U":
        return str(value), [str(value), str(value) + "\0", *([0] if value == "" else [])]
    raw = element.tobytes()
    written = base64.b64encode(raw).decode()
    short = base64.b64encode(raw.rstrip(b"\0")).decode()
    return written, [written, short, *([0, 0.0, ""] if not any(raw) else [])]


@st.composite
def fills(draw, dtype):
    """A fill value as it may be, and as it is written."""
    if draw(st.integers(0, 5)) == 0:
        return None, None
    written, ways = spellings(draw(elements(dtype)))
    given_fill = draw(st.sampled_from(ways))
    return [given_fill] if draw(st.integers(0, 9)) == 0 else given_fill, written


@st.composite
def object_cases(draw):
    """The filter that stores objects, and a fill value as it may be and as it is written."""
    codec = draw(st.sampled_from(OF_TEXT + OF_BYTES + OF_ANYTHING))
    if codec in OF_TEXT:
        text = draw(st.text(max_size=3))
        ways = [(text, text), (None, None), (0, "")]
    elif codec in OF_BYTES:
        raw = draw(st.binary(max_size=3))
        written = base64.b64encode(raw).decode()
        ways = [(written, written), (list(raw), written), (None, None), (0, ""), ("a b", "YSBi")]
    else:
        value = draw(json_values)
        ways = [(value, value)]
    return codec, *draw(st.sampled_from(ways))


# ---- documents


def has_big_parts(spec):
    return ">" in json.dumps(spec) if isinstance(spec, str) else any(has_big_parts(field[1]) for field in spec)


def filters_for(spec, dtype):
    """Filters on arrays that take elements in the order in which these are."""
    little = IN_ANY_ORDER + IN_LITTLE
    big = [{"id": "delta", "dtype": spec}, {"id": "astype", "encode_dtype": "<f8", "decode_dtype": spec}]
    if not has_big_parts(spec):
        return st.lists(st.sampled_from(little), max_size=2)
    first = st.sampled_from(IN_ANY_ORDER + (big if isinstance(spec, str) else []))
    return st.one_of(st.just([]), first.map(lambda codec: [codec]))


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
    on_bytes = draw(st.lists(st.sampled_from(ON_BYTES), max_size=2))
    if draw(st.integers(0, 3)):
        spec, written_dtype, dtype = draw(dtypes)
        fill, written_fill = draw(fills(dtype))
        filters = draw(filters_for(written_dtype, dtype)) + on_bytes
    else:
        spec, written_dtype = draw(st.sampled_from("|<>")) + "O", "|O"
        codec, fill, written_fill = draw(object_cases())
        filters = [codec, *on_bytes]
    # What may be a codec on arrays, such as pcodec, takes elements in little-endian order.
    on_arrays = 0 if on_bytes or not has_big_parts(written_dtype) else 2
    compressor = draw(st.none() | st.sampled_from(COMPRESSORS[: len(COMPRESSORS) - on_arrays]))
    separator = draw(st.sampled_from([None, ".", "/"]))
    document = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": spec,
        "compressor": compressor,
        "fill_value": fill,
        "order": draw(st.sampled_from("CF")),
        "filters": filters or draw(st.sampled_from([None, []])),
    } | ({"dimension_separator": separator} if separator else {})
    if spec[-1] == "O" and len(filters) == 1 and compressor is None and draw(st.booleans()):
        document |= {"compressor": filters[0], "filters": draw(st.sampled_from([None, []]))}
    codecs = [*filters, *([compressor] if compressor else [])]
    has_compressor = bool(codecs) and codecs[-1]["id"] not in NO_COMPRESSOR
    canonical = document | {
        "chunks": [max(c, 1) for c in chunks],
        "dtype": written_dtype,
        "compressor": codecs.pop() if has_compressor else None,
        "fill_value": written_fill,
        "filters": codecs or None,
        "dimension_separator": separator or ".",
    }
    known = MEMBERS | {"dimension_separator"}
    extra = draw(st.dictionaries(st.text(max_size=4).filter(lambda k: k not in known), json_values, max_size=2))
    return document | extra, draw(dimension_attributes(len(shape))), canonical | extra


def note(draw, names, *, scalar):
    """What netCDF-C notes of an array, in a form of one of its generations."""
    new = {"dimension_references": names, "storage": "chunked"} | (
        {"scalar": draw(st.sampled_from([1, True]))} if scalar else {}
    )
    old = {"dimrefs": names, "storage": "scalar" if scalar else draw(st.sampled_from(["chunked", "contiguous"]))}
    return draw(st.sampled_from([new, old]))


@st.composite
def nczarr_documents(draw):
    """The same with what netCDF-C adds; and the canonical ``.zattrs``."""
    document, attributes, canonical = draw(array_documents())
    scalar = draw(st.integers(0, 3)) == 0
    if scalar:
        document = document | {"shape": [1], "chunks": [1]}
        canonical = canonical | {"shape": [1], "chunks": [1]}
        attributes = {k: v for k, v in attributes.items() if k != v2.DIMENSIONS} | {v2.DIMENSIONS: ["_scalar_"]}
    ndim = 0 if scalar else len(document["shape"])
    names = draw(st.lists(st.text("abc", max_size=2), min_size=ndim, max_size=ndim))
    kind = draw(st.sampled_from(["listed", "scalar", "other", "none"]))
    references = {"listed": ["/g/" + name for name in names], "scalar": [*names, "/x"], "other": "y", "none": None}[
        kind
    ]
    noted = note(draw, references, scalar=scalar)
    member = draw(st.sampled_from(["_nczarr_array", "_NCZARR_ARRAY"]))
    written = attributes = attributes | draw(st.sampled_from([{}, {"_nczarr_attr": {"types": {"units": ">S1"}}}]))
    if draw(st.booleans()):
        document, canonical = document | {member: noted}, canonical | {member: noted}
    else:
        written = attributes = attributes | {member: noted}
    if kind == "listed" and v2.DIMENSIONS not in attributes:
        written = attributes | {v2.DIMENSIONS: names}
    return document, attributes, canonical, written


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


def there_and_back(document, attributes):
    """What is written of documents that were read, through text as in a store."""
    stored = parse_object(format_object(document), ".zarray")
    metadata = v2.read_array(stored, parse_object(format_object(attributes), ".zattrs"))
    zarray, zattrs = v2.write_array(metadata)
    return metadata, parse_object(format_object(zarray), ".zarray"), parse_object(format_object(zattrs), ".zattrs")


@given(array_documents())
def test_writing_what_was_read_gives_the_canonical_documents(case):
    document, attributes, canonical = case
    metadata, zarray, zattrs = there_and_back(document, attributes)
    assert exactly(zarray) == exactly(canonical)
    assert exactly(zattrs) == exactly(attributes)
    again = v2.read_array(zarray, zattrs)
    assert again == metadata
    assert hash(again) == hash(metadata)
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    check_fill(metadata, canonical)
    check_compact(metadata)


def check_fill(metadata, canonical):
    """The fill value of text, bytes and structures is the element whose bytes are written."""
    dtype, written = metadata.data_type.dtype, canonical["fill_value"]
    if dtype.kind in "SV" and not is_small(dtype) and written is not None:
        found = np.frombuffer(base64.b64decode(written), as_numpy(canonical["dtype"]))[0]
        assert np.asarray(found).astype(dtype).tobytes() == memory(metadata)


def check_compact(metadata):
    """The compact form keeps all that chunks need."""
    compact = ArrayMetadata.from_compact(metadata.compact())
    assert compact == strip_for_reading(metadata)
    assert compact.compact() == metadata.compact()
    if metadata.data_type.dtype.kind != "O":
        assert memory(compact) == memory(metadata)
    else:
        assert exactly(str(compact.fill_scalar)) == exactly(str(metadata.fill_scalar))


def memory(metadata):
    """The bytes of the fill value."""
    return np.asarray(metadata.fill_scalar, metadata.data_type.dtype).tobytes()


@given(nczarr_documents())
def test_writing_what_netcdf_wrote_keeps_what_it_notes(case):
    document, attributes, canonical, written = case
    metadata, zarray, zattrs = there_and_back(document, attributes)
    assert exactly(zarray) == exactly(canonical if canonical["dtype"] not in ("<U1", ">U1") else zarray)
    assert exactly(zattrs) == exactly(written)
    assert v2.read_array(zarray, zattrs) == metadata


def as_numpy(spec):
    """The dtype that a canonical spec stands for."""
    if isinstance(spec, str):
        return np.dtype(getattr(ml_dtypes, spec) if spec in ML_NAMES else spec)
    return np.dtype([(name, as_numpy(inner), *map(tuple, shape)) for name, inner, *shape in spec])


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


# ---- what stores elements

LITTLE_BYTES = NamedConfig("bytes", {"endian": "little"})
BIG_BYTES = NamedConfig("bytes", {"endian": "big"})
MIXED = [["a", "<i4"], ["b", ">f8"]]
SERIALIZERS = [
    ("<U3", [], LITTLE_BYTES),
    (">U3", [], BIG_BYTES),
    (">M8[s]", [], BIG_BYTES),
    ("|S3", [], NamedConfig("bytes")),
    ("|V3", [], NamedConfig("bytes")),
    ("bfloat16", [], LITTLE_BYTES),
    ("int4", [], NamedConfig("bytes")),
    ([["a", "<i4"], ["b", "<f8"], ["c", "|S2"]], [], LITTLE_BYTES),
    ([["a", ">i4"], ["b", ">f8", [2]], ["c", "|b1"]], [], BIG_BYTES),
    ([["a", "|i1"], ["c", "|S2"]], [], NamedConfig("bytes")),
    (MIXED, [], NamedConfig("v2.bytes", {"dtype": MIXED})),
    (">f8", [{"id": "delta", "dtype": ">f8"}], BIG_BYTES),
    ("<f8", [{"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<f8"}], LITTLE_BYTES),
    (
        "<f8",
        [{"id": "fixedscaleoffset", "scale": 1, "offset": 0, "dtype": "<f8", "astype": "|u1"}],
        NamedConfig("bytes"),
    ),
    ("|b1", [{"id": "packbits"}], NamedConfig("bytes")),
]


@pytest.mark.parametrize(("dtype", "filters", "expected"), SERIALIZERS)
def test_elements_are_stored_in_the_order_that_the_dtype_and_the_filters_say(dtype, filters, expected):
    metadata = read(dtype=dtype, fill_value=None, filters=filters, compressor=None)
    assert metadata.codecs[-1] == expected
    document, _ = v2.write_array(metadata)
    assert document["dtype"] == dtype
    assert document["filters"] == (filters or None)


@pytest.mark.parametrize(
    ("codec", "name", "dtype"),
    [
        ({"id": "vlen-utf8"}, "string", object),
        ({"id": "categorize", "labels": ["a"], "dtype": "|O", "astype": "|u1"}, "string", object),
        ({"id": "vlen-bytes"}, "bytes", object),
        *(({"id": name}, "v2.dtype", object) for name in ("json2", "msgpack2", "pickle", "vlen-array", "x.unknown")),
    ],
)
@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_what_objects_are_is_up_to_the_codec_that_stores_them(codec, name, dtype, place):
    codecs = {"filters": [codec], "compressor": None} if place == "filters" else {"filters": None, "compressor": codec}
    metadata = read(dtype="|O", fill_value=None, **codecs)
    assert metadata.data_type.name == name
    assert metadata.data_type.dtype == np.dtype(dtype)
    assert f"numcodecs.{codec['id']}" in [codec.name for codec in metadata.codecs]


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, 2], [1], "x", 0, 1.5, None, True])
def test_the_fill_value_of_objects_is_any_json(value):
    metadata = read(dtype="|O", fill_value=value, filters=[{"id": "json2"}], compressor=None)
    assert exactly(metadata.fill_scalar) == exactly(value)
    assert exactly(v2.write_array(metadata)[0]["fill_value"]) == exactly(value)


@pytest.mark.parametrize("codec", ["pcodec", "zfpy", "x.unknown"])
def test_what_may_be_a_codec_on_arrays_takes_the_elements(codec):
    compressor = {"id": codec, "level": 8}
    metadata = read(compressor=compressor)
    assert [codec.name for codec in metadata.codecs] == [f"numcodecs.{codec}"]
    assert v2.write_array(metadata)[0]["compressor"] == compressor
    after = read(filters=[{"id": "shuffle"}], compressor=compressor)
    assert [codec.name for codec in after.codecs] == ["bytes", "numcodecs.shuffle", f"numcodecs.{codec}"]


@pytest.mark.parametrize(
    ("dtype", "filters", "compressor", "field"),
    [
        (">i4", None, {"id": "pcodec"}, "dtype"),
        (MIXED, None, {"id": "x.unknown"}, "dtype"),
        (">i4", [{"id": "delta", "dtype": "<i4"}], None, "filters[0]"),
        ("<i4", [{"id": "delta", "dtype": ">i4"}], None, "filters[0]"),
        (
            "<i4",
            [{"id": "delta", "dtype": "<i4", "astype": ">i2"}, {"id": "quantize", "dtype": "<f4"}],
            None,
            "filters[1]",
        ),
    ],
)
def test_codecs_that_take_the_bytes_in_another_order_are_unsupported(dtype, filters, compressor, field):
    refused(base(dtype=dtype, fill_value=None, filters=filters, compressor=compressor), field, UnsupportedError)


def refused_when_opened(dtype, member, spec):
    document = base(dtype=dtype, filters=[{"id": "delta", "dtype": dtype, member: spec}], compressor=None)
    with pytest.raises(DaskZarrError):
        opened(document, {})


@pytest.mark.parametrize("spec", ["x", "i4,[", "O", "<f16", 5, [], {}, ["<i4"], "\ud800", "S" + "9" * 5000], ids=ascii)
@pytest.mark.parametrize("member", ["dtype", "astype"])
@pytest.mark.parametrize("dtype", ["<i4", ">i4"])
def test_a_dtype_of_a_filter_that_is_none_is_refused(dtype, member, spec):
    refused_when_opened(dtype, member, spec)


@pytest.mark.parametrize("member", ["dtype", "astype"])
def test_a_withdrawn_dtype_of_a_filter_is_refused(member):
    refused_when_opened("<i4", member, "a5")


@pytest.mark.parametrize("dtype", ["<i4", ">i4"])
def test_an_empty_dtype_of_a_filter_is_refused(dtype):
    refused_when_opened(dtype, "dtype", "")


# ---- what netCDF-C notes

NEW = {"dimension_references": ["/y", "/g/x"], "storage": "chunked"}
OLD = {"dimrefs": ["/y", "/g/x"], "storage": "chunked"}


@pytest.mark.parametrize("note", [NEW, OLD], ids=["new", "old"])
@pytest.mark.parametrize("member", ["_nczarr_array", "_NCZARR_ARRAY"])
@pytest.mark.parametrize("place", ["document", "attributes"])
def test_netcdf_names_the_dimensions(note, member, place):
    noted = {member: note}
    for listed in ({}, {v2.DIMENSIONS: ["a", "b"]}):
        document, attributes = (base(**noted), listed) if place == "document" else (base(), listed | noted)
        metadata = v2.read_array(document, attributes)
        assert metadata.dimension_names == ("y", "x")
        zarray, zattrs = v2.write_array(metadata)
        assert (zarray if place == "document" else zattrs)[member] == note
        assert zattrs[v2.DIMENSIONS] == (["a", "b"] if listed else ["y", "x"])


@pytest.mark.parametrize("references", [None, [], ["/y"], ["/y", 5], "/y", {"y": 1}, ["/y", "/x", "/z"]])
def test_where_netcdf_does_not_the_listed_names_count(references):
    note = {"_nczarr_array": {"dimension_references": references}}
    assert v2.read_array(base(), note | {v2.DIMENSIONS: ["a", "b"]}).dimension_names == ("a", "b")
    assert v2.read_array(base(), note).dimension_names is None


@pytest.mark.parametrize("note", [{"scalar": 1}, {"scalar": True}, {"storage": "scalar"}], ids=str)
@pytest.mark.parametrize("member", ["_nczarr_array", "_NCZARR_ARRAY"])
@pytest.mark.parametrize("listed", [{}, {v2.DIMENSIONS: ["_scalar_"]}, {v2.DIMENSIONS: []}], ids=str)
def test_a_scalar_of_netcdf_has_no_axes_and_is_written_as_it_was(note, member, listed):
    attributes = {member: note} | listed
    metadata = v2.read_array(base(shape=[1], chunks=[1]), attributes)
    assert metadata.shape == metadata.chunk_grid.chunk_shape == ()
    assert metadata.chunk_key_encoding.encode(()) == "0"
    zarray, zattrs = v2.write_array(metadata)
    assert (zarray["shape"], zarray["chunks"]) == ([1], [1])
    assert zattrs == attributes


@pytest.mark.parametrize(
    "note", [{}, {"scalar": 0}, {"scalar": "1"}, {"scalar": [1]}, {"storage": "chunked"}, None, 5, []]
)
def test_one_cell_alone_is_no_scalar(note):
    metadata = v2.read_array(base(shape=[1], chunks=[1]), {"_nczarr_array": note})
    assert metadata.shape == (1,)
    assert v2.read_array(base(), {"_nczarr_array": {"scalar": 1}}).shape == (5, 7)


@pytest.mark.parametrize("dtype", [">S1", "|S1", "<U1", ">U1"])
def test_a_character_of_netcdf_is_a_byte(dtype):
    metadata = v2.read_array(base(dtype=dtype, fill_value="", _NCZARR_ARRAY=OLD), {})
    assert metadata.data_type.dtype == np.dtype("S1")
    assert metadata.fill_scalar == b""
    assert v2.write_array(metadata)[0]["dtype"] == "|S1"
    assert v2.read_array(base(dtype="<U1", fill_value=""), {"_nczarr_array": NEW}).data_type.dtype == np.dtype("U1")


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
    refused(base(chunks=value), "chunks")


def test_refuses_more_axes_than_there_can_be():
    refused(base(shape=[1] * 65, chunks=[1] * 65), "shape", UnsupportedError)


def test_a_chunk_length_of_0_means_1_where_the_axis_has_no_cells():
    assert read(shape=[0, 7], chunks=[0, 3]).chunk_grid.chunk_shape == (1, 3)


def test_refuses_a_chunk_length_of_0_where_the_axis_has_cells():
    refused(base(chunks=[0, 3]), "chunks")


@pytest.mark.parametrize(
    "value",
    [
        "i4",
        "|S0",
        "<U0",
        "<f16",
        "<M8[x]",
        "<m4[s]",
        "|J0",
        None,
        4,
        {},
        "float8",
        "string",
        [["a", "<f16"]],
        [["a", "|O"]],
    ],
)
def test_names_a_dtype_it_does_not_support(value):
    refused(base(dtype=value), "dtype", UnsupportedError)


@pytest.mark.parametrize(
    "value", [[], [["a"]], [["a", "<i4"], ["a", "<i4"]], [["", "<i4"]], [["a", "<i4", 0]], ["<i4"]]
)
def test_refuses_a_dtype_of_fields_that_are_none(value):
    refused(base(dtype=value), "dtype")


@pytest.mark.parametrize("filters", [None, [], [{"id": "delta", "dtype": "<i4"}], [{"id": "bitround", "keepbits": 3}]])
def test_objects_need_a_filter_that_stores_them(filters):
    refused(base(dtype="|O", fill_value=0, filters=filters, compressor=None), "filters", UnsupportedError)
    for known in ("vlen-utf8", "vlen-bytes", "json2", "msgpack2", "vlen-array", "pickle", "categorize"):
        with pytest.raises(UnsupportedError, match=known):
            read(dtype="|O", fill_value=0, filters=filters, compressor=None)


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


def test_a_filter_on_arrays_may_come_after_one_on_bytes():
    filters = [{"id": "shuffle", "elementsize": 4}, {"id": "delta", "dtype": "|u1"}]
    metadata = read(filters=filters)
    assert [codec.name for codec in metadata.codecs] == [
        "bytes",
        "numcodecs.shuffle",
        "numcodecs.delta",
        "numcodecs.zlib",
    ]
    assert v2.write_array(metadata)[0]["filters"] == filters


@pytest.mark.parametrize("value", ["", "-", "//", 5, ["."]])
def test_refuses_another_separator(value):
    refused(base(dimension_separator=value), "dimension_separator")


# ---- models that v2 cannot express


@pytest.mark.parametrize(
    "codecs",
    [
        (),
        (NamedConfig("numcodecs.zlib"),),
        (LITTLE_BYTES, LITTLE_BYTES),
        (LITTLE_BYTES, NamedConfig("gzip", {"level": 1})),
        (LITTLE_BYTES, NamedConfig("crc32c"), NamedConfig("numcodecs.zlib")),
        (NamedConfig("transpose", {"order": [0, 1]}), LITTLE_BYTES),
        (NamedConfig("numcodecs.delta"), NamedConfig("transpose", {"order": [1, 0]}), LITTLE_BYTES),
    ],
)
def test_codecs_v2_has_no_word_for_are_refused(codecs):
    with pytest.raises(MetadataError):
        v2.write_array(replace(read(), codecs=codecs))


def test_keys_v2_does_not_have_are_refused():
    with pytest.raises(MetadataError) as caught:
        v2.write_array(replace(read(), chunk_key_encoding=ChunkKeyEncoding("default", "/")))
    assert caught.value.field == "chunk_key_encoding"


def test_chunks_of_several_lengths_are_unsupported():
    metadata = replace(read(), chunk_grid=RectilinearGrid((5, 7), (((2, 1), (3, 1)), 3)))
    with pytest.raises(UnsupportedError) as caught:
        v2.write_array(metadata)
    assert caught.value.field == "chunk_grid"


def test_small_floats_in_big_endian_order_are_unsupported():
    metadata = read(dtype="bfloat16", fill_value=0)
    with pytest.raises(UnsupportedError):
        v2.write_array(replace(metadata, codecs=(BIG_BYTES,)))


def test_codecs_of_text_and_bytes_have_one_name_in_both_formats():
    for name, filters in (("string", "vlen-utf8"), ("bytes", "vlen-bytes")):
        metadata = replace(read(), data_type=DataType.named(name), codecs=(NamedConfig(filters),), fill_value="")
        document, _ = v2.write_array(metadata)
        assert (document["dtype"], document["filters"], document["compressor"]) == ("|O", [{"id": filters}], None)
        assert v2.read_array(document, {}).data_type == DataType.named(name)


# ---- documents that cost more than they are


WIDE = [
    "|S10000000",
    "<U10000000",
    "|V10000000",
    [["a", "|V10000000"]],
    [["a", "|u1", [10**7]]],
    [["a", "|u1", [10**4] * 2]],
]


@pytest.mark.parametrize("fill", [0, "", None])
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_elements_that_are_too_wide_are_refused(dtype, fill):
    refused(base(dtype=dtype, fill_value=fill, compressor=None), "dtype", DaskZarrError)


@pytest.mark.parametrize("dtype", ["|S1000000", "|V1000000", [["a", "|V1000000"]], [["a", "|u1", [30000]]]], ids=str)
def test_a_short_document_costs_little(dtype):
    assert len(read(dtype=dtype, fill_value=0, compressor=None).compact()) < 10_000


# ---- any document


def opened(document, attributes):
    """What opening an array does with its documents."""
    metadata = v2.read_array(document, attributes)
    ArrayHandle.of(StoredArray(Location(MappingStore({}), ""), metadata))
    return metadata


SPECS = ["<i4", ">f8", "|S3", "<U2", "|V3", "|b1", "<M8[25s]", "bfloat16", "int4", "<c8", "|O", "|i1", "<f4"]
SPEC_PARTS = ["<>|=", "biufcmMSUVOTag", ["", "0", "1", "2", "4", "8", "16", "3", "004", "99999", "1" * 4400, "٣", "-1"]]
SPEC_PARTS += [["", "", "[s]", "[25s]", "[0s]", "[generic]", "[x]", "[]", f"[{'9' * 4400}s]", "[2147483648s]"]]
WORDS = ["", "NaN", "NaT", "0x7fc00000", "AAAA", "A", "\0", "\ud800", "é", "C", "/", "x" * 60, "auto", "start"]
NUMBERS = [0, 1, -1, 2, 7, 255, 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e300, float("nan"), float("inf")]
IDS = ["delta", "astype", "quantize", "packbits", "categorize", "fixedscaleoffset", "bitround", "pickle", "vlen-array"]
IDS += [
    "msgpack2",
    "json2",
    "vlen-utf8",
    "vlen-bytes",
    "zfpy",
    "pcodec",
    "shuffle",
    "crc32",
    "adler32",
    "crc32c",
    "base64",
]
IDS += ["fletcher32", "jenkins_lookup3", "lz4", "lzma", "bz2", "blosc", "zstd", "zlib", "gzip", "x", "", ".", "\0"]
PARAMETERS = [
    "dtype",
    "astype",
    "encode_dtype",
    "decode_dtype",
    "level",
    "digits",
    "labels",
    "scale",
    "offset",
    "filters",
]
PARAMETERS += ["elementsize", "keepbits", "location", "format", "preset", "mode", "checksum", "shuffle", "typesize"]


def any_spec(rng, depth=0):
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(SPECS) if rng.random() < 0.5 else "".join(rng.choice(part) for part in SPEC_PARTS)
    shapes = [[2], [1, 2], 3, 0, [], [0], [True], [2.0], [1] * 33, None, "2", [[2]], 10**30]
    names = ["a", "b", "é", "", "\0", "\ud800", "a"]
    return [
        [rng.choice(names), any_spec(rng, depth + 1), *([rng.choice(shapes)] if rng.random() < 0.4 else [])]
        for _ in range(rng.choice([0, 1, 1, 2, 3]))
    ]


def any_value(rng, depth=0):
    kind = rng.randrange(9)
    if kind < 5 or depth > 3:
        return rng.choice([*NUMBERS, *WORDS, None, True, False, any_spec(rng)])
    if kind < 7:
        return [any_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    if kind == 7:
        return {
            rng.choice(["a", "id", "dtype", "real", ""]): any_value(rng, depth + 1)
            for _ in range(rng.choice([0, 1, 2]))
        }
    nested = any_value(rng, depth + 1)
    for _ in range(rng.choice([1, 40, 200])):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


def any_codec(rng):
    if rng.random() < 0.1:
        return any_value(rng)
    values = {name: any_spec(rng) if "type" in name and rng.random() < 0.7 else any_value(rng) for name in PARAMETERS}
    return {"id": rng.choice(IDS)} | {name: values[name] for name in PARAMETERS if rng.random() < 0.25}


def any_document(rng):
    """A document whose members are mostly of the right kind, of which one or two are not."""
    document = base(fill_value=rng.choice([0, None]), dtype=rng.choice(SPECS), compressor=None, order=rng.choice("CF"))
    makers = {
        "dtype": any_spec,
        "fill_value": any_value,
        "filters": lambda rng: [any_codec(rng) for _ in range(rng.choice([0, 1, 2]))],
        "compressor": any_codec,
        rng.choice([*sorted(MEMBERS), "dimension_separator", "_NCZARR_ARRAY", "x"]): any_value,
    }
    for member in rng.sample(list(makers), rng.choice([1, 1, 2])):
        document[member] = makers[member](rng)
    if rng.random() < 0.1:
        del document[rng.choice(list(document))]
    attributes = {rng.choice(["_nczarr_array", "_ARRAY_DIMENSIONS", "_NCZARR_ARRAY", "x"]): any_value(rng)}
    return document, attributes


def outcome(document, attributes):
    """The model of documents, or the error that they are."""
    try:
        return opened(document, attributes)
    except DaskZarrError as error:
        return error


def test_of_any_document_come_only_errors_that_name_a_place():
    errors = 0
    for seed in range(600):
        document, attributes = any_document(random.Random(seed))
        before = repr((document, attributes))
        found = outcome(document, attributes)
        assert repr((document, attributes)) == before, seed
        if isinstance(found, DaskZarrError):
            errors += 1
            assert found.field or found.codec, (seed, found)
        else:
            written = v2.write_array(found)
            assert exactly(v2.write_array(v2.read_array(*written))) == exactly(written), seed
    assert 100 < errors < 550


@pytest.mark.parametrize(
    "member", ["shape", "chunks", "dtype", "order", "compressor", "dimension_separator", "zarr_format"]
)
@pytest.mark.parametrize("value", ["x" * 100_000, [[None] * 30_000]], ids=["text", "list"])
def test_an_error_is_no_longer_than_a_page(member, value):
    found = outcome(base(**{member: value}), {})
    assert isinstance(found, DaskZarrError)
    assert len(str(found)) < 3000


@pytest.mark.parametrize("document", [{}, *({"zarr_format": value} for value in (2.0, True, None, [2], "2", 3, {}))])
def test_a_group_of_another_format_number_is_refused(document):
    with pytest.raises(MetadataError) as caught:
        v2.read_group(document, {})
    assert caught.value.field == "zarr_format"


# ---- the documents of a peer


def peer_cases():
    """Dtypes and fill values, of every kind that zarr-python writes."""
    for kind in ["?", "i1", "u1", *SEVERAL_BYTES[:11]]:
        fills = [1]
        if kind[0] in "iu":
            fills = [int(np.iinfo(kind).min), int(np.iinfo(kind).max)]
        if kind[0] == "f":
            fills = [np.nan, np.inf, -np.inf, -0.0, 1.1]
        if kind[0] == "c":
            fills = [complex(1.1, -0.0), complex(np.nan, -np.inf)]
        yield from ((np.dtype(kind).newbyteorder(order), fill) for order in "<>" for fill in fills)
    for order in "<>":
        for unit in [*UNITS, "25s"]:
            number, step = np.datetime_data(f"M8[{unit}]")
            yield np.dtype(f"{order}M8[{unit}]"), np.datetime64(5, (number, step))
            yield np.dtype(f"{order}m8[{unit}]"), np.timedelta64("NaT", (number, step))
        yield np.dtype(f"{order}U3"), "éx"
        yield np.dtype([("a", order + "i4"), ("b", "<f8"), ("c", "S3"), ("d", ">U2")]), (1, 2.5, b"x", "é")
    yield from ((np.dtype("S4"), b"ab"), (np.dtype("V3"), np.void(b"abc")))


@pytest.mark.filterwarnings("ignore")
def test_zarr_pythons_documents_say_to_us_what_they_say_to_it():
    for dtype, fill in peer_cases():
        store = {}
        array = zarr.create_array(store, shape=(3, 5), chunks=(2, 3), dtype=dtype, fill_value=fill, zarr_format=2)
        document = json.loads(store[".zarray"].to_bytes())
        metadata = opened(document, {})
        assert (metadata.shape, metadata.chunk_grid) == (array.shape, RegularGrid((3, 5), array.chunks))
        assert metadata.data_type.dtype == without_order(dtype)
        assert memory(metadata) == np.asarray(array.fill_value, dtype).astype(metadata.data_type.dtype).tobytes()
        assert memory(metadata) == np.asarray(fill, dtype).astype(metadata.data_type.dtype).tobytes()
        written, _ = v2.write_array(metadata)
        assert written["dtype"] == document["dtype"]
        store[".zarray"] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(json.dumps(written).encode())
        again = zarr.open_array(store, mode="r")
        assert again.dtype == array.dtype
        assert np.asarray(again.fill_value, dtype).tobytes() == np.asarray(array.fill_value, dtype).tobytes()


def without_order(dtype):
    if dtype.names:
        return np.dtype([(name, without_order(dtype[name])) for name in dtype.names])
    return native(dtype)
