"""Arrays made larger and smaller, compared with NumPy: cells, what stays stored, requests, and what a kill leaves."""

import itertools
import json
from pathlib import Path

import dask
import numpy as np
import pytest
import tensorstore
import zarr
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import (
    CodecError,
    MetadataError,
    NodeNotFoundError,
    StoreError,
    UnsupportedError,
    consolidate,
    convert,
    create_array,
    create_group,
    from_zarr,
    open_array,
    open_group,
)
from daskzarr.array_handle import ArrayHandle
from daskzarr.chunk_grid import Box
from daskzarr.chunk_io import read_box, write_box
from daskzarr.journal import Receipt, begin, journal_for, journals_of, noted
from daskzarr.resizing import REACH, finish_pending_trim, resize
from daskzarr.stores import LocalStore, Location, MappingStore, beside
from daskzarr.testing import FaultyStore, RecordingStore, distinct_values
from daskzarr.testing.store_wrapper import StoreWrapper

LAYOUTS = {
    "v3": {"chunks": (2, 3)},
    "v3 dots": {"chunks": (2, 3), "dimension_separator": "."},
    "v3 keys of v2": {"chunks": (2, 3), "chunk_key_encoding": "v2"},
    "v3 shards": {"chunks": (1, 3), "shards": (4, 3)},
    "v3 lengths": {"chunks": ((2, 5, 1), (1, 4, 2))},
    "v3 order F": {"chunks": (2, 3), "order": "F"},
    "v3 raw": {"chunks": (2, 3), "compressors": None},
    "v2": {"chunks": (2, 3), "zarr_format": 2},
    "v2 folders": {"chunks": (2, 3), "zarr_format": 2, "dimension_separator": "/"},
    "v2 order F": {"chunks": (3, 4), "zarr_format": 2, "order": "F"},
    "n5": {"chunks": (2, 3), "zarr_format": "n5"},
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
CELLS = distinct_values((8, 7), "int32", start=1)
SHAPES = [(3, 7), (8, 5), (5, 4), (4, 3), (1, 1), (0, 7), (8, 0), (0, 0), (10, 2), (1, 20)]


def put(place, cells=CELLS, component=None, **options):
    """An array with cells."""
    chunks = {"chunks": cells.shape or ()} | options
    array = create_array(place, component, shape=cells.shape, dtype=cells.dtype, **chunks)
    write_box(handle_of(array), Box((0,) * cells.ndim, cells.shape), cells)
    return array


def create(store, **options):
    """A store with an array."""
    create_array(store, shape=(8, 7), dtype="int32", chunks=(2, 3), **options)
    return store


def handle_of(array):
    return ArrayHandle.of(array, allow_pickle=True)


def cells_of(place, component=None):
    array = open_array(place, component)
    return read_box(handle_of(array), Box((0,) * array.ndim, array.shape))


def expected(cells, *shapes, fill=0):
    """What NumPy has after several shapes."""
    for shape in shapes:
        out = np.full(shape, fill, cells.dtype)
        common = tuple(map(slice, map(min, shape, cells.shape)))
        out[common] = cells[common]
        cells = out
    return cells


def chunk_keys(store, array):
    """Indices of all chunks in a store."""
    lead = array.location.key("")
    keys = store.mapping if isinstance(store, MappingStore) else map(str, snapshot(Path(store.root)))
    decode = array.metadata.chunk_key_encoding.decode
    return {decode(key[len(lead) :]) for key in keys if key.startswith(lead)} - {None}


def snapshot(folder):
    """Every file and its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Blind:
    """A store that can be written, and cannot list."""

    def __init__(self, store):
        self.store, self.url, self.shared = store, store.url, store.shared

    def get(self, key, byte_range=None):
        return self.store.get(key, byte_range)

    def get_many(self, keys, traffic=None):
        return self.store.get_many(keys)

    def set(self, key, value):
        self.store.set(key, value)

    def delete(self, key):
        self.store.delete(key)

    def delete_below(self, prefix):
        self.store.delete_below(prefix)


class Dying(StoreWrapper):
    """A store that takes so many changes, and then nothing any more, as if the process were killed."""

    def __init__(self, store, changes):
        self.left = changes

    def before(self, kind, key):
        if kind in ("set", "delete", "delete_below", "append", "create"):
            self.left -= 1
        if self.left < 0:
            raise RuntimeError("killed")


# Cells


@every_layout
@pytest.mark.parametrize(
    ("kind", "shape"), [*(("mapping", s) for s in SHAPES), *((k, s) for k in ("local", "blind") for s in SHAPES[2:9:3])]
)
def test_growing_back_shows_fill(layout, shape, kind, tmp_path):
    inside = LocalStore(str(tmp_path / "a")) if kind == "local" else MappingStore({})
    store = Blind(inside) if kind == "blind" else inside
    put(store, component="x", **layout)
    found = resize(store, "x", shape=shape)
    assert found == open_array(store, "x")
    assert found.shape == shape
    np.testing.assert_array_equal(cells_of(store, "x"), expected(CELLS, shape))
    counts = found.metadata.chunk_grid.counts if found.metadata.chunk_grid.chunk_count else (0, 0)
    assert chunk_keys(inside, found) == set(filter(holds(found), np.ndindex(*counts)))
    resize(store, "x", shape=(9, 12))
    np.testing.assert_array_equal(cells_of(store, "x"), expected(CELLS, shape, (9, 12)))


def holds(array):
    """Whether a chunk has cells of what was written at first."""
    box = array.metadata.chunk_grid.box
    return lambda index: all(a < n for a, n in zip(box(index).start, CELLS.shape, strict=True))


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("f4", float("nan")),
        ("f8", -0.0),
        ("c8", 1 + 2j),
        ("bool", True),
        ("M8[D]", "NaT"),
        ("S3", b"abc"),
        ("U2", "xy"),
        (str, "fill"),
        (bytes, b"fill"),
        ("i2", 7),
    ],
)
@pytest.mark.parametrize(("zarr_format", "shards"), [(2, False), (3, False), (3, True)])
def test_data_types_and_fill_values(dtype, fill, zarr_format, shards):
    numbers = np.arange(1, 36).reshape(5, 7)
    if dtype in (str, bytes):
        cells = np.array([dtype(f"t{n}", *["utf-8"] * (dtype is bytes)) for n in numbers.flat], object).reshape(5, 7)
    elif np.dtype(dtype).kind in "SU":
        cells = numbers.astype(dtype)
    else:
        cells = numbers.astype("i8").astype(dtype)
    options = {"chunks": (1, 1), "shards": (2, 3)} if shards else {"chunks": (2, 3)}
    array = create_array(
        store := {}, shape=cells.shape, dtype=dtype, fill_value=fill, zarr_format=zarr_format, **options
    )
    write_box(handle_of(array), Box((0, 0), cells.shape), cells)
    resize(store, shape=(3, 4))
    resize(store, shape=(6, 8))
    found, value = cells_of(store), open_array(store).fill_value
    assert found[:3, :4].tolist() == cells[:3, :4].tolist()
    for part in (found[3:], found[:, 4:]):
        assert all(str(cell) == str(value) for cell in part.flat)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_structures(zarr_format):
    cells = np.zeros((5,), [("a", "<i2"), ("b", "<f8")])
    cells["a"], cells["b"] = np.arange(1, 6), np.arange(1, 6) / 4
    put(store := {}, cells, chunks=(3,), zarr_format=zarr_format)
    resize(store, shape=(1,))
    resize(store, shape=(7,))
    np.testing.assert_array_equal(cells_of(store), expected(cells, (1,), (7,)))


def test_without_a_fill_value_cells_outside_are_zeros_and_stored():
    put(store := {}, CELLS, chunks=(2, 3), zarr_format=2, fill_value=None)
    cells = CELLS.copy()
    cells[:1] = 0
    put(store, cells, chunks=(2, 3), zarr_format=2, fill_value=None, overwrite=True)
    resize(store, shape=(1, 7))
    assert {key for key in store if "." in key[1:]} == {"0.0", "0.1", "0.2"}
    resize(store, shape=(4, 9))
    np.testing.assert_array_equal(cells_of(store), expected(cells, (1, 7), (4, 9)))


def test_a_chunk_of_nothing_but_fill_goes():
    cells = CELLS.copy()
    cells[:1] = 0
    put(store := {}, cells, chunks=(2, 3))
    resize(store, shape=(1, 7))
    assert list(store) == ["zarr.json"]


def test_an_array_without_axes():
    put(store := {}, np.array(7), chunks=())
    before = dict(store)
    assert resize(store, shape=()).shape == ()
    assert store == before


def test_one_axis_and_one_number():
    put(store := {}, np.arange(1, 8), chunks=(3,))
    assert resize(store, shape=5).shape == (5,)
    resize(store, shape=np.int64(6))
    resize(store, shape=np.array([8]))
    assert cells_of(store).tolist() == [1, 2, 3, 4, 5, 0, 0, 0]


def test_blocks_of_n5_are_stored_without_what_hangs_over():
    put(store := {}, zarr_format="n5", chunks=(4, 4), compressors=None)
    resize(store, shape=(6, 5))
    assert len(store["0/0"]) == 12 + 4 * 4 * 4
    assert len(store["0/1"]) == 12 + 2 * 4 * 4
    assert len(store["1/1"]) == 12 + 2 * 1 * 4
    resize(store, shape=(8, 8))
    np.testing.assert_array_equal(cells_of(store), expected(CELLS, (6, 5), (8, 8)))


def test_blocks_of_n5_are_cut_though_what_hangs_over_is_zeros():
    put(store := {}, expected(CELLS, (6, 5), (8, 7)), zarr_format="n5", chunks=(4, 4), compressors=None)
    resize(store, shape=(6, 5))
    assert len(store["1/1"]) == 12 + 2 * 1 * 4


@pytest.mark.parametrize("dtype", ["int32", str])
def test_blocks_of_n5_that_end_before_a_longer_array(dtype):
    cells = np.arange(1, 36).reshape(5, 7).astype("i4")
    if dtype is str:
        cells = np.array([str(n) for n in cells.flat], object).reshape(5, 7)
    array = create_array(store := {}, shape=(5, 7), dtype=dtype, chunks=(4, 4), zarr_format="n5")
    write_box(handle_of(array), Box((0, 0), (5, 7)), cells)
    resize(store, shape=(8, 9))
    found = cells_of(store)
    assert found[:5, :7].tolist() == cells.tolist()
    fill = "" if dtype is str else 0
    assert all(cell == fill for part in (found[5:], found[:, 7:]) for cell in part.flat)
    # Parts of a block, and one that has both.
    part = read_box(handle_of(open_array(store)), Box((4, 5), (7, 8)))
    assert part.tolist() == found[4:7, 5:8].tolist()


def test_chunks_that_others_padded_with_something_are_cut():
    array = put(store := {}, chunks=(4, 4), compressors=None)
    store["c/1/1"] = np.arange(100, 116, dtype="i4").tobytes()
    resize(store, shape=(7, 7))
    resize(store, shape=(8, 8))
    found = cells_of(store)
    assert found[4:7, 4:7].tolist() == np.arange(100, 116).reshape(4, 4)[:3, :3].tolist()
    assert not found[7].any()
    assert not found[:, 7].any()
    assert array.shape == (8, 7)


@st.composite
def cases(draw):
    """A shape, chunks, shards, and shapes to come."""
    ndim = draw(st.integers(1, 3))
    side = st.integers(0, 9)
    shape = draw(st.tuples(*[side] * ndim))
    chunks = draw(st.tuples(*[st.integers(1, 4)] * ndim))
    layout = draw(st.sampled_from(["v3", "v3 dots", "v2", "v2 folders", "n5", "shards", "lengths"]))
    options = {"chunks": chunks}
    if layout == "shards":
        options["shards"] = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    elif layout == "lengths":
        options["chunks"] = tuple(
            draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)) for _ in range(ndim)
        )
        shape = tuple(map(sum, options["chunks"]))
    else:
        options |= LAYOUTS[layout] | {"chunks": chunks}
    return shape, options, draw(st.lists(st.tuples(*[side] * ndim), min_size=1, max_size=4))


@given(cases(), st.booleans(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_any_shapes_one_after_the_other(case, blind, fill):
    shape, options, shapes = case
    fill = 0 if options.get("zarr_format") == "n5" else fill
    cells = distinct_values(shape, "int32", start=1)
    inside = MappingStore({})
    store = Blind(inside) if blind else inside
    put(store, cells, fill_value=fill, **options)
    for i, shape in enumerate(shapes):
        array = resize(store, shape=shape)
        np.testing.assert_array_equal(cells_of(store), expected(cells, *shapes[: i + 1], fill=fill))
        counts = array.metadata.chunk_grid.counts
        assert all(all(a < n for a, n in zip(index, counts, strict=True)) for index in chunk_keys(inside, array))
    cells = expected(cells, *shapes, tuple(n + 5 for n in shapes[-1]), fill=fill)
    resize(store, shape=cells.shape)
    np.testing.assert_array_equal(cells_of(store), cells)


# Documents


@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_documents_say_nothing_else_anew(zarr_format):
    create_group(store := {}, attributes={"is": "top"}, zarr_format=zarr_format)
    put(
        store, component="a", chunks=(2, 3), attributes={"n": [1.50]}, dimension_names=["y", "x"],
        zarr_format=zarr_format,
    )  # fmt: skip
    if zarr_format != "n5":
        consolidate(store)
    before = open_array(store, "a")
    name = {2: "a/.zarray", 3: "a/zarr.json", "n5": "a/attributes.json"}[zarr_format]
    text = store[name]
    resize(store, "a", shape=(3, 9))
    old, new = json.loads(text), json.loads(store[name])
    shape = "dimensions" if zarr_format == "n5" else "shape"
    assert {k for k in old if old[k] != new[k]} == {shape}
    assert list(old) == list(new)
    after = open_array(store, "a")
    assert after.attrs == before.attrs
    assert after.dimension_names == before.dimension_names
    assert open_group(store)["a"].shape == (3, 9)


def test_an_array_that_is_there_in_two_formats():
    put(store := {}, zarr_format=2, chunks=(2, 3))
    convert(store, zarr_format=3)
    resize(store, shape=(3, 4))
    for number in (2, 3):
        assert open_array(store, zarr_format=number).shape == (3, 4)
    resize(store, shape=(8, 7), zarr_format=2)
    for number in (2, 3):
        assert open_array(store, zarr_format=number).shape == (8, 7)
    np.testing.assert_array_equal(cells_of(store), expected(CELLS, (3, 4), (8, 7)))
    store["zarr.json"] = json.dumps(json.loads(store["zarr.json"]) | {"shape": [2, 9]}).encode()  # a kill between them
    resize(store, shape=(8, 5), zarr_format=2)
    for number in (2, 3):
        assert open_array(store, zarr_format=number).shape == (8, 5)
    resize(store, shape=(8, 7))
    np.testing.assert_array_equal(cells_of(store), expected(CELLS, (3, 4), (8, 7)))
    store["zarr.json"] = json.dumps(json.loads(store["zarr.json"]) | {"shape": [2, 2]}).encode()
    resize(store, shape=(3, 3))  # longer for the one, shorter for the other
    resize(store, shape=(8, 7))
    np.testing.assert_array_equal(cells_of(store), expected(CELLS, (3, 3), (8, 7)))
    put(store, np.zeros(3), chunks=(2,), zarr_format=3, overwrite=True)
    store[".zarray"] = create({}, zarr_format=2)[".zarray"]
    before = dict(store)
    with pytest.raises(UnsupportedError, match="another array of Zarr v2"):
        resize(store, shape=(4,))
    assert store == before


def test_reads_after_it_are_new():
    put(store := {}, chunks=(2, 3))
    first = from_zarr(store)
    resize(store, shape=(1, 7))
    resize(store, shape=(8, 7))
    again = from_zarr(store)
    assert first.name != again.name
    np.testing.assert_array_equal(again.compute(), expected(CELLS, (1, 7), (8, 7)))


# What refuses


@pytest.mark.parametrize("shape", [(4,), (4, 6, 1), (-1, 6), (4.5, 6), (True, 6), ("4", 6), None, 4, "46"])
def test_a_shape_that_cannot_be(shape, tmp_path):
    put(tmp_path / "a", chunks=(2, 3))
    before = snapshot(tmp_path)
    with pytest.raises(MetadataError) as caught:
        resize(tmp_path / "a", shape=shape)
    assert caught.value.field == "shape"
    assert caught.value.url == (tmp_path / "a").as_uri()
    assert snapshot(tmp_path) == before


def test_there_is_no_array():
    with pytest.raises(NodeNotFoundError):
        resize({}, shape=(4,))
    create_group(store := {})
    with pytest.raises(NodeNotFoundError):
        resize(store, shape=(4,))


def test_pickled_chunks_are_cut_only_on_demand():
    array = create_array(
        store := {}, shape=(5,), dtype=object, chunks=(3,), zarr_format=2, filters=[{"id": "pickle"}], fill_value=None
    )
    cells = np.array([1, "a", None, [2], {}], object)
    write_box(handle_of(array), Box((0,), (5,)), cells)
    before = dict(store)
    with pytest.raises(UnsupportedError, match="allow_pickle"):
        resize(store, shape=(1,))
    assert store == before
    resize(store, shape=(1,), allow_pickle=True)
    assert cells_of(store).tolist() == [1]
    assert resize(store, shape=(4,)).shape == (4,)  # nothing is loaded


def test_a_damaged_chunk_is_named(tmp_path):
    put(tmp_path / "a", chunks=(2, 3))
    (tmp_path / "a/c/2/0").write_bytes(b"no")
    with pytest.raises(CodecError) as caught:
        resize(tmp_path / "a", shape=(5, 7))
    assert caught.value.chunk_key == "c/2/0"
    assert open_array(tmp_path / "a").shape == (5, 7)


# What it costs


def test_growing_asks_for_nothing_but_documents():
    store = RecordingStore(MappingStore({}))
    put(store, component="g/a", chunks=(2, 3))
    store.clear()
    resize(store, "g/a", shape=(10**12, 10**12))
    assert store.keys("set") == ["g/a/zarr.json"]
    assert set(store.count()) == {"get", "set"}
    assert len(store.requests) <= 7


@pytest.mark.parametrize("separator", ["/", "."])
def test_chunks_that_are_not_there_cost_nothing(separator):
    store = RecordingStore(MappingStore({}))
    array = create_array(
        store, shape=(10**5, 10**5), chunks=(1, 10), dtype="i1", dimension_separator=separator
    )  # 10^9 chunks
    handle = handle_of(array)
    for row in (0, 49_999, 50_000, 99_999):
        write_box(handle, Box((row, 40), (row + 1, 60)), np.full((1, 20), 3, "i1"))
    store.clear()
    resize(store, shape=(50_000, 45))
    assert chunk_keys(store.store, array) == {(0, 4), (49_999, 4)}
    assert len(store.requests) < 30
    resize(store, shape=(10**5, 10**5))
    assert len(store.requests) < 40
    assert read_box(handle, Box((49_999, 40), (50_001, 60))).tolist() == [[3] * 5 + [0] * 15, [0] * 20]


def test_folders_that_stay_are_not_listed_and_others_go_as_one():
    store = RecordingStore(MappingStore({}))
    put(store, distinct_values((40, 6, 6), start=1), chunks=(2, 1, 1))
    store.clear()
    resize(store, shape=(7, 6, 6))
    listed = store.keys("list_dir", "survey")
    assert listed[:2] == ["c", "c/3"]
    assert all(key.startswith("c/3/") for key in listed[2:])
    assert sorted(store.keys("delete_below")) == sorted(f"c/{i}" for i in range(4, 20))
    assert len(store.keys("set")) == 36 + 1
    store.clear()
    resize(store, shape=(4, 6, 6))
    assert store.keys("list_dir", "survey") == ["c"]
    assert sorted(store.keys("delete_below")) == ["c/2", "c/3"]
    assert store.keys("set") == ["zarr.json"]


def test_objects_that_only_hang_over_an_end_that_stays_are_not_touched():
    store = RecordingStore(MappingStore({}))
    put(store, chunks=(2, 4))
    store.clear()
    resize(store, shape=(4, 7))
    assert store.keys("set") == ["zarr.json"]
    assert not [key for key in store.keys("get") if key.startswith("c/")]
    store.clear()
    put(store, CELLS.T, chunks=(4, 2), overwrite=True)
    resize(store, shape=(7, 4))
    assert not [key for key in store.keys("get") if key.startswith("c/")]


def test_folders_of_n5_have_the_last_axis_first():
    store = RecordingStore(MappingStore({}))
    put(store, distinct_values((6, 40), start=1), chunks=(1, 2), zarr_format="n5")
    store.clear()
    resize(store, shape=(6, 6))
    assert sorted(store.keys("delete_below")) == sorted(str(i) for i in range(3, 20))
    np.testing.assert_array_equal(cells_of(store), distinct_values((6, 40), start=1)[:, :6])


def test_objects_that_are_no_chunks_stay():
    put(store := {}, component="a", chunks=(2, 3), zarr_format=2)
    others = {"a/x": b"1", "a/9": b"2", "a/9.9.9": b"3", "a/09.1": b"4", "a/9/9": b"5", "b/9.9": b"6", "a9.9": b"7"}
    store.update(others)
    resize(store, "a", shape=(1, 1))
    assert {key: store[key] for key in others} == others
    assert set(store) == {"a/.zarray", "a/0.0", ".zgroup", *others}


def test_folders_that_hold_no_chunks_stay():
    put(store := {}, component="a", chunks=(2, 3))
    others = {f"a/c/{name}/9": b"1" for name in ("09", "x", "-9", "\u0669", "\u00b2", "9.0")} | {"a/c/9": b"2"}
    store.update(others)
    resize(store, "a", shape=(1, 1))
    assert {key: store[key] for key in others} == others
    assert set(store) == {"a/zarr.json", "a/c/0/0", "zarr.json", *others}


# Kills and failures


@pytest.mark.parametrize("layout", ["v3", "v3 shards", "v2", "n5"])
@pytest.mark.parametrize("notes", [True, False])
def test_a_kill_at_any_point(layout, notes):
    for changes in itertools.count():
        inside, journal = MappingStore({}), MappingStore({}) if notes else False
        put(inside, component="a", **LAYOUTS[layout])
        dying = Dying(inside, changes)
        died = dies(dying, "a", shape=(5, 4), journal=Mate(journal, dying) if notes else False)
        shape = open_array(inside, "a").shape
        assert shape in ((8, 7), (5, 4))
        np.testing.assert_array_equal(cells_of(inside, "a"), expected(CELLS, shape))
        again = changes % 3
        if again == 0 or not notes:
            resize(inside, "a", shape=(5, 4), journal=journal)  # the same call
        elif again == 1:
            finish_pending_trim(Location(inside, "a"), Location(journal))
        resize(inside, "a", shape=(9, 9), journal=journal)
        shapes = [(9, 9)] if shape == (8, 7) and again and notes else [(5, 4), (9, 9)]
        np.testing.assert_array_equal(cells_of(inside, "a"), expected(CELLS, *shapes))
        if notes:
            assert all(note.finished for note in journals_of(Location(inside, "a"), Location(journal)))
        if not died:
            break
    assert changes > 5


class Mate(StoreWrapper):
    """A store that dies when another one does."""

    def __init__(self, store, other):
        self.other = other

    def before(self, kind, key):
        self.other.before(kind, key)


def dies(store, *args, **options):
    """Whether a call was killed."""
    try:
        resize(store, *args, **options)
    except (RuntimeError, StoreError):
        return True
    return False


@pytest.mark.parametrize("reach", [[16, 7], [16], "damaged", None])
def test_an_unfinished_append_is_cleaned_first(reach, tmp_path):
    array = put(tmp_path / "a", chunks=(4, 7))
    place = beside(array.location)
    note = journal_for(array.location, place, "append-1")
    begin(note, {"verb": "append", REACH: reach})
    longer = create_array({}, shape=(16, 7), dtype="int32", chunks=(4, 7))
    handle = ArrayHandle.of(type(array)(array.location, longer.metadata))
    write_box(handle, Box((8, 0), (16, 7)), distinct_values((8, 7), "int32", start=100))
    resize(tmp_path / "a", shape=(12, 7))
    np.testing.assert_array_equal(cells_of(tmp_path / "a"), expected(CELLS, (12, 7)))
    assert not (tmp_path / "a/c/2").exists()
    assert journals_of(array.location, place) == []
    assert not finish_pending_trim(array.location, place)


def test_other_unfinished_writes_are_left_alone(tmp_path):
    array = put(tmp_path / "a", chunks=(4, 7))
    place = beside(array.location)
    note = journal_for(array.location, place, "write")
    begin(note, {"verb": "to_zarr"})
    resize(tmp_path / "a", shape=(4, 7))
    assert note.terms() == {"verb": "to_zarr"}
    assert not note.finished


def test_a_pending_trim_never_touches_what_is_inside_by_now(tmp_path):
    array = put(tmp_path / "a", chunks=(2, 3))
    note = journal_for(array.location, beside(array.location), "resize-1")
    begin(note, {"verb": "resize", "shape": [1, 1], REACH: [8, 7]})
    assert finish_pending_trim(array.location, beside(array.location))
    np.testing.assert_array_equal(cells_of(tmp_path / "a"), CELLS)


def test_what_was_noted_of_objects_before_is_amended(tmp_path):
    array = put(tmp_path / "a", chunks=(2, 7), compressors=None)
    place = beside(array.location)
    note = journal_for(array.location, place, "write")
    begin(note, {"verb": "to_zarr"})
    note.note([Receipt(f"c/{i}/0", 56, i, 0.5) for i in range(4)])
    note.finish({})
    resize(tmp_path / "a", shape=(3, 7))
    found = noted(journals_of(array.location, place))
    assert found["c/0/0"] == Receipt("c/0/0", 56, 0, 0.5)
    assert found["c/1/0"].digest not in (1, None)
    assert {found[f"c/{i}/0"].digest for i in (2, 3)} == {None}
    assert finish_pending_trim(array.location, place) is False


def test_what_was_cut_before_a_kill_is_noted_after_it(tmp_path):
    array = put(tmp_path / "a", CELLS[:3], chunks=(2, 7))
    place = beside(array.location)
    begin(journal_for(array.location, place, "resize-1"), {"verb": "resize", "shape": [3, 7], REACH: [8, 7]})
    assert finish_pending_trim(array.location, place)
    assert {key for key, receipt in noted(journals_of(array.location, place)).items() if receipt.digest} == {"c/1/0"}


def test_nothing_is_left_beside_an_array_that_nobody_noted(tmp_path):
    put(tmp_path / "a", chunks=(2, 3))
    resize(tmp_path / "a", shape=(2, 3))
    assert not snapshot(tmp_path / "a.daskzarr")


@pytest.mark.parametrize("on", ["delete", "delete_below", "set", "get"])
def test_a_store_that_fails_names_the_chunk(on):
    inside = MappingStore({})
    put(inside, component="a", chunks=(2, 3))
    store = FaultyStore(inside, {"a/c/*": PermissionError("no")}, on=[on])
    with pytest.raises(StoreError) as caught:
        resize(store, "a", shape=(5, 4))
    assert caught.value.chunk_key.startswith(("c/", "a/c/"))
    np.testing.assert_array_equal(cells_of(inside, "a"), CELLS[:5, :4])
    resize(inside, "a", shape=(5, 4))
    resize(inside, "a", shape=(8, 7))
    np.testing.assert_array_equal(cells_of(inside, "a"), expected(CELLS, (5, 4), (8, 7)))


def test_a_listing_that_fails():
    inside = MappingStore({})
    put(inside, component="a", chunks=(2, 3))
    store = FaultyStore(inside, {"a/*": OSError("no"), "a": OSError("no")}, on=["list_dir", "survey"])
    with pytest.raises(StoreError, match="listing the chunks"):
        resize(store, "a", shape=(5, 4))


def test_a_journal_elsewhere(tmp_path):
    put(tmp_path / "a", chunks=(2, 3))
    dying = Dying(LocalStore(str(tmp_path / "a")), 2)
    assert dies(dying, shape=(5, 4), journal=tmp_path / "notes")
    assert list((tmp_path / "notes").rglob("plan.json"))
    resize(tmp_path / "a", shape=(9, 9), journal=tmp_path / "notes")
    np.testing.assert_array_equal(cells_of(tmp_path / "a"), expected(CELLS, (5, 4), (9, 9)))
    assert not (tmp_path / "a.daskzarr").exists()


# Peers, and other schedulers


@pytest.mark.parametrize("layout", ["v3", "v3 shards", "v3 order F", "v2", "v2 order F", "n5"])
def test_peers_read_the_same(layout, tmp_path):
    options = LAYOUTS[layout]
    put(tmp_path / "a", **options)
    cells = expected(CELLS, (5, 4), (9, 10))
    for shape in ((5, 4), (9, 10)):
        resize(tmp_path / "a", shape=shape)
    if layout != "n5":
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "a")[...], cells)
    driver = {2: "zarr", "n5": "n5"}.get(options.get("zarr_format"), "zarr3")
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(tmp_path / "a")}}
    found = tensorstore.open(spec).result().read().result()
    np.testing.assert_array_equal(found.T if layout == "n5" else found, cells)


def test_what_a_peer_shrank_is_not_ours_but_its_whole_chunks_are_gone(tmp_path):
    theirs = zarr.create_array(tmp_path / "a", shape=(8, 7), chunks=(2, 3), dtype="i4")
    theirs[...] = CELLS
    resize(tmp_path / "a", shape=(5, 4))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a")[...], CELLS[:5, :4])
    zarr.open_array(tmp_path / "a").resize((8, 7))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a")[...], expected(CELLS, (5, 4), (8, 7)))


def test_on_a_cluster(tmp_path):
    cells = distinct_values((300, 40), start=1)
    put(tmp_path / "a", cells, chunks=(7, 3))
    store = {}
    put(store, cells, chunks=(7, 3))
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        resize(tmp_path / "a", shape=(200, 20))
        resize(store, shape=(200, 20))  # only this process has it
    for place in (tmp_path / "a", store):
        resize(place, shape=(300, 40))
        np.testing.assert_array_equal(cells_of(place), expected(cells, (200, 20), (300, 40)))


def test_in_processes(tmp_path):
    put(tmp_path / "a", **LAYOUTS["v3 shards"])
    with dask.config.set(scheduler="processes", num_workers=2):
        resize(tmp_path / "a", shape=(5, 4))
    resize(tmp_path / "a", shape=(8, 7))
    np.testing.assert_array_equal(cells_of(tmp_path / "a"), expected(CELLS, (5, 4), (8, 7)))
