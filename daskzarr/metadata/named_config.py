"""An extension point as a document spells it (codec, grid, key encoding, data type) -> name and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daskzarr.errors import MetadataError, short

_MEMBERS = {"name", "configuration", "must_understand"}


@dataclass(frozen=True, slots=True)
class NamedConfig:
    """A name, what configures it, and whether a reader that does not know it must stop.

    >>> NamedConfig.read("bytes", "codecs") == NamedConfig.read({"name": "bytes"}, "codecs")
    True
    """

    name: str
    configuration: Mapping[str, Any] = field(default_factory=dict, hash=False)
    must_understand: bool = True

    @classmethod
    def read(cls, value: Any, place: str) -> NamedConfig:
        """From JSON: an object with a name, or the bare name (Zarr v3.1). ``place`` is the field, for errors."""
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise MetadataError(f"{short(value)} is neither a name nor an object with a name", field=place)
        if not value.keys() <= _MEMBERS:
            raise MetadataError(
                f"unknown members {sorted(value.keys() - _MEMBERS)} beside the name {short(value['name'])}", field=place
            )
        configuration = value.get("configuration", {})
        must_understand = value.get("must_understand", True)
        if not isinstance(configuration, dict) or not isinstance(must_understand, bool):
            raise MetadataError(f"the configuration of {short(value['name'])} is not an object", field=place)
        return cls(value["name"], configuration, must_understand)

    @property
    def internal(self) -> bool:
        """Whether only the model has this name, for what v3 has none for; documents cannot use it."""
        return self.name.startswith(("v2.", "n5."))

    def write(self) -> dict[str, Any]:
        """To JSON, as an object: no peer reads bare names everywhere, nor numcodecs' names without a configuration."""
        document: dict[str, Any] = {"name": self.name}
        if self.configuration or self.name.startswith("numcodecs."):
            document["configuration"] = dict(self.configuration)
        if not self.must_understand:
            document["must_understand"] = False
        return document
