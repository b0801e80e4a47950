"""What xarray takes for missing, and for dimensions, is the same in another format: xarray with zarr-python says so."""

import json
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import daskzarr
from daskzarr.errors import MetadataError, UnsupportedError

MASK = "_FillValue"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multiple fill values"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr"),
    pytest.mark.filterwarnings("ignore:The data type .* does not have a Zarr V3"),
    pytest.mark.filterwarnings("ignore:Object at .* is not recognized as a component"),
]


def opened(place, engine="zarr", **options):
    with xr.open_dataset(place, engine=engine, consolidated=False, **options) as found:
        return found.load()


def converted(before, path, to, **options):
    """The dataset of a store, which is the same after conversion, to both engines; and that store."""
    there = str(path / f"to{to}")
    expected = opened(before)
    daskzarr.convert(before, there, zarr_format=to, **options)
    for engine in ("zarr", "daskzarr"):
        xr.testing.assert_identical(opened(there, engine), expected)
    return there


def document(place, name="a"):
    """The array's document, and its attributes."""
    folder = Path(place, name)
    if (folder / "zarr.json").exists() and not (folder / ".zarray").exists():
        found = json.loads((folder / "zarr.json").read_text())
        return found, found["attributes"]
    return json.loads((folder / ".zarray").read_text()), json.loads((folder / ".zattrs").read_text())


def stored(place, name="a"):
    """How many chunks there are."""
    names = [p.name for p in Path(place, name).rglob("*") if p.is_file()]
    return len([each for each in names if not each.startswith(".") and each != "zarr.json"])


TIMES = np.array(["2000-01-01", "NaT", "2000-01-05", "2000-01-09"], "M8[ns]")
SPANS = np.array([0, 1, 5, 9], "m8[D]").astype("m8[ns]")
HOLES = [0.0, np.nan, 2.5, -1.0]
VARIABLES = {
    "floats": (HOLES, {}),
    "single": (np.array(HOLES, "f4"), {}),
    "half": (np.array(HOLES, "f2"), {}),
    "floats with a value": (HOLES, {MASK: -9999.5}),
    "single with a value": (np.array(HOLES, "f4"), {MASK: 1e20}),
    "floats, none missing": (np.array([0.0, 1.5, 2.5, 3.5]), {MASK: None}),
    "floats, infinite": (np.array([0.0, np.inf, np.nan, 3.5]), {MASK: -np.inf}),
    "integers": (np.array([0, 1, 2, -3], "i4"), {}),
    "integers with a value": ([0.0, np.nan, 2.0, 3.0], {MASK: -9, "dtype": "i4"}),
    "integers with 0": ([np.nan, 1.0, 2.0, 3.0], {MASK: 0, "dtype": "i8"}),
    "large integers": (np.array([0, 2**63, 2**64 - 2, 5], "u8"), {MASK: 2**64 - 1}),
    "packed": ([0.0, np.nan, 2.5, 4.0], {MASK: -9, "dtype": "i2", "scale_factor": 0.5, "add_offset": 1.0}),
    "unsigned": ([0.0, np.nan, 254.0, 4.0], {MASK: np.int8(-1), "dtype": "i1", "_Unsigned": "true"}),
    "booleans": (np.array([True, False, False, True]), {}),
    "times": (TIMES, {}),
    "times with a value": (TIMES, {MASK: -1, "dtype": "i8"}),
    "times as floats": (TIMES, {"dtype": "f8"}),
    "spans": (SPANS, {}),
    "text": (np.array(["a", "", "ccc", "d"], object), {}),
    "fixed text": (np.array(["a", "", "ccc", "d"], "U3"), {}),
    "fixed bytes": (np.array([b"a", b"", b"ccc", b"d"], "S3"), {"char_dim_name": "letters"}),
    "complex": (np.array([0, 1j, 2, 3 - 4j]), {}),
    "complex with a value": (np.array([0, 1j, np.nan, 3]), {MASK: 3 + 0j}),
}


