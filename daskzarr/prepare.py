"""What is to be written, and how -> a write that is checked and planned, or found again; nothing is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
from dask.utils import parse_bytes

from daskzarr.alignment import owned_blocks
from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.checksum import crc32c
from daskzarr.chunk_grid import Box
from daskzarr.errors import MetadataError, NodeExistsError, ResumeError, short
from daskzarr.hierarchy import StoredArray
from daskzarr.hierarchy.notes import notes_at
from daskzarr.hierarchy.staging import Staged
from daskzarr.journal import Journal, differences, journal_for, journals_of, noted
from daskzarr.metadata import ArrayMetadata, ChunkGrid
from daskzarr.ownership import Align, Index, Ownership, assign, assign_together, overlapping
from daskzarr.receipt import Receipt
from daskzarr.regions import check_cast, place_blocks, reads_from, region_blocks
from daskzarr.stores import Location, SurveyStore
from daskzarr.stores.retries import get_many
from daskzarr.write_plan import WritePlan, plan_write

NEW, WHOLE = "new", "whole"

_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "align": ("merge", "rechunk", "error"),
    "resume": (False, True, "auto"),
    "durability": ("close", "fsync"),
    "failures": ("raise", "collect"),
}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What every verb that writes can be told, checked; the verbs say what each means."""

    align: Align = "merge"
    resume: bool | Literal["auto"] = False
    journal: Any = None
    token: str | None = None
    durability: Literal["close", "fsync"] = "close"
    failures: Literal["raise", "collect"] = "raise"
    only: Collection[Any] | None = None
    write_empty_chunks: bool = False
    max_files: int | None = None
    max_mem: int | str | None = None

    @classmethod
    def among(cls, given: Mapping[str, Any]) -> WriteOptions:
        """Those among the arguments of a verb."""
        return cls(**{each.name: given[each.name] for each in fields(cls) if each.name in given})

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
                raise MetadataError(f"{name} is {short(value)}; it can be {', '.join(map(repr, choices))}", field=name)
        if self.token is not None and not isinstance(self.token, str):
            raise MetadataError(f"token is {short(self.token)}; it has to be text", field="token")
        if self.only is not None and (isinstance(self.only, (str, bytes)) or not isinstance(self.only, Collection)):
            raise MetadataError(
                f"only is {short(self.only)}; it has to be a list of chunk keys or indices", field="only"
            )
        if not isinstance(self.write_empty_chunks, bool):
            raise MetadataError(f"write_empty_chunks is {short(self.write_empty_chunks)}", field="write_empty_chunks")
        files = self.max_files
        if files is not None and (isinstance(files, bool) or not isinstance(files, int) or files < 0):
            raise MetadataError(f"max_files is {short(files)}; it has to be a number of files", field="max_files")
        self.mem_limit  # noqa: B018  refused here, if it is none

    @property
    def mem_limit(self) -> int | None:
        """The most bytes a task may need."""
        return None if self.max_mem is None else bytes_of(self.max_mem, least=0)


def bytes_of(max_mem: Any, *, least: int) -> int:
    """The bytes that a limit of memory says, as a number or as text."""
    try:
        limit = int(parse_bytes(max_mem))
        if limit < least or isinstance(max_mem, bool):
            raise ValueError
        return limit
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise MetadataError(
            f"max_mem is {short(max_mem)}; it has to be bytes, or text like '2 GiB'", field="max_mem"
        ) from None


@dataclass(frozen=True)
class Resumed:
    """A write that was begun before: where its chunks are, and what it has finished, or that it has finished all."""

    target: Location
    receipts: Mapping[str, Receipt]
    complete: bool = False


def _is_chunk(number: Any, count: int) -> bool:
    """Whether there is a chunk of a number along an axis."""
    return isinstance(number, (int, np.integer)) and 0 <= int(number) < count


