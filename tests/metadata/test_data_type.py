"""Data types: the names of both formats, the dtypes they are, how elements are stored, and what is refused."""

import itertools
import json
import pickle
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.errors import CodecError, DaskZarrError, MetadataError, UnknownCodecError, UnsupportedError
from daskzarr.metadata import DataType, NamedConfig
from daskzarr.metadata.data_type import np_dtype_of_v2, v2_dtype

CORE = (
    ["bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "complex64", "complex128"]
)
SMALL_FLOATS = ["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"]
SMALL_FLOATS += ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
SMALL_INTEGERS = ["int2", "uint2", "int4", "uint4"]
ML = [*SMALL_INTEGERS, "bfloat16", *SMALL_FLOATS]
UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
MOST = 2**31 - 1
STRINGS = getattr(np.dtypes, "StringDType", None)


def small(name):
    return np.dtype(getattr(ml_dtypes, name))


def read(name, configuration=None):
    return DataType.read(NamedConfig(name, configuration or {}))


def utf32(characters):
    return {"name": "fixed_length_utf32", "configuration": {"length_bytes": 4 * characters}}


def struct(*fields):
    return {"fields": [{"name": name, "data_type": data_type} for name, data_type in fields]}


def time(unit="s", factor=1):
    return {"unit": unit, "scale_factor": factor}


# ---- names of v3

NAMED = {
    **{name: np.dtype(name) for name in CORE},
    **{name: small(name) for name in ML},
    "complex_float32": np.dtype("complex64"),
    "complex_float64": np.dtype("complex128"),
    "r8": np.dtype("V1"),
    "r24": np.dtype("V3"),
    "r4096": np.dtype("V512"),
    **dict.fromkeys(["string", "bytes", "variable_length_bytes", "binary"], np.dtype(object)),
}
PARTS = {"float16": np.dtype("float16"), "bfloat16": small("bfloat16"), **{name: small(name) for name in SMALL_FLOATS}}


@pytest.mark.parametrize(("name", "dtype"), NAMED.items(), ids=list(NAMED))
def test_a_name_of_v3_is_a_dtype_in_native_byte_order(name, dtype):
    data_type = DataType.named(name)
    assert data_type.dtype == dtype
    assert data_type.dtype.isnative
    assert data_type == read(name) == DataType.read(NamedConfig.read({"name": name, "configuration": {}}, "data_type"))
    assert data_type.write() == name


@pytest.mark.parametrize(("part", "dtype"), PARTS.items(), ids=list(PARTS))
def test_a_complex_number_of_small_floats_is_two_of_them(part, dtype):
    assert DataType.named("complex_" + part).dtype == np.dtype([("real", dtype), ("imag", dtype)])


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("string", str),
        ("bytes", bytes),
        ("variable_length_bytes", bytes),
        ("binary", bytes),
        ("r8", None),
        ("int8", None),
    ],
)
def test_text_and_bytes_of_any_length_are_known_as_such(name, variable):
    assert DataType.named(name).variable is variable


CONFIGURED = [
    *(("numpy.datetime64", time(unit, 7), f"M8[7{unit}]") for unit in UNITS),
    *(("numpy.timedelta64", time(unit), f"m8[{unit}]") for unit in UNITS),
    ("numpy.datetime64", time("μs", 3), "M8[3us]"),
    ("numpy.timedelta64", time("μs"), "m8[us]"),
    ("numpy.datetime64", time("generic"), "M8"),
    ("numpy.timedelta64", time("generic"), "m8"),
    ("numpy.datetime64", time("s", MOST), f"M8[{MOST}s]"),
    ("fixed_length_utf32", {"length_bytes": 4}, "U1"),
    ("fixed_length_utf32", {"length_bytes": 4000}, "U1000"),
    ("null_terminated_bytes", {"length_bytes": 1}, "S1"),
    ("null_terminated_bytes", {"length_bytes": 13}, "S13"),
    ("raw_bytes", {"length_bytes": 1}, "V1"),
    ("raw_bytes", {"length_bytes": 7}, "V7"),
]


@pytest.mark.parametrize(("name", "configuration", "dtype"), CONFIGURED)
def test_a_configured_type_is_a_dtype_and_keeps_its_configuration(name, configuration, dtype):
    data_type = read(name, configuration)
    assert data_type.dtype == np.dtype(dtype)
    assert data_type.dtype.str == np.dtype(dtype).str
    assert data_type.write() == {"name": name, "configuration": configuration}


POINT = {"name": "struct", "configuration": struct(("x", "float32"), ("y", "float32"))}
FIELDS = [
    ("id", "uint8"),
    ("t", {"name": "numpy.datetime64", "configuration": time("D")}),
    ("p", POINT),
    ("b", "bfloat16"),
]
RECORD = np.dtype(
    [("id", "u1"), ("t", "M8[D]"), ("p", [("x", "f4"), ("y", "f4")]), ("b", ml_dtypes.bfloat16)]
)  # 1 + 8 + 8 + 2 bytes, no gaps


