"""An array and who writes what of it -> the plan of the write."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from daskzarr.array_handle import ArrayHandle
from daskzarr.ownership import Index, Ownership
from daskzarr.write_plan.counting import Counts, Region, joint_objects
from daskzarr.write_plan.memory import block_memory, merge_memory, object_memory
from daskzarr.write_plan.plan import PlannedArray, WritePlan


def plan_write(
    handle: ArrayHandle,
    ownerships: Sequence[Ownership],
    *,
    itemsizes: Sequence[int],
    documents: int,
    journal: bool,
    cast: bool | None = None,
    remaining: Collection[Index] | None = None,
) -> WritePlan:
    """What a write of one array will do, found out by counting along axes, however many stored objects there are.

    Parameters
    ----------
    handle
        The array as it is once all is written.
    ownerships
        Who writes what of each region; they were assigned together.
    itemsizes
        Bytes of a cell in the blocks of each region.
    documents
        Metadata documents that are written.
    journal
        Whether there is one.
    cast
        Whether blocks come in another dtype than is stored. Default None: if their cells have another size.
    remaining
        The objects to be written, by index; these are looked at one by one. Default None: all.

    Returns
    -------
    WritePlan
        With as many tasks of each kind as the graph of the write has.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> from daskzarr.block_grid import BlockGrid, RegularCuts
    >>> from daskzarr.ownership import assign
    >>> handle = ArrayHandle.of(create_array({}, shape=18, chunks=4, dtype="f4"))
    >>> owners = assign(BlockGrid((RegularCuts(0, 18, 9),)), handle.grid)
    >>> plan = plan_write(handle, [owners], itemsizes=[4], documents=1, journal=False)
    >>> plan.blocks, plan.merges, plan.objects, plan.shared, plan.nbytes, plan.crossing
    (2, 1, 5, 1, 72, 16)
    """
    stored = handle.dtype.itemsize
    regions = [Region.of(owners, size, stored) for owners, size in zip(ownerships, itemsizes, strict=True)]
    wanted = None if remaining is None else frozenset(remaining)
    counts = [region.count_all() if wanted is None else region.count_some(wanted) for region in regions]
    joint = [each for at, each in joint_objects(regions).items() if wanted is None or at in wanted]
    total = functools.reduce(Counts.plus, counts, Counts())
    objects = total.objects + len(joint)
    whole = total.whole + sum(each.cells == each.size for each in joint)
    spec = handle.pipeline.spec
    padded = any(axis.hangs_over for region in regions for axis in region.axes)
    each_object = object_memory(handle.pipeline, merged=whole < objects, padded=padded) if objects else 0
    casts = [region.itemsize != stored if cast is None else cast for region in regions]
    pairs = list(zip(regions, casts, strict=True))
    merging = [merge_memory(region, casting, each_object) for region, casting in pairs]
    merging += [each.coming * stored + spec.nbytes + each_object for each in joint]
    boxes = tuple(owners.blocks.region for owners in ownerships)
    place = PlannedArray(handle.store.url, handle.path, boxes, spec.shape, handle.metadata.inner_chunk_shape)
    return WritePlan(
        arrays=(place,),
        blocks=total.blocks,
        merges=total.merges + len(joint),
        leaves=(*((each.lone + each.merges, journal) for each in counts), (len(joint), journal)),
        objects=objects,
        whole=whole,
        shared=total.shared + sum(each.blocks > 1 for each in joint),
        nbytes=total.nbytes,
        crossing=total.crossing,
        documents=documents,
        journals=int(journal),
        block_memory=max((block_memory(region, casting, each_object) for region, casting in pairs), default=0),
        merge_memory=max(merging, default=0),
        largest=spec.nbytes if objects else 0,
        varying=handle.dtype.hasobject,
    )
