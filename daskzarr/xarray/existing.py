"""A stored group and variables that go to arrays in it -> how each is encoded, laid out and placed there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from xarray import Dataset, Variable, conventions

from daskzarr.alignment import is_edge
from daskzarr.errors import AppendError, DaskZarrError, MetadataError, raise_from, short
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.metadata import ChunkGrid
from daskzarr.read import from_zarr
from daskzarr.xarray.asked import Asked, UnknownNameError, WrongTypeError
from daskzarr.xarray.conventions import NoDimensionsError, dimensions_of, variable_of
from daskzarr.xarray.encoding import encode
from daskzarr.xarray.losses import check_meaning, check_times, checked, uncut

_NUMBERS = "biufcmM"


@dataclass(frozen=True)
class Known:
    """A stored array, and the variable that it is: as it is stored, and as it is read."""

    array: StoredArray
    plain: Variable
    decoded: Variable


def known_variables(arrays: Mapping[str, StoredArray], names: Sequence[Hashable]) -> dict[Hashable, Known]:
    """Those of the variables that are stored already."""
    plain = {name: variable_of(arrays[stored_name(name)]) for name in names if stored_name(name) in arrays}
    decoded, _, _ = conventions.decode_cf_variables(dict(plain), {}, decode_coords=False)
    return {name: Known(arrays[stored_name(name)], plain[name], decoded[name]) for name in plain}


def stored_name(name: Hashable) -> str:
    """The name of a variable's array."""
    return "__values__" if name is None else str(name)


def encoded_as(known: Known, name: Hashable, variable: Variable, zarr_format: Any) -> Variable:
    """A variable, encoded exactly as what is stored is.

    Raises
    ------
    LossError
        If cells could not be read again as what they are.
    MetadataError
        If the data types do not fit.
    """
    _check_dtypes(name, known.decoded, variable)
    stored = known.decoded
    variable = checked(variable, name, stored.encoding, known.array.dtype, new=False)
    variable = uncut(variable, name, known.array.dtype, text=known.array.metadata.data_type.name == "string")
    variable = variable.copy(deep=False)
    # A dtype without its note that it is of times would have them decoded and encoded as numbers.
    variable.encoding = dict(stored.encoding)
    encoded = encode(variable, name, zarr_format)
    check_meaning(encoded, known.plain.attrs, name, times=variable.dtype.kind in "mMO")
    stored_units = {key: known.plain.attrs[key] for key in ("units", "calendar", "dtype") if key in known.plain.attrs}
    check_times(variable, Variable(encoded.dims, encoded.data, stored_units), name)
    return encoded


def _check_dtypes(name: Hashable, stored: Variable, new: Variable) -> None:
    """Text and bytes of fixed length are cut where they do not fit; numbers are neither times nor text."""
    of_times = stored.dtype.kind in "mM"
    if of_times and new.dtype.kind not in (stored.dtype.kind, "O"):
        raise _mismatch(name, stored, new)
    if stored.dtype.kind in "TUS" and new.dtype.kind in _NUMBERS:
        raise _mismatch(name, stored, new)
    easy = new.dtype.kind in _NUMBERS or new.dtype == object
    of_any_length = (new.dtype.kind in "UT" and stored.dtype.kind in "OT") or (
        (new.dtype.kind == "S" and stored.dtype == object) or (new.dtype.kind == "T" and stored.dtype.kind == "U")
    )
    if not easy and not of_any_length and new.dtype != stored.dtype:
        raise _mismatch(name, stored, new)


def _mismatch(name: Hashable, stored: Variable, new: Variable) -> MetadataError:
    """The error for data types that do not fit."""
    return MetadataError(
        f"Mismatched dtypes for variable {name} between what is stored and what is to be written: {stored.dtype} and "
        f"{new.dtype}; convert with astype first",
        node=str(name),
        field="data_type",
    )


def laid_out(
    name: Hashable, encoded: Variable, known: Known, region: Mapping[Hashable, slice], append_dim: Any
) -> Variable:
    """The variable with its dimensions in the order of the stored ones, if it fits there."""
    dims = known.plain.dims
    if set(encoded.dims) != set(dims):
        raise MetadataError(
            f"variable {name!r} already exists with different dimension names {dims} != {encoded.dims}, and to_zarr() "
            "changes none",
            node=str(name),
            field="dimension_names",
        )
    encoded = encoded.transpose(*dims)
    there = {dim: len(range(*region.get(dim, slice(None)).indices(size))) for dim, size in known.plain.sizes.items()}
    there, new = ({dim: n for dim, n in each.items() if dim != append_dim} for each in (there, dict(encoded.sizes)))
    if there != new:
        raise MetadataError(
            f"variable {name!r} already exists with different dimension sizes: {there} != {new}. append_dim= makes a "
            f"dimension longer, and is {append_dim!r} here; region= writes a part of what is there",
            node=str(name),
            field="shape",
        )
    return encoded


