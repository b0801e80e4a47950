"""What lies under a prefix, and how large it is, as it is now."""

from __future__ import annotations

from typing import Any

from daskzarr.stores import ListableStore, SizedStore, SurveyStore, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import ODD_KEYS


class Listing(Offer):
    """Tests of looking at what is there."""

    @needs(ListableStore)
    def test_list_dir(self, store: ListableStore) -> None:
        """Keys and prefixes directly below, by their last part, each once, in order."""
        assert store.list_dir("") == ((), ())
        keys = ("zarr.json", "a/zarr.json", "a/c/0", "a/c/1", "a/c/1.5", "ab/x", "b/c/d/e", ".zgroup")
        self.seed(store, {key: key.encode() for key in keys})
        found = {prefix: store.list_dir(prefix) for prefix in ("", "a", "a/c", "b", "b/c", "b/c/d")}
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

    @needs(ListableStore)
    def test_list_dir_of_missing_is_empty(self, store: ListableStore) -> None:
        """Nothing lies under a prefix that is not there, nor under a key."""
        assert store.list_dir("x") == ((), ())
        self.seed(store, {"ab/c": b"1", "d": b"2"})
        for prefix in ("a", "abc", "ab/c", "ab/d", "d", "d/e", "x/y/z"):
            assert store.list_dir(prefix) == ((), ()), prefix

    @needs(ListableStore, WritableStore)
    def test_list_dir_is_up_to_date(self, store: Any) -> None:
        """What was set or deleted since shows at once."""
        store.set("a/b", b"1")
        assert store.list_dir("a").keys == ("b",)
        store.set("a/c", b"2")
        store.set("a/d/e", b"3")
        assert (set(store.list_dir("a").keys), store.list_dir("a").prefixes) == ({"b", "c"}, ("d",))
        store.delete("a/b")
        assert store.list_dir("a").keys == ("c",)
        store.delete_below("a/d")
        assert store.list_dir("a") == (("c",), ())
        store.delete_below("a")
        assert store.list_dir("") == ((), ())

    @needs(SurveyStore)
    def test_survey(self, store: SurveyStore) -> None:
        """Every key below a prefix once, with its size or None; nothing for what is not there, nor for a key."""
        assert list(store.survey("")) == []
        sizes = {"a": 3, "b/c": 0, "b/d/e": 70_000, "b/d/f": 1, "bc/d": 5, ".b/c": 7}
        self.seed(store, {key: bytes(size) for key, size in sizes.items()})
        for prefix in ("", "b", "b/", "b/d", "bc", "a", "b/c", ".b", "x", "b/x/y"):
            found = list(store.survey(prefix))
            below = {key: size for key, size in sizes.items() if not prefix or key.startswith(prefix.rstrip("/") + "/")}
            assert sorted(key for key, _ in found) == sorted(below), prefix
            assert all(size in (below[key], None) for key, size in found), prefix

    @needs(SurveyStore)
    def test_survey_of_odd_keys(self, store: SurveyStore) -> None:
        """Keys come as they were written."""
        self.seed(store, {key: key.encode() for key in ODD_KEYS.values() if key != "A"})
        found = dict(store.survey(""))
        assert sorted(found) == sorted(key for key in ODD_KEYS.values() if key != "A")
        assert all(size in (len(key.encode()), None) for key, size in found.items())
        assert {key for key, _ in store.survey("d [1]*?")} == {"d [1]*?/e"}

    @needs(SurveyStore, WritableStore)
    def test_survey_is_up_to_date(self, store: Any) -> None:
        """What was set or deleted since shows at once, and keys may be deleted while they are gone through."""
        for i in range(130):
            store.set(f"c/{i % 7}/{i}", b"%d" % i)
        assert len(list(store.survey("c"))) == 130
        store.delete("c/0/0")
        store.set("c/new", b"12345")
        found = dict(store.survey("c"))
        assert len(found) == 130
        assert found["c/new"] in (5, None)
        assert "c/0/0" not in found
        for key, _ in store.survey("c/1"):
            store.delete(key)
        assert list(store.survey("c/1")) == []
        begun = iter(store.survey(""))
        next(begun)
        del begun  # left in the middle
        store.delete_below("c")
        assert list(store.survey("")) == []

    @needs(SizedStore)
    def test_size(self, store: SizedStore) -> None:
        """Bytes in the value, without a value None."""
        assert store.size("a") is None
        sizes = {"a": 3, "b/c": 0, "b/d": 70_000, "e [f]*%20": 6}
        self.seed(store, {key: bytes(size) for key, size in sizes.items()})
        assert {key: store.size(key) for key in sizes} == sizes
        for key in ("b", "b/x", "b/c/d", "c"):
            assert store.size(key) is None, key

    @needs(SizedStore, WritableStore)
    def test_size_is_up_to_date(self, store: Any) -> None:
        """A value that was replaced has its own size, and one that was deleted none."""
        for size in (10, 3, 5000, 0):
            store.set("a/b", bytes(size))
            assert store.size("a/b") == size
        store.delete("a/b")
        assert store.size("a/b") is None
