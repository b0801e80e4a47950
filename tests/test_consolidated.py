"""Consolidated metadata: trusted when read, exact when written, refused when damaged, and kept true by every change."""

import json
import pickle
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import (
    DaskZarrError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    StoredArray,
    UnsupportedError,
    consolidate,
    copy_node,
    create_array,
    create_group,
    delete_node,
    from_zarr,
    open_array,
    open_group,
    to_zarr,
    update_attributes,
)
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import FaultyStore, RecordingStore, WebServer, distinct_values

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part in the Zarr format 3")

KEY = {2: ".zmetadata", 3: "zarr.json"}
PATHS = ["a", "g", "g/b", "g/h", "g/h/c"]

both_formats = pytest.mark.parametrize("zarr_format", [2, 3])


def array(store, path, zarr_format=3, shape=(4, 6), **options):
    options = {"attributes": {"is": path}} | options
    return create_array(
        store, path, shape=shape, chunks=(2,) * len(shape), dtype="int16", zarr_format=zarr_format, **options
    )


def build(zarr_format=3, store=None):
    """A store with groups and arrays at three levels, and what was spent on it forgotten."""
    store = RecordingStore(MappingStore({})) if store is None else store
    create_group(store, attributes={"is": "top"}, zarr_format=zarr_format)
    array(store, "a", zarr_format, dimension_names=["y", "x"])
    create_group(store, "g", attributes={"is": "g"}, zarr_format=zarr_format)
    array(store, "g/b", zarr_format)
    array(store, "g/h/c", zarr_format)
    if isinstance(store, RecordingStore):
        store.clear()
    return store


def built(zarr_format=3):
    """The same, consolidated."""
    store = build(zarr_format)
    consolidate(store)
    store.clear()
    return store


def stored(store, key):
    return json.loads(bytes(store.get(key)))


def block(store, zarr_format, path=""):
    """The consolidated metadata of a group: documents by path in v3, by key in v2."""
    document = stored(store, f"{path}/{KEY[zarr_format]}" if path else KEY[zarr_format])
    return document["metadata"] if zarr_format == 2 else document["consolidated_metadata"]["metadata"]


def has_block(store, zarr_format, path=""):
    key = f"{path}/{KEY[zarr_format]}" if path else KEY[zarr_format]
    return store.get(key) is not None and (zarr_format == 2 or "consolidated_metadata" in stored(store, key))


def spoiled(store, zarr_format, change):
    """Change the consolidated metadata of the group at the top by hand."""
    document = stored(store, KEY[zarr_format])
    change(document if zarr_format == 2 else document["consolidated_metadata"])
    store.set(KEY[zarr_format], json.dumps(document).encode())


def check_true(store, zarr_format, path=""):
    """The metadata are, to the letter, what a fresh consolidation writes, and both views are the same."""
    kept = block(store, zarr_format, path)
    seen = list(open_group(store, path, zarr_format=zarr_format).walk())
    assert seen == list(open_group(store, path, zarr_format=zarr_format, consolidated=False).walk())
    consolidate(store, path, zarr_format=zarr_format)
    assert kept == block(store, zarr_format, path)
    assert list(kept) == sorted(kept)


# Reading


@both_formats
def test_a_consolidated_group_answers_from_memory(zarr_format):
    store = built(zarr_format)
    plain = open_group(store, consolidated=False)
    store.clear()
    top = open_group(store)
    opening = {2: ["zarr.json", ".zmetadata"], 3: ["zarr.json"]}[zarr_format]
    assert store.keys() == opening
    assert [path for path, _ in top.walk()] == PATHS
    assert list(top) == ["a", "g"]
    assert len(top["g"]) == 2
    assert list(top["g"].children()) == ["b", "h"]
    assert top["g"]["h"]["c"] == top["g/h/c"]
    assert "g/h" in top
    assert "g/x" not in top
    assert top["g"].attrs == {"is": "g"}
    assert top.tree().count("\n") == 5
    assert store.keys() == opening
    assert top == plain
    assert top.tree() == plain.tree()
    assert list(top.walk()) == list(plain.walk())
    assert top["a"] == open_array(store, "a")
    assert top["a"].dimension_names == ("y", "x")


@both_formats
def test_naming_the_format_makes_opening_one_request(zarr_format):
    store = built(zarr_format)
    for consolidated in (None, True):
        open_group(store, zarr_format=zarr_format, consolidated=consolidated)
        assert store.requests == [("get", KEY[zarr_format])]
        store.clear()
    assert open_array(store, "g/h/c", zarr_format=zarr_format, consolidated=True).shape == (4, 6)
    assert store.requests == [("get", KEY[zarr_format])]


@both_formats
def test_an_array_is_opened_by_its_own_document_unless_told_otherwise(zarr_format):
    store = built(zarr_format)
    spoiled(store, zarr_format, lambda block: block.update(metadata=5))
    store.clear()
    for consolidated in (None, False):
        assert open_array(store, "g/b", zarr_format=zarr_format, consolidated=consolidated).attrs == {"is": "g/b"}
    assert set(store.keys()) == ({"g/b/zarr.json"} if zarr_format == 3 else {"g/b/.zarray", "g/b/.zattrs"})
    with pytest.raises(MetadataError):
        open_array(store, "g/b", consolidated=True)


