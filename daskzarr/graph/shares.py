"""The ownership of a region -> what each block's task is told, and which tasks there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from daskzarr.graph.dask_names import BlockwiseDep, DataNode
from daskzarr.ownership import Cell, Index, Ownership, Share


@dataclass(frozen=True)
class Finished:
    """What of a write need not be done: boxes of blocks, and cells, by index."""

    blocks: frozenset[Index] = frozenset()
    cells: frozenset[Index] = frozenset()


@dataclass(frozen=True)
class Shares(BlockwiseDep):  # type: ignore[misc]
    """Gives the task of each block its share: the box it writes and the pieces it hands on, less what is finished."""

    ownership: Ownership
    finished: Finished = field(default_factory=Finished)

    produces_tasks = False

    @property
    def numblocks(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return self.ownership.blocks.numblocks

    def __getitem__(self, index: Index) -> Any:
        return DataNode(None, self.share(index))  # a node is what Dask does not look into for keys

    def box_function(self) -> Callable[[Index], Share]:
        """Block index -> share."""
        return self.share

    def share(self, block: Index) -> Share:
        """What the task of a block does."""
        share = self.ownership.share(block)
        own = None if block in self.finished.blocks else share.own
        return Share(share.box, own, tuple(piece for piece in share.pieces if piece[0] not in self.finished.cells))

    def cells(self) -> Iterator[Cell]:
        """The cells to be written by tasks of their own."""
        return (cell for cell in self.ownership.cells() if cell.at not in self.finished.cells)

    def joint_objects(self) -> Iterator[tuple[Index, Index]]:
        """Objects that other regions may have cells in, and the blocks here that have."""
        return (pair for pair in self.ownership.joint_objects() if pair[0] not in self.finished.cells)

    def lone_blocks(self) -> Iterator[Index]:
        """Blocks whose tasks write, and hand nothing on: their receipts are nowhere else."""
        if self.ownership.gathers:
            return
        plain = self.ownership.whole
        for block in itertools.product(*map(range, self.numblocks)):
            if plain:
                if block not in self.finished.blocks:
                    yield block
                continue
            share = self.share(block)
            if share.own is not None and not share.pieces:
                yield block

    def __dask_tokenize__(self) -> Any:
        return "daskzarr.Shares", repr(self)
