"""One axis: how Dask cuts it, and the stored objects along it -> runs of cells that one block has, or several."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from daskzarr.block_grid import Cuts, RegularCuts
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.rectilinear_grid import RectilinearGrid

Grid = RegularGrid | RectilinearGrid
Index = tuple[int, ...]

JOINT = -1


class Segment(NamedTuple):
    """A run ``start..stop`` of one axis whose stored objects get cells from the blocks ``first..last`` alone.

    ``joint`` says that another region may have cells in its one object, too.
    """

    start: int
    stop: int
    first: int
    last: int
    joint: bool = False

    @property
    def single(self) -> bool:
        """Whether one block has all of it."""
        return self.first == self.last and not self.joint


@dataclass(frozen=True)
class AxisOwners:
    """One axis, divided in segments. ``bounds`` holds the cells of each block."""

    segments: tuple[Segment, ...]
    bounds: tuple[tuple[int, int], ...]

    @cached_property
    def of_block(self) -> tuple[range, ...]:
        """Numbers of the segments each block has cells in."""
        found = []
        at = 0
        for start, stop in self.bounds:
            while at < len(self.segments) and self.segments[at].stop <= start:
                at += 1
            last = at
            while last < len(self.segments) and self.segments[last].start < stop:
                last += 1
            found.append(range(at, last if stop > start else at))
        return tuple(found)

    @property
    def own_cells(self) -> int:
        """Cells of segments that one block has all of."""
        return sum(s.stop - s.start for s in self.segments if s.single)


def split_off(owners: AxisOwners, low: int, high: int) -> tuple[Segment, ...]:
    """The segments with the object that has the cells ``low..high`` a joint one of its own."""
    found: list[Segment] = []
    for segment in owners.segments:
        a, b = max(segment.start, low), min(segment.stop, high)
        if a >= b:
            found.append(segment)
            continue
        if segment.start < a:
            found.append(segment._replace(stop=a))
        found.append(segment._replace(start=a, stop=b, joint=True))
        if b < segment.stop:
            found.append(segment._replace(start=b))
    return tuple(found)


class Unit(NamedTuple):
    """The stored objects along one axis."""

    grid: Grid
    axis: int

    def find(self, cell: int) -> int:
        """The object that holds a cell."""
        if isinstance(self.grid, RegularGrid):
            return cell // self.grid.chunk_shape[self.axis]
        return self.grid.axes[self.axis].find(cell)

    def bounds(self, number: int) -> tuple[int, int]:
        """The cells of an object that lie inside the array."""
        size = self.grid.shape[self.axis]
        if isinstance(self.grid, RegularGrid):
            length = self.grid.chunk_shape[self.axis]
            return number * length, min((number + 1) * length, size)
        start, stop = self.grid.axes[self.axis].bounds(number)
        return start, min(stop, size)

    def around(self, cell: int) -> tuple[int, int]:
        """The cells of the object that holds a cell."""
        return self.bounds(self.find(cell))


def units_along(grid: Grid, axis: int) -> Unit:
    """The stored objects along an axis."""
    return Unit(grid, axis)


def objects_touched(grid: Grid, region: Box) -> list[range]:
    """Numbers of the objects a region has cells in, along each axis."""
    pairs = enumerate(zip(*region, strict=True))
    return [
        range(units_along(grid, i).find(a), units_along(grid, i).find(b - 1) + 1) if a < b else range(0)
        for i, (a, b) in pairs
    ]


def block_bounds(cut: Cuts) -> tuple[tuple[int, int], ...]:
    """The cells of each block along one axis."""
    return tuple(cut.bounds(i) for i in range(cut.count))


def cut_between(cut: Cuts, grid: Grid, axis: int) -> bool:
    """Whether blocks meet only where stored objects do."""
    if cut.count == 1:
        return True
    if isinstance(grid, RegularGrid) and isinstance(cut, RegularCuts) and cut.step % grid.chunk_shape[axis] == 0:
        return True
    unit = units_along(grid, axis)
    bounds = [pair for pair in block_bounds(cut) if pair[0] < pair[1]]
    return all(unit.around(start)[0] == start for start, _ in bounds[1:])


def axis_owners(bounds: tuple[tuple[int, int], ...], unit: Unit) -> AxisOwners:
    """An axis in segments: runs of objects that one block has, and objects that several have, one each."""
    filled = [(i, *pair) for i, pair in enumerate(bounds) if pair[0] < pair[1]]
    found = []
    at, end = filled[0][1], filled[-1][2]
    n = 0
    while at < end:
        while filled[n][2] <= at:
            n += 1
        block, _, stop = filled[n]
        edge = stop if stop == end else unit.around(stop)[0]
        if edge > at:
            found.append(Segment(at, edge, block, block))
        else:
            edge = min(unit.around(at)[1], end)
            last = n
            while filled[last][2] < edge:
                last += 1
            found.append(Segment(at, edge, block, filled[last][0]))
        at = edge
    return AxisOwners(tuple(found), bounds)


def rounded(bounds: tuple[tuple[int, int], ...], unit: Unit) -> tuple[Segment, ...]:
    """An axis in runs of whole objects, cut where objects meet nearest to where blocks do."""
    filled = [(i, *pair) for i, pair in enumerate(bounds) if pair[0] < pair[1]]
    low, high = filled[0][1], filled[-1][2]
    edges = {low, high}
    for _, start, _ in filled[1:]:
        before, after = unit.around(start)
        edges.add(min(max(before if start - before <= after - start else after, low), high))
    starts = [start for _, start, _ in filled]
    cut = sorted(edges)
    return tuple(
        Segment(a, b, filled[bisect_right(starts, a) - 1][0], filled[bisect_right(starts, b - 1) - 1][0])
        for a, b in itertools.pairwise(cut)
    )


def blocks_in(axis: AxisOwners, segment: Segment) -> list[int]:
    """The blocks that have cells in a segment."""
    return [i for i in range(segment.first, segment.last + 1) if axis.bounds[i][0] < axis.bounds[i][1]]


def by_object(grid: Grid, box: Box) -> Iterator[tuple[Index, Box]]:
    """The part of a box in each stored object, named by the object."""
    for part in grid.project(box):
        start = tuple(a + s.start for a, s in zip(box.start, part.out_slices, strict=True))
        stop = tuple(a + s.stop for a, s in zip(box.start, part.out_slices, strict=True))
        yield (JOINT, *part.chunk), Box(start, stop)
