"""Alignment against brute force: who writes which cell of which stored chunk."""

import ast
import itertools
import re

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.alignment import owned_blocks
from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import AlignmentError

OLD = -1


@st.composite
def axis_writes(draw):
    """Along one axis: lengths of Dask's blocks, where they go, and length and chunk length of the stored axis."""
    chunk = draw(st.integers(1, 5))
    parts = draw(st.lists(st.integers(0, 6) | st.integers(1, 3).map(lambda k: k * chunk), min_size=1, max_size=4))
    before = draw(st.integers(0, 7) | st.integers(0, 2).map(lambda k: k * chunk))
    after = draw(st.integers(0, 7) | st.just(0))
    return tuple(parts), before, before + sum(parts) + after, chunk


@st.composite
def writes(draw, max_ndim=2):
    axes = draw(st.lists(axis_writes(), min_size=1, max_size=max_ndim))
    grid = RegularGrid(tuple(a[2] for a in axes), tuple(a[3] for a in axes))
    return tuple(a[0] for a in axes), tuple(a[1] for a in axes), grid


def owners(chunks, start, grid):
    """For every cell of the stored array, the number of the block that writes it."""
    found = np.full(grid.shape, OLD)
    edges = [list(itertools.accumulate(part, initial=a)) for part, a in zip(chunks, start, strict=True)]
    for number, block in enumerate(itertools.product(*(range(len(part)) for part in chunks))):
        found[tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, block, strict=True))] = number
    return found


def shared_chunks(chunks, start, grid):
    """Stored chunks that a block writes and that get cells from another block too, or keep old ones."""
    found = owners(chunks, start, grid)
    inside = [set(found[grid.box(i).slices].flat) for i in itertools.product(*map(range, grid.counts))]
    return [labels for labels in inside if labels != {OLD} and len(labels) > 1]


def along(axis, chunks, start, grid):
    """The same write along one axis alone."""
    return (chunks[axis],), (start[axis],), RegularGrid((grid.shape[axis],), (grid.chunk_shape[axis],))


def error_of(chunks, start, grid):
    with pytest.raises(AlignmentError) as caught:
        owned_blocks(chunks, start, grid)
    return caught.value


def suggestion(error):
    """The block lengths by axis that the error asks for."""
    found = re.search(r"x\.rechunk\((\{.*?\})\)", str(error))
    return ast.literal_eval(found.group(1)) if found else {}


@given(writes())
def test_refuses_just_what_would_share_a_stored_chunk(write):
    chunks, start, _ = write
    if not all(map(sum, chunks)):
        return  # nothing is written: test_an_array_without_cells_shares_nothing
    if shared_chunks(*write):
        error_of(*write)
    else:
        blocks = owned_blocks(*write)
        assert blocks.chunks == chunks
        assert blocks.region.start == start


@given(writes())
def test_names_an_axis_and_a_block_that_share_a_stored_chunk(write):
    if not shared_chunks(*write):
        return
    error = error_of(*write)
    block, axis, first, stop = map(
        int, re.search(r"block (\d+) of axis (\d+) covers cells (\d+):(\d+)", str(error)).groups()
    )
    assert error.axis == axis
    alone = along(axis, *write)
    assert block in set().union(*shared_chunks(*alone))
    assert (owners(*alone) == block).nonzero()[0].tolist() == list(range(first, stop))


@given(writes())
def test_says_for_each_axis_at_fault_what_mends_it(write):
    if not shared_chunks(*write):
        return
    error = error_of(*write)
    alone = {axis: along(axis, *write) for axis in range(len(write[0]))}
    as_one_block = {axis: (((sum(chunks[0]),),), start, grid) for axis, (chunks, start, grid) in alone.items()}
    cut_regions = {axis for axis, region in as_one_block.items() if shared_chunks(*region)}
    at_fault = {axis for axis, blocks in alone.items() if shared_chunks(*blocks)}
    assert set(map(int, re.findall(r"widen the region \d+:\d+ of axis (\d+)", str(error)))) == cut_regions
    assert set(suggestion(error)) == at_fault - cut_regions


