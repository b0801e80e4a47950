""".zarray, .zattrs and .zgroup of Zarr v2 <-> the model (Zarr v2, storage)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata.array import (
    ArrayMetadata,
    GroupMetadata,
    read_attributes,
    read_dimension_names,
    read_lengths,
)
from daskzarr.metadata.data_type import V2_ONLY, DataType, np_dtype_of_v2, v2_dtype
from daskzarr.metadata.json_text import remembered
from daskzarr.metadata.named_config import NamedConfig
from daskzarr.metadata.numpy_dtype import byte_ordered, is_ml_dtype, named_dtype, without_padding
from daskzarr.metadata.v2_fill_value import read_v2_fill, write_v2_fill

ARRAY_DOCUMENT = ".zarray"
GROUP_DOCUMENT = ".zgroup"
ATTRIBUTES_DOCUMENT = ".zattrs"
DIMENSIONS = "_ARRAY_DIMENSIONS"
CODEC_PREFIX = "numcodecs."

_CELLS = ("shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters")
_MEMBERS = {"zarr_format", *_CELLS}
_KNOWN = _MEMBERS | {"dimension_separator"}
_ARRAY_FILTERS = {"delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits", "categorize"}
_OBJECT_CODECS = {"vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2", "pickle"}
_ARRAY_COMPRESSORS = {"pcodec", "zfpy"}
_BYTE_CODECS = {
    *("adler32", "base64", "blosc", "bz2", "crc32", "crc32c", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma"),
    *("shuffle", "zlib", "zstd"),
}
_NCZARR = ("_nczarr_array", "_NCZARR_ARRAY")


def read_array(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> ArrayMetadata:
    """The model of a ``.zarray`` and its ``.zattrs``.

    Order F becomes a transpose, filters and compressor become codecs named ``numcodecs.<id>``, the byte order
    goes to the ``bytes`` codec, and ``_ARRAY_DIMENSIONS`` becomes dimension names.
    """
    if not document.keys() >= _MEMBERS:
        missing = sorted(_MEMBERS - document.keys())
        raise MetadataError(f".zarray lacks {', '.join(missing)}", field=missing[0])
    _check_format(document)
    nczarr = _nczarr(document, attributes)
    separator = document.get("dimension_separator", ".")
    netcdfs = [nczarr_scalar(nczarr), nczarr is not None and "_NCZARR_ARRAY" in document]
    cells = _read_cells([*(document[name] for name in _CELLS), separator, *netcdfs])
    attributes = dict(attributes)
    names = _take_dimension_names(attributes, nczarr, len(cells["shape"]))
    return ArrayMetadata(
        **cells,
        attributes=attributes,
        dimension_names=names,
        extra_fields={} if document.keys() <= _KNOWN else {k: v for k, v in document.items() if k not in _KNOWN},
        zarr_format=2,
    )


def write_array(metadata: ArrayMetadata) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``.zarray`` and ``.zattrs`` of a model; a model that v2 cannot express is refused."""
    if metadata.chunk_key_encoding.name != "v2":
        raise MetadataError(
            f"Zarr v2 has no {metadata.chunk_key_encoding.name!r} chunk key encoding", field="chunk_key_encoding"
        )
    if not isinstance(metadata.chunk_grid, RegularGrid):
        raise UnsupportedError("Zarr v2 has chunks of one shape only", field="chunk_grid")
    order, codecs = _take_order(metadata.codecs, len(metadata.shape))
    stored, sequence = _take_stored_dtype(metadata, codecs)
    filters, compressor = _split_codecs(sequence)
    attributes = dict(metadata.attributes)
    if metadata.dimension_names is not None and DIMENSIONS not in attributes:
        attributes[DIMENSIONS] = list(metadata.dimension_names)
    scalar = not metadata.shape and nczarr_scalar(_nczarr(metadata.extra_fields, attributes))
    document = {
        "zarr_format": 2,
        "shape": [1] if scalar else list(metadata.shape),
        "chunks": [1] if scalar else list(metadata.chunk_grid.chunk_shape),
        "dtype": v2_dtype(stored),
        "compressor": compressor,
        "fill_value": write_v2_fill(metadata.data_type, stored, metadata.fill_value),
        "order": order,
        "filters": filters or None,
        "dimension_separator": metadata.chunk_key_encoding.separator,
    }
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
    if codec.name in _OBJECT_CODECS:
        return {"id": codec.name}  # one codec, of one name in both formats
    if not codec.name.startswith(CODEC_PREFIX):
        raise MetadataError(f"Zarr v2 cannot express the codec {short(codec.name)}", codec=codec.name)
    return {"id": codec.name.removeprefix(CODEC_PREFIX), **codec.configuration}


