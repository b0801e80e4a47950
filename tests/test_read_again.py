"""Bytes that do not decode are read again: damaged on their way they come right, damaged in place they do not."""

import dask.array as da
import numpy as np
import pytest

from daskzarr import from_zarr, to_zarr
from daskzarr.errors import CodecError
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import RecordingStore, distinct_values
from daskzarr.testing.store_wrapper import StoreWrapper

VALUES = distinct_values((12, 10), "i4")
FORMATS = {
    "raw": {"compressors": None},
    "blosc": {"compressors": "blosc"},
    "crc32c": {"compressors": ["crc32c"]},
    "shards": {"shards": (6, 10), "chunks": (3, 5)},
    "v2": {"zarr_format": 2},
    "n5": {"zarr_format": "n5"},
}


class Damaging(StoreWrapper):
    """A store whose first answers for each chunk are cut, longer, or of other bytes."""

    def __init__(self, store, times, how):
        self.times, self.how, self.times_asked = times, how, {}

    def spoil(self, key, value):
        name = key.rpartition("/")[2]
        if value is None or not name[:1].isdigit():
            return value
        self.times_asked[key] = self.times_asked.get(key, 0) + 1
        return value if self.times_asked[key] > self.times else self.how(bytes(value), self.times_asked[key])

    def get(self, key, byte_range=None):
        return self.spoil(key, super().get(key, byte_range))

    def get_many(self, keys, traffic=None):
        return (self.spoil(key, value) for key, value in zip(keys, super().get_many(keys), strict=True))


HOWS = {
    "cut": lambda value, turn: value[: len(value) // 2 + turn],
    "empty": lambda value, turn: b"",
    "longer": lambda value, turn: value + bytes(turn),
}


def put(**options):
    mapping = {}
    to_zarr(da.from_array(VALUES, chunks=(6, 10)), mapping, **{"chunks": (6, 10), **options})
    return mapping


@pytest.mark.parametrize("blocks", [None, -1], ids=["one chunk a task", "all in one task"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("options", FORMATS.values(), ids=list(FORMATS))
def test_what_was_damaged_on_its_way_is_read_again(options, how, blocks):
    store = Damaging(MappingStore(put(**options)), 1, HOWS[how])
    np.testing.assert_array_equal(np.asarray(from_zarr(store, chunks=blocks)), VALUES)
    assert set(store.times_asked.values()) >= {2}


@pytest.mark.parametrize("options", FORMATS.values(), ids=list(FORMATS))
def test_what_is_damaged_where_it_lies_is_named_after_a_second_look(options):
    mapping = put(**options)
    key = next(key for key in mapping if key.rpartition("/")[2].isdigit() or key == "0.0")
    mapping[key] = mapping[key][:-9]
    store = RecordingStore(MappingStore(mapping))
    with pytest.raises(CodecError, match=key.replace(".", r"\.")):
        from_zarr(store, chunks=-1).compute()
    assert sum(request.key == key for request in store.requests) == 2


def test_other_damage_each_time_is_an_error_in_the_end():
    store = Damaging(MappingStore(put()), 100, HOWS["cut"])
    with pytest.raises(CodecError):
        from_zarr(store).compute()
    assert max(store.times_asked.values()) == 4


def test_a_raw_file_that_another_process_is_replacing_is_read_again(tmp_path, monkeypatch):
    folder = str(tmp_path / "a.zarr")
    to_zarr(da.from_array(VALUES, chunks=(6, 10)), folder, chunks=(6, 10), compressors=None)
    read_into, turns = LocalStore.read_into, []

    def short_at_first(self, key, target):
        turns.append(key)
        return 7 if turns.count(key) == 1 else read_into(self, key, target)

    monkeypatch.setattr(LocalStore, "read_into", short_at_first)
    np.testing.assert_array_equal(from_zarr(folder).compute(), VALUES)
    assert len(turns) == 4
