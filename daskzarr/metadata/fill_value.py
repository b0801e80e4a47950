"""Fill values <-> their JSON spelling, bit by bit (Zarr v2 and v3, fill value encoding)."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import Any, cast

import numpy as np

from daskzarr.errors import MetadataError, short
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.numpy_dtype import is_ml_dtype, value_bits

_SPECIAL = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_LENIENT = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "+Infinity": np.inf, "infinity": np.inf}
_NAT = -(2**63)
UNFIT = (OverflowError, ValueError, TypeError, KeyError, RecursionError)
_LISTED_BYTES = re.compile(r"r[0-9]+")
_LAST_CHARACTER = 0x10FFFF


def fill_scalar(data_type: DataType, value: Any) -> Any:
    """The fill value as a NumPy scalar, or as an object of an array of objects: bit by bit what the JSON says.

    ``None`` (v2: undefined) reads as zero, "" or not-a-time.

    >>> from daskzarr.metadata.data_type import DataType
    >>> fill_scalar(DataType.named("float32"), "0x3fc00000")
    np.float32(1.5)
    """
    dtype = data_type.dtype
    try:
        if data_type.variable is not None:
            return variable_from_json(data_type, value)
        if dtype.hasobject:
            return value
        if dtype.kind in "biuf" and type(value) in (bool, int, float, str):
            return _number(dtype, repr(value), value)
        return from_json(dtype, value)
    except UNFIT:
        pass
    raise MetadataError(f"{short(value)} is no fill value for {data_type.name}", field="fill_value")


def fill_json(data_type: DataType, value: Any) -> Any:
    """A fill value given by a user (a Python or NumPy scalar, or already JSON) in its one JSON spelling.

    >>> from daskzarr.metadata.data_type import DataType
    >>> fill_json(DataType.named("float32"), float("nan")), fill_json(DataType.named("int8"), 7.0)
    ('NaN', 7)
    """
    dtype = data_type.dtype
    if dtype.hasobject:
        if data_type.variable and type(value) is int and value == 0:
            value = data_type.variable()  # 0 is what every type has as its zero
        return value if data_type.variable is None else spell_variable(_given_variable(data_type, value))
    if isinstance(value, np.ndarray) and value.ndim:
        raise MetadataError(
            f"the fill value has to be one value, not an array of shape {value.shape}", field="fill_value"
        )
    try:
        return spell(data_type, _given(data_type, value))
    except UNFIT:
        pass
    raise MetadataError(f"{short(value)} is no fill value for {data_type.name}", field="fill_value")


def default_fill(data_type: DataType) -> Any:
    """The JSON of the fill value of an array whose maker chose none: 0, false, "" or not-a-time."""
    if data_type.variable is not None:
        return ""
    return None if data_type.dtype.hasobject else spell(data_type, from_json(data_type.dtype, None))


@lru_cache(maxsize=256)  # arrays of a group mostly have the same one
def _number(dtype: np.dtype[Any], spelled: str, value: Any) -> Any:
    """A number; ``spelled`` tells 0, 0.0, -0.0 and false apart, which are equal."""
    return from_json(dtype, value)


def from_json(dtype: np.dtype[Any], value: Any) -> Any:
    """A scalar of a dtype from v3's JSON; None is its zero."""
    if value is None:
        return np.array("NaT", dtype)[()] if dtype.kind in "mM" else np.zeros((), dtype)[()]
    if dtype.subdtype is not None:
        return _array(dtype, value)
    if dtype.names is not None:
        return _struct(dtype, value)
    if is_ml_dtype(dtype):
        return _mlfrom_json(dtype, value)
    kind = dtype.kind
    if kind == "c":
        return _complex(dtype, value)
    if kind == "f":
        return _real(dtype, value)
    if kind == "b":
        if type(value) in (bool, int, float) and value in (0, 1):  # true and false are these
            return np.bool_(value)
        raise ValueError
    if kind in "mM":
        return np.array(_NAT if value == "NaT" else _exact(value, -(2**63), 2**63 - 1), "i8").view(dtype)[()]
    if kind == "U":
        return _text(dtype, value)
    if kind == "S":
        return from_bytes(dtype, base64.b64decode(value, validate=True), pad=True)
    if kind == "V":
        if is_byte_list(value):
            return from_bytes(dtype, bytes(value))
        raw = base64.b64decode(value, validate=True)
        return from_bytes(dtype, raw, pad=not raw)
    info = np.iinfo(dtype)
    return dtype.type(_exact(value, int(info.min), int(info.max)))


