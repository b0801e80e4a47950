"""Dask's own from_zarr and to_zarr -> daskzarr's in their place, in this process, until they are put back."""

from __future__ import annotations

import inspect
import math
import sys
import types
import uuid
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from dask.array import core
from dask.array.core import PerformanceWarning, normalize_chunks

from daskzarr import read, write
from daskzarr.errors import MetadataError, StorePermissionError, UnknownCodecError, UnsupportedError, short
from daskzarr.graph.write import Write, optimize_writes
from daskzarr.hierarchy import StoredArray, open_array
from daskzarr.regions import check_array, region_blocks
from daskzarr.stores import locate
from daskzarr.synonyms import one_of
from daskzarr.warning import warn

_READS = frozenset(inspect.signature(read.from_zarr).parameters)
_WRITES = frozenset(inspect.signature(write.to_zarr).parameters)
_ZARRS_READS = frozenset(["config", "mode", "order", "write_empty_chunks"])
_LIKE_ARRAYS = ("shape", "dtype", "chunks", "__getitem__")
_MAKERS_OF_STORES = ("zarr", "icechunk")
_LEFT_TO_US = {"chunks": "auto", "filters": "auto", "serializer": "auto", "write_data": True}

_before: dict[tuple[str, str], Any] = {}


def install_dask() -> None:
    """Let everything that calls Dask's ``from_zarr`` and ``to_zarr`` in this process use daskzarr.

    ``dask.array.from_zarr``, ``dask.array.to_zarr``, the same two of ``dask.array.core``, and the method ``to_zarr`` of
    Dask's arrays are replaced; the replacements take what Dask's take. Calling it again changes nothing. Code that
    imported one of the functions by its name before keeps Dask's.

    Returns
    -------
    None

    Notes
    -----
    What daskzarr cannot do goes to Dask's own function, as it was called: see docs/drop-in.md.

    Examples
    --------
    >>> import dask.array as da
    >>> install_dask()
    >>> da.arange(6, chunks=4).to_zarr(store := {}, chunks=(3,))
    >>> da.from_zarr(store).chunks
    ((3, 3),)
    >>> uninstall_dask()
    >>> da.from_zarr.__module__
    'dask.array.core'
    """
    for module in (core, da):
        for name, ours in _ours().items():
            if (module.__name__, name) not in _before:
                _before[module.__name__, name] = getattr(module, name)
                setattr(module, name, ours)


def uninstall_dask() -> None:
    """Put Dask's own functions back. Where there is something else than :func:`install_dask` put there, that stays.

    Returns
    -------
    None

    Examples
    --------
    >>> import dask.array as da
    >>> install_dask()
    >>> uninstall_dask()
    >>> da.to_zarr.__module__
    'dask.array.core'
    """
    for module in (core, da):
        for name, ours in _ours().items():
            if getattr(module, name) is ours:
                setattr(module, name, _before.pop((module.__name__, name)))


def _ours() -> dict[str, Any]:
    """The functions that take the place of Dask's."""
    return {"from_zarr": from_zarr, "to_zarr": to_zarr}


def _dasks(name: str) -> Any:
    """Dask's own function."""
    return _before.get((core.__name__, name)) or getattr(core, name)


# ---- reading


