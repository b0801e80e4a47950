"""A bucket's prefix as a store by obstore: fewer milliseconds for each request than a file system of fsspec takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.credentials import public_identity
from daskzarr.stores.local import LocalStore
from daskzarr.stores.overlap import in_threads
from daskzarr.stores.protocol import Buffer, Listing, Store
from daskzarr.stores.remote.object_client import (
    SERVICES,
    Opening,
    check_usable,
    client,
    explained,
    folder_of,
    is_missing,
    memory,
    opening_of,
)
from daskzarr.stores.remote.object_options import opening_at, prefers_objects
from daskzarr.stores.remote.object_requests import REPLACED, TRIES, Part, delete, put, put_new, read, read_part
from daskzarr.stores.traffic import TRAFFIC, Traffic

_Result = TypeVar("_Result")

_SCHEME = "obstore::"
_LISTED = 1000
_PLACE_SETTINGS = ("endpoint", "account_name", "base_url")


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The objects below a prefix, by a client of obstore: S3, Azure, Google Cloud Storage, the web.

    A value is put as a whole. A big one goes in parts, which are an object once the last request says so; a process
    that dies before leaves parts that no listing of objects shows. ``create`` is up to the service. Requests run in
    threads, without Python's lock; values are views of what was received.

    Parameters
    ----------
    opening
        What opens the client, made anew in each process.
    url
        Canonical place, without credentials.
    held
        The client itself, where it cannot be made again: a store in memory.

    Examples
    --------
    >>> import obstore.store  # doctest: +SKIP
    >>> store = object_store_of(obstore.store.MemoryStore())  # doctest: +SKIP
    >>> store.set("a", b"123")  # doctest: +SKIP
    >>> bytes(store.get("a")), store.get("b")  # doctest: +SKIP
    (b'123', None)
    """

    opening: Opening = field(repr=False)
    url: str
    held: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> ObjectStore:
        """The store at ``obstore::s3://bucket/prefix``, or such a URL of Azure, Google Cloud Storage or the web.

        Options are those of obstore's class, ``client_options``, ``retry_config`` and ``credential_provider``; names
        that s3fs and adlfs have for the same things do as well.
        """
        place = url.removeprefix(_SCHEME)
        opening = opening_at(place, storage_options)
        client(opening)  # options that are none are found here
        return cls(opening, _one_spelling(opening, place))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.opening, self.url)

    @property
    def identity(self) -> str:
        """What tells the place from others with the same ``url``: the server, the account."""
        config = self.opening.settings.get("config", {})
        return public_identity(self.url, {name: config[name] for name in _PLACE_SETTINGS if name in config})

    @property
    def waits(self) -> bool:
        """Whether requests mostly wait on a network."""
        return self.opening.name != "MemoryStore"

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written here."""
        return self.opening.name != "MemoryStore"

    @property
    def can_write(self) -> bool:
        """Whether objects can be put: not on a web server."""
        return self.opening.name != "HTTPStore"

    @property
    def can_create(self) -> bool:
        """Whether the service puts an object only where there is none."""
        return self.can_write and self.opening.settings.get("config", {}).get("conditional_put") != "disabled"

    # Reading

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The object or a part of it; None only where the service says "not found"."""
        if byte_range is None:
            return self._ask(key, partial(read, key=key))
        found = self._part(key, byte_range)
        return None if found is None else found.value

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The objects in order, several requests at once where they wait on a network."""
        return in_threads(self.get, keys, traffic) if self.waits and len(keys) > 1 else map(self.get, keys)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of one object, all of one version of it, by a request for each, several at once."""
        for _ in range(TRIES):
            parts = [*self._parts(key, byte_ranges, traffic)]
            found = [part for part in parts if part is not None]
            if len(found) == len(parts) and len({part.version for part in found} - {None}) < 2:
                return [part.value for part in found]
            if not found:
                return [None] * len(byte_ranges)
        raise StoreError(REPLACED, url=self.url, chunk_key=key) from ConnectionError()

    def _parts(self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic) -> Iterator[Part | None]:
        """Parts of one object as they come."""
        several = self.waits and len(byte_ranges) > 1
        part = partial(self._part, key)
        return in_threads(part, byte_ranges, traffic) if several else map(part, byte_ranges)

    def _part(self, key: str, byte_range: ByteRange) -> Part | None:
        """A part of one object."""
        return self._ask(key, partial(read_part, key=key, byte_range=byte_range))

    def size(self, key: str) -> int | None:
        """The object's size."""
        noted = self._ask(key, lambda opened: opened.head(key))
        return None if noted is None else int(noted["size"])

    # Writing

    def set(self, key: str, value: Buffer) -> None:
        """Put the object: all of it, or nothing."""
        if self._ask(key, partial(put, key=key, value=self._flat(value))) is None:
            raise self._no_bucket(key)

    def create(self, key: str, value: Buffer) -> bool:
        """Put the object if the service says that there is none; that request is sent once only."""
        request = partial(put_new, key=key, value=self._flat(value))
        created = self._ask(key, request, once=self.opening.name in SERVICES)
        if created is None:
            raise self._no_bucket(key)
        return created

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        self._writable()
        self._ask(key, partial(delete, keys=[key]))

    def delete_below(self, prefix: str) -> None:
        """Remove all below, a thousand with one request where the service has one for that."""
        self._writable()
        lead = f"{prefix}/" if prefix else ""
        for noted in self._all_below(prefix):
            keys = [path for path, _ in noted if path.startswith(lead)]
            if keys and self._ask(prefix, partial(delete, keys=keys)) is None:
                for key in keys:  # one was gone already, which may have stopped it
                    self.delete(key)

    def synced(self) -> ObjectStore:
        """The store itself: a put that was answered is stored for good."""
        if self.opening.name not in SERVICES:
            raise UnsupportedError("this store does not wait until what is written is on disk", url=self.url)
        return self

    # Listing

    def list_dir(self, prefix: str) -> Listing:
        """Objects directly below, and the prefixes of others."""
        prefix = prefix.rstrip("/")
        found = self._listed(prefix, lambda opened: opened.list_with_delimiter(prefix or None))
        if found is None:
            return Listing((), ())
        lead = f"{prefix}/" if prefix else ""
        keys = {noted["path"][len(lead) :] for noted in found["objects"] if noted["path"].startswith(lead)}
        folders = {path.rstrip("/")[len(lead) :] for path in found["common_prefixes"] if path.startswith(lead)}
        return Listing(tuple(sorted(keys - {""})), tuple(sorted(folders - {""})))

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All objects below with their sizes, as many with one request as the service gives."""
        prefix = prefix.rstrip("/")
        lead = f"{prefix}/" if prefix else ""
        for noted in self._all_below(prefix):
            for path, size in noted:
                # What some programs put for a folder looks like an empty object of the folder's name, and is none.
                if path.startswith(lead) and (size or self.size(path) is not None):
                    yield path, size

    def _all_below(self, prefix: str) -> Iterator[list[tuple[str, int]]]:
        """Paths and sizes of all objects below, in batches."""
        stream = self._listed(prefix, lambda opened: iter(opened.list(prefix or None, chunk_size=_LISTED)))
        while stream is not None:
            batch = self._listed(prefix, lambda _: next(stream, None))
            if batch is None:
                return
            yield [(noted["path"], int(noted["size"])) for noted in batch]

    def _listed(self, prefix: str, request: Callable[[Any], _Result]) -> _Result | None:
        """What a listing gives; None where there is no bucket."""
        if self.opening.name == "HTTPStore":
            raise UnsupportedError(
                "obstore does not list what is on a web server; without 'obstore::' pages with links are read",
                url=self.url,
            )
        return self._ask(prefix, request)

    # Places around

    def sibling(self, ending: str) -> Store | None:
        """The prefix of this one's name with an ending; none for a whole bucket, a web server and a store in memory."""
        if self.opening.name not in SERVICES or not self.opening.root:
            return None
        return replace(self, opening=replace(self.opening, root=self.opening.root + ending), url=self.url + ending)

    def parent(self) -> tuple[ObjectStore, str] | None:
        """The store whose prefix is the folder above, and the name in it; None where that is no prefix."""
        above, _, name = self.opening.root.rpartition("/")
        if self.opening.name not in SERVICES or not above or not self.url.endswith(f"/{name}"):
            return None
        url = self.url.removesuffix(f"/{name}")
        return replace(self, opening=replace(self.opening, root=above), url=url), name

    # Asking

    def _ask(self, key: str, request: Callable[[Any], _Result], *, once: bool = False) -> _Result | None:
        """What a request to the client gives; None where the service says "not found"."""
        opened = self._client(once)
        try:
            return request(opened)
        except Exception as error:
            if is_missing(error):
                return None
            failure = explained(error, self.url, key)
        raise failure

    def _client(self, once: bool) -> Any:
        """The client of this process."""
        if self.opening.name != "MemoryStore":
            return client(self.opening.once() if once else self.opening)
        check_usable(self.url)
        if self.held is None:
            raise UnsupportedError(
                "this store is in the memory of another process, and would seem empty here; use a URL that all "
                "processes see, or a scheduler of threads",
                url=self.url,
            )
        return self.held

    def _flat(self, value: Buffer) -> Buffer:
        """A value as obstore takes it: bytes in a row, that are its own where it keeps them."""
        self._writable()
        view = memoryview(value)
        if self.opening.name == "MemoryStore" or not view.c_contiguous or not view.nbytes:
            return bytes(view)
        return view.cast("B")

    def _writable(self) -> None:
        """Refuse to write to a web server."""
        if not self.can_write:
            raise UnsupportedError("a web server can only be read", url=self.url)

    def _no_bucket(self, key: str) -> StoreError:
        """What is raised when an object cannot be put because its bucket is missing."""
        return StoreError("there is no such bucket or container", url=self.url, chunk_key=key)


