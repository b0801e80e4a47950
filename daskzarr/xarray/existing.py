"""A stored group and variables that go to arrays in it -> how each is encoded, laid out and placed there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from xarray import Dataset, Variable, conventions

from daskzarr.errors import AppendError, LossError, MetadataError
from daskzarr.hierarchy import StoredArray
from daskzarr.read import from_zarr
from daskzarr.xarray.asked import Asked
from daskzarr.xarray.conventions import NoDimensionsError, dimensions_of, variable_of
from daskzarr.xarray.encoding import encode
from daskzarr.xarray.losses import check_meaning, checked
from daskzarr.xarray.names import stored_name
from daskzarr.xarray.times_and_text import check_times, uncut

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


def encoded_as(known: Known, name: Hashable, variable: Variable, zarr_format: Any) -> Variable:
    """A variable, encoded exactly as what is stored is.

    Raises
    ------
    LossError
        If cells could not be read again as what they are.
    MetadataError
        If the data types do not fit.
    """
    _check_dtypes(name, known, variable)
    stored = known.decoded
    encoding, dtype = dict(stored.encoding), known.array.dtype
    if stored.dtype.kind == "b" and dtype.kind != "b":
        # Flags are stored as numbers, which hold more than is read of them, be it only what stands for a missing one.
        if any(0 in np.ravel(encoding.get(key, ())) for key in ("_FillValue", "missing_value")):
            raise LossError(
                f"variable {name!r}: False is stored as what stands for a missing cell there, and would read as True; "
                "store the flags in a new array",
                node=str(name),
                field="_FillValue",
            )
        variable = checked(variable, name, {}, stored.dtype, new=False).astype(dtype)
        encoding["dtype"] = dtype
    variable = checked(variable, name, encoding, dtype, new=False)
    variable = uncut(variable, name, dtype, text=known.array.metadata.data_type.name == "string")
    variable = variable.copy(deep=False)
    # A dtype without its note that it is of times would have them decoded and encoded as numbers.
    variable.encoding = encoding
    encoded = encode(variable, name, zarr_format)
    check_meaning(encoded, known.plain.attrs, name, times=variable.dtype.kind in "mMO")
    stored_units = {key: known.plain.attrs[key] for key in ("units", "calendar", "dtype") if key in known.plain.attrs}
    check_times(variable, Variable(encoded.dims, encoded.data, stored_units), name)
    return encoded


def _check_dtypes(name: Hashable, known: Known, new: Variable) -> None:
    """Text and bytes of fixed length are cut where they do not fit; numbers are neither times nor text.

    Objects among flags may be anything, which would be read as true or false.
    """
    stored = known.decoded
    # cftime's are objects, and stored as numbers.
    of_times = stored.dtype.kind in "mM" or (stored.dtype == object and known.array.dtype.kind in "iuf")
    if of_times and new.dtype.kind not in (stored.dtype.kind.replace("O", "M"), "O"):
        raise _mismatch(name, stored, new)
    is_text = stored.dtype.kind in "TUS" or known.array.metadata.data_type.name in ("string", "bytes")
    if (is_text and new.dtype.kind in _NUMBERS) or (stored.dtype.kind == "b" and new.dtype == object):
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
