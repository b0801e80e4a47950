"""An error of pymongo -> the one to raise: it says whether it may pass, and has no password in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daskzarr.errors import StoreError, StorePermissionError
from daskzarr.stores.databases.servers import Opened, library, raise_told, shown

_REFUSED = {13, 18, 31, 33, 334, 8000, 8003}  # Unauthorized, AuthenticationFailed, roles and mechanisms, Atlas
_PASSING = {
    *(6, 7, 64, 89, 91, 112, 189, 262, 365, 9001, 10107, 11600, 11602, 13435, 13436),  # network, elections, shutdown
    *(24, 43, 50, 202, 271),  # lock and cursor time-outs, MaxTimeMSExpired
}
_NO_LOGIN = re.compile(r"'codeName': 'AuthenticationFailed'|'code': (18|8000)\b")
_PASSING_LABELS = ("RetryableWriteError", "TransientTransactionError", "SystemOverloadedError")


@contextmanager
def told(store: Opened) -> Iterator[None]:
    """Raise for each error of pymongo the one that the rest of the package understands."""
    try:
        yield
    except Exception as error:
        access = json.loads(store.access)
        raise_told(_failure(error, store.url, access), error, access)


def _failure(error: Exception, url: str, access: dict[str, Any]) -> Exception:
    """What to raise; an error of something else than pymongo stays what it is."""
    errors = library("pymongo", "mongodb").errors
    bson = library("bson", "mongodb").errors
    if not isinstance(error, (errors.PyMongoError, bson.BSONError)):
        return error
    said = f"{type(error).__name__}: {shown(error, access).partition(', full error:')[0]}"
    code = getattr(error, "code", None)
    if code in _REFUSED or _NO_LOGIN.search(str(error)):  # it may be a server that could not be chosen for that
        return StorePermissionError(f"MongoDB refused access: {said}", url=url)
    if "CERTIFICATE_VERIFY_FAILED" in said:  # pymongo keeps the text alone
        return StoreError(f"the server's certificate is not accepted: {said}", url=url)
    if getattr(error, "timeout", False) is True:
        return TimeoutError(said)
    passes = any(error.has_error_label(label) for label in _PASSING_LABELS) if _has_labels(error) else False
    if isinstance(error, errors.ConnectionFailure) or code in _PASSING or passes:
        return ConnectionError(said)
    return StoreError(said, url=url)


def _has_labels(error: Exception) -> bool:
    """Whether an error is of the kind that servers put labels on."""
    return hasattr(error, "has_error_label")
