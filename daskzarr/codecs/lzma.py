"""lzma: the xz, legacy and raw forms of LZMA.

Kind: bytes to bytes. Names: ``numcodecs.lzma`` (v2 id ``lzma``). Spec: numcodecs, LZMA; the xz file format.
Example: ``{"name": "numcodecs.lzma", "configuration": {"format": 1, "check": -1, "preset": null, "filters": null}}``
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options
from daskzarr.codecs.bounded import decompress_members
from daskzarr.errors import CodecError

_MEMORY = 2**30  # a header may ask for a dictionary of 4 GB


@dataclass(frozen=True, slots=True)
class LzmaCodec:
    """LZMA, as liblzma's own parameters describe it."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    format: int
    check: int
    preset: int | None
    filters: Any = field(hash=False)

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> LzmaCodec:
        """``format`` 1 (xz), 2 (legacy) or 3 (raw, which needs ``filters``)."""
        options = Options("lzma", configuration)
        codec = cls(
            spec,
            options.integer("format", 1, low=1, high=3),
            options.integer("check", -1, low=-1, high=15),
            options.value("preset", None),
            options.value("filters", None),
        )
        options.end(lenient=True)
        try:
            codec.encode(b"")
        except (lzma.LZMAError, OverflowError, TypeError, ValueError, KeyError) as error:
            raise options.error(f"the configuration means nothing to liblzma: {error}") from None
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One stream."""
        return lzma.compress(data, format=self.format, check=self.check, preset=self.preset, filters=self.filters)

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """All streams, one after the other."""
        raw = self.format == lzma.FORMAT_RAW

        def new() -> lzma.LZMADecompressor:
            return lzma.LZMADecompressor(self.format, None if raw else _MEMORY, self.filters if raw else None)

        try:
            return decompress_members(data, new, self.spec.size, "lzma")
        except (lzma.LZMAError, EOFError) as error:
            raise CodecError(f"the data do not decompress: {error}", codec="lzma") from None