@given(writes(max_ndim=1))
def test_a_region_is_to_be_widened_just_if_it_cuts_a_stored_chunk(write):
    if not shared_chunks(*write):
        return
    (lengths,), (first,), grid = write
    one_block = ((sum(lengths),),), (first,), grid
    assert ("widen" in str(error_of(*write))) == bool(shared_chunks(*one_block))


@settings(deadline=None)
@given(writes())
def test_following_the_suggested_rechunk_makes_it_aligned(write):
    chunks, start, grid = write
    one_block = tuple((sum(lengths),) for lengths in chunks)
    if not shared_chunks(*write) or shared_chunks(one_block, start, grid):
        return  # aligned as it is, or a region that no rechunk mends
    array = da.zeros(tuple(map(sum, chunks)), chunks=chunks).rechunk(suggestion(error_of(*write)))
    assert shared_chunks(array.chunks, start, grid) == []
    assert owned_blocks(array.chunks, start, grid).chunks == array.chunks


def test_a_region_at_fault_is_said_also_where_another_axis_needs_a_rechunk():
    error = error_of(((1, 1), (1,)), (0, 0), RegularGrid((2, 2), (2, 2)))
    assert "widen" in str(error), "no rechunk mends axis 1, whose only block ends inside a stored chunk"


def test_the_suggestion_leaves_aligned_axes_alone():
    error = error_of(((3, 3), (4, 4)), (0, 0), RegularGrid((6, 8), (2, 4)))
    assert error.axis == 0
    assert set(suggestion(error)) == {0}


def test_the_suggestion_mends_all_axes_at_once():
    error = error_of(((3, 3), (5, 3)), (0, 0), RegularGrid((6, 8), (2, 4)))
    assert suggestion(error) == {0: 4, 1: 4}


@pytest.mark.parametrize(
    ("lengths", "start", "size", "chunk"),
    [
        ((4, 4, 2), 0, 10, 4),  # one block a chunk, the last ragged
        ((8, 2), 0, 10, 4),  # several chunks a block
        ((10,), 0, 10, 3),  # all in one block
        ((4, 4), 4, 20, 4),  # a region in the middle
        ((4, 2), 4, 10, 4),  # a region up to the ragged edge
        ((0, 4, 0, 4), 0, 8, 4),  # blocks without cells
        ((4, 8, 4), 0, 16, 4),  # irregular, yet on the edges
    ],
)
def test_blocks_of_whole_chunks_pass(lengths, start, size, chunk):
    assert owned_blocks((lengths,), (start,), RegularGrid((size,), (chunk,))).chunks == (lengths,)


@pytest.mark.parametrize(
    ("lengths", "start", "size", "chunk", "block"),
    [
        ((3, 3), 0, 6, 2, 0),  # a stored chunk between two blocks
        ((4, 2, 4), 0, 10, 4, 1),  # a short block in the middle
        ((4, 4), 0, 10, 3, 0),
        ((4, 2), 0, 10, 4, 1),  # a region that ends in a chunk
        ((2, 4), 2, 10, 4, 0),  # a region that starts in a chunk
        ((10, 10, 10, 5), 0, 35, 10, None),
    ],
)
def test_names_the_first_block_at_fault(lengths, start, size, chunk, block):
    grid = RegularGrid((size,), (chunk,))
    if block is None:
        owned_blocks((lengths,), (start,), grid)
    else:
        assert f"block {block} of axis 0" in str(error_of((lengths,), (start,), grid))


def test_names_the_cells_and_the_stored_length():
    error = error_of(((3, 3),), (0,), RegularGrid((6,), (2,)))
    assert "covers cells 0:3" in str(error)
    assert "of 2 cells" in str(error)


def test_an_array_without_cells_shares_nothing():
    assert owned_blocks(((1, 1), (0,)), (0, 0), RegularGrid((2, 0), (2, 1))).chunks == ((1, 1), (0,))


def test_a_scalar_owns_its_chunk():
    assert owned_blocks((), (), RegularGrid((), ())).block_count == 1


def test_millions_of_blocks_are_checked_by_their_ends():
    lengths = (10,) * 10**6
    assert owned_blocks((lengths,), (0,), RegularGrid((10**7,), (5,))).block_count == 10**6
