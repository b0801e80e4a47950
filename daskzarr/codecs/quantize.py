"""quantize: floating point numbers with no more bits than some decimal digits need.

Kind: array to array. Names: ``numcodecs.quantize`` (v2 id ``quantize``). Spec: numcodecs, Quantize.
Example: ``{"name": "numcodecs.quantize", "configuration": {"digits": 1, "dtype": "<f4"}}``
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from daskzarr.codecs.array_filter import ArrayFilter, cast_numbers, number_dtype
from daskzarr.codecs.base import Array, Options


@dataclass(frozen=True, slots=True)
class QuantizeCodec(ArrayFilter):
    """Numbers to the nearest multiple of ``1 / scale``, a power of two; decoding is a cast."""

    name: ClassVar[str] = "quantize"
    scale: float

    @classmethod
    def read(cls, options: Options) -> Self:
        """``digits`` behind the decimal point, the ``dtype`` of the numbers and the ``astype`` they are stored in."""
        decoded = number_dtype(options, "dtype", kinds="f")
        encoded = number_dtype(options, "astype", decoded, kinds="f")
        digits = options.integer("digits", low=-300, high=300)
        return cls(decoded, encoded, _scale(digits))

    def forward(self, array: Array) -> Array:
        """Rounded numbers."""
        found = np.multiply(self.scale, array)
        np.around(found, out=found)
        np.divide(found, self.scale, out=found)
        finite = np.isfinite(found)
        if not finite.all():  # a number so large that its product has no place in the dtype is a multiple already
            np.copyto(found, array, where=~finite & np.isfinite(array))
        return cast_numbers(found, self.encoded)

    def back(self, array: Array) -> Array:
        """The same numbers."""
        return cast_numbers(array, self.decoded)


def _scale(digits: int) -> float:
    """The power of two for a number of digits, as numcodecs finds it through logarithms."""
    exponent = math.log10(10.0**-digits)
    exponent = math.floor(exponent) if exponent < 0 else math.ceil(exponent)
    return float(2.0 ** math.ceil(math.log2(10.0**-exponent)))
