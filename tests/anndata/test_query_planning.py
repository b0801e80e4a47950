"""Sparse elements under ``array.query-planning``, which can only be chosen before dask.array is imported."""

import os
import subprocess
import sys

PROGRAM = """
import dask, numpy as np, dask.array as da
from scipy import sparse
from daskzarr import create_group, to_zarr
from daskzarr.anndata import open_element
assert da.array_expr_enabled()

def put(matrix):
    about = {"encoding-type": f"{matrix.format}_matrix", "encoding-version": "0.1.0", "shape": list(matrix.shape)}
    create_group(store := {}, "X", attributes=about)
    for name in ("data", "indices", "indptr"):
        to_zarr(da.from_array(getattr(matrix, name), chunks=7), store, f"X/{name}")
    return store

rng = np.random.default_rng(2)
cells = np.where(rng.random((41, 23)) < 0.3, rng.permutation(41 * 23).reshape(41, 23), 0)
for kind in ("csr", "csc"):
    matrix = sparse.csr_matrix(cells).asformat(kind)
    store = put(matrix)
    for blocks in ("matrix", "array", "dense"):
        array = open_element(store, "X", chunks=10, blocks=blocks)
        assert array.name == open_element(store, "X", chunks=10, blocks=blocks).name
        assert array.name != open_element(store, "X", chunks=11, blocks=blocks).name
        assert len(dict(array.__dask_graph__())) <= 2 * np.prod(array.numblocks)
        for found, wanted in ((array, cells), (array[3:30], cells[3:30]), (array.map_blocks(abs), cells)):
            found = found.compute(scheduler="sync")
            np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, wanted)
"""


def test_sparse_elements_are_read():
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "true"}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment)
