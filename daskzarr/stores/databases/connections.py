"""What opens a database -> its connection, kept for this process or for each of its threads; none survives a fork."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Connection = TypeVar("_Connection")


class PerProcess(Generic[_Key, _Connection]):
    """Connections that all threads of a process share.

    Parameters
    ----------
    most
        How many are kept: one more, and the oldest is closed.
    close
        What closes one.
    """

    def __init__(self, most: int, close: Callable[[_Connection], object]) -> None:
        self._most = most
        self._close = close
        self._start()
        on_fork(self._forget)

    def _start(self) -> None:
        """Begin with none."""
        self.lock = threading.RLock()
        """Held by who looks whether there is a connection, to make one."""
        self._kept: dict[_Key, _Connection] = {}

    def find(self, key: _Key) -> _Connection | None:
        """The connection, if it is open."""
        return self._kept.get(key)

    def all(self) -> list[_Connection]:
        """Those that are open."""
        with self.lock:
            return list(self._kept.values())

    def keep(self, key: _Key, connection: _Connection) -> None:
        """Keep one that was opened."""
        with self.lock:
            self._kept[key] = connection
            over = [self._kept.pop(next(iter(self._kept))) for _ in range(len(self._kept) - self._most)]
        for old in over:
            self._close(old)

    def drop(self, key: _Key, connection: _Connection) -> None:
        """Close one, and forget it."""
        with self.lock:
            if self._kept.get(key) is connection:
                del self._kept[key]
        self._close(connection)

    def _forget(self) -> None:
        """Leave alone what the parent process uses."""
        abandon(self._kept)
        self._start()


class PerThread(Generic[_Key, _Connection]):
    """Connections that each thread has for itself, and that are closed when it ends.

    Parameters
    ----------
    most
        How many a thread keeps: one more, and its oldest is closed.
    close
        What closes one.
    """

    def __init__(self, most: int, close: Callable[[_Connection], object]) -> None:
        self._most = most
        self._close = close
        self._start()
        on_fork(self._forget)
        atexit.register(self._end)

    def _start(self) -> None:
        """Begin with none."""
        self._here = threading.local()  # goes when the thread ends
        # Not in there: in a forked child Python lets go of what was there for other threads of the parent.
        self._kept: dict[int, dict[_Key, _Connection]] = {}

    def find(self, key: _Key) -> _Connection | None:
        """This thread's connection, if it is open."""
        mine = self._kept.get(threading.get_ident())
        return None if mine is None else mine.get(key)

    def keep(self, key: _Key, connection: _Connection) -> None:
        """Keep one that this thread opened."""
        me = threading.get_ident()
        if me not in self._kept:
            self._kept[me] = {}
            self._here.end = _AtEnd(self._end)
        mine = self._kept[me]
        while len(mine) >= self._most:
            self._close(mine.pop(next(iter(mine))))
        mine[key] = connection

    def drop(self, key: _Key) -> None:
        """Close this thread's connection, if it has one."""
        held = self._kept.get(threading.get_ident(), {}).pop(key, None)
        if held is not None:
            self._close(held)

    def _end(self) -> None:
        """Close all of this thread's connections."""
        for held in self._kept.pop(threading.get_ident(), {}).values():
            with contextlib.suppress(Exception):
                self._close(held)

    def _forget(self) -> None:
        """Leave alone what the parent process uses."""
        abandon(self._kept)
        self._start()


class _AtEnd:
    """Does something when the thread ends that has it, unless it ends by a fork."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._process:
            self._call()


def on_fork(forget: Callable[[], object]) -> None:
    """Have a function called in every child that is forked from this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)


def abandon(connection: object) -> None:
    """Never let go of an object, not even at the end of the process.

    A connection that a fork brought along is the parent's: closing it would take the parent's locks, or write what the
    parent has written since.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def stat_of(path: str) -> os.stat_result | None:
    """What the system says of a file; None where there is none."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def stamp(path: str) -> tuple[int, int] | None:
    """What tells a file from another one that takes its place; None where there is none."""
    found = stat_of(path)
    return None if found is None else (found.st_dev, found.st_ino)
