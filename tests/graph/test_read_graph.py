"""The graph of a read: one layer of constant size, slices pushed into it, equal names for equal reads."""

import itertools
import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.core import PerformanceWarning
from dask.tokenize import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr.block_grid import BlockGrid, RegularCuts
from daskzarr.graph.read import ZarrArray
from daskzarr.graph.read_layer import BlockBoxes
from daskzarr.testing import RecordingStore

VALUES = np.arange(23 * 17, dtype="f4").reshape(23, 17)


@pytest.fixture(scope="module")
def store():
    mapping = {}
    daskzarr.to_zarr(da.from_array(VALUES, chunks=(5, 4)), mapping)
    return mapping


def test_one_layer_that_does_not_grow(tmp_path):
    sizes = []
    for n in (10, 1000):
        daskzarr.create_array(tmp_path / str(n), shape=(4 * n, 4 * n), chunks=(4, 4), dtype="f4")
        with dask.config.set({"array.chunk-size": "1KiB"}):
            array = daskzarr.from_zarr(tmp_path / str(n), chunks=(4, 4))
        assert list(array.dask.layers) == [array.name]
        sizes.append(len(pickle.dumps(array.dask)))
    assert max(sizes) < 2000
    assert max(sizes) - min(sizes) < 20


def test_a_handle_is_small(tmp_path):
    daskzarr.create_array(tmp_path, shape=(10**6, 10**6), chunks=(100, 100), dtype="f4", compressors="blosc")
    handle, _, _ = daskzarr.from_zarr(tmp_path, chunks=10**5)._read
    assert len(pickle.dumps(handle)) < 600
    assert pickle.loads(pickle.dumps(handle)) is handle


def test_names_are_deterministic(store, tmp_path):
    daskzarr.to_zarr(da.from_array(VALUES, chunks=(5, 4)), tmp_path)
    for place in (store, str(tmp_path)):
        first, second = daskzarr.from_zarr(place), daskzarr.from_zarr(place)
        assert first.name == second.name
        assert first[2:9].name == second[2:9].name != first[2:8].name
        assert daskzarr.from_zarr(place, chunks=(10, 8)).name != first.name
        assert daskzarr.from_zarr(place, missing="error").name != first.name
    tokenize(BlockBoxes(BlockGrid((RegularCuts(0, 5, 2),))), ensure_deterministic=True)
    tokenize(first._read[0], ensure_deterministic=True)


def test_a_write_gives_later_reads_new_names(tmp_path):
    array = da.from_array(VALUES, chunks=(5, 4))
    daskzarr.to_zarr(array, tmp_path)
    before = daskzarr.from_zarr(tmp_path)
    daskzarr.to_zarr(array + 1, tmp_path, overwrite=True)
    after = daskzarr.from_zarr(tmp_path)
    assert before.name != after.name
    assert daskzarr.from_zarr(tmp_path).name == after.name


def test_name_is_the_users(store):
    array = daskzarr.from_zarr(store, name="mine")
    assert array.name == "mine"
    np.testing.assert_array_equal(array[3:].compute(), VALUES[3:])


PARTS = st.one_of(
    st.slices(23),
    st.integers(-17, 16),
    st.just(slice(None)),
    st.lists(st.integers(-17, 16), min_size=1, max_size=4, unique_by=lambda i: i % 17),
)


@settings(max_examples=300, deadline=None)
@given(st.tuples(PARTS, PARTS), st.sampled_from(["plain", "newaxis", "dots"]))
def test_indexing_is_numpys(store, parts, form):
    first, second = parts
    if isinstance(first, list) and isinstance(second, list):
        second = slice(None)  # Dask has no pointwise indexing by []
    if any(isinstance(part, list) for part in (first, second)):
        form = "plain"  # Dask itself fails on a list beside a new axis
    index = {"plain": (first, second), "newaxis": (None, first, second), "dots": (first, ..., second)}[form]
    found, expected = daskzarr.from_zarr(store)[index], VALUES[index]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.compute(), expected)


RUNS = st.tuples(st.integers(-25, 25), st.integers(-25, 25)).map(lambda ends: slice(*ends))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(RUNS, RUNS), min_size=1, max_size=3))
def test_slices_of_slices(store, indices):
    array, expected = daskzarr.from_zarr(store, chunks=(10, 8)), VALUES
    for index in indices:
        array, expected = array[index], expected[index]
    np.testing.assert_array_equal(array.compute(scheduler="sync"), expected)
    np.testing.assert_array_equal(dask.compute(array, scheduler="sync")[0], expected)


def test_basic_slices_are_one_task_a_block_and_read_only_what_they_need(store):
    recording = RecordingStore(daskzarr.open_store(store))
    array = daskzarr.from_zarr(recording)[3:12, 5:6][1:, 0]
    assert isinstance(array, ZarrArray)
    assert len(dask.optimize(array)[0].dask) == array.npartitions == 3
    recording.clear()
    np.testing.assert_array_equal(array.compute(), VALUES[4:12, 5])
    assert sorted(recording.keys("get", "get_many")) == ["c/0/1", "c/1/1", "c/2/1"]


