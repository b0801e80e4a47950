"""Building the graph of reading, adding one and writing, for more and more chunks: client time, and pickled size.

Run ``python -m benchmarks.graphs --help``. Nothing is computed; the arrays hold no chunk.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
import warnings
from typing import Any

import dask.array as da

import daskzarr
from benchmarks.paired import save


def build(source: str, target: str) -> Any:
    """The write, not computed."""
    return daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, target, mode="w", compute=False)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--peer", action="store_true", help="build dask + zarr-python's graphs too (10^4 chunks only)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for counts in ((32, 32), (100, 100), (320, 320), (1000, 1000), (100, 100, 100), (10**6,)):
            source, target = f"{folder}/{counts}", f"{folder}/target"
            shape = tuple(10 * n for n in counts)
            daskzarr.create_array(source, shape=shape, chunks=(10,) * len(shape), dtype="f4")
            taken = []
            for _ in range(options.rounds):
                start = time.perf_counter()
                write = build(source, target)
                taken.append(time.perf_counter() - start)
            row = {"median_s": statistics.median(taken), "pickled_bytes": len(pickle.dumps(write))}
            results["x".join(map(str, counts))] = row
            print(f"{counts!s:<18} {row['median_s'] * 1e3:8.2f} ms {row['pickled_bytes']:>10} bytes", flush=True)
        if options.peer:
            start = time.perf_counter()
            array = da.from_zarr(f"{folder}/(100, 100)") + 1
            size = len(pickle.dumps(array.to_zarr(f"{folder}/peer", compute=False)))
            row = {"median_s": time.perf_counter() - start, "pickled_bytes": size}
            results["dask + zarr-python, 100x100"] = row
            print(f"dask + zarr-python, 100x100: {row['median_s'] * 1e3:.1f} ms {size} bytes")
    save(options.json, results)


if __name__ == "__main__":
    main()
