"""Memory, this machine's files, and file systems of which nothing is known: how files are put there and taken away."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from daskzarr.stores.local.files import link_hidden, rename_hidden, write_hidden
from daskzarr.stores.remote.placing.hidden import type_at

_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_TRIES = 4

_memory = threading.Lock()


def pipe(fs: Any, path: str, value: bytes) -> None:
    """One call that writes the whole file; its folder is made if the file system says that it is missing."""
    try:
        fs.pipe_file(path, value)
    except FileNotFoundError:
        fs.makedirs(fs._parent(path), exist_ok=True)
        fs.pipe_file(path, value)


def remove(fs: Any, path: str) -> None:
    """Remove a file; where there is none, that is no error, whatever the file system makes of it."""
    try:
        fs.rm_file(path)
    except _MISSING:
        return
    except Exception:
        if type_at(fs, path) not in (None, "directory"):
            raise


def pipe_new_in_memory(fs: Any, path: str, value: bytes) -> bool:
    """A file of this process's memory, if there is none: one thread at a time looks and writes."""
    with _memory:
        try:
            fs.pipe_file(path, value, mode="create")
        except FileExistsError:
            return False
    return True


def place_local(fs: Any, path: str, value: bytes) -> None:
    """A hidden file of this machine, then renamed."""
    for attempt in range(_TRIES):
        try:
            if rename_hidden(write_hidden(path, value, False), path):
                return
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
            os.makedirs(os.path.dirname(path), exist_ok=True)
    raise FileNotFoundError(f"the file was removed whenever it was about to be put in its place: {path}")


def place_new_local(fs: Any, path: str, value: bytes) -> bool:
    """A hidden file of this machine, then given its name if that is free."""
    for attempt in range(_TRIES):
        try:
            done = link_hidden(write_hidden(path, value, False), path, "file://" + path)
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
            os.makedirs(os.path.dirname(path), exist_ok=True)
            continue
        if not done and os.path.isdir(path):
            raise IsADirectoryError(path)
        return done
    raise AssertionError("not reached")


def remove_local(fs: Any, path: str) -> None:
    """Remove a file of this machine."""
    with contextlib.suppress(*_MISSING):
        os.unlink(path)
