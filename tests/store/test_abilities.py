"""What only some stores can do: append, create, tell sizes, go through all keys, sweep, move."""

import errno
import os
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.errors import UnsupportedError
from daskzarr.stores import (
    AppendStore,
    CreateStore,
    FilesystemStore,
    LocalStore,
    MappingStore,
    MovingStore,
    SizedStore,
    SurveyStore,
    SweepStore,
    SyncingStore,
    locate,
    open_store,
)
from daskzarr.testing import FaultyStore, RecordingStore, WebServer, distinct_values

OLD, NEW = distinct_values((500,), "<u8").tobytes(), distinct_values((900,), "<u8", start=500).tobytes()
PROTOCOLS = (AppendStore, CreateStore, SizedStore, SurveyStore, SweepStore, MovingStore, SyncingStore)
VALUES = {
    "a": b"1",
    "b/c": b"",
    "b/d/e": b"123",
    "b/d/f": b"1234",
    "bc/d": b"12345",
    "b d/é ü+%20?#/[x]": b"123456",
    ".zattrs": b"1234567",
}


class KeepsByteArrays(dict):
    """A mapping whose values are buffers, but not bytes."""

    def __setitem__(self, key, value):
        super().__setitem__(key, memoryview(bytearray(value)))


class Elsewhere(dict):
    """A mapping that stands for data of other processes."""

    shared = True


def local(tmp_path, monkeypatch):
    return LocalStore(str(tmp_path / "store"))


def local_named(tmp_path, monkeypatch):
    monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    return LocalStore(str(tmp_path / "store"))


def zarr_python(tmp_path, monkeypatch):
    import zarr

    return locate(zarr.storage.MemoryStore()).store


def memory(tmp_path, monkeypatch):
    return open_store(f"memory://abilities-{uuid.uuid4().hex}")


def memory_top(tmp_path, monkeypatch):
    fs = DirFileSystem(f"/abilities-{uuid.uuid4().hex}", fsspec.filesystem("memory"))
    return FilesystemStore(fs, "", "dir://top")


def cached(tmp_path, monkeypatch):
    options = {"simplecache": {"cache_storage": str(tmp_path)}}
    return open_store(f"simplecache::memory://abilities-{uuid.uuid4().hex}", storage_options=options)


STORES = {
    "local": local,
    "local, named files": local_named,
    "wrapper": lambda *args: RecordingStore(FaultyStore(local(*args), {})),
    "dict": lambda *_: MappingStore({}),
    "dict of buffers": lambda *_: MappingStore(KeepsByteArrays()),
    "shared mapping": lambda *_: MappingStore(Elsewhere()),
    "zarr-python": zarr_python,
    "memory": memory,
    "memory, top": memory_top,
    "cached": cached,
}
CREATING = [name for name in STORES if name not in ("memory", "memory, top", "cached")]
LOCAL = ["local", "local, named files", "wrapper"]


@pytest.fixture
def store(request, tmp_path, monkeypatch):
    return STORES[request.param](tmp_path, monkeypatch)


def stores(names):
    return pytest.mark.parametrize("store", names, indirect=True)


def filled(store):
    for key, value in VALUES.items():
        store.set(key, value)
    return store


def test_stores_have_the_abilities_they_are_said_to_have():
    for store, able in (
        (LocalStore("/a"), PROTOCOLS),
        (RecordingStore(LocalStore("/a")), PROTOCOLS),
        (MappingStore({}), (CreateStore, SizedStore, SurveyStore)),
        (FaultyStore(MappingStore({}), {}), (CreateStore, SizedStore, SurveyStore)),
        (open_store("memory://a"), (CreateStore, SizedStore, SurveyStore, SweepStore)),
    ):
        assert [protocol for protocol in PROTOCOLS if isinstance(store, protocol)] == [
            protocol for protocol in PROTOCOLS if protocol in able
        ]


# Sizes and surveys


@stores(STORES)
def test_every_key_is_surveyed_with_its_size(store):
    filled(store)
    known = {key: len(value) for key, value in VALUES.items()}
    if isinstance(store, MappingStore) and store.shared:
        known = dict.fromkeys(known)  # asking for a size would be asking for the value
    for prefix in ("", "b", "b/", "b/d", "b d", "bc", "a", "b/c", "nothing", "b/nothing/x"):
        lead = prefix.rstrip("/") + "/" if prefix else ""
        found = list(store.survey(prefix))
        assert len(found) == len(dict(found))
        assert dict(found) == {key: size for key, size in known.items() if key.startswith(lead)}, prefix


