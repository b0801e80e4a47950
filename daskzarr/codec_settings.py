"""Codecs as people type them (v3, v2, objects of numcodecs or zarr-python) -> what the model of a format calls them."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np

from daskzarr.errors import MetadataError, UnknownCodecError, UnsupportedError
from daskzarr.metadata import DataType, NamedConfig, ZarrFormat, v2
from daskzarr.metadata.numpy_dtype import byte_ordered

_SHUFFLE_WORDS = ("noshuffle", "shuffle", "bitshuffle")
_NUMCODECS_DEFAULTS: dict[str, dict[str, Any]] = {
    "gzip": {"level": 1},
    "zlib": {"level": 1},
    "bz2": {"level": 1},
    "lz4": {"acceleration": 1},
    "lzma": {"format": 1, "check": -1, "preset": None, "filters": None},
}
_V3_NAMES = {"blosc", "crc32c", "gzip", "zstd"}
_V3_ONLY = {"vlen-utf8", "vlen-bytes"}  # the same under one name in both formats
_N5_TYPES = {
    "gzip": "gzip",
    "zlib": "gzip",
    "bz2": "bzip2",
    "lzma": "xz",
    "lz4": "lz4",
    "blosc": "blosc",
    "zstd": "zstd",
}


def default_serializer(data_type: DataType, dtype: np.dtype[Any]) -> NamedConfig:
    """The codec from array to bytes: ``bytes`` in the byte order that the dtype states, or that of strings."""
    if data_type.variable is not None:
        return NamedConfig("vlen-utf8" if data_type.variable is str else "vlen-bytes")
    if not byte_ordered(data_type.dtype):
        return NamedConfig("bytes")
    big = dtype.newbyteorder(">") == dtype != dtype.newbyteorder("<")
    return NamedConfig("bytes", {"endian": "big" if big else "little"})


def compressors_of(
    compressors: Any, compressor: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat
) -> tuple[NamedConfig, ...]:
    """The codecs on bytes, from the plural or the singular word for them."""
    if not _is_auto(compressors) and not _is_auto(compressor):
        raise MetadataError("compressors and compressor say the same thing; give one of them", field="compressors")
    chosen = compressors if _is_auto(compressor) else compressor
    return codec_list("zstd" if _is_auto(chosen) else chosen, dtype, zarr_format)


def _is_auto(value: Any) -> bool:
    """Whether the choice is left to us."""
    return isinstance(value, str) and value == "auto"


def codec_list(value: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat) -> tuple[NamedConfig, ...]:
    """One codec, several, or none."""
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(spelled(item, dtype, zarr_format) for item in value)
    return (spelled(value, dtype, zarr_format),)


def spelled(value: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat) -> NamedConfig:
    """One codec in any spelling -> what the model of this format calls it."""
    if hasattr(value, "get_config"):  # numcodecs
        value = value.get_config()
    elif hasattr(value, "to_dict"):  # zarr-python
        value = _untuned(value)
    if isinstance(value, NamedConfig):
        config = value
    elif isinstance(value, dict) and "id" in value:
        config = NamedConfig(v2.CODEC_PREFIX + str(value["id"]), {k: v for k, v in value.items() if k != "id"})
        _check_options(value)
    else:
        config = NamedConfig.read(value, "codecs")
    to_format = _as_v2 if zarr_format == 2 else _as_v3
    return to_format(config, dtype.itemsize)


def _untuned(codec: Any) -> Any:
    """A codec of zarr-python as a document spells it, less what was not chosen, and is up to the size of a cell."""
    document = codec.to_dict()
    unset = getattr(codec, "_tunable_attrs", ())
    if not unset or not isinstance(document.get("configuration"), dict):
        return document
    chosen = {name: value for name, value in document["configuration"].items() if name not in unset}
    return {**document, "configuration": chosen}


def _check_options(value: dict[str, Any]) -> None:
    """Refuse options that a codec of numcodecs does not have: read, they mean nothing, so nobody would be told."""
    try:
        numcodecs.get_codec(value)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise UnknownCodecError(f"codec {value['id']!r}: {error}", codec=str(value["id"])) from None
    except Exception:
        pass  # the codec itself refuses what it cannot be, and says why


def n5_compression(compressors: Any, compressor: Any, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The one compression of N5 blocks: gzip, which every reader has, unless another is asked for."""
    if _is_auto(compressors) and _is_auto(compressor):
        return {"type": "gzip", "level": 6, "useZlib": False}
    chosen = compressors if _is_auto(compressor) else compressor
    if isinstance(chosen, dict) and "type" in chosen:
        return chosen
    found = codec_list(chosen, dtype, 2)
    if not found:
        return {"type": "raw"}
    name = found[0].name.removeprefix(v2.CODEC_PREFIX)
    if len(found) > 1 or name not in _N5_TYPES:
        names = ", ".join(codec.name for codec in found)
        raise UnsupportedError(
            f"N5 compresses blocks with one of {', '.join(sorted(set(_N5_TYPES.values())))}, not with {names}",
            field="compression",
        )
    return {"type": _N5_TYPES[name], **_n5_options(name, dict(found[0].configuration))}


