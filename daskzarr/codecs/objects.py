"""json2, msgpack2, pickle: a chunk of any objects as one document.

Kind: array to bytes. Names: ``numcodecs.json2``, ``numcodecs.msgpack2``, ``numcodecs.pickle`` (v2 ids without the
prefix). Spec: numcodecs, JSON, MsgPack and Pickle.
Example: ``{"name": "numcodecs.json2"}``
"""

from __future__ import annotations

import codecs
import json
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from daskzarr.codecs.base import Array, Buffer, BytesSpec, ChunkSpec, Kind, Options
from daskzarr.errors import CodecError, UnsupportedError

_FLAG = {True: True, False: False}
_ENCODINGS = {"ascii", "iso8859-1", "utf-8", *(f"utf-{bits}{end}" for bits in (16, 32) for end in ("", "-le", "-be"))}
_TEXT = re.compile(r"[<>|=]?U(\d{1,9})", re.ASCII)
_DAMAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class JsonCodec:
    """A JSON list: the elements, in lists of lists where there are several axes, the dtype and the shape."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    encoding: str
    strict: bool
    writing: Mapping[str, Any] = field(hash=False)

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> JsonCodec:
        """``encoding`` of the text, and what Python's json module takes."""
        options = Options("json2", configuration)
        encoding = options.value("encoding", "utf-8")
        if not isinstance(encoding, str) or _encoding_name(encoding) not in _ENCODINGS:
            raise options.error(f"encoding is {encoding!r}; it can be {', '.join(sorted(_ENCODINGS))}")
        indent = options.value("indent", None)
        if not (indent is None or (type(indent) is int and -1 <= indent <= 80) or _is_short(indent)):
            raise options.error(f"indent is {indent!r}; it can be null, an integer up to 80 or a short text")
        flags = {"skipkeys": False, "ensure_ascii": True, "check_circular": True, "allow_nan": True, "sort_keys": True}
        writing = {member: options.choice(member, _FLAG, default) for member, default in flags.items()}
        writing |= {"indent": indent, "separators": _separators(options, indent)}
        strict = options.choice("strict", _FLAG, True)
        options.end(lenient=True)
        _check_objects(options, spec)
        return cls(spec, encoding, strict, writing)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The document; what JSON cannot say is an error."""
        try:
            return json.JSONEncoder(**self.writing).encode(_document(array)).encode(self.encoding)
        except _DAMAGE as error:
            raise CodecError(f"a chunk cannot be written as JSON: {error}", codec="json2") from None

    def decode(self, data: Buffer) -> Array:
        """The elements."""
        try:
            items = json.JSONDecoder(strict=self.strict).decode(str(data, self.encoding))
        except _DAMAGE as error:
            raise CodecError(f"the data are no JSON: {error}", codec="json2") from None
        return _elements("json2", items, self.spec)


@dataclass(frozen=True, slots=True)
class MsgpackCodec:
    """The same in MessagePack."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    raw: bool
    writing: Mapping[str, bool] = field(hash=False)

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> MsgpackCodec:
        """What the msgpack package takes: ``use_single_float``, ``use_bin_type`` and ``raw``."""
        options = Options("msgpack2", configuration)
        flags = {"use_single_float": False, "use_bin_type": True}
        writing = {member: options.choice(member, _FLAG, default) for member, default in flags.items()}
        raw = options.choice("raw", _FLAG, False)
        options.end(lenient=True)
        _check_objects(options, spec)
        try:
            _msgpack()
        except ImportError:
            raise options.error("it needs the package msgpack: pip install msgpack") from None
        return cls(spec, raw, writing)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The document; what MessagePack cannot say is an error."""
        try:
            return bytes(_msgpack().packb(_document(array), **self.writing))
        except _DAMAGE as error:
            raise CodecError(f"a chunk cannot be written as MessagePack: {error}", codec="msgpack2") from None

    def decode(self, data: Buffer) -> Array:
        """The elements."""
        try:
            items = _msgpack().unpackb(data, raw=self.raw, strict_map_key=False)
        except (*_DAMAGE, _msgpack().UnpackException) as error:
            raise CodecError(f"the data are no MessagePack: {error}", codec="msgpack2") from None
        return _elements("msgpack2", items, self.spec)


@dataclass(frozen=True, slots=True)
class PickleCodec:
    """A pickled array. To unpickle is to run what the data say, so it takes a caller who trusts them."""

    kind: ClassVar[Kind] = "array_to_bytes"
    spec: ChunkSpec
    protocol: int

    @classmethod
    def from_config(cls, configuration: Mapping[str, Any], spec: ChunkSpec) -> PickleCodec:
        """``protocol`` of the pickle. Without the caller's word there is no codec, for writing neither."""
        options = Options("pickle", configuration)
        protocol = options.integer("protocol", pickle.HIGHEST_PROTOCOL, low=-1, high=pickle.HIGHEST_PROTOCOL)
        options.end(lenient=True)
        if not spec.allow_pickle:
            raise UnsupportedError(
                "the array's chunks are pickled, and to unpickle them runs whatever code is in them; if you trust "
                "whoever wrote them, pass allow_pickle=True",
                codec="pickle",
            )
        return cls(spec, protocol)

    def encoded_spec(self) -> BytesSpec:
        """Any number of bytes."""
        return BytesSpec(None, 1)

    def encode(self, array: Array) -> Buffer:
        """The pickled array."""
        try:
            return pickle.dumps(np.ascontiguousarray(array).reshape(array.shape), self.protocol)
        except Exception as error:  # whatever the elements' own methods raise
            raise CodecError(f"a chunk cannot be pickled: {error}", codec="pickle") from None

    def decode(self, data: Buffer) -> Array:
        """The array, flat in the order of its memory, then in the chunk's shape."""
        if not self.spec.allow_pickle:
            raise CodecError("unpickling was not allowed", codec="pickle")
        try:
            found = pickle.loads(data)
        except Exception as error:  # whatever the elements' own methods raise
            raise CodecError(f"the data do not unpickle: {error}", codec="pickle") from None
        dtype, size = self.spec.dtype, math.prod(self.spec.shape)
        if not isinstance(found, np.ndarray) or found.dtype.newbyteorder("=") != dtype or found.size != size:
            raise CodecError(
                f"the data unpickle to no array of {size} elements of dtype {dtype}: they are damaged", codec="pickle"
            )
        return found.reshape(-1, order="A").astype(dtype).reshape(self.spec.shape)