@remembered
def _read_cells(members: Any) -> dict[str, Any]:
    """What the members ``_CELLS`` and the separator say, and whether netCDF-C means a scalar, or has its old text."""
    lengths, chunks, spec, compressor, fill_value, order, filters, separator, scalar, old_text = members
    shape = read_lengths(lengths, "shape", least=0)
    chunk_shape = read_lengths(chunks, "chunks", least=0)
    if len(chunk_shape) != len(shape):
        raise MetadataError(f"chunks has {len(chunk_shape)} lengths and shape {len(shape)}", field="chunks")
    if any(chunk == 0 < length for chunk, length in zip(chunk_shape, shape, strict=False)):
        raise MetadataError(f"chunks is {short(chunks)}, with a 0 where the axis has cells", field="chunks")
    if scalar and shape == chunk_shape == (1,):
        shape = chunk_shape = ()  # netCDF-C stores a scalar as an array of one cell, and says so
    if separator not in (".", "/"):
        raise MetadataError(
            f"{short(separator)} is no dimension_separator; '.' and '/' are", field="dimension_separator"
        )
    if order not in ("C", "F"):
        raise MetadataError(f"{short(order)} is no order; 'C' and 'F' are", field="order")
    data_type, codecs, fill = _read_elements(spec, filters, compressor, fill_value, old_text)
    if order == "F":
        codecs = (NamedConfig("transpose", {"order": list(range(len(shape)))[::-1]}), *codecs)
    return {
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": RegularGrid(shape, tuple(max(n, 1) for n in chunk_shape)),  # a 0 is met, and means 1
        "chunk_key_encoding": ChunkKeyEncoding("v2", separator),
        "codecs": codecs,
        "fill_value": fill,
    }


def _read_elements(
    spec: Any, filters: Any, compressor: Any, fill_value: Any, old_text: bool
) -> tuple[DataType, tuple[NamedConfig, ...], Any]:
    """The data type, the codecs, and the fill value in the model's spelling."""
    stored = np_dtype_of_v2(spec)
    if old_text and stored.kind == "U" and stored.itemsize == 4:
        stored = np.dtype("S1")  # netCDF-C 4.9.0 called a byte of text so
    before, serializer, after = _read_codecs(filters, compressor)
    _check_byte_orders(stored, before, serializer)
    data_type = _data_type(stored, [codec.name for codec in (*before, serializer) if codec])
    if serializer is None:
        serializer = bytes_codec(stored, before)
    return data_type, (*before, serializer, *after), read_v2_fill(data_type, stored, fill_value)


def _check_format(document: Mapping[str, Any]) -> None:
    """The format number has to be 2."""
    if document.get("zarr_format") != 2 or type(document["zarr_format"]) is not int:
        raise MetadataError(
            f"zarr_format is {short(document.get('zarr_format'))} where 2 has to be", field="zarr_format"
        )


