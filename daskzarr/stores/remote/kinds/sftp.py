"""SFTP through paramiko (fsspec's own) and asyncssh (the package sshfs): parts of files, folders as they are now."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.remote.kinds import coroutines, files
from daskzarr.stores.remote.kinds.answer import Answer, Entry
from daskzarr.stores.remote.placing import own_of_thread
from daskzarr.stores.remote.placing.sftp import connected
from daskzarr.stores.remote.placing.sshfs import channel

_PACKET = 2**15


def ask(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file by paramiko, with all packets on their way at once."""
    own = own_of_thread(fs)
    with connected(own), own.ftp.open(path, "rb") as file:
        noted = file.stat()
        if stat.S_ISDIR(noted.st_mode or 0):
            raise FileNotFoundError(path)  # a folder is no value
        size = int(noted.st_size)
        bounds = [(0, size) if each is None else each.bounds(size) for each in wanted]
        if bounds == [(0, size)]:
            if size > _PACKET:
                file.prefetch(size)
            return [Answer(file.read(size), 0, size)]
        found = iter(file.readv([(start, stop - start) for start, stop in bounds if start < stop]))
        return [Answer(next(found) if start < stop else b"", start, size) for start, stop in bounds]


def children(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below."""
    lead, ftp = folder.rstrip("/") + "/", own_of_thread(fs).ftp
    found = []
    for each in ftp.listdir_attr(folder or "."):
        if stat.S_ISLNK(each.st_mode or 0):
            with suppress(FileNotFoundError):
                found.append((each.filename, ftp.stat(lead + each.filename)))
        else:
            found.append((each.filename, each))
    return [Entry(lead + name, noted.st_size, stat.S_ISDIR(noted.st_mode or 0)) for name, noted in found]


def below(fs: Any, folder: str) -> Iterator[list[Entry]]:
    """All files below, folder by folder."""
    return files.walk(fs, folder, children)


def clear(fs: Any, folder: str) -> None:
    """Delete a folder and all in it; links, not what they lead to."""
    ftp = own_of_thread(fs).ftp
    for each in ftp.listdir_attr(folder):
        path = f"{folder.rstrip('/')}/{each.filename}"
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(each.st_mode or 0):
                clear(fs, path)
            else:
                ftp.remove(path)
    with suppress(OSError):  # another writer may have put something there
        ftp.rmdir(folder)


async def ask_asyncssh(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """A part of a file. sshfs' own way gives all of it, whatever is asked for."""
    async with channel(fs, path) as found, found.open(path, "rb") as file:
        noted = await file.stat()
        if stat.S_ISDIR(noted.permissions or 0):
            raise FileNotFoundError(path)  # a folder is no value
        size = noted.size
        start, stop = (0, size) if wanted is None else wanted.bounds(size)
        return Answer(await file.read(stop - start, start) if start < stop else b"", start, size)


async def children_asyncssh(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below."""
    from asyncssh.sftp import SFTPNoSuchFile

    lead = folder.rstrip("/") + "/"
    found = []
    async with channel(fs, folder) as connection:
        for each in await connection.readdir(folder or "."):
            noted = each.attrs
            if each.filename in (".", ".."):
                continue
            if stat.S_ISLNK(noted.permissions or 0):
                try:
                    noted = await connection.stat(lead + each.filename)
                except SFTPNoSuchFile:  # it leads nowhere
                    continue
            found.append(Entry(lead + each.filename, noted.size, stat.S_ISDIR(noted.permissions or 0)))
    return found


def below_asyncssh(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All files below, folder by folder."""
    return coroutines.walk(fs, folder, children_asyncssh)


async def clear_asyncssh(fs: Any, folder: str) -> None:
    """Delete a folder and all in it; links, not what they lead to."""
    async with channel(fs, folder) as connection:
        if await connection.isdir(folder):
            await connection.rmtree(folder)