def test_an_index_out_of_bounds_is_an_error(store):
    with pytest.raises(IndexError):
        daskzarr.from_zarr(store)[23]
    with pytest.raises(IndexError):
        daskzarr.from_zarr(store)[0, 0, 0]


def test_assignment_makes_a_usual_array(store):
    array = daskzarr.from_zarr(store)
    array[2:4] = -1
    expected = VALUES.copy()
    expected[2:4] = -1
    np.testing.assert_array_equal(array[1:5].compute(), expected[1:5])
    np.testing.assert_array_equal(array.compute(), expected)


def test_blocks_can_be_written_to_in_place(store):
    def add_one(block):
        block += 1
        return block

    for chunks in (None, (10, 17)):
        array = daskzarr.from_zarr(store, chunks=chunks).map_blocks(add_one)
        np.testing.assert_array_equal(array.compute(), VALUES + 1)


def test_a_block_of_many_chunks_is_one_task(store):
    array = daskzarr.from_zarr(store, chunks=(10, 8))
    assert array.chunks == ((10, 10, 3), (8, 8, 1))
    assert len(dask.optimize(array)[0].dask) == 9


@pytest.mark.parametrize(
    "chunks", [None, "auto", -1, (7, 6), (23, "auto"), {0: 11}, {1: "auto"}, ((3, 20), (17,)), "1KiB", 6]
)
def test_every_chunking_reads_the_same(store, chunks):
    array = daskzarr.from_zarr(store, chunks=chunks)
    np.testing.assert_array_equal(array.compute(), VALUES)
    np.testing.assert_array_equal((array + 1).compute(), VALUES + 1)
    np.testing.assert_array_equal(dask.compute(array)[0], VALUES)


def test_auto_makes_blocks_of_whole_chunks_near_the_size(tmp_path):
    daskzarr.create_array(tmp_path, shape=(4000, 4100), chunks=(10, 20), dtype="f8")
    with dask.config.set({"array.chunk-size": "1MiB"}):
        array = daskzarr.from_zarr(tmp_path, chunks="auto")
    height, width = array.chunksize
    assert height % 10 == 0
    assert width % 20 == 0
    assert 2**18 <= height * width * 8 <= 2**20


def test_many_tiny_blocks_warn_once_with_the_better_chunks(tmp_path):
    daskzarr.create_array(tmp_path, shape=(1000, 1000), chunks=(10, 10), dtype="f4")
    with pytest.warns(PerformanceWarning, match=r'chunks="auto" \(here chunks=\(\d+, \d+\)\)') as caught:
        array = daskzarr.from_zarr(tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    array[5:500].sum()  # no second warning: warnings are errors here
    daskzarr.from_zarr(tmp_path, chunks="auto")


def test_compute_takes_dasks_options(store):
    array = daskzarr.from_zarr(store)
    for options in ({"scheduler": "sync"}, {"scheduler": "threads", "num_workers": 3}, {"optimize_graph": False}):
        np.testing.assert_array_equal(array.compute(**options), VALUES)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(array.compute(), VALUES)
    np.testing.assert_array_equal(array.persist().compute(), VALUES)
    np.testing.assert_array_equal(np.asarray(array), VALUES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)).compute(), VALUES)


def test_progress_bar_shows_reads(store, capsys):
    from dask.diagnostics import ProgressBar

    with ProgressBar():
        daskzarr.from_zarr(store).compute()
    assert "100%" in capsys.readouterr().out
    prefixes = {dask.utils.key_split(key) for key in daskzarr.from_zarr(store).dask}
    assert prefixes == {"daskzarr-read"}


def test_scalar_and_empty_arrays():
    for shape in ((), (0,), (3, 0), (0, 5)):
        values = np.arange(np.prod(shape, dtype=int), dtype="i4").reshape(shape) + 7
        mapping = {}
        daskzarr.to_zarr(da.from_array(values, chunks=shape and tuple(max(n, 1) for n in shape)), mapping)
        for chunks in (None, "auto"):
            array = daskzarr.from_zarr(mapping, chunks=chunks)
            assert array.shape == shape
            np.testing.assert_array_equal(array.compute(), values)
            np.testing.assert_array_equal((array * 2).compute(), values * 2)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_results_come_in_the_order_they_were_asked_for(scheduler):
    cells = np.arange(12).reshape(3, 4)
    daskzarr.to_zarr(da.from_array(cells, chunks=2), store := {})
    x, y = daskzarr.from_zarr(store), da.from_array(cells * 100, chunks=2)
    wanted = {"x": cells, "y": cells * 100, "x + 1": cells + 1, "x[1]": cells[1], "sum": cells.sum()}
    asked = {"x": x, "y": y, "x + 1": x + 1, "x[1]": x[1], "sum": x.sum()}
    for names in itertools.permutations(asked):
        found = dask.compute(*(asked[name] for name in names), scheduler=scheduler)
        for name, each in zip(names, found, strict=True):
            np.testing.assert_array_equal(each, wanted[name])
        kept = dask.persist(*(asked[name] for name in names), scheduler=scheduler)
        for name, each in zip(names, kept, strict=True):
            np.testing.assert_array_equal(each, wanted[name])
