"""What Dataset.to_zarr loses without a word is an error here, and the store stays as it was, or it is not lost."""

import contextlib
import os
import shutil
import threading
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import daskzarr
from daskzarr.errors import AppendError, LossError, MetadataError
from daskzarr.testing import FaultyStore
from daskzarr.xarray import open_zarr, to_zarr

pytestmark = [
    pytest.mark.usefixtures("one_after_the_other"),
    pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3 specification"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Times can't be serialized faithfully"),
    pytest.mark.filterwarnings("ignore:Timedeltas can't be serialized faithfully"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast"),
    pytest.mark.filterwarnings("ignore:overflow encountered in cast"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real"),
    pytest.mark.filterwarnings("ignore:.*saving variable .* with floating point data"),
    pytest.mark.filterwarnings("ignore:In a future version of xarray decode_timedelta"),
]
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


class FailedOnPurpose(Exception):
    """What a block raises."""


def files(place):
    """All that is in a folder."""
    found = {}
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, place)] = file.read()
    return found


def documents(place):
    return {
        name: text for name, text in files(place).items() if name.rpartition("/")[2].startswith((".z", "zarr.json"))
    }


def times(*texts):
    return np.array(texts, "M8[ns]")


def spans(*hours):
    return np.array(hours, "m8[h]").astype("m8[ns]")


def calendar(name, start="2020-01-01"):
    return xr.date_range(start, periods=2, calendar=name, use_cftime=True).values


def one(cells, **encoding):
    return xr.Dataset({"a": ("t", cells, {}, encoding), "other": ("t", np.arange(len(cells)) + 5)})


def by_us(place):
    return open_zarr(place, chunks=None, decode_timedelta=True).load()


LOSSES = {
    "finer times": (times("2020-01-01", "2020-01-02"), times("2020-01-04T06", "2020-01-05"), {}),
    "much finer times": (times("2020-01-01", "2020-01-02"), times("2020-01-04T06:00:00.000000001", "2020-01-05"), {}),
    "finer spans": (spans(24, 48), spans(5, 6), {}),
    "times among numbers": (np.array([5, 6]), times("2020-01-04", "2020-01-05"), {}),
    "numbers among times": (times("2020-01-01", "2020-01-02"), np.array([5, 6]), {}),
    "numbers among spans": (spans(24, 48), np.array([5, 6]), {}),
    "spans among times": (times("2020-01-01", "2020-01-02"), spans(24, 48), {}),
    "late times": (
        times("2020-01-01", "2020-01-02"),
        times("2120-01-01", "2020-01-02"),
        {"dtype": "i4", "units": "seconds since 2020-01-01"},
    ),
    "early times": (
        times("2020-01-01", "2020-01-02"),
        times("2019-01-01", "2020-01-02"),
        {"dtype": "u4", "units": "seconds since 2020-01-01"},
    ),
    "no time": (
        times("2020-01-01", "2020-01-02"),
        times("NaT", "2020-01-02"),
        {"dtype": "i4", "units": "seconds since 2020-01-01"},
    ),
    "another calendar": (times("2020-02-28", "2020-03-01"), calendar("360_day"), {}),
    "numbers among text": (np.array(["ab", "c"], object), np.array([1, 2]), {}),
    "objects among text": (np.array(["ab", "c"], object), np.array(["x", 5], object), {}),
    "longer text": (np.array(["ab", "cd"]), np.array(["abcdef", "x"], object), {}),
    "longer bytes": (np.array([b"ab", b"cd"]), np.array([b"abcdef", b"x"], object), {}),
    "a fraction among whole numbers": (np.array([1, 2]), np.array([300.7, 4.0]), {}),
    "nothing among whole numbers": (np.array([1, 2]), np.array([np.nan, 4.0]), {}),
    "infinity among whole numbers": (np.array([1, 2], "i4"), np.array([np.inf, 4.0]), {}),
    "a large number": (np.array([1, 2], "i1"), np.array([300, 4]), {}),
    "a negative number": (np.array([1, 2], "u8"), np.array([-1, 4]), {}),
    "2**63": (np.array([1, 2]), np.array([2.0**63, 4]), {}),
    "2**63 whole": (np.array([1, 2]), np.array([2**63, 4], "u8"), {}),
    "2**64": (np.array([1, 2], "u8"), np.array([2.0**64, 4]), {}),
    "2 among flags": (np.array([True, False]), np.array([2, 1]), {}),
    "a half among flags": (np.array([True, False]), np.array([0.5, 1]), {}),
    "complex among real": (np.array([1.0, 2]), np.array([1 + 2j, 4]), {}),
    "large among small floats": (np.array([1, 2], "f4"), np.array([1e300, 4]), {}),
    "large among small complex": (np.array([1, 2], "c8"), np.array([1 + 1e300j, 4]), {}),
    "digits of a whole number": (np.array([1.0, 2]), np.array([2**60 + 1, 4]), {}),
    "digits of a small whole number": (np.array([1, 2], "f4"), np.array([2**24 + 1, 4], "i4"), {}),
    "nothing among packed": (np.array([1, 2.0]), np.array([np.nan, 4]), {"dtype": "i2", "scale_factor": 0.5}),
    "large among packed": (np.array([1, 2.0]), np.array([40000.0, 4]), {"dtype": "i2", "scale_factor": 0.5}),
    "the first that is too large for packed": (
        np.array([1, 2.0]),
        np.array([3276.75, 4], "f4"),
        {"dtype": "i2", "scale_factor": 0.1},
    ),
    "whole numbers among packed": (np.array([1, 2.0]), np.array([32768, 4]), {"dtype": "i2", "scale_factor": 0.1}),
    "large among unsigned": (
        np.array([1, 200], "u1"),
        np.array([300, 4]),
        {"dtype": "i1", "_Unsigned": "true", "_FillValue": -1},
    ),
    "what is missing among unsigned": (
        np.array([1, 200], "u1"),
        np.array([255.0, 4]),
        {"dtype": "i1", "_Unsigned": "true", "_FillValue": -1},
    ),
    "what is missing": (np.array([1, 2]), np.array([-9.0, 4]), {"_FillValue": -9}),
    "what is missing among floats": (np.array([1.0, np.nan]), np.array([-9.0, 4]), {"_FillValue": -9.0}),
    "what is missing among packed": (
        np.array([1.0, 2.5]),
        np.array([-4.5, 4]),
        {"_FillValue": -9, "dtype": "i2", "scale_factor": 0.5},
    ),
}


