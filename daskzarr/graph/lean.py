"""A Blockwise layer -> the same tasks made and run with less work: one flat call a block.

Dask makes each task of a Blockwise layer by substitution and runs fused steps as a graph of their own, ordered anew for
every block; both cost more than reading a small chunk does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from daskzarr.graph.dask_names import (
    Alias,
    Blockwise,
    DataNode,
    GraphNode,
    Layer,
    Task,
    TaskRef,
    _execute_subgraph,
    _get_coord_mapping,
    blockwise_token,
    convert_legacy_graph,
    fuse_linear_task_spec,
)


class FusedBlock:
    """Steps of one block, run one after the other; what no later step needs is let go at once."""

    __slots__ = ("_steps", "inputs", "nodes", "result")

    def __init__(self, nodes: tuple[Any, ...], inputs: tuple[Any, ...], result: Any) -> None:
        self.nodes = nodes
        self.inputs = inputs
        self.result = result
        last_use = {key: i for i, node in enumerate(nodes) for key in node.dependencies}
        self._steps = [
            (node, _simple_args(node), [key for key, last in last_use.items() if last == i and key != result])
            for i, node in enumerate(nodes)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        return FusedBlock, (self.nodes, self.inputs, self.result)

    def __call__(self, *args: Any) -> Any:
        values = dict(zip(self.inputs, args, strict=True))
        rescue = getattr(getattr(self.nodes[-1], "func", None), "rescue", None)
        if rescue is None:
            return self._run(values)
        simple = self._steps[-1][1] or []
        known = [values.get(key) if is_ref else key for is_ref, key in simple]
        try:
            return self._run(values)
        except Exception as error:
            return rescue(error, *known)

    def _run(self, values: dict[Any, Any]) -> Any:
        """The result of the last step."""
        for node, simple, spent in self._steps:
            if simple is None:
                values[node.key] = node(values)
            else:
                values[node.key] = node.func(*[values[key] if is_ref else key for is_ref, key in simple])
            for key in spent:
                del values[key]
        return values[self.result]


def _simple_args(node: Any) -> list[tuple[bool, Any]] | None:
    """A step's arguments as (is a reference, key or value), or None where Dask has to evaluate them."""
    if type(node) is not Task or node.kwargs:
        return None
    if any(isinstance(arg, GraphNode) and type(arg) is not DataNode for arg in node.args):
        return None
    return [
        (True, arg.key) if isinstance(arg, TaskRef) else (False, arg.value if type(arg) is DataNode else arg)
        for arg in node.args
    ]


