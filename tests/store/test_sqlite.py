"""SQLite databases as stores: the contract, files of zarr-python 2, many processes, what goes wrong."""

import contextlib
import os
import signal
import sqlite3
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
from daskzarr.stores import LocalStore, MappingStore, open_store
from daskzarr.stores.databases import sqlite_connection
from daskzarr.stores.databases.sqlite import SQLiteStore
from daskzarr.stores.retries import RetryBudget, is_transient, persist
from daskzarr.testing import StoreContract

ROOT = Path(__file__).parents[2]
ZARR2 = ROOT / ".venv-peers-zarr2" / "bin" / "python"


@pytest.fixture
def store(tmp_path):
    return SQLiteStore(str(tmp_path / "a.db"))


class TestSQLite(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store

    def again(self, store):
        return open_store(store.url)

    def spoil(self, store, key):
        with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE zarr SET v = 5 WHERE k = ?", (key,))
        return True


# URLs


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/a.db", "/data/a.db"),
        ("sqlite:////data/../b/a.db", "/b/a.db"),
        ("sqlite:////data/a b#c.db", "/data/a b#c.db"),
        ("sqlite:////data/50%25%3F.db", "/data/50%?.db"),
        ("sqlite:////data/50%.db", "/data/50%.db"),
        ("sqlite:////data/\u00e9%23.db", "/data/\u00e9#.db"),
        ("sqlite:///a.db", "{here}/a.db"),
        ("sqlite:///a/b.db?table=zarr", "{here}/a/b.db"),
        ("sqlite:///~/b.db", "{home}/b.db"),
    ],
)
def test_a_url_names_a_path(url, path):
    store = open_store(url)
    assert store == SQLiteStore(path.format(here=os.getcwd(), home=os.path.expanduser("~")))
    assert open_store(store.url) == store
    assert open_store(store.url).url == store.url


def test_options_come_by_the_url_or_beside_it():
    by_url = open_store("sqlite:////a.db?table=t%3Fx&timeout=5&immutable=true&journal=delete")
    options = {"table": "t?x", "timeout": 5, "immutable": True, "journal": "delete"}
    assert by_url == open_store("sqlite:////a.db", storage_options=options)
    assert by_url == SQLiteStore("/a.db", table="t?x", timeout=5.0, immutable=True, journal="delete")
    assert by_url.url == "sqlite:////a.db?table=t%3Fx"
    assert open_store(by_url.url).table == "t?x"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:a.db", "in memory"),
        ("sqlite://a.db", "sqlite:///a.db"),
        ("sqlite:///a.db?tabel=x", "'tabel' is no option.*immutable, journal, table, timeout"),
        ("sqlite:///a.db?table=a&table=b", "twice"),
        ("sqlite:///a.db?table=", "table"),
        ("sqlite:///a.db?table=sqlite_master", "table of one's own"),
        ("sqlite:///a.db?timeout=soon", "timeout"),
        ("sqlite:///a.db?timeout=-1", "timeout"),
        ("sqlite:///a.db?immutable=maybe", "true or false"),
        ("sqlite:///a.db?journal=off", "wal, delete"),
    ],
)
def test_what_a_url_may_not_say(url, words):
    with pytest.raises(MetadataError, match=words):
        open_store(url)


def test_odd_names_of_files_are_names_of_files(tmp_path):
    for name in ("a b.db", "a#b.db", "a?b.db", "50%20.db", "\u00e9.db", "a'b\"c.db", "mode=ro&x"):
        store = SQLiteStore(str(tmp_path / name))
        store.set("a", name.encode())
        assert (tmp_path / name).is_file()
        assert open_store(store.url).get("a") == name.encode()


# What is stored


def test_the_table_is_a_plain_one(store):
    store.set("a/b", b"12")
    store.set("a/b", b"123")
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT k, v, typeof(k), typeof(v) FROM zarr").fetchall() == [
            ("a/b", b"123", "text", "blob")
        ]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_tables_are_apart(tmp_path):
    one, other = (SQLiteStore(str(tmp_path / "a.db"), table) for table in ("zarr", "other"))
    one.set("a/b", b"1")
    other.set("a/b", b"2")
    assert (one.get("a/b"), other.get("a/b")) == (b"1", b"2")
    assert one != other
    assert one.sibling(".x") != other.sibling(".x")
    assert not one.move_below("a", other, "c")
    other.delete_below("")
    assert (one.get("a/b"), other.get("a/b")) == (b"1", None)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 2**18 - 1, 2**18, 2**18 + 1, 10**6])
