"""SFTP through the package sshfs, which is asyncssh's."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from daskzarr.stores.remote.placing.hidden import Steps, type_at

_AGAIN = "_daskzarr_again"

_lock = threading.Lock()


def connected(fs: Any) -> Any:
    """The file system, or one over a new connection if that was lost."""
    if not _is_lost(fs):
        return fs
    with _lock:
        again = fs.__dict__.get(_AGAIN)
        if again is None or _is_lost(again):
            options = {**fs.storage_options, "skip_instance_cache": True}
            with _errors_of_python(fs.storage_options.get("host", "")):
                again = fs.__dict__[_AGAIN] = type(fs)(*fs.storage_args, **options)
        return again


def _is_lost(fs: Any) -> bool:
    """Whether a connection works no more."""
    return bool(fs.client.is_closed())


@contextlib.contextmanager
def _errors_of_python(path: str) -> Iterator[None]:
    """asyncssh's errors as those of Python that say the same."""
    from asyncssh import ConnectionLost
    from asyncssh.sftp import SFTPConnectionLost, SFTPNoConnection, SFTPNoSuchFile, SFTPPermissionDenied

    try:
        yield
    except SFTPNoSuchFile as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    except SFTPPermissionDenied as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from error
    except (ConnectionLost, SFTPConnectionLost, SFTPNoConnection) as error:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET), path) from error


def _run(fs: Any, call: Callable[..., Coroutine[Any, Any, None]], path: str, *arguments: Any) -> None:
    """Run a coroutine with one of the connection's channels, on the file system's loop."""
    from fsspec.asyn import sync

    async def with_a_channel() -> None:
        async with fs._pool.get() as channel:
            await call(channel, path, *arguments)

    with _errors_of_python(path):
        sync(fs.loop, with_a_channel)


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


def _type_at(fs: Any, path: str) -> str | None:
    """As the file system says."""
    with _errors_of_python(path):
        return type_at(fs, path)


def _step(call: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine of a channel as a step."""
    return lambda fs, path, *arguments: _run(fs, call, path, *arguments)


ASYNCSSH = Steps(_step(_write), _step(_rename_over), _step(_rename_new), _step(_unlink), _step(_make_folder), _type_at)


def _forget_lock() -> None:
    """A forked child may have been made while a thread held it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)
