"""A place and the settings of a new array or group -> its documents in the store, and those of the groups above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskzarr.errors import DaskZarrError, NodeExistsError, raise_from
from daskzarr.hierarchy import (
    StoredArray,
    StoredGroup,
    find_node,
    node_exists,
    store_error,
    writable,
)
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat, v2, v3
from daskzarr.metadata.json_text import format_object, json_attributes
from daskzarr.settings import check_zarr_format, new_array_metadata
from daskzarr.store import ListableStore, Location, locate


def create_array(
    url: Any,
    component: str | None = None,
    *,
    shape: Sequence[int] | int,
    dtype: Any,
    chunks: Sequence[int] | int,
    fill_value: Any = 0,
    codecs: Any = None,
    compressors: Any = "auto",
    compressor: Any = "auto",
    filters: Any = None,
    serializer: Any = None,
    order: str = "C",
    dimension_names: Sequence[str | None] | None = None,
    dimension_separator: str | None = None,
    chunk_key_encoding: Any = None,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat = 3,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> StoredArray:
    """Create an array: its document and those of the groups above it are written, no chunk is.

    Parameters
    ----------
    url, component, storage_options
        The place, as for :func:`open_array`.
    shape, chunks
        Shape of the array and of its stored chunks, in cells.
    dtype
        bool, integer, float or complex. A byte order in it is the byte order of the stored bytes.
    fill_value
        What cells of absent chunks read as. Default 0 (or false), as every implementation has it. None: undefined in
        v2, 0 in v3.
    codecs
        The whole pipeline as v3 writes it: a list of names or of ``{"name": ..., "configuration": ...}``. It
        excludes ``compressors``, ``filters``, ``serializer`` and ``order``.
    compressors, compressor
        Codecs on bytes: one, a list, or None for none; in the spelling of v3 or v2, or objects of numcodecs or
        zarr-python. Default ``"auto"``: zstd at its default level, which every implementation reads.
    filters
        Codecs on the array, before it becomes bytes. Default none.
    serializer
        The codec from array to bytes. Default ``bytes``, little-endian unless ``dtype`` says big.
    order
        ``"F"`` stores the cells of each chunk with the first axis fastest. Default ``"C"``, NumPy's own.
    dimension_names
        A name, or None, for each axis. Default: no names.
    dimension_separator, chunk_key_encoding
        How chunk keys look. Default ``c/0/1`` in v3 and ``0.1`` in v2, what each format's readers expect.
    attributes
        Values that JSON can hold, NumPy's included. Default none.
    zarr_format
        3 or 2. Default 3.
    overwrite
        Whether what is there, all of it, is deleted first. Default False: then it is an error.

    Returns
    -------
    StoredArray

    Raises
    ------
    NodeExistsError
        If there is a node already.
    MetadataError, UnknownCodecError, UnsupportedError
        If a setting cannot be; nothing is written then.

    Notes
    -----
    Documents: Zarr v3 core, "Array metadata"; Zarr v2, "Metadata".

    Examples
    --------
    >>> create_array({}, shape=(4,), chunks=(2,), dtype="f4", fill_value=float("nan")).fill_value
    np.float32(nan)
    """
    location = locate(url, component, storage_options)
    try:
        metadata = new_array_metadata(
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            fill_value=fill_value,
            codecs=codecs,
            compressors=compressors,
            compressor=compressor,
            filters=filters,
            serializer=serializer,
            order=order,
            dimension_names=dimension_names,
            dimension_separator=dimension_separator,
            chunk_key_encoding=chunk_key_encoding,
            attributes=attributes,
            zarr_format=zarr_format,
        )
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    return write_new_array(location, metadata, overwrite=overwrite)


def create_group(
    url: Any,
    component: str | None = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat = 3,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> StoredGroup:
    """Create a group, and the groups above it that are not there yet.

    Parameters are those of :func:`create_array`, and so are the errors.

    Returns
    -------
    StoredGroup

    Examples
    --------
    >>> create_group({}, "a/b", attributes={"n": 1}).attrs
    {'n': 1}
    """
    metadata = GroupMetadata(attributes=json_attributes(attributes or {}), zarr_format=check_zarr_format(zarr_format))
    return write_new_group(locate(url, component, storage_options), metadata, overwrite=overwrite)


def write_new_group(location: Location, metadata: GroupMetadata, *, overwrite: bool) -> StoredGroup:
    """Put the documents of a new group, and of the groups above it, in their place."""
    _put(location, _group_documents(metadata), metadata.zarr_format, overwrite)
    return StoredGroup(location, metadata)


def write_new_array(location: Location, metadata: ArrayMetadata, *, overwrite: bool) -> StoredArray:
    """Put the documents of a new array, and of the groups above it, in their place."""
    if metadata.zarr_format == 2:
        zarray, zattrs = v2.write_array(metadata)
        documents = {v2.ARRAY_DOCUMENT: zarray} | ({v2.ATTRIBUTES_DOCUMENT: zattrs} if zattrs else {})
    else:
        documents = {v3.DOCUMENT: v3.write_array(metadata)}
    texts = {name: format_object(document) for name, document in documents.items()}
    _put(location, texts, metadata.zarr_format, overwrite)
    return StoredArray(location, metadata)


def _put(location: Location, documents: Mapping[str, bytes], zarr_format: ZarrFormat, overwrite: bool) -> None:
    """Write a new node's documents. All that is looked at is looked at before anything is deleted or written."""
    parents = _missing_parents(location, zarr_format)
    _make_room(location, overwrite)
    for parent, documents_above in parents:
        _write(parent, documents_above)
    _write(location, documents)


