"""zarr-python 2.18 and daskzarr: what one writes, the other reads bit for bit, objects and filters too."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import daskzarr

from .cells import byte_strings, distinct, items, ragged, same, texts
from .peers import as_known, did, drive, params, python_of

PYTHON = python_of("zarr2")
RELEASE = "2.18.7"
SHAPE, CHUNKS = (5, 7), (2, 3)


@dataclass(frozen=True)
class Case:
    """An array as zarr-python 2 is asked for it."""

    name: str
    data: np.ndarray
    how: dict[str, Any] = field(default_factory=dict)  # dtype, order, filters, compressor, object_codec, ...
    fill: Any = 0
    chunks: tuple[int, ...] = CHUNKS
    store: str = "directory"
    known: str | None = None  # what goes wrong with theirs
    known_ours: str | None = None  # what goes wrong with ours
    read: dict[str, Any] = field(default_factory=dict)  # keywords of from_zarr
    theirs: bool = True  # whether zarr-python 2 writes it too


NUMBERS = [
    "|b1",
    "|i1",
    "|u1",
    *(o + k for k in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16") for o in "<>"),
]
TIMES = ["<M8[ns]", ">M8[ns]", "<M8[D]", "<M8[25s]", "<M8[Y]", "<m8[us]", ">m8[h]", "<m8[10ms]", "<M8[as]"]
FIXED = ["|S1", "|S7", "<U1", "<U5", ">U5", "|V3"]
STRUCTS = {
    "two": [["a", "<i4"], ["b", "<f8"]],
    "mixed order": [["a", "<i2"], ["b", ">f8"], ["c", "|S3"], ["d", ">U2"]],
    "array": [["a", "<i4"], ["xy", ">f4", [2, 3]], ["t", "<M8[s]"]],
    "nested": [["a", "|u1"], ["p", [["x", "<f4"], ["y", ">f4"]]]],
    "nested array": [["p", [["x", "<f4"], ["y", ">i2", [2]]]], ["q", "|V2"]],
}


def dtype_of(spec):
    """A dtype from v2's JSON."""
    if not isinstance(spec, list):
        return np.dtype(spec)
    return np.dtype([(name, dtype_of(part), *map(tuple, rest)) for name, part, *rest in spec])


CASES = []


def case(name, data, fill=0, **more):
    own = {k: more.pop(k) for k in list(more) if k in Case.__dataclass_fields__}
    CASES.append(Case(name, data, more, fill, **own))


for text in NUMBERS + TIMES + FIXED:
    case(f"dtype {text}", distinct(SHAPE, text), dtype=text)
    case(
        f"dtype {text} order F",
        distinct(SHAPE, text),
        dtype=text,
        order="F",
        compressor={"id": "blosc", "cname": "lz4"},
    )
for label, spec in STRUCTS.items():
    cells = distinct(SHAPE, dtype_of(spec))
    for order in "CF":
        case(f"struct {label} {order}", cells, dtype=spec, order=order, fill=np.zeros((), cells.dtype)[()])
    compressor = {"id": "blosc", "cname": "zstd"}
    case(f"struct {label} fill", cells, dtype=spec, fill=cells[1, 1], compressor=compressor)

OBJECTS = {
    "vlen-utf8": (texts(SHAPE), {"id": "vlen-utf8"}, ""),
    "vlen-bytes": (byte_strings(SHAPE), {"id": "vlen-bytes"}, 0),
    "vlen-array": (ragged(SHAPE, "<i4"), {"id": "vlen-array", "dtype": "<i4"}, None),
    "vlen-array big": (ragged(SHAPE, ">f8"), {"id": "vlen-array", "dtype": ">f8"}, None),
    "json2": (items(SHAPE), {"id": "json2"}, None),
    "msgpack2": (items(SHAPE), {"id": "msgpack2"}, None),
    "pickle": (items(SHAPE), {"id": "pickle"}, None),
}
for label, (cells, object_codec, fill) in OBJECTS.items():
    read = {"allow_pickle": True} if label == "pickle" else {}
    for order in "CF":
        known = "zarr2-objects-order-f" if order == "F" and label in ("json2", "msgpack2") else None
        how = {"dtype": "|O", "object_codec": object_codec, "order": order}
        case(f"objects {label} {order}", cells, fill, known=known, read=read, **how)
    case(
        f"objects {label} compressed",
        cells,
        fill,
        dtype="|O",
        object_codec=object_codec,
        read=read,
        compressor={"id": "zstd", "level": 1},
        filters=[{"id": "crc32"}],
    )

