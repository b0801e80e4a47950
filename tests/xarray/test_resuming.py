"""Datasets whose write was killed and is taken up again: what is finished stays, the rest is written, all is right."""

import os
import shutil
import threading
import warnings
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import daskzarr
from daskzarr import begin
from daskzarr.errors import AppendError, NodeExistsError, PlanLimitError, ResumeError
from daskzarr.stores import LocalStore
from daskzarr.xarray import open_zarr, to_zarr

pytestmark = pytest.mark.usefixtures("one_after_the_other")
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


class FailedOnPurpose(Exception):
    """What a block raises."""


@pytest.fixture
def written(monkeypatch):
    """Counts what is put into local stores, but for documents and journals."""
    counts, put = Counter(), LocalStore.set

    def put_and_note(store, key, value):
        put(store, key, value)
        if key.rpartition("/")[2].isdigit() and ".daskzarr" not in store.url:
            counts[key] += 1

    monkeypatch.setattr(LocalStore, "set", put_and_note)
    return counts


class Block:
    """Passes blocks on; fails once so many were computed."""

    def __init__(self, fail_after=None):
        self.fail_after = fail_after
        self.done = []
        self.lock = threading.Lock()

    def __call__(self, block):
        with self.lock:
            if self.fail_after is not None and len(self.done) >= self.fail_after:
                raise FailedOnPurpose("a block")
            self.done.append(block.copy())
        return block


def dataset(start=0, stop=24, block=None, shift=0):
    """Two variables that have one source, each of 12 blocks, and some in memory."""
    n = np.arange(start, stop) + shift
    x = da.from_array(n, chunks=2)
    if block is not None:
        x = x.map_blocks(block, dtype="i8", meta=np.empty(0, "i8"), name=f"counted-{x.name}")
    else:
        x = x.map_blocks(lambda cells: cells, dtype="i8", meta=np.empty(0, "i8"), name=f"counted-{x.name}")
    return xr.Dataset(
        {"a": ("t", x + 1), "b": ("t", x * 2), "small": ("y", [1.5, 2.5])},
        coords={"t": np.arange(start, stop) * 10},
    )


def fail(after, place, *args, start=0, stop=24, **options):
    """Make a call that fails in the middle."""
    with pytest.raises(FailedOnPurpose):
        to_zarr(dataset(start, stop, Block(after)), place, *args, **options)


def check(place, want, **options):
    xr.testing.assert_identical(open_zarr(place, chunks=None, **options).load(), want.compute())
    xr.testing.assert_identical(xr.open_dataset(place, engine="zarr", **options).load(), want.compute())
    assert daskzarr.verify(place).ok


# ---- new datasets


@FORMATS
@pytest.mark.parametrize("resume", [True, "auto"])
@pytest.mark.parametrize("mode", ["w-", "a"])
@pytest.mark.parametrize("group", [None, "g"])
def test_a_new_dataset(place, zarr_format, resume, mode, group, written):
    options = {"mode": mode, "group": group, "zarr_format": zarr_format}
    if mode == "a":
        resume = "auto"  # what is there by then is written over
    fail(8, place, **options)
    first = sum(written.values())
    assert first >= 14
    written.clear()
    block = Block()
    to_zarr(dataset(block=block), place, **options, resume=resume)
    assert mode == "a" or len(block.done) < 12
    assert mode == "a" or sum(written.values()) <= 2 * 12 + 2 - first + 8
    check(place, dataset(), group=group)
    written.clear()
    to_zarr(dataset(block=block), place, **options, resume="auto")
    assert mode == "a" or not written
    check(place, dataset(), group=group)


class Killer:
    """Ends the process at some block."""

    def __init__(self, blocks):
        self.left = blocks

    def __call__(self, block):
        self.left -= 1
        if not self.left:
            os._exit(7)
        return block


