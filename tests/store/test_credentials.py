"""What gives access is cut out of every URL and message; what tells a place from others stays, and is no secret."""

import json
import re
import time
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daskzarr.stores import without_credentials
from daskzarr.stores.credentials import public_identity

CUT = {
    # as they were
    "http://user:secret@host/a": "http://host/a",
    "https://secret@host:8080/a/": "https://host:8080/a/",
    "http://user:se@cret@host/a": "http://host/a",
    "http://user:secret@host/a@b": "http://host/a@b",
    "http://host/a?x=1&token=sec/ret": "http://host/a",
    "filecache::simplecache::http://user:secret@host/a": "filecache::simplecache::http://host/a",
    # databases
    "redis://:secret@h:6379/0?prefix=a": "redis://h:6379/0?prefix=a",
    "rediss://me:secret@h/0": "rediss://h/0",
    "redis://h/0?password=secret&prefix=a&username=secret": "redis://h/0?prefix=a",
    "redis+unix:///run/r.sock?db=1&password=secret": "redis+unix:///run/r.sock?db=1",
    "redis://:sec/ret@h:6379/0": "redis://h:6379/0",
    "mongodb://me:secret@h1:1,h2:2/db?collection=c&authSource=admin&replicaSet=r": (
        "mongodb://h1:1,h2:2/db?collection=c&replicaSet=r"
    ),
    "mongodb+srv://me:s%40cret@cluster.example/db": "mongodb+srv://cluster.example/db",
    "mongodb://h/db?authMechanismProperties=AWS_SESSION_TOKEN:secret": "mongodb://h/db",
    "mongodb://h/db?tlsCertificateKeyFilePassword=secret&collection=c": "mongodb://h/db?collection=c",
    "sqlite:////data/a b#%3F.db?table=t": "sqlite:////data/a b#%3F.db?table=t",
    "lmdb:///data/a@b:c?map_size=10": "lmdb:///data/a@b:c?map_size=10",
    # object stores
    "s3://key:secret@bucket/a": "s3://bucket/a",
    "s3://AKIAX:abc/def+gh@bucket/a": "s3://bucket/a",
    "s3://bucket/a@b?c=d": "s3://bucket/a@b?c=d",
    "s3://bucket/a?versionId=5": "s3://bucket/a?versionId=5",
    "s3://bucket/a?X-Amz-Signature=secret&AWSAccessKeyId=secret": "s3://bucket/a",
    "s3://arn:aws:s3:us-west-2:1:accesspoint/m/a@b": "s3://arn:aws:s3:us-west-2:1:accesspoint/m/a@b",
    "gs://bucket/token=5/a": "gs://bucket/token=5/a",
    "abfs://container@account.dfs.core.windows.net/a": "abfs://container@account.dfs.core.windows.net/a",
    "abfs://container@account.dfs.core.windows.net/a?sv=2&sig=secret": (
        "abfs://container@account.dfs.core.windows.net/a"
    ),
    "az://container/a?se=2030&sp=r&sig=sec%2Fret": "az://container/a",
    "abfs://container:secret@account/a": "abfs://account/a",
    # signed
    "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Credential=secret&X-Amz-Signature=secret": (
        "https://b.s3.amazonaws.com/k"
    ),
    "https://storage.googleapis.com/b/k?GoogleAccessId=secret&Expires=1&Signature=secret": (
        "https://storage.googleapis.com/b/k"
    ),
    "https://a.blob.core.windows.net/c/k?sv=1&sig=secret#x": "https://a.blob.core.windows.net/c/k",
    # hosts
    "sftp://me:secret@h:22/a": "sftp://h:22/a",
    "ssh://me@h/a": "ssh://h/a",
    "smb://domain;me:secret@h/share": "smb://h/share",
    "smb://dom\\me:secret@h/share": "smb://h/share",
    "ftp://me:my secret@h/a": "ftp://h/a",
    "hdfs://me@h:9000/a": "hdfs://h:9000/a",
    "webhdfs://h:1/a?delegation=secret": "webhdfs://h:1/a",
    "http://me:secret@[::1]:80/a@b": "http://[::1]:80/a@b",
    "http://[::1]:80/a@b": "http://[::1]:80/a@b",
    "http://h:80/a@b": "http://h:80/a@b",
    "git+https://secret@github.com/a/b.git": "git+https://github.com/a/b.git",
    "gist://me:secret@123/a": "gist://123/a",
    "unknown://me:secret@h/a?place=1&api_key=secret": "unknown://h/a?place=1",
    # places in which an "@" means itself
    "github://dask:dask@main/a": "github://dask:dask@main/a",
    "file:///a:b@c?token=1": "file:///a:b@c?token=1",
    "memory://a:b/c@d/token=1": "memory://a:b/c@d/token=1",
    "mapping://dict-0a@b": "mapping://dict-0a@b",
    "zip://a@b::http://me:secret@h/x.zip?y=1": "zip://a@b::http://h/x.zip",
    "reference://::s3://key:secret@bucket/refs.json": "reference://::s3://bucket/refs.json",
    "simplecache::http://h/a?token=secret::file:///b@c": "simplecache::http://h/a::file:///b@c",
    "tar://x::simplecache::redis://:secret@h/0": "tar://x::simplecache::redis://h/0",
    # messages
    "no answer from redis://:secret@h/0, nor from 'http://me:secret@h/a?b=secret' (http://h/?secret).": (
        "no answer from redis://h/0, nor from 'http://h/a' (http://h/)."
    ),
    "403, message='Forbidden', url='http://h/a/zarr.json?token=secret'": "403, message='Forbidden', url='http://h/a/zarr.json'",
    "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /a/b?token=secret (Caused by x)": (
        "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /a/b (Caused by x)"
    ),
    "http://a,http://me:secret@b;ftp://me:secret@c": "http://a,http://b;ftp://c",
    "http://h/a?to=http://x/&k=secret": "http://h/a",
    '{"url":"http://me:secret@h/a","x":1}': '{"url":"http://h/a","x":1}',
    '{"url":"http:\\/\\/me:secret@h\\/a?k=secret"}': '{"url":"http:\\/\\/h\\/a"}',
    "<a href=http://me:secret@h/a>": "<a href=http://h/a>",
    "URL('http://me:secret@h/a')": "URL('http://h/a')",
    "see http%3A%2F%2Fme%3Asecret%40h%2Fa%3Fk%3Dsecret here": "see http%3A%2F%2Fh%2Fa here",
    "see s3%253A%252F%252Fkey%253Asecret%2540b here": "see s3%3A%2F%2Fb here",
    "http://h/50%25 of a": "http://h/50%25 of a",
    "DefaultEndpointsProtocol=https;AccountName=n;AccountKey=secret==;EndpointSuffix=x": (
        "DefaultEndpointsProtocol=https;AccountName=n;AccountKey=***;EndpointSuffix=x"
    ),
    "BlobEndpoint=https://n.x/;SharedAccessSignature=sv=1&sig=secret": "BlobEndpoint=https://n.x/;SharedAccessSignature=***",
    "{'account_key': 'secret', 'b': \"it's\", 'password': b'sec\\'ret'}": (
        "{'account_key': '***', 'b': \"it's\", 'password': b'***'}"
    ),
    "headers: {'Authorization': 'Bearer secret'}": "headers: {'Authorization': '***'}",
    "Authorization: Basic secret": "Authorization: ***",
    "token=secret&a=1": "token=***&a=1",
    "nothing to see: a@b, c:d, key='a/b', k = 5, //x@y": "nothing to see: a@b, c:d, key='a/b', k = 5, //x@y",
    "": "",
}


