"""Images are written under ``array.query-planning`` too, which can only be chosen before dask.array is imported."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from collections import Counter
import dask, numpy as np, dask.array as da, daskzarr
from daskzarr.ome import open_multiscales, write_multiscales
from daskzarr.ome.shrinking import shrink
assert da.array_expr_enabled()

class Counted:
    __name__ = "counted"
    runs = Counter()
    def __call__(self, cells, block_id=None):
        self.runs[block_id] += 1
        return cells
    def __dask_tokenize__(self):
        return "counted"

root = sys.argv[1]
values = np.random.default_rng(2).permutation(50 * 60).reshape(50, 60)
levels = [values, shrink(values, (2, 2), "mean")]
levels.append(shrink(levels[-1], (2, 2), "mean"))

def check(place, levels):
    for level, cells in zip(open_multiscales(place).levels, levels, strict=True):
        np.testing.assert_array_equal(level.array.compute(), cells)

for n, chunks in enumerate([(10, 20), (7, 9), (50, 60)]):
    step = Counted()
    step.runs.clear()
    image = da.from_array(values, chunks=chunks)
    image = image.map_blocks(step, dtype=values.dtype, meta=np.empty((0, 0), values.dtype))
    with dask.config.set(scheduler="sync"):
        write_multiscales(image, f"{root}/{n}", axes="yx", levels=3, chunks=8, shards=16)
    check(f"{root}/{n}", levels)
    assert step.runs == dict.fromkeys(np.ndindex(*image.numblocks), 1), step.runs
    write_multiscales(daskzarr.from_zarr(f"{root}/{n}", "0")[::-1], f"{root}/{n}", axes="yx", levels=1, mode="w")
    check(f"{root}/{n}", [values[::-1]])
"""


def test_images_are_written(tmp_path):
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "true"}
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, env=environment)