def same(one, other):
    """Whether cells are the same, of whatever dtype."""
    if one.dtype.kind == "O" or other.dtype.kind in "OT":
        return one.tolist() == other.tolist()
    if one.dtype.kind in "mM" or other.dtype.kind in "mM":
        return one.dtype.kind == other.dtype.kind and bool(np.all((one == other) | (np.isnat(one) & np.isnat(other))))
    pairs = zip(one.tolist(), other.tolist(), strict=True)  # Python compares all digits
    return all(a == b or (a != a and b != b) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "zarr_format"),
    [*((name, 3) for name in LOSSES), *((name, 2) for name in LOSSES if "missing" in name or "among t" in name)],
)
def test_appended_cells_that_cannot_be_said(place, name, zarr_format):
    first, second, encoding = LOSSES[name]
    old, new = one(first, **encoding), one(second)
    theirs = place + ".x"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            old.to_zarr(theirs, zarr_format=zarr_format)
            new.to_zarr(theirs, append_dim="t")
            lost = not same(xr.open_zarr(theirs, decode_timedelta=True).a.values[2:], second)
        except Exception:
            lost = True  # some are refused, in older or newer releases, with more or less of them written
    assert lost
    to_zarr(old, place, zarr_format=zarr_format)
    before, seen = files(place), by_us(place)
    with pytest.raises((LossError, MetadataError)):
        to_zarr(new, place, append_dim="t")
    assert files(place) == before
    n = len(second)
    with pytest.raises((LossError, MetadataError)):
        to_zarr(new[["a"]], place, region={"t": slice(0, n)})
    with pytest.raises((LossError, MetadataError)):
        to_zarr(new, place, "a")
    assert files(place) == before
    xr.testing.assert_identical(by_us(place), seen)


@pytest.mark.parametrize("values", [[2, 1], ["no", "yes"], [True, None]])
def test_objects_among_flags(place, values):
    to_zarr(one(np.array([True, False])), place)
    with pytest.raises(MetadataError, match="astype"):
        to_zarr(one(np.array(values, object)), place, append_dim="t")
    to_zarr(one(np.array([True, True])), place, append_dim="t")
    assert by_us(place).a.values.tolist() == [True, False, True, True]


