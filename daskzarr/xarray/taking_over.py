"""xarray's own names -> the engine and the verbs of this package behind them, in this process, until that is undone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import xarray
from dask.delayed import Delayed
from xarray import DataArray, Dataset, DataTree
from xarray.backends import common, plugins
from xarray.backends import zarr as zarr_module

from daskzarr.errors import DaskZarrError
from daskzarr.metadata import ZarrFormat
from daskzarr.xarray.engine import DaskzarrBackendEntrypoint
from daskzarr.xarray.opening import GroupStore, normal_place, open_stored
from daskzarr.xarray.verbs import open_zarr
from daskzarr.xarray.writing import to_zarr

_before: dict[tuple[Any, str], Any] = {}
_engines_before: dict[str, Any] = {}


class ZarrEngine(DaskzarrBackendEntrypoint):
    """The engine under xarray's name for its own, ``"zarr"``; it opens ``.zarr`` without being asked."""

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a place without an engine named is ours, by its ending."""
        if isinstance(filename_or_obj, (str, os.PathLike)) and os.fspath(filename_or_obj).rstrip("/").endswith(".zarr"):
            return True
        return super().guess_can_open(filename_or_obj)


def install() -> None:
    """Make xarray use daskzarr for Zarr in this process: its engine ``"zarr"``, ``open_zarr`` and ``to_zarr``.

    ``xr.open_zarr``, ``xr.open_dataset(engine="zarr")`` and all that opens through them, ``to_zarr`` of Dataset,
    DataArray and DataTree. A function that was imported by its name before stays xarray's own, but for the engine.
    Doing it twice is doing it once; :func:`uninstall` undoes it.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> install()
    >>> _ = xr.Dataset({"a": ("x", np.arange(4))}).to_zarr(store := {})
    >>> type(xr.open_zarr(store)["a"].data).__module__
    'daskzarr.graph.read'
    >>> uninstall()
    """
    if _before:
        return
    for owner, name, value in _REPLACEMENTS:
        _before[owner, name] = vars(owner)[name]
        setattr(owner, name, value)
    _engines_before["zarr"] = common.BACKEND_ENTRYPOINTS["zarr"]
    common.BACKEND_ENTRYPOINTS["zarr"] = (None, ZarrEngine)
    plugins.list_engines.cache_clear()


def uninstall() -> None:
    """Give xarray its own back, as it was before :func:`install`; nothing happens if that was not called.

    Examples
    --------
    >>> uninstall()
    """
    for (owner, name), value in _before.items():
        setattr(owner, name, value)
    common.BACKEND_ENTRYPOINTS.update(_engines_before)
    _before.clear()
    _engines_before.clear()
    plugins.list_engines.cache_clear()


def _write(
    self: Dataset | DataArray,
    store: Any = None,
    mode: Any = None,
    group: str | None = None,
    encoding: Mapping[Any, Any] | None = None,
    **settings: Any,
) -> Delayed | GroupStore:
    """``to_zarr`` of datasets and data arrays."""
    return _written(self, {} if store is None else store, mode, group, encoding, settings)


def _write_tree(
    self: DataTree,
    store: Any,
    mode: Any = "w-",
    encoding: Mapping[Any, Any] | None = None,
    consolidated: bool = True,
    group: str | None = None,
    write_inherited_coords: bool = False,
    compute: bool = True,
    **settings: Any,
) -> Delayed | GroupStore:
    """``to_zarr`` of trees."""
    more = {"consolidated": consolidated, "write_inherited_coords": write_inherited_coords, "compute": compute}
    return _written(self, store, mode, group, encoding, {**settings, **more})


def _written(
    obj: Any, store: Any, mode: Any, group: Any, encoding: Any, settings: dict[str, Any]
) -> Delayed | GroupStore:
    """What was written, as xarray's store; or the write, if it is left to be done."""
    options = settings.get("storage_options")
    if settings.get("zarr_format") is None and not _is_group(store, group, options):
        settings = {**settings, "zarr_format": _usual_format()}
    # xarray says of mode "a" that it overwrites all, and writes nothing beside stores: programs may rely on both.
    usual = {"overwrite_coords": "warn", "journal": None if settings.get("resume") else False}
    delayed = to_zarr(obj, store, mode, group, encoding, **{**usual, **settings})
    if delayed is not None:
        return delayed
    return GroupStore(open_stored(normal_place(store), group, consolidated=False, storage_options=options))


def _is_group(store: Any, group: str | None, options: Mapping[str, Any] | None) -> bool:
    """Whether there is a group, whose format is that of what is added to it."""
    try:
        open_stored(normal_place(store), group, consolidated=False, storage_options=options)
    except DaskZarrError:
        return False
    return True


def _usual_format() -> ZarrFormat | None:
    """The format of new groups that zarr-python's configuration names, where the program has loaded that."""
    config = getattr(sys.modules.get("zarr"), "config", None)
    return None if config is None else config.get("default_zarr_format", None)


_REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    (xarray, "open_zarr", open_zarr),
    (zarr_module, "open_zarr", open_zarr),
    (Dataset, "to_zarr", _write),
    (DataArray, "to_zarr", _write),
    (DataTree, "to_zarr", _write_tree),
)
