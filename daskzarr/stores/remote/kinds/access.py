"""A file system of fsspec -> how it is read and listed best, ready for use in this process."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.errors import UnsupportedError
from daskzarr.stores.remote.kinds import caches, references
from daskzarr.stores.remote.kinds.answer import Answer, Entry
from daskzarr.stores.remote.kinds.known import FOLDER, Kind, kind_of

_Result = TypeVar("_Result")


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

    @property
    def asks(self) -> Callable[..., Any]:
        """What reads from the base: for one part of a file if it is a coroutine function, for several otherwise."""
        if not self.kind.fetches:
            return self.kind.ask
        return partial(self.kind.ask, _fetch_on_loop if self.kind.on_loop else _fetch)

    def ask(self, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
        """Parts of a file, one after the other."""
        if not self.kind.on_loop:
            found: list[Answer] = self.asks(self.base, path, wanted)
            return found
        return [self.run(self.asks(self.base, path, each)) for each in wanted]

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


def _fetch(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """Read from the file system behind a cache."""
    behind = access(fs)
    return behind.ask(behind.path(path), [wanted])[0]


async def _fetch_on_loop(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """Read from the file system of a file that is referred to."""
    behind = access(fs)
    path = behind.path(path)
    if behind.kind.on_loop:
        answer: Answer = await behind.asks(behind.base, path, wanted)
        return answer
    return (await asyncio.to_thread(behind.ask, path, [wanted]))[0]


async def _next(pages: AsyncIterator[list[Entry]]) -> list[Entry] | None:
    """The next page; None after the last."""
    return await anext(pages, None)


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
    while f"{type(base).__module__}.{type(base).__qualname__}" == FOLDER:
        folders.append(base)
        base = base.fs
    if getattr(base, "asynchronous", False):
        base = type(base)(*base.storage_args, **{**base.storage_options, "asynchronous": False})
        if not folders:
            fs = base
    kind = kind_of(base)
    if not kind.caches:
        return Access(fs, base, kind, kind.waits, kind.quotes, tuple(folders))
    behind = access(base.fs)
    return Access(fs, base, kind, behind.waits, behind.quotes, tuple(folders))


def _again(fs: Any) -> Any:
    """A file system of the process this one was forked from, opened in this one: its connections are the parent's."""
    base = fs
    while base is not None:
        if not kind_of(base).forks:
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
    if "fsspec.asyn" in sys.modules:
        sys.modules["fsspec.asyn"].reset_lock()  # fsspec itself forgets its loop, but not a lock that was held


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
