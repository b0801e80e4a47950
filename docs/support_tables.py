"""Arrays of every data type, through every codec, written and read -> the tables of docs/formats.md.

Run ``python docs/support_tables.py`` to bring the document up to date; a test holds what it says of daskzarr.
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

import daskzarr
from daskzarr.errors import DaskZarrError

DOCUMENT = Path(__file__).with_name("formats.md")
FORMATS = (2, 3, "n5")
NUMBER = np.arange(1, 13)
TEXT = np.array([f"text {i}é" for i in NUMBER], object)


def ragged() -> np.ndarray:
    """Arrays of different lengths as objects."""
    array = np.empty(len(NUMBER), object)
    for i, length in enumerate(NUMBER % 4):
        array[i] = np.arange(length, dtype="i4")
    return array


def small(name: str) -> np.ndarray:
    """Numbers of a type that ml_dtypes adds."""
    import ml_dtypes

    return (NUMBER % 2).astype(getattr(ml_dtypes, name))


def records(fields: list[Any]) -> np.ndarray:
    """Structures with different values in every field."""
    array = np.zeros(len(NUMBER), fields)
    for name in array.dtype.names or ():
        array[name] = NUMBER.reshape(-1, *[1] * (array[name].ndim - 1))
    return array


DATA_TYPES: dict[str, Callable[[], np.ndarray]] = {
    "bool": lambda: NUMBER % 2 == 0,
    "int8, uint8": lambda: NUMBER.astype("i1"),
    "int16-64, uint16-64": lambda: NUMBER.astype("u8"),
    "float16": lambda: NUMBER.astype("f2"),
    "float32, float64": lambda: NUMBER.astype("f8"),
    "complex64, complex128": lambda: NUMBER * (1 + 2j),
    "datetime64, timedelta64 with unit and factor": lambda: NUMBER.astype("M8[25s]"),
    "timedelta64 without unit": lambda: NUMBER.astype("m8"),
    "bytes of fixed length (S)": lambda: NUMBER.astype("S3"),
    "text of fixed length (U)": lambda: NUMBER.astype("U3"),
    "raw bytes (V)": lambda: np.array([b"%03d" % i for i in NUMBER], "V3"),
    "text of any length": lambda: TEXT,
    "bytes of any length": lambda: np.array([text.encode() for text in TEXT], object),
    "structure": lambda: records([("a", "<i4"), ("b", "<f8")]),
    "structure, nested": lambda: records([("a", "<i4"), ("b", [("x", "<f4"), ("y", "<f4")])]),
    "structure, a byte order for each field": lambda: records([("a", "<i4"), ("b", ">f8")]),
    "structure, fields that are arrays": lambda: records([("a", "<i4"), ("b", "<f4", (2, 2))]),
    **{name: lambda name=name: small(name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint2")},
    **{name: lambda name=name: small(name) for name in ("float8_e3m4", "float8_e8m0fnu", "float6_e2m3fn")},
}
FILTERS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "delta": (NUMBER, {"dtype": "<i8"}),
    "fixedscaleoffset": (NUMBER / 2, {"dtype": "<f8", "scale": 2, "offset": 0, "astype": "<i4"}),
    "quantize": (NUMBER / 2, {"dtype": "<f8", "digits": 1}),
    "bitround": (NUMBER.astype("f4"), {"keepbits": 10}),
    "astype": (NUMBER, {"encode_dtype": "<i4", "decode_dtype": "<i8"}),
    "packbits": (NUMBER % 2 == 0, {}),
    "categorize": (np.array(["a", "b"] * 6, object), {"labels": ["a", "b"], "dtype": "|O"}),
    "vlen-utf8": (TEXT, {}),
    "vlen-bytes": (np.array([b"ab", b"", b"c"] * 4, object), {}),
    "vlen-array": (ragged(), {"dtype": "<i4"}),
    "json2": (TEXT, {}),
    "msgpack2": (TEXT, {}),
    "pickle": (TEXT, {}),
}
COMPRESSORS: dict[str, dict[str, Any]] = {
    name: {} for name in ("blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "base64", "shuffle")
} | {name: {} for name in ("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3")}
V3_CODECS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "transpose": (NUMBER.reshape(3, 4), {"filters": {"name": "transpose", "configuration": {"order": [1, 0]}}}),
    "reshape": (NUMBER.reshape(3, 4), {"filters": {"name": "reshape", "configuration": {"shape": [12]}}}),
    "bitround": (NUMBER, {"filters": {"name": "bitround", "configuration": {"keepbits": 8}}}),
    "scale_offset": (NUMBER / 2, {"filters": {"name": "scale_offset", "configuration": {"scale": 2.0}}}),
    "cast_value": (NUMBER, {"filters": {"name": "cast_value", "configuration": {"data_type": "int16"}}}),
    "packbits": (NUMBER % 2 == 0, {"serializer": {"name": "packbits"}}),
    "zfp": (NUMBER / 2, {"serializer": {"name": "zfp", "configuration": {"mode": "reversible"}}}),
    "conditional": (
        NUMBER,
        {"compressors": {"name": "conditional", "configuration": {"codecs": [{"name": "crc32c"}]}}},
    ),
    "n5_default": (
        NUMBER,
        {
            "codecs": {
                "name": "n5_default",
                "configuration": {
                    "codecs": [
                        {"name": "transpose", "configuration": {"order": [0]}},
                        {"name": "bytes", "configuration": {"endian": "big"}},
                    ]
                },
            }
        },
    ),
    "sharding_indexed": (NUMBER, {"chunks": (2,), "shards": (4,)}),
}


def stored(array: np.ndarray, zarr_format: Any, **options: Any) -> dict[str, bytes] | None:
    """An array written and read back; None where daskzarr refuses it. Anything else that goes wrong is raised."""
    store: dict[str, bytes] = {}
    if array.dtype == object and isinstance(array[0], bytes) and "filters" not in options:
        options = {"dtype": "bytes"} | options
    try:
        daskzarr.to_zarr(da.from_array(array, chunks=4), store, zarr_format=zarr_format, **options)
    except DaskZarrError:
        return None
    found = daskzarr.from_zarr(store, allow_pickle=True).compute()
    assert found.shape == array.shape, (zarr_format, options)
    assert same(found, array), (zarr_format, options)
    return store


def same(found: np.ndarray, array: np.ndarray) -> bool:
    """Whether all values are equal."""
    if array.dtype == object:
        return all(np.array_equal(a, b) for a, b in zip(found.tolist(), array.tolist(), strict=True))
    return np.asarray(found).astype(array.dtype).tobytes() == array.tobytes()


def read_by_zarr_python(store: dict[str, bytes], array: np.ndarray) -> bool:
    """Whether zarr-python reads the same values."""
    import zarr

    with tempfile.TemporaryDirectory() as folder:
        save(store, folder)
        return same(zarr.open_array(folder, mode="r")[...], array)


def read_by_tensorstore(store: dict[str, bytes], array: np.ndarray) -> bool:
    """Whether tensorstore reads the same values."""
    import tensorstore

    driver = "zarr3" if "zarr.json" in store else "zarr" if ".zarray" in store else "n5"
    with tempfile.TemporaryDirectory() as folder:
        save(store, folder)
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": folder + "/"}}
        found = tensorstore.open(spec).result().read().result()
        return same(found.T if driver == "n5" else found, array)


def save(store: dict[str, bytes], folder: str) -> None:
    """Write a store's values to files."""
    for key, value in store.items():
        path = Path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)


