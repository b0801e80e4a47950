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
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

from daskzarr.errors import MetadataError, NodeExistsError, NodeNotFoundError, StoreError, UnsupportedError, raise_from
from daskzarr.hierarchy.copying import names_below
from daskzarr.hierarchy.documents import (
    find_documents,
    get_document,
    list_dir,
    node_exists,
    set_document,
    store_error,
    writable,
)
from daskzarr.hierarchy.placing import DOCUMENT_NAMES, delete_below, look_above, look_around, write_groups_above
from daskzarr.hierarchy.registers import changing, enter, strike
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.metadata.documents import FORMATS, NODE_DOCUMENTS, format_of, write_metadata
from daskzarr.metadata.json_text import format_object
from daskzarr.stores import Buffer, ListableStore, LocalStore, Location, MappingStore, MovingStore, SweepStore, parent
from daskzarr.stores.exchange import exchange
from daskzarr.stores.folder_lock import lock_folder
from daskzarr.stores.retries import persist

_Result = TypeVar("_Result")

_STAGED, _ASIDE, _MARK, _TOKEN = "__staged__", "__replaced__", "__swap__", ".__swap__"
_DOCUMENTS = frozenset(name for names in DOCUMENT_NAMES.values() for name in names)
_SHOWING = frozenset(name for names in NODE_DOCUMENTS.values() for name in names)
_TURNS = 20
_REFUSALS = 3
_PATIENCE = 30.0
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)
_COPIES_AT_ONCE = 8
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Staged:
    """A node that is to be overwritten, and one write of what is to take its place.

    Parameters
    ----------
    place
        Where the new node is to be in the end.
    beside
        The folder of what is noted about the place. For a store in memory it is in memory too, and lives as long as
        this value.
    write
        Its name, without slashes.
    tokens
        What tells this very write from others of its name: a new one, and that of the write it may go on with.
    """

    place: Location
    beside: Location
    write: str
    tokens: tuple[str, ...]

    @property
    def staged(self) -> Location:
        """Where the new node is written meanwhile: what was found, or, if nothing was, where it is to be."""
        return self.beside / f"{_STAGED}{self.write}-{self.tokens[-1]}"

    def of(self, token: str) -> Staged:
        """The one write among them that a token is of."""
        return replace(self, tokens=(token,))


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the object beside the place says: the write that is complete, and whether it is in its place, all of it."""

    write: str
    token: str
    zarr_format: ZarrFormat
    placed: bool = False


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
    folders = _folders(beside, f"{_STAGED}{write}-")
    found = [token for folder in folders if folder.path.endswith(f"-{(token := _token_at(folder))}")]
    return Staged(place, beside, write, (uuid.uuid4().hex, *map(str, found[:1])))


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
        for other in _folders(staged.beside, _STAGED):
            delete_below(other)
        set_document(folder, _TOKEN, format_object({"token": token}))
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
            raise _gone(staged.place)
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
            if failures > 1 and _read_mark(beside) is None:
                raise
            time.sleep(wait)
    with _alone(beside):
        return attempt()


@contextlib.contextmanager
def _alone(beside: Location) -> Iterator[None]:
    """Keep other processes of this machine from doing the same; where there are no locks, they get by without."""
    folder = _folder(beside)
    with contextlib.nullcontext() if folder is None else lock_folder(folder, _PATIENCE):
        yield


def _swap(staged: Staged) -> bool:
    """Put the staged node in its place, if that is not done. False if it has been lost."""
    mark = _read_mark(staged.beside)
    if mark is not None and mark.token not in staged.tokens:
        _recover(staged.place, staged.beside)
        mark = None
    if mark is None:
        mark = _begin_swap(staged)
        if mark is None:
            _expect_done(staged)
            return True
    return _complete(staged.of(mark.token), mark)


def _begin_swap(staged: Staged) -> _Mark | None:
    """Put the mark that says that the staged node is complete; None if there is none that is staged."""
    for one in map(staged.of, staged.tokens):
        token = one.tokens[0]
        documents = find_documents(one.staged, attributes=False) if _token_at(one.staged) == token else None
        if documents is None:
            continue
        mark = _Mark(one.write, token, format_of(documents))
        look_around(one.place, mark.zarr_format, overwrite=True)
        _set_mark(one.beside, mark)
        if _where(one, token) is not None:
            return mark
        _delete(one.beside, _MARK)  # another process has just done it all
    return None


def _recover(place: Location, beside: Location) -> bool:
    """Complete an interrupted swap at one place."""
    mark = _read_mark(beside)
    if mark is not None:
        _complete(Staged(place, beside, mark.write, (mark.token,)), mark)
        return True
    asides = _folders(beside, _ASIDE)
    if not asides:
        return False
    if not _is_there(place):
        _bring_back(asides, place)
        _enter(place)
    for aside in asides:
        delete_below(aside)
    return True


def _complete(staged: Staged, mark: _Mark) -> bool:
    """Do all that is left to do of a swap. False if the new node has been lost, so that the old one is there."""
    place, new, beside = staged.place, staged.staged, staged.beside
    site = look_above(place, mark.zarr_format, overwrite=True)
    where = _where(staged, mark.token)
    if mark.placed and where == new and not node_exists(place):
        mark = replace(mark, placed=False)  # a process that was late began to copy again, and died
        _set_mark(beside, mark)
    lost = not mark.placed and where is None and _read_mark(beside) == mark
    if not mark.placed:
        if where == new:
            strike([*site.registers, *site.others], place)
        if not _trade_places(staged, mark.token):
            _copy_in(staged, mark)
        mark = replace(mark, placed=True)
        _set_mark(beside, mark)
    _enter(place)
    _delete(new, _TOKEN)  # first: from then on what was copied is not whole
    delete_below(new)
    asides = _folders(beside, _ASIDE)
    if not _is_there(place):  # another process has just moved the new node to one of them, and will find out
        raise _gone(place)
    for aside in asides:
        if _token_at(aside) != mark.token:
            delete_below(aside)
    if _token_at(place) == mark.token:
        _delete(place, _TOKEN)
    _delete(beside, _MARK)
    return not lost


def _trade_places(staged: Staged, token: str) -> bool:
    """Bring the new node to its place, and the old one aside, by renaming folders; False if it has to be copied.

    Another process may be at the same. So each turn looks at what is where and then takes one step; a step that comes
    too late does nothing, or is undone by a later one. Aside each folder has a name of its own: what is in it stays.
    """
    place, new = staged.place, staged.staged
    refused = 0
    for _ in range(_TURNS):
        where = _where(staged, token)
        if where == new:
            if refused == _REFUSALS or not isinstance(place.store, MovingStore):
                return False
            refused += not _step(staged, token)
        elif where == place:
            if _token_at(new) == token:
                continue  # another process has just moved it
            if _token_at(new) is not None or not _move(new, _new_aside(staged.beside)):
                return True
        elif where is not None:
            _move(where, new if _is_there(place) else place)
        elif _is_there(new) and _token_at(new) is None:
            continue  # nothing tells that it is the old one
        elif _is_there(place):
            return True
        else:
            asides = _folders(staged.beside, _ASIDE)
            if not asides:
                raise _gone(staged.place)
            _bring_back(asides, place)
    raise NodeExistsError(
        f"the swap of the old node and the new one, at /{new.path} of {new.store.url!r}, does not come to an end: "
        f"another process is at it too, or there is no {_TOKEN} in the new one any more, so that nothing tells which "
        "is which",
        url=place.store.url,
        node=place.path,
    )


def _where(staged: Staged, token: str) -> Location | None:
    """Where the new node is, as far as a token tells. Another process may move it out of sight for once."""
    for _ in range(3):
        for folder in (staged.staged, staged.place, *_folders(staged.beside, _ASIDE)):
            if _token_at(folder) == token:
                return folder
    return None


def _step(staged: Staged, token: str) -> bool:
    """Take one step from where the new node is staged; False if that cannot be done."""
    place, new = staged.place, staged.staged
    old_folder, new_folder = _folder(place), _folder(new)
    if old_folder is not None and new_folder is not None:
        if os.path.islink(old_folder):  # what it leads to is to be replaced, not the link
            return False
        with contextlib.suppress(OSError):
            os.chmod(new_folder, stat.S_IMODE(os.stat(old_folder).st_mode))
        if exchange(old_folder, new_folder, sync=_syncs(place) or _syncs(new)):
            return True
    if not _is_there(place):
        return _move(new, place)
    if _token_at(place) == token:  # another process was quicker
        return True
    return _move(place, _new_aside(staged.beside))


def _bring_back(asides: Sequence[Location], place: Location) -> None:
    """Put the old node back where there is no new one."""
    aside = next(filter(node_exists, asides), asides[0])
    if not _move(aside, place) and not _is_there(place):
        raise StoreError(
            f"the old node, which is at /{aside.path} of {aside.store.url!r}, could not be moved back",
            url=place.store.url,
            node=place.path,
        )


def _new_aside(beside: Location) -> Location:
    """A place for an old node that is no other one's."""
    return beside / f"{_ASIDE}{uuid.uuid4().hex}"