def _group_documents(metadata: GroupMetadata) -> dict[str, bytes]:
    """The documents of a group."""
    if metadata.zarr_format == 3:
        return {v3.DOCUMENT: format_object(v3.write_group(metadata))}
    zgroup, zattrs = v2.write_group(metadata)
    documents = {v2.GROUP_DOCUMENT: format_object(zgroup)}
    return documents | ({v2.ATTRIBUTES_DOCUMENT: format_object(zattrs)} if zattrs else {})


def _make_room(location: Location, overwrite: bool) -> None:
    """Make sure that no node is at the location: by an error, or by deleting what is there."""
    store = writable(location)
    if overwrite:
        _refuse_strangers(location)
        try:
            store.delete_below(location.path)
        except Exception as error:
            raise_from(store_error("deleting the old node", error, location, ""), error)
    elif node_exists(location):
        raise NodeExistsError(
            'there is an array or group here already; pass overwrite=True (or mode="w") to replace it',
            url=store.url,
            node=location.path,
        )


def _refuse_strangers(location: Location) -> None:
    """A folder that is no node may hold anything: it is not ours to delete."""
    store = location.store
    if node_exists(location) or not isinstance(store, ListableStore):
        return
    listing = store.list_dir(location.path)
    if listing.keys or listing.prefixes:
        found = ", ".join((*listing.keys, *listing.prefixes)[:3])
        raise NodeExistsError(
            f"what is here ({found}, ...) is no array or group, so it is not overwritten; delete it yourself, or "
            "choose another place",
            url=store.url,
            node=location.path,
        )


def _missing_parents(location: Location, zarr_format: ZarrFormat) -> list[tuple[Location, dict[str, bytes]]]:
    """The groups above a node that are not there, and their documents; an array above is an error.

    A group of the other format counts as there: a second document would hide its attributes.
    """
    parts = location.path.split("/") if location.path else []
    documents = _group_documents(GroupMetadata(zarr_format=zarr_format))
    missing = []
    for depth in range(len(parts)):
        parent = Location(location.store, "/".join(parts[:depth]))
        node = find_node(parent)
        if isinstance(node, StoredArray):
            raise NodeExistsError(
                f"there is an array at /{parent.path}, so nothing can be put below it",
                url=location.store.url,
                node=location.path,
            )
        if node is None:
            missing.append((parent, documents))
    return missing


def _write(location: Location, documents: Mapping[str, bytes]) -> None:
    """Put documents in their place."""
    store = writable(location)
    for name, text in documents.items():
        try:
            store.set(location.key(name), text)
        except Exception as error:
            raise_from(store_error("writing " + name, error, location, name), error)
