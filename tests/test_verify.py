"""What was stored is deleted, torn, flipped, replaced and added to; verify names each, and nothing else."""

import json
import os
import pickle
import time
import zipfile
from dataclasses import dataclass, fields

import dask
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Terms, write_box
from daskzarr.codecs import CodecPipeline
from daskzarr.create import create_array, create_group
from daskzarr.errors import (
    MetadataError,
    NodeNotFoundError,
    StoreError,
    StorePermissionError,
    UnknownCodecError,
    UnsupportedError,
)
from daskzarr.hierarchy import StoredArray, open_array
from daskzarr.hierarchy.notes import notes_at
from daskzarr.journal import Receipt, begin, journal_for
from daskzarr.nodes import consolidate
from daskzarr.stores import LocalStore, MappingStore, locate, retries
from daskzarr.testing import FaultyStore, RecordingStore, WebServer
from daskzarr.verification import GroupReport, VerifyReport, verify

SHAPE, CHUNKS = (7, 10), (2, 3)
LEVELS = ("exists", "size", "digest", "decode")
KINDS = ("missing", "unwritten", "truncated", "corrupt", "changed", "orphaned", "leftover", "unfinished")
CHECKED = [{"id": "zstd", "level": 1}, {"id": "crc32c"}]
FORMATS = {
    "v3": {"compressors": CHECKED},
    "v3 raw": {"compressors": None},
    "v3 text": {"compressors": CHECKED, "dtype": "string"},
    "v3 dots": {"compressors": CHECKED, "chunk_key_encoding": {"name": "default", "separator": "."}},
    "v3 rectilinear": {"compressors": None, "chunks": ((2, 4, 1), 3)},
    "v3 shards": {"compressors": CHECKED, "shards": (4, 6)},
    "v2": {"zarr_format": 2, "compressor": {"id": "zlib", "level": 1}},
    "v2 raw": {"zarr_format": 2, "compressor": None, "dimension_separator": "/"},
    "v2 order F": {"zarr_format": 2, "compressor": {"id": "zlib", "level": 1}, "order": "F"},
    "n5": {"zarr_format": "n5", "compressor": {"id": "gzip", "level": 1}},
}
RAW = {"v3 raw", "v3 rectilinear", "v2 raw"}  # the size is known, and every byte decodes


@dataclass(frozen=True)
class Kept:
    """An array as it was written. Its first cells are fill, so that not all objects are stored."""

    array: StoredArray
    receipts: dict[str, Receipt]

    @property
    def handle(self):
        return ArrayHandle.of(self.array)

    @property
    def keys(self):
        return sorted(key for key, receipt in self.receipts.items() if receipt.digest is not None)

    @property
    def total(self):
        return self.array.metadata.chunk_grid.chunk_count

    def key(self, *index):
        return self.handle.key(index)[self.handle.lead :]

    def get(self, key):
        return bytes(self.array.location.store.get(self.array.location.key(key)))

    def set(self, key, value):
        self.array.location.store.set(self.array.location.key(key), value)

    def delete(self, key):
        self.array.location.store.delete(self.array.location.key(key))


def cells_of(dtype):
    cells = np.arange(1, 71).reshape(SHAPE)
    if np.dtype(dtype) == object:
        cells = np.vectorize("text {}".format, otypes=[object])(cells)
        cells[:4, :6] = ""
        return cells
    cells = cells.astype(dtype)
    cells[:4, :6] = 0
    return cells


def keep(place, component=None, **options):
    """Write an array, task by task as a write does."""
    chosen = {"zarr_format", "compressors", "compressor"} & options.keys()
    options = {"dtype": "i4", "chunks": CHUNKS, **({} if chosen else {"compressors": CHECKED}), **options}
    array = create_array(place, component, shape=SHAPE, **options)
    box = Box((0, 0), SHAPE)
    written = write_box(ArrayHandle.of(array), box, cells_of(array.dtype), Terms(digests=True))
    return Kept(array, {receipt.key: receipt for receipt in written.receipts})


def note(kept, home, receipts=None, *, write="first", finished=True, region=((0, 7), (0, 10)), at=None, **terms):
    """Note receipts of a write, as a write does: beside the store for None, or in a place, maybe of another store."""
    location = at or kept.array.location
    journal = journal_for(location, notes_at(location, home), write)
    begin(journal, {"region": [region], "only": None, **terms})
    receipts = list(kept.receipts.values()) if receipts is None else receipts
    journal.note(receipts[:3])
    journal.note(receipts[3:])
    if finished:
        journal.finish({"objects": len(receipts)})
    return journal


def findings(report):
    """What is wrong, by kind; kinds of which there is nothing are left out."""
    assert isinstance(report, VerifyReport)
    assert set(report.bad) == set().union(*(getattr(report, kind) for kind in KINDS[:5]))
    return {kind: getattr(report, kind) for kind in KINDS if getattr(report, kind)}


def put_together(report):
    """How many objects of the grid a report speaks of."""
    return report.stored + report.elided + report.absent + len(report.missing) + len(report.unwritten)


@pytest.fixture(params=FORMATS)
def written(request, tmp_path):
    """The name of a format and an array in it, on files, with its journal beside."""
    kept = keep(tmp_path / "a.zarr", "group/x", **FORMATS[request.param])
    note(kept, None)
    return request.param, kept


# Arrays that are whole


