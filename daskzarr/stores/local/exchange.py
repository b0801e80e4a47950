"""Two paths of one file system -> each with what the other had, in one step; where the system has none, nothing."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

from daskzarr.stores.local.folders import sync_folder

_FROM_WORKING_DIRECTORY = -100  # AT_FDCWD of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux


def exchange(a: str, b: str, *, sync: bool = False) -> bool:
    """Let two files or directories trade places, so that there is something at both paths all the while.

    Parameters
    ----------
    a, b
        Absolute paths. Something has to be at both, and neither may be a symbolic link: it would be the link that
        moves.
    sync
        Whether to return only when that is on disk. After an error of putting it there, they have traded places.

    Returns
    -------
    bool
        False if this cannot be done (not on Linux, two file systems, a file system that knows no exchange, nothing at
        one of the paths, a link). Then nothing has changed.

    Examples
    --------
    >>> exchange("/nothing/here", "/nor/here")
    False
    """
    rename = _renameat2()
    if rename is None or os.path.islink(a) or os.path.islink(b):
        return False
    here = _FROM_WORKING_DIRECTORY
    if rename(here, os.fsencode(a), here, os.fsencode(b), _EXCHANGE) != 0:
        return False
    if sync:
        sync_folder(os.path.dirname(a))
        sync_folder(os.path.dirname(b))
    return True


@cache
def _renameat2() -> Any:
    """The system call, as the C library offers it; None where it does not."""
    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # another system, or an old library
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call
