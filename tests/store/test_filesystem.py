"""Stores on fsspec: requests under way, missing told from failed, caches, references, forks."""

import asyncio
import base64
import gzip
import io
import json
import multiprocessing
import os
import pickle
import socket
import struct
import tarfile
import threading
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.dirfs import DirFileSystem

from daskzarr import StoreError, UnsupportedError
from daskzarr.byte_range import ByteRange
from daskzarr.errors import StorePermissionError
from daskzarr.stores import (
    FilesystemStore,
    LocalStore,
    Traffic,
    open_store,
    waits,
)
from daskzarr.stores.retries import is_transient
from daskzarr.stores.transient import wait_told
from daskzarr.testing import StoreContract, WebServer, distinct_values

VALUE = distinct_values((100,), "uint8", 1).tobytes()
RANGES = [ByteRange(0, 5), ByteRange(31, 7), ByteRange(60), ByteRange(-20), ByteRange(-30, 4), ByteRange(95, 100)]
BEYOND = [ByteRange(100, 3), ByteRange(300), ByteRange(5, 0), ByteRange(-500), ByteRange(2**62, 2**62)]


def reads(store, key="k"):
    """Every way to read a value."""
    return {
        "get": lambda: store.get(key),
        "a part": lambda: store.get(key, ByteRange(2, 3)),
        "the end": lambda: store.get(key, ByteRange(-3)),
        "many": lambda: list(store.get_many(["other", key])),
        "one of many": lambda: list(store.get_many([key])),
        "parts": lambda: store.get_ranges(key, [ByteRange(2, 3), ByteRange(-3)]),
        "no bytes": lambda: store.get_ranges(key, [ByteRange(2, 0)]),
        "size": lambda: store.size(key),
    }


WAYS = list(reads(None))


# A server's answers


class RawServer:
    """Sends the same bytes to whoever asks, and cuts the line."""

    def __init__(self, answer, reset=False):
        self.answer, self.reset = answer, reset

    def __enter__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.listening.close()

    def serve(self):
        while True:
            try:
                line, _ = self.listening.accept()
            except OSError:
                return
            with line:
                line.recv(65536)
                line.sendall(self.answer)
                time.sleep(0.05)
                if self.reset:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [404, 410])
def test_only_not_found_and_gone_are_missing(status, way):
    with WebServer({"other": b"1", "k": VALUE}, {"k": status}) as server:
        found = reads(open_store(server.url))[way]()
        assert found == ([b"1", None] if way == "many" else [None] * len(found) if isinstance(found, list) else None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 405, 407, 408, 409, 412, 418, 429, 451, 500, 501, 502, 503, 504]
)
def test_every_other_answer_is_an_error(status, way):
    with WebServer({"other": b"1", "k": VALUE}, {"k": status}) as server:
        with pytest.raises(StoreError, match=str(status)) as caught:
            reads(open_store(server.url))[way]()
        assert isinstance(caught.value, StorePermissionError) == (status in (401, 403, 407))
        assert is_transient(caught.value) == (status in (408, 429, 500, 502, 503, 504))
        assert caught.value.url == server.url


@pytest.mark.parametrize("status", [201, 204, 205, 300, 304])
def test_an_answer_that_is_no_value_is_an_error(status):
    answer = b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status
    with RawServer(answer) as server, pytest.raises(StoreError, match=str(status)):
        open_store(server.url).get("k")


def test_how_long_a_server_says_to_wait_is_known():
    class Busy(WebServer):
        def answer(self, path, wanted):
            return 503, b"", {"Retry-After": "7"}

    with Busy({}) as server, pytest.raises(StoreError) as caught:
        open_store(server.url).get("k")
    assert wait_told(caught.value) == 7


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_not_there_is_an_error_that_passes(way):
    with WebServer({}) as server:
        store = open_store(server.url)
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as caught:
        reads(store)[way]()
    assert is_transient(caught.value)


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
PARTIAL = b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes %s\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + VALUE[:32] + b"\r\n"
BROKEN = {
    "nothing": b"",
    "half the headers": HEADERS[:20],
    "headers alone": HEADERS,
    "half the body": HEADERS + VALUE[:50],
    "all but a byte": HEADERS + VALUE[:99],
    "no last chunk": CHUNKED,
    "half a part": PARTIAL % (3, b"2-4/100") + VALUE[2:4],
    "a part that is shorter than it says": PARTIAL % (2, b"2-4/100") + VALUE[2:4],
}


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_breaks_off_is_an_error_that_passes(name, reset):
    with RawServer(BROKEN[name], reset) as server:
        for way in ("get", "a part", "one of many", "parts"):
            with pytest.raises(Exception, match=r"(?s).*") as caught:
                reads(open_store(server.url))[way]()
            assert is_transient(caught.value), caught.value


