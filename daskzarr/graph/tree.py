"""The tasks of a write, by key -> a few at a time their receipts are noted, added up, and one task ends the write."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import WriteFailedError
from daskzarr.graph.dask_names import HighLevelGraph, Layer, Task, TaskRef
from daskzarr.graph.shares import Shares
from daskzarr.journal import Journal
from daskzarr.receipt import Outcome, Written
from daskzarr.stores import FinishingStore, Store
from daskzarr.stores.retries import persist
from daskzarr.write_plan import FAN_IN, fan_in

Ending = Callable[[Written], None]
"""What is left to do once everything is written."""


@dataclass(frozen=True)
class Finishing:
    """What is left to do in the end, once stores have shown what was written to everyone."""

    stores: tuple[FinishingStore, ...]
    ending: Ending | None

    def __call__(self, written: Written) -> None:
        for store in self.stores:
            persist(store.finish)
        if self.ending is not None:
            self.ending(written)


def finishing(stores: Iterable[Store], ending: Ending | None) -> Ending | None:
    """What is left to do in the end of a write to stores."""
    found = tuple(dict.fromkeys(store for store in stores if isinstance(store, FinishingStore)))
    return Finishing(found, ending) if found else ending


@dataclass(frozen=True)
class Leaves:
    """Tasks that write, whose receipts go to one journal.

    ``layer`` names the tasks of blocks, ``cells`` that of cells, where there are any. With ``shares`` None the blocks
    are those of ``numblocks``, all of them.
    """

    layer: str
    numblocks: tuple[int, ...]
    shares: Shares | None = None
    cells: str | None = None
    journal: Journal | None = None

    def tasks(self) -> Iterator[Any]:
        """Keys of the tasks."""
        if self.shares is None:
            yield from ((self.layer, *index) for index in itertools.product(*map(range, self.numblocks)))
            return
        yield from ((self.layer, *block) for block in self.shares.lone_blocks())
        yield from ((self.cells, *cell.at) for cell in self.shares.cells())


@dataclass(frozen=True)
class ListedLeaves:
    """Tasks that write, by key."""

    listed: tuple[Any, ...]
    journal: Journal | None = None

    def tasks(self) -> Iterator[Any]:
        """Keys of the tasks."""
        return iter(self.listed)


def settle(journal: Journal | None, *outcomes: Outcome) -> Written:
    """Note what some tasks did, after they did it, and add it up."""
    receipts = [receipt for outcome in outcomes for receipt in outcome.receipts]
    if journal is not None and receipts:
        journal.note(receipts)
    return Written.of(outcomes)


def add_up(*parts: Written) -> Written:
    """The sum of several sums."""
    return sum(parts, Written())


def conclude(ending: Ending | None, *parts: Written) -> Written:
    """The last task: what is to be done once everything is written is done, if it is."""
    written = add_up(*parts)
    if written.failures:
        key, reason = written.failures[0]
        error = WriteFailedError(
            f"{len(written.failures)} objects were not written, the other {written.objects} were; the first is {key}: "
            f"{reason}; an array that was to be overwritten or to grow is as it was. The same "
            "call with resume=True writes what is missing; pass the same token= to both if the code has to change"
        )
        error.failures = written.failures
        raise error
    if ending is not None:
        ending(written)
    return written


def settle_all(journal: Journal | None, ending: Ending | None, *outcomes: Outcome) -> Written:
    """The last task of a small write, which is the only one."""
    return conclude(ending, settle(journal, *outcomes))


class LazyLayer(Layer):  # type: ignore[misc]
    """Tasks that are made when they are asked for; what they are made from is all that travels."""

    has_legacy_tasks = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._tasks: dict[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tasks": None}

    def _make(self) -> Iterator[tuple[Any, Any]]:
        """Each key and its task."""
        raise NotImplementedError

    def _made(self) -> dict[Any, Any]:
        """The tasks, made once."""
        if self._tasks is None:
            self._tasks = dict(self._make())
        return self._tasks

    def is_materialized(self) -> bool:
        return self._tasks is not None

    def get_output_keys(self) -> set[Any]:
        return set(self._made())

    def __getitem__(self, key: Any) -> Any:
        return self._made()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())


class ReceiptTree(LazyLayer):
    """Notes and adds up what all tasks did, a few at a time, so that no task and no message grows with their number.

    A few tasks of one journal are noted by one request, once they are done. ``origin`` is the graph of the write before
    it was fused: computed together with another write, steps they share are found there and run once.
    """

    def __init__(
        self, name: str, leaves: tuple[Leaves | ListedLeaves, ...], origin: HighLevelGraph, ending: Ending | None = None
    ) -> None:
        super().__init__(name)
        self.leaves = leaves
        self.origin = origin
        self.ending = ending

    def _make(self) -> Iterator[tuple[Any, Any]]:
        sets = [(leaves.journal, list(leaves.tasks())) for leaves in self.leaves]
        sets = [(journal, keys) for journal, keys in sets if keys]
        if len(sets) == 1 and len(sets[0][1]) <= fan_in(len(sets[0][1]), sets[0][0] is not None):
            journal, keys = sets[0]
            yield self.name, Task(self.name, settle_all, journal, self.ending, *map(TaskRef, keys))
            return
        level: list[Any] = []
        for n, (journal, keys) in enumerate(sets):
            for i, few in enumerate(_in_fews(keys, fan_in(len(keys), journal is not None))):
                level.append(key := (self.name, 0, n, i))
                yield key, Task(key, settle, journal, *map(TaskRef, few))
        level = yield from reduced(self.name, level, add_up)
        yield self.name, Task(self.name, conclude, self.ending, *map(TaskRef, level))

    def get_output_keys(self) -> set[Any]:
        return {self.name}

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        return self, {self.name: {key for leaves in self.leaves for key in leaves.tasks()}}


def reduced(name: str, keys: list[Any], function: Callable[..., Any]) -> Generator[tuple[Any, Any], None, list[Any]]:
    """Tasks that put the results of others together, a few at a time, until one task can take the rest: their keys."""
    for height in itertools.count(1):
        if len(keys) <= FAN_IN:
            break
        above: list[Any] = []
        for i, few in enumerate(_in_fews(keys, FAN_IN)):
            above.append(key := (name, height, i))
            yield key, Task(key, function, *map(TaskRef, few))
        keys = above
    return keys


def _in_fews(keys: list[Any], count: int) -> Iterator[list[Any]]:
    """The keys, so many at a time."""
    return (keys[i : i + count] for i in range(0, len(keys), count))
