"""Nodes changed where they are stored: attributes, deleting, copying; what stays untouched, and what it costs."""

import json
import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from daskzarr import (
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    StoredArray,
    StoredGroup,
    StoreError,
    UnsupportedError,
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
from daskzarr.stores import LocalStore, MappingStore, open_store
from daskzarr.testing import FaultyStore, RecordingStore, distinct_values

FORMATS = [2, 3, "n5"]
every_format = pytest.mark.parametrize("zarr_format", FORMATS)
CELLS = distinct_values((4, 6), "int32", start=1)


@pytest.fixture
def store():
    """An empty store that counts."""
    return RecordingStore(MappingStore({}))


def contents(store):
    """Every key and value of a mapping."""
    return {key: bytes(value) for key, value in getattr(store, "store", store).mapping.items()}


def put_array(store, path="a", zarr_format=3, cells=CELLS, **options):
    to_zarr(da.from_array(cells, chunks=(2, 3)), store, path, zarr_format=zarr_format, **options)


def build(store, zarr_format=3):
    """A group ``g`` with arrays and groups below it, and an array beside it."""
    create_group(store, attributes={"is": "top"}, zarr_format=zarr_format)
    create_group(store, "g", attributes={"is": "g"}, zarr_format=zarr_format)
    put_array(store, "g/a", zarr_format)
    put_array(store, "g/h/b", zarr_format, CELLS + 100)
    put_array(store, "a", zarr_format, CELLS + 200)
    if isinstance(store, RecordingStore):
        store.clear()
    return store


def documents(zarr_format, path, kind="array"):
    """Keys of a node's documents; of v2 that of the attributes comes second."""
    names = {3: ["zarr.json"], "n5": ["attributes.json"], 2: [".zarray" if kind == "array" else ".zgroup", ".zattrs"]}
    return [f"{path}/{name}" if path else name for name in names[zarr_format]]


# Attributes


@every_format
@pytest.mark.parametrize("path", ["a", "g", "g/h/b", None])
def test_attributes_are_merged(store, zarr_format, path):
    build(store, zarr_format)
    update_attributes(store, {"x": 1, "y": {"z": [1, 2]}}, path)
    before = dict(open_group(store, zarr_format=zarr_format)[path or ""].attrs)
    node = update_attributes(store, {"x": 2, "w": None}, path)
    assert node.attrs == before | {"x": 2, "w": None}
    assert node == (open_group(store) if path is None else open_group(store)[path])
    np.testing.assert_array_equal(from_zarr(store, "a").compute(), CELLS + 200)


@every_format
def test_attributes_are_replaced(store, zarr_format):
    build(store, zarr_format)
    update_attributes(store, {"x": 1}, "g")
    assert update_attributes(store, {"y": 2}, "g", replace=True).attrs == {"y": 2}
    assert update_attributes(store, {}, "g", replace=True).attrs == {}
    assert open_group(store, "g").attrs == {}


@every_format
def test_one_document_changes_and_in_it_the_attributes_alone(store, zarr_format):
    build(store, zarr_format)
    for path, kind in (("a", "array"), ("g", "group"), ("", "group")):
        before = contents(store)
        update_attributes(store, {"x": 1}, path)
        after = contents(store)
        key = documents(zarr_format, path, kind)[-1]
        assert {name for name in after if after[name] != before.get(name)} == {key}
        old, new = json.loads(before.get(key, b"{}")), json.loads(after[key])
        if zarr_format == 3:
            assert new == old | {"attributes": old["attributes"] | {"x": 1}}
        else:
            assert new == old | {"x": 1}


@every_format
def test_opened_nodes_know_where_they_are(store, zarr_format):
    build(store, zarr_format)
    array, group = open_array(store, "a"), open_group(store, "g")
    store.clear()
    assert update_attributes(array, {"x": 1}).attrs == {"x": 1}
    assert update_attributes(group, {"x": 1}, "a").attrs == {"x": 1}
    assert update_attributes(group, {"x": 1}).attrs == {"is": "g", "x": 1}
    assert array.attrs == {}  # a value


@pytest.mark.parametrize(("zarr_format", "gets"), [(3, 2), (2, 4), ("n5", 1)])
def test_what_an_update_costs(store, zarr_format, gets):
    build(store, zarr_format)
    update_attributes(store, {"x": 1}, "a", zarr_format=zarr_format)
    assert store.count() == {"get": gets - (zarr_format == 2), "set": 1}


def test_attributes_are_converted_and_checked(store):
    build(store)
    node = update_attributes(store, {"n": np.float32(1.5), "v": np.arange(3), 5: (1, "a")}, "a")
    assert node.attrs == {"n": 1.5, "v": [0, 1, 2], "5": [1, "a"]}
    before = contents(store)
    for value in (np.datetime64("2020"), object(), float("nan"), {1, 2}, b"1"):
        with pytest.raises(MetadataError, match="attribute") as caught:
            update_attributes(store, {"x": value}, "a")
        assert (caught.value.url, caught.value.node) == (store.url, "a")
    for value in (None, 5, "text", [("x", 1)]):
        with pytest.raises(MetadataError, match="attributes"):
            update_attributes(store, value, "a")
    assert contents(store) == before


@pytest.mark.parametrize("replace", [False, True])
def test_dimension_names_stay(store, replace):
    for zarr_format in FORMATS:
        put_array(store, f"a{zarr_format}", zarr_format, dimension_names=["y", "x"], attributes={"u": 1})
        node = update_attributes(store, {"w": 2}, f"a{zarr_format}", replace=replace)
        assert node.dimension_names == ("y", "x")
        assert node.attrs == ({"w": 2} if replace else {"u": 1, "w": 2})
        assert node == open_array(store, f"a{zarr_format}")
    assert json.loads(contents(store)["a2/.zattrs"])["_ARRAY_DIMENSIONS"] == ["y", "x"]
    renamed = update_attributes(store, {"_ARRAY_DIMENSIONS": ["u", "v"]}, "a2")
    assert renamed.dimension_names == ("u", "v")


def test_what_netcdf_notes_of_an_array_stays(store):
    create_array(store, "a", shape=(1,), chunks=(1,), dtype="int16", zarr_format=2)
    note = {"_NCZARR_ARRAY": {"dimrefs": [], "storage": "scalar"}}
    store.set("a/.zattrs", json.dumps({"u": 1, **note}).encode())
    before = open_array(store, "a")
    node = update_attributes(store, {"w": 2}, "a", replace=True)
    assert node.shape == before.shape
    assert json.loads(contents(store)["a/.zattrs"]) == {**note, "w": 2}


def test_members_that_nobody_knows_stay(store):
    build(store)
    for path in ("a", "g"):
        key = f"{path}/zarr.json"
        document = json.loads(bytes(store.get(key))) | {"ours": {"must_understand": False, "n": [1]}}
        store.set(key, json.dumps(document).encode())
        update_attributes(store, {"x": 1}, path)
        after = json.loads(bytes(store.get(key)))
        assert after["ours"] == document["ours"]
        assert list(after) == list(document)


def test_v2_groups_get_no_other_members(store):
    build(store, 2)
    update_attributes(store, {"x": 1}, "g")
    update_attributes(store, {"x": 1})
    for key, text in contents(store).items():
        if key.endswith(".zgroup"):
            assert json.loads(text) == {"zarr_format": 2}


@pytest.mark.parametrize("name", ["dimensions", "blockSize", "dataType", "compression", "n5"])
def test_attributes_of_n5_cannot_have_its_own_names(store, name):
    build(store, "n5")
    before = contents(store)
    with pytest.raises(MetadataError, match=name):
        update_attributes(store, {"x": 1, name: [1]}, "a")
    with pytest.raises(MetadataError, match="n5"):
        update_attributes(store, {"n5": "1"}, "g")
    dataset = {"dimensions": [4], "blockSize": [2], "dataType": "int8", "compression": {"type": "raw"}}
    with pytest.raises(MetadataError):
        update_attributes(store, dataset, "g")
    assert contents(store) == before


def test_a_folder_of_n5_gets_a_document_with_its_first_attribute(store):
    put_array(store, "g/a", "n5")
    node = update_attributes(store, {"x": 1}, "g", zarr_format="n5")
    assert node.attrs == {"x": 1}
    assert open_group(store, "g").attrs == {"x": 1}
    assert update_attributes(open_group(store)["g"], {"y": 1}).attrs == {"x": 1, "y": 1}


def test_an_update_needs_a_node(store):
    build(store)
    before = contents(store)
    for path, zarr_format in (("x", None), ("g/x", None), ("a", 2), ("a", "n5"), ("x", "n5")):
        with pytest.raises(NodeNotFoundError):
            update_attributes(store, {"x": 1}, path, zarr_format=zarr_format)
    store.set("g/zarr.json", b"{")
    with pytest.raises(MetadataError) as caught:
        update_attributes(store, {"x": 1}, "g")
    assert caught.value.node == "g"
    with pytest.raises(UnsupportedError, match="zarr_format"):
        update_attributes(store, {"x": 1}, "a", zarr_format=4)
    assert contents(store) == before | {"g/zarr.json": b"{"}


def test_numbers_of_other_programs_stay_as_they_were(store):
    build(store, 2)
    store.set("a/.zattrs", b'{"fill": NaN, "big": 123456789012345678901, "half": 0.1}')
    update_attributes(store, {"x": 1}, "a")
    assert contents(store)["a/.zattrs"].replace(b"\n  ", b"") == (
        b'{"fill": NaN,"big": 123456789012345678901,"half": 0.1,"x": 1\n}'
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
attributes = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name not in ("axes", "n5", "codecs")), json_values, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(
    zarr_format=st.sampled_from(FORMATS),
    kind=st.sampled_from(["a", "g"]),
    changes=st.lists(st.tuples(attributes, st.booleans()), max_size=4),
)
def test_attributes_are_what_a_dict_would_be(zarr_format, kind, changes):
    store = {}
    create_group(store, "g", zarr_format=zarr_format)
    create_array(store, "a", shape=(4,), chunks=(2,), dtype="int8", zarr_format=zarr_format)
    expected = {}
    for new, replace in changes:
        expected = dict(new) if replace else expected | new
        node = update_attributes(store, new, kind, replace=replace)
        assert json.dumps(node.attrs) == json.dumps(expected) or node.attrs == expected
    assert open_group(store)[kind].attrs == expected


# Deleting


@every_format
@pytest.mark.parametrize("path", ["a", "g/a", "g/h", "g"])
def test_a_node_is_deleted_with_all_below_it(store, zarr_format, path):
    build(store, zarr_format)
    before = contents(store)
    if (zarr_format, path) == ("n5", "g/h"):  # a folder without a document of its own
        with pytest.raises(NodeNotFoundError):
            delete_node(store, path)
        return
    assert delete_node(store, path) is None
    assert contents(store) == {key: value for key, value in before.items() if not key.startswith(path + "/")}
    with pytest.raises(NodeNotFoundError):
        delete_node(store, path)


def test_opened_nodes_are_deleted(store):
    build(store)
    delete_node(open_array(store, "g/a"))
    delete_node(open_group(store), "g/h/b")
    assert [path for path, _ in open_group(store).walk()] == ["a", "g", "g/h"]
    delete_node(open_group(store))
    assert contents(store) == {}


def test_names_that_begin_alike_are_others(store):
    for path in ("a", "ab", "a.b", "a b"):
        create_group(store, path)
    delete_node(store, "a")
    assert list(open_group(store)) == ["a b", "a.b", "ab"]


def test_a_damaged_node_can_be_deleted(store):
    build(store)
    store.set("g/a/zarr.json", b"{")
    delete_node(store, "g/a")
    assert "g/a" not in open_group(store)


def test_a_node_of_both_formats_goes_whole(store):
    old, new = MappingStore({}), MappingStore({})
    build(old, 2), build(new, 3)
    both = MappingStore(old.mapping | new.mapping)
    with pytest.raises(NodeNotFoundError):
        delete_node(both, "a", zarr_format="n5")
    before = dict(both.mapping)
    with pytest.raises(UnsupportedError, match="another format"):
        delete_node(both, "a", zarr_format=2)
    assert both.mapping == before
    delete_node(both, "a")
    assert not any(key.startswith("a/") for key in both.mapping)


def test_a_strangers_folder_is_not_touched(tmp_path):
    store = LocalStore(str(tmp_path))
    build(store)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("1")
    (tmp_path / "g" / "file").write_text("1")
    for path in ("notes", "g/file", "notes/x.txt", "x"):
        with pytest.raises(NodeNotFoundError):
            delete_node(tmp_path, path)
    with pytest.raises(NodeNotFoundError):
        delete_node(tmp_path / "notes")
    assert (tmp_path / "notes" / "x.txt").read_text() == "1"
    assert (tmp_path / "g" / "file").read_text() == "1"
    with pytest.raises(MetadataError):
        delete_node(tmp_path, "g/../notes")


def test_what_a_deletion_costs(store):
    build(store)
    delete_node(store, "g/a")
    assert store.keys("get") == ["g/a/zarr.json", "zarr.json", ".zmetadata", "g/zarr.json", "g/.zmetadata"]
    assert store.keys("delete_below") == ["g/a"]
    assert len(store.requests) == 6


def test_a_deletion_that_fails_says_so(store):
    build(store)
    faulty = FaultyStore(store, {"g": PermissionError(13, "no")}, on=["delete_below"])
    with pytest.raises(StoreError, match="PermissionError") as caught:
        delete_node(faulty, "g")
    assert (caught.value.url, caught.value.node) == (store.url, "g")
    assert "g/a" in open_group(store)


def test_a_read_after_a_deletion_is_another(store):
    put_array(store)
    before = from_zarr(store, "a").name
    delete_node(store, "a")
    put_array(store, cells=CELLS + 1)
    assert from_zarr(store, "a").name != before


# Copying


@pytest.mark.parametrize("kind", ["same", "mapping", "local", "memory"])
@every_format
def test_a_node_is_copied_bit_by_bit(store, zarr_format, kind, tmp_path):
    build(store, zarr_format)
    other = {
        "same": store,
        "mapping": MappingStore({}),
        "local": LocalStore(str(tmp_path)),
        "memory": open_store(f"memory://{tmp_path}"),
    }[kind]
    before = contents(store)
    node = copy_node(store, other, "g", "x/y")
    assert isinstance(node, StoredGroup)
    assert node.location.path == "x/y"
    assert node.location.store == other
    assert node.attrs == {"is": "g"}
    copied = {f"x/y{key[1:]}": value for key, value in before.items() if key.startswith("g/")}
    assert {key: bytes(other.get(key)) for key in copied} == copied
    np.testing.assert_array_equal(from_zarr(other, "x/y/h/b").compute(), CELLS + 100)
    assert isinstance(open_group(other)["x"], StoredGroup)
    if kind == "same":
        new = contents(store).keys() - before.keys() - copied.keys()
        assert new == ({"x/" + documents(zarr_format, "", "group")[0]} if zarr_format != "n5" else set())
        assert before.items() <= contents(store).items()


@every_format
def test_an_array_is_copied_to_the_top_of_a_store(store, zarr_format):
    build(store, zarr_format)
    node = copy_node(open_array(store, "g/a"), target := {})
    assert isinstance(node, StoredArray)
    assert {key: bytes(value) for key, value in target.items()} == {
        key[4:]: value for key, value in contents(store).items() if key.startswith("g/a/")
    }
    np.testing.assert_array_equal(from_zarr(target).compute(), CELLS)


def test_all_there_is_below_is_copied(store):
    build(store)
    extra = {"g/notes/x.txt": b"1", "g/a/other": b"2", "g/a/c/9/9": b"3", "g/.zattrs": b"{}"}
    for key, value in extra.items():
        store.set(key, value)
    copy_node(store, target := {}, "g", "t")
    assert {f"t{key[1:]}" for key in contents(store) if key.startswith("g/")} | {"zarr.json"} == set(target)


@every_format
def test_documents_come_last(store, zarr_format):
    build(store, zarr_format)
    target = RecordingStore(MappingStore({}))
    copy_node(store, target, "g", "t")
    keys = [key for key in target.keys("set") if key.startswith("t/")]
    names = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json")
    is_document = [key.rsplit("/", 1)[-1] in names for key in keys]
    assert is_document == sorted(is_document)
    assert keys[-1] == documents(zarr_format, "t", "group")[0]
    assert len(keys) == len(set(keys))
    for inner in ("t/a", "t/h/b"):
        assert keys.index(documents(zarr_format, inner)[0]) < keys.index(documents(zarr_format, "t", "group")[0])


def test_every_object_is_read_and_written_once(store):
    build(store)
    target = RecordingStore(MappingStore({}))
    copy_node(store, target, "g/a", "t")
    chunks = [f"c/{i}/{j}" for i in range(2) for j in range(2)]
    assert sorted(key for key in store.keys("get") if "/c/" in key) == [f"g/a/{key}" for key in chunks]
    assert sorted(target.keys("set")) == sorted(["zarr.json", "t/zarr.json", *(f"t/{key}" for key in chunks)])
    assert store.count()["set"] == 0


@pytest.mark.parametrize("broken", ["c/1/1", "zarr.json"])
def test_an_interrupted_copy_is_no_node_and_can_be_repeated(store, broken):
    build(store)
    target = MappingStore({})
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="broken") as caught:
            copy_node(store, FaultyStore(target, {f"t/{broken}": OSError("broken")}, on=["set"]), "g/a", "t")
        assert (caught.value.node, caught.value.chunk_key) == ("t", broken)
        assert target.mapping
        with pytest.raises(NodeNotFoundError):
            open_array(target, "t")
        copy_node(store, target, "g/a", "t", overwrite=overwrite)
        np.testing.assert_array_equal(from_zarr(target, "t").compute(), CELLS)
        delete_node(target, "t")


