"""An array's shape and chunk shape -> chunk indices, and the boxes of cells they cover. Integers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import floordiv, sub
from typing import NamedTuple

AxisPart = tuple[int, slice, slice, bool]
"""Along one axis: chunk number, slice in the chunk, slice in the box, and whether that is all of the chunk."""


class Box(NamedTuple):
    """The cells ``start[i] <= x[i] < stop[i]`` of an array."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(map(sub, self.stop, self.start))

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as a NumPy index."""
        return tuple(map(slice, self.start, self.stop))

    def slices_in(self, outer: Box) -> tuple[slice, ...]:
        """The box as an index of an array that has the cells of another one, in which it lies.

        >>> Box((4,), (6,)).slices_in(Box((3,), (9,)))
        (slice(1, 3, None),)
        """
        return tuple(slice(a - o, b - o) for a, b, o in zip(*self, outer.start, strict=True))


class ChunkProjection(NamedTuple):
    """Where one chunk and a box meet.

    ``chunk_slices`` is the shared part seen from the chunk, ``out_slices`` the same part seen from the
    box; ``whole`` says that the chunk lies in the box entirely, padding beyond the array's edge aside.
    """

    chunk: tuple[int, ...]
    chunk_slices: tuple[slice, ...]
    out_slices: tuple[slice, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class RegularGrid:
    """Chunks of one shape, laid from the origin; those at the far edges hang over it.

    Parameters
    ----------
    shape
        The array's shape; a length may be 0.
    chunk_shape
        The shape of every chunk; each length is at least 1.

    Examples
    --------
    >>> grid = RegularGrid((5, 4), (2, 4))
    >>> grid.counts, grid.box((2, 0))
    ((3, 1), Box(start=(4, 0), stop=(5, 4)))
    """

    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis; 0 where the array has no cells."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @property
    def chunk_count(self) -> int:
        """Number of chunks of the whole array."""
        return math.prod(self.counts)

    def chunk_shape_at(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the stored chunk at an index: that of all."""
        return self.chunk_shape

    def chunk_shapes_to_check(self) -> Iterator[tuple[int, ...]]:
        """Shapes of chunks in which every length there is occurs: the one."""
        yield self.chunk_shape

    def box(self, index: tuple[int, ...]) -> Box:
        """Cells of the chunk at ``index`` that lie inside the array."""
        start = tuple(i * c for i, c in zip(index, self.chunk_shape, strict=True))
        stop = tuple(min(a + c, n) for a, c, n in zip(start, self.chunk_shape, self.shape, strict=True))
        return Box(start, stop)

    def single(self, box: Box) -> tuple[int, ...] | None:
        """The index of the chunk whose cells inside the array are exactly ``box``, if there is one."""
        for a, b, c, n in zip(box.start, box.stop, self.chunk_shape, self.shape, strict=True):
            if a % c or b <= a or (b - a != c and (b != n or b - a > c)):
                return None
        return tuple(map(floordiv, box.start, self.chunk_shape))

    def project(self, box: Box) -> Iterator[ChunkProjection]:
        """The chunks that ``box`` touches, in C order, with the part of each.

        >>> [p.chunk for p in RegularGrid((5,), (2,)).project(Box((1,), (4,)))]
        [(0,), (1,)]
        """
        axes = [
            _project_axis(a, b, c, n)
            for a, b, c, n in zip(box.start, box.stop, self.chunk_shape, self.shape, strict=True)
        ]
        yield from combine(axes)


def combine(axes: Iterable[list[AxisPart]]) -> Iterator[ChunkProjection]:
    """The parts along each axis as chunks, in C order."""
    for parts in itertools.product(*axes):
        if parts:
            index, chunk_slices, out_slices, whole = zip(*parts, strict=True)
            yield ChunkProjection(index, chunk_slices, out_slices, all(whole))
        else:
            yield ChunkProjection((), (), (), True)


def axis_part(chunk: int, first: int, last: int, start: int, stop: int, size: int) -> AxisPart:
    """What the run ``start..stop`` has of a chunk with the cells ``first..last``, on an axis of ``size`` cells."""
    low, high = max(first, start), min(last, stop)
    whole = low == first and high == min(last, size)
    return chunk, slice(low - first, high - first), slice(low - start, high - start), whole


def _project_axis(start: int, stop: int, length: int, size: int) -> list[AxisPart]:
    """What the run ``start..stop`` has of each chunk along one axis."""
    chunks = range(start // length, -(-stop // length) if stop > start else start // length)
    return [axis_part(i, i * length, (i + 1) * length, start, stop, size) for i in chunks]
