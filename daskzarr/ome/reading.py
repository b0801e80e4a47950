"""The verbs open_multiscales and list_labels: the place of an image -> its levels as dask arrays, names of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.array as da

from daskzarr.array_handle import Missing
from daskzarr.errors import DaskZarrError, MetadataError, NodeNotFoundError, raise_from
from daskzarr.hierarchy import StoredArray, StoredGroup, expect_array, open_group
from daskzarr.ome.axes import Axis
from daskzarr.ome.documents import Dataset, Description, ome_attributes, read_description, read_labels
from daskzarr.read import from_zarr


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image. ``translation + scale * index`` is the middle of a cell, in the axes' units.

    Parameters
    ----------
    array
        The cells.
    path
        Of the stored array, below the group of the image.
    scale, translation
        A number for each axis; the transformation that the document gives for all levels is in them.
    """

    array: da.Array = field(compare=False)
    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Multiscales:
    """An image at one or more resolutions.

    Parameters
    ----------
    name
        None if it has none.
    version
        ``"0.4"`` or ``"0.5"``.
    axes
        In the order of the arrays' axes.
    levels
        As the document lists them: the finest first.
    type
        How the levels were made, in the writer's words; None if it is not said.
    metadata
        More about that, in the writer's words.
    omero
        How the image is to be shown, as it is stored; None if it is not said.
    attributes
        All attributes of NGFF's, as they are stored: with ``image-label``, and all other images of the group.
    """

    name: str | None
    version: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    type: str | None = None
    metadata: Any = None
    omero: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def open_multiscales(
    url: Any,
    component: str | None = None,
    *,
    index: int | str = 0,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    missing: Missing = "fill",
    consolidated: bool | None = None,
) -> Multiscales:
    """Open an image of OME-Zarr 0.4 or 0.5. The group's document is read, and that of each level; no chunk is.

    Parameters
    ----------
    url, component, storage_options, consolidated
        The group of the image, as for :func:`daskzarr.open_group`.
    index
        Which image, where a group has several: its number, or its name. Default 0, the first.
    chunks, missing
        As for :func:`daskzarr.from_zarr`, for each level.

    Returns
    -------
    Multiscales

    Raises
    ------
    NodeNotFoundError
        If there is no group, or one of the levels it lists is not there.
    MetadataError
        If the group is no image, or a document breaks the rules; it names the field.
    UnsupportedError
        If it is an image of another version, or has transformations that are stored as arrays.

    Notes
    -----
    NGFF 0.4 and 0.5, "multiscales metadata". Of its rules those hold here without which the levels would have no sure
    meaning. The number and order of axes are as they are.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr.ome import write_multiscales
    >>> write_multiscales(da.ones((60, 80), chunks=40), store := {}, axes="yx", scale=(0.5, 0.5), levels=2)
    >>> [(level.array.shape, level.scale) for level in open_multiscales(store).levels]
    [((60, 80), (0.5, 0.5)), ((30, 40), (1.0, 1.0))]
    """
    group = open_group(url, component, storage_options=storage_options, consolidated=consolidated)
    attributes = group.metadata.attributes
    try:
        description = read_description(attributes, index)
        own, _ = ome_attributes(attributes)
        arrays = [_array(group, dataset, description) for dataset in description.datasets]
    except DaskZarrError as error:
        raise_from(error.locate(url=group.location.store.url, node=group.location.path), error)
    levels = tuple(
        Level(from_zarr(array, chunks=chunks, missing=missing), dataset.path, *_place_of(dataset))
        for array, dataset in zip(arrays, description.datasets, strict=True)
    )
    return Multiscales(
        description.name,
        description.version,
        description.axes,
        levels,
        description.type,
        description.metadata,
        own.get("omero"),
        own,
    )


def list_labels(
    url: Any, component: str | None = None, *, storage_options: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Paths of an image's label images, below the image: each can be the component of :func:`open_multiscales`.

    Parameters
    ----------
    url, component, storage_options
        The group of the image, as for :func:`daskzarr.open_group`.

    Returns
    -------
    tuple of str
        None, if the image has no labels.

    Raises
    ------
    NodeNotFoundError
        If there is no group.
    MetadataError
        If the list of labels breaks the rules.

    Examples
    --------
    >>> from daskzarr import create_group
    >>> group = create_group(store := {}, "labels", attributes={"ome": {"version": "0.5", "labels": ["cells"]}})
    >>> list_labels(store)
    ('labels/cells',)
    """
    image = open_group(url, component, storage_options=storage_options)
    try:
        group = image["labels"]
    except NodeNotFoundError:
        return ()
    try:
        if isinstance(group, StoredArray):
            raise MetadataError("there is an array where the group of labels has to be", field="labels")
        return tuple(f"labels/{path}" for path in read_labels(group.metadata.attributes))
    except DaskZarrError as error:
        raise_from(error.locate(url=group.location.store.url, node=group.location.path), error)


def _array(group: StoredGroup, dataset: Dataset, description: Description) -> StoredArray:
    """The array of a level; its axes have to be those of the image."""
    array = expect_array(group[dataset.path])
    axes = [axis.name for axis in description.axes]
    if array.ndim != len(axes):
        raise MetadataError(
            f"the image has the axes {', '.join(axes)}, and its level {dataset.path!r} the shape {array.shape}",
            url=array.location.store.url,
            node=array.location.path,
            field="axes",
        )
    names = array.dimension_names or (None,) * len(axes)
    if description.version != "0.4" and any(n not in (None, axis) for n, axis in zip(names, axes, strict=True)):
        raise MetadataError(
            f"the image has the axes {', '.join(axes)}, and its level {dataset.path!r} the dimension names {names}",
            url=array.location.store.url,
            node=array.location.path,
            field="dimension_names",
        )
    return array


def _place_of(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation of a level."""
    return dataset.transform.scale, dataset.transform.translation
