"""The documents of a node, by name and in whichever format <-> its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskzarr.errors import MetadataError
from daskzarr.metadata import n5, v2, v3
from daskzarr.metadata.array import ArrayMetadata, GroupMetadata, ZarrFormat

Document = Mapping[str, Any]
Documents = Mapping[str, Document]

FORMATS: tuple[ZarrFormat, ...] = (3, 2, "n5")
NODE_DOCUMENTS: Mapping[ZarrFormat, tuple[str, ...]] = {
    3: (v3.DOCUMENT,),
    2: (v2.ARRAY_DOCUMENT, v2.GROUP_DOCUMENT),
    "n5": (n5.ATTRIBUTES_DOCUMENT,),
}
CONSOLIDATED_MEMBER = "consolidated_metadata"
CONSOLIDATED_DOCUMENT = ".zmetadata"


def formats_from(first: ZarrFormat) -> tuple[ZarrFormat, ...]:
    """All formats in the order in which they are looked for where ``first`` is at home.

    >>> formats_from(2)
    (2, 3, 'n5')
    """
    return (first, *(other for other in FORMATS if other != first))


def format_of(documents: Documents) -> ZarrFormat:
    """The format these documents are in."""
    return next(number for number in FORMATS if any(name in documents for name in NODE_DOCUMENTS[number]))


def is_array(documents: Documents) -> bool:
    """Whether these are an array's documents."""
    if v3.DOCUMENT in documents:
        return v3.read_node_type(documents[v3.DOCUMENT]) == "array"
    if n5.ATTRIBUTES_DOCUMENT in documents:
        return n5.is_dataset(documents[n5.ATTRIBUTES_DOCUMENT])
    return v2.ARRAY_DOCUMENT in documents


def read_metadata(documents: Documents) -> ArrayMetadata | GroupMetadata:
    """What the documents say. The consolidated metadata of a group is no part of it."""
    if v3.DOCUMENT in documents:
        document = documents[v3.DOCUMENT]
        return v3.read_array(document) if is_array(documents) else v3.read_group(bare(document))
    if n5.ATTRIBUTES_DOCUMENT in documents:
        document = documents[n5.ATTRIBUTES_DOCUMENT]
        return n5.read_array(document) if is_array(documents) else n5.read_group(document)
    attributes = documents.get(v2.ATTRIBUTES_DOCUMENT, {})
    if v2.ARRAY_DOCUMENT in documents:
        return v2.read_array(documents[v2.ARRAY_DOCUMENT], attributes)
    return v2.read_group(documents[v2.GROUP_DOCUMENT], attributes)


def write_metadata(metadata: ArrayMetadata | GroupMetadata, *, top: bool) -> dict[str, dict[str, Any]]:
    """The documents of a node; N5 notes its version in those at the top of a store."""
    if metadata.zarr_format == "n5":
        return {n5.ATTRIBUTES_DOCUMENT: _n5_document(metadata, top)}
    if metadata.zarr_format == 3:
        document = v3.write_group(metadata) if isinstance(metadata, GroupMetadata) else v3.write_array(metadata)
        return {v3.DOCUMENT: document}
    if isinstance(metadata, GroupMetadata):
        name, (document, attributes) = v2.GROUP_DOCUMENT, v2.write_group(metadata)
    else:
        name, (document, attributes) = v2.ARRAY_DOCUMENT, v2.write_array(metadata)
    return {name: document} | ({v2.ATTRIBUTES_DOCUMENT: attributes} if attributes else {})


def change_attributes(documents: Documents, attributes: Document, *, replace: bool) -> tuple[str, dict[str, Any]]:
    """The document of a node that holds its attributes, by name, once they are changed; all else in it stays.

    With ``replace`` the attributes it had go, save those by which formats say something of their own.
    """
    metadata = read_metadata(documents)
    if metadata.zarr_format == 3:
        document = documents[v3.DOCUMENT]
        old = {} if replace else document.get("attributes", {})
        return v3.DOCUMENT, {**document, "attributes": {**old, **attributes}}
    if metadata.zarr_format == "n5":
        return n5.ATTRIBUTES_DOCUMENT, _change_n5(documents[n5.ATTRIBUTES_DOCUMENT], metadata, attributes, replace)
    old = documents.get(v2.ATTRIBUTES_DOCUMENT, {})
    if replace:
        named = isinstance(metadata, ArrayMetadata) and metadata.dimension_names is not None
        stays = {name for name in old if name.lower().startswith("_nczarr") or (named and name == v2.DIMENSIONS)}
        old = {name: value for name, value in old.items() if name in stays}
    return v2.ATTRIBUTES_DOCUMENT, {**old, **attributes}


def _change_n5(
    document: Document, metadata: ArrayMetadata | GroupMetadata, attributes: Document, replace: bool
) -> dict[str, Any]:
    """The one document of a node of N5 with other attributes; members of the format's own cannot be among them."""
    own = {name: value for name, value in document.items() if name not in metadata.attributes}
    changed = {**(own if replace else document), **attributes}
    taken = (own.keys() | {"n5"}) & attributes.keys() - {n5.AXES}
    if not taken and n5.is_dataset(changed) == isinstance(metadata, ArrayMetadata):
        shown = read_metadata({n5.ATTRIBUTES_DOCUMENT: changed}).attributes
        taken = attributes.keys() - shown.keys() - {n5.AXES}
        if not taken:
            return changed
    names = ", ".join(map(repr, sorted(taken or attributes)))
    raise MetadataError(f"attributes of N5 cannot be called {names}: the format means more by it", field="attributes")


def bare(document: Document) -> Document:
    """A group's document without its consolidated metadata."""
    if CONSOLIDATED_MEMBER not in document:
        return document
    return {name: value for name, value in document.items() if name != CONSOLIDATED_MEMBER}


def _n5_document(metadata: ArrayMetadata | GroupMetadata, top: bool) -> dict[str, Any]:
    """The one document of a node of N5."""
    if isinstance(metadata, GroupMetadata):
        return n5.write_group(metadata, root=top)
    return n5.write_array(metadata, root=top)
