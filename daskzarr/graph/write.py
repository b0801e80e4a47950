"""Dask arrays, and where they go -> one delayed value that writes them all, each stored object by one task."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
from dask.core import flatten
from dask.delayed import Delayed
from dask.utils import ensure_dict

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_io import PLAIN, Terms
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
from daskzarr.graph.shares import Finished, Shares
from daskzarr.graph.tree import Ending, LazyLayer, Leaves, ListedLeaves, ReceiptTree, finishing
from daskzarr.graph.write_tasks import Collecting, read_back, write_block, write_cell, write_gathered, write_share
from daskzarr.journal import Journal
from daskzarr.ownership import Cell, Index, Ownership


@dataclass(frozen=True)
class Part:
    """A dask array, and who writes what of the region it goes to, less what is finished."""

    array: da.Array
    ownership: Ownership
    finished: Finished = field(default_factory=Finished)


@dataclass(frozen=True)
class ArrayWrite:
    """All that is written to one stored array by one call."""

    handle: ArrayHandle
    parts: tuple[Part, ...]
    terms: Terms = PLAIN
    journal: Journal | None = None


class Write(Delayed):  # type: ignore[misc]
    """A write that has not run yet: ``compute()`` runs it and says what was written."""

    __slots__ = ()

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **kwargs: Any) -> Any:
        return optimize_writes(graph, keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return Write, (self.key, self.dask, self._length, self._layer)


class CellLayer(LazyLayer):
    """The tasks of stored objects that several blocks of one region have cells in."""

    def __init__(self, name: str, source: str, write: ArrayWrite, shares: Shares) -> None:
        super().__init__(name)
        self.source = source  # the layer of the tasks of blocks; where whole blocks are gathered, that of the blocks
        self.handle, self.terms = write.handle, write.terms
        self.shares = shares

    def _make(self) -> Iterator[tuple[Any, Any]]:
        gathers = self.shares.ownership.gathers
        box_of = self.shares.ownership.blocks.box
        function = _collecting(write_gathered if gathers else write_cell, self.terms.collect)
        for cell in self.shares.cells():
            key = (self.name, *cell.at)
            refs = [TaskRef((self.source, *block)) for block in cell.blocks]
            boxes = [tuple(map(box_of, cell.blocks))] if gathers else []
            yield key, Task(key, function, self.handle, self.terms, cell._replace(blocks=()), *boxes, *refs)

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        found = {
            (self.name, *cell.at): {(self.source, *block) for block in cell.blocks} for cell in self.shares.cells()
        }
        return self, {key: above for key, above in found.items() if key in keys}


class JointLayer(LazyLayer):
    """The tasks of stored objects that several regions have cells in: by object, the tasks that have pieces of it."""

    def __init__(self, name: str, write: ArrayWrite, sources: Mapping[Index, Sequence[Any]]) -> None:
        super().__init__(name)
        self.handle, self.terms = write.handle, write.terms
        self.sources = sources

    def _make(self) -> Iterator[tuple[Any, Any]]:
        function = _collecting(write_cell, self.terms.collect)
        for at, sources in self.sources.items():
            key = (self.name, *at)
            cell = Cell(at, self.handle.grid.box(at[1:]), ())
            yield key, Task(key, function, self.handle, self.terms, cell, *map(TaskRef, sources))

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        found = {(self.name, *at): set(sources) for at, sources in self.sources.items()}
        return self, {key: above for key, above in found.items() if key in keys}


def write_arrays(writes: Sequence[ArrayWrite], ending: Ending | None = None) -> Write:
    """Everything that several arrays are given by one call; nothing runs yet.

    Names hold a random part: two writes of the same cells are two writes.
    """
    token = uuid.uuid4().hex
    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    leaves: list[Leaves | ListedLeaves] = []
    for n, write in enumerate(writes):
        graph, found = _write_graph(write, f"{token}-{n}")
        layers.update(graph.layers)
        dependencies.update(graph.dependencies)
        leaves.extend(found)
    root = f"daskzarr-written-{token}"
    above = {name for found in leaves for name in _layers_of(found)}
    ending = finishing([write.handle.store for write in writes], ending)
    tree = ReceiptTree(root, tuple(leaves), HighLevelGraph(dict(layers), dict(dependencies)), ending)
    whole = HighLevelGraph({**layers, root: tree}, {**dependencies, root: above})
    return Write(root, optimize_blockwise(whole, keys=[root]), layer=root)


def _layers_of(leaves: Leaves | ListedLeaves) -> set[str]:
    """Names of the layers some leaves are in."""
    if isinstance(leaves, ListedLeaves):
        return {key[0] for key in leaves.listed}
    return {name for name in (leaves.layer, leaves.cells) if name is not None}


def _write_graph(write: ArrayWrite, token: str) -> tuple[HighLevelGraph, list[Leaves | ListedLeaves]]:
    """The graph of what goes to one stored array, and its tasks that have receipts."""
    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    leaves: list[Leaves | ListedLeaves] = []
    joint: dict[Index, list[Any]] = {}
    for n, part in enumerate(write.parts):
        name, cells = f"daskzarr-write-{token}-{n}", f"daskzarr-merge-{token}-{n}"
        source, graph = graph_of(part.array)
        whole, gathers = part.ownership.whole, part.ownership.gathers
        shares = Shares(part.ownership, part.finished)
        told = None if whole and not part.finished.blocks else shares
        tasks = Leaves(cells if gathers else name, part.array.numblocks, told, None if whole else cells, write.journal)
        pieces = list(shares.joint_objects())
        if told is not None and not pieces and next(tasks.tasks(), None) is None:
            continue  # all of it is finished
        leaves.append(tasks)
        layers.update({key: _without_chunks(layer) for key, layer in graph.layers.items()})
        dependencies.update(graph.dependencies)
        if not gathers:
            layers[name], dependencies[name] = _block_layer(name, write, part, source, shares), {source}
        if not whole:
            home = source if gathers else name
            layers[cells], dependencies[cells] = CellLayer(cells, home, write, shares), {home}
        for at, block in pieces:
            joint.setdefault(at, []).append((name, *block))
    if joint:
        name = f"daskzarr-join-{token}"
        layers[name] = JointLayer(name, write, joint)
        dependencies[name] = {key[0] for keys in joint.values() for key in keys}
        leaves.append(ListedLeaves(tuple((name, *at) for at in joint), write.journal))
    return HighLevelGraph(layers, dependencies), leaves


def _block_layer(name: str, write: ArrayWrite, part: Part, source: str, shares: Shares) -> Blockwise:
    """The tasks of the blocks of one array."""
    axes = tuple(f"axis{i}" for i in range(part.array.ndim))
    whole = part.ownership.whole
    function = _collecting(write_block if whole else write_share, write.terms.collect)
    task = Task(name, function, *(TaskRef(blockwise_token(i)) for i in range(4)))
    place = BlockBoxes(part.ownership.blocks) if whole else shares
    inputs = [(write.handle, None), (write.terms, None), (place, axes), (source, axes)]
    return Blockwise(name, axes, task, inputs, numblocks={source: part.array.numblocks})


def _collecting(function: Any, collect: bool) -> Any:
    """The function of a task, or one that says what failed instead of failing."""
    return Collecting(function) if collect else function


def _without_chunks(layer: Layer) -> Layer:
    """The layer without the note of every chunk's size that Dask draws it by: it would travel with the graph."""
    notes = layer.collection_annotations
    if not notes or "chunks" not in notes or not isinstance(layer, Blockwise):
        return layer
    bare = copy.copy(layer)
    bare.collection_annotations = {key: value for key, value in notes.items() if key != "chunks"}
    return bare


