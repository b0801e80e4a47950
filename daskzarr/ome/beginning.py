"""The levels of an image, and where it goes -> its documents, and the write of all its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da

from daskzarr.begin import Endings, begin_each
from daskzarr.begin_tree import NewTree, begin_tree_beside
from daskzarr.create import write_new_group
from daskzarr.errors import NodeExistsError
from daskzarr.graph.generation import note_write
from daskzarr.graph.write import Write, write_arrays
from daskzarr.hierarchy import StoredGroup, read_node
from daskzarr.hierarchy.documents import node_exists
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.staging import goes_last, recover
from daskzarr.journal import forget
from daskzarr.metadata import GroupMetadata
from daskzarr.nodes import update_attributes
from daskzarr.ome.documents import FORMAT_OF, Version
from daskzarr.prepare import Prepared, WriteOptions, divide
from daskzarr.prepare_new import prepare_new
from daskzarr.receipt import Written
from daskzarr.regions import place_blocks, reads_from
from daskzarr.settings import ArraySettings, new_array_metadata
from daskzarr.stores import Location


@dataclass(frozen=True)
class Target:
    """The group of a new image: where it goes, and what it says once it is one."""

    place: Location
    version: Version
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Publish:
    """What is left to do once all levels are written: they are ended, then the group says that it is an image."""

    endings: Endings
    target: Target

    def __call__(self, written: Written) -> None:
        """End the write."""
        self.endings(written)
        update_attributes(self.target.place, self.target.attributes, zarr_format=FORMAT_OF[self.target.version])


def write_image(target: Target, levels: Sequence[tuple[da.Array, ArraySettings, WriteOptions]]) -> Write:
    """The write of a new image; what is there already is an error, or what was begun before.

    Each level is a dask array, what its stored array is to be like, and how it is written.
    """
    recover(target.place, notes_of(target.place))
    begun = _has_begun(target, resume=bool(levels[0][2].resume))
    given = {"region": None, "dtype": None, "compute": False, "return_stored": False}
    prepared = [
        prepare_new(arr, target.place / str(n), FORMAT_OF[target.version], settings, options, given, False).checked()
        for n, (arr, settings, options) in enumerate(levels)
    ]
    if not begun:
        _write_group(target, overwrite=False)
    return _begin(prepared, target)


def overwrite_image(
    target: Target, levels: Sequence[tuple[da.Array, ArraySettings, WriteOptions]], source: da.Array, *, compute: bool
) -> Write:
    """The write of an image in the place of whatever is there. That goes last, if the store can move things."""
    place = target.place
    recover(place, notes_of(place))
    prepared = [
        _prepare(arr, place / str(n), settings, replace(options, journal=False), target.version)
        for n, (arr, settings, options) in enumerate(levels)
    ]
    if goes_last(place, reads_itself=reads_from(source, place), compute=compute):
        # What is put in its place in one step can say at once that it is an image.
        group = GroupMetadata(attributes=dict(target.attributes), zarr_format=FORMAT_OF[target.version])
        return write_arrays(*begin_tree_beside(NewTree(place, {"": group}, tuple(prepared))))
    _write_group(target, overwrite=True)
    return _begin(prepared, target)


def _has_begun(target: Target, *, resume: bool) -> bool:
    """Whether the group is there from a write that was begun before; one that is there from another is an error."""
    if not node_exists(target.place):
        return False
    node = read_node(target.place)
    same = isinstance(node, StoredGroup) and node.metadata.zarr_format == FORMAT_OF[target.version]
    if resume and same and dict(node.metadata.attributes) in ({}, target.attributes):
        return True
    raise NodeExistsError(
        "there is a node already; mode='w' puts the image in its place, resume='auto' goes on with a write that was "
        "killed, if this is the same one"
    )


def _prepare(
    arr: da.Array, place: Location, settings: ArraySettings, options: WriteOptions, version: Version
) -> Prepared:
    """The write of a level, wherever that will be."""
    metadata = new_array_metadata(settings, shape=arr.shape, dtype=arr.dtype, zarr_format=FORMAT_OF[version])
    parts = (divide(arr, place_blocks(arr, (0,) * arr.ndim), metadata.chunk_grid, options),)
    return Prepared(place, metadata, parts, options).checked()


def _write_group(target: Target, *, overwrite: bool) -> None:
    """Write the document of the group, which is no image yet; what was noted and read of another node is not true."""
    place = target.place
    write_new_group(place, GroupMetadata(zarr_format=FORMAT_OF[target.version]), overwrite=overwrite)
    note_write(place.store.url, place.path)
    forget(place, notes_of(place))


def _begin(prepared: Sequence[Prepared], target: Target) -> Write:
    """Write the documents of all levels; the write of their cells."""
    pairs = begin_each(prepared)
    endings = tuple(ending for _, ending in pairs if ending is not None)
    return write_arrays([write for write, _ in pairs], Publish(Endings(endings), target))
