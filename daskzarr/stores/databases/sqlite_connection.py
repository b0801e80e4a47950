"""An SQLite file -> this thread's connection to it, made ready to read or write; its errors in words that help."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

from daskzarr.errors import DaskZarrError, MetadataError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.stores.databases.connections import PerThread, stamp, stat_of
from daskzarr.stores.local.folders import existing, make_folder, settle

Connection = sqlite3.Connection

_PAGE_SIZE = 16384  # values of some 10 kB and more are written faster than with the usual 4096
_MOST = 16
_TRIES = 3
_FRESH = 0.01  # seconds for which a reader takes for granted that the file is still the same
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_OTHER_COLUMNS = ("no such column", "has no column named", "ON CONFLICT clause does not match")
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


SMALL = 2**18
"""A value as large as that is read with its row; a larger one afterwards, without a copy in between."""
SMALL_WITH_PARTS = 2**12


class Opening(NamedTuple):
    """What a connection is opened by, and what is asked of it most, as text that is made once."""

    path: str
    table: str
    sync: bool
    timeout: float
    immutable: bool
    journal: str
    key: str
    name: str
    whole: str
    part: str


def opening(path: str, table: str, sync: bool, timeout: float, immutable: bool, journal: str) -> Opening:
    """How a table of a file is opened and read."""
    name = '"' + table.replace('"', '""') + '"'
    key = f"{sync} {timeout} {immutable} {journal} {path}"
    whole, part = (
        f"SELECT rowid, length(v), CASE WHEN length(v) < {small} THEN v END FROM {name} WHERE k = ?"
        for small in (SMALL, SMALL_WITH_PARTS)
    )
    return Opening(path, table, sync, timeout, immutable, journal, key, name, whole, part)


@dataclass(slots=True)
class _Open:
    """A connection, the file it is to, and the tables it has made sure of."""

    connection: Connection
    file: tuple[int, int]
    checked: float
    tables: set[str] = field(default_factory=set)


_threads: PerThread[str, _Open] = PerThread(_MOST, lambda held: held.connection.close())
_opened = float("-inf")  # when a thread of this process last opened a file, or saw that one had been removed


def connected(at: Opening) -> Connection | None:
    """This thread's connection to a file; None where there is no file."""
    held = _threads.find(at.key)
    now = time.monotonic()
    if held is None or now - held.checked >= _FRESH or held.checked <= _opened:
        held = _held(at, stamp(at.path), now)
    return None if held is None else _idle(held.connection)


def connected_to_write(at: Opening) -> Connection:
    """The same, with a table that is there; file and folders are made as needed."""
    if at.immutable:
        raise UnsupportedError("the store was opened as one that nobody changes (immutable=true)")
    for _ in range(_TRIES):
        held = _held(at, stamp(at.path), time.monotonic())
        if held is not None:
            break
        _make(at)
    else:
        raise FileNotFoundError(f"the file was removed whenever it was made: {at.path}")
    if at.table not in held.tables:
        _prepare(held.connection, at)
        held.tables.add(at.table)
    return _idle(held.connection)


