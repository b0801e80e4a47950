"""A client of obstore and a key -> what one request to it gives; errors are the client's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from daskzarr.byte_range import ByteRange
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.remote.object_client import is_conflict, is_of_range

_PART = 8 * 2**20
_WHOLE = 16 * 2**20
_MOST_PARTS = 9_000  # services allow ten thousand
_PARTS_AT_ONCE = 4

TRIES = 4
"""How often an object is read anew that was replaced meanwhile."""
REPLACED = "the object was replaced again and again while it was read"


class Part(NamedTuple):
    """A part of an object, and what tells the object from the one that takes its place."""

    value: Buffer
    version: str | None


def read(opened: Any, key: str) -> Buffer:
    """The whole object: a view of what was received."""
    return memoryview(opened.get(key).bytes())


def read_part(opened: Any, key: str, byte_range: ByteRange) -> Part:
    """A part of an object; by its size, where the service refuses to give it otherwise."""
    start, length = byte_range.offset, byte_range.length
    if length == 0:
        return Part(b"", _version(opened.head(key)))
    wanted: Any = {"suffix": -start} if start < 0 else {"offset": start} if length is None else (start, start + length)
    try:
        found = _range(opened, key, wanted)
        return found if start >= 0 else Part(found.value[:length], found.version)
    except Exception as error:
        if not is_of_range(error):
            raise
    try:
        return _part_by_size(opened, key, byte_range)
    except Exception as error:
        if not is_of_range(error):
            raise
    whole = opened.get(key)  # from a server that knows no ranges
    value = memoryview(whole.bytes())
    first, last = byte_range.bounds(value.nbytes)
    return Part(value[first:last], _version(whole.meta))


def _part_by_size(opened: Any, key: str, byte_range: ByteRange) -> Part:
    """A part of an object whose size is asked for first."""
    for _ in range(TRIES):
        noted = opened.head(key)
        first, last = byte_range.bounds(int(noted["size"]))
        if first >= last:
            return Part(b"", _version(noted))
        found = _range(opened, key, (first, last))
        if len({found.version, _version(noted)} - {None}) < 2:
            return found
    raise ConnectionError(REPLACED)


def put(opened: Any, key: str, value: Buffer) -> bool:
    """Put an object, a big one in parts."""
    size = memoryview(value).nbytes
    opened.put(
        key,
        value,
        use_multipart=size > _WHOLE,
        chunk_size=max(_PART, -(-size // _MOST_PARTS)),
        max_concurrency=_PARTS_AT_ONCE,
    )
    return True


def put_new(opened: Any, key: str, value: Buffer) -> bool:
    """Put an object where there is none."""
    try:
        opened.put(key, value, mode="create")
    except Exception as error:
        if type(error).__name__ != "AlreadyExistsError" or is_conflict(error):
            raise
        return False
    return True


def delete(opened: Any, keys: Sequence[str]) -> bool:
    """Remove objects, of which some services say that they are missing."""
    opened.delete(keys)
    return True


def _range(opened: Any, key: str, wanted: Any) -> Part:
    """What one request for a part gives."""
    found = opened.get(key, options={"range": wanted})
    return Part(memoryview(found.bytes()), _version(found.meta))


def _version(noted: Any) -> str | None:
    """What the service calls this version of an object, if it says so."""
    version: str | None = noted.get("e_tag") or noted.get("version")
    return version
