"""A MongoDB collection as a store: each value a document whose id is the key, large ones in parts beside it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, StoreError
from daskzarr.stores.databases import mongodb_parts
from daskzarr.stores.databases.mongodb_errors import told
from daskzarr.stores.databases.mongodb_ids import below, documents, following, ids
from daskzarr.stores.databases.mongodb_parts import Upload, as_upload
from daskzarr.stores.databases.servers import (
    Address,
    Clients,
    batches,
    choose,
    flag,
    library,
    number,
    query,
    shown,
    take_apart,
    text,
    whole,
)
from daskzarr.stores.protocol import Buffer, Listing
from daskzarr.stores.traffic import AHEAD, TRAFFIC, Traffic

LARGEST = 15 * 2**20
"""Bytes of a value in one document, which may have 16 MiB."""
_PORT = 27017
_TRIES = 6
_PAUSE = 0.05

_DATABASE = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')
_COLLECTION = re.compile(r"(?!system\.)(?!\.)(?!.*\.\.)[^$\0]{1,200}(?<!\.)")


def _acknowledged(value: Any) -> int | str:
    """How many servers have to have a write: at least one, or its errors would be lost."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not value:
        raise ValueError
    wanted = int(value) if str(value).lstrip("-").isdecimal() else value
    if isinstance(wanted, int) and wanted < 1:
        raise ValueError
    return wanted


def _primary(value: Any) -> str:
    """Where reads go: another server than the primary may not have what was written, and call it missing."""
    if str(value).lower() != "primary":
        raise ValueError
    return "primary"


_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("database", "collection", "username", "password", "appName", "authSource", "authMechanism"), text),
    **dict.fromkeys(("authMechanismProperties", "compressors", "readConcernLevel", "replicaSet"), text),
    **dict.fromkeys(("tlsCAFile", "tlsCRLFile", "tlsCertificateKeyFile", "tlsCertificateKeyFilePassword"), text),
    **dict.fromkeys(("serverMonitoringMode", "srvServiceName"), text),
    **dict.fromkeys(("directConnection", "journal", "loadBalanced", "retryReads", "retryWrites", "tls"), flag),
    **dict.fromkeys(("tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsInsecure"), flag),
    **dict.fromkeys(("tlsDisableOCSPEndpointCheck",), flag),
    **dict.fromkeys(("connectTimeoutMS", "heartbeatFrequencyMS", "maxIdleTimeMS", "serverSelectionTimeoutMS"), number),
    **dict.fromkeys(("socketTimeoutMS", "timeoutMS", "waitQueueTimeoutMS", "wTimeoutMS", "maxConnecting"), number),
    **dict.fromkeys(("maxPoolSize", "minPoolSize", "srvMaxHosts", "zlibCompressionLevel"), number),
    "w": _acknowledged,
    "readPreference": _primary,
}
_DEFAULTS = {"serverSelectionTimeoutMS": 10_000, "socketTimeoutMS": 60_000, "maxPoolSize": 0}

_clients = Clients()
_collections = Clients()


class _Collections(NamedTuple):
    """The collections of a store."""

    documents: Any
    parts: Any


