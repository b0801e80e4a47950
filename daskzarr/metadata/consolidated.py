"""Consolidated metadata, the copies of documents that a group keeps of all nodes below it: read, changed, written.

It is a member of a Zarr v3 group's document, and the document ``.zmetadata`` beside that of a Zarr v2 group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import MetadataError
from daskzarr.metadata import v2, v3
from daskzarr.metadata.documents import (
    CONSOLIDATED_DOCUMENT,
    CONSOLIDATED_MEMBER,
    Document,
    Documents,
    bare,
    format_of,
)
from daskzarr.metadata.json_text import to_utf8

_V2_NAMES = (v2.ARRAY_DOCUMENT, v2.GROUP_DOCUMENT, v2.ATTRIBUTES_DOCUMENT)
_NAME = r"(?!\.+(?:/|\Z))[^/\\\0]+"
_PATH = re.compile(rf"{_NAME}(?:/{_NAME})*")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Consolidated:
    """The documents of all nodes below a group, ready to be looked up by path in the store.

    Parameters
    ----------
    top
        Path of the group that keeps them.
    name
        Name of the document they are in.
    entries
        The copies: of v3 by path from that group, of v2 by key. They are read when somebody asks for a node.
    names
        Sorted names of the children of each path.
    """

    top: str
    name: str
    entries: Mapping[str, Any]
    names: Mapping[str, list[str]]

    def documents(self, path: str) -> Documents | None:
        """The documents of a node, None where there is none."""
        return self._documents(self._relative(path))

    def below(self, path: str, *, deep: bool) -> Iterator[tuple[str, Documents]]:
        """Paths from ``path`` and documents of its children, or of all nodes below it, each before its own children."""
        start = self._relative(path)
        lead = start + "/" if start else ""
        waiting = [lead + name for name in reversed(self.names.get(start, ()))]
        while waiting:
            found = waiting.pop()
            documents = self._documents(found)
            if documents is not None:
                yield found[len(lead) :], documents
                if deep and _seems_group(documents):
                    waiting.extend(f"{found}/{name}" for name in reversed(self.names.get(found, ())))

    def _documents(self, path: str) -> Documents | None:
        """The documents of a node at a path from the top."""
        if self.name == v3.DOCUMENT:
            entry = self.entries.get(path)
            return None if entry is None else {v3.DOCUMENT: entry}
        lead = path + "/" if path else ""
        found = {name: self.entries[lead + name] for name in _V2_NAMES if lead + name in self.entries}
        if v2.GROUP_DOCUMENT in found:
            found[v2.GROUP_DOCUMENT] = bare(found[v2.GROUP_DOCUMENT])
        return found if v2.ARRAY_DOCUMENT in found or v2.GROUP_DOCUMENT in found else None

    def _relative(self, path: str) -> str:
        """A path in the store as one from the top."""
        return path[len(self.top) :].lstrip("/")


def read_consolidated(name: str, document: Document, top: str) -> Consolidated | None:
    """What a document of this name at the path ``top`` holds of consolidated metadata, if it holds any we know."""
    entries = read_entries(name, document)
    if entries is None:
        return None
    names: dict[str, list[str]] = {}
    for path in sorted({path for path, _ in _kinds(name, entries) if path}):
        parent, _, child = path.rpartition("/")
        if not (name == v3.DOCUMENT and v3.is_reserved(child)):
            names.setdefault(parent, []).append(child)
    return Consolidated(top, name, entries, names)


def read_entries(name: str, document: Document) -> dict[str, Any] | None:
    """The copies: of v3 by path, of v2 by key. None if there are none, or of a kind that nobody knows."""
    entries = _read_v3(document) if name == v3.DOCUMENT else _read_v2(document)
    if entries is not None:
        _check_arrays_have_nothing_below(name, entries)
    return entries


def lists(name: str, document: Document, path: str) -> bool:
    """Whether there is an entry for a node or for one below it, or may be, in metadata of a kind that nobody knows."""
    entries = read_entries(name, document)
    return entries is None or any(_is_at(name, key, path) for key in entries)


def change(
    name: str, document: Document, path: str, nodes: Mapping[str, Documents], *, replace: bool
) -> dict[str, Any] | None:
    """The document once its entries for the ``nodes`` are true, and with ``replace`` none else at ``path`` is left.

    A node that such metadata cannot list makes it untrue, so that it is left out altogether: None stands for a
    document of which nothing remains.
    """
    entries = read_entries(name, document)
    expected = 3 if name == v3.DOCUMENT else 2
    if entries is None or any(format_of(documents) != expected for documents in nodes.values()):
        return dict(bare(document)) if name == v3.DOCUMENT else None
    gone = {key for key in entries if replace and _is_at(name, key, path)}
    for node in nodes:
        gone.update(_keys_of(name, node))
    entries = {key: entry for key, entry in entries.items() if key not in gone}
    entries.update(_entries_of(name, nodes))
    if name != v3.DOCUMENT:
        return {**document, "metadata": _sorted(entries)}
    return {**document, CONSOLIDATED_MEMBER: {**document[CONSOLIDATED_MEMBER], "metadata": _sorted(entries)}}


def write_consolidated(nodes: Mapping[str, Documents]) -> tuple[str, dict[str, Any]]:
    """The document that holds copies of all nodes, by name; the group's own documents are at the path ``""``."""
    if format_of(nodes[""]) == 2:
        return CONSOLIDATED_DOCUMENT, write_v2(nodes)
    below = {path: documents for path, documents in nodes.items() if path}
    return v3.DOCUMENT, write_v3(bare(nodes[""][v3.DOCUMENT]), below)


