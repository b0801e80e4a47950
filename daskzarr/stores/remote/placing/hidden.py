"""A path and a value -> the file there by way of one beside it that listings leave out; the steps are a client's."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import StoreError
from daskzarr.stores.local.files import ENDING, PARTIAL

_TRIES = 4
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Steps:
    """What a client can do with files, each step given the file system and a path.

    Attributes
    ----------
    write
        A new file with a value, under a name that nobody else uses; FileNotFoundError where its folder is missing.
    rename_over
        Give a file the place of another, which may be there or not.
    rename_new
        Give a file a place where there is none; an error where there is one. None if the client has no such thing.
    unlink
        Remove a file; an error of any kind where there is none.
    make_folder
        Make a folder and those above it, as far as they are missing.
    type_at
        ``"file"``, ``"directory"`` or another word for what is at a path; None where nothing is.
    """

    write: Callable[[Any, str, bytes], None]
    rename_over: Callable[[Any, str, str], None]
    rename_new: Callable[[Any, str, str], None] | None
    unlink: Callable[[Any, str], None]
    make_folder: Callable[[Any, str], None]
    type_at: Callable[[Any, str], str | None]


def type_at(fs: Any, path: str) -> str | None:
    """What fsspec's file systems say of a path, for :attr:`Steps.type_at`."""
    try:
        return str(fs.info(path).get("type"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_partial(name: str) -> bool:
    """Whether a file of this name is one that was being written, and is no value.

    >>> is_partial(".0.0.d41d8cd98f00b204e9800998ecf8427e.partial"), is_partial(".zarray")
    (True, False)
    """
    return name.endswith(ENDING) and PARTIAL.fullmatch(name) is not None


def hidden_beside(path: str) -> str:
    """A name beside ``path`` that no other writer uses; it tells of which file it is, if there is room."""
    folder, _, name = path.rpartition("/")
    mark = uuid.uuid4().hex
    hidden = f".{name}.{mark}{ENDING}"
    if len(hidden.encode(errors="surrogateescape")) > _LONGEST_NAME:
        hidden = f".{mark}{ENDING}"
    return f"{folder}/{hidden}" if folder or path.startswith("/") else hidden


def place(steps: Steps, fs: Any, path: str, value: bytes) -> None:
    """Write a hidden file, then give it its place."""
    _in_folder(steps, fs, path, lambda hidden: _write_and_rename(steps, fs, path, value, hidden))


def place_new(steps: Steps, fs: Any, path: str, value: bytes) -> bool:
    """Write a hidden file, then give it its place if that is free."""
    return _in_folder(steps, fs, path, lambda hidden: _write_and_claim(steps, fs, path, value, hidden))


def remove(steps: Steps, fs: Any, path: str) -> None:
    """Remove a file; where there is none, that is no error, whatever the client makes of it."""
    try:
        steps.unlink(fs, path)
    except FileNotFoundError:
        return
    except Exception:
        if steps.type_at(fs, path) not in (None, "directory"):
            raise


def _in_folder(steps: Steps, fs: Any, path: str, write: Callable[[str], bool]) -> bool:
    """Write by way of a hidden file; its folder is made if it is missing, again if others delete it meanwhile."""
    for attempt in range(_TRIES):
        hidden = hidden_beside(path)
        try:
            return write(hidden)
        except FileNotFoundError:
            _discard(steps, fs, hidden)
            if attempt == _TRIES - 1:
                raise
            steps.make_folder(fs, path.rpartition("/")[0])
        except BaseException:
            _discard(steps, fs, hidden)
            raise
    raise AssertionError("not reached")


def _write_and_rename(steps: Steps, fs: Any, path: str, value: bytes, hidden: str) -> bool:
    """Both steps of replacing a file."""
    steps.write(fs, hidden, value)
    steps.rename_over(fs, hidden, path)
    return True


def _write_and_claim(steps: Steps, fs: Any, path: str, value: bytes, hidden: str) -> bool:
    """Both steps of a file where there is none; False where there is one.

    Clients differ in what they raise for a name that is taken, and some raise the same for everything: so it is looked
    at what is there. A hidden file that is gone may have got its name before the answer was lost: that is an error.
    """
    assert steps.rename_new is not None
    steps.write(fs, hidden, value)
    try:
        steps.rename_new(fs, hidden, path)
    except Exception as error:
        there = steps.type_at(fs, path)
        if there is None:
            raise
        if there == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path) from error
        if steps.type_at(fs, hidden) is None:
            raise StoreError(f"the file {path!r} is there, but not whether this attempt made it is known") from error
        _discard(steps, fs, hidden)
        return False
    return True


def _discard(steps: Steps, fs: Any, hidden: str) -> None:
    """Remove a hidden file after something else has failed, if that can be done."""
    with contextlib.suppress(Exception):
        steps.unlink(fs, hidden)
