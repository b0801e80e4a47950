"""An array and its new metadata -> the array's documents in the store, and the copies of them in groups above."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import index
from typing import Any

from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import DaskZarrError, MetadataError, raise_from, short
from daskzarr.hierarchy.documents import find_documents, set_document, store_error, writable
from daskzarr.hierarchy.node import StoredArray, StoredGroup
from daskzarr.hierarchy.opening import expect_array, not_found
from daskzarr.hierarchy.registers import amend, changing, registers_above
from daskzarr.metadata import ArrayMetadata, ChunkGrid, GroupMetadata, ZarrFormat, n5, v2, v3
from daskzarr.metadata.consolidated import format_stored
from daskzarr.metadata.documents import Document, read_metadata, write_metadata
from daskzarr.metadata.json_text import parse_object
from daskzarr.rectilinear_grid import Edges, RectilinearGrid, Runs
from daskzarr.stores import Location
from daskzarr.stores.retries import persist

_NAMES: Mapping[ZarrFormat, tuple[str, ...]] = {
    3: (v3.DOCUMENT,),
    2: (v2.ARRAY_DOCUMENT, v2.ATTRIBUTES_DOCUMENT),
    "n5": (n5.ATTRIBUTES_DOCUMENT,),
}
_LONGEST = 2**63 - 1
_Texts = Mapping[str, bytes]


def with_shape(metadata: ArrayMetadata, shape: Sequence[int]) -> ArrayMetadata:
    """The metadata of the same array with another shape; any axis may be longer or shorter.

    Where chunks differ in length, the edges there are stay, those beyond a shorter array too, and cells beyond the last
    edge are cut in chunks of the last one's length.

    Parameters
    ----------
    metadata
        Of the array, in any format.
    shape
        Length of each axis.

    Returns
    -------
    ArrayMetadata

    Raises
    ------
    MetadataError
        If the shape has another number of axes, or a length that is no integer of at least 0.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> array = create_array({}, shape=(4, 6), chunks=((1, 3), 2), dtype="i1")
    >>> longer = with_shape(array.metadata, (9, 6))
    >>> longer.shape, longer.chunk_grid.axes[0].lengths
    ((9, 6), (1, 3, 3, 2))
    """
    lengths = _lengths(shape, len(metadata.shape))
    return replace(metadata, shape=lengths, chunk_grid=_grid_with(metadata.chunk_grid, lengths))


def publish_metadata(array: StoredArray, metadata: ArrayMetadata) -> StoredArray:
    """Put other metadata in the place of an array's; readers find the old or the new.

    Members of documents that say the same in both stay as they are stored, byte for byte, and so do those that daskzarr
    does not know. Copies in the consolidated metadata of groups above are changed too.

    Parameters
    ----------
    array
        As it was opened: if it has another shape, data type, grid or codecs by now, nothing is written.
    metadata
        What it is to have, in the same format.

    Returns
    -------
    StoredArray
        With the new metadata.

    Raises
    ------
    MetadataError
        If another program has changed the array meanwhile.
    NodeNotFoundError
        If it is not there any more.
    StoreError
        If the store fails.

    Examples
    --------
    >>> from daskzarr import create_array, open_array
    >>> array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1")
    >>> _ = publish_metadata(array, with_shape(array.metadata, (7,)))
    >>> open_array(store).shape
    (7,)
    """
    location, number = array.location, array.metadata.zarr_format
    writable(location)
    with changing:
        texts = _read_texts(location, number)
        try:
            stored = {name: parse_object(text, name) for name, text in texts.items()}
            if _NAMES[number][0] not in stored:
                raise not_found(location, number)
            _check_unchanged(array, read_metadata(stored))
            changed = _change(stored, array.metadata, metadata, top=not location.path)
            new_texts = {name: _format(texts.get(name), stored.get(name, {}), changed[name]) for name in changed}
            _check_reads_as(metadata, read_metadata({**stored, **changed}))
        except DaskZarrError as error:
            raise_from(error.locate(url=location.store.url, node=location.path), error)
        registers = registers_above(location, {number})
        for name, text in new_texts.items():
            set_document(location, name, text)
        amend(registers, location, {**stored, **changed})
    return StoredArray(location, metadata)


def note_above(array: StoredArray) -> None:
    """Note an array's documents in the consolidated metadata above it: a kill may have come before that."""
    location, number = array.location, array.metadata.zarr_format
    with changing:
        registers = registers_above(location, {number})
        documents = find_documents(location, (number,)) if registers else None
        if documents is not None:
            amend(registers, location, documents)


def _lengths(shape: Any, ndim: int) -> tuple[int, ...]:
    """A shape as whole numbers, one for each axis."""
    try:
        given = tuple(shape)
        found = tuple(map(index, given))
    except TypeError:
        raise MetadataError(f"{short(shape)} is no shape: it has to be integers, one an axis", field="shape") from None
    if len(found) != ndim:
        raise MetadataError(f"the shape {short(given)} has {len(found)} axes and the array {ndim}", field="shape")
    for axis, length in enumerate(found):
        if isinstance(given[axis], bool) or not 0 <= length <= _LONGEST:
            raise MetadataError(
                f"{short(given[axis])} is no length of an axis; whole numbers from 0 to 2^63 - 1 are",
                field="shape",
                axis=axis,
            )
    return found


