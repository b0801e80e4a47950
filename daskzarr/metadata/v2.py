""".zarray, .zattrs and .zgroup of Zarr v2 <-> the model (Zarr v2, storage)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.metadata.array import (
    ArrayMetadata,
    GroupMetadata,
    read_attributes,
    read_dimension_names,
    read_lengths,
)
from daskzarr.metadata.data_type import read_v2_dtype, write_v2_dtype
from daskzarr.metadata.named_config import NamedConfig

ARRAY_DOCUMENT = ".zarray"
GROUP_DOCUMENT = ".zgroup"
ATTRIBUTES_DOCUMENT = ".zattrs"
DIMENSIONS = "_ARRAY_DIMENSIONS"
CODEC_PREFIX = "numcodecs."

_MEMBERS = {"zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"}
_ARRAY_FILTERS = {"delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits", "categorize"}


def read_array(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> ArrayMetadata:
    """The model of a ``.zarray`` and its ``.zattrs``.

    Order F becomes a transpose, filters and compressor become codecs named ``numcodecs.<id>``, the byte order
    goes to the ``bytes`` codec, and ``_ARRAY_DIMENSIONS`` becomes dimension names.
    """
    missing = sorted(_MEMBERS - set(document))
    if missing:
        raise MetadataError(f".zarray lacks {', '.join(missing)}", field=missing[0])
    _check_format(document)
    shape = read_lengths(document["shape"], "shape", least=0)
    chunk_shape = read_lengths(document["chunks"], "chunks", least=0)
    if any(chunk == 0 < length for chunk, length in zip(chunk_shape, shape, strict=False)):
        raise MetadataError(f"chunks is {document['chunks']!r}, with a 0 where the axis has cells", field="chunks")
    data_type, endian = read_v2_dtype(document["dtype"])
    separator = document.get("dimension_separator", ".")
    if separator not in (".", "/"):
        raise MetadataError(f"{separator!r} is no dimension_separator; '.' and '/' are", field="dimension_separator")
    attributes = dict(attributes)
    names = _pop_dimension_names(attributes, len(shape))
    if document["order"] not in ("C", "F"):
        raise MetadataError(f"{document['order']!r} is no order; 'C' and 'F' are", field="order")
    before, after = _read_filters(document["filters"])
    if document["order"] == "F":
        before.insert(0, NamedConfig("transpose", {"order": list(range(len(shape)))[::-1]}))
    if document["compressor"] is not None:
        after.append(_read_codec(document["compressor"], "compressor"))
    serializer = NamedConfig("bytes", {"endian": endian} if endian else {})
    fill_value = document["fill_value"]
    return ArrayMetadata(
        shape=shape,
        data_type=data_type,
        chunk_grid=RegularGrid(shape, tuple(max(n, 1) for n in chunk_shape)),  # a 0 is met, and means 1
        chunk_key_encoding=ChunkKeyEncoding("v2", separator),
        codecs=(*before, serializer, *after),
        # netCDF-C 4.8.0 wrote the fill value as a list of one.
        fill_value=fill_value[0] if isinstance(fill_value, list) and len(fill_value) == 1 else fill_value,
        attributes=attributes,
        dimension_names=names,
        extra_fields={k: v for k, v in document.items() if k not in _MEMBERS | {"dimension_separator"}},
        zarr_format=2,
    )


def write_array(metadata: ArrayMetadata) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``.zarray`` and ``.zattrs`` of a model; a model that v2 cannot express is refused."""
    if metadata.chunk_key_encoding.name != "v2":
        raise MetadataError("Zarr v2 has no 'default' chunk key encoding", field="chunk_key_encoding")
    order, filters, endian, compressor = _split_codecs(metadata.codecs, len(metadata.shape))
    document = {
        "zarr_format": 2,
        "shape": list(metadata.shape),
        "chunks": list(metadata.chunk_grid.chunk_shape),
        "dtype": write_v2_dtype(metadata.data_type, endian),
        "compressor": compressor,
        "fill_value": metadata.fill_value,
        "order": order,
        "filters": filters or None,
        "dimension_separator": metadata.chunk_key_encoding.separator,
    }
    attributes = dict(metadata.attributes)
    if metadata.dimension_names is not None:
        attributes[DIMENSIONS] = list(metadata.dimension_names)
    return document | dict(metadata.extra_fields), attributes


