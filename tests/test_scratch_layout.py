"""Objects in scratch: every cell to its piece and back, checksums, and nothing but an error for damaged bytes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.block_grid import BlockGrid, ListedCuts, RegularCuts
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io.scratch import Layout, Packing, unpack
from daskzarr.errors import CodecError
from daskzarr.rechunk_plan import PIECE_END
from daskzarr.testing import distinct_values

DTYPES = ("u1", "<i2", ">i2", "i4", "f8", ">f8", "c16", "M8[s]", ">m8[ns]", "S3", "V5", "<U2")
RECORD = np.dtype([("a", "u1"), ("b", ">i4"), ("c", "f8", (2,))])
SETTINGS = settings(max_examples=120, deadline=None)


def cells_of(shape, dtype):
    """An array with every position distinct, in any dtype."""
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    if dtype == RECORD:
        found = np.zeros(count, dtype)
        found["b"] = np.arange(1, count + 1)
        found["c"] = np.arange(2 * count).reshape(count, 2) + 0.5
        return found.reshape(shape)
    if dtype.kind in "SUV":
        numbers = np.arange(1, count + 1, dtype=">u8").reshape(count, 1).view("u1")[:, -3:]
        padded = np.zeros((count, dtype.itemsize), "u1")
        if dtype.kind == "U":
            padded[:, 0], padded[:, 4] = numbers[:, -1], numbers[:, -2]
        else:
            padded[:, :3] = numbers
        return padded.view(dtype).reshape(shape)
    if dtype.kind in "Mm":
        return distinct_values(shape, "i8", 1).astype(dtype.newbyteorder("=")).astype(dtype)
    return distinct_values(shape, dtype.newbyteorder("="), 1).astype(dtype)


@st.composite
def axis_cuts(draw, size):
    if draw(st.booleans()):
        return RegularCuts(0, size, draw(st.integers(1, size + 2)))
    inner = draw(st.sets(st.integers(1, size - 1), max_size=5)) if size > 1 else ()
    return ListedCuts((0, *sorted(inner), size))


@st.composite
def cases(draw):
    """A box of an array, and how the next stage cuts that array."""
    most = (30, 10, 6, 4)
    shape = [draw(st.integers(1, most[n])) for n in range(draw(st.integers(1, 4)))]
    start = [draw(st.integers(0, n - 1)) for n in shape]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
    after = tuple(draw(axis_cuts(n)) for n in shape)
    dtype = draw(st.sampled_from([*map(np.dtype, DTYPES), RECORD]))
    return Box(tuple(start), tuple(stop)), after, dtype


def blocks_of(box, after):
    """The blocks of the next stage that share cells with a box, by looking at all."""
    for index in itertools.product(*(range(cuts.count) for cuts in after)):
        low, high = BlockGrid(after).box(index)
        start = tuple(map(max, low, box.start))
        stop = tuple(map(min, high, box.stop))
        if all(a < b for a, b in zip(start, stop, strict=True)):
            yield index, Box(start, stop)


def inside(box, where):
    """Where cells lie in a block."""
    return tuple(slice(a - o, b - o) for a, b, o in zip(*where, box.start, strict=True))


def packed(layout, box, cells, parts):
    packing = Packing(layout)
    packing.data[:] = 0xAA  # what new memory holds
    for where in parts:
        packing.put(where, cells[inside(box, where)])
    return bytes(packing.seal())


def part_of(data, byte_range):
    return data[byte_range.offset : byte_range.offset + byte_range.length]


@st.composite
def parts_of(draw, box):
    """A box, divided by a grid of its own, in any order."""
    axes = []
    for a, b in zip(*box, strict=True):
        edges = [a, *sorted(draw(st.sets(st.integers(a + 1, b - 1), max_size=3)) if b - a > 1 else ()), b]
        axes.append(list(itertools.pairwise(edges)))
    parts = [Box(*zip(*each, strict=True)) for each in itertools.product(*axes)]
    return draw(st.permutations(parts))


# ---- layout


@SETTINGS
@given(cases())
def test_pieces_are_the_shares_of_all_blocks_and_lie_one_after_the_other(case):
    box, after, dtype = case
    layout = Layout.of(box, after, dtype)
    end = 0
    for index, wanted in blocks_of(box, after):
        where, byte_range = layout.piece_for(index)
        assert where == wanted
        assert byte_range.offset == end
        assert byte_range.offset % 8 == 0
        size = math.prod(where.shape) * dtype.itemsize
        assert size + PIECE_END <= byte_range.length < size + PIECE_END + 8
        end = byte_range.offset + byte_range.length
    assert layout.nbytes == end


# ---- round trip


@SETTINGS
@given(cases(), st.data())
def test_every_cell_comes_back_whatever_parts_it_came_in(case, data):
    box, after, dtype = case
    cells = cells_of(box.shape, dtype)
    layout = Layout.of(box, after, dtype)
    found = packed(layout, box, cells, data.draw(parts_of(box)))
    assert len(found) == layout.nbytes
    assert found == packed(layout, box, cells, [box])
    seen = np.zeros(box.shape, int)
    for index, _ in blocks_of(box, after):
        where, byte_range = layout.piece_for(index)
        piece = unpack(part_of(found, byte_range), where, dtype)
        assert piece.dtype == dtype
        assert piece.tobytes() == cells[inside(box, where)].tobytes()
        seen[inside(box, where)] += 1
    assert (seen == 1).all()


def test_cells_of_other_layouts_in_memory():
    box, after = Box((0, 0), (6, 5)), (RegularCuts(0, 6, 4), RegularCuts(0, 5, 2))
    cells = distinct_values((6, 5), "i4", 1)
    layout = Layout.of(box, after, np.dtype("i4"))
    wanted = packed(layout, box, cells, [box])
    for other in (
        np.asfortranarray(cells),
        np.flip(cells[::-1, ::-1]),
        cells.astype(">i4"),
        np.repeat(cells, 2, 1)[:, ::2],
    ):
        assert packed(layout, box, other, [box]) == wanted


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_pieces_are_read_from_any_buffer(buffer):
    box, after = Box((2,), (9,)), (RegularCuts(0, 12, 4),)
    cells = distinct_values((7,), "i2", 1)
    layout = Layout.of(box, after, np.dtype("i2"))
    data = packed(layout, box, cells, [box])
    where, byte_range = layout.piece_for((1,))
    assert where == Box((4,), (8,))
    np.testing.assert_array_equal(unpack(buffer(part_of(data, byte_range)), where, np.dtype("i2")), cells[2:6])


# ---- damage


@SETTINGS
@given(cases(), st.data())
def test_a_piece_with_a_bit_changed_is_found(case, data):
    box, after, dtype = case
    layout = Layout.of(box, after, dtype)
    found = packed(layout, box, cells_of(box.shape, dtype), [box])
    index, where = data.draw(st.sampled_from(list(blocks_of(box, after))))
    piece = bytearray(part_of(found, layout.piece_for(index)[1]))
    size = math.prod(where.shape) * dtype.itemsize
    at = data.draw(st.one_of(st.integers(0, size - 1), st.integers(len(piece) - PIECE_END, len(piece) - 1)))
    piece[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CodecError, match="damaged"):
        unpack(bytes(piece), where, dtype)


@SETTINGS
@given(cases(), st.data())
def test_a_piece_of_another_length_is_found(case, data):
    box, after, dtype = case
    layout = Layout.of(box, after, dtype)
    found = packed(layout, box, cells_of(box.shape, dtype), [box])
    index, where = data.draw(st.sampled_from(list(blocks_of(box, after))))
    piece = part_of(found, layout.piece_for(index)[1])
    length = data.draw(st.integers(0, 2 * len(piece)).filter(lambda n: n != len(piece)))
    with pytest.raises(CodecError, match="damaged"):
        unpack((piece + piece)[:length], where, dtype)


@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
@pytest.mark.parametrize("count", [1, 4, 5, 100])
def test_a_piece_of_nothing_is_no_piece(count, fill):
    """What a disk gives after a crash."""
    where = Box((0,), (count,))
    with pytest.raises(CodecError, match="damaged"):
        unpack(fill * (-(-count // 8) * 8 + PIECE_END), where, np.dtype("u1"))


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_give_an_error_or_a_piece_that_was_written(data, count):
    with pytest.raises(CodecError):
        unpack(data, Box((0,), (count,)), np.dtype("i4"))