def _idle(connection: Connection) -> Connection:
    """The connection in no transaction: one that an interrupt left open would keep all writes to itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    return connection


def _held(at: Opening, file: tuple[int, int] | None, now: float) -> _Open | None:
    """The connection to a file that is there. One to a file that was removed or replaced since is let go."""
    global _opened
    held = _threads.find(at.key)
    if held is not None and held.file == file:
        held.checked = now
        return held
    _opened = now  # what this thread finds, no other may miss from then on
    if held is not None:
        _threads.drop(at.key)
    if file is None:
        return None
    if at.immutable and (wal := stat_of(at.path + "-wal")) is not None and wal.st_size:
        raise StoreError(
            f"{at.path} cannot be read as one that nobody changes: what was written last is in {at.path}-wal; open it "
            "where it can be written, so that SQLite puts that in its place"
        )
    held = _Open(_open(at, "ro&immutable=1" if at.immutable else "rw"), file, now)
    _threads.keep(at.key, held)
    return held


def _make(at: Opening) -> None:
    """Make an empty file and the folders to it. Only SQLite may open the file: closing it ends all locks on it."""
    folder = os.path.dirname(at.path)
    there = existing(folder)
    make_folder(folder)
    _open(at, "rwc").close()
    if at.sync:
        settle(folder, folder, there)


def _open(at: Opening, mode: str) -> Connection:
    """A connection without implied transactions."""
    connection = sqlite3.connect(
        f"file:{quote(at.path)}?mode={mode}",
        uri=True,
        timeout=at.timeout,
        isolation_level=None,
        check_same_thread=False,  # only for its end: the thread may be gone then
    )
    connection.execute(f"PRAGMA synchronous={'EXTRA' if at.sync else 'NORMAL'}")
    return connection


def _prepare(connection: Connection, at: Opening) -> None:
    """Make sure that what is written has its place, and of how it is written."""
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        connection.execute(f"PRAGMA page_size={_PAGE_SIZE}")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if at.journal == "wal" and mode != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if code_of(error) not in _LOCKED:  # another process has it open: as safe, but readers wait for writers
                raise
    connection.execute(f"CREATE TABLE IF NOT EXISTS {at.name}(k TEXT PRIMARY KEY, v BLOB)")


class Snapshot(AbstractContextManager[None]):
    """A transaction that reads: all of it shows the database at one moment."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, *ended: object) -> None:
        self._connection.execute("COMMIT")


class Failing(AbstractContextManager[None]):
    """Where SQLite may fail. That there is no table is no failure of reading: what follows the block is the answer.

    Parameters
    ----------
    at
        What is worked on.
    writing
        Whether the table has to be there.
    """

    __slots__ = ("_at", "_writing")

    def __init__(self, at: Opening, writing: bool = False) -> None:
        self._at = at
        self._writing = writing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, (sqlite3.Error, OverflowError)):
            return False
        if not self._writing and str(error).startswith("no such table"):
            return True
        told = _told(error, self._at.path, self._at.table)
        if told is None:
            return False
        raise told from error


def _told(error: Exception, path: str, table: str) -> DaskZarrError | None:
    """The error to raise in the place of SQLite's; None if that one says it well."""
    code = code_of(error)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{path} is no SQLite database")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"the database {path} is damaged: {error}; 'PRAGMA integrity_check' tells more")
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"there is no room on the disk of {path}; nothing was changed")
    if code in _UNWRITABLE:
        if _locked_folder(path):
            return _refused_folder(path)
        return StorePermissionError(f"{path} cannot be written: {error}{_advice(path)}")
    if code == sqlite3.SQLITE_CANTOPEN:
        return _unopened(error, path)
    if code == sqlite3.SQLITE_TOOBIG or isinstance(error, OverflowError):
        return UnsupportedError(f"SQLite holds no value as large as that ({error}): use smaller chunks or shards")
    if any(words in str(error) for words in _OTHER_COLUMNS):
        return MetadataError(
            f"the table {table} of {path} is no table of keys and values (k TEXT PRIMARY KEY, v BLOB): {error}",
            field="table",
        )
    return None


def _unopened(error: Exception, path: str) -> StoreError:
    """What to say of a file that is not opened."""
    if os.path.isdir(path):
        return StoreError(f"{path} is a folder, not an SQLite database")
    if os.path.exists(path) and not _may(path, os.R_OK):
        return StorePermissionError(f"{path} cannot be opened: {error}")
    if _locked_folder(path):
        return _refused_folder(path)
    return StoreError(f"{path} cannot be opened: {error}")


def _locked_folder(path: str) -> bool:
    """Whether there is a folder of a file, in which no other file can be put."""
    folder = os.path.dirname(path)
    return os.path.isdir(folder) and not _may(folder, os.W_OK)


def _refused_folder(path: str) -> StorePermissionError:
    """The error for a folder that cannot be written."""
    return StorePermissionError(
        f"the folder {os.path.dirname(path)} cannot be written, where SQLite puts files beside {os.path.basename(path)}"
        f"{_advice(path)}"
    )


def _may(path: str, what: int) -> bool:
    """Whether this process may read or write a file."""
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _advice(path: str) -> str:
    """What to do about a database that cannot be written, if it is only to be read."""
    if not os.path.exists(path):
        return ""
    return "; one that nobody changes can be read there by ?immutable=true"


def code_of(error: BaseException) -> int | None:
    """SQLite's number of an error, without what makes it a special case of its kind."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
