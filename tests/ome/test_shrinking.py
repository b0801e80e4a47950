"""Downsampling of blocks against NumPy, run by run."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr import MetadataError
from daskzarr.ome.shrinking import check_method, shrink

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def runs_of(cells, factors):
    """Each cell of the next level, by index, with those it is made of."""
    shape = [-(-n // f) for n, f in zip(cells.shape, factors, strict=True)]
    for index in np.ndindex(*shape):
        yield index, cells[tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))]


def by_runs(cells, factors, make):
    """The next level, made run by run."""
    found = np.empty([-(-n // f) for n, f in zip(cells.shape, factors, strict=True)], cells.dtype)
    for index, run in runs_of(cells, factors):
        found[index] = make(run)
    return found


def exact_mean(run):
    """The mean of integers, rounded, halves to even."""
    return round(Fraction(sum(run.ravel().tolist()), run.size))


def commonest(run):
    """The least of the commonest values."""
    counts = Counter(run.ravel().tolist())
    return min(value for value, count in counts.items() if count == max(counts.values()))


@st.composite
def blocks(draw, dtype):
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    factors = tuple(draw(st.integers(1, 5)) for _ in shape)
    info = np.iinfo(dtype)
    seed = draw(st.integers(0, 2**32 - 1))
    span = draw(st.sampled_from([3, 100, None]))
    low, high = (info.min, info.max) if span is None else (info.max - span, info.max)
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype, endpoint=True), factors


@pytest.mark.parametrize("dtype", INTEGERS)
@given(data=st.data())
def test_means_of_integers_are_exact(dtype, data):
    cells, factors = data.draw(blocks(dtype))
    found = shrink(cells, factors, "mean")
    assert found.dtype == cells.dtype
    np.testing.assert_array_equal(found, by_runs(cells, factors, exact_mean))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("end", ["min", "max"])
def test_means_at_the_ends_of_a_dtype_do_not_overflow(dtype, end):
    extreme = getattr(np.iinfo(dtype), end)
    for factors in ((4, 4, 4), (3, 5, 7), (8, 9, 1)):
        assert (shrink(np.full((9, 9, 9), extreme, dtype), factors, "mean") == extreme).all()


def test_halves_go_to_even_on_both_sides_of_zero():
    cells = np.array([[0, 1], [1, 2], [-1, 0], [-2, -1], [-3, -2], [127, 126]], "i1")
    np.testing.assert_array_equal(shrink(cells, (1, 2), "mean")[:, 0], [0, 2, 0, -2, -2, 126])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
@given(
    seed=st.integers(0, 2**32 - 1), shape=st.lists(st.integers(1, 8), min_size=2, max_size=3), factor=st.integers(1, 4)
)
def test_means_of_floats(dtype, seed, shape, factor):
    random = np.random.default_rng(seed)
    cells = random.normal(size=shape).astype(dtype)
    if cells.dtype.kind == "c":
        cells += 1j * random.normal(size=shape).astype(dtype).real
    factors = (factor,) * cells.ndim
    wide = "c16" if cells.dtype.kind == "c" else "f8"
    expected = by_runs(cells.astype(wide), factors, np.mean).astype(dtype)
    found = shrink(cells, factors, "mean")
    assert found.dtype == cells.dtype
    np.testing.assert_allclose(
        found, expected, rtol=1e-3 if dtype == "f2" else 1e-5, atol=1e-3 if dtype == "f2" else 1e-6
    )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c16"])
def test_means_of_finite_floats_are_finite(dtype):
    largest = np.finfo(dtype).max
    assert (shrink(np.full((6, 5), largest, dtype), (2, 4), "mean").real == largest).all()
    np.testing.assert_array_equal(
        shrink(np.array([np.inf, largest, 1, -np.inf, 2, 3]), (2,), "mean"), [np.inf, -np.inf, 2.5]
    )


def test_one_nan_makes_a_nan():
    cells = np.arange(16.0).reshape(4, 4)
    cells[1, 2] = np.nan
    np.testing.assert_array_equal(shrink(cells, (2, 2), "mean"), [[2.5, np.nan], [10.5, 12.5]])
    assert np.isnan(shrink(np.array([np.inf, -np.inf]), (2,), "mean")).all()


def test_most_of_truths():
    cells = np.array([[True, True, True, False], [True, False, False, False]])
    np.testing.assert_array_equal(shrink(cells, (1, 4), "mean"), [[True], [False]])
    np.testing.assert_array_equal(shrink(cells[:, :2], (1, 2), "mean"), [[True], [False]])
    assert shrink(cells, (2, 2), "mode").dtype == bool


@given(blocks("u1"))
def test_nearest_takes_the_first(block):
    cells, factors = block
    expected = by_runs(cells, factors, lambda run: run.flat[0])
    np.testing.assert_array_equal(shrink(cells, factors, "nearest"), expected)


@pytest.mark.parametrize("values", [4, 200])
@given(block=blocks("u1"))
def test_mode_takes_the_commonest(values, block):
    cells, factors = block
    cells = cells % values
    np.testing.assert_array_equal(shrink(cells, factors, "mode"), by_runs(cells, factors, commonest))


def test_mode_of_text_and_nan():
    np.testing.assert_array_equal(shrink(np.array(["b", "a", "b", "c"]), (3,), "mode"), ["b", "c"])
    cells = np.array([np.nan, np.nan, 5.0, 5.0, np.nan, np.nan])
    np.testing.assert_array_equal(shrink(cells, (3,), "mode"), [5.0, 5.0])


@pytest.mark.parametrize("method", ["mean", "nearest", "mode"])
def test_the_result_is_new_and_of_the_right_shape(method):
    for shape, factors in itertools.product([(0, 4), (1, 1), (5, 7), (8, 8)], [(1, 1), (2, 2), (3, 1), (9, 9)]):
        cells = np.arange(shape[0] * shape[1], dtype="i4").reshape(shape)
        found = shrink(cells, factors, method)
        assert found.shape == tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
        assert not np.shares_memory(found, cells)
        assert found.flags.writeable
    order = np.asfortranarray(np.arange(30, dtype=">i4").reshape(5, 6))
    np.testing.assert_array_equal(shrink(order, (2, 2), method), shrink(order.astype("=i4", order="C"), (2, 2), method))


@pytest.mark.parametrize(
    ("method", "dtype"), [("mean", "M8[s]"), ("mean", "U3"), ("mean", "O"), ("mode", "V2"), ("mode", "O")]
)
def test_methods_are_refused_where_they_mean_nothing(method, dtype):
    with pytest.raises(MetadataError, match="nearest"):
        check_method(method, np.dtype(dtype))
    check_method("nearest", np.dtype(dtype))


@pytest.mark.parametrize("method", ["median", None, 3, ["mean"]])
def test_unknown_methods(method):
    with pytest.raises(MetadataError, match="'mean', 'nearest', 'mode'"):
        check_method(method, np.dtype("u1"))
