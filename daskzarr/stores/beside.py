"""A place in a store -> the place beside that store where daskzarr keeps notes about it, if there can be one."""

from __future__ import annotations

from dataclasses import replace

from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Location, SiblingStore, Store
from daskzarr.stores.remote.beside_root import is_top
from daskzarr.stores.remote.filesystem import FilesystemStore
from daskzarr.stores.remote.objects import ObjectStore

ENDING = ".daskzarr"


def beside(location: Location) -> Location | None:
    """Where notes about a node go: not into its store, so that a copy of that has none of them.

    Parameters
    ----------
    location
        The node.

    Returns
    -------
    Location or None
        The same path in the store's sibling: one whose name has ``.daskzarr`` behind it. None where there is no such
        place: for a store in memory, one that cannot be written, one whose root is the top of a file system, a bucket
        or a database, and one that knows of no sibling.

    Examples
    --------
    >>> beside(Location(LocalStore("/data/a.zarr"), "x"))
    Location(store=LocalStore(root='/data/a.zarr.daskzarr', sync=False), path='x')
    """
    store = location.store.sibling(ENDING) if isinstance(location.store, SiblingStore) else None
    return None if store is None else Location(store, location.path)


def parent(store: Store) -> tuple[Store, str] | None:
    """The store whose root is the folder above a store's root, and the root's name in it; None where there is none.

    >>> parent(LocalStore("/data/a.zarr"))
    (LocalStore(root='/data', sync=False), 'a.zarr')
    """
    if isinstance(store, ObjectStore):
        return store.parent()
    if type(store) not in (LocalStore, FilesystemStore):
        return None
    root, _, name = store.root.rstrip("/").rpartition("/")  # type: ignore[attr-defined]
    if not root or not name:
        return None
    if type(store) is LocalStore:
        return replace(store, root=root), name
    assert type(store) is FilesystemStore
    url, _, last = store.url.rstrip("/").rpartition("/")
    if "::" in store.url or last != name or is_top(root) or not store.shared or not store.can_write:
        return None
    return replace(store, root=root, url=url, identity=""), name
