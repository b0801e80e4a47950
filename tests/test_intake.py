"""Catalogs in YAML, of both kinds, are read as what was stored; every argument of an entry counts."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import dask.array as da
import fsspec
import intake
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.local import LocalFileSystem
from intake.readers.datatypes import Zarr

import daskzarr
from daskzarr.errors import MetadataError, NodeNotFoundError
from daskzarr.intake import DaskzarrArray, DaskzarrArraySource, DaskzarrDataset, DaskzarrSource, DaskzarrTree
from daskzarr.xarray import open_mfdataset, open_zarr

PAGE = Path(__file__).parents[1] / "docs" / "intake.md"
CELLS = np.arange(6 * 10, dtype="i4").reshape(6, 10) * 7 - 100
READERS = [DaskzarrArray, DaskzarrDataset, DaskzarrTree]

ENTRIES = """\
version: 2
metadata: {}
user_parameters: {}
aliases: {set: set, array: array, tree: tree}
data:
  place:
    datatype: intake.readers.datatypes:Zarr
    kwargs: {url: "%(url)s", storage_options: %(options)s}
    metadata: {}
    user_parameters: {}
entries:
  set:
    reader: daskzarr.intake:DaskzarrDataset
    kwargs: {data: "{data(place)}", group: air, chunks: {time: 4, x: -1}, consolidated: true}
    output_instance: xarray:Dataset
    metadata: {}
    user_parameters: {}
  array:
    reader: daskzarr.intake:DaskzarrArray
    kwargs: {data: "{data(place)}", component: air/t, chunks: [[2, 4], 5]}
    output_instance: dask.array:Array
    metadata: {}
    user_parameters: {}
  tree:
    reader: daskzarr.intake:DaskzarrTree
    kwargs: {data: "{data(place)}", consolidated: true}
    output_instance: xarray:DataTree
    metadata: {}
    user_parameters: {}
"""

SOURCES = """\
metadata: {version: 1}
sources:
  set:
    description: Temperatures
    driver: daskzarr
    metadata: {origin: model}
    args: {urlpath: "%(url)s", storage_options: %(options)s, group: air, chunks: {time: 4, x: -1}, consolidated: true}
  array:
    driver: daskzarr_array
    args: {urlpath: "%(url)s", storage_options: %(options)s, component: air/t, chunks: [[2, 4], 5]}
  cut:
    driver: daskzarr_array
    parameters: {chunks: {description: Length of a block, type: int, default: 4}}
    args: {urlpath: "%(url)s", storage_options: %(options)s, component: air/t, chunks: "{{ chunks }}"}
