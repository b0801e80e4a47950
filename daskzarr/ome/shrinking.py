"""Cells of a block -> one cell for each run of so many along each axis: their mean, the first, or the commonest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from daskzarr.errors import MetadataError

Method = Literal["mean", "nearest", "mode"]
METHODS = ("mean", "nearest", "mode")
_KINDS: Mapping[str, str] = {"mean": "buifc", "mode": "buifcmMSU"}
_Array = npt.NDArray[Any]


def check_method(method: Any, dtype: np.dtype[Any]) -> None:
    """Whether cells of a dtype can be downsampled so."""
    if not isinstance(method, str) or method not in METHODS:
        raise MetadataError(f"method is {method!r}; it can be {', '.join(map(repr, METHODS))}", field="method")
    if method in _KINDS and dtype.kind not in _KINDS[method]:
        raise MetadataError(f"cells of {dtype} have no {method}; method='nearest' takes one of them", field="method")


def shrink(cells: _Array, factors: Sequence[int], method: Method) -> _Array:
    """The cells of the next level. At the far end of an axis a run may be shorter.

    >>> shrink(np.array([1, 2, 4, 8, 9]), (2,), "mean")
    array([2, 6, 9])
    >>> shrink(np.array([1, 2, 4, 8, 9]), (2,), "nearest")
    array([1, 4, 9])
    >>> shrink(np.array([5, 1, 1, 7, 6]), (3,), "mode")
    array([1, 6])
    """
    cells = np.asarray(cells)
    if method == "nearest":
        return cells[tuple(slice(None, None, f) for f in factors)].copy()
    for axis, (length, factor) in enumerate(zip(cells.shape, factors, strict=True)):
        rest = length % factor
        if rest and rest < length:
            parts = np.split(cells, [length - rest], axis)
            return np.concatenate([shrink(part, factors, method) for part in parts], axis)
    # From here on every run is as long as any other, and all of it is there.
    runs = [min(f, max(n, 1)) for f, n in zip(factors, cells.shape, strict=True)]
    if math.prod(runs) == 1:
        return cells.copy()
    return _mean(cells, runs) if method == "mean" else _mode(cells, runs)


def _mean(cells: _Array, runs: Sequence[int]) -> _Array:
    """The mean of each run: exact and rounded once, halves to even. A NaN makes it NaN."""
    if cells.dtype.kind == "c":
        found = np.empty([n // f for n, f in zip(cells.shape, runs, strict=True)], cells.dtype)
        found.real, found.imag = _mean(cells.real, runs), _mean(cells.imag, runs)
        return found
    if cells.dtype.kind == "f":
        return _mean_of_floats(cells, runs)
    if cells.dtype.kind == "b":
        return _mean_of_integers(cells.view(np.uint8), runs).astype(bool)
    return _mean_of_integers(cells, runs)


def _mean_of_floats(cells: _Array, runs: Sequence[int]) -> _Array:
    """The mean of floats, in doubles at least; of finite ones it is finite."""
    count, wide = math.prod(runs), np.result_type(cells.dtype, np.float64)
    with np.errstate(all="ignore"):
        mean = _sum(cells, runs, wide) / count
        if np.isinf(mean).any():
            mean = np.where(np.isinf(mean), _sum(cells.astype(wide) / count, runs, wide), mean)
        return mean.astype(cells.dtype)


def _mean_of_integers(cells: _Array, runs: Sequence[int]) -> _Array:
    """The mean of integers."""
    count = math.prod(runs)
    wide = _accumulator(cells.dtype, count)
    if wide is not None:
        whole, rest = _divided(_sum(cells, runs, wide), count)
    else:  # no integer holds the sum: that of the quotients and that of the remainders each fit
        whole, rest = _divided(cells, count)
        carried, rest = _divided(_sum(rest, runs, rest.dtype), count)
        whole = _sum(whole, runs, whole.dtype) + carried
    more = count - rest
    whole += (rest > more) | ((rest == more) & (whole & 1).astype(bool))
    return whole.astype(cells.dtype)


def _divided(cells: _Array, count: int) -> tuple[_Array, _Array]:
    """Quotients, rounded down, and remainders; where bits will do, by bits, which is faster."""
    if count & (count - 1):
        return np.divmod(cells, cells.dtype.type(count))
    return cells >> cells.dtype.type(count.bit_length() - 1), cells & cells.dtype.type(count - 1)


def _accumulator(dtype: np.dtype[Any], count: int) -> np.dtype[Any] | None:
    """The shortest integer that holds the sum of so many; None if none does."""
    info = np.iinfo(dtype)
    largest = max(int(info.max), -int(info.min)) * count
    names = ("u2", "u4", "u8") if dtype.kind == "u" else ("i2", "i4", "i8")
    fits = (np.dtype(name) for name in names if largest <= np.iinfo(name).max)
    return next(fits, None)


def _sum(cells: _Array, runs: Sequence[int], dtype: np.dtype[Any]) -> _Array:
    """The sum of each run. The first axes go first: there whole rows are added to rows."""
    for axis, run in enumerate(runs):
        if run == 1:
            continue
        lead = (slice(None),) * axis
        total: _Array = cells[(*lead, slice(0, None, run))].astype(dtype)
        for i in range(1, run):
            np.add(total, cells[(*lead, slice(i, None, run))], out=total, dtype=dtype)
        cells = total
    return cells


def _mode(cells: _Array, runs: Sequence[int]) -> _Array:
    """The commonest value of each run, of several the least. Each NaN counts alone."""
    split = [part for n, f in zip(cells.shape, runs, strict=True) for part in (n // f, f)]
    ndim, count = cells.ndim, math.prod(runs)
    order = [*range(1, 2 * ndim, 2), *range(0, 2 * ndim, 2)]
    shape = [n // f for n, f in zip(cells.shape, runs, strict=True)]
    ordered = np.sort(cells.reshape(split).transpose(order).reshape([count, *shape]), axis=0)
    best: _Array = ordered[0].copy()
    longest, length = np.ones(shape, np.int64), np.ones(shape, np.int64)
    for i in range(1, count):
        length = np.where(ordered[i] == ordered[i - 1], length + 1, 1)
        longer = length > longest
        best[longer], longest[longer] = ordered[i][longer], length[longer]
    return best
