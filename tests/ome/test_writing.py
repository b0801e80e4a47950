"""Images are written by one graph, whole or not at all, and read back as NumPy has them."""

import itertools
import pickle
import threading
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr import MetadataError, NodeExistsError, ResumeError, UnsupportedError
from daskzarr.ome import Axis, open_multiscales, write_multiscales
from daskzarr.ome.shrinking import shrink

RANDOM = np.random.default_rng(3)


def values_of(shape, dtype="u2"):
    """Cells that all differ, in no order."""
    return RANDOM.permutation(int(np.prod(shape))).astype(dtype).reshape(shape)


def pyramid(values, factors, method="mean"):
    """All levels by NumPy."""
    levels = [values]
    for each in factors:
        levels.append(shrink(levels[-1], each, method))
    return levels


def check(place, expected):
    """The image has these levels."""
    levels = open_multiscales(place).levels
    assert len(levels) == len(expected)
    for level, cells in zip(levels, expected, strict=True):
        assert level.array.dtype == cells.dtype
        np.testing.assert_array_equal(level.array, cells)


class Tasks(Callback):
    """Counts tasks by the first words of their names."""

    def __init__(self):
        self.names = Counter()

    def _posttask(self, key, *rest):
        name = key[0] if isinstance(key, tuple) else key
        self.names["-".join(part for part in name.split("-")[:2] if len(part) < 32)] += 1


class Counted:
    """A step that counts how often it runs for each block, and may fail."""

    __name__ = "counted"  # else Dask would name tasks by where the object lies in memory

    def __init__(self, fails=()):
        self.runs, self.lock, self.fails = Counter(), threading.Lock(), set(fails)

    def __call__(self, cells, block_id=None):
        with self.lock:
            self.runs[block_id] += 1
        if block_id in self.fails:
            raise ValueError("this block fails")
        return cells

    def __dask_tokenize__(self):
        return "counted"


def counted(values, chunks, step):
    """An array whose blocks are counted."""
    source = da.from_array(values, chunks=chunks)
    return source.map_blocks(step, dtype=values.dtype, meta=np.empty((0,) * values.ndim, values.dtype))


