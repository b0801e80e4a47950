"""The verb append: a dask array -> more cells at the end of a stored one, seen once all are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da

from daskzarr.begin import begin_all
from daskzarr.errors import AppendError, DaskZarrError, MetadataError, NodeExistsError, ResumeError, raise_from, short
from daskzarr.graph.write import Write
from daskzarr.hierarchy import StoredArray, open_array
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.publishing import with_shape
from daskzarr.hierarchy.staging import recover
from daskzarr.journal import differences, journal_for
from daskzarr.metadata import ZarrFormat
from daskzarr.ownership import Align
from daskzarr.prepare import (
    Prepared,
    WriteOptions,
    divide,
    home_of,
    resume_from,
    terms_of,
)
from daskzarr.regions import check_array, check_cast, check_store, place_blocks, reads_from
from daskzarr.resizing import REACH, clean_up, finish_pending_trim
from daskzarr.stores import Location, durable, locate


def append(
    arr: da.Array,
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    axis: int = 0,
    at: int | None = None,
    compute: bool = True,
    overwrite: bool = False,
    zarr_format: ZarrFormat | None = None,
    write_empty_chunks: bool = False,
    align: Align = "merge",
    resume: bool | Literal["auto"] = "auto",
    journal: Any = None,
    token: str | None = None,
    durability: Literal["close", "fsync"] = "close",
    failures: Literal["raise", "collect"] = "raise",
    max_files: int | None = None,
    max_mem: int | str | None = None,
) -> Write | None:
    """Put more cells at the end of a stored array. Until all of them are there, readers see the old array, whole.

    The chunks are written first, then the array's shape, then consolidated metadata of groups above it. A chunk that
    the old array ends in is read and written again with the new cells: its old ones stay as they are all the while.

    Parameters
    ----------
    arr
        The cells; along all other axes it has the lengths of the stored array.
    url, component, storage_options
        The array, as for :func:`open_array`.
    axis
        The axis that grows. Default 0.
    at
        How long that axis is before. With it the same call may be made again and again: the array is grown once, and
        a call that was killed is completed. An array of any other length is an error. Default None: whatever it is
        now, so that each call that is completed appends.
    compute
        Whether to write now. Default True.
    overwrite
        Whether an unfinished append of something else at the same place is given up. Default False: it is an error.
    resume
        Whether to go on where the same call was killed. Default ``"auto"``: if there is something to go on with.
    zarr_format, write_empty_chunks, align, journal, token, durability, failures, max_files, max_mem
        As for :func:`to_zarr`.

    Returns
    -------
    None or a delayed value
        As for :func:`to_zarr`.

    Raises
    ------
    AppendError
        If the array has another length than ``at``, or an unfinished append of something else.
    MetadataError
        If the shapes do not fit, or cells of this dtype cannot go there.
    NodeNotFoundError
        If there is no array.

    Notes
    -----
    Two jobs that append to one array at the same time are told apart by ``at`` where a journal is kept: one of them is
    refused. Appending to one array from two jobs at different places at once is not possible.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import from_zarr, to_zarr
    >>> to_zarr(da.arange(5, chunks=2), store := {}, chunks=2)
    >>> append(da.arange(5, 8, chunks=2), store, at=5)
    >>> append(da.arange(5, 8, chunks=2), store, at=5)
    >>> from_zarr(store).compute()
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    options = WriteOptions.among(locals())
    check_array(arr)
    location = locate(url, component, storage_options)
    growth = Growth(axis, at, overwrite, zarr_format)
    try:
        prepared = prepare_append(arr, location, growth, options)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    write = begin_all([] if prepared is None else [prepared])
    if not compute:
        return write
    if prepared is not None:
        write.compute()
    return None


@dataclass(frozen=True, slots=True)
class Growth:
    """Where an append goes, as :func:`append` is told.

    ``start`` is where it begins along the other axes; with it, it may have fewer cells there than the array.
    """

    axis: int = 0
    at: int | None = None
    overwrite: bool = False
    zarr_format: ZarrFormat | None = None
    start: tuple[int, ...] | None = None


