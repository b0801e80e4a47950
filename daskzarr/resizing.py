"""The verb resize: an array and another shape -> the same array with that shape, and nothing stored outside it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from operator import gt, lt
from typing import Any

from daskzarr.array_handle import ArrayHandle
from daskzarr.configured import traffic_to
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from
from daskzarr.graph.batches import map_batches
from daskzarr.graph.generation import note_write
from daskzarr.hierarchy import StoredArray, expect_array, open_array, read_node, writable
from daskzarr.hierarchy.documents import finish, get_document
from daskzarr.hierarchy.notes import notes_at
from daskzarr.hierarchy.publishing import note_above, publish_metadata, with_shape
from daskzarr.journal import Journal, begin, journal_for, journals_of, noted
from daskzarr.metadata import ArrayMetadata, ZarrFormat, v2, v3
from daskzarr.receipt import Receipt
from daskzarr.stores import ListableStore, Location, of_one_process
from daskzarr.trimming import Item, Outskirts, Trim, trim_objects

VERB = "resize"
REACH = "reach"
"""Entry of a journal's terms: up to which shape the write may store cells before the array has it."""

_MOST_IN_BATCH = 64
_LEAST_TASKS = 64


def resize(
    url: Any,
    component: str | None = None,
    *,
    shape: Sequence[int] | int,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    journal: Any = None,
    allow_pickle: bool = False,
) -> StoredArray:
    """Change the shape of a stored array. Any axis may grow or shrink, several at once.

    Growing writes documents and nothing else: new cells read as fill. Shrinking puts the new shape in place first, then
    deletes stored objects outside it, and puts fill in the place of cells outside in objects that its end cuts: growing
    again shows fill. What there is to clean is found by listing, so that chunks that are not there cost nothing.

    Parameters
    ----------
    url, component, storage_options
        The array, as for :func:`open_array`.
    shape
        The new shape, with as many axes as the old one.
    zarr_format
        2, 3 or ``"n5"``. Default None: v3 is looked for first, then v2, then N5. An array that is there in Zarr v2 and
        v3, as after :func:`convert` in place, gets the shape in both.
    journal
        Where it is noted that a shrunk array is still to be cleaned: None (default) for beside the store, where there
        is such a place; a path or URL; False for nowhere.
    allow_pickle
        Whether pickled objects may be loaded where the new end cuts chunks. Default False.

    Returns
    -------
    StoredArray
        With the new shape.

    Raises
    ------
    NodeNotFoundError
        If there is no array.
    MetadataError
        If the array cannot have the shape, or another program changed it meanwhile.
    UnknownCodecError, UnsupportedError
        If chunks are to be cut that cannot be decoded or written. Nothing is changed in these cases.
    CodecError, StoreError
        If a chunk to be cut is damaged, or the store fails. Then the array has the old shape or the new one and reads
        whole; the same call again, or any later ``resize`` or ``append``, goes on with cleaning.

    Notes
    -----
    What an unfinished shrink or append left outside the array is cleaned before anything else; with the shape that the
    array has, that is all that is done. Without a journal that call looks at everything stored, which takes a store
    that can be listed. Where chunks differ in length, a longer axis gets chunks of the last one's length. No other
    program may append to the array or resize it meanwhile. Where a program that does not clean cut chunks has shrunk
    the array before, growing shows what it left.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import from_zarr, to_zarr
    >>> to_zarr(da.arange(6, chunks=4) + 1, store := {})
    >>> resize(store, shape=(3,)).shape, resize(store, shape=(8,)).shape
    ((3,), (8,))
    >>> from_zarr(store).compute()
    array([1, 2, 3, 0, 0, 0, 0, 0])
    """
    array = open_array(url, component, storage_options=storage_options, zarr_format=zarr_format)
    location = array.location
    try:
        resized = replace(array, metadata=_metadata_with(array, shape))
        arrays = [array, *_twins(array)]
        reach = tuple(map(max, *(found.shape for found in arrays), array.shape))
        shrinks = any(map(lt, resized.shape, reach))
        if shrinks:
            _check_cut(resized, reach, allow_pickle)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    place = _place(journal, location)
    try:
        clean_up(array, _unfinished(location, place), place, allow_pickle=allow_pickle)
        note = _note_shrink(resized, reach, place) if shrinks else None
        if note is not None:
            _undo_appends(resized, note, place)
        for found in arrays:
            if found.shape != resized.shape:
                publish_metadata(found, with_shape(found.metadata, resized.shape))
            else:
                note_above(found)
        if shrinks:
            _trim(resized, reach, note, allow_pickle)
        elif place is None and resized.shape == array.shape:
            _trim(resized, None, None, allow_pickle)
        if note is not None:
            _close(resized, note, place)
    finally:
        note_write(location.store.url, location.path)
    return resized


