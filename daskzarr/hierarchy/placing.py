"""A node's metadata and a place -> its documents in the store, those of the groups above it, and what lists them.

All that is looked at is looked at before anything is deleted or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import DaskZarrError, MetadataError, NodeExistsError, raise_from
from daskzarr.hierarchy.documents import (
    ancestors,
    find_documents,
    finish,
    list_dir,
    node_exists,
    put_documents,
    set_document,
    store_error,
    writable,
)
from daskzarr.hierarchy.listing import nodes_below
from daskzarr.hierarchy.node import StoredArray, node_of
from daskzarr.hierarchy.registers import Register, changing, enter, register_of_v2, register_of_v3, strike
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat, n5, v2, v3
from daskzarr.metadata.documents import CONSOLIDATED_DOCUMENT, FORMATS, Documents, write_metadata
from daskzarr.metadata.json_text import format_object
from daskzarr.stores import ListableStore, Location
from daskzarr.stores.retries import persist

DOCUMENT_NAMES: Mapping[ZarrFormat, tuple[str, ...]] = {
    3: (v3.DOCUMENT,),
    2: (v2.ARRAY_DOCUMENT, v2.GROUP_DOCUMENT, v2.ATTRIBUTES_DOCUMENT, CONSOLIDATED_DOCUMENT),
    "n5": (n5.ATTRIBUTES_DOCUMENT,),
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a node is to go: the groups above it that are not there, and the registers of those that are.

    ``others`` list what is there now, and are not to list what will be: they are of another format, in a group that is
    of both.
    """

    location: Location
    missing: Mapping[str, dict[str, dict[str, Any]]]
    registers: list[Register]
    others: list[Register]


def place_node(
    location: Location, metadata: ArrayMetadata | GroupMetadata, *, overwrite: bool, beside: bool = False
) -> None:
    """Put the documents of a new node, and of the groups above it, in their place.

    With ``beside`` there may be a node there that is of another format: then it is of both.
    """
    documents = write_metadata(metadata, top=not location.path)
    texts = {name: format_object(document) for name, document in documents.items()}
    site = look_around(location, metadata.zarr_format, overwrite=overwrite, beside=beside)
    if overwrite:
        clear(site)
    with changing:
        write_groups_above(site)
        for name, text in texts.items():
            set_document(location, name, text)
        found = _come_to_light(site, metadata) if site.registers else {}
        enter(site.registers, location, {**found, **site.missing, location.path: documents})


def _come_to_light(site: Site, metadata: ArrayMetadata | GroupMetadata) -> dict[str, Documents]:
    """Nodes below new groups, by path: of another format, they were there before, in a folder that was no group."""
    top = Location(site.location.store, next(iter(site.missing), site.location.path))
    if not isinstance(top.store, ListableStore) or (top == site.location and isinstance(metadata, ArrayMetadata)):
        return {}
    found = nodes_below(top, metadata.zarr_format, deep=True)
    return {(top / path).path: node for path, node in found.items() if not isinstance(node, DaskZarrError)}


def look_around(location: Location, zarr_format: ZarrFormat, *, overwrite: bool, beside: bool = False) -> Site:
    """Find out whether a node can go there. An array above it, or a node there already, is an error.

    A group of another format above counts as there: a second document would hide its attributes. Its consolidated
    metadata do not list the node, save one that is there ``beside`` and stays.
    """
    site = look_above(location, zarr_format, overwrite=overwrite, beside=beside)
    writable(location)
    _check_room(location, overwrite, (zarr_format,) if beside else FORMATS)
    return site


def look_above(location: Location, zarr_format: ZarrFormat, *, overwrite: bool, beside: bool = False) -> Site:
    """The part of :func:`look_around` that looks at the groups above, and not at the place itself."""
    _check_names(location, zarr_format)
    missing: dict[str, dict[str, dict[str, Any]]] = {}
    registers: list[Register] = []
    others: list[Register] = []
    for above in ancestors(location):
        documents = find_documents(above, attributes=False)
        if documents is None:
            if zarr_format != "n5" or not above.path:  # in N5 any folder is a group
                new = GroupMetadata(zarr_format=zarr_format)
                missing[above.path] = write_metadata(new, top=not above.path)
            continue
        if isinstance(node_of(above, documents), StoredArray):
            raise NodeExistsError(
                f"there is an array at /{above.path}, so nothing can be put below it",
                url=location.store.url,
                node=location.path,
            )
        in_v3 = list(register_of_v3(above, documents.get(v3.DOCUMENT)))
        asks = zarr_format == 2 or overwrite or (v2.GROUP_DOCUMENT in documents and not beside)
        in_v2 = list(register_of_v2(above)) if asks else []
        of_both = beside or bool(v3.DOCUMENT in documents and in_v2)
        (others if of_both and zarr_format == 2 else registers).extend(in_v3)
        (others if of_both and zarr_format == 3 else registers).extend(in_v2)
    return Site(location, missing, registers, others)


def clear(site: Site) -> None:
    """Delete what is at the place; no group lists it any more by then."""
    strike([*site.registers, *site.others], site.location)
    delete_below(site.location)


def delete_below(location: Location) -> None:
    """Delete a node, and all there is below it."""
    try:
        persist(writable(location).delete_below, location.path)
        finish(location.store)
    except Exception as error:
        raise_from(store_error("deleting the old node", error, location, ""), error)


def write_groups_above(site: Site) -> None:
    """Make the groups above that are missing, the highest first."""
    for path, documents in site.missing.items():
        put_documents(Location(site.location.store, path), documents)


def _check_names(location: Location, zarr_format: ZarrFormat) -> None:
    """Names that the format keeps for itself are none of nodes."""
    for name in location.path.split("/") if location.path else ():
        if name in DOCUMENT_NAMES[zarr_format] or (zarr_format == 3 and v3.is_reserved(name)):
            what = "is that of a document" if name in DOCUMENT_NAMES[zarr_format] else "begins with '__'"
            raise MetadataError(
                f"{name!r} cannot be the name of a node: it {what}",
                url=location.store.url,
                node=location.path,
                field="component",
            )


def _check_room(location: Location, overwrite: bool, formats: Sequence[ZarrFormat]) -> None:
    """Make sure that there is no node, or one that may be deleted."""
    if overwrite:
        _refuse_strangers(location)
    elif node_exists(location, formats):
        raise NodeExistsError(
            'there is an array or group here already; pass overwrite=True (or mode="w") to replace it',
            url=location.store.url,
            node=location.path,
        )


def _refuse_strangers(location: Location) -> None:
    """A folder that is no node may hold anything: it is not ours to delete."""
    if node_exists(location) or not isinstance(location.store, ListableStore):
        return
    listing = list_dir(location)
    if any(listing):
        found = ", ".join((*listing.keys, *listing.prefixes)[:3])
        raise NodeExistsError(
            f"what is here ({found}, ...) is no array or group, so it is not overwritten; delete it yourself, or "
            "choose another place",
            url=location.store.url,
            node=location.path,
        )
