"""blosc: Blosc 1, a compressor that shuffles bytes or bits first.

Kind: bytes to bytes. Names: ``blosc`` (v3), ``numcodecs.blosc`` (v2 id ``blosc``). Spec: Zarr v3 core codecs, blosc.
Example: ``{"name": "blosc", "configuration": {"cname": "zstd", "clevel": 5, "shuffle": "shuffle", "typesize": 4}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numcodecs import blosc

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError

_COMPRESSORS = {name: name.encode() for name in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")}
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_NUMBERS = {0: 0, 1: 1, 2: 2, -1: -1}
_GDALS_WORDS = {"NONE": 0, "BYTE": 1, "BIT": 2}
_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class BloscCodec:
    """A Blosc buffer, which describes itself: decoding looks at no parameter."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    lenient: ClassVar[bool] = False
    spec: BytesSpec
    cname: bytes
    clevel: int
    shuffle: int
    blocksize: int
    typesize: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> BloscCodec:
        """v3's spelling: ``shuffle`` is a word, ``typesize`` is required unless nothing is shuffled."""
        options = Options("blosc", configuration)
        shuffle = options.choice("shuffle", _SHUFFLES)
        typesize = options.integer("typesize", *(() if shuffle else (1,)), low=1, high=_LIMIT)
        return cls._finish(options, spec, shuffle, typesize)

    @classmethod
    def _finish(cls, options: Options, spec: BytesSpec, shuffle: int, typesize: int) -> BloscCodec:
        """Read what both spellings share."""
        codec = cls(
            spec,
            options.choice("cname", _COMPRESSORS, "lz4"),
            options.integer("clevel", 5, low=0, high=9),
            shuffle,
            options.integer("blocksize", 0, low=0, high=_LIMIT),
            typesize if typesize <= 255 else 1,
        )
        options.end(lenient=cls.lenient)
        if spec.size is not None and spec.size > _LIMIT:
            raise options.error(
                f"a chunk of {spec.size} bytes is beyond Blosc's limit of 2^31 - 1; make chunks smaller"
            )
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, data: Buffer) -> Buffer:
        """One buffer."""
        return blosc.compress(  # type: ignore[no-any-return]
            data, self.cname, self.clevel, self.shuffle, self.blocksize, typesize=self.typesize
        )

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The buffer, once its header agrees with the chunk and with the bytes at hand."""
        if len(data) < 16:
            raise CodecError(f"{len(data)} bytes are too few for a Blosc buffer: the chunk is truncated", codec="blosc")
        stated, whole = int.from_bytes(data[4:8], "little"), int.from_bytes(data[12:16], "little")
        if whole != len(data):
            raise CodecError(
                f"the Blosc buffer says it has {whole} bytes and has {len(data)}: the chunk is damaged", codec="blosc"
            )
        if stated != self.spec.size and (self.spec.size is not None or stated > _LIMIT):
            raise wrong_size("blosc", stated, self.spec.size or _LIMIT)
        try:
            found = blosc.decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise CodecError(f"the data do not decompress: {error}", codec="blosc") from None
        return found if out is None else out


class NumcodecsBloscCodec(BloscCodec):
    """The same under its numcodecs name and spelling, where members it does not know mean nothing."""

    __slots__ = ()
    lenient: ClassVar[bool] = True

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> BloscCodec:
        """v2's spelling: ``shuffle`` is 0, 1, 2 or -1 (bits for one-byte elements); the array gives the size of one."""
        options = Options("numcodecs.blosc", configuration)
        shuffle = options.choice("shuffle", _NUMBERS | _GDALS_WORDS, 1)
        if shuffle == -1:
            shuffle = 2 if spec.itemsize == 1 else 1
        options.value("typesize", None)  # written by some; the array knows better
        return cls._finish(options, spec, shuffle, spec.itemsize)
