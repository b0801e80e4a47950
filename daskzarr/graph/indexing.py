"""An index as users write it -> the part a read can take over, and the rest that stays to be done."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

Narrowed = tuple[slice | int, ...]


def split_index(index: Any, shape: tuple[int, ...]) -> tuple[Narrowed, Any] | None:
    """Split an index into a basic one, to read less, and what remains to be applied to that (None: nothing).

    None where it is better left to Dask altogether, errors included.

    >>> split_index((slice(2, 9, 3), 1), (10, 5))
    ((slice(2, 9, None), slice(1, 2, None)), (slice(0, 7, 3), 0))
    >>> split_index((..., 3), (10, 5))
    ((slice(0, 10, None), 3), None)
    """
    parts = _expand(index, len(shape))
    if parts is None:
        return None
    axes = iter(shape)
    pairs = []
    for part in parts:
        pair = (None, None) if part is None else _split_part(part, next(axes))
        if pair is None:
            return None
        pairs.append(pair)
    if (
        all(rest == slice(None) or isinstance(first, int) for first, rest in pairs if first is not None)
        and None not in parts
    ):
        return tuple(first for first, _ in pairs if first is not None), None
    # Beside steps, lists and new axes, an integer keeps its axis until Dask has seen the whole index.
    narrowed = tuple(slice(p, p + 1) if isinstance(p, int) else p for p, _ in pairs if p is not None)
    rest = tuple(0 if isinstance(first, int) else rest for first, rest in pairs)
    return narrowed, rest


def _expand(index: Any, ndim: int) -> list[Any] | None:
    """One entry an axis, beside those of new axes."""
    parts = list(index) if isinstance(index, tuple) else [index]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    missing = ndim - sum(part is not None and part is not Ellipsis for part in parts)
    if missing < 0 or len(dots) > 1:
        return None
    at = dots[0] if dots else len(parts)
    parts[at : at + 1] = [slice(None)] * missing
    return parts


def _split_part(part: Any, length: int) -> tuple[slice | int, Any] | None:
    """One axis: what to read of it, and the index into that."""
    if isinstance(part, Integral) and not isinstance(part, (bool, np.bool_)):
        position = int(part) + (length if part < 0 else 0)
        return (position, 0) if 0 <= position < length else None
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(length)
        except TypeError:
            return None
        if step == 1:
            return slice(start, max(start, stop)), slice(None)
        picked = range(start, stop, step)
        if not picked:
            return slice(0, 0), slice(None)
        low, high = min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1
        rest = slice(0, high - low, step) if step > 0 else slice(high - low - 1, None, step)
        return slice(low, high), rest
    if isinstance(part, (list, np.ndarray)):
        return _split_list(np.asarray(part), length)
    return None


def _split_list(wanted: Any, length: int) -> tuple[slice, Any] | None:
    """A list of positions: the run that holds them all, and the positions in it."""
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or not len(wanted):
        return None
    wanted = np.where(wanted < 0, wanted + length, wanted)
    low, high = int(wanted.min()), int(wanted.max()) + 1
    if low < 0 or high > length:
        return None
    return slice(low, high), (wanted - low).tolist()
