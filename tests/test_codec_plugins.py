"""Codecs that are not ours: the documented example, entry points, codecs registered with numcodecs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numcodecs
import numpy as np
import pytest
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray

import daskzarr
from daskzarr.codecs import registry
from daskzarr.errors import CodecError, UnknownCodecError

TEXT = (Path(__file__).parent.parent / "docs" / "codecs.md").read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
CELLS = np.arange(30, dtype="i4").reshape(5, 6)


@pytest.fixture
def known(monkeypatch):
    """The registry as it is, whatever a test does to it."""
    monkeypatch.setattr(registry, "_CODECS", dict(registry._CODECS))


@pytest.fixture
def example(known):
    exec(EXAMPLE, space := {"__name__": "example"})
    return space["XorCodec"]


def test_the_documented_example_is_thirty_lines_or_so():
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 34


def test_the_documented_example_writes_and_reads(example):
    config = {"name": "example.xor", "configuration": {"key": 7}}
    daskzarr.to_zarr(da.from_array(CELLS, chunks=(2, 6)), store := {}, compressors=config)
    assert json.loads(store["zarr.json"])["codecs"][-1] == config
    assert store["c/0/0"] == bytes(byte ^ 7 for byte in CELLS[:2].tobytes())
    np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(), CELLS)


def test_the_documented_example_refuses_what_it_should(example):
    for configuration in ({}, {"key": 0}, {"key": 256}, {"key": 7, "more": 1}):
        with pytest.raises(UnknownCodecError):
            daskzarr.create_array(
                {}, shape=4, chunks=2, dtype="i4", compressors={"name": "example.xor", "configuration": configuration}
            )
    config = {"name": "example.xor", "configuration": {"key": 7}}
    daskzarr.to_zarr(da.from_array(CELLS, chunks=(2, 6)), store := {}, compressors=config)
    store["c/0/0"] = store["c/0/0"][:-1]
    with pytest.raises(CodecError, match="47 bytes"):
        daskzarr.from_zarr(store).compute()


def test_a_name_is_not_taken_twice(example):
    with pytest.raises(UnknownCodecError, match="overwrite=True"):
        daskzarr.register_codec("example.xor", example)
    daskzarr.register_codec("example.xor", example, overwrite=True)


def test_a_codec_has_to_have_a_kind(known):
    with pytest.raises(UnknownCodecError, match="no kind"):
        daskzarr.register_codec("example.none", object)


def test_a_codec_registered_by_place_is_loaded_when_it_is_used(known):
    daskzarr.register_codec("example.sum", "daskzarr.codecs.crc32c:Crc32cCodec")
    stored = daskzarr.create_array({}, shape=4, chunks=2, dtype="i4", compressors="example.sum")
    assert stored.metadata.codecs[-1].name == "example.sum"


def test_a_codec_of_an_installed_package_is_found(tmp_path):
    (tmp_path / "xor_example.py").write_text(EXAMPLE.replace('daskzarr.register_codec("example.xor", XorCodec)', ""))
    info = tmp_path / "xor_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xor-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[daskzarr.codecs]\nexample.xor = xor_example:XorCodec\n")
    code = (
        "import daskzarr, dask.array as da\n"
        "config = {'name': 'example.xor', 'configuration': {'key': 7}}\n"
        "daskzarr.to_zarr(da.arange(6, chunks=3), store := {}, compressors=config)\n"
        "print(daskzarr.from_zarr(store).compute().tolist(), store['c/0'][0])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split("\n")[0] == "[0, 1, 2, 3, 4, 5] 7"


class Halves(Codec):
    """A user's filter: the two halves of the bytes change places."""

    codec_id = "test-halves"

    def __init__(self, first="second"):
        self.first = first

    def encode(self, buf):
        data = ensure_bytes(buf)
        return data[len(data) // 2 :] + data[: len(data) // 2]

    def decode(self, buf, out=None):
        data = ensure_bytes(buf)
        return data[len(data) - len(data) // 2 :] + data[: len(data) - len(data) // 2]


class Doubled(Codec):
    """A user's filter that needs the numbers, not the bytes."""

    codec_id = "test-doubled"

    def encode(self, buf):
        array = ensure_ndarray(buf)
        assert array.dtype == "i4"
        return array * 2

    def decode(self, buf, out=None):
        return np.frombuffer(ensure_bytes(buf), "i4") // 2


@pytest.fixture
def registered(known):
    for codec in (Halves, Doubled):
        numcodecs.register_codec(codec)
    yield
    for codec in (Halves, Doubled):
        del numcodecs.registry.codec_registry[codec.codec_id]


@pytest.mark.parametrize("compressor", [None, {"id": "zlib", "level": 1}])
@pytest.mark.parametrize("codec", [Halves(), Doubled()], ids=lambda codec: codec.codec_id)
def test_a_filter_registered_with_numcodecs_works_in_v2_by_its_id(registered, codec, compressor):
    blocks = da.from_array(CELLS, chunks=(2, 6))
    daskzarr.to_zarr(blocks, store := {}, zarr_format=2, filters=[codec], compressor=compressor)
    document = json.loads(store[".zarray"])
    ids = [found["id"] for found in (document["filters"] or []) + [document["compressor"] or {"id": None}]]
    assert codec.codec_id in ids
    np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(), CELLS)


def test_a_codec_registered_with_numcodecs_works_in_v3_by_its_name(registered):
    blocks = da.from_array(CELLS, chunks=(2, 6))
    daskzarr.to_zarr(blocks, store := {}, compressors={"name": "numcodecs.test-halves"})
    np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(), CELLS)
    raw = CELLS[:2].tobytes()
    assert store["c/0/0"] == raw[len(raw) // 2 :] + raw[: len(raw) // 2]


def test_what_a_users_codec_fails_with_is_named(registered, monkeypatch):
    daskzarr.to_zarr(da.from_array(CELLS, chunks=(2, 6)), store := {}, zarr_format=2, compressor=Halves())
    monkeypatch.setattr(Halves, "decode", lambda self, buf, out=None: 1 / 0)
    with pytest.raises(CodecError, match="test-halves") as caught:
        daskzarr.from_zarr(store).compute()
    assert caught.value.chunk_key is not None


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_codec_of_ours_registered_for_v2_works_by_its_id(example, zarr_format):
    daskzarr.register_codec("numcodecs.xor", example)
    blocks = da.from_array(CELLS, chunks=(2, 6))
    for options in (
        {"compressor": {"id": "xor", "key": 7}},
        {"compressors": [{"id": "zlib"}, {"id": "xor", "key": 7}]},
    ):
        daskzarr.to_zarr(blocks, store := {}, zarr_format=zarr_format, **options)
        np.testing.assert_array_equal(daskzarr.from_zarr(store).compute(), CELLS)
