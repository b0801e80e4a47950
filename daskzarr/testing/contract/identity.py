"""A store is one place: its protocols, its url, its pickles."""

from __future__ import annotations

import pickle
import re

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
    waits,
)
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, value_of

_METHODS = (
    (WritableStore, ("set", "delete", "delete_below")),
    (ListableStore, ("list_dir",)),
    (ReadIntoStore, ("read_into",)),
    (RangeStore, ("get_ranges",)),
    (VersionedStore, ("version",)),
    (AppendStore, ("append",)),
    (CreateStore, ("create",)),
    (SizedStore, ("size",)),
    (SurveyStore, ("survey",)),
    (SweepStore, ("leftovers",)),
    (MovingStore, ("move_below",)),
    (SyncingStore, ("synced",)),
    (FinishingStore, ("finish",)),
    (SiblingStore, ("sibling",)),
)


class Identity(Offer):
    """Tests of what a store is."""

    def test_keeps_its_protocols_whole(self, store: Store) -> None:
        """A store with some methods of a protocol has all of them."""
        assert isinstance(store, Store)
        for protocol, methods in _METHODS:
            has_some = any(hasattr(store, method) for method in methods)
            assert has_some == isinstance(store, protocol), protocol.__name__

    def test_url_names_the_store_without_credentials(self, store: Store) -> None:
        """The url is text, stays the same, and has no user or password in it."""
        assert isinstance(store.url, str)
        assert store.url
        assert store.url == store.url
        assert re.search(r"://[^/]*@", store.url) is None

    def test_shows_no_secret(self, store: Store) -> None:
        """What the store was opened with is in nothing that is printed, before the store is used and after."""
        for _ in range(2):
            for text in (repr(store), str(store), store.url, f"{store}"):
                assert re.search(r"://[^/\s'\"]*:[^/\s'\"]*@", text) is None
                assert not [secret for secret in self.secrets if secret in text]
            assert store.get("a/b") is None

    @needs(WritableStore)
    def test_shared_is_a_bool(self, store: WritableStore) -> None:
        """A store that can be written says whether other processes see it."""
        assert isinstance(store.shared, bool)

    def test_what_it_says_of_itself_is_a_bool(self, store: Store) -> None:
        """Whether it waits, can be written and can create, where it says so."""
        for name in ("waits", "can_write", "can_create", "shared"):
            assert isinstance(getattr(store, name, True), bool), name
        assert waits(store) in (True, False)

    def test_pickles(self, store: Store) -> None:
        """A copy shows the same contents under the same url, and is equal, hash included."""
        self.seed(store, {"a/b": b"one", "c": b""})
        copy = pickle.loads(pickle.dumps(store))
        assert (value_of(copy, "a/b"), value_of(copy, "c"), value_of(copy, "d")) == (b"one", b"", None)
        assert copy == store
        assert hash(copy) == hash(store)
        assert copy.url == store.url
        assert store != object()

    def test_pickles_in_use(self, store: Store) -> None:
        """Open connections and requests under way are left behind, and go on here."""
        values = {f"a/{i}": b"%d" % i for i in range(40)}
        self.seed(store, values)
        begun = iter(store.get_many(list(values)))
        assert next(begun) == b"0"
        copy = pickle.loads(pickle.dumps(store))
        assert all_bytes(copy.get_many(list(values))) == list(values.values())
        assert all_bytes(begun) == list(values.values())[1:]
        assert copy == store
        assert pickle.loads(pickle.dumps(copy)) == store

    def test_opened_twice_is_the_same_place(self, store: Store) -> None:
        """Stores of one place with one access are equal, and show each other's values."""
        other = self.again(store)
        assert other == store
        assert hash(other) == hash(store)
        assert other.url == store.url
        self.seed(store, {"a": b"1", "b": b"2"})
        assert all_bytes(other.get_many(["a", "b", "c"])) == [b"1", b"2", None]
        if self.offered(store, WritableStore):
            other.set("a", b"3")  # type: ignore[attr-defined]
            store.delete("b")  # type: ignore[attr-defined]
            assert (value_of(store, "a"), value_of(other, "b")) == (b"3", None)
