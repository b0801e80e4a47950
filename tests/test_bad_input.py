"""What goes wrong, each in its own way: the error says what, where and in which object, and nothing is changed."""

import ast
import itertools
import json
import os
import pickle
import types

import dask
import dask.array as da
import fsspec
import numpy as np
import pytest
from distributed import Client
from fsspec.implementations.dirfs import DirFileSystem
from tblib import pickling_support

from daskzarr import (
    AlignmentError,
    CodecError,
    MetadataError,
    MissingChunkError,
    NodeExistsError,
    NodeNotFoundError,
    StoreError,
    StorePermissionError,
    UnknownCodecError,
    UnsupportedError,
    create_array,
    create_group,
    from_zarr,
    open_array,
    open_group,
    to_zarr,
)
from daskzarr.stores import LocalStore, MappingStore, open_store
from daskzarr.stores.retries import RetryBudget
from daskzarr.testing import FaultyStore, RecordingStore, WebServer, distinct_values

# distributed does this to every error that leaves a worker: it pickles with its causes then.
pickling_support.install()

SHAPE, CHUNKS = (6, 8), (2, 4)
CELLS = distinct_values(SHAPE, "int32", start=1)
CHUNK_BYTES = 2 * 4 * 4


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    """What fails in a way that may pass is tried again, here without waiting."""
    monkeypatch.setattr("daskzarr.stores.retries.BUDGET", RetryBudget(first_wait=1e-4))


@pytest.fixture
def store():
    """An empty store."""
    return MappingStore({})


@pytest.fixture(params=["mapping", "local"])
def any_store(request, tmp_path):
    """An empty store: one that only gets, and one that can read into memory."""
    return MappingStore({}) if request.param == "mapping" else LocalStore(str(tmp_path / "store"))


def blocks(cells=CELLS, chunks=CHUNKS):
    return da.from_array(cells, chunks=chunks)


def put_array(store, component="a", **options):
    """An array with a value of its own in every cell."""
    to_zarr(blocks(), store, component, **options)
    return store


def contents(store, prefix=""):
    """Every key and value of a store."""
    if isinstance(store, MappingStore):
        return {key: bytes(value) for key, value in store.mapping.items()}
    listing = store.list_dir(prefix)
    lead = prefix + "/" if prefix else ""
    found = {lead + name: bytes(store.get(lead + name)) for name in listing.keys}
    for name in listing.prefixes:
        found.update(contents(store, lead + name))
    return found


class refused:
    """Runs a block that has to raise an error of a class, which names the given places and survives pickling.

    The store holds the same afterwards as before, unless ``unchanged`` says otherwise. The error names the store and
    the ``node``, unless ``named`` says that neither is known yet. ``says`` are words that have to be in its text; other
    arguments are its fields. ``about`` is what a failure of the test is about.
    """

    def __init__(self, kind, store, node="/a", says=(), named=True, unchanged=True, about=None, **fields):
        self.kind, self.store, self.node, self.fields = kind, store, node, fields
        self.says = (says,) if isinstance(says, str) else says
        self.named, self.unchanged, self.about = named, unchanged, about

    def __enter__(self):
        self.inner = getattr(self.store, "store", self.store)
        self.before = contents(self.inner) if self.unchanged else None
        return self

    def __exit__(self, kind, error, trace):
        try:
            assert error is not None, f"no {self.kind.__name__} was raised"
            if not isinstance(error, self.kind):
                return False
            self.check(error)
        except AssertionError as failed:
            failed.add_note(f"{self.about or ''}: {error!r}")
            raise
        return True

    def check(self, error):
        if self.unchanged:
            assert contents(self.inner) == self.before
        text = str(error)
        assert error.message in text
        if self.named:
            assert self.store.url in text
            assert error.url == self.store.url
            assert f"node '{self.node}'" in text
        for field, value in self.fields.items():
            assert getattr(error, field) == value, field
            assert repr(value) in text
        for word in self.says:
            assert word in text
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == text
        assert vars(copy) == vars(error)


READS = {
    "one block a chunk": lambda store, **options: from_zarr(store, "a", **options).compute(),
    "a task a block": lambda store, **options: (from_zarr(store, "a", **options) + 0).compute(),
    "large blocks": lambda store, **options: (from_zarr(store, "a", chunks=-1, **options) + 0).compute(),
    "cut chunks": lambda store, **options: (from_zarr(store, "a", chunks=(3, 3), **options) + 0).compute(),
    "one thread": lambda store, **options: from_zarr(store, "a", **options).compute(scheduler="sync"),
    "a slice": lambda store, **options: from_zarr(store, "a", **options)[2:4, 5:7].compute(),
}
KEY = "c/1/1"  # the chunk that is spoiled: all reads need it


# Damaged chunks

CODECS = {
    "raw": None,
    "zstd": "zstd",
    "gzip": "gzip",
    "blosc": "blosc",
    "crc32c": "crc32c",
    "zstd and crc32c": ["zstd", "crc32c"],
}
every_codec = pytest.mark.parametrize("compressors", CODECS.values(), ids=list(CODECS))


@every_codec
@pytest.mark.parametrize("size", [0, 3, -1], ids="{} bytes".format)
def test_a_truncated_chunk(any_store, compressors, size):
    put_array(any_store, compressors=compressors)
    any_store.set("a/" + KEY, bytes(any_store.get("a/" + KEY))[:size])
    for name, read in READS.items():
        with refused(CodecError, any_store, chunk_key=KEY, about=name):
            read(any_store)


@pytest.mark.parametrize("compressors", [None, "blosc", "crc32c"], ids=str)
@pytest.mark.parametrize("more", [b"\0", b"x" * 8, b"\0" * CHUNK_BYTES], ids=lambda more: f"{len(more)} bytes")
def test_a_chunk_that_is_too_long(any_store, compressors, more):
    put_array(any_store, compressors=compressors)
    any_store.set("a/" + KEY, bytes(any_store.get("a/" + KEY)) + more)
    for name, read in READS.items():
        with refused(CodecError, any_store, chunk_key=KEY, about=name):
            read(any_store)


@pytest.mark.parametrize("compressors", ["zstd", "gzip", "blosc", "crc32c"])
@pytest.mark.parametrize("other", [(1, 4), (2, 5), (4, 8)], ids=str)
def test_a_chunk_of_another_shape(any_store, compressors, other):
    put_array(any_store, compressors=compressors)
    scratch = MappingStore({})
    to_zarr(blocks(distinct_values(other, "int32"), other), scratch, compressors=compressors)
    any_store.set("a/" + KEY, scratch.get("c/0/0"))
    for name, read in READS.items():
        with refused(CodecError, any_store, chunk_key=KEY, says="damaged", about=name):
            read(any_store)


@pytest.mark.parametrize("size", [0, 4, CHUNK_BYTES - 4, CHUNK_BYTES + 4, 2 * CHUNK_BYTES])
def test_a_raw_chunk_of_another_size(any_store, size):
    put_array(any_store, compressors=None)
    any_store.set("a/" + KEY, bytes(range(256))[:size])
    for name, read in READS.items():
        with refused(CodecError, any_store, chunk_key=KEY, says=(str(size), str(CHUNK_BYTES)), about=name):
            read(any_store)


def test_bytes_of_another_codec(store):
    put_array(store, compressors="zstd")
    to_zarr(blocks(), scratch := {}, compressors="gzip")
    store.set("a/" + KEY, scratch[KEY])
    for name, read in READS.items():
        with refused(CodecError, store, chunk_key=KEY, codec="zstd", about=name):
            read(store)


@pytest.mark.parametrize("compressors", ["crc32c", ["zstd", "crc32c"]], ids=str)
def test_flipped_bits_under_a_checksum(store, compressors):
    put_array(store, compressors=compressors)
    good = bytes(store.get("a/" + KEY))
    for bit in range(0, 8 * len(good), 5):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        store.set("a/" + KEY, bad)
        with refused(CodecError, store, chunk_key=KEY, codec="crc32c", says="checksum"):
            READS["a slice"](store)
    store.set("a/" + KEY, good)
    np.testing.assert_array_equal(READS["a slice"](store), CELLS[2:4, 5:7])


