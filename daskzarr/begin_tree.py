"""A new group with all that one call puts below it -> its documents, beside the old one if need be, and the write."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daskzarr.begin import Ending, array_write, begin_each
from daskzarr.graph.generation import note_write
from daskzarr.graph.write import ArrayWrite
from daskzarr.hierarchy.documents import put_documents
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
from daskzarr.stores import Location


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

    def path_of(self, array: Prepared) -> str:
        """The path of one of the arrays from the place."""
        return array.place.path[len(self.place.path) :].lstrip("/")

    def documents(self) -> dict[str, Documents]:
        """The documents of all groups and arrays, by path from the place."""
        nodes: dict[str, ArrayMetadata | GroupMetadata] = dict(self.groups)
        nodes |= {self.path_of(each): each.metadata for each in self.arrays}
        return {path: write_metadata(metadata, top=not (self.place / path).path) for path, metadata in nodes.items()}

    def in_store(self, documents: Mapping[str, Documents]) -> dict[str, Documents]:
        """Documents by path from the place -> the same by path in the store."""
        return {(self.place / path).path: found for path, found in documents.items()}


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
        _list_above(registers_above(place, {2, 3}), place, self.nodes, self.top)


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
    if tree.top == place:
        put_documents(place, dict([write_consolidated(documents)]))
    _list_above(site.registers, place, {**site.missing, **tree.in_store(documents)}, tree.top)
    return begun


def begin_tree_beside(tree: NewTree) -> tuple[list[ArrayWrite], ReplaceTree]:
    """Write all documents beside the place; what is to be written then, and what brings it all to its place."""
    place, documents = tree.place, tree.documents()
    staged = stage(place, notes_of(place), OVERWRITE)
    note_write(place.store.url, place.path)
    folder = begin_stage(staged, tree.groups[""])
    for path, found in documents.items():
        if path:
            put_documents(folder / path, found)
    writes, endings = [], []
    for each in tree.arrays:
        journal = None if each.journal is None else _beside_the_old(each.journal)
        if journal is not None:
            begin(journal, each.terms)
            endings.append(Ending(uuid.uuid4().hex, journal=journal, supersedes=journal.home))
        writes.append(array_write(each, folder / tree.path_of(each), journal))
    if tree.top == place:
        put_documents(folder, dict([write_consolidated(documents)]))
    return writes, ReplaceTree(staged, tree.in_store(documents), tuple(endings), tree.top)


def _beside_the_old(journal: Journal) -> Journal:
    """A journal that leaves what is noted of the old node as it is: it is true until that is replaced."""
    first, second = journal.of_the_same(OVERWRITE), journal.of_the_same(AGAIN)
    return second if first.finished else first


def _list_above(
    registers: Sequence[Register], place: Location, nodes: Mapping[str, Documents], top: Location | None
) -> None:
    """List nodes in the consolidated metadata above the place; at the top they are made, if there are none yet."""
    enter(registers, place, nodes)
    if top is not None and top != place and all(register.location != top for register in registers):
        consolidate(top)
