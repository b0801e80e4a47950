"""A pytest plugin under which Dask's own tests run after install_dask(); it counts calls, and those left to Dask."""

import dask.array
import dask.array.core

import daskzarr
from daskzarr import install

calls, handed = [], []


def pytest_configure(config):
    """Only where this is a plugin, as in the module beside this one."""
    daskzarr.install_dask()
    for name in ("from_zarr", "to_zarr"):
        for module in (dask.array, dask.array.core):
            setattr(module, name, counted(getattr(module, name), calls))
    install._dasks = counted(install._dasks, handed)


def counted(function, made):
    """The same function, whose calls are noted."""

    def call(*args, **kwargs):
        made.append(function)
        return function(*args, **kwargs)

    return call


def pytest_terminal_summary(terminalreporter):
    """What was called."""
    terminalreporter.write_line(f"daskzarr: {len(calls)} calls, {len(handed)} of them handed to Dask")
