"""n5.block and n5_default: a header with the block's shape, and its cells, compressed as a whole.

Kind: array to bytes. Names: ``n5.block`` (what the model calls N5's own blocks), ``n5_default`` (v3).
Spec: N5 file-system specification; Zarr extensions, n5_default.
Example: ``{"name": "n5.block", "configuration": {"compression": {"type": "gzip", "level": 5}}}``
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any, ClassVar, NamedTuple

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, BytesToBytes, ChunkSpec, Kind, Options, wrong_size
from daskzarr.codecs.fill import Fill
from daskzarr.codecs.n5_compression import read_compression
from daskzarr.codecs.pipeline import CodecPipeline
from daskzarr.codecs.zstd import ZstdCodec
from daskzarr.errors import CodecError
from daskzarr.metadata.named_config import NamedConfig

_DEFAULT, _VARIABLE, _OBJECT = 0, 1, 2  # modes
_LIMIT = 2**31 - 1  # bytes in a block
_LARGER = 8  # a block may have so many times the cells of a chunk; what hangs over is cut off
_LIKELY = 2**8  # how many times as long as its compressed form text may well be
_DTYPES = {np.dtype(kind) for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")}
_NUL = "\0"


# ---- header


class _Header(NamedTuple):
    """What a block says of itself: ``shape`` as stored, ``elements`` (or bytes), cells from ``start``."""

    mode: int
    shape: tuple[int, ...]
    elements: int
    start: int

    @classmethod
    def read(cls, data: Buffer, ndim: int) -> _Header:
        """From the stored bytes; mode 2 has no shape."""
        mode = _word(data, ">H", 0)
        if mode > _OBJECT:
            raise _damaged(f"the header says mode {mode}; there are 0, 1 and 2")
        if mode == _OBJECT:
            return cls(mode, (), _word(data, ">I", 2), 6)
        if _word(data, ">H", 2) != ndim:
            raise _damaged(f"the header says {_word(data, '>H', 2)} axes where the array has {ndim}")
        shape = tuple(_word(data, ">I", 4 + 4 * axis) for axis in range(ndim))
        start = 4 + 4 * ndim
        if mode == _DEFAULT:
            return cls(mode, shape, math.prod(shape), start)
        return cls(mode, shape, _word(data, ">I", start), start + 4)


def _word(data: Buffer, form: str, offset: int) -> int:
    """A number in the header."""
    try:
        (value,) = struct.unpack_from(form, data, offset)
    except struct.error:
        raise _damaged("the data end in the block's header: the chunk is truncated") from None
    return int(value)


def _check_spec(spec: ChunkSpec, options: Options) -> None:
    """Refuse chunks of a shape that no header can state, or NumPy not show."""
    if any(length > 0xFFFFFFFF for length in spec.shape):
        raise options.error(f"no block's header can state the shape {spec.shape}")
    try:
        np.empty((0,) * len(spec.shape))
    except ValueError:
        raise options.error(f"{len(spec.shape)} axes are too many") from None


def _check_shape(shape: tuple[int, ...], spec: ChunkSpec, itemsize: int) -> None:
    """Refuse a stated shape that no chunk like this can have, before memory is taken for it."""
    cells = math.prod(shape)
    if cells == 0 or cells > _LARGER * math.prod(spec.shape) or cells * itemsize > _LIMIT:
        raise _damaged(f"the header says a block of shape {shape} where chunks have {spec.shape}")


def _check_block(array: Array, spec: ChunkSpec) -> None:
    """Refuse to write a block that is no chunk, nor the part of one inside its array."""
    lengths = zip(array.shape, spec.shape, strict=False)
    if array.ndim != len(spec.shape) or not all(0 < length <= most for length, most in lengths):
        raise CodecError(
            f"a block of shape {array.shape} cannot be stored as a chunk of shape {spec.shape}", codec="n5.block"
        )


def _fit(cells: Array, spec: ChunkSpec) -> Array:
    """The block at the origin of a whole chunk: the rest is fill, what hangs over is cut off."""
    if cells.shape == spec.shape:
        return cells
    out = _empty_chunk(spec)
    common = tuple(map(slice, map(min, cells.shape, spec.shape)))
    out[common] = cells[common]
    return out


def _empty_chunk(spec: ChunkSpec) -> Array:
    """A chunk of fill."""
    try:
        return Fill(spec.dtype, spec.fill_value).array(spec.shape)
    except (MemoryError, ValueError):
        raise CodecError(f"a chunk of shape {spec.shape} does not fit into memory", codec="n5.block") from None


def _damaged(message: str) -> CodecError:
    """The error for a block that is not as it was written."""
    return CodecError(f"{message}; the chunk is damaged", codec="n5.block")


# ---- N5's own blocks


@dataclass(frozen=True, slots=True)
class N5BlockCodec:
    """A block of an N5 dataset, shown with its axes reversed: then its cells are in C order.

    ``stored`` is the dtype with the byte order of the stored bytes, ``text`` says what objects are: strings, or one
    run of bytes. Blocks at the array's edge are written without the part that hangs over it.
    """

    kind: ClassVar[Kind] = "array_to_bytes"
    truncates: ClassVar[bool] = True
    spec: ChunkSpec
    stored: np.dtype[Any]
    compressor: BytesToBytes | None
    text: bool

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> N5BlockCodec:
        """``compression`` as in the dataset's document; ``dataType``, "string" or "object", for objects only."""
        options = Options("n5.block", configuration)
        compressor = read_compression(options.value("compression"), spec.dtype.itemsize if spec.dtype != object else 1)
        text = False
        if spec.dtype == object:
            text = options.choice("dataType", {"string": True, "object": False})
        elif spec.dtype not in _DTYPES:
            raise options.error(f"N5 cannot store dtype {spec.dtype}")
        options.end()
        _check_spec(spec, options)
        return cls(spec, spec.dtype.newbyteorder(">"), compressor, text)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """A whole chunk, or less of it at the array's edge."""
        _check_block(array, self.spec)
        shape = array.shape[::-1]
        head = struct.pack(f">HH{len(shape)}I", _DEFAULT, len(shape), *shape)
        if self.spec.dtype != object:
            cells: Buffer = np.ascontiguousarray(array, self.stored).reshape(-1).view(np.uint8).data
        elif self.text:
            cells = _join(array.reshape(-1).tolist())
            head = struct.pack(f">HH{len(shape)}II", _VARIABLE, len(shape), *shape, len(cells) & 0xFFFFFFFF)
        else:
            cells = _only(array.reshape(-1).tolist())
            head = struct.pack(">HI", _OBJECT, len(cells) & 0xFFFFFFFF)
        if len(cells) > _LIMIT:
            raise CodecError(
                f"{len(cells)} bytes are beyond N5's limit of 2^31 - 1; make chunks smaller", codec="n5.block"
            )
        return b"".join((head, cells if self.compressor is None else self.compressor.encode(cells)))

    def decode(self, data: Buffer) -> Array:
        """A new array of the whole chunk. No bytes at all are a block that is not there."""
        if len(data) == 0:
            return _empty_chunk(self.spec)
        view = memoryview(data)
        header = _Header.read(view, len(self.spec.shape))
        payload = view[header.start :]
        if self.spec.dtype != object:
            return self._decode_numbers(header, payload)
        return self._decode_strings(header, payload) if self.text else self._decode_bytes(header, payload)

    def _decode_numbers(self, header: _Header, payload: memoryview) -> Array:
        """Cells of one size."""
        if header.mode == _OBJECT:
            raise _damaged("the header says an object where numbers have to be")
        shape = header.shape[::-1]
        _check_shape(shape, self.spec, self.stored.itemsize)
        if header.elements != math.prod(shape):
            raise _damaged(f"the header says {header.elements} elements in a block of shape {shape}")
        block = np.empty(shape, self.stored)
        found = self._unpack(payload, block.nbytes, block)
        if found is not block:
            return _fit(np.frombuffer(found, self.stored).reshape(shape).astype(self.spec.dtype), self.spec)
        if not self.stored.isnative:
            block = block.byteswap(inplace=True).view(self.spec.dtype)
        return _fit(block, self.spec)

    def _decode_strings(self, header: _Header, payload: memoryview) -> Array:
        """Text, each string with a NUL behind it."""
        if header.mode == _OBJECT:
            raise _damaged("the header says an object where strings have to be")
        shape = header.shape[::-1]
        _check_shape(shape, self.spec, 1)
        found = bytes(self._unpack(payload, header.elements))
        if not found.endswith(b"\0") or found.count(0) != math.prod(shape):
            raise _damaged(f"the data are not one string for each cell of a block of shape {shape}")
        try:
            cells = str(found[:-1], "utf-8").split(_NUL)
        except UnicodeDecodeError as error:
            raise _damaged(f"the strings are no UTF-8: {error.reason}") from None
        block = np.empty(len(cells), object)
        block[:] = cells
        return _fit(block.reshape(shape), self.spec)

    def _decode_bytes(self, header: _Header, payload: memoryview) -> Array:
        """One run of bytes, shown in the first cell."""
        out = _empty_chunk(self.spec)
        out[(0,) * out.ndim] = bytes(self._unpack(payload, header.elements))
        return out

    def _unpack(self, payload: memoryview, size: int, out: Array | None = None) -> Any:
        """So many bytes out of the payload; in ``out`` where the compressor can."""
        if size > _LIMIT:
            raise _damaged(f"the header says {size} bytes, beyond N5's limit")
        found: Any = payload
        if self.compressor is not None and size == 0 and payload == self.compressor.encode(b""):
            found = b""  # some cannot read what they write for no bytes at all
        elif self.compressor is not None:
            # Zstandard sets memory aside before it looks at the data: not so much on the header's word alone.
            sure = out is not None or size <= _LIKELY * len(payload) or not isinstance(self.compressor, ZstdCodec)
            spec = BytesSpec(size if sure else None, self.stored.itemsize)
            found = replace(self.compressor, spec=spec).decode(payload, out)  # type: ignore[type-var]
        if found is not out and len(found) != size:
            raise wrong_size("n5.block", len(found), size)
        return found


