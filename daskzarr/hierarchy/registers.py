"""Changes of nodes -> the consolidated metadata of the groups above them, which are to stay true."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from daskzarr.errors import DaskZarrError, raise_from
from daskzarr.hierarchy.documents import ancestors, finish, get_document, set_document, store_error, writable
from daskzarr.metadata import ZarrFormat, v3
from daskzarr.metadata.consolidated import change, format_stored, lists, read_entries
from daskzarr.metadata.documents import CONSOLIDATED_DOCUMENT, CONSOLIDATED_MEMBER, Document, Documents
from daskzarr.stores import Location
from daskzarr.stores.retries import persist

changing = threading.RLock()
"""Held while a document is read, changed and written, so that threads of this process lose no change of another."""


@dataclass(frozen=True, slots=True)
class Register:
    """A group with consolidated metadata, and the name of its document that they are in."""

    location: Location
    name: str


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is to be noted of many nodes: the registers above each place, and new documents by register and path."""

    above: dict[tuple[str, str, frozenset[ZarrFormat]], list[Register]] = field(default_factory=dict)
    documents: dict[tuple[str, str, str], tuple[Register, dict[str, Documents]]] = field(default_factory=dict)


_together = threading.local()


@contextlib.contextmanager
def amended_together() -> Iterator[None]:
    """Within it, what this thread amends is noted at the end, by one change of each register: many nodes are one."""
    if getattr(_together, "changes", None) is not None:
        yield
        return
    changes = _together.changes = _Changes()
    try:
        yield
    finally:
        _together.changes = None
        for register, documents in changes.documents.values():
            _revise(register, register.location, documents, replace=False)


def register_of_v3(location: Location, document: Document | None) -> Iterator[Register]:
    """The register in a group's document, if it has consolidated metadata; what is wrong with them is an error."""
    if document is not None and document.get(CONSOLIDATED_MEMBER) is not None:
        yield _checked(Register(location, v3.DOCUMENT), document)


def register_of_v2(location: Location) -> Iterator[Register]:
    """The register beside a group's document, if there is one."""
    document = get_document(location, CONSOLIDATED_DOCUMENT)
    if document is not None:
        yield _checked(Register(location, CONSOLIDATED_DOCUMENT), document)


def registers_above(location: Location, formats: Iterable[ZarrFormat]) -> list[Register]:
    """The registers of these formats in the groups above a node."""
    changes: _Changes | None = getattr(_together, "changes", None)
    if changes is None:
        return _find_above(location, formats)
    key = (location.store.url, location.path.rpartition("/")[0], frozenset(formats))
    if key not in changes.above:
        changes.above[key] = _find_above(location, formats)
    return changes.above[key]


def _find_above(location: Location, formats: Iterable[ZarrFormat]) -> list[Register]:
    """The same, as they are in the store."""
    found: list[Register] = []
    for above in ancestors(location):
        if 3 in formats:
            found.extend(register_of_v3(above, get_document(above, v3.DOCUMENT)))
        if 2 in formats:
            found.extend(register_of_v2(above))
    return found


def enter(registers: Iterable[Register], location: Location, nodes: Mapping[str, Documents]) -> None:
    """Note nodes, by path in the store, in the place of all that was noted at the location."""
    for register in registers:
        _revise(register, location, nodes, replace=True)


def amend(registers: Iterable[Register], location: Location, documents: Documents) -> None:
    """Note new documents of a node, and leave alone what is below it."""
    changes: _Changes | None = getattr(_together, "changes", None)
    for register in registers:
        if changes is not None:
            key = (register.location.store.url, register.location.path, register.name)
            changes.documents.setdefault(key, (register, {}))[1][location.path] = documents
            continue
        _revise(register, location, {location.path: documents}, replace=False)


def strike(registers: Iterable[Register], location: Location) -> None:
    """Take out a node and all below it; a register that does not list them is not written."""
    for register in registers:
        _revise(register, location, {}, replace=True)


def _revise(register: Register, location: Location, nodes: Mapping[str, Documents], *, replace: bool) -> None:
    """Change a register as it is in the store by now; where it cannot be true any more it is deleted."""
    place, name = register.location, register.name
    path = _relative(register, location.path)
    below = {_relative(register, node): documents for node, documents in nodes.items()}
    with changing:
        old = get_document(place, name)
        if old is None or (name == v3.DOCUMENT and old.get(CONSOLIDATED_MEMBER) is None):
            return
        try:
            if not nodes and not lists(name, old, path):
                return
            new = change(name, old, path, below, replace=replace)
            text = None if new is None else format_stored(new)
        except DaskZarrError as error:
            raise_from(error.locate(url=place.store.url, node=place.path), error)
        if text is not None:
            set_document(place, name, text)
            return
        try:
            persist(writable(place).delete, place.key(name))
            finish(place.store)
        except Exception as error:
            raise_from(store_error("deleting " + name, error, place, name), error)


def _relative(register: Register, path: str) -> str:
    """A path in the store as one from the register's group."""
    return path[len(register.location.path) :].lstrip("/")


def _checked(register: Register, document: Document) -> Register:
    """The register, if its consolidated metadata can be read."""
    try:
        read_entries(register.name, document)
    except DaskZarrError as error:
        raise_from(error.locate(url=register.location.store.url, node=register.location.path), error)
    return register
