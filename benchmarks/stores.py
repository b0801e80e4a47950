"""Stores that answer late, object stores and databases: daskzarr against loops over the same client, and against peers.

Run ``python -m benchmarks.stores --help``. Cases ``s3`` and ``relay`` take their server from
``DASKZARR_TEST_S3`` ("URL JSON", as ``ci/servers/start s3`` prints it), ``redis`` from ``DASKZARR_TEST_REDIS``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import dask.array as da
import fsspec
import numpy as np

import daskzarr
from benchmarks.paired import measure, save, show
from benchmarks.read_write import field
from daskzarr.testing.slow_filesystem import SlowFileSystem

Contenders = tuple[str, dict[str, Callable[[], Any]], Callable[[], Any]]

LATENCY = 0.05
IN_FLIGHT = 16
THREADS = 2


def _array(chunk: tuple[int, int], counts: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Cells for so many chunks."""
    return field((chunk[0] * counts[0], chunk[1] * counts[1]))


def _zarr_read(url: str, options: dict[str, Any] | None, **more: Any) -> Any:
    """The same with Dask and zarr-python."""
    return da.from_zarr(url, storage_options=options, **more).compute()


def _zarr_write(array: da.Array, url: str, options: dict[str, Any] | None) -> None:
    """The same with Dask and zarr-python."""
    array.to_zarr(url, storage_options=options, compressors=None)


def _nothing() -> None:
    """Nothing has to be prepared."""


class Places:
    """Places that nothing was written to yet, below a prefix of a file system."""

    def __init__(self, fs: Any, url: str) -> None:
        self._fs, self._url, self._numbers = fs, url, itertools.count()

    def new(self) -> str:
        """The next one."""
        return f"{self._url}-new/{next(self._numbers)}"

    def clear(self) -> None:
        """Remove what was written."""
        if self._fs.exists(f"{self._url}-new"):
            self._fs.rm(f"{self._url}-new", recursive=True)
        self._fs.invalidate_cache()


# A store that answers late


