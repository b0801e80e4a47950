"""transpose: the axes in another order.

Kind: array to array. Names: ``transpose`` (v3); v2 says ``"order": "F"``. Spec: Zarr v3 core codecs, transpose.
Example: ``{"name": "transpose", "configuration": {"order": [1, 0]}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options
from daskzarr.errors import short


@dataclass(frozen=True, slots=True)
class TransposeCodec:
    """Axis ``i`` of the encoded array is axis ``order[i]`` of the decoded one."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    order: tuple[int, ...]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> TransposeCodec:
        """``order`` names every axis once; the withdrawn spellings "C" and "F" are read too."""
        options = Options("transpose", configuration)
        order = options.value("order")
        axes = list(range(len(spec.shape)))
        if order in ("C", "F"):
            order = axes if order == "C" else axes[::-1]
        if not isinstance(order, (list, tuple)) or any(type(i) is not int for i in order) or sorted(order) != axes:
            raise options.error(f"order is {short(order)}; it has to name each of the {len(axes)} axes once")
        options.end()
        return cls(spec, tuple(order))

    @property
    def inverse(self) -> tuple[int, ...]:
        """The order that leads back."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))

    def encoded_spec(self) -> ChunkSpec:
        """The same cells under the new axes."""
        return replace(self.spec, shape=tuple(self.spec.shape[axis] for axis in self.order))

    def encode(self, array: Array) -> Array:
        """A view."""
        return array.transpose(self.order)

    def decode(self, array: Array) -> Array:
        """A view."""
        return array.transpose(self.inverse)