def from_zarr(
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    chunks: Any = None,
    name: str | bool | None = None,
    inline_array: bool | None = None,
    **kwargs: Any,
) -> da.Array:
    """``dask.array.from_zarr``, by daskzarr.

    Parameters
    ----------
    url
        What Dask's takes, all that :func:`daskzarr.from_zarr` takes, and whatever has ``shape``, ``dtype``, ``chunks``
        and ``[]``, as a dataset of h5py: that is left to ``dask.array.from_array``.
    component, storage_options, chunks, name
        As Dask's. By default there is a block for each chunk, within shards too.
    inline_array
        False, if given, and not merely left as it is: an array of zarr-python in memory becomes a key of the graph,
        by Dask's own function.
    **kwargs
        Those of :func:`daskzarr.from_zarr`, and ``mode``, which says nothing new unless it would write. With
        ``config``, ``order`` or ``write_empty_chunks`` the call goes to Dask's own function.

    Returns
    -------
    dask.array.Array
    """
    if isinstance(name, bool):
        name = None if name else f"from-zarr-{uuid.uuid4()}"
    if _is_other_array(url) and component is None and not storage_options and not kwargs:
        blocks = (url.chunks or "auto") if chunks is None else chunks
        return da.from_array(url, blocks, name=name, inline_array=bool(inline_array))
    mine = {k: v for k, v in kwargs.items() if v is not None and not (k == "mode" and v in ("r", "r+", "a"))}
    unknown = sorted(mine.keys() - _READS - _ZARRS_READS)
    if unknown:  # zarr-python would not say so
        raise TypeError(f"from_zarr() got an unexpected keyword argument {unknown[0]!r}")
    as_key = inline_array is False and _is_zarr_array(url) and hasattr(url.store_path.store, "_store_dict")
    if mine.keys() - _READS or as_key or not _is_within_reach(url):
        return _read_by_dask(url, component, storage_options, chunks, name, inline_array, kwargs)
    try:
        stored = _opened(_with_buffers(url), component, storage_options, mine)
        if chunks is None and stored.shards is not None:
            chunks = stored.chunks
        if _is_zarr_array(url) and stored.dtype != _native(url.dtype):  # as text, which NumPy has several of
            return _read_by_dask(url, component, storage_options, chunks, name, inline_array, kwargs)
        terms = {k: v for k, v in mine.items() if k in ("missing", "allow_pickle")}
        return read.from_zarr(stored, chunks=chunks, name=name, **terms)
    except UnknownCodecError:
        if sys.modules.get("zarr") is None:
            raise
        return _read_by_dask(url, component, storage_options, chunks, name, inline_array, kwargs)


def _opened(url: Any, component: str | None, options: Any, given: Mapping[str, Any]) -> StoredArray:
    """The stored array."""
    component = one_of("component", component, "path", given.get("path"))
    zarr_format = one_of("zarr_format", given.get("zarr_format"), "zarr_version", given.get("zarr_version"))
    return read.stored_array(url, component, options, zarr_format, given.get("consolidated"))


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in native byte order."""
    return dtype if dtype.kind == "T" else dtype.newbyteorder("=")


def _read_by_dask(
    url: Any, component: Any, options: Any, chunks: Any, name: Any, inline_array: bool | None, kwargs: Mapping[str, Any]
) -> da.Array:
    """The array by Dask's own function."""
    array: da.Array = _dasks("from_zarr")(url, component, options, chunks, name, bool(inline_array), **kwargs)
    return array


# ---- writing


def to_zarr(
    arr: da.Array,
    url: Any,
    component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    region: Any = None,
    compute: bool = True,
    return_stored: bool = False,
    mode: str = "a",
    **zarr_array_kwargs: Any,
) -> Any:
    """``dask.array.to_zarr``, by daskzarr.

    Parameters
    ----------
    arr, url, component, storage_options, region, return_stored
        As Dask's.
    compute
        Whether to write now. Otherwise there comes back, as from Dask's, an array whose ``compute()`` writes.
    mode
        As Dask's: ``"w"`` puts a new array in the place of whatever is there; with all others there must be none. It
        means nothing where ``url`` is an array.
    **zarr_array_kwargs
        Those of :func:`daskzarr.to_zarr` and of zarr-python's ``create_array``, or a dict of that name. With one that
        daskzarr has not, the call goes to Dask's own function. No journal is kept unless ``journal`` or ``resume`` is
        given.

    Returns
    -------
    None or dask.array.Array

    Warns
    -----
    UserWarning
        If blocks differ in length and ``chunks`` is not given: the array is rechunked, as by Dask.
    PerformanceWarning
        If blocks do not fit the chunks of an array that exists.
    """
    check_array(arr)
    settings = _settings(arr, zarr_array_kwargs)
    _check_open_to_write(url)
    target = {"region": region, "compute": compute, "return_stored": return_stored}
    into = write.is_array(url)
    if into and component is not None:
        raise MetadataError("component= is where in a group or store; the url is an array already", field="component")
    if settings.keys() - _WRITES or not _is_within_reach(url):
        return _write_by_dask(arr, url, component, storage_options, mode, settings, into, target)
    if "resume" not in settings:
        settings.setdefault("journal", False)
    place = _with_buffers(url)
    if into:
        mode = "r" if mode == "r" else "r+"
        if _warn_of_other_blocks(arr, url, region):
            settings.setdefault("align", "rechunk")
    elif settings.get("chunks") is None:
        arr = _with_regular_blocks(arr)
    if mode == "r+" and not into:  # Dask's makes a new array, whatever that word says
        mode = "a"
    stored = write.to_zarr(arr, place, component, storage_options, mode=mode, **target, **settings)
    return _as_array(stored, arr) if isinstance(stored, Write) and not da.array_expr_enabled() else stored


