"""A move of all cells in stages -> one delayed value: a task a block, each group of blocks after those it needs."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da

from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Move, discard, move_block, move_given
from daskzarr.graph.dask_names import Blockwise, HighLevelGraph, Layer, Task, TaskRef, blockwise_token
from daskzarr.graph.progress import tell, under_way
from daskzarr.graph.read_layer import BlockBoxes
from daskzarr.graph.tree import Ending, LazyLayer, add_up, conclude, reduced
from daskzarr.graph.write import Write, graph_of
from daskzarr.receipt import Written
from daskzarr.rechunk_plan import AHEAD, Groups, Index
from daskzarr.write_plan import FAN_IN

_DIRECT, _STAGES = ("rechunk",), (("pack", "unpack"), ("pack", "repack", "unpack"))
_BARRIERS = 8
"""Tasks that say the same, that a group is done: with one, Dask would give all that come after to its worker."""


@dataclass(frozen=True)
class Rechunking:
    """All that one array's graph is made of.

    Parameters
    ----------
    move
        What its tasks share.
    groups
        The order of its blocks.
    finished
        Blocks of the last stage that were made before.
    topic
        Where tasks say that they are done, on a cluster; None: nowhere.
    """

    move: Move
    groups: Groups
    finished: frozenset[Index] = frozenset()
    topic: str | None = None


def run_block(move: Move, topic: str | None, stage: int, index: Index, group: int, *after: Any) -> Written:
    """The task of a block of a stored source, or of pieces; ``group`` is the last that needs it."""
    with under_way(move.run):
        written = move_block(move, stage, index, group, *after)
    tell(topic, math.prod(move.blocks[stage].box(index).shape) * move.dtype.itemsize)
    return written


def run_given(move: Move, topic: str | None, box: Box, block: Any) -> Written:
    """The task of a block that was computed."""
    with under_way(move.run):
        written = move_given(move, box, block)
    tell(topic, math.prod(box.shape) * move.dtype.itemsize)
    return written


def passed(*after: Any) -> Written:
    """Nothing but that what it came after is done."""
    return Written()


def free(move: Move, group: int, keys: Sequence[str], adds_up: bool, *parts: Written) -> Written:
    """The end of a group: objects that no later one needs are removed; what was written, if this task adds up."""
    discard(move, group, keys)
    return add_up(*parts) if adds_up else Written()


class RechunkLayer(LazyLayer):
    """The tasks that rechunk one array.

    A group's first stage waits for the end of the group two before it, so that no more than two are in scratch. Only
    which task comes after which is handed on, never cells.
    """

    def __init__(self, name: str, token: str, job: Rechunking, computed: bool, ending: Ending | None) -> None:
        super().__init__(name)
        self.token = token
        self.job = job
        self.computed = computed  # the first stage is another layer, fused with what computes its blocks
        self.ending = ending

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each stage's tasks."""
        count = len(self.job.move.blocks)
        words = _DIRECT if count == 1 else _STAGES[count - 2]
        return tuple(f"daskzarr-{word}-{self.token}" for word in words)

    def _make(self) -> Iterator[tuple[Any, Any]]:
        job, last = self.job, self.job.move.last
        members = self._members()
        gates: dict[int, list[Any]] = {}
        ready: dict[int, list[Any]] = {}
        for group in range(job.groups.count):
            before = gates.get(group - AHEAD, [])
            for stage in range(last + 1):
                keys: list[Any] = [(self.names[stage], *index) for index in members[stage][group]]
                if stage > 0 or not self.computed:
                    for n, key in enumerate(keys):
                        after = [TaskRef(before[n % len(before)])] if before else []
                        needed = self._needed(stage, key[1:])
                        yield key, Task(key, run_block, job.move, job.topic, stage, key[1:], needed, *after)
                if stage < last:
                    above = [*(yield from self._few(keys, passed, "seen", stage, group)), *ready.get(stage, [])[:1]]
                    count = _barriers(members[stage + 1][group])
                    ready[stage] = before = [(f"{self.name}-ready", stage, group, n) for n in range(count)]
                    for key in before:
                        yield key, Task(key, passed, *map(TaskRef, above))
            sums = yield from self._few(keys, add_up, "sum", last, group)
            if last == 0:
                break
            earlier = gates.get(group - 1, [])
            unneeded = self._unneeded(group, members)
            count = _barriers(unneeded)
            freeing = [(f"{self.name}-free", group, n) for n in range(count)]
            for n, key in enumerate(freeing):
                # The first one adds up; it has what was written in all groups before.
                # Blocks between may be made for later groups alone, where those of this one were made before.
                between = ready.get(last - 1, [])[:1] if last > 1 else []
                parts = [TaskRef(each) for each in (*sums, *earlier[:1], *between)]
                yield key, Task(key, free, job.move, group, tuple(unneeded[n::count]), n == 0, *parts)
            waiting = members[0][group + AHEAD] if group + AHEAD < job.groups.count else ()
            gates[group] = [(f"{self.name}-freed", group, n) for n in range(_barriers(waiting))]
            for n, key in enumerate(gates[group]):
                yield key, Task(key, add_up if n == 0 else passed, *map(TaskRef, freeing))
        roots = sums if last == 0 else gates[job.groups.count - 1][:1]
        yield self.name, Task(self.name, conclude, self.ending, *map(TaskRef, roots))

    def _needed(self, stage: int, index: Index) -> int:
        """The last group that needs a block."""
        groups = self.job.groups
        return int(groups.needed[stage][index[groups.axis]]) if groups.stages else 0

    def _few(
        self, keys: list[Any], function: Any, word: str, stage: int, group: int
    ) -> Generator[tuple[Any, Any], None, list[Any]]:
        """The keys, or those of tasks that stand for many of them each."""
        if len(keys) <= 2 * FAN_IN:
            return keys
        found = yield from reduced(f"{self.name}-{word}-{stage}-{group}", keys, function)
        return found

    def _members(self) -> list[list[list[Index]]]:
        """For each stage and group the blocks that are made."""
        job = self.job
        blocks, axis = job.move.blocks, job.groups.axis
        wanted: set[Index] | None = None
        found: list[list[list[Index]]] = []
        for stage in range(job.move.last, -1, -1):
            groups: list[list[Index]] = [[] for _ in range(job.groups.count)]
            made = job.groups.made[stage] if job.groups.stages else None
            for index in itertools.product(*map(range, blocks[stage].numblocks)):
                if (stage == job.move.last and index in job.finished) or (wanted is not None and index not in wanted):
                    continue
                groups[0 if made is None else int(made[index[axis]])].append(index)
            found.insert(0, groups)
            if stage and (job.finished or wanted is not None):
                wanted = {
                    producer for group in groups for index in group for producer in job.move.producers(stage, index)
                }
        return found

    def _unneeded(self, group: int, members: list[list[list[Index]]]) -> list[str]:
        """Keys of the objects in scratch that no later group needs."""
        job = self.job
        return [
            job.move.key(stage, index)
            for stage in range(job.move.last)
            for each in members[stage]
            for index in each
            if self._needed(stage, index) == group
        ]

    def get_output_keys(self) -> set[Any]:
        return {self.name}

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        if not self.computed:
            return self, {self.name: set()}
        members = self._members()[0]
        return self, {self.name: {(self.names[0], *index) for group in members for index in group}}