FILTERS = {
    "delta": ("<i4", [{"id": "delta", "dtype": "<i4"}]),
    "delta astype": ("<i4", [{"id": "delta", "dtype": "<i4", "astype": "<i8"}]),
    "delta big": (">i2", [{"id": "delta", "dtype": ">i2"}]),
    "delta u1": ("|u1", [{"id": "delta", "dtype": "|u1"}]),
    "fixedscaleoffset": ("<f8", [{"id": "fixedscaleoffset", "offset": 0, "scale": 1, "dtype": "<f8", "astype": "<i2"}]),
    "fixedscaleoffset big": (
        ">f4",
        [{"id": "fixedscaleoffset", "offset": 3, "scale": 10, "dtype": ">f4", "astype": ">i4"}],
    ),
    "quantize": ("<f4", [{"id": "quantize", "digits": 2, "dtype": "<f4"}]),
    "quantize astype": ("<f8", [{"id": "quantize", "digits": 1, "dtype": "<f8", "astype": "<f4"}]),
    "bitround": ("<f4", [{"id": "bitround", "keepbits": 5}]),
    "bitround f8": ("<f8", [{"id": "bitround", "keepbits": 20}]),
    "astype": ("<f8", [{"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<f8"}]),
    "packbits": ("|b1", [{"id": "packbits"}]),
    "shuffle": ("<i4", [{"id": "shuffle", "elementsize": 4}]),
    "delta shuffle": ("<i8", [{"id": "delta", "dtype": "<i8"}, {"id": "shuffle", "elementsize": 8}]),
    "fso delta": (
        "<f8",
        [
            {"id": "fixedscaleoffset", "offset": 0, "scale": 1, "dtype": "<f8", "astype": "<i4"},
            {"id": "delta", "dtype": "<i4", "astype": "<i8"},
        ],
    ),
    "base64": ("<i4", [{"id": "base64"}]),
    "crc32": ("<i4", [{"id": "crc32"}]),
    "adler32": ("<i4", [{"id": "adler32"}]),
    "fletcher32": ("<i4", [{"id": "fletcher32"}]),
    "jenkins": ("<i4", [{"id": "jenkins_lookup3"}]),
    "jenkins init": ("<i4", [{"id": "jenkins_lookup3", "initval": 7, "prefix": None}]),
    "zlib gzip": ("<i4", [{"id": "zlib", "level": 1}, {"id": "gzip", "level": 1}]),
}


def plain(dtype):
    """Numbers that filters which round give back."""
    return np.arange(1, 36).reshape(SHAPE).astype(dtype) if np.dtype(dtype).kind == "f" else distinct(SHAPE, dtype)


for label, (dtype, filters) in FILTERS.items():
    for order in "CF":
        for compressor in (None, {"id": "zlib", "level": 1}):
            name = f"filter {label} {order} {'zlib' if compressor else 'raw'}"
            case(name, plain(dtype), dtype=dtype, filters=filters, order=order, compressor=compressor)
