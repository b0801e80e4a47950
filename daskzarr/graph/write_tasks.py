"""What the tasks of a write run: a block or pieces of blocks, and the stored objects they go to -> an outcome."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import Array, Terms, conform, read_box, write_box, write_pieces
from daskzarr.ownership import Cell, Share
from daskzarr.receipt import Outcome


def write_block(handle: ArrayHandle, terms: Terms, box: Box, block: Array) -> Outcome:
    """The task of a block that has its stored objects for itself."""
    return write_box(handle, box, block, terms)


def write_share(handle: ArrayHandle, terms: Terms, share: Share, block: Array) -> Outcome:
    """The task of a block that shares objects with others: it writes those it has for itself, and hands on the rest."""
    block = conform(handle, share.box, block)
    own = Outcome() if share.own is None else write_box(handle, share.own, _part(share.box, share.own, block), terms)
    return own._replace(pieces={at: (box, _kept(_part(share.box, box, block))) for at, box in share.pieces})


def write_cell(handle: ArrayHandle, terms: Terms, cell: Cell, *outcomes: Outcome) -> Outcome:
    """The task of objects that several blocks have cells in. Receipts of blocks it is the first of come along."""
    receipts = [r for o in outcomes if next(iter(o.pieces)) == cell.at for r in o.receipts]
    failures = tuple(f for o in outcomes if next(iter(o.pieces)) == cell.at for f in o.failures)
    pieces = [outcome.pieces[cell.at] for outcome in outcomes]
    lost = [piece for piece in pieces if isinstance(piece, str)]
    if lost:
        reason = f"a block that has cells of it failed: {lost[0]}"
        return Outcome(receipts, failures + tuple((key, reason) for key in _keys(handle, terms, cell.box)))
    done = write_pieces(handle, cell.box, pieces, terms)
    return Outcome([*receipts, *done.receipts], failures + done.failures)


def write_gathered(handle: ArrayHandle, terms: Terms, cell: Cell, boxes: tuple[Box, ...], *blocks: Array) -> Outcome:
    """The task of objects that several blocks have cells in, from the whole blocks, which have these boxes."""
    pieces = []
    for where, block in zip(boxes, blocks, strict=True):
        low = tuple(map(max, where.start, cell.box.start))
        box = Box(low, tuple(map(min, where.stop, cell.box.stop)))
        pieces.append((box, _part(where, box, conform(handle, where, block))))
    return write_pieces(handle, cell.box, pieces, terms)


def read_back(handle: ArrayHandle, box: Box, written: Any) -> Array:
    """The task of one block that was just written: the cells as they are stored."""
    return read_box(handle, box)


def _part(whole: Box, box: Box, block: Array) -> Array:
    """The cells of a box that lies in a block's."""
    return block[box.slices_in(whole)]


def _kept(piece: Array) -> Array:
    """A piece that does not keep the block it is of in memory."""
    return piece if piece.base is None or piece.size == piece.base.size else piece.copy()


def _keys(handle: ArrayHandle, terms: Terms, box: Box) -> list[str]:
    """Keys of the objects a task writes of a box, relative to the node."""
    chunks = (part.chunk for part in handle.grid.project(box))
    return [handle.key(chunk)[handle.lead :] for chunk in chunks if terms.only is None or chunk in terms.only]


@dataclass(frozen=True)
class Collecting:
    """The function of a task, which says what failed instead of failing; fused with other steps, of them, too."""

    function: Callable[..., Outcome]

    def __call__(self, handle: ArrayHandle, terms: Terms, place: Any, *inputs: Any) -> Outcome:
        try:
            return self.function(handle, terms, place, *inputs)
        except Exception as error:
            return self.rescue(error, handle, terms, place, *inputs)

    def rescue(self, error: Exception, handle: ArrayHandle, terms: Terms, place: Any, *inputs: Any) -> Outcome:
        """What is said of the objects of a task that failed."""
        reason = f"{type(error).__name__}: {error}{_line_of(error)}"
        if isinstance(place, Share):
            keys = [] if place.own is None else _keys(handle, terms, place.own)
            pieces: Any = dict.fromkeys((at for at, _ in place.pieces), reason)
            return Outcome((), tuple((key, reason) for key in keys), pieces)
        if isinstance(place, Cell):
            carried = [o for o in inputs if isinstance(o, Outcome) and next(iter(o.pieces)) == place.at]
            receipts = [r for o in carried for r in o.receipts]
            failures = tuple(f for o in carried for f in o.failures)
            return Outcome(receipts, failures + tuple((key, reason) for key in _keys(handle, terms, place.box)))
        return Outcome((), tuple((key, reason) for key in _keys(handle, terms, place)))


def _line_of(error: Exception) -> str:
    """Where an error was raised: the traceback stays in the process of the task."""
    found = traceback.extract_tb(error.__traceback__)
    return f" ({os.path.basename(found[-1].filename)}, line {found[-1].lineno})" if found else ""
