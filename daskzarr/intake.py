"""Entries of Intake's catalogs -> dask arrays, datasets and trees: readers for Intake 2, drivers for older catalogs.

Intake finds both by entry points; nobody has to import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

try:
    from intake import import_name
    from intake.readers.datatypes import Zarr
    from intake.readers.readers import FileReader
    from intake.source.base import DataSource, Schema
except ImportError as error:
    raise ImportError("daskzarr.intake needs Intake 2: pip install 'daskzarr[intake]'") from error

__all__ = ["DaskzarrArray", "DaskzarrArraySource", "DaskzarrDataset", "DaskzarrSource", "DaskzarrTree"]


class DaskzarrArray(FileReader):  # type: ignore[misc]
    """A stored array as a dask array: :func:`daskzarr.from_zarr` of the data's ``url``, and of ``root`` below it.

    What else the reader is given is passed on, and counts before what the data say.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import to_zarr
    >>> to_zarr(da.arange(6, chunks=2), "memory://array-of-a-catalog.zarr", "a", journal=False)
    >>> DaskzarrArray(Zarr("memory://array-of-a-catalog.zarr", root="a"), chunks=3).read().chunks
    ((3, 3),)
    """

    implements: ClassVar[set[type]] = {Zarr}
    imports: ClassVar[set[str]] = {"daskzarr"}
    output_instance = "dask.array:Array"
    func = "daskzarr:from_zarr"
    url_arg = "url"

    def _read(self, data: Any, **settings: Any) -> Any:
        """The array that the data name."""
        root = "path" if "path" in settings else "component"
        return self._func(**_asked(data, settings, url=self.url_arg, root=root))


class DaskzarrDataset(FileReader):  # type: ignore[misc]
    """A stored group as a dataset: :func:`daskzarr.xarray.open_zarr` of the data's ``url``, and of ``root`` below it.

    A list of URLs, or a pattern with ``*``, makes one dataset, by :func:`daskzarr.xarray.open_mfdataset`. What else
    the reader is given is passed on, and counts before what the data say.
    """

    implements: ClassVar[set[type]] = {Zarr}
    imports: ClassVar[set[str]] = {"daskzarr", "xarray"}
    output_instance = "xarray:Dataset"
    func = "daskzarr.xarray:open_zarr"
    url_arg = "store"
    other_funcs: ClassVar[set[str]] = {"daskzarr.xarray:open_mfdataset"}
    other_urls: ClassVar[dict[str, str]] = {"daskzarr.xarray:open_mfdataset": "paths"}

    def _read(self, data: Any, **settings: Any) -> Any:
        """The dataset that the data name."""
        if isinstance(data.url, (list, tuple)) or (isinstance(data.url, str) and "*" in data.url):
            ((many, url),) = self.other_urls.items()
            return import_name(many)(**_asked(data, settings, url=url, root="group"))
        return self._func(**_asked(data, settings, url=self.url_arg, root="group"))


class DaskzarrTree(FileReader):  # type: ignore[misc]
    """A stored group and all below it as a tree of datasets: ``xarray.open_datatree`` with this package's engine.

    Its arrays are dask arrays of one block a stored object, unless ``chunks`` says otherwise. What else the reader is
    given is passed on, and counts before what the data say.
    """

    implements: ClassVar[set[type]] = {Zarr}
    imports: ClassVar[set[str]] = {"daskzarr", "xarray"}
    output_instance = "xarray:DataTree"
    func_doc = "xarray:open_datatree"  # and not func: calls of that with other engines are not this reader's

    def _read(self, data: Any, **settings: Any) -> Any:
        """The tree that the data name."""
        engine = import_name("daskzarr.xarray:DaskzarrBackendEntrypoint")  # by its name all engines would be loaded
        asked = {"chunks": {}, **_asked(data, settings, url="filename_or_obj", root="group"), "engine": engine}
        return import_name(self.func_doc)(**asked)


def _asked(data: Any, settings: Mapping[str, Any], *, url: str, root: str) -> dict[str, Any]:
    """What a function is called with that has these words for the data's URL and root."""
    return {root: data.root or None, "storage_options": data.storage_options or None, **settings, url: data.url}


class _Source(DataSource):  # type: ignore[misc]
    """What an entry of an older catalog makes, which asks a reader for what it gives."""

    version = "1"
    opens: ClassVar[Any]

    def __init__(
        self,
        urlpath: Any,
        storage_options: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(storage_options=storage_options, metadata=metadata)
        self.reader = self.opens(Zarr(urlpath, storage_options=storage_options), **settings)

    def to_dask(self) -> Any:
        """What is stored, to be computed by Dask."""
        return self.reader.read()

    def _close(self) -> None:
        """Nothing is kept open."""


class DaskzarrSource(_Source):
    """``driver: daskzarr`` of a catalog: a dataset of a stored group.

    Parameters
    ----------
    urlpath
        Path or URL, a list of them, or a pattern with ``*``.
    storage_options
        For fsspec.
    metadata
        Of the entry.
    **settings
        As for :func:`daskzarr.xarray.open_zarr`: ``group``, ``chunks``, ``consolidated`` and all others; or, where
        there are many places, for :func:`daskzarr.xarray.open_mfdataset`.
    """

    container = "xarray"
    name = "daskzarr"
    opens = DaskzarrDataset

    def read(self) -> Any:
        """The dataset, with all its cells in memory."""
        return self.to_dask().load()

    def _get_schema(self) -> Any:
        """Names of the dataset."""
        found = self.to_dask()
        names = {"dims": dict(found.sizes), "data_vars": list(found.data_vars), "coords": list(found.coords)}
        return Schema(dtype=None, shape=None, npartitions=1, extra_metadata=names)

    def _get_partition(self, i: int) -> Any:
        """The one part there is."""
        return self.read()


class DaskzarrArraySource(_Source):
    """``driver: daskzarr_array`` of a catalog: a stored array.

    Parameters
    ----------
    urlpath
        Path or URL.
    storage_options
        For fsspec.
    metadata
        Of the entry.
    **settings
        As for :func:`daskzarr.from_zarr`: ``component``, ``chunks`` and all others.
    """

    container = "ndarray"
    name = "daskzarr_array"
    opens = DaskzarrArray
    partition_access = True

    def read(self) -> Any:
        """The array in memory."""
        return self.to_dask().compute()

    def _get_schema(self) -> Any:
        """Shape and dtype; a part is a block of the dask array."""
        found = self.to_dask()
        return Schema(dtype=found.dtype, shape=found.shape, npartitions=found.npartitions, extra_metadata={})

    def _get_partition(self, i: int) -> Any:
        """A block, in C order."""
        return self.to_dask().to_delayed().ravel()[i].compute()
