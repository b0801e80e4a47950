"""Shape, chunks before and after, and memory -> a plan in whole numbers of how to rechunk; no Dask, no store."""

from daskzarr.rechunk_plan.cost import LOCAL, REMOTE, CostModel
from daskzarr.rechunk_plan.plan import PIECE_END, RechunkPlan, Stage, cuts_of, format_bytes
from daskzarr.rechunk_plan.planning import Task, Working, build, choose

__all__ = [
    "LOCAL",
    "PIECE_END",
    "REMOTE",
    "CostModel",
    "RechunkPlan",
    "Stage",
    "Task",
    "Working",
    "build",
    "choose",
    "cuts_of",
    "format_bytes",
]
