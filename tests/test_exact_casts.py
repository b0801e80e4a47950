"""Cells that the stored dtype cannot hold are refused, not wrapped, cut or rounded away."""

import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr.errors import CodecError

LOST = [
    (np.array([1, 204]), "i1", "204"),
    (np.array([1, 2**53 + 1]), "f8", "9007199254740993"),
    (np.array([1.5, 1e300]), "f4", "1e\\+300"),
    (np.array(["ab", "abcdef"]), "U2", "abcdef"),
    (np.array(["2000-01-01T00:00:00.5"], "M8[ns]"), "M8[s]", "2000"),
]
KEPT = [
    (np.array([1, -128]), "i1"),
    (np.array([1.5, 0.1, np.nan, np.inf]), "f4"),
    (np.array(["ab", "c"], "U7"), "U2"),
    (np.array(["2000-01-01", "NaT"], "M8[ns]"), "M8[s]"),
    (np.array([1, 2, 3]), "f8"),
]


@pytest.mark.parametrize(("cells", "dtype", "named"), LOST)
@pytest.mark.parametrize("existing", [False, True])
def test_what_would_change_is_refused(cells, dtype, named, existing):
    store, options = {}, {"dtype": dtype}
    if existing:
        daskzarr.create_array(store, shape=cells.shape, chunks=cells.shape, dtype=dtype)
        options = {"mode": "r+"}
    with pytest.raises(CodecError, match=named):
        daskzarr.to_zarr(da.from_array(cells, chunks=-1), store, **options)
    assert [key for key in store if key.startswith("c")] == []


@pytest.mark.parametrize(("cells", "dtype"), KEPT)
def test_what_stays_is_written(cells, dtype):
    daskzarr.to_zarr(da.from_array(cells, chunks=1), store := {}, dtype=dtype)
    np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(), cells.astype(dtype))
