"""A codec's name -> its class, loaded when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from daskzarr.errors import UnknownCodecError

_CODECS: dict[str, Any] = {
    "blosc": "blosc:BloscCodec",
    "bytes": "bytes:BytesCodec",
    "endian": "bytes:BytesCodec",  # its name in drafts of v3
    "crc32c": "crc32c:Crc32cCodec",
    "gzip": "deflate:GzipCodec",
    "numcodecs.blosc": "blosc:NumcodecsBloscCodec",
    "numcodecs.bz2": "bz2:Bz2Codec",
    "numcodecs.crc32c": "crc32c:NumcodecsCrc32cCodec",
    "numcodecs.gzip": "deflate:NumcodecsGzipCodec",
    "numcodecs.lz4": "lz4:Lz4Codec",
    "numcodecs.lzma": "lzma:LzmaCodec",
    "numcodecs.zlib": "deflate:ZlibCodec",
    "numcodecs.zstd": "zstd:NumcodecsZstdCodec",
    "transpose": "transpose:TransposeCodec",
    "zstd": "zstd:ZstdCodec",
}


def codec_class(name: str) -> Any:
    """The class registered under a name."""
    try:
        found = _CODECS[name]
    except KeyError:
        raise UnknownCodecError(
            f"codec {name!r} is not known; known are {', '.join(sorted(_CODECS))}", codec=name
        ) from None
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        found = _CODECS[name] = getattr(import_module(f"daskzarr.codecs.{module}"), attribute)
    return found
