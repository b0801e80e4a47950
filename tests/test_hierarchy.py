"""Groups are browsed: what is listed, in which format, at what cost, and what is said of damage."""

import json
import pickle

import numpy as np
import pytest

from daskzarr import (
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    StoredArray,
    StoredGroup,
    StoreError,
    UnsupportedError,
    create_array,
    create_group,
    from_zarr,
    open_array,
    open_group,
)
from daskzarr.hierarchy.tree import draw_tree
from daskzarr.stores import LocalStore, MappingStore, open_store
from daskzarr.testing import FaultyStore, RecordingStore, WebServer

EXPECTED = {
    "a": (2,),
    "b": None,
    "b/c": None,
    "b/c/d": (3,),
    "b/e": (4, 5),
    "f": None,
}


@pytest.fixture(params=["mapping", "local", "memory"])
def store(request, tmp_path):
    """An empty store of each kind that can be listed."""
    if request.param == "mapping":
        return RecordingStore(MappingStore({}))
    if request.param == "local":
        return RecordingStore(LocalStore(str(tmp_path)))
    return RecordingStore(open_store(f"memory://{tmp_path}"))


def array(store, path, shape=(2,), zarr_format=3, **options):
    return create_array(store, path, shape=shape, chunks=shape, dtype="int16", zarr_format=zarr_format, **options)


def group(store, path=None, zarr_format=3, **options):
    return create_group(store, path, zarr_format=zarr_format, **options)


def build(store, zarr_format=3):
    """Groups and arrays at three levels, each with an attribute that names it."""
    group(store, None, zarr_format, attributes={"is": ""})
    for path, shape in EXPECTED.items():
        if shape is None:
            group(store, path, zarr_format, attributes={"is": path})
        else:
            array(store, path, shape, zarr_format, attributes={"is": path})
    store.clear()


def seen(nodes):
    """Paths and shapes; groups have none."""
    return {path: getattr(node, "shape", None) for path, node in nodes}


@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_a_group_shows_what_is_below_it(store, zarr_format):
    build(store, zarr_format)
    top = open_group(store, zarr_format=zarr_format)
    assert list(top) == ["a", "b", "f"]
    assert len(top) == 3
    assert list(top.children()) == ["a", "b", "f"]
    assert list(top.arrays()) == ["a"]
    assert list(top.groups()) == ["b", "f"]
    assert list(top["b"]) == ["c", "e"]
    assert list(top["f"]) == []
    walked = list(top.walk())
    assert [path for path, _ in walked] == list(EXPECTED)
    assert seen(walked) == EXPECTED
    for path, node in walked:
        assert node == top[path]
        assert node.location == top.location / path
        assert node.attrs == {"is": path}
        assert path in top
        assert isinstance(node, StoredGroup if EXPECTED[path] is None else StoredArray)
    assert seen(top["b"].walk()) == {"c": None, "c/d": (3,), "e": (4, 5)}


@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_the_tree_is_drawn(store, zarr_format):
    build(store, zarr_format)
    assert open_group(store, zarr_format=zarr_format).tree() == "\n".join(
        (
            "/",
            "├── a  (2,) int16, chunks (2,)",
            "├── b",
            "│   ├── c",
            "│   │   └── d  (3,) int16, chunks (3,)",
            "│   └── e  (4, 5) int16, chunks (4, 5)",
            "└── f",
        )
    )
    assert open_group(store, "b/c", zarr_format=zarr_format).tree().splitlines()[0] == "/b/c"


def test_the_tree_of_an_empty_group():
    assert open_group(group({}, "g")).tree() == "/g"
    assert draw_tree("x", []) == "x"


@pytest.mark.parametrize("path", ["b/c/d", "/b/c/d/", "b//c/d", "b\\c\\d"])
def test_paths_are_understood_however_they_are_typed(path):
    build(store := RecordingStore(MappingStore({})))
    top = open_group(store)
    assert path in top
    assert top[path].shape == (3,)


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_the_empty_path_is_the_group_itself(path):
    top = group({})
    assert top[path] is top
    assert path in top


