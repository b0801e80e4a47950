"""A Redis server as a store."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid

import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr import StoreError, StorePermissionError, UnsupportedError
from daskzarr.byte_range import ByteRange
from daskzarr.stores import Traffic, open_store
from daskzarr.stores.retries import is_transient
from daskzarr.testing import StoreContract

redis = pytest.importorskip("redis")

line = os.environ.get("DASKZARR_TEST_REDIS", "")
pytestmark = pytest.mark.skipif(not line, reason="needs a server: ci/services redis")
URL = line.partition(" ")[0]


@pytest.fixture
def client():
    """redis-py itself."""
    with redis.Redis.from_url(URL) as client:
        yield client


@pytest.fixture
def prefix(client):
    """A prefix that no other test uses."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield prefix
    for key in client.scan_iter(f"{prefix}*", count=1000):
        client.unlink(key)


@pytest.fixture
def store(prefix):
    return open_store(f"{URL}?prefix={prefix}")


class TestUnderAPrefix(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store

    def spoil(self, store, key):
        store._client.delete(store._raw(key))
        store._client.rpush(store._raw(key), "an entry")
        return True


class TestWholeDatabase(StoreContract):
    big = 2**20

    @pytest.fixture
    def store(self, client):
        store = open_store(URL.rpartition("/")[0] + "/63")
        assert store._client.dbsize() == 0, "database 63 of the server is for this test"
        yield store
        store._client.flushdb()


# What lies in the server


def test_keys_are_laid_out_as_zarr_python_2_did(client, prefix, store):
    store.set("a/.zarray", b"1")
    store.set("b", memoryview(b"22"))
    assert {key: client.get(key) for key in client.keys(f"{prefix}*")} == {
        f"{prefix}:a/.zarray".encode(): b"1",
        f"{prefix}:b".encode(): b"22",
    }


def test_an_array_that_zarr_python_2_wrote(client, prefix):
    document = {"shape": [3, 4], "chunks": [2, 4], "dtype": "<i4", "compressor": None, "filters": None}
    client.set(f"{prefix}:.zgroup", '{"zarr_format": 2}')
    client.set(f"{prefix}:x/.zarray", json.dumps(document | {"fill_value": 7, "order": "C", "zarr_format": 2}))
    client.set(f"{prefix}:x/.zattrs", '{"units": "K"}')
    cells = np.arange(12, dtype="<i4").reshape(3, 4)
    client.set(f"{prefix}:x/0.0", cells[:2].tobytes())
    url = f"{URL}?prefix={prefix}"
    found = daskzarr.from_zarr(url, "x").compute()
    np.testing.assert_array_equal(found, np.concatenate([cells[:2], np.full((1, 4), 7)]))
    group = daskzarr.open_group(url)
    assert (list(group), dict(group["x"].attrs)) == (["x"], {"units": "K"})


def test_two_prefixes_of_which_one_begins_as_the_other(client, prefix, store):
    other = open_store(f"{URL}?prefix={prefix}2")
    odd = open_store(URL, storage_options={"prefix": prefix + "/[a]*?:b\\c "})
    for i, each in enumerate((store, other, odd)):
        each.set("a/b", b"%d" % i)
        each.set("c", b"")
    for i, each in enumerate((odd, other, store)):
        assert (each.get("a/b"), each.list_dir("")) == (b"%d" % (2 - i), (("c",), ("a",)))
        assert sorted(each.survey("")) == [("a/b", 1), ("c", 0)]
        each.delete_below("a")
        assert (each.get("a/b"), each.get("c")) == (None, b"")
        each.delete_below("")
        assert list(each.survey("")) == []


def test_other_kinds_of_values_are_never_missing(client, prefix, store):
    client.rpush(f"{prefix}:list", "1")
    client.hset(f"{prefix}:d/hash", "a", "1")
    store.set("d/empty", b"")
    for key in ("list", "d/hash"):
        for request in (
            store.get,
            store.size,
            lambda key: store.append(key, b"1"),
            lambda key: list(store.get_many([key])),
        ):
            with pytest.raises(StoreError, match="something else than a string"):
                request(key)
        for byte_range in (ByteRange(0, 1), ByteRange(-1), ByteRange(3, 2)):
            with pytest.raises(StoreError, match="something else than a string"):
                store.get(key, byte_range)
        assert store.create(key, b"1") is False
    assert sorted(store.survey("")) == [("d/empty", 0), ("d/hash", None), ("list", None)]
    assert store.list_dir("d").keys == ("empty", "hash")
    store.set("list", b"1")
    assert store.get("list") == b"1"
    store.delete_below("d")
    assert client.keys(f"{prefix}*") == [f"{prefix}:list".encode()]


def test_keys_that_are_no_text(client, prefix, store):
    client.set(prefix.encode() + b":a/\xff\xfe", b"1")
    (name,) = store.list_dir("a").keys
    assert (store.get(f"a/{name}"), list(store.survey(""))) == (b"1", [(f"a/{name}", 1)])
    store.delete(f"a/{name}")
    assert store.list_dir("") == ((), ())


def test_many_keys_are_listed_page_by_page(client, prefix, store):
    pipeline = client.pipeline(transaction=False)
    for i in range(25_000):
        pipeline.set(f"{prefix}:g/a{i % 3}/c/{i}", b"x" * (i % 5))
    pipeline.execute()
    assert store.list_dir("g") == ((), ("a0", "a1", "a2"))
    assert len(store.list_dir("g/a1/c").keys) == 8333
    found = list(store.survey("g/a2"))
    assert len(found) == 8333
    assert dict(found) == {f"g/a2/c/{i}": i % 5 for i in range(2, 25_000, 3)}
    store.delete_below("g/a0")
    assert store.list_dir("g").prefixes == ("a1", "a2")
    store.delete_below("")
    assert client.keys(f"{prefix}*") == []


def test_parts_with_bounds_no_server_knows(store):
    store.set("a", b"0123456789")
    ranges = [
        ByteRange(2**63, 5),
        ByteRange(2**64 - 1),
        ByteRange(2, 2**64),
        ByteRange(-(2**70), 3),
        ByteRange(-(2**63)),
    ]
    assert store.get_ranges("a", ranges) == [b"", b"", b"23456789", b"012", b"0123456789"]
    assert store.get_ranges("a", []) == []
    assert store.get_ranges("b", [ByteRange(0, 0), ByteRange(2**63, 5)]) == [None, None]


# Writers that die


def test_half_a_command_changes_nothing(store):
    store.set("a", b"old")
    host, port = store.server.removeprefix("redis://").split(":")
    for key in ("a", "b"):
        raw = store._raw(key)
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1000000\r\n" % (len(raw), raw) + b"x" * 500_000)
            time.sleep(0.05)
    time.sleep(0.1)
    assert [store.get(key) for key in "ab"] == [b"old", None]


WRITER = """
import sys
from daskzarr.stores import open_store

store = open_store(sys.argv[1])
print("begun", flush=True)
turn = 0
while True:
    store.set("a/b", bytes([turn % 251]) * 20_000_000)
    turn += 1
"""


def test_a_writer_that_is_killed_leaves_a_whole_value(store):
    store.set("a/b", b"\xff" * 20_000_000)
    for pause in (0.0, 0.013, 0.031, 0.057):
        with subprocess.Popen([sys.executable, "-c", WRITER, store.url], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"begun\n"
            time.sleep(pause)
            writer.kill()
        value = store.get("a/b")
        assert value.count(value[:1]) == len(value) == 20_000_000
        assert store.list_dir("a") == (("b",), ())


# Servers of one's own

PASSWORD = "hunter2-S3cret"


class Server:
    """A Redis server that may be killed."""

    def __init__(self, folder, *options):
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
            *options,
        ]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server does not answer")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def url(self, login="", query="?prefix=a"):
        return f"redis://{login}127.0.0.1:{self.port}/0{query}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a password, and users who may do less."""
    server = Server(tmp_path_factory.mktemp("redis"), "--requirepass", PASSWORD)
    with redis.Redis(port=server.port, password=PASSWORD) as client:
        rules = ["reset", "on", f">{PASSWORD}"]
        here = [*rules, "~a:*", "~a.daskzarr:*"]
        client.execute_command("ACL", "SETUSER", "reader", *here, "+@read", "+multi", "+exec", "+select", "+client")
        client.execute_command("ACL", "SETUSER", "plain", *here, "+@all", "-@scripting", "-@dangerous")
        client.execute_command("ACL", "SETUSER", "elsewhere", *rules, "~b:*", "+@all")
    yield server
    server.stop()


class TestWithAPassword:
    @pytest.fixture
    def store(self, guarded):
        store = open_store(guarded.url(f"plain:{PASSWORD}@"))
        yield store
        store.delete_below("")

    @pytest.mark.parametrize("login", ["", f":{PASSWORD}1@", f"nobody:{PASSWORD}@", f"elsewhere:{PASSWORD}@"])
    def test_who_may_not_come_in_is_told_so(self, guarded, store, login):
        store.set("x", b"1")
        stranger = open_store(guarded.url(login))
        requests = [
            lambda: stranger.get("x"),
            lambda: stranger.get("y"),
            lambda: stranger.get("x", ByteRange(0, 1)),
            lambda: list(stranger.get_many(["y", "x"])),
            lambda: stranger.size("x"),
            lambda: stranger.set("x", b"2"),
            lambda: stranger.create("y", b"2"),
            lambda: stranger.append("x", b"2"),
            lambda: stranger.delete("x"),
        ]
        for request in requests:
            with pytest.raises(StorePermissionError, match="Redis refused access") as caught:
                request()
            check_hidden(caught.value)
            assert not is_transient(caught.value)
        assert store.get("x") == b"1"

    def test_who_may_only_read_can_read(self, guarded, store):
        store.set("x/y", b"123")
        reader = open_store(guarded.url("reader@"), storage_options={"password": PASSWORD})
        assert (reader.get("x/y"), reader.get("x/y", ByteRange(-2)), reader.get("z")) == (b"123", b"23", None)
        assert (list(reader.get_many(["x/y", "z"])), reader.list_dir("x").keys) == ([b"123", None], ("y",))
        for request in (lambda: reader.set("x", b""), lambda: reader.delete("x/y"), lambda: reader.delete_below("")):
            with pytest.raises(StorePermissionError):
                request()

    def test_a_listing_without_scripts(self, store):
        for key in ("a/b/c", "a/b/d", "a/e", "f"):
            store.set(key, b"1")
        assert store._names(b"a:") is None
        assert store.list_dir("") == (("f",), ("a",))
        assert store.list_dir("a") == (("e",), ("b",))
        assert store.list_dir("a/b") == (("c", "d"), ())
        assert store.list_dir("x") == ((), ())

    def test_a_password_is_in_nothing_that_is_shown(self, guarded, store):
        source = da.from_array(np.arange(24).reshape(4, 6), chunks=(2, 3))
        url = guarded.url(f"plain:{PASSWORD}@")
        written = daskzarr.to_zarr(source, url, "x", compute=False)
        daskzarr.to_zarr(source, url, "y")
        read = daskzarr.from_zarr(url, "y")
        for graph in (written.__dask_graph__(), read.__dask_graph__()):
            assert PASSWORD not in " ".join(map(str, graph))
        assert PASSWORD not in f"{read!r} {read.name} {read.dask!r} {written!r} {store!r} {store.url}"
        written.compute()
        np.testing.assert_array_equal(daskzarr.from_zarr(url, "x").compute(), source.compute())

    def test_what_needs_tls_and_does_not_get_it(self, guarded):
        store = open_store(f"rediss://:{PASSWORD}@127.0.0.1:{guarded.port}?socket_timeout=1")
        with pytest.raises((ConnectionError, TimeoutError, StoreError)) as caught:
            store.get("a")
        check_hidden(caught.value)


def check_hidden(error):
    """An error, and what it came from, hold no password."""
    while error is not None:
        assert PASSWORD not in f"{error} {error!r} {error.args} {getattr(error, '__dict__', '')}"
        error = error.__cause__ or error.__context__


@pytest.fixture
def own(tmp_path):
    """A server that keeps what it acknowledged."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "60mb")
    yield server
    server.stop()


def test_what_was_acknowledged_survives_the_server(own):
    store = open_store(own.url())
    done, failed = [], []

    def write():
        for i in range(100_000):
            try:
                store.set(f"k/{i}", b"%d" % i * 50)
                done.append(i)
            except Exception as error:
                failed.append(error)
                return

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.3)
    own.stop()
    writer.join()
    assert isinstance(failed[0], ConnectionError)
    own.start()
    assert len(done) > 20
    assert list(store.get_many([f"k/{i}" for i in done])) == [b"%d" % i * 50 for i in done]
    assert store.get("k/0", ByteRange(0, 1)) == b"0"  # connections that the server's death broke are made anew


def test_a_full_server_is_an_error_that_lasts(own):
    store = open_store(own.url())
    value = b"x" * 10_000_000

    def fill():
        for i in range(10):
            store.set(f"{i}", value)

    with pytest.raises(StoreError, match="maxmemory") as caught:
        fill()
    assert not is_transient(caught.value)
    assert store.get("0") == value
    store.delete_below("")
    store.set("a", b"1")


def test_a_replica_is_named(own):
    store = open_store(own.url())
    store.set("a", b"1")
    with redis.Redis(port=own.port) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreError, match="the server is a replica") as caught:
        store.set("a", b"2")
    assert not is_transient(caught.value)
    assert store.get("a") == b"1"


def test_values_asked_for_and_not_taken_are_bounded(own):
    store = open_store(own.url())
    for i in range(40):
        store.set(f"{i}", b"%d" % i * 100_000)
    with redis.Redis(port=own.port) as client:

        def asked():
            return client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]

        before = asked()
        values = store.get_many([f"{i}" for i in range(40)], Traffic(requests=3))
        assert next(values) == b"0" * 100_000
        assert asked() - before == 6
        assert list(values) == [b"%d" % i * 100_000 for i in range(1, 40)]
        assert asked() - before == 40
        assert client.info("clients")["connected_clients"] < 8


def test_a_value_that_the_server_does_not_take(own):
    store = open_store(own.url())
    big = np.empty(512 * 2**20 + 1, np.uint8).data  # memory that is never touched
    with pytest.raises(UnsupportedError, match="more than the 536,870,912 that this server takes"):
        store.set("a", big)
    store.set("a", b"1" * 3_000_000)
    with redis.Redis(port=own.port) as client:
        client.config_set("proto-max-bulk-len", 2_000_000)
    for request in (store.set, store.create):
        with pytest.raises(UnsupportedError, match="3,000,000 bytes is more than the 2,000,000 that this server takes"):
            request("b", b"2" * 3_000_000)
    assert (store.get("a"), store.get("b")) == (b"1" * 3_000_000, None)