@stores(STORES)
def test_what_is_surveyed_is_what_is_there_now(store):
    assert list(store.survey("")) == []
    filled(store)
    assert len(list(store.survey(""))) == len(VALUES)
    store.delete("b/c")
    store.set("b/d/e", NEW)
    store.set("new/key", OLD)
    keys = {key for key, _ in store.survey("")}
    assert keys == (set(VALUES) - {"b/c"}) | {"new/key"}
    assert dict(store.survey("")).get("b/d/e") in (len(NEW), None)
    store.delete_below("b")
    assert list(store.survey("b")) == []


@stores(STORES)
def test_keys_can_be_deleted_while_they_are_gone_through(store):
    for i in range(300):
        store.set(f"c/{i % 7}/{i}", b"%d" % i)
    for key, _ in store.survey("c"):
        store.delete(key)
    assert list(store.survey("")) == []


@stores(STORES)
def test_sizes_are_known(store):
    filled(store)
    for key, value in VALUES.items():
        assert store.size(key) == len(value)
    for key in ("x", "x/y", "b", "b/d", "a/b", "b d"):
        assert store.size(key) is None
    store.set("a", NEW)
    assert store.size("a") == len(NEW)
    store.delete("a")
    assert store.size("a") is None


@settings(max_examples=50, deadline=None)
@given(
    keys=st.sets(st.lists(st.sampled_from(["a", "b", "aa", ".z"]), min_size=1, max_size=3).map("/".join), max_size=8),
    prefix=st.sampled_from(["", "a", "aa", "a/b", ".z"]),
    in_memory=st.booleans(),
)
def test_a_survey_finds_what_was_set(tmp_path_factory, keys, prefix, in_memory):
    keys = {key for key in keys if not any(other.startswith(key + "/") for other in keys)}
    store = memory(None, None) if in_memory else LocalStore(str(tmp_path_factory.mktemp("survey")))
    for key in keys:
        store.set(key, key.encode())
    below = {key: len(key) for key in keys if not prefix or key.startswith(prefix + "/")}
    assert dict(store.survey(prefix)) == below
    assert all(store.size(key) == len(key) for key in keys)


class Remembers(LocalFileSystem):
    """A file system that answers from memory, until it is told that things have changed."""

    protocol = "remembers"
    cachable = False

    def __init__(self):
        super().__init__()
        self.known = {}

    def info(self, path, **options):
        return self.known.setdefault(path, super().info(path, **options))

    def find(self, path, **options):
        return self.known.setdefault(("find", path), super().find(path, **options))

    def invalidate_cache(self, path=None):
        self.known.clear()


def test_what_a_file_system_remembers_is_not_taken_for_what_is_there(tmp_path):
    store, files = FilesystemStore(Remembers(), str(tmp_path), "remembers://x"), LocalStore(str(tmp_path))
    for value in (b"1", b"12", b"123"):
        files.set("a/b", value)
        assert store.size("a/b") == len(value)
        files.set(f"c/{len(value)}", value)
        assert dict(store.survey("c")) == {f"c/{i}": i for i in range(1, len(value) + 1)}
    files.set("c/4", b"1234")
    assert store.fs.known
    assert len(list(store.survey("c"))) == 4
    store.fs.info(f"{tmp_path}/a/b")
    files.set("a/b", b"1234")
    assert store.size("a/b") == 4


def test_a_web_server_tells_sizes_if_it_can():
    with WebServer(VALUES, {"*refused*": 403}) as server:
        store = open_store(server.url)
        for key in ("a", "b/d/e", "b/c", "b d/é ü+%20?#/[x]"):
            assert store.size(key) == len(VALUES[key])
        assert store.size("nothing") is None
        with pytest.raises(Exception, match="403"):
            store.size("refused")


def test_an_archive_is_surveyed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for key, value in VALUES.items():
            archive.writestr(f"top/{key}", value)
    for url, lead in ((f"zip://top::{tmp_path}/a.zip", ""), (f"zip://::{tmp_path}/a.zip", "top/")):
        store = open_store(url)
        assert dict(store.survey("")) == {lead + key: len(value) for key, value in VALUES.items()}
        assert dict(store.survey(lead + "b/d")) == {lead + "b/d/e": 3, lead + "b/d/f": 4}
        assert store.size(lead + "bc/d") == 5
        assert store.size(lead + "bc") is None


