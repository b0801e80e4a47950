"""Whole pipelines: bits that survive, memory that is filled right, damage that is found, and orders refused."""

import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import DaskZarrError, create_array, from_zarr, to_zarr
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.errors import CodecError, UnknownCodecError
from daskzarr.metadata import NamedConfig

DTYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
RAW_FILTERS = [{"id": 3, "dist": 2}, {"id": 33, "preset": 0}]
LITTLE = NamedConfig("bytes", {"endian": "little"})
TRANSPOSE = NamedConfig("transpose", {"order": [1, 0]})


def blosc(cname, shuffle, typesize=4, clevel=5):
    options = {"cname": cname, "clevel": clevel, "shuffle": shuffle, "typesize": typesize, "blocksize": 0}
    return NamedConfig("blosc", options)


def said(codec):
    """A short name of a test's codec, or of several."""
    if isinstance(codec, list):
        return " ".join(map(said, codec)) or "none"
    return codec.name if isinstance(codec, NamedConfig) else str(codec)


COMPRESSORS = [
    NamedConfig("gzip", {"level": 5}),
    NamedConfig("zstd", {"level": 0, "checksum": False}),
    NamedConfig("zstd", {"level": -7, "checksum": True}),
    blosc("lz4", "shuffle"),
    blosc("lz4hc", "noshuffle"),
    blosc("blosclz", "bitshuffle", 8),
    blosc("zlib", "shuffle", 2),
    blosc("zstd", "bitshuffle", 300),
    blosc("lz4", "noshuffle", clevel=0),
    NamedConfig("crc32c"),
    NamedConfig("numcodecs.zlib", {"level": 1}),
    NamedConfig("numcodecs.bz2", {"level": 1}),
    NamedConfig("numcodecs.lzma", {"format": 1, "preset": 0}),
    NamedConfig("numcodecs.lzma", {"format": 2, "preset": 0}),
    NamedConfig("numcodecs.lzma", {"format": 3, "filters": RAW_FILTERS}),
    NamedConfig("numcodecs.lz4", {"acceleration": 1}),
    NamedConfig("numcodecs.blosc", {"cname": "lz4", "shuffle": -1}),
]


def spec(shape, dtype):
    return ChunkSpec(tuple(shape), np.dtype(dtype), 0)


def resolve(configs, shape=(2, 3), dtype="int16"):
    return CodecPipeline.resolve(
        [c if isinstance(c, NamedConfig) else NamedConfig(c) for c in configs], spec(shape, dtype)
    )


def cells(shape, dtype, seed=0):
    """An array of arbitrary bits: NaNs with payloads, negative zeros, infinities, denormals."""
    dtype, count = np.dtype(dtype), math.prod(shape)
    bits = np.random.default_rng(seed).integers(0, 256, count * dtype.itemsize, "u1")
    bits = bits & 1 if dtype.kind == "b" else bits
    array = bits.view(dtype).reshape(shape).copy()
    if dtype.kind == "f" and count > 4:
        array.flat[:4] = [np.nan, -0.0, np.inf, -np.inf]
        array.view(f"u{dtype.itemsize}").flat[4] = np.array(np.inf, dtype).view(f"u{dtype.itemsize}") + 1  # signaling
    return array


def bits_of(array):
    return np.ascontiguousarray(array).tobytes()


