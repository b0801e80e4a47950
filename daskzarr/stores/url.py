"""What people pass as the place of an array (path, URL, mapping, store, zarr-python object) -> a location."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from daskzarr.errors import MetadataError, UnsupportedError
from daskzarr.stores.credentials import public_identity, without_credentials
from daskzarr.stores.local import LocalStore
from daskzarr.stores.mapping import MappingStore
from daskzarr.stores.protocol import Location, Store
from daskzarr.stores.remote.filesystem import MISSING, FilesystemStore
from daskzarr.stores.remote.objects import preferred_objects
from daskzarr.stores.remote.opening import file_system_at
from daskzarr.stores.schemes import opener
from daskzarr.stores.zarr_python import location_of_zarr_python

_LOCAL_PROTOCOLS = {"file", "local"}
_BUCKET_LOGIN = re.compile(r"(?:^|::)(?:s3a?|gs|gcs)://[^/@]*:[^/@]*@")
_NO_BUCKET = re.compile(r"(?:^|::)(s3a?|gs|gcs|az|abfss?):///*(?=::|$)")
_FSSPEC = "fsspec::"  # no client but fsspec's
_HANDED_OVER = {"obstore", "icechunk"}


def locate(place: Any, component: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Location:
    """The location a user means.

    Parameters
    ----------
    place
        A path, a URL (chained ones too), a mapping of keys to bytes, a daskzarr store or location, or an
        array, group or store of zarr-python (recognised by what it offers, never imported).
    component
        Path of the node below it.
    storage_options
        Passed to fsspec; only with a URL.
    """
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise MetadataError(
            f"storage_options is a {type(storage_options).__name__}; it has to be a dict", field="storage_options"
        )
    if storage_options and not isinstance(place, (str, os.PathLike)):
        raise MetadataError(
            "storage_options only go with a URL; a store or mapping has its options already", field="storage_options"
        )
    location = _location(place, dict(storage_options or {}))
    return location / component if component else location


def open_store(url: Any, *, storage_options: Mapping[str, Any] | None = None) -> Store:
    """Open a store.

    Parameters
    ----------
    url
        A path, a URL (``s3://bucket/a``, ``memory://a``, ``zip::...``), an ``os.PathLike`` or a mapping.
    storage_options
        Passed to the fsspec file system. Default none: what the environment gives.

    Returns
    -------
    Store
        A local directory gets :class:`LocalStore`; every other URL a :class:`FilesystemStore`.

    Raises
    ------
    MetadataError
        If the place cannot be understood.
    UnsupportedError
        If there is no client for it, or that is not installed.
    StoreError
        If it has to be asked for on opening, as an archive has to, and that fails.

    Examples
    --------
    >>> open_store("memory://example").url
    'memory://example'
    """
    return locate(url, None, storage_options).store


def _location(place: Any, options: dict[str, Any]) -> Location:
    """Tell the kinds of places apart."""
    if isinstance(place, Location):
        return place
    if isinstance(place, (str, os.PathLike)):
        return Location(_store_at(os.fspath(place), options))
    location = getattr(place, "location", None)
    if isinstance(location, Location):  # a StoredArray or StoredGroup
        return location
    if hasattr(place, "fs") and hasattr(place, "root") and isinstance(place, Mapping):
        fsmap: Any = place
        return Location(store_on(fsmap.fs, fsmap.root, tuple(fsmap.missing_exceptions)))
    if isinstance(place, Mapping):
        return Location(MappingStore(place))
    if isinstance(place, Store):
        return Location(place)
    return location_of_zarr_python(place, store_on, _handed_over)


def _handed_over(place: Any) -> Store | None:
    """The store of an object of obstore or Icechunk, which are not loaded for this; None for anything else."""
    if sys.modules.keys().isdisjoint(_HANDED_OVER):
        return None
    from daskzarr.stores.remote.icechunk import icechunk_store_of
    from daskzarr.stores.remote.objects import object_store_of

    return icechunk_store_of(place) or object_store_of(place)


def _store_at(url: str, options: dict[str, Any]) -> Store:
    """A store for a path or URL."""
    if not url:
        raise MetadataError("an empty string is no place for a store; use '.' for the current directory", field="url")
    if _BUCKET_LOGIN.search(url):
        raise MetadataError(
            "a bucket's URL has no place for keys; pass them as storage_options",
            url=without_credentials(url),
            field="url",
        )
    bucketless = _NO_BUCKET.search(url)
    if bucketless:
        raise MetadataError(
            f"the URL names no bucket or container: {bucketless[1]}://NAME/path",
            url=without_credentials(url),
            field="url",
        )
    protocol, separator, path = url.partition("://")
    if "::" not in url and (not separator or protocol in _LOCAL_PROTOCOLS):
        local = os.path.abspath(os.path.expanduser(path if separator else url))
        zipped = opener("zip") if local.lower().endswith(".zip") and not os.path.isdir(local) else None
        return zipped.from_url(local, options) if zipped is not None else LocalStore(local)
    scheme = "obstore" if url.startswith("obstore::") else protocol
    own = None if scheme == "zip" and "::" in url else opener(scheme)  # a zip file in another store is fsspec's
    if own is not None:
        found = own.from_url(url, options)
        if not isinstance(found, Store):
            raise UnsupportedError(f"from_url of {scheme}:// gave a {type(found).__name__}, which is no store")
        return found
    preferred = preferred_objects(url, options)
    if preferred is not None:
        return preferred
    url = url.removeprefix(_FSSPEC)
    fs, root = file_system_at(url, options)
    if protocol.startswith("dir::"):
        root = ""  # fsspec names the folder twice: as the file system's and as the path in it
    public = without_credentials(_one_spelling(url))
    return FilesystemStore(fs, root.rstrip("/"), public, identity=public_identity(url, options))


def _one_spelling(url: str) -> str:
    """The URL with no slash at its end, nor a third one after the protocol."""
    return re.sub(r":///+", "://", url.rstrip("/"))


def store_on(fs: Any, root: str, missing: tuple[type[Exception], ...] = MISSING) -> Store:
    """A store on a folder of an fsspec file system object, where the ``missing`` exceptions mean "no such key"."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & _LOCAL_PROTOCOLS and type(fs).__name__ == "LocalFileSystem" and set(missing) == set(MISSING):
        return LocalStore(os.path.abspath(root))
    url = _one_spelling(fs.unstrip_protocol(root))
    options = fs.storage_options if isinstance(getattr(fs, "storage_options", None), dict) else {}
    return FilesystemStore(fs, root.rstrip("/"), without_credentials(url), missing, public_identity(url, options))
