"""Tasks that say when they are done, on a cluster or on threads -> bytes moved, the rate, and the time left."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from daskzarr.size_text import format_size

Meter = Callable[[int, int], None]
"""Called with bytes that were moved and bytes in all."""

_EVERY = 0.5  # seconds between two lines


_running: Counter[str] = Counter()
_changed = threading.Condition()


@contextmanager
def under_way(run: str) -> Iterator[None]:
    """A task of a run goes on in this process."""
    with _changed:
        _running[run] += 1
    try:
        yield
    finally:
        with _changed:
            _running[run] -= 1
            if not _running[run]:
                del _running[run]
            _changed.notify_all()


def wait_for_end(run: str, seconds: float) -> bool:
    """Wait until no task of a run goes on in this process; False if some do after so long."""
    with _changed:
        return _changed.wait_for(lambda: run not in _running, seconds)


class Progress(AbstractContextManager["Progress"]):
    """Listens to tasks for as long as it is entered.

    Parameters
    ----------
    show
        Told of every change.
    total
        Bytes in all.
    client
        Of the cluster the tasks run on; None for threads of this process.
    """

    def __init__(self, show: Meter, total: int, client: Any) -> None:
        self.topic = f"daskzarr-progress-{uuid.uuid4().hex}"
        self._show = show
        self._total = total
        self._client = client
        self._done = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        _listening[self.topic] = self._add
        if self._client is not None:
            self._client.subscribe_topic(self.topic, lambda event: self._add(int(event[1])))
        return self

    def __exit__(self, *ended: object) -> None:
        _listening.pop(self.topic, None)
        if self._client is not None:
            self._client.unsubscribe_topic(self.topic)
        if ended[0] is None:
            self._show(self._total, self._total)

    def _add(self, nbytes: int) -> None:
        """Some bytes more were moved."""
        with self._lock:
            self._done = min(self._done + nbytes, self._total)
            self._show(self._done, self._total)


_listening: dict[str, Callable[[int], None]] = {}


def tell(topic: str | None, nbytes: int) -> None:
    """Say in a task that it has moved so many bytes."""
    if topic is None:
        return
    here = _listening.get(topic)
    if here is not None:  # a thread of the client's process
        here(nbytes)
        return
    try:
        from distributed import get_worker

        get_worker().log_event(topic, nbytes)
    except (ImportError, ValueError):
        pass  # a process that nobody listens to


class Printer:
    """Prints a line every half second."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self._last < _EVERY and done < total:
            return
        self._last = now
        rate = done / max(now - self._started, 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if 0 < done < total else ""
        share = done / total if total else 1.0
        line = f"\rrechunk: {format_size(done)} of {format_size(total)} ({share:.0%}), {format_size(int(rate))}/s{left}"
        print(line.ljust(100), end="\n" if done >= total else "", file=sys.stderr, flush=True)


def metered(progress: bool | Meter, total: int, client: Any) -> Progress | None:
    """What listens, as the user wants it; None if nobody does."""
    if progress is False or progress is None:
        return None
    return Progress(Printer() if progress is True else progress, total, client)