def object_store_of(place: Any) -> ObjectStore | LocalStore | None:
    """The store of a client of obstore that the user made, or of zarr-python's store that holds one; otherwise None."""
    if type(place).__module__.startswith("zarr.") and type(place).__name__ == "ObjectStore":
        place = place.store
    folder = folder_of(place)
    if folder is not None:
        return LocalStore(folder)  # the same files, without the ways of an object store
    opening = opening_of(place)
    if opening is None:
        return None
    return ObjectStore(opening, opening.url, held=place if opening.name == "MemoryStore" else None)


def preferred_objects(url: str, storage_options: Mapping[str, Any]) -> ObjectStore | None:
    """The store by obstore, where that is the faster one and everything means the same to it; otherwise None."""
    opening = prefers_objects(url, storage_options)
    return None if opening is None else ObjectStore(opening, _one_spelling(opening, url))


def _one_spelling(opening: Opening, url: str) -> str:
    """The URL as it is shown, with scheme and bucket as they were given."""
    if opening.name not in SERVICES:
        return opening.url
    scheme, _, place = url.partition("://")
    return f"{scheme}://{place.partition('/')[0]}/{opening.root}".rstrip("/")


def _again(opening: Opening, url: str) -> ObjectStore:
    """The store that was pickled. One in another process's memory says so when it is used."""
    return ObjectStore(opening, url, held=memory(opening.root) if opening.name == "MemoryStore" else None)
