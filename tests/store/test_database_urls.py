"""URLs and options of stores on Redis and MongoDB servers, none of which is asked anything here that is true."""

import contextlib
import pickle
import socket
import socketserver
import sys
import threading

import dask
import dask.array as da
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr import MetadataError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.byte_range import ByteRange
from daskzarr.stores import CreateStore, SiblingStore, SyncingStore, beside, durable, locate, open_store, waits
from daskzarr.stores.databases import mongodb, mongodb_errors, mongodb_ids
from daskzarr.stores.retries import is_transient

pytest.importorskip("redis")
errors = pytest.importorskip("pymongo.errors")
bson = pytest.importorskip("bson")

SECRET = "hunter2-S3cret"


# What is opened


@pytest.mark.parametrize(
    ("url", "options", "canonical"),
    [
        ("redis://", {}, "redis://localhost:6379/0"),
        ("redis://db.example.org", {}, "redis://db.example.org:6379/0"),
        ("redis://DB.example.org:7000/", {}, "redis://db.example.org:7000/0"),
        ("redis://127.0.0.1:7000/3?prefix=a/b", {}, "redis://127.0.0.1:7000/3?prefix=a/b"),
        ("redis://127.0.0.1/3", {"prefix": "a b:[c]?&="}, "redis://127.0.0.1:6379/3?prefix=a%20b:%5Bc%5D%3F%26%3D"),
        ("redis://127.0.0.1?db=3&prefix=%C3%BC", {}, "redis://127.0.0.1:6379/3?prefix=%C3%BC"),
        ("redis://[::1]:7000/1", {}, "redis://[::1]:7000/1"),
        ("redis://[::1]", {}, "redis://[::1]:6379/0"),
        ("redis://", {"host": "::1", "port": 7000, "db": 4}, "redis://[::1]:7000/4"),
        ("redis://h:1/2", {"host": "h", "port": "1", "db": 2, "password": None}, "redis://h:1/2"),
        (f"redis://me:{SECRET}@h/0", {}, "redis://h:6379/0"),
        (f"redis://:{SECRET}@h", {}, "redis://h:6379/0"),
        (f"redis://me@h?password={SECRET}&prefix=p", {}, "redis://h:6379/0?prefix=p"),
        ("rediss://h?ssl_cert_reqs=none", {"ssl_password": SECRET}, "rediss://h:6379/0"),
        ("redis://h", {"ssl": True, "ssl_ca_certs": "/ca.pem"}, "rediss://h:6379/0"),
        ("redis+unix:///run/redis/a.sock", {}, "redis+unix:///run/redis/a.sock?db=0"),
        (f"redis+unix://me:{SECRET}@/a.sock?db=2&prefix=b", {}, "redis+unix:///a.sock?db=2&prefix=b"),
        ("mongodb://h/lab", {}, "mongodb://h:27017/lab?collection=zarr"),
        ("mongodb://H1,h2:7000/lab?collection=a/b", {}, "mongodb://h1:27017,h2:7000/lab?collection=a/b"),
        ("mongodb://[::1]/lab", {"collection": "\u00fc"}, "mongodb://[::1]:27017/lab?collection=%C3%BC"),
        (f"mongodb://me:{SECRET}@h/lab?authSource=admin", {}, "mongodb://h:27017/lab?collection=zarr"),
        (
            "mongodb://h",
            {"database": "lab", "username": "me", "password": SECRET},
            "mongodb://h:27017/lab?collection=zarr",
        ),
        ("mongodb://h/lab?replicaSet=rs&w=majority&journal=true&tls=true", {}, "mongodb://h:27017/lab?collection=zarr"),
        (
            "mongodb://h/lab",
            {"directConnection": True, "w": 2, "appName": "x"},
            "mongodb://h:27017/lab?collection=zarr",
        ),
        ("mongodb://h/lab?connecttimeoutms=5", {}, "mongodb://h:27017/lab?collection=zarr"),
    ],
)
def test_url(url, options, canonical):
    store = open_store(url, storage_options=options)
    assert store.url == canonical
    assert SECRET not in repr(store) + str(store) + store.url
    assert "me" not in repr(store)
    assert pickle.loads(pickle.dumps(store)) == store == open_store(url, storage_options=options)
    assert hash(open_store(url, storage_options=options)) == hash(store)
    assert locate(url, "x/y", options).path == "x/y"
    assert (store.shared, isinstance(store, CreateStore), isinstance(store, SiblingStore)) == (True, True, True)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h/name", {}),
        ("redis://h/0/1", {}),
        ("redis://h/-1", {}),
        ("redis://h:port", {}),
        ("redis://h:1:2", {}),
        ("redis://a b", {}),
        ("redis://h1,h2/0", {"port": "x"}),
        ("redis://h?db=x", {}),
        ("redis://h?color=red", {}),
        ("redis://h", {"decode_responses": True}),
        ("redis://h", {"retry_on_timeout": True}),
        ("redis://h", {"connection_pool": object()}),
        ("redis://h", {"password": 12345}),
        ("redis://h", {"prefix": b"a"}),
        ("redis://h", {"port": -1}),
        ("redis://h", {"port": True}),
        ("redis://h", {"socket_timeout": 0}),
        ("redis://h", {"socket_timeout": "soon"}),
        ("redis://h/1", {"db": 2}),
        ("redis://h/1?db=2", {}),
        ("redis://h", {"host": "other"}),
        (f"redis://me:{SECRET}@h", {"password": SECRET + "1"}),
        ("redis://h", {"ssl_ca_certs": "/ca.pem"}),
        ("rediss://h", {"ssl": False}),
        ("redis+unix://host/a.sock", {}),
        ("redis+unix://", {}),
        ("redis+unix:///a.sock", {"host": "h"}),
        (f"redis://:{SECRET}/x@h:1/0", {}),
        (f"redis://:{SECRET}?x@h:1/0", {}),
        (f"redis://:{SECRET}#x@h:1/0", {}),
        (f"redis://:x@{SECRET}@h:1/0", {}),
        (f"redis://:{SECRET}/0", {}),
        (f"redis://h/{SECRET}", {}),
        (f"redis://h?{SECRET}%20=1", {}),
        ("mongodb://h", {}),
        ("mongodb://h/", {}),
        ("mongodb:///lab", {}),
        ("mongodb://h,/lab", {}),
        ("mongodb://h:x/lab", {}),
        ("mongodb://h/a.b", {}),
        ("mongodb://h/a b", {}),
        ("mongodb://h/a/b", {}),
        ("mongodb://h/lab", {"database": "other"}),
        ("mongodb://h/lab?collection=", {}),
        ("mongodb://h/lab?collection=$a", {}),
        ("mongodb://h/lab?collection=system.a", {}),
        ("mongodb://h/lab?collection=a..b", {}),
        ("mongodb://h/lab?color=red", {}),
        ("mongodb://h/lab", {"document_class": dict}),
        ("mongodb://h/lab", {"host": "h"}),
        ("mongodb://h/lab?w=0", {}),
        ("mongodb://h/lab", {"w": -1}),
        ("mongodb://h/lab", {"w": True}),
        ("mongodb://h/lab?readPreference=secondary", {}),
        ("mongodb://h/lab?tls=maybe", {}),
        ("mongodb://h/lab?replicaSet=a&replicaSet=b", {}),
        ("mongodb://h/lab?tlsCAFile=/there/is/no/such/file", {}),
        ("mongodb://h1,h2/lab?directConnection=true", {}),
        (f"mongodb://me:{SECRET}/x@h/lab", {}),
        (f"mongodb://me:{SECRET}?x@h/lab", {}),
        (f"mongodb://me:x@{SECRET}@h/lab", {}),
        (f"mongodb://me:{SECRET}/lab", {}),
        (f"mongodb://h/lab?tlsCertificateKeyFilePassword={SECRET}&authMechanism={SECRET}", {}),
        ("mongodb://h/lab?authMechanism=SCRAM-SHA-256", {"password": SECRET}),
    ],
)
def test_what_is_no_url_or_option(url, options):
    with pytest.raises(MetadataError) as caught:
        open_store(url, storage_options=options)
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert SECRET not in shown
    assert "hunter2" not in shown


