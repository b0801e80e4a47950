"""zarrita.js and daskzarr: what one writes, the other reads bit for bit; one run of node does all of it."""

import itertools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr

from .cells import byte_strings, distinct, items, native, same, texts
from .peers import ROOT, as_known, did, drive, params

MODULES = ROOT / ".peers-zarrita" / "node_modules"
if not (MODULES / "zarrita").exists() or shutil.which("node") is None:
    pytest.skip("zarrita is not here: ci/peers installs it where there is npm", allow_module_level=True)
RELEASE = json.loads((MODULES / "zarrita" / "package.json").read_text())["version"]

SHAPE, CHUNKS = (5, 7), (2, 3)
NUMBERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
FLOATS = np.arange(1, 36).reshape(SHAPE).astype("f8")


@dataclass(frozen=True)
class Case:
    """An array and how it is asked for; the key of what is known to go wrong."""

    name: str
    data: np.ndarray
    how: dict[str, Any] = field(default_factory=dict)
    known: str | None = None
    chunks: tuple[int, ...] = CHUNKS
    blocks: tuple[int, ...] | None = None


OURS: list[Case] = []
THEIRS: list[Case] = []


def ours(name, data, known=None, chunks=CHUNKS, blocks=None, **how):
    OURS.append(Case(name, data, how, known, chunks, blocks))


def codec(name, **configuration):
    return {"name": name, "configuration": configuration} if configuration else {"name": name}


def blosc(cname, shuffle, typesize=4):
    return codec("blosc", cname=cname, clevel=5, shuffle=shuffle, typesize=typesize, blocksize=0)


GZIP, ZSTD, CRC32C = codec("gzip", level=1), codec("zstd", level=3, checksum=False), codec("crc32c")
LITTLE = codec("bytes", endian="little")

for zarr_format in (2, 3):
    v = f"v{zarr_format}"
    for dtype, order in itertools.product(NUMBERS, "<>"):
        stored = np.dtype(dtype).newbyteorder(order)
        for layout in "CF":
            how = {"zarr_format": zarr_format, "dtype": stored, "order": layout}
            compressor = None if layout == "C" else {"id": "blosc"}
            ours(f"{v} {order}{dtype} {layout}", distinct(SHAPE, dtype), compressors=compressor, **how)
    for cname, shuffle in itertools.product(["lz4", "lz4hc", "blosclz", "zlib", "zstd"], [0, 1, 2]):
        options = {"id": "blosc", "cname": cname, "clevel": 5, "shuffle": shuffle, "blocksize": 0}
        data = distinct((40, 30), "i4")
        ours(f"{v} blosc {cname} {shuffle}", data, chunks=(16, 16), zarr_format=zarr_format, compressors=options)
    for name in ("gzip", "zstd", "numcodecs.zlib", "numcodecs.lz4", "numcodecs.bz2", "crc32c"):
        known = "zarrita-codecs" if name == "numcodecs.bz2" or (name == "crc32c" and zarr_format == 2) else None
        ours(f"{v} {name}", distinct(SHAPE, "i4"), known, zarr_format=zarr_format, compressors=name)
    scale = {"id": "fixedscaleoffset", "offset": 3, "scale": 10, "dtype": "<f8", "astype": "<i4"}
    for layout in "CF":
        how = {"zarr_format": zarr_format, "order": layout}
        delta = {"id": "delta", "dtype": "<i4"}
        ours(f"{v} delta {layout}", distinct(SHAPE, "i4"), filters=delta, **how)
        ours(f"{v} bitround {layout}", FLOATS.astype("f4"), filters={"id": "bitround", "keepbits": 6}, **how)
        known = "zarrita-codecs" if zarr_format == 3 else None
        ours(f"{v} fixedscaleoffset {layout}", FLOATS, known, filters=scale, **how)
        shuffled = [{"id": "shuffle", "elementsize": 4}, {"id": "zlib", "level": 1}]
        ours(f"{v} shuffle {layout}", distinct(SHAPE, "i4"), compressors=shuffled, **how)
    for shape, chunks in [((), ()), ((1,), (1,)), ((3,), (8,)), ((10,), (3,)), ((4, 5, 6), (3, 2, 7)), ((0,), (3,))]:
        for separator in "./":
            how = {
                "zarr_format": zarr_format,
                "dimension_separator": separator,
                "order": "F" if len(shape) > 2 else "C",
            }
            known = "zarrita-empty" if 0 in shape else None
            ours(f"{v} shape {shape} {separator}", distinct(shape, "i4"), known, chunks, **how)
    for dtype, fill in [("f4", np.nan), ("f8", -np.inf), ("f8", 1.5), ("f4", -0.0), ("bool", True), ("i8", -(2**53))]:
        data = np.full(SHAPE, fill, dtype)
        data[3, 4] = 0
        ours(f"{v} fill {dtype} {fill}", data, zarr_format=zarr_format, fill_value=fill)
    for dtype, fill in [("u8", 2**64 - 1), ("i8", -(2**63) + 1)]:
        data = np.full(SHAPE, fill, dtype)
        ours(f"{v} fill {dtype} {fill}", data, "zarrita-int64-fill", zarr_format=zarr_format, fill_value=fill)
    filters = {"filters": {"id": "vlen-utf8"}} if zarr_format == 2 else {}
    ours(f"{v} text", texts(SHAPE), zarr_format=zarr_format, dtype=str, **filters)
    ours(f"{v} float16", distinct(SHAPE, "f2"), "zarrita-types", zarr_format=zarr_format)
    ours(f"{v} complex", distinct(SHAPE, "c8"), "zarrita-types", zarr_format=zarr_format)
    known = None if zarr_format == 2 else "zarrita-types"
    ours(f"{v} U5", distinct(SHAPE, "U5"), known, zarr_format=zarr_format)
    ours(f"{v} >U5", distinct(SHAPE, "U5"), known, zarr_format=zarr_format, dtype=">U5")
    ascii_bytes = np.array([b"%d" % n for n in range(35)], "S5").reshape(SHAPE)
    ours(f"{v} S5 of ASCII", ascii_bytes, known, zarr_format=zarr_format)
    ours(f"{v} S5", distinct(SHAPE, "S5"), known or "zarrita-bytes", zarr_format=zarr_format)