def _nczarr(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What netCDF-C notes of an array, in whichever of its generations (NCZarr)."""
    for place in (attributes, document):
        for name in _NCZARR:
            if isinstance(place.get(name), dict):
                found: Mapping[str, Any] = place[name]
                return found
    return None


def nczarr_scalar(nczarr: Mapping[str, Any] | None) -> bool:
    """Whether netCDF-C means a scalar."""
    return nczarr is not None and (nczarr.get("scalar") in (1, True) or nczarr.get("storage") == "scalar")


def _take_dimension_names(
    attributes: dict[str, Any], nczarr: Mapping[str, Any] | None, ndim: int
) -> tuple[str | None, ...] | None:
    """The dimension names; ``_ARRAY_DIMENSIONS`` is taken out of the attributes where it says just that."""
    listed = _as_names(attributes.get(DIMENSIONS), ndim)
    references = None if nczarr is None else nczarr.get("dimension_references", nczarr.get("dimrefs"))
    names = _as_names(references, ndim)
    if names is None:
        names = listed
    else:
        names = tuple(name and name.rsplit("/", 1)[-1] for name in names)
    if listed is not None and listed == names:
        del attributes[DIMENSIONS]
    return names


def _as_names(value: Any, ndim: int) -> tuple[str | None, ...] | None:
    """Names, if they can be those of this array's dimensions: a user's own attribute may look otherwise."""
    try:
        names = None if value is None else read_dimension_names(value, DIMENSIONS)
    except MetadataError:
        return None
    return names if names is not None and len(names) == ndim else None


def _read_codecs(filters: Any, compressor: Any) -> tuple[list[NamedConfig], NamedConfig | None, list[NamedConfig]]:
    """Filters and compressor as codecs on arrays, a codec from array to bytes (None: the memory), codecs on bytes."""
    filters = [] if filters is None else filters
    if not isinstance(filters, list):
        raise MetadataError(f"filters is a {type(filters).__name__}, not a list", field="filters")
    found = [_read_codec(item, f"filters[{i}]") for i, item in enumerate(filters)]
    if compressor is not None:
        found.append(_read_codec(compressor, "compressor"))
    return arrange(found)


def arrange(found: list[NamedConfig]) -> tuple[list[NamedConfig], NamedConfig | None, list[NamedConfig]]:
    """Codecs in v2's order as those on arrays, the one from array to bytes (None: the memory), and those on bytes."""
    before: list[NamedConfig] = []
    while found and found[0].name.removeprefix(CODEC_PREFIX) in _ARRAY_FILTERS:
        before.append(found.pop(0))
    if found and found[0].name.removeprefix(CODEC_PREFIX) not in _BYTE_CODECS | _ARRAY_FILTERS:
        return before, found[0], found[1:]  # an object codec, or one of a kind that we cannot know
    return before, None, found


def _check_byte_orders(stored: np.dtype[Any], filters: list[NamedConfig], serializer: NamedConfig | None) -> None:
    """Refuse codecs that take the bytes for those of another byte order: what such bytes mean is anyone's guess."""
    found = stored
    for i, codec in enumerate(filters):
        taken = _dtype_of(codec, "decode_dtype" if codec.name.endswith(".astype") else "dtype") or found
        if taken != found and not (_is_little(taken) and _is_little(found)):
            raise UnsupportedError(
                f"codec {codec.name.removeprefix(CODEC_PREFIX)!r} takes elements of {taken.str} where {found.str} come",
                field=f"filters[{i}]",
            )
        found = filtered(found, [codec])
    if serializer is not None and not found.hasobject and not _is_little(found):
        name = serializer.name.removeprefix(CODEC_PREFIX)
        raise UnsupportedError(
            f"codec {short(name)} takes elements in little-endian order, not {found.str}", field="dtype"
        )


def _is_little(dtype: np.dtype[Any]) -> bool:
    """Whether no element, or part of one, is in big-endian order."""
    return dtype.hasobject or is_ml_dtype(dtype) or dtype == dtype.newbyteorder("<")


def _dtype_of(codec: NamedConfig, member: str) -> np.dtype[Any] | None:
    """A dtype that a codec names; None where it names none, or one that the codec will refuse."""
    return None if codec.name.endswith(".bitround") else named_dtype(codec.configuration.get(member))


def _data_type(stored: np.dtype[Any], codecs: list[str]) -> DataType:
    """The data type of a v2 dtype; that of objects depends on the codec that stores them."""
    return DataType.of(stored) if not stored.hasobject else object_type(codecs)


def object_type(codecs: list[str]) -> DataType:
    """The data type of objects, by the codecs that store them."""
    ids = [name.removeprefix(CODEC_PREFIX) for name in codecs]
    if "vlen-utf8" in ids or "categorize" in ids:
        return DataType.named("string")
    if "vlen-bytes" in ids:
        return DataType.named("bytes")
    if not set(ids) - _ARRAY_FILTERS:
        raise UnsupportedError(
            f"dtype '|O' needs a filter that stores objects: {', '.join(sorted(_OBJECT_CODECS))} or categorize",
            field="filters",
        )
    return DataType(V2_ONLY, np.dtype(object), {"dtype": "|O"})


def filtered(stored: np.dtype[Any], filters: list[NamedConfig]) -> np.dtype[Any]:
    """The dtype that the filters hand on, with its byte order."""
    for codec in filters:
        if codec.name.endswith(".packbits"):
            stored = np.dtype("u1")
            continue
        member = "encode_dtype" if codec.name.endswith(".astype") else "astype"
        stored = _dtype_of(codec, member) or _dtype_of(codec, "dtype") or stored
    return stored


def bytes_codec(stored: np.dtype[Any], filters: list[NamedConfig]) -> NamedConfig:
    """The codec that stores elements as they are, in the byte order, or orders, of the dtype that the filters give."""
    found = filtered(stored, filters)
    codec = _plain_codec(found)
    if codec is not None and (stored.hasobject or _in_order(without_padding(stored), codec, filters) == stored):
        return codec
    return NamedConfig("v2.bytes", {"dtype": v2_dtype(stored)} | ({"filtered": v2_dtype(found)} if filters else {}))


def _plain_codec(stored: np.dtype[Any]) -> NamedConfig | None:
    """The ``bytes`` codec for a dtype, unless it holds both byte orders."""
    if not byte_ordered(stored):
        return NamedConfig("bytes")
    if is_ml_dtype(stored) or stored == stored.newbyteorder("<"):
        return NamedConfig("bytes", {"endian": "little"})
    return NamedConfig("bytes", {"endian": "big"}) if stored == stored.newbyteorder(">") else None


def _read_codec(value: Any, place: str) -> NamedConfig:
    """A codec of v2: an object with an id."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise MetadataError(f"{short(value)} is no codec: it has no id", field=place)
    return NamedConfig(CODEC_PREFIX + value["id"], {k: v for k, v in value.items() if k != "id"})


def _take_order(codecs: tuple[NamedConfig, ...], ndim: int) -> tuple[str, tuple[NamedConfig, ...]]:
    """The order of the cells, and the codecs that remain."""
    if not codecs or codecs[0].name != "transpose":
        return "C", codecs
    order = codecs[0].configuration.get("order")
    if order == "C":
        return "C", codecs[1:]
    if order != "F" and list(order or ()) != list(range(ndim))[::-1]:
        raise MetadataError("Zarr v2 can only reverse all axes (order F)", codec="transpose")
    return "F", codecs[1:]


def _take_stored_dtype(
    metadata: ArrayMetadata, codecs: tuple[NamedConfig, ...]
) -> tuple[np.dtype[Any], list[NamedConfig]]:
    """The dtype with its byte order, and the codecs that v2 spells out."""
    dtype = metadata.data_type.dtype
    names = [codec.name for codec in codecs]
    plain = [i for i, name in enumerate(names) if name in ("bytes", "endian", "v2.bytes")]
    if len(plain) > 1 or (not plain and arrange(list(codecs))[1] is None):
        raise MetadataError(
            f"Zarr v2 cannot express the codecs {names}: it needs exactly one from array to bytes", field="codecs"
        )
    if not plain:
        return dtype if dtype.hasobject or not byte_ordered(dtype) else dtype.newbyteorder("<"), list(codecs)
    serializer = codecs[plain[0]]
    rest = [codec for i, codec in enumerate(codecs) if i != plain[0]]
    if serializer.name == "v2.bytes":
        return np_dtype_of_v2(serializer.configuration["dtype"]), rest
    return _in_order(dtype, serializer, codecs[: plain[0]]), rest


def _in_order(dtype: np.dtype[Any], serializer: NamedConfig, filters: Sequence[NamedConfig]) -> np.dtype[Any]:
    """The dtype in the byte order of what the first filter takes, or without filters in that of the bytes."""
    endian = serializer.configuration.get("endian")
    for codec in filters[:1]:
        spec = codec.configuration.get("dtype", codec.configuration.get("decode_dtype"))
        if isinstance(spec, str) and spec[:1] in ("<", ">"):
            endian = "big" if spec[0] == ">" else "little"
    if dtype.hasobject or is_ml_dtype(dtype):
        if endian == "big":
            raise UnsupportedError(f"Zarr v2 stores {dtype.name} in little-endian order only", field="dtype")
        return dtype
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _split_codecs(codecs: list[NamedConfig]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Filters, and the compressor: the last codec, unless v2 knows it as a filter only."""
    found = [codec_config(codec) for codec in codecs]
    if found and found[-1]["id"] not in _ARRAY_FILTERS | _OBJECT_CODECS:
        return found[:-1], found[-1]
    return found, None
