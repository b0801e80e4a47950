"""A prepared write -> its documents and journal, what is left to do of it, and what ends it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Terms
from daskzarr.configured import traffic_to
from daskzarr.create import write_new_array
from daskzarr.errors import AppendError
from daskzarr.graph.generation import note_write
from daskzarr.graph.shares import Finished
from daskzarr.graph.write import ArrayWrite, Part, Write, write_arrays
from daskzarr.hierarchy import StoredArray, open_array, writable
from daskzarr.hierarchy.documents import put_documents
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.publishing import note_above, publish_metadata
from daskzarr.hierarchy.registers import amended_together
from daskzarr.hierarchy.staging import Staged, begin_stage, swap
from daskzarr.journal import Journal, begin, forget, journals_of
from daskzarr.metadata import ArrayMetadata
from daskzarr.metadata.documents import write_metadata
from daskzarr.ownership import Index, Ownership
from daskzarr.prepare import Prepared, home_of
from daskzarr.receipt import Written
from daskzarr.resizing import REACH
from daskzarr.stores import Location, SweepStore
from daskzarr.stores.overlap import overlapped


@dataclass(frozen=True)
class Ending:
    """What is left to do once an array is written: it lets be seen what was written. It may be done twice.

    Parameters
    ----------
    token
        Tells this write from all others.
    staged
        The node to be put in its place.
    growth
        The array as it was, and the metadata with its new shape.
    journal
        Of the write.
    supersedes
        Where journals of earlier writes are, all of whose objects were written anew.
    """

    token: str
    staged: Staged | None = None
    growth: tuple[StoredArray, ArrayMetadata] | None = None
    journal: Journal | None = None
    supersedes: Location | None = None

    def __call__(self, written: Written) -> None:
        """End the write."""
        if self.staged is not None:
            swap(self.staged)
        if self.growth is not None:
            grow(*self.growth, self.token)
        if self.journal is not None:
            self.journal.finish({"objects": written.objects, "elided": written.elided, "bytes": written.nbytes})
            if self.supersedes is not None:
                _discard_others(self.journal, self.supersedes)


@dataclass(frozen=True)
class Endings:
    """Those of several arrays, one after the other."""

    endings: tuple[Ending, ...]

    def __call__(self, written: Written) -> None:
        """End the writes."""
        with amended_together():
            for ending in self.endings:
                ending(written)


_grown: set[str] = set()


def grow(old: StoredArray, metadata: ArrayMetadata, token: str) -> None:
    """Publish an array's new shape, if this write has not done so yet."""
    location = old.location
    if open_array(location, zarr_format=metadata.zarr_format).shape != metadata.shape:
        publish_metadata(old, metadata)
        if not writable(location).shared:
            _grown.add(token)
        return
    if token not in _grown and not writable(location).shared:
        # Elsewhere another process may have run this very task before.
        raise AppendError(
            "another append came first, and its cells have been replaced", url=location.store.url, node=location.path
        )
    note_above(StoredArray(location, metadata))


def _discard_others(journal: Journal, home: Location) -> None:
    """Remove what was noted of earlier writes of a node that is written whole."""
    started = journal.started
    for other in journals_of(Location(home.store, journal.node), home):
        if other.folder != journal.folder and other.started < started:
            other.discard()


def begin_write(prepared: Prepared) -> tuple[ArrayWrite, Ending | None]:
    """Write the documents and open the journal, or find out what is left to do of a write that was begun before."""
    note_write(prepared.place.store.url, prepared.place.path)
    if prepared.resumed is not None:
        target = prepared.resumed.target
        _sweep(target)
        prepared = _without_torn(prepared)
    else:
        target = _begin_anew(prepared)
    write = array_write(prepared, target, prepared.journal)
    return write, _ending(prepared, write.terms.only is None)


def array_write(prepared: Prepared, target: Location, journal: Journal | None) -> ArrayWrite:
    """What is left to write of an array whose documents are at a location by now."""
    only = prepared.wanted
    handle = ArrayHandle.of(
        StoredArray(target, prepared.metadata),
        write_empty_chunks=prepared.options.write_empty_chunks,
        allow_pickle=True,
        traffic=traffic_to(target.store),
    )
    parts = tuple(Part(arr, owners, _finished(prepared, handle, owners, only)) for arr, owners in prepared.parts)
    terms = Terms(digests=journal is not None, only=only, collect=prepared.options.failures == "collect")
    return ArrayWrite(handle, parts, terms, journal)


def begin_each(prepared: Sequence[Prepared]) -> list[tuple[ArrayWrite, Ending | None]]:
    """Begin writes of arrays, several at once where the store, that of the first, keeps one waiting."""
    if not prepared:
        return []
    store = prepared[0].place.store
    with overlapped(store, begin_write, prepared, traffic_to(store)) as begun:
        return list(begun)


