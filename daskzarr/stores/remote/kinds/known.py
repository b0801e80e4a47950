"""A file system of fsspec -> what its kind is asked by."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from daskzarr.stores.remote.kinds import azure, caches, coroutines, files, hdfs, references, s3, sftp, web, webhdfs


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of file system is asked by.

    Attributes
    ----------
    ask
        Reads one part of a file if it is a coroutine function, a sequence of parts otherwise.
    children, below, clear
        What is directly below a folder; all files below it, page by page; delete all below it.
    on_loop
        Whether these are coroutine functions, for fsspec's event loop.
    waits
        Whether a request mostly waits on a network.
    threads
        How many threads at most may read at once for one call, where it is no coroutine.
    apart
        Whether parts of one file are faster read by several threads, where it is no coroutine.
    quotes
        Whether paths are URLs, in which keys are written with percent codes.
    refuses
        What the client that writes files takes for something else in a key.
    forks
        Whether it can be opened in a forked process.
    caches
        Whether it keeps files of another file system.
    fetches
        Whether ``ask`` is given first what reads from another file system.
    """

    ask: Callable[..., Any]
    children: Callable[..., Any] = files.children
    below: Callable[..., Any] = files.below
    clear: Callable[..., Any] = files.clear
    on_loop: bool = False
    waits: bool = False
    threads: int = 128
    apart: bool = False
    quotes: bool = False
    refuses: re.Pattern[str] | None = None
    forks: bool = True
    caches: bool = False
    fetches: bool = False


def _asynchronous(
    ask: Callable[..., Any],
    children: Callable[..., Any] = coroutines.children,
    below: Callable[..., Any] = coroutines.below,
    clear: Callable[..., Any] = coroutines.clear,
    *,
    quotes: bool = False,
    refuses: re.Pattern[str] | None = None,
    fetches: bool = False,
) -> Kind:
    """A kind that fsspec's event loop serves."""
    return Kind(ask, children, below, clear, on_loop=True, waits=True, quotes=quotes, refuses=refuses, fetches=fetches)


FOLDER = "fsspec.implementations.dirfs.DirFileSystem"
_OTHER = Kind(files.ask)
_ARCHIVE = Kind(files.ask_archive)
_OTHER_ON_LOOP = _asynchronous(coroutines.CatFile(suffixes=False))
_KINDS = {
    "adlfs.spec.AzureBlobFileSystem": _asynchronous(
        azure.ask, azure.children, azure.below, azure.clear, refuses=re.compile(r"\?versionid=|[?#]$|[\t\r\n]")
    ),
    "fsspec.implementations.arrow.HadoopFileSystem": Kind(
        hdfs.ask_arrow, hdfs.children_arrow, hdfs.below_arrow, hdfs.clear_arrow, waits=True, apart=True, forks=False
    ),
    "fsspec.implementations.cached.CachingFileSystem": Kind(caches.ask_blocks, caches=True, fetches=True),
    "fsspec.implementations.cached.WholeFileCacheFileSystem": Kind(caches.ask_whole, caches=True, fetches=True),
    FOLDER: _OTHER,  # one with ways of its own; others are looked behind
    "fsspec.implementations.http.HTTPFileSystem": _asynchronous(web.ask, web.children, quotes=True),
    "fsspec.implementations.reference.ReferenceFileSystem": _asynchronous(
        references.ask, references.children, references.below, fetches=True
    ),
    "fsspec.implementations.sftp.SFTPFileSystem": Kind(
        sftp.ask, sftp.children, sftp.below, sftp.clear, waits=True, threads=4
    ),
    "fsspec.implementations.tar.TarFileSystem": _ARCHIVE,
    "fsspec.implementations.webhdfs.WebHDFS": Kind(
        webhdfs.ask, webhdfs.children, webhdfs.below, webhdfs.clear, waits=True, apart=True
    ),
    "fsspec.implementations.zip.ZipFileSystem": _ARCHIVE,
    "gcsfs.core.GCSFileSystem": _asynchronous(coroutines.CatFile(suffixes=True)),
    # What it keeps of connections to data servers is its parent's in a forked process, also if it is opened again.
    "hdfs_native.fsspec.BaseFileSystem": Kind(
        hdfs.ask, hdfs.children, hdfs.below, hdfs.clear, forks=False, waits=True, apart=True
    ),
    "s3fs.core.S3FileSystem": _asynchronous(
        s3.ask, s3.children, s3.below, s3.clear, refuses=re.compile(r"\?versionId=")
    ),
    "sshfs.spec.SSHFileSystem": _asynchronous(
        sftp.ask_asyncssh, sftp.children_asyncssh, sftp.below_asyncssh, sftp.clear_asyncssh
    ),
}


@cache
def _known(cls: type) -> Kind | None:
    """The kind of the nearest class that is known."""
    names = (f"{above.__module__}.{above.__qualname__}" for above in cls.__mro__)
    return next((_KINDS[name] for name in names if name in _KINDS), None)


def kind_of(fs: Any) -> Kind:
    """The kind of a file system."""
    cls: Any = type(fs)
    return _known(cls) or (_OTHER_ON_LOOP if getattr(fs, "async_impl", False) else _OTHER)
