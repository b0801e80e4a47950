"""An array's handle and the blocks wanted -> a dask array that reads less when it is sliced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.base import get_scheduler
from dask.core import flatten
from dask.local import get_sync
from dask.system import CPU_COUNT
from dask.threaded import get as get_threaded

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, grid_cuts, grow_blocks
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.chunk_io import Array, read_box, read_box_into
from daskzarr.graph.dask_names import Blockwise, DataNode, HighLevelGraph, Task
from daskzarr.graph.indexing import split_index
from daskzarr.graph.lean import FusedBlock, LeanLayer
from daskzarr.graph.read_layer import BlockBoxes, read_layer
from daskzarr.stores import waits

_TINY_CHUNK = 8 * 2**10
_PIECES_PER_WORKER = 4
_LITTLE_MORE = 1.25


def read_array(handle: ArrayHandle, blocks: BlockGrid, name: str) -> da.Array:
    """The dask array of a stored array's blocks."""
    if da.array_expr_enabled():
        from daskzarr.graph.expression import read_expression

        return read_expression(handle, blocks, name)
    layer = read_layer(name, handle, blocks)
    meta = np.empty((0,) * len(blocks.kept), handle.dtype)
    array = ZarrArray(HighLevelGraph({name: layer}, {name: set()}), name, blocks.chunks, meta=meta)
    # Dask notes the chunks of every block in the layer, to draw it; they would travel with the graph.
    layer.collection_annotations.pop("chunks", None)
    array._read = (handle, blocks, name)
    return array


class Optimizer:
    """Optimizes graphs that only read; Dask's own does all others, which this is equal to.

    Collections with another optimizer than others Dask computes apart from them, and hands out first the results of
    the one kind, then those of the other, whatever the order they were asked for in (dask 2026.8).
    """

    def __call__(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        """Reading and nothing else needs no fusing, only tasks that are quickly made."""
        layers = getattr(graph, "layers", {})
        reading = [layer for layer in layers.values() if isinstance(layer, Blockwise)]
        apart = len(reading) == len(layers) and not any(graph.dependencies[name] for name in layers)
        if not layers or not (apart or (len(reading) == 1 and len(layers) == 2)):
            return da.Array.__dask_optimize__(graph, keys, **kwargs)
        wanted = set(flatten([keys]))
        if len(layers) > 1 or len(wanted) < len(reading[0]):
            graph = graph.cull(wanted)
        lean = {name: LeanLayer.of(layer) for name, layer in graph.layers.items()}
        return HighLevelGraph(lean, graph.dependencies)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optimizer) or other is da.Array.__dask_optimize__

    def __hash__(self) -> int:
        return hash(da.Array.__dask_optimize__)

    def __reduce__(self) -> str:
        return "OPTIMIZER"

    def __dask_tokenize__(self) -> str:
        return "daskzarr-optimizer"


OPTIMIZER = Optimizer()


class _TakenForArray(type):
    """Makes a class equal to Dask's own: xarray computes a dataset only if all its arrays are of one type."""

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is da.Array

    def __hash__(cls) -> int:
        return hash(da.Array)


class ZarrArray(da.Array, metaclass=_TakenForArray):  # type: ignore[misc]
    """A dask array that is read from a store and nothing else yet.

    Basic indexing makes another such array that reads less, and ``compute`` on threads decodes straight into the
    result. Everything else is Dask's: the result of any operation is a plain ``dask.array.Array``.
    """

    _read: tuple[ArrayHandle, BlockGrid, str] | None = None

    def _source(self) -> tuple[ArrayHandle, BlockGrid, str] | None:
        """What this array reads; None once Dask changed it in place (``x[0] = 1``, ``out=``)."""
        return self._read if self._read is not None and self._read[2] == self.name else None

    def __getitem__(self, index: Any) -> da.Array:
        source = self._source()
        split = None if source is None else split_index(index, self.shape)
        if source is None or split is None:
            return super().__getitem__(index)
        handle, blocks, name = source
        narrowed, rest = split
        if all(part == slice(0, n) for part, n in zip(narrowed, self.shape, strict=True)):
            array: da.Array = self
        else:
            token = dask.base.tokenize(name, repr(narrowed))
            array = read_array(handle, blocks.narrow(narrowed), f"daskzarr-read-{token}")
        return array if rest is None else da.Array.__getitem__(array, rest)

    def rechunk(
        self,
        chunks: Any = "auto",
        threshold: int | None = None,
        block_size_limit: int | None = None,
        balance: bool = False,
        method: str | None = None,
    ) -> da.Array:
        """Blocks of other lengths: read so, where that reads little more; else Dask's own, with the same parameters.

        Read so means that no cell goes from one task to another. It is done if all blocks together read no more than
        1.25 times what those of now do, and neither ``balance`` nor ``method`` is given.
        """
        source = self._source()
        if source is not None and not balance and method is None:
            handle, blocks, name = source
            wanted = _lengths_wanted(self, chunks, block_size_limit)
            if wanted is not None:
                other = blocks.recut(wanted)
                if other == blocks:
                    return self
                if _cells_read(handle, other) <= _LITTLE_MORE * _cells_read(handle, blocks):
                    token = dask.base.tokenize(name, repr(other))
                    return read_array(handle, other, f"daskzarr-read-{token}")
        return super().rechunk(chunks, threshold, block_size_limit, balance, method)

    __dask_optimize__ = OPTIMIZER

    def compute(self, **kwargs: Any) -> Any:
        """The cells as a NumPy array; see ``dask.array.Array.compute`` for the parameters."""
        source = self._source()
        run = get_scheduler(scheduler=kwargs.get("scheduler"), collections=[self])
        if source is None or run not in (get_threaded, get_sync):
            return super().compute(**kwargs)
        options = {k: v for k, v in kwargs.items() if k not in ("scheduler", "optimize_graph", "traverse")}
        return read_whole(source[0], source[1], run, options)


