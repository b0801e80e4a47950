"""Many threads at once do not get in each other's way, and never see half a value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from daskzarr.byte_range import ByteRange
from daskzarr.stores import ReadIntoStore, Store, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, as_bytes, distinct_bytes, value_of


class Concurrency(Offer):
    """Tests of threads."""

    @needs(WritableStore)
    def test_threads_on_keys_of_their_own(self, store: WritableStore) -> None:
        """Eight threads write, read and delete side by side, each its own keys."""

        def work(thread: int) -> None:
            for turn in range(12):
                keys = [f"t/{turn}/{thread}/{part}" for part in range(3)]
                values = [distinct_bytes(500 * (part + 1), start=(thread * 100 + turn) * 1000) for part in range(3)]
                for key, value in zip(keys, values, strict=True):
                    store.set(key, value)
                assert [as_bytes(value) for value in store.get_many(keys)] == values
                assert value_of(store, keys[1], ByteRange(10, 20)) == values[1][10:30]
                store.delete(keys[0])
                assert store.get(keys[0]) is None

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        left = [f"t/{turn}/{thread}/2" for turn in range(12) for thread in range(8)]
        assert all(value is not None for value in store.get_many(left))

    def test_threads_that_read_the_same(self, store: Store) -> None:
        """Eight threads read the same keys."""
        values = {f"k/{i}": distinct_bytes(1000, start=i * 1000) for i in range(20)}
        self.seed(store, values)

        def work(thread: int) -> None:
            for turn in range(4):
                keys = [f"k/{(thread + turn + i) % 25}" for i in range(10)]
                assert [as_bytes(value) for value in store.get_many(keys)] == [values.get(key) for key in keys]
                assert value_of(store, keys[0]) == values.get(keys[0])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    @needs(WritableStore)
    def test_readers_see_whole_values(self, store: WritableStore) -> None:
        """While a value is replaced again and again, a reader sees the one before or the one after, whole."""
        versions = [distinct_bytes(300_000, start=i * 100_000) for i in range(24)]
        known = set(versions)
        store.set("a/b", versions[0])
        done = threading.Event()

        def poll(reads: Iterator[Callable[[], bytes | None]]) -> int:
            count = 0
            for read in reads:
                assert read() in known
                count += 1
            return count

        def until_done(*reads: Callable[[], bytes | None]) -> Iterator[Callable[[], bytes | None]]:
            while not done.is_set():
                yield from reads
            yield from reads

        def into() -> bytes | None:
            target = bytearray(300_000)
            size = store.read_into("a/b", memoryview(target))  # type: ignore[attr-defined]
            return bytes(target) if size == 300_000 else None

        reads: list[Callable[[], bytes | None]] = [
            lambda: value_of(store, "a/b"),
            lambda: as_bytes(next(iter(store.get_many(["a/b"])))),
        ]
        if self.offered(store, ReadIntoStore):
            reads.append(into)
        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(poll, until_done(*reads)) for _ in range(3)]
            try:
                for version in versions:
                    store.set("a/b", version)
            finally:
                done.set()
            assert all(reader.result() > 0 for reader in readers)
        assert value_of(store, "a/b") == versions[-1]

    @needs(WritableStore)
    def test_threads_that_write_the_same(self, store: WritableStore) -> None:
        """Of eight threads that set one key, the value of one is there in the end, whole."""
        values = [distinct_bytes(20_000, start=i * 10_000) for i in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda value: store.set("a/b", value), values))
        assert value_of(store, "a/b") in values

    @needs(WritableStore)
    def test_threads_that_delete_the_same(self, store: WritableStore) -> None:
        """Of several that delete one thing, all come to their end."""
        deletes: list[Callable[[], None]] = [
            lambda: store.delete("a/b/1"),
            lambda: store.delete("a/b/2"),
            lambda: store.delete_below("a/b"),
            lambda: store.delete_below("a"),
        ]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                self.seed(store, {f"a/b/{i}": b"%d" % i for i in range(8)} | {"ab/c": b"stays"})
                list(pool.map(lambda delete: delete(), deletes * 4))
                assert all_bytes(store.get_many(["a/b/1", "a/b/7", "ab/c"])) == [None, None, b"stays"]

    def test_threads_that_leave_what_they_began(self, store: Store) -> None:
        """Eight threads each go through a part of many values, and leave the rest."""
        values = [distinct_bytes(300, start=i * 100) for i in range(30)]
        keys = [f"k/{i}" for i in range(30)]
        self.seed(store, dict(zip(keys, values, strict=True)))
        assert all_bytes(store.get_many(keys)) == values

        def work(taken: int) -> list[bytes | None]:
            begun = iter(store.get_many(keys))
            return all_bytes(next(begun) for _ in range(taken))

        with ThreadPoolExecutor(8) as pool:
            for taken, found in enumerate(pool.map(work, range(24))):
                assert found == values[:taken]
        assert all_bytes(store.get_many(keys)) == values
