"""sharding_indexed: many inner chunks and their index in one object.

Kind: array to bytes. Names: ``sharding_indexed`` (v3). Spec: Zarr v3 codecs, sharding-indexed.
Example: ``{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 3],
"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
"index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
"index_location": "end"}}``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from daskzarr.byte_range import ByteRange
from daskzarr.chunk_grid import Box, ChunkProjection, RegularGrid
from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options, new_array
from daskzarr.codecs.fill import Fill
from daskzarr.codecs.pipeline import CodecPipeline
from daskzarr.errors import CodecError, DaskZarrError, MissingChunkError, short
from daskzarr.metadata.named_config import NamedConfig

Index = npt.NDArray[np.uint64]
GetRanges = Callable[[Sequence[ByteRange]], "Sequence[Buffer]"]

_ABSENT = 2**64 - 1
_MOST_INNER = 10**8
_MOST_LISTED = 2**16


@dataclass(frozen=True)
class ShardingCodec:
    """A shard: inner chunks in any order, and an index of where each is.

    Inner chunks are written in C order, those that hold nothing but fill not at all. Nothing is taken for granted of
    how another writer laid them out.
    """

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    grid: RegularGrid
    inner: CodecPipeline
    index: CodecPipeline
    index_size: int
    at_end: bool

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ShardingCodec:
        """The inner chunk shape has to divide the shard's as it comes in here, whatever codecs stand before."""
        options = Options("sharding_indexed", configuration)
        chunk_shape = _inner_shape(options, spec.shape)
        grid = RegularGrid(spec.shape, chunk_shape)
        if grid.chunk_count > _MOST_INNER:
            raise options.error(f"chunk_shape {list(chunk_shape)} makes {grid.chunk_count} inner chunks a shard")
        inner = _nested(options, "codecs", replace(spec, shape=chunk_shape))
        words = ChunkSpec((*grid.counts, 2), np.dtype("u8"), np.uint64(_ABSENT))
        index = _nested(options, "index_codecs", words)
        at_end = options.choice("index_location", {"end": True, "start": False}, "end")
        options.end()
        size = index.encoded_spec().size
        if size is None:
            raise options.error("index_codecs hold one whose result has no fixed size, so that no index can be found")
        return cls(spec, grid, inner, index, size, at_end)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    @cached_property
    def _fill(self) -> Fill:
        """What an absent inner chunk reads as."""
        return Fill(self.spec.dtype, self.spec.fill_value)

    def _inner_chunks(self) -> Iterable[tuple[tuple[int, ...], Any]]:
        """Every inner chunk's index and its cells in the shard, in C order; worked out once if not too many."""
        return self._listed if self.grid.chunk_count <= _MOST_LISTED else self._each()

    @cached_property
    def _listed(self) -> list[tuple[tuple[int, ...], Any]]:
        """The same as a list."""
        return list(self._each())

    def _each(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        """The same one after the other."""
        return ((number, (*self.grid.box(number).slices, ...)) for number in np.ndindex(*self.grid.counts))

    @property
    def index_range(self) -> ByteRange:
        """Where the index is in a shard."""
        return ByteRange(-self.index_size) if self.at_end else ByteRange(0, self.index_size)

    @cached_property
    def innermost_shape(self) -> tuple[int, ...]:
        """Shape, along this shard's axes, of what can be read alone: of an inner chunk, or of one in that."""
        inner = self.inner.shard
        if inner is None:
            return self.grid.chunk_shape
        axes = self.inner.axes or ()
        return tuple(inner.innermost_shape[axes.index(i)] for i in range(len(axes)))

    def check_can_write(self) -> None:
        """Refuse where an inner codec is unknown."""
        self.inner.check_can_write()
        self.index.check_can_write()

    def encode(self, array: Array) -> Buffer:
        """One shard, in memory as a whole: it is stored with one request."""
        words = np.full(self.index.spec.shape, _ABSENT, np.uint64)
        size = self.inner.encoded_spec().size
        if size is not None:
            return self._encode_fixed(array, words, size)
        offset = 0 if self.at_end else self.index_size
        parts: list[Buffer] = []
        for number, slices in self._inner_chunks():
            cells = array[slices]
            if not self.spec.keep_empty and self._fill.covers(cells):
                continue
            data = self.inner.encode(cells)
            parts.append(data)
            words[number] = offset, len(data)
            offset += len(data)
        index = self.index.encode(words)
        return b"".join([*parts, index] if self.at_end else [index, *parts])

    def _encode_fixed(self, array: Array, words: Index, size: int) -> Buffer:
        """The same where every inner chunk takes as many bytes: each goes straight to its place."""
        first = 0 if self.at_end else self.index_size
        shard = np.empty(self.grid.chunk_count * size + self.index_size, np.uint8)
        offset = first
        for number, slices in self._inner_chunks():
            cells = array[slices]
            if not self.spec.keep_empty and self._fill.covers(cells):
                continue
            shard[offset : offset + size] = np.frombuffer(self.inner.encode(cells), np.uint8)
            words[number] = offset, size
            offset += size
        index = np.frombuffer(self.index.encode(words), np.uint8)
        place = offset if self.at_end else 0
        shard[place : place + self.index_size] = index
        return shard[: max(offset, place + self.index_size)].data

    def decode(self, data: Buffer) -> Array:
        """All cells of a shard."""
        self._check_room(data)
        out = new_array(self.spec.shape, self.spec.dtype)
        self.decode_into(data, out)
        return out

    def decode_into(self, data: Buffer, out: Array) -> None:
        """All cells of a shard, each inner chunk decoded in its place."""
        self._check_room(data)
        view = memoryview(data)
        index = self.read_index(view[-self.index_size :] if self.at_end else view[: self.index_size])
        words = index.reshape(-1, 2).tolist()
        for (number, slices), (offset, length) in zip(self._inner_chunks(), words, strict=True):
            if offset + length <= len(view):
                self._decode_inner(number, view[offset : offset + length], out[slices])
            elif (place := self._place(index, number)) is None:
                self._fill.into(out[slices])
            else:
                raise _past_the_end(number, place)

    def _check_room(self, data: Buffer) -> None:
        """A shard holds its index at least."""
        if len(data) < self.index_size:
            raise self.too_short(len(data))

    def too_short(self, size: int) -> CodecError:
        """The error for a shard that has no room for its index."""
        return CodecError(
            f"the shard has {size} bytes, too few for its index of {self.index_size}: it is truncated",
            codec="sharding_indexed",
        )

    def read_index(self, data: Buffer) -> Index:
        """The index of a shard: offset and number of bytes of each inner chunk. Its checksum is verified."""
        try:
            return self.index.decode(data)
        except CodecError as error:
            raise CodecError(f"the index of the shard: {error.message}", codec="sharding_indexed") from None

    def read_box(self, index: Index, box: Box, out: Array, get_ranges: GetRanges, gap: int = 0) -> None:
        """The cells of a box of the shard, from as few byte ranges as hold the inner chunks it touches.

        Inner chunks no more than ``gap`` bytes apart are of one range.
        """
        found: list[tuple[ByteRange, ChunkProjection]] = []
        for part in self.grid.project(box):
            place = self._place(index, part.chunk)
            if place is None:
                self._fill.into(_view(out, part.out_slices))
            elif not part.whole and (inner := self.inner.shard) is not None:
                self._read_nested(inner, place, part, _view(out, part.out_slices), get_ranges, gap)
            else:
                found.append((place, part))
        if not found:
            return
        merged = list(_merge(sorted(found, key=lambda pair: pair[0].offset), gap))
        for (run, members), data in zip(merged, get_ranges([run for run, _ in merged]), strict=True):
            view = memoryview(data)
            for place, part in members:
                start = place.offset - run.offset
                stop = start + (place.length or 0)
                if stop > len(view):
                    raise _past_the_end(part.chunk, place)
                self._place_cells(part, view[start:stop], _view(out, part.out_slices))

    def _place_cells(self, part: ChunkProjection, data: Buffer, cells: Array) -> None:
        """Decode one inner chunk to where its cells go."""
        if cells.shape == self.grid.chunk_shape:
            self._decode_inner(part.chunk, data, cells)
            return
        try:
            whole = self.inner.decode(data)
        except DaskZarrError as error:
            raise _named(error, part.chunk) from None
        cells[...] = whole[part.chunk_slices]

    def _read_nested(
        self, inner: ShardingCodec, place: ByteRange, part: ChunkProjection, out: Array, get_ranges: GetRanges, gap: int
    ) -> None:
        """A part of an inner chunk that is a shard itself: its index first, then what is needed."""

        def get_inner(ranges: Sequence[ByteRange]) -> Sequence[Buffer]:
            bounds = [wanted.bounds(place.length or 0) for wanted in ranges]
            return get_ranges([ByteRange(place.offset + start, stop - start) for start, stop in bounds])

        axes = self.inner.axes or ()
        index = inner.read_index(get_inner([inner.index_range])[0])
        start = tuple(part.chunk_slices[axis].start for axis in axes)
        stop = tuple(part.chunk_slices[axis].stop for axis in axes)
        inner.read_box(index, Box(start, stop), out.transpose(axes), get_inner, gap)

    def _decode_inner(self, number: tuple[int, ...], data: Buffer, out: Array) -> None:
        """Decode one inner chunk; an error says which."""
        try:
            self.inner.decode_into(data, out)
        except DaskZarrError as error:
            raise _named(error, number) from None

    def _place(self, index: Index, number: tuple[int, ...]) -> ByteRange | None:
        """Where an inner chunk is, None if it is absent."""
        offset, length = map(int, index[number])
        if offset == length == _ABSENT:
            if self.spec.absent_is_error:
                raise MissingChunkError(f'inner chunk {number} is not in the shard, and missing="error" was asked for')
            return None
        if offset + length >= 2**63:
            raise CodecError(
                f"the index of the shard places inner chunk {number} at {offset} with {length} bytes: it is damaged",
                codec="sharding_indexed",
            )
        return ByteRange(offset, length)


def _view(array: Array, slices: tuple[slice, ...]) -> Array:
    """Some cells of an array: with the dots, the one cell of an array without axes is an array too."""
    index: Any = (*slices, ...)
    found: Array = array[index]
    return found


def _inner_shape(options: Options, shard: tuple[int, ...]) -> tuple[int, ...]:
    """The inner chunk shape, which has to divide that of the shard."""
    value = options.value("chunk_shape")
    if not isinstance(value, (list, tuple)) or any(type(n) is not int or n < 1 for n in value):
        raise options.error(f"chunk_shape is {short(value)}; it has to be integers of at least 1")
    if len(value) != len(shard) or any(whole % part for whole, part in zip(shard, value, strict=False)):
        raise options.error(f"chunk_shape {list(value)} does not divide the shard, whose shape is {list(shard)} here")
    return tuple(value)


def _nested(options: Options, member: str, spec: ChunkSpec) -> CodecPipeline:
    """A pipeline inside the configuration."""
    value = options.value(member)
    if not isinstance(value, (list, tuple)) or not value:
        raise options.error(f"{member} has to be a list with at least one codec")
    configs = [NamedConfig.read(codec, f"{member}[{i}]") for i, codec in enumerate(value)]
    for config in configs:
        if config.internal:
            raise options.error(f"{member} holds {short(config.name)}, which is not supported")
    try:
        return CodecPipeline.resolve(configs, spec)
    except RecursionError:
        pass  # its traceback is too long to travel with the error
    raise options.error("shards are nested too deeply")


def _merge(
    found: list[tuple[ByteRange, ChunkProjection]], gap: int
) -> Iterator[tuple[ByteRange, list[tuple[ByteRange, ChunkProjection]]]]:
    """Ranges that lie close to each other, as one range each."""
    members: list[tuple[ByteRange, ChunkProjection]] = []
    start = stop = 0
    for place, part in found:
        end = place.offset + (place.length or 0)
        if members and place.offset <= stop + gap:
            stop = max(stop, end)
        else:
            if members:
                yield ByteRange(start, stop - start), members
            members, start, stop = [], place.offset, end
        members.append((place, part))
    if members:
        yield ByteRange(start, stop - start), members


def _named(error: DaskZarrError, number: tuple[int, ...]) -> DaskZarrError:
    """The error, once it says which inner chunk it is of."""
    error.message = f"inner chunk {number}: {error.message}"
    error.args = (error.message,)
    return error


def _past_the_end(number: tuple[int, ...], place: ByteRange) -> CodecError:
    """The error for an index that points to where nothing is."""
    return CodecError(
        f"the index of the shard places inner chunk {number} at {place.offset} with {place.length} bytes, past the end "
        "of the shard: it is truncated or damaged",
        codec="sharding_indexed",
    )


def inner_count(shard: ShardingCodec, box: Box) -> tuple[int, int]:
    """How many innermost chunks a box of the shard touches, and how many there are in all."""
    shape = shard.innermost_shape
    parts = zip(box.start, box.stop, shape, strict=True)
    touched = math.prod(-(-stop // n) - start // n for start, stop, n in parts)
    return touched, math.prod(whole // n for whole, n in zip(shard.spec.shape, shape, strict=True))