def _join(cells: list[Any]) -> bytes:
    """Strings as N5 stores them."""
    if not all(isinstance(cell, str) for cell in cells):
        raise CodecError("a cell of an array of strings holds no string", codec="n5.block")
    if any(_NUL in cell for cell in cells):
        raise CodecError("N5 cannot store a string that holds the character NUL", codec="n5.block")
    try:
        return _NUL.join((*cells, "")).encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"a string cannot be written as UTF-8: {error.reason}", codec="n5.block") from None


def _only(cells: list[Any]) -> bytes:
    """The first cell's bytes, if no other has any."""
    if not all(isinstance(cell, bytes) for cell in cells):
        raise CodecError("a cell of an array of bytes holds no bytes", codec="n5.block")
    if any(cells[1:]):
        raise CodecError("N5 stores one run of bytes a block: only its first cell may hold any", codec="n5.block")
    return bytes(cells[0])


# ---- blocks in Zarr v3


@dataclass(frozen=True, slots=True)
class N5DefaultCodec:
    """Blocks of numbers in a v3 array, whose codecs say how the cells behind the header are stored."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    codecs: tuple[NamedConfig, ...]
    whole: CodecPipeline = field(repr=False)

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> N5DefaultCodec:
        """``codecs``: a transpose that reverses all axes, ``bytes`` in big-endian order, at most one on bytes."""
        options = Options("n5_default", configuration)
        listed = options.value("codecs")
        options.end()
        if not isinstance(listed, list) or len(listed) not in (2, 3):
            raise options.error("codecs has to be a list of 'transpose', 'bytes', and at most one codec on bytes")
        if spec.dtype not in _DTYPES:
            raise options.error(f"N5 cannot store dtype {spec.dtype}")
        places = ((item, f"codecs[{i}]") for i, item in enumerate(listed))
        codecs = tuple(starmap(NamedConfig.read, places))
        if [codec.name for codec in codecs[:2]] != ["transpose", "bytes"]:
            raise options.error("the first codecs have to be 'transpose' and 'bytes'")
        whole = CodecPipeline.resolve(codecs, spec)
        if len(whole.compressors) != len(codecs) - 2:
            raise options.error(f"codec {codecs[2].name!r} is not known, or is none on bytes")
        if whole.axes != tuple(range(len(spec.shape)))[::-1]:
            raise options.error("transpose has to reverse all axes")
        if codecs[1].configuration.get("endian", "big") != "big":
            raise options.error("endian has to be 'big'")
        _check_spec(spec, options)
        return cls(spec, codecs, whole)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The shape, in the array's own order, and the cells."""
        _check_block(array, self.spec)
        head = struct.pack(f">HH{array.ndim}I", _DEFAULT, array.ndim, *array.shape)
        return head + bytes(self._pipeline(array.shape).encode(array))

    def decode(self, data: Buffer) -> Array:
        """A new array of the whole chunk, whatever part of it the block has."""
        view = memoryview(data)
        header = _Header.read(view, len(self.spec.shape))
        if header.mode != _DEFAULT:
            raise _damaged(f"the header says mode {header.mode}, which n5_default does not know")
        _check_shape(header.shape, self.spec, self.spec.dtype.itemsize)
        return _fit(self._pipeline(header.shape).decode(view[header.start :]), self.spec)

    def _pipeline(self, shape: tuple[int, ...]) -> CodecPipeline:
        """The codecs for a block of this shape."""
        if shape == self.spec.shape:
            return self.whole
        return CodecPipeline.resolve(self.codecs, replace(self.spec, shape=shape))
