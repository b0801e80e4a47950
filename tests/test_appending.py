"""append: cells at the end of an array, done once however often it is called, and not seen before all are there."""

import json
import threading

import dask
import dask.array as da
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskzarr import (
    AppendError,
    DaskZarrError,
    MetadataError,
    NodeNotFoundError,
    ResumeError,
    StoreError,
    create_array,
    create_group,
    from_zarr,
    open_array,
    open_group,
    resize,
    to_zarr,
)
from daskzarr.appending import append
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import READS, FaultyStore, RecordingStore, distinct_values

FORMATS = {
    "v3": {"chunks": (4, 3)},
    "sharded": {"chunks": (2, 3), "shards": (4, 3)},
    "rectilinear": {"chunks": ((4, 2, 1), (3, 2))},
    "v2": {"chunks": (4, 3), "zarr_format": 2},
    "n5": {"chunks": (4, 3), "zarr_format": "n5"},
}
OLD = distinct_values((7, 5), "i4", 1)


class FailedOnPurpose(Exception):
    """What a block raises."""


class Blocks:
    """Counts the blocks that are computed; from the n-th on they fail."""

    def __init__(self, fail_after=None):
        self.fail_after = fail_after
        self.done = []
        self.lock = threading.Lock()

    def __call__(self, block, block_info=None):
        with self.lock:
            if self.fail_after is not None and len(self.done) >= self.fail_after:
                raise FailedOnPurpose("a block")
            self.done.append(block_info[0]["chunk-location"])
        return block

    def of(self, array):
        return array.map_blocks(self, dtype=array.dtype, meta=array._meta, name=f"counted-{array.name}")


def put(place, cells=OLD, **options):
    options = {"chunks": (4, 3)} | options
    to_zarr(da.from_array(cells, chunks=-1), place, **options)
    return place


def read(place, component=None):
    return from_zarr(place, component).compute(scheduler="sync")


def noted(place):
    """Folders of journals beside a store."""
    return sorted(path.parent.name for path in place.parent.glob(f"{place.name}.daskzarr/**/plan.json"))


@pytest.fixture
def place(tmp_path):
    return tmp_path / "a.zarr"


# ---- what comes out


