"""sharding_indexed: byte vectors, shards of other writers, parts of shards, damage, and configurations refused."""

import gzip
import itertools
import json
import math
import random
import tracemalloc

import google_crc32c
import numcodecs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daskzarr import DaskZarrError, from_zarr
from daskzarr.byte_range import ByteRange
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.codecs.sharding import inner_count
from daskzarr.errors import CodecError, MetadataError, MissingChunkError, UnknownCodecError
from daskzarr.metadata import NamedConfig
from daskzarr.metadata.shards import inner_chunk_shape, shard_config
from daskzarr.testing import distinct_values

ABSENT = 2**64 - 1
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
BYTES = {"name": "bytes"}
CRC32C = {"name": "crc32c"}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
BLOSC = {
    "name": "blosc",
    "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0},
}


def transpose(*order):
    return {"name": "transpose", "configuration": {"order": list(order)}}


def sharded(inner, codecs=(LITTLE,), index=(LITTLE, CRC32C), location="end"):
    members = {"chunk_shape": list(inner), "codecs": list(codecs), "index_codecs": list(index)}
    return {"name": "sharding_indexed", "configuration": {**members, "index_location": location}}


def resolve(codecs, shape, dtype="int16", fill=0, **options):
    dtype = np.dtype(dtype)
    spec = ChunkSpec(tuple(shape), dtype, np.array(fill, dtype)[()], **options)
    return CodecPipeline.resolve([NamedConfig.read(codec, "codecs") for codec in codecs], spec)


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def words(*numbers):
    return np.array(numbers, "<u8").tobytes()


def summed(data):
    return data + google_crc32c.value(data).to_bytes(4, "little")


# ---- a writer of shards that shares nothing with ours but the format


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def encode(array, codecs, fill, rng):
    """The stored bytes of a chunk; shards are laid out as ``rng`` has it."""
    data = None
    for codec in codecs:
        name, options = codec["name"], codec.get("configuration", {})
        if name == "transpose":
            array = array.transpose(options["order"])
        elif name == "bytes":
            data = np.ascontiguousarray(array, array.dtype.newbyteorder({"big": ">"}.get(options.get("endian"), "<")))
            data = data.tobytes()
        elif name == "sharding_indexed":
            data = shard(array, options, fill, rng)
        else:
            data = {"gzip": gzip.compress, "zstd": numcodecs.zstd.compress, "crc32c": summed}[name](data)
    return data