def dataset(shape="vector", names=tuple(VARIABLES)):
    """A dataset of xarray's with one variable of each kind."""
    found = {}
    for name in names:
        values, encoding = VARIABLES[name]
        cells = np.asarray(values)
        if shape == "scalar":
            found[name] = ((), cells[0], {"units_of": name}, encoding)
        elif shape == "empty":
            found[name] = ("x", cells[:0], {"n": 1}, encoding)
        else:
            found[name] = ("x", cells, {"n": [1, 2]}, encoding | {"chunks": (2,)})
    return xr.Dataset(found, {"x": [3, 0, 2, 1]} if shape == "vector" else {}, {"title": "t"})


@pytest.mark.parametrize("shape", ["vector", "scalar", "empty"])
@pytest.mark.parametrize("first", [2, 3])
def test_a_dataset_of_xarrays_and_back(tmp_path, first, shape):
    start = str(tmp_path / "start")
    dataset(shape).to_zarr(start, zarr_format=first, consolidated=False)
    there = converted(start, tmp_path, 5 - first)
    again = converted(there, tmp_path / "again", first)
    for name in VARIABLES:
        before, after = document(start, name), document(again, name)
        if first == 2:
            assert before == after  # the fill value too
        elif before[0]["fill_value"] == "NaN" and MASK not in before[1]:
            assert after[1] == before[1] | {MASK: "AAAAAAAA+H8="}  # NaN is missing with and without it
        else:
            assert before[1] == after[1]


@pytest.mark.parametrize("first", [2, 3])
def test_documents_are_those_that_xarray_writes(tmp_path, first):
    names = ["floats", "integers with a value", "complex with a value", "integers", "packed"]
    for zarr_format in (2, 3):
        dataset(names=names).to_zarr(tmp_path / f"{zarr_format}", zarr_format=zarr_format, consolidated=False)
    there = converted(str(tmp_path / f"{first}"), tmp_path / "new", 5 - first)
    for name in names:
        found, expected = document(there, name), document(tmp_path / f"{5 - first}", name)
        assert found[1] == expected[1]
        assert first == 2 or found[0]["fill_value"] == expected[0]["fill_value"]


@pytest.mark.parametrize("options", [{}, {"compressors": "zstd"}])
@pytest.mark.parametrize("first", [2, 3])
def test_rechunk_says_the_same(tmp_path, first, options):
    start, there = str(tmp_path / "start"), str(tmp_path / "there")
    dataset().to_zarr(start, zarr_format=first, consolidated=False)
    daskzarr.rechunk(start, there, {"x": 3}, zarr_format=5 - first, consolidated=False, **options)
    for engine in ("zarr", "daskzarr"):
        xr.testing.assert_identical(opened(there, engine), opened(start))


