"""What is deleted is gone, and nothing else."""

from __future__ import annotations

from daskzarr.stores import WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import as_bytes, value_of


class Deleting(Offer):
    """Tests of deleting one value, and all below a prefix."""

    @needs(WritableStore)
    def test_delete(self, store: WritableStore) -> None:
        """A deleted value is gone, and can be set anew; nothing else changes."""
        self.seed(store, {"a/b": b"1", "a/bc": b"2", "a/c": b"3"})
        assert value_of(store, "a/b") == b"1"
        store.delete("a/b")
        assert store.get("a/b") is None
        assert [as_bytes(value) for value in store.get_many(["a/b", "a/bc", "a/c"])] == [None, b"2", b"3"]
        store.set("a/b", b"4")
        assert value_of(store, "a/b") == b"4"

    @needs(WritableStore)
    def test_delete_of_missing_is_no_error(self, store: WritableStore) -> None:
        """Deleting what is not there does nothing, twice too, and so does deleting a prefix as if it were a key."""
        store.delete("a")
        store.delete("a/b")
        self.seed(store, {"a/b": b"1"})
        for key in ("a/c", "a/b/c", "x", "a/c"):
            store.delete(key)
        assert value_of(store, "a/b") == b"1"

    @needs(WritableStore)
    def test_delete_of_a_folder_is_no_error(self, store: WritableStore) -> None:
        """A prefix of keys is no key: there is nothing to delete, and what is below it stays."""
        self.seed(store, {"a/b/c": b"1"})
        store.delete("a/b")
        store.delete("a")
        assert value_of(store, "a/b/c") == b"1"

    @needs(WritableStore)
    def test_delete_below(self, store: WritableStore) -> None:
        """All below a prefix goes, and nothing that only begins with the same letters."""
        gone = ["a/b", "a/c/d", "a/c/e/f", "a/.zattrs"]
        kept = ["ab/c", "a.b", "aa", "b/a/b", ".a", "A/b"]
        self.seed(store, {key: key.encode() for key in gone + kept})
        store.delete_below("a")
        assert list(store.get_many(gone)) == [None] * len(gone)
        assert [value_of(store, key) for key in kept] == [key.encode() for key in kept]
        store.set("a/b", b"again")
        assert value_of(store, "a/b") == b"again"
        assert store.get("a/c/d") is None

    @needs(WritableStore)
    def test_delete_below_a_nested_prefix(self, store: WritableStore) -> None:
        """The same further down."""
        self.seed(store, {"a/b/c": b"1", "a/b/d/e": b"2", "a/bb/c": b"3", "a/x": b"4"})
        store.delete_below("a/b")
        assert list(store.get_many(["a/b/c", "a/b/d/e"])) == [None, None]
        assert [value_of(store, key) for key in ("a/bb/c", "a/x")] == [b"3", b"4"]

    @needs(WritableStore)
    def test_delete_below_keeps_the_key_itself(self, store: WritableStore) -> None:
        """A value under the very prefix is not below it."""
        self.seed(store, {"a": b"1", "b/c": b"2"})
        store.delete_below("a")
        store.delete_below("b/c")
        assert (value_of(store, "a"), value_of(store, "b/c")) == (b"1", b"2")

    @needs(WritableStore)
    def test_delete_below_of_missing_is_no_error(self, store: WritableStore) -> None:
        """There may be nothing to delete."""
        store.delete_below("a")
        store.delete_below("")
        self.seed(store, {"ab/c": b"1"})
        store.delete_below("a")
        store.delete_below("ab/d")
        assert value_of(store, "ab/c") == b"1"

    @needs(WritableStore)
    def test_delete_below_the_top(self, store: WritableStore) -> None:
        """``""`` empties the store, which goes on working."""
        self.seed(store, {"a": b"1", "b/c": b"2", ".d/e": b"3"})
        store.delete_below("")
        assert list(store.get_many(["a", "b/c", ".d/e"])) == [None, None, None]
        store.set("b/c", b"4")
        assert value_of(store, "b/c") == b"4"
