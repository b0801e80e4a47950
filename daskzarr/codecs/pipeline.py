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
    new_array,
    wrong_size,
)
from daskzarr.codecs.bytes import BytesCodec, clean
from daskzarr.codecs.registry import codec_class, is_ours
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
        for config in _with_bytes(configs):
            try:
                kind = codec_class(config.name)
            except UnknownCodecError:
                if config.must_understand:
                    raise
                skipped.append(config.name)  # the document says that it can be read without
                continue
            codec = _build(kind, config, state)
            if codec is None:
                raise _order_error(configs)
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
        check = getattr(self.serializer, "check_can_write", None)
        if check is not None:
            check()

    @cached_property
    def axes(self) -> tuple[int, ...] | None:
        """The order in which the axes reach the serializer, where nothing but transposes stands before it."""
        axes = tuple(range(len(self.spec.shape)))
        for codec in self.arrays:
            if not isinstance(codec, TransposeCodec):
                return None
            axes = tuple(axes[i] for i in codec.order)
        return axes

    @cached_property
    def shard(self) -> Any:
        """The codec of shards, where parts of a stored value can be read with it alone; None otherwise."""
        can = self.axes is not None and not self.compressors and hasattr(self.serializer, "read_box")
        return self.serializer if can else None

    @cached_property
    def truncates(self) -> bool:
        """Whether a chunk at the array's edge is stored without the part that hangs over it."""
        return bool(getattr(self.serializer, "truncates", False))

    @cached_property
    def raw(self) -> bool:
        """Whether a stored value is a block's memory as it stands, in C order."""
        return not self.compressors and self.as_in_memory

    @cached_property
    def as_in_memory(self) -> bool:
        """Whether the codecs on bytes get a block's memory as it stands, in C order."""
        return (
            self.axes == tuple(range(len(self.spec.shape)))
            and isinstance(self.serializer, BytesCodec)
            and self.serializer.plain
            and self.serializer.stored == self.spec.dtype
        )

    @cached_property
    def _stored(self) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...]] | None:
        """Dtype and shape of the cells as stored, and the axes that lead back; None where cells are not stored so."""
        if self.axes is None or not isinstance(self.serializer, BytesCodec):
            return None
        inverse = tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__))
        return self.serializer.stored, self.serializer.spec.shape, inverse

    def encoded_spec(self) -> BytesSpec:
        """What it hands on."""
        state = self.serializer.encoded_spec()
        for codec in self.compressors:
            state = codec.encoded_spec()
        return state

    @cached_property
    def _fixed_size(self) -> int | None:
        """Bytes of every encoded chunk; None where they vary."""
        return self.encoded_spec().size

    def new_chunk(self) -> Array:
        """Memory for one chunk, laid out as the stored bytes are, so that decoding needs no copy."""
        if self._stored is None:
            return new_array(self.spec.shape, self.spec.dtype)
        dtype, shape, inverse = self._stored
        return new_array(shape, dtype).transpose(inverse) if self.arrays else new_array(shape, dtype)

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
        if self._stored is None:
            return self._decode_steps(data)
        if self._fixed_size not in (None, len(data)):
            raise wrong_size("bytes", len(data), self._fixed_size or 0)  # before memory is taken for it
        chunk = self.new_chunk()
        self._decode_cells(data, chunk)
        serializer = cast(BytesCodec, self.serializer)
        carrier = serializer.carrier
        if chunk.dtype != carrier:
            swapped = chunk.dtype == carrier.newbyteorder("S")
            chunk = chunk.byteswap(inplace=True).view(carrier) if swapped else chunk.astype(carrier)
        chunk = chunk.view(self.spec.dtype) if carrier != self.spec.dtype else chunk
        if not serializer.plain:
            clean(chunk, "bytes")
        return chunk

    def decode_into(self, data: Buffer, out: Array) -> None:
        """Stored bytes into an array of the chunk's shape; without a copy where it lies in memory as the bytes do."""
        if self._stored is not None:
            serializer = cast(BytesCodec, self.serializer)
            self._decode_cells(data, out if serializer.carrier == out.dtype else out.view(serializer.carrier))
            if not serializer.plain:
                clean(out, "bytes")
        elif self.axes is not None and hasattr(self.serializer, "decode_into"):
            self.serializer.decode_into(cast(Buffer, self._decompress(data)), out.transpose(self.axes))
        else:
            out[...] = self._decode_steps(data)

    def _decode_cells(self, data: Buffer, out: Array) -> None:
        """The same where elements are stored as they stand, up to their order and that of the axes."""
        dtype, shape, inverse = cast(Any, self._stored)
        cells = out.transpose(self.axes) if self.arrays else out
        direct = cells.dtype == dtype and cells.flags.c_contiguous
        if not direct:
            cells = new_array(shape, dtype)
        # Memory of structures cannot be handed on as it is: some hold dates, which have no buffer.
        target = cells.reshape(-1).view(np.uint8) if dtype.names else cells
        found = self._decompress(data, target)
        if found is not target:
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


def _build(kind: Any, config: NamedConfig, state: ChunkSpec | BytesSpec) -> Any:
    """The codec for what comes in; None where it cannot stand here.

    v2 puts codecs on arrays behind those on bytes, and codecs of unknown kind anywhere: such classes have ``on_bytes``
    and ``on_array`` beside ``from_config``.
    """
    if (kind.kind == "bytes_to_bytes") == isinstance(state, BytesSpec):
        return kind.from_config(config.configuration, state)
    other = getattr(kind, "on_bytes" if isinstance(state, BytesSpec) else "on_array", None)
    return None if other is None else other(config.configuration, state)


def _with_bytes(configs: Sequence[NamedConfig]) -> Sequence[NamedConfig]:
    """The codecs with ``bytes`` among them, where v2 left it out before a codec on bytes that is not ours."""
    others = [c for c in configs if c.name.startswith("numcodecs.") and not is_ours(c.name)]
    kinds = [_kind(config.name) for config in configs] if others else []
    if not others or "array_to_bytes" in kinds or any(hasattr(codec_class(c.name), "on_array") for c in others):
        return configs
    middle = kinds.index("bytes_to_bytes") if "bytes_to_bytes" in kinds else len(kinds)
    return [*configs[:middle], NamedConfig("bytes", {"endian": "little"}), *configs[middle:]]


def _kind(name: str) -> str | None:
    """The kind of a codec; None if there is none of this name."""
    try:
        return str(codec_class(name).kind)
    except UnknownCodecError:
        return None


def _order_error(configs: Sequence[NamedConfig]) -> UnknownCodecError:
    """The error for codecs that do not follow on each other."""
    names = [config.name for config in configs]
    return UnknownCodecError(
        f"the codecs {names} do not follow on each other: first any number on arrays, then exactly one from an array "
        "to bytes (such as 'bytes'), then any number on bytes",
        field="codecs",
    )
