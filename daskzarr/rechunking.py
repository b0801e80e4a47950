"""The verb rechunk: an array, a group or a dask array -> the same cells in other chunks, in another place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import dask.array as da
from dask.utils import parse_bytes

from daskzarr.create import write_new_group
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from, short
from daskzarr.graph.progress import Meter, metered
from daskzarr.graph.rechunk import joined
from daskzarr.graph.write import Write
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.hierarchy.documents import node_exists
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.opening import known_format, open_node
from daskzarr.hierarchy.staging import recover
from daskzarr.metadata import ArrayMetadata, GroupMetadata, ZarrFormat
from daskzarr.nodes import consolidate
from daskzarr.prepare import WriteOptions
from daskzarr.receipt import Written
from daskzarr.rechunk_plan import CostModel, RechunkPlan
from daskzarr.rechunk_prepare import Job, Limits, Source, begin, clear, plan_for, prepare, scratch_of
from daskzarr.rechunk_target import SAME, chunks_for, rechunked_metadata
from daskzarr.regions import check_array
from daskzarr.settings import ArraySettings, check_zarr_format, new_array_metadata
from daskzarr.size_text import format_size
from daskzarr.stores import Location, durable, locate
from daskzarr.workers import workers_now


@dataclass(frozen=True)
class RechunkReport:
    """What a rechunking did.

    Parameters
    ----------
    target
        The new array or group.
    plans
        For each array, by its path below the target, the plan that was carried out.
    written
        Objects and bytes written to the target by this call.
    seconds
        How long it took.
    """

    target: StoredArray | StoredGroup
    plans: Mapping[str, RechunkPlan]
    written: Written
    seconds: float

    def __str__(self) -> str:
        written = f"{self.written.objects:,} objects, {format_size(self.written.nbytes)}, in {self.seconds:.1f} s"
        return "\n".join([*(f"{path or '/'}: {plan}" for path, plan in self.plans.items()), written])


def rechunk(
    source: Any,
    target: Any,
    chunks: Any = None,
    component: str | None = None,
    *,
    target_component: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    shards: Any = None,
    dtype: Any = None,
    compressors: Any = SAME,
    filters: Any = None,
    serializer: Any = None,
    codecs: Any = None,
    order: str = "C",
    zarr_format: ZarrFormat | None = None,
    max_mem: int | str | None = None,
    scratch: Any = None,
    scratch_options: Mapping[str, Any] | None = None,
    keep_scratch: bool = False,
    cost: CostModel | None = None,
    overwrite: bool = False,
    resume: bool | Literal["auto"] = False,
    journal: Any = None,
    token: str | None = None,
    durability: Literal["close", "fsync"] = "close",
    write_empty_chunks: bool = False,
    consolidated: bool | None = None,
    progress: bool | Meter = False,
    compute: bool = True,
) -> RechunkReport | Write:
    """Store the cells of an array, or of all arrays of a group, in other chunks. Nothing is shuffled between workers.

    A plan is made first (:func:`plan_rechunk`): each task reads a block of the source and writes whole objects of the
    target; or, where that would read much of the source many times, tasks write pieces to scratch, one object each,
    and others put them together. No task needs more memory than it may. What a killed job has done stays done.

    Parameters
    ----------
    source, component, storage_options
        A stored array or group, as for :func:`open_array`; or a dask array, of which each block has to fit in
        ``max_mem``.
    target, target_component, target_options
        Where the new one goes.
    chunks
        Shape of the new chunks; with ``shards``, of the inner ones. For an array: as for :func:`create_array`, or a
        mapping by dimension name; -1 is the whole axis. For a group: a mapping, in which an integer belongs to a
        dimension of all arrays (``{"time": 24}``) and anything else to an array by its path
        (``{"ocean/t": (1, 180, 360)}``). What is not named stays as it is.
    shards
        Shape of the new shards; for a group, a mapping of arrays by path. Default None: no shards, but arrays of a
        group whose chunks stay as they are keep theirs.
    dtype
        To store. Default None: that of the source. For arrays, not groups.
    compressors, filters, serializer, codecs, order
        As for :func:`create_array`. Default: the source's codecs; if any is given, or ``dtype``, the others are those
        of a new array.
    zarr_format
        Of the target. Default None: that of the source; 3 for a dask array.
    max_mem
        Bytes a task may need beside what Python itself needs, or text such as ``"1 GiB"``: a worker with two threads
        has two tasks. Default None: half of a worker's memory for each of its threads, 2 GiB at most.
    scratch, scratch_options
        A place for objects between stages that all workers see. Default None: beside the target.
    keep_scratch
        Whether what is in scratch stays if the job fails, so that ``resume`` need not do it again. Default False.
        After a kill it stays in any case; the end of the job removes it.
    cost
        What requests and bytes cost: a :class:`daskzarr.rechunk_plan.CostModel`. Default None: those of a disk if all
        places are local, else of an object store.
    overwrite
        Whether what is at the target is replaced, when all is written. Default False: then it is an error.
    resume
        Whether to go on with the same job that was killed: True, ``"auto"`` (begin if there is none) or False.
    journal, token, durability, write_empty_chunks
        As for :func:`to_zarr`.
    consolidated
        Whether the new group is consolidated in the end. Default None: if the source was, or the group has arrays
        and is of Zarr.
    progress
        Whether to print bytes moved, rate and time left; or a function that is called with bytes done and in all.
    compute
        Whether to do it now. Default True; otherwise a delayed value comes back.

    Returns
    -------
    RechunkReport or a delayed value

    Raises
    ------
    PlanLimitError
        If no task can do with ``max_mem``; it says the least that works.
    NodeExistsError, NodeNotFoundError
        If there is a node at the target, or none at the source.
    MetadataError, UnsupportedError, UnknownCodecError
        If a setting cannot be, or the target's format cannot say it. Nothing is written then.
    ResumeError
        If ``resume=True`` and there is no such job, or one of another source or settings.

    Warns
    -----
    RuntimeWarning
        If a local scratch has less room than the plan needs.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import from_zarr, to_zarr
    >>> to_zarr(da.arange(12, chunks=2).reshape(6, 2), maps := {}, dimension_names=["t", "x"])
    >>> report = rechunk(maps, pencils := {}, {"t": -1, "x": 1})
    >>> report.target.chunks, report.written.objects
    ((6, 1), 2)
    >>> from_zarr(pencils)[:, 1].compute()
    array([ 1,  3,  5,  7,  9, 11])
    """
    started = time.perf_counter()
    call = _Call(locals())
    jobs = call.jobs()
    total = sum(job.plan.nbytes * len(job.plan.stages) for job in jobs)
    meter = metered(progress, total, call.limits.workers.client) if compute else None
    writes = [begin(job, None if meter is None else meter.topic, call.limits.max_mem) for job in jobs]
    write = joined(writes, call.ending())
    if not compute:
        return write
    try:
        if meter is None:
            written = write.compute()
        else:
            with meter:
                written = write.compute()
    except Exception:
        if not keep_scratch:
            for job in jobs:
                if job.scratch is not None:
                    clear(job.scratch)
        raise
    plans = {job.path: job.plan for job in jobs}
    return RechunkReport(open_node(call.place, call.zarr_format, None), plans, written, time.perf_counter() - started)


def plan_rechunk(
    source: Any, target: Any, chunks: Any = None, component: str | None = None, **settings: Any
) -> RechunkPlan | dict[str, RechunkPlan]:
    """What :func:`rechunk` would do with the same arguments, in numbers; nothing is written.

    Parameters
    ----------
    source, target, chunks, component, **settings
        As for :func:`rechunk`.

    Returns
    -------
    RechunkPlan
        Stages, tasks, requests, bytes, memory and scratch; it prints as a table, and draws the grids
        (:meth:`RechunkPlan.to_svg`). Of a group, one for each array by its path.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import create_array
    >>> maps = create_array({}, shape=(100, 50, 60), chunks=(1, 50, 60), dtype="f4")
    >>> plan = plan_rechunk(maps, {}, (100, 5, 6), max_mem="1 MB")
    >>> plan.kind, plan.tasks, plan.gets, plan.puts
    ('direct', 2, 200, 100)
    """
    given = dict(rechunk.__kwdefaults__ or {})
    unknown = sorted(set(settings) - set(given))
    if unknown:
        raise TypeError(f"plan_rechunk() takes what rechunk() takes; that has no {unknown[0]}")
    call = _Call({"source": source, "target": target, "chunks": chunks, "component": component, **given, **settings})
    plans = {path: call.plan(path, found) for path, found in call.arrays}
    return plans if call.group is not None else plans[""]


rechunk.plan = plan_rechunk  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Consolidating:
    """What ends the rechunking of a group."""

    place: Location
    zarr_format: ZarrFormat

    def __call__(self, written: Written) -> None:
        """Consolidate."""
        consolidate(self.place, zarr_format=self.zarr_format)


class _Call:
    """What one call asks for: its source, opened, and its settings, checked."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.settings = ArraySettings(
            **{each.name: given[each.name] for each in fields(ArraySettings) if each.name in given}
        )
        options = WriteOptions.among({name: value for name, value in given.items() if name != "max_mem"})
        self.options = options
        self.limits = _limits(given["max_mem"], given["cost"])
        for name in ("keep_scratch", "overwrite", "compute"):
            if not isinstance(given[name], bool):
                raise MetadataError(f"{name} is {short(given[name])}; it can be True or False", field=name)
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
        chunks = self.given["chunks"]
        if isinstance(chunks, Mapping):
            dims = {name for _, each in arrays if each.array for name in each.array.metadata.dimension_names or ()}
            unknown = set(chunks) - {path for path, _ in arrays} - dims
            if unknown:
                first = short(sorted(map(str, unknown))[0])
                raise MetadataError(f"chunks names {first}: no array and no dimension of the group", field="chunks")
        return arrays

    def metadata(self, path: str, source: Source) -> ArrayMetadata:
        """What one array is to be like."""
        settings = self.settings
        if source.array is None:
            compressors = (
                "auto" if settings.compressors is SAME or settings.compressors == SAME else settings.compressors
            )
            dtype = source.dtype if self.given["dtype"] is None else self.given["dtype"]
            chunks = settings.chunks if settings.chunks is not None else source.blocks.chunksize  # type: ignore[union-attr]
            settings = replace(settings, compressors=compressors, chunks=_whole(chunks, source.shape))
            return new_array_metadata(settings, shape=source.shape, dtype=dtype, zarr_format=self.zarr_format)
        before = source.array.metadata
        chunks = chunks_for(before, settings.chunks, path)
        shards = settings.shards
        if isinstance(shards, Mapping):
            shards = shards.get(path)
        if chunks is None:
            inner = before.inner_chunk_shape if self.zarr_format == 3 else None
            grid = before.chunk_grid.chunk_shape
            chunks = inner or before.inner_chunk_shape or _lengths_of(before)
            shards = shards if shards is not None else grid if inner is not None else None
        return rechunked_metadata(
            before, replace(settings, chunks=chunks, shards=shards), self.given["dtype"], self.zarr_format
        )

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

    def ending(self) -> _Consolidating | None:
        """What is to be done in the end."""
        wanted = self.given["consolidated"]
        if self.group is None or self.zarr_format == "n5" or wanted is False:
            return None
        return _Consolidating(self.place, self.zarr_format)


def _limits(max_mem: Any, cost: CostModel | None) -> Limits:
    """What a task may need."""
    workers = workers_now()
    if max_mem is None:
        return Limits(workers.memory, workers, cost)
    try:
        limit = int(parse_bytes(max_mem))
        if limit <= 0 or isinstance(max_mem, bool):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise MetadataError(
            f"max_mem is {short(max_mem)}; it has to be bytes, or text like '2 GiB'", field="max_mem"
        ) from None
    return Limits(limit, workers, cost)


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
