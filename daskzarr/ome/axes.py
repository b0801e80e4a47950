"""Axes of an image as a document has them, or as people type them -> values. NGFF, "axes metadata"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daskzarr.errors import MetadataError, short
from daskzarr.ome.fields import read_list, read_mapping, read_optional_text, read_text, wrong

_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_ORDER = {"time": 0, "space": 2}  # all others come in between


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of an image.

    Parameters
    ----------
    name
        No other axis of the image has it.
    type
        ``"space"``, ``"time"``, ``"channel"`` or anything else; None if it is not known.
    unit
        Of coordinates along it, by its UDUNITS-2 name, such as ``"micrometer"``; None if there is none.

    Examples
    --------
    >>> Axis("y", "space", "micrometer")
    Axis(name='y', type='space', unit='micrometer')
    """

    name: str
    type: str | None = None
    unit: str | None = None

    def write(self) -> dict[str, str]:
        """The axis as a JSON object."""
        members = {"name": self.name, "type": self.type, "unit": self.unit}
        return {name: value for name, value in members.items() if value is not None}


def read_axes(value: Any, field: str) -> tuple[Axis, ...]:
    """The axes of a document; of the rules on their order and number readers need none."""
    axes = []
    for i, item in enumerate(read_list(value, field)):
        here = f"{field}[{i}]"
        document = read_mapping(item, here)
        name = read_text(document.get("name"), f"{here}.name")
        axes.append(Axis(name, read_optional_text(document, "type", here), read_optional_text(document, "unit", here)))
    _check_names(axes, field)
    return tuple(axes)


def new_axes(given: Any, units: Any, ndim: int) -> tuple[Axis, ...]:
    """The axes of a new image, which keep all rules."""
    if not isinstance(given, Sequence) or len(given) != ndim:
        raise MetadataError(
            f"axes is {short(given)}; it has to be {ndim} axes, one for each of the image", field="axes"
        )
    axes = [_new_axis(item, i) for i, item in enumerate(given)]
    _check_names(axes, "axes")
    axes = _with_units(axes, units)
    order = [_ORDER.get(str(axis.type), 1) for axis in axes]
    counts = [order.count(rank) for rank in range(3)]
    if order != sorted(order) or counts[0] > 1 or counts[1] > 1 or counts[2] not in (2, 3):
        shown = ", ".join(f"{axis.name} ({axis.type})" for axis in axes)
        raise MetadataError(
            f"the axes are {shown}; they have to be at most one of time, then at most one channel or other axis, then "
            "two or three of space; transpose the image first",
            field="axes",
        )
    return tuple(axes)


def _new_axis(item: Any, i: int) -> Axis:
    """One axis as it is typed: a name says the type of the five usual ones."""
    if isinstance(item, Axis):
        found = item
    elif isinstance(item, Mapping):
        (found,) = read_axes([item], "axes")
    else:
        found = Axis(read_text(item, f"axes[{i}]"))
    for name in ("name", "type", "unit"):
        value = getattr(found, name)
        if (value is not None or name == "name") and (not isinstance(value, str) or not value):
            raise wrong(f"axes[{i}].{name}", value, "text")
    return found if found.type is not None else replace(found, type=_TYPES.get(found.name.lower()))


def _with_units(axes: list[Axis], units: Any) -> list[Axis]:
    """The axes with the units that are given beside them."""
    if units is None:
        return axes
    values = by_axis(units, [axis.name for axis in axes], "units", None)
    for value in values:
        if value is not None:
            read_text(value, "units")
    return [axis if unit is None else replace(axis, unit=unit) for axis, unit in zip(axes, values, strict=True)]


def by_axis(given: Any, names: Sequence[str], field: str, default: Any) -> list[Any]:
    """A value for each axis, from a list of so many or a mapping of some by name."""
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise MetadataError(f"{field} names {short(unknown[0])}; the axes are {', '.join(names)}", field=field)
        return [given.get(name, default) for name in names]
    if isinstance(given, str) or not hasattr(given, "__iter__") or len(values := list(given)) != len(names):
        raise MetadataError(
            f"{field} is {short(given)}; it has to be {len(names)} values, one an axis, or a mapping by axis",
            field=field,
        )
    return values


def _check_names(axes: Sequence[Axis], field: str) -> None:
    """No two axes have one name."""
    names = [axis.name for axis in axes]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise wrong(f"{field}[{i}].name", name, "a name that no other axis has")
