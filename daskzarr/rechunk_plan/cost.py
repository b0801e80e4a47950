"""What a store and a cluster can do -> the seconds a stage of rechunking takes, roughly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_SPREAD = 0.12  # of the times of tasks that are alike
_SETTLED = 3  # rounds after which what takes longer is made up for
_BUSY = 0.85  # the share of its slots that a stage should use
_DEAR = 6  # the power by which a stage that uses less counts as slower


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
        """Time of a stage whose tasks are alike, more where slots stand idle; numbers, or arrays for many stages."""
        work = bytes_read / self.read + bytes_written / self.write
        waits = (gets * self.get + puts * self.put) / self.requests
        rounds = np.maximum(tasks / self.slots, 1.0)
        if self.slots > 1:
            # The last round counts the more, the fewer there are before it, and the slowest task of all is waited for.
            full = np.ceil(rounds)
            slowest = _SPREAD * math.sqrt(2 * math.log(self.slots)) * np.sqrt(np.minimum(full, _SETTLED))
            busy = rounds / (rounds + (full - rounds) / full + slowest)
            rounds = rounds * np.maximum(_BUSY / busy, 1) ** _DEAR
        return rounds * ((work + waits) / tasks + self.task)


REMOTE = CostModel()
"""An object store in the same region."""

LOCAL = CostModel(read=1.2e9, write=0.6e9, get=5e-5, put=1e-4, requests=1, task=0.005)
"""A disk of this machine."""
