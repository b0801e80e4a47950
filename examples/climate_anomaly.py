"""From a climate model's netCDF files to anomalies in Zarr v3, computed on a cluster and checked by another reader.

Run ``python examples/climate_anomaly.py [FOLDER]``; needs ``pip install daskzarr[demo]``. The data are those that the
package ``iris-sample-data`` ships: yearly air temperatures of North America 1860-2099 under two emission scenarios, and
monthly sea surface temperatures.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dask
import dask.array as da
import iris_sample_data
import netCDF4
import numpy as np
import tensorstore
from dask.delayed import Delayed
from distributed import Client, LocalCluster, progress

import daskzarr

SAMPLES = Path(iris_sample_data.__file__).parent / "sample_data"
SCENARIOS = {"a1b": "A1B_north_america.nc", "e1": "E1_north_america.nc"}
REFERENCE = (1961, 1990)
KEPT = ("units", "calendar", "standard_name")


def convert(file: Path, name: str, store: Path, component: str, years_a_chunk: int) -> None:
    """One netCDF variable and its coordinates -> a group of Zarr arrays."""
    with netCDF4.Dataset(file) as source:
        variable = source[name]
        variable.set_auto_mask(False)
        daskzarr.create_group(store, component, attributes={"source": file.name})
        for coordinate in variable.dimensions:
            values = source[coordinate][:].filled()
            daskzarr.to_zarr(
                da.from_array(values, chunks=-1),
                store,
                f"{component}/{coordinate}",
                dimension_names=[coordinate],
                attributes={
                    key: source[coordinate].getncattr(key) for key in source[coordinate].ncattrs() if key in KEPT
                },
            )
        daskzarr.to_zarr(
            da.from_array(variable[...], chunks=(years_a_chunk, *variable.shape[1:])),
            store,
            f"{component}/{name}",
            dimension_names=variable.dimensions,
            attributes={"units": variable.units, "standard_name": variable.standard_name},
            fill_value=getattr(variable, "_FillValue", np.float32("nan")),
            compressors="blosc",
        )


def years_of(store: Path, component: str) -> np.ndarray:
    """The year of each time step."""
    hours = daskzarr.from_zarr(store, f"{component}/time").compute()
    attributes = daskzarr.open_array(store, f"{component}/time").attrs
    return np.array([date.year for date in netCDF4.num2date(hours, attributes["units"], attributes["calendar"])])


def run_write(title: str, write: Delayed, client: Client, chunks: int) -> None:
    """Compute a delayed write on the cluster with a bar, and say what it took."""
    tasks = len(dask.optimize(write)[0].__dask_graph__())
    start = time.perf_counter()
    future = client.compute(write)
    progress(future, notebook=False)
    stored = future.result()
    print(
        f"\n{title}: {chunks} chunks in {tasks} tasks ({tasks / chunks:.2f} a chunk), "
        f"{stored.nbytes / 1e3:.0f} kB stored, {time.perf_counter() - start:.2f} s"
    )


def anomalies(store: Path, client: Client) -> None:
    """Air temperature of both scenarios as the difference from the mean of the reference years."""
    for scenario in SCENARIOS:
        temperature = daskzarr.from_zarr(store, f"{scenario}/air_temperature")
        years = years_of(store, scenario)
        first, last = np.searchsorted(years, REFERENCE[0]), np.searchsorted(years, REFERENCE[1], side="right")
        climatology = temperature[first:last].mean(axis=0, dtype="f8").compute()
        daskzarr.to_zarr(
            da.from_array(climatology.astype("f4"), chunks=-1),
            store,
            f"{scenario}/climatology",
            dimension_names=["latitude", "longitude"],
            attributes={"reference_years": list(REFERENCE), "units": "K"},
        )
        write = daskzarr.to_zarr(
            temperature - climatology.astype("f4"),
            store,
            f"{scenario}/anomaly",
            dimension_names=["time", "latitude", "longitude"],
            attributes={"reference_years": list(REFERENCE), "units": "K"},
            fill_value=np.float32("nan"),
            compressors="blosc",
            compute=False,
        )
        run_write(f"{scenario}: anomaly", write, client, temperature.npartitions)


def monthly_anomaly(store: Path, client: Client) -> None:
    """Sea surface temperature as the difference from the mean of its month of the year; land stays missing."""
    name = "ostia/surface_temperature"
    missing = daskzarr.open_array(store, name).fill_value
    sea = daskzarr.from_zarr(store, name, chunks="auto")
    sea = da.where(sea == missing, np.float32("nan"), sea)
    hours = daskzarr.from_zarr(store, "ostia/time").compute()
    attributes = daskzarr.open_array(store, "ostia/time").attrs
    dates = netCDF4.num2date(hours, attributes["units"], attributes["calendar"])
    months = np.array([date.month for date in dates])
    means = [sea[np.flatnonzero(months == month)].mean(axis=0) for month in range(1, 13)]
    climatology = da.stack(means).rechunk((12, -1, -1)).persist()
    anomaly = (sea - climatology[months - 1]).rechunk((6, -1, -1)).astype("f4")
    write = daskzarr.to_zarr(
        anomaly,
        store,
        "ostia/anomaly",
        dimension_names=["time", "latitude", "longitude"],
        fill_value=np.float32("nan"),
        compute=False,
    )
    run_write("ostia: anomaly from the months' means", write, client, anomaly.npartitions)


def read_independently(path: Path) -> np.ndarray:
    """An array by tensorstore."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec).result().read().result()


