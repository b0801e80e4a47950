"""zarr-python 3, with its own codecs and with those of zarrs, and daskzarr: data types, filters and codecs."""

import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import dask
import dask.array as da
import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as extra

import daskzarr

from .cells import byte_strings, distinct, same, texts
from .peers import as_known, params

RELEASE = zarr.__version__
SHAPE, CHUNKS = (5, 7), (2, 3)
NUMBERS = np.arange(1, 36).reshape(SHAPE)


@dataclass(frozen=True)
class Case:
    """An array, how zarr-python is asked for it, and how daskzarr is."""

    name: str
    data: np.ndarray
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    zarr_format: int = 3
    known: str | None = None  # what goes wrong when zarr-python reads


def codec(name, **configuration):
    return {"name": name, "configuration": configuration}


CASES: list[Case] = []
TIMES = ["M8[ns]", "M8[us]", "M8[D]", "M8[25s]", "M8[Y]", "m8[us]", "m8[10ms]", "m8[h]"]
for dtype in [*TIMES, "S1", "S7", "U1", "U5"]:
    for order in "<>":
        data = distinct(SHAPE, dtype)
        endian = {"<": "little", ">": "big"}[order]
        serializer = {} if dtype[0] == "S" else {"serializer": zarr.codecs.BytesCodec(endian=endian)}
        stored = data.dtype.newbyteorder(order)
        CASES.append(Case(f"{order}{dtype}", data, {"dtype": data.dtype} | serializer, {"dtype": stored}))
        CASES.append(Case(f"v2 {order}{dtype}", data, {"dtype": stored}, {"dtype": stored}, 2))
VARIABLE_BYTES = zarr.dtype.VariableLengthBytes()
V3_BYTES = codec("raw_bytes", length_bytes=3)
CASES += [
    Case("raw_bytes", distinct(SHAPE, "V3"), {"dtype": np.dtype("V3")}, {"dtype": V3_BYTES}),
    Case("v2 V3", distinct(SHAPE, "V3"), {"dtype": np.dtype("V3")}, {}, 2),
    Case("text", texts(SHAPE), {"dtype": str}, {"dtype": str}),
    Case("bytes", byte_strings(SHAPE), {"dtype": VARIABLE_BYTES}, {"dtype": codec("variable_length_bytes")}),
    Case("bytes by the registered name", byte_strings(SHAPE), {"dtype": VARIABLE_BYTES}, {"dtype": "bytes"}),
    Case("v2 text", texts(SHAPE), {"dtype": str}, {"dtype": str, "filters": {"id": "vlen-utf8"}}, 2),
    Case(
        "v2 bytes",
        byte_strings(SHAPE),
        {"dtype": VARIABLE_BYTES},
        {"dtype": "bytes", "filters": {"id": "vlen-bytes"}},
        2,
    ),
]

PAIR = np.dtype([("a", "<i4"), ("b", "<f8"), ("c", "S3"), ("d", "<U2")])
FIELDS = [["a", "int32"], ["b", "float64"], ["c", codec("null_terminated_bytes", length_bytes=3)]]
FIELDS += [["d", codec("fixed_length_utf32", length_bytes=8)]]
DATED = np.dtype([("a", "<i4"), ("t", "<M8[s]")])
MIXED = np.dtype([("a", "<i2"), ("b", ">f8")])
DATE_FIELDS = [["a", "int32"], ["t", codec("numpy.datetime64", unit="s", scale_factor=1)]]
ZSTD_OF_BOTH = (
    {"dtype": DATED, "compressors": zarr.codecs.ZstdCodec(level=1)},
    {"dtype": codec("structured", fields=DATE_FIELDS), "compressors": "zstd"},
)
CASES += [
    Case("structured", distinct(SHAPE, PAIR), {"dtype": PAIR}, {"dtype": codec("structured", fields=FIELDS)}),
    Case("struct", distinct(SHAPE, PAIR), {"dtype": PAIR}, {}, known="zarr-python-struct"),
    Case("structure with dates", distinct(SHAPE, DATED), *ZSTD_OF_BOTH),
    Case("v2 structure", distinct(SHAPE, PAIR), {"dtype": PAIR}, {}, 2),
    Case("v2 structure of both orders", distinct(SHAPE, MIXED), {"dtype": MIXED}, {"dtype": MIXED}, 2),
]

