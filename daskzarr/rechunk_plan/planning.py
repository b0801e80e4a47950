"""Shape, chunks before and after, memory of a task, and what requests cost -> the plan to rechunk by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from daskzarr.block_grid import BlockGrid, Cuts
from daskzarr.errors import PlanLimitError, UnsupportedError
from daskzarr.rechunk_plan.axis import covered, longest, meets, padding, shortest
from daskzarr.rechunk_plan.cost import CostModel
from daskzarr.rechunk_plan.groups import best as best_groups
from daskzarr.rechunk_plan.groups import one_group
from daskzarr.rechunk_plan.plan import PIECE_END, Blocks, RechunkPlan, Stage, piece_extra
from daskzarr.rechunk_plan.ways import Floats, Ways

_SMALL_PIECE = 2**18
_BUT_PIECES = 0.97  # of the memory for a block, without the ends of its pieces
_MOST_BUILT, _NEAR = 24, 1.03  # of plans that take about as long, that with least in scratch at a time
_SIMPLER = 1.05  # a plan of more stages has to be so much faster


@dataclass(frozen=True, slots=True)
class Working:
    """Bytes that tasks need besides their blocks.

    Parameters
    ----------
    source
        For reading the source: a chunk as it is stored and decoded, and those that are under way.
    target
        For writing: an object as it is encoded, and those that are under way.
    scratch
        Bytes of pieces under way, where requests overlap; the one that is placed counts in any case.
    copies
        How often an object for scratch is copied to be written: 0, or 1 where it is sent.
    cast
        Bytes in the target for each byte of a block, where it is stored as another dtype; otherwise 0.
    """

    source: int = 0
    target: int = 0
    scratch: int = 0
    copies: int = 0
    cast: float = 0.0


@dataclass(frozen=True)
class Task:
    """What is asked of a plan: both grids, and what a task may need.

    ``source`` is how stored objects cut the axes; ``given`` says that they are blocks that are computed, each of them
    there once. ``most_stages`` is 1 where there is no scratch; ``stages`` is the number there has to be.
    """

    shape: tuple[int, ...]
    itemsize: int
    source: Blocks
    target: Blocks
    max_mem: int
    cost: CostModel
    working: Working
    given: bool = False
    most_stages: int = 3
    stages: int | None = None


def choose(task: Task) -> RechunkPlan:
    """The plan that the cost model says is fastest, of those whose tasks need no more than they may.

    Raises
    ------
    PlanLimitError
        If there is none; it says the least that works.
    """
    cells = math.prod(task.shape) if task.shape else 0
    if task.most_stages > 1 and not cells:
        return choose(replace(task, most_stages=1, stages=None))  # one cell or none: there is nothing to put in scratch
    found = (*_direct(task), *(_packed(task) if task.most_stages > 1 else ()))
    wanted = task.stages
    plans = [each for each in found if each.memory <= task.max_mem and wanted in (None, len(each.stages))]
    if cells and task.given and task.most_stages == 1 and not _aligned(task.source, task.target):
        raise UnsupportedError(
            "cells that are computed, and cannot lie in scratch (texts and other objects cannot), have to come in "
            "blocks of whole chunks of the target: rechunk the dask array so, or store it first",
            field="chunks",
        )
    if not plans:
        smallest = [*_smallest(task)]
        plans = [each for each in smallest if each.memory <= task.max_mem]
    if not plans:
        if not smallest:
            raise UnsupportedError(f"there is no plan of {wanted} stages here: it would need scratch", field="stages")
        least = min(plan.memory for plan in smallest)
        raise PlanLimitError(
            f"max_mem is {task.max_mem} bytes, and a task needs {least} bytes at least: a stored object of the target, "
            "and what it takes to read and write; allow that, or choose smaller chunks or shards"
        )
    chosen: RechunkPlan = plans[0]
    for plan in plans[1:]:
        factor = _SIMPLER if len(plan.stages) > len(chosen.stages) else 1.0
        if plan.seconds * factor < chosen.seconds:
            chosen = plan
    return chosen


def _smallest(task: Task) -> Iterator[RechunkPlan]:
    """Plans of the smallest blocks there are, of as many stages as are wanted."""
    found = _of_units(task)
    yield from (each for each in found if task.stages in (None, len(each.stages)))


def _of_units(task: Task) -> Iterator[RechunkPlan]:
    """Plans whose blocks are single objects."""
    if not task.given or task.most_stages == 1 or _aligned(task.source, task.target):
        yield build(task, [task.source if task.given else task.target])
    if task.most_stages > 1:
        yield build(task, [task.source, task.target])
    if task.most_stages > 2 and task.stages == 3:
        yield build(task, [task.source, task.target, task.target])


def _aligned(source: Blocks, target: Blocks) -> bool:
    """Whether blocks are whole objects of the target."""
    return all(meets(s, t) == t.count for s, t in zip(source, target, strict=True))


def _direct(task: Task) -> Iterator[RechunkPlan]:
    """The best plan of one stage."""
    if task.given:
        if not math.prod(task.shape) or _aligned(task.source, task.target):
            yield build(task, [task.source])
        return
    if not task.shape:
        yield build(task, [task.target])
        return
    room = _room(task, max(task.working.source, task.working.target), True)
    ways = Ways.under(task.target, task.source, task.itemsize, room, task.cost.slots)
    if not len(ways):
        return
    size = task.itemsize
    gets = ways.product([[meets(c, s) for c in axis] for axis, s in zip(ways.axes, task.source, strict=True)])
    read = ways.product([[covered(c, s) for c in axis] for axis, s in zip(ways.axes, task.source, strict=True)])
    written, puts = _written(task)
    seconds = task.cost.seconds(ways.counts(), read * size, gets, written, puts)
    yield build(task, [ways[int(np.argmin(seconds))]])


def _packed(task: Task) -> Iterator[RechunkPlan]:
    """The best plans of two stages, and of three where pieces are small."""
    size, cost, working = task.itemsize, task.cost, task.working
    if task.given:
        first = Ways.only(task.source)
    else:
        room = int((task.max_mem - working.source) / (1 + working.copies) * _BUT_PIECES)
        first = Ways.under(task.source, task.target, size, room, cost.slots)
    last = Ways.under(task.target, task.source, size, _room(task, working.target + working.scratch, True), cost.slots)
    if not len(first) or not len(last):
        return
    total = math.prod(task.shape) * size
    gets = first.product([[meets(c, s) for c in axis] for axis, s in zip(first.axes, task.source, strict=True)])
    read = first.product([[covered(c, s) for c in axis] for axis, s in zip(first.axes, task.source, strict=True)])
    if task.given:
        gets, read = gets * 0, read * 0
    into = cost.seconds(first.counts(), read * size, gets, total, first.counts())
    written, puts = _written(task)
    pieces = first.with_each(last, _tables(first, last, meets))
    out = cost.seconds(last.counts()[None, :], total, pieces, written, puts)
    fits = _holds(task, last.cells()[None, :], first.with_each(last, _tables(first, last, _shared)), final=True)
    seconds = np.where(fits, into[:, None] + out, np.inf)
    if not np.isfinite(seconds).any():
        return
    order = np.argsort(seconds, axis=None, kind="stable")[:_MOST_BUILT]
    fewest = pieces.flat[int(order[0])] + first.counts()[int(order[0]) // len(last)]
    requests = (pieces + first.counts()[:, None]).flat
    near = [
        np.unravel_index(int(at), seconds.shape)
        for at in order
        if seconds.flat[int(at)] <= _NEAR * seconds.min() and requests[int(at)] <= fewest
    ]
    plans = [build(task, [first[int(i)], last[int(j)]]) for i, j in near]
    yield min(plans, key=lambda plan: plan.scratch)
    i, j = (int(each) for each in near[0])
    if task.most_stages > 2 and (total / pieces[i, j] < _SMALL_PIECE or task.stages == 3):
        yield from _three_stage(task, first, last, into)


def _three_stage(task: Task, first: Ways, last: Ways, into: Floats) -> Iterator[RechunkPlan]:
    """The best plan with blocks between: they gather small pieces to larger ones."""
    size, cost, working = task.itemsize, task.cost, task.working
    total = math.prod(task.shape) * size
    written, puts = _written(task)
    room = int(_room(task, working.scratch, False) / (1 + working.copies) * _BUT_PIECES)
    found: list[tuple[float, Blocks, Blocks, Blocks]] = []
    largest_first = [int(each) for each in np.argsort(first.counts() * 1e-9 + into, kind="stable")[:6]]
    largest_last = [int(each) for each in np.argsort(last.counts(), kind="stable")[:12]]
    some_last = Ways(last.axes, [each[largest_last] for each in last.chosen])
    for i in largest_first:
        finer = tuple(_finer(a, b) for a, b in zip(first[i], task.target, strict=True))
        between = Ways.under(finer, first[i], size, room, cost.slots)
        if not len(between):
            continue
        one = Ways.only(first[i])
        pieces_in = one.with_each(between, _tables(one, between, meets))[0]
        pieces_out = between.with_each(some_last, _tables(between, some_last, meets))
        middle = cost.seconds(between.counts(), total, pieces_in, total, between.counts())
        out = cost.seconds(some_last.counts()[None, :], total, pieces_out, written, puts)
        held = _holds(task, between.cells(), one.with_each(between, _tables(one, between, _shared))[0], final=False)
        fits = _holds(
            task,
            some_last.cells()[None, :],
            between.with_each(some_last, _tables(between, some_last, _shared)),
            final=True,
        )
        seconds = np.where(held[:, None] & fits, into[i] + middle[:, None] + out, np.inf)
        b, j = (int(each) for each in np.unravel_index(int(np.argmin(seconds)), seconds.shape))
        if np.isfinite(seconds[b, j]):
            found.append((float(seconds[b, j]), first[i], between[b], some_last[j]))
    if found:
        _, *blocks = min(found, key=lambda each: each[0])
        yield build(task, blocks)


def _finer(one: Cuts, other: Cuts) -> Cuts:
    """The cuts of the axis that has more of them."""
    return one if one.count > other.count else other


def _tables(ways: Ways, others: Ways, function: object) -> list[Floats]:
    """A value for each pair of cuts of an axis."""
    return [
        np.array([[function(one, other) for other in its] for one in mine], float)  # type: ignore[operator]
        for mine, its in zip(ways.axes, others.axes, strict=True)
    ]


def _shared(one: Cuts, other: Cuts) -> int:
    """The most cells that a piece of each can share."""
    return min(longest(one), longest(other))


def _room(task: Task, besides: int, final: bool) -> int:
    """Bytes that a block may have."""
    return int((task.max_mem - besides) / (1 + (task.working.cast if final else 0)))


def _holds(task: Task, cells: Floats, piece_cells: Floats, *, final: bool) -> Floats:
    """Whether tasks that gather pieces have the memory."""
    found: Floats = _gathering(task, cells, piece_cells, final=final) <= task.max_mem
    return found


def _gathering(task: Task, cells: object, piece_cells: object, *, final: bool) -> Floats:
    """Bytes that a task needs which gathers pieces to a block."""
    working, size = task.working, task.itemsize
    block, piece = np.asarray(cells) * size, np.asarray(piece_cells) * size
    reading = np.maximum(piece, working.scratch)
    if final:
        return np.asarray(block * (1 + working.cast) + np.maximum(reading, working.target))
    return np.asarray(block + np.maximum(reading, block * working.copies))


def _written(task: Task) -> tuple[int, int]:
    """Bytes that go to the target, and objects."""
    cells = math.prod(covered(cuts, cuts) for cuts in task.target)
    return cells * task.itemsize, math.prod(cuts.count for cuts in task.target)


def _pieces_of_one(blocks: Blocks, after: Blocks) -> int:
    """The most pieces that one block has."""
    pairs = zip(blocks, after, strict=True)
    return math.prod(min(-(-longest(cuts) // shortest(its)) + 1, its.count) for cuts, its in pairs)


def build(task: Task, chain: Sequence[Blocks]) -> RechunkPlan:
    """The plan with these blocks, counted exactly."""
    size, working = task.itemsize, task.working
    total = math.prod(task.shape) * size
    written, puts = _written(task)
    stages: list[Stage] = []
    seconds = 0.0
    for n, blocks in enumerate(chain):
        grid = BlockGrid(tuple(blocks))
        final = n == len(chain) - 1
        cells = math.prod(map(longest, blocks))
        if n == 0:
            gets = math.prod(map(meets, blocks, task.source))
            read = math.prod(map(covered, blocks, task.source)) * size
            memory = cells * size + working.source
            if task.given:
                gets = read = 0
            if final:
                memory = math.ceil(cells * size * (1 + working.cast)) + max(working.source, working.target)
            else:
                memory = max(memory, cells * size * (1 + working.copies))
        else:
            gets = math.prod(map(meets, chain[n - 1], blocks))
            read = total + gets * PIECE_END + padding(chain[n - 1], blocks, size, PIECE_END)
            pieces = math.prod(map(_shared, chain[n - 1], blocks))
            memory = math.ceil(_gathering(task, cells, pieces, final=final))
        out, objects = (written, puts) if final else (total, grid.block_count)
        if not final:
            memory += _pieces_of_one(blocks, chain[n + 1]) * piece_extra(size) * (1 + working.copies)
            out += math.prod(map(meets, blocks, chain[n + 1])) * PIECE_END
            out += padding(blocks, chain[n + 1], size, PIECE_END)
        stages.append(Stage(grid, gets, read, objects, out, memory))
        seconds += float(task.cost.seconds(grid.block_count, read, gets, out, objects))
    axes = [stage.blocks.axes for stage in stages]
    # When cells are computed is not for us to say: no group can wait for another.
    groups = one_group(axes, task.shape) if task.given else best_groups(axes, task.shape, task.cost.slots)
    return RechunkPlan(task.shape, size, task.source, task.target, tuple(stages), groups, seconds, task.max_mem)
