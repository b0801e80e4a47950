"""Blocks cut anyhow, to stored objects of any shape: every cell is right, every object written once, few are read."""

import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskzarr import AlignmentError, CodecError, DaskZarrError, create_array, from_zarr, open_array, to_zarr
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import READS, RecordingStore, distinct_values

KINDS = ("v3", "sharded", "rectilinear", "v2", "n5")
DOCUMENTS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", "attributes.json"}


def lengths_of(draw, total, least=0):
    """Lengths that add up to a total, some of them 0 if that is the least."""
    found = []
    while sum(found) < total:
        found.append(draw(st.integers(least, total - sum(found))))
    return tuple(found) or (0,)


def edges_of(shape, lengths):
    """Where stored objects begin along each axis, and the end of the array; a number of ``lengths`` repeats."""
    axes = []
    for n, each in zip(shape, lengths, strict=True):
        runs = [each] * -(-n // each) if isinstance(each, int) else each
        axes.append([min(edge, n) for edge in itertools.accumulate(runs, initial=0)])
    return axes


def stored_as(draw, kind, shape):
    """Settings of an array of a kind, and the lengths of its stored objects along each axis."""
    if kind == "rectilinear":
        lengths = tuple(lengths_of(draw, n, least=1) for n in shape)
        return {"chunks": lengths}, lengths
    lengths = tuple(draw(st.integers(1, n + 2)) for n in shape)
    if kind == "sharded":
        inner = tuple(draw(st.sampled_from([i for i in range(1, n + 1) if n % i == 0])) for n in lengths)
        return {"chunks": inner, "shards": lengths}, lengths
    return {"chunks": lengths, "zarr_format": {"v3": 3, "v2": 2, "n5": "n5"}[kind]}, lengths


@st.composite
def cases(draw):
    kind = draw(st.sampled_from(KINDS))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(draw(st.integers(1, 3))))
    settings_, lengths = stored_as(draw, kind, shape)
    settings_["compressors"] = draw(st.sampled_from([None, "auto"]))
    region, bounds = [], []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        stop = draw(st.integers(start, n))
        form = draw(st.sampled_from(["all", "slice", "open", "negative", "int", "-int"]))
        if form.endswith("int"):
            region.append(start - n if form == "-int" else start)
            stop = start + 1
        elif form == "all":
            start, stop = 0, n
            region.append(slice(None))
        elif form == "open":
            stop = n
            region.append(slice(start, None))
        elif form == "negative" and stop < n:
            region.append(slice(start - n, stop - n))
        else:
            region.append(slice(start, stop))
        bounds.append((start, stop))
    drops = draw(st.booleans())
    sizes = [b - a for a, b in bounds]
    kept = [i for i, part in enumerate(region) if not (drops and isinstance(part, int))]
    cuts = tuple(lengths_of(draw, sizes[i]) for i in kept)
    whole = [i for i, part in enumerate(region) if part == slice(None)]
    if whole and whole == list(range(whole[0], whole[-1] + 1)) and draw(st.booleans()):
        region[whole[0] : whole[-1] + 1] = [...]
    elif len(region) == 1 and draw(st.booleans()):
        region = region[0]
    return {
        "shape": shape,
        "settings": settings_,
        "lengths": lengths,
        "region": tuple(region) if isinstance(region, list) else region,
        "bounds": bounds,
        "cuts": cuts,
        "before": draw(st.sampled_from(["nothing", "cells", "half"])),
        "empty_blocks": draw(st.booleans()),
        "align": draw(st.sampled_from(["merge", "merge", "rechunk"])),
        "scheduler": draw(st.sampled_from(["sync", "sync", "threads"])),
    }


