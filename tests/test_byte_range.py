"""ByteRange: what it cuts out is what slicing a value twice gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.byte_range import ByteRange

VALUE = bytes(range(10))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (ByteRange(0), VALUE),
        (ByteRange(3), VALUE[3:]),
        (ByteRange(3, 4), VALUE[3:7]),
        (ByteRange(3, 0), b""),
        (ByteRange(8, 5), VALUE[8:]),
        (ByteRange(10), b""),
        (ByteRange(11, 2), b""),
        (ByteRange(-4), VALUE[6:]),
        (ByteRange(-4, 2), VALUE[6:8]),
        (ByteRange(-4, 9), VALUE[6:]),
        (ByteRange(-10), VALUE),
        (ByteRange(-20), VALUE),
        (ByteRange(-20, 3), VALUE[:3]),
    ],
)
def test_cuts_what_the_offset_and_length_say(part, expected):
    assert part.of(VALUE) == expected


def test_a_range_of_nothing_is_empty():
    assert ByteRange(0).of(b"") == ByteRange(-3).of(b"") == ByteRange(2, 2).of(b"") == b""


@given(st.integers(0, 30), st.integers(-40, 40), st.none() | st.integers(0, 40))
def test_agrees_with_slicing(size, offset, length):
    value = bytes(range(size))
    expected = value[offset:] if length is None else value[offset:][:length]
    assert ByteRange(offset, length).of(value) == expected


@given(st.integers(0, 30), st.integers(-40, 40), st.none() | st.integers(0, 40))
def test_bounds_lie_in_the_value_and_give_the_same_bytes(size, offset, length):
    value = bytes(range(size))
    start, stop = ByteRange(offset, length).bounds(size)
    assert 0 <= start <= stop <= size
    assert value[start:stop] == ByteRange(offset, length).of(value)


def test_equal_ranges_are_one_key():
    assert {ByteRange(1, 2): "a"}[ByteRange(1, 2)] == "a"
    assert ByteRange(1, 2) != ByteRange(1)
