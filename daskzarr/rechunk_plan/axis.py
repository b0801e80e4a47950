"""Two ways to cut one axis -> how often their pieces meet, and how many cells that has read. Integers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from daskzarr.block_grid import Cuts, ListedCuts, RegularCuts

Integers = npt.NDArray[np.int64]


def edges_of(cuts: Cuts) -> Integers:
    """Start of every piece, and the end of the last."""
    if isinstance(cuts, ListedCuts):
        return np.array(cuts.edges, np.int64)
    return np.append(np.arange(cuts.count, dtype=np.int64) * cuts.step, cuts.stop)


def longest(cuts: Cuts) -> int:
    """The most cells a piece has."""
    return max(cuts.lengths) if isinstance(cuts, ListedCuts) else min(cuts.step, cuts.stop)


def shortest(cuts: Cuts) -> int:
    """The fewest cells a piece has that lies inside; at least 1."""
    return max(min(cuts.lengths[1:-1] or cuts.lengths), 1) if isinstance(cuts, ListedCuts) else cuts.step


def meets(one: Cuts, other: Cuts) -> int:
    """Pairs of a piece of each that share cells. Both cut the same axis, from 0.

    >>> meets(RegularCuts(0, 10, 4), RegularCuts(0, 10, 3))
    6
    """
    if isinstance(one, RegularCuts) and isinstance(other, RegularCuts):
        last = one.stop - 1
        if last < 0:
            return 1
        return last // one.step + last // other.step - last // math.lcm(one.step, other.step) + 1
    return max(len(np.union1d(edges_of(one), edges_of(other))) - 1, 1)


def covered(blocks: Cuts, units: Cuts) -> int:
    """Cells that are read along the axis where each block reads all of each unit it touches.

    The last unit of a regular grid is stored whole, and counts so.

    >>> covered(RegularCuts(0, 10, 5), RegularCuts(0, 10, 4))
    16
    """
    if isinstance(units, RegularCuts):
        return meets(blocks, units) * units.step
    edges = edges_of(units)
    starts = np.union1d(edges_of(blocks), edges)[:-1]
    lengths = np.diff(edges)
    return int(lengths[np.searchsorted(edges, starts, side="right") - 1].sum())


def padding(one: Sequence[Cuts], other: Sequence[Cuts], itemsize: int, word: int) -> int:
    """Bytes by which all pieces that two ways to cut all axes have in common are filled up to whole words.

    >>> padding([RegularCuts(0, 10, 4)], [RegularCuts(0, 10, 3)], 2, 8)
    28
    """
    counts: Integers = np.zeros(word, np.int64)  # how many pieces have so many cells, modulo a word
    counts[1] = 1
    residues: Integers = np.arange(word)
    for a, b in zip(one, other, strict=True):
        lengths = np.bincount(np.mod(np.diff(np.union1d(edges_of(a), edges_of(b))), word), minlength=word)
        found: Integers = np.zeros(word, np.int64)
        products: Integers = np.multiply.outer(residues, residues)
        np.add.at(found, np.mod(products, word), np.multiply.outer(counts, lengths))
        counts = found
    return sum(int(count) * (-n * itemsize % word) for n, count in enumerate(counts))


def touched(cuts: Cuts, start: int, stop: int) -> range:
    """Numbers of the pieces that share cells with the run ``start..stop``."""
    if start >= stop:
        return range(0)
    if isinstance(cuts, RegularCuts):
        return range(start // cuts.step, -(-stop // cuts.step))
    first = int(np.searchsorted(cuts.edges, start, side="right")) - 1
    return range(first, int(np.searchsorted(cuts.edges, stop, side="left")))


def grouped(units: Cuts, count: int) -> Cuts:
    """Cuts at every ``count``-th cut."""
    if isinstance(units, RegularCuts):
        return RegularCuts(0, units.stop, units.step * count)
    return ListedCuts((*units.edges[:-1:count], units.edges[-1]))


def candidates(units: Cuts, other: Cuts, most: int, parts: Iterable[int] = ()) -> list[Cuts]:
    """Ways to cut an axis into blocks of whole units: about so many, from the finest to no cut at all.

    Those that come near to units of the other grid, small numbers of units, even divisions (also into so many
    ``parts``) and a geometric row between; of those that give as many blocks the most even one.
    """
    total = units.count
    near = _near(units, other)
    wanted = {total, *range(1, min(5, total + 1)), *(-(-total // each) for each in (*range(1, 9), *parts))}
    wanted |= {d for d in range(1, math.isqrt(total) + 1) if total % d == 0}
    wanted |= {total // d for d in list(wanted) if total % d == 0}
    wanted |= {min(round(1.3**power), total) for power in range(round(math.log(total) / math.log(1.3)) + 1)}
    by_blocks: dict[int, int] = {}
    for count in (*near, *sorted(wanted)):
        by_blocks.setdefault(-(-total // count), count)
    chosen = _spread(sorted(by_blocks.values()), most)
    chosen += _spread([count for count in near if count not in chosen], max(most // 4, 1))
    return [grouped(units, count) for count in sorted(set(chosen))]


def _near(units: Cuts, other: Cuts) -> list[int]:
    """Numbers of units that are, or almost are, whole units of the other grid."""
    if not (isinstance(units, RegularCuts) and isinstance(other, RegularCuts)) or other.step <= units.step:
        return []
    even = math.lcm(units.step, other.step)
    wanted = {even * n // units.step for n in (1, 2, 3, 4, 6, 8, 16)}
    wanted |= {round(other.step * n / units.step) for n in (1, 2, 3, 4, 6, 8, 16)}
    return sorted(count for count in wanted if 0 < count <= units.count)


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """Some of the numbers, the first and the last among them, far from each other as ratios go."""
    if len(numbers) <= most:
        return list(numbers)
    if most == 1:
        return [numbers[0]]
    marks = np.linspace(math.log(numbers[0]), math.log(numbers[-1]), most)
    logs = np.log(np.array(numbers, float))
    return sorted({numbers[int(np.abs(logs - mark).argmin())] for mark in marks})
