"""The verbs open_array and open_group: a place -> the node that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from daskzarr.errors import DaskZarrError, MetadataError, NodeNotFoundError, UnsupportedError, raise_from
from daskzarr.hierarchy.documents import find_documents, find_implied_group, get_document
from daskzarr.hierarchy.node import StoredArray, StoredGroup, node_of
from daskzarr.metadata import ZarrFormat, v2, v3
from daskzarr.metadata.consolidated import Consolidated, read_consolidated
from daskzarr.metadata.documents import CONSOLIDATED_DOCUMENT, CONSOLIDATED_MEMBER, FORMATS, NODE_DOCUMENTS, Document
from daskzarr.stores import Location, locate


def open_array(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    consolidated: bool | None = None,
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
        2, 3 or ``"n5"``. Default None: v3 is looked for first, then v2, then N5; naming it saves requests for those.
    consolidated
        Whether the consolidated metadata of the group at ``url`` are read in the place of the array's own documents.
        Default None, and False: they are not, as that takes no request more.

    Returns
    -------
    StoredArray

    Raises
    ------
    NodeNotFoundError
        If there is no array, or with ``consolidated=True`` no consolidated metadata.
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
    _check_consolidated(consolidated)
    location = locate(url, component, storage_options)
    if not consolidated:
        return expect_array(read_node(location, zarr_format or known_format(url, component)))
    return expect_array(
        _expect_group(open_node(locate(url, None, storage_options), zarr_format, True))[component or ""]
    )


def open_group(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    consolidated: bool | None = None,
) -> StoredGroup:
    """Open a group, with all that is below it at once if it has consolidated metadata.

    Parameters
    ----------
    url, component, storage_options, zarr_format
        The place, as for :func:`open_array`.
    consolidated
        None (default): if the group has consolidated metadata, they are read with its document, and the store is asked
        for nothing that is below the group. True: they have to be there, or list it in those of the group at ``url``.
        False: they are not used.

    Returns
    -------
    StoredGroup

    Raises
    ------
    NodeNotFoundError
        If there is no group, or with ``consolidated=True`` no consolidated metadata.
    MetadataError
        If its document breaks the rules of the format.

    Examples
    --------
    >>> from daskzarr import create_group
    >>> store = {}
    >>> _ = create_group(store, attributes={"a": 1})
    >>> open_group(store).attrs
    {'a': 1}
    """
    _check_consolidated(consolidated)
    location = locate(url, component, storage_options)
    try:
        return _expect_group(open_node(location, zarr_format or known_format(url, component), consolidated))
    except NodeNotFoundError:
        top = locate(url, None, storage_options)
        listed = _listed_at(top, location, zarr_format or known_format(url, None)) if consolidated else None
        if listed is None:
            raise
    return listed


def _listed_at(top: Location, location: Location, zarr_format: ZarrFormat | None) -> StoredGroup | None:
    """The group that the consolidated metadata of one above it list, if they do."""
    if top == location:
        return None
    try:
        above = open_node(top, zarr_format, True)
    except NodeNotFoundError:
        return None
    if not isinstance(above, StoredGroup) or above.consolidated is None:
        return None
    documents = above.consolidated.documents(location.path)
    found = node_of(location, documents, above.consolidated) if documents else None
    return found if isinstance(found, StoredGroup) else None


def expect_array(node: StoredArray | StoredGroup) -> StoredArray:
    """The node, if it is an array."""
    if isinstance(node, StoredArray):
        return node
    raise NodeNotFoundError(
        "there is a group here, not an array; name the array with component=",
        url=node.location.store.url,
        node=node.location.path,
    )


def read_node(
    location: Location, zarr_format: ZarrFormat | None = None, *, attributes: bool = True
) -> StoredArray | StoredGroup:
    """The node at a location, from its own documents alone.

    With ``attributes=False`` the attributes of a node of Zarr v2 stay unread: one request less.
    """
    documents = find_documents(location, formats_of(zarr_format), attributes=attributes)
    if documents is None and zarr_format == "n5":
        documents = find_implied_group(location)
    if documents is None:
        raise not_found(location, zarr_format)
    return node_of(location, documents)


def known_format(place: Any, component: str | None) -> ZarrFormat | None:
    """The format of a place that is an opened array or group."""
    return place.metadata.zarr_format if isinstance(place, (StoredArray, StoredGroup)) and not component else None


def formats_of(zarr_format: ZarrFormat | None) -> tuple[ZarrFormat, ...]:
    """The formats that are looked for, in their order."""
    if zarr_format is None:
        return FORMATS
    if zarr_format not in FORMATS:
        raise UnsupportedError(f"zarr_format is {zarr_format!r}; it can be 2, 3 or 'n5'", field="zarr_format")
    return (zarr_format,)


def not_found(location: Location, zarr_format: ZarrFormat | None) -> NodeNotFoundError:
    """The error that says that there is no node, and what was looked for."""
    names = [name for number in formats_of(zarr_format) for name in NODE_DOCUMENTS[number]]
    looked_for = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return NodeNotFoundError(
        f"there is no array or group here: no {looked_for}", url=location.store.url, node=location.path
    )


def open_node(
    location: Location, zarr_format: ZarrFormat | None, consolidated: bool | None
) -> StoredArray | StoredGroup:
    """The node at a location, with the consolidated metadata it has and is to use."""
    node: StoredArray | StoredGroup | None = None
    for number in formats_of(zarr_format):
        if number == 2 and consolidated is not False:
            node = _open_zmetadata(location)
        if node is None:
            documents = find_documents(location, (number,))
            if documents is None and zarr_format == "n5":
                documents = find_implied_group(location)
            if documents is None:
                continue
            node = node_of(location, documents)
            if number == 3 and consolidated is not False and isinstance(node, StoredGroup):
                node = replace(node, consolidated=_consolidated_in(v3.DOCUMENT, documents[v3.DOCUMENT], location))
        if consolidated and isinstance(node, StoredGroup) and node.consolidated is None:
            raise _not_consolidated(location, number)
        return node
    raise not_found(location, zarr_format)


def _open_zmetadata(location: Location) -> StoredArray | StoredGroup | None:
    """The node whose ``.zmetadata`` is here, if there is one."""
    document = get_document(location, CONSOLIDATED_DOCUMENT)
    if document is None:
        return None
    found = _consolidated_in(CONSOLIDATED_DOCUMENT, document, location)
    own = found and found.documents(location.path)
    if not own:
        raise MetadataError(
            f"{CONSOLIDATED_DOCUMENT} lists no {v2.GROUP_DOCUMENT} of the group it is in; consolidated=False opens the "
            "group without it, consolidate(url) writes it anew",
            url=location.store.url,
            node=location.path,
            field="metadata",
        )
    return node_of(location, own, found)


def _consolidated_in(name: str, document: Document, location: Location) -> Consolidated | None:
    """The consolidated metadata in a document of the group here."""
    try:
        return read_consolidated(name, document, location.path)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)


def _not_consolidated(location: Location, number: ZarrFormat) -> NodeNotFoundError:
    """The error that says what is missing, and what to do."""
    missing = {3: f"no {CONSOLIDATED_MEMBER} in its {v3.DOCUMENT}", 2: f"no {CONSOLIDATED_DOCUMENT}"}
    advice = "N5 knows none" if number == "n5" else "consolidate(url) writes them"
    return NodeNotFoundError(
        f"the group has no consolidated metadata{': ' + missing[number] if number in missing else ''}; {advice}",
        url=location.store.url,
        node=location.path,
    )


def _expect_group(node: StoredArray | StoredGroup) -> StoredGroup:
    """The node, if it is a group."""
    if isinstance(node, StoredGroup):
        return node
    raise NodeNotFoundError("there is an array here, not a group", url=node.location.store.url, node=node.location.path)


def _check_consolidated(value: Any) -> None:
    """None, True or False."""
    if value not in (None, True, False):
        raise MetadataError(f"consolidated is {value!r}; it can be None, True or False", field="consolidated")
