"""One task of rechunking: a block of a stage, from the source or from scratch -> scratch, or the target."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import BlockGrid
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io.conforming import cast_exactly
from daskzarr.chunk_io.reading import Array, each_part, read_box
from daskzarr.chunk_io.scratch import Layout, Packing, unpack
from daskzarr.chunk_io.writing import Terms, write_box
from daskzarr.errors import CodecError, StoreError, raise_from
from daskzarr.hierarchy import store_error, writable
from daskzarr.journal import Journal
from daskzarr.receipt import Outcome, Written
from daskzarr.rechunk_plan import Index, touched
from daskzarr.stores import Location, SizedStore, Traffic
from daskzarr.stores.overlap import overlapped
from daskzarr.stores.retries import persist

_READ_AGAIN = 3  # times a piece is read whose bytes are not those that were written


@dataclass(frozen=True)
class Move:
    """What all tasks that rechunk one array share.

    Parameters
    ----------
    source
        The stored array; None if its blocks are computed.
    target
        The new array.
    blocks
        The blocks of each stage.
    dtype
        Of the cells as they are read.
    scratch
        Where objects between stages go; None with one stage.
    traffic
        How requests to scratch go.
    terms, journal
        How objects of the target are written, and where that is noted.
    run
        Tells this run from others: what its tasks have noted, no other run takes for its own.
    """

    source: ArrayHandle | None
    target: ArrayHandle
    blocks: tuple[BlockGrid, ...]
    dtype: np.dtype[Any]
    scratch: Location | None
    traffic: Traffic
    terms: Terms
    journal: Journal | None
    run: str

    def mark(self, group: int) -> str:
        """Key of the mark that this run is done with a group, below scratch."""
        return f"done-{self.run}-{group}.json"

    @cached_property
    def last(self) -> int:
        """Number of the stage that writes the target."""
        return len(self.blocks) - 1

    def layout(self, stage: int, index: Index) -> Layout:
        """Of the object of a block in scratch."""
        return Layout.of(self.blocks[stage].box(index), self.blocks[stage + 1].axes, self.dtype)

    def producers(self, stage: int, index: Index) -> Iterator[Index]:
        """The blocks of the stage before that have cells of a block."""
        box = self.blocks[stage].box(index)
        return itertools.product(*(touched(*axis) for axis in zip(self.blocks[stage - 1].axes, *box, strict=True)))

    def key(self, stage: int, index: Index) -> str:
        """Key of the object of a block, below scratch."""
        return f"{stage}/{'.'.join(map(str, index)) or '0'}"

    def ask(self, doing: str, key: str, call: Callable[..., Any], *args: Any) -> Any:
        """A request to scratch; a failure names the object."""
        assert self.scratch is not None
        try:
            return persist(call, self.scratch.key(key), *args, budget=self.traffic.retries)
        except Exception as error:
            raise_from(store_error(doing, error, self.scratch, key), error)


def move_block(move: Move, stage: int, index: Index, group: int, *after: Any) -> Written:
    """Make a block of a stage, unless it is made already, or the last group that needs it is done.

    Dask runs tasks again whose results were lost with a worker, though nothing needs what they made any more. What a
    task came after is not looked at.
    """
    if stage == move.last:
        return _finish(move, index, group, lambda box: _gathered(move, stage, index, box))
    return _pack(move, stage, index, group, lambda box: _parts(move, stage, index, box))


def move_given(move: Move, box: Box, block: Any) -> Written:
    """Make a block of the first stage from its cells, which were computed. There is one group then."""
    index = tuple(int(touched(axis, a, b).start) for axis, a, b in zip(move.blocks[0].axes, *box, strict=True))
    cells = np.asarray(block)
    if cells.shape != box.shape:
        raise StoreError(
            f"a block of shape {cells.shape} came where {box.shape} was promised; give the right chunks= to map_blocks"
        )
    if move.last == 0:
        return _finish(move, index, 0, lambda _: cells)
    if cells.dtype != move.dtype:
        cells = cast_exactly(cells, move.dtype)
    return _pack(move, 0, index, 0, lambda _: iter([(box, cells)]))


def _finish(move: Move, index: Index, group: int, cells_of: Callable[[Box], Array]) -> Written:
    """Write a block of the target and note it."""
    name = f"{move.run}-{'.'.join(map(str, index))}"
    noted = None if move.journal is None else move.journal.noted_as(name)
    if noted is not None:  # this task ran before, and its result was lost with a worker
        return Written.of([Outcome(noted)])
    if move.journal is None and _is_done(move, group):
        return Written()
    box = move.blocks[-1].box(index)
    outcome = write_box(move.target, box, cells_of(box), move.terms)
    if move.journal is not None and not outcome.failures:
        move.journal.note_as(name, outcome.receipts)
    return Written.of([outcome])


def _is_done(move: Move, group: int) -> bool:
    """Whether this run is done with a group."""
    if move.scratch is None:
        return False
    return move.ask("looking at scratch", move.mark(group), move.scratch.store.get) is not None


def _pack(
    move: Move, stage: int, index: Index, group: int, parts_of: Callable[[Box], Iterator[tuple[Box, Array]]]
) -> Written:
    """Write the object of a block to scratch."""
    assert move.scratch is not None
    key, layout = move.key(stage, index), move.layout(stage, index)
    store = writable(move.scratch)
    if isinstance(store, SizedStore) and move.ask("looking at scratch", key, store.size) == layout.nbytes:
        return Written()
    if _is_done(move, group):
        return Written()
    packing = Packing(layout)
    for where, cells in parts_of(move.blocks[stage].box(index)):
        packing.put(where, cells)
        del cells  # before the next ones are read
    move.ask("writing to scratch", key, store.set, packing.seal())
    return Written()


def _gathered(move: Move, stage: int, index: Index, box: Box) -> Array:
    """All cells of a block in one array."""
    if stage == 0 and move.source is not None:
        return read_box(move.source, box)
    cells = np.empty(box.shape, move.dtype)
    for where, part in _parts(move, stage, index, box):
        cells[where.slices_in(box)] = part
        del part
    return cells


def _parts(move: Move, stage: int, index: Index, box: Box) -> Iterator[tuple[Box, Array]]:
    """The cells of a block as they are read: by chunks of the source, or by pieces from scratch."""
    if stage > 0:
        yield from _pieces(move, stage, index)
        return
    assert move.source is not None
    for projection, cells in each_part(move.source, box):
        pairs = [(o + part.start, o + part.stop) for o, part in zip(box.start, projection.out_slices, strict=True)]
        yield Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs)), cells
        del cells


def _pieces(move: Move, stage: int, index: Index) -> Iterator[tuple[Box, Array]]:
    """The pieces that blocks of the stage before have for a block."""
    assert move.scratch is not None
    place, store = move.scratch, move.scratch.store
    found = []
    for producer in move.producers(stage, index):
        where, byte_range = move.layout(stage - 1, producer).piece_for(index)
        found.append((move.key(stage - 1, producer), where, byte_range))

    def read(piece: tuple[str, Box, Any]) -> tuple[Box, Array]:
        key, where, byte_range = piece
        for _ in range(_READ_AGAIN):
            data = move.ask("reading scratch", key, store.get, byte_range)
            try:
                if data is not None:
                    return where, unpack(data, where, move.dtype)
                break
            except CodecError as error:  # damaged on its way, perhaps
                damaged = error
        if data is None:
            raise StoreError(
                "an object of this job is gone from scratch; run it again with resume=True: what is finished stays",
                url=store.url,
                node=place.path,
                chunk_key=key,
            )
        move.ask("removing from scratch", key, writable(place).delete)  # to be made anew by the same job
        raise_from(store_error("reading scratch", damaged, place, key), damaged)

    largest = max((byte_range.length or 0 for _, _, byte_range in found), default=0)
    with overlapped(store, read, found, move.traffic.sized(largest)) as pieces:
        yield from pieces


def discard(move: Move, group: int, keys: Sequence[str]) -> None:
    """Mark a group as done, then remove objects from scratch that nothing needs any more."""
    if move.scratch is None:
        return
    store = writable(move.scratch)
    move.ask("noting in scratch", move.mark(group), store.set, b"{}")
    with overlapped(
        store, lambda key: move.ask("removing from scratch", key, store.delete), keys, move.traffic
    ) as done:
        for _ in done:
            pass