def chunk_requests(store, *kinds):
    return Counter(key for key in store.keys(*kinds) if key.rpartition("/")[2] not in DOCUMENTS)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_any_cut_goes_to_any_region_of_any_grid(case):
    shape, bounds = case["shape"], case["bounds"]
    mapping = {}
    fill = 0 if case["settings"].get("zarr_format") == "n5" else 3
    target = create_array(mapping, shape=shape, dtype="i4", fill_value=fill, **case["settings"])
    expected = np.full(shape, fill, "i4")
    if case["before"] != "nothing":
        part = slice(None) if case["before"] == "cells" else slice(0, shape[0] // 2)
        expected[part] = distinct_values(expected[part].shape, "i4")
        to_zarr(da.from_array(expected, chunks=-1), mapping, mode="r+")
    box = tuple(slice(a, b) for a, b in bounds)
    cells = distinct_values(expected[box].shape, "i4", 1000)
    if case["empty_blocks"]:
        cells[: cells.shape[0] // 2] = fill
    expected[box] = cells
    array = da.from_array(cells.reshape(tuple(map(sum, case["cuts"]))), chunks=case["cuts"])
    store = RecordingStore(MappingStore(mapping))
    with dask.config.set(scheduler=case["scheduler"]):
        to_zarr(array, store, mode="r+", region=case["region"], align=case["align"])
    np.testing.assert_array_equal(from_zarr(mapping).compute(scheduler="sync"), expected)

    touched, partial = {}, set()
    edges = edges_of(shape, case["lengths"])
    for index in itertools.product(*(range(len(axis) - 1) for axis in edges)):
        pairs = [(axis[i], axis[i + 1]) for axis, i in zip(edges, index, strict=True)]
        covered = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(pairs, bounds, strict=True)]
        if all(a < b for a, b in covered):
            key = target.metadata.chunk_key_encoding.encode(index)
            touched[key] = index
            if covered != pairs:
                partial.add(key)
    written = chunk_requests(store, "set", "delete")
    assert written == dict.fromkeys(touched, 1)
    read = chunk_requests(store, *READS)
    assert set(read) == partial
    assert set(read.values()) <= {1}


# ---- what it costs


def tasks_of(write):
    """Tasks by kind, in the graph as it runs."""
    graph = write.__dask_optimize__(write.dask, [write.key])
    names = {name: "-".join(name.split("-")[:2]) for name in graph.layers}
    return Counter({kind: len(graph.layers[name]) for name, kind in names.items() if kind != "daskzarr-written"})


@pytest.mark.parametrize(
    ("shape", "block", "unit", "most"),
    [((4000,) * 2, 100, 30, 4356), ((2000,) * 3, 100, 30, 35_937), ((64,) * 2, 4, 16, 256 + 16)],
    ids=["2-D", "3-D", "4 in 16"],
)
def test_task_counts(shape, block, unit, most):
    array = da.zeros(shape, chunks=block, dtype="u1")
    found = tasks_of(to_zarr(array, {}, chunks=(unit,) * len(shape), compute=False))
    assert sum(found.values()) <= most


def test_one_bad_boundary_in_8000_blocks():
    lengths = [100] * 20
    lengths[9], lengths[10] = 90, 110
    array = da.zeros((2000,) * 3, chunks=(tuple(lengths), 100, 100), dtype="u1")
    found = tasks_of(to_zarr(array, {}, chunks=(100,) * 3, compute=False))
    assert found["daskzarr-write"] == 8000
    assert found["daskzarr-merge"] == 400
    assert set(found) == {"daskzarr-write", "daskzarr-merge"}


@pytest.mark.parametrize("chunks", [(10, 8), (5, 4), (10, 2)])
def test_aligned_blocks_add_no_task_and_no_read(chunks):
    store = RecordingStore(MappingStore({}))
    array = da.ones((40, 32), chunks=(10, 8)) + 1
    write = to_zarr(array, store, chunks=chunks, compute=False)
    assert tasks_of(write)["daskzarr-write"] == 16
    assert not tasks_of(write)["daskzarr-merge"]
    store.clear()
    write.compute()
    assert set(store.count()) == {"set"}
    assert len(store.keys()) == 1280 // (chunks[0] * chunks[1])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("shape", "block", "chunks", "shards"),
    [
        ((64, 64), 4, (4, 4), (16, 16)),
        ((50, 50), 10, (3, 3), None),
        ((20, 20, 20), 10, (3, 3, 3), None),
        ((40, 40), ((10, 9, 11, 10), (10,) * 4), (10, 10), None),
        ((6000,), 1, (1000,), None),
    ],
    ids=["4 in shards of 16", "2-D", "3-D", "one bad boundary", "single cells"],
)
def test_known_cases(shape, block, chunks, shards, zarr_format):
    if shards and zarr_format == 2:
        return
    values = distinct_values(shape, "i8")
    mapping = {}
    store = RecordingStore(MappingStore(mapping))
    array = da.from_array(values, chunks=block)
    array = array if len(shape) == 1 else array + 0
    to_zarr(array, store, chunks=chunks, shards=shards, zarr_format=zarr_format)
    np.testing.assert_array_equal(from_zarr(mapping).compute(), values)
    assert set(chunk_requests(store, "set").values()) == {1}
    assert not chunk_requests(store, *READS)


