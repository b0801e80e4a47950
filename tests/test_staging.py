"""Nodes are replaced by ones written beside them: what is where after a swap, and after one that failed or was killed.

Run as a program, the file swaps in processes that are killed, or that swap at the same time, or are looked at.
"""

import json
import os
import pathlib
import pickle
import random
import signal
import stat
import subprocess
import sys
import time
import traceback
import types
import uuid
from contextlib import nullcontext, suppress

import numpy as np
import pytest

from daskzarr import (
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    StoreError,
    UnsupportedError,
    consolidate,
    create_group,
    from_zarr,
    open_array,
    open_group,
    update_attributes,
)
from daskzarr.hierarchy import place_node, staging, swap_copying, swapping
from daskzarr.hierarchy.copying import names_below
from daskzarr.hierarchy.documents import node_exists
from daskzarr.hierarchy.staging import begin_stage, recover, stage, swap
from daskzarr.metadata import GroupMetadata
from daskzarr.settings import ArraySettings, new_array_metadata
from daskzarr.stores import LocalStore, Location, MappingStore, locate, open_store
from daskzarr.testing.store_wrapper import StoreWrapper

CHUNK_KEYS = {3: "c/{}", 2: "{}", "n5": "{}"}


def metadata_of(length, zarr_format=3, **attributes):
    """An array of so many cells of two bytes, chunks of two cells, stored as they are."""
    settings = ArraySettings(chunks=2, compressors=None, attributes=attributes)
    return new_array_metadata(settings, shape=length, dtype="int16", zarr_format=zarr_format)