def test_an_unknown_option_is_named_with_those_there_are():
    with pytest.raises(MetadataError, match=r"'color'.*client_name.*prefix.*socket_timeout") as caught:
        open_store("redis://h?color=red")
    assert caught.value.field == "url"
    with pytest.raises(MetadataError, match=r"'color'.*collection.*replicaSet") as caught:
        open_store("mongodb://h/lab", storage_options={"color": 1})
    assert caught.value.field == "storage_options"


@pytest.mark.parametrize(("name", "url"), [("redis", "redis://h"), ("pymongo", "mongodb://h/lab")])
def test_a_package_that_is_missing_is_named(monkeypatch, name, url):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=rf"{name}.*pip install 'daskzarr\[{url.partition(':')[0]}\]'"):
        open_store(url)


# Stores as values


def test_stores_are_equal_if_place_and_access_are():
    urls = (
        "redis://h?prefix=a",
        "redis://h",
        "redis://h?prefix=b",
        "redis://h/1?prefix=a",
        f"redis://:{SECRET}@h?prefix=a",
    )
    urls += ("mongodb://h/a", "mongodb://h/b", "mongodb://h/a?collection=b", f"mongodb://me:{SECRET}@h/a")
    stores = [open_store(url) for url in urls]
    assert len(set(stores)) == len(stores)
    assert stores == [open_store(url) for url in urls]
    assert open_store("redis://h:6379/0") == open_store("redis://", storage_options={"host": "H", "db": "0"})
    assert open_store("mongodb://h/a?tls=true") == open_store("mongodb://h:27017/a", storage_options={"tls": True})


