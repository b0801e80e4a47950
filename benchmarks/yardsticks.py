"""What the others are held against: the limit (no Dask at all) and the floor (the leanest Dask graph there is).

Both know everything beforehand (paths, shapes, the one compressor) and check nothing.
"""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask._task_spec import Task
from dask.threaded import get


@dataclass(frozen=True)
class Tiles:
    """A 2-d array stored in whole tiles, one file each."""

    root: str
    shape: tuple[int, int]
    tile: tuple[int, int]
    dtype: np.dtype[Any]
    codec: Any  # a numcodecs codec, or None
    prefix: str  # of the chunk keys: "" or "c/"
    separator: str

    def jobs(self) -> list[tuple[str, tuple[slice, slice]]]:
        """Path and place of every tile."""
        (rows, columns), (h, w) = self.shape, self.tile
        return [
            (
                f"{self.root}/{self.prefix}{i}{self.separator}{j}",
                (slice(i * h, (i + 1) * h), slice(j * w, (j + 1) * w)),
            )
            for i in range(rows // h)
            for j in range(columns // w)
        ]


_own = threading.local()


def read_tile(tiles: Tiles, path: str, target: np.ndarray) -> None:
    """Open, read into a buffer that is kept, decode into a tile that is kept, and place."""
    scratch = getattr(_own, "scratch", None)
    size = tiles.tile[0] * tiles.tile[1] * tiles.dtype.itemsize
    if scratch is None or len(scratch) < 2 * size:
        scratch = _own.scratch = memoryview(bytearray(2 * size + 4096))
    descriptor = os.open(path, os.O_RDONLY)
    count = os.readv(descriptor, [scratch])
    os.close(descriptor)
    if tiles.codec is None:
        target[...] = np.frombuffer(scratch[:count], tiles.dtype).reshape(tiles.tile)
    elif target.flags.c_contiguous:
        tiles.codec.decode(scratch[:count], out=target)
    else:
        block = getattr(_own, "block", None)
        if block is None or block.shape != tiles.tile or block.dtype != tiles.dtype:
            block = _own.block = np.empty(tiles.tile, tiles.dtype)
        tiles.codec.decode(scratch[:count], out=block)
        target[...] = block


def limit(tiles: Tiles, threads: int = 2) -> np.ndarray:
    """Plain threads, each with its share of the tiles, decoding into a result that is there."""
    out = np.empty(tiles.shape, tiles.dtype)
    jobs = tiles.jobs()

    def work(share: list[tuple[str, tuple[slice, slice]]]) -> None:
        for path, place in share:
            read_tile(tiles, path, out[place])

    step = -(-len(jobs) // threads)
    shares = [jobs[i : i + step] for i in range(0, len(jobs), step)]
    if threads == 1:
        work(jobs)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, shares))
    return out


def limit_sum(tiles: Tiles, threads: int = 2) -> float:
    """Plain threads; each decodes its share into the result and adds it up."""
    out = np.empty(tiles.shape, tiles.dtype)
    jobs = tiles.jobs()

    def work(share: list[tuple[str, tuple[slice, slice]]]) -> float:
        for path, place in share:
            read_tile(tiles, path, out[place])
        rows = share[0][1][0].start, share[-1][1][0].stop
        return float(out[slice(*rows)].sum())

    per_row = tiles.shape[1] // tiles.tile[1]
    step = -(-len(jobs) // threads // per_row) * per_row
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, [jobs[i : i + step] for i in range(0, len(jobs), step)]))


def floor(tiles: Tiles) -> np.ndarray:
    """One Dask task a tile, made by hand, decoding into a result that is there."""
    out = np.empty(tiles.shape, tiles.dtype)
    graph = {
        ("floor", i): Task(("floor", i), read_tile, tiles, path, out[place])
        for i, (path, place) in enumerate(tiles.jobs())
    }
    get(graph, list(graph))
    return out


def read_block(tiles: Tiles, path: str) -> np.ndarray:
    """One tile as a block of its own."""
    descriptor = os.open(path, os.O_RDONLY)
    data = os.read(descriptor, os.fstat(descriptor).st_size)
    os.close(descriptor)
    block = np.empty(tiles.tile, tiles.dtype)
    if tiles.codec is None:
        block[...] = np.frombuffer(data, tiles.dtype).reshape(tiles.tile)
    else:
        tiles.codec.decode(data, out=block)
    return block


def floor_blocks(tiles: Tiles) -> Any:
    """One Dask task a tile, made by hand, returning blocks."""
    graph = {("floor", i): Task(("floor", i), read_block, tiles, path) for i, (path, _) in enumerate(tiles.jobs())}
    return get(graph, list(graph))


def write_tile(tiles: Tiles, path: str, block: np.ndarray) -> int:
    """Encode, write beside, rename."""
    data = np.ascontiguousarray(block)
    if tiles.codec is not None:
        data = tiles.codec.encode(data)
    partial = f"{path}.{uuid.uuid4().hex}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, data)
    os.close(descriptor)
    os.replace(partial, path)
    return len(data)


def floor_write(tiles: Tiles, array: np.ndarray) -> Any:
    """One Dask task a tile, made by hand, writing a part of an array in memory."""
    for i in range(tiles.shape[0] // tiles.tile[0]) if tiles.separator == "/" else ():
        os.makedirs(f"{tiles.root}/{tiles.prefix}{i}", exist_ok=True)
    os.makedirs(tiles.root, exist_ok=True)
    graph = {
        ("floor", i): Task(("floor", i), write_tile, tiles, path, array[place])
        for i, (path, place) in enumerate(tiles.jobs())
    }
    return get(graph, list(graph))
