"""A location -> the documents that are there, parsed; one at a time, or many with one bulk request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import (
    DaskZarrError,
    MetadataError,
    StoreError,
    StorePermissionError,
    UnsupportedError,
    raise_from,
)
from daskzarr.metadata import ZarrFormat, n5, v2, v3
from daskzarr.metadata.documents import FORMATS, NODE_DOCUMENTS, Documents, formats_from, is_array
from daskzarr.metadata.json_text import format_object, parse_object
from daskzarr.stores import (
    Buffer,
    FinishingStore,
    ListableStore,
    Listing,
    Location,
    Store,
    WritableStore,
    without_credentials,
)
from daskzarr.stores.retries import attempts_of, get_many, persist

_DOTTED = re.compile(r"\d+(\.\d+)+")

Found = Documents | DaskZarrError
"""A node's documents, or what is wrong with them."""

_BULK_NAMES: dict[ZarrFormat, tuple[str, ...]] = {**NODE_DOCUMENTS, 2: (*NODE_DOCUMENTS[2], v2.ATTRIBUTES_DOCUMENT)}


def get_document(location: Location, name: str) -> dict[str, Any] | None:
    """A document of the node here, None where there is none."""
    try:
        text = _get(location, name)
        return None if text is None else _parse_again(location, name, text)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)


def _parse_again(location: Location, name: str, text: Buffer) -> dict[str, Any]:
    """A document from its text. One that cannot be read is fetched again: it may be damaged on its way, or torn."""
    try:
        return parse_object(text, name)
    except MetadataError:
        again = _get(location, name)
        if again is None or again == text:
            raise
        return parse_object(again, name)


def set_document(location: Location, name: str, text: bytes) -> None:
    """Put a document of the node here in its place."""
    store = writable(location)
    try:
        persist(store.set, location.key(name), text)
        finish(store)
    except Exception as error:
        raise_from(store_error("writing " + name, error, location, name), error)


def put_documents(location: Location, documents: Documents) -> None:
    """Put all documents of the node here in their place."""
    for name, document in documents.items():
        set_document(location, name, format_object(document))


def finish(store: Store) -> None:
    """Show everyone what was written, where a store does not do so by itself."""
    if isinstance(store, FinishingStore):
        persist(store.finish)


def find_documents(
    location: Location, formats: Sequence[ZarrFormat] = FORMATS, *, attributes: bool = True
) -> dict[str, dict[str, Any]] | None:
    """The documents of the node here, in the first of the formats it has; None if there is no node.

    With ``attributes=False`` the attributes of Zarr v2 stay unread: one request less.
    """
    for name in (name for number in formats for name in NODE_DOCUMENTS[number]):
        document = get_document(location, name)
        if document is None:
            continue
        found = {name: document}
        # An array of one cell may be one of netCDF-C's scalars, which only its attributes say.
        if name in NODE_DOCUMENTS[2] and (attributes or document.get("shape") == [1]):
            zattrs = get_document(location, v2.ATTRIBUTES_DOCUMENT)
            found |= {} if zattrs is None else {v2.ATTRIBUTES_DOCUMENT: zattrs}
        return found
    return None


def find_many(places: Sequence[tuple[Location, ZarrFormat]]) -> list[Found | None]:
    """The documents of the nodes at places that were listed, each below a group of the given format.

    What is damaged stands there as the error. That group's format is looked for first, in all places at once.
    """
    found: list[Found | None] = [None] * len(places)
    for turn in range(len(FORMATS)):
        asked = [
            (i, place, formats_from(home)[turn])
            for i, (place, home) in enumerate(places)
            if found[i] is None and not (formats_from(home)[turn] == 3 and _is_reserved(place))
        ]
        texts = _get_many([(place, name) for _, place, number in asked for name in _BULK_NAMES[number]])
        for i, place, number in asked:
            found[i] = _parse(place, {name: next(texts) for name in _BULK_NAMES[number]})
    return [
        {n5.ATTRIBUTES_DOCUMENT: {}} if documents is None and home == "n5" else documents
        for documents, (_, home) in zip(found, places, strict=True)
    ]


def _is_reserved(location: Location) -> bool:
    """Whether a name is one that v3 keeps for itself."""
    return v3.is_reserved(location.path.rpartition("/")[2])


def find_implied_group(location: Location) -> dict[str, dict[str, Any]] | None:
    """The documents of an N5 group that has none: any folder is one, unless it is a node already, or in an array."""
    if not isinstance(location.store, ListableStore):
        return None
    listing = list_dir(location)
    if not any(listing) or any(name in listing.keys for number in FORMATS for name in NODE_DOCUMENTS[number]):
        return None
    for above in ancestors(location):
        documents = find_documents(above, attributes=False)
        if documents is not None and is_array(documents):
            return None
    return {n5.ATTRIBUTES_DOCUMENT: {}}


