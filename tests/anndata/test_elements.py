"""Elements of AnnData, written here as the on-disk format has them, read as dask arrays and compared with SciPy."""

import pickle
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

from daskzarr import (
    CodecError,
    MetadataError,
    MissingChunkError,
    NodeNotFoundError,
    UnsupportedError,
    consolidate,
    create_array,
    create_group,
    delete_node,
    from_zarr,
    open_group,
    to_zarr,
    update_attributes,
)
from daskzarr.anndata import open_element
from daskzarr.regions import reads_from
from daskzarr.stores import LocalStore, MappingStore, locate
from daskzarr.testing import READS, RecordingStore

ROWS, COLUMNS = 41, 23


def some_matrix(kind="csr", shape=(ROWS, COLUMNS), dtype="float32", density=0.3, seed=1):
    """A matrix whose entries are all distinct where the dtype allows it; its rows 5 to 7 are empty."""
    rng = np.random.default_rng(seed)
    cells = rng.random(shape) < density
    cells[5:8] = False
    values = np.zeros(shape, dtype)
    values[cells] = (rng.permutation(int(cells.sum())) + 1).astype(dtype)
    return sparse.csr_matrix(values).asformat(kind)


def put(place, path, cells, zarr_format=3, **options):
    """Store one array, by zero chunks if it has no cells."""
    cells = np.asarray(cells)
    options.setdefault("chunks", (7,) * cells.ndim)
    array = create_array(place, path, shape=cells.shape, dtype=cells.dtype, zarr_format=zarr_format, **options)
    if cells.size:
        to_zarr(da.from_array(cells), array, mode="r+", journal=False)


def attributes_of(matrix):
    kind = "csr_matrix" if matrix.format == "csr" else "csc_matrix"
    return {"encoding-type": kind, "encoding-version": "0.1.0", "shape": list(matrix.shape)}


def put_matrix(place, matrix, path="X", zarr_format=3, indices="int32", indptr="int32", **options):
    """Store a matrix of SciPy's as AnnData does."""
    create_group(place, path, attributes=attributes_of(matrix), zarr_format=zarr_format)
    put(place, f"{path}/data", matrix.data, zarr_format, **options)
    put(place, f"{path}/indices", matrix.indices.astype(indices), zarr_format, **options)
    put(place, f"{path}/indptr", matrix.indptr.astype(indptr), zarr_format)


def assert_same(array, matrix):
    """The array has the cells of the matrix, all blocks are of its class, and their types are those that are told."""
    assert array.shape == matrix.shape
    assert array.dtype == matrix.dtype
    blocks = dask.compute(*array.to_delayed().ravel(), scheduler="sync")
    for block, shape in zip(blocks, np.ndindex(*array.numblocks), strict=True):
        assert type(block) is type(array._meta)
        assert block.dtype == matrix.dtype
        assert block.shape == tuple(lengths[i] for lengths, i in zip(array.chunks, shape, strict=True))
        if sparse.issparse(block):
            block.check_format(full_check=True)
    whole = array.compute(scheduler="sync")
    assert_array_equal(whole.toarray() if sparse.issparse(whole) else whole, matrix.toarray())


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "complex64"])
def test_cells_are_those_of_scipy(kind, dtype, zarr_format):
    matrix = some_matrix(kind, dtype=dtype)
    put_matrix(store := {}, matrix, zarr_format=zarr_format)
    major = 0 if kind == "csr" else 1
    for chunks in (None, "auto", -1, 1, 6, (6, -1) if major == 0 else (-1, 6), {major: 40}):
        assert_same(open_element(store, "X", chunks=chunks), matrix)


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize(
    ("blocks", "name"), [("matrix", "matrix"), ("array", "array"), ("dense", None)], ids=lambda value: str(value)
)
def test_blocks_are_of_the_class_asked_for(kind, blocks, name):
    matrix = some_matrix(kind)
    put_matrix(store := {}, matrix)
    array = open_element(store, "X", chunks=9, blocks=blocks)
    wanted = np.ndarray if name is None else getattr(sparse, f"{kind}_{name}")
    assert type(array._meta) is wanted
    assert array._meta.shape == (0, 0)
    assert_same(array, matrix)


