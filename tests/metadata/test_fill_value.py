"""Fill values: every spelling of both formats, bit by bit, and what is refused."""

import base64
import datetime
import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.codecs.fill import Fill
from daskzarr.errors import MetadataError
from daskzarr.metadata import DataType, NamedConfig, default_fill, fill_json, fill_scalar
from daskzarr.metadata.data_type import np_dtype_of_v2
from daskzarr.metadata.v2_fill_value import read_structured_fill, read_v2_fill, write_structured_fill, write_v2_fill

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
CORE = ["bool", *INTEGERS, *FLOATS, *COMPLEX]
SMALL_INTEGERS = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}
# Bits of NaN and of the infinity, where there are such.
SMALL_FLOATS = {
    "bfloat16": (0x7FC0, 0x7F80),
    "float8_e3m4": (0x78, 0x70),
    "float8_e4m3": (0x7C, 0x78),
    "float8_e4m3b11fnuz": (0x80, None),
    "float8_e4m3fn": (0x7F, None),
    "float8_e4m3fnuz": (0x80, None),
    "float8_e5m2": (0x7E, 0x7C),
    "float8_e5m2fnuz": (0x80, None),
    "float8_e8m0fnu": (0xFF, None),
    "float6_e2m3fn": (None, None),
    "float6_e3m2fn": (None, None),
    "float4_e2m1fn": (None, None),
}
MASKS = {"float6_e2m3fn": 0x3F, "float6_e3m2fn": 0x3F, "float4_e2m1fn": 0x0F}
NANS = {"float16": 0x7E00, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}
NANS |= {name: nan for name, (nan, _) in SMALL_FLOATS.items()}
NAT = -(2**63)


def typed(name, configuration=None):
    return DataType.read(NamedConfig(name, configuration or {}))


def time(unit="s", factor=1):
    return {"unit": unit, "scale_factor": factor}


def record(*fields, name="struct"):
    return typed(name, {"fields": [{"name": n, "data_type": t} for n, t in fields]})


def sized(name, length):
    return {"name": name, "configuration": {"length_bytes": length}}


DATE = typed("numpy.datetime64", time("s", 5))
SPAN = typed("numpy.timedelta64", time("ns"))
TEXT = typed(**sized("fixed_length_utf32", 12))
SHORT = typed(**sized("null_terminated_bytes", 3))
RAW = typed(**sized("raw_bytes", 3))
OF_ANY_LENGTH = [typed(name) for name in ("bytes", "variable_length_bytes", "binary")]
POINT = {"name": "struct", "configuration": {"fields": [{"name": "x", "data_type": "float32"}]}}
RECORD = record(("a", "int16"), ("t", {"name": "numpy.datetime64", "configuration": time()}), ("p", POINT))


def bits(scalar):
    """The bits of a scalar as a number, big digit first."""
    return int.from_bytes(np.asarray(scalar, scalar.dtype).tobytes()[::-1], "big")


def memory(data_type, scalar):
    """The bytes of an element, however NumPy shows it."""
    return np.array(scalar, data_type.dtype).tobytes()


def exactly(value):
    """Text that tells 1 from 1.0 from true, and 0.0 from -0.0."""
    return json.dumps(value, allow_nan=False)


# ---- read: the spellings of v3

SCALARS = [
    *(("bool", value, value) for value in (1, 0)),
    ("bool", True, 1),
    ("bool", False, 0),
    ("int8", -128, 0x80),
    ("uint8", 255, 0xFF),
    ("int16", 9.0, 9),
    ("int32", -1.0, 2**32 - 1),
    ("int64", NAT, 2**63),
    ("int64", 2**53 + 1, 2**53 + 1),
    ("uint64", 2**64 - 1, 2**64 - 1),
    ("uint64", 2**63 + 1, 2**63 + 1),
    ("float16", 1.5, 0x3E00),
    ("float16", "0x3e00", 0x3E00),
    ("float16", "0x3E00", 0x3E00),
    ("float32", 1.5, 0x3FC00000),
    ("float32", "0x3fc00000", 0x3FC00000),
    ("float32", 3, 0x40400000),
    *((name, "NaN", bits) for name, bits in NANS.items() if bits is not None),
    *((name, "Infinity", bits) for name, (_, bits) in SMALL_FLOATS.items() if bits is not None),
    ("bfloat16", "-Infinity", 0xFF80),
    ("float8_e5m2", "-Infinity", 0xFC),
    ("float16", "Infinity", 0x7C00),
    ("float32", "Infinity", 0x7F800000),
    ("float32", "-Infinity", 0xFF800000),
    ("float64", "-Infinity", 0xFFF0000000000000),
    ("float16", -0.0, 0x8000),
    ("float32", -0.0, 0x80000000),
    ("float64", -0.0, 0x8000000000000000),
    ("bfloat16", -0.0, 0x8000),
    ("float8_e4m3", -0.0, 0x80),
    ("float6_e2m3fn", -0.0, 0x20),
    ("float4_e2m1fn", -0.0, 0x08),
    ("float32", "0x7fc00001", 0x7FC00001),
    ("float32", "0xffc00000", 0xFFC00000),
    ("float32", "0x7f800001", 0x7F800001),
    ("float64", "0x7ff0000000000001", 0x7FF0000000000001),
    ("bfloat16", "0x7f81", 0x7F81),
    ("float8_e4m3", "0xfd", 0xFD),
    ("float4_e2m1fn", "0x0f", 0x0F),
    ("float64", 5e-324, 1),
    ("bfloat16", 1, 0x3F80),
    ("bfloat16", -0.5, 0xBF00),
    ("float8_e4m3fn", -1, 0xB8),
    ("float8_e4m3fn", 3, 0x44),
    ("float8_e5m2", 2, 0x40),
    ("float8_e8m0fnu", 1, 0x7F),
    ("float6_e3m2fn", 28, 0x1F),
    ("float4_e2m1fn", 6, 0x07),
    ("int4", -8, 0x08),
    ("int4", 7.0, 0x07),
    ("uint4", 15, 0x0F),
    ("int2", -2, 0x02),
    ("uint2", 3, 0x03),
]


