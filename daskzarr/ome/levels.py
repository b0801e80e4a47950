"""A dask array and the levels that are to be made of it -> a dask array for each, all of one graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dask.array as da
import numpy as np

from daskzarr.graph.write import graph_of
from daskzarr.ome.pyramid import Step, block_lengths, snapped
from daskzarr.ome.shrinking import Method, shrink


@dataclass(frozen=True, slots=True)
class Cut:
    """Shape of the chunks of a level, and of its shards, if it has any."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of the stored objects."""
        return self.chunks if self.shards is None else self.shards


def make_levels(image: da.Array, steps: Sequence[Step], cuts: Sequence[Cut], method: Method) -> Iterator[da.Array]:
    """The levels, the finest first.

    Blocks are downsampled where they are, and those of coarser levels put together to blocks of whole stored objects:
    only what was made smaller already goes from one task to another, and, where a block of the image has no whole
    number of cells of the next level, what lies at its ends.
    """
    usual = tuple(max(int(max(lengths)), 1) for lengths in image.chunks)
    below = [step.factors for step in steps[1:]] + [(1,) * image.ndim]
    level = _shared(image.rechunk(_snapped(image, below[0])))
    yield level
    for step, cut, factors in zip(steps[1:], cuts[1:], below[1:], strict=True):
        parts = _snapped(level, step.factors)
        if parts != level.chunks:
            level = level.rechunk(parts)
        lengths = tuple(tuple(-(-n // f) for n in axis) for axis, f in zip(level.chunks, step.factors, strict=True))
        smaller = da.map_blocks(
            shrink,
            level,
            factors=step.factors,
            method=method,
            dtype=level.dtype,
            chunks=lengths,
            meta=np.empty((0,) * level.ndim, level.dtype),
        )
        wanted = zip(step.shape, cut.stored, usual, factors, strict=True)
        level = _shared(smaller.rechunk(tuple(block_lengths(*each) for each in wanted)))
        yield level


def _snapped(array: da.Array, factors: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The blocks of an array, with ends that cut no cell of the next level."""
    return tuple(snapped(lengths, f) for lengths, f in zip(array.chunks, factors, strict=True))


def _shared(array: da.Array) -> da.Array:
    """The array with a graph that every level takes as it is, so that no step of it runs twice."""
    if not hasattr(array, "expr"):
        return array
    from daskzarr.graph.expression import graph_expression

    name, graph = graph_of(array)
    keys = [(name, *index) for index in np.ndindex(*array.numblocks)]
    return graph_expression(dict(graph), keys, array.chunks, np.empty((0,) * array.ndim, array.dtype))