def test_an_object_that_is_gone_is_no_copy(store):
    build(store)
    vanishing = FaultyStore(store, {})
    vanishing.get = lambda key, byte_range=None: None if key.endswith("c/1/1") else store.get(key, byte_range)
    with pytest.raises(StoreError, match="gone") as caught:
        copy_node(vanishing, target := {}, "g/a", "t")
    assert caught.value.chunk_key == "c/1/1"
    assert "t/zarr.json" not in target


@every_format
def test_a_node_at_the_target_is_kept_unless_told_otherwise(store, zarr_format):
    build(store, zarr_format)
    for there in FORMATS:
        target = MappingStore({})
        put_array(target, "t", there, CELLS + 7)
        before = contents(target)
        with pytest.raises(NodeExistsError, match="overwrite=True"):
            copy_node(store, target, "g/a", "t")
        with pytest.raises(NodeExistsError):
            copy_node(store, target, "g/a", "t/below")
        assert contents(target) == before
        copy_node(store, target, "g/a", "t", overwrite=True)
        np.testing.assert_array_equal(from_zarr(target, "t").compute(), CELLS)
        copied = {key[4:] for key in contents(store) if key.startswith("g/a/")}
        assert {key[2:] for key in contents(target) if key.startswith("t/")} == copied


def test_leftovers_do_not_become_part_of_a_copy(store):
    build(store)
    target = MappingStore({"t/c/7/7": b"1", "t/x": b"2"})
    for overwrite in (False, True):
        with pytest.raises(NodeExistsError, match=r"c/7/7"):
            copy_node(store, target, "g/a", "t", overwrite=overwrite)
    assert contents(target) == {"t/c/7/7": b"1", "t/x": b"2"}


