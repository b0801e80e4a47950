"""The blocks of all stages along one axis -> groups of them that follow each other, so that scratch stays small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskzarr.block_grid import Cuts
from daskzarr.rechunk_plan.axis import Integers, edges_of

AHEAD = 2
"""Groups that may be in scratch at a time: one is read while the one before is written."""


@dataclass(frozen=True)
class Groups:
    """The order in which blocks are made, along one axis.

    A block of the last stage is in the group its cells are in. A block of an earlier one is in the group of the first
    block that needs it, and is needed until the last one is made.

    Parameters
    ----------
    axis
        The axis that is gone along.
    edges
        Cells where groups begin, and the end: each is a cut of the last stage.
    stages
        How each stage cuts that axis, in order.

    Examples
    --------
    >>> from daskzarr.block_grid import RegularCuts
    >>> groups = Groups(0, (0, 6, 12), (RegularCuts(0, 12, 4), RegularCuts(0, 12, 3)))
    >>> [found.tolist() for found in groups.made], [found.tolist() for found in groups.needed]
    ([[0, 0, 1], [0, 0, 1, 1]], [[0, 1, 1], [0, 0, 1, 1]])
    """

    axis: int
    edges: tuple[int, ...]
    stages: tuple[Cuts, ...]

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.edges) - 1

    @cached_property
    def made(self) -> tuple[Integers, ...]:
        """For each stage, and each block along the axis, the group it is made in."""
        borders = [edges_of(cuts) for cuts in self.stages]
        last = np.searchsorted(np.array(self.edges), borders[-1][:-1], side="right") - 1
        found = [np.minimum(last, self.count - 1)]
        for here, above in zip(borders[-2::-1], borders[:0:-1], strict=True):
            found.insert(0, found[0][_holding(above, here[:-1])])
        return tuple(found)

    @cached_property
    def needed(self) -> tuple[Integers, ...]:
        """For each stage, and each block along the axis, the last group that needs it."""
        borders = [edges_of(cuts) for cuts in self.stages]
        earlier = zip(borders, borders[1:], self.made[1:], strict=False)
        return (*(made[_holding(above, here[1:] - 1)] for here, above, made in earlier), self.made[-1])

    def scratch(self, nbytes: Sequence[int], ends: Sequence[int] | None = None) -> int:
        """The most bytes in scratch at a time.

        ``nbytes`` is what each stage has there for one cell of the axis, ``ends`` what it has besides for each piece
        along it.
        """
        held = np.zeros(self.count + 1, np.int64)
        stages = zip(self.stages, self.stages[1:], self.made, self.needed, nbytes, ends or [0] * 3, strict=False)
        for cuts, after, made, needed, each, end in stages:
            edges, others = edges_of(cuts), edges_of(after)
            first = np.searchsorted(others, edges[:-1], side="right")
            pieces = np.searchsorted(others, edges[1:], side="left") - first + 1
            sizes = np.diff(edges) * each + pieces * end
            np.add.at(held, np.maximum(made - AHEAD + 1, 0), sizes)
            np.subtract.at(held, needed + 1, sizes)
        return int(np.cumsum(held)[:-1].max(initial=0))


def _holding(edges: Integers, cells: Integers) -> Integers:
    """The pieces that hold some cells."""
    found: Integers = np.searchsorted(edges, cells, side="right") - 1
    return found


def along(axis: int, stages: Sequence[Sequence[Cuts]], least: int) -> Groups:
    """The groups along an axis: as many as there can be with about ``least`` blocks of each stage, or more, in each.

    They begin where blocks of all stages do, or near to that: few blocks are needed by two groups then.
    """
    cuts = tuple(stage[axis] for stage in stages)
    fewest = min(math.prod(each.count for each in stage) for stage in stages)
    step = max(-(-least * cuts[-1].count // fewest), 1)
    edges = edges_of(cuts[-1])
    wanted = edges_of(min(cuts, key=lambda each: each.count))
    begins = np.unique(np.clip(np.searchsorted(edges, wanted), 0, len(edges) - 1))
    chosen = [0]
    for begin in begins[1:].tolist():
        if begin - chosen[-1] >= step and len(edges) - 1 - begin >= step:
            chosen.append(begin)
    return Groups(axis, (*(int(edges[i]) for i in chosen), int(edges[-1])), cuts)


def one_group(stages: Sequence[Sequence[Cuts]], shape: Sequence[int]) -> Groups:
    """All at once."""
    return Groups(0, (0, shape[0]) if shape else (0, 1), tuple(stage[0] for stage in stages if stage))


def best(stages: Sequence[Sequence[Cuts]], shape: Sequence[int], least: int) -> Groups:
    """The groups along the axis that leaves least in scratch at a time; one group, where there is no scratch."""
    if len(stages) == 1 or not shape:
        return one_group(stages, shape)
    cells = math.prod(shape)
    found = [along(axis, stages, least) for axis in range(len(shape))]
    return min(found, key=lambda each: each.scratch([cells // max(shape[each.axis], 1)] * len(stages)))
