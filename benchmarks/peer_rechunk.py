"""A job -> a stored array in other chunks, by the package it names; runs in any interpreter that has the package.

``python peer_rechunk.py JSON``, with the keys of `Job`. It starts a cluster, prints a line of JSON (versions, process
ids of the workers), begins at a line on its input, prints another line (seconds), and ends at another line on its
input. So its start is in no measure of the work. It imports nothing of this repository: daskzarr need not be there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from importlib import import_module, metadata
from typing import Any, TypedDict


class Job(TypedDict):
    """What to do; ``compressed`` says whether chunks are stored as zstd or as they are."""

    contender: str
    source: str
    target: str
    scratch: str
    chunks: list[int]
    max_mem: str
    compressed: bool
    resume: bool
    workers: int


def by_daskzarr(job: Job) -> None:
    """The verb."""
    import daskzarr

    daskzarr.rechunk(
        job["source"],
        job["target"],
        tuple(job["chunks"]),
        max_mem=job["max_mem"],
        scratch=job["scratch"] + "/daskzarr",
        resume=job["resume"],
    )


def by_dask(job: Job, method: str) -> None:
    """Dask's rechunk between its own reading and writing."""
    import dask.array as da
    import zarr

    compressors = zarr.codecs.ZstdCodec(level=0) if job["compressed"] else None
    source = da.from_zarr(job["source"])
    source.rechunk(tuple(job["chunks"]), method=method).to_zarr(job["target"], compressors=compressors)


def by_rechunker(job: Job) -> None:
    """Rechunker, with the executor for Dask; it knows Zarr v2 only."""
    import numcodecs
    import rechunker
    import zarr

    options = {"compressor": numcodecs.Zstd(level=0) if job["compressed"] else None}
    rechunker.rechunk(
        zarr.open_array(job["source"], mode="r"),
        tuple(job["chunks"]),
        job["max_mem"],
        job["target"],
        target_options=options,
        temp_store=job["scratch"] + "/rechunker",
    ).execute()


def by_cubed(job: Job) -> None:
    """Cubed, with the executor for Dask; nothing is set aside for the interpreter. What it keeps meanwhile is zstd."""
    import cubed
    import zarr
    from cubed.runtime.executors.dask import DaskExecutor
    from distributed import default_client

    executor = DaskExecutor(compute_kwargs={"address": default_client().scheduler.address})
    spec = cubed.Spec(job["scratch"] + "/cubed", allowed_mem=job["max_mem"], executor=executor)
    source = cubed.from_zarr(job["source"], spec=spec)
    target = zarr.create_array(
        job["target"],
        shape=source.shape,
        chunks=tuple(job["chunks"]),
        dtype=source.dtype,
        compressors=zarr.codecs.ZstdCodec(level=0) if job["compressed"] else None,
    )
    cubed.store([source.rechunk(tuple(job["chunks"]))], [target])


CONTENDERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    # name -> how, packages that the workers import beforehand
    "daskzarr": (by_daskzarr, ("daskzarr.rechunking", "dask.array")),
    "dask tasks": (lambda job: by_dask(job, "tasks"), ("zarr", "dask.array")),
    "dask p2p": (lambda job: by_dask(job, "p2p"), ("zarr", "dask.array", "distributed.shuffle")),
    "rechunker": (by_rechunker, ("zarr", "rechunker", "dask.array")),
    "cubed": (by_cubed, ("zarr", "cubed", "cubed.runtime.executors.dask")),
}


def say(**what: Any) -> None:
    """One line of JSON to whoever started this."""
    print(json.dumps(what), flush=True)


def imported(names: tuple[str, ...]) -> int:
    """Import packages; the process that did."""
    for name in names:
        import_module(name)
    return os.getpid()


def versions() -> dict[str, str]:
    """The packages here that matter."""
    found = {}
    for name in ("daskzarr", "dask", "distributed", "zarr", "numcodecs", "numpy", "rechunker", "cubed"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Do the job."""
    from distributed import Client, LocalCluster

    job: Job = json.loads(sys.argv[1])
    work, packages = CONTENDERS[job["contender"]]
    imported(packages)
    spilled = job["scratch"] + "/workers"
    shutil.rmtree(spilled, ignore_errors=True)
    with (
        LocalCluster(
            n_workers=job["workers"],
            threads_per_worker=1,
            memory_limit="8 GiB",
            dashboard_address=None,
            local_directory=spilled,
        ) as cluster,
        Client(cluster) as client,
    ):
        say(workers=list(client.run(imported, packages).values()), versions=versions())
        sys.stdin.readline()
        start = time.perf_counter()
        try:
            work(job)
        except Exception as error:
            say(error=f"{type(error).__name__}: {error}")
            raise
        say(seconds=time.perf_counter() - start)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
