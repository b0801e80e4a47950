"""Stored arrays as expressions: reads under ``array.query-planning``. Private names of Dask's are used here too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from dask._collections import new_collection
from dask.array._array_expr._io import IO, FromGraph
from dask.array._array_expr._slicing import SliceSlicesIntegers
from dask.base import tokenize

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.graph.indexing import split_index
from daskzarr.graph.lean import LeanLayer
from daskzarr.graph.read_layer import read_layer


class ZarrRead(IO):  # type: ignore[misc]
    """The blocks of a stored array; a basic slice of it becomes a smaller read."""

    _parameters = ["handle", "blocks", "key_name"]  # noqa: RUF012  Dask's protocol

    @cached_property
    def _name(self) -> str:
        return str(self.operand("key_name"))

    @cached_property
    def _meta(self) -> Any:
        return np.empty((0,) * len(self.operand("blocks").kept), self.operand("handle").dtype)

    @cached_property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        chunks: tuple[tuple[int, ...], ...] = self.operand("blocks").chunks
        return chunks

    def _layer(self) -> dict[Any, Any]:
        return dict(LeanLayer.of(read_layer(self._name, self.operand("handle"), self.operand("blocks"))))

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        if type(parent) is not SliceSlicesIntegers:  # a subclass does more than slicing
            return None
        split = split_index(tuple(parent.index), self.shape)
        if split is None or split[1] is not None:
            return None
        narrowed = split[0]
        name = f"daskzarr-read-{tokenize(self._name, repr(narrowed))}"
        return ZarrRead(self.operand("handle"), self.operand("blocks").narrow(narrowed), name)


def read_expression(handle: ArrayHandle, blocks: BlockGrid, name: str) -> da.Array:
    """The dask array of a stored array's blocks, as an expression."""
    return new_collection(ZarrRead(handle, blocks, name))


def reads_of(array: da.Array) -> Iterator[tuple[ArrayHandle, Box]]:
    """Every stored array that an expression reads, with the region it reads of it."""
    for node in array.expr.walk():
        if isinstance(node, ZarrRead):
            yield node.operand("handle"), node.operand("blocks").region


def graph_expression(graph: dict[Any, Any], keys: list[Any], chunks: Any, meta: Any) -> da.Array:
    """The dask array of tasks that are made already."""
    return new_collection(FromGraph(graph, meta, chunks, keys, "daskzarr-stored"))
