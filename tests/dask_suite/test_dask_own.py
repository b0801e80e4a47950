"""Dask's own Zarr tests, as installed: with daskzarr's verbs in the place of Dask's two, and after install_dask()."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

import daskzarr

LARGER = "wants a block for each inner chunk when read back; daskzarr gives one for each shard, which is read whole"
NO_WARNING = "wants a warning that blocks that share stored chunks are rechunked; daskzarr merges them and says nothing"
IRREGULAR = (
    "wants a warning and a rechunk for blocks of different lengths; daskzarr stores them as they are (rectilinear)"
)
DELAYED = "wants compute=False to give an Array; daskzarr gives a delayed value"
DIFFERENT = {
    "dask.array.tests.test_array_core": {
        "test_zarr_sharding_roundtrip[chunks0-shards0]": LARGER,
        "test_zarr_sharding_roundtrip[chunks1-shards1]": LARGER,
        "test_zarr_risky_shards_warns": NO_WARNING,
        "test_zarr_to_zarr_shards[None]": DELAYED,
        "test_zarr_to_zarr_shards[all]": DELAYED,
        "test_zarr_to_zarr_shards[half]": DELAYED,
        "test_zarr_nocompute": DELAYED,
        "test_zarr_irregular_chunks[shape0-chunks0-True]": IRREGULAR,
        "test_zarr_irregular_chunks[shape1-chunks1-True]": IRREGULAR,
        "test_zarr_irregular_chunks[shape4-chunks4-True]": IRREGULAR,
        "test_compute_chunk_sizes_warning_fixes_to_zarr": IRREGULAR,
        "test_zarr_regions": NO_WARNING,
        "test_zarr_inline_array[False]": "wants the zarr-python object as a key of its own in the graph",
    },
    "dask.tests.test_distributed": {},
}


COUNTS = {"dask.array.tests.test_array_core": 33, "dask.tests.test_distributed": 4}


@pytest.mark.parametrize("module", COUNTS)
@pytest.mark.parametrize("plugin", ["daskzarr_in_place_of_dask", "daskzarr_installed"])
def test_all_but_those_known_to_differ_pass(plugin, module):
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-k", "zarr", "-p", plugin]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--pyargs", module]
    command += ["-W", "error::dask.array.PerformanceWarning"]  # as in Dask's own configuration
    environment = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=here)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\S+)", result.stdout, re.MULTILINE))
    passed = int(re.search(r"(\d+) passed", result.stdout)[1])
    differing = set(DIFFERENT[module]) if plugin == "daskzarr_in_place_of_dask" else set()
    assert failed == differing, result.stdout[-3000:]
    assert passed >= COUNTS[module] - len(differing)
    if plugin == "daskzarr_installed":
        calls = re.search(r"daskzarr: (\d+) calls, (\d+) of them handed to Dask", result.stdout)
        assert int(calls[1]) >= COUNTS[module]
        assert int(calls[2]) <= 1  # what wants the zarr-python object as a key of its own


# ---- what those that differ write is right all the same


@pytest.mark.parametrize("shards", [18, 12])
def test_the_cells_of_the_sharding_roundtrip(tmp_path, shards):
    for n, mode in enumerate(("w-", "w")):
        cells = np.arange(n, 3600 + n).reshape(60, 60)
        array = da.from_array(cells, chunks=(3, 3))
        daskzarr.to_zarr(array, tmp_path / "a", shards=(shards, shards), mode=mode)
        stored = zarr.open_array(tmp_path / "a")
        assert stored.shards == (shards, shards)
        assert stored.chunks == (3, 3)
        np.testing.assert_array_equal(stored[:], cells)
        np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "a").compute(), cells)


@pytest.mark.parametrize("stop", [None, 100, 50, 37])
@pytest.mark.parametrize(("blocks", "chunks", "shards"), [(10, 3, 6), (1, 1, 2), (7, 2, 4)])
def test_the_cells_of_shards_that_blocks_share(blocks, chunks, shards, stop):
    array = da.arange(1, 101, chunks=blocks)[:stop]
    target = zarr.create_array(store={}, shape=(100,), chunks=(chunks,), shards=(shards,), dtype=array.dtype)
    with dask.config.set({"array.chunk-size": 1}):
        daskzarr.to_zarr(array, target, region=None if stop is None else (slice(stop),))
    expected = np.zeros(100, array.dtype)
    expected[:stop] = np.arange(1, 101)[:stop]
    np.testing.assert_array_equal(target[:], expected)


def test_the_cells_of_the_regions():
    cells = np.arange(16).reshape((4, 4))
    array = da.from_array(cells, chunks=2)
    target = zarr.zeros_like(array, chunks=2)
    expected = np.zeros_like(cells)
    for source, region in (
        (np.s_[:2, :2], np.s_[0:2, 0:2]),
        (np.s_[:3, 3:4], np.s_[1:4, 2:3]),
        (np.s_[3:, 3:], np.s_[2:3, 1:2]),
    ):
        expected[region] = cells[source]
        daskzarr.to_zarr(array[source], target, region=region)
        np.testing.assert_array_equal(target[:], expected)
    assert expected.tolist() == [[0, 1, 0, 0], [4, 5, 3, 0], [0, 15, 7, 0], [0, 0, 11, 0]]
    with pytest.raises(ValueError, match="region"):
        daskzarr.to_zarr(array, {}, region=(slice(2), slice(2)))


@pytest.mark.parametrize("chunks", [((1, 2, 1), (3, 1)), ((2, 1, 1), (1, 3)), ((1, 1, 2), (2, 2))], ids=str)
def test_the_cells_of_irregular_blocks(tmp_path, chunks):
    cells = np.arange(1, 17).reshape((4, 4))
    for zarr_format in (3, 2):
        place = tmp_path / str(zarr_format)
        daskzarr.to_zarr(da.from_array(cells, chunks=chunks), place, zarr_format=zarr_format)
        np.testing.assert_array_equal(daskzarr.from_zarr(place).compute(), cells)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "2")[:], cells)