def test_flipped_bits_under_a_checksum_in_every_read(any_store):
    put_array(any_store, compressors="crc32c")
    bad = bytearray(any_store.get("a/" + KEY))
    bad[7] ^= 16
    any_store.set("a/" + KEY, bad)
    for name, read in READS.items():
        with refused(CodecError, any_store, chunk_key=KEY, codec="crc32c", says="checksum", about=name):
            read(any_store)


def test_other_chunks_of_a_damaged_array_can_be_read(any_store):
    put_array(any_store)
    any_store.set("a/" + KEY, b"")
    read = from_zarr(any_store, "a")
    np.testing.assert_array_equal(read[:2].compute(), CELLS[:2])
    np.testing.assert_array_equal(read[4:].compute(), CELLS[4:])


@pytest.mark.parametrize("compressors", [None, "zstd"])
def test_an_absent_chunk_where_that_is_an_error(any_store, compressors):
    put_array(any_store, compressors=compressors)
    np.testing.assert_array_equal(READS["one thread"](any_store, missing="error"), CELLS)
    any_store.delete("a/" + KEY)
    for name, read in READS.items():
        with refused(MissingChunkError, any_store, chunk_key=KEY, about=name):
            read(any_store, missing="error")
    expected = CELLS.copy()
    expected[2:4, 4:] = 0
    np.testing.assert_array_equal(READS["one thread"](any_store), expected)
    assert issubclass(MissingChunkError, KeyError)


def test_an_absent_chunk_of_an_array_at_the_top(store):
    create_array(store, shape=(4,), chunks=(2,), dtype="int8")
    with refused(MissingChunkError, store, node="/", chunk_key="c/0"):
        from_zarr(store, missing="error").compute()


def test_missing_is_fill_or_error(store):
    put_array(store)
    with pytest.raises(MetadataError, match="'warn'") as caught:
        from_zarr(store, "a", missing="warn")
    assert caught.value.field == "missing"


# Documents


def spoil(store, change, component="a"):
    """Change the document of an array."""
    key = f"{component}/zarr.json" if component else "zarr.json"
    document = json.loads(bytes(store.get(key)))
    change(document)
    store.set(key, json.dumps(document).encode())


OPENS = {
    "from_zarr": lambda store: from_zarr(store, "a"),
    "open_array": lambda store: open_array(store, "a"),
    "to_zarr": lambda store: to_zarr(blocks(), store, "a", mode="r+"),
    "group": lambda store: open_group(store)["a"],
}
every_open = pytest.mark.parametrize("open_", OPENS.values(), ids=list(OPENS))

NO_JSON = {
    "nothing": b"",
    "an open brace": b"{",
    "a cut document": b'{"zarr_format": 3, "node_type": "arr',
    "a trailing comma": b'{"zarr_format": 3,}',
    "two documents": b"{}{}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "binary": bytes(range(256)),
    "spaces": b"   ",
    "HTML": b"<html><body>404</body></html>",
    "nested lists": b"[" * 100_000,
    "closed nested lists": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested attributes": b'{"attributes":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "a huge integer": b'{"shape": [' + b"9" * 5_000 + b"]}",
}


@every_open
@pytest.mark.parametrize("text", NO_JSON.values(), ids=list(NO_JSON))
def test_a_document_that_is_no_json(store, open_, text):
    put_array(store)
    store.set("a/zarr.json", text)
    with refused(MetadataError, store, field="zarr.json", says="JSON"):
        open_(store)


@every_open
@pytest.mark.parametrize("text", [b"[]", b"null", b"3", b'"zarr"', b"true", b"[{}]", b"NaN"])
def test_a_document_that_is_no_object(store, open_, text):
    put_array(store)
    store.set("a/zarr.json", text)
    with refused(MetadataError, store, field="zarr.json", says="object"):
        open_(store)


@pytest.mark.parametrize("name", [".zarray", ".zattrs"])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"[" * 100_000], ids=["nothing", "open", "list", "nested"])
def test_a_v2_document_that_is_no_json_object(store, name, text):
    put_array(store, zarr_format=2, attributes={"b": 1})
    store.set("a/" + name, text)
    with refused(MetadataError, store, field=name):
        open_array(store, "a")


def test_a_group_document_that_is_no_json(store):
    create_group(store, "g")
    store.set("g/zarr.json", b"{")
    with refused(MetadataError, store, node="/g", field="zarr.json"):
        open_group(store, "g")


def record(*fields):
    return {"name": "struct", "configuration": {"fields": [list(field) for field in fields]}}


def irregular(*axes):
    return {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": list(axes)}}


WRONG = {
    "format": ("zarr_format", 4),
    "format as text": ("zarr_format", "3"),
    "no format": ("zarr_format", None),
    "node type": ("node_type", "table"),
    "node type as list": ("node_type", ["array"]),
    "shape": ("shape", 6),
    "negative shape": ("shape", [-6, 8]),
    "shape of text": ("shape", ["6", 8]),
    "shape of floats": ("shape", [6.0, 8]),
    "shape of booleans": ("shape", [True, 8]),
    "shape beyond 2^63": ("shape", [2**63, 8]),
    "nested shape": ("shape", [[6, 8]]),
    "grid": ("chunk_grid", 2),
    "grid without a name": ("chunk_grid", {"configuration": {"chunk_shape": [2, 4]}}),
    "grid without chunks": ("chunk_grid", {"name": "regular", "configuration": {}}),
    "grid of zeros": ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0, 4]}}),
    "grid of other rank": ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [2]}}),
    "key encoding": ("chunk_key_encoding", []),
    "separator": ("chunk_key_encoding", {"name": "default", "configuration": {"separator": "-"}}),
    "separator as list": ("chunk_key_encoding", {"name": "default", "configuration": {"separator": ["/"]}}),
    "data type": ("data_type", 7),
    "data type with a configuration": ("data_type", {"name": "r16", "configuration": {"a": 1}}),
    "date without a unit": ("data_type", {"name": "numpy.datetime64", "configuration": {"scale_factor": 1}}),
    "text of half a character": ("data_type", {"name": "fixed_length_utf32", "configuration": {"length_bytes": 6}}),
    "structure without fields": ("data_type", record()),
    "fields of one name": ("data_type", record(("a", "int8"), ("a", "int8"))),
    "field of any length": ("data_type", record(("a", "string"))),
    "grid of chunks that do not cover": ("chunk_grid", irregular([2, 2], 4)),
    "grid of chunks without length": ("chunk_grid", irregular([2, 0, 4], 4)),
    "grid of chunks of another rank": ("chunk_grid", irregular([2, 4])),
    "grid that is elsewhere": ("chunk_grid", {"name": "rectilinear", "configuration": {"kind": "file"}}),
    "fill value": ("fill_value", "many"),
    "null fill value": ("fill_value", None),
    "fill value too large": ("fill_value", 2**31),
    "fill value as list": ("fill_value", [0]),
    "codecs": ("codecs", "bytes"),
    "no codecs": ("codecs", []),
    "codecs of numbers": ("codecs", [1]),
    "attributes": ("attributes", [1]),
    "dimension names": ("dimension_names", ["x"]),
    "dimension names of numbers": ("dimension_names", [1, 2]),
}


