"""An array that became smaller -> the stored objects outside it and those its new end cuts: found, deleted, rewritten.

What is there is found by listing, never by asking for each that could be. Plain NumPy, no Dask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Array, Terms, decoded, write_box
from daskzarr.errors import raise_from
from daskzarr.hierarchy import store_error
from daskzarr.journal import Journal
from daskzarr.receipt import Receipt
from daskzarr.shard_io import forget_index
from daskzarr.stores import ListableStore, Listing, Location, SurveyStore
from daskzarr.stores.retries import persist

Index = tuple[int, ...]
Item = str | Index | Box
"""A folder of which all lies outside, an object by its index, or a box of indices of objects that may be there."""

_MOST_IN_BOX = 512


@dataclass(frozen=True)
class Outskirts:
    """Stored objects that an array's shape leaves outside, or cuts, along axes that became shorter.

    Parameters
    ----------
    handle
        Of the array with the shape it has now.
    shorter
        For each axis, whether objects may have cells beyond its end.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> array = create_array(store := {}, shape=(5, 4), chunks=(2, 2), dtype="i1")
    >>> store.update({"c/2/1": b"1234", "c/3/0": b"1234"})
    >>> outskirts = Outskirts(ArrayHandle.of(array), (True, False))
    >>> outskirts.cut, sorted(map(str, outskirts.stored()))
    ((2, None), ['(2, 1)', 'c/3'])
    """

    handle: ArrayHandle
    shorter: tuple[bool, ...]

    @cached_property
    def counts(self) -> Index:
        """Objects along each axis that hold cells of the array."""
        return self.handle.grid.counts

    @cached_property
    def cut(self) -> tuple[int | None, ...]:
        """The object along each axis that hangs over an end that moved."""
        if not all(self.counts):
            return (None,) * len(self.counts)
        grid = self.handle.grid
        last = tuple(count - 1 for count in self.counts)
        axes = zip(last, grid.box(last).start, grid.chunk_shape_at(last), grid.shape, self.shorter, strict=True)
        return tuple(i if moved and start + length > size else None for i, start, length, size, moved in axes)

    def stored(self) -> Iterator[Item]:
        """What is in the store of them. Folders without any are not listed where that is known beforehand."""
        encoding = self.handle.metadata.chunk_key_encoding
        if not any(self.shorter):
            return
        if encoding.separator == ".":
            yield from self._below(self.handle.path)
        elif encoding.name == "default":
            yield from self._walk(_join(self.handle.path, "c"), (), False)
        else:
            yield from self._walk(self.handle.path, (), False)

    def possible(self, before: Index) -> Iterator[Box]:
        """All that a store may hold that cannot list, of an array that had so many objects along each axis."""
        touched = (count if cut is None else cut for count, cut in zip(self.counts, self.cut, strict=True))
        kept = tuple(map(min, touched, before))
        for axis, (first, end) in enumerate(zip(kept, before, strict=True)):
            start = (0,) * axis + (first,) + (0,) * (len(kept) - axis - 1)
            yield from _split(Box(start, (*kept[:axis], end, *before[axis + 1 :])))

    def _walk(self, folder: str, lead: Index, cut: bool) -> Iterator[Item]:
        """The same in a folder, whose path gives the first numbers of keys; ``cut`` says that one of them is cut."""
        axis = self._axes[len(lead)]
        last = len(lead) + 1 == len(self._axes)
        deeper = any(self.shorter[other] for other in self._axes[len(lead) + 1 :])
        if not self.shorter[axis] and (cut or (deeper and isinstance(self.handle.store, SurveyStore))):
            yield from self._below(folder)
        elif self.shorter[axis] or deeper:
            listing = self._list_dir(folder)
            for name in listing.keys if last else listing.prefixes:
                number = int(name) if name.isdecimal() and name.isascii() else -1
                if str(number) == name:
                    yield from self._judge(_join(folder, name), (*lead, number), cut)

    def _judge(self, path: str, lead: Index, cut: bool) -> Iterator[Item]:
        """The same of one object, or one folder."""
        axis = self._axes[len(lead) - 1]
        cut = cut or lead[-1] == self.cut[axis]
        last = len(lead) == len(self._axes)
        if lead[-1] >= self.counts[axis]:
            yield self._index(lead) if last else path
        elif not last:
            yield from self._walk(path, lead, cut)
        elif cut:
            yield self._index(lead)

    def _below(self, folder: str) -> Iterator[Index]:
        """Those below a folder, by looking at every key."""
        decode, start = self.handle.metadata.chunk_key_encoding.decode, self.handle.lead
        for key in self._keys(folder):
            index = decode(key[start:])
            if index is not None and len(index) == len(self.counts):
                pairs = zip(index, self.counts, self.cut, strict=True)
                if any(i >= count or i == cut for i, count, cut in pairs):
                    yield index

    @cached_property
    def _axes(self) -> Sequence[int]:
        """The axes in the order of their numbers in keys."""
        axes = range(len(self.counts))
        return axes[::-1] if self.handle.metadata.chunk_key_encoding.name == "n5" else axes

    def _index(self, numbers: Index) -> Index:
        """Numbers of a key as the index of its object."""
        return numbers[::-1] if self.handle.metadata.chunk_key_encoding.name == "n5" else numbers

    def _keys(self, folder: str) -> Iterator[str]:
        """Every key below a folder."""
        store = self.handle.store
        if isinstance(store, SurveyStore):
            try:
                yield from persist(_survey, store, folder)
            except Exception as error:
                raise_from(self._failure(error), error)
            return
        listing = self._list_dir(folder)
        yield from (_join(folder, name) for name in listing.keys)
        for name in listing.prefixes:
            yield from self._keys(_join(folder, name))

    def _list_dir(self, folder: str) -> Listing:
        """What lies directly in a folder."""
        store = self.handle.store
        assert isinstance(store, ListableStore)
        try:
            return persist(store.list_dir, folder)
        except Exception as error:
            raise_from(self._failure(error), error)

    def _failure(self, error: Exception) -> Exception:
        """What could not be listed."""
        return store_error("listing the chunks", error, Location(self.handle.store, self.handle.path), "")


def _survey(store: SurveyStore, folder: str) -> list[str]:
    """Every key below a folder, all of them or none."""
    return [key for key, _ in store.survey(folder)]


@dataclass(frozen=True, slots=True)
class Trim:
    """What all tasks of one cleaning share. Without a journal, objects that are clean already are left as they are."""

    handle: ArrayHandle
    journal: Journal | None


def trim_objects(trim: Trim, items: Sequence[Item]) -> int:
    """The task of a few items: delete what lies outside the array, and put fill in the place of cells that do.

    Returns how many objects were cut. Doing it again changes nothing.
    """
    receipts = [receipt for item in items for receipt in _trim_item(trim, item)]
    if receipts and trim.journal is not None:
        trim.journal.note(receipts)
    return len(receipts)


def _trim_item(trim: Trim, item: Item) -> Iterator[Receipt]:
    """Receipts of the objects of one item that were cut."""
    if isinstance(item, str):
        _delete_folder(trim.handle, item)
        return
    indices = itertools.product(*map(range, *item)) if isinstance(item, Box) else [item]
    for index in indices:
        if any(i >= count for i, count in zip(index, trim.handle.grid.counts, strict=True)):
            _delete(trim.handle, index)
        else:
            yield from _cut(trim, index)


def _cut(trim: Trim, index: Index) -> list[Receipt]:
    """Give an object fill in all cells outside the array; one of nothing but fill goes."""
    handle = trim.handle
    key, box = handle.key(index), handle.grid.box(index)
    try:
        data = handle.persist(handle.store.get, key)
        if data is None:
            return []
        pipeline = handle.pipeline_at(index)
        cells = decoded(handle, key, data, pipeline.decode)
    except Exception as error:
        raise_from(handle.failure("reading a chunk to be cut", error, key), error)
    if trim.journal is None and not pipeline.truncates and _is_clean(handle, cells, box.shape):
        return []
    terms = Terms(digests=trim.journal is not None)
    return list(write_box(handle, box, cells[tuple(map(slice, box.shape))], terms).receipts)


def _is_clean(handle: ArrayHandle, cells: Array, inside: Index) -> bool:
    """Whether cells outside are fill already."""
    parts = (cells[(slice(None),) * axis + (slice(size, None),)] for axis, size in enumerate(inside))
    return all(handle.fill.covers(part) for part in parts if part.size)


def _delete(handle: ArrayHandle, index: Index) -> None:
    """Delete an object."""
    key = handle.key(index)
    try:
        handle.persist(handle.writer.delete, key)
    except Exception as error:
        raise_from(handle.failure("deleting a chunk outside the array", error, key), error)
    finally:
        if handle.pipeline.shard is not None:
            forget_index(handle.store, key)


def _delete_folder(handle: ArrayHandle, folder: str) -> None:
    """Delete all objects in a folder."""
    try:
        handle.persist(handle.writer.delete_below, folder)
    except Exception as error:
        raise_from(handle.failure("deleting chunks outside the array", error, folder), error)


def _split(box: Box) -> Iterator[Box]:
    """A box in boxes of few indices each; nothing for one of none."""
    count = math.prod(box.shape)
    if count <= _MOST_IN_BOX:
        yield from [box] if count else []
        return
    axis = max(range(len(box.shape)), key=box.shape.__getitem__)
    middle = (box.start[axis] + box.stop[axis]) // 2
    yield from _split(Box(box.start, (*box.stop[:axis], middle, *box.stop[axis + 1 :])))
    yield from _split(Box((*box.start[:axis], middle, *box.start[axis + 1 :]), box.stop))


def _join(folder: str, name: str) -> str:
    """The path of what a folder holds under a name."""
    return f"{folder}/{name}" if folder else name
