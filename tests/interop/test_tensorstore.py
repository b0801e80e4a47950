"""tensorstore and daskzarr: small floats and integers, opaque bytes, structures, and shards below a transpose."""

import ctypes
import json
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
import tensorstore

import daskzarr

from .cells import distinct, same
from .peers import as_known

RELEASE = version("tensorstore")
SHAPE, CHUNKS = (5, 7), (2, 3)
FLOAT8 = ["e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu"]
SMALL = ["bfloat16", *(f"float8_{form}" for form in FLOAT8), "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"]
SMALL += ["int2", "int4", "uint2", "uint4"]
UNKNOWN = {"float8_e4m3", "float6_e2m3fn", "float6_e3m2fn", "uint2", "uint4"}


def known(name, zarr_format):
    if name in UNKNOWN:
        return "tensorstore-types"
    return "tensorstore-float4-fill" if (name, zarr_format) == ("float4_e2m1fn", 2) else None


def tensorstore_of(path, zarr_format, **more):
    driver = {2: "zarr", 3: "zarr3"}[zarr_format]
    return tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": str(path)}, **more}).result()


def write(path, data, **how):
    with dask.config.set(scheduler="synchronous"):
        how = {"chunks": CHUNKS} | how
        daskzarr.to_zarr(da.from_array(data, chunks=how.get("shards", how["chunks"])), str(path), **how)


def read(path, component=None):
    return daskzarr.from_zarr(str(path), component).compute(scheduler="synchronous")


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_small_types_of_daskzarr(name, zarr_format, endian, tmp_path):
    data = distinct(SHAPE, getattr(ml_dtypes, name))
    if endian == "big" and (zarr_format == 2 or data.dtype.itemsize == 1):
        return
    codecs = [{"name": "bytes", "configuration": {"endian": endian} if data.dtype.itemsize > 1 else {}}]
    write(tmp_path, data, zarr_format=zarr_format, **({"codecs": codecs} if zarr_format == 3 else {}))
    same(read(tmp_path), data)
    with as_known(known(name, zarr_format), RELEASE):
        same(tensorstore_of(tmp_path, zarr_format).read().result(), data)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", [name for name in SMALL if name not in UNKNOWN])
def test_small_types_of_tensorstore(name, zarr_format, tmp_path):
    data = distinct(SHAPE, getattr(ml_dtypes, name))
    metadata = {"dtype": name, "chunks": CHUNKS} if zarr_format == 2 else {"data_type": name}
    if zarr_format == 3:
        metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": CHUNKS}}
    array = tensorstore_of(tmp_path, zarr_format, metadata=metadata | {"shape": SHAPE}, create=True)
    array.write(data).result()
    same(read(tmp_path), data)


FILLS = [
    ("bfloat16", 0x7FC1),
    ("bfloat16", 0xFF81),
    ("bfloat16", 0x8000),
    ("float8_e5m2", 0x7D),
    ("float8_e4m3fn", 0xFF),
]
FILLS += [("float8_e5m2fnuz", 0x80), ("float8_e8m0fnu", 0xFF), ("float8_e3m4", 0xF9), ("float4_e2m1fn", 0x08)]


@pytest.mark.parametrize(("name", "bits"), FILLS)
def test_fill_values_of_small_types_keep_their_bits(name, bits, tmp_path):
    dtype = np.dtype(getattr(ml_dtypes, name))
    fill = np.array(bits, f"u{dtype.itemsize}").view(dtype)[()]
    daskzarr.create_array(str(tmp_path), shape=SHAPE, chunks=CHUNKS, dtype=dtype, fill_value=fill)
    whole = np.full(SHAPE, fill, dtype)
    same(read(tmp_path), whole)
    same(tensorstore_of(tmp_path, 3).read().result(), whole)


def memory(array):
    """The bytes of an array, whose elements it may show as having none (of its types char and byte)."""
    assert array.strides[-1] == 1 or array.itemsize
    return array.tobytes() if array.itemsize else ctypes.string_at(array.ctypes.data, math.prod(array.shape))


@dataclass(frozen=True)
class Structure:
    """A structure, and how v2 stores it."""

    dtype: np.dtype
    how: dict[str, Any] = field(default_factory=dict)


