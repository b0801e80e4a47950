"""DBM databases as stores: the contract, files of zarr-python 2, one writer at a time, writers that were killed."""

import dbm
import errno
import importlib.util
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from daskzarr import from_zarr, open_group, to_zarr
from daskzarr.errors import MetadataError, StoreError, UnsupportedError
from daskzarr.stores import LocalStore, open_store
from daskzarr.stores.databases.dbm import DBMStore
from daskzarr.stores.retries import is_transient
from daskzarr.testing import StoreContract

ROOT = Path(__file__).parents[2]
ZARR2 = ROOT / ".venv-peers-zarr2" / "bin" / "python"
KINDS = ["dbm.gnu", "dbm.ndbm", "dbm.dumb", "dbm.sqlite3"]


def has(kind):
    """Whether this Python can open databases of a kind."""
    try:
        importlib.import_module(kind)
    except ImportError:
        return False
    return True


@pytest.fixture
def store(tmp_path):
    return DBMStore(str(tmp_path / "a"))


class TestDBM(StoreContract):
    """Of the kind that new databases are of."""

    @pytest.fixture
    def store(self, tmp_path):
        return DBMStore(str(tmp_path / "new" / "a b%?\u00e9"))

    def again(self, store):
        return open_store(store.url)


@pytest.mark.parametrize("kind", KINDS)
def test_databases_of_every_kind(store, kind):
    if not has(kind):
        pytest.skip(f"this Python has no {kind}")
    with importlib.import_module(kind).open(store.path, "c") as db:
        db[b"a/b"] = b"12"
    assert dbm.whichdb(store.path) == kind
    assert store.get("a/b") == b"12"
    store.set("a/\u00e9", b"345")
    assert store.list_dir("a") == (("b", "\u00e9"), ())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: store.set(f"c/{i}", b"%d" % i), range(40)))
        assert list(pool.map(lambda i: store.get(f"c/{i}"), range(40))) == [b"%d" % i for i in range(40)]
    store.delete_below("c")
    store.finish()
    assert sorted(store.survey("")) == [("a/b", None), ("a/\u00e9", None)]
    assert dbm.whichdb(store.path) == kind
    with dbm.open(store.path, "r") as db:
        assert {bytes(key): db[key] for key in db.keys()} == {b"a/b": b"12", "a/\u00e9".encode(): b"345"}  # noqa: SIM118


@pytest.mark.parametrize(
    ("url", "path"),
    [("dbm:///data/a", "/data/a"), ("dbm:///data/50%25%3F#x", "/data/50%?#x"), ("dbm://a", "{here}/a")],
)
def test_a_url_names_a_path(url, path):
    store = open_store(url)
    assert store == DBMStore(path.format(here=os.getcwd()))
    assert open_store(store.url) == store


@pytest.mark.parametrize(
    ("url", "words"),
    [("dbm://", "names no path"), ("dbm:///", "names no path"), ("dbm:///a?mode=r", "known ones: none")],
)
def test_what_a_url_may_not_say(url, words):
    with pytest.raises(MetadataError, match=words):
        open_store(url)


def test_looking_makes_no_file(store, tmp_path):
    assert store.get("a") is None
    assert list(store.get_many(["a", "b"])) == [None, None]
    assert store.list_dir("") == ((), ())
    assert list(store.survey("")) == []
    store.delete("a")
    store.delete_below("")
    store.finish()
    assert list(tmp_path.iterdir()) == []


def test_deleting_many_is_no_more_than_writing_once(store, monkeypatch):
    for i in range(300):
        store.set(f"a/{i}", b"1")
    store.set("b", b"2")
    made = []
    if dbm.whichdb(store.path) == "dbm.dumb":
        commit = dbm.dumb._Database._commit
        monkeypatch.setattr(dbm.dumb._Database, "_commit", lambda self: made.append(1) or commit(self))
        monkeypatch.setattr(dbm.dumb._Database, "sync", lambda self: self._commit())
    store.delete_below("a")
    assert len(made) <= 1
    store.finish()
    assert DBMStore(store.path).list_dir("") == (("b",), ())


# One writer


HOLDER = """
import sys
from daskzarr.stores.databases.dbm import DBMStore
store = DBMStore(sys.argv[1])
store.set("a", b"theirs")
store.set("b", b"1" * 100_000)
print("written", flush=True)
for line in sys.stdin:
    if line == "finish\\n":
        store.finish()
        print("finished", flush=True)
    if line == "write\\n":
        store.set("a", b"again")
        print("written", flush=True)
"""


@pytest.fixture
def other(store):
    """Another process that writes the database."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.path], stdin=-1, stdout=-1, text=True, bufsize=1
    ) as process:
        assert process.stdout.readline() == "written\n"

        def tell(what):
            process.stdin.write(what + "\n")
            return process.stdout.readline()

        process.tell = tell
        yield process
        process.stdin.close()


def test_a_second_writer_is_refused_until_the_first_has_finished(store, other):
    for request in (lambda: store.set("a", b"ours"), lambda: store.create("x", b"1")):
        with pytest.raises(UnsupportedError, match=r"another process.*SQLite"):
            request()
    with pytest.raises(BlockingIOError, match="another process") as caught:
        store.get("a")
    assert caught.value.errno == errno.EAGAIN
    assert is_transient(caught.value)  # so that readers wait
    assert other.tell("finish") == "finished\n"
    assert store.get("a") == b"theirs"
    assert store.get("b") == b"1" * 100_000
    assert not os.path.exists(store.path + ".lock")
    assert other.tell("write") == "written\n"
    with pytest.raises(BlockingIOError):
        store.list_dir("")
    assert other.tell("finish") == "finished\n"
    store.set("a", b"ours")
    store.finish()
    assert store.get("a") == b"ours"


def test_a_writer_that_ends_finishes(store, other):
    other.stdin.close()
    assert other.wait(20) == 0
    assert store.get("a") == b"theirs"
    store.set("a", b"ours")
    store.finish()


def test_what_a_killed_writer_leaves_is_refused(store, other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    for request in (lambda: store.get("a"), lambda: store.set("a", b"1"), lambda: store.list_dir("")):
        with pytest.raises(StoreError, match=r"ended before it finished.*delete .*a\.lock") as caught:
            request()
        assert not is_transient(caught.value)
    os.unlink(store.path + ".lock")
    assert store.get("a") == b"theirs"
    store.set("a", b"goes on")
    store.finish()
    assert store.get("a") == b"goes on"


def test_a_database_made_anew_after_a_kill(store, other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    for path in tmp_path.iterdir():
        if path.name != "a.lock":
            path.unlink()
    assert store.get("a") is None
    store.set("a", b"1")
    store.finish()
    assert store.get("a") == b"1"
    assert not os.path.exists(store.path + ".lock")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_neither_writes_nor_keeps_the_lock(store):
    code = """
