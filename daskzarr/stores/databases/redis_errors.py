"""An error of redis-py -> the one to raise: it says whether it may pass, and has no password in it."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from daskzarr.errors import StoreError, StorePermissionError
from daskzarr.stores.databases.servers import Opened, library, raise_told, shown

_HINTS = {
    "CROSSSLOT": "the server is part of a Redis Cluster, which is not supported",
    "MISCONF": "the server cannot write to its disk",
    "MOVED": "the server is part of a Redis Cluster, which is not supported",
    "OOM": "the server may use no more memory (maxmemory)",
    "READONLY": "the server is a replica; the address has to be that of the primary",
    "WRONGTYPE": "under this key is something else than a string, so no value of a store",
}
_PASSING = {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN"}
_CODES = {
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
_REFUSALS = {
    "AuthenticationError",
    "AuthenticationWrongNumberOfArgsError",
    "AuthorizationError",
    "NoPermissionError",
}


@contextmanager
def told(store: Opened) -> Iterator[None]:
    """Raise for each error of redis-py the one that the rest of the package understands."""
    try:
        yield
    except Exception as error:
        access = json.loads(store.access)
        raise_told(_failure(error, store.url, access), error, access)


def _failure(error: Exception, url: str, access: dict[str, Any]) -> Exception:
    """What to raise; an error of something else than redis-py stays what it is."""
    exceptions = library("redis", "redis").exceptions
    if not isinstance(error, exceptions.RedisError):
        return error
    said, code = shown(error, access), answer_code(error)
    if _REFUSALS & {kind.__name__ for kind in type(error).__mro__}:
        return StorePermissionError(f"Redis refused access: {said}", url=url)
    if isinstance(error, exceptions.TimeoutError):
        return TimeoutError(said)
    if _is_bad_certificate(error):
        return StoreError(f"the server's certificate is not accepted: {said}", url=url)
    if isinstance(error, exceptions.ConnectionError) or code in _PASSING:
        return ConnectionError(said)
    hint = f"; {_HINTS[code]}" if code in _HINTS else ""
    return StoreError(f"{type(error).__name__}: {said}{hint}", url=url)


def answer_code(error: BaseException) -> str:
    """The word that a server's answer begins with where it is an error; of those it knows redis-py makes classes."""
    known = next((_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CODES), None)
    return known or str(error).rpartition("caused error: ")[2].partition(" ")[0]


def _is_bad_certificate(error: BaseException | None) -> bool:
    """Whether behind an error is a certificate that is not accepted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
