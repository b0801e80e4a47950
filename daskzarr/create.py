"""A place and the settings of a new array or group -> its documents in the store, and those of the groups above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskzarr.errors import DaskZarrError, raise_from
from daskzarr.graph.generation import note_write
from daskzarr.hierarchy import StoredArray, StoredGroup, place_node
from daskzarr.hierarchy.notes import notes_of
from daskzarr.journal import forget
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.metadata.json_text import json_attributes
from daskzarr.settings import ArraySettings, FillValue, check_zarr_format, new_array_metadata
from daskzarr.stores import Location, locate


def create_array(
    url: Any,
    component: str | None = None,
    *,
    shape: Sequence[int] | int,
    dtype: Any,
    chunks: Sequence[Any] | int,
    shards: Sequence[int] | int | None = None,
    fill_value: Any = FillValue.DEFAULT,
    codecs: Any = None,
    compressors: Any = "auto",
    compressor: Any = "auto",
    filters: Any = None,
    serializer: Any = None,
    order: str = "C",
    dimension_names: Sequence[str | None] | None = None,
    dimension_separator: str | None = None,
    chunk_key_encoding: Any = None,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat = 3,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> StoredArray:
    """Create an array: its document and those of the groups above it are written, no chunk is.

    Parameters
    ----------
    url, component, storage_options
        The place, as for :func:`open_array`.
    shape
        Shape of the array, in cells.
    chunks
        Shape of its chunks, in cells; with ``shards``, of the inner chunks. A list of lengths for an axis, such as
        ``((2, 4), 3)``, makes a grid of chunks of different lengths, which only Zarr v3 has.
    shards
        Shape of the stored objects that hold many inner chunks each; a multiple of ``chunks``. Default None: each chunk
        is an object of its own. Only Zarr v3 has them.
    dtype
        Anything NumPy takes: numbers, dates, text and bytes of fixed length, structures; ``str``, ``bytes`` or object
        for text or bytes of any length; or a data type of Zarr v3, by name or as ``{"name": ..., "configuration":
        ...}``. A byte order in it is the byte order of the stored bytes.
    fill_value
        What cells of absent chunks read as. Default: 0, false, "" or not-a-time, as the data type has it. None:
        undefined in v2, the default in v3.
    codecs
        The whole pipeline as v3 writes it: a list of names or of ``{"name": ..., "configuration": ...}``. It
        excludes ``compressors``, ``filters``, ``serializer`` and ``order``.
    compressors, compressor
        Codecs on bytes: one, a list, or None for none; in the spelling of v3 or v2, or objects of numcodecs or
        zarr-python. Default ``"auto"``: zstd at its default level, which every implementation reads.
    filters
        Codecs on the array, before it becomes bytes. Default none.
    serializer
        The codec from array to bytes. Default ``bytes``, little-endian unless ``dtype`` says big.
    order
        ``"F"`` stores the cells of each chunk with the first axis fastest. Default ``"C"``, NumPy's own.
    dimension_names
        A name, or None, for each axis. Default: no names.
    dimension_separator, chunk_key_encoding
        How chunk keys look. Default ``c/0/1`` in v3 and ``0.1`` in v2, what each format's readers expect.
    attributes
        Values that JSON can hold, NumPy's included. Default none.
    zarr_format
        3, 2 or "n5". Default 3.
    overwrite
        Whether what is there, all of it, is deleted first. Default False: then it is an error.

    Returns
    -------
    StoredArray

    Raises
    ------
    NodeExistsError
        If there is a node already.
    MetadataError, UnknownCodecError, UnsupportedError
        If a setting cannot be; nothing is written then.

    Notes
    -----
    Documents: Zarr v3 core, "Array metadata"; Zarr v2, "Metadata".

    Examples
    --------
    >>> create_array({}, shape=(4,), chunks=(2,), dtype="f4", fill_value=float("nan")).fill_value
    np.float32(nan)
    """
    location = locate(url, component, storage_options)
    try:
        settings = ArraySettings(
            chunks=chunks,
            shards=shards,
            fill_value=fill_value,
            codecs=codecs,
            compressors=compressors,
            compressor=compressor,
            filters=filters,
            serializer=serializer,
            order=order,
            dimension_names=dimension_names,
            dimension_separator=dimension_separator,
            chunk_key_encoding=chunk_key_encoding,
            attributes=attributes,
        )
        metadata = new_array_metadata(settings, shape=shape, dtype=dtype, zarr_format=zarr_format)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    array = write_new_array(location, metadata, overwrite=overwrite)
    _make_new(location)
    return array


def create_group(
    url: Any,
    component: str | None = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat = 3,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> StoredGroup:
    """Create a group, and the groups above it that are not there yet.

    Parameters are those of :func:`create_array`, and so are the errors.

    Returns
    -------
    StoredGroup

    Examples
    --------
    >>> create_group({}, "a/b", attributes={"n": 1}).attrs
    {'n': 1}
    """
    metadata = GroupMetadata(attributes=json_attributes(attributes or {}), zarr_format=check_zarr_format(zarr_format))
    location = locate(url, component, storage_options)
    group = write_new_group(location, metadata, overwrite=overwrite)
    _make_new(location)
    return group


def _make_new(location: Location) -> None:
    """What was noted and read of a node that was here before is not true of the new one."""
    note_write(location.store.url, location.path)
    forget(location, notes_of(location))


def write_new_group(
    location: Location, metadata: GroupMetadata, *, overwrite: bool, beside: bool = False
) -> StoredGroup:
    """Put the documents of a new group, and of the groups above it, in their place."""
    place_node(location, metadata, overwrite=overwrite, beside=beside)
    return StoredGroup(location, metadata)


def write_new_array(
    location: Location, metadata: ArrayMetadata, *, overwrite: bool, beside: bool = False
) -> StoredArray:
    """Put the documents of a new array, and of the groups above it, in their place."""
    place_node(location, metadata, overwrite=overwrite, beside=beside)
    return StoredArray(location, metadata)
