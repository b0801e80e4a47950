"""What one write does, in numbers: tasks, stored objects, bytes, files, memory; as a table, a dict, and with limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from daskzarr.chunk_grid import Box
from daskzarr.errors import PlanLimitError
from daskzarr.size_text import format_size

Index = tuple[int, ...]

FAN_IN = 32  # receipts that one task adds up, at most
LEAST = 4  # and at least, where they are noted in a journal
PARTS = 40  # of a write; one of them is lost to a kill before it is noted

_JOURNAL_DOCUMENTS = 2
_SUMS = ("tasks", "receipts", "partial", "files", "memory")


@dataclass(frozen=True, slots=True)
class PlannedArray:
    """An array that a write goes to: where it is, the regions, and the shape of its stored objects.

    ``inner_shape`` is that of the chunks in each of them, if they are shards.
    """

    url: str
    node: str
    regions: tuple[Box, ...]
    object_shape: tuple[int, ...]
    inner_shape: tuple[int, ...] | None

    def __str__(self) -> str:
        place = f"/{self.node} in {self.url}"
        if len(self.regions) == 1:
            return f"{place} [{', '.join(f'{a}:{b}' for a, b in zip(*self.regions[0], strict=True)) or '...'}]"
        return f"{place}, {len(self.regions)} regions"


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What one write will do, known before a byte is written. Plans of several arrays add up to that of one call.

    Parameters
    ----------
    arrays
        Where it goes, and in objects of which shape.
    blocks, merges
        Tasks: one for each block, and those of stored objects that get cells from several blocks. Steps before a write
        that Dask cannot fuse with it are tasks of their own, and not counted.
    leaves
        Tasks that leave receipts, and whether a journal notes these, by region.
    objects, whole, shared
        Stored objects that are written; those of which the region has all cells inside the array, so that nothing is
        read; those in which several blocks have cells.
    nbytes
        Cells to be written, before they are encoded.
    crossing
        Bytes handed from task to task: pieces of blocks, or whole blocks where most cells would cross anyway.
    documents, journals
        Metadata documents and journals that are written besides.
    block_memory, merge_memory
        Bytes that one task of each kind needs at most: blocks and pieces that come in, padding, codecs' buffers, and
        what is read to be merged. What the libraries of codecs take for themselves is not known and not in it, nor what
        the steps take that compute a block: of them, the block alone is counted.
    largest
        Bytes of the largest stored object, before it is encoded.
    varying
        Whether cells, such as texts, have no fixed size: in all bytes here each counts as a reference to it only.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr import plan
    >>> x = da.zeros((4000, 4000), chunks=100, dtype="f4")
    >>> found = plan(x, {}, chunks=(30, 30))
    >>> found.blocks, found.merges, found.objects, found.partial
    (1600, 2756, 17956, 0)
    >>> found.check(max_files=20_000) is found
    True
    """

    arrays: tuple[PlannedArray, ...] = ()
    blocks: int = 0
    merges: int = 0
    leaves: tuple[tuple[int, bool], ...] = ()
    objects: int = 0
    whole: int = 0
    shared: int = 0
    nbytes: int = 0
    crossing: int = 0
    documents: int = 0
    journals: int = 0
    block_memory: int = 0
    merge_memory: int = 0
    largest: int = 0
    varying: bool = False

    @property
    def partial(self) -> int:
        """Objects that are read, merged and written: the region has not all of their cells inside the array."""
        return self.objects - self.whole

    @property
    def receipts(self) -> int:
        """Tasks that note receipts, add them up and end the write: a tree above all regions."""
        sets = [(count, fan_in(count, noted)) for count, noted in self.leaves if count]
        if len(sets) == 1 and sets[0][0] <= sets[0][1]:
            return 1
        level = total = sum(-(-count // few) for count, few in sets)
        while level > FAN_IN:
            level = -(-level // FAN_IN)
            total += level
        return total + 1

    @property
    def tasks(self) -> int:
        """Tasks of all kinds."""
        return self.blocks + self.merges + self.receipts

    @property
    def files(self) -> int:
        """Files, or objects of an object store, at most: chunks of nothing but fill are left out. Folders aside."""
        notes = sum(-(-count // fan_in(count, noted)) for count, noted in self.leaves if noted and count)
        return self.objects + self.documents + _JOURNAL_DOCUMENTS * self.journals + notes

    @property
    def memory(self) -> int:
        """Bytes that one task needs at most."""
        return max(self.block_memory, self.merge_memory)

    def __add__(self, other: WritePlan) -> WritePlan:
        if not isinstance(other, WritePlan):
            return NotImplemented
        most = ("block_memory", "merge_memory", "largest", "varying")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in self.__slots__}
        return WritePlan(**{name: max(a, b) if name in most else a + b for name, (a, b) in pairs.items()})

    def as_dict(self) -> dict[str, Any]:
        """The plan for machines: names and numbers that JSON can say.

        Returns
        -------
        dict
            Every figure by its name, and ``arrays``, each with its place, regions as pairs of start and stop for each
            axis, and shapes.
        """
        arrays = [
            {
                "url": each.url,
                "node": each.node,
                "regions": [[list(pair) for pair in zip(*box, strict=True)] for box in each.regions],
                "object_shape": list(each.object_shape),
                "inner_shape": None if each.inner_shape is None else list(each.inner_shape),
            }
            for each in self.arrays
        ]
        figures = [*_SUMS, *(name for name in self.__slots__ if name not in ("arrays", "leaves"))]
        return {"arrays": arrays, **{name: getattr(self, name) for name in figures}}

    def check(self, max_files: int | None = None, max_mem: int | None = None) -> WritePlan:
        """The plan itself, if it keeps to limits.

        Parameters
        ----------
        max_files
            The most files it may make. Default None: any number.
        max_mem
            The most bytes of memory that one task may need. Default None: any number.

        Raises
        ------
        PlanLimitError
            If it exceeds one. It names the figure, the limit, and what to change.
        """
        if max_files is not None and self.files > max_files:
            raise self._excess(
                f"the write makes up to {self.files:,} files, and max_files is {max_files:,}; make chunks larger, or "
                "put many into each stored object with shards="
            )
        if max_mem is not None and self.memory > max_mem:
            hint = "make dask's blocks smaller"
            if self.merge_memory == self.memory:
                hint += ', or of whole stored objects each with align="rechunk"'
            if 4 * self.largest > max_mem:
                hint += f", and the stored objects, of {format_size(self.largest)} each, smaller too"
            found, limit = format_size(self.memory), format_size(max_mem)
            raise self._excess(f"a task needs up to {found} of memory, and max_mem is {limit}; {hint}")
        return self

    def _excess(self, message: str) -> PlanLimitError:
        """The error for a limit that is exceeded."""
        places = {(each.url, each.node) for each in self.arrays}
        url, node = places.pop() if len(places) == 1 else (None, None)
        return PlanLimitError(message, url=url, node=node)

    def __str__(self) -> str:
        kinds = {(each.object_shape, each.inner_shape) for each in self.arrays}
        shapes = ", ".join(sorted(_format_shapes(*kind) for kind in kinds))
        rows = [("write", str(each)) for each in self.arrays[:3]]
        rows += [("", f"and {len(self.arrays) - 3:,} more arrays")] if len(self.arrays) > 3 else []
        rows += [
            ("stored objects", f"{shapes}, {format_size(self.largest)} at most"),
            ("objects", f"{self.objects:,} ({self.whole:,} whole, {self.partial:,} read and merged)"),
            ("", f"{self.shared:,} with cells of several blocks"),
            ("cells", f"{format_size(self.nbytes)} before they are encoded"),
            ("tasks", f"{self.tasks:,} ({self.blocks:,} blocks, {self.merges:,} merges, {self.receipts:,} receipts)"),
            ("between tasks", format_size(self.crossing)),
            ("files", f"at most {self.files:,}"),
            ("memory", f"at most {format_size(self.memory)} a task, and what computing a block takes"),
        ]
        rows += [("", "texts and objects are counted as references only")] if self.varying else []
        return "\n".join(f"{name:<16}{text}" for name, text in rows)


def together(plans: Iterable[WritePlan]) -> WritePlan:
    """The plan of one call that writes several arrays: tasks, bytes and files add up, of memory it is the most.

    Examples
    --------
    >>> together([WritePlan(blocks=3, block_memory=7), WritePlan(blocks=2, block_memory=5)]).blocks
    5
    """
    return sum(plans, WritePlan())


def fan_in(count: int, noted: bool) -> int:
    """Of how many tasks the receipts are added up together: fewer where there are few, and a journal notes them.

    >>> fan_in(400, True), fan_in(400, False)
    (10, 32)
    """
    return min(max(count // PARTS, LEAST), FAN_IN) if noted else FAN_IN


def _format_shapes(object_shape: Index, inner_shape: Index | None) -> str:
    """Shapes as the table shows them."""
    text = " x ".join(map(str, object_shape)) or "one cell"
    return text if inner_shape is None else f"{text} in chunks of {' x '.join(map(str, inner_shape))}"
