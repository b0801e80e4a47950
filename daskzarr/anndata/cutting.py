"""A sparse matrix and the chunks that are asked for -> the number of rows of each block."""

from __future__ import annotations

from typing import Any

import dask
from dask.array.core import normalize_chunks
from dask.utils import parse_bytes

from daskzarr.anndata.compressed import StoredMatrix
from daskzarr.errors import MetadataError

_PARALLEL_BLOCKS = 32
_LEAST_DENSE = 8 * 2**20
_LEAST_STORED = 2**20
_MOST_BLOCKS = 2**20


def cut_rows(matrix: StoredMatrix, chunks: Any) -> tuple[int, ...]:
    """Lengths of the blocks along the axis that is compressed; they are never cut along the other one."""
    part = _along_rows(matrix, chunks)
    if part is None or (isinstance(part, str) and part == "auto"):
        part = usual_rows(matrix)
    try:
        lengths: tuple[int, ...] = normalize_chunks((part,), (matrix.rows,), dtype=matrix.data.dtype)[0]
    except ZeroDivisionError:
        raise MetadataError(f"chunks is {chunks!r}; blocks have at least one cell", field="chunks") from None
    return lengths


def usual_rows(matrix: StoredMatrix) -> int:
    """As many rows as are near, and not above, Dask's ``array.chunk-size`` when they are dense.

    Fewer where there would be fewer than 32 blocks, down to 8 MiB, as ``from_zarr`` does. But, where nearly nothing is
    stored, as many as hold 1 MiB of entries: less is less work than a task is, and stored chunks have about that size.
    """
    itemsize = matrix.data.dtype.itemsize
    total = matrix.rows * matrix.width * itemsize
    limit = parse_bytes(dask.config.get("array.chunk-size"))
    wanted = min(limit, max(total // _PARALLEL_BLOCKS, _LEAST_DENSE))
    stored = matrix.entries * (itemsize + matrix.indices.dtype.itemsize)
    dense_rows = wanted * matrix.rows // max(total, 1)
    least = min(_LEAST_STORED, stored) * matrix.rows // max(stored, 1)
    rows: int = max(dense_rows, least, -(-matrix.rows // _MOST_BLOCKS), 1)
    return rows


def _along_rows(matrix: StoredMatrix, chunks: Any) -> Any:
    """What is asked for along the axis that is compressed."""
    if isinstance(chunks, dict):
        chunks = [chunks.get(axis, chunks.get(axis - 2)) for axis in range(2)]
    if not isinstance(chunks, (tuple, list)):
        return chunks
    if len(chunks) != 2:
        raise MetadataError(f"chunks is {chunks!r} for a matrix of 2 axes", field="chunks")
    across = chunks[1 - matrix.major]
    if across not in (None, -1, "auto", matrix.width, (matrix.width,), [matrix.width]):
        what = ("rows", "columns")[matrix.major]
        usual = ("chunks=(1000, -1)", "chunks=(-1, 1000)")[matrix.major]
        raise MetadataError(
            f"chunks is {chunks!r}; a {matrix.format} matrix can be cut into {what} only, as {usual}", field="chunks"
        )
    return chunks[matrix.major]
