"""zarr.json of Zarr v3 <-> the model (Zarr v3 core, metadata)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata.array import (
    ArrayMetadata,
    ChunkGrid,
    GroupMetadata,
    read_attributes,
    read_dimension_names,
    read_lengths,
)
from daskzarr.metadata.data_type import V2_ONLY, DataType
from daskzarr.metadata.json_text import remembered
from daskzarr.metadata.named_config import NamedConfig
from daskzarr.metadata.shards import SHARDING
from daskzarr.metadata.v2_fill_value import read_structured_fill, write_structured_fill
from daskzarr.rectilinear_grid import RectilinearGrid, Runs

DOCUMENT = "zarr.json"
_IN_USE = {"__xarray_dataarray_variable__", "__values__"}

_CELLS = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
_ARRAY = set(_CELLS)
_ARRAY_OPTIONAL = {"attributes", "dimension_names", "storage_transformers"}
_GROUP_OPTIONAL = {"attributes", "consolidated_metadata"}
_HEAD = {"zarr_format", "node_type"}
_ARRAY_KNOWN = _ARRAY | _ARRAY_OPTIONAL | _HEAD
_GROUP_KNOWN = _GROUP_OPTIONAL | _HEAD
_SEPARATORS = {"default": "/", "v2": "."}


def is_reserved(name: str) -> bool:
    """Whether a name is one that the format keeps for itself, save for those that xarray has always used.

    >>> is_reserved("__a"), is_reserved("__xarray_dataarray_variable__"), is_reserved("_a")
    (True, False, False)
    """
    return name.startswith("__") and name not in _IN_USE


def read_node_type(document: Mapping[str, Any]) -> str:
    """``"array"`` or ``"group"``."""
    if document.get("zarr_format") != 3 or isinstance(document.get("zarr_format"), (bool, float)):
        raise MetadataError(
            f"zarr_format is {short(document.get('zarr_format'))} where 3 has to be", field="zarr_format"
        )
    node_type = document.get("node_type")
    if node_type not in ("array", "group"):
        raise MetadataError(f"node_type is {short(node_type)}; it can be 'array' or 'group'", field="node_type")
    return str(node_type)


def read_array(document: Mapping[str, Any]) -> ArrayMetadata:
    """The model of an array document."""
    if not document.keys() >= _ARRAY:
        missing = sorted(_ARRAY - document.keys())
        raise MetadataError(f"the array's document lacks {', '.join(missing)}", field=missing[0])
    names = document.get("dimension_names")
    return ArrayMetadata(
        **_read_cells([document[name] for name in _CELLS]),
        attributes=read_attributes(document.get("attributes", {})),
        dimension_names=None if names is None else read_dimension_names(names, "dimension_names"),
        extra_fields=_read_extra(document, _ARRAY_KNOWN) | _read_transformers(document),
        zarr_format=3,
    )


def write_array(metadata: ArrayMetadata) -> dict[str, Any]:
    """The array document of a model: every member spelled out, defaults too."""
    _refuse_others_parts(metadata)
    fill_value = metadata.fill_value
    if metadata.data_type.name == "structured":
        fill_value = write_structured_fill(metadata.data_type, fill_value, _endian(metadata.codecs))
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(metadata.shape),
        "data_type": metadata.data_type.write(),
        "chunk_grid": _write_grid(metadata.chunk_grid),
        "chunk_key_encoding": {
            "name": metadata.chunk_key_encoding.name,
            "configuration": {"separator": metadata.chunk_key_encoding.separator},
        },
        "fill_value": fill_value,
        "codecs": [codec.write() for codec in metadata.codecs],
        "attributes": dict(metadata.attributes),
    }
    if metadata.dimension_names is not None:
        document["dimension_names"] = list(metadata.dimension_names)
    return document | dict(metadata.extra_fields)


def read_group(document: Mapping[str, Any]) -> GroupMetadata:
    """The model of a group document. Its consolidated metadata is kept, as a member it does not look into."""
    extra = _read_extra(document, _GROUP_KNOWN)
    if "consolidated_metadata" in document:
        extra["consolidated_metadata"] = document["consolidated_metadata"]
    return GroupMetadata(attributes=read_attributes(document.get("attributes", {})), extra_fields=extra, zarr_format=3)


def write_group(metadata: GroupMetadata) -> dict[str, Any]:
    """The group document of a model."""
    head = {"zarr_format": 3, "node_type": "group", "attributes": dict(metadata.attributes)}
    return head | dict(metadata.extra_fields)


@remembered
def _read_cells(members: Any) -> dict[str, Any]:
    """What the members ``_CELLS`` say: all that chunks need, but no names and attributes."""
    lengths, spec, grid, key_encoding, fill_value, codecs = members
    shape = read_lengths(lengths, "shape", least=0)
    data_type = DataType.read(_read_known(spec, "data_type"))
    if not isinstance(codecs, list) or not codecs:
        raise MetadataError("codecs has to be a list with at least one codec", field="codecs")
    if fill_value is None:
        raise MetadataError("fill_value is null, which Zarr v3 does not allow", field="fill_value")
    pipeline = tuple(_read_codec(codec, f"codecs[{i}]", data_type) for i, codec in enumerate(codecs))
    if data_type.name == "structured":
        fill_value = read_structured_fill(data_type, fill_value, _endian(pipeline))
    return {
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": _read_grid(grid, shape),
        "chunk_key_encoding": _read_key_encoding(key_encoding),
        "codecs": pipeline,
        "fill_value": fill_value,
    }


def _read_known(value: Any, place: str) -> NamedConfig:
    """An extension point that every reader has to understand."""
    config = NamedConfig.read(value, place)
    if not config.must_understand:
        raise MetadataError(
            f"{short(config.name)} is marked as not to be understood, which {place} cannot be", field=place
        )
    return config


def _read_codec(value: Any, place: str, data_type: DataType) -> NamedConfig:
    """A codec, by a name that a document may use."""
    codec = NamedConfig.read(value, place)
    if codec.internal:
        raise UnsupportedError(f"codec {short(codec.name)} is not supported", field=place, codec=codec.name)
    return _with_endian(codec) if data_type.name == "structured" else codec


def _with_endian(codec: NamedConfig) -> NamedConfig:
    """A codec of a legacy structure, whose bytes are little-endian where it does not say, in shards too."""
    given = codec.configuration
    if codec.name in ("bytes", "endian"):
        return replace(codec, configuration={"endian": "little", **given})
    if codec.name != SHARDING or not isinstance(given.get("codecs"), list):
        return codec
    inner = [_with_endian(NamedConfig.read(item, "codecs")).write() for item in given["codecs"]]
    return replace(codec, configuration={**given, "codecs": inner})


def _endian(codecs: tuple[NamedConfig, ...]) -> str | None:
    """The byte order that the ``bytes`` codec states."""
    return next((c.configuration.get("endian") for c in codecs if c.name in ("bytes", "endian")), None)


def _read_transformers(document: Mapping[str, Any]) -> dict[str, Any]:
    """Storage transformers to be kept: none is defined, and one that has to be understood cannot be."""
    value = document.get("storage_transformers", [])
    if value == []:
        return {}
    if not isinstance(value, list) or not all(
        isinstance(item, dict) and item.get("must_understand") is False for item in value
    ):
        raise UnsupportedError(
            "the array has storage transformers, of which none is defined", field="storage_transformers"
        )
    return {"storage_transformers": value}


def _refuse_others_parts(metadata: ArrayMetadata) -> None:
    """What only v2 or N5 can say."""
    if metadata.data_type.name == V2_ONLY:
        raise UnsupportedError(
            f"Zarr v3 has no data type for {metadata.data_type.dtype}: its structures hold no arrays, its objects are "
            'text ("string") or bytes ("bytes"); store such fields apart, or use zarr_format=2',
            field="data_type",
        )
    for codec in metadata.codecs:
        if codec.internal:
            raise UnsupportedError(
                "Zarr v3 has one byte order for all fields, and no N5 blocks; write the cells anew", codec=codec.name
            )
    if metadata.chunk_key_encoding.name not in _SEPARATORS:
        raise UnsupportedError("Zarr v3 has no chunk keys of N5; write the cells anew", field="chunk_key_encoding")


def _read_grid(value: Any, shape: tuple[int, ...]) -> ChunkGrid:
    """The chunk grid."""
    grid = _read_known(value, "chunk_grid")
    if grid.name == "rectilinear":
        return _read_rectilinear(grid.configuration, shape)
    if grid.name != "regular":
        raise UnsupportedError(
            f"chunk grid {short(grid.name)} is not supported; 'regular' and 'rectilinear' are", field="chunk_grid"
        )
    if set(grid.configuration) != {"chunk_shape"}:
        raise MetadataError("a regular grid is configured by chunk_shape and nothing else", field="chunk_grid")
    return RegularGrid(shape, read_lengths(grid.configuration["chunk_shape"], "chunk_grid", least=1))


def _read_rectilinear(configuration: Mapping[str, Any], shape: tuple[int, ...]) -> RectilinearGrid:
    """A grid with chunk lengths for each axis (Zarr extensions, rectilinear)."""
    if set(configuration) != {"kind", "chunk_shapes"} or configuration["kind"] != "inline":
        raise MetadataError("a rectilinear grid is configured by kind 'inline' and chunk_shapes", field="chunk_grid")
    given = configuration["chunk_shapes"]
    if not isinstance(given, list) or len(given) != len(shape):
        raise MetadataError(f"chunk_shapes has to be a list of {len(shape)} entries", field="chunk_grid")
    grid = RectilinearGrid(shape, tuple(_read_axis(item) for item in given))
    for axis, edges in enumerate(grid.axes):
        if edges.total < edges.size:
            raise MetadataError(
                f"the chunks of axis {axis} cover {edges.total} of its {edges.size} cells",
                field="chunk_grid",
                axis=axis,
            )
    return grid


def _read_axis(given: Any) -> int | Runs:
    """The chunks of one axis: equal steps, or lengths and [length, number] pairs."""
    if not isinstance(given, list):
        return read_lengths([given], "chunk_grid", least=1)[0]
    runs = []
    for item in given:
        pair = item if isinstance(item, list) else [item, 1]
        if len(pair) != 2:
            raise MetadataError(f"{short(item)} is neither a length nor [length, number]", field="chunk_grid")
        runs.append(read_lengths(pair, "chunk_grid", least=1))
    merged: list[tuple[int, int]] = []
    for length, count in runs:
        if merged and merged[-1][0] == length:
            merged[-1] = (length, merged[-1][1] + count)
        else:
            merged.append((length, count))
    return tuple(merged)


def _write_grid(grid: ChunkGrid) -> dict[str, Any]:
    """The document's spelling of a grid."""
    if isinstance(grid, RegularGrid):
        return {"name": "regular", "configuration": {"chunk_shape": list(grid.chunk_shape)}}
    axes = [given if isinstance(given, int) else [_write_run(run) for run in given] for given in grid.chunk_shapes]
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": axes}}


