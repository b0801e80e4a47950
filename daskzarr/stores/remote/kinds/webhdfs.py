"""HDFS by HTTP (WebHDFS, HttpFS): own requests, since fsspec's take a data server's page about an error for bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError
from daskzarr.stores.remote.kinds.answer import Answer, Entry
from daskzarr.stores.remote.kinds.files import walk
from daskzarr.stores.remote.placing.webhdfs import ask as request
from daskzarr.stores.remote.placing.webhdfs import checked, sent_on


def ask(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file. A part that is no whole costs a look at the file's size, since answers do not tell it."""
    if wanted == [None]:
        body = _read(fs, path, {})
        return [Answer(body, 0, len(body))]
    noted = _noted(fs, path)
    if noted["type"] == "DIRECTORY":
        raise FileNotFoundError(path)  # a folder is no value
    size = int(noted["length"])
    bounds = [(0, size) if each is None else each.bounds(size) for each in wanted]
    return [Answer(_part(fs, path, start, stop), start, size) for start, stop in bounds]


def _part(fs: Any, path: str, start: int, stop: int) -> bytes:
    """Bytes of a file that has so many."""
    return _read(fs, path, {"offset": str(start), "length": str(stop - start)}) if start < stop else b""


def _read(fs: Any, path: str, parameters: dict[str, str]) -> bytes:
    """Bytes of a file: the name server says which data server has them."""
    answer = request(fs, "GET", "OPEN", path, **parameters)
    while answer.status_code in (301, 302, 303, 307, 308):
        answer = sent_on(fs, answer, "GET", path)
        if answer.status_code == 404:
            raise _unknown_to_data_server(fs, path)
        answer = checked(answer, path)
    if answer.status_code != 200:
        raise StoreError(f"WebHDFS did not read {path!r} (HTTP status {answer.status_code})")
    body: bytes = answer.content
    return body


def _unknown_to_data_server(fs: Any, path: str) -> Exception:
    """Why a data server knows no file of which the name server said where it is."""
    if _noted(fs, path)["type"] == "DIRECTORY":
        return IsADirectoryError(path)
    return StoreError(f"the data server of WebHDFS does not find {path!r}, which is there")


def _noted(fs: Any, path: str) -> Any:
    """What the name server notes of a file or folder."""
    return request(fs, "GET", "GETFILESTATUS", path).json()["FileStatus"]


def children(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below; of a file the server lists that alone, without a name."""
    found = request(fs, "GET", "LISTSTATUS", folder).json()["FileStatuses"]["FileStatus"]
    lead = folder.rstrip("/") + "/"
    named = [each for each in found if each["pathSuffix"]]
    return [Entry(lead + each["pathSuffix"], each["length"], each["type"] == "DIRECTORY") for each in named]


def below(fs: Any, folder: str) -> Iterator[list[Entry]]:
    """All files below, folder by folder."""
    return walk(fs, folder, children)


def clear(fs: Any, folder: str) -> None:
    """Delete a folder and all in it, in one step."""
    if _noted(fs, folder)["type"] == "DIRECTORY":
        request(fs, "DELETE", "DELETE", folder, recursive="true")
