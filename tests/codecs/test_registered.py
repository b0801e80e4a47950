"""The codecs of the Zarr v3 extension registry: vectors, exact oracles, peers, and configurations they refuse."""

import ctypes
import json
import math
import struct
import warnings
from fractions import Fraction

import numcodecs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daskzarr.codecs import BytesSpec, ChunkSpec, CodecPipeline
from daskzarr.codecs.cast_value import cast_numbers
from daskzarr.codecs.registry import codec_class
from daskzarr.errors import CodecError, DaskZarrError, UnknownCodecError, UnsupportedError
from daskzarr.metadata import DataType, NamedConfig

FEW = settings(deadline=None, max_examples=25)
MANY = settings(deadline=None, max_examples=120)
LITTLE = NamedConfig("bytes", {"endian": "little"})
ROUNDINGS = ["nearest-even", "towards-zero", "towards-positive", "towards-negative", "nearest-away"]
SMALL_FLOATS = [
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"),
    *("float8_e4m3fnuz", "float8_e4m3fn", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "bfloat16"),
]
INTEGERS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
SMALL_INTEGERS = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4}


def unhex(text):
    return bytes.fromhex(text)


def dtype_of(name):
    if name in SMALL_FLOATS or name in SMALL_INTEGERS or "float8" in name or "float6" in name or "bfloat" in name:
        pytest.importorskip("ml_dtypes")
    return DataType.named(name).dtype


def spec_of(shape, name, fill=0):
    dtype = dtype_of(name)
    return ChunkSpec(shape, dtype, np.array(fill).astype(dtype)[()])


def on_array(name, configuration, shape, dtype, fill=0):
    return codec_class(name).from_config(configuration, spec_of(shape, dtype, fill))


def on_bytes(name, configuration, size, itemsize=1):
    return codec_class(name).from_config(configuration, BytesSpec(size, itemsize))


def any_bits(name, count, seed=0):
    """Elements of arbitrary bits, of those that mean something."""
    dtype = dtype_of(name)
    raw = np.random.default_rng(seed).integers(0, 256, count * dtype.itemsize, "u1")
    part = name.removeprefix("complex_")
    used = 1 if name == "bool" else SMALL_INTEGERS.get(part, {"float4": 4, "float6": 6}.get(part[:6], 8))
    return (raw & ((1 << used) - 1)).view(dtype)


def bits_of(array):
    return np.ascontiguousarray(array).tobytes()


def as_carrier(array):
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")


# ---- bitround

SAMPLES = [0.0, 0.1, 1.2, 12.3, 123.4, 1234.5, math.nan, math.inf, -math.inf]
ROUNDED = [0.0, 0.1015625, 1.25, 12.0, 120.0, 1280.0, math.nan, math.inf, -math.inf]


def bitround_oracle_float(bits, size, mantissa, keepbits):
    """Rounding to the nearest, ties to even, by comparing with both neighbours."""
    sign, magnitude = bits >> (8 * size - 1), bits & (1 << (8 * size - 1)) - 1
    if magnitude >= (1 << (8 * size - 1)) - (1 << mantissa) or keepbits >= mantissa:
        return bits
    step = 1 << (mantissa - keepbits)
    down = magnitude // step * step
    up = down + step
    if magnitude - down != up - magnitude:
        found = down if magnitude - down < up - magnitude else up
    else:
        found = down if down // step % 2 == 0 else up
    return sign << (8 * size - 1) | found


def bitround_oracle_integer(value, low, high, keepbits):
    """Rounding of the magnitude from its highest bit on."""
    step = 1 << max(0, abs(value).bit_length() - keepbits)
    down, rest = abs(value) // step, abs(value) % step
    up = 2 * rest > step or (2 * rest == step and down % 2)
    sign = -1 if value < 0 else 1
    found = sign * (down + up) * step
    return found if low <= found <= high else sign * down * step


def test_bitround_rounds_the_samples_of_the_registry():
    codec = on_array("bitround", {"keepbits": 3}, (9,), "float32")
    assert np.array_equal(codec.encode(np.array(SAMPLES, "f4")), np.array(ROUNDED, "f4"), equal_nan=True)
    codec = on_array("bitround", {"keepbits": 3}, (10,), "uint8")
    found = codec.encode(np.array([0, 1, 10, 11, 100, 123, 200, 208, 209, 255], "u1"))
    assert found.tolist() == [0, 1, 10, 12, 96, 128, 192, 192, 224, 224]


@pytest.mark.parametrize("name", ["bitround", "numcodecs.bitround"])
def test_bitround_of_sevenths(name):
    codec = on_array(name, {"keepbits": 3}, (6,), "float32")
    found = codec.encode(np.arange(6, dtype="f4") / np.float32(7))
    assert bits_of(found) == unhex("00000000 0000103e 0000903e 0000e03e 0000103f 0000303f")


def test_bitround_decodes_to_what_is_there():
    array = np.arange(6, dtype="f4") / 7
    assert on_array("bitround", {"keepbits": 1}, (6,), "float32").decode(array) is array


@pytest.mark.parametrize(("name", "mantissa"), [("float16", 10), ("float32", 23), ("float64", 52), ("bfloat16", 7)])
@FEW
@given(st.data())
def test_bitround_rounds_floats_to_the_nearest(name, mantissa, data):
    size = dtype_of(name).itemsize
    words = st.integers(0, 2 ** (8 * size) - 1) | st.integers(0, 2**16 - 1).map(lambda n: n << (8 * size - 16))
    bits = data.draw(st.lists(words, min_size=1, max_size=9))
    keepbits = data.draw(st.integers(1, mantissa + 2))
    codec = on_array("bitround", {"keepbits": keepbits}, (len(bits),), name)
    found = codec.encode(np.array(bits, f"u{size}").view(codec.spec.dtype))
    assert found.dtype == codec.spec.dtype
    expected = [bitround_oracle_float(word, size, mantissa, keepbits) for word in bits]
    assert as_carrier(found).tolist() == expected


@MANY
@given(st.sampled_from(list(INTEGERS)), st.data())
def test_bitround_rounds_integers_from_their_highest_bit(name, data):
    info = np.iinfo(name)
    near = st.integers(0, INTEGERS[name]).map(lambda n: 2**n)
    numbers = st.integers(int(info.min), int(info.max)) | st.builds(
        lambda n, d, s: max(int(info.min), min(int(info.max), s * (n + d))),
        near,
        st.integers(-5, 5),
        st.sampled_from([1, -1]),
    )
    values = data.draw(st.lists(numbers, min_size=1, max_size=9))
    keepbits = data.draw(st.integers(1, INTEGERS[name] + 1))
    codec = on_array("bitround", {"keepbits": keepbits}, (len(values),), name)
    expected = [bitround_oracle_integer(value, int(info.min), int(info.max), keepbits) for value in values]
    assert codec.encode(np.array(values, name)).tolist() == expected


def test_bitround_never_makes_a_time_none():
    codec = on_array("bitround", {"keepbits": 3}, (4,), "int64")
    codec = type(codec).from_config({"keepbits": 3}, ChunkSpec((4,), np.dtype("M8[s]"), np.datetime64(0, "s")))
    times = np.array([-(2**63), -(2**63) + 1, 2**63 - 1, 1234567], "i8").view("M8[s]")
    assert codec.encode(times).view("i8").tolist() == [-(2**63), -(7 * 2**60), 7 * 2**60, 5 * 2**18]


@pytest.mark.parametrize("name", ["complex64", "complex128", "complex_bfloat16", "complex_float16"])
def test_bitround_rounds_both_parts_of_complex_numbers(name):
    parts = {"complex64": "float32", "complex128": "float64"}.get(name, name.removeprefix("complex_"))
    bits = any_bits(parts, 12, seed=5)
    codec = on_array("bitround", {"keepbits": 2}, (2, 3), name)
    found = codec.encode(bits.view(codec.spec.dtype).reshape(2, 3))
    expected = on_array("bitround", {"keepbits": 2}, (12,), parts).encode(bits)
    assert bits_of(found) == bits_of(expected)
    assert found.shape == (2, 3)


@pytest.mark.parametrize(("name", "mantissa"), [("float16", 10), ("float32", 23), ("float64", 52)])
@FEW
@given(st.data())
def test_bitround_under_numcodecs_name_gives_its_bits(name, mantissa, data):
    size = dtype_of(name).itemsize
    bits = data.draw(st.lists(st.integers(0, 2 ** (8 * size) - 1), min_size=1, max_size=9))
    keepbits = data.draw(st.integers(0, mantissa))
    array = np.array(bits, f"u{size}").view(name)
    with np.errstate(over="ignore"):
        expected = np.asarray(numcodecs.BitRound(keepbits).encode(array)).view(name)
    codec = on_array("numcodecs.bitround", {"keepbits": keepbits, "other": 1}, (len(bits),), name)
    found = codec.encode(array)
    same = ~np.isnan(array) | np.isnan(expected)
    assert as_carrier(found)[same].tolist() == as_carrier(expected)[same].tolist()
    assert np.isnan(found)[~same].all()  # numcodecs makes numbers of some NaNs


