"""Dask's own Zarr tests, as installed, with daskzarr in the place of Dask's two functions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = "its blocks share shards, and it wants a rechunk or a warning; daskzarr raises AlignmentError with the rechunk"
IRREGULAR = (
    "wants a warning and a rechunk for blocks of different lengths; daskzarr stores them as they are (rectilinear)"
)
DELAYED = "wants compute=False to give an Array; daskzarr gives a delayed value"
DIFFERENT = {
    "dask.array.tests.test_array_core": {
        "test_zarr_sharding_roundtrip[chunks0-shards0]": SHARED,
        "test_zarr_sharding_roundtrip[chunks1-shards1]": SHARED,
        "test_zarr_risky_shards_warns": SHARED,
        "test_zarr_to_zarr_shards[None]": DELAYED,
        "test_zarr_to_zarr_shards[all]": DELAYED,
        "test_zarr_to_zarr_shards[half]": DELAYED,
        "test_zarr_nocompute": DELAYED,
        "test_zarr_irregular_chunks[shape0-chunks0-True]": IRREGULAR,
        "test_zarr_irregular_chunks[shape1-chunks1-True]": IRREGULAR,
        "test_zarr_irregular_chunks[shape4-chunks4-True]": IRREGULAR,
        "test_compute_chunk_sizes_warning_fixes_to_zarr": IRREGULAR,
        "test_zarr_regions": "its second region cuts stored chunks; daskzarr raises AlignmentError",
        "test_zarr_inline_array[False]": "wants the zarr-python object as a key of its own in the graph",
    },
    "dask.tests.test_distributed": {},
}


@pytest.mark.parametrize("module", DIFFERENT)
def test_all_but_those_known_to_differ_pass(module):
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-k", "zarr", "-p", "daskzarr_in_place_of_dask"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--pyargs", module]
    environment = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=here)
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\S+)", result.stdout, re.MULTILINE))
    passed = int(re.search(r"(\d+) passed", result.stdout)[1])
    assert failed == set(DIFFERENT[module]), result.stdout[-3000:]
    assert passed >= {"dask.array.tests.test_array_core": 20, "dask.tests.test_distributed": 4}[module]