def test_numbers_among_times_of_another_calendar(place):
    dates = xr.date_range("2001-01-30", periods=2, calendar="noleap", use_cftime=True)
    to_zarr(one(np.array(dates)), place)
    with pytest.raises(MetadataError, match="astype"):
        to_zarr(one(np.array([1, 2])), place, append_dim="t")
    to_zarr(one(np.array(dates)), place, append_dim="t")
    assert by_us(place).a.values.tolist() == [*dates, *dates]


def test_numbers_among_objects_that_may_be_numbers(place):
    json = {"id": "json2", "encoding": "utf-8"}
    for name in ("a", "other"):
        filters = [json] if name == "a" else None
        kind = {"dtype": object if name == "a" else "i8", "filters": filters, "dimension_names": ["t"]}
        array = daskzarr.create_array(place, name, shape=(2,), chunks=(2,), zarr_format=2, **kind)
        daskzarr.to_zarr(da.from_array(np.array([1, 2], kind["dtype"]), chunks=2), array)
    to_zarr(one(np.array([3, 4])), place, append_dim="t")
    assert by_us(place).a.values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("chunks", [None, 1])
@pytest.mark.parametrize("values", [[2, 1], [0.5, 1], [-1, 0], [np.nan, 1]])
@pytest.mark.parametrize("fill", [{}, {"_FillValue": np.int8(-1)}], ids=["", "with a fill value"])
@FORMATS
def test_flags_that_are_stored_as_numbers(place, zarr_format, values, chunks, fill):
    # As netCDF and xarray before 2026.9 have them.
    numbers = xr.Dataset({"a": ("t", np.array([1, 0], "i1"), {"dtype": "bool", **fill})})
    numbers.to_zarr(place, zarr_format=zarr_format)
    shutil.copytree(place, place + ".x")
    new = xr.Dataset({"a": ("t", np.array(values))})
    if chunks is not None:
        new = new.chunk(t=chunks)
    with contextlib.suppress(TypeError):  # by older releases, with a fill value
        new.to_zarr(place + ".x", append_dim="t", safe_chunks=False)
        assert xr.open_zarr(place + ".x").a.values[2:].tolist() != values
    with pytest.raises(LossError):
        to_zarr(new, place, append_dim="t", safe_chunks=False, journal=False)
    assert by_us(place).a.values.tolist() == [True, False]
    to_zarr(xr.Dataset({"a": ("t", np.array([1, 0, 1]))}), place, append_dim="t")
    to_zarr(xr.Dataset({"a": ("t", np.array([False, True]))}), place, append_dim="t")
    assert by_us(place).a.values.tolist() == [True, False, True, False, True, False, True]


@pytest.mark.parametrize("mask", ["_FillValue", "missing_value"])
def test_flags_whose_false_means_missing(mask):
    numbers = xr.Dataset({"a": ("t", np.array([1, 0], "i1"), {"dtype": "bool", mask: np.int8(0)})})
    to_zarr(numbers, store := {})
    before = dict(store)
    with pytest.raises(LossError, match="would read as True"):
        to_zarr(xr.Dataset({"a": ("t", np.array([True, False]))}), store, append_dim="t")
    assert store == before


@pytest.mark.parametrize("name", [name for name, each in LOSSES.items() if each[1].dtype.kind != "O"])
def test_appended_cells_of_dask_that_cannot_be_said(place, name):
    first, second, encoding = LOSSES[name]
    to_zarr(one(first, **encoding), place)
    before, seen = documents(place), by_us(place)
    new = one(second)
    new["a"] = new.a.chunk(t=1)
    with pytest.raises(ValueError, match=r"\w"):
        to_zarr(new, place, append_dim="t", safe_chunks=False)
    assert documents(place) == before
    xr.testing.assert_identical(by_us(place), seen)