@pytest.mark.parametrize("path", ["x", "b/x", "a/x", "b/c/d/x", "c"])
def test_what_is_not_there_is_not_found(store, path):
    build(store)
    top = open_group(store)
    assert path not in top
    with pytest.raises(NodeNotFoundError) as caught:
        top[path]
    assert (caught.value.url, caught.value.node) == (store.url, path)


@pytest.mark.parametrize("path", ["..", "a/../b", ".", "b/./c", "a\0"])
def test_a_path_never_leads_out_of_its_group(path):
    build(store := RecordingStore(MappingStore({})))
    top = open_group(store)["b"]
    store.clear()
    with pytest.raises(MetadataError):
        top[path]
    assert path not in top
    assert 7 not in top
    assert None not in top
    assert store.requests == []


# What is a child, and what is not


def test_folders_that_are_no_nodes_are_left_out(store):
    build(store)
    store.set("notes/readme.txt", b"1")
    store.set("b/c/0", b"1")
    store.set("file", b"1")
    array(store.store, "f/x/y")  # f/x is made
    store.delete("f/x/zarr.json")  # and now stands for no group any more
    top = open_group(store)
    assert seen(top.walk()) == EXPECTED
    assert top["f/x/y"].shape == (2,)  # named in full, it is there
    assert "f/x" not in top


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_are_no_nodes(store, zarr_format):
    made = array(store, "a", (4, 6), zarr_format, dimension_separator="/")
    for key in ("0/0", "c/0/0"):
        store.set(f"a/{key}", b"1")
    top = open_group(store)
    store.clear()
    assert list(top.walk()) == [("a", made)]
    assert not any(key.startswith(("a/c", "a/0")) for _, key in store.requests)


def test_names_that_v3_keeps_for_itself_are_no_children():
    values = {}
    group(values, "g")
    values["g/__x/zarr.json"] = values["g/zarr.json"]
    assert list(open_group(values)["g"]) == []
    values["g/__x/.zgroup"] = b'{"zarr_format": 2}'
    assert list(open_group(values)["g"]) == []
    group(values := {}, "__x", 2)
    values["__y/zarr.json"] = json.dumps({"zarr_format": 3, "node_type": "group"}).encode()
    assert list(open_group(values)) == ["__x"]


@pytest.mark.parametrize("name", ["a\\b", "..."])
def test_names_that_cannot_be_asked_for_are_left_out(name):
    values = {}
    group(values, "g")
    values[f"{name}/zarr.json"] = values["g/zarr.json"]
    assert list(open_group(values)) == ["g"]


def test_names_are_whatever_text_they_are(store):
    names = ["Ω", "a b", "a-b", "a.b", "a", "a%20b", "A", "c", "0"]
    group(store)
    for name in names:
        array(store, name)
        array(store, f"{name}+/x")
    top = open_group(store)
    assert list(top) == sorted([*names, *(name + "+" for name in names)])
    assert all(top[path].location.path == path for path, _ in top.walk())


@pytest.mark.parametrize("first", [2, 3, "n5"])
def test_children_of_all_formats_are_found(store, first):
    group(store, None, first)
    for number in (2, 3, "n5"):
        group(store, f"g{number}", number)
        for inner in (2, 3, "n5"):
            array(store, f"g{number}/a{inner}", (3,), inner)
    top = open_group(store, zarr_format=first)
    assert list(top) == ["g2", "g3", "gn5"]
    walked = dict(top.walk())
    assert len(walked) == 12
    for path, node in walked.items():
        assert str(node.metadata.zarr_format) == path[-1].replace("5", "n5"), path
        assert node == top[path]
        assert path in top


