"""What opens a client of obstore -> that client, one for all in a process; what a client raises -> an error of ours."""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from daskzarr.errors import DaskZarrError, MetadataError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.stores.credentials import without_credentials

SERVICES = ("S3Store", "AzureStore", "GCSStore")
"""Classes of obstore for services that put an object whole or not at all, for good."""
_CLASSES = (*SERVICES, "HTTPStore", "MemoryStore")
_BUCKETS = {"S3Store": ("s3", "bucket"), "AzureStore": ("abfs", "container_name"), "GCSStore": ("gs", "bucket")}

_OLDEST = (0, 11)
"""Older ones write some characters of keys as percent codes, and know no time-out for reading."""
RETRIES: Mapping[str, Any] = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
"""What obstore tries again by itself, for connections that were closed meanwhile; the rest is up to who asks."""
TIMES: Mapping[str, str] = {"connect_timeout": "10s", "read_timeout": "120s", "timeout": "15m"}
"""Time-outs. That for reading begins before a value is sent, so that many big ones need it on a slow line."""

_STATUS = re.compile(r"status code: (\d{3})[^:\n]*")
_ANSWER = re.compile(r"<(Code|Message)>([^<]{1,200})</")
_SYSTEM = re.compile(r'(?:message|error): "([^"\n]{1,200})"')
_NO_RANGE = re.compile(
    r"range start(?:ed|ing) at|invalid range|range was invalid|non-partial response|parse value for content_range",
    re.IGNORECASE,
)
_CONFLICTS = ("ConditionalRequestConflict", "OperationAborted")
_PASSING_CODES = ("RequestTimeout", *_CONFLICTS)


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a client.

    Parameters
    ----------
    name
        The class in ``obstore.store``.
    root
        What keys are below: a prefix in the bucket, a URL; of a store in memory a word that stands for it.
    settings
        Other arguments of the class. They may hold credentials.
    """

    name: str
    root: str
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @property
    def bucket(self) -> str:
        """The bucket or container; ``""`` for what has none."""
        _, option = _BUCKETS.get(self.name, ("", ""))
        return str(self.settings.get("config", {}).get(option, ""))

    @property
    def url(self) -> str:
        """The place, without credentials."""
        if self.name in _BUCKETS:
            return f"{_BUCKETS[self.name][0]}://{self.bucket}/{self.root}".rstrip("/")
        if self.name == "MemoryStore":
            return f"memory://obstore-{self.root}"
        return without_credentials(self.root.rstrip("/"))

    def with_retries(self, retries: Mapping[str, Any]) -> Opening:
        """The same for a client that tries again as ``retry_config`` says."""
        return replace(self, settings={**self.settings, "retry_config": dict(retries)})

    def once(self) -> Opening:
        """The same for a client that sends each request once."""
        return self.with_retries({**RETRIES, "max_retries": 0})


def client(opening: Opening) -> Any:
    """The client that is opened so; a process keeps the last few and their connections.

    Raises
    ------
    UnsupportedError
        If obstore is not installed, or too old, or was loaded before this process was forked from another one.
    MetadataError
        If there are no such settings.
    """
    check_usable(opening.url)
    return _client(opening)


@lru_cache(maxsize=64)
def _client(opening: Opening) -> Any:
    """The client that is opened so."""
    made = getattr(importlib.import_module("obstore.store"), opening.name)
    try:
        if opening.name in _BUCKETS:
            return made(prefix=opening.root or None, **opening.settings)
        return made(opening.root, **opening.settings)
    except Exception as error:
        reason = _first_lines(error)
    raise MetadataError(
        f"obstore cannot be set up like this: {reason}", url=opening.url, field="storage_options"
    )  # not from its own error, which may quote a credential


def knows(name: str, option: str) -> bool:
    """Whether a class of obstore has an option of this name; by trying it, as there is no list."""
    try:
        getattr(importlib.import_module("obstore.store"), name)(config={option: "none"})
    except Exception as error:
        return type(error).__name__ != "UnknownConfigurationKeyError"
    return True


def check_usable(url: str) -> None:
    """Refuse to use obstore where it is not, where it would hang, and where it would give keys other names."""
    installed = _installed()
    if installed is None or installed < _OLDEST:
        least = ".".join(map(str, _OLDEST))
        raise UnsupportedError(f"this needs obstore {least} or later: pip install 'daskzarr[obstore]'", url=url)
    if _forked:
        raise UnsupportedError(
            "obstore was loaded in the process that this one was forked from, and would wait for ever here for threads "
            "that were left behind; start processes by 'spawn' or 'forkserver', or use a file system of fsspec",
            url=url,
        )


def usable() -> bool:
    """Whether obstore is installed and works in this process."""
    installed = _installed()
    return not _forked and installed is not None and installed >= _OLDEST


@lru_cache(maxsize=1)
def _installed() -> tuple[int, ...] | None:
    """The version of obstore; None if there is none. Obstore is not loaded for that."""
    try:
        return tuple(int(number) for number in re.findall(r"\d+", version("obstore"))[:2])
    except PackageNotFoundError:
        return None


_forked = False


def _note_fork() -> None:
    """A forked child has none of the threads of obstore's, and anything asked of it hangs."""
    global _forked
    _forked = _forked or "obstore" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def opening_of(place: Any) -> Opening | None:
    """What opens a client like one that the user made; None if it is no client of obstore."""
    module = sys.modules.get("obstore.store")
    if module is None:
        return None
    name = next((name for name in _CLASSES if isinstance(place, getattr(module, name, ()))), None)
    if name is None:
        return None
    if name == "MemoryStore":
        return Opening(name, _word_for(place))
    args, settings = place.__getnewargs_ex__()  # what it pickles with
    settings = dict(settings)
    root = str(settings.pop("prefix", None) or "").strip("/") if name in _BUCKETS else str(args[0])
    return Opening(name, root, settings)


