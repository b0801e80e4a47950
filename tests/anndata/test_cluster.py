"""A sparse element on a cluster: workers read it, with the blocks and errors they have in one process."""

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from scipy import sparse

from daskzarr import CodecError, create_group, to_zarr
from daskzarr.anndata import open_element

RNG = np.random.default_rng(4)
CELLS = np.where(RNG.random((300, 40)) < 0.2, RNG.permutation(300 * 40).reshape(300, 40), 0)
MATRIX = sparse.csr_matrix(CELLS)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def put_matrix(place, matrix):
    """Store it as AnnData does."""
    about = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(matrix.shape)}
    create_group(place, "X", attributes=about)
    for name in ("data", "indices", "indptr"):
        to_zarr(da.from_array(getattr(matrix, name), chunks=100), place, f"X/{name}", journal=False)


def tasks(client):
    """How many tasks of each kind the scheduler holds."""
    return client.run_on_scheduler(
        lambda dask_scheduler: {
            prefix.name: len(prefix) for prefix in dask_scheduler.task_prefixes.values() if len(prefix)
        }
    )


def test_blocks_are_read_by_workers_one_task_each(client, tmp_path):
    put_matrix(tmp_path, MATRIX)
    array = open_element(tmp_path, "X", chunks=25)
    kept = client.persist(array)
    blocks = client.gather(client.futures_of(kept))
    assert all(type(block) is sparse.csr_matrix for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block.toarray() for block in blocks]), CELLS)
    names = client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    assert len(names) == 12
    assert all("daskzarr-read" in name for name in names)


def test_sums_and_copies(client, tmp_path):
    put_matrix(tmp_path, MATRIX)
    array = open_element(tmp_path, "X", chunks=25, blocks="dense")
    np.testing.assert_array_equal(array.sum(axis=0).compute(), CELLS.sum(axis=0))
    np.testing.assert_array_equal(open_element(tmp_path, "X", chunks=25)[20:90].compute().toarray(), CELLS[20:90])


def test_an_error_comes_from_the_worker(client, tmp_path):
    matrix = MATRIX.copy()
    matrix.indices[-1] = 40
    put_matrix(tmp_path, matrix)
    with pytest.raises(CodecError, match=r"is 40, and the matrix has 40 columns.*X/indices"):
        open_element(tmp_path, "X", chunks=25).compute()
