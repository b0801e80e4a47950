"""Parts of one value with one call, and versions that tell when a value was replaced."""

import hashlib
import os
import pickle
import sys
import threading
import uuid

import dask.array as da
import fsspec
import numpy as np
import pytest

from daskzarr import StoreError, UnsupportedError, from_zarr, to_zarr
from daskzarr.byte_range import ByteRange
from daskzarr.stores import FilesystemStore, LocalStore, MappingStore, RangeStore, VersionedStore, open_store
from daskzarr.stores.retries import RetryBudget
from daskzarr.testing import RecordingStore, WebServer, distinct_values


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Servers that fail are tried again as often as ever, but without waiting."""
    monkeypatch.setattr("daskzarr.stores.retries.BUDGET", RetryBudget(first_wait=1e-4))


VALUE = distinct_values((100,), "uint8", 1).tobytes()
RANGES = {
    "first bytes": ByteRange(0, 5),
    "middle": ByteRange(31, 7),
    "one byte": ByteRange(7, 1),
    "all": ByteRange(0),
    "all by length": ByteRange(0, 100),
    "to the end": ByteRange(60),
    "last byte": ByteRange(99, 1),
    "suffix": ByteRange(-20),
    "suffix of all": ByteRange(-100),
    "suffix longer than the value": ByteRange(-500),
    "inside a suffix": ByteRange(-30, 4),
    "longer than the rest": ByteRange(95, 100),
    "longer than the value": ByteRange(0, 2**40),
    "nothing": ByteRange(5, 0),
    "nothing at the start": ByteRange(0, 0),
    "at the end": ByteRange(100, 3),
    "past the end": ByteRange(300, 10),
    "past the end, open": ByteRange(300),
    "far past the end": ByteRange(2**62, 2**62),
}
SEVERAL = {
    "none": [],
    "in order": ["first bytes", "middle", "to the end"],
    "out of order": ["to the end", "suffix", "first bytes", "middle"],
    "the same twice": ["middle", "middle"],
    "in each other": ["all", "first bytes", "suffix", "one byte"],
    "some empty": ["nothing", "middle", "past the end", "last byte", "at the end"],
    "all empty": ["nothing", "past the end", "nothing at the start"],
    "every kind": list(RANGES),
}


class LoggingServer(WebServer):
    """Notes the ranges asked for, and answers those with ``refuses``, if set."""

    def __init__(self, *args, refuses=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.log, self.refuses = [], refuses

    def answer(self, path, wanted):
        self.log.append(wanted)
        if wanted and self.refuses:
            return self.refuses, b"not this part", {}
        return super().answer(path, wanted)


@pytest.fixture
def memory_url():
    """A folder of fsspec's memory file system that no other test uses."""
    root = f"/ranges-{uuid.uuid4().hex}"
    yield "memory:/" + root
    fs = fsspec.filesystem("memory")
    if fs.exists(root):
        fs.rm(root, recursive=True)


@pytest.fixture(params=["local", "memory", "local files of fsspec", "web", "web without ranges"])
def filled(request, tmp_path, memory_url):
    """A store of each kind with a value at ``folder/value`` and an empty one at ``folder/empty``."""
    values = {"folder/value": VALUE, "folder/empty": b""}
    if request.param.startswith("web"):
        with WebServer(values, ranges=request.param == "web") as server:
            yield open_store(server.url)
        return
    if request.param == "memory":
        store = open_store(memory_url)
    elif request.param == "local":
        store = LocalStore(str(tmp_path))
    else:
        store = FilesystemStore(fsspec.filesystem("file"), str(tmp_path), "file://elsewhere")
    for key, value in values.items():
        store.set(key, value)
    yield store


def parts(store, ranges, key="folder/value"):
    return [None if part is None else bytes(part) for part in store.get_ranges(key, ranges)]


def test_stores_that_read_ranges_say_so(filled):
    assert isinstance(filled, RangeStore)
    assert isinstance(filled, VersionedStore)
    assert not isinstance(MappingStore({}), RangeStore)


@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_what_the_value_has_there(filled, name):
    assert parts(filled, [RANGES[name]]) == [RANGES[name].of(VALUE)]
    assert bytes(filled.get("folder/value", RANGES[name])) == RANGES[name].of(VALUE)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_ranges_come_in_the_order_they_were_asked_for(filled, name):
    ranges = [RANGES[part] for part in SEVERAL[name]]
    assert parts(filled, ranges) == [wanted.of(VALUE) for wanted in ranges]