@dataclass(frozen=True)
class Prepared:
    """What one call writes to one array: all is checked, nothing is written.

    ``old`` is the array as it is, None for a new one; ``metadata`` what it has once all is written. A ``fresh`` one is
    in a group that the same call makes, so that nothing is there and nothing is noted of it.
    """

    place: Location
    metadata: ArrayMetadata
    parts: tuple[tuple[da.Array, Ownership], ...]
    options: WriteOptions
    old: StoredArray | None = None
    overwrite: bool = False
    staged: Staged | None = None
    journal: Journal | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    resumed: Resumed | None = None
    exclusive: bool = False
    fresh: bool = False

    @property
    def regions(self) -> tuple[Box, ...]:
        """The cells that are written."""
        return tuple(owners.blocks.region for _, owners in self.parts)

    @property
    def wanted(self) -> frozenset[Index] | None:
        """The objects that are to be written, by index; None for all."""
        if self.options.only is None:
            return None
        encoding, grid = self.metadata.chunk_key_encoding, self.metadata.chunk_grid
        found = set()
        for each in self.options.only:
            index = encoding.decode(each) if isinstance(each, str) else each if isinstance(each, tuple) else None
            if not grid.counts and each == encoding.encode(()):
                index = ()
            if index is None or len(index) != len(grid.counts) or not all(map(_is_chunk, index, grid.counts)):
                raise self._refused(
                    each, f"no chunk of the array; a key is {encoding.encode((0,) * len(grid.counts))!r}"
                )
            if overlapping([grid.box(index), *self.regions]) is None and self.regions[0].shape:
                raise self._refused(each, "a chunk that has no cell in the region")
            found.add(index)
        return frozenset(found)

    def _refused(self, each: Any, why: str) -> MetadataError:
        """The error that ``only`` names something else than what can be written."""
        return MetadataError(f"only names {short(each)}, which is {why}", field="only")

    @property
    def plan(self) -> WritePlan:
        """What is left to do of the write, in numbers."""
        target = StoredArray(self.place, self.metadata)
        return plan_write(
            ArrayHandle.of(target, write_empty_chunks=self.options.write_empty_chunks, allow_pickle=True),
            [owners for _, owners in self.parts],
            itemsizes=[arr.dtype.itemsize for arr, _ in self.parts],
            documents=1 if self.old is None or self.old.metadata != self.metadata else 0,
            journal=self.journal is not None,
            cast=any(arr.dtype != self.metadata.data_type.dtype for arr, _ in self.parts),
            remaining=self._remaining(),
        )

    def _remaining(self) -> frozenset[Index] | None:
        """The objects that are still to be written, by index; None for all."""
        wanted = self.wanted
        if self.resumed is None:
            return wanted
        touched = {part.chunk for region in self.regions for part in self.metadata.chunk_grid.project(region)}
        return frozenset(at for at in touched if not self.is_finished(at) and (wanted is None or at in wanted))

    def is_finished(self, index: Index) -> bool:
        """Whether an object was written before."""
        if self.resumed is None or self.resumed.complete:
            return self.resumed is not None
        return self.metadata.chunk_key_encoding.encode(index) in self.resumed.receipts

    def covers(self, index: Index) -> bool:
        """Whether a region has all cells of an object."""
        box = self.metadata.chunk_grid.box(index)
        return any(all(a <= c and d <= b for a, b, c, d in zip(*region, *box, strict=True)) for region in self.regions)

    def checked(self) -> Prepared:
        """The same, if it keeps the limits and its codecs can write."""
        handle = ArrayHandle.of(StoredArray(self.place, self.metadata), allow_pickle=True)
        handle.pipeline.check_can_write()
        self.wanted  # noqa: B018  what only= names is looked at here
        if self.options.max_files is not None or self.options.max_mem is not None:
            self.plan.check(max_files=self.options.max_files, max_mem=self.options.mem_limit)
        return self


def home_of(place: Location, options: WriteOptions) -> Location | None:
    """Where what is noted of writes of a node goes; None if nothing is."""
    if options.journal is None and not dask.config.get("daskzarr.journal", True):
        return None
    return notes_at(place, options.journal)


def divide(arr: da.Array, blocks: BlockGrid, grid: ChunkGrid, options: WriteOptions) -> tuple[da.Array, Ownership]:
    """Who writes what; with "rechunk" of other blocks, with "error" only if every block has whole objects."""
    return divide_together([arr], [blocks], grid, options)[0]


def divide_together(
    arrays: Sequence[da.Array], regions: Sequence[BlockGrid], grid: ChunkGrid, options: WriteOptions
) -> tuple[tuple[da.Array, Ownership], ...]:
    """The same for several regions of one array."""
    gather = options.failures == "raise"  # a block that fails on its way to others cannot say so
    if options.align == "error":
        for blocks in regions:
            owned_blocks([axis.lengths for axis in blocks.axes], blocks.region.start, grid)
    if options.align == "rechunk":
        owners = [assign(blocks, grid) for blocks in regions]
        pairs = zip(arrays, owners, strict=True)
        arrays = [arr if each.whole else arr.rechunk(each.rounded) for arr, each in pairs]
        regions = [place_blocks(arr, b.region.start, b.dropped) for arr, b in zip(arrays, regions, strict=True)]
    return tuple(zip(arrays, assign_together(regions, grid, gather=gather), strict=True))


def terms_of(
    verb: str, metadata: ArrayMetadata, parts: Sequence[tuple[da.Array, Ownership]], options: WriteOptions
) -> dict[str, Any]:
    """What a write is known by: the same call has the same, in every process."""
    shape, data_type, grid, encoding, separator, codecs, fill_value, zarr_format = json.loads(metadata.compact())
    return {
        "verb": verb,
        "shape": shape,
        "data_type": data_type,
        "chunks": grid,
        "chunk_key_encoding": [encoding, separator],
        "codecs": codecs,
        "fill_value": fill_value,
        "zarr_format": zarr_format,
        "attributes": metadata.attributes if verb == NEW else None,
        "dimension_names": metadata.dimension_names if verb == NEW else None,
        "write_empty_chunks": options.write_empty_chunks,
        "region": [list(zip(*owners.blocks.region, strict=True)) for _, owners in parts],
        "only": None if options.only is None else sorted(map(str, options.only)),
        "source": options.token if options.token is not None else [arr.name for arr, _ in parts],
    }