PEERS = {"zarr": read_by_zarr_python, "tensorstore": read_by_tensorstore}


def cell(array: np.ndarray, zarr_format: Any, peers: bool, **options: Any) -> str:
    """One cell: "yes" and the peers that read it too, or nothing."""
    store = stored(array, zarr_format, **options)
    if store is None:
        return ""
    return "yes" + "".join(f", {name}" for name, read in PEERS.items() if peers and agrees(read, store, array))


def agrees(read: Callable[..., bool], store: dict[str, bytes], array: np.ndarray) -> bool:
    """Whether a peer reads the same values; whatever it fails with, it does not."""
    try:
        return read(store, array)
    except Exception:
        return False


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(*, peers: bool) -> dict[str, str]:
    """Every table, by name."""
    names = ["Zarr v2", "Zarr v3", "N5"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        types = [[name, *(cell(make(), f, peers) for f in FORMATS)] for name, make in DATA_TYPES.items()]
        v2 = [[f"`{name}`", *filter_row(name, peers)] for name in FILTERS]
        v2 += [[f"`{name}`", *compressor_row(name, peers)] for name in COMPRESSORS]
        v3 = [[f"`{name}`", cell(array, 3, peers, **options)] for name, (array, options) in V3_CODECS.items()]
    return {
        "data types": table(["data type", *names], types),
        "codecs of numcodecs": table(["id", "Zarr v2", "Zarr v3"], v2),
        "codecs of v3": table(["name", "Zarr v3"], v3),
    }


def filter_row(name: str, peers: bool) -> list[str]:
    """A codec on arrays, in v2 and v3."""
    array, options = FILTERS[name]
    in_v2 = cell(array, 2, peers, filters=[{"id": name, **options}], compressors=None)
    if name in ("vlen-utf8", "vlen-bytes"):
        dtype = "string" if name == "vlen-utf8" else "bytes"
        return [in_v2, cell(array, 3, peers, serializer={"name": name}, dtype=dtype, compressors=None)]
    return [in_v2, cell(array, 3, peers, filters=[{"id": name, **options}], compressors=None)]


def compressor_row(name: str, peers: bool) -> list[str]:
    """A codec on bytes, in v2 and v3."""
    return [cell(NUMBER, f, peers, compressors=[{"id": name, **COMPRESSORS[name]}]) for f in (2, 3)]


def filled_in(text: str, found: dict[str, str]) -> str:
    """The document with its tables replaced."""
    for name, lines in found.items():
        pattern = re.compile(f"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(text), name
        text = pattern.sub(lambda match, lines=lines: f"{match[1]}{lines}\n{match[2]}", text)
    return text


def main() -> None:
    """Write the tables into the document."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PEERS)
    text = filled_in(DOCUMENT.read_text(), tables(peers=True))
    DOCUMENT.write_text(re.sub(r"<!-- versions -->.*?<!-- end -->", f"<!-- versions -->{versions}<!-- end -->", text))
    print(json.dumps({"written": str(DOCUMENT), "versions": versions}))


if __name__ == "__main__":
    main()
