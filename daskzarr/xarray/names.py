"""Names of variables and dimensions -> names of stored arrays and axes, if they can be such."""

from __future__ import annotations

from collections.abc import Hashable

from xarray import Dataset

from daskzarr.errors import MetadataError
from daskzarr.hierarchy.placing import DOCUMENT_NAMES
from daskzarr.metadata import ZarrFormat, v3
from daskzarr.xarray.asked import WrongTypeError


def stored_name(name: Hashable) -> str:
    """The name of a variable's array."""
    return "__values__" if name is None else str(name)


def check_names(dataset: Dataset, zarr_format: ZarrFormat) -> None:
    """Names of arrays and of axes are text, and an array's is one name of a node."""
    taken: dict[str, Hashable] = {}
    for name, variable in dataset.variables.items():
        if name is not None and not isinstance(name, str):
            raise WrongTypeError(f"{name!r} is the name of a variable; a name is a string or None", field="name")
        if name == "":
            raise MetadataError("a variable has the name '', and the string must be length 1 or greater", field="name")
        stored = stored_name(name)
        reserved = stored in DOCUMENT_NAMES[zarr_format] or (zarr_format == 3 and v3.is_reserved(stored))
        if "/" in stored or "\\" in stored or stored in (".", "..") or reserved:
            raise MetadataError(
                f"{name!r} cannot be the name of a variable: an array of that name would not be found in its group",
                field="name",
            )
        if stored in taken:
            raise MetadataError(f"{name!r} and {taken[stored]!r} are both stored as {stored!r}", field="name")
        taken[stored] = name
        if not all(isinstance(dim, str) for dim in variable.dims):
            raise WrongTypeError(
                f"variable {name!r} has the dimensions {variable.dims!r}, and their names are stored as text; "
                "rename() them",
                field="dimension_names",
            )
