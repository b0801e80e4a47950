"""A value is put only where there is none, by one of all that try."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from daskzarr.stores import CreateStore, ListableStore, Store, WritableStore, creates
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, distinct_bytes, value_of

_RACERS = 16


class Creating(Offer):
    """Tests of creating values. A store whose ``can_create`` is False is held to nothing here."""

    @needs(CreateStore)
    def test_create(self, store: CreateStore) -> None:
        """True where nothing was, False where something is, which stays; True again once that is deleted."""
        _has_to_create(store)
        assert store.create("a/b", b"1") is True
        assert store.create("a/b", b"22") is False
        assert store.create("a/b", b"") is False
        assert store.create("a/c", memoryview(bytearray(b"3"))) is True
        assert all_bytes(store.get_many(["a/b", "a/c", "a"])) == [b"1", b"3", None]
        if self.offered(store, ListableStore):
            assert set(store.list_dir("a").keys) == {"b", "c"}  # type: ignore[attr-defined]

    @needs(CreateStore, WritableStore)
    def test_create_beside_set(self, store: CreateStore) -> None:
        """A value that was set is there as well as one that was created, also one of no bytes."""
        _has_to_create(store)
        writable = self.offered(store, WritableStore)
        writable.set("a", b"1")
        writable.set("empty", b"")
        assert (store.create("a", b"2"), store.create("empty", b"2")) == (False, False)
        assert (value_of(store, "a"), value_of(store, "empty")) == (b"1", b"")
        assert store.create("b", b"") is True
        assert (store.create("b", b"3"), value_of(store, "b")) == (False, b"")
        writable.set("b", b"4")
        assert (store.create("b", b"5"), value_of(store, "b")) == (False, b"4")
        for key in ("a", "b"):
            writable.delete(key)
            assert store.create(key, b"6") is True
            assert value_of(store, key) == b"6"

    @needs(CreateStore)
    def test_create_has_one_winner(self, store: CreateStore) -> None:
        """Of sixteen threads that create one key at once, one gets True, and its value is the one that stays."""
        _has_to_create(store)
        with ThreadPoolExecutor(_RACERS) as pool:
            for turn in range(5):
                key = f"race/{turn}/lock"
                values = [distinct_bytes(2000, start=(turn * _RACERS + i) * 1000) for i in range(_RACERS)]
                answers = list(pool.map(_racer(store, key), values))
                assert sorted(answers) == [False] * (_RACERS - 1) + [True]
                assert value_of(store, key) == values[answers.index(True)]

    @needs(CreateStore)
    def test_create_is_all_or_nothing(self, store: CreateStore) -> None:
        """A reader sees nothing or the whole."""
        _has_to_create(store)
        values = {f"big/{i}": distinct_bytes(2**20, start=i * 200_000) for i in range(6)}
        done = threading.Event()

        def watch(_: int) -> int:
            looks = 0
            while not done.is_set():
                for key, value in values.items():
                    assert value_of(store, key) in (None, value)
                looks += 1
            return looks

        with ThreadPoolExecutor(2) as pool:
            watchers = [pool.submit(watch, i) for i in range(2)]
            try:
                for key, value in values.items():
                    assert store.create(key, value) is True
            finally:
                done.set()
            assert [watcher.result() >= 0 for watcher in watchers] == [True, True]
        assert all_bytes(store.get_many(list(values))) == list(values.values())


def _has_to_create(store: Store) -> None:
    """Skip the test of a store that says that it cannot create."""
    if not creates(store):
        pytest.skip("the store says that it cannot create")


def _racer(store: CreateStore, key: str) -> Callable[[bytes], bool]:
    """What creates a key once all racers are ready for it."""
    ready = threading.Barrier(_RACERS)

    def race(value: bytes) -> bool:
        ready.wait(60)
        return store.create(key, value)

    return race
