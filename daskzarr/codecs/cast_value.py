"""cast_value: the same numbers as another type, rounded where they have to be; nothing else goes unnoticed.

Kind: array to array. Names: ``cast_value`` (v3). Spec: Zarr extensions, cast_value.
Example: ``{"name": "cast_value", "configuration": {"data_type": "uint8", "rounding": "towards-zero"}}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options
from daskzarr.errors import CodecError, DaskZarrError, MetadataError
from daskzarr.metadata.data_type import DataType
from daskzarr.metadata.fill_value import fill_scalar
from daskzarr.metadata.named_config import NamedConfig
from daskzarr.metadata.numpy_dtype import is_ml_dtype, value_bits

Pairs = tuple[tuple[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class CastValueCodec:
    """Numbers of one type as those of another, and back by the same rules.

    ``encoding`` and ``decoding`` are pairs of a value and what it becomes, whatever the rules say.
    """

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    stored: np.dtype[Any]
    rounding: str
    beyond: str | None
    encoding: Pairs
    decoding: Pairs

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> CastValueCodec:
        """The fill value has to come back as it was."""
        options = Options("cast_value", configuration)
        stored = _stored_type(options)
        if not is_real(spec.dtype):
            raise options.error(f"elements are {spec.dtype}; only real numbers can be cast")
        rounding = options.choice("rounding", {name: name for name in _ROUNDINGS}, "nearest-even")
        asked = "out_of_range" in configuration
        beyond = options.choice("out_of_range", {"clamp": "clamp", "wrap": "wrap"}) if asked else None
        if beyond == "wrap" and not is_integer(stored.dtype):
            raise options.error(f"out_of_range can be 'wrap' for integers, which {stored.name} are not")
        encoding, decoding = _scalar_map(options, DataType.of(spec.dtype), stored)
        options.end()
        codec = cls(spec, stored.dtype, rounding, beyond, encoding, decoding)
        codec._check_fill_value(options)
        return codec

    def _check_fill_value(self, options: Options) -> None:
        """Refuse a fill value that would become another one."""
        fill = np.array(self.spec.fill_value, self.spec.dtype)
        try:
            back = self.decode(self.encode(fill))
        except CodecError as error:
            raise options.error(f"the fill value {fill} cannot be stored: {error.message}") from None
        if not _are(back, fill).all():
            raise options.error(f"the fill value {fill} would come back as {back}")

    def encoded_spec(self) -> ChunkSpec:
        """The same cells as the other type, and the fill value too."""
        fill = self.encode(np.array(self.spec.fill_value, self.spec.dtype))[()]
        return replace(self.spec, dtype=self.stored, fill_value=fill)

    def encode(self, array: Array) -> Array:
        """The numbers as the stored type."""
        return self._cast(np.asarray(array, self.spec.dtype), self.stored, self.encoding)

    def decode(self, array: Array) -> Array:
        """The numbers as the array's own type."""
        return self._cast(array, self.spec.dtype, self.decoding)

    def _cast(self, array: Array, target: np.dtype[Any], pairs: Pairs) -> Array:
        """First what the pairs say, then the rules for all others."""
        if not pairs:
            return cast_numbers(array, target, self.rounding, self.beyond)
        cells = array.reshape(-1)
        out, rest = np.empty(cells.shape, target), np.ones(cells.shape, bool)
        for value, becomes in pairs:
            hit = rest & _are(cells, value)
            out[hit] = becomes
            rest &= ~hit
        out[rest] = cast_numbers(cells[rest], target, self.rounding, self.beyond)
        return out.reshape(array.shape)


def _are(cells: Array, value: Any) -> Array:
    """Where cells have a value; any NaN is as good as another."""
    with np.errstate(invalid="ignore"):  # signaling NaNs
        return np.asarray(cells != cells if value != value else cells == value)


def _stored_type(options: Options) -> DataType:
    """The type to cast to."""
    value = options.value("data_type")
    try:
        config = NamedConfig.read(value, "data_type")
        found = DataType.read(config)
    except DaskZarrError as error:
        raise options.error(f"data_type: {error.message}") from None
    if not is_real(found.dtype) or not config.must_understand:
        raise options.error(
            f"data_type is {found.name}; it has to be one of real numbers that every reader understands"
        )
    return found


def _scalar_map(options: Options, decoded: DataType, stored: DataType) -> tuple[Pairs, Pairs]:
    """The pairs for both ways, each value spelled as a fill value of its type."""
    given = options.value("scalar_map", {})
    if not isinstance(given, dict) or set(given) - {"encode", "decode"}:
        raise options.error("scalar_map has to be an object of 'encode' and 'decode', and nothing else")
    return _pairs(options, given, "encode", decoded, stored), _pairs(options, given, "decode", stored, decoded)


