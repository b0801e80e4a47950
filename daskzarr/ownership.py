"""How Dask cuts an array, and the stored grid it goes to -> which task writes which stored objects. Integers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.segments import (
    JOINT,
    AxisOwners,
    Grid,
    Index,
    Segment,
    axis_owners,
    block_bounds,
    blocks_in,
    by_object,
    cut_between,
    objects_touched,
    rounded,
    split_off,
    units_along,
)

__all__ = [
    "Align",
    "AxisOwners",
    "Cell",
    "Grid",
    "Index",
    "Ownership",
    "Segment",
    "Share",
    "assign",
    "assign_together",
    "overlapping",
]

Align = Literal["merge", "rechunk", "error"]

_MOST_CROSSING = 0.5  # from here on, sending whole blocks moves fewer bytes than sending their pieces


class Share(NamedTuple):
    """What the task of one block does: of the block's ``box``, the part it writes itself, and the pieces it hands on.

    Each piece is named by the cell it goes to.
    """

    box: Box
    own: Box | None
    pieces: tuple[tuple[Index, Box], ...]


class Cell(NamedTuple):
    """Stored objects that several blocks have cells in: one task writes them. ``blocks`` holds the blocks' indices."""

    at: Index
    box: Box
    blocks: tuple[Index, ...]


