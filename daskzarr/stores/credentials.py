"""A URL, or text with URLs in it -> the same without what gives access; a URL -> what tells its place from others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice
from typing import Any
from urllib.parse import quote, unquote

_SCHEME = r"(?<![a-z0-9+.\-])[a-z][a-z0-9+.\-]*"
_STARTS = re.compile(rf"({_SCHEME}):(?:\\?/){{2}}", re.IGNORECASE)
_ENCODED = re.compile(
    r"(?<![a-z0-9+.\-])[a-z](?:[a-z0-9+.\-]|%(?:25){0,5}2B)*%(?:25){0,5}3A(?:%(?:25){0,5}2F|/){2}[^\s'\"<>`]*",
    re.IGNORECASE,
)
_LEVELS = 6
# A quotation mark belongs to a URL where what follows would be an odd thing to stand behind a closed quotation.
_EXTENT = re.compile(r"(?:[^\s'\"<>`]|['\"`](?=[\w%&=+~@$!*\-]))*")
_BEHIND = ").,;:]}!"
_BEGINS = re.compile(rf"(?:\w+::)*({_SCHEME})://", re.IGNORECASE)
_ODD = re.compile(r"[\s'\"`<>]")

# Their URLs name no server: nobody logs in, and any character may be part of a name.
_LOCAL = {"file", "local", "memory", "mapping"}
# What stands before an "@" is part of the place: a name of a file, an organisation and its repository, a container.
_NO_LOGIN = {"dbm", "dir", "git", "github", "libarchive", "lmdb", "reference", "sqlite", "tar", "zip"}
_CONTAINERS = {"abfs", "abfss", "az", "wasb", "wasbs"}
_WEB = {"http", "https", "ftp", "ftps", "webhdfs", "swebhdfs", "dav", "davs", "webdav", "webdavs"}
# What is there to see may be another thing for each user.
_OF_A_USER = _WEB | {"sftp", "ssh", "smb", "hdfs"}

_SHARED_ACCESS = "sv ss srt st se sr sp sip spr sig skoid sktid skt ske sks skv saoid suoid scid sdd ses sduoid skdutid"
_SIGNATURES = {
    *_SHARED_ACCESS.split(),
    *("awsaccesskeyid", "signature", "expires", "expiry", "googleaccessid", "policy", "key-pair-id"),
    *("hdnts", "hdnea", "__gda__", "__token__", "delegation"),
}
_SIGNED = re.compile(r"x-(?:amz|goog|oss|cos|obs|ms)-", re.IGNORECASE)
_SECRET = re.compile(
    r"passw|passphrase|^pass$|pwd|secret|token|credential|authoriz|sas$|cookie|signature|session|"
    r"(?:account|access|api|private|shared|subscription|signing)[-_.]?key|^auth$|^pkey$|client_keys|key_filename",
    re.IGNORECASE,
)
_NAMES_ACCESS = re.compile(r"pass|pwd|secret|token|key|cred|auth|sas|sig|cookie|cert|user|login|session", re.IGNORECASE)

_RELATIVE = re.compile(r"(\burl\b['\"]?\s{0,9}[:=]\s{0,9}['\"]?/[^\s?'\"]{0,4000})\?[^\s'\"]*")
_NAMED = re.compile(
    r"passwo?r?d|passphrase|secret|(?:access|session|refresh|sas|security|id|bearer)[-_]?token|"
    r"(?:account|access|api|private|shared)[-_]?key|sharedaccesssignature|signature|x-amz-credential|\Atoken\Z|\Asig\Z",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?<![\w.\-])([\w.\-]{1,80})(=|%3D)([^\s&;,'\")]+)", re.IGNORECASE)
_QUOTED = re.compile(r"((['\"])([\w.\-]{1,80})\2\s{0,9}:\s{0,9}b?(['\"]))(.{0,10000}?)(?<!\\)(?=\4)", re.DOTALL)
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization\b['\"]?\s{0,9}[:=]\s{0,9}(?:b?['\"])?)"
    r"(?:(?:basic|bearer|digest|token|aws4-[\w-]{1,40})\s{1,9})?[^\s'\"]+",
    re.IGNORECASE,
)
_CUT = "***"

# Options of file systems that say how something is fetched, never which.
_MANNERS = {
    *("anon", "asynchronous", "batch_size", "check_files", "compression", "default_block_size", "default_cache_type"),
    *("default_fill_cache", "expiry_time", "listings_expiry_time", "loop", "max_concurrency", "max_paths", "retries"),
    *("same_names", "skip_instance_cache", "timeout", "use_listings_cache", "known_hosts"),
}
_CONNECTION = {"accountkey", "sharedaccesssignature", "sharedaccesskey"}
_CONNECTION_PART = re.compile(rf"(;(?:{'|'.join(sorted(_CONNECTION))})=)[^;]*", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Cut logins, and the parts of queries that give access, out of every URL in a text.

    Web URLs lose their whole query and fragment; others keep what names a place (``?prefix=a``). Passwords, tokens and
    signatures outside of URLs go where their name shows what they are. In doubt more is cut, not less.

    Parameters
    ----------
    text
        A URL, chained ones too, or a message with any number of them.

    Examples
    --------
    >>> without_credentials("simplecache::http://me:secret@host/a?token=1")
    'simplecache::http://host/a'
    >>> without_credentials("no answer from redis://:secret@host/0?prefix=a, nor from 's3://key:secret@bucket/b'")
    "no answer from redis://host/0?prefix=a, nor from 's3://bucket/b'"
    """
    return "".join(_cleaned(_without_odd_login(text)))