def test_bitround_rounds_the_fill_value_too():
    assert on_array("bitround", {"keepbits": 3}, (2,), "float32", 1234.5).encoded_spec().fill_value == 1280
    spec = on_array("bitround", {"keepbits": 3}, (2,), "int16", -9999).encoded_spec()
    assert (spec.fill_value, spec.fill_value.dtype) == (-10240, np.dtype("int16"))


def test_bitround_leaves_the_array_it_is_given_alone():
    array = np.arange(7, dtype="f4").reshape(7, 1)[::-1] / 7
    before = array.copy()
    found = on_array("bitround", {"keepbits": 1}, (7, 1), "float32").encode(array)
    assert np.array_equal(array, before)
    assert not np.shares_memory(array, found)
    assert found.shape == (7, 1)
    assert on_array("bitround", {"keepbits": 1}, (), "float32").encode(np.array(1.3, "f4")).shape == ()


# ---- packbits (v3)

BOOLS = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1, 0], bool)


def packbits_oracle(values, width, first):
    """One number after the other, bit by bit."""
    bits = [value >> (first + i) & 1 for value in values for i in range(width)]
    bits += [0] * (-len(bits) % 8)
    return bytes(sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))


@pytest.mark.parametrize(
    ("padding", "expected"), [("none", "8d01"), ("first_byte", "068d01"), ("last_byte", "8d0106"), (None, "8d01")]
)
def test_packbits_puts_the_first_bool_in_the_lowest_bit(padding, expected):
    codec = on_array("packbits", {"padding_encoding": padding} if padding else {}, (10,), "bool")
    assert bytes(codec.encode(BOOLS)) == unhex(expected)
    found = codec.decode(unhex(expected))
    assert found.dtype == bool
    assert np.array_equal(found, BOOLS)
    assert found.flags.writeable


def test_packbits_of_two_small_numbers():
    codec = on_array("packbits", {}, (2,), "uint4")
    assert bytes(codec.encode(np.array([0b1011, 0b0001]).astype(codec.spec.dtype))) == b"\x1b"


PACKED = [
    *(
        "bool",
        "int2",
        "uint2",
        "int4",
        "uint4",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
    ),
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3", "float8_e5m2", "float4_e2m1fn", "float6_e2m3fn"),
    *("float6_e3m2fn", "complex64", "complex128", "complex_float32", "complex_bfloat16", "complex_float16"),
    *("complex_float4_e2m1fn", "complex_float6_e3m2fn", "complex_float8_e4m3"),
]


def layout(name):
    """Bits of a number, numbers of an element, and the bytes of a number in memory."""
    part = {"complex64": "float32", "complex128": "float64"}.get(name, name.removeprefix("complex_"))
    count = 2 if name.startswith("complex") else 1
    size = dtype_of(name).itemsize // count
    bits = 1 if part == "bool" else SMALL_INTEGERS.get(part, {"float4": 4, "float6": 6}.get(part[:6], 8 * size))
    return bits, count, size


@pytest.mark.parametrize("name", PACKED)
@settings(deadline=None, max_examples=6)
@given(st.data())
def test_packbits_is_the_bits_one_after_the_other(name, data):
    bits, _, size = layout(name)
    shape = tuple(data.draw(st.lists(st.integers(1, 5), max_size=3)))
    first = data.draw(st.integers(0, bits - 1))
    last = data.draw(st.integers(first, bits - 1))
    padding = data.draw(st.sampled_from(["none", "first_byte", "last_byte"]))
    options = {"padding_encoding": padding, "first_bit": first, "last_bit": last}
    codec = on_array("packbits", options, shape, name)
    array = any_bits(name, math.prod(shape), data.draw(st.integers(0, 2**32))).reshape(shape)
    numbers = np.ascontiguousarray(array).reshape(-1).view(f"u{size}").tolist()
    width = last - first + 1
    expected = packbits_oracle(numbers, width, first)
    told = bytes([-width * len(numbers) % 8])
    expected = (told if padding == "first_byte" else b"") + expected + (told if padding == "last_byte" else b"")
    assert bytes(codec.encode(array)) == expected
    assert codec.encoded_spec().size == len(expected)
    found = codec.decode(expected)
    assert (found.dtype, found.shape, found.flags.writeable) == (array.dtype, shape, True)
    kept = [number & (1 << last + 1) - (1 << first) for number in numbers]
    if name.startswith("int"):
        kept = [number | (number >> last & 1) * ((1 << bits) - (1 << last + 1)) for number in kept]
    assert np.ascontiguousarray(found).reshape(-1).view(f"u{size}").tolist() == kept


@pytest.mark.parametrize("width", [1, 3, 6, 7, 8, 12, 17, 24, 31, 33, 40, 63, 64])
def test_packbits_of_more_numbers_than_are_worked_on_at_once(width):
    dtype = f"uint{max(8, 1 << (width - 1).bit_length())}"
    numbers = any_bits(dtype, 2**17 + 13, width) >> (8 * np.dtype(dtype).itemsize - width)
    codec = on_array("packbits", {"last_bit": width - 1}, (len(numbers),), dtype)
    encoded = bytes(codec.encode(numbers))
    assert encoded[-width - 2 * width :] == packbits_oracle(numbers[-29:].tolist(), width, 0)[-3 * width :]
    assert np.array_equal(codec.decode(encoded), numbers)


def test_packbits_writes_whole_bytes_as_the_bytes_codec_does():
    for name in ("int32", "float64", "complex64"):
        array = any_bits(name, 6).reshape(2, 3)
        plain = on_array("bytes", {"endian": "little"}, (2, 3), name).encode(array)
        assert bytes(on_array("packbits", {"first_bit": None, "last_bit": None}, (2, 3), name).encode(array)) == plain


def test_packbits_reads_fewer_bits_of_signed_numbers_with_their_sign():
    codec = on_array("packbits", {"first_bit": 1, "last_bit": 4}, (4,), "int16")
    assert codec.decode(codec.encode(np.array([-2, 14, -16, 5], "i2"))).tolist() == [-2, 14, -16, 4]


@pytest.mark.parametrize("padding", ["none", "first_byte", "last_byte"])
def test_packbits_refuses_another_number_of_bytes_and_another_padding(padding):
    codec = on_array("packbits", {"padding_encoding": padding, "last_bit": 2}, (5,), "uint8")
    encoded = bytes(codec.encode(np.arange(5, dtype="u1")))
    for damaged in (encoded[:-1], encoded + b"\0", b"", encoded * 2):
        with pytest.raises(CodecError):
            codec.decode(damaged)
    if padding != "none":
        at = 0 if padding == "first_byte" else -1
        for told in (0, 2, 9, 255):
            damaged = bytearray(encoded)
            damaged[at] = told
            with pytest.raises(CodecError):
                codec.decode(bytes(damaged))


@pytest.mark.parametrize(
    "name", ["bool", "uint4", "int4", "uint2", "uint8", "int16", "uint32", "int64", "float32", "bfloat16", "complex64"]
)
@pytest.mark.parametrize("options", [{}, {"first_bit": 1, "last_bit": 6, "padding_encoding": "last_byte"}])
def test_packbits_writes_what_zarrs_writes(name, options, tmp_path):
    internal = pytest.importorskip("zarrs._internal")
    from zarr.storage import LocalStore

    bits, _, size = layout(name)
    options = {key: value if key == "padding_encoding" else min(value, bits - 1) for key, value in options.items()}
    array = any_bits(name, 15).reshape(3, 5)
    document = {
        "zarr_format": 3, "node_type": "array", "shape": [3, 5], "data_type": name, "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 5]}},
        "chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "packbits", "configuration": options}],
        "fill_value": {"b": False, "c": [0.0, 0.0], "f": 0.0}.get(name[0], 0) if name != "bfloat16" else 0.0,
    }  # fmt: skip
    (tmp_path / "c" / "0").mkdir(parents=True)
    pipeline = internal.CodecPipelineImpl(json.dumps(document), store_config=LocalStore(tmp_path))
    box = [slice(0, 3), slice(0, 5)]
    plain = array if name in ("bool", "complex64") else array.view(f"u{size}")
    pipeline.store_chunks_with_indices([internal.ChunkItem("c/0/0", box, [3, 5], box, [3, 5])], plain, True)
    codec = on_array("packbits", options, (3, 5), name)
    assert bytes(codec.encode(array)) == (tmp_path / "c/0/0").read_bytes()


# ---- packbits (numcodecs)


def test_numcodecs_packbits_puts_the_first_bool_in_the_highest_bit():
    codec = on_array("numcodecs.packbits", {}, (2, 5), "bool")
    found = codec.encode(BOOLS.reshape(2, 5))
    assert (bits_of(found), found.dtype, found.shape) == (unhex("06b180"), np.dtype("u1"), (3,))
    assert np.array_equal(codec.decode(found), BOOLS.reshape(2, 5))
    state = codec.encoded_spec()
    assert (state.shape, state.dtype, state.fill_value) == ((3,), np.dtype("u1"), 0)


