"""The package's own helpers for tests are right: what they count, break, serve and draw."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr.testing
from daskzarr import create_array, from_zarr, to_zarr
from daskzarr.stores import ListableStore, LocalStore, MappingStore, ReadIntoStore, WritableStore
from daskzarr.testing import (
    FaultyStore,
    RecordingStore,
    WebServer,
    array_settings,
    arrays,
    chunk_shapes,
    codec_settings,
    dask_chunks,
    distinct_values,
)
from daskzarr.testing.strategies import DTYPES


def test_every_name_is_there():
    for name in daskzarr.testing.__all__:
        assert getattr(daskzarr.testing, name) is not None
    assert sorted(dir(daskzarr.testing)) == sorted(daskzarr.testing.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        daskzarr.testing.Nothing  # noqa: B018


# Values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 1, 1000])
def test_values_are_distinct(dtype, start):
    size = {"bool": 2, "int8": 256, "uint8": 256, "float16": 2048}.get(dtype, 60_000)
    values = distinct_values((size,), dtype, start=start)
    assert values.dtype == np.dtype(dtype)
    if dtype != "bool":
        assert len(np.unique(values)) == size
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values.reshape(2, -1), distinct_values((2, size // 2), dtype, start=start))


def test_values_that_start_elsewhere_are_others():
    assert not set(distinct_values((1000,), "int64")) & set(distinct_values((1000,), "int64", start=1000))
    assert len(set(distinct_values((40,), "bool").tobytes())) == 2
    assert distinct_values((), "int32", start=3).shape == ()
    assert distinct_values((3, 0), "float32").shape == (3, 0)


# Strategies


@given(arrays(min_dims=1, max_dims=2, max_side=9))
def test_arrays_have_limits(array):
    assert 1 <= array.ndim <= 2
    assert all(0 <= n <= 9 for n in array.shape)
    assert array.dtype.name in DTYPES
    assert array.dtype.isnative


@given(st.data())
def test_cuts_fit_the_array(data):
    shape = data.draw(st.lists(st.integers(0, 9), max_size=3).map(tuple))
    stored = data.draw(chunk_shapes(shape))
    assert len(stored) == len(shape)
    assert all(n >= 1 for n in stored)
    free, aligned = data.draw(dask_chunks(shape)), data.draw(dask_chunks(shape, multiple_of=stored))
    for chunks in (free, aligned):
        assert tuple(map(sum, chunks)) == shape
        da.zeros(shape, chunks=chunks)
    for lengths, length, n in zip(aligned, stored, shape, strict=True):
        edges = np.cumsum(lengths)
        assert all(edge % length == 0 or edge == n for edge in edges)


@pytest.mark.parametrize("zarr_format", [2, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_drawn_can_be_stored_and_read(zarr_format, data):
    array = data.draw(arrays(max_dims=3, max_side=7))
    options = data.draw(array_settings(array=array, zarr_format=zarr_format))
    assert options["shape"] == array.shape
    assert options["zarr_format"] == zarr_format
    blocks = da.from_array(array, chunks=data.draw(dask_chunks(array.shape, multiple_of=options["chunks"])))
    del options["shape"], options["dtype"]
    to_zarr(blocks, store := {}, **options)
    read = from_zarr(store)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read.compute(), array, strict=True)


@settings(max_examples=25, deadline=None)
@given(array_settings(), st.sampled_from([2, 3]).flatmap(lambda f: st.tuples(st.just(f), codec_settings(f))))
def test_settings_make_arrays(options, codecs):
    assert create_array({}, **options).shape == options["shape"]
    zarr_format, chosen = codecs
    create_array({}, shape=(3, 4), chunks=(2, 2), dtype="int16", zarr_format=zarr_format, **chosen)


# Stores that count


def test_a_recording_store_can_do_what_the_store_inside_can(tmp_path):
    for inner in (MappingStore({}), LocalStore(str(tmp_path)), OnlyGets()):
        for store in (RecordingStore(inner), FaultyStore(inner, {}), RecordingStore(FaultyStore(inner, {}))):
            for protocol in (WritableStore, ListableStore, ReadIntoStore):
                assert isinstance(store, protocol) == isinstance(inner, protocol)
            assert store.url == inner.url


class OnlyGets:
    """The least a store can be."""

    url = "only://gets"

    def get(self, key, byte_range=None):
        return b"1"

    def get_many(self, keys, traffic=None):
        return iter([b"1"] * len(keys))


def test_every_request_is_recorded(tmp_path):
    store = RecordingStore(LocalStore(str(tmp_path)))
    store.set("a/b", b"123")
    store.get("a/b")
    store.get("a/x")
    list(store.get_many(["a/b", "a/y", "a/b"]))
    store.read_into("a/b", memoryview(bytearray(3)))
    store.list_dir("a")
    store.delete("a/b")
    store.delete_below("a")
    assert store.requests == [
        ("set", "a/b"),
        ("get", "a/b"),
        ("get", "a/x"),
        ("get_many", "a/b"),
        ("get_many", "a/y"),
        ("get_many", "a/b"),
        ("read_into", "a/b"),
        ("list_dir", "a"),
        ("delete", "a/b"),
        ("delete_below", "a"),
    ]
    assert store.keys("get", "read_into") == ["a/b", "a/x", "a/b"]
    assert store.count()["get_many"] == 3
    store.clear()
    assert store.requests == []


def test_threads_are_counted_one_by_one():
    store = RecordingStore(MappingStore({}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.set(f"{i % 5}", b"1"), range(2000)))
    assert store.count() == {"set": 2000}


def test_each_recording_store_is_a_store_of_its_own():
    inner = MappingStore({"a": b"1"})
    one, other = RecordingStore(inner), RecordingStore(inner)
    assert one != other
    assert one.url == other.url
    one.get("a")
    assert (len(one.requests), len(other.requests)) == (1, 0)


def test_wrappers_pickle(monkeypatch):
    inner = MappingStore({"a": b"1", "b": b"2"})
    recording, faulty = RecordingStore(inner), FaultyStore(inner, {"b": PermissionError("no")}, on=["get"])
    recording.get("a")
    for store in (recording, faulty):
        assert pickle.loads(pickle.dumps(store)) is store
    pickled = pickle.dumps([recording, faulty])
    monkeypatch.setattr("daskzarr.testing.store_wrapper._live", {})  # as in another process
    recording_copy, faulty_copy = pickle.loads(pickled)
    assert recording_copy == recording
    assert recording_copy is not recording
    assert recording_copy.requests == []
    assert recording_copy.get("a") == b"1"
    assert recording_copy.keys() == ["a"]
    assert faulty_copy == faulty
    with pytest.raises(PermissionError, match="no"):
        faulty_copy.get("b")


# Stores that fail


def test_a_faulty_store_fails_for_chosen_keys_and_requests(tmp_path):
    inner = LocalStore(str(tmp_path))
    for key in ("a/b", "a/c", "d"):
        inner.set(key, b"123")
    store = FaultyStore(inner, {"a/b": OSError("broken"), "a/*": KeyError})
    assert store.get("d") == b"123"
    for key, error in (("a/b", OSError), ("a/c", KeyError)):
        for request in (
            lambda key=key: store.get(key),
            lambda key=key: list(store.get_many(["d", key])),
            lambda key=key: store.read_into(key, memoryview(bytearray(3))),
            lambda key=key: store.set(key, b"4"),
        ):
            with pytest.raises(error):
                request()
    store.delete("a/b")
    assert inner.get("a/b") is None
    assert inner.get("a/c") == b"123"
    values = store.get_many(["d", "a/c"])
    assert next(values) == b"123"
    with pytest.raises(KeyError):
        next(values)
    deleting = FaultyStore(inner, {"*": PermissionError("no")}, on=["delete", "delete_below", "list_dir"])
    assert deleting.get("d") == b"123"
    for request in (lambda: deleting.delete("d"), lambda: deleting.delete_below("a"), lambda: deleting.list_dir("")):
        with pytest.raises(PermissionError):
            request()
    assert inner.get("d") == b"123"


# A web server


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        (None, 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=7-99", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=4-2", 416, b""),
        ("bytes=0-1,4-5", 200, b"0123456789"),
    ],
)
def test_a_web_server_serves_parts(wanted, status, body):
    with WebServer({"a/b c": b"0123456789"}) as server:
        request = HttpRequest(server.url + "/a/b%20c", headers={"Range": wanted} if wanted else {})
        assert answer_to(request) == (status, body)
    assert server.requests == ["a/b c"]


def answer_to(request):
    """Status and body."""
    try:
        with urlopen(request) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_web_server_fails_as_it_is_told():
    with WebServer({"a": b"1", "b": b"2"}, {"b*": 503}) as server:
        assert answer_to(server.url + "/a")[0] == 200
        assert answer_to(server.url + "/b")[0] == 503
        assert answer_to(server.url + "/c")[0] == 404
        server.status.clear()
        assert answer_to(server.url + "/b") == (200, b"2")
        assert answer_to(HttpRequest(server.url + "/a", method="HEAD")) == (200, b"")
    with WebServer({"a": b"123"}, ranges=False) as server:
        assert answer_to(HttpRequest(server.url + "/a", headers={"Range": "bytes=1-1"})) == (200, b"123")
