"""crc32c: a checksum after the data, always verified.

Kind: bytes to bytes. Names: ``crc32c`` (v3), ``numcodecs.crc32c`` (v2 id ``crc32c``).
Spec: Zarr v3 core codecs, crc32c; RFC 3720.
Example: ``{"name": "crc32c"}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from daskzarr.checksum import crc32c
from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class Crc32cCodec:
    """Four bytes of CRC-32C, little-endian, behind the data."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    lenient: ClassVar[bool] = False
    spec: BytesSpec

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Crc32cCodec:
        """There is nothing to configure; v2's ``location`` can only be the end."""
        options = Options("crc32c", configuration)
        options.choice("location", {"end": "end"}, "end")
        options.end(lenient=cls.lenient)
        return cls(spec)

    def encoded_spec(self) -> BytesSpec:
        """Four bytes more."""
        return BytesSpec(None if self.spec.size is None else self.spec.size + 4, self.spec.itemsize)

    def encode(self, data: Buffer) -> Buffer:
        """The data and their checksum."""
        return b"".join((data, crc32c(data).to_bytes(4, "little")))

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The data, once the checksum was found right."""
        view = memoryview(data)
        if len(view) < 4:
            raise CodecError(f"{len(view)} bytes are too few to hold a checksum", codec="crc32c")
        body, stored = view[:-4], int.from_bytes(view[-4:], "little")
        found = crc32c(body)
        if found != stored:
            raise CodecError(
                f"the checksum is {found:08x} where {stored:08x} is stored: the data are damaged", codec="crc32c"
            )
        return body


class NumcodecsCrc32cCodec(Crc32cCodec):
    """The same under its numcodecs name, where members it does not know mean nothing."""

    __slots__ = ()
    lenient: ClassVar[bool] = True
