"""A request to a store -> the same, tried again while it fails in ways that pass, within a budget."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from daskzarr.stores.protocol import Buffer, Store
from daskzarr.stores.traffic import TRAFFIC, RetryBudget, Traffic
from daskzarr.stores.transient import is_transient, wait_told

__all__ = ["BUDGET", "attempts_of", "get_many", "is_transient", "persist"]

_Result = TypeVar("_Result")

_ATTEMPTS = "attempts_made"

BUDGET = RetryBudget()
"""What requests get that bring no budget of their own."""


def persist(call: Callable[..., _Result], *args: Any, budget: RetryBudget | None = None) -> _Result:
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
        Default: :data:`BUDGET`.

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
    try:
        return call(*args)
    except Exception as error:
        if not is_transient(error):
            raise
        return _again(error, call, args, budget or BUDGET)


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
    error: Exception, call: Callable[..., _Result], args: tuple[Any, ...], budget: RetryBudget, soon: bool = False
) -> _Result:
    """Go on with a request whose first attempt failed; the second is made at once, if ``soon``."""
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
        return max(0.0, min(max(own, told), budget.seconds - _elapsed(state)))

    def spent(state: Any) -> bool:
        return bool(state.attempt_number >= budget.attempts or _elapsed(state) >= budget.seconds)

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
