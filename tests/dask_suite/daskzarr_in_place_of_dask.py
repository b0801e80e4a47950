"""A pytest plugin under which Dask's own tests call daskzarr wherever they call Dask's from_zarr and to_zarr."""

import dask.array
import dask.array.core

import daskzarr


def pytest_configure(config):
    """Only where this is a plugin: whoever looks here for doctests keeps Dask's own."""
    for module in (dask.array, dask.array.core):
        module.from_zarr = daskzarr.from_zarr
        module.to_zarr = daskzarr.to_zarr