COMPRESSORS = [
    {"id": "zlib", "level": 9},
    {"id": "gzip", "level": 1},
    {"id": "bz2", "level": 1},
    {"id": "lzma"},
    {"id": "lz4"},
    {"id": "lzma", "format": 2},
    {
        "id": "lzma",
        "format": 3,
        "check": -1,
        "preset": None,
        "filters": [{"id": 3, "dist": 4}, {"id": 33, "preset": 1}],
    },
    {"id": "zstd", "level": 22},
    {"id": "zstd", "level": 1, "checksum": True},
    {"id": "crc32"},
    {"id": "adler32"},
    {"id": "fletcher32"},
    {"id": "shuffle", "elementsize": 4},
    {"id": "base64"},
    *(
        {"id": "blosc", "cname": c, "clevel": 5, "shuffle": s, "blocksize": b}
        for c, s, b in [("lz4", 1, 0), ("lz4hc", 2, 0), ("blosclz", 0, 0), ("zlib", -1, 0), ("zstd", 2, 64)]
    ),
]
for compressor in COMPRESSORS:
    case(
        f"compressor {json.dumps(compressor)}",
        distinct((40, 30), "<i4"),
        dtype="<i4",
        compressor=compressor,
        chunks=(16, 16),
    )
labels = np.array(["b", "a", "", "cc"], object)[np.arange(35).reshape(SHAPE) % 4]
for dtype in ("|O", "<U2"):
    config = {"id": "categorize", "labels": ["a", "b", "cc"], "dtype": dtype, "astype": "|u1"}
    case(
        f"categorize {dtype}",
        labels.astype(dtype),
        "",
        dtype=dtype,
        **({"object_codec": config} if dtype == "|O" else {"filters": [config]}),
    )
SHAPES = [((), ()), ((0,), (3,)), ((4, 0), (2, 1)), ((1,), (1,)), ((3,), (8,)), ((10,), (3,)), ((4, 5, 6), (3, 2, 7))]
for shape, chunks in SHAPES:
    for separator in "./":
        case(
            f"shape {shape} {separator}",
            distinct(shape, "<f4"),
            dtype="<f4",
            chunks=chunks,
            dimension_separator=separator,
            order="F" if len(shape) > 2 else "C",
        )
case("nested store", distinct(SHAPE, "<i4"), dtype="<i4", store="nested")

NAN = {"f2": "u2", "f4": "u4", "f8": "u8"}
FILLS = {
    "|b1": [True],
    "|u1": [255],
    "<i8": [-(2**63)],
    ">u8": [2**64 - 1],
    "<f4": [np.nan, -0.0, np.inf, np.float32(1 / 3)],
    ">f8": [-np.inf, 1e300],
    "<c8": [1 - 2j, complex(np.nan, -np.inf)],
    "<M8[s]": [np.datetime64("NaT"), np.datetime64(5, "s")],
    "<m8[ns]": [np.timedelta64(-7, "ns")],
    "|S4": [b"ab", b"abcd"],
    "<U4": ["é", "ab"],
    "|V3": [np.void(b"\1\2\3")],
}
for dtype, fills in FILLS.items():
    for fill in fills:
        scalar = np.array(fill).astype(dtype)
        case(f"fill {dtype} {fill!r}", np.full(SHAPE, scalar, dtype), scalar[()], dtype=dtype, write_empty_chunks=False)
for dtype in ("|b1", "<i4", ">f8", "<c8", "|S3", "<U3", "<M8[s]", "|V2"):
    case(f"fill {dtype} None", distinct(SHAPE, dtype), None, dtype=dtype)


