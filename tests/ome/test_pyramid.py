"""How many levels there are, how large, and how they are cut."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr import MetadataError
from daskzarr.ome.axes import new_axes
from daskzarr.ome.pyramid import block_lengths, chunks_at, plan_levels, shards_at, snapped


def plan(shape, names, levels=None, factors=2):
    return plan_levels(shape, new_axes(names, None, len(shape)), levels, factors)


def test_levels_go_on_until_all_axes_of_space_are_short():
    shapes = [step.shape for step in plan((9, 2, 40, 1000, 257), "tczyx")]
    assert shapes == [(9, 2, 40, 1000, 257), (9, 2, 20, 500, 129), (9, 2, 10, 250, 65)]
    assert len(plan((5000, 256, 256), "cyx")) == 1
    assert len(plan((512, 256), "yx", factors={"x": 2})) == 1, "the longer axis stays as it is"


def test_factors_by_axis_and_level():
    steps = plan((7, 64, 60), "zyx", factors=[{"y": 2, "x": 2}, 2, (1, 4, 3)])
    assert [step.shape for step in steps] == [(7, 64, 60), (7, 32, 30), (4, 16, 15), (4, 4, 5)]
    assert [step.total for step in steps] == [(1, 1, 1), (1, 2, 2), (2, 4, 4), (2, 16, 12)]


def test_a_factor_is_not_longer_than_its_axis():
    steps = plan((1, 3, 90), "zyx", levels=4, factors=4)
    assert [step.total for step in steps] == [(1, 1, 1), (1, 3, 4), (1, 3, 16), (1, 3, 64)]
    assert [step.shape for step in steps] == [(1, 3, 90), (1, 1, 23), (1, 1, 6), (1, 1, 2)]


@pytest.mark.parametrize(
    ("levels", "factors", "field"),
    [
        (0, 2, "levels"),
        (True, 2, "levels"),
        (2.0, 2, "levels"),
        (9, 2, "levels"),
        (10**12, 2, "levels"),
        (2, 1, "levels"),
        (2, [2, 2], "levels"),
        (2, 0, "factors"),
        (2, -2, "factors"),
        (2, 2.0, "factors"),
        (2, True, "factors"),
        (2, "2", "factors"),
        (2, None, "factors"),
        (2, [(2, 2)], "factors"),
        (2, {"w": 2}, "factors"),
        (2, {"c": 2}, "factors"),
        (2, [(2, 1, 1)], "factors"),
        (None, [[[2]]], "factors"),
    ],
)
def test_what_cannot_be(levels, factors, field):
    with pytest.raises(MetadataError) as caught:
        plan((3, 40, 30), "cyx", levels, factors)
    assert caught.value.field == field


def test_empty_axes_have_one_level():
    assert [step.shape for step in plan((0, 300), "yx")] == [(0, 300), (0, 150)]
    with pytest.raises(MetadataError, match="as large as"):
        plan((0, 1), "yx", levels=2)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 7))
def test_snapped_blocks_cut_no_cell(lengths, factor):
    found = snapped(lengths, factor)
    ends = np.cumsum(found)
    assert ends[-1] == sum(lengths)
    assert all(n > 0 for n in found)
    assert all(end % factor == 0 for end in ends[:-1])
    given_ends = set(np.cumsum(lengths).tolist())
    assert all(min(abs(end - other) for other in given_ends) <= factor / 2 for end in ends.tolist())
    if all(end % factor == 0 for end in list(np.cumsum(lengths))[:-1]):
        assert found == tuple(lengths)


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 60), st.integers(1, 5))
def test_blocks_of_a_level_are_whole_objects(size, stored, usual, factor):
    found = block_lengths(size, stored, usual, factor)
    assert sum(found) == size
    assert all(n % stored == 0 for n in found[:-1])
    assert max(found) <= max(stored, usual)
    if math.lcm(stored, factor) <= max(stored, usual):
        assert all(n % factor == 0 for n in found[:-1])


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 9))
def test_shards_are_whole_chunks_at_every_level(size, chunk, times):
    (inner,) = chunks_at((size,), (chunk,))
    (shard,) = shards_at((size,), (inner,), (times,))
    assert 1 <= inner <= chunk
    assert shard % inner == 0
    assert inner <= shard <= chunk * times
    assert shard - inner < max(size, 1)
