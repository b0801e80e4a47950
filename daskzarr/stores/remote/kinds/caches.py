"""fsspec's caches on this machine's disk: a file is fetched whole, once, and shows only when it is whole."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.remote.kinds.answer import Answer
from daskzarr.stores.remote.kinds.files import read_part

_locks: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()
_making = threading.Lock()

Fetch = Callable[[Any, str, ByteRange | None], Answer]


def ask_whole(fetch: Fetch, fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file of a ``simplecache`` or ``filecache``.

    fsspec's own way writes the file in its place bit by bit, where others read it meanwhile, and takes every failure
    to fetch one for a file that is missing.

    Parameters
    ----------
    fetch
        Reads from the file system behind the cache.
    fs
        The cache.
    path, wanted
        The file, and its parts.
    """
    path = fs._strip_protocol(path)
    with _lock(fs, path):
        for _ in range(2):
            found = fs._check_file(path)
            name = found[1] if isinstance(found, tuple) else found
            if not name:
                body = fetch(fs.fs, path, None).body
                if fs.compression is None:
                    _keep(fs, path, body)
                    return [Answer(body, 0, len(body))] * len(wanted)
                fs._get_cached_file_before_open(path)
                name = os.path.join(fs.storage[-1], fs._mapper(path))
            try:
                with open(name, "rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size
                    return [read_part(file, size, each) for each in wanted]
            except FileNotFoundError:  # it was swept away meanwhile
                forget(fs, path)
    raise ConnectionError("the cache's files are removed while they are read")


def _keep(fs: Any, path: str, body: Buffer) -> None:
    """Put a file in the cache, whole."""
    fs._mkcache()
    name = os.path.join(fs.storage[-1], fs._mapper(path))
    hidden = f"{name}.{uuid.uuid4().hex}.partial"
    try:
        with open(hidden, "wb") as file:
            file.write(body)
        os.replace(hidden, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(hidden)
        raise
    fs._cache_size = None
    if "simplecache" not in _names(fs):
        with _lock(fs):  # what is noted of all files is one dict, and gone through when it is saved
            fs._make_local_details(path)
            fs.save_cache()


def ask_blocks(fetch: Fetch, fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file of a ``blockcache``; parameters as for the other.

    What fsspec notes of such a cache bears only one thread at a time, and no empty files; and it takes failures for
    missing files. What it cannot give is asked of the file system behind it.
    """
    path = fs._strip_protocol(path)
    with _lock(fs):
        try:
            with fs.open(path, "rb") as file:
                file.seek(0, 2)
                size = file.tell()
                return [read_part(file, size, each) for each in wanted]
        except Exception:
            pass
    forget(fs, path)
    return [fetch(fs.fs, path, each) for each in wanted]


def forget(fs: Any, path: str) -> None:
    """Let a cache forget a file that is about to change, or has."""
    path = fs._strip_protocol(path)
    with _lock(fs, path):  # who fetches it now has the old one
        if "simplecache" in _names(fs):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(fs.storage[-1], fs._mapper(path)))
        else:
            with suppress(FileNotFoundError, PermissionError), _lock(fs):
                fs.pop_from_cache(path)


def _names(fs: Any) -> tuple[str, ...]:
    """The names a cache goes by."""
    names = fs.protocol
    return (names,) if isinstance(names, str) else tuple(names)


def _lock(fs: Any, path: str = "") -> Any:
    """The lock of a file of a cache, or of all of it."""
    place = str(fs.storage[-1]), path
    with _making:
        lock = _locks.get(place)
        if lock is None:
            lock = _locks[place] = threading.RLock()
        return lock


def new_locks() -> None:
    """Locks that nobody holds, for a process that was forked."""
    global _making
    _making = threading.Lock()
    _locks.clear()
