"""Sessions of icechunk: arrays both ways, what icechunk cannot hold, sessions committed, forked and in conflict."""

import json
import pickle

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr import StoreError, UnsupportedError, WriteFailedError
from daskzarr.byte_range import ByteRange
from daskzarr.stores import Location, waits
from daskzarr.stores.remote.icechunk import IcechunkStore, icechunk_store_of
from daskzarr.testing import distinct_values
from daskzarr.testing.contract.values import RANGES
from daskzarr.testing.other_process import in_another_process, read, use_across_a_fork

icechunk = pytest.importorskip("icechunk")
zarr = pytest.importorskip("zarr")

VALUES = distinct_values((11, 10), "i4", 1)
GROUP = b'{"zarr_format": 3, "node_type": "group", "attributes": {"a": 1}}'


@pytest.fixture
def folder(tmp_path):
    """A repository that other processes see."""
    return icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repository")))


@pytest.fixture(params=["memory", "folder"])
def repository(request):
    if request.param == "folder":
        return request.getfixturevalue("folder")
    return icechunk.Repository.create(icechunk.in_memory_storage())


@pytest.fixture
def session():
    return icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")


@pytest.fixture
def store(session):
    """A store with an array of 11 x 10 at a/b, in chunks of 3 x 4, a scalar at a/s, and an odd group at a/c/0."""
    store = icechunk_store_of(session.store)
    zarr.create_array(session.store, name="a/b", data=VALUES, chunks=(3, 4), compressors=None)
    zarr.create_array(session.store, name="a/s", shape=(), dtype="i2", compressors=None)[...] = 5
    store.set("a/c/zarr.json", GROUP)
    store.set("a/c/0/zarr.json", GROUP)
    return store


def blocks(values=VALUES, chunks=(3, 4)):
    return da.from_array(values, chunks=chunks)


def fork_of(session):
    """What another process gets."""
    return pickle.loads(pickle.dumps(session.fork()))


# Arrays


@pytest.mark.parametrize("settings", [{}, {"shards": (6, 8), "chunks": (3, 4)}], ids=["chunks", "shards"])
def test_written_here_and_read_by_zarr_python(repository, settings):
    session = repository.writable_session("main")
    store = icechunk_store_of(session.store)
    daskzarr.to_zarr(blocks(chunks=(6, 8)), store, component="a/b", **settings)
    assert np.array_equal(zarr.open_array(session.store, path="a/b", mode="r")[:], VALUES)
    assert session.has_uncommitted_changes
    session.commit("an array")
    there = repository.readonly_session("main").store
    assert np.array_equal(zarr.open_array(there, path="a/b", mode="r")[:], VALUES)
    assert np.array_equal(daskzarr.from_zarr(icechunk_store_of(there), component="a/b").compute(), VALUES)


@pytest.mark.parametrize("settings", [{}, {"shards": (6, 8)}], ids=["chunks", "shards"])
def test_written_by_zarr_python_and_read_here(repository, settings):
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="a/b", data=VALUES, chunks=(3, 4), fill_value=7, **settings)
    session.commit("an array")
    arr = daskzarr.from_zarr(icechunk_store_of(repository.readonly_session("main").store), component="a/b")
    assert np.array_equal(arr.compute(), VALUES)
    assert np.array_equal(arr[2:9, 7].compute(), VALUES[2:9, 7])


def test_region_is_written(repository):
    session = repository.writable_session("main")
    daskzarr.to_zarr(blocks(), icechunk_store_of(session.store), component="a")
    session.commit("all")
    session = repository.writable_session("main")
    store = icechunk_store_of(session.store)
    box = (slice(2, 9), slice(1, 8))
    daskzarr.to_zarr(blocks(-VALUES[box], (7, 7)), store, component="a", region=box, mode="r+")
    expected = VALUES.copy()
    expected[box] = -VALUES[box]
    assert np.array_equal(zarr.open_array(session.store, path="a", mode="r")[:], expected)
    before = icechunk_store_of(repository.readonly_session("main").store)
    assert np.array_equal(daskzarr.from_zarr(before, component="a").compute(), VALUES)


