"""SFTP through fsspec's own file system, which is paramiko's; each thread needs an object of its own."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from daskzarr.stores.remote.placing.hidden import Steps, type_at

_CLOSE = 4  # SSH_FXP_CLOSE


@contextlib.contextmanager
def connected(fs: Any) -> Iterator[None]:
    """Whatever fails because the connection is lost says so."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ConnectionError) or not is_lost(fs):
            raise
        raise ConnectionResetError(errno.ECONNRESET, f"the connection to {fs.host} was lost") from error


def is_lost(fs: Any) -> bool:
    """Whether a channel works no more."""
    channel = fs.ftp.get_channel()
    return bool(channel is None or channel.closed or channel.eof_received or not channel.get_transport().is_active())


def _write(fs: Any, path: str, value: bytes) -> None:
    """A file, with many packets under way, as to wait for each would take a hundred times as long."""
    with connected(fs), fs.ftp.open(path, "wb") as file:
        if value:
            file.set_pipelined(True)
            file.write(value[:-1])
            file.set_pipelined(False)
            file.write(value[-1:])  # now it looks at all answers, which it would drop otherwise
        fs.ftp._request(_CLOSE, file.handle)  # as the file's own ``close`` drops the answer
        file._closed = True


def _rename_over(fs: Any, source: str, target: str) -> None:
    """One step, by OpenSSH's extension of the protocol."""
    with connected(fs):
        fs.ftp.posix_rename(source, target)


def _rename_new(fs: Any, source: str, target: str) -> None:
    """The protocol's own renaming, which fails where there is a file."""
    with connected(fs):
        fs.ftp.rename(source, target)


def _unlink(fs: Any, path: str) -> None:
    """FileNotFoundError where there is none."""
    with connected(fs):
        fs.ftp.remove(path)


def _type_at(fs: Any, path: str) -> str | None:
    """As fsspec's file system says."""
    with connected(fs):
        return type_at(fs, path)


def _make_folder(fs: Any, path: str) -> None:
    """Each folder that is missing, from the top; another writer may be making them too."""
    missing = []
    while path.strip("/") and _type_at(fs, path) is None:
        missing.append(path)
        path = path.rpartition("/")[0]
    for folder in reversed(missing):
        try:
            fs.ftp.mkdir(folder)
        except OSError:
            if _type_at(fs, folder) != "directory":
                raise


PARAMIKO = Steps(_write, _rename_over, _rename_new, _unlink, _make_folder, _type_at)
