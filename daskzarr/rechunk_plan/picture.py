"""The grids of a plan -> a picture of how each stage cuts the two axes that differ most, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from daskzarr.block_grid import Cuts
from daskzarr.rechunk_plan.axis import edges_of

_SIDE, _GAP, _TOP = 180, 40, 44
_MOST_LINES = 60


def draw(shape: Sequence[int], grids: Sequence[tuple[str, Sequence[Cuts]]], note: str) -> str:
    """A square for each grid, with a line at each cut; where there are too many lines it is grey instead.

    Parameters
    ----------
    shape
        Of the array.
    grids
        A title for each, and how it cuts the axes.
    note
        A line below.
    """
    axes = _axes(shape, grids)
    width = len(grids) * (_SIDE + _GAP) + _GAP
    parts = [_text(_GAP, _TOP + _SIDE + 36, note)]
    for n, (title, cuts) in enumerate(grids):
        left = _GAP + n * (_SIDE + _GAP)
        parts += [_text(left, 16, title), _text(left, 32, " x ".join(_lengths(each) for each in cuts) or "1")]
        parts.append(f'<rect x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="#fff" stroke="#444"/>')
        for vertical, axis in enumerate(axes):
            parts += _lines(cuts[axis], shape[axis], left, bool(vertical))
            across = f"axis {axis}"
            parts.append(
                _text(left + 4, _TOP + _SIDE + 16, across) if vertical else _text(left - 34, _TOP + 12, across)
            )
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + _SIDE + 50}" '
        f'font-family="sans-serif" font-size="11">{body}</svg>'
    )


def _axes(shape: Sequence[int], grids: Sequence[tuple[str, Sequence[Cuts]]]) -> list[int]:
    """The two axes that source and target cut most differently, in order."""
    if not shape:
        return []
    first, last = grids[0][1], grids[-1][1]
    ratios = [max(a.count, b.count) / min(a.count, b.count) for a, b in zip(first, last, strict=True)]
    return sorted(sorted(range(len(shape)), key=lambda axis: -ratios[axis])[:2])


def _lines(cuts: Cuts, size: int, left: int, vertical: bool) -> list[str]:
    """Lines at the cuts of one axis."""
    edges = [int(edge) for edge in edges_of(cuts)[1:-1]] if size else []
    if len(edges) > _MOST_LINES:
        return [f'<rect x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="#000" fill-opacity="0.2"/>']
    found = []
    for edge in edges:
        at = edge / size * _SIDE
        ends = (left + at, _TOP, left + at, _TOP + _SIDE) if vertical else (left, _TOP + at, left + _SIDE, _TOP + at)
        found.append('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#888"/>'.format(*ends))
    return found


def _lengths(cuts: Cuts) -> str:
    """The lengths of the pieces of an axis."""
    lengths = cuts.lengths if cuts.count <= _MOST_LINES else (getattr(cuts, "step", 0) or max(cuts.lengths),)
    return str(lengths[0]) if len(set(lengths[:-1])) <= 1 else f"{min(lengths)}..{max(lengths)}"


def _text(x: float, y: float, text: str) -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'
