"""write_plan: every figure compared with counting, with the graph of the write, and with the memory its tasks take."""

import itertools
import json
import math
import time
import tracemalloc

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import create_array
from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid, RegularCuts, cuts
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.errors import PlanLimitError
from daskzarr.graph.shares import Finished
from daskzarr.graph.write import ArrayWrite, Part, optimize_writes, write_arrays
from daskzarr.graph.write_tasks import write_block, write_cell, write_gathered, write_share
from daskzarr.chunk_io import Terms
from daskzarr.journal import Journal
from daskzarr.ownership import assign, assign_together
from daskzarr.receipt import Outcome
from daskzarr.rectilinear_grid import RectilinearGrid
from daskzarr.store import locate
from daskzarr.write_plan import WritePlan, plan_write, together

VALUES = itertools.count()  # blocks that differ, so that no two writes have a step in common
JOURNAL = Journal(locate({}) / "notes", "memory://somewhere", "a")


# ---- cases


def lengths_of(draw, total, zeros=True):
    """Lengths that add up to a total, some of them 0."""
    found = []
    while sum(found) < total:
        found.append(draw(st.integers(0 if zeros else 1, total - sum(found))))
    return found or [0]


@st.composite
def handles(draw, most_axes):
    shape = tuple(draw(st.integers(1, 14)) for _ in range(draw(st.integers(1, most_axes))))
    if draw(st.booleans()):
        chunks = tuple(draw(st.integers(1, 9)) for _ in shape)
    else:
        chunks = tuple(lengths_of(draw, n, zeros=False) for n in shape)
    return ArrayHandle.of(create_array({}, shape=shape, chunks=chunks, dtype="f4"))


@st.composite
def one_region(draw):
    handle = draw(handles(3))
    axes = []
    for n in handle.grid.shape:
        start = draw(st.integers(0, n - 1))
        stop = draw(st.integers(start, n))
        axes.append(cuts(start, lengths_of(draw, stop - start)))
    return handle, [assign(BlockGrid(tuple(axes)), handle.grid)]


