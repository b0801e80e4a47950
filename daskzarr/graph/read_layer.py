"""An array's handle and the blocks wanted -> the layer of tasks that read them, whose size does not grow."""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem
from typing import Any

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Array, read_box
from daskzarr.graph.dask_names import Blockwise, BlockwiseDep, DataNode, Task, TaskRef, blockwise_token


class BlockBoxes(BlockwiseDep):  # type: ignore[misc]
    """Gives the task of each block its box, worked out from a state that does not grow with the array."""

    produces_tasks = False

    def __init__(self, blocks: BlockGrid) -> None:
        self.blocks = blocks
        self.numblocks = blocks.numblocks

    def __getitem__(self, index: tuple[int, ...]) -> Any:
        return DataNode(None, self.blocks.box(index))  # a node is what Dask does not look into for keys

    def box_function(self) -> Callable[[tuple[int, ...]], Box]:
        """Block index -> box, quickly for very many: the bounds along each axis are worked out once."""
        blocks = self.blocks
        if blocks.dropped:
            return blocks.box
        bounds = [[axis.bounds(i) for i in range(axis.count)] for axis in blocks.axes]
        starts = [[pair[0] for pair in pairs] for pairs in bounds]
        stops = [[pair[1] for pair in pairs] for pairs in bounds]
        return lambda index: Box(tuple(map(getitem, starts, index)), tuple(map(getitem, stops, index)))

    def __dask_tokenize__(self) -> Any:
        return "daskzarr.BlockBoxes", repr(self.blocks)


def read_block(handle: ArrayHandle, box: Box, dropped: tuple[int, ...] = ()) -> Array:
    """The task of one block: its cells, without the axes an integer index took away."""
    block = read_box(handle, box)
    return block if not dropped else np.squeeze(block, dropped)


def read_layer(name: str, handle: ArrayHandle, blocks: BlockGrid) -> Blockwise:
    """All blocks as one layer, the same size whatever their number."""
    axes = tuple(f"axis{i}" for i in blocks.kept)
    constants = (blocks.dropped,) if blocks.dropped else ()
    task = Task(
        name,
        read_block,
        TaskRef(blockwise_token(0)),
        TaskRef(blockwise_token(1)),
        *constants,
        _data_producer=True,
    )
    return Blockwise(name, axes, task, [(handle, None), (BlockBoxes(blocks), axes)], numblocks={})
