"""A new node, written beside its place -> the node in its place, once it is complete; the old one goes last.

A mark beside the place says that the new node is complete. It comes before anything at the place changes and goes when
nothing is left to do: whoever finds it can complete the swap, in whichever state a killed process left it. A token in
the new node's own folder tells the new node from the old one, wherever either of them is.

On one file system the two trade places in one step; where the system has no such step, in two, with nothing at the
place in between. A read that began before and goes on after it gets objects of both, as of any node that is replaced.
In other stores the objects are copied one by one. There is no node at the place meanwhile: the old documents go first
and the new ones come last, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from daskzarr.errors import NodeExistsError, NodeNotFoundError, UnsupportedError
from daskzarr.hierarchy.documents import find_documents, node_exists, set_document, writable
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.placing import delete_below, look_around
from daskzarr.hierarchy.swap_copying import delete
from daskzarr.hierarchy.swapping import (
    ASIDE,
    MARK,
    STAGED,
    TOKEN,
    Mark,
    Staged,
    bring_back,
    complete,
    enter_above,
    find_new,
    folder_of,
    folders_beside,
    gone,
    is_there,
    read_mark,
    set_mark,
    token_at,
)
from daskzarr.metadata import ArrayMetadata, GroupMetadata
from daskzarr.metadata.documents import format_of, write_metadata
from daskzarr.metadata.json_text import format_object
from daskzarr.stores import ListableStore, Location, MappingStore, MovingStore, parent
from daskzarr.stores.local.folder_lock import lock_folder

__all__ = ["Staged", "begin_stage", "goes_last", "recover", "stage", "swap"]

_Result = TypeVar("_Result")

_PATIENCE = 30.0
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)


def stage(place: Location, beside: Location | None, write: str) -> Staged:
    """Choose where a node is written that is to replace another one.

    Parameters
    ----------
    place
        Where the node is to be.
    beside
        Where things are noted about it, None if nowhere.
    write
        Name of the write. One of the same name finds again what is staged, and may go on with it.

    Raises
    ------
    UnsupportedError
        If there is nowhere to stage the node, or the store cannot be written or listed.
    """
    store = writable(place)
    if beside is None and store.shared:
        raise UnsupportedError(
            "what is here cannot be overwritten from itself: there is no place beside this store where the new node "
            "could be written before the old one goes; write it to another place, and copy it here with "
            "copy_node(..., overwrite=True)",
            url=store.url,
            node=place.path,
        )
    if not isinstance(store, ListableStore):
        raise UnsupportedError(
            "what is here cannot be overwritten from itself: this store cannot list what it holds, and so cannot put a "
            "complete node in the place of an old one; write it to another place",
            url=store.url,
            node=place.path,
        )
    beside = Location(MappingStore({})) if beside is None else beside
    folders = folders_beside(beside, f"{STAGED}{write}-")
    found = [token for folder in folders if folder.path.endswith(f"-{(token := token_at(folder))}")]
    return Staged(place, beside, write, (uuid.uuid4().hex, *map(str, found[:1])))


def goes_last(place: Location, *, reads_itself: bool, compute: bool) -> bool:
    """Whether what is at a place stays until all that is to replace it is written: it has to, or easily can.

    Without ``compute`` the documents are wanted at once; where nothing can be moved, staging means to copy.
    """
    if reads_itself:
        return True
    movable = compute and isinstance(place.store, MovingStore) and notes_of(place) is not None
    return movable and node_exists(place)


def begin_stage(staged: Staged, metadata: ArrayMetadata | GroupMetadata) -> Location:
    """Make sure that the node can go to its place, and put its own documents where it is written meanwhile.

    What an earlier write left there is deleted, unless it was complete: then it is put in its place first.

    Returns
    -------
    Location
        Where the node's chunks go.

    Raises
    ------
    NodeExistsError, MetadataError, UnsupportedError
        If there can be no such node at the place.
    """
    documents = write_metadata(metadata, top=not staged.place.path)
    texts = {name: format_object(document) for name, document in documents.items()}
    recover(staged.place, staged.beside)
    look_around(staged.place, metadata.zarr_format, overwrite=True)
    token = staged.tokens[0]
    folder = staged.of(token).staged
    with _alone(staged.beside):
        for other in folders_beside(staged.beside, STAGED):
            delete_below(other)
        set_document(folder, TOKEN, format_object({"token": token}))
    for name, text in texts.items():
        set_document(folder, name, text)
    return folder


def swap(staged: Staged) -> None:
    """Put the staged node, which is complete by now, in its place; then delete the old one.

    Calling it again completes what was interrupted, and does nothing once all is done.

    Raises
    ------
    NodeNotFoundError
        If what was staged is not there any more, as after another write of the same place began.
    NodeExistsError
        If an array has been made above the place.
    StoreError
        If a store fails. The new node is whole, at its place or beside it, and calling again is safe.
    """
    try:
        if not _patiently(staged.beside, lambda: _swap(staged)):
            raise gone(staged.place)
    except NodeNotFoundError:
        _clear_own(staged)
        raise


def recover(place: Location, beside: Location | None) -> bool:
    """Complete a swap that was interrupted at a place, or at one of the groups above it.

    The new node comes to its place, or, if it has been lost, the old one comes back. To be called before anything else
    is written there.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    if beside is None:
        return False
    found = [_patiently(its, partial(_recover, where, its)) for where, its in _with_those_above(place, beside)]
    return any(found)


