"""daskzarr behind xarray's own names: put there, used as xarray's are, and taken away again."""

import inspect
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.delayed import Delayed
from xarray.backends import common
from xarray.backends import zarr as zarr_module
from xarray.backends.common import AbstractDataStore

import daskzarr.xarray
from daskzarr.errors import MetadataError, NodeExistsError
from daskzarr.graph.read import ZarrArray
from daskzarr.xarray import taking_over
from daskzarr.xarray.lazy import StoredCells
from daskzarr.xarray.opening import GroupStore

CELLS = np.arange(4 * 6, dtype="f8").reshape(4, 6) * 3 - 11
PLACES = [(xr, "open_zarr"), (zarr_module, "open_zarr")]
PLACES += [(owner, "to_zarr") for owner in (xr.Dataset, xr.DataArray, xr.DataTree)]
XARRAYS = {(owner, name): vars(owner)[name] for owner, name in PLACES}
ENGINE = common.BACKEND_ENTRYPOINTS["zarr"]


@pytest.fixture(autouse=True)
def installed():
    daskzarr.xarray.install()
    yield
    daskzarr.xarray.uninstall()
    assert_xarrays_own()


def assert_xarrays_own():
    """Every name is xarray's own again."""
    assert all(vars(owner)[name] is theirs for (owner, name), theirs in XARRAYS.items())
    assert common.BACKEND_ENTRYPOINTS["zarr"] is ENGINE
    assert type(xr.backends.list_engines()["zarr"]) is zarr_module.ZarrBackendEntrypoint


def dataset(start=0):
    cells = da.from_array(CELLS + 100 * start, chunks=(2, 3))
    return xr.Dataset(
        {"a": (("t", "x"), cells, {"units": "K"})},
        coords={"t": np.arange(4) + 4 * start, "x": np.arange(6) * 0.5, "height": ("x", np.arange(6) + 7)},
        attrs={"title": "cells"},
    )


def tree():
    return xr.DataTree.from_dict({"/": dataset(), "/low": xr.Dataset({"b": ("y", np.arange(5) * 2)})})


def cells_of(array):
    """What a variable that was not read yet is made of."""
    data = array.variable._data
    while not isinstance(data, StoredCells) and hasattr(data, "array"):
        data = data.array
    return data


# ---- there and back


def test_every_name_that_is_replaced_is_given_back():
    assert {(owner, name) for owner, name, _ in taking_over._REPLACEMENTS} == set(PLACES)
    assert all(vars(owner)[name] is ours for owner, name, ours in taking_over._REPLACEMENTS)
    assert all(vars(owner)[name] is not theirs for (owner, name), theirs in XARRAYS.items())
    assert isinstance(xr.backends.list_engines()["zarr"], taking_over.ZarrEngine)
    daskzarr.xarray.uninstall()
    assert_xarrays_own()


def test_twice_is_once(tmp_path):
    daskzarr.xarray.install()
    daskzarr.xarray.uninstall()
    assert_xarrays_own()
    daskzarr.xarray.uninstall()
    assert_xarrays_own()
    dataset().to_zarr(tmp_path / "a", consolidated=False)
    assert not isinstance(cells_of(xr.open_dataset(tmp_path / "a", engine="zarr", consolidated=False).a), StoredCells)
    daskzarr.xarray.install()
    assert isinstance(cells_of(xr.open_dataset(tmp_path / "a", engine="zarr", consolidated=False).a), StoredCells)


def test_what_was_imported_by_name_before_uses_the_engine(tmp_path):
    dataset().to_zarr(tmp_path / "a")
    theirs = XARRAYS[xr, "open_zarr"]
    assert isinstance(cells_of(theirs(tmp_path / "a", chunks=None).a), StoredCells)
    xr.testing.assert_identical(theirs(tmp_path / "a").load(), dataset().load())


def test_a_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(MetadataError, match=r"nonsense.*node '/a'"):
        dataset().to_zarr(tmp_path, encoding={"a": {"nonsense": 1}})
    assert not list(tmp_path.iterdir())


