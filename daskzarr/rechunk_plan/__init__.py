"""Shape, chunks before and after, and memory -> a plan in whole numbers of how to rechunk; no Dask, no store."""

from daskzarr.rechunk_plan.axis import touched
from daskzarr.rechunk_plan.cost import LOCAL, REMOTE, CostModel
from daskzarr.rechunk_plan.groups import AHEAD, Groups
from daskzarr.rechunk_plan.plan import PIECE_END, Blocks, Index, RechunkPlan, RechunkPlans, Stage, cuts_of
from daskzarr.rechunk_plan.planning import Task, Working, build, choose

__all__ = [
    "AHEAD",
    "LOCAL",
    "PIECE_END",
    "REMOTE",
    "Blocks",
    "CostModel",
    "Groups",
    "Index",
    "RechunkPlan",
    "RechunkPlans",
    "Stage",
    "Task",
    "Working",
    "build",
    "choose",
    "cuts_of",
    "touched",
]
