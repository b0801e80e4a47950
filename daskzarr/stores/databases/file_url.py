"""``scheme:///path?option=value`` and storage options -> the path of a database's file, and its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from daskzarr.errors import MetadataError, short

Read = Callable[[Any], Any]


def parse(url: str, allowed: Mapping[str, Read], storage_options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Path and options that a URL stands for.

    Parameters
    ----------
    url
        Percent codes in the path are decoded: a ``?`` in a name is ``%3F``, a ``%`` is ``%25``.
    allowed
        Options by name, each with what reads its value, a text of the URL or an object, and raises ValueError.
    storage_options
        More options.

    Raises
    ------
    MetadataError
        For an option that is not known, given twice, or of a wrong value.
    """
    path, _, query = url.partition("://")[2].partition("?")
    given = [*parse_qsl(query, keep_blank_values=True), *storage_options.items()]
    options: dict[str, Any] = {}
    for name, value in given:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise MetadataError(f"{short(name)} is no option of this store; known ones: {known}", field=str(name))
        if name in options:
            raise MetadataError(f"the option {name} is given twice", field=name)
        try:
            options[name] = allowed[name](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise MetadataError(f"{short(value)} is no value for the option {name}: {error}", field=name) from None
    return unquote(path), options


def place(path: str) -> str:
    """A path as it is kept: absolute, with one slash in front, ``~`` resolved."""
    found = os.path.abspath(os.path.expanduser(path))
    return "/" + found.lstrip("/") if found.startswith("//") else found


def quoted(path: str) -> str:
    """A path as it stands in a URL.

    >>> quoted("/a b/50%?.db")
    '/a b/50%25%3F.db'
    """
    return path.replace(os.sep, "/").replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def flag(value: Any) -> bool:
    """Yes or no.

    >>> flag("true"), flag("0"), flag(True)
    (True, False, True)
    """
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    found = known.get(str(value).lower())
    if found is None:
        raise ValueError("it is true or false")
    return found


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("it is a text")
    return value


def seconds(value: Any) -> float:
    """A length of time."""
    found = float(value)
    if not 0 <= found < 1e6:
        raise ValueError("it is a number of seconds")
    return found


def positive(value: Any) -> int:
    """A whole number of at least 1."""
    found = int(value)
    if found < 1 or isinstance(value, (bool, float)):
        raise ValueError("it is a whole number of at least 1")
    return found