@st.composite
def growths(draw):
    ndim = draw(st.integers(1, 2))
    shape = tuple(draw(st.integers(0, 9)) for _ in range(ndim))
    axis = draw(st.integers(-ndim, ndim - 1))
    more = [draw(st.integers(0, 9)) for _ in range(draw(st.integers(1, 3)))]
    kind = draw(st.sampled_from(["v3", "sharded", "v2", "n5", "rectilinear"]))
    chunks = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    options = {
        "v3": {"chunks": chunks},
        "sharded": {"chunks": chunks, "shards": tuple(2 * c for c in chunks)},
        "v2": {"chunks": chunks, "zarr_format": 2},
        "n5": {"chunks": chunks, "zarr_format": "n5"},
        "rectilinear": {"chunks": tuple((c, max(n - c, 1)) for c, n in zip(chunks, shape, strict=True))},
    }[kind]
    blocks = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    return shape, axis, more, options, blocks, draw(st.sampled_from(["merge", "rechunk"])), draw(st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(growths())
def test_several_appends_are_one_array(case):
    shape, axis, more, options, blocks, align, says_where = case
    mapping = {}
    if "shards" not in options and "zarr_format" not in options and isinstance(options["chunks"][0], tuple):
        options = {"chunks": tuple(c if n else 3 for c, n in zip(options["chunks"], shape, strict=True))}
        options = {"chunks": tuple(_lengths(c, n) for c, n in zip(options["chunks"], shape, strict=True))}
    create_array(mapping, shape=shape, dtype="i4", **options)
    expected = distinct_values(shape, "i4", 1)
    to_zarr(da.from_array(expected, chunks=-1), mapping, mode="r+")
    for n in more:
        cells = distinct_values(tuple(n if i == axis % len(shape) else m for i, m in enumerate(shape)), "i4", 500 + n)
        at = expected.shape[axis] if says_where else None
        append(da.from_array(cells, chunks=blocks), mapping, axis=axis, at=at, align=align)
        expected = np.concatenate([expected, cells], axis=axis)
        assert open_array(mapping).shape == expected.shape
        np.testing.assert_array_equal(read(mapping), expected)


def _lengths(chunk, n):
    """Two lengths that make up an axis, or one that repeats."""
    if isinstance(chunk, int) or n < 2:
        return 3
    first = min(chunk[0], n - 1)
    return (first, n - first)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_peers_read_the_result(place, kind, axis):
    put(place, **FORMATS[kind])
    shape = [7, 5]
    shape[axis] = 6
    cells = distinct_values(tuple(shape), "i4", 700)
    append(da.from_array(cells, chunks=(5, 4)), place, axis=axis, at=OLD.shape[axis])
    expected = np.concatenate([OLD, cells], axis=axis)
    np.testing.assert_array_equal(read(place), expected)
    if kind in ("v3", "sharded", "v2"):
        np.testing.assert_array_equal(zarr.open_array(str(place), mode="r")[...], expected)
    if kind != "rectilinear":
        driver = {"v2": "zarr", "n5": "n5"}.get(kind, "zarr3")
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{place}/"}}
        found = tensorstore.open(spec, open=True).result().read().result()
        np.testing.assert_array_equal(found.T if kind == "n5" else found, expected)


def test_only_the_edge_is_read_and_nothing_is_written_twice():
    mapping = put({})
    store = RecordingStore(MappingStore(mapping))
    append(da.from_array(distinct_values((6, 5), "i4", 9), chunks=2), store, at=7)
    keys = [key for key in store.keys(*READS) if key.startswith("c/")]
    assert sorted(keys) == ["c/1/0", "c/1/1"]
    assert sorted(key for key in store.keys("set") if key != "zarr.json") == [
        f"c/{i}/{j}" for i in (1, 2, 3) for j in "01"
    ]
    kinds = [request for request in store.requests if request.kind == "set"]
    assert kinds[-1].key == "zarr.json"  # the shape comes last
    assert sorted(request.key for request in kinds[:-1]) == [f"c/{i}/{j}" for i in (1, 2, 3) for j in "01"]


@pytest.mark.parametrize("length", [4, 8])
def test_nothing_is_read_where_the_old_array_ends_with_a_chunk(length):
    mapping = put({}, OLD[:4])
    store = RecordingStore(MappingStore(mapping))
    append(da.ones((length, 5), chunks=3, dtype="i4"), store, at=4)
    assert not [key for key in store.keys(*READS) if key.startswith("c/")]


# ---- the same call again


def test_the_same_call_again_does_nothing(place):
    put(place)
    cells = da.from_array(distinct_values((6, 5), "i4", 9), chunks=(4, 5))
    blocks = Blocks()
    for _ in range(3):
        append(blocks.of(cells), place, at=7)
    assert len(blocks.done) == 2
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, cells.compute()]))
    assert append(blocks.of(cells), place, at=7, compute=False).compute().objects == 0


def test_without_a_journal_the_same_call_does_nothing_either():
    mapping = put({})
    cells = da.from_array(distinct_values((6, 5), "i4", 9), chunks=(4, 5))
    for _ in range(3):
        append(cells, mapping, at=7)
    np.testing.assert_array_equal(read(mapping), np.concatenate([OLD, cells.compute()]))


def test_each_call_appends_where_no_length_is_given(place):
    put(place)
    for _ in range(3):
        append(da.from_array(OLD, chunks=3), place)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD] * 4))


def test_another_length_is_an_error_that_names_it(place):
    put(place)
    cells = da.from_array(OLD[:3], chunks=3)
    for at in (0, 6, 8, 100):
        wanted = f"has 7 cells along this axis, not the {at} it is to have before this append, nor the {at + 3} it"
        with pytest.raises(AppendError, match=wanted):
            append(cells, place, at=at)
    append(cells, place, at=7)
    append(cells, place, at=10)
    with pytest.raises(AppendError, match="has 13 cells"):
        append(cells, place, at=7)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD[:3], OLD[:3]]))


def test_other_cells_at_the_same_place_are_an_error(place):
    put(place)
    append(da.from_array(OLD[:3], chunks=3), place, at=7)
    with pytest.raises(AppendError, match="source differ"):
        append(da.from_array(OLD[3:6], chunks=3), place, at=7)
    append(da.from_array(OLD[:3], chunks=3), place, at=7)


