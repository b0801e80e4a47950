"""What xarray opens by this engine is what it opens by zarr-python; what that loses or hides is told apart here."""

import asyncio
import json
import pickle
import subprocess
import sys
import warnings
from functools import partial

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import daskzarr
from daskzarr.errors import MetadataError, NodeNotFoundError
from daskzarr.stores import MappingStore
from daskzarr.testing.recording_store import RecordingStore
from daskzarr.xarray import DaskzarrBackendEntrypoint, glob, open_mfdataset, open_zarr
from daskzarr.xarray.conventions import NoDimensionsError, decode_mask_value, encode_mask_value

pytestmark = [
    pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
]


def dataset(start=0):
    """Variables of many kinds; every cell is another."""
    cells = np.arange(4 * 6 * 8, dtype="f4").reshape(4, 6, 8) + start * 1000
    cells[0, 0, 0] = np.nan
    times = np.array(["2020-01-01", "2020-01-02", "2020-01-03T06", "2020-01-05"], "M8[ns]") + np.timedelta64(start, "D")
    return xr.Dataset(
        {
            "a": (("t", "y", "x"), cells, {"units": "K"}),
            "packed": (
                ("y", "x"),
                np.arange(48.0).reshape(6, 8),
                {},
                {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9},
            ),
            "fixed": ("x", np.array([f"t{i}" for i in range(8)])),
            "text": ("x", np.array(["é" * i for i in range(8)], object)),
            "flags": ("x", np.arange(8) % 3 == 0),
            "span": ("t", np.arange(1, 5) * np.timedelta64(3, "h")),
            "scalar": ((), 3),
            "empty": (("z", "x"), np.zeros((0, 8))),
        },
        coords={"t": times, "x": np.arange(8.0) * 2, "label": ("y", list("abcdef"))},
        attrs={"title": "x", "n": [1, 2.5]},
    )


@pytest.fixture(scope="module", params=[2, 3])
def place(request, tmp_path_factory):
    """A dataset that xarray stored by zarr-python."""
    path = tmp_path_factory.mktemp("data") / "a.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset().to_zarr(path, zarr_format=request.param, encoding={"a": {"chunks": (2, 3, 4)}})
    return str(path)


def by_zarr(place, **settings):
    """What zarr-python gives."""
    return xr.open_dataset(place, engine="zarr", decode_timedelta=True, **settings)


@pytest.mark.parametrize("opened", [open_zarr, partial(xr.open_dataset, engine="daskzarr")], ids=["verb", "engine"])
@pytest.mark.parametrize("chunks", [None, {}, {"t": 4, "y": 6}, -1], ids=str)
def test_datasets_are_the_same(place, chunks, opened):
    got = opened(place, chunks=chunks, decode_timedelta=True)
    want = by_zarr(place, chunks=chunks)
    assert {name: each.dtype for name, each in got.variables.items()} == {n: e.dtype for n, e in want.variables.items()}
    assert {name: each.chunks for name, each in got.items()} == {name: each.chunks for name, each in want.items()}
    xr.testing.assert_identical(got.load(), want.load())


def test_encodings_are_the_same(place):
    got, want = xr.open_dataset(place, engine="daskzarr", decode_timedelta=True), by_zarr(place)
    for name, variable in want.variables.items():
        here = got[name].encoding
        assert set(here) == set(variable.encoding)
        for key, value in variable.encoding.items():
            if isinstance(value, (float, np.floating)) and np.isnan(value):
                assert np.isnan(here[key])
            elif key == "compressors":
                assert here[key] == value, (name, here[key], value)
            elif key not in {"filters", "serializer"}:
                assert here[key] == value, (name, key)


@pytest.mark.parametrize(
    "settings", [{"mask_and_scale": False}, {"decode_cf": False}, {"decode_times": False}], ids=str
)
def test_what_is_not_to_be_decoded(place, settings):
    got, want = xr.open_dataset(place, engine="daskzarr", **settings), xr.open_dataset(place, engine="zarr", **settings)
    xr.testing.assert_identical(got.load(), want.load())


def test_it_is_lazy(place):
    got = xr.open_dataset(place, engine="daskzarr", chunks=None)
    assert not got["a"].variable._in_memory
    assert len(pickle.dumps(got["a"].variable._data)) < 2_000
    part = got["a"].isel(t=[3, 0], x=slice(None, None, -2))
    np.testing.assert_array_equal(part, dataset()["a"].values[[3, 0]][:, :, ::-2])
    xr.testing.assert_identical(asyncio.run(got.load_async()), by_zarr(place).load())


def test_names_of_tasks_say_what_is_read(tmp_path):
    place = tmp_path / "a.zarr"
    dataset()[["a"]].to_zarr(place, consolidated=False)
    one, other = (open_zarr(place, consolidated=False)["a"].data for _ in range(2))
    assert one.name == other.name


