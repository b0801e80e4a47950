"""SFTP through the package sshfs, which is asyncssh's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any, TypeVar

from daskzarr.stores.remote.placing.hidden import Steps

_Result = TypeVar("_Result")

_AGAIN = "_daskzarr_again"
_LOCK = "_daskzarr_lock"


@contextlib.asynccontextmanager
async def channel(fs: Any, path: str = "") -> AsyncIterator[Any]:
    """One of the connection's channels, on the file system's loop; a connection that was lost is made again.

    asyncssh's errors come as those of Python that say the same.

    Parameters
    ----------
    fs
        sshfs' file system.
    path
        What it is for, named by errors.
    """
    with _errors_of_python(path):
        if fs.client.is_closed():
            await _connect_again(fs)
        async with fs._pool.get() as found:
            yield found


async def _connect_again(fs: Any) -> None:
    """Give a file system the connection of a new one."""
    async with fs.__dict__.setdefault(_LOCK, asyncio.Lock()):
        if fs.client.is_closed():
            options = {**fs.storage_options, "skip_instance_cache": True}
            again = await asyncio.to_thread(type(fs), *fs.storage_args, **options)
            fs.__dict__.update({"_client": again.client, "_pool": again._pool, _AGAIN: again})


@contextlib.contextmanager
def _errors_of_python(path: str) -> Iterator[None]:
    """asyncssh's errors as those of Python that say the same."""
    asyncssh = import_module("asyncssh")
    sftp = asyncssh.sftp
    try:
        yield
    except (sftp.SFTPNoSuchFile, sftp.SFTPNotADirectory) as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    except (asyncssh.PermissionDenied, sftp.SFTPPermissionDenied) as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from error
    except (asyncssh.ConnectionLost, sftp.SFTPConnectionLost, sftp.SFTPNoConnection) as error:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET), path) from error


def _step(call: Callable[..., Coroutine[Any, Any, _Result]]) -> Callable[..., _Result]:
    """A coroutine of a channel as a step: run on the file system's loop by another thread."""

    async def with_a_channel(fs: Any, path: str, *arguments: Any) -> _Result:
        async with channel(fs, path) as found:
            return await call(found, path, *arguments)

    def run(fs: Any, path: str, *arguments: Any) -> _Result:
        done = asyncio.run_coroutine_threadsafe(with_a_channel(fs, path, *arguments), fs.loop)
        return done.result()

    return run


async def _write(channel: Any, path: str, value: bytes) -> None:
    """A file, with many packets under way."""
    async with channel.open(path, "wb") as file:
        await file.write(value)


async def _rename_over(channel: Any, source: str, target: str) -> None:
    """One step, by OpenSSH's extension of the protocol."""
    await channel.posix_rename(source, target)


async def _rename_new(channel: Any, source: str, target: str) -> None:
    """The protocol's own renaming, which fails where there is a file."""
    await channel.rename(source, target)


async def _unlink(channel: Any, path: str) -> None:
    """An error where there is none."""
    await channel.unlink(path)


async def _make_folder(channel: Any, path: str) -> None:
    """Those above too; another writer may be making them."""
    await channel.makedirs(path, exist_ok=True)


async def _type_at(channel: Any, path: str) -> str | None:
    """As the server says; what a link leads to."""
    missing = import_module("asyncssh.sftp").SFTPNoSuchFile
    try:
        return "directory" if stat.S_ISDIR((await channel.stat(path)).permissions or 0) else "file"
    except missing:
        return None


ASYNCSSH = Steps(
    _step(_write), _step(_rename_over), _step(_rename_new), _step(_unlink), _step(_make_folder), _step(_type_at)
)
