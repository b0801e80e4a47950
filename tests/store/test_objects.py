"""Stores by obstore: the contract, what users hand in, options, failures, and the same requests as s3fs makes."""

import pickle
import re
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.stores import (
    CreateStore,
    ListableStore,
    LocalStore,
    RangeStore,
    SiblingStore,
    Store,
    SurveyStore,
    SyncingStore,
    Traffic,
    creates,
    waits,
)
from daskzarr.stores.remote import object_client, object_options
from daskzarr.stores.remote.object_client import Opening
from daskzarr.stores.remote.object_options import prefers_objects
from daskzarr.stores.remote.objects import ObjectStore, object_store_of, preferred_objects
from daskzarr.stores.retries import is_transient
from daskzarr.stores.transient import is_unreachable
from daskzarr.testing import StoreContract, WebServer
from daskzarr.testing.contract.parts import Parts
from daskzarr.testing.contract.reading import Reading

obstore = pytest.importorskip("obstore.store")
obstore_exceptions = pytest.importorskip("obstore.exceptions")

KEYS = {"key": "KEYNAME", "secret": "SECRETVALUE"}
SERVER = {"endpoint_url": "http://127.0.0.1:9"}
AZURE = {"account_name": "account", "account_key": "c2VjcmV0"}


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch, tmp_path):
    """Nothing around that says more than the options."""
    for name in list(object_options.os.environ):
        if name.startswith(("AWS_", "AZURE_")) or name.upper().endswith("_PROXY") or name in object_options._OF_TLS:
            monkeypatch.delenv(name)
    monkeypatch.setattr(object_options, "_AWS_FILES", (str(tmp_path / "none"),))


# The contract


class TestMemory(StoreContract):
    without = (SyncingStore,)  # memory is never safe

    @pytest.fixture
    def store(self):
        self.client = obstore.MemoryStore()
        return object_store_of(self.client)


class TestWeb(StoreContract):
    protocols = (Store, RangeStore)

    @pytest.fixture
    def store(self):
        self.values = {}
        with WebServer(self.values) as server:
            yield ObjectStore.from_url(f"obstore::{server.url}/data", {})

    def seed(self, store, values):
        self.values.update({f"data/{key}": value for key, value in values.items()})


class TestWebWithoutRanges(Reading, Parts):
    protocols = (Store, RangeStore)
    big = 2**20

    @pytest.fixture
    def store(self):
        self.values = {}
        with WebServer(self.values, ranges=False) as server:
            yield ObjectStore.from_url(f"obstore::{server.url}/data", {})

    seed = TestWeb.seed