def _folder(location: Location) -> str | None:
    """The directory of a place on this machine."""
    store = location.store
    return f"{store.root}/{location.path}".rstrip("/") if isinstance(store, LocalStore) else None


def _syncs(location: Location) -> bool:
    """Whether what is done in a store has to be on disk."""
    return isinstance(location.store, LocalStore) and location.store.sync


def _move(source: Location, target: Location) -> bool:
    """Move all that is at one place to another in one step; False if the stores cannot."""
    store = source.store
    with contextlib.suppress(OSError):  # the copy that is tried then says what is wrong
        return isinstance(store, MovingStore) and store.move_below(source.path, target.store, target.path)
    return False


def _copy_in(staged: Staged, mark: _Mark) -> None:
    """Put the new node in the place of the old one object by object."""
    source, place = staged.staged, staged.place
    names = [name for name in names_below(source) if name != _TOKEN]
    documents = {name: _get(source, name) for name in sorted(filter(_is_document, names), key=_rank, reverse=True)}
    if _read_mark(staged.beside) != mark:
        return  # another process was at it too: it is through, and deletes what would be copied
    if not documents or _token_at(source) != mark.token:
        raise _gone(staged.place)
    for name in sorted(filter(_is_document, names_below(place)), key=_rank):
        _delete(place, name)
    if _read_mark(staged.beside) == mark:
        chunks = [name for name in names if name not in documents]
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            for first in range(0, len(chunks), _BATCH):
                list(pool.map(lambda name: _copy(staged, mark, name), chunks[first : first + _BATCH]))
        _delete_others(place, set(names))
    for name, text in documents.items():
        if text is not None:
            _put(place, name, text)


