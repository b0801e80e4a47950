"""Datasets of xarray from stored groups: the engine ``"daskzarr"``, and ``open_zarr`` and ``open_mfdataset`` by it."""

from daskzarr.xarray.engine import DaskzarrBackendEntrypoint
from daskzarr.xarray.verbs import glob, open_mfdataset, open_zarr

__all__ = ["DaskzarrBackendEntrypoint", "glob", "open_mfdataset", "open_zarr"]
