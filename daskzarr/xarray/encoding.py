"""A variable of xarray -> cells as they are stored, and the metadata of the array that they go to."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from xarray import Variable
from xarray.backends.zarr import encode_zarr_variable

from daskzarr.errors import DaskZarrError, MetadataError, raise_from, short
from daskzarr.metadata import ArrayMetadata, ZarrFormat
from daskzarr.metadata.json_text import json_attributes
from daskzarr.metadata.mask_value import MASK, encode_mask_value
from daskzarr.settings import ArraySettings, FillValue, new_array_metadata
from daskzarr.xarray.asked import WrongTypeError
from daskzarr.xarray.codec_spec import spelled_out

_MISSING = "missing_value"
_OF_ITS_SOURCE = ("source", "original_shape", "preferred_chunks")
_ARRAY = ("shards", "filters", "serializer", "chunk_key_encoding")
_KNOWN = {*_ARRAY, "chunks", "compressors", "compressor", "cache_metadata", "write_empty_chunks"}
_LARGEST_GUESS = 2**24
_BY_FORMAT = "zarr_format" in inspect.signature(encode_zarr_variable).parameters


@dataclass(frozen=True)
class Stored:
    """A variable as it is to be stored: its cells, and the array they go to."""

    variable: Variable
    metadata: ArrayMetadata
    write_empty_chunks: bool | None = None


def encode(variable: Variable, name: Hashable, zarr_format: ZarrFormat) -> Variable:
    """The variable as CF has it: numbers for times, packed, missing values filled in, attributes for all that."""
    packed = any(variable.encoding.get(key) is not None for key in ("scale_factor", "add_offset"))
    if packed and variable.dtype.kind in "iu":  # xarray would divide them in place
        variable = variable.copy(deep=False, data=variable.data.astype("f8"))
    # Text of any length stays that in Zarr v2, too: xarray would cut it to the length of the longest.
    by_format = {"zarr_format": 3 if variable.dtype.kind == "T" else zarr_format} if _BY_FORMAT else {}
    try:
        found: Variable = encode_zarr_variable(variable, name=name, **by_format)
    except Exception as error:
        error.add_note(f"Raised while encoding variable {name!r}")
        raise
    return found


def stored_as(encoded: Variable, name: Hashable, zarr_format: ZarrFormat, *, strict: bool) -> Stored:
    """What a new array has to be to hold an encoded variable.

    Parameters
    ----------
    encoded
        Of :func:`encode`; its ``encoding`` is what is left of it after that.
    name
        For errors.
    zarr_format
        2 or 3.
    strict
        Whether settings that are none are an error: those that a call asked for are, what a file left behind is not.

    Raises
    ------
    MetadataError
        If a setting is none, or cannot be.
    """
    given = {key: value for key, value in encoded.encoding.items() if key not in _OF_ITS_SOURCE}
    given.pop(MASK, None)
    if not strict:
        given |= _without_text(given)
    _check_names(given, name, zarr_format, strict=strict)
    attributes = dict(encoded.attrs)
    if encoded.dtype.kind == "f" and _is_nan(attributes.get(_MISSING)):
        del attributes[_MISSING]  # JSON cannot say it, and among floats it goes without saying
    fill = _fill_value(encoded, attributes, given, zarr_format)
    chunks = _chunks(given.get("chunks"), encoded, name, given.get("shards"), strict=strict)
    settings = ArraySettings(
        chunks=chunks,
        fill_value=fill,
        compressors=given.get("compressors", given.get("compressor", "auto")),
        dimension_names=tuple(map(str, encoded.dims)) if encoded.dims or zarr_format == 2 else None,
        attributes=checked_attributes(attributes, f" or in those of variable {name!r}"),
        **{key: given[key] for key in _ARRAY if given.get(key) is not None},
    )
    try:
        metadata = new_array_metadata(
            settings, shape=encoded.shape, dtype=stored_dtype(encoded), zarr_format=zarr_format
        )
    except DaskZarrError as error:
        raise_from(error.locate(node=str(name)), error)
    return Stored(encoded, metadata, given.get("write_empty_chunks"))


def _without_text(given: Mapping[str, Any]) -> dict[str, Any]:
    """Codecs that a file left behind, without that for text of any length: it comes with the data type, or must not."""
    filters, serializer = given.get("filters"), given.get("serializer")
    found: dict[str, Any] = {}
    if isinstance(filters, (list, tuple)):
        found["filters"] = tuple(each for each in filters if not _is_of_text(each))
    if serializer is not None and _is_of_text(serializer):
        found["serializer"] = None
    return found


def _is_of_text(codec: Any) -> bool:
    """Whether a codec, of whatever library, is one for objects."""
    document = spelled_out(codec)
    name = document.get("name", document.get("id")) if isinstance(document, Mapping) else document
    return name in ("vlen-utf8", "vlen-bytes")


def _is_nan(value: Any) -> bool:
    """Whether an attribute is the one number that is none."""
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def checked_attributes(attributes: Mapping[Any, Any], where: str = "") -> dict[str, Any]:
    """Attributes as JSON has them; arrays of NumPy are lists. ``where`` they may be besides those of the dataset."""
    try:
        return json_attributes(attributes)
    except MetadataError as error:
        raise_from(
            WrongTypeError(f"Invalid attribute in Dataset.attrs{where}: {error.message}", field=error.field), error
        )


def stored_dtype(encoded: Variable) -> Any:
    """The dtype to store: text of any length is text, whichever of NumPy's ways it comes in."""
    return str if encoded.dtype.kind in "OT" else encoded.dtype