NEW = {
    "late times": (times("2020-01-01", "2120-01-02"), {"dtype": "i4", "units": "seconds since 2020-01-01"}),
    "no time": (times("2020-01-01", "NaT"), {"dtype": "i4", "units": "seconds since 2020-01-01"}),
    "text": (np.array(["a", "bc"], object), {"dtype": "U1"}),
    "fixed text": (np.array(["a", "bc"]), {"dtype": "U1"}),
    "nothing": (np.array([1, np.nan]), {"dtype": "i2"}),
    "infinity": (np.array([1, np.inf]), {"dtype": "i2"}),
    "packed": (np.array([1, 1e6]), {"dtype": "i2", "scale_factor": 0.5}),
    "packed nothing": (np.array([1, np.nan]), {"dtype": "i2", "scale_factor": 0.5}),
    "a large number": (np.array([1, 300]), {"dtype": "i1"}),
    "complex": (np.array([1, 2j]), {"dtype": "f8"}),
    "float32": (np.array([1, 1e300]), {"dtype": "f4"}),
    "what is missing": (np.array([1, -9.0]), {"_FillValue": -9.0}),
    "what is missing in packed": (np.array([1, -4.5]), {"_FillValue": -9, "dtype": "i2", "scale_factor": 0.5}),
    "unsigned": (np.array([1, 300.0]), {"dtype": "i1", "_Unsigned": "true", "_FillValue": -1}),
}