def graph_of(array: da.Array) -> tuple[str, HighLevelGraph]:
    """Name and graph of a dask array, of either make of Dask's."""
    if hasattr(array, "expr"):
        expression = array.expr.optimize()
        layer = MaterializedLayer(expression.__dask_graph__())
        return expression._name, HighLevelGraph({expression._name: layer}, {expression._name: set()})
    return array.name, array.dask


def written_array(write: ArrayWrite, ending: Ending | None = None) -> da.Array:
    """An array whose every block is written, then read back from the store.

    Where tasks of blocks do everything, each is read back by the task that wrote it; else all is written first.
    """
    (part,) = write.parts
    array, blocks = part.array, part.ownership.blocks
    token = uuid.uuid4().hex
    name = f"daskzarr-stored-{token}"
    axes = tuple(f"axis{i}" for i in range(array.ndim))
    receipt: tuple[Any, Any]
    if part.ownership.whole and write.journal is None and finishing([write.handle.store], ending) is None:
        graph, (leaves,) = _write_graph(write, token)
        (above,) = _layers_of(leaves)
        receipt, numblocks = (above, axes), {above: array.numblocks}
    else:
        delayed = write_arrays([write], ending)
        graph, above, receipt, numblocks = delayed.dask, delayed.key, (TaskRef(delayed.key), None), {}
    task = Task(name, read_back, *(TaskRef(blockwise_token(i)) for i in range(3)))
    inputs = [(write.handle, None), (BlockBoxes(blocks), axes), receipt]
    layer = Blockwise(name, axes, task, inputs, numblocks=numblocks)
    whole = HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {above}})
    meta = np.empty((0,) * array.ndim, write.handle.dtype)
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
    if all(isinstance(layer, (LeanLayer, LazyLayer)) for layer in graph.layers.values()):
        return graph
    return fuse_tasks(ensure_dict(graph), keys)


def _make_lean(graph: HighLevelGraph, keys: list[Any]) -> HighLevelGraph:
    """The same graph with lean layers; blocks of data that only those want are put into their tasks."""
    ready = {name: layer.mapping for name, layer in graph.layers.items() if _holds_data(layer)}
    data = {key: plain(value) for mapping in ready.values() for key, value in mapping.items()}
    lean = {name: LeanLayer.of(layer, data) for name, layer in graph.layers.items()}
    wanted = set(keys)
    for name, layer in lean.items():
        if not isinstance(layer, (LeanLayer, LazyLayer)) and name not in ready:
            wanted |= data.keys() if layer.has_legacy_tasks else set().union(*(t.dependencies for t in layer.values()))
        elif isinstance(layer, CellLayer) and layer.shares.ownership.gathers and ready:
            wanted |= set().union(*(task.dependencies for task in layer.values()))
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
