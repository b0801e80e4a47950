"""A value is read into memory that the caller has."""

from __future__ import annotations

import numpy as np
import pytest

from daskzarr.stores import ReadIntoStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import distinct_bytes, value_of


class Filling(Offer):
    """Tests of reading into memory at hand."""

    @needs(ReadIntoStore)
    @pytest.mark.parametrize(("size", "room"), [(40, 40), (24, 40), (100, 40), (41, 40), (0, 40), (40, 0), (0, 0)])
    def test_read_into(self, store: ReadIntoStore, size: int, room: int) -> None:
        """The value's full size comes back, whether or not it fits, and no byte is written beyond value or target."""
        value = distinct_bytes(size)
        self.seed(store, {"a/b": value})
        memory = bytearray(b"\xaa" * (room + 16))
        assert store.read_into("a/b", memoryview(memory)[8 : 8 + room]) == size
        if size <= room:
            assert memory == b"\xaa" * 8 + value + b"\xaa" * (room - size + 8)
        assert memory[:8] == memory[8 + room :] == b"\xaa" * 8
        assert value_of(store, "a/b") == value

    @needs(ReadIntoStore)
    def test_read_into_an_array(self, store: ReadIntoStore) -> None:
        """A NumPy array's memory is filled in place."""
        value = distinct_bytes(160)
        self.seed(store, {"a": value})
        array = np.zeros((4, 5), np.int64)
        assert store.read_into("a", array.reshape(-1).view(np.uint8).data) == 160
        assert array.tobytes() == value

    @needs(ReadIntoStore)
    def test_read_into_of_missing_is_none(self, store: ReadIntoStore) -> None:
        """A key that is not there is None, and so is a prefix; the target stays as it is."""
        self.seed(store, {"a/b": b"1"})
        memory = bytearray(b"123")
        for key in ("x", "a", "a/b/c", "a/x"):
            assert store.read_into(key, memoryview(memory)) is None, key
        assert memory == b"123"
