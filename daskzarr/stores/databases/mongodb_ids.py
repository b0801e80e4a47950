"""A collection whose ids are paths -> the ids in a span of them, with leaps over those that are not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_FEW, _MANY = 64, 4096


@dataclass(frozen=True, slots=True)
class Span:
    """Ids from one on, up to another that is not among them; ids are ordered by their code points."""

    start: str = ""
    stop: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """What MongoDB calls it."""
        return {"$gte": self.start} | ({} if self.stop is None else {"$lt": self.stop})


def below(prefix: str) -> Span:
    """The keys that begin with ``prefix/``; all for ``""``.

    >>> below("a")
    Span(start='a/', stop='a0')
    """
    prefix = prefix.rstrip("/")
    return Span(prefix + "/", prefix + chr(ord("/") + 1)) if prefix else Span()


def following(name: str) -> str:
    """The least id behind another one."""
    return name + "\0"


def ids(collection: Any, span: Span, behind: Callable[[str], str] = following) -> Iterator[str]:
    """Ids in order; after each it goes on where ``behind`` says. Requests grow while most of what comes is wanted."""
    for document in documents(collection, span, {"_id": 1}, behind):
        yield document["_id"]


def documents(
    collection: Any, span: Span, fields: dict[str, int], behind: Callable[[str], str] = following
) -> Iterator[dict[str, Any]]:
    """The same as :func:`ids` for documents, of which only some fields come."""
    start, most = span.start, _FEW
    while True:
        found = list(collection.find({"_id": Span(start, span.stop).query}, fields).sort("_id", 1).limit(most))
        used = 0
        for document in found:
            if document["_id"] >= start:
                yield document
                start = behind(document["_id"])
                used += 1
        if len(found) < most:
            return
        most = min(2 * most, _MANY) if 2 * used > most else _FEW
