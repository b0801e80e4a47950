"""Stored objects and what is noted of them -> how many there are, and which are missing, damaged or not as noted.

This is what the tasks of a verification do. Plain NumPy, no Dask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.byte_range import ByteRange
from daskzarr.checksum import crc32c
from daskzarr.chunk_grid import Box
from daskzarr.errors import raise_from
from daskzarr.receipt import Receipt
from daskzarr.shard_io import decode_part_of_shard
from daskzarr.stores import Buffer, SizedStore
from daskzarr.stores.overlap import overlapped
from daskzarr.stores.retries import get_many
from daskzarr.verification.report import Level

Index = tuple[int, ...]


@dataclass(slots=True)
class Tally:
    """Counts, and keys by what is wrong with them."""

    stored: int = 0
    checked: int = 0
    nbytes: int = 0
    elided: int = 0
    absent: int = 0
    keys: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, *keys: str) -> None:
        """So many keys more."""
        if keys:
            self.keys.setdefault(kind, []).extend(keys)

    def add(self, other: Tally) -> None:
        """What another one has, too."""
        self.stored += other.stored
        self.checked += other.checked
        self.nbytes += other.nbytes
        self.elided += other.elided
        self.absent += other.absent
        for kind, keys in other.keys.items():
            self.note(kind, *keys)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the objects of an array are held against.

    ``promised`` are boxes of chunks, each of which a write was to store or leave out.
    """

    handle: ArrayHandle
    level: Level
    promised: tuple[Box, ...] = ()

    def reads(self, receipt: Receipt | None) -> bool:
        """Whether the bytes of an object have to be looked at."""
        return self.level == "decode" or (self.level == "digest" and receipt is not None and bool(receipt.digest))

    def present(
        self, tally: Tally, key: str, index: Index, size: int | None, data: Buffer | None, receipt: Receipt | None
    ) -> None:
        """Count an object that is there."""
        wrong, compared = self._compare(index, size, data, receipt)
        if wrong and data is not None:  # damaged where it lies, or only on its way
            again = self.handle.persist(self.handle.store.get, self.handle.key(index))
            if again is not None and again != data:
                size = len(again)
                wrong, compared = self._compare(index, size, again, receipt)
        tally.stored += 1
        tally.checked += compared
        tally.nbytes += size or 0
        if wrong:
            tally.note(wrong, key)

    def _compare(
        self, index: Index, size: int | None, data: Buffer | None, receipt: Receipt | None
    ) -> tuple[str, bool]:
        """What is wrong with an object, and whether there was anything to compare it with."""
        if receipt is not None and receipt.digest is None:
            return "changed", True
        if self.level == "exists":
            return "", True
        noted_size = None if receipt is None else receipt.nbytes
        expected = self.handle.pipeline_at(index).encoded_spec().size if noted_size is None else noted_size
        if size != expected and (expected is not None or size == 0):
            return "truncated" if size == 0 or cast(int, size) < cast(int, expected) else "changed", True
        if self.level == "size" or data is None:
            return "", self.level == "size" and expected is not None
        if receipt is not None and receipt.digest and crc32c(data) != receipt.digest:
            return "corrupt", True
        return "corrupt" if self.level == "decode" and not _decodes(self.handle, index, data) else "", True

    def absent(self, tally: Tally, key: str, index: Index, receipt: Receipt | None) -> None:
        """Count an object that is not there."""
        if receipt is not None and receipt.digest is None:
            tally.elided += 1
        elif receipt is not None:
            tally.note("missing", key)
        elif any(_lies_in(index, box) for box in self.promised):
            tally.note("unwritten", key)
        else:
            tally.absent += 1


class Batch(NamedTuple):
    """Objects of the array at a path for one task, by index or by number in the grid, and what is noted of them."""

    path: str
    rules: Rules
    objects: tuple[Index, ...] | range
    receipts: dict[Index, Receipt]


def check_objects(common: None, batches: Sequence[Batch]) -> list[tuple[str, Tally]]:
    """The task of a few batches: what is there of them, and what is wrong with it, by the path of the array."""
    return [(batch.path, _check(batch)) for batch in batches]


def _check(batch: Batch) -> Tally:
    """The same of one batch."""
    tally, rules = Tally(), batch.rules
    objects: Sequence[Index]
    if isinstance(batch.objects, range):
        counts = rules.handle.grid.counts
        objects = [_index_of(number, counts) for number in batch.objects]
    else:
        objects = batch.objects
    whole = [index for index in objects if rules.reads(batch.receipts.get(index))]
    for index, data in zip(whole, _values(rules.handle, whole), strict=True):
        _count(tally, batch, index, None if data is None else len(data), data)
    others = [index for index in objects if not rules.reads(batch.receipts.get(index))]
    handle = rules.handle
    with overlapped(handle.store, lambda index: _size(handle, index, rules.level), others, handle.traffic) as sizes:
        for index, size in zip(others, sizes, strict=True):
            _count(tally, batch, index, size, None)
    return tally


def _count(tally: Tally, batch: Batch, index: Index, size: int | None, data: Buffer | None) -> None:
    """Count an object; one without a size is not there."""
    handle, receipt = batch.rules.handle, batch.receipts.get(index)
    where = handle.key(index)
    key = where[handle.lead :]
    if size is None:
        batch.rules.absent(tally, key, index, receipt)
        return
    try:
        batch.rules.present(tally, key, index, size, data, receipt)
    except Exception as error:
        raise_from(handle.failure("decoding a chunk", error, where), error)


def _values(handle: ArrayHandle, objects: Sequence[Index]) -> Iterator[Buffer | None]:
    """The bytes of objects, in order; None for what is not there."""
    keys = [handle.key(index) for index in objects]
    values = get_many(handle.store, keys, handle.traffic)
    for key in keys:
        try:
            data = next(values)
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)
        yield data


def _size(handle: ArrayHandle, index: Index, level: Level) -> int | None:
    """How many bytes an object has, None if it is not there. To know that it exists, a store is asked for no more."""
    store, key = handle.store, handle.key(index)
    try:
        if isinstance(store, SizedStore):
            return handle.persist(store.size, key)
        if level == "exists":
            return None if handle.persist(store.get, key, ByteRange(0, 1)) is None else 0
        data = handle.persist(store.get, key)
        return None if data is None else len(data)
    except Exception as error:
        raise_from(handle.failure("looking at a chunk", error, key), error)


def _decodes(handle: ArrayHandle, index: Index, data: Buffer) -> bool:
    """Whether readers of the array get cells out of an object."""
    pipeline, shape = handle.pipeline_at(index), handle.grid.box(index).shape
    try:
        if pipeline.shard is None or shape == pipeline.spec.shape:
            pipeline.decode(data)
        else:  # what hangs over the array's edge is nobody's
            decode_part_of_shard(
                data, pipeline, tuple(map(slice, (0,) * len(shape), shape)), np.empty(shape, handle.dtype)
            )
    except MemoryError:
        raise
    except Exception:
        return False
    return True


def _index_of(number: int, counts: Index) -> Index:
    """The chunk of a number."""
    index = []
    for count in counts[::-1]:
        number, i = divmod(number, count)
        index.append(i)
    return tuple(index[::-1])


def _lies_in(index: Index, box: Box) -> bool:
    """Whether a chunk is in a box of chunks."""
    return all(a <= i < b for a, i, b in zip(box.start, index, box.stop, strict=True))
