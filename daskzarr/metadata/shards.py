"""Codecs with shards among them <-> the shape of the inner chunks (Zarr v3 codecs, sharding-indexed)."""

from __future__ import annotations

from collections.abc import Sequence

from daskzarr.metadata.named_config import NamedConfig

SHARDING = "sharding_indexed"


def inner_chunk_shape(codecs: Sequence[NamedConfig], ndim: int) -> tuple[int, ...] | None:
    """Shape of the innermost chunks along the array's own axes.

    None where there are no shards, or codecs before them make the inner chunks no boxes of the array.

    >>> inner_chunk_shape([NamedConfig("sharding_indexed", {"chunk_shape": [1, 2], "codecs": ["bytes"]})], 2)
    (1, 2)
    """
    every = list(range(ndim))
    axes = every
    for codec in codecs:
        if codec.name == "transpose":
            order = codec.configuration.get("order")
            order = every if order == "C" else every[::-1] if order == "F" else order
            if not isinstance(order, (list, tuple)) or sorted(map(repr, order)) != sorted(map(repr, every)):
                return None
            axes = [axes[i] for i in order]
        elif codec.name == SHARDING:
            return _inner(codec, axes)
        else:
            return None
    return None


def shard_config(chunk_shape: Sequence[int], codecs: Sequence[NamedConfig]) -> NamedConfig:
    """The codec that puts inner chunks of a shape into shards, with every member spelled out.

    The index is as every implementation writes it: little-endian words and a checksum, at the end.
    """
    configuration = {
        "chunk_shape": list(chunk_shape),
        "codecs": [codec.write() for codec in codecs],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    return NamedConfig(SHARDING, configuration)


def _inner(codec: NamedConfig, axes: list[int]) -> tuple[int, ...] | None:
    """The shape of one codec's inner chunks, or of theirs."""
    stored, given = codec.configuration.get("chunk_shape"), codec.configuration.get("codecs")
    if not isinstance(stored, list) or len(stored) != len(axes) or not isinstance(given, list):
        return None  # the codec refuses it, and says why
    codecs = [NamedConfig.read(item, "codecs") for item in given]
    innermost = inner_chunk_shape(codecs, len(axes)) or tuple(stored)
    return tuple(innermost[axes.index(i)] for i in range(len(axes)))
