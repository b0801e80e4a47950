"""fixedscaleoffset: numbers minus an offset, times a scale, rounded.

Kind: array to array. Names: ``numcodecs.fixedscaleoffset`` (v2 id ``fixedscaleoffset``).
Spec: numcodecs, FixedScaleOffset.
Example: ``{"name": "numcodecs.fixedscaleoffset", "configuration": {"offset": -2, "scale": 10, "dtype": "<i4"}}``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from daskzarr.codecs.array_filter import ArrayFilter, cast_numbers, number_dtype
from daskzarr.codecs.base import Array, Options


@dataclass(frozen=True, slots=True)
class FixedScaleOffsetCodec(ArrayFilter):
    """``(x - offset) * scale`` to the nearest integer, half to even."""

    name: ClassVar[str] = "fixedscaleoffset"
    offset: int | float
    scale: int | float

    @classmethod
    def read(cls, options: Options) -> Self:
        """``offset``, ``scale``, the ``dtype`` of the numbers and the ``astype`` they are stored in."""
        decoded = number_dtype(options, "dtype")
        encoded = number_dtype(options, "astype", decoded)
        offset, scale = _finite(options, "offset"), _finite(options, "scale")
        if scale == 0:
            raise options.error("scale is 0, which leaves nothing of the numbers")
        return cls(decoded, encoded, offset, scale)

    def forward(self, array: Array) -> Array:
        """Rounded numbers."""
        found = np.subtract(array, _operand(array, self.offset))
        found = _onto(np.multiply, found, self.scale)
        if found.dtype.kind in "fc":
            np.around(found, out=found)
        return cast_numbers(found, self.encoded)

    def back(self, array: Array) -> Array:
        """What the rounding left."""
        found = np.true_divide(array, _operand(array, self.scale))
        return cast_numbers(_onto(np.add, found, self.offset), self.decoded)


def _finite(options: Options, member: str) -> int | float:
    """A number that a double can hold."""
    value = options.value(member)
    try:
        if type(value) in (int, float) and math.isfinite(float(value)):
            return value  # type: ignore[no-any-return]
    except OverflowError:
        pass
    raise options.error(f"{member} is {value!r}; it has to be a finite number")


def _operand(array: Array, value: int | float) -> Any:
    """The number to calculate with: as it is, unless it is an integer that those of the array cannot hold."""
    if isinstance(value, float) or array.dtype.kind not in "iu" or _holds(array.dtype, value):
        return value
    return np.int64(value) if _holds(np.dtype(np.int64), value) else float(value)


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    """Whether an integer is in the range of a dtype."""
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _onto(ufunc: Any, array: Array, value: int | float) -> Array:
    """The ufunc of an array and a number, in the array's memory where the result has its dtype."""
    out = array if array.dtype.kind in "fc" else None
    return ufunc(array, _operand(array, value), out=out)  # type: ignore[no-any-return]
