"""A store that fails where it is told to: what becomes of a request that goes wrong, tried."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from daskzarr.stores import Store
from daskzarr.testing.recording_store import READS
from daskzarr.testing.store_wrapper import StoreWrapper

Failure = BaseException | type[BaseException]


class FaultyStore(StoreWrapper):
    """A store that raises instead of serving chosen keys.

    Parameters
    ----------
    store
        Where the values are.
    fail
        Pattern of keys (as of :mod:`fnmatch`) -> the exception to raise, or its class. The first that fits counts.
    on
        Requests that fail: ``"get"`` stands for every way to read a value; the others are ``"set"``, ``"delete"``,
        ``"delete_below"`` and ``"list_dir"``. Default: reading and setting.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> store = FaultyStore(MappingStore({"a": b"1", "b": b"2"}), {"b*": PermissionError("no")})
    >>> store.get("a")
    b'1'
    >>> store.get("b")
    Traceback (most recent call last):
    PermissionError: no
    """

    fail: dict[str, Failure]
    on: frozenset[str]

    def __init__(self, store: Store, fail: Mapping[str, Failure], on: Collection[str] = ("get", "set")) -> None:
        self.fail = dict(fail)
        self.on = frozenset(on)

    def before(self, kind: str, key: str) -> None:
        """Raise, if the request is one of those."""
        if ("get" if kind in READS else kind) not in self.on:
            return
        for pattern, failure in self.fail.items():
            if fnmatchcase(key, pattern):
                raise failure if isinstance(failure, type) else failure.with_traceback(None)

    def _state(self) -> dict[str, Any]:
        """What fails, and when."""
        return {"fail": self.fail, "on": self.on}
