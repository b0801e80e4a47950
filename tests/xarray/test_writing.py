"""What to_zarr stores is what was given, as zarr-python and this package's engine read it, by one plan for all."""

import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import dask
import dask.array as da
import netCDF4
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

import daskzarr
from daskzarr.errors import AppendError, MetadataError, NodeExistsError, NodeNotFoundError, UnsupportedError
from daskzarr.stores import MappingStore
from daskzarr.testing import RecordingStore
from daskzarr.xarray import open_zarr, plan, to_zarr

pytestmark = [
    pytest.mark.usefixtures("one_after_the_other"),
    pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3"),
]
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def days(*names):
    return np.array(names, "M8[ns]")


def dataset(start=0):
    """Variables of many kinds; every cell is another."""
    cells = np.arange(4 * 6 * 8, dtype="f4").reshape(4, 6, 8) + start * 1000
    cells[0, 0, 0] = np.nan
    times = days("2020-01-01", "2020-01-02", "2020-01-03T06", "2020-01-05") + np.timedelta64(start, "D")
    packed = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -9}
    return xr.Dataset(
        {
            "a": (("t", "y", "x"), cells, {"units": "K"}),
            "packed": (("y", "x"), np.arange(48.0).reshape(6, 8), {}, packed),
            "fixed": ("x", np.array([f"t{i}" for i in range(8)])),
            "bytes": ("x", np.array([b"%d" % i for i in range(8)])),
            "text": ("x", np.array(["é" * i for i in range(8)], object)),
            "any": ("x", np.array(["ö" * i for i in range(8)], np.dtypes.StringDType())),
            "flags": ("x", np.arange(8) % 3 == 0),
            "waves": ("x", np.arange(8) + 1j * np.arange(8)[::-1]),
            "span": ("t", np.arange(1, 5) * np.timedelta64(3, "h").astype("m8[ns]")),
            "old": ("t", xr.date_range("2020-02-27", periods=4, calendar="360_day", use_cftime=True).values),
            "scalar": ((), 3),
            "empty": (("z", "x"), np.zeros((0, 8))),
        },
        coords={"t": times, "x": np.arange(8.0) * 2, "label": ("y", list("abcdef")), "lone": 7.5},
        attrs={"title": "x", "n": [1, 2.5], "none": None, "numbers": np.arange(3)},
    )


def lines(start, stop, **more):
    """A dataset along one axis; every cell is another."""
    n = np.arange(start, stop)
    return xr.Dataset({"a": ("t", n), "b": ("t", n * 2.5), **more}, coords={"t": n * 10})


def by_zarr(place, **options):
    """What zarr-python reads."""
    return xr.open_dataset(place, engine="zarr", decode_timedelta=True, **options).load()


def by_us(place, **options):
    """What this package reads."""
    return open_zarr(place, chunks=None, decode_timedelta=True, **options).load()


def read(place, want, **options):
    """What both read, which is the same, and wanted."""
    with dask.config.set(scheduler="sync"):
        got = by_us(place, **options)
        xr.testing.assert_identical(got, want)
        if not isinstance(place, dict):
            xr.testing.assert_identical(by_zarr(place, **options), want)
    return got


def document(place, name):
    value = place[name]
    return json.loads(value if isinstance(value, bytes) else value.to_bytes())


def listed(store):
    """Shapes in the consolidated metadata at the top, None if there are none."""
    if ".zmetadata" in store:
        found = document(store, ".zmetadata")["metadata"]
        return {name.removesuffix("/.zarray"): each["shape"] for name, each in found.items() if "shape" in each}
    found = document(store, "zarr.json").get("consolidated_metadata") if "zarr.json" in store else None
    return found and {name: each["shape"] for name, each in found["metadata"].items() if "shape" in each}


# ---- what comes out


@FORMATS
@pytest.mark.parametrize("chunks", [None, {"t": 3, "x": 5}], ids=str)
def test_both_read_what_was_given(place, zarr_format, chunks):
    ds = dataset()
    if chunks is not None:  # objects are told what they are by loading them
        ds = ds.assign(
            {
                name: each.chunk({dim: n for dim, n in chunks.items() if dim in each.dims})
                for name, each in ds.drop_vars(["text", "old"]).items()
            }
        )
    to_zarr(ds, place, zarr_format=zarr_format)
    other = place + ".other"
    dataset().to_zarr(other, zarr_format=zarr_format)
    want = by_zarr(other)
    read(place, want)
    raw = {"decode_cf": False}
    for name, each in open_zarr(other, **raw).variables.items():
        stored = open_zarr(place, **raw)[name].variable
        assert stored.dtype == each.dtype or (name == "any" and zarr_format == 2), name
        assert stored.attrs.keys() == each.attrs.keys(), name
    assert zarr.open_group(place).metadata.consolidated_metadata is not None


@FORMATS
@pytest.mark.parametrize("other", [2, 3])
def test_datasets_that_were_opened_are_stored_in_another_format(tmp_path, zarr_format, other):
    one, two, three = (str(tmp_path / name) for name in "abc")
    encoding = {"a": {"chunks": (2, 3, 4)}, "fixed": {"chunks": (3,)}}
    dataset().to_zarr(one, zarr_format=other, encoding=encoding)
    want = by_zarr(one)
    to_zarr(open_zarr(one), two, zarr_format=zarr_format)
    read(two, want)
    to_zarr(xr.open_dataset(one, engine="zarr"), three, zarr_format=zarr_format)
    read(three, want)
    for place in (two, three):
        assert zarr.open_group(place)["a"].metadata.zarr_format == zarr_format
        assert zarr.open_group(place)["a"].chunks == (2, 3, 4)
        assert by_us(place).packed.encoding["scale_factor"] == 0.5


def test_netcdf_reads_it(tmp_path):
    place = tmp_path / "a.zarr"
    cells = np.arange(30, dtype="i4").reshape(5, 6)
    to_zarr(xr.Dataset({"a": (("y", "x"), cells, {"units": "m"})}).chunk(y=2, x=4), place, zarr_format=2)
    with netCDF4.Dataset(f"file://{place}#mode=zarr,file") as file:
        np.testing.assert_array_equal(file["a"][:], cells)
        assert file["a"].units == "m"


@FORMATS
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1)])
@pytest.mark.parametrize("dask_backed", [False, True])
def test_few_cells(place, shape, dask_backed, zarr_format):
    cells = np.arange(np.prod(shape, dtype=int), dtype="i2").reshape(shape) + 5
    ds = xr.Dataset({"a": (tuple("xy"[: len(shape)]), da.from_array(cells) if dask_backed else cells)})
    to_zarr(ds, place, zarr_format=zarr_format)
    read(place, ds.compute())


