"""A function and many items -> one delayed value: what it gives for a few items at a time, all in one list."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dask.delayed import Delayed

from daskzarr.graph.dask_names import HighLevelGraph, Layer, Task, TaskRef
from daskzarr.graph.tree import LazyLayer, reduced

Finish = Callable[[list[Any]], Any]
"""What the list of all results becomes."""


def map_batches(
    function: Callable[[Any, Sequence[Any]], Any],
    common: Any,
    items: Sequence[Any],
    batch: int,
    *,
    finish: Finish = list,
) -> Delayed:
    """What a function gives for many items, a batch of them by one task; nothing runs yet.

    Parameters
    ----------
    function
        Called with ``common`` and the items of one batch; its name becomes that of the tasks.
    common
        What all tasks are given; it travels with each, and has to be small.
    items
        Anything that has a length and can be sliced. Slices travel with the tasks: those of a ``range`` are small.
    batch
        How many items a task gets, at most.
    finish
        Called by the last task with the list of all results, in the order of the items. Default: the list itself.

    Returns
    -------
    Delayed
        Its ``compute()`` gives what ``finish`` returns. Names hold a random part: the same call again runs again.

    Examples
    --------
    >>> map_batches(lambda start, items: start + sum(items), 100, range(5), 2).compute()
    [101, 105, 104]
    """
    token = uuid.uuid4().hex
    root = f"daskzarr-gathered-{token}"
    word = getattr(function, "__name__", "batch").strip("_<>").replace("_", "-")
    layer = BatchTree(root, f"daskzarr-{word}-{token}", function, common, items, batch, finish)
    return Delayed(root, HighLevelGraph({root: layer}, {root: set()}), layer=root)


def one_list(*parts: list[Any]) -> list[Any]:
    """The lists of several tasks as one."""
    return list(itertools.chain(*parts))


def finish_list(finish: Finish, *parts: list[Any]) -> Any:
    """The last task: what becomes of all results."""
    return finish(one_list(*parts))


def run_batch(function: Callable[[Any, Sequence[Any]], Any], common: Any, items: Sequence[Any]) -> list[Any]:
    """The task of one batch: its result, as a list of one."""
    return [function(common, items)]


class BatchTree(LazyLayer):
    """One task a batch, and those that gather what they give, a few at a time."""

    def __init__(
        self,
        name: str,
        leaf: str,
        function: Callable[[Any, Sequence[Any]], Any],
        common: Any,
        items: Sequence[Any],
        batch: int,
        finish: Finish,
    ) -> None:
        super().__init__(name)
        self.leaf = leaf
        self.function = function
        self.common = common
        self.work = items
        self.batch = batch
        self.finish = finish

    def _make(self) -> Iterator[tuple[Any, Any]]:
        level: list[Any] = []
        for start in range(0, len(self.work), self.batch):
            level.append((self.leaf, len(level)))
            few = self.work[start : start + self.batch]
            yield level[-1], Task(level[-1], run_batch, self.function, self.common, few)
        level = yield from reduced(self.name, level, one_list)
        yield self.name, Task(self.name, finish_list, self.finish, *map(TaskRef, level))

    def get_output_keys(self) -> set[Any]:
        return {self.name}

    def cull(self, keys: set[Any], all_hlg_keys: Iterable[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        return self, {self.name: set()}