@FEW
@given(st.lists(st.integers(1, 6), max_size=3), st.integers(0, 2**32))
def test_numcodecs_packbits_gives_the_bytes_of_numcodecs(shape, seed):
    array = any_bits("bool", math.prod(shape), seed).reshape(shape)
    codec = on_array("numcodecs.packbits", {"novel": 1}, tuple(shape), "bool")
    encoded = codec.encode(array)
    assert bits_of(encoded) == bits_of(numcodecs.PackBits().encode(array))
    assert encoded.shape == codec.encoded_spec().shape
    assert np.array_equal(codec.decode(encoded), array)


def test_numcodecs_packbits_packs_a_transposed_chunk_in_c_order():
    configs = [NamedConfig("transpose", {"order": [1, 0]}), NamedConfig("numcodecs.packbits"), NamedConfig("bytes")]
    pipeline = CodecPipeline.resolve(configs, spec_of((2, 5), "bool"))
    array = BOOLS.reshape(2, 5)
    assert bytes(pipeline.encode(array)) == bits_of(numcodecs.PackBits().encode(array.T.copy()))
    assert np.array_equal(pipeline.decode(pipeline.encode(array)), array)


@pytest.mark.parametrize("told", [0, 5, 7, 8, 255])
def test_numcodecs_packbits_refuses_another_padding(told):
    codec = on_array("numcodecs.packbits", {}, (10,), "bool")
    with pytest.raises(CodecError):
        codec.decode(np.array([told, 0xB1, 0x80], "u1"))


@pytest.mark.parametrize("name", ["uint8", "int8", "float32"])
def test_numcodecs_packbits_takes_bools_only(name):
    with pytest.raises(UnknownCodecError):
        on_array("numcodecs.packbits", {}, (8,), name)


# ---- reshape


@pytest.mark.parametrize(
    ("shape", "entries", "expected"),
    [
        ((100, 50, 64, 3), [[0, 1], [2], 3], (5000, 64, 3)),
        ((2, 3, 4), [-1], (24,)),
        ((2, 3, 4), [[0], -1], (2, 12)),
        ((2, 3, 4), [-1, [2]], (6, 4)),
        ((2, 3, 4), [2, [1], 4], (2, 3, 4)),
        ((2, 3, 4), [[0, 1, 2]], (24,)),
        ((2, 3, 4), [6, 2, 2], (6, 2, 2)),
        ((2, 3, 4, 5, 6), [[0, 1], 4, [3, 4]], (6, 4, 30)),
        ((2, 1, 3), [[0, 2]], (6,)),
        ((2, 3), [[], [0, 1], []], (1, 6, 1)),
        ((), [], ()),
        ((), [1, -1], (1, 1)),
        ((1,), [], ()),
        ((5,), [1, 5, [], 1], (1, 5, 1, 1)),
    ],
)
def test_reshape_keeps_the_cells_in_c_order(shape, entries, expected):
    codec = on_array("reshape", {"shape": entries}, shape, "int32")
    array = np.arange(math.prod(shape), dtype="i4").reshape(shape)
    found = codec.encode(array)
    assert found.shape == codec.encoded_spec().shape == expected
    assert np.array_equal(found.reshape(-1), array.reshape(-1))
    assert np.array_equal(codec.decode(found), array)
    assert np.array_equal(codec.encode(np.asfortranarray(array)), found)


@pytest.mark.parametrize(
    "entries",
    [
        None, 24, "24", {}, [0], [-2, -12], [-1, -1], [5], [5, -1], [2.0, 12], [True, 24], ["2", 12], [None], [[[0]]],
        [[1], [0], 4], [[1, 0], 4], [[0, 0], -1], [[0], [0], -1], [[3], -1], [[-1], -1], [[True], -1], [[0, 2], 3],
        [4, [1], 2], [[1], 8], [12, [0]], [6, [0]], [[2], 6], [10**30, -1], [2**63, -1], [1] * 33 + [24],
        [[0, 1], 4, 1, [0]], [24, 0],
    ],
)  # fmt: skip
def test_reshape_refuses_what_does_not_fit(entries):
    with pytest.raises(UnknownCodecError):
        on_array("reshape", {"shape": entries}, (2, 3, 4), "int32")


def test_reshape_tells_the_next_codec_its_shape():
    configs = [NamedConfig("reshape", {"shape": [[0, 1], 4]}), NamedConfig("transpose", {"order": [1, 0]}), LITTLE]
    pipeline = CodecPipeline.resolve(configs, spec_of((2, 3, 4), "int16", 7))
    array = np.arange(24, dtype="i2").reshape(2, 3, 4)
    assert bytes(pipeline.encode(array)) == bits_of(array.reshape(6, 4).T.copy())
    assert np.array_equal(pipeline.decode(pipeline.encode(array)), array)
    assert pipeline.arrays[0].encoded_spec().fill_value == 7


# ---- scale_offset


def test_scale_offset_in_the_type_of_the_array():
    codec = on_array("scale_offset", {"offset": 5, "scale": 0.1}, (4,), "float32", 15)
    array = np.array([5, 6, 1000.5, -3], "f4")
    found = codec.encode(array)
    assert found.dtype == np.float32
    assert found.tolist() == ((array - np.float32(5)) * np.float32(0.1)).tolist()
    assert codec.encoded_spec().fill_value == np.float32(1)
    assert codec.decode(found).tolist() == (found / np.float32(0.1) + np.float32(5)).tolist()


def test_scale_offset_brings_numbers_into_a_smaller_range():
    configs = [NamedConfig("scale_offset", {"offset": 1000}), NamedConfig("cast_value", {"data_type": "uint8"}), LITTLE]
    pipeline = CodecPipeline.resolve(configs, spec_of((3,), "uint16", 1000))
    array = np.array([1000, 1001, 1255], "u2")
    assert bytes(pipeline.encode(array)) == unhex("0001ff")
    assert pipeline.decode(unhex("0001ff")).tolist() == array.tolist()
    with pytest.raises(CodecError):
        pipeline.encode(np.array([1256, 1000, 1001], "u2"))
    with pytest.raises(CodecError):
        pipeline.encode(np.array([999, 1000, 1001], "u2"))


def scale_offset_oracle(value, offset, scale, low, high, decode):
    """With integers of any size; None where a step has no result."""
    if decode:
        if value % scale:
            return None
        steps = (value // scale, value // scale + offset)
    else:
        steps = (value - offset, (value - offset) * scale)
    return steps[1] if all(low <= step <= high for step in steps) else None


@pytest.mark.parametrize("decode", [False, True])
@MANY
@given(st.sampled_from([*INTEGERS, *SMALL_INTEGERS]), st.data())
def test_scale_offset_of_integers_is_exact_or_refused(decode, name, data):
    bits = INTEGERS.get(name) or SMALL_INTEGERS[name]
    low, high = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    numbers = st.integers(low, high) | st.integers(max(low, -9), min(high, 9)) | st.sampled_from([low, high])
    offset, scale = data.draw(numbers), data.draw(numbers.filter(bool))
    try:
        codec = on_array("scale_offset", {"offset": offset, "scale": scale}, (1,), name, offset)
    except UnknownCodecError:
        assert not low <= 0 <= high
        return
    for value in data.draw(st.lists(numbers | st.just(offset), min_size=1, max_size=6)):
        expected = scale_offset_oracle(value, offset, scale, low, high, decode)
        array = np.array([value]).astype(codec.spec.dtype)
        try:
            found = (codec.decode if decode else codec.encode)(array)
        except CodecError:
            assert expected is None, (value, offset, scale, expected)
            continue
        assert (int(found[0]), found.dtype) == (expected, codec.spec.dtype), (value, offset, scale)
        if not decode:
            assert int(codec.decode(found)[0]) == value


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "bfloat16", "float8_e4m3", "float8_e5m2"])
@FEW
@given(st.data())
def test_scale_offset_of_floats_rounds_each_step(name, data):
    numbers = st.sampled_from([*(n / 8 for n in range(-16, 17)), 100.0, 0.001, 7e4, 1e30, -200.0])
    offset, scale, value = data.draw(numbers), data.draw(numbers.filter(bool)), data.draw(numbers)
    dtype = dtype_of(name)
    rounded = [cast_numbers(np.array([x]), dtype, beyond="clamp").astype("f8")[0] for x in (offset, scale, value)]
    assume(np.isfinite(rounded).all() and rounded[1])
    codec = on_array("scale_offset", {"offset": rounded[0], "scale": rounded[1]}, (1,), name, rounded[0])
    offset, scale, value = map(Fraction, rounded)
    steps = exactly(value - offset, name, "nearest-even", None)
    steps = steps and exactly(steps[0] * scale, name, "nearest-even", None)
    array = np.array(rounded[2:]).astype(dtype)
    if steps is None:
        with pytest.raises(CodecError):
            codec.encode(array)
    else:
        assert Fraction(float(codec.encode(array)[0])) == steps[0]


