"""The codecs of numcodecs for numbers and bytes: its vectors, numcodecs itself as a peer, damage, and refusals."""

import base64
import importlib
import itertools
import sys
import warnings
import zlib

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.abc import Codec

from daskzarr.codecs import BytesSpec, ChunkSpec, CodecPipeline
from daskzarr.codecs.foreign import foreign_codec
from daskzarr.codecs.registry import codec_class
from daskzarr.errors import CodecError, DaskZarrError, UnknownCodecError
from daskzarr.metadata import NamedConfig

NUMBERS = np.arange(6, dtype="<i4").tobytes()
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
seeds = st.integers(0, 2**32)
both = settings(deadline=None, max_examples=150)


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def on_array(name, configuration, shape, dtype, fill=0):
    return codec_class(f"numcodecs.{name}").from_config(configuration, ChunkSpec(tuple(shape), np.dtype(dtype), fill))


def on_bytes(name, configuration=None, size=24, itemsize=4):
    kind = codec_class(f"numcodecs.{name}")
    build = kind.from_config if kind.kind == "bytes_to_bytes" else kind.on_bytes
    return build(configuration or {}, BytesSpec(size, itemsize))


def peer(name, configuration):
    return numcodecs.get_codec({"id": name, **configuration})


def quiet(function, *arguments):
    """A call of numcodecs, which warns of values that a dtype cannot hold."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*arguments)


def values(dtype, count, seed, wild=True):
    """Numbers of a dtype, small and large ones, infinities and NaNs among them where there are such."""
    dtype, random = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "b":
        return random.integers(0, 2, count).astype(bool)
    if wild and dtype.kind in "iu" and seed % 2:
        return random.integers(0, 256, count * dtype.itemsize, "u1").view(dtype)
    small = random.integers(-100 if dtype.kind != "u" else 0, 100, count)
    if dtype.kind in "iu":
        return small.astype(dtype)
    found = (small + random.random(count)).astype(dtype)
    if dtype.kind == "c":
        found += (1j * random.random(count)).astype(dtype)
    if wild and count > 3 and seed % 2:
        found[:4] = [np.nan, np.inf, -0.0, np.finfo(dtype).max]
    return found


def bits_of(array):
    return np.ascontiguousarray(array).tobytes()


def fits(numbers, dtype):
    """Where a cast means something: what comes of a float that no integer of the dtype is near differs by machine."""
    if numbers.dtype.kind not in "fc" or np.dtype(dtype).kind not in "iu":
        return np.ones(numbers.shape, bool)
    info, reals = np.iinfo(dtype), numbers.real.astype("f8")
    return (reals > float(info.min) - 1) & (reals < float(info.max))


# ---- vectors


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crc32", "3d f8 0c 85 |" + NUMBERS.hex()),
        ("adler32", "10 00 a4 00 |" + NUMBERS.hex()),
        ("fletcher32", NUMBERS.hex() + "| 00 0f 00 46"),
        ("jenkins_lookup3", NUMBERS.hex() + "| 35 1a 49 f9"),
        ("shuffle", "00 01 02 03 04 05" + "00" * 18),
        ("base64", base64.b64encode(NUMBERS).hex()),
    ],
)
def test_the_stream_of_six_integers(name, expected):
    codec = on_bytes(name)
    assert bytes(codec.encode(NUMBERS)) == unhex(expected)
    assert bytes(codec.decode(unhex(expected))) == NUMBERS
    assert codec.encoded_spec().size == len(unhex(expected))


@pytest.mark.parametrize(
    ("data", "checksum"),
    [(b"ab", "62 61 62 61"), (b"abcd", "c6 c4 29 26"), (b"abcdef", "2d 2a 56 50"), (b"abc", "62 c4 c5 25")],
)
def test_fletcher32_of_hdf5(data, checksum):
    codec = on_bytes("fletcher32", size=len(data), itemsize=1)
    assert bytes(codec.encode(data)) == data + unhex(checksum)
    assert bytes(codec.decode(data + unhex(checksum))) == data


def test_delta_of_integers():
    codec = on_array("delta", {"dtype": "<i4"}, (6,), "int32")
    expected = unhex("00000000 01000000 01000000 01000000 01000000 01000000")
    assert bits_of(codec.encode(np.arange(6, dtype="int32"))) == expected
    assert codec.decode(np.frombuffer(expected, "<i4")).tolist() == [0, 1, 2, 3, 4, 5]


def test_delta_wraps_in_the_dtype_and_back():
    codec = on_array("delta", {"dtype": "|u1"}, (3,), "uint8")
    assert bits_of(codec.encode(np.array([5, 3, 9], "u1"))) == unhex("05 fe 06")
    assert codec.decode(np.array([5, 254, 6], "u1")).tolist() == [5, 3, 9]


def test_fixedscaleoffset_rounds_half_to_even():
    codec = on_array("fixedscaleoffset", {"offset": 1, "scale": 2, "dtype": "<f8", "astype": "|i1"}, (4,), "float64")
    assert codec.encode(np.array([1.25, 1.75, 0.25, 3.0])).tolist() == [0, 2, -2, 4]
    assert codec.decode(np.array([0, 2, -2, 4], "i1")).tolist() == [1.0, 2.0, 0.0, 3.0]


def test_quantize_keeps_as_many_bits_as_the_digits_need():
    codec = on_array("quantize", {"digits": 1, "dtype": "<f8", "astype": "<f4"}, (3,), "float64")
    encoded = codec.encode(np.array([1 / 9, 2 / 9, 1 / 3]))
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [0.125, 0.25, 0.3125]


def test_astype_casts_there_and_back():
    codec = on_array("astype", {"encode_dtype": "|i1", "decode_dtype": "<f4"}, (2, 2), "float32", 3.0)
    encoded = codec.encode(np.array([[1.5, -2.5], [3.0, 4.0]], "f4"))
    assert encoded.tolist() == [[1, -2], [3, 4]]
    assert codec.decode(encoded).tolist() == [[1.0, -2.0], [3.0, 4.0]]
    assert (codec.encoded_spec().dtype, codec.encoded_spec().fill_value) == (np.int8, 3)


# ---- numcodecs as a peer


@both
@given(st.data(), st.sampled_from(INTEGERS + FLOATS + COMPLEX), st.integers(1, 40), seeds)
def test_delta_stores_what_numcodecs_stores(data, dtype, count, seed):
    astype = data.draw(st.sampled_from(COMPLEX if dtype in COMPLEX else INTEGERS + FLOATS + COMPLEX))
    configuration = {"dtype": np.dtype(dtype).str, "astype": np.dtype(astype).str}
    array, other = values(dtype, count, seed), peer("delta", configuration)
    codec = on_array("delta", configuration, (count,), dtype)
    try:
        expected = quiet(other.encode, array)
        back = quiet(other.decode, expected)
    except (OverflowError, ValueError):  # of some dtypes numcodecs refuses a first element that has no place
        expected = back = None
    try:
        encoded = codec.encode(array)
    except CodecError:
        assert back is None or back[0] != array[0], "the first element had a place"
        return
    if expected is None:
        assert np.array_equal(codec.decode(encoded), array)
        return
    meant = fits(np.append(array[:1], quiet(np.diff, array)), encoded.dtype)
    assert bits_of(encoded[meant]) == bits_of(expected[meant])
    exact = np.dtype(dtype).kind not in "iu" or np.dtype(encoded.dtype).kind in "iu"
    if exact and np.result_type(dtype, encoded.dtype).kind == np.dtype(dtype).kind:
        assert bits_of(codec.decode(expected)) == bits_of(back)


@both
@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.integers(1, 40), seeds)
def test_delta_of_integers_comes_back_where_no_difference_is_cut(dtype, encoded, count, seed):
    array = values(dtype, count, seed, wild=np.dtype(encoded).itemsize >= np.dtype(dtype).itemsize)
    codec = on_array("delta", {"dtype": dtype, "astype": encoded}, (count,), dtype)
    differences = np.diff(array.astype(object), prepend=0)
    info = np.iinfo(encoded)
    wraps_back = np.dtype(encoded).itemsize >= np.dtype(dtype).itemsize
    if wraps_back or all(info.min <= difference <= info.max for difference in differences):
        assert np.array_equal(codec.decode(codec.encode(array)), array)


@both
@given(
    st.sampled_from(INTEGERS + FLOATS + COMPLEX),
    st.sampled_from(INTEGERS + FLOATS + COMPLEX),
    st.one_of(st.integers(-50, 50), st.floats(-1000, 1000)),
    st.one_of(st.integers(1, 100), st.floats(1e-3, 1e3)),
    st.integers(1, 40),
    seeds,
)
def test_fixedscaleoffset_stores_what_numcodecs_stores(dtype, encoded, offset, scale, count, seed):
    configuration = {"offset": offset, "scale": scale, "dtype": dtype, "astype": encoded}
    array, other = values(dtype, count, seed), peer("fixedscaleoffset", configuration)
    codec = on_array("fixedscaleoffset", configuration, (count,), dtype)
    try:
        expected = quiet(other.encode, array)
    except OverflowError:  # a negative offset of unsigned integers
        assert codec.encode(array).dtype == np.dtype(encoded)
        return
    product = quiet(lambda: np.around((array - offset) * scale))
    meant = fits(product, encoded)
    assert bits_of(codec.encode(array)[meant]) == bits_of(expected[meant])
    meant = fits(quiet(lambda: expected / scale + offset), dtype)
    assert bits_of(codec.decode(expected)[meant]) == bits_of(quiet(other.decode, expected)[meant])


@both
@given(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.integers(-3, 4), st.integers(1, 40), seeds)
def test_quantize_stores_what_numcodecs_stores(dtype, encoded, digits, count, seed):
    configuration = {"digits": digits, "dtype": dtype, "astype": encoded}
    array = values(dtype, count, seed)
    array[np.isfinite(array) & (np.abs(array) > np.finfo(dtype).max / 2**14)] = 0.75  # numcodecs makes infinities
    codec, other = on_array("quantize", configuration, (count,), dtype), peer("quantize", configuration)
    expected = quiet(other.encode, array)
    assert bits_of(codec.encode(array)) == bits_of(expected)
    assert bits_of(codec.decode(expected)) == bits_of(quiet(other.decode, expected))


@both
@given(
    st.sampled_from(["bool", *INTEGERS, *FLOATS, *COMPLEX]),
    st.sampled_from(["bool", *INTEGERS, *FLOATS, *COMPLEX]),
    st.integers(1, 40),
    seeds,
)
def test_astype_stores_what_numcodecs_stores(dtype, encoded, count, seed):
    configuration = {"decode_dtype": dtype, "encode_dtype": encoded}
    array, other = values(dtype, count, seed), peer("astype", configuration)
    codec = on_array("astype", configuration, (count,), dtype)
    expected = quiet(other.encode, array)
    meant = fits(array, encoded)
    assert bits_of(codec.encode(array)[meant]) == bits_of(expected[meant])
    meant = fits(expected, dtype)
    assert bits_of(codec.decode(expected)[meant]) == bits_of(quiet(other.decode, expected)[meant])


FILTERS = {
    "delta": lambda dtype: {"dtype": dtype},
    "fixedscaleoffset": lambda dtype: {"offset": 1.5, "scale": 3, "dtype": dtype},
    "quantize": lambda dtype: {"digits": 2, "dtype": dtype},
    "astype": lambda dtype: {"decode_dtype": dtype, "encode_dtype": "<f8" if dtype != "<f8" else "<f4"},
}
ON_BYTES = [
    ("shuffle", {"elementsize": 2}),
    ("crc32", {}),
    ("crc32", {"location": "end"}),
    ("adler32", {}),
    ("adler32", {"location": "end"}),
    ("fletcher32", {}),
    ("jenkins_lookup3", {"initval": 2**32 - 1}),
    ("base64", {}),
    ("zlib", {"level": 1}),
]


@st.composite
def chains(draw):
    """Filters and byte codecs of numcodecs, for a chunk of any shape and dtype, filters among the bytes too."""
    dtype = draw(st.sampled_from(["|i1", "<i2", "<u4", "<i8", "<f4", "<f8", ">i4", ">f8"]))
    shape, now, found = tuple(draw(st.lists(st.integers(1, 4), max_size=3))), dtype, []
    for name in draw(st.lists(st.sampled_from(list(FILTERS)), max_size=3)):
        if name == "quantize" and now[1] != "f":
            continue
        found.append((name, FILTERS[name](now)))
        now = found[-1][1].get("encode_dtype", now)
    arrays = len(found)
    size = int(np.prod(shape)) * np.dtype(now).itemsize
    for name, configuration in draw(st.lists(st.sampled_from(ON_BYTES), max_size=4)):
        if name == "shuffle" and (size is None or size % 2):
            continue
        found.append((name, configuration))
        size = on_bytes(name, configuration, size, 1).encoded_spec().size
        if size is not None and size % 8 == 0 and draw(st.booleans()):
            found.append(("delta", {"dtype": draw(st.sampled_from(["<i8", ">i4", "|u1"]))}))
    endian = {">": "big"}.get(now[0], "little")
    serializer = [("bytes", {"endian": endian})]
    return shape, np.dtype(dtype), found[:arrays], serializer, found[arrays:]


@both
@given(chains(), seeds)
def test_chains_store_what_numcodecs_stores(chain, seed):
    shape, dtype, before, serializer, after = chain
    named = [NamedConfig(f"numcodecs.{name}", config) for name, config in before]
    named += [NamedConfig(name, config) for name, config in serializer]
    named += [NamedConfig(f"numcodecs.{name}", config) for name, config in after]
    array = values(dtype.newbyteorder("="), int(np.prod(shape)), seed, wild=False).reshape(shape)
    pipeline = CodecPipeline.resolve(named, ChunkSpec(shape, array.dtype, 0))
    others = [peer(name, config) for name, config in before + after]
    expected = array.astype(dtype).reshape(shape or 1)  # of no axes, numcodecs would make a scalar of native byte order
    for other in others:
        expected = quiet(other.encode, expected)
    expected = bits_of(expected) if isinstance(expected, np.ndarray) else bytes(expected)
    assert bytes(pipeline.encode(array)) == expected
    found = expected
    for other in reversed(others):
        found = memoryview(quiet(other.decode, found)).tobytes()
    decoded = pipeline.decode(expected)
    assert bits_of(decoded.astype(dtype)) == found
    assert decoded.shape == shape
    assert decoded.flags.writeable
    assert decoded.dtype == array.dtype


@pytest.mark.parametrize(("name", "configuration"), ON_BYTES[:-1])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 719, 720, 721, 5000])
def test_codecs_on_bytes_store_what_numcodecs_stores(name, configuration, count):
    data = np.random.default_rng(count).bytes(count * 2)
    codec, other = on_bytes(name, configuration, len(data), 2), peer(name, configuration)
    encoded = bytes(codec.encode(data))
    assert bytes(codec.decode(encoded)) == data
    if data:
        assert encoded == bytes(other.encode(data))
    assert codec.encoded_spec().size == len(encoded)


# ---- array filters among other dtypes and shapes


def test_a_filter_of_another_dtype_sees_the_bytes():
    array = np.array([[1.5, 2.5, -3.5]], "float32")
    for dtype in ("<i4", "<i2", "|u1", ">i4", "<u2"):
        codec, other = on_array("delta", {"dtype": dtype}, (1, 3), "float32", 1.5), peer("delta", {"dtype": dtype})
        encoded = codec.encode(array)
        assert bits_of(encoded.astype(dtype)) == bits_of(other.encode(array.astype("<f4")))
        assert codec.encoded_spec().shape == encoded.shape
        assert bits_of(codec.decode(encoded)) == bits_of(array)
    assert on_array("delta", {"dtype": "<i4"}, (1, 3), "float32").encode(array).shape == (1, 3)


def test_dates_are_seen_as_integers():
    array = np.array(["2000-01-01", "2000-01-03", "NaT"], "M8[D]")
    codec = on_array("delta", {"dtype": "<i8"}, (3,), array.dtype, np.datetime64("NaT", "D"))
    assert codec.encode(array)[:2].tolist() == [10957, 2]
    assert bits_of(codec.decode(codec.encode(array))) == bits_of(array)


def test_structures_are_seen_as_bytes():
    array = np.array([(1, 2.5), (3, -4.5)], [("a", "<u2"), ("b", "<f4")])
    codec = on_array("delta", {"dtype": "|u1"}, (2,), array.dtype, array[0])
    assert codec.encoded_spec().shape == (12,)
    assert bits_of(codec.decode(codec.encode(array))) == bits_of(array)


@pytest.mark.parametrize("order", ["C", "F", "strided", "scalar"])
@pytest.mark.parametrize("name", list(FILTERS))
def test_filters_take_any_layout_and_leave_the_array_as_it_was(order, name):
    array = np.arange(1.0, 25.0).reshape(2, 3, 4)
    same = {"C": array, "F": np.asfortranarray(array), "strided": np.repeat(array, 2, axis=2)[..., ::2]}.get(order)
    same, array = (np.array(7.0), np.array(7.0)) if same is None else (same, array)
    codec = on_array(name, FILTERS[name]("<f8"), array.shape, "float64")
    encoded = codec.encode(same)
    assert encoded.shape == array.shape == codec.encoded_spec().shape
    assert np.array_equal(encoded, codec.encode(array))
    decoded = codec.decode(encoded)
    assert decoded.shape == array.shape
    assert np.allclose(decoded, array, atol=0.5)
    assert np.array_equal(same, np.arange(1.0, 25.0).reshape(2, 3, 4) if order != "scalar" else 7.0)


@pytest.mark.parametrize(
    ("name", "configuration", "dtype", "fill", "expected"),
    [
        ("delta", {"dtype": "<i4", "astype": "|i1"}, "int32", 300, 44),
        ("fixedscaleoffset", {"offset": 10, "scale": 2, "dtype": "<f4", "astype": "|u1"}, "float32", 12.5, 5),
        ("quantize", {"digits": 1, "dtype": "<f4"}, "float32", 1 / 9, 0.125),
        ("astype", {"encode_dtype": "<f2", "decode_dtype": "<i4"}, "int32", 3, 3.0),
        ("astype", {"encode_dtype": "|u1", "decode_dtype": "<c8"}, "complex64", 3 + 4j, 3),
        ("delta", {"dtype": "<i4"}, "float32", 1.0, 0x3F800000),
        ("delta", {"dtype": "<u2"}, "uint8", 7, 0x0707),
    ],
)
def test_the_fill_value_passes_through(name, configuration, dtype, fill, expected):
    spec = on_array(name, configuration, (4, 2), dtype, np.dtype(dtype).type(fill)).encoded_spec()
    assert spec.fill_value == expected
    assert np.dtype(type(spec.fill_value)) == spec.dtype


def test_a_fill_value_that_has_no_number_does_not_warn():
    for name, configuration in [
        ("astype", {"encode_dtype": "<i4", "decode_dtype": "<f4"}),
        ("fixedscaleoffset", {"offset": 0, "scale": 10, "dtype": "<f4", "astype": "<i2"}),
        ("delta", {"dtype": "<f4", "astype": "<i2"}),
        ("quantize", {"digits": 30, "dtype": "<f4"}),
    ]:
        for fill in (np.nan, np.inf, 3e38):
            on_array(name, configuration, (4,), "float32", np.float32(fill)).encoded_spec()


def test_quantize_leaves_numbers_that_would_overflow():
    array = np.array([9.969209968386869e36, -np.inf, 1 / 3, np.nan], "float32")
    found = on_array("quantize", {"digits": 3, "dtype": "<f4"}, (4,), "float32").encode(array)
    assert found[0] == array[0]
    assert np.isneginf(found[1])
    assert found[2] != array[2]
    assert np.isnan(found[3])
    small = on_array("quantize", {"digits": 9, "dtype": "<f2"}, (2,), "float16").encode(np.array([0.5, 3], "f2"))
    assert small.tolist() == [0.5, 3.0]


def test_fixedscaleoffset_takes_an_offset_that_the_integers_cannot_hold():
    codec = on_array("fixedscaleoffset", {"offset": -1, "scale": 2, "dtype": "|u1", "astype": "<u2"}, (3,), "uint8")
    assert codec.encode(np.array([0, 7, 255], "u1")).tolist() == [2, 16, 512]
    assert codec.decode(np.array([2, 16, 512], "u2")).tolist() == [0, 7, 255]


def test_delta_refuses_a_chunk_whose_start_has_no_place():
    codec = on_array("delta", {"dtype": "<f4", "astype": "|i1"}, (3,), "float32")
    for first in (128, -129, np.nan, np.inf, 1e30):
        with pytest.raises(CodecError, match="astype int8"):
            codec.encode(np.array([first, 0, 0], "f4"))
    assert codec.encode(np.array([127.5, 128.5, 127.5], "f4")).tolist() == [127, 1, -1]


def test_delta_of_unsigned_integers_in_floats_comes_back():
    array = np.array([9, 3, 250, 0], "uint32")
    codec = on_array("delta", {"dtype": "<u4", "astype": "<f8"}, (4,), "uint32")
    assert codec.decode(codec.encode(array)).tolist() == array.tolist()
    wide = np.array([2**63 - 1, -(2**63), 2**62 + 1, -1])
    codec = on_array("delta", {"dtype": "<i8", "astype": "<u8"}, (4,), "int64")
    assert codec.decode(codec.encode(wide)).tolist() == wide.tolist()


# ---- array filters among bytes


@pytest.mark.parametrize("dtype", ["<i4", ">i4", "|u1", "<i2"])
@pytest.mark.parametrize("size", [24, None])
def test_a_filter_behind_bytes_honours_the_byte_order(dtype, size):
    configuration = {"dtype": dtype, "astype": dtype.replace("<", ">")}
    codec, other = on_bytes("delta", configuration, size), peer("delta", configuration)
    assert codec.kind == "bytes_to_bytes"
    encoded = bytes(codec.encode(NUMBERS))
    assert encoded == bits_of(other.encode(NUMBERS))
    assert bytes(codec.decode(encoded)) == NUMBERS


def test_a_filter_behind_bytes_says_how_many_it_gives():
    codec = on_bytes("astype", {"encode_dtype": "<i8", "decode_dtype": "<i2"}, 24, 4)
    assert codec.encoded_spec() == BytesSpec(96, 8)
    assert on_bytes("astype", {"encode_dtype": "<i8", "decode_dtype": "<i2"}, None, 4).encoded_spec().size is None
    for size in (0, 8, 95, 97, 192):
        with pytest.raises(CodecError):
            codec.decode(bytes(size))


def test_a_filter_behind_bytes_refuses_parts_of_elements():
    codec = on_bytes("delta", {"dtype": "<i4"}, None, 1)
    for function in (codec.encode, codec.decode):
        with pytest.raises(CodecError):
            function(b"12345")
    with pytest.raises(UnknownCodecError):
        on_bytes("delta", {"dtype": "<i8"}, 20)


# ---- shuffle


@pytest.mark.parametrize("elementsize", [1, 2, 3, 4, 8, 16, 17, 24, 100])
def test_shuffle_stores_what_numcodecs_stores(elementsize):
    data = np.random.default_rng(elementsize).bytes(elementsize * 37)
    codec = on_bytes("shuffle", {"elementsize": elementsize}, len(data), 4)
    encoded = bytes(codec.encode(data))
    assert encoded == bytes(numcodecs.Shuffle(elementsize).encode(data))
    assert bytes(codec.decode(encoded)) == data
    out = np.zeros(len(data), "u1").reshape(37, elementsize)
    assert codec.decode(encoded, out) is out
    assert out.tobytes() == data


@pytest.mark.parametrize("elementsize", [0, "0", "4", "8"])
def test_shuffle_of_netcdf_takes_the_arrays_itemsize(elementsize):
    assert on_bytes("shuffle", {"elementsize": elementsize}, 24, 8).elementsize == 8


@pytest.mark.parametrize("elementsize", [-1, 5, 7, 25, 1.0, None, "", "four", "-4", [4], True, 2**40])
def test_shuffle_refuses_another_elementsize(elementsize):
    with pytest.raises(UnknownCodecError):
        on_bytes("shuffle", {"elementsize": elementsize}, 24, 4)


def test_shuffle_refuses_another_number_of_bytes():
    for size, count in itertools.product([24, None], [23, 25, 5]):
        codec = on_bytes("shuffle", {"elementsize": 4}, size)
        for function in (codec.encode, codec.decode):
            with pytest.raises(CodecError):
                function(bytes(count))


# ---- checksums

CHECKSUMS = [*ON_BYTES[1:6], ("jenkins_lookup3", {"initval": 7}), ("jenkins_lookup3", {"prefix": [1, 2, 3]})]


@pytest.mark.parametrize(("name", "configuration"), CHECKSUMS)
def test_every_flipped_bit_is_found(name, configuration):
    codec = on_bytes(name, configuration)
    encoded = bytes(codec.encode(NUMBERS))
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError, match=r"checksum is [0-9a-f]{8} where [0-9a-f]{8} is stored") as caught:
            codec.decode(bytes(damaged))
        assert caught.value.codec == name


@pytest.mark.parametrize(("name", "configuration"), CHECKSUMS)
def test_too_few_bytes_for_a_checksum(name, configuration):
    codec = on_bytes(name, configuration, None)
    for count in range(4):
        with pytest.raises(CodecError):
            codec.decode(bytes(count))


@pytest.mark.parametrize(("name", "configuration"), CHECKSUMS)
@pytest.mark.parametrize("size", [0, 20, 28])
def test_a_checksum_of_data_of_another_size(name, configuration, size):
    encoded = on_bytes(name, configuration, size).encode(bytes(size))
    with pytest.raises(CodecError, match=f"{size} bytes where 24"):
        on_bytes(name, configuration).decode(encoded)


@pytest.mark.parametrize(("name", "configuration"), CHECKSUMS)
def test_checksums_take_any_buffer(name, configuration):
    codec = on_bytes(name, configuration)
    encoded = bytes(codec.encode(NUMBERS))
    for kind in (bytearray, memoryview, lambda data: np.frombuffer(b"_" + data, "u1")[1:].data):
        assert bytes(codec.encode(kind(NUMBERS))) == encoded
        assert bytes(codec.decode(kind(encoded))) == NUMBERS


def test_jenkins_of_a_prefix_is_the_hash_of_both():
    other = numcodecs.checksum32.JenkinsLookup3(initval=5, prefix=b"\x01\x02\x03")
    for prefix in (b"\x01\x02\x03", bytearray(b"\x01\x02\x03"), [1, 2, 3]):
        codec = on_bytes("jenkins_lookup3", {"initval": 5, "prefix": prefix})
        assert bytes(codec.encode(NUMBERS)) == bytes(other.encode(NUMBERS))
    plain = on_bytes("jenkins_lookup3", {"initval": 5})
    assert bytes(plain.encode(NUMBERS)) != bytes(codec.encode(NUMBERS))


@pytest.mark.parametrize(
    "configuration",
    [{"initval": -1}, {"initval": 2**32}, {"initval": 1.0}, {"prefix": "text"}, {"prefix": [256]}, {"prefix": [True]}],
)
def test_jenkins_refuses_other_parameters(configuration):
    with pytest.raises(UnknownCodecError):
        on_bytes("jenkins_lookup3", configuration)


@pytest.mark.parametrize("location", ["middle", 0, True, ["start"], {}])
def test_another_location_is_refused(location):
    for name in ("crc32", "adler32"):
        with pytest.raises(UnknownCodecError):
            on_bytes(name, {"location": location})


# ---- base64


@pytest.mark.parametrize(
    "text", [b"AAAA", b"AQI", b"AQ=I", b"A QI=", b"AQI=\n", b"AQI==", b"AQ-_", b"\xff\xfe\xfd\xfc", b"", b"====", b"A"]
)
def test_base64_is_read_strictly(text):
    with pytest.raises(CodecError):
        on_bytes("base64", size=2).decode(text)


def test_base64_says_its_size():
    for size in range(7):
        codec = on_bytes("base64", size=size)
        assert len(codec.encode(bytes(size))) == codec.encoded_spec().size
        assert bytes(codec.decode(memoryview(codec.encode(b"abcdefg"[:size])))) == b"abcdefg"[:size]


# ---- pcodec

try:
    importlib.import_module("numcodecs.pcodec")
    PCO = True
except ImportError:
    PCO = False
with_pcodec = pytest.mark.skipif(not PCO, reason="numcodecs.pcodec cannot be imported")
PCO_DTYPES = ["uint16", "uint32", "uint64", "int16", "int32", "int64", *FLOATS]


@with_pcodec
@pytest.mark.parametrize("dtype", PCO_DTYPES)
@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"level": 0, "mode_spec": "classic"},
        {"delta_spec": "try_consecutive", "delta_encoding_order": 2},
        {"delta_encoding_order": 1, "equal_pages_up_to": 7},
        {"delta_spec": "try_lookback"},
        {"delta_spec": "none"},
    ],
)
def test_pcodec_stores_what_numcodecs_stores(dtype, configuration):
    array = values(dtype, 60, seed=3).reshape(3, 4, 5)
    codec, other = on_array("pcodec", configuration, array.shape, dtype), peer("pcodec", configuration)
    encoded = codec.encode(array)
    if configuration != {"delta_spec": "none"}:  # numcodecs calls a function that releases of pcodec call otherwise
        assert encoded == other.encode(array)
    assert other.decode(encoded).tobytes() == array.tobytes()
    assert encoded[:4] == b"pco!"
    found = codec.decode(memoryview(encoded))
    assert bits_of(found) == bits_of(array)
    assert (found.shape, found.dtype, found.flags.writeable) == (array.shape, array.dtype, True)
    assert codec.encode(np.asfortranarray(array)) == encoded


@with_pcodec
def test_pcodec_refuses_another_number_of_elements():
    data = on_array("pcodec", {}, (6,), "int32").encode(np.arange(6, dtype="int32"))
    for shape in [(5,), (7,), (2, 2), (1000,)]:
        with pytest.raises(CodecError, match="bytes"):
            on_array("pcodec", {}, shape, "int32").decode(data)
    with pytest.raises(CodecError):
        on_array("pcodec", {}, (6,), "float32").decode(data)


@with_pcodec
@pytest.mark.parametrize(
    "configuration",
    [
        {"level": 13},
        {"level": "8"},
        {"mode_spec": "try"},
        {"delta_spec": None},
        {"paging_spec": "exact"},
        {"delta_encoding_order": 8},
        {"delta_encoding_order": True},
        {"delta_spec": "none", "delta_encoding_order": 1},
        {"delta_spec": "try_lookback", "delta_encoding_order": 1},
        {"delta_spec": "try_consecutive"},
        {"equal_pages_up_to": 0},
    ],
)
def test_pcodec_refuses_other_parameters(configuration):
    with pytest.raises(UnknownCodecError):
        on_array("pcodec", configuration, (6,), "int32")


@pytest.mark.parametrize("dtype", ["bool", "complex64", "M8[s]", "V4", "S4", object])
def test_pcodec_refuses_other_dtypes(dtype):
    with pytest.raises(UnknownCodecError, match="dtype"):
        on_array("pcodec", {}, (6,), dtype)


def test_pcodec_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pcodec", None)
    with pytest.raises(UnknownCodecError, match="pip install 'pcodec"):
        on_array("pcodec", {}, (6,), "int32")


# ---- damage


def damaged(encoded, seed, count):
    """The bytes with some changed, taken out or put in."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(encoded)
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(0, len(data) + 1))
            data[place : place + int(random.integers(0, 4))] = random.bytes(int(random.integers(0, 4)))
        yield bytes(data)


