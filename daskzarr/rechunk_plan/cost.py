"""What a store and a cluster can do -> the seconds a stage of rechunking takes, roughly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_FEW, _MANY = 4, 6
_SLOWEST = 0.25


@dataclass(frozen=True, slots=True)
class CostModel:
    """What planning counts with. Only ratios matter for which plan is chosen.

    Parameters
    ----------
    read, write
        Bytes a second that one task reads and decodes, or encodes and writes.
    get, put
        Seconds until a request to read or write is answered.
    requests
        Requests that one task has under way at once.
    task
        Seconds that a task costs besides.
    slots
        Tasks that run at once. A stage ends with its last task: with few tasks for many slots some stand idle.

    Examples
    --------
    >>> model = CostModel(read=100e6, get=0.02, requests=16, task=0.0, slots=1)
    >>> float(model.seconds(1, 1e8, 160, 0, 0))
    1.2
    """

    read: float = 150e6
    write: float = 100e6
    get: float = 0.02
    put: float = 0.03
    requests: int = 16
    task: float = 0.02
    slots: int = 64

    def seconds(self, tasks: Any, bytes_read: Any, gets: Any, bytes_written: Any, puts: Any) -> Any:
        """Time of a stage whose tasks are alike; numbers, or arrays of them for many stages at once."""
        work = bytes_read / self.read + bytes_written / self.write
        waits = (gets * self.get + puts * self.put) / self.requests
        rounds = np.maximum(tasks / self.slots, 1.0)
        if self.slots > 1:
            # Of few rounds the last one counts whole, and waits for its slowest task; of many, half of it, if at all.
            rounds = np.where(rounds < _FEW, np.ceil(rounds) + _SLOWEST, rounds + np.maximum(1 - rounds / _MANY, 0) / 2)
        return rounds * ((work + waits) / tasks + self.task)


REMOTE = CostModel()
"""An object store in the same region."""

LOCAL = CostModel(read=1.2e9, write=0.6e9, get=5e-5, put=1e-4, requests=1, task=0.005)
"""A disk of this machine."""
