"""The verb convert: an array or hierarchy in one format -> the same in another, with the same chunks if they can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dask

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, grid_cuts, grow_blocks
from daskzarr.configured import traffic_to
from daskzarr.create import write_new_array, write_new_group
from daskzarr.errors import DaskZarrError, UnsupportedError, raise_from
from daskzarr.graph.copy import copy_array
from daskzarr.graph.generation import note_write
from daskzarr.graph.write import ArrayWrite, Part, Write, write_arrays
from daskzarr.hierarchy import StoredArray, StoredGroup, read_node
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.opening import known_format, open_node
from daskzarr.journal import forget
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.nodes import consolidate
from daskzarr.ownership import assign
from daskzarr.read import from_zarr
from daskzarr.regions import place_blocks
from daskzarr.settings import check_zarr_format
from daskzarr.stores import ListableStore, Location, locate
from daskzarr.translation import translate

_BYTES_A_TASK = 64 * 2**20


def convert(
    source: Any,
    target: Any = None,
    component: str | None = None,
    *,
    zarr_format: ZarrFormat,
    target_component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    allow_pickle: bool = False,
) -> StoredArray | StoredGroup:
    """Carry an array, or a group and all below it, to another format without loss.

    Attributes, dimension names, fill values and codecs come along. Where the stored chunks are the same bytes in both
    formats they are copied as they are; otherwise they are decoded and encoded, one task a chunk. What the other format
    cannot say is an error that names it, before anything is written.

    Parameters
    ----------
    source, component, storage_options
        The array or group, as for :func:`open_array`.
    target, target_component, target_options
        Where the new one goes. Default None: in place, which v2 -> v3 allows: only documents are written, beside the
        old ones, and no chunk is touched.
    zarr_format
        3, 2 or "n5".
    overwrite
        Whether what is at the target is replaced. Default False: then it is an error.
    allow_pickle
        Whether pickled objects may be loaded to be written anew. Default False.

    Returns
    -------
    StoredArray or StoredGroup
        The new one. A group is consolidated if the source was.

    Raises
    ------
    UnsupportedError, MetadataError
        If the other format cannot express a data type, codec, grid or fill value.
    NodeExistsError
        If there is a node at the target already.

    Notes
    -----
    Zarr v3 core; Zarr v2; N5 file-system specification.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import from_zarr, to_zarr
    >>> to_zarr(da.arange(6, chunks=2), old := {}, zarr_format=2, dimension_names=["x"])
    >>> convert(old, new := {}, zarr_format=3).dimension_names
    ('x',)
    >>> from_zarr(new).compute()
    array([0, 1, 2, 3, 4, 5])
    """
    zarr_format = check_zarr_format(zarr_format)
    node = open_node(locate(source, component, storage_options), known_format(source, component), None)
    place = node.location if target is None else locate(target, target_component, target_options)
    plans = [_plan(path, found, zarr_format, in_place=target is None) for path, found in _nodes(node)]
    if target is not None:
        _refuse_overlap(node.location, place)
    writes = []
    # In place, the documents at the top come last: until then readers find the old format there.
    for path, found, metadata, same in plans[::-1] if target is None else plans:
        goal = place / path if path else place
        replace_it = overwrite and not path
        if isinstance(metadata, GroupMetadata):
            write_new_group(goal, metadata, overwrite=replace_it, beside=target is None)
            continue
        stored = write_new_array(goal, metadata, overwrite=replace_it, beside=target is None)
        note_write(goal.store.url, goal.path)
        if target is not None:
            forget(goal, notes_of(goal))
        if target is not None:
            writes.append(_carry(found, stored, same, allow_pickle))
    dask.compute(*writes)
    if isinstance(node, StoredGroup) and node.consolidated is not None and zarr_format != "n5":
        return consolidate(place, zarr_format=zarr_format)
    return read_node(place, zarr_format)


_Plan = tuple[str, Any, ArrayMetadata | GroupMetadata, bool]


def _nodes(node: StoredArray | StoredGroup) -> Iterator[tuple[str, StoredArray | StoredGroup]]:
    """A node and all below it, by path."""
    yield "", node
    if isinstance(node, StoredGroup):
        # Consolidated metadata may have gone stale: what the store lists is what is there.
        listed = isinstance(node.location.store, ListableStore)
        yield from (replace(node, consolidated=None) if listed else node).walk()


def _plan(path: str, node: StoredArray | StoredGroup, zarr_format: ZarrFormat, *, in_place: bool) -> _Plan:
    """What becomes of one node; what cannot be is refused before anything is written."""
    try:
        if isinstance(node, StoredGroup):
            return path, node, GroupMetadata(attributes=node.metadata.attributes, zarr_format=zarr_format), True
        metadata, same = translate(node.metadata, zarr_format)
        if in_place and not (same and metadata.chunk_key_encoding == node.metadata.chunk_key_encoding):
            raise UnsupportedError(
                f"the chunks of an array in format {node.metadata.zarr_format} are not the bytes, under the keys, that "
                f"format {zarr_format} would have; give a target to write them to"
            )
        if in_place and metadata.zarr_format == node.metadata.zarr_format:
            raise UnsupportedError(f"the array is in format {zarr_format} already", field="zarr_format")
        return path, node, metadata, same
    except DaskZarrError as error:
        raise_from(error.locate(url=node.location.store.url, node=node.location.path), error)


def _carry(source: StoredArray, target: StoredArray, same: bool, allow_pickle: bool) -> Write:
    """The chunks, copied as they are or written anew."""
    if same:
        grid = source.metadata.chunk_grid
        cells = _BYTES_A_TASK // max(source.dtype.itemsize, 1)
        lengths = grow_blocks(source.shape, grid.chunk_shape, cells)
        blocks = BlockGrid(grid_cuts(grid, (0,) * source.ndim, source.shape, lengths))
        return copy_array(_handle(source), _handle(target), blocks)
    grid = target.metadata.chunk_grid
    array = from_zarr(source, chunks=grid.chunk_shape, allow_pickle=allow_pickle)
    handle = _handle(target)
    handle.pipeline.check_can_write()
    part = Part(array, assign(place_blocks(array, (0,) * source.ndim), grid))
    return write_arrays([ArrayWrite(handle, (part,))])


def _handle(array: StoredArray) -> ArrayHandle:
    """What the tasks of a copy share of an array; none of them unpickles what it did not before."""
    return ArrayHandle.of(array, allow_pickle=True, traffic=traffic_to(array.location.store))


def _refuse_overlap(source: Location, target: Location) -> None:
    """A copy into itself would never end, or replace what it reads."""
    if source.overlaps(target):
        raise UnsupportedError(
            "source and target lie in each other; choose another target, or none to convert in place",
            url=target.store.url,
            node=target.path,
        )