def appended_at(arrays: Mapping[str, StoredArray], asked: Asked, given: Mapping[Hashable, Variable]) -> dict[str, int]:
    """Where an append begins, for each array that it makes longer, which have to be all those of that dimension.

    An append that was killed at its very end has made some arrays longer and others not: it begins where the shortest
    ends, if it is to be gone on with.
    """
    lengths = {}
    for name, array in arrays.items():
        try:
            dims = dimensions_of(array)
        except NoDimensionsError:
            continue
        if asked.append_dim in dims:
            lengths[name] = array.shape[dims.index(str(asked.append_dim))]
    if not lengths:
        sizes = sorted({dim for array in arrays.values() for dim in array.dimension_names or () if dim is not None})
        raise MetadataError(
            f"append_dim={asked.append_dim!r} does not match any existing dataset dimensions {sizes}",
            field="append_dim",
        )
    if asked.at is not None or (asked.options.resume and len(set(lengths.values())) > 1):
        lengths = dict.fromkeys(lengths, min(lengths.values()) if asked.at is None else asked.at)
    _check_all_grow(lengths, asked.append_dim, given)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in sorted(lengths.items())[:4])
        raise AppendError(
            f"arrays differ in length along {asked.append_dim!r} ({shown}): an append was killed at its very end. The "
            f"same call with resume='auto' completes it",
            field="append_dim",
        )
    return lengths


def _check_all_grow(lengths: Mapping[str, int], dim: Hashable, given: Mapping[Hashable, Variable]) -> None:
    """A dimension has one length in all variables of a group, or nobody can open it as a dataset."""
    names = {stored_name(name) for name, variable in given.items() if dim in variable.dims}
    more = next((variable.sizes[dim] for variable in given.values() if dim in variable.dims), 0)
    left = [name for name in lengths if name not in names]
    if more and left:
        raise MetadataError(
            f"the stored {', '.join(map(repr, left[:4]))} would be shorter along {dim!r} than what is appended to, and "
            "the group could not be opened as a dataset any more: append to all variables of the dimension at once",
            field="append_dim",
        )
    new = [name for name in names if name not in lengths]
    if max(lengths.values()) and new:
        raise MetadataError(
            f"{', '.join(map(repr, new[:4]))} would be new, and have no cells for the {max(lengths.values())} along "
            f"{dim!r} that are stored: the group could not be opened as a dataset any more. Write it first by "
            "mode='a', for all that is there",
            field="append_dim",
        )


def check_duplicates(dataset: Dataset, known: Mapping[Hashable, Known], append_dim: Hashable, at: int) -> None:
    """Raise an error if labels that are appended are there already, or twice among themselves."""
    if append_dim not in dataset.variables or append_dim not in known:
        return
    there = _labels(known[append_dim].decoded)[:at]
    new = pd.Index(np.asarray(dataset[append_dim].values).ravel())
    twice = new[new.duplicated() | new.isin(there)]
    if len(twice):
        raise AppendError(
            f"{len(twice)} of {len(new)} labels of {append_dim!r} are stored already, or given twice, such as "
            f"{twice[0]}; append only new ones, write the others with region='auto', or pass duplicates='allow'",
            field=str(append_dim),
        )


def _labels(variable: Variable) -> pd.Index:
    """The labels of a dimension."""
    return pd.Index(variable.load().data)


def is_same(encoded: Variable, array: StoredArray) -> bool:
    """Whether what is stored are these very cells."""
    new, stored = encoded.data, from_zarr(array, chunks="auto" if array.shape else None)
    if not isinstance(new, da.Array):
        return _equal(np.asarray(new), np.asarray(stored.compute(scheduler="threads")))
    new = new.rechunk(stored.chunks) if new.chunks != stored.chunks else new
    blocks = da.map_blocks(_equal_block, new, stored, dtype=bool, chunks=tuple((1,) * n for n in stored.numblocks))
    return bool(blocks.all().compute())


def _equal_block(one: Any, other: Any) -> Any:
    """Whether two blocks are the same, as an array of one cell."""
    return np.full((1,) * np.ndim(one), _equal(one, other))


def _equal(one: Any, other: Any) -> bool:
    """Whether two arrays have the same cells, as far as the second one's data type can tell."""
    if other.dtype.kind in "biufcSU" and one.dtype != other.dtype:
        with np.errstate(all="ignore"):
            one = one.astype(other.dtype)
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc" and other.dtype.kind in "fc"))


def found_region(
    dataset: Dataset, group: StoredGroup, arrays: Mapping[str, StoredArray], asked: Asked
) -> dict[Hashable, slice]:
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