@pytest.mark.parametrize(("field", "value"), WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize("open_", [OPENS["from_zarr"], OPENS["to_zarr"]], ids=["from_zarr", "to_zarr"])
def test_a_document_with_a_wrong_member(store, open_, field, value):
    put_array(store)
    spoil(store, lambda document: document.update({field: value}))
    with refused(MetadataError, store, says=field):
        open_(store)


@pytest.mark.parametrize(
    "field",
    ["zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"],
)
def test_a_document_that_lacks_a_member(store, field):
    put_array(store)
    spoil(store, lambda document: document.pop(field))
    with refused(MetadataError, store, field=field):
        from_zarr(store, "a")


UNSUPPORTED = {
    "data type": ("data_type", "int128", "int128"),
    "raw bits that are no bytes": ("data_type", "r12", "r12"),
    "data type of a field": ("data_type", record(("a", "int8"), ("b", "float128")), "float128"),
    "data type of Zarr v2": ("data_type", "v2.dtype", "v2.dtype"),
    "grid": ("chunk_grid", {"name": "rectangular", "configuration": {}}, "rectangular"),
    "key encoding": ("chunk_key_encoding", {"name": "hashed"}, "hashed"),
    "codec of Zarr v2": ("codecs", [{"name": "v2.bytes", "configuration": {"dtype": "<i4"}}], "v2.bytes"),
    "transformers": ("storage_transformers", [{"name": "sharding"}], "storage_transformers"),
    "member": ("something_new", {"a": 1}, "something_new"),
}


@pytest.mark.parametrize(("field", "value", "says"), UNSUPPORTED.values(), ids=list(UNSUPPORTED))
@pytest.mark.parametrize("open_", [OPENS["from_zarr"], OPENS["to_zarr"]], ids=["from_zarr", "to_zarr"])
def test_a_document_that_asks_for_what_is_not_supported(store, open_, field, value, says):
    put_array(store)
    spoil(store, lambda document: document.update({field: value}))
    with refused(UnsupportedError, store, says=says, field="codecs[0]" if field == "codecs" else field):
        open_(store)


UNSUPPORTED_OF_V2 = {
    "long double": ("dtype", "<f16", "<f16"),
    "text of no length": ("dtype", "|S0", "|S0"),
    "unit": ("dtype", "<M8[century]", "century"),
    "long double in a field": ("dtype", [["a", "<i4"], ["b", "<f16"]], "<f16"),
    "objects in a field": ("dtype", [["a", "<i4"], ["b", "|O"]], "'b'"),
    "objects that nothing stores": ("dtype", "|O", "vlen-utf8"),
}


@pytest.mark.parametrize(("field", "value", "says"), UNSUPPORTED_OF_V2.values(), ids=list(UNSUPPORTED_OF_V2))
@pytest.mark.parametrize("open_", [OPENS["from_zarr"], OPENS["to_zarr"]], ids=["from_zarr", "to_zarr"])
def test_a_document_of_v2_that_asks_for_what_is_not_supported(store, open_, field, value, says):
    put_array(store, zarr_format=2)
    document = json.loads(bytes(store.get("a/.zarray")))
    store.set("a/.zarray", json.dumps(document | {field: value, "fill_value": None}).encode())
    with refused(UnsupportedError, store, says=says, field="filters" if value == "|O" else field):
        open_(store)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}

PIPELINES = {
    "unknown codec": ([BYTES, {"name": "zip9"}], "zip9"),
    "unknown member": ([{"name": "bytes", "configuration": {"endian": "little", "pad": 1}}], "pad"),
    "no endian": ([{"name": "bytes"}], "endian"),
    "wrong endian": ([{"name": "bytes", "configuration": {"endian": ["little"]}}], "endian"),
    "level": ([BYTES, {"name": "gzip", "configuration": {"level": 10}}], "level"),
    "level as text": ([BYTES, {"name": "zstd", "configuration": {"level": "1"}}], "level"),
    "two serializers": ([BYTES, BYTES], "bytes"),
    "no serializer": ([{"name": "zstd", "configuration": {"level": 1}}], "zstd"),
    "order of kinds": ([{"name": "gzip", "configuration": {"level": 1}}, BYTES], "gzip"),
    "transpose": ([{"name": "transpose", "configuration": {"order": [0, 2]}}, BYTES], "order"),
    "sharding": ([{"name": "sharding_indexed", "configuration": {}}], "sharding_indexed"),
    "text of numbers": ([{"name": "vlen-utf8"}], "vlen-utf8"),
    "bits of more than there are": ([{"name": "packbits", "configuration": {"last_bit": 32}}], "last_bit"),
}


@pytest.mark.parametrize(("codecs", "says"), PIPELINES.values(), ids=list(PIPELINES))
@pytest.mark.parametrize("open_", [OPENS["from_zarr"], OPENS["to_zarr"]], ids=["from_zarr", "to_zarr"])
def test_a_document_with_codecs_that_cannot_be(store, open_, codecs, says):
    put_array(store)
    spoil(store, lambda document: document.update(codecs=codecs))
    with refused(UnknownCodecError, store, says=says):
        open_(store)


def test_an_unknown_codec_is_named(store):
    put_array(store)
    spoil(store, lambda document: document["codecs"].append({"name": "zip9"}))
    with refused(UnknownCodecError, store, codec="zip9") as caught:
        from_zarr(store, "a")
    assert caught


def test_an_unknown_codec_of_v2_is_named(store):
    put_array(store, zarr_format=2)
    document = json.loads(bytes(store.get("a/.zarray")))
    store.set("a/.zarray", json.dumps({**document, "compressor": {"id": "zip9"}}).encode())
    with refused(UnknownCodecError, store, codec="numcodecs.zip9"):
        from_zarr(store, "a")


def test_an_error_in_a_document_names_no_chunk(store):
    put_array(store)
    spoil(store, lambda document: document["codecs"].append({"name": "zip9"}))
    with pytest.raises(UnknownCodecError) as caught:
        from_zarr(store, "a")
    assert "chunk '" not in str(caught.value)


@pytest.mark.parametrize("depth", [100, 300, 480, 900])
@pytest.mark.parametrize("member", ["attributes", "codecs"])
def test_deep_json_near_the_limit_of_what_is_read(store, member, depth):
    """Whatever handles the document later can take it, or it is refused when it is read."""
    put_array(store)
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    document = json.loads(bytes(store.get("a/zarr.json")))
    document["codecs"].append({"name": "unknown", "configuration": {"deep": "DEEP"}, "must_understand": False})
    document["attributes"] = {"deep": "DEEP"}
    keep, drop = ("attributes", "codecs") if member == "attributes" else ("codecs", "attributes")
    assert keep == member
    document[drop] = document[drop][:-1] if drop == "codecs" else {}
    store.set("a/zarr.json", json.dumps(document).encode().replace(b'"DEEP"', deep))
    with dask.config.set(scheduler="sync"):
        found = outcome(lambda: from_zarr(store, "a").compute())
    if isinstance(found, MetadataError):
        assert store.url in str(found)
    else:
        np.testing.assert_array_equal(found, CELLS)


def outcome(call):
    """What a call gives, or the MetadataError it raises."""
    try:
        return call()
    except MetadataError as error:
        return error


# Where there is no array


@pytest.mark.parametrize("component", [None, "b", "a/b", "a/c", "a/c/0/0", "A", "a.b"])
def test_there_is_no_array(any_store, component):
    put_array(any_store)
    any_store.delete("zarr.json")
    node = "/" + (component or "")
    for open_ in (from_zarr, open_array, open_group):
        with refused(NodeNotFoundError, any_store, node=node):
            open_(any_store, component)
    with refused(NodeNotFoundError, any_store, node=node):
        to_zarr(blocks(), any_store, component, mode="r+")
    assert issubclass(NodeNotFoundError, FileNotFoundError)


def test_a_group_is_no_array_and_an_array_no_group(store):
    put_array(store, "g/a")
    for open_ in (from_zarr, open_array):
        with refused(NodeNotFoundError, store, node="/g", says="component="):
            open_(store, "g")
    with refused(NodeNotFoundError, store, node="/g", says="component="):
        to_zarr(blocks(), store, "g", mode="r+")
    with refused(NodeNotFoundError, store, node="/g/a"):
        open_group(store, "g/a")


@pytest.mark.parametrize("component", ["..", "../a", "a/../../b", ".", "a/./b", "..\\a", "a\\..\\b", "a\0b"])
def test_a_component_never_leads_out_of_its_store(store, component):
    put_array(store)
    verbs = (
        from_zarr,
        open_array,
        open_group,
        lambda store, path: to_zarr(blocks(), store, path, overwrite=True),
        lambda store, path: create_array(store, path, shape=(2,), chunks=(2,), dtype="int8", overwrite=True),
        lambda store, path: create_group(store, path, overwrite=True),
        lambda store, path: open_group(store)[path],
    )
    for verb in verbs:
        with refused(MetadataError, store, named=False, field="component"):
            verb(store, component)
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS)


@pytest.mark.parametrize("component", ["/a", "//a/", "a/", "\\a", "a\\"])
def test_an_absolute_component_begins_at_the_top_of_its_store(store, component):
    put_array(store)
    before = contents(store)
    np.testing.assert_array_equal(from_zarr(store, component).compute(), CELLS)
    to_zarr(blocks(), store, component, overwrite=True)
    assert contents(store) == before


# Enormous arrays

HUGE = 10**15


