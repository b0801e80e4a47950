"""A box of cells <-> the stored objects that hold them: what one task does. Plain NumPy, no Dask."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from daskzarr.chunk_grid import Box, ChunkProjection, RegularGrid
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.codecs.fill import Fill
from daskzarr.errors import CodecError, DaskZarrError, MissingChunkError, raise_from
from daskzarr.hierarchy import StoredArray, store_error, writable
from daskzarr.metadata import ArrayMetadata, ChunkGrid
from daskzarr.shard_io import decode_part_of_shard, forget_index, read_part_of_shard, reads_less
from daskzarr.store import Location, RangeStore, ReadIntoStore, Store, WritableStore

Array = npt.NDArray[Any]
Missing = Literal["fill", "error"]

_HUGE = 2**30  # a chunk that says to be larger has to be there before it gets memory
_MOST_SHAPES = 256
_LARGE = 2**20  # from here on, memory fresh from the system costs more than a copy through memory at hand


@dataclass(frozen=True)
class ArrayHandle:
    """What every task of one array shares: small to send, and one object in each process.

    It pickles as a store, a path and a few hundred characters of metadata. Pipeline and fill value are made on first
    use in each process and never sent.

    Parameters
    ----------
    store, path
        Where the array is.
    document
        Its metadata, compact.
    missing
        Whether an absent chunk reads as fill or is an error.
    write_empty_chunks
        Whether a chunk that holds nothing but fill is stored.
    allow_pickle
        Whether stored objects may be unpickled, which runs whatever code they hold.
    """

    store: Store
    path: str
    document: str
    missing: Missing = "fill"
    write_empty_chunks: bool = False
    allow_pickle: bool = False

    @classmethod
    def of(
        cls,
        array: StoredArray,
        *,
        missing: Missing = "fill",
        write_empty_chunks: bool = False,
        allow_pickle: bool = False,
    ) -> ArrayHandle:
        """The handle of a stored array. An unknown codec or an impossible pipeline is refused here."""
        location, document = array.location, array.metadata.compact()
        handle = _interned(cls, location.store, location.path, document, missing, write_empty_chunks, allow_pickle)
        try:
            handle.check_pipelines()
        except DaskZarrError as error:
            raise error.locate(url=location.store.url, node=location.path) from None
        return handle

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.missing, self.write_empty_chunks, self.allow_pickle)
        return _interned, (ArrayHandle, self.store, self.path, self.document, *options)

    @cached_property
    def metadata(self) -> ArrayMetadata:
        """What reading and writing chunks needs of the metadata."""
        return ArrayMetadata.from_compact(self.document)

    @cached_property
    def pipeline(self) -> CodecPipeline:
        """The codecs for chunks of the one shape of a regular grid, or of the longest chunks of any other."""
        return self._resolve(self.grid.chunk_shape)

    def pipeline_at(self, index: tuple[int, ...]) -> CodecPipeline:
        """The codecs for the chunk at an index."""
        shape = self.grid.chunk_shape_at(index)
        if shape == self.pipeline.spec.shape:
            return self.pipeline
        found = self._pipelines.get(shape)
        if found is None:
            if len(self._pipelines) >= _MOST_SHAPES:
                self._pipelines.clear()
            found = self._pipelines[shape] = self._resolve(shape)
        return found

    @cached_property
    def _pipelines(self) -> dict[tuple[int, ...], CodecPipeline]:
        """Pipelines for chunks of other shapes."""
        return {}

    def _resolve(self, chunk_shape: tuple[int, ...]) -> CodecPipeline:
        """The codecs, ready, for chunks of a shape."""
        spec = ChunkSpec(
            chunk_shape,
            self.dtype,
            self.metadata.fill_scalar,
            keep_empty=self.write_empty_chunks,
            absent_is_error=self.missing == "error",
            allow_pickle=self.allow_pickle,
        )
        return CodecPipeline.resolve(self.metadata.codecs, spec)

    def check_pipelines(self) -> None:
        """Make sure that the codecs can take chunks of every shape there is; along each axis, one at a time."""
        self.pipeline  # noqa: B018
        for axis, edges in enumerate(getattr(self.grid, "axes", ())):
            for length in {length for length, _ in edges.runs}:
                shape = self.pipeline.spec.shape
                self._resolve((*shape[:axis], length, *shape[axis + 1 :]))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the cells."""
        return self.metadata.data_type.dtype

    @cached_property
    def grid(self) -> ChunkGrid:
        """The stored chunks."""
        return self.metadata.chunk_grid

    @cached_property
    def reads_into(self) -> bool:
        """Whether a stored chunk can go straight from the store to the block's memory."""
        if not isinstance(self.grid, RegularGrid):
            return False
        return self.pipeline.raw and self.pipeline.spec.nbytes <= _HUGE and isinstance(self.store, ReadIntoStore)

    @cached_property
    def writer(self) -> WritableStore:
        """The store, if it can be written."""
        return writable(Location(self.store, self.path))

    @cached_property
    def key(self) -> Any:
        """Chunk index -> store key."""
        return self.metadata.chunk_key_encoding.encoder(self.path + "/" if self.path else "")

    @cached_property
    def fill(self) -> Fill:
        """The fill value."""
        return Fill(self.dtype, self.metadata.fill_scalar)

    @cached_property
    def leaves_out(self) -> bool:
        """Whether a chunk of nothing but fill is not stored; where fill is undefined, it has to be."""
        undefined = self.metadata.zarr_format == 2 and self.metadata.fill_value is None
        return not (self.write_empty_chunks or undefined)

    @cached_property
    def token(self) -> str:
        """A digest of where the array is and what its metadata say."""
        text = "\0".join((self.store.url, getattr(self.store, "identity", ""), self.path, self.document, self.missing))
        text += "\0pickle" if self.allow_pickle else ""
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def __dask_tokenize__(self) -> str:
        return self.token

    def failure(self, doing: str, error: Exception, key: str) -> Exception:
        """An error that names this array and the chunk."""
        location = Location(self.store, self.path)
        return store_error(doing, error, location, key.removeprefix(self.path).lstrip("/"))


