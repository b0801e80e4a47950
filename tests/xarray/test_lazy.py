"""Stored cells by xarray's indexers: what NumPy gives, and only the chunks that hold it are read."""

import asyncio
import pickle

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xarray.core import indexing

import daskzarr
from daskzarr.stores import MappingStore
from daskzarr.testing.recording_store import RecordingStore
from daskzarr.xarray.lazy import StoredCells

SHAPE = (7, 9, 5)
CELLS = np.arange(np.prod(SHAPE), dtype="i4").reshape(SHAPE) + 1
GRIDS = {
    "chunks": {"chunks": (3, 4, 2)},
    "shards": {"chunks": (1, 2, 2), "shards": (3, 4, 4)},
    "v2": {"chunks": (3, 4, 2), "zarr_format": 2, "order": "F"},
}


def stored(place=None, cells=CELLS, **settings):
    """An array with these cells."""
    place = {} if place is None else place
    daskzarr.to_zarr(dask.array.from_array(cells, chunks=-1), place, journal=False, **settings)
    return daskzarr.open_array(place)


@pytest.fixture(scope="module", params=GRIDS)
def cells(request):
    return StoredCells(stored(**GRIDS[request.param]))


@pytest.fixture(scope="module")
def irregular():
    x = dask.array.from_array(CELLS, chunks=((1, 4, 2), (9,), (2, 3)))
    daskzarr.to_zarr(x, place := {}, journal=False)
    return StoredCells(daskzarr.open_array(place))


def parts(size):
    """Integers, slices and arrays of positions for an axis."""
    position = st.integers(-size, size - 1)
    edge = st.none() | st.integers(-size - 2, size + 2)
    step = st.sampled_from([None, 1, 2, 5, -1, -3])
    return (
        position | st.builds(slice, edge, edge, step) | st.lists(position, max_size=6).map(lambda p: np.array(p, int))
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_axis_by_itself(cells, irregular, data):
    key = tuple(data.draw(parts(size)) for size in SHAPE)
    kind = indexing.OuterIndexer if any(isinstance(part, np.ndarray) for part in key) else indexing.BasicIndexer
    want = CELLS
    for axis in reversed(range(3)):
        want = want[(slice(None),) * axis + (key[axis],)]
    for each in (cells, irregular):
        found = each[kind(key)]
        np.testing.assert_array_equal(found, want, strict=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_points(cells, irregular, data):
    shape = data.draw(st.sampled_from([(1,), (4,), (2, 3), (0,)]))
    count = int(np.prod(shape))
    arrays = [np.array(data.draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count)), int) for n in SHAPE]
    arrays = [each.reshape(shape) for each in arrays]
    whole = data.draw(st.sets(st.integers(0, 2), max_size=2))
    key = tuple(slice(1, None, 2) if i in whole else each for i, each in enumerate(arrays))
    # Axes of slices come behind those of the points.
    want = CELLS
    for i in whole:
        want = want[(slice(None),) * i + (slice(1, None, 2),)]
    want = np.moveaxis(want, sorted(whole), range(3 - len(whole), 3))[
        tuple(each for i, each in enumerate(arrays) if i not in whole)
    ]
    for each in (cells, irregular):
        np.testing.assert_array_equal(each[indexing.VectorizedIndexer(key)], want, strict=True)


@pytest.mark.parametrize("place", [7, -8])
def test_positions_that_there_are_not(cells, place):
    for key in (indexing.OuterIndexer((np.array([0, place]), slice(None), 0)), indexing.BasicIndexer((place, 0, 0))):
        with pytest.raises(IndexError):
            cells[key]


def test_only_chunks_that_hold_something_are_read():
    store = RecordingStore(MappingStore({}))
    cells = StoredCells(stored(store, chunks=(3, 4, 2), write_empty_chunks=True))
    cases = [
        (indexing.BasicIndexer((slice(0, 3), slice(0, 4), slice(0, 2))), 1),
        (indexing.OuterIndexer((np.array([6, 0]), slice(0, 4), slice(0, 2))), 2),
        (indexing.VectorizedIndexer((np.array([0, 6, 1]), np.array([0, 8, 1]), np.array([0, 4, 1]))), 2),
    ]
    for key, count in cases:
        before = len(store.requests)
        cells[key]
        asked = {request.key for request in store.requests[before:]}
        assert len(asked) == count, asked
        assert all(key.startswith("c/") for key in asked)


def test_it_pickles_small_and_asks_for_no_document(tmp_path):
    array = stored(str(tmp_path / "a.zarr"), chunks=(3, 4, 2), attributes={"long": "x" * 10_000})
    cells = StoredCells(array)
    assert len(pickle.dumps(cells)) < 1_500
    again = pickle.loads(pickle.dumps(cells))
    (tmp_path / "a.zarr" / "zarr.json").unlink()
    np.testing.assert_array_equal(again[indexing.BasicIndexer((slice(None),) * 3)], CELLS)
    assert dask.base.tokenize(cells) == dask.base.tokenize(StoredCells(array))
    assert dask.base.tokenize(cells) != dask.base.tokenize(StoredCells(array, generation=1))


def test_it_is_waited_for_elsewhere(cells):
    key = indexing.OuterIndexer((np.array([6, 0]), slice(None), slice(None)))
    np.testing.assert_array_equal(asyncio.run(cells.async_getitem(key)), CELLS[[6, 0]])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_text_of_any_length(zarr_format):
    text = np.array([["", "é"], ["long " * 9, "\0"]], object)
    cells = StoredCells(stored(cells=text, chunks=(1, 2), zarr_format=zarr_format))
    assert cells.dtype == np.dtypes.StringDType()
    found = cells[indexing.BasicIndexer((slice(None), slice(None)))]
    assert found.dtype == cells.dtype
    assert found.tolist() == text.tolist()
    assert cells[indexing.BasicIndexer((1, 0))].item() == "long " * 9


def test_a_scalar():
    cells = StoredCells(stored(cells=np.array(7)))
    assert cells[indexing.BasicIndexer(())] == 7
