"""Writes that were killed and are taken up again: what is finished stays, the rest is written, the cells are right."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import dask
import dask.array as da
import google_crc32c
import numpy as np
import pytest
import zarr

from daskzarr import MetadataError, NodeExistsError, ResumeError, create_array, from_zarr, open_array, to_zarr
from daskzarr.hierarchy.notes import notes_at
from daskzarr.journal import journals_of
from daskzarr.stores import LocalStore, Location, MappingStore, beside, locate
from daskzarr.storing import store
from daskzarr.testing import RecordingStore, distinct_values
from daskzarr.testing.store_wrapper import StoreWrapper

VALUES = distinct_values((64, 10), "i4", 1)


class FailedOnPurpose(Exception):
    """What a block raises."""


class Blocks:
    """Counts the blocks that are computed; from the n-th on they fail."""

    def __init__(self, fail_after=None):
        self.fail_after = fail_after
        self.done = []
        self.lock = threading.Lock()

    def __call__(self, block, block_info=None):
        with self.lock:
            if self.fail_after is not None and len(self.done) >= self.fail_after:
                raise FailedOnPurpose("a block")
            self.done.append(tuple(block_info[0]["chunk-location"]))
        return block

    def of(self, array):
        return array.map_blocks(self, dtype=array.dtype, meta=array._meta, name=f"counted-{array.name}")


X = da.from_array(VALUES, chunks=(4, 10))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "a.zarr"


def fail(array, *args, after=9, write=to_zarr, **options):
    """Make a call that fails in the middle."""
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        write(Blocks(after).of(array), *args, **options)


def read(place):
    return from_zarr(place).compute(scheduler="sync")


def journals(place):
    location = locate(place)
    return journals_of(location, beside(location))


def files(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def stamps(place):
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}


# ---- finished blocks


@pytest.mark.parametrize("resume", [True, "auto"])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zarr_format": 2},
        {"zarr_format": "n5"},
        {"shards": (4, 10), "chunks": (2, 5)},
        {"chunks": (2, 5)},
        {"overwrite": True},
        {"durability": "fsync"},
    ],
    ids=str,
)
def test_finished_blocks_are_not_computed_again(place, resume, scheduler, options):
    if options.get("overwrite"):
        to_zarr(da.zeros(3), place)
    fail(X, place, **options)
    (journal,) = [each for each in journals(place) if not each.finished]
    noted = len(journal.receipts())
    blocks = Blocks()
    with dask.config.set(scheduler=scheduler):
        to_zarr(blocks.of(X), place, resume=resume, **options)
    per_block = 4 if options.get("chunks") == (2, 5) and "shards" not in options else 1
    assert noted == 8 * per_block
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), VALUES)
    assert [each.finished for each in journals(place)] == [True]


@pytest.mark.parametrize("chunks", [(3, 10), (16, 10), (5, 7), (64, 10)])
def test_merged_objects_are_taken_up_again(place, chunks):
    for after in (0, 3, 10, 15):
        shutil.rmtree(place, ignore_errors=True)
        fail(X, place, after=after, chunks=chunks, resume="auto", overwrite=True)
        (journal,) = [each for each in journals(place) if not each.finished]
        finished = journal.receipts()
        blocks = Blocks()
        to_zarr(blocks.of(X), place, chunks=chunks, resume=True, overwrite=True)
        np.testing.assert_array_equal(read(place), VALUES)
        missing = {(i,) for i in range(64) for j in range(10) if f"c/{i // chunks[0]}/{j // chunks[1]}" not in finished}
        assert sorted(blocks.done) == sorted({(i // 4, 0) for (i,) in missing})


def test_what_only_finished_blocks_need_does_not_run(place):
    reads = Blocks()
    summed = reads.of(X).sum(axis=1)
    fail(summed, place)
    first = len(reads.done)
    to_zarr(Blocks().of(summed), place, resume=True)
    assert len(reads.done) == first + 8
    np.testing.assert_array_equal(read(place), VALUES.sum(axis=1))


def test_a_second_and_a_third_failure(place):
    computed = 0
    for after in (5, 5, 5, 5):
        blocks = Blocks(after)
        with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
            to_zarr(blocks.of(X), place, resume="auto")
        computed += len(blocks.done)
        assert len(journals(place)) == 1
        if computed >= 15:
            break
    blocks = Blocks()
    to_zarr(blocks.of(X), place, resume=True)
    assert len(blocks.done) + computed <= 16 + 4
    np.testing.assert_array_equal(read(place), VALUES)


def test_a_finished_write_has_nothing_left_to_do(place):
    to_zarr(X, place)
    before = stamps(place)
    for resume in (True, "auto"):
        to_zarr(X, place, resume=resume)
    assert stamps(place) == before
    with pytest.raises(NodeExistsError):
        to_zarr(X, place)


def test_a_finished_overwriting_is_repeated_by_auto_but_not_by_true(place):
    to_zarr(X, place, overwrite=True)
    blocks = Blocks()
    to_zarr(blocks.of(X), place, overwrite=True, resume="auto")
    assert len(blocks.done) == 16
    blocks = Blocks()
    to_zarr(blocks.of(X), place, overwrite=True, resume=True)
    assert not blocks.done
    np.testing.assert_array_equal(read(place), VALUES)


# ---- what is refused


def test_nothing_to_take_up(place):
    with pytest.raises(ResumeError, match="there is no write to take up"):
        to_zarr(X, place, resume=True)
    assert not place.exists()
    to_zarr(X, place, resume="auto")
    np.testing.assert_array_equal(read(place), VALUES)
    with pytest.raises(ResumeError, match="there is no write to take up"):
        to_zarr(X, {}, resume=True)
    mapping = {}
    to_zarr(X, mapping, resume="auto")
    np.testing.assert_array_equal(read(mapping), VALUES)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"chunks": (8, 10)}, "chunks"),
        ({"compressors": "gzip"}, "codecs"),
        ({"fill_value": 7}, "fill_value"),
        ({"dtype": "i8"}, "data_type"),
        ({"zarr_format": 2}, "zarr_format"),
        ({"write_empty_chunks": True}, "write_empty_chunks"),
        ({"dimension_separator": "."}, "chunk_key_encoding"),
        ({"token": "other"}, "source"),
    ],
    ids=str,
)
@pytest.mark.parametrize("resume", [True, "auto"])
def test_other_settings_are_refused_and_named(place, options, named, resume):
    fail(X, place)
    before = files(place)
    with pytest.raises(ResumeError, match=rf"\b{named}\b.* differ"):
        to_zarr(Blocks().of(X), place, resume=resume, **options)
    assert files(place) == before
    to_zarr(Blocks().of(X), place, resume=True)
    np.testing.assert_array_equal(read(place), VALUES)


def test_another_source_is_refused_and_a_token_says_it_is_the_same(place):
    fail(X, place)
    with pytest.raises(ResumeError, match="source differ; if it is the same source after all, pass the same token="):
        to_zarr(X + 1, place, resume=True)
    with pytest.raises(ResumeError, match="shape"):
        to_zarr(Blocks().of(X[:60]), place, resume=True)
    fail(X, place, overwrite=True, token="mine")
    to_zarr((X + 1) - 1, place, resume=True, overwrite=True, token="mine")
    np.testing.assert_array_equal(read(place), VALUES)


def test_another_region_is_another_write(place):
    create_array(place, shape=(128, 10), chunks=(4, 10), dtype="i4")
    fail(X, place, mode="r+", region=slice(0, 64))
    with pytest.raises(ResumeError, match="there is no write"):
        to_zarr(Blocks().of(X), place, mode="r+", region=slice(64, 128), resume=True)
    blocks = Blocks()
    to_zarr(Blocks().of(X), place, mode="r+", region=slice(64, 128), resume="auto")
    to_zarr(blocks.of(X), place, mode="r+", region=slice(0, 64), resume=True)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), np.concatenate([VALUES, VALUES]))


def test_without_resume_a_write_begins_anew(place):
    fail(X, place)
    with pytest.raises(NodeExistsError):
        to_zarr(Blocks().of(X), place)
    blocks = Blocks()
    to_zarr(blocks.of(X), place, overwrite=True)
    assert len(blocks.done) == 16
    np.testing.assert_array_equal(read(place), VALUES)


# ---- what was lost meanwhile


def test_finished_objects_that_are_gone_or_cut_are_written_again(place):
    fail(X, place)
    (journal,) = journals(place)
    gone, cut, *_ = journal.receipts()
    (place / gone).unlink()
    (place / cut).write_bytes((place / cut).read_bytes()[:-1])
    blocks = Blocks()
    to_zarr(blocks.of(X), place, resume=True)
    assert len(blocks.done) == 10
    assert {f"c/{i}/{j}" for i, j in blocks.done} >= {gone, cut}
    np.testing.assert_array_equal(read(place), VALUES)


def test_the_whole_array_is_gone(place):
    fail(X, place)
    shutil.rmtree(place)
    blocks = Blocks()
    to_zarr(blocks.of(X), place, resume="auto")
    assert len(blocks.done) == 16
    np.testing.assert_array_equal(read(place), VALUES)
    shutil.rmtree(place)
    blocks = Blocks()
    to_zarr(blocks.of(X), place, resume="auto")
    assert len(blocks.done) == 16


def test_the_journal_is_gone(place):
    fail(X, place)
    shutil.rmtree(f"{place}.daskzarr")
    with pytest.raises(ResumeError, match="there is no write"):
        to_zarr(Blocks().of(X), place, resume=True)
    with pytest.raises(NodeExistsError):
        to_zarr(Blocks().of(X), place, resume="auto")


def test_elided_objects_need_not_be_there(place):
    values = VALUES.copy()
    values[8:24] = 0
    x = da.from_array(values, chunks=(4, 10))
    fail(x, place)
    assert not (place / "c" / "2").exists()
    blocks = Blocks()
    to_zarr(blocks.of(x), place, resume=True)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), values)


def test_leftovers_of_the_killed_process_go(place):
    fail(X, place)
    left = next((place / "c").iterdir()) / f".0.{'0' * 32}.partial"
    left.write_bytes(b"half")
    assert len(set(LocalStore(str(place)).leftovers(""))) == 1
    to_zarr(Blocks().of(X), place, resume=True)
    assert not left.exists()
    np.testing.assert_array_equal(read(place), VALUES)


# ---- what is overwritten


def test_the_old_array_is_there_until_the_new_one_is_complete(place):
    to_zarr(da.arange(6, chunks=2), place)
    fail(X, place, overwrite=True)
    np.testing.assert_array_equal(read(place), range(6))
    blocks = Blocks()
    to_zarr(blocks.of(X), place, overwrite=True, resume=True)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), VALUES)
    assert sorted(path.name for path in (place.parent / "a.zarr.daskzarr").iterdir()) == ["__writes__"]


def test_an_array_that_is_overwritten_from_itself(place):
    to_zarr(X, place)
    x = from_zarr(place)
    fail(x[::-1] + 1, place, overwrite=True, token="mine")
    np.testing.assert_array_equal(read(place), VALUES)
    blocks = Blocks()
    to_zarr(blocks.of(from_zarr(place)[::-1] + 1), place, overwrite=True, token="mine", resume=True)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), VALUES[::-1] + 1)


def raising(*args, **options):
    raise FailedOnPurpose("between the journal and the documents")


@pytest.mark.parametrize("compute", [True, False])
def test_a_kill_between_the_journal_and_the_documents_of_an_overwriting(place, monkeypatch, compute):
    to_zarr(da.arange(10, chunks=5) + 100, place, compressors=None)
    with monkeypatch.context() as patch:
        patch.setattr("daskzarr.begin.begin_stage", raising)
        patch.setattr("daskzarr.begin.write_new_array", raising)
        with pytest.raises(FailedOnPurpose):
            to_zarr(X, place, overwrite=True, compute=compute)
    np.testing.assert_array_equal(read(place), np.arange(100, 110))
    to_zarr(X, place, overwrite=True, resume="auto")
    np.testing.assert_array_equal(read(place), VALUES)


def test_a_kill_between_the_journal_and_the_documents_of_an_overwriting_from_itself(place, monkeypatch):
    to_zarr(X, place)
    with monkeypatch.context() as patch:
        patch.setattr("daskzarr.begin.begin_stage", raising)
        with pytest.raises(FailedOnPurpose):
            to_zarr(from_zarr(place)[::-1], place, overwrite=True, token="mine")
    to_zarr(from_zarr(place)[::-1], place, overwrite=True, token="mine", resume="auto")
    np.testing.assert_array_equal(read(place), VALUES[::-1])


@pytest.mark.parametrize("journal", [None, False])
def test_what_another_write_replaced_meanwhile_is_not_finished(place, journal):
    create_array(place, shape=VALUES.shape, chunks=(4, 10), dtype="i4", compressors=None)
    fail(X, place, mode="r+", token="mine")
    to_zarr((X + 1)[:63], place, mode="r+", region=slice(0, 63), journal=journal)
    try:
        to_zarr(X, place, mode="r+", token="mine", resume=True)
    except ResumeError:
        return
    np.testing.assert_array_equal(read(place), VALUES)


def test_another_array_took_the_place_of_an_unfinished_one(place):
    fail(X, place, compressors=None, chunks=(4, 10))
    document = open_array(place).metadata
    zarr.create_array(str(place), shape=(64, 10), chunks=(8, 5), dtype="i8", compressors=None, overwrite=True)
    try:
        to_zarr(Blocks().of(X), place, compressors=None, chunks=(4, 10), resume=True)
    except (ResumeError, NodeExistsError):
        assert not (place / "c").exists()
        return
    assert open_array(place).metadata == document
    np.testing.assert_array_equal(read(place), VALUES)


# ---- the journal


@pytest.mark.parametrize("options", [{}, {"chunks": (3, 7)}, {"chunks": (2, 5), "shards": (16, 10)}], ids=str)
def test_the_journal_of_a_finished_write_has_every_object(place, options):
    values = VALUES.copy()
    values[16:32] = 0
    to_zarr(da.from_array(values, chunks=(4, 10)), place, **options)
    (journal,) = journals(place)
    assert journal.finished
    receipts = journal.receipts()
    array = open_array(place)
    grid = array.metadata.chunk_grid
    keys = {array.metadata.chunk_key_encoding.encode(index) for index in np.ndindex(*grid.counts)}
    assert set(receipts) == keys
    stored = files(place)
    for key, receipt in receipts.items():
        if key in stored:
            assert receipt.nbytes == len(stored[key])
            assert receipt.digest == google_crc32c.value(stored[key])
        else:
            assert (receipt.nbytes, receipt.digest) == (0, None)
        assert receipt.seconds >= 0
    assert {key for key, receipt in receipts.items() if receipt.digest is None} == keys - set(stored)
    assert any(receipt.digest is None for receipt in receipts.values())


def test_a_place_for_the_journal(tmp_path, place):
    notes = tmp_path / "notes"
    fail(X, place, journal=notes)
    assert not (tmp_path / "a.zarr.daskzarr").exists()
    with pytest.raises(ResumeError, match="there is no write"):
        to_zarr(Blocks().of(X), place, resume=True)
    blocks = Blocks()
    to_zarr(blocks.of(X), place, resume=True, journal=notes)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), VALUES)


def test_an_array_in_memory_with_a_journal_in_memory():
    mapping, notes = {}, {}
    fail(X, mapping, journal=notes)
    blocks = Blocks()
    to_zarr(blocks.of(X), mapping, journal=notes, resume=True)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(mapping), VALUES)


def test_two_nodes_with_one_place_for_their_journals(tmp_path):
    notes = tmp_path / "notes"
    for name in "ab":
        create_array(tmp_path / name, shape=VALUES.shape, chunks=(4, 10), dtype="i4", compressors=None)
        to_zarr(da.ones_like(X), tmp_path / name, mode="r+", journal=False)
    to_zarr(X, tmp_path / "a", mode="r+", journal=notes)
    try:
        to_zarr(X, tmp_path / "b", mode="r+", journal=notes, resume=True)
    except ResumeError:
        return
    np.testing.assert_array_equal(read(tmp_path / "b"), VALUES)


def test_no_journal(place):
    fail(X, place, journal=False)
    assert not (place.parent / "a.zarr.daskzarr").exists()
    with pytest.raises(ResumeError, match="there is no write"):
        to_zarr(Blocks().of(X), place, resume=True, journal=False)
    with dask.config.set({"daskzarr.journal": False}):
        to_zarr(X, place, overwrite=True)
    assert not journals(place)


def test_a_write_without_a_journal_makes_older_journals_void(place):
    to_zarr(X, place, compressors=None)
    to_zarr(X + 1, place, compressors=None, overwrite=True, journal=False)
    try:
        to_zarr(X, place, compressors=None, overwrite=True, resume=True)
    except ResumeError:
        return
    np.testing.assert_array_equal(read(place), VALUES)


def test_an_older_journal_does_not_outlive_what_it_is_of(place):
    to_zarr(X, place)
    to_zarr(X + 1, place, overwrite=True)
    with pytest.raises(ResumeError, match="source differ"):
        to_zarr(X, place, overwrite=True, resume=True)
    to_zarr(X[:8], place, mode="r+", region=slice(0, 8))
    to_zarr(X + 2, place, mode="r+")
    assert len(journals(place)) == 1  # all was written anew


class WaitingStore(StoreWrapper):
    """Lets no chunk be stored until it is told to."""

    def before(self, kind, key):
        if kind == "set" and key.endswith("c/5/0"):
            GO_ON.wait(20)


GO_ON = threading.Event()


def test_the_journal_is_never_ahead_of_the_data(place):
    GO_ON.clear()
    notes = place.parent / "notes"
    waiting = WaitingStore(LocalStore(str(place)))
    failures = []

    def job():
        try:
            with dask.config.set(scheduler="threads", num_workers=2):
                to_zarr(X, waiting, journal=notes)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    try:
        most = 0
        until = time.monotonic() + 20
        while most < 8 and time.monotonic() < until:
            for journal in journals_of(locate(place), notes_at(locate(place), notes)):
                receipts = journal.receipts()
                most = max(most, len(receipts))
                assert "c/5/0" not in receipts
                assert not journal.finished
                assert all((place / key).exists() for key in receipts)
    finally:
        GO_ON.set()
        thread.join()
    assert not failures
    assert most >= 8
    (journal,) = journals_of(locate(place), notes_at(locate(place), notes))
    assert "c/5/0" in journal.receipts()
    assert journal.finished


@pytest.mark.parametrize("kind", ["files", "mapping"])
def test_the_journal_costs_few_requests(tmp_path, kind):
    notes = RecordingStore(LocalStore(str(tmp_path)) if kind == "files" else MappingStore({}))
    place = Location(MappingStore({}))
    to_zarr(da.ones((400, 4), chunks=(1, 4)), place.store, journal=notes)
    (journal,) = journals_of(place, notes_at(place, notes))
    assert len(journal.receipts()) == 400
    batches = [key for key in notes.keys("append", "set") if "/log-" in key or "/batch-" in key]
    assert 10 <= len(batches) <= 50  # 8 to 40 objects each
    notes.clear()
    to_zarr(da.ones((400, 4), chunks=(1, 4)), {}, journal=notes)
    assert len(notes.requests) < 80


# ---- only some objects


@pytest.mark.parametrize("names", [["c/1/0", "c/6/0"], [(1, 0), (6, 0)]], ids=["keys", "indices"])
def test_only_some_objects_are_written(place, names):
    to_zarr(X, place)
    for i in range(4):
        (place / "c" / str(i) / "0").write_bytes(b"no chunk")
    before = files(place)
    blocks = Blocks()
    written = to_zarr(blocks.of(X), place, mode="r+", only=names, compute=False).compute()
    assert written.objects == 2
    assert sorted(blocks.done) == [(1, 0), (6, 0)]
    after = files(place)
    assert {key for key in after if after[key] != before.get(key)} == {"c/1/0"}
    to_zarr(X, place, mode="r+", only=["c/0/0", "c/2/0", "c/3/0"])
    np.testing.assert_array_equal(read(place), VALUES)


@pytest.mark.parametrize("chunks", [(3, 7), (30, 10), (64, 5)])
@pytest.mark.parametrize("align", ["merge", "rechunk"])
def test_only_some_merged_objects_are_written(place, chunks, align):
    to_zarr(X, place, chunks=chunks)
    keys = [key for key in files(place) if key.startswith("c/")]
    for key in keys:
        (place / key).write_bytes(b"no chunk")
    some = sorted(keys)[::3]
    to_zarr(X, place, mode="r+", only=some, align=align)
    after = files(place)
    assert {key for key in keys if after[key] != b"no chunk"} == set(some)
    to_zarr(X, place, mode="r+", only=set(keys) - set(some))
    np.testing.assert_array_equal(read(place), VALUES)


def test_only_some_objects_of_a_region(place):
    to_zarr(X, place, chunks=(5, 10))
    region = slice(7, 40)
    expected = VALUES.copy()
    expected[10:15] += 9
    to_zarr(da.from_array(VALUES[region] + 9, chunks=(4, 10)), place, mode="r+", region=region, only=["c/2/0"])
    np.testing.assert_array_equal(read(place), expected)


def test_nothing_at_all_is_written_of_no_objects(place):
    to_zarr(X, place)
    before = stamps(place)
    to_zarr(X, place, mode="r+", only=[])
    assert stamps(place) == before


@pytest.mark.parametrize("only", ["c/0/0", ["c/99/0"], ["x"], ["c/0"], [(0,)], [(-1, 0)], [(0, 0, 0)]], ids=str)
def test_objects_that_are_none_are_refused(place, only):
    to_zarr(X, place)
    before = stamps(place)
    with pytest.raises(MetadataError, match="only"):
        to_zarr(X, place, mode="r+", only=only)
    assert stamps(place) == before


def test_only_some_objects_are_no_new_array(place):
    to_zarr(X, place)
    with pytest.raises(MetadataError, match="only"):
        to_zarr(X, place, overwrite=True, only=["c/1/0"])
    np.testing.assert_array_equal(read(place), VALUES)


# ---- regions, several arrays


def test_a_region_is_taken_up_again(place):
    create_array(place, shape=(70, 10), chunks=(4, 5), dtype="i4", fill_value=-1)
    region = np.s_[2:66, :]
    fail(X, place, mode="r+", region=region, resume="auto")
    blocks = Blocks()
    to_zarr(blocks.of(X), place, mode="r+", region=region, resume=True)
    assert 0 < len(blocks.done) < 16
    expected = np.full((70, 10), -1, "i4")
    expected[region] = VALUES
    np.testing.assert_array_equal(read(place), expected)


def test_store_goes_on_without_being_told(place):
    create_array(place, shape=VALUES.shape, chunks=(4, 5), dtype="i4")
    fail(X, place, write=lambda x, place: store([x], [place]))
    blocks = Blocks()
    store([blocks.of(X)], [place])
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), VALUES)


def test_store_of_another_source_after_a_failure_says_how_to_go_on(place):
    create_array(place, shape=VALUES.shape, chunks=(4, 5), dtype="i4")
    fail(X, place, write=lambda x, place: store([x], [place]))
    with pytest.raises(ResumeError, match="source differ"):
        store([X + 1], [place])
    store([X + 1], [place], resume=False)
    np.testing.assert_array_equal(read(place), VALUES + 1)


# ---- killed for good


PROGRAM = """
import os, sys, time
import dask, dask.array as da, numpy as np
import daskzarr
from daskzarr.appending import append
from daskzarr.testing import distinct_values
root, verb, scheduler = sys.argv[1:]