FILTERS = {
    "delta": ("i4", {"id": "delta", "dtype": "<i4"}, extra.Delta(dtype="<i4")),
    "delta astype": ("i4", {"id": "delta", "dtype": "<i4", "astype": "<i8"}, extra.Delta(dtype="<i4", astype="<i8")),
    "fixedscaleoffset": (
        "f8",
        {"id": "fixedscaleoffset", "offset": 3, "scale": 10, "dtype": "<f8", "astype": "<i4"},
        extra.FixedScaleOffset(offset=3, scale=10, dtype="<f8", astype="<i4"),
    ),
    "quantize": ("f4", {"id": "quantize", "digits": 2, "dtype": "<f4"}, extra.Quantize(digits=2, dtype="<f4")),
    "bitround": ("f4", {"id": "bitround", "keepbits": 6}, extra.BitRound(keepbits=6)),
    "astype": (
        "f8",
        {"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<f8"},
        extra.AsType(encode_dtype="<f4", decode_dtype="<f8"),
    ),
    "packbits": ("bool", {"id": "packbits"}, extra.PackBits()),
}
for name, (dtype, config, theirs) in FILTERS.items():
    data = distinct(SHAPE, dtype) if dtype in ("bool", "i4") else NUMBERS.astype(dtype)
    CASES.append(Case(f"numcodecs.{name}", data, {"filters": [theirs]}, {"filters": config}))
    for order in "CF":
        old = {"filters": [numcodecs.get_codec(dict(config))], "order": order}
        CASES.append(Case(f"v2 {name} {order}", data, old, {"filters": config, "order": order}, 2))
BYTES = [
    extra.BZ2(level=1),
    extra.CRC32(),
    extra.CRC32C(),
    extra.LZ4(acceleration=2),
    extra.LZMA(preset=1),
    extra.Adler32(),
    extra.Blosc(cname="zstd"),
    extra.Fletcher32(),
    extra.GZip(level=1),
    extra.JenkinsLookup3(initval=3),
    extra.Shuffle(elementsize=4),
    extra.Shuffle(),
    extra.Zlib(level=1),
    extra.Zstd(level=1),
]
for item in BYTES:
    config = item.to_dict()
    name = f"{config['name']} {config['configuration'] or ''}"
    CASES.append(Case(name, distinct((20, 30), "i4"), {"compressors": [item]}, {"compressors": [config]}))
    old = {
        "compressors": numcodecs.get_codec({"id": config["name"].removeprefix("numcodecs."), **config["configuration"]})
    }
    CASES.append(Case(f"v2 {name}", distinct((20, 30), "i4"), old, {"compressors": [config]}, 2))
SERIALIZERS = [
    ("i4", extra.PCodec(level=3)),
    ("f4", extra.ZFPY(mode=4, tolerance=0.01)),
    ("f8", extra.ZFPY(mode=4, tolerance=-1)),
]
for dtype, item in SERIALIZERS:
    config = item.to_dict()
    data = distinct((20, 30), dtype) if dtype == "i4" else np.arange(600).reshape(20, 30).astype(dtype)
    CASES.append(Case(f"{config}", data, {"serializer": item}, {"serializer": config}))
chain = {"filters": [extra.Delta(dtype="<i4")], "compressors": [extra.Shuffle(elementsize=4), extra.Zlib(level=2)]}
spelled = {word: [item.to_dict() for item in items] for word, items in chain.items()}
CASES.append(Case("delta, shuffle, zlib", distinct((20, 30), "i4"), chain, spelled))


def write_with_zarr_python(path, case):
    how = {"dtype": case.data.dtype, "chunks": CHUNKS, "compressors": None, "filters": None} | case.theirs
    if how["dtype"] in (str, VARIABLE_BYTES) and case.zarr_format == 2:
        how["filters"] = "auto"
    if case.zarr_format == 3 and how["filters"] is None:
        how["filters"] = ()
    array = zarr.create_array(path, shape=case.data.shape, zarr_format=case.zarr_format, **how)
    array[...] = case.data


def read_with_zarr_python(path):
    found = zarr.open_array(path, mode="r")[...]
    return np.asarray(found).astype(object) if found.dtype.kind in "TO" else found


def write_with_daskzarr(path, case):
    with dask.config.set(scheduler="synchronous"):
        how = {"compressors": None, "chunks": CHUNKS, "zarr_format": case.zarr_format} | case.ours
        daskzarr.to_zarr(da.from_array(case.data, chunks=CHUNKS), path, **how)


def read_with_daskzarr(path):
    return daskzarr.from_zarr(path).compute(scheduler="synchronous")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=zarr.errors.UnstableSpecificationWarning)
        warnings.filterwarnings("ignore", category=zarr.errors.ZarrUserWarning)
        yield


@pytest.mark.parametrize("case", params(CASES))
def test_zarr_python_reads_what_daskzarr_writes(case, tmp_path):
    write_with_daskzarr(str(tmp_path), case)
    same(read_with_daskzarr(str(tmp_path)), case.data)
    with as_known(case.known, RELEASE):
        same(read_with_zarr_python(tmp_path), case.data)


