"""The workers that a computation would run on now -> how many tasks at once, and what memory each may take."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import dask
from dask.base import get_scheduler
from dask.system import CPU_COUNT

_SHARE = 0.5
"""Of a worker's memory for its tasks: the rest is for the process, for others, and before Dask spills."""
MOST = 2 * 2**30
"""Bytes for a task that more memory makes little faster, and large objects harder to move."""


@dataclass(frozen=True, slots=True)
class Workers:
    """What runs tasks.

    Parameters
    ----------
    slots
        Tasks at once.
    memory
        Bytes that each may take.
    client
        The client of the cluster; None on threads of this process.
    """

    slots: int
    memory: int
    client: Any = None


def workers_now() -> Workers:
    """What Dask would compute on now: the cluster of the client that is active, else threads of this process.

    Memory is half of what the smallest worker has, shared among its threads, and at most 2 GiB.
    """
    client = getattr(get_scheduler(), "__self__", None)
    if client is not None and hasattr(client, "scheduler_info"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = client.scheduler_info(n_workers=-1)["workers"].values()
        if found:
            shares = [(each["memory_limit"] or _of_machine()) / each["nthreads"] for each in found]
            return Workers(sum(each["nthreads"] for each in found), min(int(min(shares) * _SHARE), MOST), client)
        return Workers(1, MOST, client)
    threads = dask.config.get("num_workers", None) or CPU_COUNT
    if dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded"):
        threads = 1
    return Workers(threads, min(int(_of_machine() / threads * _SHARE), MOST))


def _of_machine() -> int:
    """Bytes of memory that this machine, or what the process is confined to, has."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)
