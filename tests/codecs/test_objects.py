"""The codecs of objects: their vectors, numcodecs and zarr as peers, damage, and refusals."""

import json
import pickle
import struct
import sys

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.codecs.registry import codec_class
from daskzarr.errors import CodecError, UnknownCodecError, UnsupportedError
from daskzarr.metadata import NamedConfig

OBJECT = np.dtype(object)
both = settings(deadline=None, max_examples=100)
VLEN = {
    "vlen-utf8": ({}, ["a", "éé", ""], "03000000 | 01000000 61 | 04000000 c3a9c3a9 | 00000000"),
    "vlen-bytes": ({}, [b"a", b"\xff\xfe", b""], "03000000 | 01000000 61 | 02000000 fffe | 00000000"),
    "vlen-array": (
        {"dtype": "<i4"},
        [[1, 2], [], [3]],
        "03000000 | 08000000 01000000 02000000 | 00000000 | 04000000 03000000",
    ),
}
DOCUMENTS = {
    "json2": (
        {},
        ["a", None, {"k": 1}],
        "5b 22 61 22 2c 6e 75 6c 6c 2c 7b 22 6b 22 3a 31 7d 2c 22 7c 4f 22 2c 5b 33 5d 5d",
    ),
    "msgpack2": ({}, ["a", None, 3], "95 a1 61 c0 03 a2 7c 4f 91 03"),
}
SAMPLES = VLEN | DOCUMENTS


def unhex(text):
    return bytes.fromhex(text.replace("|", ""))


def objects(items, shape=None):
    """An array of just these objects, lists as they are."""
    found = np.empty(len(items), object)
    for i, item in enumerate(items):
        found[i] = item
    return found.reshape(shape or (len(items),))


def build(name, configuration=None, shape=(3,), dtype=OBJECT, fill="", **more):
    return codec_class(f"numcodecs.{name}").from_config(
        configuration or {}, ChunkSpec(shape, np.dtype(dtype), fill, **more)
    )


def peer(name, configuration=None):
    return numcodecs.get_codec({"id": name, **(configuration or {})})


def plain(array):
    """An array as lists, arrays in it too."""
    return [item.tolist() if isinstance(item, np.ndarray) else item for item in array.reshape(-1)]


# ---- vectors


@pytest.mark.parametrize("name", SAMPLES)
def test_the_stream_of_three_elements(name):
    configuration, items, expected = SAMPLES[name]
    codec = build(name, configuration)
    assert bytes(codec.encode(objects(items))) == unhex(expected)
    for kind in (bytes, bytearray, memoryview):
        found = codec.decode(kind(unhex(expected)))
        assert plain(found) == items
        assert (found.shape, found.dtype, found.flags.writeable) == ((3,), OBJECT, True)


def test_codes_of_labels():
    codec = build("categorize", {"labels": ["a", "b"], "dtype": "|O"})
    assert codec.encode(objects(["a", "b", "c"])).tobytes() == unhex("01 02 00")
    assert codec.decode(np.array([1, 2, 0], "u1")).tolist() == ["a", "b", ""]


def test_v3_knows_the_names_without_prefix():
    assert codec_class("vlen-utf8") is codec_class("numcodecs.vlen-utf8")
    assert codec_class("vlen-bytes") is codec_class("numcodecs.vlen-bytes")


# ---- numcodecs as a peer

texts = st.text(max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), texts)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
ELEMENTS = {
    "vlen-utf8": texts,
    "vlen-bytes": st.binary(max_size=12),
    "vlen-array": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5).map(lambda items: np.array(items, "i4")),
    "json2": trees,
    "msgpack2": trees,
    "pickle": trees,
}


@st.composite
def chunks(draw, name):
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=0 if name[0] == "v" else 1, max_size=3)))
    count = int(np.prod(shape))
    return objects(draw(st.lists(ELEMENTS[name], min_size=count, max_size=count)), shape)


