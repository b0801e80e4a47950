"""NumPy dtypes, those that ml_dtypes adds among them -> what storing them takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from daskzarr.errors import UnsupportedError, short

# Bits that count in each element; the rest of the byte means nothing.
_SMALL = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}
ML_DTYPES = (
    *_SMALL,
    "bfloat16",
    *(
        f"float8_{form}"
        for form in ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")
    ),
)


def named_dtype(spec: Any) -> np.dtype[Any] | None:
    """The dtype of fixed size that a codec's configuration names, in v2's or NumPy's words; None if it names none."""
    if not isinstance(spec, str) or not spec or "a" in spec[:2]:  # "a" is withdrawn, and NumPy warns of it
        return None
    try:
        found = np.dtype(spec)
    except (TypeError, ValueError, SyntaxError):
        return None
    return None if found.hasobject else found


def byte_ordered(dtype: np.dtype[Any]) -> bool:
    """Whether elements of a dtype, or parts of them, have a byte order."""
    if dtype.names:
        return any(byte_ordered(dtype[name]) for name in dtype.names)
    if dtype.subdtype:
        return byte_ordered(dtype.subdtype[0])
    if is_ml_dtype(dtype):
        return dtype.itemsize > 1
    return dtype.kind in "iufcmMU" and dtype.itemsize > 1


@lru_cache(maxsize=512)  # NumPy makes the name anew each time
def is_ml_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of those that ml_dtypes adds to NumPy."""
    return dtype.name in ML_DTYPES


def value_bits(dtype: np.dtype[Any]) -> int | None:
    """Bits that count in an element smaller than a byte; None for all other dtypes."""
    return _SMALL.get(dtype.name)


def without_padding(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype with fields one behind the other, in native byte order."""
    if dtype.names is None:
        if dtype.subdtype is None:
            return dtype if dtype.isnative else dtype.newbyteorder("=")
        base, shape = dtype.subdtype
        if 0 in shape:
            raise UnsupportedError(f"a field of dtype {dtype} has no cells, which no format can store")
        return np.dtype((without_padding(base), shape))
    titled = [name for name in dtype.names if len(dtype.fields[name]) > 2]  # type: ignore[index]
    if titled:
        raise UnsupportedError(f"field {titled[0]!r} of the dtype has a title, which no format can store")
    return np.dtype([(name, without_padding(dtype[name])) for name in dtype.names])


def holds_arrays(dtype: np.dtype[Any]) -> bool:
    """Whether a field, however deep, is an array."""
    if dtype.subdtype is not None:
        return True
    return any(holds_arrays(dtype[name]) for name in dtype.names or ())


def ml_dtype(name: str) -> np.dtype[Any]:
    """A dtype of the package ml_dtypes, which is needed only where such data are."""
    try:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    except (ImportError, AttributeError):
        raise UnsupportedError(
            f"data type {short(name)} needs the package ml_dtypes, in a version that has it: pip install -U ml_dtypes",
            field="data_type",
        ) from None
    return found