_handles: weakref.WeakValueDictionary[tuple[Any, ...], ArrayHandle] = weakref.WeakValueDictionary()
_recent: deque[ArrayHandle] = deque(maxlen=64)
_lock = threading.Lock()


def _interned(cls: type[ArrayHandle], *state: Any) -> ArrayHandle:
    """The one handle of this process with this state.

    The last few stay alive between the tasks of a worker; those of stores in memory do not, as they hold the data.
    """
    with _lock:
        handle = _handles.get(state)
        if handle is None:
            handle = _handles[state] = cls(*state)
            if getattr(handle.store, "shared", True):
                _recent.append(handle)
        return handle


def read_box(handle: ArrayHandle, box: Box) -> Array:
    """A new array with the cells of a box, from one bulk read of the chunks it touches.

    The array can be written to. A chunk that is not there reads as fill (or is an error, if the handle says so); a
    read that fails is always an error.
    """
    index = handle.grid.single(box)
    if index is not None:
        return _read_single(handle, box, index)
    out = np.empty(box.shape, handle.dtype)
    read_box_into(handle, box, out)
    return out


def _read_single(handle: ArrayHandle, box: Box, index: tuple[int, ...]) -> Array:
    """The cells of one whole chunk, in the memory it was decoded to."""
    key = handle.key(index)
    try:
        chunk = _read_raw(handle, key) if handle.reads_into else _read_chunk(handle, key, index)
    except Exception as error:
        raise_from(handle.failure("reading a chunk", error, key), error)
    shape = box.shape
    if chunk is None:
        _check_absent(handle, key)
        return handle.fill.array(shape)
    return chunk if chunk.shape == shape else chunk[tuple(map(slice, shape))]


def _read_chunk(handle: ArrayHandle, key: str, index: tuple[int, ...]) -> Array | None:
    """A chunk decoded, None when it is absent; of a shard at the edge only what is inside the array."""
    data = handle.store.get(key)
    if data is None:
        return None
    pipeline = handle.pipeline_at(index)
    shape = handle.grid.box(index).shape
    if pipeline.shard is None or shape == pipeline.spec.shape:
        return pipeline.decode(data)
    cells = np.empty(shape, handle.dtype)
    decode_part_of_shard(data, pipeline, tuple(map(slice, (0,) * len(shape), shape)), cells)
    return cells


def _read_raw(handle: ArrayHandle, key: str, out: Array | None = None) -> Array | None:
    """A chunk that is stored as it lies in memory, read into ``out`` or into new memory; None when it is absent."""
    chunk = handle.pipeline.new_chunk() if out is None else out
    size = cast(ReadIntoStore, handle.store).read_into(key, chunk.reshape(-1).view(np.uint8).data)
    if size is None:
        return None
    if size != chunk.nbytes:
        raise CodecError(f"{size} bytes are stored where {chunk.nbytes} have to be: the chunk is damaged")
    return chunk