def shard(array, options, fill, rng):
    """A shard with its inner chunks in any order, with gaps, equal ones stored once, and some of fill left out."""
    inner, at_end = options["chunk_shape"], options["index_location"] == "end"
    counts = [n // c for n, c in zip(array.shape, inner, strict=True)]
    index = np.full([*counts, 2], ABSENT, "u8")
    start = 0 if at_end else len(encode(index, options["index_codecs"], None, rng))
    numbers = list(np.ndindex(*counts))
    rng.shuffle(numbers)
    body = b""
    for number in numbers:
        cells = array[tuple(slice(i * c, (i + 1) * c) for i, c in zip(number, inner, strict=True))]
        if bits(cells) == bits(np.full(cells.shape, fill, array.dtype)) and rng.random() < 0.8:
            continue
        data = encode(cells, options["codecs"], fill, rng)
        found = body.find(data) if rng.random() < 0.5 else -1
        if found < 0:
            body += rng.randbytes(rng.choice([0, 0, 1, 7, 30]))
            found = len(body)
            body += data
        index[number] = start + found, len(data)
    body += rng.randbytes(rng.choice([0, 0, 5]))
    stored = encode(index, options["index_codecs"], None, rng)
    return body + stored if at_end else stored + body


def read_box(pipeline, data, slices, out):
    """The cells of some slices of a stored shard, read in parts; returns the byte ranges that were asked for."""
    codec, axes = pipeline.shard, pipeline.axes
    asked = []

    def get_ranges(ranges):
        asked.extend(ranges)
        return [wanted.of(data) for wanted in ranges]

    index = codec.read_index(codec.index_range.of(data))
    box = Box(tuple(slices[i].start for i in axes), tuple(slices[i].stop for i in axes))
    codec.read_box(index, box, out.transpose(axes), get_ranges, 128 * KIB)
    return asked


# ---- the format's vectors

INNER_1X2 = [sharded((1, 2))]
VECTORS = {
    "index at end": (
        [[1, 2], [3, 4]], INNER_1X2, 0,
        "01 00 02 00 | 03 00 04 00 | 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
        "| 04 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 | f6 ff 6f 8f",
    ),
    "index at start": (
        [[1, 2], [3, 4]], [sharded((1, 2), location="start")], 0,
        "24 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 28 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
        "| df 37 06 b7 | 01 00 02 00 | 03 00 04 00",
    ),
    "second row fill": (
        [[1, 2], [0, 0]], INNER_1X2, 0,
        "01 00 02 00 | 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
        "| ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff | 8a 07 29 c5",
    ),
    "nested": (
        [[1, 2], [3, 4]], [sharded((2, 2), INNER_1X2)], 0,
        "01 00 02 00 | 03 00 04 00 | 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
        "| 04 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 | f6 ff 6f 8f"
        "| 00 00 00 00 00 00 00 00 2c 00 00 00 00 00 00 00 | c4 79 56 2c",
    ),
    "C order": (
        np.arange(16, dtype="u1").reshape(4, 4), [sharded((2, 2), [BYTES])], 255,
        "00 01 04 05 02 03 06 07 08 09 0c 0d 0a 0b 0e 0f |" + words(0, 4, 4, 4, 8, 4, 12, 4).hex() + "| 18 dc 6a 1c",
    ),
    "hanging over an edge": (
        np.array([1, 2, 3, 4, -1, -1], "i2"), [sharded((3,))], -1,
        "01 00 02 00 03 00 | 04 00 ff ff ff ff |" + words(0, 6, 6, 6).hex() + "| 58 9b 90 8d",
    ),
    "transposed before": (  # the inner shape divides the transposed one: 2 by 1 of 2 by 2
        [[1, 2], [3, 4]], [transpose(1, 0), sharded((2, 1))], 0,
        "01 00 02 00 | 03 00 04 00 | 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
        "| 04 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 | f6 ff 6f 8f",
    ),
    "a scalar": (np.array(7, "i2"), [sharded(())], 0, "07 00 |" + summed(words(0, 2)).hex()),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_shards_are_written_as_the_format_has_them(name):
    cells, codecs, fill, expected = VECTORS[name]
    cells = np.asarray(cells, getattr(cells, "dtype", "i2"))
    pipeline = resolve(codecs, cells.shape, cells.dtype, fill)
    assert bytes(pipeline.encode(cells)) == unhex(expected)


@pytest.mark.parametrize("name", VECTORS)
def test_shards_are_read_as_the_format_has_them(name):
    cells, codecs, fill, stored = VECTORS[name]
    cells = np.asarray(cells, getattr(cells, "dtype", "i2"))
    check_reads(resolve(codecs, cells.shape, cells.dtype, fill), unhex(stored), cells)


def check_reads(pipeline, data, cells):
    """Read a shard whole, whole into other memory, and every box of it in parts."""
    found = pipeline.decode(data)
    assert (found.dtype, found.shape, bits(found)) == (cells.dtype, cells.shape, bits(cells))
    assert found.flags.writeable
    assert found.dtype.isnative
    for view in memory_layouts(cells.shape, cells.dtype):
        pipeline.decode_into(data, view)
        assert bits(view) == bits(cells)
    for slices in itertools.product(*(boxes(n) for n in cells.shape)):
        check_part(pipeline, data, cells, slices)


def boxes(length):
    return [slice(a, b) for a in range(length) for b in range(a + 1, length + 1)]


def memory_layouts(shape, dtype):
    """C order, F order, and cells that lie apart, in front of which and behind which there are others."""
    yield np.full(shape, 1, dtype)
    yield np.full(shape[::-1], 1, dtype).transpose()
    yield np.full([2 * n + 1 for n in shape], 1, dtype)[(*(slice(1, None, 2) for _ in shape), ...)]


def check_part(pipeline, data, cells, slices):
    out = np.full([s.stop - s.start for s in slices], 1, cells.dtype)
    read_box(pipeline, data, slices, out)
    assert bits(out) == bits(cells[slices]), slices


def test_inner_chunks_in_morton_order_are_read():
    cells = np.arange(16, dtype="u1").reshape(4, 4)
    stored = (
        "00 01 04 05 08 09 0c 0d 02 03 06 07 0a 0b 0e 0f |" + words(0, 4, 8, 4, 4, 4, 12, 4).hex() + "| ad f3 c7 93"
    )
    check_reads(resolve([sharded((2, 2), [BYTES])], (4, 4), "u1", 255), unhex(stored), cells)


def test_a_shard_of_nothing_but_absent_inner_chunks_reads_as_fill():
    pipeline = resolve([sharded((1, 2))], (2, 2), fill=-7)
    check_reads(pipeline, summed(words(*[ABSENT] * 4)), np.full((2, 2), -7, "i2"))


def test_only_both_words_together_say_that_an_inner_chunk_is_absent():
    pipeline = resolve([sharded((2,))], (2,))
    for pair in [(ABSENT, 4), (0, ABSENT), (ABSENT, 0), (ABSENT - 1, ABSENT), (ABSENT, ABSENT - 1)]:
        spoiled(pipeline, b"\1\0\2\0" + summed(words(*pair)))


def test_gaps_may_hold_anything_and_inner_chunks_may_share_bytes():
    body = b"junk" + b"\1\0\2\0\3\0" + b"more junk"
    cells = np.array([[1, 2], [2, 3], [1, 2], [0, 0]], "i2")
    data = body + summed(words(4, 4, 6, 4, 4, 4, ABSENT, ABSENT))
    check_reads(resolve([sharded((1, 2))], (4, 2)), data, cells)


def test_offsets_count_from_the_start_of_the_object_wherever_the_index_is():
    pipeline = resolve([sharded((2,), location="start")], (4,))
    index = summed(words(36 + 8, 4, 36, 4))
    check_reads(pipeline, index + b"\3\0\4\0junk\1\0\2\0", np.array([1, 2, 3, 4], "i2"))


# ---- index codecs

INDEX_CODECS = {
    "no checksum": [LITTLE],
    "big-endian": [BIG, CRC32C],
    "big-endian without checksum": [BIG],
    "two checksums": [LITTLE, CRC32C, CRC32C],
    "the words in front": [transpose(2, 0, 1), LITTLE, CRC32C],
    "columns first": [transpose(1, 0, 2), BIG],
}


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("name", INDEX_CODECS)
def test_index_codecs(name, location):
    cells = distinct_values((4, 6), "int16", 1)
    cells[:2, 2:4] = 0
    codecs = [sharded((2, 2), index=INDEX_CODECS[name], location=location)]
    pipeline = resolve(codecs, cells.shape)
    data = encode(cells, codecs, 0, random.Random(name))
    assert pipeline.shard.index_size == 6 * 16 + 4 * INDEX_CODECS[name].count(CRC32C)
    check_reads(pipeline, data, cells)
    written = bytes(pipeline.encode(cells))
    check_reads(pipeline, written, cells)
    in_order = type(
        "InOrder", (random.Random,), {"shuffle": lambda *_: None, "random": lambda _: 0.7, "choice": lambda *_: 0}
    )
    assert written == encode(cells, codecs, 0, in_order())


# ---- inner codecs

INNER_CODECS = {
    "little": [LITTLE],
    "big": [BIG],
    "checksum": [LITTLE, CRC32C],
    "gzip": [LITTLE, GZIP],
    "zstd": [BIG, ZSTD],
    "zstd with checksum": [LITTLE, ZSTD, CRC32C],
    "blosc": [LITTLE, BLOSC],
    "transposed": [transpose(2, 0, 1), LITTLE],
    "transposed, swapped, compressed": [transpose(1, 2, 0), BIG, GZIP],
    "transposed twice": [transpose(2, 0, 1), transpose(2, 0, 1), LITTLE, CRC32C],
    "a nested shard, transposed": [transpose(2, 0, 1), sharded((3, 1, 1), [transpose(1, 2, 0), LITTLE])],
}


@pytest.mark.parametrize("before", [[], [transpose(2, 0, 1)], [transpose(1, 2, 0)], [transpose(2, 1, 0)]], ids=str)
@pytest.mark.parametrize("name", INNER_CODECS)
def test_inner_codecs_and_transposes_before(name, before):
    cells = distinct_values((4, 2, 6), "int16", 1)
    cells[:2] = 0
    order = before[0]["configuration"]["order"] if before else [0, 1, 2]
    inner = [(2, 1, 3)[axis] for axis in order]
    codecs = INNER_CODECS[name]
    if "nested" in name:  # what divides the inner chunk, once it is transposed itself
        at = [inner[axis] for axis in (2, 0, 1)]
        codecs = [codecs[0], sharded([n if n == 3 else 1 for n in at], [transpose(1, 2, 0), LITTLE])]
    codecs = [*before, sharded(inner, codecs)]
    pipeline = resolve(codecs, cells.shape)
    check_some(pipeline, bytes(pipeline.encode(cells)), cells)
    if name != "blosc":
        check_some(pipeline, encode(cells, codecs, 0, random.Random(name)), cells)


def check_some(pipeline, data, cells):
    """The same as check_reads, with fewer boxes."""
    assert bits(pipeline.decode(data)) == bits(cells)
    for view in memory_layouts(cells.shape, cells.dtype):
        pipeline.decode_into(data, view)
        assert bits(view) == bits(cells)
    for slices in itertools.product(*([slice(0, n), slice(n // 2, n), slice(n - 1, n)] for n in cells.shape)):
        check_part(pipeline, data, cells, slices)


def test_the_inner_shape_divides_the_shard_as_it_comes_in():
    resolve([transpose(1, 0), sharded((3, 2))], (4, 6))
    with pytest.raises(UnknownCodecError, match=r"\[2, 3\] does not divide the shard, whose shape is \[6, 4\]"):
        resolve([transpose(1, 0), sharded((2, 3))], (4, 6))
    resolve([transpose(2, 0, 1), sharded((5, 1, 3))], (2, 3, 5))
    with pytest.raises(UnknownCodecError, match="does not divide"):
        resolve([transpose(2, 0, 1), sharded((3, 5, 1))], (2, 3, 5))


@pytest.mark.parametrize("depth", [2, 3])
def test_shards_in_shards_are_read_in_parts_and_whole(depth):
    codecs = [LITTLE, CRC32C]
    for level in range(depth):
        location = "end" if level % 2 else "start"
        codecs = [transpose(1, 0), sharded((2**level, 2**level), codecs, location=location)]
    cells = distinct_values((2**depth, 2**depth), "int32", 1)
    cells[: 2 ** (depth - 1), 1] = 0
    cells[0] = 0
    pipeline = resolve(codecs, cells.shape, "int32")
    check_some(pipeline, bytes(pipeline.encode(cells)), cells)
    data = encode(cells, codecs, 0, random.Random(depth))
    check_some(pipeline, data, cells)
    for index in np.ndindex(cells.shape):
        check_part(pipeline, data, cells, tuple(slice(i, i + 1) for i in index))


def test_a_cell_of_a_nested_shard_is_read_by_its_indices_and_its_own_bytes():
    codecs = [sharded((4, 4), [sharded((2, 2), [sharded((1, 1))])])]
    cells = distinct_values((8, 8), "int16", 1)
    pipeline = resolve(codecs, cells.shape)
    data = bytes(pipeline.encode(cells))
    out = np.empty((1, 1), "i2")
    asked = read_box(pipeline, data, (slice(5, 6), slice(2, 3)), out)
    assert out[0, 0] == cells[5, 2]
    assert [wanted.length for wanted in asked] == [4 * 16 + 4, 4 * 16 + 4, 2]


def test_codecs_after_the_shard_leave_only_whole_reads():
    cells = distinct_values((4, 6), "int16", 1)
    for after in ([GZIP], [CRC32C], [ZSTD, CRC32C]):
        codecs = [transpose(1, 0), sharded((3, 2)), *after]
        pipeline = resolve(codecs, cells.shape)
        assert pipeline.shard is None
        data = encode(cells, codecs, 0, random.Random(1))
        assert bits(pipeline.decode(data)) == bits(cells)
        out = np.empty((6, 4), "i2").transpose()
        pipeline.decode_into(data, out)
        assert bits(out) == bits(cells)


@pytest.mark.parametrize("codec", ["numcodecs.delta", "numcodecs.fixedscaleoffset"])
def test_codecs_that_change_cells_before_the_shard_change_the_fill_value_too(codec):
    configuration = {"dtype": "<i2"} if codec.endswith("delta") else {"dtype": "<i2", "scale": 2, "offset": 1}
    cells = distinct_values((8,), "int16", 1) // 4
    shape_codecs = [{"name": codec, "configuration": configuration}, sharded((2,))]
    pipeline = resolve(shape_codecs, cells.shape, fill=5)
    assert pipeline.shard is None
    assert bits(pipeline.decode(pipeline.encode(cells))) == bits(cells)
    cells[:] = 5
    assert bits(pipeline.decode(pipeline.encode(cells))) == bits(cells)


# ---- cells and fill values

DTYPES = ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "S3", "U2", "V5"]
DTYPES += ["M8[s]", "m8[25ns]", [("a", "i2"), ("b", "f8"), ("c", "S3")]]


def cells_of(dtype, count):
    """Arbitrary values of a dtype, each different where there are enough."""
    dtype = np.dtype(dtype)
    if dtype.kind in "biufc":
        return distinct_values((count,), dtype, 1)
    if dtype.kind in "SU":
        return np.array([f"{i}" for i in range(1, count + 1)], dtype)
    cells = np.arange(1, count * dtype.itemsize + 1, dtype="u1").view(dtype)
    return cells.copy()


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cells_of_every_dtype(dtype, endian):
    dtype = np.dtype(dtype)
    cells = cells_of(dtype, 12).reshape(4, 3)
    cells[1] = cells[0, 0]  # is fill
    codecs = [sharded((1, 3), [{"name": "bytes", "configuration": {"endian": endian}}])]
    pipeline = resolve(codecs, cells.shape, dtype, cells[0, 0])
    data = bytes(pipeline.encode(cells))
    assert len(data) == 3 * 3 * dtype.itemsize + 4 * 16 + 4
    check_some(pipeline, data, cells)


@pytest.mark.parametrize("kind", ["vlen-utf8", "vlen-bytes"])
def test_texts_and_bytes_of_any_length(kind):
    texts = ["", "a", "", "", "longer than the others", "\u00fc\U0001f30a", "b", ""]
    cells = np.array([text.encode() for text in texts] if kind == "vlen-bytes" else texts, object).reshape(4, 2)
    fill = b"" if kind == "vlen-bytes" else ""
    spec = ChunkSpec((4, 2), np.dtype(object), fill)
    pipeline = CodecPipeline.resolve([shard_config((1, 2), [NamedConfig(kind), NamedConfig.read(ZSTD, "")])], spec)
    data = pipeline.encode(cells)
    assert pipeline.shard.read_index(data[-68:])[1].tolist() == [[ABSENT, ABSENT]]
    assert pipeline.decode(data).tolist() == cells.tolist()
    out = np.full((4, 1), None, object)
    read_box(pipeline, data, (slice(0, 4), slice(1, 2)), out)
    assert out.tolist() == cells[:, 1:].tolist()


FLOATS = {"zero": 0, "minus zero": 1 << 31, "NaN": 0x7FC00000, "payload": 0x7FC00123, "signaling": 0x7F800001}


@pytest.mark.parametrize("fill", FLOATS)
def test_an_inner_chunk_is_left_out_only_if_its_bits_are_those_of_the_fill(fill):
    cells = np.array(list(FLOATS.values()), "u4").view("f4").repeat(2)
    value = np.array(FLOATS[fill], "u4").view("f4")[()]
    pipeline = resolve([sharded((2,))], cells.shape, "f4", value)
    data = bytes(pipeline.encode(cells))
    index = np.frombuffer(data[-84:-4], "<u8").reshape(5, 2)
    assert [i for i, pair in enumerate(index) if pair[0] == ABSENT] == [list(FLOATS).index(fill)]
    check_reads(pipeline, data, cells)


def test_every_inner_chunk_is_kept_if_that_is_asked_for():
    cells = np.array([[0, 0], [1, 2], [0, 0]], "i2")
    for codecs in ([sharded((1, 2))], [sharded((3, 2), [sharded((1, 2))])]):
        data = bytes(resolve(codecs, cells.shape, keep_empty=True).encode(cells))
        assert data[:12] == bits(cells)
        strict = resolve(codecs, cells.shape, absent_is_error=True)
        check_reads(strict, data, cells)


@pytest.mark.parametrize("levels", [1, 2])
def test_an_absent_inner_chunk_is_an_error_if_that_is_asked_for(levels):
    cells = np.array([[0, 0], [1, 2], [0, 0]], "i2")
    codecs = [sharded((1, 2))] if levels == 1 else [sharded((3, 2), [sharded((1, 2))])]
    data = resolve(codecs, cells.shape).encode(cells)
    pipeline = resolve(codecs, cells.shape, absent_is_error=True)
    with pytest.raises(MissingChunkError, match=r"inner chunk \(0, 0\)"):
        pipeline.decode(data)
    out = np.empty((1, 1), "i2")
    with pytest.raises(MissingChunkError, match=r"inner chunk \(2, 0\)"):
        read_box(pipeline, data, (slice(2, 3), slice(1, 2)), out)
    read_box(pipeline, data, (slice(1, 2), slice(1, 2)), out)
    assert out[0, 0] == 2


def test_equal_cells_give_equal_bytes_whatever_their_memory():
    cells = distinct_values((4, 6), "int16", 1)
    pipeline = resolve([transpose(1, 0), sharded((3, 2), [LITTLE, GZIP])], cells.shape)
    expected = bytes(pipeline.encode(cells))
    for view in memory_layouts(cells.shape, cells.dtype):
        view[...] = cells
        view.flags.writeable = False
        assert bytes(pipeline.encode(view)) == expected


# ---- any array, any nesting, any layout of the shards, any part


@st.composite
def stored_shards(draw):
    """Codecs, the cells and the fill value of a shard, and how it is laid out."""
    ndim = draw(st.integers(1, 3))
    dtype = np.dtype(draw(st.sampled_from(["bool", "u1", "i2", "i4", "f4", "f8", "c8"])))
    ordered = dtype.itemsize > 1
    orders = st.permutations(range(ndim))
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)))
    codecs = [draw(st.sampled_from([LITTLE, BIG])) if ordered else BYTES]
    codecs += draw(st.lists(st.sampled_from([GZIP, ZSTD, CRC32C]), max_size=2))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            order = draw(orders)
            codecs = [transpose(*order), *codecs]
            stored, shape = shape, list(shape)
            for i, axis in enumerate(order):
                shape[axis] = stored[i]
        index = draw(
            st.sampled_from([[LITTLE, CRC32C], [BIG, CRC32C], [LITTLE], [transpose(*range(ndim, -1, -1)), BIG]])
        )
        codecs = [sharded(shape, codecs, index, draw(st.sampled_from(["start", "end"])))]
        times = draw(st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim))
        shape = tuple(n * t for n, t in zip(shape, times, strict=True))
    if draw(st.booleans()):
        order = draw(orders)
        codecs = [transpose(*order), *codecs]
        stored, shape = shape, list(shape)
        for i, axis in enumerate(order):
            shape[axis] = stored[i]
    cells = distinct_values(tuple(shape), dtype, 1)
    fill = draw(st.sampled_from([np.zeros(1, dtype)[0], cells.flat[0], cells.flat[-1]]))
    for _ in range(draw(st.integers(0, 3))):
        cells[draw(parts(cells.shape))] = fill
    return codecs, cells, fill, draw(st.integers(0, 2**32))


@st.composite
def parts(draw, shape):
    """Slices that leave no axis empty."""
    pairs = [sorted((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1)))) for n in shape]
    return tuple(slice(low, high + 1) for low, high in pairs)


