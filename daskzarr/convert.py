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
from daskzarr.metadata.missing_values import reads_alike
from daskzarr.nodes import consolidate
from daskzarr.ownership import assign
from daskzarr.read import from_zarr
from daskzarr.regions import place_blocks
from daskzarr.settings import check_zarr_format
from daskzarr.stores import ListableStore, Location, locate
from daskzarr.translation import MissingValues, check_missing_values, translate

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
    missing_values: MissingValues = "xarray",
) -> StoredArray | StoredGroup:
    """Carry an array, or a group and all below it, to another format without loss.

    Cells, attributes, dimension names and codecs come along, and so does what is missing. Where the stored chunks are
    the same bytes in both formats they are copied as they are; otherwise they are decoded and encoded, one task a
    chunk. What the other format cannot say is an error that names it, before anything is written.

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
    missing_values
        What becomes of the value that xarray takes for missing cells, in an array with names of dimensions. That is
        the fill value in Zarr v2, and the attribute ``_FillValue`` in Zarr v3 and N5. Default ``"xarray"``: to v3
        and N5, the fill value stays, and the attribute is added; to v2, the attribute becomes the fill value, or, where
        there is none, null does, so that no cell is missing, and chunks that are not stored are written, full of the
        fill value they read as before. With ``"keep"`` fill values and attributes stay as they are, and no chunk is
        added: choose it for arrays that have names of dimensions and are no datasets of xarray's. It is not the default
        since through xarray numbers would become missing, and missing cells numbers, and nothing would say so.

    Returns
    -------
    StoredArray or StoredGroup
        The new one. A group is consolidated if the source was.

    Raises
    ------
    UnsupportedError, MetadataError
        If the other format cannot express a data type, codec, grid or fill value, or which cells are missing; in
        place, also if chunks that are not stored would read as something else.
    NodeExistsError
        If there is a node at the target already.

    Notes
    -----
    Zarr v3 core; Zarr v2; N5 file-system specification; xarray, Zarr encoding specification.

    The empty text is no mask in Zarr v3: text whose v2 fill value is ``""`` gets no attribute.

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
    zarr_format, missing_values = check_zarr_format(zarr_format), check_missing_values(missing_values)
    node = open_node(locate(source, component, storage_options), known_format(source, component), None)
    place = node.location if target is None else locate(target, target_component, target_options)
    in_place = target is None
    plans = [_plan(path, found, zarr_format, missing_values, in_place=in_place) for path, found in _nodes(node)]
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


def _plan(
    path: str,
    node: StoredArray | StoredGroup,
    zarr_format: ZarrFormat,
    missing_values: MissingValues,
    *,
    in_place: bool,
) -> _Plan:
    """What becomes of one node; what cannot be is refused before anything is written."""
    try:
        if isinstance(node, StoredGroup):
            return path, node, GroupMetadata(attributes=node.metadata.attributes, zarr_format=zarr_format), True
        metadata, same = translate(node.metadata, zarr_format, missing_values)
        if in_place and not (same and metadata.chunk_key_encoding == node.metadata.chunk_key_encoding):
            raise UnsupportedError(
                f"the chunks of an array in format {node.metadata.zarr_format} are not the bytes, under the keys, that "
                f"format {zarr_format} would have; give a target to write them to"
            )
        if in_place and metadata.zarr_format == node.metadata.zarr_format:
            raise UnsupportedError(f"the array is in format {zarr_format} already", field="zarr_format")
        if in_place and 0 not in metadata.shape and not reads_alike(node.metadata, metadata):
            raise UnsupportedError(
                f"chunks that are not stored read as {node.metadata.fill_value!r}, and as "
                f"{_undefined_or(metadata.fill_value)} in format {zarr_format}, whose fill value says which cells are "
                'missing; give a target, where such chunks are written, or choose missing_values="keep"',
                field="fill_value",
            )
        return path, node, metadata, same
    except DaskZarrError as error:
        raise_from(error.locate(url=node.location.store.url, node=node.location.path), error)


def _undefined_or(fill_value: Any) -> str:
    """A fill value, for an error."""
    return "nothing defined" if fill_value is None else repr(fill_value)


def _carry(source: StoredArray, target: StoredArray, same: bool, allow_pickle: bool) -> Write:
    """The chunks, copied as they are or written anew."""
    if same:
        grid = source.metadata.chunk_grid
        cells = _BYTES_A_TASK // max(source.dtype.itemsize, 1)
        lengths = grow_blocks(source.shape, grid.chunk_shape, cells)
        blocks = BlockGrid(grid_cuts(grid, (0,) * source.ndim, source.shape, lengths))
        absent = not reads_alike(source.metadata, target.metadata)
        handle = _handle(target, write_empty_chunks=absent)
        if absent:
            handle.pipeline.check_can_write()
        return copy_array(_handle(source), handle, blocks)
    grid = target.metadata.chunk_grid
    array = from_zarr(source, chunks=grid.chunk_shape, allow_pickle=allow_pickle)
    handle = _handle(target)
    handle.pipeline.check_can_write()
    part = Part(array, assign(place_blocks(array, (0,) * source.ndim), grid))
    return write_arrays([ArrayWrite(handle, (part,))])


def _handle(array: StoredArray, *, write_empty_chunks: bool = False) -> ArrayHandle:
    """What the tasks of a copy share of an array; none of them unpickles what it did not before."""
    traffic = traffic_to(array.location.store)
    return ArrayHandle.of(array, write_empty_chunks=write_empty_chunks, allow_pickle=True, traffic=traffic)


def _refuse_overlap(source: Location, target: Location) -> None:
    """A copy into itself would never end, or replace what it reads."""
    if source.overlaps(target):
        raise UnsupportedError(
            "source and target lie in each other; choose another target, or none to convert in place",
            url=target.store.url,
            node=target.path,
        )
