"""A dask array and the settings of a new one -> the write of it, checked, or found again where it was begun before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dask.array as da

from daskzarr.block_grid import RegularCuts, cuts
from daskzarr.errors import MetadataError, NodeExistsError, ResumeError, UnsupportedError
from daskzarr.hierarchy import StoredArray
from daskzarr.hierarchy.documents import find_documents
from daskzarr.hierarchy.node import node_of
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.placing import look_around
from daskzarr.hierarchy.staging import goes_last, stage
from daskzarr.journal import OVERWRITE, Journal, differences, journal_for
from daskzarr.metadata import ArrayMetadata, ZarrFormat
from daskzarr.prepare import (
    NEW,
    WHOLE,
    Prepared,
    Resumed,
    WriteOptions,
    divide,
    home_of,
    resume_from,
    take_up,
    terms_of,
)
from daskzarr.regions import check_cast, place_blocks, reads_from
from daskzarr.settings import ArraySettings, new_array_metadata
from daskzarr.stores import Location


def prepare_new(
    arr: da.Array,
    place: Location,
    zarr_format: ZarrFormat,
    settings: ArraySettings,
    options: WriteOptions,
    given: Mapping[str, Any],
    overwrite: bool,
) -> Prepared:
    """The write of a new array."""
    if given["region"] is not None:
        raise MetadataError(
            "Cannot use region= for a new array: it says where in one that exists; pass mode='r+' or an open array",
            field="region",
        )
    if options.only is not None:
        raise MetadataError("only= names objects of an array that exists; pass mode='r+'", field="only")
    if settings.chunks is None:
        settings = replace(settings, chunks=_chunks_of(arr, settings, zarr_format))
    dtype = arr.dtype if given["dtype"] is None else given["dtype"]
    metadata = new_array_metadata(settings, shape=arr.shape, dtype=dtype, zarr_format=zarr_format)
    if given["dtype"] is not None:
        check_cast(arr, metadata.data_type.dtype, place)
    return prepare_metadata(arr, place, metadata, options, overwrite, given["compute"], given["return_stored"])


def prepare_metadata(
    arr: da.Array,
    place: Location,
    metadata: ArrayMetadata,
    options: WriteOptions,
    overwrite: bool,
    compute: bool = True,
    return_stored: bool = False,
) -> Prepared:
    """The write of a new array whose metadata are made."""
    home = home_of(place, options)
    prepared = replace(prepare_fresh(arr, place, metadata, options, home), overwrite=overwrite, fresh=False)
    if options.resume:
        found = _resumed(prepared, home)
        if found is not None:
            return found
    try:
        look_around(place, metadata.zarr_format, overwrite=overwrite)
    except NodeExistsError as error:
        journal = prepared.journal
        if journal is not None and not options.resume and journal.begun and not journal.finished:
            error.message += "; it is from a write that did not end: the same call with resume=True goes on with it"
        raise
    if not overwrite:
        return prepared
    own_source = reads_from(arr, place)
    if goes_last(place, reads_itself=own_source, compute=compute):
        if own_source and not compute and return_stored:
            raise UnsupportedError(
                "the array to be written is read from the very place it would go to; write it with compute=True"
            )
        staged = stage(place, notes_of(place), OVERWRITE)
        journal = None if home is None else journal_for(place, home, OVERWRITE)
        return replace(prepared, staged=staged, journal=journal)
    return prepared


def prepare_fresh(
    arr: da.Array, place: Location, metadata: ArrayMetadata, options: WriteOptions, home: Location | None
) -> Prepared:
    """The write of a new array in a group that the same call makes; ``home`` is where what is noted of it goes."""
    parts = (divide(arr, place_blocks(arr, (0,) * arr.ndim), metadata.chunk_grid, options),)
    prepared = Prepared(place, metadata, parts, options, fresh=True)
    if home is None:
        return prepared
    return replace(prepared, journal=journal_for(place, home, WHOLE), terms=terms_of(NEW, metadata, parts, options))


def _resumed(prepared: Prepared, home: Location | None) -> Prepared | None:
    """The write of a new array that was begun before; None if it is to be begun."""
    place, options = prepared.place, prepared.options
    if home is None:
        take_up([], prepared.terms, options)
        return None
    overwriting, whole = (journal_for(place, home, name) for name in (OVERWRITE, WHOLE))
    if prepared.overwrite and overwriting.begun and not overwriting.finished:
        found = _resumed_overwriting(prepared, overwriting)
        if found is not None:
            return found
    journal = take_up([overwriting, whole] if prepared.overwrite else [whole], prepared.terms, options)
    if journal is None or (journal.finished and prepared.overwrite and options.resume == "auto"):
        return None
    if not _is_same(prepared, place):
        return None
    found = resume_from(prepared, journal, place)
    if journal.finished and found.plan.objects:
        raise ResumeError(
            f"the write came to its end, and {found.plan.objects} of its objects were lost or changed since: look at "
            "them with verify(), and mend them with repair()"
        )
    return found


def _resumed_overwriting(prepared: Prepared, journal: Journal) -> Prepared | None:
    """The write of a node in another one's place: staged, or in its place already, and not ended; None if neither."""
    place = prepared.place
    staged = stage(place, notes_of(place), OVERWRITE)
    if _is_same(prepared, staged.staged):
        take_up([journal], prepared.terms, prepared.options)
        return replace(resume_from(prepared, journal, staged.staged), staged=staged)
    if not _is_same(prepared, place):
        return None
    # It was in its place, and only killed before it could say so. An array computed from what it replaced reads its own
    # result by now: it would be wrong to write that.
    itself = reads_from(prepared.parts[0][0], place)
    if differences(prepared.terms, journal.terms()) != (("source",) if itself else ()):
        take_up([journal], prepared.terms, prepared.options)
    return replace(prepared, journal=journal, resumed=Resumed(place, journal.receipts(), complete=True))


def _is_same(prepared: Prepared, place: Location) -> bool:
    """Whether the node at a place has the metadata that a write gives it."""
    documents = find_documents(place)
    if documents is None:
        return False
    node = node_of(place, documents)
    return isinstance(node, StoredArray) and node.metadata.compact() == prepared.metadata.compact()


def _chunks_of(arr: da.Array, settings: ArraySettings, zarr_format: ZarrFormat) -> Any:
    """Dask's blocks as stored chunks. Blocks of different lengths need a grid that only v3 has."""
    longest = tuple(max(int(max(lengths)), 1) for lengths in arr.chunks)
    if zarr_format != 3 or settings.shards is not None:
        return longest
    axes = (cuts(0, lengths) for lengths in arr.chunks)
    return tuple(
        length if isinstance(axis, RegularCuts) or length == sum(lengths) else tuple(map(int, lengths))
        for length, axis, lengths in zip(longest, axes, arr.chunks, strict=True)
    )
