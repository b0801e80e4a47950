"""NCZarr: what netCDF-C writes, daskzarr reads as netCDF-C does, bit for bit; and plain Zarr v2 the other way round."""

import json
import warnings

import dask
import dask.array as da
import netCDF4
import numpy as np
import pytest
import zarr

import daskzarr

from .cells import distinct, same
from .peers import as_known

RELEASE = netCDF4.__netcdf4libversion__
SHAPE, CHUNKS = (5, 7), (2, 3)
DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
FILTERS = {
    "raw": {},
    "zlib": {"zlib": True, "shuffle": False},
    "shuffle zlib": {"zlib": True, "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "shuffle zlib fletcher32": {"zlib": True, "shuffle": True, "fletcher32": True},
    "zstd": {"compression": "zstd", "shuffle": True},
    "bzip2": {"compression": "bzip2"},
}
HIDDEN = ("_nc", "_NC")


def read(path, component, **how):
    return daskzarr.from_zarr(path, component, **how).compute(scheduler="synchronous")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a variable of each kind: its path, and what netCDF-C itself reads and tells of each."""
    path = str(tmp_path_factory.mktemp("nczarr") / "a.zarr")
    with warnings.catch_warnings(action="ignore"), netCDF4.Dataset(f"file://{path}#mode=nczarr,file", "w") as file:
        file.set_auto_maskandscale(False)
        for name, length in {"y": 5, "x": 7, "t": None, "s": 4, "big": 200}.items():
            file.createDimension(name, length)
        for dtype in DTYPES:
            for name, how in FILTERS.items():
                data = distinct(SHAPE, dtype)
                how = {"chunksizes": CHUNKS, "endian": "little"} | how
                file.createVariable(f"{dtype} {name}", dtype, ("y", "x"), **how)[...] = data
            if dtype[1] != "1":
                how |= {"endian": "big"}
                file.createVariable(f"{dtype} big", dtype, ("y", "x"), **how)[...] = data
        how = {"chunksizes": (100, 100), "compression": "blosc_lz4", "blosc_shuffle": 1}
        file.createVariable("blosc", "i4", ("big", "big"), **how)[...] = np.arange(40000).reshape(200, 200)
        file.createVariable("unlimited", "f8", ("t",))[:] = distinct((3,), "f8")
        file.createVariable("unlimited rows", "i4", ("t", "x"), zlib=True)[1:3] = distinct((2, 7), "i4")
        file.createVariable("chars", "S1", ("y", "s"))[...] = np.array([list("abcd")] * 5, "S1")
        file.createVariable("texts", str, ("y",))[...] = np.array(["a", "", "ccc", "é", "eeeee"], object)
        file.createVariable("scalar", "f4", ())[...] = 3.5
        file.createVariable("unwritten", "f8", ("y",))
        file.createVariable("fill", "i2", ("y", "x"), fill_value=-5, chunksizes=CHUNKS)[:2] = 7
        group = file.createGroup("g")
        group.createDimension("z", 3)
        variable = group.createVariable("a", "i2", ("z", "y"))
        variable[...] = distinct((3, 5), "i2")
        variable.units, variable.valid = "K", np.arange(3)
        file.title = "é"
        file.variables["scalar"].units = "m"
    with netCDF4.Dataset(f"file://{path}#mode=nczarr,file") as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        variables = file.variables | {f"g/{name}": found for name, found in file["g"].variables.items()}
        found = {name: (np.asarray(variable[...]), variable.dimensions) for name, variable in variables.items()}
    return path, found


def test_every_variable_reads_as_netcdf_reads_it(store):
    path, found = store
    for name, (expected, dimensions) in found.items():
        array = daskzarr.open_array(path, name)
        cells = read(path, name)
        if expected.dtype == object:
            cells = np.array([text.decode() for text in cells], object)
        same(cells, expected)
        assert (array.shape, array.dimension_names or ()) == (expected.shape, dimensions)


def test_absent_chunks_and_fill_values(store):
    path, found = store
    assert daskzarr.open_array(path, "fill").fill_value == -5
    same(read(path, "fill")[2:], np.full((3, 7), -5, "i2"))
    same(read(path, "unwritten"), found["unwritten"][0])


def test_a_scalar_has_no_axes_whoever_opens_it(store):
    path, _ = store
    for name in ("scalar",):
        assert daskzarr.open_array(path, name).shape == ()
        assert daskzarr.from_zarr(path, name).shape == ()
        assert daskzarr.open_group(path)[name].shape == ()


def test_what_netcdf_notes_for_itself_is_no_attribute(store):
    path, _ = store
    assert daskzarr.open_array(path, "g/a").attrs == {"units": "K", "valid": [0, 1, 2]}
    assert daskzarr.open_array(path, "scalar").attrs == {"units": "m"}
    assert daskzarr.open_group(path).attrs["title"] == "é"
    assert not [name for name in daskzarr.open_group(path).attrs if name.startswith("_nczarr")]


# What netCDF-C 4.9.0 writes: its notes are in the documents, a scalar says so there, a char is a "<U1" of one byte.
OLD = {
    ".zgroup": {
        "zarr_format": 2,
        "_NCZARR_SUPERBLOCK": {"version": "2.0.0"},
        "_NCZARR_GROUP": {"dims": {"y": 3, "x": 4, "s": 5}, "vars": ["a", "sc", "c", "d"], "groups": ["g"]},
    },
    ".zattrs": {"title": "old", "_NCZARR_ATTR": {"types": {"title": "<U1"}}},
    "a/.zarray": {
        "shape": [3, 4],
        "dtype": "<i4",
        "chunks": [2, 2],
        "fill_value": -2147483647,
        "_NCZARR_ARRAY": {"dimrefs": ["/y", "/x"], "storage": "chunked"},
    },
    "a/.zattrs": {"units": "K", "_ARRAY_DIMENSIONS": ["y", "x"], "_NCZARR_ATTR": {"types": {"units": "<U1"}}},
    "a/0.0": "01000000020000000500000006000000",
    "a/0.1": "03000000040000000700000008000000",
    "a/1.0": "090000000a0000000100008001000080",
    "a/1.1": "0b0000000c0000000100008001000080",
    "c/.zarray": {
        "shape": [3, 5],
        "dtype": "<U1",
        "chunks": [3, 5],
        "fill_value": "",
        "_NCZARR_ARRAY": {"dimrefs": ["/y", "/s"], "storage": "chunked"},
    },
    "c/.zattrs": {"_ARRAY_DIMENSIONS": ["y", "s"], "_NCZARR_ATTR": {}},
    "c/0.0": b"abcdefghijklmno".hex(),
    "d/.zarray": {
        "shape": [3],
        "dtype": "<f8",
        "chunks": [3],
        "fill_value": -1.5,
        "_NCZARR_ARRAY": {"dimrefs": ["/y"], "storage": "chunked"},
    },
    "d/.zattrs": {"_FillValue": -1.5, "_ARRAY_DIMENSIONS": ["y"]},
    "d/0": "000000000000f03f000000000000f8bf0000000000000840",
    "sc/.zarray": {
        "shape": [1],
        "dtype": "<f4",
        "chunks": [1],
        "fill_value": 9.96921e36,
        "_NCZARR_ARRAY": {"dimrefs": [], "storage": "scalar"},
    },
    "sc/.zattrs": {"_ARRAY_DIMENSIONS": [], "_NCZARR_ATTR": {}},
    "sc/0": "00006040",
    "g/.zgroup": {"zarr_format": 2, "_NCZARR_GROUP": {"dims": {"z": 2}, "vars": ["b"], "groups": []}},
    "g/b/.zarray": {
        "shape": [2, 3],
        "dtype": "<i2",
        "chunks": [2, 3],
        "fill_value": -32767,
        "_NCZARR_ARRAY": {"dimrefs": ["/g/z", "/y"], "storage": "chunked"},
    },
    "g/b/0.0": "010002000300040005000600",
}
REST = {"zarr_format": 2, "order": "C", "compressor": None, "filters": None}


@pytest.fixture(scope="module")
def old():
    """The store of an older netCDF-C, in memory."""
    return {
        key: bytes.fromhex(value)
        if isinstance(value, str)
        else json.dumps(REST | value if key.endswith(".zarray") else value).encode()
        for key, value in OLD.items()
    }


OLD_ARRAYS = {
    "a": (np.arange(1, 13, dtype="i4").reshape(3, 4), ("y", "x")),
    "c": (np.array([list(row) for row in ("abcde", "fghij", "klmno")], "S1"), ("y", "s")),
    "d": (np.array([1, -1.5, 3]), ("y",)),
    "sc": (np.array(3.5, "f4"), ()),
    "g/b": (np.arange(1, 7, dtype="i2").reshape(2, 3), ("z", "y")),
}


@pytest.mark.parametrize("name", OLD_ARRAYS)
def test_stores_of_netcdf_490_are_read(name, old):
    expected, dimensions = OLD_ARRAYS[name]
    array = daskzarr.open_array(old, name)
    same(read(old, name), expected)
    assert (array.shape, array.dimension_names or ()) == (expected.shape, dimensions)


# ---- ours, read by netCDF-C

COMPRESSORS = {
    "none": None,
    "zlib": {"id": "zlib", "level": 1},
    "bz2": {"id": "bz2", "level": 1},
    "zstd": {"id": "zstd", "level": 1},
    "blosc": {"id": "blosc", "cname": "lz4", "shuffle": 1},
    "fletcher32": {"id": "fletcher32"},
    "shuffle": {"id": "shuffle", "elementsize": 4},
    "gzip": {"id": "gzip", "level": 1},
}
KNOWN = {"gzip": "netcdf-gzip"}


def read_with_netcdf(path, name="v"):
    with netCDF4.Dataset(f"file://{path}#mode=zarr,file") as file:
        variable = file[name]
        variable.set_auto_maskandscale(False)
        variable.set_auto_chartostring(False)
        return np.asarray(variable[...]), variable.dimensions, {k: variable.getncattr(k) for k in variable.ncattrs()}


def write(path, data, **how):
    how = {"zarr_format": 2, "dimension_names": ["y", "x"][: data.ndim], "attributes": {"units": "m"}} | how
    with dask.config.set(scheduler="synchronous"):
        daskzarr.to_zarr(da.from_array(data, chunks=how.setdefault("chunks", CHUNKS)), path, "v", **how)


@pytest.mark.parametrize("dtype", [order + dtype for dtype in DTYPES for order in "<>"])
@pytest.mark.parametrize("separator", [".", "/"])
def test_netcdf_reads_every_dtype(dtype, separator, tmp_path):
    data = distinct(SHAPE, dtype[1:])
    write(str(tmp_path), data, dtype=dtype, compressor={"id": "zlib", "level": 1}, dimension_separator=separator)
    cells, dimensions, attributes = read_with_netcdf(tmp_path)
    same(cells, data)
    assert dimensions == ("y", "x")
    assert attributes["units"] == "m"


def test_netcdf_reads_attributes_beyond_ascii(tmp_path):
    write(str(tmp_path), distinct(SHAPE, "i4"), attributes={"units": "é"})
    assert read_with_netcdf(tmp_path)[2]["units"] == "é"
    (document,) = tmp_path.rglob("v/.zattrs")
    escaped = document.read_bytes().replace("é".encode(), rb"\u00e9")
    assert escaped != document.read_bytes()
    document.write_bytes(escaped)
    with as_known("netcdf-escapes", RELEASE):
        assert read_with_netcdf(tmp_path)[2]["units"] == "é"


@pytest.mark.parametrize("name", COMPRESSORS)
def test_netcdf_reads_every_compressor(name, tmp_path):
    data = distinct((40, 30), "i4")
    write(str(tmp_path), data, chunks=(16, 16), compressor=COMPRESSORS[name])
    with as_known(KNOWN.get(name), RELEASE):
        same(read_with_netcdf(tmp_path)[0], data)


def test_netcdf_reads_bytes_and_absent_chunks(tmp_path):
    data = np.array([b"ab", b"c", b"def", b"", b"gh"], "S3")
    write(str(tmp_path / "s"), data, chunks=(2,))
    assert read_with_netcdf(tmp_path / "s")[0].tolist() == [text.decode() for text in data.tolist()]
    data = np.full(SHAPE, 2.5, "f4")
    write(str(tmp_path / "f"), data, fill_value=2.5)
    same(read_with_netcdf(tmp_path / "f")[0], data)


def test_netcdf_takes_order_f_for_order_c(tmp_path):
    data = distinct(SHAPE, "i4")
    write(str(tmp_path), data, order="F", compressor=None)
    with as_known("netcdf-order-f", RELEASE):
        same(read_with_netcdf(tmp_path)[0], data)


@pytest.mark.parametrize("dtype", ["b1", "f2", "c8", "U3", "M8[s]"])
def test_netcdf_has_no_such_type(dtype, tmp_path):
    data = distinct(SHAPE, dtype)
    write(str(tmp_path), data, fill_value=None)
    with as_known("netcdf-types", RELEASE):
        same(read_with_netcdf(tmp_path)[0], data)


def test_zarr_python_reads_garbage_where_netcdf_shuffles(store):
    path, found = store
    with as_known("netcdf-shuffle-0", zarr.__version__):
        same(zarr.open_array(path, path="i4 shuffle zlib", mode="r")[...], found["i4 shuffle zlib"][0])