def _grid_with(grid: ChunkGrid, shape: tuple[int, ...]) -> ChunkGrid:
    """The grid of the same array with another shape."""
    if isinstance(grid, RegularGrid):
        return RegularGrid(shape, grid.chunk_shape)
    pairs = enumerate(zip(shape, grid.chunk_shapes, strict=True))
    return RectilinearGrid(
        shape, tuple(given if isinstance(given, int) else _longer(given, size, axis) for axis, (size, given) in pairs)
    )


def _longer(runs: Runs, size: int, axis: int) -> Runs:
    """Runs of chunks that cover so many cells: the last length again, as often as it takes."""
    missing = size - Edges(size, runs).total
    if missing <= 0:
        return runs
    if not runs:
        raise MetadataError("the axis has no chunk whose length others could have", field="chunk_grid", axis=axis)
    length, count = runs[-1]
    return (*runs[:-1], (length, count - -missing // length))


def _read_texts(location: Location, zarr_format: ZarrFormat) -> dict[str, bytes]:
    """An array's documents as they are stored."""
    found = {}
    for name in _NAMES[zarr_format]:
        try:
            text = persist(location.store.get, location.key(name))
        except Exception as error:
            raise_from(store_error("reading " + name, error, location, name), error)
        if text is not None:
            found[name] = bytes(text)
    return found


def _check_unchanged(array: StoredArray, found: ArrayMetadata | GroupMetadata) -> None:
    """Refuse to change an array that is not what the caller knows."""
    known = array.metadata
    if isinstance(found, GroupMetadata):
        expect_array(StoredGroup(array.location, found))
    elif found.shape != known.shape:
        raise MetadataError(
            f"the array has the shape {found.shape} by now, and had {known.shape} when it was opened: another program "
            "has changed it; open it again",
            field="shape",
        )
    elif any(getattr(found, part) != getattr(known, part) for part in ("data_type", "chunk_grid", "codecs")):
        raise MetadataError("there is another array by now than the one that was opened; open it again")


def _check_reads_as(metadata: ArrayMetadata, found: ArrayMetadata | GroupMetadata) -> None:
    """Make sure that the documents that are about to be written say what they are to say."""
    if isinstance(found, ArrayMetadata):  # keys with slashes are not said by every document of v2
        found = replace(found, chunk_key_encoding=metadata.chunk_key_encoding)
    if not isinstance(found, ArrayMetadata) or found.compact() != metadata.compact():
        raise MetadataError("the array's documents cannot say what they are to say", field="shape")


def _change(
    stored: Mapping[str, Document], old: ArrayMetadata, new: ArrayMetadata, *, top: bool
) -> dict[str, dict[str, Any]]:
    """The documents that say something else with the new metadata: as stored, but for members that say it."""
    before, after = write_metadata(old, top=top), write_metadata(new, top=top)
    changed = {}
    for name in after:
        was, now, here = before.get(name, {}), after[name], stored.get(name, {})
        members = {member: value for member, value in now.items() if member not in was or was[member] != value}
        if name == v2.ARRAY_DOCUMENT and "shape" in members and 0 in here["chunks"]:
            members["chunks"] = now["chunks"]  # some write 0 for an axis without cells
        gone = was.keys() - now.keys()
        if members or gone:
            changed[name] = {key: value for key, value in {**here, **members}.items() if key not in gone}
    return changed


def _format(text: bytes | None, old: Document, new: Document) -> bytes:
    """The text of a document in which some members have other values; all else in it stays where that can be."""
    if text is not None and old.keys() == new.keys():
        plain = _splice(text, {name: value for name, value in new.items() if value != old[name]})
        # Text that says a member twice, say, is written anew.
        if plain is not None and format_stored(parse_object(plain, "the document")) == format_stored(new):
            return plain
    return format_stored(new)


def _splice(text: bytes, members: Document) -> bytes | None:
    """The text of a JSON object with other values of some members; None where it is not UTF-8."""
    try:
        whole = text.decode()
    except UnicodeDecodeError:
        return None
    parts, end = [], 0
    for name, start, stop in _members(whole):
        if name in members:
            parts += [whole[end:start], json.dumps(members[name])]
            end = stop
    return "".join((*parts, whole[end:])).encode()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Names of the members of a JSON object, and where the values stand in its text."""
    decode = json.JSONDecoder().raw_decode
    at = _skip(text, text.index("{") + 1)
    while text[at] == '"':
        name, at = decode(text, at)
        start = _skip(text, at, ":")
        _, stop = decode(text, start)
        yield name, start, stop
        at = _skip(text, stop, ",")


def _skip(text: str, at: int, sign: str = "") -> int:
    """Where the next token stands, behind blanks and one sign."""
    while text[at] in " \t\r\n" + sign:
        at += 1
    return at
