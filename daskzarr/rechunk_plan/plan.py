"""A way to rechunk an array, in numbers: the blocks of each stage, what they read, write and hold. Integers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from daskzarr.block_grid import BlockGrid, Cuts, ListedCuts, RegularCuts
from daskzarr.rechunk_plan.axis import meets
from daskzarr.rechunk_plan.groups import Groups
from daskzarr.rechunk_plan.picture import draw
from daskzarr.size_text import format_size

Index = tuple[int, ...]
Blocks = tuple[Cuts, ...]

PIECE_END = 8
"""Bytes behind each piece in scratch, for its checksum; the next one begins at a multiple of that."""


def piece_extra(itemsize: int) -> int:
    """The most bytes that a piece in scratch has beside its cells: its end, and what fills it up.

    >>> piece_extra(8), piece_extra(4), piece_extra(3)
    (8, 12, 15)
    """
    return 2 * PIECE_END - math.gcd(itemsize, PIECE_END)


@dataclass(frozen=True)
class Stage:
    """One pass over all cells: each task makes one block of it.

    Parameters
    ----------
    blocks
        The blocks that tasks make.
    gets, bytes_read
        Objects or parts of objects that all tasks read, and what they hold, decoded.
    puts, bytes_written
        Objects that all tasks write, and what they hold, before they are encoded.
    memory
        The most bytes that one task needs.
    """

    blocks: BlockGrid
    gets: int
    bytes_read: int
    puts: int
    bytes_written: int
    memory: int

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.blocks.block_count


@dataclass(frozen=True)
class RechunkPlan:
    """How an array is rechunked, in numbers. It prints as a table; nothing in it depends on Dask or on a store.

    One stage reads the source and writes the target. With more, all but the last write one object a task to scratch,
    which holds a piece for each block of the next stage that needs cells of it.

    Parameters
    ----------
    shape, itemsize
        Of the array; bytes of a cell as it is in memory.
    source, target
        How the source's and the target's stored objects cut each axis.
    stages
        One, two or three of them.
    groups
        The order in which blocks are made.
    seconds
        What the cost model expects.
    max_mem
        What a task was allowed to need, in bytes.
    """

    shape: tuple[int, ...]
    itemsize: int
    source: tuple[Cuts, ...]
    target: tuple[Cuts, ...]
    stages: tuple[Stage, ...]
    groups: Groups
    seconds: float
    max_mem: int

    @property
    def kind(self) -> str:
        """``direct``, ``packed`` (two stages) or ``three-stage``."""
        return ("direct", "packed", "three-stage")[len(self.stages) - 1]

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return math.prod(self.shape) * self.itemsize

    @property
    def tasks(self) -> int:
        """Tasks that move data."""
        return sum(stage.tasks for stage in self.stages)

    @property
    def gets(self) -> int:
        """Requests that read."""
        return sum(stage.gets for stage in self.stages)

    @property
    def puts(self) -> int:
        """Requests that write."""
        return sum(stage.puts for stage in self.stages)

    @property
    def bytes_read(self) -> int:
        """Bytes that are read, before they are decoded if nothing is compressed."""
        return sum(stage.bytes_read for stage in self.stages)

    @property
    def bytes_written(self) -> int:
        """Bytes that are written, if nothing is compressed."""
        return sum(stage.bytes_written for stage in self.stages)

    @property
    def amplification(self) -> float:
        """How often a cell is read."""
        return self.bytes_read / self.nbytes if self.nbytes else 1.0

    @property
    def memory(self) -> int:
        """The most bytes that a task needs."""
        return max(stage.memory for stage in self.stages)

    @property
    def scratch(self) -> int:
        """The most bytes in scratch at a time."""
        if len(self.stages) == 1:
            return 0
        axis, chain = self.groups.axis, [stage.blocks.axes for stage in self.stages]
        cells = self.nbytes // self.shape[axis]
        ends = []
        for pair in itertools.pairwise(chain):
            beside = [meets(*cuts) for i, cuts in enumerate(zip(*pair, strict=True)) if i != axis]
            ends.append(piece_extra(self.itemsize) * math.prod(beside))
        return min(self.groups.scratch([cells] * len(ends), ends), sum(s.bytes_written for s in self.stages[:-1]))

    def as_dict(self) -> dict[str, Any]:
        """The numbers, and the blocks by which the plan can be made again: values of JSON."""
        names = ("kind", "tasks", "gets", "puts", "bytes_read", "bytes_written", "memory", "scratch", "max_mem")
        return {
            "shape": list(self.shape),
            "itemsize": self.itemsize,
            **{name: getattr(self, name) for name in names},
            "amplification": round(self.amplification, 4),
            "seconds": round(float(self.seconds), 3),
            "groups": {"axis": self.groups.axis, "edges": list(self.groups.edges)},
            "blocks": [[_listed(axis) for axis in stage.blocks.axes] for stage in self.stages],
        }

    def explain(self) -> str:
        """A table of the stages, and what the plan comes to."""
        rows = [("stage", "reads", "blocks", "tasks", "GETs", "read", "PUTs", "written", "memory")]
        for n, stage in enumerate(self.stages):
            rows.append(
                (
                    str(n + 1),
                    "source" if n == 0 else "scratch",
                    " x ".join(_length(axis) for axis in stage.blocks.axes) or "1",
                    f"{stage.tasks:,}",
                    f"{stage.gets:,}",
                    format_size(stage.bytes_read),
                    f"{stage.puts:,}",
                    format_size(stage.bytes_written),
                    format_size(stage.memory),
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        shape = " x ".join(map(str, self.shape)) or "1 cell"
        chunks = [" x ".join(map(_length, axes)) or "1" for axes in (self.source, self.target)]
        lines = [f"{self.kind}: {shape}, {format_size(self.nbytes)}: chunks {chunks[0]} -> {chunks[1]}"]
        lines += ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
        total = f"{self.tasks:,} tasks, {self.gets:,} GETs, {self.puts:,} PUTs; every cell is read "
        total += f"{self.amplification:.3g} times; {format_size(self.memory)} of {format_size(self.max_mem)} a task"
        if len(self.stages) > 1:
            axis = self.groups.axis
            total += f"; {format_size(self.scratch)} of scratch, {self.groups.count} groups along axis {axis}"
        return "\n".join([*lines, total])

    def __str__(self) -> str:
        return self.explain()

    def to_svg(self) -> str:
        """A picture of the grids: source, blocks of each stage, target. Notebooks show it by themselves."""
        grids = [("source", self.source)]
        grids += [(f"blocks of stage {n + 1}", stage.blocks.axes) for n, stage in enumerate(self.stages)]
        note = f"{self.kind}: {self.tasks:,} tasks, every cell is read {self.amplification:.3g} times"
        return draw(self.shape, [*grids, ("target", self.target)], note)

    def _repr_html_(self) -> str:
        return f"{self.to_svg()}<pre>{escape(self.explain())}</pre>"


class RechunkPlans(dict[str, RechunkPlan]):
    """The plans of all arrays of a group, by path. They print one after the other."""

    def explain(self) -> str:
        """The tables of all."""
        return "\n".join(f"{path}: {plan}" for path, plan in self.items())

    def __str__(self) -> str:
        return self.explain()


def cuts_of(listed: Mapping[str, Any] | list[Any], size: int) -> Cuts:
    """Cuts from what :meth:`RechunkPlan.as_dict` says of them."""
    if isinstance(listed, list):
        return ListedCuts(tuple(listed))
    return RegularCuts(0, size, listed["every"])


def _listed(cuts: Cuts) -> Any:
    """Cuts as JSON has them."""
    return {"every": cuts.step} if isinstance(cuts, RegularCuts) else list(cuts.edges)


def _length(cuts: Cuts) -> str:
    """How an axis is cut, in a word."""
    if isinstance(cuts, RegularCuts):
        return str(cuts.step)
    lengths = cuts.lengths
    return str(lengths[0]) if len(set(lengths)) == 1 else f"{min(lengths)}..{max(lengths)}"