def _settings(arr: da.Array, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen for a new array, in daskzarr's words; what only says that nothing was chosen is left out."""
    found = dict(given)
    nested = found.pop("zarr_array_kwargs", None) or {}
    twice = sorted(nested.keys() & found.keys())
    if twice:
        raise MetadataError(f"{twice[0]} is given twice, within zarr_array_kwargs and beside it", field=twice[0])
    found.update(nested)
    shape = found.pop("shape", None)
    if shape is not None and tuple(shape) != arr.shape:
        raise MetadataError(f"shape is {short(shape)} for an array of shape {arr.shape}", field="shape")
    found = {name: value for name, value in found.items() if not _is_left_to_us(name, value)}
    config = found.get("config")
    if isinstance(config, Mapping) and not config.keys() - {"order", "write_empty_chunks"}:
        del found["config"]  # the order in there is that of arrays in memory
        if "write_empty_chunks" in config:
            found.setdefault("write_empty_chunks", config["write_empty_chunks"])
    return found


def _is_left_to_us(name: str, value: Any) -> bool:
    """Whether a keyword of zarr-python's says nothing."""
    if value is None:
        return name not in ("compressor", "compressors", "fill_value")
    if type(value).__name__ == "DefaultFillValue" or (name == "dimension_names" and value in ([], ())):
        return True
    return name in _LEFT_TO_US and type(value) is type(_LEFT_TO_US[name]) and value == _LEFT_TO_US[name]


def _check_open_to_write(url: Any) -> None:
    """What zarr-python opened for reading only is not written to."""
    store_path = getattr(url, "store_path", url)
    for place in (url, store_path, getattr(store_path, "store", None)):
        if getattr(place, "read_only", False) is True:
            raise StorePermissionError(f"{short(url)} was opened for reading only")


def _with_regular_blocks(arr: da.Array) -> da.Array:
    """An array of blocks that chunks of one shape can be: what other readers know."""
    if all(len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0] for lengths in arr.chunks):
        return arr
    regular = tuple(map(max, arr.chunks))
    warn(
        f"The array uses irregular chunk sizes, so it is rechunked to {regular}. To choose yourself, pass chunks=, or "
        "rechunk it so that all blocks along an axis, but for a shorter last one, have the same length",
        UserWarning,
    )
    return arr.rechunk(regular)


def _warn_of_other_blocks(arr: da.Array, url: Any, region: Any) -> bool:
    """Whether this is one of the writes that Dask warns of; said so, in words that are true here."""
    target = open_array(url)
    sizes = target.metadata.chunk_grid.chunk_shape
    if isinstance(url, StoredArray) or target.dtype.hasobject or 0 in target.shape:
        return False
    starts = region_blocks(arr, region, target).region
    lengths = normalize_chunks("auto", target.shape, dtype=target.dtype, previous_chunks=sizes)
    for axis, (first, last, size) in enumerate(zip(*starts, sizes, strict=True)):
        block = lengths[axis][0]
        end = min(last, first // block * block + block)
        if first % size or (end % size and end < target.shape[axis]):
            warn(
                f"The input Dask array will be rechunked along axis {axis} where its blocks end within a stored object "
                f"of {size} cells, and objects that it covers in part are read before they are written. No cell is "
                "lost, but blocks and regions of whole objects are faster",
                PerformanceWarning,
            )
            return True
    return False


class _Writing(da.Array):  # type: ignore[misc]
    """An array without cells whose blocks are there once all is written; Dask's own is as empty."""

    __slots__ = ()

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **kwargs: Any) -> Any:
        return optimize_writes(graph, keys)


