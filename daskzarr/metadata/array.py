"""The one model of an array's metadata, that of Zarr v3, whatever format the documents are in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import default_fill, fill_scalar
from daskzarr.metadata.named_config import NamedConfig
from daskzarr.metadata.numpy_dtype import named_dtype
from daskzarr.metadata.shards import inner_chunk_shape
from daskzarr.rectilinear_grid import RectilinearGrid

_MOST_AXES = 32  # what every NumPy has
ChunkGrid = RegularGrid | RectilinearGrid
ZarrFormat = Literal[2, 3, "n5"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMetadata:
    """What the documents of an array say, in the terms of Zarr v3.

    ``fill_value`` keeps its JSON spelling: a decoded NaN equals nothing, and its payload matters. None is
    the undefined fill value of v2. ``extra_fields`` are members this version does not know but must keep.
    """

    shape: tuple[int, ...]
    data_type: DataType
    chunk_grid: ChunkGrid
    chunk_key_encoding: ChunkKeyEncoding
    codecs: tuple[NamedConfig, ...]
    fill_value: Any = field(hash=False)
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dimension_names: tuple[str | None, ...] | None = None
    extra_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    zarr_format: ZarrFormat = 3

    def __post_init__(self) -> None:
        if len(self.shape) > _MOST_AXES:
            raise UnsupportedError(f"the array has {len(self.shape)} axes; {_MOST_AXES} is the most", field="shape")
        grid = self.chunk_grid
        lengths = grid.chunk_shape if isinstance(grid, RegularGrid) else grid.chunk_shapes
        if len(lengths) != len(self.shape):
            raise MetadataError(
                f"the chunk shape {lengths} and the shape {self.shape} differ in length",
                field="chunk_grid",
            )
        if self.dimension_names is not None and len(self.dimension_names) != len(self.shape):
            raise MetadataError(
                f"{len(self.dimension_names)} dimension names for {len(self.shape)} dimensions", field="dimension_names"
            )
        self.fill_scalar  # noqa: B018  a fill value that does not fit the type is refused here

    @property
    def fill_scalar(self) -> Any:
        """The fill value as a NumPy scalar, or an object of an array of objects."""
        for codec in self.codecs if self.data_type.dtype.hasobject else ():
            if codec.name == "numcodecs.vlen-array" and self.fill_value in (None, 0, ""):
                dtype = named_dtype(codec.configuration.get("dtype"))
                return None if dtype is None else np.zeros(0, dtype)  # None: the codec refuses it, and says why
        return fill_scalar(self.data_type, self.fill_value)

    @property
    def inner_chunk_shape(self) -> tuple[int, ...] | None:
        """Shape of the innermost chunks, if stored objects are shards that hold many."""
        return inner_chunk_shape(self.codecs, len(self.shape))

    def compact(self) -> str:
        """What reading and writing chunks needs, in a few hundred characters: this travels in every task."""
        try:
            return self._compact()
        except RecursionError:
            pass  # its traceback is too long to travel with the error
        raise MetadataError("the metadata are nested too deeply", field="codecs")

    def _compact(self) -> str:
        """The same."""
        return json.dumps(
            [
                self.shape,
                NamedConfig(self.data_type.name, self.data_type.configuration).write(),
                _compact_grid(self.chunk_grid),
                self.chunk_key_encoding.name,
                self.chunk_key_encoding.separator,
                [[codec.name, codec.configuration, codec.must_understand] for codec in self.codecs],
                # The default is not spelled out: of an element of many parts it is long.
                [] if _same_json(self.fill_value, default_fill(self.data_type)) else [self.fill_value],
                self.zarr_format,
            ],
            separators=(",", ":"),
        )

    @classmethod
    def from_compact(cls, text: str) -> ArrayMetadata:
        """The inverse of :meth:`compact`; attributes, names and extra fields are not in it."""
        try:
            shape, data_type, grid, key_name, separator, codecs, fill_value, zarr_format = json.loads(text)
        except RecursionError:
            raise MetadataError("the metadata are nested too deeply", field="codecs") from None
        data_type = DataType.read(NamedConfig.read(data_type, "data_type"), v2_too=True)
        return cls(
            shape=tuple(shape),
            data_type=data_type,
            chunk_grid=_grid_of(tuple(shape), grid),
            chunk_key_encoding=ChunkKeyEncoding(key_name, separator),
            codecs=tuple(NamedConfig(*codec) for codec in codecs),
            fill_value=fill_value[0] if fill_value else default_fill(data_type),
            zarr_format=zarr_format,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetadata:
    """What the documents of a group say."""

    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    extra_fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    zarr_format: ZarrFormat = 3


def _same_json(one: Any, other: Any) -> bool:
    """Whether two values are written alike: -0.0 is not 0.0, false is not 0."""
    return bool(one == other) and json.dumps(one) == json.dumps(other)


def _compact_grid(grid: ChunkGrid) -> Any:
    """A chunk shape, or what a rectilinear grid is made of."""
    return grid.chunk_shape if isinstance(grid, RegularGrid) else {"rectilinear": grid.chunk_shapes}


def _grid_of(shape: tuple[int, ...], compact: Any) -> ChunkGrid:
    """The inverse."""
    if isinstance(compact, list):
        return RegularGrid(shape, tuple(compact))
    axes = compact["rectilinear"]
    return RectilinearGrid(shape, tuple(a if isinstance(a, int) else tuple(map(tuple, a)) for a in axes))


def strip_for_reading(metadata: ArrayMetadata) -> ArrayMetadata:
    """The same array without what no chunk needs."""
    return replace(metadata, attributes={}, dimension_names=None, extra_fields={})


def read_lengths(value: Any, place: str, *, least: int) -> tuple[int, ...]:
    """A JSON list of lengths, each at least ``least``."""
    if not isinstance(value, list) or not all(type(n) is int and n >= least for n in value):
        raise MetadataError(f"{short(value)} is no list of integers of at least {least}", field=place)
    if max(value, default=0) >= 2**63:
        raise MetadataError(f"{short(value)} holds a length beyond 2^63 - 1", field=place)
    return tuple(value)


def read_dimension_names(value: Any, place: str) -> tuple[str | None, ...]:
    """A JSON list of names and nulls."""
    if not isinstance(value, list) or not all(name is None or isinstance(name, str) for name in value):
        raise MetadataError(f"{short(value)} is no list of names", field=place)
    return tuple(value)


def read_attributes(value: Any) -> dict[str, Any]:
    """A JSON object of attributes."""
    if not isinstance(value, dict):
        raise MetadataError(f"the attributes are a {type(value).__name__}, not an object", field="attributes")
    return value
