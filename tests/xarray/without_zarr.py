"""What is done with xarray, OME-Zarr, AnnData and Intake, by a process that has no zarr-python: a case a function.

``test_without_zarr.py`` runs it so, and says where to write. It prints a JSON object: what each case raised, or null.
"""

import contextlib
import importlib
import json
import sys
import tempfile
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.testing import assert_array_equal

import daskzarr
import daskzarr.xarray
from daskzarr.graph.read import ZarrArray
from daskzarr.xarray import open_mfdataset, open_zarr, to_zarr

CELLS = np.arange(6 * 10, dtype="f8").reshape(6, 10) * 7 - 100


def dataset(start=0):
    """Every cell another; text, times, packed and missing values among them."""
    cells = CELLS + start * 1000
    holes = cells.copy()
    holes[0, 3] = np.nan
    return xr.Dataset(
        {
            "a": (("t", "x"), da.from_array(cells, chunks=(2, 5)), {"units": "K"}),
            "holes": (("t", "x"), holes, {}, {"dtype": "i4", "_FillValue": -999999}),
            "text": ("x", np.array([f"{start} {'é' * i}" for i in range(10)], object)),
            "flags": ("t", np.arange(6) % 3 == 0),
            "count": ("t", np.arange(6) + start),
        },
        coords={
            "t": pd.date_range("2020-01-01", periods=6, unit="ns") + pd.Timedelta(days=6 * start),
            "x": np.arange(10) * 2.5,
        },
        attrs={"title": "cells", "n": [1, 2.5]},
    )


def tree():
    """A group, and one below it."""
    below = dataset(1)[["a", "count"]].rename(a="b", t="u", x="y")
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"top": 1}), "/one": dataset(), "/one/two": below})


def same(found, expected):
    """Equal, with attributes; text may be of another of NumPy's dtypes."""
    xr.testing.assert_identical(found.load(), expected.load())


def stored(folder, *, zarr_format=3, start=0, name="a.zarr"):
    """The dataset, stored."""
    to_zarr(dataset(start), folder / name, zarr_format=zarr_format)
    return folder / name


# ---- reading


def case_engine_by_name(folder):
    for zarr_format in (2, 3):
        place = stored(folder, zarr_format=zarr_format, name=f"{zarr_format}.zarr")
        for chunks in (None, {}, {"t": 6, "x": 10}):
            found = xr.open_dataset(place, engine="daskzarr", chunks=chunks)
            assert (found.a.chunks is None) is (chunks is None)
            same(found, dataset())
        numbers = xr.open_dataset(place, engine="daskzarr", chunks="auto", drop_variables="text")
        assert numbers.a.chunks is not None
        same(numbers, dataset().drop_vars("text"))


def case_engine_guessed(folder):
    place = stored(folder)
    for where in (place, str(place), f"{place}/"):
        same(xr.open_dataset(where), dataset())
        same(xr.open_dataset(where, chunks={}), dataset())
    for name, found in xr.open_groups(place).items():
        same(found, {"/": dataset()}[name])
    assert "zarr" not in xr.backends.list_engines()


def case_open_zarr(folder):
    place = stored(folder)
    for chunks in ("default", {}, "auto", None, -1, {"t": 4}):
        found = open_zarr(place, chunks=chunks)
        assert (found.a.chunks is None) is (chunks is None)
        same(found, dataset())
    assert open_zarr(place).a.chunks == ((2, 2, 2), (5, 5))


def case_open_mfdataset(folder):
    places = [stored(folder, start=n, name=f"part-{n}.zarr") for n in range(3)]
    expected = xr.concat([dataset(n).drop_vars("text") for n in range(3)], "t")
    options = {"combine": "by_coords", "drop_variables": "text"}
    for parallel in (False, True):
        for paths in ([str(place) for place in places], f"{folder}/part-*.zarr"):
            same(open_mfdataset(paths, parallel=parallel, **options), expected)
            same(xr.open_mfdataset(paths, engine="daskzarr", parallel=parallel, **options), expected)


def case_trees(folder):
    for zarr_format in (2, 3):
        place = folder / f"{zarr_format}.zarr"
        to_zarr(tree(), place, zarr_format=zarr_format)
        for options in ({"engine": "daskzarr"}, {}, {"engine": "daskzarr", "chunks": {}}):
            xr.testing.assert_identical(xr.open_datatree(place, **options).load(), tree().load())
        groups = xr.open_groups(place, engine="daskzarr")
        assert list(groups) == ["/", "/one", "/one/two"]
        same(groups["/one/two"], tree()["one/two"].to_dataset(inherit=False))
        same(open_zarr(place, group="one"), dataset())


# ---- writing


def case_datasets(folder):
    for zarr_format in (2, 3):
        place = folder / f"{zarr_format}.zarr"
        dataset().daskzarr.to_zarr(place, zarr_format=zarr_format)
        assert (place / (".zgroup" if zarr_format == 2 else "zarr.json")).exists()
        written = to_zarr(dataset(5), place, mode="w", compute=False, zarr_format=zarr_format)
        written.compute()
        same(open_zarr(place), dataset(5))


