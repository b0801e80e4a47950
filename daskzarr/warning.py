"""A message -> a warning at the line of the program that asked for what it is about, however deep that is in here."""

from __future__ import annotations

import sys
import warnings

_BETWEEN = {"dask", "daskzarr", "distributed", "xarray"}


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of whoever called this package, be it by Dask or xarray.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     warn("look", UserWarning)
    >>> str(caught[0].message)
    'look'
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
