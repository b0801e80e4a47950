"""Stored arrays of one axis, the run that each block needs and an item of its own -> a dask array, one task a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, ListedCuts
from daskzarr.graph.dask_names import Blockwise, BlockwiseDep, DataNode, HighLevelGraph, Task, TaskRef, blockwise_token
from daskzarr.graph.lean import LeanLayer
from daskzarr.graph.read_layer import BlockBoxes

_AXES = "axis0", "axis1"


class BlockItems(BlockwiseDep):  # type: ignore[misc]
    """Gives the task of each block the item of its number along one axis of two."""

    produces_tasks = False

    def __init__(self, items: Sequence[Any], axis: int) -> None:
        self.items = items
        self.axis = axis
        self.numblocks = (len(items), 1) if axis == 0 else (1, len(items))

    def __getitem__(self, index: tuple[int, ...]) -> Any:
        return DataNode(None, self.items[index[self.axis]])

    def __dask_tokenize__(self) -> Any:
        return "daskzarr.BlockItems", dask.base.normalize_token(self.items), self.axis


def read_runs(
    name: str,
    function: Callable[..., Any],
    handles: tuple[ArrayHandle, ArrayHandle],
    edges: Sequence[int],
    items: Sequence[Any],
    constant: Any,
    *,
    axis: int,
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
    meta: Any,
) -> da.Array:
    """A dask array of two axes, cut along one of them. A block is ``function(*handles, box, item, constant)``.

    ``box`` is the run of the stored arrays from one of the edges to the next. Tasks carry what they are called with and
    nothing of other blocks.
    """
    boxes = BlockBoxes(BlockGrid((ListedCuts(tuple(edges)),)))
    references = [TaskRef(blockwise_token(i)) for i in range(4)]
    task = Task(name, function, *references, constant, _data_producer=True)
    arguments = [*((handle, None) for handle in handles), (boxes, (_AXES[axis],)), (BlockItems(items, axis), _AXES)]
    layer = Blockwise(name, _AXES, task, arguments, numblocks={})
    if da.array_expr_enabled():
        from daskzarr.graph.expression import graph_expression

        keys = [(name, *index) for index in np.ndindex(len(chunks[0]), len(chunks[1]))]
        return graph_expression(dict(LeanLayer.of(layer)), keys, chunks, meta)
    array = da.Array(HighLevelGraph({name: layer}, {name: set()}), name, chunks, meta=meta)
    layer.collection_annotations.pop("chunks", None)  # of every block, for drawings: they would travel with the graph
    return array
