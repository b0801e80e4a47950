"""An error of a request -> whether the same request may succeed in a while, and how long the server says to wait.

Errors of client libraries are known by the names of their classes: none of the libraries is imported for that.
"""

from __future__ import annotations

import email.utils
import errno
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from daskzarr.errors import DaskZarrError, StoreError

_DEEPEST = 8

_NUMBERS = {
    getattr(errno, name)
    for name in (
        "EIO",
        "EREMOTEIO",
        "ESTALE",
        "EAGAIN",
        "EINTR",
        "ETIMEDOUT",
        "EBUSY",
        "ENETDOWN",
        "ENETUNREACH",
        "ENETRESET",
        "ECONNRESET",
        "ECONNABORTED",
        "EHOSTUNREACH",
        "EPIPE",
    )
    if hasattr(errno, name)
}
# Not 501, 505 and 507: what a server cannot do, and has no room for, will be so in a while.
_STATUS = {408, 425, 429, 500, 502, 503, 504, 509, *range(520, 600)}
_CODES = {
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_NOBODY = re.compile(
    r"connection refused|connect call failed|could not connect to the endpoint|cannot connect to host|dns error|"
    r"name or service not known|name resolution|nodename nor servname|no address associated|getaddrinfo|"
    r"lookup address information|unable to connect to port",
    re.IGNORECASE,
)
_LASTING = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

_Verdict = Callable[[Any], bool | None]


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed in a while.

    So it is for time-outs, broken connections, errors of a disk or network that is there again later, a database that
    another one writes, and a server's "too many requests" or "my fault". Where an error says nothing of that, its
    cause decides. What is not known stays as it is however often it is tried, as does refused access, a missing file,
    a full disk or quota.
    """
    return _verdict(error) is True


def is_unreachable(error: BaseException) -> bool:
    """Whether nobody answers at an address: its name is not known, or connections to it are refused.

    Either passes where a server starts or a network comes back, and never does where the address is wrong.

    >>> is_unreachable(ConnectionRefusedError()), is_unreachable(TimeoutError())
    (True, False)
    """
    return any(_finds_nobody(cause) for cause in _causes(error))


def wait_told(error: BaseException) -> float | None:
    """Seconds after which a server says to ask again, where the error shows it: ``Retry-After``, or what stands for it.

    >>> error = Exception()
    >>> error.headers = {"Retry-After": "7"}
    >>> wait_told(error)
    7.0
    """
    for cause in _causes(error):
        for headers in _headers(cause):
            waits = (read(headers.get(name)) for name, read in _WAITS.items())
            found = next((wait for wait in waits if wait is not None), None)
            if found is not None:
                return max(found, 0.0)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, and so on."""
    found: BaseException | None = error
    for _ in range(_DEEPEST):
        if found is None:
            return
        yield found
        found = found.__cause__


def _finds_nobody(error: BaseException) -> bool:
    """Whether an error says so itself; of clients that keep nothing else, its text."""
    if isinstance(error, (socket.gaierror, ConnectionRefusedError)):
        return True
    return getattr(error, "errno", None) == errno.ECONNREFUSED or _NOBODY.search(str(error)) is not None


def _verdict(error: BaseException) -> bool | None:
    """Whether an error passes; None where neither it nor its causes say anything."""
    for cause in _causes(error):
        if isinstance(cause, StoreError) and cause.__cause__ is not None:
            continue
        if not isinstance(cause, Exception) or isinstance(cause, (DaskZarrError, *_LASTING)):
            return False
        found = _by_class(cause)
        if found is None:
            found = _by_number(cause)
        if found is None:
            found = _by_answer(cause)
        if found is not None:
            return found
    return None


def _by_class(error: Exception) -> bool | None:
    """What the nearest of an error's classes that is known says."""
    for kind in type(error).__mro__:
        library = _KNOWN.get(kind.__module__.partition(".")[0])
        if library is not None and kind.__name__ in library:
            found = library[kind.__name__]
            return found if isinstance(found, bool) else found(error)
    return None


def _by_number(error: Exception) -> bool | None:
    """What the system's number of an error says. Of EIO, under which libraries put all the rest, a cause knows more."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        told = _verdict(error.__cause__) if error.__cause__ is not None else None
        return told is not False
    return None


def _by_answer(error: Exception) -> bool | None:
    """What the answer of a server says that an error stands for."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        about, reason = answer.get("ResponseMetadata"), answer.get("Error")
        if isinstance(reason, Mapping) and str(reason.get("Code")) in _CODES:
            return True
        return _by_status(about.get("HTTPStatusCode") if isinstance(about, Mapping) else None)
    # Only the first that is there: a client library may warn of another name it had for it.
    named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return _by_status(next((number for number in named if number is not None), getattr(answer, "status_code", None)))


def _by_status(number: object) -> bool | None:
    """What a status of HTTP says."""
    return number in _STATUS if isinstance(number, int) and 400 <= number < 600 else None


# Errors that say more of themselves


def _of_reason(error: Any) -> bool | None:
    """An error that holds another one."""
    reason = getattr(error, "reason", None)
    return _verdict(reason) if isinstance(reason, Exception) and reason is not error else None


def _of_sqlite(error: Any) -> bool:
    """SQLite's: whether another one has the database for the moment, or the disk failed."""
    busy, locked, input_output, protocol = 5, 6, 10, 15
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (busy, locked, input_output, protocol)


_MONGO_LABELS = ("RetryableWriteError", "RetryableError", "SystemOverloadedError", "TransientTransactionError")
# Hosts that are away, stepping down or shutting down, and time-outs: those after which drivers read and write again.
_MONGO_CODES = {6, 7, 50, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}


def _of_mongo(error: Any) -> bool:
    """MongoDB's: by the labels and the number that the server gave it."""
    if any(error.has_error_label(label) for label in _MONGO_LABELS):
        return True
    return getattr(error, "code", None) in _MONGO_CODES


def _of_gcsfs(error: Any) -> bool:
    """gcsfs's: by its code, which may be a text."""
    code = str(getattr(error, "code", ""))
    return code.isdecimal() and int(code) in _STATUS


def _of_google(error: Any) -> bool | None:
    """One of Google's login, which says whether it passes."""
    return bool(getattr(error, "retryable", False)) or None


_OBSTORE_STATUS = re.compile(r"status code: (\d{3})")


def _of_obstore(error: Any) -> bool:
    """obstore's, which has one class for all the rest: by its text."""
    text = str(error)
    status = _OBSTORE_STATUS.search(text)
    if status is not None:
        return int(status[1]) in _STATUS
    return "HTTP error: " in text and "ertificate" not in text and "builder error" not in text


_KNOWN: dict[str, dict[str, bool | _Verdict]] = {
    "builtins": {"ConnectionError": True, "EOFError": True, "TimeoutError": True},
    "aiohttp": {
        "ClientConnectionError": True,
        "ClientConnectorDNSError": lambda error: error.errno == socket.EAI_AGAIN,
        "ClientPayloadError": True,
        "ClientSSLError": False,
        "ServerFingerprintMismatch": False,
    },
    "asyncssh": {
        "ChannelOpenError": True,
        "ConnectionLost": True,
        "SFTPConnectionLost": True,
        "SFTPNoConnection": True,
    },
    "azure": {"IncompleteReadError": True, "ServiceRequestError": True, "ServiceResponseError": True},
    "botocore": {
        "ChecksumError": True,
        "ConnectionError": True,
        "FlexibleChecksumError": True,
        "HTTPClientError": True,
        "IncompleteReadError": True,
        "SSLError": False,
    },
    "gcsfs": {"ChecksumError": True, "HttpError": _of_gcsfs, "NonRetryableError": False},
    "google": {"DataCorruption": True, "GoogleAuthError": _of_google, "TransportError": True},
    "http": {"BadStatusLine": True, "IncompleteRead": True},
    "httpx": {"LocalProtocolError": False, "TransportError": True, "UnsupportedProtocol": False},
    "lmdb": {"LockError": True, "ReadersFullError": True},
    "obstore": {"GenericError": _of_obstore},
    "paramiko": {
        "AuthenticationException": False,
        "BadHostKeyException": False,
        "ConfigParseError": False,
        "CouldNotCanonicalize": False,
        "IncompatiblePeer": False,
        "NoValidConnectionsError": True,
        "SSHException": True,
    },
    "pymongo": {
        "ConfigurationError": False,
        "ConnectionFailure": True,
        "CursorNotFound": True,
        "PyMongoError": _of_mongo,
    },
    "redis": {
        "AuthenticationError": False,
        "AuthenticationWrongNumberOfArgsError": False,
        "AuthorizationError": False,
        "ChildDeadlockedError": False,
        "ClusterDownError": True,
        "ConnectionError": True,
        "ExternalAuthProviderError": False,
        "TimeoutError": True,
        "TryAgainError": True,
    },
    "requests": {
        "ChunkedEncodingError": True,
        "ConnectionError": True,
        "ContentDecodingError": True,
        "InvalidProxyURL": False,
        "SSLError": False,
        "Timeout": True,
    },
    "sqlite3": {"OperationalError": _of_sqlite},
    "ssl": {
        "SSLCertVerificationError": False,
        "SSLEOFError": True,
        "SSLSyscallError": True,
        "SSLZeroReturnError": True,
    },
    "urllib": {"URLError": _of_reason},
    "urllib3": {
        "IncompleteRead": True,
        "MaxRetryError": _of_reason,
        "NewConnectionError": True,
        "ProtocolError": True,
        "SSLError": False,
        "TimeoutError": True,
    },
}
"""The first part of a module's name -> names of classes -> whether they pass, or what tells."""


# How long to wait


def _headers(error: BaseException) -> Iterator[Mapping[str, Any]]:
    """The headers of the answer that an error stands for, names in lower case."""
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata") if isinstance(answer, Mapping) else None
    found = about.get("HTTPHeaders") if isinstance(about, Mapping) else getattr(answer, "headers", None)
    for headers in (found, getattr(error, "headers", None)):
        pairs = getattr(headers, "items", None)
        if callable(pairs):
            yield {str(name).lower(): value for name, value in pairs()}


def _seconds(value: object) -> float | None:
    """Seconds, or the time until a date of HTTP."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", text):
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()


def _milliseconds(value: object) -> float | None:
    """Milliseconds, as Azure gives them beside."""
    found = _seconds(value) if re.fullmatch(r"\d+", str(value or "")) else None
    return None if found is None else found / 1000


_WAITS = {"retry-after-ms": _milliseconds, "x-ms-retry-after-ms": _milliseconds, "retry-after": _seconds}
