"""lz4 of N5: a stream of frames, each with a checksum.

Kind: bytes to bytes. Names: none of its own; N5 blocks say ``{"type": "lz4"}``. Spec: N5 file-system specification;
lz4-java, LZ4BlockOutputStream. Other writers put other bytes under the same name: a bare LZ4 block, or numcodecs' LZ4
(its size before it). All three are read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
from numcodecs import lz4

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.codecs.lz4 import Lz4Codec
from daskzarr.codecs.xxh32 import xxh32
from daskzarr.errors import CodecError

_MAGIC = b"LZ4Block"
_HEAD = struct.Struct("<8sBIII")  # the magic, token, stored size, size, checksum
_RAW, _LZ4 = 1, 2  # methods: the token's high half
_LEAST, _USUAL, _MOST = 2**6, 2**16, 2**25  # what a frame may hold
_SEED, _CHECKED = 0x9747B28C, 0x0FFFFFFF


@dataclass(frozen=True, slots=True)
class Lz4FramesCodec:
    """Frames of up to ``frame`` bytes each, and an empty one at the end."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    frame: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Lz4FramesCodec:
        """``blockSize``: bytes in a frame. One too small is no size (z5 states a level there): the default is taken."""
        options = Options("lz4", configuration)
        frame = options.integer("blockSize", _USUAL, low=0, high=2**31 - 1)
        options.end(lenient=True)
        return cls(spec, _USUAL if frame < _LEAST else min(frame, _MOST))

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """Frames; one that would not get smaller is stored as it is."""
        view = memoryview(data)
        level = max(0, (self.frame - 1).bit_length() - 10)
        sizes = _frame_sizes(len(view), self.frame)
        parts: list[Buffer] = []
        start = 0
        for size, checksum in zip(sizes, _checksums(view, sizes), strict=True):
            part = view[start : start + size]
            packed = lz4.compress(part, 1)[4:]
            method, body = (_LZ4, packed) if len(packed) < size else (_RAW, part)
            parts += (_HEAD.pack(_MAGIC, method << 4 | level, len(body), size, checksum), body)
            start += size
        parts.append(_HEAD.pack(_MAGIC, _RAW << 4 | level, 0, 0, 0))
        return b"".join(parts)

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The frames' bytes, or those of the single block another writer put there."""
        view = memoryview(data)
        if view[:8] == _MAGIC:
            return self._decode_frames(view)
        if self.spec.size is None:
            return Lz4Codec(self.spec, 1).decode(bytes(view))
        size = (self.spec.size & 0xFFFFFFFF).to_bytes(4, "little")
        if view[:4] == size:
            try:
                return Lz4Codec(self.spec, 1).decode(bytes(view))
            except CodecError:
                pass  # a bare block may begin with these bytes too
        return Lz4Codec(self.spec, 1).decode(size + bytes(view))

    def _decode_frames(self, view: memoryview) -> bytes:
        """All frames up to the empty one, each compared with its checksum."""
        parts: list[Buffer] = []
        stated: list[int] = []
        position = done = 0
        last = -1
        while position < len(view):
            body, last, checksum, position = _read_frame(view, position)
            done += last
            if self.spec.size is not None and done > self.spec.size:
                raise wrong_size("lz4", f"at least {done}", self.spec.size)
            if last:
                parts.append(body)
                stated.append(checksum)
        if last:
            raise _damaged("the stream ends without its empty frame: the chunk is truncated")
        if self.spec.size is not None and done != self.spec.size:
            raise wrong_size("lz4", done, self.spec.size)
        found = b"".join(parts)
        if _checksums(memoryview(found), [len(part) for part in parts]) != stated:
            raise _damaged("a frame's checksum is another than that of its data: the data are damaged")
        return found


def _read_frame(view: memoryview, start: int) -> tuple[Buffer, int, int, int]:
    """A frame's data, their size, the stated checksum, and where the next frame starts."""
    body = start + _HEAD.size
    if len(view) < body:
        raise _damaged("the data end in the head of a frame: the chunk is truncated")
    magic, token, stored, size, checksum = _HEAD.unpack_from(view, start)
    method, most = token >> 4, 2 ** (10 + (token & 15))
    sound = magic == _MAGIC and method in (_RAW, _LZ4) and size <= most and (size == 0) == (stored == 0)
    if not sound or (method == _RAW and stored != size) or (size == 0 and checksum != 0):
        raise _damaged("the head of a frame makes no sense: the data are damaged")
    data = view[body : body + stored]
    if len(data) != stored:
        raise _damaged("the data end within a frame: the chunk is truncated")
    if method == _LZ4 and size:
        found = Lz4Codec(BytesSpec(size, 1), 1).decode(size.to_bytes(4, "little") + bytes(data))
        return bytes(found), size, checksum, body + stored
    return data, size, checksum, body + stored


def _frame_sizes(size: int, frame: int) -> list[int]:
    """Sizes of the frames that hold so many bytes."""
    return [frame] * (size // frame) + [size % frame] * bool(size % frame)


def _checksums(view: memoryview, sizes: list[int]) -> list[int]:
    """The checksum of each of the parts that follow on each other; neighbours of one size are done at once."""
    found: list[int] = []
    start = 0
    for size, group in groupby(sizes):
        count = len(list(group))
        rows = np.frombuffer(view, np.uint8, count * size, start).reshape(count, size)
        found += (xxh32(rows, _SEED) & np.uint32(_CHECKED)).tolist()
        start += count * size
    return found


def _damaged(message: str) -> CodecError:
    """The error for a stream that is not as it was written."""
    return CodecError(message, codec="lz4")
