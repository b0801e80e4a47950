"""A path of this machine -> the file there, open: bytes by position from any thread, and the lock of its one writer."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable

from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.protocol import Buffer

try:
    import fcntl
except ImportError:  # another system
    fcntl = None  # type: ignore[assignment]

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_WAIT = 0.02
_PIECE = 2**26
_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_moving = threading.Lock()


class OpenFile:
    """An open file, closed when nobody refers to it any more.

    Parameters
    ----------
    path
        Absolute path. It has to be there.
    writing
        Whether it is opened for writing, too.
    """

    __slots__ = ("descriptor",)

    def __init__(self, path: str, *, writing: bool = False) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, (os.O_RDWR if writing else os.O_RDONLY) | _FLAGS)
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            self.close()
            raise StoreError("this is a folder or a device, and no zip file")

    def __del__(self) -> None:
        self.close()

    def close(self, close: Callable[[int], None] = os.close) -> None:
        """Close it; once is enough."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            close(descriptor)

    def state(self) -> tuple[int, int, int, int]:
        """Device, inode, size and time of change."""
        return state_of(os.fstat(self.descriptor))

    def read(self, at: int, length: int) -> bytes:
        """Bytes from a position on; fewer only where the file ends."""
        value = _read(self.descriptor, length, at) if length > 0 else b""
        if len(value) < length and value:
            parts = [value]
            done = len(value)
            while done < length and (part := _read(self.descriptor, min(length - done, _PIECE), at + done)):
                parts.append(part)
                done += len(part)
            value = b"".join(parts)
        return value

    def fill(self, at: int, target: memoryview) -> int:
        """Read into memory from a position on; how many bytes."""
        done = 0
        while done < len(target) and (count := _fill(self.descriptor, target[done : done + 2**30], at + done)):
            done += count
        return done

    def write(self, at: int, value: Buffer) -> None:
        """All of the bytes, from a position on."""
        rest = memoryview(value)
        while rest:
            count = os.pwrite(self.descriptor, rest, at)
            rest, at = rest[count:], at + count

    def cut(self, size: int) -> None:
        """Let the file end here."""
        os.ftruncate(self.descriptor, size)

    def sync(self) -> None:
        """Wait until what was written is on disk."""
        _sync(self.descriptor)

    def lock(self, seconds: float) -> bool:
        """Become the file's one writer; False if another process or another opening of the file is, and stays so.

        The system takes the lock from a process that dies.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                if fcntl is None:
                    raise UnsupportedError("zip files can only be read on this system, which has no locks of files")
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as error:
                if error.errno not in _HELD:
                    raise UnsupportedError(
                        "this zip file can only be read: its file system has no locks, which keep a second process "
                        f"from writing at the same time ({error})"
                    ) from error
                if time.monotonic() > until:
                    return False
            time.sleep(_WAIT)

    def unlock(self) -> None:
        """Let others write, also while a child that was forked has the file open."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)


def state_of(found: os.stat_result) -> tuple[int, int, int, int]:
    """Device, inode, size and time of change of a file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(descriptor: int, length: int, at: int) -> bytes:
    """One system call."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, at)
    with _moving:
        os.lseek(descriptor, at, os.SEEK_SET)
        return os.read(descriptor, length)


def _fill(descriptor: int, target: memoryview, at: int) -> int:
    """One system call, where there is one."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [target], at)
    value = _read(descriptor, len(target), at)
    target[: len(value)] = value
    return len(value)