# ---- reading


def test_the_engine_is_ours_by_its_name_and_guessed(tmp_path):
    place = tmp_path / "a.zarr"
    dataset().to_zarr(place)
    opened = [xr.open_dataset(place, engine="zarr"), xr.open_dataset(place), xr.open_dataset(str(place))]
    opened += [xr.open_dataset(f"{place}/"), xr.open_zarr(place, chunks=None)]
    opened += [xr.open_groups(place, engine="zarr")["/"], xr.open_datatree(place, engine="zarr").to_dataset()]
    opened += [xr.open_datatree(place).to_dataset(), xr.open_groups(place)["/"]]
    for found in opened:
        assert isinstance(cells_of(found.a), StoredCells)
        xr.testing.assert_identical(found.load(), dataset().load())
    assert isinstance(cells_of(xr.open_dataarray(place, engine="zarr", drop_variables="height")), StoredCells)
    assert type(xr.open_zarr(place).a.data) is ZarrArray
    many = xr.open_mfdataset([place], engine="zarr")
    assert many.a.chunks == ((2, 2), (3, 3))
    np.testing.assert_array_equal(many.a, CELLS)


def test_open_zarr_takes_what_xarrays_takes_in_the_same_order():
    theirs, ours = (inspect.signature(each).parameters for each in (XARRAYS[xr, "open_zarr"], xr.open_zarr))
    taken = [name for name, each in theirs.items() if each.kind is not each.VAR_KEYWORD]
    assert [name for name in taken if name in ours] == [name for name in ours if name in taken]
    gone = {"synchronizer", "chunk_store", "zarr_version"}  # of releases before zarr-python 3
    assert set(taken) - set(ours) <= gone


# ---- writing


@pytest.mark.parametrize("owner", [xr.Dataset, xr.DataArray, xr.DataTree])
def test_positional_arguments_are_in_xarrays_order(owner):
    theirs, ours = (inspect.signature(each).parameters for each in (XARRAYS[owner, "to_zarr"], vars(owner)["to_zarr"]))

    def by_place(parameters):
        return [name for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]

    assert by_place(ours)[: len(by_place(theirs))] == by_place(theirs)
    for name in by_place(ours)[1:]:
        assert (ours[name].default is inspect.Parameter.empty) == (theirs[name].default is inspect.Parameter.empty)
    rest = [name for name in theirs if name not in ours and theirs[name].kind is not inspect.Parameter.VAR_KEYWORD]
    assert set(rest) <= set(inspect.signature(daskzarr.xarray.to_zarr).parameters)


def test_positional_arguments_mean_what_they_do_in_xarray(tmp_path):
    encoding = {"a": {"chunks": (4, 6)}}
    dataset().chunk(t=4, x=6).to_zarr(tmp_path / "set", "w", "group", encoding)
    dataset().a.chunk(t=4, x=6).to_zarr(tmp_path / "array", "w", "group", encoding)
    for name in ("set", "array"):
        assert zarr.open_array(tmp_path / name, path="group/a").chunks == (4, 6)
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / name, "group").a, CELLS)
    nodes = xr.DataTree.from_dict({"/": dataset().chunk(t=4, x=6), "/low": dataset(1).drop_vars("t")})
    nodes.to_zarr(tmp_path / "tree", "w", {"/": encoding}, False, None, True, True)
    assert zarr.open_array(tmp_path / "tree", path="a").chunks == (4, 6)
    assert zarr.open_group(tmp_path / "tree", use_consolidated=False).metadata.consolidated_metadata is None
    with pytest.raises(NodeExistsError):
        nodes.to_zarr(tmp_path / "tree")
    with pytest.raises(TypeError):
        nodes.to_zarr()


