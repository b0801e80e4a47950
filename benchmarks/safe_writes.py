"""Writes that share stored objects, journals and resuming: daskzarr against Dask's own rechunk, and against itself.

Run ``python -m benchmarks.safe_writes --help``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

import daskzarr
from benchmarks.paired import measure, pick, save, show
from benchmarks.read_write import field
from daskzarr.graph.dask_names import HighLevelGraph

Contenders = tuple[str, dict[str, Callable[[], Any]]]

BAD_BOUNDARY = (100,) * 9 + (90, 110) + (100,) * 9
CUTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    # name -> Dask's blocks, stored chunks, more settings; the shape is what the blocks add up to
    "2-D 100/30": (((100,) * 40, (100,) * 40), (30, 30), {}),
    "3-D 100/30": (((100,) * 4,) * 3, (30, 30, 30), {}),
    "4 into shards of 16": (((40,) * 64, (40,) * 64), (40, 40), {"shards": (160, 160)}),
    "one bad boundary": ((BAD_BOUNDARY, (100,) * 20), (100, 100), {}),
    "500 over 100": (((100,) * 20, (100,) * 20), (500, 500), {}),
}


def _source(blocks: Any) -> da.Array:
    """An array cut in blocks, that costs little to compute."""
    shape = tuple(map(sum, blocks))
    return da.from_array(field(shape), chunks=blocks) + 1


def unaligned(folder: str, name: str) -> Contenders:
    """Write blocks that share stored objects: merged, and with Dask's own rechunk to whole ones first."""
    blocks, chunks, options = CUTS[name]
    array = _source(blocks)
    units = options.get("shards", chunks)

    def write(how: str, source: Callable[[], da.Array], **more: Any) -> None:
        place = f"{folder}/written/{how}"
        daskzarr.to_zarr(source(), place, chunks=chunks, **options, journal=False, **more)

    def rechunked() -> da.Array:
        return array.rechunk(tuple(_whole(lengths, unit) for lengths, unit in zip(blocks, units, strict=True)))

    return "Dask's rechunk, then aligned", {
        "Dask's rechunk, then aligned": partial(write, "rechunked", rechunked),
        "merge": partial(write, "merged", lambda: array),
    }


def _whole(lengths: tuple[int, ...], unit: int) -> tuple[int, ...]:
    """Lengths of blocks of whole objects, near those given."""
    edges = np.unique(np.round(np.cumsum(lengths)[:-1] / unit).astype(int) * unit)
    total = sum(lengths)
    edges = edges[(edges > 0) & (edges < total)]
    return tuple(map(int, np.diff([0, *edges, total])))


def journal(folder: str, size: str) -> Contenders:
    """Write 10,000 chunks with a journal and without."""
    edge = {"4 KB": 32, "64 KB": 128, "256 KB": 256}[size]
    array = da.from_array(field((edge * 100, edge * 100)), chunks=edge)

    def write(how: str, **options: Any) -> None:
        daskzarr.to_zarr(array, f"{folder}/written/{how}", chunks=edge, **options)

    return "no journal", {
        "no journal": partial(write, "without", journal=False),
        "journal": partial(write, "with"),
    }


_computed: list[int] = []


def _slowly(block: np.ndarray, last: int) -> np.ndarray:
    """A block, after some time; fails once so many have been computed."""
    if len(_computed) >= last:
        raise KeyboardInterrupt
    _computed.append(1)
    time.sleep(0.02)
    return block + 1


def resume(folder: str) -> dict[str, Any]:
    """Kill a write at 90 %, resume it; the time that takes by that of all, and how much was computed again."""
    blocks = 400
    array = da.from_array(field((20 * 64, 20 * 64)), chunks=64)
    place = f"{folder}/resumed"
    times = {}
    for name, last, how in (
        ("all", blocks * 9, {}),
        ("killed", int(blocks * 0.9), {}),
        ("rest", blocks * 9, {"resume": True}),
    ):
        _computed.clear()
        if name != "rest":
            shutil.rmtree(place, ignore_errors=True)
            shutil.rmtree(place + ".daskzarr", ignore_errors=True)
        source = array.map_blocks(_slowly, last, dtype=array.dtype, token="slowly", meta=array._meta)
        start = time.perf_counter()
        try:
            daskzarr.to_zarr(source, place, **how, token="the same")
        except KeyboardInterrupt:
            pass
        times[name] = time.perf_counter() - start, len(_computed)
    equal = bool((daskzarr.from_zarr(place).compute() == array.compute() + 1).all())
    return {
        "all_s": times["all"][0],
        "rest_s": times["rest"][0],
        "ratio": times["rest"][0] / times["all"][0],
        "blocks_again": times["rest"][1] - (blocks - int(blocks * 0.9)),
        "equal": equal,
    }


def task_counts() -> dict[str, dict[str, int]]:
    """Tasks that compute and write, of the merge and of Dask's rechunk with an aligned write; receipts aside."""
    cases = {
        "2-D 100/30": (((100,) * 40,) * 2, (30, 30), {}),
        "3-D 100/30": (((100,) * 20,) * 3, (30, 30, 30), {}),
        "one bad boundary in 8,000": ((BAD_BOUNDARY, (100,) * 20, (100,) * 20), (100, 100, 100), {}),
        "4 into shards of 16": (((4,) * 64,) * 2, (4, 4), {"shards": (16, 16)}),
    }
    found = {}
    for name, (blocks, chunks, options) in cases.items():
        array = da.zeros(tuple(map(sum, blocks)), chunks=blocks, dtype="i1")
        units = options.get("shards", chunks)
        whole = tuple(_whole(lengths, unit) for lengths, unit in zip(blocks, units, strict=True))
        found[name] = {}
        for how, source in (("merge", array), ("rechunk", array.rechunk(whole))):
            write = daskzarr.to_zarr(source, {}, chunks=chunks, **options, compute=False)
            graph = write.__dask_optimize__(write.dask, write.__dask_keys__())
            keys = list(HighLevelGraph.to_dict(graph) if isinstance(graph, HighLevelGraph) else graph)
            found[name][how] = sum("daskzarr-written" not in str(key) for key in keys)
    return found


def main() -> None:
    """Run the cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="", help="unaligned, journal, resume or tasks; default all")
    parser.add_argument("--size", default="", help="of chunks, for journal")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="threads"):
        for case in pick(given.case, ("unaligned", "journal", "resume", "tasks")):
            if case == "resume":
                rounds = [resume(folder) for _ in range(given.rounds)]
                results[case] = rounds
                print(
                    "\nresume at 90 %:",
                    *(f"{row['ratio']:.3f}" for row in rounds),
                    "of the whole time; again:",
                    end=" ",
                )
                print(*(row["blocks_again"] for row in rounds), "blocks; right:", all(row["equal"] for row in rounds))
                continue
            if case == "tasks":
                results[case] = task_counts()
                for name, row in results[case].items():
                    print(f"  {name:<28}{row}")
                continue
            variants = CUTS if case == "unaligned" else pick(given.size, ("4 KB", "64 KB", "256 KB"))
            for variant in variants:
                base, contenders = {"unaligned": unaligned, "journal": journal}[case](folder, variant)
                clear = partial(shutil.rmtree, f"{folder}/written", ignore_errors=True)
                found = measure(contenders, given.rounds, base, clear)
                results[f"{case} {variant}"] = found
                show(f"{case} {variant}", found, base)
    save(given.json, results)


if __name__ == "__main__":
    main()