def test_snapshot_goes_into_the_session_on_it(repository):
    session = repository.writable_session("main")
    daskzarr.to_zarr(blocks(), icechunk_store_of(session.store), component="a")
    session.commit("all")
    before = daskzarr.from_zarr(icechunk_store_of(repository.readonly_session("main").store), component="a")
    session = repository.writable_session("main")
    store = icechunk_store_of(session.store)
    daskzarr.to_zarr(before[::-1] + 1, store, component="a", region=(slice(None), slice(None)), mode="r+")
    assert np.array_equal(daskzarr.from_zarr(store, component="a").compute(), VALUES[::-1] + 1)


def test_overwritten_resized_and_deleted(session, store):
    daskzarr.to_zarr(blocks(VALUES[:6]), store, component="a/b", overwrite=True)
    daskzarr.resize(store, component="a/b", shape=(9, 10))
    array = zarr.open_array(session.store, path="a/b", mode="r")
    assert np.array_equal(array[:6], VALUES[:6])
    assert not array[6:].any()
    daskzarr.to_zarr(blocks(VALUES[6:9]), store, component="a/b", region=(slice(6, 9), slice(None)), mode="r+")
    daskzarr.resize(store, component="a/b", shape=(8, 10))
    assert np.array_equal(zarr.open_array(session.store, path="a/b", mode="r")[:], VALUES[:8])
    daskzarr.delete_node(store, component="a/b")
    assert store.list_dir("a") == (("zarr.json",), ("c", "s"))


def test_groups_are_made_and_opened(session, store):
    daskzarr.create_group(store, component="new/group", attributes={"x": [1, 2]})
    assert dict(zarr.open_group(session.store, path="new/group", mode="r").attrs) == {"x": [1, 2]}
    assert daskzarr.open_group(store, component="a").metadata.attributes == {}
    assert daskzarr.open_group(store, component="a/c").metadata.attributes == {"a": 1}
    daskzarr.update_attributes(daskzarr.open_array(store, component="a/b"), {"units": "m"})
    assert dict(zarr.open_array(session.store, path="a/b", mode="r").attrs) == {"units": "m"}
    daskzarr.consolidate(store)
    assert set(zarr.open_group(session.store, mode="r").group_keys()) == {"a", "new"}
    assert np.array_equal(daskzarr.from_zarr(store, component="a/b").compute(), VALUES)


def test_virtual_chunks_are_read(tmp_path):
    (tmp_path / "data").mkdir()
    values = distinct_values((40,), "<i4", 3)
    (tmp_path / "data" / "file").write_bytes(b"head" + values.tobytes())
    prefix = f"file://{tmp_path}/data/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, store=icechunk.local_filesystem_store(f"{tmp_path}/data/"))
    )
    repository = icechunk.Repository.create(
        icechunk.in_memory_storage(), config, authorize_virtual_chunk_access={prefix: None}
    )
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="v", shape=(40,), chunks=(20,), dtype="<i4", compressors=None)
    for i in range(2):
        session.store.set_virtual_ref(f"v/c/{i}", f"{prefix}file", offset=4 + 80 * i, length=80)
    store = icechunk_store_of(session.store)
    assert np.array_equal(daskzarr.from_zarr(store, component="v").compute(), values)
    assert store.size("v/c/1") == 80
    chunk = values[20:].tobytes()
    for offset, length in RANGES.values():
        assert store.get("v/c/1", ByteRange(offset, length)) == ByteRange(offset, length).of(chunk)
    daskzarr.to_zarr(blocks(values[:10] + 1, 10), store, component="v", region=(slice(5, 15),), mode="r+")
    expected = np.concatenate([values[:5], values[:10] + 1, values[15:]])
    assert np.array_equal(daskzarr.from_zarr(store, component="v").compute(), expected)
    assert (tmp_path / "data" / "file").read_bytes() == b"head" + values.tobytes()


# Keys


@pytest.mark.parametrize(("offset", "length"), RANGES.values(), ids=list(RANGES))
def test_ranges(store, offset, length):
    """Ranges that lead out of a value, too, of which icechunk gives other bytes or panics."""
    byte_range = ByteRange(offset, length)
    for key in ("a/b/c/1/2", "a/b/zarr.json", "a/s/c"):
        whole = bytes(store.get(key))
        assert bytes(store.get(key, byte_range)) == byte_range.of(whole)
        assert [bytes(part) for part in store.get_ranges(key, [byte_range] * 2)] == [byte_range.of(whole)] * 2
        assert store.size(key) == len(whole)
    for key in ("a/b/c/9/9", "q/c/0", "a/x", "q/zarr.json"):
        assert store.get(key, byte_range) is None
    assert store.get_ranges("a/b/c/0/9", [byte_range, ByteRange(0)]) == [None, None]


