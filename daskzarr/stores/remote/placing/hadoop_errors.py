"""A Java exception that a server of HDFS tells of -> the exception of Python that says the same."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from daskzarr.errors import StoreError

_ERRORS: dict[str, tuple[type[OSError], int]] = {
    "FileNotFoundException": (FileNotFoundError, errno.ENOENT),
    "FileAlreadyExistsException": (FileExistsError, errno.EEXIST),
    "AccessControlException": (PermissionError, errno.EACCES),
    "AuthorizationException": (PermissionError, errno.EACCES),
    "SecurityException": (PermissionError, errno.EACCES),
}
_PASSING = {
    "NotReplicatedYetException",
    "ObserverRetryOnActiveException",
    "RetriableException",
    "SafeModeException",
    "StandbyException",
}
_NO_DATA_SERVER_YET = re.compile(r"could only be (?:replicated|written) to 0|Failed to find datanode")
_REMOTE = re.compile(r"""\A\w*RPCError\("([^"]*)", "(.*)""", re.DOTALL)
_PASSING_FAILURE = re.compile(r"\A(?:DataTransferError|OperationFailed)\(")


def error_for(name: str, message: str, path: str) -> OSError:
    """An exception to raise: a ConnectionError for what is so only for a while.

    Parameters
    ----------
    name
        Of the Java class, its package before it or not.
    message
        What it says; all but the first line is a trace of calls.
    path
        What was asked for.

    Examples
    --------
    >>> error_for("java.io.FileNotFoundException", "no such file", "/a")
    FileNotFoundError(2, 'No such file or directory')
    """
    name = re.split(r"[.$]", name)[-1]
    if name in _ERRORS:
        error, number = _ERRORS[name]
        return error(number, os.strerror(number), path)
    first_line = re.split(r"\\n|\n", message, maxsplit=1)[0]
    text = f"HDFS refused {path!r}: {name} {first_line}".rstrip()
    return ConnectionError(text) if name in _PASSING or _NO_DATA_SERVER_YET.search(message) else StoreError(text)


@contextlib.contextmanager
def telling(path: str) -> Iterator[None]:
    """hdfs-native's errors as those that tell what sort of failure it was: it has two classes for most."""
    try:
        yield
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise ConnectionResetError(errno.ECONNRESET, f"the connection to HDFS was lost: {error}") from error
    except RuntimeError as error:
        remote = _REMOTE.match(str(error))
        if remote is not None:
            raise error_for(remote[1], remote[2], path) from error
        if _PASSING_FAILURE.match(str(error)):
            raise ConnectionError(f"HDFS failed at {path!r}: {error}") from error
        raise