@settings(deadline=None, max_examples=250)
@given(stored_shards(), st.data())
def test_any_shard_is_read_whole_and_in_parts(stored, data):
    codecs, cells, fill, seed = stored
    pipeline = resolve(codecs, cells.shape, cells.dtype, fill)
    for value in (encode(cells, codecs, fill, random.Random(seed)), bytes(pipeline.encode(cells))):
        assert bits(pipeline.decode(value)) == bits(cells)
        for view in memory_layouts(cells.shape, cells.dtype):
            pipeline.decode_into(value, view)
            assert bits(view) == bits(cells)
        for _ in range(3):
            check_part(pipeline, value, cells, data.draw(parts(cells.shape)))


# ---- which bytes are asked for

KIB = 1024


def spread(gaps):
    """A shard of raw inner chunks of 4 bytes with so many bytes before each, and its pipeline."""
    pipeline = resolve([sharded((2,))], (2 * len(gaps),))
    body, pairs = b"", []
    for i, gap in enumerate(gaps):
        body += b"\xee" * gap + np.array([2 * i, 2 * i + 1], "<i2").tobytes()
        pairs += [len(body) - 4, 4]
    return pipeline, body + summed(words(*pairs))


def asked_for(pipeline, data, *slices):
    out = np.empty([s.stop - s.start for s in slices], "i2")
    asked = read_box(pipeline, data, slices, out)
    assert out.tolist() == list(range(slices[0].start, slices[0].stop))
    return [(wanted.offset, wanted.length) for wanted in asked]


