"""ownership: every stored object has one task, which gets every cell of it there is, compared with counting."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.block_grid import BlockGrid, RegularCuts, cuts
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.ownership import assign, assign_together, overlapping
from daskzarr.rectilinear_grid import RectilinearGrid, runs_of


def lengths_of(draw, total, zeros=True):
    """Lengths that add up to a total, some of them 0."""
    found = []
    while sum(found) < total:
        found.append(draw(st.integers(0 if zeros else 1, total - sum(found))))
    return found or [0]


@st.composite
def grids(draw, ndim):
    shape = tuple(draw(st.integers(1, 14)) for _ in range(ndim))
    if draw(st.booleans()):
        return RegularGrid(shape, tuple(draw(st.integers(1, 9)) for _ in shape))
    return RectilinearGrid(shape, tuple(runs_of(lengths_of(draw, n, zeros=False)) for n in shape))


@st.composite
def one_region(draw):
    grid = draw(grids(draw(st.integers(1, 3))))
    axes = []
    for n in grid.shape:
        start = draw(st.integers(0, n - 1))
        stop = draw(st.integers(start, n))
        axes.append(cuts(start, lengths_of(draw, stop - start)))
    return BlockGrid(tuple(axes)), grid


def blocks_of(blocks):
    return itertools.product(*map(range, blocks.numblocks))


def objects_in(grid, box):
    return [part.chunk for part in grid.project(box)]


def cells_of(box):
    return itertools.product(*map(range, *box))


def writers(all_owners, grid):
    """Who writes each stored object, and which cells come to it: (object -> writers, writer -> Counter of cells)."""
    by_object, given_cells = {}, {}
    for n, owners in enumerate(all_owners):
        boxes = {cell.at: cell.box for cell in owners.cells()}
        for index, box in boxes.items():
            for which in objects_in(grid, box):
                by_object.setdefault(which, set()).add((n, "cell", index))
        contributors = {cell.at: set() for cell in owners.cells()}
        for block in blocks_of(owners.blocks):
            where = owners.blocks.box(block)
            if owners.gathers:
                for cell in owners.cells():
                    if block in cell.blocks:
                        contributors[cell.at].add(block)
                        low = tuple(map(max, where.start, cell.box.start))
                        part = Box(low, tuple(map(min, where.stop, cell.box.stop)))
                        given_cells.setdefault((n, "cell", cell.at), Counter()).update(cells_of(part))
                continue
            share = owners.share(block)
            if share.own is not None and 0 not in share.own.shape:
                for which in objects_in(grid, share.own):
                    by_object.setdefault(which, set()).add((n, "block", block))
                given_cells.setdefault((n, "block", block), Counter()).update(cells_of(share.own))
            for index, box in share.pieces:
                assert all(a >= c and b <= d for a, b, c, d in zip(*box, *where, strict=True))
                if index[0] == -1:
                    by_object.setdefault(index[1:], set()).add(("joint", index))
                    given_cells.setdefault(("joint", index), Counter()).update(cells_of(box))
                else:
                    contributors[index].add(block)
                    given_cells.setdefault((n, "cell", index), Counter()).update(cells_of(box))
        for cell in owners.cells():
            assert contributors[cell.at] == set(cell.blocks)
            assert len(cell.blocks) == len(set(cell.blocks))
        joint = {(index, block) for index, block in owners.joint_objects()}
        expected = {(i, b) for b in blocks_of(owners.blocks) for i, _ in owners.share(b).pieces if i[0] == -1}
        assert joint == (set() if owners.gathers else expected)
    return by_object, given_cells


def check(all_owners, grid):
    by_object, given_cells = writers(all_owners, grid)
    everything = Counter(itertools.chain.from_iterable(cells_of(o.blocks.region) for o in all_owners))
    assert sum(given_cells.values(), Counter()) == everything  # every cell goes to one writer, once
    assert all(len(who) == 1 for who in by_object.values())
    touched = set(itertools.chain.from_iterable(objects_in(grid, o.blocks.region) for o in all_owners))
    assert set(by_object) == touched
    for which, (who,) in by_object.items():  # and to the writer of the object it is in
        cells = set(cells_of(grid.box(which))) & set(everything)
        assert cells <= set(given_cells[who])


@settings(max_examples=400, deadline=None)
@given(one_region())
def test_every_object_has_one_writer_with_all_its_cells(case):
    blocks, grid = case
    check([assign(blocks, grid)], grid)


@st.composite
def several_regions(draw):
    """Regions that do not overlap: the array divided by random cuts, some parts left out."""
    grid = draw(grids(draw(st.integers(1, 2))))
    boxes = [Box((0,) * len(grid.shape), grid.shape)]
    for _ in range(draw(st.integers(1, 4))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(grid.shape) - 1))
        at = draw(st.integers(box.start[axis], box.stop[axis]))
        low, high = list(box.stop), list(box.start)
        low[axis] = high[axis] = at
        boxes += [Box(box.start, tuple(low)), Box(tuple(high), box.stop)]
    kept = [box for box in boxes if draw(st.booleans())] or boxes[:1]
    regions = [
        BlockGrid(tuple(cuts(a, lengths_of(draw, b - a)) for a, b in zip(box.start, box.stop, strict=True)))
        for box in kept
    ]
    return regions, grid


@settings(max_examples=400, deadline=None)
@given(several_regions())
def test_regions_of_one_plan_share_objects_rightly(case):
    regions, grid = case
    check(assign_together(regions, grid), grid)


@settings(max_examples=200, deadline=None)
@given(one_region())
def test_rounded_blocks_need_no_merging(case):
    blocks, grid = case
    rounded = assign(blocks, grid).rounded
    axes = tuple(cuts(a, n) for a, n in zip(blocks.region.start, rounded, strict=True))
    again = BlockGrid(axes)
    assert again.region == blocks.region
    assert assign(again, grid).whole


def regular(shape, block, unit):
    blocks = BlockGrid(tuple(RegularCuts(0, n, b) for n, b in zip(shape, block, strict=True)))
    return assign(blocks, RegularGrid(shape, unit))


def tasks(owners):
    return owners.blocks.block_count + sum(1 for _ in owners.cells())


def test_aligned_blocks_add_no_task_and_hold_no_lists():
    owners = regular((10**6, 10**6), (200, 100), (100, 50))
    assert owners.whole
    assert owners.axes is None


@pytest.mark.parametrize(
    ("shape", "block", "unit", "most"),
    [
        ((4000, 4000), (100, 100), (30, 30), 4356),
        ((2000,) * 3, (100,) * 3, (30,) * 3, 35_937),
        ((64, 64), (4, 4), (16, 16), 256 + 16),
    ],
)
def test_task_counts(shape, block, unit, most):
    assert tasks(regular(shape, block, unit)) == most


def test_one_bad_boundary_in_8000_blocks():
    lengths = [100] * 20
    lengths[9], lengths[10] = 90, 110
    axes = (cuts(0, lengths), RegularCuts(0, 2000, 100), RegularCuts(0, 2000, 100))
    assert tasks(assign(BlockGrid(axes), RegularGrid((2000,) * 3, (100,) * 3))) == 8400


def test_small_blocks_are_gathered_whole():
    owners = regular((64,), (4,), (16,))
    assert owners.gathers
    assert next(cell.blocks for cell in owners.cells()) == ((0,), (1,), (2,), (3,))


def test_a_region_that_starts_within_an_object_needs_no_second_task():
    blocks = BlockGrid((cuts(3, (5, 8, 8, 2)),))
    assert assign(blocks, RegularGrid((40,), (8,))).whole


def test_overlapping():
    a, b, c = Box((0, 0), (4, 4)), Box((4, 0), (8, 4)), Box((3, 3), (5, 5))
    assert overlapping([a, b]) is None
    assert overlapping([a, b, c]) == (0, 2)
    assert overlapping([a, Box((1, 1), (1, 3))]) is None


def test_dropped_axes():
    blocks = BlockGrid((RegularCuts(0, 10, 5), RegularCuts(3, 4, 4)), dropped=(1,))
    owners = assign(blocks, RegularGrid((10, 8), (4, 4)))
    assert [cell.blocks for cell in owners.cells()] == [((0,), (1,))]
    assert owners.share((1,)).own == Box((8, 3), (10, 4))
    assert np.prod(owners.rounded[0]) > 0
