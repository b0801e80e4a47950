"""A MongoDB collection as a store.

Where no mongod is to be had the server is SecantusDB, which speaks MongoDB's protocol and keeps data by the same engine
(WiredTiger), but is not MongoDB: what these tests show then is how the store and pymongo work together.
"""

import os
import subprocess
import sys
import threading
import time
import uuid

import pytest

from daskzarr import StoreError
from daskzarr.byte_range import ByteRange
from daskzarr.stores import open_store
from daskzarr.stores.databases import mongodb, mongodb_ids, mongodb_parts
from daskzarr.testing import StoreContract
from daskzarr.testing.contract.creating import Creating
from daskzarr.testing.contract.deleting import Deleting
from daskzarr.testing.contract.parts import Parts
from daskzarr.testing.contract.reading import Reading
from daskzarr.testing.contract.siblings import Siblings
from daskzarr.testing.contract.values import distinct_bytes

pymongo = pytest.importorskip("pymongo")

line = os.environ.get("DASKZARR_TEST_MONGODB", "")
pytestmark = pytest.mark.skipif(not line, reason="needs a server: ci/services mongodb")
SERVER, _, PARAMETERS = line.partition(" ")[0].partition("?")
URL = f"{SERVER.rstrip('/')}/daskzarr-tests?{PARAMETERS or 'retryWrites=true'}"


@pytest.fixture(scope="module")
def database():
    """The database, by pymongo itself."""
    with pymongo.MongoClient(f"{SERVER}?{PARAMETERS}") as client:
        yield client["daskzarr-tests"]


