"""An array's metadata in one format -> the same array in another, and whether its stored chunks stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from daskzarr.chunk_grid import RegularGrid
from daskzarr.chunk_key import ChunkKeyEncoding
from daskzarr.codec_settings import spelled
from daskzarr.errors import MetadataError, UnsupportedError, short
from daskzarr.metadata import ArrayMetadata, NamedConfig, ZarrFormat, default_fill, n5, v2, v3
from daskzarr.metadata.data_type import np_dtype_of_v2
from daskzarr.metadata.missing_values import carry_missing, carry_scalar
from daskzarr.settings import ArraySettings, FillValue, new_array_metadata

MissingValues = Literal["xarray", "keep"]
_NOT_IN_V3 = {"base64", "categorize", "json2", "msgpack2", "pickle", "vlen-array"}
_NOT_IN_V2 = {"cast_value", "conditional", "n5_default", "packbits", "reshape", "scale_offset", "zfp"}


def translate(
    metadata: ArrayMetadata, zarr_format: ZarrFormat, missing_values: MissingValues = "xarray"
) -> tuple[ArrayMetadata, bool]:
    """The metadata of the same array in another format, and whether its stored chunks are the same bytes there.

    ``missing_values`` is as for :func:`daskzarr.convert`. Chunks that are not stored may read as something else there.

    Raises
    ------
    UnsupportedError, MetadataError
        If the other format cannot say it; the error names the member and what it holds.
    """
    if metadata.zarr_format == zarr_format:
        return metadata, True
    metadata = carried(metadata, zarr_format, missing_values)
    if zarr_format == "n5":
        return _to_n5(metadata), False
    if metadata.zarr_format == "n5":
        return _from_n5(metadata, zarr_format), False
    found, same = _to_v3(metadata) if zarr_format == 3 else _to_v2(metadata)
    (v3.write_array if zarr_format == 3 else v2.write_array)(found)  # what cannot be said is refused here
    return found, same


def carried(metadata: ArrayMetadata, zarr_format: ZarrFormat, missing_values: MissingValues) -> ArrayMetadata:
    """The array with dimensions and missing values as another format says them, in the format it is in."""
    metadata = carry_scalar(metadata, zarr_format)
    return metadata if missing_values == "keep" else carry_missing(metadata, zarr_format)


def check_missing_values(value: Any) -> MissingValues:
    """The setting, if it is one."""
    if not isinstance(value, str) or value not in get_args(MissingValues):
        raise MetadataError(f"missing_values is {short(value)}; it can be 'xarray' or 'keep'", field="missing_values")
    return value  # type: ignore[return-value]


def _to_v3(metadata: ArrayMetadata) -> tuple[ArrayMetadata, bool]:
    """From v2. One byte order for all fields may need the cells to be written anew."""
    itemsize = metadata.data_type.dtype.itemsize
    codecs, same = [], True
    for codec in metadata.codecs:
        name = codec.name.removeprefix(v2.CODEC_PREFIX)
        if name in _NOT_IN_V3:
            raise UnsupportedError(f"Zarr v3 has no codec {name!r}; read the array and write it anew", codec=name)
        if codec.name == "v2.bytes":
            codec, same = _one_order(codec, metadata)
        elif name == "shuffle" and codec.configuration.get("elementsize") in (0, "0", None):
            codec = replace(codec, configuration={"elementsize": itemsize})
        codecs.append(codec if name in ("bytes", "transpose") else spelled(codec, metadata.data_type.dtype, 3))
    fill_value = default_fill(metadata.data_type) if metadata.fill_value is None else metadata.fill_value
    changed = {"codecs": tuple(codecs), "fill_value": fill_value, "extra_fields": {}, "zarr_format": 3}
    return replace(metadata, **changed), same


def _one_order(codec: NamedConfig, metadata: ArrayMetadata) -> tuple[NamedConfig, bool]:
    """v2's dtype as the ``bytes`` codec, and whether that is the same bytes."""
    if "filtered" not in codec.configuration:
        return NamedConfig("bytes", {"endian": "little"}), False
    found = v2.bytes_codec(np_dtype_of_v2(codec.configuration["filtered"]), [])
    return found, found.name == "bytes"


