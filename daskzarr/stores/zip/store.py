"""A zip file of this machine as a store: read by many threads and processes, written by the threads of one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from, short
from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Buffer, Listing
from daskzarr.stores.traffic import TRAFFIC, Traffic
from daskzarr.stores.zip.archive import Archive, View
from daskzarr.stores.zip.compacting import compact
from daskzarr.stores.zip.opened_archives import archive_at, here
from daskzarr.stores.zip.records import Entry
from daskzarr.stores.zip.session import Session
from daskzarr.stores.zip.values import parts_of, read_into, value_of

_Result = TypeVar("_Result")

_SCHEME = "zip://"
_OPTIONS = ("checksums",)


@dataclass(frozen=True, slots=True)
class ZipStore:
    """A zip file, each of its entries a value.

    Reading goes on in any number of threads and processes. Writing is for the threads of one process at a time:
    another one that tries gets an error, and so does a store that was sent to another process. Values are appended,
    stored as they are; :meth:`finish` makes other processes and programs see them, all or none, and daskzarr calls it
    at the end of everything it writes. Until then the file is what it was to them. What a process that was killed has
    written is finished by the next that opens the file with daskzarr. Values that are replaced or deleted keep their
    room in the file, until :meth:`compact`.

    Parameters
    ----------
    path
        Absolute path of the file. It need not exist yet. Links in it are followed once, here.
    sync
        Whether a write or a deletion returns when it is on disk.
    checksums
        Whether the CRC-32 of a value that is read whole is compared. Parts of values have none.
    origin
        The process that made the store, where that is another one; then it can only be read. Set by unpickling.

    Examples
    --------
    >>> import tempfile
    >>> store = ZipStore(tempfile.mkdtemp() + "/a.zip")
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    >>> store.finish()
    """

    path: str
    sync: bool = False
    checksums: bool = True
    origin: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "path", os.path.realpath(self.path))
        except ValueError:
            raise MetadataError(f"{short(self.path)} is no path of a file", field="url") from None

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> ZipStore:
        """The store at a path, or at ``zip://`` and a path."""
        unknown = sorted(set(storage_options) - set(_OPTIONS))
        if unknown:
            raise MetadataError(
                f"a zip file has no option {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, _OPTIONS))}",
                field="storage_options",
            )
        checksums = storage_options.get("checksums", True)
        if not isinstance(checksums, bool):
            raise MetadataError(f"checksums is {short(checksums)}; it can be True or False", field="storage_options")
        path = url.removeprefix(_SCHEME)
        if path != url and ("?" in path or "#" in path or not path):
            raise MetadataError(f"{short(url)}: zip:// is followed by a path, and nothing else", field="url")
        return cls(os.path.abspath(os.path.expanduser(path)), checksums=checksums)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.path, self.sync, self.checksums, self.origin or here())

    @property
    def url(self) -> str:
        """``file://`` and the path, or ``zip://`` where its ending is another one than ``.zip``."""
        scheme = "file://" if self.path.lower().endswith(".zip") else _SCHEME
        return scheme + self.path.replace(os.sep, "/")

    @property
    def shared(self) -> bool:
        """Other processes see what is finished."""
        return True

    @property
    def one_process(self) -> bool:
        """Only the process that made the store can write to it."""
        return True

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or a part of it; None when there is no such entry, or no file."""
        if byte_range is not None:
            return self.get_ranges(key, (byte_range,))[0]
        return self._value(self._view(), key)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """One value after the other, all of the file as it is when the first is asked for."""
        view = self._view()
        for key in keys:
            yield self._value(view, key)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of a value. Only one that another program has compressed is read whole."""
        view = self._view()
        entry = None if view is None else view.index.get(key)
        if view is None or entry is None:
            return [None] * len(byte_ranges)
        try:
            return parts_of(view.file, entry, byte_ranges, self.checksums)
        except DaskZarrError as error:
            raise_from(error.locate(url=self.url), error)

    def read_into(self, key: str, target: memoryview) -> int | None:
        """Read a value straight into ``target``; its size, or None when there is no such entry."""
        view = self._view()
        entry = None if view is None else view.index.get(key)
        if view is None or entry is None:
            return None
        if entry.size <= len(target):
            try:
                read_into(view.file, entry, target, self.checksums)
            except DaskZarrError as error:
                raise_from(error.locate(url=self.url), error)
        return entry.size

    def version(self, key: str) -> Hashable | None:
        """Position, size and CRC-32 of the entry: a value that is replaced gets another place."""
        entry = self._entry(key)
        return None if entry is None else (entry.at, entry.size, entry.checksum)

    def size(self, key: str) -> int | None:
        """The value's size, or None when there is no such entry."""
        entry = self._entry(key)
        return None if entry is None else entry.size

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below, with the sizes of their values."""
        view = self._view()
        for key, entry in () if view is None else view.index.below(prefix.rstrip("/")):
            yield key, entry.size

    def list_dir(self, prefix: str) -> Listing:
        """What lies directly below, from an index by folder."""
        view = self._view()
        return Listing((), ()) if view is None else view.index.listing(prefix.rstrip("/"))

    def set(self, key: str, value: Buffer) -> None:
        """Append the value; one of the key that is there already is not listed any longer."""
        self._change(self._archive.set, key, value, self.sync)

    def create(self, key: str, value: Buffer) -> bool:
        """Append the value, unless there is one."""
        return self._entry(key) is None and bool(self._change(self._archive.create, key, value, self.sync))

    def delete(self, key: str) -> None:
        """List a value no longer; one that is not there is no error."""
        if self._entry(key) is not None:
            self._change(self._archive.change, lambda session: session.delete(key), self.sync)

    def delete_below(self, prefix: str) -> None:
        """List nothing below any longer."""
        view = self._view()
        if view is not None and view.index.below(prefix):
            self._change(self._archive.change, lambda session: session.delete_below(prefix), self.sync)

    def finish(self) -> None:
        """Let other processes and programs see what this process wrote, all at once, and let others write."""
        self._located(self._archive.finish)

    def compact(self) -> None:
        """Finish, and copy what is listed to a new file, which then takes the place of this one.

        It needs room for both meanwhile. Entries that another program has compressed are stored as they are read.
        """
        if self._view() is not None:
            self._change(compact, self._archive)

    def synced(self) -> ZipStore:
        """The same file, and every value on disk when it is written."""
        return replace(self, sync=True)

    def sibling(self, ending: str) -> LocalStore:
        """A directory beside the file."""
        return LocalStore(self.path + ending)

    @property
    def _archive(self) -> Archive:
        """The file, as this process sees it."""
        return archive_at(self.path)

    def _view(self) -> View | Session | None:
        """The file as it is now."""
        return self._located(self._archive.view)

    def _entry(self, key: str) -> Entry | None:
        """Where a value is, now."""
        view = self._view()
        return None if view is None else view.index.get(key)

    def _value(self, view: View | Session | None, key: str) -> Buffer | None:
        """A whole value."""
        entry = None if view is None else view.index.get(key)
        if view is None or entry is None:
            return None
        try:
            return value_of(view.file, entry, self.checksums)
        except DaskZarrError as error:
            raise_from(error.locate(url=self.url), error)

    def _change(self, change: Callable[..., _Result], *args: Any) -> _Result:
        """Change the file, if this store may."""
        if self.origin:
            raise UnsupportedError(
                "a zip file is written by one process, and this store came from another one: write with a scheduler of "
                "threads, or write to a folder and zip that when it is done",
                url=self.url,
            )
        return self._located(change, *args)

    def _located(self, call: Callable[..., _Result], *args: Any) -> _Result:
        """A call whose errors name the file."""
        try:
            return call(*args)
        except DaskZarrError as error:
            raise_from(error.locate(url=self.url), error)


def _unpickle(path: str, sync: bool, checksums: bool, origin: str) -> ZipStore:
    """The store again, and whether it is in the process that made it."""
    return ZipStore(path, sync, checksums, "" if origin == here() else origin)
