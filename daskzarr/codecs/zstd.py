"""zstd: Zstandard.

Kind: bytes to bytes. Names: ``zstd`` (v3), ``numcodecs.zstd`` (v2 id ``zstd``). Spec: RFC 8878; Zarr extensions, zstd.
Example: ``{"name": "zstd", "configuration": {"level": 0, "checksum": false}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import zstd

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError

_MAGIC = b"\x28\xb5\x2f\xfd"
_MOST_PER_BYTE = 2**15  # a block of 128 KiB takes four bytes at least


@dataclass(frozen=True, slots=True)
class ZstdCodec:
    """Zstandard frames."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    lenient: ClassVar[bool] = False
    spec: BytesSpec
    level: int
    checksum: bool

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> ZstdCodec:
        """``level`` -131072 to 22, 0 being the library's default. GDAL writes ``checksum`` as "NO"."""
        options = Options("zstd", configuration)
        level = options.integer("level", 0, low=-131072, high=22)
        checksum = options.choice("checksum", {False: False, True: True, "NO": False, "YES": True}, False)
        options.end(lenient=cls.lenient)
        return cls(spec, level, checksum)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One frame that states its content's size."""
        return zstd.compress(data, self.level, self.checksum)  # type: ignore[no-any-return]

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """All frames. One that states its size goes straight to ``out``."""
        size = self.spec.size
        stated = _stated_size(data)
        most = _MOST_PER_BYTE * len(data) if size is None else size
        if stated is not None and stated > most:
            raise wrong_size("zstd", stated, size or f"at most {most}")
        try:
            if out is not None and stated == size:
                zstd.decompress(data, out)
                return out
            if size is not None:
                # More than fits is refused before it is unpacked, so that what follows takes no more memory than this.
                zstd.decompress(data, bytearray(size))
            found: bytes = zstd.decompress(data)
        except (RuntimeError, ValueError) as error:
            raise CodecError(f"the data do not decompress: {error}", codec="zstd") from None
        if size is not None and len(found) != size:
            raise wrong_size("zstd", len(found), size)
        return found


class NumcodecsZstdCodec(ZstdCodec):
    """The same under its numcodecs name, where members it does not know mean nothing."""

    __slots__ = ()
    lenient: ClassVar[bool] = True


def _stated_size(data: Buffer) -> int | None:
    """The content size in the first frame's header, if it states one (RFC 8878, 3.1.1.1).

    >>> _stated_size(bytes.fromhex("28b52ffd2402110000010246be8639"))
    2
    """
    if len(data) < 6 or data[:4] != _MAGIC:
        return None
    descriptor = data[4]
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    length = (1 if single else 0, 2, 4, 8)[flag]
    if not length:
        return None
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    return int.from_bytes(data[start : start + length], "little") + (256 if length == 2 else 0)