@pytest.mark.parametrize("name", ELEMENTS)
@both
@given(st.data())
def test_it_stores_what_numcodecs_stores(name, data):
    array = data.draw(chunks(name))
    configuration = SAMPLES[name][0] if name in SAMPLES else {}
    codec = build(name, configuration, array.shape, allow_pickle=True)
    encoded, expected = bytes(codec.encode(array)), bytes(peer(name, configuration).encode(array))
    assert encoded == expected
    found = codec.decode(expected)
    assert plain(found) == plain(array)
    assert (found.shape, found.dtype, found.flags.writeable) == (array.shape, OBJECT, True)
    transposed = codec.encode(np.asfortranarray(array))
    assert bytes(transposed) == encoded


@both
@given(chunks("vlen-utf8"), st.lists(texts, max_size=4, unique=True), st.sampled_from(["|u1", "<i2", ">u4", "<i8"]))
def test_categorize_stores_what_numcodecs_stores(array, labels, codes):
    labels = labels + [item for item in array.reshape(-1)[::2] if item not in labels]
    if any(text.endswith("\0") for text in [*labels, *array.reshape(-1)]):
        return  # NumPy, and so numcodecs, does not tell them from texts without
    for dtype in ("|O", "<U20", ">U20"):
        configuration = {"labels": labels, "dtype": dtype, "astype": codes}
        texts_given = array if dtype == "|O" else array.astype("U20")
        codec, other = (
            build("categorize", configuration, array.shape, texts_given.dtype),
            peer("categorize", configuration),
        )
        expected = other.encode(texts_given.astype(dtype))
        assert codec.encode(texts_given).astype(codes).tobytes() == expected.tobytes()
        found = codec.decode(expected.astype(codec.codes).reshape(array.shape))
        assert (found.dtype, found.shape) == (texts_given.dtype, array.shape)
        assert found.reshape(-1).tolist() == other.decode(expected).tolist()


@pytest.mark.parametrize("length", [0, 1, 7, 300, 5000, 300_000])
def test_many_texts_of_any_length(length):
    items = ["é" * (length % 7) + "x" * (length - length % 7) + str(i) for i in range(9000 if length < 5000 else 40)]
    for name, array in [("vlen-utf8", objects(items)), ("vlen-bytes", objects([item.encode() for item in items]))]:
        codec = build(name, shape=array.shape)
        encoded = codec.encode(array)
        assert encoded == peer(name).encode(array)
        assert codec.decode(encoded).tolist() == array.tolist()


def test_a_pipeline_of_objects():
    configs = [
        NamedConfig("transpose", {"order": [1, 0]}),
        NamedConfig("vlen-utf8"),
        NamedConfig("zstd"),
        NamedConfig("crc32c"),
    ]
    pipeline = CodecPipeline.resolve(configs, ChunkSpec((2, 3), OBJECT, ""))
    array = objects(list("abcdef"), (2, 3))
    found = pipeline.decode(pipeline.encode(array))
    assert found.tolist() == array.tolist()
    out = np.empty((2, 3), object)
    pipeline.decode_into(pipeline.encode(array), out)
    assert out.tolist() == array.tolist()
    plain_pipeline = CodecPipeline.resolve(configs[:2], ChunkSpec((2, 3), OBJECT, ""))
    assert plain_pipeline.encode(array) == peer("vlen-utf8").encode(array.T.copy())


def test_labels_and_checksums_in_a_pipeline():
    labels = {"labels": ["x", "y"], "dtype": "|O", "astype": "<i2"}
    configs = [
        NamedConfig("numcodecs.categorize", labels),
        NamedConfig("bytes", {"endian": "big"}),
        NamedConfig("numcodecs.crc32"),
    ]
    pipeline = CodecPipeline.resolve(configs, ChunkSpec((3,), OBJECT, "y"))
    encoded = bytes(pipeline.encode(objects(["y", "?", "x"])))
    assert encoded[4:] == unhex("0002 0000 0001")
    assert pipeline.decode(encoded).tolist() == ["y", "", "x"]
    assert pipeline.serializer.spec.fill_value == 2


# ---- variable length: elements