def test_a_node_in_both_formats_is_seen_in_that_of_its_group():
    old, new = {}, {}
    array(old, "a", (2,), 2), array(old, "a3", (3,), 2)
    array(new, "a", (7,), 3), array(new, "a2", (8,), 3)
    both = old | new
    assert seen(open_group(both).walk()) == {"a": (7,), "a2": (8,), "a3": (3,)}
    assert seen(open_group(both, zarr_format=2).walk()) == {"a": (2,), "a2": (8,), "a3": (3,)}
    assert open_group(both)["a"].shape == (7,)
    assert open_group(both, zarr_format=2)["a"].shape == (2,)
    assert open_array(both, "a").shape == (7,)


# N5


def test_any_folder_is_a_group_of_n5(store):
    array(store, "g/h/a", (3,), "n5")
    assert sorted(key for key in store.keys("set")) == ["attributes.json", "g/h/a/attributes.json"]
    assert json.loads(bytes(store.get("attributes.json"))) == {"n5": "4.0.0"}
    top = open_group(store)
    assert top.metadata.zarr_format == "n5"
    assert seen(top.walk()) == {"g": None, "g/h": None, "g/h/a": (3,)}
    assert isinstance(top["g/h"], StoredGroup)
    assert "g" in top
    assert "x" not in top
    assert open_group(store, "g", zarr_format="n5")["h/a"].shape == (3,)
    assert open_group(top["g"]) == top["g"]
    with pytest.raises(NodeNotFoundError):
        open_group(store, "g")  # nothing there tells that it is N5
    with pytest.raises(NodeNotFoundError):
        open_group(store, "x", zarr_format="n5")


def test_folders_of_blocks_are_no_groups_of_n5(store):
    array(store, "a", (4, 6), "n5")
    store.set("a/0/0", b"1")
    top = open_group(store)
    assert seen(top.walk()) == {"a": (4, 6)}
    with pytest.raises(NodeNotFoundError):
        top["a/0"]
    with pytest.raises(NodeNotFoundError):
        open_group(store, "a/0", zarr_format="n5")


def test_a_container_of_n5_without_a_document_at_its_top(store):
    store.set("g/a/attributes.json", json.dumps({"x": 1}).encode())
    assert seen(open_group(store, zarr_format="n5").walk()) == {"g": None, "g/a": None}
    with pytest.raises(NodeNotFoundError):
        open_group(store)


def test_n5_is_looked_for_last(store):
    array(store, "a", (3,), "n5")
    store.clear()
    assert open_array(store, "a").metadata.zarr_format == "n5"
    assert store.keys() == ["a/zarr.json", "a/.zarray", "a/.zgroup", "a/attributes.json"]
    store.clear()
    open_array(store, "a", zarr_format="n5")
    assert store.keys() == ["a/attributes.json"]


def test_a_dataset_of_n5_has_nothing_below(store):
    array(store, "a", (3,), "n5")
    for number in (2, 3, "n5"):
        with pytest.raises(NodeExistsError):
            group(store, "a/b", number)
    with pytest.raises(NodeExistsError):
        array(store, "a", (3,), 3)


def test_a_dataset_at_the_top_of_a_container_says_its_version():
    array(values := {}, None, (3,), "n5", attributes={"u": 1})
    assert json.loads(values["attributes.json"])["n5"] == "4.0.0"
    assert open_array(values).attrs == {"u": 1}


# What it costs


@pytest.mark.parametrize("count", [1, 40])
def test_children_of_v3_are_read_with_one_bulk_request(store, count):
    group(store)
    for i in range(count):
        array(store, f"a{i:02}")
    top = open_group(store)
    store.clear()
    assert len(top.children()) == count
    assert store.keys("list_dir") == [""]
    assert store.keys("get_many") == [f"a{i:02}/zarr.json" for i in range(count)]
    assert len(store.requests) == count + 1


