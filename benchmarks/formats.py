"""Shards, strings, structures and consolidated hierarchies: daskzarr against dask + zarr-python, and numcodecs alone.

Run ``python -m benchmarks.formats --help``.
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

import dask.array as da
import numcodecs
import numpy as np

import daskzarr
from benchmarks.paired import measure, pick, save, show
from benchmarks.read_write import field
from daskzarr.array_handle import ArrayHandle

Contenders = tuple[str, dict[str, Callable[[], Any]]]

SHAPE, SHARD, INNER = (8192, 8192), (1024, 1024), (128, 128)
TEXTS = 200_000
RECORDS = 500_000
NODES = 10_000
READS = 64


def _shards(folder: str) -> str:
    """A sharded array of 64 inner chunks a shard."""
    place = folder + "/sharded"
    if not Path(place).exists():
        daskzarr.to_zarr(da.from_array(field(SHAPE), chunks=SHARD), place, chunks=INNER, shards=SHARD)
    return place


def sharded_whole(folder: str) -> Contenders:
    """Read a sharded array as a whole, and the same cells stored without shards."""
    place, plain = _shards(folder), folder + "/plain"
    daskzarr.to_zarr(da.from_array(field(SHAPE), chunks=SHARD), plain, mode="w", chunks=INNER)
    return "daskzarr", {
        "daskzarr": lambda: daskzarr.from_zarr(place).compute(),
        "daskzarr, no shards": lambda: daskzarr.from_zarr(plain, chunks="auto").compute(),
        "dask + zarr-python": lambda: da.from_zarr(place, chunks=SHARD).compute(),
    }


def sharded_random(folder: str) -> Contenders:
    """Read small boxes at random places, one inner chunk or a few each."""
    place = _shards(folder)
    rng = np.random.default_rng(3)
    corners = [tuple(int(rng.integers(0, n - 64)) for n in SHAPE) for _ in range(READS)]
    boxes = [tuple(slice(a, a + 64) for a in corner) for corner in corners]

    def read(open_array: Callable[[str], da.Array]) -> list[np.ndarray]:
        array = open_array(place)
        return [array[box].compute() for box in boxes]

    return "daskzarr", {
        "daskzarr": partial(read, daskzarr.from_zarr),
        "dask + zarr-python": partial(read, da.from_zarr),
    }


def sharded_write(folder: str) -> Contenders:
    """Write the same blocks into shards, and as single chunks."""
    array = da.from_array(field(SHAPE), chunks=SHARD)

    def write(name: str, **options: Any) -> None:
        shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
        daskzarr.to_zarr(array, f"{folder}/{name}", chunks=INNER, **options)

    return "no shards", {
        "shards": partial(write, "into-shards", shards=SHARD),
        "no shards": partial(write, "no-shards"),
    }


def _pipeline(array: np.ndarray, **options: Any) -> Any:
    """The codecs of an array that is one chunk of Zarr v2."""
    stored = daskzarr.create_array(
        {}, shape=array.shape, chunks=array.shape, dtype=array.dtype, zarr_format=2, **options
    )
    return ArrayHandle.of(stored).pipeline


def _texts() -> np.ndarray:
    """Words of different lengths, some of them not ASCII."""
    return np.array([f"station {i * 7919 % TEXTS} {'é' * (i % 5)}" for i in range(TEXTS)], object)


def vlen_decode(folder: str) -> Contenders:
    """Decode a chunk of strings."""
    array = _texts()
    pipeline = _pipeline(array, filters=[{"id": "vlen-utf8"}], compressor=None)
    data = pipeline.encode(array)
    alone = numcodecs.VLenUTF8()
    return "numcodecs", {
        "daskzarr": lambda: [pipeline.decode(data) for _ in range(5)],
        "numcodecs": lambda: [alone.decode(data) for _ in range(5)],
    }


def vlen_encode(folder: str) -> Contenders:
    """Encode a chunk of strings."""
    array = _texts()
    pipeline = _pipeline(array, filters=[{"id": "vlen-utf8"}], compressor=None)
    alone = numcodecs.VLenUTF8()
    return "numcodecs", {
        "daskzarr": lambda: [pipeline.encode(array) for _ in range(5)],
        "numcodecs": lambda: [alone.encode(array) for _ in range(5)],
    }


def _records() -> np.ndarray:
    """Records of four fields, all different."""
    array = np.zeros(RECORDS, [("id", "<i4"), ("flux", "<f8"), ("name", "S8"), ("xy", "<f4", (2,))])
    array["id"] = np.arange(len(array))
    array["flux"] = np.arange(len(array)) / 7
    array["name"] = np.arange(len(array)).astype("S8")
    array["xy"] = np.arange(2 * len(array)).reshape(-1, 2)
    return array


def struct_decode(folder: str) -> Contenders:
    """Decode a chunk of records that are compressed with Blosc."""
    array = _records()
    blosc = numcodecs.Blosc("lz4", 5, 1)
    pipeline = _pipeline(array, compressor=blosc)
    data = pipeline.encode(array)
    return "numcodecs", {
        "daskzarr": lambda: [pipeline.decode(data) for _ in range(5)],
        "numcodecs": lambda: [np.frombuffer(blosc.decode(data), array.dtype) for _ in range(5)],
    }


def consolidated(folder: str) -> Contenders:
    """Open a consolidated group of many nodes and list it."""
    place = folder + "/many"
    if not Path(place).exists():
        group = daskzarr.create_group(place)
        for i in range(NODES):
            daskzarr.create_group(group, f"node{i:05d}")
        daskzarr.consolidate(place)
    return "daskzarr", {
        "daskzarr": lambda: len(list(daskzarr.open_group(place))),
        "daskzarr, not consolidated": lambda: len(list(daskzarr.open_group(place, consolidated=False))),
        "zarr-python": lambda: len(list(_zarr_group(place).keys())),
    }


def _zarr_group(place: str) -> Any:
    """The group by zarr-python."""
    import zarr

    return zarr.open_group(place, mode="r", use_consolidated=True)


CASES: dict[str, Callable[[str], Contenders]] = {
    "sharded_whole": sharded_whole,
    "sharded_random": sharded_random,
    "sharded_write": sharded_write,
    "vlen_decode": vlen_decode,
    "vlen_encode": vlen_encode,
    "struct_decode": struct_decode,
    "consolidated": consolidated,
}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="", help="cases whose name begins so; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to put the arrays; default a temporary folder")
    parser.add_argument("--json", help="where to write the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in pick(options.case, CASES):
            base, contenders = CASES[name](options.folder or folder)
            results[name] = measure(contenders, options.rounds, base)
            show(f"{name}: {CASES[name].__doc__}", results[name], base)
    save(options.json, results)


if __name__ == "__main__":
    main()
