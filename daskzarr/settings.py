"""Settings as people type them -> the metadata of a new array, checked down to codecs that can be built."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.codec_settings import codec_list, compressors_of, default_serializer, n5_compression, spelled
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.codecs.sharding import ShardingCodec
from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.metadata import (
    ArrayMetadata,
    ChunkGrid,
    DataType,
    NamedConfig,
    ZarrFormat,
    default_fill,
    fill_json,
    n5,
    v2,
    v3,
)
from daskzarr.metadata.json_text import json_attributes
from daskzarr.metadata.shards import shard_config
from daskzarr.rectilinear_grid import RectilinearGrid, Runs, runs_of


class FillValue(enum.Enum):
    """A fill value that was not chosen."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return "FillValue.DEFAULT"


@dataclass(frozen=True, kw_only=True)
class ArraySettings:
    """What a new array is to be like; see :func:`daskzarr.create_array` for each."""

    chunks: Any = None
    shards: Any = None
    fill_value: Any = FillValue.DEFAULT
    codecs: Any = None
    compressors: Any = "auto"
    compressor: Any = "auto"
    filters: Any = None
    serializer: Any = None
    order: str = "C"
    dimension_names: Sequence[str | None] | None = None
    dimension_separator: str | None = None
    chunk_key_encoding: Any = None
    attributes: Mapping[str, Any] | None = None

    def chosen(self) -> list[str]:
        """Names of the settings that were not left as they are."""
        return [name for name in self.__dataclass_fields__ if not self._is_default(name)]

    def _is_default(self, name: str) -> bool:
        """Whether a setting was left as it is."""
        value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
        return value is default or (isinstance(value, (str, int)) and type(value) is type(default) and value == default)


def new_array_metadata(
    settings: ArraySettings, *, shape: Sequence[int] | int, dtype: Any, zarr_format: ZarrFormat = 3
) -> ArrayMetadata:
    """The metadata of a new array; every setting is checked, down to a pipeline that can be built."""
    zarr_format = check_zarr_format(zarr_format)
    lengths = _lengths(shape, "shape", None, least=0)
    data_type, stored = read_dtype(dtype)
    if settings.order not in ("C", "F"):
        raise MetadataError(f"order is {settings.order!r}; it can be 'C' or 'F'", field="order")
    if zarr_format == "n5":
        metadata = _n5_metadata(settings, lengths, data_type)
    else:
        metadata = _zarr_metadata(settings, lengths, data_type, stored, zarr_format)
    for chunk_shape in metadata.chunk_grid.chunk_shapes_to_check():
        spec = ChunkSpec(chunk_shape, metadata.data_type.dtype, metadata.fill_scalar, allow_pickle=True)
        pipeline = CodecPipeline.resolve(metadata.codecs, spec)
        pipeline.check_can_write()
        _check_innermost(pipeline, metadata)
    {2: v2.write_array, 3: v3.write_array, "n5": n5.write_array}[zarr_format](metadata)
    return metadata


def _check_innermost(pipeline: CodecPipeline, metadata: ArrayMetadata) -> None:
    """Nothing may follow a shard: no part of it could be read alone. Text is stored as text, bytes as bytes."""
    while isinstance(pipeline.serializer, ShardingCodec):
        if pipeline.compressors:
            raise UnsupportedError("a codec after sharding_indexed makes every read one of a shard", field="codecs")
        pipeline = pipeline.serializer.inner
    kind = metadata.data_type.variable
    wanted = "vlen-utf8" if kind is str else "vlen-bytes"
    if kind is not None and metadata.zarr_format == 3 and getattr(pipeline.serializer, "name", None) != wanted:
        raise MetadataError(f"data type {metadata.data_type.name!r} is stored by {wanted!r} only", field="codecs")


def read_dtype(dtype: Any) -> tuple[DataType, np.dtype[Any]]:
    """The data type, and the dtype with the byte order that was asked for.

    ``dtype`` is what NumPy takes, a name of Zarr v3, or ``{"name": ..., "configuration": ...}``.
    """
    if isinstance(dtype, (dict, NamedConfig)):
        config = dtype if isinstance(dtype, NamedConfig) else NamedConfig.read(dtype, "data_type")
        dtype = _as_written_now(DataType.read(config))
    elif isinstance(dtype, str):
        try:
            dtype = np.dtype(dtype) if dtype != "bytes" else DataType.named(dtype)
        except (TypeError, ValueError, SyntaxError):
            dtype = DataType.named(dtype)
    if isinstance(dtype, DataType):
        return dtype, dtype.dtype
    try:
        dtype = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError, OverflowError) as error:
        raise MetadataError(f"{dtype!r} is no dtype: {error}", field="dtype") from None
    if dtype in (np.dtype("U0"), np.dtype("S0")):  # what NumPy makes of str and bytes
        return DataType.named("string" if dtype.kind == "U" else "bytes"), np.dtype(object)
    return DataType.of(dtype), dtype


