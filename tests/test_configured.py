"""Dask's configuration decides on the client how requests go, and tasks keep to it wherever they run."""

import pickle
import threading
import time

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

from daskzarr import append, create_array, from_zarr, to_zarr
from daskzarr.array_handle import ArrayHandle
from daskzarr.configured import TaskLimit, limit_name, traffic_to
from daskzarr.errors import MetadataError, WriteFailedError
from daskzarr.stores import LocalStore, MappingStore, RetryBudget, Traffic
from daskzarr.testing import distinct_values
from daskzarr.testing.store_wrapper import StoreWrapper

SETTINGS = {
    "daskzarr.requests.in-flight": 3,
    "daskzarr.requests.bytes": "1 MiB",
    "daskzarr.requests.gap": "2 kiB",
    "daskzarr.retries.time": "5s",
    "daskzarr.retries.attempts": 2,
    "daskzarr.retries.first-wait": "1ms",
}


class Counting(StoreWrapper):
    """A store whose requests take a while, and which knows how many were under way at once."""

    waits = True

    def __init__(self, store, seconds=0.01):
        self.lock, self.now, self.most, self.seconds = threading.Lock(), 0, 0, seconds

    def before(self, kind, key):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1


def counting(seconds=0.01):
    return Counting(MappingStore({}), seconds)


def test_nothing_set_is_the_default():
    with dask.config.set({"daskzarr": None}):
        assert traffic_to(MappingStore({})) == Traffic()


def test_every_setting_arrives():
    with dask.config.set(SETTINGS):
        found = traffic_to(MappingStore({}))
    assert found == Traffic(3, 2**20, 2048, RetryBudget(5.0, 2, 0.001))


def test_underscores_mean_the_same():
    with dask.config.set({"daskzarr.requests.in_flight": 5}):
        assert traffic_to(MappingStore({})).requests == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests.in-flight", 0),
        ("requests.in-flight", "many"),
        ("requests.in-flight", 1.5),
        ("requests.in-flight", True),
        ("requests.in-flight", [1]),
        ("requests.bytes", "big"),
        ("requests.bytes", 0),
        ("requests.gap", -1),
        ("requests.tasks", 0),
        ("retries.time", "soon"),
        ("retries.time", -1),
        ("retries.attempts", 0),
        ("retries.first-wait", -0.5),
    ],
)
def test_nonsense_is_named_on_the_client(name, value):
    to_zarr(da.arange(4, chunks=2), store := {})
    with dask.config.set({f"daskzarr.{name}": value}), pytest.raises(MetadataError, match=name):
        from_zarr(store)
    with dask.config.set({f"daskzarr.{name}": value}), pytest.raises(MetadataError, match=name):
        to_zarr(da.arange(4, chunks=2), {})


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("requests.inflight", "in-flight, bytes, gap, tasks"),
        ("requests.in.flight", "in-flight, bytes, gap, tasks"),
        ("requests.Bytes", "in-flight, bytes, gap, tasks"),
        ("retries.first-waits", "time, attempts, first-wait"),
        ("retries.3", "time, attempts, first-wait"),
    ],
)
def test_a_name_that_is_none_is_refused(name, known):
    to_zarr(da.arange(4, chunks=2), store := {})
    with dask.config.set({f"daskzarr.{name}": 1}), pytest.raises(MetadataError, match=known) as caught:
        from_zarr(store)
    assert name.startswith(caught.value.field.removeprefix("daskzarr."))
    assert repr(name.split(".")[1]) in str(caught.value)


@pytest.mark.parametrize("part", ["requests", "retries"])
def test_a_part_of_the_configuration_has_names(part):
    for value in (5, "16", [1]):
        with dask.config.set({f"daskzarr.{part}": value}), pytest.raises(MetadataError, match=f"daskzarr.{part}"):
            traffic_to(MappingStore({}))
    for value in (None, {}):
        with dask.config.set({f"daskzarr.{part}": value, "daskzarr.journal": False}):
            assert traffic_to(MappingStore({})) == Traffic()


def test_both_spellings_of_every_name_are_known():
    for name in SETTINGS:
        with dask.config.set({name.replace("-", "_"): SETTINGS[name]}):
            assert traffic_to(MappingStore({})) != Traffic()


def test_the_handle_carries_it_to_other_processes():
    array = create_array({}, shape=(8, 8), chunks=4, dtype="f8")
    with dask.config.set({**SETTINGS, "daskzarr.requests.tasks": 7}):
        handle = ArrayHandle.of(array, traffic=traffic_to(array.location.store))
    copy = pickle.loads(pickle.dumps(handle))
    assert copy is handle
    assert copy.traffic.requests == 3
    assert pickle.loads(pickle.dumps(handle.traffic)) == handle.traffic


def test_large_chunks_are_fewer_at_once():
    array = create_array({}, shape=(2**14, 2**10), chunks=(2**12, 2**10), dtype="u1")  # 4 MiB each
    assert ArrayHandle.of(array, traffic=Traffic(requests=16, nbytes=2**25)).traffic.requests == 4
    assert ArrayHandle.of(array, traffic=Traffic(requests=16, nbytes=1)).traffic.requests == 1