def _barriers(waiting: Sequence[Any]) -> int:
    """How many tasks say the same to those that wait."""
    return max(min(_BARRIERS, len(waiting)), 1)


def rechunk_graph(job: Rechunking, ending: Ending | None, given: da.Array | None = None) -> Write:
    """The write of one array; nothing runs yet. Names hold a random part.

    ``given`` is the array whose blocks are those of the first stage, where they are computed.
    """
    token = uuid.uuid4().hex
    root = f"daskzarr-rechunked-{token}"
    layer = RechunkLayer(root, token, job, given is not None, ending)
    if given is None:
        return Write(root, HighLevelGraph({root: layer}, {root: set()}), layer=root)
    source, graph = graph_of(given)
    name = layer.names[0]
    axes = tuple(f"axis{i}" for i in range(given.ndim))
    task = Task(name, run_given, *(TaskRef(blockwise_token(i)) for i in range(4)))
    inputs = [(job.move, None), (job.topic, None), (BlockBoxes(job.move.blocks[0]), axes), (source, axes)]
    first = Blockwise(name, axes, task, inputs, numblocks={source: given.numblocks})
    layers = {**graph.layers, name: first, root: layer}
    return Write(root, HighLevelGraph(layers, {**graph.dependencies, name: {source}, root: {name}}), layer=root)


def joined(writes: Sequence[Write], ending: Ending | None) -> Write:
    """Several writes as one, and what ends them all."""
    if len(writes) == 1 and ending is None:
        return writes[0]
    root = f"daskzarr-rechunked-{uuid.uuid4().hex}"
    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    for write in writes:
        layers.update(write.dask.layers)
        dependencies.update(write.dask.dependencies)
    keys = [write.key for write in writes]
    layers[root] = JoinLayer(root, keys, ending)
    return Write(root, HighLevelGraph(layers, {**dependencies, root: set(keys)}), layer=root)


class JoinLayer(LazyLayer):
    """The one task after several writes."""

    def __init__(self, name: str, keys: list[Any], ending: Ending | None) -> None:
        super().__init__(name)
        self.keys_before = keys
        self.ending = ending

    def _make(self) -> Iterator[tuple[Any, Any]]:
        yield self.name, Task(self.name, conclude, self.ending, *map(TaskRef, self.keys_before))

    def get_output_keys(self) -> set[Any]:
        return {self.name}

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        return self, {self.name: set(self.keys_before)}