def test_values_of_every_size_come_whole_and_in_part(store, size):
    value = np.arange(size // 8 + 1, dtype="<u8").tobytes()[:size]
    store.set("a", value)
    store.set("b", value[::-1])
    assert store.get("a") == value
    assert list(store.get_many(["a", "x", "b", "a"])) == [value, None, value[::-1], value]
    ranges = [ByteRange(0, 3), ByteRange(size // 2, 5), ByteRange(-4), ByteRange(-(size + 9), 20), ByteRange(size, 1)]
    assert [store.get("a", part) for part in ranges] == [part.of(value) for part in ranges]
    assert store.get_ranges("a", ranges) == [part.of(value) for part in ranges]
    assert store.get_ranges("x", ranges) == [None] * 5
    assert store.size("a") == size


NAMES = st.text("ab./0\u00e9\U0001f30a", min_size=1, max_size=3).filter(lambda name: "/" not in name)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_listing_does_not_go_through_all_that_lies_below(store):
    store.set("z", b"")
    with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
        rows = ((f"{group}/{i:05}", b"") for group in "abc" for i in range(20_000))
        connection.executemany("INSERT INTO zarr VALUES (?, ?)", rows)
    steps = []
    sqlite_connection.connected(store._at).set_progress_handler(lambda: steps.append(1), 100)
    assert store.list_dir("") == (("z",), ("a", "b", "c"))
    assert len(steps) < 20  # times 100 instructions


def test_looking_makes_no_file(store, tmp_path):
    assert store.get("a") is None
    assert store.get("a", ByteRange(0, 1)) is None
    assert list(store.get_many(["a", "b"])) == [None, None]
    assert store.get_ranges("a", [ByteRange(0, 1)]) == [None]
    assert store.list_dir("") == ((), ())
    assert list(store.survey("")) == []
    assert store.size("a") is None
    store.delete("a")
    store.delete_below("")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.db").touch()  # an empty file is an empty database
    assert store.get("a") is None
    assert store.list_dir("") == ((), ())
    store.delete("a")
    store.set("a", b"1")
    assert store.get("a") == b"1"


def test_odd_names_of_tables_are_names_of_tables(tmp_path):
    for i, name in enumerate(('t"x', "a'b", "a b", "select", "\u00e9", "a;--", "[x]", "%s")):
        store = SQLiteStore(str(tmp_path / "a.db"), name)
        assert store.create("a/b", b"%d" % i)
        store.set("a/big", bytes([i]) * 300_000)
        assert open_store(store.url).get("a/b") == b"%d" % i
        assert store.get("a/big") == bytes([i]) * 300_000
        assert store.get_ranges("a/big", [ByteRange(-2)]) == [bytes([i]) * 2]
        assert store.list_dir("a").keys == ("b", "big")
        assert store.move_below("a", store, "c")
        store.delete_below("c")
        assert list(store.survey("")) == []


# The same file, another file


def test_a_file_that_was_removed_is_not_written_any_more(store):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: store.set(f"a/{i}", b"old"), range(12)))
        for turn in range(5):
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(store.path + ending)
            store.set("b", b"%d" % turn)
            found = list(pool.map(lambda i: (store.get("b"), store.get(f"a/{i}")), range(12)))
            assert found == [(b"%d" % turn, None)] * 12
            list(pool.map(lambda i: store.set(f"a/{i}", b"new"), range(12)))
            assert [store.get(f"a/{i}") for i in range(12)] == [b"new"] * 12
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT count(*) FROM zarr").fetchone() == (13,)


def test_what_one_thread_wrote_after_a_removal_no_other_misses(store):
    with ThreadPoolExecutor(1) as reader:
        for turn in range(20):
            store.set("a", b"old")
            assert reader.submit(store.get, "a").result() == b"old"
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(store.path + ending)
            with ThreadPoolExecutor(1) as writer:  # a thread that has never seen the file
                writer.submit(store.set, "b", b"%d" % turn).result()
            assert reader.submit(store.get, "b").result() == b"%d" % turn


def test_a_file_that_was_replaced_is_read_anew(store, tmp_path):
    other = SQLiteStore(str(tmp_path / "other.db"), journal="delete")
    other.set("a", b"other")
    store.set("a", b"1")
    assert store.get("a") == b"1"
    for ending in ("-wal", "-shm"):
        os.unlink(store.path + ending)
    os.replace(other.path, store.path)
    time.sleep(0.02)
    assert store.get("a") == b"other"


def test_connections_end_with_their_thread(store):
    store.set("a", b"1")
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of open files")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: store.get("a"), range(40))) == [b"1"] * 40
    # SQLite keeps the files of connections that ended for later ones, while any other has locks on them.
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_few_connections_are_kept(tmp_path):
    stores = [SQLiteStore(str(tmp_path / f"{i}.db")) for i in range(40)]
    for turn in range(2):
        for i, store in enumerate(stores):
            store.set("a", b"%d" % i)
            assert store.get("a") == b"%d" % i, turn
    if os.path.isdir("/proc/self/fd"):
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
        assert len([link for link in links if link.startswith(str(tmp_path))]) <= 3 * 16


def _is_open(descriptor):
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


# Many processes


WRITER = """
import sys
from daskzarr.stores.databases.sqlite import SQLiteStore
store, me = SQLiteStore(sys.argv[1], timeout=30), int(sys.argv[2])
won = 0
for i in range(60):
    store.set(f"own/{me}/{i}", bytes([me]) * 3000)
    store.set(f"all/{i % 7}", bytes([me]) * 20_000)
    won += store.create(f"race/{i}", b"%d" % me)
    assert store.get(f"own/{me}/{i}") == bytes([me]) * 3000
    assert len(set(store.get(f"all/{i % 7}"))) == 1
print(won)
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_processes_write_at_once(tmp_path, journal):
    path = str(tmp_path / "a.db")
    code = WRITER.replace("timeout=30", f"timeout=30, journal={journal!r}")
    writers = [subprocess.Popen([sys.executable, "-c", code, path, str(i)], stdout=-1, text=True) for i in range(3)]
    won = [int(writer.communicate(timeout=100)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    store = SQLiteStore(path)
    assert sum(won) == 60
    assert [int(store.get(f"race/{i}")) for i in range(60)].count(1) == won[1]
    assert dict(store.survey("own")) == {f"own/{me}/{i}": 3000 for me in range(3) for i in range(60)}


KILLED = """
import sys
from daskzarr.stores.databases.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
i = 0
while True:
    for key in "abc":
        store.set(key, b"%d " % i + bytes([i % 251]) * 200_000)
    print(i, flush=True)
    i += 1
"""


def test_a_writer_that_is_killed_leaves_whole_values(tmp_path):
    path = str(tmp_path / "a.db")
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=-1, text=True) as writer:
            told = [writer.stdout.readline() for _ in range(5)]
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.read().splitlines()
        store = SQLiteStore(path)
        numbers = []
        for value in store.get_many("abc"):
            number, _, rest = bytes(value).partition(b" ")
            assert rest == bytes([int(number) % 251]) * 200_000
            numbers.append(int(number))
        assert min(numbers) >= int(told[-1])  # what it said to be stored is there
        store.set("a", b"goes on")
        assert store.get("a") == b"goes on"
        store.delete_below("")


def test_a_writer_waits_for_another_program(tmp_path):
    store = SQLiteStore(str(tmp_path / "a.db"), timeout=0.05)
    store.set("a", b"old")
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.get("a") == b"old"
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            store.set("a", b"new")
        assert is_transient(caught.value)
        ending = threading.Timer(0.3, other.execute, ("COMMIT",))
        ending.start()
        persist(store.set, "a", b"new", budget=RetryBudget(first_wait=0.05))
        assert store.get("a") == b"new"
        ending.join()


# What goes wrong


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a.db").write_bytes(b"something else, long enough to be looked at\n" * 100)
    store = SQLiteStore(str(tmp_path / "a.db"))
    for request in (lambda: store.get("a"), lambda: store.set("a", b"1"), lambda: store.list_dir("")):
        with pytest.raises(StoreError, match=r"a\.db is no SQLite database") as caught:
            request()
        assert not is_transient(caught.value)
    assert (tmp_path / "a.db").read_bytes().startswith(b"something else")


def test_a_folder_is_no_database(tmp_path):
    store = SQLiteStore(str(tmp_path))
    with pytest.raises(StoreError, match="is a folder"):
        store.get("a")
    with pytest.raises(StoreError, match="is a folder"):
        store.set("a", b"1")


def test_a_table_of_something_else(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("CREATE TABLE zarr(id INTEGER, name TEXT)")
        connection.execute("CREATE TABLE loose(k TEXT, v BLOB)")
        connection.execute("INSERT INTO loose VALUES ('n', NULL), ('t', 'text'), ('i', 5), ('b', x'00')")
    store = SQLiteStore(str(tmp_path / "a.db"))
    with pytest.raises(MetadataError, match=r"k TEXT PRIMARY KEY, v BLOB"):
        store.get("a")
    with pytest.raises(MetadataError, match=r"k TEXT PRIMARY KEY, v BLOB"):
        store.set("a", b"1")
    loose = SQLiteStore(str(tmp_path / "a.db"), "loose")
    with pytest.raises(MetadataError, match=r"k TEXT PRIMARY KEY, v BLOB"):
        loose.set("a", b"1")
    assert loose.get("b") == b"\0"
    for key in "nti":
        for request in (loose.get, lambda key: loose.get_ranges(key, [ByteRange(0, 1)])):
            with pytest.raises(StoreError, match="something else than bytes"):
                request(key)


def test_a_full_disk(store):
    store.set("a", b"old")
    connection = sqlite_connection.connected(store._at)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 2}")
    for request in (store.set, store.create):
        with pytest.raises(StoreError, match="no room") as caught:
            request("b", bytes(10**6))
        assert not is_transient(caught.value)
    with pytest.raises(StoreError, match="no room"):
        store.set("a", bytes(10**6))
    assert (store.get("a"), store.get("b")) == (b"old", None)
    store.set("a", b"small enough")
    assert store.get("a") == b"small enough"


def test_a_value_that_is_too_large(store):
    store.set("a", b"old")
    sqlite_connection.connected(store._at).setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    with pytest.raises(UnsupportedError, match="smaller chunks"):
        store.set("a", bytes(2000))
    assert store.get("a") == b"old"


def test_a_damaged_database(store):
    for i in range(200):
        store.set(f"a/{i}", bytes([i]) * 3000)
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = SQLiteStore(store.path + ".copy")
    damaged = bytearray(Path(store.path).read_bytes())
    damaged[16384 : len(damaged) - 16384] = b"\x7f" * (len(damaged) - 2 * 16384)
    Path(copy.path).write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged") as caught:
        list(copy.survey(""))
    assert not is_transient(caught.value)


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


@pytest.fixture
def locked_folder():
    """A folder in which files can be put, and then no more."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no users on this system")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_may_only_be_read(locked_folder, journal):
    path = str(locked_folder / "a.db")
    program = "import sys; from daskzarr.stores.databases.sqlite import SQLiteStore as S; "
    program += f"S(sys.argv[1], journal={journal!r}).set('a', b'1')"
    subprocess.run([sys.executable, "-c", program, path], check=True)  # its end leaves no -wal
    assert os.listdir(locked_folder) == ["a.db"]
    os.chmod(path, stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    os.chmod(locked_folder, 0o555)
    with as_someone_else():
        store = SQLiteStore(path, journal=journal)
        if journal == "delete":
            assert store.get("a") == b"1"
        else:
            with pytest.raises(StorePermissionError, match="immutable=true"):
                store.get("a")
        with pytest.raises(StorePermissionError, match=r"a\.db"):
            store.set("a", b"2")
        with pytest.raises(StorePermissionError, match=f"folder {locked_folder} cannot be written") as caught:
            SQLiteStore(str(locked_folder / "new.db")).set("a", b"1")
        assert "immutable" not in str(caught.value)
        with pytest.raises(PermissionError, match=str(locked_folder)):
            SQLiteStore(str(locked_folder / "deep" / "new.db")).set("a", b"1")
        reading = open_store(f"sqlite:///{path}?immutable=true")
        assert reading.get("a") == b"1"
        assert reading.list_dir("").keys == ("a",)
        assert not reading.can_write
        with pytest.raises(UnsupportedError, match="immutable"):
            reading.set("a", b"2")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no users on this system")
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_file_that_may_be_written_in_a_folder_that_may_not(locked_folder, journal):
    path = locked_folder / "a.db"
    program = "import sys; from daskzarr.stores.databases.sqlite import SQLiteStore as S; "
    program += f"S(sys.argv[1], journal={journal!r}).set('a', b'1')"
    subprocess.run([sys.executable, "-c", program, path], check=True)
    os.chmod(path, 0o666)
    os.chmod(locked_folder, 0o555)
    with as_someone_else(), pytest.raises(StorePermissionError, match=f"folder {locked_folder} cannot be written"):
        SQLiteStore(str(path), journal=journal).set("a", b"2")


def test_what_is_not_in_the_file_yet_is_not_passed_over(store):
    store.set("a", b"1")
    assert os.path.getsize(store.path + "-wal")
    with pytest.raises(StoreError, match=r"a\.db-wal"):
        SQLiteStore(store.path, immutable=True).get("a")


def test_an_interrupt_leaves_no_transaction_open(store):
    store.set("a", b"1")
    connection = sqlite_connection.connected(store._at)
    for request in (lambda: store.set("a", b"2"), lambda: store.get("a"), lambda: list(store.get_many(["a"]))):
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM zarr").fetchall()  # as one who is interrupted leaves it
        request()
        assert not connection.in_transaction
    with contextlib.closing(sqlite3.connect(store.path)) as other:
        assert other.execute("SELECT v FROM zarr").fetchall() == [(b"2",)]


def test_notes_lie_beside_the_file(store):
    assert store.sibling(".daskzarr") == LocalStore(store.path + ".daskzarr")
    assert store.synced().sibling(".daskzarr") == LocalStore(store.path + ".daskzarr", sync=True)


def test_synced_writes_wait_for_the_disk(store):
    store.set("a", b"1")
    careful = store.synced()
    careful.set("a", b"2")
    how = [sqlite_connection.connected(s._at).execute("PRAGMA synchronous").fetchone()[0] for s in (store, careful)]
    assert how == [1, 3]
    assert store.get("a") == b"2"


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
store = zarr.SQLiteStore(path)
if do == "write":
    group = zarr.group(store, overwrite=True)
    array = group.create_dataset("g/a", data=np.load(data), chunks=(4, 4), compressor=zarr.Zlib(3))
    array.attrs["units"] = "K"
else:
    np.save(data, zarr.open_group(store, mode="r")["g/a"][...])
store.close()
"""


@pytest.mark.skipif(not ZARR2.exists(), reason="zarr-python 2 is not here: ci/peers makes its environment")
def test_databases_of_zarr_python_2(tmp_path):
    path, data = str(tmp_path / "a.sqldb"), str(tmp_path / "d.npy")
    np.save(data, X)
    subprocess.run([ZARR2, "-c", THEIRS, "write", path, data], check=True)
    url = f"sqlite:///{path}"
    np.testing.assert_array_equal(from_zarr(url, "g/a").compute(scheduler="threads"), X)
    assert open_group(url)["g/a"].attrs == {"units": "K"}
    to_zarr(da.from_array(X * 3, chunks=(4, 4)), url, "g/a", region=(slice(None), slice(None)), mode="r+")
    subprocess.run([ZARR2, "-c", THEIRS, "read", path, data], check=True)
    np.testing.assert_array_equal(np.load(data), X * 3)
    to_zarr(da.from_array(X, chunks=(4, 4)), f"sqlite:///{tmp_path}/b.db", "g/a", zarr_format=2)
    subprocess.run([ZARR2, "-c", THEIRS, "read", str(tmp_path / "b.db"), data], check=True)
    np.testing.assert_array_equal(np.load(data), X)
