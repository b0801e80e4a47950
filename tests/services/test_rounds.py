"""Arrays of every format go into every kind of store and come back, by threads and by processes."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskzarr
from daskzarr.testing import distinct_values

from .rounds import (
    FORMS,
    KINDS,
    VALUES,
    Place,
    address,
    check_store,
    check_with_others,
    check_with_zarr_python,
    folder,
    grow_first,
    read_round,
    unique,
    write_round,
)


@pytest.fixture(scope="module")
def workers():
    """A client of two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))  # where they find what is pickled from here
        options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
        with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


@pytest.fixture
def cluster(workers):
    """Work is done by two processes."""
    with workers.as_current(), dask.config.set(scheduler=workers):
        yield workers


@pytest.fixture
def threads():
    """Work is done by threads."""
    with dask.config.set(scheduler="threads"):
        yield


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", KINDS)
def test_threads(name, form, threads, tmp_path):
    kind = KINDS[name]
    kind.require()
    place = kind.place(tmp_path)
    write_round(place, form)
    read_round(place, form)
    check_with_others(kind.contents(place), form, tmp_path / "seen")
    if form in kind.zarr:
        check_with_zarr_python(place, form)
    check_store(place, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.processes == "write"])
def test_processes(name, form, cluster, tmp_path):
    kind = KINDS[name]
    kind.require()
    place = kind.place(tmp_path)
    write_round(place, form)
    read_round(place, form)
    check_with_others(kind.contents(place), form, tmp_path / "seen")


# A mapping has no place beside it, where scratch and journals go.
BESIDE = {name for name, kind in KINDS.items() if kind.processes == "write"} - {"mapping"}


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_rechunking_through_scratch(name, cluster, tmp_path):
    kind = KINDS[name]
    kind.require()
    place = kind.place(tmp_path)
    cells = distinct_values((24, 20, 16), "f4", 0)
    daskzarr.to_zarr(da.from_array(cells, chunks=(1, 20, 16)), place.url, "maps", storage_options=place.options)
    settings = {"storage_options": place.options, "target_options": place.options, "target_component": "pencils"}
    settings |= {"max_mem": "40 kB", "stages": 2}
    report = daskzarr.rechunk(place.url, place.url, (24, 2, 2), "maps", **settings)
    assert report.plans[""].kind == "packed"
    found = daskzarr.from_zarr(place.url, "pencils", storage_options=place.options).compute()
    np.testing.assert_array_equal(found, cells)
    assert not [key for key in kind.contents(place) if "__scratch__" in key]
    again = daskzarr.rechunk(place.url, place.url, (24, 2, 2), "maps", resume=True, **settings)
    assert again.written.objects == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.processes == "read"])
def test_processes_read_what_one_wrote(name, form, cluster, tmp_path):
    kind = KINDS[name]
    kind.require()
    place = kind.place(tmp_path)
    with dask.config.set(scheduler="threads"):
        write_round(place, form)
    read_round(place, form)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.processes != "write"])
def test_a_store_of_one_process_is_not_written_by_others(name, cluster, tmp_path):
    kind = KINDS[name]
    kind.require()
    place = kind.place(tmp_path)
    with pytest.raises((daskzarr.UnsupportedError, RuntimeError), match=r"(another|one) process|distributed scheduler"):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=10), place.url, storage_options=place.options)


@pytest.fixture
def served_folder():
    """A folder of the web server, and its name there."""
    root = os.environ.get("DASKZARR_TEST_HTTP_FOLDER")
    if not root:
        pytest.skip("needs a server: ci/services http")
    return Place(f"{root}/{unique()}")


@pytest.mark.parametrize("runner", ["threads", "cluster"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("server", ["HTTP", "HTTPS"])
def test_the_web_is_read(server, form, runner, served_folder, request):
    with dask.config.set(scheduler="threads"):
        write_round(served_folder, form)
    place = folder(address(server), Path(served_folder.url).name)
    request.getfixturevalue(runner)
    read_round(place, form)
    report = daskzarr.verify(place.url, "g/a", level="decode", journal=False, storage_options=place.options)
    assert report.ok
    with pytest.raises(daskzarr.DaskZarrError):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=10), place.url, "other", place.options)
    if runner == "threads" and form != "n5":
        check_with_zarr_python(place, form)


