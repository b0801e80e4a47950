"""Cuts and block grids against brute force, and against how Dask slices."""

import itertools
import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.block_grid import BlockGrid, ListedCuts, RegularCuts, cuts, grow_blocks
from daskzarr.chunk_grid import Box

lengths = st.lists(st.integers(0, 5), min_size=1, max_size=6).map(tuple)


@st.composite
def regular_lengths(draw):
    step = draw(st.integers(1, 5))
    first, last = draw(st.integers(1, step)), draw(st.integers(1, step))
    return (first, *((step,) * draw(st.integers(0, 5))), last)


@st.composite
def runs(draw):
    """A cut axis, and a part of it."""
    axis = cuts(draw(st.integers(0, 9)), draw(lengths | regular_lengths()))
    size = sum(axis.lengths)
    start, stop = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    return axis, start, stop


@st.composite
def block_grids(draw):
    axes = [cuts(0, part) for part in draw(st.lists(lengths | regular_lengths(), max_size=3))]
    return BlockGrid(tuple(axes))


def blocks_of(grid):
    return list(itertools.product(*map(range, grid.numblocks)))


def numbered(shape):
    return np.arange(math.prod(shape)).reshape(shape)


@given(st.integers(0, 20), lengths | regular_lengths())
def test_cuts_keep_the_lengths_and_where_they_lie(start, parts):
    axis = cuts(start, parts)
    assert axis.lengths == parts
    assert axis.count == len(parts)
    edges = [start + sum(parts[:i]) for i in range(len(parts) + 1)]
    assert [axis.bounds(i) for i in range(axis.count)] == list(itertools.pairwise(edges))


def test_lengths_that_repeat_take_no_more_room_the_more_they_are():
    assert cuts(0, (10,) * 5000 + (3,)) == RegularCuts(0, 50003, 10)
    assert cuts(6, (4, 10, 10, 2)) == RegularCuts(6, 32, 10)
    assert isinstance(cuts(0, (4, 10, 10, 2)), ListedCuts)


def test_cuts_take_numpy_integers_and_hold_plain_ones():
    for axis in (cuts(0, tuple(np.array([4, 4, 3]))), cuts(0, tuple(np.array([1, 4, 3])))):
        assert all(type(n) is int for i in range(3) for n in axis.bounds(i))


@pytest.mark.parametrize("axis", [RegularCuts(4, 4, 4), RegularCuts(5, 5, 4), cuts(3, (0,))])
def test_an_empty_axis_is_one_empty_block(axis):
    assert axis.count == 1
    assert axis.lengths == (0,)
    assert axis.bounds(0)[0] == axis.bounds(0)[1]


@given(runs())
def test_narrowing_slices_the_cells_and_keeps_the_edges_inside(run):
    axis, start, stop = run
    block_of_cell = np.repeat(np.arange(axis.count), axis.lengths)[start:stop]
    narrowed = axis.narrow(start, stop)
    first = axis.bounds(0)[0]
    assert (narrowed.bounds(0)[0], narrowed.bounds(narrowed.count - 1)[1]) == (first + start, first + stop)
    expected = [len(list(group)) for _, group in itertools.groupby(block_of_cell)]
    assert [n for n in narrowed.lengths if n] == expected
    assert len(narrowed.lengths) == narrowed.count


@given(runs(), st.data())
def test_narrowing_twice_is_narrowing_once(run, data):
    axis, start, stop = run
    low, high = sorted(data.draw(st.tuples(st.integers(0, stop - start), st.integers(0, stop - start))))
    assert axis.narrow(start, stop).narrow(low, high).lengths == axis.narrow(start + low, start + high).lengths


@settings(max_examples=50, deadline=None)
@given(runs())
def test_narrowing_cuts_as_dask_does(run):
    axis, start, stop = run
    if all(axis.lengths):
        sliced = da.zeros(sum(axis.lengths), chunks=(axis.lengths,))[start:stop]
        assert axis.narrow(start, stop).lengths == sliced.chunks[0]


@given(block_grids())
def test_boxes_tile_the_region(grid):
    times = np.zeros(grid.region.stop, int)
    for block in blocks_of(grid):
        times[grid.box(block).slices] += 1
        assert grid.box(block).shape == tuple(c[i] for c, i in zip(grid.chunks, block, strict=True))
    assert (times[grid.region.slices] == 1).all()
    assert times.sum() == math.prod(grid.region.shape)
    assert grid.block_count == len(blocks_of(grid))


