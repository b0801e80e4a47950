"""A URL and options -> fsspec's file system and the path in it; what cannot be opened is an error of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from daskzarr.errors import UnsupportedError
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.remote.kinds import chain_hint, raise_unopened

_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "azure"),
    **dict.fromkeys(("http", "https", "webhdfs"), "http"),
    **dict.fromkeys(("sftp", "ssh"), "sftp"),
    "hdfs": "hdfs",
}
"""Protocols of fsspec -> the extra of daskzarr that brings a client."""
_NOT_KNOWN = "Protocol not known"


def file_system_at(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Some kinds ask a server already: that of an archive reads its list of files.

    Parameters
    ----------
    url
        For fsspec; chained ones too.
    options
        For its file system, in a chain by protocol.

    Raises
    ------
    UnsupportedError
        If there is no such file system, or its client is not installed.
    StoreError
        If it cannot be opened for another reason.
    """
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(url, **options)
    except Exception as error:
        shown = without_credentials(url)
        if not isinstance(error, ImportError) and _NOT_KNOWN not in str(error):
            raise_unopened(error, shown, _flat_hint(url, options))
        hint = _install_hint(url) if isinstance(error, ImportError) else ""
        raise UnsupportedError(
            f"no file system for this protocol can be opened: {without_credentials(str(error))}{hint}", url=shown
        ) from error
    return fs, path


def _install_hint(url: str) -> str:
    """What to install for the protocols of a URL that need a client."""
    extras = sorted({_EXTRAS[protocol] for protocol in _protocols(url) if protocol in _EXTRAS})
    return f": pip install 'daskzarr[{','.join(extras)}]'" if extras else ""


def _flat_hint(url: str, options: Mapping[str, Any]) -> str:
    """How options of a chain go, if some do not go so."""
    return chain_hint(url) if set(options).difference(_protocols(url)) else ""


def _protocols(url: str) -> Iterable[str]:
    """The protocols of a URL, chained or not."""
    return re.findall(r"(?:^|::)([a-z][a-z0-9+.\-]*)(?=:)", url)
