"""A URL and options of a database on a server -> where that is and how to get in, with nothing secret in any error.

Clients are made on first use, one for a place and access in each process.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qsl, quote, unquote

from daskzarr.errors import MetadataError, StoreError, UnsupportedError
from daskzarr.stores.databases.connections import abandon, on_fork
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.retries import is_transient

Kinds = Mapping[str, Callable[[Any], Any]]
"""Names of options, and what makes a value of each; it raises ValueError or TypeError for one that cannot be."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}")
_SECRET = re.compile("password", re.IGNORECASE)
_MOST_QUOTED = 500
_MOST_HELD = 4000
_HERE = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)


def library(name: str, extra: str) -> Any:
    """The client library, or an error that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            f"{name} is needed for this store and cannot be imported ({error}): pip install 'daskzarr[{extra}]'"
        ) from error


class Opened(Protocol):
    """A store on a server."""

    @property
    def url(self) -> str:
        """The place."""

    @property
    def access(self) -> str:
        """How to get in, as JSON."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. ``hosts`` is what stands between login and path; all else is decoded."""

    scheme: str
    username: str | None
    password: str | None
    hosts: str
    path: str
    parameters: tuple[tuple[str, str], ...]


def take_apart(url: str) -> Address:
    """The parts of a URL. Errors quote nothing of it: where it is written wrong, a password may be anywhere.

    >>> take_apart("redis://me:p%40ss@host:1/0?prefix=a%2Fb")
    Address(scheme='redis', username='me', password='p@ss', hosts='host:1', path='0', parameters=(('prefix', 'a/b'),))
    """
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    username, colon, password = login.partition(":")
    if "@" in path or "@" in query or "@" in login or "#" in rest:
        raise MetadataError(
            "a part of the URL has an @ or # in it that divides nothing; in logins, names and values write @ as %40, "
            "/ as %2F, ? as %3F, # as %23 and % as %25",
            field="url",
        )
    return Address(
        scheme,
        unquote(username) or None,
        unquote(password) if colon else None,
        hosts,
        unquote(path),
        tuple(parse_qsl(query, keep_blank_values=True)),
    )


def choose(kinds: Kinds, address: Address, placed: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """All options, whether they stand in the URL or in ``storage_options``.

    Parameters
    ----------
    kinds
        The options there are.
    address
        Of the URL: its login and parameters are options.
    placed
        Options that the rest of the URL stands for.
    options
        ``storage_options``; those that are None are as good as not given.
    """
    login = {"username": address.username, "password": address.password}
    chosen: dict[str, Any] = {}
    for given, field in (
        ([*placed.items(), *login.items(), *address.parameters], "url"),
        (options.items(), "storage_options"),
    ):
        for name, value in given:
            if value is not None:
                _add(chosen, kinds, name, value, field)
    return chosen


def _add(chosen: dict[str, Any], kinds: Kinds, name: Any, value: Any, field: str) -> None:
    """Take an option up."""
    known = {kind.lower(): kind for kind in kinds}.get(str(name).lower())
    if known is None:
        shown = repr(name) if _NAME.fullmatch(str(name)) else "one whose name is not shown, as it is none"
        raise MetadataError(f"there is no option {shown} here; there are {', '.join(sorted(kinds))}", field=field)
    try:
        made = kinds[known](value)
    except (ValueError, TypeError, OverflowError):
        raise MetadataError(f"the option {known!r} cannot have this value, or none of this type", field=field) from None
    if chosen.setdefault(known, made) != made:
        raise MetadataError(f"the option {known!r} is given twice, with different values", field=field)


def text(value: Any) -> str:
    """An option that is text."""
    if not isinstance(value, str):
        raise TypeError
    return value


def number(value: Any) -> int:
    """An option that is a whole number, not below zero."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or int(value) < 0:
        raise ValueError
    return int(value)


def seconds(value: Any) -> float:
    """An option that is a time."""
    if isinstance(value, bool) or not float(value) > 0:
        raise ValueError
    return float(value)


def flag(value: Any) -> bool:
    """An option that is yes or no.

    >>> flag("true"), flag("No"), flag(True)
    (True, False, True)
    """
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError
    return words[value.lower()]


def query(**parameters: str) -> str:
    """Parameters as a URL has them, those left out that are empty.

    >>> query(db="0", prefix="a b/c", other="")
    '?db=0&prefix=a%20b/c'
    """
    given = [f"{name}={quote(value, safe='/:')}" for name, value in parameters.items() if value]
    return "?" + "&".join(given) if given else ""


def is_here(host: str) -> bool:
    """Whether a host is this machine.

    >>> is_here("127.0.0.1"), is_here("db.example.org")
    (True, False)
    """
    return _HERE.fullmatch(host.strip("[]")) is not None


def whole(value: Buffer) -> Buffer:
    """A value's bytes as one run that ``len`` counts right."""
    if isinstance(value, bytes):
        return value
    view = memoryview(value)
    if not view.c_contiguous or view.nbytes == 0:
        return bytes(view)
    return view.cast("B")


def shown(error: BaseException, access: Mapping[str, Any]) -> str:
    """What an error says, cut where it is long, and no password in it: servers quote what they do not understand."""
    said = str(error)
    for secret in _secrets(access):
        said = said.replace(secret, "***")
    return said if len(said) <= _MOST_QUOTED else said[:_MOST_QUOTED] + "..."


def raise_told(told: Exception, caught: Exception, access: Mapping[str, Any]) -> NoReturn:
    """Raise an error in the place of one that was caught, which is named as its cause unless it holds a password."""
    if told is caught:
        raise caught
    held = f"{caught} {caught!r} {getattr(caught, '__dict__', '')}"
    hides = len(held) > _MOST_HELD or any(secret in held for secret in _secrets(access))
    if isinstance(told, StoreError) and is_transient(caught):
        hides = True  # whether a StoreError passes is for its cause to say
    try:
        raise told from (None if hides else caught)
    finally:
        told.__context__ = None


def _secrets(access: Mapping[str, Any]) -> Sequence[str]:
    """The passwords among options, the longest first, also as they are written in URLs."""
    found = {str(value) for name, value in access.items() if _SECRET.search(name) and value}
    return sorted(found | {quote(value, safe="") for value in found}, key=len, reverse=True)


class Clients:
    """What this process has opened: one for each place and access. A forked child opens its own."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        on_fork(self._forget)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for a key, or is made now."""
        found = self._made.get(key)
        if found is None:
            with self._lock:
                found = self._made.get(key)
                if found is None:
                    found = self._made[key] = make()
        return found

    def _forget(self) -> None:
        """Leave alone what the parent process uses."""
        abandon(self._made)
        self._made = {}
        self._lock = threading.Lock()


def batches(keys: Sequence[str], most: int) -> Iterable[Sequence[str]]:
    """Keys in runs of at most so many."""
    return (keys[first : first + most] for first in range(0, len(keys), most))
