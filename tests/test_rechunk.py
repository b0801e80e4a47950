"""rechunk: what arrives in every format and kind of plan, groups, dask arrays, what is taken up again, and errors."""

import itertools
import math
import os
import shutil
import threading
import time
import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskzarr
import daskzarr.graph.rechunk as graph
from daskzarr import (
    CodecError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    PlanLimitError,
    ResumeError,
    UnsupportedError,
    create_group,
    from_zarr,
    open_array,
    open_group,
    plan_rechunk,
    rechunk,
    to_zarr,
)
from daskzarr.block_grid import BlockGrid
from daskzarr.rechunk_plan import CostModel
from daskzarr.rechunk_plan.axis import edges_of
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import Faults, RecordingStore, UnreliableStore, distinct_values
from daskzarr.testing.store_wrapper import StoreWrapper

VALUES = distinct_values((24, 8, 6), "i4", 1)
MAPS, PENCILS = (1, 8, 6), (24, 1, 1)
PACKING = CostModel(read=1e5, write=1e9, get=1e-9, put=1e-9, task=1e-9, slots=1)
PACKED = {"max_mem": 1400, "cost": PACKING, "stages": 2}


class FailedOnPurpose(Exception):
    """What a task or a store raises."""


class Killed(BaseException):
    """What ends the whole process, as far as one process can be told apart from itself."""


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def source(tmp_path):
    to_zarr(da.from_array(VALUES, chunks=MAPS), tmp_path / "source", compressors=None, dimension_names=["t", "y", "x"])
    return tmp_path / "source"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "target"


def maps(values=VALUES, blocks=MAPS, **options):
    """A stored array in memory."""
    stored = {}
    to_zarr(da.from_array(values, chunks=blocks), stored, **options)
    return stored


def through_scratch(start, target, chunks, **options):
    """The least memory, or nearly, with which cells go through scratch, as arguments."""
    for power in range(40):
        tried = {**options, "max_mem": int(100 * 1.2**power), "cost": PACKING, "stages": 2}
        try:
            if plan_rechunk(start, target, chunks, **tried).kind == "packed":
                return tried
        except PlanLimitError:
            continue
    raise AssertionError("no plan goes through scratch")


def read(place, *args):
    return from_zarr(place, *args).compute()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_scratch(place):
    """Objects beside a target that are pieces of cells, or say how those are laid out."""
    return [path for path in place.parent.glob(f"{place.name}.daskzarr/__scratch__/**/*") if path.is_file()]


def failing(patch, stage, after, error=FailedOnPurpose):
    """Let tasks of a stage fail, from the n-th on."""
    run, done = graph.move_block, itertools.count()

    def move(moving, here, index, *others):
        if here == stage and next(done) >= after:
            raise error("a task")
        return run(moving, here, index, *others)

    patch.setattr(graph, "move_block", move)


def kill(monkeypatch, *args, stage=1, after=3, **options):
    """A call whose process ends in the middle: nothing is tidied up."""
    with monkeypatch.context() as patch:
        failing(patch, stage, after, Killed)
        with pytest.raises(Killed):
            rechunk(*args, **{**PACKED, **options})


# ---- cells, in every format


FORMATS = {
    "v2": {"zarr_format": 2, "chunks": (5, 3, 4)},
    "v3": {"zarr_format": 3, "chunks": (5, 3, 4)},
    "shards": {"zarr_format": 3, "chunks": (5, 2, 3), "shards": (10, 4, 6)},
    "rectilinear": {"zarr_format": 3, "chunks": ((3, 1, 20), 8, (2, 2, 1, 1))},
    "n5": {"zarr_format": "n5", "chunks": (5, 3, 4)},
    "whole": {"zarr_format": 3, "chunks": (24, 8, 6)},
}
OTHERS = {
    "v2": {"zarr_format": 2, "chunks": (24, 2, 1)},
    "v3": {"zarr_format": 3, "chunks": (24, 2, 1)},
    "shards": {"zarr_format": 3, "chunks": (12, 1, 1), "shards": (24, 2, 1)},
    "rectilinear": {"zarr_format": 3, "chunks": (24, (1, 3, 4), (1, 1, 3, 1))},
    "n5": {"zarr_format": "n5", "chunks": (24, 2, 1)},
}


@pytest.mark.parametrize("kind", ["direct", "packed"])
@pytest.mark.parametrize("to", OTHERS)
@pytest.mark.parametrize("start", FORMATS)
def test_from_any_to_any(tmp_path, start, to, kind):
    array = distinct_values((24, 8, 6), "f4", 1)
    to_zarr(da.from_array(array, chunks=24), tmp_path / "a", **FORMATS[start])
    for max_mem in (1100, 2200, 4400, 8800, 20_000) if kind == "packed" else (10**7,):
        options = {**OTHERS[to], "max_mem": max_mem, "cost": PACKING}
        try:
            plan = plan_rechunk(tmp_path / "a", tmp_path / "b", **options)
        except PlanLimitError:
            continue
        if plan.kind == kind:
            break
    report = rechunk(tmp_path / "a", tmp_path / "b", **options)
    np.testing.assert_array_equal(read(tmp_path / "b"), array)
    assert report.target.metadata == open_array(tmp_path / "b").metadata
    assert report.target.metadata.zarr_format == OTHERS[to]["zarr_format"]
    stored = [path for path in (tmp_path / "b").rglob("*") if path.is_file() and path.suffix != ".json"]
    stored = [path for path in stored if path.name not in (".zarray", ".zattrs")]
    assert report.written.objects == len(stored) == report.plans[""].stages[-1].puts
    assert report.written.nbytes == sum(path.stat().st_size for path in stored)
    assert not in_scratch(tmp_path / "b")
    assert daskzarr.verify(tmp_path / "b", level="digest").ok


