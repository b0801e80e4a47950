"""GDAL and daskzarr, Zarr v2: what one writes, the other reads. The system's GDAL, and that of rasterio."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr

from .cells import distinct, native, same
from .peers import as_known, did, drive, params, python_of

SHAPE, CHUNKS = (5, 7), (2, 3)
TYPES = {"Byte": "u1", "Int16": "i2", "UInt16": "u2", "Int32": "i4", "UInt32": "u4", "Int64": "i8", "UInt64": "u8"}
TYPES |= {"Float32": "f4", "Float64": "f8", "CFloat32": "c8", "CFloat64": "c16"}
SHOWN_WIDER = {"i1": "i2", "f2": "f4", "b1": "u1"}  # what GDAL has no type for


@dataclass(frozen=True)
class Case:
    """An array, and how the one or the other is asked for it."""

    name: str
    data: np.ndarray
    how: dict[str, Any] = field(default_factory=dict)
    known: str | None = None


OURS: list[Case] = []
THEIRS: list[Case] = []


def ours(name, data, known=None, **how):
    OURS.append(Case(name, data, {"fill_value": None} | how, known))


def theirs(name, data, options=(), known=None):
    THEIRS.append(Case(name, data, {"options": ["BLOCKSIZE=2,3", *options]}, known))


READ_TYPES = ["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
for dtype, order, layout in itertools.product(READ_TYPES, "<>", "CF"):
    ours(f"{order}{dtype} {layout}", distinct(SHAPE, dtype), dtype=np.dtype(order + dtype), order=layout)
for name in ("gzip", "zstd", "numcodecs.zlib", "numcodecs.lzma", None):
    ours(f"{name}", distinct(SHAPE, "i4"), compressors=name)
ours("lz4", distinct(SHAPE, "i4"), "gdal-lz4", compressors="numcodecs.lz4")
for cname, shuffle in itertools.product(["lz4", "lz4hc", "blosclz", "zlib", "zstd"], [0, 1, 2]):
    options = {"id": "blosc", "cname": cname, "clevel": 5, "shuffle": shuffle, "blocksize": 0}
    ours(f"blosc {cname} {shuffle}", distinct((40, 30), "i4"), chunks=(16, 16), compressors=options)
for layout in "CF":
    ours(f"delta {layout}", distinct(SHAPE, "i4"), filters={"id": "delta", "dtype": "<i4"}, order=layout)
ours("separator /", distinct(SHAPE, "i4"), dimension_separator="/")
for dtype, fill in [("f4", np.nan), ("f8", -np.inf), ("f4", 1.5), ("i2", -5), ("u1", 255), ("i8", -(2**53))]:
    data = np.full(SHAPE, fill, dtype)
    data[3, 4] = 1
    ours(f"fill {dtype} {fill}", data, fill_value=fill)
ours("fill u8 2^64 - 1", np.full(SHAPE, 2**64 - 1, "u8"), "gdal-uint64-fill", fill_value=2**64 - 1)
ours("fill c8", np.full(SHAPE, 1 - 2j, "c8"), "gdal-complex-fill", fill_value=1 - 2j)
ours("crc32c", distinct(SHAPE, "i4"), "gdal-codecs", compressors="crc32c")
shuffle = [{"id": "shuffle", "elementsize": 4}, {"id": "zlib", "level": 1}]
ours("shuffle", distinct(SHAPE, "i4"), "gdal-codecs", compressors=shuffle)

for layout, dtype in itertools.product("CF", TYPES.values()):
    theirs(f"{dtype} {layout}", distinct(SHAPE, dtype), [f"CHUNK_MEMORY_LAYOUT={layout}"])
for name in ("ZLIB", "GZIP", "LZMA", "ZSTD"):
    theirs(f"{name}", distinct(SHAPE, "i4"), [f"COMPRESS={name}"])
for cname, shuffle in itertools.product(["lz4", "lz4hc", "blosclz", "zlib", "zstd"], ["NONE", "BYTE", "BIT"]):
    options = ["COMPRESS=BLOSC", f"BLOSC_CNAME={cname}", f"BLOSC_SHUFFLE={shuffle}"]
    theirs(f"blosc {cname} {shuffle}", distinct(SHAPE, "i4"), options)
for layout in "CF":
    options = ["FILTER=DELTA", "COMPRESS=ZLIB", f"CHUNK_MEMORY_LAYOUT={layout}"]
    theirs(f"delta {layout}", distinct(SHAPE, "i4"), options)
theirs("separator /", distinct(SHAPE, "i4"), ["DIM_SEPARATOR=/"])


def gdal_of_the_system():
    try:
        (answer,) = drive(["/usr/bin/python3"], "gdal_driver.py", [{"do": "version"}])
        return "/usr/bin/python3", did(answer)["version"]
    except (OSError, AssertionError):
        pytest.skip("the GDAL of the system is not here: ci/peers installs it for root, with DASKZARR_APT=1")


def gdal_of_rasterio():
    python = python_of("rasterio")
    (answer,) = drive([python], "gdal_driver.py", [{"do": "version"}])
    return python, did(answer)["version"]


@pytest.fixture(scope="module", params=[gdal_of_the_system, gdal_of_rasterio], ids=["system", "rasterio"])
def done(request, tmp_path_factory):
    """Everything written and read by both, and the release."""
    python, release = request.param()
    folder = tmp_path_factory.mktemp("gdal")
    job, found = [], {}
    for i, case in enumerate(OURS):
        path = str(folder / f"o{i}")
        how = {"chunks": CHUNKS, "zarr_format": 2, "dimension_names": ["y", "x"], "attributes": {"title": "é"}}
        with dask.config.set(scheduler="synchronous"):
            array = da.from_array(case.data, chunks=case.how.get("chunks", CHUNKS))
            daskzarr.to_zarr(array, path, "v", **(how | case.how))
        job.append({"do": "read", "path": path, "component": "v", "out": path + ".out"})
    for i, case in enumerate(THEIRS):
        path, data = str(folder / f"t{i}"), str(folder / f"t{i}.data")
        Path(data).write_bytes(case.data.tobytes())
        item = {"do": "write", "path": path, "component": "v", "data": data, "shape": case.data.shape}
        job.append(item | {"dtype": case.data.dtype.str[1:], "store_options": []} | case.how)
    for case, item, answer in zip(OURS + THEIRS, job, drive([python], "gdal_driver.py", job), strict=True):
        found[item["do"], case.name] = item, answer
    return found, release


@pytest.mark.parametrize("case", params(OURS))
def test_gdal_reads_what_daskzarr_writes(case, done):
    found, release = done
    item, answer = found["read", case.name]
    with as_known(case.known, release):
        told = did(answer)
        kind = np.dtype(TYPES.get(told["type"], told["type"])).str[1:]
        cells = np.frombuffer(Path(item["out"]).read_bytes(), kind).reshape(case.data.shape)
        if kind in SHOWN_WIDER.values() and native(case.data.dtype) != cells.dtype:
            assert SHOWN_WIDER[case.data.dtype.str[1:]] == cells.dtype.str[1:]
            np.testing.assert_array_equal(cells, case.data.astype(kind))  # a NaN that becomes wider keeps no payload
        else:
            same(cells, case.data)
        if "dimensions" in told:
            assert told["dimensions"] == ["y", "x"]
            assert told["attributes"]["title"] == "é"


@pytest.mark.parametrize("case", params(THEIRS))
def test_daskzarr_reads_what_gdal_writes(case, done):
    found, release = done
    item, answer = found["write", case.name]
    with as_known(case.known, release):
        did(answer)
        component = (
            "v"
            if (Path(item["path"]) / "v").exists()
            else next(p.parent.name for p in Path(item["path"]).glob("*/.zarray"))
        )
        array = daskzarr.from_zarr(item["path"], component)
        same(array.compute(scheduler="synchronous"), case.data)
