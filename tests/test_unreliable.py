"""Three requests of ten time out, break off, come damaged or late: every result is right, or an error that says so."""

import dataclasses
import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

from daskzarr import (
    append,
    consolidate,
    copy_node,
    create_group,
    delete_node,
    from_zarr,
    open_array,
    open_group,
    to_zarr,
    update_attributes,
)
from daskzarr.byte_range import ByteRange
from daskzarr.errors import DaskZarrError, StoreError
from daskzarr.stores import FilesystemStore, LocalStore, MappingStore, RetryBudget, Traffic, retries
from daskzarr.stores.retries import persist
from daskzarr.testing import Faults, SlowFileSystem, UnreliableStore
from daskzarr.testing.store_wrapper import StoreWrapper

EVERY = Faults.of(0.3)
LOST = Faults(before=0.2, after=0.1, slow=0.01)
KINDS = ("before", "after", "cut", "longer")

V2 = {"zarr_format": 2, "chunks": (4, 5)}
V3 = {"zarr_format": 3, "chunks": (4, 5)}
N5 = {"zarr_format": "n5", "chunks": (4, 5)}
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
FORMATS = {
    "v2 raw": V2 | {"compressor": None},
    "v2 blosc": V2 | {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}},
    "v3 sharded": {"zarr_format": 3, "chunks": (2, 5), "shards": (4, 10)},
    "v3 crc32c": V3 | {"codecs": [LITTLE, {"name": "crc32c"}]},
    "v3 zstd": V3 | {"compressors": "zstd"},
    "n5 raw": N5 | {"compressor": None},
    "n5 gzip": N5 | {"compressor": {"id": "gzip", "level": 1}},
}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Requests are tried again at once, and often enough."""
    monkeypatch.setattr(retries, "BUDGET", RetryBudget(seconds=60, attempts=14, first_wait=2e-6))
    with dask.config.set(scheduler="threads", num_workers=4):
        yield


def inner_store(kind, tmp_path):
    """A store that can be relied on: one that does not wait, one that reads into memory, one that overlaps requests."""
    if kind == "dict":
        return MappingStore({})
    if kind == "local":
        return LocalStore(str(tmp_path / "store"))
    return FilesystemStore(SlowFileSystem(uuid.uuid4().hex, seconds=0.0), "top", "slow://top")


STORES = pytest.mark.parametrize("kind", ["dict", "local", "slow"])


# Stores


@STORES
@pytest.mark.parametrize("seed", [1, 2])
def test_every_request_that_is_tried_again_has_its_effect_once(tmp_path, kind, seed):
    inner = inner_store(kind, tmp_path)
    store, chance = UnreliableStore(inner, dataclasses.replace(LOST, stale=0.0), seed), random.Random(seed)
    model = {}
    for step in range(700):
        key = f"{chance.choice('ab')}/{chance.randrange(12)}"
        match chance.choice(["set", "set", "get", "range", "many", "delete", "below", "list", "size", "survey"]):
            case "set":
                model[key] = b"%d of %s " % (step, key.encode()) * chance.randrange(4)
                persist(store.set, key, model[key])
            case "get":
                assert persist(store.get, key) == model.get(key)
            case "range":
                wanted = ByteRange(chance.randrange(-9, 9), chance.choice([None, 0, 5]))
                assert persist(store.get, key, wanted) == (wanted.of(model[key]) if key in model else None)
            case "many":
                keys = [f"a/{chance.randrange(16)}" for _ in range(chance.randrange(20))]
                traffic = Traffic(requests=chance.choice([1, 3, 16]))
                assert list(retries.get_many(store, keys, traffic)) == [model.get(key) for key in keys]
            case "delete":
                persist(store.delete, key)
                model.pop(key, None)
            case "below" if step % 5 == 0:
                persist(store.delete_below, "b")
                model = {key: value for key, value in model.items() if not key.startswith("b/")}
            case "list":
                names = {key.partition("/")[2] for key in model if key.startswith("a/")}
                assert set(persist(store.list_dir, "a").keys) == names
            case "size":
                assert persist(store.size, key) == (len(model[key]) if key in model else None)
            case "survey":
                assert {key for key, _ in persist(store.survey, "")} == set(model)
    assert {key: bytes(inner.get(key)) for key, _ in inner.survey("")} == model
    assert store.made["requests"] > 1000
    assert all(store.made[fault] > 50 for fault in ("before", "after"))


@STORES
def test_values_of_many_keys_are_right_or_visibly_damaged(tmp_path, kind):
    inner = inner_store(kind, tmp_path)
    values = {f"c/{i}": bytes(range(256)) + b"%d" % i for i in range(60) if i % 4}
    for key, value in values.items():
        inner.set(key, value)
    store = UnreliableStore(inner, EVERY, seed=5)
    keys, damaged = [f"c/{i}" for i in range(60)], 0
    for turn in range(20):
        found = list(retries.get_many(store, keys, Traffic(requests=1 + turn)))
        assert len(found) == 60
        for key, value in zip(keys, found, strict=True):
            assert (value is None) == (key not in values)  # never nothing in the place of a failure
            if value != values.get(key):
                damaged += 1
                assert len(value) != len(values[key])
    assert 20 < damaged < 300
    assert store.made["requests"] > 1200
    assert all(store.made[fault] > 10 for fault in KINDS)


def test_threads_that_try_again_do_not_disturb_each_other(tmp_path):
    store = UnreliableStore(LocalStore(str(tmp_path)), LOST, seed=3)

    def work(thread):
        for turn in range(30):
            key, value = f"{thread}/{turn % 7}", b"%d %d" % (thread, turn)
            persist(store.set, key, value)
            assert persist(store.get, key) == value
            assert list(retries.get_many(store, [key, f"{thread}/x", key])) == [value, None, value]
            if turn % 3 == 0:
                persist(store.delete, key)
                assert persist(store.get, key) is None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


@pytest.mark.parametrize("kind", ["dict", "local"])
def test_whoever_creates_what_is_there_is_the_one_whose_value_is_there(tmp_path, kind):
    """An answer that was lost leaves open whether an attempt won: the value tells."""
    store = UnreliableStore(inner_store(kind, tmp_path), LOST, seed=4)
    ready = threading.Barrier(8)

    def create(number, key):
        ready.wait(20)
        return persist(store.create, key, b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        for turn in range(25):
            key = f"locks/{turn}"
            answers = list(pool.map(create, range(8), [key] * 8))
            assert answers.count(True) <= 1
            winner = int(persist(store.get, key))
            assert answers.count(True) == 0 or answers[winner]


# Arrays


class Trial:
    """An array, what it has to hold, and of which cells that is known."""

    def __init__(self, store, inner, options, seed):
        self.store, self.inner, self.options = store, inner, options
        self.chance = random.Random(seed)
        self.count = 0
        self.outcomes = Counter()
        self.urls = set()
        self.model = self.known = None

    def cells(self, *shape):
        """Numbers that were nowhere before, and none of them the fill value."""
        first, self.count = self.count + 1, self.count + int(np.prod(shape))
        return np.arange(first, self.count + 1, dtype="i4").reshape(shape)

    def attempt(self, call):
        """What a call gives, and whether it did; it may fail in a way that has a name."""
        try:
            found = call()
        except DaskZarrError as error:
            self.outcomes["named errors"] += 1
            self.urls.add(error.url)
            return False, error
        self.outcomes["done"] += 1
        return True, found

    def make(self):
        """A new array in the place of whatever is there."""
        while True:
            cells = self.cells(self.chance.randrange(4, 20), self.chance.randrange(5, 25))
            arr = da.from_array(cells, chunks=(4, 10))
            done, _ = self.attempt(lambda arr=arr: to_zarr(arr, self.store, "a", overwrite=True, **self.options))
            if done:
                self.model, self.known = cells, np.ones(cells.shape, bool)
                return

    def box(self):
        """A part of the array."""
        edges = [sorted(self.chance.sample(range(length + 1), 2)) for length in self.model.shape]
        return tuple(slice(start, stop) for start, stop in edges)

    def same(self, found, box=(slice(None), slice(None))):
        """Whether cells are what they have to be, as far as that is known."""
        assert found.shape == self.model[box].shape
        known = self.known[box]
        np.testing.assert_array_equal(found[known], self.model[box][known])

    def read(self):
        """Read all, or a part."""
        box = self.chance.choice([(slice(None), slice(None)), self.box(), self.box()])
        chunks = self.chance.choice([None, (8, 10), "auto"])
        done, found = self.attempt(lambda: from_zarr(self.store, "a", chunks=chunks)[box].compute())
        if done:
            self.same(found, box)

    def write(self):
        """Write a part; what becomes of it is not known if that fails."""
        box = self.box()
        cells = self.cells(*self.model[box].shape)
        arr = da.from_array(cells, chunks=(3, 7))
        done, _ = self.attempt(lambda: to_zarr(arr, self.store, "a", region=box, mode="r+"))
        self.model[box], self.known[box] = cells, done

    def grow(self):
        """Append rows; they are all there or none, and again they may be."""
        length = self.model.shape[0]
        cells = self.cells(self.chance.randrange(1, 6), self.model.shape[1])
        arr = da.from_array(cells, chunks=(3, 7))
        for _ in range(20):
            done, _ = self.attempt(lambda: append(arr, self.store, "a", axis=0, at=length))
            there = open_array(self.inner, "a").shape[0]
            assert there in (length, length + len(cells))
            assert there > length or not done
            self.same(from_zarr(self.inner, "a")[:length].compute(), (slice(length), slice(None)))
            if done:
                break
        assert done
        self.model = np.concatenate([self.model, cells])
        self.known = np.concatenate([self.known, np.ones(cells.shape, bool)])

    def replace(self):
        """Overwrite: the old array or the new one is there."""
        cells = self.cells(self.chance.randrange(4, 20), self.chance.randrange(5, 25))
        arr = da.from_array(cells, chunks=(4, 10))
        done, _ = self.attempt(lambda: to_zarr(arr, self.store, "a", overwrite=True, **self.options))
        found = from_zarr(self.inner, "a").compute()
        if done or (found.shape == cells.shape and (found == cells).all()):
            self.model, self.known = cells, np.ones(cells.shape, bool)
        self.same(found)

    def run(self, requests):
        """Do this and that until there were so many requests."""
        self.make()
        while self.store.made["requests"] < requests:
            self.chance.choice([self.read, self.read, self.read, self.write, self.write, self.grow, self.replace])()
        assert self.urls <= {self.store.url}
        self.same(from_zarr(self.inner, "a").compute())


@STORES
@pytest.mark.parametrize("options", FORMATS.values(), ids=list(FORMATS))
def test_arrays_are_right_or_an_error_says_so(tmp_path, kind, options):
    inner = inner_store(kind, tmp_path)
    store = UnreliableStore(inner, EVERY, seed=len(kind))
    trial = Trial(store, inner, options, seed=1)
    trial.run(requests=480)
    assert trial.outcomes["done"] > 8
    assert all(store.made[fault] for fault in KINDS)


@STORES
@pytest.mark.parametrize("options", FORMATS.values(), ids=list(FORMATS))
def test_answers_that_get_lost_are_no_errors(tmp_path, kind, options):
    inner = inner_store(kind, tmp_path)
    trial = Trial(UnreliableStore(inner, LOST, seed=2), inner, options, seed=3)
    trial.run(requests=150)
    assert trial.outcomes["named errors"] == 0


@STORES
@pytest.mark.parametrize("options", FORMATS.values(), ids=list(FORMATS))
def test_chunks_damaged_on_their_way_are_read_again(tmp_path, kind, options):
    inner = inner_store(kind, tmp_path)
    cells = np.arange(1, 601, dtype="i4").reshape(20, 30)
    to_zarr(da.from_array(cells, chunks=(4, 10)), inner, "a", **options)
    damaging = UnreliableStore(inner, Faults(cut=0.1, longer=0.1), seed=1)
    right = wrong = 0
    for _ in range(40):
        try:
            found = from_zarr(damaging, "a").compute()
        except DaskZarrError:
            wrong += 1
            continue
        np.testing.assert_array_equal(found, cells)
        right += 1
    # An array's document that is damaged is an error; of chunks, hardly one in 600 comes damaged four times.
    assert right > 20
    assert damaging.made["cut"] > 20


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_store_that_never_answers_is_an_error_that_says_how_often_it_was_asked(monkeypatch, fault):
    inner = MappingStore({})
    to_zarr(da.arange(1, 5, chunks=2), inner)
    monkeypatch.setattr(retries, "BUDGET", RetryBudget(seconds=60, attempts=5, first_wait=1e-6))
    dead = UnreliableStore(inner, Faults(**{fault: 1.0}))
    array = from_zarr(inner)
    for call in (
        lambda: from_zarr(dead),
        lambda: to_zarr(da.arange(4, chunks=2), dead, "b"),
        lambda: to_zarr(array, dead, region=(slice(0, 4),), mode="r+"),
        lambda: open_group(dead),
    ):
        with pytest.raises(StoreError, match="lost") as caught:
            call()
        assert caught.value.url == inner.url
        assert "5 attempts" in "".join(_notes(caught.value))


def _notes(error):
    """What was added to an error and to its causes."""
    while error is not None:
        yield str(error)
        yield from getattr(error, "__notes__", ())
        error = error.__cause__


def test_absent_chunks_are_fill_and_others_never(tmp_path):
    inner = LocalStore(str(tmp_path))
    cells = np.zeros((20, 20), "i4")
    cells[:, ::10] = np.arange(1, 41).reshape(20, 2)
    cells[4:8] = 0  # chunks of nothing but fill are not stored
    to_zarr(da.from_array(cells, chunks=(4, 5)), inner, chunks=(4, 5), compressors=None)
    assert len([key for key, _ in inner.survey("c")]) == 8
    store = UnreliableStore(inner, EVERY, seed=1)
    done = 0
    for _ in range(60):
        try:
            found = from_zarr(store).compute()
        except DaskZarrError:
            continue
        np.testing.assert_array_equal(found, cells)
        done += 1
    assert done > 20


class Swallows(StoreWrapper):
    """A store as it must not be: what fails is taken for what is not there."""

    def get(self, key, byte_range=None):
        try:
            return self.store.get(key, byte_range)
        except OSError:
            return None

    def get_many(self, keys, traffic=None):
        return (self.get(key) for key in keys)


def test_the_trials_notice_fill_in_the_place_of_a_failure():
    inner = MappingStore({})
    trial = Trial(Swallows(inner), inner, FORMATS["v3 crc32c"], seed=1)
    trial.make()
    trial.store = Swallows(UnreliableStore(inner, Faults(before=0.1), seed=6))
    with pytest.raises(AssertionError, match="Mismatched"):
        any(trial.read() for _ in range(100))


# Hierarchies


def nodes_of(group):
    """What a group shows of all below it."""
    return {path: (dict(node.attrs), getattr(node, "shape", None)) for path, node in group.walk()}


@STORES
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_groups_are_true(tmp_path, kind, zarr_format):
    inner = inner_store(kind, tmp_path)
    store = UnreliableStore(inner, LOST, seed=zarr_format)
    cells = np.arange(1, 61, dtype="i4").reshape(6, 10)
    arr = da.from_array(cells, chunks=(3, 5))
    create_group(store, "g", zarr_format=zarr_format, attributes={"a": 1})
    to_zarr(arr, store, "g/x", zarr_format=zarr_format, attributes={"units": "K"})
    consolidate(store)
    for turn in range(6):
        update_attributes(store, {"turn": turn}, "g/x")
        to_zarr(arr + turn, store, f"g/y{turn}", zarr_format=zarr_format)
        append(arr, store, "g/x", axis=0, at=6 * (turn + 1))
        copy_node(store, store, "g/x", f"h/z{turn}")
        if turn % 2:
            delete_node(store, f"g/y{turn - 1}")
        known = nodes_of(open_group(inner, zarr_format=zarr_format, consolidated=False))
        assert nodes_of(open_group(inner, zarr_format=zarr_format, consolidated=True)) == known
        assert nodes_of(open_group(store, zarr_format=zarr_format, consolidated=True)) == known
        assert known["g/x"] == ({"units": "K", "turn": turn}, (6 * (turn + 2), 10))
        found = from_zarr(store, f"h/z{turn}", consolidated=True).compute()
        np.testing.assert_array_equal(found, np.concatenate([cells] * (turn + 2)))
        np.testing.assert_array_equal(from_zarr(store, f"g/y{turn}", consolidated=True).compute(), cells + turn)
    assert store.made["requests"] > 200


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_damaged_documents_are_errors_or_right(zarr_format):
    inner = MappingStore({})
    for name in "abc":
        to_zarr(da.arange(1, 31, chunks=10), inner, name, zarr_format=zarr_format, attributes={"name": name * 50})
    consolidate(inner)
    known = nodes_of(open_group(inner, zarr_format=zarr_format))
    store = UnreliableStore(inner, Faults(before=0.1, cut=0.1, longer=0.1), seed=1)
    outcomes = Counter()
    for _ in range(150):
        try:
            found = nodes_of(open_group(store, zarr_format=zarr_format, consolidated=True))
        except DaskZarrError as error:
            outcomes[type(error).__name__] += 1
            continue
        assert found == known
        outcomes["right"] += 1
    assert outcomes["right"] > 60
    assert outcomes.keys() <= {"right", "MetadataError"}


def test_a_listing_of_a_while_ago_changes_no_array():
    inner = MappingStore({})
    store = UnreliableStore(inner, Faults(stale=1.0), seed=1)
    trial = Trial(store, inner, FORMATS["v3 zstd"], seed=5)
    trial.run(requests=400)
    assert trial.outcomes["named errors"] == 0