def test_children_of_v2_are_read_with_one_bulk_request(store):
    group(store, None, 2)
    for name in "ab":
        array(store, name, zarr_format=2)
    top = open_group(store)
    store.clear()
    assert len(top.children()) == 2
    assert store.keys("get_many") == [f"{name}/{key}" for name in "ab" for key in (".zarray", ".zgroup", ".zattrs")]


def test_a_walk_takes_one_bulk_request_a_level(store):
    for i in range(3):
        for j in range(4):
            array(store, f"g{i}/h/a{j}")
    top = open_group(store)
    calls = []
    get_many = type(store).get_many
    type(store).get_many = lambda self, keys, traffic=None: calls.append(len(keys)) or get_many(self, keys)
    try:
        assert len(list(top.walk())) == 3 * 6
    finally:
        type(store).get_many = get_many
    assert calls == [3, 3, 12]


def test_one_node_below_a_group_is_one_get(store):
    build(store)
    top = open_group(store)
    store.clear()
    top["b/e"]
    assert store.requests == [("get", "b/e/zarr.json")]


def test_opening_a_v2_group_takes_one_get_more_for_consolidated_metadata(store):
    build(store, 2)
    open_group(store, zarr_format=2)
    assert store.keys() == [".zmetadata", ".zarray", ".zgroup", ".zattrs"]
    store.clear()
    open_group(store, zarr_format=2, consolidated=False)
    assert store.keys() == [".zarray", ".zgroup", ".zattrs"]


# Damage

