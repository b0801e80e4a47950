"""What a test class of a store says about it: how it is made and filled, and what of it is tested."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import pytest

from daskzarr.stores import (
    AppendStore,
    CreateStore,
    FinishingStore,
    ListableStore,
    MovingStore,
    RangeStore,
    ReadIntoStore,
    SiblingStore,
    SizedStore,
    Store,
    SurveyStore,
    SweepStore,
    SyncingStore,
    VersionedStore,
    WritableStore,
)

_Test = TypeVar("_Test", bound=Callable[..., None])

PROTOCOLS: tuple[type[Any], ...] = (
    Store,
    WritableStore,
    ListableStore,
    ReadIntoStore,
    RangeStore,
    VersionedStore,
    AppendStore,
    CreateStore,
    SizedStore,
    SurveyStore,
    SweepStore,
    MovingStore,
    SyncingStore,
    FinishingStore,
    SiblingStore,
)
"""All that a store may be able to do."""


class Offer:
    """The parts of a test class that each kind of store gives in its own way; see :class:`StoreContract`."""

    protocols: ClassVar[tuple[type[Any], ...]] = PROTOCOLS
    without: ClassVar[tuple[type[Any], ...]] = ()
    big: ClassVar[int] = 32 * 2**20
    many: ClassVar[int] = 1000
    secrets: Sequence[str] = ()

    @pytest.fixture
    def store(self) -> Any:
        """The store to be tested, empty. A subclass has to give it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'store'")

    def seed(self, store: Store, values: Mapping[str, bytes]) -> None:
        """Put values in the store by another way than its ``set``, if it has none: behind its back."""
        writable = self.offered(store, WritableStore)
        assert writable is not None, "a store without set needs a seed() in its test class"
        for key, value in values.items():
            writable.set(key, value)

    def again(self, store: Store) -> Store:
        """The same place with the same access, opened once more. Default: from a pickle."""
        return cast(Store, pickle.loads(pickle.dumps(store)))

    def spoil(self, store: Store, key: str) -> bool:
        """Make it an error to read a key from now on, and say so; False where the test class knows no way."""
        return False

    def offered(self, store: Any, protocol: type[Any]) -> Any:
        """The store, if it keeps the protocol and that is to be tested; None otherwise."""
        tested = protocol in self.protocols and protocol not in self.without
        return store if tested and isinstance(store, protocol) else None


def needs(*protocols: type[Any]) -> Callable[[_Test], _Test]:
    """A test of stores that keep protocols: it is skipped for others, and where a class leaves one of them out."""

    def decorated(test: _Test) -> _Test:
        @functools.wraps(test)
        def run(self: Offer, store: Any, *args: Any, **kwargs: Any) -> None:
            lacking = [protocol.__name__ for protocol in protocols if self.offered(store, protocol) is None]
            if lacking:
                pytest.skip(f"not tested as {', '.join(lacking)}")
            test(self, store, *args, **kwargs)

        return cast(_Test, run)

    return decorated