def chunks_of(first, length, zarr_format=3):
    """The chunks of an array of ``first``, ``first + 1``, ..."""
    cells = np.arange(first, first + length)
    chunks = {}
    for i in range(length // 2):
        part = cells[2 * i : 2 * i + 2]
        text = part.astype("<i2").tobytes()
        if zarr_format == "n5":
            text = b"\0\0" + b"\0\1" + b"\0\0\0\2" + part.astype(">i2").tobytes()
        chunks[CHUNK_KEYS[zarr_format].format(i)] = text
    return chunks


def fill(location, first, length, zarr_format=3):
    for name, value in chunks_of(first, length, zarr_format).items():
        location.store.set(location.key(name), value)


def put(location, first, length, zarr_format=3, **attributes):
    """An array in its place."""
    place_node(location, metadata_of(length, zarr_format, **attributes), overwrite=False)
    fill(location, first, length, zarr_format)


def put_staged(staged, first, length, zarr_format=3, **attributes):
    """An array beside its place."""
    fill(begin_stage(staged, metadata_of(length, zarr_format, **attributes)), first, length, zarr_format)


def tree(location):
    """All objects below a place, hidden ones too."""
    store = location.store
    while isinstance(store, StoreWrapper):
        store = store.store
    if not isinstance(store, LocalStore):
        return {name: bytes(store.get(location.key(name))) for name in names_below(Location(store, location.path))}
    top, found = os.path.join(store.root, location.path), {}
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = file.read()
    return found


def expected(first, length, zarr_format=3, top=True, **attributes):
    """The objects of an array that is written where nothing was."""
    location = Location(MappingStore({}), "" if top else "a")
    put(location, first, length, zarr_format, **attributes)
    return tree(location)


def cells(place, component=None):
    return from_zarr(place, component).compute(scheduler="sync").tolist()


class Kind:
    """A kind of store, and what stands beside it."""

    def __init__(self, kind, folder):
        name = str(folder / "x.zarr")
        self.store = {
            "local": lambda: LocalStore(name),
            "renamed": lambda: LocalStore(name),
            "copied": lambda: LocalStore(name),
            "mapping": lambda: MappingStore({}),
            "memory": lambda: open_store(f"memory://{uuid.uuid4().hex}"),
        }[kind]()
        self.shared = LocalStore(name + ".daskzarr") if kind in ("local", "renamed", "copied") else None

    def place(self, path=""):
        return Location(self.store, path)

    def beside(self, path=""):
        return None if self.shared is None else Location(self.shared, path)

    def stage(self, path="", write="1"):
        return stage(self.place(path), self.beside(path), write)

    def left(self):
        return {} if self.shared is None else tree(Location(self.shared))


@pytest.fixture(params=["local", "renamed", "copied", "mapping", "memory"])
def kind(request, tmp_path, monkeypatch):
    restrict(request.param, monkeypatch.setattr)
    return Kind(request.param, tmp_path)


def restrict(kind, set_attribute=setattr):
    """Take away what the system can do: to exchange folders, or to move them at all."""
    if kind in ("renamed", "copied"):
        set_attribute(swapping, "exchange", lambda a, b, sync: False)
    if kind == "copied":
        set_attribute(swapping, "_move", lambda source, target: False)


@pytest.fixture
def local(tmp_path):
    return Kind("local", tmp_path)


@pytest.mark.parametrize("path", ["", "g/h/a"])
@pytest.mark.parametrize(("old", "new"), [(3, 3), (3, 2), (2, 3), (2, 2), (3, "n5"), ("n5", 3), ("n5", "n5")])
def test_the_new_node_takes_the_place_of_the_old_one(kind, path, old, new):
    put(kind.place(path), 100, 8, old, was="old")
    staged = kind.stage(path)
    put_staged(staged, 200, 6, new, was="new")
    assert tree(kind.place(path)) == expected(100, 8, old, top=not path, was="old")
    swap(staged)
    assert tree(kind.place(path)) == expected(200, 6, new, top=not path, was="new")
    assert kind.left() == tree(staged.beside) == {}
    array = open_array(kind.store, path)
    assert (array.metadata.zarr_format, array.attrs) == (new, {"was": "new"})
    assert cells(kind.store, path) == list(range(200, 206))


@pytest.mark.parametrize("path", ["", "g/h/a"])
@pytest.mark.parametrize("zarr_format", [2, 3, "n5"])
def test_where_nothing_was_all_is_as_if_written_there(kind, path, zarr_format):
    staged = kind.stage(path)
    put_staged(staged, 200, 6, zarr_format)
    assert tree(kind.place()) == {}
    swap(staged)
    twin = Location(MappingStore({}), path)
    put(twin, 200, 6, zarr_format)
    assert tree(kind.place()) == tree(Location(twin.store))
    assert kind.left() == {}


def test_a_group_goes_with_all_that_is_below_it(kind):
    create_group(kind.store, "g")
    for i, zarr_format in enumerate((3, 2, "n5")):
        put(kind.place(f"g/h/{i}"), 100 + 10 * i, 4, zarr_format)
    put(kind.place("other"), 300, 2)
    staged = kind.stage("g")
    put_staged(staged, 200, 6, 2)
    assert cells(kind.store, "g/h/2") == [120, 121, 122, 123]
    swap(staged)
    assert tree(kind.place("g")) == expected(200, 6, 2)
    assert cells(kind.store, "other") == [300, 301]


def test_an_array_becomes_a_group(kind):
    put(kind.place("a"), 100, 4)
    staged = kind.stage("a")
    begin_stage(staged, GroupMetadata(attributes={"x": 1}, zarr_format=3))
    swap(staged)
    assert sorted(tree(kind.place("a"))) == ["zarr.json"]
    assert open_group(kind.store, "a").attrs == {"x": 1}


def test_a_node_of_two_formats_goes_in_both(kind):
    put(kind.place("a"), 100, 4, 3)
    place_node(kind.place("a"), metadata_of(4, 2), overwrite=False, beside=True)
    staged = kind.stage("a")
    put_staged(staged, 200, 6, 3)
    swap(staged)
    assert tree(kind.place("a")) == expected(200, 6, 3)


@pytest.mark.parametrize(("old", "new"), [(3, 3), (2, 2), (3, 2), (2, 3)])
@pytest.mark.parametrize("home", [2, 3])
def test_consolidated_metadata_above_stay_true(kind, home, old, new):
    twin = MappingStore({})
    for store in (kind.store, twin):
        create_group(store, zarr_format=home)
        create_group(store, "g", zarr_format=home)
        put(Location(store, "g/b"), 300, 2, home)
        if old == home:
            put(Location(store, "g/a"), 100, 4, old, was="old")
        consolidate(store, "g")
        consolidate(store)
        if old != home:
            put(Location(store, "g/a"), 100, 4, old, was="old")
    before = tree(kind.place())
    staged = kind.stage("g/a")
    put_staged(staged, 200, 6, new, was="new")
    assert tree(kind.place()) == before
    swap(staged)
    place_node(Location(twin, "g/a"), metadata_of(6, new, was="new"), overwrite=True)
    fill(Location(twin, "g/a"), 200, 6, new)
    assert tree(kind.place()) == tree(Location(twin))
    swap(staged)
    assert tree(kind.place()) == tree(Location(twin))


@pytest.mark.parametrize("home", [2, 3])
def test_what_came_to_be_above_since_the_write_began_counts(kind, home):
    staged = kind.stage("g/a")
    put_staged(staged, 200, 6, home)
    create_group(kind.store, "g", attributes={"kept": True}, zarr_format=home)
    put(kind.place("g/b"), 300, 2, home)
    consolidate(kind.store, "g")
    swap(staged)
    group = open_group(kind.store, "g", consolidated=True)
    assert group.attrs == {"kept": True}
    assert group["a"].shape == (6,)


def test_an_array_that_came_to_be_above_is_not_written_into(kind):
    staged = kind.stage("g/a")
    put_staged(staged, 200, 6)
    put(kind.place("g"), 100, 4)
    before = tree(kind.place())
    with pytest.raises(NodeExistsError, match="array at /g"):
        swap(staged)
    assert tree(kind.place()) == before


def test_what_is_no_node_is_never_deleted(kind):
    kind.store.set("a/notes.txt", b"dear diary")
    with pytest.raises(NodeExistsError, match="is no array or group"):
        begin_stage(kind.stage("a"), metadata_of(4))
    kind.store.delete("a/notes.txt")
    staged = kind.stage("a")
    put_staged(staged, 200, 6)
    kind.store.set("a/notes.txt", b"dear diary")
    with pytest.raises(NodeExistsError, match="is no array or group"):
        swap(staged)
    assert tree(kind.place("a")) == {"notes.txt": b"dear diary"}
    kind.store.delete("a/notes.txt")
    swap(staged)
    assert cells(kind.store, "a") == list(range(200, 206))


def test_swapping_again_does_nothing(kind):
    put(kind.place("a"), 100, 4)
    staged = kind.stage("a")
    put_staged(staged, 200, 6)
    swap(staged)
    update_attributes(kind.store, {"later": 1}, "a")
    before = tree(kind.place())
    swap(staged)
    assert tree(kind.place()) == before
    assert recover(staged.place, staged.beside) is False


def test_swapping_what_was_never_staged_is_an_error(kind):
    with pytest.raises(NodeNotFoundError, match="not there any more"):
        swap(kind.stage("a"))
    staged = kind.stage("a")
    staged.beside.store.set(staged.staged.key("c/0"), b"12")  # from a task of a write whose place was taken
    put(kind.place("a"), 100, 4)
    with pytest.raises(NodeNotFoundError, match="not there any more"):
        swap(staged)
    assert cells(kind.store, "a") == list(range(100, 104))


@pytest.mark.parametrize("name", ["1", "2"])
def test_a_write_that_begins_later_takes_the_place_of_one_that_does_not_end(kind, name):
    put(kind.place("a"), 100, 4)
    first = kind.stage("a", "1")
    put_staged(first, 200, 6)
    second = stage(first.place, first.beside, name)
    put_staged(second, 300, 8)
    fill(first.staged, 200, 6)  # tasks that were still at it
    with pytest.raises(NodeNotFoundError, match="another write"):
        swap(first)
    assert cells(kind.store, "a") == list(range(100, 104))
    swap(second)
    assert tree(kind.place("a")) == expected(300, 8)
    assert kind.left() == tree(first.beside) == {}


def test_the_same_write_finds_what_it_has_staged(local):
    put_staged(local.stage("a", "7"), 200, 6)
    swap(local.stage("a", "7"))
    assert cells(local.store, "a") == list(range(200, 206))


def test_beginning_anew_clears_what_is_staged(kind):
    staged = kind.stage("a")
    put_staged(staged, 200, 20)
    put_staged(staged, 300, 4, 2)
    swap(staged)
    assert tree(kind.place("a")) == expected(300, 4, 2)
    assert kind.left() == {}


def test_where_it_cannot_be_staged_that_is_said(tmp_path):
    with pytest.raises(UnsupportedError, match="copy_node"):
        stage(Location(LocalStore(str(tmp_path))), None, "1")

    class Blind:
        """A store in memory that does not know its keys."""

        url, shared = "blind://", False

        def get(self, key, byte_range=None): ...
        def get_many(self, keys, traffic=None): ...
        def set(self, key, value): ...
        def delete(self, key): ...
        def delete_below(self, prefix): ...

    with pytest.raises(UnsupportedError, match="cannot list"):
        stage(Location(Blind()), None, "1")
    with pytest.raises(UnsupportedError, match="only be read"):
        stage(Location(MappingStore(types.MappingProxyType({}))), None, "1")


def test_what_is_staged_pickles(local):
    staged = pickle.loads(pickle.dumps(local.stage("g/a")))
    put_staged(staged, 200, 6)
    swap(pickle.loads(pickle.dumps(staged)))
    assert cells(local.store, "g/a") == list(range(200, 206))


def test_in_one_process_what_is_staged_in_memory_pickles_too():
    place = Location(MappingStore({}), "a")
    staged = stage(place, None, "1")
    put_staged(pickle.loads(pickle.dumps(staged)), 200, 6)
    swap(pickle.loads(pickle.dumps(staged)))
    assert cells(place) == list(range(200, 206))


def half_done(kind, path, *, after):
    """A swap that ends with an error after so many of its steps that change something."""
    left = after

    def counted(function):
        def step(*args, **options):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return function(*args, **options)

        return step

    staged = kind.stage(path)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("exchange", "_move", "put", "delete", "delete_below", "set_document"):
            for module in (staging, swapping, swap_copying):
                if hasattr(module, name):
                    patch.setattr(module, name, counted(getattr(module, name)))
        with suppress(KeyboardInterrupt):
            swap(staged)
            return staged, True
    return staged, False


@pytest.mark.parametrize("again", ["swap", "recover", "begin"])
@pytest.mark.parametrize("old", [True, False], ids=["over a node", "where nothing was"])
def test_an_interrupted_swap_is_completed(tmp_path, monkeypatch, again, old):
    for name in ("local", "renamed", "copied"):
        with monkeypatch.context() as patch:
            restrict(name, patch.setattr)
            for after in range(100):
                kind = Kind(name, tmp_path / f"{name}{after}")
                if old:
                    put(kind.place("g/a"), 100, 8)
                put_staged(kind.stage("g/a"), 200, 6)
                staged, done = half_done(kind, "g/a", after=after)
                begun = staged.beside.store.get(staged.beside.key("__swap__")) is not None
                if again == "swap":
                    swap(staged)
                elif again == "recover":
                    assert recover(staged.place, staged.beside) is begun
                else:
                    begin_stage(kind.stage("g/a", "2"), metadata_of(2))
                if begun or done or again == "swap":
                    assert tree(kind.place("g/a")) == expected(200, 6)
                else:
                    assert tree(kind.place("g/a")) == (expected(100, 8) if old else {})
                if again == "swap":
                    assert kind.left() == {}
                if done:
                    break
            assert done
            assert after > 5


@pytest.mark.parametrize("divided", [False, True])
def test_a_swap_of_a_group_above_is_completed_first(local, divided):
    """Otherwise the new array would go with the old group."""
    put(local.place("g/a"), 100, 4)
    staged = local.stage("g")
    begin_stage(staged, GroupMetadata(attributes={"new": True}, zarr_format=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swapping, "exchange", lambda a, b, sync: False)
        half_done(local, "g", after=4)
    assert not node_exists(local.place("g"))
    place = Location(LocalStore(local.store.root + "/g"), "b") if divided else local.place("g/b")
    staged = stage(place, local.beside("g/b"), "1")
    put_staged(staged, 200, 6)
    assert open_group(local.store, "g").attrs == {"new": True}
    swap(staged)
    assert sorted(open_group(local.store, "g")) == ["b"]
    assert local.left() == {}


def test_another_write_that_was_complete_goes_first(local):
    put(local.place("a"), 100, 4)
    put_staged(local.stage("a", "1"), 200, 6)
    half_done(local, "a", after=2)
    put_staged(local.stage("a", "2"), 300, 8)
    assert cells(local.store, "a") == list(range(200, 206))
    swap(local.stage("a", "2"))
    assert cells(local.store, "a") == list(range(300, 308))
    assert local.left() == {}


@pytest.mark.parametrize("after", [2, 4], ids=["before it moved", "after the old one did"])
@pytest.mark.parametrize("again", ["swap", "recover"])
def test_if_the_new_node_is_lost_the_old_one_comes_back(tmp_path, monkeypatch, again, after):
    restrict("renamed", monkeypatch.setattr)
    kind = Kind("renamed", tmp_path)
    create_group(kind.store)
    put(kind.place("a"), 100, 4)
    consolidate(kind.store)
    put_staged(kind.stage("a"), 200, 6)
    before = tree(kind.place())
    staged, _ = half_done(kind, "a", after=after)
    assert node_exists(kind.place("a")) == (after == 2)
    staged.beside.store.delete_below(staged.staged.path)
    if again == "recover":
        assert recover(staged.place, staged.beside)
    else:
        with pytest.raises(NodeNotFoundError, match="not there any more"):
            swap(staged)
    assert tree(kind.place()) == before
    assert kind.left() == {}


def test_what_is_aside_without_a_mark_is_old(local):
    put(local.place("a"), 100, 4)
    staged = local.stage("a")
    assert swapping._move(staged.place, swapping._new_aside(staged.beside))
    assert recover(staged.place, staged.beside)
    assert cells(local.store, "a") == [100, 101, 102, 103]
    fill(swapping._new_aside(staged.beside), 300, 4)
    assert recover(staged.place, staged.beside)
    assert cells(local.store, "a") == [100, 101, 102, 103]
    assert local.left() == {}


def test_without_its_token_nothing_is_deleted_that_may_be_new(local):
    put(local.place("a"), 100, 4)
    put_staged(local.stage("a"), 200, 6)
    staged, _ = half_done(local, "a", after=1)
    staged.beside.store.delete(staged.staged.key(".__swap__"))
    before = tree(local.place()), local.left()
    with pytest.raises(NodeExistsError, match="nothing tells which"):
        swap(staged)
    assert (tree(local.place()), local.left()) == before


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{",
        '{"write": "1"}',
        '{"write": 1, "token": "x", "zarr_format": 3, "placed": false}',
        '{"write": "1", "token": null, "zarr_format": 3, "placed": false}',
        '{"write": "1", "token": "x", "zarr_format": 4, "placed": false}',
        '{"write": "1", "token": "x", "zarr_format": [], "placed": false}',
        '{"write": "1", "token": "x", "zarr_format": 3, "placed": 0}',
        '{"write": "../..", "token": "x", "zarr_format": 3, "placed": false}',
        '{"write": "1", "token": "x", "zarr_format": 3, "placed": false, "newer": 1}',
    ],
)
def test_a_mark_that_is_not_understood_is_an_error(local, text):
    put(local.place("a"), 100, 4)
    put_staged(local.stage("a"), 200, 6)
    beside = local.beside("a")
    beside.store.set(beside.key("__swap__"), text.encode())
    before = tree(local.place()), local.left()
    for attempt in (lambda: swap(local.stage("a")), lambda: recover(local.place("a"), beside)):
        with pytest.raises(MetadataError):
            attempt()
    assert (tree(local.place()), local.left()) == before


def test_a_link_stays_and_what_it_leads_to_is_replaced(local, tmp_path):
    for path, target in (("", tmp_path / "elsewhere"), ("g/a", tmp_path / "elsewhere2")):
        kind = Kind("local", tmp_path / f"at {path.replace('/', ' ')}")
        put(Location(LocalStore(str(target))), 100, 8)
        link = os.path.join(kind.store.root, path).rstrip("/")
        os.makedirs(os.path.dirname(link))
        os.symlink(target, link)
        put_staged(kind.stage(path), 200, 6)
        swap(kind.stage(path))
        assert os.path.islink(link)
        assert tree(locate(str(target))) == expected(200, 6)
        assert kind.left() == {}


def test_who_may_look_into_the_folder_stays(local):
    put(local.place("a"), 100, 4)
    os.chmod(local.store.root + "/a", 0o750)
    put_staged(local.stage("a"), 200, 6)
    swap(local.stage("a"))
    assert stat.S_IMODE(os.stat(local.store.root + "/a").st_mode) == 0o750


def test_a_copy_leaves_no_empty_folders(tmp_path, monkeypatch):
    """They would be groups of N5."""
    restrict("copied", monkeypatch.setattr)
    kind = Kind("copied", tmp_path)
    create_group(kind.store, "g", zarr_format="n5")
    put(kind.place("g/a"), 100, 4, "n5")
    staged = kind.stage("g")
    begin_stage(staged, GroupMetadata(zarr_format="n5"))
    swap(staged)
    assert list(open_group(kind.store, "g", zarr_format="n5")) == []


@pytest.fixture(scope="module", params=["local", "renamed", "copied"])
def processes(request, tmp_path_factory):
    """What this file, run as a program, found out about processes that are killed or come in each other's way."""
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("processes")), request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("trial", "least"),
    [("killed", 10), ("together", 10), ("together_without_locks", 10), ("watched", 5)],
)
def test_processes(processes, trial, least):
    count, failure = processes[trial]
    assert failure is None, failure
    assert count >= least


