"""A DBM database of Python's standard library as a store: ``dbm:///absolute/path``, ``dbm://relative``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError
from daskzarr.stores.databases import file_url
from daskzarr.stores.databases.dbm_file import database
from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Buffer, Listing, Store, get_each
from daskzarr.stores.traffic import TRAFFIC, Traffic

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class DBMStore:
    """Keys and values of a database that ``dbm.open`` opens, of whatever kind it finds or makes.

    For databases that are there: a new one is better an SQLite file. One process writes at a time, with any number of
    threads; another one that would write meanwhile is refused, and one that would read is told to wait. That ends with
    :meth:`finish`, done at the end of each write, or with the process. Of one that was killed before, the database may
    be damaged: it is refused from then on, until it is made anew, or the file ``<path>.lock`` is deleted by someone who
    takes it as it is.

    Parameters
    ----------
    path
        Absolute path, as ``dbm.open`` takes it: without the endings that some kinds give their files. It need not
        exist yet.

    Examples
    --------
    >>> import tempfile
    >>> store = DBMStore(tempfile.mkdtemp() + "/a")
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    >>> store.finish()
    """

    path: str

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> DBMStore:
        """The store at a URL; what follows its two slashes is the path."""
        path, _ = file_url.parse(url, {}, storage_options)
        if not path.strip("/"):
            raise MetadataError("the URL names no path: dbm:///folder/name", field="url")
        return cls(file_url.place(path))

    @property
    def url(self) -> str:
        """``dbm://`` and the absolute path."""
        return f"dbm://{file_url.quoted(self.path)}"

    @property
    def shared(self) -> bool:
        """Other processes of this machine see what was finished."""
        return True

    @property
    def one_process(self) -> bool:
        """One process writes at a time."""
        return True

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or a part of it, for which all of it is read; None when there is no such key."""
        value = self._read(lambda db: _value(db, key), None)
        return value if value is None or byte_range is None else byte_range.of(value)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """One after the other."""
        return get_each(self, keys)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one value, which is read once."""
        value = self._read(lambda db: _value(db, key), None)
        return [None if value is None else byte_range.of(value) for byte_range in byte_ranges]

    def set(self, key: str, value: Buffer) -> None:
        """Put the value. No reader sees half of it, but a process that is killed may leave half of it."""
        database(self.path).write(lambda db: db.__setitem__(key.encode(), bytes(value)))

    def create(self, key: str, value: Buffer) -> bool:
        """Put the value, unless there is one."""

        def put(db: Any) -> bool:
            if key.encode() in db:
                return False
            db[key.encode()] = bytes(value)
            return True

        return database(self.path).write(put)

    def delete(self, key: str) -> None:
        """Remove the value; one that is not there is no error."""
        if self.get(key) is not None:
            database(self.path).write(lambda db: _remove(db, [key.encode()]))

    def delete_below(self, prefix: str) -> None:
        """Remove all values below."""
        if self._keys(prefix):
            lead = _lead(prefix)
            database(self.path).write(lambda db: _remove(db, _below(db, lead)))

    def list_dir(self, prefix: str) -> Listing:
        """By looking at every key: a DBM database has no faster way."""
        lead = _lead(prefix)
        keys: set[str] = set()
        prefixes: set[str] = set()
        for key in self._keys(prefix):
            name, slash, _ = key[len(lead) :].decode().partition("/")
            (prefixes if slash else keys).add(name)
        return Listing(tuple(sorted(keys)), tuple(sorted(prefixes)))

    def size(self, key: str) -> int | None:
        """By reading the value: a DBM database has no other way."""
        value = self.get(key)
        return None if value is None else len(value)

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below; finding out a size takes as long as reading the value."""
        for key in self._keys(prefix):
            yield key.decode(), None

    def finish(self) -> None:
        """Put what was written where other processes see it, and let another one write."""
        database(self.path).finish()

    def sibling(self, ending: str) -> Store | None:
        """A directory named after the database."""
        return LocalStore(self.path + ending)

    def _keys(self, prefix: str) -> list[bytes]:
        """All keys below a prefix."""
        lead = _lead(prefix)
        return self._read(lambda db: _below(db, lead), [])

    def _read(self, look: Callable[[Any], _Result], nothing: _Result) -> _Result:
        """What looking into the database gives; ``nothing`` where there is none."""
        return database(self.path).read(look, nothing)


def _value(db: Any, key: str) -> bytes | None:
    """The value of a key, if there is one."""
    try:
        value: bytes = db[key.encode()]
    except KeyError:
        return None
    return value


def _below(db: Any, lead: bytes) -> list[bytes]:
    """The keys that begin so."""
    keys: Sequence[bytes] = db.keys()
    return [key for key in keys if key.startswith(lead)]


def _remove(db: Any, keys: Sequence[bytes]) -> None:
    """Remove keys, of which some may be gone."""
    dumb = type(db).__module__ == "dbm.dumb"
    if dumb:  # it writes its list of all keys anew for each that goes
        db._commit = lambda: None
    try:
        for key in keys:
            if key in db:
                del db[key]
    finally:
        if dumb:
            del db._commit
            db.sync()


def _lead(prefix: str) -> bytes:
    """What keys below a prefix begin with."""
    return (prefix.rstrip("/") + "/").encode() if prefix else b""
