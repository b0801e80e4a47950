"""Chains for real: caches of web and object stores, folders of them, references into them (JSON and tables)."""

import json
import os
import shutil
import uuid

import fsspec
import pytest
from fsspec.core import url_to_fs

from daskzarr.stores import FilesystemStore, LocalStore, RangeStore, SizedStore, Store, open_store
from daskzarr.testing import StoreContract

lines = {name: os.environ.get(f"DASKZARR_TEST_{name}") for name in ("S3", "HTTP")}
top = os.environ.get("DASKZARR_TEST_HTTP_FOLDER")
pytestmark = pytest.mark.skipif(not all(lines.values()) or not top, reason="needs servers: ci/services")
READING = (Store, RangeStore, SizedStore)
CACHED = 200  # keys at once: some of fsspec's caches write all they know once for each


def place(name):
    """URL of a folder of a test's own, and the options."""
    url, options = lines[name].split(" ", 1)
    return f"{url}/{uuid.uuid4().hex}", json.loads(options)


def bucket():
    """A folder in the bucket, by fsspec."""
    url, options = place("S3")
    fs, root = url_to_fs(url, **options)
    return FilesystemStore(fs, root, url), options


class TestCachedS3(StoreContract):
    many = CACHED

    @pytest.fixture(params=["simplecache", "filecache"])
    def store(self, request, tmp_path):
        url, options = place("S3")
        self.secrets = [options["secret"]]
        store = open_store(
            f"{request.param}::{url}", storage_options={"s3": options, request.param: {"cache_storage": str(tmp_path)}}
        )
        assert store.waits
        yield store
        store.delete_below("")

    test_list_dir_is_up_to_date = None  # SeaweedFS shows a prefix for a while after its last object is gone


class TestCachedHTTP(StoreContract):
    protocols = READING
    many = CACHED

    @pytest.fixture(params=["simplecache", "filecache", "blockcache"])
    def store(self, request, tmp_path):
        url, _ = place("HTTP")
        self.files = LocalStore(f"{top}/{url.rpartition('/')[2]}")
        yield open_store(f"{request.param}::{url}", storage_options={request.param: {"cache_storage": str(tmp_path)}})
        shutil.rmtree(self.files.root, ignore_errors=True)

    def seed(self, store, values):
        for key, value in values.items():
            self.files.set(key, value)


class TestFolderOfS3(StoreContract):
    @pytest.fixture
    def store(self):
        url, options = place("S3")
        store = open_store(f"dir::{url}", storage_options={"s3": options})
        assert isinstance(store, FilesystemStore)
        yield store
        store.delete_below("")

    test_list_dir_is_up_to_date = None  # as above


class TestBlockCacheOfFiles(StoreContract):
    many = CACHED

    @pytest.fixture
    def store(self, tmp_path):
        (tmp_path / "files").mkdir()
        options = {"blockcache": {"cache_storage": str(tmp_path / "cache")}}
        return open_store(f"blockcache::file://{tmp_path}/files", storage_options=options)


class TestReferences(StoreContract):
    """Keys that refer to parts of one object, as those made of other formats do."""

    protocols = READING
    test_opened_twice_is_the_same_place = None  # references are read when a store is opened

    @pytest.fixture(params=["S3", "HTTP"])
    def store(self, request, tmp_path):
        self.references = tmp_path / "references.json"
        self.references.write_text("{}")
        if request.param == "S3":
            self.data, options = bucket()
            remote = {"remote_protocol": "s3", "remote_options": options}
            self.url = "s3://" + self.data.path("data")
        else:
            url, _ = place("HTTP")
            self.data, remote = LocalStore(f"{top}/{url.rpartition('/')[2]}"), {"remote_protocol": "http"}
            self.url = url + "/data"
        fs = fsspec.filesystem("reference", fo=str(self.references), **remote)
        yield FilesystemStore(fs, "", "reference://")
        self.data.delete_below("")

    def seed(self, store, values):
        old = self.data.get("data") or b"before"
        self.data.set("data", old + b"".join(values.values()) + b"behind")
        begin = len(old)
        for key, value in values.items():
            store.fs.references[key] = [self.url, begin, len(value)]
            begin += len(value)
        self.references.write_text(json.dumps({"version": 1, "refs": store.fs.references}))


@pytest.mark.parametrize("where", ["here", "S3"])
def test_references_in_tables(where, tmp_path):
    from fsspec.implementations.reference import LazyReferenceMapper

    data, options = bucket()
    value = bytes(range(200))
    data.set("data", value)
    if where == "here":
        fs, folder, target = fsspec.filesystem("file"), str(tmp_path / "references.parq"), {}
        place = folder
    else:
        fs, folder, target = data.fs, data.path("references.parq"), {"target_options": options}
        place = f"s3://{folder}"
    table = LazyReferenceMapper.create(folder, fs=fs, record_size=10, engine="pyarrow")
    table[".zgroup"] = b'{"zarr_format": 2}'
    table["a/.zarray"] = json.dumps({"shape": [40], "chunks": [1], "zarr_format": 2}).encode()
    for i in range(25):
        table[f"a/{i}"] = b"inline" if i == 3 else [f"s3://{data.path('data')}", i, 5]
    table.flush()
    remote = {"remote_protocol": "s3", "remote_options": options}
    store = open_store("reference://", storage_options={"fo": place, **target, **remote})
    expected = [b"inline" if i == 3 else value[i : i + 5] if i < 25 else None for i in range(40)]
    assert list(store.get_many([f"a/{i}" for i in range(40)])) == expected
    assert store.list_dir("") == ((".zgroup", ".zmetadata"), ("a",))
    data.delete("data")
    for call in (lambda: store.get("a/1"), lambda: list(store.get_many(["a/3", "a/2"]))):
        with pytest.raises(OSError, match="missing"):
            call()
    data.delete_below("")
