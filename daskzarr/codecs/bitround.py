"""bitround: numbers with fewer significant bits, which compress better. Lossy: decoding changes nothing.

Kind: array to array. Names: ``bitround`` (v3), ``numcodecs.bitround`` (v2 id ``bitround``).
Spec: Zarr extensions, bitround; numcodecs, BitRound.
Example: ``{"name": "bitround", "configuration": {"keepbits": 10}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options

_MANTISSA = {"float16": 10, "float32": 23, "float64": 52, "bfloat16": 7}
_BITS = {"float16": np.uint16, "float32": np.uint32, "float64": np.uint64, "bfloat16": np.uint16}
_PARTS = {"complex64": "float32", "complex128": "float64"}
_SLAB = 2**15


@dataclass(frozen=True, slots=True)
class BitroundCodec:
    """Rounds to ``keepbits`` bits, ties to even: of a float's mantissa, or from an integer's highest set bit.

    Of a negative integer the magnitude is rounded. Where rounding up would leave an integer's range, it rounds down.
    """

    kind: ClassVar[Kind] = "array_to_array"
    name: ClassVar[str] = "bitround"
    least: ClassVar[int] = 1
    lenient: ClassVar[bool] = False
    spec: ChunkSpec
    keepbits: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> BitroundCodec:
        """``keepbits`` from 1; where it is all bits or more, nothing changes."""
        options = Options(cls.name, configuration)
        codec = cls(spec, options.integer("keepbits", low=cls.least, high=2**31 - 1))
        options.end(lenient=cls.lenient)
        if not cls._takes(spec.dtype):
            raise options.error(f"elements of type {spec.dtype} cannot be rounded to fewer bits")
        return codec

    @classmethod
    def _takes(cls, dtype: np.dtype[Any]) -> bool:
        """Whether elements are integers, times or floats, or pairs of floats."""
        return _float_name(dtype) is not None or dtype.kind in "iumM"

    def encoded_spec(self) -> ChunkSpec:
        """The same cells, with the fill value rounded as they are."""
        fill = self.encode(np.array(self.spec.fill_value, self.spec.dtype))[()]
        return replace(self.spec, fill_value=fill)

    def encode(self, array: Array) -> Array:
        """A rounded copy."""
        cells = np.array(array, self.spec.dtype, order="C").reshape(-1)
        name = _float_name(self.spec.dtype)
        bits = cells.view(_BITS[name]) if name else cells
        for start in range(0, len(bits), _SLAB):  # what is worked on stays in the processor's cache
            part = bits[start : start + _SLAB]
            if name:
                self._round_mantissas(part, _MANTISSA[name])
            else:
                self._round_integers(part)
        return cells.reshape(array.shape)

    def decode(self, array: Array) -> Array:
        """The array as it is."""
        return array

    def _round_mantissas(self, bits: Array, mantissa: int) -> None:
        """Round floats, given by their bits, in place; a carry goes on into the exponent, as it has to."""
        if self.keepbits >= mantissa:
            return
        rounded = bits.copy()
        _round_at(rounded, mantissa - self.keepbits)
        infinite = 2 ** (8 * bits.dtype.itemsize - 1) - 2**mantissa
        np.copyto(bits, rounded, where=self._may_change(bits, rounded, infinite))

    def _may_change(self, bits: Array, rounded: Array, infinite: int) -> Array:
        """Where values are finite numbers."""
        return np.asarray((bits & infinite) != infinite)

    def _round_integers(self, cells: Array) -> None:
        """Round integers in place."""
        width = 8 * cells.dtype.itemsize
        if self.keepbits >= width:
            return
        bits = cells.view(f"u{cells.dtype.itemsize}")
        if cells.dtype.kind == "u":
            bits[...] = _round_magnitudes(bits, self.keepbits, 2**width - 1)
            return
        signs = (cells.view(f"i{cells.dtype.itemsize}") >> (width - 1)).view(bits.dtype)  # all ones where negative
        magnitudes = (bits ^ signs) - signs
        limit = 2 ** (width - 1) - 1
        # Only an integer may become its type's lowest: among times that one means none.
        lowest = 0 if cells.dtype.kind in "mM" else (signs & 1)
        rounded = _round_magnitudes(magnitudes, self.keepbits, limit + lowest)
        bits[...] = (rounded ^ signs) - signs


class NumcodecsBitroundCodec(BitroundCodec):
    """The same under its numcodecs name: floats only, ``keepbits`` from 0, members it does not know mean nothing.

    The bits of a NaN are rounded too, as numcodecs does, but never so that it becomes a number.
    """

    __slots__ = ()
    name: ClassVar[str] = "numcodecs.bitround"
    least: ClassVar[int] = 0
    lenient: ClassVar[bool] = True

    @classmethod
    def _takes(cls, dtype: np.dtype[Any]) -> bool:
        """Whether elements are floats."""
        return dtype.name in ("float16", "float32", "float64")

    def _may_change(self, bits: Array, rounded: Array, infinite: int) -> Array:
        """Wherever a NaN stays one."""
        return ~_is_nan(bits, infinite) | _is_nan(rounded, infinite)


def _float_name(dtype: np.dtype[Any]) -> str | None:
    """The float that elements are, or that their real and imaginary parts are; None where they are neither."""
    if dtype.names == ("real", "imag") and dtype["real"] == dtype["imag"]:
        dtype = dtype["real"]
    name = _PARTS.get(dtype.name, dtype.name)
    return name if name in _MANTISSA else None


def _is_nan(bits: Array, infinite: int) -> Array:
    """Where the bits, but for the sign, are beyond those of infinity."""
    return np.asarray((bits & (2 ** (8 * bits.dtype.itemsize - 1) - 1)) > infinite)


def _round_at(bits: Array, dropped: int) -> None:
    """Round integers to multiples of 2^dropped in place, ties to even multiples."""
    odd = bits >> dropped
    odd &= 1
    bits += odd
    bits += 2 ** (dropped - 1) - 1
    bits &= 2 ** (8 * bits.dtype.itemsize) - 2**dropped


def _round_magnitudes(values: Array, keepbits: int, limit: Any) -> Array:
    """Round unsigned integers to ``keepbits`` bits from the highest one set, down where they would exceed ``limit``."""
    below = values.copy()
    for step in (1, 2, 4, 8, 16, 32)[: (8 * values.dtype.itemsize).bit_length() - 1]:
        below |= below >> step
    below >>= keepbits  # all bits that go
    down = values & ~below
    up = (values & (below + 1)) != 0  # an odd last bit, where one goes
    up &= below != 0
    rounded = values + (below >> 1)
    rounded += up
    wrapped = rounded < values
    rounded &= ~below
    return np.where(wrapped | (rounded > limit), down, rounded)
