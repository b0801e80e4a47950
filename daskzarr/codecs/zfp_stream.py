"""zfp streams, with and without a header -> numbers, and back, by the package zfpy (zfp 1.0, header and modes)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from daskzarr.codecs.base import Array, Buffer
from daskzarr.errors import CodecError, UnknownCodecError

TYPES = {"int32": 1, "int64": 2, "float32": 3, "float64": 4}
MOST_BITS = 16658  # that a block can have

_MAGIC = b"zfp\x05"
_SIZE_BITS = (48, 24, 16, 12)  # of each length in a header, by the number of axes
_FIRST_VARIABLE_MODE = 2048
_LONG_MODE = 0xFFF
_EXPONENT_BIAS = 16495
_TELLING = 4096

Bits = tuple[int, int]
"""The least and the most bits of a block."""


@dataclass(frozen=True, slots=True)
class Field:
    """The numbers that zfp is given: 1 to 4 axes, in blocks of 4 along each. ``codec`` is who asks, for errors."""

    lengths: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str

    @property
    def blocks(self) -> int:
        """Blocks that cover the lengths."""
        return math.prod(-(-length // 4) for length in self.lengths)

    @property
    def values(self) -> int:
        """Numbers in a block."""
        return int(4 ** len(self.lengths))

    @property
    def longest(self) -> int:
        """Bits that reading one block can take at most, whatever they are."""
        return self.values * (8 * self.dtype.itemsize + 1) + 96

    @property
    def fits_header(self) -> bool:
        """Whether a header has room for the lengths."""
        return (max(self.lengths) - 1).bit_length() <= _SIZE_BITS[len(self.lengths) - 1]


def zfpy(codec: str) -> Any:
    """The package, which is needed only where such data are."""
    try:
        return import_module("zfpy")
    except (ImportError, ValueError):  # ValueError: it was built for another NumPy
        raise UnknownCodecError(
            f"codec {codec!r} needs the package zfpy, in a version that fits NumPy: pip install zfpy", codec=codec
        ) from None


def compress(array: Array, arguments: Mapping[str, float], codec: str, *, write_header: bool) -> bytes:
    """One stream."""
    try:
        return bytes(zfpy(codec).compress_numpy(array, write_header=write_header, **arguments))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CodecError(f"the chunk cannot be compressed: {error}", codec=codec) from None


def decompress(data: Buffer, field: Field, bits: Bits, arguments: Mapping[str, float]) -> Array:
    """The numbers of a stream without header, by the arguments of zfpy that made it."""
    read = zfpy(field.codec)._decompress

    def read_stream(stream: Array) -> Array:
        found = np.empty(field.lengths, field.dtype)
        read(stream, TYPES[field.dtype.name], field.lengths, out=found, **arguments)
        return found

    return _whole(data, read_stream, field, fixed=_is_fixed(len(data), field, bits, 0))


def decompress_expert(data: Buffer, field: Field, expert: tuple[int, int, int, int]) -> Array:
    """The numbers of a stream without header, by zfp's own four parameters: zfpy takes them in a header only."""
    fixed = _is_fixed(len(data), field, expert[:2], 0)
    stream = _with_header(data, field, expert)
    return _whole(stream, zfpy(field.codec).decompress_numpy, field, fixed=fixed, spare=0xF0)


def decompress_with_header(data: Buffer, field: Field) -> Array:
    """The numbers of a stream with a header, which has to agree with the field."""
    found, bits, size = _read_header(data, field)
    fixed = _is_fixed(len(data), found, bits, size)
    return _whole(data, zfpy(field.codec).decompress_numpy, found, fixed=fixed)


def _read_header(data: Buffer, field: Field) -> tuple[Field, Bits, int]:
    """The lengths that a header tells, with the bits of a block and the header's own."""
    if len(data) < 12 or bytes(data[:4]) != _MAGIC:
        raise CodecError("the data do not begin with a header of zfp: the chunk is damaged", codec=field.codec)
    head = int.from_bytes(data[4:19], "little")
    axes = (head >> 2 & 3) + 1
    width = _SIZE_BITS[axes - 1]
    lengths = tuple((head >> 4 + width * axis & (1 << width) - 1) + 1 for axis in reversed(range(axes)))
    if (head & 3) + 1 != TYPES[field.dtype.name] or math.prod(lengths) != math.prod(field.lengths):
        raise CodecError(
            f"the header tells of type {(head & 3) + 1} and shape {lengths} where {TYPES[field.dtype.name]} and "
            f"{field.lengths} have to be: the chunk is damaged",
            codec=field.codec,
        )
    found, mode = replace(field, lengths=lengths), head >> 52 & _LONG_MODE
    if mode == _LONG_MODE:
        return found, ((head >> 64 & 0x7FFF) + 1, (head >> 79 & 0x7FFF) + 1), 148
    return found, (mode + 1, mode + 1) if mode < _FIRST_VARIABLE_MODE else (0, MOST_BITS), 96


def _with_header(data: Buffer, field: Field, expert: tuple[int, int, int, int]) -> bytes:
    """A stream with a header before it: 148 bits, so that every byte moves by half a one."""
    least, most, planes, exponent = expert
    mode = ((exponent + _EXPONENT_BIAS << 7 | planes - 1) << 15 | most - 1) << 15 | least - 1
    sizes, axes = 0, len(field.lengths)
    for length in field.lengths:
        sizes = sizes << _SIZE_BITS[axes - 1] | length - 1
    meta = (sizes << 2 | axes - 1) << 2 | TYPES[field.dtype.name] - 1
    bits = (mode << 12 | _LONG_MODE) << 84 | meta << 32 | int.from_bytes(_MAGIC, "little")
    moved = np.zeros(len(data) + 1, np.uint8)
    moved[:-1] = np.frombuffer(data, np.uint8) << 4
    moved[1:] |= np.frombuffer(data, np.uint8) >> 4
    moved[0] |= bits >> 144
    return (bits & (1 << 144) - 1).to_bytes(18, "little") + moved.tobytes()


def _is_fixed(size: int, field: Field, bits: Bits, header: int) -> bool:
    """Whether all blocks have as many bits, once the stream was found to have a size that can be."""
    least, most = bits
    lowest = header + field.blocks * least
    highest = lowest if least == most else header + field.blocks * max(least, field.longest)
    if not lowest <= 8 * size <= -(-highest // 64) * 64:
        raise CodecError(f"no stream of this chunk has {size} bytes: it is damaged", codec=field.codec)
    return least == most


def _whole(data: Buffer, read: Callable[[Array], Array], field: Field, *, fixed: bool, spare: int = 0) -> Array:
    """What a stream is read as, if it is whole.

    zfp reads on behind the end of what it is given, so there has to be something, and what is there must not matter:
    where the size does not tell, the stream is read with 0 behind it and then with 1. ``spare`` are bits of the last
    byte that are behind the end.
    """
    stream = np.zeros(len(data) + field.blocks * field.longest // 8 + 64, np.uint8)
    stream[: len(data)] = np.frombuffer(data, np.uint8)
    try:
        found = read(stream)
        stream[len(data) - 1] |= spare
        stream[len(data) : len(data) + _TELLING] = 255
        whole = fixed or read(stream).tobytes() == found.tobytes()
    except (RuntimeError, ValueError, TypeError) as error:
        raise CodecError(f"the data do not decompress: {error}", codec=field.codec) from None
    if not whole:
        raise CodecError("the data end too early: the chunk is truncated", codec=field.codec)
    return found