def test_scale_offset_lets_nan_and_infinity_pass():
    codec = on_array("scale_offset", {"offset": 1, "scale": -2}, (3,), "float32", math.nan)
    found = codec.encode(np.array([math.nan, math.inf, -math.inf], "f4"))
    assert np.array_equal(found, np.array([math.nan, -math.inf, math.inf], "f4"), equal_nan=True)
    assert np.isnan(codec.encoded_spec().fill_value)
    assert np.array_equal(codec.decode(found), np.array([math.nan, math.inf, -math.inf], "f4"), equal_nan=True)


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "bfloat16"])
def test_scale_offset_refuses_floats_that_get_too_large(name):
    codec = on_array("scale_offset", {"scale": 4096}, (2,), name)
    large = np.array([np.inf, 3.0]).astype(codec.spec.dtype)
    as_carrier(large)[0] -= 1
    with pytest.raises(CodecError):
        codec.encode(large)


def test_scale_offset_spells_its_numbers_as_fill_values():
    codec = on_array("scale_offset", {"offset": "0x3fc00000", "scale": 2}, (1,), "float32")
    assert codec.encode(np.array([2.5], "f4")).tolist() == [2.0]


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        *(("float32", {member: value}) for member in ("offset", "scale")
          for value in (None, True, "x", [1], {}, "NaN", "Infinity", 1e300, [1, 0], "0x3fc0")),
        *(("int16", {member: value}) for member in ("offset", "scale")
          for value in (1.5, 40000, -40000, None, False, "1")),
        ("float32", {"scale": 0}), ("int8", {"scale": 0}), ("float32", {"scale": -0.0}),
        ("uint8", {"offset": -1}), ("uint8", {"offset": 1}), ("int16", {"novel": 1}), ("bool", {}), ("complex64", {}),
    ],
)  # fmt: skip
def test_scale_offset_refuses_what_it_cannot_calculate_with(name, configuration):
    with pytest.raises(UnknownCodecError):
        on_array("scale_offset", configuration, (2,), name)


# ---- cast_value

# Bits behind the point, exponent of the least normal number, greatest number, whether there are infinities and NaNs.
FORMATS = {
    "float16": (10, -14, Fraction(65504), True, True),
    "bfloat16": (7, -126, Fraction(2) ** 127 * (2 - Fraction(1, 2**7)), True, True),
    "float32": (23, -126, Fraction(2) ** 127 * (2 - Fraction(1, 2**23)), True, True),
    "float64": (52, -1022, Fraction(2) ** 1023 * (2 - Fraction(1, 2**52)), True, True),
    "float8_e3m4": (4, -2, Fraction(31, 2), True, True),
    "float8_e4m3": (3, -6, Fraction(240), True, True),
    "float8_e4m3b11fnuz": (3, -10, Fraction(30), False, True),
    "float8_e4m3fnuz": (3, -7, Fraction(240), False, True),
    "float8_e4m3fn": (3, -6, Fraction(448), False, True),
    "float8_e5m2": (2, -14, Fraction(57344), True, True),
    "float8_e5m2fnuz": (2, -15, Fraction(57344), False, True),
    "float8_e8m0fnu": (0, -127, Fraction(2) ** 127, False, True),
    "float6_e2m3fn": (3, 0, Fraction(15, 2), False, False),
    "float6_e3m2fn": (2, -2, Fraction(28), False, False),
    "float4_e2m1fn": (1, 0, Fraction(6), False, False),
}
REAL = [*FORMATS, *INTEGERS, *SMALL_INTEGERS]


def rounded_by_hand(value, mode):
    """A fraction as an integer."""
    down = math.floor(value)
    rest = value - down
    if rest == 0 or mode == "towards-negative":
        return down
    if mode == "towards-positive":
        return down + 1
    if mode == "towards-zero":
        return down if value > 0 else down + 1
    if rest != Fraction(1, 2):
        return down + (rest > Fraction(1, 2))
    if mode == "nearest-even":
        return down + down % 2
    return down + (value > 0)


def exactly(value, target, mode, beyond):
    """What a number (a fraction, or a float that is none) becomes, as a list of one; None where it is refused."""
    none = isinstance(value, float)
    if target in INTEGERS or target in SMALL_INTEGERS:
        bits = INTEGERS.get(target) or SMALL_INTEGERS[target]
        low, high = (0, 2**bits - 1) if target[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if none:
            return None
        found = rounded_by_hand(value, mode)
        if low <= found <= high:
            return [Fraction(found)]
        if beyond == "wrap":
            return [Fraction((found - low) % 2**bits + low)]
        return [Fraction(min(max(found, low), high))] if beyond == "clamp" else None
    mantissa, lowest, high, infinite, nan = FORMATS[target]
    low = Fraction(2) ** -127 if target == "float8_e8m0fnu" else -high
    if none and (math.isnan(value) or infinite):
        return [value] if infinite or nan else None
    found = value
    if not none and value:
        exponent = abs(value).numerator.bit_length() - abs(value).denominator.bit_length()
        exponent -= Fraction(2) ** exponent > abs(value)
        step = Fraction(2) ** (max(exponent, lowest) - mantissa)
        found = rounded_by_hand(value / step, mode) * step
    if low <= found <= high:
        return [found]
    if beyond != "clamp":
        return None
    return [math.copysign(math.inf, found) if infinite else high if found > high else low]


def exact_value(array):
    """The only element as a fraction, or as the float it is where that is none."""
    name = array.dtype.name
    if "int" in name:
        return Fraction(int(array[0]))
    number = float(array[0])
    return Fraction(number) if math.isfinite(number) else number


def same_value(found, expected):
    return found == expected or (found != found and expected != expected)


@st.composite
def real_numbers(draw, name):
    """An array of one number: of any bits, or near one where rounding changes its mind."""
    dtype = dtype_of(name)
    if draw(st.booleans()):
        return any_bits(name, 1, draw(st.integers(0, 2**32)))
    whole = draw(st.integers(-20, 20)) * Fraction(1, draw(st.sampled_from([1, 2, 4, 8, 16])))
    number = whole * Fraction(2) ** draw(st.integers(-20, 60)) + draw(st.sampled_from([0, 1, -1]))
    found = exactly(number, name, "nearest-even", "clamp")[0]
    if "int" in name:
        return np.array([int(found)], "u8" if found > 0 else "i8").astype(dtype)
    found = np.array([float(found)]).astype(dtype)
    if dtype.itemsize > 2 and np.isfinite(found[0]):
        found = np.nextafter(found, draw(st.sampled_from([found, found + 1, found - 1])))
    return found


@pytest.mark.parametrize("mode", ROUNDINGS)
@MANY
@given(st.sampled_from(REAL), st.sampled_from(REAL), st.data())
def test_casting_is_exact_arithmetic(mode, source, target, data):
    beyond = data.draw(st.sampled_from([None, "clamp", "wrap"] if "int" in target else [None, "clamp"]))
    array = data.draw(real_numbers(source))
    expected = exactly(exact_value(array), target, mode, beyond)
    try:
        found = cast_numbers(array, dtype_of(target), mode, beyond)
    except CodecError:
        assert expected is None, (array, mode, beyond)
        return
    assert expected is not None, (array, found, mode, beyond)
    assert found.dtype == dtype_of(target)
    assert same_value(exact_value(found), expected[0]), (array, found, mode, beyond, expected)
    if "float" in source and "float" in target and "fnuz" not in target and exact_value(found) == 0:
        assert math.copysign(1, float(found[0])) == math.copysign(1, float(array[0]))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("nearest-even", [2, 2, -2, -2, 0]),
        ("towards-zero", [1, 2, -1, -2, 0]),
        ("towards-positive", [2, 3, -1, -2, 1]),
        ("towards-negative", [1, 2, -2, -3, 0]),
        ("nearest-away", [2, 3, -2, -3, 0]),
    ],
)
def test_cast_value_rounds_as_it_is_told(rounding, expected):
    codec = on_array("cast_value", {"data_type": "int8", "rounding": rounding}, (5,), "float32")
    found = codec.encode(np.array([1.5, 2.5, -1.5, -2.5, 0.49999997], "f4"))
    assert (found.tolist(), found.dtype) == (expected, np.dtype("int8"))


@pytest.mark.parametrize(("beyond", "expected"), [(None, None), ("clamp", 127), ("wrap", -128)])
def test_cast_value_beyond_the_range(beyond, expected):
    options = {"data_type": "int8"} | ({"out_of_range": beyond} if beyond else {})
    codec = on_array("cast_value", options, (1,), "float32")
    if expected is None:
        with pytest.raises(CodecError):
            codec.encode(np.array([128.0], "f4"))
    else:
        assert codec.encode(np.array([128.0], "f4")).tolist() == [expected]
    assert codec.encode(np.array([127.4], "f4")).tolist() == [127]