@pytest.mark.parametrize("compressors", ["zstd", None], ids=["zstd", "raw"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_an_enormous_array_opens_at_once(any_store, compressors, ndim):
    counted = RecordingStore(any_store)
    shape, chunks = (HUGE,) * ndim, (10**14, *(HUGE,) * (ndim - 1))
    array = create_array(counted, "a", shape=shape, chunks=chunks, dtype="int64", fill_value=7, compressors=compressors)
    assert array.shape == shape
    counted.clear()
    read = from_zarr(counted, "a")
    assert counted.requests == [("get", "a/zarr.json")]
    assert read.shape == shape
    assert str(HUGE) in repr(read)
    np.testing.assert_array_equal(read[(slice(5, 7),) * ndim].compute(), np.full((2,) * ndim, 7))
    np.testing.assert_array_equal(read[(slice(-2, None),) * ndim].compute(), np.full((2,) * ndim, 7))
    np.testing.assert_array_equal((read[(slice(5, 7),) * ndim] + 1).compute(), np.full((2,) * ndim, 8))
    assert len(counted.requests) == 4


def test_an_enormous_array_of_usual_chunks_is_read_in_parts(store):
    """Dask lists the blocks of an axis one by one: from_zarr has to say so, and chunks= has to help."""
    create_array(store, "a", shape=(HUGE, 4), chunks=(1000, 4), dtype="int64", fill_value=7)
    read = from_zarr(store, "a", chunks=(10**13, 4))
    np.testing.assert_array_equal(read[HUGE - 3 :, 1:].compute(), np.full((3, 3), 7))


# Stores that fail

FAILURES = {
    "permission": (PermissionError(13, "Permission denied"), StorePermissionError),
    "broken disk": (OSError(5, "Input/output error"), StoreError),
    "other": (ValueError("something else"), StoreError),
}
every_failure = pytest.mark.parametrize(("error", "kind"), FAILURES.values(), ids=list(FAILURES))


@every_failure
@pytest.mark.parametrize("compressors", [None, "zstd"])
def test_a_chunk_that_cannot_be_got(any_store, compressors, error, kind):
    put_array(any_store, compressors=compressors)
    faulty = FaultyStore(any_store, {"a/" + KEY: error})
    for name, read in READS.items():
        for missing in ("fill", "error"):
            with refused(kind, faulty, chunk_key=KEY, says=(type(error).__name__, str(error)), about=name):
                read(faulty, missing=missing)


@every_failure
@every_open
def test_a_document_that_cannot_be_got(store, open_, error, kind):
    put_array(store)
    faulty = FaultyStore(store, {"a/zarr.json": error})
    with refused(kind, faulty, says=("zarr.json", type(error).__name__, str(error))):
        open_(faulty)


@every_failure
def test_a_document_that_cannot_be_got_is_not_taken_for_a_missing_one(store, error, kind):
    put_array(store)
    for document in ("a/zarr.json", "a/.zarray", "a/.zgroup"):
        faulty = FaultyStore(store, {document: error}, on=["get"])
        if document != "a/zarr.json":
            store.delete("a/zarr.json")
        with refused(kind, faulty, says=type(error).__name__):
            to_zarr(blocks(), faulty, "a")


@every_failure
def test_a_parent_that_cannot_be_got(store, error, kind):
    put_array(store)
    faulty = FaultyStore(store, {"zarr.json": error}, on=["get"])
    with refused(kind, faulty, node="/", says=type(error).__name__):
        to_zarr(blocks(), faulty, "b")


@every_failure
def test_a_parent_that_cannot_be_got_does_not_cost_the_old_array(store, error, kind):
    put_array(store)
    faulty = FaultyStore(store, {"zarr.json": error}, on=["get"])
    with refused(kind, faulty, node="/", says=type(error).__name__):
        to_zarr(blocks(), faulty, "a", overwrite=True)


@every_failure
def test_a_document_that_cannot_be_set(store, error, kind):
    faulty = FaultyStore(store, {"*zarr.json": error}, on=["set"])
    for write in (
        lambda: to_zarr(blocks(), faulty),
        lambda: create_array(faulty, shape=(4,), chunks=(2,), dtype="int8"),
        lambda: create_group(faulty),
    ):
        with refused(kind, faulty, node="/", says=("zarr.json", type(error).__name__, str(error))):
            write()
    assert contents(store) == {}


@every_failure
@pytest.mark.parametrize("compressors", [None, "zstd"])
def test_a_chunk_that_cannot_be_set(any_store, compressors, error, kind):
    put_array(any_store, compressors=compressors)
    before = contents(any_store)
    faulty = FaultyStore(any_store, {"a/" + KEY: error}, on=["set"])
    with refused(kind, faulty, unchanged=False, chunk_key=KEY, says=(type(error).__name__, str(error))):
        to_zarr(blocks(CELLS + 1), faulty, "a", mode="r+")
    assert any_store.get("a/" + KEY) == before["a/" + KEY]
    to_zarr(blocks(CELLS + 1), any_store, "a", mode="r+")  # writing again is safe
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS + 1)


@every_failure
def test_a_chunk_of_fill_that_cannot_be_deleted(any_store, error, kind):
    put_array(any_store)
    faulty = FaultyStore(any_store, {"a/" + KEY: error}, on=["delete"])
    with refused(kind, faulty, unchanged=False, chunk_key=KEY, says=type(error).__name__):
        to_zarr(blocks(CELLS * 0), faulty, "a", mode="r+")
    np.testing.assert_array_equal(from_zarr(any_store, "a")[2:4, 4:].compute(), CELLS[2:4, 4:])


@every_failure
def test_an_old_array_that_cannot_be_deleted(store, error, kind):
    put_array(store)
    faulty = FaultyStore(store, {"a": error}, on=["delete_below"])
    for write in (
        lambda: to_zarr(blocks(CELLS + 1), faulty, "a", overwrite=True),
        lambda: to_zarr(blocks(CELLS + 1), faulty, "a", mode="w"),
        lambda: create_group(faulty, "a", overwrite=True),
    ):
        with refused(kind, faulty, says=type(error).__name__):
            write()


def test_a_refused_file(tmp_path):
    """A chunk file that may not be read is an error, never fill. The superuser may read all, and is told otherwise."""
    store = put_array(LocalStore(str(tmp_path)), compressors=None)
    if os.geteuid():
        (tmp_path / "a" / "c" / "1" / "1").chmod(0)
    else:
        store = FaultyStore(store, {"a/" + KEY: PermissionError(13, "Permission denied")})
    for read in READS.values():
        with refused(StorePermissionError, store, unchanged=False, chunk_key=KEY, says="Permission denied"):
            read(store)
    assert issubclass(StorePermissionError, PermissionError)


def test_an_fsmap_that_cannot_delete_says_so(tmp_path):
    """A chunk of fill is written by deleting the old chunk: were that to fail unheard, the old cells would stay."""
    mapping = RefusesToDelete(fsspec.get_mapper(f"memory://{tmp_path.name}").fs)
    place = fsspec.mapping.FSMap(f"/{tmp_path.name}", mapping, missing_exceptions=(FileNotFoundError,))
    put_array(place)
    with pytest.raises(StorePermissionError):
        to_zarr(blocks(CELLS * 0), place, "a", mode="r+")


class RefusesToDelete(DirFileSystem):
    """A file system that takes files and gives them away to nobody."""

    def __init__(self, fs):
        super().__init__("/", fs)

    def rm(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    rm_file = rm


@pytest.fixture
def served(tmp_path):
    """An array on a web server whose answers can be changed, and its values."""
    values = {}
    put_array(values, compressors="zstd")
    with WebServer({f"data/{key}": value for key, value in values.items()}) as server:
        yield server


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_web_server_that_fails_for_a_chunk(served, status):
    place = f"{served.url}/data"
    served.status["data/a/" + KEY] = status
    for name, read in READS.items():
        with refused(StoreError, open_store(place), unchanged=False, chunk_key=KEY, says=str(status), about=name):
            read(place)
    served.status.clear()
    np.testing.assert_array_equal(READS["one thread"](place), CELLS)


def test_a_web_server_without_a_chunk(served):
    place = f"{served.url}/data"
    served.status["data/a/" + KEY] = 404
    expected = CELLS.copy()
    expected[2:4, 4:] = 0
    for name, read in READS.items():
        np.testing.assert_array_equal(read(place), expected[2:4, 5:7] if name == "a slice" else expected)
        with refused(MissingChunkError, open_store(place), unchanged=False, chunk_key=KEY, about=name):
            read(place, missing="error")


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_web_server_that_fails_for_a_document(served, status):
    served.status["data/a/zarr.json"] = status
    with refused(StoreError, open_store(f"{served.url}/data"), unchanged=False, says=(str(status), "zarr.json")):
        from_zarr(f"{served.url}/data", "a")


@pytest.mark.parametrize("status", [401, 403])
def test_a_web_server_that_refuses_access_says_so_by_the_error_class(served, status):
    served.status["data/a/zarr.json"] = status
    with refused(StorePermissionError, open_store(f"{served.url}/data"), unchanged=False):
        from_zarr(f"{served.url}/data", "a")


def test_a_web_server_that_is_gone(served):
    read = from_zarr(f"{served.url}/data", "a")
    with WebServer({}) as gone:
        url = gone.url
    with refused(StoreError, open_store(url), unchanged=False):
        from_zarr(url, "a")
    np.testing.assert_array_equal(read.compute(), CELLS)


def test_a_web_server_is_not_written_to(served):
    before = dict(served.values)
    with pytest.raises((StoreError, UnsupportedError)) as caught:
        to_zarr(blocks(), f"{served.url}/data", "b")
    assert served.url in str(caught.value)
    assert served.values == before


# Targets that cannot be written


class ReadOnly:
    """A store that has nothing but what reading takes."""

    def __init__(self, store):
        self.store = store

    @property
    def url(self):
        return self.store.url

    def get(self, key, byte_range=None):
        return self.store.get(key, byte_range)

    def get_many(self, keys, traffic=None):
        return self.store.get_many(keys)


WRITES = {
    "to_zarr": lambda store, component: to_zarr(blocks(), store, component),
    "overwrite": lambda store, component: to_zarr(blocks(), store, component, overwrite=True),
    "r+": lambda store, component: to_zarr(blocks(), store, component, mode="r+"),
    "later": lambda store, component: to_zarr(blocks(), store, component, compute=False),
    "create_array": lambda store, component: create_array(store, component, shape=(4,), chunks=(2,), dtype="int8"),
    "create_group": lambda store, component: create_group(store, component, overwrite=True),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
@pytest.mark.parametrize("component", ["a", "b"])
def test_a_store_for_reading_only(store, write, component):
    put_array(store)
    only = ReadOnly(store)
    np.testing.assert_array_equal(from_zarr(only, "a").compute(), CELLS)
    with refused(UnsupportedError, only, node=f"/{component}", says="read"):
        write(only, component)


@pytest.mark.parametrize("way", list(WRITES))
def test_a_mapping_for_reading_only(way):
    values = {}
    put_array(values)
    place = types.MappingProxyType(values)
    component = "b" if way in ("to_zarr", "later", "create_array") else "a"
    with refused(UnsupportedError, open_store(place), node=f"/{component}", says="read"):
        WRITES[way](place, component)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("there", ["array", "group", "old array", "old group", "broken"])
def test_a_node_that_exists_already(any_store, there, zarr_format):
    if "array" in there:
        put_array(any_store, zarr_format=2 if "old" in there else 3)
    elif "group" in there:
        create_group(any_store, "a", attributes={"n": 1}, zarr_format=2 if "old" in there else 3)
    else:
        any_store.set("a/zarr.json", b"{")
    for write in (
        lambda: to_zarr(blocks(CELLS + 1), any_store, "a", zarr_format=zarr_format),
        lambda: to_zarr(blocks(CELLS + 1), any_store, "a", zarr_format=zarr_format, mode="a"),
        lambda: to_zarr(blocks(CELLS + 1), any_store, "a", zarr_format=zarr_format, compute=False),
        lambda: create_array(any_store, "a", shape=(4,), chunks=(2,), dtype="int8", zarr_format=zarr_format),
        lambda: create_group(any_store, "a", zarr_format=zarr_format),
    ):
        with refused(NodeExistsError, any_store, says="overwrite=True"):
            write()
    assert issubclass(NodeExistsError, FileExistsError)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("component", ["a/b", "a/c"])
@pytest.mark.parametrize("zarr_format", [(3, 3), (2, 2), (2, 3), (3, 2)], ids="v{0[1]} below v{0[0]}".format)
def test_an_array_has_nothing_below(store, component, overwrite, zarr_format):
    above, below = zarr_format
    put_array(store, zarr_format=above)
    for write in (
        lambda: to_zarr(blocks(), store, component, overwrite=overwrite, zarr_format=below),
        lambda: create_group(store, component, overwrite=overwrite, zarr_format=below),
    ):
        with refused(NodeExistsError, store, node=f"/{component}"):
            write()


def test_a_group_of_the_other_format_above_keeps_its_attributes(store):
    create_group(store, attributes={"n": 1}, zarr_format=2)
    put_array(store)
    assert open_group(store).attrs == {"n": 1}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("text", [b"{", b"[]", b'{"zarr_format": 3, "node_type": "table"}'])
def test_a_broken_document_above(store, text, overwrite):
    put_array(store, "g/a")
    store.set("g/zarr.json", text)
    with refused(MetadataError, store, node="/g"):
        to_zarr(blocks(CELLS + 1), store, "g/a" if overwrite else "g/b", overwrite=overwrite)


# Settings that cannot be


def test_unknown_chunk_sizes(store):
    array = blocks()[CELLS > 0]
    assert np.isnan(array.shape[0])
    put_array(store)
    for options in ({"overwrite": True}, {"mode": "r+"}, {"compute": False}):
        with refused(MetadataError, store, named=False, field="chunks", says="compute_chunk_sizes"):
            to_zarr(array, store, "a", **options)
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS)


LONG_DOUBLE = np.arange(3).astype(np.longdouble)
PAIRS = np.zeros(3, [("a", "i4", (2,)), ("b", "f8")])
MIXED = np.zeros(3, [("a", "i4"), ("b", "O")])
TITLED = np.zeros(3, [(("title", "a"), "i4")])

DTYPES = {
    "long double": (LONG_DOUBLE, str(LONG_DOUBLE.dtype)),
    "complex long double": (LONG_DOUBLE * 1j, str((LONG_DOUBLE * 1j).dtype)),
    "bytes without width": (np.zeros(3, "V0"), "V0"),
    "objects in fields": (MIXED, "object"),
    "titles": (TITLED, "'a'"),
    "fields that are arrays": (PAIRS, "zarr_format=2"),
}


@pytest.mark.parametrize(("cells", "says"), DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_unsupported_dtype(store, cells, says, zarr_format):
    if cells is PAIRS and zarr_format == 2:
        return
    put_array(store)
    array = da.from_array(cells, chunks=2)
    for write in (
        lambda: to_zarr(array, store, "a", overwrite=True, zarr_format=zarr_format),
        lambda: to_zarr(array, store, "b", zarr_format=zarr_format),
        lambda: create_array(store, "b", shape=3, chunks=2, dtype=cells.dtype, zarr_format=zarr_format),
    ):
        with refused(UnsupportedError, store, named=False, says=says):
            write()
    assert set(contents(store)) == {"zarr.json", "a/zarr.json", *(f"a/c/{i}/{j}" for i in range(3) for j in range(2))}


OBJECTS = {
    "numbers": np.array([1, 2, 3], object),
    "nothing": np.array(["a", None, "b"], object),
    "text and numbers": np.array(["a", "b", 3], object),
    "bytes": np.array([b"a", "b", "c"], object),
    "lists": np.array([["a"], ["b", "c"], []], object),
}


@pytest.mark.parametrize("cells", OBJECTS.values(), ids=list(OBJECTS))
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_objects_that_are_no_text(store, cells, zarr_format):
    """What objects are is known when they are written: then the chunk is named, and no chunk is spoilt."""
    key = {2: "0", 3: "c/0"}[zarr_format]
    with refused(CodecError, store, unchanged=False, says="str", codec="vlen-utf8") as caught:
        to_zarr(da.from_array(cells, chunks=3), store, "a", zarr_format=zarr_format)
    assert caught
    assert "a/" + key not in contents(store)


CIRCLE = {}
CIRCLE["itself"] = CIRCLE

ATTRIBUTES = {
    "NaN": ({"n": float("nan")}, "n"),
    "infinity": ({"n": [1, float("inf")]}, "n"),
    "nested NaN": ({"deep": {"er": [{"n": -float("inf")}]}}, "deep"),
    "NumPy NaN": ({"n": np.float32("nan")}, "n"),
    "NumPy array with NaN": ({"n": np.array([1, np.nan])}, "n"),
    "object": ({"thing": object()}, "thing"),
    "set": ({"thing": {1}}, "thing"),
    "bytes": ({"thing": b"1"}, "thing"),
    "complex": ({"thing": 1j}, "thing"),
    "date": ({"when": np.datetime64("2020-01-01")}, "when"),
    "time in nanoseconds": ({"when": np.datetime64("2020-01-01T00:00:00", "ns")}, "when"),
    "circle": (CIRCLE, "itself"),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("attributes", "says"), ATTRIBUTES.values(), ids=list(ATTRIBUTES))
def test_attributes_that_json_cannot_hold(store, attributes, says, zarr_format):
    put_array(store)
    for write in (
        lambda: to_zarr(blocks(), store, "a", overwrite=True, attributes=attributes, zarr_format=zarr_format),
        lambda: create_array(
            store, "b", shape=3, chunks=2, dtype="int8", attributes=attributes, zarr_format=zarr_format
        ),
        lambda: create_group(store, "b", attributes=attributes, zarr_format=zarr_format),
    ):
        before = contents(store)
        with refused(MetadataError, store, named=False, field="attributes", says=says):
            write()
        assert contents(store) == before


SETTINGS = {
    "chunks of zero": ({"chunks": (0, 4)}, MetadataError, "chunks"),
    "chunks of other rank": ({"chunks": (2, 4, 1)}, MetadataError, "chunks"),
    "chunks as text": ({"chunks": "many"}, MetadataError, "chunks"),
    "chunks as float": ({"chunks": (2.5, 4)}, MetadataError, "chunks"),
    "fill value": ({"fill_value": "many"}, MetadataError, "fill_value"),
    "fill value out of range": ({"fill_value": 2**31}, MetadataError, "fill_value"),
    "fill value array": ({"fill_value": np.zeros(2)}, MetadataError, "fill_value"),
    "codec": ({"compressors": "zip9"}, UnknownCodecError, "zip9"),
    "codec setting": ({"compressors": {"name": "gzip", "configuration": {"level": 11}}}, UnknownCodecError, "level"),
    "both compressors": ({"compressors": "zstd", "compressor": "gzip"}, MetadataError, "compressor"),
    "codecs and order": ({"codecs": ["bytes"], "order": "F"}, MetadataError, "codecs"),
    "order": ({"order": "A"}, MetadataError, "order"),
    "format": ({"zarr_format": 4}, UnsupportedError, "zarr_format"),
    "dimension names": ({"dimension_names": ["x"]}, MetadataError, "dimension"),
    "separator": ({"dimension_separator": "-"}, MetadataError, "separator"),
    "key encoding": ({"chunk_key_encoding": "hashed"}, MetadataError, "hashed"),
    "v2 default keys": ({"zarr_format": 2, "chunk_key_encoding": "default"}, MetadataError, "default"),
}


@pytest.mark.parametrize(("settings", "kind", "says"), SETTINGS.values(), ids=list(SETTINGS))
def test_a_setting_that_cannot_be(store, settings, kind, says):
    put_array(store)
    with refused(kind, store, named=False, says=says):
        to_zarr(blocks(), store, "a", overwrite=True, **settings)
    assert len(contents(store)) == 8
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS)


def test_errors_of_settings_name_the_place_they_were_meant_for(store):
    """to_zarr knows store and node when it looks at the settings."""
    for options, array in (
        ({"compressors": "zip9"}, blocks()),
        ({"attributes": {"n": float("nan")}}, blocks()),
        ({}, da.from_array(LONG_DOUBLE, chunks=2)),
    ):
        with refused((MetadataError, UnsupportedError), store):
            to_zarr(array, store, "a", **options)


@pytest.mark.parametrize("mode", ["x", "", None, "r", "rb", "W", 1])
def test_a_mode_there_is_not(store, mode):
    put_array(store)
    with refused(MetadataError, store, named=False, field="mode"):
        to_zarr(blocks(CELLS + 1), store, "a", mode=mode)


def test_what_is_no_dask_array(store):
    put_array(store)
    for what in (CELLS, CELLS.tolist(), None, 1, dask.delayed(1)):
        with refused(MetadataError, store, named=False, field="arr"):
            to_zarr(what, store, "a", overwrite=True)


# Regions


@pytest.mark.parametrize("component", ["a", "b"])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"mode": "w"}, {"mode": "a"}], ids=str)
def test_a_region_of_a_new_array(store, component, options):
    put_array(store)
    with refused(MetadataError, store, node=f"/{component}", field="region"):
        to_zarr(blocks(), store, component, region=(slice(0, 6), slice(0, 8)), **options)