def _write_run(run: tuple[int, int]) -> Any:
    """A single length as such, several equal ones as a pair."""
    return run[0] if run[1] == 1 else list(run)


def _read_key_encoding(value: Any) -> ChunkKeyEncoding:
    """The chunk key encoding, with the separator its name implies."""
    encoding = _read_known(value, "chunk_key_encoding")
    if encoding.name not in _SEPARATORS:
        raise UnsupportedError(
            f"chunk key encoding {short(encoding.name)} is not supported; 'default' and 'v2' are",
            field="chunk_key_encoding",
        )
    separator = encoding.configuration.get("separator", _SEPARATORS[encoding.name])
    if separator not in ("/", ".") or set(encoding.configuration) - {"separator"}:
        raise MetadataError("a chunk key encoding is configured by separator, '/' or '.'", field="chunk_key_encoding")
    return ChunkKeyEncoding(encoding.name, separator)  # type: ignore[arg-type]


def _read_extra(document: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Members we do not know: kept where the document says they may be ignored, refused otherwise."""
    if document.keys() <= known:
        return {}
    extra = {name: value for name, value in document.items() if name not in known}
    for name, value in extra.items():
        if not (isinstance(value, dict) and value.get("must_understand") is False):
            raise UnsupportedError(
                f"the document has a member {short(name)} that daskzarr does not know and that is not marked "
                '"must_understand": false',
                field=name,
            )
    return extra