def _pairs(options: Options, given: Mapping[str, Any], way: str, source: DataType, target: DataType) -> Pairs:
    """The pairs for one way."""
    found = given.get(way, [])
    if not isinstance(found, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in found):
        raise options.error(f"{way} in scalar_map has to be a list of pairs")
    return tuple((scalar(options, way, source, value), scalar(options, way, target, to)) for value, to in found)


def scalar(options: Options, member: str, data_type: DataType, value: Any) -> Any:
    """A number from a codec's configuration, spelled as a fill value of a type."""
    try:
        if value is None or isinstance(value, bool):
            raise MetadataError("it is no number")
        return fill_scalar(data_type, value)
    except MetadataError as error:
        raise options.error(f"{member}: {error.message}") from None


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether elements are integers."""
    return "int" in dtype.name if is_ml_dtype(dtype) else dtype.kind in "iu"


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether elements are real numbers."""
    return is_ml_dtype(dtype) or dtype.kind in "iuf"


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and greatest integer of a type."""
    bits = value_bits(dtype) or 8 * dtype.itemsize
    return (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def cast_numbers(
    array: Array,
    target: np.dtype[Any],
    rounding: str = "nearest-even",
    beyond: str | None = None,
    codec: str = "cast_value",
) -> Array:
    """Numbers as another type: exact, or rounded; ``beyond`` its range clamped, wrapped or refused."""
    with np.errstate(all="ignore"):
        return _cast(array.reshape(-1), target, rounding, beyond, codec).reshape(array.shape)


def _cast(cells: Array, target: np.dtype[Any], rounding: str, beyond: str | None, codec: str) -> Array:
    """The same for a row of numbers."""
    source = cells.dtype
    if source == target:
        return cells.copy()
    if is_integer(source):
        cells = cells.astype(np.int64) if is_ml_dtype(source) else cells
        if is_integer(target):
            return _between_integers(cells, target, beyond, codec)
        if target.name in ("float32", "float64") and (rounding == "nearest-even" or _are_exact(cells, target)):
            return cells.astype(target)  # rounds to the nearest, and none is out of range
        return _to_float(_scale_integers(cells, _format(target).mantissa, rounding), target, beyond, codec)
    if is_integer(target):
        return _to_integers(cells, target, rounding, beyond, codec)
    if target.name in ("float32", "float64") and source.itemsize < target.itemsize:
        return cells.astype(target)  # has all that a shorter one has
    return _to_float(_scale_floats(cells.astype(np.float64), _format(target), rounding), target, beyond, codec)


def _between_integers(cells: Array, target: np.dtype[Any], beyond: str | None, codec: str) -> Array:
    """Integers as another type of integers."""
    low, high = limits(target)
    if cells.size == 0 or (low <= int(cells.min()) and int(cells.max()) <= high):
        return cells.astype(target)
    if beyond == "wrap":
        return _wrapped(cells.astype(np.uint64), target)
    least, most = limits(cells.dtype)
    if beyond is None:
        raise _outside(cells[(cells < max(low, least)) | (cells > min(high, most))], target, codec)
    return cells.clip(max(low, least), min(high, most)).astype(target)


def _are_exact(cells: Array, target: np.dtype[Any]) -> bool:
    """Whether a type of floats has all these integers."""
    limit = 2 ** (_format(target).mantissa + 1)
    return not cells.size or (-limit <= int(cells.min()) and int(cells.max()) <= limit)


def _wrapped(cells: Array, target: np.dtype[Any]) -> Array:
    """The lowest bits of 64-bit integers as another type."""
    bits = value_bits(target) or 8 * target.itemsize
    cells = cells & np.uint64(2**bits - 1)
    if not target.name.startswith("u"):
        sign = np.uint64(2 ** (bits - 1))
        cells = ((cells ^ sign) - sign).view(np.int64)
    return cells.astype(target)


def _to_integers(array: Array, target: np.dtype[Any], rounding: str, beyond: str | None, codec: str) -> Array:
    """Floats as integers."""
    short = array.dtype.name in ("float16", "float32")
    cells: Any = _ROUNDINGS[rounding](array.astype(np.float32 if short else np.float64))
    low, high = limits(target)
    plain = np.int64 if low else np.uint64
    if cells.size == 0 or (cells.min() >= low and cells.max() < high + 1):  # neither holds with a NaN
        return np.asarray(cells.astype(plain if is_ml_dtype(target) else target).astype(target))
    if not np.isfinite(cells).all():
        raise _outside(cells[~np.isfinite(cells)], target, codec)
    below, above = cells < low, cells >= high + 1
    if beyond is None:
        raise _outside(cells[below | above], target, codec)
    if beyond == "wrap":
        rest = np.fmod(np.abs(cells.astype(np.float64)), 2.0**64).astype(np.uint64)
        return _wrapped(np.where(cells < 0, -rest, rest), target)
    found = np.where(below | above, 0, cells).astype(plain)
    found[below], found[above] = low, high
    return np.asarray(found, target)


def _to_float(cells: Array, target: np.dtype[Any], beyond: str | None, codec: str) -> Array:
    """Numbers that a type of floats has, but for its range, as that type."""
    form = _format(target)
    outside = (cells < form.low) | (cells > form.high)
    if form.infinite:
        outside &= np.isfinite(cells)
    if outside.any():
        if beyond != "clamp":
            raise _outside(cells[outside], target, codec)
        low, high = (-np.inf, np.inf) if form.infinite else (form.low, form.high)
        cells = np.where(outside, np.where(cells < form.low, low, high), cells)
    if not form.nan and np.isnan(cells).any():
        raise _outside(cells[np.isnan(cells)], target, codec)
    return cells.astype(target)


def _outside(cells: Array, target: np.dtype[Any], codec: str) -> CodecError:
    """The error for numbers that another type does not have."""
    return CodecError(f"{cells[0]} is no {target}, and {cells.size - 1} more are not", codec=codec)


@dataclass(frozen=True, slots=True)
class _Format:
    """What a type of floats can hold: bits behind the point, the exponent of its least normal number, its range."""

    mantissa: int
    lowest: int
    low: float
    high: float
    infinite: bool
    nan: bool


@cache
def _format(dtype: np.dtype[Any]) -> _Format:
    """The format of a type of floats."""
    if not is_ml_dtype(dtype):
        known: Any = np.finfo(dtype)
        return _Format(known.nmant, int(known.minexp), float(known.min), float(known.max), True, True)
    from ml_dtypes import finfo

    known = finfo(dtype)
    infinite, nan = np.array([np.inf, np.nan]).astype(dtype).astype(np.float64)
    return _Format(
        known.nmant, known.minexp, float(known.min), float(known.max), bool(np.isinf(infinite)), bool(np.isnan(nan))
    )


def _scale_floats(cells: Array, form: _Format, rounding: str) -> Array:
    """Floats of 64 bits, rounded to what a shorter format has, as if its exponents had no upper end."""
    cells = np.where(np.isinf(cells), cells, cells.clip(-(2.0**1000), 2.0**1000))  # so that rounding cannot overflow
    exponents = np.maximum(np.frexp(cells)[1] - 1, form.lowest) - form.mantissa
    return np.asarray(np.ldexp(_ROUNDINGS[rounding](np.ldexp(cells, -exponents)), exponents))


def _scale_integers(cells: Array, mantissa: int, rounding: str) -> Array:
    """Integers as floats of 64 bits, rounded to ``mantissa`` bits behind the highest one."""
    negative = cells < 0
    sizes = np.where(negative, -cells.astype(np.uint64), cells.astype(np.uint64))
    lengths = np.minimum(np.frexp(sizes.astype(np.float64))[1], 64)  # one too many where that was rounded up
    lengths -= sizes >> np.maximum(lengths - 1, 0).astype(np.uint64) == 0
    drop = np.maximum(lengths - 1 - mantissa, 0).astype(np.uint64)
    whole, one = sizes >> drop, np.uint64(1)
    rest, half = sizes & ((one << drop) - one), (one << drop) >> one
    # The last bit that stays, and how what goes compares with half of it: that is all rounding needs to know.
    tail = (whole & one) + 0.25 * (rest > 0) + 0.25 * ((rest > 0) & (rest >= half)) + 0.25 * (rest > half)
    rounded = np.abs(_ROUNDINGS[rounding](np.where(negative, -tail, tail)))
    found = np.ldexp((whole - (whole & one)).astype(np.float64) + rounded, drop.astype(np.int64))
    return np.asarray(np.where(negative, -found, found))


def _nearest_away(cells: Array) -> Array:
    """The nearest integers, and those away from 0 where two are as near."""
    whole = np.trunc(cells)
    return np.asarray(whole + np.copysign(np.abs(cells - whole) >= 0.5, cells))


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "nearest-even": np.rint,
    "towards-zero": np.trunc,
    "towards-positive": np.ceil,
    "towards-negative": np.floor,
    "nearest-away": _nearest_away,
}