DAMAGED = [(name, configuration) for name, configuration in ON_BYTES if name != "zlib"]
DAMAGED += [("delta", {"dtype": "<i4"}), ("quantize", {"digits": 2, "dtype": "<f4"})]


@pytest.mark.parametrize(("name", "configuration"), DAMAGED)
@pytest.mark.parametrize("size", [24, None])
def test_damaged_bytes_are_refused_or_have_the_right_size(name, configuration, size):
    codec = on_bytes(name, configuration, size)
    for data in damaged(bytes(codec.encode(NUMBERS)), seed=1, count=100):
        try:
            found = codec.decode(data)
        except CodecError:
            continue
        assert size is None or len(found) == size


@with_pcodec
def test_a_damaged_pco_file_is_refused_or_has_the_right_size():
    array = np.arange(300, dtype="int32") ** 2
    codec = on_array("pcodec", {}, array.shape, "int32")
    for data in damaged(codec.encode(array), seed=2, count=300):
        try:
            assert codec.decode(data).shape == array.shape
        except CodecError:
            continue


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("delta", {}),
        ("delta", {"dtype": "|b1"}),
        ("delta", {"dtype": "<i4", "astype": "|b1"}),
        ("delta", {"dtype": "<c8", "astype": "<f4"}),
        ("quantize", {"digits": 2, "dtype": "<i4"}),
        ("quantize", {"digits": 2, "dtype": "<f4", "astype": "<i4"}),
        ("quantize", {"digits": 2.0, "dtype": "<f4"}),
        ("quantize", {"digits": 10**9, "dtype": "<f4"}),
        ("quantize", {"dtype": "<f4"}),
        ("astype", {"encode_dtype": "<i4"}),
        ("fixedscaleoffset", {"scale": 1, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": 0, "scale": 0, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": 0, "scale": -0.0, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": float("nan"), "scale": 1, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": 0, "scale": float("inf"), "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": 10**400, "scale": 1, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": "0", "scale": 1, "dtype": "<i4"}),
        ("fixedscaleoffset", {"offset": True, "scale": 1, "dtype": "<i4"}),
    ],
)
def test_filters_refuse_what_means_nothing(name, configuration):
    for build in (lambda: on_array(name, configuration, (3, 8), "int32"), lambda: on_bytes(name, configuration)):
        with pytest.raises(UnknownCodecError) as caught:
            build()
        assert caught.value.codec == name


