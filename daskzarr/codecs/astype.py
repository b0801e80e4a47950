"""astype: numbers stored in another dtype.

Kind: array to array. Names: ``numcodecs.astype`` (v2 id ``astype``). Spec: numcodecs, AsType.
Example: ``{"name": "numcodecs.astype", "configuration": {"encode_dtype": "<i2", "decode_dtype": "<i4"}}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from daskzarr.codecs.array_filter import ArrayFilter, cast_numbers, number_dtype
from daskzarr.codecs.base import Array, Options


@dataclass(frozen=True, slots=True)
class AstypeCodec(ArrayFilter):
    """A cast there and a cast back."""

    name: ClassVar[str] = "astype"

    @classmethod
    def read(cls, options: Options) -> Self:
        """``decode_dtype`` of the numbers and ``encode_dtype`` they are stored in."""
        return cls(number_dtype(options, "decode_dtype"), number_dtype(options, "encode_dtype"))

    def forward(self, array: Array) -> Array:
        """The cast."""
        return cast_numbers(array, self.encoded)

    def back(self, array: Array) -> Array:
        """The cast back."""
        return cast_numbers(array, self.decoded)