@pytest.mark.parametrize("beyond", [None, "clamp", "wrap"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_cast_value_makes_no_integer_of_what_is_no_number(value, beyond):
    options = {"data_type": "int8"} | ({"out_of_range": beyond} if beyond else {})
    codec = on_array("cast_value", options, (2,), "float64")
    with pytest.raises(CodecError):
        codec.encode(np.array([3.0, value]))


def test_cast_value_rounds_large_integers_from_all_their_bits():
    array = np.array([2**64 - 1, 2**53 + 1], "u8")
    expected = {
        "nearest-even": [2.0**64, 2.0**53],
        "towards-zero": [2.0**64 - 2048, 2.0**53],
        "towards-positive": [2.0**64, 2.0**53 + 2],
        "towards-negative": [2.0**64 - 2048, 2.0**53],
        "nearest-away": [2.0**64, 2.0**53 + 2],
    }
    for rounding, numbers in expected.items():
        codec = on_array("cast_value", {"data_type": "float64", "rounding": rounding}, (2,), "uint64")
        assert codec.encode(array).tolist() == numbers


def test_cast_value_wraps_huge_floats():
    codec = on_array("cast_value", {"data_type": "uint8", "out_of_range": "wrap"}, (4,), "float64")
    assert codec.encode(np.array([2.0**127, -(2.0**70), 257.0, -1.0])).tolist() == [0, 0, 1, 255]
    codec = on_array("cast_value", {"data_type": "int64", "out_of_range": "wrap"}, (3,), "float64")
    assert codec.encode(np.array([2.0**63, -(2.0**63) - 2048, 2.0**64 + 4096])).tolist() == [
        -(2**63),
        2**63 - 2048,
        4096,
    ]


def test_cast_value_keeps_negative_zero_and_nan_between_floats():
    codec = on_array("cast_value", {"data_type": "float32"}, (4,), "float64")
    found = codec.encode(np.array([-0.0, math.nan, -math.inf, 1e-300]))
    assert bits_of(found[[0, 2, 3]]) == bits_of(np.array([-0.0, -math.inf, 0.0], "f4"))
    assert np.isnan(found[1])
    assert np.signbit(codec.decode(found)).tolist()[0]


def test_cast_value_maps_what_it_is_told_before_all_else():
    options = {
        "data_type": "uint8",
        "scalar_map": {
            "encode": [[1.5, 42], ["NaN", 7], [1.5, 43], ["Infinity", 255]],
            "decode": [[7, "NaN"], [42, 1.5]],
        },
    }
    codec = on_array("cast_value", options, (2, 3), "float32", math.nan)
    array = np.array([[1.5, math.nan, math.inf], [200, 1.4, 8]], "f4")
    assert codec.encode(array).tolist() == [[42, 7, 255], [200, 1, 8]]
    assert codec.decode(np.array([[42, 7, 1]] * 2, "u1")).tolist()[0][0] == 1.5
    assert np.isnan(codec.decode(np.array([[42, 7, 1]] * 2, "u1"))[0, 1])
    state = codec.encoded_spec()
    assert (state.fill_value, state.fill_value.dtype, state.dtype) == (7, np.uint8, np.dtype("uint8"))
    with pytest.raises(CodecError):
        codec.encode(-array)


def test_cast_value_maps_integers_that_a_float_would_blur():
    options = {"data_type": "float64", "scalar_map": {"encode": [[2**53 + 1, -1]], "decode": [[-1, 2**53 + 1]]}}
    codec = on_array("cast_value", options, (3,), "int64")
    array = np.array([2**53, 2**53 + 1, 2**53 + 2])
    assert codec.encode(array).tolist() == [2.0**53, -1, 2.0**53 + 2]
    assert codec.decode(codec.encode(array)).tolist() == array.tolist()


def test_cast_value_refuses_to_decode_what_the_array_cannot_hold():
    codec = on_array("cast_value", {"data_type": "int16"}, (2,), "uint8")
    assert codec.decode(np.array([0, 255], "i2")).tolist() == [0, 255]
    for bad in (-1, 256):
        with pytest.raises(CodecError):
            codec.decode(np.array([3, bad], "i2"))


@pytest.mark.parametrize(
    ("name", "fill", "options"),
    [
        ("float32", math.nan, {"data_type": "uint8"}),
        ("float32", 0.5, {"data_type": "uint8"}),
        ("float32", 300, {"data_type": "uint8", "out_of_range": "clamp"}),
        ("int16", 300, {"data_type": "uint8", "out_of_range": "wrap"}),
        ("int64", 2**53 + 1, {"data_type": "float64"}),
        ("float64", 0.1, {"data_type": "float32"}),
        ("float32", math.nan, {"data_type": "uint8", "scalar_map": {"encode": [["NaN", 0]]}}),
        ("int16", -1, {"data_type": "uint16"}),
    ],
)
def test_cast_value_refuses_a_fill_value_that_does_not_come_back(name, fill, options):
    with pytest.raises(UnknownCodecError, match="fill value"):
        on_array("cast_value", options, (2,), name, fill)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("float32", {"data_type": value}) for value in
          (None, 1, [], {}, "uint7", "bool", "complex64", "string", "numpy.datetime64", "r8", "v2.dtype",
           {"name": "r16"},
           {"name": "uint8", "configuration": {"x": 1}}, {"name": "uint8", "must_understand": False})),
        ("float32", {}), ("bool", {"data_type": "uint8"}), ("complex64", {"data_type": "float32"}),
        *(("float32", {"data_type": "uint8", "rounding": value}) for value in ("up", None, 1, [], "Nearest-even")),
        *(("float32", {"data_type": "uint8", "out_of_range": value}) for value in ("error", None, True, {})),
        ("float32", {"data_type": "float16", "out_of_range": "wrap"}), ("float32", {"data_type": "uint8", "novel": 1}),
        *(("float32", {"data_type": "uint8", "scalar_map": value}) for value in
          (None, [], {"encode": {}}, {"encode": [[1]]}, {"encode": [[1, 2, 3]]}, {"encode": [1]}, {"other": []},
           {"encode": [[1, 256]]}, {"encode": [[1, "NaN"]]}, {"decode": [["NaN", 1]]}, {"encode": [[True, 1]]},
           {"encode": [[None, 1]]}, {"encode": [["x", 1]]}, {"encode": [[1, 1.5]]}, {"encode": None})),
    ],
)  # fmt: skip
def test_cast_value_refuses_what_means_nothing(name, options):
    with pytest.raises(UnknownCodecError):
        on_array("cast_value", options, (2,), name)


def test_cast_value_takes_a_data_type_that_is_spelled_as_an_object():
    codec = on_array("cast_value", {"data_type": {"name": "uint8"}}, (2,), "float32")
    assert codec.encoded_spec().dtype == np.dtype("uint8")


def test_scaled_and_cast_numbers_take_the_place_of_fixedscaleoffset():
    configs = [
        NamedConfig("scale_offset", {"offset": 10, "scale": 0.1}),
        NamedConfig("cast_value", {"data_type": "uint8", "out_of_range": "wrap"}),
        LITTLE,
    ]
    pipeline = CodecPipeline.resolve(configs, spec_of((6,), "float32", 10))
    array = np.array([10, 20, 1234, 2570, 2580, 3000.2], "f4")
    peer = numcodecs.FixedScaleOffset(offset=10, scale=0.1, dtype="f4", astype="u1")
    with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
        first = peer.encode(array[:4]).tolist()
    assert list(pipeline.encode(array))[:4] == first
    assert list(pipeline.encode(array)) == [0, 1, 122, 0, 1, 43]


@pytest.mark.parametrize("name", ["float32", "int16", "uint64", "bfloat16", "int4"])
def test_codecs_on_numbers_take_a_chunk_without_axes(name):
    for codec, configuration in [
        ("cast_value", {"data_type": "float64"}),
        ("scale_offset", {}),
        ("bitround", {"keepbits": 2}),
    ]:
        if codec == "bitround" and name == "int4":
            continue
        found = on_array(codec, configuration, (), name)
        array = np.array(3).astype(found.spec.dtype)
        assert found.encode(array).shape == found.decode(found.encode(array)).shape == ()
        assert float(found.decode(found.encode(array))) == 3


# ---- zfp

ZFP_MODES = [
    {"mode": "reversible"},
    {"mode": "fixed_accuracy", "tolerance": 0.05},
    {"mode": "fixed_accuracy", "tolerance": 0},
    {"mode": "fixed_rate", "rate": 11.5},
    {"mode": "fixed_precision", "precision": 19},
    {"mode": "expert", "minbits": 1, "maxbits": 16658, "maxprec": 64, "minexp": -5},
    {"mode": "expert", "minbits": 96, "maxbits": 96, "maxprec": 64, "minexp": -1074},
    {"mode": "expert", "minbits": 0, "maxbits": 16658, "maxprec": 17, "minexp": -1074},
    {"mode": "expert", "minbits": 0, "maxbits": 20000, "maxprec": 64, "minexp": -1075},
]
EXPERT_ONLY = [
    {"mode": "expert", "minbits": 40, "maxbits": 300, "maxprec": 20, "minexp": -10},
    {"mode": "expert", "minbits": 1, "maxbits": 16658, "maxprec": 20, "minexp": -10},
    {"mode": "expert", "minbits": 99, "maxbits": 99, "maxprec": 12, "minexp": -1074},
    {"mode": "expert", "minbits": 5, "maxbits": 16658, "maxprec": 64, "minexp": -1075},
]


