"""``reference://`` (JSON or parquet): a key stands for bytes at hand, or for a part of a file elsewhere."""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError
from daskzarr.stores.remote.kinds import coroutines
from daskzarr.stores.remote.kinds.answer import Answer, Entry, part

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
    found = await asyncio.to_thread(_look_up_lazily, fs, path) if _is_lazy(fs) else fs._cat_common(path)
    place, start, stop = found
    if isinstance(place, bytes):
        return Answer(place, 0, len(place))
    if not isinstance(place, str):  # a row of a table that has none
        raise FileNotFoundError(path)
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
    with _lock(fs):
        if fs.references.engine == "fastparquet" and find_spec("fastparquet") is None:
            fs.references.engine = "pyarrow"  # fsspec has no option for that
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


def _list(fs: Any, folder: str) -> list[Entry]:
    """Keys and folders directly below."""
    if not _is_lazy(fs):
        found = fs.ls(folder, detail=True)
        return [Entry(each["name"], None, each.get("type") == "directory") for each in found]
    with _lock(fs):
        names = [".zmetadata", *fs.references.zmetadata]
    lead = folder.strip("/") + "/" if folder.strip("/") else ""
    below = [name[len(lead) :].partition("/") for name in names if name.startswith(lead)]
    entries = {Entry(lead + name, None, bool(slash)) for name, slash, _ in below}
    if f"{lead}.zarray" in names:  # fsspec would read all tables, and fail where one is left out for having no rows
        entries.update(Entry(key, None, False) for key in fs.references._keys_in_field(lead.rstrip("/")))
    return sorted(entries)


def _is_lazy(fs: Any) -> bool:
    """Whether references are read from tables as they are needed."""
    return type(fs.references).__name__ == "LazyReferenceMapper"


def _lock(fs: Any) -> threading.Lock:
    """The lock of a file system of references."""
    return _locks.setdefault(fs, threading.Lock())


async def children(fs: Any, folder: str) -> list[Entry]:
    """Keys and folders directly below; of arrays in tables all keys that can be, be they there or not.

    What fsspec lists of sizes is that of references, for those that hold bytes.
    """
    return await asyncio.to_thread(_list, fs, folder)


def below(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All keys below."""
    return coroutines.walk(fs, folder, children)


def new_locks() -> None:
    """Locks that nobody holds, for a process that was forked."""
    _locks.clear()