@both_formats
def test_what_is_not_listed_does_not_exist(zarr_format):
    store = built(zarr_format)
    top = open_group(store)
    for key in list(store.store.mapping):
        if key.startswith("a/"):
            store.store.mapping["new" + key[1:]] = store.store.mapping[key]
    store.clear()
    assert "new" not in top
    assert "new" not in list(top)
    with pytest.raises(NodeNotFoundError, match="consolidated=False") as caught:
        top["new"]
    assert (caught.value.url, caught.value.node) == (store.url, "new")
    with pytest.raises(NodeNotFoundError):
        top["a/b"]
    assert store.requests == []
    assert "new" in open_group(store, consolidated=False)
    with pytest.raises(NodeNotFoundError):
        open_array(store, "new", consolidated=True)
    with pytest.raises(NodeNotFoundError, match="component="):
        open_array(store, consolidated=True)
    with pytest.raises(NodeNotFoundError, match="component="):
        open_array(store, "g", consolidated=True)


@both_formats
def test_metadata_that_have_to_be_there_are_asked_for(zarr_format):
    store = build(zarr_format)
    for look in (lambda: open_group(store, consolidated=True), lambda: open_array(store, "a", consolidated=True)):
        with pytest.raises(NodeNotFoundError, match=r"consolidate\(url\)") as caught:
            look()
        assert KEY[zarr_format] in str(caught.value)
        assert caught.value.node == ""
    assert open_group(store).consolidated is None
    consolidate(store)
    assert open_group(store, consolidated=True).consolidated is not None
    assert open_group(store, consolidated=False).consolidated is None
    with pytest.raises(NodeNotFoundError):
        open_group(store, "x", consolidated=True)
    with pytest.raises(MetadataError, match="consolidated"):
        open_group(store, consolidated="yes")


@both_formats
def test_a_group_is_opened_by_what_the_one_above_lists(zarr_format):
    store = built(zarr_format)
    consolidate(store)
    group = open_group(store, "g", consolidated=True)
    assert (group.location.path, open_group(store, "g").consolidated) == ("g", None)
    store.clear()
    assert [path for path, _ in group.walk()] == ["b", "h", "h/c"]
    assert store.requests == []
    for path in ("g/b", "new"):  # an array, and nothing at all
        with pytest.raises(NodeNotFoundError) as caught:
            open_group(store, path, consolidated=True)
        assert caught.value.node == path
    consolidate(store, "g")  # its own go before
    assert open_group(store, "g", consolidated=True).consolidated.top == "g"


@both_formats
def test_a_group_opened_on_its_own_does_not_see_what_is_above(zarr_format):
    store = built(zarr_format)
    assert open_group(store, "g").consolidated is None
    consolidate(store, "g")
    group = open_group(store, "g")
    store.clear()
    assert [path for path, _ in group.walk()] == ["b", "h", "h/c"]
    assert group["h"]["c"].location.path == "g/h/c"
    assert store.requests == []


@both_formats
def test_documents_travel_with_the_group_and_with_nothing_else(zarr_format):
    store = build(zarr_format, MappingStore({}))
    consolidate(store)
    top = open_group(store)
    assert len(pickle.dumps(top["g/b"])) <= len(pickle.dumps(open_array(store, "g/b")))
    assert "zarr_format" not in repr(top).replace("zarr_format=", "")
    copy = pickle.loads(pickle.dumps(top))
    assert copy == top
    assert list(copy.walk()) == list(top.walk())
    assert hash(top) == hash(open_group(store, consolidated=False))


@both_formats
def test_ten_thousand_nodes_are_one_request(zarr_format):
    store = build(zarr_format)
    consolidate(store)
    entries = block(store, zarr_format)
    many = {}
    for i in range(10_000):
        many |= {f"v{i:05}{key[1:]}": entry for key, entry in entries.items() if key == "a" or key.startswith("a/")}
    own = {key: entry for key, entry in entries.items() if key in (".zgroup", ".zattrs")}
    spoiled(store, zarr_format, lambda block: block.update(metadata=own | many))
    store.clear()
    top = open_group(store, zarr_format=zarr_format)
    assert len(list(top)) == 10_000
    assert len(store.requests) == 1
    assert top["v00700"].dimension_names == ("y", "x")
    for opened in (open_array, from_zarr):
        store.clear()
        assert opened(store, "v09999", zarr_format=zarr_format, consolidated=True).shape == (4, 6)
        assert len(store.requests) == 1


@both_formats
def test_a_group_on_a_web_server_is_browsed(zarr_format):
    store = MappingStore({})
    to_zarr(da.from_array(np.arange(6), chunks=2), store, "g/a", zarr_format=zarr_format)
    consolidate(store)
    with WebServer({f"d/{key}": bytes(value) for key, value in store.mapping.items()}) as server:
        top = open_group(f"{server.url}/d", zarr_format=zarr_format)
        assert [path for path, _ in top.walk()] == ["g", "g/a"]
        np.testing.assert_array_equal(from_zarr(top["g"]["a"]).compute(), np.arange(6))


# Foreign metadata