def test_names_of_tasks_do_not_depend_on_it():
    to_zarr(da.arange(4, chunks=2), store := {})
    with dask.config.set(SETTINGS):
        one = from_zarr(store)
    assert one.name == from_zarr(store).name


@pytest.mark.parametrize("requests", [1, 5, 16])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_writes_several_objects_at_once(requests, threads):
    store, values = counting(), distinct_values((40, 6), "i4")
    with dask.config.set({"daskzarr.requests.in-flight": requests, "num_workers": threads}):
        to_zarr(da.from_array(values, chunks=(40 // threads, 6)), store, chunks=(2, 3))
        assert store.most <= requests * threads
        assert store.most >= min(requests, 16)
        np.testing.assert_array_equal(from_zarr(store).compute(), values)


def test_a_failing_object_among_several_is_named_and_the_others_are_not_left_under_way():
    class Refusing(Counting):
        def before(self, kind, key):
            super().before(kind, key)
            if kind == "set" and key == "c/3/0":
                raise PermissionError("no")

    store = Refusing(MappingStore({}))
    values = distinct_values((40, 3), "i4")
    with pytest.raises(PermissionError, match="c/3/0"):
        to_zarr(da.from_array(values, chunks=(40, 3)), store, chunks=(2, 3))
    assert store.now == 0
    with pytest.raises(WriteFailedError, match="c/3/0"):
        to_zarr(da.from_array(values, chunks=(40, 3)), store, chunks=(2, 3), failures="collect", overwrite=True)
    stored = [key for key in store.store.mapping if key.startswith("c/")]
    assert sorted(stored) == sorted(f"c/{i}/0" for i in range(20) if i != 3)


def test_parts_of_several_shards_are_read_at_once():
    store, values = counting(0.02), distinct_values((64, 4), "i4")
    to_zarr(da.from_array(values, chunks=(8, 4)), store, chunks=(2, 2), shards=(8, 4))
    store.most = 0
    class_has_ranges = hasattr(store, "get_ranges")
    np.testing.assert_array_equal(from_zarr(store, chunks=-1)[:, :2].compute(), values[:, :2])
    assert class_has_ranges or store.most >= 1  # a mapping reads no ranges: shards come whole


def test_a_thread_that_holds_a_lease_enters_again():
    limit = TaskLimit("daskzarr-test-again", 1)
    with limit, limit:
        entered = []
        other = threading.Thread(
            target=lambda: [limit.__enter__(), entered.append(1), limit.__exit__(None, None, None)]
        )
        other.start()
        other.join(0.1)
        assert not entered
    other.join(5)
    assert entered


@pytest.mark.parametrize("tasks", [1, 2])
def test_so_many_tasks_of_a_process_at_once(tasks):
    store, values = counting(), distinct_values((40, 6), "i4")
    settings = {"daskzarr.requests.tasks": tasks, "daskzarr.requests.in-flight": 1, "num_workers": 8}
    with dask.config.set(settings):
        to_zarr(da.from_array(values, chunks=(2, 6)), store)
        assert store.most <= tasks
        store.most = 0
        with dask.config.set(scheduler="threads"):
            total = from_zarr(store).sum().compute()
        assert total == values.sum()
        assert store.most <= tasks
        append(da.from_array(values, chunks=(3, 6)), store, axis=0)  # unaligned: reads what it merges with
        assert store.most <= tasks
    np.testing.assert_array_equal(from_zarr(store).compute(), np.concatenate([values, values]))


def test_so_many_tasks_of_a_cluster_at_once(tmp_path):
    values = distinct_values((48, 6), "i4")
    store = Watched(LocalStore(str(tmp_path / "a.zarr")), str(tmp_path / "notes"))
    (tmp_path / "notes").mkdir()
    with (
        dask.config.set({"daskzarr.requests.tasks": 2, "daskzarr.requests.in-flight": 1}),
        LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        to_zarr(da.from_array(values, chunks=(2, 6)), store)
        assert from_zarr(store).sum().compute() == values.sum()
        with dask.config.set({"daskzarr.requests.tasks": 1}):
            assert from_zarr(store.store).sum().compute() == values.sum()
    spans = sorted(tuple(map(float, note.read_text().split())) for note in (tmp_path / "notes").iterdir())
    assert len(spans) == 48
    assert max(sum(start <= at < stop for start, stop in spans) for at, _ in spans) <= 2


class Watched(StoreWrapper):
    """A store that notes when each request for a chunk began and ended, in a folder that all processes see."""

    def __init__(self, store, notes):
        self.notes = notes

    def before(self, kind, key):
        if kind in ("get", "get_many", "read_into", "set") and key.startswith("c/"):
            start = time.time()
            time.sleep(0.01)
            with open(f"{self.notes}/{kind}-{key.replace('/', '.')}", "w") as file:
                file.write(f"{start} {time.time()}")

    def _state(self):
        return {"notes": self.notes}


def test_limits_are_one_for_each_target():
    one, other = MappingStore({}), MappingStore({})
    assert limit_name(one) == limit_name(one) != limit_name(other)