def _copy(staged: Staged, mark: _Mark, name: str) -> None:
    """Copy an object of the new node to its place."""
    value = _get(staged.staged, name)
    if value is not None:
        _put(staged.place, name, value)
    elif _read_mark(staged.beside) == mark:
        raise _gone(staged.place)


def _delete_others(place: Location, names: Set[str]) -> None:
    """Delete what the old node had, and the new one has not; whole folders with one request."""
    kept = {name.partition("/")[0] for name in names}
    for folder in list_dir(place).prefixes:
        if folder not in kept:
            delete_below(place / folder)
    for name in set(names_below(place)) - names:
        _delete(place, name)
    if isinstance(place.store, SweepStore):
        try:
            leftovers = list(place.store.leftovers(place.path))
        except Exception as error:
            raise_from(store_error("looking for unfinished files", error, place, ""), error)
        for key in leftovers:
            _delete(Location(place.store), key)


def _rank(name: str) -> tuple[int, bool, str]:
    """Order in which documents go: from the top down, at each node that which shows it first."""
    return name.count("/"), name.rpartition("/")[2] not in _SHOWING, name


def _is_document(name: str) -> bool:
    """Whether an object is a node's document."""
    return name.rpartition("/")[2] in _DOCUMENTS


def _enter(place: Location) -> None:
    """Make the groups above that are missing, and note the node in the consolidated metadata above it."""
    documents = find_documents(place)
    if documents is None:
        raise _gone(place)
    with changing:
        site = look_above(place, format_of(documents), overwrite=True)
        write_groups_above(site)
        enter(site.registers, place, {**site.missing, place.path: documents})