def test_blocks_that_cross_are_refused_if_that_is_asked_for():
    store = RecordingStore(MappingStore({}))
    with pytest.raises(AlignmentError):
        to_zarr(da.zeros(20, chunks=5), store, chunks=4, align="error")
    assert not store.keys("set")
    to_zarr(da.zeros(20, chunks=4), store, chunks=4, align="error")
    with pytest.raises(AlignmentError):
        to_zarr(da.zeros(6, chunks=6), store, mode="r+", region=slice(0, 6), align="error")


# ---- ways to write


def test_several_writes_computed_together(tmp_path):
    calls = []

    def count(block):
        calls.append(block.shape)
        return block

    values = distinct_values((30, 20), "i4")
    shared = da.from_array(values, chunks=(7, 6)).map_blocks(count, meta=np.empty((0, 0), "i4"))
    writes = [to_zarr(shared * n, tmp_path / str(n), chunks=(5 + n, 4), compute=False) for n in (1, 2, 3)]
    dask.compute(*writes)
    assert len(calls) == 5 * 4
    for n in (1, 2, 3):
        np.testing.assert_array_equal(from_zarr(tmp_path / str(n)).compute(), values * n)


@pytest.mark.parametrize("compute", [True, False])
@pytest.mark.parametrize("chunks", [(4, 4), (100, 100)], ids=["pieces", "gathered"])
def test_return_stored(tmp_path, compute, chunks):
    values = distinct_values((25, 18), "i4")
    array = da.from_array(values, chunks=(6, 7)) + 0
    stored = to_zarr(array, tmp_path, chunks=chunks, compute=compute, return_stored=True)
    assert stored.chunks == array.chunks
    np.testing.assert_array_equal(stored.compute(), values)
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(), values)
    np.testing.assert_array_equal(stored[3:20, 5].compute(), values[3:20, 5])


@pytest.mark.parametrize("compute", [True, False])
def test_return_stored_of_a_region(tmp_path, compute):
    create_array(tmp_path, shape=(12, 9), chunks=(5, 4), dtype="i4", fill_value=-1)
    values = distinct_values((7, 5), "i4")
    array = da.from_array(values, chunks=(3, 2))
    region = (slice(2, 9), slice(3, 8))
    stored = to_zarr(array, tmp_path, mode="r+", region=region, compute=compute, return_stored=True)
    np.testing.assert_array_equal(stored.compute(), values)
    expected = np.full((12, 9), -1, "i4")
    expected[region] = values
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(), expected)


@pytest.mark.parametrize("chunks", [(4, 4), (100, 100)], ids=["pieces", "gathered"])
def test_the_delayed_value_pickles_and_does_not_grow(tmp_path, chunks):
    values = distinct_values((25, 18), "i4")
    write = to_zarr(da.from_array(values, chunks=(6, 7)), tmp_path, chunks=chunks, compute=False)
    (optimized,) = dask.optimize(write)
    for each in (write, optimized):
        written = pickle.loads(pickle.dumps(each)).compute(scheduler="sync")
        assert written.objects == -(-25 // chunks[0]) * -(-18 // chunks[1])
        np.testing.assert_array_equal(from_zarr(tmp_path).compute(), values)
    sizes = [
        len(pickle.dumps(to_zarr(da.zeros((n, n), chunks=3), {}, chunks=(2, 2), compute=False))) for n in (30, 300)
    ]
    assert sizes[1] - sizes[0] < 2 * (100 - 10) * 40  # with the cuts along axes, not with blocks


def test_only_what_is_wanted_of_a_lazy_write_is_run_twice_without_harm(tmp_path):
    values = distinct_values((30,), "i4")
    write = to_zarr(da.from_array(values, chunks=7), tmp_path, chunks=4, compute=False)
    first, second = write.compute(), write.compute()
    assert first == second
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(), values)


# ---- cells of all kinds


RECORD = np.dtype([("a", "i2"), ("b", "f4", (2,))])


def structured():
    cells = np.zeros(23, RECORD)
    cells["a"], cells["b"] = np.arange(1, 24), distinct_values((23, 2), "f4")
    return cells


