"""attributes.json: writing what was read gives the document again; what N5 or the model has not is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError
from daskzarr.metadata import ArrayMetadata, DataType, GroupMetadata, NamedConfig, n5
from daskzarr.metadata.json_text import format_object, parse_object

NUMBERS = [*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("u", "")), "float32", "float64"]
DATASET = {"dimensions": [4, 7, 5], "blockSize": [4, 3, 2], "dataType": "int16", "compression": {"type": "raw"}}
RESERVED = ["n5", "dimensions", "blockSize", "dataType", "compression", "compressionType", "codecs"]
COMPRESSIONS = [
    {"type": "raw"},
    {"type": "gzip", "level": -1, "useZlib": False},
    {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0, "nthreads": 1},
    {"type": "lz4", "id": "lz4", "acceleration": 1},
    {"type": "novel", "a": {"b": [1.5, None]}},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["units", "resolution", "offset", "downsamplingFactors", "pixelResolution"]) | st.text(
    max_size=4
)
attributes = st.dictionaries(names.filter(lambda name: name not in (*RESERVED, "axes")), json_values, max_size=3)


@st.composite
def documents(draw):
    ndim = draw(st.integers(1, 4))
    document = {
        "dimensions": draw(st.lists(st.integers(0, 2**63 - 1), min_size=ndim, max_size=ndim)),
        "blockSize": draw(st.lists(st.integers(1, 2**31 - 1), min_size=ndim, max_size=ndim)),
        "dataType": draw(st.sampled_from([*NUMBERS, "string", "object"])),
        "compression": draw(st.sampled_from(COMPRESSIONS)),
        **draw(attributes),
    }
    axes = st.lists(st.none() | st.text(max_size=3), min_size=ndim - 1, max_size=ndim + 1) | json_values
    optional = {"axes": axes, "n5": st.sampled_from(["4.0.0", "2.0.0", "", "x"]), "compressionType": st.just("gzip")}
    return document | draw(st.fixed_dictionaries({}, optional=optional))


def exactly(document):
    """JSON text that tells 1 from 1.0 from true and 0.0 from -0.0, whatever the order of members."""
    return json.dumps(document, sort_keys=True)


def without(document, *members):
    return {k: v for k, v in document.items() if k not in members}


@given(documents(), st.booleans())
def test_writing_what_was_read_gives_the_document(document, reverse_axes):
    metadata = n5.read_array(document, reverse_axes=reverse_axes)
    written = n5.write_array(metadata)
    assert exactly(written) == exactly(document)
    assert n5.read_array(parse_object(format_object(written), "x"), reverse_axes=reverse_axes) == metadata
    stripped = ArrayMetadata.from_compact(metadata.compact())
    assert stripped.codecs == metadata.codecs
    assert stripped.chunk_key_encoding == metadata.chunk_key_encoding


@given(attributes, st.sampled_from([None, "4.0.0", "1.0.0", 3]))
def test_writing_a_group_that_was_read_gives_the_document(members, version):
    document = members | ({} if version is None else {"n5": version})
    metadata = n5.read_group(document)
    assert metadata.zarr_format == "n5"
    assert "n5" not in metadata.attributes
    assert exactly(n5.write_group(metadata, root=False)) == exactly(document)
    assert n5.read_group(n5.write_group(metadata, root=False)) == metadata


def test_axes_are_reversed_unless_asked_for_as_they_are():
    document = DATASET | {"axes": ["x", "y", "z"], "units": ["nm", "um", "mm"], "resolution": [1, 2, 3]}
    metadata = n5.read_array(document)
    assert metadata.shape == (5, 7, 4)
    assert metadata.chunk_grid.chunk_shape == (2, 3, 4)
    assert metadata.chunk_key_encoding.encode((2, 1, 0)) == "0/1/2"
    assert metadata.dimension_names == ("z", "y", "x")
    assert metadata.attributes == {"units": ["nm", "um", "mm"], "resolution": [1, 2, 3]}
    assert [codec.name for codec in metadata.codecs] == ["n5.block"]
    assert metadata.zarr_format == "n5"

    metadata = n5.read_array(document, reverse_axes=False)
    assert metadata.shape == (4, 7, 5)
    assert metadata.chunk_grid.chunk_shape == (4, 3, 2)
    assert metadata.chunk_key_encoding.encode((0, 1, 2)) == "0/1/2"
    assert metadata.dimension_names == ("x", "y", "z")
    assert metadata.codecs[0] == NamedConfig("transpose", {"order": [2, 1, 0]})


@pytest.mark.parametrize("axes", [["x"], ["x", "y", 3], "xyz", {"a": 1}, None, [], [["x"], "y", "z"], ["a"] * 4])
def test_axes_that_are_no_names_stay_an_attribute(axes):
    metadata = n5.read_array(DATASET | {"axes": axes})
    assert metadata.dimension_names is None
    assert metadata.attributes == {"axes": axes}
    assert n5.write_array(metadata) == DATASET | {"axes": axes}


def test_the_name_of_no_axis_is_null():
    metadata = n5.read_array(DATASET | {"axes": ["x", None, "z"]})
    assert metadata.dimension_names == ("z", None, "x")
    assert n5.write_array(metadata)["axes"] == ["x", None, "z"]


@pytest.mark.parametrize("data_type", NUMBERS)
def test_absent_blocks_of_numbers_read_as_zero(data_type):
    metadata = n5.read_array(DATASET | {"dataType": data_type})
    assert metadata.data_type == DataType.named(data_type)
    assert metadata.fill_scalar == 0
    assert metadata.fill_scalar.tobytes() == bytes(metadata.data_type.dtype.itemsize)


@pytest.mark.parametrize(("data_type", "ours", "fill"), [("string", "string", ""), ("object", "bytes", b"")])
def test_strings_and_objects_say_what_they_are_to_their_codec(data_type, ours, fill):
    document = DATASET | {"dataType": data_type}
    metadata = n5.read_array(document)
    assert metadata.data_type.name == ours
    assert metadata.data_type.dtype == np.dtype(object)
    assert metadata.fill_scalar == fill
    assert metadata.codecs[-1].configuration == {"compression": {"type": "raw"}, "dataType": data_type}
    assert n5.write_array(metadata) == document


def test_the_compression_of_version_0_is_read_and_written_as_today():
    old = without(DATASET, "compression") | {"compressionType": "gzip", "a": 1}
    metadata = n5.read_array(old)
    assert metadata.attributes == {"a": 1}
    assert n5.write_array(metadata) == without(DATASET, "compression") | {"compression": {"type": "gzip"}, "a": 1}
    both = DATASET | {"compressionType": "gzip"}
    assert n5.read_array(both).codecs == n5.read_array(DATASET).codecs
    assert n5.write_array(n5.read_array(both)) == both


def test_listed_codecs_are_refused_and_an_attribute_of_that_name_is_kept():
    codecs = [{"name": "n5bytes"}, {"name": "gzip"}]
    for document in (DATASET | {"codecs": codecs}, without(DATASET, "compression") | {"codecs": codecs}):
        assert n5.is_dataset(document)
        with pytest.raises(UnsupportedError):
            n5.read_array(document)
    document = DATASET | {"codecs": "none"}
    assert n5.write_array(n5.read_array(document)) == document


def test_a_dataset_holds_all_that_makes_one():
    assert n5.is_dataset(DATASET)
    for member in ("dimensions", "blockSize", "dataType", "compression"):
        assert not n5.is_dataset(without(DATASET, member))
    assert n5.is_dataset(without(DATASET, "compression") | {"compressionType": "raw"})
    assert not n5.is_dataset({})


# ---- the version


@pytest.mark.parametrize(
    "version", [None, "", "x", "0.0.0", "1", "2.0.0", "4", "4.99.1-SNAPSHOT", "04.0", [], {}, True, "٥.0"]
)
def test_versions_up_to_ours_and_none_at_all_are_read(version):
    n5.check_version({} if version is None else {"n5": version})
    n5.read_group({"n5": version})
    assert n5.write_array(n5.read_array(DATASET | {"n5": version})) == DATASET | {"n5": version}


@pytest.mark.parametrize("version", ["5", "5.0.0", "10.0.0", "40", "0005.0", " 9.1", "9" * 10_000])
def test_a_later_version_is_refused(version):
    for read in (n5.check_version, n5.read_group, lambda document: n5.read_array(DATASET | document)):
        with pytest.raises(UnsupportedError) as caught:
            read({"n5": version})
        assert caught.value.field == "n5"
        assert len(str(caught.value)) < 200


def test_the_root_states_the_version():
    assert n5.write_group(GroupMetadata(zarr_format="n5"), root=True) == {"n5": "4.0.0"}
    assert n5.write_group(GroupMetadata(attributes={"a": 1}), root=False) == {"a": 1}
    assert n5.write_group(n5.read_group({"n5": "2.0.0", "a": 1}), root=True) == {"n5": "2.0.0", "a": 1}
    metadata = n5.read_array(DATASET)
    assert n5.write_array(metadata, root=True) == DATASET | {"n5": "4.0.0"}
    assert n5.write_array(metadata) == DATASET


# ---- what is refused


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(
            ("dimensions", value)
            for value in (None, 4, [], [4, 7], [-1, 7, 5], [4.0, 7, 5], ["4", 7, 5], [2**63, 1, 1])
        ),
        *(("dimensions", value) for value in ([True, 7, 5], [[4], 7, 5], {"0": 4})),
        *(("blockSize", value) for value in (None, 4, [], [4, 3], [0, 3, 2], [4.0, 3, 2], [2**31, 3, 2], [4, 3, -2])),
        *(("dataType", value) for value in (None, "", "bool", "float16", "complex64", "INT16", "bytes", "v2.dtype", 5)),
        *(("dataType", value) for value in (["int16"], {"name": "int16"}, "x" * 10_000)),
        *(("compression", value) for value in (None, "gzip", {}, {"type": None}, {"type": 1}, [], [{"type": "raw"}])),
    ],
)
def test_a_member_that_means_nothing_is_refused(member, value):
    with pytest.raises(DaskZarrError) as caught:
        n5.read_array(DATASET | {member: value})
    assert isinstance(caught.value, (MetadataError, UnsupportedError))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("member", ["dimensions", "blockSize", "dataType", "compression"])
def test_a_missing_member_is_named(member):
    with pytest.raises(MetadataError) as caught:
        n5.read_array(without(DATASET, member))
    assert caught.value.field == member


def test_an_array_without_axes_is_refused():
    with pytest.raises(UnsupportedError):
        n5.read_array(DATASET | {"dimensions": [], "blockSize": []})


def test_a_compression_of_version_0_that_is_no_name_is_refused():
    with pytest.raises(MetadataError):
        n5.read_array(without(DATASET, "compression") | {"compressionType": {"type": "raw"}})


@pytest.mark.parametrize(
    "change",
    [
        {"fill_value": 1},
        {"fill_value": None},
        {"chunk_key_encoding": ChunkKeyEncoding("default", "/")},
        {"chunk_key_encoding": ChunkKeyEncoding("v2", ".")},
        {"chunk_key_encoding": ChunkKeyEncoding("v2", "/")},
        {"chunk_key_encoding": ChunkKeyEncoding("n5", ".")},
        {"codecs": ()},
        {"codecs": (NamedConfig("bytes", {"endian": "big"}),)},
        {"codecs": (NamedConfig("n5.block", {}),)},
        {"codecs": (NamedConfig("n5.block", {"compression": {"type": "raw"}, "dataType": "string"}),)},
        {"codecs": (NamedConfig("n5.block", {"compression": "raw"}),)},
        {"codecs": (NamedConfig("n5.block", {"compression": {"type": "raw"}}), NamedConfig("crc32c"))},
        {"codecs": (NamedConfig("transpose", {"order": [2, 1, 0]}), NamedConfig("n5.block"))},
        {"data_type": DataType.named("bool"), "fill_value": False},
        {"data_type": DataType.named("float16")},
        {"data_type": DataType.named("string"), "fill_value": ""},
        *({"attributes": {name: 1}} for name in RESERVED),
    ],
)
def test_a_model_that_n5_has_not_is_refused(change):
    metadata = replace(n5.read_array(DATASET), **change)
    with pytest.raises((MetadataError, UnsupportedError)):
        n5.write_array(metadata)


@pytest.mark.parametrize("fill_value", [-0.0, "NaN", 1.0, "0x00000001"])
def test_no_fill_value_but_zero_can_be_written(fill_value):
    metadata = n5.read_array(DATASET | {"dataType": "float32"})
    with pytest.raises(MetadataError):
        n5.write_array(replace(metadata, fill_value=fill_value))
    assert n5.write_array(replace(metadata, fill_value=0)) == DATASET | {"dataType": "float32"}


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], None, 5, "C"])
def test_axes_in_n5s_order_are_all_transposed(order):
    metadata = n5.read_array(DATASET, reverse_axes=False)
    transposed = NamedConfig("transpose", {"order": order})
    with pytest.raises(MetadataError):
        n5.write_array(replace(metadata, codecs=(transposed, *metadata.codecs[1:])))
    with pytest.raises(MetadataError):
        n5.write_array(replace(metadata, codecs=metadata.codecs[1:]))


def test_blocks_longer_than_n5_can_have_are_not_written():
    metadata = n5.read_array(DATASET)
    grid = replace(metadata.chunk_grid, chunk_shape=(2, 3, 2**31))
    with pytest.raises(MetadataError):
        n5.write_array(replace(metadata, chunk_grid=grid))


def test_a_group_cannot_be_written_so_that_it_would_be_a_dataset():
    with pytest.raises(MetadataError):
        n5.write_group(GroupMetadata(attributes=DATASET, zarr_format="n5"), root=False)
    with pytest.raises(MetadataError):
        n5.write_group(GroupMetadata(attributes={"n5": "1"}, zarr_format="n5"), root=True)
    assert n5.write_group(GroupMetadata(attributes={"dimensions": [4]}), root=False) == {"dimensions": [4]}