STRUCTURES = [
    Structure(np.dtype([("a", "<i4"), ("b", ">f8")])),
    Structure(np.dtype([("a", "<i4"), ("xy", "<f4", (2, 3))]), {"order": "F"}),
    Structure(np.dtype([("a", "|u1"), ("b", ">c8"), ("c", "|S3")]), {"compressor": {"id": "blosc"}}),
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: str(structure.dtype))
def test_structures_of_v2_are_read_field_by_field(structure, tmp_path):
    data = distinct(SHAPE, structure.dtype)
    write(tmp_path, data, zarr_format=2, dtype=structure.dtype, **structure.how)
    same(read(tmp_path), data)
    for name in structure.dtype.names:
        found = tensorstore_of(tmp_path, 2, field=name).read().result()
        assert memory(found) == data[name].astype(data[name].dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("endian", ["little", "big"])
def test_structures_of_v3_are_read_field_by_field(endian, tmp_path):
    dtype = np.dtype([("a", "i2"), ("b", "f8"), ("c", "i4")])
    data = distinct(SHAPE, dtype)
    write(tmp_path, data, codecs=[{"name": "bytes", "configuration": {"endian": endian}}])
    same(read(tmp_path), data)
    for name in dtype.names:
        same(tensorstore_of(tmp_path, 3, field=name).read().result(), data[name])


def test_tensorstore_fills_a_structure_field_by_field(tmp_path):
    dtype = np.dtype([("a", "<i2"), ("b", ">f8")])
    data = distinct(SHAPE, dtype)
    metadata = {"dtype": [["a", "<i2"], ["b", ">f8"]], "shape": SHAPE, "chunks": CHUNKS}
    for name in dtype.names:
        how = {"field": name, "metadata": metadata, "open": True, "create": True}
        tensorstore_of(tmp_path, 2, **how).write(data[name].astype(dtype[name].newbyteorder("="))).result()
    same(read(tmp_path), data)


@pytest.mark.parametrize("dtype", ["|S4", "|V3"])
def test_bytes_of_v2_are_shown_with_one_more_axis(dtype, tmp_path):
    data = distinct(SHAPE, dtype)
    write(tmp_path, data, zarr_format=2)
    with as_known("tensorstore-bytes", RELEASE):
        same(tensorstore_of(tmp_path, 2).read().result(), data)
    found = tensorstore_of(tmp_path, 2).read().result()
    assert memory(found) == data.tobytes()


def test_raw_bits(tmp_path):
    data = distinct(SHAPE, "V3")
    write(tmp_path, data)
    same(read(tmp_path), data)
    with as_known("tensorstore-raw-fill", RELEASE):
        tensorstore_of(tmp_path, 3)
    document = json.loads((tmp_path / "zarr.json").read_text())
    (tmp_path / "zarr.json").write_text(json.dumps(document | {"fill_value": "AAAA"}))
    found = tensorstore_of(tmp_path, 3).read().result()
    assert memory(found) == data.tobytes()
    same(read(tmp_path), data)


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 0, 1], [0, 2, 1]])
def test_shards_below_a_transpose(order, tmp_path):
    data = distinct((4, 6, 9), "i2")
    shard = {"chunk_shape": [], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
    shard["chunk_shape"] = [(2, 3, 3)[axis] for axis in order]
    shard["index_codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    codecs = [
        {"name": "transpose", "configuration": {"order": order}},
        {"name": "sharding_indexed", "configuration": shard},
    ]
    grid = {"name": "regular", "configuration": {"chunk_shape": [4, 3, 6]}}
    metadata = {"shape": data.shape, "data_type": "int16", "chunk_grid": grid, "codecs": codecs}
    tensorstore_of(tmp_path / "t", 3, metadata=metadata, create=True).write(data).result()
    same(read(tmp_path / "t"), data)
    write(tmp_path / "o", data, chunks=(4, 3, 6), codecs=codecs)
    same(tensorstore_of(tmp_path / "o", 3).read().result(), data)


def test_duplicate_dimension_names(tmp_path):
    how = {"shape": SHAPE, "chunks": CHUNKS, "dtype": "i4", "dimension_names": ["x", "x"]}
    daskzarr.create_array(str(tmp_path), **how)
    assert daskzarr.open_array(str(tmp_path)).dimension_names == ("x", "x")
    with as_known("tensorstore-names", RELEASE):
        tensorstore_of(tmp_path, 3)
