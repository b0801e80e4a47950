"""categorize: texts as the numbers of their labels.

Kind: array to array. Names: ``numcodecs.categorize`` (v2 id ``categorize``). Spec: numcodecs, Categorize.
Example: ``{"name": "numcodecs.categorize", "configuration": {"labels": ["a", "b"], "dtype": "|O", "astype": "|u1"}}``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.array_filter import native, number_dtype
from daskzarr.codecs.base import Array, ChunkSpec, Kind, Options
from daskzarr.errors import CodecError

_TEXT = re.compile(r"[<>|=]?(?:O|U(\d{1,9}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class CategorizeCodec:
    """1 for the first label and so on; 0 for any other text, which is read as the empty one."""

    kind: ClassVar[Kind] = "array_to_array"
    spec: ChunkSpec
    labels: tuple[str, ...]
    codes: np.dtype[Any]

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> CategorizeCodec:
        """``labels``, the ``dtype`` of the texts (objects or of fixed length) and the ``astype`` of the codes."""
        options = Options("categorize", configuration)
        labels = options.value("labels")
        if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
            raise options.error("labels has to be a list of texts")
        _check_dtype(options, spec.dtype)
        codes = number_dtype(options, "astype", np.dtype("u1"), kinds="iu")
        options.end(lenient=True)
        if len(labels) > np.iinfo(codes).max:
            raise options.error(f"astype {codes.name} has no place for {len(labels)} labels")
        return cls(spec, tuple(labels), native(codes))

    def encoded_spec(self) -> ChunkSpec:
        """As many codes."""
        fill = self.spec.fill_value
        code = self._numbers().get(fill, 0) if isinstance(fill, str) else 0
        return replace(self.spec, dtype=self.codes, fill_value=self.codes.type(code))

    def encode(self, array: Array) -> Array:
        """The codes."""
        items = array.reshape(-1).tolist()
        if not set(map(type, items)) <= {str}:
            _check_texts(items)
        return np.fromiter(map(self._numbers().get, items, repeat(0)), self.codes, len(items)).reshape(array.shape)

    def decode(self, array: Array) -> Array:
        """The labels."""
        if array.size and not 0 <= int(array.min()) <= int(array.max()) <= len(self.labels):
            raise CodecError(
                f"there are codes from {array.min()} to {array.max()} and {len(self.labels)} labels: "
                "the data are damaged, or belong to other labels",
                codec="categorize",
            )
        self._check_width(array)
        table = np.empty(len(self.labels) + 1, self.spec.dtype)
        table[:] = ["", *self.labels]
        return table[array.reshape(-1).astype(np.intp)].reshape(self.spec.shape)

    def _numbers(self) -> dict[str, int]:
        """Each label's code."""
        return {label: i for i, label in enumerate(self.labels, 1)}

    def _check_width(self, array: Array) -> None:
        """Refuse codes of labels that are longer than the array's texts."""
        if self.spec.dtype == object:
            return
        width = self.spec.dtype.itemsize // 4
        long = [i for i, label in enumerate(self.labels, 1) if len(label.rstrip("\0")) > width]
        if long and np.isin(array, long).any():
            raise CodecError(
                f"there are labels of more than the {width} characters of a text: the data are damaged",
                codec="categorize",
            )


def _check_dtype(options: Options, dtype: np.dtype[Any]) -> None:
    """Refuse a ``dtype`` that is not that of the array."""
    value = options.value("dtype")
    found = _TEXT.fullmatch(value) if isinstance(value, str) else None
    fits = value == "object" or (found is not None and (found[1] is None or dtype == np.dtype(f"U{found[1]}")))
    if not fits or dtype.kind not in "OU":
        raise options.error(
            f"dtype is {value!r}, the array has {dtype.str!r}; both have to be objects or the same text"
        )


def _check_texts(items: list[Any]) -> None:
    """Refuse what is no text."""
    for position, item in enumerate(items):
        if not isinstance(item, str):
            raise CodecError(
                f"element {position} of a chunk is a {type(item).__name__}; it has to be a str, '' for none",
                codec="categorize",
            )
