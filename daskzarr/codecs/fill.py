"""A dtype and its fill value -> arrays of fill, and whether cells hold nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from daskzarr.codecs.base import Array, new_array


@dataclass(frozen=True)
class Fill:
    """The fill value of an array's cells.

    >>> Fill(np.dtype("f4"), np.float32(0)).covers(np.array([0.0, -0.0], "f4"))
    False
    """

    dtype: np.dtype[Any]
    value: Any = field(hash=False, compare=False)

    def array(self, shape: tuple[int, ...]) -> Array:
        """A new array of fill; zeros come from the system as they are."""
        if not self.dtype.hasobject and not self._bits.any():
            return new_array(shape, self.dtype, np.zeros)
        out = new_array(shape, self.dtype)
        self.into(out)
        return out

    def into(self, out: Array) -> None:
        """Fill cells that are there already."""
        if not self.dtype.hasobject:
            out[...] = self.value
        elif isinstance(self.value, (list, dict, np.ndarray)):
            for index in np.ndindex(out.shape):
                out[index] = self.value  # NumPy would spread it over the cells
        else:
            out.fill(self.value)

    @cached_property
    def _bits(self) -> np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]:
        """The value's memory, in words as long as divide it."""
        raw = np.asarray(self.value, self.dtype).tobytes()
        width = next(n for n in (8, 4, 2, 1) if len(raw) % n == 0)
        return np.frombuffer(raw, f"u{width}")

    def covers(self, cells: Array) -> bool:
        """Whether every cell has the fill value's very bits: 0.0 is not -0.0, and NaNs have payloads."""
        if not cells.size:
            return False
        if self.dtype.hasobject:
            first = cells[(0,) * cells.ndim]
            if not isinstance(self.value, (str, bytes)) or type(first) is not type(self.value) or first != self.value:
                return False
            return all(type(item) is type(first) and item == first for item in cells.reshape(-1).tolist())
        bits = self._bits
        # A scalar of text would come without the NULs at its end.
        index: Any = (*(slice(1),) * cells.ndim, ...)
        if cells[index].tobytes() != bits.tobytes():
            return False
        words = np.ascontiguousarray(cells).reshape(-1).view(bits.dtype)
        return bool((words.reshape(-1, len(bits)) == bits).all())
