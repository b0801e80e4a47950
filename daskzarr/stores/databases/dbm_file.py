"""The path of a DBM database -> reading it and writing it, by one process at a time and with nothing half done seen."""

from __future__ import annotations

import atexit
import contextlib
import dbm
import errno
import importlib.util
import os
import stat
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.databases.connections import PerProcess, on_fork, stat_of
from daskzarr.stores.local.folders import make_folder

try:
    import fcntl
except ImportError:  # another system
    fcntl = None  # type: ignore[assignment]

_Result = TypeVar("_Result")
_State = tuple[tuple[int, int, int] | None, ...]

_TRIES = 20
_ENDINGS = ("", ".dat", ".dir", ".db", ".pag", "-wal")
_BOUND_TO_THREADS = "dbm.sqlite3"
_UNLOCKED = "dbm.dumb"  # others keep writers out for as long as they are open, and are opened at once
_LOCK = ".lock"


class Database:
    """A database of this process: open for reading, or for writing from the first write until that is finished.

    Parameters
    ----------
    path
        As ``dbm.open`` takes it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._mine = threading.RLock()
        self._db: Any = None
        self._seen: _State | None = None
        self._lock: int | None = None

    def read(self, look: Callable[[Any], _Result], nothing: _Result) -> _Result:
        """What looking into it gives, of one moment between writes; ``nothing`` where there is no database."""
        with self._mine:
            if self._lock is not None:
                return self._use(look, "c")
            for _ in range(_TRIES):
                _unwritten(self._path)
                before = _state(self._path)
                if not any(before):
                    self._close()
                    return nothing
                if before != self._seen:
                    self._close()
                failed: Exception | None = None
                try:
                    found = self._use(look, "r")
                except Exception as error:  # it may come of a writer's work
                    failed = error
                if _state(self._path) == before and not _size(self._path + _LOCK):
                    if failed is not None:
                        raise failed
                    self._seen = before
                    return found
                self._close()
            raise _busy(self._path)

    def write(self, change: Callable[[Any], _Result]) -> _Result:
        """What a change of it gives; from now on no other process may write, until that is finished."""
        with self._mine:
            if self._lock is None:
                self._close()
                make_folder(os.path.dirname(self._path))
                self._lock = _locked(self._path)
            return self._use(change, "c")

    def finish(self) -> None:
        """Close it, and let others write."""
        with self._mine:
            self._close()
            if self._lock is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path + _LOCK)
                os.close(self._lock)
                self._lock = None

    def leave(self) -> None:
        """In a forked child: let the parent's lock be the parent's alone."""
        if self._lock is not None:
            os.close(self._lock)

    def _use(self, call: Callable[[Any], _Result], how: Literal["r", "c"]) -> _Result:
        """What a call gives that is handed the database of ``dbm``, opened for reading or writing."""
        if self._db is None:
            self._db = _open(self._path, how)
        kind = type(self._db).__module__
        try:
            return call(self._db)
        finally:
            if kind == _BOUND_TO_THREADS or (how == "r" and kind != _UNLOCKED):
                self._close()

    def _close(self) -> None:
        """Close it, which puts on disk what is not there yet."""
        if self._db is not None:
            db, self._db = self._db, None
            db.close()
        self._seen = None


_process: PerProcess[str, Database]


def database(path: str) -> Database:
    """This process's database of a path."""
    found = _process.find(path)
    if found is None:
        with _process.lock:
            found = _process.find(path)
            if found is None:
                found = Database(path)
                _process.keep(path, found)
    return found


def _finish_all() -> None:
    """Finish what is being written, as the process ends or makes room."""
    for found in _process.all():
        with contextlib.suppress(Exception):
            found.finish()


def _leave_all() -> None:
    """In a forked child: leave to the parent what it writes."""
    for found in _process.all():
        found.leave()


on_fork(_leave_all)  # before what is open is forgotten
_process = PerProcess(2**30, Database.finish)
atexit.register(_finish_all)


def _open(path: str, how: Literal["r", "c"]) -> Any:
    """The database of ``dbm``."""
    kind = dbm.whichdb(path)
    if kind == "":
        raise StoreError(f"{path} is no DBM database")
    if kind and importlib.util.find_spec(kind) is None:
        raise UnsupportedError(f"{path} is a database of the module {kind}, which this Python does not have")
    try:
        return dbm.open(path, how)
    except dbm.error as error:
        if "not available" in str(error):
            raise UnsupportedError(f"{path} cannot be opened by this Python: {error}") from error
        raise


def _state(path: str) -> _State:
    """What is another after the database was written: its files, their sizes and times."""
    return tuple(_stat(path + ending) for ending in _ENDINGS)


def _stat(path: str) -> tuple[int, int, int] | None:
    """Number, size and time of a file, if there is one."""
    found = stat_of(path)
    if found is None or stat.S_ISDIR(found.st_mode):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _size(path: str) -> int:
    """Bytes in a file, 0 where there is none."""
    found = _stat(path)
    return 0 if found is None else found[1]


def _unwritten(path: str) -> None:
    """Raise if another process writes the database, or ended in the middle of that."""
    try:
        descriptor = os.open(path + _LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not _held(descriptor, fcntl.LOCK_SH if fcntl else 0) or not _is_there(path, descriptor):
            raise _busy(path)
        if any(_state(path)):
            raise _damaged(path)
    finally:
        os.close(descriptor)


def _locked(path: str) -> int:
    """The descriptor of a lock that this process holds alone."""
    while True:
        descriptor = os.open(path + _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _held(descriptor, fcntl.LOCK_EX if fcntl else 0):
                raise UnsupportedError(
                    f"{path} is being written by another process, and a DBM database bears one at a time: use threads, "
                    "a cluster of one process, or SQLite",
                    url=f"dbm://{path}",
                )
            if not _is_there(path, descriptor):
                os.close(descriptor)
                continue  # the other one has just finished
            if os.fstat(descriptor).st_size and any(_state(path)):
                raise _damaged(path)
            os.write(descriptor, b"%d\n" % os.getpid())
            return descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _held(descriptor: int, how: int) -> bool:
    """Whether a lock is held now; on a system without locks, it is by whom made the file."""
    if fcntl is None:
        return not os.fstat(descriptor).st_size
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(path: str, descriptor: int) -> bool:
    """Whether an open lock is still the one that others find."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path + _LOCK))
    except FileNotFoundError:
        return False


def _busy(path: str) -> BlockingIOError:
    """The error of a reader that has to wait."""
    return BlockingIOError(errno.EAGAIN, f"{path} is being written by another process: it can be read once that ended")


def _damaged(path: str) -> StoreError:
    """The error for what a killed process left."""
    return StoreError(
        f"a process that wrote to {path} was ended before it finished, so that values may be damaged: make it anew, or "
        f"delete {path}{_LOCK} to use it as it is"
    )