def begin_all(prepared: Sequence[Prepared]) -> Write:
    """The write of everything that one call writes; nothing of it has run, but for the documents."""
    begun = begin_each(prepared)
    endings = [ending for _, ending in begun if ending is not None]
    return write_arrays([write for write, _ in begun], Endings(tuple(endings)) if endings else None)


def _begin_anew(prepared: Prepared) -> Location:
    """Open the journal, then write the documents; where the chunks go."""
    place = prepared.place
    if prepared.staged is not None:
        # Only once it has come to its place is there nothing staged of a write that has a journal.
        if prepared.journal is not None:
            prepared.journal.discard()
        target = begin_stage(prepared.staged, prepared.metadata)
    if prepared.journal is not None:
        _open_journal(prepared, prepared.journal)
    else:
        _void_journals(prepared)
    if prepared.staged is not None:
        return target
    if prepared.old is not None:
        return place
    if prepared.fresh:
        put_documents(place, write_metadata(prepared.metadata, top=not place.path))
        return place
    return write_new_array(place, prepared.metadata, overwrite=prepared.overwrite).location


def _ending(prepared: Prepared, complete: bool) -> Ending | None:
    """What ends the write, if anything does."""
    metadata, journal = prepared.metadata, prepared.journal
    grown = prepared.old is not None and prepared.old.metadata != metadata
    if prepared.staged is None and journal is None and not grown:
        return None
    whole = complete and prepared.regions == (Box((0,) * len(metadata.shape), metadata.shape),)
    return Ending(
        uuid.uuid4().hex,
        prepared.staged,
        (prepared.old, metadata) if prepared.old is not None and grown else None,
        journal,
        home_of(prepared.place, prepared.options) if whole else None,
    )


def _without_torn(prepared: Prepared) -> Prepared:
    """The write without a journal, if it is complete and that does not say all: it would say that the rest is lost."""
    resumed, journal = prepared.resumed, prepared.journal
    if resumed is None or journal is None or not resumed.complete:
        return prepared
    if not replace(prepared, resumed=replace(resumed, complete=False)).plan.objects:
        return prepared
    for each in journals_of(prepared.place, home_of(prepared.place, prepared.options)):
        each.discard()  # the others are of the node that was replaced
    return replace(prepared, journal=None)


def _open_journal(prepared: Prepared, journal: Journal) -> None:
    """Begin the journal of a write; what was noted of what it replaces goes."""
    if prepared.old is None and prepared.staged is None and not prepared.fresh:
        home = home_of(prepared.place, prepared.options)
        if prepared.options.journal in (None, True):
            forget(prepared.place, home)
        else:
            for other in journals_of(prepared.place, home):
                other.discard()
    if prepared.exclusive and journal.begun and journal.finished:
        journal.discard()
    if not begin(journal, prepared.terms, exclusive=prepared.exclusive):
        raise AppendError("another process is appending here just now", url=journal.url, node=journal.node)


def _sweep(target: Location) -> None:
    """Remove unfinished files that a killed process left."""
    store = target.store
    if isinstance(store, SweepStore):
        for key in list(store.leftovers(target.path)):
            store.delete(key)


def _void_journals(prepared: Prepared) -> None:
    """What was noted of a node is not true of it any more, once something is written that is not noted."""
    if prepared.fresh:
        return
    home = notes_of(prepared.place)
    if prepared.old is None and prepared.staged is None:
        forget(prepared.place, home)
        return
    for journal in journals_of(prepared.place, home):
        if journal.finished or REACH not in journal.terms():  # those say what may lie outside the array
            journal.discard()


def _finished(prepared: Prepared, handle: ArrayHandle, owners: Ownership, only: frozenset[Index] | None) -> Finished:
    """What of a region need not be written."""
    if prepared.resumed is None and only is None:
        return Finished()

    def needless(box: Box) -> bool:
        chunks = [part.chunk for part in handle.grid.project(box)]
        return all((only is not None and c not in only) or prepared.is_finished(c) for c in chunks)

    blocks, cells = set(), set()
    if not owners.gathers:
        for block in itertools.product(*map(range, owners.blocks.numblocks)):
            own = owners.share(block).own
            if own is not None and needless(own):
                blocks.add(block)
    for cell in owners.cells():
        if needless(cell.box):
            cells.add(cell.at)
    for at, _ in owners.joint_objects():
        if at not in cells and needless(handle.grid.box(at[1:])):
            cells.add(at)
    return Finished(frozenset(blocks), frozenset(cells))
