"""A source, the target's metadata and what a task may need -> the plan, and the write that carries it out."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.begin import Ending, begin_write
from daskzarr.block_grid import RegularCuts, cuts, grid_cuts
from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_io import Move
from daskzarr.configured import traffic_to
from daskzarr.errors import MetadataError, raise_from
from daskzarr.graph.rechunk import Rechunking, rechunk_graph
from daskzarr.graph.write import Write
from daskzarr.hierarchy import StoredArray, store_error, writable
from daskzarr.hierarchy.notes import notes_of
from daskzarr.metadata import ArrayMetadata, ChunkGrid
from daskzarr.metadata.json_text import format_object, parse_object
from daskzarr.prepare import Prepared, WriteOptions
from daskzarr.prepare_new import prepare_metadata
from daskzarr.read import from_zarr
from daskzarr.receipt import Written
from daskzarr.rechunk_plan import (
    LOCAL,
    REMOTE,
    Blocks,
    CostModel,
    RechunkPlan,
    Task,
    Working,
    build,
    choose,
    cuts_of,
)
from daskzarr.rechunk_target import read_unit
from daskzarr.regions import check_cast, check_store, reads_from
from daskzarr.stores import ListableStore, Location, MappingStore, Traffic, waits
from daskzarr.stores.local import LocalStore
from daskzarr.stores.retries import persist
from daskzarr.stores.traffic import AHEAD, REQUESTS
from daskzarr.warning import warn
from daskzarr.workers import Workers

_PLAN = "plan.json"
_SCRATCH = "__scratch__"
_OBJECT_NBYTES = 64
"""Bytes that a text or another object is taken to have: nothing says before it is read."""
_FLIGHT = 8
"""The part of a task's memory that requests under way may have."""


