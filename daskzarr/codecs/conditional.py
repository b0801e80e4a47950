"""conditional: codecs that each chunk is stored with or without, as the chunk itself says.

Kind: bytes to bytes. Names: ``conditional`` (v3). Spec: Zarr extensions, conditional.
Example: ``{"name": "conditional", "configuration": {"codecs": [{"name": "gzip", "configuration": {"level": 5}}]}}``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from daskzarr.codecs.base import Array, Buffer, BytesSpec, BytesToBytes, Kind, Options, wrong_size
from daskzarr.codecs.registry import codec_class
from daskzarr.errors import CodecError, MetadataError, UnknownCodecError
from daskzarr.metadata.named_config import NamedConfig

_DEEPEST = 8
_MOST_HEADER_BITS = 2**16


@dataclass(frozen=True, slots=True)
class ConditionalCodec:
    """A mask of the codecs that were applied, the first in the lowest bit, and what they made.

    Writing applies all of them or, where that makes a chunk no smaller, none.
    """

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec
    configs: tuple[NamedConfig, ...]
    header: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> ConditionalCodec:
        """``codecs`` work on bytes; ``header_bits``, a multiple of 8, has room for a bit of each."""
        options = Options("conditional", configuration)
        found = options.value("codecs")
        if not isinstance(found, list) or _depth(found) > _DEEPEST:
            raise options.error(f"codecs has to be a list, with conditional codecs at most {_DEEPEST} deep")
        least = -(-len(found) // 8) * 8
        bits = options.integer("header_bits", least, low=least, high=_MOST_HEADER_BITS)
        if bits % 8:
            raise options.error(f"header_bits is {bits}; it has to be a multiple of 8")
        options.end()
        codec = cls(spec, tuple(NamedConfig.read(item, "codecs") for item in found), bits // 8)
        for config in codec.configs:
            if codec_class(config.name).kind != "bytes_to_bytes":
                raise options.error(f"codec {config.name!r} does not work on bytes")
        codec._build(2 ** len(found) - 1)
        return codec

    def _build(self, mask: int) -> list[BytesToBytes]:
        """The codecs that a mask names, each told what comes out of the one before."""
        codecs: list[BytesToBytes] = []
        state = self.spec
        for i, config in enumerate(self.configs):
            if mask >> i & 1:
                codecs.append(codec_class(config.name).from_config(config.configuration, state))
                state = codecs[-1].encoded_spec()
        return codecs

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes, unless there is nothing to apply."""
        size = self.spec.size
        return BytesSpec(None if self.configs or size is None else size + self.header, 1)

    def encode(self, data: Buffer) -> Buffer:
        """The shorter of two: with all codecs, and with none."""
        mask = 2 ** len(self.configs) - 1
        encoded = data
        for codec in self._build(mask):
            encoded = codec.encode(encoded)
        if len(encoded) >= len(data):
            mask, encoded = 0, data
        return b"".join((mask.to_bytes(self.header, "little"), encoded))

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """Back through the codecs that the header names."""
        view = memoryview(data)
        if len(view) < self.header:
            raise CodecError(f"{len(view)} bytes are too few for a header of {self.header}", codec="conditional")
        mask = int.from_bytes(view[: self.header], "little")
        if mask >> len(self.configs):
            raise CodecError(
                f"the header names codec {mask.bit_length() - 1} of {len(self.configs)}: the chunk is damaged",
                codec="conditional",
            )
        try:
            codecs = self._build(mask)
        except (MetadataError, UnknownCodecError) as error:
            raise CodecError(f"the chunk cannot have these codecs: {error.message}", codec="conditional") from None
        found: Buffer = view[self.header :]
        for codec in codecs[:0:-1]:
            found = cast(Buffer, codec.decode(found))
        result = codecs[0].decode(found, out) if codecs else found
        if result is not out and self.spec.size is not None and len(result) != self.spec.size:
            raise wrong_size("conditional", len(result), self.spec.size)
        return result


def _depth(codecs: list[Any]) -> int:
    """How deep conditional codecs stand in each other; counted without recursion, and no further than needed."""
    depth, level = 1, codecs
    while depth <= _DEEPEST:
        level = [item for config in level for item in _inner(config)]
        if not level:
            break
        depth += 1
    return depth


def _inner(config: Any) -> list[Any]:
    """The codecs of a conditional codec, before anything is checked."""
    if not isinstance(config, dict) or config.get("name") != "conditional":
        return []
    configuration = config.get("configuration")
    codecs = configuration.get("codecs") if isinstance(configuration, dict) else None
    return codecs if isinstance(codecs, list) else []
