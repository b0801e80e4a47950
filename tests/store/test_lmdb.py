"""LMDB databases as stores: the contract, files of zarr-python 2, maps that grow, many processes, what goes wrong."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskzarr import from_zarr, open_group, to_zarr
from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.stores import LocalStore, MappingStore, creates, open_store
from daskzarr.stores.databases import lmdb_environment
from daskzarr.stores.databases.lmdb import LMDBStore
from daskzarr.stores.retries import is_transient
from daskzarr.testing import StoreContract

lmdb = pytest.importorskip("lmdb")

ROOT = Path(__file__).parents[2]
ZARR2 = ROOT / ".venv-peers-zarr2" / "bin" / "python"


@pytest.fixture
def store(tmp_path):
    return LMDBStore(str(tmp_path / "a.lmdb"))


class TestLMDB(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store

    def again(self, store):
        return open_store(store.url)


class TestLMDBThatGrows(StoreContract):
    big = 2**20

    @pytest.fixture
    def store(self, tmp_path):
        return LMDBStore(str(tmp_path / "new" / "odd #?%20 'n' \u00e9"), map_size=2**16, sync=True, subdir=False)


# URLs


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("lmdb:///data/a.lmdb", "/data/a.lmdb"),
        ("lmdb:///data/../b/a", "/b/a"),
        ("lmdb:///data/50%25%3F#x", "/data/50%?#x"),
        ("lmdb://a.lmdb", "{here}/a.lmdb"),
        ("lmdb://~/a.lmdb", "{home}/a.lmdb"),
    ],
)
def test_a_url_names_a_path(url, path):
    store = open_store(url)
    assert store == LMDBStore(path.format(here=os.getcwd(), home=os.path.expanduser("~")))
    assert open_store(store.url) == store
    assert open_store(store.url).url == store.url


def test_options_come_by_the_url_or_beside_it():
    by_url = open_store("lmdb:///a?map_size=1048576&sync=yes&readonly=no&subdir=false")
    beside = open_store("lmdb:///a", storage_options={"map_size": 2**20, "sync": True, "readonly": False, "subdir": 0})
    assert by_url == beside == LMDBStore("/a", sync=True)
    assert (by_url.map_size, by_url.subdir) == (beside.map_size, beside.subdir) == (2**20, False)
    assert by_url != LMDBStore("/a")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("lmdb://", "names no path"),
        ("lmdb:///", "names no path"),
        ("lmdb:///a?mapsize=1", "'mapsize' is no option.*map_size, readonly, subdir, sync"),
        ("lmdb:///a?map_size=much", "map_size"),
        ("lmdb:///a?map_size=0", "at least 1"),
        ("lmdb:///a?sync=perhaps", "true or false"),
    ],
)
def test_what_a_url_may_not_say(url, words):
    with pytest.raises(MetadataError, match=words):
        open_store(url)


# What is stored


def test_a_folder_or_a_file(tmp_path):
    folder, file = LMDBStore(str(tmp_path / "folder")), LMDBStore(str(tmp_path / "file"), subdir=False)
    for store in (folder, file):
        store.set("a/b", b"1")
    assert sorted(os.listdir(folder.path)) == ["data.mdb", "lock.mdb"]
    assert os.path.isfile(file.path)
    assert LMDBStore(file.path).get("a/b") == b"1"  # what is there is found
    assert open_store(f"lmdb://{file.path}").list_dir("") == ((), ("a",))


def test_keys_are_their_utf_8(store):
    store.set("a/\u00e9", b"12")
    assert store.get("a/\u00e9") == b"12"
    lmdb_environment._process.drop(store.path, lmdb_environment._process.find(store.path))
    with lmdb.open(store.path) as env, env.begin() as transaction:
        assert list(transaction.cursor()) == [("a/\u00e9".encode(), b"12")]


def test_keys_that_are_too_long(store):
    longest = "\u00e9" * 255 + "x"
    store.set(longest, b"1")
    assert store.get(longest) == b"1"
    too_long = longest + "y"
    with pytest.raises(UnsupportedError, match=r"1 to 511 bytes.*has 512.*shorter names"):
        store.set(too_long, b"1")
    with pytest.raises(UnsupportedError, match="1 to 511 bytes"):
        store.create("", b"1")
    store.delete(too_long)
    for key in (too_long, ""):
        assert store.get(key) is None
        assert store.get(key, ByteRange(0, 1)) is None
        assert list(store.get_many([key, longest])) == [None, b"1"]
        assert store.get_ranges(key, [ByteRange(0, 1)]) == [None]
        assert store.read_into(key, memoryview(bytearray(1))) is None
        assert store.size(key) is None


NAMES = st.text("ab./0\u00e9\U0001f30a", min_size=1, max_size=3).filter(lambda name: "/" not in name)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(KEYS, max_size=60), prefix=st.one_of(st.just(""), KEYS), many=st.booleans())
def test_listings_are_those_of_a_mapping(store, keys, prefix, many):
    store.delete_below("")
    keys |= {f"{key}/{i}" for key in list(keys)[:2] for i in range(40)} if many else set()
    expected = MappingStore(dict.fromkeys(keys, b"12"))
    for key in keys:
        store.set(key, b"12")
    assert store.list_dir(prefix) == expected.list_dir(prefix)
    assert sorted(store.survey(prefix)) == sorted(expected.survey(prefix))
    store.delete_below(prefix)
    expected.delete_below(prefix)
    assert sorted(store.survey("")) == sorted(expected.survey(""))


def test_many_keys_are_gone_through_and_removed(store):
    store.set("a/0", b"")
    with lmdb_environment.Inside(store._opening) as env, env.begin(write=True) as transaction:
        for i in range(4321):
            transaction.put(b"a/%05d" % i, b"%d" % i)
            transaction.put(b"b/%05d" % i, b"")
    assert len(list(store.survey("a"))) == 4322
    assert store.list_dir("") == ((), ("a", "b"))
    store.delete_below("a")
    assert len(list(store.survey(""))) == 4321


def test_looking_makes_no_file(store, tmp_path):
    assert store.get("a") is None
    assert store.get("a", ByteRange(0, 1)) is None
    assert list(store.get_many(["a", "b"])) == [None, None]
    assert store.list_dir("") == ((), ())
    assert list(store.survey("")) == []
    assert store.size("a") is None
    store.delete("a")
    store.delete_below("")
    store.finish()
    assert list(tmp_path.iterdir()) == []


# Maps that grow


def test_a_map_grows_while_others_read(tmp_path):
    store = LMDBStore(str(tmp_path / "a"), map_size=2**17)
    store.set("a", b"1" * 5000)
    done = threading.Event()

    def look(_):
        while not done.is_set():
            assert store.get("a") == b"1" * 5000
            assert store.get("a", ByteRange(-3)) == b"111"
        return True

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look, i) for i in range(4)]
        try:
            for i in range(30):
                store.set(f"b/{i}", bytes([i]) * 100_000)
        finally:
            done.set()
        assert all(one.result() for one in looking)
    assert list(store.get_many([f"b/{i}" for i in range(30)])) == [bytes([i]) * 100_000 for i in range(30)]


WRITER = """
import sys
from daskzarr.stores.databases.lmdb import LMDBStore
store, me = LMDBStore(sys.argv[1], map_size=2**17), int(sys.argv[2])
won = 0
for i in range(100):
    store.set(f"own/{me}/{i}", bytes([me]) * 3000)
    store.set(f"all/{i % 7}", bytes([me]) * 20_000)
    won += store.create(f"race/{i}", b"%d" % me)
    assert store.get(f"own/{me}/{i}") == bytes([me]) * 3000
    assert len(set(store.get(f"all/{i % 7}"))) == 1
