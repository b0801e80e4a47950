"""A codec's name -> its class, loaded when it is first asked for: ours, a package's, or one a user registered."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from daskzarr.errors import UnknownCodecError, short

ENTRY_POINTS = "daskzarr.codecs"

_CODECS: dict[str, Any] = {
    "bitround": "bitround:BitroundCodec",
    "blosc": "blosc:BloscCodec",
    "bytes": "bytes:BytesCodec",
    "cast_value": "cast_value:CastValueCodec",
    "conditional": "conditional:ConditionalCodec",
    "crc32c": "crc32c:Crc32cCodec",
    "endian": "bytes:BytesCodec",  # its name in drafts of v3
    "gzip": "deflate:GzipCodec",
    "n5_default": "n5_block:N5DefaultCodec",
    "packbits": "packbits:PackbitsCodec",
    "reshape": "reshape:ReshapeCodec",
    "scale_offset": "scale_offset:ScaleOffsetCodec",
    "sharding_indexed": "sharding:ShardingCodec",
    "transpose": "transpose:TransposeCodec",
    "vlen-bytes": "vlen:VlenBytesCodec",
    "vlen-utf8": "vlen:VlenUtf8Codec",
    "zfp": "zfp:ZfpCodec",
    "zstd": "zstd:ZstdCodec",
    # The names of numcodecs: v2's ids, and what zarr-python calls them in v3.
    "numcodecs.adler32": "checksums:Adler32Codec",
    "numcodecs.astype": "astype:AstypeCodec",
    "numcodecs.base64": "base64:Base64Codec",
    "numcodecs.bitround": "bitround:NumcodecsBitroundCodec",
    "numcodecs.blosc": "blosc:NumcodecsBloscCodec",
    "numcodecs.bz2": "bz2:Bz2Codec",
    "numcodecs.categorize": "categorize:CategorizeCodec",
    "numcodecs.crc32": "checksums:Crc32Codec",
    "numcodecs.crc32c": "crc32c:NumcodecsCrc32cCodec",
    "numcodecs.delta": "delta:DeltaCodec",
    "numcodecs.fixedscaleoffset": "fixedscaleoffset:FixedScaleOffsetCodec",
    "numcodecs.fletcher32": "checksums:Fletcher32Codec",
    "numcodecs.gzip": "deflate:NumcodecsGzipCodec",
    "numcodecs.jenkins_lookup3": "checksums:JenkinsLookup3Codec",
    "numcodecs.json2": "objects:JsonCodec",
    "numcodecs.lz4": "lz4:Lz4Codec",
    "numcodecs.lzma": "lzma:LzmaCodec",
    "numcodecs.msgpack2": "objects:MsgpackCodec",
    "numcodecs.packbits": "packbits:NumcodecsPackbitsCodec",
    "numcodecs.pcodec": "pcodec:PcodecCodec",
    "numcodecs.pickle": "objects:PickleCodec",
    "numcodecs.quantize": "quantize:QuantizeCodec",
    "numcodecs.shuffle": "shuffle:ShuffleCodec",
    "numcodecs.vlen-array": "vlen:VlenArrayCodec",
    "numcodecs.vlen-bytes": "vlen:VlenBytesCodec",
    "numcodecs.vlen-utf8": "vlen:VlenUtf8Codec",
    "numcodecs.zfpy": "zfp:NumcodecsZfpyCodec",
    "numcodecs.zlib": "deflate:ZlibCodec",
    "numcodecs.zstd": "zstd:NumcodecsZstdCodec",
    # What the model calls parts of v2 and N5 that v3 has no name for; documents cannot name them.
    "n5.block": "n5_block:N5BlockCodec",
    "v2.bytes": "bytes:StoredDtypeCodec",
}


def register_codec(name: str, codec: Any, *, overwrite: bool = False) -> None:
    """Make a codec known under a name, in this process.

    On a cluster every worker has to know it too: put it in a package with an entry point of the group
    ``daskzarr.codecs``, or register it in a worker plug-in.

    Parameters
    ----------
    name
        What documents call it. In Zarr v2, ``id`` is what follows ``numcodecs.`` in the name.
    codec
        A class with ``kind`` and the methods of :class:`ArrayToArray`, :class:`ArrayToBytes` or
        :class:`BytesToBytes` (``daskzarr.codecs.base``), or ``"package.module:Class"``, loaded on first use.
    overwrite
        Whether a codec of this name may be replaced. Default False: then it is an error.

    Returns
    -------
    None

    Raises
    ------
    UnknownCodecError
        If the name is taken, or the codec has no kind.

    Notes
    -----
    Zarr v3 core, "Codecs". ``docs/codecs.md`` has a whole example.

    Examples
    --------
    >>> from daskzarr.codecs.crc32c import Crc32cCodec
    >>> register_codec("example.checksum", Crc32cCodec, overwrite=True)
    """
    if name in _CODECS and not overwrite:
        raise UnknownCodecError(
            f"there is a codec {short(name)} already; pass overwrite=True to replace it", codec=name
        )
    if not isinstance(codec, str):
        _checked(name, codec)
    _CODECS[name] = codec


def is_ours(name: str) -> bool:
    """Whether a codec of this name came with daskzarr, so that it is known where it stands in a pipeline."""
    found = _CODECS.get(name)
    return found in _OURS if isinstance(found, str) else getattr(found, "__module__", "").startswith("daskzarr.codecs.")


def codec_class(name: str) -> Any:
    """The class registered under a name."""
    found = _CODECS.get(name)
    if found is None:
        found = _CODECS[name] = _from_elsewhere(name)
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        if "." not in module and found in _OURS:
            module = f"daskzarr.codecs.{module}"
        found = _CODECS[name] = _checked(name, getattr(import_module(module), attribute))
    return found


_OURS = {place for place in _CODECS.values() if isinstance(place, str)}


def _checked(name: str, codec: Any) -> Any:
    """A codec that says its kind."""
    if getattr(codec, "kind", None) not in ("array_to_array", "array_to_bytes", "bytes_to_bytes"):
        raise UnknownCodecError(
            f"codec {short(name)} has no kind: 'array_to_array', 'array_to_bytes' or 'bytes_to_bytes'", codec=name
        )
    return codec


def _from_elsewhere(name: str) -> Any:
    """A codec that an installed package offers, or that numcodecs knows."""
    offered = _offered().get(name)
    if offered is not None:
        return _checked(name, offered.load())
    if name.startswith("numcodecs."):
        from daskzarr.codecs.foreign import foreign_codec

        found = foreign_codec(name.removeprefix("numcodecs."))
        if found is not None:
            return found
    known = ", ".join(sorted(known for known in _CODECS if not known.startswith(("v2.", "n5."))))
    raise UnknownCodecError(f"codec {short(name)} is not known; known are {known}", codec=name)


@cache
def _offered() -> dict[str, Any]:
    """Entry points of installed packages, by codec name."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