RECORD = np.dtype([("a", "i2"), ("b", "f8")])
DTYPES = ["bool", "u1", ">i2", "u8", "f2", "f4", ">f8", "c16", "M8[s]", "m8[ms]", "S5", "U4", RECORD]


def cells_of(dtype, shape=(12, 6, 4)):
    """Cells that are not all alike, each with a value of its own where the dtype has so many."""
    dtype = np.dtype(dtype)
    numbers = distinct_values(shape, "i8", 1)
    if dtype.names:
        found = np.zeros(shape, dtype)
        found["a"], found["b"] = distinct_values(shape, "i2", 1), distinct_values(shape, "f8", 9)
        return found
    if dtype.kind in "SU":
        return np.arange(1, math.prod(shape) + 1).reshape(shape).astype(dtype)
    if dtype.kind in "Mm":
        return (numbers % 10**9).astype(dtype)
    return distinct_values(shape, dtype.newbyteorder("="), 1).astype(dtype)


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "local"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_through_scratch(tmp_path, dtype, memory):
    values = cells_of(dtype)
    stored, target = ({}, {}) if memory else (tmp_path / "a", tmp_path / "b")
    to_zarr(da.from_array(values, chunks=(1, 6, 4)), stored)
    report = rechunk(stored, target, (12, 1, 1), **through_scratch(stored, target, (12, 1, 1)))
    assert report.plans[""].kind == "packed"
    found = read(target)
    assert found.dtype == from_zarr(stored).dtype
    np.testing.assert_array_equal(found, values)
    blocks = da.from_array(values, chunks=(1, 6, 4))
    report = rechunk(blocks, {}, (12, 1, 1), **through_scratch(blocks, {}, (12, 1, 1)))
    assert report.plans[""].kind == "packed"
    np.testing.assert_array_equal(from_zarr(report.target).compute(), values)


def test_text_goes_in_one_stage():
    values = np.array([f"{n}{'é' * (n % 7)}" for n in range(60)], object).reshape(12, 5)
    stored, target = {}, {}
    to_zarr(da.from_array(values, chunks=(1, 5)), stored, dtype="string")
    report = rechunk(stored, target, (12, 1), max_mem=6000, cost=PACKING)
    assert report.plans[""].kind == "direct"
    np.testing.assert_array_equal(read(target), values)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 1, 1), (1, 7)], ids=str)
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("max_mem", [None, 100])
def test_small_shapes(shape, computed, max_mem):
    values = distinct_values(shape, "i4", 5)
    stored, target = {}, {}
    to_zarr(da.from_array(values, chunks=shape or ()), stored, chunks=tuple(max(n, 1) for n in shape))
    chunks = tuple(2 if n > 2 else 1 for n in shape)
    report = rechunk(from_zarr(stored) if computed else stored, target, chunks, max_mem=max_mem)
    assert open_array(target).chunks == chunks
    np.testing.assert_array_equal(read(target), values)
    assert report.written.objects == math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True))