@pytest.mark.parametrize(
    "key",
    [
        *("a/b/c/4/0", "a/b/c/0/9", "a/b/c", "a/b/c/0", "a/b/c/0/0/0", "a/s/c/0", "c", "c/0", "q/c/0/0", "q/zarr.json"),
        *("a/c/0", "a/c/0/0", "a/c", "a/b", "a", "x", "", ".zarray", "a/.zgroup", "a/b/.zattrs", "a/b/0.0", "a//b"),
        *("a/b/c/00/0", "a/b/c/-1/0", "a/b/c/x", "a/b/c.0.0", "attributes.json", "a/b/c/0/0/zarr.json"),
    ],
)
def test_what_is_not_there(store, key):
    assert store.get(key) is None
    assert store.size(key) is None
    assert list(store.get_many([key, "a/zarr.json", key]))[::2] == [None, None]
    before = sorted(store.survey(""))
    store.delete(key)
    if key:
        store.delete_below(key + "/x")
    assert sorted(store.survey("")) == before


def test_listing(store):
    document = ("zarr.json",)
    assert {
        prefix: store.list_dir(prefix) for prefix in ("", "a", "a/b", "a/b/c", "a/b/c/1", "a/s", "a/c", "a/c/0")
    } == {
        "": (document, ("a",)),
        "a": (document, ("b", "c", "s")),
        "a/b": (document, ("c",)),
        "a/b/c": ((), ("0", "1", "2", "3")),
        "a/b/c/1": (("0", "1", "2"), ()),
        "a/s": (("c", "zarr.json"), ()),
        "a/c": (document, ("0",)),
        "a/c/0": (document, ()),
    }
    for prefix in ("q", "a/b/c/9", "a/b/c/1/1", "a/b/zarr.json", "a/s/c", "c", "a/b/x"):
        assert store.list_dir(prefix) == ((), ())


def test_survey(store, monkeypatch):
    monkeypatch.setattr("daskzarr.stores.remote.icechunk._LISTED", 3)
    chunks = {f"a/b/c/{i}/{j}" for i in range(4) for j in range(3)}
    others = {"zarr.json", "a/zarr.json", "a/s/zarr.json", "a/s/c", "a/c/zarr.json", "a/c/0/zarr.json"}
    assert {key for key, _ in store.survey("")} == chunks | others | {"a/b/zarr.json"}
    assert {key for key, _ in store.survey("a/b")} == chunks | {"a/b/zarr.json"}
    assert {key for key, _ in store.survey("a/b/c/2/")} == {f"a/b/c/2/{j}" for j in range(3)}
    assert list(store.survey("a/b/c/2/0")) == list(store.survey("q/r")) == []


def test_many_values_in_order(store):
    keys = [f"a/b/c/{i}/{j}" for i in range(6) for j in range(4)]
    values = list(store.get_many(keys))
    chunks = {f"a/b/c/{i}/{j}": (i < 4 and j < 3) for i in range(6) for j in range(4)}
    assert [value is not None for value in values] == [chunks[key] for key in keys]
    assert [None if value is None else bytes(value) for value in values] == [
        None if value is None else bytes(value) for value in map(store.get, keys)
    ]


@pytest.mark.parametrize("value", [b"x" * 48, bytearray(b"y" * 48), memoryview(np.arange(12)), b""])
def test_set_takes_any_buffer(store, value):
    store.set("a/b/c/0/0", value)
    assert store.get("a/b/c/0/0") == bytes(value)
    assert store.size("a/b/c/0/0") == len(bytes(value))


def test_delete_below(store):
    store.delete_below("a/b/c/1")
    store.delete_below("a/b/c/2/1")  # a chunk has nothing below it
    assert store.list_dir("a/b/c").prefixes == ("0", "2", "3")
    assert len(store.list_dir("a/b/c/2").keys) == 3
    store.delete("a/b/c/2/1")
    assert store.list_dir("a/b/c/2").keys == ("0", "2")
    store.delete_below("a/b")
    assert store.list_dir("a") == (("zarr.json",), ("c", "s"))
    store.delete_below("")
    assert list(store.survey("")) == []