@pytest.mark.parametrize(
    ("name", "items", "word", "position"),
    [
        ("vlen-utf8", ["a", None, "b"], "NoneType", 1),
        ("vlen-utf8", ["a", "b", 0], "int", 2),
        ("vlen-utf8", [0.0, "a", "b"], "float", 0),
        ("vlen-utf8", ["a", np.int64(0), "b"], "int64", 1),
        ("vlen-utf8", ["a", b"b", "c"], "bytes", 1),
        ("vlen-utf8", ["a", np.zeros(1), "c"], "ndarray", 1),
        ("vlen-bytes", [b"a", None, b"b"], "NoneType", 1),
        ("vlen-bytes", [b"a", 0, b"b"], "int", 1),
        ("vlen-bytes", [b"a", b"b", "c"], "str", 2),
        ("vlen-bytes", [b"a", np.int64(0), b"c"], "int64", 1),
        ("vlen-bytes", [b"a", b"b", np.zeros(2)], "ndarray", 2),
    ],
)
def test_what_is_no_text_is_refused_and_named(name, items, word, position):
    with pytest.raises(CodecError, match=rf"element {position} .* type {word} .* put b?'' where") as caught:
        build(name).encode(objects(items))
    assert caught.value.codec == name


@pytest.mark.parametrize("name", ["vlen-utf8", "vlen-bytes"])
def test_the_position_of_an_element_is_that_in_the_chunk(name):
    items = ["x" if name == "vlen-utf8" else b"x"] * 9000
    items[8999] = None
    with pytest.raises(CodecError, match="element 8999 "):
        build(name, shape=(90, 100)).encode(objects(items, (90, 100)))


def test_elements_of_subclasses_are_taken():
    class Text(str):
        def encode(self, *arguments):
            raise AssertionError

        def __str__(self):
            return "wrong"

    items = [np.str_("né"), Text("own"), "plain"]
    encoded = build("vlen-utf8").encode(objects(items))
    assert encoded == peer("vlen-utf8").encode(objects(["né", "own", "plain"]))
    assert [type(item) for item in build("vlen-utf8").decode(encoded)] == [str] * 3
    items = [np.bytes_(b"a"), bytearray(b"bc"), memoryview(b"defg")[::2]]
    assert build("vlen-bytes").decode(build("vlen-bytes").encode(objects(items))).tolist() == [b"a", b"bc", b"df"]


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(CodecError, match="UTF-8"):
        build("vlen-utf8").encode(objects(["a", "\ud800", "b"]))


def test_arrays_of_other_kinds_are_refused():
    codec = build("vlen-array", {"dtype": "<i4"}, fill=None)
    for item in (
        np.zeros((2, 2), "i4"),
        np.array(1, "i4"),
        np.array([0.5, 1]),
        np.array([2**31, 1]),
        np.array([1j, 1]),
        np.array([np.nan]),
        np.array(["1"]),
        np.array(["2000"], "M8[Y]"),
        "text",
        0,
        [1.5],
        [[1], [2, 3]],
        ["a"],
    ):
        with pytest.raises(CodecError, match="element 1 "):
            codec.encode(objects([np.zeros(1, "i4"), item, np.zeros(1, "i4")]))


def test_arrays_of_numbers_that_the_dtype_holds_are_taken():
    codec = build("vlen-array", {"dtype": ">i4"}, (4,), fill=None)
    items = [np.array([1, -2], "i2"), np.arange(6, dtype=">i4")[::2], [], np.array([True])]
    encoded = codec.encode(objects(items))
    assert encoded[:16] == unhex("04000000 08000000 00000001 fffffffe")
    found = codec.decode(encoded)
    assert plain(found) == [[1, -2], [0, 2, 4], [], [1]]
    for item in found:
        assert (item.dtype, item.flags.writeable) == (np.dtype("i4"), True)


@pytest.mark.parametrize("fill", [None, 0, "", [7]])
def test_cells_with_the_fill_value_are_stored_as_arrays(fill):
    codec = build("vlen-array", {"dtype": "<i8"}, fill=fill)
    found = codec.decode(codec.encode(objects([np.array([5]), fill, fill])))
    assert plain(found) == [[5], fill if fill == [7] else [], fill if fill == [7] else []]


# ---- variable length: damage


def lengths(name):
    """A stream of three elements and the element type's empty one."""
    return build(name, VLEN[name][0]), unhex(VLEN[name][2])


