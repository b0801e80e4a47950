"""A node's location -> where what is noted about it goes, the same however its place is spelled."""

from __future__ import annotations

import hashlib
from typing import Any

from daskzarr.errors import DaskZarrError
from daskzarr.hierarchy.documents import node_exists
from daskzarr.stores import Location, beside, locate, parent


def notes_of(location: Location) -> Location | None:
    """The place of a node beside the store of the outermost group above it; None where there is no such place.

    ``("data.zarr", "a")`` and ``"data.zarr/a"`` are one node, whose notes are in ``data.zarr.daskzarr/a``.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> notes_of(Location(MappingStore({}))) is None
    True
    """
    if beside(location) is None:
        return None
    outermost, below = location, location.path
    while (above := parent(outermost.store)) is not None:
        place = Location(above[0])
        try:
            if beside(place) is None or not node_exists(place):
                break
        except DaskZarrError:
            break  # what cannot be looked at is no group of ours
        outermost, below = place, f"{above[1]}/{below}".rstrip("/")
    return beside(Location(outermost.store, below))


def notes_at(location: Location, given: Any) -> Location | None:
    """Where what is noted about a node goes, as the user has it: None is beside it, False nowhere, else a place.

    In a place of the user's every node has a folder of its own.
    """
    if given is None or given is True:
        return notes_of(location)
    if given is False:
        return None
    full = f"{location.store.url}/{location.path}".rstrip("/")
    return locate(given) / f"{full.rpartition('/')[2]}-{hashlib.sha256(full.encode()).hexdigest()[:12]}"