@st.composite
def array_cases(draw):
    shape = tuple(draw(st.integers(1, 12)) for _ in range(draw(st.integers(1, 3))))

    def chunks():
        if draw(st.booleans()):
            return tuple(draw(st.integers(1, n)) for n in shape)
        edges = [[0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=3)) if n > 1 else ()), n] for n in shape]
        return tuple(tuple(b - a for a, b in itertools.pairwise(axis)) for axis in edges)

    return shape, chunks(), chunks(), draw(st.integers(1, 3000)), draw(st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(array_cases())
def test_any_grid_to_any_other(case):
    shape, chunks, others, max_mem, computed = case
    values = distinct_values(shape, "i8", 1)
    stored = maps(values, shape, chunks=chunks)
    target = {}
    start = from_zarr(stored) if computed else stored
    try:
        report = rechunk(start, target, others, max_mem=max_mem, cost=PACKING, zarr_format=3)
    except PlanLimitError:
        assert not target
        return
    np.testing.assert_array_equal(read(target), values)
    assert report.plans[""].memory <= max_mem


# ---- what comes along


def test_codecs_fill_attributes_and_names_come_along(place):
    stored = maps(
        compressors="gzip",
        filters="delta" if False else None,
        fill_value=7,
        attributes={"a": [1, {"b": None}]},
        dimension_names=["t", "y", "x"],
    )
    report = rechunk(stored, place, PENCILS)
    before, after = open_array(stored).metadata, open_array(place).metadata
    assert after == report.target.metadata
    for name in ("codecs", "fill_value", "attributes", "dimension_names", "data_type", "shape", "zarr_format"):
        assert getattr(after, name) == getattr(before, name)
    assert after.chunk_grid.chunk_shape == PENCILS


@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
def test_missing_chunks_stay_missing(options):
    values = VALUES.copy()
    values[:, :4] = 9
    stored = maps(values, fill_value=9)
    del stored["c/5/0/0"]
    values[5] = 9
    report = rechunk(stored, target := {}, PENCILS, **options)
    np.testing.assert_array_equal(read(target), values)
    assert report.written.objects == 24
    assert report.written.elided == 24
    assert len([key for key in target if key.startswith("c/")]) == 24
    rechunk(stored, full := {}, PENCILS, write_empty_chunks=True, **options)
    assert len([key for key in full if key.startswith("c/")]) == 48
    np.testing.assert_array_equal(read(full), values)


@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
@pytest.mark.parametrize("dtype", ["i8", "f8", ">i4"])
def test_another_dtype(options, dtype):
    start, target = maps(), {}
    options = through_scratch(start, target, PENCILS, dtype=dtype) if options else {"dtype": dtype}
    report = rechunk(start, target, PENCILS, **options)
    assert report.plans[""].kind == ("packed" if "max_mem" in options else "direct")
    found = read(target)
    assert found.dtype == open_array(target).dtype
    assert found.dtype.kind == np.dtype(dtype).kind
    assert found.dtype.itemsize == np.dtype(dtype).itemsize
    np.testing.assert_array_equal(found, VALUES)


def test_cells_that_another_dtype_cannot_hold_are_refused_before_anything_is_written():
    with pytest.raises((MetadataError, CodecError)):
        rechunk(maps(VALUES + 0.5), target := {}, PENCILS, dtype="i2")
    assert not target


def test_other_compressors():
    rechunk(maps(compressors="gzip"), target := {}, PENCILS, compressors="zstd", zarr_format=3)
    assert [codec.name for codec in open_array(target).metadata.codecs] == ["bytes", "zstd"]
    rechunk(maps(compressors="gzip"), target := {}, PENCILS, compressors=None)
    assert [codec.name for codec in open_array(target).metadata.codecs] == ["bytes"]
    assert len(target["c/0/0/0"]) == 24 * 4
    np.testing.assert_array_equal(read(target), VALUES)


# ---- chunks


@pytest.mark.parametrize(
    ("chunks", "wanted"),
    [
        ({"t": 5}, (5, 8, 6)),
        ({"t": -1, "x": 2}, (24, 8, 2)),
        ({"t": np.int64(5)}, (5, 8, 6)),
        (-1, (24, 8, 6)),
        (4, (4, 4, 4)),
        ((-1, 2, None), (24, 2, 6)),
        ((100, 2, 3), (24, 2, 3)),
        ([np.int64(3), 2, 3], (3, 2, 3)),
        (None, MAPS),
    ],
    ids=str,
)
def test_how_chunks_can_be_said(chunks, wanted):
    report = rechunk(maps(dimension_names=["t", "y", "x"]), target := {}, chunks)
    assert report.target.chunks == wanted
    np.testing.assert_array_equal(read(target), VALUES)


def test_rectilinear_chunks_by_name():
    report = rechunk(maps(dimension_names=["t", "y", "x"]), target := {}, {"t": (4, 20)})
    assert [edges_of_axis(report.target, i) for i in range(3)] == [[0, 4, 24], [0, 8], [0, 6]]
    np.testing.assert_array_equal(read(target), VALUES)


def edges_of_axis(array, axis):
    grid = array.metadata.chunk_grid
    found = {grid.box(index).start[axis] for index in itertools.product(*map(range, grid.counts))}
    return [*sorted(found), array.shape[axis]]


@pytest.mark.parametrize(
    "chunks", [{"z": 5}, {"t": 0}, {"t": -3}, {"t": 2.5}, {"t": "4"}, (2, 2), (0, 1, 1), "abc"], ids=str
)
def test_chunks_that_cannot_be(source, place, chunks):
    for call in (rechunk, plan_rechunk):
        with pytest.raises((MetadataError, UnsupportedError)):
            call(source, place, chunks)
    assert not place.exists()


# ---- the plan


@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
def test_a_plan_writes_nothing_and_is_what_is_done(source, place, options):
    before = files(source.parent)
    plan = plan_rechunk(source, place, PENCILS, **options)
    assert files(source.parent) == before
    assert not place.exists()
    assert rechunk.plan(source, place, PENCILS, **options) == plan
    recorded, scratch = RecordingStore(LocalStore(str(source))), RecordingStore(MappingStore({}))
    target = RecordingStore(MappingStore({}))
    report = rechunk(recorded, target, PENCILS, scratch=scratch, **options)
    done = report.plans[""]
    assert [stage.blocks for stage in done.stages] == [stage.blocks for stage in plan.stages]
    chunks = [key for key in recorded.keys("get", "get_many", "read_into", "get_ranges") if key.startswith("c/")]
    assert len(chunks) == done.stages[0].gets
    assert len([key for key in target.keys("set") if key.startswith("c/")]) == done.stages[-1].puts
    if options:
        assert len([key for key in scratch.keys("get") if not key.endswith(".json")]) == done.stages[1].gets
        packed = [key for key in scratch.keys("set") if not key.endswith(".json")]
        assert len(packed) == len(set(packed)) == done.stages[0].puts
        assert sorted(scratch.keys("delete")) == sorted(packed)
    report = rechunk(source, place, PENCILS, **options)
    assert report.plans[""] == plan
    assert str(plan) in str(report)


def test_plan_rechunk_takes_what_rechunk_takes(source):
    with pytest.raises(TypeError, match="memory"):
        plan_rechunk(source, {}, PENCILS, memory=5)


class Held(StoreWrapper):
    """Notes how many bytes are in a store at most."""

    def __init__(self, store):
        self._restore({})

    def _restore(self, state):
        self.sizes, self.most, self.lock = {}, 0, threading.Lock()

    def asked(self, kind, key, request, *args):
        answer = request(*args)
        with self.lock:
            if kind == "set" and not key.endswith(".json"):
                self.sizes[key] = len(args[1])
            if kind == "delete":
                self.sizes.pop(key, None)
            self.most = max(self.most, sum(self.sizes.values()))
        return answer


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("dtype", ["i2", "f8"])
def test_scratch_holds_no_more_than_planned(scheduler, dtype, computed):
    values = distinct_values((240, 8, 6), dtype, 1)
    start = maps(values)
    start = from_zarr(start, chunks=(4, 8, 6)) if computed else start
    scratch = Held(MappingStore({}))
    cost = CostModel(read=1e5, write=1e5, get=1e-9, put=1e-9, task=1e-9, slots=4)
    options = {**through_scratch(start, {}, (30, 1, 2)), "scratch": scratch, "cost": cost}
    with dask.config.set(scheduler=scheduler, num_workers=4):
        report = rechunk(start, target := {}, (30, 1, 2), **options)
    plan = report.plans[""]
    assert plan.kind == "packed"
    assert plan.groups.count > 2 or computed
    np.testing.assert_array_equal(read(target), values)
    assert not scratch.sizes
    assert 0 < scratch.most <= plan.scratch


class Measured:
    """Notes the most memory that a task of each stage has at a time, beside what is there before."""

    def __init__(self, patch):
        self.most = {}
        self.run = graph.move_block
        patch.setattr(graph, "move_block", self)

    def __call__(self, move, stage, *others):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        written = self.run(move, stage, *others)
        self.most[stage] = max(self.most.get(stage, 0), tracemalloc.get_traced_memory()[1] - before)
        return written


@pytest.mark.parametrize(
    ("chunks", "options", "stored"),
    [
        ((1, 128, 64), {"compressors": None}, {"chunks": (256, 8, 8)}),
        ((1, 128, 64), {"compressors": "zstd"}, {"chunks": (256, 8, 8)}),
        ((8, 128, 64), {"compressors": "blosc"}, {"chunks": (256, 8, 16)}),
        ((1, 64, 64), {"compressors": None, "shards": (4, 128, 64)}, {"chunks": (64, 8, 8), "shards": (256, 16, 8)}),
        ((1, 128, 64), {"compressors": "zstd"}, {"chunks": (256, 8, 8), "dtype": "f8"}),
        ((1, 128, 64), {"compressors": "zstd"}, {"chunks": (16, 128, 64)}),
    ],
    ids=["raw", "zstd", "large chunks", "shards", "cast", "direct"],
)
def test_tasks_need_no_more_memory_than_planned(tmp_path, monkeypatch, chunks, options, stored):
    values = np.random.default_rng(5).integers(0, 2**31, (256, 128, 64)).astype("i4")
    to_zarr(da.from_array(values, chunks=(64, 128, 64)), tmp_path / "a", chunks=chunks, **options)
    cost = CostModel(read=1e6, write=1e6, get=1e-6, put=1e-6, task=1e-6, slots=1)
    settings = {**stored, "max_mem": 3_000_000, "cost": cost}
    rechunk(tmp_path / "a", tmp_path / "b", **settings)  # what is made once and stays is not counted
    measured = Measured(monkeypatch)
    tracemalloc.start()
    try:
        report = rechunk(tmp_path / "a", tmp_path / "c", **settings)
    finally:
        tracemalloc.stop()
    for n, stage in enumerate(report.plans[""].stages):
        assert measured.most[n] <= 1.02 * stage.memory + 100_000
    np.testing.assert_array_equal(read(tmp_path / "c"), values)


# ---- groups


def group(place):
    """A group with arrays of two and of three dimensions, in groups in it; one has no dimension."""
    create_group(place, attributes={"title": "a"}, zarr_format=3)
    create_group(place, "ocean", attributes={"deep": True})
    create_group(place, "ocean/empty", attributes={"n": 0})
    to_zarr(da.from_array(VALUES, chunks=MAPS), place, "air", dimension_names=["t", "y", "x"], attributes={"k": 1})
    to_zarr(da.from_array(VALUES + 1, chunks=MAPS), place, "ocean/t", dimension_names=["t", "y", "x"])
    to_zarr(da.from_array(VALUES[0] + 2, chunks=(4, 6)), place, "ocean/depth", dimension_names=["y", "x"])
    to_zarr(da.from_array(np.float64(4.5)), place, "crs")
    return place


def check_group(place):
    np.testing.assert_array_equal(read(place, "air"), VALUES)
    np.testing.assert_array_equal(read(place, "ocean/t"), VALUES + 1)
    np.testing.assert_array_equal(read(place, "ocean/depth"), VALUES[0] + 2)
    assert read(place, "crs") == 4.5
    assert open_group(place).metadata.attributes == {"title": "a"}
    assert open_group(place, "ocean/empty").metadata.attributes == {"n": 0}
    assert open_array(place, "air").metadata.attributes == {"k": 1}


LARGER = {**PACKED, "max_mem": 6000}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("options", [{}, LARGER], ids=["direct", "packed"])
def test_a_group(tmp_path, options, zarr_format):
    start, place = group(tmp_path / "a"), tmp_path / "b"
    chunks = {"t": 24, "y": 2, "ocean/t": (12, 1, -1)}
    plans = plan_rechunk(start, place, chunks, zarr_format=zarr_format, **options)
    assert not place.exists()
    report = rechunk(start, place, chunks, zarr_format=zarr_format, **options)
    assert set(report.plans) == {"air", "ocean/t", "ocean/depth", "crs"}
    assert report.plans == plans
    check_group(place)
    assert open_array(place, "air").chunks == (24, 2, 6)
    assert open_array(place, "ocean/t").chunks == (12, 1, 6)
    assert open_array(place, "ocean/depth").chunks == (2, 6)
    assert open_group(place).consolidated is not None
    assert {path for path, _ in open_group(place).walk()} == {path for path, _ in open_group(start).walk()}
    assert not in_scratch(place)


def test_a_group_is_consolidated_only_in_the_end_and_if_wanted(tmp_path, monkeypatch):
    start, place = group(tmp_path / "a"), tmp_path / "b"
    with monkeypatch.context() as patch:
        failing(patch, 0, 2)
        with pytest.raises(FailedOnPurpose):
            rechunk(start, place, {"t": 24})
    assert open_group(place).consolidated is None
    rechunk(start, place, {"t": 24}, resume=True)
    check_group(place)
    assert open_group(place).consolidated is not None
    rechunk(start, other := {}, {"t": 24}, consolidated=False)
    assert open_group(other).consolidated is None


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "local"])
def test_a_group_takes_the_place_of_another(tmp_path, memory):
    place = group({} if memory else tmp_path / "b")
    create_group(place, "old")
    with pytest.raises(NodeExistsError):
        rechunk(group(tmp_path / "a"), place, {"t": 24})
    rechunk(tmp_path / "a", place, {"t": 24}, overwrite=True)
    check_group(place)
    assert open_array(place, "air").chunks == (24, 8, 6)
    with pytest.raises(NodeNotFoundError):
        open_group(place, "old")


