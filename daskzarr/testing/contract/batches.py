"""Values of many keys come in their order, however many are asked for, at once and in all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from daskzarr.stores import Store, Traffic, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, as_bytes, distinct_bytes, value_of


class Batches(Offer):
    """Tests of reading many values."""

    def test_get_many_keeps_order(self, store: Store) -> None:
        """Values come in the order of the keys: missing ones among them, and some asked for twice."""
        self.seed(store, {"a": b"1", "b": b"22", "c/d": b"333"})
        keys = ["c/d", "x", "a", "c/d", "b", "x", "a", "c/x"]
        expected = [b"333", None, b"1", b"333", b"22", None, b"1", None]
        assert all_bytes(store.get_many(keys)) == expected
        assert list(store.get_many([])) == []
        assert list(store.get_many(["x"])) == [None]
        assert all_bytes(store.get_many(("b",))) == [b"22"]

    def test_get_many_of_many(self, store: Store) -> None:
        """Many keys in one request, of values of many sizes, every seventh missing."""
        keys = [f"c/{i % 10}/{i}" for i in range(self.many)]
        values = {key: distinct_bytes(i % 97, start=i * 100) for i, key in enumerate(keys) if i % 7}
        self.seed(store, values)
        assert all_bytes(store.get_many(keys)) == [values.get(key) for key in keys]

    @pytest.mark.parametrize("requests", [1, 3, 100])
    def test_get_many_of_any_traffic(self, store: Store, requests: int) -> None:
        """However many requests may be under way, values are the same."""
        keys = [f"c/{i}" for i in range(50)]
        values = {key: distinct_bytes(i * 50, start=i * 100) for i, key in enumerate(keys) if i % 7}
        self.seed(store, values)
        traffic = Traffic(requests=requests)
        assert all_bytes(store.get_many(keys, traffic)) == [values.get(key) for key in keys]
        assert all_bytes(store.get_many(keys[:requests], traffic)) == [values.get(key) for key in keys[:requests]]
        assert list(store.get_many([], traffic)) == []

    def test_get_many_of_growing_and_shrinking_values(self, store: Store) -> None:
        """What one value is long says nothing about the next."""
        sizes = [10, 0, 10_000, 3, 13_000, 12_999, 1, 300_000, 0, 10]
        values = {f"v{i}": distinct_bytes(size, start=i * 1_000_000) for i, size in enumerate(sizes)}
        self.seed(store, values)
        assert all_bytes(store.get_many(list(values))) == list(values.values())

    def test_get_many_may_be_left(self, store: Store) -> None:
        """Who stops in the middle has what came until then, and the store goes on working."""
        self.seed(store, {"a": b"1", "b": b"2", "c": b"3"})
        values = iter(store.get_many(["a", "b", "c"]))
        assert as_bytes(next(values)) == b"1"
        del values
        assert all_bytes(store.get_many(["b", "c"])) == [b"2", b"3"]

    def test_get_many_may_be_left_with_many_to_come(self, store: Store) -> None:
        """What was not taken is in nobody's way, neither while it could be, nor after."""
        values = {f"c/{i}": distinct_bytes(1000, start=i * 1000) for i in range(100)}
        self.seed(store, values)
        keys, found = list(values), list(values.values())
        open_ones = [iter(store.get_many(keys * 5)) for _ in range(4)]
        for taken, begun in enumerate(open_ones):
            assert all_bytes(next(begun) for _ in range(taken)) == found[:taken]
        assert all_bytes(store.get_many(keys)) == found
        del begun, open_ones
        assert all_bytes(store.get_many(keys)) == found
        assert value_of(store, "c/7") == found[7]
        store.get_many(keys)  # never begun
        assert value_of(store, "c/8") == found[8]

    def test_get_many_side_by_side(self, store: Store) -> None:
        """Several may be gone through in turn, with other requests between."""
        values = {f"c/{i}": b"%d" % i for i in range(40)}
        self.seed(store, values)
        keys = list(values)
        pairs = zip(store.get_many(keys), store.get_many(keys[::-1]), strict=True)
        for i, (one, other) in enumerate(pairs):
            assert (as_bytes(one), as_bytes(other)) == (b"%d" % i, b"%d" % (39 - i))
            assert value_of(store, keys[i]) == b"%d" % i

    @needs(WritableStore)
    def test_get_many_while_writing(self, store: WritableStore) -> None:
        """What is written meanwhile waits for nobody; a value not taken yet is the old one, the new one, or gone."""
        keys = [f"c/{i}" for i in range(60)]
        self.seed(store, dict.fromkeys(keys, b"old"))
        for i, value in enumerate(store.get_many(keys)):
            assert as_bytes(value) in (b"old", b"new", None)
            assert i > 0 or value == b"old"
            store.set(f"d/{i}", b"other")
            store.set(keys[min(i + 20, 59)], b"new")
            store.delete(keys[min(i + 40, 59)])
        assert all_bytes(store.get_many([f"d/{i}" for i in range(60)])) == [b"other"] * 60

    def test_get_many_raises_at_the_turn_of_what_failed(self, store: Store) -> None:
        """What comes before is there; what comes after may be asked for again."""
        self.seed(store, {f"a{i}": b"%d" % i for i in range(9)})
        if not self.spoil(store, "a4"):
            pytest.skip("the test class has no way to make a request fail")
        keys = [f"a{i}" for i in range(9)]
        for traffic in (Traffic(), Traffic(requests=1)):
            values = iter(store.get_many(keys, traffic))
            assert all_bytes(next(values) for _ in range(4)) == [b"0", b"1", b"2", b"3"]
            error = _error_of(partial(next, values))
            assert not [secret for secret in self.secrets if secret in f"{error!r} {error}"]
            assert all_bytes(values) in ([], [b"5", b"6", b"7", b"8"])
            assert all_bytes(store.get_many(keys[5:], traffic)) == [b"5", b"6", b"7", b"8"]
        _error_of(lambda: store.get("a4"))


def _error_of(request: Callable[[], Any]) -> Exception:
    """What a request raises, which has to be an error."""
    try:
        found = request()
    except StopIteration:
        pytest.fail("it came to an end where it had to raise")
    except Exception as error:
        return error
    pytest.fail(f"{found!r} came where an error had to")
