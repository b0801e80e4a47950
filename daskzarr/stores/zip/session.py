"""A zip file that this process alone may write -> values appended to it, and in the end the directory that lists them.

The file is always one that every program can read: it ends in the directory from before, or in the new one. To begin,
a copy of the old directory is put further on, and there is room between; when that is full, a copy is put further on
again. Values are appended in the room. To finish, the new directory is written behind them, and one system call lets
the file end there. (Only while a copy larger than a page is being put down, the last directory is not at the end: then
what is written first says where it is.)

A process that is killed leaves what it appended. Each header and each deletion has a checksum and the number of the
write, so the next process to open the file goes through them from where they begin, and finishes in its place: a value
counts if its CRC-32 holds.
"""

from __future__ import annotations

import errno
import zlib

from daskzarr.errors import UnsupportedError
from daskzarr.stores.zip.directory import MARK_SIZE, Directory, Mark
from daskzarr.stores.zip.index import Index
from daskzarr.stores.zip.open_file import OpenFile
from daskzarr.stores.zip.records import (
    MOST_COMMENT,
    STORED,
    Appended,
    Entry,
    appended,
    central_record,
    deleted,
    deletion,
    end_records,
    entries_of,
    local_header,
    name_bytes,
    without,
)

_PAGE = 2**12
_ROOM, _MOST_ROOM = 2**24, 2**30
_SMALL = 2**16
_PIECE = 2**22
_HEADERS = (2**12, 2**17)


