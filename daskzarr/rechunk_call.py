"""The arguments of rechunk and plan_rechunk -> the arrays to rechunk, each checked, planned, and found if begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import dask.array as da

from daskzarr.create import write_new_group
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from, short
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.hierarchy.documents import node_exists
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.opening import known_format, open_node
from daskzarr.hierarchy.staging import recover
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.nodes import consolidate
from daskzarr.prepare import WriteOptions, bytes_of
from daskzarr.receipt import Written
from daskzarr.rechunk_plan import CostModel, RechunkPlan
from daskzarr.rechunk_prepare import Job, Limits, Source, plan_for, prepare, scratch_of
from daskzarr.rechunk_target import chunks_for, rechunked_metadata, shards_for, without_same
from daskzarr.regions import check_array
from daskzarr.settings import ArraySettings, check_zarr_format, new_array_metadata
from daskzarr.stores import Location, durable, locate
from daskzarr.translation import check_missing_values
from daskzarr.workers import workers_now


@dataclass(frozen=True)
class Consolidating:
    """What ends the rechunking of a group."""

    place: Location
    zarr_format: ZarrFormat

    def __call__(self, written: Written) -> None:
        """Consolidate."""
        consolidate(self.place, zarr_format=self.zarr_format)


class Call:
    """What one call asks for: its source, opened, and its settings, checked."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.settings = ArraySettings(
            **{each.name: given[each.name] for each in fields(ArraySettings) if each.name in given}
        )
        options = WriteOptions.among({name: value for name, value in given.items() if name != "max_mem"})
        self.options = options
        self.missing_values = check_missing_values(given["missing_values"])
        self.limits = _limits(given["max_mem"], given["cost"], given["stages"])
        for name in ("keep_scratch", "overwrite", "compute", "consolidated", "progress"):
            value = given[name]
            other = (name == "consolidated" and value is None) or (name == "progress" and callable(value))
            if not isinstance(value, bool) and not other:
                raise MetadataError(f"{name} is {short(value)}; it can be True or False", field=name)
        self.scratch = None if given["scratch"] is None else locate(given["scratch"], None, given["scratch_options"])
        self.group: StoredGroup | None = None
        self.node: StoredArray | StoredGroup | None = None
        source = given["source"]
        if isinstance(source, da.Array):
            check_array(source)
            if given["component"] is not None or given["storage_options"] is not None:
                raise MetadataError(
                    "a dask array is no place: component and storage_options say nothing", field="source"
                )
            self.zarr_format: ZarrFormat = check_zarr_format(given["zarr_format"] or 3)
        else:
            component = given["component"]
            location = locate(source, component, given["storage_options"])
            self.node = open_node(location, known_format(source, component), None)
            self.zarr_format = check_zarr_format(given["zarr_format"] or self.node.metadata.zarr_format)
            self.group = self.node if isinstance(self.node, StoredGroup) else None
        place = locate(given["target"], given["target_component"], given["target_options"])
        self.place = Location(durable(place.store, options.durability), place.path)
        if isinstance(self.node, StoredArray) and self.node.location.overlaps(self.place):
            here, there = (f"{each.store.url}/{each.path}".rstrip("/") for each in (self.node.location, self.place))
            if here != there:
                raise MetadataError(
                    "the target lies in the source, or holds it: it would be lost; choose a place beside it, or the "
                    "very same with overwrite=True",
                    field="target",
                )
        self.arrays = [*self._arrays()]
        if not self.arrays:
            raise MetadataError("the group has no arrays", field="source")

    def _arrays(self) -> list[tuple[str, Source]]:
        """The arrays to rechunk, by path."""
        if self.node is None:
            return [("", Source(None, self.given["source"]))]
        if isinstance(self.node, StoredArray):
            return [("", Source(self.node, None))]
        if self.given["dtype"] is not None:
            raise MetadataError("dtype= is for single arrays", field="dtype")
        if self.node.location.overlaps(self.place):
            raise MetadataError("a group cannot be rechunked into itself, or what is in it", field="target")
        found = [(path, node) for path, node in replace(self.node, consolidated=None).walk()]
        arrays = [(path, Source(node, None)) for path, node in found if isinstance(node, StoredArray)]
        if not arrays:
            return []
        dims = {name for _, each in arrays if each.array for name in each.array.metadata.dimension_names or ()}
        for field in ("chunks", "shards"):
            said = self.given[field]
            if said is not None and not isinstance(said, Mapping):
                raise MetadataError(
                    f"{field} is {short(said)}; for a group it has to be a mapping, by dimension or by array",
                    field=field,
                )
            unknown = set(said or ()) - {path for path, _ in arrays} - dims
            if unknown:
                first = short(sorted(map(str, unknown))[0])
                raise MetadataError(f"{field} names {first}: no array and no dimension of the group", field=field)
        return arrays

    def metadata(self, path: str, source: Source) -> ArrayMetadata:
        """What one array is to be like."""
        settings = self.settings
        if source.array is None:
            dtype = source.dtype if self.given["dtype"] is None else self.given["dtype"]
            chunks = settings.chunks if settings.chunks is not None else source.blocks.chunksize  # type: ignore[union-attr]
            settings = replace(without_same(settings), chunks=_whole(chunks, source.shape))
            return new_array_metadata(settings, shape=source.shape, dtype=dtype, zarr_format=self.zarr_format)
        before = source.array.metadata
        chunks = chunks_for(before, settings.chunks, path)
        if chunks is None:
            inner = before.inner_chunk_shape if self.zarr_format == 3 else None
            grid = before.chunk_grid.chunk_shape
            chunks = inner or before.inner_chunk_shape or _lengths_of(before)
            shards = grid if inner is not None else None
        else:
            shards = None
        said = shards_for(before, settings.shards, chunks, path)
        shards = shards if said is None else said
        wanted = replace(settings, chunks=chunks, shards=shards)
        return rechunked_metadata(before, wanted, self.given["dtype"], self.zarr_format, self.missing_values)

    def plan(self, path: str, source: Source) -> RechunkPlan:
        """The plan for one array."""
        place = self._goal(path)
        try:
            metadata = self.metadata(path, source)
            return plan_for(source, metadata, place, scratch_of(place, self.scratch), self.limits)
        except DaskZarrError as error:
            raise_from(error.locate(url=place.store.url, node=place.path), error)

    def jobs(self) -> list[Job]:
        """All that is to be done, checked; then the documents of groups are written."""
        recover(self.place, notes_of(self.place))
        replaces = self.group is not None and self.given["overwrite"] and not self.options.resume
        if replaces:
            for path, source in self.arrays:
                self.plan(path, source)  # what cannot be is refused before anything goes
            self._begin_groups()
        found = []
        for path, source in self.arrays:
            place = self._goal(path)
            options, overwrite = self.options, self.given["overwrite"]
            if self.group is not None:
                overwrite = False
                options = replace(options, resume="auto" if options.resume else False)
            try:
                metadata = self.metadata(path, source)
                found.append(
                    prepare(
                        path,
                        source,
                        metadata,
                        place,
                        self.scratch,
                        self.limits,
                        options,
                        overwrite,
                        self.given["compute"],
                    )
                )
            except DaskZarrError as error:
                raise_from(error.locate(url=place.store.url, node=place.path), error)
        if self.group is not None and not replaces:
            self._begin_groups()
        return found

    def _goal(self, path: str) -> Location:
        """Where one array goes."""
        return self.place / path if path else self.place

    def _begin_groups(self) -> None:
        """Write the documents of all groups."""
        assert self.group is not None
        nodes = [("", self.group), *replace(self.group, consolidated=None).walk()]
        for path, node in nodes:
            goal = self._goal(path)
            if isinstance(node, StoredGroup) and not (self.options.resume and node_exists(goal)):
                metadata = GroupMetadata(attributes=node.metadata.attributes, zarr_format=self.zarr_format)
                write_new_group(goal, metadata, overwrite=self.given["overwrite"] and not path)

    def ending(self) -> Consolidating | None:
        """What is to be done in the end."""
        wanted = self.given["consolidated"]
        if self.group is None or self.zarr_format == "n5" or wanted is False:
            return None
        return Consolidating(self.place, self.zarr_format)


