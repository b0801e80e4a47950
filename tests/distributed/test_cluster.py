"""On a real cluster of processes: results, errors that name the chunk, workers killed in the middle of a write."""

import os
import signal
import time

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.diagnostics.progressbar import progress

import daskzarr
from daskzarr.receipt import Written
from daskzarr.write_plan import fan_in

VALUES = np.arange(400 * 300, dtype="f8").reshape(400, 300)


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def source(tmp_path):
    daskzarr.to_zarr(da.from_array(VALUES, chunks=(20, 20)), tmp_path / "source", compressors="blosc")
    return tmp_path / "source"


def prefixes(client):
    """Names of the kinds of tasks the scheduler has seen."""
    return set(client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes)))


@pytest.mark.parametrize("chunks", [None, "auto", (100, 300)])
def test_read_compute_write(client, source, tmp_path, chunks):
    array = daskzarr.from_zarr(source, chunks=chunks)
    np.testing.assert_array_equal(array.compute(), VALUES)
    assert array.sum().compute() == VALUES.sum()
    daskzarr.to_zarr(array * 2, tmp_path / "target", chunks=(20, 20), zarr_format=2)
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(scheduler="sync"), VALUES * 2)


@pytest.mark.parametrize("journal", [None, False], ids=["journal", "no journal"])
def test_a_copy_is_one_task_a_chunk(client, source, tmp_path, journal):
    write = daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, tmp_path / "target", compute=False, journal=journal)
    before = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    future = client.compute(write)
    future.result()
    names = client.run_on_scheduler(
        lambda dask_scheduler: {
            prefix.name: sum(sum(group.states.values()) for group in prefix.groups)
            for prefix in dask_scheduler.task_prefixes.values()
            if any(sum(group.states.values()) for group in prefix.groups)
        }
    )
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter) > before
    assert names["daskzarr-write"] == 300
    noting = -(-300 // fan_in(300, journal is None))
    assert names["daskzarr-written"] == noting + (-(-noting // 32) if noting > 32 else 0) + 1
    assert set(names) == {"daskzarr-write", "daskzarr-written"}


@pytest.mark.parametrize("align", ["merge", "rechunk"])
def test_blocks_that_share_chunks(client, source, tmp_path, align):
    array = daskzarr.from_zarr(source, chunks=(60, 100)) + 1
    daskzarr.to_zarr(array, tmp_path / "target", chunks=(25, 30), align=align)
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(scheduler="sync"), VALUES + 1)
    expected = VALUES + 1
    expected[33:388, 17] = VALUES[10:365, 250]
    region = (slice(33, 388), 17)
    part = daskzarr.from_zarr(source)[10:365, 250]
    daskzarr.to_zarr(part, tmp_path / "target", mode="r+", region=region, align=align)
    np.testing.assert_array_equal(daskzarr.from_zarr(tmp_path / "target").compute(scheduler="sync"), expected)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(daskzarr.AlignmentError, match=r"rechunk\("):
        daskzarr.to_zarr(array, tmp_path / "target", mode="r+", align="error")
    with pytest.raises(daskzarr.AlignmentError, match="widen the region"):
        daskzarr.to_zarr(part, tmp_path / "target", mode="r+", region=region, align="error")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_array_over_what_it_is_read_from(client, source):
    for n in (1, 2):
        daskzarr.to_zarr(daskzarr.from_zarr(source)[::-1] + 1, source, overwrite=True)
        found = daskzarr.from_zarr(source).compute(scheduler="sync")
        np.testing.assert_array_equal(found, VALUES[:: (-1) ** n] + n)
    with pytest.raises(daskzarr.NodeExistsError, match="read from"):
        daskzarr.to_zarr(daskzarr.from_zarr(source)[::-1], source, mode="r+")
    np.testing.assert_array_equal(daskzarr.from_zarr(source).compute(scheduler="sync"), VALUES + 2)


def test_progress_shows_reads_and_writes(client, source, tmp_path, capsys):
    future = client.compute(daskzarr.from_zarr(source).sum())
    progress(future)
    future.result()
    write = client.compute(daskzarr.to_zarr(daskzarr.from_zarr(source) + 1, tmp_path / "target", compute=False))
    progress(write)
    write.result()
    assert "100% Completed" in capsys.readouterr().out
    assert {"daskzarr-read", "daskzarr-write"} <= prefixes(client)


def test_two_writes_share_their_source(client, source, tmp_path):
    shared = daskzarr.from_zarr(source).map_blocks(np.sqrt)
    dask.compute(*[daskzarr.to_zarr(shared * n, tmp_path / str(n), compute=False) for n in (2, 3)])
    for n in (2, 3):
        found = daskzarr.from_zarr(tmp_path / str(n)).compute(scheduler="sync")
        np.testing.assert_array_equal(found, np.sqrt(VALUES) * n)


def test_an_error_of_a_read_names_store_and_chunk(client, source):
    chunk = source / "c" / "3" / "4"
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(daskzarr.CodecError) as caught:
        daskzarr.from_zarr(source).sum().compute()
    assert caught.value.chunk_key == "c/3/4"
    assert str(source) in str(caught.value)
    assert "c/3/4" in str(caught.value)


def test_an_error_of_a_write_names_store_and_chunk(client, source, tmp_path):
    array = daskzarr.from_zarr(source)
    write = daskzarr.to_zarr(array, tmp_path / "target", compute=False)
    (tmp_path / "target" / "c").mkdir()
    (tmp_path / "target" / "c" / "7").write_text("a file where a directory has to be")
    with pytest.raises(daskzarr.StoreError) as caught:
        write.compute()
    assert caught.value.chunk_key.startswith("c/7/")
    assert str(tmp_path / "target") in str(caught.value)


def test_a_store_in_memory_is_refused(client):
    with pytest.raises(RuntimeError, match="distributed scheduler"):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=20), {})
    with pytest.raises(daskzarr.UnsupportedError):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=20), "memory://cluster")


