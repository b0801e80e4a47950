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
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Terms
from daskzarr.errors import PlanLimitError
from daskzarr.graph.shares import Finished
from daskzarr.graph.write import ArrayWrite, Part, optimize_writes, write_arrays
from daskzarr.graph.write_tasks import write_block, write_cell, write_gathered, write_share
from daskzarr.journal import Journal
from daskzarr.ownership import Cell, assign, assign_together
from daskzarr.receipt import Outcome
from daskzarr.stores import locate
from daskzarr.write_plan import WritePlan, plan_write, together

VALUES = itertools.count()  # blocks that differ, so that no two writes have a step in common
TERMS = Terms(digests=True)
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
    return frozenset(draw(st.sets(st.tuples(*(st.integers(0, n - 1) for n in handle.grid.counts)), max_size=12)))


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


@settings(max_examples=150, deadline=None)
@given(CASES, st.sampled_from([4, 8]))
def test_figures_are_those_of_counting(case, itemsize):
    handle, ownerships = case
    plan = plan_of(handle, ownerships, itemsize)
    expected = counted(handle, ownerships, itemsize)
    assert {name: getattr(plan, name) for name in expected} == expected
    assert plan.partial == plan.objects - plan.whole
    assert plan.files == plan.objects + 1


@settings(max_examples=100, deadline=None)
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
    """How many tasks of each kind run."""
    delayed = write_arrays(writes)
    graph = dict(optimize_writes(delayed.dask, [delayed.key]))
    keys, waiting = set(), [delayed.key]
    while waiting:
        key = waiting.pop()
        if key not in keys:
            keys.add(key)
            waiting.extend(graph[key].dependencies)
    names = [key if isinstance(key, str) else key[0] for key in keys]
    found = [name.split("-")[1] if name.startswith("daskzarr") else "source" for name in names]
    return {
        "blocks": found.count("write") + found.count("source"),
        "merges": found.count("merge") + found.count("join"),
        "receipts": found.count("written"),
        "tasks": len(found),
    }


def of_tasks(plan):
    return {name: getattr(plan, name) for name in ("blocks", "merges", "receipts", "tasks")}


@settings(max_examples=60, deadline=None)
@given(CASES, st.booleans())
def test_the_graph_has_as_many_tasks(case, journal):
    handle, ownerships = case
    assert of_tasks(plan_of(handle, ownerships, journal=journal)) == tasks_of(write_of(handle, ownerships, journal))


@settings(max_examples=25, deadline=None)
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
    cells |= {at for at, _ in owners.joint_objects() if at[1:] not in wanted}
    return Finished(frozenset(blocks), frozenset(cells))


@settings(max_examples=60, deadline=None)
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
    [
        ((4000,) * 2, (100,) * 2, (30,) * 2, 4356),
        ((2000,) * 3, (100,) * 3, (30,) * 3, 35_937),
        ((64,) * 2, (4,) * 2, (16,) * 2, 272),
    ],
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
    "shards": {"shards": (64, 96)},
    "raw shards": {"shards": (64, 96), "compressors": None},
    "scaled": {
        "filters": [
            {
                "name": "numcodecs.fixedscaleoffset",
                "configuration": {"offset": 0, "scale": 10, "dtype": "f8", "astype": "f4"},
            }
        ]
    },
    "n5": {"zarr_format": "n5"},
    "v2": {"zarr_format": 2},
}
LIBRARIES = {"gzip": 400_000, "n5": 400_000, "bz2": 1_500_000}  # what those take for themselves, which no plan knows
REGIONS = {
    "aligned": ((0, 128), (0, 192), (64, 96)),
    "in part": ((7, 131), (11, 190), (64, 96)),
    "unaligned": ((0, 150), (0, 200), (100, 100)),
    "unaligned in part": ((3, 150), (5, 200), (97, 101)),
    "larger blocks": ((0, 150), (0, 200), (150, 100)),
    "small blocks": ((0, 150), (0, 200), (20, 30)),
    "one block": ((0, 150), (0, 200), (150, 200)),
}
TRIED = [(name, "f8", region) for name in PIPELINES for region in ("in part", "unaligned", "small blocks", "one block")]
TRIED += [("default", dtype, region) for dtype in ("f4", "f8") for region in REGIONS]
SLACK = 16_000  # what Python itself and the store take


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
        write_gathered(handle, terms, cell, tuple(boxes), *(made(box, dtype) for box in boxes))
        return
    pieces = [{at: (box, made(box, handle.dtype)) for at, box in owners.share(index).pieces} for index in cell.blocks]
    write_cell(handle, terms, cell, *(Outcome((), (), each) for each in pieces))


