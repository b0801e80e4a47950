"""Settings as people type them -> the metadata of a new array, checked down to codecs that can be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.metadata import ArrayMetadata, DataType, NamedConfig, ZarrFormat, fill_json, v2
from daskzarr.metadata.json_text import json_attributes

_SHUFFLE_WORDS = ("noshuffle", "shuffle", "bitshuffle")
_NUMCODECS_DEFAULTS: dict[str, dict[str, Any]] = {
    "gzip": {"level": 1},
    "zlib": {"level": 1},
    "bz2": {"level": 1},
    "lz4": {"acceleration": 1},
    "lzma": {"format": 1, "check": -1, "preset": None, "filters": None},
}
_V3_NAMES = {"blosc", "crc32c", "gzip", "zstd"}


def new_array_metadata(
    *,
    shape: Sequence[int] | int,
    dtype: Any,
    chunks: Sequence[int] | int,
    fill_value: Any = 0,
    codecs: Any = None,
    compressors: Any = "auto",
    compressor: Any = "auto",
    filters: Any = None,
    serializer: Any = None,
    order: str = "C",
    dimension_names: Sequence[str | None] | None = None,
    dimension_separator: str | None = None,
    chunk_key_encoding: Any = None,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat = 3,
) -> ArrayMetadata:
    """The metadata of a new array; every setting is checked, down to a pipeline that can be built."""
    zarr_format = check_zarr_format(zarr_format)
    dtype = np.dtype(dtype)
    data_type = DataType.of(dtype)
    lengths = _lengths(shape, "shape", None, least=0)
    chunk_shape = _lengths(chunks, "chunks", len(lengths), least=1)
    if codecs is None:
        if order not in ("C", "F"):
            raise MetadataError(f"order is {order!r}; it can be 'C' or 'F'", field="order")
        bytes_codec = _bytes_codec(dtype) if serializer is None else _codec(serializer, dtype, zarr_format)
        pipeline = (
            *([NamedConfig("transpose", {"order": list(range(len(lengths)))[::-1]})] if order == "F" else []),
            *_codec_list(filters, dtype, zarr_format),
            bytes_codec,
            *_compressors(compressors, compressor, dtype, zarr_format),
        )
    elif (compressors, compressor, filters, serializer, order) != ("auto", "auto", None, None, "C"):
        raise MetadataError("codecs= is the whole pipeline; give nothing of it beside", field="codecs")
    else:
        pipeline = _codec_list(codecs, dtype, zarr_format)
    metadata = ArrayMetadata(
        shape=lengths,
        data_type=data_type,
        chunk_grid=RegularGrid(lengths, chunk_shape),
        chunk_key_encoding=_key_encoding(chunk_key_encoding, dimension_separator, zarr_format),
        codecs=pipeline,
        fill_value=None if fill_value is None and zarr_format == 2 else fill_json(data_type, fill_value),
        attributes=json_attributes(attributes or {}),
        dimension_names=_dimension_names(dimension_names),
        zarr_format=zarr_format,
    )
    spec = ChunkSpec(chunk_shape, data_type.dtype, metadata.fill_scalar)
    CodecPipeline.resolve(pipeline, spec).check_can_write()
    if zarr_format == 2:
        v2.write_array(metadata)
    return metadata


def check_zarr_format(value: Any) -> ZarrFormat:
    """2 or 3."""
    if value not in (2, 3):
        raise UnsupportedError(f"zarr_format is {value!r}; it can be 2 or 3", field="zarr_format")
    return cast(ZarrFormat, int(value))


def _lengths(value: Any, place: str, ndim: int | None, *, least: int) -> tuple[int, ...]:
    """A shape: an integer, or a sequence of them."""
    try:
        items = (value,) * (1 if ndim is None else ndim) if isinstance(value, (int, np.integer)) else tuple(value)
        lengths = tuple(int(n) for n in items)
        if lengths != tuple(items):
            raise TypeError
    except (TypeError, ValueError):
        raise MetadataError(f"{place} is {value!r}; it has to be integers", field=place) from None
    if any(n < least for n in lengths) or (ndim is not None and len(lengths) != ndim):
        wanted = f"{'' if ndim is None else ndim} lengths of at least {least}"
        raise MetadataError(f"{place} is {value!r}; it has to be {wanted.strip()}", field=place)
    return lengths


def _dimension_names(names: Sequence[str | None] | None) -> tuple[str | None, ...] | None:
    """Names of the axes; a single string names a single axis."""
    if names is None:
        return None
    found = (names,) if isinstance(names, str) else tuple(names)
    if not all(name is None or isinstance(name, str) for name in found):
        raise MetadataError(
            f"dimension_names is {names!r}; it has to be text or None for each axis", field="dimension_names"
        )
    return found


def _key_encoding(encoding: Any, separator: str | None, zarr_format: ZarrFormat) -> ChunkKeyEncoding:
    """The chunk key encoding; the format's usual one unless something else is asked for."""
    name, default = ("default", "/") if zarr_format == 3 else ("v2", ".")
    if encoding is not None:
        config = NamedConfig.read(
            encoding.to_dict() if hasattr(encoding, "to_dict") else _flat(encoding), "chunk_key_encoding"
        )
        name, default = config.name, config.configuration.get("separator", "/" if config.name == "default" else ".")
    found = default if separator is None else separator
    if name not in ("default", "v2") or found not in ("/", ".") or (zarr_format == 2 and name != "v2"):
        raise MetadataError(
            f"Zarr v{zarr_format} has no chunk key encoding {name!r} with separator {found!r}",
            field="chunk_key_encoding",
        )
    return ChunkKeyEncoding(name, found)  # type: ignore[arg-type]


