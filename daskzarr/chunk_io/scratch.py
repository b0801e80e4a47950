"""A block and the blocks of the next stage -> one object in scratch that holds a piece for each of those, and back."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskzarr.byte_range import ByteRange
from daskzarr.checksum import crc32c
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io.reading import Array
from daskzarr.errors import CodecError
from daskzarr.rechunk_plan import PIECE_END, Blocks, Index, touched

_END = struct.Struct("<II")  # CRC-32C of the piece, and its length modulo 2^32
_WORD = 8


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the pieces of a block lie in its object: in C order of the blocks they are for, each with a checksum.

    Nothing of it is stored: it follows from the block and from how the next stage cuts the axes.

    Parameters
    ----------
    first
        The first block of the next stage that has a piece, along each axis.
    bounds
        Cells where pieces begin, and the end, along each axis.
    offsets
        First byte of each piece, and the end of the last: as many axes as the array, flat.
    dtype
        Of the cells.

    Examples
    --------
    >>> from daskzarr.block_grid import RegularCuts
    >>> layout = Layout.of(Box((4,), (10,)), (RegularCuts(0, 12, 3),), np.dtype("i2"))
    >>> layout.first, [edges.tolist() for edges in layout.bounds], layout.offsets.tolist()
    ((1,), [[4, 6, 9, 10]], [0, 16, 32, 48])
    """

    first: Index
    bounds: tuple[Any, ...]
    offsets: Any
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, box: Box, after: Blocks, dtype: np.dtype[Any]) -> Layout:
        """The layout of a block's object."""
        runs = [touched(cuts, a, b) for cuts, a, b in zip(after, box.start, box.stop, strict=True)]
        bounds = [
            np.array([a, *(cuts.bounds(i)[1] for i in run[:-1]), b])
            for cuts, run, a, b in zip(after, runs, box.start, box.stop, strict=True)
        ]
        sizes = np.array(dtype.itemsize)
        for edges in bounds:
            sizes = np.multiply.outer(sizes, np.diff(edges))
        slots = -(-sizes.reshape(-1) // _WORD) * _WORD + PIECE_END
        offsets = np.concatenate([[0], np.cumsum(slots)])
        return cls(tuple(run.start for run in runs), tuple(bounds), offsets, dtype)

    @property
    def counts(self) -> Index:
        """Number of pieces along each axis."""
        return tuple(len(edges) - 1 for edges in self.bounds)

    @property
    def nbytes(self) -> int:
        """Bytes of the object."""
        return int(self.offsets[-1])

    def box(self, at: Index) -> Box:
        """The cells of a piece, by its number along each axis."""
        pairs = [(int(edges[i]), int(edges[i + 1])) for edges, i in zip(self.bounds, at, strict=True)]
        return Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))

    def place(self, at: Index) -> tuple[int, int]:
        """First byte of a piece, and of the next one."""
        number = 0
        for count, i in zip(self.counts, at, strict=True):
            number = number * count + i
        return int(self.offsets[number]), int(self.offsets[number + 1])

    def piece_for(self, block: Index) -> tuple[Box, ByteRange]:
        """The piece for a block of the next stage: its cells, and where it lies."""
        at = tuple(i - f for i, f in zip(block, self.first, strict=True))
        start, stop = self.place(at)
        return self.box(at), ByteRange(start, stop - start)


class Packing:
    """An object for scratch that is being filled: cells go to their pieces as they come.

    Parameters
    ----------
    layout
        Of the object.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.data = np.empty(layout.nbytes, np.uint8)
        counts = layout.counts
        self._pieces: dict[Index, Array] = {}
        for at in itertools.product(*map(range, counts)):
            start, _ = layout.place(at)
            shape = layout.box(at).shape
            stop = start + math.prod(shape) * layout.dtype.itemsize
            self._pieces[at] = self.data[start:stop].view(layout.dtype).reshape(shape)

    def put(self, where: Box, cells: Array) -> None:
        """Put cells into the pieces they belong to."""
        axes = [
            list(_shares(edges, a, b)) for edges, a, b in zip(self._layout.bounds, where.start, where.stop, strict=True)
        ]
        for parts in itertools.product(*axes):
            piece = self._pieces[tuple(part[0] for part in parts)]
            piece[tuple(part[1] for part in parts)] = cells[tuple(part[2] for part in parts)]

    def seal(self) -> memoryview:
        """Put the checksums behind the pieces; the object, complete."""
        for at in self._pieces:
            start, stop = self._layout.place(at)
            size = math.prod(self._layout.box(at).shape) * self._layout.dtype.itemsize
            self.data[start + size : stop - PIECE_END] = 0
            end = _END.pack(crc32c(self.data[start : start + size]), size % 2**32)
            self.data[stop - PIECE_END : stop] = np.frombuffer(end, np.uint8)
        return self.data.data


def _shares(edges: Any, start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
    """The pieces that a run of cells has a part in: number, slice in the piece, slice in the run."""
    number = int(np.searchsorted(edges, start, side="right")) - 1
    while number < len(edges) - 1 and edges[number] < stop:
        low, high = max(start, int(edges[number])), min(stop, int(edges[number + 1]))
        yield number, slice(low - int(edges[number]), high - int(edges[number])), slice(low - start, high - start)
        number += 1


def unpack(data: Any, box: Box, dtype: np.dtype[Any]) -> Array:
    """The cells of a piece as it was read, if it is whole.

    Raises
    ------
    CodecError
        If bytes are missing, or are not those that were written.
    """
    size = math.prod(box.shape) * dtype.itemsize
    if len(data) != -(-size // _WORD) * _WORD + PIECE_END:
        raise CodecError(f"a piece in scratch has {len(data)} bytes; it is damaged")
    piece = np.frombuffer(data, np.uint8, size)
    if _END.unpack(bytes(memoryview(data)[-PIECE_END:])) != (crc32c(piece), size % 2**32):
        raise CodecError("a piece in scratch has another checksum than it was written with; it is damaged")
    return piece.view(dtype).reshape(box.shape)
