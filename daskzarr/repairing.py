"""The verb repair: a stored array that was damaged, and where its cells came from -> the same array, whole again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import dask.array as da

from daskzarr.errors import MetadataError, raise_from
from daskzarr.hierarchy import open_array
from daskzarr.hierarchy.documents import finish, store_error, writable
from daskzarr.hierarchy.notes import notes_at
from daskzarr.journal import journals_of
from daskzarr.metadata import ZarrFormat
from daskzarr.resizing import REACH
from daskzarr.stores import Location, locate
from daskzarr.stores.retries import persist
from daskzarr.verification import VerifyReport, verify
from daskzarr.verification.report import Level
from daskzarr.write import to_zarr


def repair(
    arr: da.Array,
    url: Any,
    component: str | None = None,
    *,
    report: VerifyReport | None = None,
    level: Level = "digest",
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    remove_leftovers: bool = True,
    journal: Any = None,
    write_empty_chunks: bool = False,
    durability: Literal["close", "fsync"] = "close",
) -> VerifyReport:
    """Write again just those objects of an array that were found lost or damaged, and look again.

    Parameters
    ----------
    arr
        All cells of the array. Only what the bad objects need of it is computed.
    url, component, storage_options, zarr_format
        The array, as for :func:`open_array`.
    report
        What :func:`verify` found. Default None: it is run first.
    level
        How far to look, as for :func:`verify`, before and after. Default ``"digest"``: the bytes themselves.
    remove_leftovers
        Whether unfinished files of killed writers are deleted. Default True; no other write may be running then.
    journal, write_empty_chunks, durability
        As for :func:`to_zarr`.

    Returns
    -------
    VerifyReport
        What is found after the repair.

    Raises
    ------
    MetadataError
        If the report is one of another array, or the shapes differ. Nothing is written then.

    Notes
    -----
    Bad objects are not read. Writes to places of the array that did not end are ended by it; an overwriting or an
    append that did not end is not: make the call that began it again, with ``resume=True``.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import to_zarr
    >>> to_zarr(x := da.arange(6, chunks=2) + 1, store := {}, compressors=None)
    >>> store["c/1"] = store["c/1"][:5]
    >>> repair(x, store).ok
    True
    """
    location = locate(url, component, storage_options)
    target = open_array(location, zarr_format=zarr_format)
    place: dict[str, Any] = {"storage_options": storage_options, "zarr_format": zarr_format}
    look = {**place, "level": level, "journal": journal}
    if report is None:
        report = verify(url, component, **look)
    if not isinstance(report, VerifyReport) or (report.url, report.node) != (location.store.url, location.path):
        raise MetadataError("the report is not one of this array", url=location.store.url, node=location.path)
    if arr.shape != target.shape:
        raise MetadataError(
            f"the array has shape {arr.shape}, and what is to be repaired {target.shape}; all cells are needed",
            url=location.store.url,
            node=location.path,
            field="shape",
        )
    if remove_leftovers:
        for key in report.leftover:
            _delete(location, key)
    if report.bad:
        to_zarr(
            arr,
            url,
            component,
            mode="r+",
            only=report.bad,
            journal=journal,
            write_empty_chunks=write_empty_chunks,
            durability=durability,
            **place,
        )
    found: VerifyReport = verify(url, component, **look)
    if found.unfinished and not found.bad and level in ("digest", "decode"):
        _end_writes(location, notes_at(location, journal))
        found = verify(url, component, **look)
    return found


def _end_writes(location: Location, home: Location | None) -> None:
    """Writes that did not end have nothing left to do, once all they were to write is there; those that grow have."""
    for unfinished in journals_of(location, home):
        if not unfinished.finished and not unfinished.overwrites and REACH not in unfinished.terms():
            unfinished.finish({"repaired": True})


def _delete(location: Location, key: str) -> None:
    """Remove an object of the array."""
    try:
        persist(writable(location).delete, location.key(key))
        finish(location.store)
    except Exception as error:
        raise_from(store_error("deleting what was left over", error, location, key), error)
