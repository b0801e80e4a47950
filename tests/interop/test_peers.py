"""What daskzarr writes, zarr-python and tensorstore read bit for bit; and the other way round."""

import contextlib
import itertools
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr.errors import UnknownCodecError

from .cells import distinct, same

ONE_BYTE = ["|b1", "|i1", "|u1"]
SEVERAL_BYTES = ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
DTYPES = ONE_BYTE + [order + kind for kind in SEVERAL_BYTES for order in "<>"]
CNAMES = ["lz4", "lz4hc", "blosclz", "zlib", "zstd"]

V2_COMPRESSORS = [
    None,
    {"id": "zlib", "level": 1},
    {"id": "gzip", "level": 5},
    {"id": "bz2", "level": 9},
    {"id": "zstd", "level": 3},
    *(
        {"id": "blosc", "cname": cname, "clevel": 5, "shuffle": shuffle, "blocksize": 0}
        for cname, shuffle in zip(CNAMES, [1, 0, 2, -1, 2], strict=True)
    ),
]
# tensorstore registers neither lzma nor lz4 for v2, and refuses zstd with a checksum member.
V2_COMPRESSORS_OF_ZARR_PYTHON = [
    {"id": "lzma", "format": 1, "check": -1, "preset": 0, "filters": None},
    {"id": "lzma", "format": 2, "check": -1, "preset": 0, "filters": None},
    {"id": "lzma", "format": 3, "check": -1, "preset": None, "filters": [{"id": 33, "preset": 0}]},
    {"id": "lz4", "acceleration": 1},
    {"id": "zstd", "level": 3, "checksum": True},
]


def blosc(cname, shuffle):
    options = {"cname": cname, "clevel": 5, "shuffle": shuffle, "typesize": 4, "blocksize": 0}
    return {"name": "blosc", "configuration": options}


GZIP = {"name": "gzip", "configuration": {"level": 5}}
ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
ZSTD_CHECKED = {"name": "zstd", "configuration": {"level": -3, "checksum": True}}
CRC32C = {"name": "crc32c"}

V3_COMPRESSORS = [
    [],
    [GZIP],
    [ZSTD],
    [ZSTD_CHECKED],
    [CRC32C],
    [GZIP, CRC32C],
    [CRC32C, ZSTD],
    [blosc("zstd", "shuffle"), GZIP, CRC32C],
    *([blosc(cname, "shuffle")] for cname in CNAMES),
    [blosc("lz4", "noshuffle")],
    [blosc("lz4", "bitshuffle")],
]
# tensorstore knows none of the numcodecs.* names.
V3_COMPRESSORS_OF_ZARR_PYTHON = [
    [{"name": "numcodecs.zlib", "configuration": {"level": 1}}],
    [{"name": "numcodecs.bz2", "configuration": {"level": 1}}],
    [{"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}],
    [{"name": "numcodecs.lzma", "configuration": {"preset": 0}}, CRC32C],
    [{"name": "numcodecs.zstd", "configuration": {"level": 1}}],
    [{"name": "numcodecs.blosc", "configuration": {"cname": "zlib", "shuffle": 1}}],
]


@dataclass(frozen=True)
class Case:
    """An array, how it is stored, and which of its chunks are not."""

    zarr_format: int = 3
    dtype: str = "<i4"
    shape: tuple[int, ...] = (5, 7)
    chunks: tuple[int, ...] = (2, 3)
    order: tuple[int, ...] | None = None  # of the axes; None stores them as they are, without a transpose
    compressors: Any = None
    fill: Any = 0
    encoding: tuple[str, str] = ("default", "/")
    absent: tuple[tuple[int, ...], ...] = ()
    blocks: tuple[int, ...] | None = None  # stored chunks along each axis of a Dask block
    read_chunks: Any = None

    @property
    def native(self):
        return np.dtype(self.dtype).newbyteorder("=")

    @property
    def fill_scalar(self):
        """What absent cells read as."""
        return np.array(0 if self.fill is None else self.fill).astype(self.native)[()]

    @property
    def fill_json(self):
        return None if self.fill is None else spell(self.fill_scalar)

    def box(self, index):
        return tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, self.chunks, strict=True))

    def key(self, index):
        name, separator = self.encoding
        if name == "default":
            return separator.join(["c", *map(str, index)])
        return separator.join(map(str, index)) or "0"

    @property
    def data(self):
        """Cells of which each is another, those of absent chunks being fill."""
        array = distinct(self.shape, self.native)
        for index in self.absent:
            array[self.box(index)] = self.fill_scalar
        return array