@pytest.mark.parametrize(
    ("chunks", "named"),
    [({"time": 5}, "time"), ({"ocean/s": (1, 1, 1)}, "ocean/s"), ({"air": {"z": 2}}, "z"), ({"air": (2, 2)}, "chunks")],
    ids=str,
)
def test_names_that_a_group_does_not_have(tmp_path, chunks, named):
    group(tmp_path / "a")
    with pytest.raises(MetadataError, match=named):
        rechunk(tmp_path / "a", tmp_path / "b", chunks)
    assert not (tmp_path / "b").exists()


def test_where_a_group_cannot_go(tmp_path):
    start = group(tmp_path / "a")
    before = files(tmp_path)
    for target in (start, start / "ocean", start / "new", tmp_path / "a" / "air" / "b"):
        with pytest.raises((MetadataError, NodeExistsError)):
            rechunk(start, target, {"t": 24}, overwrite=True)
    with pytest.raises(MetadataError):
        rechunk(start, {}, {"t": 24}, dtype="f8")
    create_group(empty := {})
    with pytest.raises(MetadataError, match="no arrays"):
        rechunk(empty, {}, 2)
    assert files(tmp_path) == before


# ---- dask arrays


class Blocks:
    """Counts the blocks that are computed."""

    def __init__(self):
        self.done = []

    def __call__(self, block, block_info=None):
        self.done.append(tuple(block_info[0]["chunk-location"]))
        return block


