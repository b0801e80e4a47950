"""Stores by obstore on servers: the contract, and the same objects as fsspec's file systems show."""

import json
import os
import uuid
from dataclasses import replace

import fsspec
import pytest

from daskzarr.errors import StorePermissionError
from daskzarr.stores.remote import object_options
from daskzarr.stores.remote.objects import ObjectStore, object_store_of, preferred_objects
from daskzarr.testing import StoreContract
from daskzarr.testing.contract.values import ODD_KEYS, distinct_bytes

obstore = pytest.importorskip("obstore.store")


def server(name):
    """URL and options of a server, of a folder of its own."""
    line = os.environ.get(f"DASKZARR_TEST_{name}")
    if not line:
        pytest.skip("needs a server: ci/services")
    url, _, options = line.partition(" ")
    return f"{url.rstrip('/')}/obstore-{uuid.uuid4().hex}", json.loads(options or "{}")


class TestS3(StoreContract):
    @pytest.fixture
    def store(self):
        url, options = server("S3")
        self.secrets = (options["secret"],)
        store = ObjectStore.from_url("obstore::" + url, options)
        yield store
        store.delete_below("")

    def test_list_dir_is_up_to_date(self, store):
        """SeaweedFS goes on listing a folder for a while that has become empty; what is in folders is up to date."""
        store.set("a/b", b"1")
        store.set("a/d/e", b"3")
        assert store.list_dir("a") == (("b",), ("d",))
        store.set("a/c", b"2")
        store.delete("a/b")
        store.delete_below("a/d")
        assert (store.list_dir("a").keys, store.list_dir("a/d")) == (("c",), ((), ()))


class TestAzure(StoreContract):
    @pytest.fixture
    def store(self):
        url, options = server("AZURE")
        self.secrets = (options["account_key"],)
        store = ObjectStore.from_url("obstore::" + url, options)
        yield store
        store.delete_below("")


@pytest.fixture(params=["S3", "AZURE"])
def place(request):
    """URL, options, fsspec's file system and the folder in it."""
    url, options = server(request.param)
    fs = fsspec.filesystem(url.partition("://")[0], **options)
    yield url, options, fs, url.partition("://")[2]
    ObjectStore.from_url("obstore::" + url, options).delete_below("")


@pytest.fixture
def quiet_environment(monkeypatch):
    """Nothing around that says more than the options."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_")) or name.upper().endswith("_PROXY") or name in object_options._OF_TLS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(object_options, "_AWS_FILES", ())


def test_odd_keys_are_the_same_objects(place):
    url, options, fs, folder = place
    store = ObjectStore.from_url(f"obstore::{url}/p q é", options)
    for key in (*ODD_KEYS.values(), "a'b", "a<b>", "a|b", "a^b`", "a;b", "a.", "a\u00a0b", "e\u0301"):
        path = f"{folder}/p q é/{key}"
        store.set(key, b"here " + key.encode())
        assert fs.cat_file(path) == b"here " + key.encode(), key
        store.delete(key)
        fs.pipe_file(path, b"there " + key.encode())
        assert store.get(key) == b"there " + key.encode(), key
        assert list(store.survey("")) == [(key, len(b"there " + key.encode()))], key
        fs.rm_file(path)
        assert store.get(key) is None, key


@pytest.mark.usefixtures("quiet_environment")
def test_preferred_to_the_same_objects(place):
    url, options, fs, folder = place
    store = preferred_objects(url, options)
    assert store is not None
    fs.pipe_file(f"{folder}/a/b", b"there")
    assert store.get("a/b") == b"there"
    assert store.create("a/b", b"new") is False
    assert store.create("a/c", b"new") is True
    assert fs.cat_file(f"{folder}/a/c") == b"new"
    above, name = store.parent() or (None, None)
    if above is not None:
        assert above.get(f"{name}/a/c") == b"new"
    store.sibling(".beside").set("a/d", b"beside")
    assert fs.cat_file(f"{folder}.beside/a/d") == b"beside"
    store.sibling(".beside").delete_below("")


def test_a_value_in_parts_is_one_object(place):
    url, options, fs, folder = place
    store = ObjectStore.from_url("obstore::" + url, options)
    value = distinct_bytes(17 * 2**20 + 3)
    store.set("big", value)
    assert fs.cat_file(f"{folder}/big") == value
    assert store.size("big") == len(value)


def test_a_marker_of_a_folder_is_no_key():
    """What a console puts for a folder: an empty object whose key ends in a slash."""
    url, options = server("S3")
    fs = fsspec.filesystem("s3", **options)
    bucket, _, folder = url.partition("://")[2].partition("/")
    store = ObjectStore.from_url("obstore::" + url, options)
    try:
        fs.call_s3("put_object", Bucket=bucket, Key=f"{folder}/a/", Body=b"")
        store.set("a/b", b"1")
        store.set("a/e", b"")
        assert store.list_dir("") == ((), ("a",))
        assert store.list_dir("a") == (("b", "e"), ())
        assert sorted(store.survey("")) == [("a/b", 1), ("a/e", 0)]
    finally:
        store.delete_below("")
        fs.call_s3("delete_object", Bucket=bucket, Key=f"{folder}/a/")


@pytest.mark.parametrize(
    "wrong", [{"secret": "WRONGSECRET"}, {"key": "WRONGKEY"}, {"key": None, "anon": True}], ids=str
)
def test_refused_access_is_never_missing(wrong):
    url, options = server("S3")
    store = ObjectStore.from_url("obstore::" + url, {**options, **wrong})
    for use in (
        lambda: store.get("a"),
        lambda: list(store.get_many(["a", "b"])),
        lambda: store.size("a"),
        lambda: store.set("a", b""),
        lambda: store.create("a", b""),
        lambda: store.delete("a"),
        lambda: store.list_dir(""),
        lambda: list(store.survey("")),
    ):
        with pytest.raises(StorePermissionError) as caught:
            use()
        assert not [word for word in (options["secret"], options["key"], "WRONG") if word in str(caught.value)]


def test_client_that_the_user_made():
    url, options = server("S3")
    bucket, _, prefix = url.partition("://")[2].partition("/")
    client = obstore.S3Store(
        bucket,
        prefix=prefix,
        endpoint=options["endpoint_url"],
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    store = object_store_of(client)
    store.set("a/b", b"1")
    assert client.get("a/b").bytes() == b"1"
    assert store.url == url
    store.delete_below("")


def test_web_server_gives_the_same():
    url, _ = server("HTTP")
    top = url.rpartition("/")[0]
    store = ObjectStore.from_url("obstore::" + top, {})
    assert store.get("never there") is None
    assert replace(store).get("never there/at all") is None
