"""A new group with all that one call puts below it -> its documents, beside the old one if need be, and the write."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dask.array as da

from daskzarr.array_handle import ArrayHandle
from daskzarr.begin import Ending, begin_each
from daskzarr.chunk_io import Terms
from daskzarr.configured import traffic_to
from daskzarr.graph.generation import note_write
from daskzarr.graph.write import ArrayWrite, Part
from daskzarr.hierarchy import StoredArray
from daskzarr.hierarchy.documents import node_exists, put_documents
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.placing import clear, look_around, write_groups_above
from daskzarr.hierarchy.registers import Register, enter, registers_above
from daskzarr.hierarchy.staging import Staged, begin_stage, stage, swap
from daskzarr.journal import AGAIN, OVERWRITE, Journal, begin, forget, forget_others
from daskzarr.metadata import ArrayMetadata, GroupMetadata
from daskzarr.metadata.consolidated import write_consolidated
from daskzarr.metadata.documents import Documents, write_metadata
from daskzarr.nodes import consolidate
from daskzarr.prepare import Prepared
from daskzarr.receipt import Written
from daskzarr.regions import reads_from
from daskzarr.stores import Location, MovingStore


@dataclass(frozen=True)
class NewTree:
    """What one call puts at a place where nothing is, or nothing that stays.

    Parameters
    ----------
    place
        Of the group.
    groups
        It and all groups below it, by path from it; its own is ``""``.
    arrays
        The writes of all arrays below it, prepared as fresh ones.
    top
        The group whose consolidated metadata are to list all this: the place itself or one above it. None: no other
        than those that there are.
    """

    place: Location
    groups: Mapping[str, GroupMetadata]
    arrays: tuple[Prepared, ...]
    top: Location | None = None

    def documents(self) -> dict[str, Documents]:
        """The documents of all groups and arrays, by path from the place."""
        lead = len(self.place.path) + 1 if self.place.path else 0
        nodes: dict[str, ArrayMetadata | GroupMetadata] = dict(self.groups)
        nodes |= {each.place.path[lead:]: each.metadata for each in self.arrays}
        return {path: write_metadata(metadata, top=not (self.place / path).path) for path, metadata in nodes.items()}


@dataclass(frozen=True)
class ReplaceTree:
    """What is left to do once all is written beside the place: it is put there, the old node goes, all is listed."""

    staged: Staged
    nodes: Mapping[str, Documents]
    endings: tuple[Ending, ...] = ()
    top: Location | None = None

    def __call__(self, written: Written) -> None:
        """End the write."""
        place = self.staged.place
        swap(self.staged)
        # From here on what was noted of the old node is not true; until then it was.
        noted = [ending.journal for ending in self.endings if ending.journal is not None]
        forget_others(place, notes_of(place), [journal.node for journal in noted])
        for ending in self.endings:
            ending(written)
        _list_above(place, self.nodes, self.top)


def is_staged(place: Location, sources: Sequence[da.Array], *, reads_itself: bool = False, compute: bool) -> bool:
    """Whether what is at a place has to stay until all that is to replace it is written, or can easily do so.

    Without ``compute`` the documents are wanted at once; where nothing can be moved, staging means to copy.
    """
    movable = notes_of(place) is not None and isinstance(place.store, MovingStore)
    if reads_itself or any(reads_from(source, place) for source in sources):
        return True
    return movable and compute and node_exists(place)


def begin_tree(tree: NewTree, *, overwrite: bool) -> list[tuple[ArrayWrite, Ending | None]]:
    """Write all documents; what is to be written then, and what ends the write of each array."""
    place, documents = tree.place, tree.documents()
    site = look_around(place, tree.groups[""].zarr_format, overwrite=overwrite)
    if overwrite:
        clear(site)
    note_write(place.store.url, place.path)
    forget(place, notes_of(place))
    write_groups_above(site)
    for path in tree.groups:
        put_documents(place / path, documents[path])
    begun = begin_each(tree.arrays)
    _put_consolidated(place, documents, tree.top)
    _enter(site.registers, place, {(place / path).path: found for path, found in documents.items()}, site.missing)
    _consolidate(tree.top, place, site.registers)
    return begun


def begin_tree_beside(tree: NewTree) -> tuple[list[ArrayWrite], ReplaceTree]:
    """Write all documents beside the place; what is to be written then, and what brings it all to its place."""
    place, documents = tree.place, tree.documents()
    staged = stage(place, notes_of(place), OVERWRITE)
    note_write(place.store.url, place.path)
    folder = begin_stage(staged, tree.groups[""])
    lead = len(place.path) + 1 if place.path else 0
    for path, found in documents.items():
        if path:
            put_documents(folder / path, found)
    writes, endings = [], []
    for each in tree.arrays:
        journal = None if each.journal is None else _beside_the_old(each.journal)
        if journal is not None:
            begin(journal, each.terms)
            endings.append(Ending(uuid.uuid4().hex, journal=journal, supersedes=journal.home))
        home = folder / each.place.path[lead:]
        handle = ArrayHandle.of(
            StoredArray(home, each.metadata),
            write_empty_chunks=each.options.write_empty_chunks,
            allow_pickle=True,
            traffic=traffic_to(home.store),
        )
        parts = tuple(Part(arr, owners) for arr, owners in each.parts)
        writes.append(ArrayWrite(handle, parts, Terms(digests=journal is not None), journal))
    if tree.top == place:
        put_documents(folder, dict([write_consolidated(documents)]))
    nodes = {(place / path).path: found for path, found in documents.items()}
    return writes, ReplaceTree(staged, nodes, tuple(endings), tree.top)


def _beside_the_old(journal: Journal) -> Journal:
    """A journal that leaves what is noted of the old node as it is: it is true until that is replaced."""
    first, second = journal.of_the_same(OVERWRITE), journal.of_the_same(AGAIN)
    return second if first.finished else first


def _put_consolidated(place: Location, documents: Mapping[str, Documents], top: Location | None) -> None:
    """Put the group's own consolidated metadata, if it is the one to have them."""
    if top == place:
        put_documents(place, dict([write_consolidated(documents)]))


def _list_above(place: Location, nodes: Mapping[str, Documents], top: Location | None) -> None:
    """List all nodes in the consolidated metadata above the place."""
    registers = registers_above(place, {2, 3})
    _enter(registers, place, nodes, {})
    _consolidate(top, place, registers)


def _enter(
    registers: Sequence[Register],
    place: Location,
    nodes: Mapping[str, Documents],
    missing: Mapping[str, Documents],
) -> None:
    """Note nodes in the registers above a place."""
    if registers:
        enter(registers, place, {**missing, **nodes})


def _consolidate(top: Location | None, place: Location, registers: Sequence[Register]) -> None:
    """Make consolidated metadata at the top, unless they are there and list all."""
    if top is not None and top != place and all(register.location != top for register in registers):
        consolidate(top)
