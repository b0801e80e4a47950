"""Times and text of a variable, and what they are to be stored as -> the same, if they can be read again from there."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from xarray import Variable, conventions

from daskzarr.errors import LossError, short

_SAMPLE = 3


def check_times(times: Variable, encoded: Variable, name: Hashable) -> None:
    """Raise an error if times in memory would be read as others: out of the stored dtype's range, of another calendar.

    Where they are stored as floats they may be off by as much as those have always been.
    """
    first = times.data if times.dtype.kind == "O" and times.size else None
    of_cftime = first is not None and hasattr(np.asarray(first).ravel()[0], "calendar")
    if (
        isinstance(times.data, da.Array)
        or encoded.dtype.kind not in "iu"
        or not (times.dtype.kind in "mM" or of_cftime)
    ):
        return
    coder = xr.coders.CFDatetimeCoder(use_cftime=True) if of_cftime else True
    timedeltas = times.dtype.kind == "m"
    plain = Variable(encoded.dims, encoded.data, encoded.attrs)
    read = np.asarray(conventions.decode_cf_variable(name, plain, decode_times=coder, decode_timedelta=timedeltas).data)
    given = np.asarray(times.data)
    try:
        same = np.asarray(read == given) & (read.dtype.kind == given.dtype.kind)
    except TypeError:  # of other calendars
        same = np.zeros(given.shape, bool)
    if given.dtype.kind in "mM":
        same |= np.isnat(given) & (np.isnat(read) if read.dtype.kind in "mM" else False)
    if not np.all(same):
        some = ", ".join(map(str, given[~same][:_SAMPLE]))
        raise LossError(
            f"variable {name!r}: times such as {some} would be read as others from {encoded.dtype}, "
            f"{short(encoded.attrs.get('units'))}, {short(encoded.attrs.get('calendar'))}; give it a data type, units "
            "or a calendar that can say them",
            node=str(name),
            field="units",
        )


def uncut(variable: Variable, name: Hashable, dtype: np.dtype[Any], *, text: bool = False) -> Variable:
    """The variable, whose text is looked at as it is computed, that in memory at once; what is missing is ``""``.

    With ``text`` what is stored is text of any length.

    Raises
    ------
    LossError
        If text does not fit cells of fixed length, or what goes to an array of text is none; from a task for others.
    """
    fixed = dtype.kind in "US" and dtype.itemsize > 0
    if variable.dtype.kind != "O" and not (fixed and variable.dtype.kind in "TUS"):
        return variable
    if not fixed and not text:
        return variable
    length = dtype.itemsize // (4 if dtype.kind == "U" else 1) if fixed else None
    look = partial(_fitting, length=length, missing=b"" if dtype.kind == "S" else "", name=str(name))
    if isinstance(variable.data, da.Array):
        data = variable.data.map_blocks(look, dtype=variable.dtype, meta=variable.data._meta)
    else:
        data = look(np.asarray(variable.data))
    return variable.copy(deep=False, data=data)


def _fitting(cells: Any, length: int | None, missing: Any, name: str) -> Any:
    """The cells, if they are text that the stored ones can hold."""
    found = np.array(cells)
    for at, cell in np.ndenumerate(found):
        if cell is None or cell != cell:
            found[at] = missing
        elif not isinstance(cell, str if length is None else (str, bytes)):
            raise LossError(f"variable {name!r}: {short(cell)} is no text, as all that is stored is", node=name)
        elif length is not None and len(cell.encode() if missing == b"" and isinstance(cell, str) else cell) > length:
            raise LossError(
                f"variable {name!r}: {short(cell)} is longer than the {length} characters or bytes that are stored of "
                "each cell; give it a longer data type",
                node=name,
                field="data_type",
            )
    return found
