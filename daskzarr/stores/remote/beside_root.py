"""The root and URL of a store -> those of the place beside it."""

from __future__ import annotations


def is_top(root: str) -> bool:
    """Whether a root has no folder above it: ``/``, or a bucket."""
    return "/" not in root.strip("/") if not root.startswith("/") else not root.strip("/")


def renamed(url: str, ending: str) -> str:
    """A URL with the ending behind its path: of a chained one that is the first part that has a path.

    >>> renamed("s3://bucket/a", ".x"), renamed("simplecache::s3://bucket/a", ".x"), renamed("x://a::file://b", ".x")
    ('s3://bucket/a.x', 'simplecache::s3://bucket/a.x', 'x://a.x::file://b')
    """
    parts = url.split("::")
    place = next((i for i, part in enumerate(parts) if "://" in part), -1)
    path, mark, rest = parts[place].partition("#")
    parts[place] = path.rstrip("/") + ending + mark + rest
    return "::".join(parts)
