"""Names of data types in documents <-> NumPy dtypes in native byte order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata.named_config import NamedConfig
from daskzarr.metadata.numpy_dtype import (
    ML_DTYPES,
    byte_ordered,
    holds_arrays,
    is_ml_dtype,
    ml_dtype,
    without_padding,
)

V2_ONLY = "v2.dtype"

_CORE = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_SAME = {"complex_float32": "complex64", "complex_float64": "complex128"}
_VARIABLE = {"string": str, "bytes": bytes, "variable_length_bytes": bytes, "binary": bytes}
_SIZED = {"fixed_length_utf32": ("U", 4), "null_terminated_bytes": ("S", 1), "raw_bytes": ("V", 1)}
_TIMES = {"numpy.datetime64": "M8", "numpy.timedelta64": "m8"}
_STRUCTS = ("struct", "structured")
_PAIRS = ("float16", "bfloat16", *(name for name in ML_DTYPES if name.startswith("float")))
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic")
_MOST = 2**31 - 1
_WIDEST = 2**20  # bytes of an element: its fill value is kept with the metadata, and travels with every task
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type by its Zarr v3 name and configuration, and the NumPy dtype that shows it, in native byte order.

    Strings and byte strings of any length are shown as objects. What only Zarr v2 can store (fields that are arrays,
    other objects) is called ``v2.dtype``, a name that no v3 document may use.

    >>> DataType.named("int32").dtype
    dtype('int32')
    """

    name: str
    dtype: np.dtype[Any]
    configuration: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def named(cls, name: str) -> DataType:
        """From a Zarr v3 name that needs no configuration (Zarr v3 core, data types)."""
        return cls.read(NamedConfig(name))

    @classmethod
    def read(cls, config: NamedConfig, *, v2_too: bool = False) -> DataType:
        """From a Zarr v3 extension point (Zarr v3 core and Zarr extensions, data types)."""
        return _read(config, v2_too, 0)

    @classmethod
    def of(cls, dtype: Any) -> DataType:
        """The type that stores this NumPy dtype; its byte order is left to the ``bytes`` codec.

        >>> DataType.of("M8[25s]").write()["configuration"], DataType.of(object).name
        ({'unit': 's', 'scale_factor': 25}, 'string')
        """
        dtype = np.dtype(dtype)
        if dtype.kind in "TO":
            return cls("string", np.dtype(object))
        if dtype.subdtype is not None:
            raise UnsupportedError(f"dtype {dtype} is an array itself; give the array more axes instead")
        native = without_padding(dtype)
        if holds_arrays(native):
            return cls(V2_ONLY, native, {"dtype": v2_dtype(native)})
        return _read(_config_of(native), False, 0)

    def fields(self) -> dict[str, DataType]:
        """The parts of a structure; of those that are arrays, the type of their cells."""
        if self.name == V2_ONLY:
            found = {name: self.dtype[name] for name in self.dtype.names or ()}
            return {name: DataType.of(part.subdtype[0] if part.subdtype else part) for name, part in found.items()}
        pairs = (
            (part["name"], part["data_type"]) if isinstance(part, dict) else part
            for part in self.configuration.get("fields", ())
        )
        return {name: DataType.read(NamedConfig.read(config, "data_type")) for name, config in pairs}

    def write(self) -> Any:
        """The v3 document's spelling: the bare name where there is nothing to configure."""
        if not self.configuration:
            return self.name
        return {"name": self.name, "configuration": dict(self.configuration)}

    @property
    def variable(self) -> type | None:
        """``str`` or ``bytes`` where elements have any length, None otherwise."""
        return _VARIABLE.get(self.name)


def v2_dtype(dtype: np.dtype[Any]) -> Any:
    """A NumPy dtype as Zarr v2 writes it: a string, or a list of fields (Zarr v2, data type encoding).

    >>> v2_dtype(np.dtype([("id", "<i4"), ("xy", ">f4", (2, 2))]))
    [['id', '<i4'], ['xy', '>f4', [2, 2]]]
    """
    if dtype.names:
        return [_v2_field(name, dtype[name]) for name in dtype.names]
    if is_ml_dtype(dtype):
        return dtype.name
    if dtype.kind in "SV" or not byte_ordered(dtype):
        return "|" + dtype.str[1:]
    return dtype.str


def _v2_field(name: str, dtype: np.dtype[Any]) -> list[Any]:
    """A field of a structured dtype, with its shape where it is an array."""
    if dtype.subdtype is None:
        return [name, v2_dtype(dtype)]
    base, shape = dtype.subdtype
    return [name, v2_dtype(base), list(shape)]


