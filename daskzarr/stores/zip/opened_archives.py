"""A path -> the one archive of it in this process, so that equal stores and copies of one see the same."""

from __future__ import annotations

import atexit
import os
import threading
import uuid

from daskzarr.stores.zip.archive import Archive

_MOST_OPEN = 64

_archives: dict[str, Archive] = {}
_guard = threading.Lock()
_here = uuid.uuid4().hex


def archive_at(path: str) -> Archive:
    """The zip file at a path."""
    archive = _archives.get(path)
    if archive is None:
        with _guard:
            archive = _archives.setdefault(path, Archive(path))
            for other in list(_archives.values())[:-_MOST_OPEN]:
                other.forget()
    return archive


def here() -> str:
    """What tells this process from all others."""
    return _here


def _finish_all() -> None:
    """Finish what this process wrote, where it is still there."""
    for archive in list(_archives.values()):
        if os.path.exists(archive.path):
            archive.finish()


def _begin_anew() -> None:
    """A forked child writes nothing of its parent's, and holds none of its locks."""
    global _archives, _guard, _here
    for archive in _archives.values():
        archive.abandon()
    _archives, _guard, _here = {}, threading.Lock(), uuid.uuid4().hex


atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
