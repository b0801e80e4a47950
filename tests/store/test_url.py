"""What people pass as a place, and the store and path that it comes to."""

import os
import pickle
import shutil
import sys
import types
import uuid
from collections import UserDict
from enum import Enum
from pathlib import Path, PurePosixPath

import dask
import dask.array as da
import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.dirfs import DirFileSystem

from daskzarr import (
    DaskZarrError,
    MetadataError,
    StoreError,
    UnsupportedError,
    create_array,
    create_group,
    from_zarr,
    open_array,
    open_group,
    to_zarr,
)
from daskzarr.stores import FilesystemStore, LocalStore, Location, MappingStore, RetryBudget, locate, open_store
from daskzarr.testing import RecordingStore, WebServer, distinct_values

CELLS = distinct_values((5, 4), "int32")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """What fails in a way that passes is tried again soon."""
    monkeypatch.setattr("daskzarr.stores.retries.BUDGET", RetryBudget(first_wait=1e-4))


@pytest.fixture
def memory_name():
    """A name in fsspec's memory file system that no other test uses."""
    name = f"url-{uuid.uuid4().hex}"
    yield name
    fs = fsspec.filesystem("memory")
    for path in fs.find(f"/{name}"):
        fs.rm_file(path)


def put_array(place, cells=CELLS, **options):
    """Store cells with chunks of 2 x 3."""
    return to_zarr(dask.array.from_array(cells, chunks=(2, 3)), place, **options)


# Paths


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("/data/a", "/data/a"),
        ("/data/a/", "/data/a"),
        ("/data/a/../b/./c", "/data/b/c"),
        ("/data//a", "/data/a"),
        ("/data/a b", "/data/a b"),
        ("/data/a?b#c", "/data/a?b#c"),
        ("/data/a%20b", "/data/a%20b"),
        ("/data/me@home", "/data/me@home"),
        ("/data/\u00fc", "/data/\u00fc"),
        ("file:///data/a", "/data/a"),
        ("file:///data/a/", "/data/a"),
        ("file:///data/a b", "/data/a b"),
        ("local:///data/a", "/data/a"),
    ],
)
def test_a_path_is_a_local_store(text, root):
    store = open_store(text)
    assert store == LocalStore(root)
    assert store.url == "file://" + root
    assert locate(text) == Location(store, "")


def test_a_relative_path_is_below_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert open_store("a/b") == open_store("./a/b") == LocalStore(f"{here}/a/b")
    assert open_store(".") == LocalStore(here)
    assert open_store("..") == LocalStore(os.path.dirname(here))
    assert open_store("file://a") == LocalStore(f"{here}/a")
    store = open_store("a")
    monkeypatch.chdir("/")
    assert store.root == f"{here}/a"


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert open_store("~") == LocalStore("/home/someone")
    assert open_store("~/a") == open_store(Path("~/a")) == open_store("file://~/a") == LocalStore("/home/someone/a")
    assert open_store("/a/~") == LocalStore("/a/~")


def test_path_objects_are_paths(tmp_path):
    class OwnPath:
        def __fspath__(self):
            return "/data/a"

    assert open_store(tmp_path / "a") == LocalStore(str(tmp_path / "a"))
    assert open_store(PurePosixPath("/data/a")) == open_store(OwnPath()) == LocalStore("/data/a")


# URLs


def test_a_url_is_a_folder_of_a_file_system(memory_name):
    store = open_store(f"memory://{memory_name}/a")
    assert isinstance(store, FilesystemStore)
    assert store.url == f"memory://{memory_name}/a"
    store.set("b/c", b"1")
    assert fsspec.filesystem("memory").cat_file(f"/{memory_name}/a/b/c") == b"1"
    assert open_store(f"memory://{memory_name}/a/") == store


def test_a_url_of_a_web_server():
    store = open_store("http://127.0.0.1:1/data/a/")
    assert isinstance(store, FilesystemStore)
    assert store.url == "http://127.0.0.1:1/data/a"
    assert store.path("b/c") == "http://127.0.0.1:1/data/a/b/c"


def test_a_chained_url_reads_what_lies_below(memory_name, tmp_path):
    put_array(f"memory://{memory_name}")
    options = {"simplecache": {"cache_storage": str(tmp_path)}}
    array = from_zarr(f"simplecache::memory://{memory_name}", storage_options=options)
    np.testing.assert_array_equal(array.compute(), CELLS)
    assert any(tmp_path.iterdir())  # the cache was used


