"""A node and another place -> every object of the node there, bit by bit, its documents last."""

from __future__ import annotations

from collections.abc import Iterator

from daskzarr.errors import NodeExistsError, StoreError, raise_from
from daskzarr.hierarchy.documents import finish, list_dir, store_error, writable
from daskzarr.metadata import n5, v2, v3
from daskzarr.metadata.documents import CONSOLIDATED_DOCUMENT
from daskzarr.stores import TRAFFIC, ListableStore, Location, waits
from daskzarr.stores.overlap import overlapped
from daskzarr.stores.retries import persist

# In the order in which they are written: what shows a node comes after what only belongs to it.
_DOCUMENTS = (
    *(v2.ATTRIBUTES_DOCUMENT, CONSOLIDATED_DOCUMENT, n5.ATTRIBUTES_DOCUMENT),
    *(v2.GROUP_DOCUMENT, v2.ARRAY_DOCUMENT, v3.DOCUMENT),
)


def copy_objects(source: Location, target: Location) -> None:
    """Copy all that is below one place to another, each object whole.

    The documents follow when all else is there, those of the node itself after those below it: until then there is no
    node at the target.
    """
    documents: list[str] = []
    others: list[str] = []
    for name in names_below(source):
        (documents if name.rpartition("/")[2] in _DOCUMENTS else others).append(name)
    late = source.store if waits(source.store) else target.store
    with overlapped(late, lambda name: _copy(source, target, name), others, TRAFFIC) as copied:
        for _ in copied:
            pass
    for name in sorted(documents, key=lambda name: (-name.count("/"), _DOCUMENTS.index(name.rpartition("/")[2]), name)):
        _copy(source, target, name)
    finish(target.store)


def names_below(location: Location) -> Iterator[str]:
    """The keys of all objects below a place, as they go on from there."""
    waiting = [""]
    while waiting:
        lead = waiting.pop()
        path = f"{location.path}/{lead}".strip("/")
        listing = list_dir(Location(location.store, path))
        yield from (lead + key for key in listing.keys)
        waiting.extend(f"{lead}{name}/" for name in listing.prefixes)


def refuse_overlap(source: Location, target: Location) -> None:
    """A node is not copied into itself, nor over one that it is in."""
    if source.overlaps(target):
        raise NodeExistsError(
            f"/{source.path} cannot be copied to a place in itself, or that it is in itself",
            url=target.store.url,
            node=target.path,
        )


def refuse_leftovers(source: Location, target: Location) -> None:
    """Objects at the target that the copy would not replace would become part of it.

    What an interrupted copy of the same source left is replaced.
    """
    if not isinstance(target.store, ListableStore) or not any(list_dir(target)):
        return
    foreign = set(names_below(target)).difference(names_below(source))
    if foreign:
        raise NodeExistsError(
            f"what is here ({', '.join(sorted(foreign)[:3])}, ...) is no array or group, and would become part of the "
            "copy; delete it yourself, or choose another place",
            url=target.store.url,
            node=target.path,
        )


def _copy(source: Location, target: Location, name: str) -> None:
    """Copy one object."""
    try:
        value = persist(source.store.get, source.key(name))
    except Exception as error:
        raise_from(store_error("reading what is to be copied", error, source, name), error)
    if value is None:
        raise StoreError(
            "the object was listed, and is gone now",
            url=source.store.url,
            node=source.path,
            chunk_key=name,
        )
    try:
        persist(writable(target).set, target.key(name), value)
    except Exception as error:
        raise_from(store_error("writing the copy", error, target, name), error)
