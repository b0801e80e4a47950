"""Bytes under keys. Knows nothing of Zarr."""

from daskzarr.stores.beside import beside, parent
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.durable import Durability, durable
from daskzarr.stores.filesystem import FilesystemStore
from daskzarr.stores.local import LocalStore
from daskzarr.stores.mapping import MappingStore
from daskzarr.stores.protocol import (
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
from daskzarr.stores.url import locate, open_store

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
