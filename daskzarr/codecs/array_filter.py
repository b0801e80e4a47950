"""A filter on arrays of numbers -> a codec, where arrays come in and, as Zarr v2 allows, where bytes do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from daskzarr.codecs.base import REQUIRED, Array, Buffer, BytesSpec, ChunkSpec, Kind, Options, wrong_size

_NAMES = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
_SPELLING = re.compile(r"[<>|=]?[biufc]\d{1,2}", re.ASCII)


def number_dtype(options: Options, member: str, default: Any = REQUIRED, *, kinds: str = "biufc") -> np.dtype[Any]:
    """A dtype of numbers, as Zarr v2 or NumPy spells it; little-endian where no byte order is said."""
    value = options.value(member, default)
    if default is not REQUIRED and (value is None or value is default):
        return default  # type: ignore[no-any-return]
    if isinstance(value, str) and (value in _NAMES or _SPELLING.fullmatch(value)):
        try:
            dtype = np.dtype(value)
        except TypeError:
            dtype = np.dtype("V")
        if dtype.name in _NAMES and dtype.kind in kinds:
            return dtype if value[0] == ">" else dtype.newbyteorder("<")
    raise options.error(
        f"{member} is {value!r}; it has to be a dtype of numbers (of kind {', '.join(kinds)}) like '<f4'"
    )


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in native byte order."""
    return dtype.newbyteorder("=")


def cast_numbers(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in another dtype; of complex numbers the real part is taken, without a warning."""
    if array.dtype.kind == "c" and dtype.kind not in "cb":
        array = array.real
    return array.astype(native(dtype), copy=False)


@dataclass(frozen=True, slots=True)
class ArrayFilter:
    """What a filter does to numbers: from ``decoded`` to ``encoded`` and back.

    The dtypes have the byte order that the configuration says. It counts only where the filter sees bytes; the arrays
    that :meth:`forward` and :meth:`back` get and give are native, and have an axis at least.
    """

    kind: ClassVar[Kind] = "array_to_array"
    name: ClassVar[str]
    decoded: np.dtype[Any]
    encoded: np.dtype[Any]

    @classmethod
    def read(cls, options: Options) -> Self:
        """The filter of a configuration."""
        raise NotImplementedError

    def forward(self, array: Array) -> Array:
        """Towards the store."""
        raise NotImplementedError

    def back(self, array: Array) -> Array:
        """Back from the store."""
        raise NotImplementedError

    def forward_fill(self, cell: Array) -> Array:
        """What becomes of an array of one cell of fill."""
        return self.forward(cell)

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> FilterOnArray:
        """The filter on an array; one of another dtype is seen as the bytes it has in little-endian order."""
        options = Options(cls.name, configuration)
        found = cls._checked(options)
        if spec.dtype.hasobject:
            raise options.error("objects come in, which have no bytes")
        if spec.nbytes % found.decoded.itemsize:
            raise options.error(f"the {spec.nbytes} bytes of a chunk are no whole number of elements {found.decoded}")
        return FilterOnArray(spec, found)

    @classmethod
    def on_bytes(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> FilterOnBytes:
        """The filter behind codecs on bytes, which it sees as elements."""
        options = Options(cls.name, configuration)
        found = cls._checked(options)
        if spec.size is not None and spec.size % found.decoded.itemsize:
            raise options.error(f"the {spec.size} bytes that come in are no whole number of elements {found.decoded}")
        return FilterOnBytes(spec, found)

    @classmethod
    def _checked(cls, options: Options) -> Self:
        """The filter of a configuration, once NumPy has shown that it can do what is asked."""
        found = cls.read(options)
        options.end(lenient=True)
        try:
            with np.errstate(all="ignore"):
                found.back(found.forward(np.zeros(1, native(found.decoded))))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise options.error(f"the configuration means nothing to NumPy: {error}") from None
        return found


@dataclass(frozen=True, slots=True)
class FilterOnArray:
    """A filter where arrays come in."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    filter: ArrayFilter

    @property
    def _shape(self) -> tuple[int, ...]:
        """The shape in which the filter sees the chunk: flat where it sees another number of elements."""
        itemsize = self.filter.decoded.itemsize
        return self.spec.shape if itemsize == self.spec.dtype.itemsize else (self.spec.nbytes // itemsize,)

    @property
    def _stored(self) -> np.dtype[Any]:
        """The dtype of what comes in, with the byte order in which its bytes are seen."""
        return self.spec.dtype.newbyteorder("<")

    def encoded_spec(self) -> ChunkSpec:
        """As many elements as the filter sees, of its other dtype."""
        cells = np.full(self.filter.decoded.itemsize, self.spec.fill_value, self.spec.dtype)  # whole elements, surely
        with np.errstate(all="ignore"):
            fill = self.filter.forward_fill(_seen(cells, self._stored, self.filter.decoded)[:1])
        return replace(self.spec, shape=self._shape, dtype=fill.dtype, fill_value=fill[0])

    def encode(self, array: Array) -> Array:
        """The filtered array."""
        seen = _seen(array, self._stored, self.filter.decoded)
        with np.errstate(all="ignore"):
            return self.filter.forward(np.atleast_1d(seen)).reshape(self._shape)

    def decode(self, array: Array) -> Array:
        """The array that came in, or what the filter left of it."""
        with np.errstate(all="ignore"):
            found = self.filter.back(np.atleast_1d(array))
        return _seen(found, self.filter.decoded, self._stored).reshape(self.spec.shape)


@dataclass(frozen=True, slots=True)
class FilterOnBytes:
    """A filter where bytes come in: the memory of elements in the byte order of its dtypes."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    filter: ArrayFilter

    def encoded_spec(self) -> BytesSpec:
        """As many elements."""
        size, encoded = self.spec.size, self.filter.encoded
        return BytesSpec(
            None if size is None else size // self.filter.decoded.itemsize * encoded.itemsize, encoded.itemsize
        )

    def encode(self, data: Buffer) -> Buffer:
        """The filtered elements."""
        with np.errstate(all="ignore"):
            found = self.filter.forward(self._elements(data, self.filter.decoded, self.spec.size))
        return _memory(found, self.filter.encoded)

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The elements that came in, or what the filter left of them."""
        with np.errstate(all="ignore"):
            found = self.filter.back(self._elements(data, self.filter.encoded, self.encoded_spec().size))
        return _memory(found, self.filter.decoded)

    def _elements(self, data: Buffer, dtype: np.dtype[Any], size: int | None) -> Array:
        """Bytes as native elements, if there are as many as have to be."""
        if len(data) % dtype.itemsize if size is None else len(data) != size:
            raise wrong_size(self.filter.name, len(data), f"a multiple of {dtype.itemsize}" if size is None else size)
        return np.frombuffer(data, dtype).astype(native(dtype), copy=False)


def _seen(array: Array, stored: np.dtype[Any], dtype: np.dtype[Any]) -> Array:
    """The array's bytes in one dtype as native elements of another; itself where only byte orders differ."""
    to = native(dtype)
    if array.dtype == to:
        return array
    return np.ascontiguousarray(array, stored).reshape(-1).view(np.uint8).view(dtype).astype(to, copy=False)


def _memory(array: Array, dtype: np.dtype[Any]) -> Buffer:
    """The elements' memory in the dtype's byte order."""
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data