def test_delete_of_a_document_takes_nothing_else_with_it(store):
    for key in ("zarr.json", "a/zarr.json", "a/c/zarr.json", "a/b/zarr.json"):
        with pytest.raises(UnsupportedError, match="all that is below"):
            store.delete(key)
    store.delete("a/c/0/zarr.json")
    store.delete("a/c/zarr.json")
    assert store.list_dir("a").prefixes == ("b", "s")


# What icechunk cannot hold


@pytest.mark.parametrize(
    "settings", [{"zarr_format": 2}, {"zarr_format": "n5"}, {"chunk_key_encoding": {"name": "v2"}}]
)
def test_other_formats_are_refused(session, settings):
    store = icechunk_store_of(session.store)
    with pytest.raises((UnsupportedError, WriteFailedError), match="Zarr v3 alone"):
        daskzarr.to_zarr(blocks(), store, component="a", **settings)


def test_append_says_what_to_do(store):
    with pytest.raises((StoreError, WriteFailedError), match="resize the array first"):
        daskzarr.append(blocks(VALUES[:3]), store, component="a/b", axis=0)
    assert np.array_equal(daskzarr.from_zarr(store, component="a/b").compute(), VALUES)


def test_bad_document_is_an_error_of_ours(store):
    with pytest.raises(StoreError, match=r"icechunk: .*missing field"):
        store.set("x/zarr.json", b'{"zarr_format": 3}')
    for key in ("q/c/0", "a/c/c/0", "a/b/c/9/0"):
        with pytest.raises(StoreError, match=r"no array|not an array|chunk index"):
            store.set(key, b"1")


# Sessions


def test_one_store_for_a_session(session):
    store = icechunk_store_of(session.store)
    assert icechunk_store_of(session.store) is icechunk_store_of(session) is store
    assert pickle.loads(pickle.dumps(store)) is store
    assert (store.shared, store.can_write, waits(store)) == (False, True, True)
    other = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    assert icechunk_store_of(other.store) != store
    assert not Location(store).overlaps(Location(icechunk_store_of(other.store)))


def test_other_places_are_none():
    for place in ("icechunk://a", {}, None, zarr.storage.MemoryStore(), object()):
        assert icechunk_store_of(place) is None


def test_snapshot_is_one_place(repository):
    session = repository.writable_session("main")
    daskzarr.to_zarr(blocks(), icechunk_store_of(session.store), component="a")
    session.commit("all")
    one, two = (icechunk_store_of(repository.readonly_session("main").store) for _ in range(2))
    assert one == two == pickle.loads(pickle.dumps(one))
    assert icechunk_store_of(session.store).url == one.url
    assert hash(one) == hash(two)
    assert (one.shared, one.can_write) == (True, False)
    names = [daskzarr.from_zarr(store, component="a").name for store in (one, two)]
    assert names[0] == names[1]


def test_read_only_is_refused(repository):
    session = repository.writable_session("main")
    writable = icechunk_store_of(session.store)
    daskzarr.to_zarr(blocks(), writable, component="a")
    view = icechunk_store_of(session.store.with_read_only(True))
    assert view.url == writable.url
    assert view != writable
    session.commit("all")
    snapshot = icechunk_store_of(repository.readonly_session("main").store)
    for store in (writable, view, snapshot):
        for change in (
            lambda store=store: store.set("a/c/0/0", b"1"),
            lambda store=store: store.delete("a/c/0/0"),
            lambda store=store: store.delete_below("a"),
        ):
            with pytest.raises(UnsupportedError, match="can only be read"):
                change()
        assert np.array_equal(daskzarr.from_zarr(store, component="a").compute(), VALUES)
    with pytest.raises(UnsupportedError, match="can only be read"):
        daskzarr.to_zarr(blocks(), snapshot, component="b")


def test_conflict_is_the_users():
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    first, second = repository.writable_session("main"), repository.writable_session("main")
    for session, values in ((first, VALUES), (second, -VALUES)):
        daskzarr.to_zarr(blocks(values), icechunk_store_of(session.store), component="a")
    first.commit("first")
    with pytest.raises(icechunk.ConflictError):
        second.commit("second")
    there = icechunk_store_of(repository.readonly_session("main").store)
    assert np.array_equal(daskzarr.from_zarr(there, component="a").compute(), VALUES)