def fused_function(task: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The one function a layer's task comes to, and the keys of its arguments; None if it is of another make."""
    if task.func is not _execute_subgraph:
        if task.kwargs or not all(isinstance(arg, TaskRef) or not isinstance(arg, GraphNode) for arg in task.args):
            return None
        keys = tuple(arg.key for arg in task.args if isinstance(arg, TaskRef))
        if len(keys) == len(task.args) == len(set(keys)):
            return task.func, keys
        inputs = tuple(dict.fromkeys(keys))
        return FusedBlock((task,), inputs, task.key), inputs
    inner, result, inputs, *refs = task.args
    if task.kwargs or [ref.key if isinstance(ref, TaskRef) else None for ref in refs] != list(inputs):
        return None
    nodes = _in_order(inner)
    return None if nodes is None else (FusedBlock(tuple(nodes), tuple(inputs), result), tuple(inputs))


def _in_order(inner: Mapping[Any, Any]) -> list[Any] | None:
    """The steps, each after those it needs; nested fused steps are made flat calls too."""
    done: dict[Any, Any] = {}
    waiting = dict(inner)
    while waiting:
        ready = [key for key, node in waiting.items() if not (node.dependencies & waiting.keys()) - {key}]
        if not ready:
            return None
        for key in ready:
            node = waiting.pop(key)
            done[key] = _flat(node)
    return list(done.values())


def fuse_tasks(graph: dict[Any, Any], keys: list[Any]) -> dict[Any, Any]:
    """Fuse chains of tasks, each to one flat call under the key of its last step; small constants go into the tasks."""
    tasks = convert_legacy_graph(graph)
    uses = Counter(key for node in tasks.values() for key in node.dependencies)
    constants = {
        key: node
        for key, node in tasks.items()
        if type(node) is DataNode and key not in keys and (uses[key] == 1 or getattr(node.value, "ndim", 1) == 0)
    }
    tasks = {
        key: node.substitute(constants, key=key) if node.dependencies & constants.keys() else node
        for key, node in tasks.items()
        if key not in constants
    }
    fused = fuse_linear_task_spec(tasks, keys=keys)
    uses = Counter(key for node in fused.values() for key in node.dependencies)
    result: dict[Any, Any] = {}
    for key, node in fused.items():
        if not uses[key] and key not in keys:
            continue
        if type(node) is Alias and uses[node.target] == 1 and node.target in fused and node.target not in keys:
            # What it stands for may be an alias too, whose own target has moved already.
            found = result.pop(node.target, fused[node.target])
            result[key] = _flat(found.substitute({}, key=key))
            uses[node.target] = 0
        else:
            result[key] = _flat(node)
    return result


def _flat(node: Any) -> Any:
    """A task of fused steps as one flat call."""
    found = fused_function(node) if type(node) is Task and node.func is _execute_subgraph else None
    if found is None:
        return node
    function, keys = found
    return Task(node.key, function, *map(TaskRef, keys), _data_producer=node.data_producer)


class LeanLayer(Layer):  # type: ignore[misc]
    """The tasks of a Blockwise layer without contractions, made directly.

    ``data`` holds blocks that are there already, by key: they go into the tasks that want them.
    """

    def __init__(self, layer: Blockwise, data: Mapping[Any, Any] | None = None) -> None:
        super().__init__(annotations=layer.annotations, collection_annotations=layer.collection_annotations)
        self.layer = layer
        self.data = data or {}
        self._tasks: dict[Any, Any] | None = None

    has_legacy_tasks = False

    @classmethod
    def of(cls, layer: Layer, data: Mapping[Any, Any] | None = None) -> Layer:
        """The lean form of a layer, or the layer itself where it has none."""
        if not isinstance(layer, Blockwise):
            return layer
        indices = set(layer.output_indices)
        plain = all(index is None or set(index) <= indices for _, index in layer.indices)
        plain = plain and not layer.new_axes and fused_function(layer.task) is not None
        return cls(layer, data) if plain else layer

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tasks": None}

    def _made(self) -> dict[Any, Any]:
        """The tasks, made once."""
        if self._tasks is None:
            self._tasks = dict(self._make())
        return self._tasks

    def _make(self) -> Iterator[tuple[Any, Any]]:
        """Each block's key and task."""
        layer = self.layer
        found = fused_function(layer.task)
        assert found is not None
        function, keys = found
        maps, _, dummies = _get_coord_mapping(
            layer.dims, layer.output_indices, layer.numblocks, layer.indices, layer.concatenate
        )
        tokens = {blockwise_token(i): (*pair, maps[i]) for i, pair in enumerate(layer.indices)}
        wanted = [_argument(layer, self.data, *tokens[key]) for key in keys]
        producer = layer.task.data_producer
        output = layer.output
        blocks: Iterable[tuple[int, ...]] = layer.output_blocks or itertools.product(
            *(range(layer.dims[i]) for i in layer.output_indices)
        )
        for block in blocks:
            coordinates = block + dummies
            key = (output, *block)
            args = [argument(coordinates) for argument in wanted]
            yield key, Task(key, function, *args, _data_producer=producer)

    def is_materialized(self) -> bool:
        return self._tasks is not None

    def get_output_keys(self) -> Any:
        return self.layer.get_output_keys()

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        culled, dependencies = self.layer.cull(keys, all_hlg_keys)
        return (self if culled is self.layer else LeanLayer(culled, self.data)), dependencies

    def __getitem__(self, key: Any) -> Any:
        return self._made()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self.layer)


def _argument(
    layer: Blockwise, data: Mapping[Any, Any], name: Any, index: Any, positions: Any
) -> Callable[[tuple[int, ...]], Any]:
    """One argument of the tasks of a layer, as a function of where the block is."""
    if index is None:
        return lambda coordinates: name
    if name not in layer.io_deps:
        if not data:
            return lambda coordinates: TaskRef((name, *[coordinates[p] for p in positions]))

        def block_or_reference(coordinates: tuple[int, ...]) -> Any:
            key = (name, *[coordinates[p] for p in positions])
            return data[key] if key in data else TaskRef(key)

        return block_or_reference
    dep = layer.io_deps[name]
    if hasattr(dep, "box_function"):
        box = dep.box_function()
        return lambda coordinates: box(tuple([coordinates[p] for p in positions]))
    return lambda coordinates: plain(dep[tuple(coordinates[p] for p in positions)])


def plain(value: Any) -> Any:
    """A value out of the node it may be wrapped in."""
    return value.value if type(value) is DataNode else value
