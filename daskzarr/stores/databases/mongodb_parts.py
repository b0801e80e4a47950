"""A value too large for one document <-> its parts, documents of another collection.

The parts of a value bear the name of their upload, which the document of the key names once all are there: so the value
is replaced by replacing that document. An upload that is not finished has a claim, a document beside the parts. Who
removes an upload removes its claim first: a writer that finds its claim gone writes again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.stores.databases.mongodb_ids import Span, ids
from daskzarr.stores.protocol import Buffer

PART = 2**20
"""Bytes of a part: what a reader of a few bytes has to fetch."""
_AT_ONCE = 8
_UPLOAD = re.compile(r"(?s)(.*)\.([0-9a-f]{32})")
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """The parts of one value of a key."""

    key: str
    name: str

    @property
    def claim(self) -> str:
        """The id of the claim."""
        return f"{self.key}.{self.name}"

    @property
    def span(self) -> Span:
        """The ids of the parts."""
        return Span(self.claim + ".", self.claim + "/")

    def part(self, number: int) -> str:
        """The id of a part."""
        return f"{self.claim}.{number:0{_DIGITS}d}"


def as_upload(name: str) -> Upload | None:
    """The upload whose claim has this id, if it can be one."""
    found = _UPLOAD.fullmatch(name)
    return None if found is None else Upload(found[1], found[2])


def send(parts: Any, key: str, value: Buffer) -> Upload:
    """Store a value in parts, claimed, that no document names yet."""
    upload = Upload(key, uuid.uuid4().hex)
    parts.insert_one({"_id": upload.claim})
    view = memoryview(value)
    documents = ({"_id": upload.part(i // PART), "value": bytes(view[i : i + PART])} for i in range(0, len(view), PART))
    while batch := [document for _, document in zip(range(_AT_ONCE), documents, strict=False)]:
        parts.insert_many(batch)
    return upload


def finish(parts: Any, upload: Upload) -> bool:
    """Remove the claim of an upload that a document names; False if it is gone, and with it perhaps parts."""
    return bool(parts.delete_one({"_id": upload.claim}).deleted_count)


def remove(parts: Any, upload: Upload) -> None:
    """Remove an upload that no document names or will name."""
    parts.delete_one({"_id": upload.claim})
    parts.delete_many({"_id": upload.span.query})


def sweep(parts: Any, documents: Any, upload: Upload) -> None:
    """Remove an upload unless a document names it."""
    parts.delete_one({"_id": upload.claim})
    named = documents.find_one({"_id": upload.key}, {"parts": 1})
    if named is None or named.get("parts") != upload.name:
        parts.delete_many({"_id": upload.span.query})


def uploads(parts: Any, span: Span) -> Iterator[tuple[Upload, bool]]:
    """The uploads of the keys in a span, and whether each has a claim."""
    for name in ids(parts, span, _behind):
        upload = as_upload(name)
        if upload is not None:
            yield upload, True
        else:
            upload = as_upload(name[: -_DIGITS - 1])
            if upload is not None:
                yield upload, False


def _behind(name: str) -> str:
    """Where the ids go on behind the upload of an id."""
    claim = name if as_upload(name) is not None else name[: -_DIGITS - 1]
    return claim + "/"


def fetch(parts: Any, upload: Upload, document: Mapping[str, Any], bounds: Sequence[tuple[int, int]]) -> Any:
    """Pieces of a value, each from a start to a stop, by one request for the parts they lie in.

    Returns
    -------
    list of memoryview, or None
        None if parts are gone: the value has been replaced or removed since its document was read.
    """
    part, size = document["part"], document["size"]
    wanted = [(start // part, (stop - 1) // part) for start, stop in bounds if start < stop]
    runs = _joined(wanted)
    if not runs:
        return [memoryview(b"")] * len(bounds)
    spans = [{"_id": {"$gte": upload.part(first), "$lte": upload.part(last)}} for first, last in runs]
    found = parts.find(spans[0] if len(spans) == 1 else {"$or": spans}).sort("_id", 1)
    values: dict[int, bytearray] = {}
    for first, last in runs:
        run = values[first] = bytearray()
        for number in range(first, last + 1):
            here = next(found, None)
            if (
                here is None
                or here["_id"] != upload.part(number)
                or len(here["value"]) != min(part, size - number * part)
            ):
                return None
            run += here["value"]
    return [_cut(values, part, start, stop) for start, stop in bounds]


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of numbers, sorted, those in one that overlap or meet.

    >>> _joined([(5, 6), (0, 2), (2, 3), (4, 4)])
    [(0, 6)]
    """
    joined: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _cut(values: Mapping[int, bytearray], part: int, start: int, stop: int) -> memoryview:
    """A piece of a value, from the run of parts it lies in."""
    if start >= stop:
        return memoryview(b"")
    first = max(number for number in values if number <= start // part)
    return memoryview(values[first])[start - first * part : stop - first * part]
