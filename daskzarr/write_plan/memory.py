"""The codecs of an array, and a region -> bytes of memory that a task of each kind needs at most."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from daskzarr.codecs import CodecPipeline
from daskzarr.codecs.bytes import BytesCodec
from daskzarr.codecs.sharding import ShardingCodec
from daskzarr.write_plan.counting import Region

_HEAD = 4096  # what a codec may put around data that it cannot make smaller, beside a part of them


def block_memory(region: Region, cast: bool, each: int) -> int:
    """Of the task of a block: the block, its cells in another dtype, objects one after the other, then its pieces."""
    cells = math.prod(axis.longest for axis in region.axes)
    block = cells * region.itemsize
    if region.owners.gathers:
        return block
    pieces = 0 if region.owners.whole else cells * region.stored
    other = cells * region.stored if cast else 0
    return block + max(_casting(region, cells) if cast else 0, other + max(each, pieces))


def merge_memory(region: Region, cast: bool, each: int) -> int:
    """Of the task of objects that several blocks have cells in: what those hand on, all cells, one object's need."""
    gathers = region.owners.gathers
    most = 0
    kinds_of_axes = ([*axis.most(single=False), *axis.most(single=True)] for axis in region.axes)
    for kinds in itertools.product(*kinds_of_axes):
        if not gathers and all(kind.single for kind in kinds):
            continue
        cells = math.prod(kind.cells for kind in kinds) * region.stored
        coming = math.prod(kind.coming for kind in kinds)
        if gathers:
            needed = coming * (region.itemsize + (region.stored if cast else 0))
        else:
            needed = (coming - math.prod(kind.kept for kind in kinds)) * region.stored
        most = max(most, needed + cells + each)
    if most and gathers and cast:
        most += _casting(region, math.prod(axis.longest for axis in region.axes))
    return most


def _casting(region: Region, cells: int) -> int:
    """What it takes to cast cells, and see that each stays what it is."""
    return cells * (region.itemsize + region.stored + 4)


def object_memory(pipeline: CodecPipeline, *, merged: bool, padded: bool) -> int:
    """What one stored object takes beside its cells: what is read of it, padding, and the codecs' buffers."""
    size = pipeline.spec.nbytes
    needed, encoded = _encoding(pipeline)
    copies = merged + (padded and not pipeline.truncates)
    return copies * size + max(needed, encoded + needed if merged else 0)


def _encoding(pipeline: CodecPipeline) -> tuple[int, int]:
    """What encoding a chunk takes beside its cells, at most, and the bytes that come out."""
    size = pipeline.spec.nbytes
    needed = size + size // math.gcd(pipeline.spec.dtype.itemsize, 8)  # to see if it is nothing but fill
    held = 0
    for result, meanwhile in _steps(pipeline):
        needed = max(needed, held + result + meanwhile)
        held = result
    return max(needed, 2 * held), held  # a store, or who adds up the digest, may make a copy


def _steps(pipeline: CodecPipeline) -> Iterator[tuple[int, int]]:
    """What each codec hands on at most, and what it takes meanwhile."""
    size, cells = pipeline.spec.nbytes, math.prod(pipeline.spec.shape)
    for codec in pipeline.arrays if pipeline.axes is None else ():
        before, size = size, codec.encoded_spec().nbytes
        yield size, 2 * max(before, size, 8 * cells)
    serializer = pipeline.serializer
    before = size
    if isinstance(serializer, ShardingCodec):
        inner, each = _encoding(serializer.inner)
        size = each * serializer.grid.chunk_count + serializer.index_size
        yield size, size + inner + 2 * serializer.index_size
    else:
        known = serializer.encoded_spec().size
        size = 2 * before + _HEAD if known is None else known
        plain = isinstance(serializer, BytesCodec) and not serializer.small
        yield size, 0 if plain else max(before, size)
    for compressor in pipeline.compressors:
        known = compressor.encoded_spec().size
        size = size + size // 64 + _HEAD if known is None else known
        yield size, size