def _expect_done(staged: Staged) -> None:
    """Make sure that what is not staged came to its place, and that no other write has begun since."""
    own = any(_is_there(staged.of(token).staged) for token in staged.tokens)
    others = any(_token_at(folder) is not None for folder in _folders(staged.beside, _STAGED))
    if own or others or not node_exists(staged.place):
        raise _gone(staged.place)


def _clear_own(staged: Staged) -> None:
    """Delete what tasks wrote that were still at it when another write had begun."""
    with _alone(staged.beside):
        if _read_mark(staged.beside) is None:
            for one in map(staged.of, staged.tokens):
                if _token_at(one.staged) is None:
                    delete_below(one.staged)


def _gone(place: Location) -> NodeNotFoundError:
    """The error that says that there is nothing to put in place."""
    return NodeNotFoundError(
        "what was written to take the place of this node is not there any more, neither here nor beside it: another "
        "write of it has begun since, or it was deleted; write it again",
        url=place.store.url,
        node=place.path,
    )


def _folders(beside: Location, beginning: str) -> list[Location]:
    """The folders beside a place that have such names."""
    return [beside / name for name in list_dir(beside).prefixes if name.startswith(beginning)]


def _is_there(location: Location) -> bool:
    """Whether there is anything."""
    return any(list_dir(location))


def _token_at(location: Location) -> str | None:
    """The token of the write that a node comes from, while it is staged and swapped."""
    document = get_document(location, _TOKEN)
    return None if document is None else str(document.get("token"))


def _read_mark(beside: Location) -> _Mark | None:
    """The mark of a swap that is under way."""
    document = get_document(beside, _MARK)
    if document is None:
        return None
    with contextlib.suppress(TypeError):
        mark = _Mark(**document)
        names = all(isinstance(name, str) and "/" not in name for name in (mark.write, mark.token))
        if names and mark.zarr_format in FORMATS and isinstance(mark.placed, bool):
            return mark
    raise MetadataError(
        f"{_MARK} says nothing that this version of daskzarr understands; a newer one may complete the swap",
        url=beside.store.url,
        node=beside.path,
        field=_MARK,
    )


def _set_mark(beside: Location, mark: _Mark) -> None:
    """Say how far a swap has come."""
    set_document(beside, _MARK, format_object(asdict(mark)))


def _get(location: Location, name: str) -> Buffer | None:
    """An object of a staged node."""
    try:
        return persist(location.store.get, location.key(name))
    except Exception as error:
        raise_from(store_error("reading what is to be put in its place", error, location, name), error)


def _put(location: Location, name: str, value: Buffer) -> None:
    """Write an object to the place of the new node."""
    try:
        persist(writable(location).set, location.key(name), value)
    except Exception as error:
        raise_from(store_error("writing what is to be put in its place", error, location, name), error)


def _delete(location: Location, name: str) -> None:
    """Delete an object."""
    try:
        persist(writable(location).delete, location.key(name))
    except Exception as error:
        raise_from(store_error("deleting " + name, error, location, name), error)