def test_trees_of_v3_are_merged_and_the_outermost_copy_wins():
    store = built()
    entries = block(store, 3)
    inner = {"kind": "inline", "must_understand": False, "metadata": {"c": entries["g/h/c"]}}
    outer = {
        "kind": "inline",
        "metadata": {"b": entries["a"], "h": {**entries["g/h"], "consolidated_metadata": inner}},
    }
    tree = {"a": entries["a"], "g": {**entries["g"], "consolidated_metadata": outer}, "g/b": entries["g/b"]}
    expected = list(open_group(store).walk())
    spoiled(store, 3, lambda block: block.update(metadata=tree))
    assert list(open_group(store).walk()) == expected
    array(store, "g/h/n")
    check_true(store, 3)


@pytest.mark.parametrize("value", [None, {"kind": "database", "at": "x"}, {"kind": ["inline"]}, {}])
def test_metadata_of_an_unknown_kind_are_not_used(value):
    store = built()
    document = stored(store, "zarr.json") | {"consolidated_metadata": value}
    store.set("zarr.json", json.dumps(document).encode())
    top = open_group(store)
    assert top.consolidated is None
    assert [path for path, _ in top.walk()] == PATHS
    with pytest.raises(NodeNotFoundError, match="no consolidated"):
        open_group(store, consolidated=True)
    create_group(store, "n")
    if value:
        assert not has_block(store, 3)  # nobody knows how to keep it true


@pytest.mark.parametrize("change", [lambda s: delete_node(s, "a"), lambda s: update_attributes(s, {"n": 1}, "a")])
def test_metadata_of_an_unknown_kind_are_dropped_when_something_changes(change):
    store = built()
    spoiled(store, 3, lambda block: block.update(kind="database"))
    change(store)
    assert not has_block(store, 3)
    assert stored(store, "zarr.json")["attributes"] == {"is": "top"}


def test_members_that_zarr_python_puts_in_copies_of_groups_are_ignored():
    store = built(2)
    spoiled(store, 2, lambda block: block["metadata"]["g/.zgroup"].update(consolidated_metadata={"metadata": {}}))
    group = open_group(store)["g"]
    assert group == open_group(store, "g")
    assert group.metadata.extra_fields == {}


def test_keys_of_other_documents_in_zmetadata_are_kept():
    store = built(2)
    spoiled(store, 2, lambda block: block["metadata"].update({"g/.nczgroup": 5, "g/x/.zattrs": {"lost": 1}, "note": 7}))
    top = open_group(store)
    assert [path for path, _ in top.walk()] == PATHS
    assert "g/x" not in top
    create_group(store, "n", zarr_format=2)
    assert block(store, 2)["g/.nczgroup"] == 5
    assert block(store, 2)["note"] == 7
    delete_node(store, "g")
    assert [key for key in block(store, 2) if key.startswith("g")] == []


def test_documents_of_attributes_may_be_missing():
    store = built(2)
    spoiled(store, 2, lambda block: [block["metadata"].pop(key) for key in (".zattrs", "a/.zattrs", "g/.zattrs")])
    top = open_group(store)
    assert (top.attrs, top["a"].attrs, top["g"].attrs) == ({}, {}, {})


def test_a_node_below_a_group_that_is_not_listed_is_there_and_not_listed():
    for zarr_format in (2, 3):
        store = built(zarr_format)
        spoiled(store, zarr_format, lambda b: [b["metadata"].pop(k, 0) for k in ("g", "g/.zgroup", "g/.zattrs")])
        top = open_group(store)
        assert [path for path, _ in top.walk()] == ["a"]
        assert top["g/b"].shape == (4, 6)
        assert "g" not in top


# Damage


def name_of(path, zarr_format):
    return path if zarr_format == 3 else f"{path}/.zgroup"


@both_formats
@pytest.mark.parametrize(
    "path", ["..", "../a", "a/../b", "/a", "a//b", "a/", ".", "g/./x", "a\\..\\b", "a\0", "...", "/"]
)
def test_paths_that_lead_elsewhere_are_refused(zarr_format, path):
    store = built(zarr_format)
    group = stored(store, "g/zarr.json" if zarr_format == 3 else "g/.zgroup")
    spoiled(store, zarr_format, lambda block: block["metadata"].update({name_of(path, zarr_format): group}))
    with pytest.raises(MetadataError, match="consolidated=False") as caught:
        open_group(store)
    assert repr(name_of(path, zarr_format)) in caught.value.field
    assert (caught.value.url, caught.value.node) == (store.url, "")
    assert [path for path, _ in open_group(store, consolidated=False).walk()] == PATHS
    before = dict(store.store.mapping)
    for change in (
        lambda: create_group(store, "n", zarr_format=zarr_format),
        lambda: array(store, "a", zarr_format, overwrite=True),
        lambda: delete_node(store, "a"),
        lambda: update_attributes(store, {"n": 1}, "a"),
        lambda: copy_node(store, store, "a", "n"),
    ):
        with pytest.raises(MetadataError):
            change()
    assert store.store.mapping == before
    consolidate(store)
    check_true(store, zarr_format)