class FailingStore(StoreWrapper):
    """A store whose n-th request fails, counted from now on over all that share a countdown."""

    def __init__(self, store, left):
        self.left = left

    def before(self, kind, key):
        self.left[0] -= 1
        if self.left[0] == 0:
            raise OSError("the network is away")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_a_store_that_fails_at_any_request(tmp_path, monkeypatch, zarr_format, shared):
    """Copies, so that there are many requests. What shows a node is there only while the node is whole."""
    restrict("copied", monkeypatch.setattr)
    old, new = (expected(*cells, zarr_format, top=False, x=1) for cells in ((100, 8), (200, 6)))
    left = [0]
    for n in range(1, 1000):
        left[0] = 0
        kind = Kind("copied" if shared else "mapping", tmp_path / str(n))
        place = Location(FailingStore(kind.store, left), "g/a")
        beside = Location(FailingStore(kind.shared, left), "g/a") if shared else None
        create_group(kind.store, zarr_format=zarr_format)
        put(kind.place("g/a"), 100, 8, zarr_format, x=1)
        consolidate(kind.store)
        staged = stage(place, beside, "1")
        put_staged(staged, 200, 6, zarr_format, x=1)
        left[0] = n
        with suppress(StoreError):
            swap(staged)
        failed, left[0] = left[0] <= 0, 0
        if node_exists(kind.place("g/a")):
            assert tree(kind.place("g/a")) in (old, new)
        listed = open_group(kind.store, consolidated=True)
        with suppress(NodeNotFoundError):
            assert listed["g/a"].shape in ((8,), (6,))
        swap(staged)
        assert tree(kind.place("g/a")) == new
        assert open_group(kind.store, consolidated=True)["g/a"].shape == (6,)
        assert tree(staged.beside) == kind.left() == {}
        if not failed:
            break
    assert n > 30


