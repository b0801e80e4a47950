"""A path of this machine -> the zip file there, as this process sees it: read by any thread, written by one process."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from daskzarr.errors import DaskZarrError, StoreError, UnsupportedError
from daskzarr.stores.local import LocalStore
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.zip.directory import Directory, Mark, mark_at, read_directory
from daskzarr.stores.zip.index import Index
from daskzarr.stores.zip.open_file import OpenFile, state_of
from daskzarr.stores.zip.records import end_records
from daskzarr.stores.zip.session import Session

_TRIES = 8
_LOOKS = 3
_WAIT = 0.01
_PATIENCE = 1.0
EMPTY = end_records(0, 0, 0, 0, b"")
"""A zip file with nothing in it."""


@dataclass(frozen=True, slots=True)
class View:
    """A zip file as it was when it was looked at.

    ``state`` is the file's device, inode, size and time of change, ``checksum`` that of the directory. ``unfinished``
    says that another process was writing, or had been killed, and ``mark`` which write that was.
    """

    file: OpenFile
    index: Index
    state: tuple[int, int, int, int]
    checksum: int
    mark: Mark | None = None
    unfinished: bool = False


class Archive:
    """A zip file, and what this process writes to it.

    Parameters
    ----------
    path
        Absolute path, without links in it.
    """

    __slots__ = ("_busy", "_finishing", "_session", "_shown", "_turn", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._turn = threading.Condition()
        self._session: Session | None = None
        self._shown: View | None = None
        self._busy = 0
        self._finishing = False

    def view(self) -> View | Session | None:
        """The file and its values by key; None where there is no file.

        What this process has written is there at once. What others have finished is looked for each time, by the
        file's inode, size and time of change. What a killed process has left is finished first, if that may be done.
        """
        session = self._session
        if session is not None:
            return session
        shown = self._shown
        try:
            state = state_of(os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if shown is not None and shown.state == state and not shown.unfinished:
            return shown
        with self._turn:
            return self._session or self._look()

    def _look(self) -> View | None:
        """Read the directory, unless it is known."""
        for attempt in range(_TRIES):
            try:
                file = OpenFile(self.path)
            except FileNotFoundError:
                return None
            state = file.state()
            try:
                view = self._view_of(file, state)
            except DaskZarrError:
                # Another process may have put something in the place of what was just being read.
                if attempt >= _LOOKS and file.state() == state:
                    raise
                time.sleep(_WAIT)
                continue
            if file.state()[2] == state[2] or view.file is not file:
                self._shown = view
                return view
        raise _unsteady()

    def _view_of(self, file: OpenFile, state: tuple[int, int, int, int]) -> View:
        """What is in an open file."""
        known = self._shown
        if known is not None and known.mark is not None and known.state[:2] == state[:2]:
            mark = mark_at(file, state[2])
            if mark is not None and (mark.session, mark.checksum) == (known.mark.session, known.checksum):
                return self._finish_for_others() or replace(known, state=state)
        directory = read_directory(file, state[2])
        unfinished = directory.torn or directory.mark is not None
        taken = self._finish_for_others() if unfinished else None
        return taken or View(file, directory.index(), state, directory.checksum, directory.mark, unfinished)

    def _finish_for_others(self) -> View | None:
        """Finish what a process that is dead has left; None if it lives, or if the file cannot be written here."""
        try:
            session = self._begin(0, make=False)
        except (OSError, UnsupportedError):
            return None
        if session is None:
            return None
        try:
            return _ended(session)
        except (OSError, UnsupportedError):
            session.file.close()
            return None

    def set(self, key: str, value: Buffer, synced: bool) -> None:
        """Append a value. Threads wait for each other only while they get their room."""
        data = memoryview(value).cast("B")
        checksum = zlib.crc32(data)
        with self._writing() as session:
            entry, name, at = session.begin(key, data, checksum)
            if not at and not synced:
                session.enter(key, name, entry)
                return
            self._busy += 1
        written = False
        try:
            if at:
                session.file.write(at, data)
            if synced:
                session.file.sync()
            written = True
        finally:
            with self._turn:
                if written:
                    session.enter(key, name, entry)
                self._busy -= 1
                self._turn.notify_all()

    def create(self, key: str, value: Buffer, synced: bool) -> bool:
        """Append a value, unless there is one."""
        data = memoryview(value).cast("B")
        checksum = zlib.crc32(data)
        with self._writing() as session:
            if session.index.get(key) is not None:
                return False
            entry, name, at = session.begin(key, data, checksum)
            if at:
                session.file.write(at, data)
            if synced:
                session.file.sync()
            session.enter(key, name, entry)
            return True

    def change(self, change: Callable[[Session], object], synced: bool) -> None:
        """Change what is listed."""
        with self._writing() as session:
            change(session)
            if synced:
                session.file.sync()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """This thread's turn to change the file, which this process alone writes from now on until it finishes."""
        with self._turn:
            while self._finishing:
                self._turn.wait()
            session = self._session
            if session is None:
                session = self._session = self._begin(_PATIENCE, make=True)
            if session is None:
                raise UnsupportedError(
                    "another process is writing this zip file, and only one can at a time: write with the threads of "
                    "one process, or write to a folder and zip that when it is done"
                )
            try:
                yield session
            finally:
                if session.untouched and not self._busy:
                    self._leave(session)

    def _begin(self, seconds: float, *, make: bool) -> Session | None:
        """Lock the file, and take over what is in it; None if it is locked."""
        for _ in range(_TRIES):
            try:
                file = OpenFile(self.path, writing=True)
            except FileNotFoundError:
                if not make:
                    raise
                folder, name = os.path.split(self.path)
                LocalStore(folder).create(name, EMPTY)
                continue
            session = None
            try:
                if not file.lock(seconds):
                    return None
                if self._is_at_path(file):
                    directory = read_directory(file, file.state()[2])
                    session = Session(file, directory, self._index_of(directory, file))
                    return session
            finally:
                if session is None:
                    file.close()  # at once, as an error may be kept, and with it the file and its lock
        raise _unsteady()

    def _index_of(self, directory: Directory, file: OpenFile) -> Index:
        """The values of a directory, which may be known."""
        known = self._shown
        if known is None or directory.mark is not None or known.state[:2] != file.state()[:2]:
            return directory.index()
        return known.index if known.checksum == directory.checksum else directory.index()

    def finish(self) -> None:
        """Let everyone see what was written, and let others write."""
        with self._turn:
            while self._finishing:
                self._turn.wait()
            self._finishing = True
            try:
                while self._busy:
                    self._turn.wait()
                if self._session is not None:
                    self._leave(self._session)
            finally:
                self._finishing = False
                self._turn.notify_all()

    def _leave(self, session: Session) -> None:
        """Finish, where the file is still the one that was begun, and go on reading."""
        if not session.untouched and (session.disturbed or not self._is_at_path(session.file)):
            self._drop(session)
            raise StoreError(
                "this zip file was removed, replaced or changed by another program while it was written: what was "
                "written since is lost"
            )
        try:
            self._shown = _ended(session)
        except BaseException:
            if session.ended:
                self._drop(session)
            raise
        self._session = None

    def _drop(self, session: Session) -> None:
        """Look at the file anew."""
        self._session = self._shown = None
        session.file.close()

    @contextmanager
    def exclusively(self) -> Iterator[Session]:
        """The only turn of all threads and processes to look at the file and put another in its place."""
        with self._turn:
            self.finish()
            with self._writing() as session:
                yield session
            self._shown = None

    def forget(self) -> None:
        """Close the file, until it is needed, unless this process is writing."""
        self._shown = None

    def abandon(self) -> None:
        """Close the file in a child of the process that is writing it."""
        if self._session is not None:
            self._session.file.close()

    def _is_at_path(self, file: OpenFile) -> bool:
        """Whether an open file is the one at the path."""
        try:
            return state_of(os.stat(self.path))[:2] == file.state()[:2]
        except (FileNotFoundError, NotADirectoryError):
            return False


def _ended(session: Session) -> View:
    """Finish, and let others write; what is there then."""
    checksum = session.finish()
    view = View(session.file, session.index, session.file.state(), checksum)
    session.file.unlock()
    return view


def _unsteady() -> StoreError:
    """The error of a file that is another one whenever it is looked at."""
    return StoreError("this zip file is replaced by others again and again while it is opened")
