"""A table of an SQLite database as a store: ``sqlite:///relative.db``, ``sqlite:////absolute.db?table=zarr``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, StoreError
from daskzarr.stores.databases import file_url
from daskzarr.stores.databases.sqlite_connection import (
    Connection,
    Failing,
    Opening,
    Snapshot,
    connected,
    connected_to_write,
    opening,
)
from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Buffer, Listing, Store
from daskzarr.stores.traffic import TRAFFIC, Traffic

TABLE = "zarr"
TIMEOUT = 30.0
_SCHEME = "sqlite"
_BATCH_KEYS = 128
_BATCH_NBYTES = 2**16
_LARGE = 2**13
_PAGE = 1000
_RUN = 8  # keys below one prefix that are gone through before the rest of them is skipped by a search
_JOURNALS = ("wal", "delete")
_OPTIONS: dict[str, file_url.Read] = {
    "table": file_url.text,
    "timeout": file_url.seconds,
    "immutable": file_url.flag,
    "journal": file_url.text,
}
_MEMORY = (
    "a database in memory is another one for each connection, and none outlives its process; give a path, "
    "on /dev/shm if it is to be in memory"
)


@dataclass(frozen=True, slots=True)
class SQLiteStore:
    """Rows of keys and values in a table of an SQLite file.

    The table has the columns ``k TEXT PRIMARY KEY`` and ``v BLOB``, as zarr-python 2 makes it. Any number of threads
    and processes of one machine may read and write at once: each thread has a connection, one writes at a time, and
    others wait for it. A value is set in a transaction of its own: all or nothing, also when the process is killed.
    After a power failure the last writes may be missing; :meth:`synced` prevents that.

    Parameters
    ----------
    path
        Absolute path of the file. It need not exist yet.
    table
        The table. Default ``zarr``.
    sync
        Whether a write returns when it is on disk.
    timeout
        Seconds to wait for another writer. Default 30.
    immutable
        Whether nobody changes the file for as long as it is read: then it is read without locks and without its
        ``-wal``, as is needed on a disk that cannot be written.
    journal
        ``"wal"`` (the default): readers and a writer do not wait for each other; beside the file are ``-wal`` and
        ``-shm``, which belong to it while it is open. ``"delete"`` leaves the database as it is: for file systems of a
        network, which have no memory that processes share.

    Examples
    --------
    >>> import tempfile
    >>> store = SQLiteStore(tempfile.mkdtemp() + "/a.db")
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    """

    path: str
    table: str = TABLE
    sync: bool = False
    timeout: float = TIMEOUT
    immutable: bool = False
    journal: str = "wal"
    _at: Opening = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.path == ":memory:" or not self.path:
            raise MetadataError(_MEMORY, field="url")
        if self.journal not in _JOURNALS:
            raise MetadataError(f"the journal is one of {', '.join(_JOURNALS)}, not {self.journal!r}", field="journal")
        if not self.table or "\0" in self.table or self.table.lower().startswith("sqlite_"):
            raise MetadataError(f"{self.table!r} is no name for a table of one's own", field="table")
        at = opening(self.path, self.table, self.sync, self.timeout, self.immutable, self.journal)
        object.__setattr__(self, "_at", at)

    def __reduce__(self) -> tuple[Any, ...]:
        return SQLiteStore, (self.path, self.table, self.sync, self.timeout, self.immutable, self.journal)

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> SQLiteStore:
        """The store at a URL: three slashes before a relative path, four before an absolute one."""
        path, options = file_url.parse(url, _OPTIONS, storage_options)
        if path in ("", "/", ":memory:", "/:memory:") or path.startswith("/file:"):
            raise MetadataError(_MEMORY, field="url")
        if not path.startswith("/"):
            raise MetadataError(
                f"two slashes are one too few: {_SCHEME}:///{path} for a relative path, {_SCHEME}:////... for one that "
                "is absolute",
                field="url",
            )
        return cls(file_url.place(path[1:]), **options)

    @property
    def url(self) -> str:
        """``sqlite:///``, the absolute path, and the table if it is another than ``zarr``."""
        table = "" if self.table == TABLE else f"?table={file_url.quoted(self.table)}"
        return f"{_SCHEME}:///{file_url.quoted(self.path)}{table}"

    @property
    def shared(self) -> bool:
        """Other processes of this machine see the file."""
        return True

    @property
    def can_write(self) -> bool:
        """Whether it was opened for writing too."""
        return not self.immutable

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or the given part of it; None when there is no such row."""
        with Failing(self._at):
            connection = connected(self._at)
            if connection is None:
                return None
            if byte_range is None:
                row = connection.execute(self._at.whole, (key,)).fetchone()
                if row is None or isinstance(row[2], bytes):
                    return None if row is None else row[2]  # most values: no need of a transaction
            with Snapshot(connection):
                return _read(connection, self._at, key, byte_range)
        return None

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """Several values with one transaction, as long as they are small; large ones one by one."""
        done = 0
        many = 1
        while done < len(keys):
            values = [self.get(keys[done])] if many == 1 else self._get_batch(keys[done : done + many])
            done += len(values)
            many = _BATCH_KEYS if sum(len(value or b"") for value in values) < _LARGE * len(values) else 1
            yield from values

    def _get_batch(self, keys: Sequence[str]) -> list[Buffer | None]:
        """Values of the first of these keys: as many as have few bytes in all, but one at least."""
        values: list[Buffer | None] = []
        with Failing(self._at):
            connection = connected(self._at)
            if connection is None:
                return [None] * len(keys)
            nbytes = 0
            with Snapshot(connection):
                for key in keys:
                    try:
                        value = _read(connection, self._at, key, None)
                    except Exception:
                        if values:
                            break  # its turn comes with the next batch
                        raise
                    values.append(value)
                    nbytes += len(value or b"")
                    if nbytes >= _BATCH_NBYTES:
                        break
            return values
        return [None] * len(keys)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one value, all of the same one even if it is replaced meanwhile."""
        with Failing(self._at):
            connection = connected(self._at)
            if connection is not None:
                with Snapshot(connection):
                    return _read_parts(connection, self._at, key, byte_ranges)
        return [None] * len(byte_ranges)

    def set(self, key: str, value: Buffer) -> None:
        """Put the row, in a transaction of its own."""
        self._write(
            f"INSERT INTO {self._at.name}(k, v) VALUES(?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v",
            key,
            value,
        )

    def create(self, key: str, value: Buffer) -> bool:
        """Put the row, unless there is one."""
        return self._write(f"INSERT INTO {self._at.name}(k, v) VALUES(?, ?) ON CONFLICT(k) DO NOTHING", key, value) == 1

    def _write(self, statement: str, key: str, value: Buffer) -> int:
        """Put a row; how many rows that changed."""
        # SQLite takes a buffer without an address, as an empty one may be, for no value at all.
        held = value if memoryview(value).nbytes else b""
        with Failing(self._at, writing=True):
            return connected_to_write(self._at).execute(statement, (key, held)).rowcount
        return 0

    def delete(self, key: str) -> None:
        """Remove the row; one that is not there is no error."""
        self._delete("k = ?", (key,))

    def delete_below(self, prefix: str) -> None:
        """Remove all rows whose keys lie below."""
        self._delete(*_below(prefix))

    def _delete(self, condition: str, values: Sequence[str]) -> None:
        """Remove rows."""
        with Failing(self._at):
            connection = connected(self._at)
            if connection is not None:
                connection.execute(f"DELETE FROM {self._at.name} WHERE {condition}", values)

    def list_dir(self, prefix: str) -> Listing:
        """Keys and prefixes directly below, by searching for the next one behind each prefix."""
        lead = _lead(prefix)
        keys: list[str] = []
        prefixes: list[str] = []
        with Failing(self._at):
            connection = connected(self._at)
            start: str | None = lead
            while connection is not None and start is not None:
                start = _list_from(connection, self._at.name, start, lead, keys, prefixes)
        return Listing(tuple(sorted(keys)), tuple(sorted(prefixes)))

    def size(self, key: str) -> int | None:
        """Bytes in the value; None when there is no such row."""
        with Failing(self._at):
            connection = connected(self._at)
            if connection is not None:
                row = connection.execute(f"SELECT length(v) FROM {self._at.name} WHERE k = ?", (key,)).fetchone()
                return None if row is None else row[0] or 0
        return None

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below in their order, and the sizes of their values; no transaction is left open between."""
        condition, values = _below(prefix)
        statement = f"SELECT k, length(v) FROM {self._at.name} WHERE {condition} AND k > ? ORDER BY k LIMIT {_PAGE}"
        last = ""
        while True:
            rows: list[tuple[str, int | None]] = []
            with Failing(self._at):
                connection = connected(self._at)
                if connection is not None:
                    rows = connection.execute(statement, (*values, last)).fetchall()
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def move_below(self, prefix: str, other: Store, other_prefix: str) -> bool:
        """Rename the rows, within one table."""
        if not isinstance(other, SQLiteStore) or (other.path, other.table) != (self.path, self.table):
            return False
        table, lead, target = self._at.name, _lead(prefix), _lead(other_prefix)
        with Failing(self._at, writing=True):
            connection = connected_to_write((other if other.sync else self)._at)
            connection.execute("BEGIN IMMEDIATE")
            try:
                taken, values = _below(other_prefix)
                there = connection.execute(f"SELECT 1 FROM {table} WHERE {taken} LIMIT 1", values).fetchone()
                moved = 0
                if there is None:
                    below, values = _below(prefix)
                    rename = f"UPDATE {table} SET k = ? || substr(k, ?) WHERE {below}"
                    moved = connection.execute(rename, (target, len(lead) + 1, *values)).rowcount
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            return moved > 0
        return False

    def synced(self) -> SQLiteStore:
        """The same table, and every write on disk when it returns."""
        return replace(self, sync=True)

    def sibling(self, ending: str) -> Store | None:
        """A directory named after the file."""
        table = "" if self.table == TABLE else f"@{file_url.quoted(self.table).replace('/', '%2F')}"
        return LocalStore(self.path + table + ending, sync=self.sync)


def _read(connection: Connection, at: Opening, key: str, byte_range: ByteRange | None) -> bytes | None:
    """A value or a part of it, in a transaction."""
    row = connection.execute(at.whole if byte_range is None else at.part, (key,)).fetchone()
    if row is None:
        return None
    rowid, size, value = row
    if isinstance(value, bytes):
        return value if byte_range is None else byte_range.of(value)
    if size is None or value is not None:
        raise _no_bytes(key)
    start, stop = (0, size) if byte_range is None else byte_range.bounds(size)
    with connection.blobopen(at.table, "v", rowid, readonly=True) as blob:
        if start:
            blob.seek(start)
        return blob.read(stop - start)


def _read_parts(connection: Connection, at: Opening, key: str, byte_ranges: Sequence[ByteRange]) -> list[Buffer | None]:
    """Parts of a value, in a transaction."""
    row = connection.execute(f"SELECT rowid, typeof(v) FROM {at.name} WHERE k = ?", (key,)).fetchone()
    if row is None:
        return [None] * len(byte_ranges)
    if row[1] != "blob":
        raise _no_bytes(key)
    parts: list[Buffer | None] = []
    with connection.blobopen(at.table, "v", row[0], readonly=True) as blob:
        for byte_range in byte_ranges:
            start, stop = byte_range.bounds(len(blob))
            blob.seek(start)
            parts.append(blob.read(stop - start))
    return parts


def _no_bytes(key: str) -> StoreError:
    """The error for a row that another program put there."""
    return StoreError(f"the table holds something else than bytes under the key {key!r}")


def _list_from(
    connection: Connection, table: str, start: str, lead: str, keys: list[str], prefixes: list[str]
) -> str | None:
    """Note what lies directly below ``lead``, from a key on; the key to go on from, None at the end."""
    condition, values = ("k >= ?", (start,)) if not lead else ("k >= ? AND k < ?", (start, _behind(lead)))
    run = 0
    cursor = connection.execute(f"SELECT k FROM {table} WHERE {condition} ORDER BY k", values)
    for (key,) in cursor:
        name, slash, _ = key[len(lead) :].partition("/")
        if not slash:
            if name:
                keys.append(name)
            continue
        if not prefixes or prefixes[-1] != name:
            prefixes.append(name)
            run = 0
        run += 1
        if run > _RUN:
            cursor.close()
            return _behind(f"{lead}{name}/")
    return None


def _lead(prefix: str) -> str:
    """What keys below a prefix begin with."""
    return prefix.rstrip("/") + "/" if prefix else ""


def _behind(lead: str) -> str:
    """The first text after all that begin with ``lead``, which ends with a slash."""
    return lead[:-1] + "0"


def _below(prefix: str) -> tuple[str, tuple[str, ...]]:
    """The condition that a key lies below a prefix, and its values."""
    lead = _lead(prefix)
    return ("k >= ? AND k < ?", (lead, _behind(lead))) if lead else ("k >= ?", ("",))