CALLS = ("mkdir", "link", "rename", "replace", "chmod", "unlink", "rmdir")


def build(folder):
    """An old array below a group with consolidated metadata, and a new one that is complete."""
    kind = Kind("local", folder)
    create_group(kind.store)
    put(kind.place("g/a"), 100, 8)
    consolidate(kind.store)
    put_staged(kind.stage("g/a"), 200, 6)
    return kind


def arm(n):
    """Have this process killed at its n-th call of the system that may change something."""

    def armed(call):
        def with_a_look(*args, **options):
            nonlocal n
            if n == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            n -= 1
            return call(*args, **options)

        return with_a_look

    for name in CALLS:
        setattr(os, name, armed(getattr(os, name)))
    swapping.exchange = armed(swapping.exchange)


def child(function, *args):
    """Run a function in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        function(*args)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def outcome(pid):
    """0 when a child ended well, 9 when it was killed."""
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else os.WTERMSIG(status)


def until_killed(n, function, *args):
    """Call a function that is killed at its n-th call of the system."""
    arm(n)
    function(*args)


def killed(folder, name):
    """Kill a swap before each of its calls, and then what takes it up again; the number of kills."""
    old, new = expected(100, 8, top=False), expected(200, 6, top=False)
    chance = random.Random(0)
    for n in range(1000):
        kind = build(folder / str(n))
        place, beside = kind.place("g/a"), kind.beside("g/a")
        first = outcome(child(until_killed, n, swap, kind.stage("g/a")))
        check_whole(place, name, old, new)
        if first == 0:
            assert tree(place) == new
            return n
        assert first == signal.SIGKILL
        outcome(child(until_killed, chance.randrange(25), recover, place, beside))
        check_whole(place, name, old, new)
        if n % 2 and not recover(place, beside):
            assert clean(tree(place)) in (old, new)
        swap(kind.stage("g/a"))
        assert tree(place) == new
        assert kind.left() == {}
        assert open_group(kind.store, consolidated=True)["g/a"].shape == (6,)
    raise AssertionError("the swap does not end")


def check_whole(place, name, old, new):
    """What is at the place is one of the nodes, all of it, or none."""
    found = clean(tree(place))
    if name == "copied":
        assert "zarr.json" not in found or found in (old, new)
    else:
        assert found in ((old, new) if name == "local" else (old, new, {}))


def clean(found):
    """Objects of a node, without what is there in the middle of a swap."""
    return {key: value for key, value in found.items() if not key.endswith((".__swap__", ".partial"))}


def swap_at(begin, kind):
    """Begin to swap at a point in time."""
    while time.monotonic() < begin:
        pass
    swap(kind.stage("g/a"))


def together(folder, name, locks=True):
    """Have several processes swap the same; how often."""
    new = expected(200, 6, top=False)
    for n in range(10):
        kind = build(folder / str(n))
        begin = time.monotonic() + 0.01

        outcomes = list(map(outcome, [child(swap_at, begin + i * n * 1e-4, kind) for i in range(3)]))
        if locks:
            assert outcomes == [0, 0, 0]
        else:  # one that comes too late may be told so
            assert 0 in outcomes
            swap(kind.stage("g/a"))
        assert tree(kind.place("g/a")) == new
        assert kind.left() == {}
        assert open_group(kind.store, consolidated=True)["g/a"].shape == (6,)
    return n + 1


def together_without_locks(folder, name):
    """The same on a file system that has none."""
    staging.lock_folder = lambda *args: nullcontext(False)
    return together(folder, name, locks=False)


def watched(folder, name):
    """Look at a node again and again, while it is replaced many times; how many of the nodes were seen whole."""
    kind = Kind("local", folder)
    store, place = kind.store, kind.place("a")
    put(place, 0, 8, turn=0)

    def replace_often():
        for turn in range(1, 30):
            put_staged(kind.stage("a"), 10 * turn, 8, turn=turn)
            swap(kind.stage("a"))

    keys = ["a/zarr.json", *(f"a/c/{i}" for i in range(4))]
    pid, turns = child(replace_often), set()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        before = store.version(keys[0])
        document, *chunks = store.get_many(keys)
        if name == "local":
            assert document is not None
            assert None not in chunks
        if before is not None and before == store.version(keys[0]):  # otherwise it was replaced meanwhile
            turn = json.loads(document)["attributes"]["turn"]
            assert chunks == list(chunks_of(10 * turn, 8).values())
            turns.add(turn)
        if done:
            assert status == 0
            assert turn == 29
            return len(turns)


def main(folder, name):
    """Run all trials; of each how often something happened, or what went wrong."""
    restrict(name)
    found = {}
    for trial in (killed, watched, together, together_without_locks):
        try:
            found[trial.__name__] = trial(pathlib.Path(folder, trial.__name__), name), None
        except Exception:
            found[trial.__name__] = 0, traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
