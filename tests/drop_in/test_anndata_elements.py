"""Elements that anndata wrote, read by daskzarr: the cells, blocks and types that anndata's own readers give."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import daskzarr
from daskzarr import UnsupportedError
from daskzarr.anndata import open_element

zarr = pytest.importorskip("zarr")
anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")

pytestmark = pytest.mark.filterwarnings("ignore")  # anndata's own are not ours to mend
ROWS, COLUMNS = 157, 83
RNG = np.random.default_rng(6)
DENSE = (np.arange(ROWS * COLUMNS) + 0.5).astype("float32").reshape(ROWS, COLUMNS)
COUNTS = np.where(RNG.random((ROWS, COLUMNS)) < 0.2, RNG.permutation(ROWS * COLUMNS).reshape(ROWS, COLUMNS), 0)
COUNTS[40:50] = 0


@pytest.fixture(scope="module", params=[(2, False), (3, False), (3, True)], ids=["v2", "v3", "v3 sharded"])
def written(tmp_path_factory, request):
    """A store as anndata writes it, in each of the formats."""
    zarr_format, sharded = request.param
    whole = anndata.AnnData(
        X=sparse.csr_matrix(COUNTS.astype("float32")),
        obs=pandas.DataFrame(
            {"size": np.arange(ROWS) * 3, "kind": pandas.Categorical([f"kind {n % 5}" for n in range(ROWS)])},
            index=[f"cell {n}" for n in range(ROWS)],
        ),
        obsm={"place": np.arange(ROWS * 2, dtype="int64").reshape(ROWS, 2), "odd": sparse.csc_matrix(COUNTS[:, :9])},
        obsp={"near": sparse.csr_matrix(np.eye(ROWS, k=3, dtype=bool))},
        layers={
            "counts": sparse.csc_array(COUNTS),
            "rows": sparse.csr_array(COUNTS.astype("float64")),
            "dense": DENSE,
            "none": sparse.csr_matrix((ROWS, COLUMNS), dtype="int16"),
        },
    )
    whole.raw = whole
    place = tmp_path_factory.mktemp("written") / "a.zarr"
    with anndata.settings.override(zarr_write_format=zarr_format, auto_shard_zarr_v3=sharded):
        whole[:, 5:70].copy().write_zarr(place)
    return place


PATHS = [
    "X",
    "layers/counts",
    "layers/rows",
    "layers/dense",
    "layers/none",
    "obsm/place",
    "obsm/odd",
    "obsp/near",
    "raw/X",
]


def in_memory(whole, path):
    """The element as anndata has it."""
    for part in path.split("/"):
        whole = getattr(whole, part) if hasattr(whole, part) else whole[part]
    return whole


def dense(cells):
    return cells.toarray() if sparse.issparse(cells) else cells


@pytest.mark.parametrize("path", PATHS)
def test_cells_are_those_that_anndata_reads(written, path):
    wanted = in_memory(anndata.read_zarr(written), path)
    for array in (open_element(written, path), open_element(written, path, consolidated=True)):
        assert array.dtype == wanted.dtype
        found = array.compute()
        assert type(found) is type(wanted) or sparse.issparse(found)
        assert_array_equal(dense(found), dense(wanted))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("step", [None, 1, 40, 1000])
def test_blocks_are_those_of_anndata_s_lazy_reader(written, path, step):
    element = zarr.open_group(written, mode="r")[path]
    chunks = None
    if step is not None:
        by_columns = element.attrs["encoding-type"] == "csc_matrix"
        chunks = (-1, min(step, element.attrs.get("shape", (1, 1))[1])) if by_columns else (step, -1)
    theirs = anndata.experimental.read_elem_lazy(element, chunks=chunks)
    ours = open_element(written, path, chunks=theirs.chunks)
    assert ours.chunks == theirs.chunks
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert type(ours._meta) is type(theirs._meta)
    assert ours._meta.dtype == theirs._meta.dtype
    for index in list(np.ndindex(*ours.numblocks))[:9]:
        mine, other = ours.blocks[index].compute(), theirs.blocks[index].compute()
        assert type(mine) is type(other)
        assert mine.shape == other.shape
        assert_array_equal(dense(mine), dense(other))
        if sparse.issparse(mine):
            for name in ("data", "indices", "indptr"):
                assert_array_equal(getattr(mine, name), getattr(other, name))


def test_an_object_of_lazy_elements_is_one_of_anndata_s(written, tmp_path):
    lazy = anndata.AnnData(X=open_element(written, "X", chunks=50), layers={"d": open_element(written, "layers/dense")})
    part = lazy[20:90].to_memory()
    assert_array_equal(part.X.toarray(), COUNTS[20:90, 5:70])
    assert_array_equal(part.layers["d"], DENSE[20:90, 5:70])
    lazy.write_zarr(tmp_path / "b.zarr")
    again = anndata.read_zarr(tmp_path / "b.zarr")
    assert_array_equal(again.X.toarray(), COUNTS[:, 5:70])
    assert_array_equal(open_element(tmp_path / "b.zarr", "X", blocks="dense").compute(), COUNTS[:, 5:70])


def test_columns_are_read_by_their_arrays(written):
    assert open_element(written, "obs/size").compute().tolist() == list(range(0, 3 * ROWS, 3))
    codes = open_element(written, "obs/kind/codes").compute()
    names = open_element(written, "obs/kind/categories").compute()
    assert [names[code] for code in codes] == [f"kind {n % 5}" for n in range(ROWS)]
    assert open_element(written, "obs/_index").compute()[-1] == f"cell {ROWS - 1}"
    for path, name in (("", "anndata"), ("obs", "dataframe"), ("obs/kind", "categorical"), ("layers", "dict")):
        with pytest.raises(UnsupportedError, match=f"'{name}'"):
            open_element(written, path)


def test_indices_of_the_least_integers(tmp_path):
    matrix = sparse.csr_matrix(COUNTS)
    with anndata.settings.override(write_csr_csc_indices_with_min_possible_dtype=True):
        anndata.AnnData(X=matrix).write_zarr(tmp_path / "a.zarr")
    assert daskzarr.open_array(tmp_path / "a.zarr", "X/indices").dtype == "uint8"
    assert_array_equal(open_element(tmp_path / "a.zarr", "X", chunks=20).compute().toarray(), COUNTS)
