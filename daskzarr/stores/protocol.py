"""What a store is: bytes under keys. The contract every store keeps, and a place in a store."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError
from daskzarr.stores.traffic import TRAFFIC, Traffic

Buffer = bytes | bytearray | memoryview


class Listing(NamedTuple):
    """What lies directly under a prefix: keys of values, and names that have more below them."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]


@runtime_checkable
class Store(Protocol):
    """Bytes under keys, for reading.

    A key is a relative path with ``/``. ``get`` returns None **only** when the key does not exist;
    every other failure (permission, network, a broken disk) raises. Stores pickle, compare equal when
    they show the same place with the same access, and may be used from many threads at once.
    """

    @property
    def url(self) -> str:
        """The place, written canonically and without credentials: it names the store in errors and tokens."""

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or the given part of it; None when there is no such key."""

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values of several keys, in their order. This is where a store overlaps latency, as far as it may.

        A request that fails raises when its turn comes. What is iterated may then go on with the next key, or be over.
        """


@runtime_checkable
class WritableStore(Store, Protocol):
    """A store that can be written."""

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written here."""

    def set(self, key: str, value: Buffer) -> None:
        """Put a value, all or nothing: a reader sees the old value or the new one, whole."""

    def delete(self, key: str) -> None:
        """Remove a value; a key that does not exist is no error."""

    def delete_below(self, prefix: str) -> None:
        """Remove every value whose key starts with ``prefix/``; all of the store for ``""``."""


@runtime_checkable
class ListableStore(Store, Protocol):
    """A store that knows its keys. A web server usually is none."""

    def list_dir(self, prefix: str) -> Listing:
        """What lies directly under ``prefix`` (``""`` is the top)."""


@runtime_checkable
class ReadIntoStore(Store, Protocol):
    """A store that can put a value straight into memory of the caller's."""

    def read_into(self, key: str, target: memoryview) -> int | None:
        """Fill ``target`` from the value and return the value's full size; None when there is no such key.

        A size other than ``len(target)`` says that the value does not fit the target.
        """


@runtime_checkable
class RangeStore(Store, Protocol):
    """A store that reads several parts of one value with one call, better than one after the other."""

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """The parts, in their order; None for each when there is no such key."""


@runtime_checkable
class VersionedStore(Store, Protocol):
    """A store that can tell at once, without a request over a network, whether a value was replaced."""

    def version(self, key: str) -> Hashable | None:
        """What is another one after the value was replaced; None when there is no such key."""


@runtime_checkable
class AppendStore(Store, Protocol):
    """A store that can add to a value."""

    def append(self, key: str, value: Buffer) -> None:
        """Put bytes at the end of a value, which is made if it is not there.

        Processes that append to one value at once do not overwrite each other's bytes. One that dies may leave the
        beginning of what it appended: a format of lines has to bear that.
        """


@runtime_checkable
class CreateStore(Store, Protocol):
    """A store that can put a value only where there is none."""

    def create(self, key: str, value: Buffer) -> bool:
        """Put a value, all or nothing, and return True; where there is one already, leave it and return False.

        Of several that create one key at once, one gets True. After an error it is not known which: the value has to
        be looked at.
        """


@runtime_checkable
class SizedStore(Store, Protocol):
    """A store that knows sizes of values without reading them."""

    def size(self, key: str) -> int | None:
        """Bytes in the value; None when there is no such key."""


