"""An open zip file and an entry -> its value, or parts of it. Nothing is taken to be as long as the file only says."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence

from daskzarr.byte_range import ByteRange
from daskzarr.errors import CodecError, UnsupportedError
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.zip.open_file import OpenFile
from daskzarr.stores.zip.records import DEFLATED, ENCRYPTED, LOCAL_SIZE, STORED, Entry, alone, header_length

_DENSEST = 1032  # bytes that one byte of deflate can stand for


def value_of(file: OpenFile, entry: Entry, checked: bool) -> bytes:
    """The whole value. Its checksum is compared; that of one that is stored as it is only if ``checked``."""
    data = file.read(_data_at(file, entry), entry.packed)
    if len(data) != entry.packed:
        raise _cut_off(len(data), entry.packed)
    if entry.method == STORED:
        if checked:
            _compare(data, entry)
        return data
    value = _inflated(data, entry) if entry.method == DEFLATED else _unpacked(data, entry)
    _compare(value, entry)
    return value


def parts_of(file: OpenFile, entry: Entry, byte_ranges: Sequence[ByteRange], checked: bool) -> list[Buffer]:
    """Parts of a value; of one that is stored as it is, nothing else is read."""
    if entry.method != STORED:
        value = value_of(file, entry, checked)
        return [byte_range.of(value) for byte_range in byte_ranges]
    at = _data_at(file, entry)
    found: list[Buffer] = []
    for byte_range in byte_ranges:
        start, stop = byte_range.bounds(entry.size)
        part = file.read(at + start, stop - start)
        if len(part) < stop - start:
            raise _cut_off(start + len(part), entry.size)
        found.append(part)
    return found


def read_into(file: OpenFile, entry: Entry, target: memoryview, checked: bool) -> None:
    """Fill the beginning of ``target``, which has room for the value."""
    if entry.method != STORED:
        target[: entry.size] = value_of(file, entry, checked)
        return
    into = target[: entry.size]
    done = file.fill(_data_at(file, entry), into)
    if done < entry.size:
        raise _cut_off(done, entry.size)
    if checked:
        _compare(into, entry)


def _data_at(file: OpenFile, entry: Entry) -> int:
    """Where the data of an entry begin."""
    if entry.flags & ENCRYPTED:
        raise UnsupportedError("this entry of a zip file is encrypted; make a zip file without a password")
    if entry.method == STORED and entry.packed != entry.size:
        raise CodecError(f"the zip file says that {entry.packed} stored bytes are {entry.size}: it is damaged")
    length = header_length(file.read(entry.at, LOCAL_SIZE), entry)
    if not length:
        raise CodecError("there is no such entry where the directory of the zip file says: it is damaged")
    return entry.at + length


def _compare(value: Buffer, entry: Entry) -> None:
    """Make sure that a value is what was stored."""
    if len(value) != entry.size or zlib.crc32(value) != entry.checksum:
        raise CodecError("the CRC-32 of this entry of a zip file is another one: it is damaged")


def _inflated(data: bytes, entry: Entry) -> bytes:
    """The value of an entry that is deflated."""
    if entry.size > len(data) * _DENSEST:
        raise CodecError(f"{len(data)} bytes of a zip file cannot be {entry.size} deflated ones: it is damaged")
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        value = unpacking.decompress(data, entry.size + 1)
    except zlib.error as error:
        raise CodecError(f"this entry of a zip file cannot be decompressed: {error}") from None
    if not unpacking.eof:
        raise CodecError("this entry of a zip file is not whole, or larger than it has to be: it is damaged")
    return value


def _unpacked(data: bytes, entry: Entry) -> bytes:
    """The value of an entry that is compressed in another way, if this Python knows it."""
    try:
        with zipfile.ZipFile(io.BytesIO(alone(data, entry))) as archive, archive.open("a") as found:
            return found.read(entry.size + 1)
    except (NotImplementedError, RuntimeError) as error:
        raise UnsupportedError(
            f"this entry of a zip file is compressed by method {entry.method}, which this Python cannot decompress; "
            "store it uncompressed, or deflated"
        ) from error
    except Exception as error:  # each compression has errors of its own
        raise CodecError(f"this entry of a zip file cannot be decompressed: {type(error).__name__}: {error}") from None


def _cut_off(length: int, wanted: int) -> CodecError:
    """The error of a value that is not all there."""
    return CodecError(f"the zip file ends after {length} bytes of {wanted} of this entry: it was cut off")
