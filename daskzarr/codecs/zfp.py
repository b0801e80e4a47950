"""zfp: blocks of 4^d numbers, compressed with a stated loss or none.

Kind: array to bytes. Names: ``zfp`` (v3; no header), ``numcodecs.zfpy`` (v2 id ``zfpy``; with a header).
Spec: Zarr extensions, zfp; numcodecs, ZFPY; zfp 1.0, modes and header.
Example: ``{"name": "zfp", "configuration": {"mode": "reversible"}}``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options
from daskzarr.codecs.zfp_stream import (
    MOST_BITS,
    TYPES,
    Bits,
    Field,
    compress,
    decompress,
    decompress_expert,
    decompress_with_header,
    zfpy,
)
from daskzarr.errors import CodecError, UnsupportedError

_EXPONENT_BITS = {"float32": 8, "float64": 11}
_LOWEST_EXPONENT = -1074

# What zfp compresses in the place of other types. Small integers go up to its highest bits but one.
_CARRIERS = {
    **{name: name for name in TYPES},
    **{f"{sign}int{bits}": "int32" for sign in ("", "u") for bits in (2, 4, 8, 16)},
    "uint32": "int32",
    "uint64": "int64",
    "float16": "float32",
    "bfloat16": "float32",
}


@dataclass(frozen=True, slots=True)
class _Mode:
    """What zfpy is asked for, and the bits of a block.

    ``expert`` are zfp's four parameters where no simple mode means the same; such data can only be read.
    """

    arguments: Mapping[str, float] = field(hash=False)
    bits: Bits = (0, MOST_BITS)
    expert: tuple[int, int, int, int] | None = None

    @property
    def reversible(self) -> bool:
        """Whether nothing is lost."""
        return not self.arguments and self.expert is None


@dataclass(frozen=True, slots=True)
class ZfpCodec:
    """A zfp stream and nothing else: the configuration and the chunk's shape say how to read it."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    field: Field
    mode: _Mode

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ZfpCodec:
        """``mode`` and what belongs to it."""
        options = Options("zfp", configuration)
        found = _field(spec, options, _CARRIERS.get(_name(spec.dtype)), _CARRIERS)
        read: Callable[..., _Mode] = options.choice("mode", _MODES)
        mode = read(options, found)
        options.end()
        if mode.expert and not found.fits_header:
            raise options.error(f"chunks of shape {spec.shape} cannot be read with expert parameters")
        return cls(spec, found, mode)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def check_can_write(self) -> None:
        """Refuse what zfpy cannot be asked for."""
        if self.mode.expert:
            raise UnsupportedError(
                f"zfp's expert parameters {self.mode.expert} mean what no other mode does; such chunks can be read but "
                "not written"
            )

    def encode(self, array: Array) -> Buffer:
        """One stream."""
        self.check_can_write()
        return compress(_promoted(array, self), self.mode.arguments, "zfp", write_header=False)

    def decode(self, data: Buffer) -> Array:
        """The numbers."""
        if self.mode.expert:
            found = decompress_expert(data, self.field, self.mode.expert)
        else:
            found = decompress(data, self.field, self.mode.bits, self.mode.arguments)
        return _demoted(found.reshape(self.spec.shape), self)


class NumcodecsZfpyCodec(ZfpCodec):
    """A stream that says itself how to read it. Members it does not know mean nothing."""

    __slots__ = ()

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ZfpCodec:
        """``mode`` is zfp's number: 2 rate, 3 precision, 4 accuracy, 5 no loss, as for a negative value."""
        options = Options("numcodecs.zfpy", configuration)
        name = spec.dtype.name if spec.dtype.name in TYPES else None
        found = _field(spec, options, name, TYPES)
        member, read = _NUMBERED[options.integer("mode", 4, low=2, high=5)]
        if member is None or _number(options, member, -1) < 0:
            read = _reversible
        mode = read(Options("numcodecs.zfpy", configuration), found)
        options.end(lenient=True)
        if not found.fits_header:
            raise options.error(f"a header has no room for the shape {spec.shape}")
        return cls(spec, found, mode)

    def encode(self, array: Array) -> Buffer:
        """One header and stream."""
        return compress(_promoted(array, self), self.mode.arguments, self.field.codec, write_header=True)

    def decode(self, data: Buffer) -> Array:
        """The numbers, once the header agrees with the chunk."""
        return decompress_with_header(data, self.field).reshape(self.spec.shape)


def _field(spec: ChunkSpec, options: Options, name: str | None, known: Mapping[str, Any]) -> Field:
    """The chunk as zfp sees it, which has no scalars, and few types."""
    if len(spec.shape) > 4 or 0 in spec.shape:
        raise options.error(f"a chunk has the shape {spec.shape}; zfp takes at most 4 axes, none of them empty")
    if name is None:
        raise options.error(f"elements are {spec.dtype}; they can be {', '.join(known)}")
    zfpy(options.codec)
    return Field(spec.shape or (1,), np.dtype(name), options.codec)


def _name(dtype: np.dtype[Any]) -> str:
    """The name of a number's type; dates and spans are integers."""
    return "int64" if dtype.kind in "mM" else dtype.name


