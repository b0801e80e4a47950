"""One axis of a region: the stored objects along it, and Dask's blocks -> how many of what there are. Integers only."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from typing import NamedTuple

from daskzarr.block_grid import Cuts, RegularCuts
from daskzarr.ownership import AxisOwners, Ownership, Segment
from daskzarr.rectilinear_grid import Edges, RectilinearGrid


class Part(NamedTuple):
    """What a region has of one object along an axis: cells, of so many inside the array; its segment; its blocks."""

    cells: int
    size: int
    segment: int
    blocks: Sequence[int]


class Most(NamedTuple):
    """Of some segments: most cells of one, most cells of the blocks in one, fewest of those that these write alone."""

    single: bool
    cells: int
    coming: int
    kept: int


@dataclass(frozen=True)
class Axis:
    """The stored objects along an axis, how blocks cut a region of it, and its segments, if it is divided in such."""

    edges: Edges
    cut: Cuts
    owners: AxisOwners | None

    @cached_property
    def run(self) -> tuple[int, int]:
        """The cells of the region."""
        return self.cut.bounds(0)[0], self.cut.bounds(self.cut.count - 1)[1]

    @cached_property
    def touched(self) -> range:
        """Numbers of the objects it has cells in."""
        start, stop = self.run
        return range(self.edges.find(start), self.edges.find(stop - 1) + 1) if start < stop else range(0)

    @property
    def full(self) -> int:
        """How many of them it has all cells of that lie inside the array."""
        ends = {*self.touched[:1], *self.touched[-1:]}
        return len(self.touched) - sum(len(range(*self._run_in(n))) < self._size(n) for n in ends)

    @property
    def unsplit(self) -> int:
        """How many of them have cells of one block only."""
        if self.owners is None:
            return len(self.touched)
        cut = ((start, self.edges.find(start)) for start in self._starts[1:])
        return len(self.touched) - len({number for start, number in cut if self.edges.bounds(number)[0] < start})

    @property
    def hangs_over(self) -> bool:
        """Whether one of them ends beyond the array."""
        return any(self.edges.bounds(number)[1] > self.edges.size for number in self.touched[-1:])

    @property
    def longest(self) -> int:
        """The most cells a block has."""
        if isinstance(self.cut, RegularCuts) and self.cut.count > 2:
            return self.cut.step
        return max(self.cut.lengths)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Its segments."""
        return self.owners.segments if self.owners else ()

    @cached_property
    def joint(self) -> frozenset[int]:
        """Numbers of the objects that are joint, all along the other axes."""
        return frozenset(self.edges.find(segment.start) for segment in self.segments if segment.joint)

    @cached_property
    def filled(self) -> Sequence[int]:
        """Numbers of the blocks that have cells."""
        return [i for i, (start, stop) in enumerate(map(self.cut.bounds, range(self.cut.count))) if start < stop]

    @cached_property
    def _starts(self) -> Sequence[int]:
        """Where those begin."""
        return [self.cut.bounds(i)[0] for i in self.filled]

    @property
    def lone(self) -> int:
        """How many blocks have cells in segments only that they have for themselves."""
        numbers = self.owners.of_block if self.owners else ()
        return sum(all(self.segments[i].single for i in each) for each in numbers if each)

    @cached_property
    def _kept(self) -> Sequence[int]:
        """Of each block the cells in segments that it has for itself."""
        found = [0] * self.cut.count
        for segment in self.segments:
            found[segment.first] += (segment.stop - segment.start) * segment.single
        return found

    def blocks_in(self, first: int, last: int) -> Sequence[int]:
        """Numbers of the blocks with cells from one to another."""
        return self.filled[bisect_left(self.filled, first) : bisect_right(self.filled, last)]

    def coming(self, first: int, last: int) -> int:
        """Cells of the blocks from one to another."""
        return self.cut.bounds(last)[1] - self.cut.bounds(first)[0]

    def kept(self, first: int, last: int) -> int:
        """How many of those the blocks write themselves, if they have them along the other axes, too."""
        return sum(self._kept[first : last + 1])

    def most(self, single: bool) -> Iterator[Most]:
        """The most of segments that one block has, or of those that several have; nothing if there are none."""
        found = [s for s in self.segments if s.single is single and not s.joint]
        if found:
            coming = max(self.coming(s.first, s.last) for s in found)
            kept = min(self.kept(s.first, s.last) for s in found)
            yield Most(single, max(s.stop - s.start for s in found), coming, kept)

    def part(self, number: int) -> Part:
        """What the region has of an object it has cells in."""
        start, stop = self._run_in(number)
        blocks = self.filled[bisect_right(self._starts, start) - 1 : bisect_left(self._starts, stop)]
        segment = bisect_right(self.segments, start, key=lambda each: each.start) - 1
        return Part(stop - start, self._size(number), segment, blocks)

    def _run_in(self, number: int) -> tuple[int, int]:
        """The cells the region has of an object."""
        low, high = self.edges.bounds(number)
        return max(low, self.run[0]), min(high, self.run[1])

    def _size(self, number: int) -> int:
        """Cells of an object inside the array."""
        low, high = self.edges.bounds(number)
        return min(high, self.edges.size) - low


def axes_of(owners: Ownership) -> tuple[Axis, ...]:
    """The axes of a region."""
    grid = owners.grid
    edges = grid.axes if isinstance(grid, RectilinearGrid) else RectilinearGrid(grid.shape, grid.chunk_shape).axes
    divided = owners.axes or (None,) * len(edges)
    return tuple(starmap(Axis, zip(edges, owners.blocks.axes, divided, strict=True)))