def prepare_append(arr: da.Array, location: Location, growth: Growth, options: WriteOptions) -> Prepared | None:
    """The write of cells beyond the end of an array; None if it is done already."""
    check_store(arr, location)
    place = Location(durable(location.store, options.durability), location.path)
    home = home_of(place, options)
    recover(place, notes_of(place))
    finish_pending_trim(place, home)
    target = open_array(place, zarr_format=growth.zarr_format)
    axis = _checked_axis(growth.axis, target, arr, growth.start)
    check_cast(arr, target.dtype, place)
    length, more = target.shape[axis], arr.shape[axis]
    first = length if growth.at is None else _position(growth.at)
    old = StoredArray(place, with_shape(target.metadata, _with(target.shape, axis, first)))
    metadata = with_shape(old.metadata, _with(target.shape, axis, first + more))
    start = _with(growth.start or (0,) * target.ndim, axis, first)
    parts = (divide(arr, place_blocks(arr, start), metadata.chunk_grid, options),)
    if reads_from(arr, place, parts[0][1].blocks.region):
        raise NodeExistsError("the array to be appended is read from the very cells it would go to; write it elsewhere")
    terms = {**terms_of("append", metadata, parts, options), REACH: list(metadata.shape)}
    journal = None if home is None else journal_for(place, home, f"append-{axis}-{first}")
    begun = journal if journal is not None and journal.begun else None
    if growth.at is None and begun is not None and begun.finished:
        begun = None  # the array was made shorter since
    different = () if begun is None else differences(terms, begun.terms())
    if length == first + more and more:
        if different:
            raise AppendError(
                f"the array has {length} cells along this axis, and those after {first} are of another append: "
                f"{', '.join(different)} differ",
                axis=axis,
            )
        if begun is None and journal is not None:
            raise AppendError(
                f"the array has {length} cells along this axis, and nothing is noted of an append at {first}: what is "
                "there may be other cells",
                axis=axis,
            )
        if begun is None or begun.finished:
            return None
    elif length != first:
        wanted = f", nor the {first + more} it would have after it" if more else ""
        raise AppendError(
            f"the array has {length} cells along this axis, not the {first} it is to have before this append{wanted}: "
            "something else was appended, or it was resized",
            axis=axis,
        )
    elif begun is not None and begun.finished:
        begun = None  # the array was made shorter since
    elif begun is not None and different:
        if not growth.overwrite:
            raise AppendError(
                f"an append of something else at {first} is unfinished: {', '.join(different)} differ; complete it by "
                'the call that began it (resume="auto"), or give it up: overwrite=True, or, of a dataset, '
                "overwrite_unfinished=True",
                axis=axis,
            )
        clean_up(target, [begun], home)
        begun = None
    if begun is None and options.resume is True:
        raise ResumeError("there is no append to take up again here", axis=axis)
    prepared = Prepared(place, metadata, parts, options, old=old, journal=journal, terms=terms, exclusive=begun is None)
    return (prepared if begun is None or not options.resume else resume_from(prepared, begun, place)).checked()


def _with(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    """A shape with another length along one axis."""
    return (*shape[:axis], length, *shape[axis + 1 :])


def _checked_axis(axis: int, target: StoredArray, arr: da.Array, start: tuple[int, ...] | None) -> int:
    """The axis, counted from the front, if an array can be appended along it."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -target.ndim <= axis < target.ndim:
        raise MetadataError(f"axis is {short(axis)}, and the array has {target.ndim} axes", field="axis")
    axis = int(axis) % target.ndim
    wanted, given = _with(target.shape, axis, 0), _with(arr.shape, axis, 0)
    inside = start is not None and all(
        a + n <= m for a, n, m in zip(_with(start, axis, 0), given, wanted, strict=False)
    )
    if arr.ndim != target.ndim or not (inside or given == wanted):
        raise MetadataError(
            f"an array of shape {arr.shape} cannot be appended along axis {axis} to one of shape {target.shape}",
            axis=axis,
            field="shape",
        )
    return axis


def _position(at: Any) -> int:
    """A length an axis can have."""
    if isinstance(at, bool) or not isinstance(at, int) or at < 0:
        raise MetadataError(f"at is {short(at)}; it has to be the length of the axis before", field="at")
    return int(at)
