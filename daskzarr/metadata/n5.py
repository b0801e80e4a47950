"""attributes.json of N5 <-> the model (N5 file-system specification)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata.array import ArrayMetadata, GroupMetadata, read_dimension_names, read_lengths
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import default_fill
from daskzarr.metadata.named_config import NamedConfig

ATTRIBUTES_DOCUMENT = "attributes.json"
VERSION = "4.0.0"
AXES = "axes"
BLOCK_CODEC = "n5.block"

_DATASET = ("dimensions", "blockSize", "dataType")
_COMPRESSIONS = ("compression", "compressionType", "codecs")
_NUMBERS = (*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("u", "")), "float32", "float64")
_OBJECTS = {"string": "string", "object": "bytes"}  # N5's name, and that of the model
_LONGEST = 2**31 - 1


def is_dataset(document: Mapping[str, Any]) -> bool:
    """Whether a document is that of a dataset; all others are of groups.

    >>> is_dataset({"dimensions": [4], "blockSize": [2], "dataType": "int8", "compression": {"type": "raw"}})
    True
    """
    return all(name in document for name in _DATASET) and any(name in document for name in _COMPRESSIONS)


def read_array(document: Mapping[str, Any], *, reverse_axes: bool = True) -> ArrayMetadata:
    """The model of a dataset's document.

    N5 names the fastest axis first. Here it comes last, as NumPy has it, so that a block lies in memory as it is
    stored; with ``reverse_axes=False`` axes keep N5's order, and blocks are transposed. A list of names under ``axes``
    becomes dimension names; all other attributes stay as they are, in N5's order. A block that is not there reads as 0.
    """
    missing = [name for name in _DATASET if name not in document]
    if missing:
        raise MetadataError(f"{ATTRIBUTES_DOCUMENT} lacks {', '.join(missing)}", field=missing[0])
    check_version(document)
    shape = read_lengths(document["dimensions"], "dimensions", least=0)
    chunk_shape = read_lengths(document["blockSize"], "blockSize", least=1)
    _check_lengths(shape, chunk_shape)
    data_type = _read_data_type(document["dataType"])
    codecs = [block_codec(data_type, _read_compression(document))]
    attributes, extra_fields = _sort_members(document)
    names = _take_names(attributes, len(shape))
    if reverse_axes:
        shape, chunk_shape = shape[::-1], chunk_shape[::-1]
        names = names and names[::-1]
    else:
        codecs.insert(0, NamedConfig("transpose", {"order": list(range(len(shape)))[::-1]}))
    return ArrayMetadata(
        shape=shape,
        data_type=data_type,
        chunk_grid=RegularGrid(shape, chunk_shape),
        chunk_key_encoding=ChunkKeyEncoding("n5" if reverse_axes else "v2", "/"),
        codecs=tuple(codecs),
        fill_value=default_fill(data_type),
        attributes=attributes,
        dimension_names=names,
        extra_fields=extra_fields,
        zarr_format="n5",
    )


def write_array(metadata: ArrayMetadata, *, root: bool = False) -> dict[str, Any]:
    """The document of a model; a model that N5 cannot express is refused.

    At a container's root, ``root``, it states the version of the format.
    """
    if not isinstance(metadata.chunk_grid, RegularGrid):
        raise MetadataError("N5 has blocks of one shape only", field="chunk_grid")
    compression, reverse_axes = _split_codecs(metadata)
    if metadata.fill_value is None or not _is_zero(metadata.fill_scalar):
        raise MetadataError(
            f"fill_value is {metadata.fill_value!r}, but N5 has no fill value: an absent block is 0",
            field="fill_value",
        )
    step = -1 if reverse_axes else 1
    shape, chunk_shape = metadata.shape[::step], metadata.chunk_grid.chunk_shape[::step]
    _check_lengths(shape, chunk_shape)
    attributes = dict(metadata.attributes)
    if metadata.dimension_names is not None:
        attributes[AXES] = list(metadata.dimension_names[::step])
    return {
        **_head(metadata.extra_fields, root),
        "dimensions": list(shape),
        "blockSize": list(chunk_shape),
        "dataType": _write_data_type(metadata.data_type),
        "compression": compression,
        **_checked(attributes, (*_DATASET, *_COMPRESSIONS)),
    }


def read_group(document: Mapping[str, Any]) -> GroupMetadata:
    """The model of a group's document; one without attributes may have none: ``{}`` stands for it."""
    check_version(document)
    attributes = {name: value for name, value in document.items() if name != "n5"}
    extra_fields = {"n5": document["n5"]} if "n5" in document else {}
    return GroupMetadata(attributes=attributes, extra_fields=extra_fields, zarr_format="n5")


def write_group(metadata: GroupMetadata, *, root: bool) -> dict[str, Any]:
    """The document of a model. At a container's root it states the version of the format."""
    if is_dataset(metadata.attributes):
        raise MetadataError("a group with these attributes would be taken for a dataset", field="attributes")
    return {**_head(metadata.extra_fields, root), **_checked(metadata.attributes, ())}


def check_version(document: Mapping[str, Any]) -> None:
    """Refuse a container of a later format; one that does not say its version is taken."""
    stated = document.get("n5")
    found = re.match(r"\s*0*(\d+)", stated, re.ASCII) if isinstance(stated, str) else None
    if found is not None and (len(found[1]) > 1 or found[1] > VERSION[0]):
        raise UnsupportedError(f"the container is of N5 {found[1][:9]}; versions up to 4 are supported", field="n5")


