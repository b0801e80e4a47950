"""lz4: a four-byte size and one LZ4 block.

Kind: bytes to bytes. Names: ``numcodecs.lz4`` (v2 id ``lz4``). Spec: numcodecs, LZ4; the LZ4 block format.
Example: ``{"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import lz4

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class Lz4Codec:
    """numcodecs' framing of an LZ4 block."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    acceleration: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Lz4Codec:
        """``acceleration`` from 1: higher is faster and larger."""
        options = Options("lz4", configuration)
        codec = cls(spec, options.integer("acceleration", 1, low=-(2**31), high=2**31 - 1))
        options.end(lenient=True)
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One block."""
        return lz4.compress(data, self.acceleration)  # type: ignore[no-any-return]

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The block; its stated size is compared before any memory is taken."""
        stated = int.from_bytes(data[:4], "little")
        if self.spec.size is not None and stated != self.spec.size:
            raise wrong_size("lz4", stated, self.spec.size)
        if stated > 255 * len(data):  # no LZ4 block can grow more
            raise wrong_size("lz4", stated, f"at most {255 * len(data)}")
        try:
            found = lz4.decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise CodecError(f"the data do not decompress: {error}", codec="lz4") from None
        return found if out is None else out
