"""What is in a store, as values: an array, and a group that can be browsed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import DaskZarrError, MetadataError, NodeNotFoundError, UnsupportedError, raise_from, short
from daskzarr.hierarchy.documents import Found, chunks_in_folders, find_documents, find_implied_group, node_exists
from daskzarr.hierarchy.listing import nodes_below
from daskzarr.hierarchy.tree import draw_tree
from daskzarr.metadata import ArrayMetadata, GroupMetadata, v2
from daskzarr.metadata.consolidated import Consolidated
from daskzarr.metadata.documents import Documents, formats_from, read_metadata
from daskzarr.stores import Location


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a store: where it is and what its documents say.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> array = create_array({}, shape=(4, 6), chunks=(2, 3), dtype="int16")
    >>> array.shape, array.chunks, array.dtype
    ((4, 6), (2, 3), dtype('int16'))
    """

    location: Location
    metadata: ArrayMetadata

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return self.metadata.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.metadata.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the cells, in native byte order."""
        return self.metadata.data_type.dtype

    @property
    def chunks(self) -> tuple[Any, ...]:
        """Shape of the chunks: the least that can be read alone. With shards, that of the innermost chunks.

        Where chunks differ in length along an axis, all their lengths there.
        """
        return self.metadata.inner_chunk_shape or self.objects

    @property
    def objects(self) -> tuple[Any, ...]:
        """Shape of the stored objects: the shards, or, where there are none, the chunks."""
        grid = self.metadata.chunk_grid
        if isinstance(grid, RegularGrid):
            return grid.chunk_shape
        pairs = zip(grid.chunk_shapes, grid.axes, strict=True)
        return tuple(n if isinstance(n, int) else axis.lengths for n, axis in pairs)

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Shape of the stored objects that hold many chunks each; None if each chunk is an object of its own."""
        return self.metadata.chunk_grid.chunk_shape if self.metadata.inner_chunk_shape else None

    @property
    def fill_value(self) -> Any:
        """What cells of absent chunks read as."""
        return self.metadata.fill_scalar

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The user's attributes, without what netCDF-C notes among them for itself."""
        return users_attributes(self.metadata.attributes)

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """Names of the axes, where they have any."""
        return self.metadata.dimension_names


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group in a store, to be browsed like a mapping of paths to arrays and groups.

    Opened with consolidated metadata it answers from those alone: it shows what was there when it was opened, and
    asks the store for nothing. Otherwise it looks each time. Children are of the group's own format if they are there
    in that, and of any other otherwise.

    Examples
    --------
    >>> from daskzarr import create_array, create_group
    >>> group = create_group({}, attributes={"title": "example"})
    >>> array = create_array(group, "a/b", shape=(4,), chunks=(2,), dtype="int16")
    >>> group["a/b"].shape, "a/c" in group, list(group)
    ((4,), False, ['a'])
    >>> print(group.tree())
    /
    └── a
        └── b  (4,) int16, chunks (2,)
    """

    location: Location
    metadata: GroupMetadata
    consolidated: Consolidated | None = field(default=None, compare=False, repr=False)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The user's attributes, without what netCDF-C notes among them for itself."""
        return users_attributes(self.metadata.attributes)

    def __getitem__(self, path: str) -> StoredArray | StoredGroup:
        """The array or group at a path below."""
        location = self.location / path
        if location == self.location:
            return self
        documents = self._documents(location)
        if documents is None:
            raise NodeNotFoundError(
                "there is no array or group here"
                if self.consolidated is None
                else "the consolidated metadata of the group list no array or group here; what was put there since the "
                "group was opened, or without them being told, is found by consolidated=False",
                url=location.store.url,
                node=location.path,
            )
        return node_of(location, documents, self.consolidated)

    def __contains__(self, path: object) -> bool:
        """Whether there is a node at a path below, readable or not."""
        try:
            location = self.location / path  # type: ignore[operator]
        except MetadataError:
            return False
        if location == self.location:
            return True
        if self.consolidated is not None:
            return self._documents(location) is not None
        return node_exists(location) or (self.metadata.zarr_format == "n5" and bool(find_implied_group(location)))

    def __iter__(self) -> Iterator[str]:
        """Names of the arrays and groups directly below, sorted."""
        return iter([path for path, _ in self._below(deep=False)])

    def __len__(self) -> int:
        """Number of arrays and groups directly below."""
        return len(list(self._below(deep=False)))

    def children(self, *, without: Collection[str] = ()) -> dict[str, StoredArray | StoredGroup]:
        """The arrays and groups directly below, by name; one whose document is damaged is an error, if it is wanted."""
        return {path: self._node(path, found) for path, found in self._below(deep=False) if path not in without}

    def arrays(self, *, without: Collection[str] = ()) -> dict[str, StoredArray]:
        """The arrays directly below, by name."""
        return {name: node for name, node in self.children(without=without).items() if isinstance(node, StoredArray)}

    def groups(self) -> dict[str, StoredGroup]:
        """The groups directly below, by name."""
        return {name: node for name, node in self.children().items() if isinstance(node, StoredGroup)}

    def walk(self) -> Iterator[tuple[str, StoredArray | StoredGroup]]:
        """All arrays and groups below, with their paths from here: sorted, and a group before what is in it.

        One whose document is damaged is an error once it is its turn.
        """
        for path, found in self._below(deep=True):
            yield path, self._node(path, found)

    def tree(self) -> str:
        """A drawing of all arrays and groups below; it names what is damaged."""
        title = "/" + self.location.path
        return draw_tree(title, [(path, self._label(path, found)) for path, found in self._below(deep=True)])

    def _documents(self, location: Location) -> Documents | None:
        """The documents of the node at a place below, from memory or from the store."""
        if self.consolidated is not None:
            return self.consolidated.documents(location.path)
        home = self.metadata.zarr_format
        found = find_documents(location, formats_from(home))
        return find_implied_group(location) if found is None and home == "n5" else found

    def _below(self, *, deep: bool) -> Iterator[tuple[str, Found]]:
        """Paths and documents of the children, or of all nodes below."""
        if self.consolidated is not None:
            yield from self.consolidated.below(self.location.path, deep=deep)
        else:
            yield from nodes_below(self.location, self.metadata.zarr_format, deep=deep).items()

    def _node(self, path: str, found: Found) -> StoredArray | StoredGroup:
        """The node that was found at a path."""
        if isinstance(found, DaskZarrError):
            raise found
        return node_of(self.location / path, found, self.consolidated)

    def _label(self, path: str, found: Found) -> str:
        """What the drawing says of a node."""
        try:
            node = self._node(path, found)
        except DaskZarrError as error:
            return f"{'not supported' if isinstance(error, UnsupportedError) else 'damaged'}: {error.message}"
        if isinstance(node, StoredGroup):
            return ""
        return f"{node.shape} {node.metadata.data_type.name}, chunks {short(node.chunks)}"


def users_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes without those in which netCDF-C keeps its books (NCZarr)."""
    noted = [name for name in attributes if name.lower().startswith("_nczarr")]
    if not noted:
        return attributes
    if attributes.get(v2.DIMENSIONS) == ["_scalar_"]:
        noted.append(v2.DIMENSIONS)
    return {name: value for name, value in attributes.items() if name not in noted}


def node_of(
    location: Location, documents: Documents, consolidated: Consolidated | None = None
) -> StoredArray | StoredGroup:
    """The node that documents show."""
    try:
        metadata = read_metadata(documents)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    if isinstance(metadata, GroupMetadata):
        return StoredGroup(location, metadata, consolidated)
    if metadata.zarr_format == 2 and "dimension_separator" not in documents[v2.ARRAY_DOCUMENT]:
        several = metadata.chunk_grid.chunk_count and len(metadata.shape) > 1
        if several and chunks_in_folders(location, len(metadata.shape)):
            metadata = replace(metadata, chunk_key_encoding=ChunkKeyEncoding("v2", "/"))
    return StoredArray(location, metadata)
