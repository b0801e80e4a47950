"""A folder of an fsspec file system as a store: memory, HTTP, object stores, chained URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from typing import Any
from urllib.parse import quote, unquote

from daskzarr.byte_range import ByteRange
from daskzarr.errors import UnsupportedError
from daskzarr.stores.protocol import Buffer, Listing, get_each
from daskzarr.stores.traffic import TRAFFIC, Traffic

MISSING: tuple[type[Exception], ...] = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_BATCH = 256
_ARCHIVES = {"zip", "tar", "libarchive"}
_VERSIONS = ("ETag", "etag", "version_id", "generation", "mtime", "LastModified", "last_modified", "created")
_URL_SAFE = "/!$&'()*+,;=:@~"


@dataclass(frozen=True, slots=True)
class FilesystemStore:
    """The files below a folder of an fsspec file system.

    ``get_many`` asks for many values at once, which asynchronous file systems (HTTP, S3, ...) overlap.
    ``set`` is one ``pipe_file``: all or nothing wherever the file system puts an object in one request.

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
        What tells the place from others with the same ``url``; it may hold credentials and is only used in digests.
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
        """Whether files can be written one by one: not into archives, whose end is written when they are closed."""
        return not any(_ARCHIVES & names for names in protocols(self.fs))

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
    def _here(self) -> Any:
        """The file system, if this process has its files."""
        if self.elsewhere:
            raise UnsupportedError(
                "this store is in the memory of another process, and would seem empty here; use a URL that all "
                "processes see, or a scheduler of threads",
                url=self.url,
            )
        return self.fs

    def path(self, key: str) -> str:
        """The file a key stands for."""
        if "http" in self._protocols:
            key = quote(key, safe=_URL_SAFE)
        return f"{self.root}/{key}" if self.root and key else self.root or key

    @property
    def _protocols(self) -> tuple[str, ...]:
        """The names the file system goes by."""
        return (self.fs.protocol,) if isinstance(self.fs.protocol, str) else tuple(self.fs.protocol)

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The file's bytes or a part of them; None only when the file system says "not found"."""
        if byte_range is not None:
            return self.get_ranges(key, [byte_range])[0]
        try:
            value: bytes = self._here.cat_file(self.path(key))
            return value
        except self.missing:
            return None

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """Values in order, asked for in batches that the file system overlaps if it can."""
        if not getattr(self.fs, "async_impl", False):
            yield from get_each(self, keys)
            return
        for first in range(0, len(keys), _BATCH):
            paths = [self.path(key) for key in keys[first : first + _BATCH]]
            for value in self._here.cat_ranges(paths, [None] * len(paths), [None] * len(paths), on_error="return"):
                if isinstance(value, self.missing):
                    yield None
                elif isinstance(value, BaseException):
                    raise value
                else:
                    yield value

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one file, whose size is asked for once; the file system overlaps the rest if it can."""
        path = self.path(key)
        try:
            noted = self._here.info(path)
            size = noted.get("size") if noted.get("type") != "directory" else None
        except self.missing:
            size = None  # HTTP says so of whatever it cannot ask the size of: only reading tells what is missing
        if size is None:
            return self._cut(key, byte_ranges)
        # File systems differ on ranges that begin or end outside the value: they are given none of those.
        bounds = [byte_range.bounds(size) for byte_range in byte_ranges]
        wanted = [(start, stop) for start, stop in bounds if start < stop]
        starts, stops = [start for start, _ in wanted], [stop for _, stop in wanted]
        try:
            found = iter(self._here.cat_ranges([path] * len(wanted), starts, stops, on_error="raise"))
            parts = [next(found) if start < stop else b"" for start, stop in bounds]
        except self.missing:
            return [None] * len(byte_ranges)
        if any(len(part) != stop - start for part, (start, stop) in zip(parts, bounds, strict=True)):
            return self._cut(key, byte_ranges)  # a server that knows no ranges sends everything
        return parts

    def _cut(self, key: str, byte_ranges: Sequence[ByteRange]) -> Sequence[Buffer | None]:
        """Parts of one file by reading it whole."""
        value = self.get(key)
        return [None if value is None else byte_range.of(bytes(value)) for byte_range in byte_ranges]

    def version(self, key: str) -> tuple[str, ...] | None:
        """What the file system notes of a file, another once that was replaced; None where it notes nothing."""
        try:
            found = self._here.info(self.path(key))
        except self.missing:
            return None
        if found.get("type") == "directory":
            return None
        noted = [f"{name}={found[name]}" for name in _VERSIONS if found.get(name) is not None]
        return (*noted, f"size={found.get('size')}") if noted else None

    def set(self, key: str, value: Buffer) -> None:
        """Write the whole file in one call."""
        path = self.path(key)
        try:
            self._here.pipe_file(path, bytes(value))
        except FileNotFoundError:
            self._here.makedirs(self._here._parent(path), exist_ok=True)
            self._here.pipe_file(path, bytes(value))

    def delete(self, key: str) -> None:
        """Remove the file; one that is not there is no error."""
        try:
            self._here.rm_file(self.path(key))
        except self.missing:
            pass
        self._here.invalidate_cache()

    def delete_below(self, prefix: str) -> None:
        """Remove the folder and all in it."""
        folder, fs = self.path(prefix), self._here
        try:
            if not fs.isdir(folder):
                return
            if has_magic(folder):  # rm would take it for a pattern
                for path in fs.find(folder):
                    fs.rm_file(path)
            else:
                fs.rm(folder, recursive=True)
        except self.missing:
            pass
        fs.invalidate_cache()

    def list_dir(self, prefix: str) -> Listing:
        """Files and folders directly below, as they are now."""
        folder = self.path(prefix.rstrip("/"))
        try:
            found = self._here.ls(folder, detail=True, refresh=True) if folder else self._here.ls("", detail=True)
        except self.missing:
            return Listing((), ())
        names: dict[str, set[str]] = {"file": set(), "directory": set()}
        for entry in found:
            name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
            if entry["name"].strip("/") != folder.strip("/"):
                names.setdefault(entry["type"], set()).add(name)
        return Listing(tuple(sorted(names["file"])), tuple(sorted(names["directory"])))

    def size(self, key: str) -> int | None:
        """The file's size as it is now; by reading it, where the file system does not say."""
        path = self.path(key)
        self._here.invalidate_cache(path)
        try:
            noted = self._here.info(path)
        except self.missing:
            if "http" not in self._protocols:
                return None
            noted = {}  # HTTP says so of whatever it cannot ask the size of
        if noted.get("type") == "directory":
            return None
        if noted.get("size") is not None:
            return int(noted["size"])
        value = self.get(key)
        return None if value is None else len(value)

    def _walk(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Path and notes of all files below a folder; one that cannot be listed is an error."""
        folders = [folder]
        while folders:
            here = folders.pop()
            try:
                found = self._here.ls(here, detail=True)
            except self.missing:
                continue  # deleted meanwhile
            for noted in found:
                if noted["name"].strip("/") == here.strip("/"):
                    continue
                if noted.get("type") == "directory":
                    folders.append(noted["name"])
                else:
                    yield noted["name"], noted

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All files below, as they are now, with their sizes where the file system notes them."""
        folder, fs = self.path(prefix.rstrip("/")), self._here
        fs.invalidate_cache()
        try:
            found = fs.find(folder, detail=True) if _finds_all(fs) else dict(self._walk(folder))
        except self.missing:
            return
        above = folder.strip("/") + "/" if folder.strip("/") else ""
        lead = prefix.rstrip("/") + "/" if prefix else ""
        for path, noted in found.items():
            path = path.strip("/")
            if len(path) > len(above) and path.startswith(above) and noted.get("type") != "directory":
                rest = path[len(above) :]
                yield lead + (unquote(rest) if "http" in self._protocols else rest), noted.get("size")


def _finds_all(fs: Any) -> bool:
    """Whether a file system has a way of its own to list all below; the general one leaves out what it cannot list."""
    from fsspec.asyn import AsyncFileSystem  # fsspec is loaded with the file system
    from fsspec.spec import AbstractFileSystem

    if getattr(fs, "async_impl", False):
        return type(fs)._find is not AsyncFileSystem._find
    return type(fs).find is not AbstractFileSystem.find


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
