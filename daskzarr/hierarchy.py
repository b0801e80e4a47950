"""A place in a store -> the arrays and groups there: their documents are read, checked and written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskzarr.errors import (
    DaskZarrError,
    NodeNotFoundError,
    StoreError,
    StorePermissionError,
    UnsupportedError,
    raise_from,
)
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat, v2, v3
from daskzarr.metadata.json_text import parse_object
from daskzarr.store import Buffer, Location, Store, WritableStore, locate, without_credentials


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
    def chunks(self) -> tuple[int, ...]:
        """Shape of the stored chunks."""
        return self.metadata.chunk_grid.chunk_shape

    @property
    def fill_value(self) -> np.generic:
        """What cells of absent chunks read as."""
        return self.metadata.fill_scalar

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The user's attributes."""
        return self.metadata.attributes

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """Names of the axes, where they have any."""
        return self.metadata.dimension_names


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group in a store.

    Examples
    --------
    >>> from daskzarr import create_array, create_group
    >>> group = create_group({}, attributes={"title": "example"})
    >>> array = create_array(group, "a/b", shape=(4,), chunks=(2,), dtype="int16")
    >>> group["a/b"].shape
    (4,)
    """

    location: Location
    metadata: GroupMetadata

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The user's attributes."""
        return self.metadata.attributes

    def __getitem__(self, component: str) -> StoredArray | StoredGroup:
        """The array or group at a path below."""
        return read_node(self.location / component, self.metadata.zarr_format)


def open_array(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> StoredArray:
    """Open an array: its documents are read, no chunk is.

    Parameters
    ----------
    url
        Path, URL, mapping, store, or array or group of zarr-python.
    component
        Path of the array below ``url``. Default: ``url`` is the array.
    storage_options
        For fsspec, with a URL.
    zarr_format
        2 or 3. Default None: v3 is looked for first, then v2; naming it saves a request for v2.

    Returns
    -------
    StoredArray

    Raises
    ------
    NodeNotFoundError
        If there is no array.
    MetadataError
        If its document breaks the rules of the format.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> store = {}
    >>> _ = create_array(store, "a", shape=(4,), chunks=(2,), dtype="int16")
    >>> open_array(store, "a").shape
    (4,)
    """
    return expect_array(read_node(locate(url, component, storage_options), zarr_format))


def expect_array(node: StoredArray | StoredGroup) -> StoredArray:
    """The node, if it is an array."""
    if isinstance(node, StoredArray):
        return node
    raise NodeNotFoundError(
        "there is a group here, not an array; name the array with component=",
        url=node.location.store.url,
        node=node.location.path,
    )


def open_group(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> StoredGroup:
    """Open a group.

    Parameters are those of :func:`open_array`, and so are the errors.

    Returns
    -------
    StoredGroup

    Examples
    --------
    >>> from daskzarr import create_group
    >>> store = {}
    >>> _ = create_group(store, attributes={"a": 1})
    >>> open_group(store).attrs
    {'a': 1}
    """
    node = read_node(locate(url, component, storage_options), zarr_format)
    if isinstance(node, StoredGroup):
        return node
    raise NodeNotFoundError("there is an array here, not a group", url=node.location.store.url, node=node.location.path)


def read_node(
    location: Location, zarr_format: ZarrFormat | None = None, *, attributes: bool = True
) -> StoredArray | StoredGroup:
    """The node at a location. With ``attributes=False`` the attributes of a v2 array stay unread: one request less."""
    if zarr_format not in (None, 2, 3):
        raise UnsupportedError(f"zarr_format is {zarr_format!r}; it can be 2 or 3", field="zarr_format")
    node = find_node(location, zarr_format, attributes=attributes)
    if node is None:
        looked_for = {None: "zarr.json, .zarray or .zgroup", 3: "zarr.json", 2: ".zarray or .zgroup"}[zarr_format]
        raise NodeNotFoundError(
            f"there is no array or group here: no {looked_for}", url=location.store.url, node=location.path
        )
    return node


def find_node(
    location: Location, zarr_format: ZarrFormat | None = None, *, attributes: bool = False
) -> StoredArray | StoredGroup | None:
    """The node at a location, None if there is none; v3 comes first."""
    try:
        node = _read_v3(location) if zarr_format != 2 else None
        return _read_v2(location, attributes) if node is None and zarr_format != 3 else node
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)


def _read_v3(location: Location) -> StoredArray | StoredGroup | None:
    """The v3 node here, if there is one."""
    text = _get(location, v3.DOCUMENT)
    if text is None:
        return None
    document = parse_object(text, v3.DOCUMENT)
    if v3.read_node_type(document) == "array":
        return StoredArray(location, v3.read_array(document))
    return StoredGroup(location, v3.read_group(document))


def _read_v2(location: Location, attributes: bool) -> StoredArray | StoredGroup | None:
    """The v2 node here, if there is one."""
    text = _get(location, v2.ARRAY_DOCUMENT)
    if text is not None:
        document = parse_object(text, v2.ARRAY_DOCUMENT)
        return StoredArray(location, v2.read_array(document, _v2_attributes(location) if attributes else {}))
    text = _get(location, v2.GROUP_DOCUMENT)
    if text is not None:
        document = parse_object(text, v2.GROUP_DOCUMENT)
        return StoredGroup(location, v2.read_group(document, _v2_attributes(location)))
    return None


def _v2_attributes(location: Location) -> dict[str, Any]:
    """The attributes of a v2 node; no document means none."""
    text = _get(location, v2.ATTRIBUTES_DOCUMENT)
    return {} if text is None else parse_object(text, v2.ATTRIBUTES_DOCUMENT)


def _get(location: Location, name: str) -> Buffer | None:
    """A document's text."""
    try:
        return location.store.get(location.key(name))
    except Exception as error:
        raise_from(store_error("reading " + name, error, location, name), error)


def store_error(doing: str, error: Exception, location: Location, key: str) -> DaskZarrError:
    """The error that says what a store failed at; one of ours is only told its place."""
    if isinstance(error, DaskZarrError):
        return error.locate(url=location.store.url, node=location.path, chunk_key=key)
    refused = isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)  # HTTP
    kind = StorePermissionError if refused else StoreError
    text = without_credentials(f"{doing} failed: {type(error).__name__}: {error}")
    return kind(text, url=location.store.url, node=location.path, chunk_key=key)


def node_exists(location: Location) -> bool:
    """Whether there is a node of either format, readable or not."""
    names = (v3.DOCUMENT, v2.ARRAY_DOCUMENT, v2.GROUP_DOCUMENT)
    return any(_get(location, name) is not None for name in names)


def writable(location: Location) -> WritableStore:
    """The location's store, if it can be written."""
    store: Store = location.store
    if not isinstance(store, WritableStore) or not getattr(store, "can_write", True):
        raise UnsupportedError("this store can only be read", url=store.url, node=location.path)
    return store
