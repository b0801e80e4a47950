"""Parts of a value are what slicing the value gives, one at a time and several at once."""

from __future__ import annotations

import pytest

from daskzarr.byte_range import ByteRange
from daskzarr.stores import RangeStore, Store, Traffic, WritableStore
from daskzarr.testing.contract.offer import Offer, needs
from daskzarr.testing.contract.values import RANGES, all_bytes, distinct_bytes, value_of


def _part(value: bytes, byte_range: ByteRange) -> bytes:
    """What slicing gives."""
    offset, length = byte_range.offset, byte_range.length
    start = max(len(value) + offset, 0) if offset < 0 else offset
    return value[start:] if length is None else value[start : start + length]


class Parts(Offer):
    """Tests of reading parts of values."""

    @pytest.mark.parametrize(("offset", "length"), RANGES.values(), ids=list(RANGES))
    def test_get_range(self, store: Store, offset: int, length: int | None) -> None:
        """A part of a value is what slicing the value gives."""
        value = distinct_bytes(20)
        self.seed(store, {"a/b": value})
        assert value_of(store, "a/b", ByteRange(offset, length)) == _part(value, ByteRange(offset, length))
        assert value_of(store, "a/b") == value

    @needs(RangeStore)
    def test_get_ranges(self, store: RangeStore) -> None:
        """Parts come in the order asked for, each as if it were alone: doubled, overlapping, empty, from the end."""
        value = distinct_bytes(20)
        self.seed(store, {"a/b": value, "a/c": b"other"})
        every = [ByteRange(offset, length) for offset, length in RANGES.values()]
        for wanted in (every, every[::-1], every * 2, *([byte_range] for byte_range in every)):
            parts = store.get_ranges("a/b", wanted)
            assert len(parts) == len(wanted)
            assert all_bytes(parts) == [_part(value, byte_range) for byte_range in wanted]
        assert list(store.get_ranges("a/b", [])) == []

    @needs(RangeStore)
    @pytest.mark.parametrize("traffic", [Traffic(requests=1), Traffic(requests=3), Traffic(gap=0), Traffic(gap=10**9)])
    def test_get_ranges_of_any_traffic(self, store: RangeStore, traffic: Traffic) -> None:
        """Near, far apart and many: how they are read does not show."""
        value = distinct_bytes(400_000)
        self.seed(store, {"a": value})
        wanted = [ByteRange(i * 3989 % 400_000, i % 50) for i in range(150)]
        wanted += [ByteRange(0, 10), ByteRange(399_990), ByteRange(-7), ByteRange(200_000, 100_000), ByteRange(12, 3)]
        assert all_bytes(store.get_ranges("a", wanted, traffic)) == [_part(value, part) for part in wanted]

    @needs(RangeStore)
    def test_get_ranges_of_missing_are_none(self, store: RangeStore) -> None:
        """A None for each part, of what is not there and of a prefix; nothing for nothing."""
        wanted = [ByteRange(0, 4), ByteRange(-4), ByteRange(2), ByteRange(1, 0)]
        assert list(store.get_ranges("a/b", wanted)) == [None] * 4
        self.seed(store, {"a/b/c": b"1", "ab": b"2"})
        for key in ("x", "a", "a/b", "a/b/d", "a/b/c/d", "abc"):
            assert list(store.get_ranges(key, wanted)) == [None] * 4, key
            assert list(store.get_ranges(key, [])) == [], key

    @needs(RangeStore)
    def test_get_ranges_of_an_empty_value(self, store: RangeStore) -> None:
        """A value of no bytes has parts of no bytes."""
        self.seed(store, {"a": b""})
        wanted = [ByteRange(0, 4), ByteRange(-4), ByteRange(2), ByteRange(1, 0)]
        assert all_bytes(store.get_ranges("a", wanted)) == [b""] * 4

    @needs(RangeStore, WritableStore)
    def test_get_ranges_of_what_is_there_now(self, store: RangeStore) -> None:
        """Nothing is remembered of a value that was replaced by a longer or shorter one."""
        wanted = [ByteRange(0, 6), ByteRange(-6), ByteRange(10, 20)]
        for size in (40, 8, 90, 0, 25):
            value = distinct_bytes(size, start=size * 10)
            store.set("a/b", value)  # type: ignore[attr-defined]
            assert all_bytes(store.get_ranges("a/b", wanted)) == [_part(value, part) for part in wanted]
            assert value_of(store, "a/b", ByteRange(-6)) == value[-6:]
