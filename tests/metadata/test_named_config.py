"""Extension points: a bare name or an object, read alike and written as objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.errors import MetadataError
from daskzarr.metadata import NamedConfig

numbers = st.integers() | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
configurations = st.dictionaries(st.text(max_size=5), values, max_size=3)


@pytest.mark.parametrize("value", ["gzip", {"name": "gzip"}, {"name": "gzip", "configuration": {}}])
def test_a_bare_name_an_object_and_an_empty_configuration_mean_the_same(value):
    assert NamedConfig.read(value, "codecs") == NamedConfig("gzip")
    assert NamedConfig.read(value, "codecs").write() == {"name": "gzip"}


@given(st.text(min_size=1, max_size=9), configurations, st.none() | st.booleans())
def test_writing_what_was_read_gives_the_canonical_object(name, configuration, must_understand):
    document = {"name": name, "configuration": configuration}
    if must_understand is not None:
        document["must_understand"] = must_understand
    canonical = {
        member: value
        for member, value in document.items()
        if not (member == "configuration" and not value) and not (member == "must_understand" and value)
    }
    read = NamedConfig.read(document, "codecs")
    assert read.write() == canonical
    assert NamedConfig.read(read.write(), "codecs") == read


def test_what_is_not_said_must_be_understood():
    assert NamedConfig.read("x", "codecs").must_understand
    assert NamedConfig.read({"name": "x"}, "codecs").must_understand
    assert not NamedConfig.read({"name": "x", "must_understand": False}, "codecs").must_understand


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        True,
        [],
        ["gzip"],
        {},
        {"configuration": {"level": 1}},
        {"id": "gzip", "level": 1},
        {"name": None},
        {"name": 5},
        {"name": ["gzip"]},
        {"name": "gzip", "configuration": None},
        {"name": "gzip", "configuration": []},
        {"name": "gzip", "configuration": "level"},
        {"name": "gzip", "must_understand": None},
        {"name": "gzip", "must_understand": 0},
        {"name": "gzip", "must_understand": "false"},
        {"name": "gzip", "level": 1},
    ],
)
def test_refuses_what_is_no_extension_point_and_names_the_field(value):
    with pytest.raises(MetadataError) as caught:
        NamedConfig.read(value, "codecs[1]")
    assert caught.value.field == "codecs[1]"


def test_the_configuration_written_is_a_copy():
    config = NamedConfig.read({"name": "gzip", "configuration": {"level": 1}}, "codecs")
    config.write()["configuration"]["level"] = 9
    assert config.configuration == {"level": 1}
