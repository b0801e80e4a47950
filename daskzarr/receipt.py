"""What tasks that write hand on: a receipt for each stored object, what one task did, and the sum of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Receipt(NamedTuple):
    """One stored object is finished.

    ``key`` is relative to the node, ``nbytes`` what is stored, ``digest`` the CRC-32C of that: None if the object holds
    nothing but fill and was left out (0 if digests are not asked for). ``seconds`` is what encoding and storing took.
    """

    key: str
    nbytes: int
    digest: int | None
    seconds: float


class Outcome(NamedTuple):
    """What one task did: objects it finished, objects it could not write, and why, and pieces for other tasks."""

    receipts: Sequence[Receipt] = ()
    failures: tuple[tuple[str, str], ...] = ()
    pieces: Any = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did.

    Parameters
    ----------
    objects
        Stored objects that were written, those left out not counted.
    elided
        Objects that hold nothing but fill, and so were left out.
    nbytes
        Bytes stored.
    failures
        Pairs of chunk key and reason: objects that could not be written.

    Examples
    --------
    >>> Written.of([Outcome([Receipt("c/0", 10, 7, 0.1), Receipt("c/1", 0, None, 0.1)])])
    Written(objects=1, elided=1, nbytes=10, failures=())
    """

    objects: int = 0
    elided: int = 0
    nbytes: int = 0
    failures: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Written:
        """The sum of what tasks did."""
        objects = elided = nbytes = 0
        failures: list[tuple[str, str]] = []
        for outcome in outcomes:
            for receipt in outcome.receipts:
                nbytes += receipt.nbytes
                if receipt.digest is None:
                    elided += 1
                else:
                    objects += 1
            failures.extend(outcome.failures)
        return cls(objects, elided, nbytes, tuple(failures))

    def __add__(self, other: Written) -> Written:
        if not isinstance(other, Written):
            return NotImplemented
        return Written(
            self.objects + other.objects,
            self.elided + other.elided,
            self.nbytes + other.nbytes,
            self.failures + other.failures,
        )
