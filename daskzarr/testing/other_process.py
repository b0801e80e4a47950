"""A store -> what it does in another process: the part of the contract that runs there, without pytest."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores import FinishingStore, Store

_PATIENCE = 20.0


def in_another_process(call: Callable[..., Any], *args: Any, seconds: float = 100.0) -> Any:
    """What a function gives in a fresh process; what it raises there, as text, is an error here."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, call, args), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            raise AssertionError(f"the other process said nothing for {seconds} s")
        try:
            result, error = here.recv()
        except EOFError:
            process.join(seconds)
            raise AssertionError(f"the other process died with exit code {process.exitcode}") from None
    finally:
        here.close()
        process.join(1)
        if process.is_alive():
            process.kill()
            process.join()
    assert error is None, f"in the other process: {error}"
    return result


def _tell(there: Any, call: Callable[..., Any], args: Sequence[Any]) -> None:
    """Send what a call gives or raises."""
    answer: tuple[Any, str | None]
    try:
        answer = call(*args), None
    except BaseException as error:
        answer = None, f"{type(error).__name__}: {error}"
    there.send(answer)
    there.close()


def values_of(store: Store, keys: Sequence[str]) -> list[bytes | None]:
    """The values of keys."""
    return [None if value is None else bytes(value) for value in store.get_many(keys)]


def read(store: Store, keys: Sequence[str]) -> tuple[list[bytes | None], list[bytes | None], list[bytes | None]]:
    """The values of keys, one by one, all at once, and the beginning of each."""
    single = [store.get(key) for key in keys]
    starts = [store.get(key, ByteRange(0, 3)) for key in keys]
    as_bytes = [[None if value is None else bytes(value) for value in values] for values in (single, starts)]
    return as_bytes[0], values_of(store, keys), as_bytes[1]


def write(store: Any, values: Mapping[str, bytes], gone: Sequence[str]) -> None:
    """Set some values, and delete others."""
    for key, value in values.items():
        store.set(key, value)
    for key in gone:
        store.delete(key)
    if isinstance(store, FinishingStore):
        store.finish()


def use_across_a_fork(store: Store, keys: Sequence[str]) -> tuple[str, str]:
    """What a used store does in a forked child, and then in the process that was forked.

    Returns
    -------
    str
        ``"works"``, ``"wrong"``, ``"hangs"``, ``"dies"``, or ``"raises"`` and the error.
    str
        The same of the parent, once the child has ended.
    """
    values = values_of(store, keys)
    begun = iter(store.get_many(list(keys) * 20))
    next(begun)  # requests are under way, threads and connections in use
    result, sent = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python tells that threads are lost
        child = os.fork()
    if child == 0:
        os.write(sent, _outcome(store, keys, values).encode()[:4000])
        os._exit(0)
    os.close(sent)
    ready, _, _ = select.select([result], [], [], _PATIENCE)
    told = os.read(result, 4096).decode() if ready else "hangs"
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(result)
    return told or "dies", _outcome(store, keys, values)


def _outcome(store: Store, keys: Sequence[str], values: Sequence[bytes | None]) -> str:
    """How it goes to read values that are known."""
    try:
        single = store.get(keys[0])
        found = values_of(store, keys)
    except BaseException as error:
        return f"raises {type(error).__name__}: {error}"
    return "works" if found == values and (single is None or bytes(single) == values[0]) else "wrong"
