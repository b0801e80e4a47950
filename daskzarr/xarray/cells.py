"""A variable -> its cells as a dask array, where they are in memory as where they are not; and where they come from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import dask
import dask.array as da
import numpy as np
from xarray import Dataset, Variable

from daskzarr.block_grid import grow_blocks
from daskzarr.errors import DaskZarrError
from daskzarr.stores import Location, locate
from daskzarr.xarray.lazy import StoredCells

_LOADED = 2**26
_PARTS = 16
_LEAST = 2**20


def in_reach(variable: Variable, encoding: Mapping[str, Any]) -> Variable:
    """The variable with its cells in memory, or as a dask array: what is still in a file is read by blocks.

    These are of whole objects of the array that is to be written, as its ``encoding`` has them.
    """
    variable = variable.copy(deep=False)
    if variable.chunks is not None or variable._in_memory:
        return variable
    if variable.nbytes <= _LOADED:
        return variable.load()
    objects = encoding.get("shards") or encoding.get("chunks")
    if not isinstance(objects, tuple) or len(objects) != variable.ndim or not all(isinstance(n, int) for n in objects):
        return variable.chunk("auto")
    blocks = grow_blocks(variable.shape, objects, _LOADED // variable.dtype.itemsize)
    return variable.chunk(dict(zip(variable.dims, blocks, strict=True)))


def dask_array(encoded: Variable, objects: tuple[int, ...]) -> tuple[da.Array, bool]:
    """The cells as a dask array, and whether they are in memory: then blocks are some of whole stored objects."""
    if isinstance(encoded.data, da.Array):
        return encoded.data, False
    cells = np.asarray(encoded.data)
    limit = max(_LEAST, cells.nbytes // _PARTS) // max(cells.dtype.itemsize, 1)
    blocks = grow_blocks(cells.shape, objects, limit, trailing_first=True) if cells.nbytes > _LEAST else cells.shape
    return da.from_array(cells, chunks=blocks), True


def scheduler_of(ready: bool) -> Any:
    """The scheduler that a variable is written by: what is in memory needs no cluster."""
    return dask.config.set({"scheduler": "threads"} if ready else {})


def reads_from_store(dataset: Dataset, place: Location) -> bool:
    """Whether variables are still to be read from a store, by this engine or, as far as it can be told, another."""
    home = _whole(place.store.url)
    for variable in dataset.variables.values():
        data = variable._data
        if isinstance(data, da.Array) or not variable._in_memory:
            source = variable.encoding.get("source", dataset.encoding.get("source", ""))
            if source and _place_of(source) == home:
                return True
        if any(_may_read(cells, home) for cells in lazy_cells(data)):
            return True
    return False


def reads_array(variable: Variable, place: Location) -> bool:
    """Whether a variable that Dask computes is still to be read from a stored array, by xarray's way of opening it."""
    home = _whole(f"{place.store.url}/{place.path}")
    for cells in lazy_cells(variable._data) if isinstance(variable._data, da.Array) else ():
        if isinstance(cells, StoredCells):
            source = f"{cells.handle.store.url}/{cells.handle.path}"
        else:
            source = str(getattr(getattr(cells, "_array", None), "store_path", ""))  # zarr-python's
        if source and _whole(source) == home:
            return True
    return False


def lazy_cells(data: Any) -> Iterator[Any]:
    """What is still to be read, below all that xarray and Dask have put around it."""
    if isinstance(data, da.Array):
        for layer in getattr(data.__dask_graph__(), "layers", {}).values():
            if getattr(layer, "is_materialized", bool)():
                for task in layer.values():
                    value = getattr(task, "value", task)
                    if hasattr(value, "array"):
                        yield from lazy_cells(value)
        return
    while hasattr(data, "array") and not isinstance(data, StoredCells):
        data = data.array
    yield data


def _may_read(cells: Any, home: str) -> bool:
    """Whether cells are read from a store; of those of zarr-python that may be anywhere it is taken for granted."""
    if isinstance(cells, StoredCells):
        return _whole(cells.handle.store.url).startswith(home)
    if type(cells).__module__ != "xarray.backends.zarr":
        return False
    url = str(getattr(getattr(cells, "_array", None), "store", ""))
    return not url.startswith("file://") or _whole(url).startswith(home)


def _place_of(source: Any) -> str | None:
    """The place that a file says it was opened from; None if it is no place of ours."""
    try:
        return _whole(locate(str(source)).store.url)
    except DaskZarrError:
        return None


def _whole(url: str) -> str:
    """A place as one text that ends in a slash, however a folder is linked to."""
    scheme, _, path = url.rstrip("/").partition("://")
    return f"file://{os.path.realpath(path)}/" if scheme == "file" else f"{scheme}://{path}/"
