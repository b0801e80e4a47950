"""Fill values as Zarr v2, and structures of early v3, spell them <-> the JSON of the model."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from daskzarr.errors import MetadataError, short
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import (
    UNFIT,
    fill_scalar,
    from_bytes,
    from_json,
    spell,
    spell_variable,
    variable_from_json,
)
from daskzarr.metadata.numpy_dtype import is_ml_dtype, without_padding


def read_v2_fill(data_type: DataType, stored: np.dtype[Any], value: Any) -> Any:
    """The JSON of the model for a ``fill_value`` of v2, where parts of several bytes are in ``stored`` byte order."""
    if isinstance(value, list) and len(value) == 1 and not data_type.dtype.hasobject:
        value = value[0]  # netCDF-C 4.8.0 wrote a list of one
    if value is None or (data_type.dtype.hasobject and data_type.variable is None):
        return value
    try:
        if data_type.variable is not None:
            return spell_variable(_v2_variable(data_type, value))
        return spell(data_type, _v2_scalar(stored, value))
    except UNFIT:
        pass
    raise MetadataError(f"{short(value)} is no fill value for dtype {stored}", field="fill_value")


def write_v2_fill(data_type: DataType, stored: np.dtype[Any], value: Any) -> Any:
    """The inverse of :func:`read_v2_fill`, in the one spelling that v2 writers should use."""
    if value is None or data_type.dtype.hasobject:
        return value
    if data_type.dtype.kind in "SV" and not is_ml_dtype(data_type.dtype):
        scalar = np.array(fill_scalar(data_type, value), data_type.dtype)
        return base64.b64encode(scalar.astype(stored).tobytes()).decode("ascii")
    return value


def read_structured_fill(data_type: DataType, value: Any, endian: str | None) -> Any:
    """The JSON of the model for the fill value of a legacy ``structured`` type: base64 of one element."""
    if not isinstance(value, str):
        return value
    stored = data_type.dtype.newbyteorder(">" if endian == "big" else "<")
    try:
        return spell(data_type, from_bytes(stored, base64.b64decode(value, validate=True)))
    except UNFIT:
        pass
    raise MetadataError(f"{short(value)} is no fill value for structured: no base64 of one element", field="fill_value")


def write_structured_fill(data_type: DataType, value: Any, endian: str | None) -> str:
    """The inverse of :func:`read_structured_fill`."""
    stored = data_type.dtype.newbyteorder(">" if endian == "big" else "<")
    scalar = np.array(fill_scalar(data_type, value), data_type.dtype)
    return base64.b64encode(scalar.astype(stored).tobytes()).decode("ascii")


def _v2_variable(data_type: DataType, value: Any) -> str | bytes:
    """A fill value beside ``vlen-utf8`` or ``vlen-bytes``; 0 is met for the empty one."""
    if type(value) is int and value == 0:
        return data_type.variable()  # type: ignore[misc, no-any-return]
    if data_type.variable is bytes and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return value.encode()
    return variable_from_json(data_type, value)


def _v2_scalar(stored: np.dtype[Any], value: Any) -> Any:
    """A scalar in native byte order from v2's JSON."""
    native = without_padding(stored)
    zero = type(value) in (int, float) and value == 0
    if stored.names is not None:
        raw = None if zero else base64.b64decode(value, validate=True)
        return np.zeros((), native)[()] if raw is None else _native(from_bytes(stored, raw, pad=True), native)
    if stored.kind in "SV" and not is_ml_dtype(stored):
        if zero or value == "":
            return np.zeros((), native)[()]
        return from_bytes(native, _v2_bytes(value, stored), pad=True)
    if stored.kind == "U" and zero:
        return np.zeros((), native)[()]
    return from_json(native, value)


def _native(scalar: Any, dtype: np.dtype[Any]) -> Any:
    """The scalar in native byte order."""
    return np.asarray(scalar).astype(dtype)[()]


def _v2_bytes(value: Any, stored: np.dtype[Any]) -> bytes:
    """Base64 of one element; where it is none, the text itself, as some write it."""
    if not isinstance(value, str):
        raise TypeError
    try:
        raw = base64.b64decode(value, validate=True)
        if len(raw) <= stored.itemsize:
            return raw
    except ValueError:
        pass
    if stored.kind != "S":
        raise ValueError
    return value.encode("latin-1").rstrip(b"\0")  # NULs at the end of a text mean nothing
