"""An open zip file -> its directory, and what says that a write is under way in it, or was killed.

While daskzarr writes, the file ends in a copy of the directory that was there before, so that every program reads what
it could read before; what is appended lies in the room between. The comment of the file says then where that begins,
and where the end before this one is, which counts until the copy is whole.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from daskzarr.errors import StoreError
from daskzarr.stores.zip.index import Index
from daskzarr.stores.zip.open_file import OpenFile
from daskzarr.stores.zip.records import CENTRAL, LOCAL, LOCAL_SIZE, End, damaged, entries_of, last_end

_TAILS = (2**12, 2**16 + 2**12)
_PIECE = 2**26
_TEXT = b" daskzarr writes here: %08x %016x %016x %08x %016x"
_NUMBER, _PLACE = rb"([0-9a-f]{8})", rb"([0-9a-f]{16})"
_MARK = re.compile(b" daskzarr writes here: " + b" ".join((_NUMBER, _PLACE, _PLACE, _NUMBER, _PLACE)) + rb"\Z")
MARK_SIZE = len(_TEXT % (0, 0, 0, 0, 0))


class Mark(NamedTuple):
    """What the comment of a zip file says of the write that is under way in it.

    ``session`` is the number of the write, ``start`` where what it appends begins, ``prior`` where the end before this
    one stops, ``checksum`` that of the copy of the directory. ``stop`` is where the file ends: in one that another
    program has changed, which kept the comment, the mark says nothing.
    """

    session: int
    start: int
    prior: int
    checksum: int
    stop: int

    def text(self) -> bytes:
        """What stands behind the comment of the file's own."""
        return _TEXT % self


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory of a zip file.

    Parameters
    ----------
    data
        Its records.
    end
        Where it is, and what ends the file.
    mark
        The write that is under way in the file, or was killed.
    torn
        Whether there is the beginning of another end behind this one.
    """

    data: bytes
    end: End
    mark: Mark | None = None
    torn: bool = False

    @property
    def checksum(self) -> int:
        """Of its bytes."""
        return zlib.crc32(self.data)

    def index(self) -> Index:
        """Its values by key; of several entries of one name the last one counts."""
        found = Index()
        count = 0
        last = self.end.directory if self.mark is None else self.mark.start
        if last > self.end.directory:
            raise damaged("what was appended to it cannot be where it says")
        for key, entry, _, _ in entries_of(self.data, self.end.shift):
            if entry.at + LOCAL_SIZE + entry.name_length + entry.packed > last:
                raise damaged(f"{key!r} cannot lie where its directory says")
            found.put(key, entry)
            count += 1
        if (count - self.end.entries) % 2**16:  # programs that do not know large directories count in two bytes
            raise damaged(f"its directory has {count} entries, and not {self.end.entries}")
        return found


def mark_at(file: OpenFile, size: int) -> Mark | None:
    """The mark that a file of a size ends in, if it is of a file of this size."""
    found = _MARK.search(file.read(max(size - MARK_SIZE, 0), MARK_SIZE))
    mark = None if found is None else Mark(*(int(number, 16) for number in found.groups()))
    return mark if mark is not None and mark.stop == size else None


def read_directory(file: OpenFile, size: int) -> Directory:
    """The directory of a zip file of a size, or, where its copy is not whole, the one before."""
    found = _directory(file, size)
    if found is None:
        mark = mark_at(file, size)
        found = None if mark is None else _directory(file, min(mark.prior, size))
        if found is None:
            raise _no_end(file, size)
        found = replace(found, torn=True)
    return found


def _directory(file: OpenFile, size: int) -> Directory | None:
    """The directory that the end of a file of a size names; None if there is no such end, or no such directory."""
    mark = mark_at(file, size)
    text = b"" if mark is None else mark.text()
    for length in _TAILS:
        before = max(size - length, 0)
        for end in last_end(file.read(before, size - before), before):
            if mark is None and (not end.nbytes or file.read(end.directory, len(CENTRAL)) == CENTRAL):
                return Directory(_records(file, end), end._replace(comment=_MARK.sub(b"", end.comment)))
            if mark is not None and end.stop == size and end.comment.endswith(text):
                found = Directory(_records(file, end), end._replace(comment=end.comment[: -len(text)]), mark)
                return found if found.checksum == mark.checksum else None
    return None


def _records(file: OpenFile, end: End) -> bytes:
    """The bytes of a directory, read in pieces as its size may be a wrong one."""
    stop = end.directory + end.nbytes
    pieces = [file.read(at, min(_PIECE, stop - at)) for at in range(end.directory, stop, _PIECE)]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _no_end(file: OpenFile, size: int) -> StoreError:
    """The error of a file that does not end in a directory."""
    if size >= LOCAL_SIZE and file.read(0, len(LOCAL)) == LOCAL:
        return StoreError(
            "this zip file has no directory at its end: another program is still writing it, or it was cut off"
        )
    return StoreError("this is no zip file: it does not end in a directory")
