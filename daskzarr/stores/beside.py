"""A place in a store -> the place beside that store where daskzarr keeps notes about it, if there can be one."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Location, SiblingStore, Store
from daskzarr.stores.remote.filesystem import FilesystemStore, protocols

_ENDING = ".daskzarr"
_WEB = {"http", "https"}
_Rooted = TypeVar("_Rooted", LocalStore, FilesystemStore)


def beside(location: Location) -> Location | None:
    """Where notes about a node go: not into its store, so that a copy of that has none of them.

    Parameters
    ----------
    location
        The node.

    Returns
    -------
    Location or None
        The same path in a store whose root is that of the node's store with ``.daskzarr`` behind its name. None where
        there is no such place: for a store in memory, one that cannot be written, one whose root is the top of a file
        system or a bucket, and one of a kind that is not known.

    Examples
    --------
    >>> beside(Location(LocalStore("/data/a.zarr"), "x"))
    Location(store=LocalStore(root='/data/a.zarr.daskzarr', sync=False), path='x')
    """
    store = _sibling(location.store)
    return None if store is None else Location(store, location.path)


def _sibling(store: Store) -> Store | None:
    """The store beside a store."""
    if type(store) is LocalStore:
        root = store.root.rstrip("/")
        return replace(store, root=root + _ENDING) if root else None
    if type(store) is not FilesystemStore:
        return store.sibling(_ENDING) if isinstance(store, SiblingStore) else None
    if _is_top(store.root):
        return None
    if not store.shared or not store.can_write or any(_WEB & names for names in protocols(store.fs)):
        return None
    identity = _renamed(store.identity) if store.identity else ""
    return replace(store, root=store.root.rstrip("/") + _ENDING, url=_renamed(store.url), identity=identity)


def _is_top(root: str) -> bool:
    """Whether a root has no folder above it: ``/``, or a bucket."""
    return "/" not in root.strip("/") if not root.startswith("/") else not root.strip("/")


def _renamed(url: str) -> str:
    """A URL with the ending behind its path: of a chained one that is the first part that has a path.

    >>> _renamed("s3://bucket/a"), _renamed("simplecache::s3://bucket/a"), _renamed("x://a::file://b")
    ('s3://bucket/a.daskzarr', 'simplecache::s3://bucket/a.daskzarr', 'x://a.daskzarr::file://b')
    """
    parts = url.split("::")
    place = next((i for i, part in enumerate(parts) if "://" in part), -1)
    parts[place] = parts[place].rstrip("/") + _ENDING
    return "::".join(parts)


def parent(store: Store) -> tuple[Store, str] | None:
    """The store whose root is the folder above a store's root, and the root's name in it; None where there is none.

    >>> parent(LocalStore("/data/a.zarr"))
    (LocalStore(root='/data', sync=False), 'a.zarr')
    """
    if type(store) not in (LocalStore, FilesystemStore):
        return None
    root, _, name = store.root.rstrip("/").rpartition("/")  # type: ignore[attr-defined]
    if not root or not name:
        return None
    if type(store) is LocalStore:
        return replace(store, root=root), name
    assert type(store) is FilesystemStore
    url, _, last = store.url.rstrip("/").rpartition("/")
    if "::" in store.url or last != name or _is_top(root) or not store.shared or not store.can_write:
        return None
    return replace(store, root=root, url=url, identity=""), name