def test_links_are_followed_once(tmp_path):
    store = LocalStore(str(tmp_path / "store"))
    store.set("a/b", b"1")
    LocalStore(str(tmp_path / "elsewhere")).set("c", b"12")
    os.symlink(tmp_path / "elsewhere", tmp_path / "store" / "a" / "link")
    os.symlink(tmp_path / "elsewhere" / "c", tmp_path / "store" / "file")
    os.symlink(tmp_path / "nothing", tmp_path / "store" / "broken")
    assert dict(store.survey("")) == {"a/b": 1, "a/link/c": 2, "file": 2}
    os.symlink(tmp_path / "store" / "a", tmp_path / "elsewhere" / "back")  # a circle
    found = dict(store.survey(""))
    assert found.items() >= {"a/b": 1, "a/link/c": 2, "a/link/back/b": 1, "file": 2}.items()
    assert len(found) < 10
    assert all(store.size(key) == size for key, size in found.items())


def test_what_vanishes_during_a_survey_is_left_out(tmp_path, monkeypatch):
    store = LocalStore(str(tmp_path))
    for i in range(9):
        store.set(f"{i}/a/b", b"1")
        store.set(f"{i}/c", b"1")
    scandir, seen = os.scandir, []

    def scan(path):
        seen.append(path)
        if len(seen) == 4:
            store.delete_below("")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = [key for key, _ in store.survey("")]
    assert 1 <= len(found) < 6
    assert list(store.survey("")) == []
    keys = store.survey("")
    store.set("x/1", b"1")
    store.set("x/2", b"1")
    first, _ = next(keys)
    store.delete_below("x")
    assert list(keys) == []
    assert first.startswith("x/")


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path, monkeypatch):
    store = LocalStore(str(tmp_path))
    store.set("a/b/c", b"1")
    scandir = os.scandir

    def refuse(path):
        if "a/b" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for request in (store.survey, store.leftovers):
        with pytest.raises(PermissionError):
            list(request(""))


def test_a_survey_left_early_leaves_nothing_open(tmp_path):
    store = LocalStore(str(tmp_path))
    for i in range(50):
        store.set(f"{i}/a", b"1")
    surveys = [store.survey("") for _ in range(20)]
    for survey in surveys:
        next(survey)
    opened = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.startswith(str(tmp_path))]


# Create


@stores(CREATING)
def test_a_value_is_created_where_there_is_none(store):
    assert store.create("a/b/c", OLD) is True
    assert store.create("a/b/c", NEW) is False
    assert store.get("a/b/c") == OLD
    assert store.create("empty", b"") is True
    assert store.create("empty", NEW) is False
    assert store.get("empty") == b""
    store.delete("a/b/c")
    assert store.create("a/b/c", memoryview(NEW)) is True
    assert store.get("a/b/c") == NEW
    assert dict.fromkeys(key for key, _ in store.survey("")) == dict.fromkeys(["a/b/c", "empty"])


@stores(LOCAL)
def test_a_value_is_not_created_where_there_is_a_folder_or_below_a_value(store, tmp_path):
    store.set("a/b", OLD)
    with pytest.raises(OSError, match="a"):
        store.create("a", NEW)
    with pytest.raises(OSError, match="a/b"):
        store.create("a/b/c", NEW)
    assert list(store.survey("")) == [("a/b", len(OLD))]
    assert list(store.leftovers("")) == []


def test_of_threads_that_create_a_key_of_a_mapping_one_does():
    class Slow(dict):
        def __setitem__(self, key, value):
            time.sleep(0.005)
            super().__setitem__(key, value)

    store = MappingStore(Slow())
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: store.create("a", b"%d" % i), range(8)))
    assert done.count(True) == 1
    assert store.get("a") == b"%d" % done.index(True)


def test_nothing_is_created_in_a_mapping_that_cannot_be_written():
    from types import MappingProxyType

    with pytest.raises(UnsupportedError):
        MappingStore(MappingProxyType({})).create("a", OLD)


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_links_says_so(tmp_path, monkeypatch, error):
    store = LocalStore(str(tmp_path))

    def link(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    with pytest.raises(UnsupportedError, match="hard links") as caught:
        store.create("a", OLD)
    assert caught.value.url == store.url
    assert os.listdir(tmp_path) == []


def test_an_answer_that_got_lost_is_known_by_the_link_it_made(tmp_path, monkeypatch):
    monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    store, link = LocalStore(str(tmp_path)), os.link

    def link_twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert store.create("a", OLD) is True
    assert store.create("a", NEW) is False
    assert store.get("a") == OLD
    assert os.listdir(tmp_path) == ["a"]


# Append


@stores(LOCAL)
def test_values_grow(store):
    for i in range(20):
        store.append("a/log", b"%d\n" % i)
    assert store.get("a/log") == b"".join(b"%d\n" % i for i in range(20))
    store.set("b", OLD)
    store.append("b", memoryview(NEW))
    assert store.get("b") == OLD + NEW
    store.append("empty", b"")
    assert store.get("empty") == b""
    with pytest.raises(IsADirectoryError):
        store.append("a", b"1")


def test_one_system_call_appends(tmp_path, monkeypatch):
    store, calls, write = LocalStore(str(tmp_path)), [], os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: calls.append(len(data)) or write(descriptor, data))
    store.append("a", NEW)
    store.append("a", OLD)
    assert calls == [len(NEW), len(OLD)]