def test_a_chained_url_of_an_archive(tmp_path):
    put_array(str(tmp_path / "a"))
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "a")
    for url in (f"zip::{archive}", f"zip::file://{archive}"):
        np.testing.assert_array_equal(from_zarr(url).compute(), CELLS)


def test_a_chained_dir_puts_files_where_it_says(memory_name):
    open_store(f"dir::memory://{memory_name}").set("a/b", b"1")
    assert open_store(f"memory://{memory_name}").get("a/b") == b"1"


def test_storage_options_go_to_the_file_system(tmp_path):
    store = open_store("dir://", storage_options={"path": str(tmp_path), "target_protocol": "file"})
    store.set("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


# One place, one url; another place, another url


def test_one_place_has_one_url_however_it_is_spelled(memory_name):
    spelled = [
        f"memory://{memory_name}",
        f"memory:///{memory_name}",
        f"memory://{memory_name}/",
        fsspec.get_mapper(f"memory://{memory_name}"),
        zarr.storage.FsspecStore.from_url(f"memory://{memory_name}"),
    ]
    stores = [open_store(place) for place in spelled]
    assert [store.url for store in stores] == [stores[0].url] * len(spelled)
    assert stores[:4] == [stores[0]] * 4  # zarr-python has a file system object of its own


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("memory://me@{0}", "memory://you@{0}"),
        ("memory://{0}?a=1", "memory://{0}?a=2"),
        ("memory://{0}", "memory://{0}/b"),
    ],
)
def test_other_places_have_other_urls(memory_name, one, other):
    first, second = open_store(one.format(memory_name)), open_store(other.format(memory_name))
    first.set("a", b"1")
    assert second.get("a") is None  # they are two places indeed
    assert first.url != second.url
    first.delete("a")


def references(folder):
    """What the reference file system takes: key -> contents, or where they are."""
    store = LocalStore(str(folder))
    chunks = [f"c/{i}/{j}" for i in range(3) for j in range(2)]
    return {"zarr.json": store.get("zarr.json").decode(), **{key: [f"{folder}/{key}"] for key in chunks}}


@pytest.mark.parametrize("kind", ["dir", "reference"])
def test_places_that_only_their_options_tell_apart_are_not_mixed_up(tmp_path, kind):
    arrays, all_cells = [], [distinct_values((5, 4), "int32", start=start) for start in (0, 1000)]
    for i, cells in enumerate(all_cells):
        put_array(tmp_path / str(i), cells)
        options = {
            "dir": {"path": str(tmp_path / str(i)), "target_protocol": "file"},
            "reference": {"fo": references(tmp_path / str(i))},
        }[kind]
        arrays.append(from_zarr(f"{kind}://", storage_options=options))
    assert arrays[0].name != arrays[1].name
    for found, cells in zip(dask.compute(*arrays), all_cells, strict=True):
        np.testing.assert_array_equal(found, cells)
    np.testing.assert_array_equal((arrays[0] - arrays[1]).compute(), all_cells[0] - all_cells[1])


@pytest.mark.parametrize(
    "place",
    [
        lambda name: f"memory://{name}",
        lambda name: fsspec.get_mapper(f"memory://{name}"),
        lambda name: fsspec.get_mapper(f"memory://{name}", missing_exceptions=(FileNotFoundError,)),
        lambda name: f"dir::memory://{name}",
        lambda name: f"simplecache::memory://{name}",
        lambda name: {},
        lambda name: zarr.storage.MemoryStore(),
        lambda name: zarr.storage.FsspecStore.from_url(f"memory://{name}"),
        lambda name: RecordingStore(MappingStore({})),
    ],
    ids=[
        "memory",
        "FSMap",
        "FSMap with exceptions",
        "dir",
        "simplecache",
        "dict",
        "zarr memory",
        "zarr fsspec",
        "wrapper",
    ],
)
def test_memory_of_this_process_is_not_shared(memory_name, place):
    assert not open_store(place(memory_name)).shared


def test_files_are_shared(tmp_path):
    for place in (
        tmp_path,
        fsspec.get_mapper(str(tmp_path)),
        zarr.storage.LocalStore(tmp_path),
        "http://127.0.0.1:1/a",
    ):
        assert open_store(place).shared


# Mappings, stores, locations, arrays


def test_a_mapping_is_a_store_always_the_same():
    mapping = {}
    store = open_store(mapping)
    assert isinstance(store, MappingStore)
    assert open_store(mapping) is store
    assert open_store({}) != store
    assert store.url.startswith("mapping://dict-")
    other = open_store(UserDict())
    other.set("a", b"1")
    assert other.mapping == {"a": b"1"}


