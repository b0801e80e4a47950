"""A box of cells <-> the stored objects that hold them: what one task does. Plain NumPy, no Dask."""

from daskzarr.chunk_io.conforming import cast_exactly, conform
from daskzarr.chunk_io.moving import Move, discard, move_block, move_given
from daskzarr.chunk_io.reading import Array, decoded, read_box, read_box_into
from daskzarr.chunk_io.writing import PLAIN, Terms, copy_box, write_box, write_pieces

__all__ = [
    "PLAIN",
    "Array",
    "Move",
    "Terms",
    "cast_exactly",
    "conform",
    "copy_box",
    "decoded",
    "discard",
    "move_block",
    "move_given",
    "read_box",
    "read_box_into",
    "write_box",
    "write_pieces",
]