def keywords_of(case):
    """Keywords of to_zarr for a case."""
    how = dict(case.how)
    filters = list(how.get("filters") or [])
    if "object_codec" in how:
        filters.insert(0, how["object_codec"])
    found = {"filters": filters or None, "compressor": how.get("compressor"), "order": how.get("order", "C")}
    found |= {"chunks": case.chunks, "fill_value": case.fill, "zarr_format": 2}
    if isinstance(how["dtype"], list):
        found["dtype"] = dtype_of(how["dtype"])
    else:
        found["dtype"] = how["dtype"]
    if "dimension_separator" in how:
        found["dimension_separator"] = how["dimension_separator"]
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Everything written and read by both: the answers of zarr-python 2."""
    folder = tmp_path_factory.mktemp("zarr2")
    write, read, found = [], [], {}
    for i, case in enumerate(CASES):
        theirs, ours, data, fill = (str(folder / f"{i}{name}") for name in ("theirs", "ours", "data.npy", "fill.npy"))
        np.save(data, case.data, allow_pickle=True)
        holder = np.empty((), object)
        holder[()] = case.fill
        np.save(fill, holder, allow_pickle=True)
        how = {"compressor": None} | case.how | {"chunks": list(case.chunks)}
        write.append({"do": "write", "path": theirs, "how": how, "store": case.store, "data": data, "fill": fill})
        with dask.config.set(scheduler="synchronous"):
            daskzarr.to_zarr(da.from_array(case.data, chunks=case.chunks), ours, **keywords_of(case))
        read += [{"do": "read", "path": path, "out": path + ".npy"} for path in (theirs, ours)]
    answers = drive([PYTHON], "zarr2_driver.py", write + read)
    for i, case in enumerate(CASES):
        j = len(CASES) + 2 * i
        found[case.name] = answers[i], (read[2 * i], answers[j]), (read[2 * i + 1], answers[j + 1])
    return found


def loaded(item):
    """The array that zarr-python 2 read."""
    return np.load(item["out"], allow_pickle=True)


def read_with_daskzarr(path, component=None, **how):
    return daskzarr.from_zarr(path, component, **how).compute(scheduler="synchronous")


@pytest.mark.parametrize("case", params(CASES))
def test_daskzarr_reads_what_zarr_python_2_writes(case, done):
    written, (item, answer), _ = done[case.name]
    did(written)
    did(answer)
    with as_known(case.known, RELEASE):
        same(read_with_daskzarr(item["path"], **case.read), loaded(item))


@pytest.mark.parametrize("case", params(CASES))
def test_zarr_python_2_reads_what_daskzarr_writes(case, done):
    _, _, (item, answer) = done[case.name]
    did(answer)
    found = loaded(item)
    same(found, case.data)
    same(read_with_daskzarr(item["path"], **case.read), found)


@pytest.mark.parametrize("case", params(case for case in CASES if "|O" not in case.how["dtype"]))
def test_documents_say_the_same(case, done):
    _, (theirs, _), (ours, _) = done[case.name]
    documents = [json.loads((Path(item["path"]) / ".zarray").read_text()) for item in (theirs, ours)]
    for member in ("shape", "chunks", "dtype", "order", "zarr_format"):
        assert documents[0][member] == documents[1][member]
    if np.dtype(documents[0]["dtype"] if isinstance(documents[0]["dtype"], str) else "i4").kind not in "SUV":
        assert documents[0]["fill_value"] == documents[1]["fill_value"]


# ---- stores, keys, objects that are absent, hierarchies


def zarr2(*job):
    return [did(answer) for answer in drive([PYTHON], "zarr2_driver.py", job)]


def saved(path, data):
    np.save(path, data, allow_pickle=True)
    return str(path)


def test_nested_keys_are_found_where_the_document_does_not_say_so(tmp_path):
    data, path = distinct(SHAPE, "<i4"), tmp_path / "a"
    how = {"dtype": "<i4", "chunks": CHUNKS}
    zarr2({"do": "write", "path": str(path), "store": "nested", "how": how, "data": saved(tmp_path / "d.npy", data)})
    document = json.loads((path / ".zarray").read_text())
    del document["dimension_separator"]
    (path / ".zarray").write_text(json.dumps(document))
    same(read_with_daskzarr(path), data)


def test_a_zip_store_is_read(tmp_path):
    data, path = distinct(SHAPE, "<i4"), str(tmp_path / "a.zip")
    how = {"dtype": "<i4", "chunks": CHUNKS}
    zarr2({"do": "write", "path": path, "store": "zip", "how": how, "data": saved(tmp_path / "d.npy", data)})
    same(read_with_daskzarr(f"zip://::file://{path}"), data)
    with zipfile.ZipFile(path) as archive:
        same(read_with_daskzarr({name: archive.read(name) for name in archive.namelist()}), data)


OBJECT_FILLS = [("vlen-utf8", "", ""), ("vlen-utf8", "é", "é"), ("vlen-utf8", 0, ""), ("vlen-utf8", None, "")]
OBJECT_FILLS += [("vlen-bytes", 0, b""), ("vlen-bytes", None, b""), ("json2", "x", "x"), ("json2", None, None)]


@pytest.fixture(scope="module")
def unwritten(tmp_path_factory):
    """An array of objects without any chunk for each codec and fill value: its path, and what zarr-python 2 reads."""
    folder, job = tmp_path_factory.mktemp("unwritten"), []
    for i, (codec, fill, _) in enumerate(OBJECT_FILLS):
        item = {"path": str(folder / f"{i}"), "fill": saved(folder / f"{i}.fill.npy", np.array(fill, object))}
        how = {"dtype": "|O", "chunks": [2], "object_codec": {"id": codec}}
        job.append({"do": "write", "shape": [5], "how": how, **item})
        job.append({"do": "read", "path": item["path"], "out": item["path"] + ".npy"})
    zarr2(*job)
    return [(item["path"], loaded(item)) for item in job[1::2]]


@pytest.mark.parametrize("i", range(len(OBJECT_FILLS)), ids=lambda i: str(OBJECT_FILLS[i][:2]))
def test_absent_chunks_of_objects(i, unwritten):
    (_, fill, expected), (path, theirs) = OBJECT_FILLS[i], unwritten[i]
    whole = np.array([expected] * 5, object)
    same(read_with_daskzarr(path), whole)
    with as_known("zarr2-object-fill" if type(fill) is not type(expected) else None, RELEASE):
        same(theirs, whole)


def test_groups_attributes_and_consolidated_documents_of_zarr_python_2(tmp_path):
    data, path = distinct(SHAPE, "<i4"), str(tmp_path / "h")
    attributes = {"units": "é", "n": [1, None, {"a": 1.5}], "_ARRAY_DIMENSIONS": ["y", "x"]}
    item = {"do": "write", "path": path, "component": "g/a", "how": {"dtype": "<i4", "chunks": CHUNKS}}
    zarr2(item | {"data": saved(tmp_path / "d.npy", data), "attributes": attributes, "consolidate": True})
    for consolidated in (True, False):
        if not consolidated:
            (tmp_path / "h" / ".zmetadata").unlink()
        same(read_with_daskzarr(path, "g/a"), data)
        array = daskzarr.open_group(path)["g/a"]
        assert array.dimension_names == ("y", "x")
        assert array.attrs == {k: v for k, v in attributes.items() if k != "_ARRAY_DIMENSIONS"}


def test_groups_attributes_and_names_of_daskzarr(tmp_path):
    path, attributes = str(tmp_path / "h"), {"units": "é", "n": [1, None, {"a": 1.5}]}
    daskzarr.create_group(path, "g", attributes=attributes, zarr_format=2)
    how = {"attributes": attributes, "dimension_names": ["y", "x"], "zarr_format": 2}
    daskzarr.create_array(path, "g/a", shape=(4, 6), chunks=(2, 3), dtype="f4", **how)
    group, array = zarr2(
        {"do": "members", "path": path}, {"do": "read", "path": path, "component": "g/a", "out": path + ".npy"}
    )
    assert group["names"] == ["g", "g/a"]
    assert array["attributes"] == attributes | {"_ARRAY_DIMENSIONS": ["y", "x"]}
    (inner,) = zarr2({"do": "members", "path": path + "/g"})
    assert inner["attributes"] == attributes
