"""Documents and chunks changed at random: only our errors come out, in bounded time and memory.

A few hundred cases run with the tests; ``python tests/test_fuzz.py 100000`` runs as many as it is told.
"""

import copy
import json
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter

import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr.errors import DaskZarrError

SECONDS = 20
MEMORY = 6 * 2**30
TEXT = np.array([f"text {i} {'é' * (i % 3)}" for i in range(24)], object)
RECORD = np.zeros(24, [("a", ">i4"), ("b", "S3"), ("c", [("x", "f4"), ("y", "?")])])
RECORD["a"], RECORD["b"], RECORD["c"]["x"] = range(24), [b"%d" % i for i in range(24)], range(24)
NUMBERS = np.arange(24, dtype="i4")


def shard_codecs(location):
    inner = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd"}, {"name": "crc32c"}]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    configuration = {"chunk_shape": [2], "codecs": inner, "index_codecs": index, "index_location": location}
    return [{"name": "sharding_indexed", "configuration": configuration}]


# What is stored, and whether a checksum covers all of it: then no other value may ever come out.
KINDS = {
    "v3": (NUMBERS, {"compressors": None}, False),
    "v3-checked": (NUMBERS, {"compressors": ["zstd", "crc32c"]}, True),
    "v3-gzip": (NUMBERS.astype("f8"), {"compressors": "gzip", "order": "F"}, True),
    "v3-blosc": (NUMBERS.astype("c16"), {"compressors": "blosc"}, False),
    "v3-text": (TEXT, {"compressors": None}, False),
    "v3-text-checked": (TEXT, {"compressors": ["zstd", "crc32c"]}, True),
    "v3-fixed-text": (TEXT.astype("U9"), {"compressors": None}, False),
    "v3-record": (RECORD, {"compressors": "crc32c"}, True),
    "v3-date": (NUMBERS.astype("M8[25s]"), {"compressors": "crc32c"}, True),
    "v3-bool": (NUMBERS % 3 == 0, {"serializer": {"name": "packbits"}, "compressors": None}, False),
    "v3-shards": (NUMBERS, {"codecs": shard_codecs("end")}, True),
    "v3-shards-start": (NUMBERS, {"codecs": shard_codecs("start")}, True),
    "v3-nested-shards": (NUMBERS, {"chunks": (2,), "shards": (8,), "compressors": "crc32c"}, True),
    "v2": (NUMBERS, {"zarr_format": 2, "compressor": None}, False),
    "v2-lz4": (NUMBERS, {"zarr_format": 2, "compressor": {"id": "lz4"}}, False),
    "v2-lzma": (NUMBERS, {"zarr_format": 2, "compressor": {"id": "lzma"}}, True),
    "v2-bz2": (NUMBERS, {"zarr_format": 2, "compressor": {"id": "bz2"}}, True),
    "v2-filters": (
        NUMBERS,
        {"zarr_format": 2, "filters": [{"id": "delta", "dtype": "<i4"}, {"id": "shuffle"}, {"id": "fletcher32"}]},
        False,
    ),
    "v2-text": (TEXT, {"zarr_format": 2, "compressor": {"id": "zlib"}}, True),
    "v2-json": (TEXT, {"zarr_format": 2, "filters": [{"id": "json2"}], "compressor": None}, False),
    "v2-msgpack": (TEXT, {"zarr_format": 2, "filters": [{"id": "msgpack2"}], "compressor": None}, False),
    "v2-categories": (
        np.array(["a", "b", "c"] * 8, object),
        {"zarr_format": 2, "filters": [{"id": "categorize", "labels": ["a", "b", "c"], "dtype": "|O"}]},
        False,
    ),
    "v2-record": (RECORD, {"zarr_format": 2, "compressor": {"id": "crc32"}}, True),
    "n5": (NUMBERS, {"zarr_format": "n5", "compressor": None}, False),
    "n5-gzip": (NUMBERS, {"zarr_format": "n5"}, False),
    "n5-lz4": (NUMBERS, {"zarr_format": "n5", "compressor": {"id": "lz4"}}, False),
    "n5-text": (TEXT, {"zarr_format": "n5"}, False),
}
DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", "attributes.json")
JUNK = [None, True, False, 0, 1, -1, 2, 3, 7, 255, 2**31, 2**53 + 1, 2**63, 2**70, -(2**63), 0.5, 1e308, float("nan")]
JUNK += ["", "NaN", "0x7fc00001", "bytes", "C", "F", "<i4", "|O", "\x00", "\ud800", "../..", "x" * 300, "AAAA"]
JUNK += [
    [],
    {},
    [[]],
    [None],
    [0],
    [1, 2, 3],
    [2**62, 2**62],
    [-1],
    {"name": "bytes"},
    {"id": "pickle"},
    {"id": "zlib"},
]
JUNK += [{"name": "sharding_indexed"}, {"id": "delta", "dtype": "<i4"}, {"name": "string"}, [["a", "<i4"]], {"a": 1}]