@pytest.mark.parametrize("name", VLEN)
@pytest.mark.parametrize("count", [0, 2, 4, 2**31, 2**32 - 1])
def test_another_count_is_refused(name, count):
    codec, data = lengths(name)
    with pytest.raises(CodecError, match=f"count of {count} "):
        codec.decode(struct.pack("<I", count) + data[4:])


@pytest.mark.parametrize("name", VLEN)
def test_data_of_another_size_are_refused(name):
    codec, data = lengths(name)
    for end in range(len(data)):
        with pytest.raises(CodecError):
            codec.decode(data[:end])
    for tail in (b"\0", b"abc", bytes(4), bytes(5), data):
        with pytest.raises(CodecError, match="behind the last element"):
            codec.decode(data + tail)


@pytest.mark.parametrize("name", VLEN)
@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, 100, 25])
def test_lengths_beyond_the_data_are_refused(name, length):
    codec, data = lengths(name)
    for element in range(3):
        starts = [4, 8 + int.from_bytes(data[4:8], "little")]
        starts.append(starts[1] + 4 + int.from_bytes(data[starts[1] : starts[1] + 4], "little"))
        damaged = data[: starts[element]] + struct.pack("<I", length) + data[starts[element] + 4 :]
        with pytest.raises(CodecError):
            codec.decode(damaged)


@pytest.mark.parametrize("data", ["ff", "c3", "eda080", "f4908080", "c080"])
def test_what_is_no_utf8_is_refused(data):
    stream = struct.pack("<II", 1, len(unhex(data))) + unhex(data)
    with pytest.raises(CodecError, match="utf-8"):
        build("vlen-utf8", shape=(1,)).decode(stream)


def test_arrays_that_are_no_whole_number_of_elements_are_refused():
    with pytest.raises(CodecError, match="no whole number"):
        build("vlen-array", {"dtype": "<i4"}, (1,)).decode(struct.pack("<II", 1, 6) + bytes(6))


def test_no_memory_is_taken_for_a_chunk_that_is_not_there():
    for name, (configuration, _, _) in VLEN.items():
        with pytest.raises(CodecError):
            build(name, configuration, (60000, 60000)).decode(struct.pack("<I", 3_600_000_000))


# ---- documents


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_chunk_of_several_axes_or_none(name):
    array = objects(["a", [1, 2], [3, 4], {}, [], None], (1, 3, 2))
    codec = build(name, shape=(1, 3, 2))
    assert codec.decode(codec.encode(array)).tolist() == array.tolist()
    scalar = objects([[1, 2]]).reshape(())
    codec = build(name, shape=())
    found = codec.decode(codec.encode(scalar))
    assert found.shape == ()
    assert found[()] == [1, 2]


def test_json_of_no_axes_is_numcodecs():
    scalar = objects(["x"]).reshape(())
    assert build("json2", shape=()).encode(scalar) == peer("json2").encode(scalar) == b'["x","|O",[]]'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "null",
        "7",
        "[]",
        '["|O"]',
        '[[3],"|O"]',
        '["a","b","c","|O"]',
        '["a","b","|O",[3]]',
        '["a","b","c","d","|O",[3]]',
        '["a","b","c","|O",[4]]',
        '["a","b","c","|O",[3,1]]',
        '["a","b","c","|O",3]',
        '["a","b","c","|O",null]',
        '["a","b","c","|O",[1000000000000]]',
        '["a","b","c","|O",[-3]]',
        '["a","b","c",7,[3]]',
        '["a","b","c","i4",[3]]',
        '["a","b","c","|V8",[3]]',
        '["a","b","c",[["f","i4"]],[3]]',
        '["a","b",1,"<U3",[3]]',
        '["a","b","cdef","<U3",[3]]',
        '["a","b","c","|O",[3]] ]',
        '["a","b","c","|O",[3]]\x00',
        "[" * 100_000,
        '["a","b",' + "[" * 100_000,
        '{"a":' * 100_000,
        '["a","b",' + "9" * 5000 + ',"|O",[3]]',
        "\ufeff[]",
    ],
    ids=range(30),
)
def test_a_document_that_is_no_chunk_is_refused(text):
    with pytest.raises(CodecError):
        build("json2").decode(text.encode())


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(CodecError):
        build("json2").decode(b'["a","b","\xff","|O",[3]]')
    with pytest.raises(CodecError):
        build("json2", {"encoding": "utf-16"}).decode(b"abc")