@pytest.mark.parametrize("level", LEVELS)
def test_an_array_that_is_whole(written, tmp_path, level):
    name, kept = written
    empty = [key for key, receipt in kept.receipts.items() if receipt.digest is None]
    assert len(empty) in (1, 2, 4)
    report = verify(tmp_path / "a.zarr", "group/x", level=level)
    assert findings(report) == {}
    assert report.ok
    assert report.journal
    assert report.listed
    assert (report.node, report.level, report.absent) == ("group/x", level, 0)
    assert (report.stored, report.elided) == (kept.total - len(empty), len(empty))
    assert report.checked == report.stored
    assert report.nbytes == sum(receipt.nbytes for receipt in kept.receipts.values())

    alone = verify(kept.array, level=level, journal=False)
    assert findings(alone) == {}
    assert not alone.journal
    assert (alone.stored, alone.elided, alone.absent) == (report.stored, 0, len(empty))
    known = {"exists": True, "size": name in RAW, "digest": False, "decode": True}
    assert alone.checked == (alone.stored if known[level] else 0)


def test_an_array_of_which_nothing_is_stored(tmp_path):
    create_array(tmp_path / "a", shape=(4, 4), chunks=(2, 2), dtype="i2")
    for level in LEVELS:
        report = verify(tmp_path / "a", level=level)
        assert (findings(report), report.stored, report.absent) == ({}, 0, 4)


@pytest.mark.parametrize("shape", [(), (0,), (0, 5)])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_shapes_without_axes_or_cells(shape, level, zarr_format):
    array = create_array(store := {}, shape=shape, chunks=(1,) * len(shape), dtype="i2", zarr_format=zarr_format)
    counted = (0, 1) if shape == () else (0, 0)
    report = verify(store, level=level)
    assert ((report.stored, report.absent), findings(report)) == (counted, {})
    if shape == ():
        write_box(ArrayHandle.of(array), Box((), ()), np.array(7, "i2"))
        assert verify(store, level=level).stored == 1
        key = next(key for key in store if not key.startswith((".z", "zarr")))
        store[key] = store[key][:1]
        assert findings(verify(store, level="decode")) == {"corrupt": (key,)}


# One thing that is wrong


