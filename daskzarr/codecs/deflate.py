"""gzip and zlib: DEFLATE in its two wrappers.

Kind: bytes to bytes. Names: ``gzip`` (v3), ``numcodecs.gzip`` and ``numcodecs.zlib`` (v2 ids ``gzip``, ``zlib``).
Spec: Zarr v3 core codecs, gzip; RFC 1952 and 1950.
Example: ``{"name": "gzip", "configuration": {"level": 5}}``
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options
from daskzarr.codecs.bounded import decompress_members
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class GzipCodec:
    """gzip members; written with no time in the header, so that equal chunks give equal bytes."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    name: ClassVar[str] = "gzip"
    window_bits: ClassVar[int] = 31
    lowest_level: ClassVar[int] = 0
    lenient: ClassVar[bool] = False
    spec: BytesSpec
    level: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> GzipCodec:
        """``level`` 0 to 9; numcodecs' names take -1 too, zlib's own default."""
        options = Options(cls.name, configuration)
        codec = cls(spec, options.integer("level", 1, low=cls.lowest_level, high=9))
        options.end(lenient=cls.lenient)
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One member."""
        compressor = zlib.compressobj(self.level, zlib.DEFLATED, self.window_bits)
        return compressor.compress(data) + compressor.flush()

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """All members, one after the other."""
        try:
            return decompress_members(data, lambda: zlib.decompressobj(self.window_bits), self.spec.size, self.name)
        except zlib.error as error:
            raise CodecError(f"the data do not decompress: {error}", codec=self.name) from None


class NumcodecsGzipCodec(GzipCodec):
    """The same under its numcodecs name, where members it does not know mean nothing."""

    __slots__ = ()
    lowest_level: ClassVar[int] = -1
    lenient: ClassVar[bool] = True


class ZlibCodec(NumcodecsGzipCodec):
    """A zlib stream."""

    __slots__ = ()
    name: ClassVar[str] = "zlib"
    window_bits: ClassVar[int] = 15