def test_a_mapping_in_memory_can_be_read_by_others_and_not_written(client):
    mapping = {}
    with dask.config.set(scheduler="threads"):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=100), mapping)
    np.testing.assert_array_equal(daskzarr.from_zarr(mapping).compute(), VALUES)
    with dask.config.set(scheduler="threads"):
        write = daskzarr.to_zarr(da.from_array(VALUES, chunks=100) + 1, mapping, mode="w", compute=False)
    with pytest.raises(daskzarr.UnsupportedError, match="would be lost"):
        client.compute(write).result()


def test_a_file_system_in_memory_is_not_read_as_fill(client):
    with dask.config.set(scheduler="threads"):
        daskzarr.to_zarr(da.from_array(VALUES, chunks=100), "memory://seen-by-one", mode="w")
        np.testing.assert_array_equal(daskzarr.from_zarr("memory://seen-by-one").compute(), VALUES)
    with pytest.raises(daskzarr.UnsupportedError, match="memory of another process"):
        daskzarr.from_zarr("memory://seen-by-one").sum().compute()


def slowly(block):
    """A step that takes long enough for a worker to be killed in the middle of the write."""
    deadline = time.perf_counter() + 0.01
    while time.perf_counter() < deadline:
        pass
    return block + 1


@pytest.mark.parametrize("overwritten", [False, True])
def test_a_worker_killed_in_the_middle_of_a_write(tmp_path, overwritten):
    """SIGKILL: the result is right, nothing unfinished stays behind."""
    source, target = tmp_path / "source", tmp_path / "target"
    daskzarr.to_zarr(da.from_array(VALUES, chunks=(20, 20)), source)
    mode = "w-"
    if overwritten:
        daskzarr.to_zarr(da.from_array(-VALUES, chunks=(20, 20)), target)
        mode = "r+"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        array = daskzarr.from_zarr(source).map_blocks(slowly, dtype="f8")
        write = daskzarr.to_zarr(array, target, mode=mode, compute=False)
        future = client.compute(write)
        finished = lambda: client.run_on_scheduler(  # noqa: E731
            lambda dask_scheduler: sum(task.state == "memory" for task in dask_scheduler.tasks.values())
        )
        while finished() < 30 and not future.done():
            pass
        assert not future.done(), "the write has to be under way still"
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        stored = future.result(timeout=120)
    files = [path for path in (target / "c").rglob("*") if path.is_file()]
    assert len(files) == 300
    assert stored == Written(objects=300, elided=0, nbytes=sum(path.stat().st_size for path in files), failures=())
    assert not [path for path in files if path.name.startswith(".")]
    np.testing.assert_array_equal(daskzarr.from_zarr(target).compute(), VALUES + 1)
