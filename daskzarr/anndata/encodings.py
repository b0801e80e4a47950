"""Attributes of a node -> how AnnData says that its element is encoded. AnnData, "On-disk format"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from daskzarr.errors import MetadataError, UnsupportedError, short

Format = Literal["csr", "csc"]

_TYPE, _VERSION = "encoding-type", "encoding-version"
_OF_ARRAYS = ("array", "string-array", "rec-array", "numeric-scalar", "string")
_ARRAY_VERSION = "0.2.0"
_OF_MATRICES: Mapping[str, Format] = {"csr_matrix": "csr", "csc_matrix": "csc"}
_MATRIX_VERSION = "0.1.0"
_OLD_FORMAT, _OLD_SHAPE = "h5sparse_format", "h5sparse_shape"  # before AnnData 0.7
_PARTS = {
    "categorical": "its arrays, 'codes' and 'categories', can be opened",
    "nullable-integer": "its arrays, 'values' and 'mask', can be opened",
    "nullable-boolean": "its arrays, 'values' and 'mask', can be opened",
    "nullable-string-array": "its arrays, 'values' and 'mask', can be opened",
    "dataframe": "its columns can be opened",
    "anndata": "its elements can be opened, such as 'X'",
    "raw": "its elements can be opened, such as 'X'",
    "dict": "the elements in it can be opened",
}


@dataclass(frozen=True, slots=True)
class MatrixEncoding:
    """What the attributes of a sparse matrix say: how it is compressed, and its numbers of rows and columns."""

    format: Format
    shape: tuple[int, int]

    @property
    def major(self) -> int:
        """The axis that is compressed: 0 where rows are stored one after the other, 1 where columns are."""
        return 0 if self.format == "csr" else 1


def check_array(attributes: Mapping[str, Any]) -> None:
    """Make sure that an array is an element by itself. One that says nothing is: old files have those."""
    name = _text(attributes, _TYPE)
    if name is None:
        return
    if name not in _OF_ARRAYS:
        raise UnsupportedError(
            f"the array is encoded as {short(name)}; those that can be read are {', '.join(_OF_ARRAYS)}", field=_TYPE
        )
    _check_version(attributes, name, _ARRAY_VERSION)


def read_matrix(attributes: Mapping[str, Any]) -> MatrixEncoding:
    """What the attributes of a group say, if it is a sparse matrix."""
    name = _text(attributes, _TYPE)
    if name is not None and name in _OF_MATRICES:
        _check_version(attributes, name, _MATRIX_VERSION)
        return MatrixEncoding(_OF_MATRICES[name], _shape(attributes, "shape"))
    if name is not None:
        parts = _PARTS.get(name, "arrays in it can be opened")
        raise UnsupportedError(
            f"the element is encoded as {short(name)}, which is no array; {parts} by component=", field=_TYPE
        )
    old = _text(attributes, _OLD_FORMAT)
    if old is None:
        raise UnsupportedError(
            f"the group is no element of AnnData that can be read: it has no {_TYPE}; name one with component=",
            field=_TYPE,
        )
    if old not in ("csr", "csc"):
        raise UnsupportedError(f"{_OLD_FORMAT} is {short(old)}; it can be 'csr' or 'csc'", field=_OLD_FORMAT)
    return MatrixEncoding(cast(Format, old), _shape(attributes, _OLD_SHAPE))


def _text(attributes: Mapping[str, Any], field: str) -> str | None:
    """An attribute that is text, if it is there."""
    value = attributes.get(field)
    if value is not None and not isinstance(value, str):
        raise MetadataError(f"{field} is {short(value)}; it has to be text", field=field)
    return value or None  # AnnData takes "" for nothing


def _check_version(attributes: Mapping[str, Any], name: str, known: str) -> None:
    """The one version there is."""
    version = _text(attributes, _VERSION)
    if version != known:
        raise UnsupportedError(
            f"{_VERSION} is {short(version)} for {name!r}; {known!r} is the one that can be read", field=_VERSION
        )


def _shape(attributes: Mapping[str, Any], field: str) -> tuple[int, int]:
    """Two numbers of cells."""
    value = attributes.get(field)
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 <= n < 2**63 for n in value):
        return value[0], value[1]
    raise MetadataError(f"{field} is {short(value)}; it has to be the numbers of rows and of columns", field=field)
