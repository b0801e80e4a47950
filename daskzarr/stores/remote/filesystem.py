"""A folder of an fsspec file system as a store: memory, HTTP, object stores, HDFS, SFTP, chained URLs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from daskzarr.byte_range import ByteRange
from daskzarr.errors import UnsupportedError
from daskzarr.stores.protocol import Buffer, Listing
from daskzarr.stores.remote.beside_root import is_top, renamed
from daskzarr.stores.remote.kinds import Access, Entry, Parts, access, raise_told
from daskzarr.stores.remote.placing import can_place_new, is_partial, leaves_partials, place, place_new, remove
from daskzarr.stores.remote.reading import Reading
from daskzarr.stores.traffic import TRAFFIC, Traffic

MISSING: tuple[type[Exception], ...] = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_READ_ONLY = {"http", "https", "reference", "zip", "tar", "libarchive"}
_VERSIONS = ("ETag", "etag", "version_id", "generation", "mtime", "LastModified", "last_modified", "created")
_URL_SAFE = "/!$&'()*+,;=:@~"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class FilesystemStore:
    """The files below a folder of an fsspec file system.

    A value is read by one request, and several at once where requests wait on a network. Missing is what the server
    says is missing, not what fsspec makes of a failure; listings that fsspec remembers are not used.

    Parameters
    ----------
    fs
        Any ``fsspec.AbstractFileSystem``.
    root
        The folder, as the file system spells paths; ``""`` is its top.
    url
        Canonical place, without credentials.
    missing
        Exceptions of the file system that mean "no such key". Default: not found, or a folder.
    identity
        What tells the place from others with the same ``url``; it holds no credentials either.
    elsewhere
        Whether the files are in the memory of another process; then every use is an error. Set by unpickling.

    Examples
    --------
    >>> import fsspec
    >>> store = FilesystemStore(fsspec.filesystem("memory"), "/example", "memory://example")
    >>> store.set("a", b"123")
    >>> store.get("a"), store.get("b")
    (b'123', None)
    """

    fs: Any = field(repr=False)
    root: str = field(repr=False)
    url: str
    missing: tuple[type[Exception], ...] = MISSING
    identity: str = field(default="", compare=False, repr=False)
    elsewhere: bool = field(default=False, compare=False, repr=False)

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written here."""
        return not any("memory" in names for names in protocols(self.fs))

    @property
    def can_write(self) -> bool:
        """Whether files can be written one by one: not by HTTP, and not into archives."""
        return not any(_READ_ONLY & names for names in protocols(self.fs))

    @property
    def can_create(self) -> bool:
        """Whether a file can be put only where there is none."""
        return self.can_write and can_place_new(self.fs)

    @property
    def waits(self) -> bool:
        """Whether requests mostly wait on a network."""
        return access(self.fs).waits

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (
            self.fs,
            self.root,
            self.url,
            self.missing,
            self.identity,
            None if self.shared else os.getpid(),
        )

    @property
    def _here(self) -> Access:
        """The file system, if this process has its files."""
        if self.elsewhere:
            raise UnsupportedError(
                "this store is in the memory of another process, and would seem empty here; use a URL that all "
                "processes see, or a scheduler of threads",
                url=self.url,
            )
        return access(self.fs)

    @property
    def _writable(self) -> Access:
        """The file system, if files of it can be written."""
        if not self.can_write:
            raise UnsupportedError("this store can only be read", url=self.url)
        return self._here

    def path(self, key: str) -> str:
        """The file a key stands for."""
        if not access(self.fs).quotes:
            return f"{self.root}/{key}" if self.root and key else self.root or key
        root, mark, query = self.root.partition("?")
        key = quote(key, safe=_URL_SAFE)
        return f"{root}/{key}{mark}{query}" if root and key else self.root or key

    # Reading

    @property
    def _reading(self) -> Reading:
        """Reads files of this store."""
        return Reading(self._here, self.missing, self.url)

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The file's bytes or a part of them, by one request; None only where there is no such file."""
        reading = self._reading
        return reading.get(reading.here.path(self.path(key)), byte_range)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """Values in order; where requests wait, the next is asked for as soon as another has been answered."""
        reading = self._reading
        return reading.get_many([reading.here.path(self.path(key)) for key in keys], traffic)

    def get_ranges(self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC) -> Parts:
        """Parts of one file, several at once: of one version, which they have with them, where the server tells it."""
        reading = self._reading
        return reading.get_ranges(reading.here.path(self.path(key)), byte_ranges, traffic)

    def size(self, key: str) -> int | None:
        """The file's size as it is now, by one request."""
        reading = self._reading
        return reading.size(reading.here.path(self.path(key)))

    def version(self, key: str) -> tuple[str, ...] | None:
        """What is noted of a file here, another once that was replaced; None where that would take a request."""
        here = self._here
        if here.waits or here.kind.caches:
            return None
        try:
            found = here.fs.info(self.path(key))
        except self.missing:
            return None
        if found.get("type") == "directory":
            return None
        noted = [f"{name}={found[name]}" for name in _VERSIONS if found.get(name) is not None]
        return (*noted, f"size={found.get('size')}") if noted else None

    # Writing

    def _write(self, call: Callable[..., _Result], key: str, *value: bytes) -> _Result:
        """Change a file."""
        here = self._writable
        if here.misreads(key):
            raise UnsupportedError(f"the client of this store takes the key {key!r} for another", url=self.url)
        try:
            return call(here.fs, self.path(key), *value)
        except Exception as error:
            raise_told(error, self.url)
        finally:
            self._forget([key])

    def set(self, key: str, value: Buffer) -> None:
        """Put the whole file in its place."""
        self._write(place, key, bytes(value))

    def create(self, key: str, value: Buffer) -> bool:
        """Put the whole file in its place, if there is none."""
        return self._write(place_new, key, bytes(value))

    def delete(self, key: str) -> None:
        """Remove the file; one that is not there is no error."""
        self._write(remove, key)

    def delete_below(self, prefix: str) -> None:
        """Remove the folder and all in it."""
        here = self._writable
        keys = [key for key, _ in self.survey(prefix)] if here.kind.caches else []
        origin, folder = here.origin(here.path(self.path(prefix)))
        try:
            origin.clear(folder)
        except Exception as error:
            self._reading.raise_unless_missing(error)
        self._forget(keys)

    def _forget(self, keys: Sequence[str]) -> None:
        """Let caches forget files that have changed."""
        here = self._here
        if here.kind.caches:
            here.forget(here.path(self.path(key)) for key in keys)

    # Listing

    def list_dir(self, prefix: str) -> Listing:
        """Files and folders directly below, as they are now."""
        here, folder = self._folder(prefix)
        try:
            found = here.children(folder)
        except Exception as error:
            self._reading.raise_unless_missing(error)
            return Listing((), ())
        names: tuple[set[str], set[str]] = (set(), set())
        for name, entry in self._named(here, folder, found):
            if "/" not in name and not self._is_partial(name):
                names[entry.is_folder].add(name)
        return Listing(tuple(sorted(names[0])), tuple(sorted(names[1])))

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All files below, as they are now, with their sizes where the file system notes them."""
        lead = prefix.rstrip("/") + "/" if prefix else ""
        for name, size in self._all_below(prefix):
            if not self._is_partial(name):
                yield lead + name, size

    def leftovers(self, prefix: str) -> Iterator[str]:
        """Hidden files of writers that were killed; there are none where an object is put by one request."""
        lead = prefix.rstrip("/") + "/" if prefix else ""
        if leaves_partials(self._here.fs):
            yield from (lead + name for name, _ in self._all_below(prefix) if self._is_partial(name))

    def _all_below(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Names of all files below a folder, from that on, and their sizes."""
        here, folder = self._folder(prefix)
        try:
            for name, entry in self._named(here, folder, here.below(folder)):
                if not entry.is_folder:
                    yield name, entry.size
        except Exception as error:
            self._reading.raise_unless_missing(error)

    def _folder(self, prefix: str) -> tuple[Access, str]:
        """Where a folder is listed, and its path there."""
        here = self._here
        return here.origin(here.path(self.path(prefix.rstrip("/"))))

    def _named(self, here: Access, folder: str, found: Any) -> Iterator[tuple[str, Entry]]:
        """Entries with their names from a folder on; what is not below it is left out."""
        top = folder.partition("?")[0].strip("/") if here.quotes else folder.strip("/")
        above = top + "/" if top else ""
        for entry in found:
            path = entry.path.strip("/")
            if len(path) > len(above) and path.startswith(above):
                name = path[len(above) :]
                yield unquote(name) if here.quotes else name, entry

    def _is_partial(self, name: str) -> bool:
        """Whether a file is one that was being written."""
        return is_partial(name.rpartition("/")[2]) and leaves_partials(self._here.fs)

    # The place beside it

    def sibling(self, ending: str) -> FilesystemStore | None:
        """The store with an ending behind the name of its root; None for the top of a file system or a bucket."""
        root = self.root.rstrip("/")
        if is_top(root) or not self.shared or not self.can_write:
            return None
        identity = renamed(self.identity, ending) if self.identity else ""
        return replace(self, root=root + ending, url=renamed(self.url, ending), identity=identity)


def protocols(fs: Any) -> Iterator[set[str]]:
    """The names a file system goes by, then those of the one it stands on (as a cache does), and so on."""
    while fs is not None:
        names = getattr(fs, "protocol", ())
        yield {names} if isinstance(names, str) else set(names)
        fs = getattr(fs, "fs", None)


def _unpickle(
    fs: Any, root: str, url: str, missing: tuple[type[Exception], ...], identity: str, process: int | None
) -> FilesystemStore:
    """The store again. One in another process's memory says so when it is used: it would seem empty here."""
    return FilesystemStore(fs, root, url, missing, identity, elsewhere=process not in (None, os.getpid()))
