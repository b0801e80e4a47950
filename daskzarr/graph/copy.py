"""Two handles of arrays whose stored chunks are the same bytes -> one delayed value that copies them all."""

from __future__ import annotations

import uuid

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import copy_box
from daskzarr.graph.dask_names import Blockwise, HighLevelGraph, Task, TaskRef, blockwise_token
from daskzarr.graph.read_layer import BlockBoxes
from daskzarr.graph.tree import Leaves, ReceiptTree, finishing
from daskzarr.graph.write import Write
from daskzarr.receipt import Outcome


def copy_block(source: ArrayHandle, target: ArrayHandle, box: Box) -> Outcome:
    """The task of one block: copy its chunks."""
    return Outcome(copy_box(source, target, box))


def copy_array(source: ArrayHandle, target: ArrayHandle, blocks: BlockGrid) -> Write:
    """The copy of every stored chunk, those of a block by one task; nothing runs yet."""
    token = uuid.uuid4().hex
    name, root = f"daskzarr-copy-{token}", f"daskzarr-copied-{token}"
    axes = tuple(f"axis{i}" for i in range(len(blocks.axes)))
    task = Task(name, copy_block, *(TaskRef(blockwise_token(i)) for i in range(3)))
    inputs = [(source, None), (target, None), (BlockBoxes(blocks), axes)]
    layer = Blockwise(name, axes, task, inputs, numblocks={})
    graph = HighLevelGraph({name: layer}, {name: set()})
    tree = ReceiptTree(root, (Leaves(name, blocks.numblocks),), graph, finishing([target.store], None))
    return Write(root, HighLevelGraph({name: layer, root: tree}, {name: set(), root: {name}}), layer=root)