def write_v3(document: Document, nodes: Mapping[str, Documents]) -> dict[str, Any]:
    """A group's document with the copies of all nodes below it."""
    entries = _sorted(_entries_of(v3.DOCUMENT, nodes))
    return {**document, CONSOLIDATED_MEMBER: {"kind": "inline", "must_understand": False, "metadata": entries}}


def write_v2(nodes: Mapping[str, Documents]) -> dict[str, Any]:
    """A ``.zmetadata`` with the copies of all nodes, the group's own at the path ``""`` among them."""
    return {"zarr_consolidated_format": 1, "metadata": _sorted(_entries_of(CONSOLIDATED_DOCUMENT, nodes))}


def format_stored(document: Document) -> bytes:
    """A document made of stored ones, as JSON; what those hold stays, bare tokens NaN included.

    Consolidated metadata make it one line: with all their copies it is long, and to be read fast.
    """
    is_long = CONSOLIDATED_MEMBER in document or "zarr_consolidated_format" in document
    try:
        return to_utf8(document, indent=None if is_long else 2)
    except (ValueError, RecursionError):
        raise MetadataError("the document is nested too deeply to be written") from None


def _read_v3(document: Document) -> dict[str, Any] | None:
    """Path -> document; trees of consolidated metadata in copies of groups are merged, the outermost copy wins."""
    block = document.get(CONSOLIDATED_MEMBER)
    if block is None:
        return None
    if not isinstance(block, dict):
        raise _damaged(f"{CONSOLIDATED_MEMBER} is a {type(block).__name__}, not an object", CONSOLIDATED_MEMBER)
    if block.get("kind") != "inline":
        return None
    entries: dict[str, Any] = {}
    waiting = [("", block)]
    for lead, block in waiting:
        for path, entry in _members(block, lead):
            inner = entry.get(CONSOLIDATED_MEMBER)
            if isinstance(inner, dict) and inner.get("kind") == "inline":
                waiting.append((path + "/", inner))
            entries.setdefault(path, bare(entry))
    return entries


def _members(block: Mapping[str, Any], lead: str) -> Iterator[tuple[str, Document]]:
    """The members of one block, checked; ``lead`` is what their paths begin with."""
    members = block.get("metadata")
    if not isinstance(members, dict):
        raise _damaged("consolidated metadata without an object of documents", f"{CONSOLIDATED_MEMBER}.metadata")
    for path, entry in members.items():
        if not _PATH.fullmatch(path):
            raise _damaged(f"{path!r} is no path of a node below a group", _place_of(lead + path))
        if not isinstance(entry, dict):
            text = f"the copy of a document is a {type(entry).__name__}, not an object"
            raise _damaged(text, _place_of(lead + path))
        yield lead + path, entry


