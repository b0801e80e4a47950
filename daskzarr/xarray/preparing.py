"""Datasets, and the group they go to -> the prepared write of each variable, with nothing written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xarray import Dataset

from daskzarr.errors import MetadataError, NodeExistsError, NodeNotFoundError, ResumeError
from daskzarr.hierarchy import StoredGroup, open_group
from daskzarr.hierarchy.documents import ancestors, find_documents
from daskzarr.hierarchy.node import node_of
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.staging import recover
from daskzarr.metadata import ZarrFormat
from daskzarr.prepare import home_of
from daskzarr.stores import Location, durable
from daskzarr.write_plan import WritePlan, together
from daskzarr.xarray.asked import Asked
from daskzarr.xarray.node_work import Node, NodeWork, Target


@dataclass(frozen=True)
class Work:
    """All that one call is to write; ``fresh`` if nothing is to be there before."""

    place: Location
    nodes: Mapping[str, NodeWork]
    fresh: bool

    @property
    def targets(self) -> list[Target]:
        """All variables."""
        return [target for node in self.nodes.values() for target in node.targets]

    @property
    def grows(self) -> bool:
        """Whether arrays that are there become longer."""
        return any(node.grows for node in self.nodes.values())

    @property
    def plan(self) -> WritePlan:
        """What is left to do, in numbers."""
        return together(target.prepared.plan for target in self.targets)


def prepare(
    datasets: Mapping[str, Dataset],
    place: Location,
    asked: Asked,
    zarr_format: ZarrFormat | None,
    encoding: Mapping[str, Any],
) -> Work:
    """What is to be written: all is checked, and nothing is written but what an earlier, killed call left to be ended.

    Parameters
    ----------
    datasets
        By path from the place.
    place
        Of the group.
    asked
        What the call asks for.
    zarr_format
        Of a new group. Default None: that of the one that is there, else 3.
    encoding
        Settings by variable, by path of the dataset.
    """
    place = Location(durable(place.store, asked.options.durability), place.path)
    home = notes_of(place)
    recover(place, home)
    there = None if asked.overwrites else _group_at(place, zarr_format)
    if there is None and asked.mode == "r+":
        raise NodeNotFoundError(
            "there is no group here, and mode='r+' makes none", url=place.store.url, node=place.path
        )
    if there is None and asked.append_dim is not None:
        raise MetadataError(
            f"append_dim={asked.append_dim!r} does not match any existing dataset dimensions: there is no group here",
            url=place.store.url,
            node=place.path,
            field="append_dim",
        )
    if there is not None and asked.mode == "w-" and not asked.options.resume:
        raise NodeExistsError(
            "there is a group here already; mode='w' puts the new one in its place, mode='a' adds to it, and "
            "resume='auto' goes on with a write that was killed",
            url=place.store.url,
            node=place.path,
        )
    fresh = there is None
    home = home_of(place, asked.options)
    above = _format_above(place) if fresh and zarr_format is None else None
    nodes = {}
    for path, dataset in datasets.items():
        at = place / path if path else place
        group = there if path == "" else None if fresh else _group_at(at, zarr_format)
        like = group or there
        number = zarr_format or above or 3 if like is None else like.metadata.zarr_format
        node = Node(at, group, asked, number, fresh, None if home is None else home / path if path else home)
        nodes[path] = node.work(dataset, encoding.get(path) or {})
    work = Work(place, nodes, fresh)
    done = any(node.done for node in nodes.values())
    if asked.options.resume is True and not done and not any(each.prepared.resumed for each in work.targets):
        raise ResumeError(
            'there is no write to take up again here; pass resume="auto" to begin one',
            url=place.store.url,
            node=place.path,
        )
    return work


def _group_at(place: Location, zarr_format: ZarrFormat | None) -> StoredGroup | None:
    """The group at a place, None if there is none."""
    try:
        return open_group(place, consolidated=False, zarr_format=zarr_format)
    except NodeNotFoundError:
        return None


def _format_above(place: Location) -> ZarrFormat | None:
    """The format of the group next above a place: a group of another one below it could not be listed there."""
    for above in reversed(list(ancestors(place))):
        documents = find_documents(above, attributes=False)
        if documents is not None:
            return node_of(above, documents).metadata.zarr_format
    return None
