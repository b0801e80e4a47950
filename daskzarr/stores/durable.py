"""A store and a level of durability -> the store whose writes return when they are as safe as that."""

from __future__ import annotations

from typing import Literal

from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.stores.protocol import Store, SyncingStore
from daskzarr.stores.remote.filesystem import FilesystemStore, protocols

Durability = Literal["close", "fsync"]
LEVELS: tuple[Durability, ...] = ("close", "fsync")

# A PUT of theirs is answered once the object is stored for good.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"}


def durable(store: Store, level: Durability) -> Store:
    """The store, such that what it wrote is as safe as asked when the write returns.

    Parameters
    ----------
    store
        Any store.
    level
        ``"close"``: all is handed to the operating system without an error: it survives the process, not a power
        failure. ``"fsync"``: it is on disk, and so are the folders that lead to it. Object stores promise that anyway.

    Raises
    ------
    UnsupportedError
        If the store cannot promise that.

    Examples
    --------
    >>> from daskzarr.stores import LocalStore
    >>> durable(LocalStore("/data/a.zarr"), "fsync")
    LocalStore(root='/data/a.zarr', sync=True)
    """
    if level not in LEVELS:
        raise MetadataError(
            f"{short(level)} is no level of durability; one of {', '.join(map(repr, LEVELS))}", field="durability"
        )
    if level == "close" or (isinstance(store, FilesystemStore) and _is_object_store(store)):
        return store
    if isinstance(store, SyncingStore):
        return store.synced()
    raise UnsupportedError(
        "this store cannot promise that what is written is on disk when the write returns; use durability='close', or "
        "a path of this machine",
        url=store.url,
    )


def _is_object_store(store: FilesystemStore) -> bool:
    """Whether the store puts whole objects with one request, and nothing between keeps them back."""
    names = next((names for names in protocols(store.fs) if "dir" not in names), set())
    return bool(_OBJECT_STORES & names)
