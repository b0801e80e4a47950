"""Documents of an array replaced: what changes, what stays byte for byte, and what refuses."""

import json
import threading
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype

from daskzarr import (
    MetadataError,
    NodeNotFoundError,
    StoreError,
    UnsupportedError,
    consolidate,
    create_array,
    create_group,
    delete_node,
    open_array,
    open_group,
)
from daskzarr.hierarchy.publishing import publish_metadata, with_shape
from daskzarr.rectilinear_grid import RectilinearGrid, runs_of
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import FaultyStore, RecordingStore
from daskzarr.testing.store_wrapper import StoreWrapper

every_format = pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
DOCUMENT = {2: ".zarray", 3: "zarr.json", "n5": "attributes.json"}


def resized(array, shape):
    return publish_metadata(array, with_shape(array.metadata, shape))


def rectilinear(*axes):
    """Metadata of an array whose axes have chunks of given lengths."""
    shape = tuple(map(sum, axes))
    metadata = create_array({}, shape=shape, chunks=(1,) * len(axes), dtype="i1").metadata
    return replace(metadata, chunk_grid=RectilinearGrid(shape, tuple(map(runs_of, axes))))


# with_shape


@every_format
def test_shape_and_grid_change_and_nothing_else(zarr_format):
    array = create_array(
        {}, shape=(4, 6), chunks=(2, 5), dtype="i2", dimension_names=["a", "b"], attributes={"x": 1},
        zarr_format=zarr_format,
    )  # fmt: skip
    found = with_shape(array.metadata, np.array([9, 0]))
    assert found.shape == found.chunk_grid.shape == (9, 0)
    assert all(type(length) is int for length in found.shape)
    assert found.chunk_grid.chunk_shape == (2, 5)
    assert with_shape(found, [4, 6]) == array.metadata


@pytest.mark.parametrize(
    ("before", "size", "lengths", "runs"),
    [
        ((2, 3, 3), 8, (2, 3, 3), ((2, 1), (3, 2))),
        ((2, 3, 3), 9, (2, 3, 3, 1), ((2, 1), (3, 3))),
        ((2, 3, 3), 14, (2, 3, 3, 3, 3), ((2, 1), (3, 4))),
        ((2, 3, 3), 5, (2, 3), ((2, 1), (3, 2))),  # edges beyond the end stay
        ((2, 3, 3), 4, (2, 2), ((2, 1), (3, 2))),
        ((2, 3, 3), 0, (), ((2, 1), (3, 2))),
        ((4, 1), 7, (4, 1, 1, 1), ((4, 1), (1, 3))),
    ],
)
def test_chunks_of_different_lengths(before, size, lengths, runs):
    found = with_shape(rectilinear(before, (3, 1)), (size, 4)).chunk_grid
    assert found.axes[0].lengths == lengths
    assert found.chunk_shapes == (runs, ((3, 1), (1, 1)))


def test_equal_steps_stay_equal_steps():
    array = create_array({}, shape=(5, 6), chunks=((2, 3), 4), dtype="i1")
    assert with_shape(array.metadata, (5, 10**12)).chunk_grid.chunk_shapes == (((2, 1), (3, 1)), 4)


def test_an_axis_without_chunks_cannot_be_longer():
    metadata = rectilinear(())
    assert with_shape(metadata, (0,)) == metadata
    with pytest.raises(MetadataError, match="no chunk") as caught:
        with_shape(metadata, (2,))
    assert caught.value.axis == 0


