"""Chunks of different lengths: documents, edges, blocks, what is written and read, and what it costs."""

import ast
import itertools
import json
import pickle
import re
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.core import PerformanceWarning
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import (
    AlignmentError,
    CodecError,
    DaskZarrError,
    MetadataError,
    MissingChunkError,
    create_array,
    from_zarr,
    open_array,
    to_zarr,
)
from daskzarr.array_handle import ArrayHandle
from daskzarr.block_grid import grid_cuts
from daskzarr.chunk_grid import Box, RegularGrid
from daskzarr.chunk_io import read_box
from daskzarr.metadata import v3
from daskzarr.rectilinear_grid import Edges, RectilinearGrid, runs_of
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import READS, RecordingStore, distinct_values

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
CHUNKS = ((2, 4), (3, 3, 1))
CELLS = np.arange(42, dtype="i2").reshape(6, 7)
KEYS = [f"c/{i}/{j}" for i in range(2) for j in range(3)]


def rectilinear(*axes):
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": list(axes)}}


def document(shape, grid, data_type="int16", codecs=(LITTLE,), encoding=None):
    members = {"zarr_format": 3, "node_type": "array", "shape": list(shape), "data_type": data_type}
    members["chunk_key_encoding"] = encoding or {"name": "default", "configuration": {"separator": "/"}}
    return members | {"chunk_grid": grid, "fill_value": 0, "codecs": list(codecs), "attributes": {}}


def stored(shape, *axes, **options):
    """The values of an array of which no chunk is there."""
    return {"zarr.json": json.dumps(document(shape, rectilinear(*axes), **options)).encode()}


def grid_of(values):
    return json.loads(values["zarr.json"])["chunk_grid"]


def same(array, expected):
    array = np.asarray(array)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(expected).tobytes()


def put_array(target, cells=CELLS, chunks=CHUNKS, **options):
    to_zarr(da.from_array(cells, chunks=chunks), target, **{"compressors": None} | options)
    return target


def bounds_of(lengths, size):
    """Start and stop of each chunk, the last clipped."""
    edges = [0, *itertools.accumulate(lengths)]
    return [(a, min(b, size)) for a, b in itertools.pairwise(edges) if a < size]


# ---- documents


def test_the_published_example_is_read_and_written_again():
    example = rectilinear([2, 4], [[3, 2], 1])
    metadata = v3.read_array(document((6, 7), example))
    assert v3.write_array(metadata)["chunk_grid"] == example
    values = {"zarr.json": json.dumps(document((6, 7), example)).encode()}
    to_zarr(da.from_array(CELLS, chunks=CHUNKS), values, mode="r+", write_empty_chunks=True)
    assert sorted(values) == [*KEYS, "zarr.json"]
    assert values["c/1/2"] == bytes.fromhex("14001b0022002900")
    same(from_zarr(values).compute(), CELLS)


def test_blocks_of_different_lengths_make_a_rectilinear_grid():
    values = put_array({})
    assert grid_of(values) == rectilinear([2, 4], 3)
    padded = np.zeros((4, 3), "i2")
    padded[:, 0] = 20, 27, 34, 41
    assert values["c/1/2"] == padded.tobytes()
    same(from_zarr(values).compute(), CELLS)


@pytest.mark.parametrize(
    ("lengths", "spelled"),
    [
        ((2, 4), [2, 4]),
        ((4, 4, 2, 2, 1), [[4, 2], [2, 2], 1]),
        ((1, 1, 1, 5), [[1, 3], 5]),
        ((3, 1, 3), [3, 1, 3]),
        ((5, 6), [5, 6]),
        ((3, 0, 4), [3, 4]),
        ((0, 3, 4, 0), [3, 4]),
        ((4, 4, 4), 4),
        ((4, 4, 1), 4),
        ((7,), 7),
        ((0, 7), 7),
        ((4, 0, 4, 3), 4),
    ],
)
def test_lengths_are_spelled_as_short_as_can_be(lengths, spelled):
    shape = (5, sum(lengths))
    expected = rectilinear([2, 3], spelled)
    metadata = create_array({}, shape=shape, chunks=((2, 3), lengths), dtype="i2").metadata
    assert v3.write_array(metadata)["chunk_grid"] == expected
    values = {}
    cells = distinct_values(shape, "int16", 1)
    to_zarr(da.from_array(cells, chunks=((2, 3), lengths)), values)
    assert grid_of(values) == expected
    same(from_zarr(values).compute(), cells)


def test_lengths_that_are_all_equal_make_a_regular_grid():
    for chunks in [((4, 4, 1), (3, 3)), ((4, 4), 3), ([4, 4, 4], [6])]:
        shape = tuple(sum(axis) if not isinstance(axis, int) else 6 for axis in chunks)
        metadata = create_array({}, shape=shape, chunks=chunks, dtype="i2").metadata
        assert isinstance(metadata.chunk_grid, RegularGrid)