def joint_task(handle, terms, ownerships, at, sources):
    pieces = [{at: (box, made(box, "f8")) for at, box in ownerships[n].share(block).pieces} for n, block in sources]
    write_cell(handle, terms, Cell(at, handle.grid.box(at[1:]), ()), *(Outcome((), (), each) for each in pieces))


def stored_array(path, name):
    """The handle of an array that has every chunk, so that there is something to merge with."""
    chunks = (32, 24) if "shards" in PIPELINES[name] else (64, 96)
    handle = ArrayHandle.of(create_array(path / "a", shape=(150, 200), dtype="f8", chunks=chunks, **PIPELINES[name]))
    box = Box((0, 0), (150, 200))
    write_block(handle, TERMS, box, made(box, "f8"))
    return handle


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("name", "dtype", "region"), TRIED)
def test_no_task_takes_more_memory(tmp_path, name, dtype, region):
    handle = stored_array(tmp_path, name)
    *runs, steps = REGIONS[region]
    owners = assign(BlockGrid(tuple(RegularCuts(*run, n) for run, n in zip(runs, steps, strict=True))), handle.grid)
    plan = plan_of(handle, [owners], np.dtype(dtype).itemsize)
    slack = SLACK + LIBRARIES.get(name, 0)
    if not owners.gathers:
        most = max(peak_of(block_task, handle, TERMS, owners, index, dtype) for index in blocks_of(owners))
        assert most <= plan.block_memory + slack
        assert plan.block_memory < 3 * most
    cells = list(owners.cells())
    assert (plan.merge_memory > 0) == bool(cells)
    if cells:
        most = max(peak_of(merge_task, handle, TERMS, owners, cell, dtype) for cell in cells)
        assert most <= plan.merge_memory + slack
        assert plan.merge_memory < 3 * most


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", ["default", "shards", "raw"])
def test_no_task_of_several_regions_takes_more_memory(tmp_path, name):
    handle = stored_array(tmp_path, name)
    regions = [BlockGrid((RegularCuts(0, 70, 35), RegularCuts(0, 200, 40)))]
    regions.append(BlockGrid((RegularCuts(70, 140, 30), RegularCuts(3, 200, 50))))
    ownerships = assign_together(regions, handle.grid)
    plan = plan_of(handle, ownerships)
    joint = {}
    for n, owners in enumerate(ownerships):
        for at, block in owners.joint_objects():
            joint.setdefault(at, []).append((n, block))
    assert len(joint) == 3
    most = max(peak_of(joint_task, handle, TERMS, ownerships, at, sources) for at, sources in joint.items())
    assert most <= plan.merge_memory + SLACK
    assert plan.merge_memory < 3 * most


# ---- plans


def test_a_cast_takes_memory():
    handle = ArrayHandle.of(create_array({}, shape=(40, 40), chunks=40, dtype="i4"))
    owners = [assign(BlockGrid((RegularCuts(0, 40, 40),) * 2), handle.grid)]
    plans = {cast: plan_of(handle, owners, 4, cast=cast) for cast in (None, False, True)}
    assert plans[None] == plans[False]
    assert plans[True].memory > plans[False].memory
    assert plan_of(handle, owners, 8) == plan_of(handle, owners, 8, cast=True)


def test_no_cells():
    handle = ArrayHandle.of(create_array({}, shape=(4, 0), chunks=(2, 3), dtype="i4"))
    plan = plan_of(handle, [assign(BlockGrid((RegularCuts(0, 4, 2), RegularCuts(0, 0, 1))), handle.grid)])
    assert (plan.objects, plan.nbytes, plan.memory, plan.blocks, plan.files) == (0, 0, 0, 2, 1)


