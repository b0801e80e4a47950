"""bz2: bzip2.

Kind: bytes to bytes. Names: ``numcodecs.bz2`` (v2 id ``bz2``). Spec: numcodecs, BZ2.
Example: ``{"name": "numcodecs.bz2", "configuration": {"level": 1}}``
"""

from __future__ import annotations

import bz2
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options
from daskzarr.codecs.bounded import decompress_members
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class Bz2Codec:
    """bzip2 streams."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    level: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Bz2Codec:
        """``level`` 1 to 9."""
        options = Options("bz2", configuration)
        codec = cls(spec, options.integer("level", 1, low=1, high=9))
        options.end(lenient=True)
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One stream."""
        return bz2.compress(data, self.level)

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """All streams, one after the other."""
        try:
            return decompress_members(data, bz2.BZ2Decompressor, self.spec.size, "bz2")
        except (OSError, ValueError) as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"the data do not decompress: {error}", codec="bz2") from None