@pytest.mark.parametrize(
    ("source", "target"), [("g", "g"), ("g", "g/x"), ("g", "g/a"), ("g/a", "g"), (None, "x"), ("g/h/b", None)]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_node_is_not_copied_into_itself(store, source, target, overwrite, tmp_path):
    build(store)
    before = contents(store)
    with pytest.raises(NodeExistsError):
        copy_node(store, store, source, target, overwrite=overwrite)
    assert contents(store) == before
    build(LocalStore(str(tmp_path)))
    here = tmp_path / (source or ".")
    with pytest.raises(NodeExistsError):
        copy_node(here, tmp_path, None, target, overwrite=overwrite)
    assert "g/h/b" in open_group(tmp_path)


def test_names_that_begin_alike_are_other_places(store):
    build(store)
    copy_node(store, store, "g", "ga")
    assert [path for path, _ in open_group(store)["ga"].walk()] == ["a", "h", "h/b"]


def test_copying_what_is_not_there(store):
    build(store)
    store.set("notes/x", b"1")
    before = contents(store)
    for path in ("x", "notes", "g/a/c"):
        with pytest.raises(NodeNotFoundError) as caught:
            copy_node(store, store, path, "t")
        assert caught.value.node == path
    for path in ("__x", "zarr.json", "..", "a/x"):
        with pytest.raises((MetadataError, NodeExistsError)):
            copy_node(store, store, "g", path)
    assert contents(store) == before


class ReadOnly:
    """A store that neither lists nor writes."""

    def __init__(self, store):
        self.store, self.url = store, store.url
        self.get, self.get_many = store.get, store.get_many


def test_stores_that_cannot_list_or_write(store):
    build(store)
    with pytest.raises(UnsupportedError, match="list"):
        copy_node(ReadOnly(store), target := {}, "g/a", "t")
    assert target == {}
    for change in (
        lambda: copy_node(store, ReadOnly(store), "g/a", "t"),
        lambda: delete_node(ReadOnly(store), "g"),
        lambda: update_attributes(ReadOnly(store), {"x": 1}, "g"),
    ):
        with pytest.raises(UnsupportedError, match="read") as caught:
            change()
        assert pickle.loads(pickle.dumps(caught.value)).url == store.url


def test_a_failing_store_is_named(store):
    build(store)
    with pytest.raises(StoreError, match="broken") as caught:
        copy_node(FaultyStore(store, {"g/a/c/0/1": OSError("broken")}), {}, "g/a", "t")
    assert (caught.value.url, caught.value.node, caught.value.chunk_key) == (store.url, "g/a", "c/0/1")
    with pytest.raises(StoreError, match="broken") as caught:
        copy_node(FaultyStore(store, {"g/h": OSError("broken")}, on=["list_dir"]), {}, "g", "t")
    assert caught.value.url == store.url


def test_a_copy_over_what_was_read_is_another(store):
    build(store)
    put_array(store, "t", cells=CELLS)
    before = from_zarr(store, "t")
    copy_node(store, store, "a", "t", overwrite=True)
    after = from_zarr(store, "t")
    assert after.name != before.name
    np.testing.assert_array_equal(after.compute(), CELLS + 200)


def test_options_go_with_their_url(tmp_path):
    put_array(tmp_path / "s")
    copy_node(
        f"file://{tmp_path}/s",
        f"memory://{tmp_path}/copied",
        "a",
        target_options={"skip_instance_cache": True},
    )
    np.testing.assert_array_equal(from_zarr(f"memory://{tmp_path}/copied").compute(), CELLS)
    options = {"path": f"{tmp_path}/s/a", "target_protocol": "file"}
    assert copy_node("dir://", tmp_path, None, "b", source_options=options).shape == CELLS.shape
    np.testing.assert_array_equal(from_zarr(tmp_path, "b").compute(), CELLS)


# With zarr-python


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_python_sees_the_changes(tmp_path, zarr_format):
    theirs = zarr.create_group(tmp_path, zarr_format=zarr_format)
    array = theirs.create_array("g/a", shape=(4, 6), chunks=(2, 3), dtype="int32", attributes={"u": 1})
    array[:] = CELLS
    update_attributes(tmp_path, {"w": 2}, "g/a")
    update_attributes(array, {"v": 3})
    copy_node(tmp_path, tmp_path, "g", "h/g")
    copy_node(array, tmp_path / "h", None, "a")
    delete_node(tmp_path, "g")
    found = dict(zarr.open_group(tmp_path, mode="r", zarr_format=zarr_format).members(max_depth=None))
    assert sorted(found) == ["h", "h/a", "h/g", "h/g/a"]
    for path in ("h/a", "h/g/a"):
        assert dict(found[path].attrs) == {"u": 1, "w": 2, "v": 3}
        np.testing.assert_array_equal(found[path][:], CELLS)
