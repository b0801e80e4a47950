"""bytes: an array's elements in C order and a stated byte order.

Kind: array to bytes. Names: ``bytes`` (v3); v2 says it in the dtype. Spec: Zarr v3 core codecs, bytes.
Example: ``{"name": "bytes", "configuration": {"endian": "little"}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options, wrong_size


@dataclass(frozen=True, slots=True)
class BytesCodec:
    """The elements' memory. ``stored`` is the dtype with the byte order of the stored bytes."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    stored: np.dtype[Any]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> BytesCodec:
        """``endian`` is required where an element has several bytes, and means nothing otherwise."""
        options = Options("bytes", configuration)
        several = spec.dtype.itemsize > 1
        order = options.choice("endian", {"little": "<", "big": ">", **({} if several else {None: "|"})},
                               *(() if several else (None,)))  # fmt: skip
        options.end()
        return cls(spec, spec.dtype.newbyteorder(order) if several else spec.dtype)

    def encoded_spec(self) -> BytesSpec:
        """As many bytes as the chunk has in memory."""
        return BytesSpec(self.spec.nbytes, self.stored.itemsize)

    def encode(self, array: Array) -> Buffer:
        """The array's own memory where it is laid out right, a copy otherwise."""
        laid_out = np.ascontiguousarray(array, self.stored)
        return laid_out.reshape(-1).view(np.uint8).data

    def decode(self, data: Buffer) -> Array:
        """A new array of native byte order."""
        if len(data) != self.spec.nbytes:
            raise wrong_size("bytes", len(data), self.spec.nbytes)
        return np.frombuffer(data, self.stored).reshape(self.spec.shape).astype(self.spec.dtype)