def test_forked_sessions_are_merged(folder):
    """Each process writes a region to a session of its own, and the user merges them."""
    repository = folder
    session = repository.writable_session("main")
    daskzarr.create_array(icechunk_store_of(session.store), component="a", shape=(11, 10), chunks=(3, 4), dtype="i4")
    session.commit("an empty array")
    session = repository.writable_session("main")
    forks = [fork_of(session) for _ in range(2)]
    for fork, rows in zip(forks, (slice(0, 6), slice(6, 11)), strict=True):
        store = icechunk_store_of(fork.store)
        assert not store.shared
        daskzarr.to_zarr(blocks(VALUES[rows]), store, component="a", region=(rows, slice(None)), mode="r+")
    session.merge(*(pickle.loads(pickle.dumps(fork)) for fork in forks))
    session.commit("both")
    there = icechunk_store_of(repository.readonly_session("main").store)
    assert np.array_equal(daskzarr.from_zarr(there, component="a").compute(), VALUES)


def test_cluster_is_refused(session):
    store = icechunk_store_of(session.store)
    with dask.config.set(scheduler="processes"), pytest.raises(UnsupportedError):
        daskzarr.to_zarr(blocks(), store, component="a")


def test_session_in_another_process_says_so(store):
    copy = pickle.loads(pickle.dumps(store).replace(store.url.encode(), b"icechunk://session-" + b"0" * 32))
    assert copy.client is None
    for use in (
        lambda: copy.get("a/b/c/0/0"),
        lambda: next(iter(copy.get_many(["a/b/c/0/0"]))),
        lambda: copy.list_dir(""),
        lambda: copy.set("a/b/c/0/0", b""),
    ):
        with pytest.raises(UnsupportedError, match=r"session\.fork\(\)"):
            use()


# Processes


@pytest.fixture
def snapshot(folder):
    session = folder.writable_session("main")
    values = distinct_values((60, 40), "i4", 1)  # of which no chunk is kept in the manifest
    zarr.create_array(session.store, name="a", data=values, chunks=(15, 20), compressors=None)
    session.commit("all")
    return icechunk_store_of(folder.readonly_session("main").store)


@pytest.mark.parametrize("lost", ["snapshots", "manifests", "chunks"])
def test_what_cannot_be_read_is_not_missing(snapshot, tmp_path, lost):
    """Icechunk says that documents are not there where it cannot read the snapshot."""
    (tmp_path / "repository" / lost).rename(tmp_path / "lost")
    fresh = pickle.loads(pickle.dumps(snapshot))  # that remembers nothing
    asked = {
        "snapshots": (
            *(lambda: fresh.get("a/zarr.json"), lambda: fresh.get("q/zarr.json"), lambda: fresh.size("a/zarr.json")),
            *(lambda: fresh.list_dir(""), lambda: fresh.list_dir("a/c"), lambda: list(fresh.survey("a"))),
            *(lambda: fresh.get("q/c/0"), lambda: fresh.get("a/c/0/0", ByteRange(-4))),
        ),
        "manifests": (lambda: fresh.list_dir("a/c"), lambda: list(fresh.survey("")), lambda: fresh.size("a/c/0/0")),
        "chunks": (),
    }[lost]
    for ask in (*asked, lambda: fresh.get("a/c/0/0"), lambda: list(fresh.get_many(["a/c/0/0", "a/c/0/1"]))):
        with pytest.raises(StoreError, match="not found"):
            ask()


def test_snapshot_is_read_in_another_process(snapshot):
    keys = ["a/c/0/0", "a/c/3/1", "a/c/9/9", "zarr.json"]
    whole = [None if value is None else bytes(value) for value in snapshot.get_many(keys)]
    starts = [None if value is None else value[:3] for value in whole]
    assert in_another_process(read, snapshot, keys) == (whole, whole, starts)


def test_forked_process_raises(snapshot):
    child, parent = in_another_process(use_across_a_fork, snapshot, ["a/c/0/0", "a/c/3/1", "a/c/9/9"])
    assert child.startswith("raises UnsupportedError")
    assert parent == "works"


def test_documents_stay_as_they_were_written(session, store):
    document = json.loads(bytes(store.get("a/b/zarr.json")))
    text = json.dumps({**document, "odd": {"must_understand": False}}, indent=3).encode()
    store.set("a/b/zarr.json", text)
    assert store.get("a/b/zarr.json") == text
    assert isinstance(icechunk_store_of(session.store), IcechunkStore)
