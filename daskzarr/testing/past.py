"""Changes of a store -> what a listing of a while ago would say."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import cast

from daskzarr.stores import Listing, Store, SurveyStore

_REMEMBERED = 64
_OF_ONE_KEY = ("set", "create", "append", "delete")


class Past:
    """The latest changes of a store, each with what was there before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: deque[tuple[str, int | None]] = deque(maxlen=_REMEMBERED)

    def note(self, store: Store, kind: str, key: str) -> None:
        """Remember what is there, before a request changes it."""
        if kind in _OF_ONE_KEY:
            value = store.get(key)
            seen = [(key, None if value is None else len(value))]
        elif kind == "delete_below" and isinstance(store, SurveyStore):
            seen = [(found, size or 0) for found, size in store.survey(key)]
        elif kind == "move_below":
            seen = []
        else:
            return
        with self._lock:
            if kind == "move_below":
                self._before.clear()
            self._before.extend(seen)

    def survey(self, store: Store, prefix: str, chance: Random) -> dict[str, int | None]:
        """Keys below a prefix and their sizes as they were some changes ago."""
        found = dict(cast(SurveyStore, store).survey(prefix))
        lead = prefix.rstrip("/") + "/" if prefix else ""
        with self._lock:
            undone = list(self._before)[::-1][: chance.randint(1, _REMEMBERED)]
        for key, size in undone:
            if key.startswith(lead):
                if size is None:
                    found.pop(key, None)
                else:
                    found[key] = size
        return found

    @staticmethod
    def listing(keys: Iterable[str], prefix: str) -> Listing:
        """What lies directly under a prefix, of keys below it.

        >>> Past.listing(["a/b", "a/c/d"], "a")
        Listing(keys=('b',), prefixes=('c',))
        """
        lead = len(prefix.rstrip("/") + "/") if prefix else 0
        parts = [key[lead:].partition("/") for key in keys]
        below = {name for name, slash, _ in parts if slash}
        return Listing(tuple(sorted({name for name, slash, _ in parts if not slash})), tuple(sorted(below)))