@pytest.mark.parametrize(
    ("options", "chunks", "kind"),
    [({}, (2, 8, 3), "direct"), (PACKED, PENCILS, "packed")],
    ids=["aligned", "unaligned"],
)
def test_a_dask_array(options, chunks, kind):
    counted = Blocks()
    array = da.from_array(VALUES, chunks=(4, 8, 6)).map_blocks(counted, dtype="i4", meta=np.empty((0, 0, 0), "i4"))
    write = rechunk(array, target := {}, chunks, compute=False, **options)
    assert not counted.done
    keys = set(dask.optimize(write)[0].dask)
    assert not [key for key in keys if isinstance(key, tuple) and "from" in str(key[0]) and "array-" in str(key[0])]
    name = "daskzarr-rechunk-" if kind == "direct" else "daskzarr-pack-"
    assert len([key for key in keys if isinstance(key, tuple) and str(key[0]).startswith(name)]) == 6
    write.compute()
    assert sorted(counted.done) == [(n, 0, 0) for n in range(6)]
    np.testing.assert_array_equal(read(target), VALUES)
    assert open_array(target).chunks == chunks
    assert plan_rechunk(array, {}, chunks, **options).kind == kind


def test_a_dask_array_whose_blocks_are_not_what_they_seem():
    """As everywhere: a block of another shape is an error, and so are cells that the dtype cannot hold."""
    blocks = da.from_array(VALUES, chunks=(4, 8, 6))
    shorter = blocks.map_blocks(lambda block: block[1:], dtype="i4", meta=np.empty((0, 0, 0), "i4"))
    halves = blocks.map_blocks(lambda block: block + 0.5, dtype="i4", meta=np.empty((0, 0, 0), "i4"))
    for options, chunks in (({}, (2, 8, 6)), (PACKED, PENCILS)):
        with pytest.raises(daskzarr.DaskZarrError):
            rechunk(shorter, {}, chunks, **options)
        with pytest.raises(daskzarr.DaskZarrError):
            rechunk(halves, {}, chunks, **options)


def test_a_block_that_is_larger_than_memory_is_refused():
    array = da.from_array(VALUES, chunks=(24, 8, 6))
    with pytest.raises(PlanLimitError):
        rechunk(array, target := {}, PENCILS, max_mem=2000)
    assert not target


# ---- what is overwritten


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "local"])
@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
@pytest.mark.parametrize("compute", [True, False])
def test_an_array_onto_itself(tmp_path, memory, options, compute):
    place = {} if memory else tmp_path / "a"
    to_zarr(da.from_array(VALUES, chunks=MAPS), place)
    with pytest.raises(NodeExistsError):
        rechunk(place, place, PENCILS, **options)
    for chunks in (PENCILS, (4, 4, 4)):
        done = rechunk(place, place, chunks, overwrite=True, compute=compute, **options)
        if not compute:
            done.compute()
        np.testing.assert_array_equal(read(place), VALUES)
        assert open_array(place).chunks == chunks


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "local"])
@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
@pytest.mark.parametrize("compute", [True, False])
def test_a_dask_array_onto_what_it_is_computed_from(tmp_path, memory, options, compute):
    place = {} if memory else tmp_path / "a"
    to_zarr(da.from_array(VALUES, chunks=MAPS), place)
    array = from_zarr(place) + 1
    with pytest.raises((NodeExistsError, MetadataError)):
        rechunk(array, place, PENCILS, **options)
    try:
        done = rechunk(array, place, PENCILS, overwrite=True, compute=compute, **options)
    except MetadataError:  # refused, and nothing is lost
        np.testing.assert_array_equal(read(place), VALUES)
        assert open_array(place).chunks == MAPS
        return
    if not compute:
        done.compute()
    np.testing.assert_array_equal(read(place), VALUES + 1)