def test_one_cell():
    handle = ArrayHandle.of(create_array({}, shape=(), chunks=(), dtype="i4"))
    plan = plan_of(handle, [assign(BlockGrid(()), handle.grid)])
    assert (plan.objects, plan.whole, plan.nbytes, plan.tasks, plan.files) == (1, 1, 4, 2, 2)
    assert "[...]" in str(plan)


def test_an_axis_that_the_blocks_do_not_have():
    handle = ArrayHandle.of(create_array({}, shape=(10, 8), chunks=(4, 4), dtype="i4"))
    owners = assign(BlockGrid((RegularCuts(0, 10, 5), RegularCuts(3, 4, 4)), dropped=(1,)), handle.grid)
    plan = plan_of(handle, [owners], 4)
    assert (plan.blocks, plan.merges, plan.objects, plan.partial, plan.shared) == (2, 1, 3, 3, 1)
    assert (plan.nbytes, plan.crossing) == (40, 16)


def test_files_count_the_journal():
    handle = ArrayHandle.of(create_array({}, shape=400, chunks=1, dtype="f4"))
    owners = [assign(BlockGrid((RegularCuts(0, 400, 1),)), handle.grid)]
    assert plan_of(handle, owners).files == 400 + 1
    assert plan_of(handle, owners, journal=True).files == 400 + 1 + 2 + 40


def test_together():
    one, other = regular((100,), (10,), (10,)), regular((100, 100), (30, 30), (20, 20))
    both = together(iter([one, other]))
    assert both == one + other
    for name in ("blocks", "merges", "objects", "whole", "shared", "nbytes", "crossing", "files"):
        assert getattr(both, name) == getattr(one, name) + getattr(other, name)
    assert both.memory == max(one.memory, other.memory)
    assert both.arrays == one.arrays + other.arrays
    assert together([]) == WritePlan()
    with pytest.raises(TypeError):
        one + 1


def test_limits():
    plan = regular((4000, 4000), (100, 100), (30, 30))
    assert plan.check() is plan
    assert plan.check(max_files=plan.files, max_mem=plan.memory) is plan
    with pytest.raises(
        PlanLimitError, match=r"up to 17,957 files, and max_files is 17,956; make chunks larger"
    ) as caught:
        plan.check(max_files=17_956)
    assert (caught.value.url, caught.value.node) == (plan.arrays[0].url, "")
    with pytest.raises(
        PlanLimitError, match=r"and max_mem is 10\.0 KiB; .* blocks smaller, or .*rechunk.*, of 3\.5 KiB each"
    ):
        plan.check(max_mem=10 * 2**10)
    with pytest.raises(PlanLimitError) as caught:
        together([plan, plan]).check(max_files=20_000)
    assert caught.value.node == ""
    with pytest.raises(PlanLimitError) as caught:
        together([plan, regular((9000,), (1,), (1,))]).check(max_files=20_000)
    assert caught.value.node is None


def test_machines_can_read_it():
    plan = regular((150, 200), (100, 100), (32, 24), shards=(64, 96))
    found = json.loads(json.dumps(plan.as_dict()))
    url = plan.arrays[0].url
    place = {
        "url": url,
        "node": "",
        "regions": [[[0, 150], [0, 200]]],
        "object_shape": [64, 96],
        "inner_shape": [32, 24],
    }
    assert found.pop("arrays") == [place]
    assert found == {name: getattr(plan, name) for name in found}
    assert {"tasks", "blocks", "merges", "receipts", "objects", "whole", "partial", "shared", "nbytes"} < set(found)
    assert {"crossing", "files", "documents", "journals", "memory", "largest"} < set(found)


def test_people_can_read_it():
    plan = regular((150, 200), (100, 100), (32, 24), shards=(64, 96))
    lines = str(plan).splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 120
    assert f"in {plan.arrays[0].url} [0:150, 0:200]" in lines[0]
    assert "64 x 96 in chunks of 32 x 24, 24.0 KiB at most" in lines[1]
    assert "9 (9 whole, 0 read and merged)" in lines[2]
    assert "references" not in str(plan)
    assert "references" in str(regular((4,), (2,), (2,), dtype="str"))
    assert "2 more arrays" in str(together([plan] * 5))
