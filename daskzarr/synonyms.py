"""Two words for one setting -> its value."""

from __future__ import annotations

from typing import Any

from daskzarr.errors import MetadataError


def one_of(word: str, value: Any, synonym: str, other: Any) -> Any:
    """The value given under either word; None stands for not given."""
    if value is not None and other is not None and value != other:
        raise MetadataError(f"{word} and {synonym} mean the same and differ: {value!r} and {other!r}", field=word)
    return other if value is None else value
