"""Rectilinear grids against brute force: every cell of an array, one by one."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.rectilinear_grid import Edges, RectilinearGrid, runs_of


@st.composite
def axes(draw):
    """A length and its chunks: one step, or runs that cover it and may go beyond it by whole chunks."""
    size = draw(st.integers(0, 9))
    if draw(st.integers(0, 3)) == 0:
        return size, draw(st.integers(1, 11))
    runs = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=4))
    missing = size - sum(length * count for length, count in runs)
    if missing > 0:
        runs.insert(draw(st.integers(0, len(runs))), (missing, 1))
    return size, tuple(runs)


@st.composite
def grids(draw, max_ndim=3):
    found = draw(st.lists(axes(), max_size=max_ndim))
    return RectilinearGrid(tuple(size for size, _ in found), tuple(chunks for _, chunks in found))


@st.composite
def grids_and_boxes(draw):
    grid = draw(grids())
    pairs = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in grid.shape]
    return grid, Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


# ---- the oracle: the chunk of every cell, counted from the first


def lengths_of(size, chunks):
    """The length of every chunk, those beyond the array too."""
    if isinstance(chunks, int):
        return [chunks] * max(-(-size // chunks), 1)
    return [length for length, count in chunks for _ in range(count)]


def owners(size, chunks):
    """For every cell that the chunks cover, the number of its chunk."""
    return [i for i, length in enumerate(lengths_of(size, chunks)) for _ in range(length)]


def cells(box):
    return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


def cells_by_chunk(grid):
    owned = [owners(size, chunks) for size, chunks in zip(grid.shape, grid.chunk_shapes, strict=True)]
    found = {}
    for cell in itertools.product(*map(range, grid.shape)):
        found.setdefault(tuple(axis[x] for axis, x in zip(owned, cell, strict=True)), set()).add(cell)
    return found


def numbered(grid):
    """The array with its cells numbered from 1, and the same padded with 0 to whole chunks."""
    array = np.arange(1, np.prod(grid.shape, dtype=int) + 1).reshape(grid.shape)
    pairs = zip(grid.shape, grid.chunk_shapes, strict=True)
    padded = np.zeros([sum(lengths_of(size, chunks)) for size, chunks in pairs], int)
    padded[tuple(map(slice, grid.shape))] = array
    return array, padded


def stored_chunk(grid, padded, index):
    """The stored chunk at an index, the part beyond the array included."""
    places = []
    for size, chunks, i in zip(grid.shape, grid.chunk_shapes, index, strict=True):
        lengths = lengths_of(size, chunks)
        places.append(slice(sum(lengths[:i]), sum(lengths[: i + 1])))
    return padded[tuple(places)]


# ---- along one axis


@pytest.mark.parametrize(
    ("size", "runs", "lengths"),
    [
        (6, ((2, 1), (4, 1)), (2, 4)),
        (7, ((3, 2), (1, 1)), (3, 3, 1)),
        (10, ((3, 4),), (3, 3, 3, 1)),
        (7, ((2, 3), (1, 1)), (2, 2, 2, 1)),
        (5, ((4, 1), (9, 1)), (4, 1)),
        (5, ((5, 1), (9, 5)), (5,)),
        (5, ((9, 1),), (5,)),
        (0, ((3, 2),), ()),
        (0, (), ()),
    ],
)
def test_lengths_are_those_of_the_runs_as_far_as_there_are_cells(size, runs, lengths):
    edges = Edges(size, runs)
    assert edges.lengths == lengths
    assert edges.count == len(lengths)
    assert edges.total == sum(length * count for length, count in runs)


@given(axes())
def test_edges_agree_with_the_chunk_of_every_cell(axis):
    size, chunks = axis
    edges = RectilinearGrid((size,), (chunks,)).axes[0]
    owned, lengths = owners(size, chunks), lengths_of(size, chunks)
    assert edges.size == size
    assert edges.total == len(owned)
    assert edges.count == len(set(owned[:size]))
    assert edges.lengths == tuple(owned[:size].count(i) for i in range(edges.count))
    if size:
        assert edges.longest == max(lengths[: edges.count])
    assert [edges.find(cell) for cell in range(size)] == owned[:size]
    for i in range(edges.count):
        assert edges.bounds(i) == (sum(lengths[:i]), sum(lengths[: i + 1]))


def test_lengths_beyond_the_range_of_floats_are_exact():
    edges = Edges(2**62 + 2**60 + 3, ((2**61, 2), (1, 2**60), (5, 1)))
    assert edges.count == 2 + 2**60 + 1
    assert edges.find(2**62 + 2**60 - 1) == 2**60 + 1
    assert edges.find(2**62 + 2**60) == 2**60 + 2
    assert edges.bounds(2**60 + 2) == (2**62 + 2**60, 2**62 + 2**60 + 5)
    grid = RectilinearGrid((2**62 + 1,), (2,))
    assert grid.counts == (2**61 + 1,)
    assert grid.box((2**61,)) == Box((2**62,), (2**62 + 1,))
    assert grid.chunk_shape_at((2**61,)) == (2,)


@given(st.lists(st.integers(1, 4), max_size=9))
def test_runs_are_equal_lengths_counted(lengths):
    runs = runs_of(lengths)
    assert [length for length, count in runs for _ in range(count)] == lengths
    assert all(a[0] != b[0] for a, b in itertools.pairwise(runs))


# ---- the grid


@given(grids())
def test_counts_are_the_chunks_with_cells(grid):
    by_chunk = cells_by_chunk(grid)
    assert grid.chunk_count == len(by_chunk)
    assert set(itertools.product(*map(range, grid.counts))) == set(by_chunk)


@given(grids())
def test_the_chunk_shape_is_the_longest_of_the_array_along_each_axis(grid):
    for size, chunks, longest in zip(grid.shape, grid.chunk_shapes, grid.chunk_shape, strict=True):
        if size:
            used = owners(size, chunks)[:size]
            assert longest == max(lengths_of(size, chunks)[i] for i in used)


@pytest.mark.parametrize(("chunks", "longest"), [(4, 4), (((2, 3),), 2), (((2, 3), (5, 1)), 5)])
def test_where_there_are_no_cells_the_chunks_are_those_that_would_be(chunks, longest):
    assert RectilinearGrid((0, 6), (chunks, 3)).chunk_shape == (longest, 3)


def test_chunks_beyond_the_array_do_not_count():
    assert RectilinearGrid((4, 6), (((2, 2), (9, 1)), ((3, 2), (1, 5)))).chunk_shape == (2, 3)


@given(grids())
def test_chunks_are_stored_with_the_shape_that_is_declared(grid):
    _, padded = numbered(grid)
    for index in itertools.product(*map(range, grid.counts)):
        assert grid.chunk_shape_at(index) == stored_chunk(grid, padded, index).shape


@given(grids())
def test_boxes_of_all_chunks_tile_the_array(grid):
    times = np.zeros(grid.shape, int)
    for index in itertools.product(*map(range, grid.counts)):
        times[grid.box(index).slices] += 1
    assert (times == 1).all()


@given(grids())
def test_a_chunks_box_holds_its_cells(grid):
    for index, expected in cells_by_chunk(grid).items():
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


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 11)), max_size=3), st.data())
def test_equal_steps_are_a_regular_grid(pairs, data):
    shape, steps = tuple(n for n, _ in pairs), tuple(c for _, c in pairs)
    regular, grid = RegularGrid(shape, steps), RectilinearGrid(shape, steps)
    assert grid.counts == regular.counts
    assert all(size == 0 or a == b for size, a, b in zip(shape, grid.chunk_shape, regular.chunk_shape, strict=True))
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    box = Box(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))
    assert list(grid.project(box)) == list(regular.project(box))
    assert grid.single(box) == regular.single(box)


def test_a_scalar_is_one_chunk():
    grid, box = RectilinearGrid((), ()), Box((), ())
    assert grid.counts == grid.chunk_shape == ()
    assert grid.chunk_count == 1
    assert grid.box(()) == box
    assert grid.single(box) == ()
    assert [(part.chunk, part.whole) for part in grid.project(box)] == [((), True)]


def test_an_empty_box_touches_no_chunk():
    grid = RectilinearGrid((6, 6), (((2, 1), (4, 1)), 3))
    assert list(grid.project(Box((2, 3), (4, 3)))) == []
    assert grid.single(Box((2, 3), (2, 6))) is None


def test_an_array_without_cells_has_no_chunks():
    grid = RectilinearGrid((0, 6), ((), ((2, 3),)))
    assert grid.counts == (0, 3)
    assert grid.chunk_count == 0
    assert list(grid.project(Box((0, 0), (0, 6)))) == []


def test_grids_are_values():
    first, second = (RectilinearGrid((6, 7), (((2, 1), (4, 1)), 3)) for _ in range(2))
    assert first.axes
    assert first == second != RectilinearGrid((6, 7), (((4, 1), (2, 1)), 3))
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == second
    assert len(pickle.dumps(RectilinearGrid((10**15,), (((7, 10**14), (1, 10**15)),)))) < 300


def test_a_grid_of_very_many_chunks_costs_nothing():
    grid = RectilinearGrid((10**15,) * 3, (((3, 10**14), (2, 10**15)),) * 3)
    last = tuple(n - 1 for n in grid.counts)
    assert grid.chunk_count == grid.counts[0] ** 3
    assert grid.single(grid.box(last)) == last
    middle = Box((5 * 10**14,) * 3, (5 * 10**14 + 3,) * 3)
    assert len(list(grid.project(middle))) == 8
