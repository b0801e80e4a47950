"""A place beside a store has nothing of the store in it, nor the store of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from daskzarr.stores import ListableStore, SiblingStore, SurveyStore, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, value_of


class Siblings(Offer):
    """Tests of the place beside a store. A store that has none is held to nothing here."""

    @needs(SiblingStore)
    def test_sibling_is_one_place(self, store: SiblingStore) -> None:
        """It is the same each time, another for another ending, and not the store."""
        near, other = _sibling(store), _sibling(store, ".other")
        assert near == _sibling(store)
        assert hash(near) == hash(_sibling(store))
        assert near == pickle.loads(pickle.dumps(near))
        assert near == _sibling(self.again(store))
        assert len({store.url, near.url, other.url}) == 3
        assert near not in (store, other)
        for text in (near.url, repr(near)):
            assert not [secret for secret in self.secrets if secret in text]

    @needs(SiblingStore, WritableStore)
    def test_sibling_shares_nothing(self, store: Any) -> None:
        """What is written, listed or deleted in one does not reach the other, be it all of it."""
        near = _sibling(store)
        if not isinstance(near, WritableStore):
            pytest.skip("the place beside the store cannot be written")
        try:
            store.set("a/b", b"1")
            near.set("a/c", b"2")
            near.set("d", b"3")
            assert all_bytes(store.get_many(["a/b", "a/c", "d"])) == [b"1", None, None]
            assert all_bytes(near.get_many(["a/b", "a/c", "d"])) == [None, b"2", b"3"]
            one: Any
            for one, keys in ((store, {"a/b"}), (near, {"a/c", "d"})):
                if self.offered(one, ListableStore):
                    assert set(one.list_dir("").keys) == {key for key in keys if "/" not in key}
                    assert set(one.list_dir("").prefixes) == {"a"}
                if self.offered(one, SurveyStore):
                    assert {key for key, _ in one.survey("")} == keys
            near.set("a/b", b"4")
            assert value_of(store, "a/b") == b"1"
            store.delete_below("")
            assert all_bytes(near.get_many(["a/b", "a/c", "d"])) == [b"4", b"2", b"3"]
            store.set("a/b", b"5")
            near.delete_below("a")
            assert all_bytes(near.get_many(["a/b", "a/c", "d"])) == [None, None, b"3"]
            near.delete_below("")
            assert value_of(store, "a/b") == b"5"
            assert near.get("d") is None
        finally:
            near.delete_below("")


def _sibling(store: Any, ending: str = ".beside") -> Any:
    """The place beside a store, if there is one."""
    near = store.sibling(ending)
    if near is None:
        pytest.skip("the store has no place beside it")
    return near