@dataclass(frozen=True)
class Source:
    """What is rechunked: a stored array, or blocks that are computed."""

    array: StoredArray | None
    blocks: da.Array | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape if self.array is not None else tuple(map(int, self._given.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the cells."""
        return self.array.dtype if self.array is not None else self._given.dtype

    @property
    def _given(self) -> da.Array:
        """The computed array."""
        assert self.blocks is not None
        return self.blocks


@dataclass(frozen=True)
class Limits:
    """What a task may need, and where; checked."""

    max_mem: int
    workers: Workers
    cost: CostModel | None = None
    stages: int | None = None


@dataclass(frozen=True)
class Job:
    """One array to be rechunked: all is checked, nothing is written. What is in scratch counts unless it is fresh.

    ``unused`` is where there may be scratch of the same job, begun by another plan.
    """

    path: str
    source: Source
    metadata: ArrayMetadata
    place: Location
    plan: RechunkPlan
    prepared: Prepared
    scratch: Location | None
    fresh: bool
    unused: Location | None = None


@dataclass(frozen=True)
class Clearing:
    """The end of a write, and of its scratch."""

    scratch: Location
    ending: Ending | None

    def __call__(self, written: Written) -> None:
        """End the write."""
        if self.ending is not None:
            self.ending(written)
        clear(self.scratch)


def clear(scratch: Location) -> None:
    """Remove all there is of a scratch place, and the folder of all such places if it is empty then."""
    store = writable(scratch)
    persist(store.delete_below, scratch.path)
    above, _, _ = scratch.path.rpartition("/")
    if above.endswith(_SCRATCH) and isinstance(store, ListableStore) and not any(persist(store.list_dir, above)):
        persist(store.delete_below, above)


def plan_for(
    source: Source, metadata: ArrayMetadata, target: Location, scratch: Location | None, limits: Limits
) -> RechunkPlan:
    """The plan for one array."""
    return choose(_task(source, metadata, target, scratch, limits))


def _task(source: Source, metadata: ArrayMetadata, target: Location, scratch: Location | None, limits: Limits) -> Task:
    """What is asked of the planner."""
    shape, dtype = source.shape, source.dtype
    size = _OBJECT_NBYTES if dtype.hasobject else max(dtype.itemsize, 1)
    stored = metadata.data_type.dtype
    goal = ArrayHandle.of(StoredArray(target, metadata), allow_pickle=True)
    stores = [target.store, *([scratch.store] if scratch is not None else [])]
    reading = 0
    if source.array is not None:
        handle = ArrayHandle.of(source.array, allow_pickle=True)
        grid = handle.grid
        unit = read_unit(handle, limits.max_mem // 4)
        read = _cuts(grid, shape) if unit is None else tuple(map(RegularCuts, (0,) * len(shape), shape, unit))
        reading = _reading(handle, grid.chunk_shape if unit is None else unit, size, limits)
        stores.append(source.array.location.store)
    else:
        assert source.blocks is not None
        read = tuple(cuts(0, lengths) for lengths in source.blocks.chunks)
    is_cast = dtype != stored
    far = any(map(waits, stores))
    cost = limits.cost or replace(REMOTE if far else LOCAL, slots=limits.workers.slots)
    working = Working(
        source=reading,
        target=_writing(goal, size, limits),
        scratch=limits.max_mem // _FLIGHT if scratch is not None and waits(scratch.store) else 0,
        copies=1 if scratch is not None and waits(scratch.store) else 0,
        cast=(stored.itemsize + dtype.itemsize + 1) / size if is_cast else 0.0,
    )
    packs = not dtype.hasobject and scratch is not None
    return Task(
        shape,
        size,
        read,
        _cuts(metadata.chunk_grid, shape),
        limits.max_mem,
        cost,
        working,
        given=source.array is None,
        most_stages=3 if packs else 1,
        stages=limits.stages,
    )


def _cuts(grid: ChunkGrid, shape: Sequence[int]) -> Blocks:
    """How stored objects cut the axes."""
    one = grid.chunk_shape if isinstance(grid, RegularGrid) else (1,) * len(shape)  # a block is one chunk at least
    return grid_cuts(grid, (0,) * len(shape), shape, one)


def _reading(handle: ArrayHandle, unit: Sequence[int], size: int, limits: Limits) -> int:
    """Bytes that reading chunks takes beside the block they go to."""
    chunk = math.prod(unit) * size
    if handle.reads_into:
        return chunk
    return _copies(handle) * chunk + (
        min(limits.max_mem // _FLIGHT, AHEAD * REQUESTS * chunk) if waits(handle.store) else 0
    )


def _writing(handle: ArrayHandle, size: int, limits: Limits) -> int:
    """Bytes that writing objects takes beside the block they are in: a copy in one piece, and what it is encoded to."""
    stored = math.prod(handle.grid.chunk_shape) * (size if handle.dtype.hasobject else handle.dtype.itemsize)
    copies = 1 if handle.pipeline.raw else _copies(handle)
    return copies * stored + (limits.max_mem // _FLIGHT if waits(handle.store) else 0)


def _copies(handle: ArrayHandle) -> int:
    """How often a chunk is in memory while it is encoded or decoded: as cells, as bytes, and between codecs."""
    pipeline = handle.pipeline
    return 3 + (pipeline.shard is not None) + bool(pipeline.arrays)


def prepare(
    path: str,
    source: Source,
    metadata: ArrayMetadata,
    place: Location,
    scratch: Location | None,
    limits: Limits,
    options: WriteOptions,
    overwrite: bool,
    compute: bool,
) -> Job:
    """Check all there is to check, choose the plan, or find that of a job that was begun before."""
    home = scratch_of(place, scratch)
    if options.token is None:
        options = replace(options, token=_token(source))
    task = _task(source, metadata, place, home, limits)
    found = None
    if home is not None:
        home = home / _id_of(place, metadata, options)
        found = _plan_before(home, task) if options.resume else None
    plan = found or choose(task)
    unused = None
    if len(plan.stages) == 1:
        home, unused = None, home
    cells = _placeholder(source, plan)
    for each in [place, *([home] if home is not None else [])]:
        check_store(cells, each)
    if source.blocks is not None and reads_from(source.blocks, place):
        raise MetadataError("the array is computed from what is at the target; choose another", field="target")
    if source.dtype != metadata.data_type.dtype:
        check_cast(cells, metadata.data_type.dtype, place)
    prepared = prepare_metadata(cells, place, metadata, options, overwrite, compute)
    _warn_of_room(home, plan)
    fresh = found is None or prepared.resumed is None
    return Job(path, source, metadata, place, plan, prepared, home, fresh, unused)


def _token(source: Source) -> str:
    """What tells the source from others."""
    if source.array is not None:
        return ArrayHandle.of(source.array, allow_pickle=True).token
    assert source.blocks is not None
    return str(source.blocks.name)


def _placeholder(source: Source, plan: RechunkPlan) -> da.Array:
    """A dask array with the blocks that are written."""
    chunks = plan.stages[-1].blocks.chunks
    if source.array is not None:
        return from_zarr(source.array, chunks=chunks, allow_pickle=True)
    return da.empty(source.shape, chunks=chunks, dtype=source.dtype)


def scratch_of(place: Location, given: Location | None) -> Location | None:
    """Where objects between stages go: beside the target, if nothing is said; in memory, where that is."""
    if given is not None:
        return given
    if not writable(place).shared:
        return Location(MappingStore({}))
    beside = notes_of(place)
    return None if beside is None else beside / _SCRATCH


def _id_of(place: Location, metadata: ArrayMetadata, options: WriteOptions) -> str:
    """What tells a job's scratch from that of others."""
    text = "\0".join((place.store.url, place.path, metadata.compact(), str(options.token)))
    return "rechunk-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _plan_before(home: Location, task: Task) -> RechunkPlan | None:
    """The plan by which the same job was begun, if a task of it does not need more than it may now."""
    text = persist(home.store.get, home.key(_PLAN))
    if text is None:
        return None
    document = parse_object(bytes(text), _PLAN)
    chain = [
        tuple(cuts_of(axis, size) for axis, size in zip(blocks, task.shape, strict=True))
        for blocks in document["blocks"]
    ]
    plan = build(task, chain)
    fits = plan.memory <= task.max_mem and task.stages in (None, len(plan.stages))
    return plan if fits else None


def _warn_of_room(scratch: Location | None, plan: RechunkPlan) -> None:
    """Say so where a local disk has less room than is needed."""
    if scratch is None or not isinstance(scratch.store, LocalStore):
        return
    folder = scratch.store.root
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if free < plan.scratch:
        warn(
            f"scratch needs up to {plan.scratch:,} bytes, and the disk of {folder} has {free:,}: give another scratch=",
            RuntimeWarning,
        )


def begin(job: Job, run: str, topic: str | None, max_mem: int) -> Write:
    """Write the documents; the delayed value that moves the cells, in a run of this name."""
    plan, source, scratch = job.plan, job.source, job.scratch
    if job.unused is not None and persist(job.unused.store.get, job.unused.key(_PLAN)) is not None:
        clear(job.unused)
    if scratch is not None:  # first: if it cannot be written, nothing else is
        _open_scratch(scratch, plan, job.fresh)
    write, ending = begin_write(job.prepared)
    target = _within(write.handle, max_mem)
    reading = None
    if source.array is not None:
        traffic = replace(traffic_to(source.array.location.store), nbytes=max_mem // _FLIGHT)
        reading = ArrayHandle.of(source.array, allow_pickle=True, traffic=traffic)
    traffic = Traffic() if scratch is None else replace(traffic_to(scratch.store), nbytes=max_mem // _FLIGHT)
    move = Move(
        reading,
        target,
        tuple(stage.blocks for stage in plan.stages),
        source.dtype,
        scratch,
        traffic,
        write.terms,
        write.journal,
        run,
    )
    finished = write.parts[0].finished.blocks
    end = ending if scratch is None else Clearing(scratch, ending)
    return rechunk_graph(Rechunking(move, plan.groups, finished, topic), end, source.blocks)


def _open_scratch(scratch: Location, plan: RechunkPlan, fresh: bool) -> None:
    """Put the plan in scratch, once what a job left there is gone that was killed and is not gone on with."""
    try:
        if fresh:
            clear(scratch)
        persist(writable(scratch).set, scratch.key(_PLAN), format_object(plan.as_dict()))
    except Exception as error:
        raise_from(store_error("writing to scratch", error, scratch, _PLAN), error)


def _within(handle: ArrayHandle, max_mem: int) -> ArrayHandle:
    """The handle with requests that have no more under way than a task may need."""
    traffic = replace(handle.traffic, nbytes=min(handle.traffic.nbytes, max_mem // _FLIGHT))
    return replace(handle, traffic=traffic.sized(handle.pipeline.spec.nbytes))