@pytest.mark.parametrize("name", ["struct", "structured"])
@pytest.mark.parametrize("form", [dict, list])
def test_fields_are_read_in_both_spellings_under_both_names_and_kept(name, form):
    fields = [{"name": n, "data_type": t} if form is dict else [n, t] for n, t in FIELDS]
    data_type = read(name, {"fields": fields})
    assert data_type.dtype == RECORD
    assert data_type.dtype.itemsize == 19
    assert data_type.write() == {"name": name, "configuration": {"fields": fields}}


def nested(depth):
    inner = "int8"
    for _ in range(depth):
        inner = {"name": "struct", "configuration": struct(("a", inner))}
    return inner


def test_structures_lie_in_each_other_to_a_depth():
    found = DataType.read(NamedConfig.read(nested(30), "data_type"))
    assert found.dtype.itemsize == 1
    for depth in (40, 300):
        with pytest.raises(MetadataError, match="deep") as caught:
            DataType.read(NamedConfig.read(nested(depth), "data_type"))
        assert caught.value.field == "data_type"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "int",
            "Int32",
            "int32 ",
            "int128",
            "int1",
            "uint3",
            "float128",
            "float8",
            "float8_e1m6",
            "<i4",
            "i4",
            "O",
        ),
        *("r", "r0", "r1", "r7", "r12", "r08", "r-8", "r8 ", "r8.0", "r٨", "rx", f"r{8 * 2**31}", "r" + "8" * 5000),
        *("complex", "complex_", "complex_int8", "complex_complex64", "complex_bool", "complex_float128"),
        *("v2.dtype", "n5.string", "str", "text", "datetime64", "numpy.float32", "void"),
    ],
)
def test_other_names_are_unsupported(name):
    with pytest.raises(UnsupportedError, match="data type") as caught:
        DataType.named(name)
    assert caught.value.field == "data_type"
    for known in ("float32", "string", "numpy.datetime64", "struct", "bfloat16", "r<bits>"):
        assert known in str(caught.value)


@pytest.mark.parametrize("name", [*CORE, *ML, "string", "bytes", "r24", "complex_bfloat16", "complex_float64"])
def test_a_member_that_a_type_does_not_know_is_refused(name):
    with pytest.raises(MetadataError, match="'unit'") as caught:
        read(name, {"unit": "m"})
    assert caught.value.field == "data_type"


WRONG_CONFIGURATIONS = [
    *(("numpy.datetime64", given) for given in ({}, {"unit": "s"}, {"scale_factor": 1}, time() | {"x": 1})),
    *(("numpy.datetime64", time(unit)) for unit in ("", "S", "sec", "min", "NS", None, 1, ["s"], {}, "s ", "\0")),
    *(("numpy.timedelta64", time("s", n)) for n in (0, -1, 2**31, 10**400, 1.0, True, "1", None, [1])),
    ("numpy.datetime64", time("generic", 2)),
    *(("fixed_length_utf32", {"length_bytes": n}) for n in (0, 1, 3, 5, -4, 4.0, True, "4", None, [4], 2**31, 10**400)),
    *(("null_terminated_bytes", {"length_bytes": n}) for n in (0, -1, 1.0, True, "4", None, 2**31)),
    *(("raw_bytes", {"length_bytes": n}) for n in (0, -1, 1.0, True, "4", None, 2**31)),
    *((name, {}) for name in ("fixed_length_utf32", "null_terminated_bytes", "raw_bytes", "struct", "structured")),
    ("raw_bytes", {"length_bytes": 4, "x": 1}),
    *(
        ("struct", {"fields": fields})
        for fields in (None, [], {}, "a", 5, [5], ["a"], [["a"]], [["a", "int8", 1]], [{}])
    ),
    ("struct", {"fields": [["a", "int8"]], "x": 1}),
    ("struct", {"fields": [{"name": "a", "data_type": "int8", "x": 1}]}),
    *(("struct", {"fields": [[name, "int8"]]}) for name in ("", None, 5, ["a"])),
    *(("struct", {"fields": [["a", inner]]}) for inner in (None, 5, [], {}, {"configuration": {}}, [["a", "int8"]])),
    ("struct", struct(("a", "int8"), ("a", "int16"))),
    *(("struct", struct(("a", inner))) for inner in ("string", "bytes", "variable_length_bytes", "binary")),
    ("struct", struct(("a", {"name": "raw_bytes", "configuration": {"length_bytes": 0}}))),
]


@pytest.mark.parametrize(("name", "configuration"), WRONG_CONFIGURATIONS)
def test_a_configuration_that_means_nothing_is_refused(name, configuration):
    with pytest.raises(MetadataError) as caught:
        read(name, configuration)
    assert caught.value.field == "data_type"


@pytest.mark.parametrize("inner", ["int128", "v2.dtype", "r7"])
def test_a_field_of_an_unknown_type_is_unsupported_and_named(inner):
    with pytest.raises(UnsupportedError, match=re.escape(repr(inner))) as caught:
        read("struct", struct(("a", inner)))
    assert caught.value.field == "data_type"


def test_the_type_of_a_field_has_to_be_understood_too():
    with pytest.raises(MetadataError):
        read("struct", struct(("a", {"name": "int8", "must_understand": False})))