def block_codec(data_type: DataType, compression: Mapping[str, Any]) -> NamedConfig:
    """The codec of a dataset's blocks.

    >>> block_codec(DataType.named("int16"), {"type": "raw"})
    NamedConfig(name='n5.block', configuration={'compression': {'type': 'raw'}}, must_understand=True)
    """
    configuration: dict[str, Any] = {"compression": dict(compression)}
    name = _write_data_type(data_type)
    if name in _OBJECTS:
        configuration["dataType"] = name
    return NamedConfig(BLOCK_CODEC, configuration)


def _check_lengths(shape: tuple[int, ...], chunk_shape: tuple[int, ...]) -> None:
    """Lengths, in N5's order, that N5 can have."""
    if len(shape) != len(chunk_shape):
        raise MetadataError(f"blockSize has {len(chunk_shape)} axes and dimensions {len(shape)}", field="blockSize")
    if not shape:
        raise UnsupportedError("N5 has no arrays without axes", field="dimensions")
    if max(chunk_shape) > _LONGEST:
        raise MetadataError(f"blockSize holds a length of {max(chunk_shape)}, beyond 2^31 - 1", field="blockSize")


def _read_data_type(name: Any) -> DataType:
    """The type of N5's name."""
    if isinstance(name, str) and (name in _NUMBERS or name in _OBJECTS):
        return DataType.named(_OBJECTS.get(name, name))
    known = ", ".join((*_NUMBERS, *_OBJECTS))
    stated = repr(name[:40]) if isinstance(name, str) else f"a {type(name).__name__}"
    raise UnsupportedError(f"dataType is {stated}, which is not supported; known are {known}", field="dataType")


def _write_data_type(data_type: DataType) -> str:
    """N5's name of a type."""
    for name, ours in _OBJECTS.items():
        if data_type.name == ours:
            return name
    if data_type.name not in _NUMBERS:
        known = ", ".join((*_NUMBERS, *_OBJECTS.values()))
        raise UnsupportedError(f"N5 cannot store {data_type.name}; it can {known}", field="data_type")
    return data_type.name


def _read_compression(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The compression as an object; version 0 had its name only."""
    if isinstance(document.get("codecs"), list):
        raise UnsupportedError("the dataset lists codecs, an experiment that is not supported", field="codecs")
    if "compression" not in document and isinstance(document.get("compressionType"), str):
        return {"type": document["compressionType"]}
    compression = document.get("compression")
    if not isinstance(compression, dict) or not isinstance(compression.get("type"), str):
        raise MetadataError("compression has to be an object with a type", field="compression")
    return compression


def _sort_members(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The user's attributes, and what else there is beside them and what makes the dataset."""
    rest = {name: value for name, value in document.items() if name not in (*_DATASET, "compression")}
    others: tuple[str, ...] = ("n5", "compressionType", "codecs")
    extra = {name: rest.pop(name) for name in others if name in rest}
    if "compression" not in document:
        extra.pop("compressionType", None)  # it is the compression
    return rest, extra


def _take_names(attributes: dict[str, Any], ndim: int) -> tuple[str | None, ...] | None:
    """Take the names of the axes out of the attributes, if they can be names of this array's."""
    try:
        names = read_dimension_names(attributes.get(AXES), AXES)
    except MetadataError:
        return None  # none, or a user's own attribute: it stays one
    if len(names) != ndim:
        return None
    del attributes[AXES]
    return names


def _split_codecs(metadata: ArrayMetadata) -> tuple[dict[str, Any], bool]:
    """The compression, and whether axes are reversed, of codecs and keys that N5 has."""
    encoding = metadata.chunk_key_encoding
    if encoding.name == "default" or encoding.separator != "/":
        raise MetadataError("N5 has block keys such as 1/0, and no others", field="chunk_key_encoding")
    reverse_axes = encoding.name == "n5"
    names = [codec.name for codec in metadata.codecs]
    if names != ([BLOCK_CODEC] if reverse_axes else ["transpose", BLOCK_CODEC]):
        raise MetadataError(f"N5 cannot express the codecs {names} with keys like these", field="codecs")
    *before, block = metadata.codecs
    order = list(range(len(metadata.shape)))[::-1]
    if any(codec.configuration.get("order") not in (order, tuple(order)) for codec in before):
        raise MetadataError("N5 can only reverse all axes", codec="transpose")
    compression = block.configuration.get("compression")
    if not isinstance(compression, Mapping) or block != block_codec(metadata.data_type, compression):
        raise MetadataError(f"the configuration is none for {metadata.data_type.name}", codec=BLOCK_CODEC)
    return dict(compression), reverse_axes


def _is_zero(scalar: Any) -> bool:
    """Whether a fill value is what N5 has in its place."""
    return not scalar if isinstance(scalar, (str, bytes)) else not any(np.asarray(scalar).tobytes())


def _head(extra_fields: Mapping[str, Any], root: bool) -> dict[str, Any]:
    """What no attribute is; the version of the container as it is, or ours in a new one."""
    return {**({"n5": VERSION} if root else {}), **extra_fields}


def _checked(attributes: Mapping[str, Any], reserved: tuple[str, ...]) -> dict[str, Any]:
    """Attributes, none of which has a name that means something to N5."""
    for name in ("n5", *reserved):
        if name in attributes:
            raise MetadataError(f"N5 uses the name {short(name)} itself: no attribute can have it", field="attributes")
    return dict(attributes)
