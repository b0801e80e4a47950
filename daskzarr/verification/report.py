"""What a verification found of an array, or of all below a group: values that print themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["exists", "size", "digest", "decode"]

_SHOWN = 3
_BAD = {
    "missing": "noted as stored, and gone",
    "unwritten": "a write was to store or leave out each, and nothing of that is noted",
    "truncated": "shorter than they have to be",
    "corrupt": "not the bytes that were written, or bytes that do not decode",
    "changed": "longer than they have to be, or there although noted as left out",
}
_OTHERS = {
    "orphaned": "of no chunk of the array; readers do not see them, and only you can say what they are",
    "leftover": "unfinished files of writers that were killed; delete them once no write is running",
    "unfinished": "writes that did not end; make the same calls again, with resume=True, or as they were with mode='w'",
}
KINDS = {**_BAD, **_OTHERS}
"""What may be wrong with objects -> what that means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was found out about one array.

    All keys are relative to the array.

    Parameters
    ----------
    url, node
        The store, and the path of the array in it.
    level
        How far was looked.
    journal
        Whether there are journals of writes that say what has to be there.
    listed
        Whether the store could be listed; otherwise nothing is known of orphaned and leftover objects.
    stored
        Objects of chunks (or shards) that are there, whole or not.
    checked
        How many of them there was something to compare with, as far as the level asks for it: a noted size or one that
        the codecs say, a noted digest, whether they decode.
    nbytes
        Their size together, as far as it was looked at.
    elided
        Objects that are not there, and are noted to hold nothing but fill.
    absent
        Objects that are not there, of which nothing is noted. They read as fill: never written, left out, or lost.
    missing, unwritten, truncated, corrupt, changed
        Keys of objects that are to be written again. Missing ones are noted as stored, and gone; of unwritten ones
        nothing is noted, though they are of a journaled write; truncated ones are too short; corrupt ones have another
        digest than noted, or do not decode; changed ones are longer than they have to be, or noted as left out.
    orphaned
        Keys of objects that are no document, and belong to no chunk of the array's shape.
    leftover
        Keys of unfinished files.
    unfinished
        Writes that were begun and did not end, or are still running.
    """

    url: str
    node: str
    level: Level
    journal: bool
    listed: bool
    stored: int
    checked: int
    nbytes: int
    elided: int
    absent: int
    missing: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    truncated: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    leftover: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def bad(self) -> tuple[str, ...]:
        """Keys of the objects that are to be written again, sorted, each once."""
        return tuple(sorted({key for kind in _BAD for key in getattr(self, kind)}))

    @property
    def ok(self) -> bool:
        """Whether nothing is to be written again, and no write is unfinished; orphaned and leftover objects may be."""
        return not self.bad and not self.unfinished

    def as_dict(self) -> dict[str, Any]:
        """All of it as values that JSON can hold, with ``ok`` and ``bad``."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**found, "bad": list(self.bad), "ok": self.ok}

    def __str__(self) -> str:
        lines = [_title(self.url, self.node, self.level, self.ok)]
        lines.append(_row("stored", self.stored, f"{self.nbytes:,} bytes; {self.checked} could be compared"))
        if self.elided:
            lines.append(_row("elided", self.elided, "nothing but fill, and left out, as noted"))
        if self.absent:
            why = "" if self.journal else " (there is no journal to tell)"
            lines.append(_row("absent", self.absent, f"never written, left out as fill, or lost{why}"))
        for kind, meaning in KINDS.items():
            keys = getattr(self, kind)
            if keys:
                lines.append(_row(kind, len(keys), f"{meaning}: {_some(keys)}"))
        if not self.listed:
            lines.append("  the store cannot be listed: orphaned and leftover objects are not known")
        if self.bad:
            lines.append(f"  write the {len(self.bad)} objects of report.bad again: repair(x, url), x being all cells")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """What was found out about all arrays below a group.

    Parameters
    ----------
    url, node
        The store, and the path of the group in it.
    level
        How far was looked.
    reports
        Path from the group -> the report of the array there.
    unreadable
        Path from the group -> why what is there could not be looked at: a damaged document, or an unknown codec.
    unfinished
        Writes of the whole group that did not end.
    """

    url: str
    node: str
    level: Level
    reports: Mapping[str, VerifyReport] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()

    @property
    def bad(self) -> dict[str, tuple[str, ...]]:
        """Path of each array that has objects to be written again -> their keys."""
        return {path: report.bad for path, report in self.reports.items() if report.bad}

    @property
    def ok(self) -> bool:
        """Whether every array could be looked at, and is."""
        return not (self.unreadable or self.unfinished) and all(report.ok for report in self.reports.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it as values that JSON can hold."""
        reports = {path: report.as_dict() for path, report in self.reports.items()}
        bad = {path: list(keys) for path, keys in self.bad.items()}
        found = {"url": self.url, "node": self.node, "level": self.level, "reports": reports}
        rest = {"unreadable": dict(self.unreadable), "unfinished": list(self.unfinished)}
        return {**found, **rest, "bad": bad, "ok": self.ok}

    def __str__(self) -> str:
        total = sum(report.stored for report in self.reports.values())
        lines = [_title(self.url, self.node, self.level, self.ok)]
        compared = sum(report.checked for report in self.reports.values())
        lines.append(_row("arrays", len(self.reports), f"{total} objects stored; {compared} could be compared"))
        absent = sum(report.absent for report in self.reports.values() if not report.journal)
        if absent:
            lines.append(_row("absent", absent, "left out as fill, or lost (there is no journal to tell)"))
        lines.extend(f"  {path} cannot be read: {reason}" for path, reason in self.unreadable.items())
        if self.unfinished:
            lines.append(_row("unfinished", len(self.unfinished), f"{_OTHERS['unfinished']}: {_some(self.unfinished)}"))
        lines.extend(str(report) for report in self.reports.values() if not report.ok or report.orphaned)
        return "\n".join(lines)


def _title(url: str, node: str, level: str, ok: bool) -> str:
    """What was looked at, and whether it is whole."""
    return f"/{node} in {url}: {'whole' if ok else 'NOT WHOLE'}, as far as {level!r} tells"


def _row(word: str, count: int, text: str) -> str:
    """A line of the table."""
    return f"  {word:<10} {count:>9}  {text}"


def _some(keys: tuple[str, ...]) -> str:
    """The first few keys."""
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