def finish_pending_trim(location: Location, place: Location | None, *, allow_pickle: bool = False) -> bool:
    """Clean up after shrinks of an array that were killed.

    Parameters
    ----------
    location
        Of the array.
    place
        Where what is noted about the array goes; None for nowhere.
    allow_pickle
        Whether pickled objects may be loaded.

    Returns
    -------
    bool
        Whether there were any.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> from daskzarr.hierarchy.notes import notes_of
    >>> array = create_array({}, shape=(4,), chunks=(2,), dtype="i1")
    >>> finish_pending_trim(array.location, notes_of(array.location))
    False
    """
    pending = [note for note in _unfinished(location, place) if note.terms().get("verb") == VERB]
    if not pending:
        return False
    clean_up(expect_array(read_node(location, None)), pending, place, allow_pickle=allow_pickle)
    return True


def clean_up(
    array: StoredArray, pending: Sequence[Journal], place: Location | None, *, allow_pickle: bool = False
) -> None:
    """Remove what unfinished writes left outside an array, which is not touched inside. They are over then.

    Parameters
    ----------
    array
        As it is by now.
    pending
        Journals of the writes. Their terms say, under :data:`REACH`, up to which shape they may have stored cells.
    place
        Where what is noted about the array goes.
    allow_pickle
        Whether pickled objects may be loaded.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> array = create_array(store := {}, shape=(2,), chunks=(2,), dtype="i1")
    >>> from daskzarr.stores import locate
    >>> notes = locate({})
    >>> journal = journal_for(array.location, notes, "append")
    >>> store["c/1"] = b"an append stored this"
    >>> clean_up(array, [journal] if begin(journal, {REACH: [4]}) else [], notes)
    >>> list(store), journal.begun
    (['zarr.json'], False)
    """
    for note in pending:
        terms = note.terms()
        reach = _reach(terms.get(REACH), array)
        if terms.get("verb") == VERB:
            _trim(array, reach, note, allow_pickle)
            _close(array, note, place)
        else:
            _trim(array, reach, None, allow_pickle)
            note.discard()
    if pending:
        note_write(array.location.store.url, array.location.path)


def _metadata_with(array: StoredArray, shape: Any) -> ArrayMetadata:
    """The metadata the array is to have, if it can have them."""
    writable(array.location)
    lengths: Any = (shape,) if isinstance(shape, Integral) else shape
    return with_shape(array.metadata, lengths)


def _twins(array: StoredArray) -> list[StoredArray]:
    """The same array in the other format of Zarr, if it is there in both: its chunks are the same objects."""
    location = array.location
    names: dict[ZarrFormat, tuple[ZarrFormat, str]] = {3: (2, v2.ARRAY_DOCUMENT), 2: (3, v3.DOCUMENT)}
    if array.metadata.zarr_format not in names:
        return []
    other, name = names[array.metadata.zarr_format]
    document = get_document(location, name)
    if document is None or document.get("node_type", "array") != "array":
        return []
    twin = expect_array(read_node(location, other))
    if twin.ndim != array.ndim:
        raise UnsupportedError(f"there is another array of Zarr v{other} here, with the shape {twin.shape}; delete one")
    return [twin]