"""


class LockedFileSystem(LocalFileSystem):
    """Files of this machine for those who have the key."""

    protocol = "locked"

    def __init__(self, key=None, **others):
        if key != "sesame":
            raise PermissionError(f"the key is not {key!r}")
        super().__init__(**others)

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(path.removeprefix("locked://"))


fsspec.register_implementation("locked", LockedFileSystem, clobber=True)


def fill(url, start=0):
    """A group ``air`` with an array and its labels, a group below it, and one consolidated document."""
    arrays = {
        "t": (CELLS + start, ["time", "x"], (2, 5)),
        "x": (np.arange(10) * 0.5, ["x"], (10,)),
        "time": (np.arange(6) + start, ["time"], (6,)),
        "low/t": (CELLS[::-1] + start, ["time", "x"], (6, 5)),
    }
    daskzarr.create_group(url)
    for name, (cells, dimensions, chunks) in arrays.items():
        daskzarr.to_zarr(da.from_array(cells, chunks), url, f"air/{name}", dimension_names=dimensions, journal=False)
    daskzarr.consolidate(url)
    return url


def expected(start=0):
    """What :func:`fill` stored, as a dataset."""
    labels = {"x": np.arange(10) * 0.5, "time": np.arange(6) + start}
    return xr.Dataset({"t": (("time", "x"), CELLS + start)}, coords=labels)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return fill(str(tmp_path_factory.mktemp("data") / "climate.zarr"))


@pytest.fixture(scope="module")
def place_in_memory():
    yield fill("memory://intake.zarr")
    fsspec.filesystem("memory").rm("/intake.zarr", recursive=True)


@pytest.fixture(params=["path", "catalog", "memory", "locked", "cached"])
def address(request, place, place_in_memory, tmp_path):
    """A URL, and the options it cannot do without."""
    locked = {"key": "sesame"}
    cached = {"locked": locked, "simplecache": {"cache_storage": str(tmp_path / "cache")}}
    return {
        "path": (place, {}),
        "catalog": ("CATALOG_DIR/climate.zarr", {}),
        "memory": (place_in_memory, {}),
        "locked": (f"locked://{place}", locked),
        "cached": (f"simplecache::locked://{place}", cached),
    }[request.param]


def catalog_of(text, folder, url, options=None):
    """A catalog of that text, stored and opened."""
    directory = "{CATALOG_DIR}" if text.startswith("version: 2") else "{{ CATALOG_DIR }}"
    path = Path(folder, "catalog.yaml")
    path.write_text(text % {"url": url.replace("CATALOG_DIR", directory), "options": options or {}})
    return intake.open_catalog(str(path))


def check(dataset, array):
    """They are what the catalogs of this file say."""
    xr.testing.assert_identical(dataset.compute(), expected())
    assert dataset.chunks == {"time": (4, 2), "x": (10,)}
    assert array.chunks == ((2, 4), (5, 5))
    np.testing.assert_array_equal(array.compute(), CELLS)


def folder_for(url, place, tmp_path):
    """Where the catalog lies: beside the store, if it says so."""
    return Path(place).parent if "CATALOG_DIR" in url else tmp_path


def test_entries_are_read(address, place, tmp_path):
    url, options = address
    catalog = catalog_of(ENTRIES, folder_for(url, place, tmp_path), url, options)
    check(catalog["set"].read(), catalog["array"].read())
    tree = catalog["tree"].read()
    assert set(tree.groups) == {"/", "/air", "/air/low"}
    assert tree["air/t"].chunks == ((2, 2, 2), (5, 5))
    xr.testing.assert_identical(tree["air"].to_dataset().compute(), expected())
    np.testing.assert_array_equal(tree["air/low/t"], CELLS[::-1])


def test_sources_are_read(address, place, tmp_path):
    url, options = address
    catalog = catalog_of(SOURCES, folder_for(url, place, tmp_path), url, options)
    check(catalog["set"].to_dask(), catalog["array"].to_dask())
    loaded = catalog["set"].read()
    assert isinstance(loaded["t"].variable._data, np.ndarray)
    xr.testing.assert_identical(loaded, expected())
    cells = catalog["array"].read()
    assert isinstance(cells, np.ndarray)
    np.testing.assert_array_equal(cells, CELLS)


def test_chained_places_are_cached_where_the_options_say(place, tmp_path):
    options = {"locked": {"key": "sesame"}, "simplecache": {"cache_storage": str(tmp_path / "cache")}}
    catalog_of(ENTRIES, tmp_path, f"simplecache::locked://{place}", options)["array"].read().compute()
    assert len(list((tmp_path / "cache").iterdir())) > 6


@pytest.mark.parametrize("text", [ENTRIES, SOURCES], ids=["2", "1"])
@pytest.mark.parametrize("name", ["set", "array"])
@pytest.mark.parametrize("options", [{}, {"key": "wrong"}])
def test_wrong_options_are_refused(place, tmp_path, text, name, options):
    entry = catalog_of(text, tmp_path, f"locked://{place}", options)[name]
    with pytest.raises(PermissionError, match="the key is not"):
        entry.read()


@pytest.mark.parametrize("text", [ENTRIES, SOURCES], ids=["2", "1"])
def test_options_from_the_environment(place, tmp_path, monkeypatch, text):
    monkeypatch.setenv("INTAKE_TEST_KEY", "sesame")
    key = "{env(INTAKE_TEST_KEY)}" if text is ENTRIES else "{{ env(INTAKE_TEST_KEY) }}"
    catalog = catalog_of(text, tmp_path, f"locked://{place}", {"key": key})
    np.testing.assert_array_equal(catalog["set"].read()["t"], CELLS)


@pytest.mark.parametrize("cls", READERS)
def test_a_catalog_that_is_stored_gives_the_same_readers(cls, place, tmp_path):
    words = {"root": "air/t"} if cls is DaskzarrArray else {"root": "air"}
    chunks = ((2, 4), (5, 5)) if cls is DaskzarrArray else {"time": 6}
    data = Zarr(f"locked://{place}", storage_options={"key": "sesame"}, **words)
    catalog = intake.Catalog()
    catalog["a"] = cls(data, chunks=chunks)
    catalog["b"] = cls(data=data, chunks=chunks)
    catalog.to_yaml_file(str(tmp_path / "catalog.yaml"))
    again = intake.open_catalog(str(tmp_path / "catalog.yaml"))
    assert {"a", "b"} <= set(again.entries)
    for name in ("a", "b"):
        reader = again[name]
        assert type(reader) is cls
        assert reader.data.storage_options == {"key": "sesame"}
        assert reader.data.root == data.root
        found, wanted = reader.read(), catalog[name].read()
        if cls is DaskzarrArray:
            assert found.chunks == chunks
            assert found.name == wanted.name
        else:
            assert found["t"].chunks == wanted["t"].chunks == ((6,), (5, 5))
            assert found.identical(wanted)


def test_a_readers_settings_count_before_the_datas(place):
    data = Zarr(place, root="air/low/t")
    np.testing.assert_array_equal(DaskzarrArray(data).read(), CELLS[::-1])
    np.testing.assert_array_equal(DaskzarrArray(data, component="air/t").read(), CELLS)
    np.testing.assert_array_equal(DaskzarrArray(data, path="air/t").read(), CELLS)
    np.testing.assert_array_equal(DaskzarrArray(data).read(component="air/t"), CELLS)
    np.testing.assert_array_equal(DaskzarrDataset(Zarr(place, root="air/low")).read(group="air")["t"], CELLS)
    locked = Zarr(f"locked://{place}", storage_options={"key": "wrong"}, root="air/t")
    np.testing.assert_array_equal(DaskzarrArray(locked).read(storage_options={"key": "sesame"}), CELLS)


def test_settings_of_one_call(place):
    array = DaskzarrArray(place, root="air/t", chunks=3)
    assert array.read().chunks == ((3, 3), (3, 3, 3, 1))
    assert array.read(chunks="auto").chunks == ((6,), (10,))
    assert array(chunks=(6, 2)).read().chunks == ((6,), (2,) * 5)
    dataset = DaskzarrDataset(place, root="air")
    assert dataset.read().chunks == {"time": (2, 2, 2), "x": (5, 5)}
    assert dataset.read(chunks=None).chunks == {}
    tree = DaskzarrTree(place, root="air")
    assert tree.read()["low/t"].chunks == ((6,), (5, 5))
    assert tree.read(chunks={"x": 10})["low/t"].chunks == ((6,), (10,))


@pytest.mark.parametrize("cls", READERS)
def test_readers_are_listed(cls, place):
    data = Zarr(place)
    assert cls in data.possible_readers["importable"]
    assert data.possible_outputs[cls] == cls.output_instance
    assert type(data.to_reader(reader=cls.__name__)) is cls
    assert type(data.to_reader(reader=cls.qname())) is cls
    assert cls.__doc__ in cls.doc()


def test_readers_produce_what_they_say(place):
    for cls in READERS:
        kind = intake.import_name(cls.output_instance)
        assert isinstance(cls(place, root="air/t" if cls is DaskzarrArray else "air").read(), kind)


def test_the_entry_of_another_reader_is_read_by_ours(place):
    theirs = intake.readers.readers.XArrayDatasetReader(
        Zarr(f"locked://{place}", storage_options={"key": "sesame"}, root="air")
    )
    ours = theirs.to_reader(reader="DaskzarrDataset")
    xr.testing.assert_identical(ours.read().compute(), expected())


@pytest.mark.parametrize("cls", READERS)
def test_readers_survive_pickling(cls, place):
    data = Zarr(f"locked://{place}", storage_options={"key": "sesame"}, root="air/t" if cls is DaskzarrArray else "air")
    reader = cls(data, chunks={} if cls is not DaskzarrArray else 3)
    again = pickle.loads(pickle.dumps(reader))
    assert again == reader
    found = again.read()
    np.testing.assert_array_equal(found if cls is DaskzarrArray else found["t"], CELLS)
    assert (found if cls is DaskzarrArray else found["t"]).chunks[0] == ((3, 3) if cls is DaskzarrArray else (2, 2, 2))


@pytest.mark.parametrize("name", ["set", "array"])
def test_sources_survive_pickling(name, place, tmp_path):
    source = catalog_of(SOURCES, tmp_path, f"locked://{place}", {"key": "sesame"})[name]
    found = pickle.loads(pickle.dumps(source)).read()
    np.testing.assert_array_equal(found["t"] if name == "set" else found, CELLS)


@pytest.mark.parametrize("name", ["set", "array"])
def test_a_source_as_text_is_the_same_source(name, place, tmp_path):
    source = catalog_of(SOURCES, tmp_path, f"locked://{place}", {"key": "sesame"})[name]
    (tmp_path / "again.yaml").write_text(source.yaml())
    again = intake.open_catalog(str(tmp_path / "again.yaml"))[name]
    assert type(again) is type(source)
    found, wanted = again.to_dask(), source.to_dask()
    assert found.chunks == wanted.chunks
    assert found.identical(wanted) if name == "set" else found.name == wanted.name


def test_sources_say_what_they_have(place, tmp_path):
    catalog = catalog_of(SOURCES, tmp_path, place)
    found = catalog["set"].discover()
    assert found["npartitions"] == 1
    assert found["metadata"]["origin"] == "model"
    assert found["metadata"]["dims"] == {"time": 6, "x": 10}
    assert found["metadata"]["data_vars"] == ["t"]
    assert set(found["metadata"]["coords"]) == {"time", "x"}
    found = catalog["array"].discover()
    assert (found["shape"], found["dtype"], found["npartitions"]) == ((6, 10), np.dtype("i4"), 4)
    assert isinstance(catalog["set"], DaskzarrSource)
    assert isinstance(catalog["array"], DaskzarrArraySource)


def test_parts_of_sources(place, tmp_path):
    catalog = catalog_of(SOURCES, tmp_path, place)
    parts = list(catalog["array"].read_chunked())
    for part, wanted in zip(parts, [CELLS[:2, :5], CELLS[:2, 5:], CELLS[2:, :5], CELLS[2:, 5:]], strict=True):
        np.testing.assert_array_equal(part, wanted)
    np.testing.assert_array_equal(catalog["array"].read_partition(2), CELLS[2:, :5])
    with pytest.raises(IndexError):
        catalog["array"].read_partition(4)
    (whole,) = catalog["set"].read_chunked()
    xr.testing.assert_identical(whole, expected())
    with catalog["array"] as source:
        assert source.npartitions == 4


def test_a_scalar_array_is_one_part(tmp_path):
    daskzarr.to_zarr(da.asarray(np.int64(7)), tmp_path / "a.zarr", journal=False)
    source = DaskzarrArraySource(str(tmp_path / "a.zarr"))
    assert source.discover()["npartitions"] == 1
    assert [part.tolist() for part in source.read_chunked()] == [7]


def test_parameters_of_sources(place, tmp_path):
    catalog = catalog_of(SOURCES, tmp_path, place)
    assert catalog["cut"].to_dask().chunks == ((4, 2), (4, 4, 2))
    assert catalog["cut"](chunks=5).to_dask().chunks == ((5, 1), (5, 5))
    assert catalog["array"](chunks=5).to_dask().chunks == ((5, 1), (5, 5))
    assert catalog["set"](chunks={}).to_dask().chunks == {"time": (2, 2, 2), "x": (5, 5)}


def test_the_driver_of_other_catalogs_can_be_ours(place, tmp_path):
    intake.register_driver("zarr", "daskzarr.intake:DaskzarrSource", clobber=True)
    try:
        source = catalog_of(SOURCES.replace("driver: daskzarr\n", "driver: zarr\n"), tmp_path, place)["set"]
        assert type(source) is DaskzarrSource
        xr.testing.assert_identical(source.read(), expected())
    finally:
        intake.unregister_driver("zarr")


def test_drivers_are_functions_of_intake(place):
    xr.testing.assert_identical(intake.open_daskzarr(place, group="air").read(), expected())
    np.testing.assert_array_equal(intake.open_daskzarr_array(place, component="air/t").read(), CELLS)


def test_calls_are_recognized(place):
    reader = intake.reader_from_call(
        daskzarr.from_zarr, f"locked://{place}", component="air/t", chunks=3, storage_options={"key": "sesame"}
    )
    assert type(reader) is DaskzarrArray
    assert reader.read().chunks == ((3, 3), (3, 3, 3, 1))
    reader = intake.reader_from_call(open_zarr, store=place, group="air")
    assert type(reader) is DaskzarrDataset
    xr.testing.assert_identical(reader.read().compute(), expected())
    reader = intake.reader_from_call(open_mfdataset, [place], group="air")
    assert type(reader) is DaskzarrDataset
    xr.testing.assert_identical(reader.read().compute(), expected())


@pytest.mark.parametrize("many", ["list", "pattern"])
def test_many_places_are_one_dataset(tmp_path, many):
    places = [fill(str(tmp_path / f"{n}.zarr"), start=n * 6) for n in range(3)]
    url = [f"locked://{each}" for each in places] if many == "list" else f"locked://{tmp_path}/*.zarr"
    wanted = xr.concat([expected(n * 6) for n in range(3)], dim="time")
    reader = DaskzarrDataset(Zarr(url, storage_options={"key": "sesame"}, root="air"), combine="by_coords")
    xr.testing.assert_identical(reader.read().compute(), wanted)
    source = DaskzarrSource(url, storage_options={"key": "sesame"}, group="air", combine="by_coords")
    assert source.to_dask()["t"].chunks[0] == (2,) * 9
    xr.testing.assert_identical(source.read(), wanted)


@pytest.mark.parametrize("url", ["memory://intake-nothing.zarr", "locked:///nowhere/intake-nothing.zarr"])
def test_a_place_that_is_not_there_is_named(url, tmp_path):
    options = {"key": "sesame"} if url.startswith("locked") else {}
    for text in (ENTRIES, SOURCES):
        catalog = catalog_of(text, tmp_path, url, options)
        for name in ("set", "array"):
            with pytest.raises(NodeNotFoundError, match=re.escape("intake-nothing.zarr")):
                catalog[name].read()
    with pytest.raises(NodeNotFoundError, match=re.escape("intake-nothing.zarr")):
        DaskzarrTree(url, storage_options=options).read()


def test_a_node_of_the_other_kind_is_named(place):
    with pytest.raises(NodeNotFoundError, match=r"group here, not an array.*air"):
        DaskzarrArray(place, root="air").read()
    with pytest.raises(MetadataError, match="array here, not a group"):
        DaskzarrDataset(place, root="air/t").read()
    with pytest.raises(NodeNotFoundError, match="water"):
        DaskzarrDataset(place, root="water").read()


@pytest.mark.parametrize("cls", READERS)
def test_a_setting_that_there_is_not_is_refused(cls, place):
    with pytest.raises(TypeError, match="colour"):
        cls(place, root="air/t" if cls is DaskzarrArray else "air", colour="red").read()


@pytest.mark.parametrize("driver", ["daskzarr", "daskzarr_array"])
def test_an_argument_that_there_is_not_is_refused(driver, place, tmp_path):
    text = f"sources: {{a: {{driver: {driver}, args: {{urlpath: '%(url)s', colour: red}}}}}}"
    with pytest.raises(TypeError, match="colour"):
        catalog_of(text, tmp_path, place)["a"].read()


def test_consolidated_documents_have_to_be_there_if_the_entry_says_so(tmp_path):
    daskzarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(MetadataError, match="no consolidated metadata"):
        DaskzarrDataset(str(tmp_path / "a.zarr"), consolidated=True).read()
    assert DaskzarrDataset(str(tmp_path / "a.zarr"), consolidated=False).read().sizes == {}


@pytest.mark.parametrize("number", [0, 1])
def test_catalogs_of_the_page(place, number):
    text = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    catalog = catalog_of(text.replace("%", "%%"), Path(place).parent, "")
    assert list(catalog) == ["climate", "temperature", "far"]
    xr.testing.assert_identical(catalog["climate"].read().compute(), expected())
    np.testing.assert_array_equal(catalog["temperature"].read(), CELLS)
    data = catalog["far"].reader.data if number else catalog["far"].data
    assert data.url == "s3://bucket/climate.zarr"
    assert set(data.storage_options) == {"key", "secret"}


WITHOUT = """
import importlib.util, sys

