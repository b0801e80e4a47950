"""A stored array and one of xarray's indexers -> the cells, read from the chunks that hold them and no others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, Cuts, grid_cuts
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io.reading import read_box
from daskzarr.configured import traffic_to
from daskzarr.hierarchy import StoredArray
from daskzarr.stores.overlap import overlapped


class StoredCells(BackendArray):  # type: ignore[misc]
    """A stored array as xarray wants to index it; it pickles to some 500 bytes, and asks for no document again.

    Parameters
    ----------
    array
        The array. Text of any length comes as NumPy's ``StringDType``.
    generation
        How often this process wrote there: part of the name that Dask gives to what is read.
    """

    def __init__(self, array: StoredArray, generation: int = 0) -> None:
        self._array = array
        self.generation = generation
        self.shape = array.shape
        self.dtype = np.dtypes.StringDType() if _is_text(array) else array.dtype

    @cached_property
    def handle(self) -> ArrayHandle:
        """What reading needs; made when something is read, as a dataset may have thousands of arrays."""
        return ArrayHandle.of(self._array, traffic=traffic_to(self._array.location.store))

    def __getstate__(self) -> dict[str, Any]:
        found = {**self.__dict__, "handle": self.handle}
        found.pop("_array", None)  # what was pickled once has none
        return found

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """The cells: slices and integers, arrays for each axis, or arrays of points."""
        # Not by xarray's adapter: it fails on slices that go backwards over nothing.
        return self._points(key.tuple) if isinstance(key, indexing.VectorizedIndexer) else self._boxes(key.tuple)

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> Any:
        """The same in a thread, while others go on."""
        return await asyncio.to_thread(self.__getitem__, key)

    def __dask_tokenize__(self) -> Any:
        return "daskzarr-stored-cells", self.handle.token, self.generation

    def _boxes(self, key: tuple[Any, ...]) -> Any:
        """What a selection of each axis by itself gives."""
        box = _one_box(key, self.shape)
        dropped = tuple(0 if isinstance(part, (int, np.integer)) else slice(None) for part in key)
        if box is not None:
            return self._given(read_box(self.handle, box)[dropped])
        chosen = [_chosen(part, size) for part, size in zip(key, self.shape, strict=True)]
        out = np.empty([len(positions) for positions in chosen], self.handle.dtype)
        axes = [[*_pieces(positions, cuts)] for positions, cuts in zip(chosen, self._cuts(), strict=True)]

        def read(pieces: Sequence[_Piece]) -> None:
            cells = read_box(self.handle, Box(tuple(p.start for p in pieces), tuple(p.stop for p in pieces)))
            if all(isinstance(p.out, slice) for p in pieces):
                out[tuple(p.out for p in pieces)] = cells[tuple(p.inside for p in pieces)]
            else:
                within = [_as_array(p.inside, p.stop - p.start) for p in pieces]
                out[np.ix_(*(_as_array(p.out, n) for p, n in zip(pieces, out.shape, strict=True)))] = cells[
                    np.ix_(*within)
                ]

        self._each(read, itertools.product(*axes))
        return self._given(out[dropped])

    def _points(self, key: tuple[Any, ...]) -> Any:
        """The cells at points, given by arrays that are broadcast; slices stand for axes behind those."""
        slices = [i for i, part in enumerate(key) if isinstance(part, slice)]
        ndim = max((np.ndim(part) for part in key if not isinstance(part, slice)), default=0)
        arrays = []
        for i, (part, size) in enumerate(zip(key, self.shape, strict=True)):
            found = np.asarray(_chosen(part, size)) if isinstance(part, slice) else _in_range(np.asarray(part), size)
            if isinstance(part, slice):
                found = found.reshape(-1, *(1,) * (len(slices) - 1 - slices.index(i)))
            else:
                found = found.reshape(*found.shape, *(1,) * len(slices))
            arrays.append(found)
        points = np.broadcast_arrays(*arrays)
        shape = points[0].shape
        assert len(shape) == ndim + len(slices)
        flat = [each.reshape(-1) for each in points]
        out = np.empty(flat[0].shape, self.handle.dtype)
        cuts = self._cuts()
        numbers = [_numbers(each, axis) for each, axis in zip(flat, cuts, strict=True)]
        place = np.ravel_multi_index(numbers, [max(axis.count, 1) for axis in cuts])
        order = np.argsort(place, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(order) else []

        def read(part: npt.NDArray[np.intp]) -> None:
            here = [each[part] for each in flat]
            start = tuple(int(each.min()) for each in here)
            cells = read_box(self.handle, Box(start, tuple(int(each.max()) + 1 for each in here)))
            out[part] = cells[tuple(each - first for each, first in zip(here, start, strict=True))]

        self._each(read, parts)
        return self._given(out.reshape(shape))

    def _cuts(self) -> tuple[Cuts, ...]:
        """How stored objects cut each axis."""
        return BlockGrid(grid_cuts(self.handle.grid, (0,) * len(self.shape), self.shape, (1,) * len(self.shape))).axes

    def _each(self, read: Callable[[Any], None], parts: Any) -> None:
        """Read parts that lie in different objects, several at once where the store waits."""
        with overlapped(self.handle.store, read, parts, self.handle.traffic) as done:
            for _ in done:
                pass

    def _given(self, cells: Any) -> Any:
        """The cells in the dtype that was promised."""
        return cells if getattr(cells, "dtype", None) == self.dtype else np.asarray(cells, self.dtype)


class _Piece(NamedTuple):
    """A run of cells to read along one axis, which of them are wanted, and where these go."""

    start: int
    stop: int
    inside: slice | npt.NDArray[Any]
    out: slice | npt.NDArray[Any]


def _one_box(key: tuple[Any, ...], shape: tuple[int, ...]) -> Box | None:
    """The box that integers and slices of neighbouring cells stand for; None where something else is among them."""
    start, stop = [], []
    for part, size in zip(key, shape, strict=True):
        if not isinstance(part, slice):
            if not isinstance(part, (int, np.integer)) or not -size <= part < size:
                return None
            part = slice(int(part) % size, int(part) % size + 1)
        first, last, step = part.indices(size)
        if step != 1 or last <= first:
            return None
        start.append(first)
        stop.append(last)
    return Box(tuple(start), tuple(stop))


def _chosen(part: Any, size: int) -> range | npt.NDArray[Any]:
    """The positions that an integer, a slice or an array stands for."""
    if isinstance(part, slice):
        return range(*part.indices(size))
    return _in_range(np.atleast_1d(np.asarray(part)), size)


def _in_range(positions: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Positions counted from the front; one that there is not is an error."""
    positions = positions.astype(np.int64, copy=False)
    if positions.size and not (-size <= positions.min() and positions.max() < size):
        raise IndexError(f"an index is out of bounds for an axis of {size} cells")
    return np.where(positions < 0, positions + size, positions)


def _pieces(positions: range | npt.NDArray[Any], cuts: Cuts) -> Iterator[_Piece]:
    """What to read along one axis: one run for neighbouring cells, otherwise one for each object that holds some."""
    if not len(positions):
        return
    if isinstance(positions, range) and positions.step == 1:
        yield _Piece(positions.start, positions.stop, slice(None), slice(None))
        return
    found = np.asarray(positions)
    numbers = _numbers(found, cuts)
    order = np.argsort(numbers, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        here = found[part]
        start = int(here.min())
        yield _Piece(start, int(here.max()) + 1, here - start, part)


def _numbers(positions: npt.NDArray[Any], cuts: Cuts) -> npt.NDArray[Any]:
    """The objects that hold positions along one axis."""
    edges = np.cumsum([0, *cuts.lengths])
    return np.searchsorted(edges, positions, side="right") - 1


def _as_array(part: slice | npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Positions in a run of so many cells."""
    return np.arange(size)[part] if isinstance(part, slice) else part


def _is_text(array: StoredArray) -> bool:
    """Whether cells are text of any length."""
    return array.dtype.hasobject and array.metadata.data_type.name == "string"