@pytest.mark.parametrize(("name", "value", "expected"), SCALARS)
def test_fill_values_read_to_the_bits_they_say(name, value, expected):
    scalar = fill_scalar(typed(name), value)
    assert scalar.dtype == typed(name).dtype
    assert bits(scalar) & MASKS.get(name, 2**64 - 1) == expected


PAIRS = [
    ("complex64", [1, 2], "3f800000 40000000"),
    ("complex64", ["NaN", "-Infinity"], "7fc00000 ff800000"),
    ("complex64", ["0x7fc00001", -0.0], "7fc00001 80000000"),
    ("complex_float32", [1.5, -0.0], "3fc00000 80000000"),
    ("complex128", [-0.0, "Infinity"], "8000000000000000 7ff0000000000000"),
    ("complex_float64", ["NaN", 1], "7ff8000000000000 3ff0000000000000"),
    ("complex_bfloat16", [1, "NaN"], "3f80 7fc0"),
    ("complex_float16", ["0x7c01", -0.0], "7c01 8000"),
    ("complex_float8_e5m2", [-1, "Infinity"], "bc 7c"),
    ("complex_float4_e2m1fn", [0.5, -1], "01 0a"),
]


@pytest.mark.parametrize(("name", "value", "expected"), PAIRS)
def test_complex_fill_values_are_two_parts(name, value, expected):
    scalar = fill_scalar(typed(name), value)
    first, second = (scalar["real"], scalar["imag"]) if scalar.dtype.names else (scalar.real, scalar.imag)
    assert [f"{bits(np.asarray(part)[()]):0{2 * part.dtype.itemsize}x}" for part in (first, second)] == expected.split()


def test_a_complex_fill_value_may_be_a_plain_number():
    assert fill_scalar(typed("complex64"), 1.5) == 1.5


BYTES = [
    ("r24", [1, 2, 255], b"\1\2\xff"),
    ("r24", "AQL/", b"\1\2\xff"),
    ("r24", "", b"\0\0\0"),
    ("r8", [0], b"\0"),
    (RAW, "AQL/", b"\1\2\xff"),
    (RAW, "", b"\0\0\0"),
    (SHORT, "YWJj", b"abc"),
    (SHORT, "YQ==", b"a\0\0"),
    (SHORT, "", b"\0\0\0"),
    (SHORT, "AGIA", b"\0b\0"),
    (TEXT, "", "\0\0\0".encode("utf-32-le")),
    (TEXT, "é", "é\0\0".encode("utf-32-le")),
    (TEXT, "aéb", "aéb".encode("utf-32-le")),
    (TEXT, "a\0b", "a\0b".encode("utf-32-le")),
    (TEXT, "a\0\0\0\0", "a\0\0".encode("utf-32-le")),
    (TEXT, "\U0010ffff", "\U0010ffff\0\0".encode("utf-32-le")),
    (DATE, 5, struct.pack("<q", 5)),
    (DATE, 5.0, struct.pack("<q", 5)),
    (DATE, "NaT", struct.pack("<q", NAT)),
    (DATE, NAT, struct.pack("<q", NAT)),
    (DATE, 2**63 - 1, struct.pack("<q", 2**63 - 1)),
    (SPAN, -3, struct.pack("<q", -3)),
    (SPAN, "NaT", struct.pack("<q", NAT)),
    (RECORD, {"a": 258, "t": 5, "p": {"x": 1.5}}, struct.pack("<hqf", 258, 5, 1.5)),
    (RECORD, {"p": {"x": "0x3fc00000"}, "t": "NaT", "a": -2}, struct.pack("<hqf", -2, NAT, 1.5)),
    (record(("a", "r16"), ("b", sized("raw_bytes", 2))), {"a": [1, 2], "b": "AwQ="}, b"\1\2\3\4"),
    (record(("a", "r16"), ("b", sized("null_terminated_bytes", 2))), {"a": "AQI=", "b": "Yw=="}, b"\1\2c\0"),
    (record(("c", "complex_bfloat16"), ("d", "bool")), {"c": [1, 2], "d": True}, bytes.fromhex("803f0040 01")),
]


@pytest.mark.parametrize(("given_type", "value", "expected"), BYTES)
def test_fill_values_read_to_the_bytes_they_say(given_type, value, expected):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    scalar = fill_scalar(data_type, value)
    assert np.asarray(scalar).dtype.kind == data_type.dtype.kind
    assert memory(data_type, scalar) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("AQI=", b"\1\2"), ([1, 2], b"\1\2"), ("", b""), ([], b""), ([0], b"\0"), ("/w==", b"\xff")]
)
@pytest.mark.parametrize("data_type", OF_ANY_LENGTH, ids=lambda data_type: data_type.name)
def test_bytes_of_any_length_are_a_list_or_base64(data_type, value, expected):
    found = fill_scalar(data_type, value)
    assert type(found) is bytes
    assert found == expected


@pytest.mark.parametrize("text", ["", "a", "éé", "NaN", "0x00", "\0", "a\0", "🦆" * 100])
def test_a_string_is_itself(text):
    found = fill_scalar(typed("string"), text)
    assert type(found) is str
    assert found == text


@pytest.mark.parametrize("name", [*FLOATS, "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize(
    ("spelling", "usual"), [("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity"), ("+Infinity", "Infinity")]
)
def test_spellings_met_in_the_wild_are_read(name, spelling, usual):
    assert bits(fill_scalar(typed(name), spelling)) == bits(fill_scalar(typed(name), usual))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("float16", 2049, 2048),
        ("float16", 2051, 2052),
        ("float32", 16777217, 16777216),
        ("float32", 16777219, 16777220),
        ("float32", 0.1, struct.unpack("<f", struct.pack("<f", 0.1))[0]),
        ("float16", 1e6, float("inf")),
        ("float32", 1e300, float("inf")),
        ("float32", -1e300, -float("inf")),
        ("bfloat16", 1 + 2**-8, 1),
        ("bfloat16", 1 + 3 * 2**-8, 1 + 2**-6),
        ("bfloat16", 1e39, float("inf")),
        ("float8_e5m2", 2.25, 2),
        ("float8_e5m2", 2.75, 3),
        ("float4_e2m1fn", 2.5, 2),
        ("float4_e2m1fn", 3.5, 4),
    ],
)
def test_numbers_are_rounded_half_to_even(name, value, expected):
    assert float(fill_scalar(typed(name), value)) == expected


