"""Values, ranges and keys that a store is tried with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daskzarr.byte_range import ByteRange
from daskzarr.stores import Buffer, Store

RANGES = {
    "first bytes": (0, 5),
    "middle": (3, 4),
    "one byte": (7, 1),
    "to the end": (4, None),
    "whole": (0, None),
    "whole by length": (0, 20),
    "last byte": (19, 1),
    "longer than the rest": (15, 100),
    "longer than the value": (0, 100),
    "nothing": (5, 0),
    "at the end": (20, None),
    "past the end": (30, 10),
    "past the end, open": (30, None),
    "suffix": (-4, None),
    "suffix of all": (-20, None),
    "suffix longer than the value": (-50, None),
    "inside a suffix": (-10, 4),
    "suffix by length": (-4, 4),
    "suffix shorter than its length": (-4, 9),
    "suffix that begins before the value": (-22, 5),
}

ODD_KEYS = {
    "leading dot": ".zarray",
    "dots": "..a.b..c.",
    "spaces": " a  b ",
    "percent": "50%",
    "percent code": "a%20b",
    "plus": "a+b",
    "brackets": "a[b]c",
    "only brackets": "[0]",
    "star": "a*",
    "only star": "*",
    "question mark": "a?b",
    "hash": "a#b",
    "tilde": "~",
    "at and colon": "a@b:c",
    "punctuation": "-{a,b};c=d&e$f'g\"h!",
    "upper case": "A",
    "accents": "\u00fcn\u00efc\u00f6d\u00e9",
    "beyond Latin": "\u65e5\u672c\u8a9e \U0001f30a",
    "200 characters": "x" * 200,
    "250 characters": "y" * 250,
    "odd folder": "d [1]*?/e",
    "deep": "/".join("abcdefghijklmnopqrstuvwxyz"),
}

# What an odd key stands for to code that takes it for a pattern, a part of a URL, or a path to be cleaned up.
DECOYS = ("a", "ab", "abc", "axb", "0", "50", "c", "b", "rf", "d 1xx/e")


def distinct_bytes(size: int, start: int = 0) -> bytes:
    """A value in which every eight bytes differ from every other eight, whatever ``start``.

    >>> distinct_bytes(10, 1)[:9].hex()
    '157c4a7fb979379e2a'
    """
    numbers = np.arange(start, start + -(-size // 8), dtype="<u8")
    return (numbers * np.uint64(0x9E3779B97F4A7C15)).tobytes()[:size]


def as_bytes(value: Buffer | None) -> bytes | None:
    """A value as bytes, to compare; None stays None."""
    assert value is None or isinstance(value, (bytes, bytearray, memoryview)), type(value)
    return None if value is None else bytes(value)


def value_of(store: Store, key: str, byte_range: ByteRange | None = None) -> bytes | None:
    """What ``get`` gives, as bytes."""
    return as_bytes(store.get(key) if byte_range is None else store.get(key, byte_range))


def all_bytes(values: Iterable[Buffer | None]) -> list[bytes | None]:
    """Values as bytes, to compare."""
    return [as_bytes(value) for value in values]
