"""Objects of zarr-python, known by their attributes and never imported -> the location they stand for."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from daskzarr.errors import UnsupportedError
from daskzarr.stores.local import LocalStore
from daskzarr.stores.mapping import MappingStore
from daskzarr.stores.protocol import Location, Store


def location_of_zarr_python(
    place: Any, store_on: Callable[[Any, str], Store], other: Callable[[Any], Store | None]
) -> Location:
    """Where an array, group, store path or store of zarr-python keeps its data.

    ``store_on`` makes a store of an fsspec file system and a folder, ``other`` one of what others made for zarr-python.
    """
    found = other(place)
    if found is not None:
        return Location(found)
    if hasattr(place, "store_path"):  # Array, Group
        place = place.store_path
    if hasattr(place, "store") and hasattr(place, "path"):  # StorePath
        return location_of_zarr_python(place.store, store_on, other) / str(place.path)
    if hasattr(place, "_store_dict"):  # MemoryStore
        return Location(MappingStore(_memory(place)))
    if hasattr(place, "fs") and hasattr(place, "path"):  # FsspecStore
        return Location(store_on(_blocking(place.fs), place.path))
    if isinstance(getattr(place, "root", None), os.PathLike):  # LocalStore
        return Location(LocalStore(os.path.abspath(place.root)))
    raise UnsupportedError(
        f"cannot tell where a {type(place).__module__}.{type(place).__qualname__} keeps its data; "
        "pass a path, a URL, a mapping of keys to bytes or a daskzarr store"
    )


def _blocking(fs: Any) -> Any:
    """The same file system for blocking calls; zarr-python holds one bound to its event loop."""
    if hasattr(fs, "sync_fs"):  # a blocking file system in an asynchronous wrapper
        return fs.sync_fs
    if getattr(fs, "asynchronous", False):
        return type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
    return fs


class ZarrMemory(MutableMapping[str, Any]):
    """The values of a zarr-python MemoryStore; what is put in becomes a buffer of zarr-python's."""

    shared = False

    def __init__(self, store: Any) -> None:
        self._values = store._store_dict

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: bytes) -> None:
        # The store at hand was made by zarr-python, so that is loaded already.
        self._values[key] = sys.modules["zarr.core.buffer"].cpu.Buffer.from_bytes(value)

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


_memories: weakref.WeakValueDictionary[int, ZarrMemory] = weakref.WeakValueDictionary()


def _memory(store: Any) -> ZarrMemory:
    """One mapping for each dict of values, so that its arrays keep their tokens."""
    known = _memories.get(id(store._store_dict))
    if known is None:
        known = _memories[id(store._store_dict)] = ZarrMemory(store)
    return known