class PatientServer(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serving(handler):
    """A web server's URL."""
    server = PatientServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


# What users hand in

CLIENTS = {
    "s3": lambda: obstore.S3Store(
        "bucket", prefix="a b/c", access_key_id="KEYNAME", secret_access_key="SECRETVALUE", region="eu-west-1"
    ),
    "azure": lambda: obstore.AzureStore("container", prefix="a", account_name="account", account_key="c2VjcmV0"),
    "gcs": lambda: obstore.GCSStore("bucket", prefix="a/b", skip_signature=True),
    "web": lambda: obstore.HTTPStore.from_url("http://me:SECRETVALUE@host/a", client_options={"allow_http": True}),
}
URLS = {"s3": "s3://bucket/a b/c", "azure": "abfs://container/a", "gcs": "gs://bucket/a/b", "web": "http://host/a"}


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_are_known(name):
    store, again = object_store_of(CLIENTS[name]()), object_store_of(CLIENTS[name]())
    assert store.url == URLS[name]
    assert store == again == pickle.loads(pickle.dumps(store))
    assert hash(store) == hash(again)
    assert store.identity == again.identity
    for text in (repr(store), store.url, store.identity, f"{store}"):
        assert "SECRETVALUE" not in text
        assert "c2VjcmV0" not in text
    assert (store.shared, waits(store), store.can_write) == (True, True, name != "web")
    assert creates(store) == (name != "web")


def test_client_is_opened_as_it_was():
    def keys():
        return {"access_key_id": "K", "secret_access_key": "S", "expires_at": None}

    given = obstore.S3Store(
        "bucket",
        prefix="/a/",
        region="eu-west-1",
        client_options={"timeout": "3s", "default_headers": {"x": "y"}},
        retry_config={"max_retries": 1},
        credential_provider=keys,
    )
    store = object_store_of(given)
    opened = object_client.client(store.opening)
    assert opened.prefix == "a"
    for name in ("config", "client_options", "retry_config", "credential_provider"):
        assert getattr(opened, name) == getattr(given, name)
    assert object_client.client(store.opening) is opened
    once = object_client.client(store.opening.once())
    assert once.retry_config["max_retries"] == 0
    assert once.config == given.config


def test_clients_of_other_places_or_access_differ():
    stores = [object_store_of(CLIENTS[name]()) for name in CLIENTS]
    stores += [
        object_store_of(obstore.S3Store("bucket", prefix="a b/c", region="eu-west-1", skip_signature=True)),
        object_store_of(obstore.S3Store("bucket", prefix="a b/d", region="eu-west-1", skip_signature=True)),
        object_store_of(obstore.S3Store("other", prefix="a b/d", region="eu-west-1", skip_signature=True)),
        object_store_of(obstore.S3Store("other", region="eu-west-1", skip_signature=True, endpoint="https://host")),
        object_store_of(obstore.S3Store("other", region="eu-west-1", skip_signature=True, endpoint="https://others")),
        object_store_of(obstore.MemoryStore()),
    ]
    assert all((one == two) == (i == j) for i, one in enumerate(stores) for j, two in enumerate(stores))
    assert stores[-3].url == stores[-2].url
    assert stores[-3].identity != stores[-2].identity


def test_local_files_are_daskzarrs_own(tmp_path):
    (tmp_path / "a").mkdir()
    assert object_store_of(obstore.LocalStore(tmp_path / "a")) == LocalStore(str(tmp_path / "a"))
    assert object_store_of(obstore.LocalStore()) == LocalStore("/")


def test_zarr_pythons_store_that_holds_one():
    storage = pytest.importorskip("zarr.storage")
    client = obstore.MemoryStore()
    assert object_store_of(storage.ObjectStore(client)) == object_store_of(client)
    assert object_store_of(storage.MemoryStore()) is None


def test_other_places_are_none():
    for place in ("s3://bucket", {}, None, object(), fsspec.filesystem("memory"), obstore, obstore.S3Store):
        assert object_store_of(place) is None


def test_nothing_is_loaded_to_tell():
    code = (
        "import sys; from daskzarr.stores.remote.objects import object_store_of, preferred_objects; "
        "from daskzarr.stores.remote.icechunk import icechunk_store_of; object_store_of({}); icechunk_store_of({}); "
        "preferred_objects('s3://bucket/a', {'key': 'k', 'secret': 's', 'endpoint_url': 'http://host'}); "
        "print({'obstore', 'icechunk', 's3fs', 'botocore', 'zarr'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "set()"


# In memory


def test_memory_is_one_place_while_it_lives():
    client = obstore.MemoryStore()
    store = object_store_of(client)
    assert object_store_of(client) == store
    assert pickle.loads(pickle.dumps(store)).held is client
    assert not store.shared
    assert store.sibling(".x") is None
    gone, pickled = weakref.ref(client), pickle.dumps(store)
    del client, store
    assert gone() is None
    lost = pickle.loads(pickled)
    for use in (lambda: lost.get("a"), lambda: lost.set("a", b""), lambda: lost.list_dir(""), lambda: lost.size("a")):
        with pytest.raises(UnsupportedError, match="memory of another process"):
            use()


def test_values_are_views_that_stay():
    store = object_store_of(obstore.MemoryStore())
    store.set("a", b"0123456789")
    value, part = store.get("a"), store.get("a", ByteRange(2, 3))
    assert (value.readonly, value.format, value.nbytes) == (True, "B", 10)
    store.delete("a")
    del store
    assert (bytes(value), bytes(part)) == (b"0123456789", b"234")


def test_keys_that_obstore_cannot_name():
    store = object_store_of(obstore.MemoryStore())
    for key in ("a\nb", "a//b", "a/./b"):
        for use in (partial(store.get, key), partial(store.set, key, b"1"), partial(store.size, key)):
            with pytest.raises(UnsupportedError, match="no way to name"):
                use()


class Replaced:
    """A client of obstore whose object is another one after each request, until some were made."""

    def __init__(self, client, turns, suffixes=True):
        self.client, self.turns, self.suffixes = client, turns, suffixes

    def replace(self):
        if self.turns:
            self.turns -= 1
            self.client.put("k", (b"%d" % self.turns) * (10 + self.turns))

    def head(self, key):
        noted = self.client.head(key)
        self.replace()
        return noted

    def get(self, key, options=None):
        if not self.suffixes and "suffix" in (options or {}).get("range", ()):
            raise obstore_exceptions.NotSupportedError("no suffixes")
        found = self.client.get(key, options=options)
        self.replace()
        return found


@pytest.mark.parametrize(("turns", "works"), [(0, True), (1, True), (3, True), (100, False)])
@pytest.mark.parametrize("suffixes", [True, False])
def test_parts_are_of_one_version(turns, works, suffixes):
    client = obstore.MemoryStore()
    client.put("k", b"a" * 12)
    store = object_store_of(client)
    changing = ObjectStore(store.opening, store.url, Replaced(client, turns, suffixes))
    wanted = [ByteRange(0, 3), ByteRange(-3)]
    if not works:
        with pytest.raises(StoreError, match="replaced") as caught:
            changing.get_ranges("k", wanted)
        assert is_transient(caught.value)
        return
    first, last = changing.get_ranges("k", wanted)
    assert bytes(first) == bytes(last) == bytes(store.get("k"))[:3]


# Places around


def test_sibling_and_parent():
    store = ObjectStore.from_url("obstore::s3://bucket/a b/c.zarr", {**KEYS, **SERVER})
    beside = store.sibling(".daskzarr")
    assert (beside.url, beside.opening.root) == ("s3://bucket/a b/c.zarr.daskzarr", "a b/c.zarr.daskzarr")
    assert beside.opening.settings == store.opening.settings
    above, name = store.parent()
    assert (above.url, above.opening.root, name) == ("s3://bucket/a b", "a b", "c.zarr")
    assert above.parent() is None
    assert ObjectStore.from_url("obstore::s3://bucket", {**KEYS, **SERVER}).sibling(".x") is None
    assert object_store_of(CLIENTS["web"]()).sibling(".x") is None
    assert object_store_of(CLIENTS["web"]()).parent() is None
    assert isinstance(store, (SiblingStore, CreateStore, ListableStore, SurveyStore))


def test_synced():
    store = ObjectStore.from_url("obstore::s3://bucket/a", {**KEYS, **SERVER})
    assert store.synced() is store
    with pytest.raises(UnsupportedError):
        object_store_of(obstore.MemoryStore()).synced()


# URLs


@pytest.mark.parametrize(
    ("url", "options", "opening"),
    [
        ("s3://bucket/a/b/", {}, ("S3Store", "a/b", {"bucket": "bucket"})),
        ("s3a://bucket", {"region": "r"}, ("S3Store", "", {"bucket": "bucket", "region": "r"})),
        (
            "gs://bucket/a%20b",
            {"skip_signature": True},
            ("GCSStore", "a%20b", {"bucket": "bucket", "skip_signature": True}),
        ),
        (
            "az://container/a",
            {"use_emulator": True},
            ("AzureStore", "a", {"container_name": "container", "use_emulator": True}),
        ),
        (
            "abfss://container@account.dfs.core.windows.net/a#b?c",
            {},
            ("AzureStore", "a#b?c", {"container_name": "container", "account_name": "account"}),
        ),
    ],
)
def test_own_options(url, options, opening):
    store = ObjectStore.from_url("obstore::" + url, options)
    assert (store.opening.name, store.opening.root, store.opening.settings["config"]) == opening
    assert store.url.startswith(url.partition("://")[0] + "://")
    assert object_client.client(store.opening).config


def test_client_options_and_retries_are_handed_on():
    options = {"client_options": {"timeout": "3s"}, "retry_config": {"max_retries": 7}, "skip_signature": True}
    opened = object_client.client(ObjectStore.from_url("obstore::s3://bucket/a", options).opening)
    assert (opened.client_options, opened.retry_config["max_retries"]) == ({"timeout": "3s"}, 7)


def test_options_of_s3fs_do():
    store = ObjectStore.from_url("obstore::s3://bucket/a", {**KEYS, **SERVER})
    assert store.opening == prefers_objects("s3://bucket/a", {**KEYS, **SERVER})
    assert "SECRETVALUE" not in repr(store.opening)


@pytest.mark.parametrize(
    ("url", "options", "named"),
    [
        ("s3://bucket/a", {"regoin": "r"}, "regoin"),
        ("s3://bucket/a", {"key": "SECRETVALUE", "sekret": "SECRETVALUE"}, "no option 'sekret'"),
        ("s3://bucket/a", {"sekret": "SECRETVALUE", "key": "SECRETVALUE"}, "no option 'sekret'"),
        ("s3://bucket/a", {"key": "a", "profile": "mine", "sekret": "b"}, "no option 'profile', 'sekret'"),
        ("s3://bucket/a", {"key": "a", "secret": "SECRETVALUE"}, "endpoint_url, or client_kwargs"),
        ("s3://bucket/a", {"key": "a", "region": "SECRETVALUE"}, r"s3fs \(key\) and of obstore \(region\) do not mix"),
        ("az://container/a", {"account_host": "h", "acount_key": "SECRETVALUE"}, "no option 'acount_key'"),
        ("az://container/a", {"connection_string": "SECRETVALUE"}, "account_name"),
        ("gs://bucket/a", {"tokn": "SECRETVALUE"}, "tokn"),
        ("s3://bucket/a", {"client_options": {"timeout": "soon"}}, "set up"),
        ("http://host/a", {"token": "SECRETVALUE"}, "token"),
        ("http://me:SECRETVALUE@host/a?b=SECRETVALUE", {}, "query"),
        ("s3:///a", {}, "no way to name"),
        ("s3://bucket/a//b", {}, "no way to name"),
        ("s3://bucket/a/../b", {}, "no way to name"),
        ("ftp://host/a", {}, "S3, Azure"),
        ("simplecache::s3://bucket/a", {}, "S3, Azure"),
        ("memory://a", {}, "S3, Azure"),
        ("bucket/a", {}, "S3, Azure"),
    ],
)
def test_what_cannot_be_opened(url, options, named):
    with pytest.raises((MetadataError, UnsupportedError), match=named) as caught:
        ObjectStore.from_url("obstore::" + url, options)
    assert "SECRETVALUE" not in str(caught.value)
    assert caught.value.__context__ is None


# What is preferred

AWS = {"client_kwargs": {"region_name": "eu-west-3"}}
PREFERRED = {
    "server": ("s3://bucket/a", {**KEYS, **SERVER}),
    "server in client_kwargs": ("s3://bucket/a", {**KEYS, "client_kwargs": SERVER}),
    "server twice": ("s3://bucket/a", {**KEYS, **SERVER, "client_kwargs": SERVER}),
    "region": ("s3://bucket/a", {**KEYS, **AWS}),
    "anonymous": ("s3a://bucket/a", {"anon": True, **AWS}),
    "token": ("s3://bucket/a", {**KEYS, **SERVER, "token": "T"}),
    "path style": ("s3://bucket/a", {**KEYS, **SERVER, "config_kwargs": {"s3": {"addressing_style": "path"}}}),
    "requester": ("s3://bucket/a", {**KEYS, **AWS, "requester_pays": True}),
    "of files": (
        "s3://bucket",
        {**KEYS, **SERVER, "default_block_size": 5, "use_listings_cache": False, "token": None},
    ),
    "account": ("abfs://container/a", AZURE),
    "account in the URL": ("abfss://container@account.dfs.core.windows.net/a", AZURE),
    "signature": ("az://container/a", {"account_name": "account", "sas_token": "?sv=1&sig=SECRETVALUE"}),
    "connection": (
        "abfs://container/a",
        {
            **AZURE,
            "connection_string": "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=c2VjcmV0;"
            "BlobEndpoint=http://127.0.0.1:9/devstoreaccount1;",
        },
    ),
    "connection to Azure": ("abfs://container/a", {"connection_string": "AccountName=account;AccountKey=c2VjcmV0"}),
    "anonymous on Azure": ("abfs://container/a", {"account_name": "account", "anon": True}),
    "host": ("abfs://container/a", {**AZURE, "account_host": "account.blob.core.chinacloudapi.cn"}),
}
LEFT_TO_FSSPEC = {
    "no keys": ("s3://bucket/a", SERVER),
    "no secret": ("s3://bucket/a", {"key": "K", **SERVER}),
    "no region": ("s3://bucket/a", KEYS),
    "anonymous, no region": ("s3://bucket/a", {"anon": True}),
    "profile": ("s3://bucket/a", {**KEYS, **SERVER, "profile": "p"}),
    "unknown in client_kwargs": ("s3://bucket/a", {**KEYS, **SERVER, "client_kwargs": {"verify": False}}),
    "unknown in config_kwargs": ("s3://bucket/a", {**KEYS, **SERVER, "config_kwargs": {"signature_version": "s3"}}),
    "unknown in s3": ("s3://bucket/a", {**KEYS, **AWS, "config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}),
    "virtual style": ("s3://bucket/a", {**KEYS, **SERVER, "config_kwargs": {"s3": {"addressing_style": "virtual"}}}),
    "two servers": ("s3://bucket/a", {**KEYS, **SERVER, "client_kwargs": {"endpoint_url": "http://other"}}),
    "login in the server": ("s3://bucket/a", {**KEYS, "endpoint_url": "http://me:x@host"}),
    "no ssl": ("s3://bucket/a", {**KEYS, **AWS, "use_ssl": False}),
    "versions": ("s3://bucket/a", {**KEYS, **SERVER, "version_aware": True}),
    "access point": ("s3://arn:aws:s3:eu-west-3:1:accesspoint/a", {**KEYS, **AWS}),
    "old bucket": ("s3://Bucket_A/a", {**KEYS, **AWS}),
    "odd place": ("s3://bucket/a//b", {**KEYS, **SERVER}),
    "line feed": ("s3://bucket/a\nb", {**KEYS, **SERVER}),
    "no bucket": ("s3:///a", {**KEYS, **SERVER}),
    "chained": ("simplecache::s3://bucket/a", {"s3": {**KEYS, **SERVER}}),
    "options by protocol": ("s3://bucket/a", {"s3": {**KEYS, **SERVER}}),
    "key of another type": ("s3://bucket/a", {**SERVER, "key": b"K", "secret": b"S"}),
    "no account key": ("abfs://container/a", {"account_name": "account"}),
    "no account": ("abfs://container/a", {"account_key": "c2VjcmV0"}),
    "credential": ("abfs://container/a", {**AZURE, "credential": object()}),
    "two accounts": ("abfs://container@other.dfs.core.windows.net/a", AZURE),
    "number sign on Azure": ("abfs://container/a#b", AZURE),
    "unknown in the connection": ("abfs://container/a", {"connection_string": "UseDevelopmentStorage=true"}),
    "google": ("gs://bucket/a", {"token": "anon"}),
    "web": ("https://host/a", {}),
    "local": ("file:///a", {}),
    "no URL": ("a", KEYS),
}


@pytest.mark.parametrize(("url", "options"), PREFERRED.values(), ids=list(PREFERRED))
def test_preferred(url, options):
    store = preferred_objects(url, options)
    assert isinstance(store, ObjectStore)
    assert store.url == url
    assert object_client.client(store.opening) is not None
    assert pickle.loads(pickle.dumps(store)) == store
    assert store == preferred_objects(url, dict(reversed(options.items())))
    text = repr(store) + repr(store.opening) + repr(store.opening.settings) + store.identity
    assert not re.search("SECRETVALUE|KEYNAME|c2VjcmV0", text)


@pytest.mark.parametrize(("url", "options"), LEFT_TO_FSSPEC.values(), ids=list(LEFT_TO_FSSPEC))
def test_left_to_fsspec(url, options):
    given = dict(options)
    assert preferred_objects(url, options) is None
    assert options == given


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_SKIP_SIGNATURE", "AWS_CONFIG_FILE", "AWS_ROLE_ARN"),
        *("HTTP_PROXY", "https_proxy"),
    ],
)
def test_environment_that_says_more(monkeypatch, name):
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is not None
    monkeypatch.setenv(name, "x")
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_CA_BUNDLE", "HOME"])
def test_environment_that_says_nothing(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is not None


def test_certificates_matter_with_tls(monkeypatch):
    places = [("s3://bucket/a", {**KEYS, **AWS}), ("abfs://container/a", AZURE)]
    assert all(preferred_objects(*place) for place in places)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "x")
    assert not any(preferred_objects(*place) for place in places)


def test_files_of_aws(monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setattr(object_options, "_AWS_FILES", (str(tmp_path / "config"),))
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None
    assert preferred_objects("abfs://container/a", AZURE) is not None


def test_environment_of_azure(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "x")
    assert preferred_objects("abfs://container/a", AZURE) is None
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is not None


def test_configuration_of_fsspec(monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {**SERVER, "key": "other"})
    assert preferred_objects("s3://bucket/a", KEYS) == preferred_objects("s3://bucket/a", {**KEYS, **SERVER})
    monkeypatch.setitem(fsspec.config.conf, "s3", {"profile": "p"})
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None


def test_another_file_system_of_the_name(monkeypatch):
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", fsspec.get_filesystem_class("memory"))
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None


def test_forked_not_installed_or_old(monkeypatch):
    monkeypatch.setattr(object_client, "_forked", True)
    assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None
    store = object_store_of(CLIENTS["s3"]())
    for use in (lambda: store.get("a"), lambda: list(store.get_many(["a", "b"])), lambda: store.set("a", b"1")):
        with pytest.raises(UnsupportedError, match="forked"):
            use()
    monkeypatch.setattr(object_client, "_forked", False)
    for installed in (None, (0, 10)):
        monkeypatch.setattr(object_client, "_installed", lambda installed=installed: installed)
        assert preferred_objects("s3://bucket/a", {**KEYS, **SERVER}) is None
        for use in (lambda: store.get("a"), lambda: ObjectStore.from_url("obstore::s3://bucket/a", {"key": "a"})):
            with pytest.raises(UnsupportedError, match=r"obstore 0\.11 or later: pip install 'daskzarr\[obstore\]'"):
                use()


# What is asked of a server

SIGNED = ("authorization", "host", "x-amz-content-sha256", "x-amz-security-token", "x-amz-request-payer")


class Recorder(BaseHTTPRequestHandler):
    """Notes what is asked for, and says that there is no such thing."""

    def __init__(self, seen, *args):
        self.seen = seen
        super().__init__(*args)

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() in SIGNED}
        if "authorization" in headers:  # all but the signature, which is of the time and the method
            headers["authorization"] = re.sub(r", Signature=.*|/\d{8}/", "", headers["authorization"])
        self.seen.append((self.path, headers))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"client_kwargs": {"region_name": "eu-west-3"}},
        {"config_kwargs": {"s3": {"addressing_style": "path"}}},
        {"token": "T"},
        {"requester_pays": True},
        {"anon": True},
    ],
    ids=str,
)
def test_requests_are_those_of_s3fs(options, monkeypatch):
    pytest.importorskip("s3fs")
    seen = []
    with serving(partial(Recorder, seen)) as url:
        given = {**KEYS, "endpoint_url": url, **options}
        fs = fsspec.filesystem("s3", **given, skip_instance_cache=True)
        with pytest.raises(FileNotFoundError):
            fs.cat_file("bucket/a b/c+d%20é/e#f?g")
        theirs = seen[0]
        del seen[:]
        monkeypatch.setenv("AWS_SESSION_TOKEN", "ENVIRONMENT")  # which is not asked where keys are given
        assert preferred_objects("s3://bucket/a b", given).get("c+d%20é/e#f?g") is None
    assert seen == [theirs]