def test_an_array_that_was_made_shorter_since_is_appended_to(place):
    put(place)
    cells = da.from_array(OLD[:3], chunks=3)
    append(cells, place, at=7)
    resize(place, shape=(7, 5))
    np.testing.assert_array_equal(read(place), OLD)
    append(cells + 5, place, at=7)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD[:3] + 5]))
    resize(place, shape=(7, 5))
    append(cells, place)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD[:3]]))


@pytest.mark.parametrize("place_kind", ["dict", "files"])
def test_nothing_is_appended(place, place_kind):
    target = put({} if place_kind == "dict" else place)
    for at in (7, 7, None):
        append(da.zeros((0, 5), dtype="i4"), target, at=at)
        append(da.zeros((7, 0), dtype="i4"), target, axis=1, at=None if at is None else 5)
    with pytest.raises(AppendError, match="not the 3"):
        append(da.zeros((0, 5), dtype="i4"), target, at=3)
    np.testing.assert_array_equal(read(target), OLD)
    append(da.from_array(OLD, chunks=3), target, at=7)
    np.testing.assert_array_equal(read(target), np.concatenate([OLD, OLD]))


# ---- what is refused


@pytest.mark.parametrize(
    ("cells", "options", "error", "words"),
    [
        (da.zeros((3, 4), dtype="i4"), {}, MetadataError, "cannot be appended"),
        (da.zeros(3, dtype="i4"), {}, MetadataError, "cannot be appended"),
        (da.zeros((3, 5)), {}, MetadataError, "cannot go to an array of int32"),
        (da.zeros((3, 5), dtype="i4"), {"axis": 2}, MetadataError, "axis is 2"),
        (da.zeros((3, 5), dtype="i4"), {"axis": True}, MetadataError, "axis is True"),
        (da.zeros((3, 5), dtype="i4"), {"axis": -3}, MetadataError, "axis is -3"),
        (da.zeros((3, 5), dtype="i4"), {"at": -1}, MetadataError, "at is -1"),
        (da.zeros((3, 5), dtype="i4"), {"at": "7"}, MetadataError, "at is '7'"),
        (da.zeros((3, 5), dtype="i4"), {"resume": True}, ResumeError, "no append to take up"),
        (da.zeros((3, 5), dtype="i4"), {"align": "no"}, MetadataError, "align is 'no'"),
        (da.zeros((3, 5), dtype="i4"), {"token": 3}, MetadataError, "token is 3"),
        (np.zeros((3, 5), "i4"), {}, MetadataError, "dask arrays"),
        (da.zeros((3, 5), dtype="i4"), {"align": "error"}, DaskZarrError, "chunk"),
    ],
)
def test_what_cannot_be_appended(place, cells, options, error, words):
    put(place)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(error, match=words):
        append(cells, place, **options)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert noted(place) == ["whole"]


def test_no_array_is_an_error(tmp_path):
    with pytest.raises(NodeNotFoundError):
        append(da.zeros(3), tmp_path / "nothing")
    create_group(tmp_path / "group")
    with pytest.raises(DaskZarrError):
        append(da.zeros(3), tmp_path / "group")


# ---- killed in the middle


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fail_after", [0, 1, 3, 5])
def test_a_failed_append_leaves_the_old_array_and_is_completed(place, kind, fail_after):
    put(place, **FORMATS[kind])
    cells = da.from_array(distinct_values((9, 5), "i4", 700), chunks=(2, 3))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(fail_after).of(cells), place, at=7)
    assert open_array(place).shape == (7, 5)
    np.testing.assert_array_equal(read(place), OLD)
    if kind in ("v3", "sharded", "v2"):
        np.testing.assert_array_equal(zarr.open_array(str(place), mode="r")[...], OLD)
    if kind == "n5":
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{place}/"}}
        np.testing.assert_array_equal(tensorstore.open(spec, open=True).result().read().result().T, OLD)
    append(Blocks().of(cells), place, at=7)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, cells.compute()]))