def test_very_many_ranges_come_in_order(filled):
    if "http" in filled.url:
        pytest.skip("a request each")
    ranges = [ByteRange(i * 7 % 100, i % 9) for i in range(2000)]
    assert parts(filled, ranges) == [wanted.of(VALUE) for wanted in ranges]


def test_an_empty_value_has_empty_parts(filled):
    ranges = list(RANGES.values())
    assert parts(filled, ranges, "folder/empty") == [b""] * len(ranges)


@pytest.mark.parametrize("key", ["nonesuch", "folder/nonesuch", "folder/value/below", "nonesuch/a/b"])
def test_a_key_that_is_not_there_has_no_parts(filled, key):
    assert parts(filled, [RANGES["middle"], RANGES["nothing"], RANGES["suffix"]], key) == [None] * 3


def test_a_folder_is_no_value(filled):
    assert filled.get("folder", RANGES["middle"]) is None
    assert parts(filled, [RANGES["middle"], RANGES["nothing"], RANGES["suffix"]], "folder") == [None, None, None]
    assert filled.version("folder") is None


def test_a_value_that_is_longer_than_one_read_is_whole(tmp_path, memory_url):
    large = distinct_values((2_000_000,), "uint32").tobytes()
    for store in (LocalStore(str(tmp_path)), open_store(memory_url)):
        store.set("k", large)
        ranges = [ByteRange(1), ByteRange(-5_000_000, 4_000_000), ByteRange(12, 3)]
        assert parts(store, ranges, "k") == [wanted.of(large) for wanted in ranges]


def test_stores_read_ranges_after_pickling(filled):
    assert parts(pickle.loads(pickle.dumps(filled)), [RANGES["middle"]]) == [VALUE[31:38]]


# ---- failures


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_local_file_that_may_not_be_read_is_an_error(tmp_path):
    store = LocalStore(str(tmp_path))
    store.set("k", VALUE)
    os.chmod(tmp_path / "k", 0)
    with pytest.raises(PermissionError):
        store.get_ranges("k", [RANGES["middle"]])


@pytest.mark.parametrize("status", [403, 429, 500, 503])
@pytest.mark.parametrize("what", ["all", "parts"])
def test_a_web_server_that_fails_is_an_error(status, what):
    fails = {"status": {"*": status}} if what == "all" else {"refuses": status}
    with LoggingServer({"k": VALUE}, **fails) as server, pytest.raises(Exception, match=str(status)):
        open_store(server.url).get_ranges("k", [RANGES["middle"], RANGES["first bytes"]])


@pytest.mark.parametrize("status", [403, 503])
def test_a_range_from_a_web_server_that_fails_is_an_error(status):
    with LoggingServer({"k": VALUE}, {"*": status}) as server, pytest.raises(Exception, match=str(status)):
        open_store(server.url).get("k", RANGES["middle"])


@pytest.mark.parametrize("status", [403, 503])
def test_a_part_of_a_shard_that_cannot_be_read_is_never_fill(status):
    values = {}
    to_zarr(array_of(64), values, shards=64, chunks=4)
    with WebServer(values, {"c/*": status}) as server:
        array = from_zarr(server.url)
        with pytest.raises(StoreError) as caught:
            array[5:7].compute()
    assert caught.value.chunk_key == "c/0"


def test_a_shard_whose_server_fails_is_a_store_error_that_names_it():
    values = {}
    to_zarr(array_of(64), values, shards=64, chunks=4, compressors=None)
    with LoggingServer(values, refuses=500) as server:
        array = from_zarr(server.url)
        with pytest.raises(StoreError, match="500") as caught:
            array[5:7].compute()
    assert caught.value.chunk_key == "c/0"


def array_of(length):
    return da.from_array(distinct_values((length,), "int32", 1), chunks=length)


def test_a_store_in_another_process_has_no_ranges_here(memory_url):
    store = open_store(memory_url)
    store.set("k", VALUE)
    elsewhere = FilesystemStore(store.fs, store.root, store.url, elsewhere=True)
    with pytest.raises(UnsupportedError):
        elsewhere.get_ranges("k", [RANGES["middle"]])


# ---- what it costs


