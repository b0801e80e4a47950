"""store: several arrays, to regions and ends of stored ones, by one graph; shared objects and steps are done once."""

import itertools
import threading
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskzarr import (
    AlignmentError,
    AppendError,
    DaskZarrError,
    MetadataError,
    NodeNotFoundError,
    StoreError,
    consolidate,
    create_array,
    from_zarr,
    open_array,
    open_group,
    to_zarr,
)
from daskzarr.appending import append
from daskzarr.stores import MappingStore
from daskzarr.storing import store
from daskzarr.testing import READS, FaultyStore, RecordingStore, distinct_values

VALUES = distinct_values((20, 14), "i4", 1)
KINDS = ("v3", "sharded", "rectilinear", "v2", "n5")
DOCUMENTS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", "attributes.json"}


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


def read(place, component=None):
    return from_zarr(place, component).compute(scheduler="sync")


def lengths_of(draw, total, least=0):
    """Lengths that add up to a total."""
    found = []
    while sum(found) < total:
        found.append(draw(st.integers(least, total - sum(found))))
    return tuple(found) or (0,)


# ---- several regions of one array


@st.composite
def divisions(draw):
    """An array of any grid, divided by random cuts; some parts are left out."""
    shape = tuple(draw(st.integers(1, 14)) for _ in range(draw(st.integers(1, 3))))
    kind = draw(st.sampled_from(KINDS))
    if kind == "rectilinear":
        options = {"chunks": tuple(lengths_of(draw, n, least=1) for n in shape)}
    else:
        chunks = tuple(draw(st.integers(1, 9)) for _ in shape)
        options = {"chunks": chunks}
        if kind == "sharded":
            options["shards"] = tuple(c * draw(st.integers(1, 2)) for c in chunks)
        else:
            options["zarr_format"] = {"v3": 3, "v2": 2, "n5": "n5"}[kind]
    boxes = [tuple((0, n) for n in shape)]
    for _ in range(draw(st.integers(1, 5))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(*box[axis]))
        low, high = list(box), list(box)
        low[axis], high[axis] = (box[axis][0], at), (at, box[axis][1])
        boxes += [tuple(low), tuple(high)]
    kept = [box for box in boxes if draw(st.booleans())] or boxes[:1]
    cuts = [tuple(lengths_of(draw, b - a) for a, b in box) for box in kept]
    return shape, options, kept, cuts, draw(st.sampled_from(["merge", "merge", "rechunk"])), draw(st.booleans())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(divisions())
def test_regions_that_share_objects_are_one_plan(case):
    shape, options, boxes, cuts, align, filled = case
    mapping = {}
    target = create_array(mapping, shape=shape, dtype="i4", **options)
    expected = np.zeros(shape, "i4")
    if filled:
        expected = distinct_values(shape, "i4", 1)
        to_zarr(da.from_array(expected, chunks=-1), mapping, mode="r+")
    given_cells = np.zeros(shape, bool)
    sources, regions = [], []
    for n, (box, cut) in enumerate(zip(boxes, cuts, strict=True)):
        region = tuple(slice(a, b) for a, b in box)
        expected[region] = distinct_values(expected[region].shape, "i4", 10_000 * (n + 1))
        given_cells[region] = True
        sources.append(da.from_array(expected[region].copy(), chunks=cut))
        regions.append(region)
    recorder = RecordingStore(MappingStore(mapping))
    store(sources, [recorder] * len(sources), regions=regions, align=align)
    np.testing.assert_array_equal(read(mapping), expected)

    grid = target.metadata.chunk_grid
    touched, partial = set(), set()
    for index in itertools.product(*map(range, grid.counts)):
        inside = given_cells[tuple(slice(a, b) for a, b in zip(*grid.box(index), strict=True))]
        if inside.any():
            key = target.metadata.chunk_key_encoding.encode(index)
            touched.add(key)
            if not inside.all():
                partial.add(key)
    requests = [r for r in recorder.requests if r.key.rpartition("/")[2] not in DOCUMENTS]
    assert Counter(r.key for r in requests if r.kind in ("set", "delete")) == dict.fromkeys(touched, 1)
    reads = Counter(r.key for r in requests if r.kind in READS)
    assert set(reads) == partial
    assert set(reads.values()) <= {1}