def _n5_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a compressor in N5's words."""
    if name in ("gzip", "zlib"):
        return {"level": options["level"], "useZlib": name == "zlib"}
    if name == "bz2":
        return {"blockSize": options["level"]}
    if name == "lzma":
        return {"preset": 6 if options.get("preset") is None else options["preset"]}
    if name == "blosc":
        return {member: options[member] for member in ("cname", "clevel", "shuffle", "blocksize")} | {"nthreads": 1}
    return {"level": options["level"] or 3} if name == "zstd" else {"blockSize": 65536}


def _as_v3(config: NamedConfig, itemsize: int) -> NamedConfig:
    """A codec under its v3 name, with every member v3 requires."""
    name = config.name.removeprefix(v2.CODEC_PREFIX)
    options = dict(config.configuration)
    if name in _V3_ONLY:
        return NamedConfig(name)
    for member in ("codecs", "index_codecs"):  # a pipeline within: no peer reads bare names there
        if isinstance(options.get(member), (list, tuple)):
            options[member] = [_as_v3(NamedConfig.read(item, member), itemsize).write() for item in options[member]]
    if name not in _V3_NAMES:
        return NamedConfig(config.name, _defaults(name, itemsize) | options, config.must_understand)
    if name == "blosc":
        shuffle = options.get("shuffle", 1 if itemsize > 1 else 2)
        if shuffle == -1:
            shuffle = 1 if itemsize > 1 else 2
        options = {"cname": "lz4", "clevel": 5, "typesize": itemsize, "blocksize": 0} | options
        options["shuffle"] = _SHUFFLE_WORDS[shuffle] if shuffle in (0, 1, 2) else shuffle
    elif name == "zstd":
        options = {"level": 0, "checksum": False} | options
    elif name == "gzip":
        options = {"level": 5} | options
    return NamedConfig(name, options)


def _defaults(name: str, itemsize: int) -> dict[str, Any]:
    """What numcodecs writes of a codec that was given no options."""
    return {"elementsize": itemsize} if name == "shuffle" else _NUMCODECS_DEFAULTS.get(name, {})


def _as_v2(config: NamedConfig, itemsize: int) -> NamedConfig:
    """A codec under its numcodecs name, with the members numcodecs writes."""
    name = config.name.removeprefix(v2.CODEC_PREFIX)
    if name in ("bytes", "transpose", "v2.bytes"):
        return config
    options = dict(config.configuration)
    if name == "blosc":
        options.pop("typesize", None)
        shuffle = options.get("shuffle", 1)
        options = {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0} | options
        options["shuffle"] = _SHUFFLE_WORDS.index(shuffle) if shuffle in _SHUFFLE_WORDS else shuffle
    elif name == "zstd":
        options = {"level": 0} | options
        if not options.get("checksum"):
            options.pop("checksum", None)  # peers refuse the member
    else:
        options = _defaults(name, itemsize) | options
    return NamedConfig(v2.CODEC_PREFIX + name, options)
