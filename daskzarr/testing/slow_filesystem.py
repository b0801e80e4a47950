"""A file system in memory that answers late, as one far away does: how many requests wait at once, counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from fsspec import register_implementation
from fsspec.asyn import AsyncFileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


_files: dict[str, dict[str, bytes]] = {}  # fsspec makes an instance for each thread


class SlowFileSystem(AsyncFileSystem):  # type: ignore[misc]
    """Files in the memory of this process, each request for which takes a while; several may wait at once.

    It is what fsspec knows as ``slow://`` once this module is loaded, and asynchronous, as those of object stores are:
    there are no folders but those that keys make, and a listing of all below a prefix is one request.

    Parameters
    ----------
    name
        File systems of one name have the same files.
    seconds
        How long a request takes.
    jitter
        Up to how many seconds longer, by chance: the answers come in another order than that of the requests.
    connections
        How many requests are answered at once; more wait for their turn first. Default: any number.

    Examples
    --------
    >>> from daskzarr.stores import FilesystemStore
    >>> fs = SlowFileSystem("example", seconds=0.001)
    >>> store = FilesystemStore(fs, "a", "slow://a")
    >>> store.set("b", b"123")
    >>> store.get("b"), fs.count["cat"]
    (b'123', 1)
    """

    protocol = ("slow", "memory")  # the second says that other processes do not have its files

    def __init__(
        self,
        name: str = "",
        seconds: float = 0.05,
        jitter: float = 0.0,
        connections: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.name, self.seconds, self.jitter, self.connections = name, seconds, jitter, connections
        self.files = _files.setdefault(name, {})
        self._versions: Counter[str] = Counter()
        self._chance = Random(name)
        self.clear()

    def clear(self) -> None:
        """Forget what was counted."""
        self.count: Counter[str] = Counter()
        """Requests of each kind so far: ``cat``, ``pipe``, ``info``, ``ls``, ``find`` and ``rm``."""
        self.most = 0
        """The most requests that were under way at once."""
        self._running = 0
        self._turn: asyncio.Semaphore | None = None

    @asynccontextmanager
    async def _request(self, kind: str) -> AsyncIterator[None]:
        """One request, from its turn to its answer. All of them are in one thread, that of the event loop."""
        if self.connections is not None and self._turn is None:
            self._turn = asyncio.Semaphore(self.connections)
        if self._turn is not None:
            await self._turn.acquire()
        self.count[kind] += 1
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            await asyncio.sleep(self.seconds + self.jitter * self._chance.random())
            yield
        finally:
            self._running -= 1
            if self._turn is not None:
                self._turn.release()

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        async with self._request("cat"):
            return self._file(path)[start:end]

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        async with self._request("pipe"):
            path = self._strip_protocol(path)
            if mode == "create" and path in self.files:
                raise FileExistsError(path)
            self.files[path] = bytes(value)
            self._versions[path] += 1

    async def _rm_file(self, path: str, **options: Any) -> None:
        async with self._request("rm"):
            self.files.pop(self._strip_protocol(path), None)  # as object stores do

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        async with self._request("info"):
            path = self._strip_protocol(path)
            if path in self.files:
                return self._noted(path)
            if not path or any(key.startswith(path + "/") for key in self.files):
                return {"name": path, "size": 0, "type": "directory"}
            raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        async with self._request("ls"):
            path = self._strip_protocol(path)
            lead = path + "/" if path else ""
            found: dict[str, dict[str, Any]] = {}
            for key in self.files:
                if key.startswith(lead):
                    name, slash, _ = key[len(lead) :].partition("/")
                    folder = {"name": lead + name, "size": 0, "type": "directory"}
                    found[lead + name] = folder if slash else self._noted(key)
            if not found and path in self.files:
                found[path] = self._noted(path)
            if not found and path:
                raise FileNotFoundError(path)
            return list(found.values()) if detail else list(found)

    async def _find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        async with self._request("find"):
            path = self._strip_protocol(path)
            lead = path + "/" if path else ""
            found = {key: self._noted(key) for key in sorted(self.files) if key.startswith(lead) or key == path}
            return found if detail else list(found)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Folders are there when there is something in them."""

    async def _mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Folders are there when there is something in them."""

    def _file(self, path: str) -> bytes:
        """The bytes of a file."""
        try:
            return self.files[self._strip_protocol(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _noted(self, path: str) -> dict[str, Any]:
        """What a listing says of a file."""
        size = len(self.files[path])
        return {"name": path, "size": size, "type": "file", "ETag": str(self._versions[path])}


register_implementation("slow", SlowFileSystem, clobber=True)
