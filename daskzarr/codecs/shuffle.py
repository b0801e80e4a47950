"""shuffle: the first byte of every element, then the second of every element, and so on.

Kind: bytes to bytes. Names: ``numcodecs.shuffle`` (v2 id ``shuffle``). Spec: numcodecs, Shuffle; HDF5, shuffle filter.
Example: ``{"name": "numcodecs.shuffle", "configuration": {"elementsize": 4}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size

_LONGEST = 2**31 - 1
_FEW = 16  # so many strided copies are faster than one that NumPy orders by its source


@dataclass(frozen=True, slots=True)
class ShuffleCodec:
    """The bytes of elements as a matrix, turned."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    elementsize: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> ShuffleCodec:
        """``elementsize`` from 1; netCDF-C writes 0 or a number as text, and means that of the array."""
        options = Options("shuffle", configuration)
        value = options.value("elementsize", 4)
        if (type(value) is int and value == 0) or (isinstance(value, str) and value.isdecimal()):
            value = spec.itemsize
        if type(value) is not int or not 1 <= value <= _LONGEST:
            raise options.error(f"elementsize is {value!r}; it has to be an integer from 1 to {_LONGEST}")
        options.end(lenient=True)
        if spec.size is not None and spec.size % value:
            raise options.error(f"elementsize is {value}, of which {spec.size} bytes are no multiple")
        return cls(spec, value)

    def encoded_spec(self) -> BytesSpec:
        """The same number of bytes."""
        return BytesSpec(self.spec.size, 1)

    def encode(self, data: Buffer) -> Buffer:
        """The matrix turned."""
        rows = self._bytes(data).reshape(-1, self.elementsize)
        return np.ascontiguousarray(rows.T).reshape(-1).data

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The matrix turned back, into ``out`` where there is one."""
        source = self._bytes(data)
        columns = source.reshape(self.elementsize, len(source) // self.elementsize)
        memory = np.empty(len(source), np.uint8) if out is None else out.reshape(-1).view(np.uint8)
        rows = memory.reshape(-1, self.elementsize)
        if self.elementsize <= _FEW:
            for i, column in enumerate(columns):
                rows[:, i] = column
        else:
            rows[...] = columns.T
        return memory.data if out is None else out

    def _bytes(self, data: Buffer) -> Array:
        """The bytes, if there are as many as have to be."""
        if self.spec.size is not None and len(data) != self.spec.size:
            raise wrong_size("shuffle", len(data), self.spec.size)
        if len(data) % self.elementsize:
            raise wrong_size("shuffle", len(data), f"a multiple of {self.elementsize}")
        return np.frombuffer(data, np.uint8)