def test_inner_chunks_next_to_each_other_are_one_range():
    pipeline, data = spread([0] * 8)
    assert asked_for(pipeline, data, slice(4, 11)) == [(8, 16)]
    assert asked_for(pipeline, data, slice(5, 6)) == [(8, 4)]


def test_inner_chunks_far_from_each_other_are_ranges_of_their_own():
    pipeline, data = spread([10, 20, 1024 * KIB, 0, 1024 * KIB])
    first, second = 1024 * KIB + 38, 2048 * KIB + 46
    assert asked_for(pipeline, data, slice(0, 10)) == [(10, 28), (first, 8), (second, 4)]
    assert asked_for(pipeline, data, slice(2, 9)) == [(34, 4), (first, 8), (second, 4)]


def test_ranges_are_asked_for_in_the_order_of_the_bytes_however_inner_chunks_lie():
    pipeline = resolve([sharded((1,))], (4,))
    body = bytearray(3 * 1024 * KIB)
    places = [3 * 1024 * KIB - 2, 0, 1024 * KIB, 2 * 1024 * KIB]
    for value, place in enumerate(places):
        body[place : place + 2] = value.to_bytes(2, "little")
    data = bytes(body) + summed(words(*(n for place in places for n in (place, 2))))
    assert asked_for(pipeline, data, slice(0, 4)) == [(place, 2) for place in sorted(places)]


