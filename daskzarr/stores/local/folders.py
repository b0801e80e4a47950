"""Directories of this machine -> made, put on disk, moved and gone through, whatever others do to them meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_TRIES = 4
_WAIT = 0.01
_MANY = 2**16
_CANNOT_MOVE = {
    errno.EXDEV,
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,  # into itself
    errno.EBUSY,  # where something is mounted
    errno.ENOENT,
}
_settled: dict[str, tuple[int, int]] = {}
"""Directories that are on disk with all that leads to them, each with what tells it from a later one of its name."""


def existing(folder: str) -> str:
    """The directory, or the nearest one above it that is there."""
    while not os.path.isdir(folder) and folder != (above := os.path.dirname(folder)):
        folder = above
    return folder


def make_folder(folder: str) -> None:
    """Make a directory and what is missing above it.

    Where several hosts make the same directories at once, a file system may say of one that it exists and that it does
    not: then look again.
    """
    for attempt in range(_TRIES):
        try:
            os.makedirs(folder, exist_ok=True)
            return
        except (FileExistsError, FileNotFoundError):
            if os.path.isdir(folder):
                return
            if attempt == _TRIES - 1 or os.path.lexists(folder):
                raise
            time.sleep(_WAIT * 2**attempt)


def sync_folder(folder: str) -> tuple[int, int]:
    """Put on disk which names are in a directory; device and number of the directory."""
    descriptor = os.open(folder, _OPEN)
    try:
        os.fsync(descriptor)
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return found.st_dev, found.st_ino


def settle(folder: str, top: str, there: str) -> None:
    """Put on disk which names are in a directory, and those that lead to it.

    That is from ``top`` on, and from ``there`` on, below which directories were made just now, if that is further up.
    What another process has made may not be on disk yet: so each process looks after all of them, once.
    """
    last = min(top, there, key=len)
    synced: dict[str, tuple[int, int]] = {}
    while True:
        synced[folder] = number = sync_folder(folder)
        known = _settled.get(folder) == number and len(folder) <= len(there)
        above = os.path.dirname(folder)
        if known or len(folder) <= len(last) or above == folder:
            break
        folder = above
    if len(_settled) > _MANY:
        _settled.clear()
    _settled.update(synced)


def move_folder(source: str, target: str) -> bool:
    """Rename a directory to a name that is free, in one step; False, with nothing changed, if that cannot be done."""
    if os.path.islink(source) or os.path.islink(target) or not os.path.isdir(source) or _same(source, target):
        return False
    try:
        if _renamed(source, target):
            return True
    except FileNotFoundError:
        pass  # most likely there is no directory to move it to
    parent = os.path.dirname(target)
    if os.path.lexists(parent):
        return False
    there = existing(parent)
    make_folder(parent)
    moved = False
    try:
        with contextlib.suppress(FileNotFoundError):
            moved = _renamed(source, target)
    finally:
        while not moved and len(parent) > len(there):
            with contextlib.suppress(OSError):
                os.rmdir(parent)
            parent = os.path.dirname(parent)
    return moved


def _same(source: str, target: str) -> bool:
    """Whether two paths are of one directory: renaming it to itself would seem to work."""
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False


def _renamed(source: str, target: str) -> bool:
    """Rename; False for what is no error, but cannot be."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_MOVE:
            return False
        raise
    return True


def files_below(top: str) -> Iterator[tuple[str, list[str]]]:
    """Of each directory below one, and of that itself: its path as a prefix (``a/b/``), and names of the files in it.

    Links are followed, each as often as it leads nowhere new. A directory that vanishes meanwhile has no files.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        lead, followed = waiting.pop()
        names: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{top}/{lead}") as entries:
            for entry in entries:
                if not entry.is_dir():
                    names.append(entry.name)
                elif not entry.is_symlink():
                    waiting.append((f"{lead}{entry.name}/", followed))
                elif (number := _number(entry)) is not None and number not in followed:
                    waiting.append((f"{lead}{entry.name}/", followed | {number}))
        yield lead, names


def _number(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """What tells the directory a link leads to from others; None if it is gone."""
    try:
        found = entry.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
