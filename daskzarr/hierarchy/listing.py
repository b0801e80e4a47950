"""A group in a store that can be listed -> the documents of the nodes below it, a level at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from daskzarr.errors import DaskZarrError
from daskzarr.hierarchy.documents import Found, find_many, list_group
from daskzarr.metadata import ZarrFormat, v3
from daskzarr.metadata.documents import format_of, is_array
from daskzarr.stores import Location

_LISTINGS_AT_ONCE = 16


def nodes_below(group: Location, zarr_format: ZarrFormat, *, deep: bool) -> dict[str, Found]:
    """Path from the group -> documents, or what is wrong with them; of its children, or of all nodes below it.

    Sorted by the names on the way, each node before its children. A folder that is no node hides what is in it.
    """
    found: dict[str, Found] = {}
    level: list[tuple[Location, ZarrFormat]] = [(group, zarr_format)]
    while level:
        children = [
            (Location(group.store, f"{place.path}/{name}" if place.path else name), home)
            for (place, home), names in zip(level, _list_all(level), strict=True)
            for name in names
            if _can_be_child(name, home)
        ]
        level = []
        for (place, _), node in zip(children, find_many(children), strict=True):
            if node is None:
                continue
            found[place.path[len(group.path) :].lstrip("/")] = node
            if deep and not isinstance(node, DaskZarrError) and not is_array(node):
                level.append((place, format_of(node)))
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def _list_all(level: list[tuple[Location, ZarrFormat]]) -> list[tuple[str, ...]]:
    """Names below several groups, some groups at a time."""
    if len(level) == 1:
        return [list_group(*level[0])]
    with ThreadPoolExecutor(_LISTINGS_AT_ONCE) as pool:
        return list(pool.map(list_group, *zip(*level, strict=True)))


def _can_be_child(name: str, home: ZarrFormat) -> bool:
    """Whether a folder's name can be that of a node; v3 keeps some for itself, and some lead elsewhere as a path."""
    return set(name) != {"."} and not any(c in name for c in "\\\0/") and not (home == 3 and v3.is_reserved(name))