def spell(scalar):
    """A fill value as JSON."""
    if scalar.dtype.kind == "c":
        return [spell(scalar.real), spell(scalar.imag)]
    if scalar.dtype.kind == "f" and not np.isfinite(scalar):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(scalar.item())]
    return scalar.item()


# ---- writing and reading with each


def v3_codecs(case):
    transpose = [] if case.order is None else [{"name": "transpose", "configuration": {"order": list(case.order)}}]
    endian = {"|": {}, "<": {"endian": "little"}, ">": {"endian": "big"}}[case.dtype[0]]
    return [*transpose, {"name": "bytes", "configuration": endian}, *(case.compressors or [])]


def v2_order(case):
    return "C" if case.order is None else "F"


def write_with_daskzarr(path, case):
    blocks = [n * c for n, c in zip(case.blocks or (1,) * len(case.shape), case.chunks, strict=True)]
    array = da.from_array(case.data.astype(case.dtype), chunks=tuple(blocks))
    how = {"codecs": v3_codecs(case)}
    if case.zarr_format == 2:
        how = {"compressor": case.compressors, "order": v2_order(case)}
    encoding = {"name": case.encoding[0], "configuration": {"separator": case.encoding[1]}}
    how |= {"chunks": case.chunks, "fill_value": case.fill, "chunk_key_encoding": encoding}
    with dask.config.set(scheduler="synchronous"):
        daskzarr.to_zarr(array, path, zarr_format=case.zarr_format, **how)


def read_with_daskzarr(path, case):
    array = daskzarr.from_zarr(path, chunks=case.read_chunks, zarr_format=case.zarr_format)
    return array.compute(scheduler="synchronous")


def write_with_zarr_python(path, case):
    how = {"compressors": case.compressors, "dtype": case.native}
    if case.order is not None:
        how["filters"] = [zarr.codecs.TransposeCodec(order=case.order)]
    if case.dtype[0] != "|":
        how["serializer"] = zarr.codecs.BytesCodec(endian={"<": "little", ">": "big"}[case.dtype[0]])
    if case.zarr_format == 2:
        codec = None if case.compressors is None else numcodecs.get_codec(dict(case.compressors))
        how = {"compressors": codec, "dtype": np.dtype(case.dtype), "order": v2_order(case), "filters": None}
    encoding = {"name": case.encoding[0], "separator": case.encoding[1]}
    how |= {"shape": case.shape, "chunks": case.chunks, "fill_value": case.fill, "chunk_key_encoding": encoding}
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.create_array(path, zarr_format=case.zarr_format, **how)[...] = case.data


def read_with_zarr_python(path, case):
    return zarr.open_array(path, mode="r", zarr_format=case.zarr_format)[...]


def tensorstore_spec(path, case):
    driver = {2: "zarr", 3: "zarr3"}[case.zarr_format]
    return {"driver": driver, "kvstore": {"driver": "file", "path": path}}


def write_with_tensorstore(path, case):
    metadata = {"zarr_format": case.zarr_format, "shape": case.shape, "fill_value": case.fill_json}
    if case.zarr_format == 2:
        order = "C" if len(case.shape) < 2 else v2_order(case)  # it makes no array of order F where the two are one
        metadata |= {"chunks": case.chunks, "dtype": case.dtype, "order": order, "filters": None}
        metadata |= {"compressor": case.compressors, "dimension_separator": case.encoding[1]}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": case.chunks}}
        encoding = {"name": case.encoding[0], "configuration": {"separator": case.encoding[1]}}
        metadata |= {"node_type": "array", "data_type": case.native.name, "chunk_grid": grid}
        metadata |= {"chunk_key_encoding": encoding, "codecs": v3_codecs(case)}
    spec = tensorstore_spec(path, case) | {"metadata": metadata, "store_data_equal_to_fill_value": True}
    tensorstore.open(spec, create=True).result().write(case.data).result()


