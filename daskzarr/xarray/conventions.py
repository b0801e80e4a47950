"""A stored array -> xarray's variable of it: names of dimensions, attributes, how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from xarray import Variable
from xarray.core import indexing

from daskzarr.errors import MetadataError
from daskzarr.graph.generation import generation_of
from daskzarr.hierarchy import StoredArray
from daskzarr.metadata.mask_value import MASK, decode_mask_value
from daskzarr.metadata.mask_value import encode_mask_value as encode_mask_value  # the other half, found here as well
from daskzarr.read import from_zarr
from daskzarr.xarray.codec_spec import codecs_of
from daskzarr.xarray.lazy import StoredCells


class NoDimensionsError(MetadataError, KeyError):
    """An array says no names of dimensions, so that it can be no variable."""


def variable_of(array: StoredArray, *, mask: bool | None = None, blocks: Any = None) -> Variable:
    """The variable, lazy; only ``encoding`` and ``attrs`` tell how it is stored.

    Parameters
    ----------
    array
        The array.
    mask
        Whether cells that hold the array's fill value are missing. Default None: in Zarr v2 they are, as xarray has
        always had it; in Zarr v3 and N5 those are that the attribute ``_FillValue`` names.
    blocks
        How a dask array in its place is cut: ``"auto"``, a length for all axes, or lengths by dimension, where the
        others have one block a stored object. Default None: no dask array.

    Raises
    ------
    NoDimensionsError
        If the array has no name for an axis.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> array = create_array({}, shape=(4, 6), chunks=(2, 3), dtype="int16", dimension_names=["y", "x"])
    >>> variable_of(array).encoding["preferred_chunks"]
    {'y': 2, 'x': 3}
    """
    dims = dimensions_of(array)
    metadata = array.metadata
    cells = StoredCells(array, generation_of(array.location.store.url, array.location.path))
    old = metadata.zarr_format == 2
    attributes = without_netcdfs(array.attrs) if old else dict(array.attrs)
    objects, inner = array.objects, metadata.inner_chunk_shape
    encoding: dict[str, Any] = {
        "chunks": inner or objects,
        "preferred_chunks": dict(zip(dims, objects, strict=True)),
        "shards": None if inner is None else objects,
        **codecs_of(array),
    }
    if cells.dtype.kind == "T":
        encoding["dtype"] = cells.dtype
    if old if mask is None else mask:
        if metadata.fill_value is not None:
            attributes[MASK] = array.fill_value
    else:
        if metadata.zarr_format == 3:
            encoding["fill_value"] = array.fill_value
        if MASK in attributes:
            attributes[MASK] = decode_mask_value(attributes[MASK], array.dtype)
    if blocks is None:
        data = indexing.LazilyIndexedArray(cells, _everything(len(dims)))
        return Variable(dims, data, attributes, encoding, fastpath=True)
    if isinstance(blocks, Mapping):
        blocks = tuple(blocks.get(dim, length) for dim, length in zip(dims, objects, strict=True))
    data = from_zarr(array, chunks=blocks)
    return Variable(dims, data.astype(cells.dtype) if cells.dtype.kind == "T" else data, attributes, encoding)


def dimensions_of(array: StoredArray) -> tuple[str, ...]:
    """The names of the axes."""
    names = array.dimension_names if array.ndim else ()
    if names is None or None in names:
        raise NoDimensionsError(
            "the array has no dimension names (dimension_names in Zarr v3, the attribute _ARRAY_DIMENSIONS in v2), "
            "required for xarray to determine variable dimensions; open it by daskzarr.from_zarr, or leave it out by "
            "drop_variables",
            url=array.location.store.url,
            node=array.location.path,
            field="dimension_names",
        )
    return tuple(str(name) for name in names)


@lru_cache(maxsize=64)
def _everything(ndim: int) -> indexing.BasicIndexer:
    """The indexer of all cells."""
    return indexing.BasicIndexer((slice(None),) * ndim)


def without_netcdfs(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes without those of netCDF-C's own."""
    return {name: value for name, value in attributes.items() if not name.lower().startswith("_nc")}
