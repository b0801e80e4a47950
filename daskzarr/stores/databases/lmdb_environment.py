"""A path -> the one LMDB environment of this process for it, whose map may grow; LMDB's errors in words that help."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from daskzarr.errors import DaskZarrError, StoreError, StorePermissionError
from daskzarr.stores.databases.connections import PerProcess, stamp
from daskzarr.stores.databases.servers import library
from daskzarr.stores.local.folders import existing, make_folder, settle

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Self = TypeVar("_Self")

_MOST = 16
_MOST_READERS = 2048  # fixed by the size of the lock file, of which each needs 64 bytes
_SPARE_READERS = 8
_TRIES = 40  # a map that doubles each time is large enough long before
_FRESH = 0.01  # seconds for which a reader takes for granted that the file is still the same
_POLL = 0.001
_ROOM = 2**20
_HEAD = 64  # the header of the first page, and what it begins with
_MAGIC = (0xBEEFC0DE).to_bytes(4, sys.byteorder)


class Opening(NamedTuple):
    """What an environment is opened by."""

    path: str
    map_size: int
    sync: bool
    readonly: bool
    subdir: bool | None


class Environment:
    """An environment that threads enter to work in it; who has it alone may grow or close it.

    Parameters
    ----------
    env
        LMDB's.
    data, file
        Path of its file, and what tells that from a later one.
    sync
        Whether what is committed is on disk.
    """

    __slots__ = ("_alone", "_closed", "_inside", "_waiting", "checked", "data", "env", "file", "sync")

    def __init__(self, env: Any, data: str, file: tuple[int, int] | None, sync: bool) -> None:
        self.env = env
        self.data = data
        self.file = file
        self.sync = sync
        self.checked = 0.0
        self._inside: set[int] = set()
        self._alone = threading.Lock()
        self._waiting = False
        self._closed = False

    def enter(self) -> bool:
        """Come in, once nobody has it alone; False if it was closed."""
        me = threading.get_ident()
        while True:
            # Each side shows itself and then looks for the other: of two that come at once, one sees the other.
            self._inside.add(me)
            if not self._waiting:
                return True
            self._inside.discard(me)
            with self._alone:
                if self._closed:
                    return False

    def leave(self) -> None:
        """Go out."""
        self._inside.discard(threading.get_ident())

    def resize(self, size: int, before: int) -> None:
        """Have another size of the map, 0 for the one another process gave it, unless it changed since ``before``."""
        with self._alone:
            self._waiting = True
            try:
                self._wait()
                if not self._closed and self.env.info()["map_size"] == before:
                    self.env.set_mapsize(size)
            finally:
                self._waiting = self._closed

    def close(self) -> None:
        """Close it once nobody is inside."""
        with self._alone:
            self._waiting = self._closed = True
            self._wait()
            self.env.close()

    def _wait(self) -> None:
        """Until nobody is inside."""
        while self._inside:
            time.sleep(_POLL)


class _Again(Exception):
    """What failed is to be tried once more: what it failed for was seen to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


_process: PerProcess[str, Environment] = PerProcess(_MOST, Environment.close)


