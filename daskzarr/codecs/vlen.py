"""vlen-utf8, vlen-bytes, vlen-array: a count, then each element's length in bytes and its bytes.

Kind: array to bytes. Names: ``vlen-utf8``, ``vlen-bytes`` (v3), ``numcodecs.vlen-utf8``, ``numcodecs.vlen-bytes``,
``numcodecs.vlen-array`` (v2 ids without the prefix). Spec: Zarr extensions, vlen-utf8 and vlen-bytes; numcodecs, VLen.
Example: ``{"name": "vlen-utf8"}``
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numcodecs import vlen

from daskzarr.codecs.array_filter import cast_numbers, native, number_dtype
from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options
from daskzarr.errors import CodecError

_LENGTH = struct.Struct("<I")
_MOST = 2**32 - 1
_LONGEST = 2**31 - 1  # numcodecs counts an element's bytes in a C int, and writes elsewhere where that is too small
_FIRST, _TOGETHER, _ROOM = 64, 4096, 2**18  # elements encoded together: at first, at most, and their size at most


@dataclass(frozen=True, slots=True)
class VlenUtf8Codec:
    """Texts, in UTF-8."""

    kind: ClassVar[Kind] = "array_to_bytes"
    name: ClassVar[str] = "vlen-utf8"
    spec: ChunkSpec

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> Self:
        """There is nothing to configure."""
        options = Options(cls.name, configuration)
        options.end()
        _check_spec(options, spec)
        return cls(spec)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The texts; anything else is an error, ``None`` included, which could not be told from the empty one."""
        flat = array.reshape(-1)
        try:
            return _encode_in_parts(flat, self._encode_some)
        except TypeError:
            raise _wrong_element(self.name, flat, str) from None
        except UnicodeEncodeError as error:
            raise CodecError(f"a text cannot be written as UTF-8: {error}", codec=self.name) from None

    def _encode_some(self, texts: Array) -> tuple[Buffer, int]:
        """Some texts, and how many characters they have together."""
        items = texts.tolist()
        characters = len("".join(items))
        if characters > _LONGEST // 4:
            _check_lengths(self.name, (item.encode() for item in items))
        try:
            return vlen.VLenUTF8().encode(texts), characters
        except TypeError:  # texts of a subclass, such as NumPy's
            return vlen.VLenUTF8().encode(list(map(str.__str__, items))), characters

    def decode(self, data: Buffer) -> Array:
        """The texts, if there are as many as the chunk has cells and nothing else."""
        _check_count(self.name, data, self.spec)
        try:
            found: Array = vlen.VLenUTF8().decode(data)
        except ValueError as error:
            raise CodecError(f"the data do not decode: {error}", codec=self.name) from None
        _check_end(self.name, data, found, _utf8_size(found, long=len(data) > 1000 * len(found)))
        return found.reshape(self.spec.shape)


class VlenBytesCodec(VlenUtf8Codec):
    """Byte strings."""

    __slots__ = ()
    name: ClassVar[str] = "vlen-bytes"

    def encode(self, array: Array) -> Buffer:
        """The byte strings; anything else is an error, ``None`` included."""
        flat = array.reshape(-1)
        try:
            return _encode_in_parts(flat, self._encode_some)
        except TypeError:
            raise _wrong_element(self.name, flat, bytes, bytearray, memoryview) from None

    def _encode_some(self, strings: Array) -> tuple[Buffer, int]:
        """Some byte strings, and how many bytes they have together."""
        items: Any = strings
        if set(map(type, strings.tolist())) != {bytes}:
            items = [_as_bytes(item) for item in strings]
        size = sum(map(len, items))
        if size > _LONGEST:
            _check_lengths(self.name, items)
        return vlen.VLenBytes().encode(items), size

    def decode(self, data: Buffer) -> Array:
        """The byte strings, if there are as many as the chunk has cells and nothing else."""
        _check_count(self.name, data, self.spec)
        try:
            found: Array = vlen.VLenBytes().decode(data)
        except ValueError as error:
            raise CodecError(f"the data do not decode: {error}", codec=self.name) from None
        _check_end(self.name, data, found, sum(map(len, found.tolist())))
        return found.reshape(self.spec.shape)


