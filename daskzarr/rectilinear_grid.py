"""An array's shape and the lengths of its chunks along each axis -> chunk indices and boxes. Integers only."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from daskzarr.chunk_grid import AxisPart, Box, ChunkProjection, axis_part, combine

Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Edges:
    """The chunks along one axis: ``runs`` of (length, number of chunks), laid from 0 until they cover ``size`` cells.

    >>> edges = Edges(7, ((3, 2), (1, 1)))
    >>> edges.count, edges.bounds(2), edges.find(5)
    (3, (6, 7), 1)
    """

    size: int
    runs: Runs

    @cached_property
    def _starts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """First cell and first chunk of each run, and of what would follow the last."""
        cells = tuple(itertools.accumulate((length * count for length, count in self.runs), initial=0))
        return cells, tuple(itertools.accumulate((count for _, count in self.runs), initial=0))

    @property
    def total(self) -> int:
        """Cells that the chunks cover, those beyond the array included."""
        return self._starts[0][-1]

    @cached_property
    def count(self) -> int:
        """Number of chunks that hold cells of the array."""
        return self.find(self.size - 1) + 1 if self.size else 0

    @cached_property
    def longest(self) -> int:
        """The most cells a chunk of the array has."""
        return max(self.lengths_used or [length for length, _ in self.runs], default=1)

    @cached_property
    def lengths_used(self) -> tuple[int, ...]:
        """The lengths there are among chunks that hold cells of the array."""
        starts = zip(self.runs, self._starts[0], strict=False)
        return tuple({length for (length, _), start in starts if start < self.size})

    def bounds(self, chunk: int) -> tuple[int, int]:
        """First cell of a chunk and the one after its last, which may lie beyond the array."""
        cells, chunks = self._starts
        run = bisect_right(chunks, chunk) - 1
        length = self.runs[run][0]
        start = cells[run] + (chunk - chunks[run]) * length
        return start, start + length

    def find(self, cell: int) -> int:
        """The chunk that holds a cell."""
        cells, chunks = self._starts
        run = bisect_right(cells, cell) - 1
        return chunks[run] + (cell - cells[run]) // self.runs[run][0]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Cells of each chunk that lie inside the array."""
        bounds = [self.bounds(i) for i in range(self.count)]
        return tuple(min(stop, self.size) - start for start, stop in bounds)


@dataclass(frozen=True)
class RectilinearGrid:
    """Chunks whose lengths are given for each axis (Zarr extensions, rectilinear chunk grid).

    Parameters
    ----------
    shape
        The array's shape.
    chunk_shapes
        For each axis one length, for equal steps, or runs of (length, number of chunks).

    Examples
    --------
    >>> grid = RectilinearGrid((6, 7), (((2, 1), (4, 1)), 3))
    >>> grid.counts, grid.box((1, 2)), grid.chunk_shape_at((1, 2))
    ((2, 3), Box(start=(2, 6), stop=(6, 7)), (4, 3))
    """

    shape: tuple[int, ...]
    chunk_shapes: tuple[int | Runs, ...]

    @cached_property
    def axes(self) -> tuple[Edges, ...]:
        """The chunks along each axis."""
        pairs = zip(self.shape, self.chunk_shapes, strict=True)
        return tuple(
            Edges(size, ((given, max(-(-size // given), 1)),) if isinstance(given, int) else given)
            for size, given in pairs
        )

    @cached_property
    def chunk_shape(self) -> tuple[int, ...]:
        """The most cells a chunk has along each axis."""
        return tuple(axis.longest for axis in self.axes)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis; 0 where the array has no cells."""
        return tuple(axis.count for axis in self.axes)

    @property
    def chunk_count(self) -> int:
        """Number of chunks of the whole array."""
        return math.prod(self.counts)

    def chunk_shape_at(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored chunk at an index."""
        bounds = (axis.bounds(i) for axis, i in zip(self.axes, index, strict=True))
        return tuple(stop - start for start, stop in bounds)

    def chunk_shapes_to_check(self) -> Iterator[tuple[int, ...]]:
        """Shapes of chunks in which every length there is occurs: the longest, and others one axis at a time."""
        yield self.chunk_shape
        for i, axis in enumerate(self.axes):
            for length in axis.lengths_used:
                yield (*self.chunk_shape[:i], length, *self.chunk_shape[i + 1 :])

    def box(self, index: tuple[int, ...]) -> Box:
        """Cells of the chunk at ``index`` that lie inside the array."""
        bounds = [axis.bounds(i) for axis, i in zip(self.axes, index, strict=True)]
        stops = (min(stop, size) for (_, stop), size in zip(bounds, self.shape, strict=True))
        return Box(tuple(start for start, _ in bounds), tuple(stops))

    def single(self, box: Box) -> tuple[int, ...] | None:
        """The index of the chunk whose cells inside the array are exactly ``box``, if there is one."""
        if any(a >= b for a, b in zip(*box, strict=True)):
            return None
        index = tuple(axis.find(a) for axis, a in zip(self.axes, box.start, strict=True))
        return index if self.box(index) == box else None

    def project(self, box: Box) -> Iterator[ChunkProjection]:
        """The chunks that ``box`` touches, in C order, with the part of each."""
        yield from combine(_project(axis, a, b) for axis, a, b in zip(self.axes, box.start, box.stop, strict=True))


def _project(axis: Edges, start: int, stop: int) -> list[AxisPart]:
    """What the run ``start..stop`` has of each chunk along one axis."""
    chunks = range(axis.find(start), axis.find(stop - 1) + 1) if start < stop else ()
    return [axis_part(i, *axis.bounds(i), start, stop, axis.size) for i in chunks]


def runs_of(lengths: Sequence[int]) -> Runs:
    """Lengths as runs of equal ones.

    >>> runs_of([2, 2, 2, 1])
    ((2, 3), (1, 1))
    """
    return tuple((length, len(list(group))) for length, group in itertools.groupby(lengths))