def test_an_empty_path_is_refused_in_v3():
    store = built()
    spoiled(store, 3, lambda block: block["metadata"].update({"": block["metadata"]["g"]}))
    with pytest.raises(MetadataError):
        open_group(store)


@both_formats
@pytest.mark.parametrize("value", [None, 1, "text", [], True, [1]])
def test_copies_that_are_no_objects_are_refused(zarr_format, value):
    store = built(zarr_format)
    key = "g" if zarr_format == 3 else "g/.zgroup"
    spoiled(store, zarr_format, lambda block: block["metadata"].update({key: value}))
    with pytest.raises(MetadataError) as caught:
        open_group(store)
    assert repr(key) in caught.value.field
    spoiled(store, zarr_format, lambda block: block.update(metadata=value))
    with pytest.raises(MetadataError) as caught:
        open_group(store)
    assert "metadata" in caught.value.field


@pytest.mark.parametrize("number", [0, 2, "1", None, True, 1.0, [1]])
def test_another_format_number_of_zmetadata_is_refused(number):
    store = built(2)
    spoiled(store, 2, lambda block: block.update(zarr_consolidated_format=number))
    with pytest.raises(MetadataError) as caught:
        open_group(store)
    assert caught.value.field == "zarr_consolidated_format"


def test_a_block_of_v3_that_is_no_object_is_refused():
    store = built()
    for value in (1, [], "inline", True):
        store.set("zarr.json", json.dumps(stored(store, "zarr.json") | {"consolidated_metadata": value}).encode())
        with pytest.raises(MetadataError) as caught:
            open_group(store)
        assert caught.value.field == "consolidated_metadata"


def test_a_zmetadata_without_its_group_is_refused():
    store = built(2)
    spoiled(store, 2, lambda block: block["metadata"].pop(".zgroup"))
    with pytest.raises(MetadataError, match=r"\.zgroup"):
        open_group(store)


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b""])
def test_a_zmetadata_that_is_no_json_object_is_refused(text):
    store = built(2)
    store.set(".zmetadata", text)
    with pytest.raises(MetadataError, match="zmetadata"):
        open_group(store)
    consolidate(store)
    check_true(store, 2)


@both_formats
@pytest.mark.parametrize("path", ["a/x", "g/b/x/y", "a/0"])
def test_nodes_below_arrays_are_refused(zarr_format, path):
    store = built(zarr_format)
    group = stored(store, "g/zarr.json" if zarr_format == 3 else "g/.zgroup")
    kind, name = ("", "a-b") if zarr_format == 3 else ("/.zarray", "a-b/.zarray")
    copy = block(store, zarr_format)["a" + kind]  # sorted as text, "a-b" stands between "a" and "a/x"
    extra = {name: copy, f"g/b-c{kind}": copy, name_of("a.b/c", zarr_format): group}
    spoiled(store, zarr_format, lambda block: block["metadata"].update(extra))
    open_group(store)
    spoiled(store, zarr_format, lambda block: block["metadata"].update({name_of(path, zarr_format): group}))
    with pytest.raises(MetadataError, match="below an array") as caught:
        open_group(store)
    assert repr(path) in str(caught.value)


@both_formats
def test_a_damaged_copy_is_found_when_somebody_asks_for_it(zarr_format):
    store = built(zarr_format)
    key = "g/b" if zarr_format == 3 else "g/b/.zarray"
    spoiled(store, zarr_format, lambda block: block["metadata"][key].pop("shape"))
    top = open_group(store)
    assert list(top["g"]) == ["b", "h"]
    assert "g/b" in top
    assert top["g/h/c"].shape == (4, 6)
    for look in (lambda: top["g/b"], lambda: top["g"].children(), lambda: list(top.walk())):
        with pytest.raises(MetadataError, match="shape") as caught:
            look()
        assert (caught.value.url, caught.value.node) == (store.url, "g/b")
    assert "├── b  damaged: " in top.tree()