@pytest.fixture
def collection(database):
    """The name of a collection that no other test uses."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    for each in database.list_collection_names():
        if each.startswith(name):
            database.drop_collection(each)


@pytest.fixture
def store(collection):
    return open_store(f"{URL}&collection={collection}")


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, store):
        return store

    def seed(self, store, values):
        """One request for all values that need no parts."""
        documents = [{"_id": key, "size": len(value), "value": value} for key, value in values.items()]
        small = [each for each in documents if each["size"] <= mongodb.LARGEST]
        if small:
            put = [pymongo.ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in small]
            store._all.documents.bulk_write(put)
        super().seed(store, {key: value for key, value in values.items() if len(value) > mongodb.LARGEST})

    def spoil(self, store, key):
        store._all.documents.replace_one({"_id": key}, {"some": "other document"})
        return True


class TestContractInParts(Reading, Parts, Creating, Deleting, Siblings):
    """Every value of more than some bytes is in parts. That takes many requests: here is what it can make different."""

    big = 2**20

    @pytest.fixture
    def store(self, store, small_parts):
        return store


@pytest.fixture
def small_parts(monkeypatch):
    """Values of more than 100 bytes are in parts, of 10,000 bytes each."""
    monkeypatch.setattr(mongodb, "LARGEST", 100)
    monkeypatch.setattr(mongodb_parts, "PART", 10_000)


def contents(database, collection):
    """What is in a collection, and its parts: what their names end with."""
    parts = [each["_id"] for each in database[collection + ".parts"].find({}, {"_id": 1}).sort("_id", 1)]
    return {each["_id"]: each for each in database[collection].find()}, [name[-8:] for name in parts]


def test_documents(database, collection, store, small_parts):
    value = distinct_bytes(25_000)
    store.set("a/b", b"123")
    store.set("a/c", value)
    documents, parts = contents(database, collection)
    assert documents["a/b"] == {"_id": "a/b", "size": 3, "value": b"123"}
    assert {**documents["a/c"], "parts": ""} == {"_id": "a/c", "size": 25_000, "parts": "", "part": 10_000}
    assert parts == ["00000000", "00000001", "00000002"]
    assert store.get("a/c") == value


def test_values_of_16_mib(store):
    values = {f"a/{size}": distinct_bytes(size, start=size) for size in (mongodb.LARGEST, mongodb.LARGEST + 1, 2**24)}
    for key, value in values.items():
        store.set(key, value)
    assert [bytes(value) for value in store.get_many(list(values))] == list(values.values())
    assert dict(store.survey("a")) == {key: len(value) for key, value in values.items()}
    assert bytes(store.get(f"a/{2**24}", ByteRange(-5))) == values[f"a/{2**24}"][-5:]


@pytest.mark.parametrize("old", [0, 50, 15_000, 40_000])
@pytest.mark.parametrize("new", [0, 50, 15_000, 40_000])
def test_the_parts_of_a_value_go_with_it(database, collection, store, small_parts, old, new):
    store.set("a", distinct_bytes(old))
    store.set("a", distinct_bytes(new, start=99))
    assert (store.get("a"), store.size("a")) == (distinct_bytes(new, start=99), new)
    assert len(contents(database, collection)[1]) == (-(-new // 10_000) if new > 100 else 0)
    assert store.create("a", distinct_bytes(old)) is False
    assert len(contents(database, collection)[1]) == (-(-new // 10_000) if new > 100 else 0)
    store.delete("a")
    assert contents(database, collection) == ({}, [])
    assert store.create("a", distinct_bytes(old)) is True
    store.delete_below("")
    assert contents(database, collection) == ({}, [])


def test_deleting_below_takes_the_parts_below_and_no_others(database, collection, store, small_parts):
    value = distinct_bytes(15_000)
    for key in ("a", "a/b", "a/c/d", "a.b", "a0", "ab/c"):
        store.set(key, value)
    store.delete_below("a")
    assert list(contents(database, collection)[0]) == ["a", "a.b", "a0", "ab/c"]
    assert len(contents(database, collection)[1]) == 8
    assert [store.get(key) for key in ("a", "a.b", "a0", "ab/c")] == [value] * 4


def test_a_piece_is_read_from_the_parts_it_lies_in(database, collection, store, small_parts, monkeypatch):
    monkeypatch.setattr(mongodb, "_PAUSE", 0.0)
    value = distinct_bytes(95_000)
    store.set("a", value)
    database[collection + ".parts"].delete_many({"_id": {"$regex": "[0457]$"}})  # as if nobody could read them
    ranges = [ByteRange(10_000, 20_000), ByteRange(-5000), ByteRange(29_999, 1), ByteRange(61_000, 5), ByteRange(7, 0)]
    assert store.get_ranges("a", ranges) == [
        value[10_000:30_000],
        value[-5000:],
        value[29_999:30_000],
        value[61_000:61_005],
        b"",
    ]
    assert store.get("a", ByteRange(-95_000 + 12_000, 3)) == value[12_000:12_003]
    for byte_range in (ByteRange(9_999, 2), ByteRange(0), ByteRange(30_000, 20_000)):
        with pytest.raises(StoreError, match="damaged"):
            store.get("a", byte_range)
    with pytest.raises(StoreError, match="damaged"):
        store.get("a")


@pytest.mark.parametrize(
    "document",
    [
        {"value": b"123"},
        {"size": 3},
        {"size": 4, "value": b"123"},
        {"size": -1, "value": b""},
        {"size": 3, "value": "123"},
        {"size": 3, "parts": 7, "part": 1},
        {"size": 3, "parts": "a", "part": 0},
        {"size": 3, "parts": "a"},
        {"size": 2**62, "parts": "a", "part": 1},
        {"size": 10.0, "value": b"0123456789"},
    ],
)
def test_a_damaged_document_is_never_a_value_nor_missing(database, collection, store, document):
    database[collection].insert_one({"_id": "a", **document})
    for request in (store.get, lambda key: list(store.get_many([key])), lambda key: store.get(key, ByteRange(0, 2))):
        with pytest.raises(StoreError, match="damaged"):
            request("a")
    size = document.get("size")
    assert list(store.survey("")) == [("a", size if type(size) is int and size >= 0 else None)]
    store.set("a", b"1")
    assert store.get("a") == b"1"


def test_documents_of_others_are_let_be(database, collection, store):
    database[collection].insert_one({"key": "x", "value": b"as zarr-python 2 keeps it"})
    store.set("a/b", b"1")
    assert store.list_dir("") == ((), ("a",))
    assert list(store.survey("")) == [("a/b", 1)]
    store.delete_below("")
    assert database[collection].count_documents({}) == 1


def test_a_listing_does_not_look_at_every_key(database, collection, store, monkeypatch):
    documents = [{"_id": f"g/{a}/c/{i}", "size": 0, "value": b""} for a in "uvw" for i in range(700)]
    database[collection].insert_many([*documents, {"_id": "g/zarr.json", "size": 0, "value": b""}])
    looked_at = []
    monkeypatch.setattr(mongodb, "ids", lambda *args: (looked_at.append(key) or key for key in mongodb_ids.ids(*args)))
    assert store.list_dir("g") == (("zarr.json",), ("u", "v", "w"))
    assert looked_at == ["g/u/c/0", "g/v/c/0", "g/w/c/0", "g/zarr.json"]
    assert len(store.list_dir("g/v/c").keys) == 700


# Writers that die, and what they leave


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


def test_a_writer_that_is_killed_leaves_a_whole_value(database, collection, store):
    old = b"\xff" * 20_000_000
    store.set("a/b", old)
    left = 0
    for pause in (0.05, 0.15, 0.4):
        url = f"{URL}&collection={collection}"
        with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"begun\n"
            time.sleep(pause)
            writer.kill()
        value = bytes(store.get("a/b"))
        assert value.count(value[:1]) == len(value) == 20_000_000
        assert store.list_dir("a") == (("b",), ())
        leftovers = list(store.leftovers("a"))
        assert leftovers == list(store.leftovers(""))
        assert list(store.leftovers("b")) == []
        left += len(leftovers)
        for key in leftovers:
            store.delete(key)
        assert list(store.leftovers("")) == []
        assert store.get("a/b") == value
        assert len(contents(database, collection)[1]) == 20
    assert left


def test_what_a_writer_leaves_wherever_it_is_killed(database, collection, store, small_parts, monkeypatch):
    value = distinct_bytes(25_000)
    for place in ("insert_many", "_put", "finish", "remove"):
        store.set("a", distinct_bytes(15_000))
        with monkeypatch.context() as patch:
            if place == "insert_many":
                patch.setattr(mongodb_parts, "send", send_half)
            elif place == "_put":
                patch.setattr(mongodb.MongoDBStore, "_put", stop)
            else:
                patch.setattr(mongodb_parts, place, stop)
            with pytest.raises(KeyboardInterrupt):
                store.set("a", value)
        new = place in ("finish", "remove")
        assert store.get("a") == (value if new else distinct_bytes(15_000))
        leftovers = list(store.leftovers(""))
        assert [name.partition(".")[0] for name in leftovers] == ["a"] * len(leftovers)
        assert leftovers
        for key in leftovers:
            store.delete(key)
        assert list(store.leftovers("")) == []
        assert store.get("a") == (value if new else distinct_bytes(15_000))
        assert len(contents(database, collection)[1]) == (3 if new else 2)


def stop(*args):
    raise KeyboardInterrupt


def send_half(parts, key, value):
    upload = mongodb_parts.Upload(key, uuid.uuid4().hex)
    parts.insert_one({"_id": upload.claim})
    parts.insert_one({"_id": upload.part(0), "value": bytes(value[:10_000])})
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["_put", "finish"])
def test_a_writer_taken_for_dead_writes_again(database, collection, store, small_parts, monkeypatch, place):
    value, swept = distinct_bytes(25_000), []
    owner = mongodb.MongoDBStore if place == "_put" else mongodb_parts
    go_on = getattr(owner, place)

    def sweep_first(*args):
        if not swept:
            swept.extend(store.leftovers(""))
            for key in swept:
                store.delete(key)
        return go_on(*args)

    monkeypatch.setattr(owner, place, sweep_first)
    store.set("a", value)
    assert len(swept) == 1
    assert store.get("a") == value
    assert list(store.leftovers("")) == []
    assert len(contents(database, collection)[1]) == 3


def test_a_writer_that_another_one_overtakes(database, collection, store, small_parts, monkeypatch):
    mine, other = distinct_bytes(25_000), distinct_bytes(15_000, start=9999)
    finish = mongodb_parts.finish

    def finish_late(parts, upload):
        monkeypatch.setattr(mongodb_parts, "finish", finish)
        store.set("a", other)
        return finish(parts, upload)

    monkeypatch.setattr(mongodb_parts, "finish", finish_late)
    store.set("a", mine)
    assert store.get("a") == other
    assert list(store.leftovers("")) == []
    assert len(contents(database, collection)[1]) == 2


def test_writers_and_a_sweeper(database, collection, store, small_parts):
    """What was written and acknowledged is there, however often others take it for a leftover."""
    done = threading.Event()
    failures = []

    def sweep():
        try:
            while not done.is_set():
                for key in store.leftovers(""):
                    store.delete(key)
                done.wait(0.1)  # or no writer would ever come to its end
        except Exception as error:
            failures.append(error)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for turn in range(8):
            value = distinct_bytes(25_000, start=turn * 5000)
            store.set("a", value)
            assert store.get("a") == value
    finally:
        done.set()
        sweeper.join()
    assert failures == []
    for key in store.leftovers(""):
        store.delete(key)
    assert store.get("a") == value
    assert len(contents(database, collection)[1]) == 3


def test_deleting_below_while_others_write(database, collection, store, small_parts):
    """Each value is there whole or not at all, and nothing is left of what went."""
    done = threading.Event()

    def clear():
        while not done.is_set():
            store.delete_below("a")

    clearer = threading.Thread(target=clear)
    clearer.start()
    try:
        for turn in range(8):
            value = distinct_bytes(25_000, start=turn * 5000)
            store.set("a/b", value)
            assert store.get("a/b") in (value, None)
    finally:
        done.set()
        clearer.join()
    store.set("a/b", value)
    assert store.get("a/b") == value
    for key in list(store.leftovers("")):
        store.delete(key)
    assert (store.get("a/b"), len(contents(database, collection)[1])) == (value, 3)


def test_synced_writes_wait_for_most_servers_and_their_journals(store):
    assert store.synced()._all.documents.write_concern.document == {"w": "majority", "j": True}
    assert store.synced()._all.parts.write_concern.document == {"w": "majority", "j": True}
    assert store._all.documents.write_concern.document == {}