def test_rows_of_another_length_are_refused():
    codec = build("json2", shape=(2, 2))
    for rows in (
        '["a","b"],["c"]',
        '["a","b","c"],["d"]',
        '"ab","cd"',
        '["a","b"],{"c":1,"d":2}',
        '"a","b","c","d"',
        "[],[]",
    ):
        with pytest.raises(CodecError, match="laid out"):
            codec.decode(f'[{rows},"|O",[2,2]]'.encode())
    assert codec.decode(b'[["a","b"],["c",["d"]],"|O",[2,2]]').tolist() == [["a", "b"], ["c", ["d"]]]


@pytest.mark.parametrize("dtype", ["<U3", ">U3", "|O", "O"])
def test_a_document_of_texts_is_read_as_objects(dtype):
    found = build("json2").decode(json.dumps(["abc", "d", "", dtype, [3]]).encode())
    assert found.dtype == OBJECT
    assert found.tolist() == ["abc", "d", ""]


@pytest.mark.parametrize(
    "configuration",
    [
        {"encoding": "utf-16"},
        {"encoding": "latin-1", "ensure_ascii": True},
        {"indent": 2},
        {"indent": "\t", "separators": [" ,", " : "]},
        {"ensure_ascii": False, "sort_keys": False},
        {"strict": False, "check_circular": False, "allow_nan": False, "skipkeys": True},
    ],
)
def test_json_takes_the_parameters_of_numcodecs(configuration):
    array = objects(["é\n", {"b": 1, "a": [None]}, 2.5])
    encoded = build("json2", configuration).encode(array)
    assert encoded == peer("json2", configuration).encode(array)
    assert build("json2", configuration).decode(encoded).tolist() == array.tolist()


@pytest.mark.parametrize(
    "configuration",
    [
        {"encoding": "zlib"},
        {"encoding": "hex"},
        {"encoding": "unicode_escape"},
        {"encoding": "no such"},
        {"encoding": "\0"},
        {"encoding": 8},
        {"indent": 10**9},
        {"indent": [2]},
        {"separators": ","},
        {"separators": [",", 1]},
        {"separators": [",", ":", ";"]},
        {"sort_keys": "yes"},
        {"strict": None},
    ],
)
def test_json_refuses_other_parameters(configuration):
    with pytest.raises(UnknownCodecError):
        build("json2", configuration)


def test_what_a_document_cannot_hold_is_refused():
    endless = []
    endless.append(endless)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for name in DOCUMENTS:
        for item in (object(), endless, deep, {1, 2}, np.int64(1), 1j):
            with pytest.raises(CodecError, match="cannot be written"):
                build(name).encode(objects(["a", item, "b"]))
    for name, item in [("json2", {(1, 2): 3}), ("json2", b"bytes"), ("msgpack2", 2**64), ("msgpack2", "\ud800")]:
        with pytest.raises(CodecError, match="cannot be written"):
            build(name).encode(objects(["a", item, "b"]))
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize(
    "configuration",
    [{"use_single_float": True}, {"use_bin_type": False}, {"raw": True}, {"use_bin_type": False, "raw": True}],
)
def test_msgpack_takes_the_parameters_of_numcodecs(configuration):
    array = objects(["a", 0.1, None])
    encoded = build("msgpack2", configuration).encode(array)
    assert encoded == peer("msgpack2", configuration).encode(array)
    found = build("msgpack2", configuration).decode(encoded)
    assert found[0] == (b"a" if configuration.get("raw") else "a")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "95",
        "95 a1 61 c0 03 a2 7c 4f 91",
        "95 a1 61 c0 03 a2 7c 4f 91 03 00",
        "95 a1 61 c0 03 a2 7c 4f 91 04",
        "94 a1 61 c0 a2 7c 4f 91 03",
        "95 a1 61 c0 03 a2 69 34 91 03",
        "dd ff ff ff ff",
        "df ff ff ff ff",
        "c6 ff ff ff ff",
        "c1",
        "95 a1 ff c0 03 a2 7c 4f 91 03",
        "95 81 91 01 02 c0 03 a2 7c 4f 91 03",
        "95 d6 ff 00 00 00 00",
        "91" * 5000,
        "dc ff ff" * 2000,
        "c0",
        "80",
    ],
    ids=range(18),
)
def test_msgpack_that_is_no_chunk_is_refused(data):
    with pytest.raises(CodecError):
        build("msgpack2").decode(unhex(data))


