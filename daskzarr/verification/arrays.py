"""A stored array and what is noted of it -> what is there, what is not, and what has to be read to tell more.

The store is listed once. Objects whose bytes have to be looked at are put into batches, one a task; a store that cannot
be listed is asked for every object there could be, by number. Plain NumPy, no Dask.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from operator import lt

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.configured import traffic_to
from daskzarr.errors import UnsupportedError, raise_from
from daskzarr.hierarchy import StoredArray, store_error
from daskzarr.hierarchy.copying import names_below
from daskzarr.hierarchy.documents import list_dir
from daskzarr.hierarchy.placing import DOCUMENT_NAMES
from daskzarr.journal import Journal, journals_of, noted
from daskzarr.metadata import ChunkGrid
from daskzarr.receipt import Receipt
from daskzarr.stores import ListableStore, Location, Store, SurveyStore, SweepStore
from daskzarr.stores.retries import persist
from daskzarr.verification.objects import Batch, Index, Rules, Tally
from daskzarr.verification.report import Level

Listed = list[tuple[str, int | None]]

_NCZARR = (".nczarr", ".nczgroup", ".nczarray", ".nczvar", ".nczattr")  # what old netCDF-C put beside documents
_DOCUMENTS = frozenset((*_NCZARR, *(name for names in DOCUMENT_NAMES.values() for name in names)))
_UNDER_WAY = ".__swap__"  # in a node that is about to take the place of another one
_TOKEN = re.compile("-[0-9a-f]{32}$")
_STAGED, _SWAPPING = "__staged__", ("__swap__", "__replaced__")  # beside that one
_MOST_OBJECTS = 1000
_MOST_BYTES = 64 * 2**20
_MOST_ASKED = 10**9


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of an array before any object is read.

    ``waiting`` are those to be read, with their sizes; where the store could not be ``listed``, all are.
    """

    rules: Rules
    journal: bool
    receipts: Mapping[Index, Receipt]
    listed: bool
    tally: Tally
    waiting: list[tuple[Index, int | None]] = field(default_factory=list)

    def batches(self, path: str) -> Iterator[Batch]:
        """What is left for tasks: no batch has more than 1000 objects, nor, if it has several, more than 64 MiB."""
        reads = self.rules.level in ("digest", "decode")
        typical = max(self.rules.handle.pipeline.spec.nbytes, 1) if reads else 1
        if not self.listed:
            yield from self._numbered(path, min(max(_MOST_BYTES // typical, 1), _MOST_OBJECTS))
            return
        few: list[Index] = []
        nbytes = 0
        for index, size in self.waiting:
            more = typical if size is None else size
            if few and (nbytes + more > _MOST_BYTES or len(few) == _MOST_OBJECTS):
                yield self._batch(path, few)
                few, nbytes = [], 0
            few.append(index)
            nbytes += more
        if few:
            yield self._batch(path, few)

    def _batch(self, path: str, few: list[Index]) -> Batch:
        """A batch of objects that are there."""
        return Batch(path, self.rules, tuple(few), {at: self.receipts[at] for at in few if at in self.receipts})

    def _numbered(self, path: str, step: int) -> Iterator[Batch]:
        """Batches of all objects there could be."""
        handle = self.rules.handle
        counts, total = handle.grid.counts, handle.grid.chunk_count
        if total > _MOST_ASKED:
            raise UnsupportedError(
                f"this store cannot list what it holds, and asking it for {total} objects would not come to an end",
                url=handle.store.url,
                node=handle.path,
            )
        receipts: dict[int, dict[Index, Receipt]] = {}
        for index, receipt in self.receipts.items():
            receipts.setdefault(_number_of(index, counts) // step, {})[index] = receipt
        for batch, start in enumerate(range(0, total, step)):
            yield Batch(path, self.rules, range(start, min(start + step, total)), receipts.get(batch, {}))


def inspect_array(array: StoredArray, level: Level, place: Location | None) -> Inspection:
    """List what is there of an array, and hold it against what is noted at a place."""
    handle = ArrayHandle.of(array, allow_pickle=level != "decode", traffic=traffic_to(array.location.store))
    index_of = _indexer(handle)
    journals = journals_of(array.location, place)
    pending = [journal for journal in journals if not journal.finished]
    journals = [journal for journal in journals if journal not in pending or not journal.overwrites]
    rules = Rules(handle, level, _promised(journals, handle.grid))
    found = ((index_of(key), receipt) for key, receipt in noted(journals).items())
    receipts = {index: receipt for index, receipt in found if index is not None}
    tally = Tally()
    tally.note("unfinished", *unfinished_writes(pending, place))
    listing = _listing(array.location)
    if listing is None:
        return Inspection(rules, bool(journals), receipts, False, tally)
    there: dict[Index, tuple[str, int | None]] = {}
    strange = []
    for key, size in listing:
        index = index_of(key)
        if index is None:
            strange.append(key)
        else:
            there[index] = key, size
    _count_strange(tally, strange, pending)
    tally.note("leftover", *_leftovers(array.location))
    waiting = _count_present(tally, rules, there, receipts)
    _count_absent(tally, rules, there.keys(), receipts)
    return Inspection(rules, bool(journals), receipts, True, tally, waiting)


def _indexer(handle: ArrayHandle) -> Callable[[str], Index | None]:
    """A function key -> the chunk it is of; None if it is of none of the array's."""
    encoding, counts = handle.metadata.chunk_key_encoding, handle.grid.counts
    decode, only = encoding.decode, encoding.encode(())

    def index_of(key: str) -> Index | None:
        try:
            index = decode(key) if counts else () if key == only else None  # v2's looks like one of an array with axes
        except ValueError:  # a number of thousands of digits
            return None
        inside = index is not None and len(index) == len(counts) and all(map(lt, index, counts))
        return index if inside else None

    return index_of


def _count_strange(tally: Tally, keys: Iterable[str], pending: Iterable[Journal]) -> None:
    """Count what belongs to no chunk of the array, nor to an unfinished write that is to make it larger."""
    keys = list(keys)
    awaited = {key for journal in pending for key in journal.receipts()} if keys else ()
    for key in keys:
        if key not in awaited:
            tally.note("leftover" if key == _UNDER_WAY or key.endswith(".partial") else "orphaned", key)


def _count_present(
    tally: Tally,
    rules: Rules,
    there: Mapping[Index, tuple[str, int | None]],
    receipts: Mapping[Index, Receipt],
) -> list[tuple[Index, int | None]]:
    """Count the objects that listing them was enough for; returns the others."""
    waiting = []
    for index, (key, size) in there.items():
        receipt = receipts.get(index)
        if rules.reads(receipt) or (size is None and rules.level != "exists"):
            waiting.append((index, size))
        else:
            rules.present(tally, key, index, size, None, receipt)
    return waiting


def _count_absent(tally: Tally, rules: Rules, there: Set[Index], receipts: Mapping[Index, Receipt]) -> None:
    """Count what is not there, without looking at each object there could be unless one that was promised is amiss."""
    grid, encode = rules.handle.grid, rules.handle.metadata.chunk_key_encoding.encode
    for index, receipt in receipts.items():
        if index not in there:
            rules.absent(tally, receipt.key, index, receipt)
    known = there | receipts.keys()
    lost: dict[Index, None] = {}
    if len(known) < grid.chunk_count:
        promised = itertools.chain(*(itertools.product(*map(range, *box)) for box in rules.promised))
        lost = dict.fromkeys(index for index in promised if index not in known)
    tally.note("unwritten", *map(encode, lost))
    tally.absent += grid.chunk_count - len(known) - len(lost)


def _promised(journals: Iterable[Journal], grid: ChunkGrid) -> tuple[Box, ...]:
    """The chunks that writes were to store or leave out, each of them, as their terms say.

    ``region`` lists the regions of a write, each as pairs [first cell, cell after the last], one an axis. A write of
    chosen objects (``only``) promises no others.
    """
    found: set[Box | None] = set()
    for journal in journals:
        terms = journal.terms()
        for region in terms.get("region", ()) if terms.get("only") is None else ():
            if len(region) == len(grid.shape):
                found.add(_chunks_of([tuple(pair) for pair in region], grid))
    whole = Box((0,) * len(grid.shape), grid.counts)
    return (whole,) if whole in found else tuple(sorted(box for box in found if box is not None))


def _chunks_of(region: list[tuple[int, ...]], grid: ChunkGrid) -> Box | None:
    """The chunks that have cells of a region in the array; None if there are none."""
    ends = [(start, min(stop, size) - 1) for (start, stop), size in zip(region, grid.shape, strict=True)]
    if any(first > last for first, last in ends):
        return None
    corners = (tuple(pair[end] for pair in ends) for end in (0, 1))
    low, high = (next(grid.project(Box(at, tuple(n + 1 for n in at)))).chunk for at in corners)
    return Box(low, tuple(n + 1 for n in high))


def unfinished_writes(pending: Iterable[Journal], place: Location | None) -> list[str]:
    """Names of writes that did not end: those whose journals say so, and those that left something staged."""
    names = [journal.name for journal in pending]
    if place is not None and isinstance(place.store, ListableStore):
        listing = persist(list_dir, place)
        staged = [name.removeprefix(_STAGED) for name in listing.prefixes if name.startswith(_STAGED)]
        names += [_TOKEN.sub("", name) for name in staged]
        names += [name for name in (*listing.prefixes, *listing.keys) if name.startswith(_SWAPPING)]
    return list(dict.fromkeys(names))


# ---- what is in the store


def can_list(store: Store) -> bool:
    """Whether a store knows its keys; a web server's index page may say anything."""
    return isinstance(store, (SurveyStore, ListableStore)) and not store.url.startswith(("http://", "https://"))


def _listing(location: Location) -> Listed | None:
    """Keys of all that is below an array, save documents, with sizes where they are known; None if that is not known.

    Where not even the array's own document is listed, the listing is none.
    """
    if not can_list(location.store):
        return None
    try:
        listing = persist(_list, location)
    except PermissionError:
        return None  # who may read need not be allowed to list
    except Exception as error:
        raise_from(store_error("listing the chunks", error, location, ""), error)
    chunks = [entry for entry in listing if entry[0] not in _DOCUMENTS]
    return chunks if len(chunks) < len(listing) else None


def _list(location: Location) -> Listed:
    """The same in one go, so that it can be done again from the start."""
    store = location.store
    if not isinstance(store, SurveyStore):
        return [(name, None) for name in names_below(location)]
    lead = len(location.key(""))
    return [(key[lead:], size) for key, size in store.survey(location.path)]


def _leftovers(location: Location) -> list[str]:
    """Unfinished files below an array."""
    store = location.store
    if not isinstance(store, SweepStore):
        return []
    lead = len(location.key(""))
    try:
        return [key[lead:] for key in persist(_unfinished, store, location.path)]
    except Exception as error:
        raise_from(store_error("listing unfinished files", error, location, ""), error)


def _unfinished(store: SweepStore, path: str) -> list[str]:
    """Keys of unfinished files, all of them or none."""
    return list(store.leftovers(path))


def _number_of(index: Index, counts: Index) -> int:
    """Number of a chunk, in C order."""
    number = 0
    for i, count in zip(index, counts, strict=True):
        number = number * count + i
    return number
