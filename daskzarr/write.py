"""The verbs to_zarr and plan: a dask array and a place -> the array stored there, each stored object by one task."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import dask.array as da
import numpy as np

from daskzarr.begin import begin_all, begin_write
from daskzarr.errors import (
    DaskZarrError,
    MetadataError,
    raise_from,
    short,
)
from daskzarr.graph.write import Write, written_array
from daskzarr.hierarchy import StoredArray, open_array
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.staging import recover
from daskzarr.metadata import ZarrFormat
from daskzarr.ownership import Align
from daskzarr.prepare import (
    Prepared,
    WriteOptions,
    prepare_regions,
)
from daskzarr.prepare_new import prepare_new
from daskzarr.read import from_zarr
from daskzarr.regions import check_array, check_store
from daskzarr.settings import ArraySettings, FillValue
from daskzarr.stores import Location, durable, locate
from daskzarr.synonyms import one_of
from daskzarr.write_plan import WritePlan

_MODES = ("w-", "a", "w", "r+")


def to_zarr(
    arr: da.Array,
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    region: Any = None,
    compute: bool = True,
    return_stored: bool = False,
    mode: str = "w-",
    *,
    overwrite: bool = False,
    chunks: Sequence[Any] | int | None = None,
    shards: Sequence[int] | int | None = None,
    compressors: Any = "auto",
    compressor: Any = "auto",
    filters: Any = None,
    serializer: Any = None,
    codecs: Any = None,
    order: str = "C",
    fill_value: Any = FillValue.DEFAULT,
    dimension_names: Sequence[str | None] | None = None,
    dimension_separator: str | None = None,
    chunk_key_encoding: Any = None,
    attributes: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    zarr_version: ZarrFormat | None = None,
    dtype: Any = None,
    write_empty_chunks: bool = False,
    name: str | None = None,
    path: str | None = None,
    align: Align = "merge",
    resume: bool | Literal["auto"] = False,
    journal: Any = None,
    token: str | None = None,
    only: Collection[Any] | None = None,
    durability: Literal["close", "fsync"] = "close",
    failures: Literal["raise", "collect"] = "raise",
    max_files: int | None = None,
    max_mem: int | str | None = None,
) -> Write | da.Array | None:
    """Store a dask array. Reading, computing and writing a block are one task, and one task writes each stored object.

    A drop-in for ``dask.array.to_zarr``. The documents are written at once, before any chunk. What a node that is
    overwritten held goes last, once the new one is complete (see docs/safety.md for what holds in which store).

    Parameters
    ----------
    arr
        The array, cut in any way: where several blocks have cells in one stored chunk or shard, see ``align``.
    url
        Path, URL, ``os.PathLike``, mapping or store to make a new array in; or an opened array, or an array of
        zarr-python, to write into.
    component, path, name
        Path of the array below ``url``. Default: ``url`` is the array. Groups above it are made.
    storage_options
        For fsspec, with a URL.
    region
        Part of an array that exists: a tuple of slices (step 1), integers or ``...``, cut in any way. Stored chunks
        that it covers in part are read, and their other cells stay. An axis with an integer may be left out of ``arr``.
        Default: all of it.
    compute
        Whether to write now. Default True. Otherwise a delayed value comes back; its ``compute()`` writes.
    return_stored
        Whether to return the stored array as a dask array. Default False.
    mode
        ``"w-"`` (default) and ``"a"``: a new array, and an error if there is a node. ``"w"``: a new array in the place
        of whatever is there. ``"r+"``: into an array that exists.
    overwrite
        The same as ``mode="w"``.
    chunks
        Shape of the stored chunks, or, with ``shards``, of the inner chunks. Default: that of Dask's blocks; where
        those differ in length, a ``rectilinear`` grid (Zarr v3) stores each as it is.
    shards
        Shape of the stored objects that hold many inner chunks each. Default None: each chunk is an object of its own.
        One task writes each with one request.
    dtype
        Data type to store, as for :func:`create_array`. Default: the array's own; objects are stored as text.
    compressors, compressor, filters, serializer, codecs, order, fill_value, dimension_names
        As for :func:`create_array`; only for a new array.
    dimension_separator, chunk_key_encoding, attributes
        As for :func:`create_array`; only for a new array.
    zarr_format, zarr_version
        3, 2 or "n5". Default 3 for a new array.
    write_empty_chunks
        Whether chunks that hold nothing but the fill value are stored. Default False: they are left out, and
        what was stored of them before is deleted.

    align
        What becomes of stored objects that several blocks have cells in. ``"merge"`` (default): a task of its own gets
        those cells from each and writes the object once, or whole blocks where most cells would travel anyway.
        ``"rechunk"``: the array is rechunked first to blocks of whole objects. ``"error"``: it is an error, and so is a
        region that covers an object in part: the choice for jobs that write to one array at the same time.
    resume
        Whether to go on with a write that was killed: the same call skips what is finished, and all that only that
        would need. True: there has to be one. ``"auto"``: if there is none, begin one. A write of other settings or
        another source is refused. Default False: a new write.
    journal
        Where finished objects are noted: a place, or False for nowhere. Default None: beside the store, in
        ``<store>.daskzarr``, where it is one that other processes see.
    token
        Says what source this is, for ``resume``. Default None: the name Dask gives the array, which changes where
        it holds functions or random numbers that Dask cannot name alike in two processes.
    only
        Chunk keys or indices: nothing else is written, as to repair what :func:`verify` found. Default None: all.
    durability
        When an object counts as written. ``"close"`` (default): when the system has taken it, so that it survives the
        death of the process. ``"fsync"``: when it is on disk, so that it survives that of the machine, too.
    failures
        ``"raise"`` (default): the first failure ends the write. ``"collect"``: the rest is written first, then
        ``WriteFailedError`` says what was not.
    max_files, max_mem
        The most files the write may make, and bytes (or text such as ``"2 GiB"``) a task may need by its :func:`plan`.
        Default None: no limit.

    Returns
    -------
    None, a delayed value, or a dask array
        None with ``compute=True``; a delayed value, whose result says what was written, without; the stored
        array with ``return_stored=True``.

    Raises
    ------
    AlignmentError
        With ``align="error"``, if two blocks have cells in one stored object; it says what mends it.
    ResumeError
        If the write cannot be taken up again; it names what differs.
    PlanLimitError
        If the plan exceeds ``max_files`` or ``max_mem``.
    NodeExistsError, NodeNotFoundError
        If there is a node where a new one goes, or none where one has to be.
    MetadataError, UnknownCodecError, UnsupportedError
        If a setting cannot be. All of these come before anything is written.
    StoreError
        If the store fails; it names store, node and chunk. What is written stays, and writing again is safe.

    Examples
    --------
    >>> import dask.array as da
    >>> to_zarr(da.arange(6, chunks=2) * 2, store := {}, dimension_names=["x"])
    >>> sorted(store)
    ['c/0', 'c/1', 'c/2', 'zarr.json']
    """
    # The arguments by name, so that plan() takes the very same: what each means is looked at below.
    prepared = _prepare(locals())
    if not compute and return_stored:
        return written_array(*begin_write(prepared))
    write = begin_all([prepared])
    if not compute:
        return write
    write.compute()
    return _stored(prepared) if return_stored else None


def plan(arr: da.Array, url: Any, component: str | None = None, **settings: Any) -> WritePlan:
    """What :func:`to_zarr` would do with the same arguments, in numbers; nothing is written.

    Parameters
    ----------
    arr, url, component, **settings
        As for :func:`to_zarr`. All it refuses is refused here.

    Returns
    -------
    WritePlan
        Tasks, stored objects and how many of them are whole, partial or shared, bytes, files and memory at most.
        It prints as a table; ``as_dict()`` is for machines, ``check(max_files=..., max_mem=...)`` for limits.

    Examples
    --------
    >>> import dask.array as da
    >>> plan(da.zeros((100, 100), chunks=40), {}, chunks=(25, 25)).objects
    16
    """
    try:
        given = inspect.signature(to_zarr).bind(arr, url, component, **settings)
    except TypeError as error:
        raise TypeError(f"plan() takes what to_zarr() takes: {error}") from None
    given.apply_defaults()
    return _prepare(given.arguments, planning=True).plan


def _prepare(given: Mapping[str, Any], *, planning: bool = False) -> Prepared:
    """Check everything there is to check of a call of to_zarr; only a swap that was killed is completed, if need be."""
    arr, url, mode = given["arr"], given["url"], given["mode"]
    if mode == "r":
        raise MetadataError("Cannot use mode 'r' (read-only) when writing to zarr; use 'w-', 'w' or 'r+'", field="mode")
    for name in ("overwrite", "compute", "return_stored"):
        if not isinstance(given[name], (bool, np.bool_)):
            raise MetadataError(f"{name} is {short(given[name])}; it can be True or False", field=name)
    if mode not in _MODES:
        raise MetadataError(f"mode is {mode!r}; it can be {', '.join(map(repr, _MODES))}", field="mode")
    check_array(arr)
    component = one_of("component", given["component"], "path", one_of("path", given["path"], "name", given["name"]))
    zarr_format = one_of("zarr_format", given["zarr_format"], "zarr_version", given["zarr_version"])
    settings = ArraySettings(**{field.name: given[field.name] for field in fields(ArraySettings)})
    options = WriteOptions.among(given)
    if given["return_stored"] and not given["compute"] and options.journal is None:
        options = replace(options, journal=False)  # any block may be computed, and any not
    location = locate(url, component, given["storage_options"])
    try:
        check_store(arr, location)
        place = Location(durable(location.store, options.durability), location.path)
        if not planning:
            recover(place, notes_of(place))
        if mode == "r+" or (component is None and is_array(url)):
            chosen = settings.chosen() + ([] if given["dtype"] is None else ["dtype"])
            if chosen:
                raise MetadataError(
                    f"{', '.join(chosen)} can be chosen for a new array only; this one exists", field=chosen[0]
                )
            target = open_array(place, zarr_format=zarr_format)
            return prepare_regions(target, [(arr, given["region"])], options, verb="to_zarr").checked()
        overwrite = given["overwrite"] or mode == "w"
        return prepare_new(arr, place, zarr_format or 3, settings, options, given, overwrite).checked()
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)


def _stored(prepared: Prepared) -> da.Array:
    """What was written, as it is stored."""
    ((_, owners),) = prepared.parts
    blocks = owners.blocks
    target = StoredArray(prepared.place, prepared.metadata)
    if blocks.region.shape == target.shape:
        return from_zarr(target, chunks=tuple(axis.lengths for axis in blocks.axes))
    pairs = enumerate(zip(*blocks.region, strict=True))
    return from_zarr(target)[tuple(a if i in blocks.dropped else slice(a, b) for i, (a, b) in pairs)]


def is_array(place: Any) -> bool:
    """Whether a place is an array that exists: one of ours, or one of zarr-python."""
    return isinstance(place, StoredArray) or (hasattr(place, "store_path") and hasattr(place, "shape"))