@pytest.mark.parametrize(
    ("shape", "region"),
    [
        ((6, 4), None),
        ((8, 6), None),
        ((6,), None),
        ((6, 8, 1), None),
        ((4, 8), (slice(0, 2), slice(None))),
        ((2, 8), slice(0, 4)),
        ((4, 8), slice(4, 8)),
        ((2, 8), slice(6, 8)),
        ((2, 8), slice(None, None, 2)),
        ((6, 8), (slice(None), slice(None), slice(None))),
        ((2, 8), "top"),
        ((2, 8), [0, 1]),
        ((2, 8), 1.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["r+", "opened"])
def test_an_array_that_does_not_fit_where_it_goes(store, shape, region, way):
    put_array(store)
    array = blocks(distinct_values(shape, "int32"), -1)
    with refused(MetadataError, store, field="region"):
        if way == "opened":
            to_zarr(array, open_array(store, "a"), region=region)
        else:
            to_zarr(array, store, "a", region=region, mode="r+")


@pytest.mark.parametrize("index", [6, 7, 100, -7, -100])
def test_a_region_beyond_the_array(store, index):
    create_array(store, "a", shape=(6, 8), chunks=(1, 4), dtype="int32")
    with refused(MetadataError, store, field="region"):
        to_zarr(blocks(CELLS[:1], (1, 4)), store, "a", region=index, mode="r+")


def test_cells_of_another_kind(store):
    put_array(store)
    for dtype in ("float64", "complex64"):
        with refused(MetadataError, store, field="data_type", says=(dtype, "int32")):
            to_zarr(blocks(CELLS.astype(dtype)), store, "a", mode="r+")


@pytest.mark.parametrize(
    "settings", [{"chunks": (3, 4)}, {"compressors": "gzip"}, {"fill_value": 5}, {"attributes": {"n": 1}}]
)
def test_settings_of_a_new_array_for_one_that_exists(store, settings):
    put_array(store)
    with refused(MetadataError, store, says=next(iter(settings))):
        to_zarr(blocks(CELLS + 1), store, "a", mode="r+", **settings)


MISALIGNED = {
    "small blocks": ((1, 4), CHUNKS, 0),
    "blocks that cut chunks": ((3, 4), CHUNKS, 0),
    "columns that cut chunks": ((2, 3), CHUNKS, 1),
    "irregular blocks": (((2, 3, 1), (8,)), CHUNKS, 0),
    "large chunks": ((2, 4), (4, 4), 0),
}


every_misalignment = pytest.mark.parametrize(("chunks", "stored", "axis"), MISALIGNED.values(), ids=list(MISALIGNED))
every_mend = pytest.mark.parametrize("align", ["merge", "rechunk"])


@every_misalignment
def test_blocks_that_share_a_stored_chunk_where_that_is_an_error(store, chunks, stored, axis):
    put_array(store)
    with refused(AlignmentError, store, node="/b", axis=axis, says="rechunk"):
        to_zarr(blocks(CELLS, chunks), store, "b", chunks=stored, align="error")


@every_misalignment
@every_mend
def test_blocks_that_share_a_stored_chunk(any_store, chunks, stored, axis, align):
    put_array(any_store)
    to_zarr(blocks(CELLS + 100, chunks), any_store, "b", chunks=stored, align=align)
    np.testing.assert_array_equal(from_zarr(any_store, "b").compute(), CELLS + 100)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS)
    assert open_array(any_store, "b").chunks == stored


WRITES_OVER = {
    "r+": lambda array, store, **how: to_zarr(array, store, "a", mode="r+", **how),
    "opened": lambda array, store, **how: to_zarr(array, open_array(store, "a"), **how),
    "overwrite": lambda array, store, **how: to_zarr(array, store, "a", chunks=CHUNKS, overwrite=True, **how),
    "later": lambda array, store, **how: to_zarr(
        array, store, "a", chunks=CHUNKS, overwrite=True, compute=False, **how
    ),
}
every_write = pytest.mark.parametrize("write", WRITES_OVER.values(), ids=list(WRITES_OVER))


@every_write
def test_blocks_that_share_a_chunk_of_an_array_that_exists_where_that_is_an_error(any_store, write):
    put_array(any_store)
    with refused(AlignmentError, any_store, axis=0, says="rechunk"):
        write(blocks(CELLS, (3, 4)), any_store, align="error")


@every_write
@every_mend
@pytest.mark.parametrize("chunks", [(3, 4), (1, 1), (4, 3), ((2, 3, 1), (5, 3))], ids=str)
def test_blocks_that_share_a_chunk_of_an_array_that_exists(any_store, write, chunks, align):
    put_array(any_store)
    later = write(blocks(CELLS + 100, chunks), any_store, align=align)
    if later is not None:
        later.compute()
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS + 100)
    assert len(contents(any_store)) == 8


