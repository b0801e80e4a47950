"""What every store keeps to, as tests to inherit: prove a store of your own with a few lines."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest

from daskzarr.byte_range import ByteRange
from daskzarr.stores import Buffer, ListableStore, ReadIntoStore, Store, WritableStore

_RANGES = {
    "first bytes": (0, 5),
    "middle": (3, 4),
    "one byte": (7, 1),
    "to the end": (4, None),
    "whole": (0, None),
    "whole by length": (0, 20),
    "last byte": (19, 1),
    "longer than the rest": (15, 100),
    "longer than the value": (0, 100),
    "nothing": (5, 0),
    "at the end": (20, None),
    "past the end": (30, 10),
    "past the end, open": (30, None),
    "suffix": (-4, None),
    "suffix of all": (-20, None),
    "suffix longer than the value": (-50, None),
    "inside a suffix": (-10, 4),
    "suffix by length": (-4, 4),
    "suffix shorter than its length": (-4, 9),
    "suffix that begins before the value": (-22, 5),
}

_ODD_KEYS = {
    "leading dot": ".zarray",
    "dots": "..a.b..c.",
    "spaces": " a  b ",
    "percent": "50%",
    "percent code": "a%20b",
    "plus": "a+b",
    "brackets": "a[b]c",
    "only brackets": "[0]",
    "star": "a*",
    "only star": "*",
    "question mark": "a?b",
    "hash": "a#b",
    "tilde": "~",
    "at and colon": "a@b:c",
    "punctuation": "-{a,b};c=d&e$f'g\"h!",
    "upper case": "A",
    "accents": "\u00fcn\u00efc\u00f6d\u00e9",
    "beyond Latin": "\u65e5\u672c\u8a9e \U0001f30a",
    "200 characters": "x" * 200,
    "250 characters": "y" * 250,
    "odd folder": "d [1]*?/e",
    "deep": "/".join("abcdefghijklmnopqrstuvwxyz"),
}

# What an odd key stands for to code that takes it for a pattern, a part of a URL, or a path to be cleaned up.
_DECOYS = ("a", "ab", "abc", "axb", "0", "50", "c", "b", "rf", "d 1xx/e")


def distinct_bytes(size: int, start: int = 0) -> bytes:
    """A value in which every eight bytes differ from every other eight, whatever ``start``.

    >>> distinct_bytes(10, 1)[:9].hex()
    '157c4a7fb979379e2a'
    """
    numbers = np.arange(start, start + -(-size // 8), dtype="<u8")
    return (numbers * np.uint64(0x9E3779B97F4A7C15)).tobytes()[:size]


class StoreContract:
    """Tests of a store. Inherit them under a name that pytest collects, and give a fixture ``store``.

    The store has to be empty when a test begins, and no other test's. What is tested follows from the protocols
    (:mod:`daskzarr.stores.protocol`) that the store keeps: one that can only be read needs a :meth:`seed` of its own.

    Attributes
    ----------
    protocols
        What is tested, of what the store offers. Cut it down for a store that has methods it cannot serve everywhere:
        ``(Store,)`` proves reading alone.
    big
        Size in bytes of the largest value tried. Default 32 MiB.

    Examples
    --------
    >>> import pytest
    >>> from daskzarr.stores import MappingStore
    >>> class TestMyStore(StoreContract):
    ...     @pytest.fixture
    ...     def store(self):
    ...         return MappingStore({})
    """

    protocols: ClassVar[tuple[type[Any], ...]] = (Store, WritableStore, ListableStore, ReadIntoStore)
    big: ClassVar[int] = 32 * 2**20

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

    def offered(self, store: Any, protocol: type[Any]) -> Any:
        """The store, if it keeps the protocol and that is to be tested; None otherwise."""
        return store if protocol in self.protocols and isinstance(store, protocol) else None

    # What the store is

    def test_keeps_its_protocols_whole(self, store: Store) -> None:
        """A store with some methods of a protocol has all of them."""
        assert isinstance(store, Store)
        for protocol, methods in (
            (WritableStore, ("set", "delete", "delete_below", "shared")),
            (ListableStore, ("list_dir",)),
            (ReadIntoStore, ("read_into",)),
        ):
            has_some = any(hasattr(store, method) for method in methods)
            assert has_some == isinstance(store, protocol), protocol.__name__

    def test_url_names_the_store_without_credentials(self, store: Store) -> None:
        """The url is text, stays the same, and has no user or password in it."""
        assert isinstance(store.url, str)
        assert store.url
        assert store.url == store.url
        assert re.search(r"://[^/]*@", store.url) is None

    def test_shared_is_a_bool(self, store: Store) -> None:
        """A store that can be written says whether other processes see it."""
        writable = self.offered(store, WritableStore)
        if writable is not None:
            assert isinstance(writable.shared, bool)

    def test_pickles(self, store: Store) -> None:
        """A copy shows the same contents under the same url, and is equal, hash included."""
        self.seed(store, {"a/b": b"one", "c": b""})
        copy = pickle.loads(pickle.dumps(store))
        assert (value_of(copy, "a/b"), value_of(copy, "c"), value_of(copy, "d")) == (b"one", b"", None)
        assert copy == store
        assert hash(copy) == hash(store)
        assert copy.url == store.url
        assert store != object()

    # Reading

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

    @pytest.mark.parametrize(("offset", "length"), _RANGES.values(), ids=list(_RANGES))
    def test_get_range(self, store: Store, offset: int, length: int | None) -> None:
        """A part of a value is what slicing the value gives."""
        value = distinct_bytes(20)
        self.seed(store, {"a/b": value})
        start = max(20 + offset, 0) if offset < 0 else offset
        expected = value[start:] if length is None else value[start : start + length]
        assert value_of(store, "a/b", ByteRange(offset, length)) == expected
        assert value_of(store, "a/b") == value

    def test_empty_value(self, store: Store) -> None:
        """A value of no bytes is a value."""
        self.seed(store, {"a": b"", "b": b"1"})
        assert value_of(store, "a") == b""
        assert [as_bytes(value) for value in store.get_many(["a", "b", "c"])] == [b"", b"1", None]
        for byte_range in (ByteRange(0, 4), ByteRange(0), ByteRange(-3), ByteRange(5, 1)):
            assert value_of(store, "a", byte_range) == b"", byte_range

    def test_get_many_keeps_order(self, store: Store) -> None:
        """Values come in the order of the keys: missing ones among them, and some asked for twice."""
        self.seed(store, {"a": b"1", "b": b"22", "c/d": b"333"})
        keys = ["c/d", "x", "a", "c/d", "b", "x", "a", "c/x"]
        expected = [b"333", None, b"1", b"333", b"22", None, b"1", None]
        assert [as_bytes(value) for value in store.get_many(keys)] == expected
        assert list(store.get_many([])) == []
        assert list(store.get_many(["x"])) == [None]
        assert [as_bytes(value) for value in store.get_many(("b",))] == [b"22"]

    def test_get_many_of_many(self, store: Store) -> None:
        """A thousand keys in one request, of values of many sizes, every seventh missing."""
        keys = [f"c/{i % 10}/{i}" for i in range(1000)]
        values = {key: distinct_bytes(i % 97, start=i * 100) for i, key in enumerate(keys) if i % 7}
        self.seed(store, values)
        assert [as_bytes(value) for value in store.get_many(keys)] == [values.get(key) for key in keys]

    def test_get_many_of_growing_and_shrinking_values(self, store: Store) -> None:
        """What one value is long says nothing about the next."""
        sizes = [10, 0, 10_000, 3, 13_000, 12_999, 1, 300_000, 0, 10]
        values = {f"v{i}": distinct_bytes(size, start=i * 1_000_000) for i, size in enumerate(sizes)}
        self.seed(store, values)
        assert [as_bytes(value) for value in store.get_many(list(values))] == list(values.values())

    def test_get_many_may_be_left(self, store: Store) -> None:
        """Who stops in the middle has what came until then, and the store goes on working."""
        self.seed(store, {"a": b"1", "b": b"2", "c": b"3"})
        values = iter(store.get_many(["a", "b", "c"]))
        assert as_bytes(next(values)) == b"1"
        del values
        assert [as_bytes(value) for value in store.get_many(["b", "c"])] == [b"2", b"3"]

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

    @pytest.mark.parametrize("key", _ODD_KEYS.values(), ids=list(_ODD_KEYS))
    def test_odd_key(self, store: Store, key: str) -> None:
        """A key means itself: it is no pattern, no part of a URL, and not cleaned up; nothing else goes with it."""
        decoys = {name: b"decoy " + name.encode() for name in _DECOYS if not key.startswith(name + "/")}
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

    # Writing

    @pytest.mark.parametrize(
        "make",
        [
            bytes,
            bytearray,
            memoryview,
            lambda value: memoryview(bytearray(value)),
            lambda value: memoryview(b"x" + value + b"y")[1:-1],
            lambda value: np.frombuffer(value, np.uint8).data,
            lambda value: np.frombuffer(value, np.float64).data,
            lambda value: np.frombuffer(value, np.int16).reshape(4, 5, -1).data,
        ],
        ids=[
            "bytes",
            "bytearray",
            "memoryview",
            "memoryview of bytearray",
            "part of a memoryview",
            "NumPy bytes",
            "NumPy floats",
            "NumPy array of three axes",
        ],
    )
    def test_set_takes_any_buffer(self, store: Store, make: Callable[[bytes], Buffer]) -> None:
        """The bytes of a buffer are stored, whatever it holds them in."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        value = distinct_bytes(400)
        writable.set("a/b", make(value))
        assert value_of(store, "a/b") == value

    @pytest.mark.parametrize(
        "make", [bytearray, lambda value: np.frombuffer(value, np.uint8).copy()], ids=["bytearray", "NumPy array"]
    )
    def test_set_keeps_a_copy(self, store: Store, make: Callable[[bytes], Any]) -> None:
        """What becomes of the caller's memory afterwards does not reach the stored value."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        value = distinct_bytes(64)
        buffer = make(value)
        writable.set("a", memoryview(buffer))
        buffer[:] = make(bytes(64))
        assert value_of(store, "a") == value

    def test_get_gives_a_value_apart(self, store: Store) -> None:
        """A caller that writes into what it got, where it can, does not change the store."""
        self.seed(store, {"a": b"123"})
        found = store.get("a")
        assert found is not None
        view = memoryview(found)
        if not view.readonly:
            view.cast("B")[0] = 0
        assert value_of(store, "a") == b"123"

    def test_set_empty(self, store: Store) -> None:
        """No bytes are set as a value of their own, also over an older one."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        writable.set("a", b"")
        writable.set("b", b"123")
        writable.set("b", memoryview(bytearray()))
        assert value_of(store, "a") == value_of(store, "b") == b""

    def test_set_replaces_whole(self, store: Store) -> None:
        """A new value leaves nothing of the old one, be it longer or shorter."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        for size in (100, 3, 5000, 0, 7):
            writable.set("a/b", distinct_bytes(size, start=size))
            assert value_of(store, "a/b") == distinct_bytes(size, start=size)
            assert [as_bytes(value) for value in store.get_many(["a/b"])] == [distinct_bytes(size, start=size)]

    def test_set_makes_nested_keys(self, store: Store) -> None:
        """Nothing has to be there for a deep key, and neighbours at every depth live side by side."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        keys = ["a/b/c/d/e", "a/b/c/d/f", "a/b/x", "a/y", "z"]
        for i, key in enumerate(keys):
            writable.set(key, str(i).encode())
        assert [value_of(store, key) for key in keys] == [b"0", b"1", b"2", b"3", b"4"]

    def test_delete(self, store: Store) -> None:
        """A deleted value is gone, and can be set anew; nothing else changes."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        self.seed(store, {"a/b": b"1", "a/bc": b"2", "a/c": b"3"})
        assert value_of(store, "a/b") == b"1"
        writable.delete("a/b")
        assert store.get("a/b") is None
        assert [as_bytes(value) for value in store.get_many(["a/b", "a/bc", "a/c"])] == [None, b"2", b"3"]
        writable.set("a/b", b"4")
        assert value_of(store, "a/b") == b"4"

    def test_delete_of_missing_is_no_error(self, store: Store) -> None:
        """Deleting what is not there does nothing, twice too, and so does deleting a prefix as if it were a key."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        writable.delete("a")
        writable.delete("a/b")
        self.seed(store, {"a/b": b"1"})
        for key in ("a/c", "a/b/c", "x", "a/c"):
            writable.delete(key)
        assert value_of(store, "a/b") == b"1"

    def test_delete_of_a_folder_is_no_error(self, store: Store) -> None:
        """A prefix of keys is no key: there is nothing to delete, and what is below it stays."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        self.seed(store, {"a/b/c": b"1"})
        writable.delete("a/b")
        writable.delete("a")
        assert value_of(store, "a/b/c") == b"1"

    def test_delete_below(self, store: Store) -> None:
        """All below a prefix goes, and nothing that only begins with the same letters."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        gone = ["a/b", "a/c/d", "a/c/e/f", "a/.zattrs"]
        kept = ["ab/c", "a.b", "aa", "b/a/b", ".a", "A/b"]
        self.seed(store, {key: key.encode() for key in gone + kept})
        writable.delete_below("a")
        assert list(store.get_many(gone)) == [None] * len(gone)
        assert [value_of(store, key) for key in kept] == [key.encode() for key in kept]
        writable.set("a/b", b"again")
        assert value_of(store, "a/b") == b"again"
        assert store.get("a/c/d") is None

    def test_delete_below_a_nested_prefix(self, store: Store) -> None:
        """The same further down."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        self.seed(store, {"a/b/c": b"1", "a/b/d/e": b"2", "a/bb/c": b"3", "a/x": b"4"})
        writable.delete_below("a/b")
        assert list(store.get_many(["a/b/c", "a/b/d/e"])) == [None, None]
        assert [value_of(store, key) for key in ("a/bb/c", "a/x")] == [b"3", b"4"]

    def test_delete_below_keeps_the_key_itself(self, store: Store) -> None:
        """A value under the very prefix is not below it."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        self.seed(store, {"a": b"1", "b/c": b"2"})
        writable.delete_below("a")
        writable.delete_below("b/c")
        assert (value_of(store, "a"), value_of(store, "b/c")) == (b"1", b"2")

    def test_delete_below_of_missing_is_no_error(self, store: Store) -> None:
        """There may be nothing to delete."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        writable.delete_below("a")
        writable.delete_below("")
        self.seed(store, {"ab/c": b"1"})
        writable.delete_below("a")
        writable.delete_below("ab/d")
        assert value_of(store, "ab/c") == b"1"

    def test_delete_below_the_top(self, store: Store) -> None:
        """``""`` empties the store, which goes on working."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        self.seed(store, {"a": b"1", "b/c": b"2", ".d/e": b"3"})
        writable.delete_below("")
        assert list(store.get_many(["a", "b/c", ".d/e"])) == [None, None, None]
        writable.set("b/c", b"4")
        assert value_of(store, "b/c") == b"4"

    # Listing

    def test_list_dir(self, store: Store) -> None:
        """Keys and prefixes directly below, by their last part, each once, in order."""
        listable = self.offered(store, ListableStore)
        if listable is None:
            return
        assert listable.list_dir("") == ((), ())
        keys = ("zarr.json", "a/zarr.json", "a/c/0", "a/c/1", "a/c/1.5", "ab/x", "b/c/d/e", ".zgroup")
        self.seed(store, {key: key.encode() for key in keys})
        found = {prefix: listable.list_dir(prefix) for prefix in ("", "a", "a/c", "b", "b/c", "b/c/d")}
        assert {prefix: (set(listing.keys), set(listing.prefixes)) for prefix, listing in found.items()} == {
            "": ({"zarr.json", ".zgroup"}, {"a", "ab", "b"}),
            "a": ({"zarr.json"}, {"c"}),
            "a/c": ({"0", "1", "1.5"}, set()),
            "b": (set(), {"c"}),
            "b/c": (set(), {"d"}),
            "b/c/d": ({"e"}, set()),
        }
        for listing in found.values():
            assert len(set(listing.keys)) == len(listing.keys)
            assert len(set(listing.prefixes)) == len(listing.prefixes)

    def test_list_dir_of_missing_is_empty(self, store: Store) -> None:
        """Nothing lies under a prefix that is not there, nor under a key."""
        listable = self.offered(store, ListableStore)
        if listable is None:
            return
        assert listable.list_dir("x") == ((), ())
        self.seed(store, {"ab/c": b"1", "d": b"2"})
        for prefix in ("a", "abc", "ab/c", "ab/d", "d", "d/e", "x/y/z"):
            assert listable.list_dir(prefix) == ((), ()), prefix

    def test_list_dir_is_up_to_date(self, store: Store) -> None:
        """What was set or deleted since shows at once."""
        listable, writable = self.offered(store, ListableStore), self.offered(store, WritableStore)
        if listable is None or writable is None:
            return
        writable.set("a/b", b"1")
        assert listable.list_dir("a").keys == ("b",)
        writable.set("a/c", b"2")
        writable.set("a/d/e", b"3")
        assert (set(listable.list_dir("a").keys), listable.list_dir("a").prefixes) == ({"b", "c"}, ("d",))
        writable.delete("a/b")
        assert listable.list_dir("a").keys == ("c",)
        writable.delete_below("a/d")
        assert listable.list_dir("a") == (("c",), ())
        writable.delete_below("a")
        assert listable.list_dir("") == ((), ())

    # Reading into memory at hand

    @pytest.mark.parametrize(("size", "room"), [(40, 40), (24, 40), (100, 40), (41, 40), (0, 40), (40, 0), (0, 0)])
    def test_read_into(self, store: Store, size: int, room: int) -> None:
        """The value's full size comes back, whether or not it fits, and no byte is written beyond value or target."""
        reader = self.offered(store, ReadIntoStore)
        if reader is None:
            return
        value = distinct_bytes(size)
        self.seed(store, {"a/b": value})
        memory = bytearray(b"\xaa" * (room + 16))
        assert reader.read_into("a/b", memoryview(memory)[8 : 8 + room]) == size
        if size <= room:
            assert memory == b"\xaa" * 8 + value + b"\xaa" * (room - size + 8)
        assert memory[:8] == memory[8 + room :] == b"\xaa" * 8
        assert value_of(store, "a/b") == value

    def test_read_into_an_array(self, store: Store) -> None:
        """A NumPy array's memory is filled in place."""
        reader = self.offered(store, ReadIntoStore)
        if reader is None:
            return
        value = distinct_bytes(160)
        self.seed(store, {"a": value})
        array = np.zeros((4, 5), np.int64)
        assert reader.read_into("a", array.reshape(-1).view(np.uint8).data) == 160
        assert array.tobytes() == value

    def test_read_into_of_missing_is_none(self, store: Store) -> None:
        """A key that is not there is None, and so is a prefix; the target stays as it is."""
        reader = self.offered(store, ReadIntoStore)
        if reader is None:
            return
        self.seed(store, {"a/b": b"1"})
        memory = bytearray(b"123")
        for key in ("x", "a", "a/b/c", "a/x"):
            assert reader.read_into(key, memoryview(memory)) is None, key
        assert memory == b"123"

    # Many at once

    def test_threads_on_keys_of_their_own(self, store: Store) -> None:
        """Eight threads write, read and delete side by side, each its own keys."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return

        def work(thread: int) -> None:
            for turn in range(12):
                keys = [f"t/{turn}/{thread}/{part}" for part in range(3)]
                values = [distinct_bytes(500 * (part + 1), start=(thread * 100 + turn) * 1000) for part in range(3)]
                for key, value in zip(keys, values, strict=True):
                    writable.set(key, value)
                assert [as_bytes(value) for value in store.get_many(keys)] == values
                assert value_of(store, keys[1], ByteRange(10, 20)) == values[1][10:30]
                writable.delete(keys[0])
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

    def test_readers_see_whole_values(self, store: Store) -> None:
        """While a value is replaced again and again, a reader sees the one before or the one after, whole."""
        writable = self.offered(store, WritableStore)
        if writable is None:
            return
        versions = [distinct_bytes(300_000, start=i * 100_000) for i in range(24)]
        known = set(versions)
        writable.set("a/b", versions[0])
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
                    writable.set("a/b", version)
            finally:
                done.set()
            assert all(reader.result() > 0 for reader in readers)
        assert value_of(store, "a/b") == versions[-1]


def as_bytes(value: Buffer | None) -> bytes | None:
    """A value as bytes, to compare; None stays None."""
    assert value is None or isinstance(value, (bytes, bytearray, memoryview)), type(value)
    return None if value is None else bytes(value)


def value_of(store: Store, key: str, byte_range: ByteRange | None = None) -> bytes | None:
    """What ``get`` gives, as bytes."""
    return as_bytes(store.get(key) if byte_range is None else store.get(key, byte_range))
