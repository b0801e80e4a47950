"""What a call says of the region it writes to -> slices by dimension; and whether Dask's blocks fit stored objects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from xarray import Dataset, conventions

from daskzarr.alignment import is_edge
from daskzarr.errors import DaskZarrError, MetadataError, raise_from, short
from daskzarr.hierarchy import StoredArray
from daskzarr.metadata import ChunkGrid
from daskzarr.xarray.asked import Asked, UnknownNameError, WrongTypeError
from daskzarr.xarray.conventions import variable_of
from daskzarr.xarray.names import stored_name


def found_region(dataset: Dataset, arrays: Mapping[str, StoredArray], asked: Asked) -> dict[Hashable, slice]:
    """The region as slices by dimension, found out from labels where that is asked for; an error if there is none."""
    given: Any = asked.region
    region = dict.fromkeys(dataset.dims, "auto") if isinstance(given, str) else dict(given)
    if "auto" in [each for each in region.values() if isinstance(each, str)] and asked.mode not in ("r+", "a"):
        raise MetadataError(f"region='auto' goes with mode 'r+' or 'a', not {asked.mode!r}", field="region")
    found: dict[Hashable, Any] = {
        dim: _found(dataset, dim, arrays) if isinstance(each, str) and each == "auto" else each
        for dim, each in region.items()
    }
    for dim, part in found.items():
        if dim not in dataset.dims:
            raise MetadataError(
                f"all keys in ``region`` are not in Dataset dimensions, got {list(found)} and {list(dataset.dims)}",
                field="region",
            )
        if not isinstance(part, slice):
            raise WrongTypeError(f"all values in ``region`` must be slice objects, got {short(found)}", field="region")
        if part.step not in (1, None):
            raise MetadataError(
                f"step on all slices in ``region`` must be 1 or None, got {short(found)}", field="region"
            )
    apart = [name for name, each in dataset.variables.items() if not set(found) & set(each.dims)]
    if found and apart:
        raise MetadataError(
            "when setting `region` explicitly in to_zarr(), all variables in the dataset to write must have at least "
            f"one dimension in common with the region's dimensions {list(found)}; leave the others out: "
            f".drop_vars({apart!r})",
            field="region",
        )
    if asked.append_dim is not None and asked.append_dim in found:
        raise MetadataError(
            f"cannot list the same dimension in both ``append_dim`` and ``region``, got {asked.append_dim!r}",
            field="region",
        )
    return found


def _found(dataset: Dataset, dim: Hashable, arrays: Mapping[str, StoredArray]) -> slice:
    """Where the labels of a dimension are stored."""
    if dim not in dataset.variables:
        return slice(0, dataset.sizes[dim])
    if stored_name(dim) not in arrays:
        raise UnknownNameError(f"no labels of {dim!r} are stored, so region='auto' cannot find them", field="region")
    plain = variable_of(arrays[stored_name(dim)])
    try:
        stored = pd.Index(conventions.decode_cf_variable(dim, plain.load()).data)
    except DaskZarrError as error:
        raise_from(error.locate(node=str(dim)), error)
    positions = stored.get_indexer(dataset[dim].data)
    if (positions == -1).any():
        missing = dataset[dim].data[positions == -1][0]
        raise UnknownNameError(
            f"not all labels of {dim!r} are stored already, such as {missing}: a region is a part of what is there, "
            "and append_dim= adds to it",
            field="region",
        )
    if (np.diff(positions) != 1).any():
        raise MetadataError(
            f"the labels of {dim!r} are not stored one after the other in this order, and a region is one box of "
            "cells; write it in parts",
            field="region",
        )
    return slice(int(positions[0]), int(positions[-1]) + 1) if len(positions) else slice(0, 0)


def check_blocks(
    name: Hashable,
    lengths: Sequence[Sequence[int]],
    start: Sequence[int],
    shape: Sequence[int],
    grid: ChunkGrid,
    *,
    parts: bool,
) -> None:
    """Raise an error if Dask's blocks cut stored objects.

    Parameters
    ----------
    name
        Of the variable.
    lengths
        Of the blocks along each axis.
    start, shape
        Where they begin in the stored array, and its shape in the end.
    grid
        Of the stored objects.
    parts
        Whether the first and the last block may have a part of an object that no other block of the call has cells in.
    """
    for axis, (blocks, first, size) in enumerate(zip(lengths, start, shape, strict=True)):
        ends = [first, *(first + np.cumsum(blocks)).tolist()]
        cut = [end for end in (ends[1:-1] if parts else ends) if end < size and not is_edge(grid, axis, end)]
        if cut:
            raise MetadataError(
                f"Specified Zarr chunks of variable named {name!r} would overlap multiple Dask chunks, or part of one: "
                f"along axis {axis} a block ends at cell {cut[0]}, within a stored object. Rechunk it with chunk(), "
                "change encoding['chunks'], or pass align_chunks=True, which rechunks it here, or "
                "safe_chunks=False: then one task puts together each object that several blocks have cells in",
                node=str(name),
                axis=axis,
                field="chunks",
            )
