"""A store that notes every request: what a read or a write costs, counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from daskzarr.stores import TRAFFIC, Buffer, Store, Traffic
from daskzarr.testing.store_wrapper import StoreWrapper

READS = ("get", "get_many", "get_ranges", "read_into")
"""Kinds of requests that bring a value."""


class Request(NamedTuple):
    """One request: the name of the store's method, and the key. ``get_many`` makes one of these a key."""

    kind: str
    key: str


class RecordingStore(StoreWrapper):
    """A store that passes every request on and notes it. Any number of threads may use it.

    Parameters
    ----------
    store
        Where the values are. The wrapper can do what this store can, no more and no less.

    Notes
    -----
    A copy in another process begins with an empty record of its own.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> store = RecordingStore(MappingStore({}))
    >>> store.set("a", b"1")
    >>> list(store.get_many(["a", "b"]))
    [b'1', None]
    >>> store.keys("set"), store.keys("get", "get_many")
    (['a'], ['a', 'b'])
    >>> store.count()
    Counter({'get_many': 2, 'set': 1})
    """

    _lock: threading.Lock
    _requests: list[Request]

    def __init__(self, store: Store) -> None:
        self._restore({})

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    def keys(self, *kinds: str) -> list[str]:
        """Keys of the requests of these kinds (default: of all), in the order in which they came."""
        return [request.key for request in self.requests if not kinds or request.kind in kinds]

    def count(self) -> Counter[str]:
        """How many requests there were of each kind."""
        return Counter(request.kind for request in self.requests)

    def clear(self) -> None:
        """Forget the requests."""
        with self._lock:
            self._requests.clear()

    def before(self, kind: str, key: str) -> None:
        """Note a request."""
        with self._lock:
            self._requests.append(Request(kind, key))

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values in order; every key is noted at once, whether its value is waited for or not."""
        for key in keys:
            self.before("get_many", key)
        return self.store.get_many(keys, traffic)

    def _restore(self, state: dict[str, Any]) -> None:
        """Begin with an empty record."""
        self._lock = threading.Lock()
        self._requests = []
