"""``obj.daskzarr`` of datasets, data arrays and trees of xarray: the verbs that write them, as methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask.delayed import Delayed
from xarray import DataArray, Dataset, DataTree, register_dataarray_accessor, register_dataset_accessor
from xarray import register_datatree_accessor as register_tree_accessor

from daskzarr.write_plan import WritePlan
from daskzarr.xarray.writing import plan, to_zarr


@register_dataset_accessor("daskzarr")
@register_dataarray_accessor("daskzarr")
class Writer:
    """``ds.daskzarr.to_zarr(...)`` and ``ds.daskzarr.plan(...)``; see :func:`daskzarr.xarray.to_zarr` for both.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> xr.Dataset({"a": ("x", np.arange(4))}).daskzarr.to_zarr(store := {}, consolidated=False)
    >>> sorted(store)
    ['a/c/0', 'a/zarr.json', 'zarr.json']
    """

    def __init__(self, obj: Dataset | DataArray) -> None:
        self._obj = obj

    def to_zarr(self, store: Any = None, *args: Any, **settings: Any) -> Delayed | None:
        """Store it; see :func:`daskzarr.xarray.to_zarr`."""
        return to_zarr(self._obj, store, *args, **settings)

    def plan(self, store: Any = None, *args: Any, **settings: Any) -> WritePlan:
        """What that would do, in numbers; see :func:`daskzarr.xarray.plan`."""
        return plan(self._obj, store, *args, **settings)


@register_tree_accessor("daskzarr")
class TreeWriter:
    """The same of a tree; its arguments come in the order of ``DataTree.to_zarr``."""

    def __init__(self, obj: DataTree) -> None:
        self._obj = obj

    def to_zarr(
        self,
        store: Any = None,
        mode: Any = "w-",
        encoding: Mapping[Any, Any] | None = None,
        consolidated: bool | None = True,
        group: str | None = None,
        **settings: Any,
    ) -> Delayed | None:
        """Store it; see :func:`daskzarr.xarray.to_zarr`."""
        return to_zarr(self._obj, store, mode, group, encoding, consolidated=consolidated, **settings)

    def plan(
        self, store: Any = None, mode: Any = "w-", encoding: Mapping[Any, Any] | None = None, **settings: Any
    ) -> WritePlan:
        """What that would do, in numbers; see :func:`daskzarr.xarray.plan`."""
        return plan(self._obj, store, mode, None, encoding, **settings)
