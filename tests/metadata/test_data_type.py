"""Data types and fill values: the formats' vectors, and bits that survive the way to JSON and back."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.metadata import DataType, fill_json
from daskzarr.metadata.data_type import fill_scalar, read_v2_dtype, write_v2_dtype

NAMES = (
    ["bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "complex64", "complex128"]
)
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
INTEGERS = [name for name in NAMES if "int" in name]


def fill(name, value):
    return fill_scalar(DataType.named(name), value)


def bits(scalar):
    """The scalar's bits as an unsigned number, big digit first."""
    return int.from_bytes(np.asarray(scalar, scalar.dtype.newbyteorder(">")).tobytes(), "big")


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


@st.composite
def scalars(draw, names=NAMES):
    """Any bits of any type."""
    data_type = DataType.named(draw(st.sampled_from(names)))
    size = data_type.dtype.itemsize
    if data_type.name == "bool":
        return data_type, np.bool_(draw(st.booleans()))
    raw = draw(st.binary(min_size=size, max_size=size))
    return data_type, np.frombuffer(raw, data_type.dtype)[0]


# ---- names and dtypes


@pytest.mark.parametrize("name", NAMES)
def test_a_v3_name_is_a_native_numpy_dtype(name):
    data_type = DataType.named(name)
    assert data_type.dtype == np.dtype(name)
    assert data_type.dtype.isnative
    assert DataType.of(data_type.dtype) == DataType.of(data_type.dtype.newbyteorder(">")) == data_type


@pytest.mark.parametrize("name", ["", "int", "int4", "int128", "float128", "bfloat16", "r24", "string", "Int32", "<i4"])
def test_other_names_are_unsupported(name):
    with pytest.raises(UnsupportedError, match="data type"):
        DataType.named(name)


@pytest.mark.parametrize("dtype", ["M8[ns]", "m8[s]", "U4", "S4", "V8", "O", "g", "G", [("a", "i4")], ("i4", (2,))])
def test_other_dtypes_are_unsupported(dtype):
    with pytest.raises(UnsupportedError):
        DataType.of(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_v2_strings_are_read_and_written(name):
    dtype = np.dtype(name)
    orders = {"little": "<", "big": ">"} if dtype.itemsize > 1 else {None: "|"}
    for endian, order in orders.items():
        text = f"{order}{dtype.kind}{dtype.itemsize}"
        assert read_v2_dtype(text) == (DataType.named(name), endian)
        assert write_v2_dtype(DataType.named(name), endian) == text == dtype.newbyteorder(order).str


@pytest.mark.parametrize("order", ["|", "<", ">"])
@pytest.mark.parametrize("kind", ["b", "i", "u"])
def test_the_byte_order_of_one_byte_means_nothing(order, kind):
    assert read_v2_dtype(f"{order}{kind}1") == (DataType.of(f"{kind}1"), None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "i4", "=i4", "<i4 ", "int32", "bfloat16", "int4"),
        *("<i3", "<i0", "<i16", "<f1", "<f16", "<c32", "<b2", "<i99999999999999999999"),
        *("|O", "|S4", "<U4", "|V8", "<M8[ns]", "<m8"),
        *(None, 4, True, {}, [["a", "<i4"]], ["<i4"]),
    ],
)
def test_other_v2_dtypes_are_unsupported(text):
    with pytest.raises(UnsupportedError) as caught:
        read_v2_dtype(text)
    assert caught.value.field == "dtype"


@pytest.mark.parametrize("text", ["|i2", "|u8", "|f4", "|c8"])
def test_several_bytes_without_an_order_are_refused(text):
    with pytest.raises(MetadataError) as caught:
        read_v2_dtype(text)
    assert caught.value.field == "dtype"