def _with_those_above(place: Location, beside: Location) -> list[tuple[Location, Location]]:
    """A place, and the groups above it that are noted in the same store, each with its notes; the highest first."""
    found = [(place, beside)]
    while beside.path:
        folder, _, name = beside.path.rpartition("/")
        above = (place.store, "") if place.path else parent(place.store)
        if above is None or (place.path or above[1]).rpartition("/")[2] != name:
            break
        place = Location(above[0], place.path.rpartition("/")[0])
        beside = Location(beside.store, folder)
        found.append((place, beside))
    return found[::-1]


def _patiently(beside: Location, attempt: Callable[[], _Result]) -> _Result:
    """Make an attempt again after it failed, as it may because another process is at the same: then less is to do."""
    for failures, wait in enumerate(_WAITS, 1):
        try:
            with _alone(beside):
                return attempt()
        except (NodeNotFoundError, NodeExistsError):
            if failures > 1 and read_mark(beside) is None:
                raise
            time.sleep(wait)
    with _alone(beside):
        return attempt()


@contextlib.contextmanager
def _alone(beside: Location) -> Iterator[None]:
    """Keep other processes of this machine from doing the same; where there are no locks, they get by without."""
    folder = folder_of(beside)
    with contextlib.nullcontext() if folder is None else lock_folder(folder, _PATIENCE):
        yield


def _swap(staged: Staged) -> bool:
    """Put the staged node in its place, if that is not done. False if it has been lost."""
    mark = read_mark(staged.beside)
    if mark is not None and mark.token not in staged.tokens:
        _recover(staged.place, staged.beside)
        mark = None
    if mark is None:
        mark = _begin_swap(staged)
        if mark is None:
            _expect_done(staged)
            return True
    return complete(staged.of(mark.token), mark)


def _begin_swap(staged: Staged) -> Mark | None:
    """Put the mark that says that the staged node is complete; None if there is none that is staged."""
    for one in map(staged.of, staged.tokens):
        token = one.tokens[0]
        documents = find_documents(one.staged, attributes=False) if token_at(one.staged) == token else None
        if documents is None:
            continue
        mark = Mark(one.write, token, format_of(documents))
        look_around(one.place, mark.zarr_format, overwrite=True)
        set_mark(one.beside, mark)
        if find_new(one, token) is not None:
            return mark
        delete(one.beside, MARK)  # another process has just done it all
    return None


def _recover(place: Location, beside: Location) -> bool:
    """Complete an interrupted swap at one place."""
    mark = read_mark(beside)
    if mark is not None:
        complete(Staged(place, beside, mark.write, (mark.token,)), mark)
        return True
    asides = folders_beside(beside, ASIDE)
    if not asides:
        return False
    if not is_there(place):
        bring_back(asides, place)
        enter_above(place)
    for aside in asides:
        delete_below(aside)
    return True


def _expect_done(staged: Staged) -> None:
    """Make sure that what is not staged came to its place, and that no other write has begun since."""
    own = any(is_there(staged.of(token).staged) for token in staged.tokens)
    others = any(token_at(folder) is not None for folder in folders_beside(staged.beside, STAGED))
    if own or others or not node_exists(staged.place):
        raise gone(staged.place)


def _clear_own(staged: Staged) -> None:
    """Delete what tasks wrote that were still at it when another write had begun."""
    with _alone(staged.beside):
        if read_mark(staged.beside) is None:
            for one in map(staged.of, staged.tokens):
                if token_at(one.staged) is None:
                    delete_below(one.staged)