def test_ranges_that_lie_in_each_other_are_one():
    pipeline = resolve([sharded((2,))], (6,))
    data = np.array([0, 1, 2, 3], "<i2").tobytes() + summed(words(0, 4, 2, 4, 4, 4))
    out = np.empty(6, "i2")
    assert read_box(pipeline, data, (slice(0, 6),), out) == [ByteRange(0, 8)]
    assert out.tolist() == [0, 1, 1, 2, 2, 3]


def test_nothing_is_asked_for_where_all_is_absent():
    pipeline = resolve([sharded((2,))], (8,))
    codec = pipeline.shard

    def get_ranges(ranges):
        raise AssertionError(ranges)

    out = np.ones(2, "i2")
    codec.read_box(np.full((4, 2), ABSENT, "u8"), Box((0,), (2,)), out, get_ranges)
    assert out.tolist() == [0, 0]


# ---- damage


def spoiled(pipeline, data, slices=None):
    """A damaged shard is a CodecError read whole, and read in parts."""
    with pytest.raises(CodecError):
        pipeline.decode(data)
    with pytest.raises(CodecError):
        pipeline.decode_into(data, np.empty(pipeline.spec.shape, pipeline.spec.dtype))
    out = np.empty(pipeline.spec.shape, pipeline.spec.dtype)
    with pytest.raises(CodecError):
        read_box(pipeline, data, slices or tuple(slice(0, n) for n in out.shape), out)