# ---- fill values read


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bool", True, 1),
        ("bool", False, 0),
        ("bool", 1, 1),
        ("bool", 0, 0),
        ("int8", -128, 0x80),
        ("uint8", 255, 0xFF),
        ("int16", 9.0, 9),
        ("int64", -(2**63), 2**63),
        ("int64", 2**53 + 1, 2**53 + 1),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("uint64", 2**63 + 1, 2**63 + 1),
        ("float16", 1.5, 0x3E00),
        ("float16", "0x3e00", 0x3E00),
        ("float16", "0x3E00", 0x3E00),
        ("float32", 1.5, 0x3FC00000),
        ("float32", "0x3fc00000", 0x3FC00000),
        ("float32", 3, 0x40400000),
        ("float16", "NaN", 0x7E00),
        ("float32", "NaN", 0x7FC00000),
        ("float64", "NaN", 0x7FF8000000000000),
        ("float16", "Infinity", 0x7C00),
        ("float32", "Infinity", 0x7F800000),
        ("float32", "-Infinity", 0xFF800000),
        ("float64", "-Infinity", 0xFFF0000000000000),
        ("float16", -0.0, 0x8000),
        ("float32", -0.0, 0x80000000),
        ("float64", -0.0, 0x8000000000000000),
        ("float32", "0x7fc00001", 0x7FC00001),
        ("float32", "0xffc00000", 0xFFC00000),
        ("float32", "0x7f800001", 0x7F800001),
        ("float64", "0x7ff0000000000001", 0x7FF0000000000001),
        ("float64", 5e-324, 1),
        ("complex64", [1, 2], 0x3F80000040000000),
        ("complex64", ["NaN", "-Infinity"], 0x7FC00000FF800000),
        ("complex64", ["0x7fc00001", -0.0], 0x7FC0000180000000),
        ("complex128", [-0.0, "Infinity"], 0x80000000000000007FF0000000000000),
    ],
)
def test_fill_values_read_to_the_bits_they_say(name, value, expected):
    scalar = fill(name, value)
    assert scalar.dtype == np.dtype(name)
    parts = [scalar] if name not in COMPLEX else [scalar.real, scalar.imag]
    width = 8 * scalar.dtype.itemsize // len(parts)
    assert sum(bits(part) << (width * i) for i, part in enumerate(reversed(parts))) == expected


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    ("spelling", "usual"),
    [("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity"), ("+Infinity", "Infinity")],
)
def test_spellings_met_in_the_wild_are_read(name, spelling, usual):
    assert bits(fill(name, spelling)) == bits(fill(name, usual))


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
    ],
)
def test_numbers_are_rounded_half_to_even(name, value, expected):
    assert fill(name, value) == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_undefined_fill_value_reads_as_zero(name):
    assert fill(name, None).tobytes() == bytes(np.dtype(name).itemsize)


WRONG = {
    "bool": [2, -1, 0.5, "true", "", [], [True], {}],
    "int": [9.5, "9", "NaN", float("nan"), float("inf"), True, False, [1], {}, "0x01"],
    "float": ["", "x", "NAN", "1.5", True, False, [], [1.0], {}, "0x", "0X3e00", "0x3e", "3e00"],
    "complex": ["NaN", True, [], [1], [1, 2, 3], [1, "x"], [None, 1], [True, 0], {}, [[1, 2], 3], "0x3fc00000"],
}


def wrong_fills():
    for name in NAMES:
        for value in WRONG[name.strip("u").rstrip("0123456789")]:
            yield name, value
    for name in INTEGERS:
        info = np.iinfo(name)
        yield name, int(info.max) + 1
        yield name, int(info.min) - 1
        yield name, 1e300
    for name in FLOATS:
        digits = 2 * np.dtype(name).itemsize
        for count in (digits - 2, digits - 1, digits + 1, 2 * digits):
            yield name, "0x" + "1" * count
        yield name, "0x" + "g" * digits
        yield name, "0x" + "-" + "1" * (digits - 1)
        yield name, "0x" + " " + "1" * (digits - 1)
        yield name, "0x1_" + "1" * (digits - 2)
        yield name, "0x" + "٣" * digits
        yield name, 10**400


