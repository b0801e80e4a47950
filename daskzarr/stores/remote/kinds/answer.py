"""What a server sent of a value -> the part that was asked for; a listing's entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from daskzarr.byte_range import ByteRange
from daskzarr.stores.protocol import Buffer

FAR = 2**62
"""A place beyond the end of any value, and of what some servers can count."""


class Entry(NamedTuple):
    """A file or folder that is listed: its path as the file system spells it, and a file's size where it is told."""

    path: str
    size: int | None
    is_folder: bool


class Parts(list[Buffer | None]):
    """Parts of one value, and what is another one after that was replaced; None where the server does not tell."""

    version: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of a value, perhaps others than were asked for: servers may send all of it instead of a part.

    Attributes
    ----------
    body
        The bytes.
    start
        Where in the value they begin; negative: so far from its end.
    size
        Bytes in the whole value; None if the answer does not tell.
    version
        What is another one after the value was replaced; None if the answer does not tell.
    """

    body: Buffer
    start: int = 0
    size: int | None = None
    version: str | None = None


def range_header(wanted: ByteRange) -> str:
    """A ``Range`` whose answer holds what is wanted, and tells the size of the value.

    >>> range_header(ByteRange(2, 3)), range_header(ByteRange(5)), range_header(ByteRange(-8, 2))
    ('bytes=2-4', 'bytes=5-', 'bytes=-8')
    """
    if wanted.offset < 0:
        return f"bytes={wanted.offset}"
    if wanted.length == 0 or wanted.offset >= FAR:  # HTTP has no such part
        return "bytes=0-0"
    if wanted.length is None or wanted.offset + wanted.length >= FAR:
        return f"bytes={wanted.offset}-"
    return f"bytes={wanted.offset}-{wanted.offset + wanted.length - 1}"


def first_asked(wanted: ByteRange) -> int:
    """The first byte that :func:`range_header` asks for, of a part that is not counted from the end."""
    return 0 if wanted.length == 0 or wanted.offset >= FAR else wanted.offset


def content_range(text: str | None) -> tuple[int | None, int | None, int | None]:
    """First and last byte and size of the value that a ``Content-Range`` names; None for what it does not.

    >>> content_range("bytes 2-4/10"), content_range("bytes */10"), content_range("bytes 2-4/*"), content_range(None)
    ((2, 4, 10), (None, None, 10), (2, 4, None), (None, None, None))
    """
    unit, _, rest = (text or "").partition(" ")
    span, _, size = rest.strip().partition("/")
    first, _, last = span.partition("-")
    if unit.lower() != "bytes":
        return None, None, None
    numbers = [int(part) if part.isascii() and part.isdecimal() else None for part in (first, last, size)]
    return numbers[0], numbers[1], numbers[2]


def part(answer: Answer, wanted: ByteRange | None) -> Buffer:
    """What was wanted (None: the whole), cut out of an answer that holds it.

    Raises
    ------
    ConnectionError
        If it does not hold all of that: it broke off on its way.

    Examples
    --------
    >>> part(Answer(b"cdef", 2, 10), ByteRange(3, 2)), part(Answer(b"abc", 0, 3), ByteRange(2, 9))
    (b'de', b'c')
    """
    body, size = answer.body, answer.size
    if size is None:
        if wanted is None or answer.start != wanted.offset or len(body) != _length(wanted):
            raise ConnectionError("the answer does not tell which part of the value it is")
        return body if wanted.length is None else body[: wanted.length]
    start, stop = (0, size) if wanted is None else wanted.bounds(size)
    if start >= stop:
        return b""
    first, last = start - answer.start, stop - answer.start
    if first < 0 or last > len(body):
        raise ConnectionError(f"the answer broke off: {len(body)} bytes came where {stop - start} had to")
    return body if first == 0 and last == len(body) else body[first:last]


def _length(wanted: ByteRange) -> int | None:
    """Bytes in the answer to what is wanted, where the value is long enough; None where only its size would tell."""
    return -wanted.offset if wanted.offset < 0 else wanted.length
