"""Readers that know what they gave before: the same for the same value, never for another; nothing is shared."""

import numpy as np
import pytest

import daskzarr
from daskzarr.errors import MetadataError
from daskzarr.metadata.json_text import remembered


def counted(read):
    """A reader, and the values that it was really asked for."""
    asked = []

    @remembered
    def reading(value):
        asked.append(value)
        return read(value)

    return reading, asked


def test_equal_values_are_read_once():
    reading, asked = counted(lambda value: (len(value),))
    assert reading([1, {"a": [None]}]) is reading([1, {"a": [None]}])
    assert len(asked) == 1


@pytest.mark.parametrize(("one", "other"), [(0, False), (0, 0.0), (1, True), (1.0, 1), ("1", 1), ([], {}), (0.0, -0.0)])
def test_values_that_only_look_alike_are_read_each(one, other):
    reading, asked = counted(lambda value: repr(value))
    assert reading([one]) == repr([one])
    assert reading([other]) == repr([other])
    assert len(asked) == 2


def test_what_is_read_is_a_copy():
    reading, asked = counted(lambda value: tuple(value))
    value = [1, [2]]
    given = reading(value)
    value[1].append(3)
    assert given == (1, [2])
    assert asked[0] is not value


def test_errors_are_not_remembered():
    def read(value):
        raise MetadataError(f"no {value}")

    reading, asked = counted(read)
    for _ in range(2):
        with pytest.raises(MetadataError):
            reading(["x"])
    assert len(asked) == 2


def test_long_and_deep_values_and_what_json_cannot_say_are_read_as_they_are():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    reading, asked = counted(lambda value: id(value))
    for value in ("x" * 2000, deep, object()):
        assert reading(value) == id(value)
    assert len(asked) == 3


def test_only_a_few_are_remembered():
    reading, asked = counted(lambda value: value[0])
    for _ in range(2):
        assert [reading([n]) for n in range(200)] == list(range(200))
    assert len(asked) == 400


def test_arrays_spelled_alike_share_nothing_that_users_can_change():
    xarray = pytest.importorskip("xarray")
    store = {}
    for name in "ab":
        daskzarr.create_array(store, name, shape=(4,), chunks=(2,), dtype="i4", dimension_names=["x"])
    first = xarray.open_dataset(store, engine="daskzarr", consolidated=False)
    codec = first["a"].encoding["compressors"][0]
    codec["configuration"]["level"] = 99
    again = xarray.open_dataset(store, engine="daskzarr", consolidated=False)
    assert again["b"].encoding["compressors"][0]["configuration"]["level"] != 99
    assert first["b"].encoding["compressors"][0]["configuration"]["level"] != 99
    np.testing.assert_array_equal(again["a"].values, np.zeros(4))
