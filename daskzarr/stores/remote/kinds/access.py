"""A file system of fsspec -> how it is read and listed best, ready for use in this process."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.errors import UnsupportedError
from daskzarr.stores.remote.kinds import azure, caches, coroutines, files, hdfs, references, s3, sftp, web, webhdfs
from daskzarr.stores.remote.kinds.answer import Answer, Entry

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of file system is asked by.

    Attributes
    ----------
    ask
        Reads one part of a file if it is a coroutine function, a sequence of parts otherwise.
    children, below, clear
        What is directly below a folder; all files below it, page by page; delete all below it.
    on_loop
        Whether these are coroutine functions, for fsspec's event loop.
    waits
        Whether a request mostly waits on a network.
    threads
        How many threads at most may read at once for one call, where it is no coroutine.
    apart
        Whether parts of one file are faster read by several threads, where it is no coroutine.
    quotes
        Whether paths are URLs, in which keys are written with percent codes.
    refuses
        What the client that writes files takes for something else in a key.
    forks
        Whether it can be opened in a forked process.
    caches
        Whether it keeps files of another file system.
    """

    ask: Callable[..., Any]
    children: Callable[..., Any] = files.children
    below: Callable[..., Any] = files.below
    clear: Callable[..., Any] = files.clear
    on_loop: bool = False
    waits: bool = False
    threads: int = 128
    apart: bool = False
    quotes: bool = False
    refuses: re.Pattern[str] | None = None
    forks: bool = True
    caches: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """A file system, opened in this process.

    Attributes
    ----------
    fs
        As it was given, or opened again.
    base
        What it is a folder of, or itself.
    kind
        What the base is.
    waits
        Whether a request mostly waits on a network, be it one of a file system behind a cache.
    quotes
        Whether paths are URLs, in which keys are written with percent codes.
    folders
        The folders of folders, from outside in.
    """

    fs: Any
    base: Any
    kind: Kind
    waits: bool
    quotes: bool
    folders: tuple[Any, ...] = ()

    def path(self, path: str) -> str:
        """A path of the file system as the base spells it."""
        for folder in self.folders:
            path = folder._join(path)
        return path

    def misreads(self, key: str) -> bool:
        """Whether the client that writes files takes a key for another."""
        here = self
        while here.kind.caches:
            here = access(here.base.fs)
        return here.kind.refuses is not None and here.kind.refuses.search(key) is not None

    def origin(self, path: str) -> tuple[Access, str]:
        """Where files come from, behind all caches, and a path of the base as that has it."""
        here = self
        while here.kind.caches:
            here, path = access(here.base.fs), here.base._strip_protocol(path)
            path = here.path(path)
        return here, path

    def forget(self, paths: Iterable[str]) -> None:
        """Let all caches forget files; paths of the base."""
        here = self
        while here.kind.caches:
            paths = [here.base._strip_protocol(path) for path in paths]
            for path in paths:
                caches.forget(here.base, path)
            here = access(here.base.fs)
            paths = [here.path(path) for path in paths]

    def run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """What a coroutine gives, run by fsspec's event loop; by half the work of a future that threads share."""
        loop, ended, tasks = self.base.loop, SimpleQueue[Any](), []

        async def finish() -> None:
            try:
                ended.put((await coroutine, None))
            except BaseException as error:
                ended.put((None, error))

        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(finish())))
        try:
            result, error = ended.get()
        except BaseException:  # the user has enough of waiting
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise
        if error is not None:
            raise error
        found: _Result = result
        return found

    def ask(self, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
        """Parts of a file, one after the other."""
        if not self.kind.on_loop:
            found: list[Answer] = self.kind.ask(self.base, path, wanted)
            return found
        return [self.run(self.kind.ask(self.base, path, each)) for each in wanted]

    def children(self, path: str) -> list[Entry]:
        """Files and folders directly below a folder."""
        found: Any = self.kind.children(self.base, path)
        return self.run(found) if self.kind.on_loop else found

    def below(self, path: str) -> Iterator[Entry]:
        """All files below a folder."""
        pages: Any = self.kind.below(self.base, path)
        if not self.kind.on_loop:
            for page in pages:
                yield from page
            return
        while (page := self.run(_next(pages))) is not None:
            yield from page

    def clear(self, path: str) -> None:
        """Delete all files below a folder."""
        found: Any = self.kind.clear(self.base, path)
        if self.kind.on_loop:
            self.run(found)


async def _next(pages: AsyncIterator[list[Entry]]) -> list[Entry] | None:
    """The next page; None after the last."""
    return await anext(pages, None)


def _fetch(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """Read from the file system behind a cache."""
    behind = access(fs)
    return behind.ask(behind.path(path), [wanted])[0]


async def _fetch_on_loop(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """Read from the file system of a file that is referred to."""
    behind = access(fs)
    path = behind.path(path)
    if behind.kind.on_loop:
        answer: Answer = await behind.kind.ask(behind.base, path, wanted)
        return answer
    return (await asyncio.to_thread(behind.ask, path, [wanted]))[0]


def _asynchronous(
    ask: Callable[..., Any],
    children: Callable[..., Any] = coroutines.children,
    below: Callable[..., Any] = coroutines.below,
    clear: Callable[..., Any] = coroutines.clear,
    *,
    quotes: bool = False,
    refuses: re.Pattern[str] | None = None,
) -> Kind:
    """A kind that fsspec's event loop serves."""
    return Kind(ask, children, below, clear, on_loop=True, waits=True, quotes=quotes, refuses=refuses)


_FOLDER = "fsspec.implementations.dirfs.DirFileSystem"
_OTHER = Kind(files.ask)
_OTHER_ON_LOOP = _asynchronous(coroutines.CatFile(suffixes=False))
_KINDS = {
    "adlfs.spec.AzureBlobFileSystem": _asynchronous(
        azure.ask, azure.children, azure.below, azure.clear, refuses=re.compile(r"\?versionid=|[?#]$|[\t\r\n]")
    ),
    "fsspec.implementations.arrow.HadoopFileSystem": Kind(
        hdfs.ask_arrow, hdfs.children_arrow, hdfs.below_arrow, hdfs.clear_arrow, waits=True, apart=True, forks=False
    ),
    "fsspec.implementations.cached.CachingFileSystem": Kind(partial(caches.ask_blocks, _fetch), caches=True),
    "fsspec.implementations.cached.WholeFileCacheFileSystem": Kind(partial(caches.ask_whole, _fetch), caches=True),
    _FOLDER: _OTHER,  # one with ways of its own; others are looked behind
    "fsspec.implementations.http.HTTPFileSystem": _asynchronous(web.ask, web.children, quotes=True),
    "fsspec.implementations.reference.ReferenceFileSystem": _asynchronous(
        partial(references.ask, _fetch_on_loop), references.children, references.below
    ),
    "fsspec.implementations.sftp.SFTPFileSystem": Kind(
        sftp.ask, sftp.children, sftp.below, sftp.clear, waits=True, threads=4
    ),
    "fsspec.implementations.webhdfs.WebHDFS": Kind(
        webhdfs.ask, webhdfs.children, webhdfs.below, webhdfs.clear, waits=True, apart=True
    ),
    "gcsfs.core.GCSFileSystem": _asynchronous(coroutines.CatFile(suffixes=True)),
    # What it keeps of connections to data servers is its parent's in a forked process, also if it is opened again.
    "hdfs_native.fsspec.BaseFileSystem": Kind(
        hdfs.ask, hdfs.children, hdfs.below, hdfs.clear, forks=False, waits=True, apart=True
    ),
    "s3fs.core.S3FileSystem": _asynchronous(
        s3.ask, s3.children, s3.below, s3.clear, refuses=re.compile(r"\?versionId=")
    ),
    "sshfs.spec.SSHFileSystem": _asynchronous(
        sftp.ask_asyncssh, sftp.children_asyncssh, sftp.below_asyncssh, sftp.clear_asyncssh
    ),
}


@cache
def _known(cls: type) -> Kind | None:
    """The kind of the nearest class that is known."""
    names = (f"{above.__module__}.{above.__qualname__}" for above in cls.__mro__)
    return next((_KINDS[name] for name in names if name in _KINDS), None)


def _kind(fs: Any) -> Kind:
    """The kind of a file system."""
    cls: Any = type(fs)
    return _known(cls) or (_OTHER_ON_LOOP if getattr(fs, "async_impl", False) else _OTHER)


_accesses: dict[int, tuple[Any, Access]] = {}
_lock = threading.RLock()
_MOST = 256
_forked = False


def access(fs: Any) -> Access:
    """How a file system is used here; after a fork, one that the parent opened is opened again.

    Raises
    ------
    UnsupportedError
        If it cannot be.
    """
    found = _accesses.get(id(fs))
    if found is not None and found[0] is fs:
        return found[1]
    with _lock:
        opened = _open(fs)
        if len(_accesses) >= _MOST:
            _accesses.clear()
        _accesses[id(fs)] = fs, opened
        _accesses[id(opened.fs)] = opened.fs, opened
    return opened


def _open(fs: Any) -> Access:
    """Look at a file system for the first time in this process."""
    if getattr(fs, "sync_fs", None) is not None:  # one that blocks, in an asynchronous wrapper
        fs = fs.sync_fs
    if _forked:
        fs = _again(fs)
    folders, base = [], fs
    while f"{type(base).__module__}.{type(base).__qualname__}" == _FOLDER:
        folders.append(base)
        base = base.fs
    if getattr(base, "asynchronous", False):
        base = type(base)(*base.storage_args, **{**base.storage_options, "asynchronous": False})
        if not folders:
            fs = base
    kind = _kind(base)
    if not kind.caches:
        return Access(fs, base, kind, kind.waits, kind.quotes, tuple(folders))
    behind = access(base.fs)
    return Access(fs, base, kind, behind.waits, behind.quotes, tuple(folders))


def _again(fs: Any) -> Any:
    """A file system of the process this one was forked from, opened in this one: its connections are the parent's."""
    base = fs
    while base is not None:
        if not _kind(base).forks:
            raise UnsupportedError(
                "this file system cannot be used in a process that was forked from one that used it; start processes "
                "by spawn or forkserver"
            )
        base = getattr(base, "fs", None)
    return pickle.loads(pickle.dumps(fs))


def _after_fork() -> None:
    """Nothing that is open was opened here."""
    global _forked, _lock
    _forked = True
    _lock = threading.RLock()
    _accesses.clear()
    caches.new_locks()
    references.new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