def read_with_tensorstore(path, case):
    return tensorstore.open(tensorstore_spec(path, case), read=True).result().read().result()


WRITERS = {
    "daskzarr": write_with_daskzarr,
    "zarr-python": write_with_zarr_python,
    "tensorstore": write_with_tensorstore,
}
READERS = {"daskzarr": read_with_daskzarr, "zarr-python": read_with_zarr_python, "tensorstore": read_with_tensorstore}


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory() as path:
        yield str(Path(path) / "array")


def check(writer, reader, case):
    """One writes, the chunks that are to be absent go, and the other reads."""
    with directory() as path:
        WRITERS[writer](path, case)
        for index in case.absent:
            chunk = Path(path) / case.key(index)
            assert writer != "daskzarr" or chunk.exists() == (case.fill is None), "only chunks of fill are left out"
            chunk.unlink(missing_ok=True)
        same(READERS[reader](path, case), case.data)


# ---- the product, sampled


def fills(dtype, zarr_format):
    kind, limits = dtype.kind, None
    if kind in "iu":
        limits = [int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)]
    elif kind == "f":
        limits = [np.nan, np.inf, -np.inf, -0.0, float(np.finfo(dtype).max)]
    elif kind == "c":
        limits = [complex(np.nan, -np.inf), complex(-0.0, float(np.finfo(dtype).max)), 1 - 2j]
    else:
        limits = [True, False]
    return st.sampled_from([0, *limits, *([None] if zarr_format == 2 else [])])


