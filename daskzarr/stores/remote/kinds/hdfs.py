"""HDFS through hdfs-native or pyarrow: their own clients, since fsspec's ways cut paths at ``#``, ``;`` and ``?``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.remote.kinds.answer import Answer, Entry
from daskzarr.stores.remote.kinds.files import read_part
from daskzarr.stores.remote.placing.hadoop_errors import telling


def ask(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file by hdfs-native, which learns the size when it opens it."""
    with telling(path):
        reader = fs.client.read(path)
        size = len(reader)
        bounds = [(0, size) if each is None else each.bounds(size) for each in wanted]
        return [Answer(reader.read_range(a, b - a) if a < b else b"", a, size) for a, b in bounds]


def children(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below."""
    with telling(folder):
        return [Entry(each.path, each.length, each.isdir) for each in fs.client.list_status(folder, False)]


def below(fs: Any, folder: str) -> Iterator[list[Entry]]:
    """All files below, with as few requests as the server takes."""
    with telling(folder):
        found = [each for each in fs.client.list_status(folder, True) if not each.isdir]
    yield [Entry(each.path, each.length, False) for each in found]


def clear(fs: Any, folder: str) -> None:
    """Delete a folder and all in it, in one step."""
    with telling(folder):
        if fs.client.get_file_info(folder).isdir:
            fs.client.delete(folder, True)


def ask_arrow(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file by pyarrow."""
    with fs.fs.open_input_file(path) as file:
        size = file.size()
        return [read_part(file, size, each) for each in wanted]


def children_arrow(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below."""
    return list(_arrow_entries(fs, folder, False))


def below_arrow(fs: Any, folder: str) -> Iterator[list[Entry]]:
    """All files below."""
    yield [each for each in _arrow_entries(fs, folder, True) if not each.is_folder]


def _arrow_entries(fs: Any, folder: str, recursive: bool) -> Iterator[Entry]:
    """What pyarrow lists."""
    arrow = import_module("pyarrow.fs")
    if not _is_folder_arrow(fs, folder):  # asked of a file, it raises an OSError like any other
        return
    for each in fs.fs.get_file_info(arrow.FileSelector(folder, recursive=recursive)):
        is_folder = each.type is arrow.FileType.Directory
        yield Entry(each.path, None if is_folder else each.size, is_folder)


def clear_arrow(fs: Any, folder: str) -> None:
    """Delete a folder and all in it, in one step."""
    if _is_folder_arrow(fs, folder):
        try:
            fs.fs.delete_dir(folder)
        except OSError:
            if _is_folder_arrow(fs, folder):
                raise


def _is_folder_arrow(fs: Any, path: str) -> bool:
    """Whether there is a folder at a path."""
    return bool(fs.fs.get_file_info([path])[0].type is import_module("pyarrow.fs").FileType.Directory)
