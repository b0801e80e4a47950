"""Workers killed in the middle of a write: the others finish it, and nothing finished is done again more than once."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, WorkerPlugin

import daskzarr

from .fault_cases import LINE, SHIFT, slowly

VALUES = np.arange(1, 240 * 200 + 1, dtype="f8").reshape(240, 200)
CHUNKS = (20, 20)
WORKERS = 3
GRIDS = {
    "aligned": {"chunks": (20, 20)},
    "sharded": {"chunks": (10, 10), "shards": (20, 20)},
    "shared": {"chunks": (27, 23)},
    "gathered": {"chunks": (60, 50)},
}


class CountedWrites(WorkerPlugin):
    """Makes a worker note each value that it has put into a local store."""

    def __init__(self, log):
        self.log = log

    def setup(self, worker):
        """Put a note behind the method; each worker, restarted or not, is a process of its own."""
        from daskzarr.stores import LocalStore

        put = LocalStore.set

        def put_and_note(store, key, value):
            put(store, key, value)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{key}\n".encode())
            os.close(descriptor)

        LocalStore.set = put_and_note


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Workers that can be killed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # where workers find the slow step
    options = {"n_workers": WORKERS, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    forked = dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})  # which is fast
    scratch = str(tmp_path / "scratch")
    with forked, LocalCluster(**options, local_directory=scratch) as cluster, Client(cluster) as client:
        client.register_plugin(CountedWrites(str(tmp_path / "writes")))
        yield cluster, client


def count(log):
    """How often each line is in a log."""
    return Counter(log.read_text().split()) if log.exists() else Counter()


def write_and_kill(cluster, folder, grid, shares):
    """Write, and kill a worker each time so much of the blocks is computed: writes of each key, runs of each block."""
    cluster, client = cluster
    blocks = folder / "blocks"
    x = da.from_array(VALUES, chunks=CHUNKS).map_blocks(
        slowly, log=str(blocks), pause=0.02, hole=(0, 0), dtype=VALUES.dtype
    )
    future = client.compute(daskzarr.to_zarr(x, folder / "a.zarr", compute=False, **grid))
    nannies = random.Random(f"{grid} {shares}").sample(list(cluster.workers.values()), len(shares))
    for share, nanny in zip(shares, nannies, strict=True):
        while not future.done() and (blocks.stat().st_size if blocks.exists() else 0) < share * x.npartitions * LINE:
            time.sleep(0.002)
        assert not future.done(), "the write has to be under way still"
        os.kill(nanny.pid, signal.SIGKILL)
    future.result(timeout=120)
    return count(folder / "writes"), count(blocks)


@pytest.mark.parametrize(
    ("grid", "shares"),
    [("aligned", (0.3,)), ("aligned", (0.8,)), ("sharded", (0.3, 0.7)), ("shared", (0.6,)), ("gathered", (0.6,))],
)
def test_a_worker_dies(cluster, tmp_path, grid, shares):
    writes, runs = write_and_kill(cluster, tmp_path, GRIDS[grid], shares)
    chunks = {key: n for key, n in writes.items() if key.startswith("c/")}
    # What was done is done again once for each death at most, and what is done afterwards is not.
    assert max(chunks.values()) <= 1 + len(shares)
    assert max(runs.values()) <= 1 + len(shares)
    again, anew = sum(chunks.values()) - len(chunks), sum(runs.values()) - len(runs)
    print(f"{again} of {len(chunks)} objects written again, {anew} of {len(runs)} blocks computed again")
    assert again <= sum(shares) * len(chunks) + 8
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "a.zarr").compute(scheduler="sync"), VALUES + SHIFT)
    with dask.config.set(scheduler="sync"):
        assert daskzarr.verify(tmp_path / "a.zarr", level="digest").ok
    assert not list(tmp_path.rglob("*.partial"))
