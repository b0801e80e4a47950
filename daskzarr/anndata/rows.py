"""Some rows of a sparse matrix, by the run of their entries -> a matrix of SciPy's. What one task does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from daskzarr.anndata.encodings import Format
from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Array, read_box
from daskzarr.errors import CodecError, UnsupportedError

Blocks = Literal["matrix", "array", "dense"]
BLOCKS = ("matrix", "array", "dense")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the blocks are: compressed along rows or columns, of so many cells a row, and of which class."""

    format: Format
    width: int
    blocks: Blocks

    def shape(self, rows: int) -> tuple[int, int]:
        """Shape of a block of so many rows."""
        return (rows, self.width) if self.format == "csr" else (self.width, rows)


def empty_block(layout: Layout, dtype: np.dtype[Any]) -> Any:
    """What a block is like, without cells; an error where SciPy has no such matrices."""
    if dtype.kind not in "biufc" or dtype.isbuiltin != 1 or dtype == np.float16:
        raise UnsupportedError(f"data has cells of {dtype}; SciPy has no sparse matrices of these", field="data")
    return np.empty((0, 0), dtype) if layout.blocks == "dense" else _class(layout)((0, 0), dtype=dtype)


def read_rows(data: ArrayHandle, indices: ArrayHandle, run: Box, lengths: Array, layout: Layout) -> Any:
    """The block of some rows, from the run of their entries; every place is looked at to be inside the matrix."""
    places = read_box(indices, run)
    if places.size and (places.min() < 0 or places.max() >= layout.width):
        raise _outside(indices, run, places, layout)
    cells = read_box(data, run)
    entries = run.stop[0] - run.start[0]
    index = np.dtype(np.int32 if max(entries, layout.width, len(lengths)) < 2**31 else np.int64)
    ends = np.zeros(len(lengths) + 1, index)
    np.cumsum(lengths, dtype=index, out=ends[1:])
    parts = (cells, places.astype(index, copy=False), ends)
    matrix = _class(layout)(parts, shape=layout.shape(len(lengths)), copy=False)
    return matrix.toarray() if layout.blocks == "dense" else matrix


def _class(layout: Layout) -> Any:
    """The class of SciPy's."""
    try:
        from scipy import sparse
    except ImportError as error:
        raise UnsupportedError(
            f"sparse elements need SciPy, which cannot be imported ({error}): pip install 'daskzarr[anndata]'"
        ) from error
    return getattr(sparse, f"{layout.format}_{'matrix' if layout.blocks == 'matrix' else 'array'}")


def _outside(handle: ArrayHandle, run: Box, places: Array, layout: Layout) -> CodecError:
    """The error for an entry that is in no cell."""
    position = int(np.flatnonzero((places < 0) | (places >= layout.width))[0])
    what = "column" if layout.format == "csr" else "row"
    return CodecError(
        f"indices[{run.start[0] + position}] is {places[position]}, and the matrix has {layout.width} {what}s: it is "
        "damaged",
        url=handle.store.url,
        node=handle.path,
        field="indices",
    )
