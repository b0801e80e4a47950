"""A request to a store -> the same, tried again while it fails in ways that pass, within a budget."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from daskzarr.stores.protocol import Buffer, Store
from daskzarr.stores.traffic import TRAFFIC, RetryBudget, Traffic
from daskzarr.stores.transient import is_transient, is_unreachable, wait_told

__all__ = ["BUDGET", "attempts_of", "get_many", "is_transient", "persist"]

_Result = TypeVar("_Result")

_ATTEMPTS = "attempts_made"

BUDGET = RetryBudget()
"""What requests get that bring no budget of their own."""
NOBODY_THERE = 5.0
"""Seconds for which the first document of a server is asked for where nobody answers: its address may be wrong."""

_LEFT_OUT = RetryBudget()  # stands for none, as only requests for documents bring
_MOST_NOTED = 1000

_answered: set[str] = set()
"""Servers that have answered when this process asked for a document."""


def persist(call: Callable[..., _Result], *args: Any, budget: RetryBudget | None = _LEFT_OUT) -> _Result:
    """``call(*args)``, tried again as long as it fails in ways that pass and the budget lasts.

    The call has to be one that may be repeated though an attempt that failed had its effect, as those of a store are.
    What it raises in the end is passed on as it is, with a note of how often it was tried (:func:`attempts_of`). Where
    the server says how long to wait, that is waited for, but no longer than the budget lasts.

    Parameters
    ----------
    call
        Usually a store's method.
    *args
        Its arguments.
    budget
        None: :data:`BUDGET`. That is the default too, but for the first ``get`` from a server in this process: where
        nobody answers at its address, that is tried again for :data:`NOBODY_THERE` seconds only.

    Examples
    --------
    >>> answers = iter([TimeoutError(), b"1"])
    >>> def get(key):
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> persist(get, "a", budget=RetryBudget(first_wait=0.001))
    b'1'
    """
    server = _server_of(call) if budget is _LEFT_OUT else None
    try:
        found = call(*args)
    except Exception as error:
        if not is_transient(error):
            raise
        first = server is not None and server not in _answered
        found = _again(error, call, args, BUDGET if budget is None or budget is _LEFT_OUT else budget, first=first)
    if server is not None:
        if len(_answered) >= _MOST_NOTED:
            _answered.clear()
        _answered.add(server)
    return found


def _server_of(call: Callable[..., Any]) -> str | None:
    """Scheme and server of the store that a value is asked of; None for all other requests."""
    url = getattr(getattr(call, "__self__", None), "url", None) if getattr(call, "__name__", "") == "get" else None
    if not isinstance(url, str):
        return None
    scheme, _, place = url.rpartition("://")
    return f"{scheme}://{place.partition('/')[0]}"


def get_many(store: Store, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
    """Values of several keys, in their order; where a request fails in a way that passes, it goes on from there.

    Parameters
    ----------
    store, keys
        As for :meth:`Store.get_many`.
    traffic
        How many requests at once, and how often each is tried again.
    """
    values = store.get_many(keys, traffic)
    for i, key in enumerate(keys):
        try:
            try:
                value = next(values)
            except StopIteration:  # an iterator that raised may give no more
                values = store.get_many(keys[i:], traffic)
                value = next(values)
        except Exception as error:
            if not is_transient(error):
                raise
            # Others that failed at the same time had their wait while this one waited for its turn.
            value = _again(error, store.get, (key,), traffic.retries or BUDGET, soon=True)
        yield value


def attempts_of(error: BaseException) -> int:
    """How often the request was made that an error came of, or its cause; 1 where nothing tells.

    >>> try:
    ...     persist(int, "x")
    ... except ValueError as error:
    ...     attempts_of(error)
    1
    """
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            break
        attempts = getattr(found, _ATTEMPTS, None)
        if isinstance(attempts, int):
            return attempts
        found = found.__cause__
    return 1


def _again(
    error: Exception,
    call: Callable[..., _Result],
    args: tuple[Any, ...],
    budget: RetryBudget,
    *,
    soon: bool = False,
    first: bool = False,
) -> _Result:
    """Go on with a request whose first attempt failed; the second is made at once, if ``soon``.

    If it is the ``first`` one to a server, less patience is had with nobody being there.
    """
    import tenacity  # only where something fails

    failed = [error]

    def attempt() -> _Result:
        if failed:
            raise failed.pop()  # the first attempt, made already
        return call(*args)

    def wait(state: Any) -> float:
        longest = budget.first_wait * 2.0 ** (state.attempt_number - 1)
        own = 0.0 if soon and state.attempt_number == 1 else random.uniform(longest / 2, longest)
        told = wait_told(state.outcome.exception()) or 0.0
        return max(0.0, min(max(own, told), seconds(state) - _elapsed(state)))

    def seconds(state: Any) -> float:
        nobody = first and is_unreachable(state.outcome.exception())
        return min(budget.seconds, NOBODY_THERE) if nobody else budget.seconds

    def spent(state: Any) -> bool:
        return bool(state.attempt_number >= budget.attempts or _elapsed(state) >= seconds(state))

    retrying = tenacity.Retrying(retry=tenacity.retry_if_exception(is_transient), wait=wait, stop=spent, reraise=True)
    try:
        return retrying(attempt)
    except Exception as last:
        times = retrying.statistics["attempt_number"]
        with contextlib.suppress(AttributeError, TypeError):  # of a class that takes no attributes
            setattr(last, _ATTEMPTS, times)
        last.add_note(f"given up after {times} attempts")
        raise


def _elapsed(state: Any) -> float:
    """Seconds since the first failure."""
    return float(state.seconds_since_start or 0.0)
