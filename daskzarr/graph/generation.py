"""A node -> how often this process wrote to it: part of a read's name, so that a read after a write is a new one."""

from __future__ import annotations

import threading

_written: dict[tuple[str, str], int] = {}
_lock = threading.Lock()


def note_write(url: str, path: str) -> None:
    """Count a write to a node."""
    with _lock:
        _written[url, path] = _written.get((url, path), 0) + 1


def generation_of(url: str, path: str) -> int:
    """How many writes to the node, or to one above it, this process has made or prepared."""
    if not _written:
        return 0
    parts = path.split("/") if path else []
    above = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
    return sum(_written.get((url, node), 0) for node in above)
