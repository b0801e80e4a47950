"""pcodec: numbers, compressed as Pco does.

Kind: array to bytes. Names: ``numcodecs.pcodec`` (v2 id ``pcodec``). Spec: numcodecs, PCodec; Pco, standalone format.
Example: ``{"name": "numcodecs.pcodec", "configuration": {"level": 8, "mode_spec": "auto", "delta_spec": "auto"}}``
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options, wrong_size
from daskzarr.errors import CodecError

_MODES = ("auto", "classic")
_DELTAS = ("auto", "none", "try_consecutive", "try_lookback")


@dataclass(frozen=True, slots=True)
class PcodecCodec:
    """A standalone Pco file of the flat array."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    level: int
    mode_spec: str
    delta_spec: str
    delta_encoding_order: int | None
    equal_pages_up_to: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> PcodecCodec:
        """``level`` and the rest steer how it compresses; a file describes itself."""
        options = Options("pcodec", configuration)
        options.choice("paging_spec", {"equal_pages_up_to": None}, "equal_pages_up_to")
        order = options.value("delta_encoding_order", None)
        codec = cls(
            spec,
            options.integer("level", 8, low=0, high=12),
            options.choice("mode_spec", {mode: mode for mode in _MODES}, "auto"),
            options.choice("delta_spec", {delta: delta for delta in _DELTAS}, "auto"),
            order,
            options.integer("equal_pages_up_to", 2**18, low=1, high=2**24),
        )
        options.end(lenient=True)
        if order is not None and (type(order) is not int or not 0 <= order <= 7):
            raise options.error(f"delta_encoding_order is {order!r}; it can be null or an integer from 0 to 7")
        if codec.delta_spec != "auto" and (codec.delta_spec == "try_consecutive") == (order is None):
            raise options.error(
                "delta_encoding_order has to be there if delta_spec is 'try_consecutive', and only then"
            )
        if spec.dtype.kind not in "iuf":
            raise options.error(f"it stores integers and floats, and the array has the dtype {spec.dtype}")
        try:
            codec.encode(np.zeros(1, spec.dtype))
        except ImportError:
            raise options.error("it needs the package pcodec: pip install 'pcodec<0.4'") from None
        except (TypeError, ValueError, RuntimeError) as error:
            raise options.error(f"the configuration means nothing to the package pcodec: {error}") from None
        return codec

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The file."""
        pco = import_module("pcodec")
        names = {"none": "none" if hasattr(pco.DeltaSpec, "none") else "no_op"}  # before and from release 1.0
        delta = getattr(pco.DeltaSpec, names.get(self.delta_spec, self.delta_spec))
        if self.delta_encoding_order is not None:
            delta = partial(pco.DeltaSpec.try_consecutive, self.delta_encoding_order)
        config = pco.ChunkConfig(
            compression_level=self.level,
            mode_spec=getattr(pco.ModeSpec, self.mode_spec)(),
            delta_spec=delta(),
            paging_spec=pco.PagingSpec.equal_pages_up_to(self.equal_pages_up_to),
        )
        flat = np.ascontiguousarray(array, self.spec.dtype).reshape(-1)
        return import_module("pcodec.standalone").simple_compress(flat, config)  # type: ignore[no-any-return]

    def decode(self, data: Buffer) -> Array:
        """The numbers, never more of them than there have to be."""
        out = np.empty(math.prod(self.spec.shape), self.spec.dtype)
        try:
            progress = import_module("pcodec.standalone").simple_decompress_into(bytes(data), out)
        except BaseException as error:
            if not isinstance(error, (RuntimeError, TypeError)) and type(error).__name__ != "PanicException":
                raise
            raise CodecError(f"the data do not decompress: {error}", codec="pcodec") from None
        size = progress.n_processed * out.itemsize
        if size != out.nbytes or not progress.finished:
            raise wrong_size("pcodec", size if progress.finished else f"more than {size}", out.nbytes)
        return out.reshape(self.spec.shape)