CUTTING = [slice(1, 3), slice(0, 3), slice(3, 6), (slice(None), slice(2, 6)), (slice(3, 4), slice(5, 6)), (..., 3), -4]
every_cut = pytest.mark.parametrize("region", CUTTING, ids=str)


@every_cut
def test_a_region_that_cuts_stored_chunks_where_that_is_an_error(any_store, region):
    put_array(any_store)
    with refused(AlignmentError, any_store, says="widen the region"):
        to_zarr(blocks(CELLS[region], -1), any_store, "a", region=region, mode="r+", align="error")


@every_cut
@every_mend
@pytest.mark.parametrize("chunks", [-1, 2, 1])
def test_a_region_that_cuts_stored_chunks(any_store, region, chunks, align):
    put_array(any_store)
    expected = CELLS.copy()
    expected[region] += 100
    to_zarr(blocks(expected[region], chunks), any_store, "a", region=region, mode="r+", align=align)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), expected)
    assert len(contents(any_store)) == 8


@pytest.mark.parametrize("compressors", [None, "zstd", "crc32c"])
@every_mend
def test_a_region_that_cuts_a_damaged_chunk(any_store, compressors, align):
    """Cells around a region that cannot be read are not made up."""
    put_array(any_store, compressors=compressors)
    damaged = bytes(any_store.get("a/" + KEY))[:-3]
    any_store.set("a/" + KEY, damaged)
    with refused(CodecError, any_store, chunk_key=KEY):
        to_zarr(blocks(CELLS[3:4, 5:7], -1), any_store, "a", region=(slice(3, 4), slice(5, 7)), mode="r+", align=align)
    region = (slice(2, 4), slice(4, 8))
    to_zarr(blocks(CELLS[region], -1), any_store, "a", region=region, mode="r+", align=align)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS)