NO_DTYPES = ["", "O", "|O", "object", "<U3", "S4", "M8[s]", "m8", "V8", "<i3", "i16", "<f16", "float128", "bfloat16"]
NO_DTYPES += ["i4,i4", "int31", "<i4 ", "a5", 4, None, ["<i4"], {"name": "int32"}, "(2,)i4", "<i999", "\ud800", "i٤"]


@pytest.mark.parametrize("dtype", NO_DTYPES, ids=ascii)
def test_filters_refuse_dtypes_of_anything_but_numbers(dtype):
    for name, configuration in [("delta", {"dtype": dtype}), ("astype", {"encode_dtype": dtype, "decode_dtype": "i4"})]:
        with pytest.raises(UnknownCodecError):
            on_array(name, configuration, (3, 8), "int32")


def test_no_astype_is_that_of_the_numbers():
    assert on_array("delta", {"dtype": "int16", "astype": None}, (3,), "int16").encoded_spec().dtype == np.int16


def test_filters_refuse_chunks_that_are_no_whole_number_of_elements():
    for dtype in ("S3", "uint8"):
        with pytest.raises(UnknownCodecError, match="no whole number"):
            on_array("delta", {"dtype": "<i4"}, (3, 3), dtype)
    with pytest.raises(UnknownCodecError, match="objects"):
        on_array("delta", {"dtype": "<i4"}, (3, 3), object)