def _flat(encoding: Any) -> Any:
    """zarr-python's short form ``{"name": ..., "separator": ...}`` in the spelling of the documents."""
    if isinstance(encoding, dict) and "separator" in encoding:
        return {"name": encoding.get("name"), "configuration": {"separator": encoding["separator"]}}
    return encoding


def _bytes_codec(dtype: np.dtype[Any]) -> NamedConfig:
    """The ``bytes`` codec in the byte order that a dtype states."""
    if dtype.itemsize == 1:
        return NamedConfig("bytes")
    return NamedConfig("bytes", {"endian": "big" if dtype.str[0] == ">" else "little"})


def _compressors(
    compressors: Any, compressor: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat
) -> tuple[NamedConfig, ...]:
    """The codecs on bytes, from the plural or the singular word for them."""
    if not _is_auto(compressors) and not _is_auto(compressor):
        raise MetadataError("compressors and compressor say the same thing; give one of them", field="compressors")
    chosen = compressors if _is_auto(compressor) else compressor
    return _codec_list("zstd" if _is_auto(chosen) else chosen, dtype, zarr_format)


def _is_auto(value: Any) -> bool:
    """Whether the choice is left to us."""
    return isinstance(value, str) and value == "auto"


def _codec_list(value: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat) -> tuple[NamedConfig, ...]:
    """One codec, several, or none."""
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(_codec(item, dtype, zarr_format) for item in value)
    return (_codec(value, dtype, zarr_format),)


def _codec(value: Any, dtype: np.dtype[Any], zarr_format: ZarrFormat) -> NamedConfig:
    """One codec in any spelling -> what the model of this format calls it."""
    if hasattr(value, "get_config"):  # numcodecs
        value = value.get_config()
    elif hasattr(value, "to_dict"):  # zarr-python
        value = value.to_dict()
    if isinstance(value, NamedConfig):
        config = value
    elif isinstance(value, dict) and "id" in value:
        config = NamedConfig(v2.CODEC_PREFIX + str(value["id"]), {k: v for k, v in value.items() if k != "id"})
    else:
        config = NamedConfig.read(value, "codecs")
    to_format = _as_v2 if zarr_format == 2 else _as_v3
    return to_format(config, dtype.itemsize)


def _as_v3(config: NamedConfig, itemsize: int) -> NamedConfig:
    """A codec under its v3 name, with every member v3 requires."""
    name = config.name.removeprefix(v2.CODEC_PREFIX)
    options = dict(config.configuration)
    if name not in _V3_NAMES:
        return NamedConfig(config.name, _NUMCODECS_DEFAULTS.get(name, {}) | options, config.must_understand)
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


def _as_v2(config: NamedConfig, itemsize: int) -> NamedConfig:
    """A codec under its numcodecs name, with the members numcodecs writes."""
    name = config.name.removeprefix(v2.CODEC_PREFIX)
    if name in ("bytes", "transpose"):
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
        options = _NUMCODECS_DEFAULTS.get(name, {}) | options
    return NamedConfig(v2.CODEC_PREFIX + name, options)
