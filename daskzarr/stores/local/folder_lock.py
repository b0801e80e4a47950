"""A directory -> a lock that one process or thread holds at a time, and that the system takes from a dead one."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # another system
    fcntl = None  # type: ignore[assignment]

_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_WAIT = 0.02


@contextlib.contextmanager
def lock_folder(folder: str, seconds: float) -> Iterator[bool]:
    """Hold a directory's lock for as long as the context lasts.

    It keeps out those who ask for it too, and nobody else. It leaves no file.

    Parameters
    ----------
    folder
        Absolute path of the directory. One that is not there cannot be locked.
    seconds
        How long to wait for the lock. A process may have handed it to a child, which lives on.

    Yields
    ------
    bool
        Whether the lock is held: not so after that time, and on file systems that have no locks of directories. The
        context is entered in any case.
    """
    try:
        descriptor = os.open(folder, _OPEN)
    except OSError:
        yield False
        return
    try:
        yield _acquire(descriptor, time.monotonic() + seconds)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, until: float) -> bool:
    """Get the lock of an open directory before it is too late."""
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD or time.monotonic() > until:
                return False
        time.sleep(_WAIT)
    return False
