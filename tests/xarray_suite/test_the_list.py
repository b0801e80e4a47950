"""The run of xarray's own tests fails when it is to; the list is told in docs/xarray.md; what it leaves out is here."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from daskzarr.xarray import open_zarr, to_zarr
from daskzarr.xarray.lazy import StoredCells

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "xarray.md").read_text()
LIST = tomllib.loads((HERE / "expected.toml").read_text())
ENTRIES = [*LIST["not_applicable"], *LIST["fails"]]

SUITE = """
import pytest, xarray as xr

class TestZarrOne:
    @pytest.mark.parametrize("n", range(8))
    def test_passes(self, n):
        xr.Dataset({"a": ("x", [n])}).to_zarr(store := {})
        assert xr.open_zarr(store).a.values == [n]

    @pytest.mark.parametrize("n", range(2))
    def test_fails(self, n):
        xr.Dataset({"a": ("x", [n])}).to_zarr({})
        assert n == 1

def test_zarr_in_name_only():
    pass

def test_other():
    raise AssertionError("not of Zarr")
"""
FAILS = 'least_share = 0.8\n[[fails]]\nclass = "TestZarr*"\ntest = "test_fails"\nparameters = "0"\nreason = "why"\n'


RUNS = {
    "as listed": (FAILS, True, "9 passed, 1 failed as expected, 0 otherwise: 90.00%"),
    "not listed": ("", False, "9 passed, 0 failed as expected, 1 otherwise"),
    "listed and passes": (
        FAILS.replace('parameters = "0"\n', ""),
        False,
        "8 passed, 1 failed as expected, 1 otherwise",
    ),
    "share": (FAILS.replace("0.8", "0.99"), False, "TOO FEW PASSED"),
    "number": ("least_passed = 10\n" + FAILS, False, "TOO FEW PASSED"),
    "not applicable": (FAILS.replace("[[fails]]", "[[not_applicable]]"), True, "1 do not apply: why"),
    "gone": (FAILS.replace("test_fails", "test_gone"), False, "listed, and not there: TestZarr*::test_gone"),
}
RUN_ALL = """
import sys, pytest
options = ["-q", "--tb", "no", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider"]
options += ["-p", "daskzarr_behind_xarray"]
for expected in sys.argv[1:]:
    print("RUN", pytest.main([*options, "--expected", expected, "test_some.py"]) == 0, "END")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What each run has printed, and whether it was good, by one process for all."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_some.py").write_text(SUITE)
    for name, (listed, _, _) in RUNS.items():
        (folder / f"{name}.toml").write_text(listed)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", RUN_ALL, *(f"{name}.toml" for name in RUNS)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)
    found = re.findall(r"(.*?)RUN (True|False) END", result.stdout, re.DOTALL)
    assert len(found) == len(RUNS), result.stdout + result.stderr
    return dict(zip(RUNS, found, strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_the_run_fails_when_it_is_to(runs, name):
    _, ok, said = RUNS[name]
    printed, was_ok = runs[name]
    assert said in printed, printed
    assert "1 passed without calling daskzarr" in printed
    assert was_ok == str(ok), printed


def test_the_list_is_in_the_page():
    for entry in ENTRIES:
        name = entry["class"] if entry["test"] == "*" else entry["test"]
        assert f"`{name}" in PAGE, name
        assert len(entry["reason"]) > 20
    assert re.search(r"\d,\d{3} pass", PAGE)
    assert LIST["least_share"] >= 0.99


# ---- what tests that count calls of zarr-python would find out

INDEXERS = {
    "everything": ("isel", {}),
    "integer": ("isel", {"dim2": 2}),
    "label": ("sel", {"dim2": 1.0}),
    "slice": ("isel", {"dim2": slice(1, 3)}),
    "labels": ("sel", {"dim2": [1.0, 3.0]}),
    "positions": ("isel", {"dim2": [1, 3]}),
    "points": ("isel", {"dim1": xr.Variable("points", [2, 3]), "dim2": xr.Variable("points", [1, 3])}),
}


@pytest.fixture
def stored(tmp_path):
    values = np.arange(8 * 9, dtype="f8").reshape(8, 9) + 0.5
    ds = xr.Dataset({f"var{n}": (("dim1", "dim2"), values + 1000 * n) for n in range(4)}, {"dim2": np.arange(9) * 0.5})
    to_zarr(ds, tmp_path / "a", encoding={f"var{n}": {"chunks": (3, 4)} for n in range(4)})
    return ds, tmp_path / "a"


@pytest.fixture
def awaited(monkeypatch):
    """The shapes that were loaded without blocking."""
    shapes, method = [], StoredCells.async_getitem

    async def noted(self, key):
        found = await method(self, key)
        shapes.append(np.shape(found))
        return found

    monkeypatch.setattr(StoredCells, "async_getitem", noted)
    return shapes


# A Variable has no labels to select by.
@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (kind, name)
        for kind in ("Dataset", "DataArray", "Variable")
        for name, (method, _) in INDEXERS.items()
        if kind != "Variable" or method != "sel"
    ],
)
def test_loading_without_blocking(stored, awaited, kind, chosen):
    ds, place = stored
    method, indexer = INDEXERS[chosen]
    of = {"Dataset": lambda ds: ds, "DataArray": lambda ds: ds["var1"], "Variable": lambda ds: ds["var1"].variable}
    lazy, expected = (getattr(of[kind](each), method)(**indexer) for each in (open_zarr(place, chunks=None), ds))
    found = asyncio.run(lazy.load_async())
    assert len(awaited) == (4 if kind == "Dataset" else 1)
    xr.testing.assert_identical(found, expected)


def test_loading_several_without_blocking(stored, awaited):
    ds, place = stored

    async def load():
        return await asyncio.gather(*(open_zarr(place, chunks=None).load_async() for _ in range(5)))

    for found in asyncio.run(load()):
        xr.testing.assert_identical(found, ds)
    assert len(awaited) == 5 * 4
