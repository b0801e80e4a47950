"""Who writes what of a region -> how many tasks, objects and bytes: by counting along its axes, not one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from daskzarr.ownership import Index, Ownership
from daskzarr.write_plan.axis import Axis, Part, axes_of


class Counts(NamedTuple):
    """What is done of a region. ``lone`` blocks write all they have; joint objects are not among the objects."""

    blocks: int = 0
    merges: int = 0
    lone: int = 0
    objects: int = 0
    whole: int = 0
    shared: int = 0
    nbytes: int = 0
    crossing: int = 0

    def plus(self, other: Counts) -> Counts:
        """The sum of two."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class Joint(NamedTuple):
    """An object of several regions: cells inside the array, those that regions have, blocks with such, and theirs.

    ``coming`` counts the cells those blocks hand on in all, as they do that together.
    """

    size: int
    cells: int
    blocks: int
    coming: int


@dataclass(frozen=True)
class Region:
    """Who writes what of a region, and bytes of a cell in its blocks and as stored."""

    owners: Ownership
    axes: tuple[Axis, ...]
    itemsize: int
    stored: int

    @classmethod
    def of(cls, owners: Ownership, itemsize: int, stored: int) -> Region:
        """From its ownership."""
        return cls(owners, axes_of(owners), itemsize, stored)

    def count_all(self) -> Counts:
        """What is done of all of it."""
        objects = math.prod(len(axis.touched) for axis in self.axes)
        whole = math.prod(axis.full for axis in self.axes)
        nbytes = math.prod(self.owners.blocks.region.shape) * self.stored
        if self.owners.axes is None:
            blocks = self.owners.blocks.block_count
            return Counts(blocks, 0, blocks, objects, whole, 0, nbytes)
        shared = objects - math.prod(axis.unsplit for axis in self.axes)
        for _, parts in self.joint_parts():
            objects -= 1
            whole -= is_full(parts)
            shared -= any(len(part.blocks) > 1 for part in parts)
        blocks = math.prod(len(axis.filled) for axis in self.axes)
        merges = math.prod(sum(not s.joint for s in axis.segments) for axis in self.axes)
        if self.owners.gathers:
            sent = (sum(axis.coming(s.first, s.last) for s in axis.segments) for axis in self.axes)
            return Counts(blocks, merges, 0, objects, whole, shared, nbytes, math.prod(sent) * self.itemsize)
        merges -= math.prod(sum(s.single for s in axis.segments) for axis in self.axes)
        lone = math.prod(axis.lone for axis in self.axes)
        kept = math.prod(axis.own_cells for axis in self.owners.axes) * self.stored
        return Counts(blocks, merges, lone, objects, whole, shared, nbytes, nbytes - kept)

    def count_some(self, wanted: Iterable[Index]) -> Counts:
        """What is done of some objects, one by one; those the region has no cells in aside."""
        writing: set[Index] = set()
        handing: set[Index] = set()
        merges: set[Index] = set()
        found = Counts()
        for index in wanted:
            if not all(number in axis.touched for axis, number in zip(self.axes, index, strict=True)):
                continue
            parts = [axis.part(number) for axis, number in zip(self.axes, index, strict=True)]
            split = any(len(part.blocks) > 1 for part in parts)
            nbytes = math.prod(part.cells for part in parts) * self.stored
            if any(number in axis.joint for axis, number in zip(self.axes, index, strict=True)):
                handing.update(itertools.product(*(part.blocks for part in parts)))
                found = found.plus(Counts(nbytes=nbytes, crossing=nbytes))
                continue
            found = found.plus(Counts(objects=1, whole=is_full(parts), shared=split, nbytes=nbytes))
            at = tuple(part.segment for part in parts)
            if self._alone(at):
                writing.add(tuple(part.blocks[0] for part in parts))
            else:
                merges.add(at)
        for at in merges:
            segments = [axis.segments[i] for axis, i in zip(self.axes, at, strict=True)]
            pairs = list(zip(self.axes, segments, strict=True))
            handing.update(itertools.product(*(axis.blocks_in(s.first, s.last) for axis, s in pairs)))
            whole_blocks = math.prod(axis.coming(s.first, s.last) for axis, s in pairs) * self.itemsize
            pieces = math.prod(s.stop - s.start for s in segments) * self.stored
            found = found.plus(Counts(crossing=whole_blocks if self.owners.gathers else pieces))
        return found._replace(blocks=len(writing | handing), merges=len(merges), lone=len(writing - handing))

    def _alone(self, at: Index) -> bool:
        """Whether a block writes some segments' objects itself."""
        if self.owners.gathers:
            return False
        return self.owners.whole or all(axis.segments[i].single for axis, i in zip(self.axes, at, strict=True))

    def joint_parts(self) -> Iterator[tuple[Index, list[Part]]]:
        """The joint objects, and what the region has of each."""
        if not any(axis.joint for axis in self.axes):
            return
        parts = [{number: axis.part(number) for number in axis.touched} for axis in self.axes]
        for n, axis in enumerate(self.axes):
            before = ([i for i in other.touched if i not in other.joint] for other in self.axes[:n])
            after = (other.touched for other in self.axes[n + 1 :])
            for index in itertools.product(*before, axis.joint, *after):
                yield index, [each[number] for each, number in zip(parts, index, strict=True)]

    def handed_on(self, parts: list[Part]) -> int:
        """Cells that the blocks with cells in an object hand on in all."""
        pairs = [(axis, part.blocks[0], part.blocks[-1]) for axis, part in zip(self.axes, parts, strict=True)]
        coming = math.prod(axis.coming(first, last) for axis, first, last in pairs)
        return coming - math.prod(axis.kept(first, last) for axis, first, last in pairs)


def is_full(parts: list[Part]) -> bool:
    """Whether a region has all cells of an object that lie inside the array."""
    return all(part.cells == part.size for part in parts)


def joint_objects(regions: Iterable[Region]) -> dict[Index, Joint]:
    """The joint objects of regions that were assigned together, each once."""
    found: dict[Index, Joint] = {}
    for region in regions:
        for index, parts in region.joint_parts():
            size = math.prod(part.size for part in parts)
            before = found.get(index, Joint(size, 0, 0, 0))
            cells = before.cells + math.prod(part.cells for part in parts)
            blocks = before.blocks + math.prod(len(part.blocks) for part in parts)
            found[index] = Joint(size, cells, blocks, before.coming + region.handed_on(parts))
    return found