@pytest.mark.parametrize("text", CUT, ids=range(len(CUT)))
def test_what_gives_access_is_cut(text):
    assert without_credentials(text) == CUT[text]
    assert "secret" not in CUT[text] or text == CUT[text]


@pytest.mark.parametrize("text", CUT, ids=range(len(CUT)))
def test_cutting_twice_is_cutting_once(text):
    assert without_credentials(CUT[text]) == CUT[text]


SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
HIDDEN = "Sw0rdF1sh"
ODD = SAFE + "-._~!$&'()*+,;=:@%\"`{}|^<>[]\\\u00e9"
SECRETS = st.text(ODD, max_size=12).map(lambda text: f"{text}{HIDDEN}{text[::-1]}")
CAREFUL = SECRETS.map(lambda text: quote(text, safe=""))
SCHEMES = (
    "http https ftp sftp ssh smb s3 s3a gs redis rediss mongodb mongodb+srv webhdfs hdfs dav unknown git+https abfs az"
)
SCHEMES = st.sampled_from(SCHEMES.split())
NAMES = st.text("abcXYZ09-_", min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SIGNED = "sig Signature X-Amz-Signature X-Amz-Credential X-Amz-Security-Token X-Goog-Signature AWSAccessKeyId token "
SIGNED += "access_token password sas_token api_key apikey secret_key client_secret"
SIGNED = st.sampled_from(SIGNED.split())


@settings(max_examples=100, deadline=None)
@given(SCHEMES, NAMES, st.one_of(SECRETS, CAREFUL), NAMES, PATHS)
def test_no_login_of_a_url_is_left(scheme, user, password, host, path):
    for login in (f"{user}:{password}", f":{password}"):
        url = f"{scheme}://{login}@{host}/{path}"
        assert HIDDEN not in without_credentials(url)
        if not set(password) & set("\"'`<>"):
            assert without_credentials(url) == f"{scheme}://{host}/{path}"
        assert HIDDEN not in public_identity(url)
        chained = without_credentials(f"simplecache::{url}")
        assert HIDDEN not in chained
        assert chained.startswith(f"simplecache::{scheme}://")


@settings(max_examples=100, deadline=None)
@given(SCHEMES, NAMES, PATHS, SIGNED, CAREFUL, NAMES)
def test_no_secret_of_a_query_is_left(scheme, host, path, name, secret, value):
    for query in (f"{name}={secret}", f"prefix={value}&{name}={secret}", f"{name}={secret}&prefix={value}"):
        url = f"{scheme}://{host}/{path}?{query}"
        found = without_credentials(url)
        assert HIDDEN not in found
        assert found.startswith(f"{scheme}://{host}/{path}")
        assert HIDDEN not in public_identity(url)
        if "prefix" in query and scheme in ("redis", "mongodb", "s3", "unknown"):
            assert found.rstrip(".") == f"{scheme}://{host}/{path}?prefix={value}"


FRAMES = st.sampled_from(
    [
        "no answer from {0}",
        "'{0}' is not there",
        '"{0}"',
        "({0})",
        "{0}: refused",
        "url={0}, try {0}!",
        "a\n{0}\nb",
        "ClientError(url='{0}', 5)",
        "<{0}>",
        "[{0},{0}]",
        "{{'url': '{0}'}}",
        "http://first/{0}",
        "http://first/a?b={0}",
        "file:///a::{0}",
    ]
)
URLS = st.one_of(
    st.builds(lambda s, u, p, h, w: f"{s}://{u}:{p}@{h}/{w}", SCHEMES, NAMES, CAREFUL, NAMES, PATHS),
    st.builds(lambda s, h, w, n, p: f"{s}://{h}/{w}?{n}={p}", SCHEMES, NAMES, PATHS, SIGNED, CAREFUL),
    st.builds(lambda h, w, n, p: f"https://{h}/{w}?{n}={p}", NAMES, PATHS, NAMES, CAREFUL),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FRAMES, URLS), min_size=1, max_size=4), st.booleans())
