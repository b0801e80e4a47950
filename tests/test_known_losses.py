"""Calls that lose cells with dask and zarr-python, as their users reported: the same calls lose nothing here.

Whether a cell is lost there is a matter of luck: of two tasks that write one stored object, both have to read it before
either writes. Here it is certain: the store holds back the writes of an object until every task that has cells of it
wants to write. Of each object then only what one task brought is left.

- dask#12583, ``da.to_zarr(x, place, chunks=...)`` and ``shards=...`` that are not those of the blocks. Both lose cells
  with dask 2026.8 and zarr-python 3.1; ``mode="w"``, which takes a lock, does not where all tasks are threads of one
  process.
- zarr-python#3682, ``da.store(x, zarr_array, lock=False)`` with blocks that are parts of shards. ``da.to_zarr(x,
  zarr_array)`` has been mended: it rechunks to whole shards first. ``da.store`` has not.
"""

import asyncio
import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr.stores import LocalStore
from daskzarr.testing import RecordingStore

zarr = pytest.importorskip("zarr", minversion="3.1")

PATIENCE = 10  # seconds without another write until nobody else is expected to want one


class Unlucky(zarr.storage.WrapperStore):
    """A store of zarr-python whose objects are written only when all who share them have read them."""

    def __init__(self, store, writers):
        super().__init__(store)
        self.writers = writers
        self.waiting = Counter()

    def _with_store(self, store):
        other = type(self)(store, self.writers)
        other.waiting = self.waiting
        return other

    async def set(self, key, value):
        if key in self.writers:
            self.waiting[key] += 1
            before, patience = self.waiting.total(), PATIENCE
            while self.waiting[key] < self.writers[key] and patience > 0:
                await asyncio.sleep(0.01)
                patience = patience - 0.01 if self.waiting.total() == before else PATIENCE
                before = self.waiting.total()
        await super().set(key, value)

    @property
    def shared(self):
        """Whether several tasks did write one object."""
        return max(self.waiting.values()) > 1


def writers(array, objects):
    """Key of every stored object of a shape -> how many blocks have cells of it."""
    found = Counter()
    for block in itertools.product(*(range(n) for n in array.numblocks)):
        starts = [sum(lengths[:i]) for i, lengths in zip(block, array.chunks, strict=True)]
        stops = [start + lengths[i] for i, start, lengths in zip(block, starts, array.chunks, strict=True)]
        ranges = [range(a // n, -(-b // n)) for a, b, n in zip(starts, stops, objects, strict=True)]
        found.update("/".join(["c", *map(str, index)]) for index in itertools.product(*ranges))
    return found


def all_at_once(array):
    """Dask settings under which all blocks of an array are under way at once."""
    return dask.config.set(scheduler="threads", pool=ThreadPoolExecutor(array.npartitions))


def check_lost(theirs, path, values, kept):
    """Cells of an array as zarr-python reads it: no more are right than one block of each object has."""
    if not theirs.shared:
        pytest.skip("no two tasks write one object any more with this dask")
    wrong = np.count_nonzero(zarr.open_array(path, mode="r")[...] != values)
    assert wrong >= values.size - kept - 1  # a cell of 0 that was lost reads as 0


def check_whole(path, values, sets, objects):
    """Every cell is right, as we and zarr-python read it, and each object was written once and not read."""
    np.testing.assert_array_equal(daskzarr.from_zarr(path).compute(), values)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], values)
    assert sets == dict.fromkeys(objects, 1)


def requests(ours):
    """How often each chunk or shard was written, if none was read."""
    chunks = [(kind, key) for kind, key in ours.requests if key.startswith("c/")]
    assert {kind for kind, _ in chunks} <= {"set"}
    return Counter(key for _, key in chunks)


@pytest.mark.parametrize("grid", [{"chunks": (4, 4)}, {"shards": (4, 4)}], ids=["chunks", "shards"])
def test_objects_that_are_not_the_blocks(tmp_path, grid):
    """dask#12583."""
    a = da.arange(100).reshape((10, 10)).rechunk((2, 2))
    values, shared = np.arange(100).reshape(10, 10), writers(a, (4, 4))
    theirs = Unlucky(zarr.storage.LocalStore(tmp_path / "theirs"), shared)
    with all_at_once(a):
        da.to_zarr(a, theirs, **grid)
    check_lost(theirs, tmp_path / "theirs", values, kept=4 * len(shared))

    ours = RecordingStore(LocalStore(str(tmp_path / "ours")))
    with all_at_once(a):
        daskzarr.to_zarr(a, ours, **grid)
    check_whole(tmp_path / "ours", values, requests(ours), shared)


@pytest.mark.parametrize("side", [25, 20], ids=["parts-of-one-shard", "parts-of-several-shards"])
def test_blocks_that_are_parts_of_shards(tmp_path, side):
    """zarr-python#3682."""
    values = np.arange(100**3, dtype="f8").reshape(100, 100, 100)
    x = da.from_array(values, chunks=side)
    shared = writers(x, (50, 50, 50))
    grid = {"shape": x.shape, "chunks": (25, 25, 25), "shards": (50, 50, 50), "dtype": "f8"}
    theirs = Unlucky(zarr.storage.LocalStore(tmp_path / "theirs"), shared)
    with all_at_once(x):
        da.store(x, zarr.create_array(theirs, **grid), lock=False)
    check_lost(theirs, tmp_path / "theirs", values, kept=side**3 * len(shared))

    ours = RecordingStore(LocalStore(str(tmp_path / "ours")))
    with all_at_once(x):
        daskzarr.store([x], [daskzarr.create_array(ours, **grid)])
    check_whole(tmp_path / "ours", values, requests(ours), shared)


def test_to_zarr_of_dask_into_shards_that_exist(tmp_path):
    """What dask has mended of zarr-python#3682: it rechunks to whole shards, each written by one task."""
    values = np.arange(100**2, dtype="f8").reshape(100, 100)
    x = da.from_array(values, chunks=25)
    grid = {"shape": x.shape, "chunks": (25, 25), "shards": (50, 50), "dtype": "f8"}
    theirs = Unlucky(zarr.storage.LocalStore(tmp_path / "theirs"), dict.fromkeys(writers(x, (50, 50)), 1))
    da.to_zarr(x, zarr.create_array(theirs, **grid))
    assert not theirs.shared
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "theirs", mode="r")[...], values)