CELLS = {
    "structured": (structured(), {"zarr_format": 2}),
    "strings": (np.array([f"text {'x' * (i % 5)} {i}" for i in range(23)], object), {"dtype": str}),
    "fixed texts": (np.array([f"{i:03}" for i in range(23)]), {}),
    "F order": (distinct_values((11, 9), "i4"), {"order": "F"}),
    "F order v2": (distinct_values((11, 9), "f8"), {"order": "F", "zarr_format": 2}),
    "big endian": (distinct_values((23,), "i4").astype(">i4"), {"zarr_format": 2}),
    "dates": (np.arange(23).astype("M8[D]"), {}),
    "nan fill": (distinct_values((23,), "f4"), {"fill_value": np.nan}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("chunks", [4, 50], ids=["pieces", "gathered"])
def test_cells_of_all_kinds_are_merged(name, chunks):
    values, options = CELLS[name]
    mapping = {}
    to_zarr(da.from_array(values, chunks=7), mapping, chunks=(chunks,) * values.ndim, **options)
    np.testing.assert_array_equal(from_zarr(mapping).compute(), values)
    part = (slice(3, 17),) + (slice(None),) * (values.ndim - 1)
    changed = values.copy()
    changed[part] = values[part][::-1]
    to_zarr(da.from_array(changed[part], chunks=5), mapping, mode="r+", region=part)
    np.testing.assert_array_equal(from_zarr(mapping).compute(), changed)


def test_chunks_of_nothing_but_fill_are_left_out_and_deleted_on_merge():
    mapping = {}
    values = np.arange(1, 25)
    to_zarr(da.from_array(values, chunks=24), mapping, chunks=4, fill_value=7)
    values[3:13] = 7
    store = RecordingStore(MappingStore(mapping))
    to_zarr(da.from_array(values[3:13], chunks=3), store, mode="r+", region=slice(3, 13))
    assert sorted(store.keys("delete")) == ["c/1", "c/2"]
    assert sorted(store.keys("set")) == ["c/0", "c/3"]
    np.testing.assert_array_equal(from_zarr(mapping).compute(), values)
    written = to_zarr(
        da.from_array(values, chunks=5), mapping, mode="r+", write_empty_chunks=True, compute=False
    ).compute()
    assert (written.objects, written.elided) == (6, 0)
    np.testing.assert_array_equal(from_zarr(mapping, missing="error").compute(), values)


@pytest.mark.parametrize("chunks", [4, 50])
def test_pieces_are_cast_to_what_is_stored(chunks):
    mapping = {}
    create_array(mapping, shape=(23,), chunks=(chunks,), dtype="i2", fill_value=-1)
    to_zarr(da.arange(23, chunks=7, dtype="i8"), mapping, mode="r+")
    np.testing.assert_array_equal(from_zarr(mapping).compute(), np.arange(23, dtype="i2"))
    with pytest.raises(CodecError, match="do not fit"):
        to_zarr(da.full(23, 2**20, chunks=7), mapping, mode="r+")
    np.testing.assert_array_equal(from_zarr(mapping).compute(), np.arange(23, dtype="i2"))
    with pytest.raises(DaskZarrError):
        to_zarr(da.full(23, 0.5, chunks=7), mapping, mode="r+")


@pytest.mark.parametrize("chunks", [(7, 6), (5, 4), (50, 50)], ids=["aligned", "pieces", "gathered"])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_blocks_that_are_not_as_promised_are_named(chunks, scheduler):
    array = da.ones((21, 12), chunks=(7, 6)).map_blocks(lambda block: block[:-1], meta=np.empty((0, 0)))
    with pytest.raises(CodecError, match=r"a block of shape \(6, 6\) came where \(7, 6\) was promised"):
        to_zarr(array, {}, chunks=chunks, compute=False).compute(scheduler=scheduler)


def test_arrays_without_cells_or_without_axes():
    for shape in ((0,), (0, 5), (5, 0), ()):
        mapping = {}
        to_zarr(da.ones(shape), mapping, chunks=(3,) * len(shape))
        assert from_zarr(mapping).compute().shape == shape
        to_zarr(da.full(shape, 2.0), mapping, mode="r+")
        np.testing.assert_array_equal(from_zarr(mapping).compute(), np.full(shape, 2.0))


def test_threads_do_not_lose_cells_where_stores_are_slow(tmp_path):
    """As in reports of lost cells: many threads, each with a part of the same object."""
    ready = threading.Barrier(4, timeout=5)

    def together(block):
        if block.size:
            try:
                ready.wait()
            except threading.BrokenBarrierError:
                pass
        return block

    values = distinct_values((64, 4), "i4")
    array = da.from_array(values, chunks=(4, 4)).map_blocks(together, meta=np.empty((0, 0), "i4"))
    with dask.config.set(scheduler="threads", num_workers=4):
        to_zarr(array, tmp_path, shards=(16, 4), chunks=(4, 4))
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(), values)


# ---- where it runs


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("block", "chunks", "shards"),
    [((4, 40), (4, 4), (16, 16)), ((10, 10), (3, 3), None), ((10, 10), (30, 30), None), ((7, 40), (10, 40), None)],
    ids=str,
)
def test_on_a_cluster(client, tmp_path, block, chunks, shards):
    values = distinct_values((40, 40), "i4")
    array = da.from_array(values, chunks=block) + 0
    to_zarr(array, tmp_path, chunks=chunks, shards=shards)
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(scheduler="sync"), values)
    region = (slice(3, 38), slice(5, 29))
    values[region] += 7
    stored = to_zarr(da.from_array(values, chunks=9)[region], tmp_path, mode="r+", region=region, return_stored=True)
    np.testing.assert_array_equal(stored.compute(), values[region])
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(scheduler="sync"), values)