def test_siblings():
    assert beside(locate("redis://h?prefix=a", "x")) == locate("redis://h?prefix=a.daskzarr", "x")
    assert open_store("redis://h").sibling(".daskzarr") is None
    assert beside(locate("redis://h", "x")) is None
    assert beside(locate("mongodb://h/lab?collection=a")) == locate("mongodb://h/lab?collection=a.daskzarr")
    near = open_store(f"redis://:{SECRET}@h?prefix=a").sibling(".b")
    assert near == open_store(f"redis://:{SECRET}@h?prefix=a.b")


def test_threads_pay_where_the_server_is_elsewhere():
    here = ("redis://localhost", "redis://127.0.0.2:1", "redis://[::1]:1", "redis+unix:///a.sock")
    assert [waits(open_store(url)) for url in here] == [False] * 4
    assert waits(open_store("redis://db.example.org"))
    assert waits(open_store("rediss://10.0.0.1"))
    assert waits(open_store("mongodb://localhost/lab"))


def test_durability():
    mongodb = open_store("mongodb://h/lab")
    assert durable(mongodb, "close") == mongodb
    careful = durable(mongodb, "fsync")
    assert (careful.sync, careful.url) == (True, mongodb.url)
    assert isinstance(mongodb, SyncingStore)
    with pytest.raises(UnsupportedError, match="on disk"):
        durable(open_store("redis://h"), "fsync")


def test_no_password_in_a_token():
    for url in (f"redis://me:{SECRET}@127.0.0.1:1/0?prefix=a", f"mongodb://me:{SECRET}@127.0.0.1:1/lab"):
        store = open_store(url)
        assert SECRET not in dask.base.tokenize(store)
        other = open_store(url.replace(SECRET, "another"))
        assert store.url == other.url
        assert (store == other, getattr(store, "identity", "")) == (False, "")


# A server that answers with errors, or not at all


