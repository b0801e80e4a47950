"""The verb verify: a stored array or group -> a report of what is there, what is lost, damaged, and of no use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError
from daskzarr.graph.batches import map_batches
from daskzarr.hierarchy import StoredArray, StoredGroup, read_node
from daskzarr.hierarchy.documents import Found, list_dir
from daskzarr.hierarchy.listing import nodes_below
from daskzarr.hierarchy.node import node_of
from daskzarr.hierarchy.notes import notes_at, notes_of
from daskzarr.hierarchy.opening import known_format, open_node
from daskzarr.metadata import ZarrFormat
from daskzarr.stores import Location, locate
from daskzarr.stores.retries import persist
from daskzarr.verification.arrays import Inspection, can_list, inspect_array, unfinished_writes
from daskzarr.verification.objects import Tally, check_objects
from daskzarr.verification.report import KINDS, GroupReport, Level, VerifyReport

__all__ = ["GroupReport", "VerifyReport", "verify"]

_LEVELS = get_args(Level)


def verify(
    url: Any,
    component: str | None = None,
    *,
    level: Level = "size",
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    journal: Any = None,
    compute: bool = True,
) -> Any:
    """Find out whether everything that was stored of an array is still there, and whole; nothing is changed.

    With a journal, objects that were left out as they hold nothing but fill and objects that were lost are told apart.

    Parameters
    ----------
    url, component, storage_options
        The array, or a group: then all arrays below it. As for :func:`open_array`.
    level
        How far to look; each takes in those before it. ``"exists"``: which objects are there. ``"size"`` (default): how
        long they are, against what is noted and what the codecs say. ``"digest"``: their bytes are read, and compared
        with the digests noted. ``"decode"``: every object that is there is read and decoded, noted or not.
    zarr_format
        2, 3 or ``"n5"``. Default None: v3 is looked for first, then v2, then N5.
    journal
        Where writes noted what they stored. Default None: beside the store. False: what is noted is not looked at.
    compute
        Whether to look now. Default True. Otherwise the store is listed now, and a delayed value comes back whose
        ``compute()`` does the rest.

    Returns
    -------
    VerifyReport or GroupReport
        Or a delayed value of it, with ``compute=False``.

    Raises
    ------
    NodeNotFoundError
        If there is no array or group.
    MetadataError, UnknownCodecError, UnsupportedError
        If the document of an array breaks the rules of its format, or names a codec that is not known; below a group
        the report says so instead. Pickled objects are not decoded.
    StoreError
        If the store fails, and goes on to do so when it is asked again: that says nothing of what is stored.

    Notes
    -----
    A store that can be listed is listed, and chunks that are absent cost nothing. Another one (a web server) is asked
    for each object of the array.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import to_zarr
    >>> to_zarr(da.arange(6, chunks=2) + 1, store := {}, compressors=None)
    >>> verify(store).ok
    True
    >>> store["c/1"] = store["c/1"][:5]
    >>> verify(store).truncated
    ('c/1',)
    """
    if level not in _LEVELS:
        raise MetadataError(f"level is {level!r}; it can be {', '.join(map(repr, _LEVELS))}", field="level")
    location = locate(url, component, storage_options)
    node = _open(location, zarr_format or known_format(url, component))
    survey = _Survey(location.store.url, location.path, level)
    found: dict[str, Inspection] = {}
    if isinstance(node, StoredArray):
        found[""] = inspect_array(node, level, _journal_place(location, journal))
    else:
        survey = replace(survey, group=True, unfinished=tuple(unfinished_writes((), _journal_place(location, journal))))
        for path, documents in _documents(node):
            try:
                inspection = _inspect(location / path, documents, level, journal)
            except (MetadataError, UnsupportedError) as error:
                survey.unreadable[path] = str(error)
            else:
                found |= {} if inspection is None else {path: inspection}
    batches = [batch for path, inspection in found.items() for batch in inspection.batches(path)]
    for path, inspection in found.items():
        survey.arrays[path] = inspection.journal, inspection.listed, inspection.tally
    if compute and not batches:
        return _finish(survey, [])
    report = map_batches(check_objects, None, batches, 1, finish=partial(_finish, survey))
    # Only this process sees what is in its memory.
    options = {} if getattr(location.store, "shared", True) else {"scheduler": "threads"}
    return report.compute(**options) if compute else report


@dataclass(frozen=True, slots=True)
class _Survey:
    """What is known before tasks ran: of each array whether it has journals, whether it was listed, and the counts."""

    url: str
    node: str
    level: Level
    group: bool = False
    arrays: dict[str, tuple[bool, bool, Tally]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()


def _finish(survey: _Survey, results: list[list[tuple[str, Tally]]]) -> VerifyReport | GroupReport:
    """The report, from what is known beforehand and what the tasks found."""
    tallies = {path: Tally() for path in survey.arrays}
    known = ((path, tally) for path, (_, _, tally) in survey.arrays.items())
    for path, tally in itertools.chain(known, *results):
        tallies[path].add(tally)
    reports = {path: _report(survey, path, tally) for path, tally in tallies.items()}
    if not survey.group:
        return reports[""]
    return GroupReport(
        url=survey.url,
        node=survey.node,
        level=survey.level,
        reports=reports,
        unreadable=survey.unreadable,
        unfinished=survey.unfinished,
    )


def _report(survey: _Survey, path: str, tally: Tally) -> VerifyReport:
    """The report of one array."""
    journal, listed, _ = survey.arrays[path]
    return VerifyReport(
        url=survey.url,
        node="/".join(filter(None, (survey.node, path))),
        level=survey.level,
        journal=journal,
        listed=listed,
        stored=tally.stored,
        checked=tally.checked,
        nbytes=tally.nbytes,
        elided=tally.elided,
        absent=tally.absent,
        **{kind: tuple(sorted(tally.keys.get(kind, ()))) for kind in KINDS},
    )


def _open(location: Location, zarr_format: ZarrFormat | None) -> StoredArray | StoredGroup:
    """The node, with consolidated metadata only where nothing else says what is below it."""
    node = read_node(location, zarr_format)
    if isinstance(node, StoredArray) or can_list(location.store):
        return node
    return open_node(location, zarr_format, None)


def _inspect(location: Location, documents: Found, level: Level, journal: Any) -> Inspection | None:
    """A look at the node below a group that documents show; None if it is no array."""
    if isinstance(documents, DaskZarrError):
        raise documents
    node = node_of(location, documents)
    return inspect_array(node, level, _journal_place(location, journal)) if isinstance(node, StoredArray) else None


def _documents(group: StoredGroup) -> Iterator[tuple[str, Found]]:
    """Paths and documents of all nodes below a group, or what is wrong with them."""
    if group.consolidated is not None:
        return group.consolidated.below(group.location.path, deep=True)
    return iter(nodes_below(group.location, group.metadata.zarr_format, deep=True).items())


def _journal_place(location: Location, journal: Any) -> Location | None:
    """Where what was written of a node is noted."""
    if journal is not None:
        return notes_at(location, journal)
    place = notes_of(location)
    try:
        if place is not None:
            persist(list_dir, place)
    except PermissionError:
        return None  # who may read need not be allowed to list
    return place