@pytest.mark.parametrize("case", params(CASES))
def test_daskzarr_reads_what_zarr_python_writes(case, tmp_path):
    write_with_zarr_python(str(tmp_path), case)
    found = read_with_zarr_python(tmp_path)
    same(read_with_daskzarr(str(tmp_path)), found)
    with as_known("numcodecs-bitround-f" if case.name == "v2 bitround F" else None, RELEASE):
        same(found, case.data)


@pytest.mark.parametrize("dtype", ["V3", "bfloat16", "float8_e5m2", "int4", "uint2"])
def test_zarr_python_has_no_such_type(dtype, tmp_path):
    daskzarr.create_array(str(tmp_path), shape=SHAPE, chunks=CHUNKS, dtype=dtype)
    with as_known("zarr-python-types", RELEASE):
        zarr.open_array(tmp_path, mode="r")


FILLS = [
    ("M8[s]", np.datetime64(5, "s"), 3),
    ("M8[ns]", np.datetime64("NaT"), 3),
    ("m8[10ms]", np.timedelta64(-7, "10ms"), 3),
    ("U3", "éa", 3),
    ("S3", b"ab", 3),
    ("f2", np.float16(1.5), 3),
    ("f8", np.float64(-0.0), 3),
    ("c16", complex(np.inf, -0.0), 3),
    ("u8", 2**64 - 1, 3),
    ("M8[s]", np.datetime64(5, "s"), 2),
    ("M8[D]", np.datetime64("NaT"), 2),
    (">m8[us]", np.timedelta64(-7, "us"), 2),
    (">U3", "éa", 2),
    ("S3", b"ab", 2),
    ("V3", np.void(b"\1\2\3"), 2),
    (PAIR, np.array((7, -0.0, b"x", "é"), PAIR)[()], 2),
    (MIXED, np.array((7, np.inf), MIXED)[()], 2),
]


@pytest.mark.parametrize(("dtype", "fill", "zarr_format"), FILLS, ids=str)
def test_absent_chunks_read_as_the_fill_value(dtype, fill, zarr_format, tmp_path):
    how = {"shape": SHAPE, "chunks": CHUNKS, "zarr_format": zarr_format, "fill_value": fill}
    whole = np.full(SHAPE, np.array(fill).astype(dtype), dtype)
    daskzarr.create_array(str(tmp_path / "ours"), dtype=dtype, **how)
    zarr.create_array(tmp_path / "theirs", dtype=np.dtype(dtype), **how)
    for name in ("ours", "theirs"):
        same(read_with_zarr_python(tmp_path / name), whole)
        same(read_with_daskzarr(str(tmp_path / name)), whole)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("dtype", "fill"), [(str, "é"), (str, ""), (bytes, b"\xff\0")])
def test_absent_chunks_of_text_and_bytes_read_as_the_fill_value(dtype, fill, zarr_format, tmp_path):
    how = {"shape": SHAPE, "chunks": CHUNKS, "zarr_format": zarr_format, "fill_value": fill}
    filters = {"filters": {"id": "vlen-utf8" if dtype is str else "vlen-bytes"}} if zarr_format == 2 else {}
    whole = np.empty(SHAPE, object)
    whole.fill(fill)  # np.full would take a NUL at the end away
    daskzarr.create_array(str(tmp_path / "ours"), dtype=dtype, **how, **filters)
    zarr.create_array(tmp_path / "theirs", dtype=str if dtype is str else VARIABLE_BYTES, **how)
    for name in ("ours", "theirs"):
        same(read_with_zarr_python(tmp_path / name), whole)
        same(read_with_daskzarr(str(tmp_path / name)), whole)


# ---- the codecs of zarrs, behind zarr-python


@pytest.fixture
def zarrs():
    """zarr-python with the pipeline of zarrs."""
    module = pytest.importorskip("zarrs", reason="zarrs is not here: the extra test has it")
    path = "zarrs.ZarrsCodecPipeline"
    with zarr.config.set({"codec_pipeline": {"path": path, "strict": True}}):
        yield module


V3 = {"zstd": [codec("zstd", level=3, checksum=False)], "zstd checked": [codec("zstd", level=-3, checksum=True)]}
V3 |= {
    "gzip": [codec("gzip", level=1)],
    "crc32c": [{"name": "crc32c"}],
    "gzip crc32c": [codec("gzip", level=1), {"name": "crc32c"}],
}
for cname, shuffle in [
    ("lz4", "noshuffle"),
    ("lz4hc", "shuffle"),
    ("blosclz", "bitshuffle"),
    ("zlib", "shuffle"),
    ("zstd", "shuffle"),
]:
    V3[f"blosc {cname}"] = [codec("blosc", cname=cname, clevel=5, shuffle=shuffle, typesize=4, blocksize=0)]