def case_data_arrays(folder):
    for zarr_format in (2, 3):
        array = dataset(2).a.isel(t=slice(4))
        to_zarr(array, folder / f"{zarr_format}.zarr", zarr_format=zarr_format)
        same(xr.open_dataarray(folder / f"{zarr_format}.zarr", engine="daskzarr"), array)


def case_appends(folder):
    for zarr_format in (2, 3):
        place = stored(folder, zarr_format=zarr_format, name=f"{zarr_format}.zarr")
        to_zarr(dataset(1).drop_vars("text"), place, append_dim="t")
        expected = xr.concat([dataset(n).drop_vars("text") for n in range(2)], "t")
        same(open_zarr(place, drop_variables="text"), expected)


def case_regions(folder):
    for zarr_format in (2, 3):
        place = stored(folder, zarr_format=zarr_format, name=f"{zarr_format}.zarr")
        part = (dataset() * 2)[["a", "count"]].isel(t=slice(2, 4))
        to_zarr(part.drop_vars("x"), place, region="auto")
        expected = dataset().load()
        expected.a[2:4] *= 2
        expected["count"][2:4] *= 2
        same(open_zarr(place), expected)
        to_zarr(part[["count"]].drop_vars("t") * 10, place, region={"t": slice(0, 2)})
        expected["count"][0:2] = part["count"].values * 10
        same(open_zarr(place), expected)


# ---- in the place of others


def case_behind_xarrays_names(folder):
    daskzarr.xarray.install()
    place = folder / "a.zarr"
    try:
        dataset().to_zarr(place)
        dataset(1).drop_vars("text").to_zarr(place, append_dim="t")
        same(xr.open_zarr(place).isel(t=slice(6)), dataset())
        same(xr.open_dataset(place, engine="zarr", chunks={}).isel(t=slice(6)), dataset())
        dataset().a.to_zarr(folder / "array.zarr", zarr_format=2)
        same(xr.open_dataarray(folder / "array.zarr", engine="zarr"), dataset().a)
        tree().to_zarr(folder / "tree.zarr")
        xr.testing.assert_identical(xr.open_datatree(folder / "tree.zarr", engine="zarr").load(), tree().load())
        dataset().to_zarr(store := {})
        same(xr.open_zarr(store), dataset())
    finally:
        daskzarr.xarray.uninstall()
    try:
        xr.open_dataset(place, engine="zarr")
    except (ImportError, ValueError):
        return
    raise AssertionError("xarray's engine 'zarr' is not its own again")


def case_behind_dasks_names(folder):
    daskzarr.install_dask()
    try:
        da.from_array(CELLS, chunks=(4, 3)).to_zarr(str(folder / "a"), component="b")
        found = da.from_zarr(str(folder / "a"), "b")
        assert isinstance(found, ZarrArray)
        assert_array_equal(found.compute(), CELLS)
    finally:
        daskzarr.uninstall_dask()


# ---- other conventions


def case_ome(folder):
    from daskzarr.ome import open_multiscales, write_multiscales

    image = np.arange(12 * 16, dtype="u2").reshape(12, 16)
    for version in ("0.4", "0.5"):
        place = folder / version
        write_multiscales(da.from_array(image, chunks=5), place, axes="yx", levels=2, method="nearest", version=version)
        levels = open_multiscales(place).levels
        assert_array_equal(levels[0].array.compute(), image)
        assert_array_equal(levels[1].array.compute(), image[::2, ::2])


def case_anndata(folder):
    from daskzarr.anndata import open_element

    place = folder / "a.zarr"
    about = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [3, 4]}
    daskzarr.create_group(place, "X", attributes=about)
    for name, cells in {"data": [7, 8, 9], "indices": [1, 3, 0], "indptr": [0, 2, 2, 3]}.items():
        daskzarr.to_zarr(da.from_array(np.array(cells)), place, f"X/{name}")
    assert_array_equal(open_element(place, "X", blocks="dense").compute(), [[0, 7, 0, 8], [0, 0, 0, 0], [9, 0, 0, 0]])


def case_intake(folder):
    import intake

    place = stored(folder)
    entries = "sources: {set: {driver: daskzarr, args: {urlpath: '%s', chunks: {t: 3}}},"
    entries += " array: {driver: daskzarr_array, args: {urlpath: '%s', component: a}}}"
    (folder / "catalog.yaml").write_text(entries % (place, place))
    catalog = intake.open_catalog(str(folder / "catalog.yaml"))
    found = catalog["set"].to_dask()
    assert found.a.chunks == ((3, 3), (5, 5))
    same(found, dataset())
    assert_array_equal(catalog["array"].to_dask().compute(), CELLS)


def run(case):
    """What a case raised, None for nothing."""
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="threads"):
        try:
            case(Path(folder))
        except Exception:
            return traceback.format_exc()
    return None


CASES = {name: value for name, value in globals().items() if name.startswith("case_")}

if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=ResourceWarning)
    warnings.filterwarnings("ignore", "Engine 'kerchunk' loading failed")  # if that is there, without zarr-python
    assert find_spec("zarr") is None
    with contextlib.suppress(ModuleNotFoundError):
        raise AssertionError(f"there is one: {importlib.import_module('zarr')}")
    results = {name: run(case) for name, case in CASES.items()}
    assert not [name for name in sys.modules if name.split(".")[0] == "zarr"]
    print(json.dumps(results))