def test_in_place_both_readings_are_right(tmp_path):
    place = str(tmp_path / "a")
    dataset().to_zarr(place, zarr_format=2, consolidated=False)
    expected, before = opened(place), {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    daskzarr.convert(place, zarr_format=3)
    assert before.items() <= {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}.items()
    for zarr_format in (2, 3):
        xr.testing.assert_identical(opened(place, zarr_format=zarr_format), expected)
        xr.testing.assert_identical(opened(place, "daskzarr", zarr_format=zarr_format), expected)


# ---- arrays that xarray did not write


def old_array(path, cells, fill_value, attributes=(), names=("x",), name="a"):
    """A v2 array of zarr-python's."""
    group = zarr.open_group(path, mode="a", zarr_format=2)
    options = {"chunks": (2,)} if cells.ndim else {}
    array = group.create_array(name, shape=cells.shape, dtype=cells.dtype, fill_value=fill_value, **options)
    array[...] = cells
    array.attrs.update({**({} if names is None else {"_ARRAY_DIMENSIONS": list(names)}), **dict(attributes)})


def new_array(path, cells, fill_value, attributes=(), names=("x",), name="a"):
    """A v3 array of zarr-python's."""
    group = zarr.open_group(path, mode="a", zarr_format=3)
    options = {"chunks": (2,)} if cells.ndim else {}
    array = group.create_array(
        *(name,), shape=cells.shape, dtype=cells.dtype, fill_value=fill_value, dimension_names=names, **options
    )
    array[...] = cells
    array.attrs.update(dict(attributes))


@pytest.mark.parametrize(
    ("cells", "fill_value", "attributes"),
    [
        (np.array([0, 0, 0, 7], "i4"), 0, {}),  # zarr-python's default: to xarray zeros are missing
        (np.array([0.0, -0.0, 1.5, 7]), 0.0, {}),
        (np.array([0.0, -0.0, 1.5, 7]), -0.0, {}),
        (np.array([False, False, True, True]), False, {}),
        (np.array([0, 5, 1, 7], "i4"), 5, {MASK: 7}),  # xarray does not look at the attribute
        (np.array([0, 5, 1, 7], "i4"), None, {MASK: 7}),
        (np.array([0, 5, 1, 7], "f4"), None, {MASK: 7.0}),
        (np.array([0, 5, 1, 7], "f8"), None, {MASK: 7}),
        (np.array([0.0, 0.5, 1, 7], "f4"), None, {MASK: 0.5}),
        (np.array([0, 5, 1, 7], "i4"), None, {MASK: None}),
        (np.array(3.5), 3.5, {}),
    ],
)
def test_arrays_of_zarr_python_from_v2(tmp_path, cells, fill_value, attributes):
    start = str(tmp_path / "start")
    names = ("x",) * cells.ndim
    old_array(start, cells, fill_value, attributes, names)
    if attributes.get(MASK, 0) is None:
        daskzarr.convert(start, there := str(tmp_path / "new"), zarr_format=3)
        assert MASK not in document(there)[1]
        return
    there = converted(start, tmp_path, 3)
    converted(there, tmp_path / "again", 2)


def test_a_list_of_one_that_netcdf_c_writes_is_the_value(tmp_path):
    old_array(start := str(tmp_path / "start"), np.array([0, 5, 1, 7]), None, {MASK: [7]})
    daskzarr.convert(start, there := str(tmp_path / "new"), zarr_format=3)
    xr.testing.assert_identical(opened(there), opened(start))
    assert document(there)[1] == {MASK: 7}


def test_a_float_of_an_attribute_keeps_its_digits(tmp_path):
    old_array(start := str(tmp_path / "start"), np.array([0, 0.1, 1], "f4"), None, {MASK: 0.1})
    daskzarr.convert(start, there := str(tmp_path / "new"), zarr_format=3)
    xr.testing.assert_identical(opened(there), opened(start))  # 0.1 is no number of 32 bits: nothing is missing


@pytest.mark.parametrize("value", [2.5, 300, [1, 2], "x", float("inf")])
def test_an_attribute_that_is_no_value_is_refused(tmp_path, value):
    cells = np.array([0, 5, 1, 7], "u1")
    daskzarr.to_zarr(*(da.from_array(cells), old := {}, "g/a"), zarr_format=2, dimension_names=["x"], fill_value=None)
    text = {"_ARRAY_DIMENSIONS": ["x"], MASK: value}
    old["g/a/.zattrs"] = json.dumps(text).replace("Infinity", "1e999").encode()
    with pytest.raises(MetadataError, match=MASK) as caught:
        daskzarr.convert(old, new := {}, "g", zarr_format=3)
    assert caught.value.node == "g/a"
    assert caught.value.field == MASK
    assert not new


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("u1", 300), ("f4", "NaN"), ("f4", "////////738="), ("f8", {}), ("c16", [1.0, 2.0, 3.0]), ("S3", "é")],
)
def test_a_mask_that_is_none_is_refused(dtype, value):
    cells = da.zeros(4, dtype=dtype)
    daskzarr.to_zarr(cells, new := {}, "a", dimension_names=["x"], attributes={MASK: value})
    with pytest.raises(MetadataError, match=MASK) as caught:
        daskzarr.convert(new, old := {}, zarr_format=2)
    assert caught.value.node == "a"
    assert not old
    daskzarr.convert(new, old, zarr_format=2, missing_values="keep")
    assert json.loads(old["a/.zattrs"]) == {MASK: value, "_ARRAY_DIMENSIONS": ["x"]}


# ---- absent chunks


ABSENT = [
    (np.array([0, 0, 0, 0, 7], "i4"), 0, {}, None),
    (np.array([0, 0, 0, 0, 7], "i4"), 0, {MASK: -9}, -9),
    (np.array([3, 3, 3, 3, -9], "i4"), 3, {MASK: -9}, -9),
    (np.array([False, False, False, False, True]), False, {}, None),
    (np.array([0.0, 0, 0, 0, np.nan]), 0.0, {MASK: "AAAAAAAA+H8="}, "NaN"),
    (np.array([0.0, 0, 0, 0, np.nan]), 0.0, {}, None),
    (np.array([np.nan, np.nan, np.nan, np.nan, 5]), np.nan, {MASK: "AAAAAAAAFEA="}, 5.0),
]