print(won)
"""


def test_processes_write_at_once_and_let_the_map_grow(tmp_path):
    path = str(tmp_path / "a")
    store = LMDBStore(path, map_size=2**17)
    store.set("a", b"1")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(i)], stdout=-1, text=True) for i in range(3)]
    while any(writer.poll() is None for writer in writers):
        assert store.get("a") == b"1"
        time.sleep(0.01)
    won = [int(writer.communicate(timeout=100)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sum(won) == 100
    assert dict(store.survey("own")) == {f"own/{me}/{i}": 3000 for me in range(3) for i in range(100)}


KILLED = """
import sys
from daskzarr.stores.databases.lmdb import LMDBStore
store = LMDBStore(sys.argv[1])
i = 0
while True:
    for key in "abc":
        store.set(key, b"%d " % i + bytes([i % 251]) * 200_000)
    print(i, flush=True)
    i += 1
"""


def test_a_writer_that_is_killed_leaves_whole_values(store):
    store.set("before", b"1")
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, store.path], stdout=-1, text=True) as writer:
            told = [writer.stdout.readline() for _ in range(5)]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.read().splitlines()
        numbers = []
        for value in store.get_many("abc"):
            number, _, rest = bytes(value).partition(b" ")
            assert rest == bytes([int(number) % 251]) * 200_000
            numbers.append(int(number))
        assert min(numbers) >= int(told[-1])  # what it said to be stored is there
        store.set("a", b"goes on")
        assert store.get("a") == b"goes on"


# The same file, another file


def test_a_database_that_was_removed_is_not_written_any_more(store):
    with ThreadPoolExecutor(3) as pool:
        for turn in range(5):
            list(pool.map(lambda i: store.set(f"a/{i}", b"old"), range(12)))
            shutil.rmtree(store.path)
            store.set("b", b"%d" % turn)
            found = list(pool.map(lambda i: (store.get("b"), store.get(f"a/{i}")), range(12)))
            assert found == [(b"%d" % turn, None)] * 12
    assert [key for key, _ in store.survey("")] == ["b"]
    shutil.rmtree(store.path)
    time.sleep(0.02)
    assert store.get("b") is None
    assert not os.path.exists(store.path)


def test_one_database_by_two_names(store, tmp_path):
    store.set("a", b"1")
    os.symlink(store.path, tmp_path / "link")
    other = LMDBStore(str(tmp_path / "link"))
    assert other.get("a") == b"1"
    other.set("a", b"2")
    assert store.get("a") == b"2"
    store.synced().set("a", b"3")
    assert other.synced().get("a") == other.get("a") == b"3"


def test_few_environments_are_kept(tmp_path):
    stores = [LMDBStore(str(tmp_path / f"{i}"), map_size=2**20) for i in range(40)]
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda store: store.set("a", store.path.encode()), stores))
            assert list(pool.map(lambda store: store.get("a"), stores)) == [s.path.encode() for s in stores]
    assert len(lmdb_environment._process.all()) <= 16


def test_more_threads_than_readers_have_room(tmp_path):
    path = str(tmp_path / "a")
    lmdb.open(path, map_size=2**20, max_readers=4).close()
    held = lmdb.open(path, map_size=2**20, max_readers=4)
    reading = [held.begin() for _ in range(3)]
    assert len(reading) == 3
    held.close()
    store = LMDBStore(path)
    store.set("a", b"1")
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda _: store.get("a"), range(200))) == [b"1"] * 200


# What goes wrong


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a").write_bytes(b"something else, long enough to be looked at\n" * 1000)
    store = LMDBStore(str(tmp_path / "a"))
    for request in (lambda: store.get("a"), lambda: store.set("a", b"1"), lambda: store.list_dir("")):
        with pytest.raises(StoreError, match="is no LMDB database") as caught:
            request()
        assert not is_transient(caught.value)
    assert (tmp_path / "a").read_bytes().startswith(b"something else")
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreError, match="is no LMDB database"):
            open_store(f"lmdb://{tmp_path}/a", storage_options=options).get("a")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("size", [1, 15, 63])
def test_a_short_file_that_is_no_database(tmp_path, size):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.mdb").write_bytes(b"x" * size)
    with pytest.raises(StoreError, match="is no LMDB database"):
        LMDBStore(str(tmp_path / "a")).get("a")
    assert os.listdir(tmp_path / "a") == ["data.mdb"]


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / "a").touch()
    store = LMDBStore(str(tmp_path / "a"))
    store.set("a", b"1")
    assert store.get("a") == b"1"


def test_without_lmdb_a_store_that_was_made_by_hand_says_so_too(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'daskzarr\[lmdb\]'"):
        store.set("a", b"1")


def test_a_database_that_another_library_has_open(store):
    with lmdb.open(store.path), pytest.raises(lmdb.Error, match="already open"):
        store.set("a", b"1")
    store.set("a", b"1")


@contextlib.contextmanager
def as_someone_else():
    """A process of root is nobody for a while: nothing is forbidden to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no users on this system")