@pytest.mark.parametrize(
    "shape",
    [(4,), (4, 6, 1), (), (-1, 6), (4.0, 6), (4, None), (True, 6), ("4", 6), (4, 2**63), 5, None, "46", ((4,), 6)],
)
def test_a_shape_that_cannot_be(shape):
    array = create_array({}, shape=(4, 6), chunks=(2, 3), dtype="i1")
    with pytest.raises(MetadataError) as caught:
        with_shape(array.metadata, shape)
    assert caught.value.field == "shape"


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.lists(st.integers(0, 30), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_edges_there_are_stay(lengths, sizes):
    metadata = rectilinear(lengths)
    edges = list(np.cumsum(lengths))
    for size in sizes:
        metadata = with_shape(metadata, (size,))
        found = list(np.cumsum(metadata.chunk_grid.axes[0].lengths)) if size else [0]
        while edges[-1] < size:
            edges.append(edges[-1] + lengths[-1])
        assert found == [edge for edge in edges if edge < size] + [size]


# publish_metadata


@every_format
def test_readers_find_the_new_shape(zarr_format):
    create_array(store := {}, shape=(4, 6), chunks=(2, 3), dtype="i1", zarr_format=zarr_format)
    found = resized(open_array(store), (5, 0))
    assert found == open_array(store)
    assert found.shape == (5, 0)


@every_format
def test_one_document_is_written(zarr_format):
    store = RecordingStore(MappingStore({}))
    array = create_array(store, "g/a", shape=(4,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    store.clear()
    resized(array, (10**15,))
    assert store.keys("set") == ["g/a/" + DOCUMENT[zarr_format]]
    assert not store.keys("list_dir", "delete", "delete_below")
    assert len(store.requests) <= 6


@every_format
def test_the_same_metadata_write_nothing(zarr_format):
    store = RecordingStore(MappingStore({}))
    array = create_array(store, shape=(4,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    store.clear()
    assert publish_metadata(array, array.metadata) == array
    assert not store.keys("set")


def test_all_else_in_a_document_of_v3_stays_byte_for_byte():
    text = """{"node_type"  :"array","zarr_format":3,\r
\t"attributes": {"shape": [4, 6], "e": 1.50E+2, "n": NaN, "esc": "\\u00e9 \\"shape\\": [4]", "\u00fc": [ ]},
      "shape":[ 4 ,
    6],"dimension_names" :["x",null],
  "codecs":[{"name":"bytes","configuration":{"endian":"little"}}], "fill_value": 0,
  "chunk_grid":{"name":"regular","configuration":{"chunk_shape":[2, 3]}},
  "chunk_key_encoding":{"name":"default"},
  "data_type":"int16" , "mine":{"must_understand":false,"a":[1,2]}
}

"""
    store = {"zarr.json": text.encode()}
    resized(open_array(store), (7, 8))
    assert store["zarr.json"].decode() == text.replace("[ 4 ,\n    6]", "[7, 8]")
    assert open_array(store).attrs["shape"] == [4, 6]
    assert open_array(store).shape == (7, 8)


def test_all_else_in_a_document_of_v2_stays_byte_for_byte():
    text = """{
    "shape": [
        4
    ],
    "chunks": [2],
    "mine": {"a": -0.0},
    "order": "C", "filters": [], "fill_value": null,
    "dtype": "<i2",
    "compressor": {"level": 1, "id": "zlib"},
    "zarr_format": 2
}"""
    store = {".zarray": text.encode(), ".zattrs": b'{ "shape": [4]}'}
    resized(open_array(store), (9,))
    assert store[".zarray"].decode() == text.replace("[\n        4\n    ]", "[9]")
    assert store[".zattrs"] == b'{ "shape": [4]}'


def test_all_else_in_a_document_of_n5_stays_byte_for_byte():
    text = (
        '{"dataType":"int16","compression":{"type":"raw"},"blockSize":[2,3],"dimensions":[4,6],"my":[4,6],"n5":"2.5.1"}'
    )
    store = {"attributes.json": text.encode()}
    resized(open_array(store), (7, 5))
    assert store["attributes.json"].decode() == text.replace('"dimensions":[4,6]', '"dimensions":[5, 7]')


@pytest.mark.parametrize("form", ["utf-16", "utf-8-sig", "twice"])
def test_text_of_another_form_is_written_anew(form):
    create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1", attributes={"x": "\u00fc"})
    text = store["zarr.json"].decode()
    if form == "twice":
        store["zarr.json"] = text.replace('"shape"', '"shape": [3], "shape"', 1).encode()
    else:
        store["zarr.json"] = text.encode(form)
    array = open_array(store)
    resized(array, (5,))
    assert json.loads(store["zarr.json"])["shape"] == [5]
    assert open_array(store).attrs == {"x": "\u00fc"}


def test_rectilinear_edges_are_published():
    array = create_array(store := {}, shape=(5, 4), chunks=((2, 3), 2), dtype="i1", attributes={"x": 1})
    before = json.loads(store["zarr.json"])
    resized(array, (9, 4))
    after = json.loads(store["zarr.json"])
    assert after["chunk_grid"]["configuration"]["chunk_shapes"] == [[2, [3, 3]], 2]
    assert {k: v for k, v in after.items() if k not in ("shape", "chunk_grid")} == {
        k: v for k, v in before.items() if k not in ("shape", "chunk_grid")
    }
    assert open_array(store).metadata.chunk_grid.axes[0].lengths == (2, 3, 3, 1)


def test_a_chunk_length_of_0_is_mended_where_cells_come():
    document = {"zarr_format": 2, "shape": [0, 3], "chunks": [0, 3], "dtype": "<i2", "compressor": None}
    store = {".zarray": json.dumps(document | {"fill_value": 0, "order": "C", "filters": None}).encode()}
    resized(open_array(store), (4, 3))
    assert open_array(store).shape == (4, 3)
    assert json.loads(store[".zarray"])["chunks"] == [1, 3]


def test_chunks_in_folders_that_the_document_does_not_tell():
    document = {"zarr_format": 2, "shape": [4, 3], "chunks": [2, 3], "dtype": "|i1", "compressor": None}
    store = {".zarray": json.dumps(document | {"fill_value": 0, "order": "C", "filters": None}).encode()}
    store["0/0"] = bytes(range(6))
    array = resized(open_array(store), (3, 3))
    assert array == open_array(store)
    assert array.metadata.chunk_key_encoding.separator == "/"
    assert "dimension_separator" not in json.loads(store[".zarray"])


def test_other_metadata_than_the_shape_are_published_too():
    array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="f4", zarr_format=2, attributes={"x": 1})
    metadata = replace(array.metadata, attributes={"y": 2}, fill_value=1.5, dimension_names=("t",))
    publish_metadata(array, metadata)
    assert open_array(store).metadata == metadata
    publish_metadata(open_array(store), array.metadata)
    assert open_array(store).metadata == array.metadata


# What lists the array


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_above_stay_true(zarr_format):
    create_group(store := {}, "g", attributes={"is": "g"}, zarr_format=zarr_format)
    array = create_array(
        store, "g/h/a", shape=(4,), chunks=(2,), dtype="i1", attributes={"n": 1}, dimension_names=["x"],
        zarr_format=zarr_format,
    )  # fmt: skip
    create_array(store, "g/b", shape=(3,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    consolidate(store, "g")
    consolidate(store)
    resized(array, (9,))
    for path in ("", "g"):
        group = open_group(store, path or None, consolidated=True)
        found = group["g/h/a" if not path else "h/a"]
        assert found.shape == (9,)
        assert found.attrs == {"n": 1}
        assert found.dimension_names == ("x",)
        assert group["g/b" if not path else "b"].shape == (3,)
    before = dict(store)
    consolidate(store, "g")
    consolidate(store)
    assert store == before
    assert zarr.open_consolidated(store_of(store), zarr_format=zarr_format)["g/h/a"].shape == (9,)


def store_of(store):
    """Bytes under keys as zarr-python takes them."""
    buffer = default_buffer_prototype().buffer
    return zarr.storage.MemoryStore({key: buffer.from_bytes(value) for key, value in store.items()})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_peers_read_the_document(zarr_format, tmp_path):
    array = create_array(
        tmp_path / "a", shape=(4, 6), chunks=(2, 3), dtype="i2", dimension_names=["a", "b"], zarr_format=zarr_format
    )
    resized(array, (3, 11))
    assert zarr.open_array(tmp_path / "a").shape == (3, 11)
    driver = "zarr" if zarr_format == 2 else "zarr3"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(tmp_path / "a")}}
    assert tensorstore.open(spec).result().shape == (3, 11)


def test_a_document_of_a_peer():
    store = store_of({})
    theirs = zarr.create_array(store, shape=(4, 6), chunks=(2, 3), shards=(2, 6), dtype="f8", fill_value=np.nan)
    array = open_array(theirs)
    resized(array, (1, 5))
    assert zarr.open_array(store).shape == (1, 5)
    assert np.isnan(zarr.open_array(store).fill_value)


# What refuses


@every_format
def test_an_array_that_was_changed_meanwhile(zarr_format):
    array = create_array(store := {}, "a", shape=(4,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    resized(array, (5,))
    before = dict(store)
    with pytest.raises(MetadataError, match=r"shape \(5,\) by now, and had \(4,\)") as caught:
        resized(array, (6,))
    assert caught.value.node == "a"
    assert store == before


def test_another_array_in_its_place():
    array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1")
    create_array(store, shape=(4,), chunks=(2,), dtype="i2", overwrite=True)
    with pytest.raises(MetadataError, match="another array"):
        resized(array, (6,))


def test_a_fill_value_that_was_changed_meanwhile():
    array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1")
    store["zarr.json"] = json.dumps(json.loads(store["zarr.json"]) | {"fill_value": 5}).encode()
    before = dict(store)
    with pytest.raises(MetadataError, match="cannot say"):
        resized(array, (6,))
    assert store == before


class Meddling(StoreWrapper):
    """A store in which something else happens while a document is written."""

    def __init__(self, store, meanwhile):
        self.meanwhile = meanwhile

    def before(self, kind, key):
        if kind == "set":
            self.meanwhile()


def test_another_thread_waits_until_the_document_is_written():
    array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1")
    others = []

    def meddle():
        others.append(threading.Thread(target=fails, args=(array, others)))
        others[-1].start()
        others[-1].join(0.05)
        assert others[-1].is_alive()

    meddling = Meddling(array.location.store, meddle)
    resized(replace(array, location=replace(array.location, store=meddling)), (5,))
    others[0].join()
    assert isinstance(others[1], MetadataError)
    assert open_array(store).shape == (5,)


def fails(array, errors):
    try:
        resized(array, (6,))
    except MetadataError as error:
        errors.append(error)


@every_format
def test_an_array_that_is_gone(zarr_format):
    array = create_array(store := {}, "g/a", shape=(4,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    delete_node(store, "g/a")
    with pytest.raises(NodeNotFoundError):
        resized(array, (6,))
    create_group(store, "g/a", zarr_format=zarr_format)
    with pytest.raises(NodeNotFoundError):
        resized(array, (6,))


def test_metadata_that_the_format_cannot_say():
    array = create_array(store := {}, shape=(4,), chunks=(2,), dtype="i1", zarr_format=2)
    other = create_array({}, shape=(4,), chunks=((1, 3),), dtype="i1").metadata
    before = dict(store)
    with pytest.raises(UnsupportedError):
        publish_metadata(array, replace(array.metadata, chunk_grid=other.chunk_grid))
    assert store == before


def test_a_store_that_cannot_be_written():
    store = {}
    create_array(store, shape=(4,), chunks=(2,), dtype="i1")
    with pytest.raises(UnsupportedError):
        resized(open_array(MappingProxyType(store)), (5,))


@every_format
@pytest.mark.parametrize("on", ["get", "set"])
def test_a_store_that_fails(zarr_format, on):
    inside = MappingStore({})
    create_array(inside, "a", shape=(4,), chunks=(2,), dtype="i1", zarr_format=zarr_format)
    array = open_array(inside, "a")
    before = dict(inside.mapping)
    store = FaultyStore(inside, {"a/*": OSError(28, "full")}, on=[on])
    with pytest.raises(StoreError) as caught:
        resized(type(array)(type(array.location)(store, "a"), array.metadata), (5,))
    assert caught.value.node == "a"
    assert inside.mapping == before


def test_threads_lose_nothing_of_each_other(tmp_path):
    store = LocalStore(str(tmp_path))
    arrays = [create_array(store, f"a{i}", shape=(4,), chunks=(2,), dtype="i1") for i in range(8)]
    consolidate(store)
    threads = [threading.Thread(target=resized, args=(array, (10 + i,))) for i, array in enumerate(arrays)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group = open_group(store, consolidated=True)
    assert [group[f"a{i}"].shape for i in range(8)] == [(10 + i,) for i in range(8)]