import os, sys, warnings
from daskzarr.stores.databases.dbm import DBMStore
warnings.simplefilter("ignore")
store = DBMStore(sys.argv[1])
store.set("a", b"1")
store.set("a", b"2")
child = os.fork()
if child == 0:
    try:
        store.set("a", b"child")
    except Exception as error:
        print(type(error).__name__, flush=True)
    sys.exit(0)
os.waitpid(child, 0)
store.set("b", b"3")
store.finish()
"""
    done = subprocess.run([sys.executable, "-c", code, store.path], capture_output=True, text=True, check=True)
    assert done.stdout == "UnsupportedError\n"
    assert (store.get("a"), store.get("b")) == (b"2", b"3")


# What goes wrong


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a").write_bytes(b"something else\n" * 100)
    store = DBMStore(str(tmp_path / "a"))
    for request in (lambda: store.get("a"), lambda: store.set("a", b"1")):
        with pytest.raises(StoreError, match="is no DBM database"):
            request()
    store.finish()


@pytest.mark.skipif(has("dbm.gnu"), reason="this Python has it")
def test_a_kind_that_this_python_has_not(tmp_path):
    (tmp_path / "a").write_bytes(b"\xce\x9a\x57\x13" + bytes(4096))
    with pytest.raises(UnsupportedError, match=r"dbm\.gnu"):
        DBMStore(str(tmp_path / "a")).get("a")


def test_notes_lie_beside_the_database(store):
    assert store.sibling(".daskzarr") == LocalStore(store.path + ".daskzarr")


# Arrays

X = np.arange(60, dtype="i4").reshape(6, 10)


@pytest.mark.parametrize(
    "how",
    [
        {"zarr_format": 2},
        {"zarr_format": 3, "chunks": (2, 2), "shards": (4, 4)},
        {"zarr_format": "n5"},
    ],
    ids=["v2", "v3 shards", "n5"],
)
def test_arrays_are_written_and_read(store, how):
    to_zarr(da.from_array(X, chunks=(4, 4)), store.url, "g/a", **how)
    np.testing.assert_array_equal(from_zarr(store.url, "g/a").compute(scheduler="threads"), X)
    to_zarr(da.from_array(X + 1, chunks=(4, 4)), store.url, "g/a", overwrite=True, **how)
    np.testing.assert_array_equal(from_zarr(store.url, "g/a").compute(scheduler="threads"), X + 1)
    assert list(open_group(store.url)) == ["g"]
    code = "import sys, daskzarr; print(daskzarr.from_zarr(sys.argv[1], 'g/a').sum().compute(scheduler='threads'))"
    done = subprocess.run([sys.executable, "-c", code, store.url], capture_output=True, text=True)
    assert done.stdout.strip() == str((X + 1).sum()), done.stderr


THEIRS = """
import sys, warnings
import numpy as np, zarr
warnings.simplefilter("ignore")
do, path, data = sys.argv[1:]
store = zarr.DBMStore(path)
if do == "write":
    group = zarr.group(store, overwrite=True)
    array = group.create_dataset("g/a", data=np.load(data), chunks=(4, 4), compressor=zarr.Zlib(3))
    array.attrs["units"] = "K"
    zarr.consolidate_metadata(store)
else:
    np.save(data, zarr.open_group(store, mode="r")["g/a"][...])
store.close()
"""


@pytest.mark.skipif(not ZARR2.exists(), reason="zarr-python 2 is not here: ci/peers makes its environment")
def test_databases_of_zarr_python_2(tmp_path):
    path, data = str(tmp_path / "a"), str(tmp_path / "d.npy")
    np.save(data, X)
    subprocess.run([ZARR2, "-c", THEIRS, "write", path, data], check=True)
    url = f"dbm://{path}"
    np.testing.assert_array_equal(from_zarr(url, "g/a").compute(scheduler="threads"), X)
    assert open_group(url)["g/a"].attrs == {"units": "K"}
    to_zarr(da.from_array(X * 3, chunks=(4, 4)), url, "g/a", region=(slice(None), slice(None)), mode="r+")
    subprocess.run([ZARR2, "-c", THEIRS, "read", path, data], check=True)
    np.testing.assert_array_equal(np.load(data), X * 3)
    to_zarr(da.from_array(X, chunks=(4, 4)), f"dbm://{tmp_path}/b", "g/a", zarr_format=2)
    if dbm.whichdb(str(tmp_path / "b")) == dbm.whichdb(path):  # a later Python makes others
        subprocess.run([ZARR2, "-c", THEIRS, "read", str(tmp_path / "b"), data], check=True)
        np.testing.assert_array_equal(np.load(data), X)