def test_no_secret_is_left_in_a_message(parts, encoded):
    text = " ".join(frame.format(quote(url, safe="") if encoded else url) for frame, url in parts)
    found = without_credentials(text)
    assert HIDDEN not in found
    assert without_credentials(found) == found


@settings(max_examples=100, deadline=None)
@given(
    st.text("abc:/@?#&=%'\" \n;,.()[]{}\\25FA3", max_size=60), st.sampled_from(["", "http://", "x ://", "s3:\\/\\/"])
)
def test_any_text_can_be_given(text, lead):
    for given_ in (text, lead + text, text + lead + text):
        assert isinstance(without_credentials(given_), str)
        assert isinstance(public_identity(given_, {"a": given_}), str)


PIECES = ["http://", "a@", "http://a:", "http://a?b='", "%3A%2F%2F", "a%3A%2F%2F", "%25", "x:", "password"]
PIECES += ["'password': '", "s3://a/b@", "url=/", "a::", "a::b://", "authorization: ", "'", "'a':\"", "http://a?b=c::"]
PIECES += ["sig=", "h://a,", ":1", " ", "a b:", "url: "]


@pytest.mark.parametrize("piece", PIECES)
def test_long_texts_take_no_long_time(piece):
    for lead in ("", "http://", "a%3A%2F%2F", "http://a:b"):
        begun = time.thread_time()
        without_credentials(lead + piece * (30_000 // len(piece)))
        assert time.thread_time() - begun < 2


# What tells places apart


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a?sig=1&se=5", "https://h/a?sig=2&se=6"),
        ("https://h/a?X-Amz-Date=1&X-Amz-Signature=2&v=1", "https://h/a?X-Amz-Date=3&X-Amz-Signature=4&v=1"),
        ("https://h/a?token=1", "https://h/a"),
        ("redis://:one@h/0?prefix=a", "redis://:other@h/0?prefix=a"),
        ("redis://h/0?password=one", "redis://h/0?password=other"),
        ("s3://k:one@b/a", "s3://l:other@b/a"),
        ("sftp://me:one@h/a", "sftp://me:other@h/a"),
        ("https://TOKEN1@h/a", "https://TOKEN2@h/a"),
    ],
)
def test_one_place_whatever_opens_it(one, other):
    assert public_identity(one) == public_identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a?sig=1&file=a", "https://h/a?sig=1&file=b"),
        ("https://h/a?key=a", "https://h/a?key=b"),
        ("redis://h/0?prefix=a", "redis://h/0?prefix=b"),
        ("mongodb://h/db?authSource=a", "mongodb://h/db?authSource=b"),
        ("sftp://me:one@h/a", "sftp://you:one@h/a"),  # a user may have a root of their own
        ("http://me:one@h/a", "http://you:one@h/a"),
        ("simplecache::http://h/a?x=1", "simplecache::http://h/a?x=2"),
        ("file:///a?token=1", "file:///a?token=2"),
        ("memory://token=1", "memory://token=2"),
        ("s3://b/token=1/a", "s3://b/token=2/a"),
        ("github://a:b@c/d", "github://a:x@c/d"),
        ("abfs://a@n/x", "abfs://b@n/x"),
        ("s3://b/a?versionId=1", "s3://b/a?versionId=2"),
    ],
)
def test_places_are_told_apart(one, other):
    assert public_identity(one) != public_identity(other)