def checked_shard(location="end", codecs=(LITTLE, CRC32C), **options):
    cells = distinct_values((4, 6), "int16", 1)
    cells[2:, 4:] = 0
    pipeline = resolve([sharded((2, 2), codecs, location=location, **options)], cells.shape)
    return pipeline, bytes(pipeline.encode(cells)), cells


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["end", "start"])
def test_every_truncation_is_found(location, nested):
    codecs = [sharded((1, 2), [LITTLE], location=location)] if nested else [LITTLE]
    pipeline, data, _ = checked_shard(location, codecs)
    for length in range(len(data)):
        spoiled(pipeline, data[:length])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["end", "start"])
def test_every_flipped_byte_of_an_index_is_found(location, nested):
    codecs = [sharded((1, 2), [LITTLE], location=location)] if nested else [LITTLE]
    pipeline, data, cells = checked_shard(location, codecs)
    size = pipeline.shard.index_size
    first = len(data) - size if location == "end" else 0
    for at in range(first, first + size):
        for mask in (1, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[at] ^= mask
            spoiled(pipeline, bytes(flipped))
    check_some(pipeline, data, cells)


def test_every_flipped_byte_is_found_where_inner_chunks_have_checksums():
    pipeline, data, _ = checked_shard()
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        spoiled(pipeline, bytes(flipped))


def test_flips_in_an_index_without_checksum_are_errors_or_other_places_never_other_exceptions():
    pipeline = resolve([sharded((2,), index=[LITTLE])], (8,))
    cells = distinct_values((8,), "int16", 1)
    data = bytes(pipeline.encode(cells))
    for at in range(16, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            for read in (
                lambda value: pipeline.decode(value),
                lambda value: read_box(pipeline, value, (slice(1, 8),), np.empty(7, "i2")),
            ):
                try:
                    read(bytes(flipped))
                except CodecError as error:
                    assert "inner chunk" in str(error)  # noqa: PT017


BAD_PLACES = {
    "beyond the end": (1000, 4),
    "partly beyond the end": (40, 8),
    "just beyond the end": (44, 1),
    "nothing, far beyond the end": (2**62, 0),
    "longer than the shard": (0, 1000),
    "of 2^62 bytes": (0, 2**62),
    "sum of 2^63": (2**62, 2**62),
    "sum of 2^64": (2**63, 2**63),
    "sum beyond 2^64": (ABSENT, 5),
    "sum beyond 2^64 that wraps to a place": (ABSENT - 3, 8),
    "too short": (0, 3),
    "too long": (0, 5),
    "empty": (0, 0),
}


@pytest.mark.parametrize("name", BAD_PLACES)
@pytest.mark.parametrize("location", ["end", "start"])
def test_an_index_that_leads_nowhere_is_an_error(name, location):
    pipeline = resolve([sharded((2,), location=location)], (4,))
    offset, length = BAD_PLACES[name]
    index, body = summed(words(0 if location == "end" else 36, 4, offset, length)), b"\1\0\2\0\3\0\4\0"
    data = body + index if location == "end" else index + body
    spoiled(pipeline, data)
    out = np.empty(1, "i2")
    read_box(pipeline, data, (slice(1, 2),), out)  # the other inner chunk is sound
    assert out[0] == 2
    with pytest.raises(CodecError, match=r"inner chunk \(1,\)"):
        pipeline.decode(data)


def test_an_error_in_a_nested_shard_says_where_it_is():
    codecs = [sharded((4,), [sharded((2,), [LITTLE, CRC32C])])]
    pipeline = resolve(codecs, (8,))
    data = bytearray(pipeline.encode(distinct_values((8,), "int16", 1)))
    data[len(data) - 36 - 52 + 8] ^= 1  # in the second inner chunk of the second
    with pytest.raises(CodecError, match=r"inner chunk \(1,\): inner chunk \(1,\)") as caught:
        pipeline.decode(bytes(data))
    assert caught.value.codec == "crc32c"


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=120), st.sampled_from(["start", "end"]), st.booleans(), st.booleans())
@example(b"\xff" * 64, "end", True, False)
def test_noise_is_an_error_or_fill_never_another_exception(noise, location, checked, nested):
    codecs = [sharded((1,), index=[LITTLE], location=location)] if nested else [LITTLE]
    index = [LITTLE, CRC32C] if checked else [LITTLE]
    pipeline = resolve([sharded((2,), codecs, index, location)], (4,))
    for read in (
        lambda: pipeline.decode(noise),
        lambda: read_box(pipeline, noise, (slice(1, 3),), np.empty(2, "i2")),
    ):
        try:
            read()
        except CodecError:
            pass