@pytest.mark.parametrize("depth", [50, 900, 5_000, 100_000])
def test_deep_trees_are_read_or_refused(depth):
    document = '{"zarr_format": 3, "node_type": "group"'
    text = document + (', "consolidated_metadata": {"kind": "inline", "metadata": {"a": ' + document) * depth
    store = MappingStore({"zarr.json": (text + "}" * (3 * depth + 1)).encode()})
    try:
        top = open_group(store)
        assert len(list(top.walk())) == depth
        top.tree()
        create_group(store, "b")
    except MetadataError:
        assert depth >= 50


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
mangled = st.dictionaries(
    st.sampled_from(
        ["a", "a/b", "g", "", "/", "..", "a/.zarray", ".zgroup", "a/.zgroup", ".zattrs", "g/.zattrs", "\\", "a/b/c/d"]
    ),
    json_values
    | st.fixed_dictionaries(
        {"zarr_format": st.sampled_from([2, 3, 1]), "node_type": st.sampled_from(["array", "group", 1])},
        optional={"consolidated_metadata": json_values, "attributes": json_values, "shape": json_values},
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(metadata=mangled | json_values, zarr_format=st.sampled_from([2, 3]), other=json_values)
def test_mangled_metadata_raise_our_errors_and_no_others(metadata, zarr_format, other):
    head = {"zarr_format": 3, "node_type": "group"}
    inline = {"kind": "inline", "metadata": metadata}
    if zarr_format == 3:
        values = {"zarr.json": json.dumps(head | {"consolidated_metadata": inline})}
    else:
        number = 1 if other is None or isinstance(metadata, dict) else other
        values = {".zmetadata": json.dumps({"zarr_consolidated_format": number, "metadata": metadata})}
        values[".zgroup"] = '{"zarr_format": 2}'
    store = {key: text.encode() for key, text in values.items()}
    for use in (
        lambda: [top := open_group(store), top.tree(), list(top), list(top.walk())],
        lambda: [open_group(store)[path] for path in ("a", "g")],
        lambda: create_group(store, "n", zarr_format=zarr_format),
        lambda: update_attributes(store, {"n": 1}, "n"),
        lambda: delete_node(store, "n"),
        lambda: consolidate(store),
    ):
        try:
            use()
        except DaskZarrError as error:
            pickle.loads(pickle.dumps(error))


# Writing


def test_what_is_written_in_v3_is_exact():
    store = build()
    before = {key: bytes(value) for key, value in store.store.mapping.items()}
    group = consolidate(store)
    assert store.keys("set") == ["zarr.json"]
    assert [path for path, _ in group.walk()] == PATHS
    after = {key: bytes(value) for key, value in store.store.mapping.items()}
    documents = {path: json.loads(before[f"{path}/zarr.json"]) for path in PATHS}
    assert json.loads(after.pop("zarr.json")) == json.loads(before.pop("zarr.json")) | {
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": documents}
    }
    assert after == before


def test_what_is_written_in_v2_is_exact():
    store = build(2)
    before = {key: bytes(value) for key, value in store.store.mapping.items()}
    group = consolidate(store)
    assert store.keys("set") == [".zmetadata"]
    assert [path for path, _ in group.walk()] == PATHS
    after = {key: bytes(value) for key, value in store.store.mapping.items()}
    expected = {key: json.loads(text) for key, text in before.items()}
    assert json.loads(after.pop(".zmetadata")) == {"zarr_consolidated_format": 1, "metadata": expected}
    assert after == before
    assert expected["g/.zgroup"] == {"zarr_format": 2}


@both_formats
def test_consolidating_again_changes_nothing(zarr_format):
    store = built(zarr_format)
    before = bytes(store.get(KEY[zarr_format]))
    consolidate(store)
    assert bytes(store.get(KEY[zarr_format])) == before
    consolidate(open_group(store))
    assert bytes(store.get(KEY[zarr_format])) == before


@both_formats
def test_a_group_below_can_be_consolidated_on_its_own(zarr_format):
    store = built(zarr_format)
    before = block(store, zarr_format)
    consolidate(store, "g")
    assert block(store, zarr_format) == before
    consolidate(store)
    assert block(store, zarr_format) == before
    check_true(store, zarr_format, "g")


def test_numbers_that_json_has_no_token_for_stay_as_they_were():
    for zarr_format, key in ((2, "a/.zattrs"), (3, "a/zarr.json")):
        store = build(zarr_format)
        text = bytes(store.get(key)).replace(
            b'"is": "a"', b'"is": "a", "_FillValue": NaN, "big": 123456789012345678901'
        )
        store.set(key, text)
        consolidate(store)
        found = open_group(store)["a"].attrs
        assert np.isnan(found["_FillValue"])
        assert found["big"] == 123456789012345678901
        create_group(store, "n", zarr_format=zarr_format)
        assert np.isnan(open_group(store)["a"].attrs["_FillValue"])


def test_consolidating_what_cannot_be():
    store = build()
    store.set("g/b/zarr.json", b"{")
    before = dict(store.store.mapping)
    with pytest.raises(MetadataError) as caught:
        consolidate(store)
    assert caught.value.node == "g/b"
    with pytest.raises(NodeNotFoundError):
        consolidate(store, "x")
    with pytest.raises(NodeNotFoundError, match="array"):
        consolidate(store, "a")
    assert store.store.mapping == before
    create_group(n5 := {}, zarr_format="n5")
    for zarr_format in (None, "n5"):
        with pytest.raises(UnsupportedError, match="N5"):
            consolidate(n5, zarr_format=zarr_format)
    with pytest.raises(NodeNotFoundError):
        open_group(n5, consolidated=True)


@pytest.mark.parametrize(("home", "other"), [(2, 3), (3, 2), (3, "n5")])
def test_nodes_of_other_formats_cannot_be_consolidated(home, other):
    store = build(home)
    array(store, "g/other", other)
    with pytest.raises(UnsupportedError, match="another format") as caught:
        consolidate(store)
    assert caught.value.node == "g/other"
    assert not has_block(store, home)


def test_listing_of_many_groups_overlaps():
    together = threading.Barrier(4, timeout=30)

    class Meeting(MappingStore):
        def list_dir(self, prefix):
            if prefix:
                together.wait()  # goes on only once four are listed at the same time
            return super().list_dir(prefix)

    create_group(store := Meeting({}))
    text = store.get("zarr.json")
    for i in range(64):
        store.set(f"g{i}/zarr.json", text)
    assert len(consolidate(store)) == 64


# Kept true

CHANGES = {
    "a new group": lambda store, z: create_group(store, "g/n", attributes={"n": 1}, zarr_format=z),
    "new groups above": lambda store, z: array(store, "g/n/o/p", z),
    "a new array": lambda store, z: array(store, "n", z, dimension_names=["u", None]),
    "a written array": lambda store, z: to_zarr(da.ones(4, chunks=2), store, "g/h/n", zarr_format=z),
    "an array in the place of an array": lambda store, z: array(store, "g/b", z, (3,), overwrite=True),
    "an array in the place of a group": lambda store, z: array(store, "g", z, (3,), overwrite=True),
    "a group in the place of a group": lambda store, z: create_group(store, "g", zarr_format=z, overwrite=True),
    "mode w": lambda store, z: to_zarr(da.ones(4, chunks=2), store, "g/b", mode="w", zarr_format=z),
    "attributes of an array": lambda store, z: update_attributes(store, {"n": [1]}, "g/h/c"),
    "attributes of a group": lambda store, z: update_attributes(store, {"n": 2}, "g"),
    "attributes of the top": lambda store, z: update_attributes(store, {"n": 3}),
    "other attributes": lambda store, z: update_attributes(store, {}, "a", replace=True),
    "one array less": lambda store, z: delete_node(store, "g/b"),
    "one group less": lambda store, z: delete_node(store, "g"),
    "a copied array": lambda store, z: copy_node(store, store, "a", "g/h/n"),
    "a copied group": lambda store, z: copy_node(store, store, "g", "n/o"),
    "a copy in the place of a group": lambda store, z: copy_node(store, store, "a", "g", overwrite=True),
    "an outer group": lambda store, z: copy_node(build(z), store, "g", "a", overwrite=True),
}


@both_formats
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_changes_keep_them_true(zarr_format, change):
    store = built(zarr_format)
    consolidate(store, "g")
    change(store, zarr_format)
    if has_block(store, zarr_format, "g"):
        check_true(store, zarr_format, "g")
    check_true(store, zarr_format)


@both_formats
def test_changes_keep_what_zarr_python_wrote_true(zarr_format, tmp_path):
    build(zarr_format, LocalStore(str(tmp_path)))
    for change in CHANGES.values():
        zarr.consolidate_metadata(tmp_path, zarr_format=zarr_format)
        try:
            change(tmp_path, zarr_format)
        except (NodeExistsError, NodeNotFoundError):
            continue
        plain = list(open_group(tmp_path, zarr_format=zarr_format, consolidated=False).walk())
        assert list(open_group(tmp_path, zarr_format=zarr_format, consolidated=True).walk()) == plain


@both_formats
def test_unchanged_groups_stay_unconsolidated(zarr_format):
    store = build(zarr_format)
    for name, change in CHANGES.items():
        try:
            change(store, zarr_format)
        except (NodeExistsError, NodeNotFoundError):
            continue
        assert not any(has_block(store, zarr_format, path) for path in ("", "g", "n")), name


def test_members_of_the_groups_document_are_kept():
    store = built()
    extra = {"name_of_ours": {"must_understand": False, "x": 1}}
    document = stored(store, "zarr.json") | extra
    document["consolidated_metadata"]["note"] = 7
    store.set("zarr.json", json.dumps(document).encode())
    create_group(store, "n")
    update_attributes(store, {"m": 1})
    after = stored(store, "zarr.json")
    assert after["name_of_ours"] == extra["name_of_ours"]
    assert after["consolidated_metadata"]["note"] == 7
    assert after["attributes"] == {"is": "top", "m": 1}
    assert "n" in after["consolidated_metadata"]["metadata"]


@pytest.mark.parametrize(("home", "other"), [(2, 3), (3, 2), (3, "n5"), (2, "n5")])
@pytest.mark.parametrize("place", ["n", "g/h/n"])
def test_metadata_that_cannot_list_a_node_are_dropped(home, other, place):
    store = built(home)
    consolidate(store, "g")
    array(store, place, other)
    assert not has_block(store, home)
    assert has_block(store, home, "g") == (place == "n")
    assert open_group(store)["a"].shape == (4, 6)
    assert place in open_group(store)
    assert stored(store, "zarr.json" if home == 3 else ".zattrs") is not None


def test_both_formats_in_one_store_are_each_kept_true():
    old, new = built(2).store.mapping, built(3).store.mapping
    store = MappingStore(old | new)
    delete_node(store, "g/b")
    for zarr_format in (2, 3):
        check_true(store, zarr_format)
        assert "g/b" not in open_group(store, zarr_format=zarr_format)
    array(store, "a", 3, (3,), overwrite=True)
    assert "a" not in {key.partition("/")[0] for key in block(store, 2)}
    check_true(store, 3)


@both_formats
def test_an_entry_is_gone_before_the_node_and_there_after_it(zarr_format):
    store = built(zarr_format)
    key = KEY[zarr_format]
    delete_node(store, "g/b")
    changes = [request for request in store.requests if request.kind in ("set", "delete_below")]
    assert changes == [("set", key), ("delete_below", "g/b")]
    store.clear()
    array(store, "g/n/b", zarr_format)
    assert store.keys("set")[-1] == key
    assert store.keys("set").count(key) == 1
    store.clear()
    array(store, "g/n/b", zarr_format, overwrite=True)
    changes = [request for request in store.requests if request.kind in ("set", "delete_below")]
    assert changes[:2] == [("set", key), ("delete_below", "g/n/b")]
    assert changes[-1] == ("set", key)
    store.clear()
    update_attributes(store, {"n": 1}, "g/n/b")
    assert store.keys("set") == ["g/n/b/.zattrs" if zarr_format == 2 else "g/n/b/zarr.json", key]


@both_formats
@pytest.mark.parametrize("failing", ["own document", "metadata"])
def test_a_change_that_fails_midway_lists_nothing_that_is_not_there(zarr_format, failing):
    store = built(zarr_format)
    own = "g/n/zarr.json" if zarr_format == 3 else "g/n/.zarray"
    faulty = FaultyStore(store, {own if failing == "own document" else KEY[zarr_format]: OSError("broken")}, on=["set"])
    before = dict(open_group(store).walk())
    with pytest.raises(OSError, match="broken"):
        array(faulty, "g/n", zarr_format)
    assert dict(open_group(store).walk()) == before
    with pytest.raises(OSError, match="broken"):
        copy_node(faulty, faulty, "a", "g/n") if failing == "own document" else delete_node(faulty, "a")
    if failing == "metadata":
        assert dict(open_group(store, consolidated=False).walk())["a"] == before["a"]


@both_formats
def test_threads_do_not_undo_each_others_entries(zarr_format, tmp_path):
    store = LocalStore(str(tmp_path))
    build(zarr_format, store)
    consolidate(store)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: array(store, f"g/n{i}", zarr_format), range(16)))
        list(pool.map(lambda i: update_attributes(store, {f"k{i}": i}, "g"), range(16)))
    assert len(open_group(store)["g"].attrs) == 17
    check_true(store, zarr_format)


