"""Every name of Dask's that is not public, in one place."""

from dask._task_spec import (
    Alias,
    DataNode,
    GraphNode,
    Task,
    TaskRef,
    _execute_subgraph,
    convert_legacy_graph,
    fuse_linear_task_spec,
)
from dask.blockwise import (
    Blockwise,
    BlockwiseDep,
    _get_coord_mapping,
    blockwise_token,
    fuse_roots,
    optimize_blockwise,
)
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

__all__ = [
    "Alias",
    "Blockwise",
    "BlockwiseDep",
    "DataNode",
    "GraphNode",
    "HighLevelGraph",
    "Layer",
    "MaterializedLayer",
    "Task",
    "TaskRef",
    "_execute_subgraph",
    "_get_coord_mapping",
    "blockwise_token",
    "convert_legacy_graph",
    "fuse_linear_task_spec",
    "fuse_roots",
    "optimize_blockwise",
]
