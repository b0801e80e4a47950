"""Datasets of xarray from stored groups, and stored groups from datasets: the engine ``"daskzarr"``, and verbs."""

from daskzarr.xarray.accessors import TreeWriter, Writer
from daskzarr.xarray.engine import DaskzarrBackendEntrypoint
from daskzarr.xarray.taking_over import install, uninstall
from daskzarr.xarray.verbs import glob, open_mfdataset, open_zarr
from daskzarr.xarray.writing import plan, to_zarr

__all__ = [
    "DaskzarrBackendEntrypoint",
    "TreeWriter",
    "Writer",
    "glob",
    "install",
    "open_mfdataset",
    "open_zarr",
    "plan",
    "to_zarr",
    "uninstall",
]