def public_identity(url: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """What tells the place of a URL from others, without anything that gives access to it.

    It is the same whoever may come in with whatever key, and when a URL is signed anew. Options that may tell places
    apart (a server, an account, a project) are in it as a digest, and so is the rest of a query.

    Parameters
    ----------
    url
        The place, with or without credentials.
    storage_options
        What it is opened with.

    Examples
    --------
    >>> public_identity("https://host/a?sig=1") == public_identity("https://host/a?sig=2") == "https://host/a"
    True
    >>> public_identity("s3://a", {"endpoint_url": "http://x"}) == public_identity(
    ...     "s3://a", {"endpoint_url": "http://y"}
    ... )
    False
    """
    place = without_credentials(url)
    told = [*_told_by_url(url), *_told_by_options(storage_options or {})]
    if not told:
        return place
    return f"{place}#{blake2b(repr(told).encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _without_odd_login(text: str) -> str:
    """A text that is one URL without its login, if that has characters in it that end a URL within a text."""
    found = _BEGINS.match(text)
    if found is None or found[1].lower() in _LOCAL | _NO_LOGIN:
        return text
    login, at, _ = _authority(text, found.end()).rpartition("@")
    odd = _ODD.search(login)
    if not at or odd is None:
        return text
    space = re.search(r"\s", login)
    if space is not None and (":" not in login[: space.start()] or re.search(r":\s", login)):
        return text  # a message that begins with a URL
    return text[: found.end()] + text[found.end() + len(login) + 1 :]


def _cleaned(text: str) -> Iterator[str]:
    """The text piece by piece, each URL in it without credentials."""
    done = 0
    for start, stop in _urls(text):
        yield _clean_prose(text[done:start])
        yield _clean(text[start:stop])
        done = stop
    yield _clean_prose(text[done:])


def _urls(text: str) -> Iterator[tuple[int, int]]:
    """Where URLs begin and end in a text. Of a chain, each is one of its own."""
    starts = list(_STARTS.finditer(text))
    done = 0
    for i, found in enumerate(starts):
        if found.start() < done:
            continue  # part of a query that is cut as a whole
        stop = _end(text, starts, i)
        while stop > found.end() and text[stop - 1] in _BEHIND and not text.endswith("::", found.end(), stop):
            stop -= 1
        yield found.start(), stop
        done = stop


def _end(text: str, starts: Sequence[re.Match[str]], i: int) -> int:
    """Where a URL ends: at the next one, unless that is part of its query, or where no more can be part of it."""
    stop, queried = starts[i].end(), False
    for later in chain(islice(starts, i + 1, None), [None]):
        limit = len(text) if later is None else later.start()
        extent = _EXTENT.match(text, stop, limit)
        assert extent is not None  # it may be empty
        queried = queried or "?" in extent[0]
        begun, stop = stop, extent.end()
        if later is None or stop < limit or not queried or text.endswith("::", begun, stop):
            break
    return stop


def _clean(url: str) -> str:
    """One URL without credentials."""
    found = _STARTS.match(url)
    assert found is not None
    scheme, lead, rest = found[1].lower(), found[0], url[found.end() :]
    chained = "::" if rest.endswith("::") else ""
    rest = rest.removesuffix("::")
    if scheme in _LOCAL:
        return lead + _ENCODED.sub(_clean_encoded, rest) + chained
    rest = _CONNECTION_PART.sub(rf"\1{_CUT}", _split_login(scheme, rest)[1])
    path, mark, query = _split_query(rest)
    path = _ENCODED.sub(_clean_encoded, path)
    if scheme in _WEB:
        return lead + path + chained
    kept = [part for part in query.split("&") if not _gives_access(part)] if mark else []
    return lead + path + (mark + "&".join(kept) if kept else "") + chained


def _split_login(scheme: str, rest: str) -> tuple[str, str]:
    """Login, and what follows it, of what stands behind ``scheme://``."""
    if scheme in _NO_LOGIN:
        return "", rest
    authority = _authority(rest, 0)
    at = authority.rfind("@")
    if at >= 0:
        is_place = scheme in _CONTAINERS and ":" not in authority[:at]
        return ("", rest) if is_place else (rest[:at], rest[at + 1 :])
    if not _is_host(authority):  # no port behind the colon: a password with a slash in it
        at = rest.rfind("@")
    return (rest[:at], rest[at + 1 :]) if at >= 0 else ("", rest)


def _authority(text: str, start: int) -> str:
    """What follows ``scheme://``, up to the path."""
    found = re.compile(r"[/?#]").search(text, start)
    return text[start : len(text) if found is None else found.start()]


def _is_host(authority: str) -> bool:
    """Whether this may be a host with a port or without, several of them, or a name with colons in it."""
    if authority.startswith(("[", "arn:")) or "::" in authority:
        return True
    name, colon, port = authority.partition(",")[0].partition(":")
    return not colon or bool(name and (not port or port.isdecimal()))


def _split_query(rest: str) -> tuple[str, str, str]:
    """Path, the character before the query, and the query with all that follows it."""
    found = re.search(r"[?#]", rest)
    return (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.end() :])


