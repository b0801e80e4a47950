"""rechunk on a cluster of processes: scratch kept small, a worker killed, the whole job killed and taken up again."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, WorkerPlugin

import daskzarr
from daskzarr.rechunk_plan import CostModel

VALUES = np.arange(1, 960 * 24 * 20 + 1, dtype="f4").reshape(960, 24, 20)
MAPS, PENCILS = (4, 24, 20), (96, 4, 5)
SCRATCH = "__scratch__/"
# Reading twice costs more than writing twice here, so that cells go through scratch; few tasks make a group.
SETTINGS = {"max_mem": 50_000, "cost": CostModel(read=1e5, write=1e6, get=1e-6, put=1e-6, task=1e-6, slots=2)}


class SlowWrites(WorkerPlugin):
    """Makes a worker wait before it puts a value into a local store, and note it afterwards."""

    def __init__(self, log, pause):
        self.log, self.pause = log, pause

    def setup(self, worker):
        """Wrap the method; each worker, restarted or not, is a process of its own."""
        from daskzarr.stores import LocalStore

        put = LocalStore.set

        def put_and_note(store, key, value):
            time.sleep(self.pause)
            put(store, key, value)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{key}\n".encode())
            os.close(descriptor)

        LocalStore.set = put_and_note


@pytest.fixture
def cluster(tmp_path):
    """Two workers that can be killed."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    forked = dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})  # which is fast
    with forked, LocalCluster(**options, local_directory=str(tmp_path / "dask")) as cluster, Client(cluster) as client:
        client.register_plugin(SlowWrites(str(tmp_path / "writes"), 0.004))
        yield cluster


@pytest.fixture
def source(tmp_path):
    """Maps, one object for a few of them."""
    place = tmp_path / "source"
    with dask.config.set(scheduler="sync"):  # so that no worker notes these objects
        daskzarr.to_zarr(da.from_array(VALUES, chunks=MAPS), place, compressors=None, journal=False)
    return place


def read(place):
    return daskzarr.from_zarr(place).compute(scheduler="sync")


def writes(tmp_path):
    """How often each object was written: of scratch, and of the target."""
    log = tmp_path / "writes"
    found = Counter(log.read_text().split()) if log.exists() else Counter()
    packed = {key: n for key, n in found.items() if key.startswith(SCRATCH) and not key.endswith(".json")}
    return packed, {key: n for key, n in found.items() if key.startswith("c/")}


def held(place):
    """Bytes of the objects in scratch, those under way not counted."""
    total = 0
    # os.walk steps over what is deleted while it looks; Path.rglob raises
    for folder, _, names in os.walk(Path(f"{place}.daskzarr", "__scratch__")):
        for name in names:
            if not name.endswith((".json", ".partial")):
                with contextlib.suppress(FileNotFoundError):
                    total += Path(folder, name).stat().st_size
    return total


class Sampling:
    """Looks at scratch again and again for as long as it is entered."""

    def __init__(self, place):
        self.place, self.most, self.samples = place, 0, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.ended.wait(0.003):
            self.most = max(self.most, held(self.place))
            self.samples += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *ended):
        self.ended.set()
        self.thread.join()


def test_scratch_never_holds_more_than_the_plan_says(cluster, source, tmp_path):
    place = tmp_path / "target"
    plan = daskzarr.plan_rechunk(source, place, PENCILS, **SETTINGS)
    assert plan.kind == "packed"
    assert plan.groups.count > 3
    assert plan.scratch < plan.nbytes
    with Sampling(place) as seen:
        report = daskzarr.rechunk(source, place, PENCILS, **SETTINGS)
    assert report.plans[""] == plan
    np.testing.assert_array_equal(read(place), VALUES)
    packed, stored = writes(tmp_path)
    assert len(packed) == plan.stages[0].tasks
    assert len(stored) == plan.stages[1].puts
    assert {*packed.values(), *stored.values()} == {1}
    assert seen.samples > 20
    assert 0 < seen.most <= plan.scratch
    assert held(place) == 0


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_worker_dies(cluster, source, tmp_path, share):
    place = tmp_path / "target"
    write = daskzarr.rechunk(source, place, PENCILS, compute=False, **SETTINGS)
    plan = daskzarr.plan_rechunk(source, tmp_path / "other", PENCILS, **SETTINGS)
    future = Client.current().compute(write)
    tasks = plan.stages[0].tasks + plan.stages[1].puts
    while not future.done() and sum(map(len, writes(tmp_path))) < share * tasks:
        time.sleep(0.002)
    assert not future.done(), "it has to be under way still"
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    future.result(timeout=120)
    np.testing.assert_array_equal(read(place), VALUES)
    packed, stored = writes(tmp_path)
    again = [sum(each.values()) - len(each) for each in (packed, stored)]
    print(f"{again[0]} of {len(packed)} packed and {again[1]} of {len(stored)} stored objects were written again")
    # Only what the worker was at, and of scratch what is in no more than two groups, may be done again.
    assert again[0] <= 2 * -(-len(packed) // plan.groups.count) + 2
    assert again[1] <= plan.stages[1].puts // plan.stages[1].tasks + 1
    assert held(place) == 0


JOB = """
import sys, dask, daskzarr
from distributed import Client, LocalCluster
sys.path.insert(0, {tests!r})
from test_rechunk_cluster import PENCILS, SETTINGS, SlowWrites

if __name__ == "__main__":
    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    dask.config.set({{"distributed.worker.multiprocessing-method": "forkserver"}})
    with LocalCluster(**options, local_directory={folder!r} + "/job") as cluster, Client(cluster) as client:
        client.register_plugin(SlowWrites({folder!r} + "/writes", 0.01))
        daskzarr.rechunk({folder!r} + "/source", {folder!r} + "/target", PENCILS, **SETTINGS)
"""


def test_the_whole_job_is_killed_and_taken_up_again(source, tmp_path):
    place = tmp_path / "target"
    script = tmp_path / "job.py"
    script.write_text(JOB.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    job = subprocess.Popen([sys.executable, str(script)], start_new_session=True, cwd=tmp_path)
    try:
        for _ in range(6000):
            if len(writes(tmp_path)[1]) > 50 or job.poll() is not None:
                break
            time.sleep(0.01)
        assert job.poll() is None, "it has to be under way still"
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    stamps = {path: path.stat().st_mtime_ns for path in place.rglob("c/*/*/*")}
    stored = writes(tmp_path)[1]
    assert len(stored) > 50
    with dask.config.set(scheduler="threads", num_workers=2):
        report = daskzarr.rechunk(source, place, PENCILS, resume=True, **SETTINGS)
    np.testing.assert_array_equal(read(place), VALUES)
    # Blocks are noted when all of their objects are written: two workers were at one each.
    plan = report.plans[""]
    block = plan.stages[1].puts // plan.stages[1].tasks
    after = {path: path.stat().st_mtime_ns for path in stamps}
    anew = [path for path, stamp in stamps.items() if after[path] != stamp]
    assert len(anew) <= 2 * block
    assert report.written.objects + len(stamps) - len(anew) == plan.stages[1].puts
    assert held(place) == 0
    assert daskzarr.verify(place, level="digest").ok
