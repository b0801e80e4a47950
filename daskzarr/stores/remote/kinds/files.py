"""File systems that block, of which little is known, or that are at hand: memory, this machine's files, archives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import has_magic
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.remote.kinds.answer import Answer, Entry


def ask(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """Each part of a file; None: all of it.

    Parameters
    ----------
    fs
        Any ``fsspec.AbstractFileSystem``.
    path
        The file.
    wanted
        The parts.
    """
    if wanted == [None]:
        return [_whole(fs.cat_file(path))]
    _forget(fs)
    noted = fs.info(path)
    size = noted.get("size")
    if noted.get("type") == "directory":
        raise FileNotFoundError(path)
    if size is None:
        return [_whole(fs.cat_file(path))] * len(wanted)
    return [_part(fs, path, size, *((0, size) if each is None else each.bounds(size))) for each in wanted]


def ask_archive(fs: Any, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer]:
    """The same of an archive: fsspec's said by a KeyError that there is no such file, and says otherwise of folders."""
    try:
        return ask(fs, path, wanted)
    except (KeyError, ValueError) as error:
        if fs.isfile(path):
            raise
        raise FileNotFoundError(path) from error


def _part(fs: Any, path: str, size: int, start: int, stop: int) -> Answer:
    """A part of a file of so many bytes."""
    body = fs.cat_file(path, start, stop) if start < stop else b""
    return Answer(body, start, size) if len(body) <= stop - start else _whole(body)


def _whole(body: Buffer) -> Answer:
    """An answer that is all of a file."""
    return Answer(body, 0, len(body))


def read_part(file: Any, size: int, wanted: ByteRange | None) -> Answer:
    """A part of an open file."""
    start, stop = (0, size) if wanted is None else wanted.bounds(size)
    if start >= stop:
        return Answer(b"", start, size)
    file.seek(start)
    pieces = []
    left = stop - start
    while left > 0:
        piece = file.read(left)
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return Answer(pieces[0] if len(pieces) == 1 else b"".join(pieces), start, size)


def children(fs: Any, folder: str) -> list[Entry]:
    """Files and folders directly below, as they are now."""
    _forget(fs)
    found = fs.ls(folder, detail=True)
    return [Entry(each["name"], each.get("size"), each.get("type") == "directory") for each in found]


def below(fs: Any, folder: str) -> Iterator[list[Entry]]:
    """All files below, as they are now."""
    from fsspec.spec import AbstractFileSystem

    if type(fs).find is AbstractFileSystem.find:  # the general one leaves out what it cannot list
        yield from walk(fs, folder, children)
        return
    _forget(fs)
    found = fs.find(folder, detail=True)
    yield [Entry(path, each.get("size"), False) for path, each in found.items() if each.get("type") != "directory"]


def walk(fs: Any, folder: str, children: Any) -> Iterator[list[Entry]]:
    """All files below, folder by folder; one that cannot be listed is an error, one that vanishes is not."""
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            found = children(fs, here)
        except (FileNotFoundError, NotADirectoryError):
            if here == folder:
                raise
            continue
        found = [each for each in found if each.path.strip("/") != here.strip("/")]
        folders += [each.path.rstrip("/") for each in found if each.is_folder]
        yield [each for each in found if not each.is_folder]


def clear(fs: Any, folder: str) -> None:
    """Delete a folder and all in it."""
    if not fs.isdir(folder):
        return
    if has_magic(folder):  # rm would take it for a pattern
        for path in fs.find(folder):
            fs.rm_file(path)
    else:
        fs.rm(folder, recursive=True)
    _forget(fs)


def _forget(fs: Any) -> None:
    """Let the file system forget what it remembers of listings."""
    fs.invalidate_cache()
    remembered: Any = getattr(fs, "dircache", None)
    if hasattr(remembered, "clear"):
        remembered.clear()
