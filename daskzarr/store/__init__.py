"""Bytes under keys. Knows nothing of Zarr."""

from daskzarr.store.credentials import without_credentials
from daskzarr.store.filesystem import FilesystemStore
from daskzarr.store.local import LocalStore
from daskzarr.store.mapping import MappingStore
from daskzarr.store.protocol import (
    Buffer,
    ListableStore,
    Listing,
    Location,
    RangeStore,
    ReadIntoStore,
    Store,
    VersionedStore,
    WritableStore,
    node_path,
)
from daskzarr.store.url import locate, open_store

__all__ = [
    "Buffer",
    "FilesystemStore",
    "ListableStore",
    "Listing",
    "LocalStore",
    "Location",
    "MappingStore",
    "RangeStore",
    "ReadIntoStore",
    "Store",
    "VersionedStore",
    "WritableStore",
    "locate",
    "node_path",
    "open_store",
    "without_credentials",
]