def _gives_access(part: str) -> bool:
    """Whether a part of a query, ``name=value``, may be of use to who should have no access."""
    name, equals, _ = part.partition("=")
    name = unquote(name)
    return bool(equals) and bool(_is_signature(name) or _NAMES_ACCESS.search(name))


def _is_signature(name: str) -> bool:
    """Whether a part of a query only serves to sign the URL."""
    return name.lower() in _SIGNATURES or _SIGNED.match(name) is not None


def _clean_prose(text: str) -> str:
    """Text that is no URL without what its names show to give access."""
    if "%" in text:
        text = _ENCODED.sub(_clean_encoded, text)
    text = _RELATIVE.sub(r"\1", text)
    text = _BARE.sub(lambda found: f"{found[1]}{found[2]}{_CUT}" if _NAMED.search(found[1]) else found[0], text)
    text = _QUOTED.sub(lambda found: f"{found[1]}{_CUT}" if _NAMED.search(found[3]) else found[0], text)
    return _HEADER.sub(rf"\1{_CUT}", text)


def _clean_encoded(found: re.Match[str]) -> str:
    """A URL written with percent codes without credentials; as it is, if there are none."""
    plain = _decoded(found[0])
    clean = "".join(_cleaned(plain))
    return found[0] if clean == plain else quote(clean, safe="")


def _decoded(text: str) -> str:
    """A URL that was written with percent codes, once or several times over."""
    for _ in range(_LEVELS):
        text = unquote(text)
        if _STARTS.match(text) is not None:
            break
    return text


def _told_by_url(url: str) -> Iterator[str]:
    """What a URL says of a place that is left out of it where it is shown."""
    for start, stop in _urls(url):
        found = _STARTS.match(url, start)
        assert found is not None
        scheme, rest = found[1].lower(), url[found.end() : stop]
        if scheme in _LOCAL:
            if _ENCODED.search(rest):
                yield f"{scheme} path {rest}"
            continue
        login, rest = _split_login(scheme, rest)
        user, colon, _ = login.partition(":")
        if user and scheme in _OF_A_USER and (colon or not scheme.startswith("http")):  # not http://TOKEN@host
            yield f"{scheme} user {unquote(user)}"
        path, mark, query = _split_query(rest)
        for inner in _ENCODED.findall(path):
            yield from _told_by_url(_decoded(inner))
        for part in query.partition("#")[0].split("&") if mark == "?" else ():
            name = unquote(part.partition("=")[0])
            if part and not (_is_signature(name) or _SECRET.search(name)) and (scheme in _WEB or _gives_access(part)):
                yield f"{scheme} query {unquote(part)}"


def _told_by_options(options: Mapping[str, Any]) -> Iterable[str]:
    """What options say of a place."""
    found: Any = _told(options)
    return [f"options {found!r}"] if found else []


def _told(value: Any) -> Any:
    """A value of an option as it may be in a digest: what gives access left out, at every depth, order made one."""
    if isinstance(value, Mapping):
        items = ((str(name), _told_by(str(name), item)) for name, item in value.items() if _tells(str(name)))
        return sorted((name, item) for name, item in items if item not in (None, []))
    if isinstance(value, (list, tuple)):
        return [_told(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_told(item)) for item in value)
    if isinstance(value, str):
        return public_identity(value) if "://" in value else value
    if value is None or isinstance(value, (bool, int, float, bytes)):
        return value
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _told_by(name: str, value: Any) -> Any:
    """What one option says of a place."""
    if name == "fo" and isinstance(value, Mapping):  # references to chunks: their names are no options
        return repr(sorted(value.items(), key=repr))
    if name.lower() == "connection_string" and isinstance(value, str):  # Azure's: account and server beside the key
        parts = sorted(part for part in value.split(";") if part.partition("=")[0].strip().lower() not in _CONNECTION)
        return ";".join(parts)
    return _told(value)


def _tells(name: str) -> bool:
    """Whether an option may tell places apart."""
    return name not in _MANNERS and name != "key" and not _SECRET.search(name)