class Inside(AbstractContextManager[Any]):
    """Work in the environment of a path: gives LMDB's, or None where there is no database to read.

    Parameters
    ----------
    opening
        What it is opened by, if it is not open.
    writing
        Whether there has to be one.
    """

    __slots__ = ("_environment", "_opening", "_writing")

    def __init__(self, opening: Opening, writing: bool = False) -> None:
        self._opening = opening
        self._writing = writing
        self._environment: Environment | None = None

    def __enter__(self) -> Any:
        try:
            while True:
                self._environment = environment = _environment(self._opening, self._writing)
                if environment is None:
                    return None
                if environment.enter():
                    return environment.env
        except Exception as error:
            self._environment = None
            self._tell(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        environment = self._environment
        if environment is None:
            return
        if error is None:
            environment.leave()
            return
        size = environment.env.info()["map_size"] if type(error).__module__.partition(".")[0] == "lmdb" else 0
        environment.leave()
        if size and _mended(environment, error, size):
            raise _Again(error) from None
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Raise what says better what went wrong, if anything does."""
        told = _told(error, self._opening.path)
        if told is not None:
            raise told from error


def again(
    method: Callable[Concatenate[_Self, _Arguments], _Result],
) -> Callable[Concatenate[_Self, _Arguments], _Result]:
    """A method that works inside an environment, done once more where that has to grow first."""

    @functools.wraps(method)
    def run(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for _ in range(_TRIES):
            try:
                return method(self, *args, **kwargs)
            except _Again as later:
                error = later.error
        raise error

    return run


def _mended(environment: Environment, error: BaseException, size: int) -> bool:
    """Whether an error is one of a full map or table of readers, and the next try has more room."""
    import lmdb

    if isinstance(error, lmdb.MapFullError):
        environment.resize(size * 2, size)
        return True
    if isinstance(error, lmdb.MapResizedError):
        environment.resize(0, size)
        return True
    if isinstance(error, lmdb.ReadersFullError):
        environment.env.reader_check()  # of processes that were killed
        time.sleep(_POLL)
        return True
    return False


def entered(path: str) -> Environment | None:
    """The environment of a path for a reader who has come in; None if there is more to do for that."""
    found = _process.find(path)
    if found is None or time.monotonic() - found.checked >= _FRESH or not found.enter():
        return None
    return found


def entered_to_write(path: str, sync: bool) -> Environment | None:
    """The same for a writer, who makes sure that the file is still the one."""
    found = _process.find(path)
    if found is None or (sync and not found.sync):
        return None
    try:
        now = os.stat(found.data)
    except OSError:
        return None
    return found if (now.st_dev, now.st_ino) == found.file and found.enter() else None


def _environment(opening: Opening, writing: bool) -> Environment | None:
    """The environment, opened or made if need be."""
    found = _process.find(opening.path)
    now = time.monotonic()
    if found is not None:
        if not writing and now - found.checked < _FRESH:
            return found
        if _serves(found, opening, stamp(found.data)):
            found.checked = now
            return found
    elif not writing and stamp(_data(opening)) is None:
        return None
    with _process.lock:
        return _opened(opening, writing)


def _serves(found: Environment, opening: Opening, file: tuple[int, int] | None) -> bool:
    """Whether an environment is that of the file, and as careful as is asked for."""
    return found.file == file is not None and (found.sync or not opening.sync)


def _opened(opening: Opening, writing: bool) -> Environment | None:
    """An environment opened anew, unless another thread has just done it."""
    path, data = opening.path, _data(opening)
    found, file = _process.find(path), stamp(data)
    if found is not None and _serves(found, opening, file):
        return found
    sync = opening.sync or (found is not None and found.sync and found.file == file)
    if found is not None:
        _process.drop(path, found)
    if file is None and not writing:
        return None
    for other in _process.all():  # of another name: LMDB bears no two of a file in one process
        if _serves(other, opening, file):
            return other
    folder = os.path.dirname(data)
    there = existing(folder)
    if file is None:
        make_folder(folder)
    environment = Environment(_open(opening, sync, writing), data, stamp(data), sync)
    if sync:
        settle(folder, folder, there)
    _process.keep(path, environment)
    return environment


def _open(opening: Opening, sync: bool, writing: bool) -> Any:
    """LMDB's environment. A database that cannot be written is opened for reading alone."""
    lmdb = library("lmdb", "lmdb")
    _check_kind(opening)
    how: dict[str, Any] = {
        "map_size": opening.map_size,
        "subdir": _data(opening) != opening.path,
        "max_readers": _MOST_READERS,
        "max_spare_txns": _SPARE_READERS,
    }
    if not opening.readonly:
        try:
            _make_lock(opening)
            for _ in range(_TRIES):
                with contextlib.suppress(lmdb.MapResizedError):  # another process let it grow just now
                    return lmdb.open(opening.path, create=writing, sync=sync, metasync=sync, meminit=False, **how)
        except lmdb.Error as error:
            if writing or not isinstance(error, lmdb.ReadonlyError):
                raise
    try:
        return lmdb.open(opening.path, readonly=True, **how)
    except lmdb.ReadonlyError:
        if writing or not opening.readonly:
            raise
        return lmdb.open(opening.path, readonly=True, lock=False, **how)  # nobody writes: that is what was said


def _check_kind(opening: Opening) -> None:
    """Refuse a file of something else, before a file of locks is made beside it."""
    head = b""
    with contextlib.suppress(OSError), open(_data(opening), "rb") as file:
        head = file.read(_HEAD)
    if head and _MAGIC not in head:
        raise StoreError(f"{opening.path} is no LMDB database")


def _make_lock(opening: Opening) -> None:
    """Make the file of locks, if there is none, with room on disk for all of it.

    LMDB makes one without. Where the disk is full when it comes to a page of it, the system ends the process.
    """
    data = _data(opening)
    path = f"{data}-lock" if data == opening.path else f"{opening.path}/lock.mdb"
    if os.path.lexists(path):
        return
    hidden = f"{path}.{uuid.uuid4().hex}"
    try:
        with open(hidden, "xb") as file:
            file.write(bytes(_MOST_READERS * 64))
        os.link(hidden, path)
    except FileExistsError:
        pass  # another process made it
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(opening.path) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(hidden)


def _full(path: str) -> StoreError:
    """The error for a disk that is full."""
    return StoreError(f"there is no room on the disk of {path}; nothing was changed")


def _data(opening: Opening) -> str:
    """The file of a database: one in a folder of its own, as is usual, unless it is one by itself."""
    single = os.path.isfile(opening.path) if opening.subdir is None else not opening.subdir
    return opening.path if single else f"{opening.path}/data.mdb"


def _told(error: BaseException, path: str) -> DaskZarrError | OSError | None:
    """The error to raise in the place of LMDB's; None if that one says it well."""
    if isinstance(error, DaskZarrError):
        return None
    import lmdb

    if isinstance(error, (lmdb.InvalidError, lmdb.VersionMismatchError)):
        return StoreError(f"{path} is no LMDB database that can be read here: {error}")
    if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError)):
        return StoreError(f"the database {path} is damaged: {error}")
    if isinstance(error, lmdb.DiskError):
        return _full(path)
    if isinstance(error, lmdb.ReadonlyError):
        return StorePermissionError(f"{path} cannot be written: {error}")
    if isinstance(error, lmdb.Error) and os.strerror(errno.EIO) in str(error):  # of half a write, too
        free = shutil.disk_usage(path if os.path.isdir(path) else os.path.dirname(path)).free
        return _full(path) if free < _ROOM else OSError(errno.EIO, str(error), path)
    return None