ENTRIES = {
    "a number": (10, 3, [3, 3, 3, 1]),
    "a number that divides": (9, 3, [3, 3, 3]),
    "a number beyond": (4, 9, [4]),
    "a list": (7, [2, 4, 1], [2, 4, 1]),
    "a run": (7, [[2, 3], 1], [2, 2, 2, 1]),
    "one pair is a run": (8, [[4, 2]], [4, 4]),
    "two numbers are two chunks": (6, [4, 2], [4, 2]),
    "runs of one": (6, [[4, 1], [2, 1]], [4, 2]),
    "runs of the same length": (9, [[2, 2], 2, [2, 1], 1], [2, 2, 2, 2, 1]),
    "more than the array": (5, [3, 4], [3, 2]),
    "a chunk outside": (5, [3, 2, 4], [3, 2]),
    "many chunks outside": (5, [3, [4, 1000]], [3, 2]),
    "one chunk": (5, [5], [5]),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_say_the_lengths_of_chunks(name):
    size, entry, lengths = ENTRIES[name]
    metadata = v3.read_array(document((size,), rectilinear(entry)))
    assert list(metadata.chunk_grid.axes[0].lengths) == lengths
    assert metadata.chunk_grid.counts == (len(lengths),)
    again = v3.read_array(v3.write_array(metadata))
    assert again.chunk_grid == metadata.chunk_grid
    assert type(metadata).from_compact(metadata.compact()).chunk_grid == metadata.chunk_grid


BAD_ENTRIES = {
    "zero": 0,
    "negative": -3,
    "a fraction": 2.5,
    "a whole fraction": 2.0,
    "true": True,
    "null": None,
    "text": "3",
    "an object": {"length": 3},
    "an empty list": [],
    "a list with zero": [3, 0, 7],
    "a list with true": [True, 9],
    "a list with a fraction": [3.0, 7],
    "a list with text": ["3", 7],
    "too short": [3, 6],
    "too short by runs": [[3, 3]],
    "a run of no chunks": [[3, 0], 10],
    "a run of fewer than none": [[3, -1], 13],
    "a run of half a chunk": [[3, 1.5], 10],
    "a run of chunks without cells": [[0, 5], 10],
    "a run of three numbers": [[3, 2, 1], 4],
    "a run of one number": [[10]],
    "an empty run": [[], 10],
    "a run in a run": [[[3, 2], 2]],
    "a length beyond 63 bits": [2**63],
    "a number beyond 63 bits": 2**63,
    "a count beyond 63 bits": [[1, 2**63]],
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_entries_that_mean_nothing_are_refused(name):
    with pytest.raises(MetadataError) as caught:
        v3.read_array(document((10,), rectilinear(BAD_ENTRIES[name])))
    assert caught.value.field == "chunk_grid"


BAD_CONFIGURATIONS = {
    "no kind": {"chunk_shapes": [[4, 6]]},
    "no shapes": {"kind": "inline"},
    "another kind": {"kind": "reference", "chunk_shapes": [[4, 6]]},
    "another member": {"kind": "inline", "chunk_shapes": [[4, 6]], "chunk_shape": [4]},
    "too many axes": {"kind": "inline", "chunk_shapes": [[4, 6], 3]},
    "too few axes": {"kind": "inline", "chunk_shapes": []},
    "a number for all axes": {"kind": "inline", "chunk_shapes": 4},
    "null": {"kind": "inline", "chunk_shapes": None},
    "a kind that is a list": {"kind": ["inline"], "chunk_shapes": [[4, 6]]},
    "nothing": {},
}


@pytest.mark.parametrize("name", BAD_CONFIGURATIONS)
def test_configurations_that_mean_nothing_are_refused(name):
    grid = {"name": "rectilinear", "configuration": BAD_CONFIGURATIONS[name]}
    with pytest.raises(MetadataError):
        v3.read_array(document((10,), grid))


@pytest.mark.parametrize("name", ["rectangular", "Rectilinear", "irregular"])
def test_grids_of_other_names_are_refused(name):
    with pytest.raises(DaskZarrError, match=name):
        v3.read_array(document((10,), rectilinear([4, 6]) | {"name": name}))


BAD_CHUNKS = [
    ((4, 5), 3),
    ((4, 7), 3),
    ((4, -1, 7), 3),
    ((4, 6.5), 3),
    ((), 3),
    ((4, 6),),
    ((4, 6), 3, 3),
    ((4, "6"), 3),
]


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=str)
def test_lengths_that_do_not_fit_the_array_are_refused(chunks):
    values = {}
    with pytest.raises(MetadataError):
        create_array(values, shape=(10, 6), chunks=chunks, dtype="i2")
    assert values == {}


@pytest.mark.parametrize("zarr_format", [2, "n5"])
def test_other_formats_have_no_such_grid(zarr_format):
    values = {}
    with pytest.raises(DaskZarrError):
        create_array(values, shape=(6, 7), chunks=CHUNKS, dtype="i2", zarr_format=zarr_format)
    with pytest.raises(AlignmentError) as caught:
        to_zarr(da.from_array(CELLS, chunks=CHUNKS), values, zarr_format=zarr_format, align="error")
    assert values == {}
    named = rechunking_in(caught.value)
    to_zarr(da.from_array(CELLS, chunks=CHUNKS).rechunk(named), values, zarr_format=zarr_format, align="error")
    same(from_zarr(values, zarr_format=zarr_format).compute(), CELLS)


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("zarr_format", [2, "n5"])
def test_other_formats_get_chunks_of_the_longest_lengths(zarr_format, align):
    values = {}
    to_zarr(da.from_array(CELLS, chunks=CHUNKS), values, zarr_format=zarr_format, align=align)
    assert open_array(values, zarr_format=zarr_format).chunks == (4, 3)
    same(from_zarr(values, zarr_format=zarr_format).compute(), CELLS)


def rechunking_in(error):
    """The rechunking that an error names."""
    return ast.literal_eval(re.search(r"rechunk\((\{.*?\})\)", str(error))[1])


# ---- arithmetic, against lists

lists_of_runs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=100)
@given(lists_of_runs, st.data())
def test_edges_are_those_of_the_listed_lengths(runs, data):
    lengths = [length for length, count in runs for _ in range(count)]
    size = data.draw(st.integers(0, sum(lengths)))
    edges = Edges(size, tuple(runs))
    expected = bounds_of(lengths, size)
    assert edges.total == sum(lengths)
    assert max(lengths[: len(expected)], default=1) <= edges.longest <= max(lengths)
    assert edges.count == len(expected)
    assert edges.lengths == tuple(b - a for a, b in expected)
    full = [0, *itertools.accumulate(lengths)]
    for chunk in range(len(lengths)):
        assert edges.bounds(chunk) == (full[chunk], full[chunk + 1])
        for cell in range(full[chunk], full[chunk + 1]):
            assert edges.find(cell) == chunk
    merged = runs_of(lengths)
    assert [length for length, count in merged for _ in range(count)] == lengths
    assert all(a[0] != b[0] for a, b in itertools.pairwise(merged))