def flip(data, at=-6):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def tear(data):
    return data[: len(data) // 2] + b"\xaa" * (len(data) - len(data) // 2)


DAMAGE = {
    # What is done to a stored object, what that is, from which level with a journal on, and from which without one:
    # where the codecs tell the size, where they check what they decode.
    "cut": (lambda data: data[:-3], "truncated", "size", "size", "decode"),
    "emptied": (lambda data: b"", "truncated", "size", "size", "size"),
    "longer": (lambda data: data + b"\x01\x02\x03", "changed", "size", "size", "decode"),
    "flipped": (flip, "corrupt", "digest", None, "decode"),
    "torn": (tear, "corrupt", "digest", None, "decode"),
}


@pytest.mark.parametrize("at", ["middle", "edge"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_an_object_that_is_damaged(written, damage, at):
    name, kept = written
    change, kind, noted, raw, checked = DAMAGE[damage]
    key = kept.key(0, 2) if at == "middle" and "shards" not in name else kept.keys[-1]
    if name == "v3 shards" and at == "middle":
        key = kept.key(1, 0)
    kept.set(key, change(kept.get(key)))
    for level in LEVELS:
        expected = {kind: (key,)} if LEVELS.index(level) >= LEVELS.index(noted) else {}
        assert findings(verify(kept.array, level=level)) == expected, level
        alone = raw if name in RAW else checked
        if alone is None or LEVELS.index(level) < LEVELS.index(alone):
            expected = {}
        else:
            expected = {kind if alone == "size" else "corrupt": (key,)}
        report = verify(kept.array, level=level, journal=False)
        assert findings(report) == expected, level
        assert report.ok is not bool(expected)


def test_an_object_that_is_lost(written):
    _, kept = written
    lost = [kept.keys[0], kept.keys[-1]]
    for key in lost:
        kept.delete(key)
    for level in LEVELS:
        report = verify(kept.array, level=level)
        assert findings(report) == {"missing": tuple(sorted(lost))}
        assert put_together(report) == kept.total
        alone = verify(kept.array, level=level, journal=False)
        assert (findings(alone), alone.absent) == ({}, kept.total - len(kept.keys) + 2)


def test_an_object_that_was_left_out_and_is_there_now(written):
    _, kept = written
    empty = min(key for key, receipt in kept.receipts.items() if receipt.digest is None)
    kept.set(empty, kept.get(kept.keys[0]))
    for level in LEVELS:
        report = verify(kept.array, level=level)
        assert findings(report) == {"changed": (empty,)}
        assert put_together(report) == kept.total


def test_an_object_of_which_nothing_is_noted_nor_stored(written, tmp_path):
    _, kept = written
    key = kept.keys[-1]
    kept.delete(key)
    receipts = [receipt for receipt in kept.receipts.values() if receipt.key != key]
    for finished in (True, False):
        journal = note(kept, tmp_path / "other", receipts, finished=finished)
        for level in LEVELS:
            report = verify(kept.array, level=level, journal=tmp_path / "other")
            expected = {"unwritten": (key,)} | ({} if finished else {"unfinished": ("first",)})
            assert findings(report) == expected
            assert put_together(report) == kept.total
        journal.discard()


def test_an_object_that_is_stored_and_not_noted(written, tmp_path):
    """As a process leaves it that is killed between storing an object and noting it."""
    _, kept = written
    note(kept, tmp_path / "other", list(kept.receipts.values())[:-1], finished=False)
    report = verify(kept.array, level="decode", journal=tmp_path / "other")
    assert findings(report) == {"unfinished": ("first",)}
    assert not report.ok


def test_objects_of_no_chunk(written):
    _, kept = written
    strange = [kept.key(9, 0), kept.key(0, 99), kept.key(0, 1) + "0000", "c/x", "notes.txt", "sub/zarr.json", "c/00/1"]
    strange += ["9" * 200, "-1", "1.5.2", "0/0/0/0", kept.key(0, 0) + ".old"]
    for key in strange:
        kept.set(key, b"abc")
    for level in LEVELS:
        report = verify(kept.array, level=level)
        assert findings(report) == {"orphaned": tuple(sorted(strange))}
        assert report.ok
        assert report.stored == len(kept.keys)


def test_a_key_with_a_number_of_thousands_of_digits():
    keep(store := {})
    store["c/" + "9" * 5000 + "/0"] = b"abc"
    assert len(verify(store).orphaned) == 1


def test_documents_are_no_orphans(tmp_path):
    kept = keep(tmp_path / "a", zarr_format=2)
    for name in (".zattrs", ".zmetadata", "zarr.json", "attributes.json", ".nczattr", ".nczarray"):
        kept.set(name, b"{}")
    assert findings(verify(tmp_path / "a", zarr_format=2)) == {}
    kept.set("0.0/.zattrs", b"{}")
    assert findings(verify(tmp_path / "a", zarr_format=2)) == {"orphaned": ("0.0/.zattrs",)}


def test_unfinished_files(tmp_path):
    kept = keep(tmp_path / "a", "x")
    names = [f".{'0123456789abcdef' * 2}.partial", f"c/1/.{'f' * 32}.partial"]
    for name in names:
        (tmp_path / "a" / "x" / name).write_bytes(b"half of a ch")
    (tmp_path / "a" / f".{'e' * 32}.partial").write_bytes(b"of the group")
    for level in LEVELS:
        report = verify(kept.array, level=level)
        assert (findings(report), report.ok) == ({"leftover": tuple(sorted(names))}, True)
    kept.set(".__swap__", b"{}")
    assert findings(verify(kept.array)) == {"leftover": tuple(sorted([*names, ".__swap__"]))}


def test_what_a_shard_holds_outside_the_array_is_nobodys():
    array = create_array(
        store := {}, shape=(2, 3), chunks=(2, 2), shards=(4, 4), dtype="u1", compressors={"id": "crc32c"}
    )
    data = bytes(ArrayHandle.of(array).pipeline.encode(np.arange(1, 17, dtype="u1").reshape(4, 4)))
    inner = 8  # four cells and their check sum
    for number, expected in ((0, ("c/0/0",)), (1, ("c/0/0",)), (2, ()), (3, ())):
        store["c/0/0"] = flip(data, number * inner)
        assert verify(store, level="decode").corrupt == expected


def test_a_chunk_there_is_no_memory_for_is_not_called_corrupt(monkeypatch):
    keep(store := {})

    def decode(self, data):
        raise MemoryError("no room")

    monkeypatch.setattr(CodecPipeline, "decode", decode)
    with pytest.raises(StoreError, match="no room"):
        verify(store, level="decode")


# Anything that is wrong, together


MODEL = {"cut": "truncated", "emptied": "truncated", "longer": "changed", "flipped": "corrupt", "torn": "corrupt"}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_everything_at_once(data):
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    home = {}
    kept = keep({}, data.draw(st.sampled_from([None, "a/b"])), **FORMATS[name])
    choices = ["fine", "fine", "lost", "unnoted", "never", *MODEL]
    fate = {key: data.draw(st.sampled_from(choices)) for key in kept.keys}
    note(kept, home, [r for key, r in kept.receipts.items() if fate.get(key) not in ("unnoted", "never")])
    expected = {kind: [] for kind in KINDS}
    for key, what in fate.items():
        if what in ("lost", "never"):
            kept.delete(key)
            expected["missing" if what == "lost" else "unwritten"].append(key)
        elif what in MODEL:
            kept.set(key, DAMAGE[what][0](kept.get(key)))
            expected[MODEL[what]].append(key)
    report = verify(kept.array, level=data.draw(st.sampled_from(["digest", "decode"])), journal=home)
    assert findings(report) == {kind: tuple(sorted(keys)) for kind, keys in expected.items() if keys}
    assert put_together(report) == kept.total
    assert report.elided == len(kept.receipts) - len(kept.keys)


# Stores


def as_dict(tmp_path):
    return {}


def as_memory(tmp_path):
    return f"memory://verify-{time.time_ns()}/a"


def as_files(tmp_path):
    return tmp_path / "a"


def as_fsspec(tmp_path):
    return f"simplecache::file://{tmp_path}/a"


STORES = {"dict": as_dict, "memory": as_memory, "files": as_files}


def break_some(kept):
    """Kinds of damage; what they are at level "digest"."""
    first, second, third = kept.keys[:3]
    kept.delete(first)
    kept.set(second, kept.get(second)[:-1])
    kept.set(third, flip(kept.get(third)))
    kept.set("foreign", b"")
    return {"missing": (first,), "truncated": (second,), "corrupt": (third,), "orphaned": ("foreign",)}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", ["v3", "v2", "v3 shards", "n5"])
def test_stores(store, name, scheduler, tmp_path):
    kept = keep(STORES[store](tmp_path), "x", **FORMATS[name])
    note(kept, tmp_path / "notes")
    broken = break_some(kept)
    with dask.config.set(scheduler=scheduler):
        for level in ("digest", "decode"):
            report = verify(kept.array, level=level, journal=tmp_path / "notes")
            assert findings(report) == broken
            assert report.listed
        alone = findings(verify(kept.array, level="decode", journal=False))
    assert alone == {"corrupt": (*broken["truncated"], *broken["corrupt"]), "orphaned": ("foreign",)}


def test_files_that_a_crash_has_torn(tmp_path):
    """Damage by plain system calls, past the store."""
    kept = keep(tmp_path / "a", **FORMATS["v3"])
    note(kept, None)
    cut, zeroed, gone, added = (tmp_path / "a" / key for key in ("c/1/2", "c/1/3", "c/2/0", "c/7/7"))
    os.truncate(cut, cut.stat().st_size - 1)
    zeroed.write_bytes(bytes(zeroed.stat().st_size))
    gone.unlink()
    added.parent.mkdir()
    added.write_bytes(b"abc")
    expected = {"missing": ("c/2/0",), "truncated": ("c/1/2",), "corrupt": ("c/1/3",), "orphaned": ("c/7/7",)}
    assert findings(verify(tmp_path / "a", level="digest")) == expected
    assert verify(tmp_path / "a", level="digest").bad == ("c/1/2", "c/1/3", "c/2/0")


def served(kept):
    """The values of an array in memory, for a web server."""
    return kept.array.location.store.mapping


@pytest.mark.parametrize("name", ["v3", "v3 raw", "v2", "v3 shards", "n5"])
def test_a_web_server_is_asked_for_each_object(name, tmp_path):
    kept = keep({}, "x", **FORMATS[name])
    with WebServer(served(kept)) as server:
        note(kept, tmp_path / "notes", at=locate(server.url, "x"))
        for level in LEVELS:
            report = verify(server.url, "x", level=level)
            assert (findings(report), report.listed, report.journal) == ({}, False, False)
            assert (report.stored, report.absent) == (len(kept.keys), kept.total - len(kept.keys))
        broken = break_some(kept)
        del broken["orphaned"]  # nobody knows of it
        for level in ("digest", "decode"):
            report = verify(server.url, "x", level=level, journal=tmp_path / "notes")
            assert findings(report) == broken
            assert put_together(report) == kept.total
        truncated = broken["truncated"] if name in RAW else ()
        corrupt = () if name in RAW else (*broken["truncated"], *broken["corrupt"])
        alone = verify(server.url, "x", level="decode")
        assert (alone.truncated, alone.corrupt) == (truncated, corrupt)
        assert put_together(alone) == kept.total


def test_a_web_server_and_an_object_that_nobody_noted(tmp_path):
    kept = keep({}, **FORMATS["v3"])
    key = kept.keys[5]
    kept.delete(key)
    receipts = [receipt for receipt in kept.receipts.values() if receipt.key != key]
    with WebServer(served(kept)) as server:
        note(kept, tmp_path / "notes", receipts, at=locate(server.url))
        report = verify(server.url, journal=tmp_path / "notes")
    assert findings(report) == {"unwritten": (key,)}
    assert put_together(report) == kept.total


def test_every_object_of_a_web_server_is_asked_for_once():
    kept = keep({}, "x")
    with WebServer(served(kept)) as server:
        verify(server.url, "x", level="decode", zarr_format=3)
    asked = sorted(key for key in server.requests if "/c/" in key)
    assert asked == sorted(kept.handle.key(index) for index in np.ndindex(4, 4))


def test_a_web_server_that_lists_nothing_is_no_failure():
    kept = keep({}, "x")
    with WebServer(served(kept), {"": 403, "x": 403, "x/": 403, "*.daskzarr*": 403}) as server:
        assert verify(server.url, "x", level="decode").stored == len(kept.keys)


def test_a_web_server_that_fails_is_no_damage():
    kept = keep({}, "x")
    with (
        WebServer(served(kept), {"x/c/1/1": 403}) as server,
        pytest.raises(StorePermissionError, match="c/1/1"),
    ):
        verify(server.url, "x", level="decode")


def test_a_group_on_a_web_server_is_known_by_its_consolidated_metadata():
    one, _ = (keep(place, name) for place in [{}] for name in ("a/x", "b"))
    store = served(one)
    consolidate(store)
    key = one.keys[3]
    store["a/x/" + key] = flip(store["a/x/" + key])
    with WebServer(store) as server:
        report = verify(server.url, level="decode")
    assert (sorted(report.reports), report.bad) == (["a/x", "b"], {"a/x": (key,)})


def test_an_archive(tmp_path):
    kept = keep({}, "x", **FORMATS["v2"])
    broken = break_some(kept)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for key, value in served(kept).items():
            archive.writestr(key, value)
    report = verify(f"zip::{tmp_path}/a.zip", "x", level="decode")
    assert findings(report) == {"corrupt": (*broken["truncated"], *broken["corrupt"]), "orphaned": ("foreign",)}
    assert report.listed
    assert report.absent == kept.total - len(kept.keys) + 1


def test_a_listing_without_even_the_document_is_none(tmp_path):
    kept = keep({}, "x")
    broken = break_some(kept)

    class Hidden(dict):
        """Tells of no key."""

        def __iter__(self):
            return iter(())

    store = Hidden(served(kept))
    report = verify(store, "x", level="decode")
    assert not report.listed
    assert findings(report) == {"corrupt": (*broken["truncated"], *broken["corrupt"])}


def test_who_may_not_list_may_verify():
    kept = keep({}, "x")
    kept.set(kept.keys[2], flip(kept.get(kept.keys[2])))
    refused = ("list_dir", "survey", "leftovers")
    store = FaultyStore(MappingStore(served(kept)), {"*": PermissionError("no")}, on=refused)
    report = verify(store, "x", level="decode")
    assert (findings(report), report.listed) == ({"corrupt": (kept.keys[2],)}, False)


@pytest.mark.parametrize("level", LEVELS)
def test_an_array_that_cannot_be_listed_and_has_no_end(level):
    create_array(store := {}, shape=(10**11,), chunks=(1,), dtype="i1")
    with WebServer(store) as server, pytest.raises(UnsupportedError, match="100000000000 objects"):
        verify(server.url, level=level)


# What it costs


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("chunks", [10**7, 10**15])
def test_absent_chunks_cost_nothing(tmp_path, level, chunks):
    create_array(tmp_path / "a", shape=(chunks,), chunks=(1,), dtype="i1")
    LocalStore(str(tmp_path / "a")).set(f"c/{chunks - 1}", b"\x01")
    started = time.perf_counter()
    report = verify(tmp_path / "a", level=level)
    assert time.perf_counter() - started < 2
    assert (report.stored, report.absent) == (1, chunks - 1)


@pytest.mark.parametrize("make", [lambda path: MappingStore({}), lambda path: LocalStore(str(path))])
def test_no_chunk_is_read_for_what_listing_tells(make, tmp_path):
    kept = keep(make(tmp_path / "a"), **FORMATS["v3"])
    note(kept, home := {})
    store = RecordingStore(kept.array.location.store)
    for level, reads in (("exists", 0), ("size", 0), ("digest", len(kept.keys)), ("decode", len(kept.keys))):
        store.clear()
        verify(store, level=level, zarr_format=3, journal=home)
        assert sum(request.key.startswith("c/") and "get" in request.kind for request in store.requests) == reads
    store.clear()
    verify(store, level="digest", zarr_format=3, journal=False)
    assert not any(request.key.startswith("c/") for request in store.requests if "get" in request.kind)


def test_digests_are_looked_at_where_there_are_any():
    """An object without a digest is not read for it."""
    kept = keep({}, **FORMATS["v3"])
    one, two, three = kept.keys[4:7]
    for key in (one, two):
        kept.set(key, flip(kept.get(key)))
    note(kept, home := {}, [r._replace(digest=0) if r.key in (two, three) else r for r in kept.receipts.values()])
    report = verify(kept.array, level="digest", journal=home)
    assert (findings(report), report.checked) == ({"corrupt": (one,)}, len(kept.keys) - 2)
    assert findings(verify(kept.array, level="decode", journal=home)) == {"corrupt": (one, two)}


class Tasks(Callback):
    """Counts the tasks that run."""

    def __init__(self):
        self.keys = []

    def _posttask(self, key, result, dsk, state, worker_id):
        self.keys.append(key)

    @property
    def batches(self):
        return sum("check-objects" in str(key) for key in self.keys)


def test_a_task_has_at_most_a_thousand_objects():
    array = create_array(store := {}, shape=(2500,), chunks=(1,), dtype="i1", compressors=None)
    write_box(ArrayHandle.of(array), Box((0,), (2500,)), np.full(2500, 7, "i1"))
    with Tasks() as tasks:
        assert verify(store, level="decode").checked == 2500
    assert tasks.batches == 3
    with Tasks() as tasks:
        assert verify(store, level="size").checked == 2500
    assert tasks.keys == []


def test_a_task_has_at_most_64_mib():
    array = create_array(store := {}, shape=(5, 2**24), chunks=(1, 2**24), dtype="u1", compressors="zstd")
    write_box(ArrayHandle.of(array), Box((0, 0), (5, 2**24)), np.broadcast_to(np.uint8(7), (5, 2**24)))
    with Tasks() as tasks:
        assert verify(store, level="decode").checked == 5
    assert tasks.batches == 1  # compressed they are small
    with WebServer(store) as server, Tasks() as tasks:
        assert verify(server.url, level="decode").checked == 5
    assert tasks.batches == 2  # their sizes are not known
    create_array(raw := {}, shape=(5, 2**24), chunks=(1, 2**24), dtype="u1", compressors=None)
    raw |= dict.fromkeys([f"c/{i}/0" for i in range(5)], bytes(2**24))
    with Tasks() as tasks:
        assert verify(raw, level="decode").checked == 5
    assert tasks.batches == 2


def test_later_is_later():
    kept = keep({}, **FORMATS["v3"])
    kept.set(kept.keys[1], flip(kept.get(kept.keys[1])))
    store = RecordingStore(kept.array.location.store)
    delayed = verify(store, level="decode", compute=False)
    assert not any(request.key.startswith("c/") for request in store.requests)
    report = verify(store, level="decode")
    assert delayed.compute() == delayed.compute() == report
    assert dask.delayed(lambda found: found.corrupt)(delayed).compute() == report.corrupt == (kept.keys[1],)
    assert verify(store, level="size", compute=False).compute() == verify(store, level="size")
    assert findings(dask.compute(delayed, delayed)[1]) == {"corrupt": (kept.keys[1],)}


# Stores that fail


@pytest.mark.parametrize("level", ["digest", "decode"])
def test_an_object_that_cannot_be_read_is_not_called_corrupt(level, tmp_path):
    kept = keep({}, "x")
    note(kept, tmp_path / "notes")
    key = kept.keys[7]
    store = FaultyStore(kept.array.location.store, {f"x/{key}": OSError("the disk is gone")})
    with pytest.raises(StoreError, match="the disk is gone") as caught:
        verify(store, "x", level=level, journal=tmp_path / "notes")
    assert caught.value.chunk_key == key
    assert verify(store, "x", level="size", journal=tmp_path / "notes").ok


def test_a_listing_that_fails_is_an_error():
    kept = keep({}, "x")
    store = FaultyStore(kept.array.location.store, {"*": OSError("no more")}, on=("list_dir", "survey"))
    with pytest.raises(StoreError, match="no more"):
        verify(store, "x")


class Flaky(dict):
    """Fails once for each key that is asked for, and once for the list of all; it is slow to tell sizes."""

    shared = True

    def __init__(self, *args):
        super().__init__(*args)
        self.failed = set()

    def fail(self, key):
        if key not in self.failed:
            self.failed.add(key)
            raise TimeoutError(key)

    def __getitem__(self, key):
        if "/c/" in key:
            self.fail(key)
        return super().__getitem__(key)

    def __iter__(self):
        self.fail("all")
        return super().__iter__()


@pytest.mark.parametrize("level", ["size", "digest", "decode"])
def test_what_passes_is_tried_again(level, monkeypatch):
    monkeypatch.setattr(retries, "BUDGET", retries.RetryBudget(first_wait=0.001))
    kept = keep({}, "x", chunks=(4, 5))
    store = Flaky(served(kept))
    note(kept, home := {}, at=locate(store, "x"))
    report = verify(store, "x", level=level, journal=home)
    assert (findings(report), report.stored, report.listed) == ({}, len(kept.keys), True)
    assert len(store.failed) == 1 + len(kept.keys)


# Journals


def test_what_was_noted_last_counts():
    kept = keep({}, **FORMATS["v3"])
    home = {}
    one, two, three = kept.keys[:3]
    old = [Receipt(one, 999, 999, 0.0), Receipt(two, 0, None, 0.0), Receipt(three, 5, 5, 0.0)]
    note(kept, home, old, write="b-old")
    note(kept, home, write="a-new")
    assert findings(verify(kept.array, level="digest", journal=home)) == {}
    newer = [Receipt(one, 0, None, 0.0), Receipt(two, 10**6, 3, 0.0)]
    note(kept, home, newer, write="0-newest", region=((0, 2), (0, 3)))
    assert findings(verify(kept.array, level="digest", journal=home)) == {"changed": (one,), "truncated": (two,)}


def test_a_write_of_a_region_promises_its_chunks_and_no_others():
    array = create_array({}, shape=SHAPE, chunks=CHUNKS, dtype="i4")
    kept = Kept(array, {})
    note(kept, home := {}, [], region=((2, 5), (4, 5)))
    report = verify(array, journal=home)
    assert findings(report) == {"unwritten": ("c/1/1", "c/2/1")}
    assert report.absent == 14
    note(kept, home, [], region=((4, 7), (0, 5)), write="second")
    together = ("c/1/1", "c/2/0", "c/2/1", "c/3/0", "c/3/1")
    assert findings(verify(array, journal=home)) == {"unwritten": together}
    with WebServer(served(kept)) as server:
        for write, region in (("first", ((2, 5), (4, 5))), ("second", ((4, 7), (0, 5)))):
            note(kept, home, [], region=region, write=write, at=locate(server.url))
        assert findings(verify(server.url, journal=home)) == {"unwritten": together}
    note(kept, home, [], region=((2, 2), (0, 10)), write="nothing")
    assert findings(verify(array, journal=home)) == {"unwritten": together}


def test_regions_of_arrays_whose_chunks_differ_in_length():
    array = create_array({}, shape=(7, 10), chunks=((2, 4, 1), 3), dtype="i4")
    note(Kept(array, {}), home := {}, [], region=((3, 7), (0, 1)))
    note(Kept(array, {}), home, [], region=((9, 12), (0, 1)), write="beyond")
    assert findings(verify(array, journal=home)) == {"unwritten": ("c/1/0", "c/2/0")}


def test_a_write_of_chosen_objects_promises_no_others():
    kept = keep({}, **FORMATS["v3"])
    kept.delete(kept.keys[3])
    note(kept, home := {}, [kept.receipts[kept.keys[0]]], only=[kept.keys[0]])
    report = verify(kept.array, journal=home)
    assert (findings(report), report.ok) == ({}, True)


def test_terms_without_a_region_promise_nothing():
    array = create_array({}, shape=SHAPE, chunks=CHUNKS, dtype="i4")
    journal = journal_for(array.location, notes_at(array.location, home := {}), "resize-1")
    begin(journal, {"verb": "resize", "shape": [7, 10]})
    journal.finish({})
    report = verify(array, journal=home)
    assert (findings(report), report.journal, report.absent) == ({}, True, 16)


def test_regions_beyond_the_array_promise_what_is_in_it():
    array = create_array({}, shape=(3, 10), chunks=CHUNKS, dtype="i4")
    note(Kept(array, {}), home := {}, [], region=((2, 9), (8, 10)))
    assert findings(verify(array, journal=home)) == {"unwritten": ("c/1/2", "c/1/3")}


def test_receipts_of_what_is_outside_by_now_do_not_count(tmp_path):
    kept = keep(store := {}, **FORMATS["v3"])
    document = json.loads(store["zarr.json"])
    store["zarr.json"] = json.dumps(document | {"shape": [4, 10]}).encode()
    for key in kept.keys:
        if key > "c/2":
            del store[key]
    note(kept, tmp_path / "notes")
    for level in LEVELS:
        report = verify(store, level=level, journal=tmp_path / "notes")
        assert (findings(report), put_together(report)) == ({}, 8)


def test_what_an_unfinished_append_stored_beyond_the_end_is_no_orphan():
    kept = keep(store := {}, **FORMATS["v3"])
    for key in ("c/4/0", "c/5/0"):
        store[key] = store["c/1/2"]
    note(kept, home := {}, write="base")
    receipt = kept.receipts["c/1/2"]
    append = note(kept, home, [receipt._replace(key="c/4/0")], write="append", finished=False, region=((7, 12), (0, 2)))
    report = verify(store, journal=home)
    assert findings(report) == {"orphaned": ("c/5/0",), "unfinished": ("append",)}
    assert not report.ok
    append.finish({})
    assert findings(verify(store, journal=home)) == {"orphaned": ("c/4/0", "c/5/0")}


def test_the_journal_beside_is_looked_at_unless_told_otherwise(tmp_path):
    kept = keep(tmp_path / "a", "x")
    assert not verify(tmp_path / "a", "x").journal
    note(kept, None)
    kept.delete(kept.keys[0])
    assert findings(verify(tmp_path / "a", "x")) == {"missing": (kept.keys[0],)}
    assert findings(verify(tmp_path / "a", "x", journal=False)) == {}
    assert findings(verify(tmp_path / "a" / "x")) == {"missing": (kept.keys[0],)}
    assert findings(verify(tmp_path / "a", "x", journal=tmp_path / "elsewhere")) == {}
    note(kept, tmp_path / "elsewhere")
    assert findings(verify(tmp_path / "a", "x", journal=tmp_path / "elsewhere")) == {"missing": (kept.keys[0],)}


def test_a_torn_note_is_as_if_never_written(tmp_path):
    kept = keep(tmp_path / "a", **FORMATS["v3"])
    note(kept, None)
    (log,) = (tmp_path / "a.daskzarr" / "__writes__" / "first").glob("log-*")
    os.truncate(log, log.stat().st_size - 4)
    report = verify(tmp_path / "a", level="digest")
    assert findings(report) == {"unwritten": ("c/1/0", "c/1/1")}  # left out as fill, which nothing tells any more
    assert report.checked == 1


def test_what_is_staged_is_an_unfinished_write(tmp_path):
    kept = keep(tmp_path / "a", "x")
    home = tmp_path / "a.daskzarr" / "x"
    (home / "__staged__whole-1").mkdir(parents=True)
    assert findings(verify(kept.array)) == {"unfinished": ("whole-1",)}
    note(kept, None, write="whole-1", finished=False)
    assert findings(verify(kept.array)) == {"unfinished": ("whole-1",)}
    (home / "__replaced__").mkdir()
    (home / "__swap__").write_bytes(b"{}")
    report = verify(kept.array)
    assert findings(report) == {"unfinished": ("__replaced__", "__swap__", "whole-1")}
    assert not report.ok


# Groups


def test_all_arrays_below_a_group(tmp_path):
    root = tmp_path / "a"
    kept = {path: keep(root, path, **FORMATS[name]) for path, name in (("x", "v3"), ("g/y", "v3 raw"), ("g/h/z", "v3"))}
    for path in ("x", "g/y"):
        note(kept[path], None)
    kept["x"].delete(kept["x"].keys[0])
    kept["g/y"].set(kept["g/y"].keys[1], b"short")
    kept["g/h/z"].set(kept["g/h/z"].keys[2], flip(kept["g/h/z"].get(kept["g/h/z"].keys[2])))
    report = verify(root, level="decode")
    assert isinstance(report, GroupReport)
    assert list(report.reports) == ["g/h/z", "g/y", "x"]
    assert findings(report.reports["x"]) == {"missing": (kept["x"].keys[0],)}
    assert findings(report.reports["g/y"]) == {"truncated": (kept["g/y"].keys[1],)}
    assert findings(report.reports["g/h/z"]) == {"corrupt": (kept["g/h/z"].keys[2],)}
    assert report.bad == {path: found.bad for path, found in report.reports.items()}
    assert [found.node for found in report.reports.values()] == ["g/h/z", "g/y", "x"]
    assert [found.journal for found in report.reports.values()] == [False, True, True]
    assert not report.ok
    below = verify(root, "g")
    assert list(below.reports) == ["h/z", "y"]
    assert [found.node for found in below.reports.values()] == ["g/h/z", "g/y"]
    assert below.bad == {"y": (kept["g/y"].keys[1],)}
    assert verify(open_array(root, "g/h/z")).ok


def test_a_group_of_which_nodes_cannot_be_read(tmp_path):
    keep(tmp_path / "a", "fine")
    keep(tmp_path / "a", "garbled").set("zarr.json", b'{"zarr_format": 3, "node_type": "arr')
    document = json.loads(keep(tmp_path / "a", "unknown").get("zarr.json"))
    (tmp_path / "a" / "unknown" / "zarr.json").write_text(
        json.dumps(document | {"codecs": [*document["codecs"], {"name": "secret"}]})
    )
    report = verify(tmp_path / "a")
    assert list(report.reports) == ["fine"]
    assert sorted(report.unreadable) == ["garbled", "unknown"]
    assert "'secret'" in report.unreadable["unknown"]
    assert report.bad == {}
    assert not report.ok
    with pytest.raises(MetadataError):
        verify(tmp_path / "a", "garbled")
    with pytest.raises(UnknownCodecError):
        verify(tmp_path / "a", "unknown")


def test_a_group_of_two_formats_and_one_of_n5(tmp_path):
    keep(tmp_path / "a", "old", zarr_format=2)
    keep(tmp_path / "b", "g/x", zarr_format="n5")
    assert list(verify(tmp_path / "a").reports) == ["old"]
    assert list(verify(tmp_path / "b").reports) == ["g/x"]


def test_a_group_that_consolidated_metadata_have_not_heard_of(tmp_path):
    keep(tmp_path / "a", "x")
    consolidate(tmp_path / "a")
    document = (tmp_path / "a" / "zarr.json").read_bytes()
    keep(tmp_path / "a", "y")
    (tmp_path / "a" / "zarr.json").write_bytes(document)
    assert list(verify(tmp_path / "a").reports) == ["x", "y"]


def test_a_group_with_nothing_in_it_and_one_that_is_staged(tmp_path):
    create_group(tmp_path / "a")
    report = verify(tmp_path / "a", level="decode")
    assert (report.reports, report.ok) == ({}, True)
    (tmp_path / "a.daskzarr" / "__staged__one").mkdir(parents=True)
    report = verify(tmp_path / "a", compute=False).compute()
    assert (report.unfinished, report.ok) == (("one",), False)


# What the report is


def test_reports_are_values(tmp_path):
    kept = keep(tmp_path / "a", "x")
    note(kept, None, finished=False)
    break_some(kept)
    for report in (verify(tmp_path / "a", "x", level="digest"), verify(tmp_path / "a", level="digest")):
        assert pickle.loads(pickle.dumps(report)) == report
        with pytest.raises(AttributeError):
            report.level = "size"
        found = json.loads(json.dumps(report.as_dict()))
        assert found["ok"] is False
        assert {field.name for field in fields(report)} | {"ok", "bad"} == set(found)
    one = verify(tmp_path / "a", "x", level="digest").as_dict()
    assert one["missing"] == [kept.keys[0]]
    assert one["bad"] == kept.keys[:3]
    assert verify(tmp_path / "a").as_dict()["bad"] == {"x": kept.keys[:2]}


def test_the_table_says_what_to_do(tmp_path):
    kept = keep(tmp_path / "a", "x")
    text = str(verify(kept.array))
    assert "whole" in text
    assert "NOT" not in text
    assert "absent             4" in text
    assert "lost (there is no journal to tell)" in text
    note(kept, None, finished=False)
    break_some(kept)
    text = str(verify(kept.array, level="digest"))
    for word in (
        "NOT WHOLE",
        "missing            1",
        "foreign",
        "resume=True",
        "repair(x, url)",
        "elided             4",
    ):
        assert word in text, word
    assert "absent" not in text
    group = str(verify(tmp_path / "a", level="digest"))
    assert text in group
    assert "cannot be listed" not in text
    for key in kept.keys[3:]:
        kept.delete(key)
    assert str(verify(kept.array)).count("c/") == 3 + 1
    with WebServer(served(keep({}))) as server:
        assert "cannot be listed" in str(verify(server.url))


def test_a_bad_object_is_named_once():
    report = VerifyReport(
        url="",
        node="",
        level="size",
        journal=True,
        listed=True,
        stored=1,
        checked=1,
        nbytes=1,
        elided=0,
        absent=0,
        truncated=("c/1", "c/0"),
        changed=("c/1",),
    )
    assert report.bad == ("c/0", "c/1")


# What is refused


def test_a_level_that_is_none():
    keep(store := {})
    with pytest.raises(MetadataError, match="'exists', 'size', 'digest', 'decode'"):
        verify(store, level="full")


def test_nothing_is_there(tmp_path):
    with pytest.raises(NodeNotFoundError):
        verify(tmp_path)


def test_pickled_objects_are_looked_at_but_not_loaded():
    array = create_array(store := {}, shape=(2,), chunks=(1,), dtype=object, filters=[{"id": "pickle"}], zarr_format=2)
    handle = ArrayHandle.of(array, allow_pickle=True)
    write_box(handle, Box((0,), (2,)), np.array([{"a": 1}, (2,)], object))
    assert verify(store, level="digest").stored == 2
    with pytest.raises(UnsupportedError, match="pickle"):
        verify(store, level="decode")


# A cluster


def test_on_a_cluster_of_processes(tmp_path):
    from distributed import Client, LocalCluster

    kept = keep(tmp_path / "a", "x", **FORMATS["v3 shards"])
    other = keep(tmp_path / "a", "y", **FORMATS["v2"])
    note(kept, None)
    broken = break_some(kept)
    here = verify(tmp_path / "a", level="decode")
    mine = keep(inside := as_memory(tmp_path), **FORMATS["v3"])
    mine.set(mine.keys[0], flip(mine.get(mine.keys[0])))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        there = verify(tmp_path / "a", level="decode")
        later = client.compute(verify(tmp_path / "a", "x", level="digest", compute=False)).result()
        prefixes = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))
        assert verify(inside, level="decode").corrupt == (mine.keys[0],)
    assert there == here
    assert findings(later) == broken
    assert there.reports["y"].checked == len(other.keys)
    assert "daskzarr-check-objects" in prefixes