def _msgpack() -> Any:
    """The package, which is needed only where such data are."""
    return import_module("msgpack")


def _encoding_name(encoding: str) -> str | None:
    """Python's name of a text encoding."""
    try:
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        return None


def _is_short(value: Any) -> bool:
    """Whether a value is a text of few characters."""
    return isinstance(value, str) and len(value) <= 80


def _separators(options: Options, indent: Any) -> tuple[str, str]:
    """What stands between items and behind keys; as short as can be unless there are lines to read."""
    value = options.value("separators", None)
    if value is None:
        return (",", ":") if indent is None else (", ", ": ")
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(map(_is_short, value)):
        raise options.error(f"separators is {value!r}; it has to be two short texts")
    return value[0], value[1]


def _check_objects(options: Options, spec: ChunkSpec) -> None:
    """Refuse arrays of anything but objects."""
    if spec.dtype != object:
        raise options.error(f"it stores objects, and the array has the dtype {spec.dtype}")


def _document(array: Array) -> list[Any]:
    """Elements, dtype and shape."""
    return [*np.atleast_1d(array).tolist(), array.dtype.str, list(array.shape)]


def _elements(codec: str, items: Any, spec: ChunkSpec) -> Array:
    """The chunk of a document, if its elements are as many, and its shape and dtype are such, as they have to be."""
    if not isinstance(items, list) or len(items) < 2 or items[-1] != list(spec.shape):
        raise CodecError(
            f"the document does not end with the shape {list(spec.shape)}: it is damaged, or of another chunk",
            codec=codec,
        )
    cells, dtype = items[:-2], items[-2]
    even = True
    for length in spec.shape[1:]:
        even = even and all(type(row) is list and len(row) == length for row in cells)
        cells = [cell for row in cells for cell in row] if even else []
    if not even or len(cells) != math.prod(spec.shape):
        raise CodecError(f"the elements are not laid out in the shape {list(spec.shape)}", codec=codec)
    _check_texts(codec, cells, dtype)
    return np.fromiter(cells, object, len(cells)).reshape(spec.shape)


def _check_texts(codec: str, cells: list[Any], dtype: Any) -> None:
    """Refuse a dtype that is neither that of objects nor that of the texts there are."""
    name = dtype.decode("ascii", "replace") if isinstance(dtype, bytes) else dtype
    if name in ("|O", "O", "object"):
        return
    text = _TEXT.fullmatch(name) if isinstance(name, str) else None
    if text is None or not all(isinstance(cell, str) and len(cell) <= int(text[1]) for cell in cells):
        raise CodecError(f"the elements are said to have the dtype {dtype!r} where objects have to be", codec=codec)
