"""A stored array -> what all of its tasks share: small to send, one object in each process."""

from __future__ import annotations

import hashlib
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np

from daskzarr.chunk_grid import RegularGrid
from daskzarr.codecs import ChunkSpec, CodecPipeline
from daskzarr.codecs.fill import Fill
from daskzarr.errors import DaskZarrError
from daskzarr.hierarchy import StoredArray, store_error, writable
from daskzarr.metadata import ArrayMetadata, ChunkGrid
from daskzarr.stores import TRAFFIC, Location, ReadIntoStore, Store, Traffic, WritableStore
from daskzarr.stores.retries import persist

Missing = Literal["fill", "error"]
_Result = TypeVar("_Result")

_HUGE = 2**30  # a chunk that says to be larger has to be there before it gets memory
_MOST_SHAPES = 256


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
    traffic
        How requests of one task go, as many at once as the size of chunks allows.
    """

    store: Store
    path: str
    document: str
    missing: Missing = "fill"
    write_empty_chunks: bool = False
    allow_pickle: bool = False
    traffic: Traffic = TRAFFIC

    @classmethod
    def of(
        cls,
        array: StoredArray,
        *,
        missing: Missing = "fill",
        write_empty_chunks: bool = False,
        allow_pickle: bool = False,
        traffic: Traffic = TRAFFIC,
    ) -> ArrayHandle:
        """The handle of a stored array. An unknown codec or an impossible pipeline is refused here."""
        location, metadata = array.location, array.metadata
        chunk_bytes = math.prod(metadata.chunk_grid.chunk_shape) * array.dtype.itemsize
        options = (missing, write_empty_chunks, allow_pickle, traffic.sized(chunk_bytes))
        handle = _interned(cls, location.store, location.path, metadata.compact(), *options)
        try:
            handle.check_pipelines()
        except DaskZarrError as error:
            raise error.locate(url=location.store.url, node=location.path) from None
        return handle

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.missing, self.write_empty_chunks, self.allow_pickle, self.traffic)
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
        """Make sure that the codecs can take chunks of every length there is."""
        for shape in self.grid.chunk_shapes_to_check():
            if shape != self.pipeline.spec.shape:
                self._resolve(shape)

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
    def lead(self) -> int:
        """How much of a store key names the node."""
        return len(self.path) + 1 if self.path else 0

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

    def persist(self, call: Callable[..., _Result], *args: Any) -> _Result:
        """A request to the store, tried again as the traffic says."""
        return persist(call, *args, budget=self.traffic.retries)

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
