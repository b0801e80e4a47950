"""Arrays in zip files: written, changed and resumed with Dask, and read by other programs as theirs are by us."""

import multiprocessing
import os
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr.errors import NodeNotFoundError, StoreError, UnsupportedError
from daskzarr.stores.zip import ZipStore

CELLS = np.arange(30 * 40, dtype="<i4").reshape(30, 40) + 1
KINDS = {
    "v2": {"zarr_format": 2, "chunks": (7, 9)},
    "v3": {"chunks": (7, 9)},
    "sharded": {"chunks": (4, 5), "shards": (12, 20)},
    "raw": {"chunks": (7, 9), "compressors": None},
    "n5": {"zarr_format": "n5", "chunks": (8, 8)},
}


def blocks(cells=CELLS):
    return da.from_array(cells, chunks=(7, 11))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.zip")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def check_zip(path):
    """Nothing is left to finish, and every program can read the file."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert b"daskzarr" not in archive.comment
        return archive.namelist()


def test_to_zarr_and_from_zarr(path, kind):
    daskzarr.to_zarr(blocks(), path, "g/a", **KINDS[kind])
    check_zip(path)
    assert np.array_equal(daskzarr.from_zarr(path, "g/a").compute(), CELLS)
    assert np.array_equal(daskzarr.from_zarr(path, "g/a", chunks="auto")[3:20, 5:6].compute(), CELLS[3:20, 5:6])
    assert sorted(os.listdir(os.path.dirname(path))) == ["a.zip", "a.zip.daskzarr"]
    assert daskzarr.verify(path, "g/a", level="digest").ok


def test_a_region_and_an_append(path, kind):
    daskzarr.to_zarr(blocks(), path, "a", **KINDS[kind])
    cells = np.zeros((11, 13), "<i4")
    daskzarr.to_zarr(blocks(cells), path, "a", region=(slice(3, 14), slice(20, 33)), mode="r+")
    check_zip(path)
    expected = CELLS.copy()
    expected[3:14, 20:33] = 0
    assert np.array_equal(daskzarr.from_zarr(path, "a").compute(), expected)
    for _ in range(2):
        daskzarr.append(blocks(CELLS[:5]), path, "a", axis=0, at=30)
    check_zip(path)
    assert np.array_equal(daskzarr.from_zarr(path, "a").compute(), np.concatenate([expected, CELLS[:5]]))


def test_a_hierarchy(path):
    daskzarr.create_group(path, attributes={"a": 1})
    daskzarr.create_array(path, "x/y", shape=(5, 5), chunks=(2, 2), dtype="f4")
    check_zip(path)
    daskzarr.to_zarr(blocks(), path, "x/z")
    daskzarr.consolidate(path)
    daskzarr.update_attributes(path, {"units": "K"}, "x/z")
    check_zip(path)
    group = daskzarr.open_group(path)
    assert sorted(group["x"]) == ["y", "z"]
    array = daskzarr.open_array(path, "x/z", consolidated=True)
    assert (array.shape, array.attrs["units"]) == ((30, 40), "K")
    daskzarr.delete_node(path, "x/y")
    assert not [name for name in check_zip(path) if name.startswith("x/y")]
    assert sorted(daskzarr.open_group(path)["x"]) == ["z"]


def test_overwriting_what_is_read(path):
    daskzarr.to_zarr(blocks(), path, "a")
    daskzarr.to_zarr(daskzarr.from_zarr(path, "a") + 1, path, "a", overwrite=True, compressors=None)
    assert np.array_equal(daskzarr.from_zarr(path, "a").compute(), CELLS + 1)
    daskzarr.to_zarr(daskzarr.from_zarr(path, "a") + 1, path, overwrite=True)
    assert np.array_equal(daskzarr.from_zarr(path).compute(), CELLS + 2)
    ZipStore(path).compact()
    names = check_zip(path)
    assert "zarr.json" in names
    assert not [name for name in names if name.startswith("a/")]
    assert np.array_equal(daskzarr.from_zarr(path).compute(), CELLS + 2)


def test_chunks_of_fill_are_deleted(path):
    daskzarr.to_zarr(blocks(), path, chunks=(7, 9))
    before = len(check_zip(path))
    daskzarr.to_zarr(da.zeros((14, 40), chunks=7, dtype="i4"), path, region=(slice(0, 14),), mode="r+")
    assert len(check_zip(path)) == before - 10
    assert np.array_equal(daskzarr.from_zarr(path).compute()[:14], np.zeros((14, 40)))


def test_what_is_not_there_is_not_found(path, tmp_path):
    with pytest.raises(NodeNotFoundError):
        daskzarr.from_zarr(path)
    assert not os.path.exists(path)
    (tmp_path / "b.zip").write_bytes(b"no zip file")
    for use in (daskzarr.open_array, lambda place: daskzarr.to_zarr(blocks(), place)):
        with pytest.raises(StoreError, match="no zip file"):
            use(str(tmp_path / "b.zip"))


# Dask


def test_several_arrays_by_threads_at_once(path):
    writes = [daskzarr.to_zarr(blocks() * i, path, f"a{i}", compute=False) for i in range(4)]
    dask.compute(*writes, scheduler="threads", num_workers=4)
    check_zip(path)
    for i in range(4):
        assert np.array_equal(daskzarr.from_zarr(path, f"a{i}").compute(), CELLS * i)


def test_other_processes_read_and_do_not_write(path):
    daskzarr.to_zarr(blocks(), path, "a", chunks=(7, 11))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert np.array_equal(daskzarr.from_zarr(path, "a").compute(scheduler=pool), CELLS)
        with dask.config.set(scheduler=pool), pytest.raises(UnsupportedError, match="process"):
            daskzarr.to_zarr(blocks(), path, "b", chunks=(7, 11))
    assert not [name for name in check_zip(path) if name.startswith("b/c/")]
    daskzarr.to_zarr(blocks(), path, "b", chunks=(7, 11), overwrite=True)
    assert np.array_equal(daskzarr.from_zarr(path, "b").compute(), CELLS)


_JOB = """
import itertools, os, sys, time
import dask, dask.array as da, numpy as np
import daskzarr

