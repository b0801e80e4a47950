"""Chunks <-> stored bytes, one codec a file. Never sees a store."""

from daskzarr.codecs.base import BytesSpec, ChunkSpec
from daskzarr.codecs.pipeline import CodecPipeline

__all__ = ["BytesSpec", "ChunkSpec", "CodecPipeline"]