@FORMATS
def test_cells_equal_to_the_fill_value_are_told_from_missing_chunks(zarr_format):
    zeros = xr.Dataset({"i": ("x", np.zeros(4, "i4")), "f": ("x", np.zeros(4)), "n": ("x", np.full(4, np.nan))})
    store = {}
    to_zarr(zeros, store, zarr_format=zarr_format)
    read(store, zeros)
    if zarr_format == 2:  # where "null" leaves it open what a missing chunk has
        assert "i/0" in store
    assert not any(key.startswith("n/") and key.rpartition("/")[2].isdigit() for key in store)


# ---- names and attributes


@pytest.mark.parametrize("name", ["a b", "ä", "%41", "a?b", "#x", "~", "c", "0", ".hidden", "a:b", "a*b", "zarr"])
@FORMATS
def test_odd_names(place, name, zarr_format):
    mode = "a" if name < "a" else "w-"
    if mode == "a":
        to_zarr(lines(0, 3), place, zarr_format=zarr_format)
    ds = xr.Dataset({name: ("t", np.arange(3) + 5)})
    to_zarr(ds, place, mode, zarr_format=None if mode == "a" else zarr_format)
    np.testing.assert_array_equal(by_us(place)[name], [5, 6, 7])
    np.testing.assert_array_equal(by_zarr(place)[name], [5, 6, 7])


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "..", ".", "../x", "a\\b", ""])
@FORMATS
def test_names_that_no_reader_would_find_are_refused(place, name, zarr_format, tmp_path):
    with pytest.raises(ValueError, match="name"):
        to_zarr(xr.Dataset({name: ("t", np.arange(3))}), place, zarr_format=zarr_format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "zarr_format"), [("zarr.json", 3), ("__x__", 3), (".zarray", 2), (".zgroup", 2), (".zmetadata", 2)]
)
def test_names_of_documents_are_refused(place, name, zarr_format, tmp_path):
    for mode in ("w-", "a"):
        with pytest.raises(MetadataError, match="cannot be the name of a variable"):
            to_zarr(xr.Dataset({name: ("t", np.arange(3))}), place, mode, zarr_format=zarr_format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [5, ("a", "b"), 1.5])
def test_names_are_text(name):
    with pytest.raises(TypeError, match="a string or None"):
        to_zarr(xr.Dataset({name: ("t", np.arange(3))}), store := {})
    with pytest.raises(TypeError, match="dimensions"):
        to_zarr(xr.Dataset({"a": ((name, "t"), np.arange(3)[None])}), store)
    assert not store


def test_no_name():
    to_zarr(xr.Dataset({None: ("t", np.arange(3))}), store := {})
    np.testing.assert_array_equal(by_us(store)[None], np.arange(3))
    with pytest.raises(MetadataError, match="both stored as '__values__'"):
        to_zarr(xr.Dataset({None: ("t", np.arange(3)), "__values__": ("t", np.arange(3))}), {})


@pytest.mark.parametrize(
    "value",
    [np.datetime64("2020-01-01"), b"x", {1}, 1j, object(), xr.DataArray(1)],
    ids=["time", "bytes", "set", "complex", "object", "array"],
)
def test_attributes_that_json_cannot_say(place, value, tmp_path):
    for ds in (xr.Dataset(attrs={"k": value}), xr.Dataset({"a": ("t", [1, 2], {"k": value})})):
        with pytest.raises(TypeError, match=r"Invalid attribute in Dataset\.attrs"):
            to_zarr(ds, place)
    assert not list(tmp_path.iterdir())


@FORMATS
def test_what_files_of_netcdf_say_of_missing_cells(place, zarr_format):
    cells = np.array([1.5, np.nan, 3.5], "f4")
    for n, encoding in enumerate(
        (
            {"_FillValue": np.float32(np.nan), "missing_value": np.float32(np.nan)},
            {"_FillValue": np.float32(1e20), "missing_value": np.float32(1e20)},
            {"missing_value": np.nan},
        )
    ):
        ds = xr.Dataset({"a": ("t", cells, {"units": "K"}, encoding)})
        to_zarr(ds, place, "w", zarr_format=zarr_format)
        to_zarr(ds, place, append_dim="t")
        for got in (by_us(place).a, by_zarr(place).a):
            np.testing.assert_array_equal(got, np.r_[cells, cells], err_msg=str(n))
            assert got.attrs == {"units": "K"}


# ---- modes


def test_new_groups_only():
    to_zarr(lines(0, 3), store := {})
    before = dict(store)
    for mode in (None, "w-"):
        with pytest.raises(FileExistsError, match="there is a group here already") as caught:
            to_zarr(lines(0, 3), store, mode)
        assert caught.type is NodeExistsError
    with pytest.raises(FileExistsError):
        to_zarr(lines(0, 3), store, group="a")  # an array
    with pytest.raises(FileExistsError, match="there is an array at /a"):
        to_zarr(lines(0, 3), store, group="a/b", mode="w")
    assert store == before


@pytest.mark.parametrize("kind", ["mapping", "folder"])
def test_the_other_format_is_there(kind, place):
    store = {} if kind == "mapping" else place
    to_zarr(lines(0, 3), store, zarr_format=2)
    for mode in ("w-", "a"):
        with pytest.raises(FileExistsError):
            to_zarr(lines(0, 3), store, mode, zarr_format=3)
    read(store, lines(0, 3))
    to_zarr(lines(0, 5), store, "w", zarr_format=3)
    read(store, lines(0, 5))


@pytest.mark.parametrize("kind", ["mapping", "folder"])
@FORMATS
def test_overwriting(kind, place, zarr_format):
    store = {} if kind == "mapping" else place
    to_zarr(lines(0, 3), store, zarr_format=zarr_format)
    for group in ("g/one", "g/two", "h"):
        to_zarr(lines(0, 4), store, group=group)
    to_zarr(lines(5, 7)[["a"]], store, "w", "g/one")
    read(store, lines(5, 7)[["a"]], group="g/one")
    read(store, lines(0, 4), group="g/two")
    read(store, lines(0, 3))
    to_zarr(lines(1, 2), store, "w", "g")
    read(store, lines(1, 2), group="g")
    read(store, lines(0, 4), group="h")
    with pytest.raises(FileNotFoundError):
        by_us(store, group="g/one")
    to_zarr(lines(7, 9), store, "w")
    read(store, lines(7, 9))
    with pytest.raises(FileNotFoundError):
        by_us(store, group="h")