def test_an_fsmap_of_local_files_is_a_local_store(tmp_path):
    assert open_store(fsspec.get_mapper(str(tmp_path / "a"))) == LocalStore(str(tmp_path / "a"))
    assert open_store(fsspec.get_mapper(f"file://{tmp_path}/a/")) == LocalStore(str(tmp_path / "a"))


class Refusing(DirFileSystem):
    """A file system that does not say whether a file is there, as some object stores do."""

    def cat_file(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    def cat_ranges(self, paths, *args, **kwargs):
        return [PermissionError(13, "Permission denied")] * len(paths)


def test_an_fsmap_keeps_what_its_user_calls_missing(tmp_path):
    fs = Refusing(str(tmp_path), fsspec.filesystem("file"))
    usual = open_store(fsspec.FSMap("a", fs))
    with pytest.raises(PermissionError):
        usual.get("b")
    with pytest.raises(PermissionError):
        list(usual.get_many(["b"]))
    lenient = open_store(fsspec.FSMap("a", fs, missing_exceptions=(FileNotFoundError, PermissionError)))
    assert lenient.get("b") is None
    assert list(lenient.get_many(["b", "c"])) == [None, None]
    assert lenient != usual


def test_a_store_and_a_location_are_themselves():
    store = MappingStore({})
    location = Location(store, "a")
    assert open_store(store) is store
    assert locate(store) == Location(store, "")
    assert locate(location) is location
    assert locate(location, "b") == Location(store, "a/b")
    assert open_store(location) is store


def test_an_opened_node_is_where_it_is():
    store = {}
    create_group(store, "g")
    array = create_array(store, "g/a", shape=(4,), chunks=(2,), dtype="int16")
    group = open_group(store, "g")
    assert locate(array) == Location(open_store(store), "g/a")
    assert locate(group) == Location(open_store(store), "g")
    assert locate(group, "a") == array.location
    assert open_array(group, "a") == array
    assert open_array(array) == array


@pytest.mark.parametrize(
    ("component", "path"),
    [
        (None, ""),
        ("", ""),
        ("/", ""),
        ("a", "a"),
        ("/a/b/", "a/b"),
        ("a//b", "a/b"),
        ("a\\b", "a/b"),
        (".hidden", ".hidden"),
        ("a.b/..c", "a.b/..c"),
        ("a b/\u00fc", "a b/\u00fc"),
    ],
)
def test_a_component_is_a_path_below(component, path):
    store = MappingStore({})
    assert locate(store, component) == Location(store, path)


# Objects of zarr-python


def zarr_stores(tmp_path, name):
    """A store of zarr-python of each kind, and what it comes to."""
    options = {"auto_mkdir": True}
    return {
        "memory": (zarr.storage.MemoryStore(), MappingStore),
        "local": (zarr.storage.LocalStore(tmp_path / "zarr"), LocalStore),
        "fsspec memory": (zarr.storage.FsspecStore.from_url(f"memory://{name}"), FilesystemStore),
        "fsspec local": (
            zarr.storage.FsspecStore.from_url(f"file://{tmp_path}/zarr", storage_options=options),
            LocalStore,
        ),
    }


def test_a_component_is_the_text_it_is_made_of(tmp_path):
    name = Enum("Name", {"HEAT": "heat"}, type=str)
    assert str(name.HEAT) != "heat"
    create_array(tmp_path, name.HEAT, shape=(2,), chunks=(1,), dtype="i1")
    assert open_array(tmp_path, "heat").shape == (2,)


@pytest.mark.parametrize("kind", ["memory", "local", "fsspec memory", "fsspec local"])
def test_zarr_python_objects_are_where_they_keep_their_data(tmp_path, memory_name, kind):
    store, expected = zarr_stores(tmp_path, memory_name)[kind]
    group = zarr.create_group(store)
    array = group.create_array("x/y", shape=CELLS.shape, chunks=(2, 3), dtype="int32")
    array[:] = CELLS
    found = locate(store)
    assert isinstance(found.store, expected)
    assert found.path == ""
    assert locate(group) == found
    assert locate(array) == locate(array.store_path) == Location(found.store, "x/y")
    assert locate(group["x"], "y") == locate(array)
    for read in (from_zarr(array), from_zarr(store, "x/y"), from_zarr(group, "x/y"), from_zarr(group["x"], "y")):
        np.testing.assert_array_equal(read.compute(), CELLS)
    put_array(store, CELLS + 1, component="w")
    np.testing.assert_array_equal(group["w"][:], CELLS + 1)


def test_a_zarr_python_array_on_a_web_server():
    values = {}
    put_array(values, component="x")
    served = {f"data/{key}": value for key, value in values.items()}
    with WebServer(served) as server:
        array = zarr.open_array(f"{server.url}/data/x", mode="r")
        assert locate(array).store.url == f"{server.url}/data/x"
        np.testing.assert_array_equal(from_zarr(array).compute(), CELLS)


def test_zarr_python_local_store_of_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store(zarr.storage.LocalStore("a")) == LocalStore(str(tmp_path / "a"))


def test_a_zarr_python_store_of_another_kind_is_named(tmp_path):
    with pytest.raises(UnsupportedError, match="ZipStore"):
        open_store(zarr.storage.ZipStore(tmp_path / "a.zip", mode="w"))


# What is refused


@pytest.mark.parametrize("place", [None, 42, 1.5, b"/data", range(3), ["a"], {"a"}, str], ids=repr)
def test_nonsense_is_refused_by_its_type(place):
    with pytest.raises(DaskZarrError, match=type(place).__name__) as caught:
        open_store(place)
    assert "path" in str(caught.value)  # says what it could be
    with pytest.raises(DaskZarrError):
        from_zarr(place)


def test_an_empty_string_is_refused():
    with pytest.raises(MetadataError, match="empty"):
        open_store("")


@pytest.mark.parametrize("url", ["nonsense://a", "a b://c", "simplecache::nonsense://a"])
def test_an_unknown_protocol_is_refused(url):
    with pytest.raises(DaskZarrError, match=r"[Pp]rotocol"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("lmdb:///data/a", "lmdb", "lmdb"),
        ("redis://nobody.example", "redis", "redis"),
        ("mongodb://nobody.example/a", "pymongo", "mongodb"),
        ("s3://bucket/a", "s3fs", "s3"),
        ("simplecache::s3://bucket/a", "s3fs", "s3"),
        ("gs://bucket/a", "gcsfs", "gcs"),
        ("abfs://container/a", "adlfs", "azure"),
        ("http://127.0.0.1:1/a", "fsspec.implementations.http", "http"),
    ],
)
def test_a_client_that_is_not_installed_is_named_on_opening(monkeypatch, url, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(
        sys.modules["fsspec.registry"]._registry, url.rpartition("::")[2].partition(":")[0], raising=False
    )
    with pytest.raises(UnsupportedError, match=rf"pip install 'daskzarr\[{extra}\]'"):
        open_store(url)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"])
@pytest.mark.parametrize("url", ["{}://", "{}:///", "simplecache::{}://", "zip://a.zip::{}://", "obstore::{}://"])
def test_a_url_without_a_bucket_is_refused(scheme, url):
    with pytest.raises(MetadataError, match=f"no bucket or container: {scheme}://NAME") as caught:
        open_store(url.format(scheme))
    assert caught.value.field == "url"


def test_what_cannot_be_opened_is_an_error_with_its_url(tmp_path):
    with WebServer({"no.zip": b"something else"}, {"broken.zip": 500}) as server:
        host = server.url.removeprefix("http://")
        for name in ("missing.zip", "no.zip", "broken.zip"):
            url = f"zip::http://user:hunter2@{host}/{name}?token=hunter2"
            with pytest.raises(StoreError, match="cannot be opened") as caught:
                open_store(url)
            assert caught.value.url == f"zip::{server.url}/{name}"
            assert not isinstance(caught.value, FileNotFoundError)  # fsspec says so of any failure
            assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    for url in (f"zip::{tmp_path}/missing.zip", f"reference://::{tmp_path}/missing.json"):
        with pytest.raises(StoreError, match="missing") as caught:
            from_zarr(url)
        assert caught.value.url == url


@pytest.mark.parametrize("component", ["..", "../a", "a/..", "a/../b", ".", "a/./b", "a/.../b", "..\\a", "a\0b"])
def test_a_component_never_leads_out_of_its_store(component, tmp_path):
    for place in ({}, tmp_path, f"memory://{tmp_path.name}", Location(MappingStore({}), "a")):
        with pytest.raises(MetadataError, match="path") as caught:
            locate(place, component)
        assert caught.value.field == "component"


@pytest.mark.parametrize("component", [5, ["a"], b"a"])
def test_a_component_is_text(component):
    with pytest.raises(DaskZarrError, match="component"):
        locate({}, component)


@pytest.mark.parametrize(
    "place",
    [
        dict,
        lambda: MappingStore({}),
        lambda: LocalStore("/data"),
        lambda: Location(MappingStore({}), "a"),
        lambda: fsspec.get_mapper("memory://a"),
        lambda: create_array({}, shape=(2,), chunks=(2,), dtype="int8"),
        lambda: zarr.storage.MemoryStore(),
    ],
    ids=["dict", "MappingStore", "LocalStore", "Location", "FSMap", "StoredArray", "zarr-python"],
)
def test_storage_options_only_go_with_a_url(place):
    with pytest.raises(MetadataError, match="storage_options") as caught:
        open_store(place(), storage_options={"anon": True})
    assert caught.value.field == "storage_options"
    open_store(place(), storage_options={})
    open_store(place(), storage_options=None)


def test_a_mapping_that_cannot_be_changed_is_a_store_for_reading():
    values = {}
    put_array(values)
    place = types.MappingProxyType(values)
    np.testing.assert_array_equal(from_zarr(place).compute(), CELLS)
    with pytest.raises(UnsupportedError, match="only be read"):
        to_zarr(da.from_array(CELLS), place, "b")


# Credentials


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://user:secret@host/a", "http://host/a"),
        ("https://secret@host:8080/a/", "https://host:8080/a"),
        ("http://user:secret@host", "http://host"),
        ("http://user:se%40cret@host/a", "http://host/a"),
        ("http://user:se@cret@host/a", "http://host/a"),
        ("http://user:secret@host/a@b", "http://host/a@b"),
        ("http://host/a?token=secret", "http://host/a"),
        ("http://host/a?x=1&token=sec/ret", "http://host/a"),
        ("simplecache::http://user:secret@host/a", "simplecache::http://host/a"),
        ("filecache::simplecache::http://user:secret@host/a", "filecache::simplecache::http://host/a"),
        ("simplecache::http://host/a?token=secret", "simplecache::http://host/a"),
    ],
)
def test_a_url_is_stripped_of_credentials(given, url):
    store = open_store(given)
    assert store.url == url
    assert pickle.loads(pickle.dumps(store)).url == url