@pytest.mark.parametrize(("name", "value"), list(wrong_fills()))
def test_what_is_no_fill_value_of_the_type_is_refused(name, value):
    with pytest.raises(MetadataError) as caught:
        fill(name, value)
    assert caught.value.field == "fill_value"


@pytest.mark.parametrize("name", COMPLEX)
def test_a_number_beyond_the_range_of_a_complex_type_is_infinite_as_for_floats(name):
    assert fill(name, [1e39, -1e39]).real == (np.inf if name == "complex64" else 1e39)
    assert fill(name, 1e39).real == (np.inf if name == "complex64" else 1e39)


# ---- fill values written


@given(scalars())
def test_any_bits_survive_the_way_to_json_and_back(typed):
    data_type, scalar = typed
    spelled = through_json(fill_json(data_type, scalar))
    assert fill_scalar(data_type, spelled).tobytes() == scalar.tobytes()


@given(scalars())
def test_the_spelling_is_a_fixed_point(typed):
    data_type, scalar = typed
    spelled = fill_json(data_type, scalar)
    assert json.dumps(fill_json(data_type, through_json(spelled))) == json.dumps(spelled)


@given(scalars(FLOATS + COMPLEX))
def test_only_the_one_usual_nan_is_written_by_name(typed):
    data_type, scalar = typed
    spelled = fill_json(data_type, scalar)
    for part, text in zip(
        [scalar.real, scalar.imag], spelled if isinstance(spelled, list) else [spelled], strict=False
    ):
        if np.isnan(part):
            usual = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}[part.dtype.itemsize]
            assert text == ("NaN" if bits(part) == usual else f"0x{bits(part):0{2 * part.dtype.itemsize}x}")
        else:
            assert text == float(part) or text == ("Infinity" if part > 0 else "-Infinity")


@pytest.mark.parametrize(
    ("name", "value", "spelled"),
    [
        ("bool", 0, False),
        ("bool", np.True_, True),
        ("int8", 7.0, 7),
        ("int16", np.int64(-3), -3),
        ("uint64", np.uint64(2**64 - 1), 2**64 - 1),
        ("float32", 1, 1.0),
        ("float32", float("nan"), "NaN"),
        ("float32", -float("inf"), "-Infinity"),
        ("float32", "nan", "NaN"),
        ("float32", "0x3fc00000", 1.5),
        ("float64", np.float32(0.5), 0.5),
        ("float32", np.array(2.5), 2.5),
        ("complex64", 1 + 2j, [1.0, 2.0]),
        ("complex64", complex("nan+infj"), ["NaN", "Infinity"]),
        ("complex128", 3, [3.0, 0.0]),
        ("complex128", np.complex64(1j), [0.0, 1.0]),
        ("int32", None, 0),
        ("float32", None, 0.0),
    ],
)
def test_what_people_pass_gets_its_one_spelling(name, value, spelled):
    found = fill_json(DataType.named(name), value)
    assert json.dumps(found) == json.dumps(spelled)


@pytest.mark.parametrize("name", FLOATS)
def test_the_sign_of_zero_is_kept(name):
    assert json.dumps(fill_json(DataType.named(name), -0.0)) == "-0.0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_scalar_of_either_byte_order_is_spelled_alike(order):
    value = np.array(0x7FC12345, f"{order}u4").view(f"{order}f4")
    assert fill_json(DataType.named("float32"), value) == "0x7fc12345"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int8", 128),
        ("int8", 1.5),
        ("uint8", -1),
        ("uint8", float("nan")),
        ("int32", "1"),
        ("int32", 1j),
        ("float32", 1j),
        ("float32", "x"),
        ("float32", np.zeros(1)),
        ("float32", [1.0]),
        ("bool", 2),
        ("complex64", "x"),
        ("int32", object()),
    ],
)
def test_what_does_not_fit_the_type_is_refused(name, value):
    with pytest.raises(MetadataError) as caught:
        fill_json(DataType.named(name), value)
    assert caught.value.field == "fill_value"
