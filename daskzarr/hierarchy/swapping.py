"""A staged node that is complete, and its mark -> the node in its place: the two trade places, or it is copied there.

Each step looks at what is where first, as another process may be at the same swap, or may have died in the middle.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from daskzarr.errors import MetadataError, NodeExistsError, NodeNotFoundError, StoreError
from daskzarr.hierarchy.copying import names_below
from daskzarr.hierarchy.documents import find_documents, finish, get_document, list_dir, node_exists, set_document
from daskzarr.hierarchy.placing import delete_below, look_above, write_groups_above
from daskzarr.hierarchy.registers import changing, enter, strike
from daskzarr.hierarchy.swap_copying import delete, delete_others, get, is_document, put, rank
from daskzarr.metadata import ZarrFormat
from daskzarr.metadata.documents import FORMATS, format_of
from daskzarr.metadata.json_text import format_object
from daskzarr.stores import LocalStore, Location, MovingStore
from daskzarr.stores.local.exchange import exchange

STAGED, ASIDE, MARK, TOKEN = "__staged__", "__replaced__", "__swap__", ".__swap__"
_TURNS = 20
_REFUSALS = 3
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
        return self.beside / f"{STAGED}{self.write}-{self.tokens[-1]}"

    def of(self, token: str) -> Staged:
        """The one write among them that a token is of."""
        return replace(self, tokens=(token,))


@dataclass(frozen=True, slots=True)
class Mark:
    """What the object beside the place says: the write that is complete, and whether it is in its place, all of it."""

    write: str
    token: str
    zarr_format: ZarrFormat
    placed: bool = False


def complete(staged: Staged, mark: Mark) -> bool:
    """Do all that is left to do of a swap. False if the new node has been lost, so that the old one is there."""
    place, new, beside = staged.place, staged.staged, staged.beside
    site = look_above(place, mark.zarr_format, overwrite=True)
    where = find_new(staged, mark.token)
    if mark.placed and where == new and not node_exists(place):
        mark = replace(mark, placed=False)  # a process that was late began to copy again, and died
        set_mark(beside, mark)
    lost = not mark.placed and where is None and read_mark(beside) == mark
    if not mark.placed:
        if where == new:
            strike([*site.registers, *site.others], place)
        if not _trade_places(staged, mark.token):
            _copy_in(staged, mark)
        mark = replace(mark, placed=True)
        set_mark(beside, mark)
    enter_above(place)
    delete(new, TOKEN)  # first: from then on what was copied is not whole
    delete_below(new)
    asides = folders_beside(beside, ASIDE)
    if not is_there(place):  # another process has just moved the new node to one of them, and will find out
        raise gone(place)
    for aside in asides:
        if token_at(aside) != mark.token:
            delete_below(aside)
    if token_at(place) == mark.token:
        delete(place, TOKEN)
    delete(beside, MARK)
    return not lost


def _trade_places(staged: Staged, token: str) -> bool:
    """Bring the new node to its place, and the old one aside, by renaming folders; False if it has to be copied.

    Another process may be at the same. So each turn looks at what is where and then takes one step; a step that comes
    too late does nothing, or is undone by a later one. Aside each folder has a name of its own: what is in it stays.
    """
    place, new = staged.place, staged.staged
    refused = 0
    for _ in range(_TURNS):
        where = find_new(staged, token)
        if where == new:
            if refused == _REFUSALS or not isinstance(place.store, MovingStore):
                return False
            refused += not _step(staged, token)
        elif where == place:
            if token_at(new) == token:
                continue  # another process has just moved it
            if token_at(new) is not None or not _move(new, _new_aside(staged.beside)):
                return True
        elif where is not None:
            _move(where, new if is_there(place) else place)
        elif is_there(new) and token_at(new) is None:
            continue  # nothing tells that it is the old one
        elif is_there(place):
            return True
        else:
            asides = folders_beside(staged.beside, ASIDE)
            if not asides:
                raise gone(staged.place)
            bring_back(asides, place)
    raise NodeExistsError(
        f"the swap of the old node and the new one, at /{new.path} of {new.store.url!r}, does not come to an end: "
        f"another process is at it too, or there is no {TOKEN} in the new one any more, so that nothing tells which "
        "is which",
        url=place.store.url,
        node=place.path,
    )


def find_new(staged: Staged, token: str) -> Location | None:
    """Where the new node is, as far as a token tells. Another process may move it out of sight for once."""
    for _ in range(3):
        for folder in (staged.staged, staged.place, *folders_beside(staged.beside, ASIDE)):
            if token_at(folder) == token:
                return folder
    return None


def _step(staged: Staged, token: str) -> bool:
    """Take one step from where the new node is staged; False if that cannot be done."""
    place, new = staged.place, staged.staged
    old_folder, new_folder = folder_of(place), folder_of(new)
    if old_folder is not None and new_folder is not None:
        if os.path.islink(old_folder):  # what it leads to is to be replaced, not the link
            return False
        with contextlib.suppress(OSError):
            os.chmod(new_folder, stat.S_IMODE(os.stat(old_folder).st_mode))
        if exchange(old_folder, new_folder, sync=_syncs(place) or _syncs(new)):
            return True
    if not is_there(place):
        return _move(new, place)
    if token_at(place) == token:  # another process was quicker
        return True
    return _move(place, _new_aside(staged.beside))


def bring_back(asides: Sequence[Location], place: Location) -> None:
    """Put the old node back where there is no new one."""
    aside = next(filter(node_exists, asides), asides[0])
    if not _move(aside, place) and not is_there(place):
        raise StoreError(
            f"the old node, which is at /{aside.path} of {aside.store.url!r}, could not be moved back",
            url=place.store.url,
            node=place.path,
        )


def _new_aside(beside: Location) -> Location:
    """A place for an old node that is no other one's."""
    return beside / f"{ASIDE}{uuid.uuid4().hex}"


