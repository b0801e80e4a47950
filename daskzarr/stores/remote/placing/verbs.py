"""A file system, a path and a value -> the file there, whole or not at all; the same only where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from daskzarr.errors import UnsupportedError
from daskzarr.stores.remote.placing import hdfs, hidden, objects, plain, sftp, sshfs, webhdfs
from daskzarr.stores.remote.placing.own import own_of_thread
from daskzarr.stores.remote.placing.wrapped import innermost, kind


@dataclass(frozen=True, slots=True)
class _Way:
    """How a kind of file system is written to."""

    place: Callable[[Any, str, bytes], None]
    place_new: Callable[[Any, str, bytes], bool] | None
    remove: Callable[[Any, str], None]
    hides: bool = False


def _by_hidden_files(steps: hidden.Steps) -> _Way:
    """The way by a hidden file that is renamed."""
    return _Way(
        partial(hidden.place, steps),
        None if steps.rename_new is None else partial(hidden.place_new, steps),
        partial(hidden.remove, steps),
        hides=True,
    )


_WAYS = {
    "object store": _Way(objects.put, objects.put_new, plain.remove),
    "hdfs-native": _by_hidden_files(hdfs.NATIVE),
    "arrow files": _by_hidden_files(hdfs.ARROW),
    "webhdfs": _by_hidden_files(webhdfs.WEB),
    "sftp": _by_hidden_files(sftp.PARAMIKO),
    "sshfs": _by_hidden_files(sshfs.ASYNCSSH),
    "memory": _Way(plain.pipe, plain.pipe_new_in_memory, plain.remove),
    "local": _Way(plain.place_local, plain.place_new_local, plain.remove_local, hides=True),
}
_OTHER = _Way(plain.pipe, None, plain.remove)


def place(fs: Any, path: str, value: bytes) -> None:
    """Put a file, whole or not at all, in the place of one that is there; its folders are made.

    Parameters
    ----------
    fs
        Any ``fsspec.AbstractFileSystem`` that was opened in this process: HDFS hangs in one that was forked since.
    path
        As the file system spells it.
    value
        All of its bytes.
    """
    fs, path = _ready(fs, path)
    _way(fs).place(fs, path, value)


def place_new(fs: Any, path: str, value: bytes) -> bool:
    """Put a file, whole or not at all, and return True; where there is one, leave it and return False.

    Parameters
    ----------
    fs, path, value
        As for :func:`place`.

    Raises
    ------
    UnsupportedError
        If the file system has no such thing (:func:`can_place_new`).
    """
    fs, path = _ready(fs, path)
    way = _way(fs).place_new
    if way is None:
        raise UnsupportedError(f"a {type(fs).__name__} cannot put a file only where there is none")
    return way(fs, path, value)


def can_place_new(fs: Any) -> bool:
    """Whether the file system can put a file only where there is none, so that of several that do one succeeds."""
    return _way(innermost(fs, "")[0]).place_new is not None


def remove(fs: Any, path: str) -> None:
    """Remove a file; one that is not there is no error, nor is a folder, which stays."""
    fs, path = _ready(fs, path)
    _way(fs).remove(fs, path)


def leaves_partials(fs: Any) -> bool:
    """Whether a process that is killed can leave a hidden file, to be left out of listings."""
    return _way(innermost(fs, "")[0]).hides


def _ready(fs: Any, path: str) -> tuple[Any, str]:
    """The file system that writes, for this thread, and the path as it knows it."""
    fs, path = innermost(fs, path)
    return own_of_thread(fs), path


def _way(fs: Any) -> _Way:
    """How a file system is written to."""
    return _WAYS.get(kind(fs), _OTHER)
