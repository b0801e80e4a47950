"""Fill values <-> their JSON spelling, bit by bit (Zarr v2 and v3, fill value encoding)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, cast

import numpy as np

from daskzarr.errors import MetadataError
from daskzarr.metadata.data_type import DataType, is_ml_dtype, without_padding

_SPECIAL = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_LENIENT = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "+Infinity": np.inf, "infinity": np.inf}
_NAT = -(2**63)
_LISTED_BYTES = re.compile(r"r\d+")


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
            return _variable(data_type, value)
        if dtype.hasobject:
            return value
        return _scalar(dtype, value)
    except (OverflowError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise MetadataError(f"{_short(value)} is no fill value for {data_type.name}", field="fill_value")


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
        return value if data_type.variable is None else _spell_variable(data_type, _given_variable(data_type, value))
    if isinstance(value, np.ndarray) and value.ndim:
        raise MetadataError(
            f"the fill value has to be one value, not an array of shape {value.shape}", field="fill_value"
        )
    try:
        return spell(data_type, _given(data_type, value))
    except (OverflowError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise MetadataError(f"{_short(value)} is no fill value for {data_type.name}", field="fill_value")


def default_fill(data_type: DataType) -> Any:
    """The JSON of the fill value of an array whose maker chose none: 0, false, "" or not-a-time."""
    if data_type.variable is not None:
        return ""
    return None if data_type.dtype.hasobject else spell(data_type, _scalar(data_type.dtype, None))


def read_v2_fill(data_type: DataType, stored: np.dtype[Any], value: Any) -> Any:
    """The JSON of the model for a ``fill_value`` of v2, where parts of several bytes are in ``stored`` byte order."""
    if isinstance(value, list) and len(value) == 1 and not data_type.dtype.hasobject:
        value = value[0]  # netCDF-C 4.8.0 wrote a list of one
    if value is None or (data_type.dtype.hasobject and data_type.variable is None):
        return value
    try:
        if data_type.variable is not None:
            return _spell_variable(data_type, _v2_variable(data_type, value))
        return spell(data_type, _v2_scalar(stored, value))
    except (OverflowError, ValueError, TypeError, KeyError, RecursionError):
        pass
    raise MetadataError(f"{_short(value)} is no fill value for dtype {stored}", field="fill_value")


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
        return spell(data_type, _from_bytes(stored, base64.b64decode(value, validate=True)))
    except (ValueError, TypeError):
        pass
    raise MetadataError(
        f"{_short(value)} is no fill value for structured: no base64 of one element", field="fill_value"
    )


def write_structured_fill(data_type: DataType, value: Any, endian: str | None) -> str:
    """The inverse of :func:`read_structured_fill`."""
    stored = data_type.dtype.newbyteorder(">" if endian == "big" else "<")
    scalar = np.array(fill_scalar(data_type, value), data_type.dtype)
    return base64.b64encode(scalar.astype(stored).tobytes()).decode("ascii")


def _short(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _scalar(dtype: np.dtype[Any], value: Any) -> Any:
    """A scalar of a dtype from v3's JSON; None is its zero."""
    if value is None:
        return np.array("NaT", dtype)[()] if dtype.kind in "mM" else np.zeros((), dtype)[()]
    if dtype.subdtype is not None:
        return _array(dtype, value)
    if dtype.names is not None:
        return _struct(dtype, value)
    if is_ml_dtype(dtype):
        return _ml_scalar(dtype, value)
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
        return _from_bytes(dtype, base64.b64decode(value, validate=True), pad=True)
    if kind == "V":
        raw = bytes(value) if _is_byte_list(value) else base64.b64decode(value, validate=True)
        return _from_bytes(dtype, raw, pad=not raw)
    info = np.iinfo(dtype)
    return dtype.type(_exact(value, int(info.min), int(info.max)))


def _is_byte_list(value: Any) -> bool:
    """Whether a value is a list of bytes as numbers."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= 255 for item in value)


def _from_bytes(dtype: np.dtype[Any], raw: bytes, *, pad: bool = False) -> Any:
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
    return np.array(int(value, 16), f"u{dtype.itemsize}").view(dtype)[()]


def _complex(dtype: np.dtype[Any], value: Any) -> Any:
    """Real and imaginary part; a plain number has no imaginary part."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = (value, 0)
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError
    half = np.dtype(f"f{dtype.itemsize // 2}")
    return np.array([_real(half, part) for part in value], half).view(dtype)[0]


def _ml_scalar(dtype: np.dtype[Any], value: Any) -> Any:
    """A scalar of a dtype of ml_dtypes; a value that the type does not have is refused."""
    import ml_dtypes

    if "int" in dtype.name:
        info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
        return np.array(_exact(value, int(info.min), int(info.max)), "i8").astype(dtype)[()]
    if isinstance(value, str) and value.startswith("0x"):
        return _bits(dtype, value)
    number = _real(np.dtype("f8"), value)
    with np.errstate(all="ignore"):
        found = np.array(number).astype(dtype)[()]
        back = float(found)
    if not (np.isfinite(number) or (np.isnan(number) and np.isnan(back)) or back == number):
        raise ValueError  # the type has no infinity, or no NaN
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
        scalar[name] = _scalar(dtype[name], value[name])
    return scalar[()]


def _array(dtype: np.dtype[Any], value: Any) -> Any:
    """A field that is an array: nested lists."""
    base, shape = dtype.subdtype  # type: ignore[misc]
    if not shape:
        return _scalar(base, value)
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError
    inner = np.dtype((base, shape[1:])) if shape[1:] else base
    out = np.zeros(shape, base)
    for i, item in enumerate(value):
        out[i] = _scalar(inner, item)
    return out