def _check_names(given: Mapping[str, Any], name: Hashable, zarr_format: ZarrFormat, *, strict: bool) -> None:
    """Every setting that is asked for is one."""
    known = _KNOWN | ({"fill_value"} if zarr_format == 3 else set())
    unknown = [key for key in given if key not in known]
    if unknown and strict:
        hint = "; _FillValue sets the array's fill value" if "fill_value" in unknown else ""
        raise MetadataError(
            f"unexpected encoding parameters for zarr: {unknown!r}; there are {sorted(known)} and those of CF{hint}",
            node=str(name),
            field="encoding",
        )


def _fill_value(
    encoded: Variable, attributes: dict[Any, Any], given: Mapping[str, Any], zarr_format: ZarrFormat
) -> Any:
    """The array's fill value; the attribute for what is missing is taken out in Zarr v2, and spelled out in v3."""
    mask = attributes.pop(MASK, None)
    if zarr_format == 2:
        return mask
    if mask is not None:
        try:
            attributes[MASK] = encode_mask_value(mask, encoded.dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise MetadataError(f"{short(mask)} is no {MASK} of {encoded.dtype}: {error}", field=MASK) from None
    fill = given.get("fill_value")
    if fill is not None:
        return fill
    # xarray has it so: a chunk that is not there is missing, not 0.
    return np.nan if encoded.dtype.kind == "f" else FillValue.DEFAULT


def _chunks(chunks: Any, encoded: Variable, name: Hashable, shards: Any, *, strict: bool) -> Any:
    """The chunk shape: as asked for, or as Dask has cut the variable, or, of what is in memory, of some megabytes."""
    if isinstance(chunks, (int, np.integer)) and not isinstance(chunks, bool):
        return (int(chunks),) * encoded.ndim
    if chunks is not None and not isinstance(chunks, str) and len(tuple(chunks)) == encoded.ndim:
        found = tuple(chunks)
        if not all(isinstance(part, (int, np.integer, tuple, list)) for part in found):
            raise WrongTypeError(
                f"encoding['chunks'] is {short(chunks)}; it has to be integers", node=str(name), field="chunks"
            )
        return found
    if strict and chunks is not None and not isinstance(chunks, str):
        raise MetadataError(
            f"encoding['chunks'] of variable {name!r} is {short(chunks)}; it has to be {encoded.ndim} lengths, one a "
            f"dimension of {encoded.dims}",
            node=str(name),
            field="chunks",
        )
    if encoded.chunks:
        return _as_cut(encoded.chunks, name)
    if shards is not None:
        return (int(shards),) * encoded.ndim if isinstance(shards, (int, np.integer)) else tuple(shards)
    return _guess(encoded)


def _as_cut(lengths: tuple[tuple[int, ...], ...], name: Hashable) -> tuple[int, ...]:
    """The shape of Dask's blocks, if all but the last along an axis are of one length."""
    for axis, cut in enumerate(lengths):
        if len(set(cut[:-1])) > 1:
            raise MetadataError(
                f"Dask's blocks of variable {name!r} differ in length along axis {axis} ({short(cut)}), and Zarr wants "
                "uniform chunk sizes. Rechunk it with chunk(), or set encoding['chunks'], to those very lengths where "
                "chunks are to differ (Zarr v3)",
                node=str(name),
                axis=axis,
                field="chunks",
            )
        if cut[0] < cut[-1]:
            raise MetadataError(
                f"the last of Dask's blocks of variable {name!r} is longer than the others along axis {axis} "
                f"({short(cut)}). Rechunk it with chunk(), or set encoding['chunks']",
                node=str(name),
                axis=axis,
                field="chunks",
            )
    return tuple(max(int(cut[0]), 1) for cut in lengths)


def _guess(encoded: Variable) -> tuple[int, ...]:
    """Chunks for what is in memory: all of it, or halves of its longest axis until one has few megabytes."""
    shape = [max(n, 1) for n in encoded.shape]
    while shape and int(np.prod(shape, dtype=object)) * encoded.dtype.itemsize > _LARGEST_GUESS and max(shape) > 1:
        axis = shape.index(max(shape))
        shape[axis] = -(-shape[axis] // 2)
    return tuple(shape)