def _config_of(dtype: np.dtype[Any]) -> NamedConfig:
    """The v3 name and configuration of a NumPy dtype."""
    if dtype.names is not None:
        fields = [{"name": name, "data_type": _spell(_config_of(dtype[name]))} for name in dtype.names]
        return NamedConfig("struct", {"fields": fields})
    if is_ml_dtype(dtype) or dtype.name in _CORE:
        return NamedConfig(dtype.name)
    if dtype.kind in "mM":
        unit, factor = np.datetime_data(dtype)
        name = "numpy.datetime64" if dtype.kind == "M" else "numpy.timedelta64"
        return NamedConfig(name, {"unit": unit, "scale_factor": factor})
    if dtype.kind in "SUV" and dtype.itemsize:
        if dtype.kind == "V":
            return NamedConfig(f"r{8 * dtype.itemsize}")
        name = "fixed_length_utf32" if dtype.kind == "U" else "null_terminated_bytes"
        return NamedConfig(name, {"length_bytes": dtype.itemsize})
    raise UnsupportedError(
        f"dtype {dtype} is not supported; convert with astype, for example to a number, text of a length above 0, a "
        "date, or a structure of these"
    )


def _spell(config: NamedConfig) -> Any:
    """A data type in a field: its name, or name and configuration."""
    return {"name": config.name, "configuration": dict(config.configuration)} if config.configuration else config.name


def _read(config: NamedConfig, v2_too: bool, depth: int) -> DataType:
    """A data type from its name and configuration, both checked."""
    name, given = config.name, config.configuration
    if depth > _DEEPEST:
        raise MetadataError(f"the data type has structures more than {_DEEPEST} deep", field="data_type")
    if name in _TIMES:
        return _read_time(name, given)
    if name in _SIZED:
        kind, width = _SIZED[name]
        length = _only(name, given, "length_bytes")
        if type(length) is not int or not width <= length <= _WIDEST or length % width:
            raise MetadataError(
                f"length_bytes of {short(name)} is {short(length)}; it has to be a multiple of {width} up to 2^20",
                field="data_type",
            )
        return DataType(name, np.dtype(f"{kind}{length // width}"), given)
    if name in _STRUCTS:
        return _read_struct(name, _only(name, given, "fields"), given, depth)
    if name == V2_ONLY and v2_too:
        return DataType(name, without_padding(np_dtype_of_v2(given["dtype"])), given)
    if given:
        raise MetadataError(
            f"data type {short(name)} has an unknown configuration {', '.join(map(repr, given))}", field="data_type"
        )
    return DataType(name, _plain_dtype(name))


def _plain_dtype(name: str) -> np.dtype[Any]:
    """The dtype of a name that needs no configuration."""
    if name in _CORE:
        return np.dtype(name)
    if name in _SAME:
        return np.dtype(_SAME[name])
    if name in _VARIABLE:
        return np.dtype(object)
    if name in ML_DTYPES:
        return ml_dtype(name)
    if name.startswith("complex_") and name.removeprefix("complex_") in _PAIRS:
        part = _plain_dtype(name.removeprefix("complex_"))
        return np.dtype([("real", part), ("imag", part)])
    match = re.fullmatch(r"r([1-9][0-9]{0,10})", name)
    if match and int(match[1]) % 8 == 0 and int(match[1]) <= 8 * _WIDEST:
        return np.dtype(f"V{int(match[1]) // 8}")
    known = ", ".join((*_CORE, "r<bits>", *_VARIABLE, *_SIZED, *_TIMES, *_STRUCTS, *ML_DTYPES))
    raise UnsupportedError(f"data type {short(name)} is not supported; known are {known}", field="data_type")


def _only(name: str, given: Mapping[str, Any], member: str) -> Any:
    """The one member that a configuration has to have."""
    if set(given) != {member}:
        raise MetadataError(
            f"data type {name!r} is configured by {member!r} and nothing else; here are {short(list(given))}",
            field="data_type",
        )
    return given[member]


def _read_time(name: str, given: Mapping[str, Any]) -> DataType:
    """A date or a span of time, in multiples of a unit."""
    unit, factor = given.get("unit"), given.get("scale_factor")
    unit = "us" if unit == "μs" else unit
    if set(given) != {"unit", "scale_factor"} or unit not in _UNITS or type(factor) is not int:
        raise MetadataError(
            f"data type {short(name)} is configured by unit ({', '.join(_UNITS)}) and scale_factor", field="data_type"
        )
    if not 1 <= factor <= _MOST or (unit == "generic" and factor != 1):
        raise MetadataError(f"scale_factor of {short(name)} is {factor}; it can be 1 to 2^31 - 1", field="data_type")
    dtype = np.dtype(_TIMES[name] + ("" if unit == "generic" else f"[{factor}{unit}]"))
    return DataType(name, dtype, given)