def test_an_fsmap_and_a_zarr_python_store_are_stripped_of_credentials():
    given = "http://user:secret@127.0.0.1:1/a"
    assert open_store(fsspec.get_mapper(given)).url == "http://127.0.0.1:1/a"
    assert open_store(zarr.storage.FsspecStore.from_url(given)).url == "http://127.0.0.1:1/a"


def test_what_a_store_looks_like_shows_no_credentials():
    for given in ("http://user:secret@host/a", "http://host/a?token=secret"):
        assert "secret" not in repr(open_store(given))
        assert "secret" not in repr(Location(open_store(given), "a"))


@pytest.mark.parametrize("status", [401, 403, 500, 503])
@pytest.mark.parametrize("with_secret", ["http://user:secret@{0}/data", "http://{0}/data?token=secret"])
def test_errors_show_no_credentials(status, with_secret):
    with WebServer({}, {"*": status}) as server:
        host = server.url.removeprefix("http://")
        with pytest.raises(StoreError) as caught:
            from_zarr(with_secret.format(host))
    assert f"http://{host}/data" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


def test_an_error_without_a_connection_shows_no_credentials():
    with WebServer({}) as server:
        host = server.url.removeprefix("http://")
    with pytest.raises(StoreError) as caught:
        from_zarr(f"http://user:secret@{host}/data")
    assert f"http://{host}/data" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["s3://AKIA:hunter2@bucket/a", "simplecache::s3://AKIA:hunter2@bucket/a", "gs://u:hunter2@b"]
)
def test_a_login_in_the_url_of_a_bucket_is_refused_unseen(url):
    with pytest.raises(MetadataError, match="storage_options") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


def test_options_that_are_no_mapping_are_refused():
    with pytest.raises(MetadataError, match="storage_options"):
        open_store("memory://a", storage_options="x")


def test_two_slashes_in_front_are_one(tmp_path):
    for scheme in ("lmdb", "dbm"):
        one, other = open_store(f"{scheme}://{tmp_path}/a"), open_store(f"{scheme}:///{tmp_path}/a")
        assert one == other
        assert one.url == other.url


def test_an_opener_that_gives_no_store_is_named(monkeypatch):
    class Nothing:
        @classmethod
        def from_url(cls, url, storage_options):
            return None

    monkeypatch.setattr("daskzarr.stores.url.opener", lambda scheme: Nothing if scheme == "nothing" else None)
    with pytest.raises(UnsupportedError, match="nothing://"):
        open_store("nothing://a")
