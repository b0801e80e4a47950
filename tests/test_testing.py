"""The package's own helpers for tests are right: what they count, break, serve and draw."""

import pickle
import uuid
from collections import Counter
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
from daskzarr.byte_range import ByteRange
from daskzarr.stores import (
    FilesystemStore,
    ListableStore,
    LocalStore,
    MappingStore,
    ReadIntoStore,
    Traffic,
    WritableStore,
    open_store,
    waits,
)
from daskzarr.testing import (
    Faults,
    FaultyStore,
    RecordingStore,
    SlowFileSystem,
    StoreContract,
    UnreliableStore,
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


# Stores that cannot be relied on

VALUES = {f"a/{i}": b"%d " % i * 20 for i in range(200)}
LOST = (TimeoutError, ConnectionResetError)


def outcome(request):
    """What a request gives, or the name of what it raises."""
    try:
        return request()
    except LOST as error:
        return type(error).__name__


def outcomes(store):
    """What becomes of reading every value once."""
    return [outcome(lambda key=key: store.get(key)) for key in VALUES]


def test_what_goes_wrong_follows_from_the_seed():
    one, same, other = (UnreliableStore(MappingStore(dict(VALUES)), Faults.of(0.3), seed) for seed in (1, 1, 2))
    first = outcomes(one)
    assert outcomes(same) == first
    assert outcomes(other) != first
    assert outcomes(one) != first  # later requests fail in other ways
    assert one.made["requests"] == 400
    assert same.made != other.made


def test_as_much_goes_wrong_as_was_asked_for():
    shares = {"before": 0.1, "after": 0.05, "cut": 0.2, "longer": 0.15, "slow": 0.02}
    store = UnreliableStore(MappingStore(dict(VALUES)), Faults(**shares, seconds=0.0))
    for _ in range(20):
        outcomes(store)
    for kind, share in shares.items():
        assert 0.7 * share < store.made[kind] / 4000 < 1.3 * share, kind
    assert sum(UnreliableStore(MappingStore({}), Faults.of(0.3)).made.values()) == 0
    assert outcomes(UnreliableStore(MappingStore(dict(VALUES)), Faults())) == list(VALUES.values())


def test_before_means_not_done_and_after_means_done(tmp_path):
    inner = LocalStore(str(tmp_path))
    requests = {
        "set": lambda store: store.set("a", b"2"),
        "append": lambda store: store.append("a", b"2"),
        "create": lambda store: store.create("b", b"2"),
        "delete": lambda store: store.delete("a"),
        "delete_below": lambda store: store.delete_below(""),
        "move_below": lambda store: store.move_below("c", store, "d"),
    }
    for kind, request in requests.items():
        for fault, is_done in (("before", False), ("after", True)):
            inner.delete_below("")
            inner.set("a", b"1")
            inner.set("c/e", b"3")
            untouched = dict(inner.survey(""))
            with pytest.raises(LOST, match=f"{kind}.*{fault}"):
                request(UnreliableStore(inner, Faults(**{fault: 1.0})))
            changed = dict(inner.survey("")) != untouched or inner.get("a") != b"1"
            assert changed == is_done, (kind, fault)


def test_both_kinds_of_loss_come_and_only_those():
    store = UnreliableStore(MappingStore(dict(VALUES)), Faults(before=0.5, after=0.5))
    assert Counter(outcomes(store)).keys() == {"TimeoutError", "ConnectionResetError"}
    assert store.made["before"] + store.made["after"] == 200


def test_damaged_bodies_are_shorter_or_longer_and_never_of_the_right_length(tmp_path):
    inner = LocalStore(str(tmp_path))
    inner.set("a", bytes(range(100)))
    inner.set("empty", b"")
    cut, longer = UnreliableStore(inner, Faults(cut=1.0)), UnreliableStore(inner, Faults(longer=1.0))
    for _ in range(50):
        value = cut.get("a")
        assert bytes(range(100)).startswith(value)
        assert len(value) < 100
        assert longer.get("a").startswith(bytes(range(100)))
        assert len(longer.get("a")) > 100
        assert len(next(cut.get_many(["a"]))) < 100
        assert len(longer.get("a", ByteRange(5, 10))) > 10
        lengths = [len(part) for part in cut.get_ranges("a", [ByteRange(0, 9), ByteRange(50, 9), ByteRange(-9)])]
        assert sorted(lengths)[1:] == [9, 9]
        assert min(lengths) < 9
        memory = bytearray(100)
        size = cut.read_into("a", memoryview(memory))
        assert size < 100
        assert memory[:size] == bytes(range(100))[:size]
        assert memory[size:] != bytes(range(100))[size:]
        assert longer.read_into("a", memoryview(memory)) > 100
    assert (cut.get("empty"), cut.get("nothing"), longer.get("nothing")) == (b"", None, None)
    assert longer.get("empty") != b""


def test_what_fails_among_many_fails_at_its_turn():
    store = UnreliableStore(MappingStore(dict(VALUES)), Faults(before=0.1), seed=3)
    went_on = ended = 0
    for _ in range(100):
        values, keys = store.get_many(list(VALUES)), list(VALUES)
        for i, key in enumerate(keys):
            try:
                assert next(values) == VALUES[key]
            except LOST as error:
                assert repr(key) in str(error)  # noqa: PT017
                following = outcome(lambda values=values: next(values, "over"))
                went_on += following != "over"
                ended += following == "over"
                assert following in ("over", VALUES[keys[i + 1]], "TimeoutError", "ConnectionResetError")
                break
    assert went_on > 20
    assert ended > 20


def test_a_listing_may_be_of_a_while_ago():
    inner = MappingStore({})
    store = UnreliableStore(inner, Faults(stale=1.0), seed=1)
    for i in range(10):
        store.set(f"a/{i}", b"%d" % i)
    store.delete("a/0")
    store.set("b/c", b"1")
    seen, listed = set(), set()
    for _ in range(200):
        found = dict(store.survey("a"))
        seen.add(frozenset(found))
        assert all(key in found for key in found)
        listed.add(store.list_dir("a").keys)
        assert store.list_dir("").prefixes in (("a", "b"), ("a",), ())
    now = frozenset(key for key, _ in inner.survey("a"))
    assert any("a/0" in keys for keys in seen)  # deleted since
    assert any("a/9" not in keys for keys in seen)  # written since
    assert all(keys <= now | {"a/0"} for keys in seen)
    assert len(listed) > 3
    assert [store.get(f"a/{i}") for i in range(3)] == [None, b"1", b"2"]  # values are those of now
    assert store.made["stale"] == 600
    assert not hasattr(UnreliableStore(OnlyGets(), Faults(stale=1.0)), "survey")


def test_an_unreliable_store_pickles_and_counts_anew_elsewhere(monkeypatch):
    store = UnreliableStore(MappingStore(dict(VALUES)), Faults.of(0.3), seed=7)
    first = outcomes(store)
    assert pickle.loads(pickle.dumps(store)) is store
    pickled = pickle.dumps(store)
    monkeypatch.setattr("daskzarr.testing.store_wrapper._live", {})  # as in another process
    copy = pickle.loads(pickled)
    assert copy is not store
    assert (copy.faults, copy.seed, copy.made) == (store.faults, 7, Counter())
    assert outcomes(copy) == first


def test_threads_get_each_number_once():
    store = UnreliableStore(MappingStore(dict(VALUES)), Faults.of(0.3), seed=1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: outcome(lambda: store.get(key)), list(VALUES) * 10))
    assert store.made["requests"] == 2000
    lost = sum(value in ("TimeoutError", "ConnectionResetError") for value in found)
    assert lost == store.made["before"] + store.made["after"]
    again = UnreliableStore(MappingStore(dict(VALUES)), Faults.of(0.3), seed=1)
    for key in list(VALUES) * 10:
        outcome(lambda key=key: again.get(key))
    assert again.made == store.made


class TestUnreliableWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return UnreliableStore(LocalStore(str(tmp_path)), Faults())


# A file system that is far away


@pytest.fixture
def far():
    """A file system of this test's own."""
    fs = SlowFileSystem(uuid.uuid4().hex, seconds=0.005, jitter=0.005)
    yield fs
    SlowFileSystem.clear_instance_cache()


class TestSlowFileSystem(StoreContract):
    @pytest.fixture
    def store(self):
        yield FilesystemStore(SlowFileSystem(uuid.uuid4().hex, seconds=0.0), "top", "slow://top")
        SlowFileSystem.clear_instance_cache()


@pytest.mark.parametrize("requests", [1, 3, 16])
def test_many_values_from_far_away_are_asked_for_as_many_at_once_as_may_be(far, requests):
    store = FilesystemStore(far, "top", "slow://top")
    far.files.update({f"top/{i}": b"%d" % i for i in range(120) if i % 5})
    found = list(store.get_many([str(i) for i in range(120)], Traffic(requests=requests)))
    assert found == [b"%d" % i if i % 5 else None for i in range(120)]
    assert far.most == requests
    assert far.count == {"cat": 120}


def test_a_file_system_far_away_answers_so_many_at_once():
    few = SlowFileSystem(uuid.uuid4().hex, seconds=0.002, connections=4)
    few.files.update({f"top/{i}": b"%d" % i for i in range(40)})
    store = FilesystemStore(few, "top", "slow://top")
    assert waits(store)
    assert list(store.get_many([str(i) for i in range(40)])) == [b"%d" % i for i in range(40)]
    assert few.most == 4
    few.clear()
    assert (few.most, few.count) == (0, {})
    assert list(store.get_many(["1"])) == [b"1"]


def test_a_file_system_far_away_has_a_url():
    store = open_store("slow://top/a", storage_options={"name": uuid.uuid4().hex, "seconds": 0.0})
    store.set("b", b"1")
    assert (store.url, store.get("b"), store.shared) == ("slow://top/a", b"1", False)
    assert store.fs.count["pipe"] == 1
    assert pickle.loads(pickle.dumps(store)).get("b") == b"1"


def test_an_array_far_away_is_read_with_many_requests_at_once(far):
    store = FilesystemStore(far, "top", "slow://top")
    cells = np.arange(1, 401).reshape(20, 20)
    to_zarr(da.from_array(cells, chunks=10), store, chunks=(2, 2))
    far.clear()
    assert from_zarr(store, chunks=(20, 20)).sum().compute() == cells.sum()
    assert far.count["cat"] >= 100
    assert 12 <= far.most <= 16 + 2  # one task


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