def test_what_was_there_stays_until_all_is_written(source, place, monkeypatch):
    to_zarr(da.arange(6, chunks=2), place)
    with pytest.raises(NodeExistsError):
        rechunk(source, place, PENCILS)
    with monkeypatch.context() as patch:
        failing(patch, 0, 1)
        with pytest.raises(FailedOnPurpose):
            rechunk(source, place, PENCILS, overwrite=True, **PACKED)
    np.testing.assert_array_equal(read(place), range(6))
    rechunk(source, place, PENCILS, overwrite=True, **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)


# ---- what is taken up again


class Dying(StoreWrapper):
    """Counts values that are set, and is dead after so many of them."""

    def __init__(self, store, after):
        self._restore({"after": after})

    def _restore(self, state):
        self.after, self.set_keys = state["after"], []

    def _state(self):
        return {"after": self.after}

    def before(self, kind, key):
        if kind == "set" and not key.endswith(".json"):
            if self.after is not None and len(self.set_keys) >= self.after:
                raise Killed("no more")
            self.set_keys.append(key)


@pytest.mark.parametrize("stage", ["scratch", "target"])
@pytest.mark.parametrize("after", [1, 2, 5, 7, 10, 30])
def test_only_what_is_missing_is_done_again(source, place, tmp_path, stage, after):
    place = tmp_path / "t"
    target = RecordingStore(LocalStore(str(place)))
    plan = plan_rechunk(source, target, PENCILS, scratch=tmp_path / "s", **PACKED)
    options = {"journal": tmp_path / "j", **PACKED}
    scratch = Dying(LocalStore(str(tmp_path / "s")), after if stage == "scratch" else None)
    dying = Dying(LocalStore(str(place)), after) if stage == "target" else LocalStore(str(place))
    try:
        rechunk(source, dying, PENCILS, scratch=scratch, token="same", **options)
        finished = True
    except Killed:
        finished = False
    assert finished == (stage == "scratch" and after > plan.stages[0].puts)
    packed = {path.name for path in (tmp_path / "s").rglob("0/*") if ".partial" not in path.name}
    stamps = {path: path.stat().st_mtime_ns for path in place.rglob("c/*/*/*")}
    reads, again = RecordingStore(LocalStore(str(source))), RecordingStore(LocalStore(str(tmp_path / "s")))
    rechunk(reads, LocalStore(str(place)), PENCILS, scratch=again, token="same", resume=True, **options)
    np.testing.assert_array_equal(read(place), VALUES)
    if finished:
        assert not [key for _, key in reads.requests if key.startswith("c/")]
        return
    written = [key for key in again.keys("set") if not key.endswith(".json")]
    assert not {key.rpartition("/")[2] for key in written} & packed
    assert len(written) + len(packed) == plan.stages[0].puts
    per_block = plan.stages[0].gets // plan.stages[0].tasks
    assert len([key for key in reads.keys("get", "get_many", "read_into") if key.startswith("c/")]) == per_block * len(
        written
    )
    anew = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert len(anew) < plan.stages[1].puts // plan.stages[1].tasks  # those of the block that was not finished
    assert not [path for path in (tmp_path / "s").rglob("*") if path.is_file()]


def test_nothing_to_take_up(source, place):
    with pytest.raises(ResumeError):
        rechunk(source, place, PENCILS, resume=True)
    assert not place.exists()
    rechunk(source, place, PENCILS, resume="auto", **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)
    with pytest.raises(ResumeError):
        rechunk(source, place, (4, 4, 4), resume=True)
    np.testing.assert_array_equal(read(place), VALUES)


@pytest.mark.parametrize("max_mem", [700, 1300, 2500, 6000])
def test_a_job_is_taken_up_with_other_memory(source, place, monkeypatch, max_mem):
    kill(monkeypatch, source, place, PENCILS)
    assert in_scratch(place)
    report = rechunk(source, place, PENCILS, resume=True, max_mem=max_mem, cost=PACKING)
    assert report.plans[""].memory <= max_mem
    np.testing.assert_array_equal(read(place), VALUES)
    assert not in_scratch(place)


def replaced(source, values):
    """The source at the same place, with other cells: nothing in its metadata tells."""
    before = open_array(source).metadata
    shutil.rmtree(source)
    to_zarr(da.from_array(values, chunks=MAPS), source, compressors=None, dimension_names=["t", "y", "x"])
    assert open_array(source).metadata == before


@pytest.mark.parametrize("how", ["overwrite", "removed", "auto after removal"])
@pytest.mark.parametrize("max_mem", [700, 1000, 1300])
def test_a_new_job_takes_nothing_from_the_scratch_of_an_old_one(source, place, monkeypatch, how, max_mem):
    kill(monkeypatch, source, place, PENCILS)
    assert in_scratch(place)
    values = VALUES[::-1] * 3
    replaced(source, values)
    options = {"overwrite": True}
    if how != "overwrite":
        shutil.rmtree(place)
        options = {"resume": "auto"} if how.startswith("auto") else {}
    if how.startswith("auto"):
        shutil.rmtree(f"{place}.daskzarr/__writes__")
    rechunk(source, place, PENCILS, **options, max_mem=max_mem, cost=PACKING)
    np.testing.assert_array_equal(read(place), values)
    assert not in_scratch(place)


def test_a_job_of_other_chunks_takes_nothing_from_scratch(source, place, monkeypatch):
    kill(monkeypatch, source, place, PENCILS)
    rechunk(source, place, (24, 2, 1), overwrite=True, **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)