def _variable(data_type: DataType, value: Any) -> str | bytes:
    """A text or byte string of any length."""
    if data_type.variable is str:
        if value is None or isinstance(value, str):
            return value or ""
    elif value is None or isinstance(value, str):
        return base64.b64decode(value or "", validate=True)
    elif _is_byte_list(value):
        return bytes(value)
    raise ValueError


def _given_variable(data_type: DataType, value: Any) -> str | bytes:
    """What a user gave as a text or byte string."""
    if data_type.variable is bytes and isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if data_type.variable is str and isinstance(value, str):
        return str(value)
    return cast("str | bytes", fill_scalar(data_type, value))


def _spell_variable(data_type: DataType, value: str | bytes) -> str:
    """Its JSON: the text, or base64."""
    return value if isinstance(value, str) else base64.b64encode(value).decode("ascii")


def _v2_variable(data_type: DataType, value: Any) -> str | bytes:
    """A fill value beside ``vlen-utf8`` or ``vlen-bytes``; 0 is met for the empty one."""
    if type(value) is int and value == 0:
        return data_type.variable()  # type: ignore[misc, no-any-return]
    if data_type.variable is bytes and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            return value.encode()
    return _variable(data_type, value)


def _v2_scalar(stored: np.dtype[Any], value: Any) -> Any:
    """A scalar in native byte order from v2's JSON."""
    native = without_padding(stored)
    zero = type(value) in (int, float) and value == 0
    if stored.names is not None:
        raw = None if zero else base64.b64decode(value, validate=True)
        return np.zeros((), native)[()] if raw is None else _native(_from_bytes(stored, raw, pad=True), native)
    if stored.kind in "SV" and not is_ml_dtype(stored):
        if zero or value == "":
            return np.zeros((), native)[()]
        return _from_bytes(native, _v2_bytes(value, stored), pad=True)
    if stored.kind == "U" and zero:
        return np.zeros((), native)[()]
    return _scalar(native, value)


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
    except binascii.Error:
        pass
    if stored.kind != "S":
        raise ValueError
    return value.encode("latin-1")


def _given(data_type: DataType, value: Any) -> Any:
    """A scalar of the type from what a user gave."""
    dtype = data_type.dtype
    if isinstance(value, (np.generic, np.ndarray)):
        found = np.asarray(value)
        if found.dtype == dtype:
            return found[()]
        if dtype.kind in "SUVmM" or dtype.names or is_ml_dtype(dtype):
            value = _cast(found, dtype) if dtype.names or found.dtype.kind != "V" else found.item()
        else:
            value = found.item()
    if isinstance(value, np.generic) and value.dtype == dtype:
        return value
    if type(value) in (int, bool) and value == 0 and (dtype.names or dtype.kind in "SUV") and not is_ml_dtype(dtype):
        return np.zeros((), dtype)[()]  # 0 is what every type has as its zero
    if isinstance(value, complex):
        value = [value.real, value.imag] if dtype.kind == "c" else value
    if dtype.kind in "SV" and isinstance(value, (bytes, bytearray, memoryview)):
        return _from_bytes(dtype, bytes(value), pad=dtype.kind == "S")
    if dtype.names and isinstance(value, tuple):
        return _cast(np.array(value, dtype), dtype)
    if dtype.kind in "mM" and not isinstance(value, (int, float)) and value != "NaT":
        return _cast(np.array(value, dtype.kind + "8"), dtype)
    if dtype.kind == "S" and isinstance(value, str) and data_type.name == "null_terminated_bytes":
        return _from_bytes(dtype, _v2_bytes(value, dtype), pad=True)
    return _scalar(dtype, value)


def _cast(value: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> Any:
    """The value in another dtype, if it stays the same."""
    found = value.astype(dtype)
    if value.dtype.kind in "SUmM" and value.dtype.kind == dtype.kind:
        same = np.isnat(value) if value.dtype.kind in "mM" else False
        if not (same or found.astype(value.dtype) == value):
            raise ValueError
    return found[()]


def spell(data_type: DataType, scalar: Any) -> Any:
    """The JSON of a scalar of the type itself; NaNs with a payload of their own in hexadecimal."""
    return _spell(np.asarray(scalar, data_type.dtype), base64_bytes=not _LISTED_BYTES.fullmatch(data_type.name))


def _spell(value: np.ndarray[Any, Any], *, base64_bytes: bool) -> Any:
    """The JSON of a zero-dimensional array, or nested lists for a field that is an array."""
    dtype = value.dtype
    if value.ndim:
        return [_spell(np.asarray(item, dtype), base64_bytes=base64_bytes) for item in value]
    if dtype.names is not None:
        parts = {name: _spell(value[name], base64_bytes=base64_bytes) for name in dtype.names}
        return list(parts.values()) if _is_pair(dtype) else parts
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
        return base64.b64encode(raw).decode("ascii") if base64_bytes or dtype.kind == "S" else list(raw)
    return value.item()


def _is_pair(dtype: np.dtype[Any]) -> bool:
    """Whether a structure is a complex number of small floats."""
    names = dtype.names or ()
    return names == ("real", "imag") and all(is_ml_dtype(dtype[n]) or dtype[n] == np.float16 for n in names)


def _spell_float(value: np.ndarray[Any, Any], number: float) -> Any:
    """A number, the name of a special one, or its bits."""
    if np.isfinite(number):
        return number
    if np.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    bits = value.view(f"u{value.dtype.itemsize}")[()]
    usual = np.array(np.nan).astype(value.dtype).view(bits.dtype)[()]
    return "NaN" if bits == usual else f"0x{int(bits):0{2 * value.dtype.itemsize}x}"