def read_box_into(handle: ArrayHandle, box: Box, out: Array) -> None:
    """Fill ``out``, of the box's shape, with its cells: chunks that lie in it whole are decoded in place."""
    pipeline = handle.pipeline
    chunk_shape = pipeline.spec.shape
    projections = list(handle.grid.project(box))
    if handle.reads_into and (pipeline.spec.nbytes > _LARGE or out[tuple(map(slice, chunk_shape))].flags.c_contiguous):
        _read_box_raw(handle, projections, [handle.key(p.chunk) for p in projections], out)
        return
    if pipeline.shard is not None:
        projections = [part for part in projections if not _read_part(handle, part, out[part.out_slices])]
    keys = [handle.key(projection.chunk) for projection in projections]
    values = iter(handle.store.get_many(keys))
    for projection, key in zip(projections, keys, strict=True):
        cells = out[projection.out_slices]
        try:
            data = next(values)
            if data is None:
                _check_absent(handle, key)
                handle.fill.into(cells)
                continue
            pipeline = handle.pipeline_at(projection.chunk)
            if cells.shape == pipeline.spec.shape:
                pipeline.decode_into(data, cells)
            elif pipeline.shard is not None:
                decode_part_of_shard(data, pipeline, projection.chunk_slices, cells)
            else:
                cells[...] = pipeline.decode(data)[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


def _read_part(handle: ArrayHandle, part: ChunkProjection, cells: Array) -> bool:
    """Read the part of a shard by its index, if that is less than the whole; returns whether it did."""
    pipeline = handle.pipeline_at(part.chunk)
    if part.whole or not reads_less(handle.store, pipeline, part.chunk_slices):
        return False
    key = handle.key(part.chunk)
    try:
        if not read_part_of_shard(cast(RangeStore, handle.store), key, pipeline, part.chunk_slices, cells):
            _check_absent(handle, key)
            handle.fill.into(cells)
    except Exception as error:
        raise_from(handle.failure("reading a part of a shard", error, key), error)
    return True


def _read_box_raw(handle: ArrayHandle, projections: list[ChunkProjection], keys: list[str], out: Array) -> None:
    """The same where chunks are stored as they lie in memory: there if their cells are one run of ``out``."""
    chunk_shape = handle.pipeline.spec.shape
    scratch = handle.pipeline.new_chunk()
    for projection, key in zip(projections, keys, strict=True):
        cells = out[projection.out_slices]
        in_place = cells.shape == chunk_shape and cells.flags.c_contiguous
        try:
            chunk = _read_raw(handle, key, cells if in_place else scratch)
            if chunk is None:
                _check_absent(handle, key)
                handle.fill.into(cells)
            elif not in_place:
                cells[...] = chunk[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


def _check_absent(handle: ArrayHandle, key: str) -> None:
    """An absent chunk reads as fill, if that is allowed."""
    if handle.missing == "error":
        raise MissingChunkError(
            'the chunk is not in the store, and missing="error" was asked for',
            url=handle.store.url,
            node=handle.path,
            chunk_key=key.removeprefix(handle.path).lstrip("/"),
        )


def write_box(handle: ArrayHandle, box: Box, block: Array) -> int:
    """Store the chunks a box owns, each with one request; returns how many bytes they take.

    The box has to cover its chunks whole, padding beyond the array's edge aside: that is the planner's to ensure. A
    chunk of nothing but fill is not stored, and what is there of it goes, unless the handle says otherwise. Doing it
    again changes nothing.
    """
    block = np.asarray(block)
    if block.shape != box.shape or block.dtype != handle.dtype:
        block = _conform(handle, box, block)
    grid = handle.grid
    index = grid.single(box)
    if index is not None:
        return _write_chunk(handle, index, block)
    return sum(_write_chunk(handle, part.chunk, block[part.out_slices]) for part in grid.project(box))


def copy_box(source: ArrayHandle, target: ArrayHandle, box: Box) -> int:
    """Copy the stored chunks of a box as they are to an array of the same grid and codecs; returns their bytes."""
    chunks = [part.chunk for part in source.grid.project(box)]
    keys = [source.key(chunk) for chunk in chunks]
    values = iter(source.store.get_many(keys))
    total = 0
    for chunk, key in zip(chunks, keys, strict=True):
        try:
            data = next(values)
        except Exception as error:
            raise_from(source.failure("reading a chunk", error, key), error)
        if data is None:
            continue
        goal = target.key(chunk)
        try:
            target.writer.set(goal, data)
        except Exception as error:
            raise_from(target.failure("writing a chunk", error, goal), error)
        finally:
            forget_index(target.store, goal)
        total += len(data)
    return total


def _conform(handle: ArrayHandle, box: Box, block: Array) -> Array:
    """A block as the metadata promised it; dtypes may differ where Dask's own prediction was off."""
    if block.shape != box.shape:
        raise CodecError(
            f"a block of shape {block.shape} came where {box.shape} was promised; give the right chunks= to map_blocks",
            url=handle.store.url,
            node=handle.path,
        )
    return block.astype(handle.dtype)


def _write_chunk(handle: ArrayHandle, index: tuple[int, ...], cells: Array) -> int:
    """Store one chunk, padded with fill to its full shape."""
    key = handle.key(index)
    store = handle.writer
    try:
        pipeline = handle.pipeline_at(index)
        if handle.leaves_out and handle.fill.covers(cells):
            store.delete(key)
            return 0
        if cells.shape != pipeline.spec.shape and not pipeline.truncates:
            padded = handle.fill.array(pipeline.spec.shape)
            padded[tuple(map(slice, cells.shape))] = cells
            cells = padded
        data = pipeline.encode(cells)
        store.set(key, data)
    except Exception as error:
        raise_from(handle.failure("writing a chunk", error, key), error)
    finally:
        if handle.pipeline.shard is not None:
            forget_index(store, key)
    return len(data)
