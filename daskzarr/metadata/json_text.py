"""JSON text of a document <-> Python values: strict writing, lenient reading."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from daskzarr.errors import MetadataError

_Read = TypeVar("_Read")
_SHORT = 1000
_MOST = 64


def parse_object(text: bytes | bytearray | memoryview, name: str) -> dict[str, Any]:
    """A JSON object from a stored document; the bare tokens NaN and Infinity, which some write, are read."""
    try:
        value = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{name} is no JSON: {error}", field=name) from None
    if not isinstance(value, dict):
        raise MetadataError(f"{name} holds a {type(value).__name__} where a JSON object has to be", field=name)
    return value


def remembered(read: Callable[[Any], _Read]) -> Callable[[Any], _Read]:
    """A function of a JSON value, which knows what it gave for the last that were short: arrays of a group are alike.

    What it gives is given again, so that it has to be something that nobody changes. An error is not remembered.

    >>> remembered(tuple)([1, 2]) is remembered(tuple)([1, 2]), (again := remembered(tuple))([1, 2]) is again([1, 2])
    (False, True)
    """
    known: dict[str, _Read] = {}

    @wraps(read)
    def of(value: Any) -> _Read:
        try:
            key = repr(value)  # faster than JSON text; in it, too, 0, 0.0 and False are not the same
            found = known.get(key)
            if found is None and len(key) <= _SHORT:
                value = json.loads(json.dumps(value))  # a copy that only this one has
        except (TypeError, ValueError, RecursionError):
            return read(value)
        if found is not None:
            return found
        found = read(value)
        if len(key) <= _SHORT:
            if len(known) >= _MOST:
                known.clear()
            known[key] = found
        return found

    return of


def format_object(document: Mapping[str, Any]) -> bytes:
    """A document as UTF-8 JSON. Values that JSON cannot hold are refused by name, never bent."""
    try:
        return to_utf8(document, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MetadataError(f"the document cannot be written as JSON: {error}") from None


def to_utf8(document: Mapping[str, Any], **options: Any) -> bytes:
    """JSON text without escapes, which some readers get wrong; half a character can be written by an escape only."""
    try:
        return json.dumps(document, ensure_ascii=False, **options).encode()
    except UnicodeEncodeError:
        return json.dumps(document, **options).encode()


def json_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON values: NumPy scalars and arrays become numbers and lists.

    >>> import numpy as np
    >>> json_attributes({"a": np.int64(1), "b": np.arange(2.0)})
    {'a': 1, 'b': [0.0, 1.0]}
    """
    if not isinstance(attributes, Mapping):
        raise MetadataError(f"attributes is a {type(attributes).__name__}, not a mapping", field="attributes")
    try:
        return {str(name): _json_value(value, str(name)) for name, value in attributes.items()}
    except RecursionError:
        pass  # its traceback is too long to travel with the error
    raise MetadataError("an attribute holds itself, or they are nested too deeply", field="attributes")


def _json_value(value: Any, name: str) -> Any:
    """One attribute, or what lies in it."""
    if hasattr(value, "tolist") and value.dtype.kind not in "mMV":  # NumPy arrays and scalars
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        raise MetadataError(
            f"attribute {name!r} holds {value}, which JSON has no token for; write it as the string {str(value)!r}",
            field="attributes",
        )
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _json_value(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
    raise MetadataError(
        f"attribute {name!r} is a {type(value).__name__}, which JSON cannot hold; "
        "use text, numbers, booleans, None, lists or dicts",
        field="attributes",
    )
