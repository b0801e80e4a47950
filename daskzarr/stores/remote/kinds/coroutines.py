"""Asynchronous file systems of which little is known: their own ``_cat_file``, with what it leaves open looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.remote.kinds.answer import Answer, Entry

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class CatFile:
    """Reads by ``_cat_file``.

    Attributes
    ----------
    suffixes
        Whether the last bytes of a value can be asked for without knowing its size.
    """

    suffixes: bool

    async def __call__(self, fs: Any, path: str, wanted: ByteRange | None) -> Answer:
        """The value, or at least the part that is wanted."""
        if wanted is None:
            body = await fs._cat_file(path)
            return Answer(body, 0, len(body))
        offset, length = wanted.offset, wanted.length
        if offset < 0 and self.suffixes:
            return await _try(fs, path, wanted, offset, None, -offset)
        if offset >= 0 and length:
            return await _try(fs, path, wanted, offset, offset + length, length)
        start, stop = wanted.bounds(size := await _size(fs, path))
        if start == stop:
            return Answer(b"", start, size)
        answer = await _try(fs, path, wanted, start, stop, stop - start)
        return Answer(answer.body, start, size) if answer.size is None else answer


async def _try(fs: Any, path: str, wanted: ByteRange, start: int, stop: int | None, length: int) -> Answer:
    """Ask for a part; where other bytes come than have to of a value that is long enough, the size tells which."""
    try:
        body = await fs._cat_file(path, start=start, end=stop)
    except Exception as error:
        if not _is_unsatisfied(error):
            raise
        return Answer(b"", 0, await _size(fs, path))
    if len(body) == length:
        return Answer(body, wanted.offset if start == wanted.offset else start)
    if len(body) > length:  # no parts here: the whole came
        return Answer(body, 0, len(body))
    size = await _size(fs, path)
    return Answer(body, 0 if start < 0 or len(body) == size else start, size)


async def _size(fs: Any, path: str) -> int:
    """Size of a value as it is now."""
    fs.invalidate_cache(path)
    noted = await fs._info(path)
    if noted.get("type") == "directory":
        raise FileNotFoundError(path)  # a folder is no value
    return int(noted["size"])


def _is_unsatisfied(error: BaseException) -> bool:
    """Whether a server said that the value ends before a part begins."""
    named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return any(number in (416, "416") for number in named) or "InvalidRange" in str(getattr(error, "error_code", ""))


async def children(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below, as they are now."""
    fs.invalidate_cache(folder)
    try:
        found = await fs._ls(folder, detail=True)
    finally:
        fs.invalidate_cache(folder)
    return [Entry(each["name"], each.get("size"), each.get("type") == "directory") for each in found]


async def below(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All files below, as they are now."""
    from fsspec.asyn import AsyncFileSystem

    if type(fs)._find is AsyncFileSystem._find:  # the general one leaves out what it cannot list
        async for page in walk(fs, folder, children):
            yield page
        return
    fs.invalidate_cache()
    try:
        found = await fs._find(folder, detail=True)
    finally:
        fs.invalidate_cache()
    listed = [(path, each) for path, each in found.items() if each.get("type") != "directory"]
    yield [Entry(path, each.get("size"), path.endswith("/")) for path, each in listed]  # some tools mark folders so


async def walk(fs: Any, folder: str, children: Any) -> AsyncIterator[list[Entry]]:
    """All files below, folder by folder; one that cannot be listed is an error, one that vanishes is not."""
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            found = await children(fs, here)
        except (FileNotFoundError, NotADirectoryError):
            if here == folder:
                raise
            continue
        found = [each for each in found if each.path.strip("/") != here.strip("/")]
        folders += [each.path.rstrip("/") for each in found if each.is_folder]
        yield [each for each in found if not each.is_folder]


async def clear(fs: Any, folder: str) -> None:
    """Delete all files below, several at once."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def remove(path: str) -> None:
        async with limit:
            try:
                await fs._rm_file(path)
            except FileNotFoundError:
                pass

    lead = folder.strip("/") + "/"
    async for page in below(fs, folder):
        await asyncio.gather(*(remove(each.path) for each in page if each.path.strip("/").startswith(lead)))
    fs.invalidate_cache()