@pytest.mark.parametrize(
    ("make", "title"),
    [(dataset, {"title": "cells"}), (lambda: dataset().a, {}), (tree, {"title": "cells"})],
    ids=["Dataset", "DataArray", "DataTree"],
)
def test_a_store_like_xarrays_is_returned(tmp_path, make, title):
    store = make().to_zarr(tmp_path / "a")
    assert isinstance(store, GroupStore)
    assert isinstance(store, AbstractDataStore)
    np.testing.assert_array_equal(store.get_variables()["a"].load(), CELLS)
    variables, attributes = store.load()
    assert "a" in variables
    assert attributes == title
    np.testing.assert_array_equal(xr.open_dataset(store).a, CELLS)
    store.close()


def test_a_store_is_that_of_the_group(tmp_path):
    store = dataset().to_zarr(tmp_path, group="x/y")
    assert store.group.location.path.endswith("x/y")
    assert store.get_attrs() == {"title": "cells"}
    in_memory = dataset().to_zarr()
    np.testing.assert_array_equal(in_memory.get_variables()["a"].load(), CELLS)


@pytest.mark.parametrize("make", [dataset, lambda: dataset().a, tree], ids=["Dataset", "DataArray", "DataTree"])
def test_compute_false_leaves_the_write_to_be_done(tmp_path, make):
    computed = []

    def noted(block):
        computed.append(block.shape)
        return block

    obj = make()
    noting = obj.map_blocks(noted) if isinstance(obj, xr.DataArray) else obj
    delayed = noting.to_zarr(tmp_path / "a", compute=False)
    assert isinstance(delayed, Delayed)
    computed.clear()
    assert np.isnan(xr.open_zarr(tmp_path / "a").a.values).all()
    dask.compute(delayed, scheduler="threads")
    assert bool(computed) is isinstance(obj, xr.DataArray)
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a").a, CELLS)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_usual_format_is_that_of_zarr_pythons_configuration(tmp_path, zarr_format):
    with zarr.config.set(default_zarr_format=zarr_format):
        dataset().to_zarr(tmp_path / "set")
        dataset().a.to_zarr(tmp_path / "array")
        tree().to_zarr(tmp_path / "tree")
        dataset().to_zarr(tmp_path / "asked", zarr_format=5 - zarr_format)
    for name in ("set", "array", "tree"):
        assert zarr.open_group(tmp_path / name).metadata.zarr_format == zarr_format
    assert zarr.open_group(tmp_path / "asked").metadata.zarr_format == 5 - zarr_format
    with zarr.config.set(default_zarr_format=5 - zarr_format):  # of what is there, its own counts
        dataset(1).to_zarr(tmp_path / "set", append_dim="t")
    assert zarr.open_group(tmp_path / "set").metadata.zarr_format == zarr_format
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "set").a, np.concatenate([CELLS, CELLS + 100]))


def test_an_append_that_overwrites_coordinates_warns(tmp_path):
    dataset().to_zarr(tmp_path / "a")
    other = dataset(1).assign_coords(height=("x", np.arange(6) - 50))
    with pytest.warns(UserWarning, match="height.*overwrites"):
        other.to_zarr(tmp_path / "a", append_dim="t")
    found = xr.open_zarr(tmp_path / "a")
    np.testing.assert_array_equal(found.height, np.arange(6) - 50)
    np.testing.assert_array_equal(found.a, np.concatenate([CELLS, CELLS + 100]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset(2).assign_coords(height=other.height).to_zarr(tmp_path / "a", append_dim="t")
        dataset(3).to_zarr(tmp_path / "a", mode="a-", append_dim="t")
        dataset(4).to_zarr(tmp_path / "a", append_dim="t", overwrite_coords=True)
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a").height, np.arange(6) + 7)


def test_what_is_this_packages_own_can_be_asked_for_there(tmp_path):
    dataset().to_zarr(tmp_path / "a")
    for _ in range(2):  # the same append again is no other one
        dataset(1).to_zarr(tmp_path / "a", append_dim="t", at=4)
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a").t, np.arange(8))
    with pytest.raises(daskzarr.errors.PlanLimitError):
        dataset().to_zarr(tmp_path / "b", max_files=1)
    assert not (tmp_path / "b").exists()
