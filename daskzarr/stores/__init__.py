"""Bytes under keys. Knows nothing of Zarr."""

from daskzarr.stores.beside import beside, parent
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.durable import Durability, durable
from daskzarr.stores.local import LocalStore
from daskzarr.stores.mapping import MappingStore
from daskzarr.stores.protocol import (
    AppendStore,
    Buffer,
    CreateStore,
    FinishingStore,
    ListableStore,
    Listing,
    Location,
    MovingStore,
    RangeStore,
    ReadIntoStore,
    SiblingStore,
    SizedStore,
    Store,
    SurveyStore,
    SweepStore,
    SyncingStore,
    VersionedStore,
    WritableStore,
    creates,
    node_path,
    of_one_process,
    waits,
)
from daskzarr.stores.remote.filesystem import FilesystemStore
from daskzarr.stores.traffic import TRAFFIC, RetryBudget, Traffic
from daskzarr.stores.url import locate, open_store

__all__ = [
    "TRAFFIC",
    "AppendStore",
    "Buffer",
    "CreateStore",
    "Durability",
    "FilesystemStore",
    "FinishingStore",
    "ListableStore",
    "Listing",
    "LocalStore",
    "Location",
    "MappingStore",
    "MovingStore",
    "RangeStore",
    "ReadIntoStore",
    "RetryBudget",
    "SiblingStore",
    "SizedStore",
    "Store",
    "SurveyStore",
    "SweepStore",
    "SyncingStore",
    "Traffic",
    "VersionedStore",
    "WritableStore",
    "beside",
    "creates",
    "durable",
    "locate",
    "node_path",
    "of_one_process",
    "open_store",
    "parent",
    "waits",
    "without_credentials",
]
