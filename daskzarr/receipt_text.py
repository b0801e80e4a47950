"""Receipts <-> batches of text, of which only whole ones are read; a log is any number of batches, one after the other.

A batch begins with a newline, so that a torn one before it spoils only itself::

    #7c9a2c1e 1732197600000000000
    c/0/0 1024 0a1b2c3d 0.00125
    c/0/1 0 - 3.1e-05

First the CRC-32C of all that follows it, and when it was noted; then a line for each object with key, bytes stored,
digest (``-`` if it holds nothing but fill and was left out) and seconds. All is visible ASCII: whatever else is in a
key stands there as percent escapes, as do ``%`` and ``#``, so that ``#`` begins a batch and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

from daskzarr.checksum import crc32c
from daskzarr.receipt import Receipt

_PLAIN = re.compile(r"[!-\"$&-~]*")
_SAFE = "".join(character for character in map(chr, range(128)) if _PLAIN.fullmatch(character))
_STORED, _LEFT_OUT = "%s %d %08x %.6g", "%s %d - %.6g"
_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9]{1,20})(?:\n|\Z)")
_LINE = re.compile(rb"^([!-~]*) ([0-9]{1,20}) ([0-9a-f]{8}|-) ([0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)$", re.MULTILINE)


def format_batch(receipts: Sequence[Receipt], noted_at: int) -> bytes:
    r"""Receipts as one batch.

    Examples
    --------
    >>> format_batch([Receipt("c/0", 10, 7, 0.25), Receipt("c/1", 0, None, 0.5)], 1732197600)
    b'\n#dd7220d2 1732197600\nc/0 10 00000007 0.25\nc/1 0 - 0.5'
    """
    if not _PLAIN.fullmatch("".join([receipt[0] for receipt in receipts])):
        receipts = [receipt._replace(key=_escape(receipt.key)) for receipt in receipts]
    lines = [_STORED % r if r[2] is not None else _LEFT_OUT % (r[0], r[1], r[3]) for r in receipts]
    text = "\n".join([str(noted_at), *lines]).encode()
    return b"\n#%08x %b" % (crc32c(text), text)


def parse_batches(text: bytes) -> Iterator[tuple[int, list[Receipt]]]:
    """When each batch that is whole was noted, and its receipts.

    Examples
    --------
    >>> batch = format_batch([Receipt("c/0", 10, 7, 0.25)], 1732197600)
    >>> list(parse_batches(batch[:-1] + batch))
    [(1732197600, [Receipt(key='c/0', nbytes=10, digest=7, seconds=0.25)])]
    """
    for batch in text.split(b"\n#")[1:]:
        head = _HEAD.match(batch)
        if head and int(head[1], 16) == crc32c(batch[9:]):
            yield int(head[2]), [*_parse_lines(batch[head.end() :])]


def _parse_lines(lines: bytes) -> Iterator[Receipt]:
    """The receipts in lines; a line that is none is passed over."""
    for written, nbytes, digest, seconds in _LINE.findall(lines):
        key = written.decode()
        if "%" in key or "#" in key:
            try:
                key = unquote(key, errors="surrogatepass")
            except ValueError:
                continue
            if _escape(key).encode() != written:
                continue
        yield Receipt(key, int(nbytes), None if digest == b"-" else int(digest, 16), float(seconds))


def _escape(key: str) -> str:
    """A key in visible ASCII characters."""
    return quote(key, safe=_SAFE, errors="surrogatepass")