class Session:
    """What one process writes to a zip file, from its first change until it is finished.

    Only one thread at a time may call what changes it; :meth:`begin` says what may be done outside.

    Parameters
    ----------
    file
        Open for writing, and locked.
    directory
        Of that file. What a killed write has left is taken over.
    index
        The values of the directory by key. It is kept up to date.
    """

    __slots__ = (
        "_at",
        "_dropped",
        "_end",
        "_limit",
        "_number",
        "_old",
        "_plain",
        "_records",
        "_size",
        "_start",
        "_stop",
        "_torn",
        "ended",
        "file",
        "index",
    )

    def __init__(self, file: OpenFile, directory: Directory, index: Index) -> None:
        self.file = file
        self.index = index
        self._old = directory.data
        self._end = directory.end
        self._stop = directory.end.stop
        self._torn = directory.torn
        self._size = file.state()[2]
        self.ended = False
        self._records: dict[str, bytes] = {}
        self._dropped: dict[str, int] = {}
        self._plain = len(index) == directory.end.entries
        mark = directory.mark
        self._start = self._at = directory.end.directory if mark is None else mark.start
        self._limit = directory.end.directory
        self._number = zlib.crc32(b"%d" % self._start, directory.checksum) if mark is None else mark.session
        if mark is not None:
            self._take_over()

    def begin(self, key: str, value: memoryview, checksum: int) -> tuple[Entry, bytes, int]:
        """Append the header of a value, and a small value with it.

        Returns
        -------
        Entry
            To be entered, with the name that follows, once the value is written.
        bytes
            The name.
        int
            Where the value is still to be written, which other threads may do meanwhile; 0 if nothing is left to do.
        """
        name, flags = name_bytes(key)
        header = local_header(name, flags, len(value), checksum, self._number)
        self._make_room(len(header) + len(value))
        small = len(value) <= _SMALL
        self.file.write(self._at, header + value if small else header)
        entry = Entry(self._at, len(value), len(value), checksum, STORED, flags, len(name))
        data_at = self._at + len(header)
        self._at = data_at + len(value)
        return entry, name, 0 if small else data_at

    def enter(self, key: str, name: bytes, entry: Entry) -> None:
        """List a value whose bytes are all written."""
        self._unlist(key)
        self._records[key] = central_record(name, entry, self._end.shift)
        self.index.put(key, entry)

    def delete(self, key: str) -> None:
        """List a value no longer."""
        if self.index.get(key) is not None:
            self._note(key, below=False)
            self._drop(key)

    def delete_below(self, prefix: str) -> None:
        """List nothing below a prefix any longer."""
        self._note(prefix, below=True)
        self._drop_below(prefix)

    @property
    def untouched(self) -> bool:
        """Whether the file is as it was, with nothing to take over."""
        return self._limit == self._start and not self._torn

    @property
    def disturbed(self) -> bool:
        """Whether another program has changed the file, which does not know of locks."""
        return self.file.state()[2] != self._size

    def finish(self) -> int:
        """Write the directory and let the file end with it, if anything was written, all on disk; its checksum."""
        directory = self._old
        if self._limit > self._start:
            directory, count = self._directory()
            comment, shift = self._end.comment, self._end.shift
            self._make_room(len(directory) + len(end_records(count, 2**63, len(directory), 0, comment)))
            ends = end_records(count, self._at, len(directory), shift, comment)
            self.file.write(self._at, directory + ends)
            self.file.sync()  # else a power failure could take the new directory, and leave no old one
            self.file.cut(self._at + len(directory) + len(ends))
        elif self._torn:
            self.file.cut(self._stop)
        self.ended = True
        if not self.untouched:
            self.file.sync()
        return zlib.crc32(directory)

    def _directory(self) -> tuple[bytes, int]:
        """The records of the new directory, and how many there are."""
        old, count = self._kept()
        return old + b"".join(self._records.values()), count + len(self._records)

    def _kept(self) -> tuple[bytes, int]:
        """What stays of the old directory, and how many records that is."""
        old, shift, count = self._old, self._end.shift, self._end.entries - len(self._dropped)
        if self._plain and not self._dropped:
            return old, count
        if self._plain:
            found = without(old, {at - shift for at in self._dropped.values()})
            if found[1] == count:
                return found
        # Several are of one name or at one position, some are no values, or there are more than could be counted.
        kept = [old[start:stop] for key, _, start, stop in entries_of(old, shift) if key not in self._dropped]
        return b"".join(kept), len(kept)

    def _note(self, prefix: str, *, below: bool) -> None:
        """Append that something was deleted, lest it comes back after a kill."""
        record = deletion(prefix.encode(), below, self._number)
        self._make_room(len(record))
        self.file.write(self._at, record)
        self._at += len(record)

    def _drop(self, key: str) -> None:
        """Take a value out of the lists."""
        self._unlist(key)
        self.index.drop(key)

    def _drop_below(self, prefix: str) -> None:
        """Take all below a prefix out of the lists."""
        for key, _ in self.index.below(prefix):
            self._unlist(key)
        self.index.drop_below(prefix)

    def _unlist(self, key: str) -> None:
        """Take a value's record out of the directory to come."""
        if self._records.pop(key, None) is None:
            entry = self.index.get(key)
            if entry is not None:
                self._dropped[key] = entry.at

    def _make_room(self, nbytes: int) -> None:
        """Make sure that so many bytes can be appended before the directory the file ends in."""
        if self._at + nbytes <= self._limit:
            return
        least = max(self._at + nbytes, self.file.state()[2])
        if len(self._end.comment) + MARK_SIZE > MOST_COMMENT:
            raise UnsupportedError("this zip file has a comment so long that nothing can be noted in it; shorten that")
        room = min(max(least // 4, _ROOM), _MOST_ROOM)
        try:
            self._put_copy(least + room)
        except OSError as error:
            self.file.cut(self._size)
            if error.errno != errno.EFBIG:
                raise
            self._put_copy(least)
        self._size = self._stop

    def _put_copy(self, least: int) -> None:
        """Let the file end in a copy of the old directory.

        A kill may stop a write where a page ends, and a power failure keep any of its pages. So the mark comes first,
        which says where the directory is until the copy is whole, and what makes it the end of a zip file lies within
        a page, the last one of what is written.
        """
        place = -(-least // _PAGE) * _PAGE
        copy = self._copy_at(place)
        beyond = (place + len(self._old)) % _PAGE
        if beyond + len(copy) - len(self._old) > _PAGE:
            place += _PAGE - beyond
            copy = self._copy_at(place)
        if len(copy) > _PAGE:
            self.file.sync()  # of much, so that there is little for the next, and other programs wait for little
            self.file.write(place + len(copy) - MARK_SIZE, copy[-MARK_SIZE:])
            self.file.sync()
        self.file.write(place, copy)
        if self._old:
            self.file.sync()  # before the one it takes the place of is written over
        self._limit = place
        self._stop = place + len(copy)

    def _copy_at(self, place: int) -> bytes:
        """The old directory and what ends the file, with the mark, for a place."""
        end = (self._end.entries, place, len(self._old), self._end.shift)
        stop = place + len(self._old) + len(end_records(*end, self._end.comment)) + MARK_SIZE
        mark = Mark(self._number, self._start, self._stop, zlib.crc32(self._old), stop)
        return self._old + end_records(*end, self._end.comment + mark.text())

    def _take_over(self) -> None:
        """Go through what a killed write has appended, as far as it came."""
        while self._at < self._limit:
            for length in _HEADERS:
                record = self.file.read(self._at, length)
                value, gone = appended(record, self._number), deleted(record, self._number)
                if value is not None or gone is not None:
                    break
            if value is not None and self._at + value.length + value.size <= self._limit:
                self._take_value(value)
            elif gone is not None and self._at + gone[2] <= self._limit:
                self._take_deletion(*gone)
            else:
                return

    def _take_value(self, value: Appended) -> None:
        """A value whose header is there: it counts if all of it is."""
        data_at = self._at + value.length
        stop = data_at + value.size
        checksum = 0
        for at in range(data_at, stop, _PIECE):
            checksum = zlib.crc32(self.file.read(at, min(_PIECE, stop - at)), checksum)
        if checksum == value.checksum:
            key = value.name.decode("utf-8", "replace")
            _, flags = name_bytes(key)
            entry = Entry(self._at, value.size, value.size, checksum, STORED, flags, len(value.name))
            self.enter(key, value.name, entry)
        self._at = stop

    def _take_deletion(self, prefix: bytes, below: bool, length: int) -> None:
        """A deletion that was noted."""
        key = prefix.decode("utf-8", "replace")
        if below:
            self._drop_below(key)
        elif self.index.get(key) is not None:
            self._drop(key)
        self._at += length
