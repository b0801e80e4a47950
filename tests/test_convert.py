"""Arrays and hierarchies carried from one format to another: everything comes along, or is named."""

import json

import dask.array as da
import numpy as np
import pytest
import zarr

import daskzarr
from daskzarr.errors import DaskZarrError, MetadataError, NodeExistsError, UnsupportedError
from daskzarr.testing import RecordingStore

CELLS = np.arange(5 * 7, dtype="i4").reshape(5, 7) + 1
TEXT = np.array([f"text {i}é" for i in range(35)], object).reshape(5, 7)
RECORD = np.zeros((5, 7), [("a", "<i4"), ("b", "S3")])
RECORD["a"], RECORD["b"] = CELLS, CELLS.astype("S3")
MIXED = np.zeros((5, 7), [("a", "<i4"), ("b", ">f8")])
MIXED["a"], MIXED["b"] = CELLS, CELLS / 7
CHUNKS = (2, 3)


def write(cells, store, component=None, **options):
    daskzarr.to_zarr(da.from_array(cells, chunks=CHUNKS), store, component, **options)


def same(array, cells):
    found = array.compute()
    assert found.shape == cells.shape
    assert found.tolist() == cells.tolist()


ARRAYS = {
    "numbers": (CELLS, {}),
    "big-endian": (CELLS.astype(">i4"), {}),
    "order F": (CELLS, {"order": "F"}),
    "NaN payload": (CELLS.astype("f4"), {"fill_value": np.array([0x7FC00001], "u4").view("f4")[0]}),
    "negative zero": (CELLS.astype("f8"), {"fill_value": -0.0}),
    "blosc": (CELLS, {"compressors": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2}}),
    "gzip": (CELLS, {"compressors": {"id": "gzip", "level": 3}}),
    "checked": (CELLS, {"compressors": [{"id": "zstd", "level": 1}, {"id": "crc32c"}]}),
    "raw": (CELLS, {"compressors": None}),
    "dates": (CELLS.astype("M8[25s]"), {}),
    "fixed text": (CELLS.astype("U3"), {"fill_value": "?"}),
    "fixed bytes": (CELLS.astype("S3"), {"fill_value": b"?"}),
    "text": (TEXT, {"fill_value": "none"}),
    "records": (RECORD, {"fill_value": (7, b"xy")}),
}


@pytest.mark.parametrize("component", [None, "a/b"])
@pytest.mark.parametrize("name", ARRAYS)
def test_v2_to_v3_and_back(name, component):
    cells, options = ARRAYS[name]
    attributes = {"units": "K", "list": [1, 2.5, None]}
    write(cells, old := {}, component, zarr_format=2, dimension_names=["y", "x"], attributes=attributes, **options)
    before = daskzarr.open_array(old, component)
    new, again = {}, {}
    there = daskzarr.convert(old, new, component, zarr_format=3)
    same(daskzarr.from_zarr(new), cells)
    assert there.metadata.zarr_format == 3
    assert {key: value for key, value in there.attrs.items() if key != "_FillValue"} == attributes
    assert there.dimension_names == ("y", "x")
    assert np.asarray(there.fill_value).tobytes() == np.asarray(before.fill_value).tobytes()
    # No chunk was touched: the bytes are those of v2.
    assert sorted(v for k, v in new.items() if k != "zarr.json") == sorted(
        v for k, v in old.items() if not k.rpartition("/")[2].startswith(".")
    )
    daskzarr.convert(new, again, zarr_format=2)
    documents = [key for key in again if key.startswith(".z")]
    lead = f"{component}/" if component else ""
    assert {key: json.loads(again[key]) for key in documents} == {key: json.loads(old[lead + key]) for key in documents}
    same(daskzarr.from_zarr(again), cells)


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "records"])  # zarr-python has another name for it
def test_zarr_python_reads_what_was_converted(name, tmp_path):
    cells, options = ARRAYS[name]
    write(cells, str(tmp_path / "old"), zarr_format=2, **options)
    daskzarr.convert(str(tmp_path / "old"), str(tmp_path / "new"), zarr_format=3)
    found = zarr.open_array(str(tmp_path / "new"), mode="r")[:]
    assert np.asarray(found).tolist() == cells.tolist()


