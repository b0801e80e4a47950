"""Units that blocks are made of, and bytes that a block may have -> the ways to cut all axes that are worth a try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from daskzarr.block_grid import Cuts
from daskzarr.rechunk_plan.axis import Integers, candidates, longest, meets
from daskzarr.rechunk_plan.plan import Blocks

Floats = npt.NDArray[Any]

_LEVELS = 5  # blocks are tried that fill the memory, half of it, and so on
_ROUNDS = (1, 2, 3, 4, 6)  # and those of which as many as can be are made in so many rounds of tasks
_MOST_COMBINED = 600  # ways to cut all axes that are tried with all others


class Ways:
    """Ways to cut all axes into blocks: for each axis a list, and combinations of numbers in those lists."""

    def __init__(self, axes: Sequence[list[Cuts]], chosen: Sequence[Integers]) -> None:
        self.axes = axes
        self.chosen = tuple(chosen)

    @classmethod
    def under(cls, units: Blocks, other: Blocks, itemsize: int, most: int, slots: int) -> Ways:
        """Blocks of whole units with at most so many bytes that no axis can have longer, for some sizes up to that.

        And blocks that so many slots make in a few rounds of tasks, of which none is but half full.
        """
        width = _width([each.count for each in units])
        rounds = [slots * each for each in _ROUNDS]
        axes = [candidates(*each, width, rounds) for each in zip(units, other, strict=True)]
        sizes, counts = np.array(itemsize, float), np.array(1.0)
        for axis in axes:
            sizes = np.multiply.outer(sizes, np.array([longest(cuts) for cuts in axis], float))
            counts = np.multiply.outer(counts, np.array([cuts.count for cuts in axis], float))
        wanted = _largest(sizes, [most / 2**level for level in range(_LEVELS)])
        aligned = [
            [n for n, cuts in enumerate(axis) if n in (0, len(axis) - 1) or _nests(cuts, its)]
            for axis, its in zip(axes, other, strict=True)
        ]
        if axes:
            wanted[np.ix_(*aligned)] |= _largest(sizes[np.ix_(*aligned)], [most / 2**level for level in range(_LEVELS)])
        flipped = (slice(None, None, -1),) * len(axes)
        full = _largest(counts[flipped], rounds)[flipped]
        wanted |= full & (sizes <= most)
        found = np.nonzero(wanted)
        if len(axes) and len(found[0]) > _MOST_COMBINED:
            largest = np.argsort(-sizes[wanted], kind="stable")[:_MOST_COMBINED]
            found = tuple(each[largest] for each in found)
        return cls(axes, found)

    @classmethod
    def only(cls, blocks: Blocks) -> Ways:
        """The one way."""
        return cls([[cuts] for cuts in blocks], [np.zeros(1, np.int64) for _ in blocks])

    def __len__(self) -> int:
        return len(self.chosen[0]) if self.chosen else 1

    def __getitem__(self, number: int) -> Blocks:
        return tuple(axis[int(each[number])] for axis, each in zip(self.axes, self.chosen, strict=True))

    def product(self, values: Sequence[Sequence[int]]) -> Floats:
        """For each way the product over the axes of a value that each cut of an axis has."""
        result = np.ones(len(self))
        for each, chosen in zip(values, self.chosen, strict=True):
            result = result * np.array(each, float)[chosen]
        return result

    def with_each(self, other: Ways, values: Sequence[Floats]) -> Floats:
        """The same for all pairs of a way here and another one."""
        result = np.ones((len(self), len(other)))
        for table, mine, its in zip(values, self.chosen, other.chosen, strict=True):
            result = result * table[np.ix_(mine, its)]
        return result

    def counts(self) -> Floats:
        """Number of blocks."""
        return self.product([[cuts.count for cuts in axis] for axis in self.axes])

    def cells(self) -> Floats:
        """Cells of the largest block."""
        return self.product([[longest(cuts) for cuts in axis] for axis in self.axes])


def _nests(one: Cuts, other: Cuts) -> bool:
    """Whether pieces of one are whole pieces of the other."""
    return meets(one, other) == max(one.count, other.count)


def _largest(values: Floats, limits: Sequence[float]) -> Floats:
    """Where values, which grow along each axis, are within a limit, and no longer are with the next along any axis."""
    wanted = np.zeros(values.shape, bool)
    for limit in limits:
        fits = values <= limit
        for i in range(values.ndim):
            longer = np.full(values.shape, np.inf)
            inner, outer = [slice(None)] * values.ndim, [slice(None)] * values.ndim
            inner[i], outer[i] = slice(None, -1), slice(1, None)
            longer[tuple(inner)] = values[tuple(outer)]
            fits = fits & (longer > limit)
        wanted |= fits
    return wanted


def _width(counts: Sequence[int]) -> int:
    """How many ways to cut an axis are tried: fewer, the more axes can be cut."""
    free = sum(count > 1 for count in counts)
    return {0: 1, 1: 96, 2: 48, 3: 24, 4: 10, 5: 6}.get(free, 4)
