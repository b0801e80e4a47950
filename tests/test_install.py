"""daskzarr in the place of Dask's own from_zarr and to_zarr: put there, used, and taken away."""

import os
import subprocess
import sys
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.array.core import PerformanceWarning
from numpy.testing import assert_array_equal

import daskzarr
from daskzarr import install
from daskzarr.graph.read import ZarrArray

DASKS = {(module, name): getattr(module, name) for module in (da, da.core) for name in ("from_zarr", "to_zarr")}
CELLS = np.arange(1, 1 + 9 * 14, dtype="int32").reshape(9, 14)


@pytest.fixture(autouse=True)
def installed():
    daskzarr.install_dask()
    yield
    daskzarr.uninstall_dask()
    assert all(getattr(module, name) is theirs for (module, name), theirs in DASKS.items())


@pytest.fixture
def handed_over(monkeypatch):
    """The names of Dask's own functions that were called."""
    names, dasks = [], install._dasks
    monkeypatch.setattr(install, "_dasks", lambda name: (names.append(name), dasks(name))[1])
    return names


def blocks(chunks=(4, 5)):
    return da.from_array(CELLS, chunks=chunks)


# ---- there and back


def test_both_modules_and_the_method_use_it_until_it_is_undone(tmp_path):
    daskzarr.install_dask()  # twice is once
    assert da.from_zarr is da.core.from_zarr is install.from_zarr
    assert da.to_zarr is da.core.to_zarr is install.to_zarr
    blocks().to_zarr(tmp_path / "a")
    assert isinstance(da.from_zarr(tmp_path / "a"), ZarrArray)
    daskzarr.uninstall_dask()
    daskzarr.uninstall_dask()
    assert not isinstance(da.from_zarr(tmp_path / "a"), ZarrArray)
    blocks().to_zarr(tmp_path / "b")
    assert_array_equal(daskzarr.from_zarr(tmp_path / "b").compute(), CELLS)


def test_what_others_put_there_later_stays(tmp_path):
    def theirs(*args, **kwargs):
        return install.to_zarr(*args, **kwargs)

    da.core.to_zarr = theirs
    try:
        daskzarr.install_dask()
        assert da.core.to_zarr is theirs
        daskzarr.uninstall_dask()
        assert da.core.to_zarr is theirs
        assert da.to_zarr is DASKS[da, "to_zarr"]
        blocks().to_zarr(tmp_path / "a", config={"order": "F"})
        blocks().to_zarr(zarr.storage.ZipStore(tmp_path / "b.zip", mode="w"))  # Dask's own, not theirs for ever
    finally:
        da.core.to_zarr = install.to_zarr
    daskzarr.uninstall_dask()
    assert da.core.to_zarr is DASKS[da.core, "to_zarr"]


def test_zarr_python_need_not_be_there(tmp_path):
    code = f"""
import sys
sys.modules["zarr"] = None
import daskzarr, dask.array as da
daskzarr.install_dask()
da.arange(10, chunks=3).to_zarr({str(tmp_path / "a")!r}, component="x/y", shards=(6,), chunks=(2,))
da.arange(4, chunks=2).to_zarr(store := {{}})
print(da.from_zarr({str(tmp_path / "a")!r}, "x/y").sum().compute(), da.from_zarr(store)[2].compute())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["45", "2"], result.stderr


def test_arrays_that_are_expressions(tmp_path):
    code = f"""