@pytest.mark.parametrize("name", ["numbers", "big-endian", "gzip", "blosc", "raw", "text"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_to_n5_and_back(name, zarr_format):
    cells, options = ARRAYS[name]
    options = {key: value for key, value in options.items() if key != "fill_value"}
    write(cells, old := {}, zarr_format=zarr_format, dimension_names=["y", "x"], attributes={"n": 1}, **options)
    daskzarr.convert(old, middle := {}, zarr_format="n5")
    assert json.loads(middle["attributes.json"])["dimensions"] == [7, 5]
    same(daskzarr.from_zarr(middle, zarr_format="n5"), cells)
    there = daskzarr.convert(middle, new := {}, zarr_format=zarr_format)
    same(daskzarr.from_zarr(new), cells)
    assert there.attrs["n"] == 1
    assert there.dimension_names == ("y", "x")


def test_the_compressor_comes_along_to_n5_and_back():
    for config in ({"id": "gzip", "level": 3}, {"id": "bz2", "level": 4}, {"id": "zstd", "level": 5}):
        write(CELLS, old := {}, zarr_format=2, compressor=config)
        daskzarr.convert(old, middle := {}, zarr_format="n5")
        daskzarr.convert(middle, new := {}, zarr_format=2)
        assert json.loads(new[".zarray"])["compressor"] == config


def test_mixed_byte_orders_are_written_anew():
    write(MIXED, old := {}, zarr_format=2, compressor=None)
    there = daskzarr.convert(old, new := {}, zarr_format=3)
    assert there.metadata.codecs[0].configuration == {"endian": "little"}
    same(daskzarr.from_zarr(new), MIXED)


def test_shards_become_chunks():
    cells = np.arange(64, dtype="i2").reshape(8, 8)
    daskzarr.to_zarr(da.from_array(cells, chunks=4), old := {}, chunks=(2, 2), shards=(4, 4), compressors="gzip")
    there = daskzarr.convert(old, new := {}, zarr_format=2)
    assert json.loads(new[".zarray"])["chunks"] == [2, 2]
    assert there.metadata.codecs[-1].name == "numcodecs.gzip"
    same(daskzarr.from_zarr(new), cells)


def test_an_undefined_fill_value_becomes_the_default():
    write(CELLS, old := {}, zarr_format=2, fill_value=None)
    assert daskzarr.convert(old, {}, zarr_format=3).fill_value == 0


# ---- in place


def test_in_place_only_documents_are_written(tmp_path):
    root = str(tmp_path / "a")
    daskzarr.create_group(root, attributes={"title": "t"}, zarr_format=2)
    for name, (cells, options) in ARRAYS.items():
        write(cells, root, f"g/{name.replace(' ', '-')}", zarr_format=2, **options)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    there = daskzarr.convert(root, zarr_format=3)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert before.items() <= after.items()
    assert {p.name for p in after.keys() - before.keys()} == {"zarr.json"}
    assert there.metadata.zarr_format == 3
    assert dict(there.attrs) == {"title": "t"}
    for name, (cells, _) in ARRAYS.items():
        same(daskzarr.from_zarr(root, f"g/{name.replace(' ', '-')}", zarr_format=3), cells)


def test_in_place_touches_no_chunk():
    write(CELLS, store := {}, zarr_format=2)
    recording = RecordingStore(daskzarr.open_store(store))
    daskzarr.convert(recording, zarr_format=3)
    assert [key for name, key in recording.requests if name == "set"] == ["zarr.json"]
    assert not [key for name, key in recording.requests if key and key[0].isdigit()]


@pytest.mark.parametrize(("cells", "zarr_format"), [(MIXED, 3), (CELLS, "n5"), (CELLS, 2)])
def test_in_place_what_is_not_the_same_bytes_is_refused(cells, zarr_format):
    write(cells, store := {}, zarr_format=2)
    before = dict(store)
    with pytest.raises(UnsupportedError):
        daskzarr.convert(store, zarr_format=zarr_format)
    assert store == before


def test_in_place_twice_is_refused():
    write(CELLS, store := {}, zarr_format=2)
    daskzarr.convert(store, zarr_format=3)
    before = dict(store)
    with pytest.raises(DaskZarrError):
        daskzarr.convert(store, zarr_format=3)
    assert store == before


# ---- hierarchies


def hierarchy(zarr_format):
    store = {}
    group = daskzarr.create_group(store, attributes={"title": "t"}, zarr_format=zarr_format)
    daskzarr.create_group(group, "g/h", attributes={"deep": [1]}, zarr_format=zarr_format)
    write(CELLS, group, "a", zarr_format=zarr_format, dimension_names=["y", "x"])
    write(CELLS * 3, group, "g/b", zarr_format=zarr_format, attributes={"units": "m"})
    return store


@pytest.mark.parametrize("to", [2, 3, "n5"])
@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_a_hierarchy(zarr_format, to):
    new = {}
    there = daskzarr.convert(hierarchy(zarr_format), new, zarr_format=to)
    assert [path for path, _ in there.walk()] == ["a", "g", "g/b", "g/h"]
    assert all(node.metadata.zarr_format == to for _, node in there.walk())
    assert there.attrs["title"] == "t"
    assert there["g/h"].attrs["deep"] == [1]
    assert there["g/b"].attrs["units"] == "m"
    assert there["a"].dimension_names == ("y", "x")
    same(daskzarr.from_zarr(new, "a", zarr_format=to), CELLS)
    same(daskzarr.from_zarr(new, "g/b", zarr_format=to), CELLS * 3)


@pytest.mark.parametrize(("zarr_format", "to"), [(2, 3), (3, 2)])
def test_consolidated_metadata_come_along(zarr_format, to):
    daskzarr.consolidate(store := hierarchy(zarr_format))
    there = daskzarr.convert(store, new := {}, zarr_format=to)
    assert there.consolidated is not None
    opened = daskzarr.open_group(new, consolidated=True)
    assert [path for path, _ in opened.walk()] == ["a", "g", "g/b", "g/h"]


# ---- refused, and nothing is written


@pytest.mark.parametrize(
    ("cells", "options", "to", "named"),
    [
        (CELLS, {"fill_value": 7}, "n5", "fill value"),
        (CELLS.astype("c8"), {}, "n5", "complex64"),
        (CELLS, {"zarr_format": 2, "filters": [{"id": "delta", "dtype": "<i4"}]}, "n5", "delta"),
        (np.zeros((5, 7), [("a", "<f4", (2,))]), {"zarr_format": 2}, 3, "arrays"),
        (TEXT, {"zarr_format": 2, "filters": [{"id": "json2"}]}, 3, "json2"),
        (CELLS % 2 == 0, {"serializer": {"name": "packbits"}}, 2, "packbits"),
        (CELLS, {"filters": {"name": "transpose", "configuration": {"order": [0, 1]}}}, 2, "transpose"),
    ],
)
def test_what_cannot_be_said_is_named(cells, options, to, named):
    write(cells, old := {}, "a", **options)
    with pytest.raises((UnsupportedError, MetadataError), match=named) as caught:
        daskzarr.convert(old, new := {}, "a", zarr_format=to)
    assert caught.value.url is not None
    assert not new


def test_irregular_chunks_are_named():
    daskzarr.to_zarr(da.from_array(CELLS, chunks=((2, 1, 2), 7)), old := {})
    with pytest.raises(UnsupportedError, match="rechunk"):
        daskzarr.convert(old, {}, zarr_format=2)


def test_one_array_that_cannot_be_stops_the_whole_hierarchy_before_anything_is_written():
    write(CELLS, old := {}, "a", fill_value=0)
    write(CELLS, old, "z", fill_value=7)
    with pytest.raises(UnsupportedError) as caught:
        daskzarr.convert(old, new := {}, zarr_format="n5")
    assert caught.value.node == "z"
    assert not new


def test_a_target_that_is_there_is_kept():
    write(CELLS, old := {})
    write(CELLS * 2, new := {}, zarr_format=2)
    before = dict(new)
    with pytest.raises(NodeExistsError):
        daskzarr.convert(old, new, zarr_format=2)
    assert new == before
    daskzarr.convert(old, new, zarr_format=2, overwrite=True)
    same(daskzarr.from_zarr(new), CELLS)


def test_into_itself_is_refused(tmp_path):
    write(CELLS, str(tmp_path), "a", zarr_format=2)
    for target in ("", "a", "a/b"):
        with pytest.raises(DaskZarrError):
            daskzarr.convert(str(tmp_path / "a"), str(tmp_path / target), zarr_format=3, overwrite=True)
    same(daskzarr.from_zarr(str(tmp_path), "a"), CELLS)
