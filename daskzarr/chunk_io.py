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
from daskzarr.errors import CodecError, DaskZarrError, MissingChunkError, raise_from
from daskzarr.hierarchy import StoredArray, store_error, writable
from daskzarr.metadata import ArrayMetadata
from daskzarr.store import Location, ReadIntoStore, Store, WritableStore

Array = npt.NDArray[Any]
Missing = Literal["fill", "error"]

_HUGE = 2**30  # a chunk that says to be larger has to be there before it gets memory
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
    """

    store: Store
    path: str
    document: str
    missing: Missing = "fill"
    write_empty_chunks: bool = False

    @classmethod
    def of(cls, array: StoredArray, *, missing: Missing = "fill", write_empty_chunks: bool = False) -> ArrayHandle:
        """The handle of a stored array. An unknown codec or an impossible pipeline is refused here."""
        location = array.location
        handle = _interned(cls, location.store, location.path, array.metadata.compact(), missing, write_empty_chunks)
        try:
            handle.pipeline  # noqa: B018
        except DaskZarrError as error:
            raise error.locate(url=location.store.url, node=location.path) from None
        return handle

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.store, self.path, self.document, self.missing, self.write_empty_chunks)
        return _interned, (ArrayHandle, *state)

    @cached_property
    def metadata(self) -> ArrayMetadata:
        """What reading and writing chunks needs of the metadata."""
        return ArrayMetadata.from_compact(self.document)

    @cached_property
    def pipeline(self) -> CodecPipeline:
        """The codecs, ready."""
        metadata = self.metadata
        spec = ChunkSpec(metadata.chunk_grid.chunk_shape, metadata.data_type.dtype, metadata.fill_scalar)
        return CodecPipeline.resolve(metadata.codecs, spec)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the cells."""
        return self.metadata.data_type.dtype

    @cached_property
    def grid(self) -> RegularGrid:
        """The stored chunks."""
        return self.metadata.chunk_grid

    @cached_property
    def reads_into(self) -> bool:
        """Whether a stored chunk can go straight from the store to the block's memory."""
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
    def fill_bits(self) -> npt.NDArray[np.uint8] | None:
        """The bytes of the fill value; None where it is undefined, so that no chunk may be left out."""
        if self.metadata.fill_value is None:
            return None
        return np.frombuffer(self.metadata.fill_scalar.tobytes(), np.uint8)

    @cached_property
    def token(self) -> str:
        """A digest of where the array is and what its metadata say."""
        text = "\0".join((self.store.url, getattr(self.store, "identity", ""), self.path, self.document, self.missing))
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
        chunk = _read_raw(handle, key) if handle.reads_into else _read_chunk(handle, key)
    except Exception as error:
        raise_from(handle.failure("reading a chunk", error, key), error)
    shape = box.shape
    if chunk is None:
        return _fill(handle, shape, key)
    return chunk if chunk.shape == shape else chunk[tuple(map(slice, shape))]


def _read_chunk(handle: ArrayHandle, key: str) -> Array | None:
    """A chunk decoded, None when it is absent."""
    data = handle.store.get(key)
    return None if data is None else handle.pipeline.decode(data)


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
    keys = [handle.key(projection.chunk) for projection in projections]
    if handle.reads_into and (pipeline.spec.nbytes > _LARGE or out[tuple(map(slice, chunk_shape))].flags.c_contiguous):
        _read_box_raw(handle, projections, keys, out)
        return
    values = iter(handle.store.get_many(keys))
    for projection, key in zip(projections, keys, strict=True):
        cells = out[projection.out_slices]
        try:
            data = next(values)
            if data is None:
                cells[...] = _fill_value(handle, key)
            elif cells.shape == chunk_shape:
                pipeline.decode_into(data, cells)
            else:
                cells[...] = pipeline.decode(data)[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


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
                cells[...] = _fill_value(handle, key)
            elif not in_place:
                cells[...] = chunk[projection.chunk_slices]
        except Exception as error:
            raise_from(handle.failure("reading a chunk", error, key), error)


def _fill(handle: ArrayHandle, shape: tuple[int, ...], key: str) -> Array:
    """An array of fill; zeros come from the system as they are."""
    value = _fill_value(handle, key)
    return np.full(shape, value) if value.tobytes().strip(b"\0") else np.zeros(shape, handle.dtype)


def _fill_value(handle: ArrayHandle, key: str) -> np.generic:
    """What an absent chunk reads as, if that is allowed."""
    if handle.missing == "error":
        raise MissingChunkError(
            'the chunk is not in the store, and missing="error" was asked for',
            url=handle.store.url,
            node=handle.path,
            chunk_key=key.removeprefix(handle.path).lstrip("/"),
        )
    return handle.metadata.fill_scalar


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
        if not handle.write_empty_chunks and _all_fill(cells, handle.fill_bits):
            store.delete(key)
            return 0
        chunk_shape = handle.pipeline.spec.shape
        if cells.shape != chunk_shape:
            padded = np.full(chunk_shape, handle.metadata.fill_scalar)
            padded[tuple(map(slice, cells.shape))] = cells
            cells = padded
        data = handle.pipeline.encode(cells)
        store.set(key, data)
    except Exception as error:
        raise_from(handle.failure("writing a chunk", error, key), error)
    return len(data)


def _all_fill(cells: Array, fill_bits: npt.NDArray[np.uint8] | None) -> bool:
    """Whether every cell has the fill value's very bits: 0.0 is not -0.0, and NaNs have payloads."""
    if fill_bits is None or not cells.size:
        return False
    if cells[(0,) * cells.ndim].tobytes() != fill_bits.tobytes():
        return False
    width = min(cells.dtype.itemsize, 8)
    words = np.ascontiguousarray(cells).reshape(-1).view(f"u{width}")
    fill = fill_bits.view(words.dtype)
    return bool((words.reshape(-1, len(fill)) == fill).all())