@pytest.mark.parametrize(("cells", "fill_value", "attributes", "becomes"), ABSENT)
def test_absent_chunks_are_written_where_the_fill_value_becomes_another(
    tmp_path, cells, fill_value, attributes, becomes
):
    new_array(start := str(tmp_path / "start"), cells, fill_value, attributes)
    assert stored(start) == 1
    there = converted(start, tmp_path, 2)
    assert document(there)[0]["fill_value"] == becomes
    assert stored(there) == 3
    np.testing.assert_array_equal(zarr.open_group(there, mode="r")["a"][:], cells)
    for options in ({}, {"compressors": "gzip"}):
        place = str(tmp_path / f"rechunked{len(options)}")
        daskzarr.rechunk(start, place, {"x": 3}, zarr_format=2, consolidated=False, **options)
        assert document(place)[0]["fill_value"] == becomes
        assert stored(place) == 2
        xr.testing.assert_identical(opened(place), opened(start))
    back = converted(there, tmp_path / "again", 3)
    assert document(back)[1] == attributes


@pytest.mark.parametrize(
    ("cells", "fill_value", "attributes"),
    [
        (np.array([np.nan, np.nan, np.nan, np.nan, 5]), np.nan, {MASK: "AAAAAAAA+H8="}),
        (np.array([np.nan, np.nan, np.nan, np.nan, 5]), np.nan, {}),
        (np.array([-9, -9, -9, -9, 5]), -9, {MASK: -9}),
    ],
)
def test_absent_chunks_stay_absent_where_the_fill_value_stays(tmp_path, cells, fill_value, attributes):
    new_array(start := str(tmp_path / "start"), cells, fill_value, attributes)
    assert stored(converted(start, tmp_path, 2)) == stored(start) == 1


def test_absent_chunks_of_v2_stay_absent(tmp_path):
    for name, fill_value, cells in [("a", -9, [-9, -9, -9, -9, 3]), ("b", None, [0, 0, 0, 0, 3])]:
        old_array(start := str(tmp_path / "start"), np.array(cells), fill_value, name=name)
    there = converted(start, tmp_path, 3)
    for name in "ab":
        assert stored(there, name) == stored(start, name)
    np.testing.assert_array_equal(zarr.open_group(there, mode="r")["a"][:], [-9, -9, -9, -9, 3])


@pytest.mark.parametrize("text", [True, False])
def test_absent_shards_and_texts_are_written_too(text):
    cells = np.array(["", "", "", "", "e", "f"], object) if text else np.array([0, 0, 0, 0, 5, 6], "i2")
    options = {"dtype": str} if text else {"chunks": (1,), "shards": (2,)}
    daskzarr.to_zarr(da.from_array(cells, chunks=2), new := {}, dimension_names=["x"], **options)
    assert len(new) == 2
    there = daskzarr.convert(new, old := {}, zarr_format=2)
    assert there.metadata.fill_value is None
    assert len([key for key in old if not key.startswith(".")]) == (3 if text else 6)
    assert daskzarr.from_zarr(old).compute().tolist() == cells.tolist()


def test_in_place_what_absent_chunks_read_as_cannot_change():
    keys = {"name": "v2", "configuration": {"separator": "."}}
    daskzarr.to_zarr(
        da.zeros(4, chunks=2, dtype="i4"), store := {}, "g/a", dimension_names=["x"], chunk_key_encoding=keys
    )
    before = dict(store)
    with pytest.raises(UnsupportedError, match="give a target") as caught:
        daskzarr.convert(store, None, "g/a", zarr_format=2)
    assert caught.value.node == "g/a"
    assert store == before
    assert daskzarr.convert(store, None, "g/a", zarr_format=2, missing_values="keep").fill_value == 0


