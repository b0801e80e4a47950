"""The planner of rechunking: laws of axes, blocks, counts, memory and groups, each against counting one by one."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from dask.utils import parse_bytes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from daskzarr.block_grid import BlockGrid, ListedCuts, RegularCuts
from daskzarr.chunk_io import Move
from daskzarr.errors import PlanLimitError
from daskzarr.graph.rechunk import Rechunking, RechunkLayer, free, run_block
from daskzarr.rechunk_plan import AHEAD, LOCAL, REMOTE, CostModel, Task, Working, build, choose, cuts_of, planning
from daskzarr.rechunk_plan.axis import candidates, covered, edges_of, grouped, longest, meets, touched
from daskzarr.rechunk_plan.ways import Ways

# Reading anything twice costs more than writing it twice, so that plans of more stages are chosen.
PACKING = CostModel(read=1e5, write=1e6, get=1e-9, put=1e-9, task=1e-9, slots=1)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- cases


@st.composite
def axis_cuts(draw, size):
    """A way to cut an axis from 0."""
    if draw(st.booleans()):
        return RegularCuts(0, size, draw(st.integers(1, size + 2)))
    inner = draw(st.sets(st.integers(1, size - 1), max_size=5)) if size > 1 else ()
    return ListedCuts((0, *sorted(inner), size))


@st.composite
def two_ways(draw):
    size = draw(st.integers(1, 30))
    return draw(axis_cuts(size)), draw(axis_cuts(size))


@st.composite
def tasks(draw, least_axes=1, given_source=None, workings=True):
    """A small task whose memory is enough for some plans and not for others."""
    most = (40, 14, 8, 5)
    shape = [draw(st.integers(1, most[n])) for n in range(draw(st.integers(least_axes, 4)))]
    source, target = (tuple(draw(axis_cuts(n)) for n in shape) for _ in range(2))
    itemsize = draw(st.sampled_from([1, 2, 4, 8, 16]))
    need = max(math.prod(map(longest, source)), math.prod(map(longest, target))) * itemsize
    max_mem = draw(st.integers(1, 3 * need + 64))
    small = st.integers(0, need // 2)
    working = Working(draw(small), draw(small), draw(small), draw(st.integers(0, 1)), draw(st.sampled_from([0.0, 1.5])))
    if not workings:
        working, max_mem = Working(), max_mem + need
    is_given = draw(st.booleans()) if given_source is None else given_source
    cost = draw(st.sampled_from([PACKING, LOCAL, REMOTE]))
    return Task(tuple(shape), itemsize, source, target, max_mem, cost, working, is_given)


@st.composite
def chains(draw):
    """A task and blocks of each stage: whole objects of the source, anything between, whole objects of the target."""
    task = draw(tasks(workings=False))
    first = [grouped(cuts, draw(st.integers(1, cuts.count))) for cuts in task.source]
    last = [grouped(cuts, draw(st.integers(1, cuts.count))) for cuts in task.target]
    between = [tuple(draw(axis_cuts(n)) for n in task.shape)] if draw(st.booleans()) else []
    return task, [tuple(task.source if task.given else first), *between, tuple(last)]


def bounds(cuts):
    return [cuts.bounds(i) for i in range(cuts.count)]


def pairs(one, other):
    """Pieces that share cells, by looking at every pair."""
    return [(a, b, c, d) for (a, b), (c, d) in itertools.product(bounds(one), bounds(other)) if max(a, c) < min(b, d)]


def indices(axes):
    return itertools.product(*(range(cuts.count) for cuts in axes))


def slices(box):
    return tuple(map(slice, box.start, box.stop))


def stored(cuts, i):
    """Cells of a unit as it is stored: whole, in a regular grid."""
    start, stop = cuts.bounds(i)
    return cuts.step if isinstance(cuts, RegularCuts) else stop - start


def move_of(chain, itemsize=8):
    """What tasks of a chain share, without any store."""
    dtype = np.dtype((np.void, itemsize))
    return Move(None, None, tuple(BlockGrid(tuple(axes)) for axes in chain), dtype, None, None, None, None, "run")


def packed_bytes(plan, stage):
    """Bytes of the object of each block of a stage, as it is laid out."""
    move = move_of([each.blocks.axes for each in plan.stages], plan.itemsize)
    return {index: move.layout(stage, index).nbytes for index in indices(plan.stages[stage].blocks.axes)}


# ---- axes


@MANY
@given(two_ways())
def test_meets_and_covered_are_what_counting_gives(both):
    blocks, units = both
    found = pairs(blocks, units)
    assert meets(blocks, units) == meets(units, blocks) == len(found)
    numbers = {bounds(units)[i]: i for i in range(units.count)}
    assert covered(blocks, units) == sum(stored(units, numbers[c, d]) for _, _, c, d in found)


@MANY
@given(two_ways(), st.data())
def test_touched_are_the_pieces_that_share_cells(both, data):
    cuts, _ = both
    start = data.draw(st.integers(0, cuts.bounds(cuts.count - 1)[1]))
    stop = data.draw(st.integers(start, cuts.bounds(cuts.count - 1)[1]))
    wanted = [i for i, (a, b) in enumerate(bounds(cuts)) if max(a, start) < min(b, stop)]
    assert list(touched(cuts, start, stop)) == wanted


@MANY
@given(two_ways(), st.integers(1, 40))
def test_blocks_that_are_tried_are_of_whole_units(both, most):
    units, other = both
    found = candidates(units, other, most)
    assert 1 <= len(found) <= most + max(most // 4, 1)
    for cuts in found:
        assert set(edges_of(cuts).tolist()) <= set(edges_of(units).tolist())
        assert longest(cuts) == max(b - a for a, b in bounds(cuts))
    assert len(set(found)) == len(found)
    assert edges_of(units).tolist() in [edges_of(cuts).tolist() for cuts in found]
    if most >= 2:
        assert 1 in [cuts.count for cuts in found]


@pytest.mark.parametrize("cuts", [RegularCuts(0, 0, 3), ListedCuts((0, 0))])
def test_an_axis_without_cells(cuts):
    assert cuts.count == 1
    assert meets(cuts, RegularCuts(0, 0, 2)) == 1
    assert list(touched(cuts, 0, 0)) == []


# ---- counts


@FEW
@given(chains())
def test_a_plan_counts_what_its_tasks_do(case):
    task, chain = case
    plan = build(task, chain)
    size = task.itemsize
    assert [stage.blocks.axes for stage in plan.stages] == chain
    for n, (stage, axes) in enumerate(zip(plan.stages, chain, strict=True)):
        seen = np.zeros(task.shape, int)
        for index in indices(axes):
            seen[slices(BlockGrid(axes).box(index))] += 1
        assert (seen == 1).all()
        assert stage.tasks == len(list(indices(axes)))
        gets, read = _reads(task, axes) if n == 0 else (0, 0)
        if n:
            move = move_of(chain, size)
            pieces = [
                move.layout(n - 1, producer).piece_for(index)[1].length
                for index in indices(axes)
                for producer in move.producers(n, index)
            ]
            gets, read = len(pieces), sum(pieces)
        assert stage.gets == gets
        assert stage.bytes_read == read
        final = n == len(chain) - 1
        if final:
            assert stage.puts == math.prod(cuts.count for cuts in task.target)
            whole = [math.prod(map(stored, task.target, index)) for index in indices(task.target)]
            assert stage.bytes_written == sum(whole) * size
        else:
            objects = packed_bytes(plan, n)
            assert stage.puts == len(objects)
            assert stage.bytes_written == sum(objects.values())


def _reads(task, axes):
    """Units that all blocks of a first stage touch, and bytes they hold."""
    if task.given:
        return 0, 0
    gets = read = 0
    for index in indices(axes):
        box = BlockGrid(axes).box(index)
        units = [
            [i for i, (a, b) in enumerate(bounds(cuts)) if max(a, low) < min(b, high)]
            for cuts, low, high in zip(task.source, *box, strict=True)
        ]
        for unit in itertools.product(*units):
            gets += 1
            read += math.prod(map(stored, task.source, unit)) * task.itemsize
    return gets, read


@FEW
@given(chains())
def test_the_pieces_for_a_block_are_its_cells_each_once(case):
    task, chain = case
    move = move_of(chain, task.itemsize)
    for stage in range(1, len(chain)):
        for index in indices(chain[stage]):
            seen = np.zeros(task.shape, int)
            for producer in move.producers(stage, index):
                where, _ = move.layout(stage - 1, producer).piece_for(index)
                assert all(a < b for a, b in zip(*where, strict=True))
                seen[slices(where)] += 1
                made = move.blocks[stage - 1].box(producer)
                assert all(a <= c and d <= b for a, b, c, d in zip(*made, *where, strict=True))
            wanted = np.zeros(task.shape, int)
            wanted[slices(move.blocks[stage].box(index))] = 1
            np.testing.assert_array_equal(seen, wanted)


# ---- what is chosen


def least_of(task):
    return min(plan.memory for plan in planning._smallest(task))


@MANY
@given(tasks())
def test_a_chosen_plan_keeps_to_its_memory_and_gives_each_object_one_writer(task):
    try:
        plan = choose(task)
    except PlanLimitError:
        assert least_of(task) > task.max_mem
        return
    assert plan.memory <= task.max_mem
    writers = np.zeros([cuts.count for cuts in task.target], int)
    last = plan.stages[-1].blocks
    for index in indices(last.axes):
        box = last.box(index)
        objects = [touched(cuts, a, b) for cuts, a, b in zip(task.target, *box, strict=True)]
        for at in itertools.product(*objects):
            writers[at] += 1
            inside = BlockGrid(task.target).box(at)
            assert all(a <= c and d <= b for a, b, c, d in zip(*box, *inside, strict=True))
    assert (writers == 1).all()
    if task.given:
        assert plan.stages[0].blocks.axes == task.source
        assert plan.gets == sum(stage.gets for stage in plan.stages[1:])
    else:
        for cuts, units in zip(plan.stages[0].blocks.axes, task.source, strict=True):
            if len(plan.stages) > 1:
                assert set(edges_of(cuts).tolist()) <= set(edges_of(units).tolist())


@MANY
@given(tasks())
def test_the_least_memory_is_enough(task):
    least = least_of(task)
    assert choose(replace(task, max_mem=least)).memory <= least


@MANY
@given(tasks())
def test_the_least_that_an_error_names_works(task):
    try:
        choose(replace(task, max_mem=1))
    except PlanLimitError as error:
        named = str(error).partition("a task needs ")[2].partition(" at least")[0].removesuffix(" bytes")
        choose(replace(task, max_mem=int(parse_bytes(named))))


@FEW
@given(tasks(least_axes=2, given_source=False, workings=False))
def test_more_memory_never_makes_it_slower(task):
    """Not exactly: candidates are some of all there are. By a half it never does."""
    try:
        plan = choose(task)
    except PlanLimitError:
        assume(False)
    more = choose(replace(task, max_mem=2 * task.max_mem))
    assert more.seconds <= 1.5 * plan.seconds


def test_one_stage_where_there_is_no_scratch():
    source, target = ((RegularCuts(0, 64, step), RegularCuts(0, 64, other)) for step, other in ((1, 64), (64, 1)))
    task = Task((64, 64), 4, tuple(source), tuple(target), 2000, PACKING, Working())
    assert choose(task).kind == "packed"
    assert choose(replace(task, most_stages=1)).kind == "direct"


def test_small_pieces_are_gathered_in_a_stage_between():
    axes = [tuple(RegularCuts(0, n, c) for n, c in zip(SHAPE, each, strict=True)) for each in (MAPS, (SHAPE[0], 1, 1))]
    task = Task(SHAPE, 4, *axes, 2 * 10**8, REMOTE, Working())
    plan = choose(task)
    assert plan.kind == "three-stage"
    assert plan.memory <= task.max_mem
    two = build(task, [plan.stages[0].blocks.axes, plan.stages[-1].blocks.axes])
    assert plan.gets < two.gets / 2


@FEW
@given(tasks())
def test_a_plan_is_made_again_from_its_json(task):
    try:
        plan = choose(task)
    except PlanLimitError:
        assume(False)
    document = json.loads(json.dumps(plan.as_dict()))
    blocks = [[cuts_of(axis, size) for axis, size in zip(axes, task.shape, strict=True)] for axes in document["blocks"]]
    assert build(task, [tuple(axes) for axes in blocks]).as_dict() == plan.as_dict()
    assert f"{plan.gets:,} GETs, {plan.puts:,} PUTs" in str(plan)
    assert plan.kind in str(plan)


@pytest.mark.parametrize("max_mem", [1, 100, 10**6])
@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 4, 0)], ids=str)
def test_arrays_of_one_cell_or_none(shape, is_given, max_mem):
    """A plan, or an error that says what is needed; never anything else."""
    source = tuple(RegularCuts(0, n, 2) for n in shape)
    target = tuple(RegularCuts(0, n, 1) for n in shape)
    for working in (Working(), Working(source=50, target=60, scratch=70, copies=1)):
        task = Task(shape, 8, source, target, max_mem, REMOTE, working, is_given)
        try:
            plan = choose(task)
        except PlanLimitError:
            assert max_mem < 200
            continue
        assert plan.memory <= max_mem
        assert plan.scratch >= 0
        assert plan.tasks >= 1
        assert str(plan)


# ---- groups


def packed_plans():
    """Plans with scratch."""
    return chains().map(lambda case: build(replace(case[0], cost=PACKING), case[1]))


@FEW
@given(packed_plans())
def test_a_block_is_made_before_it_is_needed_and_kept_until_its_last(plan):
    groups, move = plan.groups, move_of([stage.blocks.axes for stage in plan.stages], plan.itemsize)
    axis = groups.axis
    assert groups.edges[0] == 0
    assert groups.edges[-1] == plan.shape[axis]
    assert set(groups.edges) <= set(edges_of(plan.stages[-1].blocks.axes[axis]).tolist())
    last = len(plan.stages) - 1
    for index in indices(plan.stages[last].blocks.axes):
        box = move.blocks[last].box(index)
        group = int(groups.made[last][index[axis]])
        assert groups.edges[group] <= box.start[axis]
        assert box.stop[axis] <= groups.edges[group + 1]
    for stage in range(1, last + 1):
        users = {}
        for index in indices(plan.stages[stage].blocks.axes):
            for producer in move.producers(stage, index):
                users.setdefault(producer, []).append(int(groups.made[stage][index[axis]]))
        for producer, needed in users.items():
            assert groups.made[stage - 1][producer[axis]] == min(needed)
            assert groups.needed[stage - 1][producer[axis]] == max(needed)
        assert set(users) == set(indices(plan.stages[stage - 1].blocks.axes))


@FEW
@given(packed_plans())
def test_scratch_is_what_going_through_the_groups_holds(plan):
    groups = plan.groups
    most = 0
    for group in range(groups.count):
        held = 0
        for stage in range(len(plan.stages) - 1):
            for index, nbytes in packed_bytes(plan, stage).items():
                at = index[groups.axis]
                if groups.made[stage][at] < group + AHEAD and groups.needed[stage][at] >= group:
                    held += nbytes
        most = max(most, held)
    assert most <= plan.scratch
    assert plan.scratch <= sum(stage.bytes_written for stage in plan.stages[:-1]) + plan.nbytes


# ---- the order of tasks


def layer_of(plan, finished=frozenset()):
    move = move_of([stage.blocks.axes for stage in plan.stages], plan.itemsize)
    return move, RechunkLayer("root", "token", Rechunking(move, plan.groups, finished), False, None)


def befores(tasks):
    """For each task all tasks that run before it in any order."""
    found = {}

    def visit(key):
        if key not in found:
            found[key] = set()
            for other in tasks[key].dependencies:
                found[key] |= visit(other) | {other}
        return found[key]

    for key in tasks:
        visit(key)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(packed_plans(), st.data())
def test_no_object_is_read_before_it_is_there_nor_after_it_is_gone(plan, data):
    assume(plan.tasks < 150)
    last = len(plan.stages) - 1
    blocks = list(indices(plan.stages[last].blocks.axes))
    finished = frozenset(data.draw(st.sets(st.sampled_from(blocks), max_size=len(blocks))))
    move, layer = layer_of(plan, finished)
    made = list(layer._make())
    tasks = dict(made)
    assert len(tasks) == len(made)
    before = befores(tasks)
    names = {name: stage for stage, name in enumerate(layer.names)}
    runs = {(names[key[0]], key[1:]): key for key, task in tasks.items() if task.func is run_block}
    assert {index for stage, index in runs if stage == last} == set(blocks) - finished
    removed = {}
    for key, task in tasks.items():
        if task.func is free:
            for name in task.args[2]:
                assert name not in removed
                removed[name] = key
    for (stage, index), key in runs.items():
        if stage == 0:
            continue
        for producer in move.producers(stage, index):
            assert runs[stage - 1, producer] in before[key]
            assert key in before[removed[move.key(stage - 1, producer)]]
    # All that was put into scratch goes, and only what somebody needs is put there.
    assert set(removed) == {move.key(stage, index) for stage, index in runs if stage < last}
    assert all(key in before["root"] for key, task in tasks.items() if task.func in (run_block, free))
    # No more than two groups at a time: what begins a group comes after all ends of the group two before it.
    ends = {}
    for key, task in tasks.items():
        if task.func is free:
            ends.setdefault(key[1], set()).add(key)
    for (stage, index), key in runs.items():
        group = int(plan.groups.made[0][index[plan.groups.axis]]) if stage == 0 else 0
        assert ends.get(group - AHEAD, set()) <= before[key]


# ---- a large array


SHAPE = (350_640, 721, 1440)
NBYTES = math.prod(SHAPE) * 4
MAPS, YEARS, ALL, DAYS, TILES, SHARDS = (
    (1, 721, 1440),
    (8760, 20, 20),
    (350_640, 5, 5),
    (24, 721, 1440),
    (24, 180, 360),
    (8760, 120, 120),
)


def large(source, target, gigabytes, **settings):
    axes = [tuple(RegularCuts(0, n, c) for n, c in zip(SHAPE, each, strict=True)) for each in (source, target)]
    return choose(Task(SHAPE, 4, *axes, gigabytes * 10**9, REMOTE, Working(), **settings))


@pytest.mark.parametrize(
    ("source", "target", "gigabytes", "kind", "gets", "puts", "times"),
    [
        (MAPS, YEARS, 1, "packed", 453_000, 111_100, 2.01),
        (MAPS, YEARS, 4, "packed", 357_500, 110_100, 2.01),
        (MAPS, YEARS, 16, "packed", 357_500, 110_100, 2.01),
        (MAPS, ALL, 1, "packed", 4_300_000, 44_500, 2.01),
        (MAPS, DAYS, 1, "direct", 350_640, 14_610, 1.001),
        (TILES, YEARS, 4, "direct", 400_000, 109_300, 1.55),
        (YEARS, MAPS, 4, "packed", 357_500, 352_000, 2.1),
        (MAPS, SHARDS, 4, "packed", 357_500, 3_910, 2.01),
    ],
)
def test_a_large_array_takes_few_requests(source, target, gigabytes, kind, gets, puts, times):
    plan = large(source, target, gigabytes)
    assert plan.nbytes == NBYTES
    assert plan.kind == kind
    assert plan.gets <= gets
    assert plan.puts <= puts
    assert plan.amplification <= times
    assert plan.memory <= gigabytes * 10**9
    if kind == "packed":
        assert plan.scratch <= NBYTES * 1.01
        assert plan.puts - plan.stages[1].puts == plan.stages[0].tasks


@pytest.mark.parametrize(
    ("source", "target", "gigabytes", "gets", "times"),
    [
        (MAPS, YEARS, 1, 15_900_000, 45.5),
        (MAPS, YEARS, 4, 4_250_000, 12.5),
        (MAPS, YEARS, 16, 1_060_000, 3.1),
        (MAPS, ALL, 1, 1568.5 * 350_640, 1568.5),
        (YEARS, MAPS, 4, 13.5 * 109_224, 13.5),
        (MAPS, SHARDS, 4, 4_250_000, 12.5),
    ],
)
def test_a_large_array_in_one_stage(source, target, gigabytes, gets, times):
    plan = large(source, target, gigabytes, most_stages=1)
    assert plan.kind == "direct"
    assert plan.gets <= gets
    assert plan.amplification <= times


def test_pencils_of_a_year_need_little_of_scratch():
    plan = large(MAPS, YEARS, 1)
    assert plan.groups.count >= 15
    assert plan.scratch <= NBYTES / 8


def test_what_is_tried_is_bounded():
    axes = [tuple(RegularCuts(0, n, c) for n, c in zip(SHAPE, each, strict=True)) for each in (MAPS, YEARS)]
    for units, other in (axes, axes[::-1]):
        ways = Ways.under(units, other, 4, 10**9, 64)
        assert 0 < len(ways) <= 600
        assert all(len(axis) <= 96 + 24 for axis in ways.axes)
        assert (ways.cells() * 4 <= 10**9).all()