@pytest.mark.parametrize("indices", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("indptr", ["uint16", "int32", "int64", "uint64"])
def test_integers_of_every_width(indices, indptr):
    matrix = some_matrix()
    put_matrix(store := {}, matrix, indices=indices, indptr=indptr)
    assert_same(open_element(store, "X", chunks=10), matrix)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (12, 9)])
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_matrices_without_entries(kind, shape):
    matrix = sparse.csr_matrix(shape, dtype="int16").asformat(kind)
    put_matrix(store := {}, matrix)
    for chunks in (None, 4):
        assert_same(open_element(store, "X", chunks=chunks), matrix)


def test_entries_in_any_order_and_more_than_once():
    parts = np.array([1, 2, 3, 4, 5], "f8"), np.array([4, 1, 0, 2, 2]), np.array([0, 3, 3, 5])
    matrix = sparse.csr_matrix(parts, shape=(3, 5))
    put_matrix(store := {}, matrix)
    assert open_element(store, "X", chunks=2).compute().toarray().tolist() == matrix.toarray().tolist()
    assert open_element(store, "X", blocks="dense").compute()[2].tolist() == [0, 0, 9, 0, 0]


@pytest.mark.parametrize("options", [{"chunks": 5, "shards": 40}, {"chunks": 4000}, {"compressors": None}])
def test_arrays_stored_otherwise(tmp_path, options):
    options = {name: n if n is None else (n,) for name, n in options.items()}
    matrix = some_matrix()
    put_matrix(tmp_path, matrix, **options)
    assert_same(open_element(tmp_path, "X", chunks=4), matrix)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_matrix(data):
    shape = data.draw(st.tuples(st.integers(0, 12), st.integers(0, 12)))
    cells = data.draw(st.lists(st.integers(-3, 3), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    kind = data.draw(st.sampled_from(["csr", "csc"]))
    matrix = sparse.csr_matrix(np.array(cells, "int32").reshape(shape)).asformat(kind)
    options = {"chunks": (data.draw(st.integers(1, 9)),)}
    put_matrix(store := {}, matrix, zarr_format=data.draw(st.sampled_from([2, 3])), **options)
    rows = data.draw(st.integers(1, 14))
    array = open_element(store, "X", chunks=rows, blocks=data.draw(st.sampled_from(["matrix", "array", "dense"])))
    assert max(array.chunks[0 if kind == "csr" else 1]) <= rows
    assert_same(array, matrix)


def test_indptr_is_read_in_pieces(monkeypatch):
    from daskzarr.anndata import compressed

    matrix = some_matrix(shape=(400, 9))
    store = RecordingStore(MappingStore({}))
    put_matrix(store, matrix)
    for at_once, huge in ((1, 7), (20, 7), (20, 6), (100, 6), (401, 7), (1, 2)):
        monkeypatch.setattr(compressed, "_AT_ONCE", at_once)
        monkeypatch.setattr(compressed, "_HUGE", huge)
        store.clear()
        array = open_element(store, "X", chunks=37)
        if huge == 7:
            assert store.keys(*READS).count("X/indptr/c/5") == 1
        assert_same(array, matrix)


# Chunks


def test_blocks_of_given_lengths():
    matrix = some_matrix()
    put_matrix(store := {}, matrix)
    for chunks in (((11, 0, 30), -1), ((11, 0, 30), (COLUMNS,)), [(11, 0, 30), None], {0: (11, 0, 30)}):
        array = open_element(store, "X", chunks=chunks)
        assert array.chunks == ((11, 0, 30), (COLUMNS,))
        assert_same(array, matrix)
    assert open_element(store, "X", chunks=("auto", -1)).chunks == open_element(store, "X").chunks


@pytest.mark.parametrize("chunks", [(10, 10), (10,), (10, 10, 10), 0, (0, -1)])
def test_chunks_that_cannot_be(chunks):
    put_matrix(store := {}, some_matrix())
    with pytest.raises(MetadataError, match="chunks") as caught:
        open_element(store, "X", chunks=chunks)
    assert caught.value.node == "X"


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_usual_blocks_are_near_the_chunk_size_when_dense(kind):
    matrix = sparse.random(6_000, 2_000, 0.3, "csr", "f4", np.random.default_rng(3))
    matrix = matrix if kind == "csr" else matrix.T
    put_matrix(store := {}, matrix, chunks=(100_000,))
    major = 0 if kind == "csr" else 1
    many = open_element(store, "X")
    assert 8 * 2**20 * 0.9 < max(many.chunks[major]) * 2_000 * 4 <= 8 * 2**20
    with dask.config.set({"array.chunk-size": "2 MiB"}):
        assert max(open_element(store, "X").chunks[major]) * 2_000 * 4 <= 2 * 2**20


def test_usual_blocks_hold_a_mebibyte_where_little_is_stored():
    parts = np.ones(300_000), np.tile(np.arange(100, dtype="i4"), 3_000), np.arange(0, 300_001, 100, dtype="i4")
    wide = sparse.csr_matrix(parts, shape=(3_000, 2**24))
    put_matrix(store := {}, wide, chunks=(50_000,))
    lengths = open_element(store, "X").chunks[0]
    assert lengths[0] == 2**20 // (100 * 12)


# What is read


@pytest.mark.parametrize("local", [False, True])
def test_a_task_reads_the_chunks_of_its_rows_and_nothing_else(tmp_path, local):
    store = RecordingStore(LocalStore(str(tmp_path)) if local else MappingStore({}))
    matrix = some_matrix(shape=(200, 30))
    put_matrix(store, matrix, chunks=(16,))
    store.clear()
    array = open_element(store, "X", chunks=30, zarr_format=3)
    assert sorted(key for key in store.keys(*READS) if key.endswith(".json")) == [
        "X/data/zarr.json",
        "X/indices/zarr.json",
        "X/indptr/zarr.json",
        "X/zarr.json",
    ]
    assert {key.rsplit("/c/")[0] for key in store.keys(*READS) if "/c/" in key} == {"X/indptr"}
    assert len([key for key in store.keys(*READS) if "/c/" in key]) == -(-201 // 7)
    for number in range(7):
        store.clear()
        array.blocks[number].compute(scheduler="sync")
        first, last = matrix.indptr[30 * number], matrix.indptr[min(30 * number + 30, 200)]
        wanted = range(first // 16, -(-last // 16))
        assert sorted(store.keys(*READS)) == sorted(f"X/{name}/c/{i}" for name in ("data", "indices") for i in wanted)
        assert 0 < len(wanted) < 0.25 * matrix.nnz / 16


def test_a_block_of_empty_rows_reads_nothing():
    store = RecordingStore(MappingStore({}))
    put_matrix(store, some_matrix())
    array = open_element(store, "X", chunks=((5, 3, 33), -1))
    store.clear()
    assert array.blocks[1].compute(scheduler="sync").nnz == 0
    assert store.requests == []


def test_parts_of_shards_are_read(tmp_path):
    store = RecordingStore(LocalStore(str(tmp_path)))
    matrix = some_matrix(shape=(2_000, 30))
    put_matrix(store, matrix, chunks=(50,), shards=(20_000,), compressors=None)
    array = open_element(store, "X", chunks=20)
    store.clear()
    assert_array_equal(array.blocks[40].compute(scheduler="sync").toarray(), matrix[800:820].toarray())
    assert set(store.count()) <= {"get_ranges", "get_range", "get_suffix", "size", "version"}


def test_one_task_a_block_with_what_its_rows_need():
    matrix = some_matrix(shape=(5_000, 40))
    put_matrix(store := {}, matrix, chunks=(1000,))
    array = open_element(store, "X", chunks=250)
    graph = dict(array.__dask_graph__())
    assert len(graph) == 20
    fused = array.map_blocks(lambda block: block * 2, meta=array._meta)
    (optimized,) = dask.optimize(fused)
    assert len(dict(optimized.__dask_graph__())) == 20
    assert_array_equal(fused.compute().toarray(), 2 * matrix.toarray())
    (lengths,) = [arg.value for arg in graph[array.name, 3, 0].args if isinstance(getattr(arg, "value", 0), np.ndarray)]
    assert lengths.dtype == "uint8"
    assert_array_equal(lengths, np.diff(matrix.indptr)[750:1000])


def test_tasks_are_small(tmp_path):
    put_matrix(tmp_path, some_matrix(shape=(20_000, 40), density=0.05), chunks=(20_000,))
    array = open_element(tmp_path, "X", chunks=1000)
    tasks = dict(array.__dask_graph__())
    assert max(len(pickle.dumps(task)) for task in tasks.values()) < 1000 + 2500


def test_names_are_those_of_what_is_read(tmp_path):
    put_matrix(tmp_path, some_matrix())
    name = open_element(tmp_path, "X", chunks=5).name
    assert open_element(tmp_path, "X", chunks=5).name == name
    assert open_element(tmp_path, "X", chunks=6).name != name
    assert open_element(tmp_path, "X", chunks=5, blocks="array").name != name
    to_zarr(da.from_array(some_matrix().data + 1), tmp_path, "X/data", mode="r+")
    assert open_element(tmp_path, "X", chunks=5).name != name
    assert_array_equal(open_element(tmp_path, "X", chunks=5).compute().data, some_matrix().data + 1)


def test_it_is_known_from_where_it_is_read(tmp_path):
    put_matrix(tmp_path, some_matrix())
    array = open_element(tmp_path, "X", chunks=5)
    for each in (array, array + array, *dask.optimize(array.map_blocks(abs, meta=array._meta))):
        assert reads_from(each, locate(tmp_path, "X"))
        assert not reads_from(each, locate(tmp_path, "Y"))


def test_a_dense_copy_of_a_sparse_element_is_written(tmp_path):
    matrix = some_matrix()
    put_matrix(tmp_path, matrix)
    to_zarr(open_element(tmp_path, "X", chunks=10, blocks="dense") * 2, tmp_path, "Y", chunks=(10, 10))
    assert_array_equal(from_zarr(tmp_path, "Y").compute(), 2 * matrix.toarray())


def test_slices_sums_and_products():
    matrix = some_matrix(dtype="float64")
    put_matrix(store := {}, matrix)
    array = open_element(store, "X", chunks=9)
    assert_array_equal(array[3:30].compute().toarray(), matrix[3:30].toarray())
    assert_array_equal(array[:, [1, 4]].compute().toarray(), matrix[:, [1, 4]].toarray())
    dense = open_element(store, "X", chunks=9, blocks="dense")
    assert_array_equal(dense.sum(axis=0).compute(), np.asarray(matrix.sum(axis=0)).ravel())


# Opening


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dense_elements_are_read_by_from_zarr(zarr_format):
    cells = np.arange(41 * 23, dtype="i4").reshape(41, 23)
    about = {"encoding-type": "array", "encoding-version": "0.2.0"}
    put(store := {}, "X", cells, zarr_format, attributes=about)
    array = open_element(store, "X", chunks=(20, -1))
    assert array.chunks == ((20, 20, 1), (23,))
    assert array.name == from_zarr(store, "X", chunks=(20, -1)).name
    assert_array_equal(array.compute(), cells)
    names = np.array([f"cell {n}" * (n % 3) for n in range(41)], object)
    to_zarr(da.from_array(names, chunks=7), store, "obs/_index", zarr_format=zarr_format)
    update_attributes(store, {"encoding-type": "string-array", "encoding-version": "0.2.0"}, "obs/_index")
    assert open_element(store, "obs/_index").compute().tolist() == names.tolist()


def test_what_says_nothing_is_a_dense_element():
    put(store := {}, "X", np.arange(5))
    assert_array_equal(open_element(store, "X").compute(), np.arange(5))


def test_places_of_all_kinds(tmp_path):
    matrix = some_matrix()
    create_group(tmp_path)
    put_matrix(tmp_path, matrix, "layers/counts")
    group = open_group(tmp_path)
    for place in [
        (tmp_path, "layers/counts"),
        (f"file://{tmp_path}", "layers/counts"),
        (str(tmp_path / "layers" / "counts"),),
        (group, "layers/counts"),
        (group["layers"], "counts"),
        (group["layers/counts"],),
    ]:
        assert_same(open_element(*place, chunks=20), matrix)
    assert_array_equal(open_element(group["layers/counts/data"]).compute(), matrix.data)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_take_one_request(zarr_format):
    store = RecordingStore(MappingStore({}))
    create_group(store, zarr_format=zarr_format)
    put_matrix(store, some_matrix(), "raw/X", zarr_format)
    consolidate(store)
    store.clear()
    array = open_element(store, "raw/X", consolidated=True, zarr_format=zarr_format)
    documents = [key for key in store.keys(*READS) if "indptr/" not in key]
    assert documents == ["zarr.json" if zarr_format == 3 else ".zmetadata"]
    assert_same(array, some_matrix())


def test_the_layout_of_before_encodings():
    matrix = some_matrix("csc")
    put_matrix(store := {}, matrix, zarr_format=2)
    create_group(store, "Y", attributes={"h5sparse_format": "csc", "h5sparse_shape": list(matrix.shape)}, zarr_format=2)
    for name in ("data", "indices", "indptr"):
        put(store, f"Y/{name}", getattr(matrix, name), 2)
    assert_same(open_element(store, "Y", chunks=4), matrix)


# Refusals


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("categorical", "'codes' and 'categories'"),
        ("nullable-integer", "'values' and 'mask'"),
        ("nullable-boolean", "'values' and 'mask'"),
        ("nullable-string-array", "'values' and 'mask'"),
        ("dataframe", "columns"),
        ("anndata", "'X'"),
        ("raw", "'X'"),
        ("dict", "elements"),
        ("awkward-array", "component="),
    ],
)
def test_groups_of_other_encodings_are_refused_by_name(name, hint):
    create_group(store := {}, "obs", attributes={"encoding-type": name, "encoding-version": "0.1.0"})
    with pytest.raises(UnsupportedError, match=f"'{name}'.*{hint}") as caught:
        open_element(store, "obs")
    assert (caught.value.node, caught.value.field) == ("obs", "encoding-type")


def test_other_things_are_refused():
    create_group(store := {}, "a")
    with pytest.raises(UnsupportedError, match="no encoding-type"):
        open_element(store, "a")
    put(store, "b", np.arange(3), attributes={"encoding-type": "null", "encoding-version": "0.1.0"})
    with pytest.raises(UnsupportedError, match="'null'"):
        open_element(store, "b")
    put(store, "c", np.arange(3), attributes={"encoding-type": "array", "encoding-version": "9"})
    with pytest.raises(UnsupportedError, match="'9' for 'array'"):
        open_element(store, "c")
    create_group(store, "d", attributes={"h5sparse_format": "coo", "h5sparse_shape": [1, 1]})
    with pytest.raises(UnsupportedError, match="coo"):
        open_element(store, "d")
    with pytest.raises(NodeNotFoundError):
        open_element(store, "e")


@pytest.mark.parametrize("option", ["blocks", "missing", "consolidated"])
def test_options_that_cannot_be(option):
    put_matrix(store := {}, some_matrix())
    with pytest.raises(MetadataError, match=option):
        open_element(store, "X", **{option: "COO"})


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("shape", None, MetadataError),
        ("shape", [3], MetadataError),
        ("shape", [ROWS, COLUMNS, 1], MetadataError),
        ("shape", [-1, COLUMNS], MetadataError),
        ("shape", [ROWS, 2.5], MetadataError),
        ("shape", [ROWS, True], MetadataError),
        ("shape", [ROWS, 2**64], MetadataError),
        ("shape", "4 x 5", MetadataError),
        ("encoding-type", 5, MetadataError),
        ("encoding-version", 0.1, MetadataError),
        ("encoding-version", "0.2.0", UnsupportedError),
        ("encoding-version", None, UnsupportedError),
    ],
)
def test_attributes_that_cannot_be(field, value, error):
    put_matrix(store := {}, some_matrix())
    update_attributes(store, {field: value}, "X")
    with pytest.raises(error, match=field) as caught:
        open_element(store, "X")
    assert (caught.value.node, caught.value.field) == ("X", field)