def _as_array(delayed: Write, arr: da.Array) -> da.Array:
    """A write as an array of the blocks that are written."""
    name = f"daskzarr-done-{uuid.uuid4().hex}"
    blocks = da.map_blocks(_nothing, delayed, chunks=arr.chunks, meta=arr._meta, name=name)
    return _Writing(blocks.dask, blocks.name, blocks.chunks, meta=blocks._meta)


def _nothing(written: Any) -> None:
    """What there is of a block, once it is written."""


def _write_by_dask(
    arr: da.Array,
    url: Any,
    component: Any,
    options: Any,
    mode: str,
    settings: dict[str, Any],
    into: bool,
    target: Mapping[str, Any],
) -> Any:
    """The write by Dask's own function; blocks are first made to be whole stored objects, which that does not do."""
    if into and settings:
        first = min(settings)
        raise MetadataError(f"{first} can be chosen for a new array only; this one exists", field=first)
    objects = settings.get("shards", settings.get("chunks"))
    if not into and objects is not None:
        settings.setdefault("chunks", tuple(max(lengths[0], 1) for lengths in arr.chunks))
        arr = arr.rechunk(_whole(arr, objects))
    return _dasks("to_zarr")(arr, url, component, options, mode=mode, **target, **settings)


def _whole(arr: da.Array, objects: Any) -> tuple[int, ...]:
    """Blocks of whole objects, as near as may be to those of an array."""
    sizes = (objects,) * arr.ndim if isinstance(objects, int) else objects
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise MetadataError(f"stored objects of {short(objects)} cannot be written by Dask's blocks", field="chunks")
    if len(sizes) != arr.ndim:
        raise MetadataError(f"stored objects of {short(objects)} for an array of {arr.ndim} axes", field="chunks")
    return tuple(math.ceil(max(lengths) / n) * n for lengths, n in zip(arr.chunks, sizes, strict=True))


# ---- what people pass as a place


def _is_zarr_array(place: Any) -> bool:
    """Whether something is an array of zarr-python."""
    return hasattr(place, "store_path") and hasattr(place, "shape")


def _is_other_array(place: Any) -> bool:
    """Whether something can be read in blocks, and is no array of zarr-python nor of ours."""
    if isinstance(place, (StoredArray, da.Array)) or _is_zarr_pythons(place):
        return False
    return all(hasattr(place, name) for name in _LIKE_ARRAYS)


def _is_zarr_pythons(place: Any) -> bool:
    """Whether something is of a class of zarr-python's, or of one made from it."""
    return any(kind.__module__.partition(".")[0] == "zarr" for kind in type(place).__mro__)


def _is_within_reach(place: Any) -> bool:
    """Whether daskzarr can read and write there by itself.

    Not through a store that only zarr-python can ask, nor one made from one of its own: that may do more than it.
    """
    if isinstance(place, str) or hasattr(place, "__fspath__"):
        return True
    store_path = getattr(place, "store_path", place)
    store = getattr(store_path, "store", store_path) if _is_zarr_pythons(store_path) else store_path
    if _is_zarr_pythons(store) and type(store).__module__.partition(".")[0] not in _MAKERS_OF_STORES:
        return False
    if _is_zarr_pythons(place) and not _zarr_holds_buffers():
        return False
    try:
        locate(place)
    except UnsupportedError:
        return False
    return True


def _with_buffers(place: Any) -> Any:
    """The same place; where zarr-python 3 is loaded, a dict of what that puts into dicts, so that it can read them."""
    if type(place) is dict and _zarr_holds_buffers():
        return types.SimpleNamespace(_store_dict=place)
    return place


def _zarr_holds_buffers() -> bool:
    """Whether zarr-python is loaded in a version of 3 or later."""
    version = str(getattr(sys.modules.get("zarr"), "__version__", "0"))
    major = version.partition(".")[0]
    return major.isdigit() and int(major) >= 3