@pytest.mark.parametrize(
    ("text", "body", "wanted"),
    [
        (b"0-4/100", VALUE[:5], ByteRange(2, 3)),  # more than was asked for
        (b"0-99/100", VALUE, ByteRange(2, 3)),
        (b"2-4/*", VALUE[2:5], ByteRange(2, 3)),  # the size is not told
        (b"90-99/100", VALUE[90:], ByteRange(95, 100)),
        (b"90-99/100", VALUE[90:], ByteRange(-5)),
    ],
)
def test_another_part_than_was_asked_for_is_cut(text, body, wanted):
    with RawServer(PARTIAL % (len(body), text) + body) as server:
        assert open_store(server.url).get("k", wanted) == wanted.of(VALUE)


@pytest.mark.parametrize(
    "answer",
    [
        PARTIAL % (3, b"50-52/100") + VALUE[50:53],  # a part that lies elsewhere
        PARTIAL % (2, b"2-3/100") + VALUE[2:4],  # less than there is
        PARTIAL % (2, b"2-3/*") + VALUE[2:4],
        PARTIAL.replace(b"Content-Range: bytes %s\r\n", b"") % 3 + VALUE[2:5],
        PARTIAL % (3, b"nonsense") + VALUE[2:5],
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */100\r\n\r\n",
    ],
)
def test_a_part_that_cannot_be_the_one_is_an_error(answer):
    with RawServer(answer) as server, pytest.raises((StoreError, ConnectionError)):
        open_store(server.url).get("k", ByteRange(2, 3))


def test_what_a_server_compresses_on_its_way_is_the_value():
    class Compressing(WebServer):
        def answer(self, path, wanted):
            status, body, headers = super().answer(path, wanted)
            if status == 206:  # a part of the compressed value, as some servers send
                return 206, gzip.compress(self.values[path])[:10], headers | {"Content-Encoding": "gzip"}
            return status, gzip.compress(body), headers | {"Content-Encoding": "gzip"}

    with Compressing({"k": VALUE}) as server:
        store = open_store(server.url)
        assert store.get("k") == VALUE
        assert [store.get("k", wanted) for wanted in RANGES] == [wanted.of(VALUE) for wanted in RANGES]


@pytest.mark.parametrize("length", [0, 1, 5, 12, 40])
@pytest.mark.parametrize("ranges", [True, False])
def test_short_values_have_the_parts_they_have(length, ranges):
    with WebServer({"k": VALUE[:length]}, ranges=ranges) as server:
        store = open_store(server.url)
        wanted = RANGES + BEYOND + [ByteRange(10, 10), ByteRange(2, 10), ByteRange(40, 5), ByteRange(39, 1)]
        expected = [each.of(VALUE[:length]) for each in wanted]
        assert [store.get("k", each) for each in wanted] == expected
        assert store.get_ranges("k", wanted) == expected


class Redirecting(WebServer):
    """Sends on from some paths."""

    def __init__(self, values, to):
        super().__init__(values)
        self.to = to

    def answer(self, path, wanted):
        if path in self.to:
            return 301, b"", {"Location": self.to[path]}
        return super().answer(path, wanted)


def test_a_folder_of_which_the_server_shows_a_page_is_no_value():
    with Redirecting(
        {"a/": b"<html>", "login/": b"<html>", "v": VALUE}, {"a": "/a/", "b": "/v", "c": "/login/"}
    ) as server:
        store = open_store(server.url)
        assert store.get("a") is None
        assert list(store.get_many(["a", "b"])) == [None, VALUE]
        assert store.get_ranges("a", [ByteRange(0, 2), ByteRange(-2)]) == [None, None]
        assert store.get("c") == b"<html>"  # another page is no folder, and no value that decodes


def test_a_key_goes_before_the_query_of_a_signed_url():
    asked = []

    class Signed(WebServer):
        def answer(self, path, wanted):
            asked.append(path)
            return super().answer(path, wanted)

    with Signed({"a/b c": VALUE}) as server:
        store = open_store(server.url + "/a?sig=SECRET")
        assert store.path("b c") == server.url + "/a/b%20c?sig=SECRET"
        assert store.get("b c") == VALUE
        assert "SECRET" not in store.url + repr(store) + store.identity
        for error in (403, 500, 404):
            server.status = {"*": error}
            with pytest.raises((StoreError, AssertionError)) as caught:
                assert store.get("b c") is not None
            assert "SECRET" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