@st.composite
def cases(draw, peer):
    zarr_format = draw(st.sampled_from([2, 3]))
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(1, 6) | st.integers(0, 6), max_size=3)))
    chunks = tuple(draw(st.integers(1, 4) | st.integers(1, 9)) for _ in shape)
    if zarr_format == 3:
        order = draw(st.none() | st.permutations(range(len(shape))).map(tuple))
        compressors = V3_COMPRESSORS + (V3_COMPRESSORS_OF_ZARR_PYTHON if peer == "zarr-python" else [])
        encoding = draw(st.tuples(st.sampled_from(["default", "v2"]), st.sampled_from("/.")))
    else:
        order = draw(st.sampled_from([None, tuple(range(len(shape)))[::-1]]))
        compressors = V2_COMPRESSORS + (V2_COMPRESSORS_OF_ZARR_PYTHON if peer == "zarr-python" else [])
        encoding = ("v2", draw(st.sampled_from("/.")))
    indices = list(itertools.product(*(range(-(-n // c)) for n, c in zip(shape, chunks, strict=True))))
    absent = draw(st.lists(st.sampled_from(indices), max_size=4, unique=True)) if indices else []
    own_chunks = st.tuples(*(st.integers(1, 7) for _ in shape))
    return Case(
        zarr_format=zarr_format,
        dtype=dtype,
        shape=shape,
        chunks=chunks,
        order=order,
        compressors=draw(st.sampled_from(compressors)),
        fill=draw(fills(np.dtype(dtype), zarr_format)),
        encoding=encoding,
        absent=tuple(absent),
        blocks=draw(st.tuples(*(st.integers(1, 3) for _ in shape))),
        read_chunks=draw(st.sampled_from([None, "auto", -1]) | own_chunks),
    )


many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(cases("zarr-python"))
def test_zarr_python_reads_what_daskzarr_writes(case):
    check("daskzarr", "zarr-python", case)


@many
@given(cases("tensorstore"))
def test_tensorstore_reads_what_daskzarr_writes(case):
    check("daskzarr", "tensorstore", case)


@many
@given(cases("zarr-python"))
def test_daskzarr_reads_what_zarr_python_writes(case):
    check("zarr-python", "daskzarr", case)


@many
@given(cases("tensorstore"))
def test_daskzarr_reads_what_tensorstore_writes(case):
    check("tensorstore", "daskzarr", case)


@many
@given(cases("zarr-python"))
def test_daskzarr_reads_what_it_writes(case):
    check("daskzarr", "daskzarr", case)


# ---- a core that is always run

PEERS = ["zarr-python", "tensorstore"]
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
V2 = Case(zarr_format=2, encoding=("v2", "."))


def both_ways(peer, case):
    check("daskzarr", peer, case)
    check(peer, "daskzarr", case)


def base(zarr_format):
    return Case() if zarr_format == 3 else V2


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("dtype", DTYPES)
@FORMATS
def test_every_dtype(zarr_format, dtype, peer):
    both_ways(peer, replace(base(zarr_format), dtype=dtype, order=(1, 0), absent=((0, 1),)))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("compressor", V2_COMPRESSORS, ids=json.dumps)
def test_every_compressor_of_v2(compressor, peer):
    both_ways(peer, replace(V2, compressors=compressor))


@pytest.mark.parametrize("compressor", V2_COMPRESSORS_OF_ZARR_PYTHON, ids=json.dumps)
def test_every_compressor_of_v2_that_only_zarr_python_knows(compressor):
    both_ways("zarr-python", replace(V2, compressors=compressor))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("compressors", V3_COMPRESSORS, ids=json.dumps)
def test_every_compressor_of_v3(compressors, peer):
    both_ways(peer, Case(compressors=compressors))


@pytest.mark.parametrize("compressors", V3_COMPRESSORS_OF_ZARR_PYTHON, ids=json.dumps)
def test_every_compressor_of_v3_that_only_zarr_python_knows(compressors):
    both_ways("zarr-python", Case(compressors=compressors))


SHAPES = [
    ((), ()),
    ((0,), (3,)),
    ((4, 0), (2, 1)),
    ((1,), (1,)),
    ((3,), (8,)),
    ((10,), (3,)),
    ((9,), (3,)),
    ((5, 7), (5, 7)),
    ((4, 5, 6), (3, 2, 7)),
]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
@FORMATS
def test_every_shape(zarr_format, transposed, shape, chunks, peer):
    order = tuple(range(len(shape)))[::-1] if transposed else None
    both_ways(peer, replace(base(zarr_format), shape=shape, chunks=chunks, order=order))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_three_axes(order, peer):
    both_ways(peer, Case(shape=(4, 5, 6), chunks=(2, 3, 4), order=order, compressors=[GZIP]))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("|b1", True),
        ("|u1", 255),
        ("<i8", -(2**63)),
        (">u8", 2**64 - 1),
        ("<f2", np.inf),
        ("<f4", np.nan),
        (">f4", -0.0),
        ("<f8", -np.inf),
        (">f8", float(np.finfo("f8").max)),
        ("<c8", complex(np.nan, np.inf)),
        (">c16", complex(-0.0, 1.5)),
    ],
)
@FORMATS
def test_absent_chunks_read_as_every_fill_value(zarr_format, dtype, fill, peer):
    both_ways(peer, replace(base(zarr_format), dtype=dtype, fill=fill, absent=((0, 0), (1, 2), (2, 1))))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("dtype", ["|b1", "<i4", ">f8", "<c8"])
def test_absent_chunks_of_an_undefined_fill_value_read_as_zero(dtype, peer):
    both_ways(peer, replace(V2, dtype=dtype, fill=None, absent=((0, 0), (2, 2))))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("encoding", [("default", "/"), ("default", "."), ("v2", "/"), ("v2", ".")])
@pytest.mark.parametrize("shape", [(), (5, 7)])
def test_every_chunk_key_encoding(encoding, shape, peer):
    both_ways(peer, Case(encoding=encoding, shape=shape, chunks=(2, 3)[: len(shape)]))
    if encoding[0] == "v2":
        both_ways(peer, replace(V2, encoding=encoding, shape=shape, chunks=(2, 3)[: len(shape)]))


# ---- fill values that need all their bits


@pytest.mark.parametrize(
    ("peer", "bits"),
    [
        ("zarr-python", 0x7FC00001),
        ("zarr-python", 0xFFC00000),
        ("tensorstore", 0x7FC00001),
        ("tensorstore", 0xFFC00000),
        ("tensorstore", 0x7F800001),  # signaling: zarr-python makes it quiet
    ],
)
def test_peers_read_a_nan_fill_value_with_its_payload(peer, bits):
    fill = np.array(bits, "u4").view("f4")[()]
    case = Case(dtype="<f4")
    with directory() as path:
        daskzarr.create_array(path, shape=(5, 7), chunks=(2, 3), dtype="f4", fill_value=fill)
        same(READERS[peer](path, case), np.full((5, 7), fill))
        same(read_with_daskzarr(path, case), np.full((5, 7), fill))


def test_only_chunks_with_the_fill_values_very_bits_are_left_out():
    payload = np.array(0x7FC00001, "u4").view("f4")[()]
    data = np.array([np.nan, np.nan, payload, payload, np.nan, payload], "f4")
    with directory() as path:
        daskzarr.to_zarr(da.from_array(data, chunks=2), path, fill_value=np.nan)
        assert sorted(p.name for p in (Path(path) / "c").iterdir()) == ["1", "2"]
        for reader in READERS.values():
            same(reader(path, Case(dtype="<f4")), data)


def test_an_edge_chunk_is_stored_whole_and_padded_with_fill():
    with directory() as path:
        array = da.from_array(np.arange(5, dtype="i2"), chunks=4)
        daskzarr.to_zarr(array, path, fill_value=7, compressors=None)
        assert (Path(path) / "c" / "1").read_bytes().hex() == "0400070007000700"


# ---- documents


@FORMATS
def test_zarr_python_reads_the_attributes_and_names(zarr_format):
    attributes = {"units": "K", "valid_range": [0, 2**60], "text": "é", "nested": {"a": None, "b": 1.5}}
    with directory() as path:
        daskzarr.create_array(
            path,
            shape=(4, 6),
            chunks=(2, 3),
            dtype="f4",
            dimension_names=["y", "x"],
            attributes=attributes,
            zarr_format=zarr_format,
        )
        peer = zarr.open_array(path, mode="r")
        found = dict(peer.attrs)
        names = peer.metadata.dimension_names if zarr_format == 3 else found.pop("_ARRAY_DIMENSIONS")
        assert list(names) == ["y", "x"]
        assert found == attributes


@FORMATS
def test_daskzarr_reads_the_attributes_and_names_of_zarr_python(zarr_format):
    attributes = {"units": "K", "n": [1, None]}
    names = {"dimension_names": ["y", "x"]} if zarr_format == 3 else {}
    hidden = {} if zarr_format == 3 else {"_ARRAY_DIMENSIONS": ["y", "x"]}
    with directory() as path:
        attrs = attributes | hidden
        zarr.create_array(path, shape=(4, 6), dtype="f4", zarr_format=zarr_format, attributes=attrs, **names)
        array = daskzarr.open_array(path)
        assert array.dimension_names == ("y", "x")
        assert array.attrs == attributes


@FORMATS
def test_zarr_python_finds_the_arrays_of_a_hierarchy(zarr_format):
    with directory() as path:
        for name in ("a", "g/b"):
            array = da.arange(6, chunks=2) + len(name)
            daskzarr.to_zarr(array, path, name, zarr_format=zarr_format)
        group = zarr.open_group(path, mode="r", zarr_format=zarr_format)
        assert sorted(name for name, _ in group.members(max_depth=None)) == ["a", "g", "g/b"]
        assert group["g/b"][...].tolist() == [3, 4, 5, 6, 7, 8]


@FORMATS
def test_daskzarr_reads_the_arrays_of_zarr_pythons_hierarchy(zarr_format):
    with directory() as path:
        group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
        group.create_array("g/b", shape=(6,), chunks=(2,), dtype="i4")[...] = np.arange(6)
        assert daskzarr.open_group(path)["g/b"].shape == (6,)
        assert daskzarr.from_zarr(path, "g/b").compute().tolist() == list(range(6))


# ---- codecs as objects of the peers

OBJECTS_OF_V3 = [
    {"compressors": zarr.codecs.GzipCodec(level=3)},
    {"compressors": [zarr.codecs.ZstdCodec(level=1, checksum=True), zarr.codecs.Crc32cCodec()]},
    {"compressors": zarr.codecs.BloscCodec(cname="zlib", shuffle="bitshuffle")},
    {"compressors": zarr.codecs.BloscCodec(typesize=4, shuffle="shuffle")},
    {"serializer": zarr.codecs.BytesCodec(endian="big")},
    {"filters": zarr.codecs.TransposeCodec(order=(1, 0))},
    {"codecs": [zarr.codecs.TransposeCodec(order=(1, 0)), zarr.codecs.BytesCodec(), zarr.codecs.GzipCodec()]},
    {"compressors": numcodecs.Zstd(level=3)},
    {"compressors": numcodecs.GZip(level=3)},
    {"compressors": numcodecs.Blosc(shuffle=numcodecs.Blosc.AUTOSHUFFLE)},
    {"compressors": numcodecs.CRC32C()},
    {"compressors": "gzip"},
    {"compressors": "blosc"},
    {"compressors": ["zstd", "crc32c"]},
    {"compressors": {"id": "zstd", "level": 3}},
]


def name_of(how):
    return " ".join(f"{word}={value}"[:40] for word, value in how.items())


@pytest.mark.parametrize("how", OBJECTS_OF_V3, ids=name_of)
def test_codecs_in_any_spelling_make_v3_arrays_that_all_read(how):
    data = Case().data
    with directory() as path:
        daskzarr.to_zarr(da.from_array(data, chunks=(2, 3)), path, **how)
        for reader in READERS.values():
            same(reader(path, Case()), data)


@pytest.mark.parametrize("name", ["zlib", "bz2", "lz4", "lzma", "zstd", "gzip", "blosc"])
def test_codecs_by_their_numcodecs_name_make_v3_arrays_that_zarr_python_reads(name):
    data = Case().data
    with directory() as path:
        daskzarr.to_zarr(da.from_array(data, chunks=(2, 3)), path, compressors="numcodecs." + name)
        same(read_with_zarr_python(path, Case()), data)


@pytest.mark.parametrize("level", [-1, 10])
def test_a_gzip_level_that_v3_does_not_have_is_refused(level):
    store = {}
    with pytest.raises(UnknownCodecError):
        daskzarr.create_array(store, shape=(4,), chunks=(2,), dtype="i4", compressors=numcodecs.GZip(level))
    assert store == {}


@pytest.mark.parametrize("codec", [numcodecs.Zlib(), numcodecs.LZMA(), numcodecs.LZ4(), numcodecs.Blosc()], ids=repr)
def test_codecs_of_numcodecs_make_v2_arrays_that_zarr_python_reads(codec):
    data = V2.data
    with directory() as path:
        daskzarr.to_zarr(da.from_array(data, chunks=(2, 3)), path, compressor=codec, zarr_format=2)
        same(read_with_zarr_python(path, V2), data)


def test_the_default_compressor_is_one_that_all_read():
    for case in (Case(), V2):
        with directory() as path:
            daskzarr.to_zarr(da.from_array(case.data, chunks=(2, 3)), path, zarr_format=case.zarr_format)
            for reader in READERS.values():
                same(reader(path, case), case.data)


def test_a_codec_it_does_not_have_is_named_and_not_skipped():
    with directory() as path:
        zarr.create_array(path, shape=(8,), chunks=(2,), dtype="i4")
        document = json.loads((Path(path) / "zarr.json").read_text())
        document["codecs"].append({"name": "example.unknown"})
        (Path(path) / "zarr.json").write_text(json.dumps(document))
        with pytest.raises(UnknownCodecError, match=r"example\.unknown"):
            daskzarr.from_zarr(path)


@pytest.mark.parametrize("shuffle", ["shuffle", "noshuffle", None])
def test_settings_that_a_codec_of_zarr_python_leaves_open_are_as_it_would_choose(shuffle, tmp_path):
    codec = zarr.codecs.BloscCodec(cname="zlib", **({} if shuffle is None else {"shuffle": shuffle}))
    settings = {"shape": (8,), "chunks": (4,), "dtype": "f8", "compressors": codec}
    ours = daskzarr.create_array(tmp_path / "ours", **settings).metadata.codecs[-1]
    theirs = zarr.create_array(tmp_path / "theirs", **settings).compressors[0].to_dict()["configuration"]
    assert {name: ours.configuration[name] for name in theirs} == theirs
