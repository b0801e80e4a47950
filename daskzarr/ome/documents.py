"""Attributes of a group <-> what they say of an image, its levels and labels. NGFF 0.4 and 0.5, "multiscales"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata import ZarrFormat
from daskzarr.ome.axes import Axis, read_axes
from daskzarr.ome.fields import read_list, read_mapping, read_optional_text, read_path, wrong
from daskzarr.ome.transforms import Transform, read_transform

Version = Literal["0.4", "0.5"]
FORMAT_OF: Mapping[str, ZarrFormat] = {"0.4": 2, "0.5": 3}
HOME = "ome"  # the attribute that holds all others, from 0.5 on


@dataclass(frozen=True, slots=True)
class Dataset:
    """A level by its path, with the place of its cells."""

    path: str
    transform: Transform


@dataclass(frozen=True, slots=True)
class Description:
    """What the attributes of an image say of it."""

    name: str | None
    version: str
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    type: str | None
    metadata: Any


def ome_attributes(attributes: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """The attributes that are NGFF's, and the version if they are of one that says it there."""
    if HOME not in attributes:
        return attributes, None
    found = read_mapping(attributes[HOME], HOME)
    # Some writers leave the version out in groups that only list labels.
    return found, _known_version(found.get("version", "0.5"), f"{HOME}.version", "0.5")


def read_description(attributes: Mapping[str, Any], which: int | str) -> Description:
    """What is said of one image, by its number in the list or by its name."""
    found, version = ome_attributes(attributes)
    lead = "" if version is None else f"{HOME}."
    if "multiscales" not in found:
        raise MetadataError(f"the group is no image: it has no multiscales{_hint(found)}", field=f"{lead}multiscales")
    entries = read_list(found["multiscales"], f"{lead}multiscales")
    number = _choose(entries, which, f"{lead}multiscales")
    field = f"{lead}multiscales[{number}]"
    entry = read_mapping(entries[number], field)
    if version is None:
        version = _known_version(entry.get("version", "0.4"), f"{field}.version", "0.4")
    axes = read_axes(entry.get("axes"), f"{field}.axes")
    if not axes:
        raise wrong(f"{field}.axes", [], "a list of at least one axis")
    return Description(
        read_optional_text(entry, "name", field),
        version,
        axes,
        _read_datasets(entry, len(axes), field),
        read_optional_text(entry, "type", field),
        entry.get("metadata"),
    )


def read_labels(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the label images that a group of them lists."""
    found, version = ome_attributes(attributes)
    field = "labels" if version is None else f"{HOME}.labels"
    return tuple(read_path(path, f"{field}[{i}]") for i, path in enumerate(read_list(found.get("labels", []), field)))


def write_description(description: Description, more: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that say all that; ``more`` are others of NGFF's."""
    datasets = description.datasets
    translated = any(any(dataset.transform.translation) for dataset in datasets)
    entry: dict[str, Any] = {} if description.name is None else {"name": description.name}
    entry["axes"] = [axis.write() for axis in description.axes]
    entry["datasets"] = [
        {"path": dataset.path, "coordinateTransformations": dataset.transform.write(translated=translated)}
        for dataset in datasets
    ]
    entry |= {"type": description.type, "metadata": description.metadata}
    if description.version == "0.4":
        return {**more, "multiscales": [{"version": "0.4", **entry}]}
    return {HOME: {"version": description.version, **more, "multiscales": [entry]}}


def _known_version(value: Any, field: str, known: Version) -> str:
    """The version, if it is the one that is known of attributes in this place."""
    if not isinstance(value, str):
        raise wrong(field, value, f"text, such as {known!r}")
    if value != known:
        raise UnsupportedError(f"{field} is {short(value)}; OME-Zarr 0.4 and 0.5 can be read", field=field)
    return value


def _hint(attributes: Mapping[str, Any]) -> str:
    """What else a group is, for the error that it is no image."""
    if "plate" in attributes:
        return "; it is a plate: name an image with component=, such as 'A/1/0'"
    if "well" in attributes:
        return "; it is a well: name an image with component=, such as '0'"
    if "labels" in attributes:
        return "; it lists label images: name one with component="
    return "; it holds images: name one with component=, such as '0'" if "bioformats2raw.layout" in attributes else ""


def _choose(entries: Sequence[Any], which: int | str, field: str) -> int:
    """The number of the image that is asked for."""
    if isinstance(which, int) and not isinstance(which, bool):
        if 0 <= which < len(entries):
            return which
        raise MetadataError(f"index is {short(which)}, and there are {len(entries)} multiscales", field=field)
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in entries]
    if isinstance(which, str) and which in names:
        return names.index(which)
    raise MetadataError(f"index is {short(which)}; the multiscales have the names {short(names)}", field=field)


def _read_datasets(entry: Mapping[str, Any], ndim: int, field: str) -> tuple[Dataset, ...]:
    """The levels, each with the transformation of all of them after its own."""
    whole = entry.get("coordinateTransformations")
    above = f"{field}.coordinateTransformations"
    after = None if whole is None or whole == [] else read_transform(whole, ndim, above)
    found = []
    for i, item in enumerate(read_list(entry.get("datasets"), f"{field}.datasets")):
        here = f"{field}.datasets[{i}]"
        dataset = read_mapping(item, here)
        path = read_path(dataset.get("path"), f"{here}.path")
        place = f"{here}.coordinateTransformations"
        transform = read_transform(dataset.get("coordinateTransformations"), ndim, place)
        found.append(Dataset(path, transform if after is None else transform.then(after, above)))
    if not found:
        raise wrong(f"{field}.datasets", [], "a list of at least one level")
    return tuple(found)