def _check_cut(array: StoredArray, before: tuple[int, ...], allow_pickle: bool) -> None:
    """Make sure that chunks can be cut, if any have to be."""
    handle = ArrayHandle.of(array, allow_pickle=allow_pickle)
    cut = Outskirts(handle, tuple(map(lt, array.shape, before))).cut
    if any(number is not None for number in cut):
        handle.pipeline.check_can_write()


def _place(journal: Any, location: Location) -> Location | None:
    """Where notes about the array go."""
    return notes_at(location, journal)


def _note_shrink(array: StoredArray, reach: tuple[int, ...], place: Location | None) -> Journal | None:
    """Note that an array is about to be smaller, and up to where it will have to be cleaned then."""
    if place is None:
        return None
    note = journal_for(array.location, place, f"{VERB}-{uuid.uuid4().hex}")
    begin(note, {"verb": VERB, "shape": list(array.shape), REACH: list(reach)})
    return note


def _unfinished(location: Location, place: Location | None) -> list[Journal]:
    """Journals of writes that were not finished and may have stored cells outside the array."""
    return [note for note in journals_of(location, place) if not note.finished and REACH in note.terms()]


def _reach(noted_reach: Any, array: StoredArray) -> tuple[int, ...] | None:
    """The shape up to which a write may have stored cells; None if it is not one for this array."""
    try:
        return tuple(map(max, with_shape(array.metadata, noted_reach).shape, array.shape))
    except MetadataError:
        return None


def _trim(array: StoredArray, reach: tuple[int, ...] | None, note: Journal | None, allow_pickle: bool) -> None:
    """Clean all that is stored outside an array; up to ``reach`` there can be cells, or anywhere for None."""
    handle = ArrayHandle.of(array, allow_pickle=allow_pickle, traffic=traffic_to(array.location.store))
    listable = isinstance(handle.store, ListableStore)
    shorter = (listable,) * array.ndim if reach is None else tuple(map(lt, array.shape, reach))
    if not any(shorter):
        return
    outskirts = Outskirts(handle, shorter)
    if listable:
        items: list[Item] = list(outskirts.stored())
    else:
        items = list(outskirts.possible(with_shape(array.metadata, reach or ()).chunk_grid.counts))
    if not items:
        return
    batch = min(max(len(items) // _LEAST_TASKS, 1), _MOST_IN_BATCH) if listable else 1
    # Only this process sees what is in its memory.
    options = {"scheduler": "threads"} if of_one_process(handle.writer) else {}
    map_batches(trim_objects, Trim(handle, note), items, batch).compute(**options)
    finish(handle.store)


def _undo_appends(array: StoredArray, note: Journal, place: Location | None) -> None:
    """Appends of cells that are cut off are not done any more; what is noted of the rest stays noted."""
    for other in journals_of(array.location, place):
        terms = other.terms()
        if terms.get("verb") != "append" or not any(map(gt, terms.get(REACH, ()), array.shape)):
            continue
        receipts = other.receipts().values()
        inside = [r for r in receipts if not _is_outside(array, r.key)]
        if inside:
            note.note(inside)
        other.discard()


def _is_outside(array: StoredArray, key: str) -> bool:
    """Whether an object has no cell of an array."""
    grid = array.metadata.chunk_grid
    counts = grid.counts if grid.chunk_count else (0,) * array.ndim
    return any(map(int.__ge__, array.metadata.chunk_key_encoding.decode(key) or (), counts))


def _close(array: StoredArray, note: Journal, place: Location | None) -> None:
    """Note that an array is clean, and which of the objects that were noted before are gone."""
    encoding, grid = array.metadata.chunk_key_encoding, array.metadata.chunk_grid
    counts = grid.counts if grid.chunk_count else (0,) * array.ndim
    gone = [
        Receipt(receipt.key, 0, None, 0.0)
        for receipt in noted(journals_of(array.location, place)).values()
        if receipt.digest is not None and any(map(int.__ge__, encoding.decode(receipt.key) or (), counts))
    ]
    note.note(gone)
    if note.receipts():
        note.finish({"objects": len(note.receipts())})
    else:
        note.discard()