def node_exists(location: Location, formats: Sequence[ZarrFormat] = FORMATS) -> bool:
    """Whether there is a node of one of the formats, readable or not."""
    first, *others = (name for number in formats for name in NODE_DOCUMENTS[number])
    if _get(location, first) is not None:
        return True
    return any(text is not None for text in _get_many([(location, name) for name in others]))


def list_dir(location: Location) -> Listing:
    """What lies directly below, if the store can tell."""
    store = location.store
    if not isinstance(store, ListableStore):
        raise _unlistable(location)
    try:
        return persist(store.list_dir, location.path)
    except Exception as error:
        raise_from(store_error("listing the group", error, location, ""), error)


def list_group(location: Location, zarr_format: ZarrFormat) -> tuple[str, ...]:
    """Names that have something below them in a group. Where there is no key at all, not even its own, it is a lie."""
    listing = list_dir(location)
    if zarr_format != "n5" and not any(listing):
        raise _unlistable(location)
    return listing.prefixes


def chunks_in_folders(location: Location, ndim: int) -> bool:
    """Whether the chunks of an array of v2 have slashes in their keys, where its document does not say.

    The first chunk tells; if it is absent, the names that are there.
    """
    first = ("0",) * ndim
    if _has(location, ".".join(first)):
        return False
    if _has(location, "/".join(first)):
        return True
    if not isinstance(location.store, ListableStore):
        return False
    listing = list_dir(location)
    dotted = any(_DOTTED.fullmatch(key) for key in listing.keys)
    return not dotted and any(name.isdecimal() for name in listing.prefixes)


def _has(location: Location, name: str) -> bool:
    """Whether there is an object of the node under a name."""
    try:
        return persist(location.store.get, location.key(name), ByteRange(0, 1)) is not None
    except Exception as error:
        raise_from(store_error("looking for a chunk", error, location, name), error)


def ancestors(location: Location) -> list[Location]:
    """The places above, the top of the store first."""
    parts = location.path.split("/") if location.path else []
    return [Location(location.store, "/".join(parts[:depth])) for depth in range(len(parts))]


def store_error(doing: str, error: Exception, location: Location, key: str) -> DaskZarrError:
    """The error that says what a store failed at; one of ours is only told its place."""
    if isinstance(error, DaskZarrError):
        return error.locate(url=location.store.url, node=location.path, chunk_key=key)
    refused = isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)  # HTTP
    kind = StorePermissionError if refused else StoreError
    attempts = attempts_of(error)
    times = f" after {attempts} attempts" if attempts > 1 else ""
    text = without_credentials(f"{doing} failed{times}: {type(error).__name__}: {error}")
    return kind(text, url=location.store.url, node=location.path, chunk_key=key)


def writable(location: Location) -> WritableStore:
    """The location's store, if it can be written."""
    store: Store = location.store
    if not isinstance(store, WritableStore) or not getattr(store, "can_write", True):
        raise UnsupportedError("this store can only be read", url=store.url, node=location.path)
    return store


def _get(location: Location, name: str) -> Buffer | None:
    """A document's text."""
    try:
        return persist(location.store.get, location.key(name))
    except Exception as error:
        raise_from(store_error("reading " + name, error, location, name), error)


def _get_many(wanted: Sequence[tuple[Location, str]]) -> Iterator[Buffer | None]:
    """The texts of several documents in one store, in their order."""
    if not wanted:
        return
    asked = iter(wanted)
    location, name = next(asked)
    try:
        for text in get_many(location.store, [place.key(which) for place, which in wanted]):
            yield text
            location, name = next(asked, (location, name))
    except Exception as error:
        raise_from(store_error("reading " + name, error, location, name), error)


def _parse(location: Location, texts: Mapping[str, Buffer | None]) -> Found | None:
    """The documents of a node; attributes without a document that shows a node are none."""
    if not any(text is not None for name, text in texts.items() if name != v2.ATTRIBUTES_DOCUMENT):
        return None
    if texts.get(v2.ARRAY_DOCUMENT) is not None:
        texts = {name: text for name, text in texts.items() if name != v2.GROUP_DOCUMENT}
    try:
        documents = {name: _parse_again(location, name, text) for name, text in texts.items() if text is not None}
        is_array(documents)
        return documents
    except DaskZarrError as error:
        return error.locate(url=location.store.url, node=location.path)


def _unlistable(location: Location) -> UnsupportedError:
    """A store that does not know its keys, and what to do."""
    return UnsupportedError(
        "this store cannot list what it holds, so that the nodes below a group are not known; name them in full, or "
        "run consolidate(url) where the store can be listed and written: the group then knows them",
        url=location.store.url,
        node=location.path,
    )
