"""Azure Blob Storage (its emulator): the contract of a store, and the traps of adlfs."""

import base64
import json
import os
import uuid

import pytest
from fsspec.core import url_to_fs

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, StorePermissionError, UnsupportedError
from daskzarr.stores import FilesystemStore
from daskzarr.testing import StoreContract

line = os.environ.get("DASKZARR_TEST_AZURE")
pytestmark = pytest.mark.skipif(not line, reason="needs a server: ci/services")


@pytest.fixture
def place():
    """URL of a folder of this test's own, and the options."""
    url, options = line.split(" ", 1)
    return f"{url}/{uuid.uuid4().hex}/a.zarr", json.loads(options)


class TestAzure(StoreContract):
    @pytest.fixture
    def store(self, place):
        url, options = place
        self.secrets = [options["account_key"]]
        fs, root = url_to_fs(url, **options)
        store = FilesystemStore(fs, root, url)
        yield store
        store.delete_below("")


@pytest.fixture
def store(place):
    url, options = place
    fs, root = url_to_fs(url, **options)
    store = FilesystemStore(fs, root, url)
    yield store
    store.delete_below("")


def test_parts_tell_the_version_they_are_of(store):
    value = bytes(range(200))
    store.set("k", value)
    found = store.get_ranges("k", [ByteRange(-8), ByteRange(3, 4), ByteRange(190, 100), ByteRange(7, 0)])
    assert found == [value[-8:], value[3:7], value[190:], b""]
    assert found.version == store.get_ranges("k", [ByteRange(1)]).version is not None
    store.set("k", value[::-1])
    assert found.version != store.get_ranges("k", [ByteRange(-1)]).version


def test_the_end_of_a_blob_that_is_replaced_meanwhile_is_of_one_version(store, monkeypatch):
    from azure.storage.blob.aio import BlobClient

    old, new = bytes(range(200)), bytes(range(150))
    store.set("k", old)
    noted, other = BlobClient.get_blob_properties, FilesystemStore(store.fs, store.root, store.url)
    times = []

    async def noted_and_replaced(self, **options):
        found = await noted(self, **options)
        times.append(1)
        if len(times) == 1:
            await other.fs._pipe_file(store.path("k"), new)
        return found

    monkeypatch.setattr(BlobClient, "get_blob_properties", noted_and_replaced)
    assert store.get("k", ByteRange(-8)) == new[-8:]
    assert len(times) == 2


def test_neighbours_of_a_prefix_are_not_listed_nor_asked_for(store, monkeypatch):
    from azure.storage.blob.aio import ContainerClient

    for key in ("a/b", "a/c/d", "a/c/e/f", "ab/c", "ab/d", "abc", "a.b"):
        store.set(key, key.encode())
    asked, walk = [], ContainerClient.walk_blobs

    def walk_and_note(self, **options):
        asked.append(options["name_starts_with"])
        return walk(self, **options)

    monkeypatch.setattr(ContainerClient, "walk_blobs", walk_and_note)
    assert store.list_dir("a") == (("b",), ("c",))
    assert store.list_dir("") == (("a.b", "abc"), ("a", "ab"))
    assert [lead.rpartition("a.zarr/")[2] for lead in asked] == ["a/", ""]
    assert dict(store.survey("a")) == {"a/b": 3, "a/c/d": 5, "a/c/e/f": 7}
    store.delete_below("a")
    assert {key for key, _ in store.survey("")} == {"ab/c", "ab/d", "abc", "a.b"}


def test_a_wrong_key_and_a_wrong_container_are_errors_and_nothing_missing(store, place):
    url, options = place
    store.set("k", b"1")
    fs, _ = url_to_fs(url, **options)
    nowhere = FilesystemStore(fs, "nowhere/a", "abfs://nowhere/a")
    wrong = base64.b64encode(b"wrong" * 10).decode()
    changed = {name: text.replace(options["account_key"], wrong) for name, text in options.items()}
    fs, root = url_to_fs(url, **changed)
    refused = FilesystemStore(fs, root, url)
    for store, error in ((nowhere, StoreError), (refused, StorePermissionError)):
        for read in (
            lambda store=store: store.get("k"),
            lambda store=store: list(store.get_many(["k", "x"])),
            lambda store=store: store.get_ranges("k", [ByteRange(0, 1), ByteRange(-1)]),
            lambda store=store: store.size("k"),
            lambda store=store: store.list_dir(""),
            lambda store=store: list(store.survey("")),
        ):
            with pytest.raises(error) as caught:
                read()
            assert wrong not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("key", ["k?", "k#", "k?versionid=1", "k\n"])
def test_keys_that_adlfs_takes_for_others_are_refused(store, key):
    store.set("k", b"1")
    for write in (lambda: store.set(key, b"2"), lambda: store.create(key, b"2"), lambda: store.delete(key)):
        with pytest.raises(UnsupportedError, match="another"):
            write()
    assert store.get(key) is None
    assert store.get("k") == b"1"
