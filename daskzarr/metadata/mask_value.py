"""The value of missing cells <-> the attribute ``_FillValue`` that names it in Zarr v3, as xarray spells it."""

from __future__ import annotations

import base64
import struct
from functools import lru_cache
from typing import Any

import numpy as np

from daskzarr.errors import MetadataError, short

MASK = "_FillValue"


def encode_mask_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """The attribute ``_FillValue`` of Zarr v3, as xarray spells it: numbers with a fraction by their bits.

    >>> encode_mask_value(float("nan"), np.dtype("f4")), encode_mask_value(-1, np.dtype("i2"))
    ('AAAAAAAA+H8=', -1)
    """
    if dtype.kind == "S":
        return base64.standard_b64encode(bytes(value)).decode()
    if dtype.kind == "b":
        return bool(value)
    if dtype.kind in "iu":
        return int(value)
    if dtype.kind == "f":
        return base64.standard_b64encode(struct.pack("<d", float(value))).decode()
    if dtype.kind == "c":
        return [encode_mask_value(part, np.dtype("f8")) for part in (value.real, value.imag)]
    if dtype.kind in "UTO":
        return str(value)
    raise MetadataError(f"{dtype} can have no {MASK}", field=MASK)


def decode_mask_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """The inverse; a number that is spelled as one is one.

    >>> decode_mask_value("AAAAAAAA+H8=", np.dtype("f4")), decode_mask_value(-1, np.dtype("i2"))
    (np.float32(nan), np.int16(-1))
    """
    try:
        if dtype.kind == "S":
            return base64.b64decode(value, validate=True)
        if dtype.kind == "f" and isinstance(value, str):
            return _decode_float(value, dtype)
        if dtype.kind == "c" and isinstance(value, (list, tuple)):
            return dtype.type(complex(*(decode_mask_value(part, np.dtype("f8")) for part in value)))
        if dtype.kind in "UTO":
            return str(value)
        if isinstance(value, (list, dict)):
            raise TypeError("it is more than one value")
        return dtype.type(value)
    except (ValueError, TypeError, struct.error, OverflowError) as error:
        raise MetadataError(f"{short(value)} is no {MASK} of {dtype}: {error}", field=MASK) from None


@lru_cache(maxsize=64)  # variables of a dataset mostly have the same one
def _decode_float(value: str, dtype: np.dtype[Any]) -> Any:
    """A number from its bits."""
    return dtype.type(struct.unpack("<d", base64.b64decode(value, validate=True))[0])