@FORMATS
@pytest.mark.parametrize("group", [None, "g", "g/h"])
def test_adding(place, zarr_format, group):
    to_zarr(lines(0, 4).assign_attrs(one=1), place, "a", group, zarr_format=zarr_format)
    more = xr.Dataset({"b": ("t", np.arange(4) + 0.5, {"new": 1}), "c": ("u", [7, 8])}, attrs={"two": 2})
    to_zarr(more, place, "a", group)
    want = lines(0, 4).assign(b=("t", np.arange(4) + 0.5), c=more.c).assign_attrs(two=2)
    read(place, want, group=group)
    with pytest.raises(ValueError, match="different dimension sizes"):
        to_zarr(lines(0, 3), place, "a", group)
    with pytest.raises(ValueError, match="different dimension names"):
        to_zarr(xr.Dataset({"a": ("x", np.arange(4))}), place, "a", group)
    with pytest.raises(ValueError, match="already exists, but encoding was provided"):
        to_zarr(lines(0, 4), place, "a", group, encoding={"a": {"chunks": (2,)}})
    read(place, want, group=group)


def test_cells_alone():
    with pytest.raises(NodeNotFoundError):
        to_zarr(lines(0, 4), {}, "r+")
    to_zarr(lines(0, 4).assign_attrs(one=1), store := {})
    listing = store["zarr.json"]
    to_zarr(xr.Dataset({"b": ("t", np.arange(4.0))}, attrs={"two": 2}), store, "r+")
    assert store["zarr.json"] == listing
    read(store, lines(0, 4).assign(b=("t", np.arange(4.0))).assign_attrs(one=1))
    with pytest.raises(ValueError, match="non-pre-existing variables"):
        to_zarr(xr.Dataset({"new": ("t", np.arange(4.0))}), store, "r+")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "x"}, ValueError),
        ({"mode": "w", "append_dim": "t"}, ValueError),
        ({"mode": "r+", "append_dim": "t"}, ValueError),
        ({"mode": "w", "region": {"t": slice(2)}}, ValueError),
        ({"mode": "w-", "region": "auto"}, ValueError),
        ({"region": 5}, TypeError),
        ({"region": {"t": 2}}, TypeError),
        ({"region": {"t": slice(0, 4, 2)}}, ValueError),
        ({"region": {"q": slice(2)}}, ValueError),
        ({"region": {"t": slice(0, 3)}}, ValueError),
        ({"mode": "a-", "region": "auto"}, ValueError),
        ({"append_dim": "q"}, ValueError),
        ({"append_dim": "t", "region": {"t": slice(4)}}, ValueError),
        ({"at": 3}, ValueError),
        ({"mode": "w", "resume": True}, ValueError),
        ({"encoding": {"q": {"chunks": 2}}, "mode": "w"}, KeyError),
        ({"encoding": {"a": 5}, "mode": "w"}, TypeError),
        ({"encoding": {"a": {"colour": 5}}, "mode": "w"}, ValueError),
        ({"encoding": {"a": {"chunks": (2, 2)}}, "mode": "a"}, ValueError),
        ({"zarr_format": 4}, ValueError),
        ({"chunkmanager_store_kwargs": {"lock": True}}, NotImplementedError),
        ({"compute": 1, "mode": "w"}, TypeError),
        ({"consolidated": "yes", "mode": "w"}, TypeError),
        ({"duplicates": "perhaps", "append_dim": "t"}, ValueError),
        ({"overwrite_coords": "perhaps", "append_dim": "t"}, ValueError),
        ({"max_files": 1, "mode": "w"}, ValueError),
        ({"max_mem": 1, "mode": "w"}, ValueError),
        ({"write_empty_chunks": True, "encoding": {"a": {"write_empty_chunks": False}}, "mode": "w"}, ValueError),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_changes_nothing(options, error):
    to_zarr(lines(0, 4), store := {})
    before = dict(store)
    ds = lines(0, 4).drop_vars("t") if isinstance(options.get("region"), dict) else lines(0, 4)
    with pytest.raises(error):
        to_zarr(ds, store, **options)
    assert store == before


# ---- encoding


