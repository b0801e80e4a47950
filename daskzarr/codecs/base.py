"""What a codec is: the three kinds, what each is told about its input, and how it reads its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from daskzarr.errors import CodecError, UnknownCodecError, short

Array = npt.NDArray[Any]
Buffer = bytes | bytearray | memoryview
Kind = Literal["array_to_array", "array_to_bytes", "bytes_to_bytes"]


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """What a codec on arrays gets: shape, dtype and fill value of one chunk at its place in the pipeline.

    ``keep_empty`` asks for inner chunks of nothing but fill to be stored, ``absent_is_error`` for an error where one is
    not there; ``allow_pickle`` says that the caller trusts the data enough to unpickle them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any = field(hash=False, compare=False)
    keep_empty: bool = False
    absent_is_error: bool = False
    allow_pickle: bool = False

    @property
    def nbytes(self) -> int:
        """Size of the chunk in memory."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True, slots=True)
class BytesSpec:
    """What a codec on bytes gets: their number, None where it varies, and the size of an element in them."""

    size: int | None
    itemsize: int


class ArrayToArray(Protocol):
    """A codec that changes an array before it becomes bytes."""

    kind: ClassVar[Kind] = "array_to_array"

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ArrayToArray:
        """Check the configuration against what comes in."""

    def encoded_spec(self) -> ChunkSpec:
        """What it hands on."""

    def encode(self, array: Array) -> Array:
        """Towards the store."""

    def decode(self, array: Array) -> Array:
        """Back from the store."""


class ArrayToBytes(Protocol):
    """The codec that turns an array into bytes."""

    kind: ClassVar[Kind] = "array_to_bytes"

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> ArrayToBytes:
        """Check the configuration against what comes in."""

    def encoded_spec(self) -> BytesSpec:
        """What it hands on."""

    def encode(self, array: Array) -> Buffer:
        """Towards the store."""

    def decode(self, data: Buffer) -> Array:
        """Back from the store; the array is new and can be written to."""


class BytesToBytes(Protocol):
    """A codec that changes bytes: a compressor, a checksum."""

    kind: ClassVar[Kind] = "bytes_to_bytes"

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> BytesToBytes:
        """Check the configuration against what comes in."""

    def encoded_spec(self) -> BytesSpec:
        """What it hands on."""

    def encode(self, data: Buffer) -> Buffer:
        """Towards the store. Equal input gives equal bytes, whenever and wherever it runs."""

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """Back from the store.

        With ``out``, a contiguous array of as many bytes as there have to be, the result may be put into its memory
        and ``out`` be returned. A result of another size than the spec's is an error, never cut or padded.
        """


REQUIRED: Any = object()


class Options:
    """A codec's configuration, read member by member; what is left over in the end is refused.

    >>> options = Options("gzip", {"level": 5})
    >>> options.integer("level", low=0, high=9)
    5
    >>> options.end()
    """

    def __init__(self, codec: str, configuration: Mapping[str, Any]) -> None:
        self.codec = codec
        self._rest = dict(configuration)

    def integer(self, member: str, default: Any = REQUIRED, *, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        value = self.value(member, default)
        if type(value) is not int or not low <= value <= high:
            raise self.error(f"{member} is {short(value)}; it has to be an integer from {low} to {high}")
        return value

    def choice(self, member: str, allowed: Mapping[Any, Any], default: Any = REQUIRED) -> Any:
        """One of the allowed values, as what it stands for."""
        value = self.value(member, default)
        if isinstance(value, (list, dict)) or value not in allowed:
            raise self.error(f"{member} is {short(value)}; it can be {', '.join(map(repr, allowed))}")
        return allowed[value]

    def value(self, member: str, default: Any = REQUIRED) -> Any:
        """A member as it stands."""
        value = self._rest.pop(member, default)
        if value is REQUIRED:
            raise self.error(f"{member} is missing")
        return value

    def end(self, *, lenient: bool = False) -> None:
        """Refuse members nobody asked for: they may change the bytes. v2 (``lenient``) ignores them."""
        if self._rest and not lenient:
            raise self.error(f"unknown configuration {', '.join(sorted(self._rest))}")

    def error(self, message: str) -> UnknownCodecError:
        """The error to raise."""
        return UnknownCodecError(f"codec {self.codec!r}: {message}", codec=self.codec)


def new_array(shape: tuple[int, ...], dtype: np.dtype[Any], make: Callable[..., Array] = np.empty) -> Array:
    """Memory for the cells of a chunk; more than there is is an error of the chunk, as its shape says so."""
    try:
        return make(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise CodecError(f"there is no memory for a chunk of shape {shape}: {error}") from None


def wrong_size(codec: str, found: int | str, expected: int | str) -> CodecError:
    """The error for a chunk that decodes to another number of bytes than it has to."""
    return CodecError(
        f"the data decode to {found} bytes where {expected} have to be; the chunk is damaged", codec=codec
    )