def _as_written_now(data_type: DataType) -> DataType:
    """A structure with its fields in the spelling that new arrays have to have.

    The legacy ``structured`` stays as it is: who asks for it by name wants it for readers that know no other.
    """
    fields = data_type.fields() if data_type.name == "struct" else {}
    if not fields:
        return data_type
    spelled_out = [{"name": name, "data_type": _as_written_now(part).write()} for name, part in fields.items()]
    return DataType("struct", data_type.dtype, {"fields": spelled_out})


def _zarr_metadata(
    settings: ArraySettings, shape: tuple[int, ...], data_type: DataType, stored: np.dtype[Any], zarr_format: ZarrFormat
) -> ArrayMetadata:
    """The metadata of a new array of Zarr v2 or v3."""
    grid = _grid(settings, shape, zarr_format)
    if settings.codecs is not None:
        if set(settings.chosen()) & {"compressors", "compressor", "filters", "serializer", "order"}:
            raise MetadataError("codecs= is the whole pipeline; give nothing of it beside", field="codecs")
        pipeline = codec_list(settings.codecs, stored, zarr_format)
    elif zarr_format == 2:
        data_type, pipeline = _v2_pipeline(settings, len(shape), data_type, stored)
    else:
        pipeline = _v3_pipeline(settings, len(shape), data_type, stored)
    if settings.shards is not None:
        pipeline = _in_shards(settings, grid, pipeline)
    return ArrayMetadata(
        shape=shape,
        data_type=data_type,
        chunk_grid=grid,
        chunk_key_encoding=_key_encoding(settings.chunk_key_encoding, settings.dimension_separator, zarr_format),
        codecs=pipeline,
        fill_value=_fill_value(settings.fill_value, data_type, zarr_format),
        attributes=json_attributes(settings.attributes or {}),
        dimension_names=_dimension_names(settings.dimension_names),
        zarr_format=zarr_format,
    )


def _transpose(settings: ArraySettings, ndim: int) -> tuple[NamedConfig, ...]:
    """The codec that order F is."""
    return (NamedConfig("transpose", {"order": list(range(ndim))[::-1]}),) if settings.order == "F" else ()


def _v3_pipeline(
    settings: ArraySettings, ndim: int, data_type: DataType, stored: np.dtype[Any]
) -> tuple[NamedConfig, ...]:
    """The codecs of a new v3 array."""
    serializer = settings.serializer
    return (
        *_transpose(settings, ndim),
        *codec_list(settings.filters, stored, 3),
        default_serializer(data_type, stored) if serializer is None else spelled(serializer, stored, 3),
        *compressors_of(settings.compressors, settings.compressor, stored, 3),
    )


def _v2_pipeline(
    settings: ArraySettings, ndim: int, data_type: DataType, stored: np.dtype[Any]
) -> tuple[DataType, tuple[NamedConfig, ...]]:
    """The data type and codecs of a new v2 array: what objects are is up to the filter that stores them."""
    filters = list(codec_list(settings.filters, stored, 2))
    compressors = compressors_of(settings.compressors, settings.compressor, stored, 2)
    if settings.serializer is not None:
        filters.append(spelled(settings.serializer, stored, 2))
    plain = [codec for codec in filters if codec.name == "bytes"]
    filters = [codec for codec in filters if codec.name != "bytes"]
    before, serializer, after = v2.arrange([*filters, *compressors])
    if data_type.variable is not None and serializer is not None:
        data_type = v2.object_type([codec.name for codec in (*before, serializer)])
    if serializer is None:
        in_order = plain[0] if plain else default_serializer(data_type, stored)
        serializer = in_order if plain or data_type.variable else v2.bytes_codec(stored, before)
        serializer = spelled(serializer, stored, 2)
        if data_type.variable and before:  # categorize
            serializer = v2.bytes_codec(stored, before)
    return data_type, (*_transpose(settings, ndim), *before, serializer, *after)


def _in_shards(settings: ArraySettings, grid: ChunkGrid, pipeline: tuple[NamedConfig, ...]) -> tuple[NamedConfig, ...]:
    """The codecs of inner chunks, put into shards. Transposes stay within: shards are cut along the array's axes."""
    inner = _lengths(settings.chunks, "chunks", len(grid.shape), least=1)
    if any(whole % part for whole, part in zip(grid.chunk_shape, inner, strict=True)):
        raise MetadataError(
            f"shards={grid.chunk_shape} are no multiples of chunks={inner} along every axis", field="shards"
        )
    return (shard_config(inner, pipeline),)