def test_what_a_creation_costs():
    store = built()
    array(store, "g/n")
    assert store.count()["set"] == 2
    assert len(store.keys("get", "get_many")) == 2 + 4 + 1  # groups above, the place itself, and the register once more
    store = build(2)
    array(store, "g/n", 2)
    assert store.keys("get").count(".zmetadata") == 1
    assert store.keys("get").count("g/.zmetadata") == 1
    assert not any(key.endswith(".zattrs") for key in store.keys("get"))


# With other implementations


def seen_by_zarr(group):
    """Path -> shape, dtype and attributes, as zarr-python has them."""
    return {
        path: (node.shape, str(node.dtype), dict(node.attrs)) if isinstance(node, zarr.Array) else dict(node.attrs)
        for path, node in group.members(max_depth=None)
    }


def seen_by_us(group, zarr_format):
    def of(node):
        attributes = dict(node.attrs)
        if not isinstance(node, StoredArray):
            return attributes
        if zarr_format == 2 and node.dimension_names is not None:
            attributes["_ARRAY_DIMENSIONS"] = list(node.dimension_names)
        return node.shape, str(node.dtype), attributes

    return {path: of(node) for path, node in group.walk()}


@both_formats
def test_zarr_python_reads_ours(zarr_format, tmp_path):
    build(zarr_format, LocalStore(str(tmp_path)))
    ours = consolidate(tmp_path)
    for part in (tmp_path / "g").rglob("*"):
        if part.is_file():
            part.unlink()  # it has to come from the consolidated metadata
    theirs = zarr.open_group(tmp_path, mode="r", use_consolidated=True, zarr_format=zarr_format)
    assert theirs.metadata.consolidated_metadata is not None
    assert seen_by_zarr(theirs) == seen_by_us(ours, zarr_format)
    assert seen_by_zarr(theirs["g"]) == seen_by_us(ours["g"], zarr_format)
    assert theirs["g/h/c"].shape == (4, 6)


