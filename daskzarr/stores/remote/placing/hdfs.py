"""HDFS by its own protocol: through the package hdfs-native, or through pyarrow and Java."""

from __future__ import annotations

import random
import time
from importlib import import_module
from typing import Any

from daskzarr.stores.remote.placing.hadoop_errors import telling
from daskzarr.stores.remote.placing.hidden import Steps, type_at

_TRIES = 20


def _write(fs: Any, path: str, value: bytes) -> None:
    """A file by hdfs-native, which makes folders too."""
    options = import_module("hdfs_native").WriteOptions()
    options.overwrite = True
    options.create_parent = True
    with telling(path), fs.client.create(path, options) as file:
        file.write(value)


def _rename_over(fs: Any, source: str, target: str) -> None:
    """The name server does that in one step."""
    with telling(target):
        fs.client.rename(source, target, True)


def _rename_new(fs: Any, source: str, target: str) -> None:
    """FileExistsError where there is a file."""
    with telling(target):
        fs.client.rename(source, target, False)


def _unlink(fs: Any, path: str) -> None:
    """A missing file is no error; a folder with something in it is one."""
    with telling(path):
        fs.client.delete(path, False)


def _make_folder(fs: Any, path: str) -> None:
    """Writing has made it, unless others delete it."""
    with telling(path):
        fs.client.mkdirs(path, create_parent=True)


def _type_at(fs: Any, path: str) -> str | None:
    """Not by fsspec's way, which would cut the path at ``#``, ``;`` and ``?``."""
    try:
        with telling(path):
            return "directory" if fs.client.get_file_info(path).isdir else "file"
    except FileNotFoundError:
        return None


NATIVE = Steps(_write, _rename_over, _rename_new, _unlink, _make_folder, _type_at)


def _write_by_arrow(fs: Any, path: str, value: bytes) -> None:
    """A file by pyarrow, which makes folders too."""
    with fs.fs.open_output_stream(path, compression=None) as file:
        file.write(value)


def _move_by_arrow(fs: Any, source: str, target: str) -> None:
    """Not one step where there is a file already: pyarrow removes it first, for want of a call that replaces.

    If another writer's file is there by then, that fails, and is tried again.
    """
    for attempt in range(_TRIES):
        try:
            fs.fs.move(source, target)
            return
        except OSError:
            if attempt == _TRIES - 1 or type_at(fs, source) is None or type_at(fs, target) == "directory":
                raise
            time.sleep(random.uniform(0, 0.01) * attempt)


def _unlink_by_arrow(fs: Any, path: str) -> None:
    """An error of the same kind for whatever is in the way."""
    fs.fs.delete_file(path)


def _make_folder_by_arrow(fs: Any, path: str) -> None:
    """Writing has made it, unless others delete it."""
    fs.fs.create_dir(path, recursive=True)


ARROW = Steps(_write_by_arrow, _move_by_arrow, None, _unlink_by_arrow, _make_folder_by_arrow, type_at)