def test_in_place_from_v3_where_nothing_changes():
    keys = {"name": "v2", "configuration": {"separator": "."}}
    options = {"dimension_names": ["x"], "chunk_key_encoding": keys}
    daskzarr.to_zarr(*(da.zeros(4, chunks=2, dtype="i4"), store := {}), fill_value=-9, attributes={MASK: -9}, **options)
    there = daskzarr.convert(store, zarr_format=2)
    assert (there.fill_value, dict(there.attrs)) == (-9, {})
    assert daskzarr.open_array(store, zarr_format=3).attrs[MASK] == -9
    daskzarr.create_array(empty := {}, shape=(0,), chunks=(2,), dtype="i4", **options)
    assert daskzarr.convert(empty, zarr_format=2).metadata.fill_value is None


# ---- what is not xarray's, and what is kept


@pytest.mark.parametrize("names", [None, ("x", None)])
@pytest.mark.parametrize("attributes", [{}, {MASK: "as it is"}, {MASK: 5, "n": [1]}])
@pytest.mark.parametrize(("first", "to"), [(2, 3), (3, 2), (2, "n5"), ("n5", 2)])
def test_arrays_without_names_stay_as_they_are(first, to, attributes, names):
    options = {"zarr_format": first, "dimension_names": names, "attributes": attributes}
    daskzarr.to_zarr(da.zeros((4, 2), chunks=2, dtype="i4"), start := {}, **options)
    there = daskzarr.convert(start, {}, zarr_format=to)
    assert json.dumps(dict(there.attrs)) == json.dumps(attributes)
    assert there.metadata.fill_value == 0
    report = daskzarr.rechunk(start, {}, 1, zarr_format=to, compressors=None)
    assert json.dumps(dict(report.target.attrs)) == json.dumps(attributes)
    assert report.target.metadata.fill_value == 0


@pytest.mark.parametrize(("first", "to"), [(2, 3), (3, 2), (2, "n5"), ("n5", 2)])
def test_keep_keeps(first, to):
    options = {"zarr_format": first, "dimension_names": ["x"], "attributes": {"n": 1}}
    daskzarr.to_zarr(da.zeros(4, chunks=2, dtype="i4"), start := {}, **options)
    new, other = {}, {}
    there = daskzarr.convert(start, new, zarr_format=to, missing_values="keep")
    target = daskzarr.rechunk(start, other, {"x": 4}, zarr_format=to, missing_values="keep").target
    for found, store in ((there, new), (target, other)):
        assert dict(found.attrs) == {"n": 1}
        assert found.metadata.fill_value == 0
        assert not [key for key in store if key.rpartition("/")[2] in ("0", "1")]


@pytest.mark.parametrize("value", [None, "no", True, ["keep"]])
def test_the_setting_is_checked(value):
    daskzarr.to_zarr(da.zeros(4), start := {})
    with pytest.raises(MetadataError, match="missing_values"):
        daskzarr.convert(start, {}, zarr_format=2, missing_values=value)
    with pytest.raises(MetadataError, match="missing_values"):
        daskzarr.rechunk(start, {}, 2, missing_values=value)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ms]", [("a", "<i4"), ("b", "<f8")], "bfloat16"])
def test_types_of_which_xarray_masks_nothing_keep_their_fill_value(dtype):
    pytest.importorskip("ml_dtypes")
    options = {"shape": (4,), "chunks": (2,), "dtype": dtype, "dimension_names": ["x"], "fill_value": 0}
    daskzarr.create_array(start := {}, zarr_format=2, **options)
    middle = daskzarr.convert(start, new := {}, zarr_format=3)
    assert dict(middle.attrs) == {}
    daskzarr.convert(new, again := {}, zarr_format=2)
    assert json.loads(again[".zarray"]) == json.loads(start[".zarray"])


@pytest.mark.parametrize(
    ("cells", "dtype", "fill_value", "spelled"),
    [
        (["a", "?", "c"], str, "?", "?"),
        (["a", "?", "c"], "U3", "?", "?"),
        ([b"a", b"?", b"c"], "S3", b"?", "Pw=="),
        ([b"a", b"?", b"c"], "bytes", b"?", "Pw=="),
    ],
)
def test_masks_of_text_are_spelled_as_xarray_writes_them(cells, dtype, fill_value, spelled):
    cells = da.from_array(np.array(cells, object if dtype in (str, "bytes") else dtype), chunks=2)
    options = {"zarr_format": 2, "dimension_names": ["x"]}
    daskzarr.to_zarr(cells, start := {}, dtype=dtype, fill_value=fill_value, **options)
    there = daskzarr.convert(start, new := {}, zarr_format=3)
    assert dict(there.attrs) == {MASK: spelled}
    daskzarr.convert(new, again := {}, zarr_format=2)
    assert json.loads(again[".zarray"]) == json.loads(start[".zarray"])
    assert json.loads(again[".zattrs"]) == {"_ARRAY_DIMENSIONS": ["x"]}