@pytest.mark.parametrize("method", ["mean", "nearest", "mode"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_comes_back(tmp_path, version, method):
    values = values_of((2, 3, 9, 21, 34))
    image = da.from_array(values, chunks=(1, 2, 4, 10, 12))
    units = {"t": "second", "y": "micrometer", "x": "micrometer"}
    write_multiscales(
        image,
        tmp_path / "a",
        "b/img",
        axes="tczyx",
        scale=(1, 1, 2, 0.5, 0.25),
        translation={"z": 100},
        units=units,
        levels=4,
        method=method,
        version=version,
        ome={"omero": {"channels": []}},
    )
    by = [(1, 1, 2, 2, 2)] * 3
    check(tmp_path / "a/b/img", pyramid(values, by, method))
    found = open_multiscales(tmp_path / "a", "b/img")
    assert (found.name, found.version, found.type, found.omero) == ("img", version, method, {"channels": []})
    assert found.axes[3] == Axis("y", "space", "micrometer")
    assert [level.scale for level in found.levels[::3]] == [(1, 1, 2, 0.5, 0.25), (1, 1, 16, 4, 2)]
    far = (0, 0, 100, 0, 0) if method == "nearest" else (0, 0, 107, 1.75, 0.875)
    assert [level.translation for level in found.levels[::3]] == [(0, 0, 100, 0, 0), far]
    array = daskzarr.open_array(tmp_path / "a", "b/img/2")
    assert array.metadata.zarr_format == (2 if version == "0.4" else 3)
    assert array.metadata.chunk_key_encoding.separator == "/"
    assert array.dimension_names == tuple("tczyx")


@st.composite
def images(draw):
    shape = tuple(draw(st.lists(st.integers(1, 20), min_size=2, max_size=3)))
    blocks = tuple(tuple(cut(draw, n)) for n in shape)
    length = st.integers(1, 8)
    chunks = draw(st.none() | st.tuples(*[length] * len(shape)))
    shards = None if chunks is None or draw(st.booleans()) else tuple(c * draw(st.integers(1, 3)) for c in chunks)
    factors, rest = [], shape
    for _ in range(draw(st.integers(0, 3))):
        given = tuple(draw(st.integers(1, 4)) for _ in shape)
        each = tuple(min(f, n) for f, n in zip(given, rest, strict=True))
        if max(each) > 1:
            factors.append(each)
            rest = tuple(-(-n // f) for n, f in zip(rest, each, strict=True))
    return shape, blocks, chunks, shards, factors


def cut(draw, length):
    """An axis in blocks."""
    while length:
        block = draw(st.integers(1, length))
        yield block
        length -= block


@settings(max_examples=60, deadline=None)
@given(image=images(), method=st.sampled_from(["mean", "nearest", "mode"]), dtype=st.sampled_from(["u1", "i8", "f4"]))
def test_any_image(image, method, dtype):
    shape, blocks, chunks, shards, factors = image
    values, step = values_of(shape, dtype), Counted()
    source = counted(values, blocks, step)
    write_multiscales(
        source, store := {}, axes="zyx"[-len(shape) :], factors=factors, chunks=chunks, shards=shards, method=method
    )
    check(store, pyramid(values, factors, method))
    assert step.runs == dict.fromkeys(np.ndindex(*source.numblocks), 1)
    for n, level in enumerate(open_multiscales(store).levels):
        array = daskzarr.open_array(store, str(n))
        if chunks is not None:
            assert array.chunks == tuple(min(c, s) for c, s in zip(chunks, level.array.shape, strict=True))
        assert (array.shards is None) == (shards is None)
        total = np.prod([(1,) * len(shape), *factors[:n]], axis=0)
        assert level.scale == tuple(total)
        assert level.translation == (tuple((total - 1) / 2) if method != "nearest" else (0,) * len(shape))


def test_blocks_are_computed_once_and_few_tasks_follow(tmp_path):
    step = Counted()
    values = values_of((64, 64))
    with Tasks() as tasks:
        write_multiscales(counted(values, 16, step), tmp_path / "img", axes="yx", levels=4, chunks=8, shards=16)
    check(tmp_path / "img", pyramid(values, [(2, 2)] * 3))
    assert step.runs == dict.fromkeys(np.ndindex(4, 4), 1)
    # Levels of 16, 4, 1 and 1 shards, each of them one block. There are 16 sources, 21 blocks to be made smaller, 5 to
    # be put together and 22 to be written; some of these are done by one task.
    assert tasks.names["rechunk-split"] == tasks.names["daskzarr-merge"] == 0
    tasks.names.pop("daskzarr-written")
    assert tasks.names["shrink"] == 16 + 4
    assert tasks.names.total() <= 16 + 21 + 5 + 22


def test_stored_blocks_are_read_once(tmp_path):
    values = values_of((60, 50))
    daskzarr.to_zarr(da.from_array(values, chunks=(7, 9)), tmp_path / "source")
    with Tasks() as tasks:
        write_multiscales(daskzarr.from_zarr(tmp_path / "source"), tmp_path / "img", axes="yx", levels=3)
    check(tmp_path / "img", pyramid(values, [(2, 2)] * 2))
    assert tasks.names["daskzarr-read"] <= 9 * 6


def test_the_group_is_no_image_before_all_is_there(tmp_path):
    seen = []

    def look(cells):
        try:
            open_multiscales(tmp_path / "img")
            seen.append("an image")
        except MetadataError as error:
            seen.append(error.message)
        return cells

    image = da.from_array(values_of((8, 8)), chunks=4).map_blocks(look, dtype="u2", meta=np.empty((0, 0), "u2"))
    write_multiscales(image, tmp_path / "img", axes="yx", levels=2)
    assert seen == ["the group is no image: it has no multiscales"] * 4
    assert len(open_multiscales(tmp_path / "img").levels) == 2


def test_a_delayed_write(tmp_path):
    values = values_of((8, 10))
    image = da.from_array(values, chunks=4)
    write = write_multiscales(image, tmp_path / "img", axes="yx", levels=2, compute=False)
    with pytest.raises(MetadataError, match="no image"):
        open_multiscales(tmp_path / "img")
    assert daskzarr.open_array(tmp_path / "img", "1").shape == (4, 5)
    written = pickle.loads(pickle.dumps(write)).compute()
    assert written.objects == 6 + 2
    check(tmp_path / "img", pyramid(values, [(2, 2)]))
    other = write_multiscales(image + 1, tmp_path / "other", axes="yx", levels=2, compute=False)
    dask.compute(other, daskzarr.to_zarr(image, tmp_path / "third", compute=False))
    check(tmp_path / "other", pyramid(values + 1, [(2, 2)]))


def test_on_processes(tmp_path):
    values = values_of((8, 10))
    with dask.config.set(scheduler="processes", num_workers=1):
        write_multiscales(da.from_array(values, chunks=4), tmp_path / "img", axes="yx", levels=3)
    check(tmp_path / "img", pyramid(values, [(2, 2)] * 2))


def test_a_failed_write_is_gone_on_with(tmp_path):
    values, place = values_of((40, 48)), tmp_path / "img"
    settings = {"axes": "yx", "levels": 3, "chunks": 8, "resume": "auto"}
    step = Counted(fails=[(4, 5)])
    with dask.config.set(scheduler="sync"), pytest.raises(ValueError, match="this block"):
        write_multiscales(counted(values, 8, step), place, **settings)
    first = len(step.runs)
    with pytest.raises(MetadataError, match="no image"):
        open_multiscales(place)
    with pytest.raises(NodeExistsError):
        write_multiscales(counted(values, 8, step), place, **settings | {"resume": False})
    with pytest.raises(ResumeError, match="source"):
        write_multiscales(da.from_array(values + 1, chunks=8), place, **settings)
    again = Counted()
    write_multiscales(counted(values, 8, again), place, **settings)
    check(place, pyramid(values, [(2, 2)] * 2))
    assert set(again.runs.values()) == {1}
    assert first + len(again.runs) < 30 * 2, "what was finished is not computed again"
    third = Counted()
    for resume in (True, "auto"):
        write_multiscales(counted(values, 8, third), place, **settings | {"resume": resume})
    assert not third.runs
    with pytest.raises(NodeExistsError):
        write_multiscales(counted(values, 8, third), place, **settings | {"method": "mode"})


def test_a_token_stands_for_the_source_but_not_for_the_method(tmp_path):
    values, place = values_of((40, 48)), tmp_path / "img"
    settings = {"axes": "yx", "levels": 2, "chunks": 8, "resume": "auto", "token": "mine"}
    with dask.config.set(scheduler="sync"), pytest.raises(ValueError, match="this block"):
        write_multiscales(counted(values, 8, Counted(fails=[(4, 5)])), place, **settings)
    with pytest.raises(ResumeError, match="source"):
        write_multiscales(da.from_array(values, chunks=8), place, method="nearest", **settings)
    write_multiscales(da.from_array(values, chunks=8), place, **settings)
    check(place, pyramid(values, [(2, 2)]))
    with pytest.raises(ResumeError, match="no write"):
        write_multiscales(da.from_array(values, chunks=8), tmp_path / "new", **settings | {"resume": True})
    assert not (tmp_path / "new").exists()


def test_overwriting(tmp_path):
    old, new, place = values_of((12, 12)), values_of((20, 16)), tmp_path / "img"
    write_multiscales(da.from_array(old, chunks=4), place, axes="yx", levels=3)
    with pytest.raises(NodeExistsError, match="mode='w'"):
        write_multiscales(da.from_array(new, chunks=8), place, axes="yx")
    failing = counted(new, 8, Counted(fails=[(2, 1)]))
    with dask.config.set(scheduler="sync"), pytest.raises(ValueError, match="this block"):
        write_multiscales(failing, place, axes="yx", levels=2, mode="w")
    check(place, pyramid(old, [(2, 2)] * 2))
    write_multiscales(da.from_array(new, chunks=8), place, axes="yx", levels=2, mode="w", version="0.4")
    check(place, pyramid(new, [(2, 2)]))
    assert open_multiscales(place).version == "0.4"
    assert sorted(path.name for path in place.iterdir()) == [".zattrs", ".zgroup", "0", "1"]
    again = daskzarr.from_zarr(place, "0")[::-1]
    write_multiscales(again, place, axes="yx", levels=2, mode="w")
    check(place, pyramid(new[::-1], [(2, 2)]))
    daskzarr.to_zarr(da.from_array(old, chunks=4), place, mode="w")
    write_multiscales(daskzarr.from_zarr(place), place, axes="yx", levels=2, mode="w")
    check(place, pyramid(old, [(2, 2)]))
    write_multiscales(da.from_array(new, chunks=8), tmp_path / "first", axes="yx", levels=2, mode="w")
    check(tmp_path / "first", pyramid(new, [(2, 2)]))


@pytest.mark.parametrize("compute", [True, False])
def test_overwriting_what_cannot_be_moved(compute):
    old, new, store = values_of((12, 12)), values_of((20, 16)), {}
    write_multiscales(da.from_array(old, chunks=4), store, axes="yx", levels=3)
    write = write_multiscales(da.from_array(new, chunks=8), store, axes="yx", levels=2, mode="w", compute=compute)
    if write is not None:
        write.compute()
    check(store, pyramid(new, [(2, 2)]))
    write = write_multiscales(daskzarr.from_zarr(store, "0") + 1, store, axes="yx", levels=2, mode="w", compute=compute)
    if write is not None:
        write.compute()
    check(store, pyramid(new + 1, [(2, 2)]))
    assert not any(key.startswith("2/") for key in store)


def test_consolidated_metadata_above_know_of_the_image(tmp_path):
    daskzarr.create_group(tmp_path / "all")
    daskzarr.consolidate(tmp_path / "all")
    values = values_of((8, 10))
    for mode in ("w-", "w"):
        write_multiscales(da.from_array(values, chunks=4), tmp_path / "all", "img", axes="yx", levels=2, mode=mode)
        found = open_multiscales(tmp_path / "all", "img", consolidated=True)
        assert [level.array.shape for level in found.levels] == [(8, 10), (4, 5)]


def test_settings_of_the_arrays(tmp_path):
    values = values_of((40, 30))
    image = da.from_array(values, chunks=(20, 30))
    write_multiscales(
        image, tmp_path / "a", axes="yx", levels=3, chunks=(8, 4), shards=(16, 12), compressors="gzip", fill_value=7
    )
    arrays = [daskzarr.open_array(tmp_path / "a", str(n)) for n in range(3)]
    assert [array.chunks for array in arrays] == [(8, 4)] * 3
    assert [array.shards for array in arrays] == [(16, 12), (16, 12), (16, 8)]
    assert {array.fill_value for array in arrays} == {7}
    assert "gzip" in (tmp_path / "a/2/zarr.json").read_text()
    write_multiscales(image * 0, tmp_path / "b", axes="yx", levels=2, write_empty_chunks=True, journal=False)
    assert not (tmp_path / "b.daskzarr").exists()
    assert len(list((tmp_path / "b").rglob("c/*/*"))) == 2 + 1
    write_multiscales(image.astype(">u2"), tmp_path / "c", axes="yx", levels=2)
    check(tmp_path / "c", pyramid(values, [(2, 2)]))


def test_one_level_is_enough(tmp_path):
    values = values_of((8, 10))
    write_multiscales(da.from_array(values, chunks=4), tmp_path / "img", axes="yx")
    check(tmp_path / "img", [values])
    empty = np.empty((0, 10), "u2")
    write_multiscales(da.from_array(empty), tmp_path / "empty", axes="yx", levels=2)
    check(tmp_path / "empty", [empty, empty[:, ::2]])


@pytest.mark.parametrize(
    "given",
    [
        {"axes": "y"},
        {"axes": "cc"},
        {"axes": "yx", "units": {"z": "m"}},
        {"axes": "yx", "scale": 2},
        {"axes": "yx", "scale": (1, 0)},
        {"axes": "yx", "scale": (1, -1)},
        {"axes": "yx", "scale": (1, float("nan"))},
        {"axes": "yx", "scale": (1, "2")},
        {"axes": "yx", "scale": (1, 1, 1)},
        {"axes": "yx", "scale": {"z": 1}},
        {"axes": "yx", "scale": (1e308, 1)},
        {"axes": "yx", "translation": (float("inf"), 0)},
        {"axes": "yx", "levels": 0},
        {"axes": "yx", "levels": 9},
        {"axes": "yx", "factors": 0},
        {"axes": "yx", "method": "median"},
        {"axes": "yx", "chunks": 0},
        {"axes": "yx", "chunks": (1, 2, 3)},
        {"axes": "yx", "chunks": "auto"},
        {"axes": "yx", "chunks": ((4, 4), 4)},
        {"axes": "yx", "chunks": 4, "shards": 6},
        {"axes": "yx", "version": "0.3"},
        {"axes": "yx", "version": 0.5},
        {"axes": "yx", "name": 3},
        {"axes": "yx", "ome": {"multiscales": []}},
        {"axes": "yx", "ome": {"ome": {}}},
        {"axes": "yx", "ome": [1]},
        {"axes": "yx", "ome": {"omero": {1, 2}}},
        {"axes": "yx", "mode": "a"},
        {"axes": "yx", "compute": 1},
        {"axes": "yx", "resume": "yes"},
        {"axes": "yx", "fill_value": "x"},
        {"axes": "yx", "compressors": "nothing"},
        {"axes": "yx", "chunks": 4, "shards": 8, "version": "0.4"},
        {"axes": "yx", "mode": "w", "resume": "auto"},
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(given, tmp_path):
    with pytest.raises((MetadataError, UnsupportedError)):
        write_multiscales(da.zeros((8, 8), chunks=4), tmp_path / "img", **{"levels": 2, **given})
    assert not list(tmp_path.iterdir())


def test_what_is_no_image():
    for image in (np.zeros((8, 8)), da.zeros((8, 8))[da.zeros(8) > 0]):
        with pytest.raises(MetadataError):
            write_multiscales(image, {}, axes="yx")
    with pytest.raises(MetadataError, match="nearest"):
        write_multiscales(da.zeros((8, 8), dtype="M8[s]"), {}, axes="yx", levels=2)


def test_levels_are_named_alike_in_every_process():
    image = da.from_array(np.arange(64).reshape(8, 8), chunks=4, name="mine")
    graphs = [write_multiscales(image, {}, axes="yx", levels=3, compute=False).dask for _ in range(2)]
    names = [{key for key in graph.layers if not key.startswith("daskzarr-")} for graph in graphs]
    assert names[0] == names[1]
    assert len(names[0]) >= 3
    assert not set(itertools.chain(*names)) & {None}
