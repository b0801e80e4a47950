"""Datasets that are written by a cluster of processes, one of which may die."""

import os
import signal
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import daskzarr
from daskzarr.errors import UnsupportedError
from daskzarr.xarray import open_zarr, to_zarr

from .fault_cases import LINE, SHIFT, slowly


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two workers that can be killed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # where workers find the slow step
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    forked = dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})  # which is fast
    scratch = str(tmp_path / "scratch")
    with forked, LocalCluster(**options, local_directory=scratch) as cluster, Client(cluster) as client:
        yield cluster, client


def lines(start, stop, log=None):
    """Two variables that have one source, each of cells that are all different."""
    cells = np.arange(1, (stop - start) * 20 + 1, dtype="f8").reshape(-1, 20) + start * 20
    x = da.from_array(cells, chunks=(5, 10))
    if log is not None:
        x = x.map_blocks(slowly, log=log, pause=0.02, hole=(0, 0), dtype="f8")
    else:
        x = x + SHIFT
    return xr.Dataset(
        {"a": (("t", "x"), x), "b": (("t", "x"), x * 2), "label": ("x", np.arange(20) * 3)},
        coords={"t": np.arange(start, stop) * 10},
    )


def check(place, want):
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(open_zarr(place).compute(), want.compute())
        xr.testing.assert_identical(xr.open_dataset(place, engine="zarr").compute(), want.compute())
        assert daskzarr.verify(place, level="digest").ok


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_new_appended_and_a_region(cluster, tmp_path, zarr_format):
    place = str(tmp_path / "a.zarr")
    to_zarr(lines(0, 20), place, zarr_format=zarr_format)
    check(place, lines(0, 20))
    to_zarr(lines(20, 33), place, append_dim="t")
    check(place, lines(0, 33))
    to_zarr(lines(33, 40), place, append_dim="t", safe_chunks=False)
    check(place, lines(0, 40))
    part = (lines(3, 18) + 0.5)[["a", "b"]].drop_vars("t")
    to_zarr(part, place, region={"t": slice(3, 18)}, safe_chunks=False)
    with dask.config.set(scheduler="sync"):
        want = lines(0, 40).compute()
        want["a"][3:18] += 0.5
        want["b"][3:18] += 0.5
    check(place, want)
    to_zarr(open_zarr(place) + 1, place, "w")
    check(place, want + 1)


@pytest.mark.parametrize("kind", ["new", "append", "w"])
def test_a_worker_dies(cluster, tmp_path, kind):
    cluster, client = cluster
    place, log = str(tmp_path / "a.zarr"), tmp_path / "blocks"
    options = {"new": {}, "append": {"append_dim": "t"}, "w": {"mode": "w"}}[kind]
    start = 0
    if kind != "new":
        with dask.config.set(scheduler="sync"):
            to_zarr(lines(0, 20), place)
        start = 20 if kind == "append" else 0
    future = client.compute(to_zarr(lines(start, start + 100, str(log)), place, compute=False, **options))
    while not future.done() and (log.stat().st_size if log.exists() else 0) < 0.4 * 40 * LINE:
        time.sleep(0.002)
    assert not future.done(), "the write has to be under way still"
    if kind == "append":
        with dask.config.set(scheduler="sync"):
            assert open_zarr(place).sizes["t"] == 20
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    future.result(timeout=120)
    check(place, lines(0, start + 100))


def test_a_mapping_is_not_where_workers_write(cluster):
    store = {}
    with pytest.raises(UnsupportedError, match="only this process can write"):
        to_zarr(lines(0, 20), store)
    assert not store
    small = xr.Dataset({"a": ("t", np.arange(4))})
    to_zarr(small, store)
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(open_zarr(store).compute(), small)
    before = dict(store)
    with pytest.raises(UnsupportedError):
        to_zarr(xr.Dataset({"a": ("t", da.arange(4))}), store, append_dim="t")
    assert store == before