def is_byte_list(value: Any) -> bool:
    """Whether a value is a list of bytes as numbers."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= 255 for item in value)


def from_bytes(dtype: np.dtype[Any], raw: bytes, *, pad: bool = False) -> Any:
    """A scalar from the bytes of one element; with ``pad`` they may be too few."""
    if len(raw) > dtype.itemsize or (len(raw) < dtype.itemsize and not pad):
        raise ValueError
    return np.frombuffer(raw.ljust(dtype.itemsize, b"\0"), dtype)[0]


def _text(dtype: np.dtype[Any], value: Any) -> Any:
    """A text that fits."""
    if not isinstance(value, str) or len(value.rstrip("\0")) > dtype.itemsize // 4:
        raise ValueError
    return np.array(value, dtype)[()]


def _exact(value: Any, low: int, high: int) -> int:
    """An integer in a range; 9.0 is taken as 9."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not low <= value <= high:
        raise OverflowError
    return value


def _real(dtype: np.dtype[Any], value: Any) -> Any:
    """A number, a name of a special one, or the bits in hexadecimal."""
    if isinstance(value, str):
        if value.startswith("0x"):
            return _bits(dtype, value)
        special = _SPECIAL.get(value, _LENIENT.get(value))
        if special is None:
            raise ValueError
        return dtype.type(special)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    with np.errstate(over="ignore"):
        return dtype.type(value)


def _bits(dtype: np.dtype[Any], value: str) -> Any:
    """A scalar from its bits in hexadecimal, exactly as many digits as it has."""
    if not re.fullmatch(f"0x[0-9a-fA-F]{{{2 * dtype.itemsize}}}", value):
        raise ValueError
    if int(value, 16) >> (value_bits(dtype) or 64):
        raise ValueError  # bits that mean nothing
    return np.array(int(value, 16), f"u{dtype.itemsize}").view(dtype)[()]