def write_id(word: str, *what: Any) -> str:
    """A name for writes of one kind to one part of an array."""
    return f"{word}-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"


def _has_begun(journal: Journal) -> bool:
    """Whether there is such a write."""
    return journal.begun


def _has_finished(journal: Journal) -> bool:
    """Whether a write came to its end."""
    return journal.finished


def take_up(journals: Sequence[Journal], terms: Mapping[str, Any], options: WriteOptions) -> Journal | None:
    """The journal of a write that was begun before by the same call; None where there is none, and need not be."""
    journal = min(filter(_has_begun, journals), key=_has_finished, default=None)
    if journal is not None:
        different = differences(terms, journal.terms())
        if not different:
            return journal
        if journal.finished and options.resume == "auto":
            return None
        if different == ("source",):
            hint = "; if it is the same source after all, pass the same token= to both calls"
        else:
            hint = ""
        raise ResumeError(
            f"the write that was begun here is another one: {', '.join(different)} differ{hint}; make the same call, "
            "or begin anew with resume=False (and overwrite=True or mode='w', where there is to be a new one)",
            url=journal.url,
            node=journal.node,
            field=different[0],
        )
    if options.resume is True:
        raise ResumeError(
            "there is no write to take up again: none of this array and region was begun with a journal; pass "
            'resume="auto" to begin one'
        )
    return None


def resume_from(prepared: Prepared, journal: Journal, target: Location) -> Prepared:
    """The write with what it has finished, as far as that is still there.

    An object that has cells of others too is read, as they may have been written since.
    """
    receipts, ended = journal.receipts(), journal.finished
    for key, later in noted(_later(prepared, journal)).items():
        if ended and key in receipts:
            receipts[key] = later  # repaired since, or written over: that is how it is to be there
        else:
            receipts.pop(key, None)
    lead = len(target.path) + 1 if target.path else 0
    if receipts and isinstance(target.store, SurveyStore):
        there = {key[lead:]: size for key, size in target.store.survey(target.path)}
        receipts = {
            key: receipt
            for key, receipt in receipts.items()
            if receipt.digest is None or (key in there and there[key] in (None, receipt.nbytes))
        }
    decode = prepared.metadata.chunk_key_encoding.decode
    in_part = [key for key in receipts if (at := decode(key)) is not None and not prepared.covers(at)]
    values = get_many(target.store, [target.key(key) for key in in_part])
    for key, value in zip(in_part, values, strict=True):
        found = None if value is None else crc32c(value)
        if found != receipts[key].digest:
            del receipts[key]
    return replace(prepared, journal=journal, resumed=Resumed(target, receipts))


def _later(prepared: Prepared, journal: Journal) -> list[Journal]:
    """The writes of the same node that were begun after one."""
    started = journal.started
    home = home_of(prepared.place, prepared.options)
    return [other for other in journals_of(prepared.place, home) if other.started > started]


def prepare_regions(
    target: StoredArray, given: Sequence[tuple[da.Array, Any]], options: WriteOptions, *, verb: str
) -> Prepared:
    """The write of several arrays to regions of one that exists."""
    grid = target.metadata.chunk_grid
    arrays = [arr for arr, _ in given]
    regions = [region_blocks(arr, region, target) for arr, region in given]
    boxes = [blocks.region for blocks in regions]
    both = overlapping(boxes)
    if both is not None:
        raise MetadataError(
            f"the regions {given[both[0]][1]!r} and {given[both[1]][1]!r} overlap: which "
            "of two cells stays would be left to chance",
            field="region",
        )
    for arr in arrays:
        check_cast(arr, target.dtype, target.location)
        if any(reads_from(arr, target.location, box) for box in boxes):
            raise NodeExistsError(
                "the array to be written is read from the very cells it would go to; write it elsewhere, overwrite the "
                "whole array with overwrite=True, or load it first with persist() or compute()"
            )
    parts = divide_together(arrays, regions, grid, options)
    home = home_of(target.location, options)
    journal = None if home is None else journal_for(target.location, home, write_id("region", *boxes, options.only))
    terms = terms_of(verb, target.metadata, parts, options)
    prepared = Prepared(target.location, target.metadata, parts, options, old=target, journal=journal, terms=terms)
    if options.resume:
        found = take_up([] if journal is None else [journal], terms, options)
        if found is not None and not (found.finished and options.resume == "auto"):
            return resume_from(prepared, found, target.location)
    return prepared
