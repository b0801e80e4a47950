"""A JSON value of a document and the name of its place -> the value, if it is of the kind that has to be there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from daskzarr.errors import MetadataError, short


def wrong(field: str, value: Any, wanted: str) -> MetadataError:
    """The error that a value is not what it has to be."""
    return MetadataError(f"{field} is {short(value)}; it has to be {wanted}", field=field)


def read_mapping(value: Any, field: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise wrong(field, value, "a JSON object")
    return value


def read_list(value: Any, field: str) -> list[Any]:
    """A list of anything."""
    if not isinstance(value, list):
        raise wrong(field, value, "a list")
    return value


def read_text(value: Any, field: str) -> str:
    """Text, and some."""
    if not isinstance(value, str) or not value:
        raise wrong(field, value, "text")
    return value


def read_optional_text(document: Mapping[str, Any], name: str, field: str) -> str | None:
    """Text that may be missing, or null, or empty."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(f"{field}.{name}", value, "text")
    return value


def read_number(value: Any, field: str) -> float:
    """A finite number."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise wrong(field, value, "a finite number")
        return float(value)
    except OverflowError:  # an integer of more digits than a float has
        raise wrong(field, value, "a finite number") from None


def read_path(value: Any, field: str) -> str:
    """The path of a node below the one whose document this is; it leads nowhere else."""
    path = read_text(value, field)
    parts = path.split("/")
    if not all(parts) or any(set(part) == {"."} or "\\" in part or "\0" in part for part in parts):
        raise wrong(field, value, "the path of a node below the group, such as '0'")
    return path