for name in ("bz2", "zlib"):
    V3[name] = [codec(f"numcodecs.{name}", level=1)]
V3["shuffle"] = [codec("numcodecs.shuffle", elementsize=4), codec("gzip", level=1)]
"""Compressors that zarrs has."""


def zarrs_cases():
    kinds = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 complex64 complex128"
    for dtype in kinds.split():
        for endian in ("little", "big"):
            known = "zarrs-complex-big" if dtype.startswith("complex") and endian == "big" else None
            codecs = [codec("bytes", endian=endian)]
            yield Case(f"{dtype} {endian}", distinct(SHAPE, dtype), ours={"codecs": codecs}, known=known)
    for name, compressors in V3.items():
        yield Case(name, distinct((20, 30), "i4"), ours={"compressors": compressors})
    for order in ((0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        codecs = [codec("transpose", order=list(order)), codec("bytes", endian="little")]
        yield Case(f"transpose {order}", distinct((4, 5, 6), "i2"), ours={"codecs": codecs})
    for location in ("end", "start"):
        for checked in (True, False):
            shard = codec(
                "sharding_indexed",
                chunk_shape=[2, 3],
                codecs=[codec("transpose", order=[1, 0]), codec("bytes", endian="big"), codec("gzip", level=1)],
                index_codecs=[codec("bytes", endian="little"), *([{"name": "crc32c"}] if checked else [])],
                index_location=location,
            )
            data = distinct((7, 10), "i2")
            data[:2, :3] = 0
            yield Case(f"shard {location} {checked}", data, ours={"codecs": [shard], "chunks": (4, 6)})
    for name, separator in [("default", "."), ("v2", "/"), ("v2", ".")]:
        encoding = codec(name, separator=separator)
        yield Case(f"keys {name} {separator}", distinct(SHAPE, "i4"), ours={"chunk_key_encoding": encoding})
    for fill in (np.nan, -np.inf, -0.0, 1.5):
        data = np.full(SHAPE, fill, "f4")
        data[0, 0] = 9
        yield Case(f"fill {fill}", data, ours={"fill_value": fill})
    payload = np.full(SHAPE, np.array(0x7FC00001, "u4").view("f4"), "f4")
    yield Case("fill NaN with a payload", payload, ours={"fill_value": payload[0, 0]}, known="zarrs-nan-fill")
    scale = codec("numcodecs.fixedscaleoffset", offset=3, scale=10, dtype="<f8", astype="<i4")
    yield Case("fixedscaleoffset", NUMBERS.astype("f8"), ours={"filters": [scale]})
    yield Case("pcodec", distinct((20, 30), "i4"), ours={"serializer": codec("numcodecs.pcodec", level=3)})
    yield Case("v2", distinct(SHAPE, "i4"), ours={}, zarr_format=2)
    yield Case("v2 big", distinct(SHAPE, "i4"), ours={"dtype": ">i4"}, zarr_format=2, known="zarrs-v2")
    yield Case("v2 order F", distinct(SHAPE, "i4"), ours={"order": "F"}, zarr_format=2, known="zarrs-v2")


ZARRS = list(zarrs_cases())


@pytest.mark.parametrize("case", params(ZARRS))
def test_zarrs_reads_what_daskzarr_writes(case, zarrs, tmp_path):
    how = {"compressors": None, "chunks": CHUNKS if case.data.ndim == 2 else (2, 3, 4)} | case.ours
    if "codecs" in how:
        del how["compressors"]
    with dask.config.set(scheduler="synchronous"):
        daskzarr.to_zarr(
            da.from_array(case.data, chunks=how["chunks"]), str(tmp_path), zarr_format=case.zarr_format, **how
        )
    with as_known(case.known, version("zarrs")):
        same(read_with_zarr_python(tmp_path), case.data)


@pytest.mark.parametrize(
    "case", params(case for case in ZARRS if case.zarr_format == 3 and "serializer" not in case.ours)
)
def test_daskzarr_reads_what_zarrs_writes(case, zarrs, tmp_path):
    how = {"compressors": None, "chunks": CHUNKS if case.data.ndim == 2 else (2, 3, 4)} | case.ours
    if "codecs" in how:
        del how["compressors"]
    how["fill_value"] = how.get("fill_value", 0)
    daskzarr.create_array(str(tmp_path), shape=case.data.shape, dtype=case.data.dtype, **how)
    zarr.open_array(tmp_path, mode="r+")[...] = case.data
    same(read_with_daskzarr(str(tmp_path)), case.data)
