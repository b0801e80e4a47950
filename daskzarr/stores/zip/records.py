"""Records of a zip file: bytes -> entries of a directory, and back (PKWARE, .ZIP File Format Specification).

What daskzarr appends can be gone through from one header to the next before a directory lists it: each header and each
note of a deletion has a checksum of its own, and the number of the write it is of.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from daskzarr.errors import StoreError, UnsupportedError, short

STORED, DEFLATED = 0, 8
ENCRYPTED, FOLLOWED, UTF8 = 0x1, 0x8, 0x800
"""Bits of an entry: it is encrypted; sizes and checksum follow its data; its name is UTF-8."""

LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
DELETION = b"PK\6\x08"  # the specification's "archive extra data"
_END64, _LOCATOR = b"PK\6\6", b"PK\6\7"
_local = struct.Struct("<4s5H3L2H")
_central = struct.Struct("<4s6H3L5H2L")
_lengths, _LENGTHS_AT = struct.Struct("<3H8xL"), 28
_end = struct.Struct("<4s4H2LH")
_end64 = struct.Struct("<4sQ2H2L4Q")
_locator = struct.Struct("<4sLQL")
_mark = struct.Struct("<2H2L")
_deletion = struct.Struct("<4s3LB")
LOCAL_SIZE = _local.size

_MARK, _ZIP64, _UNICODE_NAME = 0x7A64, 1, 0x7075
_MOST16, _MOST32 = 2**16 - 1, 2**32 - 1
MOST_COMMENT = _MOST16
_VERSION, _VERSION64 = 20, 45
_UNIX = 3 << 8
_SYSTEMS_OF_BYTES = (3, 19)  # Unix, macOS
_FILE = 0o100644 << 16
_FIRST_DAY = (1 << 5) | 1  # 1980-01-01: equal values give equal bytes


class Entry(NamedTuple):
    """A value in the file, as the directory lists it.

    ``at`` is where its header is; ``packed`` and ``size`` are bytes as they are stored, and once unpacked.
    """

    at: int
    packed: int
    size: int
    checksum: int
    method: int
    flags: int
    name_length: int


class End(NamedTuple):
    """The end of a zip file, and where that says that the directory is.

    ``at`` and ``stop`` are where the records of the end begin and end, ``directory`` and ``nbytes`` where the directory
    begins and its length, ``entries`` how many it has. Positions in it are less by ``shift``: so much was put before
    the zip file.
    """

    at: int
    stop: int
    directory: int
    nbytes: int
    entries: int
    shift: int
    comment: bytes


class Appended(NamedTuple):
    """A header that daskzarr appended: a value's name, size and checksum, and the header's length."""

    name: bytes
    size: int
    checksum: int
    length: int


def damaged(what: str) -> StoreError:
    """The error of a directory that cannot be."""
    return StoreError(f"this zip file is damaged: {what}")


def name_bytes(key: str) -> tuple[bytes, int]:
    """A key as the name of an entry, and its bits."""
    try:
        name = key.encode()
    except UnicodeEncodeError:
        raise UnsupportedError(f"the key {short(key)} holds what is no character") from None
    if not key or key[0] == "/" or key[-1] == "/" or "//" in key or len(name) > _MOST16:
        raise UnsupportedError(f"{short(key)} cannot be the name of an entry of a zip file")
    return name, 0 if key.isascii() else UTF8


def local_header(name: bytes, flags: int, size: int, checksum: int, session: int) -> bytes:
    """What stands before a value that is stored as it is."""
    extra, sizes, version = b"", (size, size), _VERSION
    if size >= _MOST32:
        extra, sizes, version = struct.pack("<2H2Q", _ZIP64, 16, size, size), (_MOST32, _MOST32), _VERSION64
    length = len(extra) + _mark.size
    header = _local.pack(LOCAL, version, flags, STORED, 0, _FIRST_DAY, checksum, *sizes, len(name), length)
    header += name + extra
    return header + _mark.pack(_MARK, 8, session, zlib.crc32(header, session))


def appended(header: bytes, session: int) -> Appended | None:
    """A header of :func:`local_header`, of one write; None if it is none, or torn."""
    if len(header) < _local.size or header[:4] != LOCAL:
        return None
    fields = _local.unpack_from(header)
    checksum, size, name_length, extra_length = fields[6], fields[8], fields[9], fields[10]
    length = _local.size + name_length + extra_length
    if len(header) < length or extra_length not in (_mark.size, _mark.size + 20):
        return None
    mark = length - _mark.size
    if header[mark:length] != _mark.pack(_MARK, 8, session, zlib.crc32(header[:mark], session)):
        return None
    if size == _MOST32:
        size = struct.unpack_from("<Q", header, mark - 8)[0]
    return Appended(header[_local.size : _local.size + name_length], size, checksum, length)


def deletion(prefix: bytes, below: bool, session: int) -> bytes:
    """What notes that a key was deleted, or all below a prefix."""
    checksum = zlib.crc32(prefix, zlib.crc32(b"\1" if below else b"\0", session))
    return _deletion.pack(DELETION, len(prefix) + 9, session, checksum, below) + prefix


def deleted(record: bytes, session: int) -> tuple[bytes, bool, int] | None:
    """What a record of :func:`deletion` says, and its length; None if it is none, or torn."""
    if len(record) < _deletion.size or record[:4] != DELETION:
        return None
    length = _deletion.size + _deletion.unpack_from(record)[1] - 9
    prefix, below = record[_deletion.size : length], record[_deletion.size - 1] == 1
    return (prefix, below, length) if record[:length] == deletion(prefix, below, session) else None


def central_record(name: bytes, entry: Entry, shift: int) -> bytes:
    """How the directory lists a value that is stored as it is."""
    at = entry.at - shift
    large = [number for number in (entry.size, entry.packed, at) if number >= _MOST32]
    extra = struct.pack(f"<2H{len(large)}Q", _ZIP64, 8 * len(large), *large) if large else b""
    version = _VERSION64 if large else _VERSION
    sizes = (entry.checksum, min(entry.packed, _MOST32), min(entry.size, _MOST32))
    lengths = (len(name), len(extra), 0)
    times = (0, _FIRST_DAY)
    fields = (_UNIX | version, version, entry.flags, entry.method, *times, *sizes, *lengths, 0, 0, _FILE)
    return _central.pack(CENTRAL, *fields, min(at, _MOST32)) + name + extra


def end_records(count: int, directory: int, nbytes: int, shift: int, comment: bytes) -> bytes:
    """What ends a zip file whose directory begins at ``directory``."""
    at = directory - shift
    before = b""
    if count >= _MOST16 or nbytes >= _MOST32 or at >= _MOST32:
        before = _end64.pack(_END64, _end64.size - 12, _UNIX | _VERSION64, _VERSION64, 0, 0, count, count, nbytes, at)
        before += _locator.pack(_LOCATOR, 0, at + nbytes, 1)
    small = min(count, _MOST16)
    return before + _end.pack(END, 0, 0, small, small, min(nbytes, _MOST32), min(at, _MOST32), len(comment)) + comment


def last_end(tail: bytes, before: int) -> Iterator[End]:
    """What may be the end of a zip file in its last bytes, which begin at ``before``; the most likely comes first.

    A comment may hold what looks like an end, and a program may have added bytes behind it.
    """
    found = []
    at = tail.rfind(END)
    while at >= 0:
        if at + _end.size <= len(tail):
            found.append(at)
        at = tail.rfind(END, 0, at)
    exact = [at for at in found if _comment_stop(tail, at) == len(tail)]
    for at in dict.fromkeys([*exact, *found]):
        if _comment_stop(tail, at) <= len(tail) and (end := _end_at(tail, at, before)) is not None:
            yield end


def _comment_stop(tail: bytes, at: int) -> int:
    """Where the comment of an end stops."""
    length: int = _end.unpack_from(tail, at)[7]
    return at + _end.size + length


def _end_at(tail: bytes, at: int, before: int) -> End | None:
    """The end at a position of the last bytes, if that can be one."""
    _, disk, first_disk, _, count, nbytes, directory, _ = _end.unpack_from(tail, at)
    stop = _comment_stop(tail, at)
    comment = tail[at + _end.size : stop]
    begin = at
    locator = at - _locator.size
    if locator >= 0 and tail[locator : locator + 4] == _LOCATOR:
        where = _locator.unpack_from(tail, locator)[2] - before
        for candidate in (where, locator - _end64.size):
            if 0 <= candidate <= locator - _end64.size and tail[candidate : candidate + 4] == _END64:
                _, _, _, _, disk, first_disk, _, count, nbytes, directory = _end64.unpack_from(tail, candidate)
                begin = candidate
                break
    if disk not in (0, _MOST16, _MOST32) or first_disk not in (0, _MOST16, _MOST32):
        raise UnsupportedError("this is one part of a zip file that was split; put it together first")
    place = before + begin - nbytes
    shift = place - directory
    if place < 0 or shift < 0:
        return None
    return End(before + begin, before + stop, place, nbytes, count, shift, comment)


def entries_of(directory: bytes, shift: int) -> Iterator[tuple[str, Entry, int, int]]:
    """Name and entry of each record of a directory, and where it begins and ends in it."""
    at = 0
    while at < len(directory):
        fields = _central.unpack_from(directory, at) if at + _central.size <= len(directory) else (b"",)
        if fields[0] != CENTRAL:
            raise damaged(f"its directory has no entry at byte {at}, where one has to be")
        flags, method, checksum, packed, size, length, extra_length, comment_length = (*fields[3:5], *fields[7:13])
        name_stop = at + _central.size + length
        extra_stop = name_stop + extra_length
        stop = extra_stop + comment_length
        if stop > len(directory):
            raise damaged(f"an entry of its directory, at byte {at}, is longer than the directory")
        name = directory[at + _central.size : name_stop]
        header = fields[16]
        extra = directory[name_stop:extra_stop] if extra_length else b""
        if _MOST32 in (packed, size, header):
            size, packed, header = _large(extra, size, packed, header)
        text = name.decode() if name.isascii() else _name(name, flags, fields[1] >> 8, extra)
        yield text, Entry(header + shift, packed, size, checksum, method, flags, length), at, stop
        at = stop


def without(directory: bytes, places: set[int]) -> tuple[bytes, int]:
    """A directory without the records of values at some positions, and how many records that has.

    It has been gone through before: here nothing but lengths and positions are looked at.
    """
    kept = []
    at = start = count = 0
    while at < len(directory):
        length, extra_length, comment_length, place = _lengths.unpack_from(directory, at + _LENGTHS_AT)
        stop = at + _central.size + length + extra_length + comment_length
        if place == _MOST32:
            place = next(entries_of(directory[at:stop], 0))[1].at
        if place in places:
            kept.append(directory[start:at])
            start = stop
        else:
            count += 1
        at = stop
    return b"".join([*kept, directory[start:]]), count


def _large(extra: bytes, *numbers: int) -> Iterator[int]:
    """Numbers of an entry, those that do not fit in four bytes from where they stand instead."""
    field = _field(extra, _ZIP64)
    for number in numbers:
        if number == _MOST32:
            if len(field) < 8:
                raise damaged("an entry of its directory lacks a size or a position of more than four bytes")
            number, field = struct.unpack_from("<Q", field)[0], field[8:]
        yield number


def _name(name: bytes, flags: int, system: int, extra: bytes) -> str:
    """A name that is not ASCII: in UTF-8, which may stand beside one in an older code, or in the code of DOS.

    Programs of Unix write the bytes of the file's name, which are UTF-8 nowadays, and do not say so.
    """
    beside = _field(extra, _UNICODE_NAME)
    if len(beside) > 5 and beside[0] == 1 and struct.unpack_from("<L", beside, 1)[0] == zlib.crc32(name):
        return beside[5:].decode("utf-8", "replace")
    if not flags & UTF8 and system in _SYSTEMS_OF_BYTES:
        with contextlib.suppress(UnicodeDecodeError):
            return name.decode()
    return name.decode("utf-8" if flags & UTF8 else "cp437", "replace")


def _field(extra: bytes, wanted: int) -> bytes:
    """A field of what a record has besides; empty where it is not there."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def header_length(header: bytes, entry: Entry) -> int:
    """How far the data of an entry lie behind its header, whose first bytes are given; 0 if it is another's."""
    if len(header) < _local.size or header[:4] != LOCAL:
        return 0
    fields = _local.unpack_from(header)
    flags, method, checksum, name_length, extra_length = fields[2], fields[3], fields[6], fields[9], fields[10]
    same = (method, name_length) == (entry.method, entry.name_length)
    same = same and (bool(flags & FOLLOWED) or checksum == entry.checksum)
    return _local.size + name_length + extra_length if same else 0


def alone(data: bytes, entry: Entry) -> bytes:
    """A zip file of this one entry, for a program that unpacks what daskzarr does not."""
    flags = entry.flags & ~(FOLLOWED | UTF8)
    only = entry._replace(at=0, flags=flags, name_length=1)
    sizes = (min(entry.packed, _MOST32), min(entry.size, _MOST32))
    header = _local.pack(LOCAL, _VERSION64, flags, entry.method, 0, _FIRST_DAY, entry.checksum, *sizes, 1, 0) + b"a"
    directory = central_record(b"a", only, 0)
    return header + data + directory + end_records(1, len(header) + len(data), len(directory), 0, b"")