def test_a_file_is_opened_once_whatever_is_read_of_it(tmp_path):
    store = LocalStore(str(tmp_path))
    store.set("k", VALUE)
    opened = []

    def note(event, args):
        if event == "open" and active and str(args[0]).startswith(str(tmp_path)):
            opened.append(args[0])

    active = True
    sys.addaudithook(note)
    store.get_ranges("k", list(RANGES.values()))
    active = False
    assert len(opened) == 1


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(tmp_path, monkeypatch):
    store, other = LocalStore(str(tmp_path)), VALUE[::-1]
    store.set("k", VALUE)
    seek = os.lseek

    def replace_and_seek(descriptor, *args):
        store_again.set("k", other)
        return seek(descriptor, *args)

    store_again = LocalStore(str(tmp_path))
    monkeypatch.setattr(os, "lseek", replace_and_seek)
    ranges = [RANGES["first bytes"], RANGES["middle"], RANGES["suffix"]]
    assert parts(store, ranges, "k") == [wanted.of(VALUE) for wanted in ranges]
    assert store.get("k") == other


def test_a_web_server_is_asked_for_each_part_once_and_for_nothing_else():
    with LoggingServer({"k": VALUE}) as server:
        store = open_store(server.url)
        parts(store, [ByteRange(3, 4), ByteRange(-5), ByteRange(50, 10), ByteRange(90)], "k")
        assert sorted(server.log) == ["bytes=-5", "bytes=3-6", "bytes=50-59", "bytes=90-"]
        server.log.clear()
        store.get("k")
        store.get("k", ByteRange(-7))
        store.get("nonesuch", ByteRange(2, 3))
        assert server.log == [None, "bytes=-7", "bytes=2-4"]


def test_a_web_server_without_ranges_is_asked_for_the_whole_once_it_has_shown_that():
    with LoggingServer({"k": VALUE}, ranges=False) as server:
        store = open_store(server.url)
        wanted = [ByteRange(i, 1) for i in range(40)]
        assert store.get("k", ByteRange(-20)) == VALUE[-20:]  # as the index of a shard is read
        server.log.clear()
        assert parts(store, wanted, "k") == [part.of(VALUE) for part in wanted]
        assert server.log == [None]
        server.ranges = True
        assert store.get("k", ByteRange(-20)) == VALUE[-20:]
        assert parts(store, wanted[:3], "k") == [part.of(VALUE) for part in wanted[:3]]
        assert sorted(server.log[2:]) == ["bytes=0-0", "bytes=1-1", "bytes=2-2"]


def test_of_parts_that_are_under_way_the_rest_is_cut_from_one_that_is_the_whole():
    with LoggingServer({"k": VALUE}, ranges=False) as server:
        wanted = [ByteRange(i, 1) for i in range(80)]
        assert parts(open_store(server.url), wanted, "k") == [part.of(VALUE) for part in wanted]
        assert len(server.log) <= 32  # twice as many as may be under way at once


def test_a_part_of_a_shard_over_http_is_two_requests():
    values = {}
    to_zarr(array_of(64), values, shards=64, chunks=4, compressors=None)
    with LoggingServer(values) as server:
        array = from_zarr(server.url)
        server.log.clear()
        np.testing.assert_array_equal(array[10:14].compute(), array_of(64)[10:14])
        assert server.log == ["bytes=-260", "bytes=32-63"]


def test_parts_of_shards_over_http():
    cells = distinct_values((64, 48), "int32", 1)
    values = {}
    to_zarr(da.from_array(cells, chunks=(32, 24)), values, shards=(32, 24), chunks=(4, 8))
    for ranges in (True, False):
        with WebServer(values, ranges=ranges) as server:
            array = from_zarr(server.url)
            for slices in [(slice(3, 6), slice(5, 9)), (slice(30, 34), slice(20, 30)), (slice(0, 64), slice(7, 8))]:
                np.testing.assert_array_equal(array[slices].compute(), cells[slices])
            np.testing.assert_array_equal(array.compute(), cells)


class TaggingServer(LoggingServer):
    """One that says by an entity tag which version of a value it sends."""

    def answer(self, path, wanted):
        status, body, headers = super().answer(path, wanted)
        tag = hashlib.sha256(self.values.get(path, b"")).hexdigest()[:16]
        return status, body, headers | ({"ETag": f'"{tag}"'} if status in (200, 206) else {})


