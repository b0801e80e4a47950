"""A session of icechunk as a store: its snapshot's nodes and chunks, and what was changed since; it commits nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import accumulate
from typing import Any, TypeVar
from uuid import uuid4

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.overlap import on_loop
from daskzarr.stores.protocol import Buffer, Listing
from daskzarr.stores.traffic import TRAFFIC, Traffic

_Result = TypeVar("_Result")

_DOCUMENT = "zarr.json"
_INDEX = r"(?:0|[1-9][0-9]*)"
_CHUNK = re.compile(rf"(?:(.+)/)?c((?:/{_INDEX})*)")
_REASON = re.compile(r"^\s*[`|]-> ?(.+)$", re.MULTILINE)
_LISTED = 1000


@dataclass(frozen=True, slots=True, weakref_slot=True)
class IcechunkStore:
    """What a session shows: for reading, or with changes that stay its own until the user commits them.

    Icechunk keeps arrays and groups of Zarr v3 alone, chunks by their default keys, and no other objects; a chunk has
    to lie in its array's grid. A session that can be written lives in one process: threads may write to it, other
    processes may not.

    Parameters
    ----------
    client
        The session's own store, an ``icechunk.IcechunkStore``; None where that is in another process.
    url
        Stands for the snapshot, or for the one session that can be written.
    read_only
        Whether it can only be read.
    access
        A digest of what opens the snapshot, so that stores of other credentials are not equal.

    Examples
    --------
    >>> session = repository.writable_session("main")  # doctest: +SKIP
    >>> daskzarr.to_zarr(arr, session.store, component="a")  # doctest: +SKIP
    >>> session.commit("an array")  # doctest: +SKIP
    """

    client: Any = field(repr=False, compare=False)
    url: str
    read_only: bool
    access: str = field(default="", repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.client if self.shared else None, self.url, self.read_only, self.access)

    @property
    def waits(self) -> bool:
        """Requests mostly wait on a network: there is no telling what the repository is in."""
        return True

    @property
    def shared(self) -> bool:
        """Whether other processes see the same: a snapshot, but not what is written to a session."""
        return self.url.startswith(_SNAPSHOT)

    @property
    def can_write(self) -> bool:
        """Whether the session can be written."""
        return not self.read_only

    # Reading

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The document or chunk, a virtual one too, or a part of it."""
        return _wait(self._value(key, byte_range))

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """Documents and chunks in order, several requests at once."""
        self._store()
        return on_loop(_loop(), self._value, keys, traffic)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one chunk, several requests at once."""
        self._store()
        return list(on_loop(_loop(), partial(self._value, key), byte_ranges, traffic))

    def size(self, key: str) -> int | None:
        """The size; of a chunk it is noted beside the chunk."""
        return _wait(self._size(key))

    # Writing

    def set(self, key: str, value: Buffer) -> None:
        """Put a document or chunk into the session."""
        store = self._writable()
        if not _is_key(key):
            raise UnsupportedError(
                "icechunk keeps nodes of Zarr v3 alone, with chunk keys of the default encoding and '/'",
                url=self.url,
                chunk_key=key,
            )
        try:
            _wait(self._tried(key, lambda: store.set(key, bytes(value))))
            return
        except KeyError:
            failure = StoreError("there is no array that this could be a chunk of", url=self.url, chunk_key=key)
        raise failure

    def delete(self, key: str) -> None:
        """Remove a chunk, or the document of a node that has nothing else below it: it would go as well."""
        store = self._writable()
        if not _is_key(key):
            return
        node, _, name = key.rpartition("/")
        if name == _DOCUMENT and set(self._names(node)) - {_DOCUMENT}:
            raise UnsupportedError(
                "icechunk removes a node with all that is below it, not its document alone",
                url=self.url,
                chunk_key=key,
            )
        try:
            _wait(self._tried(key, lambda: store.delete(key)))
        except (KeyError, StoreError):  # of what is not there, too
            if self.get(key) is not None:
                raise

    def delete_below(self, prefix: str) -> None:
        """Remove all below, nodes with their chunks."""
        store = self._writable()
        if self._names(prefix):  # of a chunk's key it would be the chunk
            _wait(self._tried(prefix, lambda: store.delete_dir(prefix)))

    # Listing

    def list_dir(self, prefix: str) -> Listing:
        """Documents and chunks directly below, and names of nodes and parts of chunk keys."""
        prefix = prefix.rstrip("/")
        names = set(self._names(prefix))
        keys = names & {_DOCUMENT}
        within = None if keys else _CHUNK.fullmatch(prefix)
        if within is not None:  # how long chunk keys are depends on the array
            axes = _wait(self._dimensions(within[1] or ""))
            if axes is not None and within[2].count("/") + 1 == axes:
                keys = names
        elif "c" in names and _wait(self._dimensions(prefix)) == 0:
            keys.add("c")
        return Listing(tuple(sorted(keys)), tuple(sorted(names - keys)))

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All documents and chunks below; their sizes are not asked for."""
        prefix = prefix.rstrip("/")
        lead = f"{prefix}/" if prefix else ""
        for keys in self._listed(self._all_around(prefix)):
            yield from ((key, None) for key in keys if key.startswith(lead))

    def _all_around(self, prefix: str) -> Any:
        """All keys of the innermost node around a prefix: icechunk lists those of nodes only."""
        store = self._store()
        above = list(accumulate(prefix.split("/"), "{}/{}".format)) if prefix else []
        for node in above[::-1]:
            try:
                return store.list_prefix(node)
            except Exception:
                continue  # what is really wrong shows at the top
        return self._started(store.list_prefix, "")

    def _names(self, prefix: str) -> list[str]:
        """Names directly below."""
        store = self._store()
        found = [name for names in self._listed(self._started(store.list_dir, prefix)) for name in names]
        if not found:  # so it is, too, where the snapshot cannot be read: that shows here
            _wait(self._tried(prefix, lambda: store.exists(_DOCUMENT)))
        return found

    def _listed(self, stream: Any) -> Iterator[list[str]]:
        """What a listing gives, in batches."""
        while keys := _wait(self._tried("", partial(_some, stream))):
            yield keys

    def _started(self, listing: Callable[[str], _Result], prefix: str) -> _Result:
        """A listing begun, for which icechunk waits in this thread."""
        try:
            return listing(prefix)
        except Exception as error:
            failure = self._failure(error, prefix)
        raise failure

    # What runs on fsspec's event loop

    async def _value(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """A value or a part of it. Icechunk gives wrong bytes for a range that leads out of the value: none is used."""
        store = self._store()
        if not _is_key(key):
            return None
        if byte_range is not None and not key.endswith(_DOCUMENT):
            size = await self._size(key)
            if size is None:
                return None
            start, stop = byte_range.bounds(size)
            if start >= stop:
                return b""
            part = await self._found(key, lambda: store.get(key, (start, stop)))
            if part is None or len(part) == stop - start:
                return None if part is None else memoryview(part)
        value = await self._found(key, lambda: store.get(key, (None, None)))
        if value is None or byte_range is None:
            return None if value is None else memoryview(value)
        return byte_range.of(bytes(value))

    async def _size(self, key: str) -> int | None:
        """A size. Of a chunk that is not there it is said to be 0."""
        store = self._store()
        if not _is_key(key):
            return None
        size: int | None = await self._found(key, lambda: store.getsize(key))
        if size == 0 and await self._found(key, lambda: store.get(key, (None, None))) is None:
            return None
        return size

    async def _found(self, key: str, request: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result | None:
        """What a request gives; None where there is no such key, or no array that it could be of."""
        try:
            return await self._tried(key, request)
        except KeyError:
            # Of documents icechunk says so, too, where it cannot read the snapshot that would tell.
            if not key.endswith(_DOCUMENT) or not await self._tried(key, lambda: self._store().exists(key)):
                return None
            raise StoreError("icechunk could not read what is there", url=self.url, chunk_key=key) from None
        except StoreError:
            found = _CHUNK.fullmatch(key)
            if found is None or await self._dimensions(found[1] or "") is not None:
                raise
            return None

    async def _dimensions(self, path: str) -> int | None:
        """How many axes an array has; None if there is no array."""
        text = await self._value(f"{path}/{_DOCUMENT}" if path else _DOCUMENT)
        document = {} if text is None else json.loads(bytes(text))
        return len(document["shape"]) if document.get("node_type") == "array" else None

    async def _tried(self, key: str, request: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """What a request gives; KeyError is icechunk's own, all else becomes an error of ours."""
        try:
            return await request()
        except KeyError:
            raise
        except Exception as error:
            failure = self._failure(error, key)
        raise failure

    def _failure(self, error: Exception, key: str) -> StoreError:
        """An error of ours for one of icechunk's, of whose text only the reasons are kept."""
        reasons = list(dict.fromkeys(map(str.strip, _REASON.findall(str(error))))) or [str(error)]
        reason = without_credentials(" ".join(": ".join(reasons).split()))
        if "invalid chunk index" in reason:
            reason += "; icechunk takes no chunk outside of its array: resize the array first, then write the region"
        return StoreError(f"icechunk: {reason}", url=self.url, chunk_key=key or None)

    def _store(self) -> Any:
        """Icechunk's store behind that for zarr-python."""
        if _forked:
            raise UnsupportedError(
                "icechunk was loaded in the process that this one was forked from, and would wait for ever here for "
                "threads that were left behind; start processes by 'spawn' or 'forkserver'",
                url=self.url,
            )
        if self.client is None:
            raise UnsupportedError(
                "a session of icechunk that can be written is in the memory of another process: write to it with a "
                "scheduler of threads, or in each process to a session.fork() of its own, merged and committed by you; "
                "to read from a cluster, commit, and open repository.readonly_session()",
                url=self.url,
            )
        return self.client._store

    def _writable(self) -> Any:
        """The same, if it can be written."""
        store = self._store()
        if self.read_only or store.read_only:
            raise UnsupportedError(
                "this session of icechunk can only be read, or was committed; open repository.writable_session(branch)",
                url=self.url,
            )
        return store


_SNAPSHOT, _SESSION = "icechunk://snapshot-", "icechunk://session-"
_sessions: weakref.WeakValueDictionary[str, IcechunkStore] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def icechunk_store_of(place: Any) -> IcechunkStore | None:
    """The store of a session, or of its ``store``; None if the place is neither. Icechunk is not loaded for that."""
    module = sys.modules.get("icechunk")
    if module is None or not isinstance(place, (module.Session, module.IcechunkStore)):
        return None
    if isinstance(place, module.Session):
        place = place.store
    read_only = bool(place.read_only or place._store.read_only)
    if place._store.read_only:
        access = blake2b(place._store.as_bytes(), digest_size=16).hexdigest()
        return IcechunkStore(place, _SNAPSHOT + str(place.session.snapshot_id), read_only, access)
    with _lock:
        known = next((store for store in list(_sessions.values()) if store.client._store == place._store), None)
        if known is not None and known.read_only == read_only:
            return known
        url = _SESSION + uuid4().hex if known is None else known.url
        store = IcechunkStore(place, url, read_only)
        if known is None:
            _sessions[url] = store
        return store


def _again(client: Any, url: str, read_only: bool, access: str) -> IcechunkStore:
    """The store that was pickled. A session that can be written is found again in its own process only."""
    known = _sessions.get(url)
    if known is None:
        return IcechunkStore(client, url, read_only, access)
    return known if known.read_only == read_only else IcechunkStore(known.client, url, read_only)


def _is_key(key: str) -> bool:
    """Whether icechunk can hold a value under a key."""
    return key.rpartition("/")[2] == _DOCUMENT or _CHUNK.fullmatch(key) is not None


async def _some(stream: Any) -> list[str]:
    """The next keys of a listing."""
    keys: list[str] = []
    async for key in stream:
        keys.append(key)
        if len(keys) == _LISTED:
            break
    return keys


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop that fsspec runs in a thread of its own."""
    from fsspec.asyn import get_loop

    loop: asyncio.AbstractEventLoop = get_loop()
    return loop


def _wait(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """What a coroutine gives, run there."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


_forked = False


def _note_fork() -> None:
    """A forked child has none of icechunk's threads, and anything asked of it hangs."""
    global _forked
    _forked = _forked or "icechunk" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
