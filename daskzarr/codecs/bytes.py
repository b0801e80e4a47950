"""bytes: an array's elements in C order and a stated byte order.

Kind: array to bytes. Names: ``bytes`` (v3); v2 says it in the dtype. Spec: Zarr v3 core codecs, bytes.
Example: ``{"name": "bytes", "configuration": {"endian": "little"}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError
from daskzarr.metadata.data_type import np_dtype_of_v2
from daskzarr.metadata.numpy_dtype import byte_ordered, is_ml_dtype, value_bits

_LAST_CHARACTER = 0x10FFFF


@dataclass(frozen=True)
class BytesCodec:
    """The elements' memory. ``stored`` is the dtype with the byte order of the stored bytes."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    stored: np.dtype[Any]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> BytesCodec:
        """``endian`` is required where an element has several bytes, and means nothing otherwise."""
        options = Options("bytes", configuration)
        _refuse_objects(spec, options)
        ordered = byte_ordered(spec.dtype)
        order = options.choice("endian", {"little": "<", "big": ">", **({} if ordered else {None: "|"})},
                               *(() if ordered else (None,)))  # fmt: skip
        options.end()
        carrier = carrier_dtype(spec.dtype)
        return cls(spec, carrier.newbyteorder(order) if ordered else carrier)

    @cached_property
    def carrier(self) -> np.dtype[Any]:
        """The chunk's dtype with integers in the place of what ml_dtypes adds, which NumPy cannot swap."""
        return carrier_dtype(self.spec.dtype)

    @cached_property
    def plain(self) -> bool:
        """Whether any stored bytes are elements as they stand, up to their order."""
        return not _has_bad_values(self.spec.dtype)

    @cached_property
    def small(self) -> bool:
        """Whether only some bits of an element, or of a part of it, count."""
        return _has_small_parts(self.spec.dtype)

    def encoded_spec(self) -> BytesSpec:
        """As many bytes as the chunk has in memory."""
        return BytesSpec(self.spec.nbytes, self.stored.itemsize)

    def encode(self, array: Array) -> Buffer:
        """The array's own memory where it is laid out right, a copy otherwise."""
        if self.small:
            array = array.copy()
            clean(array, "bytes")
        cells = array if self.carrier == self.spec.dtype else array.view(self.carrier)
        laid_out = np.ascontiguousarray(cells, self.stored)
        return laid_out.reshape(-1).view(np.uint8).data

    def decode(self, data: Buffer) -> Array:
        """A new array of native byte order."""
        if len(data) != self.spec.nbytes:
            raise wrong_size("bytes", len(data), self.spec.nbytes)
        found = np.frombuffer(data, self.stored).reshape(self.spec.shape).astype(self.carrier).view(self.spec.dtype)
        if not self.plain:
            clean(found, "bytes")
        return found


class StoredDtypeCodec(BytesCodec):
    """The same for structures of v2, where every field has a byte order of its own."""

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> BytesCodec:
        """``dtype`` is that of the array, ``filtered`` that of what its filters give, if it has any."""
        options = Options("v2.bytes", configuration)
        stored = carrier_dtype(np_dtype_of_v2(options.value("filtered", options.value("dtype"))))
        if stored.newbyteorder("=") != carrier_dtype(spec.dtype).newbyteorder("="):
            raise options.error(f"dtype {stored} does not store {spec.dtype}")
        return cls(spec, stored)


def carrier_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype with unsigned integers in the place of what ml_dtypes adds."""
    if dtype.names:
        return np.dtype([(name, carrier_dtype(dtype[name])) for name in dtype.names])
    if dtype.subdtype:
        return np.dtype((carrier_dtype(dtype.subdtype[0]), dtype.subdtype[1]))
    return np.dtype(f"u{dtype.itemsize}") if is_ml_dtype(dtype) else dtype


def clean(array: Array, codec: str) -> None:
    """Bring elements that several bit patterns stand for to the one NumPy knows, in place; refuse what is none."""
    dtype = array.dtype
    if dtype.names:
        for name in dtype.names:
            if _has_bad_values(dtype[name]):
                clean(array[name], codec)
    elif dtype.kind == "b":
        cells = array.view(np.uint8)
        np.not_equal(cells, 0, out=array)
    elif value_bits(dtype) is not None:
        cells = array.view(np.uint8)
        cells &= (1 << (value_bits(dtype) or 0)) - 1
    elif dtype.kind == "U" and array.size:
        characters = np.ascontiguousarray(array).view(np.uint32)
        if characters.max() > _LAST_CHARACTER:
            raise CodecError(
                f"a text holds {characters.max():#x}, which is no character: the chunk is damaged", codec=codec
            )


def _has_bad_values(dtype: np.dtype[Any]) -> bool:
    """Whether some bit patterns are no values of the dtype, or second spellings of one."""
    if dtype.names:
        return any(_has_bad_values(dtype[name]) for name in dtype.names)
    if dtype.subdtype:
        return _has_bad_values(dtype.subdtype[0])
    return dtype.kind in "bU" or value_bits(dtype) is not None


def _has_small_parts(dtype: np.dtype[Any]) -> bool:
    """Whether only some bits of an element, or of a part of it, count."""
    if dtype.subdtype:
        return _has_small_parts(dtype.subdtype[0])
    return any(_has_small_parts(dtype[name]) for name in dtype.names or ()) or value_bits(dtype) is not None


def _refuse_objects(spec: ChunkSpec, options: Options) -> None:
    """Objects have no memory that could be stored."""
    if spec.dtype.hasobject:
        raise options.error("elements of any length cannot be stored as they are; use vlen-utf8 or vlen-bytes")