def read_group(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> GroupMetadata:
    """The model of a ``.zgroup`` and its ``.zattrs``; members a group must not have are kept, not read."""
    _check_format(document)
    extra = {k: v for k, v in document.items() if k != "zarr_format"}
    return GroupMetadata(attributes=read_attributes(dict(attributes)), extra_fields=extra, zarr_format=2)


def write_group(metadata: GroupMetadata) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``.zgroup`` and ``.zattrs`` of a model."""
    return {"zarr_format": 2}, dict(metadata.attributes)


def codec_config(codec: NamedConfig) -> dict[str, Any]:
    """A codec of the model as v2 writes it: an object with an id."""
    if not codec.name.startswith(CODEC_PREFIX):
        raise MetadataError(f"Zarr v2 cannot express the codec {codec.name!r}", codec=codec.name)
    return {"id": codec.name.removeprefix(CODEC_PREFIX), **codec.configuration}


def _check_format(document: Mapping[str, Any]) -> None:
    """The format number has to be 2."""
    if document.get("zarr_format") != 2 or type(document["zarr_format"]) is not int:
        raise MetadataError(f"zarr_format is {document.get('zarr_format')!r} where 2 has to be", field="zarr_format")


def _pop_dimension_names(attributes: dict[str, Any], ndim: int) -> tuple[str | None, ...] | None:
    """Take the dimension names out of the attributes, if they can be names of this array's dimensions."""
    value = attributes.get(DIMENSIONS)
    if value is None:
        return None
    try:
        names = read_dimension_names(value, DIMENSIONS)
    except MetadataError:
        return None  # a user's own attribute: it stays one
    if len(names) != ndim:
        return None
    del attributes[DIMENSIONS]
    return names


def _read_filters(value: Any) -> tuple[list[NamedConfig], list[NamedConfig]]:
    """The filters, apart: those that work on arrays and those that work on bytes."""
    if value is None:
        return [], []
    if not isinstance(value, list):
        raise MetadataError(f"filters is a {type(value).__name__}, not a list", field="filters")
    codecs = [_read_codec(item, f"filters[{i}]") for i, item in enumerate(value)]
    on_arrays = [codec.name.removeprefix(CODEC_PREFIX) in _ARRAY_FILTERS for codec in codecs]
    if on_arrays != sorted(on_arrays, reverse=True):
        raise UnsupportedError("a filter on arrays after one on bytes is not supported", field="filters")
    count = sum(on_arrays)
    return codecs[:count], codecs[count:]


def _read_codec(value: Any, place: str) -> NamedConfig:
    """A codec of v2: an object with an id."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise MetadataError(f"{value!r} is no codec: it has no id", field=place)
    return NamedConfig(CODEC_PREFIX + value["id"], {k: v for k, v in value.items() if k != "id"})


def _split_codecs(
    codecs: tuple[NamedConfig, ...], ndim: int
) -> tuple[str, list[dict[str, Any]], Any, dict[str, Any] | None]:
    """Order, filters, byte order and compressor of a pipeline."""
    names = [codec.name for codec in codecs]
    if names.count("bytes") != 1:
        raise MetadataError(f"Zarr v2 cannot express the codecs {names}: it needs exactly one 'bytes'", field="codecs")
    position = names.index("bytes")
    before, after = list(codecs[:position]), list(codecs[position + 1 :])
    order = "C"
    if before and before[0].name == "transpose":
        if list(before[0].configuration.get("order", ())) != list(range(ndim))[::-1]:
            raise MetadataError("Zarr v2 can only reverse all axes (order F)", codec="transpose")
        order = "F"
        del before[0]
    compressor = codec_config(after.pop()) if after else None
    filters = [codec_config(codec) for codec in before + after]
    return order, filters, codecs[position].configuration.get("endian"), compressor