def _number(options: Options, member: str, *default: Any) -> float:
    """A finite number."""
    value = options.value(member, *default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1.7e308:
        raise options.error(f"{member} is {value!r}; it has to be a finite number")
    return float(value)


def _reversible(options: Options, field: Field) -> _Mode:
    """No loss."""
    return _Mode({})


def _accuracy(options: Options, field: Field) -> _Mode:
    """A bound on the error of every number."""
    tolerance = _number(options, "tolerance")
    if tolerance < 0:
        raise options.error(f"tolerance is {tolerance}; it cannot be negative")
    return _Mode({"tolerance": tolerance})


def _precision(options: Options, field: Field) -> _Mode:
    """Bit planes to keep; 0 means all."""
    return _Mode({"precision": min(options.integer("precision", low=0, high=2**31 - 1), 64)})


def _rate(options: Options, field: Field) -> _Mode:
    """Bits for every number, on average over a block: at least what its exponent needs."""
    rate = _number(options, "rate")
    if not 0 <= rate <= MOST_BITS // field.values:
        raise options.error(f"rate is {rate}; it can be from 0 to {MOST_BITS // field.values} bits for a number")
    return _fixed(max(math.floor(field.values * rate + 0.5), _overhead(field, reversible=False)), field)


def _overhead(field: Field, *, reversible: bool) -> int:
    """The bits that a block has besides those of its numbers, at least 1."""
    exponent = _EXPONENT_BITS.get(field.dtype.name, 0)
    own = 1 + exponent if exponent else 0
    return own + (field.dtype.itemsize.bit_length() + 2 + (exponent > 0)) if reversible else max(own, 1)


def _fixed(bits: int, field: Field) -> _Mode:
    """So many bits for every block."""
    return _Mode({"rate": bits / field.values}, (bits, bits))


def _expert(options: Options, field: Field) -> _Mode:
    """zfp's own parameters, as the simple mode that means the same where there is one."""
    least, most = (options.integer(member, low=0, high=2**32 - 1) for member in ("minbits", "maxbits"))
    planes = options.integer("maxprec", low=1, high=64)
    exponent = options.integer("minexp", low=-(2**31), high=2**31 - 1)
    needed = _overhead(field, reversible=exponent < _LOWEST_EXPONENT)
    if least > min(most, MOST_BITS) or most < needed:
        raise options.error(
            f"minbits is {least} and maxbits {most}; they can be at most {MOST_BITS}, and at least that and {needed}"
        )
    most = min(most, MOST_BITS)
    free = least <= 1 and most == MOST_BITS
    if exponent < _LOWEST_EXPONENT:
        if free and planes == 64:
            return _Mode({})
    elif exponent == _LOWEST_EXPONENT:
        if free:
            return _Mode({"precision": planes})
        if least == most and planes == 64:
            return _fixed(least, field)
    elif free and planes == 64 and exponent <= 1023:
        return _Mode({"tolerance": math.ldexp(1.0, exponent)})
    return _Mode({}, expert=(max(least, 1), most, planes, min(max(exponent, _LOWEST_EXPONENT - 1), 16000)))


# By their names in v3, and by zfp's numbers with the member that belongs to each.
_MODES: dict[str, Callable[..., _Mode]] = {
    "reversible": _reversible,
    "expert": _expert,
    "fixed_accuracy": _accuracy,
    "fixed_rate": _rate,
    "fixed_precision": _precision,
}


_NUMBERED: dict[int, tuple[str | None, Callable[..., _Mode]]] = {
    2: ("rate", _rate),
    3: ("precision", _precision),
    4: ("tolerance", _accuracy),
    5: (None, _reversible),
}


def _promoted(array: Array, codec: ZfpCodec) -> Array:
    """The numbers as zfp compresses them, once it is sure that it can."""
    dtype, carrier, name = codec.spec.dtype, codec.field.dtype, _name(codec.spec.dtype)
    array = np.ascontiguousarray(array, dtype).reshape(codec.field.lengths)
    if name in ("uint32", "uint64"):
        if array.max() > np.iinfo(carrier).max:
            raise CodecError(f"{array.max()} is beyond {carrier}, which zfp stores {name} as", codec=codec.field.codec)
        array = array.astype(carrier)
    elif carrier == np.int32 and name != "int32":
        bits, offset = _place(name)
        array = (array.astype(np.int32) - offset) << (31 - bits)
    elif dtype.kind in "mM":
        array = array.view(carrier)
    else:
        with np.errstate(invalid="ignore"):  # signaling NaNs
            array = array.astype(carrier, copy=False)
    if not codec.mode.reversible:
        _refuse_unsafe(array, codec.field.codec)
    return array


def _refuse_unsafe(array: Array, codec: str) -> None:
    """Refuse numbers that would spoil their neighbours where bits are dropped."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise CodecError("only finite numbers can be stored with a loss; use the mode 'reversible'", codec=codec)
        return
    limit = 2 ** (8 * array.dtype.itemsize - 2)
    if array.min() < -limit or array.max() >= limit:
        raise CodecError(
            f"only integers from {-limit} to {limit - 1} can be stored with a loss; use the mode 'reversible'",
            codec=codec,
        )


def _demoted(found: Array, codec: ZfpCodec) -> Array:
    """Back from what zfp stores; with a loss, a little beyond the type's range means its bound."""
    dtype = codec.spec.dtype
    if dtype.kind in "mM":
        return found.view(dtype)
    if dtype.name in ("uint32", "uint64"):
        if codec.mode.reversible and found.min() < 0:
            raise CodecError(f"{found.min()} is stored, which no {dtype} is: the chunk is damaged", codec="zfp")
        return np.maximum(found, 0).astype(dtype)
    if found.dtype == np.int32 and dtype != np.int32:
        bits, offset = _place(dtype.name)
        lowest = offset - 2 ** (bits - 1)
        found = np.clip((found >> (31 - bits)) + offset, lowest, lowest + 2**bits - 1)
    with np.errstate(all="ignore"):
        return found.astype(dtype, copy=False)


def _place(name: str) -> tuple[int, int]:
    """Bits of a small integer type, and what zfp takes from its values to have them around 0."""
    bits = int(name.rpartition("int")[2])
    return bits, 2 ** (bits - 1) if name.startswith("u") else 0
