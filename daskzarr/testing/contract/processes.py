"""What one process wrote, another reads; a process that was forked hangs in none of its parent's locks."""

from __future__ import annotations

import os
from typing import Any

import pytest

from daskzarr.stores import FinishingStore, ListableStore, Store, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import all_bytes, distinct_bytes, value_of
from daskzarr.testing.other_process import in_another_process, read, use_across_a_fork, write


class Processes(Offer):
    """Tests of stores that other processes see. Each starts one process."""

    def test_another_process_reads_what_was_written(self, store: Store) -> None:
        """The store travels by a pickle, and shows the same there, beside what it does here."""
        _has_to_be_shared(store)
        values = {"a/b": distinct_bytes(1000), "a/c": b"", "d \u00e9": distinct_bytes(70_000, start=1000)}
        self.seed(store, values)
        _finish(store)
        keys = [*values, "x"]
        assert value_of(store, "a/b") == values["a/b"]  # connections are open when it is sent
        whole = [*values.values(), None]
        starts = [None if value is None else value[:3] for value in whole]
        assert in_another_process(read, store, keys) == (whole, whole, starts)
        assert all_bytes(store.get_many(keys)) == whole

    @needs(WritableStore)
    def test_what_another_process_writes_is_seen(self, store: Any) -> None:
        """Nothing that was read or listed here before is taken for what is there now."""
        _has_to_be_shared(store)
        self.seed(store, {"a/b": b"old", "a/c": b"old and longer", "a/d": b"goes"})
        _finish(store)
        keys = ["a/b", "a/c", "a/d", "a/e", "f/g/h"]
        assert all_bytes(store.get_many(keys)) == [b"old", b"old and longer", b"goes", None, None]
        listable = self.offered(store, ListableStore)
        if listable is not None:
            assert set(listable.list_dir("a").keys) == {"b", "c", "d"}
        new = {"a/b": b"new", "a/c": b"short", "a/e": b"added", "f/g/h": b"deep"}
        in_another_process(write, store, new, ["a/d"])
        assert all_bytes(store.get_many(keys)) == [b"new", b"short", None, b"added", b"deep"]
        assert [value_of(store, key) for key in keys] == [b"new", b"short", None, b"added", b"deep"]
        if listable is not None:
            assert set(listable.list_dir("a").keys) == {"b", "c", "e"}
            assert listable.list_dir("").prefixes == ("a", "f")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_a_forked_process_works_or_raises(self, store: Store) -> None:
        """A child forked from a process that uses the store reads what is there, or fails; the parent reads on."""
        _has_to_be_shared(store)
        values = {f"a/{i}": distinct_bytes(500, start=i * 1000) for i in range(12)}
        self.seed(store, values)
        _finish(store)
        child, parent = in_another_process(use_across_a_fork, store, [*values, "x"])
        assert child == "works" or child.startswith("raises"), child
        assert parent == "works"


def _has_to_be_shared(store: Store) -> None:
    """Skip the test of a store that other processes do not see."""
    if not getattr(store, "shared", False):
        pytest.skip("other processes do not see what is written")


def _finish(store: Store) -> None:
    """Show what was written to other processes."""
    if isinstance(store, FinishingStore):
        store.finish()
