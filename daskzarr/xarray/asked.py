"""The arguments of to_zarr -> what is asked for, checked before anything is looked at."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from daskzarr.errors import MetadataError, short
from daskzarr.prepare import WriteOptions

Mode = Literal["w", "w-", "a", "a-", "r+"]
_OPTIONS = ("resume", "journal", "token", "durability", "failures", "max_files", "max_mem")
_MODES: tuple[str, ...] = get_args(Mode)


class WrongTypeError(MetadataError, TypeError):
    """An argument is of a type that it cannot be."""


class UnknownNameError(MetadataError, KeyError):
    """A variable or a label that is named is not there."""


@dataclass(frozen=True)
class Asked:
    """What one call of to_zarr asks for; the verb says what each means.

    ``region`` is a mapping of dimension to slice, or to ``"auto"``; ``encoding`` one of variable to settings.
    """

    mode: Mode
    encoding: Mapping[Hashable, Mapping[str, Any]]
    append_dim: Hashable | None
    region: Mapping[Hashable, Any] | Literal["auto"] | None
    safe_chunks: bool
    align_chunks: bool
    write_empty_chunks: bool | None
    at: int | None
    duplicates: Literal["allow", "error"]
    overwrite_coords: bool | Literal["warn"]
    overwrite_unfinished: bool
    options: WriteOptions

    @property
    def overwrites(self) -> bool:
        """Whether what is there goes."""
        return self.mode == "w"

    @property
    def adds(self) -> bool:
        """Whether the group may be there already."""
        return self.mode in ("a", "a-", "r+")


def asked(given: Mapping[str, Any]) -> Asked:
    """What the arguments of the verb, by name, ask for."""
    append_dim, region = given["append_dim"], given["region"]
    mode = _mode(given["mode"], append_dim, region)
    for name in ("compute", "safe_chunks", "align_chunks", "overwrite_unfinished"):
        _check_bool(name, given[name])
    _check_among("overwrite_coords", given["overwrite_coords"], (True, False, "warn"))
    _check_among("duplicates", given["duplicates"], ("allow", "error"))
    for name in ("consolidated", "write_empty_chunks"):
        if given[name] is not None:
            _check_bool(name, given[name])
    if given["at"] is not None and append_dim is None:
        raise MetadataError("at= says where to append; pass append_dim= too", field="at")
    if region is not None and not isinstance(region, Mapping) and not _is_auto(region):
        raise WrongTypeError(f"``region`` must be a dict, got {type(region)}", field="region")
    encoding = given["encoding"] or {}
    if not isinstance(encoding, Mapping):
        raise WrongTypeError(f"encoding is {short(encoding)}; it has to be a dict", field="encoding")
    for name, each in encoding.items():
        if not isinstance(each, Mapping):
            raise WrongTypeError(
                f"encoding of {name!r} must be castable to a dictionary, and is {short(each)}", field="encoding"
            )
    if mode == "w" and given["resume"]:
        raise MetadataError("resume= goes with a mode other than 'w'; what 'w' replaces goes first", field="resume")
    return Asked(
        mode,
        encoding,
        append_dim,
        region,
        given["safe_chunks"],
        given["align_chunks"],
        given["write_empty_chunks"],
        given["at"],
        given["duplicates"],
        given["overwrite_coords"],
        given["overwrite_unfinished"],
        WriteOptions(
            align="rechunk" if given["align_chunks"] else "merge",
            write_empty_chunks=bool(given["write_empty_chunks"]),
            **{name: given[name] for name in _OPTIONS},
        ),
    )


def _mode(mode: Any, append_dim: Any, region: Any) -> Any:
    """The mode; where none is given, the one that what is asked for needs."""
    if mode is None:
        mode = "a" if append_dim is not None else "w-" if region is None else "r+"
    if append_dim is not None and mode not in ("a", "a-"):
        raise MetadataError(f"cannot set append_dim unless mode='a', 'a-' or None, got {short(mode)}", field="mode")
    if region is not None and mode not in ("a", "a-", "r+"):
        raise MetadataError(
            f"cannot set region unless mode='a', mode='a-', mode='r+' or mode=None, got {short(mode)}", field="mode"
        )
    if not isinstance(mode, str) or mode not in _MODES:
        raise MetadataError(f"mode is {short(mode)}; it can be {', '.join(map(repr, _MODES))}", field="mode")
    return mode


def _check_bool(name: str, value: Any) -> None:
    """An argument that says yes or no."""
    if not isinstance(value, bool):
        raise WrongTypeError(f"{name} is {short(value)}; it can be True or False", field=name)


def _check_among(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """An argument that can be one of a few things."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise MetadataError(f"{name} is {short(value)}; it can be {', '.join(map(repr, choices))}", field=name)


def _is_auto(region: Any) -> bool:
    """Whether the region is to be found out."""
    return isinstance(region, str) and region == "auto"
