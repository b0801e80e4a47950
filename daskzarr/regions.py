"""A dask array, and where it is to go -> the cells it goes to, if it can go there at all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import dask.array as da
import numpy as np
from dask.base import get_scheduler
from dask.multiprocessing import get as get_processes

from daskzarr.block_grid import BlockGrid, Cuts, cuts
from daskzarr.chunk_grid import Box
from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.graph.read import sources
from daskzarr.hierarchy import StoredArray, writable
from daskzarr.stores import Location, of_one_process


def check_array(arr: Any) -> None:
    """A stored array has to know its shape."""
    if not isinstance(arr, da.Array):
        raise MetadataError(
            f"what is written are dask arrays, not a {type(arr).__name__}; wrap it with dask.array.from_array first",
            field="arr",
        )
    if any(math.isnan(n) for n in arr.shape):
        raise MetadataError(
            "the array has unknown chunk sizes, so its shape is unknown; call x.compute_chunk_sizes() first",
            field="chunks",
        )


def place_blocks(arr: da.Array, start: Sequence[int], dropped: tuple[int, ...] = ()) -> BlockGrid:
    """Where the blocks of an array lie in the stored one; ``dropped`` are axes of that which it does not have."""
    lengths: Iterator[Sequence[int]] = iter(arr.chunks)
    axes: list[Cuts] = [cuts(a, (1,) if i in dropped else next(lengths)) for i, a in enumerate(start)]
    return BlockGrid(tuple(axes), dropped)


def region_blocks(arr: da.Array, region: Any, target: StoredArray) -> BlockGrid:
    """Where the blocks of an array lie in the region of a stored one that it goes to."""
    shape = target.shape
    parts = list(region) if isinstance(region, tuple) else [... if region is None else region]
    if sum(part is ... for part in parts) > 1:
        raise MetadataError(f"the region {region!r} has more than one ...", field="region")
    if any(part is ... for part in parts):
        at = next(i for i, part in enumerate(parts) if part is ...)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    box = Box(*zip(*map(_run, range(len(shape)), parts, shape), strict=True)) if shape else Box((), ())
    dropped = tuple(i for i, part in enumerate(parts) if isinstance(part, Integral))
    if arr.ndim == len(shape):
        dropped = ()
    kept = tuple(n for i, n in enumerate(box.shape) if i not in dropped)
    if len(parts) != len(shape) or kept != arr.shape:
        where = "the array" if region is None else f"the region {region!r}"
        raise MetadataError(
            f"an array of shape {arr.shape} does not fit {where}, which has shape {kept}",
            url=target.location.store.url,
            node=target.location.path,
            field="region",
        )
    return place_blocks(arr, box.start, dropped)


def _run(axis: int, part: Any, length: int) -> tuple[int, int]:
    """The cells that one entry of a region names."""
    if isinstance(part, Integral) and not isinstance(part, bool):
        if not -length <= int(part) < length:
            raise MetadataError(f"region has {part}, and the axis {length} cells", axis=axis, field="region")
        first = int(part) % length
        return first, first + 1
    if not isinstance(part, slice) or part.step not in (None, 1):
        raise MetadataError(
            f"region has {part!r}; it can hold slices of step 1, integers and ...", axis=axis, field="region"
        )
    try:
        first, last, _ = part.indices(length)
    except TypeError:
        raise MetadataError(f"region has {part!r}; slices are of integers", axis=axis, field="region") from None
    return first, max(first, last)


def check_cast(arr: da.Array, dtype: np.dtype[Any], location: Location) -> None:
    """Cells have to be of a kind that the stored dtype can take."""
    text_to_objects = dtype.hasobject and arr.dtype.kind in "OSTU"
    if not text_to_objects and not np.can_cast(arr.dtype, dtype, "same_kind"):
        raise MetadataError(
            f"cells of {arr.dtype} cannot go to an array of {dtype}; convert with astype first",
            url=location.store.url,
            node=location.path,
            field="data_type",
        )


def check_store(arr: da.Array, location: Location) -> None:
    """The store has to be one that can be written, from wherever the tasks run."""
    store = writable(location)
    if not store.shared:
        _refuse_cluster(arr, location, "a store that only this process can write")
    elif of_one_process(store) and not _inside():
        _refuse_cluster(arr, location, "a file that one process writes at a time")


def reads_from(arr: da.Array, target: Location, box: Box | None = None) -> bool:
    """Whether an array is still to be read from a place, or, of an array there, from cells of a box."""
    place = _joined(target.store.url, target.path)
    for handle, region in sources(arr):
        source = _joined(handle.store.url, handle.path)
        if box is None:
            if source.startswith(place):
                return True
        elif source == place and all(a < d and c < b for a, b, c, d in zip(*region, *box, strict=False)):
            return True
    return False


def _joined(url: str, path: str) -> str:
    """A node's place as one text that ends in a slash, however it is divided in store and path, and linked to."""
    whole = f"{url}/{path}".rstrip("/")
    local, _, rest = whole.partition("://")
    if local == "file":
        return f"file://{os.path.realpath(rest)}/"
    return whole + "/"


def _inside() -> bool:
    """Whether the cluster at hand has its workers in this process."""
    address = getattr(getattr(getattr(get_scheduler(), "__self__", None), "scheduler", None), "address", "")
    return str(address).startswith("inproc://")


def _refuse_cluster(arr: da.Array, location: Location, what: str) -> None:
    """Workers in other processes cannot write there."""
    run = get_scheduler(collections=[arr])
    if run is get_processes or "distributed" in type(getattr(run, "__self__", None)).__module__:
        name = "multiprocessing" if run is get_processes else "distributed"
        raise UnsupportedError(
            f"{what} cannot be written from the {name} scheduler; use a place that all processes can write, as a "
            "folder or a URL of a server, or a scheduler of threads",
            url=location.store.url,
            node=location.path,
        )