def _place_of(path: str) -> str:
    """Where the copy of a document is, for errors."""
    return f"{CONSOLIDATED_MEMBER}.metadata[{path!r}]"


def _read_v2(document: Document) -> dict[str, Any]:
    """Key -> document; keys of other documents are kept."""
    number = document.get("zarr_consolidated_format")
    if number != 1 or type(number) is not int:
        raise _damaged(f"zarr_consolidated_format is {number!r} where 1 has to be", "zarr_consolidated_format")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        raise _damaged(f"{CONSOLIDATED_DOCUMENT} has no object of documents", "metadata")
    for key, entry in metadata.items():
        path, slash, name = key.rpartition("/")
        if name not in _V2_NAMES:
            continue
        if slash and not _PATH.fullmatch(path):
            raise _damaged(f"{key!r} is no key of a document below a group", f"metadata[{key!r}]")
        if not isinstance(entry, dict):
            raise _damaged(f"the copy of a document is a {type(entry).__name__}, not an object", f"metadata[{key!r}]")
    return dict(metadata)


def _check_arrays_have_nothing_below(name: str, entries: Mapping[str, Any]) -> None:
    """An array has chunks below it, and no nodes."""
    kinds = list(_kinds(name, entries))
    if not any("/" in path or (is_array and not path) for path, is_array in kinds):
        return  # all are side by side
    # With the slash made the lowest of characters, what lies below a path follows it at once.
    found = sorted(kinds, key=lambda item: (item[0].replace("/", "\0"), not item[1]))
    lead = None
    for path, is_array in found:
        if lead is not None and path and path.startswith(lead):
            raise _damaged(f"there is a node at {path!r}, below an array", CONSOLIDATED_MEMBER)
        if is_array:
            lead = path + "/" if path else ""


def _kinds(name: str, entries: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Paths of nodes, and whether they are arrays."""
    for key, entry in entries.items():
        path, _, last = key.rpartition("/")
        if name == v3.DOCUMENT:
            yield key, entry.get("node_type") == "array"
        elif last in (v2.ARRAY_DOCUMENT, v2.GROUP_DOCUMENT):
            yield path, last == v2.ARRAY_DOCUMENT


def _entries_of(name: str, nodes: Mapping[str, Documents]) -> dict[str, Any]:
    """Nodes as consolidated metadata lists them."""
    if name == v3.DOCUMENT:
        return {path: bare(documents[v3.DOCUMENT]) for path, documents in nodes.items()}
    return {
        f"{path}/{which}" if path else which: bare(document) if which == v2.GROUP_DOCUMENT else document
        for path, documents in nodes.items()
        for which, document in documents.items()
    }


def _keys_of(name: str, path: str) -> tuple[str, ...]:
    """The keys a node's own documents can be listed under."""
    if name == v3.DOCUMENT:
        return (path,)
    return tuple(f"{path}/{which}" if path else which for which in _V2_NAMES)


def _is_at(name: str, key: str, path: str) -> bool:
    """Whether an entry is one of the node, or of one below it."""
    return key.startswith(path + "/") or (name == v3.DOCUMENT and key == path)


def _sorted(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries in the order of their keys."""
    return dict(sorted(entries.items()))


def _seems_group(documents: Documents) -> bool:
    """Whether nodes may lie below; the documents may be damaged."""
    if v3.DOCUMENT in documents:
        return documents[v3.DOCUMENT].get("node_type") == "group"
    return v2.ARRAY_DOCUMENT not in documents


def _damaged(text: str, field: str) -> MetadataError:
    """What is wrong with consolidated metadata, and what to do."""
    return MetadataError(
        f"{text}; consolidated=False opens the group without such metadata, consolidate(url) writes them anew",
        field=field,
    )
