"""Many items, a batch a task: every result once and in order, in small messages, whatever runs the tasks."""

import pickle

import dask
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.graph.batches import map_batches


class Tasks(Callback):
    """The keys of the tasks that run."""

    def __init__(self):
        self.keys = []

    def _posttask(self, key, result, dsk, state, worker_id):
        self.keys.append(key)


def listed(common, items):
    return common, list(items)


def kind_of(common, items):
    return type(items).__name__


def refuse(common, items):
    raise ValueError(f"no {list(items)}")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 70))
def test_every_item_is_in_one_batch_and_results_are_in_order(count, batch):
    found = map_batches(listed, "common", range(count), batch).compute(scheduler="sync")
    assert [common for common, _ in found] == ["common"] * -(-count // batch)
    assert all(len(items) == batch for _, items in found[:-1])
    assert [item for _, items in found for item in items] == list(range(count))


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1024, 1025, 5000])
def test_no_task_waits_for_many(count):
    delayed = map_batches(listed, 0, range(count), 1)
    graph = dict(delayed.__dask_graph__())
    assert max(len(task.dependencies) for task in graph.values()) <= 32
    assert len(graph) == len(delayed.__dask_graph__())
    assert sum("daskzarr-listed" in str(key) for key in graph) == count


def test_one_task_a_batch():
    with Tasks() as tasks:
        map_batches(listed, 0, range(100), 10).compute()
    assert len(tasks.keys) == 10 + 1
    assert sorted(key[1] for key in tasks.keys if isinstance(key, tuple)) == list(range(10))


def test_slices_of_a_range_are_ranges():
    assert set(map_batches(kind_of, 0, range(10), 3).compute()) == {"range"}
    assert set(map_batches(kind_of, 0, tuple(range(10)), 3).compute()) == {"tuple"}


def test_a_graph_of_very_many_items_pickles_small_until_it_is_run():
    graph = map_batches(listed, 0, range(10**9), 1000).__dask_graph__()
    assert len(pickle.dumps(graph)) < 2000


def test_what_becomes_of_the_results_is_done_once_at_the_end():
    seen = []

    def finish(results):
        seen.append(results)
        return sum(len(items) for _, items in results)

    assert map_batches(listed, 0, range(4000), 10, finish=finish).compute() == 4000
    assert len(seen) == 1
    assert len(seen[0]) == 400


def test_no_items_still_have_an_end():
    assert map_batches(listed, 0, [], 10).compute() == []
    assert map_batches(listed, 0, [], 10, finish=lambda results: ("end", results)).compute() == ("end", [])


def test_items_and_what_is_common_are_taken_as_they_are():
    probe = map_batches(listed, 0, range(3), 1)
    key = next(key for key in probe.__dask_graph__() if isinstance(key, tuple))
    items = [key, [key], {"a": key}, (len, "abc"), key[0]]
    assert map_batches(listed, key, items, 2).compute() == [(key, items[:2]), (key, items[2:4]), (key, items[4:])]


def test_the_same_call_again_runs_again():
    runs = []

    def count(common, items):
        runs.extend(items)
        return items

    one, two = (map_batches(count, 0, [1, 2, 3], 2) for _ in range(2))
    assert one.key != two.key
    assert dask.compute(one, two, scheduler="threads") == ([[1, 2], [3]], [[1, 2], [3]])
    assert sorted(runs) == [1, 1, 2, 2, 3, 3]


def test_it_is_a_delayed_value_among_others():
    found = map_batches(listed, 7, range(5), 2)
    assert dask.delayed(len)(found).compute() == 3
    assert (found[0][1][1] + 10).compute() == 11
    assert dask.compute(found, 5)[0] == found.compute()
    assert found.persist().compute() == found.compute()


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_schedulers(scheduler):
    found = map_batches(listed, "x", range(5), 2, finish=len).compute(scheduler=scheduler)
    assert found == 3


def test_a_failure_is_the_callers():
    with pytest.raises(ValueError, match=r"no \[2, 3\]|no \[0, 1\]"):
        map_batches(refuse, 0, range(4), 2).compute()


def test_tasks_carry_the_name_of_the_function():
    def two_words(common, items):
        return None

    names = {dask.utils.key_split(key) for key in map_batches(two_words, 0, range(40), 1).__dask_graph__()}
    assert names == {"daskzarr-two-words", "daskzarr-gathered"}
    names = {dask.utils.key_split(key) for key in map_batches(lambda c, i: 1, 0, range(3), 1).__dask_graph__()}
    assert names == {"daskzarr-lambda", "daskzarr-gathered"}
