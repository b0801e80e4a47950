"""A dask array, a handle and the boxes its blocks own -> one delayed value that writes them all."""

from __future__ import annotations

import copy
import itertools
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dask.array as da
import numpy as np
from dask.core import flatten
from dask.delayed import Delayed
from dask.utils import ensure_dict

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Array, read_box, write_box
from daskzarr.graph.dask_names import (
    Blockwise,
    DataNode,
    HighLevelGraph,
    Layer,
    MaterializedLayer,
    Task,
    TaskRef,
    blockwise_token,
    fuse_roots,
    optimize_blockwise,
)
from daskzarr.graph.lean import LeanLayer, fuse_tasks, plain
from daskzarr.graph.read_layer import BlockBoxes

_FAN_IN = 32


def write_block(handle: ArrayHandle, block: Array, box: Box) -> int:
    """The task of one block: store it, return the bytes it takes."""
    return write_box(handle, box, block)


def read_back(handle: ArrayHandle, box: Box, receipt: int) -> Array:
    """The task of one block that was just written: the cells as they are stored."""
    return read_box(handle, box)


def total(*receipts: int) -> int:
    """The bytes of several receipts."""
    return sum(receipts)


class ReceiptTree(Layer):  # type: ignore[misc]
    """Adds up the receipts of all blocks, a few at a time, so that no task and no message grows with their number.

    ``origin`` is the graph of the write before it was fused: computed together with another write, steps they share are
    found there and run once.
    """

    has_legacy_tasks = False

    def __init__(self, name: str, leaf: str, numblocks: tuple[int, ...], origin: HighLevelGraph) -> None:
        super().__init__()
        self.name = name
        self.leaf = leaf
        self.numblocks = numblocks
        self.origin = origin
        self._tasks: dict[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tasks": None}

    def _leaves(self) -> Iterator[Any]:
        """Keys of the receipts."""
        return ((self.leaf, *index) for index in itertools.product(*map(range, self.numblocks)))

    def _made(self) -> dict[Any, Any]:
        """The tasks, made once."""
        if self._tasks is None:
            self._tasks = {}
            keys, level = list(self._leaves()), 0
            while len(keys) > _FAN_IN:
                parents = []
                for i in range(0, len(keys), _FAN_IN):
                    key = (self.name, level, i // _FAN_IN)
                    self._tasks[key] = Task(key, total, *map(TaskRef, keys[i : i + _FAN_IN]))
                    parents.append(key)
                keys, level = parents, level + 1
            self._tasks[self.name] = Task(self.name, total, *map(TaskRef, keys))
        return self._tasks

    def is_materialized(self) -> bool:
        return self._tasks is not None

    def get_output_keys(self) -> set[Any]:
        return {self.name}

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        return self, {self.name: set(self._leaves())}

    def __getitem__(self, key: Any) -> Any:
        return self._made()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made())

    def __len__(self) -> int:
        count, nodes = math.prod(self.numblocks), 1
        while count > _FAN_IN:
            count = -(-count // _FAN_IN)
            nodes += count
        return nodes


class Write(Delayed):  # type: ignore[misc]
    """A write that has not run yet: ``compute()`` runs it and gives the number of bytes stored."""

    __slots__ = ()

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **kwargs: Any) -> Any:
        return optimize_writes(graph, keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return Write, (self.key, self.dask, self._length, self._layer)


def write_array(array: da.Array, handle: ArrayHandle, blocks: BlockGrid) -> Write:
    """The write of every block of ``array`` to the box it owns; nothing runs yet.

    Names hold a random part: two writes of the same cells are two writes.
    """
    token = uuid.uuid4().hex
    graph, leaf = _write_graph(array, handle, blocks, token)
    root = f"daskzarr-written-{token}"
    tree = ReceiptTree(root, leaf, array.numblocks, graph)
    layers = {**graph.layers, root: tree}
    whole = HighLevelGraph(layers, {**graph.dependencies, root: {leaf}})
    return Write(root, optimize_blockwise(whole, keys=[root]), layer=root)


def _write_graph(array: da.Array, handle: ArrayHandle, blocks: BlockGrid, token: str) -> tuple[HighLevelGraph, str]:
    """The graph of ``array`` with the layer that writes it on top, and that layer's name."""
    name = f"daskzarr-write-{token}"
    axes = tuple(f"axis{i}" for i in range(array.ndim))
    source, graph = _graph_of(array)
    task = Task(name, write_block, *(TaskRef(blockwise_token(i)) for i in range(3)))
    inputs = [(handle, None), (source, axes), (BlockBoxes(blocks), axes)]
    layer = Blockwise(name, axes, task, inputs, numblocks={source: array.numblocks})
    layers = {key: _without_chunks(other) for key, other in graph.layers.items()}
    return HighLevelGraph({**layers, name: layer}, {**graph.dependencies, name: {source}}), name


def _without_chunks(layer: Layer) -> Layer:
    """The layer without the note of every chunk's size that Dask draws it by: it would travel with the graph."""
    notes = layer.collection_annotations
    if not notes or "chunks" not in notes or not isinstance(layer, Blockwise):
        return layer
    bare = copy.copy(layer)
    bare.collection_annotations = {key: value for key, value in notes.items() if key != "chunks"}
    return bare


def _graph_of(array: da.Array) -> tuple[str, HighLevelGraph]:
    """Name and graph of a dask array, of either make of Dask's."""
    if hasattr(array, "expr"):
        expression = array.expr.optimize()
        layer = MaterializedLayer(expression.__dask_graph__())
        return expression._name, HighLevelGraph({expression._name: layer}, {expression._name: set()})
    return array.name, array.dask


def written_array(array: da.Array, handle: ArrayHandle, blocks: BlockGrid) -> da.Array:
    """An array whose every block is written, then read back from the store."""
    token = uuid.uuid4().hex
    graph, leaf = _write_graph(array, handle, blocks, token)
    name = f"daskzarr-stored-{token}"
    axes = tuple(f"axis{i}" for i in range(array.ndim))
    task = Task(name, read_back, *(TaskRef(blockwise_token(i)) for i in range(3)))
    inputs = [(handle, None), (BlockBoxes(blocks), axes), (leaf, axes)]
    layer = Blockwise(name, axes, task, inputs, numblocks={leaf: array.numblocks})
    whole = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {leaf}})
    meta = np.empty((0,) * array.ndim, handle.dtype)
    if da.array_expr_enabled():
        from daskzarr.graph.expression import graph_expression

        keys = [(name, *index) for index in np.ndindex(*array.numblocks)]
        return graph_expression(ensure_dict(optimize_writes(whole, keys)), keys, array.chunks, meta)
    return da.Array(whole, name, array.chunks, meta=meta)


