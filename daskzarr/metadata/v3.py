"""zarr.json of Zarr v3 <-> the model (Zarr v3 core, metadata)."""

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
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.named_config import NamedConfig

DOCUMENT = "zarr.json"

_ARRAY = {"shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"}
_ARRAY_OPTIONAL = {"attributes", "dimension_names", "storage_transformers"}
_GROUP_OPTIONAL = {"attributes", "consolidated_metadata"}
_HEAD = {"zarr_format", "node_type"}
_SEPARATORS = {"default": "/", "v2": "."}


def read_node_type(document: Mapping[str, Any]) -> str:
    """``"array"`` or ``"group"``."""
    if document.get("zarr_format") != 3 or isinstance(document.get("zarr_format"), (bool, float)):
        raise MetadataError(f"zarr_format is {document.get('zarr_format')!r} where 3 has to be", field="zarr_format")
    node_type = document.get("node_type")
    if node_type not in ("array", "group"):
        raise MetadataError(f"node_type is {node_type!r}; it can be 'array' or 'group'", field="node_type")
    return str(node_type)


def read_array(document: Mapping[str, Any]) -> ArrayMetadata:
    """The model of an array document."""
    missing = sorted(_ARRAY - set(document))
    if missing:
        raise MetadataError(f"the array's document lacks {', '.join(missing)}", field=missing[0])
    if document.get("storage_transformers", []) != []:
        raise UnsupportedError(
            "the array has storage transformers, of which none is defined", field="storage_transformers"
        )
    shape = read_lengths(document["shape"], "shape", least=0)
    data_type = _read_known(document["data_type"], "data_type")
    names = document.get("dimension_names")
    codecs = document["codecs"]
    if not isinstance(codecs, list) or not codecs:
        raise MetadataError("codecs has to be a list with at least one codec", field="codecs")
    if document["fill_value"] is None:
        raise MetadataError("fill_value is null, which Zarr v3 does not allow", field="fill_value")
    if data_type.configuration:
        raise UnsupportedError(f"data type {data_type.name!r} with a configuration is not supported", field="data_type")
    return ArrayMetadata(
        shape=shape,
        data_type=DataType.named(data_type.name),
        chunk_grid=_read_grid(document["chunk_grid"], shape),
        chunk_key_encoding=_read_key_encoding(document["chunk_key_encoding"]),
        codecs=tuple(NamedConfig.read(codec, f"codecs[{i}]") for i, codec in enumerate(codecs)),
        fill_value=document["fill_value"],
        attributes=read_attributes(document.get("attributes", {})),
        dimension_names=None if names is None else read_dimension_names(names, "dimension_names"),
        extra_fields=_read_extra(document, _ARRAY | _ARRAY_OPTIONAL),
        zarr_format=3,
    )


def write_array(metadata: ArrayMetadata) -> dict[str, Any]:
    """The array document of a model: every member spelled out, defaults too."""
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(metadata.shape),
        "data_type": metadata.data_type.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(metadata.chunk_grid.chunk_shape)}},
        "chunk_key_encoding": {
            "name": metadata.chunk_key_encoding.name,
            "configuration": {"separator": metadata.chunk_key_encoding.separator},
        },
        "fill_value": metadata.fill_value,
        "codecs": [codec.write() for codec in metadata.codecs],
        "attributes": dict(metadata.attributes),
    }
    if metadata.dimension_names is not None:
        document["dimension_names"] = list(metadata.dimension_names)
    return document | dict(metadata.extra_fields)


def read_group(document: Mapping[str, Any]) -> GroupMetadata:
    """The model of a group document. Its consolidated metadata is kept, as a member it does not look into."""
    extra = _read_extra(document, _GROUP_OPTIONAL)
    if "consolidated_metadata" in document:
        extra["consolidated_metadata"] = document["consolidated_metadata"]
    return GroupMetadata(attributes=read_attributes(document.get("attributes", {})), extra_fields=extra, zarr_format=3)


def write_group(metadata: GroupMetadata) -> dict[str, Any]:
    """The group document of a model."""
    head = {"zarr_format": 3, "node_type": "group", "attributes": dict(metadata.attributes)}
    return head | dict(metadata.extra_fields)


def _read_known(value: Any, place: str) -> NamedConfig:
    """An extension point that every reader has to understand."""
    config = NamedConfig.read(value, place)
    if not config.must_understand:
        raise MetadataError(f"{config.name!r} is marked as not to be understood, which {place} cannot be", field=place)
    return config


def _read_grid(value: Any, shape: tuple[int, ...]) -> RegularGrid:
    """The chunk grid; only regular ones so far."""
    grid = _read_known(value, "chunk_grid")
    if grid.name != "regular":
        raise UnsupportedError(f"chunk grid {grid.name!r} is not supported; 'regular' is", field="chunk_grid")
    if set(grid.configuration) != {"chunk_shape"}:
        raise MetadataError("a regular grid is configured by chunk_shape and nothing else", field="chunk_grid")
    return RegularGrid(shape, read_lengths(grid.configuration["chunk_shape"], "chunk_grid", least=1))


def _read_key_encoding(value: Any) -> ChunkKeyEncoding:
    """The chunk key encoding, with the separator its name implies."""
    encoding = _read_known(value, "chunk_key_encoding")
    if encoding.name not in _SEPARATORS:
        raise UnsupportedError(
            f"chunk key encoding {encoding.name!r} is not supported; 'default' and 'v2' are", field="chunk_key_encoding"
        )
    separator = encoding.configuration.get("separator", _SEPARATORS[encoding.name])
    if separator not in ("/", ".") or set(encoding.configuration) - {"separator"}:
        raise MetadataError("a chunk key encoding is configured by separator, '/' or '.'", field="chunk_key_encoding")
    return ChunkKeyEncoding(encoding.name, separator)  # type: ignore[arg-type]


def _read_extra(document: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Members we do not know: kept where the document says they may be ignored, refused otherwise."""
    extra = {name: value for name, value in document.items() if name not in known | _HEAD}
    for name, value in extra.items():
        if not (isinstance(value, dict) and value.get("must_understand") is False):
            raise UnsupportedError(
                f"the document has a member {name!r} that daskzarr does not know and that is not marked "
                '"must_understand": false',
                field=name,
            )
    return extra