@given(block_grids(), st.data())
def test_narrowing_a_grid_is_numpys_indexing(grid, data):
    array = numbered(grid.region.stop)
    index = []
    for n in array.shape:
        a, b = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
        index.append(data.draw(st.integers(0, n - 1)) if n and data.draw(st.booleans()) else slice(a, b))
    narrowed, expected = grid.narrow(index), array[tuple(index)]
    assert tuple(sum(part) for part in narrowed.chunks) == expected.shape
    starts = [list(itertools.accumulate(part, initial=0)) for part in narrowed.chunks]
    for block in blocks_of(narrowed):
        found = array[narrowed.box(block).slices].squeeze(narrowed.dropped)
        place = tuple(slice(s[i], s[i + 1]) for s, i in zip(starts, block, strict=True))
        assert np.array_equal(found, expected[place])


def test_narrowing_a_grid_that_lost_an_axis_counts_the_axes_that_are_left():
    grid = BlockGrid((cuts(0, (2, 2)), cuts(0, (3, 3)), cuts(0, (4, 1))))
    once = grid.narrow([slice(0, 4), 4, slice(0, 5)])
    twice = once.narrow([slice(1, 3), 4])
    assert once.dropped == (1,)
    assert once.kept == (0, 2)
    assert twice.dropped == (1, 2)
    assert twice.chunks == ((1, 1),)
    assert twice.box((1,)) == Box((2, 4, 4), (3, 5, 5))


def test_a_scalar_is_one_block():
    grid = BlockGrid(())
    assert grid.numblocks == grid.chunks == ()
    assert grid.block_count == 1
    assert grid.box(()) == grid.region == Box((), ())


chunked_axes = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=4)
limits = st.integers(0, 4000)


@given(chunked_axes, limits, st.booleans())
def test_grown_blocks_are_whole_chunks_within_the_limit(axes, limit, trailing_first):
    shape, chunk_shape = [n for n, _ in axes], [c for _, c in axes]
    block = grow_blocks(shape, chunk_shape, limit, trailing_first=trailing_first)
    assert len(block) == len(shape)
    assert all(b >= c and b % c == 0 for b, c in zip(block, chunk_shape, strict=True))
    assert math.prod(block) <= max(limit, math.prod(chunk_shape))


@given(chunked_axes, limits, st.booleans())
def test_grown_blocks_are_no_longer_than_the_array_needs_and_even(axes, limit, trailing_first):
    shape, chunk_shape = [n for n, _ in axes], [c for _, c in axes]
    block = grow_blocks(shape, chunk_shape, limit, trailing_first=trailing_first)
    for n, c, b in zip(shape, chunk_shape, block, strict=True):
        chunks, times = max(-(-n // c), 1), b // c
        assert times <= chunks
        blocks = -(-chunks // times)
        assert times == -(-chunks // blocks), "fewer chunks a block give as many blocks, of more even length"


@given(chunked_axes, limits)
def test_blocks_grown_from_the_trailing_axis_are_runs_of_memory(axes, limit):
    shape, chunk_shape = [n for n, _ in axes], [c for _, c in axes]
    block = grow_blocks(shape, chunk_shape, limit, trailing_first=True)
    several = [i for i, (b, c) in enumerate(zip(block, chunk_shape, strict=True)) if b > c]
    for axis in range(several[0] + 1 if several else len(block), len(block)):
        assert block[axis] >= shape[axis]


@given(chunked_axes, st.booleans())
def test_with_room_for_everything_one_block_covers_the_array(axes, trailing_first):
    shape, chunk_shape = [n for n, _ in axes], [c for _, c in axes]
    room = math.prod(n + c for n, c in axes)
    block = grow_blocks(shape, chunk_shape, room, trailing_first=trailing_first)
    assert all(b >= n for b, n in zip(block, shape, strict=True))


def test_blocks_grow_along_all_axes_alike():
    assert grow_blocks((100, 100, 100), (10, 10, 10), 8000) == (20, 20, 20)
    assert grow_blocks((100, 100), (10, 10), 1600) == (40, 40)
