"""reshape: the same cells, in the same order, under other axes.

Kind: array to array. Names: ``reshape`` (v3). Spec: Zarr extensions, reshape.
Example: ``{"name": "reshape", "configuration": {"shape": [[0, 1], 1]}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from math import prod
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options

_MOST_AXES = 32  # what every NumPy can have


@dataclass(frozen=True, slots=True)
class ReshapeCodec:
    """Another shape for the cells in C order."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    shape: tuple[int, ...]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ReshapeCodec:
        """``shape`` says of every new axis its length, the old axes it is made of, or -1 (once): what is left."""
        options = Options("reshape", configuration)
        entries = options.value("shape")
        options.end()
        if not isinstance(entries, (list, tuple)) or len(entries) > _MOST_AXES:
            raise options.error(f"shape is {entries!r}; it has to be a list of at most {_MOST_AXES} axes")
        shape = _lengths(entries, spec.shape, options)
        if prod(shape) != prod(spec.shape):
            raise options.error(
                f"shape {entries!r} gives {prod(shape)} cells where a chunk of shape {spec.shape} has "
                f"{prod(spec.shape)}"
            )
        for axis, entry in enumerate(entries):
            if isinstance(entry, (list, tuple)) and entry:
                _check_span(axis, entry, shape, spec.shape, options)
        return cls(spec, shape)

    def encoded_spec(self) -> ChunkSpec:
        """The same cells under the new axes."""
        return replace(self.spec, shape=self.shape)

    def encode(self, array: Array) -> Array:
        """A view where the memory allows it."""
        return array.reshape(self.shape)

    def decode(self, array: Array) -> Array:
        """A view where the memory allows it."""
        return array.reshape(self.spec.shape)


def _lengths(entries: Any, old: tuple[int, ...], options: Options) -> tuple[int, ...]:
    """The new lengths, each entry checked by itself; what -1 stands for comes out of the others."""
    shape = [_length(entry, old, options) for entry in entries]
    axes = list(chain.from_iterable(entry for entry in entries if isinstance(entry, (list, tuple))))
    if any(a >= b for a, b in pairwise(axes)):
        raise options.error(f"shape is {entries!r}; the old axes in it have to come in their order, each once")
    if shape.count(-1) > 1:
        raise options.error(f"shape is {entries!r}; -1 can stand there once")
    if -1 in shape:
        cells, others = prod(old), -prod(shape)
        if others == 0 or cells % others:
            raise options.error(f"shape is {entries!r}; {cells} cells do not divide into {others}")
        shape[shape.index(-1)] = cells // others
    return tuple(shape)


def _length(entry: Any, old: tuple[int, ...], options: Options) -> int:
    """One new length, or -1 as it stands."""
    if isinstance(entry, (list, tuple)):
        if not all(type(axis) is int and 0 <= axis < len(old) for axis in entry):
            raise options.error(f"{entry!r} in shape is no list of axes; there are axes 0 to {len(old) - 1}")
        return prod(old[axis] for axis in entry)
    if type(entry) is not int or (entry != -1 and not 1 <= entry < 2**63):
        raise options.error(f"{entry!r} in shape is neither a length from 1 to 2^63 - 1, a list of axes, nor -1")
    return entry


def _check_span(axis: int, entry: Any, shape: tuple[int, ...], old: tuple[int, ...], options: Options) -> None:
    """Refuse old axes that say of a new one what it is not: the cells before and behind have to be as many."""
    if prod(shape[:axis]) != prod(old[: entry[0]]) or prod(shape[axis + 1 :]) != prod(old[entry[-1] + 1 :]):
        raise options.error(f"axis {axis} of the new shape {shape} is not made of the axes {entry!r} of {old}")