def folder_of(location: Location) -> str | None:
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


def _copy_in(staged: Staged, mark: Mark) -> None:
    """Put the new node in the place of the old one object by object."""
    source, place = staged.staged, staged.place
    names = [name for name in names_below(source) if name != TOKEN]
    documents = {name: get(source, name) for name in sorted(filter(is_document, names), key=rank, reverse=True)}
    if read_mark(staged.beside) != mark:
        return  # another process was at it too: it is through, and deletes what would be copied
    if not documents or token_at(source) != mark.token:
        raise gone(staged.place)
    for name in sorted(filter(is_document, names_below(place)), key=rank):
        delete(place, name)
    if read_mark(staged.beside) == mark:
        chunks = [name for name in names if name not in documents]
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            for first in range(0, len(chunks), _BATCH):
                list(pool.map(lambda name: _copy(staged, mark, name), chunks[first : first + _BATCH]))
        delete_others(place, set(names))
    for name, text in documents.items():
        if text is not None:
            put(place, name, text)
    finish(place.store)


def _copy(staged: Staged, mark: Mark, name: str) -> None:
    """Copy an object of the new node to its place."""
    value = get(staged.staged, name)
    if value is not None:
        put(staged.place, name, value)
    elif read_mark(staged.beside) == mark:
        raise gone(staged.place)


def enter_above(place: Location) -> None:
    """Make the groups above that are missing, and note the node in the consolidated metadata above it."""
    documents = find_documents(place)
    if documents is None:
        raise gone(place)
    with changing:
        site = look_above(place, format_of(documents), overwrite=True)
        write_groups_above(site)
        enter(site.registers, place, {**site.missing, place.path: documents})


def gone(place: Location) -> NodeNotFoundError:
    """The error that says that there is nothing to put in place."""
    return NodeNotFoundError(
        "what was written to take the place of this node is not there any more, neither here nor beside it: another "
        "write of it has begun since, or it was deleted; write it again",
        url=place.store.url,
        node=place.path,
    )


def folders_beside(beside: Location, beginning: str) -> list[Location]:
    """The folders beside a place that have such names."""
    return [beside / name for name in list_dir(beside).prefixes if name.startswith(beginning)]


def is_there(location: Location) -> bool:
    """Whether there is anything."""
    return any(list_dir(location))


def token_at(location: Location) -> str | None:
    """The token of the write that a node comes from, while it is staged and swapped."""
    document = get_document(location, TOKEN)
    return None if document is None else str(document.get("token"))


def read_mark(beside: Location) -> Mark | None:
    """The mark of a swap that is under way."""
    document = get_document(beside, MARK)
    if document is None:
        return None
    with contextlib.suppress(TypeError):
        mark = Mark(**document)
        names = all(isinstance(name, str) and "/" not in name for name in (mark.write, mark.token))
        if names and mark.zarr_format in FORMATS and isinstance(mark.placed, bool):
            return mark
    raise MetadataError(
        f"{MARK} says nothing that this version of daskzarr understands; a newer one may complete the swap",
        url=beside.store.url,
        node=beside.path,
        field=MARK,
    )


def set_mark(beside: Location, mark: Mark) -> None:
    """Say how far a swap has come."""
    set_document(beside, MARK, format_object(asdict(mark)))
