"""repair: what verify finds damaged is written again, and nothing else."""

import dask.array as da
import numpy as np
import pytest

from daskzarr import MetadataError, from_zarr, repair, to_zarr, verify

VALUES = np.arange(1, 401).reshape(20, 20)


@pytest.fixture(params=[{}, {"shards": (10, 10)}, {"zarr_format": 2}, {"zarr_format": "n5"}], ids=str)
def place(request, tmp_path):
    to_zarr(da.from_array(VALUES, chunks=7), tmp_path / "a.zarr", chunks=5, **request.param)
    return tmp_path / "a.zarr"


def files(place):
    """Every stored chunk, by path, with what is in it and when it was written."""
    found = (p for p in place.rglob("*") if p.is_file() and p.suffix != ".json" and not p.name.startswith(".z"))
    return {p: (p.read_bytes(), p.stat().st_ino) for p in found}


def test_only_the_damaged_objects_are_written(place):
    before = files(place)
    lost, torn, flipped, *others = sorted(before)
    lost.unlink()
    torn.write_bytes(before[torn][0][:-3])
    data = bytearray(before[flipped][0])
    data[len(data) // 2] ^= 255
    flipped.write_bytes(data)
    asked = []

    def counted(block):
        asked.append(1)
        return block

    source = da.from_array(VALUES, chunks=5).map_blocks(counted, meta=np.empty((0, 0), int))
    report = repair(source, place)
    assert report.ok
    assert 0 < len(asked) < 16
    after = files(place)
    assert {p: data for p, (data, _) in after.items()} == {p: data for p, (data, _) in before.items()}
    assert all(after[p] == before[p] for p in others)
    np.testing.assert_array_equal(from_zarr(place).compute(), VALUES)


def test_nothing_is_written_where_nothing_is_wrong(place):
    before = files(place)
    assert repair(da.from_array(VALUES), place).ok
    assert files(place) == before


def test_leftovers_go(place):
    left = place / f".x.{'0' * 32}.partial"
    left.write_bytes(b"torn")
    assert verify(place).leftover
    repair(da.from_array(VALUES), place, remove_leftovers=False)
    assert left.exists()
    assert not repair(da.from_array(VALUES), place).leftover
    assert not left.exists()


def test_a_report_of_another_array(place, tmp_path):
    to_zarr(da.from_array(VALUES), tmp_path / "other")
    with pytest.raises(MetadataError, match="not one of this"):
        repair(da.from_array(VALUES), place, report=verify(tmp_path / "other"))
    with pytest.raises(MetadataError, match="all cells"):
        repair(da.from_array(VALUES[1:]), place)
