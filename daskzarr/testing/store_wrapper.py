"""A store around a store: the same place and the same abilities, with a look at every request on its way."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar, cast

from daskzarr.byte_range import ByteRange
from daskzarr.stores import (
    TRAFFIC,
    AppendStore,
    Buffer,
    CreateStore,
    FinishingStore,
    ListableStore,
    Listing,
    MovingStore,
    RangeStore,
    ReadIntoStore,
    SizedStore,
    Store,
    SurveyStore,
    SweepStore,
    SyncingStore,
    Traffic,
    VersionedStore,
    WritableStore,
    waits,
)

_Answer = TypeVar("_Answer")

_live: weakref.WeakValueDictionary[str, StoreWrapper] = weakref.WeakValueDictionary()


class StoreWrapper:
    """Passes every request on to ``store``, and tells :meth:`before` first; who does more has :meth:`asked`.

    It can be written, listed and read into exactly where ``store`` can; it knows of no place beside it. Each wrapper is
    a store of its own, equal to itself alone, so that no other wrapper of the same store gets its requests; pickled and
    loaded again in the same process it is the same object.

    Parameters
    ----------
    store
        Where the values are.
    """

    store: Store
    token: str
    _plain: ClassVar[type[StoreWrapper]]

    def __new__(cls, store: Store, *args: Any, **kwargs: Any) -> Any:
        """A wrapper of a class that fits the store."""
        return _new(cls, store, uuid.uuid4().hex)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._plain = cls

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self._plain, self.store, self.token, self._state())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreWrapper) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return f"{self._plain.__name__}({self.store!r})"

    @property
    def url(self) -> str:
        """The place of the store inside."""
        return self.store.url

    @property
    def can_write(self) -> bool:
        """Whether the store inside takes values at all."""
        return bool(getattr(self.store, "can_write", True))

    @property
    def can_create(self) -> bool:
        """Whether the store inside can put a value only where there is none."""
        return bool(getattr(self.store, "can_create", True))

    @property
    def one_process(self) -> bool:
        """Whether only one process at a time writes to the store inside."""
        return bool(getattr(self.store, "one_process", False))

    @property
    def waits(self) -> bool:
        """Whether requests to the store inside mostly wait."""
        return waits(self.store)

    def before(self, kind: str, key: str) -> None:
        """Called before each request with the name of the store's method and the key."""

    def asked(self, kind: str, key: str, request: Callable[..., _Answer], *args: Any) -> _Answer:
        """Make a request: each one goes through here, but those of ``get_many``."""
        self.before(kind, key)
        return request(*args)

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or a part of it."""
        return self.asked("get", key, self.store.get, key, byte_range)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values in order; ``before`` hears of each when its turn comes."""
        for key, value in zip(keys, self.store.get_many(keys, traffic), strict=True):
            self.before("get_many", key)
            yield value

    def _state(self) -> dict[str, Any]:
        """What a copy in another process is given, beside store and token."""
        return {}

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`_state` gave."""
        self.__dict__.update(state)


StoreWrapper._plain = StoreWrapper


class _Writing(StoreWrapper):
    """What a wrapper of a store that can be written has too."""

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written here."""
        return cast(WritableStore, self.store).shared

    def set(self, key: str, value: Buffer) -> None:
        """Put a value."""
        self.asked("set", key, cast(WritableStore, self.store).set, key, value)

    def delete(self, key: str) -> None:
        """Remove a value."""
        self.asked("delete", key, cast(WritableStore, self.store).delete, key)

    def delete_below(self, prefix: str) -> None:
        """Remove all values below a prefix."""
        self.asked("delete_below", prefix, cast(WritableStore, self.store).delete_below, prefix)


class _Listing(StoreWrapper):
    """What a wrapper of a store that knows its keys has too."""

    def list_dir(self, prefix: str) -> Listing:
        """What lies directly under a prefix."""
        return self.asked("list_dir", prefix, cast(ListableStore, self.store).list_dir, prefix)


class _ReadingInto(StoreWrapper):
    """What a wrapper of a store that fills memory has too."""

    def read_into(self, key: str, target: memoryview) -> int | None:
        """Fill ``target`` from the value."""
        return self.asked("read_into", key, cast(ReadIntoStore, self.store).read_into, key, target)


