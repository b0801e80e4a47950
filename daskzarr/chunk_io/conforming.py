"""A block as a task got it -> the cells that are stored: shape and dtype checked, values unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io.reading import Array
from daskzarr.errors import CodecError, raise_from


def conform(handle: ArrayHandle, box: Box, given: Any) -> Array:
    """A block as the metadata promised it, in the dtype that is stored, with all axes of the stored array."""
    block: Array = np.asarray(given)
    if block.shape == box.shape and block.dtype == handle.dtype:
        return block
    if block.ndim < len(box.shape) and _without_ones(block.shape) == _without_ones(box.shape):
        block = block.reshape(box.shape)  # an integer in the region took an axis away
    if block.shape != box.shape:
        raise CodecError(
            f"a block of shape {block.shape} came where {box.shape} was promised; give the right chunks= to map_blocks",
            url=handle.store.url,
            node=handle.path,
        )
    if block.dtype == handle.dtype:
        return block
    try:
        return cast_exactly(block, handle.dtype)
    except CodecError as error:
        raise_from(error.locate(url=handle.store.url, node=handle.path), error)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    """The lengths of a shape other than 1."""
    return [n for n in shape if n != 1]


def cast_exactly(cells: Array, dtype: np.dtype[Any]) -> Array:
    """Cells in another dtype, where each stays what it is; only floats may be rounded to fewer digits.

    >>> cast_exactly(np.array([1, 2]), np.dtype("i1"))
    array([1, 2], dtype=int8)
    """
    with np.errstate(all="ignore"):
        found = cells.astype(dtype)
        if dtype.hasobject or cells.dtype.hasobject or cells.dtype.names is not None:
            return found
        if cells.dtype.kind in "fc" and dtype.kind in "fc":
            changed = np.isfinite(cells) & ~np.isfinite(found)
        else:
            back = found.astype(cells.dtype)
            changed = ~((back == cells) | ((back != back) & (cells != cells)))  # not-a-time equals nothing
    if changed.any():
        first = cells[tuple(axis[0] for axis in np.nonzero(changed))] if cells.ndim else cells[()]
        raise CodecError(
            f"{np.count_nonzero(changed)} cells of {cells.dtype} do not fit {dtype}, such as {first}; store another "
            "dtype, or convert with astype first"
        )
    return found