class Answering(socketserver.ThreadingTCPServer):
    """Speaks Redis: to every command, but those of a new connection, it gives one answer, or closes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer):
        self.answer, self.heard = answer, []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            command = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
            name = command[0].upper()
            if name == b"CLIENT" or (
                name in (b"AUTH", b"SELECT") and not self.server.answer.startswith(b"-ERR unknown")
            ):
                self.wfile.write(b"+OK\r\n")
                continue
            self.server.heard.append(command)
            if not self.server.answer:
                return
            self.wfile.write(self.server.answer)


@contextlib.contextmanager
def answering(answer):
    """The address of a server that gives this answer, and what it heard."""
    with Answering(answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", server.heard
        server.shutdown()


REQUESTS = {
    "get": lambda store: store.get("a"),
    "part": lambda store: store.get("a", ByteRange(0, 1)),
    "many": lambda store: list(store.get_many(["a", "b", "c"])),
    "size": lambda store: store.size("a"),
    "set": lambda store: store.set("a", b"1"),
    "create": lambda store: store.create("a", b"1"),
    "append": lambda store: store.append("a", b"1"),
    "delete": lambda store: store.delete("a"),
    "delete below": lambda store: store.delete_below("a"),
    "list": lambda store: store.list_dir("a"),
    "survey": lambda store: list(store.survey("a")),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=list(REQUESTS))
@pytest.mark.parametrize(
    ("answer", "kind", "passes"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", ConnectionError, True),
        (b"-BUSY Redis is busy running a script\r\n", ConnectionError, True),
        (b"-MASTERDOWN Link with MASTER is down\r\n", ConnectionError, True),
        (b"-CLUSTERDOWN The cluster is down\r\n", ConnectionError, True),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", ConnectionError, True),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", ConnectionError, True),
        (b"-ERR max number of clients reached\r\n", ConnectionError, True),
        (b"", ConnectionError, True),
        (b"-NOAUTH Authentication required.\r\n", StorePermissionError, False),
        (b"-WRONGPASS invalid username-password pair\r\n", StorePermissionError, False),
        (b"-NOPERM this user has no permissions to run the command\r\n", StorePermissionError, False),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", StoreError, False),
        (b"-READONLY You can't write against a read only replica.\r\n", StoreError, False),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", StoreError, False),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", StoreError, False),
        (b"-ERR something else\r\n", StoreError, False),
        (f"-ERR unknown command 'AUTH', with args beginning with: '{SECRET}'\r\n".encode(), StoreError, False),
    ],
    ids=lambda value: value.split(b" ")[0].decode() if isinstance(value, bytes) else "",
)
def test_errors_of_redis(request_, answer, kind, passes):
    """None of them is a key that is missing; each says whether it may pass; none shows a password."""
    with answering(answer) as (address, _):
        store = open_store(f"redis://:{SECRET}@{address}?prefix=a")
        with pytest.raises(kind) as caught:
            request_(store)
        error = caught.value
        assert is_transient(error) is passes
        assert isinstance(error, PermissionError) == (kind is StorePermissionError)
        pickle.loads(pickle.dumps(error))
        while error is not None:
            assert SECRET not in f"{error} {error!r} {error.args} {error.__dict__}"
            error = error.__cause__ or error.__context__


def test_redis_is_asked_once():
    """Trying again is not the client's: it would take its own first attempt for another process's."""
    with answering(b"") as (address, heard):
        store = open_store(f"redis://{address}?prefix=a")
        for request in (lambda: store.create("a", b"1"), lambda: store.append("a", b"1"), lambda: store.get("b")):
            with pytest.raises(ConnectionError):
                request()
    assert heard == [[b"SET", b"a:a", b"1", b"NX"], [b"APPEND", b"a:a", b"1"], [b"GET", b"a:b"]]


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@127.0.0.1:{{}}?prefix=a",
        f"mongodb://me:{SECRET}@127.0.0.1:{{}}/lab?serverSelectionTimeoutMS=200&connectTimeoutMS=200",
    ],
)
def test_nobody_there(url):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and not listening
        store = open_store(url.format(free.getsockname()[1]))
        for request in REQUESTS.values():
            if hasattr(store, "append") or request is not REQUESTS["append"]:
                with pytest.raises((ConnectionError, TimeoutError)) as caught:
                    request(store)
                assert is_transient(caught.value)
                assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
                if url.startswith("mongodb"):
                    break  # each waits for a server to come


def test_an_error_reaches_the_user_with_its_kind():
    with answering(b"-NOAUTH Authentication required.\r\n") as (address, _):
        url = f"redis://me:{SECRET}@{address}?prefix=a"
        with pytest.raises(StorePermissionError, match="Redis refused access") as caught:
            daskzarr.to_zarr(da.arange(4, chunks=2), url)
        assert SECRET not in str(caught.value)
        assert caught.value.url.startswith(f"redis://{address}/0?prefix=a")
        with pytest.raises(StorePermissionError):
            daskzarr.from_zarr(url)


@pytest.mark.skipif(sys.maxsize < 2**32, reason="no memory of that size")
def test_a_value_that_redis_cannot_have_is_not_sent():
    import numpy as np

    big = np.empty(512 * 2**20 + 1, np.uint8).data  # memory that is never touched
    with answering(b"-ERR no CONFIG here\r\n") as (address, heard):
        store = open_store(f"redis://{address}")
        for request in (store.set, store.create, store.append):
            with pytest.raises(UnsupportedError, match=r"536,870,913 bytes.*smaller chunks or shards"):
                request("a", big)
    assert {command[0] for command in heard} == {b"CONFIG"}


# Errors of pymongo


def answered(code, labels=(), message="no", kind=None):
    """An error as pymongo makes it of a server's answer."""
    kind = kind or errors.OperationFailure
    return kind(f"{message}, full error: {{}}", code, {"ok": 0, "code": code, "errorLabels": list(labels)})


LOGIN_FAILED = "Authentication failed., full error: {'ok': 0.0, 'code': 18, 'codeName': 'AuthenticationFailed'}"