def test_overlapping_regions_are_refused():
    array = create_array({}, shape=(20,), chunks=(6,), dtype=int)
    x = da.arange(10, chunks=5)
    with pytest.raises(MetadataError, match="overlap"):
        store([x, x], [array, array], regions=[slice(0, 10), slice(9, 19)])
    with pytest.raises(MetadataError, match="overlap"):
        store([x, da.arange(20, chunks=5)], [array, array], regions=[slice(0, 10), None])
    with pytest.raises(MetadataError, match="overlap"):
        store([x, x[0]], [array, array], regions=[slice(0, 10), 9])
    store([x, x], [array, array], regions=[slice(0, 10), slice(10, 20)])
    np.testing.assert_array_equal(read(array), [*range(10), *range(10)])


def test_regions_of_all_kinds():
    array = create_array({}, shape=VALUES.shape, chunks=(6, 5), dtype="i4")
    x = da.from_array(VALUES, chunks=(4, 3))
    store(
        [x[0], x[1:7], x[7:, :5], x[7:, 5], x[7:, 6:]],
        [array] * 5,
        regions=[0, np.s_[1:7, ...], np.s_[7:, :5], np.s_[7:, 5], np.s_[-13:, 6:]],
    )
    np.testing.assert_array_equal(read(array), VALUES)


def test_unaligned_regions_are_refused_if_that_is_asked_for():
    mapping = {}
    array = create_array(mapping, shape=(20,), chunks=(6,), dtype=int)
    x = da.arange(20, chunks=6)
    before = dict(mapping)
    with pytest.raises(AlignmentError):
        store([x[:10], x[10:]], [array, array], regions=[slice(0, 10), slice(10, 20)], align="error")
    assert mapping == before
    store([x[:12], x[12:]], [array, array], regions=[slice(0, 12), slice(12, 20)], align="error")
    np.testing.assert_array_equal(read(array), range(20))


# ---- several arrays


def test_steps_that_sources_share_run_once(tmp_path):
    blocks = Blocks()
    shared = blocks.of(da.from_array(VALUES, chunks=(5, 4)))
    for name in "abc":
        create_array(tmp_path / name, shape=VALUES.shape, chunks=(7, 3), dtype="i4")
    whole = create_array(tmp_path / "d", shape=(20, 28), chunks=(6, 6), dtype="i4")
    store(
        [shared, shared * 2, shared + 3, shared, shared * 5],
        [tmp_path / "a", (tmp_path, "b"), str(tmp_path / "c"), whole, whole],
        regions=[None, ..., None, np.s_[:, :14], np.s_[:, 14:]],
    )
    assert len(blocks.done) == 4 * 4
    for name, expected in {"a": VALUES, "b": VALUES * 2, "c": VALUES + 3}.items():
        np.testing.assert_array_equal(read(tmp_path, name), expected)
    np.testing.assert_array_equal(read(whole), np.concatenate([VALUES, VALUES * 5], axis=1))


def test_one_source_needs_no_lists(tmp_path):
    array = create_array(tmp_path, shape=VALUES.shape, chunks=(7, 3), dtype="i4")
    store(da.from_array(VALUES, chunks=5), array)
    np.testing.assert_array_equal(read(array), VALUES)
    store(da.from_array(VALUES[:3], chunks=5), array, regions=np.s_[4:7])
    np.testing.assert_array_equal(read(array)[4:7], VALUES[:3])
    store(da.from_array(VALUES[:3], chunks=5), array, append=0, at=20)
    np.testing.assert_array_equal(read(tmp_path)[20:], VALUES[:3])


