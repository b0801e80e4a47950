"""The scheme of a URL -> the class of the store behind it: daskzarr's own, or one an installed package brings."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from daskzarr.errors import UnsupportedError
from daskzarr.stores.protocol import Store

GROUP = "daskzarr.stores"
"""Entry points of this group name a scheme and its class."""

_DATABASES = "daskzarr.stores.databases"
_OWN = {
    "dbm": f"{_DATABASES}.dbm:DBMStore",
    "lmdb": f"{_DATABASES}.lmdb:LMDBStore",
    "mongodb": f"{_DATABASES}.mongodb:MongoDBStore",
    "mongodb+srv": f"{_DATABASES}.mongodb:MongoDBStore",
    "obstore": "daskzarr.stores.remote.objects:ObjectStore",
    "redis": f"{_DATABASES}.redis:RedisStore",
    "rediss": f"{_DATABASES}.redis:RedisStore",
    "redis+unix": f"{_DATABASES}.redis:RedisStore",
    "sqlite": f"{_DATABASES}.sqlite:SQLiteStore",
    "zip": "daskzarr.stores.zip:ZipStore",
}


class OpensURL(Protocol):
    """A class of stores that are opened by their URL."""

    def from_url(self, url: str, storage_options: Mapping[str, Any]) -> Store:
        """The store at a URL."""


def opener(scheme: str) -> OpensURL | None:
    """The class for a scheme; None where there is none, and fsspec is to be asked.

    Raises
    ------
    UnsupportedError
        If a package that the class needs is not installed, or what a package registered is no such class.
    """
    if scheme in _OWN:
        module, _, name = _OWN[scheme].partition(":")
        return cast(OpensURL, getattr(importlib.import_module(module), name))
    for point in entry_points(group=GROUP, name=scheme):
        try:
            found = point.load()
        except Exception as error:
            raise UnsupportedError(
                f"{point.value}, registered for {scheme}://, cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not callable(getattr(found, "from_url", None)):
            raise UnsupportedError(f"{point.value}, registered for {scheme}://, has no from_url(url, storage_options)")
        return cast(OpensURL, found)
    return None


def schemes() -> Iterator[str]:
    """Every scheme that has a class, in the order in which they are looked for."""
    yield from _OWN
    yield from (point.name for point in entry_points(group=GROUP) if point.name not in _OWN)