@pytest.mark.parametrize(
    ("error", "kind", "passes"),
    [
        (errors.AutoReconnect("connection closed"), ConnectionError, True),
        (errors.NetworkTimeout("timed out"), TimeoutError, True),
        (errors.ServerSelectionTimeoutError("No servers found yet"), TimeoutError, True),
        (errors.WaitQueueTimeoutError("no connection free"), TimeoutError, True),
        (errors.NotPrimaryError("not primary"), ConnectionError, True),
        (errors.ConnectionFailure("no"), ConnectionError, True),
        (answered(50, kind=errors.ExecutionTimeout), TimeoutError, True),
        (answered(64, kind=errors.WTimeoutError), TimeoutError, True),
        (answered(91), ConnectionError, True),
        (answered(11602), ConnectionError, True),
        (answered(43, kind=errors.CursorNotFound), ConnectionError, True),
        (answered(12345, ["RetryableWriteError"]), ConnectionError, True),
        (answered(13), StorePermissionError, False),
        (answered(18), StorePermissionError, False),
        (answered(8000), StorePermissionError, False),
        (errors.ServerSelectionTimeoutError(LOGIN_FAILED), StorePermissionError, False),
        (errors.AutoReconnect("SSL handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED]"), StoreError, False),
        (answered(14031), StoreError, False),
        (answered(408), StoreError, False),
        (errors.DocumentTooLarge("BSON document too large"), StoreError, False),
        (errors.BulkWriteError({"writeErrors": [{"code": 1, "op": {"value": b"x" * 100_000}}]}), StoreError, False),
        (errors.ConfigurationError(f"no such option {SECRET}"), StoreError, False),
        (bson.errors.InvalidBSON("no"), StoreError, False),
        (KeyError("a"), KeyError, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_mongodb(error, kind, passes):
    store = open_store(f"mongodb://me:{SECRET}@h/lab")
    with pytest.raises(kind) as caught, mongodb_errors.told(store):
        raise error
    told = caught.value
    assert is_transient(told) is passes
    assert isinstance(told, PermissionError) == (kind is StorePermissionError)
    assert len(pickle.dumps(told)) < 5000
    while told is not None:
        assert SECRET not in f"{told} {told!r} {told.__dict__}"
        assert len(str(told)) < 1000
        told = told.__cause__ or told.__context__


# Going through the ids of a collection


class Ids:
    """A collection of nothing but ids, that counts requests."""

    def __init__(self, names):
        self.names, self.requests, self.sent = sorted(names), 0, 0

    def find(self, query, fields):
        span = query["_id"]
        self.found = [n for n in self.names if span["$gte"] <= n and ("$lt" not in span or n < span["$lt"])]
        return self

    def sort(self, field, direction):
        return self

    def limit(self, most):
        self.requests += 1
        self.sent += len(self.found[:most])
        return [{"_id": name} for name in self.found[:most]]


LETTERS = st.sampled_from("ab/.0\0\uffff\U0010ffff")
NAMES = st.lists(st.lists(LETTERS, max_size=6).map("".join), max_size=40)


@settings(deadline=None)
@given(NAMES, st.sampled_from(["", "a", "a/b", "b/"]))
def test_every_key_below_is_come_by(names, prefix):
    lead = prefix.rstrip("/") + "/" if prefix else ""
    found = list(mongodb_ids.ids(Ids(set(names)), mongodb_ids.below(prefix)))
    assert found == sorted({name for name in names if name.startswith(lead)})


@settings(deadline=None)
@given(NAMES, st.integers(1, 5), st.sampled_from(["", "a", "a/b"]))
def test_each_name_below_is_come_by_once_whatever_is_leapt_over(names, few, prefix):
    names = {name for name in names if "\0" not in name}
    lead = prefix + "/" if prefix else ""
    below = {name[len(lead) :].partition("/")[:2] for name in names if name.startswith(lead)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mongodb_ids, "_FEW", few)
        patch.setattr(mongodb, "_collections", Fixed(mongodb._Collections(Ids(names), None)))
        listing = open_store("mongodb://h/lab").list_dir(prefix)
    assert set(listing.keys) == {name for name, slash in below if name and not slash}
    assert set(listing.prefixes) == {name for name, slash in below if name and slash}
    assert len(listing.keys) == len(set(listing.keys))


class Fixed:
    """Gives one value for every key."""

    def __init__(self, value):
        self.value = value

    def get(self, key, make):
        return self.value


def test_requests_of_a_listing(monkeypatch):
    folders = Ids(f"g/{a:02}/c/{i}" for a in range(20) for i in range(1000))
    flat = Ids(f"g/{i}" for i in range(20_000))
    for ids, requests, sent in ((folders, 20, 20 * 64), (flat, 10, 20_000)):
        monkeypatch.setattr(mongodb, "_collections", Fixed(mongodb._Collections(ids, None)))
        assert sum(map(len, open_store("mongodb://h/lab").list_dir("g"))) == len(ids.names) // (
            1000 if ids is folders else 1
        )
        assert ids.requests <= requests + 2
        assert ids.sent <= sent
