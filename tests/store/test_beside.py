"""Where notes about a node go, and which stores can promise that a write is on disk."""

import pickle

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.stores import FilesystemStore, LocalStore, Location, MappingStore, beside, durable, open_store
from daskzarr.testing import FaultyStore, RecordingStore


class Cloud(LocalFileSystem):
    """Files of this machine in the guise of an object store."""

    protocol = ("s3", "s3a")
    root_marker = ""
    cachable = False


class Remote(LocalFileSystem):
    """Files of this machine in the guise of another one's."""

    protocol = "sftp"
    cachable = False


def cloud(root, url=None, fs=None):
    return FilesystemStore(fs or Cloud(), root, url or f"s3://{root}", identity=f"s3://{root} and secret")


# Beside


@pytest.mark.parametrize("path", ["", "x", "x/y"])
def test_beside_a_directory(tmp_path, path):
    found = beside(Location(LocalStore(f"{tmp_path}/a.zarr"), path))
    assert found == Location(LocalStore(f"{tmp_path}/a.zarr.daskzarr"), path)
    found.store.set(found.key("log"), b"1")
    assert (
        LocalStore(str(tmp_path)).get(
            "/".join(["a.zarr.daskzarr", *path.split("/")] if path else ["a.zarr.daskzarr"]) + "/log"
        )
        == b"1"
    )
    assert LocalStore(f"{tmp_path}/a.zarr").list_dir("") == ((), ())


def test_a_store_that_waits_for_the_disk_has_one_beside_it_that_does():
    assert beside(Location(LocalStore("/a", sync=True))).store == LocalStore("/a.daskzarr", sync=True)


@pytest.mark.parametrize(
    ("store", "root", "url"),
    [
        (cloud("bucket/a"), "bucket/a.daskzarr", "s3://bucket/a.daskzarr"),
        (cloud("bucket/a/b.zarr"), "bucket/a/b.zarr.daskzarr", "s3://bucket/a/b.zarr.daskzarr"),
        (
            cloud("bucket/a", "simplecache::s3://bucket/a"),
            "bucket/a.daskzarr",
            "simplecache::s3://bucket/a.daskzarr",
        ),
        (FilesystemStore(Remote(), "/a", "sftp://host/a"), "/a.daskzarr", "sftp://host/a.daskzarr"),
    ],
)
def test_beside_a_folder_of_a_file_system(store, root, url):
    found = beside(Location(store, "x/y"))
    assert (found.store.root, found.store.url, found.path) == (root, url, "x/y")
    assert found.store != store
    assert found.store.fs is store.fs
    assert found.store.identity == (store.identity + ".daskzarr" if store.identity else "")
    assert pickle.loads(pickle.dumps(found)).store.url == url


def test_stores_beside_two_places_are_two_places():
    one, other = (beside(Location(cloud(f"bucket/{name}"))).store for name in "ab")
    assert one != other
    assert one.identity != other.identity


@pytest.mark.parametrize(
    "store",
    [
        MappingStore({}),
        MappingStore(type("Shared", (dict,), {"shared": True})()),
        open_store("memory://some/where"),
        FilesystemStore(DirFileSystem("/a", fsspec.filesystem("memory")), "a/b", "dir://a/b"),
        LocalStore("/"),
        cloud("bucket"),
        cloud("bucket/"),
        cloud(""),
        FilesystemStore(Remote(), "/", "sftp://host"),
        FilesystemStore(Remote(), "", "sftp://host"),
        RecordingStore(LocalStore("/a")),
        FaultyStore(LocalStore("/a"), {}),
        open_store("http://host/a/b"),
    ],
    ids=lambda store: f"{type(store).__name__} {store.url[:14]}",
)
def test_beside_some_stores_there_is_no_place(store):
    assert beside(Location(store, "x")) is None


def test_beside_an_archive_there_is_no_place(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/b/c", b"1")
    assert beside(Location(open_store(f"zip://a/b::{tmp_path}/a.zip"))) is None


def test_what_is_kept_beside_a_file_system_is_there_again(tmp_path):
    store = FilesystemStore(Remote(), f"{tmp_path}/a", f"sftp://host{tmp_path}/a")
    place = beside(Location(store, "x"))
    store.fs.makedirs(f"{tmp_path}/a.daskzarr/x")
    place.store.set(place.key("log"), b"1")
    assert (tmp_path / "a.daskzarr" / "x" / "log").read_bytes() == b"1"
    again = beside(Location(store, "x"))
    assert again == place
    assert again.store.get("x/log") == b"1"


# Durable


@pytest.mark.parametrize(
    "store",
    [LocalStore("/a"), MappingStore({}), open_store("memory://a"), cloud("bucket/a")],
    ids=lambda store: type(store).__name__,
)
def test_what_is_closed_every_store_promises(store):
    assert durable(store, "close") is store


def test_a_directory_waits_for_the_disk():
    assert durable(LocalStore("/a"), "fsync") == LocalStore("/a", sync=True)


@pytest.mark.parametrize("protocol", ["s3", "s3a", "gs", "gcs", "abfs", "az", "adl"])
def test_an_object_store_promises_it_anyway(protocol):
    fs = type("Other", (Cloud,), {"protocol": protocol})()
    for store in (cloud("bucket/a", fs=fs), FilesystemStore(DirFileSystem("bucket", fs), "a", "dir::x")):
        assert durable(store, "fsync") is store


@pytest.mark.parametrize(
    "store",
    [
        MappingStore({}),
        open_store("memory://a"),
        FilesystemStore(Remote(), "/a", "sftp://host/a"),
        open_store("http://host/a"),
        RecordingStore(MappingStore({})),
    ],
    ids=lambda store: f"{type(store).__name__} {store.url[:10]}",
)
def test_a_store_that_cannot_promise_it_says_so(store):
    with pytest.raises(UnsupportedError, match="durability") as caught:
        durable(store, "fsync")
    assert caught.value.url == store.url


@pytest.mark.parametrize("level", ["", "FSYNC", None, 3])
def test_other_levels_there_are_not(level):
    with pytest.raises(MetadataError, match="'close', 'fsync'") as caught:
        durable(LocalStore("/a"), level)
    assert caught.value.field == "durability"


def test_a_wrapper_waits_as_the_store_inside_and_keeps_its_record(tmp_path):
    store = RecordingStore(LocalStore(str(tmp_path)))
    waiting = durable(store, "fsync")
    assert isinstance(waiting, RecordingStore)
    assert waiting.store == LocalStore(str(tmp_path), sync=True)
    assert waiting != store
    waiting.set("a", b"1")
    store.get("a")
    assert store.requests == waiting.requests == [("set", "a"), ("get", "a")]
    assert pickle.loads(pickle.dumps(waiting)) is waiting
    assert durable(store, "fsync") is waiting
    faulty = durable(FaultyStore(LocalStore(str(tmp_path)), {"b": PermissionError("no")}), "fsync")
    with pytest.raises(PermissionError):
        faulty.set("b", b"1")
