"""Reading, writing, copying and slicing arrays of big, small and tiny chunks: daskzarr, its peers, and two yardsticks.

Run ``python -m benchmarks.read_write --help``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numcodecs
import numpy as np
from dask.utils import ensure_dict

import daskzarr
from benchmarks.paired import measure, pick, save, show
from benchmarks.yardsticks import Tiles, floor, floor_blocks, floor_write, limit, limit_sum

CODECS: dict[str, Any] = {
    "blosc-lz4": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
    "zstd": {"id": "zstd", "level": 0},
    "raw": None,
}
SIZES = {"8MB": ((8192, 16384), (1024, 2048)), "64KB": ((12800, 12800), (128, 128)), "4KB": ((3200, 3200), (32, 32))}


def field(shape: tuple[int, int]) -> np.ndarray:
    """Smooth values with noise in the last digits, all different along a row: they compress as measurements do."""
    rng = np.random.default_rng(7)
    steps = rng.integers(-8, 9, shape, dtype=np.int8)
    return np.cumsum(steps, axis=1, dtype=np.float32) + np.arange(shape[0], dtype=np.float32)[:, None]


def make(root: str, size: str, codec: str) -> Tiles:
    """A stored array for a case, written by daskzarr as Zarr v2, and the yardsticks' view of it."""
    shape, tile = SIZES[size]
    array = da.from_array(field(shape), chunks=tile)
    daskzarr.to_zarr(array, root, mode="w", compressor=CODECS[codec], zarr_format=2)
    config = CODECS[codec]
    return Tiles(root, shape, tile, np.dtype("f4"), config and numcodecs.get_codec(config), "", ".")


def tensorstore_read(root: str) -> np.ndarray:
    """The array by tensorstore."""
    import tensorstore

    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": root + "/"}}
    return tensorstore.open(spec).result().read().result()


def zarr_read(root: str) -> np.ndarray:
    """The array by zarr-python alone."""
    import zarr

    return zarr.open_array(root, mode="r")[...]


def blocks_of(array: da.Array) -> Any:
    """Every block by the threaded scheduler, not put together."""
    graph = ensure_dict(array.__dask_optimize__(array.__dask_graph__(), array.__dask_keys__()))
    return dask.threaded.get(graph, array.__dask_keys__())


def read_cases(tiles: Tiles) -> tuple[str, dict[str, Callable[[], Any]]]:
    """Reading a whole array."""
    root = tiles.root
    return "limit", {
        "limit": partial(limit, tiles),
        "limit, 1 thread": partial(limit, tiles, 1),
        "floor": partial(floor, tiles),
        "floor, blocks": partial(floor_blocks, tiles),
        "daskzarr": lambda: daskzarr.from_zarr(root).compute(),
        "daskzarr, blocks": lambda: blocks_of(daskzarr.from_zarr(root)),
        "daskzarr, chunks=auto": lambda: daskzarr.from_zarr(root, chunks="auto").compute(),
        "dask + zarr-python": lambda: da.from_zarr(root).compute(),
        "zarr-python": partial(zarr_read, root),
        "tensorstore": partial(tensorstore_read, root),
    }


def sum_cases(tiles: Tiles) -> tuple[str, dict[str, Callable[[], Any]]]:
    """Adding up a whole array."""
    root = tiles.root
    return "limit", {
        "limit": partial(limit_sum, tiles),
        "daskzarr, chunks=auto": lambda: daskzarr.from_zarr(root, chunks="auto").sum().compute(),
        "daskzarr": lambda: daskzarr.from_zarr(root).sum().compute(),
        "dask + zarr-python": lambda: da.from_zarr(root).sum().compute(),
    }


def slice_cases(tiles: Tiles) -> tuple[str, dict[str, Callable[[], Any]]]:
    """A window of a sixteenth of the array, off the chunks' edges."""
    root = tiles.root
    (h, w), (a, _) = tiles.shape, tiles.tile
    window = np.s_[h // 2 + a // 3 : h // 2 + a // 3 + h // 4, w // 3 : w // 3 + w // 4]
    return "daskzarr", {
        "daskzarr": lambda: daskzarr.from_zarr(root)[window].compute(),
        "daskzarr, chunks=auto": lambda: daskzarr.from_zarr(root, chunks="auto")[window].compute(),
        "dask + zarr-python": lambda: da.from_zarr(root)[window].compute(),
        "zarr-python": lambda: zarr_window(root, window),
    }


def zarr_window(root: str, window: Any) -> np.ndarray:
    """The window by zarr-python alone."""
    import zarr

    return zarr.open_array(root, mode="r")[window]


def write_cases(tiles: Tiles) -> tuple[str, dict[str, Callable[[], Any]]]:
    """Writing an array from memory to a new place."""
    values = field(tiles.shape)
    array = da.from_array(values, chunks=tiles.tile)
    config = tiles.codec and tiles.codec.get_config()
    target = tiles.root + "-written"

    there = Tiles(target, tiles.shape, tiles.tile, tiles.dtype, tiles.codec, "", ".")
    writers: dict[str, Callable[[], Any]] = {
        "floor": lambda: floor_write(there, values),
        "daskzarr": lambda: daskzarr.to_zarr(array, target, compressor=config, zarr_format=2),
        "dask + zarr-python": lambda: da.to_zarr(array, target, compressors=tiles.codec, zarr_format=2),
    }
    return "floor", writers


def copy_cases(tiles: Tiles) -> tuple[str, dict[str, Callable[[], Any]]]:
    """Reading an array, adding one, writing it."""
    root, target = tiles.root, tiles.root + "-written"
    config = tiles.codec and tiles.codec.get_config()
    return "daskzarr", {
        "daskzarr": lambda: daskzarr.to_zarr(daskzarr.from_zarr(root) + 1, target, compressor=config, zarr_format=2),
        "dask + zarr-python": lambda: da.to_zarr(
            da.from_zarr(root) + 1, target, compressors=tiles.codec, zarr_format=2
        ),
    }


CASES = {"read": read_cases, "sum": sum_cases, "slice": slice_cases, "write": write_cases, "copy": copy_cases}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="", help=f"only cases that begin with this: {', '.join(CASES)}")
    parser.add_argument("--size", default="", help=f"only sizes that begin with this: {', '.join(SIZES)}")
    parser.add_argument("--codec", default="", help=f"only codecs that begin with this: {', '.join(CODECS)}")
    parser.add_argument("--only", default="", help="only contenders with one of these texts, divided by |")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in pick(options.size, SIZES):
            for codec in pick(options.codec, CODECS):
                tiles = make(str(Path(folder) / f"{size}-{codec}"), size, codec)
                for case in pick(options.case, CASES):
                    base, contenders = CASES[case](tiles)
                    texts = options.only.split("|")
                    contenders = {n: f for n, f in contenders.items() if n == base or any(t in n for t in texts)}
                    clear = partial(shutil.rmtree, tiles.root + "-written", ignore_errors=True)
                    title = f"{case}, {size}, {codec}"
                    results[title] = measure(contenders, options.rounds, base, clear)
                    show(title, results[title], base)
                shutil.rmtree(tiles.root)
    save(options.json, results)


if __name__ == "__main__":
    main()
