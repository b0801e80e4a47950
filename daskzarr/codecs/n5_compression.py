"""The ``compression`` of an N5 dataset -> the codec on bytes that it stands for (N5 file-system specification)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, Buffer, BytesSpec, BytesToBytes, Options
from daskzarr.codecs.blosc import NumcodecsBloscCodec
from daskzarr.codecs.bz2 import Bz2Codec
from daskzarr.codecs.deflate import NumcodecsGzipCodec, ZlibCodec
from daskzarr.codecs.lz4_frames import Lz4FramesCodec
from daskzarr.codecs.lzma import LzmaCodec
from daskzarr.codecs.zstd import NumcodecsZstdCodec
from daskzarr.errors import UnknownCodecError


def read_compression(compression: Any, itemsize: int) -> BytesToBytes | None:
    """The codec of a ``compression`` object; None stands for raw. Parameters it does not know mean nothing.

    >>> read_compression({"type": "bzip2", "blockSize": 5, "novel": 1}, 2)
    Bz2Codec(spec=BytesSpec(size=None, itemsize=2), level=5)
    """
    name = compression.get("type") if isinstance(compression, Mapping) else None
    if not isinstance(name, str) or name not in _COMPRESSIONS:
        known = ", ".join(_COMPRESSIONS)
        raise UnknownCodecError(f"N5 compression {name!r} is not supported; {known} are", codec=str(name))
    return _COMPRESSIONS[name](Options(name, compression), BytesSpec(None, itemsize))


class N5GzipCodec(NumcodecsGzipCodec):
    """gzip, read as whichever of gzip and zlib the bytes are: what the document says of it is not always so."""

    __slots__ = ()

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """All members, one after the other."""
        kind = NumcodecsGzipCodec if data[:2] == b"\x1f\x8b" else ZlibCodec
        return kind(self.spec, self.level).decode(data, out)


class N5ZlibCodec(N5GzipCodec):
    """The same, written as zlib."""

    __slots__ = ()
    name: ClassVar[str] = "zlib"
    window_bits: ClassVar[int] = 15


def _gzip(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``level`` -1 (the library's own default) to 9, ``useZlib``."""
    kind = options.choice("useZlib", {False: N5GzipCodec, True: N5ZlibCodec}, False)
    codec: BytesToBytes = kind(spec, options.integer("level", -1, low=-1, high=9))
    return codec


def _zlib(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``level`` as of gzip."""
    return N5ZlibCodec(spec, options.integer("level", -1, low=-1, high=9))


def _bzip2(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``blockSize`` 1 to 9."""
    return Bz2Codec(spec, options.integer("blockSize", 9, low=1, high=9))


def _xz(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``preset`` 0 to 9."""
    preset = options.integer("preset", 6, low=0, high=9)
    return LzmaCodec.from_config({"format": 1, "check": -1, "preset": preset, "filters": None}, spec)


def _lz4(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``blockSize``: bytes in a frame."""
    return Lz4FramesCodec.from_config({"blockSize": options.value("blockSize", 2**16)}, spec)


def _zstd(options: Options, spec: BytesSpec) -> BytesToBytes:
    """``level``."""
    return NumcodecsZstdCodec.from_config({"level": options.value("level", 3)}, spec)


def _blosc(options: Options, spec: BytesSpec) -> BytesToBytes:
    """numcodecs' spelling, with defaults of N5's own."""
    defaults = {"cname": "blosclz", "clevel": 6, "shuffle": 0, "blocksize": 0}
    return NumcodecsBloscCodec.from_config({k: options.value(k, v) for k, v in defaults.items()}, spec)


_COMPRESSIONS: dict[str, Callable[[Options, BytesSpec], BytesToBytes | None]] = {
    "raw": lambda options, spec: None,
    "gzip": _gzip,
    "zlib": _zlib,
    "bzip2": _bzip2,
    "xz": _xz,
    "lz4": _lz4,
    "zstd": _zstd,
    "blosc": _blosc,
}
