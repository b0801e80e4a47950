"""Chunk keys: vectors of both encodings, and decoding as the inverse of encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.chunk_key import ChunkKeyEncoding

ENCODINGS = [ChunkKeyEncoding(name, separator) for name in ("default", "v2") for separator in ("/", ".")]
indices = st.lists(st.integers(0, 10**12), max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("name", "separator", "index", "key"),
    [
        ("default", "/", (1, 23, 45), "c/1/23/45"),
        ("default", ".", (1, 23, 45), "c.1.23.45"),
        ("default", "/", (0,), "c/0"),
        ("default", "/", (), "c"),
        ("default", ".", (), "c"),
        ("v2", ".", (1, 23, 45), "1.23.45"),
        ("v2", "/", (1, 23, 45), "1/23/45"),
        ("v2", ".", (7,), "7"),
        ("v2", ".", (), "0"),
        ("v2", "/", (), "0"),
    ],
)
def test_encodes_as_the_format_says(name, separator, index, key):
    assert ChunkKeyEncoding(name, separator).encode(index) == key


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prefix", ["", "group/array/"])
@pytest.mark.parametrize("index", [(), (0,), (3, 0, 12)])
def test_the_encoder_puts_its_prefix_before_the_key(encoding, prefix, index):
    assert encoding.encoder(prefix)(index) == prefix + encoding.encode(index)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(index=indices)
def test_decoding_inverts_encoding(encoding, index):
    expected = (0,) if encoding.name == "v2" and not index else index  # in v2 a scalar's key is that of chunk 0
    assert encoding.decode(encoding.encode(index)) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(first=indices, second=indices)
def test_chunks_of_one_array_have_different_keys(encoding, first, second):
    if len(first) == len(second):
        assert (encoding.encode(first) == encoding.encode(second)) == (first == second)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(key=st.text(alphabet="c0123456789./-+_ ٣x", max_size=9) | st.text(max_size=6))
def test_only_what_encoding_gives_is_decoded(encoding, key):
    index = encoding.decode(key)
    assert index is None or encoding.encode(index) == key


@pytest.mark.parametrize(
    "key",
    [
        *("", "c/", "/c/0", "c//0", "c/0/", "c/01", "c/-1", "c/+1", "c/1_0", "c/ 1", "c/1.0", "c/٣", "c/²", "C/0"),
        *("c.0", "0", "c0", "zarr.json", ".zarray", ".zattrs", "c/zarr.json"),
    ],
)
def test_other_objects_are_no_chunks_of_the_default_encoding(key):
    assert ChunkKeyEncoding("default", "/").decode(key) is None


@pytest.mark.parametrize("key", ["", ".", "0.", ".0", "0..1", "00", "0.01", "-1", "c.0", "c", "0/1", ".zarray", "٣"])
def test_other_objects_are_no_chunks_of_the_v2_encoding(key):
    assert ChunkKeyEncoding("v2", ".").decode(key) is None