def test_the_advice_for_misaligned_blocks_helps(store):
    array = blocks(CELLS, (3, 5))
    with pytest.raises(AlignmentError) as caught:
        to_zarr(array, store, "a", chunks=CHUNKS, align="error")
    advice = ast.literal_eval(str(caught.value).partition("x.rechunk(")[2].partition(")")[0])
    to_zarr(array.rechunk(advice), store, "a", chunks=CHUNKS, align="error")
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS)


@pytest.mark.parametrize(
    "options",
    [
        {"align": "merg"},
        {"align": None},
        {"align": True},
        {"resume": "yes"},
        {"resume": None},
        {"resume": 1},
        {"durability": "none"},
        {"durability": None},
        {"failures": "ignore"},
        {"failures": False},
        {"token": 1},
        {"only": "c/0/0"},
        {"only": ["c/9/0"]},
        {"only": ["0/0"]},
        {"only": [(0,)]},
        {"only": [(0, 2)]},
        {"max_mem": "many"},
    ],
    ids=str,
)
def test_a_way_to_write_there_is_not(any_store, options):
    put_array(any_store)
    ((field, _),) = options.items()
    for mode in ("r+", "w"):
        with refused(MetadataError, any_store, named=False, field=field):
            to_zarr(blocks(CELLS + 1), any_store, "a", mode=mode, **options)


# Arrays that are written over what they are read from


OVERWRITES = {
    "overwrite": lambda array, store, **how: to_zarr(array, store, "a", overwrite=True, **how),
    "w": lambda array, store, **how: to_zarr(array, store, "a", mode="w", **how),
    "later": lambda array, store, **how: to_zarr(array, store, "a", overwrite=True, compute=False, **how),
    "its group": lambda array, store, **how: to_zarr(array, store, overwrite=True, **how),
}
SAME_CELLS = {
    "r+": lambda array, store: to_zarr(array, store, "a", mode="r+"),
    "opened": lambda array, store: to_zarr(array, open_array(store, "a")),
    "later": lambda array, store: to_zarr(array, store, "a", mode="r+", compute=False),
    "region": lambda array, store: to_zarr(array, store, "a", mode="r+", region=(slice(0, 6), ...)),
    "merged": lambda array, store: to_zarr(array.rechunk((3, 3)), store, "a", mode="r+"),
    "returned": lambda array, store: to_zarr(array, store, "a", mode="r+", compute=False, return_stored=True),
}


CHANGES = {
    "itself": (lambda array: array, CELLS),
    "plus one": (lambda array: array + 1, CELLS + 1),
    "backwards": (lambda array: array[::-1], CELLS[::-1]),
    "rechunked": (lambda array: array.rechunk((6, 4)) * 2, CELLS * 2),
    "with another": (lambda array: da.concatenate([array[:2], blocks(CELLS[2:])]), CELLS),
    "optimized": (lambda array: dask.optimize(array)[0], CELLS),
    "optimized plus one": (lambda array: dask.optimize(array + 1)[0], CELLS + 1),
    "optimized and rechunked": (lambda array: dask.optimize(array.rechunk((6, 4)))[0], CELLS),
}
every_change = pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=list(CHANGES))


@every_change
def test_an_array_over_what_it_is_read_from(any_store, change, expected):
    """It is staged, and swapped once it is complete: other settings show that it is the new one."""
    put_array(any_store)
    to_zarr(change(from_zarr(any_store, "a")), any_store, "a", overwrite=True, chunks=(3, 8), compressors="gzip")
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), expected)
    assert open_array(any_store, "a").chunks == (3, 8)
    assert sorted(contents(any_store)) == ["a/c/0/0", "a/c/1/0", "a/zarr.json", "zarr.json"]


@every_change
@pytest.mark.parametrize("write", SAME_CELLS.values(), ids=list(SAME_CELLS))
def test_cells_over_those_they_are_read_from(store, change, expected, write):
    put_array(store)
    with refused(NodeExistsError, store, says="read from"):
        write(change(from_zarr(store, "a")), store)


@pytest.mark.parametrize("way", list(OVERWRITES))
def test_an_array_over_what_it_is_read_from_in_every_way(any_store, way):
    put_array(any_store)
    put_array(any_store, "b")
    before = contents(any_store)
    write = OVERWRITES[way](from_zarr(any_store, "a") + 1, any_store)
    if write is not None:
        assert contents(any_store) == before, "the old array goes last"
        np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS)
        write.compute()
    np.testing.assert_array_equal(from_zarr(any_store, None if way == "its group" else "a").compute(), CELLS + 1)
    keys = {key.removeprefix("a/") for key in before if key.startswith("a/")}
    if way == "its group":
        assert contents(any_store).keys() == keys
    else:
        assert contents(any_store).keys() == before.keys()
        np.testing.assert_array_equal(from_zarr(any_store, "b").compute(), CELLS)


