"""crc32, adler32, fletcher32, jenkins_lookup3: a checksum before or after the data, always verified.

Kind: bytes to bytes. Names: ``numcodecs.crc32``, ``numcodecs.adler32``, ``numcodecs.fletcher32``,
``numcodecs.jenkins_lookup3`` (v2 ids without the prefix).
Spec: numcodecs, 32-bit checksums; zlib's manual; HDF5, Fletcher-32; lookup3.c.
Example: ``{"name": "numcodecs.crc32", "configuration": {"location": "start"}}``
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numcodecs import fletcher32, jenkins

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class Crc32Codec:
    """Four bytes of CRC-32, little-endian, before the data unless ``at_end``."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    name: ClassVar[str] = "crc32"
    spec: BytesSpec
    at_end: bool

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Self:
        """``location`` of the checksum: ``start`` or ``end``."""
        options = Options(cls.name, configuration)
        codec = cls(spec, options.choice("location", {"start": False, "end": True, None: False}, "start"))
        options.end(lenient=True)
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Four bytes more."""
        return BytesSpec(None if self.spec.size is None else self.spec.size + 4, self.spec.itemsize)

    def encode(self, data: Buffer) -> Buffer:
        """The data and their checksum."""
        parts = (data, self.checksum(memoryview(data)).to_bytes(4, "little"))
        return b"".join(parts if self.at_end else parts[::-1])

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The data, once the checksum was found right."""
        view = memoryview(data)
        if len(view) < 4:
            raise CodecError(f"{len(view)} bytes are too few to hold a checksum", codec=self.name)
        body, tail = (view[:-4], view[-4:]) if self.at_end else (view[4:], view[:4])
        found, stored = self.checksum(body), int.from_bytes(tail, "little")
        if found != stored:
            raise CodecError(
                f"the checksum is {found:08x} where {stored:08x} is stored: the data are damaged", codec=self.name
            )
        if self.spec.size is not None and len(body) != self.spec.size:
            raise wrong_size(self.name, len(body), self.spec.size)
        return body

    def checksum(self, data: memoryview) -> int:
        """CRC-32 of the data."""
        return zlib.crc32(data)


class Adler32Codec(Crc32Codec):
    """The same with Adler-32."""

    __slots__ = ()
    name: ClassVar[str] = "adler32"

    def checksum(self, data: memoryview) -> int:
        """Adler-32 of the data."""
        return zlib.adler32(data)


class Fletcher32Codec(Crc32Codec):
    """HDF5's Fletcher-32, behind the data."""

    __slots__ = ()
    name: ClassVar[str] = "fletcher32"

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Self:
        """There is nothing to configure."""
        Options(cls.name, configuration).end(lenient=True)
        return cls(spec, True)

    def encode(self, data: Buffer) -> Buffer:
        """The data and their checksum, which is 0 where there are none."""
        return fletcher32.Fletcher32().encode(data) if len(data) else bytes(4)

    def checksum(self, data: memoryview) -> int:
        """Fletcher-32 of the data, as numcodecs puts it behind them."""
        return int.from_bytes(self.encode(data)[-4:], "little")


@dataclass(frozen=True, slots=True)
class JenkinsLookup3Codec(Crc32Codec):
    """Bob Jenkins' lookup3 of a prefix and the data, behind the data."""

    name: ClassVar[str] = "jenkins_lookup3"
    initval: int
    prefix: bytes

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Self:
        """``initval`` the hash starts with; ``prefix``, bytes that are hashed but not stored."""
        options = Options(cls.name, configuration)
        initval = options.integer("initval", 0, low=0, high=2**32 - 1)
        prefix = options.value("prefix", None)
        numbers = isinstance(prefix, list) and all(type(item) is int and 0 <= item <= 255 for item in prefix)
        if not (prefix is None or isinstance(prefix, (bytes, bytearray)) or numbers):
            raise options.error(f"prefix is {prefix!r}; it has to be bytes, or a list of integers from 0 to 255")
        options.end(lenient=True)
        return cls(spec, True, initval, bytes(prefix or b""))

    def checksum(self, data: memoryview) -> int:
        """lookup3 of the data."""
        return int(jenkins.jenkins_lookup3(self.prefix + data if self.prefix else data, self.initval))