tried = []

class Refusal:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name.split(".")[0] == {name!r} else None

    def create_module(self, spec):
        tried.append(spec.name)
        raise ImportError("not here")

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Refusal())
"""


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("text", [ENTRIES, SOURCES], ids=["2", "1"])
def test_zarr_python_is_not_needed(place, tmp_path, text):
    catalog_of(text, tmp_path, place)
    names = ["set", "array"] + ["tree"] * (text is ENTRIES)
    code = f"""
import intake
catalog = intake.open_catalog({str(tmp_path / "catalog.yaml")!r})
found = [catalog[name].read() for name in {names}]
print(int(found[0]["t"].sum()), int(found[1].sum()))
assert len(found) < 3 or int(found[2]["air/t"].sum()) == {CELLS.sum()}
assert not tried, tried
"""
    done = run(WITHOUT.format(name="zarr") + code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(CELLS.sum())] * 2


def test_without_intake_the_extra_is_named():
    code = """
import daskzarr
daskzarr.from_zarr
try:
    import daskzarr.intake
except ImportError as error:
    print(error)
"""
    done = run(WITHOUT.format(name="intake") + code)
    assert done.returncode == 0, done.stderr
    assert "daskzarr[intake]" in done.stdout


def test_intake_finds_the_readers_and_loads_no_more_than_it_does_alone():
    code = """
import sys
import intake
print("daskzarr.intake" in sys.modules, *{"zarr", "xarray", "dask"} & set(sys.modules))
print(*[cls.__name__ for cls in intake.readers.datatypes.Zarr("a").possible_readers["importable"]])
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "True"
    assert {cls.__name__ for cls in READERS} <= set(second.split())