@pytest.mark.parametrize("name", [name for name, _ in ON_BYTES[:-1]] + ["delta"])
def test_unknown_members_mean_nothing(name):
    on_bytes(name, {"dtype": "<i4", "novel": 1} if name == "delta" else {"novel": 1})


# ---- codecs of users


class Reversed(Codec):
    """A user's codec: the bytes backwards, as an array."""

    codec_id = "tests.reversed"

    def __init__(self, noise=0):
        self.noise = noise

    def encode(self, buf):
        data = buf.tobytes() if isinstance(buf, np.ndarray) else bytes(buf)
        return np.frombuffer(data[::-1] + bytes(self.noise), "i1")

    def decode(self, buf, out=None):
        if buf[:1] == b"!":
            raise KeyError("damaged")
        return bytes(buf[: len(buf) - self.noise])[::-1]


class Boxed(Codec):
    """A user's codec for objects, of which it knows but one chunk."""

    codec_id = "tests.boxed"
    kept = None

    def encode(self, buf):
        type(self).kept = buf.copy()
        return b"box"

    def decode(self, buf, out=None):
        return self.kept if bytes(buf) == b"box" else bytes(buf)


class Unpickling(numcodecs.Pickle):
    """A user's codec that unpickles."""

    codec_id = "tests.unpickling"


