"""What people pass as the place of an array (path, URL, mapping, store, zarr-python object) -> a location."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from daskzarr.errors import MetadataError
from daskzarr.store.filesystem import FilesystemStore
from daskzarr.store.local import LocalStore
from daskzarr.store.mapping import MappingStore
from daskzarr.store.protocol import Location, Store
from daskzarr.store.zarr_python import location_of_zarr_python

_LOCAL_PROTOCOLS = {"file", "local"}


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
        return Location(_store_of_fsmap(place))
    if isinstance(place, Mapping):
        return Location(MappingStore(place))
    if isinstance(place, Store):
        return Location(place)
    return location_of_zarr_python(place, store_on)


def _store_at(url: str, options: dict[str, Any]) -> Store:
    """A store for a path or URL."""
    if not url:
        raise MetadataError("an empty string is no place for a store; use '.' for the current directory", field="url")
    protocol, separator, path = url.partition("://")
    if "::" not in url and (not separator or protocol in _LOCAL_PROTOCOLS):
        local = path if separator else url
        return LocalStore(os.path.abspath(os.path.expanduser(local)))
    from fsspec.core import url_to_fs

    fs, root = url_to_fs(url, **options)
    return FilesystemStore(fs, root.rstrip("/"), _without_credentials(url.rstrip("/")))


def _store_of_fsmap(mapping: Any) -> Store:
    """An FSMap's own file system: it tells "missing" from "failed", and pickles small."""
    usual = {FileNotFoundError, IsADirectoryError, NotADirectoryError}
    if set(mapping.missing_exceptions) != usual:
        return MappingStore(mapping)  # the user named what counts as missing
    return store_on(mapping.fs, mapping.root)


def store_on(fs: Any, root: str) -> Store:
    """A store on a folder of an fsspec file system object."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & _LOCAL_PROTOCOLS and type(fs).__name__ == "LocalFileSystem":
        return LocalStore(os.path.abspath(root))
    return FilesystemStore(fs, root.rstrip("/"), _without_credentials(fs.unstrip_protocol(root).rstrip("/")))


def _without_credentials(url: str) -> str:
    """The URL with any ``user:password@`` and query cut out.

    >>> _without_credentials("ftp://me:secret@host/a?token=1")
    'ftp://host/a'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?", 1)[0]