@pytest.mark.parametrize(
    ("encoding", "zarr_format"),
    [
        ({"compressors": numcodecs.Zlib(3)}, 2),
        ({"compressors": (numcodecs.Blosc(cname="lz4", clevel=3, shuffle=2),)}, 2),
        ({"compressors": {"id": "zstd", "level": 4}}, 2),
        ({"compressor": numcodecs.GZip(2)}, 2),
        ({"compressors": None}, 2),
        ({"filters": [numcodecs.Delta("i8")], "compressors": numcodecs.Zlib(1)}, 2),
        ({"chunk_key_encoding": {"name": "v2", "separator": "/"}}, 2),
        ({"compressors": GzipCodec(level=2)}, 3),
        ({"compressors": (ZstdCodec(level=4),)}, 3),
        ({"compressors": BloscCodec(typesize=8, cname="zlib", clevel=4, shuffle="shuffle")}, 3),
        ({"compressors": {"name": "gzip", "configuration": {"level": 7}}}, 3),
        ({"compressors": None}, 3),
        ({"compressors": ()}, 3),
        ({"filters": [{"name": "transpose", "configuration": {"order": [1, 0]}}]}, 3),
        ({"serializer": {"name": "bytes", "configuration": {"endian": "big"}}}, 3),
        ({"shards": (4, 6), "chunks": (2, 3)}, 3),
        ({"shards": (4, 6)}, 3),
        ({"chunks": 2}, 3),
        ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}}, 3),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}, 3),
        ({"fill_value": 7}, 3),
        ({"fill_value": 7, "_FillValue": -1}, 3),
        ({"_FillValue": -1}, 2),
        ({"dtype": "i2"}, 2),
        ({"dtype": ">i4"}, 2),
        ({"dtype": "i2", "scale_factor": 2.0, "add_offset": 1.0, "_FillValue": -1}, 3),
        ({"write_empty_chunks": True}, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("dask_backed", [False, True])
def test_encoding(place, encoding, zarr_format, dask_backed):
    cells = np.arange(1, 71).reshape(7, 10) * 2 + 1
    if "scale_factor" in encoding and not dask_backed:
        cells = cells.astype("f8")  # xarray packs no whole numbers
    ds = xr.Dataset({"a": (("y", "x"), da.from_array(cells, chunks=(4, 6)) if dask_backed else cells)})
    if dask_backed and encoding.get("chunks") == 2:
        ds = ds.chunk(y=4, x=6)
    to_zarr(ds, place, encoding={"a": encoding}, zarr_format=zarr_format)
    np.testing.assert_array_equal(by_us(place).a, cells)
    np.testing.assert_array_equal(by_zarr(place).a, cells)
    again = place + ".again"
    opened = open_zarr(place)
    to_zarr(opened, again, zarr_format=zarr_format)
    assert by_us(again).a.encoding == by_us(place).a.encoding
    stored = zarr.open_group(place)["a"]
    if "chunks" in encoding:
        assert stored.chunks == (tuple(encoding["chunks"]) if isinstance(encoding["chunks"], tuple) else (2, 2))
    if "shards" in encoding:
        assert stored.shards == (4, 6)
    if "fill_value" in encoding:
        assert stored.fill_value == 7
    # The same settings, given to xarray, make the same array.
    if (
        "compressor" not in encoding
        and set(encoding) != {"shards"}
        and ("scale_factor" not in encoding or not dask_backed)
        and not isinstance(encoding.get("chunks"), int)
    ):
        one, two = ({"a": dict(encoding, chunks=encoding.get("chunks", (4, 6)))} for _ in range(2))
        to_zarr(ds, place, "w", encoding=one, zarr_format=zarr_format)
        (ds.compute()).to_zarr(place + ".x", encoding=two, zarr_format=zarr_format)
        ours, theirs = zarr.open_group(place)["a"], zarr.open_group(place + ".x")["a"]
        assert (ours.chunks, ours.shards, ours.dtype) == (theirs.chunks, theirs.shards, theirs.dtype)
        assert (ours.compressors, ours.filters) == (theirs.compressors, theirs.filters) or "compressors" not in encoding
        assert ours.fill_value == theirs.fill_value or (ours.fill_value is None and zarr_format == 2)


def test_settings_that_are_none_are_refused_and_those_left_behind_are_not():
    ds = lines(0, 4)
    for key in ("preferred", "compression", "fill_value"):
        with pytest.raises(ValueError, match="unexpected encoding parameters"):
            to_zarr(ds, store := {}, encoding={"a": {key: 1}}, zarr_format=2)
        assert not store
    ds.a.encoding = {"zlib": True, "contiguous": False, "source": "x", "original_shape": (4,), "preferred_chunks": {}}
    to_zarr(ds, store := {})
    read(store, ds)


@pytest.mark.parametrize("chunks", [(2, 3), (4, 6)])
@pytest.mark.parametrize("blocks", [(3, 4), (4, 6), (7, 10), (1, 1)])
@pytest.mark.parametrize("shards", [None, (4, 6)])
def test_blocks_that_cut_stored_objects(place, chunks, blocks, shards):
    cells = np.arange(70).reshape(7, 10)
    ds = xr.Dataset({"a": (("y", "x"), da.from_array(cells, chunks=blocks))})
    encoding = {"a": {"chunks": chunks, "shards": shards} if shards else {"chunks": chunks}}
    objects = shards or chunks
    if all(n % m == 0 or n >= size for n, m, size in zip(blocks, objects, cells.shape, strict=True)):
        to_zarr(ds, place, encoding=encoding)
        read(place, ds.compute())
        return
    with pytest.raises(ValueError, match=r"Specified Zarr chunks .* would overlap multiple Dask chunks"):
        to_zarr(ds, place, encoding=encoding)
    for options in ({"safe_chunks": False}, {"align_chunks": True}):
        to_zarr(ds, place, "w", encoding=encoding, **options)
        read(place, ds.compute())


def test_blocks_of_uneven_lengths():
    ds = xr.Dataset({"a": ("x", da.from_array(np.arange(10), chunks=((2, 3, 5),)))})
    with pytest.raises(ValueError, match="uniform chunk sizes"):
        to_zarr(ds, store := {})
    with pytest.raises(ValueError, match="longer than the others"):
        to_zarr(ds.isel(x=slice(0, 5)), store)
    assert not store
    to_zarr(ds, store, encoding={"a": {"chunks": ((2, 3, 5),)}})
    read(store, ds.compute())


@pytest.mark.parametrize("write_empty", [None, True, False])
def test_empty_chunks(write_empty):
    ds = xr.Dataset({"a": ("x", np.r_[np.full(4, np.nan), np.arange(4.0)])})
    to_zarr(ds, store := {}, encoding={"a": {"chunks": (4,)}}, write_empty_chunks=write_empty)
    assert ("a/c/0" in store) == bool(write_empty)
    read(store, ds)


# ---- compute=False


@pytest.mark.parametrize("kind", ["new", "a", "w", "append", "region"])
def test_what_dask_has_is_written_later(kind):
    store = {}
    ds = xr.Dataset({"a": ("t", da.arange(8, chunks=4)), "b": ("t", np.arange(8.0))}, coords={"t": np.arange(8)})
    old = ds.compute() + 100
    calls = Counter()
    ds["a"] = ("t", ds.a.data.map_blocks(lambda block: calls.update(n=1) or block, dtype="i8", meta=np.empty(0, "i8")))
    options = {
        "new": {},
        "a": {"mode": "a"},
        "w": {"mode": "w"},
        "append": {"append_dim": "t"},
        "region": {"region": {"t": slice(0, 8)}},
    }[kind]
    if kind != "new":
        to_zarr(old, store, encoding={"a": {"chunks": (4,)}})
    given = ds.drop_vars("t") if kind == "region" else ds
    delayed = to_zarr(given, store, compute=False, **options)
    assert not calls
    if kind in ("new", "w"):
        assert "b/c/0" in store
        assert "a/c/0" not in store
        assert list(listed(store)) == ["a", "b", "t"]
    if kind == "append":
        read(store, old)
    delayed.compute()
    assert calls["n"] == 2
    want = xr.concat([old, ds.compute()], "t") if kind == "append" else ds.compute()
    read(store, want.assign_coords(t=old.t) if kind == "region" else want)


def test_what_is_in_memory_is_written_at_once():
    delayed = to_zarr(lines(0, 4), store := {}, compute=False)
    read(store, lines(0, 4))
    before = dict(store)
    delayed.compute()
    assert store == before


# ---- consolidated metadata


@FORMATS
@pytest.mark.parametrize("consolidated", [None, True, False])
@pytest.mark.parametrize("kind", ["mapping", "folder"])
def test_consolidated(zarr_format, consolidated, kind, tmp_path):
    store = {} if kind == "mapping" else daskzarr.stores.LocalStore(str(tmp_path / "a.zarr"))

    def shapes():
        if kind == "mapping":
            return listed(store)
        names = (".zmetadata", "zarr.json", "g/zarr.json", "g/.zmetadata")
        return listed({name: bytes(value) for name in names if (value := store.get(name)) is not None})

    options = {"consolidated": consolidated, "zarr_format": zarr_format}
    to_zarr(lines(0, 3), store, **options)
    assert shapes() == (None if consolidated is False else {"a": [3], "b": [3], "t": [3]})
    to_zarr(lines(0, 2), store, group="g/h", **options)
    if consolidated is not False:
        assert shapes()["g/h/a"] == [2]
    to_zarr(lines(3, 7), store, append_dim="t", consolidated=consolidated)
    to_zarr(lines(2, 7), store, group="g/h", append_dim="t", consolidated=consolidated)
    wanted = {"a": [7], "b": [7], "g/h/a": [7], "g/h/b": [7], "g/h/t": [7], "t": [7]}
    assert shapes() == (None if consolidated is False else wanted)
    to_zarr(lines(0, 1)[["a"]].drop_vars("t"), store, "w", "g/h", **options)
    wanted = {"a": [7], "b": [7], "g/h/a": [1], "t": [7]}
    assert shapes() == (None if consolidated is False else wanted)


@FORMATS
def test_consolidated_metadata_that_are_there_stay_true(zarr_format):
    to_zarr(lines(0, 3), store := {}, zarr_format=zarr_format)
    to_zarr(lines(0, 3), store, group="g", consolidated=False)
    assert listed(store)["g/a"] == [3]
    to_zarr(lines(3, 5), store, append_dim="t", consolidated=False)
    to_zarr(lines(3, 5), store, group="g", append_dim="t", consolidated=False)
    to_zarr(xr.Dataset({"new": ("u", np.arange(9))}), store, "a", consolidated=False)
    assert listed(store) == {"a": [5], "b": [5], "g/a": [5], "g/b": [5], "g/t": [5], "new": [9], "t": [5]}
    to_zarr(lines(0, 1), store, "w", "g", consolidated=False)
    assert listed(store)["g/a"] == [1]
    read(store, lines(0, 1), group="g", consolidated=True)


def test_a_group_has_the_format_of_the_one_above():
    to_zarr(lines(0, 3), store := {}, zarr_format=2)
    to_zarr(lines(0, 3), store, group="g/h")
    assert "g/h/.zgroup" in store
    assert "g/.zgroup" in store
    assert not any("zarr.json" in key for key in store)


# ---- appending


@FORMATS
@pytest.mark.parametrize("dask_backed", [False, True])
@pytest.mark.parametrize("mode", [None, "a", "a-"])
def test_appending(place, zarr_format, dask_backed, mode):
    keep = [name for name, each in dataset().variables.items() if "t" in each.dims]
    first, second = dataset(), dataset(10)
    if dask_backed:
        # times by dask want units that say them all
        first, second = (each.assign({n: each[n].chunk(t=4) for n in ("a",)}) for each in (first, second))
    to_zarr(
        first,
        place,
        encoding={"a": {"chunks": (3, 6, 8)}} | ({"a": {}} if dask_backed else {}),
        zarr_format=zarr_format,
    )
    to_zarr(second, place, mode, append_dim="t")
    got = read(place, by_zarr(place))
    for name in keep:
        want = np.concatenate([first[name].values, second[name].values])
        np.testing.assert_array_equal(got[name].values, want)
    xr.testing.assert_identical(got.drop_dims("t"), by_us(place).drop_dims("t"))
    np.testing.assert_array_equal(got.text, first.text)


@FORMATS
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("layout", [{"chunks": (2, 3, 2)}, {"chunks": (1, 3, 2), "shards": (4, 3, 4)}], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_appending_along_an_axis(axis, layout, transposed, zarr_format):
    if zarr_format == 2:
        layout = {"chunks": layout["chunks"]}
    cells = np.arange(5 * 7 * 6).reshape(5, 7, 6)
    dim = "xyz"[axis]
    whole = xr.Dataset({"a": (tuple("xyz"), cells), "n": (dim, np.arange(cells.shape[axis]) * 3)})
    to_zarr(whole.isel({dim: slice(0, 3)}), store := {}, encoding={"a": layout}, zarr_format=zarr_format)
    for part in (slice(3, 4), slice(4, None)):
        more = whole.isel({dim: part})
        to_zarr(more.transpose("z", "x", "y") if transposed else more, store, append_dim=dim)
    read(store, whole)


@pytest.mark.parametrize("options", [{"safe_chunks": False}, {"align_chunks": True}, {}], ids=str)
def test_appended_blocks_that_cut_stored_objects(options):
    first, second = lines(0, 4).chunk(t=3), lines(4, 11).chunk(t=3)
    to_zarr(first, store := {})
    if not options:
        before = dict(store)
        with pytest.raises(ValueError, match="would overlap multiple Dask chunks"):
            to_zarr(second, store, append_dim="t")
        assert store == before
        second = second.chunk(t=(2, 3, 2))
    to_zarr(second, store, append_dim="t", **options)
    read(store, lines(0, 11))


def test_what_an_append_adds_besides():
    to_zarr(lines(0, 4), store := {})
    to_zarr(lines(4, 6, new=("u", np.arange(3))), store, append_dim="t")
    read(store, lines(0, 6, new=("u", np.arange(3))))
    before = dict(store)
    with pytest.raises(ValueError, match="'newer' would be new"):
        to_zarr(lines(6, 7, newer=("t", [5])), store, append_dim="t")
    with pytest.raises(ValueError, match="'b' would be shorter"):
        to_zarr(lines(6, 7).drop_vars("b"), store, append_dim="t")
    assert store == before


def test_appending_nothing():
    to_zarr(lines(0, 0), store := {}, encoding={"a": {"chunks": (3,)}})
    to_zarr(lines(0, 4), store, append_dim="t")
    to_zarr(lines(4, 4), store, append_dim="t")
    read(store, lines(0, 4))


# ---- regions


@pytest.mark.parametrize(
    "region",
    [
        {"t": slice(2, 5)},
        {"t": slice(-6, -3)},
        {"t": slice(2, 5, 1)},
        "auto",
        {"t": "auto"},
        {"t": slice(2, 5), "u": "auto"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", [None, "a", "r+"])
@FORMATS
def test_regions(region, mode, zarr_format):
    cells = np.arange(8 * 3).reshape(8, 3)
    ds = xr.Dataset({"a": (("t", "u"), cells)}, coords={"t": np.arange(8) * 10, "u": list("abc")})
    to_zarr(ds, store := {}, encoding={"a": {"chunks": (3, 2)}}, zarr_format=zarr_format)
    part = (ds + 100).isel(t=slice(2, 5))
    if not isinstance(region, str) and "auto" not in region.values():
        part = part.drop_vars(["t", "u"])
    if not isinstance(region, str) and "u" not in region and "auto" in region.values():
        part = part.drop_vars("u")
    to_zarr(part, store, mode, region=region)
    cells = cells.copy()
    cells[2:5] += 100
    read(store, ds.assign(a=(("t", "u"), cells)))


def test_a_region_past_the_end_and_of_nothing():
    to_zarr(lines(0, 4), store := {})
    to_zarr(lines(8, 10).drop_vars("t"), store, region={"t": slice(2, 10)})
    np.testing.assert_array_equal(by_us(store).a, [0, 1, 8, 9])
    to_zarr(lines(0, 4).isel(t=slice(0, 0)), store, region="auto")
    np.testing.assert_array_equal(by_us(store).a, [0, 1, 8, 9])
    to_zarr(xr.Dataset({"z": 5}), scalar := {})
    to_zarr(xr.Dataset({"z": 7}), scalar, region={})
    assert by_us(scalar).z == 7


@pytest.mark.parametrize(
    ("labels", "error"), [([10, 30], ValueError), ([20, 10], ValueError), ([10, 15], KeyError), ([30, 40], KeyError)]
)
def test_labels_that_are_no_region(labels, error):
    to_zarr(lines(0, 4), store := {})
    before = dict(store)
    with pytest.raises(error, match="labels"):
        to_zarr(xr.Dataset({"a": ("t", [8, 9])}, coords={"t": labels}), store, region="auto")
    assert store == before


def test_variables_that_a_region_does_not_touch():
    to_zarr(lines(0, 4, c=("u", [1, 2])), store := {})
    with pytest.raises(ValueError, match="dimension in common"):
        to_zarr(lines(1, 2, c=("u", [1, 2])), store, region={"t": slice(1, 2)})


@pytest.mark.parametrize("dask_backed", [False, True])
def test_a_region_along_one_axis_of_what_is_appended_along_another(dask_backed):
    cells = np.arange(6 * 5).reshape(6, 5)
    whole = xr.Dataset({"a": (("t", "y"), cells)}, coords={"y": np.arange(5)})
    to_zarr(whole.isel(t=slice(0, 4)), store := {}, encoding={"a": {"chunks": (3, 2)}})
    more = whole.isel(t=slice(4, 6), y=slice(2, 4)).drop_vars("y")
    to_zarr(more.chunk(t=2) if dask_backed else more, store, append_dim="t", region={"y": slice(2, 4)})
    got = by_us(store).a.values
    np.testing.assert_array_equal(got[:4], cells[:4])
    np.testing.assert_array_equal(got[4:, 2:4], cells[4:, 2:4])


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_parts_of_objects_in_regions(mode):
    to_zarr(lines(0, 10), store := {}, encoding={name: {"chunks": (4,)} for name in "abt"})
    part = (lines(0, 10) + 100).isel(t=slice(2, 10)).drop_vars("t").chunk(t=(2, 6) if mode == "a" else 8)
    if mode == "r+":
        with pytest.raises(ValueError, match="or part of one"):
            to_zarr(part, store, region={"t": slice(2, 10)})
    to_zarr(part, store, mode, region={"t": slice(2, 10)}, safe_chunks=mode == "a")
    np.testing.assert_array_equal(by_us(store).a, [0, 1, *range(102, 110)])


# ---- data arrays and trees


@pytest.mark.parametrize("name", [None, "a", "t", "x y"])
@FORMATS
def test_data_arrays(place, name, zarr_format):
    array = xr.DataArray(np.arange(4) * 3, dims="t", coords={"t": np.arange(4) * 10}, name=name)
    array.daskzarr.to_zarr(place, zarr_format=zarr_format)
    xr.testing.assert_identical(xr.open_dataarray(place, engine="daskzarr").load(), array)
    xr.testing.assert_identical(xr.open_dataarray(place, engine="zarr").load(), array)
    to_zarr(array, place, "w")
    xr.testing.assert_identical(xr.open_dataarray(place, engine="zarr").load(), array)
    to_zarr(xr.DataArray(np.arange(4), dims="t"), place, "a", "other", zarr_format=zarr_format)


def tree():
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset({"r": ("x", [1, 2])}, coords={"x": [10, 20]}),
            "/a": xr.Dataset({"v": ("x", [3.0, 4.0])}),
            "/a/b": xr.Dataset({"w": ("y", [5, 6, 7])}, attrs={"k": 1}),
            "/c": xr.Dataset(),
        }
    )


@FORMATS
@pytest.mark.parametrize("dask_backed", [False, True])
@pytest.mark.parametrize("inherited", [False, True])
def test_trees(tmp_path, zarr_format, dask_backed, inherited):
    one, two = str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")
    given = tree().chunk() if dask_backed else tree()
    settings = {
        "encoding": {"/a/b": {"w": {"chunks": (3 if dask_backed else 2,)}}},
        "write_inherited_coords": inherited,
    }
    given.daskzarr.to_zarr(one, **settings, zarr_format=zarr_format)
    given.to_zarr(two, **settings, zarr_format=zarr_format)
    for engine in ("zarr", "daskzarr"):
        with xr.open_datatree(one, engine=engine) as got, xr.open_datatree(two, engine="zarr") as want:
            assert got.identical(want)
    assert zarr.open_group(one)["a/b/w"].chunks == zarr.open_group(two)["a/b/w"].chunks
    assert set(zarr.open_group(one)["a"].array_keys()) == ({"v", "x"} if inherited else {"v"})
    with pytest.raises(FileExistsError):
        given.daskzarr.to_zarr(one)


def test_trees_that_are_added_and_replaced(place):
    tree().daskzarr.to_zarr(place)
    more = xr.DataTree.from_dict(
        {"/": xr.Dataset({"r": ("x", [8, 9])}, attrs={"z": 3}), "/n/m": xr.Dataset({"p": ("u", [1])})}
    )
    more.daskzarr.to_zarr(place, mode="a")
    for engine in ("zarr", "daskzarr"):
        with xr.open_datatree(place, engine=engine) as got:
            assert set(got.groups) == {"/", "/a", "/a/b", "/c", "/n", "/n/m"}
            np.testing.assert_array_equal(got["r"], [8, 9])
            np.testing.assert_array_equal(got["/n/m/p"], [1])
            assert got.attrs == {"z": 3}
    more.daskzarr.to_zarr(place, mode="w")
    with xr.open_datatree(place, engine="zarr") as got:
        assert got.identical(more)


def test_parts_of_trees_and_what_trees_cannot():
    store = {}
    tree()["a"].daskzarr.to_zarr(store, encoding={"/a/b": {"w": {"chunks": (2,)}}})
    with xr.open_datatree(store, engine="daskzarr") as got:
        assert set(got.groups) == {"/", "/b"}
        np.testing.assert_array_equal(got["v"], [3, 4])
    with pytest.raises(UnsupportedError):
        tree().daskzarr.to_zarr({}, group="g")
    with pytest.raises(UnsupportedError):
        tree().daskzarr.to_zarr({}, mode="a", append_dim="x")
    with pytest.raises(ValueError, match="unexpected encoding group name"):
        tree().daskzarr.to_zarr({}, encoding={"/q": {}})
    with pytest.raises(TypeError):
        to_zarr(np.arange(3), {})
    delayed = tree().chunk().daskzarr.to_zarr(store := {}, compute=False)
    assert "a/v/c/0" not in store
    delayed.compute()
    assert "a/v/c/0" in store


# ---- one plan


def test_a_source_that_variables_share_is_computed_once():
    calls = Counter()
    base = da.arange(12, chunks=3).map_blocks(lambda b: calls.update(n=1) or b, dtype="i8", meta=np.empty(0, "i8"))
    ds = xr.Dataset({"a": ("t", base + 1), "b": ("t", base * 2), "sum": ((), base.sum())})
    tree = xr.DataTree.from_dict({"/": ds, "/g": ds * 3})
    to_zarr(ds, store := {})
    assert calls["n"] == 4
    calls.clear()
    tree.daskzarr.to_zarr({})
    assert calls["n"] == 4
    calls.clear()
    to_zarr(ds[["a", "b"]], more := {})
    to_zarr(ds[["a", "b"]], more, append_dim="t")
    assert calls["n"] == 8
    np.testing.assert_array_equal(by_us(store).b, np.arange(12) * 2)
    np.testing.assert_array_equal(by_us(more).b, np.r_[np.arange(12), np.arange(12)] * 2)


class Graphs(dask.callbacks.Callback):
    """Counts the graphs that a scheduler is given."""

    def __init__(self):
        self.count = 0

    def _start(self, dsk):
        self.count += 1


@pytest.mark.parametrize("options", [{}, {"append_dim": "t"}, {"mode": "w"}, {"mode": "a"}], ids=str)
def test_all_that_dask_has_is_one_graph(options):
    lazy, store = lines(0, 6).drop_vars("t").chunk(t=3), {}
    if options:
        to_zarr(lazy, store)
    with Graphs() as graphs:
        to_zarr(lazy, store, **options)
    assert graphs.count == 1


@FORMATS
@pytest.mark.parametrize("kind", ["new", "append", "region"])
def test_each_object_is_written_once(kind, zarr_format):
    store = RecordingStore(MappingStore({}))
    lazy = lines(0, 6).chunk(t=3)
    if kind != "new":
        to_zarr(lines(0, 8).chunk(t=3), store, zarr_format=zarr_format)
        store.clear()
    if kind == "append":
        to_zarr(lines(8, 14).chunk(t=3), store, append_dim="t", safe_chunks=False)
    elif kind == "region":
        to_zarr(lazy.drop_vars("t"), store, region={"t": slice(1, 7)}, mode="a", safe_chunks=False)
    else:
        to_zarr(lazy, store, zarr_format=zarr_format)
    counts = Counter(key for key in store.keys("set") if key.rpartition("/")[2].isdigit())
    assert set(counts.values()) == {1}
    assert len(counts) == {"new": 2 + 2 + 1, "append": 3 + 3 + 1, "region": 3 + 3}[kind]
    documents = Counter(key for key in store.keys("set") if not key.rpartition("/")[2].isdigit())
    if kind == "new":
        assert set(documents.values()) == {1} or documents.pop("zarr.json", 0) <= 2
        assert set(documents.values()) <= {1}


def test_requests_of_a_fresh_dataset_do_not_grow_with_looking():
    """What is asked of a store before anything is written does not depend on how many variables there are."""
    counts = []
    for n in (1, 21):
        store = RecordingStore(MappingStore({}))
        to_zarr(xr.Dataset({f"v{i}": ("t", np.arange(3) + i) for i in range(n)}), store)
        counts.append(store.count())
    one, many = counts
    assert many["set"] - one["set"] == 2 * 20
    assert {kind: number for kind, number in many.items() if kind != "set"} == {
        kind: number for kind, number in one.items() if kind != "set"
    }


def test_plans():
    ds = lines(0, 8).chunk(t=3)
    store = {}
    found = plan(ds, store)
    assert found.objects == 3 + 3 + 1
    assert not store
    assert ds.daskzarr.plan(store).objects == 7
    to_zarr(ds, store)
    assert len([key for key in store if "/c/" in key]) == 7
    assert plan(lines(8, 10).chunk(t=2), store, append_dim="t", safe_chunks=False).objects == 3 + 2
    read(store, lines(0, 8))
    with pytest.raises(TypeError, match="plan"):
        plan(ds, {}, nonsense=1)
    assert tree().daskzarr.plan({}).objects == 4
    to_zarr(ds, {}, max_files=11)
    with pytest.raises(ValueError, match="max_files"):
        to_zarr(ds, place := {}, max_files=9)
    assert not place


def test_zarr_python_is_not_needed(place):
    code = (
        "import sys; sys.modules['zarr'] = None; import numpy as np, xarray as xr, dask.array as da;"
        "from daskzarr.xarray import to_zarr, open_zarr;"
        "ds = xr.Dataset({'a': ('t', da.arange(6, chunks=3))}, coords={'t': np.arange(6)});"
        f"to_zarr(ds, {place!r}); to_zarr(ds, {place!r}, append_dim='t'); print(open_zarr({place!r}).a.values.sum())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "30", done.stderr


def test_storage_options(tmp_path):
    url = f"simplecache::file://{tmp_path}/a.zarr"
    to_zarr(lines(0, 3), f"file://{tmp_path}/a.zarr", storage_options={"auto_mkdir": True})
    read(str(tmp_path / "a.zarr"), lines(0, 3))
    np.testing.assert_array_equal(open_zarr(url, storage_options={"file": {}}).a, [0, 1, 2])
    with pytest.raises((ValueError, TypeError)):
        to_zarr(lines(0, 3), {}, storage_options={"anon": True})


@pytest.mark.parametrize("kind", ["mapping", "folder"])
def test_threads_that_write_groups_of_one_store(kind, place):
    store = {} if kind == "mapping" else place
    to_zarr(lines(0, 2), store)
    errors = []

    def write(n):
        try:
            with dask.config.set(scheduler="sync"):
                to_zarr(lines(n, n + 5).chunk(t=2), store, group=f"g{n}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert not errors
    for n in range(6):
        read(store, lines(n, n + 5), group=f"g{n}", consolidated=False)
        read(store, lines(n, n + 5), group=f"g{n}")


def test_lazy_variables_are_read_by_blocks_whatever_their_chunks(place, monkeypatch, tmp_path):
    """What is neither in memory nor of Dask is nobody's blocks: there is nothing to align."""
    monkeypatch.setattr("daskzarr.xarray.cells._LOADED", 64)
    cells = np.arange(60).reshape(6, 10)
    to_zarr(xr.Dataset({"a": (("y", "x"), cells)}), place, encoding={"a": {"chunks": (2, 5)}})
    target = str(tmp_path / "b.zarr")
    to_zarr(xr.open_dataset(place, engine="daskzarr"), target, encoding={"a": {"chunks": (4, 3)}})
    np.testing.assert_array_equal(by_us(target).a, cells)
    to_zarr(xr.open_dataset(place, engine="daskzarr") + 100, target, "r+")
    np.testing.assert_array_equal(by_us(target).a, cells + 100)


# ---- any dataset


@st.composite
def datasets(draw):
    """A dataset along "t" and others, how its variables are stored, and where it is cut into two or three."""
    sizes = {"t": draw(st.integers(1, 9)), "x": draw(st.integers(1, 4)), "y": draw(st.integers(0, 3))}
    zarr_format = draw(st.sampled_from([2, 3]))
    found, encoding = {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        dims = draw(st.permutations(["t", *draw(st.lists(st.sampled_from("xy"), unique=True, max_size=2))]))
        shape = tuple(sizes[dim] for dim in dims)
        cells = np.arange(np.prod(shape, dtype=int)).reshape(shape) + ord(name)
        kind = draw(st.sampled_from(["i2", "f4", "U4", "S4", "O", "M8[ns]", "c8", "?"]))
        if kind == "M8[ns]":
            cells = np.datetime64("2020-01-01", "ns") + cells * np.timedelta64(1, "D")
        elif kind == "O":
            cells = np.array([str(cell) for cell in cells.ravel()], np.dtypes.StringDType()).reshape(shape)
        else:
            cells = (cells % 3 == 0) if kind == "?" else cells.astype(kind)
        chunks = tuple(draw(st.integers(1, 4)) for _ in shape)
        encoding[name] = {"chunks": chunks}
        if zarr_format == 3 and draw(st.booleans()):
            encoding[name]["shards"] = tuple(2 * n for n in chunks)
        if kind == "M8[ns]":
            encoding[name] |= {"units": "days since 2020-01-01", "dtype": "i8"}
        blocks = draw(st.integers(1, 5)) if draw(st.booleans()) and kind != "O" else None
        found[name] = (dims, cells if blocks is None else da.from_array(cells, chunks=blocks))
    cuts = sorted(draw(st.lists(st.integers(0, sizes["t"]), min_size=1, max_size=2)))
    return xr.Dataset(found), encoding, zarr_format, [0, *cuts, sizes["t"]]


@given(case=datasets(), by_region=st.booleans(), align=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_dataset_in_parts(case, by_region, align):
    ds, encoding, zarr_format, cuts = case
    options = {"align_chunks": True} if align else {"safe_chunks": False}
    store = {}
    parts = [ds.isel(t=slice(first, last)) for first, last in itertools.pairwise(cuts)]
    if by_region:
        to_zarr(ds, store, encoding=encoding, zarr_format=zarr_format, compute=False, **options)
        for part, first in zip(parts, cuts, strict=False):
            to_zarr(part, store, region={"t": slice(first, first + part.sizes["t"])}, **options)
    else:
        for n, part in enumerate(parts):
            more = {"append_dim": "t"} if n else {"encoding": encoding, "zarr_format": zarr_format}
            to_zarr(part, store, **more, **options)
    got = by_us(store)
    for name, each in ds.variables.items():
        assert got[name].dims == each.dims
        np.testing.assert_array_equal(got[name].values, each.values)


def test_errors_name_the_place(place):
    to_zarr(lines(0, 3), place)
    with pytest.raises(AppendError) as caught:
        to_zarr(lines(3, 5), place, append_dim="t", at=7)
    assert caught.value.url == f"file://{place}"
    assert caught.value.node in ("a", "b", "t")


def test_an_append_makes_no_dataset(place):
    with pytest.raises(ValueError, match="does not match any existing dataset dimensions: there is no group"):
        to_zarr(xr.Dataset({"a": ("t", np.arange(3))}), place, append_dim="t")
    assert not Path(place).exists()


def test_a_place_has_to_be_given():
    with pytest.raises(TypeError, match="say where to write"):
        xr.Dataset({"a": ("t", np.arange(3))}).daskzarr.to_zarr()


@pytest.mark.parametrize("chunks", [(5, 3), {"t": 5}], ids=["two", "by name"])
def test_chunks_that_are_asked_for_have_a_length_for_each_dimension(chunks):
    ds = xr.Dataset({"a": (("t", "x", "y"), np.zeros((4, 5, 6)))})
    with pytest.raises(MetadataError, match="it has to be 3 lengths"):
        to_zarr(ds, {}, encoding={"a": {"chunks": chunks}})


def test_errors_of_xarrays_encoders_name_the_variable():
    ds = xr.Dataset({"a": ("t", np.array(["2020-01-01"], "M8[ns]"), {}, {"units": "dayz since 2000-01-01"})})
    with pytest.raises(Exception, match="dayz") as caught:
        to_zarr(ds, {})
    assert "Raised while encoding variable 'a'" in caught.value.__notes__


def test_patterns_of_places_do_not_match_what_is_noted_beside_them(tmp_path):
    for name in "ab":
        to_zarr(xr.Dataset({"v": ("t", da.arange(4, chunks=2))}), tmp_path / f"{name}.zarr")
    assert (tmp_path / "a.zarr.daskzarr").exists()
    assert daskzarr.xarray.glob(f"{tmp_path}/*") == [str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")]
