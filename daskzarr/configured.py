"""The ``daskzarr`` part of Dask's configuration -> how an array's requests go, with a limit for a whole cluster."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import dask
from dask.utils import parse_bytes, parse_timedelta

from daskzarr.errors import MetadataError, short
from daskzarr.stores import RetryBudget, Store, Traffic

_Value = TypeVar("_Value")

_DEFAULT, _RETRIES = Traffic(), RetryBudget()
_NAMES = {
    "requests": ("in-flight", "bytes", "gap", "tasks"),
    "retries": ("time", "attempts", "first-wait"),
}


def traffic_to(store: Store) -> Traffic:
    """How requests to a store are to go, as Dask's configuration says now, on the client.

    Parameters
    ----------
    store
        Its url stands for the target that a limit for the cluster is of.

    Returns
    -------
    Traffic
        From ``daskzarr.requests.in-flight``, ``.bytes``, ``.gap`` and ``.tasks``, and from ``daskzarr.retries.time``,
        ``.attempts`` and ``.first-wait``; docs/stores.md says what each is.

    Raises
    ------
    MetadataError
        If a setting is no number, or one that cannot be, or none that there is.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> with dask.config.set({"daskzarr.requests.in-flight": 4, "daskzarr.requests.gap": "1 MiB"}):
    ...     traffic = traffic_to(MappingStore({}))
    >>> traffic.requests, traffic.gap
    (4, 1048576)
    """
    if not dask.config.get("daskzarr", None):
        return _DEFAULT
    _check_names()
    tasks = _setting("requests.tasks", _whole, None, least=1)
    given = Traffic(
        requests=_setting("requests.in-flight", _whole, _DEFAULT.requests, least=1),
        nbytes=_setting("requests.bytes", parse_bytes, _DEFAULT.nbytes, least=1),
        gap=_setting("requests.gap", parse_bytes, _DEFAULT.gap, least=0),
        retries=_retries(),
    )
    if tasks is None:
        return given
    return Traffic(given.requests, given.nbytes, given.gap, given.retries, gate=TaskLimit(limit_name(store), tasks))


def _check_names() -> None:
    """Every name below a part of the configuration is that of a setting; to Dask ``-`` and ``_`` are the same."""
    for part, known in _NAMES.items():
        found = dask.config.get(f"daskzarr.{part}", None)
        if found is None:
            continue
        if not isinstance(found, Mapping):
            raise _wrong_name(part, f"is {short(found)}, which is no setting", part)
        for name in found:
            if str(name).replace("_", "-") not in known:
                raise _wrong_name(part, f"has no setting {short(name)}", f"{part}.{name}")


def _wrong_name(part: str, what: str, field: str) -> MetadataError:
    """The error for a setting that there is not."""
    return MetadataError(
        f"daskzarr.{part} of Dask's configuration {what}; there are {', '.join(_NAMES[part])}",
        field=f"daskzarr.{field}",
    )


def _retries() -> RetryBudget | None:
    """The budget for requests that failed; None if nothing is set."""
    if not dask.config.get("daskzarr.retries", None):
        return None
    return RetryBudget(
        seconds=_setting("retries.time", parse_timedelta, _RETRIES.seconds, least=0),
        attempts=_setting("retries.attempts", _whole, _RETRIES.attempts, least=1),
        first_wait=_setting("retries.first-wait", parse_timedelta, _RETRIES.first_wait, least=0),
    )


def _setting(name: str, read: Callable[[Any], _Value], default: Any, *, least: float) -> Any:
    """A setting, checked."""
    found = dask.config.get(f"daskzarr.{name}", None)
    if found is None:
        return default
    try:
        value: Any = read(found)
    except (TypeError, ValueError, KeyError):
        value = None
    if value is None or isinstance(found, bool) or value < least:
        raise MetadataError(
            f"daskzarr.{name} of Dask's configuration is {short(found)}; it has to be {least} or more",
            field=f"daskzarr.{name}",
        )
    return value


def _whole(value: Any) -> int:
    """A whole number."""
    number = int(value)
    if number != float(value):
        raise ValueError("no whole number")
    return number


def limit_name(store: Store) -> str:
    """The name of the limit for a store: one for all arrays in it."""
    identity = str(getattr(store, "identity", ""))
    return "daskzarr-" + hashlib.sha256(f"{store.url}\0{identity}".encode()).hexdigest()[:24]


_held = threading.local()
_lock = threading.Lock()
_semaphores: dict[TaskLimit, AbstractContextManager[Any]] = {}


@dataclass(frozen=True, slots=True)
class TaskLimit(AbstractContextManager[None]):
    """At most so many tasks of a whole cluster are between entering and leaving it.

    On a cluster that is a lease of Dask's semaphore of this name, on the scheduler; without one, of this process alone.
    A thread that holds a lease enters again without another one.
    """

    name: str
    tasks: int

    def __enter__(self) -> None:
        depth = _depths()
        if not depth.get(self):
            self._semaphore().__enter__()
        depth[self] = depth.get(self, 0) + 1

    def __exit__(self, *ended: Any) -> None:
        depth = _depths()
        depth[self] -= 1
        if not depth[self]:
            del depth[self]
            self._semaphore().__exit__(*ended)

    def _semaphore(self) -> AbstractContextManager[Any]:
        """What counts the leases, in this process."""
        with _lock:
            found = _semaphores.get(self)
            if found is None:
                found = _semaphores[self] = _of_cluster(self) or threading.BoundedSemaphore(self.tasks)
            return found


def _depths() -> dict[TaskLimit, int]:
    """How often this thread is in each limit."""
    found: dict[TaskLimit, int] | None = getattr(_held, "depths", None)
    if found is None:
        found = _held.depths = {}
    return found


def _of_cluster(limit: TaskLimit) -> AbstractContextManager[Any] | None:
    """The semaphore of the cluster that this process is a worker of; None if it is none."""
    try:
        from distributed import Semaphore, get_worker

        get_worker()
    except (ImportError, ValueError):
        return None
    # A semaphore keeps its number of leases for good: another limit is another semaphore.
    found: AbstractContextManager[Any] = Semaphore(max_leases=limit.tasks, name=f"{limit.name}-{limit.tasks}")
    return found
