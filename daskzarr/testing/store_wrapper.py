"""A store around a store: the same place and the same abilities, with a look at every request on its way."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar, cast

from daskzarr.byte_range import ByteRange
from daskzarr.store import (
    Buffer,
    ListableStore,
    Listing,
    RangeStore,
    ReadIntoStore,
    Store,
    VersionedStore,
    WritableStore,
)

_live: weakref.WeakValueDictionary[str, StoreWrapper] = weakref.WeakValueDictionary()


class StoreWrapper:
    """Passes every request on to ``store``, and tells :meth:`before` first.

    It can be written, listed and read into exactly where ``store`` can. Each wrapper is a store of its own, equal to
    itself alone, so that no other wrapper of the same store gets its requests; pickled and loaded again in the same
    process it is the same object.

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

    def before(self, kind: str, key: str) -> None:
        """Called before each request with the name of the store's method and the key."""

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or a part of it."""
        self.before("get", key)
        return self.store.get(key, byte_range)

    def get_many(self, keys: Sequence[str]) -> Iterator[Buffer | None]:
        """The values in order; ``before`` hears of each when its turn comes."""
        for key, value in zip(keys, self.store.get_many(keys), strict=True):
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
        self.before("set", key)
        cast(WritableStore, self.store).set(key, value)

    def delete(self, key: str) -> None:
        """Remove a value."""
        self.before("delete", key)
        cast(WritableStore, self.store).delete(key)

    def delete_below(self, prefix: str) -> None:
        """Remove all values below a prefix."""
        self.before("delete_below", prefix)
        cast(WritableStore, self.store).delete_below(prefix)


class _Listing(StoreWrapper):
    """What a wrapper of a store that knows its keys has too."""

    def list_dir(self, prefix: str) -> Listing:
        """What lies directly under a prefix."""
        self.before("list_dir", prefix)
        return cast(ListableStore, self.store).list_dir(prefix)


class _ReadingInto(StoreWrapper):
    """What a wrapper of a store that fills memory has too."""

    def read_into(self, key: str, target: memoryview) -> int | None:
        """Fill ``target`` from the value."""
        self.before("read_into", key)
        return cast(ReadIntoStore, self.store).read_into(key, target)


class _Ranges(StoreWrapper):
    """What a wrapper of a store that reads several parts of a value at once has too."""

    def get_ranges(self, key: str, byte_ranges: Sequence[ByteRange]) -> Sequence[Buffer | None]:
        """Parts of one value; ``before`` hears of each."""
        for _ in byte_ranges:
            self.before("get_ranges", key)
        return cast(RangeStore, self.store).get_ranges(key, byte_ranges)


class _Versions(StoreWrapper):
    """What a wrapper of a store that tells versions has too."""

    def version(self, key: str) -> Hashable:
        """What changes when the value is replaced."""
        self.before("version", key)
        return cast(VersionedStore, self.store).version(key)


_ABILITIES: tuple[tuple[Any, type[StoreWrapper]], ...] = (
    (WritableStore, _Writing),
    (ListableStore, _Listing),
    (ReadIntoStore, _ReadingInto),
    (RangeStore, _Ranges),
    (VersionedStore, _Versions),
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