@pytest.mark.parametrize("dtype", ["U3", "S3"])
def test_the_empty_text_is_no_mask_in_v3(tmp_path, dtype):
    cells = np.array(["a", "", "c"], dtype)
    old_array(start := str(tmp_path / "start"), cells, cells[1])
    daskzarr.convert(start, there := str(tmp_path / "new"), zarr_format=3)
    assert document(there)[1] == {}
    assert opened(there)["a"].values.tolist() == cells.tolist()  # with an attribute xarray would not open it


# ---- scalars


def test_scalars_are_variables_in_v2(tmp_path):
    new_array(start := str(tmp_path / "start"), np.array(0), 0, {"units": "K"}, names=None)
    there = converted(start, tmp_path, 2)
    assert document(there)[1] == {"units": "K", "_ARRAY_DIMENSIONS": []}
    assert opened(there)["a"].item() == 0
    daskzarr.rechunk(start, other := str(tmp_path / "other"), {}, zarr_format=2, consolidated=False)
    xr.testing.assert_identical(opened(other), opened(start))


def test_a_scalar_of_v2_that_is_no_variable_gets_no_mask(tmp_path):
    old_array(start := str(tmp_path / "start"), np.array(7), 7, names=None)
    there = daskzarr.convert(start, {}, zarr_format=3)
    assert dict(there["a"].attrs) == {}


# ---- N5, and other dtypes


def test_n5_says_it_as_v3_does():
    cells = da.from_array(np.array([0, 0, 0, 0, 7], "i4"), chunks=2)
    daskzarr.to_zarr(cells, start := {}, "a", zarr_format=2, dimension_names=["x"], fill_value=0)
    daskzarr.convert(start, middle := {}, zarr_format="n5")
    assert json.loads(middle["a/attributes.json"])[MASK] == 0
    there = daskzarr.convert(middle, {}, zarr_format=2)["a"]
    assert (there.metadata.fill_value, dict(there.attrs)) == (0, {})
    daskzarr.to_zarr(cells, plain := {}, zarr_format="n5", dimension_names=["x"])
    there = daskzarr.convert(plain, old := {}, zarr_format=2)
    assert there.metadata.fill_value is None
    assert sorted(key for key in old if not key.startswith(".")) == ["0", "1", "2"]
    there = daskzarr.convert(plain, new := {}, zarr_format=3)
    assert (there.fill_value, dict(there.attrs)) == (0, {})
    assert sorted(new) == ["c/2", "zarr.json"]


@pytest.mark.parametrize("first", [2, 3])
def test_rechunk_to_another_dtype_spells_the_mask_anew(tmp_path, first):
    cells = np.array([0, -9, 2, 4], "i2")
    start, there = str(tmp_path / "start" / "a"), str(tmp_path / "new" / "a")
    place = {2: {"fill_value": -9}, 3: {"attributes": {MASK: -9}}}[first]
    for folder in (start, there):
        zarr.open_group(Path(folder).parent, mode="w", zarr_format=3 if folder == there else first)
    daskzarr.to_zarr(da.from_array(cells), start, zarr_format=first, dimension_names=["x"], **place)
    report = daskzarr.rechunk(start, there, 2, zarr_format=3, dtype="f8")
    assert dict(report.target.attrs) == {MASK: "AAAAAAAAIsA="}
    found = opened(Path(there).parent)["a"].values
    np.testing.assert_array_equal(found, [0, np.nan, 2, 4])


def test_rechunk_keeps_an_undefined_fill_value():
    options = {"zarr_format": 2, "dimension_names": ["x"], "fill_value": None}
    daskzarr.to_zarr(da.zeros(4, chunks=2, dtype="i4"), start := {}, **options)
    for settings in ({}, {"compressors": "zstd"}, {"dtype": "i8"}):
        target = daskzarr.rechunk(start, new := {}, 1, **settings).target
        assert target.metadata.fill_value is None
        assert len([key for key in new if not key.startswith(".")]) == 4