class Zfp:
    """zfp as a C program would use it, in its expert mode."""

    def __init__(self, shape, dtype, mode):
        zfpy = pytest.importorskip("zfpy")
        self.library = library = ctypes.CDLL(zfpy.__file__)
        if not hasattr(library, "zfp_stream_set_params"):
            pytest.skip("zfpy does not give access to zfp")
        new_field = getattr(library, f"zfp_field_{len(shape)}d")
        for function in (new_field, library.zfp_stream_open, library.stream_open):
            function.restype = ctypes.c_void_p
        for function in (library.zfp_stream_maximum_size, library.zfp_compress, library.zfp_decompress):
            function.restype = ctypes.c_size_t
        self.array = np.zeros(shape, dtype)
        kind = {"int32": 1, "int64": 2, "float32": 3, "float64": 4}[self.array.dtype.name]
        memory = ctypes.c_void_p(self.array.ctypes.data)
        self.field = ctypes.c_void_p(new_field(memory, kind, *map(ctypes.c_size_t, shape[::-1])))
        self.stream = ctypes.c_void_p(library.zfp_stream_open(None))
        parameters = mode["minbits"], mode["maxbits"], mode["maxprec"], mode["minexp"]
        assert library.zfp_stream_set_params(self.stream, *parameters)

    def run(self, function, memory):
        """Compress or decompress, and tell how many bytes of the memory that takes."""
        start = ctypes.cast(memory, ctypes.c_void_p)
        bits = ctypes.c_void_p(self.library.stream_open(start, ctypes.c_size_t(len(memory))))
        self.library.zfp_stream_set_bit_stream(self.stream, bits)
        self.library.zfp_stream_rewind(self.stream)
        size = function(self.stream, self.field)
        assert size
        return size

    def compress(self, array):
        self.array[...] = array
        memory = ctypes.create_string_buffer(self.library.zfp_stream_maximum_size(self.stream, self.field) + 64)
        size = self.run(self.library.zfp_compress, memory)
        return memory.raw[:size]

    def decompress(self, data):
        assert self.run(self.library.zfp_decompress, ctypes.create_string_buffer(data + bytes(9999))) == len(data)
        return self.array


def waves(shape, dtype):
    """Numbers that change slowly, no two alike."""
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    found = sum((np.sin(axis * (0.3 + 0.1 * i)) + axis for i, axis in enumerate(axes)), np.zeros(shape)) * 100
    return found.astype(dtype)