@pytest.mark.parametrize("name", NEW)
@FORMATS
def test_new_cells_that_their_encoding_cannot_say(place, name, zarr_format, tmp_path):
    cells, encoding = NEW[name]
    theirs = place + ".x"
    ds = xr.Dataset({"a": ("t", cells)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds.to_zarr(theirs, zarr_format=zarr_format, encoding={"a": encoding})
            assert not same(xr.open_zarr(theirs).a.values, cells)
        except (ValueError, TypeError, OverflowError):
            pass
    with pytest.raises(LossError):
        to_zarr(ds, place, zarr_format=zarr_format, encoding={"a": encoding})
    assert not os.path.exists(place)


def test_what_is_only_rounded_is_not_lost(place):
    """Packing and fewer digits are what the call asks for."""
    ds = xr.Dataset({"p": ("t", np.array([0.26, np.nan])), "f": ("t", np.array([0.1, 3])), "n": ("t", [1.4, 2.6])})
    encoding = {"p": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}, "f": {"dtype": "f4"}, "n": {"dtype": "i4"}}
    to_zarr(ds, place, encoding=encoding)
    to_zarr(ds[["p", "f"]].assign(n=("t", [3.0, 4.0])), place, append_dim="t")
    got = by_us(place)
    np.testing.assert_array_equal(got.p, [0.5, np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(got.n, [1, 3, 3, 4])


def test_what_is_missing_among_text_is_empty_as_in_a_new_array():
    for cells in (np.array(["x", None], object), np.array(["x", np.nan], object)):
        to_zarr(one(np.array(["a", "b"], object)), store := {})
        to_zarr(one(cells), store, append_dim="t")
        assert by_us(store).a.values.tolist() == ["a", "b", "x", ""]


def test_units_that_say_it_are_kept():
    to_zarr(one(times("2020-01-01T01", "2020-01-02")), store := {})
    to_zarr(one(times("2020-01-04T06", "NaT")), store, append_dim="t")
    np.testing.assert_array_equal(by_us(store).a, times("2020-01-01T01", "2020-01-02", "2020-01-04T06", "NaT"))
    to_zarr(one(calendar("noleap")), store := {})
    to_zarr(one(calendar("noleap", "2021-01-01")), store, append_dim="t")
    assert by_us(store).a.values.tolist() == [*calendar("noleap"), *calendar("noleap", "2021-01-01")]
    with pytest.raises(LossError, match="units"):
        to_zarr(xr.Dataset({"a": ("t", [1.0], {"units": "K"})}), store := {}) or to_zarr(
            xr.Dataset({"a": ("t", [1.0], {"units": "degC"})}), store, append_dim="t"
        )


# ---- an append that fails


def lines(start, stop, fail=None, chunks=2):
    """A dataset of dask arrays along one axis; from some block on they cannot be computed."""

    def block(cells):
        if fail is not None and fail.is_set() and cells.size and cells[-1] >= start + 3:
            raise FailedOnPurpose("a block")
        return cells

    n = np.arange(start, stop)
    x = da.from_array(n, chunks=chunks, name=f"n-{start}-{stop}").map_blocks(
        block, dtype="i8", meta=np.empty(0, "i8"), name=f"x-{start}-{stop}"
    )
    return xr.Dataset({"a": ("t", x), "b": ("t", x * 2)}, coords={"t": n * 10, "lat": ("y", [1.5, 2.5])})


@FORMATS
def test_a_failing_append(place, zarr_format):
    fail = threading.Event()
    fail.set()
    theirs = place + ".x"
    lines(0, 4).to_zarr(theirs, zarr_format=zarr_format)
    with pytest.raises(FailedOnPurpose):
        lines(4, 10, fail).to_zarr(theirs, append_dim="t")
    assert xr.open_zarr(theirs).sizes["t"] == 10
    assert not np.array_equal(xr.open_zarr(theirs).a, np.arange(10))
    to_zarr(lines(0, 4), place, zarr_format=zarr_format)
    before, seen = documents(place), by_us(place)
    with pytest.raises(FailedOnPurpose):
        to_zarr(lines(4, 10, fail), place, append_dim="t")
    assert documents(place) == before
    xr.testing.assert_identical(by_us(place), seen)
    xr.testing.assert_identical(xr.open_zarr(place).load(), seen)
    other = lines(4, 10) + 1000
    other = other.assign_coords(t=other.t + 1)
    with pytest.raises(AppendError, match="unfinished"):
        to_zarr(other, place, append_dim="t")
    assert documents(place) == before
    fail.clear()
    to_zarr(lines(4, 10, fail), place, append_dim="t")
    xr.testing.assert_identical(by_us(place), lines(0, 10).compute())
    assert xr.open_zarr(place, consolidated=True).sizes["t"] == 10
    with dask.config.set(scheduler="sync"):
        assert daskzarr.verify(place).ok


def test_an_unfinished_append_that_is_given_up(place):
    fail = threading.Event()
    fail.set()
    to_zarr(lines(0, 4), place)
    with pytest.raises(FailedOnPurpose):
        to_zarr(lines(4, 10, fail), place, append_dim="t")
    other = (lines(4, 7) + 1000).assign_coords(t=np.arange(4, 7) * 11)
    with pytest.raises(AppendError):
        to_zarr(other, place, append_dim="t")
    to_zarr(other, place, append_dim="t", overwrite_unfinished=True)
    xr.testing.assert_identical(by_us(place), xr.concat([lines(0, 4), other], "t", data_vars="minimal").compute())
    assert daskzarr.verify(place).ok


@pytest.mark.parametrize("kind", ["mode", "region", "dtype", "blocks", "coords", "shape"])
def test_one_variable_that_does_not_fit_keeps_all_from_being_written(place, kind):
    to_zarr(lines(0, 4), place)
    before = files(place)
    new, options = lines(4, 8), {"append_dim": "t"}
    if kind == "mode":
        new["c"] = ("t", np.arange(4))
    elif kind == "dtype":
        new["b"] = ("t", np.array(list("abcd")))
    elif kind == "blocks":
        new["b"] = new.b.chunk(t=3)
    elif kind == "coords":
        new = new.assign_coords(lat=("y", [7.0, 8.0]))
    elif kind == "shape":
        new = new.drop_vars("lat").assign(lat=("y", [1.5]))
    else:
        new, options = new.drop_vars(["t", "lat"]), {"region": {"t": slice(0, 3)}}
    with pytest.raises(ValueError, match=r"\w"):
        to_zarr(new, place, **options)
    assert files(place) == before


def test_a_store_that_fails_before_the_end_shows_nothing():
    """The documents are the last to be written; one that cannot be leaves shapes that an append completes."""
    from daskzarr.stores import MappingStore

    store = MappingStore({})
    to_zarr(lines(0, 4), store)
    seen = by_us(store)
    faulty = FaultyStore(store, {"b/c/*": PermissionError("no")}, on=["set"])
    with pytest.raises(OSError, match="no"):
        to_zarr(lines(4, 8), faulty, append_dim="t")
    xr.testing.assert_identical(by_us(store), seen)
    to_zarr(lines(4, 8), store, append_dim="t")
    xr.testing.assert_identical(by_us(store), lines(0, 8).compute())


# ---- coordinates


@FORMATS
def test_other_coordinates(place, zarr_format):
    theirs = place + ".x"
    lines(0, 4).to_zarr(theirs, zarr_format=zarr_format)
    new = lines(4, 8).assign_coords(lat=("y", [7.0, 8.0]))
    new.to_zarr(theirs, append_dim="t")
    assert xr.open_zarr(theirs).lat.values.tolist() == [7, 8]
    to_zarr(lines(0, 4), place, zarr_format=zarr_format)
    before = files(place)
    with pytest.raises(MetadataError, match="coordinate 'lat' has other values"):
        to_zarr(new, place, append_dim="t")
    assert files(place) == before
    to_zarr(new, place, "a-", append_dim="t")
    assert by_us(place).lat.values.tolist() == [1.5, 2.5]
    newer = lines(8, 10).assign_coords(lat=("y", [7.0, 8.0]))
    with pytest.warns(UserWarning, match="coordinate 'lat' has other values"):
        to_zarr(newer, place, append_dim="t", overwrite_coords="warn")
    assert by_us(place).lat.values.tolist() == [7, 8]
    to_zarr(lines(10, 12), place, append_dim="t", overwrite_coords=True)
    assert by_us(place).lat.values.tolist() == [1.5, 2.5]
    np.testing.assert_array_equal(by_us(place).a, np.arange(12))


@pytest.mark.parametrize("dask_backed", [False, True])
def test_coordinates_that_are_the_same(dask_backed):
    ds = xr.Dataset(
        {"a": ("t", np.arange(3))},
        coords={
            "nan": ("y", [1.5, np.nan]),
            "when": ("y", times("2020-01-01", "NaT")),
            "packed": ("y", np.array([0.5, 1.0]), {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}),
            "text": ("y", np.array(["a", "bc"], object)),
            "fixed": ("y", np.array(["a", "bc"])),
            "lone": 5,
        },
    )
    if dask_backed:
        ds["nan"] = ds.nan.chunk(y=1)
    to_zarr(ds, store := {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_zarr(ds, store, append_dim="t")
    assert by_us(store).sizes["t"] == 6
    for name, other in {"nan": [1.5, 2], "lone": 6, "text": np.array(["a", "bd"], object)}.items():
        changed = ds.assign_coords({name: other if name == "lone" else ("y", other)})
        with pytest.raises(MetadataError, match="has other values"):
            to_zarr(changed, store, append_dim="t")


def test_labels_that_are_there_already(place):
    to_zarr(lines(0, 4), place)
    before = files(place)
    new = lines(4, 8).assign_coords(t=[30, 40, 50, 60])
    with pytest.raises(AppendError, match="1 of 4 labels of 't' are stored already"):
        to_zarr(new, place, append_dim="t", duplicates="error")
    with pytest.raises(AppendError, match="given twice"):
        to_zarr(new.assign_coords(t=[40, 50, 50, 60]), place, append_dim="t", duplicates="error")
    assert files(place) == before
    to_zarr(lines(4, 8), place, append_dim="t", duplicates="error")
    to_zarr(lines(4, 8), place, append_dim="t")
    assert by_us(place).sizes["t"] == 12


# ---- mode="w" from itself


@pytest.mark.parametrize("kind", ["mapping", "folder"])
@pytest.mark.parametrize("engine", ["daskzarr", "zarr"])
@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
@pytest.mark.parametrize("compute", [True, False])
@pytest.mark.parametrize("change", ["none", "sum", "merge"])
def test_a_dataset_that_replaces_what_it_is_read_from(place, kind, engine, chunks, compute, change):
    store = {} if kind == "mapping" else place
    cells = np.arange(12).reshape(4, 3)
    made = xr.Dataset({"a": (("t", "x"), cells), "b": ("t", np.arange(4) * 2.0)})
    if engine == "zarr":
        made.chunk(t=2).to_zarr(store)
    else:
        to_zarr(made.chunk(t=2), store)
    changed = {
        "none": lambda ds: ds,
        "sum": lambda ds: ds + 1,
        "merge": lambda ds: xr.Dataset({"a": ds.a + 5, "c": ds.b}),
    }[change]
    given = changed(xr.open_dataset(store, engine=engine, chunks=chunks))
    delayed = to_zarr(given, store, "w", compute=compute)
    if delayed is not None:
        delayed.compute()
    xr.testing.assert_equal(by_us(store), changed(made))


@pytest.mark.parametrize("compute", [True, False])
@pytest.mark.parametrize("kind", ["mapping", "folder"])
def test_our_own_verb_too(place, kind, compute):
    store = {} if kind == "mapping" else place
    to_zarr(lines(0, 6), store)
    delayed = to_zarr(open_zarr(store) + 1, store, "w", compute=compute)
    if delayed is not None:
        delayed.compute()
    xr.testing.assert_equal(by_us(store), (lines(0, 6) + 1).compute())


@FORMATS
@pytest.mark.parametrize("group", [None, "g"])
def test_what_is_there_stays_until_the_new_one_is(place, zarr_format, group):
    fail = threading.Event()
    fail.set()
    theirs = place + ".x"
    lines(0, 4).to_zarr(theirs, zarr_format=zarr_format, group=group)
    with pytest.raises(FailedOnPurpose):
        lines(4, 10, fail).to_zarr(theirs, mode="w", group=group, zarr_format=zarr_format)
    assert xr.open_zarr(theirs, group=group).a.values.tolist() != [0, 1, 2, 3]
    to_zarr(lines(0, 4), place, zarr_format=zarr_format, group=group)
    before = files(place)
    with pytest.raises(FailedOnPurpose):
        to_zarr(lines(4, 10, fail), place, "w", group)
    assert files(place) == before
    fail.clear()
    to_zarr(lines(4, 10, fail), place, "w", group, zarr_format=zarr_format)
    xr.testing.assert_identical(open_zarr(place, group=group).load(), lines(4, 10).compute())


# ---- blocks that cut stored objects


@pytest.mark.parametrize("shards", [None, (6,)])
def test_misaligned_blocks(place, shards):
    n = np.arange(40)
    ds = xr.Dataset({"a": ("t", da.from_array(n, chunks=5))})
    encoding = {"a": {"chunks": (3,)} | ({"shards": shards} if shards else {})}
    with dask.config.set(scheduler="threads"):
        to_zarr(ds, place, encoding=encoding, safe_chunks=False)
        np.testing.assert_array_equal(by_us(place).a, n)
        to_zarr(ds + 100, place, "a", region={"t": slice(0, 40)}, safe_chunks=False)
        np.testing.assert_array_equal(by_us(place).a, n + 100)
        to_zarr((ds + 200).isel(t=slice(0, 13)), place, region={"t": slice(20, 33)}, safe_chunks=False)
        to_zarr(ds + 300, place, append_dim="t", safe_chunks=False)
    want = np.r_[n + 100, n + 300]
    want[20:33] = n[:13] + 200
    np.testing.assert_array_equal(by_us(place).a, want)


@pytest.mark.parametrize("engine", ["daskzarr", "zarr"])
@pytest.mark.parametrize("arguments", [{"region": {"t": slice(0, 40)}}, {"mode": "a"}], ids=["region", "a"])
def test_a_variable_is_not_computed_from_the_cells_it_goes_to(place, engine, arguments):
    to_zarr(xr.Dataset({"a": ("t", np.arange(40))}).chunk(t=10), place)
    before = files(place)
    moved = xr.open_dataset(place, engine=engine, chunks={}).roll(t=15).chunk(t=10)
    with pytest.raises(FileExistsError, match="computed from the very cells"):
        to_zarr(moved, place, safe_chunks=False, **arguments)
    assert files(place) == before
    to_zarr(moved.load(), place, **arguments)
    np.testing.assert_array_equal(open_zarr(place)["a"].values, np.roll(np.arange(40), 15))


def test_an_append_may_be_computed_from_what_is_there(place):
    to_zarr(xr.Dataset({"a": ("t", np.arange(40))}).chunk(t=10), place)
    to_zarr(xr.open_dataset(place, engine="daskzarr", chunks={}) + 40, place, append_dim="t")
    np.testing.assert_array_equal(open_zarr(place)["a"].values, np.arange(80))


@pytest.mark.parametrize("existing", [False, True])
def test_text_is_as_long_as_its_bytes(existing):
    text, store = xr.Dataset({"a": ("x", np.array(["äö", "b"], object))}), {}
    if existing:
        to_zarr(xr.Dataset({"a": ("x", np.array([b"ab", b"c"]))}), store)
    arguments = {"append_dim": "x"} if existing else {"encoding": {"a": {"dtype": "S2"}}}
    with pytest.raises(LossError, match="'äö' is longer than the 2 characters or bytes"):
        to_zarr(text, store, **arguments)
