"""Coordinate transformations of a document <-> scale and translation. NGFF, "coordinateTransformations metadata"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.ome.fields import read_list, read_mapping, read_number, wrong


@dataclass(frozen=True, slots=True)
class Transform:
    """Where cells are: ``translation + scale * index`` is the middle of a cell."""

    scale: tuple[float, ...]
    translation: tuple[float, ...]

    def then(self, other: Transform, field: str) -> Transform:
        """This one, and another one after it; coordinates that no float can hold are an error."""
        scale = tuple(a * b for a, b in zip(self.scale, other.scale, strict=True))
        moved = zip(self.translation, other.scale, other.translation, strict=True)
        translation = tuple(a * b + c for a, b, c in moved)
        if not all(map(math.isfinite, (*scale, *translation))) or 0 in scale:
            raise MetadataError(f"{field} makes scales of {scale} and translations of {translation}", field=field)
        return Transform(scale, translation)

    def write(self, *, translated: bool) -> list[dict[str, Any]]:
        """The list of a document."""
        found: list[dict[str, Any]] = [{"type": "scale", "scale": list(self.scale)}]
        return [*found, {"type": "translation", "translation": list(self.translation)}] if translated else found


def read_transform(value: Any, ndim: int, field: str) -> Transform:
    """The transformation that a list means: one scale, then at most one translation."""
    steps = read_list(value, field)
    if not 1 <= len(steps) <= 2:
        raise wrong(field, value, "a scale, which a translation may follow")
    scale = _read_step(steps[0], "scale", ndim, f"{field}[0]")
    for axis, number in enumerate(scale):
        if number == 0:
            raise wrong(f"{field}[0].scale[{axis}]", number, "another number than 0")
    if len(steps) == 1:
        return Transform(scale, (0.0,) * ndim)
    return Transform(scale, _read_step(steps[1], "translation", ndim, f"{field}[1]"))


def _read_step(value: Any, kind: str, ndim: int, field: str) -> tuple[float, ...]:
    """The numbers of a scale or translation."""
    step = read_mapping(value, field)
    if step.get("type") != kind:
        raise wrong(f"{field}.type", step.get("type"), f"{kind!r}")
    if kind not in step and "path" in step:
        raise UnsupportedError(f"{field} is stored as an array, which is not supported", field=f"{field}.path")
    numbers = read_list(step.get(kind), f"{field}.{kind}")
    if len(numbers) != ndim:
        raise wrong(f"{field}.{kind}", numbers, f"{ndim} numbers, one an axis")
    return tuple(read_number(number, f"{field}.{kind}[{i}]") for i, number in enumerate(numbers))


def level_transform(
    scale: Sequence[float], translation: Sequence[float], factors: Sequence[int], *, centred: bool
) -> Transform:
    """The transformation of a level each of whose cells is made of so many cells of the finest.

    With ``centred`` its cells stand for all those they are made of, and lie in their middle; else each is the first.
    """
    moves = [(f - 1) / 2 * s if centred else 0.0 for s, f in zip(scale, factors, strict=True)]
    found = Transform(
        tuple(s * f for s, f in zip(scale, factors, strict=True)),
        tuple(t + move for t, move in zip(translation, moves, strict=True)),
    )
    if not all(map(math.isfinite, (*found.scale, *found.translation))):
        raise MetadataError(
            f"scale {tuple(scale)} is too large for a level {tuple(factors)} times coarser", field="scale"
        )
    return found