def test_a_certificate_that_nobody_vouches_for_is_an_error(threads, served_folder):
    write_round(served_folder, "v2")
    with pytest.raises(daskzarr.StoreError, match=r"(?i)certificate"):
        daskzarr.from_zarr(folder(address("HTTPS"), Path(served_folder.url).name).url, "g/a")


CACHES = ["simplecache", "filecache", "blockcache"]


def before(place, cache, folder):
    """The same place seen through a cache."""
    return Place(f"{cache}::{place.url}", {"s3": place.options, cache: {"cache_storage": str(folder)}})


@pytest.mark.parametrize("runner", ["threads", "cluster"])
@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_before_a_store(cache, runner, tmp_path, request):
    kind = KINDS["s3"]
    kind.require()
    request.getfixturevalue(runner)
    place = kind.place(tmp_path)
    write_round(place, "v3 sharded")
    for _ in range(2):
        read_round(before(place, cache, tmp_path / "cache"), "v3 sharded")


@pytest.mark.parametrize("cache", CACHES)
def test_what_is_written_through_a_cache_is_read_from_it(cache, threads, tmp_path):
    """What others write behind it is not: docs/stores.md says so."""
    kind = KINDS["s3"]
    kind.require()
    place = kind.place(tmp_path)
    cached = before(place, cache, tmp_path / "cache")
    x = da.from_array(VALUES, chunks=10)
    for shift in (0, 1, 2):
        daskzarr.to_zarr(x + shift, cached.url, "a", cached.options, mode="w")
        found = daskzarr.from_zarr(cached.url, "a", cached.options).compute()
        np.testing.assert_array_equal(found, VALUES + shift)
    np.testing.assert_array_equal(daskzarr.from_zarr(place.url, "a", place.options).compute(), VALUES + 2)


def test_a_server_far_away(threads, tmp_path):
    """S3 behind 50 ms: the same round, and no request is answered sooner."""
    options = dict(address("S3").options)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).parents[2] / "ci" / "servers" / "delay_relay.py"
    target = options["endpoint_url"].removeprefix("http://")
    relay = subprocess.Popen([sys.executable, script, str(port), target, "50"], stdin=subprocess.DEVNULL)
    try:
        options["endpoint_url"] = f"http://127.0.0.1:{port}"
        place = folder(Place(address("S3").url, options), unique())
        wait_for(port)
        write_round(place, "v3 sharded")
        read_round(place, "v3 sharded")
        store = daskzarr.open_store(place.url, storage_options=options)
        began = time.perf_counter()
        assert store.get("zarr.json") is not None
        assert time.perf_counter() - began >= 0.05
    finally:
        relay.kill()
        relay.wait()


def wait_for(port):
    """Wait until something listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("runner", ["threads", "cluster"])
def test_references_to_a_store(runner, tmp_path, request):
    kind = KINDS["s3"]
    kind.require()
    place = kind.place(tmp_path)
    with dask.config.set(scheduler="threads"):
        write_round(place, "v2")
    references = {
        key: value.decode() if Path(key).name.startswith(".z") else [f"{place.url}/{key}"]
        for key, value in kind.contents(place).items()
    }
    file = tmp_path / "references.json"
    file.write_text(json.dumps({"version": 1, "refs": references}))
    request.getfixturevalue(runner)
    options = {"fo": str(file), "remote_protocol": "s3", "remote_options": place.options}
    read_round(Place("reference://", options), "v2")


def test_an_icechunk_repository(cluster):
    icechunk = pytest.importorskip("icechunk")
    options = address("S3").options
    storage = icechunk.s3_storage(
        bucket="daskzarr",
        prefix=unique(),
        region="us-east-1",
        endpoint_url=options["endpoint_url"],
        allow_http=True,
        force_path_style=True,
        access_key_id=options["key"],
        secret_access_key=options["secret"],
    )
    repository = icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    with dask.config.set(scheduler="threads"):
        write_round(Place(session.store), "v3 sharded", append=grow_first)
        with pytest.raises(daskzarr.NodeNotFoundError):
            daskzarr.open_array(repository.readonly_session("main").store, "g/a")
        session.commit("a round")
        read_round(Place(repository.readonly_session("main").store), "v3 sharded")
    read_round(Place(repository.readonly_session("main").store), "v3 sharded")  # by other processes
    session = repository.writable_session("main")
    with pytest.raises(daskzarr.UnsupportedError, match="process"):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=10), session.store, "other")
