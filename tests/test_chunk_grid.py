"""Regular grids against brute force: every cell of an array, one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.chunk_grid import Box, RegularGrid


@st.composite
def grids(draw, max_ndim=3):
    axes = draw(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 9)), max_size=max_ndim))
    return RegularGrid(tuple(n for n, _ in axes), tuple(c for _, c in axes))


@st.composite
def grids_and_boxes(draw):
    grid = draw(grids())
    pairs = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in grid.shape]
    return grid, Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def cells(box):
    return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


def cells_by_chunk(grid):
    found = {}
    for cell in itertools.product(*map(range, grid.shape)):
        found.setdefault(tuple(x // c for x, c in zip(cell, grid.chunk_shape, strict=True)), set()).add(cell)
    return found


def numbered(grid):
    """The array with its cells numbered from 1, and the same padded with 0 to whole chunks."""
    array = np.arange(1, np.prod(grid.shape, dtype=int) + 1).reshape(grid.shape)
    lengths = [n * c for n, c in zip(grid.counts, grid.chunk_shape, strict=True)]
    padded = np.zeros(lengths, int)
    padded[tuple(map(slice, grid.shape))] = array
    return array, padded


def stored_chunk(grid, padded, index):
    return padded[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, grid.chunk_shape, strict=True))]


@pytest.mark.parametrize(
    ("shape", "chunk_shape", "counts"),
    [
        ((10,), (3,), (4,)),
        ((9,), (3,), (3,)),
        ((5,), (8,), (1,)),
        ((0,), (4,), (0,)),
        ((4, 0), (3, 2), (2, 0)),
        ((), (), ()),
        ((7, 5), (2, 5), (4, 1)),
    ],
)
def test_counts_are_lengths_divided_and_rounded_up(shape, chunk_shape, counts):
    grid = RegularGrid(shape, chunk_shape)
    assert grid.counts == counts
    assert grid.chunk_count == len(list(itertools.product(*map(range, counts))))


def test_lengths_beyond_the_range_of_floats_are_exact():
    grid = RegularGrid((2**62 + 1,), (2,))
    assert grid.counts == (2**61 + 1,)
    assert grid.box((2**61,)) == Box((2**62,), (2**62 + 1,))


def test_a_box_shows_its_shape_and_slices():
    box = Box((1, 4), (3, 4))
    assert box.shape == (2, 0)
    assert box.slices == (slice(1, 3), slice(4, 4))


@given(grids())
def test_boxes_of_all_chunks_tile_the_array(grid):
    times = np.zeros(grid.shape, int)
    for index in itertools.product(*map(range, grid.counts)):
        times[grid.box(index).slices] += 1
    assert (times == 1).all()


@given(grids())
def test_a_chunks_box_holds_the_cells_that_divide_to_its_index(grid):
    by_chunk = cells_by_chunk(grid)
    assert set(by_chunk) == set(itertools.product(*map(range, grid.counts)))
    for index, expected in by_chunk.items():
        assert cells(grid.box(index)) == expected


@given(grids_and_boxes())
def test_projections_put_every_cell_of_a_box_in_its_place_once(grid_and_box):
    grid, box = grid_and_box
    array, padded = numbered(grid)
    out, times = np.zeros(box.shape, int), np.zeros(box.shape, int)
    for part in grid.project(box):
        out[part.out_slices] = stored_chunk(grid, padded, part.chunk)[part.chunk_slices]
        times[part.out_slices] += 1
    assert (times == 1).all()
    assert np.array_equal(out, array[box.slices])


@given(grids_and_boxes())
def test_projections_name_just_the_chunks_touched_in_c_order(grid_and_box):
    grid, box = grid_and_box
    wanted = cells(box)
    touched = [index for index, inside in sorted(cells_by_chunk(grid).items()) if inside & wanted]
    assert [part.chunk for part in grid.project(box)] == touched


@given(grids_and_boxes())
def test_a_projection_is_whole_if_the_box_has_all_cells_of_the_chunk(grid_and_box):
    grid, box = grid_and_box
    wanted, by_chunk = cells(box), cells_by_chunk(grid)
    for part in grid.project(box):
        assert part.whole == (by_chunk[part.chunk] <= wanted)


@given(grids_and_boxes())
def test_single_finds_the_chunk_whose_cells_are_the_box(grid_and_box):
    grid, box = grid_and_box
    same = [index for index, inside in cells_by_chunk(grid).items() if inside == cells(box)]
    assert grid.single(box) == (same[0] if same else None)


@given(grids())
def test_single_inverts_box(grid):
    for index in itertools.product(*map(range, grid.counts)):
        assert grid.single(grid.box(index)) == index


def test_a_scalar_is_one_chunk():
    grid, box = RegularGrid((), ()), Box((), ())
    assert grid.box(()) == box
    assert grid.single(box) == ()
    assert [part.chunk for part in grid.project(box)] == [()]


def test_an_empty_box_touches_no_chunk():
    assert list(RegularGrid((6, 6), (2, 3)).project(Box((2, 3), (4, 3)))) == []