flat = items((14,))
ours("v2 json2 of one axis", flat, chunks=(4,), zarr_format=2, dtype=object, filters={"id": "json2"}, compressor=None)
ours("v2 json2", items(SHAPE), "zarrita-json2", zarr_format=2, dtype=object, filters={"id": "json2"})
for order in itertools.permutations(range(3)):
    ours(f"transpose {order}", distinct((4, 5, 6), "i2"), None, (2, 3, 4), filters=codec("transpose", order=order))
for name, separator in itertools.product(["default", "v2"], "./"):
    encoding = {"name": name, "configuration": {"separator": separator}}
    ours(f"keys {name} {separator}", distinct(SHAPE, "i4"), chunk_key_encoding=encoding)
for location, endian, checked, inner in itertools.product(
    ["end", "start"],
    ["little", "big"],
    [True, False],
    [[], [GZIP], [ZSTD, CRC32C], [blosc("lz4", "shuffle", 2)], ["T"]],
):
    before = [codec("transpose", order=[1, 0])] if inner == ["T"] else []
    shard = codec(
        "sharding_indexed",
        chunk_shape=[2, 3],
        codecs=[*before, codec("bytes", endian=endian), *([] if before else inner)],
        index_codecs=[codec("bytes", endian=endian), *([CRC32C] if checked else [])],
        index_location=location,
    )
    names = " ".join(c if c == "T" else c["name"] for c in inner)
    name = f"shard {location} {endian} {'checked' if checked else ''} {names}"
    data = distinct((7, 10), "i2")
    data[:2, :6] = 0
    ours(name, data, "zarrita-index-start" if location == "start" else None, (4, 6), codecs=[shard])
ours("shard of text", texts((7, 10)), chunks=(2, 3), blocks=(4, 6), shards=(4, 6), dtype=str)
ours("bitround", FLOATS.astype("f4"), filters=codec("bitround", keepbits=6))
ours("scale_offset", FLOATS, filters=codec("scale_offset", offset=1, scale=2))
cast = codec("cast_value", data_type="uint8", rounding="nearest-even", out_of_range="clamp")
ours("cast_value", FLOATS, filters=cast)
ours("scale_offset and cast_value", FLOATS, filters=[codec("scale_offset", offset=-1, scale=2), cast])
ours("struct", distinct(SHAPE, [("a", "i4"), ("b", "f8")]), "zarrita-types")
ours("bytes of any length", byte_strings(SHAPE), "zarrita-types", dtype="bytes")


def theirs(name, data, known=None, chunks=CHUNKS, codecs=(LITTLE,), **how):
    how = {"fillValue": False if data.dtype == bool else 0} | how
    THEIRS.append(Case(name, data, {"codecs": list(codecs), "how": how}, known, chunks))


for dtype in NUMBERS:
    theirs(f"{dtype}", distinct(SHAPE, dtype))
    known = "zarrita-bool-big" if dtype == "bool" else None
    theirs(f"{dtype} big", distinct(SHAPE, dtype), known, codecs=[codec("bytes", endian="big")])
for found in ([blosc("lz4", "shuffle")], [blosc("zstd", "bitshuffle")], [blosc("zlib", "noshuffle")], [ZSTD]):
    theirs(f"{found[0]}", distinct((40, 30), "int32"), chunks=(16, 16), codecs=[LITTLE, *found])
