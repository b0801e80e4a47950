"""Azure Blob Storage by adlfs: blobs listed as they are now, by one request where adlfs makes one for each folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from daskzarr.stores.remote.kinds.answer import Entry

_AT_ONCE = 16
_FOLDER = "hdi_isfolder"


async def children(fs: Any, folder: str) -> list[Entry]:
    """Blobs and prefixes directly below."""
    container, lead = _split(fs, folder)
    async with _container(fs, container) as client:
        found = client.walk_blobs(name_starts_with=lead, include=["metadata"], delimiter="/")
        return [_entry(container, each) async for each in found]


async def below(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All blobs below, page by page."""
    async for page in _pages(fs, folder):
        yield [each for each in page if not each.is_folder]


async def _pages(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All blobs below, and what stands for a folder where folders are something of their own."""
    container, lead = _split(fs, folder)
    async with _container(fs, container) as client:
        async for page in client.list_blobs(name_starts_with=lead, include=["metadata"]).by_page():
            yield [_entry(container, each) async for each in page]


async def clear(fs: Any, folder: str) -> None:
    """Delete all blobs below, several at once, then the folders, from the deepest up."""
    from azure.core.exceptions import ResourceNotFoundError

    container, _ = _split(fs, folder)
    limit = asyncio.Semaphore(_AT_ONCE)
    folders: list[str] = []

    async def remove(client: Any, path: str) -> None:
        async with limit:
            try:
                await client.delete_blob(path[len(container) + 1 :])
            except ResourceNotFoundError:
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


def _split(fs: Any, folder: str) -> tuple[str, str]:
    """Container, and what the names of blobs in a folder begin with."""
    container, name, _ = fs.split_path(folder)
    name = name.strip("/")
    return container, name + "/" if name else ""


def _entry(container: str, blob: Any) -> Entry:
    """A blob or prefix of a listing."""
    noted = getattr(blob, "metadata", None) or {}
    is_folder = blob.name.endswith("/") or str(noted.get(_FOLDER, "")).lower() == "true"
    return Entry(f"{container}/{blob.name}", None if is_folder else getattr(blob, "size", None), is_folder)
