"""Warnings name the line of the program that called, whichever way the call came."""

import warnings
from collections import namedtuple

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import daskzarr
from daskzarr import rechunk_prepare
from daskzarr.rechunk_plan import CostModel
from daskzarr.xarray import install, open_zarr, to_zarr, uninstall


@pytest.fixture
def tiny(tmp_path):
    daskzarr.create_array(tmp_path / "tiny", shape=(200_000,), chunks=(2,), dtype="i1")
    return tmp_path / "tiny"


@pytest.fixture
def alone(tmp_path):
    """A dataset without consolidated metadata."""
    place = str(tmp_path / "a.zarr")
    xr.Dataset({"a": ("t", np.arange(3))}, {"x": ("x", [1, 2])}).daskzarr.to_zarr(place, consolidated=False)
    return place


@pytest.fixture
def installed():
    install()
    daskzarr.install_dask()
    yield
    daskzarr.uninstall_dask()
    uninstall()


def more():
    return xr.Dataset({"a": ("t", np.arange(3, 6))}, {"x": ("x", [1, 3])})


def check(call, text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [each for each in caught if text in str(each.message)]
    assert [(each.filename, each.lineno) for each in found] == [(__file__, call.__code__.co_firstlineno)]


def test_reading(tiny):
    check(lambda: daskzarr.from_zarr(tiny), "make as many tasks")


def test_opening_datasets(alone, installed):
    text = "none, so each document is asked for"
    check(lambda: xr.open_dataset(alone, engine="daskzarr"), text)
    check(lambda: xr.open_dataset(alone, engine="zarr"), text)
    check(lambda: open_zarr(alone), text)
    check(lambda: xr.open_zarr(alone), text)
    check(lambda: xr.open_datatree(alone, engine="daskzarr"), text)


def test_writing_datasets(alone, installed):
    text = "overwrites it for all that is there"
    check(lambda: to_zarr(more(), alone, append_dim="t", overwrite_coords="warn"), text)
    more().daskzarr.to_zarr(alone, append_dim="t", overwrite_coords=True)
    other = more().assign_coords(x=[4, 5])
    check(lambda: other.daskzarr.to_zarr(alone, append_dim="t", overwrite_coords="warn"), text)
    check(lambda: more().to_zarr(alone, append_dim="t"), text)


def test_dasks_own_verbs(tmp_path, installed):
    check(lambda: da.arange(10, chunks=((2, 5, 3),)).to_zarr(str(tmp_path / "one")), "irregular chunk sizes")
    two = zarr.create_array(tmp_path / "two", shape=(10,), chunks=(4,), dtype="i8")
    check(lambda: da.to_zarr(da.arange(6, chunks=3), two, region=(slice(1, 7),)), "will be rechunked")


def test_rechunking(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(rechunk_prepare.shutil, "disk_usage", lambda folder: Usage(1, 1, 0))
    daskzarr.to_zarr(da.arange(64_000, chunks=1000).reshape(640, 100), tmp_path / "one")
    settings = {"max_mem": 60_000, "cost": CostModel(get=1e-6, put=1e-6, read=1e5, write=1e6)}
    check(lambda: daskzarr.rechunk(tmp_path / "one", tmp_path / "two", (640, 1), **settings), "give another scratch=")