for order in itertools.permutations(range(3)):
    codecs = [codec("transpose", order=list(order)), LITTLE]
    theirs(f"transpose {order}", distinct((4, 5, 6), "int16"), chunks=(2, 3, 4), codecs=codecs)
for shape, chunks in [((1,), (1,)), ((3,), (8,)), ((10,), (3,)), ((4, 5, 6), (3, 2, 7))]:
    for separator in "./":
        theirs(f"shape {shape} {separator}", distinct(shape, "float32"), chunks=chunks, chunkSeparator=separator)
theirs("fill", distinct(SHAPE, "float64"), fillValue=1.5)
theirs("no fill", distinct(SHAPE, "float64"), "zarrita-null-fill", fillValue=None)
theirs("names", distinct(SHAPE, "float64"), dimensionNames=["y", "x"], attributes={"units": "K", "é": [1, None]})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Everything written and read by both: the answers of node, and the arrays of daskzarr."""
    folder = tmp_path_factory.mktemp("zarrita")
    job, found = [], {}
    for i, case in enumerate(OURS):
        path = str(folder / f"o{i}")
        with dask.config.set(scheduler="synchronous"):
            array = da.from_array(case.data, chunks=case.blocks or case.chunks)
            daskzarr.to_zarr(array, path, **({"chunks": case.chunks} | case.how))
        job.append({"do": "read", "path": path, "out": path + ".out"})
    for i, case in enumerate(THEIRS):
        path, data = str(folder / f"t{i}"), str(folder / f"t{i}.data")
        Path(data).write_bytes(case.data.tobytes())
        item = {"do": "write", "path": path, "data": data, "dtype": case.data.dtype.name, "shape": case.data.shape}
        job.append(item | {"chunks": case.chunks} | case.how)
    answers = drive(["node"], "zarrita_driver.mjs", job, str(MODULES))
    for case, item, answer in zip(OURS + THEIRS, job, answers, strict=True):
        found[item["do"], case.name] = item, answer
    return found


def listed(cell):
    """A cell as JSON has it."""
    if isinstance(cell, bytes):
        return cell.decode("latin-1")
    return cell.item() if isinstance(cell, np.generic) else cell


@pytest.mark.parametrize("case", params(OURS))
def test_zarrita_reads_what_daskzarr_writes(case, done):
    item, answer = done["read", case.name]
    with as_known(case.known, RELEASE):
        found = did(answer)
        if "list" in found:
            expected = [listed(cell) for cell in case.data.flat]
            assert found["list"] == ([str(cell) for cell in expected] if case.data.ndim == 0 else expected)
        else:
            cells = np.frombuffer(Path(item["out"]).read_bytes(), native(case.data.dtype))
            strides = [n * cells.itemsize for n in found["stride"]]
            same(np.lib.stride_tricks.as_strided(cells, case.data.shape, strides), case.data)


@pytest.mark.parametrize("case", params(THEIRS))
def test_daskzarr_reads_what_zarrita_writes(case, done):
    item, answer = done["write", case.name]
    with as_known(case.known, RELEASE):
        did(answer)
        array = daskzarr.open_array(item["path"])
        same(daskzarr.from_zarr(item["path"]).compute(scheduler="synchronous"), case.data)
        assert array.dimension_names == (
            tuple(item["how"]["dimensionNames"]) if "dimensionNames" in item["how"] else None
        )
        assert array.attrs == item["how"].get("attributes", {})


def test_zarrita_reads_the_groups_attributes_and_names_of_daskzarr(tmp_path):
    job = []
    for zarr_format in (2, 3):
        path, attributes = str(tmp_path / f"g{zarr_format}"), {"units": "é", "n": [1, None, {"a": 1.5}]}
        daskzarr.create_group(path, "g", attributes=attributes, zarr_format=zarr_format)
        how = {"attributes": attributes, "dimension_names": ["y", "x"], "zarr_format": zarr_format}
        daskzarr.create_array(path, "g/a", shape=(4, 6), chunks=(2, 3), dtype="f4", fill_value=7, **how)
        job.append({"do": "group", "path": path, "component": "g"})
        job.append({"do": "read", "path": path, "component": "g/a", "out": str(tmp_path / f"a{zarr_format}")})
    answers = [did(answer) for answer in drive(["node"], "zarrita_driver.mjs", job, str(MODULES))]
    for group, array in (answers[:2], answers[2:]):
        assert group["attributes"] == attributes
        assert array["dimension_names"] == ["y", "x"]
        hidden = {"_ARRAY_DIMENSIONS": ["y", "x"]}
        assert array["attributes"] in (attributes, attributes | hidden)
        assert (array["dtype"], array["shape"], array["chunks"]) == ("float32", [4, 6], [2, 3])
