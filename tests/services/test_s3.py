"""S3 for real: the contract of a store, and the traps of s3fs."""

import json
import os
import uuid

import pytest
from fsspec.core import url_to_fs

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, StorePermissionError
from daskzarr.stores import FilesystemStore
from daskzarr.testing import StoreContract

lines = {name: os.environ.get(f"DASKZARR_TEST_{name}") for name in ("S3", "S3_MOTO")}
pytestmark = pytest.mark.skipif(not any(lines.values()), reason="needs a server: ci/services")


@pytest.fixture(params=[name for name, line in lines.items() if line])
def server(request):
    return request.param


@pytest.fixture
def place(server):
    """URL of a folder of this test's own, and the options."""
    url, options = lines[server].split(" ", 1)
    return f"{url}/{uuid.uuid4().hex}/a.zarr", json.loads(options)


def opened(url, options, **more):
    fs, root = url_to_fs(url, **options, **more)
    return FilesystemStore(fs, root, url)


@pytest.fixture
def store(place):
    store = opened(*place)
    yield store
    store.delete_below("")


class TestS3(StoreContract):
    @pytest.fixture
    def store(self, place):
        self.secrets = [place[1]["secret"]]
        store = opened(*place)
        yield store
        store.delete_below("")

    def test_list_dir_is_up_to_date(self, store, server):
        if server == "S3":
            pytest.skip("SeaweedFS shows a prefix for a while after its last object is gone")
        StoreContract.test_list_dir_is_up_to_date(self, store)


def test_more_objects_than_one_request_lists_or_deletes(store):
    values = {f"c/{i}": b"%d" % i for i in range(1203)}
    store.fs.pipe({store.path(key): value for key, value in values.items()} | {store.path("cd"): b"stays"})
    assert set(store.list_dir("c").keys) == {str(i) for i in range(1203)}
    assert dict(store.survey("c")) == {key: len(value) for key, value in values.items()}
    store.delete_below("c")
    assert list(store.survey("")) == [("cd", 5)]
    assert set(store.get_many(list(values))) == {None}


def test_each_read_is_one_request(store, monkeypatch):
    value = bytes(range(200))
    store.set("k", value)
    asked, call = [], store.fs._call_s3

    async def counted(method, *args, **kwargs):
        asked.append((method, kwargs.get("Range")))
        return await call(method, *args, **kwargs)

    monkeypatch.setattr(store.fs, "_call_s3", counted)
    assert store.get("k") == value
    assert store.get("k", ByteRange(-8)) == value[-8:]
    assert store.get("x") is None
    assert store.size("k") == 200
    assert asked == [
        ("get_object", None),
        ("get_object", "bytes=-8"),
        ("get_object", None),
        ("get_object", "bytes=0-0"),
    ]
    asked.clear()
    found = store.get_ranges("k", [ByteRange(i * 20, 5) for i in range(8)])
    assert found == [value[i * 20 :][:5] for i in range(8)]
    assert found.version == store.get_ranges("k", [ByteRange(-3)]).version
    assert len(asked) == 9
    asked.clear()
    assert list(store.get_many(["k"] * 20 + ["x"])) == [value] * 20 + [None]
    assert asked == [("get_object", None)] * 21
    store.set("k", value[::-1])
    assert found.version != store.get_ranges("k", [ByteRange(-3)]).version


def test_what_s3fs_remembers_is_not_believed(store, place):
    store.set("a/b", b"1")
    store.fs.ls(store.path("a"), detail=True)
    store.fs.info(store.path("a/b"))
    other = opened(*place, skip_instance_cache=True)
    other.set("a/b", b"22")
    other.set("a/c", b"333")
    assert (store.get("a/b"), store.size("a/b"), store.get("a/b", ByteRange(-2))) == (b"22", 2, b"22")
    assert store.list_dir("a").keys == ("b", "c")
    assert dict(store.survey("")) == {"a/b": 2, "a/c": 3}
    other.delete("a/b")
    assert (store.get("a/b"), store.size("a/b"), store.list_dir("a").keys) == (None, None, ("c",))


def test_a_wrong_key_and_a_wrong_bucket_are_errors_and_nothing_missing(store, place, server):
    url, options = place
    store.set("k", b"1")
    nowhere = opened(url.replace("//daskzarr/", f"//{uuid.uuid4().hex}/"), options)
    refused = opened(url, options | {"secret": "wrong"})
    for wrong, error in ((nowhere, StoreError), (refused, StorePermissionError)):
        if wrong is refused and server == "S3_MOTO":
            continue  # it lets everyone in
        for read in (
            lambda wrong=wrong: wrong.get("k"),
            lambda wrong=wrong: list(wrong.get_many(["k", "x"])),
            lambda wrong=wrong: wrong.get_ranges("k", [ByteRange(0, 1), ByteRange(-1)]),
            lambda wrong=wrong: wrong.size("k"),
            lambda wrong=wrong: wrong.list_dir(""),
            lambda wrong=wrong: list(wrong.survey("")),
            lambda wrong=wrong: wrong.delete_below(""),
            lambda wrong=wrong: wrong.set("k", b"2"),
        )[: 8 if wrong is refused else 7]:  # SeaweedFS makes a bucket for what is put in it
            with pytest.raises(error) as caught:
                read()
            assert "wrong" not in f"{caught.value!r} {caught.value}"
    assert store.get("k") == b"1"