def test_trees_and_groups(tmp_path):
    tree = xr.DataTree.from_dict({"/": dataset()[["scalar"]], "/b": dataset()[["a"]], "/b/c": dataset()[["a"]] + 1})
    tree.to_zarr(tmp_path / "tree.zarr")
    place = str(tmp_path / "tree.zarr")
    xr.testing.assert_identical(
        xr.open_datatree(place, engine="daskzarr").load(), xr.open_datatree(place, engine="zarr").load()
    )
    got = xr.open_groups(place, engine="daskzarr")
    assert list(got) == ["/", "/b", "/b/c"]
    one = {"group": "b/c", "decode_timedelta": True}
    xr.testing.assert_identical(
        xr.open_dataset(place, engine="daskzarr", **one).load(), xr.open_dataset(place, engine="zarr", **one)
    )
    below = xr.open_datatree(place, engine="daskzarr", group="/b")
    assert [node.path for node in below.subtree] == ["/", "/c"]


@pytest.mark.parametrize("parallel", [False, True])
def test_many_places_are_one_dataset(tmp_path, parallel):
    for i in range(3):
        dataset(i * 10)[["a"]].to_zarr(tmp_path / f"{i}.zarr")
    want = xr.concat([dataset(i * 10)[["a"]] for i in range(3)], "t")
    for places in (f"{tmp_path}/*.zarr", f"file://{tmp_path}/*.zarr", [tmp_path / f"{i}.zarr" for i in range(3)]):
        got = open_mfdataset(places, parallel=parallel)
        assert got["a"].chunks is not None
        xr.testing.assert_identical(got.load(), want)
    assert len(glob(f"file://{tmp_path}/[12].zarr")) == 2
    with pytest.raises(NodeNotFoundError, match="pattern"):
        glob(f"{tmp_path}/*.none")


def test_consolidated_metadata_are_one_request():
    values = {}
    daskzarr.create_group(values)
    for i in range(1000):
        daskzarr.create_array(values, f"a{i}", shape=(2,), chunks=(2,), dtype="i4", dimension_names=["x"])
    daskzarr.consolidate(values)
    store = RecordingStore(MappingStore(values))
    assert len(open_zarr(store, chunks=None)) == 1000
    assert store.keys() == ["zarr.json"]


def test_consolidated_or_not(tmp_path):
    place = tmp_path / "a.zarr"
    dataset()[["a"]].to_zarr(place, consolidated=False)
    with pytest.warns(RuntimeWarning, match="Failed to open Zarr store with consolidated metadata"):
        open_zarr(place)
    with pytest.raises(ValueError, match="no consolidated metadata"):
        open_zarr(place, consolidated=True)
    xr.testing.assert_identical(open_zarr(place, consolidated=False).load(), dataset()[["a"]])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_zarr(tmp_path / "b.zarr")
    daskzarr.consolidate(place)
    with pytest.raises(MetadataError, match="array here"):
        open_zarr(place, "a", consolidated=None)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("mask", [None, True, False])
def test_the_fill_value_as_mask(zarr_format, mask):
    settings = {"fill_value": 7, "zarr_format": zarr_format, "dimension_names": ["x"]}
    daskzarr.to_zarr(dask.array.from_array(np.arange(5, 10), chunks=2), place := {}, "a", **settings)
    found = open_zarr(place, consolidated=False, use_zarr_fill_value_as_mask=mask)["a"]
    masked = zarr_format == 2 if mask is None else mask
    np.testing.assert_array_equal(found, [5, 6, np.nan if masked else 7, 8, 9])
    tree = xr.open_datatree(place, engine="daskzarr", consolidated=False, use_zarr_fill_value_as_mask=mask)
    np.testing.assert_array_equal(tree["a"], found)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, "f4"),
        (1e20, "f8"),
        (-5, "i8"),
        (2**64 - 1, "u8"),
        (True, "?"),
        (b"ab", "S2"),
        (1 + 2j, "c8"),
        ("x", "U1"),
    ],
)
def test_mask_values_in_attributes(value, dtype):
    dtype = np.dtype(dtype)
    text = json.loads(json.dumps(encode_mask_value(value, dtype)))
    np.testing.assert_array_equal(decode_mask_value(text, dtype), value)
    assert text == xr.backends.zarr.FillValueCoder.encode(value, dtype)


@pytest.mark.parametrize(("value", "dtype"), [("?", "f4"), ("AAAA", "f8"), ([1], "i4"), ("x", "S1"), (["a"], "c8")])
def test_mask_values_that_are_none(value, dtype):
    with pytest.raises(MetadataError, match="_FillValue"):
        decode_mask_value(value, np.dtype(dtype))


def test_an_array_without_names_can_be_left_out():
    place = {}
    daskzarr.create_array(place, "a", shape=(4,), chunks=(2,), dtype="i4")
    daskzarr.create_array(place, "b", shape=(4,), chunks=(2,), dtype="i4", dimension_names=["x"])
    for error in (NoDimensionsError, KeyError, MetadataError):
        with pytest.raises(error, match=r"drop_variables.*node '/?a'"):
            open_zarr(place, consolidated=False)
    place["a/zarr.json"] = b"damaged"
    assert list(open_zarr(place, consolidated=False, drop_variables="a")) == ["b"]


