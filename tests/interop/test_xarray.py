"""xarray and daskzarr: stores of xarray are read, and what daskzarr writes with names opens as a dataset."""

import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray
import zarr

import daskzarr

from .cells import distinct, same

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def read(path, component):
    return daskzarr.from_zarr(path, component).compute(scheduler="synchronous")


@pytest.fixture
def dataset():
    time = np.arange("2000-01-01", "2000-01-06", dtype="M8[D]").astype("M8[ns]")
    variables = {
        "t": (("time", "x"), distinct((5, 7), "f4"), {"units": "K", "valid": [0, 1]}),
        "n": (("time",), distinct((5,), "i8")),
        "flag": (("x",), distinct((7,), "bool")),
        "name": (("x",), np.array(["a", "é", "", "dddd", "🦆", "f", "g"])),
        "raw": (("x",), np.array([b"a", b"bc", b"", b"dddd", b"e", b"f", b"g"])),
        "scalar": ((), np.float64(2.5)),
        "packed": (("x",), np.arange(7) / 4, {}, {"dtype": "i2", "scale_factor": 0.25, "_FillValue": -1}),
    }
    return xarray.Dataset(variables, {"time": time, "x": np.arange(7.0)}, {"title": "é"})


def write(dataset, path, **how):
    with warnings.catch_warnings(action="ignore"):
        dataset.to_zarr(path, **how)


@FORMATS
@pytest.mark.parametrize("consolidated", [True, False])
def test_every_variable_of_a_dataset_is_read(zarr_format, consolidated, dataset, tmp_path):
    path = str(tmp_path)
    write(dataset, path, zarr_format=zarr_format, consolidated=consolidated)
    for name in (*dataset.variables, "packed"):
        with warnings.catch_warnings(action="ignore"):
            expected = np.asarray(zarr.open_array(path, path=name, mode="r")[...])
        if expected.dtype.kind in "TO":
            expected = expected.astype(object)
        array = daskzarr.open_array(path, name)
        same(read(path, name), expected)
        assert (array.dimension_names or ()) == dataset[name].dims
    assert (
        daskzarr.open_array(path, "t").attrs | {"units": "K", "valid": [0, 1]} == daskzarr.open_array(path, "t").attrs
    )
    assert "_ARRAY_DIMENSIONS" not in daskzarr.open_array(path, "t").attrs
    assert daskzarr.open_group(path).attrs["title"] == "é"


@FORMATS
def test_a_tree_of_datasets_is_read(zarr_format, dataset, tmp_path):
    tree = xarray.DataTree.from_dict({"/": dataset[["n"]], "/a/b": dataset[["t"]]})
    with warnings.catch_warnings(action="ignore"):
        tree.to_zarr(str(tmp_path), zarr_format=zarr_format)
    same(read(str(tmp_path), "a/b/t"), dataset["t"].values)
    same(read(str(tmp_path), "n"), dataset["n"].values)


@FORMATS
def test_arrays_with_names_open_as_a_dataset(zarr_format, tmp_path):
    path, expected = str(tmp_path), {}
    for dtype in ("bool", "i1", "u2", "i8", "f4", "f8", "c16"):
        data = expected[dtype] = distinct((5, 7), dtype)
        how = {"dimension_names": ["y", "x"], "attributes": {"long_name": "é"}, "zarr_format": zarr_format}
        with dask.config.set(scheduler="synchronous"):
            daskzarr.to_zarr(da.from_array(data, chunks=(2, 3)), path, dtype, **how)
    daskzarr.create_array(
        path, "x", shape=(7,), chunks=(7,), dtype="f8", dimension_names=["x"], zarr_format=zarr_format
    )
    with xarray.open_dataset(path, engine="zarr", consolidated=False, chunks=None, mask_and_scale=False) as found:
        assert set(found.variables) == {*expected, "x"}
        assert "x" in found.coords
        for name, data in expected.items():
            assert found[name].dims == ("y", "x")
            assert found[name].attrs["long_name"] == "é"
            same(found[name].values, data)


@FORMATS
def test_fill_values_are_masked_as_xarray_masks(zarr_format, tmp_path):
    path = str(tmp_path)
    attributes = {"_FillValue": -1} if zarr_format == 3 else {}
    how = {"dimension_names": ["x"], "fill_value": -1, "attributes": attributes, "zarr_format": zarr_format}
    with dask.config.set(scheduler="synchronous"):
        daskzarr.to_zarr(da.from_array(np.array([1, -1, 3], "i2"), chunks=2), path, "a", **how)
    with xarray.open_dataset(path, engine="zarr", consolidated=False, chunks=None) as found:
        np.testing.assert_array_equal(found["a"].values, [1, np.nan, 3])
