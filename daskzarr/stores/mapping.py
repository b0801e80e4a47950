"""Any mapping of str to bytes as a store: a dict, a database wrapped as a mapping."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import UnsupportedError
from daskzarr.stores.protocol import Buffer, Listing, get_each
from daskzarr.stores.traffic import TRAFFIC, Traffic

_known: weakref.WeakValueDictionary[int, MappingStore] = weakref.WeakValueDictionary()
_by_token: weakref.WeakValueDictionary[str, MappingStore] = weakref.WeakValueDictionary()
_lock = threading.Lock()
_creating = threading.Lock()


class MappingStore:
    """A mapping seen as a store.

    ``KeyError`` means that a key does not exist; any other exception of the mapping is passed on. Stores
    made from one mapping object are the same store while any of them lives.

    Parameters
    ----------
    mapping
        Holds bytes-like values under string keys. To be used from several processes it has to pickle as a
        reference to shared data: a dict is copied, so writing into a dict from a cluster is refused.

    Examples
    --------
    >>> store = MappingStore({"a": b"123"})
    >>> store.get("a"), store.get("b")
    (b'123', None)
    """

    __slots__ = ("__weakref__", "copied", "mapping", "token")

    mapping: Mapping[str, Any]
    token: str
    copied: bool

    def __new__(cls, mapping: Mapping[str, Any]) -> MappingStore:
        """The store of this mapping object, if there is one; a new one otherwise."""
        with _lock:
            known = _known.get(id(mapping))
            if known is not None and known.mapping is mapping:
                return known
            store = super().__new__(cls)
            store.mapping = mapping
            store.token = uuid.uuid4().hex
            store.copied = False
            _known[id(mapping)] = _by_token[store.token] = store
            return store

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.mapping, self.token, self.shared)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MappingStore) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    @property
    def url(self) -> str:
        """The mapping's type and a token that stands for this one object."""
        return f"mapping://{type(self.mapping).__name__}-{self.token}"

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written here: not so with a dict, which pickles as a copy."""
        return bool(getattr(self.mapping, "shared", not isinstance(self.mapping, dict)))

    @property
    def can_write(self) -> bool:
        """Whether the mapping takes values at all."""
        return isinstance(self.mapping, MutableMapping)

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value, or None on ``KeyError``."""
        try:
            value = self.mapping[key]
        except KeyError:
            return None
        if not isinstance(value, bytes):
            value = _as_bytes(value)
        return value if byte_range is None else byte_range.of(value)

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """One after the other: a mapping has no other way."""
        return get_each(self, keys)

    def set(self, key: str, value: Buffer) -> None:
        """Store a copy of the value."""
        self._writable()[key] = bytes(value)

    def create(self, key: str, value: Buffer) -> bool:
        """Store a copy of the value, unless there is one. Only threads of one process keep out of each other's way."""
        mapping = self._writable()
        with _creating:
            if self.get(key) is not None:
                return False
            mapping[key] = bytes(value)
            return True

    def delete(self, key: str) -> None:
        """Remove the value; one that is not there is no error."""
        try:
            del self._writable()[key]
        except (KeyError, FileNotFoundError):
            pass

    def _writable(self) -> MutableMapping[str, Any]:
        """The mapping, if what is written to it is not lost."""
        if self.copied:
            raise UnsupportedError(
                "this is another process's copy of a mapping in memory: what is written to it would be lost; use a "
                "path or a URL, or a scheduler of threads",
                url=self.url,
            )
        if not isinstance(self.mapping, MutableMapping):
            raise UnsupportedError("this mapping can only be read", url=self.url)
        return self.mapping

    def delete_below(self, prefix: str) -> None:
        """Remove every key below ``prefix``."""
        lead = prefix + "/" if prefix else ""
        for key in [key for key in self.mapping if key.startswith(lead)]:
            self.delete(key)

    def list_dir(self, prefix: str) -> Listing:
        """By looking at every key: a mapping has no faster way."""
        lead = prefix.rstrip("/") + "/" if prefix else ""
        keys: set[str] = set()
        prefixes: set[str] = set()
        for key in list(self.mapping):
            if key.startswith(lead):
                name, slash, _ = key[len(lead) :].partition("/")
                (prefixes if slash else keys).add(name)
        return Listing(tuple(sorted(keys)), tuple(sorted(prefixes)))

    def size(self, key: str) -> int | None:
        """By reading the value: a mapping has no other way."""
        value = self.get(key)
        return None if value is None else len(value)

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below; sizes only where the values are in the memory of this process."""
        lead = prefix.rstrip("/") + "/" if prefix else ""
        for key in list(self.mapping):
            if key.startswith(lead):
                size = None if self.shared else self.size(key)
                if self.shared or size is not None:
                    yield key, size


def _unpickle(mapping: Mapping[str, Any], token: str, shared: bool) -> MappingStore:
    """The store that was pickled, if this is its process; otherwise one of the mapping that arrived here."""
    store = _by_token.get(token)
    if store is None:
        store = MappingStore(mapping)
        store.token = token
        store.copied = not shared
        _by_token[token] = store
    return store


def _as_bytes(value: Any) -> bytes:
    """A value as bytes: mappings hold arrays, memoryviews, and buffers with a ``to_bytes`` of their own."""
    return value.to_bytes() if hasattr(value, "to_bytes") else bytes(memoryview(value).cast("B"))