@pytest.mark.parametrize("mode", ZFP_MODES, ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_zfp_writes_and_reads_zfps_own_streams(dtype, mode):
    zfpy = pytest.importorskip("zfpy")
    for shape in [(), (1,), (9,), (5, 7), (3, 4, 6), (2, 3, 4, 5)]:
        codec = on_array("zfp", mode, shape, dtype)
        array = waves(shape, dtype)
        encoded = codec.encode(array)
        arguments = codec.mode.arguments
        assert encoded == zfpy.compress_numpy(array.reshape(shape or (1,)), write_header=False, **arguments)
        found = codec.decode(encoded)
        assert (found.dtype, found.shape, found.flags.writeable) == (array.dtype, shape, True)
        with_header = zfpy.decompress_numpy(zfpy.compress_numpy(array.reshape(shape or (1,)), **arguments))
        assert bits_of(found) == bits_of(with_header)
        if codec.mode.reversible:
            assert bits_of(found) == bits_of(array)
        elif mode.get("tolerance") and array.dtype.kind == "f":
            assert np.abs(found - array).max() <= mode["tolerance"]


@pytest.mark.parametrize("mode", [mode for mode in ZFP_MODES if mode["mode"] == "expert"] + EXPERT_ONLY, ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_zfp_reads_what_zfp_wrote_with_expert_parameters(dtype, mode):
    for shape in [(9,), (5, 7), (3, 4, 6), (2, 3, 4, 5)]:
        array = waves(shape, dtype)
        stream = Zfp(shape, dtype, mode).compress(array)
        codec = on_array("zfp", mode, shape, dtype)
        assert bits_of(codec.decode(stream)) == bits_of(Zfp(shape, dtype, mode).decompress(stream))
        if mode not in EXPERT_ONLY:
            assert codec.encode(array) == stream
            continue
        for write in (codec.check_can_write, lambda: codec.encode(array)):  # noqa: B023
            with pytest.raises(UnsupportedError):
                write()
        for cut in (len(stream) // 2, len(stream)):
            with pytest.raises(CodecError):
                codec.decode(stream[:-cut])


@pytest.mark.parametrize(
    "name",
    ["int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16", "uint32", "uint64", "float16", "bfloat16"],
)
def test_zfp_stores_other_types_as_those_it_knows(name):
    zfpy = pytest.importorskip("zfpy")
    array = any_bits(name, 20, seed=4).reshape(4, 5)
    if name in ("uint32", "uint64"):
        array //= 2
    codec = on_array("zfp", {"mode": "reversible"}, (4, 5), name)
    encoded = codec.encode(array)
    assert bits_of(codec.decode(encoded)) == bits_of(array)
    kind = {"float16": 3, "bfloat16": 3, "uint64": 2}.get(name, 1)
    stored = zfpy._decompress(encoded + bytes(1000), kind, (4, 5))
    if "float" in name or name in ("uint32", "uint64"):
        assert np.array_equal(stored, array.astype(stored.dtype), equal_nan=True)
    else:
        bits = int(name.rpartition("int")[2])
        centre = 2 ** (bits - 1) if name[0] == "u" else 0
        assert stored.tolist() == ((array.astype("i8") - centre) << (31 - bits)).tolist()


def test_zfp_with_a_loss_stays_in_the_range_of_a_small_type():
    pytest.importorskip("zfpy")
    codec = on_array("zfp", {"mode": "fixed_precision", "precision": 7}, (8, 8), "uint8")
    array = np.where(np.indices((8, 8)).sum(0) % 3, 255, 0).astype("u1")
    found = codec.decode(codec.encode(array)).astype(int)
    assert 0 < np.abs(found - array).max() < 32  # and none went round the corner


def test_zfp_stores_times_as_integers():
    pytest.importorskip("zfpy")
    spec = ChunkSpec((3,), np.dtype("M8[ns]"), np.datetime64("NaT"))
    codec = codec_class("zfp").from_config({"mode": "reversible"}, spec)
    times = np.array(["2024-02-29T12:00", "NaT", "1677-12-31"], "M8[ns]")
    assert bits_of(codec.decode(codec.encode(times))) == bits_of(times)


@pytest.mark.parametrize("name", ["uint32", "uint64"])
def test_zfp_refuses_numbers_beyond_what_it_stores(name):
    pytest.importorskip("zfpy")
    codec = on_array("zfp", {"mode": "reversible"}, (2,), name)
    with pytest.raises(CodecError):
        codec.encode(np.array([1, 2 ** (INTEGERS[name] - 1)], name))
    signed = on_array("zfp", {"mode": "reversible"}, (2,), name[1:])
    with pytest.raises(CodecError):
        codec.decode(signed.encode(np.array([1, -1], name[1:])))


@pytest.mark.parametrize("codec", ["zfp", "numcodecs.zfpy"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float32", math.nan), ("float64", math.inf), ("int32", 2**30), ("int32", -(2**30) - 1), ("int64", 2**62)],
)
def test_zfp_with_a_loss_refuses_what_would_spoil_its_neighbours(codec, dtype, value):
    pytest.importorskip("zfpy")
    lossy = {"zfp": {"mode": "fixed_rate", "rate": 16}, "numcodecs.zfpy": {"mode": 2, "rate": 16}}[codec]
    exact = {"zfp": {"mode": "reversible"}, "numcodecs.zfpy": {}}[codec]
    array = np.array([1, 2, value, 4], dtype)
    with pytest.raises(CodecError):
        on_array(codec, lossy, (4,), dtype).encode(array)
    found = on_array(codec, exact, (4,), dtype)
    assert bits_of(found.decode(found.encode(array))) == bits_of(array)


@pytest.mark.parametrize("mode", ZFP_MODES[:5], ids=str)
def test_zfp_finds_that_a_stream_was_cut(mode):
    pytest.importorskip("zfpy")
    codec = on_array("zfp", mode, (20, 21), "float32")
    encoded = codec.encode(waves((20, 21), "float32"))
    whole = codec.decode(encoded)
    for size in range(0, len(encoded), 5):
        try:
            found = codec.decode(encoded[:size])
        except CodecError:
            continue
        assert size > len(encoded) - 8  # what fills the last word means nothing
        assert bits_of(found) == bits_of(whole)
    with pytest.raises(CodecError):
        codec.decode(encoded + bytes(5000))


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        *(("float32", configuration) for configuration in (
            {}, {"mode": 5}, {"mode": None}, {"mode": []}, {"mode": "rate"}, {"mode": "reversible", "rate": 1},
            {"mode": "fixed_accuracy"}, {"mode": "fixed_accuracy", "tolerance": -1},
            {"mode": "fixed_accuracy", "tolerance": "1"},
            {"mode": "fixed_accuracy", "tolerance": True}, {"mode": "fixed_accuracy", "tolerance": math.nan},
            {"mode": "fixed_accuracy", "tolerance": 10**400}, {"mode": "fixed_accuracy", "tolerance": math.inf},
            {"mode": "fixed_rate"}, {"mode": "fixed_rate", "rate": -1}, {"mode": "fixed_rate", "rate": 1e300},
            {"mode": "fixed_rate", "rate": None}, {"mode": "fixed_precision"},
            {"mode": "fixed_precision", "precision": -1},
            {"mode": "fixed_precision", "precision": 1.0}, {"mode": "fixed_precision", "precision": True},
            {"mode": "expert"}, {"mode": "expert", "minbits": 1, "maxbits": 16658, "maxprec": 64},
            {"mode": "expert", "minbits": 9, "maxbits": 8, "maxprec": 64, "minexp": 0},
            {"mode": "expert", "minbits": 0, "maxbits": 8, "maxprec": 64, "minexp": 0},
            {"mode": "expert", "minbits": 0, "maxbits": 800, "maxprec": 65, "minexp": 0},
            {"mode": "expert", "minbits": 0, "maxbits": 800, "maxprec": 64, "minexp": 0.5},
            {"mode": "expert", "minbits": 2**20, "maxbits": 2**21, "maxprec": 64, "minexp": 0},
        )),
        ("bool", {"mode": "reversible"}), ("complex64", {"mode": "reversible"}),
        ("float8_e4m3", {"mode": "reversible"}),
    ],
)  # fmt: skip
def test_zfp_refuses_what_it_cannot_do(name, configuration):
    pytest.importorskip("zfpy")
    with pytest.raises(UnknownCodecError):
        on_array("zfp", configuration, (4,), name)


def test_zfp_refuses_five_axes():
    for codec in ("zfp", "numcodecs.zfpy"):
        with pytest.raises(UnknownCodecError):
            on_array(codec, {"mode": "reversible"} if codec == "zfp" else {}, (1, 1, 2, 2, 2), "float32")


@pytest.mark.parametrize("codec", ["zfp", "numcodecs.zfpy"])
@pytest.mark.parametrize("failure", [ImportError, ValueError])
def test_zfp_says_which_package_is_missing(codec, failure, monkeypatch):
    def fail(name):
        raise failure(name)

    monkeypatch.setattr("daskzarr.codecs.zfp_stream.import_module", fail)
    with pytest.raises(UnknownCodecError, match="pip install zfpy"):
        on_array(codec, {"mode": "reversible"} if codec == "zfp" else {}, (4,), "float32")


ZFPY_MODES = [{}, {"mode": 4, "tolerance": 0.01}, {"mode": 2, "rate": 12.0}, {"mode": 3, "precision": 17}]


@pytest.mark.parametrize("configuration", ZFPY_MODES, ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_zfpy_writes_and_reads_what_numcodecs_does(dtype, configuration):
    pytest.importorskip("zfpy")
    from numcodecs.zfpy import ZFPY

    peer = ZFPY(**configuration)
    for shape in [(9,), (5, 7), (3, 4, 6), (2, 3, 4, 5)]:
        array = waves(shape, dtype)
        codec = on_array("numcodecs.zfpy", peer.get_config() | {"novel": 1}, shape, dtype)
        encoded = codec.encode(array)
        assert encoded == peer.encode(array)
        assert encoded[:4] == b"zfp\x05"
        assert bits_of(codec.decode(encoded)) == bits_of(peer.decode(encoded))
        assert codec.decode(peer.encode(array.reshape(-1))).shape == shape


def test_zfpy_of_mode_5_and_of_negative_values_loses_nothing():
    pytest.importorskip("zfpy")
    array = np.array([1e-30, math.nan, -0.0, 1e30], "f4")
    for configuration in ({"mode": 5}, {"mode": 2, "rate": -1}, {"mode": 3, "precision": -1}, {"tolerance": -1}):
        codec = on_array("numcodecs.zfpy", configuration, (4,), "float32")
        assert bits_of(codec.decode(codec.encode(array))) == bits_of(array)


def test_zfpy_compares_the_header_with_the_chunk():
    zfpy = pytest.importorskip("zfpy")
    codec = on_array("numcodecs.zfpy", {}, (4, 5), "float32")
    for other in (waves((4, 6), "f4"), waves((4, 5), "f8"), waves((4, 5), "i4"), waves((2, 2, 4), "f4")):
        with pytest.raises(CodecError):
            codec.decode(zfpy.compress_numpy(other))
    encoded = codec.encode(waves((4, 5), "f4"))
    for damaged in (b"", b"zfp\x05", encoded[:11], encoded[:16], b"zfp\x04" + encoded[4:], encoded[:-8], encoded * 30):
        with pytest.raises(CodecError):
            codec.decode(damaged)
    huge = struct.pack("<4sQ", b"zfp\x05", 0b10_00 | 2**47)  # a type and 2^43 numbers
    with pytest.raises(CodecError):
        codec.decode(huge + bytes(40))


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("uint8", {}), ("float16", {}), ("bool", {}), ("float32", {"mode": 1}), ("float32", {"mode": 6}),
        ("float32", {"mode": "4"}), ("float32", {"mode": True}), ("float32", {"tolerance": "x"}),
        ("float32", {"mode": 2, "rate": 1e9}), ("float32", {"mode": 3, "precision": 1.5}),
    ],
)  # fmt: skip
def test_zfpy_refuses_what_it_cannot_do(name, configuration):
    pytest.importorskip("zfpy")
    with pytest.raises(UnknownCodecError):
        on_array("numcodecs.zfpy", configuration, (4,), name)


# ---- conditional

GZIP = {"name": "gzip", "configuration": {"level": 5}}
CRC = {"name": "crc32c"}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
NOISE = np.random.default_rng(3).integers(0, 256, 64, "u1").tobytes()
PLAIN = bytes(range(8)) * 8


def test_conditional_says_whether_its_codecs_were_applied():
    codec = on_bytes("conditional", {"codecs": [GZIP]}, 64)
    assert bytes(codec.encode(NOISE)) == b"\x00" + NOISE
    assert bytes(codec.encode(PLAIN)) == b"\x01" + bytes(on_bytes("gzip", GZIP["configuration"], 64).encode(PLAIN))
    for data in (NOISE, PLAIN):
        assert bytes(codec.decode(codec.encode(data))) == data


@pytest.mark.parametrize("mask", range(8))
@pytest.mark.parametrize("bits", [None, 8, 16, 24])
def test_conditional_undoes_what_the_header_names(mask, bits):
    configs = [GZIP, CRC, ZSTD]
    options = {"codecs": configs} | ({"header_bits": bits} if bits else {})
    codec = on_bytes("conditional", options, 64)
    data, size = PLAIN, 64
    for i, config in enumerate(configs):
        if mask >> i & 1:
            data = bytes(on_bytes(config["name"], config.get("configuration", {}), size).encode(data))
            size = None
    stored = mask.to_bytes((bits or 8) // 8, "little") + data
    assert bytes(codec.decode(stored)) == PLAIN
    memory = np.zeros(64, "u1")
    assert bytes(codec.decode(stored, memory)) == PLAIN


def test_conditional_counts_its_bits_from_the_lowest_of_the_first_byte():
    codec = on_bytes("conditional", {"codecs": [GZIP] * 9 + [CRC]}, 64)
    stored = b"\x00\x02" + bytes(on_bytes("crc32c", {}, 64).encode(PLAIN))
    assert bytes(codec.decode(stored)) == PLAIN


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x00" + PLAIN[:-1], b"\x00" + PLAIN + b"\x01", b"\x02" + PLAIN, b"\x80" + PLAIN]
)
def test_conditional_refuses_damaged_data(data):
    with pytest.raises(CodecError):
        on_bytes("conditional", {"codecs": [GZIP]}, 64).decode(data)


def test_conditional_without_codecs_adds_nothing():
    codec = on_bytes("conditional", {"codecs": []}, 64)
    assert bytes(codec.encode(PLAIN)) == PLAIN
    assert codec.encoded_spec().size == 64
    codec = on_bytes("conditional", {"codecs": [], "header_bits": 16}, 64)
    assert bytes(codec.encode(PLAIN)) == b"\0\0" + PLAIN
    assert codec.encoded_spec().size == 66


def test_conditional_checks_a_checksum_inside():
    codec = on_bytes("conditional", {"codecs": [CRC]}, None)
    stored = bytearray(b"\x01" + bytes(on_bytes("crc32c", {}, 64).encode(PLAIN)))
    assert bytes(codec.decode(bytes(stored))) == PLAIN
    stored[9] ^= 1
    with pytest.raises(CodecError):
        codec.decode(bytes(stored))


def nested(depth):
    config = GZIP
    for _ in range(depth):
        config = {"name": "conditional", "configuration": {"codecs": [config]}}
    return config["configuration"]


def test_conditional_codecs_stand_in_each_other_but_not_too_deep():
    codec = on_bytes("conditional", nested(8), 64)
    assert bytes(codec.decode(codec.encode(PLAIN))) == PLAIN
    for depth in (9, 20, 5000):
        with pytest.raises(UnknownCodecError):
            on_bytes("conditional", nested(depth), 64)


@pytest.mark.parametrize(
    "configuration",
    [
        {}, {"codecs": None}, {"codecs": {}}, {"codecs": "gzip"}, {"codecs": [1]}, {"codecs": [None]}, {"codecs": [{}]},
        {"codecs": ["x.unknown"]}, {"codecs": ["bytes"]},
        {"codecs": [{"name": "transpose", "configuration": {"order": []}}]},
        {"codecs": [{"name": "gzip", "configuration": {"level": 99}}]}, {"codecs": [GZIP], "novel": 1},
        {"codecs": [{"name": "x.unknown", "must_understand": False}]}, {"codecs": [GZIP], "header_bits": 0},
        {"codecs": [GZIP], "header_bits": 12}, {"codecs": [GZIP], "header_bits": "8"},
        {"codecs": [GZIP], "header_bits": 8.0},
        {"codecs": [GZIP] * 9, "header_bits": 8}, {"codecs": [GZIP], "header_bits": 2**40},
        {"codecs": [GZIP], "header_bits": True},
        {"codecs": [GZIP], "header_bits": None}, {"codecs": [GZIP], "header_bits": -8},
    ],
)  # fmt: skip
def test_conditional_refuses_what_means_nothing(configuration):
    with pytest.raises(DaskZarrError):
        on_bytes("conditional", configuration, 64)


# ---- what all of them refuse


@pytest.mark.parametrize("keepbits", [0, -1, True, 1.0, "3", None, [], 2**31])
def test_bitround_refuses_what_is_no_number_of_bits(keepbits):
    with pytest.raises(UnknownCodecError):
        on_array("bitround", {"keepbits": keepbits}, (2,), "float32")


@pytest.mark.parametrize("name", ["bool", "int4", "float8_e4m3", "complex_float8_e4m3"])
def test_bitround_refuses_types_without_bits_to_drop(name):
    with pytest.raises(UnknownCodecError):
        on_array("bitround", {"keepbits": 2}, (2,), name)
    with pytest.raises(UnknownCodecError):
        on_array("numcodecs.bitround", {"keepbits": 2}, (2,), name)


@pytest.mark.parametrize(
    "configuration",
    [
        {"padding_encoding": "end"}, {"padding_encoding": None}, {"padding_encoding": []}, {"first_bit": -1},
        {"first_bit": 8}, {"last_bit": 8}, {"first_bit": 3, "last_bit": 2}, {"first_bit": True}, {"last_bit": 1.0},
        {"last_bit": "7"}, {"novel": 1},
    ],
)  # fmt: skip
def test_packbits_refuses_what_means_nothing(configuration):
    with pytest.raises(UnknownCodecError):
        on_array("packbits", configuration, (2,), "uint8")


def test_packbits_refuses_types_without_a_number_of_bits():
    for dtype in ("S3", "U2", "V4", object, [("a", "u1"), ("b", "u1")], [("real", "f4"), ("imag", "f8")]):
        with pytest.raises(UnknownCodecError):
            codec_class("packbits").from_config({}, ChunkSpec((2,), np.dtype(dtype), None))


@pytest.mark.parametrize(
    ("name", "configuration"),
    [("bitround", {"keepbits": 1}), ("packbits", {}), ("reshape", {"shape": [-1]}), ("zfp", {"mode": "reversible"})],
)
def test_unknown_members_are_refused(name, configuration):
    with pytest.raises(UnknownCodecError, match="novel"):
        on_array(name, configuration | {"novel": 1}, (2,), "float32")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["NaN", "uint8", "gzip", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "encode", "decode"]), inner, max_size=2)
    ),
    max_leaves=5,
)
MEMBERS = {
    "bitround": ["keepbits"],
    "numcodecs.bitround": ["keepbits"],
    "packbits": ["padding_encoding", "first_bit", "last_bit"],
    "reshape": ["shape"],
    "scale_offset": ["offset", "scale"],
    "cast_value": ["data_type", "rounding", "out_of_range", "scalar_map"],
    "zfp": ["mode", "tolerance", "rate", "precision", "minbits", "maxbits", "maxprec", "minexp"],
    "numcodecs.zfpy": ["mode", "tolerance", "rate", "precision"],
    "conditional": ["codecs", "header_bits"],
}
SENSE = {
    "mode": ["reversible", "fixed_rate", "fixed_accuracy", "fixed_precision", "expert", 2, 3, 4],
    "data_type": ["uint8", "float16", "int64", "bfloat16"],
    "rounding": ROUNDINGS,
    "out_of_range": ["clamp", "wrap"],
    "padding_encoding": ["none", "first_byte", "last_byte"],
    "codecs": [[], ["gzip"], [GZIP, CRC]],
    "shape": [[-1], [[0, 1]], [3, 2]],
    "scalar_map": [{}, {"encode": [[1, 2]], "decode": [[2, 1]]}],
}