@runtime_checkable
class SurveyStore(Store, Protocol):
    """A store that can go through all its keys."""

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Every key below ``prefix/`` (all for ``""``) and the size of its value, in any order.

        The size is None where finding it out would cost a request. Unfinished files (:class:`SweepStore`) are left
        out. What comes and goes meanwhile may be there or not; keys may be deleted while they are gone through.
        """


@runtime_checkable
class SweepStore(WritableStore, Protocol):
    """A store in which a process that was killed can leave unfinished files, hidden from every listing."""

    def leftovers(self, prefix: str) -> Iterator[str]:
        """Keys of the unfinished files below ``prefix/``, to be deleted with :meth:`delete`.

        A file that is being written at this moment may be among them: a writer that loses it that way writes again.
        """


@runtime_checkable
class MovingStore(WritableStore, Protocol):
    """A store that can move a folder in one step."""

    def move_below(self, prefix: str, other: Store, other_prefix: str) -> bool:
        """Move every value below ``prefix/`` to the same keys below ``other_prefix/`` of another store, in one step.

        ``""`` is the top of a store. There must be nothing at the target.

        Returns
        -------
        bool
            False if that cannot be done between these places (nothing to move, a target that is there, another kind
            of store, another file system). Then nothing has changed.
        """


@runtime_checkable
class SyncingStore(WritableStore, Protocol):
    """A store that can wait until what it wrote is on disk."""

    def synced(self) -> Store:
        """The same place as a store whose writes return once a power failure cannot undo them."""


@runtime_checkable
class FinishingStore(WritableStore, Protocol):
    """A store in which other processes see what was written only once that is finished."""

    def finish(self) -> None:
        """Show all that was written until now to everyone: done at the end of each write, or oftener."""


@runtime_checkable
class SiblingStore(Store, Protocol):
    """A store that knows of a place beside it, for notes about it that are not in it."""

    def sibling(self, ending: str) -> Store | None:
        """A store of the same access, named after this one with an ending, with nothing of this one in it.

        None if there is no such place.
        """


@dataclass(frozen=True, slots=True)
class Location:
    """A path inside a store; ``""`` is the top.

    >>> from daskzarr.stores import MappingStore
    >>> (Location(MappingStore({}), "a") / "b").path
    'a/b'
    """

    store: Store
    path: str = ""

    def __truediv__(self, component: str) -> Location:
        path = node_path(component)
        return Location(self.store, f"{self.path}/{path}" if self.path and path else self.path or path)

    def overlaps(self, other: Location) -> bool:
        """Whether one of two places is the other, or lies in it, however each is divided in store and path."""
        one, two = (f"{place.store.url}/{place.path}".rstrip("/") + "/" for place in (self, other))
        return one.startswith(two) or two.startswith(one)

    def key(self, name: str) -> str:
        """Store key of an object of this node."""
        return f"{self.path}/{name}" if self.path else name


def node_path(component: str) -> str:
    r"""A node's path as people type it, brought into its one form.

    Backslashes become slashes, slashes at the ends and doubled ones go. ``.`` and ``..`` are refused: a
    path never leads out of its store.

    >>> node_path("/a//b\\c/")
    'a/b/c'
    """
    if not isinstance(component, str):
        raise MetadataError(f"the component {component!r} is no text", field="component")
    if type(component) is str and component.isidentifier():
        return component  # most are, and groups have thousands; an Enum's text is not always what it is
    parts = [part for part in component.replace("\\", "/").split("/") if part]
    for part in parts:
        if set(part) == {"."}:
            raise MetadataError(
                f"{component!r} is no path of a node: {part!r} is not allowed as a name; "
                "give the path from the top of the store downwards",
                field="component",
            )
        if "\0" in part:
            raise MetadataError(f"{component!r} is no path of a node: it holds a NUL character", field="component")
    return "/".join(parts)


def creates(store: Store) -> TypeGuard[CreateStore]:
    """Whether a store can put a value only where there is none; a ``can_create`` that is False says that it cannot."""
    return isinstance(store, CreateStore) and getattr(store, "can_create", True)


def waits(store: Store) -> bool:
    """Whether a request to a store mostly waits, on a network, so that several at once are faster.

    A store says so by an attribute ``waits``; one without does not.
    """
    return bool(getattr(store, "waits", False))


def of_one_process(store: WritableStore) -> bool:
    """Whether only one process writes what is in a store: the one whose memory it is, or the first that writes a file.

    A store says the latter by an attribute ``one_process``.
    """
    return not store.shared or bool(getattr(store, "one_process", False))


def get_each(store: Store, keys: Iterable[str]) -> Iterator[Buffer | None]:
    """``get_many`` for a store with nothing to overlap: one get after the other."""
    return map(store.get, keys)