# Move


@stores(LOCAL)
@pytest.mark.parametrize("source", ["", "b", "b/d", "b d"])
@pytest.mark.parametrize("target", ["", "x", "x/y/z"])
def test_a_folder_is_moved(store, tmp_path, source, target):
    filled(store)
    other = LocalStore(str(tmp_path / "some" / "other"))
    inside, outside = {}, {}
    for key, value in VALUES.items():
        if not source or key.startswith(source + "/"):
            inside[(target + "/" if target else "") + (key[len(source) + 1 :] if source else key)] = len(value)
        else:
            outside[key] = len(value)
    assert store.move_below(source, other, target) is True
    assert dict(other.survey("")) == inside
    assert dict(store.survey("")) == outside
    store.set("again/there", b"1")
    assert store.get("again/there") == b"1"


@stores(LOCAL)
@pytest.mark.parametrize(
    "hindrance", ["another file system", "target", "file", "missing", "a value", "into itself", "same"]
)
def test_what_cannot_be_moved_stays(store, tmp_path, monkeypatch, hindrance):
    filled(store)
    before = sorted(store.survey(""))
    other, source, target = LocalStore(str(tmp_path / "other")), "b", "x/y"
    if hindrance == "another file system":

        def rename(source, target):
            if not os.path.isdir(os.path.dirname(target)):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "rename", rename)
    elif hindrance == "target":
        other.set("x/y/z", b"1")
    elif hindrance == "file":
        other.set("x", b"1")
    elif hindrance == "missing":
        source = "nothing"
    elif hindrance == "a value":
        source = "a"
    elif hindrance == "into itself":
        other, target = LocalStore(str(tmp_path / "store" / "b")), "x"
    else:
        other, target = store, source
    there = sorted(other.survey(""))
    folders = sorted(tmp_path.rglob("*"))
    assert store.move_below(source, other, target) is False
    assert sorted(store.survey("")) == before
    assert sorted(other.survey("")) == there
    assert sorted(tmp_path.rglob("*")) == folders


@stores(LOCAL)
def test_a_folder_is_not_moved_to_another_kind_of_store_nor_by_a_link(store, tmp_path):
    filled(store)
    for other in (MappingStore({}), open_store("memory://abilities")):
        assert store.move_below("b", other, "x") is False
    os.symlink(tmp_path / "store" / "b", tmp_path / "link")
    assert LocalStore(str(tmp_path)).move_below("link", store, "y") is False
    assert dict(store.survey("")) == {key: len(value) for key, value in VALUES.items()}


def test_a_folder_is_moved_from_wrapper_to_wrapper(tmp_path):
    one, other = (RecordingStore(LocalStore(str(tmp_path / name))) for name in "ab")
    one.set("a/b", OLD)
    assert one.move_below("a", RecordingStore(other), "c")
    assert other.get("c/b") == OLD
    assert one.requests[-1] == ("move_below", "a")


def test_an_error_of_moving_is_raised(tmp_path, monkeypatch):
    store = LocalStore(str(tmp_path))
    store.set("a/b", OLD)

    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        store.move_below("a", store, "c")
    assert store.get("a/b") == OLD


# Wrappers


def test_every_request_to_a_wrapper_is_told(tmp_path):
    store = RecordingStore(LocalStore(str(tmp_path)))
    store.append("a", b"1")
    store.create("b", b"1")
    store.size("a")
    assert dict(store.survey("")) == {"a": 1, "b": 1}
    assert list(store.leftovers("x")) == []
    store.move_below("c", store, "d")
    assert store.requests == [
        ("append", "a"),
        ("create", "b"),
        ("size", "a"),
        ("survey", ""),
        ("leftovers", "x"),
        ("move_below", "c"),
    ]
    faulty = FaultyStore(LocalStore(str(tmp_path)), {"a": PermissionError("no")}, on=["append", "create", "size"])
    for request in (lambda: faulty.append("a", b"1"), lambda: faulty.create("a", b"1"), lambda: faulty.size("a")):
        with pytest.raises(PermissionError):
            request()
    assert faulty.get("a") == b"1"