def test_blocks_are_shards_and_chunks_are_told():
    place = {}
    settings = {"chunks": (2, 3), "shards": (4, 6), "dimension_names": ["y", "x"]}
    cells = np.arange(8 * 12).reshape(8, 12)
    daskzarr.to_zarr(dask.array.from_array(cells, chunks=(4, 6)), place, "a", **settings)
    found = open_zarr(place, consolidated=False)["a"]
    assert found.chunks == ((4, 4), (6, 6))
    assert (found.encoding["chunks"], found.encoding["shards"]) == ((2, 3), (4, 6))
    np.testing.assert_array_equal(found, cells)


def test_irregular_chunks():
    place = {}
    x = dask.array.from_array(np.arange(10), chunks=((1, 6, 3),))
    daskzarr.to_zarr(x, place, "a", dimension_names=["x"])
    found = open_zarr(place, consolidated=False)["a"]
    assert found.chunks == ((1, 6, 3),)
    np.testing.assert_array_equal(found, np.arange(10))


def test_what_netcdf_wrote(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    path = tmp_path / "nc.zarr"
    try:
        file = netCDF4.Dataset(f"file://{path}#mode=nczarr,file", "w")
    except OSError as error:
        pytest.skip(f"netCDF-C without NCZarr: {error}")
    with file:
        file.createDimension("t", 4)
        file.createDimension("n", 3)
        file.createVariable("v", "f4", ("t",))[:] = np.arange(4) + 0.5
        file.createVariable("s", "i4", ())[...] = 7
        name = file.createVariable("name", "S1", ("t", "n"))
        name[:] = np.array([list("abc"), list("def"), list("ghi"), list("jkl")], "S1")
        file.title = "nc"
    found = open_zarr(path, consolidated=False).load()
    assert found["v"].dims == ("t",)
    np.testing.assert_array_equal(found["v"], np.arange(4) + 0.5)
    assert found["s"].dims == ()
    assert found["s"] == 7
    assert found["name"].values.tolist() == [b"abc", b"def", b"ghi", b"jkl"]
    assert found.attrs == {"title": "nc"}


def test_which_places_are_ours_unasked():
    engine = DaskzarrBackendEntrypoint()
    assert [engine.guess_can_open(place) for place in ("a.n5", "s3://b/a.zarr.zip")] == [True, True]
    assert [engine.guess_can_open(place) for place in ("a.zarr", "a.nc", 3)] == [False, False, False]
    with dask.config.set({"daskzarr.xarray.guess": True}):
        assert engine.guess_can_open("a.zarr/")


def test_another_engine_is_not_for_us():
    with pytest.raises(MetadataError, match="engine"):
        open_mfdataset([], engine="zarr")


def test_without_zarr_python(tmp_path):
    dataset()[["a", "text"]].to_zarr(tmp_path / "a.zarr")
    script = f"""
import sys
sys.modules["zarr"] = None
import xarray
found = xarray.open_dataset({str(tmp_path / "a.zarr")!r})
assert found.sizes == {{"t": 4, "y": 6, "x": 8}}, found
assert float(found["a"].sum()) == {float(dataset()["a"].sum())}
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_codecs_are_compared_as_they_are_spelled(tmp_path):
    codec = zarr.codecs.BloscCodec(typesize=4, cname="zstd", clevel=3, shuffle="shuffle")
    dataset()[["a"]].to_zarr(tmp_path / "a.zarr", encoding={"a": {"compressors": (codec,)}})
    (found,) = open_zarr(tmp_path / "a.zarr")["a"].encoding["compressors"]
    assert (found["name"], found.cname, found.clevel) == ("blosc", "zstd", 3)
    assert found == codec
    assert found != zarr.codecs.BloscCodec(cname="lz4")
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(AttributeError):
        found.nothing  # noqa: B018


def test_a_dataset_of_arrays_that_are_read_and_others():
    cells = np.arange(12).reshape(3, 4)
    daskzarr.to_zarr(dask.array.from_array(cells, chunks=2), place := {})
    read = daskzarr.from_zarr(place)
    found = xr.Dataset({"a": (("y", "x"), read), "b": (("y", "x"), read + 1), "c": ("x", read[1])})
    for each in (found.compute(), found.load(), dask.compute(found)[0]):
        np.testing.assert_array_equal(each["a"] + each["b"] + each["c"], 2 * cells + 1 + cells[1])
    assert {type(read), dask.array.Array} == {dask.array.Array}


def test_decoders_of_a_class_that_was_not_looked_up_by_name():
    daskzarr.create_array(store := {}, "a", shape=(4,), chunks=(2,), dtype="i4", dimension_names=["x"])
    found = daskzarr.xarray.open_zarr(store, consolidated=False, chunks=None, decode_cf=False)
    assert DaskzarrBackendEntrypoint.open_dataset_parameters is not None
    assert "mask_and_scale" in DaskzarrBackendEntrypoint.open_dataset_parameters
    np.testing.assert_array_equal(found["a"].values, np.zeros(4))
