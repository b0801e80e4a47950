"""paramiko's SFTP file system -> the same one with a channel for this thread alone, several to a connection."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from importlib import import_module
from typing import Any

from daskzarr.stores.remote.placing.sftp import is_lost

_PLACE = "_daskzarr_place"
_CHANNELS = 8  # servers allow ten, if nobody says otherwise

_lock = threading.RLock()
_connections: dict[str, list[_Connection]] = {}
# Of the parent process. If it were forgotten, paramiko would say so to the server, over the parent's connection.
_inherited: list[Any] = []


def of_thread(fs: Any) -> Any:
    """The file system with this thread's channel, which is opened when it is first asked for or was lost."""
    place = _place(fs)
    held = _of_this_thread.channels.get(place)
    if held is None or held.process != os.getpid() or is_lost(held.fs):
        held = _of_this_thread.channels[place] = _opened(place, fs)
    return held.fs


class _Connection:
    """A login, and how many channels it has. Without a file system it is made when it is first needed."""

    def __init__(self, fs: Any = None) -> None:
        self.fs = fs
        self.is_own = fs is None
        self.spare: Any = None  # the channel that comes with a login of our own
        self.lock = threading.Lock()
        self.channels = 0
        self.most = _CHANNELS

    def is_lost(self) -> bool:
        """Whether nothing can be asked over it any more."""
        transport = self.fs.client.get_transport() if self.fs is not None else None
        return self.fs is not None and (transport is None or not transport.is_active())

    def open(self, fs: Any) -> Any:
        """A channel that nobody else has; the connection is made first if there is none."""
        with self.lock:
            if self.fs is None:
                self.fs = _logged_in(fs)
                self.spare = self.fs.ftp
            ftp, self.spare = self.spare, None
        return self.fs.client.open_sftp() if ftp is None else ftp


class _Channel:
    """A file system with a channel of its own, closed when a thread forgets it: at its end at the latest."""

    def __init__(self, connection: _Connection, ftp: Any) -> None:
        self.process = os.getpid()
        self.fs = object.__new__(type(connection.fs))  # all but the channel is shared
        self.fs.__dict__.update(connection.fs.__dict__, ftp=ftp)
        weakref.finalize(self, _close, connection, ftp, self.process).atexit = False


def _close(connection: _Connection, ftp: Any, process: int) -> None:
    """Give a channel back; one that the parent process opened stays as it is."""
    if process != os.getpid():
        _inherited.append((connection, ftp))
        return
    with contextlib.suppress(Exception):
        ftp.close()
    with _lock:
        connection.channels -= 1


class _OfThisThread(threading.local):
    """The channels of a thread by place."""

    def __init__(self) -> None:
        self.channels: dict[str, _Channel] = {}


_of_this_thread = _OfThisThread()


def _opened(place: str, fs: Any) -> _Channel:
    """A channel over a connection that has room, or over a new one."""
    paramiko = import_module("paramiko")
    while True:
        connection = _with_room(place, fs)
        try:
            return _Channel(connection, connection.open(fs))
        except BaseException as error:
            with _lock:
                connection.channels -= 1
                if not isinstance(error, paramiko.ChannelException):
                    raise
                connection.most = connection.channels  # this server allows fewer
                if connection.is_own and not connection.most:
                    raise


def _with_room(place: str, fs: Any) -> _Connection:
    """A connection, in which a channel is taken already."""
    with _lock:
        known = _connections.setdefault(place, [_Connection(fs)])
        known[:] = [connection for connection in known if not connection.is_lost()]
        found = next((connection for connection in known if connection.channels < connection.most), None)
        if found is None:
            found = _Connection()
            known.append(found)
        found.channels += 1
        return found


def _logged_in(fs: Any) -> Any:
    """The file system over a new connection. What may be otherwise the next time is a ConnectionError."""
    errors = import_module("paramiko.ssh_exception")
    try:
        return type(fs)(*fs.storage_args, **{**fs.storage_options, "skip_instance_cache": True})
    except (errors.AuthenticationException, errors.BadHostKeyException):
        raise
    except (errors.SSHException, errors.NoValidConnectionsError, EOFError) as error:
        raise ConnectionError(f"no connection to {fs.host} could be made: {error}") from error


def _place(fs: Any) -> str:
    """What is equal for file systems that show the same place with the same access."""
    from fsspec.utils import tokenize

    found = fs.__dict__.get(_PLACE)
    if found is None:
        found = fs.__dict__[_PLACE] = tokenize(type(fs), fs.storage_args, fs.storage_options)
    return str(found)


def _forget_connections() -> None:
    """A forked child makes connections of its own."""
    global _lock
    _lock = threading.RLock()
    _inherited.append((dict(_connections), dict(_of_this_thread.channels)))
    _connections.clear()
    _of_this_thread.channels.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)