@pytest.mark.parametrize(("value", "real"), [([1e39, -1e39], np.inf), (1e39, np.inf)])
def test_a_number_beyond_the_range_of_a_complex_type_is_infinite_as_for_floats(value, real):
    assert fill_scalar(typed("complex64"), value).real == real
    assert fill_scalar(typed("complex128"), value).real == 1e39


ZEROS = [*CORE, *SMALL_INTEGERS, *SMALL_FLOATS, "complex_bfloat16", "r24"]


@pytest.mark.parametrize("data_type", [*map(typed, ZEROS), TEXT, SHORT, RAW], ids=lambda data_type: data_type.name)
def test_an_undefined_fill_value_reads_as_zero(data_type):
    assert memory(data_type, fill_scalar(data_type, None)) == bytes(data_type.dtype.itemsize)


def test_an_undefined_fill_value_of_other_types():
    assert fill_scalar(typed("string"), None) == ""
    assert [fill_scalar(data_type, None) for data_type in OF_ANY_LENGTH] == [b"", b"", b""]
    assert np.isnat(fill_scalar(DATE, None))
    assert np.isnat(fill_scalar(SPAN, None))
    found = fill_scalar(RECORD, None)
    assert (found["a"], found["p"]["x"]) == (0, 0)


# ---- refused

SCRAPS = [None, True, False, 5, 1.5, "x", "AA", "AA=", "A A=", "AÄ==", [], [1], [1, 2], {}, {"a": 1}]
REAL = [
    "",
    "x",
    "NAN",
    "1.5",
    "infinit",
    True,
    False,
    [],
    [1.0],
    [None],
    {},
    "0x",
    "0X3e00",
    "0x3e0",
    "3e00",
    "NaN ",
    "ＮaN",
]
WRONG = {
    "bool": [2, -1, 0.5, "true", "True", "", [], [True], {}, float("nan")],
    "int": [9.5, "9", "NaN", float("nan"), float("inf"), 1e300, True, False, [], [1], {}, "0x01", "", 10**400],
    "float": [*REAL, 10**400],
    "complex": ["NaN", "", True, [], [1], [1, 2, 3], [1, "x"], [None, 1], [True, 0], {}, [[1, 2], 3], "0x3fc00000"],
    "bytes": ["x", "AA", "A A=", "AA==\n", "ÄÄÄÄ", 5, 1.5, True, {}, [256], [-1], [1.0], [True], [None], ["a"], [[1]]],
    "string": [0, 1, 1.5, True, [], ["a"], {}],
    "time": [
        "",
        "NAT",
        "nat",
        "x",
        "5",
        "1970-01-01",
        1.5,
        "NaN",
        True,
        [],
        [5],
        {},
        2**63,
        NAT - 1,
        1e300,
        float("nan"),
    ],
    "struct": ["", "AAAA", 0, 5, [], [1, 2, 3], True, {}],
}


def wrong_fills():
    for name in CORE:
        for value in WRONG[name.strip("u").rstrip("0123456789")]:
            yield typed(name), value
    for name in INTEGERS:
        info = np.iinfo(name)
        yield typed(name), int(info.max) + 1
        yield typed(name), int(info.min) - 1
    for name, (low, high) in SMALL_INTEGERS.items():
        for value in (low - 1, high + 1, *WRONG["int"]):
            yield typed(name), value
    for name, (nan, infinity) in SMALL_FLOATS.items():
        yield from ((typed(name), value) for value in WRONG["float"])
        if infinity is None:
            yield from ((typed(name), value) for value in ("Infinity", "-Infinity", "inf", "-inf", "+Infinity"))
        if nan is None:
            yield from ((typed(name), value) for value in ("NaN", "nan"))
    for name in (*FLOATS, *SMALL_FLOATS):
        digits = 2 * typed(name).dtype.itemsize
        for count in {digits - 2, digits - 1, digits + 1, 2 * digits}:
            yield typed(name), "0x" + "1" * count
        yield typed(name), "0x" + "g" * digits
        yield typed(name), "0x" + "-" + "1" * (digits - 1)
        yield typed(name), "0x" + " " + "1" * (digits - 1)
        yield typed(name), "0x" + "1" * (digits - 1) + "\n"
        yield typed(name), "0x" + "٣" * digits
    for name in ("complex_bfloat16", "complex_float16", "complex_float8_e5m2", "complex_float4_e2m1fn"):
        yield from ((typed(name), value) for value in WRONG["complex"] if value != [None, 1])
    yield typed("complex_float4_e2m1fn"), [0, "NaN"]
    for data_type in (typed("r24"), RAW):
        yield from ((data_type, value) for value in WRONG["bytes"])
        yield from ((data_type, value) for value in ("AA==", "AAA=", "AAAAAA==", [1, 2], [1, 2, 3, 4]))
    yield from ((SHORT, value) for value in [*WRONG["bytes"], "AAAAAA==", [1, 2, 3]])
    yield from ((TEXT, value) for value in [*WRONG["string"], "abcd", "a\0\0b", "\0\0\0b"])
    yield from ((typed("string"), value) for value in WRONG["string"])
    for data_type in OF_ANY_LENGTH:
        yield from ((data_type, value) for value in WRONG["bytes"])
    for data_type in (DATE, SPAN):
        yield from ((data_type, value) for value in WRONG["time"])
    whole = {"a": 1, "t": 5, "p": {"x": 1}}
    yield from ((RECORD, value) for value in WRONG["struct"])
    yield from ((RECORD, {k: v for k, v in whole.items() if k != name}) for name in whole)
    yield RECORD, whole | {"b": 1}
    yield RECORD, {"A": 1, "t": 5, "p": {"x": 1}}
    yield RECORD, whole | {"p": {}}
    yield RECORD, whole | {"p": 1}
    yield RECORD, whole | {"p": {"x": 1, "y": 1}}
    yield RECORD, whole | {"p": {"x": "0x3fc0"}}
    yield RECORD, whole | {"a": 2**15}
    yield RECORD, whole | {"t": "x"}


