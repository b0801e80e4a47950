"""A request to a store -> the same, tried again while it fails in ways that pass, within a budget."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from daskzarr.errors import DaskZarrError, StoreError
from daskzarr.stores.protocol import Buffer, Store
from daskzarr.stores.traffic import TRAFFIC, RetryBudget, Traffic

_Result = TypeVar("_Result")

_PASSING = {
    getattr(errno, name)
    for name in (
        "EIO",
        "ESTALE",
        "EAGAIN",
        "EINTR",
        "ETIMEDOUT",
        "EBUSY",
        "ENETDOWN",
        "ENETUNREACH",
        "ENETRESET",
        "ECONNRESET",
        "ECONNABORTED",
        "EHOSTUNREACH",
        "EPIPE",
    )
    if hasattr(errno, name)
}
_LASTING = (PermissionError, FileNotFoundError)
_PASSING_STATUS = {408, 429, *range(500, 600)}
_PASSING_CODES = {
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


BUDGET = RetryBudget()
"""What requests get that bring no budget of their own."""


def persist(call: Callable[..., _Result], *args: Any, budget: RetryBudget | None = None) -> _Result:
    """``call(*args)``, tried again as long as it fails in ways that pass and the budget lasts.

    The call has to be one that may be repeated though an attempt that failed had its effect, as those of a store are.
    What it raises in the end is passed on as it is, with a note of how often it was tried.

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
            value = persist(store.get, key, budget=traffic.retries)
        yield value


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed in a while.

    So it is for time-outs, broken connections, errors of a disk or network that is there again later, and a server's
    "too many requests" or "my fault". Of a :class:`StoreError` its cause decides. Everything else, and whatever is
    not known, stays as it is however often it is tried: refused access, a missing file, a full disk or quota.
    """
    if isinstance(error, StoreError) and error.__cause__ is not None:
        return is_transient(error.__cause__)
    if isinstance(error, _LASTING) or (isinstance(error, DaskZarrError) and not isinstance(error, StoreError)):
        return False
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _PASSING or _passing_answer(error)
    return isinstance(error, Exception) and _passing_answer(error)


def _passing_answer(error: Exception) -> bool:
    """Whether the error stands for an answer of a server that says "later"."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        about, reason = answer.get("ResponseMetadata"), answer.get("Error")
        if isinstance(reason, Mapping) and str(reason.get("Code")) in _PASSING_CODES:
            return True
        return isinstance(about, Mapping) and _is_passing_status(about.get("HTTPStatusCode"))
    # Only the first that is there: a client library may warn of another name it had for it.
    named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return _is_passing_status(next((number for number in named if number is not None), None))


def _is_passing_status(number: object) -> bool:
    """Whether a status of HTTP says "later"."""
    return isinstance(number, int) and number in _PASSING_STATUS


def _again(error: Exception, call: Callable[..., _Result], args: tuple[Any, ...], budget: RetryBudget) -> _Result:
    """Go on with a request whose first attempt failed."""
    import tenacity  # only where something fails

    failed = [error]

    def attempt() -> _Result:
        if failed:
            raise failed.pop()  # the first attempt, made already
        return call(*args)

    def wait(state: Any) -> float:
        longest = budget.first_wait * 2.0 ** (state.attempt_number - 1)
        return max(0.0, min(random.uniform(longest / 2, longest), budget.seconds - _elapsed(state)))

    def spent(state: Any) -> bool:
        return bool(state.attempt_number >= budget.attempts or _elapsed(state) >= budget.seconds)

    retrying = tenacity.Retrying(retry=tenacity.retry_if_exception(is_transient), wait=wait, stop=spent, reraise=True)
    try:
        return retrying(attempt)
    except Exception as last:
        times = retrying.statistics["attempt_number"]
        last.add_note(f"given up after {times} attempts")
        raise


def _elapsed(state: Any) -> float:
    """Seconds since the first failure."""
    return float(state.seconds_since_start or 0.0)