class _Ranges(StoreWrapper):
    """What a wrapper of a store that reads several parts of a value at once has too."""

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one value; ``before`` hears of each."""
        get_ranges = cast(RangeStore, self.store).get_ranges
        if not byte_ranges:
            return get_ranges(key, byte_ranges, traffic)
        for _ in byte_ranges[1:]:
            self.before("get_ranges", key)
        return self.asked("get_ranges", key, get_ranges, key, byte_ranges, traffic)


class _Versions(StoreWrapper):
    """What a wrapper of a store that tells versions has too."""

    def version(self, key: str) -> Hashable:
        """What changes when the value is replaced."""
        return self.asked("version", key, cast(VersionedStore, self.store).version, key)


class _Appending(StoreWrapper):
    """What a wrapper of a store that adds to values has too."""

    def append(self, key: str, value: Buffer) -> None:
        """Put bytes at the end of a value."""
        self.asked("append", key, cast(AppendStore, self.store).append, key, value)


class _Creating(StoreWrapper):
    """What a wrapper of a store that puts values only where there are none has too."""

    def create(self, key: str, value: Buffer) -> bool:
        """Put a value where there is none."""
        return self.asked("create", key, cast(CreateStore, self.store).create, key, value)


class _Sizes(StoreWrapper):
    """What a wrapper of a store that knows sizes has too."""

    def size(self, key: str) -> int | None:
        """Bytes in a value."""
        return self.asked("size", key, cast(SizedStore, self.store).size, key)


class _Surveying(StoreWrapper):
    """What a wrapper of a store that goes through its keys has too."""

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Every key below a prefix, with the size of its value."""
        return self.asked("survey", prefix, cast(SurveyStore, self.store).survey, prefix)


class _Sweeping(StoreWrapper):
    """What a wrapper of a store that can hold unfinished files has too."""

    def leftovers(self, prefix: str) -> Iterator[str]:
        """Keys of unfinished files below a prefix."""
        return self.asked("leftovers", prefix, cast(SweepStore, self.store).leftovers, prefix)


class _Moving(StoreWrapper):
    """What a wrapper of a store that moves folders has too."""

    def move_below(self, prefix: str, other: Store, other_prefix: str) -> bool:
        """Move values, from store to store inside."""
        while isinstance(other, StoreWrapper):
            other = other.store
        move = cast(MovingStore, self.store).move_below
        return self.asked("move_below", prefix, move, prefix, other, other_prefix)


class _Syncing(StoreWrapper):
    """What a wrapper of a store that can wait for the disk has too."""

    def synced(self) -> Store:
        """A wrapper that has all in common with this one, of the store that waits; it lives as long as this one."""
        twin = self.__dict__.get("_synced")
        if twin is None:
            twin = _new(self._plain, cast(SyncingStore, self.store).synced(), uuid.uuid4().hex)
            twin.__dict__.update({**self.__dict__, "store": twin.store, "token": twin.token})
            self.__dict__["_synced"] = twin
        return cast(Store, twin)


class _Finishing(StoreWrapper):
    """What a wrapper of a store that has to be finished has too."""

    def finish(self) -> None:
        """Show all that was written to everyone."""
        self.asked("finish", "", cast(FinishingStore, self.store).finish)


_ABILITIES: tuple[tuple[Any, type[StoreWrapper]], ...] = (
    (WritableStore, _Writing),
    (ListableStore, _Listing),
    (ReadIntoStore, _ReadingInto),
    (RangeStore, _Ranges),
    (VersionedStore, _Versions),
    (AppendStore, _Appending),
    (CreateStore, _Creating),
    (SizedStore, _Sizes),
    (SurveyStore, _Surveying),
    (SweepStore, _Sweeping),
    (MovingStore, _Moving),
    (SyncingStore, _Syncing),
    (FinishingStore, _Finishing),
)


def _abilities(store: Store) -> tuple[type[StoreWrapper], ...]:
    """The classes whose methods a wrapper of ``store`` has."""
    return tuple(ability for protocol, ability in _ABILITIES if isinstance(store, protocol))


_classes: dict[tuple[Any, ...], type[StoreWrapper]] = {}


def _new(cls: type[StoreWrapper], store: Store, token: str) -> StoreWrapper:
    """A wrapper with ``cls`` and the abilities of ``store`` for its class: the protocols look at what a class has."""
    plain, abilities = cls._plain, _abilities(store)
    fitted = _classes.get((plain, abilities))
    if fitted is None:
        fitted = type(plain.__name__, (plain, *abilities), {"__module__": plain.__module__})
        fitted._plain = plain
        _classes[plain, abilities] = fitted
    wrapper = object.__new__(fitted)
    wrapper.store = store
    wrapper.token = token
    return _live.setdefault(token, wrapper)


def _load(cls: type[StoreWrapper], store: Store, token: str, state: dict[str, Any]) -> StoreWrapper:
    """The wrapper with this token if it lives in this process, a copy of it otherwise."""
    wrapper = _live.get(token)
    if wrapper is None:
        wrapper = _new(cls, store, token)
        wrapper._restore(state)
    return wrapper