def test_a_folder_of_a_web_server_has_odd_keys():
    key = "a b/%20#?[x]"
    with WebServer({f"top/{key}": VALUE}) as server:
        fs = DirFileSystem(server.url + "/top", fsspec.filesystem("http"))
        store = FilesystemStore(fs, "", server.url + "/top")
        assert store.get(key) == VALUE
        assert list(store.get_many([key, "x"])) == [VALUE, None]


def test_a_web_server_is_not_written_to():
    with WebServer({"k": VALUE}) as server:
        store = open_store(server.url)
        assert not store.can_write
        assert not store.can_create
        for write in (
            lambda: store.set("k", b"1"),
            lambda: store.create("x", b"1"),
            lambda: store.delete("k"),
            lambda: store.delete_below(""),
        ):
            with pytest.raises(UnsupportedError, match="only be read"):
                write()
        assert server.requests == []
        assert store.sibling(".x") is None


# Requests under way


class Counting(AsyncFileSystem):
    """Files that come when they are let; counts what is asked for, and how many wait at once."""

    protocol = "counting"
    cachable = False

    def __init__(self, values, **options):
        super().__init__(**options)
        self.values, self.asked, self.now, self.most, self.pause = values, [], 0, 0, 0.01

    async def _cat_file(self, path, start=None, end=None, **options):
        self.asked.append((path, start, end))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.pause)
        self.now -= 1
        value = self.values.get(path)
        if isinstance(value, Exception):
            raise value
        if value is None:
            raise FileNotFoundError(path)
        return value[start:end]

    async def _info(self, path, **options):
        self.asked.append((path, "info", None))
        if path not in self.values:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.values[path]), "type": "file"}


def counting(values):
    fs = Counting(values)
    return fs, FilesystemStore(fs, "", "counting://")


@pytest.mark.parametrize("requests", [1, 4, 16, 50])
def test_so_many_requests_are_under_way_as_there_may_be(requests):
    fs, store = counting({str(i): str(i).encode() for i in range(100)})
    keys = [str(i) for i in range(105)]
    found = list(store.get_many(keys, Traffic(requests=requests)))
    assert found == [str(i).encode() for i in range(100)] + [None] * 5
    assert fs.most == requests
    assert [path for path, _, _ in fs.asked] == keys
    assert waits(store)


def test_the_next_is_asked_for_when_another_has_come_and_not_batch_by_batch():
    class Late(Counting):
        async def _cat_file(self, path, **options):
            await asyncio.sleep(0.3 if path == "3" else 0)
            return await super()._cat_file(path, **options)

    fs = Late({str(i): b"1" for i in range(40)})
    found = FilesystemStore(fs, "", "counting://").get_many([str(i) for i in range(40)], Traffic(requests=4))
    begin = time.monotonic()
    assert len(list(found)) == 40
    assert time.monotonic() - begin < 0.3 + 35 * 0.01
    assert fs.asked.index(("3", None, None)) > 4