for registered in (Reversed, Boxed, Unpickling):
    numcodecs.register_codec(registered)


def test_a_users_codec_between_bytes():
    pipeline = CodecPipeline.resolve(
        [NamedConfig("bytes", {"endian": "little"}), NamedConfig("numcodecs.tests.reversed", {"noise": 2})],
        ChunkSpec((2, 3), np.dtype("int16"), 0),
    )
    array = np.arange(1, 7, dtype="int16").reshape(2, 3)
    encoded = bytes(pipeline.encode(array))
    assert encoded == array.tobytes()[::-1] + bytes(2)
    assert pipeline.decode(encoded).tolist() == array.tolist()
    for data in (encoded[:-1], encoded + b"1", b""):
        with pytest.raises(CodecError):
            pipeline.decode(data)


def test_a_users_codec_between_an_array_and_bytes():
    pipeline = CodecPipeline.resolve(
        [NamedConfig("numcodecs.tests.reversed"), NamedConfig("numcodecs.crc32")],
        ChunkSpec((2, 3), np.dtype("float32"), 0),
    )
    array = np.arange(1, 7, dtype="float32").reshape(2, 3)
    encoded = bytes(pipeline.encode(np.asfortranarray(array)))
    assert encoded == zlib.crc32(array.tobytes()[::-1]).to_bytes(4, "little") + array.tobytes()[::-1]
    found = pipeline.decode(encoded)
    assert found.tolist() == array.tolist()
    assert found.flags.writeable
    with pytest.raises(CodecError):
        foreign_codec("tests.reversed").on_array({}, ChunkSpec((7,), np.dtype("f4"), 0)).decode(array.tobytes())