@dataclass(frozen=True, slots=True)
class VlenArrayCodec:
    """Arrays of one axis. A cell with the array's fill value, which may be no array, is stored as an empty one."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    dtype: np.dtype[Any]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> VlenArrayCodec:
        """``dtype`` of the arrays."""
        options = Options("vlen-array", configuration)
        dtype = number_dtype(options, "dtype")
        options.end(lenient=True)
        _check_spec(options, spec)
        return cls(spec, dtype)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The arrays; one whose numbers this dtype cannot hold is an error."""
        flat = array.reshape(-1)
        parts = [_LENGTH.pack(len(flat))]
        for position, item in enumerate(flat):
            memory = self._memory(position, item)
            parts += (_LENGTH.pack(len(memory)), memory)
        return b"".join(parts)

    def decode(self, data: Buffer) -> Array:
        """The arrays, if there are as many as the chunk has cells and nothing else."""
        _check_count("vlen-array", data, self.spec)
        out = np.empty(math.prod(self.spec.shape), object)
        view, start = memoryview(data), _LENGTH.size
        for position in range(len(out)):
            header = view[start : start + _LENGTH.size]
            size = int.from_bytes(header, "little")
            start += _LENGTH.size
            if start + size > len(view) or size % self.dtype.itemsize:
                raise CodecError(
                    f"element {position} is cut off, or no whole number of {self.dtype}: the data are damaged",
                    codec="vlen-array",
                )
            out[position] = np.frombuffer(view[start : start + size], self.dtype).astype(native(self.dtype))
            start += size
        _check_end("vlen-array", data, out, start - _LENGTH.size * (len(out) + 1))
        return out.reshape(self.spec.shape)

    def _memory(self, position: int, item: Any) -> bytes:
        """The bytes of one array."""
        if isinstance(item, (list, tuple)):
            item = _as_array(item)
        elif not isinstance(item, np.ndarray) and _same(item, self.spec.fill_value):
            return b""
        memory = _exact(item, self.dtype) if isinstance(item, np.ndarray) else None
        if memory is None or len(memory) > _MOST:
            kind = f"an array of {item.dtype} and shape {item.shape}" if isinstance(item, np.ndarray) else type(item)
            raise CodecError(
                f"element {position} of a chunk has to be an array of one axis whose numbers {self.dtype} can hold; "
                f"it is {kind}",
                codec="vlen-array",
            )
        return memory


def _encode_in_parts(flat: Array, encode: Callable[[Array], tuple[Buffer, int]]) -> bytes:
    """Elements encoded some at a time, so that what was just looked at is still in the processor's cache."""
    parts: list[Buffer] = [_LENGTH.pack(len(flat))]
    start, step = 0, _FIRST
    while start < len(flat):
        data, size = encode(flat[start : start + step])
        parts.append(memoryview(data)[_LENGTH.size :])
        start += step
        step = min(max(_ROOM * step // (size + 1), 1), _TOGETHER)
    return b"".join(parts)


def _utf8_size(texts: Array, *, long: bool) -> int:
    """The bytes of all texts; few long ones are looked at one by one, many short ones together."""
    step = 1 if long else 512  # what was just looked at is still in the processor's cache
    joined = ("".join(texts[start : start + step].tolist()) for start in range(0, len(texts), step))
    return sum(len(text) if text.isascii() else len(text.encode()) for text in joined)


def _as_bytes(item: Any) -> bytes:
    """A byte string of any kind."""
    if not isinstance(item, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(item)


def _as_array(items: Any) -> Array | None:
    """A list of numbers."""
    try:
        return np.array(items)
    except ValueError:  # lists of several lengths
        return None


def _exact(array: Array, dtype: np.dtype[Any]) -> bytes | None:
    """The memory of an array of one axis in a dtype, if that changes no number."""
    if array.ndim != 1 or array.dtype.kind not in "biufc":
        return None
    with np.errstate(all="ignore"):
        found = cast_numbers(array, dtype)
    same = found.dtype == array.dtype or np.array_equal(found, array, equal_nan=True)
    return found.astype(dtype, copy=False).tobytes() if same else None


def _same(item: Any, fill: Any) -> bool:
    """Whether an element is the fill value, of the same type."""
    return item is fill or (type(item) is type(fill) and bool(item == fill))


def _wrong_element(codec: str, flat: Array, *kinds: type) -> CodecError:
    """The error for the first element that is of none of the types."""
    position, item = next((i, item) for i, item in enumerate(flat) if not isinstance(item, kinds))
    return CodecError(
        f"element {position} of a chunk is of type {type(item).__name__} where {kinds[0].__name__} has to be; "
        f"put {kinds[0]()!r} where there is nothing. Text is stored with dtype=str, bytes with dtype=bytes, other "
        'objects in Zarr v2 with filters=[{"id": "json2"}]',
        codec=codec,
    )


def _check_spec(options: Options, spec: ChunkSpec) -> None:
    """Refuse arrays of anything but objects, and more of them than can be counted."""
    if spec.dtype != object:
        raise options.error(f"it stores objects, and the array has the dtype {spec.dtype}")
    if math.prod(spec.shape) > _MOST:
        raise options.error(f"a chunk of shape {spec.shape} has more than 2^32 - 1 elements")


def _check_lengths(codec: str, items: Any) -> None:
    """Refuse elements too long for numcodecs."""
    longest = max(map(len, items))
    if longest > _LONGEST:
        raise CodecError(f"an element has {longest} bytes; 2^31 - 1 is the most", codec=codec)


def _check_count(codec: str, data: Buffer, spec: ChunkSpec) -> None:
    """Refuse data that say, or are too few to hold, another number of elements than the chunk has."""
    count, size = math.prod(spec.shape), len(data)
    stated = int.from_bytes(data[: _LENGTH.size], "little")
    if size < _LENGTH.size * (count + 1) or stated != count:
        raise CodecError(
            f"{size} bytes that begin with a count of {stated} cannot hold {count} elements: the data are damaged",
            codec=codec,
        )


def _check_end(codec: str, data: Buffer, found: Array, size: int) -> None:
    """Refuse data that go on behind the last element."""
    rest = len(data) - _LENGTH.size * (len(found) + 1) - size
    if rest:
        raise CodecError(f"there are {rest} bytes behind the last element: the data are damaged", codec=codec)
