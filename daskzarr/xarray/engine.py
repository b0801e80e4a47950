"""xarray's engine ``"daskzarr"``: what open_dataset, open_datatree and open_groups are asked -> datasets, lazily."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from inspect import signature
from typing import Any, ClassVar

import dask
from xarray import Dataset, DataTree
from xarray.backends import BackendEntrypoint, StoreBackendEntrypoint

from daskzarr.metadata import ZarrFormat
from daskzarr.xarray.opening import GroupStore, groups_below, open_stored

_ALWAYS = (".n5", ".zarr.zip")
_DECODERS = (
    "mask_and_scale",
    "decode_times",
    "concat_characters",
    "decode_coords",
    "use_cftime",
    "decode_timedelta",
)


class DaskzarrBackendEntrypoint(BackendEntrypoint):  # type: ignore[misc]
    """Zarr v2, Zarr v3, NCZarr and N5 for xarray, without zarr-python: ``xr.open_dataset(url, engine="daskzarr")``.

    ``.n5`` and ``.zarr.zip`` are opened by it without being asked; ``.zarr`` where zarr-python is not installed, or
    with ``daskzarr.xarray.guess`` in Dask's configuration.
    """

    description: ClassVar[str] = "Zarr v2, Zarr v3 and N5 by daskzarr"
    url: ClassVar[str] = "https://github.com/daskzarr/daskzarr"
    supports_groups: ClassVar[bool] = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a place without an engine named is ours, by its ending."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        name = os.fspath(filename_or_obj).rstrip("/")
        if name.endswith(_ALWAYS):
            return True
        return name.endswith(".zarr") and (
            find_spec("zarr") is None or bool(dask.config.get("daskzarr.xarray.guess", False))
        )

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        mode: str = "r",
        consolidated: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
        zarr_format: ZarrFormat | None = None,
        store: Any = None,
        engine: Any = None,
        use_zarr_fill_value_as_mask: bool | None = None,
        cache_members: bool = True,
        blocks: Any = None,
    ) -> Dataset:
        """One group as a dataset; only its documents are read. ``blocks`` is for ``open_zarr``: dask arrays."""
        decoders = {name: value for name, value in locals().items() if name in _DECODERS}
        without = _names(drop_variables)
        if store is None:
            asked: Any = {"consolidated": consolidated, "storage_options": storage_options, "zarr_format": zarr_format}
            stored = open_stored(filename_or_obj, group, **asked)
            store = GroupStore(stored, mask=use_zarr_fill_value_as_mask, without=without, blocks=blocks)
        found: Dataset = StoreBackendEntrypoint().open_dataset(store, drop_variables=drop_variables, **decoders)
        return found

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        mode: str = "r",
        consolidated: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
        zarr_format: ZarrFormat | None = None,
        use_zarr_fill_value_as_mask: bool | None = None,
        **decoders: Any,
    ) -> dict[str, Dataset]:
        """The group and all below it, by path, each a dataset."""
        asked: Any = {"consolidated": consolidated, "storage_options": storage_options, "zarr_format": zarr_format}
        top, without = open_stored(filename_or_obj, group, **asked), _names(drop_variables)
        return {
            path: StoreBackendEntrypoint().open_dataset(
                GroupStore(node, mask=use_zarr_fill_value_as_mask, without=without),
                drop_variables=drop_variables,
                **decoders,
            )
            for path, node in groups_below(top)
        }

    def open_datatree(self, filename_or_obj: Any, **settings: Any) -> DataTree:
        """The same as a tree."""
        return DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **settings))


def _names(drop_variables: str | Iterable[str] | None) -> frozenset[str]:
    """Names of arrays that are not wanted."""
    if drop_variables is None:
        return frozenset()
    return frozenset([drop_variables] if isinstance(drop_variables, str) else drop_variables)


# xarray works this out where an engine is asked for by name, and the class may be asked for, too.
DaskzarrBackendEntrypoint.open_dataset_parameters = tuple(signature(DaskzarrBackendEntrypoint.open_dataset).parameters)[
    1:
]