def test_a_users_codec_of_objects():
    codec = foreign_codec("tests.boxed").on_array({}, ChunkSpec((2, 2), np.dtype(object), ""))
    array = np.array([["a", None], [{"b": 1}, 2.5]], object)
    found = codec.decode(codec.encode(array))
    assert found.tolist() == array.tolist()
    found[...] = 0
    assert codec.decode(b"box").tolist() == array.tolist()
    with pytest.raises(CodecError, match="objects"):
        codec.decode(array.size * b"12345678")
    with pytest.raises(CodecError, match="objects"):
        foreign_codec("tests.boxed").on_array({}, ChunkSpec((3,), np.dtype(object), "")).decode(b"box")
    with pytest.raises(CodecError, match="plain bytes"):
        foreign_codec("tests.boxed").on_array({}, ChunkSpec((4,), np.dtype("i8"), 0)).decode(b"box")


def test_what_a_users_codec_raises_names_it():
    codec = foreign_codec("tests.reversed").from_config({}, BytesSpec(None, 1))
    with pytest.raises(CodecError, match="KeyError: 'damaged'") as caught:
        codec.decode(b"!!")
    assert caught.value.codec == "tests.reversed"
    with pytest.raises(UnknownCodecError, match="TypeError"):
        foreign_codec("tests.reversed").from_config({"novel": 1}, BytesSpec(None, 1))


@pytest.mark.parametrize("name", ["zlib", "pickle", "json2", "delta", "tests.unpickling", "tests.unheard", "", "id"])
def test_what_is_no_codec_of_a_user_is_not_offered(name):
    assert foreign_codec(name) is None


def test_a_codec_of_a_package_that_cannot_be_loaded_is_refused(monkeypatch):
    class Entry:
        def load(self):
            raise RuntimeError("broken package")

    monkeypatch.setitem(numcodecs.registry.entries, "tests.broken", Entry())
    with pytest.raises(DaskZarrError, match="broken package"):
        codec_class("numcodecs.tests.broken")