def _n5_metadata(settings: ArraySettings, shape: tuple[int, ...], data_type: DataType) -> ArrayMetadata:
    """The metadata of a new N5 dataset."""
    can = {"chunks", "compressors", "compressor", "fill_value", "dimension_names", "attributes"}
    cannot = sorted(set(settings.chosen()) - can)
    if cannot:
        raise UnsupportedError(f"N5 has no {', '.join(cannot)}", field=cannot[0])
    if settings.fill_value is not FillValue.DEFAULT and fill_json(data_type, settings.fill_value) != _zero(data_type):
        raise UnsupportedError("N5 has no fill value other than 0", field="fill_value")
    grid = _grid(settings, shape, "n5")
    if not isinstance(grid, RegularGrid):
        raise UnsupportedError("N5 has blocks of one shape only", field="chunks")
    document = json_attributes(settings.attributes or {}) | {
        "dimensions": list(shape[::-1]),
        "blockSize": list(grid.chunk_shape[::-1]),
        "dataType": data_type.name,
        "compression": n5_compression(settings.compressors, settings.compressor, data_type.dtype),
    }
    names = _dimension_names(settings.dimension_names)
    if names is not None:
        if len(names) != len(shape):
            raise MetadataError(f"{len(names)} dimension names for {len(shape)} dimensions", field="dimension_names")
        document["axes"] = list(names[::-1])
    return n5.read_array(document)


def _zero(data_type: DataType) -> Any:
    """The one fill value of N5."""
    return "" if data_type.variable is not None else fill_json(data_type, 0)


def _fill_value(value: Any, data_type: DataType, zarr_format: ZarrFormat) -> Any:
    """The fill value's JSON; None is v2's undefined one, and the default of v3."""
    if value is FillValue.DEFAULT or (value is None and zarr_format == 3):
        return default_fill(data_type)
    return None if value is None else fill_json(data_type, value)


def _grid(settings: ArraySettings, shape: tuple[int, ...], zarr_format: ZarrFormat) -> ChunkGrid:
    """The grid of stored objects: chunks, or shards where there are any."""
    if settings.shards is not None:
        if zarr_format != 3:
            raise UnsupportedError("only Zarr v3 has shards", field="shards")
        return RegularGrid(shape, _lengths(settings.shards, "shards", len(shape), least=1))
    chunks = settings.chunks
    if isinstance(chunks, (list, tuple)) and any(isinstance(axis, (list, tuple)) for axis in chunks):
        return _rectilinear(chunks, shape)
    return RegularGrid(shape, _lengths(chunks, "chunks", len(shape), least=1))


def _rectilinear(chunks: Sequence[Any], shape: tuple[int, ...]) -> ChunkGrid:
    """The grid of chunks whose lengths are listed for some axes; a regular one if they turn out equal."""
    if len(chunks) != len(shape):
        raise MetadataError(f"chunks is {chunks!r} for an array of {len(shape)} axes", field="chunks")
    axes = [_axis(axis, length) for axis, length in zip(chunks, shape, strict=True)]
    if all(isinstance(axis, int) for axis in axes):
        return RegularGrid(shape, tuple(axes))  # type: ignore[arg-type]
    return RectilinearGrid(shape, tuple(axes))


def _axis(given: Any, length: int) -> int | Runs:
    """One length, or runs where they differ."""
    if not isinstance(given, (list, tuple)):
        return _lengths((given,), "chunks", 1, least=1)[0]
    listed = _lengths(given, "chunks", None, least=0)
    lengths = tuple(n for n in listed if n)
    if sum(lengths) != length:
        raise MetadataError(f"chunks {given!r} do not cover an axis of {length} cells", field="chunks")
    regular = not lengths or (len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0])
    return max(lengths, default=1) if regular else runs_of(lengths)


def check_zarr_format(value: Any) -> ZarrFormat:
    """2, 3 or "n5"."""
    if value == "n5":
        return "n5"
    if value not in (2, 3) or isinstance(value, (bool, str)):
        raise UnsupportedError(f"zarr_format is {value!r}; it can be 2, 3 or 'n5'", field="zarr_format")
    return 2 if value == 2 else 3


def _lengths(value: Any, place: str, ndim: int | None, *, least: int) -> tuple[int, ...]:
    """A shape: an integer, or a sequence of them."""
    try:
        items = (value,) * (1 if ndim is None else ndim) if isinstance(value, (int, np.integer)) else tuple(value)
        lengths = tuple(int(n) for n in items)
        if lengths != tuple(items) or any(isinstance(n, (bool, np.bool_)) for n in items):
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise MetadataError(f"{place} is {value!r}; it has to be integers", field=place) from None
    if any(not least <= n < 2**63 for n in lengths) or (ndim is not None and len(lengths) != ndim):
        wanted = f"{'' if ndim is None else ndim} lengths of at least {least}"
        raise MetadataError(f"{place} is {value!r}; it has to be {wanted.strip()}", field=place)
    return lengths


def _dimension_names(names: Sequence[str | None] | None) -> tuple[str | None, ...] | None:
    """Names of the axes; a single string names a single axis."""
    if names is None:
        return None
    found = (names,) if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
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
        if set(config.configuration) - {"separator"}:
            raise MetadataError("a chunk key encoding is configured by separator only", field="chunk_key_encoding")
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