def named(value):
    return value.name if isinstance(value, DataType) else ascii(value)[:20]


REFUSED = {}
for wrong_type, wrong_value in wrong_fills():
    REFUSED.setdefault(wrong_type.name, (wrong_type, []))[1].append(wrong_value)


REFUSED = {}
for wrong_type, wrong_value in wrong_fills():
    REFUSED.setdefault(wrong_type.name, (wrong_type, []))[1].append(wrong_value)


def outcome(call, *args):
    """What a call gives, or the MetadataError it raises."""
    try:
        return call(*args)
    except MetadataError as error:
        return error


@pytest.mark.parametrize(("data_type", "values"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_no_fill_value_of_the_type_is_refused(data_type, values):
    outcomes = [outcome(fill_scalar, data_type, value) for value in values]
    assert [pair for pair in zip(values, outcomes, strict=True) if not isinstance(pair[1], MetadataError)] == []
    assert {error.field for error in outcomes} == {"fill_value"}
    assert all(data_type.name in str(error) and len(str(error)) < 300 for error in outcomes)


@pytest.mark.parametrize("depth", [50, 500, 900])
@pytest.mark.parametrize("data_type", [typed("float32"), typed("r24"), RECORD, typed("complex64")], ids=named)
def test_a_value_within_values_is_refused(data_type, depth):
    for nested in (json.loads("[" * depth + "]" * depth), json.loads('{"a":' * depth + "1" + "}" * depth)):
        with pytest.raises(MetadataError) as caught:
            fill_scalar(data_type, nested)
        assert caught.value.field == "fill_value"


def test_a_list_of_too_few_bytes_is_refused_the_empty_one_too():
    with pytest.raises(MetadataError):
        fill_scalar(typed("r24"), [])


NULLS = [
    (RECORD, {"a": None, "t": 5, "p": {"x": 1}}),
    (RECORD, {"a": 1, "t": 5, "p": None}),
    (typed("complex_bfloat16"), [None, 1]),
    (typed("complex_float8_e5m2"), [1, None]),
]


@pytest.mark.parametrize(("data_type", "value"), NULLS, ids=named)
def test_null_in_a_part_is_refused(data_type, value):
    with pytest.raises(MetadataError):
        fill_scalar(data_type, value)


@pytest.mark.parametrize("name", MASKS)
def test_bits_above_a_small_float_do_not_make_another_value(name):
    data_type = typed(name)
    try:
        found = fill_scalar(data_type, "0xf1")
    except MetadataError:
        return
    assert bits(found) == 0xF1 & MASKS[name]
    assert bits(found) == bits(fill_scalar(data_type, fill_json(data_type, found)))


def test_the_type_without_zero_takes_its_least_value_for_zero():
    data_type = typed("float8_e8m0fnu")
    assert bits(fill_scalar(data_type, 0.0)) == 0  # as other writers do
    with pytest.raises(MetadataError):
        fill_scalar(data_type, -1)


# ---- written


def masks(name):
    return {"int2": 3, "uint2": 3, "int4": 15, "uint4": 15, **MASKS}.get(name, 255)


@st.composite
def scalars(draw, names=(*CORE, *SMALL_INTEGERS, *SMALL_FLOATS)):
    """Any bits of any type."""
    name = draw(st.sampled_from(names))
    data_type = typed(name)
    if name == "bool":
        return data_type, np.bool_(draw(st.booleans()))
    raw = draw(st.binary(min_size=data_type.dtype.itemsize, max_size=data_type.dtype.itemsize))
    return data_type, np.frombuffer(bytes(byte & masks(name) for byte in raw), data_type.dtype)[0]


@st.composite
def other_scalars(draw):
    """Any bits of types of several parts, of text, and of bytes."""
    length = draw(st.integers(1, 4))
    names = [
        "complex_bfloat16",
        "complex_float16",
        "complex_float8_e4m3",
        f"r{8 * length}",
        "times",
        "raw",
        "short",
        "record",
    ]
    name = draw(st.sampled_from(names))
    found = {"times": DATE, "raw": RAW, "short": SHORT}
    found["record"] = record(("a", "int16"), ("b", sized("raw_bytes", 2)), ("c", "complex64"), ("p", POINT))
    data_type = found.get(name) or typed(name)
    raw = draw(st.binary(min_size=data_type.dtype.itemsize, max_size=data_type.dtype.itemsize))
    return data_type, np.frombuffer(raw, data_type.dtype)[0]


@given(scalars() | other_scalars())
def test_any_bits_survive_the_way_to_json_and_back(case):
    data_type, scalar = case
    spelled = json.loads(exactly(fill_json(data_type, scalar)))
    assert memory(data_type, fill_scalar(data_type, spelled)) == memory(data_type, scalar)


@given(scalars() | other_scalars())
def test_the_spelling_is_a_fixed_point(case):
    data_type, scalar = case
    spelled = fill_json(data_type, scalar)
    assert exactly(fill_json(data_type, json.loads(exactly(spelled)))) == exactly(spelled)


@given(scalars([*FLOATS, *COMPLEX, *SMALL_FLOATS]))
def test_only_the_one_usual_nan_is_written_by_name(case):
    data_type, scalar = case
    spelled = fill_json(data_type, scalar)
    split = data_type.name in COMPLEX
    parts = [scalar.real, scalar.imag] if split else [scalar]
    for part, text in zip(parts, spelled if split else [spelled], strict=True):
        name = part.dtype.name
        if np.isnan(float(part)):
            assert text == ("NaN" if bits(part) == NANS[name] else f"0x{bits(part):0{2 * part.dtype.itemsize}x}")
        elif np.isinf(float(part)):
            assert text == ("Infinity" if part > 0 else "-Infinity")
        else:
            assert exactly(text) == exactly(float(part))


@given(st.text(st.characters(exclude_categories=()), max_size=3))
def test_a_text_is_written_without_the_padding(text):
    spelled = fill_json(TEXT, text)
    assert spelled == text.rstrip("\0")
    assert memory(TEXT, fill_scalar(TEXT, spelled)) == memory(TEXT, np.array(text, TEXT.dtype))


SPELLED = [
    ("bool", 0, False),
    ("bool", 1.0, True),
    ("bool", np.True_, True),
    ("int8", 7.0, 7),
    ("int16", np.int64(-3), -3),
    ("int16", np.float32(3), 3),
    ("uint64", np.uint64(2**64 - 1), 2**64 - 1),
    ("float32", 1, 1.0),
    ("float32", float("nan"), "NaN"),
    ("float32", -float("inf"), "-Infinity"),
    ("float32", "nan", "NaN"),
    ("float32", "0x3fc00000", 1.5),
    ("float64", np.float32(0.5), 0.5),
    ("float32", np.array(2.5), 2.5),
    ("float16", np.float64("nan"), "NaN"),
    ("complex64", 1 + 2j, [1.0, 2.0]),
    ("complex64", complex("nan+infj"), ["NaN", "Infinity"]),
    ("complex64", [1, "NaN"], [1.0, "NaN"]),
    ("complex128", 3, [3.0, 0.0]),
    ("complex128", np.complex64(1j), [0.0, 1.0]),
    ("int32", None, 0),
    ("float32", None, 0.0),
    ("bfloat16", 1.5, 1.5),
    ("bfloat16", np.float32(1.5), 1.5),
    ("bfloat16", ml_dtypes.bfloat16(1.5), 1.5),
    ("bfloat16", "nan", "NaN"),
    ("bfloat16", "0x7f81", "0x7f81"),
    ("int4", -3, -3),
    ("int4", np.int8(-3), -3),
    ("int4", np.array(-3, ml_dtypes.int4), -3),
    ("complex_bfloat16", [1, -0.0], [1.0, -0.0]),
    ("complex_float16", None, [0.0, 0.0]),
    ("r24", b"abc", [97, 98, 99]),
    ("r24", np.void(b"abc"), [97, 98, 99]),
    ("r24", [1, 2, 3], [1, 2, 3]),
    ("r24", "AQID", [1, 2, 3]),
    ("r24", 0, [0, 0, 0]),
    (RAW, b"abc", "YWJj"),
    (RAW, None, "AAAA"),
    (RAW, 0, "AAAA"),
    (SHORT, b"abc", "YWJj"),
    (SHORT, b"a", "YQAA"),
    (SHORT, np.bytes_(b"a"), "YQAA"),
    (SHORT, "YQ==", "YQAA"),
    (SHORT, 0, "AAAA"),
    (SHORT, b"", "AAAA"),
    (TEXT, "é", "é"),
    (TEXT, np.str_("é"), "é"),
    (TEXT, "a\0", "a"),
    (TEXT, 0, ""),
    (TEXT, None, ""),
    ("string", "é", "é"),
    ("string", np.str_("é"), "é"),
    ("string", 0, ""),
    ("string", None, ""),
    *(
        (data_type, value, "YWI=")
        for data_type in OF_ANY_LENGTH
        for value in (b"ab", bytearray(b"ab"), [97, 98], "YWI=")
    ),
    *((data_type, value, "") for data_type in OF_ANY_LENGTH for value in (b"", 0, None, [])),
    (DATE, 5, 5),
    (DATE, "NaT", NAT),
    (DATE, None, NAT),
    (DATE, np.datetime64("NaT"), NAT),
    (DATE, np.datetime64("1970-01-01T00:01"), 12),
    (DATE, datetime.datetime(1970, 1, 1, 0, 1), 12),
    (DATE, datetime.date(1970, 1, 2), 86400 // 5),
    (DATE, "1970-01-02", 86400 // 5),
    (DATE, np.int64(7), 7),
    (SPAN, np.timedelta64(3, "us"), 3000),
    (SPAN, datetime.timedelta(seconds=2), 2 * 10**9),
    (RECORD, {"a": 1, "t": 2, "p": {"x": 3}}, {"a": 1, "t": 2, "p": {"x": 3.0}}),
    (RECORD, (1, 2, (3,)), {"a": 1, "t": 2, "p": {"x": 3.0}}),
    (RECORD, np.array((1, 2, (3,)), RECORD.dtype)[()], {"a": 1, "t": 2, "p": {"x": 3.0}}),
    (RECORD, np.array((1, 2, (3,)), RECORD.dtype.newbyteorder(">"))[()], {"a": 1, "t": 2, "p": {"x": 3.0}}),
    (RECORD, 0, {"a": 0, "t": 0, "p": {"x": 0.0}}),
]


@pytest.mark.parametrize(("given_type", "value", "spelled"), SPELLED)
def test_what_people_pass_gets_its_one_spelling(given_type, value, spelled):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    assert exactly(fill_json(data_type, value)) == exactly(spelled)


@pytest.mark.parametrize("name", [*FLOATS, "bfloat16", "float8_e4m3"])
def test_the_sign_of_zero_is_kept(name):
    assert exactly(fill_json(typed(name), -0.0)) == "-0.0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_scalar_of_either_byte_order_is_spelled_alike(order):
    value = np.array(0x7FC12345, f"{order}u4").view(f"{order}f4")
    assert fill_json(typed("float32"), value) == "0x7fc12345"


def test_a_signalling_nan_of_the_other_byte_order_keeps_its_bits():
    assert fill_json(typed("float32"), np.array(0x7F800001, ">u4").view(">f4")) == "0x7f800001"


UNFIT = [
    ("int8", 128),
    ("int8", 1.5),
    ("int8", np.int16(128)),
    ("uint8", -1),
    ("uint8", float("nan")),
    ("int32", "1"),
    ("int32", 1j),
    ("int32", b"1"),
    ("int64", np.datetime64(3, "s")),
    ("float32", 1j),
    ("float32", "x"),
    ("float32", np.zeros(1)),
    ("float32", np.zeros((2, 2))),
    ("float32", [1.0]),
    ("float32", b"1"),
    ("bool", 2),
    ("complex64", "x"),
    ("int32", object()),
    ("int4", 8),
    ("uint4", -1),
    ("bfloat16", "x"),
    ("bfloat16", 1j),
    ("r24", b"ab"),
    ("r24", b"abcd"),
    ("r24", np.void(b"abcd")),
    ("r24", 5),
    (RAW, b"ab"),
    (SHORT, b"abcd"),
    (SHORT, np.bytes_(b"abcd")),
    (SHORT, "é" * 3 + "x"),
    (SHORT, np.str_("日")),
    (SHORT, 5),
    (TEXT, "abcd"),
    (TEXT, np.str_("abcd")),
    (TEXT, b"a"),
    (TEXT, 5),
    ("string", 5),
    ("string", b"a"),
    ("string", ["a"]),
    ("bytes", "é"),
    ("bytes", "a"),
    ("bytes", 5),
    ("bytes", [256]),
    (DATE, "x"),
    (DATE, 1.5),
    (DATE, True),
    (DATE, np.datetime64("1970-01-01T00:00:03")),  # no multiple of 5 s
    (DATE, 2**63),
    (typed("numpy.datetime64", time("as")), np.datetime64("2070-01-01")),
    (typed("numpy.datetime64", time("as")), "2070-01-01"),
    (SPAN, np.timedelta64(3, "ps")),
    (SPAN, datetime.timedelta(days=10**6)),
    (RECORD, (1, 2)),
    (RECORD, (2**15, 2, (3,))),
    (RECORD, {"a": 1}),
    (RECORD, "AAAA"),
    (RECORD, 1),
    (RECORD, np.void(b"abc")),
]


@pytest.mark.parametrize(("given_type", "value"), UNFIT)
def test_what_does_not_fit_the_type_is_refused(given_type, value):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    with pytest.raises(MetadataError) as caught:
        fill_json(data_type, value)
    assert caught.value.field == "fill_value"


NARROWED = [
    (record(("a", "int8")), np.array((300,), [("a", "i4")])[()]),
    (record(("a", sized("fixed_length_utf32", 4))), np.array(("xyz",), [("a", "U3")])[()]),
    (record(("a", "int8")), (1.5,)),
    (record(("a", sized("fixed_length_utf32", 4))), ("xyz",)),
    (typed("int4"), np.int8(9)),
    (typed("int4"), np.float32(1.5)),
    (typed("float8_e4m3fn"), 1000.0),
    (typed("float8_e4m3fn"), np.float64(1e300)),
    (typed("float8_e5m2fnuz"), 1e6),
    (DATE, np.timedelta64(5, "s")),
    (SPAN, np.datetime64(5, "s")),
]


@pytest.mark.parametrize(("data_type", "value"), NARROWED, ids=named)
def test_a_value_that_would_change_is_refused(data_type, value):
    with pytest.raises(MetadataError):
        fill_json(data_type, value)


@pytest.mark.parametrize(
    ("data_type", "spelled"),
    [
        (record(("a", "r16"), ("b", sized("raw_bytes", 2))), {"a": [0, 0], "b": "AAA="}),
        (record(("real", "float16"), ("imag", "float16")), {"real": 0.0, "imag": 0.0}),
        (record(("real", "bfloat16"), ("imag", "float8_e5m2")), {"real": 0.0, "imag": 0.0}),
    ],
)
def test_fields_are_spelled_as_their_type_is(data_type, spelled):
    assert default_fill(data_type) == spelled


DEFAULTS = [
    ("bool", False),
    *((name, 0) for name in (*INTEGERS, *SMALL_INTEGERS)),
    *((name, 0.0) for name in (*FLOATS, *SMALL_FLOATS) if name != "float8_e8m0fnu"),
    ("float8_e8m0fnu", 2.0**-127),
    ("complex64", [0.0, 0.0]),
    ("complex_bfloat16", [0.0, 0.0]),
    ("string", ""),
    ("bytes", ""),
    ("variable_length_bytes", ""),
    ("r24", [0, 0, 0]),
    (RAW, "AAAA"),
    (SHORT, "AAAA"),
    (TEXT, ""),
    (DATE, NAT),
    (SPAN, NAT),
    (RECORD, {"a": 0, "t": 0, "p": {"x": 0.0}}),
]


@pytest.mark.parametrize(("given_type", "spelled"), DEFAULTS)
def test_the_default_is_zero_or_empty_or_not_a_time(given_type, spelled):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    assert exactly(default_fill(data_type)) == exactly(spelled)
    assert exactly(fill_json(data_type, default_fill(data_type))) == exactly(spelled)


# ---- v2: read in many spellings, written in one


def v2_type(spec):
    stored = np_dtype_of_v2(spec)
    return (DataType.of(stored), stored) if stored.kind != "O" else (typed("string"), stored)


ZERO_TEXT = base64.b64encode(bytes(15)).decode()
MIXED = [["a", "<i4"], ["b", ">f8"], ["c", "|S3"]]
V2 = [
    *(("|b1", value, bool(value)) for value in (True, False, 0, 1, 1.0)),
    ("<i4", 9.0, 9),
    (">i4", -3, -3),
    (">u8", 2**64 - 1, 2**64 - 1),
    ("<i4", [-32767], -32767),
    ("<f4", "NaN", "NaN"),
    ("<f4", "nan", "NaN"),
    (">f4", "inf", "Infinity"),
    ("<f8", "-inf", "-Infinity"),
    ("<f4", "0x3fc00000", 1.5),
    (">f4", "0x7fc00001", "0x7fc00001"),
    ("<f4", -0.0, -0.0),
    ("<f4", 1, 1.0),
    ("<f8", [9.96921e36], 9.96921e36),
    ("<c8", [1, "NaN"], [1.0, "NaN"]),
    (">c16", ["-inf", -0.0], ["-Infinity", -0.0]),
    ("<c8", 0, [0.0, 0.0]),
    ("<c8", [[1, 2]], [1.0, 2.0]),
    ("<M8[s]", 5, 5),
    (">M8[25s]", NAT, NAT),
    ("<M8[s]", "NaT", NAT),
    ("<m8[ns]", 0, 0),
    ("<m8", "NaT", NAT),
    ("|S3", "YWJj", "YWJj"),
    ("|S3", "YQ==", "YQAA"),
    ("|S3", "", "AAAA"),
    ("|S3", 0, "AAAA"),
    ("|S3", "a b", "YSBi"),
    ("|S3", "a", "YQAA"),
    ("|S1", [""], "AA=="),
    (">S1", "", "AA=="),
    (">S1", "x", "eA=="),
    ("|V3", "AQID", "AQID"),
    ("|V3", "AQ==", "AQAA"),
    ("|V3", "", "AAAA"),
    ("|V3", 0, "AAAA"),
    ("<U3", "éb", "éb"),
    (">U3", "éb", "éb"),
    ("<U3", "a\0", "a"),
    ("<U3", "", ""),
    ("<U3", 0, ""),
    (MIXED, "AQAAAEAAAAAAAAAAeAAA", "AQAAAEAAAAAAAAAAeAAA"),
    (MIXED, "AQAAAA==", base64.b64encode(b"\1" + bytes(14)).decode()),
    (MIXED, 0, ZERO_TEXT),
    (MIXED, "", ZERO_TEXT),
    ([["xy", ">u2", [2]], ["t", ">U1"]], "AAEAAgAAAOk=", "AAEAAgAAAOk="),
    ([["b", "bfloat16"], ["i", "int4"]], "gD8P", "gD8P"),
    ("bfloat16", 1.5, 1.5),
    ("bfloat16", "nan", "NaN"),
    ("bfloat16", "0x7f81", "0x7f81"),
    ("float8_e4m3fn", -1, -1.0),
    ("int4", -3.0, -3),
    ("|O", "é", "é"),
    ("|O", "", ""),
    ("|O", 0, ""),
]


@pytest.mark.parametrize(("spec", "value", "canonical"), V2)
def test_a_fill_value_of_v2_has_one_spelling_when_written(spec, value, canonical):
    data_type, stored = v2_type(spec)
    model = read_v2_fill(data_type, stored, value)
    assert exactly(write_v2_fill(data_type, stored, model)) == exactly(canonical)
    again = read_v2_fill(data_type, stored, canonical)
    assert exactly(again) == exactly(model)
    assert np.asarray(fill_scalar(data_type, model)).tobytes() == np.asarray(fill_scalar(data_type, again)).tobytes()


@pytest.mark.parametrize("spec", ["<i4", "<f8", "|S3", "<U3", "|V2", MIXED, "<M8[s]", "bfloat16", "|O", "<c8"])
def test_an_undefined_fill_value_of_v2_stays_so(spec):
    data_type, stored = v2_type(spec)
    assert read_v2_fill(data_type, stored, None) is None
    assert write_v2_fill(data_type, stored, None) is None


def test_fields_of_a_structure_are_in_the_order_that_each_has():
    data_type, stored = v2_type(MIXED)
    model = read_v2_fill(data_type, stored, "AQAAAEAAAAAAAAAAeAAA")  # 01000000 4000000000000000 780000
    assert model == {"a": 1, "b": 2.0, "c": "eAAA"}
    assert fill_scalar(data_type, model).tolist() == (1, 2.0, b"x")


V2_REFUSED = [
    *(("|b1", value) for value in (2, "x", [], {}, [1, 2])),
    *(("<i4", value) for value in (9.5, 2**31, "0", "NaN", True, {}, [], [1, 2], [[1]], "")),
    *(("<f4", value) for value in ("x", True, {}, [1, 2], "0x3f80", "", 10**400)),
    *(("<c8", value) for value in ("NaN", [1, 2, 3], [None, 1], ["x"], {}, True)),
    *(("<M8[s]", value) for value in ("x", 1.5, 2**63, True, [1, 2], {}, "")),
    *(("|S3", value) for value in ("YWJjZA==", "abc d", "日", 5, 1.5, True, [], {}, ["a", "b"])),
    *(("|V3", value) for value in ("AQIDBA==", "x", 5, True, [1, 2, 3], {})),
    *(("<U3", value) for value in ("abcd", 5, True, [], {}, ["a", "b"])),
    *((MIXED, value) for value in ("x", "A", base64.b64encode(bytes(16)).decode(), 5, {}, {"a": 1}, [1, 2], True)),
    *(("bfloat16", value) for value in ("x", "0x7f", True, [], {})),
    *(("float4_e2m1fn", value) for value in ("NaN", "Infinity")),
    *(("int4", value) for value in (8, 1.5, "1")),
    *(("|O", value) for value in (5, 1.5, True, [], ["a"], {})),
]


@pytest.mark.parametrize(("spec", "value"), V2_REFUSED)
def test_what_is_no_fill_value_in_v2_is_refused(spec, value):
    data_type, stored = v2_type(spec)
    with pytest.raises(MetadataError) as caught:
        read_v2_fill(data_type, stored, value)
    assert caught.value.field == "fill_value"


@pytest.mark.parametrize(
    ("value", "canonical"),
    [("YWI=", "YWI="), ("", ""), (0, ""), ("a b", "YSBi"), ([97], "YQ=="), ([97, 98], "YWI=")],
)
def test_bytes_of_any_length_in_v2_are_base64_or_the_text(value, canonical):
    data_type = typed("bytes")
    stored = np.dtype(object)
    if value != [97]:  # of a list of one it cannot be known what it is
        assert write_v2_fill(data_type, stored, read_v2_fill(data_type, stored, value)) == canonical


@pytest.mark.parametrize(
    ("data_type", "stored", "canonical"),
    [(typed("bytes"), np.dtype(object), "w6k="), (typed(**sized("null_terminated_bytes", 3)), np.dtype("S3"), "6QAA")],
    ids=named,
)
def test_a_text_for_bytes_that_is_no_base64_is_the_text(data_type, stored, canonical):
    assert write_v2_fill(data_type, stored, read_v2_fill(data_type, stored, "é")) == canonical


@pytest.mark.parametrize("value", ["\ud800", 5, 1.5, True, {}, [256, 1], [None, 1]])
def test_what_is_no_bytes_in_v2_is_refused(value):
    with pytest.raises(MetadataError):
        read_v2_fill(typed("bytes"), np.dtype(object), value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_base64_of_a_text_of_no_characters_is_refused(order):
    spec = [["a", order + "U1"]]
    with pytest.raises(MetadataError):
        read_v2_fill(*v2_type(spec), "/////w==")
    data_type = record(("a", sized("fixed_length_utf32", 4)), name="structured")
    with pytest.raises(MetadataError):
        read_structured_fill(data_type, "/////w==", {"<": "little", ">": "big"}[order])


# ---- structured: base64 of an element

ELEMENT = record(
    ("a", "int16"), ("t", sized("fixed_length_utf32", 4)), ("b", "bool"), ("f", "bfloat16"), name="structured"
)
ELEMENTS = {
    None: struct.pack("<hI?H", 258, 0xE9, True, 0x3F80),
    "little": struct.pack("<hI?H", 258, 0xE9, True, 0x3F80),
    "big": struct.pack(">hI?H", 258, 0xE9, True, 0x3F80),
}


@pytest.mark.parametrize("endian", ELEMENTS)
def test_a_structured_fill_value_is_in_the_order_of_the_bytes_codec(endian):
    text = base64.b64encode(ELEMENTS[endian]).decode()
    model = read_structured_fill(ELEMENT, text, endian)
    assert model == {"a": 258, "t": "é", "b": True, "f": 1.0}
    assert fill_scalar(ELEMENT, model).tolist() == (258, "é", True, 1.0)
    assert write_structured_fill(ELEMENT, model, endian) == text


def test_a_structured_fill_value_may_be_an_object_as_well():
    model = {"a": 258, "t": "é", "b": True, "f": 1.0}
    assert read_structured_fill(ELEMENT, model, "big") == model


@pytest.mark.parametrize("size", [0, 1, 8, 10, 18])
def test_a_structured_fill_value_of_another_size_is_refused(size):
    with pytest.raises(MetadataError) as caught:
        read_structured_fill(ELEMENT, base64.b64encode(bytes(size)).decode(), "little")
    assert caught.value.field == "fill_value"


@pytest.mark.parametrize("text", ["x", "AAAA AAAA AAAA", "ÄÄÄÄ", "AAAAAAAAAAA", "\ud800"])
def test_a_structured_fill_value_that_is_no_base64_is_refused(text):
    with pytest.raises(MetadataError) as caught:
        read_structured_fill(ELEMENT, text, "little")
    assert caught.value.field == "fill_value"


# ---- cells of fill

FILLS = [
    *((name, value) for name, value, _ in SCALARS),
    *((name, value) for name, value, _ in PAIRS),
    *((given_type, value) for given_type, value, _ in BYTES),
    ("string", "é"),
    ("bytes", "YWI="),
]


@pytest.mark.parametrize(("given_type", "value"), FILLS)
def test_new_cells_of_fill_have_its_bits(given_type, value):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    scalar = fill_scalar(data_type, value)
    fill = Fill(data_type.dtype, scalar)
    for cells in (fill.array((2, 3)), np.zeros((2, 3), data_type.dtype), np.zeros((3, 2), data_type.dtype).T):
        fill.into(cells)
        assert cells.dtype == data_type.dtype
        assert cells.flags.writeable
        if data_type.dtype == object:
            assert cells.tolist() == [[scalar] * 3] * 2
        else:
            assert cells.tobytes() == memory(data_type, scalar) * 6


def covers(data_type, value):
    fill = Fill(data_type.dtype, fill_scalar(data_type, value))
    return fill, [
        fill.array((2, 3)),
        np.asfortranarray(fill.array((2, 3))),
        fill.array((4, 6))[::2, ::2],
        fill.array(()),
    ]


@pytest.mark.parametrize(
    ("given_type", "value"),
    [case for case in FILLS if case[0] not in (TEXT, SHORT)]
    + [(record(("t", sized("fixed_length_utf32", 8))), {"t": "é"})],
)
def test_cells_of_nothing_but_fill_are_known(given_type, value):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    fill, arrays = covers(data_type, value)
    assert all(fill.covers(cells) for cells in arrays)
    assert not fill.covers(fill.array((0, 3)))


@pytest.mark.parametrize(("data_type", "value"), [(TEXT, ""), (TEXT, "é"), (SHORT, ""), (SHORT, "YQ==")], ids=named)
def test_cells_of_nothing_but_a_short_text_are_known(data_type, value):
    fill, arrays = covers(data_type, value)
    assert all(fill.covers(cells) for cells in arrays)


@pytest.mark.parametrize(
    ("given_type", "value", "other"),
    [
        ("float32", 0.0, -0.0),
        ("float32", "NaN", "0x7fc00001"),
        ("bfloat16", "NaN", "0x7f81"),
        ("complex64", [0, 0], [0, -0.0]),
        ("complex_bfloat16", [0, 0], [0, -0.0]),
        ("int4", -1, 7),
        ("bool", False, True),
        (TEXT, "a", "b"),
        (TEXT, "", "\0\0b"),
        (SHORT, "", "AABi"),
        ("r24", [0, 0, 0], [0, 0, 1]),
        (DATE, "NaT", NAT + 1),
        (RECORD, {"a": 0, "t": 0, "p": {"x": 0.0}}, {"a": 0, "t": 0, "p": {"x": -0.0}}),
        ("string", "a", "b"),
        ("string", "", "\0"),
        ("bytes", "", "AA=="),
    ],
)
def test_one_cell_with_other_bits_is_seen_wherever_it_is(given_type, value, other):
    data_type = typed(given_type) if isinstance(given_type, str) else given_type
    fill = Fill(data_type.dtype, fill_scalar(data_type, value))
    for index in np.ndindex(2, 3):
        cells = fill.array((2, 3))
        cells[index] = fill_scalar(data_type, other)
        assert not fill.covers(cells)


@pytest.mark.parametrize("value", [[1, [2]], {"k": 1}, None, 5, "x"])
def test_a_fill_value_that_is_any_object_is_in_every_cell_as_it_is(value):
    fill = Fill(np.dtype(object), value)
    assert fill.array((2,)).tolist() == [value, value]