def test_an_array_over_what_it_is_read_from_that_cannot_be_computed(any_store):
    """Half of the new cells are there when it fails; the old array stays as it is."""
    put_array(any_store)

    def fail(block, block_info=None):
        if block_info[0]["chunk-location"] == (2, 1):
            raise ValueError("a step that fails")
        return block + 1

    array = from_zarr(any_store, "a").map_blocks(fail, dtype="int32", meta=np.empty((0, 0), "int32"))
    for chunks in (CHUNKS, (4, 3)):
        before = contents(any_store)
        with pytest.raises(ValueError, match="a step that fails"):
            to_zarr(array, any_store, "a", overwrite=True, chunks=chunks)
        assert contents(any_store) == before
        np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS)
    to_zarr(from_zarr(any_store, "a") + 2, any_store, "a", overwrite=True)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS + 2)


def test_an_array_over_what_it_is_read_from_that_is_to_be_given_back(any_store):
    put_array(any_store)
    with refused(UnsupportedError, any_store, says="compute=True"):
        to_zarr(from_zarr(any_store, "a") + 1, any_store, "a", overwrite=True, compute=False, return_stored=True)
    stored = to_zarr(from_zarr(any_store, "a") + 1, any_store, "a", overwrite=True, return_stored=True)
    np.testing.assert_array_equal(stored.compute(), CELLS + 1)


def test_an_array_over_what_it_is_read_from_time_and_again(any_store):
    put_array(any_store)
    for n in range(1, 4):
        to_zarr(from_zarr(any_store, "a")[::-1] + 1, any_store, "a", overwrite=True)
        np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS[:: (-1) ** n] + n)


def spellings(root):
    """Ways to say where the array of a local store is: url and component."""
    return [
        (root, "a"),
        (f"{root}/a", None),
        (f"file://{root}", "a"),
        (f"{root}/../{os.path.basename(root)}/a", None),
        (LocalStore(root), "a"),
        (open_store(root), "/a/"),
        (fsspec.get_mapper(f"{root}/a"), None),
    ]


def test_an_array_over_what_it_is_read_from_however_that_is_spelled(tmp_path):
    for i, j in np.ndindex(7, 7):
        root = str(tmp_path / f"{i}{j}")
        store = put_array(LocalStore(root))
        before = contents(store)
        source, target = spellings(root)[i], spellings(root)[j]
        with dask.config.set(scheduler="sync"):
            with pytest.raises(NodeExistsError, match="read from"):
                to_zarr(from_zarr(*source) + 1, *target, mode="r+")
            assert contents(store) == before
            to_zarr(from_zarr(*source) + 1, *target, overwrite=True)
            np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS + 1, err_msg=f"{source}, {target}")
        assert {key for key in contents(store) if not key.startswith("a.daskzarr/")} == before.keys()


@pytest.mark.parametrize("way", ["overwrite", "w", "later", "r+"])
@pytest.mark.parametrize(("i", "j"), [(0, 1), (1, 0), (1, 2), (2, 1)], ids=str)
def test_an_array_over_what_it_is_read_from_through_a_link(tmp_path, way, i, j):
    """A folder has several names then: that of a link to it, or to a folder above it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "root").symlink_to(tmp_path / "linked" / "root")
    places = [str(tmp_path / "real" / "root"), str(tmp_path / "linked" / "root"), str(tmp_path / "root")]
    put_array(LocalStore(places[0]))
    array, target = from_zarr(places[i], "a")[::-1], LocalStore(places[j])
    if way == "r+":
        with pytest.raises(NodeExistsError, match="read from"):
            to_zarr(array, target, "a", mode="r+")
        np.testing.assert_array_equal(from_zarr(places[0], "a").compute(), CELLS)
        return
    write = OVERWRITES[way](array, target)
    if write is not None:
        write.compute()
    np.testing.assert_array_equal(from_zarr(places[0], "a").compute(), CELLS[::-1])


def raises(kind, call):
    """Whether a call ends with an error of a class."""
    try:
        call()
    except kind:
        return True
    return False


def test_an_array_over_what_it_is_read_from_in_memory(tmp_path):
    name = tmp_path.name
    store = put_array(open_store(f"memory://{name}"))
    places = (f"memory://{name}", f"memory:///{name}", fsspec.get_mapper(f"memory://{name}"))
    for n, (source, target) in enumerate(itertools.product(places, places), 1):
        with pytest.raises(NodeExistsError, match="read from"):
            to_zarr(from_zarr(source, "a") + 1, target, "a", mode="r+")
        to_zarr(from_zarr(source, "a") + 1, target, "a", overwrite=True)
        np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS + n)


def test_an_array_over_what_it_is_read_from_once_it_is_loaded(any_store):
    put_array(any_store)
    array = (from_zarr(any_store, "a") + 1).persist()
    to_zarr(array, any_store, "a", overwrite=True)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), CELLS + 1)


def test_other_parts_of_an_array_may_be_read_while_one_is_written(store):
    put_array(store)
    to_zarr(from_zarr(store, "a")[:2] + 1, store, "a", region=slice(4, 6), mode="r+")
    expected = CELLS.copy()
    expected[4:] = CELLS[:2] + 1
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), expected)


@every_mend
@pytest.mark.parametrize("chunks", [(2, 4), (1, 3), (3, 8)], ids=str)
def test_other_parts_of_the_same_chunks_may_be_read_while_one_is_written(any_store, chunks, align):
    put_array(any_store)
    expected = CELLS.copy()
    source = from_zarr(any_store, "a")[3:, 2:].rechunk(chunks) * 2
    expected[:3, 2:] = expected[3:, 2:] * 2
    to_zarr(source, any_store, "a", region=(slice(0, 3), slice(2, 8)), mode="r+", align=align)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), expected)
    source = from_zarr(any_store, "a")[:, 3:4].rechunk(chunks) + 1
    expected[:, 1:2] = expected[:, 3:4] + 1
    to_zarr(source, any_store, "a", region=(..., slice(1, 2)), mode="r+", align=align)
    np.testing.assert_array_equal(from_zarr(any_store, "a").compute(), expected)


def test_an_optimized_array_can_be_written_elsewhere(any_store):
    put_array(any_store)
    for i, (change, expected) in enumerate(CHANGES.values()):
        to_zarr(change(from_zarr(any_store, "a")), any_store, f"copy{i}")
        np.testing.assert_array_equal(from_zarr(any_store, f"copy{i}").compute(), expected)


# Memory of one process, written from others


@pytest.fixture
def cluster():
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        yield client


def test_memory_of_this_process_is_not_written_from_a_cluster(cluster, tmp_path):
    with dask.config.set(scheduler="threads"):
        values = put_array({})
    mapper = fsspec.get_mapper(f"memory://{tmp_path.name}", missing_exceptions=(FileNotFoundError,))
    places = [values, f"memory://{tmp_path.name}", f"dir::memory://{tmp_path.name}", mapper]
    for place in places:
        store = open_store(place)
        for options in ({}, {"overwrite": True}, {"compute": False}):
            with refused(UnsupportedError, store, node="/b", unchanged=place is values, says="distributed scheduler"):
                to_zarr(blocks(), place, "b", **options)
    with refused(UnsupportedError, open_store(values), says="distributed scheduler"):
        to_zarr(blocks(), values, "a", mode="r+")
    assert issubclass(UnsupportedError, RuntimeError)


def test_memory_of_this_process_is_read_and_written_beside_a_cluster(cluster):
    values = {}
    with dask.config.set(scheduler="threads"):
        to_zarr(blocks(), values, "b")
        np.testing.assert_array_equal(from_zarr(values, "b").compute(), CELLS)
    np.testing.assert_array_equal(from_zarr(values, "b").compute(), CELLS)


def test_a_write_to_memory_that_waited_for_a_cluster_is_refused_or_done():
    """It is never lost: the cluster came after to_zarr looked for one."""
    values = {}
    write = to_zarr(blocks(), values, "a", compute=False)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        was_refused = raises(UnsupportedError, write.compute)
    found = from_zarr(values, "a").compute()
    np.testing.assert_array_equal(found, CELLS * 0 if was_refused else CELLS)


@pytest.mark.parametrize("scheduler", ["processes", "multiprocessing"])
def test_memory_of_this_process_is_not_written_from_other_processes(scheduler):
    values = put_array({})
    with dask.config.set(scheduler=scheduler, num_workers=1), refused(UnsupportedError, open_store(values), node="/b"):
        to_zarr(blocks(), values, "b")
