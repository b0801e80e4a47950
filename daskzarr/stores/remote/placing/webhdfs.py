"""HDFS by HTTP (WebHDFS, HttpFS), as fsspec's file system speaks it; with what that leaves out."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any
from urllib.parse import quote

from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.remote.placing.hadoop_errors import error_for
from daskzarr.stores.remote.placing.hidden import Steps

_PATIENCE = (60, 600)  # seconds for a connection, and for a next byte
_CONNECTIONS = 128
_DATA = {"CREATE", "OPEN", "RENAME"}
_BYTES = {"content-type": "application/octet-stream"}


def ask(fs: Any, method: str, operation: str, path: str, **parameters: str) -> Any:
    """One request to the name server; its answer, which may send on to another address.

    Raises
    ------
    UnsupportedError
        For a name with ``%``, of a file that is to be read or written. Data servers of Hadoop 2 take that for the
        beginning of a code, and would read or write another file.
    """
    if operation in _DATA and "%" in path + parameters.get("destination", ""):
        raise UnsupportedError(f"{path!r} cannot be reached over WebHDFS, as there is a '%' in it: use hdfs://")
    _widen(fs.session)
    url = fs._apply_proxy(fs.url + quote(path, safe="/="))
    parameters = {**parameters, **fs.pars, "op": operation}
    answer = fs.session.request(method, url, params=parameters, allow_redirects=False, timeout=_PATIENCE)
    return checked(answer, path)


def _widen(session: Any) -> None:
    """Let a session keep more connections than the ten it would: it would tell of each that it drops."""
    usual = import_module("requests.adapters").HTTPAdapter
    for scheme in ("http://", "https://"):
        adapter = session.adapters.get(scheme)
        if type(adapter) is usual and adapter._pool_maxsize < _CONNECTIONS:
            session.mount(scheme, usual(pool_maxsize=_CONNECTIONS))


def checked(answer: Any, path: str) -> Any:
    """An answer that is no error."""
    if answer.status_code < 400:
        return answer
    try:
        remote = answer.json()["RemoteException"]
        name, message = str(remote["exception"]), str(remote["message"])
    except (ValueError, KeyError, TypeError):
        raise _error_of_status(answer.status_code, path) from None
    raise error_for(name, message, path)


def _error_of_status(status: int, path: str) -> OSError:
    """An exception for an answer that is not HDFS's own, as of a proxy."""
    if status in (401, 403, 407):
        return PermissionError(errno.EACCES, f"HTTP status {status}", path)
    text = f"WebHDFS failed at {path!r} with HTTP status {status}"
    return ConnectionError(text) if status == 429 or status >= 500 else StoreError(text)


def sent_on(fs: Any, answer: Any, method: str, path: str, **request: Any) -> Any:
    """The answer of the data server that the name server has named."""
    where = answer.headers.get("Location")
    if where is None:
        raise StoreError(f"WebHDFS named no data server for {path!r} (HTTP status {answer.status_code})")
    return fs.session.request(method, fs._apply_proxy(where), allow_redirects=False, timeout=_PATIENCE, **request)


def _write(fs: Any, path: str, value: bytes) -> None:
    """The name server says which data server takes the bytes; folders are made too."""
    answer = ask(fs, "PUT", "CREATE", path, overwrite="true")
    answer = checked(sent_on(fs, answer, "PUT", path, data=value, headers=_BYTES), path)
    if answer.status_code != 201:
        raise StoreError(f"WebHDFS did not write {path!r} (HTTP status {answer.status_code})")


def _rename_over(fs: Any, source: str, target: str) -> None:
    """The name server does that in one step. A gateway (HttpFS) does not know how to: there the old file goes first."""
    if not _renamed(fs, source, target, "OVERWRITE"):
        _unlink(fs, target)
        if not _renamed(fs, source, target, "OVERWRITE"):
            raise StoreError(f"WebHDFS did not rename a file to {target!r}")


def _rename_new(fs: Any, source: str, target: str) -> None:
    """FileExistsError where there is a file."""
    if not _renamed(fs, source, target, "NONE"):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _renamed(fs: Any, source: str, target: str, how: str) -> bool:
    """Whether a file was renamed. With an option a server raises if not; what ignores the option answers in words."""
    answer = ask(fs, "PUT", "RENAME", source, destination=target, renameoptions=how)
    if not answer.content:
        return True
    if not answer.json().get("boolean"):
        return False
    if _type_at(fs, target) == "directory":  # the file is in there now
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    return True


def _unlink(fs: Any, path: str) -> None:
    """A missing file is no error; a folder with something in it is one."""
    ask(fs, "DELETE", "DELETE", path, recursive="false")


def _make_folder(fs: Any, path: str) -> None:
    """Writing has made it, unless others delete it."""
    ask(fs, "PUT", "MKDIRS", path)


def _type_at(fs: Any, path: str) -> str | None:
    """As the name server says."""
    try:
        return str(ask(fs, "GET", "GETFILESTATUS", path).json()["FileStatus"]["type"]).lower()
    except FileNotFoundError:
        return None


WEB = Steps(_write, _rename_over, _rename_new, _unlink, _make_folder, _type_at)
