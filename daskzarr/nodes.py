"""The verbs update_attributes, delete_node, copy_node and consolidate: stored nodes -> the same, changed in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as replaced
from typing import Any

from daskzarr.errors import DaskZarrError, MetadataError, NodeNotFoundError, UnsupportedError, raise_from
from daskzarr.graph.generation import note_write
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.hierarchy.copying import copy_objects, refuse_leftovers, refuse_overlap
from daskzarr.hierarchy.documents import (
    find_documents,
    find_implied_group,
    list_group,
    node_exists,
    set_document,
    writable,
)
from daskzarr.hierarchy.listing import nodes_below
from daskzarr.hierarchy.node import node_of
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.opening import formats_of, known_format, not_found
from daskzarr.hierarchy.placing import clear, delete_below, look_around, write_groups_above
from daskzarr.hierarchy.registers import amend, changing, enter, register_of_v2, registers_above, strike
from daskzarr.journal import forget
from daskzarr.metadata import ZarrFormat
from daskzarr.metadata.consolidated import format_stored, read_consolidated, write_consolidated
from daskzarr.metadata.documents import FORMATS, Documents, change_attributes, format_of
from daskzarr.metadata.json_text import json_attributes
from daskzarr.stores import Location, locate


def update_attributes(
    place: Any,
    attributes: Mapping[str, Any],
    component: str | None = None,
    *,
    replace: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> StoredArray | StoredGroup:
    """Change attributes of an array or group. All else in its documents stays as it is.

    Consolidated metadata that list the node, in groups above it, are kept true.

    Parameters
    ----------
    place
        Path, URL, mapping, store, or an opened array or group.
    attributes
        Values that JSON can hold, NumPy's included.
    component
        Path of the node below ``place``. Default: ``place`` is the node.
    replace
        Whether attributes that are not named go. Default False: they stay. Dimension names stay in any case.
    storage_options
        For fsspec, with a URL.
    zarr_format
        2, 3 or ``"n5"``. Default None: that of an opened ``place``; else v3 is looked for first, then v2, then N5.

    Returns
    -------
    StoredArray or StoredGroup
        With the new attributes.

    Raises
    ------
    NodeNotFoundError
        If there is no node.
    MetadataError
        If JSON cannot hold an attribute, or a document breaks the rules of its format. Nothing is written then.

    Examples
    --------
    >>> from daskzarr import create_group
    >>> group = create_group({}, attributes={"a": 1, "b": 2})
    >>> update_attributes(group, {"b": 3}).attrs
    {'a': 1, 'b': 3}
    """
    location = locate(place, component, storage_options)
    zarr_format = zarr_format or known_format(place, component)
    if not isinstance(attributes, Mapping):
        raise MetadataError(f"attributes is a {type(attributes).__name__}, not a mapping", field="attributes")
    writable(location)
    with changing:
        documents = _documents(location, zarr_format)
        try:
            name, document = change_attributes(documents, json_attributes(attributes), replace=replace)
            text = format_stored(document)
        except DaskZarrError as error:
            raise_from(error.locate(url=location.store.url, node=location.path), error)
        documents = {**documents, name: document}
        node = node_of(location, documents)
        registers = registers_above(location, {format_of(documents)})
        if isinstance(node, StoredGroup) and node.metadata.zarr_format == 2:
            registers.extend(register_of_v2(location))
        set_document(location, name, text)
        amend(registers, location, documents)
    return node


def delete_node(
    place: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> None:
    """Delete an array, or a group with all that is below it. A folder that is no node is not touched.

    Consolidated metadata that list the node, in groups above it, are kept true.

    Parameters
    ----------
    place, component, storage_options
        The node, as for :func:`update_attributes`.
    zarr_format
        2, 3 or ``"n5"``. Default None: the node is deleted in every format it has. One that is there in others too,
        as after :func:`convert` in place, is refused: its chunks belong to all of them.

    Returns
    -------
    None

    Raises
    ------
    NodeNotFoundError
        If there is no node.
    StoreError
        If the store fails. Then some objects of the node may be left, and deleting again is safe.

    Examples
    --------
    >>> from daskzarr import create_group
    >>> _ = create_group(store := {}, "a/b")
    >>> delete_node(store, "a/b")
    >>> sorted(store)
    ['a/zarr.json', 'zarr.json']
    """
    location = locate(place, component, storage_options)
    writable(location)
    if not node_exists(location, formats_of(zarr_format)):
        raise not_found(location, zarr_format)
    others = [number for number in FORMATS if number != zarr_format]
    if zarr_format is not None and node_exists(location, others):
        raise UnsupportedError(
            f"the node is there in another format than {zarr_format} too, and its chunks belong to both; delete it in "
            "all formats (zarr_format=None), or the documents of the one by hand",
            url=location.store.url,
            node=location.path,
        )
    strike(registers_above(location, {2, 3}), location)
    note_write(location.store.url, location.path)
    delete_below(location)
    forget(location, notes_of(location))


def copy_node(
    source: Any,
    target: Any,
    source_component: str | None = None,
    target_component: str | None = None,
    *,
    overwrite: bool = False,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
) -> StoredArray | StoredGroup:
    """Copy an array, or a group with all that is below it, within a store or to another.

    Objects are copied as they are stored, one at a time, documents last. Consolidated metadata of groups above the
    target are kept true.

    Parameters
    ----------
    source, source_component
        The node, as for :func:`update_attributes`. Its store has to be one that can be listed.
    target, target_component
        Where the copy goes; groups above it are made.
    overwrite
        Whether a node at the target, and all below it, is deleted first. Default False: then it is an error.
    source_options, target_options
        For fsspec, with a URL.

    Returns
    -------
    StoredArray or StoredGroup
        The copy.

    Raises
    ------
    NodeNotFoundError
        If there is no node to copy.
    NodeExistsError
        If there is a node at the target, or the one would be in the other.
    UnsupportedError
        If the source cannot be listed, or the target not written. Nothing is written in any of these cases.
    StoreError
        If a store fails. What was copied stays; it is no node yet, and copying again is safe.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> _ = create_array(store := {}, "a", shape=(4,), chunks=(2,), dtype="int16")
    >>> copy_node(store, store, "a", "g/b").shape
    (4,)
    >>> sorted(store)
    ['a/zarr.json', 'g/b/zarr.json', 'g/zarr.json', 'zarr.json']
    """
    here, there = locate(source, source_component, source_options), locate(target, target_component, target_options)
    documents = _documents(here, None)
    node = node_of(here, documents)
    refuse_overlap(here, there)
    list_group(here, format_of(documents))  # if it cannot be listed, that is said before anything is written
    writable(there)
    overwrite = overwrite and node_exists(there)
    site = look_around(there, format_of(documents), overwrite=overwrite)
    below = _nodes_of(node, documents) if site.registers else {}
    if overwrite:
        clear(site)
    else:
        refuse_leftovers(here, there)
    note_write(there.store.url, there.path)
    forget(there, notes_of(there))
    write_groups_above(site)
    copy_objects(here, there)
    copied = {(there / path).path: found for path, found in below.items()}
    enter(site.registers, there, {**site.missing, **copied})
    return replaced(node, location=there)


def consolidate(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
) -> StoredGroup:
    """Write a group's consolidated metadata: copies of the documents of all nodes below it, in one object.

    The group is opened with all that is below it by one request from then on. What daskzarr changes below it later
    keeps them true; after changes by programs that do not, consolidate again.

    Parameters
    ----------
    url, component, storage_options
        The group, as for :func:`open_group`. Its store has to be one that can be listed and written.
    zarr_format
        2 or 3. Default None: v3 is looked for first, then v2.

    Returns
    -------
    StoredGroup
        With the consolidated metadata.

    Raises
    ------
    NodeNotFoundError
        If there is no group.
    MetadataError
        If a document below is damaged. Nothing is written then.
    UnsupportedError
        If the group is one of N5, or has nodes below it that are of another format than itself.

    Notes
    -----
    Zarr v3: the member ``consolidated_metadata`` of the group's document. Zarr v2: the document ``.zmetadata``. Neither
    is part of the specifications, and all implementations that know them agree on them. Two programs that change nodes
    below one group at the same time may undo each other's entries: consolidate when both are done.

    Examples
    --------
    >>> from daskzarr import create_group
    >>> _ = create_group(store := {}, "a/b")
    >>> list(consolidate(store).walk()) == list(consolidate(store).walk())
    True
    """
    location = locate(url, component, storage_options)
    documents = _documents(location, zarr_format)
    group = node_of(location, documents)
    if not isinstance(group, StoredGroup):
        raise NodeNotFoundError("there is an array here, not a group", url=location.store.url, node=location.path)
    writable(location)
    name, document = _consolidated(group, documents)
    try:
        text = format_stored(document)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    set_document(location, name, text)
    return StoredGroup(location, group.metadata, read_consolidated(name, document, location.path))


def _documents(location: Location, zarr_format: ZarrFormat | None) -> dict[str, dict[str, Any]]:
    """The documents of the node here; no node is an error."""
    found = find_documents(location, formats_of(zarr_format))
    if found is None and zarr_format == "n5":
        found = find_implied_group(location)
    if found is None:
        raise not_found(location, zarr_format)
    return found


def _consolidated(group: StoredGroup, documents: Documents) -> tuple[str, dict[str, Any]]:
    """The document that holds a group's consolidated metadata, by name."""
    home = group.metadata.zarr_format
    location = group.location
    if home == "n5":
        raise UnsupportedError("N5 has no consolidated metadata", url=location.store.url, node=location.path)
    nodes = _nodes_of(group, documents)
    for path, found in nodes.items():
        if format_of(found) != home:
            raise UnsupportedError(
                f"the group is one of Zarr v{home}, whose consolidated metadata cannot list a node of another format",
                url=location.store.url,
                node=(location / path).path,
            )
    return write_consolidated(nodes)


def _nodes_of(node: StoredArray | StoredGroup, documents: Documents) -> dict[str, Documents]:
    """The documents of a node, under the path ``""``, and of all below it; damage is an error."""
    nodes: dict[str, Documents] = {"": documents}
    if isinstance(node, StoredGroup):
        for path, found in nodes_below(node.location, node.metadata.zarr_format, deep=True).items():
            if isinstance(found, DaskZarrError):
                raise found
            nodes[path] = found
    return nodes