def test_a_failed_request_raises_at_its_turn_and_the_others_come():
    fs, store = counting({str(i): b"%d" % i for i in range(9)} | {"4": OSError(5, "broken")})
    found = store.get_many([str(i) for i in range(9)], Traffic(requests=3))
    assert [next(found) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    with pytest.raises(OSError, match="broken"):
        next(found)
    assert list(found) == [b"5", b"6", b"7", b"8"]
    assert len(fs.asked) == 9


def test_parts_are_asked_for_at_once_and_without_the_size_where_they_can_be():
    fs, store = counting({"k": VALUE})
    wanted = [ByteRange(i * 10, 5) for i in range(10)]
    assert store.get_ranges("k", wanted) == [each.of(VALUE) for each in wanted]
    assert fs.asked == [("k", i * 10, i * 10 + 5) for i in range(10)]
    assert fs.most == 10
    fs.asked.clear()
    assert store.get_ranges("k", [ByteRange(-8)]) == [VALUE[-8:]]
    assert fs.asked == [("k", "info", None), ("k", 92, 100)]


class Ignoring(Counting):
    """Gives all of a file, whatever is asked for, as some do."""

    async def _cat_file(self, path, start=None, end=None, **options):
        return await super()._cat_file(path)


class Unsatisfied(Counting):
    """Has no parts beyond the end."""

    async def _cat_file(self, path, start=None, end=None, **options):
        if start is not None and start >= len(self.values.get(path, VALUE)):
            error = OSError("not satisfiable")
            error.status = 416
            raise error
        return await super()._cat_file(path, start=start, end=end)


@pytest.mark.parametrize("length", [0, 1, 5, 12, 100])
@pytest.mark.parametrize("kind", [Counting, Ignoring, Unsatisfied])
def test_parts_are_right_whatever_an_asynchronous_file_system_makes_of_them(kind, length):
    fs = kind({"k": VALUE[:length]})
    fs.pause = 0
    store = FilesystemStore(fs, "", "counting://")
    wanted = RANGES + BEYOND + [ByteRange(2, 10), ByteRange(1, 4), ByteRange(1)]
    if kind is Ignoring:  # nothing could tell all of the value from so many bytes of it
        wanted = [each for each in wanted if each.offset < 1 or each.length != length]
    expected = [each.of(VALUE[:length]) for each in wanted]
    assert [store.get("k", each) for each in wanted] == expected
    assert store.get_ranges("k", wanted) == expected
    assert store.get_ranges("x", wanted) == [None] * len(wanted)
    assert (store.size("k"), store.size("x")) == (length, None)


def test_an_answer_that_is_too_short_is_an_error():
    class Short(Counting):
        async def _cat_file(self, path, start=None, end=None, **options):
            value = await super()._cat_file(path, start=start, end=end)
            return value if start is None else value[:-1]

    store = FilesystemStore(Short({"k": VALUE}), "", "counting://")
    for wanted in (ByteRange(0, 5), ByteRange(-8), ByteRange(50)):
        with pytest.raises(ConnectionError, match="broke off"):
            store.get("k", wanted)


def test_an_asynchronous_file_system_is_opened_again_for_blocking_calls():
    with WebServer({"k": VALUE}) as server:
        fs = fsspec.filesystem("http", asynchronous=True)
        assert fs.asynchronous
        store = FilesystemStore(fs, server.url, server.url)
        assert store.get("k") == VALUE
        assert list(store.get_many(["k", "x"])) == [VALUE, None]


def test_file_systems_at_hand_are_read_without_threads(tmp_path):
    threads = threading.active_count()
    for fs, root in ((fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"), (fsspec.filesystem("file"), str(tmp_path))):
        store = FilesystemStore(fs, root, "at://hand")
        assert not waits(store)
        store.set("k", VALUE)
        assert list(store.get_many(["k", "x"] * 20)) == [VALUE, None] * 20
        assert store.get_ranges("k", RANGES) == [each.of(VALUE) for each in RANGES]
        store.delete_below("")
    assert threading.active_count() == threads


# Processes


def fork(call):
    """What a call gives in a forked process; None if it hangs."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(call()))
    process.start()
    found = here.recv() if here.poll(20) else None
    process.kill()
    process.join()
    return found


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("chain", ["", "simplecache::", "dir::", "reference"])
def test_a_forked_process_opens_the_file_system_again(chain, tmp_path):
    values = {str(i): VALUE + str(i).encode() for i in range(20)}
    with WebServer(values) as server:
        if chain == "reference":
            references = {key: [f"{server.url}/{key}"] for key in values}
            store = open_store("reference://", storage_options={"fo": references})
        else:
            store = open_store(f"{chain}{server.url}")
        assert list(store.get_many(list(values))) == list(values.values())
        begun = iter(store.get_many(list(values)))
        next(begun)
        child = fork(lambda: (list(store.get_many([*values, "x"])), store.get("3"), store.get("4", ByteRange(-4))))
        assert child == ([*values.values(), None], values["3"], values["4"][-4:])
        assert store.get("5") == values["5"]


def test_a_store_pickles_with_requests_under_way():
    with WebServer({"k": VALUE}) as server:
        store = open_store(server.url)
        begun = iter(store.get_many(["k"] * 50))
        next(begun)
        assert pickle.loads(pickle.dumps(store)).get("k") == VALUE
        assert list(begun) == [VALUE] * 49


# Caches


class TestSimpleCache(StoreContract):
    """Written through, and read again, by threads at once."""

    @pytest.fixture
    def store(self, tmp_path):
        root = f"/caches-{uuid.uuid4().hex}"
        store = open_store(f"simplecache::memory:/{root}", storage_options={"cache_storage": str(tmp_path)})
        yield store
        store.delete_below("")


CACHES = ["simplecache", "filecache", "blockcache"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
@pytest.mark.parametrize("cache", CACHES)
def test_what_a_cache_cannot_fetch_is_not_missing(cache, status, way, tmp_path):
    with WebServer({"other": b"1", "k": VALUE}, {"k": status}) as server:
        store = open_store(f"{cache}::{server.url}", storage_options={cache: {"cache_storage": str(tmp_path)}})
        with pytest.raises(StoreError, match=str(status)):
            reads(store)[way]()
        server.status = {}
        assert reads(store)["parts"]() == [VALUE[2:5], VALUE[-3:]]
        server.status = {"k": status}
        assert store.get("k") == VALUE  # it was kept


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_a_cache_keeps_what_it_has(cache, tmp_path):
    with WebServer({"k": VALUE}) as server:
        store = open_store(f"{cache}::{server.url}", storage_options={cache: {"cache_storage": str(tmp_path)}})
        assert store.get("k", ByteRange(-5)) == VALUE[-5:]
        server.requests.clear()
        for _ in range(3):
            assert list(store.get_many(["k"] * 5)) == [VALUE] * 5
            assert store.get_ranges("k", RANGES) == [each.of(VALUE) for each in RANGES]
        assert server.requests == []


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_whose_files_are_swept_away_fetches_them_again(cache, tmp_path):
    with WebServer({"k": VALUE}) as server:
        store = open_store(f"{cache}::{server.url}", storage_options={cache: {"cache_storage": str(tmp_path / "c")}})
        assert store.get("k") == VALUE
        for path in (tmp_path / "c").iterdir():
            path.unlink()
        assert store.get("k") == VALUE
        for path in (tmp_path / "c").iterdir():
            path.unlink()
        (tmp_path / "c").rmdir()
        assert store.get("k", ByteRange(-5)) == VALUE[-5:]
        assert store.get("k") == VALUE


def test_nobody_sees_half_a_file_of_a_cache(tmp_path):
    """Several stores with one folder of files, as processes of one machine have, and a server that sends bit by bit."""
    value = VALUE * 20_000

    class Slow(WebServer):
        def answer(self, path, wanted):
            time.sleep(0.02)
            return super().answer(path, wanted)

    with Slow({f"k{i}": value + b"%d" % i for i in range(6)}) as server:

        def read(i):
            options = {"simplecache": {"cache_storage": str(tmp_path), "skip_instance_cache": True}}
            store = open_store(f"simplecache::{server.url}", storage_options=options)
            return [found == value + b"%d" % j for j, found in enumerate(store.get_many([f"k{j}" for j in range(6)]))]

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(read, range(6))) == [[True] * 6] * 6
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [""] * 6


@pytest.mark.parametrize("cache", CACHES)
def test_what_is_written_through_a_cache_is_what_is_read(cache, tmp_path):
    options = {cache: {"cache_storage": str(tmp_path / "c")}}
    (tmp_path / "files").mkdir()
    store = open_store(f"{cache}::file://{tmp_path}/files", storage_options=options)
    for size in (5, 9, 3, 0, 4):
        store.set("a/k", VALUE[:size])
        assert store.get("a/k") == VALUE[:size]
        assert (tmp_path / "files/a/k").read_bytes() == VALUE[:size]
    store.delete("a/k")
    assert store.get("a/k") is None
    assert store.create("a/k", b"1") is True
    assert store.create("a/k", b"2") is False
    assert store.get("a/k") == b"1"
    store.delete_below("a")
    assert store.get("a/k") is None
    assert store.list_dir("") in (((), ()), ((), ("a",)))


# References


def references_of(server):
    return {
        ".zgroup": '{"zarr_format": 2}',
        "a/.zarray": {"zarr_format": 2},
        "a/part": [server.url + "/data", 10, 30],
        "a/whole": [server.url + "/data"],
        "a/inline": "base64:" + base64.b64encode(VALUE).decode(),
        "a/gone": [server.url + "/gone", 0, 5],
        "a/short": [server.url + "/data", 90, 20],
        "a/refused": [server.url + "/refused", 0, 5],
    }


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("form", ["mapping", "file"])
def test_references(form, ranges, tmp_path):
    with WebServer({"data": VALUE, "refused": VALUE}, {"refused": 403}, ranges=ranges) as server:
        place = references_of(server)
        if form == "file":
            (tmp_path / "references.json").write_text(json.dumps({"version": 1, "refs": place}))
            place = str(tmp_path / "references.json")
        store = open_store("reference://", storage_options={"fo": place})
        values = {"a/part": VALUE[10:40], "a/whole": VALUE, "a/inline": VALUE, ".zgroup": b'{"zarr_format": 2}'}
        assert list(store.get_many([*values, "x", "a", "a/x"])) == [*values.values(), None, None, None]
        for key, value in values.items():
            assert store.get(key) == value
            assert store.get_ranges(key, RANGES + BEYOND) == [each.of(value) for each in RANGES + BEYOND]
            assert store.size(key) == len(value)
        assert json.loads(store.get("a/.zarray")) == {"zarr_format": 2}
        for key, text in (("a/gone", "missing"), ("a/short", "ends before"), ("a/refused", "403")):
            with pytest.raises((StoreError, ConnectionError), match=text):
                store.get(key)
            with pytest.raises((StoreError, ConnectionError), match=text):
                list(store.get_many(["a/part", key]))
        assert store.list_dir("") == ((".zgroup",), ("a",))
        assert set(store.list_dir("a").keys) == {key[2:] for key in references_of(server) if key.startswith("a/")}
        assert dict(store.survey("a")) == {key: None for key in references_of(server) if key.startswith("a/")}
        assert not store.can_write


def test_references_to_files_of_this_machine(tmp_path):
    (tmp_path / "data").write_bytes(VALUE)
    place = {"part": [f"file://{tmp_path}/data", 10, 30], "other": [str(tmp_path / "data"), 5, 5]}
    store = open_store("reference://", storage_options={"fo": place, "remote_protocol": "file"})
    assert list(store.get_many(["part", "other", "x"])) == [VALUE[10:40], VALUE[5:10], None]


def test_a_part_of_a_reference_is_one_request():
    with WebServer({"data": VALUE}) as server:
        store = open_store("reference://", storage_options={"fo": references_of(server)})
        server.requests.clear()
        assert store.get("a/part", ByteRange(-4)) == VALUE[36:40]
        assert store.get("a/part", ByteRange(2, 3)) == VALUE[12:15]
        assert store.get("a/part") == VALUE[10:40]
        assert len(server.requests) == 3


def test_references_in_tables(tmp_path):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from fsspec.implementations.reference import LazyReferenceMapper

    folder = str(tmp_path / "references.parq")
    with WebServer({"data": VALUE}) as server:
        table = LazyReferenceMapper.create(folder, fs=fsspec.filesystem("file"), record_size=10, engine="pyarrow")
        table[".zgroup"] = b'{"zarr_format": 2}'
        table["a/.zarray"] = json.dumps({"shape": [40], "chunks": [1], "zarr_format": 2}).encode()
        for i in range(15):
            table[f"a/{i}"] = b"inline" if i == 3 else [server.url + "/data", i, 5]
        table.flush()
        options = {"fo": folder, "remote_protocol": "http"}
        store = open_store("reference://", storage_options=options)
        keys = [f"a/{i}" for i in range(40)]
        expected = [b"inline" if i == 3 else VALUE[i : i + 5] if i < 15 else None for i in range(40)]
        assert list(store.get_many(keys)) == expected
        for key in ("zarr.json", "a/zarr.json", "a", "a/.zattrs", "b/0"):
            assert store.get(key) is None, key
        assert json.loads(store.get("a/.zarray"))["shape"] == [40]
        assert store.list_dir("").prefixes == ("a",)
        assert set(store.list_dir("a").keys) == {".zarray", *map(str, range(40))}
        (tmp_path / "references.parq/a/refs.1.parq").write_bytes(b"damaged")
        store = open_store("reference://", storage_options=options | {"skip_instance_cache": True})
        assert store.get("a/2") == VALUE[2:7]
        with pytest.raises(StoreError, match="cannot be read"):
            store.get("a/12")


# Credentials


def test_no_secret_is_shown():
    secret = "S3CR3T"
    with WebServer({"k": VALUE}, {"refused": 403, "later": 503, "odd": 418}) as server:
        host = server.url.removeprefix("http://")
        for url, options in (
            (f"http://me:{secret}@{host}/a", {}),
            (f"http://{host}/a?token={secret}", {}),
            (f"http://{host}/a", {"headers": {"Authorization": f"Bearer {secret}"}}),
            (f"simplecache::http://me:{secret}@{host}/a", {}),
        ):
            store = open_store(url, storage_options=options)
            shown = [repr(store), str(store), store.url, store.identity]
            server.status = {"a/refused": 403, "a/later": 503, "a/odd": 418}
            for key in ("refused", "later", "odd"):
                for way in WAYS:
                    with pytest.raises(StoreError) as caught:
                        reads(store, key)[way]()
                    shown += [f"{error!r} {error}" for error in (caught.value, caught.value.__cause__)]
            assert not [text for text in shown if secret in text]


# The place beside a store


@pytest.mark.parametrize(
    ("url", "beside"),
    [
        ("memory://a", None),
        ("https://host/a", None),
        ("simplecache::https://host/a", None),
        ("reference://", None),
        ("dir::file:///a/b", None),
    ],
)
def test_not_every_store_has_a_place_beside(url, beside):
    options = {"fo": {}} if url.startswith("reference") else {}
    assert open_store(url, storage_options=options).sibling(".x") is beside


@pytest.mark.parametrize("url", ["file:///a/b.zarr", "simplecache::file:///a/b.zarr"])
def test_the_place_beside_a_store_is_named_after_it(url):
    fs, root = url_to_fs(url)
    store = FilesystemStore(fs, root, url, identity=url + "#1")
    near = store.sibling(".x")
    assert (near.root, near.url, near.identity) == (root + ".x", url + ".x", url + ".x#1")
    assert near.fs is fs
    assert near == store.sibling(".x") != store
    assert FilesystemStore(fs, "/", "file:///").sibling(".x") is None


# s3fs


_CODES = {404: "NoSuchKey", 403: "AccessDenied", 416: "InvalidRange", 503: "SlowDown"}


class Bucket(WebServer):
    """Objects of a bucket, with the errors of S3."""

    def answer(self, path, wanted):
        status, body, headers = super().answer(path.removeprefix("bucket/"), wanted)
        if status >= 400:
            code = "NoSuchBucket" if not path.startswith("bucket/") else _CODES.get(status, "Unknown")
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return status, body, headers | {"ETag": '"1"'}


@pytest.fixture
def bucket():
    pytest.importorskip("s3fs")
    with Bucket({"a/k": VALUE, "a/empty": b""}) as server:
        options = {"key": "x", "secret": "S3CR3T", "endpoint_url": server.url}
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 0}}
        fs = fsspec.filesystem("s3", **options)
        fs.retries = 1
        yield server, FilesystemStore(fs, "bucket/a", "s3://bucket/a")


def test_s3_takes_one_request_for_anything(bucket):
    server, store = bucket
    for way, call in reads(store).items():
        server.requests.clear()
        call()
        assert len(server.requests) == (2 if way in ("many", "parts") else 1), way
    wanted = RANGES + BEYOND
    server.requests.clear()
    assert [store.get("k", each) for each in wanted] == [each.of(VALUE) for each in wanted]
    assert len(server.requests) == len(wanted)
    assert [store.get("empty", each) for each in wanted] == [b""] * len(wanted)
    assert (store.size("k"), store.size("empty"), store.size("x")) == (100, 0, None)
    assert store.get_ranges("k", RANGES).version == '"1"'


def test_s3_does_not_take_sizes_from_old_listings(bucket):
    _, store = bucket
    store.fs.dircache["bucket/a"] = [{"name": "bucket/a/k", "Key": "bucket/a/k", "size": 5, "type": "file"}]
    assert store.get("k") == VALUE
    assert store.size("k") == 100
    assert store.get("k", ByteRange(-5)) == VALUE[-5:]


def test_s3_refusal_says_that_the_key_may_be_missing(bucket):
    server, store = bucket
    server.status = {"a/k": 403}
    for way in WAYS:
        with pytest.raises(StorePermissionError, match="ListBucket") as caught:
            reads(store)[way]()
        assert not is_transient(caught.value)
        assert "S3CR3T" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}"


def test_a_bucket_that_is_missing_is_no_missing_key(bucket):
    _, store = bucket
    elsewhere = FilesystemStore(store.fs, "nobucket/a", "s3://nobucket/a")
    for way in WAYS:
        with pytest.raises(StoreError, match="NoSuchBucket"):
            reads(elsewhere)[way]()


@pytest.mark.parametrize("status", [500, 503])
def test_s3_failures_pass(bucket, status):
    server, store = bucket
    server.status = {"a/k": status}
    with pytest.raises(OSError, match=r"(?s).*") as caught:
        store.get("k")
    assert is_transient(caught.value)


def test_keys_that_a_client_takes_for_others_are_refused(bucket):
    server, store = bucket
    for call in (lambda key: store.set(key, b"1"), lambda key: store.create(key, b"1"), store.delete, store.get):
        with pytest.raises(UnsupportedError, match="another"):
            call("k?versionId=1")
    assert server.requests == []


def test_options_of_a_chain_that_are_not_by_protocol(monkeypatch):
    pytest.importorskip("s3fs")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for url, hint in (("simplecache::s3://bucket/a", '{"s3": {"key": ...}}'), ("s3://bucket/a", None)):
        options = {"key": "x", "secret": "y"} if hint else {"skip_instance_cache": True}
        with pytest.raises(StorePermissionError, match="NoCredentialsError") as caught:
            open_store(url, storage_options=options).get("k")
        assert ("by protocol" in str(caught.value)) == (hint is not None)
        assert (hint or "") in str(caught.value)
    if find_spec("adlfs"):
        with pytest.raises(StoreError, match=r'by protocol: \{"abfs": \{"account_key"'):
            open_store("simplecache::abfs://container/a", storage_options={"account_name": "a", "account_key": "eA=="})


def test_objects_that_cannot_be_deleted_are_an_error(bucket, monkeypatch):
    _, store = bucket
    calls, code = [], ""

    async def call(method, **options):
        calls.append(method)
        if method == "list_objects_v2":
            return {"Contents": [{"Key": f"a/{i}", "Size": 1} for i in range(3)]}
        return {"Errors": [{"Key": "a/1", "Code": code, "Message": "no"}]}

    monkeypatch.setattr(store.fs, "_call_s3", call)
    for word, passes in (("AccessDenied", False), ("SlowDown", True)):
        code = word
        with pytest.raises(StoreError, match="1 of 3") as caught:
            store.delete_below("")
        assert is_transient(caught.value) == passes
    assert calls == ["list_objects_v2", "delete_objects"] * 2


def test_listings_are_not_remembered(bucket, monkeypatch):
    _, store = bucket
    pages = [
        {
            "Contents": [{"Key": "a/b/", "Size": 0}, {"Key": "a/b/c", "Size": 3}],
            "IsTruncated": True,
            "NextContinuationToken": "n",
        },
        {"Contents": [{"Key": "a/b/d", "Size": 4}], "CommonPrefixes": [{"Prefix": "a/b/e/"}]},
    ]
    asked = []

    async def call(method, **options):
        asked.append((options["Prefix"], options["Delimiter"], options.get("ContinuationToken")))
        return pages[(len(asked) - 1) % 2]

    monkeypatch.setattr(store.fs, "_call_s3", call)
    for _ in range(2):
        assert store.list_dir("b") == (("c", "d"), ("e",))
        assert dict(store.survey("b")) == {"b/c": 3, "b/d": 4}
    assert asked == [("a/b/", "/", None), ("a/b/", "/", "n"), ("a/b/", "", None), ("a/b/", "", "n")] * 2
    assert not store.fs.dircache


def test_local_files_by_fsspec_are_those_of_the_local_store(tmp_path):
    store, files = FilesystemStore(fsspec.filesystem("file"), str(tmp_path), "file://x"), LocalStore(str(tmp_path))
    store.set("a/b", VALUE)
    assert files.get("a/b") == VALUE
    files.set("a/c", b"1")
    assert store.list_dir("a") == (("b", "c"), ())
    assert Path(store.path("a/c")).read_bytes() == b"1"


# Archives


@pytest.fixture(params=["zip", "tar"])
def archive(request, tmp_path):
    """A store in an archive, where a file that is missing is a KeyError, as in fsspec before 2026."""
    path = tmp_path / f"a.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("x/1", b"one")
    else:
        with tarfile.open(path, "w") as opened:
            entry = tarfile.TarInfo("x/1")
            entry.size = 3
            opened.addfile(entry, io.BytesIO(b"one"))
    store = open_store(f"{request.param}::{path}")
    assert bytes(store.get("x/1")) == b"one"
    return store


def _raise_key_error(path, *args, **options):
    raise KeyError(path)


def test_a_file_that_an_archive_has_not_is_missing(archive, monkeypatch):
    assert archive.get("x/2") is None
    monkeypatch.setattr(archive.fs, "_open", _raise_key_error)
    assert archive.get("x/2") is None
    assert list(archive.get_many(["x/2", "y", "x"])) == [None, None, None]


def test_a_key_error_of_an_archive_is_no_missing_file(archive, monkeypatch):
    monkeypatch.setattr(archive.fs, "_open", _raise_key_error)
    with pytest.raises(KeyError):
        archive.get("x/1")
