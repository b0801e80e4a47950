"""Objects of a node that is swapped -> read, put and deleted one by one, its documents in their order.

A store that fails is named in the error, and what was being done.
"""

from __future__ import annotations

from collections.abc import Set

from daskzarr.errors import raise_from
from daskzarr.hierarchy.copying import names_below
from daskzarr.hierarchy.documents import list_dir, store_error, writable
from daskzarr.hierarchy.placing import DOCUMENT_NAMES, delete_below
from daskzarr.metadata.documents import NODE_DOCUMENTS
from daskzarr.stores import Buffer, Location, SweepStore
from daskzarr.stores.retries import persist

_DOCUMENTS = frozenset(name for names in DOCUMENT_NAMES.values() for name in names)
_SHOWING = frozenset(name for names in NODE_DOCUMENTS.values() for name in names)


def delete_others(place: Location, names: Set[str]) -> None:
    """Delete what the old node had, and the new one has not; whole folders with one request."""
    kept = {name.partition("/")[0] for name in names}
    for folder in list_dir(place).prefixes:
        if folder not in kept:
            delete_below(place / folder)
    for name in set(names_below(place)) - names:
        delete(place, name)
    if isinstance(place.store, SweepStore):
        try:
            leftovers = list(place.store.leftovers(place.path))
        except Exception as error:
            raise_from(store_error("looking for unfinished files", error, place, ""), error)
        for key in leftovers:
            delete(Location(place.store), key)


def rank(name: str) -> tuple[int, bool, str]:
    """Order in which documents go: from the top down, at each node that which shows it first."""
    return name.count("/"), name.rpartition("/")[2] not in _SHOWING, name


def is_document(name: str) -> bool:
    """Whether an object is a node's document."""
    return name.rpartition("/")[2] in _DOCUMENTS


def get(location: Location, name: str) -> Buffer | None:
    """An object of a staged node."""
    try:
        return persist(location.store.get, location.key(name))
    except Exception as error:
        raise_from(store_error("reading what is to be put in its place", error, location, name), error)


def put(location: Location, name: str, value: Buffer) -> None:
    """Write an object to the place of the new node."""
    try:
        persist(writable(location).set, location.key(name), value)
    except Exception as error:
        raise_from(store_error("writing what is to be put in its place", error, location, name), error)


def delete(location: Location, name: str) -> None:
    """Delete an object."""
    try:
        persist(writable(location).delete, location.key(name))
    except Exception as error:
        raise_from(store_error("deleting " + name, error, location, name), error)