import daskzarr, dask.array as da
assert da.array_expr_enabled()
daskzarr.install_dask()
da.to_zarr(da.arange(10, chunks=3), {str(tmp_path)!r}, chunks=(4,))
da.to_zarr(da.arange(10, chunks=3), {str(tmp_path)!r}, "b", compute=False).compute()
print(da.from_zarr({str(tmp_path)!r}).sum().compute(), da.from_zarr({str(tmp_path)!r}, "b").sum().compute())
"""
    environment = {**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True"}
    result = subprocess.run(
        [sys.executable, "-c", code.replace(', "b"', '+"b"')],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.stdout.split() == ["45", "45"], result.stderr


# ---- reading


def test_blocks_are_the_chunks_within_shards(tmp_path):
    zarr.create_array(tmp_path, shape=(9, 14), chunks=(2, 5), shards=(4, 10), dtype="i4")[:] = CELLS
    array = da.from_zarr(tmp_path)
    assert array.chunks == ((2, 2, 2, 2, 1), (5, 5, 4))
    assert_array_equal(array.compute(), CELLS)
    assert da.from_zarr(tmp_path, chunks=(9, 7)).chunks == ((9,), (7, 7))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_way_to_say_where(tmp_path, zarr_format):
    group = zarr.open_group(tmp_path / "g", zarr_format=zarr_format)
    stored = group.create_array("a/b", shape=(9, 14), chunks=(4, 5), dtype="i4")
    stored[:] = CELLS
    store = zarr.storage.LocalStore(tmp_path / "g")
    remote = zarr.storage.FsspecStore.from_url(f"file://{tmp_path}/g")
    for where in (
        (stored,),
        (group, "a/b"),
        (tmp_path / "g", "a/b"),
        (str(tmp_path), "g/a/b"),
        (f"file://{tmp_path}/g/a/b",),
        (store, "a/b"),
        (remote, "a/b"),
        (store, "/a/b"),
        (daskzarr.open_array(tmp_path / "g/a/b"),),
    ):
        array = da.from_zarr(*where, mode="r", zarr_format=None)
        assert type(array) is ZarrArray, where
        assert_array_equal(array.compute(), CELLS)


def test_names(tmp_path):
    blocks().to_zarr(tmp_path)
    assert da.from_zarr(tmp_path, name="mine").name == "mine"
    assert da.from_zarr(tmp_path).name == da.from_zarr(tmp_path, name=True).name
    assert da.from_zarr(tmp_path, name=False).name != da.from_zarr(tmp_path, name=False).name


def test_a_dict_is_one_that_zarr_python_reads_and_writes(handed_over):
    store = {}
    blocks().to_zarr(store, component="a")
    assert_array_equal(zarr.open_array(store, path="a")[:], CELLS)
    before = da.from_zarr(store, "a")
    blocks().map_blocks(np.negative).to_zarr(store, component="a", overwrite=True)
    after = da.from_zarr(store, "a")
    assert before.name != after.name
    assert_array_equal(after.compute(), -CELLS)
    zarr.open_array(store, path="a")[0] = 0
    assert not after[0].compute().any()
    assert not handed_over


def test_text_is_of_the_dtype_that_the_array_says(handed_over):
    stored = zarr.create_array({}, shape=(3,), chunks=(2,), dtype="string")
    stored[:] = np.array(["a", "bbb", ""], object)
    array = da.from_zarr(stored)
    assert array.dtype == stored.dtype
    assert array.compute().tolist() == ["a", "bbb", ""]
    assert handed_over == ["from_zarr"]


@pytest.mark.parametrize("inline_array", [True, False, None])
def test_an_array_in_memory_is_a_key_if_asked_for(inline_array, handed_over):
    stored = zarr.array(CELLS)
    array = da.from_zarr(stored, inline_array=inline_array)
    assert (stored in dict(array.dask).values()) is (inline_array is False)
    assert len(handed_over) == (inline_array is False)
    assert_array_equal(array.compute(), CELLS)


class Slow:
    """An array of somebody else's."""

    shape, dtype, chunks, ndim = CELLS.shape, CELLS.dtype, (3, 14), 2
    fs, path = "no place", "at all"

    def __getitem__(self, index):
        return CELLS[index]


def test_other_arrays_are_read_by_dasks_from_array():
    assert da.from_zarr(Slow()).chunks == ((3, 3, 3), (14,))
    array = da.from_zarr(Slow(), chunks=(9, 7), name="mine")
    assert (array.chunks, array.name) == (((9,), (7, 7)), "mine")
    assert_array_equal(array.compute(), CELLS)