@pytest.mark.parametrize("codec", MEMBERS)
@FEW
@given(st.data())
def test_any_configuration_is_refused_or_works(codec, data):
    options = {
        member: data.draw(st.sampled_from(SENSE.get(member, [1, 2, 8, 16])) | JSON, label=member)
        for member in data.draw(st.sets(st.sampled_from(MEMBERS[codec])))
    }
    name = data.draw(
        st.sampled_from(["uint8", "int16", "float32", "float64", "bool", "complex64", "bfloat16", "uint4"])
    )
    try:
        if codec == "conditional":
            found = on_bytes(codec, options, 24)
            assert bytes(found.decode(found.encode(PLAIN[:24]))) == PLAIN[:24]
            return
        found = on_array(codec, options, (2, 3), name)
    except DaskZarrError:
        return
    state = found.encoded_spec()
    try:
        encoded = found.encode(np.arange(6).reshape(2, 3).astype(dtype_of(name)))
        decoded = found.decode(encoded)
    except (CodecError, UnsupportedError):
        return
    assert (decoded.shape, decoded.dtype) == ((2, 3), dtype_of(name))
    if isinstance(state, ChunkSpec):
        assert (encoded.shape, encoded.dtype) == (state.shape, state.dtype)
        assert np.asarray(state.fill_value).dtype == state.dtype
    else:
        assert state.size in (None, len(encoded))


STORED = [
    ("packbits", {"padding_encoding": "first_byte", "last_bit": 4}, "int16"),
    ("packbits", {}, "bool"),
    ("zfp", {"mode": "reversible"}, "float32"),
    ("zfp", {"mode": "fixed_accuracy", "tolerance": 0.1}, "float64"),
    ("zfp", {"mode": "fixed_rate", "rate": 9}, "int32"),
    ("zfp", EXPERT_ONLY[0], "float32"),
    ("zfp", {"mode": "reversible"}, "uint8"),
    ("numcodecs.zfpy", {}, "int64"),
    ("numcodecs.zfpy", {"mode": 4, "tolerance": 1}, "float32"),
]


@pytest.mark.parametrize(("codec", "options", "name"), STORED)
@FEW
@given(st.data())
def test_damaged_chunks_are_refused_or_of_the_right_shape(codec, options, name, data):
    if codec != "packbits":
        pytest.importorskip("zfpy")
    found = on_array(codec, options, (5, 6), name)
    array = np.arange(30).reshape(5, 6).astype(found.spec.dtype)
    start = b"" if options in EXPERT_ONLY else bytes(found.encode(array))
    stored = bytearray(data.draw(st.just(start) | st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(stored)))
        stored[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        decoded = found.decode(bytes(stored))
    except CodecError:
        return
    assert (decoded.shape, decoded.dtype, decoded.flags.writeable) == ((5, 6), array.dtype, True)


@FEW
@given(st.binary(max_size=90), st.sampled_from([None, 24]))
def test_any_bytes_are_refused_by_conditional_or_have_the_right_size(data, size):
    codec = on_bytes("conditional", {"codecs": [GZIP, CRC, ZSTD]}, size)
    try:
        found = codec.decode(data)
    except CodecError:
        return
    assert size is None or len(found) == size