def test_a_group_is_taken_up_again(tmp_path, monkeypatch):
    start, place = group(tmp_path / "a"), tmp_path / "b"
    for after in (0, 1, 2):
        with monkeypatch.context() as patch:
            failing(patch, 1, after, Killed)
            with pytest.raises(Killed):
                rechunk(start, place, {"t": 24, "x": 1, "y": 1}, resume="auto", **PACKED)
    rechunk(start, place, {"t": 24, "x": 1, "y": 1}, resume=True, **PACKED)
    check_group(place)
    assert not in_scratch(place)


WAITING = CostModel(read=1e9, write=1e9, get=1.0, put=1e-9, requests=1, task=1e-9, slots=1)  # many requests are slow


@pytest.mark.parametrize("killed", [(0, 30), (1, 20), (2, 10)], ids=str)
def test_three_stages_killed_and_taken_up_again(tmp_path, monkeypatch, killed):
    values = distinct_values((200, 50), "i4", 1)
    start, place = tmp_path / "a", tmp_path / "b"
    to_zarr(da.from_array(values, chunks=(100, 50)), start, chunks=(1, 50), compressors=None)
    options = {"max_mem": 2000, "cost": WAITING, "stages": 3}
    plan = plan_rechunk(start, place, (50, 1), **options)
    assert plan.kind == "three-stage"
    assert plan.groups.count > 2
    stage, after = killed
    with monkeypatch.context() as patch:
        failing(patch, stage, after, Killed)
        with pytest.raises(Killed):
            rechunk(start, place, (50, 1), **options)
    packed = {path: path.stat().st_mtime_ns for path in in_scratch(place) if path.suffix != ".json"}
    stored = {path: path.stat().st_mtime_ns for path in place.rglob("c/*/*") if path.is_file()}
    assert packed
    rechunk(start, place, (50, 1), resume=True, **options)
    np.testing.assert_array_equal(read(place), values)
    anew = [path for path, stamp in stored.items() if path.stat().st_mtime_ns != stamp]
    assert len(anew) <= plan.stages[2].puts // plan.stages[2].tasks + 1
    assert not in_scratch(place)


# ---- scratch


class Damaging(StoreWrapper):
    """Damages what comes back of some objects."""

    def __init__(self, store, damage):
        self._restore({"damage": damage})

    def _restore(self, state):
        self.damage = state["damage"]

    def _state(self):
        return {"damage": self.damage}

    def asked(self, kind, key, request, *args):
        if kind == "set" and not key.endswith(".json") and key.endswith("/2.0.0"):
            value = self.damage(bytes(args[1]))
            return None if value is None else request(args[0], value)
        return request(*args)


