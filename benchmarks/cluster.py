"""Adding up an array on a cluster of two one-thread processes: daskzarr, dask with zarr-python, and no Dask at all.

Run ``python -m benchmarks.cluster --help``.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dask.array as da
import numcodecs
import numpy as np
from distributed import Client, LocalCluster

import daskzarr
from benchmarks.paired import measure, save, show
from benchmarks.read_write import CODECS, field
from benchmarks.yardsticks import Tiles, read_tile

SHAPE, TILE = (6400, 12800), (128, 128)


def sum_share(tiles: Tiles, part: int, parts: int) -> float:
    """The sum of one share of the rows of tiles, read in this process."""
    jobs = tiles.jobs()
    step = -(-len(jobs) // parts)
    share = jobs[part * step : (part + 1) * step]
    out = np.empty((len(share), *tiles.tile), tiles.dtype)
    for target, (path, _) in zip(out, share, strict=True):
        read_tile(tiles, path, target)
    return float(out.sum(dtype="f8"))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    config = CODECS["blosc-lz4"]
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/source"
        daskzarr.to_zarr(da.from_array(field(SHAPE), chunks=TILE), root, compressor=config, zarr_format=2)
        tiles = Tiles(root, SHAPE, TILE, np.dtype("f4"), numcodecs.get_codec(config), "", ".")
        with (
            ProcessPoolExecutor(2) as pool,
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
        ):
            contenders: dict[str, Callable[[], Any]] = {
                "limit": lambda: sum(pool.map(sum_share, [tiles] * 2, range(2), [2] * 2)),
                "daskzarr, chunks=auto": lambda: daskzarr.from_zarr(root, chunks="auto").sum(dtype="f8").compute(),
                "daskzarr": lambda: daskzarr.from_zarr(root).sum(dtype="f8").compute(),
                "dask + zarr-python": lambda: da.from_zarr(root).sum(dtype="f8").compute(),
            }
            values = [run() for run in contenders.values()]
            assert np.allclose(values, values[0]), values
            title = f"sum on two processes, {len(tiles.jobs())} chunks of 64 KB, blosc-lz4"
            results = {title: measure(contenders, options.rounds, "limit")}
    show(title, results[title], "limit")
    save(options.json, results)


if __name__ == "__main__":
    main()