def _to_v2(metadata: ArrayMetadata) -> tuple[ArrayMetadata, bool]:
    """From v3. Shards become chunks of their inner shape, which are written anew."""
    if not isinstance(metadata.chunk_grid, RegularGrid):
        raise UnsupportedError(
            "Zarr v2 and N5 have chunks of one shape only; rechunk the array first", field="chunk_grid"
        )
    metadata, same = unsharded(metadata)
    codecs = []
    for codec in metadata.codecs:
        name = codec.name.removeprefix(v2.CODEC_PREFIX)
        if codec.name in _NOT_IN_V2:
            raise UnsupportedError(f"Zarr v2 has no codec {name!r}; read the array and write it anew", codec=name)
        codecs.append(NamedConfig("bytes", codec.configuration) if name == "endian" else _v2_codec(codec, metadata))
    if metadata.data_type.name == "string" and not any(c.name.endswith("vlen-utf8") for c in codecs):
        raise UnsupportedError("Zarr v2 stores text of any length with vlen-utf8 only", field="codecs")
    encoding = metadata.chunk_key_encoding
    keys = encoding if encoding.name == "v2" else ChunkKeyEncoding("v2", ".")
    changed = {"codecs": tuple(codecs), "chunk_key_encoding": keys, "zarr_format": 2}
    return replace(metadata, **changed), same  # type: ignore[arg-type]


def _v2_codec(codec: NamedConfig, metadata: ArrayMetadata) -> NamedConfig:
    """A codec under its v2 name."""
    if codec.name in ("bytes", "transpose"):
        return codec
    return spelled(codec, metadata.data_type.dtype, 2)


def unsharded(metadata: ArrayMetadata) -> tuple[ArrayMetadata, bool]:
    """The array with its inner chunks stored one by one, and whether nothing had to change for that."""
    names = [codec.name for codec in metadata.codecs]
    if "sharding_indexed" not in names:
        return metadata, True
    chunk_shape = metadata.inner_chunk_shape
    codecs: Sequence[NamedConfig] = metadata.codecs
    outer: list[NamedConfig] = []
    while (at := next((i for i, c in enumerate(codecs) if c.name == "sharding_indexed"), None)) is not None:
        outer += codecs[:at]
        codecs = [NamedConfig.read(c, "codecs") for c in codecs[at].configuration["codecs"]]
    if chunk_shape is None or len(outer) + sum(c.name == "transpose" for c in codecs) > 1:
        raise UnsupportedError(
            "the codecs before sharding_indexed have no place in an array without shards", field="codecs"
        )
    grid = RegularGrid(metadata.shape, chunk_shape)
    return replace(metadata, chunk_grid=grid, codecs=(*outer, *codecs)), False


def _to_n5(metadata: ArrayMetadata) -> ArrayMetadata:
    """To N5: the compressor stays if N5 has it."""
    as_v2 = _to_v2(metadata)[0] if metadata.zarr_format == 3 else metadata
    plain = ("transpose", "bytes", "v2.bytes", "numcodecs.vlen-utf8", "vlen-utf8")
    settings = ArraySettings(
        chunks=as_v2.chunk_grid.chunk_shape,
        compressors=[v2.codec_config(codec) for codec in as_v2.codecs if codec.name not in plain],
        fill_value=FillValue.DEFAULT if metadata.fill_value is None else metadata.fill_scalar,
        dimension_names=metadata.dimension_names,
        attributes=metadata.attributes,
    )
    return new_array_metadata(settings, shape=metadata.shape, dtype=metadata.data_type, zarr_format="n5")


def _from_n5(metadata: ArrayMetadata, zarr_format: ZarrFormat) -> ArrayMetadata:
    """From N5: blocks become chunks, the compression a compressor."""
    plain = replace(metadata, fill_value=default_fill(metadata.data_type))
    options = dict(n5.write_array(plain)["compression"])
    kind = options.pop("type")
    settings = ArraySettings(
        chunks=metadata.chunk_grid.chunk_shape,
        compressor=_compressor_of_n5(kind, options),
        fill_value=None if metadata.fill_value is None else metadata.fill_scalar,
        dimension_names=metadata.dimension_names,
        attributes=metadata.attributes,
    )
    return new_array_metadata(settings, shape=metadata.shape, dtype=metadata.data_type, zarr_format=zarr_format)


def _compressor_of_n5(kind: str, options: dict[str, Any]) -> dict[str, Any] | None:
    """What numcodecs calls a compression of N5."""
    if kind == "raw":
        return None
    if kind == "gzip" or kind == "zlib":
        level = options.get("level", -1)
        return {
            "id": "zlib" if options.get("useZlib") or kind == "zlib" else "gzip",
            "level": 6 if level == -1 else level,
        }
    if kind == "bzip2":
        return {"id": "bz2", "level": options.get("blockSize", 9)}
    if kind == "xz":
        return {"id": "lzma", "format": 1, "check": -1, "preset": options.get("preset", 6), "filters": None}
    if kind == "zstd":
        return {"id": "zstd", "level": options.get("level", 3)}
    if kind == "lz4":
        return {"id": "lz4", "acceleration": 1}
    if kind == "blosc":
        named = {name: options[name] for name in ("cname", "clevel", "shuffle", "blocksize") if name in options}
        return {"id": "blosc", "cname": "blosclz", "clevel": 6, "shuffle": 0, "blocksize": 0} | named
    raise MetadataError(f"compression {kind!r} has no counterpart", field="compression")