def test_a_delayed_value_and_nothing_at_all(tmp_path):
    array = create_array(tmp_path, shape=VALUES.shape, chunks=(7, 3), dtype="i4")
    write = store([da.from_array(VALUES, chunks=5)], [array], compute=False)
    assert not (tmp_path / "c").exists()
    assert write.compute().objects == 15
    np.testing.assert_array_equal(read(array), VALUES)
    store([], [])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"targets": 1}, MetadataError, "2 sources and 1 targets"),
        ({"regions": [None]}, MetadataError, "2 sources and 1 regions"),
        ({"append": [0]}, MetadataError, "2 sources and 1 append"),
        ({"append": 0, "at": [20]}, MetadataError, "2 sources and 1 at"),
        ({"append": 0, "regions": [slice(0, 20)] * 2}, MetadataError, "no region"),
        ({"append": 0, "same": True}, MetadataError, "nor another source"),
        ({"append": 0, "at": 19}, AppendError, "not the 19"),
        ({"regions": [slice(0, 19)] * 2}, MetadataError, "does not fit"),
        ({"missing": True}, NodeNotFoundError, "no"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, options, error, words):
    arrays = [create_array(tmp_path / name, shape=VALUES.shape, chunks=(7, 3), dtype="i4") for name in "ab"]
    targets = arrays[: options.pop("targets", 2)]
    if options.pop("same", False):
        targets = [arrays[0]] * 2
    if options.pop("missing", False):
        targets = [arrays[0], tmp_path / "nothing"]
    before = sorted(tmp_path.rglob("*"))
    x = da.from_array(VALUES, chunks=5)
    with pytest.raises(error, match=words):
        store([x, x], targets, **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_length_without_an_axis_is_refused():
    array = create_array({}, shape=(5,), chunks=(2,), dtype=int)
    with pytest.raises(MetadataError):
        store([da.arange(5, chunks=2)], [array], at=[77])


# ---- several arrays that grow


@pytest.fixture
def growing(tmp_path):
    """Three arrays of other lengths and grids, in one group, and what is there."""
    old = {"a": VALUES[:5], "b": VALUES[:8] * 2, "c": VALUES[:, :4]}
    chunks = {"a": (4, 5), "b": (8, 14), "c": (6, 3)}
    for name, cells in old.items():
        to_zarr(da.from_array(cells, chunks=-1), tmp_path, name, chunks=chunks[name])
    new = {"a": VALUES[:9] + 7, "b": VALUES[:9] * 3, "c": VALUES[:, :9] - 5}
    return tmp_path, old, new


AXES = {"a": 0, "b": 0, "c": 1}
LENGTHS = {"a": 5, "b": 8, "c": 4}


def store_growing(place, new, wrap=None, **options):
    arrays = {name: da.from_array(cells, chunks=(3, 4)) for name, cells in new.items()}
    arrays = {name: (wrap or {}).get(name, lambda x: x)(x) for name, x in arrays.items()}
    options = {"append": list(AXES.values()), "at": list(LENGTHS.values())} | options
    return store(list(arrays.values()), [(place, name) for name in arrays], **options)


def grown(old, new):
    return {name: np.concatenate([old[name], new[name]], axis=AXES[name]) for name in old}


def check(place, expected):
    for name, cells in expected.items():
        np.testing.assert_array_equal(read(place, name), cells)


def test_several_arrays_grow_together_and_once(growing):
    place, old, new = growing
    for _ in range(3):
        store_growing(place, new)
        check(place, grown(old, new))


@pytest.mark.parametrize("fails", "abc")
@pytest.mark.parametrize("after", [0, 4])
def test_after_a_failure_in_one_none_has_grown_and_the_same_call_completes_all(growing, fails, after):
    place, old, new = growing
    calls = {name: Blocks(after if name == fails else None).of for name in "abc"}
    with pytest.raises(FailedOnPurpose):
        store_growing(place, new, calls)
    check(place, old)
    store_growing(place, new, {name: Blocks().of for name in "abc"})
    check(place, grown(old, new))


def test_a_kill_between_two_shapes_is_completed(growing, monkeypatch):
    place, old, new = growing
    from daskzarr import begin

    publish, count = begin.publish_metadata, itertools.count()

    def only_the_first(*args):
        if next(count):
            raise FailedOnPurpose("between two shapes")
        return publish(*args)

    with monkeypatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(begin, "publish_metadata", only_the_first)
        with pytest.raises(FailedOnPurpose):
            store_growing(place, new)
    lengths = [open_array(place, name).shape[axis] for name, axis in AXES.items()]
    assert lengths == [14, 8, 4]
    store_growing(place, new)
    check(place, grown(old, new))


def test_one_that_has_grown_already_is_left_as_it_is(growing):
    place, old, new = growing
    append(da.from_array(new["b"], chunks=(3, 4)), place, "b", at=8)
    store_growing(place, new)
    check(place, grown(old, new))
    append(da.from_array(VALUES[:1], chunks=-1), place, "a", at=14)
    with pytest.raises(AppendError, match="has 15 cells"):
        store_growing(place, new)


def test_growing_and_regions_in_one_call(growing):
    place, old, new = growing
    target = create_array(place / "d", shape=VALUES.shape, chunks=(6, 6), dtype="i4")
    x = da.from_array(VALUES, chunks=(5, 4))
    grown_a = da.from_array(new["a"], chunks=4)
    for _ in range(2):
        store(
            [x[:, :5], grown_a, x[:, 5:]],
            [target, (place, "a"), target],
            regions=[np.s_[:, :5], None, np.s_[:, 5:]],
            append=[None, 0, None],
            at=[None, 5, None],
        )
        np.testing.assert_array_equal(read(target), VALUES)
        check(place, {"a": grown(old, new)["a"], "b": old["b"]})


def test_an_unfinished_append_of_something_else_is_given_up_if_that_is_asked_for(growing):
    place, old, new = growing
    with pytest.raises(FailedOnPurpose):
        store_growing(place, new, {"c": Blocks(2).of})
    other = {name: cells + 1 for name, cells in new.items()}
    with pytest.raises(AppendError, match="unfinished"):
        store_growing(place, other)
    check(place, old)
    store_growing(place, other, overwrite=True)
    check(place, grown(old, other))


# ---- taken up again


def test_regions_are_taken_up_again(tmp_path):
    place = tmp_path / "a.zarr"
    create_array(place, shape=(64, 14), chunks=(4, 14), dtype="i4")
    values = distinct_values((64, 14), "i4", 1)
    x = da.from_array(values, chunks=(4, 14))
    regions = [np.s_[:32], np.s_[32:]]

    def parts(blocks):
        return [blocks.of(x[region]) for region in regions]

    with dask.config.set(scheduler="sync"), pytest.raises(FailedOnPurpose):
        store(parts(Blocks(13)), [place] * 2, regions=regions)
    blocks = Blocks()
    store(parts(blocks), [place] * 2, regions=regions)
    assert len(blocks.done) < 9
    np.testing.assert_array_equal(read(place), values)
    blocks = Blocks()
    store(parts(blocks), [place] * 2, regions=regions)  # "auto": a finished one is written anew
    assert len(blocks.done) == 16


def test_a_store_that_fails_is_named():
    mapping = {}
    create_array(mapping, "a", shape=(20,), chunks=(6,), dtype=int)
    create_array(mapping, "b", shape=(20,), chunks=(6,), dtype=int)
    broken = FaultyStore(MappingStore(mapping), {"b/c/2": PermissionError("no")}, on=["set"])
    x = da.arange(20, chunks=5) + 1
    with pytest.raises(StoreError) as caught:
        store([x, x], [(broken, "a"), (broken, "b")])
    assert (caught.value.node, caught.value.chunk_key) == ("b", "c/2")


def test_regions_may_not_be_read_from_themselves():
    array = create_array({}, shape=(20,), chunks=(6,), dtype=int)
    x = from_zarr(array)
    with pytest.raises(DaskZarrError, match="read from the very cells"):
        store([x[:10], x[10:]], [array, array], regions=[slice(10, 20), slice(0, 10)])


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_on_a_cluster(client, growing):
    place, old, new = growing
    store_growing(place, new)
    check(place, grown(old, new))
    target = create_array(place / "d", shape=VALUES.shape, chunks=(6, 6), dtype="i4")
    x = da.from_array(VALUES, chunks=(5, 4))
    regions = [np.s_[:7], np.s_[7:, :5], np.s_[7:, 5:]]
    store([x[region] for region in regions], [target] * 3, regions=regions)
    np.testing.assert_array_equal(read(target), VALUES)


def test_appended_arrays_change_the_consolidated_metadata_above_them_once():
    recorder = RecordingStore(MappingStore({}))
    names = [f"a{i}" for i in range(5)]
    with dask.config.set(scheduler="threads"):
        for name in names:
            to_zarr(da.arange(4, chunks=2), recorder, name)
        consolidate(recorder)
        before = recorder.keys("set").count("zarr.json")
        store([da.arange(4, 7, chunks=2)] * 5, [(recorder, name) for name in names], append=[0] * 5)
    assert recorder.keys("set").count("zarr.json") == before + 1
    group = open_group(recorder)
    assert group.consolidated is not None
    assert {name: group[name].shape for name in names} == dict.fromkeys(names, (7,))