def test_an_unfinished_append_of_something_else_is_an_error_until_it_is_given_up(place):
    put(place)
    cells = da.from_array(distinct_values((9, 5), "i4", 700), chunks=(2, 3))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(6).of(cells), place, at=7)
    other = da.from_array(OLD[:2], chunks=2)
    for options in ({"at": 7}, {}, {"resume": False}):
        with pytest.raises(AppendError, match=r"an append of something else at 7 is unfinished: .*shape.*differ"):
            append(other, place, **options)
    append(other, place, at=7, overwrite=True)
    expected = np.concatenate([OLD, OLD[:2]])
    np.testing.assert_array_equal(read(place), expected)
    assert not (place / "c" / "3").exists()
    resize(place, shape=(16, 5))
    np.testing.assert_array_equal(read(place)[9:], np.zeros((7, 5), "i4"))
    np.testing.assert_array_equal(read(place)[:9], expected)


def test_growing_by_resize_after_a_failed_append_shows_fill(place):
    put(place)
    cells = da.from_array(distinct_values((9, 5), "i4", 700), chunks=(2, 3))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(6).of(cells), place, at=7)
    resize(place, shape=(16, 5))
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, np.zeros((9, 5), "i4")]))


@pytest.mark.parametrize("resume", ["auto", True, False])
def test_finished_blocks_are_not_computed_again(place, resume):
    put(place, OLD[:4], chunks=(4, 5))
    cells = da.from_array(distinct_values((64, 5), "i4", 700), chunks=(4, 5))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(9).of(cells), place, at=4)
    blocks = Blocks()
    append(blocks.of(cells), place, at=4, resume=resume)
    assert len(blocks.done) == (16 if resume is False else 8)  # noted four at a time
    np.testing.assert_array_equal(read(place), np.concatenate([OLD[:4], cells.compute()]))


def test_the_same_append_without_a_length_goes_on_too(place):
    put(place, OLD[:4], chunks=(4, 5))
    cells = da.from_array(distinct_values((64, 5), "i4", 700), chunks=(4, 5))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(9).of(cells), place)
    blocks = Blocks()
    append(blocks.of(cells), place)
    assert len(blocks.done) == 8
    np.testing.assert_array_equal(read(place), np.concatenate([OLD[:4], cells.compute()]))


def test_a_kill_between_the_shape_and_the_end_is_no_second_append(place, monkeypatch):
    put(place)
    cells = da.from_array(OLD, chunks=(2, 3))

    def fail(*args):
        raise FailedOnPurpose("right after the shape")

    with monkeypatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr("daskzarr.journal.Journal.finish", fail)
        with pytest.raises(FailedOnPurpose):
            append(cells, place, at=7)
    assert open_array(place).shape == (14, 5)
    append(cells, place, at=7)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD]))


@pytest.mark.parametrize("keys", ["c/2/*", "c/1/*", "zarr.json"])
def test_a_store_that_fails_leaves_the_old_array(place, keys):
    put(place)
    notes = place.parent / "notes"
    cells = da.from_array(distinct_values((9, 5), "i4", 700), chunks=(2, 3))
    broken = FaultyStore(LocalStore(str(place)), {keys: PermissionError("no")}, on=["set"])
    with pytest.raises(StoreError, match="no"):
        append(cells, broken, at=7, journal=notes)
    np.testing.assert_array_equal(read(place), OLD)
    append(cells, place, at=7, journal=notes)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, cells.compute()]))


def test_without_a_journal_a_failed_append_is_completed_by_the_same_call():
    mapping = put({})
    cells = da.from_array(distinct_values((9, 5), "i4", 700), chunks=(2, 3))
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(5).of(cells), mapping, at=7)
    np.testing.assert_array_equal(read(mapping), OLD)
    append(cells, mapping, at=7)
    np.testing.assert_array_equal(read(mapping), np.concatenate([OLD, cells.compute()]))


def test_a_region_written_into_the_old_edge_chunk_meanwhile_does_not_undo_what_was_appended(place):
    to_zarr(da.arange(5, chunks=2) + 1, place, chunks=2, compressors=None)
    cells = da.arange(100, 113, chunks=(1,) + (2,) * 6)
    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        append(Blocks(5).of(cells), place, at=5)
    to_zarr(da.from_array(np.array([55])), place, region=slice(4, 5), mode="r+")
    append(Blocks().of(cells), place, at=5)
    np.testing.assert_array_equal(read(place), [1, 2, 3, 4, 55, *range(100, 113)])


