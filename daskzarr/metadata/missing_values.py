"""Which cells of an array xarray takes for missing, in one format -> the same said as another format says it.

In Zarr v2 the array's fill value is that of missing cells; null is none. In Zarr v3, and here in N5, the attribute
``_FillValue`` names it, and the fill value is only what absent chunks read as (xarray, Zarr encoding specification).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from daskzarr.errors import MetadataError, short
from daskzarr.metadata.array import ArrayMetadata, ZarrFormat
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import fill_json, fill_scalar
from daskzarr.metadata.mask_value import MASK, decode_mask_value, encode_mask_value
from daskzarr.metadata.numpy_dtype import is_ml_dtype
from daskzarr.metadata.v2 import DIMENSIONS


def carry_missing(metadata: ArrayMetadata, zarr_format: ZarrFormat) -> ArrayMetadata:
    """The array with attributes and fill value by which the same cells are missing in another format.

    Only an array that has a name for every axis changes, and no data type that xarray masks nothing of.

    Raises
    ------
    MetadataError
        If the attribute ``_FillValue`` is no value of the data type.

    Examples
    --------
    >>> from daskzarr.metadata import v2
    >>> cells = {"shape": [4], "chunks": [2], "dtype": "<f4", "compressor": None, "order": "C", "filters": None}
    >>> old = v2.read_array({"zarr_format": 2, "fill_value": -1, **cells}, {"_ARRAY_DIMENSIONS": ["x"]})
    >>> carry_missing(old, 3).attributes
    {'_FillValue': 'AAAAAAAA8L8='}
    """
    was_fill, is_fill = metadata.zarr_format == 2, zarr_format == 2
    if was_fill == is_fill or not _has_dimensions(metadata) or not _can_mask(metadata.data_type):
        return metadata
    return _to_fill(metadata) if is_fill else _to_attribute(metadata)


def carry_scalar(metadata: ArrayMetadata, zarr_format: ZarrFormat) -> ArrayMetadata:
    """A scalar of Zarr v3 needs no names of dimensions; in v2 an empty list of them says that it is a variable."""
    needed = zarr_format == 2 and metadata.zarr_format != 2 and not metadata.shape
    return replace(metadata, dimension_names=()) if needed else metadata


def respell_mask(attributes: Mapping[str, Any], before: DataType, after: DataType) -> dict[str, Any]:
    """The attributes of an array in Zarr v3 or N5 whose cells come to be of another type."""
    found = dict(attributes)
    if found.get(MASK) is not None and _can_mask(before) and _can_mask(after):
        value = fill_scalar(after, fill_json(after, _decode(found[MASK], before)))
        found[MASK] = encode_mask_value(value, _spelled_as(after))
    return found


def reads_alike(before: ArrayMetadata, after: ArrayMetadata) -> bool:
    """Whether chunks that are not there are the same cells to both, down to the bits."""
    if before.fill_value is None or after.fill_value is None:
        return before.fill_value is None  # undefined: it reads as the default, which others need not do
    if before.data_type.dtype.hasobject:
        return bool(before.fill_value == after.fill_value)
    one, other = (np.asarray(each.fill_scalar, each.data_type.dtype).tobytes() for each in (before, after))
    return one == other


def _has_dimensions(metadata: ArrayMetadata) -> bool:
    """Whether xarray can take the array for a variable."""
    names = metadata.dimension_names
    if metadata.shape:
        return names is not None and None not in names
    return metadata.zarr_format != 2 or names is not None or DIMENSIONS in metadata.attributes


def _can_mask(data_type: DataType) -> bool:
    """Whether xarray compares such cells with a value: not times of NumPy's own types, and no structures."""
    dtype = data_type.dtype
    return data_type.variable is not None or (dtype.kind in "biufcSU" and not is_ml_dtype(dtype))


def _to_attribute(metadata: ArrayMetadata) -> ArrayMetadata:
    """From v2. Where the array has a fill value, xarray looks at no attribute."""
    attributes, data_type = dict(metadata.attributes), metadata.data_type
    raw = attributes.pop(MASK, None)
    if metadata.fill_value is not None:
        value = metadata.fill_scalar
    elif raw is not None:
        value = _plain(raw, data_type)
    else:
        return replace(metadata, attributes=attributes)
    # xarray opens no array of Zarr v3 with a mask of text, and "" is what text has whose maker chose no fill value.
    if not isinstance(value, (str, bytes)) or value:
        attributes[MASK] = encode_mask_value(value, _spelled_as(data_type))
    return replace(metadata, attributes=attributes)


def _to_fill(metadata: ArrayMetadata) -> ArrayMetadata:
    """To v2. A fill value that stays what it was keeps its bits; NaN masks what is missing in any case."""
    attributes, fill = dict(metadata.attributes), metadata.fill_scalar
    raw = attributes.pop(MASK, None)
    kept = metadata.fill_value if fill != fill else None
    if raw is not None:
        value = _decode(raw, metadata.data_type)
        kept = fill_json(metadata.data_type, value)
        if value == fill or (value != value and fill != fill):
            kept = metadata.fill_value
    return replace(metadata, attributes=attributes, fill_value=kept)


def _spelled_as(data_type: DataType) -> np.dtype[Any]:
    """The dtype by which the attribute is spelled."""
    return np.dtype("S") if data_type.variable is bytes else data_type.dtype


def _decode(raw: Any, data_type: DataType) -> Any:
    """The value that the attribute of Zarr v3 names; a list of one is met."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    dtype = _spelled_as(data_type)
    with np.errstate(over="ignore"):
        value = decode_mask_value(raw, dtype)
    if dtype.kind == "f" and np.isinf(value) and np.isfinite(decode_mask_value(raw, np.dtype("f8"))):
        raise MetadataError(f"{short(raw)} is no {MASK} of {dtype}: it is beyond its range", field=MASK)
    return value


def _plain(raw: Any, data_type: DataType) -> Any:
    """The value of an attribute of Zarr v2, which netCDF-C writes as a number or text, or as a list of one."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, str) and _spelled_as(data_type).kind == "S":
        return raw.encode()
    try:
        value = fill_scalar(data_type, fill_json(data_type, raw))
    except MetadataError:
        raise MetadataError(
            f"the attribute {MASK} is {short(raw)}, no value of {data_type.name}: another format could not say which "
            "cells are missing; correct it by update_attributes",
            field=MASK,
        ) from None
    # A float is compared as it stands in the attribute, with all its digits.
    return raw if isinstance(raw, float) and data_type.dtype.kind == "f" else value