@st.composite
def several_regions(draw):
    """Regions that do not overlap: the array divided by random cuts, some parts left out."""
    handle = draw(handles(2))
    shape = handle.grid.shape
    boxes = [Box((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(1, 4))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(box.start[axis], box.stop[axis]))
        low, high = list(box.stop), list(box.start)
        low[axis] = high[axis] = at
        boxes += [Box(box.start, tuple(low)), Box(tuple(high), box.stop)]
    kept = [box for box in boxes if draw(st.booleans())] or boxes[:1]
    regions = [
        BlockGrid(tuple(cuts(a, lengths_of(draw, b - a)) for a, b in zip(box.start, box.stop, strict=True)))
        for box in kept
    ]
    return handle, assign_together(regions, handle.grid)


def drawn_objects(draw, handle):
    """Some objects of the array, by index."""
    return frozenset(
        draw(st.sets(st.tuples(*(st.integers(0, n - 1) for n in handle.grid.counts)), max_size=12))
    )


CASES = st.one_of(one_region(), several_regions())


def plan_of(handle, ownerships, itemsize=8, journal=False, **others):
    itemsizes = [itemsize] * len(ownerships)
    return plan_write(handle, ownerships, itemsizes=itemsizes, documents=1, journal=journal, **others)


# ---- counting


def blocks_of(owners):
    return itertools.product(*map(range, owners.blocks.numblocks))


def shared_part(box, other):
    """The cells two boxes have in common, None if there are none."""
    low, high = tuple(map(max, box.start, other.start)), tuple(map(min, box.stop, other.stop))
    return Box(low, high) if all(a < b for a, b in zip(low, high, strict=True)) else None


def counted(handle, ownerships, itemsize, wanted=None):
    """The same figures, by looking at every object, block and cell."""
    have = {}  # object -> [(region, block, cells)]
    for n, owners in enumerate(ownerships):
        for block in blocks_of(owners):
            box = owners.blocks.box(block)
            for part in handle.grid.project(box):
                common = shared_part(handle.grid.box(part.chunk), box)
                if common is not None and (wanted is None or part.chunk in wanted):
                    have.setdefault(part.chunk, []).append((n, block, math.prod(common.shape)))
    sizes = {chunk: math.prod(handle.grid.box(chunk).shape) for chunk in have}
    crossing, merges = 0, set()
    for n, owners in enumerate(ownerships):
        for cell in owners.cells():
            if any(part.chunk in have for part in handle.grid.project(cell.box)):
                merges.add((n, cell.at))
                if owners.gathers:
                    crossing += itemsize * sum(math.prod(owners.blocks.box(b).shape) for b in cell.blocks)
        for block in blocks_of(owners):
            for at, box in () if owners.gathers else owners.share(block).pieces:
                if at[0] == -1 and at[1:] in have:
                    merges.add(("joint", at))
                if ("joint", at) in merges or (n, at) in merges:
                    crossing += 4 * math.prod(box.shape)
    return {
        "objects": len(have),
        "whole": sum(sum(cells for _, _, cells in parts) == sizes[chunk] for chunk, parts in have.items()),
        "shared": sum(len(parts) > 1 for parts in have.values()),
        "nbytes": 4 * sum(cells for parts in have.values() for _, _, cells in parts),
        "merges": len(merges),
        "crossing": crossing,
    }


@settings(max_examples=300, deadline=None)
@given(CASES, st.sampled_from([4, 8]))
def test_figures_are_those_of_counting(case, itemsize):
    handle, ownerships = case
    plan = plan_of(handle, ownerships, itemsize)
    expected = counted(handle, ownerships, itemsize)
    assert {name: getattr(plan, name) for name in expected} == expected
    assert plan.partial == plan.objects - plan.whole
    assert plan.files == plan.objects + 1


@settings(max_examples=200, deadline=None)
@given(CASES, st.sampled_from([4, 8]), st.data())
def test_figures_of_some_objects_are_those_of_counting(case, itemsize, data):
    handle, ownerships = case
    wanted = drawn_objects(data.draw, handle)
    plan = plan_of(handle, ownerships, itemsize, remaining=wanted)
    expected = counted(handle, ownerships, itemsize, wanted)
    assert {name: getattr(plan, name) for name in expected} == expected


# ---- the graph


def write_of(handle, ownerships, journal, finished=None):
    parts = tuple(
        Part(da.full(owners.blocks.region.shape, next(VALUES), chunks=owners.blocks.chunks, dtype="f8"), owners, done)
        for owners, done in zip(ownerships, finished or [Finished()] * len(ownerships), strict=True)
    )
    return ArrayWrite(handle, parts, journal=JOURNAL if journal else None)


def tasks_of(*writes):
    """How many tasks of each kind Dask is given."""
    delayed = write_arrays(writes)
    names = [key if isinstance(key, str) else key[0] for key in optimize_writes(delayed.dask, [delayed.key])]
    found = [name.split("-")[1] if name.startswith("daskzarr") else "source" for name in names]
    return {
        "blocks": found.count("write") + found.count("source"),
        "merges": found.count("merge") + found.count("join"),
        "receipts": found.count("written"),
        "tasks": len(found),
    }


def of_tasks(plan):
    return {name: getattr(plan, name) for name in ("blocks", "merges", "receipts", "tasks")}


@settings(max_examples=100, deadline=None)
@given(CASES, st.booleans())
def test_the_graph_has_as_many_tasks(case, journal):
    handle, ownerships = case
    assert of_tasks(plan_of(handle, ownerships, journal=journal)) == tasks_of(write_of(handle, ownerships, journal))


@settings(max_examples=40, deadline=None)
@given(CASES, CASES, st.booleans())
def test_the_graph_of_several_arrays_has_as_many_tasks(one, other, journal):
    plans = [plan_of(*case, journal=journal) for case in (one, other)]
    assert of_tasks(together(plans)) == tasks_of(*(write_of(*case, journal) for case in (one, other)))


def finished_but(handle, owners, wanted):
    """What the graph is told of a region of which some objects are left to do."""

    def needless(box):
        return not any(part.chunk in wanted for part in handle.grid.project(box))

    owns = {} if owners.gathers else {block: owners.share(block).own for block in blocks_of(owners)}
    blocks = {block for block, own in owns.items() if own is not None and needless(own)}
    cells = {cell.at for cell in owners.cells() if needless(cell.box)}
    return Finished(frozenset(blocks), frozenset(cells | {at for at, _ in owners.joint_objects() if at[1:] not in wanted}))


@settings(max_examples=100, deadline=None)
@given(CASES, st.booleans(), st.data())
def test_the_graph_of_what_is_left_has_as_many_tasks(case, journal, data):
    handle, ownerships = case
    wanted = drawn_objects(data.draw, handle)
    finished = [finished_but(handle, owners, wanted) for owners in ownerships]
    expected = tasks_of(write_of(handle, ownerships, journal, finished))
    assert of_tasks(plan_of(handle, ownerships, journal=journal, remaining=wanted)) == expected


@pytest.mark.parametrize("count", [1, 4, 5, 31, 32, 33, 100, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize("journal", [True, False])
def test_receipts_of_many_tasks(count, journal):
    handle = ArrayHandle.of(create_array({}, shape=count, chunks=1, dtype="f4"))
    owners = [assign(BlockGrid((RegularCuts(0, count, 1),)), handle.grid)]
    assert of_tasks(plan_of(handle, owners, journal=journal)) == tasks_of(write_of(handle, owners, journal))


def regular(shape, block, chunk, dtype="f4", itemsize=4, **settings):
    handle = ArrayHandle.of(create_array({}, shape=shape, chunks=chunk, dtype=dtype, **settings))
    blocks = BlockGrid(tuple(RegularCuts(0, n, b) for n, b in zip(shape, block, strict=True)))
    return plan_of(handle, [assign(blocks, handle.grid)], itemsize)


@pytest.mark.parametrize(
    ("shape", "block", "chunk", "most"),
    [((4000,) * 2, (100,) * 2, (30,) * 2, 4356), ((2000,) * 3, (100,) * 3, (30,) * 3, 35_937), ((64,) * 2, (4,) * 2, (16,) * 2, 272)],
)
def test_known_task_counts(shape, block, chunk, most):
    plan = regular(shape, block, chunk)
    assert plan.blocks + plan.merges == most


def test_a_plan_of_a_trillion_objects_takes_no_time():
    started = time.perf_counter()
    plan = regular((10**8, 10**8), (100, 100), (100, 100))
    assert time.perf_counter() - started < 0.1
    assert plan.objects == plan.whole == plan.blocks == 10**12
    assert plan.nbytes == 4 * 10**16
    assert plan.shared == plan.crossing == plan.merges == 0


# ---- memory


PIPELINES = {
    "default": {},
    "raw": {"compressors": None},
    "big-endian": {"compressors": None, "serializer": {"name": "bytes", "configuration": {"endian": "big"}}},
    "transposed": {"filters": [{"name": "transpose", "configuration": {"order": [1, 0]}}]},
    "crc": {"compressors": [{"name": "zstd", "configuration": {"level": 1}}, {"name": "crc32c"}]},
    "blosc": {"compressors": [{"name": "blosc", "configuration": {"cname": "lz4"}}]},
    "gzip": {"compressors": [{"name": "gzip", "configuration": {"level": 1}}]},
    "bz2": {"compressors": [{"name": "numcodecs.bz2", "configuration": {"level": 1}}]},
    "shuffle": {"compressors": [{"name": "numcodecs.shuffle", "configuration": {"elementsize": 8}}, {"name": "zstd"}]},
    "shards": {"shards": (128, 192)},
    "raw shards": {"shards": (128, 192), "compressors": None},
    "scaled": {
        "filters": [{"name": "numcodecs.fixedscaleoffset", "configuration": {"offset": 0, "scale": 10, "dtype": "f8", "astype": "f4"}}]
    },
    "n5": {"zarr_format": "n5"},
    "v2": {"zarr_format": 2},
}
LIBRARIES = {"gzip": 400_000, "n5": 400_000, "bz2": 1_500_000}  # what those take for themselves, which no plan knows
REGIONS = {
    "aligned": ((0, 256), (0, 384), (128, 192)),
    "in part": ((14, 262), (22, 380), (128, 192)),
    "unaligned": ((0, 300), (0, 400), (200, 200)),
    "unaligned in part": ((6, 300), (10, 400), (194, 202)),
    "larger blocks": ((0, 300), (0, 400), (300, 200)),
    "small blocks": ((0, 300), (0, 400), (40, 60)),
    "one block": ((0, 300), (0, 400), (300, 400)),
}


def made(box, dtype):
    """Cells of a box, all distinct, none the fill value."""
    cells = np.random.default_rng(0).random(box.shape, dtype)
    cells += 1
    return cells


def peak_of(function, *args):
    """The most memory that is used while something is done, beside what is in use already."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    function(*args)
    return tracemalloc.get_traced_memory()[1] - before


def block_task(handle, terms, owners, index, dtype):
    block = made(owners.blocks.box(index), dtype)
    if owners.whole:
        write_block(handle, terms, owners.blocks.box(index), block)
    else:
        write_share(handle, terms, owners.share(index), block)


def merge_task(handle, terms, owners, cell, dtype):
    boxes = [owners.blocks.box(index) for index in cell.blocks]
    if owners.gathers:
        write_gathered(handle, terms, cell._replace(blocks=tuple(boxes)), *(made(box, dtype) for box in boxes))
        return
    pieces = [{at: (box, made(box, handle.dtype)) for at, box in owners.share(index).pieces} for index in cell.blocks]
    write_cell(handle, terms, cell, *(Outcome((), (), each) for each in pieces))


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("name", PIPELINES)
def test_no_task_takes_more_memory(tmp_path, name, dtype, region):
    options = PIPELINES[name]
    chunks = {"chunks": (64, 48)} if "shards" in options else {"chunks": (128, 192)}
    stored = create_array(tmp_path / "a", shape=(300, 400), dtype="f8", **chunks, **options)
    handle = ArrayHandle.of(stored)
    terms = Terms(digests=True)
    stored_box = Box((0, 0), (300, 400))
    write_block(handle, terms, stored_box, made(stored_box, "f8"))  # so that there is something to merge with
    *runs, steps = region
    blocks = BlockGrid(tuple(RegularCuts(a, b, n) for (a, b), n in zip(runs, steps, strict=True)))
    owners = assign(blocks, handle.grid)
    plan = plan_of(handle, [owners], np.dtype(dtype).itemsize)
    slack = 20_000 + LIBRARIES.get(name, 0)
    tracemalloc.start()
    try:
        if not owners.gathers:
            most = max(peak_of(block_task, handle, terms, owners, index, dtype) for index in blocks_of(owners))
            print("block", most, plan.block_memory, plan.block_memory / most)
            assert most <= plan.block_memory + slack
        cells = list(owners.cells())
        if cells:
            most = max(peak_of(merge_task, handle, terms, owners, cell, dtype) for cell in cells)
            print("merge", most, plan.merge_memory, plan.merge_memory / most)
            assert most <= plan.merge_memory + slack
        assert (plan.merge_memory > 0) == bool(cells)
    finally:
        tracemalloc.stop()
