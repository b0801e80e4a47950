"""A chunk through its codecs: encode goes down the list, decode comes back up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from daskzarr.codecs.base import (
    Array,
    ArrayToArray,
    ArrayToBytes,
    Buffer,
    BytesSpec,
    BytesToBytes,
    ChunkSpec,
    wrong_size,
)
from daskzarr.codecs.bytes import BytesCodec
from daskzarr.codecs.registry import codec_class
from daskzarr.codecs.transpose import TransposeCodec
from daskzarr.errors import UnknownCodecError
from daskzarr.metadata.named_config import NamedConfig

_KINDS = ("array_to_array", "array_to_bytes", "bytes_to_bytes")


@dataclass(frozen=True)
class CodecPipeline:
    """The codecs of an array, each told what comes in; itself a codec from an array to bytes.

    Where the serializer is ``bytes`` and only transposes stand before it, the last codec decodes straight into the
    memory of the block, whatever its layout.
    """

    spec: ChunkSpec
    arrays: tuple[ArrayToArray, ...]
    serializer: ArrayToBytes
    compressors: tuple[BytesToBytes, ...]
    skipped: tuple[str, ...] = ()

    @classmethod
    def resolve(cls, configs: Sequence[NamedConfig], spec: ChunkSpec) -> CodecPipeline:
        """Find every codec and check that each can take what the one before hands on, before data move."""
        found: list[Any] = []
        skipped = []
        state: Any = spec
        for config in configs:
            try:
                kind = codec_class(config.name)
            except UnknownCodecError:
                if config.must_understand:
                    raise
                skipped.append(config.name)  # the document says that it can be read without
                continue
            if (kind.kind == "bytes_to_bytes") != isinstance(state, BytesSpec):
                raise _order_error(configs)
            codec = kind.from_config(config.configuration, state)
            found.append(codec)
            state = codec.encoded_spec()
        kinds = [codec.kind for codec in found]
        if kinds.count("array_to_bytes") != 1 or kinds != sorted(kinds, key=_KINDS.index):
            raise _order_error(configs)
        middle = kinds.index("array_to_bytes")
        return cls(spec, tuple(found[:middle]), found[middle], tuple(found[middle + 1 :]), tuple(skipped))

    def check_can_write(self) -> None:
        """Refuse to write where a codec is unknown: data can be read without it, but not be written as it would."""
        if self.skipped:
            raise UnknownCodecError(
                f"codec {self.skipped[0]!r} is not known, so chunks can be read but not written", codec=self.skipped[0]
            )

    @cached_property
    def axes(self) -> tuple[int, ...] | None:
        """The order in which the axes are stored, where the stored bytes are the cells and nothing else."""
        if not isinstance(self.serializer, BytesCodec):
            return None
        axes = tuple(range(len(self.spec.shape)))
        for codec in self.arrays:
            if not isinstance(codec, TransposeCodec):
                return None
            axes = tuple(axes[i] for i in codec.order)
        return axes

    @cached_property
    def raw(self) -> bool:
        """Whether a stored value is a block's memory as it stands, in C order."""
        return (
            not self.compressors
            and self.axes == tuple(range(len(self.spec.shape)))
            and isinstance(self.serializer, BytesCodec)
            and self.serializer.stored == self.spec.dtype
        )

    @cached_property
    def _stored(self) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...]]:
        """Dtype and shape of the cells as stored, and the axes that lead back."""
        assert isinstance(self.serializer, BytesCodec)
        axes = self.axes or ()
        inverse = tuple(sorted(range(len(axes)), key=axes.__getitem__))
        return self.serializer.stored, self.serializer.spec.shape, inverse

    def new_chunk(self) -> Array:
        """Memory for one chunk, laid out as the stored bytes are, so that decoding needs no copy."""
        if self.axes is None:
            return np.empty(self.spec.shape, self.spec.dtype)
        dtype, shape, inverse = self._stored
        return np.empty(shape, dtype).transpose(inverse) if self.arrays else np.empty(shape, dtype)

    def encode(self, array: Array) -> Buffer:
        """One whole chunk as the bytes to store."""
        for codec in self.arrays:
            array = codec.encode(array)
        data = self.serializer.encode(array)
        for compressor in self.compressors:
            data = compressor.encode(data)
        return data

    def decode(self, data: Buffer) -> Array:
        """Stored bytes as a new array of the chunk's shape, in native byte order, that can be written to."""
        if self.axes is None:
            return self._decode_steps(data)
        chunk = self.new_chunk()
        self.decode_into(data, chunk)
        if chunk.dtype.isnative:
            return chunk
        return chunk.byteswap(inplace=True).view(self.spec.dtype)

    def decode_into(self, data: Buffer, out: Array) -> None:
        """Stored bytes into an array of the chunk's shape; without a copy where it lies in memory as the bytes do."""
        if self.axes is None:
            out[...] = self._decode_steps(data)
            return
        dtype, shape, inverse = self._stored
        cells = out.transpose(self.axes) if self.arrays else out
        direct = cells.dtype == dtype and cells.flags.c_contiguous
        if not direct:
            cells = np.empty(shape, dtype)
        found = self._decompress(data, cells)
        if found is not cells:
            if len(found) != cells.nbytes:
                raise wrong_size("bytes", len(found), cells.nbytes)
            cells = np.frombuffer(found, dtype).reshape(shape)
            direct = False
        if not direct:
            out[...] = cells.transpose(inverse) if self.arrays else cells

    def _decompress(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """Back through the codecs on bytes; the last of them may fill ``out``."""
        compressors = self.compressors
        for codec in compressors[:0:-1]:
            data = cast(Buffer, codec.decode(data))
        return compressors[0].decode(data, out) if compressors else data

    def _decode_steps(self, data: Buffer) -> Array:
        """Back through every codec, one after the other."""
        array = self.serializer.decode(cast(Buffer, self._decompress(data)))
        for codec in reversed(self.arrays):
            array = codec.decode(array)
        return array


def _order_error(configs: Sequence[NamedConfig]) -> UnknownCodecError:
    """The error for codecs that do not follow on each other."""
    names = [config.name for config in configs]
    return UnknownCodecError(
        f"the codecs {names} do not follow on each other: first any number on arrays, then exactly one from an array "
        "to bytes (such as 'bytes'), then any number on bytes",
        field="codecs",
    )
