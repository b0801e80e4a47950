"""A chunk's index in the grid <-> the key its object is stored under, relative to the array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ChunkKeyEncoding:
    """How chunk indices become keys (Zarr v3 core, chunk key encodings).

    Parameters
    ----------
    name
        ``"default"`` (keys start with ``c``), ``"v2"``, or ``"n5"`` (the last index first; N5, block path).
    separator
        ``"/"`` or ``"."`` between the indices.

    Examples
    --------
    >>> ChunkKeyEncoding("default", "/").encode((1, 23)), ChunkKeyEncoding("v2", ".").encode((1, 23))
    ('c/1/23', '1.23')
    >>> ChunkKeyEncoding("default", "/").encode(()), ChunkKeyEncoding("v2", ".").encode(())
    ('c', '0')
    >>> ChunkKeyEncoding("n5", "/").encode((1, 23)), ChunkKeyEncoding("n5", "/").decode("23/1")
    ('23/1', (1, 23))
    """

    name: Literal["default", "v2", "n5"]
    separator: Literal["/", "."]

    def encode(self, index: tuple[int, ...]) -> str:
        """Key of the chunk at ``index``."""
        return self.encoder("")(index)

    def encoder(self, prefix: str) -> Callable[[tuple[int, ...]], str]:
        """A function index -> ``prefix`` + key, with everything but the index worked out beforehand."""
        join = self.separator.join
        if self.name == "default":
            head, lead = prefix + "c", prefix + "c" + self.separator
            return lambda index: lead + join(map(str, index)) if index else head
        if self.name == "n5":
            return lambda index: prefix + join(map(str, index[::-1]))
        return lambda index: prefix + join(map(str, index)) if index else prefix + "0"

    def decode(self, key: str) -> tuple[int, ...] | None:
        """Index of the chunk stored under ``key``, or None if ``key`` is no chunk key.

        >>> ChunkKeyEncoding("default", "/").decode("c/1/23"), ChunkKeyEncoding("v2", ".").decode("zarr.json")
        ((1, 23), None)
        """
        parts = key.split(self.separator)
        if self.name == "default":
            if parts[0] != "c":
                return None
            parts = parts[1:]
        if not all(part.isdecimal() and part.isascii() and len(part) < 20 for part in parts):
            return None
        index = tuple(map(int, parts[::-1] if self.name == "n5" else parts))
        return index if self.encode(index) == key else None
