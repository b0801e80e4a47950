"""Cells of a variable, and the stored array they go to -> the same cells, if they can be read again from there.

xarray encodes what is added to a stored variable by that variable's attributes: its units, its packing, its data type.
What these cannot say it rounds, wraps around or stores as if it were of other units. Here that is an error.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from xarray import Variable

from daskzarr.errors import LossError, short

_MEANING = ("units", "calendar", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "dtype")
_SAMPLE = 3


@dataclass(frozen=True)
class Limits:
    """What a stored array can say.

    Parameters
    ----------
    name
        Of the variable.
    dtype
        Of the stored cells.
    scale, offset
        Of the packing; 1 and 0 without.
    missing
        Stored values that are read as missing.
    exact
        Whether cells have to be whole numbers.
    """

    name: str
    dtype: np.dtype[Any]
    scale: float
    offset: float
    missing: tuple[Any, ...]
    exact: bool


def checked(
    variable: Variable, name: Hashable, encoding: Mapping[str, Any], dtype: np.dtype[Any], *, new: bool
) -> Variable:
    """The variable, whose cells are looked at when they are computed; those in memory at once.

    Parameters
    ----------
    variable
        Not yet encoded.
    name
        For errors.
    encoding
        How it will be encoded.
    dtype
        Of the stored cells.
    new
        Whether the array is made for it. Then numbers may be rounded, as the call asks for that.

    Raises
    ------
    LossError
        If a cell in memory cannot be stored; from a task for others.
    """
    limits = _limits(variable, name, encoding, dtype, new=new)
    if limits is None:
        return variable
    data = variable.data
    if isinstance(data, da.Array):
        return variable.copy(
            deep=False, data=data.map_blocks(partial(_check, limits), dtype=data.dtype, meta=data._meta)
        )
    _check(limits, np.asarray(data))
    return variable


def check_meaning(encoded: Variable, stored: Mapping[str, Any], name: Hashable, *, times: bool) -> None:
    """Raise an error if encoded cells would be read by attributes that the stored array does not have.

    Such are finer units for times, as xarray chooses them where the stored ones are too coarse.
    """
    for key in _MEANING:
        wanted, there = encoded.attrs.get(key), stored.get(key)
        if key == "units" and isinstance(wanted, str) and isinstance(there, str):
            fits = _unit(wanted) == _unit(there)
        else:
            fits = wanted is None or _same(wanted, there)
        if not fits:
            what = "times cannot be said" if key == "units" and times else "cells cannot be said"
            raise LossError(
                f"variable {name!r}: these {what} with {key}={short(there)}, which the stored array has, but with "
                f"{short(wanted)}; store them in a new array, or make the stored one anew in those first",
                node=str(name),
                field=key,
            )


def _limits(
    variable: Variable, name: Hashable, encoding: Mapping[str, Any], dtype: np.dtype[Any], *, new: bool
) -> Limits | None:
    """What cells are to be held against; None if nothing can be lost."""
    kind = variable.dtype.kind
    if kind not in "biufc" or dtype.kind not in "biufc":
        return None
    scale, offset = (encoding.get(key) for key in ("scale_factor", "add_offset"))
    packed = scale is not None or offset is not None
    given = [encoding[key] for key in ("_FillValue", "missing_value") if encoding.get(key) is not None]
    missing = tuple(value for each in given for value in np.ravel(each))
    if packed and (np.ndim(scale if scale is not None else 1) or np.ndim(offset if offset is not None else 0)):
        return None
    if encoding.get("_Unsigned") is not None and dtype.kind in "iu":
        dtype = np.dtype(f"{'u' if encoding['_Unsigned'] == 'true' else 'i'}{dtype.itemsize}")
        missing = tuple(np.asarray(value).astype(dtype)[()] for value in missing)
    absent = kind == "f" and any(np.isfinite(value) for value in missing)
    rounds = not new and kind in "iu" and dtype.kind in "fc" and np.finfo(dtype).nmant < 8 * variable.dtype.itemsize - 1
    if not packed and not absent and not rounds and np.can_cast(variable.dtype, dtype, "safe"):
        return None
    return Limits(
        str(name),
        dtype,
        1.0 if scale is None else float(np.asarray(scale)),
        0.0 if offset is None else float(np.asarray(offset)),
        missing,
        exact=not packed and not new,
    )


def _check(limits: Limits, cells: Any) -> Any:
    """The cells, if none is lost."""
    cells = np.asarray(cells)
    if cells.size:
        _check_some(limits, cells)
    return cells


def _check_some(limits: Limits, cells: np.ndarray[Any, Any]) -> None:
    """Raise an error for the first kind of loss there is."""
    dtype = limits.dtype
    if cells.dtype.kind == "c" and dtype.kind != "c":
        raise _lost(limits, cells.ravel()[:_SAMPLE], "are complex")
    absent = np.isnan(cells) if cells.dtype.kind in "fc" else np.zeros((), bool)
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            packed = _packed(limits, cells).astype(dtype)
        _refuse(limits, cells, np.isinf(packed) & np.isfinite(cells), f"are too large for {dtype}")
        if limits.exact and cells.dtype.kind in "iu":
            _refuse(limits, cells, _differ(packed, cells), f"have more digits than {dtype}")
        _refuse_missing(limits, cells, packed, absent)
        return
    if not limits.missing:
        _refuse(
            limits, cells, absent, f"cannot be stored as {dtype}, and there is no _FillValue that could stand for them"
        )
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if cells.dtype.kind in "biu" and limits.scale == 1 and limits.offset == 0:
        packed = cells
    else:
        packed = np.where(absent, 0, np.around(_packed(limits, cells)))
        _refuse(limits, cells, np.isinf(packed), f"are out of the range of {dtype}")
        if limits.exact:
            _refuse(limits, cells, (packed != cells) & ~absent, f"are no whole numbers, and {dtype} has no others")
    # As Python's integers: those of 64 bits are compared with floats by way of floats otherwise.
    low, high = packed.min(), packed.max()
    if int(low) < least or int(high) > most:
        _refuse(
            limits,
            cells,
            (packed < least) | (packed > most) | (packed >= float(most) + 1),
            f"are out of the range of {dtype}",
        )
    _refuse_missing(limits, cells, packed, absent)


def _refuse_missing(limits: Limits, cells: np.ndarray[Any, Any], packed: Any, absent: Any) -> None:
    """Raise an error for numbers that are stored as what stands for a missing one."""
    for value in limits.missing if cells.dtype.kind == "f" else ():
        if np.isfinite(value):
            _refuse(limits, cells, (packed == value) & ~absent, f"would be stored as {value}, which is read as missing")


def _differ(floats: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> Any:
    """Where numbers are not those whole ones, which they are next to."""
    large = floats.real >= float(np.iinfo(whole.dtype).max)  # which has too many digits itself
    return large | (np.where(large, 0, floats.real).astype(whole.dtype) != whole)


def _packed(limits: Limits, cells: np.ndarray[Any, Any]) -> Any:
    """The cells as they are stored, before they are rounded."""
    if limits.scale == 1 and limits.offset == 0:
        return cells
    return (cells - limits.offset) / limits.scale


def _refuse(limits: Limits, cells: np.ndarray[Any, Any], lost: Any, why: str) -> None:
    """Raise an error if any cell is lost."""
    if np.any(lost):
        raise _lost(limits, cells[np.broadcast_to(lost, cells.shape)][:_SAMPLE], why)


def _lost(limits: Limits, some: Any, why: str) -> LossError:
    """The error that names some of the cells."""
    named = ", ".join(map(str, some.tolist()))
    return LossError(
        f"variable {limits.name!r}: cells such as {named} {why}; give it a data type that can hold them, or convert "
        "the cells first",
        node=limits.name,
        field="data_type",
    )


def _unit(units: str) -> str:
    """The unit in units of times; the date that they count from stays as it is, however it is spelled."""
    return units.partition(" since ")[0].strip().lower().removesuffix("s")


def _same(one: Any, other: Any) -> bool:
    """Whether two attributes say the same."""
    if isinstance(one, str) or isinstance(other, str) or other is None:
        return bool(one == other)
    return bool(np.array_equal(np.asarray(one), np.asarray(other)) or (one != one and other != other))