def optimize_writes(graph: Any, keys: Any) -> Any:
    """Fuse reading, computing and writing of each block to one task; layers and annotations stay, if possible."""
    keys = list(flatten([keys]))
    if not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph.from_collections(id(graph), graph, dependencies=())
    graph = _share_steps(graph)
    graph = fuse_roots(optimize_blockwise(graph, keys=keys), keys=keys).cull(set(keys))
    graph = _make_lean(graph, keys)
    if all(isinstance(layer, (LeanLayer, ReceiptTree)) for layer in graph.layers.values()):
        return graph
    return fuse_tasks(ensure_dict(graph), keys)


def _make_lean(graph: HighLevelGraph, keys: list[Any]) -> HighLevelGraph:
    """The same graph with lean layers; blocks of data that only those want are put into their tasks."""
    ready = {name: layer.mapping for name, layer in graph.layers.items() if _holds_data(layer)}
    data = {key: plain(value) for mapping in ready.values() for key, value in mapping.items()}
    lean = {name: LeanLayer.of(layer, data) for name, layer in graph.layers.items()}
    wanted = set(keys)
    for name, layer in lean.items():
        if not isinstance(layer, (LeanLayer, ReceiptTree)) and name not in ready:
            wanted |= data.keys() if layer.has_legacy_tasks else set().union(*(t.dependencies for t in layer.values()))
    gone = {name for name, mapping in ready.items() if not mapping.keys() & wanted}
    return HighLevelGraph(
        {name: layer for name, layer in lean.items() if name not in gone},
        {name: above - gone for name, above in graph.dependencies.items() if name not in gone},
    )


def _share_steps(graph: HighLevelGraph) -> HighLevelGraph:
    """Where several writes are computed together, go back to what they were before each was fused alone."""
    trees = {name: layer for name, layer in graph.layers.items() if isinstance(layer, ReceiptTree)}
    if len(trees) < 2:
        return graph
    layers = {name: layer for name, layer in graph.layers.items() if name in trees}
    dependencies = {name: set(graph.dependencies[name]) for name in trees}
    for tree in trees.values():
        layers.update(tree.origin.layers)
        dependencies.update(tree.origin.dependencies)
    for name, layer in graph.layers.items():
        if name not in layers:
            layers[name], dependencies[name] = layer, graph.dependencies[name]
    return HighLevelGraph(layers, dependencies)


def _holds_data(layer: Layer) -> bool:
    """Whether a layer is nothing but blocks that are there already."""
    return isinstance(layer, MaterializedLayer) and all(
        isinstance(value, (np.ndarray, DataNode)) for value in layer.mapping.values()
    )