class Counting(zarr.storage.LocalStore):
    """A store that does more than the one it is made from."""

    asked = 0

    async def get(self, *args, **kwargs):
        type(self).asked += 1
        return await super().get(*args, **kwargs)


def test_stores_that_only_zarr_python_can_ask(tmp_path, handed_over):
    blocks().to_zarr(tmp_path / "a")
    local = zarr.storage.LocalStore(tmp_path / "a")
    for store in (Counting(tmp_path / "a"), zarr.storage.LoggingStore(local), zarr.storage.WrapperStore(local)):
        for place in (store, zarr.open_array(store)):
            assert_array_equal(da.from_zarr(place).compute(), CELLS)
    assert handed_over == ["from_zarr"] * 6
    assert Counting.asked > 6


def test_keywords_that_daskzarr_has_not(tmp_path, handed_over):
    blocks().to_zarr(tmp_path / "a")
    assert_array_equal(da.from_zarr(tmp_path / "a", config={"order": "F"}).compute(), CELLS)
    assert handed_over == ["from_zarr"]
    with pytest.raises(TypeError, match="nonsense"):
        da.from_zarr(tmp_path / "a", nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        blocks().to_zarr(tmp_path / "b", nonsense=1)
    assert handed_over == ["from_zarr", "to_zarr"]
    assert_array_equal(da.from_zarr(tmp_path / "a", missing="error").compute(), CELLS)
    assert len(handed_over) == 2


def test_objects_that_were_pickled_are_refused_all_the_same(handed_over):
    daskzarr.to_zarr(
        da.from_array(np.array([1, "a"], object), chunks=2), store := {}, zarr_format=2, filters=[{"id": "pickle"}]
    )
    with pytest.raises(daskzarr.UnsupportedError, match="allow_pickle"):
        da.from_zarr(store).compute()
    assert not handed_over


# ---- writing


@pytest.mark.parametrize(
    "sizes", [{"chunks": (2, 3), "shards": (4, 9)}, {"chunks": (5, 3)}, {"chunks": (9, 14)}], ids=str
)
def test_stored_objects_that_blocks_share_lose_nothing(tmp_path, sizes, handed_over):
    blocks((2, 3)).to_zarr(tmp_path, **sizes)
    stored = zarr.open_array(tmp_path)
    assert (stored.chunks, stored.shards) == (sizes["chunks"], sizes.get("shards"))
    assert_array_equal(stored[:], CELLS)
    assert not handed_over


@pytest.mark.parametrize("nested", [True, False])
def test_the_keywords_of_create_array(tmp_path, nested, handed_over):
    chosen = {
        "name": "x/y",
        "shape": (9, 14),
        "chunks": (3, 7),
        "shards": None,
        "dtype": "int64",
        "data": None,
        "filters": "auto",
        "compressors": zarr.codecs.GzipCodec(level=3),
        "serializer": "auto",
        "fill_value": 7,
        "order": None,
        "zarr_format": 3,
        "attributes": {"unit": "K"},
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "dimension_names": ("y", "x"),
        "overwrite": False,
        "config": {"write_empty_chunks": True},
        "write_data": True,
    }
    blocks().to_zarr(tmp_path / "d", **({"zarr_array_kwargs": chosen} if nested else chosen))
    stored = zarr.open_array(tmp_path / "d", path="x/y")
    assert_array_equal(stored[:], CELLS)
    assert (stored.dtype, stored.chunks, stored.fill_value) == ("int64", (3, 7), 7)
    assert stored.compressors == (zarr.codecs.GzipCodec(level=3),)
    assert stored.metadata.dimension_names == ("y", "x")
    assert stored.attrs.asdict() == {"unit": "K"}
    assert (tmp_path / "d/x/y/c.2.1").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["d"]  # and no journal
    assert not handed_over


def test_a_setting_cannot_be_given_twice(tmp_path):
    with pytest.raises(daskzarr.MetadataError, match="chunks is given twice"):
        blocks().to_zarr(tmp_path, chunks=(3, 3), zarr_array_kwargs={"chunks": (4, 4)})


def test_zarr_python_says_no_in_many_ways(tmp_path):
    silent = {"dimension_names": [], "chunks": "auto", "synchronizer": None, "fill_value": zarr.zeros(1).fill_value}
    blocks().to_zarr(tmp_path, component="a", **silent)
    stored = zarr.open_array(tmp_path, path="a")
    assert (stored.chunks, stored.metadata.dimension_names) == ((4, 5), None)
    blocks().to_zarr(tmp_path, component="b", compressors=None, zarr_format=2, dimension_separator="/")
    stored = zarr.open_array(tmp_path, path="b", zarr_format=2)
    assert stored.compressors == ()
    assert (tmp_path / "b/2/2").exists()
    with pytest.raises(daskzarr.MetadataError, match="shape"):
        blocks().to_zarr(tmp_path, component="c", shape=(10, 14))


@pytest.mark.parametrize("mode", ["a", "r+", "w-"])
def test_only_w_and_overwrite_replace_what_is_there(tmp_path, mode):
    blocks().to_zarr(tmp_path, mode=mode)
    for place in (tmp_path, zarr.storage.LocalStore(tmp_path)):
        with pytest.raises(FileExistsError):
            (blocks() * 2).to_zarr(place, mode=mode)
    assert_array_equal(da.from_zarr(tmp_path).compute(), CELLS)
    (da.from_zarr(tmp_path) * 2).to_zarr(tmp_path, mode=mode, overwrite=True)
    (da.from_zarr(tmp_path) * 3).to_zarr(tmp_path, mode="w")
    assert_array_equal(da.from_zarr(tmp_path).compute(), CELLS * 6)
    with pytest.raises(ValueError, match="Cannot use"):
        blocks().to_zarr(tmp_path, mode="r")


def test_blocks_of_different_lengths_are_rechunked_unless_chunks_are_given(tmp_path):
    uneven = blocks(((2, 4, 3), (5, 5, 4)))
    with pytest.warns(UserWarning, match="irregular"):
        uneven.to_zarr(tmp_path / "a")
    assert zarr.open_array(tmp_path / "a").chunks == (4, 5)
    uneven.to_zarr(tmp_path / "b", chunks=(3, 7))
    for name in ("a", "b"):
        assert_array_equal(zarr.open_array(tmp_path / name)[:], CELLS)


def test_a_delayed_write_is_an_array(tmp_path):
    written = []

    def noted(block):
        written.append(block.shape)
        return block

    source = blocks().map_blocks(noted, meta=np.empty((0, 0), CELLS.dtype))
    one = source.to_zarr(tmp_path / "one", compute=False)
    two = (source.rechunk((3, 14)) + 1).to_zarr(tmp_path / "two", compute=False, chunks=(5, 5))
    whole = da.from_array(np.array(5), chunks=()).to_zarr(tmp_path / "whole", compute=False)
    assert (type(one).__mro__[1], one.chunks, one.dtype) == (da.Array, source.chunks, "int32")
    assert not written
    assert not da.from_zarr(tmp_path / "one").compute().any()
    dask.compute(one, two, whole, scheduler="threads")
    assert len(written) == 9  # each block for both
    dask.persist(whole)
    for name, cells in (("one", CELLS), ("two", CELLS + 1), ("whole", 5)):
        assert_array_equal(zarr.open_array(tmp_path / name)[...], cells)


@pytest.mark.parametrize("compute", [True, False])
def test_what_was_stored_is_returned(tmp_path, compute):
    stored = blocks().to_zarr(tmp_path, compute=compute, return_stored=True)
    assert isinstance(stored, da.Array)
    assert stored.chunks == blocks().chunks
    assert_array_equal(stored.compute(), CELLS)


@pytest.mark.parametrize("where", ["memory", "local", "remote"])
def test_regions_of_an_array_of_zarr_python(tmp_path, where, handed_over):
    urls = {"memory": {}, "local": tmp_path, "remote": zarr.storage.FsspecStore.from_url(f"memory:/{tmp_path}")}
    stored = zarr.create_array(urls[where], name="a", shape=(20, 30), chunks=(3, 4), dtype="i8", fill_value=-1)
    expected = np.full((20, 30), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PerformanceWarning)
        for n, region in enumerate((np.s_[0:9, 0:14], np.s_[5:14, 10:24], np.s_[11:, -14:])):
            expected[region] = CELLS + 1000 * n
            done = (blocks() + 1000 * n).to_zarr(stored, region=region, compute=n != 1)
            if n == 1:
                done.compute()
            assert_array_equal(stored[:], expected)
    with pytest.raises(ValueError, match="region"):
        blocks().to_zarr(tmp_path / "new", region=np.s_[0:9, 0:14])
    assert not handed_over


def test_writes_that_dask_warns_of_are_warned_of():
    stored = zarr.create_array({}, shape=(9, 14), chunks=(3, 5), dtype="i4")
    blocks().to_zarr(stored)  # of other blocks, which Dask rechunks and says nothing
    assert_array_equal(stored[:], CELLS)
    with dask.config.set({"array.chunk-size": 1}), pytest.warns(PerformanceWarning, match="rechunked along axis 0"):
        (blocks() * 2).to_zarr(stored)
    with pytest.warns(PerformanceWarning, match="rechunked along axis 1"):
        blocks()[:3, :1].to_zarr(stored, region=np.s_[:3, 4:5])
    expected = CELLS * 2
    expected[:3, 4] = CELLS[:3, 0]
    assert_array_equal(stored[:], expected)


def test_what_has_no_meaning_for_an_array_that_exists(tmp_path):
    stored = zarr.create_array(tmp_path, shape=(9, 14), chunks=(3, 5), dtype="i4")
    with pytest.raises(daskzarr.MetadataError, match="new array only"):
        blocks().to_zarr(stored, fill_value=3)
    with pytest.raises(daskzarr.MetadataError, match="component"):
        blocks().to_zarr(stored, component="a")
    zipped = zarr.create_array(
        zarr.storage.ZipStore(tmp_path / "a.zip", mode="w"), shape=(9, 14), chunks=(3, 5), dtype="i4"
    )
    with pytest.raises(daskzarr.MetadataError, match="new array only"):
        blocks().to_zarr(zipped, fill_value=3)


def test_what_is_open_for_reading_is_not_written(tmp_path):
    zarr.create_group(tmp_path).create_array("a", shape=(9, 14), chunks=(3, 5), dtype="i4")
    store = zarr.storage.LocalStore(tmp_path, read_only=True)
    for place in (zarr.open_array(tmp_path / "a", mode="r"), store, zarr.open_group(tmp_path, mode="r")):
        with pytest.raises(PermissionError, match="reading only"):
            blocks().to_zarr(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "zarr.json"]


@pytest.mark.parametrize("sizes", [{}, {"chunks": (2, 3), "shards": (4, 9)}, {"chunks": (5, 3)}], ids=str)
def test_what_dask_writes_itself_is_of_whole_objects(tmp_path, sizes, handed_over):
    for compute in (True, False):
        store = Counting(tmp_path / str(compute))
        done = blocks((2, 3)).to_zarr(store, compute=compute, **sizes)
        if not compute:
            done.compute()
        assert_array_equal(zarr.open_array(store)[:], CELLS)
    assert handed_over == ["to_zarr"] * 2
    with pytest.raises(daskzarr.MetadataError, match="cannot be written"):
        blocks().to_zarr(Counting(tmp_path / "auto"), shards="auto")
    assert not (tmp_path / "auto").exists()


def test_an_existing_array_that_only_zarr_python_can_write(tmp_path, handed_over):
    stored = zarr.create_array(Counting(tmp_path), shape=(9, 14), chunks=(3, 5), dtype="i4")
    with pytest.warns(PerformanceWarning, match="required for Dask"):
        blocks().to_zarr(stored)
    assert_array_equal(stored[:], CELLS)
    assert handed_over == ["to_zarr"]
