"""An LMDB database as a store: ``lmdb:///absolute/path``, ``lmdb://relative?map_size=...``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.stores.databases import file_url
from daskzarr.stores.databases.lmdb_environment import Inside, Opening, again, entered, entered_to_write
from daskzarr.stores.databases.servers import library
from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Buffer, Listing, Store, get_each
from daskzarr.stores.traffic import TRAFFIC, Traffic

MAP_SIZE = 2**40 if sys.maxsize > 2**32 and sys.platform != "win32" else 2**28
_LONGEST = 511
_PAGE = 1000
_OPTIONS: dict[str, file_url.Read] = {
    "map_size": file_url.positive,
    "sync": file_url.flag,
    "readonly": file_url.flag,
    "subdir": file_url.flag,
}


@dataclass(frozen=True, slots=True)
class LMDBStore:
    """Keys and values of an LMDB database.

    Keys are UTF-8, of at most 511 bytes. Any number of threads and processes of one machine may read and write at once;
    one writes at a time. A value is set in a transaction of its own: all or nothing, also when the process is killed.
    What was written is on disk once it is finished (:meth:`finish`, done at the end of each write): a power failure
    before that may damage the database, unless every transaction is put on disk (``sync``).

    Parameters
    ----------
    path
        Absolute path: a folder with ``data.mdb`` and ``lock.mdb`` in it, or a file, beside which is one ``-lock``. It
        need not exist yet.
    sync
        Whether a write returns when it is on disk.
    map_size
        Bytes of address space, which bound the database until it needs more: then they are doubled. They take no room
        on disk. Default 1 TiB; 256 MiB on Windows, where the file is as large as that, and on 32 bits.
    readonly
        Whether it is only read. Where not even its lock can be written, nobody may write it for as long.
    subdir
        Whether the path is that of a folder. Default: as it is; a new one is.

    Examples
    --------
    >>> import tempfile
    >>> store = LMDBStore(tempfile.mkdtemp() + "/a.lmdb", map_size=2**20)
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    """

    path: str
    sync: bool = False
    map_size: int = field(default=MAP_SIZE, compare=False)
    readonly: bool = False
    subdir: bool | None = field(default=None, compare=False)

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> LMDBStore:
        """The store at a URL; what follows its two slashes is the path."""
        path, options = file_url.parse(url, _OPTIONS, storage_options)
        if not path.strip("/"):
            raise MetadataError("the URL names no path: lmdb:///folder/name.lmdb", field="url")
        library("lmdb", "lmdb")  # says that it is missing, if it is
        return cls(file_url.place(path), **options)

    @property
    def url(self) -> str:
        """``lmdb://`` and the absolute path."""
        return f"lmdb://{file_url.quoted(self.path)}"

    @property
    def shared(self) -> bool:
        """Other processes of this machine see the database."""
        return True

    @property
    def can_write(self) -> bool:
        """Whether it was opened for writing too."""
        return not self.readonly

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or a copy of the given part of it; None when there is no such key."""
        if byte_range is not None:
            return self.get_ranges(key, [byte_range])[0]
        environment = entered(self.path)
        if environment is None:
            return self._get(key)
        raw = key.encode()
        try:
            if 0 < len(raw) <= _LONGEST:
                transaction = environment.env.begin()
                value: bytes | None = transaction.get(raw)
                transaction.abort()
                return value
            return None
        except Exception:
            pass  # what it was shows when it is done with more care
        finally:
            environment.leave()
        return self._get(key)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """One after the other: a transaction costs less than holding values of one together."""
        return get_each(self, keys)

    @again
    def _get(self, key: str) -> Buffer | None:
        """The value, with all that may be needed for it."""
        raw = key.encode()
        with Inside(self._opening) as env:
            if env is None or not 0 < len(raw) <= _LONGEST:
                return None
            with env.begin() as transaction:
                value: bytes | None = transaction.get(raw)
                return value

    @again
    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Copies of parts of one value, all of the same one."""
        raw = key.encode()
        with Inside(self._opening) as env:
            if env is None or not 0 < len(raw) <= _LONGEST:
                return [None] * len(byte_ranges)
            with env.begin(buffers=True) as transaction:
                value = transaction.get(raw)
                if value is None:
                    return [None] * len(byte_ranges)
                bounds = [byte_range.bounds(len(value)) for byte_range in byte_ranges]
                return [bytes(value[start:stop]) for start, stop in bounds]

    @again
    def read_into(self, key: str, target: memoryview) -> int | None:
        """Copy the value straight into ``target``; its size, or None when there is no such key."""
        raw = key.encode()
        with Inside(self._opening) as env:
            if env is None or not 0 < len(raw) <= _LONGEST:
                return None
            with env.begin(buffers=True) as transaction:
                value = transaction.get(raw)
                if value is None:
                    return None
                if len(value) <= len(target):
                    target[: len(value)] = value
                return len(value)

    def set(self, key: str, value: Buffer) -> None:
        """Put the value, in a transaction of its own."""
        self._put(key, value, True)

    def create(self, key: str, value: Buffer) -> bool:
        """Put the value, unless there is one."""
        return self._put(key, value, False)

    def _put(self, key: str, value: Buffer, overwrite: bool) -> bool:
        """Put a value; whether that was done."""
        raw = key.encode()
        environment = None if self.readonly else entered_to_write(self.path, self.sync)
        if environment is not None:
            try:
                with environment.env.begin(write=True) as transaction:
                    done: bool = transaction.put(raw, value, overwrite=overwrite)
                return done
            except Exception:
                pass  # nothing was put; what it was shows when it is done with more care
            finally:
                environment.leave()
        return self._put_with_care(key, raw, value, overwrite)

    @again
    def _put_with_care(self, key: str, raw: bytes, value: Buffer, overwrite: bool) -> bool:
        """The same, with all that may be needed for it."""
        if not 0 < len(raw) <= _LONGEST:
            raise UnsupportedError(
                f"LMDB's keys have 1 to {_LONGEST} bytes, and {short(key)} has {len(raw)}: use shorter names of groups "
                "and arrays, or another store",
                url=self.url,
            )
        with Inside(self._opening, writing=True) as env, env.begin(write=True) as transaction:
            done: bool = transaction.put(raw, value, overwrite=overwrite)
            return done

    @again
    def delete(self, key: str) -> None:
        """Remove the value; one that is not there is no error."""
        raw = key.encode()
        with Inside(self._opening) as env:
            if env is not None and 0 < len(raw) <= _LONGEST:
                with env.begin(write=True) as transaction:
                    transaction.delete(raw)

    def delete_below(self, prefix: str) -> None:
        """Remove all values below, some thousand with a transaction."""
        while self._delete_some(_lead(prefix)):
            pass

    @again
    def _delete_some(self, lead: bytes) -> bool:
        """Remove some of the values whose keys begin so; whether there may be more."""
        with Inside(self._opening) as env:
            if env is None:
                return False
            with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                there = cursor.set_range(lead) if lead else cursor.first()
                for _ in range(_PAGE):
                    if not there or not cursor.key().startswith(lead):
                        return False
                    cursor.delete()
                    there = bool(cursor.key())  # that of the next one
        return True

    @again
    def list_dir(self, prefix: str) -> Listing:
        """Keys and prefixes directly below, by a search behind each prefix for the next one."""
        lead = _lead(prefix)
        keys: list[str] = []
        prefixes: list[str] = []
        with Inside(self._opening) as env:
            if env is not None:
                with env.begin() as transaction, transaction.cursor() as cursor:
                    there = cursor.set_range(lead) if lead else cursor.first()
                    while there and (key := cursor.key()).startswith(lead):
                        name, slash, _ = key[len(lead) :].partition(b"/")
                        (prefixes if slash else keys).append(name.decode(errors="surrogateescape"))
                        there = cursor.set_range(lead + name + b"0") if slash else cursor.next()
        return Listing(tuple(sorted(keys)), tuple(sorted(prefixes)))

    @again
    def size(self, key: str) -> int | None:
        """Bytes in the value; None when there is no such key."""
        raw = key.encode()
        with Inside(self._opening) as env:
            if env is None or not 0 < len(raw) <= _LONGEST:
                return None
            with env.begin(buffers=True) as transaction:
                value = transaction.get(raw)
                return None if value is None else len(value)

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below in their order, and the sizes of their values; no transaction is left open between."""
        lead = _lead(prefix)
        start = lead
        while True:
            found = self._survey_some(lead, start)
            yield from ((key.decode(errors="surrogateescape"), size) for key, size in found)
            if len(found) < _PAGE:
                return
            start = found[-1][0] + b"\0"

    @again
    def _survey_some(self, lead: bytes, start: bytes) -> list[tuple[bytes, int]]:
        """The first keys from ``start`` on that begin with ``lead``, with sizes."""
        found: list[tuple[bytes, int]] = []
        with Inside(self._opening) as env:
            if env is not None:
                with env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                    there = cursor.set_range(start) if start else cursor.first()
                    while there and len(found) < _PAGE and (key := bytes(cursor.key())).startswith(lead):
                        found.append((key, len(cursor.value())))
                        there = cursor.next()
        return found

    @again
    def finish(self) -> None:
        """Put on disk what was written."""
        with Inside(self._opening) as env:
            if env is not None and not self.readonly:
                env.sync(True)

    def synced(self) -> LMDBStore:
        """The same database, and every write on disk when it returns."""
        return replace(self, sync=True)

    def sibling(self, ending: str) -> Store | None:
        """A directory named after the database."""
        return LocalStore(self.path + ending, sync=self.sync)

    @property
    def _opening(self) -> Opening:
        """What its environment is opened by."""
        return Opening(self.path, self.map_size, self.sync, self.readonly, self.subdir)


def _lead(prefix: str) -> bytes:
    """What keys below a prefix begin with."""
    return (prefix.rstrip("/") + "/").encode() if prefix else b""