@st.composite
def grids(draw, max_dims=3):
    """A grid, and the lengths of its chunks along each axis."""
    shape, axes, lengths = [], [], []
    for _ in range(draw(st.integers(1, max_dims))):
        if draw(st.booleans()):
            step, size = draw(st.integers(1, 5)), draw(st.integers(1, 12))
            axes.append(step)
            listed = [step] * -(-size // step)
        else:
            runs = draw(lists_of_runs)
            listed = [length for length, count in runs for _ in range(count)]
            size = draw(st.integers(1, sum(listed)))
            axes.append(runs_of(listed))
        shape.append(size)
        lengths.append(listed)
    return RectilinearGrid(tuple(shape), tuple(axes)), lengths


@settings(deadline=None, max_examples=60)
@given(grids(), st.data())
def test_a_box_meets_the_chunks_that_share_cells_with_it(drawn, data):
    grid, lengths = drawn
    pairs = [sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in grid.shape]
    box = Box(*map(tuple, zip(*pairs, strict=True)))
    owner = np.full(grid.shape, -1)
    all_bounds = [bounds_of(axis, n) for axis, n in zip(lengths, grid.shape, strict=True)]
    indices = list(itertools.product(*(range(len(axis)) for axis in all_bounds)))
    boxes = {}
    for number, index in enumerate(indices):
        ends = [axis[i] for axis, i in zip(all_bounds, index, strict=True)]
        boxes[index] = Box(*map(tuple, zip(*ends, strict=True)))
        owner[boxes[index].slices] = number
        assert grid.box(index) == boxes[index]
        assert grid.single(boxes[index]) == index
        assert grid.chunk_shape_at(index) == tuple(axis[i] for axis, i in zip(lengths, index, strict=True))
    found = list(grid.project(box))
    touched = sorted(set(owner[box.slices].reshape(-1).tolist()))
    assert [part.chunk for part in found] == [indices[number] for number in touched]
    cells = distinct_values(grid.shape, "int32", 1)
    out = np.zeros(box.shape, "i4")
    for part in found:
        own = boxes[part.chunk]
        out[part.out_slices] = cells[own.slices][part.chunk_slices]
        inside = all(a <= c and d <= b for a, b, c, d in zip(*box, *own, strict=True))
        assert part.whole == inside
    assert (out == cells[box.slices]).all()
    one = [index for index in indices if boxes[index] == box]
    assert grid.single(box) == (one[0] if one else None)


@settings(deadline=None, max_examples=60)
@given(grids(), st.data())
def test_blocks_are_whole_chunks_and_never_larger_than_asked_for(drawn, data):
    grid, lengths = drawn
    wanted = [data.draw(st.integers(1, n + 3)) for n in grid.shape]
    found = grid_cuts(grid, (0,) * len(grid.shape), grid.shape, wanted)
    for cut, axis, size, most in zip(found, lengths, grid.shape, wanted, strict=True):
        edges = {0, *(stop for _, stop in bounds_of(axis, size))}
        starts = [cut.bounds(i) for i in range(cut.count)]
        assert [a for a, _ in starts[1:]] == [b for _, b in starts[:-1]]
        assert (starts[0][0], starts[-1][1]) == (0, size)
        for a, b in starts:
            assert {a, b} <= edges
            assert b - a <= most or not [edge for edge in edges if a < edge < b]
        for (a, _), (_, b) in itertools.pairwise(starts):
            assert b - a > most


# ---- blocks


@pytest.mark.parametrize("chunks", [((2, 4), (3, 3, 1)), ((5, 1), (2, 5)), ((6,), (1, 6)), ((3, 3), (3, 4))], ids=str)
def test_a_block_is_a_stored_chunk(chunks):
    values = put_array({}, chunks=chunks)
    assert from_zarr(values).chunks == chunks


@pytest.mark.parametrize("lengths", [(1, 1, 5), (4, 1, 2), (2, 1, 1, 3), (5, 1, 1)], ids=str)
def test_a_block_is_one_stored_chunk_where_several_would_fit(lengths):
    values = put_array({}, distinct_values((6, sum(lengths)), "int16"), chunks=((2, 4), lengths))
    assert from_zarr(values).chunks == ((2, 4), lengths)


def test_chunks_outside_the_array_do_not_make_blocks_larger():
    assert from_zarr(stored((5,), [2, 2, 2, 9])).chunks == ((2, 2, 1),)


def test_chunks_outside_the_array_do_not_make_auto_blocks_larger():
    for outside in ([], [10**6]):
        with dask.config.set({"array.chunk-size": "4 kiB"}):
            array = from_zarr(stored((100_000,), [[1000, 100], *outside]), chunks="auto")
        assert array.numblocks == (50,)


def test_a_shard_outside_the_array_may_be_longer_than_any_can_be():
    options = {"index_codecs": [LITTLE], "index_location": "end"}
    shard = {"name": "sharding_indexed", "configuration": {"chunk_shape": [1], "codecs": [LITTLE], **options}}
    assert from_zarr(stored((6,), [2, 4, 10**10], codecs=[shard])).compute().tolist() == [0] * 6


def test_auto_blocks_are_whole_chunks_near_the_limit():
    lengths = [n % 7 + 1 for n in range(400)]
    cells = distinct_values((sum(lengths), 3), "int32", 1)
    values = put_array({}, cells, chunks=(tuple(lengths), 3))
    edges = {0, *itertools.accumulate(lengths)}
    with dask.config.set({"array.chunk-size": "600 B"}):
        array = from_zarr(values, chunks="auto")
        assert {0, *itertools.accumulate(array.chunks[0])} <= edges
        assert max(array.chunks[0]) * 12 <= 600
        assert len(array.chunks[0]) < sum(lengths) * 12 / 600 * 1.3
        same(array.compute(), cells)
        same((array + 0).compute(), cells)
    assert from_zarr(values, chunks="auto").npartitions == 1


def test_auto_for_one_axis_does_not_cut_chunks():
    lengths = (3, 5, 4, 8, 2, 6, 7)
    cells = distinct_values((sum(lengths), 4), "int32", 1)
    values = put_array({}, cells, chunks=(lengths, 2))
    with dask.config.set({"array.chunk-size": "160 B"}):
        array = from_zarr(values, chunks=("auto", -1))
        assert {0, *itertools.accumulate(array.chunks[0])} <= {0, *itertools.accumulate(lengths)}


@pytest.mark.parametrize("chunks", [(5, 5), -1, (1, 7), ((1, 5), (6, 1)), {0: 4}, ("auto", 2)], ids=str)
def test_any_cut_reads_the_same(chunks):
    array = from_zarr(put_array({}), chunks=chunks)
    same(array.compute(), CELLS)
    same((array + 0).compute(), CELLS)


SLICES = [
    (slice(1, 3), slice(2, 4)),
    (slice(2, 6), slice(3, 6)),
    (slice(5, 6), slice(6, 7)),
    (slice(None, None, 2), slice(None, None, -2)),
    (3, slice(None)),
    (slice(None), -1),
    (4, 5),
    (slice(3, 3), slice(None)),
    ([0, 3, 5], slice(1, 6)),
    (slice(None), np.arange(7) % 2 == 0),
]


@pytest.mark.parametrize("slices", SLICES, ids=str)
def test_slices(slices):
    array = from_zarr(put_array({}))
    expected = np.asarray(CELLS[slices])
    same(array[slices].compute(), expected)
    same((array[slices] + np.int16(0)).compute(), expected)


def test_slices_of_slices_keep_the_edges():
    array = from_zarr(put_array({}))
    part = array[1:5][:, 1:][1:, 1:5]
    assert part.chunks == ((3,), (1, 3))
    same(part.compute(), CELLS[2:5, 2:6])


def test_other_operations():
    array = from_zarr(put_array({}))
    assert array.sum().compute() == CELLS.sum()
    same((array + array[::-1]).compute(), CELLS + CELLS[::-1])
    same(array.T.compute(), CELLS.T)
    same(array.rechunk((4, 4)).compute(), CELLS)
    assert pickle.loads(pickle.dumps(array)).name == array.name


# ---- what is written and read


@pytest.fixture(params=["mapping", "local"])
def store(request, tmp_path):
    return RecordingStore(MappingStore({}) if request.param == "mapping" else LocalStore(str(tmp_path)))


@pytest.mark.parametrize("compressors", [None, "zstd"])
def test_each_chunk_is_set_once_and_got_once(store, compressors):
    put_array(store, CELLS + 1, compressors=compressors)
    assert sorted(store.keys("set")) == [*KEYS, "zarr.json"]
    array = from_zarr(store)
    for read in (array, array + np.int16(0)):
        store.clear()
        same(read.compute(), CELLS + 1)
        assert sorted(store.keys(*READS)) == KEYS
        assert len(store.requests) == 6
    store.clear()
    same(array[1:3, 4:6].compute(), CELLS[1:3, 4:6] + 1)
    assert sorted(store.keys()) == ["c/0/1", "c/1/1"]
    store.clear()
    same(array[2:].compute(), CELLS[2:] + 1)
    assert sorted(store.keys()) == ["c/1/0", "c/1/1", "c/1/2"]


def test_chunks_are_stored_with_their_own_shape():
    values = put_array({}, CELLS + 1, chunks=((2, 4), (3, 4)))
    for (i, rows), (j, columns) in itertools.product(enumerate([(0, 2), (2, 6)]), enumerate([(0, 3), (3, 7)])):
        assert values[f"c/{i}/{j}"] == (CELLS + 1)[slice(*rows), slice(*columns)].tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_chunk_that_hangs_over_the_edge_is_stored_whole(order):
    transpose = {"name": "transpose", "configuration": {"order": [1, 0]}}
    codecs = [LITTLE] if order == "C" else [transpose, LITTLE]
    values = stored((5, 3), [2, 4, 9], 2, codecs=codecs)
    cells = distinct_values((5, 3), "int16", 1)
    to_zarr(da.from_array(cells, chunks=((2, 3), (2, 1))), values, mode="r+")
    assert sorted(values) == ["c/0/0", "c/0/1", "c/1/0", "c/1/1", "zarr.json"]
    padded = np.zeros((4, 2), "i2")
    padded[:3, :1] = cells[2:, 2:]
    assert values["c/1/1"] == padded.tobytes(order)
    values["c/2/0"] = values["c/2/1"] = b"outside, and never looked at"
    array = from_zarr(values)
    same(array.compute(), cells)
    same(array[4:, 1:].compute(), cells[4:, 1:])


@pytest.mark.parametrize(
    ("encoding", "keys"),
    [
        ({"name": "v2", "configuration": {"separator": "."}}, ["0.0", "0.1", "1.0", "1.1"]),
        ({"name": "default", "configuration": {"separator": "."}}, ["c.0.0", "c.0.1", "c.1.0", "c.1.1"]),
    ],
)
def test_keys_are_those_of_the_encoding(encoding, keys):
    values = stored((6, 7), [2, 4], [3, 4], encoding=encoding)
    to_zarr(da.from_array(CELLS + 1, chunks=((2, 4), (3, 4))), values, mode="r+")
    assert sorted(set(values) - {"zarr.json"}) == keys
    same(from_zarr(values).compute(), CELLS + 1)


def test_chunks_of_fill_are_left_out_and_absent_ones_read_as_fill():
    cells = CELLS + 1
    cells[2:, 3:6] = 0
    values = put_array({}, cells)
    assert sorted(values) == [*(key for key in KEYS if key != "c/1/1"), "zarr.json"]
    same(from_zarr(values).compute(), cells)
    strict = from_zarr(values, missing="error")
    same(strict[:2].compute(), cells[:2])
    with pytest.raises(MissingChunkError) as caught:
        strict[1:3, 3:5].compute()
    assert caught.value.chunk_key == "c/1/1"
    assert "c/1/1" in put_array({}, cells, write_empty_chunks=True)


@pytest.mark.parametrize("size", [0, 23, 25, 100])
@pytest.mark.parametrize("how", [slice(2, 6), slice(3, 4)], ids=["whole", "part"])
def test_a_chunk_of_another_size_is_an_error(size, how):
    values = put_array({}, CELLS + 1)
    values["c/1/0"] = b"\1" * size
    with pytest.raises(CodecError) as caught:
        from_zarr(values)[how, 0:3].compute()
    assert caught.value.chunk_key == "c/1/0"


def test_what_was_stored_can_be_given_back():
    for compute in (True, False):
        found = to_zarr(da.from_array(CELLS, chunks=CHUNKS), {}, return_stored=True, compute=compute)
        assert found.chunks == CHUNKS
        same(found.compute(), CELLS)


def test_lengths_of_stored_chunks_may_be_given():
    values = put_array({}, chunks=((6,), (6, 1)))
    assert from_zarr(values).chunks == ((6,), (6, 1))
    values = {}
    to_zarr(da.from_array(CELLS, chunks=((6,), (6, 1))), values, chunks=((2, 4), 3))
    assert grid_of(values) == rectilinear([2, 4], 3)
    same(from_zarr(values).compute(), CELLS)
    stored_array = create_array({}, shape=(6, 7), chunks=((2, 4), (3, 3, 1)), dtype="i2")
    assert stored_array.metadata.chunk_grid.counts == (2, 3)


@pytest.mark.parametrize("chunks", [((0, 2, 4), (7,)), ((2, 0, 4), (3, 4)), ((2, 4, 0), (7, 0))], ids=str)
def test_blocks_without_cells(chunks):
    values = put_array({}, chunks=chunks)
    same(from_zarr(values).compute(), CELLS)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_arrays_without_cells(shape):
    for entry in ([3, 5], [[1, 9]], 4):
        values = stored(shape, *[entry for _ in shape])
        array = from_zarr(values)
        assert array.shape == shape
        assert array.compute().shape == shape
        assert open_array(values).metadata.chunk_grid.chunk_count == 0
        to_zarr(da.zeros(shape, dtype="i2"), values, mode="r+")
        assert sorted(values) == ["zarr.json"]


# ---- regions


def test_regions_along_the_edges_are_written(store):
    put_array(store)
    expected = CELLS.copy()
    expected[2:, 3:] = -CELLS[2:, 3:]
    store.clear()
    part = da.from_array(expected[2:, 3:], chunks=(4, (3, 1)))
    to_zarr(part, store, mode="r+", region=(slice(2, 6), slice(3, None)))
    assert sorted(store.keys("set")) == ["c/1/1", "c/1/2"]
    same(from_zarr(store).compute(), expected)


def test_blocks_of_several_chunks_are_written(store):
    put_array(store, CELLS * 0 + 1)
    store.clear()
    to_zarr(da.from_array(CELLS + 1, chunks=(6, (6, 1))), store, mode="r+")
    assert sorted(store.keys("set")) == KEYS
    same(from_zarr(store).compute(), CELLS + 1)


SHARING = [(1, 7), (3, 7), ((4, 2), (7,)), (6, 2), (6, (3, 2, 2)), ((2, 3, 1), (7,))]


@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_blocks_that_share_a_chunk_are_refused_if_that_is_asked_for(chunks):
    values = put_array({})
    before = dict(values)
    with pytest.raises(AlignmentError) as caught:
        to_zarr(da.from_array(CELLS + 1, chunks=chunks), values, mode="r+", align="error")
    assert values == before
    again = da.from_array(CELLS + 1, chunks=chunks).rechunk(rechunking_in(caught.value))
    to_zarr(again, values, mode="r+", align="error")
    same(from_zarr(values).compute(), CELLS + 1)


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_a_chunk_that_blocks_share_is_written_once_and_not_read(store, chunks, align):
    put_array(store)
    store.clear()
    to_zarr(da.from_array(CELLS + 1, chunks=chunks), store, mode="r+", align=align)
    assert sorted(store.keys("set")) == KEYS
    assert store.keys(*READS) == ["zarr.json"]
    same(from_zarr(store).compute(), CELLS + 1)


CUTTING = [
    (slice(1, 6), slice(None)),
    (slice(0, 5), slice(None)),
    (slice(2, 6), slice(4, 7)),
    (slice(3, 4), slice(1, 2)),
    (slice(1, 3), slice(2, 4)),
]


@pytest.mark.parametrize("region", CUTTING, ids=str)
def test_regions_that_cut_a_chunk_are_refused_if_that_is_asked_for(region):
    values = put_array({})
    before = dict(values)
    with pytest.raises(AlignmentError, match="widen the region"):
        to_zarr(da.from_array(CELLS[region], chunks=-1), values, mode="r+", region=region, align="error")
    assert values == before


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", [-1, (2, 3), 1], ids=str)
@pytest.mark.parametrize("region", CUTTING, ids=str)
def test_regions_that_cut_a_chunk_keep_the_cells_around_them(store, region, chunks, align):
    put_array(store)
    store.clear()
    expected = CELLS.copy()
    expected[region] = -1 - CELLS[region]
    to_zarr(da.from_array(expected[region], chunks=chunks), store, mode="r+", region=region, align=align)
    same(from_zarr(store).compute(), expected)
    rows, columns = (slice(0, 2), slice(2, 6)), (slice(0, 3), slice(3, 6), slice(6, 7))
    boxes = dict(zip(KEYS, itertools.product(rows, columns), strict=True))
    changed = {key for key, box in boxes.items() if (expected[box] != CELLS[box]).any()}
    cut = {key for key in changed if (expected[boxes[key]] == CELLS[boxes[key]]).any()}
    store.clear()
    to_zarr(da.from_array(expected[region], chunks=chunks), store, mode="r+", region=region, align=align)
    assert sorted(store.keys("set")) == sorted(changed)
    assert sorted(store.keys(*READS)) == [*sorted(cut), "zarr.json"]
    same(from_zarr(store).compute(), expected)


def test_the_rechunking_that_is_named_fits_the_region():
    lengths = (2, 3, 5, 4)
    cells = distinct_values((14, 4), "int16", 1)
    values = put_array({}, cells, chunks=(lengths, (4,)))
    region = (slice(5, 14), slice(None))
    array = da.from_array(-cells[region], chunks=((3, 6), (4,)))
    with pytest.raises(AlignmentError) as caught:
        to_zarr(array, values, mode="r+", region=region, align="error")
    to_zarr(array.rechunk(rechunking_in(caught.value)), values, mode="r+", region=region, align="error")
    expected = cells.copy()
    expected[region] *= -1
    same(from_zarr(values).compute(), expected)
    for align in ("merge", "rechunk"):
        values = put_array({}, cells, chunks=(lengths, (4,)))
        to_zarr(array, values, mode="r+", region=region, align=align)
        same(from_zarr(values).compute(), expected)


# ---- very many chunks

MANY = 10**12


def test_a_run_of_very_many_chunks_is_a_few_numbers():
    grid = RectilinearGrid((3 * MANY + 5,), (((3, MANY), (7, 1)),))
    assert grid.counts == (MANY + 1,)
    assert grid.box((MANY,)) == Box((3 * MANY,), (3 * MANY + 5,))
    assert grid.single(Box((3 * MANY,), (3 * MANY + 5,))) == (MANY,)
    assert [part.chunk for part in grid.project(Box((3 * MANY - 4,), (3 * MANY + 1,)))] == [
        (MANY - 2,),
        (MANY - 1,),
        (MANY,),
    ]
    assert len(pickle.dumps(grid)) < 500


@pytest.fixture
def few_looks(monkeypatch):
    """An error where edges are looked at one after the other: it would take for ever."""
    looks = itertools.count()

    def counted(ask):
        def look(*args):
            assert next(looks) < 100_000, "every edge is looked at"
            return ask(*args)

        return look

    for name in ("bounds", "find"):
        monkeypatch.setattr(Edges, name, counted(getattr(Edges, name)))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("chunks", [None, "auto", (-1, 1)], ids=str)
@pytest.mark.parametrize("entry", [[[3, MANY]], 3], ids=["a run", "equal steps"])
def test_an_array_of_very_many_chunks_is_opened_and_read(entry, chunks, few_looks, monkeypatch):
    monkeypatch.setattr("daskzarr.read._MOST_BLOCKS", 2**12)
    values = stored((3 * MANY, 2), entry, [1, 1])
    values[f"c/{MANY - 1}/1"] = np.array([7, 8, 9], "<i2").tobytes()
    with warnings.catch_warnings(), dask.config.set({"array.chunk-size": "1 TiB"}):
        warnings.simplefilter("ignore", PerformanceWarning)
        array = from_zarr(values, chunks=chunks)
    assert array.numblocks[0] <= 2**13
    assert array[-2:].compute().tolist() == [[0, 8], [0, 9]]


@pytest.mark.timeout(20)
def test_a_region_of_an_array_of_very_many_chunks_is_written_and_read(few_looks):
    values = stored((3 * MANY,), [[3, MANY]])
    part = da.from_array(np.arange(1, 10, dtype="i2"), chunks=3)
    to_zarr(part, values, mode="r+", region=slice(3 * MANY - 9, None))
    assert values[f"c/{MANY - 1}"] == np.array([7, 8, 9], "<i2").tobytes()
    handle = ArrayHandle.of(open_array(values))
    assert read_box(handle, Box((3 * MANY - 4,), (3 * MANY - 2,))).tolist() == [6, 7]


@pytest.mark.timeout(20)
def test_blocks_that_share_one_of_very_many_chunks_are_refused_at_once_if_that_is_asked_for(few_looks):
    values = stored((3 * MANY,), [[3, MANY]])
    part = da.from_array(np.arange(1, 10, dtype="i2"), chunks=2)
    before = dict(values)
    with pytest.raises(AlignmentError):
        to_zarr(part, values, mode="r+", region=slice(3 * MANY - 9, None), align="error")
    assert values == before


@pytest.mark.timeout(20)
@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("start", [3 * MANY - 9, 3 * MANY - 11, MANY, 1])
def test_blocks_that_share_some_of_very_many_chunks_are_written_at_once(few_looks, align, start):
    values = stored((3 * MANY,), [[3, MANY]])
    part = da.from_array(np.arange(1, 10, dtype="i2"), chunks=2)
    to_zarr(part, values, mode="r+", region=slice(start, start + 9), align=align)
    handle = ArrayHandle.of(open_array(values))
    around = Box((max(start - 4, 0),), (min(start + 12, 3 * MANY),))
    expected = np.zeros(around.shape, "i2")
    expected[start - around.start[0] :][:9] = range(1, 10)
    same(read_box(handle, around), expected)
    assert len(values) == 1 + len({cell // 3 for cell in range(start, start + 9)})


def test_many_listed_chunks_are_read():
    lengths = [n % 3 + 1 for n in range(3000)]
    values = stored((sum(lengths),), lengths)
    cells = distinct_values((sum(lengths),), "int16", 1)
    for i, (start, stop) in enumerate(bounds_of(lengths, sum(lengths))):
        values[f"c/{i}"] = cells[start:stop].tobytes()
    same(from_zarr(values, chunks="auto").compute(), cells)
    same(from_zarr(values, chunks=-1)[1000:1010].compute(), cells[1000:1010])


# ---- any array, any edges, any slices


@settings(deadline=None, max_examples=40)
@given(grids(), st.data())
def test_any_array_is_read_and_written(drawn, data):
    grid, lengths = drawn
    entries = [given if isinstance(given, int) else [list(run) for run in given] for given in grid.chunk_shapes]
    cells = distinct_values(grid.shape, "int16", 1)
    values = stored(grid.shape, *entries)
    for index in np.ndindex(*grid.counts):
        whole = np.full([axis[i] for axis, i in zip(lengths, index, strict=True)], -1, "<i2")
        part = cells[grid.box(index).slices]
        whole[tuple(map(slice, part.shape))] = part
        values["/".join(["c", *map(str, index)])] = whole.tobytes()
    array = from_zarr(values)
    with dask.config.set(scheduler="sync"):
        same(array.compute(), cells)
        same((array + np.int16(0)).compute(), cells)
        for _ in range(2):
            slices = tuple(data.draw(st.slices(n)) for n in grid.shape)
            same(array[slices].compute(), cells[slices])
        again, changed = dict(values), cells + np.int16(1)
        to_zarr(da.from_array(changed, chunks=array.chunks), again, mode="r+", write_empty_chunks=True)
        same(from_zarr(again).compute(), changed)
        assert {key: len(value) for key, value in again.items()} == {key: len(value) for key, value in values.items()}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_dask_chunks_are_stored_as_they_are(data):
    chunks = data.draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=3))
    shape = tuple(map(sum, chunks))
    cells = distinct_values(shape, "int16", 1)
    values = {}
    with dask.config.set(scheduler="sync"):
        to_zarr(da.from_array(cells, chunks=tuple(chunks)), values, compressors=None, write_empty_chunks=True)
        same(from_zarr(values).compute(), cells)
    sizes = sorted(2 * int(np.prod(block)) for block in itertools.product(*chunks))
    found = sorted(len(value) for key, value in values.items() if key != "zarr.json")
    assert len(found) == len(sizes)
    assert all(a >= b for a, b in zip(found, sizes, strict=True))  # an axis of equal steps is padded at its end