def _lengths_wanted(array: da.Array, chunks: Any, limit: int | None) -> Any:
    """The blocks that are asked for, by their lengths; None if they are none, which Dask is to say."""
    try:
        if isinstance(chunks, dict):
            given = {range(array.ndim)[axis]: lengths for axis, lengths in chunks.items()}
            chunks = tuple(given.get(axis) for axis in range(array.ndim))
        if isinstance(chunks, (tuple, list)):
            chunks = tuple(b if a is None else a for a, b in zip(chunks, array.chunks, strict=True))
        found = normalize_chunks(chunks, array.shape, limit=limit, dtype=array.dtype, previous_chunks=array.chunks)
    except (TypeError, ValueError, IndexError, NotImplementedError):
        return None
    return found if all(0 not in lengths for lengths in found) else None


def _cells_read(handle: ArrayHandle, blocks: BlockGrid) -> float:
    """Cells of all chunks that blocks touch, each counted once for each block; without end, where chunks differ."""
    if not isinstance(handle.grid, RegularGrid):
        return math.inf
    unit = handle.metadata.inner_chunk_shape or handle.grid.chunk_shape
    cells = 1
    for axis, length in zip(blocks.axes, unit, strict=True):
        bounds = (axis.bounds(i) for i in range(axis.count))
        cells *= sum(-(-b // length) - a // length for a, b in bounds) * length
    return cells


def read_whole(handle: ArrayHandle, blocks: BlockGrid, run: Callable[..., Any], options: dict[str, Any]) -> Array:
    """All cells of the blocks: tasks decode into their parts of one result, so nothing is put together later."""
    region = blocks.region
    if not region.shape:
        return read_box(handle, region)  # a scalar has no parts to be views of
    out = np.empty(region.shape, handle.dtype)
    workers = options.get("num_workers") or dask.config.get("num_workers", None) or CPU_COUNT
    name = f"daskzarr-read-{dask.base.tokenize(handle, repr(region))}"
    tasks = {}
    for i, box in enumerate(_pieces(handle, region, workers)):
        tasks[name, i] = Task((name, i), _read_part, handle, box, out[box.slices_in(region)])
    run(tasks, list(tasks), **options)
    return out.reshape([out.shape[i] for i in blocks.kept]) if blocks.dropped else out


def _read_part(handle: ArrayHandle, box: Box, out: Array) -> None:
    """The task of one part of a result."""
    read_box_into(handle, box, out)


def _pieces(handle: ArrayHandle, region: Box, workers: int) -> Iterator[Box]:
    """The region in runs of whole stored chunks: several a worker, so that all are done at about the same time.

    Where requests wait it is one a worker: at the end of each run there are fewer requests under way than there may be.
    """
    grid = handle.grid
    itemsize = handle.dtype.itemsize
    total = int(np.prod(region.shape, dtype=object)) * itemsize
    chunk_bytes = int(np.prod(grid.chunk_shape, dtype=object)) * itemsize
    # Between two system calls of a tiny chunk one thread holds the interpreter: a second one only takes turns.
    alone = chunk_bytes <= _TINY_CHUNK and not waits(handle.store)
    pieces = 1 if alone else workers if waits(handle.store) else _PIECES_PER_WORKER * workers
    limit = max(-(-total // pieces), 1)
    shape = grow_blocks(region.shape, grid.chunk_shape, limit // itemsize, trailing_first=True)
    blocks = BlockGrid(grid_cuts(grid, region.start, region.stop, shape))
    for index in np.ndindex(*blocks.numblocks):
        yield blocks.box(index)


def sources(array: da.Array) -> Iterator[tuple[ArrayHandle, Box]]:
    """Every stored array that the graph of ``array`` reads, with the region it reads of it."""
    if hasattr(array, "expr"):
        from daskzarr.graph.expression import reads_of

        yield from reads_of(array)
        return
    graph = array.__dask_graph__()
    for layer in getattr(graph, "layers", {}).values():
        if isinstance(layer, Blockwise):
            handles = [arg for arg, index in layer.indices if index is None and isinstance(arg, ArrayHandle)]
            regions = [dep.blocks.region for dep in layer.io_deps.values() if isinstance(dep, BlockBoxes)]
            yield from ((handle, region) for handle in handles for region in regions)
        elif layer.is_materialized():
            yield from _sources_of_tasks(layer.values())


def _sources_of_tasks(tasks: Iterable[Any]) -> Iterator[tuple[ArrayHandle, Box]]:
    """The same for tasks that are made already: those of an array that was optimized."""
    for task in tasks:
        if isinstance(task, FusedBlock):
            yield from _sources_of_tasks(task.nodes)
        elif isinstance(task, Task):
            args = [arg.value if isinstance(arg, DataNode) else arg for arg in (*task.args, task.func)]
            boxes = [arg for arg in args if isinstance(arg, Box)]
            for arg in args:
                if isinstance(arg, ArrayHandle):
                    yield from ((arg, box) for box in boxes)
                elif isinstance(arg, dict):
                    yield from _sources_of_tasks(arg.values())
                else:
                    yield from _sources_of_tasks([arg])
