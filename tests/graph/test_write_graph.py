"""The graph of a write: one task a block, nothing that grows with their number on the client, never left out."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr.graph.lean import FusedBlock, LeanLayer
from daskzarr.receipt import Written
from daskzarr.write_plan import fan_in

VALUES = np.arange(60 * 40, dtype="f8").reshape(60, 40)


class Tasks(Callback):
    """Counts the tasks that run."""

    def __init__(self):
        self.keys = []

    def _posttask(self, key, result, dsk, state, worker_id):
        self.keys.append(key)

    def of(self, word):
        return sum(word in str(key) for key in self.keys)


with_and_without_journal = pytest.mark.parametrize("journal", [None, False], ids=["journal", "no journal"])


def tasks_of(blocks, journal):
    """Tasks of a write of so many blocks: one each, one that notes and adds up a few of them, and the last."""
    few = fan_in(blocks, journal is not False)
    if blocks <= few:
        return blocks + 1
    assert -(-blocks // few) <= 32, "another level is needed"
    return blocks + -(-blocks // few) + 1


@pytest.fixture
def source(tmp_path):
    daskzarr.to_zarr(da.from_array(VALUES, chunks=(10, 8)), tmp_path / "source")
    return tmp_path / "source"


OPERATIONS = {
    "copy": lambda x: x,
    "add": lambda x: x + 1,
    "where": lambda x: da.where(x > 100, x, -x),
    "transpose": lambda x: x.T,
    "astype": lambda x: x.astype("f4"),
    "ufunc": np.sqrt,
    "diamond": lambda x: (x + 1) * (x - 1),
    "chain": lambda x: da.sin(x * 2 + 1).round(3) - 5,
    "slice": lambda x: x[10:50, 8:] * 2,
}


@with_and_without_journal
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_reading_computing_and_writing_a_block_is_one_task(source, tmp_path, operation, journal):
    array = operation(daskzarr.from_zarr(source))
    with Tasks() as tasks:
        daskzarr.to_zarr(array, tmp_path / "target", journal=journal)
    assert tasks.of("daskzarr-write-") == array.npartitions
    assert len(tasks.keys) == tasks_of(array.npartitions, journal)
    if journal is False:
        assert len(tasks.keys) == array.npartitions + 1
        assert not (tmp_path / "target.daskzarr").exists()
    assert daskzarr.plan(array, tmp_path / "planned", journal=journal).tasks == len(tasks.keys)
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(), operation(VALUES))


@with_and_without_journal
@pytest.mark.parametrize("blocks", [1, 3, 4, 5, 31, 32, 33, 100, 1024, 1025])
def test_a_few_tasks_more_add_up_what_was_done(tmp_path, blocks, journal):
    """However many blocks there are: no task has more than a few inputs, and the tasks beside are a small part."""
    array = da.from_array(np.arange(blocks), chunks=1)
    write = daskzarr.to_zarr(array, tmp_path / "target", journal=journal, compute=False, compressors=None)
    graph = dict(dask.optimize(write)[0].__dask_graph__())
    assert all(len(task.dependencies) <= 32 for task in graph.values())
    assert sum("daskzarr-write-" in str(key) for key in graph) == blocks
    beside = len(graph) - blocks
    if journal is False:
        levels, count = blocks, 1
        while levels > 32:
            levels = -(-levels // 32)
            count += levels
        assert beside == count
    assert 1 <= beside <= blocks / 4 + 2
    assert write.compute(scheduler="sync").objects == blocks - 1  # the first holds nothing but fill
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(), np.arange(blocks))


def test_other_graphs_are_fused_as_far_as_they_go(source, tmp_path):
    array = daskzarr.from_zarr(source)
    array = (array - array.mean()).rechunk((20, 40)) + 1
    with Tasks() as tasks:
        daskzarr.to_zarr(array, tmp_path / "target")
    assert tasks.of("daskzarr-write-") == 3
    expected = VALUES - VALUES.mean() + 1
    np.testing.assert_allclose(daskzarr.from_zarr(tmp_path / "target").compute(), expected, rtol=1e-12)


@with_and_without_journal
def test_steps_that_two_writes_share_run_once(source, tmp_path, journal):
    shared = daskzarr.from_zarr(source).map_blocks(np.sqrt)
    writes = [daskzarr.to_zarr(shared * n, tmp_path / str(n), compute=False, journal=journal) for n in (2, 3)]
    with Tasks() as tasks:
        dask.compute(*writes)
    assert tasks.of("daskzarr-write-") == 2 * 30
    assert len(tasks.keys) == 30 + 2 * tasks_of(30, journal)
    if journal is False:
        assert len(tasks.keys) == 30 + 2 * 30 + 2
    for n in (2, 3):
        np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / str(n)).compute(), np.sqrt(VALUES) * n)


@with_and_without_journal
def test_a_write_stays_fused_inside_other_delayed_values(source, tmp_path, journal):
    write = daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, tmp_path / "target", compute=False, journal=journal)
    with Tasks() as tasks:
        stored = dask.delayed(lambda written: written.nbytes + 0)(write).compute()
    assert len(tasks.keys) == tasks_of(30, journal) + 1
    assert stored > 1000
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(), VALUES + 1)


def test_the_graph_does_not_grow(tmp_path):
    sizes = []
    for n in (10, 1000):
        daskzarr.create_array(tmp_path / "source", shape=(2 * n, 2 * n), chunks=(2, 2), dtype="f4", overwrite=True)
        array = daskzarr.from_zarr(tmp_path / "source", chunks=(2, 2)) + 1
        write = daskzarr.to_zarr(array, tmp_path / "target", mode="w", compute=False)
        sizes.append(len(pickle.dumps(write)))
    assert max(sizes) < 5000
    assert max(sizes) - min(sizes) < 100


def test_a_write_is_never_taken_for_an_earlier_one(source, tmp_path):
    array = daskzarr.from_zarr(source)
    first = daskzarr.to_zarr(array, tmp_path / "target", compute=False)
    second = daskzarr.to_zarr(array, tmp_path / "target", mode="r+", compute=False)
    assert first.key != second.key
    assert not set(first.dask) & set(second.dask)


@with_and_without_journal
def test_blocks_in_memory_go_into_the_tasks_that_store_them(tmp_path, journal):
    array = da.from_array(VALUES, chunks=(10, 8))
    write = daskzarr.to_zarr(array, tmp_path / "target", compute=False, journal=journal)
    assert len(dask.optimize(write)[0].__dask_graph__()) == tasks_of(30, journal)


def test_annotations_reach_the_tasks(source, tmp_path):
    with dask.annotate(retries=3):
        write = daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, tmp_path / "target", compute=False)
    graph = write.__dask_optimize__(write.dask, [write.key])
    annotated = [layer for layer in graph.layers.values() if isinstance(layer, LeanLayer)]
    assert [layer.annotations for layer in annotated] == [{"retries": 3}]


def test_the_delayed_value_pickles_and_says_how_much_was_stored(source, tmp_path):
    write = daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, tmp_path / "target", compute=False)
    stored = pickle.loads(pickle.dumps(write)).compute()
    files = [path for path in (tmp_path / "target" / "c").rglob("*") if path.is_file()]
    assert stored == Written(objects=30, elided=0, nbytes=sum(path.stat().st_size for path in files), failures=())
    assert len(files) == 30


def test_the_delayed_value_says_how_many_objects_hold_nothing_but_fill(tmp_path):
    cells = VALUES.copy()
    cells[:20] = 0
    write = daskzarr.to_zarr(da.from_array(cells, chunks=(10, 8)), tmp_path / "target", compute=False)
    stored = write.compute()
    files = [path for path in (tmp_path / "target" / "c").rglob("*") if path.is_file()]
    assert stored == Written(objects=20, elided=10, nbytes=sum(path.stat().st_size for path in files), failures=())
    assert len(files) == 20


@pytest.mark.parametrize("compute", [True, False])
def test_return_stored(source, tmp_path, compute):
    array = daskzarr.from_zarr(source) + 1
    with Tasks() as tasks:
        stored = daskzarr.to_zarr(array, tmp_path / "target", compute=compute, return_stored=True)
        assert isinstance(stored, da.Array)
        assert stored.chunks == array.chunks
        np.testing.assert_array_equal(stored.compute(), VALUES + 1)
    assert tasks.of("daskzarr-stored") == (0 if compute else 30)
    # Where any of the blocks may be computed, and any not, there is no end of the write to be noted.
    assert (tmp_path / "target.daskzarr").exists() == compute
    if not compute:
        assert tasks.of("daskzarr-") == 30, "a block is written and read back by one task"


@pytest.mark.parametrize("compute", [True, False])
def test_return_stored_of_blocks_that_share_chunks(source, tmp_path, compute):
    array = (daskzarr.from_zarr(source) + 1).rechunk((7, 9))
    stored = daskzarr.to_zarr(array, tmp_path / "target", chunks=(10, 8), compute=compute, return_stored=True)
    assert stored.chunks == array.chunks
    np.testing.assert_array_equal(stored.compute(), VALUES + 1)
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(), VALUES + 1)


def test_fused_block_lets_go_of_what_is_no_longer_needed():
    alive = []

    class Block:
        def __init__(self, n):
            self.n = n
            alive.append(n)

        def __del__(self):
            alive.remove(self.n)

    def step(block):
        made = Block(block.n + 1)
        assert len(alive) <= 3  # the caller's, this one, and none that came before
        return made

    from daskzarr.graph.dask_names import Task, TaskRef

    nodes = tuple(Task(f"k{i + 1}", step, TaskRef(f"k{i}")) for i in range(8))
    fused = pickle.loads(pickle.dumps(FusedBlock((), ("x",), "x"))) and FusedBlock(nodes, ("k0",), "k8")
    assert fused(Block(0)).n == 8


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_whole_multiple_of_the_stored_chunks_can_be_written(data):
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    stored = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    times = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    values = np.arange(np.prod(shape), dtype="i4").reshape(shape) + 1
    array = da.from_array(values, chunks=tuple(t * c for t, c in zip(times, stored, strict=True)))
    mapping = {}
    daskzarr.to_zarr(array, mapping, chunks=stored, zarr_format=data.draw(st.sampled_from([2, 3])))
    np.testing.assert_array_equal(daskzarr.from_zarr(mapping).compute(), values)


@with_and_without_journal
def test_blocks_that_share_chunks_have_a_task_each_and_each_shared_chunk_one(source, tmp_path, journal):
    """Of 3 x 2 blocks of 20 x 20 cells and chunks of 15 x 20, rows 1 and 2 of the chunks are shared."""
    array = daskzarr.from_zarr(source, chunks=(20, 20)) * 2
    with Tasks() as tasks:
        daskzarr.to_zarr(array, tmp_path / "target", chunks=(15, 20), journal=journal)
    assert tasks.of("daskzarr-write-") == 6
    assert tasks.of("daskzarr-merge-") == 2 * 2
    assert len(tasks.keys) == daskzarr.plan(array, tmp_path / "planned", chunks=(15, 20), journal=journal).tasks
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(), VALUES * 2)


def test_align_error_adds_no_task_and_refuses_what_would(source, tmp_path):
    array = daskzarr.from_zarr(source) * 2
    with pytest.raises(daskzarr.AlignmentError, match=r"x\.rechunk\("):
        daskzarr.to_zarr(array, tmp_path / "target", chunks=(15, 20), align="error")
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "target.daskzarr").exists()
    with Tasks() as tasks:
        daskzarr.to_zarr(array, tmp_path / "target", align="error", journal=False)
    assert len(tasks.keys) == 31


def test_writes_of_arrays_that_are_made_of_each_other():
    cells = np.arange(60).reshape(10, 6)
    x = da.from_array(cells, chunks=(2, 3)).map_blocks(lambda block: block[::2], chunks=((1,) * 5, (3, 3)))
    low = x[:5, :5].rechunk((2, 3))
    places = {}
    writes = [daskzarr.to_zarr(each, places, name, compute=False) for name, each in {"a": low, "b": low + 1}.items()]
    dask.compute(*writes)
    np.testing.assert_array_equal(daskzarr.from_zarr(places, "a"), cells[::2, :5])
    np.testing.assert_array_equal(daskzarr.from_zarr(places, "b"), cells[::2, :5] + 1)
