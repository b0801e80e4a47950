"""A file system -> its kind, and where one stands on another (a folder of it, a cache of it), the one that writes."""

from __future__ import annotations

from functools import cache
from typing import Any

_KINDS = {
    "s3fs.core.S3FileSystem": "object store",
    "gcsfs.core.GCSFileSystem": "object store",
    "adlfs.spec.AzureBlobFileSystem": "object store",
    "hdfs_native.fsspec.BaseFileSystem": "hdfs-native",
    "fsspec.implementations.arrow.ArrowFSWrapper": "arrow",
    "fsspec.implementations.webhdfs.WebHDFS": "webhdfs",
    "fsspec.implementations.sftp.SFTPFileSystem": "sftp",
    "sshfs.spec.SSHFileSystem": "sshfs",
    "fsspec.implementations.memory.MemoryFileSystem": "memory",
    "fsspec.implementations.local.LocalFileSystem": "local",
    "fsspec.implementations.dirfs.DirFileSystem": "folder",
    "fsspec.implementations.cached.CachingFileSystem": "cache",
}


def kind(fs: Any) -> str:
    """What sort of file system it is; ``""`` for one of which nothing is known."""
    cls: Any = type(fs)
    found = _kind(cls)
    if found == "arrow":  # pyarrow's file systems of objects put one when it is closed
        return "arrow files" if fs.fs.type_name in {"hdfs", "local"} else ""
    return found


@cache
def _kind(cls: Any) -> str:
    """The kind of the nearest class that is known."""
    names = [f"{above.__module__}.{above.__qualname__}" for above in cls.__mro__]
    found = next((_KINDS[name] for name in names if name in _KINDS), "")
    return "" if found == "folder" and names[0] not in _KINDS else found  # one with ways of its own is asked itself


def innermost(fs: Any, path: str) -> tuple[Any, str]:
    """The file system that writes, and the path as it knows it."""
    while True:
        found = kind(fs)
        if found == "folder":
            path = fs._join(path)
        elif found != "cache":
            return fs, path
        fs = fs.fs