def _complex(dtype: np.dtype[Any], value: Any) -> Any:
    """Real and imaginary part; a plain number has no imaginary part."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = (value, 0)
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError
    half = np.dtype(f"f{dtype.itemsize // 2}")
    return np.array([_real(half, part) for part in value], half).view(dtype)[0]


def _mlfrom_json(dtype: np.dtype[Any], value: Any) -> Any:
    """A scalar of a dtype of ml_dtypes; a value that the type does not have is refused."""
    import ml_dtypes

    if "int" in dtype.name:
        info = ml_dtypes.iinfo(dtype)
        return np.array(_exact(value, int(info.min), int(info.max)), "i8").astype(dtype)[()]
    if isinstance(value, str) and value.startswith("0x"):
        return _bits(dtype, value)
    number = _real(np.dtype("f8"), value)
    if number == 0 and dtype.name == "float8_e8m0fnu":
        return np.zeros((), dtype)[()]  # it has no zero: the least value there is
    with np.errstate(all="ignore"):
        found = np.array(number).astype(dtype)[()]
        back = float(found)
    if np.isnan(back) != np.isnan(number) or (np.isinf(number) and back != number):
        raise ValueError  # the type has no infinity, no NaN, or nothing that large or below zero
    return found


def _struct(dtype: np.dtype[Any], value: Any) -> Any:
    """A structure: an object with every field."""
    names = dtype.names or ()
    if dtype.names == ("real", "imag") and isinstance(value, list) and len(value) == 2:
        value = dict(zip(names, value, strict=True))  # a complex number of small floats
    if not isinstance(value, dict) or set(value) != set(names):
        raise ValueError
    scalar = np.zeros((), dtype)
    for name in names:
        scalar[name] = _part(dtype[name], value[name])
    return scalar[()]


def _array(dtype: np.dtype[Any], value: Any) -> Any:
    """A field that is an array: nested lists."""
    base, shape = dtype.subdtype  # type: ignore[misc]
    if not shape:
        return from_json(base, value)
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError
    inner = np.dtype((base, shape[1:])) if shape[1:] else base
    out = np.zeros(shape, base)
    for i, item in enumerate(value):
        out[i] = _part(inner, item)
    return out


def _part(dtype: np.dtype[Any], value: Any) -> Any:
    """A part of a structure or an array, which has to be there."""
    if value is None:
        raise ValueError
    return from_json(dtype, value)


def variable_from_json(data_type: DataType, value: Any) -> str | bytes:
    """A text or byte string of any length."""
    if data_type.variable is str:
        if value is None or isinstance(value, str):
            return value or ""
    elif value is None or isinstance(value, str):
        return base64.b64decode(value or "", validate=True)
    elif is_byte_list(value):
        return bytes(value)
    raise ValueError


def _given_variable(data_type: DataType, value: Any) -> str | bytes:
    """What a user gave as a text or byte string."""
    if data_type.variable is bytes and isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if data_type.variable is str and isinstance(value, str):
        return str(value)
    return cast("str | bytes", fill_scalar(data_type, value))


def spell_variable(value: str | bytes) -> str:
    """Its JSON: the text, or base64."""
    return value if isinstance(value, str) else base64.b64encode(value).decode("ascii")


def _given(data_type: DataType, value: Any) -> Any:
    """A scalar of the type from what a user gave: the same value, or an error."""
    dtype = data_type.dtype
    if isinstance(value, (np.generic, np.ndarray)):
        found = np.asarray(value)
        if found.dtype.newbyteorder("=") == dtype or found.dtype == dtype:
            return found.astype(dtype)[()]
        if found.dtype.kind in "mM":
            return _given_time(dtype, found)
        value = float(found) if is_ml_dtype(found.dtype) else found.item()
    if type(value) in (int, bool) and value == 0 and (dtype.names or dtype.kind in "SUV") and not is_ml_dtype(dtype):
        return np.zeros((), dtype)[()]  # 0 is what every type has as its zero
    if isinstance(value, complex):
        value = [value.real, value.imag] if dtype.kind == "c" else value
    if dtype.kind in "SV" and isinstance(value, (bytes, bytearray, memoryview)) and not dtype.names:
        return from_bytes(dtype, bytes(value), pad=dtype.kind == "S")
    if dtype.kind in "mM" and not isinstance(value, (int, float)) and value != "NaT":
        return _given_time(dtype, np.array(value, dtype.kind + "8"))
    if dtype.names and isinstance(value, (tuple, dict)) and not data_type.name.startswith("complex_"):
        return _given_struct(data_type, value)
    return from_json(dtype, value)


def _given_time(dtype: np.dtype[Any], found: np.ndarray[Any, Any]) -> Any:
    """A date or span of another unit, if it is the same one."""
    scalar = found.astype(dtype)
    if found.dtype.kind != dtype.kind or not (np.isnat(found) or scalar.astype(found.dtype) == found):
        raise ValueError
    return scalar[()]


def _given_struct(data_type: DataType, value: Any) -> Any:
    """A structure from a tuple, or from an object with every field."""
    parts = data_type.fields()
    if isinstance(value, tuple):
        value = dict(zip(parts, value, strict=True))
    if set(value) != set(parts):
        raise ValueError
    scalar = np.zeros((), data_type.dtype)
    for name, part in parts.items():
        shape = data_type.dtype[name].shape
        scalar[name] = (
            from_json(data_type.dtype[name], np.asarray(value[name]).tolist()) if shape else _given(part, value[name])
        )
    return scalar[()]


def spell(data_type: DataType, scalar: Any) -> Any:
    """The JSON of a scalar of the type itself; NaNs with a payload of their own in hexadecimal."""
    return _spell(data_type, np.asarray(scalar, data_type.dtype))


def _spell(data_type: DataType, value: np.ndarray[Any, Any]) -> Any:
    """The JSON of a zero-dimensional array, or nested lists for a field that is an array."""
    dtype = value.dtype
    if value.ndim:
        return [_spell(data_type, np.asarray(item, dtype)) for item in value]
    if dtype.names is not None:
        if data_type.name.startswith("complex_"):
            return [_spell_float(value[name], float(value[name])) for name in dtype.names]
        return {name: _spell(part, value[name]) for name, part in data_type.fields().items()}
    if is_ml_dtype(dtype):
        return int(value) if "int" in dtype.name else _spell_float(value, float(value))
    if dtype.kind == "c":
        half = value.reshape(1).view(f"f{dtype.itemsize // 2}")
        return [_spell_float(np.asarray(part), float(part)) for part in half]
    if dtype.kind == "f":
        return _spell_float(value, float(value))
    if dtype.kind in "mM":
        return int(value.view("i8"))
    if dtype.kind in "SV":
        raw = value.tobytes()
        return list(raw) if _LISTED_BYTES.fullmatch(data_type.name) else base64.b64encode(raw).decode("ascii")
    if dtype.kind == "U" and value.reshape(1).view(np.uint32).max() > _LAST_CHARACTER:
        raise ValueError
    return value.item()


def _spell_float(value: np.ndarray[Any, Any], number: float) -> Any:
    """A number, the name of a special one, or its bits."""
    if np.isfinite(number):
        return number
    if np.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    bits = value.view(f"u{value.dtype.itemsize}")[()]
    usual = np.array(np.nan).astype(value.dtype).view(bits.dtype)[()]
    return "NaN" if bits == usual else f"0x{int(bits):0{2 * value.dtype.itemsize}x}"