def test_two_lazy_appends_at_one_place_in_memory_do_not_pass_in_silence():
    """Nothing is noted of an array in memory: only after the fact can it be told that both went to one place."""
    mapping = put({}, OLD[:4])
    writes = [append(da.from_array(OLD[:3] + n, chunks=3), mapping, compute=False) for n in (1, 2)]
    writes[0].compute()
    with pytest.raises(AppendError, match="another append came first"):
        writes[1].compute()
    np.testing.assert_array_equal(read(mapping)[:4], OLD[:4])


# ---- who looks on


@pytest.mark.parametrize("kind", ["v3", "sharded", "rectilinear", "v2", "n5"])
def test_readers_see_the_old_array_or_the_new_one(place, kind):
    put(place, **FORMATS[kind])
    cells = distinct_values((9, 5), "i4", 700)
    new = np.concatenate([OLD, cells])
    stop, wrong, seen = threading.Event(), [], set()

    def look():
        while not stop.is_set():
            found = read(place)
            seen.add(found.shape)
            expected = {7: OLD, 16: new}.get(len(found))
            if expected is None or not np.array_equal(found, expected):
                wrong.append(found)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with dask.config.set(scheduler="sync"):
            for fail_after in (2, 6):
                with pytest.raises(FailedOnPurpose):
                    append(Blocks(fail_after).of(da.from_array(cells, chunks=(2, 3))), place, at=7)
        append(Blocks().of(da.from_array(cells, chunks=(2, 3))), place, at=7)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong
    assert (7, 5) in seen
    np.testing.assert_array_equal(read(place), new)


def test_two_jobs_with_the_same_length_are_told_apart(place):
    put(place, chunks=(7, 5))
    started, go_on = threading.Event(), threading.Event()

    def wait(block):
        started.set()
        assert go_on.wait(20)
        return block

    cells = da.from_array(OLD, chunks=7)
    slow = cells.map_blocks(wait, dtype=cells.dtype, meta=cells._meta)
    job = threading.Thread(target=append, args=(slow, place), kwargs={"at": 7, "token": "one"})
    job.start()
    try:
        assert started.wait(20)
        with pytest.raises(AppendError, match="source differ"):
            append(cells + 1, place, at=7, token="two")
    finally:
        go_on.set()
        job.join()
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD]))


# ---- documents


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_above_follows(place, zarr_format):
    create_group(place, zarr_format=zarr_format)
    put(place, component="x/a", zarr_format=zarr_format, attributes={"title": "cells"})
    zarr.consolidate_metadata(str(place), zarr_format=zarr_format)
    append(da.from_array(OLD, chunks=3), place, "x/a", at=7)
    group = zarr.open_group(str(place), mode="r", use_consolidated=True)
    assert group["x/a"].shape == (14, 5)
    assert dict(group["x/a"].attrs) == {"title": "cells"}
    np.testing.assert_array_equal(group["x/a"][...], np.concatenate([OLD, OLD]))
    assert open_group(place)["x/a"].shape == (14, 5)


def test_only_the_shape_changes_in_the_document(place):
    put(place, attributes={"a": [1, {"b": None}]}, dimension_names=["t", "x"])
    before = json.loads((place / "zarr.json").read_bytes())
    append(da.from_array(OLD, chunks=3), place, at=7)
    after = json.loads((place / "zarr.json").read_bytes())
    assert after.pop("shape") == [14, 5]
    assert before.pop("shape") == [7, 5]
    assert after == before


def test_an_array_appended_to_itself(place):
    put(place, chunks=(2, 3))
    append(from_zarr(place), place, at=7)
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD]))
    append(from_zarr(place)[::-1], place)
    twice = np.concatenate([OLD, OLD])
    np.testing.assert_array_equal(read(place), np.concatenate([twice, twice[::-1]]))


def test_limits_hold_for_what_is_appended(place):
    put(place)
    with pytest.raises(DaskZarrError, match="max_files"):
        append(da.from_array(np.concatenate([OLD] * 9), chunks=3), place, at=7, max_files=3)
    assert open_array(place).shape == (7, 5)


def test_no_journal_is_kept_if_none_is_wanted(place):
    put(place, journal=False)
    append(da.from_array(OLD, chunks=3), place, at=7, journal=False)
    assert noted(place) == []
    np.testing.assert_array_equal(read(place), np.concatenate([OLD, OLD]))
