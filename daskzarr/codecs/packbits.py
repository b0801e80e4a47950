"""packbits: elements of few bits, one behind the other.

Kind: array to bytes (``packbits``), array to array (numcodecs). Names: ``packbits`` (v3), ``numcodecs.packbits``
(v2 id ``packbits``): two formats, with bits in another order. Spec: Zarr extensions, packbits; numcodecs, PackBits.
Example: ``{"name": "packbits", "configuration": {"padding_encoding": "first_byte", "last_bit": 3}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options
from daskzarr.errors import CodecError
from daskzarr.metadata.numpy_dtype import is_ml_dtype, value_bits

_SLAB = 2**16


@dataclass(frozen=True, slots=True)
class _Component:
    """What an element is made of: how many numbers, how many bits each has, and the integer that holds them."""

    count: int
    bits: int
    signed: bool
    carrier: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class PackbitsCodec:
    """Bits ``first_bit`` to ``last_bit`` of every number, the lowest first, filled up with 0 to whole bytes."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    component: _Component
    padding: str
    first_bit: int
    last_bit: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> PackbitsCodec:
        """``first_bit`` and ``last_bit`` count from the lowest; without them all bits are kept."""
        options = Options("packbits", configuration)
        component = _component(spec.dtype)
        if component is None:
            raise options.error(f"elements of type {spec.dtype} have no number of bits that could be packed")
        padding = options.choice("padding_encoding", {p: p for p in ("none", "first_byte", "last_byte")}, "none")
        first = _bit(options, "first_bit", 0, component.bits)
        last = _bit(options, "last_bit", component.bits - 1, component.bits)
        options.end()
        if last < first:
            raise options.error(f"last_bit is {last}, which is below first_bit {first}")
        return cls(spec, component, padding, first, last)

    @property
    def width(self) -> int:
        """Bits kept of every number."""
        return self.last_bit - self.first_bit + 1

    @property
    def numbers(self) -> int:
        """Numbers in a chunk."""
        return prod(self.spec.shape) * self.component.count

    def encoded_spec(self) -> BytesSpec:
        """As many bytes as the bits fill, and one where the padding is told."""
        return BytesSpec(-(-self.numbers * self.width // 8) + (self.padding != "none"), 1)

    def encode(self, array: Array) -> Buffer:
        """The bits, with the number of padding bits where it is asked for."""
        cells = np.ascontiguousarray(array, self.spec.dtype).reshape(-1).view(self.component.carrier)
        if self.first_bit or self.width < 8 * cells.dtype.itemsize:
            cells = (cells >> self.first_bit) & (2**self.width - 1)
        packed = _pack(cells, self.width).data
        told = bytes([-self.numbers * self.width % 8])
        if self.padding == "none":
            return packed
        return b"".join((told, packed) if self.padding == "first_byte" else (packed, told))

    def decode(self, data: Buffer) -> Array:
        """The elements: signed integers with their sign, all others with 0 in the bits that were not kept."""
        size = self.encoded_spec().size
        if len(data) != size:
            raise CodecError(
                f"{len(data)} bytes are stored where {size} have to be: the chunk is damaged", codec="packbits"
            )
        stored = np.frombuffer(data, np.uint8)
        if self.padding != "none":
            told, stored = (stored[0], stored[1:]) if self.padding == "first_byte" else (stored[-1], stored[:-1])
            if told != -self.numbers * self.width % 8:
                raise CodecError(f"{told} padding bits are stated where there are others: the chunk is damaged",
                                 codec="packbits")  # fmt: skip
        cells = _unpack(stored, self.numbers, self.width, self.component.carrier)
        cells <<= self.first_bit
        if self.component.signed and self.last_bit < self.component.bits - 1:
            cells ^= 2**self.last_bit
            cells -= 2**self.last_bit
            cells &= 2**self.component.bits - 1  # bits beyond those of the type stay 0
        return cells.view(self.spec.dtype).reshape(self.spec.shape)


@dataclass(frozen=True, slots=True)
class NumcodecsPackbitsCodec:
    """Bools as a row of bytes: the number of padding bits, then eight bools each, the first in the highest bit."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> NumcodecsPackbitsCodec:
        """There is nothing to configure."""
        options = Options("numcodecs.packbits", configuration)
        options.end(lenient=True)
        if spec.dtype != bool:
            raise options.error(f"elements are {spec.dtype}; only bool can be packed")
        return cls(spec)

    @property
    def cells(self) -> int:
        """Bools in a chunk."""
        return prod(self.spec.shape)

    def encoded_spec(self) -> ChunkSpec:
        """One byte and one for every eight cells; the fill value is that of a byte of eight."""
        fill = np.uint8(255 if self.spec.fill_value else 0)
        return replace(self.spec, shape=(1 - (-self.cells // 8),), dtype=np.dtype(np.uint8), fill_value=fill)

    def encode(self, array: Array) -> Array:
        """The bytes."""
        encoded = np.empty(1 - (-self.cells // 8), np.uint8)
        encoded[0] = -self.cells % 8
        encoded[1:] = np.packbits(np.asarray(array, bool).reshape(-1))
        return encoded

    def decode(self, array: Array) -> Array:
        """The bools."""
        if array[0] != -self.cells % 8:
            raise CodecError(
                f"{array[0]} padding bits are stated where {-self.cells % 8} have to be: the chunk is damaged",
                codec="numcodecs.packbits",
            )
        return np.unpackbits(array[1:], count=self.cells).view(bool).reshape(self.spec.shape)


def _component(dtype: np.dtype[Any]) -> _Component | None:
    """What elements of a dtype are made of; None where they are no numbers."""
    pair = dtype.kind == "c"
    if dtype.names == ("real", "imag") and dtype["real"] == dtype["imag"] and dtype.itemsize == 2 * dtype[0].itemsize:
        dtype, pair = dtype["real"], True
    size = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    if is_ml_dtype(dtype):
        bits, signed = value_bits(dtype) or 8 * size, dtype.name.startswith("int")
    elif dtype.kind in "biufcmM":
        bits, signed = 1 if dtype.kind == "b" else 8 * size, dtype.kind in "imM"
    else:
        return None
    return _Component(2 if pair else 1, bits, signed, np.dtype(f"u{size}"))


def _bit(options: Options, member: str, default: int, bits: int) -> int:
    """The index of a bit; null is as good as none."""
    value = options.value(member, None)
    if value is None:
        return default
    if type(value) is not int or not 0 <= value < bits:
        raise options.error(f"{member} is {value!r}; it has to be an integer from 0 to {bits - 1}")
    return value


def _pack(cells: Array, width: int) -> Array:
    """Integers of ``width`` bits each, the lowest first, as bytes."""
    if width == 1:
        return np.packbits(cells, bitorder="little")
    out = np.empty(-(-len(cells) * width // 8), np.uint8)
    for start in range(0, len(cells), _SLAB):  # what is worked on stays in the processor's cache
        packed = _pack_some(cells[start : start + _SLAB], width)
        place = start * width // 8
        out[place : place + len(packed)] = packed[: len(out) - place]
    return out


def _pack_some(cells: Array, width: int) -> Array:
    """The same with bytes of 0 behind, as they come."""
    if len(cells) % 8:
        cells = np.append(cells, np.zeros(-len(cells) % 8, cells.dtype))
    while width % 8 and 2 * width <= 64:
        cells = cells[::2].astype(_holding(2 * width)) | cells[1::2].astype(_holding(2 * width)) << width
        width *= 2
    if width % 8 == 0:
        stored = cells.astype(cells.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, cells.dtype.itemsize)
        return stored[:, : width // 8].reshape(-1)
    several = 8 // gcd(width, 8)  # integers that fill whole bytes
    cells = cells.reshape(-1, several)
    out = np.zeros((len(cells), several * width // 8), np.uint8)
    for column in range(several):
        for byte in _touched(column, width):
            out[:, byte] |= _shifted(cells[:, column], column * width - 8 * byte).astype(np.uint8)
    return out.reshape(-1)


def _unpack(stored: Array, count: int, width: int, dtype: np.dtype[Any]) -> Array:
    """The inverse of :func:`_pack`; the array is new."""
    if width == 1:
        return np.unpackbits(stored, count=count, bitorder="little").astype(dtype, copy=False)
    out = np.empty(count, dtype)
    for start in range(0, count, _SLAB):
        part = stored[start * width // 8 : (start + _SLAB) * width // 8]
        some = out[start : start + _SLAB]
        some[...] = _unpack_some(part, -(-len(some) // 8) * 8, width)[: len(some)]
    return out


def _unpack_some(stored: Array, count: int, width: int) -> Array:
    """``count`` integers, a multiple of 8."""
    if width % 8 and 2 * width <= 64:
        pairs = _unpack_some(stored, count // 2, 2 * width)
        cells = np.empty((count // 2, 2), _holding(width))
        cells[:, 0] = pairs & (2**width - 1)
        cells[:, 1] = pairs >> width
        return cells.reshape(-1)
    if len(stored) < count * width // 8:
        stored = np.append(stored, np.zeros(count * width // 8 - len(stored), np.uint8))
    dtype = _holding(width)
    if width % 8 == 0:
        memory = np.zeros((count, dtype.itemsize), np.uint8)
        memory[:, : width // 8] = stored.reshape(count, -1)
        return memory.view(dtype.newbyteorder("<")).reshape(-1)
    several = 8 // gcd(width, 8)
    stored = stored.reshape(-1, several * width // 8)
    cells = np.zeros((len(stored), several), dtype)
    for column in range(several):
        for byte in _touched(column, width):
            cells[:, column] |= _shifted(stored[:, byte].astype(dtype), 8 * byte - column * width)
    cells &= 2**width - 1
    return cells.reshape(-1)


def _touched(column: int, width: int) -> range:
    """The bytes that hold a part of an integer."""
    return range(column * width // 8, ((column + 1) * width - 1) // 8 + 1)


def _holding(width: int) -> np.dtype[Any]:
    """The smallest unsigned integer of at least so many bits."""
    return np.dtype(f"u{1 << max(0, (width - 1).bit_length() - 3)}")


def _shifted(cells: Array, bits: int) -> Array:
    """Shifted up, or down where ``bits`` is negative."""
    return cells << bits if bits >= 0 else cells >> -bits
