"""How many requests a task has under way, how large, how often again: one value that travels with an array's handle."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

REQUESTS = 16
"""Requests that a task has under way at once: enough to fill a network, few enough for many tasks at once."""
NBYTES = 256 * 2**20
"""Bytes of values that a task has asked for, or has and did not use yet."""
GAP = 128 * 2**10
"""Bytes between two parts of a value that cost less to read than another request: 1 ms at 1 Gbit/s."""
AHEAD = 2
"""Values kept for one that is late, or asked for, per request: it takes twice as many as requests are under way."""
SECONDS = 60.0
"""How long a request is tried again, from its first failure."""
ATTEMPTS = 8
"""How often a request is tried at most."""
FIRST_WAIT = 0.4
"""Seconds before the second attempt; each further wait is twice as long. Up to half of each is left out by chance."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How long, how often and how soon a request is tried again."""

    seconds: float = SECONDS
    attempts: int = ATTEMPTS
    first_wait: float = FIRST_WAIT


class _Open(AbstractContextManager[None]):
    """A gate that lets everyone in; all of them are the same."""

    def __exit__(self, *ended: object) -> None:
        """Nothing to give back."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Open)

    def __hash__(self) -> int:
        return hash(_Open)


_OPEN = _Open()


@dataclass(frozen=True, slots=True)
class Traffic:
    """How a task's requests to a store go.

    Parameters
    ----------
    requests
        How many are under way at once, at most.
    nbytes
        How many bytes of values are asked for, or there and not used yet, at most; one value may always be.
    gap
        Parts of one value that lie no further apart are read by one request.
    retries
        How long and how often a request that failed is tried again. Default: :data:`daskzarr.stores.retries.BUDGET`.
    gate
        Entered by a task before it asks and left when it has its answers: bounds how many tasks ask at once. Default:
        none. One that travels must pickle, and one thread may enter it again inside.

    Examples
    --------
    >>> Traffic(requests=16, nbytes=2**20).sized(2**18).requests
    2
    """

    requests: int = REQUESTS
    nbytes: int = NBYTES
    gap: int = GAP
    retries: RetryBudget | None = None
    gate: AbstractContextManager[Any] = _OPEN

    def sized(self, nbytes: int) -> Traffic:
        """The same for values of so many bytes each: no more requests at once than their bytes are allowed."""
        requests = max(min(self.requests, self.nbytes // max(nbytes * AHEAD, 1)), 1)
        return self if requests == self.requests else replace(self, requests=requests)


TRAFFIC = Traffic()
"""What requests get that bring none of their own."""