DAMAGE = {
    "no JSON": b"{",
    "no object": b"[]",
    "no node type": b'{"zarr_format": 3}',
    "a wrong number": b'{"zarr_format": 4, "node_type": "group"}',
    "an array without members": b'{"zarr_format": 3, "node_type": "array"}',
    "attributes that are none": b'{"zarr_format": 3, "node_type": "group", "attributes": 1}',
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_child_is_named(store, text):
    build(store)
    store.set("b/c/zarr.json", text)
    top = open_group(store)
    assert "b/c" in top
    assert list(top["b"]) == ["c", "e"]
    for look in (
        lambda: top["b/c"],
        lambda: top["b"].children(),
        lambda: top["b"].groups(),
        lambda: top["b"].arrays(),
        lambda: list(top.walk()),
    ):
        with pytest.raises(MetadataError) as caught:
            look()
        assert (caught.value.url, caught.value.node) == (store.url, "b/c")
        assert pickle.loads(pickle.dumps(caught.value)).node == "b/c"
    lines = top.tree().splitlines()
    assert f"│   ├── c  damaged: {caught.value.message}" in lines
    assert "│   └── e  (4, 5) int16, chunks (4, 5)" in lines
    assert sum("damaged" in line for line in lines) == 1


def test_a_walk_comes_as_far_as_the_damage():
    build(store := RecordingStore(MappingStore({})))
    store.set("b/e/zarr.json", b"{")
    walk = open_group(store).walk()
    assert [next(walk)[0] for _ in range(4)] == ["a", "b", "b/c", "b/c/d"]
    with pytest.raises(MetadataError):
        next(walk)


def test_damage_in_v2_is_named(store):
    build(store, 2)
    store.set("b/e/.zattrs", b"7")
    store.set("f/.zgroup", b"7")
    top = open_group(store)
    with pytest.raises(MetadataError, match=r"\.zattrs") as caught:
        list(top.walk())
    assert caught.value.node == "b/e"
    assert [line.split("  ")[-1][:7] for line in top.tree().splitlines() if "damaged" in line] == ["damaged"] * 2


def test_an_array_that_is_not_supported_is_drawn_as_such():
    build(store := RecordingStore(MappingStore({})))
    document = json.loads(bytes(store.get("a/zarr.json")))
    document["data_type"] = {"name": "unheard", "configuration": {}}
    store.set("a/zarr.json", json.dumps(document).encode())
    assert "├── a  not supported: " in open_group(store).tree()
    assert "├── b\n" in open_group(store).tree()


@pytest.mark.parametrize("error", [OSError("broken"), PermissionError(13, "no")])
def test_a_store_that_fails_is_named(error):
    build(store := RecordingStore(MappingStore({})))
    for on, key in (("list_dir", "b"), ("get", "b/c/zarr.json"), ("get", "b/e/zarr.json")):
        top = open_group(FaultyStore(store, {key: error}, on=[on]))
        for look in (lambda top=top: top["b"].children(), lambda top=top: list(top.walk()), lambda top=top: top.tree()):
            with pytest.raises(StoreError, match=type(error).__name__) as caught:
                look()
            assert caught.value.node == key.removesuffix("/zarr.json")


# Stores that cannot list


class Unlistable:
    """A store that reads and does not list."""

    def __init__(self, store):
        self.store, self.url = store, store.url
        self.get, self.get_many = store.get, store.get_many


def test_a_store_that_cannot_list_says_so():
    build(store := RecordingStore(MappingStore({})))
    top = open_group(Unlistable(store))
    assert top["b/e"].shape == (4, 5)
    assert "b/c" in top
    looks = (list, len, StoredGroup.children, StoredGroup.arrays, StoredGroup.tree, lambda top: next(top.walk()))
    for look in looks:
        with pytest.raises(UnsupportedError, match="consolidate") as caught:
            look(top)
        assert caught.value.url == store.url


def test_a_web_server_that_does_not_list_is_not_taken_for_an_empty_group():
    build(store := MappingStoreThatClears({}))
    with WebServer({f"d/{key}": bytes(value) for key, value in store.mapping.items()}) as server:
        top = open_group(f"{server.url}/d")
        assert top["b/e"].shape == (4, 5)
        with pytest.raises((UnsupportedError, StoreError)):
            list(top)


class MappingStoreThatClears(MappingStore):
    """For ``build``."""

    def clear(self):
        pass


# Names of new nodes


@pytest.mark.parametrize("create", [array, group])
@pytest.mark.parametrize(
    ("zarr_format", "path"),
    [
        *((3, path) for path in ("zarr.json", "__x", "__", "a/__x/b", "zarr.json/a", "..", "a/...")),
        *((2, path) for path in (".zarray", ".zgroup", "a/.zattrs", ".zmetadata/b", "..", ".")),
        *(("n5", path) for path in ("attributes.json", "a/attributes.json/b", "..")),
    ],
)
def test_names_that_formats_keep_for_themselves_are_refused(create, zarr_format, path):
    store = RecordingStore(MappingStore({}))
    with pytest.raises(MetadataError) as caught:
        create(store, path, zarr_format=zarr_format)
    assert caught.value.field == "component"
    assert store.requests == []


@pytest.mark.parametrize(
    ("zarr_format", "path"),
    [(2, "__x"), (2, "zarr.json"), (3, ".zarray"), (3, "_x"), (3, "__values__"), (3, "x__"), (3, "c"), (2, "0")],
)
def test_names_of_other_formats_are_names(zarr_format, path):
    group(values := {}, path, zarr_format)
    assert path in open_group(values, zarr_format=zarr_format)


# Values


def test_groups_are_values():
    build(store := RecordingStore(MappingStore({})))
    first, second = open_group(store), open_group(store)
    assert first == second
    assert hash(first["b"]) == hash(second["b"])
    assert pickle.loads(pickle.dumps(first)) == first
    assert first != first["b"]


def test_what_is_found_is_read():
    create_array(store := {}, "g/a", shape=(3,), chunks=(2,), dtype="int16", compressors=None)
    store["g/a/c/1"] = np.array([5, 0], "<i2").tobytes()
    np.testing.assert_array_equal(from_zarr(open_group(store)["g/a"]).compute(), [0, 0, 5])
    np.testing.assert_array_equal(from_zarr(dict(open_group(store).walk())["g/a"]).compute(), [0, 0, 5])
