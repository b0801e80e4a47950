"""A value comes back as it was put there, whole and in part, under whatever key."""

from __future__ import annotations

import pytest

from daskzarr.byte_range import ByteRange
from daskzarr.stores import ListableStore, ReadIntoStore, Store, WritableStore
from daskzarr.testing.contract.offer import Offer
from daskzarr.testing.contract.values import DECOYS, ODD_KEYS, as_bytes, distinct_bytes, value_of


class Reading(Offer):
    """Tests of reading one value."""

    def test_get_whole(self, store: Store) -> None:
        """A value comes back as it is."""
        values = {"a": distinct_bytes(100), "b/c": distinct_bytes(70, 50), "b/d/e": b"\0\r\n\xff"}
        self.seed(store, values)
        for key, value in values.items():
            assert value_of(store, key) == value
            assert value_of(store, key) == value  # and once more

    def test_get_missing_is_none(self, store: Store) -> None:
        """A key that is not there is None, beside others and in an empty store."""
        assert store.get("a") is None
        assert store.get("a/b") is None
        self.seed(store, {"a/b/c": b"1", "ab": b"2"})
        for key in ("b", "a/b/d", "a/c", "a/b/c/d", "x/y/z", "a/b/cc"):
            assert store.get(key) is None, key
            assert store.get(key, ByteRange(1, 2)) is None, key
            assert store.get(key, ByteRange(-2)) is None, key
            assert store.get(key, ByteRange(3, 0)) is None, key

    def test_get_of_a_folder_is_none(self, store: Store) -> None:
        """A prefix of keys is no key."""
        self.seed(store, {"a/b/c": b"1"})
        assert store.get("a") is None
        assert store.get("a/b") is None
        assert list(store.get_many(["a", "a/b/c", "a/b"])) == [None, b"1", None]

    def test_empty_value(self, store: Store) -> None:
        """A value of no bytes is a value."""
        self.seed(store, {"a": b"", "b": b"1"})
        assert value_of(store, "a") == b""
        assert [as_bytes(value) for value in store.get_many(["a", "b", "c"])] == [b"", b"1", None]
        for byte_range in (ByteRange(0, 4), ByteRange(0), ByteRange(-3), ByteRange(5, 1)):
            assert value_of(store, "a", byte_range) == b"", byte_range

    def test_get_gives_a_value_apart(self, store: Store) -> None:
        """A caller that writes into what it got, where it can, does not change the store."""
        self.seed(store, {"a": b"123"})
        found = store.get("a")
        assert found is not None
        view = memoryview(found)
        if not view.readonly:
            view.cast("B")[0] = 0
        assert value_of(store, "a") == b"123"

    def test_big_value(self, store: Store) -> None:
        """Values far beyond any buffer come whole, and in part."""
        value = distinct_bytes(self.big)
        self.seed(store, {"a/big": value, "a/small": b"1"})
        assert value_of(store, "a/big") == value
        assert [as_bytes(found) for found in store.get_many(["a/small", "a/big"])] == [b"1", value]
        assert value_of(store, "a/big", ByteRange(self.big // 2, 1000)) == value[self.big // 2 :][:1000]
        assert value_of(store, "a/big", ByteRange(-1000)) == value[-1000:]
        if self.offered(store, ReadIntoStore):
            target = bytearray(self.big)
            assert store.read_into("a/big", memoryview(target)) == self.big  # type: ignore[attr-defined]
            assert target == value

    @pytest.mark.parametrize("key", ODD_KEYS.values(), ids=list(ODD_KEYS))
    def test_odd_key(self, store: Store, key: str) -> None:
        """A key means itself: it is no pattern, no part of a URL, and not cleaned up; nothing else goes with it."""
        decoys = {name: b"decoy " + name.encode() for name in DECOYS if not key.startswith(name + "/")}
        self.seed(store, decoys)
        assert store.get(key) is None
        assert list(store.get_many([key])) == [None]
        self.seed(store, {key: b"odd", key + "z/below": b"below"})
        assert value_of(store, key) == b"odd"
        assert [as_bytes(value) for value in store.get_many([key, "ab"])] == [b"odd", b"decoy ab"]
        if self.offered(store, ListableStore):
            folder, _, name = key.rpartition("/")
            assert name in store.list_dir(folder).keys  # type: ignore[attr-defined]
            assert name + "z" in store.list_dir(folder).prefixes  # type: ignore[attr-defined]
            assert store.list_dir(key + "z").keys == ("below",)  # type: ignore[attr-defined]
        writable = self.offered(store, WritableStore)
        if writable is not None:
            writable.set(key, b"new")
            assert value_of(store, key) == b"new"
            writable.delete_below(key + "z")
            assert (value_of(store, key), store.get(key + "z/below")) == (b"new", None)
            writable.delete(key)
            assert store.get(key) is None
        for name, value in decoys.items():
            assert value_of(store, name) == value, name
