"""Bytes under keys. Knows nothing of Zarr."""

from daskzarr.store.beside import beside, parent
from daskzarr.store.credentials import without_credentials
from daskzarr.store.durable import Durability, durable
from daskzarr.store.filesystem import FilesystemStore
from daskzarr.store.local import LocalStore
from daskzarr.store.mapping import MappingStore
from daskzarr.store.protocol import (
    AppendStore,
    Buffer,
    CreateStore,
    ListableStore,
    Listing,
    Location,
    MovingStore,
    RangeStore,
    ReadIntoStore,
    SizedStore,
    Store,
    SurveyStore,
    SweepStore,
    SyncingStore,
    VersionedStore,
    WritableStore,
    node_path,
)
from daskzarr.store.url import locate, open_store

__all__ = [
    "AppendStore",
    "Buffer",
    "CreateStore",
    "Durability",
    "FilesystemStore",
    "ListableStore",
    "Listing",
    "LocalStore",
    "Location",
    "MappingStore",
    "MovingStore",
    "RangeStore",
    "ReadIntoStore",
    "SizedStore",
    "Store",
    "SurveyStore",
    "SweepStore",
    "SyncingStore",
    "VersionedStore",
    "WritableStore",
    "beside",
    "durable",
    "locate",
    "node_path",
    "open_store",
    "parent",
    "without_credentials",
]