@contextmanager
def answering(answer):
    """An S3 store of a server that answers every request with given bytes, or not; and how often it was asked."""
    asked = []

    def one(connection):
        with connection:
            received = b""
            while b"\r\n\r\n" not in received:
                part = connection.recv(65536)
                if not part:
                    return
                received += part
            asked.append(received.split(b" ", 1)[0].decode())
            if answer is not None:
                connection.sendall(answer)

    def run():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        options = {**KEYS, "endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}"}
        store = ObjectStore.from_url("obstore::s3://bucket/a", options)
        yield ObjectStore(store.opening.with_retries(FAST), store.url), asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


FAST = {**object_client.RETRIES, "max_retries": 1}


def http(status, body=b"", headers=""):
    """An answer as bytes."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


OPERATIONS = {
    "get": lambda store: store.get("k"),
    "get range": lambda store: store.get("k", ByteRange(0, 4)),
    "get suffix": lambda store: store.get("k", ByteRange(-4)),
    "get_many": lambda store: list(store.get_many(["k", "l"], Traffic(requests=2))),
    "size": lambda store: store.size("k"),
    "set": lambda store: store.set("k", b"1"),
    "create": lambda store: store.create("k", b"1"),
    "delete": lambda store: store.delete("k"),
    "delete_below": lambda store: store.delete_below("k"),
    "list_dir": lambda store: store.list_dir("k"),
    "survey": lambda store: list(store.survey("k")),
}
BODY = b"<Error><Code>SomeCode</Code><Message>In words</Message><AWSAccessKeyId>KEYNAME</AWSAccessKeyId></Error>"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [400, 401, 403, 408, 429, 500, 501, 503])
def test_status_is_an_error(status, operation):
    with answering(http(status, BODY)) as (store, _), pytest.raises(StoreError) as caught:
        OPERATIONS[operation](store)
    error = caught.value
    assert isinstance(error, StorePermissionError) == (status in (401, 403))
    assert is_transient(error) == (status in (408, 429, 500, 503))
    assert error.url == "s3://bucket/a"
    assert str(status) in str(error)
    assert not re.search("KEYNAME|SECRETVALUE", str(error))
    assert error.__context__ is None
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_missing_bucket(operation):
    with answering(http(404, b"<Error><Code>NoSuchBucket</Code></Error>")) as (store, _):
        if operation in ("set", "create"):
            with pytest.raises(StoreError, match="no such bucket"):
                OPERATIONS[operation](store)
        else:
            nothing = {"get_many": [None, None], "list_dir": ((), ()), "survey": []}
            assert OPERATIONS[operation](store) == nothing.get(operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_broken_connection_passes(operation):
    with answering(None) as (store, asked), pytest.raises(StoreError) as caught:
        OPERATIONS[operation](store)
    assert is_transient(caught.value)
    assert asked


def test_no_server_at_all_passes():
    store = ObjectStore.from_url("obstore::s3://bucket/a", {**KEYS, "endpoint_url": "http://127.0.0.1:1"})
    with pytest.raises(StoreError, match="refused") as caught:
        ObjectStore(store.opening.with_retries(FAST), store.url).get("a")
    assert is_transient(caught.value)


def test_a_server_whose_name_nobody_knows_says_so():
    internals = 'source: hyper_util::client::legacy::Error(\n Connect,\n ConnectError(\n "dns error",\n Custom {\n '
    internals += 'kind: Uncategorized,\n error: "failed to lookup address information: Name or service not known",'
    error = object_client.explained(
        Exception(f"Generic S3 error: HTTP error: error sending request\n\nDebug source:\n{internals}"), "s3://b", "a"
    )
    assert "Name or service not known" in str(error)
    assert is_transient(error)
    assert is_unreachable(error)


def test_time_out_passes():
    held = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            held.wait(10)

    with serving(Slow) as url:
        options = {"retry_config": {"max_retries": 0}, "client_options": {"timeout": "200ms", "allow_http": True}}
        with pytest.raises(StoreError) as caught:
            ObjectStore.from_url(f"obstore::{url}", options).get("a")
        held.set()
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert is_transient(caught.value)


def test_create_is_sent_once():
    """An answer that was lost must not make the second request say that another one was first."""
    for answer in (None, http(503)):
        with answering(answer) as (store, asked), pytest.raises(StoreError):
            store.create("k", b"1")
        assert asked == ["PUT"]
        with answering(answer) as (store, asked), pytest.raises(StoreError):
            store.set("k", b"1")
        assert asked == ["PUT", "PUT"]


@pytest.mark.parametrize("body", [b"", b"<Error><Code>PreconditionFailed</Code></Error>"])
def test_condition_that_fails(body):
    with answering(http(412, body)) as (store, _):
        assert store.create("k", b"1") is False


def test_conflict_says_nothing_of_what_is_there():
    with answering(http(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")) as (store, _):
        with pytest.raises(StoreError) as caught:
            store.create("k", b"1")
        assert is_transient(caught.value)


OBJECT = 'ETag: "1"\r\nLast-Modified: Sat, 22 Nov 2025 10:00:00 GMT\r\n'


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (206, b"xx", "Content-Range: bytes 0-1/20\r\n"),
        (206, b"xxxxx", "Content-Range: bytes 5-9/20\r\n"),
        (206, b"x" * 10, "Content-Range: bytes 0-9/20\r\n"),
        (206, b"xxxx", ""),
    ],
    ids=["short", "another", "long", "unsaid"],
)
def test_wrong_part_is_an_error(status, body, headers):
    """A server that gives another part than was asked for."""
    with answering(http(status, body, OBJECT + headers)) as (store, _), pytest.raises(StoreError):
        store.get("k", ByteRange(0, 4))


def test_whole_for_a_part_is_cut():
    with answering(http(200, b"0123456789", OBJECT)) as (store, _):
        assert store.get("k", ByteRange(2, 3)) == b"234"
        assert store.get("k", ByteRange(-3)) == b"789"
        assert store.get_ranges("k", [ByteRange(0, 1), ByteRange(9, 5), ByteRange(12)]) == [b"0", b"9", b""]


def test_cut_answer_is_an_error():
    with answering(http(200, b"0123456789", OBJECT).removesuffix(b"89")) as (store, _), pytest.raises(StoreError):
        store.get("k")


def test_web_server_is_for_reading():
    store = ObjectStore.from_url("obstore::https://host/a", {})
    for use in (
        lambda: store.set("a", b""),
        lambda: store.create("a", b""),
        lambda: store.delete("a"),
        lambda: store.delete_below(""),
        lambda: store.list_dir(""),
        lambda: list(store.survey("")),
        store.synced,
    ):
        with pytest.raises(UnsupportedError):
            use()


def test_openings_tell_what_they_open():
    assert Opening("MemoryStore", "word").url == "memory://obstore-word"
    assert Opening("HTTPStore", "https://me:x@host/a/").url == "https://host/a"
