"""Everything works under ``array.query-planning`` too, which can only be chosen before dask.array is imported."""

import os
import subprocess
import sys

PROGRAM = """
import dask, numpy as np, dask.array as da, daskzarr, os, sys
from dask.callbacks import Callback
from daskzarr.write_plan import fan_in
assert da.array_expr_enabled()

class Tasks(Callback):
    def __init__(self): self.count = 0
    def _posttask(self, *args): self.count += 1

values = np.arange(60 * 40, dtype="f4").reshape(60, 40)
array = da.from_array(values, chunks=(10, 8))
root = sys.argv[1]
for place in ({}, root + "/a"):
    daskzarr.to_zarr(array, place)
    read = daskzarr.from_zarr(place)
    np.testing.assert_array_equal(read.compute(), values)
    for index in (np.s_[3:20], np.s_[5], np.s_[:, 7], np.s_[-1, 3:9], np.s_[::3, 1:], np.s_[None, 3:5], np.s_[..., 3]):
        np.testing.assert_array_equal(read[index].compute(), values[index])
    part = read[3:20, 4:].expr.optimize()
    assert len(part.__dask_graph__()) == 10, "a slice is read by one task a block"
    for chunks in ("auto", (20, 16), (7, 9)):
        np.testing.assert_array_equal((daskzarr.from_zarr(place, chunks=chunks) + 1).compute(), values + 1)
for name, operation in {"copy": lambda x: x, "add": lambda x: x + 1}.items():
    for journal, beside in ((None, -(-30 // fan_in(30, True)) + 1), (False, 1)):
        target = f"{root}/{name}-{journal}"
        with Tasks() as tasks:
            daskzarr.to_zarr(operation(daskzarr.from_zarr(root + "/a")), target, journal=journal)
        assert tasks.count == 30 + beside, (name, journal, tasks.count)
        np.testing.assert_array_equal(daskzarr.from_zarr(target).compute(), operation(values))
for compute in (True, False):
    stored = daskzarr.to_zarr(array, f"{root}/stored", mode="w", compute=compute, return_stored=True)
    np.testing.assert_array_equal(stored.compute(), values)
for chunks in ((15, 8), (7, 9), (60, 40)):
    for align in ("merge", "rechunk"):
        target = f"{root}/{align}-{chunks}"
        daskzarr.to_zarr(daskzarr.from_zarr(root + "/a") * 2, target, chunks=chunks, align=align)
        np.testing.assert_array_equal(daskzarr.from_zarr(target).compute(), values * 2)
    for compute in (True, False):
        stored = daskzarr.to_zarr(array, {}, chunks=chunks, compute=compute, return_stored=True)
        np.testing.assert_array_equal(stored.compute(), values)
try:
    daskzarr.to_zarr(array, root + "/refused", chunks=(15, 8), align="error")
except daskzarr.AlignmentError:
    assert not os.path.exists(root + "/refused")
else:
    raise AssertionError("blocks that share chunks are refused if that is asked for")
expected = values.copy()
expected[13:43, 5] = values[20:50, 1]
daskzarr.to_zarr(daskzarr.from_zarr(root + "/a")[20:50, 1], root + "/copy-None", region=(slice(13, 43), 5), mode="r+")
np.testing.assert_array_equal(daskzarr.from_zarr(root + "/copy-None").compute(), expected)
# A read of the target has to be found in an expression too.
for n in (1, 2):
    daskzarr.to_zarr(daskzarr.from_zarr(root + "/a")[::-1] + 1, root + "/a", overwrite=True)
    np.testing.assert_array_equal(daskzarr.from_zarr(root + "/a").compute(), (values[::-1] + 1, values + 2)[n - 1])
try:
    daskzarr.to_zarr(daskzarr.from_zarr(root + "/a") + 1, root + "/a", mode="r+")
except daskzarr.NodeExistsError:
    np.testing.assert_array_equal(daskzarr.from_zarr(root + "/a").compute(), values + 2)
else:
    raise AssertionError("cells are not read while they are written")
print("all held")
"""


def test_reads_and_writes_as_expressions(tmp_path):
    environment = {**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "all held" in result.stdout
