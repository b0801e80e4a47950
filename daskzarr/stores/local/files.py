"""A path of this machine and a value -> the file there, whole, by way of one that is unseen; and what takes it away."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from daskzarr.errors import UnsupportedError
from daskzarr.stores.protocol import Buffer

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
UNNAMED = getattr(os, "O_TMPFILE", 0)
ENDING = ".partial"
PARTIAL = re.compile(r"\.(.+\.)?[0-9a-f]{32}\.partial", re.DOTALL)
_LONGEST_NAME = 255
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


def _unless_gone(function: Any, path: str, error: Any) -> None:
    """What another process has deleted meanwhile is no error."""
    found = error[1] if isinstance(error, tuple) else error
    if not isinstance(found, FileNotFoundError):
        raise found


IF_THERE: dict[str, Any] = {"onexc" if sys.version_info >= (3, 12) else "onerror": _unless_gone}


def write_all(descriptor: int, value: Buffer, sync: bool) -> None:
    """All of ``value``, as a system call may take less than it is given; on disk, if it has to be."""
    rest = memoryview(value).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    if sync:
        os.fsync(descriptor)


def _hidden_for_key(path: str) -> str:
    """A hidden name beside ``path``, the same for every writer: so the next one clears what a killed one left."""
    return _hidden(path, blake2b(os.fsencode(os.path.basename(path)), digest_size=16).hexdigest())


def _hidden_for_once(path: str) -> str:
    """A hidden name beside ``path`` that no other writer uses."""
    return _hidden(path, uuid.uuid4().hex)


def _hidden(path: str, mark: str) -> str:
    """A hidden name that tells of which file it is, if there is room. The mark keeps it apart from names of people."""
    folder, name = os.path.split(path)
    hidden = f".{name}.{mark}{ENDING}"
    if len(os.fsencode(hidden)) > _LONGEST_NAME:
        hidden = f".{mark}{ENDING}"
    return f"{folder}/{hidden}"


# The last attempt has a name of its own, which no other writer of the key takes for a leftover.
HIDDEN_NAMES = (_hidden_for_key, _hidden_for_key, _hidden_for_key, _hidden_for_once)


def open_unnamed(folder: str) -> int | None:
    """A new file without a name in a directory; None where the file system has no such files."""
    try:
        return os.open(folder, UNNAMED | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        raise
    except OSError:
        return None


def link(descriptor: int, path: str, value: Buffer, sync: bool, hidden: Callable[[str], str] | None) -> bool | None:
    """Fill the unnamed file and link it at ``path``; where there is a file, by way of a hidden name, if there is one.

    False if another file was in the way; None where the system cannot link such a file.
    """
    ours = ""  # a name that the file may have got: not to be left behind if something fails
    try:
        try:
            write_all(descriptor, value, sync)
            try:
                _give_name(descriptor, path)
                ours = path
            except FileExistsError:
                if hidden is None:
                    return False
                ours = hidden(path)
                if not _give_name_over(descriptor, ours):
                    return False
        finally:
            os.close(descriptor)  # an error of closing is an error of writing
    except _CannotLink:
        return None
    except BaseException:
        _unlink(ours)
        raise
    return ours == path or rename_hidden(ours, path)


class _CannotLink(Exception):
    """An unnamed file cannot be linked on this system."""


def _give_name(descriptor: int, path: str) -> None:
    """Link an unnamed file."""
    source = f"/proc/self/fd/{descriptor}"
    try:
        # A descriptor of a directory makes Python call linkat, which follows the link in /proc.
        os.link(source, path, src_dir_fd=descriptor, follow_symlinks=True)
    except FileNotFoundError:
        if not os.path.exists(source):  # no /proc here
            raise _CannotLink from None
        raise
    except (NotImplementedError, PermissionError):
        raise _CannotLink from None


def _give_name_over(descriptor: int, path: str) -> bool:
    """Link an unnamed file in the place of one that a killed writer left; False if another writer is at it too."""
    try:
        _give_name(descriptor, path)
    except FileExistsError:
        _unlink(path)
        try:
            _give_name(descriptor, path)
        except FileExistsError:
            return False
    return True


def write_hidden(path: str, value: Buffer, sync: bool) -> str:
    """A new file beside ``path`` with ``value`` in it."""
    partial = _hidden_for_once(path)
    try:
        descriptor = os.open(partial, _CREATE, 0o666)
        try:
            write_all(descriptor, value, sync)
        finally:
            os.close(descriptor)
    except BaseException:
        _unlink(partial)
        raise
    return partial


def rename_hidden(partial: str, path: str) -> bool:
    """Rename a hidden file; False if another process has removed or renamed it."""
    try:
        os.replace(partial, path)
    except FileNotFoundError:
        return False
    except BaseException:
        _unlink(partial)
        raise
    return True


def link_hidden(partial: str, path: str, url: str) -> bool:
    """Give a hidden file its name, if that is free."""
    try:
        os.link(partial, path)
    except FileExistsError:
        # Over a network the answer to a link that was made can get lost, and the next one be this.
        return os.stat(partial).st_nlink > 1
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINKS:
            raise
        raise UnsupportedError(
            "the file system of this store has no hard links, without which a file cannot be made whole and only where "
            "there is none",
            url=url,
        ) from error
    finally:
        _unlink(partial)
    return True


def _unlink(path: str) -> None:
    """Remove a file if it is there; ``""`` is none."""
    with contextlib.suppress(FileNotFoundError):
        if path:
            os.unlink(path)


def empty(folder: str) -> None:
    """Remove all that is in a directory."""
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, **IF_THERE)
        else:
            _unlink(entry.path)