def dates_of(time_variable: netCDF4.Variable) -> np.ndarray:
    """The dates of a netCDF file's time steps."""
    return netCDF4.num2date(time_variable[:], time_variable.units, time_variable.calendar)


def check(store: Path) -> None:
    """Compare what is stored, read by another implementation, with NumPy's answer from the netCDF files."""
    for scenario, file in SCENARIOS.items():
        with netCDF4.Dataset(SAMPLES / file) as source:
            values = source["air_temperature"][:].filled()
            years = np.array([date.year for date in dates_of(source["time"])])
        chosen = (years >= REFERENCE[0]) & (years <= REFERENCE[1])
        expected = values - values[chosen].mean(axis=0, dtype="f8").astype("f4")
        np.testing.assert_array_equal(read_independently(store / scenario / "air_temperature"), values)
        found = read_independently(store / scenario / "anomaly")
        np.testing.assert_allclose(found, expected, atol=1e-4)
        print(f"{scenario}: the last ten years are {found[-10:].mean():+.2f} K from the mean of {REFERENCE}")
    with netCDF4.Dataset(SAMPLES / "ostia_monthly.nc") as source:
        values = source["surface_temperature"][:].filled(np.nan)
        months = np.array([date.month for date in dates_of(source["time"])])
    expected = np.stack([values[i] - values[months == month].mean(axis=0) for i, month in enumerate(months)])
    np.testing.assert_allclose(read_independently(store / "ostia" / "anomaly"), expected, atol=1e-3)
    print("read back with tensorstore and compared with NumPy: equal")


def main() -> None:
    """Convert, compute, check."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    store = folder / "climate.zarr"
    start = time.perf_counter()
    daskzarr.create_group(store, overwrite=True, attributes={"title": "daskzarr demo"})
    for scenario, file in SCENARIOS.items():
        convert(SAMPLES / file, "air_temperature", store, scenario, 10)
    convert(SAMPLES / "ostia_monthly.nc", "surface_temperature", store, "ostia", 6)
    print(f"netCDF -> {store} in {time.perf_counter() - start:.2f} s")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        anomalies(store, client)
        monthly_anomaly(store, client)
    check(store)
    print(f"done in {time.perf_counter() - start:.1f} s; the arrays are in {store}")


if __name__ == "__main__":
    main()