def test_msgpack_reads_the_keys_it_writes():
    array = objects([{1: "a", "b": 2}, 7, 8])
    assert build("msgpack2").decode(build("msgpack2").encode(array)).tolist() == array.tolist()


def test_msgpack_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(UnknownCodecError, match="pip install msgpack"):
        build("msgpack2")


# ---- pickle


class Trap:
    """What runs when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_nothing_is_unpickled_without_the_callers_word():
    for spec in ({}, {"allow_pickle": False}):
        with pytest.raises(UnsupportedError, match="allow_pickle"):
            build("pickle", **spec)
    with pytest.raises(UnsupportedError):
        CodecPipeline.resolve([NamedConfig("numcodecs.pickle")], ChunkSpec((3,), OBJECT, None))
    data = pickle.dumps(Trap())
    for name, (configuration, _, _) in SAMPLES.items():
        with pytest.raises(CodecError):
            build(name, configuration).decode(data)
    Trap.sprung = False
    with pytest.raises(CodecError):
        build("pickle", allow_pickle=True).decode(data)
    assert Trap.sprung, "the data of this test do nothing"
    Trap.sprung = False


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pickled_array_is_read_in_the_order_of_its_memory(order):
    array = np.arange(6).reshape(2, 3).astype(object).copy(order=order)
    configs = [NamedConfig("transpose", {"order": "F"})] if order == "F" else []
    spec = ChunkSpec((2, 3), OBJECT, None, allow_pickle=True)
    pipeline = CodecPipeline.resolve([*configs, NamedConfig("numcodecs.pickle")], spec)
    assert pipeline.decode(peer("pickle").encode(array)).tolist() == array.tolist()
    assert pipeline.decode(pipeline.encode(array)).tolist() == array.tolist()


def test_a_pickled_array_of_numbers():
    codec = build("pickle", shape=(2, 3), dtype="int32", fill=0, allow_pickle=True)
    array = np.arange(6, dtype="int32").reshape(2, 3)
    for same in (array, array.astype(">i4")):
        found = codec.decode(peer("pickle").encode(same))
        assert found.dtype == np.dtype("int32")
        assert found.tolist() == array.tolist()
    assert codec.decode(codec.encode(array)).tolist() == array.tolist()


def test_what_does_not_unpickle_to_the_chunk_is_refused():
    codec = build("pickle", allow_pickle=True)
    for item in ([1, 2, 3], objects([1, 2]), np.arange(3), "abc", Trap):
        with pytest.raises(CodecError, match="unpickle to no array"):
            codec.decode(pickle.dumps(item))
    data = codec.encode(objects([1, 2, 3]))
    for end in range(0, len(data), 7):
        with pytest.raises(CodecError):
            codec.decode(data[:end])
    with pytest.raises(CodecError, match="cannot be pickled"):
        codec.encode(objects([1, 2, lambda: 3]))


@pytest.mark.parametrize("protocol", [-2, 99, "2", 2.0, None])
def test_pickle_refuses_another_protocol(protocol):
    with pytest.raises(UnknownCodecError):
        build("pickle", {"protocol": protocol}, allow_pickle=True)


# ---- labels


def categorize(labels=("a", "bb"), dtype="|O", array=OBJECT, fill="", **more):
    return build("categorize", {"labels": list(labels), "dtype": dtype, **more}, dtype=array, fill=fill)


@pytest.mark.parametrize(("fill", "code"), [("", 0), ("bb", 2), ("other", 0), (None, 0), (0, 0), (np.str_("a"), 1)])
def test_the_fill_value_of_labels(fill, code):
    spec = categorize(fill=fill, astype="<i2").encoded_spec()
    assert (spec.fill_value, spec.dtype, spec.shape) == (code, np.dtype("i2"), (3,))


def test_codes_beyond_the_labels_are_refused():
    for code in (3, 255):
        with pytest.raises(CodecError, match="2 labels"):
            categorize().decode(np.array([0, 1, code], "u1"))
    with pytest.raises(CodecError):
        categorize(astype="|i1").decode(np.array([-1, 0, 1], "i1"))
    with pytest.raises(CodecError):
        categorize(labels=[]).decode(np.array([0, 0, 1], "u1"))


def test_codes_of_labels_longer_than_the_texts_are_refused():
    codec = categorize(["a", "bb", "ccc"], "<U2", "U2")
    assert codec.decode(np.array([0, 1, 2], "u1")).tolist() == ["", "a", "bb"]
    with pytest.raises(CodecError, match="more than the 2 characters"):
        codec.decode(np.array([0, 1, 3], "u1"))


@pytest.mark.parametrize("item", [None, 0, b"a", ["a"], {}])
def test_what_is_no_text_has_no_label(item):
    with pytest.raises(CodecError, match="element 1 "):
        categorize().encode(objects(["a", item, "bb"]))


def test_a_text_of_numpy_has_its_label():
    assert categorize().encode(objects([np.str_("bb"), "a", np.str_("x")])).tolist() == [2, 1, 0]


def test_labels_of_no_axes():
    codec = build("categorize", {"labels": ["a"], "dtype": "|O"}, ())
    found = codec.decode(codec.encode(objects(["a"]).reshape(())))
    assert (found.shape, found.dtype, found[()]) == ((), OBJECT, "a")


def test_the_later_of_equal_labels_counts():
    configuration = {"labels": ["a", "b", "a"], "dtype": "|O"}
    array = objects(["a", "b", "c"])
    assert (
        build("categorize", configuration).encode(array).tolist()
        == peer("categorize", configuration).encode(array).tolist()
    )


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"labels": "ab"},
        {"labels": [1]},
        {"labels": [b"a"]},
        {"labels": None},
        {"dtype": "<U3"},
        {"dtype": "S3"},
        {"dtype": "<i4"},
        {"dtype": 3},
        {"dtype": "U" + "9" * 20},
        {"astype": "|O"},
        {"astype": "<f4"},
        {"astype": "|b1"},
        {"labels": list(map(str, range(256)))},
        {"labels": list(map(str, range(128))), "astype": "|i1"},
    ],
)
def test_categorize_refuses_what_means_nothing(configuration):
    configuration = {"labels": ["a"], "dtype": "|O", **configuration} if configuration else {}
    with pytest.raises(UnknownCodecError):
        build("categorize", configuration)


def test_categorize_refuses_an_array_of_another_dtype():
    for dtype, array in [("|O", "int32"), ("<U3", "U4"), ("<U3", "S3")]:
        with pytest.raises(UnknownCodecError):
            categorize(dtype=dtype, array=array)


# ---- what is refused


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("dtype", ["int32", "U3", "S3", "V8", "M8[s]"])
def test_arrays_of_anything_but_objects_are_refused(name, dtype):
    with pytest.raises(UnknownCodecError, match="stores objects"):
        build(name, SAMPLES[name][0], dtype=dtype)


def test_unknown_members():
    for name in ("vlen-utf8", "vlen-bytes"):
        with pytest.raises(UnknownCodecError, match="novel"):
            build(name, {"novel": 1})
    for name in ("vlen-array", "json2", "msgpack2", "pickle"):
        build(name, {**SAMPLES.get(name, ({},))[0], "novel": 1}, allow_pickle=True)


def test_more_elements_than_can_be_counted_are_refused():
    with pytest.raises(UnknownCodecError, match="2\\^32"):
        build("vlen-utf8", shape=(2**16, 2**16))


# ---- damage of any kind


@pytest.mark.parametrize("name", SAMPLES)
@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_data_are_refused_or_give_a_chunk_of_the_right_shape(name, data):
    configuration, _, stream = SAMPLES[name]
    damaged = bytearray(unhex(stream))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        found = build(name, configuration).decode(bytes(damaged))
    except CodecError:
        return
    assert (found.shape, found.dtype) == ((3,), OBJECT)
