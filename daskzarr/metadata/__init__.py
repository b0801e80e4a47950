"""Metadata documents <-> values. Does no I/O: parsed JSON in, values out, and back."""

from daskzarr.metadata.array import ArrayMetadata, ChunkGrid, GroupMetadata, ZarrFormat
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import default_fill, fill_json, fill_scalar
from daskzarr.metadata.named_config import NamedConfig

__all__ = [
    "ArrayMetadata",
    "ChunkGrid",
    "DataType",
    "GroupMetadata",
    "NamedConfig",
    "ZarrFormat",
    "default_fill",
    "fill_json",
    "fill_scalar",
]
