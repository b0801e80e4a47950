"""Requests to a store that waits on a network -> their results in order, several under way at once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from daskzarr.stores.protocol import Store, waits
from daskzarr.stores.traffic import AHEAD, Traffic

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MOST_THREADS = 128

_threads: ThreadPoolExecutor | None = None
_here = threading.local()


class InOrder(Generic[_Item, _Result]):
    """Results of requests in the order of their items, which are taken as requests get free.

    A request that fails raises when its turn comes; then it goes on with the next. Requests under way when it is left
    are not waited for.

    Parameters
    ----------
    start
        Starts the request of an item.
    items
        What is asked for, taken by the thread that takes the results.
    traffic
        How many requests at once.
    """

    def __init__(self, start: Callable[[_Item], Future[_Result]], items: Iterable[_Item], traffic: Traffic) -> None:
        self._waiting: deque[Future[_Result]] = deque()
        self._start = start
        self._items = iter(items)
        self._most = traffic.requests
        self._running = 0
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._more = True

    def __iter__(self) -> Iterator[_Result]:
        return self

    def __next__(self) -> _Result:
        waiting = self._waiting
        while True:
            self._begin()
            if not waiting and not self._more:
                raise StopIteration
            if waiting and waiting[0].done():
                return waiting.popleft().result()
            self._ended.get()
            self._running -= 1

    def _begin(self) -> None:
        """Start as many requests as may be under way."""
        while not self._ended.empty():
            self._ended.get()
            self._running -= 1
        while self._more and self._running < self._most and len(self._waiting) < AHEAD * self._most:
            try:
                item = next(self._items)
            except StopIteration:
                self._more = False
                return
            future = self._start(item)
            self._running += 1
            self._waiting.append(future)
            future.add_done_callback(self._ended.put)

    def stop(self) -> None:
        """Start no more, and wait until those under way have come to an end, whichever."""
        self._more = False
        wait([future for future in self._waiting if not future.cancel()])
        self._waiting.clear()

    def __del__(self) -> None:
        for future in self._waiting:
            future.cancel()


def in_threads(call: Callable[[_Item], _Result], items: Iterable[_Item], traffic: Traffic) -> InOrder[_Item, _Result]:
    """What a call gives for each item, in order; calls run in threads of this process that are there for that.

    What such a call asks for in its turn by this function is asked for one after the other: threads that wait for
    threads of the same few would wait for ever.

    Parameters
    ----------
    call
        One request, or several; it may be tried again in itself (:func:`daskzarr.stores.retries.persist`).
    items
        What it is called with, each taken when its turn comes to be started.
    traffic
        How many calls at once.

    Examples
    --------
    >>> list(in_threads(str.upper, ["a", "b"], Traffic()))
    ['A', 'B']
    """
    pool = None if getattr(_here, "waiting", False) else _pool()
    return InOrder(lambda item: _now(call, item) if pool is None else pool.submit(call, item), items, traffic)


@contextmanager
def overlapped(
    store: Store, call: Callable[[_Item], _Result], items: Iterable[_Item], traffic: Traffic
) -> Iterator[Iterator[_Result]]:
    """What a call to a store gives for each item, in order: several at once where requests to the store wait.

    A call that fails raises at its turn, and the next are still to be had. In the end those under way have ended.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> with overlapped(store := MappingStore({"a": b"1"}), store.get, ["a", "b"], Traffic()) as values:
    ...     list(values)
    [b'1', None]
    """
    if not waits(store):
        yield map(call, items)
        return
    results = in_threads(call, items, traffic)
    try:
        yield results
    finally:
        results.stop()


def on_loop(
    loop: asyncio.AbstractEventLoop,
    call: Callable[[_Item], Coroutine[Any, Any, _Result]],
    items: Iterable[_Item],
    traffic: Traffic,
) -> InOrder[_Item, _Result]:
    """What the coroutine of each item gives, in order, run by an event loop in another thread (fsspec's).

    Parameters
    ----------
    loop
        An event loop that another thread runs.
    call
        Makes the coroutine of an item.
    items, traffic
        As for :func:`in_threads`.
    """

    def start(item: _Item) -> Future[_Result]:
        coroutine = call(item)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        except BaseException:
            coroutine.close()
            raise

    return InOrder(start, items, traffic)


def _pool() -> ThreadPoolExecutor:
    """The threads of this process that wait for stores; they are made as they are needed."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(_MOST_THREADS, "daskzarr-requests", initializer=_mark_thread)
    return _threads


def _mark_thread() -> None:
    """This thread is one of those that wait for stores."""
    _here.waiting = True


def _now(call: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
    """A call made at once, in this thread."""
    future: Future[_Result] = Future()
    try:
        future.set_result(call(item))
    except Exception as error:
        future.set_exception(error)
    return future


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
