"""A climate model's years -> an archive in Zarr v3 that grows by appends, with xarray, and is checked after each.

Run ``python examples/archive_of_datasets.py [FOLDER]``; needs ``pip install daskzarr[demo,xarray]``. The data are those
that the package ``iris-sample-data`` ships: air temperatures of North America, yearly, 1860-2099.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import iris_sample_data
import xarray as xr

import daskzarr
import daskzarr.xarray
from daskzarr.errors import AppendError, MetadataError

SAMPLE = Path(iris_sample_data.__file__).parent / "sample_data" / "A1B_north_america.nc"
YEARS_A_DELIVERY = 60


def deliveries() -> list[xr.Dataset]:
    """The dataset as it would come in: some decades at a time."""
    whole = xr.open_dataset(SAMPLE, engine="netcdf4", chunks={"time": 20})
    return [whole.isel(time=slice(n, n + YEARS_A_DELIVERY)) for n in range(0, whole.sizes["time"], YEARS_A_DELIVERY)]


def main(folder: Path) -> None:
    """Build the archive, refuse what would spoil it, and read it."""
    archive = folder / "archive.zarr"
    first, *rest = deliveries()
    shards = {"air_temperature": {"chunks": (20, 37, 49), "shards": (60, 37, 49)}}
    print(first.daskzarr.plan(archive, encoding=shards, safe_chunks=False), "\n")
    first.daskzarr.to_zarr(archive, encoding=shards, safe_chunks=False)
    for delivery in rest:
        delivery.daskzarr.to_zarr(archive, append_dim="time", duplicates="error", safe_chunks=False)

    try:
        rest[-1].daskzarr.to_zarr(archive, append_dim="time", duplicates="error", safe_chunks=False)
    except AppendError as error:
        print("the same again:", error.message, "\n")
    try:
        moved = rest[-1].assign_coords(latitude=rest[-1].latitude + 1)
        moved.daskzarr.to_zarr(archive, append_dim="time", safe_chunks=False)
    except MetadataError as error:
        print("another grid:", error.message, "\n")

    found = daskzarr.xarray.open_zarr(archive)
    whole = xr.open_dataset(SAMPLE, engine="netcdf4")
    xr.testing.assert_allclose(found["air_temperature"].load(), whole["air_temperature"])
    print(found["air_temperature"].mean(("latitude", "longitude")).groupby("time.year").mean().isel(year=[0, -1]), "\n")
    print(daskzarr.verify(archive))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
