"""Azure Blob Storage by adlfs: parts whose answers tell size and version, blobs listed as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.remote.kinds.answer import FAR, Answer, Entry, content_range, first_asked

_AT_ONCE = 16
_FOLDER = "hdi_isfolder"
_TRIES = 4


async def ask(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """The blob, or at least the part that is wanted. Azure knows no last bytes: their place is asked for first."""
    azure = import_module("azure.core.exceptions")
    container, _, name = path.lstrip("/").partition("/")
    try:
        async with fs.service_client.get_blob_client(container, name) as client:
            if wanted is None or wanted.offset >= 0:
                return await _download(fs, client, wanted, {})
            return await _last(fs, client, wanted)
    except azure.ResourceNotFoundError as error:
        raise FileNotFoundError(path) from error


async def _download(fs: Any, client: Any, wanted: ByteRange | None, condition: dict[str, Any]) -> Answer:
    """One request; big blobs take more, all of one version."""
    options = {**getattr(fs, "_timeout_kwargs", {}), **condition}
    if wanted is None:
        options["max_concurrency"] = fs.max_concurrency or 1
    else:
        length = wanted.length if wanted.length is None or wanted.offset + wanted.length < FAR else None
        options.update(offset=first_asked(wanted), length=1 if length == 0 else length)
    try:
        stream = await client.download_blob(**options)
        body = await stream.readall()
    except Exception as error:
        size = _size_of_unsatisfied(error)
        if wanted is None or size is None:
            raise
        return Answer(b"", 0, size)
    noted = stream.properties
    size = content_range(noted.content_range)[2]
    return Answer(body, options.get("offset", 0), len(body) if wanted is None else size, noted.etag)


async def _last(fs: Any, client: Any, wanted: ByteRange) -> Answer:
    """A part counted from the end: where that is, then those bytes of the same version."""
    azure = import_module("azure.core")
    for _ in range(_TRIES):
        noted = await client.get_blob_properties()
        start, stop = wanted.bounds(noted.size)
        if start >= stop:
            return Answer(b"", start, noted.size, noted.etag)
        condition = {"etag": noted.etag, "match_condition": azure.MatchConditions.IfNotModified}
        try:
            return await _download(fs, client, ByteRange(start, stop - start), condition)
        except azure.exceptions.ResourceModifiedError:
            continue
    raise ConnectionError("the value was replaced again and again while it was read")


def _size_of_unsatisfied(error: Exception) -> int | None:
    """Size of a blob that ends before the part begins; None for any other error."""
    if getattr(error, "status_code", None) != 416:
        return None
    headers = getattr(getattr(error, "response", None), "headers", {})
    return content_range(headers.get("Content-Range"))[2]


async def children(fs: Any, folder: str) -> list[Entry]:
    """Blobs and prefixes directly below, where adlfs makes a request for each of those."""
    container, lead = _split(folder)
    async with _container(fs, container) as client:
        found = client.walk_blobs(name_starts_with=lead, include=["metadata"], delimiter="/")
        return [_entry(container, each) async for each in found]


async def below(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All blobs below, page by page."""
    async for page in _pages(fs, folder):
        yield [each for each in page if not each.is_folder]


async def _pages(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All blobs below, and what stands for a folder where folders are something of their own."""
    container, lead = _split(folder)
    async with _container(fs, container) as client:
        async for page in client.list_blobs(name_starts_with=lead, include=["metadata"]).by_page():
            yield [_entry(container, each) async for each in page]


async def clear(fs: Any, folder: str) -> None:
    """Delete all blobs below, several at once, then the folders, from the deepest up."""
    missing = import_module("azure.core.exceptions").ResourceNotFoundError
    container, _ = _split(folder)
    limit = asyncio.Semaphore(_AT_ONCE)
    folders: list[str] = []

    async def remove(client: Any, path: str) -> None:
        async with limit:
            try:
                await client.delete_blob(path[len(container) + 1 :])
            except missing:
                pass

    async with _container(fs, container) as client:
        async for page in _pages(fs, folder):
            folders += [each.path for each in page if each.is_folder]
            await asyncio.gather(*(remove(client, each.path) for each in page if not each.is_folder))
        for path in sorted(folders, reverse=True):
            await remove(client, path)


@asynccontextmanager
async def _container(fs: Any, container: str) -> AsyncIterator[Any]:
    """The client of a container."""
    async with fs.service_client.get_container_client(container=container) as client:
        yield client


def _split(folder: str) -> tuple[str, str]:
    """Container, and what the names of blobs in a folder begin with."""
    container, _, name = folder.strip("/").partition("/")
    return container, name + "/" if name else ""


def _entry(container: str, blob: Any) -> Entry:
    """A blob or prefix of a listing."""
    noted = getattr(blob, "metadata", None) or {}
    is_folder = blob.name.endswith("/") or str(noted.get(_FOLDER, "")).lower() == "true"
    return Entry(f"{container}/{blob.name}", None if is_folder else getattr(blob, "size", None), is_folder)