DAMAGES = {
    "truncated": lambda value: value[:-1],
    "empty": lambda value: b"",
    "a bit": lambda value: value[:3] + bytes([value[3] ^ 4]) + value[4:],
    "zeros": lambda value: bytes(len(value)),
    "longer": lambda value: value[:40] + value,
    "gone": lambda value: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_objects_in_scratch_are_found_and_named(source, place, tmp_path, damage):
    scratch = Damaging(LocalStore(str(tmp_path / "s")), DAMAGES[damage])
    with pytest.raises(daskzarr.DaskZarrError) as caught:
        rechunk(source, place, PENCILS, scratch=scratch, keep_scratch=True, **PACKED)
    assert caught.value.chunk_key.endswith("0/2.0.0")
    assert "scratch" in str(caught.value)
    assert str(tmp_path / "s") in str(caught.value)
    rechunk(source, place, PENCILS, scratch=tmp_path / "s", resume=True, **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_scratch_is_removed_after_a_failure_unless_it_is_to_be_kept(source, place, monkeypatch, stage, scheduler):
    run = graph.move_block

    def slowly(*args):  # so that tasks are under way when one fails
        time.sleep(0.02)
        return run(*args)

    monkeypatch.setattr(graph, "move_block", slowly)
    for keep in (True, False):
        with monkeypatch.context() as patch, dask.config.set(scheduler=scheduler, num_workers=4):
            failing(patch, stage, 2)
            with pytest.raises(FailedOnPurpose):
                rechunk(source, place, PENCILS, keep_scratch=keep, resume="auto", **PACKED)
        time.sleep(0.2)
        assert bool(in_scratch(place)) == keep
    rechunk(source, place, PENCILS, resume=True, **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)
    assert not in_scratch(place)


def test_a_scratch_of_ones_own_is_left_as_it_was(source, place, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine").write_text("kept")
    rechunk(source, place, PENCILS, scratch=tmp_path / "s", **PACKED)
    assert [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()] == ["mine"]
    assert not os.path.exists(f"{place}.daskzarr/__scratch__")


def test_stores_that_fail_now_and_then(source, place, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    faults = Faults(before=0.05, after=0.05, cut=0.03, longer=0.03)
    stores = [
        UnreliableStore(LocalStore(str(path)), faults, seed)
        for seed, path in enumerate((source, place, tmp_path / "s"))
    ]
    rechunk(stores[0], stores[1], PENCILS, scratch=stores[2], **PACKED)
    assert min(store.made["before"] for store in stores) > 0
    np.testing.assert_array_equal(read(place), VALUES)


# ---- errors before anything is written


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_mem": 0}, MetadataError),
        ({"max_mem": -5}, MetadataError),
        ({"max_mem": True}, MetadataError),
        ({"max_mem": "many"}, MetadataError),
        ({"max_mem": float("inf")}, MetadataError),
        ({"max_mem": 10}, PlanLimitError),
        ({"compressors": "none of ours"}, MetadataError),
        ({"shards": (5, 5, 5), "chunks": (2, 2, 2)}, MetadataError),
        ({"zarr_format": 7}, daskzarr.DaskZarrError),
        ({"zarr_format": 2, "shards": (24, 2, 2)}, daskzarr.DaskZarrError),
        ({"zarr_format": 2, "chunks": ((4, 20), 8, 6)}, daskzarr.DaskZarrError),
        ({"overwrite": 1}, MetadataError),
        ({"keep_scratch": "yes"}, MetadataError),
        ({"resume": "maybe"}, MetadataError),
        ({"cost": 5}, MetadataError),
        ({"progress": "loud"}, MetadataError),
        ({"consolidated": "x"}, MetadataError),
        ({"component": "nothing"}, NodeNotFoundError),
    ],
    ids=str,
)
def test_what_is_refused(source, tmp_path, options, error):
    before = files(tmp_path)
    with pytest.raises(error):
        rechunk(source, tmp_path / "target", **{"chunks": PENCILS, **options})
    assert files(tmp_path) == before


def test_the_least_memory_that_is_named_works(source, place):
    with pytest.raises(PlanLimitError, match="at least") as caught:
        rechunk(source, place, PENCILS, max_mem=10)
    assert not place.exists()
    named = str(caught.value).partition("a task needs ")[2].partition(" at least")[0].removesuffix(" bytes")
    rechunk(source, place, PENCILS, max_mem=named)
    np.testing.assert_array_equal(read(place), VALUES)


def test_no_room_on_the_disk(source, place, monkeypatch):
    usage = shutil.disk_usage(place.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=100))
    with pytest.warns(RuntimeWarning, match="scratch needs"):
        rechunk(source, place, PENCILS, **PACKED)
    np.testing.assert_array_equal(read(place), VALUES)


# ---- progress, schedulers


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("options", [{}, PACKED], ids=["direct", "packed"])
def test_progress_never_goes_back_and_ends_at_the_total(source, place, scheduler, options):
    seen = []
    with dask.config.set(scheduler=scheduler, num_workers=4):
        report = rechunk(source, place, PENCILS, progress=lambda *now: seen.append(now), **options)
    plan = report.plans[""]
    total = plan.nbytes * len(plan.stages)
    assert {each for _, each in seen} == {total}
    done = [each for each, _ in seen]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(done) >= plan.tasks
    np.testing.assert_array_equal(read(place), VALUES)


def test_progress_is_printed(source, place, capsys):
    rechunk(source, place, PENCILS, progress=True, **PACKED)
    printed = capsys.readouterr().err
    assert "100%" in printed
    assert printed.endswith("\n")


def test_what_is_not_computed_at_once(source, place):
    write = rechunk(source, place, PENCILS, compute=False, **PACKED)
    assert open_array(place).chunks == PENCILS
    assert not [path for path in place.rglob("c/*/*/*") if path.is_file()]
    (written,) = dask.compute(write)
    assert written.objects == 48
    np.testing.assert_array_equal(read(place), VALUES)
    assert not in_scratch(place)


def test_blocks_of_the_last_stage_are_whole_objects(source):
    plan = plan_rechunk(source, {}, (5, 3, 4), max_mem=1500, cost=PACKING)
    for axis, (cuts, units) in enumerate(zip(plan.stages[-1].blocks.axes, plan.target, strict=True)):
        assert set(edges_of(cuts).tolist()) <= set(edges_of(units).tolist())
        assert BlockGrid((units,)).region.stop == (VALUES.shape[axis],)


# ---- what is said by name


def test_shards_are_said_as_chunks_are(tmp_path):
    start = maps(dimension_names=["t", "y", "x"])
    found = rechunk(start, {}, {"t": 6, "y": 2}, shards={"t": 12, "y": 4}, zarr_format=3).target
    assert (found.metadata.chunk_grid.chunk_shape, found.metadata.inner_chunk_shape) == ((12, 4, 6), (6, 2, 6))
    with pytest.raises(MetadataError, match="'z'"):
        rechunk(start, {}, {"t": 6}, shards={"z": 12})
    create_group(tmp_path / "g")
    to_zarr(da.from_array(VALUES, chunks=MAPS), tmp_path / "g", "a", dimension_names=["t", "y", "x"])
    with pytest.raises(MetadataError, match="'b'"):
        rechunk(tmp_path / "g", tmp_path / "h", {"t": 6}, shards={"b": (12, 8, 6)})
    with pytest.raises(MetadataError, match="mapping"):
        rechunk(tmp_path / "g", tmp_path / "h", (6, 8, 6))
    assert not (tmp_path / "h").exists()
    found = rechunk(tmp_path / "g", tmp_path / "h", {"t": 6, "a": {"y": 4}}, shards={"t": 12}).target["a"]
    assert (found.metadata.chunk_grid.chunk_shape, found.metadata.inner_chunk_shape) == ((12, 4, 6), (6, 4, 6))
    plans = plan_rechunk(tmp_path / "g", tmp_path / "i", {"t": 6})
    assert str(plans).startswith("a: direct")


def test_a_target_in_the_source_or_around_it_is_refused(tmp_path):
    create_group(tmp_path / "g")
    for name in ("a", "b"):
        to_zarr(da.from_array(VALUES, chunks=MAPS), tmp_path / "g", name)
    before = files(tmp_path)
    for target in (tmp_path / "g" / "a" / "c", tmp_path / "g"):
        with pytest.raises(MetadataError, match="target"):
            rechunk(tmp_path / "g" / "a", target, PENCILS, overwrite=True)
    assert files(tmp_path) == before


def test_a_scratch_that_cannot_be_written_leaves_nothing(source, place, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(daskzarr.StoreError, match="scratch"):
        rechunk(source, place, PENCILS, scratch=tmp_path / "file", **PACKED)
    assert not place.exists()
    rechunk(source, place, PENCILS, **PACKED)