def test_a_dtype_of_ml_dtypes_is_looked_for_only_when_it_is_met():
    script = """
import sys
sys.modules["ml_dtypes"] = None
from daskzarr.errors import UnsupportedError
from daskzarr.metadata import DataType
print(DataType.named("float16").dtype, DataType.of("M8[s]").name)
try:
    DataType.named("bfloat16")
except UnsupportedError as error:
    print(error.field, "pip install" in str(error))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["float16", "numpy.datetime64", "data_type", "True"]


# ---- dtypes

SUB = {"name": "struct", "configuration": struct(("c", utf32(2)))}
OF = [
    *((name, name, {}) for name in CORE),
    *((small(name), name, {}) for name in ML),
    ("S5", "null_terminated_bytes", {"length_bytes": 5}),
    ("U5", "fixed_length_utf32", {"length_bytes": 20}),
    ("V5", "r40", {}),
    ("M8[25s]", "numpy.datetime64", time("s", 25)),
    ("m8[us]", "numpy.timedelta64", time("us")),
    ("M8", "numpy.datetime64", time("generic")),
    ("O", "string", {}),
    ([("a", "u1"), ("b", [("c", "U2")])], "struct", struct(("a", "uint8"), ("b", SUB))),
]


@pytest.mark.parametrize(("dtype", "name", "configuration"), OF)
def test_a_dtype_has_one_name_in_either_byte_order(dtype, name, configuration):
    expected = read(name, configuration)
    dtype = np.dtype(dtype)
    assert DataType.of(dtype) == expected
    assert DataType.of(dtype).dtype == (object if name == "string" else dtype)
    if dtype.newbyteorder(">").newbyteorder("=") == dtype:  # ml_dtypes has one byte order only
        assert DataType.of(dtype.newbyteorder(">")) == DataType.of(dtype.newbyteorder("<")) == expected


@pytest.mark.skipif(STRINGS is None, reason="this NumPy has no StringDType")
def test_numpys_strings_of_any_length_are_strings():
    for dtype in (STRINGS(), STRINGS(na_object=None), "T"):
        assert DataType.of(dtype) == DataType.named("string")


def test_padding_is_left_out():
    padded = np.dtype([("a", "u1"), ("b", "<f8"), ("c", ">u2")], align=True)
    assert padded.itemsize == 24
    gaps = np.dtype({"names": ["b", "a"], "formats": ["<f8", "u1"], "offsets": [16, 1], "itemsize": 40})
    inner = np.dtype([("x", padded), ("y", "u1")], align=True)
    assert DataType.of(padded).dtype == np.dtype([("a", "u1"), ("b", "f8"), ("c", "u2")])
    assert DataType.of(gaps).dtype == np.dtype([("b", "f8"), ("a", "u1")])
    assert DataType.of(inner).dtype == np.dtype([("x", [("a", "u1"), ("b", "f8"), ("c", "u2")]), ("y", "u1")])
    in_an_array = np.dtype([("x", padded, (2,))])
    assert DataType.of(in_an_array).dtype.itemsize == 22


@pytest.mark.parametrize(
    "dtype",
    [
        *("g", "G", "S0", "U0", "V0", "S", "U", "V"),
        [("a", "g")],
        [("a", "S0")],
        [("a", "O")],
        [("a", "i4"), ("b", [("c", "O")])],
        [(("title", "a"), "i4")],
        [("b", [(("title", "a"), "i4")])],
    ],
)
def test_what_no_format_can_store_is_unsupported(dtype):
    with pytest.raises(UnsupportedError):
        DataType.of(dtype)


@pytest.mark.parametrize("dtype", [("i4", (2,)), ("i4", (2, 3)), [("a", "i4", (0,))], [("a", "i4", (2, 0))]])
def test_a_dtype_that_is_an_array_is_unsupported(dtype):
    with pytest.raises((UnsupportedError, MetadataError)):
        DataType.of(dtype)


def test_a_dtype_without_fields_is_refused():
    with pytest.raises(MetadataError):
        DataType.of(np.dtype([]))


def test_fields_that_are_arrays_are_for_v2_only():
    dtype = np.dtype([("a", ">i4"), ("xy", "<f4", (2, 3)), ("p", [("q", ">u2", (2,))])])
    data_type = DataType.of(dtype)
    assert data_type.dtype == dtype.newbyteorder("=")
    spelled = NamedConfig.read(data_type.write(), "data_type")
    with pytest.raises(DaskZarrError):
        DataType.read(spelled)
    assert DataType.read(spelled, v2_too=True) == data_type


def test_data_types_are_values():
    first, second = (read("struct", struct(*FIELDS)) for _ in range(2))
    assert first == second != read("struct", struct(*FIELDS[:-1]))
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first


# ---- dtypes of v2

SIMPLE = {
    "b": [1],
    "i": [1, 2, 4, 8],
    "u": [1, 2, 4, 8],
    "f": [2, 4, 8],
    "c": [8, 16],
    "S": [1, 12],
    "V": [1, 8],
    "U": [1, 12],
}
UNORDERED = ["b1", "i1", "u1", "S1", "S12", "V1", "V8"]
ORDERED = [kind + str(n) for kind, sizes in SIMPLE.items() for n in sizes if kind + str(n) not in UNORDERED]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("text", ORDERED)
def test_several_bytes_have_the_stated_order(text, order):
    found = np_dtype_of_v2(order + text)
    assert found.str == np.dtype(order + text).str == order + text
    assert v2_dtype(found) == order + text


@pytest.mark.parametrize("order", ["|", "<", ">"])
@pytest.mark.parametrize("text", UNORDERED)
def test_the_order_of_single_bytes_means_nothing(text, order):
    assert np_dtype_of_v2(order + text) == np.dtype(text)
    assert v2_dtype(np_dtype_of_v2(order + text)) == "|" + text


TIMES = [
    *((f"[{unit}]", f"[{unit}]") for unit in UNITS),
    ("[25s]", "[25s]"),
    ("[1s]", "[s]"),
    ("[μs]", "[us]"),
    ("[10μs]", "[10us]"),
    (f"[{MOST}ns]", f"[{MOST}ns]"),
    ("", ""),
    ("[generic]", ""),
]


@pytest.mark.parametrize("kind", ["<m8", ">m8", "<M8", ">M8"])
@pytest.mark.parametrize(("text", "canonical"), TIMES)
def test_times_have_units_and_multipliers(kind, text, canonical):
    found = np_dtype_of_v2(kind + text)
    assert found.str == np.dtype(kind + canonical).str
    assert v2_dtype(found) == kind + canonical


@pytest.mark.parametrize("order", ["|", "<", ">"])
def test_objects_are_objects(order):
    assert np_dtype_of_v2(order + "O") == np.dtype(object)
    assert v2_dtype(np.dtype(object)) == "|O"


@pytest.mark.parametrize("name", ML)
def test_bare_names_are_read_as_they_are_written(name):
    assert np_dtype_of_v2(name) == small(name)
    assert v2_dtype(small(name)) == name


STRUCTURES = [
    ([["a", "<i4"]], [("a", "<i4")]),
    ([["id", "<i4"], ["flux", ">f8"], ["xy", "<f4", [2, 2]]], [("id", "<i4"), ("flux", ">f8"), ("xy", "<f4", (2, 2))]),
    ([["p", [["x", "<f4"], ["y", ">f4"]]]], [("p", [("x", "<f4"), ("y", ">f4")])]),
    ([["p", [["x", ">U2"]], [3]]], [("p", [("x", ">U2")], (3,))]),
    (
        [["t", "<M8[25s]"], ["s", "|S3"], ["v", "|V2"], ["b", "|b1"]],
        [("t", "<M8[25s]"), ("s", "S3"), ("v", "V2"), ("b", "?")],
    ),
    ([["b", "bfloat16"], ["i", "int4", [2]]], [("b", ml_dtypes.bfloat16), ("i", small("int4"), (2,))]),
    ([["é", "|u1"], [" ", "|u1"], ["a.b", "|u1"]], [("é", "u1"), (" ", "u1"), ("a.b", "u1")]),
]


@pytest.mark.parametrize(("spec", "dtype"), STRUCTURES)
def test_a_list_is_a_structure_with_the_order_of_each_field(spec, dtype):
    found = np_dtype_of_v2(spec)
    assert found == np.dtype(dtype)
    assert v2_dtype(found) == spec
    assert json.loads(json.dumps(v2_dtype(found))) == spec


@pytest.mark.parametrize(("shape", "canonical"), [([], ["a", "|u1"]), (3, ["a", "|u1", [3]]), ([1], ["a", "|u1", [1]])])
def test_a_shape_may_be_a_number_or_empty(shape, canonical):
    assert v2_dtype(np_dtype_of_v2([["a", ">u1", shape]])) == [canonical]


V2_UNSUPPORTED = [
    *("", "i4", "=i4", "<i4 ", " <i4", "<i4\n", "<<i4", "<i", "<i4i4", "<i4,<i4", "(2,)<i4", "{}", "O", "<", "int32"),
    *(
        "<i3",
        "<i0",
        "<i16",
        "<f1",
        "<f16",
        "<f12",
        "<c4",
        "<c32",
        "<b2",
        "<b0",
        "<i99999999999999999999",
        "<i٤",
        "<m4[s]",
    ),
    *(
        "|S0",
        "<U0",
        "|V0",
        "|S",
        "<U",
        "|V",
        "|S-1",
        "|S1.0",
        f"|S{2**31}",
        f"|V{2**31}",
        "|O8",
        "|O1",
        "|J0",
        "<T",
        "<g16",
    ),
    *(
        "<M8[x]",
        "<M8[]",
        "<M8[0s]",
        "<M8[2147483648s]",
        "<M8[-1s]",
        "<M8[s/2]",
        "<M8[s",
        "<M8s]",
        "<M8[s][s]",
        "<M8[ s]",
    ),
    *(
        "<M8[2generic]",
        "<i4[s]",
        "|S3[s]",
        "<M8[S]",
        "bool",
        "string",
        "float128",
        "float8",
        "bfloat",
        "BFLOAT16",
        "\0",
    ),
    *("\ud800", "é"),
    *(None, 4, 4.0, True, {}, {"name": "<i4"}),
]


@pytest.mark.parametrize("spec", V2_UNSUPPORTED)
def test_other_dtypes_of_v2_are_unsupported(spec):
    for place in (spec, [["a", spec]], [["p", [["a", spec]]]]):
        with pytest.raises(UnsupportedError, match="dtype") as caught:
            np_dtype_of_v2(place)
        assert caught.value.field == "dtype"


V2_WRONG = [
    *("|i2", "|u8", "|f4", "|c8", "|U3", "|M8[s]", "|m8"),
    [],
    [[]],
    *(
        [["a"]],
        ["<i4"],
        ["a", "<i4"],
        [["a", "<i4", [2], 1]],
        [[None, "<i4"]],
        [[5, "<i4"]],
        [["", "<i4"]],
        [{"a": "<i4"}],
    ),
    [[["title", "a"], "<i4"]],
    [["a", []]],
    [["a", "<i4"], ["a", "<f4"]],
    *(
        [["a", "<i4", shape]]
        for shape in (None, "2", 2.0, True, 0, -1, [0], [-1], [2.0], [True], [None], [[2]], {}, [2**31])
    ),
    [["a", "<i4", [1] * 33]],
    *([["a", "|u1", shape]] for shape in ([2**16, 2**16], [2**31 - 1, 2**31 - 1])),
]


@pytest.mark.parametrize("spec", V2_WRONG)
def test_what_breaks_the_rules_of_v2_is_refused(spec):
    with pytest.raises(MetadataError) as caught:
        np_dtype_of_v2(spec)
    assert caught.value.field in ("dtype", "data_type")


def v2_nested(depth):
    spec = "|u1"
    for _ in range(depth):
        spec = [["a", spec]]
    return spec


def test_structures_of_v2_lie_in_each_other_to_a_depth():
    assert np_dtype_of_v2(v2_nested(30)).itemsize == 1
    for depth in (40, 300):
        with pytest.raises(MetadataError, match="deep") as caught:
            np_dtype_of_v2(v2_nested(depth))
        assert caught.value.field == "dtype"


def test_objects_in_a_structure_are_unsupported():
    with pytest.raises(UnsupportedError, match="'a'") as caught:
        np_dtype_of_v2([["a", "|O"]])
    assert caught.value.field == "dtype"


@pytest.mark.parametrize(
    "spec",
    ["|S" + "9" * 5000, f"<M8[{'9' * 5000}s]", "|S٣", "<M8[٣s]", "<U536870912", "<U2147483647"],
    ids=lambda spec: ascii(spec[:9]),
)
def test_numbers_that_are_none_are_unsupported(spec):
    with pytest.raises(UnsupportedError) as caught:
        np_dtype_of_v2(spec)
    assert caught.value.field == "dtype"


GIANTS = {"2 GiB": [2**30] * 2, "3 GiB": [2**30] * 3, "4 GiB and a byte": [2**30] * 4 + [1]}


@pytest.mark.parametrize("sizes", GIANTS.values(), ids=list(GIANTS))
def test_a_structure_of_more_than_2_gib_is_refused(sizes):
    with pytest.raises(DaskZarrError) as caught:
        np_dtype_of_v2([[f"f{i}", f"|V{size}"] for i, size in enumerate(sizes)])
    assert caught.value.field == "dtype"
    with pytest.raises(DaskZarrError) as caught:
        read("struct", struct(*((f"f{i}", f"r{8 * size}") for i, size in enumerate(sizes))))
    assert caught.value.field == "data_type"


def test_an_error_of_v2_names_the_member_of_v2():
    with pytest.raises(MetadataError) as caught:
        np_dtype_of_v2([["a", "<i4"], ["a", "<f4"]])
    assert caught.value.field == "dtype"


# ---- any dtype there and back


def leaves():
    ordered = st.tuples(st.sampled_from("<>"), st.sampled_from(ORDERED)).map("".join)
    times = st.builds(
        lambda order, kind, factor, unit: f"{order}{kind}8[{factor if factor > 1 else ''}{unit}]",
        *(st.sampled_from("<>"), st.sampled_from("mM"), st.integers(1, 30), st.sampled_from(UNITS)),
    )
    return ordered | times | st.sampled_from([*("|" + text for text in UNORDERED), *ML])


def fields_of(inner):
    shapes = st.none() | st.lists(st.integers(1, 3), min_size=1, max_size=3)
    names = st.lists(st.text(max_size=4).filter(lambda name: name), min_size=1, max_size=4, unique=True)
    field = st.tuples(inner, shapes).map(lambda pair: [pair[0]] if pair[1] is None else [pair[0], pair[1]])
    return names.flatmap(lambda found: st.tuples(*(field.map(lambda rest, n=n: [n, *rest]) for n in found)).map(list))


specs = st.recursive(leaves(), fields_of, max_leaves=4)


def as_numpy(spec):
    """The dtype that a canonical spec stands for."""
    if isinstance(spec, str):
        return small(spec) if spec in ML else np.dtype(spec)
    return np.dtype([(name, as_numpy(inner), *map(tuple, shape)) for name, inner, *shape in spec])


def native(dtype):
    if dtype.subdtype:
        return np.dtype((native(dtype.subdtype[0]), dtype.subdtype[1]))
    if dtype.names:
        return np.dtype([(name, native(dtype[name])) for name in dtype.names])
    return dtype if dtype.isnative else dtype.newbyteorder("=")


@given(specs)
def test_any_dtype_of_v2_is_written_as_it_was_read(spec):
    dtype = np_dtype_of_v2(spec)
    assert dtype == as_numpy(spec)
    assert v2_dtype(dtype) == spec
    data_type = DataType.of(dtype)
    assert data_type.dtype == native(as_numpy(spec))
    again = DataType.read(NamedConfig.read(json.loads(json.dumps(data_type.write())), "data_type"), v2_too=True)
    assert again == data_type


# ---- elements as they are stored


def stored(data_type, endian=None, shape=(3,), name="bytes"):
    codec = NamedConfig(name, {"endian": endian} if endian else {})
    return CodecPipeline.resolve([codec], ChunkSpec(shape, data_type.dtype, np.zeros((), data_type.dtype)[()]))


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def cells(dtype, values):
    found = np.zeros(len(values), dtype)
    for i, value in enumerate(values):
        found[i] = value
    return found


PAIR = np.dtype([("real", ml_dtypes.bfloat16), ("imag", ml_dtypes.bfloat16)])
TEXT, DATE, SPAN = utf32(2), ("numpy.datetime64", time()), ("numpy.timedelta64", time("D", 9))
WITH_TEXT = ("struct", struct(("a", "int16"), ("b", utf32(1)), ("c", "bool")))
INNER = {"name": "struct", "configuration": struct(("x", "float32"), ("r", "r16"))}
ELEMENTS = [
    ("bool", [True, False, True], None, "01 00 01"),
    ("uint16", [1, 2**16 - 2, 7], "little", "01 00 fe ff 07 00"),
    ("uint16", [1, 2**16 - 2, 7], "big", "00 01 ff fe 00 07"),
    ("complex64", [1 + 2j, 0, 0], "little", "00 00 80 3f 00 00 00 40" + 16 * "00"),
    ("complex64", [1 + 2j, 0, 0], "big", "3f 80 00 00 40 00 00 00" + 16 * "00"),
    ("complex_float32", [1 + 2j, 0, 0], "big", "3f 80 00 00 40 00 00 00" + 16 * "00"),
    ("complex_bfloat16", [(1, 2), (-0.5, 1), (0, 0)], "little", "80 3f 00 40 | 00 bf 80 3f | 00 00 00 00"),
    ("complex_bfloat16", [(1, 2), (-0.5, 1), (0, 0)], "big", "3f 80 40 00 | bf 00 3f 80 | 00 00 00 00"),
    ("complex_float8_e5m2", [(-1, 2), (3, 0), (0, 0)], None, "bc 40 | 42 00 | 00 00"),
    ("r24", [b"\1\2\3", b"\0\0\4", b"abc"], None, "01 02 03 | 00 00 04 | 61 62 63"),
    ("r24", [b"\1\2\3", b"\0\0\4", b"abc"], "big", "01 02 03 | 00 00 04 | 61 62 63"),
    (TEXT, ["é", "", "ab"], "little", "e9000000 00000000 | 00000000 00000000 | 61000000 62000000"),
    (TEXT, ["é", "", "ab"], "big", "000000e9 00000000 | 00000000 00000000 | 00000061 00000062"),
    (DATE, [5, "NaT", 0], "little", "0500000000000000 | 0000000000000080 | 0000000000000000"),
    (SPAN, [5, "NaT", 0], "big", "0000000000000005 | 8000000000000000 | 0000000000000000"),
    ("bfloat16", [1, 2, -0.5], "little", "80 3f 00 40 00 bf"),
    ("bfloat16", [1, 2, -0.5], "big", "3f 80 40 00 bf 00"),
    ("float8_e4m3fn", [-1, 2, 3], None, "b8 40 44"),
    ("float8_e5m2", [-1, 2, 3], None, "bc 40 42"),
    ("float8_e8m0fnu", [1, 2, 0.5], None, "7f 80 7e"),
    ("float6_e2m3fn", [1, -1, 7.5], None, "08 28 1f"),
    ("float4_e2m1fn", [0.5, -1, 6], None, "01 0a 07"),
    ("int4", [-1, 7, -8], None, "0f 07 08"),
    ("uint4", [15, 7, 0], None, "0f 07 00"),
    ("int2", [-1, 1, -2], None, "03 01 02"),
    ("uint2", [3, 1, 0], None, "03 01 00"),
    (("null_terminated_bytes", {"length_bytes": 3}), [b"ab", b"", b"\0c"], None, "61 62 00 | 00 00 00 | 00 63 00"),
    (("raw_bytes", {"length_bytes": 2}), [b"\1\2", b"\3\0", b"\0\4"], "little", "01 02 | 03 00 | 00 04"),
    (
        WITH_TEXT,
        [(1, "é", True), (-2, "b", False), (0, "", False)],
        "little",
        "01 00 e9 00 00 00 01 | fe ff 62 00 00 00 00 | 00 00 00 00 00 00 00",
    ),
    (
        ("struct", struct(("a", "int16"), ("p", INNER))),
        [(1, (1.5, b"\1\2")), (-2, (-2, b"\3\4")), (0, (0, b"\5\6"))],
        "big",
        "00 01 3f c0 00 00 01 02 | ff fe c0 00 00 00 03 04 | 00 00 00 00 00 00 05 06",
    ),
]


def of(given):
    """A data type by name, name and configuration, or as documents spell it."""
    return read(*given) if isinstance(given, tuple) else DataType.read(NamedConfig.read(given, "data_type"))


@pytest.mark.parametrize(("given", "values", "endian", "expected"), ELEMENTS)
def test_elements_are_stored_as_the_formats_say(given, values, endian, expected):
    data_type = of(given)
    array, raw = cells(data_type.dtype, values), unhex(expected)
    for name in ("bytes", "endian"):
        pipeline = stored(data_type, endian, name=name)
        assert bytes(pipeline.encode(array)) == raw
        out = cells(data_type.dtype, values[::-1])
        pipeline.decode_into(raw, out)
        for found in (pipeline.decode(raw), pipeline.serializer.decode(raw), out):
            assert found.dtype == data_type.dtype
            assert found.dtype.isnative
            assert found.flags.writeable
            assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("endian", ["little", "big"])
@settings(max_examples=40)
@given(data=st.data())
def test_any_cells_of_any_dtype_survive(endian, data):
    dtype = native(as_numpy(data.draw(specs)))
    array = cells_of(data, dtype)
    data_type = DataType.of(dtype)
    pipeline = stored(data_type, endian, array.shape)
    encoded = bytes(pipeline.encode(array))
    assert len(encoded) == array.nbytes
    assert pipeline.decode(encoded).tobytes() == pipeline.serializer.decode(encoded).tobytes() == array.tobytes()
    assert pipeline.decode(encoded).dtype == dtype
    transposed = CodecPipeline.resolve(
        [NamedConfig("transpose", {"order": [1, 0]}), NamedConfig("bytes", {"endian": endian})], pipeline.spec
    )
    assert transposed.decode(transposed.encode(array)).tobytes() == array.tobytes()


SMALL_MASKS = {"float4_e2m1fn": 15, "float6_e2m3fn": 63, "float6_e3m2fn": 63}
SMALL_MASKS |= {"int2": 3, "uint2": 3, "int4": 15, "uint4": 15}


def cells_of(data, dtype):
    """2 × 3 cells of any bits that mean something."""
    array = np.zeros((2, 3), dtype)
    random = data.draw(st.randoms(use_true_random=False))
    for part in parts(array):
        if part.dtype.kind == "U":
            numbers = [random.choice([0, 65, 0xE9, 0xD800, 0x10FFFF]) for _ in range(part.nbytes // 4)]
            raw = np.array(numbers, "u4").tobytes()
        else:
            mask = 1 if part.dtype.kind == "b" else SMALL_MASKS.get(part.dtype.name, 255)
            raw = bytes(byte & mask for byte in random.randbytes(part.nbytes))
        part[...] = np.frombuffer(raw, part.dtype).reshape(part.shape)
    return array


def parts(array):
    """The fields of an array, however deep, that are no structures."""
    if array.dtype.names is None:
        yield array
    for name in array.dtype.names or ():
        yield from parts(array[name])


ORDERS = [
    ["u", ">U1"],
    ["i", "<i4"],
    ["b", "|b1"],
    ["xy", ">f4", [2, 2]],
    ["p", [["x", "<f4"], ["y", ">u2"]]],
    ["s", "|S2"],
]


def test_each_field_of_v2_has_an_order_of_its_own():
    spec = ChunkSpec((2,), native(as_numpy(ORDERS)), 0)
    pipeline = CodecPipeline.resolve([NamedConfig("v2.bytes", {"dtype": ORDERS})], spec)
    array = np.array(
        [("é", 1, True, [[1, 2], [3, 4]], (5, 6), b"ab"), ("b", -2, False, [[7, 8], [9, 10]], (11, 12), b"c")],
        spec.dtype,
    )
    raw = unhex(
        "000000e9 | 01000000 | 01 | 3f800000 40000000 40400000 40800000 | 0000a040 0006 | 6162 |"
        "00000062 | feffffff | 00 | 40e00000 41000000 41100000 41200000 | 00003041 000c | 6300"
    )
    assert bytes(pipeline.encode(array)) == raw
    out = np.zeros(2, spec.dtype)
    pipeline.decode_into(raw, out)
    for found in (pipeline.decode(raw), pipeline.serializer.decode(raw), out):
        assert found.dtype == spec.dtype
        assert found.tobytes() == array.tobytes()
    other = raw[:8] + b"\x02" + raw[9:]
    assert pipeline.decode(other)["b"].view("u1").tolist() == [1, 0]


@pytest.mark.parametrize("byte", [1, 2, 127, 128, 255])
def test_any_byte_but_zero_is_true(byte):
    found = stored(DataType.named("bool")).decode(bytes([byte, 0, byte]))
    assert found.view("u1").tolist() == [1, 0, 1]
    record = stored(read("struct", struct(("a", "bool"), ("b", "uint8")))).decode(bytes([byte, 5, 0, 6, byte, 7]))
    assert record["a"].view("u1").tolist() == [1, 0, 1]
    assert record["b"].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("int4", "ff 18 97", [-1, -8, 7]),
        ("uint4", "ff 18 97", [15, 8, 7]),
        ("int2", "ff 1a 99", [-1, -2, 1]),
        ("uint2", "ff 1a 99", [3, 2, 1]),
        ("float4_e2m1fn", "f2 1a 97", [1, -1, 6]),
        ("float6_e2m3fn", "c8 e8 5f", [1, -1, 7.5]),
        ("float6_e3m2fn", "cc ec 5f", [1, -1, 28]),
    ],
)
def test_bits_above_a_small_element_mean_nothing(name, raw, expected):
    data_type = DataType.named(name)
    pipeline = stored(data_type)
    array = np.array(expected, data_type.dtype)
    out = np.zeros(3, data_type.dtype)
    pipeline.decode_into(unhex(raw), out)
    for found in (pipeline.decode(unhex(raw)), out):
        assert found.astype("f4").tolist() == expected
        assert found.tobytes() == array.tobytes()
    spoilt = np.frombuffer(unhex(raw), data_type.dtype)
    clean = bytes(pipeline.encode(spoilt))
    assert clean == array.tobytes()
    assert spoilt.tobytes() == unhex(raw)  # a user's array stays as it is


@pytest.mark.parametrize(
    "dtype", [[("a", small("int4")), ("b", "u1")], [("a", small("int4"), (2,)), ("b", small("uint2"))]]
)
def test_bits_above_small_parts_are_written_as_zeros(dtype):
    dtype = np.dtype(dtype)
    array = np.frombuffer(b"\xff" * (2 * dtype.itemsize), dtype)
    found = bytes(stored(DataType.of(dtype), shape=(2,)).encode(array))
    assert set(found[: dtype.itemsize - 1]) == {0x0F}
    assert found[-1] == (0x03 if dtype["b"] == small("uint2") else 0xFF)


def test_bits_above_small_parts_of_an_array_are_written_as_zeros():
    dtype = np.dtype([("a", small("int4"), (2,)), ("b", "u1")])
    assert bytes(stored(DataType.of(dtype), shape=(1,)).encode(np.frombuffer(b"\xff" * 3, dtype))) == b"\x0f\x0f\xff"


@pytest.mark.parametrize(("endian", "order"), [("little", "<"), ("big", ">")])
@pytest.mark.parametrize("number", [0x110000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_text_of_no_characters_is_damage(endian, order, number):
    raw = np.array([97, number, 98], order + "u4").tobytes()
    text = read("fixed_length_utf32", {"length_bytes": 4})
    record = read(
        "struct", struct(("a", "uint8"), ("b", {"name": "fixed_length_utf32", "configuration": {"length_bytes": 8}}))
    )
    array = np.dtype([("a", "U1", (3,))])
    for data_type, data, shape in ((text, raw, (3,)), (record, b"\1" + raw[:8], (1,)), (DataType.of(array), raw, (1,))):
        pipeline = stored(data_type, endian, shape)
        for decode in (pipeline.decode, lambda d, p=pipeline: p.decode_into(d, np.zeros(p.spec.shape, p.spec.dtype))):
            with pytest.raises(CodecError, match="character"):
                decode(data)


@pytest.mark.parametrize("number", [0, 0xD800, 0xDFFF, 0x10FFFF])
def test_characters_up_to_the_last_are_read_surrogates_too(number):
    raw = np.array([number, 98, number], "<u4").tobytes()
    found = stored(read("fixed_length_utf32", {"length_bytes": 12}), "little", (1,)).decode(raw)
    assert found.view("u4").tolist() == [number, 98, number]


@pytest.mark.parametrize("name", ["string", "bytes"])
def test_elements_of_any_length_are_not_stored_as_they_are(name):
    with pytest.raises(UnknownCodecError, match="vlen"):
        stored(DataType.named(name), "little")


@pytest.mark.parametrize("dtype", ["U1", "M8[s]", small("bfloat16"), [("a", "u1"), ("b", "u2")], PAIR, "c8"])
def test_several_bytes_need_an_order(dtype):
    with pytest.raises(UnknownCodecError, match="endian"):
        stored(DataType.of(dtype))


@pytest.mark.parametrize("dtype", ["S9", "V9", "?", small("int4"), small("float8_e5m2"), [("a", "u1"), ("b", "S3")]])
@pytest.mark.parametrize("endian", [None, "little", "big"])
def test_single_bytes_need_none_and_take_any(dtype, endian):
    dtype = np.dtype(dtype)
    raw = bytes(itertools.islice(itertools.cycle([1, 0]), 3 * dtype.itemsize))
    assert stored(DataType.of(dtype), endian).decode(raw).tobytes() == raw


@pytest.mark.parametrize("count", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["U3", "V5", small("bfloat16"), [("a", "u1"), ("b", "S3")]])
def test_another_number_of_bytes_is_damage(dtype, count):
    pipeline = stored(DataType.of(dtype), "little")
    raw = bytes(pipeline.spec.nbytes)
    for data in (raw + bytes(count),) if count > 0 else (raw[:count],):
        with pytest.raises(CodecError):
            pipeline.decode(data)
