"""A URL and options of s3fs or adlfs -> what opens obstore there, where all of it has exactly the same meaning to it.

Both look into the environment and into files of the cloud's own tools, each in its way. Where there is anything to be
found there, or an option is not known here, nothing is said of the meaning. Keys are handed over such that obstore
looks no further for others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.remote.object_client import RETRIES, TIMES, Opening, knows, usable

_S3, _AZURE, _GCS, _WEB = ("s3", "s3a"), ("abfs", "abfss", "az"), ("gs", "gcs"), ("http", "https")
_OF_CLASSES = ("client_options", "retry_config", "credential_provider")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_IN_ACCOUNT = re.compile(r"([^@/]+)@([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net")
_NAMELESS = re.compile(r"(?:.*/)?\.{0,2}(?:/.*)?|.*[\x00-\x1f\x7f].*", re.DOTALL)
_IN_CONNECTION = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_token",
    "BlobEndpoint": "endpoint",
    "DefaultEndpointsProtocol": "protocol",
    "EndpointSuffix": "suffix",
}
_REGION = "us-east-1"
_SUFFIX = "core.windows.net"

# Options that say how fsspec opens files and keeps listings, neither of which a store has it do.
_OF_FILES = {
    *("asynchronous", "assume_container_exists", "blocksize", "default_block_size", "default_cache_type"),
    *("default_fill_cache", "listings_expiry_time", "max_paths", "skip_instance_cache", "use_listings_cache"),
}
# Variables that mean nothing where keys, region and server are given.
_HARMLESS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"),
    *("AWS_DEFAULT_OUTPUT", "AWS_EC2_METADATA_DISABLED", "AWS_EXECUTION_ENV", "AWS_MAX_ATTEMPTS", "AWS_PAGER"),
    "AWS_RETRY_MODE",
}
_OF_TLS = {"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"}
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
# What each of fsspec's clients may be told, and has to be, so that obstore does the same.
_TAKEN: Mapping[str, tuple[set[str], str]] = {
    "s3fs": (
        {
            "anon",
            "client_kwargs",
            "config_kwargs",
            "endpoint_url",
            "key",
            "requester_pays",
            "secret",
            "token",
            "use_ssl",
        },
        "key and secret, or anon; endpoint_url, or client_kwargs={'region_name': ...}",
    ),
    "adlfs": (
        {"account_host", "account_key", "account_name", "anon", "connection_string", "sas_token"},
        "account_name and one of account_key, sas_token, anon; or connection_string",
    ),
}
_AWS_FILES = ("~/.aws/config", "~/.aws/credentials")


class _OtherMeaning(Exception):
    """Something means another thing to obstore, or it is not known what."""


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Gives obstore the keys, which then asks nobody else."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def __call__(self) -> dict[str, Any]:
        """The keys, for good."""
        keys = {"access_key_id": self.key, "secret_access_key": self.secret}
        return {**keys, "token": self.token, "expires_at": None}


@dataclass(frozen=True, slots=True)
class AzureKey:
    """Gives obstore the key of an account, or a shared access signature, and it asks nobody else."""

    name: str
    value: str = field(repr=False)

    def __call__(self) -> dict[str, Any]:
        """The key, for good."""
        return {self.name: self.value, "expires_at": None}


def prefers_objects(url: str, storage_options: Mapping[str, Any]) -> Opening | None:
    """What opens obstore, where that is the faster way to the very objects that fsspec would show; otherwise None.

    Parameters
    ----------
    url
        As for fsspec: of S3 or Azure, and no chained one.
    storage_options
        Of s3fs or adlfs. There has to be a key among them, or ``anon``; of S3 also the server or the region.

    Examples
    --------
    >>> prefers_objects("s3://bucket/a", {"profile": "mine"}) is None
    True
    """
    scheme, _, place = url.partition("://")
    if scheme not in _TRANSLATIONS or not usable():
        return None
    try:
        opening = translated(scheme, place, _with_configured(scheme, storage_options))
        _check_environment(scheme, opening)
    except _OtherMeaning:
        return None
    return opening


def opening_at(url: str, storage_options: Mapping[str, Any]) -> Opening:
    """What opens obstore at a URL, by options of s3fs or adlfs, if that is what they all are, or by its own.

    Raises
    ------
    MetadataError, UnsupportedError
        If the URL is none that obstore has a class for.
    """
    scheme, _, place = url.partition("://")
    shown, place = without_credentials(url), place.rstrip("/")
    config = dict(storage_options)
    settings = {name: config.pop(name) for name in _OF_CLASSES if config.get(name) is not None}
    settings = {"client_options": dict(TIMES), "retry_config": dict(RETRIES), **settings}
    if scheme in _WEB:
        if config or re.search(r"[?#]", place):
            raise MetadataError(
                "obstore reads from a plain web URL, with client_options and retry_config; there is "
                + (f"{', '.join(sorted(config))} as well" if config else "a query or fragment"),
                url=shown,
                field="storage_options",
            )
        if scheme == "http":
            settings["client_options"] = {"allow_http": True, **settings["client_options"]}
        return Opening("HTTPStore", f"{scheme}://{place}", settings)
    if scheme not in (*_S3, *_AZURE, *_GCS):
        raise UnsupportedError("obstore opens URLs of S3, Azure, Google Cloud Storage and the web", url=shown)
    try:
        if config and not any(name in storage_options for name in _OF_CLASSES) and scheme in _TRANSLATIONS:
            return translated(scheme, place, config)
    except _OtherMeaning:
        pass  # they are obstore's own
    bucket, _, root = place.partition("/")
    if not bucket or (root and _NAMELESS.fullmatch(root)):
        raise MetadataError("obstore has no way to name this place", url=shown, field="url")
    _check_names(scheme, config, shown)
    if scheme in _AZURE:
        container, account = _of_azure(bucket)
        named = {"container_name": container, **({"account_name": account} if account else {})}
        return Opening("AzureStore", root, {"config": {**config, **named}, **settings})
    name = "S3Store" if scheme in _S3 else "GCSStore"
    return Opening(name, root, {"config": {**config, "bucket": bucket}, **settings})


def _check_names(scheme: str, options: Mapping[str, Any], shown: str) -> None:
    """Refuse options of fsspec's client that obstore does not have, for a reason that is of use.

    They stand for options of obstore's only if all of them do. obstore itself would name the first of them, though it
    is another one that is wrong, or one that is missing.
    """
    taken, needed = _TAKEN.get(_IMPLEMENTATIONS.get(scheme, ""), (set(), ""))
    name = "S3Store" if scheme in _S3 else "AzureStore"
    if not usable() or all(knows(name, each) for each in taken.intersection(options)):
        return
    client, theirs = _IMPLEMENTATIONS[scheme], sorted(taken.intersection(options))
    others = sorted(str(each) for each in set(options) - taken - _OF_FILES)
    unknown = [each for each in others if not knows(name, each)]
    if unknown:
        reason = f"obstore has no option {', '.join(map(repr, unknown))}, nor one that means the same"
    elif others:
        reason = f"options of {client} ({', '.join(theirs)}) and of obstore ({', '.join(others)}) do not mix"
    else:
        reason = f"the options ({', '.join(theirs)}) do not say all that obstore has to be told: {needed}"
    raise MetadataError(reason, url=shown, field="storage_options")


def translated(scheme: str, place: str, options: Mapping[str, Any]) -> Opening:
    """What opens obstore at a place, from options of the file system that fsspec has for the scheme."""
    known = {name: value for name, value in options.items() if value is not None and name not in _OF_FILES}
    bucket, _, root = place.rstrip("/").partition("/")
    if root and _NAMELESS.fullmatch(root):
        raise _OtherMeaning
    opening = _TRANSLATIONS[scheme](bucket, root, known)
    if known:
        raise _OtherMeaning  # there is an option that was not taken
    return opening


def _from_s3fs(bucket: str, root: str, options: dict[str, Any]) -> Opening:
    """The same for S3; it takes out of the options what it understands."""
    if not _BUCKET.fullmatch(bucket):
        raise _OtherMeaning
    client, botocore = dict(options.pop("client_kwargs", {})), dict(options.pop("config_kwargs", {}))
    of_s3 = dict(botocore.pop("s3", {}))
    style = of_s3.pop("addressing_style", "auto")
    endpoint, region = _one_of(options, client, "endpoint_url"), client.pop("region_name", None)
    if client or botocore or of_s3 or style not in ("auto", "path", "virtual") or not options.pop("use_ssl", True):
        raise _OtherMeaning
    config = {"bucket": bucket, "virtual_hosted_style_request": "false"}
    if endpoint is not None:
        config["endpoint"] = _server(endpoint)
        if style == "virtual":
            raise _OtherMeaning  # one wants the bucket in the server's name, the other puts it there
    elif region is None or (style == "virtual" and "." in bucket):
        raise _OtherMeaning  # fsspec finds out in which region a bucket is
    else:
        config["virtual_hosted_style_request"] = "true" if style != "path" and "." not in bucket else "false"
    config["region"] = _text(region or os.environ.get("AWS_DEFAULT_REGION") or _REGION)
    if options.pop("requester_pays", False) is True:
        config["request_payer"] = "true"
    anonymous = options.pop("anon", False)
    key, secret, token = (options.pop(name, None) for name in ("key", "secret", "token"))
    if anonymous is True:
        config["skip_signature"] = "true"
        return _opening("S3Store", root, config, None)
    if anonymous is not False:
        raise _OtherMeaning
    config["skip_signature"] = "false"
    keys = S3Keys(_text(key), _text(secret), None if token is None else _text(token))
    return _opening("S3Store", root, config, keys)


def _from_adlfs(container: str, root: str, options: dict[str, Any]) -> Opening:
    """The same for Azure."""
    container, in_url = _of_azure(container)
    if re.search(r"[?#%]", root) or not re.fullmatch(r"[a-z0-9$][a-z0-9\-]{1,62}", container):
        raise _OtherMeaning
    given = {name: options.pop(name, None) for name in ("account_name", "account_key", "sas_token", "account_host")}
    string, anonymous = options.pop("connection_string", None), options.pop("anon", None)
    if string is not None:
        given = _of_connection(_text(string))  # goes before all others
    account = given["account_name"] or in_url
    if account is None or in_url not in (None, account):
        raise _OtherMeaning
    endpoint = given.get("endpoint") or f"https://{given['account_host'] or f'{account}.blob.{_SUFFIX}'}"
    config = {"account_name": _text(account), "container_name": container, "endpoint": _server(endpoint)}
    if given["account_key"] is not None:
        return _opening("AzureStore", root, config, AzureKey("access_key", _text(given["account_key"])))
    if given["sas_token"] is not None:
        return _opening("AzureStore", root, config, AzureKey("sas_token", _text(given["sas_token"]).lstrip("?")))
    if anonymous is not True:
        raise _OtherMeaning
    return _opening("AzureStore", root, {**config, "skip_signature": "true"}, None)


_TRANSLATIONS: Mapping[str, Callable[[str, str, dict[str, Any]], Opening]] = {
    **dict.fromkeys(_S3, _from_s3fs),
    **dict.fromkeys(_AZURE, _from_adlfs),
}
_IMPLEMENTATIONS = {**dict.fromkeys(_S3, "s3fs"), **dict.fromkeys(_AZURE, "adlfs")}


def _opening(name: str, root: str, config: dict[str, Any], keys: Callable[[], Any] | None) -> Opening:
    """What opens a client with nothing but what is given here."""
    times = {**TIMES, **({"allow_http": True} if config.get("endpoint", "").startswith("http://") else {})}
    settings = {"config": config, "client_options": times, "retry_config": dict(RETRIES)}
    return Opening(name, root, settings if keys is None else {**settings, "credential_provider": keys})


def _of_azure(bucket: str) -> tuple[str, str | None]:
    """Container and account of what stands first in a URL."""
    found = _IN_ACCOUNT.fullmatch(bucket)
    return (found[1], found[2]) if found else (bucket, None)


def _of_connection(string: str) -> dict[str, Any]:
    """What a connection string says."""
    pairs = [part.partition("=") for part in string.split(";") if part.strip()]
    if any(name not in _IN_CONNECTION for name, _, _ in pairs):
        raise _OtherMeaning
    found: dict[str, Any] = dict.fromkeys(("account_host", *_IN_CONNECTION.values()))
    found |= {_IN_CONNECTION[name]: value for name, _, value in pairs}
    if found["endpoint"] is None and found["account_name"]:
        protocol, suffix = found["protocol"] or "https", found["suffix"] or _SUFFIX
        found["endpoint"] = f"{protocol}://{found['account_name']}.blob.{suffix}"
    return found


def _one_of(options: dict[str, Any], others: dict[str, Any], name: str) -> Any:
    """An option that may be given in two places, the same in both."""
    found = [place.pop(name) for place in (options, others) if place.get(name) is not None]
    if len(set(map(str, found))) > 1:
        raise _OtherMeaning
    return found[0] if found else None


def _server(url: Any) -> str:
    """The URL of a server, with no login and no query in it."""
    server = _text(url).rstrip("/")
    if not re.fullmatch(r"https?://[^/?#@\s]+(?:/[^?#@\s]*)?", server):
        raise _OtherMeaning
    return server


def _text(value: Any) -> str:
    """An option that is text, and not empty."""
    if not isinstance(value, str) or not value:
        raise _OtherMeaning
    return value


def _with_configured(scheme: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with those that fsspec's own configuration adds; if it has its usual file system for the scheme."""
    from fsspec.config import conf
    from fsspec.registry import registry

    loaded = registry.get(scheme)
    if loaded is not None and loaded.__module__.partition(".")[0] != _IMPLEMENTATIONS[scheme]:
        raise _OtherMeaning
    family = [name for name, known in _IMPLEMENTATIONS.items() if known == _IMPLEMENTATIONS[scheme]]
    added = {name: value for protocol in family for name, value in conf.get(protocol, {}).items()}
    return {**added, **options}


def _check_environment(scheme: str, opening: Opening) -> None:
    """Nothing around may say more of the place than the options do, to one of both or to each in its way."""
    names = set(os.environ)
    harmful = {name for name in names if name.upper() in _PROXIES}
    endpoint = str(opening.settings["config"].get("endpoint", "https://"))
    if endpoint.startswith("https://"):
        harmful |= names & _OF_TLS
    if scheme in _S3:
        harmful |= {name for name in names if name.startswith("AWS_")} - _HARMLESS - _OF_TLS
        if any(os.path.exists(os.path.expanduser(path)) for path in _AWS_FILES):
            raise _OtherMeaning
    else:
        harmful |= {name for name in names if name.startswith("AZURE_")}
    if harmful:
        raise _OtherMeaning
