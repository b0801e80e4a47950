"""Datasets of xarray: opening many variables, computing and writing many small chunks, by daskzarr and by zarr-python.

Run ``python -m benchmarks.test_xarray --help``, or ``pytest benchmarks/test_xarray.py``: there, pytest-benchmark notes
the times and ratios of paired rounds, and a ratio beyond its limit fails.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import daskzarr
import daskzarr.xarray
from benchmarks.paired import measure, pick, save, show
from benchmarks.read_write import field
from daskzarr.stores import LocalStore
from daskzarr.testing import RecordingStore

Contenders = tuple[str, dict[str, Callable[[], Any]]]

VARIABLES = 1000
SHAPE, CHUNK = (1000, 1000), (10, 10)
ROUNDS = {"compute": 3, "write": 3}
MOST_ROUNDS = 9
OURS = "daskzarr"

pytestmark = pytest.mark.filterwarnings("ignore")


def _many(folder: str, zarr_format: int) -> str:
    """A consolidated group of so many variables; zarr-python writes it, once."""
    place = f"{folder}/many-v{zarr_format}"
    if not Path(place).exists():
        cells = {f"v{i}": (("t", "x"), np.full((4, 5), i, "f4")) for i in range(VARIABLES)}
        xr.Dataset(cells, coords={"t": np.arange(4)}).to_zarr(place, zarr_format=zarr_format, consolidated=True)
    return place


def _small(folder: str) -> str:
    """One variable in many small chunks."""
    place = f"{folder}/small"
    if not Path(place).exists():
        dataset = xr.Dataset({"a": (("y", "x"), field(SHAPE), {}, {"chunks": CHUNK})})
        dataset.to_zarr(place, zarr_format=3, consolidated=True)
    return place


def open_v3(folder: str) -> Contenders:
    """Open a consolidated dataset of many variables, Zarr v3."""
    return _opened(_many(folder, 3))


def open_v2(folder: str) -> Contenders:
    """Open a consolidated dataset of many variables, Zarr v2."""
    return _opened(_many(folder, 2))


def _opened(place: str) -> Contenders:
    """By both engines."""
    return "zarr-python", {
        OURS: lambda: xr.open_dataset(place, engine="daskzarr"),
        "zarr-python": lambda: xr.open_dataset(place, engine="zarr"),
    }


def open_chunked(folder: str) -> Contenders:
    """Open the same with every variable a dask array."""
    place = _many(folder, 3)
    return "zarr-python", {
        OURS: lambda: daskzarr.xarray.open_zarr(place),
        "zarr-python": lambda: xr.open_zarr(place),
    }


def compute(folder: str) -> Contenders:
    """Open and compute a dataset on many small chunks."""
    place = _small(folder)
    return "zarr-python", {
        OURS: lambda: daskzarr.xarray.open_zarr(place).compute(),
        "zarr-python": lambda: xr.open_zarr(place).compute(),
    }


def write(folder: str) -> Contenders:
    """Write a dataset on many small chunks, a block of Dask's for each."""
    dataset = xr.Dataset({"a": (("y", "x"), field(SHAPE))}).chunk(y=CHUNK[0], x=CHUNK[1])

    def run(name: str, put: Callable[[str], Any]) -> xr.Dataset:
        place = f"{folder}/written-{name}"
        shutil.rmtree(place, ignore_errors=True)  # the same for both
        put(place)
        return xr.open_zarr(place)

    return "zarr-python", {
        OURS: lambda: run("ours", lambda place: daskzarr.xarray.to_zarr(dataset, place, mode="w")),
        "zarr-python": lambda: run("zarr", lambda place: dataset.to_zarr(place, mode="w", zarr_format=3)),
    }


CASES: dict[str, Callable[[str], Contenders]] = {
    "open_v3": open_v3,
    "open_v2": open_v2,
    "open_chunked": open_chunked,
    "compute": compute,
    "write": write,
}
# The most that a case may take of the time of zarr-python; without a limit it is only told.
LIMITS = {"open_v3": 1 / 2, "compute": 1 / 5, "write": 1 / 3}


@pytest.mark.parametrize("case", CASES)
def test_ratio(case, benchmark, tmp_path):
    base, contenders = CASES[case](str(tmp_path))
    results = benchmark.pedantic(measure, (contenders, ROUNDS.get(case, MOST_ROUNDS), base), rounds=1, iterations=1)
    benchmark.extra_info.update(results)
    show(case, results, base)
    assert results[OURS]["ratio"] <= LIMITS.get(case, float("inf"))


@pytest.mark.parametrize("case", CASES)
def test_contenders_give_the_same(case, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "VARIABLES", 5)
    monkeypatch.setitem(globals(), "SHAPE", (30, 20))
    base, contenders = CASES[case](str(tmp_path))
    expected = contenders[base]().load()
    assert expected.sizes
    for run in contenders.values():
        xr.testing.assert_identical(run().load(), expected)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_opening_is_one_request(zarr_format, tmp_path):
    store = RecordingStore(LocalStore(_many(str(tmp_path), zarr_format)))
    xr.open_dataset(store, engine="daskzarr", zarr_format=zarr_format, create_default_indexes=False)
    assert store.keys() == [".zmetadata" if zarr_format == 2 else "zarr.json"]


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="", help="cases whose name begins so; default all")
    parser.add_argument("--rounds", type=int, help="default 9, of slow cases 3")
    parser.add_argument("--folder", help="where to put the datasets; default a temporary folder")
    parser.add_argument("--json", help="where to write the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in pick(options.case, CASES):
            base, contenders = CASES[name](options.folder or folder)
            results[name] = measure(contenders, options.rounds or ROUNDS.get(name, MOST_ROUNDS), base)
            show(f"{name}: {CASES[name].__doc__}", results[name], base)
    save(options.json, results)


if __name__ == "__main__":
    main()