@pytest.mark.parametrize(
    ("shape", "field"), [([ROWS - 1, COLUMNS], "indptr"), ([COLUMNS, ROWS], "indptr"), ([0, 0], "indptr")]
)
def test_a_shape_that_does_not_fit(shape, field):
    put_matrix(store := {}, some_matrix())
    update_attributes(store, {"shape": shape}, "X")
    with pytest.raises(MetadataError, match="indptr has 42 cells") as caught:
        open_element(store, "X")
    assert (caught.value.node, caught.value.field) == ("X", field)


@pytest.mark.parametrize(
    ("name", "cells", "error", "message"),
    [
        ("data", np.arange(5.0), MetadataError, "there are 4 indices, and 5 cells of data"),
        ("indices", np.arange(3), MetadataError, "there are 3 indices, and 4 cells of data"),
        ("indices", np.arange(4.0), MetadataError, "cells of float64"),
        ("indptr", np.array([0.0, 1, 2, 4]), MetadataError, "cells of float64"),
        ("indptr", np.array([0, 2, 4]), MetadataError, "indptr has 3 cells"),
        ("data", np.zeros((2, 2)), MetadataError, "shape"),
        ("data", np.zeros(4, "float16"), UnsupportedError, "float16"),
        ("data", np.zeros(4, "M8[s]"), UnsupportedError, "datetime64"),
        ("data", np.array(["a", "b", "c", "d"], object), UnsupportedError, "object"),
        ("indptr", np.array([1, 2, 3, 4]), CodecError, r"indptr\[0\] is 1"),
        ("indptr", np.array([0, 3, 2, 4]), CodecError, r"indptr\[2\] is 2, less"),
        ("indptr", np.array([0, 3, 3, 3]), CodecError, r"indptr\[3\] is 3; the last row ends at 4"),
        ("indptr", np.array([0, 3, 5, 4]), CodecError, r"indptr\[2\] is 5"),
        ("indptr", np.array([0, -1, 3, 4]), CodecError, r"indptr\[1\] is -1"),
        ("indptr", np.array([0, 2**64 - 1, 3, 4], "u8"), CodecError, r"indptr\[1\] is 18446744073709551615"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2, 2**22])
def test_arrays_that_cannot_be(monkeypatch, name, cells, error, message, at_once):
    from daskzarr.anndata import compressed

    monkeypatch.setattr(compressed, "_AT_ONCE", at_once)
    monkeypatch.setattr(compressed, "_HUGE", 0)
    parts = {"data": np.arange(4.0) + 1, "indices": np.array([0, 4, 1, 2]), "indptr": np.array([0, 2, 2, 4])}
    create_group(store := {}, "X", attributes={**attributes_of(sparse.csr_matrix((3, 5)))})
    for each, value in {**parts, name: cells}.items():
        if value.dtype == object:
            to_zarr(da.from_array(value, chunks=7), store, f"X/{each}")
        else:
            put(store, f"X/{each}", value)
    with pytest.raises(error, match=message) as caught:
        open_element(store, "X")
    assert caught.value.field in (name, "indices")
    assert caught.value.node in ("X", f"X/{name}")
    assert caught.value.url


@pytest.mark.parametrize("name", ["data", "indices", "indptr"])
def test_an_array_that_is_not_there(name):
    put_matrix(store := {}, some_matrix())
    delete_node(store, f"X/{name}")
    with pytest.raises(NodeNotFoundError) as caught:
        open_element(store, "X")
    assert caught.value.node == f"X/{name}"
    create_group(store, f"X/{name}")
    with pytest.raises(NodeNotFoundError, match="group here"):
        open_element(store, "X")


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("blocks", ["matrix", "array", "dense"])
@pytest.mark.parametrize("wrong", [-1, 1000, 2**31 - 1, "just outside"])
def test_an_entry_outside_is_an_error_of_its_block(kind, blocks, wrong):
    matrix = some_matrix(kind)
    width = COLUMNS if kind == "csr" else ROWS
    wrong = width if wrong == "just outside" else wrong
    position = matrix.nnz - 2
    matrix.indices[position] = wrong
    put_matrix(store := {}, matrix)
    array = open_element(store, "X", chunks=15, blocks=blocks)
    array.blocks[0, 0].compute(scheduler="sync")
    with pytest.raises(CodecError, match=rf"indices\[{position}\] is {wrong}, and the matrix has {width}") as caught:
        array.compute(scheduler="sync")
    assert (caught.value.node, caught.value.field) == ("X/indices", "indices")


def test_missing_chunks_are_fill_or_an_error():
    matrix = some_matrix(dtype="int32")
    put_matrix(store := {}, matrix)
    del store["X/data/c/2"]
    changed = matrix.copy()
    changed.data[14:21] = 0
    assert_same(open_element(store, "X", chunks=5), changed)
    with pytest.raises(MissingChunkError):
        open_element(store, "X", chunks=5, missing="error").compute(scheduler="sync")
    del store["X/indptr/c/2"]
    with pytest.raises(CodecError, match=r"indptr\[14\] is 0, less"):
        open_element(store, "X")
    with pytest.raises(MissingChunkError):
        open_element(store, "X", missing="error")


def test_a_damaged_chunk_is_an_error():
    put_matrix(store := {}, some_matrix(), compressors="zstd")
    store["X/indices/c/1"] = b"\0" * 5
    array = open_element(store, "X", chunks=50)
    with pytest.raises(CodecError) as caught:
        array.compute(scheduler="sync")
    assert caught.value.chunk_key == "c/1"


WITHOUT = """
import sys
class Away:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("scipy", "anndata", "zarr"):
            raise ImportError(f"{name} is away")
sys.meta_path.insert(0, Away())
import daskzarr
from daskzarr.anndata import open_element
print(open_element(sys.argv[1], "obsm/place").sum().compute())
try:
    open_element(sys.argv[1], "X")
except daskzarr.UnsupportedError as error:
    print(error)
"""


def test_without_scipy_dense_elements_are_read_and_the_others_name_what_to_install(tmp_path):
    put_matrix(tmp_path, some_matrix())
    put(tmp_path, "obsm/place", np.arange(10))
    out = subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path)], check=True, capture_output=True, text=True)
    first, second = out.stdout.splitlines()
    assert first == "45"
    assert "pip install 'daskzarr[anndata]'" in second