def test_several_writes_on_a_cluster(client, tmp_path):
    values = distinct_values((40, 40), "i4")
    shared = da.from_array(values, chunks=(7, 40)) + 1
    writes = [to_zarr(shared * n, tmp_path / str(n), chunks=(n, 40), compute=False) for n in (3, 9)]
    assert [written.objects for written in dask.compute(*writes)] == [14, 5]
    for n in (3, 9):
        np.testing.assert_array_equal(from_zarr(tmp_path / str(n)).compute(scheduler="sync"), (values + 1) * n)


PROGRAM = """
import sys, pickle
import dask, dask.array as da, numpy as np
from daskzarr import create_array, from_zarr, to_zarr
from daskzarr.appending import append
from daskzarr.storing import store
assert da.array_expr_enabled()
root = sys.argv[1]
values = np.arange(40 * 30, dtype="i4").reshape(40, 30)
for n, (block, chunks) in enumerate([((7, 8), (5, 4)), ((3, 30), (16, 30)), (((0, 9, 11, 20), 30), (10, 10))]):
    place = f"{root}/{n}"
    array = da.from_array(values, chunks=block)
    to_zarr(array + 1, place, chunks=chunks)
    np.testing.assert_array_equal(from_zarr(place).compute(), values + 1)
    to_zarr(array[3:33, 5:18] * 2, place, mode="r+", region=(slice(3, 33), slice(5, 18)))
    expected = values + 1
    expected[3:33, 5:18] = values[3:33, 5:18] * 2
    np.testing.assert_array_equal(from_zarr(place).compute(), expected)
    for compute in (True, False):
        stored = to_zarr(array - 1, place, mode="r+", compute=compute, return_stored=True)
        np.testing.assert_array_equal(stored.compute(), values - 1)
    write = to_zarr(array - 2, place, mode="r+", compute=False)
    pickle.loads(pickle.dumps(write)).compute()
    append(array + 5, place, at=40)
    append(array + 5, place, at=40)
    np.testing.assert_array_equal(from_zarr(place).compute(), np.concatenate([values - 2, values + 5]))
    to_zarr(from_zarr(place)[::-1], place, overwrite=True)
    np.testing.assert_array_equal(from_zarr(place).compute(), np.concatenate([values - 2, values + 5])[::-1])
shared = da.from_array(values, chunks=(7, 8)) + 3
writes = [to_zarr(shared * n, f"{root}/many{n}", chunks=(n, 9), compute=False) for n in (2, 3)]
dask.compute(*writes)
for n in (2, 3):
    np.testing.assert_array_equal(from_zarr(f"{root}/many{n}").compute(), (values + 3) * n)
target = create_array(f"{root}/stored", shape=(40, 30), chunks=(9, 9), dtype="i4")
parts = [(slice(0, 13), slice(0, 30)), (slice(13, 40), slice(0, 11)), (slice(13, 40), slice(11, 30))]
store([shared[part] for part in parts], [target] * 3, regions=parts)
np.testing.assert_array_equal(from_zarr(target).compute(), values + 3)
print("all held")
"""


def test_writes_as_expressions(tmp_path):
    environment = {**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "all held" in result.stdout


def test_files_of_one_array_are_all_there_is(tmp_path):
    to_zarr(da.ones((20, 20), chunks=7), LocalStore(str(tmp_path / "a")), chunks=(6, 6))
    names = {path.name for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert names == {"zarr.json", "0", "1", "2", "3"}
    assert open_array(tmp_path / "a").shape == (20, 20)
