"""How Dask cuts an array, and where it goes in a stored grid -> whether each stored chunk has one owner."""

from __future__ import annotations

from collections.abc import Sequence

from daskzarr.block_grid import BlockGrid, Cuts, RegularCuts, cuts
from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import AlignmentError


def owned_blocks(chunks: Sequence[Sequence[int]], start: Sequence[int], grid: RegularGrid) -> BlockGrid:
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
        length, size = grid.chunk_shape[axis], grid.shape[axis]
        block = _bad_block(cut, length, size)
        if block is not None:
            raise _misaligned(axis, block, cut, length, size, axes, grid)
    return BlockGrid(tuple(axes))


def _bad_block(cut: Cuts, length: int, size: int) -> int | None:
    """The first block that does not own whole stored chunks of one axis."""
    if isinstance(cut, RegularCuts) and cut.step % length == 0:
        suspects = [0, cut.count - 1]  # all edges in between are multiples of the step
    else:
        suspects = list(range(cut.count))
    for block in suspects:
        start, stop = cut.bounds(block)
        if start < stop and (start % length or (stop % length and stop != size)):
            return block
    return None


def _misaligned(
    axis: int, block: int, cut: Cuts, length: int, size: int, axes: Sequence[Cuts], grid: RegularGrid
) -> AlignmentError:
    """The error that says which block, and how to mend it."""
    start, stop = cut.bounds(block)
    mends = []
    wanted = {}
    for i, (other, chunk, whole) in enumerate(zip(axes, grid.chunk_shape, grid.shape, strict=True)):
        first, last = other.bounds(0)[0], other.bounds(other.count - 1)[1]
        if first % chunk or (last % chunk and last != whole):
            mends.append(f"widen the region {first}:{last} of axis {i}, which cuts a stored chunk of {chunk} cells")
        elif _bad_block(other, chunk, whole) is not None:
            wanted[i] = _multiple(other, chunk)
    if wanted:
        mends.append(f"call x.rechunk({wanted}) first, or choose other stored chunks with chunks=")
    return AlignmentError(
        f"block {block} of axis {axis} covers cells {start}:{stop}, which are not whole stored chunks of {length} "
        f"cells: two tasks would write one stored chunk, or keep a part of it; {' and '.join(mends)}",
        axis=axis,
    )


def _multiple(cut: Cuts, length: int) -> int:
    """A block length near the present one that is a multiple of the stored chunk's."""
    longest = max(cut.lengths)
    return max(round(longest / length), 1) * length
