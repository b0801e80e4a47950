"""A directory of this machine as a store: plain system calls, values replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.store.protocol import Buffer, Listing

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_UNNAMED = getattr(os, "O_TMPFILE", 0)
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")
_FIRST_GUESS = 2**16


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The files below a directory, each file a value.

    A value is written to a file without a name, which is then linked in its place, so that a process
    killed at any point leaves nothing behind; where the system has no such files, to a hidden file beside it that is
    then renamed. A reader sees the old value or the new one, whole.

    Parameters
    ----------
    root
        Absolute path of the directory. It need not exist yet.

    Examples
    --------
    >>> import tempfile
    >>> store = LocalStore(tempfile.mkdtemp())
    >>> store.set("a/b", b"123")
    >>> store.get("a/b"), store.get("a/c")
    (b'123', None)
    """

    root: str

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

    def get_many(self, keys: Sequence[str]) -> Iterator[Buffer | None]:
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

    def get_ranges(self, key: str, byte_ranges: Sequence[ByteRange]) -> Sequence[Buffer | None]:
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
        path = f"{self.root}/{key}"
        folder = os.path.dirname(path)
        try:
            self._publish(path, folder, value)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            self._publish(path, folder, value)

    def _publish(self, path: str, folder: str, value: Buffer) -> None:
        """Write ``value`` somewhere unseen in ``folder``, then put it at ``path`` in one step."""
        if _UNNAMED:
            try:
                descriptor = os.open(folder, _UNNAMED | os.O_WRONLY | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                raise
            except OSError:
                pass  # this file system has no unnamed files
            else:
                if _link(descriptor, path, value):
                    return
        partial = _partial_name(path)
        try:
            with _closing(os.open(partial, _CREATE, 0o666)) as descriptor:
                _write(descriptor, value)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            raise

    def delete(self, key: str) -> None:
        """Remove the file; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            os.unlink(f"{self.root}/{key}")

    def delete_below(self, prefix: str) -> None:
        """Remove all files below the directory; the root itself stays."""
        folder = f"{self.root}/{prefix}" if prefix else self.root
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if prefix:
                shutil.rmtree(folder, **_IF_THERE)
                return
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, **_IF_THERE)
                else:
                    self.delete(entry.name)

    def list_dir(self, prefix: str) -> Listing:
        """Files and directories directly below; hidden unfinished files are left out."""
        try:
            with os.scandir(f"{self.root}/{prefix}") as entries:
                found = [(entry.name, entry.is_dir()) for entry in entries if not _PARTIAL.fullmatch(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return Listing((), ())
        found.sort()
        return Listing(tuple(n for n, is_dir in found if not is_dir), tuple(n for n, is_dir in found if is_dir))


def _unless_gone(function: Any, path: str, error: Any) -> None:
    """What another process has deleted meanwhile is no error."""
    found = error[1] if isinstance(error, tuple) else error
    if not isinstance(found, FileNotFoundError):
        raise found


_IF_THERE: dict[str, Any] = {"onexc" if sys.version_info >= (3, 12) else "onerror": _unless_gone}


def _read(descriptor: int, length: int) -> bytes:
    """``length`` bytes from where the file stands; fewer only where the file ends."""
    value = os.read(descriptor, length) if length > 0 else b""
    while len(value) < length and (more := os.read(descriptor, length - len(value))):
        value += more
    return value


def _write(descriptor: int, value: Buffer) -> None:
    """All of ``value``: a system call may take less than it is given."""
    rest = memoryview(value).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _partial_name(path: str) -> str:
    """A hidden name beside ``path`` that no other writer uses."""
    return f"{os.path.dirname(path)}/.{uuid.uuid4().hex}.partial"


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    """Close the file in the end; an error of closing is an error of writing."""
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)


def _link(descriptor: int, path: str, value: Buffer) -> bool:
    """Fill the unnamed file and link it at ``path``; False where the system cannot link it."""
    with _closing(descriptor):
        _write(descriptor, value)
        source = f"/proc/self/fd/{descriptor}"
        try:
            # A descriptor of a directory makes Python call linkat, which follows the link in /proc.
            os.link(source, path, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError:
            partial = _partial_name(path)
            os.link(source, partial, src_dir_fd=descriptor, follow_symlinks=True)
            try:
                os.replace(partial, path)
            except BaseException:
                os.unlink(partial)
                raise
        except FileNotFoundError:
            if not os.path.exists(source):
                return False  # no /proc here
            raise
        except (NotImplementedError, PermissionError):
            return False
    return True