computed = itertools.count()

def compute(block):
    if next(computed) >= int(os.environ["MOST"]):
        print("waiting", flush=True)
        time.sleep(60)
    print("computed", flush=True)
    return block * 2

if __name__ == "__main__":
    cells = da.from_array(np.arange(4000, dtype="<i4").reshape(200, 20) + 1, chunks=(2, 20))
    array = cells.map_blocks(compute, dtype="<i4")
    settings = {"zarr_format": int(sys.argv[2])}
    if len(sys.argv) > 3:
        settings["shards"], settings["chunks"] = (2, 20), (1, 10)
    with dask.config.set(scheduler="threads", num_workers=2):
        daskzarr.to_zarr(array, sys.argv[1], "a", resume="auto", token="cells", **settings)
"""


@pytest.mark.parametrize("settings", [("2",), ("3", "sharded")], ids=["v2", "v3 sharded"])
def test_a_write_that_is_killed_goes_on(path, settings):
    job = [sys.executable, "-c", _JOB, path, *settings]
    first = subprocess.Popen(job, stdout=subprocess.PIPE, text=True, env={**os.environ, "MOST": "70"})
    assert "waiting\n" in iter(first.stdout.readline, "")
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    check = zipfile.ZipFile(path)
    assert check.testzip() is None
    check.close()
    again = subprocess.run(job, capture_output=True, text=True, env={**os.environ, "MOST": "1000"})
    assert again.returncode == 0, again.stderr
    assert 30 <= again.stdout.count("computed") < 60
    check_zip(path)
    expected = (np.arange(4000).reshape(200, 20) + 1) * 2
    assert np.array_equal(daskzarr.from_zarr(path, "a").compute(), expected)


# Other programs


@pytest.mark.parametrize("name", ["v2", "v3", "sharded", "raw"])
def test_zarr_python_reads_and_writes_the_same_files(path, tmp_path, name):
    import zarr

    daskzarr.to_zarr(blocks(), path, "g/a", **KINDS[name])
    with zarr.storage.ZipStore(path, mode="r") as store:
        assert np.array_equal(zarr.open_group(store, mode="r")["g/a"][...], CELLS)
    settings = {key: value for key, value in KINDS[name].items() if key != "zarr_format"}
    other = str(tmp_path / "b.zip")
    with zarr.storage.ZipStore(other, mode="w") as store:
        group = zarr.create_group(store, zarr_format=2 if name == "v2" else 3)
        group.create_array("a", shape=CELLS.shape, dtype="<i4", **settings)[...] = CELLS
    assert np.array_equal(daskzarr.from_zarr(other, "a").compute(), CELLS)
    daskzarr.to_zarr(blocks(), other, "b", **KINDS[name])
    daskzarr.to_zarr(blocks() * 0 + 7, other, "a", region=(slice(None), slice(None)), mode="r+")
    with zarr.storage.ZipStore(other, mode="a") as store:
        group = zarr.open_group(store, mode="a")
        assert np.array_equal(group["b"][...], CELLS)
        assert (group["a"][...] == 7).all()
        group.create_array("c", data=CELLS)
    assert np.array_equal(daskzarr.from_zarr(other, "c").compute(), CELLS)


@pytest.mark.parametrize(("name", "driver"), [("v2", "zarr"), ("v3", "zarr3"), ("sharded", "zarr3"), ("n5", "n5")])
def test_tensorstore_reads_the_files(path, name, driver):
    tensorstore = pytest.importorskip("tensorstore")
    daskzarr.to_zarr(blocks(), path, "g/a", **KINDS[name])
    daskzarr.to_zarr(blocks() + 1, path, "g/a", mode="r+")
    base = {"driver": "file", "path": path}
    spec = {"driver": driver, "kvstore": {"driver": "zip", "base": base, "path": "g/a/"}}
    found = tensorstore.open(spec, open=True, read=True).result().read().result()
    assert np.array_equal(found.T if driver == "n5" else found, CELLS + 1)  # N5 has the axes the other way round