@both_formats
def test_zarr_pythons_are_read(zarr_format, tmp_path):
    theirs = zarr.create_group(tmp_path, zarr_format=zarr_format, attributes={"t": 1})
    theirs.create_group("g/h", attributes={"u": 2})
    theirs.create_array("g/h/c", shape=(4, 6), chunks=(2, 3), dtype="float32", attributes={"w": 3})
    theirs.create_array("a", shape=(5,), chunks=(2,), dtype="int8")
    zarr.consolidate_metadata(tmp_path, zarr_format=zarr_format)
    store = RecordingStore(LocalStore(str(tmp_path)))
    ours = open_group(store, zarr_format=zarr_format, consolidated=True)
    assert store.requests == [("get", KEY[zarr_format])]
    assert seen_by_us(ours, zarr_format) == seen_by_zarr(theirs)
    assert ours["g"].consolidated is not None
    assert ours.attrs == {"t": 1}
    assert len(store.requests) == 1
    assert list(ours.walk()) == list(open_group(store, consolidated=False).walk())


@both_formats
def test_xarray_reads_ours(zarr_format, tmp_path):
    cells = distinct_values((4, 6), "float32")
    create_group(tmp_path, attributes={"title": "t"}, zarr_format=zarr_format)
    for name, names in (("a", ["y", "x"]), ("b", ["x", "y"])):
        values = cells if names[0] == "y" else cells.T
        to_zarr(
            da.from_array(values, chunks=(2, 2)),
            tmp_path,
            name,
            dimension_names=names,
            zarr_format=zarr_format,
            attributes={"units": "m"},
            fill_value=float("nan"),
        )
    consolidate(tmp_path)
    to_zarr(da.arange(6, chunks=6), tmp_path, "x", dimension_names=["x"], zarr_format=zarr_format, fill_value=None)
    with xarray.open_zarr(tmp_path, consolidated=True, zarr_format=zarr_format) as dataset:
        assert set(dataset.variables) == {"a", "b", "x"}
        assert dataset.attrs == {"title": "t"}
        assert dataset["a"].attrs == {"units": "m"}
        np.testing.assert_array_equal(dataset["a"].values, cells)
        np.testing.assert_array_equal(dataset["b"].values, cells.T)


