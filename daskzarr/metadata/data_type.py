"""Names of data types in documents <-> NumPy dtypes; fill values <-> their JSON spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from daskzarr.errors import MetadataError, UnsupportedError

Endian = Literal["little", "big"]

_NAMES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_SPECIAL = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_LENIENT = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "+Infinity": np.inf, "infinity": np.inf}
_V2_DTYPE = re.compile(r"([<>|])([biufc])(\d+)")


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type by its Zarr v3 name, and the NumPy dtype that shows it, in native byte order.

    >>> DataType.named("int32").dtype
    dtype('int32')
    """

    name: str
    dtype: np.dtype[Any]

    @classmethod
    def named(cls, name: str) -> DataType:
        """From a Zarr v3 name (Zarr v3 core, data types)."""
        if name not in _NAMES:
            known = ", ".join(_NAMES)
            raise UnsupportedError(f"data type {name!r} is not supported; known are {known}", field="data_type")
        return cls(name, np.dtype(name))

    @classmethod
    def of(cls, dtype: Any) -> DataType:
        """The type that stores this NumPy dtype; its byte order is left to the ``bytes`` codec."""
        dtype = np.dtype(dtype)
        if dtype.names is not None or dtype.subdtype is not None:
            raise UnsupportedError(f"dtype {dtype} is structured, which is not supported yet; store its fields apart")
        if dtype.name not in _NAMES:
            raise UnsupportedError(f"dtype {dtype} is not supported; convert with astype to one of {', '.join(_NAMES)}")
        return cls.named(dtype.name)


def read_v2_dtype(text: Any) -> tuple[DataType, Endian | None]:
    """A v2 dtype string -> the type and its byte order; None for one-byte types (Zarr v2, data type encoding).

    >>> read_v2_dtype(">i4")
    (DataType(name='int32', dtype=dtype('int32')), 'big')
    """
    match = _V2_DTYPE.fullmatch(text) if isinstance(text, str) else None
    try:
        if match is None:
            raise TypeError
        order, kind, size = match.groups()
        data_type = DataType.of(np.dtype(f"{kind}{size}"))
    except (TypeError, UnsupportedError):
        raise UnsupportedError(f"dtype {text!r} is not supported", field="dtype") from None
    if data_type.dtype.itemsize == 1:
        return data_type, None
    if order == "|":
        raise MetadataError(f"dtype {text!r} has several bytes an element and no byte order", field="dtype")
    return data_type, "little" if order == "<" else "big"


def write_v2_dtype(data_type: DataType, endian: Endian | None) -> str:
    """The v2 dtype string of a type in a byte order."""
    order = {"little": "<", "big": ">", None: "|"}[endian]
    return f"{order}{data_type.dtype.kind}{data_type.dtype.itemsize}"


def fill_scalar(data_type: DataType, value: Any) -> np.generic:
    """The fill value as a NumPy scalar, bit by bit what the JSON says (Zarr v2 and v3, fill value encoding).

    ``None`` (v2: undefined) reads as zero.

    >>> fill_scalar(DataType.named("float32"), "0x3fc00000")
    np.float32(1.5)
    """
    dtype = data_type.dtype
    if value is None:
        return cast(np.generic, dtype.type(0))
    try:
        if dtype.kind == "c":
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                value = (value, 0)
            if isinstance(value, (list, tuple)) and len(value) == 2:
                half = np.dtype(f"f{dtype.itemsize // 2}")
                pair: np.generic = np.array([_real(half, part) for part in value], half).view(dtype)[0]
                return pair
        elif dtype.kind == "f":
            return _real(dtype, value)
        elif dtype.kind == "b":
            if value in (0, 1):  # true and false are these
                return np.bool_(value)
        else:
            return _integer(dtype, value)
    except (OverflowError, ValueError, TypeError):
        pass
    raise MetadataError(f"{value!r} is no fill value for {data_type.name}", field="fill_value")


def _integer(dtype: np.dtype[Any], value: Any) -> np.generic:
    """An integer in the type's range; 9.0 is taken as 9."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        raise OverflowError
    return cast(np.generic, dtype.type(value))


def _real(dtype: np.dtype[Any], value: Any) -> np.generic:
    """A number, a name of a special one, or the bits in hexadecimal."""
    if isinstance(value, str):
        if value.startswith("0x"):
            if not re.fullmatch(f"0x[0-9a-fA-F]{{{2 * dtype.itemsize}}}", value):
                raise ValueError
            return cast(np.generic, np.array(int(value, 16), f"u{dtype.itemsize}").view(dtype)[()])
        special = _SPECIAL.get(value, _LENIENT.get(value))
        if special is None:
            raise ValueError
        return cast(np.generic, dtype.type(special))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    with np.errstate(over="ignore"):
        return cast(np.generic, dtype.type(value))


def fill_json(data_type: DataType, value: Any) -> Any:
    """A fill value given by a user (a Python or NumPy scalar, or already JSON) in its one JSON spelling.

    >>> fill_json(DataType.named("float32"), float("nan")), fill_json(DataType.named("int8"), 7.0)
    ('NaN', 7)
    """
    if isinstance(value, (np.generic, np.ndarray)):
        if value.ndim:
            raise MetadataError(
                f"the fill value has to be one value, not an array of shape {value.shape}", field="fill_value"
            )
        if value.dtype == data_type.dtype:
            return _spell(np.asarray(value, data_type.dtype)[()])
        value = value.item()
    if isinstance(value, complex):
        value = [value.real, value.imag] if data_type.dtype.kind == "c" else value
    return _spell(fill_scalar(data_type, value))


def _spell(scalar: Any) -> Any:
    """The JSON of a NumPy scalar of the type itself; NaNs with a payload of their own in hexadecimal."""
    kind = scalar.dtype.kind
    if kind == "c":
        return [_spell(part) for part in np.array([scalar]).view(f"f{scalar.dtype.itemsize // 2}")]
    if kind != "f" or np.isfinite(scalar):
        return scalar.item()
    if np.isinf(scalar):
        return "Infinity" if scalar > 0 else "-Infinity"
    bits = np.array(scalar).view(f"u{scalar.dtype.itemsize}")[()]
    usual = np.array(np.nan, scalar.dtype).view(bits.dtype)[()]
    return "NaN" if bits == usual else f"0x{int(bits):0{2 * scalar.dtype.itemsize}x}"