def test_what_may_only_be_read():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/a"
        program = "import sys; from daskzarr.stores.databases.lmdb import LMDBStore as S; S(sys.argv[1]).set('a', b'1')"
        subprocess.run([sys.executable, "-c", program, path], check=True)
        for name in os.listdir(path):
            os.chmod(f"{path}/{name}", stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        os.chmod(path, 0o555)
        with as_someone_else():
            store = LMDBStore(path)
            with pytest.raises(StorePermissionError, match="cannot be written"):
                store.set("a", b"2")
            reading = open_store(f"lmdb://{path}?readonly=true")
            assert not reading.can_write
            assert reading.get("a") == b"1"
            assert reading.list_dir("").keys == ("a",)
            with pytest.raises(StorePermissionError, match="cannot be written"):
                reading.set("a", b"2")
            reading.finish()
        os.chmod(path, 0o755)


def test_writes_that_wait_for_the_disk(store):
    store.set("a", b"1")
    assert not lmdb_environment._process.find(store.path).sync
    store.synced().set("a", b"2")
    assert lmdb_environment._process.find(store.path).sync
    store.set("a", b"3")
    assert store.synced().get("a") == b"3"
    store.finish()


def test_what_it_says_of_itself(store):
    assert creates(store)
    assert store.shared
    assert store.sibling(".daskzarr") == LocalStore(store.path + ".daskzarr")
    assert store.synced().sibling(".daskzarr") == LocalStore(store.path + ".daskzarr", sync=True)


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
    to_zarr(da.from_array(X[1:3] * 2, chunks=2), store.url, "g/a", region=(slice(1, 3),), mode="r+")
    expected = X.copy()
    expected[1:3] *= 2
    np.testing.assert_array_equal(from_zarr(store.url, "g/a").compute(scheduler="threads"), expected)
    to_zarr(da.from_array(X + 1, chunks=(4, 4)), store.url, "g/a", overwrite=True, **how)
    np.testing.assert_array_equal(from_zarr(store.url, "g/a").compute(scheduler="threads"), X + 1)
    assert list(open_group(store.url)) == ["g"]


# zarr-python 2

THEIRS = """
import sys, warnings
import numpy as np, zarr
warnings.simplefilter("ignore")
do, path, data = sys.argv[1:]
store = zarr.LMDBStore(path)
if do == "write":
    group = zarr.group(store, overwrite=True)
    array = group.create_dataset("g/a", data=np.load(data), chunks=(4, 4), compressor=zarr.Zlib(3))
    array.attrs["units"] = "K"
    zarr.consolidate_metadata(store)
else:
    np.save(data, zarr.open_group(store, mode="r")["g/a"][...])
store.close()
"""


def theirs(*arguments):
    done = subprocess.run([ZARR2, "-c", THEIRS, *arguments], capture_output=True, text=True)
    if "No module named 'lmdb'" in done.stderr:
        pytest.skip("the environment of zarr-python 2 has no lmdb")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not ZARR2.exists(), reason="zarr-python 2 is not here: ci/peers makes its environment")
def test_databases_of_zarr_python_2(tmp_path):
    path, data = str(tmp_path / "a.lmdb"), str(tmp_path / "d.npy")
    np.save(data, X)
    theirs("write", path, data)
    url = f"lmdb://{path}"
    np.testing.assert_array_equal(from_zarr(url, "g/a").compute(scheduler="threads"), X)
    assert open_group(url)["g/a"].attrs == {"units": "K"}
    to_zarr(da.from_array(X * 3, chunks=(4, 4)), url, "g/a", region=(slice(None), slice(None)), mode="r+")
    theirs("read", path, data)
    np.testing.assert_array_equal(np.load(data), X * 3)
    to_zarr(da.from_array(X, chunks=(4, 4)), f"lmdb://{tmp_path}/b", "g/a", zarr_format=2)
    theirs("read", str(tmp_path / "b"), data)
    np.testing.assert_array_equal(np.load(data), X)
