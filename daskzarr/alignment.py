"""How Dask cuts an array, and where it goes in a stored grid -> whether each stored chunk has one owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskzarr.block_grid import BlockGrid, Cuts, RegularCuts, cuts, edge_cuts
from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import AlignmentError
from daskzarr.rectilinear_grid import RectilinearGrid


def owned_blocks(
    chunks: Sequence[Sequence[int]], start: Sequence[int], grid: RegularGrid | RectilinearGrid
) -> BlockGrid:
    """The box that each Dask block owns, if every block owns whole stored chunks.

    Parameters
    ----------
    chunks
        Dask's chunks of the array to be written.
    start
        The cell of the stored array where its first cell goes.
    grid
        The stored chunks.

    Raises
    ------
    AlignmentError
        If a stored chunk would get cells from two blocks, or keep some of its old cells.

    Examples
    --------
    >>> owned_blocks(((4, 2),), (0,), RegularGrid((6,), (2,))).numblocks
    (2,)
    """
    axes = [cuts(a, lengths) for a, lengths in zip(start, chunks, strict=True)]
    if 0 in [cut.bounds(cut.count - 1)[1] - cut.bounds(0)[0] for cut in axes]:
        return BlockGrid(tuple(axes))  # nothing is written
    for axis, cut in enumerate(axes):
        block = _bad_block(cut, grid, axis)
        if block is not None:
            raise _misaligned(axis, block, axes, grid)
    return BlockGrid(tuple(axes))


def _bad_block(cut: Cuts, grid: RegularGrid | RectilinearGrid, axis: int) -> int | None:
    """The first block that does not own whole stored chunks of one axis."""
    if isinstance(grid, RegularGrid) and isinstance(cut, RegularCuts) and cut.step % grid.chunk_shape[axis] == 0:
        suspects = [0, cut.count - 1]  # all edges in between are multiples of the step
    else:
        suspects = list(range(cut.count))
    for block in suspects:
        start, stop = cut.bounds(block)
        if start < stop and not (is_edge(grid, axis, start) and is_edge(grid, axis, stop)):
            return block
    return None


def is_edge(grid: RegularGrid | RectilinearGrid, axis: int, cell: int) -> bool:
    """Whether no stored chunk has cells on both sides of a cell's start."""
    if cell == grid.shape[axis]:
        return True
    if isinstance(grid, RegularGrid):
        return cell % grid.chunk_shape[axis] == 0
    edges = grid.axes[axis]
    return edges.bounds(edges.find(cell))[0] == cell


def _misaligned(axis: int, block: int, axes: Sequence[Cuts], grid: RegularGrid | RectilinearGrid) -> AlignmentError:
    """The error that says which block, and how to mend it."""
    start, stop = axes[axis].bounds(block)
    mends = []
    wanted: dict[int, Any] = {}
    for i, (other, chunk) in enumerate(zip(axes, grid.chunk_shape, strict=True)):
        first, last = other.bounds(0)[0], other.bounds(other.count - 1)[1]
        if not (is_edge(grid, i, first) and is_edge(grid, i, last)):
            mends.append(f"widen the region {first}:{last} of axis {i}, which cuts a stored chunk of {chunk} cells")
        elif _bad_block(other, grid, i) is not None:
            if isinstance(grid, RegularGrid):
                wanted[i] = _multiple(other, chunk)
            else:
                wanted[i] = edge_cuts(grid.axes[i], first, last, 1).lengths
    if wanted:
        mends.append(f"call x.rechunk({wanted}) first, or choose other stored chunks (or shards) for a new array")
    of_cells = f" of {grid.chunk_shape[axis]} cells" if isinstance(grid, RegularGrid) else ""
    return AlignmentError(
        f"block {block} of axis {axis} covers cells {start}:{stop}, which are not whole stored chunks{of_cells}: "
        f"two tasks would write one stored chunk, or keep a part of it; {' and '.join(mends)}; "
        'align="merge" writes it as it is',
        axis=axis,
    )


def _multiple(cut: Cuts, length: int) -> int:
    """A block length near the present one that is a multiple of the stored chunk's."""
    longest = max(cut.lengths)
    return max(round(longest / length), 1) * length
