"""The id of a codec that a user registered with numcodecs -> a codec of ours, whatever its kind.

Kind: bytes to bytes, and array to bytes where an array comes in. Names: ``numcodecs.<id>`` (v2 id ``<id>``).
Spec: numcodecs, codec API.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs import pickles, registry

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, wrong_size
from daskzarr.errors import CodecError, UnknownCodecError, raise_from


def foreign_codec(codec_id: str) -> ForeignCodec | None:
    """What makes the codec, or None where numcodecs does not know it.

    The codecs of numcodecs itself are not foreign, and one that unpickles is never offered.
    """
    found = registry.codec_registry.get(codec_id)
    if found is None and codec_id in registry.entries:
        found = _called(codec_id, UnknownCodecError, registry.entries[codec_id].load)
    if found is None or codec_id == "pickle" or getattr(found, "__module__", "").split(".")[0] == "numcodecs":
        return None
    if isinstance(found, type) and issubclass(found, pickles.Pickle):
        return None
    return ForeignCodec(codec_id, found)


@dataclass(frozen=True, slots=True)
class ForeignCodec:
    """A registered class, in the place of a class of ours."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    codec_id: str
    registered: Any

    def from_config(self, configuration: Mapping[str, Any], spec: BytesSpec) -> ForeignOnBytes:
        """The codec between bytes."""
        return ForeignOnBytes(spec, self.codec_id, self._made(configuration))

    def on_array(self, configuration: Mapping[str, Any], spec: ChunkSpec) -> ForeignOnArray:
        """The codec between an array and bytes."""
        return ForeignOnArray(spec, self.codec_id, self._made(configuration))

    def _made(self, configuration: Mapping[str, Any]) -> Any:
        """The user's codec."""
        return _called(self.codec_id, UnknownCodecError, self.registered.from_config, dict(configuration))


@dataclass(frozen=True, slots=True)
class ForeignOnBytes:
    """A user's codec that gets bytes."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    codec_id: str
    codec: Any

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """Whatever memory the codec returns."""
        return _memory(self.codec_id, _called(self.codec_id, CodecError, self.codec.encode, bytes(data)))

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """Whatever memory the codec returns, if it has the size it has to have."""
        found = _memory(self.codec_id, _called(self.codec_id, CodecError, self.codec.decode, bytes(data)))
        if self.spec.size is not None and len(found) != self.spec.size:
            raise wrong_size(self.codec_id, len(found), self.spec.size)
        return found


@dataclass(frozen=True, slots=True)
class ForeignOnArray:
    """A user's codec that gets an array."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    codec_id: str
    codec: Any

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """Whatever memory the codec returns."""
        laid_out = np.ascontiguousarray(array, self.spec.dtype).reshape(array.shape)
        return _memory(self.codec_id, _called(self.codec_id, CodecError, self.codec.encode, laid_out))

    def decode(self, data: Buffer) -> Array:
        """What the codec returns as elements of the chunk, in the order of its memory."""
        found = _called(self.codec_id, CodecError, self.codec.decode, bytes(data))
        if self.spec.dtype == object:
            return self._objects(found)
        memory = _memory(self.codec_id, found)
        if len(memory) != self.spec.nbytes:
            raise wrong_size(self.codec_id, len(memory), self.spec.nbytes)
        return np.frombuffer(memory, self.spec.dtype).reshape(self.spec.shape).copy()

    def _objects(self, found: Any) -> Array:
        """The elements of an array of objects."""
        if not isinstance(found, np.ndarray) or found.dtype != object or found.size != math.prod(self.spec.shape):
            raise CodecError(
                f"it decodes to no array of {math.prod(self.spec.shape)} objects where one has to be",
                codec=self.codec_id,
            )
        return found.reshape(-1, order="A").reshape(self.spec.shape).copy()


def _called(codec_id: str, kind: type[Exception], function: Callable[..., Any], *arguments: Any) -> Any:
    """What a user's function returns; whatever it raises is an error of ours."""
    try:
        return function(*arguments)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise_from(kind(f"the codec, which is none of ours, failed: {reason}", codec=codec_id), error)  # type: ignore[call-arg]


def _memory(codec_id: str, found: Any) -> memoryview:
    """The memory of bytes, of a buffer or of an array, as bytes."""
    try:
        array = found if isinstance(found, np.ndarray) else np.asarray(memoryview(found))
        if array.dtype.hasobject:
            raise TypeError("an array of objects")
        flat = array.reshape(-1, order="A")
        return np.ascontiguousarray(flat).view(np.uint8).data
    except (TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CodecError(f"the codec returned no memory of plain bytes ({reason})", codec=codec_id) from None
