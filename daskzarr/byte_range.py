"""Part of a stored value: an offset and a length in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A run of bytes in a stored value.

    Parameters
    ----------
    offset
        First byte, counted from the start; negative counts from the end, so
        ``ByteRange(-20)`` is the last 20 bytes (or the whole value, if shorter).
    length
        Number of bytes, or None for all that follow. A range past the end gives what there is.

    Examples
    --------
    >>> ByteRange(2, 3).of(b"abcdefg"), ByteRange(-2).of(b"abcdefg")
    (b'cde', b'fg')
    """

    offset: int
    length: int | None = None

    def bounds(self, size: int) -> tuple[int, int]:
        """Start and stop in a value of ``size`` bytes, clipped to it."""
        start = max(size + self.offset, 0) if self.offset < 0 else min(self.offset, size)
        stop = size if self.length is None else min(start + self.length, size)
        return start, stop

    def of(self, value: bytes) -> bytes:
        """Cut the range out of a whole value."""
        start, stop = self.bounds(len(value))
        return value[start:stop]
