"""base64: bytes as text.

Kind: bytes to bytes. Names: ``numcodecs.base64`` (v2 id ``base64``). Spec: numcodecs, Base64; RFC 4648, section 4.
Example: ``{"name": "numcodecs.base64"}``
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from daskzarr.codecs.base import Array, Buffer, BytesSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError


@dataclass(frozen=True, slots=True)
class Base64Codec:
    """The standard alphabet, padded, without line breaks."""

    kind: ClassVar[Kind] = "bytes_to_bytes"
    spec: BytesSpec

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: BytesSpec) -> Base64Codec:
        """There is nothing to configure."""
        Options("base64", configuration).end(lenient=True)
        return cls(spec)

    def encoded_spec(self) -> BytesSpec:
        """Four characters for every three bytes begun."""
        size = self.spec.size
        return BytesSpec(None if size is None else -(-size // 3) * 4, 1)

    def encode(self, data: Buffer) -> Buffer:
        """The text."""
        return base64.b64encode(data)

    def decode(self, data: Buffer, out: Array | None = None) -> Buffer | Array:
        """The bytes; a character that is not of the alphabet is an error."""
        try:
            found = base64.b64decode(data, validate=True)
        except ValueError as error:
            raise CodecError(f"the data are no base64: {error}", codec="base64") from None
        if self.spec.size is not None and len(found) != self.spec.size:
            raise wrong_size("base64", len(found), self.spec.size)
        return found
