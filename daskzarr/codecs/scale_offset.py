"""scale_offset: numbers less an offset, times a factor, in the arithmetic of their own type.

Kind: array to array. Names: ``scale_offset`` (v3). Spec: Zarr extensions, scale_offset.
Example: ``{"name": "scale_offset", "configuration": {"offset": -5, "scale": 2}}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options
from daskzarr.codecs.cast_value import cast_numbers, is_integer, is_real, limits, scalar
from daskzarr.errors import CodecError
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.numpy_dtype import is_ml_dtype


@dataclass(frozen=True, slots=True)
class ScaleOffsetCodec:
    """Stores (x - offset) * scale. Every step has to have a result of the type; those of integers are exact."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    offset: Any
    scale: Any

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ScaleOffsetCodec:
        """``offset`` and ``scale`` are spelled as fill values of the type; without them 0 and 1."""
        options = Options("scale_offset", configuration)
        if not is_real(spec.dtype):
            raise options.error(f"elements are {spec.dtype}; only real numbers can be scaled")
        data_type = DataType.of(spec.dtype)
        offset = scalar(options, "offset", data_type, options.value("offset", 0))
        scale = scalar(options, "scale", data_type, options.value("scale", 1))
        options.end()
        if not (np.isfinite(float(offset)) and np.isfinite(float(scale)) and scale != 0):
            raise options.error(f"offset is {offset} and scale {scale}; both have to be finite, and scale not 0")
        codec = cls(spec, offset, scale)
        try:
            codec.encoded_spec()
        except CodecError as error:
            raise options.error(f"the fill value {spec.fill_value} cannot be stored: {error.message}") from None
        return codec

    def encoded_spec(self) -> ChunkSpec:
        """The same cells, with the fill value changed as they are."""
        fill = self.encode(np.array(self.spec.fill_value, self.spec.dtype))[()]
        return replace(self.spec, fill_value=fill)

    def encode(self, array: Array) -> Array:
        """Less the offset, times the scale."""
        cells = np.asarray(array, self.spec.dtype).reshape(-1)
        if is_integer(self.spec.dtype):
            found = self._encode_integers(cells)
        else:
            found = self._step(np.multiply, self._step(np.subtract, cells, self.offset), self.scale)
        return found.reshape(array.shape)

    def decode(self, array: Array) -> Array:
        """Divided by the scale, and the offset added."""
        cells = array.reshape(-1)
        if is_integer(self.spec.dtype):
            found = self._decode_integers(cells)
        else:
            found = self._step(np.add, self._step(np.divide, cells, self.scale), self.offset)
        return found.reshape(array.shape)

    def _step(self, operation: Callable[..., Any], array: Array, number: Any) -> Array:
        """One operation on floats, rounded to their type; a finite number stays one."""
        dtype = self.spec.dtype
        with np.errstate(all="ignore"):
            if is_ml_dtype(dtype):  # more precise by so much that rounding twice is as good as once
                found = operation(array.astype(np.float64), float(number))
                return cast_numbers(found, dtype, codec="scale_offset")
            found = operation(array, np.asarray(number, dtype))
        lost = ~np.isfinite(found) & np.isfinite(array)
        if lost.any():
            raise CodecError(f"{array[lost][0]} gets beyond the range of {dtype}", codec="scale_offset")
        return np.asarray(found)

    def _encode_integers(self, array: Array) -> Array:
        """The same, once every step is known to stay in range."""
        low, high = limits(self.spec.dtype)
        offset, scale = self._integers()
        first, last = (low, high) if scale > 0 else (high, low)
        least, most = max(low, -(-first // scale)), min(high, last // scale)  # of what is multiplied
        cells = self._within(array, max(low, least + offset), min(high, most + offset))
        return np.asarray((cells - offset) * scale).astype(self.spec.dtype)

    def _decode_integers(self, array: Array) -> Array:
        """The same, once every step is known to be exact and to stay in range."""
        low, high = limits(self.spec.dtype)
        offset, scale = self._integers()
        ends = sorted((max(low, low - offset) * scale, min(high, high - offset) * scale))
        cells = self._within(array, max(low, ends[0]), min(high, ends[1]))
        if scale != 1:
            rest = cells % scale != 0
            if rest.any():
                raise CodecError(f"{cells[rest][0]} is no multiple of the scale {scale}", codec="scale_offset")
            cells = cells // scale
        return np.asarray(cells + offset).astype(self.spec.dtype)

    def _integers(self) -> tuple[int, int]:
        """Offset and scale as Python integers, which keep an array's type."""
        return int(self.offset), int(self.scale)

    def _within(self, array: Array, least: int, most: int) -> Array:
        """The integers, in a type that can calculate, once they are found between two others."""
        cells = array.astype(np.int64) if is_ml_dtype(array.dtype) else array
        if cells.size and not (least <= int(cells.min()) and int(cells.max()) <= most):
            found = next(int(end) for end in (cells.min(), cells.max()) if not least <= int(end) <= most)
            raise CodecError(
                f"{found} is not between {least} and {most}, as it has to be for the result to be {self.spec.dtype}",
                codec="scale_offset",
            )
        return cells
