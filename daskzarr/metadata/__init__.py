"""Metadata documents <-> values. Does no I/O: parsed JSON in, values out, and back."""

from daskzarr.metadata.array import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.metadata.data_type import DataType, fill_json
from daskzarr.metadata.named_config import NamedConfig

__all__ = ["ArrayMetadata", "DataType", "GroupMetadata", "NamedConfig", "ZarrFormat", "fill_json"]