def _read_struct(name: str, fields: Any, given: Mapping[str, Any], depth: int) -> DataType:
    """A structure: named parts, one behind the other. Both spellings of a field are met under both names."""
    if not isinstance(fields, list) or not fields:
        raise MetadataError(f"fields of {short(name)} has to be a list with at least one field", field="data_type")
    parts = []
    for item in fields:
        if isinstance(item, dict) and set(item) == {"name", "data_type"}:
            item = [item["name"], item["data_type"]]
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str) or not item[0]:
            raise MetadataError(f"{short(item)} is no field: it has to have a name and a data_type", field="data_type")
        config = NamedConfig.read(item[1], "data_type")
        if not config.must_understand:
            raise MetadataError(f"the data type of field {short(item[0])} has to be understood", field="data_type")
        part = _read(config, False, depth + 1)
        if part.variable:
            raise MetadataError(f"field {short(item[0])} has no fixed size, which a structure needs", field="data_type")
        parts.append((item[0], part.dtype))
    return DataType(name, _struct_dtype(parts, "data_type"), given)


def _struct_dtype(parts: list[Any], place: str) -> np.dtype[Any]:
    """The NumPy dtype of fields."""
    size = sum(dtype.itemsize * math.prod(shape[0] if shape else ()) for _, dtype, *shape in parts)
    if size > _WIDEST:
        raise MetadataError(f"an element has {size} bytes; 2^20 is the most", field=place)
    try:
        return np.dtype(parts)
    except (ValueError, TypeError) as error:
        raise MetadataError(f"the fields cannot be put together: {error}", field=place) from None


_V2_DTYPE = re.compile(r"([<>|])([biufcmMSUVO])([0-9]{0,10})(?:\[([0-9]{0,10})([A-Za-zμ]+)\])?")
_V2_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16), "m": (8,), "M": (8,)}


def np_dtype_of_v2(spec: Any, depth: int = 0) -> np.dtype[Any]:
    """A v2 dtype, with the byte order it states: a string, or a list of fields (Zarr v2, data type encoding).

    >>> np_dtype_of_v2(">i4"), np_dtype_of_v2([["a", "<i2"], ["b", "|S3", [2]]]).itemsize
    (dtype('>i4'), 8)
    """
    if isinstance(spec, list):
        return _v2_struct(spec, depth)
    if isinstance(spec, str) and spec in ML_DTYPES:
        return ml_dtype(spec)  # as tensorstore writes them
    match = _V2_DTYPE.fullmatch(spec) if isinstance(spec, str) else None
    if match is None:
        raise UnsupportedError(f"dtype {short(spec)} is not supported", field="dtype")
    order, kind, size, factor, unit = match.groups()
    if kind in _V2_SIZES:
        known = size in map(str, _V2_SIZES[kind])
    else:
        known = unit is None and (
            not size if kind == "O" else 0 < int(size or 0) * (4 if kind == "U" else 1) <= _WIDEST
        )
    if not known or (unit is not None and kind not in "mM"):
        raise UnsupportedError(f"dtype {short(spec)} is not supported", field="dtype")
    dtype = _v2_time(spec, kind, factor, unit) if kind in "mM" else np.dtype(kind + size)
    if not byte_ordered(dtype):
        return dtype  # whatever its byte order: NCZarr writes >S1
    if order == "|":
        raise MetadataError(f"dtype {short(spec)} has several bytes an element and no byte order", field="dtype")
    return dtype.newbyteorder("<" if order == "<" else ">")


def _v2_time(spec: str, kind: str, factor: str | None, unit: str | None) -> np.dtype[Any]:
    """A date or span of v2; without a unit it has the generic one."""
    name = "numpy.datetime64" if kind == "M" else "numpy.timedelta64"
    try:
        return _read_time(name, {"unit": unit or "generic", "scale_factor": int(factor or 1)}).dtype
    except MetadataError:
        raise UnsupportedError(
            f"dtype {short(spec)} is not supported; units are {', '.join(_UNITS[:-1])}", field="dtype"
        ) from None


def _v2_struct(spec: list[Any], depth: int) -> np.dtype[Any]:
    """A structured v2 dtype, each field in its own byte order."""
    if not spec or depth > _DEEPEST:
        raise MetadataError(f"dtype has no fields, or structures more than {_DEEPEST} deep", field="dtype")
    parts: list[Any] = []
    for item in spec:
        if not isinstance(item, list) or len(item) not in (2, 3) or not isinstance(item[0], str) or not item[0]:
            raise MetadataError(
                f"{short(item)} is no field: it has to be a name and a dtype, or these and a shape", field="dtype"
            )
        dtype = np_dtype_of_v2(item[1], depth + 1)
        if dtype.hasobject:
            raise UnsupportedError(
                f"field {short(item[0])} holds objects, which a structure cannot store", field="dtype"
            )
        if len(item) == 2:
            parts.append((item[0], dtype))
            continue
        shape = [item[2]] if type(item[2]) is int else item[2]
        if not isinstance(shape, list) or not all(type(n) is int and 1 <= n <= _MOST for n in shape) or len(shape) > 32:
            raise MetadataError(f"field {short(item[0])} has the shape {short(item[2])}", field="dtype")
        parts.append((item[0], dtype, tuple(shape)))
    return _struct_dtype(parts, "dtype")