@dataclass(frozen=True)
class Ownership:
    """Who writes what of one region: every stored object one task, and no more tasks than that takes.

    Parameters
    ----------
    blocks
        Where Dask's blocks lie in the stored array.
    grid
        The stored objects: chunks, or shards.
    axes
        How the region is divided; None if every block has all cells of the objects it has cells in.
    gathers
        Whether whole blocks go to the tasks that write, rather than pieces: where most cells would cross anyway.

    Examples
    --------
    >>> from daskzarr.block_grid import RegularCuts
    >>> from daskzarr.chunk_grid import RegularGrid
    >>> owners = assign(BlockGrid((RegularCuts(0, 18, 9),)), RegularGrid((18,), (4,)))
    >>> [owners.share((i,)).own for i in range(2)]
    [Box(start=(0,), stop=(8,)), Box(start=(12,), stop=(18,))]
    >>> list(owners.cells())
    [Cell(at=(1,), box=Box(start=(8,), stop=(12,)), blocks=((0,), (1,)))]
    """

    blocks: BlockGrid
    grid: Grid
    axes: tuple[AxisOwners, ...] | None = None
    gathers: bool = False

    @property
    def whole(self) -> bool:
        """Whether the blocks' own tasks do everything."""
        return self.axes is None

    def share(self, block: Index) -> Share:
        """What the task of a block does."""
        box = self.blocks.box(block)
        if self.axes is None:
            return Share(box, box, ())
        own: Box | None = None
        pieces: list[tuple[Index, Box]] = []
        position = self._stored_index(block)
        for index in itertools.product(*(axis.of_block[i] for axis, i in zip(self.axes, position, strict=True))):
            parts = [axis.segments[i] for axis, i in zip(self.axes, index, strict=True)]
            shared = Box(
                tuple(max(s.start, a) for s, a in zip(parts, box.start, strict=True)),
                tuple(min(s.stop, b) for s, b in zip(parts, box.stop, strict=True)),
            )
            if all(part.single for part in parts):
                own = shared
            elif any(part.joint for part in parts):
                pieces.extend(by_object(self.grid, shared))
            else:
                pieces.append((index, shared))
        return Share(box, own, tuple(pieces))

    def cells(self) -> Iterator[Cell]:
        """What more than one block has cells in, or all there is if whole blocks are gathered; joint objects aside."""
        if self.axes is None:
            return
        for index in self._cell_indices():
            parts = [axis.segments[i] for axis, i in zip(self.axes, index, strict=True)]
            if not any(part.joint for part in parts):
                yield self._cell(index, parts)

    def joint_objects(self) -> Iterator[tuple[Index, Index]]:
        """Stored objects that other regions may have cells in, and the blocks here that have: (object, block)."""
        for axis in self.axes or ():
            if any(segment.joint for segment in axis.segments):
                break
        else:
            return
        for block in itertools.product(*map(range, self.blocks.numblocks)):
            for index, _ in self.share(block).pieces:
                if index[0] == JOINT:
                    yield index, block

    def _cell_indices(self) -> Iterator[Index]:
        """Indices of cells with a segment that is not single, or of all cells if blocks are gathered."""
        axes = self.axes or ()
        every = [range(len(axis.segments)) for axis in axes]
        if self.gathers:
            yield from itertools.product(*every)
            return
        single = [[i for i, segment in enumerate(axis.segments) if segment.single] for axis in axes]
        other = [[i for i, segment in enumerate(axis.segments) if not segment.single] for axis in axes]
        for n in range(len(axes)):
            yield from itertools.product(*single[:n], other[n], *every[n + 1 :])

    def _cell(self, index: Index, parts: Sequence[Segment]) -> Cell:
        """One cell."""
        kept = self.blocks.kept
        axes = [blocks_in(self.axes[i], parts[i]) for i in kept] if self.axes else []
        box = Box(tuple(s.start for s in parts), tuple(s.stop for s in parts))
        return Cell(index, box, tuple(itertools.product(*axes)))

    def _stored_index(self, block: Index) -> Index:
        """A block's index along the axes of the stored array."""
        if not self.blocks.dropped:
            return block
        position = dict(zip(self.blocks.kept, block, strict=True))
        return tuple(position.get(i, 0) for i in range(len(self.blocks.axes)))

    @property
    def rounded(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of blocks, for Dask's own axes, that have whole stored objects each and are near the present ones."""
        axes = [self.blocks.axes[i] for i in self.blocks.kept]
        if self.axes is None:
            return tuple(axis.lengths for axis in axes)
        units = [units_along(self.grid, i) for i in self.blocks.kept]
        return tuple(
            tuple(s.stop - s.start for s in rounded(block_bounds(axis), unit)) or axis.lengths
            for axis, unit in zip(axes, units, strict=True)
        )


def assign(blocks: BlockGrid, grid: Grid, *, gather: bool = True) -> Ownership:
    """Divide the stored objects a region touches among tasks.

    Parameters
    ----------
    blocks
        Where Dask's blocks lie in the stored array.
    grid
        Its stored objects.
    gather
        Whether whole blocks may go to the tasks that write, where that moves less. Default True.

    Returns
    -------
    Ownership
        Each stored object that has cells in the region belongs to one block, or to one cell of it.
    """
    region = blocks.region
    if 0 in region.shape or all(cut_between(cut, grid, axis) for axis, cut in enumerate(blocks.axes)):
        return Ownership(blocks, grid)
    axes = tuple(axis_owners(block_bounds(cut), units_along(grid, i)) for i, cut in enumerate(blocks.axes))
    crossing = 1 - math.prod(axis.own_cells for axis in axes) / math.prod(region.shape)
    if crossing <= _MOST_CROSSING or not gather:
        return Ownership(blocks, grid, axes)
    gathered = tuple(
        AxisOwners(rounded(axis.bounds, units_along(grid, i)), axis.bounds)
        if any(not segment.single for segment in axis.segments)
        else axis
        for i, axis in enumerate(axes)
    )
    return Ownership(blocks, grid, gathered, gathers=True)


def assign_together(regions: Sequence[BlockGrid], grid: Grid, *, gather: bool = True) -> list[Ownership]:
    """The same for several regions of one array, none overlapping: an object that two have cells in is joint.

    Examples
    --------
    >>> from daskzarr.block_grid import RegularCuts
    >>> from daskzarr.chunk_grid import RegularGrid
    >>> regions = [BlockGrid((RegularCuts(0, 6, 6),)), BlockGrid((RegularCuts(6, 8, 8),))]
    >>> [list(owners.joint_objects()) for owners in assign_together(regions, RegularGrid((8,), (4,)))]
    [[((-1, 1), (0,))], [((-1, 1), (0,))]]
    """
    touched = [objects_touched(grid, blocks.region) for blocks in regions]
    found = []
    for i, blocks in enumerate(regions):
        rims: set[tuple[int, int]] = set()
        for j, others in enumerate(touched):
            if i != j and 0 not in blocks.region.shape and 0 not in regions[j].region.shape:
                rims |= _joint_rims(grid, touched[i], others, blocks.region, regions[j].region)
        found.append(_with_rims(blocks, grid, rims) if rims else assign(blocks, grid, gather=gather))
    return found


def _with_rims(blocks: BlockGrid, grid: Grid, rims: set[tuple[int, int]]) -> Ownership:
    """The ownership of a region where the objects at some of its sides, (axis, object), are joint."""
    axes = []
    for i, cut in enumerate(blocks.axes):
        unit = units_along(grid, i)
        owners = axis_owners(block_bounds(cut), unit)
        for axis, number in sorted(rims):
            if axis == i:
                owners = replace(owners, segments=split_off(owners, *unit.bounds(number)))
        axes.append(owners)
    return Ownership(blocks, grid, tuple(axes))


def _joint_rims(
    grid: Grid, mine: Sequence[range], theirs: Sequence[range], region: Box, other: Box
) -> set[tuple[int, int]]:
    """The (axis, object) at a side of a region behind which another one has cells, if they have objects in common."""
    both = [range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(mine, theirs, strict=True)]
    if not all(both):
        return set()
    apart = [i for i in range(len(both)) if region.stop[i] <= other.start[i] or other.stop[i] <= region.start[i]]
    return {(i, both[i][0]) for i in apart[:1]}  # apart along an axis, they have one object of it in common at most


def overlapping(regions: Sequence[Box]) -> tuple[int, int] | None:
    """The first two of several boxes that have cells in common."""
    for (i, one), (j, other) in itertools.combinations(enumerate(regions), 2):
        if all(max(a, c) < min(b, d) for a, b, c, d in zip(*one, *other, strict=True)):
            return i, j
    return None
