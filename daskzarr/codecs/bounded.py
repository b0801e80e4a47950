"""Streams in members -> their bytes, never more of them than there have to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daskzarr.codecs.base import Buffer, wrong_size
from daskzarr.errors import CodecError


def decompress_members(data: Buffer, new: Callable[[], Any], size: int | None, codec: str) -> bytes:
    """Decompress one member after the other and stop where more comes out than ``size`` bytes.

    ``new`` makes a decompressor of the standard library (zlib, bz2 or lzma). What a stream says about its size is not
    believed: memory grows with what really comes out.
    """
    parts: list[bytes] = []
    done = 0
    rest: Buffer = data
    while True:
        decompressor = new()
        limit = -1 if size is None else size - done + 1
        if isinstance(limit, int) and hasattr(decompressor, "unconsumed_tail"):
            part = decompressor.decompress(rest, max(limit, 0))
        else:
            part = decompressor.decompress(bytes(rest), limit)
        parts.append(part)
        done += len(part)
        if size is not None and done > size:
            raise wrong_size(codec, f"more than {size}", size)
        if not decompressor.eof:
            raise CodecError("the data end in the middle of a compressed stream: the chunk is truncated", codec=codec)
        rest = decompressor.unused_data
        if not rest:
            break
    if size is not None and done != size:
        raise wrong_size(codec, done, size)
    return parts[0] if len(parts) == 1 else b"".join(parts)