def killed(call):
    """Make a call in a process of its own, which does not live to see its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python tells that threads are lost
        child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def stamps(place):
    """When each stored object was written."""
    found = {}
    for folder, _, names in os.walk(place):
        paths = [os.path.join(folder, name) for name in names if name.isdigit()]
        found |= {path: os.stat(path).st_mtime_ns for path in paths}
    return found


def test_a_killed_process(place):
    def kept(call, *args, least):
        killed(lambda: call(Killer(16), *args))
        before = stamps(place)
        call(Block(), *args)
        assert sum(before.get(path) == stamp for path, stamp in stamps(place).items()) >= least

    kept(lambda block: to_zarr(dataset(0, 48, block), place, resume="auto"), least=22)
    check(place, dataset(0, 48))
    kept(lambda block: to_zarr(dataset(48, 96, block), place, append_dim="t", resume="auto"), least=48 + 22)
    check(place, dataset(0, 96))
    region = {"region": {"t": slice(0, 48)}, "resume": "auto"}
    kept(lambda block: to_zarr(dataset(96, 144, block)[["a", "b"]].drop_vars("t"), place, **region), least=48 + 22)
    want = dataset(0, 96).compute()
    want["a"][:48], want["b"][:48] = np.arange(96, 144) + 1, np.arange(96, 144) * 2
    check(place, want)
    killed(lambda: to_zarr(dataset(0, 48, Killer(16)), place, "w"))
    xr.testing.assert_identical(open_zarr(place, chunks=None).load(), want)
    to_zarr(dataset(0, 48), place, "w")
    check(place, dataset(0, 48))


def test_what_was_not_begun_and_what_is_another_write(place):
    with pytest.raises(ResumeError, match="no write to take up"):
        to_zarr(dataset(), place, resume=True)
    assert not os.path.exists(place)
    fail(5, place)
    for other, field in ((dataset(shift=1), "source"), (dataset(0, 26), "")):
        with pytest.raises((ResumeError, NodeExistsError), match=field or None):
            to_zarr(other, place, resume="auto")
    with pytest.raises(ResumeError, match="chunks"):
        to_zarr(dataset(), place, resume="auto", encoding={"a": {"chunks": (4,)}}, safe_chunks=False)
    with pytest.raises(FileExistsError):
        to_zarr(dataset(), place)
    to_zarr(dataset(), place, resume=True)
    check(place, dataset())


def test_a_group_that_another_call_made_is_not_added_to(place):
    to_zarr(dataset(), place)
    for other in (xr.Dataset({"q": ("u", [1])}), dataset().assign_attrs(x=1), dataset()[["a"]]):
        with pytest.raises(FileExistsError):
            to_zarr(other, place, resume="auto")
    check(place, dataset())


def test_tokens(place):
    fail(8, place, token="one")
    other = dataset()
    other["a"] = other.a + 0  # the same cells by another way
    with pytest.raises(ResumeError, match="source"):
        to_zarr(other, place, resume=True)
    with pytest.raises(ResumeError, match="source"):
        to_zarr(other, place, resume=True, token="two")
    to_zarr(other, place, resume=True, token="one")
    check(place, dataset())


def test_a_finished_write_whose_chunks_are_lost(place):
    to_zarr(dataset(), place)
    os.unlink(f"{place}/a/c/3")
    assert not daskzarr.verify(place).ok
    with pytest.raises(ResumeError, match="repair"):
        to_zarr(dataset(), place, resume="auto")


def test_a_tree(place):
    block = Block(15)
    tree = xr.DataTree.from_dict({"/": dataset(block=block), "/g/h": dataset(24, 48, block).rename(t="u")})
    with pytest.raises(FailedOnPurpose):
        tree.daskzarr.to_zarr(place)
    with pytest.raises(FileExistsError):
        tree.daskzarr.to_zarr(place)
    tree = xr.DataTree.from_dict({"/": dataset(), "/g/h": dataset(24, 48).rename(t="u")})
    tree.daskzarr.to_zarr(place, resume="auto")
    with xr.open_datatree(place, engine="zarr") as got:
        assert got.identical(tree.compute())
    assert daskzarr.verify(place).ok


# ---- appending


@FORMATS
@pytest.mark.parametrize("options", [{}, {"at": 24}], ids=str)
@pytest.mark.parametrize("resume", [True, "auto", False])
def test_an_append(place, zarr_format, options, resume, written):
    to_zarr(dataset(), place, zarr_format=zarr_format)
    fail(8, place, start=24, stop=48, append_dim="t", **options)
    check_old = open_zarr(place, chunks=None).load()
    xr.testing.assert_identical(check_old, dataset().compute())
    written.clear()
    block = Block()
    to_zarr(dataset(24, 48, block), place, append_dim="t", resume=resume, **options)
    assert len(block.done) == 12 if resume is False else len(block.done) < 12
    check(place, dataset(0, 48))


def test_at_makes_it_once(place, written):
    to_zarr(dataset(), place)
    for _ in range(3):
        to_zarr(dataset(24, 30), place, append_dim="t", at=24)
        check(place, dataset(0, 30))
    for resume in (True, "auto"):
        written.clear()
        to_zarr(dataset(24, 30), place, append_dim="t", at=24, resume=resume)
        assert not [key for key in written if not key.startswith("small")]
    with pytest.raises(AppendError):
        to_zarr(dataset(30, 36), place, append_dim="t", at=24)
    with pytest.raises(AppendError):
        to_zarr(dataset(30, 36), place, append_dim="t", at=36)
    check(place, dataset(0, 30))
    to_zarr(dataset(30, 36), place, append_dim="t", at=30)
    check(place, dataset(0, 36))


@pytest.mark.parametrize("ends", [1, 2])
def test_an_append_killed_between_its_endings(place, ends, monkeypatch):
    to_zarr(dataset(), place)
    grow, count = begin.grow, []

    def some(*args):
        if len(count) == ends:
            raise FailedOnPurpose("between two endings")
        count.append(1)
        return grow(*args)

    with monkeypatch.context() as patched:
        patched.setattr(begin, "grow", some)
        with pytest.raises(FailedOnPurpose):
            to_zarr(dataset(24, 48), place, append_dim="t")
    with pytest.raises(AppendError, match="resume='auto'"):
        to_zarr(dataset(24, 48), place, append_dim="t")
    to_zarr(dataset(24, 48), place, append_dim="t", resume="auto")
    check(place, dataset(0, 48))


def test_two_appends_at_once(place):
    to_zarr(dataset(), place)
    gate, entered = threading.Event(), threading.Event()

    def wait(block):
        entered.set()
        assert gate.wait(30)
        return block

    first = dataset(24, 30, wait)
    errors = []

    def run():
        try:
            with dask.config.set(scheduler="sync"):
                to_zarr(first, place, append_dim="t")
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(30)
    other = dataset(24, 30, shift=100)
    for options in ({}, {"at": 24}, {"resume": "auto"}):
        with pytest.raises(AppendError):
            to_zarr(other, place, append_dim="t", **options)
    gate.set()
    thread.join()
    assert not errors
    check(place, dataset(0, 30))


# ---- regions


@pytest.mark.parametrize("mode", ["r+", "a"])
def test_a_region(place, mode, written):
    to_zarr(dataset(), place)
    part = {"region": {"t": slice(4, 20)}, "mode": mode}
    drop = ["t", "small"]
    with pytest.raises(FailedOnPurpose):
        to_zarr(dataset(100, 116, Block(6)).drop_vars(drop), place, **part)
    written.clear()
    block = Block()
    to_zarr(dataset(100, 116, block).drop_vars(drop), place, **part, resume=True)
    assert len(block.done) < 8
    a = np.arange(24) + 1
    a[4:20] = np.arange(100, 116) + 1
    np.testing.assert_array_equal(open_zarr(place).a, a)
    assert daskzarr.verify(place).ok


# ---- limits, verification


def test_limits(place):
    for limit in ({"max_files": 20}, {"max_mem": 8}):
        with pytest.raises(PlanLimitError):
            to_zarr(dataset(), place, **limit)
    assert not os.path.exists(place)
    to_zarr(dataset(), place, max_files=100, max_mem="1 GiB")
    check(place, dataset())


def test_verification(place):
    to_zarr(dataset(), place)
    to_zarr(dataset(24, 30), place, append_dim="t")
    assert daskzarr.verify(place).ok
    os.unlink(f"{place}/b/c/13")
    found = daskzarr.verify(place)
    assert not found.ok
    assert "b" in str(found)
    shutil.copy(f"{place}/b/c/12", f"{place}/b/c/13")
    assert not daskzarr.verify(place, level="digest").ok


def test_fsync_and_no_journal(place, tmp_path):
    to_zarr(dataset(), place, durability="fsync")
    check(place, dataset())
    to_zarr(dataset(24, 30), place, append_dim="t", journal=False)
    other = str(tmp_path / "b.zarr")
    to_zarr(dataset(), other, journal=False)
    to_zarr(dataset(24, 30), other, append_dim="t", journal=False)
    for each in (place, other):
        xr.testing.assert_identical(open_zarr(each, chunks=None).load(), dataset(0, 30).compute())
    assert not os.path.exists(f"{other}.daskzarr")


@pytest.mark.parametrize("journal", [None, False])
@pytest.mark.parametrize("mode", ["w-", "w"])
def test_collected_failures(place, mode, journal):
    if mode == "w":
        to_zarr(dataset(shift=1), place)
    with pytest.raises(daskzarr.errors.WriteFailedError) as caught:
        to_zarr(dataset(block=Block(5))[["a"]], place, mode, failures="collect", journal=journal)
    assert len(caught.value.failures) == 7
    if mode == "w":
        xr.testing.assert_identical(open_zarr(place, chunks=None).load(), dataset(shift=1).compute())


def test_what_replaces_a_dataset_is_noted_and_what_is_replaced_stays_noted_until_then(place):
    ds = xr.Dataset({"v": ("a", da.arange(100, chunks=10) + 1), "w": ("a", np.arange(100))})
    for _ in range(3):
        to_zarr(ds, place, mode="w")
    report = daskzarr.verify(place, level="digest")
    assert report.ok
    assert "11 objects stored; 11 could be compared" in str(report)

    def fail(block):
        raise FailedOnPurpose

    with pytest.raises(FailedOnPurpose):
        to_zarr(ds.assign(v=("a", ds["v"].data.map_blocks(fail, dtype="i8"))), place, mode="w")
    os.remove(f"{place}/v/c/5")
    assert daskzarr.verify(place, level="digest").bad == {"v": ("c/5",)}
    to_zarr(ds[["w"]], place, mode="w")
    assert daskzarr.verify(place, level="digest").ok
    assert not os.listdir(f"{place}.daskzarr/v/__writes__")


def test_a_group_without_a_journal_does_not_hide_that_nothing_was_compared(place):
    to_zarr(xr.Dataset({"v": ("a", da.arange(100, chunks=10) + 1)}), place, journal=False)
    os.remove(f"{place}/v/c/5")
    said = str(daskzarr.verify(place, level="digest"))
    assert "9 objects stored; 0 could be compared" in said
    assert "absent" in said


@pytest.mark.parametrize("resume", [True, "auto"])
def test_what_was_repaired_or_written_over_since_is_finished(place, resume):
    ds = xr.Dataset({"v": ("a", da.arange(100, chunks=10) + 1)})
    to_zarr(ds, place, token="x")
    os.remove(f"{place}/v/c/5")
    daskzarr.repair(ds["v"].data, place, "v")
    to_zarr(xr.Dataset({"v": ("a", np.full(10, 7))}), place, region={"a": slice(20, 30)})
    to_zarr(ds, place, token="x", resume=resume)
    assert daskzarr.verify(place, level="decode").ok
    np.testing.assert_array_equal(open_zarr(place)["v"].values[15:35], [*range(16, 21), *[7] * 10, *range(31, 36)])