def folder_of(place: Any) -> str | None:
    """The folder of a client of obstore for local files; None if it is none."""
    module = sys.modules.get("obstore.store")
    if module is None or not isinstance(place, module.LocalStore):
        return None
    return str(place.prefix or os.path.sep)


_memories: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def memory(word: str) -> Any:
    """The store in this process's memory that a word stands for; None if it is not here."""
    return _memories.get(word)


def _word_for(place: Any) -> str:
    """A word that stands for one store in memory while it lives."""
    with _lock:
        word = next((word for word, known in list(_memories.items()) if known is place), None)
        if word is None:
            word = uuid4().hex
            _memories[word] = place
        return word


def explained(error: Exception, url: str, key: str) -> DaskZarrError:
    """An error of ours for one of a client's: whether it passes is told by its cause. No credentials are in it."""
    text, kind, status = _first_lines(error), type(error).__name__, _status(error)
    where: dict[str, Any] = {"url": url, "chunk_key": key or None}
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or status in (401, 403):
        return StorePermissionError(f"the store refused access: {text}", **where)
    if kind in ("NotSupportedError", "NotImplementedError"):
        return UnsupportedError(f"obstore cannot do this here: {text}", **where)
    if kind in ("InvalidPathError", "ValueError"):
        return UnsupportedError(f"obstore has no way to name this object: {text}; use a file system of fsspec", **where)
    failure = StoreError(text, **where)
    if isinstance(error, ConnectionError) or any(code in text for code in _PASSING_CODES):
        failure.__cause__ = ConnectionError(text)
    elif status is not None:
        answer = OSError(f"the server answered {status}")
        answer.status = status  # type: ignore[attr-defined]  # which tells whether it passes
        failure.__cause__ = answer
    elif "HTTP error" in text:
        failure.__cause__ = TimeoutError(text) if "kind: Timeout" in str(error) else ConnectionError(text)
    return failure


def is_missing(error: Exception) -> bool:
    """Whether an error says that there is nothing of this name; of a listing, that there is no bucket."""
    return isinstance(error, FileNotFoundError) or _status(error) == 404


def is_of_range(error: Exception) -> bool:
    """Whether a part was refused, not given wrong: the value may end before it, or come as a whole only."""
    if type(error).__name__ == "NotSupportedError" or _status(error) == 416:
        return True
    return type(error).__name__ == "GenericError" and _NO_RANGE.search(_first_lines(error)) is not None


def is_conflict(error: Exception) -> bool:
    """Whether an object was not put for something else going on with it, which says nothing of what is there."""
    return any(code in str(error) for code in _CONFLICTS)


def _status(error: Exception) -> int | None:
    """The status of HTTP that an error is about."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _first_lines(error: Exception) -> str:
    """What an error says, without the internals behind it, the answer's body and credentials."""
    text, _, internals = str(error).partition("\n\nDebug source")
    found = _STATUS.search(text)
    if found:
        said = ": ".join(value for _, value in _ANSWER.findall(text[found.end() :]))
        text = text[: found.end()].rstrip() + (f" ({said})" if said else "")
    elif reason := _SYSTEM.search(internals):
        text += f" ({reason[1]})" if reason[1] not in text else ""
    return without_credentials(" ".join(text.split()))