def _limits(max_mem: Any, cost: CostModel | None, stages: Any) -> Limits:
    """What a task may need."""
    if stages not in (None, 1, 2, 3) or isinstance(stages, bool):
        raise MetadataError(f"stages is {short(stages)}; it can be 1, 2 or 3", field="stages")
    workers = workers_now()
    if cost is not None and not isinstance(cost, CostModel):
        raise MetadataError(f"cost is {short(cost)}; it has to be a CostModel", field="cost")
    return Limits(workers.memory if max_mem is None else bytes_of(max_mem, least=1), workers, cost, stages)


def _whole(chunks: Any, shape: Sequence[int]) -> Any:
    """Chunks where -1 stands for a whole axis."""
    if isinstance(chunks, int):
        chunks = (chunks,) * len(shape)
    if isinstance(chunks, Mapping):
        raise UnsupportedError("a dask array has no dimension names; give chunks as a shape", field="chunks")
    if isinstance(chunks, (tuple, list)) and len(chunks) == len(shape):
        return tuple(max(n, 1) if c in (-1, None) else c for c, n in zip(chunks, shape, strict=True))
    return chunks


def _lengths_of(metadata: ArrayMetadata) -> Any:
    """The chunks of an array, listed where they differ."""
    axes = getattr(metadata.chunk_grid, "axes", None)
    return metadata.chunk_grid.chunk_shape if axes is None else tuple(axis.lengths for axis in axes)
