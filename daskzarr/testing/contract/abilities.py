"""What some stores can do: append, tell versions, finish, sweep, move, wait for the disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daskzarr.stores import (
    AppendStore,
    FinishingStore,
    MovingStore,
    SurveyStore,
    SweepStore,
    SyncingStore,
    VersionedStore,
    WritableStore,
)
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, distinct_bytes, value_of

_TREE = {"a/b": b"1", "a/c/d": b"22", "a/c/e": b"", "ab/c": b"333"}


class Abilities(Offer):
    """Tests of smaller abilities."""

    @needs(AppendStore)
    def test_append(self, store: AppendStore) -> None:
        """A value is made if it is not there, and grows."""
        store.append("a/log", b"one\n")
        assert value_of(store, "a/log") == b"one\n"
        store.append("a/log", memoryview(bytearray(b"two\n")))
        store.append("a/log", b"")
        assert value_of(store, "a/log") == b"one\ntwo\n"
        big = distinct_bytes(300_000)
        store.append("a/log", big)
        assert value_of(store, "a/log") == b"one\ntwo\n" + big
        assert store.get("a/other") is None

    @needs(AppendStore, WritableStore)
    def test_append_beside_set(self, store: Any) -> None:
        """A value that was set grows as well, and one that grew can be replaced and deleted."""
        store.set("a", b"1")
        store.append("a", b"2")
        assert value_of(store, "a") == b"12"
        store.set("a", b"3")
        assert value_of(store, "a") == b"3"
        store.append("a", b"4")
        store.delete("a")
        assert store.get("a") is None
        store.append("a", b"5")
        assert all_bytes(store.get_many(["a", "b"])) == [b"5", None]

    @needs(AppendStore)
    def test_append_loses_nothing(self, store: AppendStore) -> None:
        """Of eight threads that append to one value at once, every line is there, whole, in each one's own order."""

        def work(thread: int) -> None:
            for turn in range(20):
                store.append("a/log", f"{thread} {turn} {thread * 1000 + turn:050}\n".encode())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        lines = (value_of(store, "a/log") or b"").decode().splitlines()
        assert len(lines) == 160
        for thread in range(8):
            own = [line for line in lines if line.startswith(f"{thread} ")]
            assert own == [f"{thread} {turn} {thread * 1000 + turn:050}" for turn in range(20)]

    @needs(VersionedStore, WritableStore)
    def test_version(self, store: Any) -> None:
        """It is the same until a value is replaced, deleted or made anew, and None where there is none."""
        assert store.version("a/b") is None
        store.set("a/b", b"1" * 100)
        first = store.version("a/b")
        assert store.version("a") is None
        assert store.version("a/b") == first
        assert hash(first) == hash(store.version("a/b"))
        store.set("a/c", b"other")
        assert store.get("a/b") is not None
        assert store.version("a/b") == first
        if first is None:
            return  # a store that cannot tell says so
        seen = [first]
        for value in (b"2" * 100, b"3", b"4" * 5000, b"5" * 5000):
            store.set("a/b", value)
            assert store.version("a/b") not in seen
            seen.append(store.version("a/b"))
        store.delete("a/b")
        assert store.version("a/b") is None

    @needs(FinishingStore)
    def test_finish(self, store: FinishingStore) -> None:
        """It may be done at any time, twice too, and writing goes on after it."""
        store.finish()
        for turn in range(3):
            store.set(f"a/{turn}", b"%d" % turn)
            store.set("b", b"%d" % turn)
            store.finish()
            store.finish()
            assert value_of(store, f"a/{turn}") == value_of(store, "b") == b"%d" % turn
        store.delete("a/1")
        store.finish()
        assert all_bytes(store.get_many(["a/0", "a/1", "a/2", "b"])) == [b"0", None, b"2", b"2"]
        assert value_of(self.again(store), "b") == b"2"

    @needs(SweepStore)
    def test_leftovers(self, store: SweepStore) -> None:
        """Writes that came to their end leave nothing, however many went on at once."""
        assert list(store.leftovers("")) == []
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: store.set(f"a/{i % 5}", distinct_bytes(5000, start=i * 1000)), range(80)))
        for prefix in ("", "a", "a/", "b"):
            assert list(store.leftovers(prefix)) == []

    @needs(MovingStore, SurveyStore)
    def test_move_below(self, store: Any) -> None:
        """Every value is at its new place and none at the old one; or nothing has changed."""
        for key, value in _TREE.items():
            store.set(key, value)
        moved = store.move_below("a", store, "x/y")
        lead = "x/y" if moved else "a"
        there = [f"{lead}/b", f"{lead}/c/d", f"{lead}/c/e", "ab/c"]
        assert sorted(key for key, _ in store.survey("")) == sorted(there)
        assert all_bytes(store.get_many(there)) == list(_TREE.values())

    @needs(MovingStore, SurveyStore)
    def test_move_below_does_nothing_where_it_cannot(self, store: Any) -> None:
        """With nothing to move, and onto what is there, it says False."""
        assert store.move_below("a", store, "b") is False
        for key, value in _TREE.items():
            store.set(key, value)
        assert store.move_below("nothing", store, "b") is False
        assert store.move_below("a", store, "ab") is False
        assert sorted(key for key, _ in store.survey("")) == sorted(_TREE)
        assert all_bytes(store.get_many(list(_TREE))) == list(_TREE.values())

    @needs(SyncingStore)
    def test_synced(self, store: SyncingStore) -> None:
        """The same place, written with more care."""
        careful = store.synced()
        assert isinstance(careful, WritableStore)
        assert careful.url == store.url
        careful.set("a/b", b"1")
        assert value_of(store, "a/b") == b"1"
        store.set("a/b", b"2")
        assert value_of(careful, "a/b") == b"2"
        careful.delete("a/b")
        assert store.get("a/b") is None
        assert careful == store.synced()
