"""``reference://`` (JSON or parquet): a key stands for bytes at hand, or for a part of a file elsewhere."""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError
from daskzarr.stores.remote.kinds.answer import Answer, part

_CHUNK = re.compile(r"\d+(?:\.\d+)*")
_locks: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()

Fetch = Callable[[Any, str, ByteRange | None], Awaitable[Answer]]


async def ask(fetch: Fetch, fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """The value, or the part that is wanted, of the file a key refers to.

    Parameters
    ----------
    fetch
        Reads from the file system of that file.
    fs
        The file system of references.
    path, wanted
        The key, and the part.
    """
    lazy = hasattr(fs.references, "open_refs") or type(fs.references).__name__ == "LazyReferenceMapper"
    found = await asyncio.to_thread(_look_up_lazily, fs, path) if lazy else fs._cat_common(path)
    place, start, stop = found
    if isinstance(place, bytes):
        return Answer(place, 0, len(place))
    protocol, separator, _ = place.partition("://")
    behind = fs.fss[protocol if separator and len(protocol) > 1 else None]
    try:
        if start is None:
            return await fetch(behind, place, wanted)
        start, size = int(start), int(stop) - int(start)  # NumPy's, of parquet
        first, last = (0, size) if wanted is None else wanted.bounds(size)
        if first >= last:
            return Answer(b"", first, size)
        inner = ByteRange(start + first, last - first)
        answer = await fetch(behind, place, inner)
        body = part(answer, inner)
    except FileNotFoundError as error:
        raise StoreError(f"the file that {path!r} refers to is missing") from error
    if len(body) != last - first:
        raise StoreError(f"the file that {path!r} refers to ends before the part it refers to")
    return Answer(body, first, size, answer.version)


def _look_up_lazily(fs: Any, path: str) -> Any:
    """What a key stands for, where references are read from files as they are needed, one thread at a time."""
    with _locks.setdefault(fs, threading.Lock()):
        try:
            return fs._cat_common(path)
        except FileNotFoundError as error:
            cause = getattr(error.__cause__, "__cause__", None)
            if isinstance(cause, (ValueError, TypeError)):
                raise StoreError(f"the references of {path!r} cannot be read: {cause}") from error
            raise
        except ValueError as error:
            if _CHUNK.fullmatch(path.rpartition("/")[2]):
                raise
            raise FileNotFoundError(path) from error


def new_locks() -> None:
    """Locks that nobody holds, for a process that was forked."""
    _locks.clear()
