"""The verb rechunk: an array, a group or a dask array -> the same cells in other chunks, in another place."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from daskzarr.graph.progress import Meter, metered, wait_for_end
from daskzarr.graph.rechunk import joined
from daskzarr.graph.write import Write
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.hierarchy.opening import open_node
from daskzarr.metadata import ZarrFormat
from daskzarr.receipt import Written
from daskzarr.rechunk_call import Call
from daskzarr.rechunk_plan import CostModel, RechunkPlan, RechunkPlans
from daskzarr.rechunk_prepare import begin, clear
from daskzarr.rechunk_target import SAME
from daskzarr.size_text import format_size
from daskzarr.translation import MissingValues

_PATIENCE = 60.0  # seconds for tasks of a job that failed to end, before its scratch goes


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
    missing_values: MissingValues = "xarray",
    max_mem: int | str | None = None,
    scratch: Any = None,
    scratch_options: Mapping[str, Any] | None = None,
    keep_scratch: bool = False,
    cost: CostModel | None = None,
    stages: int | None = None,
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
        Where the new one goes: not into the source, nor where the source lies in it.
    chunks
        Shape of the new chunks; with ``shards``, of the inner ones. For an array: as for :func:`create_array`, or a
        mapping by dimension name; -1 is the whole axis. For a group: a mapping, in which an integer belongs to a
        dimension of all arrays (``{"time": 24}``) and anything else to an array by its path
        (``{"ocean/t": (1, 180, 360)}``). What is not named stays as it is.
    shards
        Shape of the new shards, said as ``chunks``; along dimensions that a mapping does not name a shard has one
        chunk. Default None: no shards, but arrays whose chunks stay as they are keep theirs.
    dtype
        To store. Default None: that of the source. For arrays, not groups.
    compressors, filters, serializer, codecs, order
        As for :func:`create_array`. Default: the source's codecs; if any is given, or ``dtype``, the others are those
        of a new array.
    zarr_format
        Of the target. Default None: that of the source; 3 for a dask array.
    missing_values
        What becomes of the value of missing cells in another format: ``"xarray"`` or ``"keep"``, as for
        :func:`convert`. Default ``"xarray"``: the same cells are missing to xarray.
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
    stages
        How many stages the plan has to have; 1 is never through scratch. Default None: what the cost model says is
        fastest.
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
        Whether to do it now. Default True. Otherwise the documents are written, and a delayed value comes back whose
        result says what was written, as that of :func:`to_zarr`.

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
    started, run = time.perf_counter(), uuid.uuid4().hex
    call = Call(locals())
    jobs = call.jobs()
    total = sum(job.plan.nbytes * len(job.plan.stages) for job in jobs)
    meter = metered(progress, total, call.limits.workers.client) if compute else None
    try:
        writes = [begin(job, run, None if meter is None else meter.topic, call.limits.max_mem) for job in jobs]
        write = joined(writes, call.ending())
        if not compute:
            return write
        if meter is None:
            written = write.compute()
        else:
            with meter:
                written = write.compute()
    except Exception:
        if not keep_scratch:
            wait_for_end(run, _PATIENCE)  # Dask lets go of threads that are at work
            for job in jobs:
                if job.scratch is not None:
                    clear(job.scratch)
        raise
    plans = {job.path: job.plan for job in jobs}
    return RechunkReport(open_node(call.place, call.zarr_format, None), plans, written, time.perf_counter() - started)


def plan_rechunk(
    source: Any, target: Any, chunks: Any = None, component: str | None = None, **settings: Any
) -> RechunkPlan | RechunkPlans:
    """What :func:`rechunk` would do with the same arguments, in numbers; nothing is written.

    Parameters
    ----------
    source, target, chunks, component, **settings
        As for :func:`rechunk`.

    Returns
    -------
    RechunkPlan
        Stages, tasks, requests, bytes, memory and scratch; it prints as a table, and draws the grids
        (:meth:`RechunkPlan.to_svg`). Of a group, a mapping of one for each array by its path, which prints as well.
        Whether there is a node at the target is not looked at.

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
    call = Call({"source": source, "target": target, "chunks": chunks, "component": component, **given, **settings})
    plans = RechunkPlans({path: call.plan(path, found) for path, found in call.arrays})
    return plans if call.group is not None else plans[""]


rechunk.plan = plan_rechunk  # type: ignore[attr-defined]