# ---- memory


def peak_of(action):
    """The most memory that NumPy and Python had at once while it ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_part_of_a_shard_of_very_many_inner_chunks_takes_no_memory_before_its_index_is_there():
    def fail():
        pipeline = resolve([sharded((1,))], (10**8,))
        with pytest.raises(CodecError):
            pipeline.shard.decode_into(b"\0" * 1000, np.empty(0, "i2"))

    assert peak_of(fail) < 2**20


@pytest.mark.parametrize("what", ["decode", "read_index", "nested"])
def test_a_shard_of_very_many_inner_chunks_takes_no_memory_before_its_bytes_are_there(what):
    pipeline = resolve([sharded((1,))], (10**8,))
    outer = resolve([sharded((10**8,), [sharded((1,))])], (2 * 10**8,))
    data = b"\0" * 1000 + summed(words(0, 1000, 0, 1000))
    actions = {
        "decode": lambda: pipeline.decode(b"\0" * 1000),
        "read_index": lambda: pipeline.shard.read_index(b"\0" * 1000),
        "nested": lambda: read_box(outer, data, (slice(5, 6),), np.empty(1, "i2")),
    }

    def fail():
        with pytest.raises(CodecError):
            actions[what]()

    assert peak_of(fail) < 2**20


@pytest.mark.parametrize("count", [10**8 + 1, 2**62])
def test_more_inner_chunks_than_can_be_are_refused(count):
    with pytest.raises(UnknownCodecError, match=f"{count} inner chunks"):
        resolve([sharded((1,))], (count,))


@pytest.mark.parametrize("inner", [2**62, 2**60], ids=["one inner chunk", "four inner chunks"])
def test_a_shard_of_more_cells_than_memory_holds_is_a_codec_error(inner):
    pipeline = resolve([sharded((inner,), [BYTES])], (2**62,), "u1")
    with pytest.raises(CodecError):
        pipeline.decode(b"\0" * 100)
    count = 2**62 // inner
    with pytest.raises(CodecError):
        pipeline.decode(b"\0\1" + summed(words(*[0, 2] * count)))


def test_a_cell_of_an_inner_chunk_of_more_cells_than_memory_holds_is_a_codec_error():
    pipeline = resolve([sharded((2**62,), [BYTES])], (2**62,), "u1")
    with pytest.raises(CodecError):
        read_box(pipeline, b"\0\1" + summed(words(0, 2)), (slice(0, 1),), np.empty(1, "u1"))


# ---- configurations refused

GOOD = sharded((2, 3))["configuration"]
REFUSED = {
    "does not divide": {"chunk_shape": [3, 3]},
    "larger than the shard": {"chunk_shape": [8, 3]},
    "too few axes": {"chunk_shape": [2]},
    "too many axes": {"chunk_shape": [2, 3, 1]},
    "no axes": {"chunk_shape": []},
    "zero": {"chunk_shape": [0, 3]},
    "negative": {"chunk_shape": [-2, 3]},
    "a fraction": {"chunk_shape": [2.0, 3]},
    "a truth value": {"chunk_shape": [True, 3]},
    "text": {"chunk_shape": ["2", 3]},
    "one number": {"chunk_shape": 2},
    "an object": {"chunk_shape": {"0": 2}},
    "null": {"chunk_shape": None},
    "a number beyond 64 bits": {"chunk_shape": [10**30, 3]},
    "no codecs": {"codecs": []},
    "codecs null": {"codecs": None},
    "codecs a name": {"codecs": "bytes"},
    "codecs an object": {"codecs": LITTLE},
    "codecs of a number": {"codecs": [5]},
    "codecs unknown": {"codecs": [{"name": "nonesuch"}]},
    "codecs without an array to bytes codec": {"codecs": [GZIP]},
    "codecs with two array to bytes codecs": {"codecs": [LITTLE, LITTLE]},
    "codecs out of order": {"codecs": [GZIP, LITTLE]},
    "codecs without byte order": {"codecs": [BYTES]},
    "a nested shard that does not divide": {"codecs": [sharded((2, 2))]},
    "a transpose of other axes": {"codecs": [transpose(0, 1, 2), LITTLE]},
    "no index codecs": {"index_codecs": []},
    "index codecs null": {"index_codecs": None},
    "index codecs compressed": {"index_codecs": [LITTLE, GZIP]},
    "index codecs of a shard": {"index_codecs": [sharded((1, 1, 2))]},
    "index codecs without byte order": {"index_codecs": [BYTES]},
    "index codecs unknown": {"index_codecs": [LITTLE, {"name": "nonesuch"}]},
    "index codecs of text": {"index_codecs": [{"name": "vlen-utf8"}]},
    "index in the middle": {"index_location": "middle"},
    "index location null": {"index_location": None},
    "index location a list": {"index_location": ["end"]},
    "an unknown member": {"level": 5},
}


@pytest.mark.parametrize("name", REFUSED)
def test_configurations_that_cannot_be_are_refused(name):
    with pytest.raises(MetadataError) as caught:
        resolve([{"name": "sharding_indexed", "configuration": GOOD | REFUSED[name]}], (4, 6))
    assert str(caught.value)


@pytest.mark.parametrize("member", ["chunk_shape", "codecs", "index_codecs"])
def test_members_that_are_missing_are_named(member):
    configuration = {key: value for key, value in GOOD.items() if key != member}
    with pytest.raises(UnknownCodecError, match=f"{member} is missing"):
        resolve([{"name": "sharding_indexed", "configuration": configuration}], (4, 6))


def test_the_index_is_at_the_end_where_nothing_is_said():
    configuration = {key: value for key, value in GOOD.items() if key != "index_location"}
    cells = distinct_values((4, 6), "int16", 1)
    data = resolve([sharded((2, 3))], (4, 6)).encode(cells)
    check_some(resolve([{"name": "sharding_indexed", "configuration": configuration}], (4, 6)), bytes(data), cells)


def test_bare_names_of_codecs_are_read():
    cells = distinct_values((4,), "u1", 1)
    pipeline = resolve([sharded((2,), ["bytes", "crc32c"])], (4,), "u1")
    check_reads(pipeline, encode(cells, [sharded((2,), [BYTES, CRC32C])], 0, random.Random(3)), cells)


@pytest.mark.parametrize("depth", [3, 100])
def test_shards_may_lie_in_shards_to_some_depth(depth):
    codecs = [LITTLE]
    for _ in range(depth):
        codecs = [sharded((1,), codecs)]
    pipeline = resolve(codecs, (2,))
    cells = np.array([5, 6], "i2")
    assert bits(pipeline.decode(pipeline.encode(cells))) == bits(cells)


def test_shards_in_shards_without_end_are_refused():
    codecs = [LITTLE]
    for _ in range(2000):
        codecs = [sharded((1,), codecs)]
    with pytest.raises(DaskZarrError):
        resolve(codecs, (2,))


def test_a_name_that_only_we_use_cannot_be_given_inside_a_shard():
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4, 6],
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [sharded((2, 3), [{"name": "v2.bytes", "configuration": {"dtype": "<i2"}}])],
    }
    with pytest.raises(DaskZarrError):
        from_zarr({"zarr.json": json.dumps(document).encode()})


def test_an_unknown_inner_codec_that_need_not_be_understood_can_be_read_without_but_not_written():
    optional = {"name": "example.hint", "must_understand": False}
    cells = distinct_values((4,), "int16", 1)
    data = encode(cells, [sharded((2,))], 0, random.Random(0))
    for codecs in ([sharded((2,), [LITTLE, optional])], [sharded((4,), [sharded((2,), [optional, LITTLE])])]):
        pipeline = resolve(codecs, (4,))
        with pytest.raises(UnknownCodecError, match="not written"):
            pipeline.check_can_write()
    check_reads(resolve([sharded((2,), [LITTLE, optional])], (4,)), data, cells)


# ---- what else the module says


def test_the_innermost_shape_is_said_along_the_arrays_axes():
    def said(codecs, shape):
        return inner_chunk_shape([NamedConfig.read(codec, "codecs") for codec in codecs], len(shape))

    assert said([LITTLE], (2, 4)) is None
    assert said([sharded((1, 2))], (2, 4)) == (1, 2)
    assert said([transpose(2, 0, 1), sharded((5, 1, 3))], (2, 3, 5)) == (1, 3, 5)
    assert said([transpose(2, 0, 1), sharded((5, 1, 3), [transpose(1, 2, 0), sharded((1, 1, 5))])], (2, 3, 5)) == (
        1,
        1,
        5,
    )
    assert said([transpose(1, 2, 0), sharded((3, 4, 2), [transpose(2, 0, 1), sharded((1, 3, 2))])], (2, 3, 4)) == (
        1,
        3,
        2,
    )
    assert said([{"name": "numcodecs.delta", "configuration": {"dtype": "<i2"}}, sharded((1, 2))], (2, 4)) is None


def test_the_innermost_chunks_of_a_box_are_counted():
    shapes = {(2, 3): [sharded((2, 3))], (1, 3): [sharded((4, 6), [transpose(1, 0), sharded((3, 1))])]}
    for inner, codecs in shapes.items():
        codec = resolve(codecs, (8, 12)).shard
        grid = RegularGrid((8, 12), inner)
        for rows, columns in itertools.product(boxes(8), boxes(12)):
            box = Box((rows.start, columns.start), (rows.stop, columns.stop))
            assert inner_count(codec, box) == (len(list(grid.project(box))), grid.chunk_count)


def test_a_new_shard_codec_spells_every_member_out():
    config = shard_config((2, 3), [NamedConfig("bytes", {"endian": "little"}), NamedConfig("crc32c")])
    assert config.write() == sharded((2, 3), [LITTLE, CRC32C])


def test_the_size_of_an_index_is_that_of_its_words_and_checksum():
    for shape, inner in [((4, 6), (2, 3)), ((100,), (1,)), ((3, 1, 7), (1, 1, 7)), ((), ())]:
        count = math.prod(n // c for n, c in zip(shape, inner, strict=True))
        pipeline = resolve([sharded(inner)], shape)
        assert pipeline.shard.index_size == 16 * count + 4
