"""A region of an array and how Dask cuts it -> the box of each block, from a state that does not grow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.rectilinear_grid import Edges, RectilinearGrid


@dataclass(frozen=True, slots=True)
class RegularCuts:
    """The run ``start..stop`` of one axis, cut at the multiples of ``step`` that fall inside it.

    >>> RegularCuts(3, 11, 4).lengths
    (1, 4, 3)
    """

    start: int
    stop: int
    step: int

    @property
    def count(self) -> int:
        """Number of blocks; an empty run is one empty block, as Dask has it."""
        return max(-(-self.stop // self.step) - self.start // self.step, 1)

    def bounds(self, block: int) -> tuple[int, int]:
        """First cell of a block, and the cell after its last."""
        first = (self.start // self.step + block) * self.step
        return max(first, self.start), min(first + self.step, self.stop)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Cells of each block: Dask's chunks of this axis."""
        if self.count == 1:
            return (self.stop - self.start,)
        first = self.bounds(0)[1] - self.start
        last = self.stop - self.bounds(self.count - 1)[0]
        return (first, *((self.step,) * (self.count - 2)), last)

    def narrow(self, start: int, stop: int) -> RegularCuts:
        """The part from the ``start``-th to before the ``stop``-th cell of the run, cut at the same cells."""
        return RegularCuts(self.start + start, self.start + stop, self.step)


@dataclass(frozen=True, slots=True)
class ListedCuts:
    """One axis cut at the given cells: ``edges`` holds the start of every block and the end of the last.

    >>> ListedCuts((0, 2, 7)).lengths
    (2, 5)
    """

    edges: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.edges) - 1

    def bounds(self, block: int) -> tuple[int, int]:
        """First cell of a block, and the cell after its last."""
        return self.edges[block], self.edges[block + 1]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Cells of each block: Dask's chunks of this axis."""
        return tuple(b - a for a, b in zip(self.edges, self.edges[1:], strict=False))

    def narrow(self, start: int, stop: int) -> ListedCuts:
        """The part from the ``start``-th to before the ``stop``-th cell of the run, cut at the same cells."""
        low, high = self.edges[0] + start, self.edges[0] + stop
        return ListedCuts((low, *(e for e in self.edges if low < e < high), high))


Cuts = RegularCuts | ListedCuts


def cuts(start: int, lengths: Sequence[int]) -> Cuts:
    """How Dask's chunks ``lengths``, laid from ``start``, cut their axis; O(1) state where they repeat.

    >>> cuts(0, (4, 4, 3)), cuts(0, (1, 4))
    (RegularCuts(start=0, stop=11, step=4), ListedCuts(edges=(0, 1, 5)))
    """
    stop = start + int(sum(lengths))
    step = int(max(lengths[:2]))
    if step:
        regular = RegularCuts(start, stop, step)
        if regular.count == len(lengths) and regular.lengths == tuple(lengths):
            return regular
    edges = [start]
    for length in lengths:
        edges.append(edges[-1] + int(length))
    return ListedCuts(tuple(edges))


def grid_cuts(
    grid: RegularGrid | RectilinearGrid, start: Sequence[int], stop: Sequence[int], lengths: Sequence[int]
) -> tuple[Cuts, ...]:
    """A region cut into blocks of whole stored chunks, of about ``lengths`` cells: never more, save for one chunk."""
    if isinstance(grid, RegularGrid):
        return tuple(RegularCuts(a, b, n) for a, b, n in zip(start, stop, lengths, strict=True))
    return tuple(edge_cuts(*axis) for axis in zip(grid.axes, start, stop, lengths, strict=True))