def test_parts_come_with_the_version_that_they_are_of():
    values = {"k": VALUE, "other": VALUE[::-1]}
    with TaggingServer(values) as server:
        store = open_store(server.url)
        found = store.get_ranges("k", [RANGES["suffix"]])
        again = store.get_ranges("k", [RANGES["middle"], RANGES["first bytes"]])
        assert found.version == again.version is not None
        assert store.get_ranges("other", [RANGES["middle"]]).version != found.version
        values["k"] = VALUE[::-1]
        assert store.get_ranges("k", [RANGES["middle"]]).version not in (found.version, None)
        del values["k"]
        assert store.get_ranges("k", [RANGES["middle"]]).version is None
    with LoggingServer({"k": VALUE}) as server:
        assert open_store(server.url).get_ranges("k", [RANGES["middle"]]).version is None


def test_parts_of_a_value_that_is_replaced_meanwhile_are_all_of_one():
    class Replacing(TaggingServer):
        def answer(self, path, wanted):
            self.log.append(wanted)
            if len(self.log) in (3, 7):
                self.values = {"k": VALUE if self.values["k"] != VALUE else VALUE[::-1]}
            return super().answer(path, wanted)

    with Replacing({"k": VALUE}) as server:
        wanted = [ByteRange(i, 3) for i in range(0, 90, 10)]
        found = parts(open_store(server.url), wanted, "k")
    assert found in ([part.of(VALUE) for part in wanted], [part.of(VALUE[::-1]) for part in wanted])


def test_a_value_that_is_replaced_without_end_is_an_error_that_passes():
    class Replacing(TaggingServer):
        def answer(self, path, wanted):
            self.values = {"k": os.urandom(100)}
            return super().answer(path, wanted)

    with Replacing({"k": VALUE}) as server, pytest.raises(ConnectionError, match="again and again"):
        open_store(server.url).get_ranges("k", [ByteRange(0, 5), ByteRange(50, 5)])


# ---- versions


@pytest.fixture
def local(tmp_path):
    return LocalStore(str(tmp_path))


def test_a_version_stays_while_the_value_does(local):
    local.set("a/k", VALUE)
    version = local.version("a/k")
    assert version is not None
    assert hash(version) == hash(local.version("a/k"))
    for _ in range(3):
        local.get("a/k")
        local.get_ranges("a/k", [RANGES["middle"]])
        assert LocalStore(local.root).version("a/k") == version


@pytest.mark.parametrize("value", [VALUE, VALUE[::-1], VALUE[:-1], b""], ids=["same", "same size", "shorter", "empty"])
def test_a_version_is_another_after_the_value_was_replaced(local, value):
    local.set("k", VALUE)
    versions = {local.version("k")}
    for _ in range(5):
        LocalStore(local.root).set("k", value)
        versions.add(local.version("k"))
    assert len(versions) > 1
    before = local.version("k")
    local.set("k", VALUE)
    assert local.version("k") != before


def test_a_version_is_another_after_a_file_was_written_to_in_place(local):
    local.set("k", VALUE)
    before = local.version("k")
    path = os.path.join(local.root, "k")
    with open(path, "r+b") as file:
        file.write(b"xyz")
    os.utime(path, ns=(before[1] + 1, before[1] + 1))
    assert local.version("k") != before


@pytest.mark.parametrize("key", ["nonesuch", "a/nonesuch", "a/k/below"])
def test_what_is_not_there_has_no_version(local, key):
    local.set("a/k", VALUE)
    assert local.version(key) is None


def test_a_value_that_was_deleted_and_set_again_has_another_version(local):
    local.set("k", VALUE)
    before = local.version("k")
    local.delete("k")
    assert local.version("k") is None
    local.set("k", VALUE[::-1])
    os.utime(os.path.join(local.root, "k"), ns=(before[1] + 1, before[1] + 1))
    assert local.version("k") != before


def test_ranges_and_versions_from_many_threads(local):
    local.set("k", VALUE)
    wrong = []

    def read():
        for i in range(100):
            wanted = [ByteRange(i, 5), ByteRange(-i - 1, 1)]
            found = parts(local, wanted, "k")
            if found not in ([w.of(VALUE) for w in wanted], [w.of(VALUE[::-1]) for w in wanted]):
                wrong.append(found)

    def write():
        for i in range(100):
            local.set("k", VALUE if i % 2 else VALUE[::-1])

    threads = [threading.Thread(target=target) for target in (read, read, read, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_recording_store_can_do_what_its_store_can(local):
    store = RecordingStore(local)
    assert isinstance(store, RangeStore)
    assert isinstance(store, VersionedStore)