def latency(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """Chunks in a file system that answers each request after 50 ms; the base has no Dask, and knows all keys."""
    cells = _array((64, 64), (size // 20, 20))
    options = {"name": "benchmark", "seconds": LATENCY}
    yield from _late(f"slow://{uuid.uuid4().hex}", options, cells, SlowFileSystem(**options))


def relay(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """The same in a real S3 behind a relay that holds every answer back for 50 ms."""
    url, options = _server("S3")
    with _relayed(options) as late:
        fs, _ = fsspec.url_to_fs(url, **late)
        place = f"{url}/{uuid.uuid4().hex}"
        yield from _late(place, late, _array((64, 64), (size // 20, 20)), fs, _client(place, late))


def _late(
    url: str, options: dict[str, Any], cells: np.ndarray[Any, Any], fs: Any, client: Any = None
) -> Iterator[tuple[str, Contenders]]:
    """Reading and writing where each request takes long; ``client`` is one of obstore's that does the same."""
    array = da.from_array(cells, chunks=(cells.shape[0] // THREADS, cells.shape[1]))  # one task a thread
    write = partial(daskzarr.to_zarr, chunks=(64, 64), storage_options=options, journal=False, compressors=None)
    write(array, url)
    paths = [f"{fs._strip_protocol(url)}/c/{i}/{j}" for i, j in np.ndindex(cells.shape[0] // 64, cells.shape[1] // 64)]
    at_once = IN_FLIGHT * THREADS

    def loop() -> None:
        async def one(path: str, free: asyncio.Semaphore) -> bytes:
            async with free:
                found: bytes = await fs._cat_file(path)
                return found

        async def every() -> list[bytes]:
            free = asyncio.Semaphore(at_once)
            return await asyncio.gather(*(one(path, free) for path in paths))

        fsspec.asyn.sync(fs.loop, every)

    import zarr

    peer = zarr.create_array(
        f"{url}-peer", shape=cells.shape, chunks=(64, 64), dtype="f4", compressors=None, storage_options=options
    )
    peer[:] = cells
    by_fsspec = f"loop, {at_once} at once"
    base = by_fsspec if client is None else f"obstore, {at_once} threads"
    read = partial(daskzarr.from_zarr, url, storage_options=options)
    opened = read()
    yield (
        "read",
        (
            base,
            {
                by_fsspec: loop,
                "daskzarr": lambda: read().compute(),
                "daskzarr, opened before": lambda: opened.compute(),
                "daskzarr, chunks=auto, sum": lambda: read(chunks=array.chunksize).sum().compute(),
                "dask + zarr-python": lambda: _zarr_read(f"{url}-peer", options),
                **_alone(client, lambda key: _get(client, key), paths),
            },
            _nothing,
        ),
    )

    def put() -> None:
        async def one(path: str, free: asyncio.Semaphore) -> None:
            async with free:
                await fs._pipe_file(path, data)

        async def every() -> None:
            free = asyncio.Semaphore(at_once)
            await asyncio.gather(*(one(f"{path}-loop", free) for path in paths))

        fsspec.asyn.sync(fs.loop, every)

    data = cells[:64, :64].tobytes()
    small = da.from_array(cells, chunks=(64, 64))
    places = Places(fs, url)
    begun: list[Any] = []
    yield (
        "write",
        (
            base,
            {
                by_fsspec: put,
                "daskzarr": lambda: write(array, places.new()),
                "daskzarr, its tasks alone": lambda: begun[-1].compute(),
                "dask + zarr-python": lambda: _zarr_write(small, places.new(), options),
                **_alone(client, lambda key: _put(client, key + "-alone", data), paths),
            },
            lambda: begun.append(write(array, places.new(), compute=False)),
        ),
    )


def _client(place: str, options: dict[str, Any]) -> Any:
    """A client of obstore's for a prefix of a bucket."""
    from obstore.store import S3Store

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=options["endpoint_url"],
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def _alone(client: Any, call: Callable[[str], Any], paths: list[str]) -> dict[str, Callable[[], Any]]:
    """obstore without daskzarr, by as many threads as requests are under way."""
    keys = [path[path.index("/c/") + 1 :] for path in paths]

    def run() -> None:
        with ThreadPoolExecutor(IN_FLIGHT * THREADS) as pool:
            list(pool.map(call, keys))

    return {} if client is None else {f"obstore, {IN_FLIGHT * THREADS} threads": run}


def _get(client: Any, key: str) -> Any:
    """One object."""
    import obstore

    return obstore.get(client, key).bytes()


def _put(client: Any, key: str, data: bytes) -> None:
    """Put one object."""
    import obstore

    obstore.put(client, key, data)


@contextmanager
def _relayed(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Options that lead to the same server through a relay."""
    target = urlsplit(options["endpoint_url"])
    script = Path(__file__).parent.parent / "ci" / "servers" / "delay_relay.py"
    port = 29111
    relay = subprocess.Popen(
        [sys.executable, str(script), f"127.0.0.1:{port}", f"{target.hostname}:{target.port}", str(LATENCY * 1000)]
    )
    try:
        _wait(port)
        yield {**options, "endpoint_url": f"http://127.0.0.1:{port}"}
    finally:
        relay.kill()


def _wait(port: int) -> None:
    """Until something listens."""
    import socket
    import time

    for _ in range(100):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


# A real object store


def s3(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """Chunks of 1 MB in a real S3."""
    import tensorstore as ts

    url, options = _server("S3")
    place = f"{url}/{uuid.uuid4().hex}"
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    cells = _array((512, 512), (size // 10, 10))
    indices = list(np.ndindex(size // 10, 10))
    array = da.from_array(cells, chunks=(512, 512))
    write = partial(daskzarr.to_zarr, storage_options=options, journal=False, compressors=None)
    write(array, place)
    client, top = _client(place, options), _client(url, options)
    chunk = cells[:512, :512].tobytes()

    def at_once(call: Callable[[tuple[int, ...]], Any], threads: int = IN_FLIGHT * THREADS) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, indices))

    def get_all() -> None:
        out = np.empty_like(cells)  # new memory each time, as every other contender needs it

        def get(index: tuple[int, ...]) -> None:
            i, j = index
            data = _get(client, f"c/{i}/{j}")
            out[i * 512 : (i + 1) * 512, j * 512 : (j + 1) * 512] = np.frombuffer(data, "f4").reshape(512, 512)

        at_once(get)

    spec = {
        "driver": "zarr3",
        "kvstore": {
            "driver": "s3",
            "bucket": bucket,
            "path": prefix + "/",
            "endpoint": options["endpoint_url"],
            "aws_region": "us-east-1",
            "aws_credentials": {"type": "environment"},
        },
        "context": {"s3_request_concurrency": {"limit": IN_FLIGHT * THREADS}},
    }
    os.environ.update(AWS_ACCESS_KEY_ID=options["key"], AWS_SECRET_ACCESS_KEY=options["secret"])
    fs = fsspec.filesystem("s3", **options)
    mapper = fs.get_mapper(place)
    base = "obstore alone"
    yield (
        "read",
        (
            base,
            {
                base: get_all,
                "daskzarr": lambda: daskzarr.from_zarr(place, storage_options=options).compute(),
                "daskzarr, s3fs": lambda: daskzarr.from_zarr(mapper).compute(),
                "tensorstore": lambda: ts.open(spec, read=True).result().read().result(),
                "dask + zarr-python": lambda: _zarr_read(place, options),
            },
            _nothing,
        ),
    )
    metadata = {"node_type": "array", "zarr_format": 3, "shape": list(cells.shape), "data_type": "float32"}
    metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": [512, 512]}}
    metadata["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]

    places = Places(fs, place)

    def put_all(threads: int) -> None:
        new = places.new().removeprefix(url)
        at_once(lambda index: _put(top, f"{new}/{index[0]}/{index[1]}", chunk), threads)

    def in_threads(call: Callable[[], Any]) -> None:
        with dask.config.set(num_workers=IN_FLIGHT * THREADS):  # one chunk a task, so a request a thread
            call()

    def tensorstore_write() -> None:
        kvstore = {**spec["kvstore"], "path": places.new().partition(bucket + "/")[2] + "/"}  # type: ignore[dict-item]
        opened = ts.open({**spec, "kvstore": kvstore, "metadata": metadata, "create": True})
        opened.result().write(cells).result()

    yield (
        "write",
        (
            base,
            {
                base: lambda: put_all(IN_FLIGHT * THREADS),
                f"obstore, {THREADS} threads": lambda: put_all(THREADS),
                "daskzarr": lambda: write(array, places.new()),
                f"daskzarr, {IN_FLIGHT * THREADS} threads": lambda: in_threads(lambda: write(array, places.new())),
                "daskzarr, 16 chunks a task": lambda: write(
                    da.from_array(cells, chunks=(2048, 2048)), places.new(), chunks=(512, 512)
                ),
                "daskzarr, s3fs": lambda: daskzarr.to_zarr(
                    array, fs.get_mapper(places.new()), journal=False, compressors=None
                ),
                "tensorstore": tensorstore_write,
                "dask + zarr-python": lambda: _zarr_write(array, places.new(), options),
            },
            places.clear,
        ),
    )


# Databases


def redis(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """Values of 64 KB in Redis."""
    import redis as client

    url, options = _server("REDIS")
    prefix = uuid.uuid4().hex
    connection = client.Redis(**options)
    values = _values(size)
    store = daskzarr.open_store(f"{url}?prefix={prefix}")
    keys = list(values)
    names = [f"{prefix}:{key}" for key in keys]

    def mget() -> None:
        for i in range(0, len(names), 16):
            connection.mget(names[i : i + 16])

    yield from _loops(
        store,
        values,
        lambda: [connection.get(name) for name in names],
        mget,
        lambda: [connection.set(f"{prefix}:{key}", value) for key, value in values.items()],
    )
    connection.delete(*names)


def sqlite(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """Values of 64 KB in SQLite."""
    values = _values(size)
    store = daskzarr.open_store(f"sqlite:///{folder}/ours.db")
    connection = sqlite3.connect(f"{folder}/loop.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE zarr (k TEXT PRIMARY KEY, v BLOB)")
    ask = "SELECT v FROM zarr WHERE k = ?"

    def put() -> None:
        for item in values.items():
            connection.execute("INSERT INTO zarr VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v", item)

    def get() -> None:
        for key in values:
            connection.execute(ask, (key,)).fetchone()

    put()
    yield from _loops(store, values, get, get, put)


def lmdb(folder: str, size: int) -> Iterator[tuple[str, Contenders]]:
    """Values of 64 KB in LMDB."""
    import lmdb as client

    values = _values(size)
    store = daskzarr.open_store(f"lmdb:///{folder}/ours.lmdb")
    environment = client.open(f"{folder}/loop.lmdb", map_size=2**33, subdir=True, max_readers=64, sync=False)  # as ours

    def put() -> None:
        for key, value in values.items():
            with environment.begin(write=True) as transaction:
                transaction.put(key.encode(), value)

    def get() -> None:
        for key in values:
            with environment.begin() as transaction:
                transaction.get(key.encode())

    def get_all() -> None:
        with environment.begin() as transaction:
            for key in values:
                transaction.get(key.encode())

    put()
    yield from _loops(store, values, get, get_all, put)
    environment.close()


def _values(size: int) -> dict[str, bytes]:
    """Values of 64 KB by key."""
    cells = field((size, 128 * 128))
    return {f"c/{i // 10}/{i % 10}": cells[i].tobytes() for i in range(size)}


def _loops(
    store: Any, values: dict[str, bytes], get: Callable[[], Any], get_all: Callable[[], Any], put: Callable[[], Any]
) -> Iterator[tuple[str, Contenders]]:
    """A store's methods against loops over its client."""
    keys = list(values)

    def ours() -> None:
        for key, value in values.items():
            store.set(key, value)

    ours()
    put()
    yield "get", ("loop", {"loop": get, "daskzarr, get": lambda: [store.get(key) is None for key in keys]}, _nothing)
    yield (
        "get_many",
        (
            "loop",
            {"loop": get_all, "daskzarr, get_many": lambda: [each is None for each in store.get_many(keys)]},
            _nothing,
        ),
    )
    yield "set", ("loop", {"loop": put, "daskzarr, set": ours}, _nothing)


def _server(name: str) -> tuple[str, dict[str, Any]]:
    """Where a server is, and what its client needs."""
    line = os.environ.get(f"DASKZARR_TEST_{name}")
    if not line:
        sys.exit(f"DASKZARR_TEST_{name} is not set: start the server with ci/servers/start")
    url, _, options = line.partition(" ")
    return url, json.loads(options)


def bounds(size: int) -> str:
    """What latency alone allows."""
    return f"latency allows {size / (IN_FLIGHT * THREADS) * LATENCY * 1e3:.0f} ms"


CASES: dict[str, Callable[[str, int], Iterator[tuple[str, Contenders]]]] = {
    "latency": latency,
    "relay": relay,
    "s3": s3,
    "redis": redis,
    "sqlite": sqlite,
    "lmdb": lmdb,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--part", default="", help="read, write, get...: default all")
    parser.add_argument("--size", type=int, default=1000, help="objects")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[], help="a contender to leave out")
    parser.add_argument("--json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {}
    threading.stack_size(0)
    for case in options.case or CASES:
        folder = tempfile.mkdtemp(dir=os.environ.get("DASKZARR_BENCH_DIR"))
        try:
            with dask.config.set(scheduler="threads", num_workers=THREADS):
                for part, (base, contenders, prepare) in CASES[case](folder, options.size):
                    if not part.startswith(options.part):
                        continue
                    contenders = {k: v for k, v in contenders.items() if k not in options.without}
                    title = f"{case}, {part}, {options.size} objects"
                    title += f" ({bounds(options.size)})" if case in ("latency", "relay") else ""
                    results[title] = measure(contenders, options.rounds, base, prepare)
                    show(title, results[title], base)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    save(options.json, results)


if __name__ == "__main__":
    main()
