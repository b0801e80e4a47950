"""A place and a group -> stored groups as xarray's data stores, from which it makes datasets."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from xarray import Variable
from xarray.backends.common import AbstractDataStore
from xarray.core.utils import FrozenDict

from daskzarr.errors import MetadataError, NodeNotFoundError, raise_from
from daskzarr.hierarchy import StoredArray, StoredGroup, open_group
from daskzarr.metadata import ZarrFormat
from daskzarr.warning import warn
from daskzarr.xarray.conventions import dimensions_of, variable_of, without_netcdfs


class GroupStore(AbstractDataStore):  # type: ignore[misc]
    """A stored group, of which xarray makes a dataset.

    Parameters
    ----------
    group
        The group.
    mask
        As for :func:`variable_of`.
    without
        Names of arrays that are not even looked at.
    blocks
        As for :func:`variable_of`; scalars and those that give a dimension its labels are no dask arrays.
    """

    def __init__(
        self, group: StoredGroup, *, mask: bool | None = None, without: Collection[str] = (), blocks: Any = None
    ) -> None:
        self.group, self._mask, self._without, self._blocks = group, mask, without, blocks

    def get_variables(self) -> Mapping[str, Variable]:
        """The arrays directly in the group."""
        arrays = self.group.arrays(without=self._without)
        variables = {
            name: variable_of(array, mask=self._mask, blocks=self._blocks_of(name, array))
            for name, array in arrays.items()
        }
        found: Mapping[str, Variable] = FrozenDict(variables)
        return found

    def _blocks_of(self, name: str, array: StoredArray) -> Any:
        """How the dask array of an array is cut; None where there is none."""
        if self._blocks is None:
            return None
        return None if dimensions_of(array) in ((), (name,)) else self._blocks

    def get_attrs(self) -> Mapping[str, Any]:
        """The group's attributes."""
        return without_netcdfs(self.group.attrs)


def open_stored(
    place: Any,
    group: str | None = None,
    *,
    consolidated: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> StoredGroup:
    """A group, from consolidated metadata at the top of the place where there are any.

    Parameters
    ----------
    place
        Path, URL, mapping or store.
    group
        Path of the group below it. Default: its top.
    consolidated
        None (default): consolidated metadata are used if there are any, and a warning says that there are none. True:
        they have to be there. False: they are not looked for.
    storage_options, zarr_format
        As for :func:`daskzarr.open_group`.

    Raises
    ------
    NodeNotFoundError
        If there is no group.
    MetadataError
        With ``consolidated=True``, if there are no consolidated metadata.
    """
    place = normal_place(place)
    path = (group or "").strip("/")
    asked: dict[str, Any] = {"storage_options": storage_options, "zarr_format": zarr_format}
    if consolidated is False:
        return open_group(place, path or None, consolidated=False, **asked)
    try:
        top = open_group(place, consolidated=None, **asked)
    except NodeNotFoundError as error:
        raise_from(
            NodeNotFoundError(f"the group does not exist: {error.message}", url=error.url, node=error.node), error
        )
    if top.consolidated is None:
        if consolidated:
            raise MetadataError(
                "there are no consolidated metadata here; daskzarr.consolidate() makes them, and consolidated=False "
                "does without",
                url=top.location.store.url,
                field="consolidated",
            )
        warn(
            "Failed to open Zarr store with consolidated metadata: there are none, so each document is asked for, and "
            "that may take long. daskzarr.consolidate() puts them in one place; consolidated=False is silent.",
            RuntimeWarning,
        )
    found = top[path] if path else top
    if not isinstance(found, StoredGroup):
        raise MetadataError("there is an array here, not a group", url=top.location.store.url, node=path, field="group")
    return found


def groups_below(top: StoredGroup) -> Iterator[tuple[str, StoredGroup]]:
    """The group itself, as ``/``, and all below it, each before those in it."""
    yield "/", top
    for path, node in top.walk():
        if isinstance(node, StoredGroup):
            yield "/" + path, node


def normal_place(place: Any) -> Any:
    """A path of this machine without ``~``; all else as it is."""
    if isinstance(place, os.PathLike):
        place = os.fspath(place)
    if isinstance(place, str) and place.startswith("~"):
        return os.path.expanduser(place)
    return place