def stores():
    """Every kind, as a dict of its keys, with the values that are in it."""
    found = {}
    for name, (cells, options, _) in KINDS.items():
        blocks = da.from_array(cells, chunks=8)
        daskzarr.to_zarr(blocks, store := {}, **options)
        np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(scheduler="sync"), cells)
        found[name] = store
    return found


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def change_document(text, rng):
    """A document with something in it dropped, replaced, nested, doubled or added; or with its text spoilt."""
    if rng.random() < 0.15:
        return change_bytes(text, rng)
    document = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        path = rng.choice(list(places(document)))
        if not path:
            document[rng.choice(["extra", "consolidated_metadata", "storage_transformers"])] = rng.choice(JUNK)
            continue
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        how = rng.random()
        if how < 0.2:
            del owner[path[-1]]
        elif how < 0.3:
            for _ in range(rng.choice([1, 3, 100])):
                owner[path[-1]] = [owner[path[-1]]]
        elif how < 0.4:
            other = document
            for key in rng.choice(list(places(document))):
                other = other[key]
            owner[path[-1]] = copy.deepcopy(other) if len(str(other)) < 5000 else None
        else:
            owner[path[-1]] = copy.deepcopy(rng.choice(JUNK))
    try:
        return json.dumps(document).encode()
    except (RecursionError, UnicodeEncodeError):
        return text[:-5]


def change_bytes(data, rng):
    """Bytes flipped, cut, doubled, set to an extreme, or put in from elsewhere."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data)) if data else 0
        how = rng.random()
        if how < 0.35 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif how < 0.5:
            del data[at:]
        elif how < 0.6:
            del data[at : at + rng.choice([1, 4, 8])]
        elif how < 0.7:
            data[at:at] = rng.randbytes(rng.choice([1, 4, 16]))
        elif how < 0.85:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
        else:
            data += data[: rng.choice([1, 10, len(data)])]
    return bytes(data)


def same(found, expected):
    """Whether all values are equal, NaN to NaN."""
    if found.shape != expected.shape:
        return False
    if expected.dtype == object:
        return found.tolist() == expected.tolist()
    return found.astype(expected.dtype).tobytes() == expected.tobytes()


def run_case(name, store, rng):
    """Change one thing, read, and say what came of it."""
    cells, _, checked = KINDS[name]
    changed = dict(store)
    documents = [key for key in store if key in DOCUMENTS]
    chunks = [key for key in store if key not in DOCUMENTS]
    in_chunk = rng.random() < 0.5
    key = rng.choice(chunks if in_chunk else documents)
    changed[key] = change_bytes(store[key], rng) if in_chunk else change_document(store[key], rng)
    try:
        told = {"v2": 2, "v3": 3, "n5": "n5"}[name[:2]]
        array = daskzarr.from_zarr(changed, zarr_format=rng.choice([told, told, None]))
        some = tuple(slice(0, rng.choice([1, 5, 24])) for _ in array.shape)
        found = array[some].compute(scheduler="sync")
    except DaskZarrError as error:
        str(error)
        return type(error).__name__
    if in_chunk and checked and found.shape and not same(found, cells[some]):
        raise AssertionError(f"{name}: {key} changed to {changed[key]!r} reads as {found!r} without an error")
    return "read"


def run(cases, seed):
    """Run many cases; a case that takes too long, or lets another error out, ends it."""
    warnings.simplefilter("ignore")
    outcomes = Counter()
    base = stores()

    def too_long(*_):
        raise TimeoutError(f"a case took more than {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    for number in range(cases):
        rng = random.Random(f"{seed}-{number}")
        name = rng.choice(list(KINDS))
        signal.alarm(SECONDS)
        try:
            outcomes[run_case(name, base[name], rng)] += 1
        except BaseException as error:
            error.add_note(f"case {seed}-{number}, of {name}")
            raise
        finally:
            signal.alarm(0)
    return outcomes


def main(cases, seed):
    """Run cases with bounded memory and print what came of them."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    start = time.perf_counter()
    outcomes = run(cases, seed)
    print(json.dumps({"cases": cases, "seconds": round(time.perf_counter() - start), **outcomes}))


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs a timer signal and limits of memory")
def test_damage_of_any_kind_comes_out_as_our_errors():
    command = [sys.executable, __file__, "1500", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    assert outcomes["CodecError"] > 100
    assert outcomes["MetadataError"] > 100


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "0")
