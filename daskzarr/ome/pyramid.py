"""Shape of an image, levels and factors as people type them -> shape and factors of each level, and how it is cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.errors import MetadataError, short
from daskzarr.ome.axes import Axis, by_axis

_SMALL = 256  # cells along an axis, where nobody needs a coarser level any more


@dataclass(frozen=True, slots=True)
class Step:
    """A level in numbers.

    Parameters
    ----------
    shape
        Of the level.
    factors
        Along each axis, how many cells of the level above one of its cells is made of; less at the far end.
    total
        The same, of the finest level.
    """

    shape: tuple[int, ...]
    factors: tuple[int, ...]
    total: tuple[int, ...]


def plan_levels(shape: Sequence[int], axes: Sequence[Axis], levels: Any, factors: Any) -> tuple[Step, ...]:
    """All levels, the finest first."""
    listed = isinstance(factors, (list, tuple))
    if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int) or levels < 1):
        raise MetadataError(f"levels is {short(levels)}; it has to be a number from 1 on", field="levels")
    if listed and levels not in (None, len(factors) + 1):
        raise MetadataError(f"{len(factors)} factors are those of {len(factors) + 1} levels", field="levels")
    wanted = len(factors) + 1 if listed else levels
    one = (1,) * len(axes)
    steps = [Step(tuple(shape), one, one)]
    while len(steps) < wanted if wanted is not None else True:
        above = steps[-1]
        by = _factors(factors[len(steps) - 1] if listed else factors, axes, above.shape)
        if wanted is None and not any(n > _SMALL and f > 1 for n, f in zip(above.shape, by, strict=True)):
            break
        if max(by) == 1:
            raise MetadataError(
                f"level {len(steps)} would be as large as the one above it, which has the shape {above.shape}",
                field="levels",
            )
        total = tuple(f * g for f, g in zip(above.total, by, strict=True))
        steps.append(Step(tuple(-(-n // f) for n, f in zip(above.shape, by, strict=True)), by, total))
    return tuple(steps)


def _factors(given: Any, axes: Sequence[Axis], shape: Sequence[int]) -> tuple[int, ...]:
    """Factors of one level, by axis. None is larger than the axis is long, so that scales are what they say."""
    names = [axis.name for axis in axes]
    if isinstance(given, Mapping) or hasattr(given, "__iter__"):
        found = by_axis(given, names, "factors", 1)
    else:
        found = [given if axis.type == "space" else 1 for axis in axes]
    for axis, factor in zip(axes, found, strict=True):
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
            raise MetadataError(f"factors has {short(factor)}; factors are whole numbers from 1 on", field="factors")
        if factor > 1 and axis.type != "space":
            raise MetadataError(
                f"factors has {factor} for {axis.name}, an axis of type {axis.type}; only space is downsampled",
                field="factors",
            )
    return tuple(min(f, max(n, 1)) for f, n in zip(found, shape, strict=True))


def chunks_at(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """The chunk shape of a level: no chunk is longer than the level."""
    return tuple(max(min(c, n), 1) for c, n in zip(chunks, shape, strict=True))


def shards_at(shape: Sequence[int], chunks: Sequence[int], times: Sequence[int]) -> tuple[int, ...]:
    """The shard shape of a level, of so many chunks along each axis, and no more of them than there are."""
    return tuple(c * min(k, -(-max(n, 1) // c)) for n, c, k in zip(shape, chunks, times, strict=True))


def snapped(lengths: Sequence[int], factor: int) -> tuple[int, ...]:
    """Blocks of an axis whose ends are moved to the nearest that cut no cell of the next level.

    >>> snapped((5, 5, 5), 2), snapped((1, 1, 1, 1), 2), snapped((4, 4, 3), 2)
    ((6, 4, 5), (2, 2), (4, 4, 3))
    """
    size, end, at = sum(lengths), 0, 0
    found = []
    for length in lengths:
        end += length
        nearest = size if end == size else (end + factor // 2) // factor * factor
        if at < nearest <= size:
            found.append(nearest - at)
            at = nearest
    return tuple(found) or (0,)


def block_lengths(size: int, stored: int, usual: int, factor: int) -> tuple[int, ...]:
    """How an axis of a level is cut: whole stored objects, about as long as the blocks of the finest level are.

    Where they get no longer by that, blocks have whole cells of the next level too, each made of ``factor`` cells.

    >>> block_lengths(100, 10, 32, 2), block_lengths(50, 7, 27, 2), block_lengths(9, 64, 16, 2)
    ((30, 30, 30, 10), (14, 14, 14, 8), (9,))
    """
    both = math.lcm(stored, factor)
    unit = both if both <= max(stored, usual) else stored
    length = unit * max(usual // unit, 1)
    full, rest = divmod(size, length)
    return (length,) * full + ((rest,) if rest or not full else ())
