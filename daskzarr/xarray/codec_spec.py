"""An array's codecs -> the values that xarray keeps in a variable's encoding, and hands to the next write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from daskzarr.codecs.registry import codec_class
from daskzarr.hierarchy import StoredArray
from daskzarr.metadata import NamedConfig

_SHARDS = "sharding_indexed"
_OURS = "numcodecs."


class CodecSpec(dict[str, Any]):
    """A codec as a document spells it; its settings are attributes, too. Equal to any object that spells the same.

    >>> codec = CodecSpec({"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3}})
    >>> codec.clevel, codec == {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3}}
    (3, True)
    """

    def __getattr__(self, name: str) -> Any:
        settings = self.get("configuration", self)
        if name.startswith("__") or name not in settings:
            raise AttributeError(name)
        return settings[name]

    def __eq__(self, other: object) -> bool:
        return bool(dict(self) == spelled_out(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, as zarr-python's codecs give."""
        return dict(self)

    def get_config(self) -> dict[str, Any]:
        """The same, as numcodecs' codecs give."""
        return dict(self)


def spelled_out(codec: Any) -> Any:
    """What a codec, of whatever library, is in a document."""
    for name in ("to_dict", "get_config"):
        if not isinstance(codec, dict) and hasattr(codec, name):
            return getattr(codec, name)()
    return dict(codec) if isinstance(codec, Mapping) else codec


def codecs_of(array: StoredArray) -> dict[str, Any]:
    """``filters``, ``compressors`` and, for Zarr v3, ``serializer``; with shards those of the inner chunks."""
    configs: Sequence[NamedConfig] = array.metadata.codecs
    for config in configs:
        if config.name == _SHARDS:
            configs = [NamedConfig.read(each, "codecs") for each in config.configuration["codecs"]]
            break
    found: dict[str, list[CodecSpec]] = {"array_to_array": [], "array_to_bytes": [], "bytes_to_bytes": []}
    old = array.metadata.zarr_format == 2
    for config in configs:
        if old and (config.internal or config.name in ("transpose", "bytes")):
            continue  # the order and the byte order, which v2 spells elsewhere
        kind = getattr(codec_class(config.name), "kind", "bytes_to_bytes")
        found[kind].append(CodecSpec(_own(_as_v2(config) if old else config.write(), config)))
    if old:
        filters = [*found["array_to_array"], *found["array_to_bytes"]]
        return {"filters": tuple(filters), "compressors": tuple(found["bytes_to_bytes"]) or None}
    serializer = found["array_to_bytes"][0] if found["array_to_bytes"] else None
    return {
        "filters": tuple(found["array_to_array"]),
        "serializer": serializer,
        "compressors": tuple(found["bytes_to_bytes"]),
    }


def _own(spelled: dict[str, Any], config: NamedConfig) -> dict[str, Any]:
    """A codec's spelling that shares nothing with the metadata, which arrays have in common: users may change it."""
    if not any(isinstance(value, (dict, list)) for value in config.configuration.values()):
        return spelled
    try:
        return deepcopy(spelled)
    except RecursionError:
        return spelled  # nested too deeply for any codec there is


def _as_v2(config: NamedConfig) -> dict[str, Any]:
    """A codec as v2 spells it."""
    return {"id": config.name.removeprefix(_OURS), **config.configuration}
