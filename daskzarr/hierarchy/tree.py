"""Paths of nodes and a label for each -> a drawing of the tree they make."""

from __future__ import annotations

from collections.abc import Sequence


def draw_tree(title: str, nodes: Sequence[tuple[str, str]]) -> str:
    """The drawing. A node comes before those below it, and siblings are together.

    >>> print(draw_tree("/", [("a", ""), ("a/b", "of int8"), ("a/c", ""), ("d", "of bool")]))
    /
    ├── a
    │   ├── b  of int8
    │   └── c
    └── d  of bool
    """
    last = {path.rpartition("/")[0]: path for path, _ in nodes}
    lines, margins = [title], {"": ""}
    for path, label in nodes:
        parent, _, name = path.rpartition("/")
        is_last = last[parent] == path
        lines.append(f"{margins[parent]}{'└── ' if is_last else '├── '}{name}  {label}".rstrip())
        margins[path] = margins[parent] + ("    " if is_last else "│   ")
    return "\n".join(lines)