@both_formats
def test_xarrays_are_read(zarr_format, tmp_path):
    cells = distinct_values((4, 6), "float32")
    dataset = xarray.Dataset({"a": (("y", "x"), cells, {"units": "m"})}, coords={"x": np.arange(6)})
    dataset.to_zarr(tmp_path / "d", consolidated=True, zarr_format=zarr_format)
    ours = open_group(tmp_path / "d", consolidated=True)
    assert list(ours) == ["a", "x"]
    assert ours["a"].dimension_names == ("y", "x")
    np.testing.assert_array_equal(from_zarr(ours["a"]).compute(), cells)
    update_attributes(tmp_path / "d", {"units": "km"}, "a")
    with xarray.open_zarr(tmp_path / "d", consolidated=True, zarr_format=zarr_format) as again:
        assert again["a"].attrs["units"] == "km"


# Laws

names = st.sampled_from(["a", "b", "a.b"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
tops = st.just("") | names
operations = st.one_of(
    st.tuples(st.just("group"), paths, st.booleans()),
    st.tuples(st.just("array"), paths, st.booleans()),
    st.tuples(
        st.just("update"), st.just("") | paths, st.dictionaries(st.sampled_from("xy"), st.integers(), max_size=2)
    ),
    st.tuples(st.just("delete"), paths, st.just(None)),
    st.tuples(st.just("copy"), paths, paths),
    st.tuples(st.just("copy over"), paths, paths),
    st.tuples(st.just("consolidate"), tops, st.just(None)),
)


def apply(store, zarr_format, operation, path, extra):
    """One change; what cannot be has to be refused as such."""
    try:
        if operation == "group":
            create_group(store, path, zarr_format=zarr_format, overwrite=extra, attributes={"is": path})
        elif operation == "array":
            array(store, path, zarr_format, (3,), overwrite=extra)
        elif operation == "update":
            update_attributes(store, extra, path)
        elif operation == "delete":
            delete_node(store, path)
        elif operation == "consolidate":
            consolidate(store, path)
        else:
            copy_node(store, store, path, extra, overwrite=operation == "copy over")
    except (NodeExistsError, NodeNotFoundError):
        pass


@settings(max_examples=60, deadline=None)
@given(zarr_format=st.sampled_from([2, 3]), changes=st.lists(operations, min_size=1, max_size=12))
def test_all_views_of_a_hierarchy_are_one(zarr_format, changes):
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        create_group(store, zarr_format=zarr_format)
        consolidate(store)
        for change in changes:
            apply(store, zarr_format, *change)
        plain = open_group(store, zarr_format=zarr_format, consolidated=False)
        nodes = list(plain.walk())
        assert list(open_group(store, zarr_format=zarr_format, consolidated=True).walk()) == nodes
        for use in (True, False):
            theirs = zarr.open_group(folder, mode="r", use_consolidated=use, zarr_format=zarr_format)
            assert seen_by_zarr(theirs) == seen_by_us(plain, zarr_format)
        for path in ["", *(path for path, node in nodes if not isinstance(node, StoredArray))]:
            if has_block(store, zarr_format, path):
                check_true(store, zarr_format, path)


@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(operations, st.sampled_from([2, 3, "n5"])), max_size=12))
def test_hierarchies_of_mixed_formats_show_all_there_is(changes):
    store = MappingStore({})
    create_group(store)
    for change, zarr_format in changes:
        try:
            apply(store, zarr_format, *change)
        except UnsupportedError:
            assert change[0] == "consolidate"
    for path, node in open_group(store, consolidated=False).walk():
        if not isinstance(node, StoredArray):
            below = open_group(node, consolidated=False)
            assert list(open_group(node).walk()) == list(below.walk()), path
    assert list(open_group(store).walk()) == list(open_group(store, consolidated=False).walk())


def test_a_node_that_a_new_group_brings_to_light_is_listed():
    """A folder that was no group of v3 had one of N5 in it."""
    store = MappingStore({})
    create_group(store)
    create_group(store, "a/b", zarr_format="n5")
    consolidate(store, zarr_format=3)
    create_group(store, "a", zarr_format=3)
    assert [path for path, _ in open_group(store).walk()] == ["a", "a/b"]