@st.composite
def pipelines(draw, compressors=COMPRESSORS):
    """A pipeline of any kind, for a chunk of any shape and dtype."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
    dtype = draw(st.sampled_from(DTYPES))
    orders = draw(st.lists(st.permutations(range(len(shape))), max_size=2))
    endian = draw(st.sampled_from(["little", "big"]))
    configs = [NamedConfig("transpose", {"order": list(order)}) for order in orders]
    configs.append(NamedConfig("bytes", {"endian": endian}))
    configs += draw(st.lists(st.sampled_from(compressors), max_size=3))
    return resolve(configs, shape, dtype)


seeds = st.integers(0, 2**32)


# ---- round trips


@settings(deadline=None, max_examples=200)
@given(pipelines(), seeds)
def test_decoding_gives_back_every_bit(pipeline, seed):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    before = bits_of(array)
    found = pipeline.decode(pipeline.encode(array))
    assert bits_of(array) == before
    assert bits_of(found) == before
    assert found.shape == array.shape
    assert found.dtype == array.dtype


@settings(deadline=None)
@given(pipelines(), seeds)
def test_what_is_decoded_can_be_written_to_and_is_native(pipeline, seed):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    data = bytes(pipeline.encode(array))
    found = pipeline.decode(data)
    assert found.dtype.isnative
    assert found.flags.writeable
    found[...] = 0
    assert bits_of(pipeline.decode(data)) == bits_of(array), "writing to the cells changed the stored bytes"


@settings(deadline=None)
@given(pipelines(), seeds, st.sampled_from([bytes, bytearray, memoryview]))
def test_stored_bytes_may_come_in_any_buffer(pipeline, seed, kind):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    data = bytes(pipeline.encode(array))
    assert bits_of(pipeline.decode(kind(data))) == bits_of(array)


@settings(deadline=None)
@given(pipelines(), seeds)
def test_encoding_does_not_depend_on_the_arrays_memory(pipeline, seed):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    expected = bytes(pipeline.encode(array))
    strided = np.zeros([2 * n for n in array.shape], array.dtype)[..., *[slice(None, None, -2)] * array.ndim]
    strided[...] = array
    for same in (np.array(array, order="F"), strided):
        assert bytes(pipeline.encode(same)) == expected


def larger(shape, dtype, layout):
    """Memory larger than the chunk, and the place in it where the chunk goes."""
    margins = [n + 3 for n in shape]
    if layout == "strided":
        memory = np.full([2 * n + 3 for n in shape], 7, dtype)
        return memory, memory[..., *(slice(2, 2 + 2 * n, 2) for n in shape)]
    if layout == "reversed":
        memory = np.full(margins, 7, dtype)
        return memory, memory[..., *(slice(n, 0, -1) for n in shape)]
    if layout == "transposed":
        memory = np.full(margins[::-1], 7, dtype).transpose()
    elif layout == "cyclic":
        memory = np.full(margins[1:] + margins[:1], 7, dtype)
        memory = memory.transpose([len(shape) - 1, *range(len(shape) - 1)]) if shape else memory
    else:
        memory = np.full(margins, 7, dtype)
    return memory, memory[..., *(slice(1, 1 + n) for n in shape)]


@settings(deadline=None, max_examples=200)
@given(pipelines(), seeds, st.sampled_from(["plain", "strided", "reversed", "transposed", "cyclic"]))
def test_decoding_into_a_part_of_larger_memory_fills_it_and_nothing_else(pipeline, seed, layout):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    memory, place = larger(array.shape, array.dtype, layout)
    assert place.shape == array.shape
    around = memory.copy()
    pipeline.decode_into(pipeline.encode(array), place)
    assert bits_of(place) == bits_of(array)
    place[...] = 7
    assert bits_of(memory) == bits_of(around)


@settings(deadline=None, max_examples=200)
@given(pipelines(), seeds, st.data())
def test_decoding_into_memory_of_any_axis_order(pipeline, seed, data):
    array = cells(pipeline.spec.shape, pipeline.spec.dtype, seed)
    order = data.draw(st.permutations(range(array.ndim)))
    memory = np.zeros([array.shape[axis] for axis in order], array.dtype)
    out = memory.transpose(np.argsort(order)) if order else memory
    pipeline.decode_into(bytes(pipeline.encode(array)), out)
    assert bits_of(out) == bits_of(array)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=said)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_compressor_with_every_dtype(compressor, dtype):
    pipeline = resolve([NamedConfig("transpose", {"order": [2, 0, 1]}), LITTLE, compressor], (3, 4, 5), dtype)
    array = cells((3, 4, 5), dtype, seed=1)
    assert bits_of(pipeline.decode(pipeline.encode(array))) == bits_of(array)


def test_raw_is_only_a_pipeline_that_leaves_memory_as_it_is():
    native, other = ("little", "big") if np.little_endian else ("big", "little")
    bytes_codec = NamedConfig("bytes", {"endian": native})
    there, back = (NamedConfig("transpose", {"order": order}) for order in ([2, 0, 1], [1, 2, 0]))
    shape = (2, 3, 4)
    assert resolve([bytes_codec], shape).raw
    assert resolve([there, back, bytes_codec], shape).raw
    assert resolve([NamedConfig("bytes", {"endian": other})], shape, "uint8").raw
    assert not resolve([NamedConfig("bytes", {"endian": other})], shape).raw
    assert not resolve([there, bytes_codec], shape).raw
    assert not resolve([bytes_codec, "crc32c"], shape).raw


def test_transposes_follow_on_each_other():
    pipeline = resolve([NamedConfig("transpose", {"order": [2, 0, 1]})] * 2 + [LITTLE], (2, 3, 4))
    array = np.arange(24, dtype="int16").reshape(2, 3, 4)
    assert bytes(pipeline.encode(array)) == array.transpose(2, 0, 1).transpose(2, 0, 1).tobytes()
    assert pipeline.axes == (1, 2, 0)
    assert pipeline.serializer.spec.shape == (3, 4, 2)


def test_codecs_on_bytes_follow_on_each_other():
    pipeline = resolve([LITTLE, "crc32c", NamedConfig("gzip", {"level": 1}), "crc32c"])
    data = bytes(pipeline.encode(cells((2, 3), "int16")))
    assert data[:2] == b"\x1f\x8b"
    assert [codec.spec.size for codec in pipeline.compressors] == [12, 16, None]


# ---- damage


CHUNK = (np.arange(60, dtype="int32") ** 2).reshape(5, 12)


def one(compressor):
    return resolve([LITTLE, compressor] if compressor else [LITTLE], CHUNK.shape, CHUNK.dtype)


SINGLE = pytest.mark.parametrize("compressor", [None, *COMPRESSORS], ids=said)


@SINGLE
def test_truncated_data_are_refused_wherever_they_end(compressor):
    pipeline = one(compressor)
    data = bytes(pipeline.encode(CHUNK))
    for end in range(len(data)):
        with pytest.raises(CodecError):
            pipeline.decode(data[:end])


@SINGLE
@pytest.mark.parametrize("tail", [b"\xff", b"\xff\x01\x02\x03", b"junk that is no member"])
def test_data_with_something_behind_are_refused(compressor, tail):
    pipeline = one(compressor)
    with pytest.raises(CodecError):
        pipeline.decode(bytes(pipeline.encode(CHUNK)) + tail)


@SINGLE
def test_data_twice_over_are_refused(compressor):
    pipeline = one(compressor)
    with pytest.raises(CodecError):
        pipeline.decode(bytes(pipeline.encode(CHUNK)) * 2)


@SINGLE
@pytest.mark.parametrize("shape", [(5, 11), (5, 13), (1, 1), (10, 12)])
def test_a_chunk_of_another_size_is_refused(compressor, shape):
    other = resolve([LITTLE, compressor] if compressor else [LITTLE], shape, CHUNK.dtype)
    data = other.encode(np.arange(math.prod(shape), dtype=CHUNK.dtype).reshape(shape))
    pipeline = one(compressor)
    with pytest.raises(CodecError):
        pipeline.decode(data)
    with pytest.raises(CodecError):
        pipeline.decode_into(data, np.empty_like(CHUNK))


@SINGLE
def test_a_flipped_bit_is_found_or_leaves_a_chunk_of_the_right_size(compressor):
    pipeline = one(compressor)
    data = bytes(pipeline.encode(CHUNK))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = pipeline.decode(bytes(damaged))
        except CodecError:
            continue
        assert found.shape == CHUNK.shape
        assert found.dtype == CHUNK.dtype


CHECKED = ["gzip", "numcodecs.zlib", "numcodecs.bz2"]
CHECKED = [c for c in COMPRESSORS if c.name in CHECKED or c.configuration.get("checksum")]
CHECKED.append(NamedConfig("numcodecs.lzma", {"format": 1}))


@pytest.mark.parametrize("compressor", CHECKED, ids=said)
def test_codecs_with_a_checksum_find_a_flipped_bit_in_the_cells(compressor):
    pipeline = one(compressor)
    data = bytes(pipeline.encode(CHUNK))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = pipeline.decode(bytes(damaged))
        except CodecError:
            continue
        assert np.array_equal(found, CHUNK)  # it was in a part of a header that means nothing


@pytest.mark.parametrize("compressor", [None, *COMPRESSORS], ids=said)
def test_a_checksum_behind_the_rest_finds_every_flipped_bit(compressor):
    pipeline = resolve([LITTLE, *filter(None, [compressor]), "crc32c"], CHUNK.shape, CHUNK.dtype)
    data = bytes(pipeline.encode(CHUNK))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError, match="checksum"):
            pipeline.decode(bytes(damaged))


@settings(deadline=None, max_examples=200)
@given(pipelines(), st.binary(max_size=80))
def test_arbitrary_bytes_are_refused_or_give_a_chunk_of_the_right_size(pipeline, data):
    try:
        found = pipeline.decode(data)
    except CodecError:
        return
    assert found.shape == pipeline.spec.shape
    assert found.dtype == pipeline.spec.dtype


@settings(deadline=None, max_examples=200)
@given(pipelines(), seeds, st.data())
def test_damaged_data_are_refused_or_give_a_chunk_of_the_right_size(pipeline, seed, data):
    stored = bytearray(pipeline.encode(cells(pipeline.spec.shape, pipeline.spec.dtype, seed)))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        found = pipeline.decode(bytes(stored))
    except CodecError:
        return
    assert found.shape == pipeline.spec.shape
    assert found.dtype == pipeline.spec.dtype


# ---- what cannot be a pipeline

ON_BYTES = ["gzip", "zstd", "crc32c", "numcodecs.zlib", "numcodecs.bz2", "numcodecs.lzma", "numcodecs.lz4"]
ON_BYTES += ["numcodecs.blosc", blosc("lz4", "shuffle")]


@pytest.mark.parametrize("codec", ON_BYTES, ids=said)
@pytest.mark.parametrize("after", [[LITTLE], [TRANSPOSE, LITTLE], [LITTLE, "gzip"], []], ids=said)
def test_codecs_on_bytes_before_the_serializer_are_refused(codec, after):
    with pytest.raises(UnknownCodecError):
        resolve([codec, *after])


@pytest.mark.parametrize(
    "configs",
    [
        [],
        [TRANSPOSE],
        [LITTLE, TRANSPOSE],
        [LITTLE, LITTLE],
        [LITTLE, "gzip", LITTLE],
        [LITTLE, "gzip", TRANSPOSE],
        [LITTLE, "crc32c", TRANSPOSE, "gzip"],
        [TRANSPOSE, "gzip", LITTLE],
    ],
    ids=said,
)
def test_codecs_in_an_impossible_order_are_refused(configs):
    with pytest.raises(UnknownCodecError) as caught:
        resolve(configs)
    assert caught.value.field == "codecs"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unknown_codec_is_refused_wherever_it_stands(place):
    configs = [LITTLE, "gzip"]
    configs.insert(place, "x.unknown")
    with pytest.raises(UnknownCodecError) as caught:
        resolve(configs)
    assert caught.value.codec == "x.unknown"


def test_an_unknown_configuration_member_is_refused():
    with pytest.raises(UnknownCodecError) as caught:
        resolve([LITTLE, NamedConfig("gzip", {"level": 5, "novel": 1})])
    assert caught.value.codec == "gzip"


def test_a_known_codec_with_an_unknown_member_is_refused_even_if_it_need_not_be_understood():
    with pytest.raises(UnknownCodecError):
        resolve([LITTLE, NamedConfig("gzip", {"novel": 1}, must_understand=False)])


def test_several_bytes_without_an_order_are_refused():
    with pytest.raises(UnknownCodecError):
        resolve(["bytes"])
    assert resolve(["bytes"], dtype="uint8").raw


# ---- codecs that need not be understood

OPTIONAL = {"name": "x.unknown", "configuration": {"a": 1}, "must_understand": False}


def stored_with_an_optional_codec():
    store = {}
    to_zarr(da.arange(6, chunks=2, dtype="uint8"), store, codecs=["bytes"])
    store["zarr.json"] = store["zarr.json"].replace(
        b'"codecs": [', b'"codecs": [{"name": "x.unknown", "must_understand": false},'
    )
    return store


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unknown_codec_that_need_not_be_understood_is_skipped(place):
    configs = [LITTLE, NamedConfig("crc32c")]
    configs.insert(place, NamedConfig.read(OPTIONAL, "codecs"))
    array = cells((2, 3), "int16")
    assert bits_of(resolve(configs).decode(resolve([LITTLE, "crc32c"]).encode(array))) == bits_of(array)


def test_an_array_with_such_a_codec_is_read():
    assert from_zarr(stored_with_an_optional_codec()).compute().tolist() == list(range(6))


def test_an_array_with_such_a_codec_is_not_written():
    store = stored_with_an_optional_codec()
    before = dict(store)
    with pytest.raises(DaskZarrError):
        to_zarr(da.arange(6, chunks=2, dtype="uint8") + 1, store, mode="r+")
    assert store == before


def test_an_array_with_such_a_codec_is_not_made():
    store = {}
    with pytest.raises(DaskZarrError):
        create_array(store, shape=(4,), chunks=(2,), dtype="uint8", codecs=["bytes", OPTIONAL])
    assert store == {}
