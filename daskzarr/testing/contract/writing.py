"""A value is put whole, whatever buffer it comes in and whatever was there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from daskzarr.stores import Buffer, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import as_bytes, distinct_bytes, value_of


class Writing(Offer):
    """Tests of setting values."""

    @needs(WritableStore)
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
    def test_set_takes_any_buffer(self, store: WritableStore, make: Callable[[bytes], Buffer]) -> None:
        """The bytes of a buffer are stored, whatever it holds them in."""
        value = distinct_bytes(400)
        store.set("a/b", make(value))
        assert value_of(store, "a/b") == value

    @needs(WritableStore)
    @pytest.mark.parametrize(
        "make", [bytearray, lambda value: np.frombuffer(value, np.uint8).copy()], ids=["bytearray", "NumPy array"]
    )
    def test_set_keeps_a_copy(self, store: WritableStore, make: Callable[[bytes], Any]) -> None:
        """What becomes of the caller's memory afterwards does not reach the stored value."""
        value = distinct_bytes(64)
        buffer = make(value)
        store.set("a", memoryview(buffer))
        buffer[:] = make(bytes(64))
        assert value_of(store, "a") == value

    @needs(WritableStore)
    def test_set_empty(self, store: WritableStore) -> None:
        """No bytes are set as a value of their own, also over an older one."""
        store.set("a", b"")
        store.set("b", b"123")
        store.set("b", memoryview(bytearray()))
        assert value_of(store, "a") == value_of(store, "b") == b""

    @needs(WritableStore)
    def test_set_replaces_whole(self, store: WritableStore) -> None:
        """A new value leaves nothing of the old one, be it longer or shorter."""
        for size in (100, 3, 5000, 0, 7):
            store.set("a/b", distinct_bytes(size, start=size))
            assert value_of(store, "a/b") == distinct_bytes(size, start=size)
            assert [as_bytes(value) for value in store.get_many(["a/b"])] == [distinct_bytes(size, start=size)]

    @needs(WritableStore)
    def test_set_makes_nested_keys(self, store: WritableStore) -> None:
        """Nothing has to be there for a deep key, and neighbours at every depth live side by side."""
        keys = ["a/b/c/d/e", "a/b/c/d/f", "a/b/x", "a/y", "z"]
        for i, key in enumerate(keys):
            store.set(key, str(i).encode())
        assert [value_of(store, key) for key in keys] == [b"0", b"1", b"2", b"3", b"4"]
