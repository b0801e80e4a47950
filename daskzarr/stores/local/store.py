"""A directory of this machine as a store: plain system calls, values replaced as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.stores.local.files import (
    ENDING,
    HIDDEN_NAMES,
    IF_THERE,
    PARTIAL,
    UNNAMED,
    empty,
    link,
    link_hidden,
    open_unnamed,
    rename_hidden,
    write_all,
    write_hidden,
)
from daskzarr.stores.local.folders import existing, files_below, make_folder, move_folder, settle, sync_folder
from daskzarr.stores.protocol import Buffer, Listing, Store
from daskzarr.stores.traffic import TRAFFIC, Traffic

_Result = TypeVar("_Result")

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_TRIES = 4
_FIRST_GUESS = 2**16


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The files below a directory, each file a value.

    A value is written to a file without a name, which is then linked in its place. To replace a value, it is linked
    under a hidden name and renamed: a process killed between the two leaves that file, until the key is written again.
    Where the system has no files without a name, the hidden file is the one that is written. A reader sees the old
    value or the new one, whole. An error of writing, of putting on disk or of closing leaves the old value.

    Parameters
    ----------
    root
        Absolute path of the directory. It need not exist yet.
    sync
        Whether a write or a deletion returns when it is on disk: the file, its name, and the directories made for it.
        An error of putting the name on disk leaves the new value.

    Examples
    --------
    >>> import tempfile
    >>> store = LocalStore(tempfile.mkdtemp())
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    """

    root: str
    sync: bool = False

    @property
    def url(self) -> str:
        """``file://`` and the absolute path."""
        return "file://" + self.root.replace(os.sep, "/")

    @property
    def shared(self) -> bool:
        """Other processes see the files."""
        return True

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The file's bytes, or None when there is no such file."""
        try:
            descriptor = os.open(f"{self.root}/{key}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            start, length = 0, os.fstat(descriptor).st_size
            if byte_range is not None:
                start, stop = byte_range.bounds(length)
                length = stop - start
                os.lseek(descriptor, start, os.SEEK_SET)
            return _read(descriptor, length)
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """One file after the other: warm files are faster read than handed to another thread."""
        lead = self.root + "/"
        guess = _FIRST_GUESS
        for key in keys:
            try:
                descriptor = os.open(lead + key, _READ)
            except (FileNotFoundError, NotADirectoryError):
                yield None
                continue
            try:
                # Neighbouring chunks have like sizes: a read with room to spare, and one that finds the end.
                value = os.read(descriptor, guess)
                while more := os.read(descriptor, guess):
                    value += more
                    guess = max(guess, len(value) + len(value) // 4)
            except IsADirectoryError:
                value = None
            finally:
                os.close(descriptor)
            yield value

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one file, all of the same one even if it is replaced meanwhile."""
        try:
            descriptor = os.open(f"{self.root}/{key}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            return [None] * len(byte_ranges)
        try:
            state = os.fstat(descriptor)
            if stat.S_ISDIR(state.st_mode):
                return [None] * len(byte_ranges)
            size = state.st_size
            found: list[Buffer | None] = []
            for byte_range in byte_ranges:
                start, stop = byte_range.bounds(size)
                os.lseek(descriptor, start, os.SEEK_SET)
                found.append(_read(descriptor, stop - start))
            return found
        finally:
            os.close(descriptor)

    def version(self, key: str) -> tuple[int, int, int] | None:
        """Inode, time of change and size of the file."""
        try:
            found = os.stat(f"{self.root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(found.st_mode) else (found.st_ino, found.st_mtime_ns, found.st_size)

    def read_into(self, key: str, target: memoryview) -> int | None:
        """Read the file straight into ``target``; its size, or None when there is no such file."""
        try:
            descriptor = os.open(f"{self.root}/{key}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            # One byte more than fits tells a longer file, without asking for its size.
            spare = bytearray(1)
            count = done = os.readv(descriptor, [target, spare])
            while count and done < len(target):
                count = os.readv(descriptor, [target[done:], spare])
                done += count
            return done if done <= len(target) else os.fstat(descriptor).st_size
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)

    def set(self, key: str, value: Buffer) -> None:
        """Write the file whole or not at all; directories are made as needed."""
        self._in_folder(self._publish, key, value)

    def create(self, key: str, value: Buffer) -> bool:
        """Write the file whole, unless there is one; directories are made as needed."""
        return self._in_folder(self._publish_new, key, value)

    def append(self, key: str, value: Buffer) -> None:
        """Write at the end of the file with one system call, if that takes all of it."""
        self._in_folder(self._extend, key, value)

    def _in_folder(self, write: Callable[[str, str, Buffer], _Result], key: str, value: Buffer) -> _Result:
        """Write a file, and first the directories to it where they are missing."""
        path = f"{self.root}/{key}"
        folder = os.path.dirname(path)
        there = folder
        for attempt in range(_TRIES):  # other processes may be deleting all of this
            try:
                result = write(path, folder, value)
                break
            except FileNotFoundError:
                if attempt == _TRIES - 1:
                    raise
                there = min(there, existing(folder), key=len) if self.sync else folder
                make_folder(folder)
        if self.sync:
            settle(folder, self.root, there)
        return result

    def _publish(self, path: str, folder: str, value: Buffer) -> None:
        """Write ``value`` somewhere unseen in ``folder``, then put it at ``path`` in one step."""
        for hidden in HIDDEN_NAMES:
            descriptor = open_unnamed(folder) if UNNAMED else None
            done = None if descriptor is None else link(descriptor, path, value, self.sync, hidden)
            if done is None:
                done = rename_hidden(write_hidden(path, value, self.sync), path)
            if done:
                return
        raise FileNotFoundError(errno.ENOENT, "the file was removed whenever it was about to be put in its place", path)

    def _publish_new(self, path: str, folder: str, value: Buffer) -> bool:
        """As :meth:`_publish`, but where there is a file already, it stays."""
        descriptor = open_unnamed(folder) if UNNAMED else None
        done = None if descriptor is None else link(descriptor, path, value, self.sync, None)
        if done is None:
            done = link_hidden(write_hidden(path, value, self.sync), path, self.url)
        if not done and os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return done

    def _extend(self, path: str, folder: str, value: Buffer) -> None:
        """Write at the end of a file."""
        descriptor = os.open(path, _APPEND, 0o666)
        try:
            write_all(descriptor, value, self.sync)
        finally:
            os.close(descriptor)

    def delete(self, key: str) -> None:
        """Remove the file; one that is not there is no error."""
        path = f"{self.root}/{key}"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(path)
        if self.sync:  # also where it is gone: it may be that what removed it failed here
            self._sync_above(path)

    def delete_below(self, prefix: str) -> None:
        """Remove all files below the directory; the root itself stays."""
        folder = f"{self.root}/{prefix}" if prefix else self.root
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if prefix:
                shutil.rmtree(folder, **IF_THERE)
            else:
                empty(folder)
        if self.sync:
            self._sync_above(folder if prefix else folder + "/")

    def _sync_above(self, path: str) -> None:
        """Put on disk which names are where ``path`` is, if there is anything."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            sync_folder(os.path.dirname(path))

    def move_below(self, prefix: str, other: Store, other_prefix: str) -> bool:
        """Rename the directory. After an error of putting that on disk, the files are where they were to go."""
        if not isinstance(other, LocalStore):
            return False
        source, target = self._folder(prefix), other._folder(other_prefix)
        parent = os.path.dirname(target)
        there = existing(parent)
        if not move_folder(source, target):
            return False
        if self.sync or other.sync:
            settle(parent, other.root, there)
            sync_folder(os.path.dirname(source))
        return True

    def synced(self) -> LocalStore:
        """The same directory, and every file on disk when it is written."""
        return replace(self, sync=True)

    def sibling(self, ending: str) -> LocalStore | None:
        """The directory beside this one, with an ending behind its name; None for the top of the file system."""
        root = self.root.rstrip("/")
        return replace(self, root=root + ending) if root else None

    def size(self, key: str) -> int | None:
        """The file's size, or None when there is no such file."""
        try:
            found = os.stat(f"{self.root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All files below, with their sizes; hidden unfinished files are left out."""
        top, above = self._folder(prefix), _lead(prefix)
        for lead, names in files_below(top):
            for name in names:
                if name.endswith(ENDING) and PARTIAL.fullmatch(name):
                    continue
                try:
                    size = os.stat(f"{top}/{lead}{name}").st_size
                except (FileNotFoundError, NotADirectoryError):
                    continue
                yield f"{above}{lead}{name}", size

    def leftovers(self, prefix: str) -> Iterator[str]:
        """The hidden unfinished files below."""
        above = _lead(prefix)
        for lead, names in files_below(self._folder(prefix)):
            yield from (f"{above}{lead}{name}" for name in names if PARTIAL.fullmatch(name))

    def _folder(self, prefix: str) -> str:
        """The directory a prefix stands for."""
        return f"{self.root}/{prefix}".rstrip("/") if prefix else self.root

    def list_dir(self, prefix: str) -> Listing:
        """Files and directories directly below; hidden unfinished files are left out."""
        try:
            with os.scandir(f"{self.root}/{prefix}") as entries:
                found = [(entry.name, entry.is_dir()) for entry in entries if not PARTIAL.fullmatch(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return Listing((), ())
        found.sort()
        return Listing(tuple(n for n, is_dir in found if not is_dir), tuple(n for n, is_dir in found if is_dir))


def _read(descriptor: int, length: int) -> bytes:
    """``length`` bytes from where the file stands; fewer only where the file ends."""
    value = os.read(descriptor, length) if length > 0 else b""
    while len(value) < length and (more := os.read(descriptor, length - len(value))):
        value += more
    return value


def _lead(prefix: str) -> str:
    """What keys below a prefix begin with."""
    return prefix.rstrip("/") + "/" if prefix else ""