def step(block):
    if block.size:
        with open(root + "/calls", "a") as file:
            file.write("x")
        time.sleep(0.1 if os.path.exists(root + "/slow") else 0)
    return block

values = distinct_values((64, 10), "i4", 1)
x = da.from_array(values, chunks=(4, 10)).map_blocks(step, dtype="i4", meta=np.empty((0, 0), "i4"))
dask.config.set(scheduler=scheduler, num_workers=2)
place = root + "/a.zarr"
if verb == "new":
    daskzarr.to_zarr(x, place, resume="auto")
elif verb == "merged":
    daskzarr.to_zarr(x, place, chunks=(6, 7), resume="auto")
elif verb == "append":
    append(x, place, at=5)
else:
    daskzarr.to_zarr(x, place, overwrite=True, resume="auto")
"""


def run(root, verb, scheduler):
    command = [sys.executable, "-c", PROGRAM, str(root), verb, scheduler]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize(
    ("verb", "scheduler"), [("new", "sync"), ("merged", "threads"), ("append", "sync"), ("overwrite", "threads")]
)
def test_a_process_that_is_killed(tmp_path, verb, scheduler):
    place = tmp_path / "a.zarr"
    if verb in ("append", "overwrite"):
        to_zarr(da.from_array(VALUES[:5] * 3, chunks=(4, 10)), place)
    calls = tmp_path / "calls"
    (tmp_path / "slow").touch()
    process = run(tmp_path, verb, scheduler)
    try:
        until = time.monotonic() + 40
        while (not calls.exists() or calls.stat().st_size < 10) and time.monotonic() < until:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = calls.stat().st_size
    assert before < 16
    if verb in ("append", "overwrite"):
        np.testing.assert_array_equal(read(place), VALUES[:5] * 3)
    (tmp_path / "slow").unlink()
    process = run(tmp_path, verb, scheduler)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors.decode()
    expected = np.concatenate([VALUES[:5] * 3, VALUES]) if verb == "append" else VALUES
    np.testing.assert_array_equal(read(place), expected)
    assert calls.stat().st_size - before < 16
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]