@dataclass(frozen=True, slots=True)
class MongoDBStore:
    """A collection of a MongoDB database.

    A value is one document; a value of more than 15 MiB is in parts of 1 MiB in the collection ``NAME.parts``, and the
    document of its key names them. Either way a value is replaced by replacing its document, and created by inserting
    that. A piece of a value is read from the parts it lies in; of a value of up to 15 MiB all is read. A writer that is
    killed may leave parts that no document names (:meth:`leftovers`). Reads go to the primary.

    Parameters
    ----------
    server
        ``mongodb://host:port``, several hosts with commas between, or ``mongodb+srv://host``.
    database, collection
        Where the documents are.
    sync
        Whether a write returns when most servers have it in the journals on their disks.
    access
        Further options of pymongo, passwords among them, as JSON.

    Examples
    --------
    >>> MongoDBStore("mongodb://127.0.0.1:27017", "lab").url
    'mongodb://127.0.0.1:27017/lab?collection=zarr'
    """

    server: str
    database: str
    collection: str = "zarr"
    sync: bool = False
    access: str = field(default="{}", repr=False)

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> MongoDBStore:
        """The store at ``mongodb://[user:password@]host[:port][,host...]/database[?collection=zarr]``.

        Parameters
        ----------
        url
            Also ``mongodb+srv://``. Further parameters are those of MongoDB's connection strings.
        storage_options
            The same options, or ``username`` and ``password``. A server is looked for 10 s, and may take 60 s to
            answer, unless they say otherwise.
        """
        address = take_apart(url)
        options = choose(_KINDS, address, {"database": address.path.strip("/") or None}, storage_options)
        database, collection = options.pop("database", ""), options.pop("collection", "zarr")
        if _DATABASE.fullmatch(database) is None:
            raise MetadataError("the URL names no database as in mongodb://host/database", field="url")
        if _COLLECTION.fullmatch(collection) is None:
            raise MetadataError("a collection cannot have this name", field="collection")
        store = cls(_server(address), database, collection, access=json.dumps(options, sort_keys=True))
        errors = library("pymongo", "mongodb").errors
        try:
            store._client  # noqa: B018  # says what it does not like of the options; connects to nothing yet
        except (errors.ConfigurationError, TypeError, ValueError, OSError) as error:
            raise MetadataError(f"pymongo takes no such options: {shown(error, options)}", field="url") from None
        return store

    @property
    def url(self) -> str:
        """Server, database and collection."""
        return f"{self.server}/{self.database}{query(collection=self.collection)}"

    @property
    def shared(self) -> bool:
        """Other processes see the server."""
        return True

    @property
    def waits(self) -> bool:
        """Requests wait for the server, which serves several at once."""
        return True

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value of a document, or from its parts."""
        if byte_range is not None:
            return self.get_ranges(key, [byte_range])[0]
        with told(self):
            found = self._values(key, self._all.documents.find_one({"_id": key}), [ByteRange(0)])
        return None if found is None else found[0]

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values of as many keys by one request as the traffic allows to have asked for."""
        with told(self):
            for batch in batches(keys, AHEAD * traffic.requests):
                found = {each["_id"]: each for each in self._all.documents.find({"_id": {"$in": list(set(batch))}})}
                for key in batch:
                    values = self._values(key, found.get(key), [ByteRange(0)])
                    yield None if values is None else values[0]

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """Parts of a value, all of the same one: cut out of the whole, unless that is in parts."""
        with told(self):
            found = self._values(key, self._all.documents.find_one({"_id": key}), byte_ranges)
        return [None] * len(byte_ranges) if found is None else found

    def size(self, key: str) -> int | None:
        """As the document says."""
        with told(self):
            found = self._all.documents.find_one({"_id": key}, {"size": 1})
        return None if found is None else self._size(found)

    def set(self, key: str, value: Buffer) -> None:
        """Put the document in the place of the old one, then remove what parts that had."""
        with told(self):
            self._store(key, value, self._put)

    def create(self, key: str, value: Buffer) -> bool:
        """Insert the document."""
        with told(self):
            return self._store(key, value, self._insert)

    def delete(self, key: str) -> None:
        """Remove the document and its parts; what is not there is no error."""
        with told(self):
            old = self._all.documents.find_one_and_delete({"_id": key}, {"parts": 1})
            self._remove_parts(old)
            upload = as_upload(key)
            if upload is not None:  # it may be a leftover
                mongodb_parts.sweep(self._all.parts, self._all.documents, upload)

    def delete_below(self, prefix: str) -> None:
        """Remove documents by one request, then the parts of each that had some."""
        span = below(prefix)
        with told(self):
            found = list(mongodb_parts.uploads(self._all.parts, span))
            self._all.documents.delete_many({"_id": span.query})
            for upload, claimed in found:
                if claimed:  # another process may be about to put its document
                    mongodb_parts.sweep(self._all.parts, self._all.documents, upload)
                else:
                    mongodb_parts.remove(self._all.parts, upload)

    def list_dir(self, prefix: str) -> Listing:
        """Names directly below: of a folder the first keys are looked at, and then those behind it."""
        span = below(prefix)
        lead = len(span.start)

        def behind(key: str) -> str:
            name, slash, _ = key[lead:].partition("/")
            return below(key[:lead] + name).stop or "" if slash and name else following(key)

        with told(self):
            names = [key[lead:].partition("/") for key in ids(self._all.documents, span, behind)]
        keys = tuple(name for name, slash, _ in names if name and not slash)
        return Listing(keys, tuple(sorted({name for name, slash, _ in names if name and slash})))

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below, and the sizes of their values as the documents say."""
        with told(self):
            for found in documents(self._all.documents, below(prefix), {"size": 1}):
                yield found["_id"], _counted(found.get("size"))

    def leftovers(self, prefix: str) -> Iterator[str]:
        """Uploads of parts that are not finished, or that no document names: of writers that were killed."""
        with told(self):
            for upload, claimed in list(mongodb_parts.uploads(self._all.parts, below(prefix))):
                named = None if claimed else self._all.documents.find_one({"_id": upload.key}, {"parts": 1})
                if named is None or named.get("parts") != upload.name:
                    yield upload.claim

    def synced(self) -> MongoDBStore:
        """The same collection, and every write on the disks of most servers when it returns."""
        return replace(self, sync=True)

    def sibling(self, ending: str) -> MongoDBStore:
        """The collection with the ending."""
        return replace(self, collection=self.collection + ending)

    # Values

    def _values(self, key: str, found: Any, byte_ranges: Sequence[ByteRange]) -> Sequence[Buffer] | None:
        """Parts of the value of a document; if its own parts are gone, it is looked for again."""
        for attempt in range(_TRIES):
            if found is None:
                return None
            size = self._size(found)
            self._check(found, size)
            bounds = [byte_range.bounds(size) for byte_range in byte_ranges]
            if "parts" not in found:
                value: bytes = found["value"]
                return [value if stop - start == len(value) else value[start:stop] for start, stop in bounds]
            values: Sequence[Buffer] | None = mongodb_parts.fetch(
                self._all.parts, Upload(key, found["parts"]), found, bounds
            )
            if values is not None:
                return values
            time.sleep(_PAUSE * attempt)
            found = self._all.documents.find_one({"_id": key})
        raise StoreError("parts of the value are gone, though its document names them: it is damaged", url=self.url)

    def _size(self, found: Mapping[str, Any]) -> int:
        """The size a document says, if it is one of a store."""
        size = _counted(found.get("size"))
        if size is None:
            raise self._damaged(found)
        return size

    def _check(self, found: Mapping[str, Any], size: int) -> None:
        """Make sure that a document has a value, or names parts."""
        value = found.get("value")
        has_parts = isinstance(found.get("parts"), str) and bool(_counted(found.get("part")))
        if not has_parts and not (isinstance(value, bytes) and len(value) == size):
            raise self._damaged(found)

    def _damaged(self, found: Mapping[str, Any]) -> StoreError:
        """The error of a document that is none of a store."""
        return StoreError("the document is damaged, or none of a store", url=self.url, chunk_key=str(found["_id"]))

    def _store(self, key: str, value: Buffer, put: Callable[[dict[str, Any]], bool]) -> bool:
        """Put a value by its document, after its parts if it has to have them."""
        data = whole(value)
        if len(data) <= LARGEST:
            return put({"_id": key, "size": len(data), "value": bytes(data)})
        upload = mongodb_parts.send(self._all.parts, key, data)
        if not put(_document(upload, len(data))):
            mongodb_parts.remove(self._all.parts, upload)
            return False
        while not mongodb_parts.finish(self._all.parts, upload):  # taken for a leftover, or replaced already
            named = {"_id": key, "parts": upload.name}
            if self._all.documents.find_one(named, {"_id": 1}) is None:
                return True
            again = mongodb_parts.send(self._all.parts, key, data)
            replaced = self._all.documents.replace_one(named, _document(again, len(data))).matched_count
            mongodb_parts.remove(self._all.parts, upload if replaced else again)
            if not replaced:
                return True
            upload = again
        return True

    def _put(self, document: dict[str, Any]) -> bool:
        """Put a document in the place of any other, and remove the parts of that."""
        taken = library("pymongo", "mongodb").errors.DuplicateKeyError
        key = document["_id"]
        try:
            self._all.documents.replace_one({"_id": key, "parts": None}, document, upsert=True)
            return True
        except taken:
            pass  # there is one with parts, or another process was first
        for attempt in range(_TRIES):
            try:
                old = self._all.documents.find_one_and_replace({"_id": key}, document, {"parts": 1}, upsert=True)
                self._remove_parts(old)
                return True
            except taken:  # removed and created in between
                time.sleep(_PAUSE * attempt)
        raise ConnectionError("other processes put and removed the document again and again")

    def _insert(self, document: dict[str, Any]) -> bool:
        """Put a document where there is none."""
        try:
            self._all.documents.insert_one(document)
            return True
        except library("pymongo", "mongodb").errors.DuplicateKeyError:
            return False

    def _remove_parts(self, old: Mapping[str, Any] | None) -> None:
        """Remove the parts of a document that is no more."""
        if old is not None and "parts" in old:
            mongodb_parts.remove(self._all.parts, Upload(old["_id"], old["parts"]))

    # How the server is asked

    @property
    def _all(self) -> _Collections:
        """This process's collections."""
        found: _Collections = _collections.get(self, self._find)
        return found

    def _find(self) -> _Collections:
        """The collections, with what their writes wait for."""
        concern = library("pymongo", "mongodb").WriteConcern("majority", j=True) if self.sync else None
        here = self._client[self.database]
        names = (self.collection, self.collection + ".parts")
        return _Collections(*(here.get_collection(name, write_concern=concern) for name in names))

    @property
    def _client(self) -> Any:
        """This process's client, which several stores may have in common."""
        return _clients.get((self.server, self.database, self.access), self._open)

    def _open(self) -> Any:
        """A client, which connects when it is used."""
        options = {**_DEFAULTS, **json.loads(self.access)}
        client = library("pymongo", "mongodb").MongoClient
        return client(f"{self.server}/{self.database}", connect=False, **options)


def _server(address: Address) -> str:
    """Scheme and hosts, each with its port."""
    hosts = address.hosts.lower().split(",")
    if not all(re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-f:.]+\])(:\d+)?", host) for host in hosts):
        raise MetadataError("the URL has no host and port like mongodb://127.0.0.1:27017", field="url")
    if address.scheme == "mongodb":
        hosts = [host if re.search(r":\d+$|\.sock$", host) else f"{host}:{_PORT}" for host in hosts]
    return f"{address.scheme}://{','.join(hosts)}"


def _document(upload: Upload, size: int) -> dict[str, Any]:
    """The document of a value in parts."""
    return {"_id": upload.key, "size": size, "parts": upload.name, "part": mongodb_parts.PART}


def _counted(number: Any) -> int | None:
    """A number of bytes, if it is one; large ones come as integers of a class of their own."""
    return int(number) if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None
