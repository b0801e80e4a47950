"""A stored array's metadata and the chunks it is to have -> the metadata of the same array with those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import RegularGrid
from daskzarr.errors import MetadataError, short
from daskzarr.metadata import ArrayMetadata, ZarrFormat, fill_json
from daskzarr.metadata.missing_values import respell_mask
from daskzarr.metadata.shards import shard_config
from daskzarr.settings import ArraySettings, new_array_metadata
from daskzarr.translation import MissingValues, carried, translate, unsharded

SAME = "source"
"""Compressors, chunks or shards that are those of the source."""
_CODECS = ("codecs", "compressors", "compressor", "filters", "serializer", "order")


def rechunked_metadata(
    metadata: ArrayMetadata,
    settings: ArraySettings,
    dtype: Any,
    zarr_format: ZarrFormat,
    missing_values: MissingValues = "xarray",
) -> ArrayMetadata:
    """The metadata of the target.

    Parameters
    ----------
    metadata
        Of the source. Attributes, dimension names and fill value come along, and so do codecs unless some are chosen,
        or another dtype.
    settings
        Chunks, shards and codecs; ``compressors="source"`` chooses none. Everything else is not looked at.
    dtype
        To store; None: that of the source.
    zarr_format
        Of the target.
    missing_values
        As for :func:`daskzarr.convert`.

    Raises
    ------
    MetadataError, UnsupportedError, UnknownCodecError
        If the target's format cannot say it, or a setting cannot be.
    """
    chosen = without_same(settings)
    if dtype is None and not set(chosen.chosen()) & set(_CODECS):
        return _with_its_codecs(metadata, settings, zarr_format, missing_values)
    metadata = carried(metadata, zarr_format, missing_values)
    names = metadata.dimension_names
    own = replace(chosen, dimension_names=names, attributes=metadata.attributes or None)
    stored = metadata.data_type.dtype if dtype is None and metadata.data_type.variable is None else dtype
    found = new_array_metadata(
        own, shape=metadata.shape, dtype=metadata.data_type if stored is None else stored, zarr_format=zarr_format
    )
    same = found.data_type == metadata.data_type
    if zarr_format != 2 and not same:
        found = replace(found, attributes=respell_mask(found.attributes, metadata.data_type, found.data_type))
    if zarr_format == 2 and metadata.fill_value is None:
        return replace(found, fill_value=None)
    if zarr_format == "n5" or metadata.fill_value is None:
        return found
    return replace(found, fill_value=metadata.fill_value if same else fill_json(found.data_type, metadata.fill_scalar))


def without_same(settings: ArraySettings) -> ArraySettings:
    """The settings for a new array, which has no source to do as."""
    same = isinstance(settings.compressors, str) and settings.compressors == SAME
    return replace(settings, compressors="auto") if same else settings


def _with_its_codecs(
    metadata: ArrayMetadata, settings: ArraySettings, zarr_format: ZarrFormat, missing_values: MissingValues
) -> ArrayMetadata:
    """The same array in other chunks, by the same codecs."""
    grid_settings = ArraySettings(chunks=settings.chunks, shards=settings.shards)
    grid = new_array_metadata(grid_settings, shape=metadata.shape, dtype="u1", zarr_format=zarr_format).chunk_grid
    plain, _ = unsharded(metadata)
    # A format that has no chunks of different lengths is left, or come to, with chunks of one.
    regular = grid if isinstance(grid, RegularGrid) else plain.chunk_grid
    found, _ = translate(replace(plain, chunk_grid=regular), zarr_format, missing_values)
    if settings.shards is not None:
        inner = new_array_metadata(
            ArraySettings(chunks=settings.chunks), shape=metadata.shape, dtype="u1", zarr_format=zarr_format
        ).chunk_grid.chunk_shape
        found = replace(found, codecs=(shard_config(inner, found.codecs),))
    return replace(found, chunk_grid=grid)


def chunks_for(metadata: ArrayMetadata, chunks: Any, path: str) -> Any:
    """The chunks of one array, from what is said for many: by the array's path, by dimension names, or for all.

    Parameters
    ----------
    metadata, path
        Of the array; the path is from the group's.
    chunks
        A mapping, or chunks for every array. In a mapping an integer belongs to a dimension, anything else to an array.

    Returns
    -------
    Any
        Chunks as :func:`create_array` takes them; None: as they are. Along dimensions that are not named, a chunk is
        as long as before.

    Examples
    --------
    >>> from daskzarr.settings import ArraySettings, new_array_metadata
    >>> settings = ArraySettings(chunks=(2, 5), dimension_names=["x", "y"])
    >>> metadata = new_array_metadata(settings, shape=(8, 10), dtype="i2")
    >>> chunks_for(metadata, {"y": 1, "other": (3,)}, "a"), chunks_for(metadata, {"a": (4, -1)}, "a")
    ((2, 1), (4, 10))
    """
    given = _said_of(metadata, chunks, path, "chunks")
    if given is None:
        return None
    if isinstance(given, Mapping):
        given = _by_axis(metadata, given, _before(metadata))
    if isinstance(given, (int, np.integer)):
        given = (int(given),) * len(metadata.shape)
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == len(metadata.shape):
        return tuple(_length(one, n) for one, n in zip(given, metadata.shape, strict=True))
    return given


def shards_for(metadata: ArrayMetadata, shards: Any, chunks: Any, path: str) -> Any:
    """The shards of one array, said as chunks are; along dimensions that are not named a shard has one chunk."""
    given = _said_of(metadata, shards, path, "shards")
    if isinstance(given, Mapping):
        return _by_axis(metadata, given, (chunks,) * len(metadata.shape) if isinstance(chunks, int) else chunks)
    return given


def _said_of(metadata: ArrayMetadata, said: Any, path: str, field: str) -> Any:
    """What is said of one array: lengths for all axes, a mapping by dimension, or nothing."""
    if not isinstance(said, Mapping):
        return said
    names = metadata.dimension_names or ()
    own = said.get(path) if path else said
    if own is not None and not isinstance(own, Mapping):
        return own
    # In a group, names that no array has are refused there: not every array has all dimensions.
    given = {**{name: said[name] for name in said if path and name in names}, **(own or {})}
    for name, length in given.items():
        if not names:
            raise MetadataError(
                f"{field} names {short(name)}, and {path or 'the array'} has no dimension names: give a shape",
                field=field,
            )
        if name not in names:
            there = ", ".join(map(str, names))
            raise MetadataError(f"{field} names {short(name)}; {path or 'the array'} has {there}", field=field)
        if isinstance(length, (bool, str, float)):
            raise MetadataError(
                f"{field} has {short(length)} for {name}; it has to be a length in cells, -1 for the whole axis",
                field=field,
            )
    return given or None


def _by_axis(metadata: ArrayMetadata, given: Mapping[str, Any], others: Sequence[Any]) -> tuple[Any, ...]:
    """Lengths by dimension as a shape."""
    return tuple(
        given.get(str(name), length) for name, length in zip(metadata.dimension_names or (), others, strict=True)
    )


def _length(chunk: Any, size: int) -> Any:
    """A chunk's length: -1 and None stand for the whole axis, and none is longer than that."""
    if chunk is None or chunk == -1:
        return max(size, 1)
    return min(int(chunk), max(size, 1)) if isinstance(chunk, (int, np.integer)) and chunk > 0 else chunk


def _before(metadata: ArrayMetadata) -> Sequence[Any]:
    """The chunks that an array has, inner ones where there are shards."""
    found = metadata.inner_chunk_shape or metadata.chunk_grid.chunk_shape
    return tuple(found)


def read_unit(handle: ArrayHandle, most: int) -> tuple[int, ...] | None:
    """Shape of what is read of a source at a time: inner chunks, if its shards are larger; None: what is stored."""
    inner = handle.metadata.inner_chunk_shape
    if inner is None or handle.pipeline.spec.nbytes <= most:
        return None
    return tuple(inner)