def edge_cuts(edges: Edges, start: int, stop: int, length: int) -> ListedCuts:
    """The run ``start..stop`` of one axis, cut at edges of chunks."""
    found = [start]
    while (cell := found[-1]) < stop:
        edge = stop if cell + length >= stop else edges.bounds(edges.find(cell + length))[0]
        found.append(min(edge if edge > cell else edges.bounds(edges.find(cell))[1], stop))
    return ListedCuts(tuple(found) if start < stop else (start, stop))


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The blocks of a Dask array that shows a region of a stored array.

    Parameters
    ----------
    axes
        How each axis of the *stored* array is cut.
    dropped
        Stored axes the Dask array does not have, because an integer index took one cell of them.

    Examples
    --------
    >>> blocks = BlockGrid((RegularCuts(0, 5, 2), RegularCuts(7, 8, 8)), dropped=(1,))
    >>> blocks.numblocks, blocks.box((2,))
    ((3,), Box(start=(4, 7), stop=(5, 8)))
    """

    axes: tuple[Cuts, ...]
    dropped: tuple[int, ...] = ()

    @property
    def kept(self) -> tuple[int, ...]:
        """Stored axes that are axes of the Dask array, in order."""
        return tuple(i for i in range(len(self.axes)) if i not in self.dropped)

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis of the Dask array."""
        return tuple(self.axes[i].count for i in self.kept)

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Dask's chunks."""
        return tuple(self.axes[i].lengths for i in self.kept)

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return math.prod(self.numblocks)

    def box(self, block: tuple[int, ...]) -> Box:
        """Cells of the stored array that the block at this index covers."""
        if self.dropped:
            position = dict(zip(self.kept, block, strict=True))
            pairs = [axis.bounds(position.get(i, 0)) for i, axis in enumerate(self.axes)]
        else:
            pairs = [axis.bounds(i) for axis, i in zip(self.axes, block, strict=True)]
        return Box(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))

    @property
    def region(self) -> Box:
        """All cells of the stored array that the blocks cover."""
        pairs = [(axis.bounds(0)[0], axis.bounds(axis.count - 1)[1]) for axis in self.axes]
        return Box(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))

    def recut(self, chunks: Sequence[Sequence[int]]) -> BlockGrid:
        """The same region in other blocks, whose lengths are given for each axis of the Dask array."""
        axes = list(self.axes)
        for i, lengths in zip(self.kept, chunks, strict=True):
            axes[i] = cuts(axes[i].bounds(0)[0], lengths)
        return replace(self, axes=tuple(axes))

    def narrow(self, index: Sequence[slice | int]) -> BlockGrid:
        """The blocks that remain of the Dask array after basic indexing.

        ``index`` has one entry an axis of the Dask array: a slice with start and stop inside the axis,
        or an integer from 0, which drops the axis.
        """
        axes = list(self.axes)
        dropped = set(self.dropped)
        for i, part in zip(self.kept, index, strict=True):
            if isinstance(part, slice):
                axes[i] = axes[i].narrow(part.start, part.stop)
            else:
                axes[i] = axes[i].narrow(part, part + 1)
                dropped.add(i)
        return replace(self, axes=tuple(axes), dropped=tuple(sorted(dropped)))


def grow_blocks(
    shape: Sequence[int], chunk_shape: Sequence[int], cells: int, *, trailing_first: bool = False
) -> tuple[int, ...]:
    """A block shape of whole chunks and at most ``cells`` cells (but at least one chunk), as even as it gets.

    The block grows along all axes alike, so that it suits any use; with ``trailing_first`` the last axis is filled
    first, so that blocks are runs of memory.

    >>> grow_blocks((100, 100), (10, 10), 1600), grow_blocks((100, 100), (10, 10), 2000, trailing_first=True)
    ((40, 40), (20, 100))
    """
    counts = [max(-(-n // c), 1) for n, c in zip(shape, chunk_shape, strict=True)]
    room = max(cells // max(math.prod(chunk_shape), 1), 1)
    times = [1] * len(counts)
    open_axes = list(range(len(counts)))[::-1]
    while open_axes:
        axis = open_axes[0] if trailing_first else min(open_axes, key=lambda i: times[i])
        others = math.prod(times) // times[axis]
        most = min(counts[axis], room // others)
        wanted = most if trailing_first else min(most, 2 * times[axis])
        if wanted <= times[axis] or wanted == most:
            open_axes.remove(axis)
        times[axis] = max(wanted, times[axis])
    for axis, count in enumerate(counts):
        times[axis] = -(-count // -(-count // times[axis]))  # as many blocks, all about the same length
    return tuple(t * c for t, c in zip(times, chunk_shape, strict=True))
