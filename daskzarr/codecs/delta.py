"""delta: each element as its difference from the one before.

Kind: array to array. Names: ``numcodecs.delta`` (v2 id ``delta``). Spec: numcodecs, Delta.
Example: ``{"name": "numcodecs.delta", "configuration": {"dtype": "<i4", "astype": "<i2"}}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from daskzarr.codecs.array_filter import ArrayFilter, cast_numbers, native, number_dtype
from daskzarr.codecs.base import Array, Options
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class DeltaCodec(ArrayFilter):
    """Differences of the flattened array, which wrap in ``decoded`` and are stored as ``encoded``."""

    name: ClassVar[str] = "delta"

    @classmethod
    def read(cls, options: Options) -> Self:
        """``dtype`` of the numbers and ``astype`` of their differences; complex numbers need complex ones."""
        decoded = number_dtype(options, "dtype", kinds="iufc")
        kinds = "c" if decoded.kind == "c" else "iufc"
        return cls(decoded, number_dtype(options, "astype", decoded, kinds=kinds))

    def forward(self, array: Array) -> Array:
        """The first element and the differences."""
        flat = array.reshape(-1)
        self._check_first(flat)
        out = np.empty(flat.shape, native(self.encoded))
        out[:1] = flat[:1]
        np.subtract(flat[1:], flat[:-1], out=out[1:], dtype=flat.dtype, casting="unsafe")
        return out.reshape(array.shape)

    def back(self, array: Array) -> Array:
        """The sums. Those of integers are taken in their own dtype, where they wrap back."""
        to = native(self.decoded)
        flat = array.reshape(-1)
        if to.kind in "iu":
            sums = np.add.accumulate(cast_numbers(flat, to), dtype=to)
        else:
            flat = flat.real if flat.dtype.kind == "c" and to.kind != "c" else flat
            sums = np.add.accumulate(flat, out=np.empty(flat.shape, to))
        return sums.reshape(array.shape)

    def forward_fill(self, cell: Array) -> Array:
        """The value itself."""
        return cast_numbers(cell, self.encoded)

    def _check_first(self, flat: Array) -> None:
        """Refuse a chunk whose first element ``astype`` cannot hold: nothing behind it would be right."""
        decoded, encoded = self.decoded, self.encoded
        wraps_back = decoded.kind in "iu" and encoded.itemsize >= decoded.itemsize
        if not flat.size or encoded.kind not in "iu" or wraps_back:
            return
        low, high = np.iinfo(encoded).min, np.iinfo(encoded).max
        first = flat[0].item()
        if not low - 1 < first < high + 1:
            raise CodecError(
                f"a chunk starts with {first}, which astype {encoded.name} cannot hold; choose a larger one",
                codec="delta",
            )
