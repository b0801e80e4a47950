"""The group of a sparse matrix -> its three arrays, checked against each other, and how many entries each row has.

"Row" here is what is stored in one run: a column, where columns are compressed (CSC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from daskzarr.anndata.encodings import Format, MatrixEncoding
from daskzarr.array_handle import ArrayHandle, Missing
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import read_box
from daskzarr.configured import traffic_to
from daskzarr.errors import CodecError, MetadataError
from daskzarr.hierarchy import StoredArray, StoredGroup, expect_array

_AT_ONCE = 2**22  # cells of indptr
_HUGE = 2**26


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A sparse matrix in a store: entries, one row after the other, and where each row ends.

    Parameters
    ----------
    format, shape, major
        What the attributes of its group say.
    data, indices, indptr
        The cells of the entries, their place in the row, and where rows begin and end among them.
    """

    format: Format
    shape: tuple[int, int]
    major: int
    data: ArrayHandle
    indices: ArrayHandle
    indptr: ArrayHandle

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.shape[self.major]

    @property
    def width(self) -> int:
        """Number of cells in a row, stored or not."""
        return self.shape[1 - self.major]

    @property
    def entries(self) -> int:
        """Number of cells that are stored."""
        return _length(self.data)


def open_matrix(group: StoredGroup, encoding: MatrixEncoding, missing: Missing) -> StoredMatrix:
    """The matrix in a group, if its arrays are of lengths and kinds that fit together."""
    handles = {name: _handle(group, name, missing) for name in ("data", "indices", "indptr")}
    matrix = StoredMatrix(encoding.format, encoding.shape, encoding.major, **handles)
    entries, ends = _length(matrix.indices), _length(matrix.indptr)
    if entries != matrix.entries:
        raise MetadataError(f"there are {entries} indices, and {matrix.entries} cells of data", field="indices")
    if ends != matrix.rows + 1:
        wanted = f"the shape {matrix.shape} of a {matrix.format} matrix needs {matrix.rows + 1}"
        raise MetadataError(f"indptr has {ends} cells; {wanted}", field="indptr")
    return matrix


def read_lengths(matrix: StoredMatrix) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Number of entries of each row, in the smallest integers: all that is needed of ``indptr``, read whole here."""
    handle, entries = matrix.indptr, matrix.entries
    found, end, step = [], 0, _cells_at_once(handle)
    for start in range(0, matrix.rows + 1, step):
        ends = read_box(handle, Box((start,), (min(start + step, matrix.rows + 1),)))
        outside = np.flatnonzero((ends < 0) | (ends > entries))
        if outside.size:
            raise _damaged(handle, start, outside, f"is {ends[outside[0]]}; there are {entries} entries")
        ends = ends.astype(np.int64, copy=False)
        if start == 0 and ends[0] != 0:
            raise _damaged(handle, 0, [0], f"is {ends[0]}; the first row begins at 0")
        lengths = np.diff(ends, prepend=end)
        down = np.flatnonzero(lengths < 0)
        if down.size:
            raise _damaged(handle, start, down, f"is {ends[down[0]]}, less than the one before it")
        end = int(ends[-1])
        found.append(_smallest(lengths[1:] if start == 0 else lengths))
    if end != entries:
        raise _damaged(handle, matrix.rows, [0], f"is {end}; the last row ends at {entries}, the number of entries")
    return np.concatenate(found)


def _handle(group: StoredGroup, name: str, missing: Missing) -> ArrayHandle:
    """One of the arrays, if it has one axis and cells of a kind that can be."""
    array: StoredArray = expect_array(group[name])
    if array.ndim != 1:
        raise MetadataError(f"{name} has the shape {array.shape}; it has to have one axis", field=name)
    if name != "data" and array.dtype.kind not in "iu":
        raise MetadataError(f"{name} has cells of {array.dtype}; they have to be integers", field=name)
    return ArrayHandle.of(array, missing=missing, traffic=traffic_to(array.location.store))


def _length(handle: ArrayHandle) -> int:
    """Number of cells of an array of one axis."""
    return handle.metadata.shape[0]


def _cells_at_once(handle: ArrayHandle) -> int:
    """How many cells of ``indptr`` are read together: whole stored chunks, where these are not huge."""
    (chunk,) = handle.metadata.inner_chunk_shape or handle.grid.chunk_shape
    return _AT_ONCE if chunk > _HUGE else chunk * max(_AT_ONCE // chunk, 1)


def _smallest(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The same numbers in the smallest integers that hold them."""
    return lengths.astype(np.min_scalar_type(int(lengths.max(initial=0))))


def _damaged(handle: ArrayHandle, start: int, positions: Any, what: str) -> CodecError:
    """The error for stored cells that cannot be those of a matrix."""
    return CodecError(
        f"indptr[{start + int(positions[0])}] {what}: the matrix is damaged",
        url=handle.store.url,
        node=handle.path,
        field="indptr",
    )