SAME_OPTIONS = [
    ({}, {"key": "a", "secret": "b", "token": "c", "anon": False}),
    ({"endpoint_url": "http://x"}, {"endpoint_url": "http://x", "key": "a", "secret": "b"}),
    ({"client_kwargs": {"endpoint_url": "http://x"}}, {"client_kwargs": {"endpoint_url": "http://x?sig=5"}}),
    ({"client_kwargs": {"a": 1, "b": 2}}, {"client_kwargs": {"b": 2, "a": 1, "headers": {"Authorization": "x"}}}),
    ({"account_name": "n", "account_key": "a"}, {"account_name": "n", "sas_token": "b"}),
    (
        {"connection_string": "AccountName=n;AccountKey=a;BlobEndpoint=http://x"},
        {"connection_string": "AccountKey=b;BlobEndpoint=http://x;AccountName=n"},
    ),
    ({"username": "me", "password": "a"}, {"username": "me", "password": "b", "key_filename": "/k"}),
    ({"target_options": {"secret": "a"}}, {"target_options": {"secret": "b"}}),
    ({"use_listings_cache": True, "default_block_size": 5}, {}),
]
OTHER_OPTIONS = [
    ({"endpoint_url": "http://x"}, {"endpoint_url": "http://y"}),
    ({"client_kwargs": {"endpoint_url": "http://x"}}, {"client_kwargs": {"endpoint_url": "http://y"}}),
    ({"account_name": "n"}, {"account_name": "m"}),
    ({"connection_string": "AccountName=n;AccountKey=a"}, {"connection_string": "AccountName=m;AccountKey=a"}),
    ({"username": "me"}, {"username": "you"}),
    ({"host": "a"}, {"host": "b"}),
    ({"fo": {"refs": {"token/0": "a"}}}, {"fo": {"refs": {"token/0": "b"}}}),
    ({"fo": "/a.json"}, {"fo": "/b.json"}),
    ({"fo": b"a"}, {"fo": b"b"}),
    ({"project": "a"}, {}),
    ({"path": ["a", "b"]}, {"path": ["a", "c"]}),
]


@pytest.mark.parametrize(("one", "other"), SAME_OPTIONS)
def test_options_of_access_tell_nothing(one, other):
    assert public_identity("s3://b/a", one) == public_identity("s3://b/a", other)


@pytest.mark.parametrize(("one", "other"), OTHER_OPTIONS)
def test_options_of_place_tell_places_apart(one, other):
    assert public_identity("s3://b/a", one) != public_identity("s3://b/a", other)


def test_an_identity_is_the_same_in_every_process():
    found = public_identity("s3://b/a?versionId=1", {"endpoint_url": "http://x", "b": {1, 2, 3}, "c": object()})
    assert re.fullmatch(r"s3://b/a\?versionId=1#[0-9a-f]{32}", found)
    assert found == public_identity("s3://b/a?versionId=1", {"c": object(), "b": {3, 2, 1}, "endpoint_url": "http://x"})
    assert public_identity("s3://b/a") == "s3://b/a"
    assert public_identity("https://h/a?x=1") == "https://h/a#36a2c4cd0dfbda1594b4d80f573cb5a6"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), SIGNED, SECRETS)
def test_any_options_can_be_given(options, name, secret):
    assume(name not in options)
    found = public_identity("s3://b/a", options)
    assert public_identity("s3://b/a", dict(reversed(options.items()))) == found
    assert HIDDEN not in public_identity("s3://b/a", options | {name: secret})
    if name not in ("sig", "Signature") and not name.startswith("X-") and name != "AWSAccessKeyId":
        assert public_identity("s3://b/a", options | {name: secret}) == found
        assert json.dumps(found)
