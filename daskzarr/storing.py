"""The verb store: many dask arrays and the stored ones they go to -> all of them, by one plan and one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dask.array as da

from daskzarr.appending import Growth, prepare_append
from daskzarr.begin import begin_all
from daskzarr.errors import DaskZarrError, MetadataError, raise_from
from daskzarr.graph.write import Write
from daskzarr.hierarchy import open_array
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.staging import recover
from daskzarr.ownership import Align
from daskzarr.prepare import Prepared, WriteOptions, prepare_regions
from daskzarr.regions import check_array, check_store
from daskzarr.stores import Location, durable, locate


def store(
    sources: da.Array | Sequence[da.Array],
    targets: Any,
    *,
    regions: Any = None,
    append: Any = None,
    at: Any = None,
    compute: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    write_empty_chunks: bool = False,
    align: Align = "merge",
    resume: bool | Literal["auto"] = "auto",
    journal: Literal[False] | None = None,
    token: str | None = None,
    durability: Literal["close", "fsync"] = "close",
    failures: Literal["raise", "collect"] = "raise",
    max_files: int | None = None,
    max_mem: int | str | None = None,
) -> Write | None:
    """Write several arrays to stored ones that exist, or to regions of them, or at their ends, by one graph.

    Steps that several sources share run once. Sources that go to one stored array are one plan: an object that two of
    their regions have cells in is written once. Appended arrays get their new shapes when all cells of all of them are
    there, one right after the other.

    Parameters
    ----------
    sources
        Dask arrays, or one.
    targets
        For each the array it goes to: an opened array, a place, or a pair of place and component.
    regions
        For each the region it goes to, as in :func:`to_zarr`, or None for all of it. Default: all.
    append
        For each the axis it is appended along, or None if it is not; or one axis for all. Default None.
    at
        For each the length of that axis before, as in :func:`append`; or one for all. Default None.
    overwrite
        Whether unfinished appends of something else are given up. Default False.
    resume
        Whether to go on where the same call was killed. Default ``"auto"``: if there is something to go on with.
    compute, storage_options, write_empty_chunks, align, journal, token, durability, failures, max_files, max_mem
        As for :func:`to_zarr`; a limit holds for each stored array. Journals are beside each store, or nowhere.

    Returns
    -------
    None or a delayed value
        As for :func:`to_zarr`.

    Raises
    ------
    MetadataError
        If the numbers of sources, targets, regions, axes or lengths differ, regions overlap, or something does not fit.
    AppendError, AlignmentError, NodeNotFoundError, ResumeError
        As for :func:`append` and :func:`to_zarr`. Nothing is written then.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import create_array, from_zarr
    >>> array = create_array({}, shape=(7,), chunks=(4,), dtype=int)
    >>> x = da.arange(7, chunks=3)
    >>> store([x[:3], x[3:]], [array, array], regions=[slice(0, 3), slice(3, 7)])
    >>> from_zarr(array).compute()
    array([0, 1, 2, 3, 4, 5, 6])
    """
    options = WriteOptions.among(locals())
    arrays = [sources] if isinstance(sources, da.Array) else list(sources)
    places = [targets] if isinstance(sources, da.Array) else list(targets)
    count = len(arrays)
    for arr in arrays:
        check_array(arr)
    locations = [_locate(place, storage_options) for place in _as_many(places, count, "targets")]
    axes, lengths = _each(append, count, "append"), _each(at, count, "at")
    wanted = [None] * count if regions is None else [regions] if isinstance(sources, da.Array) else list(regions)
    prepared = []
    by_place: dict[Location, list[tuple[da.Array, Any]]] = {}
    for arr, location, region, axis, length in zip(
        arrays, locations, _as_many(wanted, count, "regions"), axes, lengths, strict=True
    ):
        if axis is None:
            if length is not None:
                raise MetadataError("at= says where to append; pass append= too", field="at")
            by_place.setdefault(location, []).append((arr, region))
            continue
        if region is not None or locations.count(location) > 1:
            raise MetadataError("an array that is appended to can have no region, nor another source", field="append")
        prepared.append(_located(location, prepare_append, arr, location, Growth(axis, length, overwrite), options))
    for location, pairs in by_place.items():
        prepared.append(_located(location, _prepare_regions, location, pairs, options))
    write = begin_all([each for each in prepared if each is not None])
    if not compute:
        return write
    write.compute()
    return None


def _prepare_regions(location: Location, pairs: Sequence[tuple[da.Array, Any]], options: WriteOptions) -> Prepared:
    """The write of all that goes to regions of one stored array."""
    for arr, _ in pairs:
        check_store(arr, location)
    place = Location(durable(location.store, options.durability), location.path)
    recover(place, notes_of(place))
    return prepare_regions(open_array(place), pairs, options, verb="store").checked()


def _located(location: Location, prepare: Any, *args: Any) -> Prepared | None:
    """What is prepared; an error says where."""
    try:
        found: Prepared | None = prepare(*args)
        return found
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)


def _locate(place: Any, storage_options: Mapping[str, Any] | None) -> Location:
    """Where a target is."""
    url, component = place if isinstance(place, tuple) else (place, None)
    return locate(url, component, storage_options)


def _each(value: Any, count: int, field: str) -> list[Any]:
    """One value for each source, given one for all or a list."""
    return _as_many(list(value), count, field) if isinstance(value, (list, tuple)) else [value] * count


def _as_many(values: list[Any], count: int, field: str) -> list[Any]:
    """The values, if there are as many as sources."""
    if len(values) != count:
        raise MetadataError(f"there are {count} sources and {len(values)} {field}", field=field)
    return values
