"""anndata with daskzarr in Dask: what it opens lazily are daskzarr's arrays, with the cells that it wrote."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import daskzarr
from daskzarr.graph.read import ZarrArray

zarr = pytest.importorskip("zarr")
anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")

pytestmark = pytest.mark.filterwarnings("ignore")  # anndata's own are not ours to mend
ROWS, COLUMNS = 57, 23
CELLS = (np.arange(ROWS * COLUMNS) + 0.5).astype("float32").reshape(ROWS, COLUMNS)
SPARSE = sparse.csr_matrix(np.where(np.arange(ROWS * COLUMNS) % 7 == 0, CELLS.ravel(), 0).reshape(ROWS, COLUMNS))


@pytest.fixture(autouse=True)
def installed():
    daskzarr.install_dask()
    yield
    daskzarr.uninstall_dask()


@pytest.fixture(params=[2, 3])
def written(tmp_path, request):
    """A store as anndata writes it: dense, sparse, text and numbers, categories."""
    data = anndata.AnnData(
        X=CELLS,
        obs=pandas.DataFrame(
            {"size": np.arange(ROWS) * 3, "kind": pandas.Categorical([f"kind {n % 5}" for n in range(ROWS)])},
            index=[f"cell {n}" for n in range(ROWS)],
        ),
        var=pandas.DataFrame({"weight": np.arange(COLUMNS) / 4}, index=[f"gene {n}" for n in range(COLUMNS)]),
        obsm={"place": np.arange(ROWS * 2, dtype="int64").reshape(ROWS, 2)},
        layers={"sparse": SPARSE},
        uns={"names": np.array([f"name {n}" * n for n in range(9)])},
    )
    with anndata.settings.override(zarr_write_format=request.param):
        data.write_zarr(tmp_path / "a.zarr", chunks=(10, COLUMNS))
    return tmp_path / "a.zarr"


def test_elements_opened_lazily_are_read_by_daskzarr(written):
    group = zarr.open_group(written, mode="r")
    for path, cells in (("X", CELLS), ("obsm/place", np.arange(ROWS * 2).reshape(ROWS, 2))):
        lazy = anndata.experimental.read_elem_lazy(group[path])
        assert type(lazy) is ZarrArray
        assert lazy.chunks[0] == da_chunks(group[path])
        assert_array_equal(lazy.compute(), cells)
        assert_array_equal(lazy[5:40:3, 1].compute(), cells[5:40:3, 1])
    wider = anndata.experimental.read_elem_lazy(group["X"], chunks=(20, -1))
    assert wider.chunks == ((20, 20, 17), (COLUMNS,))
    assert_array_equal(wider.compute(), CELLS)


def da_chunks(array):
    """Lengths of the chunks along the first axis."""
    step, length = array.chunks[0], array.shape[0]
    return tuple(min(step, length - start) for start in range(0, length, step))


def test_text_is_what_it_is_without(written):
    names = zarr.open_group(written, mode="r")["uns/names"]
    lazy = anndata.experimental.read_elem_lazy(names)
    assert lazy.dtype == names.dtype
    assert lazy.compute().tolist() == [f"name {n}" * n for n in range(9)]


def test_a_whole_object_opened_lazily(written):
    pytest.importorskip("xarray")
    lazy = anndata.experimental.read_lazy(written)
    assert isinstance(lazy.X, ZarrArray)
    whole = lazy[10:30].to_memory()
    assert_array_equal(whole.X, CELLS[10:30])
    assert_array_equal(whole.layers["sparse"].toarray(), SPARSE[10:30].toarray())
    assert whole.obs["size"].tolist() == list(range(30, 90, 3))
    assert whole.obs["kind"].tolist() == [f"kind {n % 5}" for n in range(10, 30)]


def test_what_was_read_lazily_is_written_by_it(written, tmp_path):
    lazy = anndata.experimental.read_elem_lazy(zarr.open_group(written, mode="r")["X"])
    anndata.AnnData(X=lazy * 2).write_zarr(tmp_path / "b.zarr")
    assert_array_equal(anndata.read_zarr(tmp_path / "b.zarr").X, CELLS * 2)
