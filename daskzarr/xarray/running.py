"""Writes that have begun -> what is in memory is written, the rest is one delayed value; and what ends it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dask.delayed import Delayed

from daskzarr.begin import Ending, Endings
from daskzarr.graph.write import ArrayWrite, write_arrays
from daskzarr.metadata import ZarrFormat
from daskzarr.nodes import consolidate, update_attributes
from daskzarr.receipt import Written
from daskzarr.stores import Location, waits
from daskzarr.xarray.node_work import Target

_MUCH = 2**22


@dataclass(frozen=True)
class EndGroups:
    """What is left to do once groups that were there have all they are to have: to end the writes, and to say so."""

    endings: tuple[Ending, ...]
    attributes: tuple[tuple[Location, Mapping[str, Any], ZarrFormat], ...]
    top: Location | None

    def __call__(self, written: Written) -> None:
        """End the write."""
        Endings(self.endings)(written)
        say(self.attributes, self.top)


def say(attributes: Iterable[tuple[Location, Mapping[str, Any], ZarrFormat]], top: Location | None) -> None:
    """Give groups that are there their new attributes, and all below the top its consolidated metadata."""
    for place, new, zarr_format in attributes:
        update_attributes(place, new, replace=True, zarr_format=zarr_format)
    if top is not None:
        consolidate(top)


def run_ready(begun: list[tuple[ArrayWrite, Ending | None]], targets: list[Target], ending: Any = None) -> Delayed:
    """Write what is in memory, from here; the write of the rest.

    With an ``ending`` nothing is ended before all is written; without one, each variable is by itself.
    """
    pairs = list(zip(begun, targets, strict=True))
    ready = [pair for pair, target in pairs if target.ready]
    rest = [pair for pair, target in pairs if not target.ready]
    if ready:
        last = ending if not rest else None
        write = _write(ready, last if ending is not None else _endings(ready))
        write.compute(scheduler=_scheduler_for([target for target in targets if target.ready]))
    if not rest:
        if not ready and ending is not None:
            ending(Written())
        return write_arrays([], None)
    return _write(rest, ending if ending is not None else _endings(rest))


def _scheduler_for(targets: list[Target]) -> str:
    """How what is in memory is written: threads are for much of it, or for a store that keeps one waiting."""
    nbytes = sum(arr.nbytes for target in targets for arr, _ in target.prepared.parts)
    return "threads" if nbytes > _MUCH or waits(targets[0].prepared.place.store) else "sync"


def _write(pairs: list[tuple[ArrayWrite, Ending | None]], ending: Any) -> Delayed:
    """The write of several arrays."""
    return write_arrays([write for write, _ in pairs], ending)


def _endings(pairs: list[tuple[ArrayWrite, Ending | None]]) -> Endings | None:
    """What ends the writes of several arrays, each by itself."""
    found = tuple(ending for _, ending in pairs if ending is not None)
    return Endings(found) if found else None
