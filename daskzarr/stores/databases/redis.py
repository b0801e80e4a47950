"""A Redis server as a store: each value a string of Redis, under a prefix or in a whole database."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import MetadataError, StoreError, UnsupportedError
from daskzarr.stores.databases.redis_errors import answer_code, told
from daskzarr.stores.databases.servers import (
    Address,
    Clients,
    choose,
    flag,
    is_here,
    library,
    number,
    query,
    seconds,
    shown,
    take_apart,
    text,
    whole,
)
from daskzarr.stores.protocol import Buffer, Listing
from daskzarr.stores.traffic import TRAFFIC, Traffic

_PORT = 6379
_UNIX = "redis+unix"
_LARGEST = 512 * 2**20
_LEAST_LIMIT = 2**20
_IN_FLIGHT = 8 * 2**20  # bytes the server keeps ready for one reader: at 50 ms a request that is 160 MB/s
_LINES = 2
_PAGE = 1000
_SCANNED = 10_000  # keys looked at by one run of the script: it holds the server up for some milliseconds
_FAR = 2**62


def _host(value: Any) -> str:
    """A name or an address."""
    return text(value).strip("[]").lower()


_PLACE = {"host": _host, "port": number, "db": number, "ssl": flag, "prefix": text}
_ACCESS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("username", "password", "client_name"), text),
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "health_check_interval"), seconds),
    **dict.fromkeys(("max_connections", "socket_read_size", "protocol", "ssl_min_version"), number),
    **dict.fromkeys(("socket_keepalive", "ssl_check_hostname"), flag),
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_cert_reqs", "ssl_ciphers"), text),
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_password"), text),
}
# A time-out has to be enough for the whole of a large value to be sent. What is tried again is not the client's to say:
# it would take its own first attempt to create a key for another process's.
_DEFAULTS = {"socket_timeout": 60.0, "socket_connect_timeout": 10.0, "max_connections": 2**31 - 1, "protocol": 2}

# One page of SCAN, of which only the names directly below a prefix come over the network, each once.
_NAMES = """
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local first, seen, names = tonumber(ARGV[4]), {}, {}
for _, key in ipairs(page[2]) do
  local name = string.sub(key, first, (string.find(key, '/', first, true)) or -1)
  if not seen[name] then
    seen[name] = true
    names[#names + 1] = name
  end
end
return {page[1], names}
"""

Command = tuple[Any, ...]
About = Callable[[list[bytes]], Sequence[Command]]
Names = set[bytes]

_clients = Clients()


class _Line:
    """A connection for the use of one caller, taken from the pool when something is sent."""

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self.waiting = 0

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, each of which will be answered."""
        if self._connection is None:
            self._connection = self._pool.get_connection()
        self.waiting += len(commands)
        self._connection.send_packed_command(self._connection.pack_commands(commands))

    def answer(self) -> Any:
        """The next answer. One that is an error is raised, and it is not known then what else will come."""
        answer = self._connection.read_response()
        self.waiting -= 1
        return answer

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is None:
            return
        if self.waiting:
            self._connection.disconnect()  # answers that nobody waits for may be on their way
        self._pool.release(self._connection)


@dataclass(frozen=True, slots=True)
class RedisStore:
    """The keys of a Redis database that begin with a prefix and a colon, or all of them.

    A key is laid out as zarr-python 2 did: ``prefix:path/name``. A value is put by one command, all or nothing; a key
    is created by ``SET NX``. Several values are asked for before the first has come. Parts of a value are read in one
    transaction, so that they are of one value. A listing goes through every key of the database, also those of other
    prefixes. Without a prefix all that is in the database belongs to the store, and ``delete_below("")`` empties it.

    The server must not evict keys (``maxmemory-policy noeviction``, its default): a chunk that went away reads as fill.
    How much a crash of the server loses is for its configuration to say (``appendonly``, ``appendfsync``). A single
    server is needed, the primary if there are replicas; neither Redis Cluster nor Sentinel is supported.

    Parameters
    ----------
    server
        ``redis://host:port``, ``rediss://host:port`` with TLS, or ``redis+unix:///path/of/socket``.
    db
        Number of the database.
    prefix
        What the keys begin with. Default: the store is the whole database.
    access
        Further options of redis-py, passwords among them, as JSON.

    Examples
    --------
    >>> RedisStore("redis://127.0.0.1:6379", 2, "a/b", '{"password": "secret"}')
    RedisStore(server='redis://127.0.0.1:6379', db=2, prefix='a/b')
    """

    server: str
    db: int = 0
    prefix: str = ""
    access: str = field(default="{}", repr=False)

    @classmethod
    def from_url(cls, url: str, storage_options: Mapping[str, Any]) -> RedisStore:
        """The store at ``redis://[user:password@]host[:port][/db][?prefix=a]``.

        Parameters
        ----------
        url
            Also ``rediss://`` for TLS, and ``redis+unix:///path/of/socket?db=0``. Further parameters are options of
            redis-py.
        storage_options
            Options of redis-py. Time-outs are 60 s for an answer and 10 s for a connection unless they say otherwise.
        """
        address = take_apart(url)
        kinds = _PLACE | _ACCESS if address.scheme != _UNIX else {"db": number, "prefix": text} | _ACCESS
        options = choose(kinds, address, _placed(address), storage_options)
        db, prefix = options.pop("db", 0), options.pop("prefix", "")
        store = cls(_server(address, options), db, prefix, json.dumps(options, sort_keys=True))
        try:
            store._client  # noqa: B018  # says what it does not like of the options; connects to nothing yet
        except (TypeError, ValueError, OSError) as error:
            raise MetadataError(f"redis-py takes no such options: {shown(error, options)}", field="url") from None
        return store

    @property
    def url(self) -> str:
        """Server, database and prefix."""
        if self.server.startswith(_UNIX):
            return self.server + query(db=str(self.db), prefix=self.prefix)
        return f"{self.server}/{self.db}{query(prefix=self.prefix)}"

    @property
    def shared(self) -> bool:
        """Other processes see the server."""
        return True

    @property
    def waits(self) -> bool:
        """Whether the server is on another machine; on this one several threads are slower than one."""
        return not (self.server.startswith(_UNIX) or is_here(self.server.partition("://")[2].rpartition(":")[0]))

    def get(self, key: str, byte_range: ByteRange | None = None) -> Buffer | None:
        """The value by GET; a part of it by GETRANGE."""
        if byte_range is not None:
            return self.get_ranges(key, [byte_range])[0]
        value: bytes | None = self._ask("get", self._raw(key))
        return value

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values on two connections in turn, so that one is always asked for more while the other is read."""
        return self._stream([self._raw(key) for key in keys], traffic)

    def _stream(self, raw: Sequence[bytes], traffic: Traffic) -> Iterator[Buffer | None]:
        """Ask for some values, and for some more, before the first are read. MGET would take a list for no value.

        Each connection is read to its end before it is asked again: redis-py keeps what it read until then.
        """
        asked, most, largest = 0, traffic.requests, 1
        with told(self), ExitStack() as stack:
            free, busy = [stack.enter_context(_Line(self._client)) for _ in range(_LINES)], deque[_Line]()
            while asked < len(raw) or busy:
                while free and asked < len(raw):
                    line, some = free.pop(), raw[asked : asked + most]
                    line.send([("GET", key) for key in some])
                    busy.append(line)
                    asked += len(some)
                line = busy.popleft()
                while line.waiting:
                    value = line.answer()
                    largest = max(largest, len(value or b""))
                    yield value
                free.append(line)
                most = max(min(traffic.requests, _IN_FLIGHT // (_LINES * largest)), 1)

    def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRange], traffic: Traffic = TRAFFIC
    ) -> Sequence[Buffer | None]:
        """The parts, and whether there is a value, in one transaction: GETRANGE alone does not tell that."""
        raw = self._raw(key)
        spans = [_span(byte_range) for byte_range in byte_ranges]
        commands = [("GETRANGE", raw, *span) for span in spans if span is not None]
        there, *parts = self._together([("EXISTS", raw), *commands])
        if not there:
            return [None] * len(byte_ranges)
        found = iter(parts)
        return [b"" if span is None else _cut(next(found), r) for span, r in zip(spans, byte_ranges, strict=True)]

    def size(self, key: str) -> int | None:
        """By STRLEN, which says 0 where there is nothing."""
        raw = self._raw(key)
        there, size = self._together([("EXISTS", raw), ("STRLEN", raw)])
        return int(size) if there else None

    def set(self, key: str, value: Buffer) -> None:
        """Put the value by one command. One of more than 512 MiB is refused, unless the server takes it."""
        self._put("set", key, value)

    def create(self, key: str, value: Buffer) -> bool:
        """Put the value by ``SET NX``."""
        return bool(self._put("set", key, value, nx=True))

    def append(self, key: str, value: Buffer) -> None:
        """Add to the value by APPEND, which adds all or nothing."""
        self._put("append", key, value)

    def delete(self, key: str) -> None:
        """Remove the value; one that is not there is no error."""
        self._ask("unlink", self._raw(key))

    def delete_below(self, prefix: str) -> None:
        """Remove page after page of keys, found by going through the whole database."""
        for _ in self._pages(prefix, lambda keys: [("UNLINK", *keys)]):
            pass

    def list_dir(self, prefix: str) -> Listing:
        """Names directly below, found by going through the whole database: about 2 s for a million keys.

        A script on the server sends each name once. Where scripts are not allowed, every key comes, in thrice the time.
        """
        lead = self._lead(prefix)
        found = self._names(lead)
        if found is None:
            found = {_name(key[len(lead) :]) for keys, _ in self._pages(prefix) for key in keys}
        names = sorted(name.decode("utf-8", "surrogateescape") for name in found)
        folders = tuple(name[:-1] for name in names if name.endswith("/") and len(name) > 1)
        return Listing(tuple(name for name in names if name and not name.endswith("/")), folders)

    def survey(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """All keys below, found by going through the whole database, and the sizes of their values."""
        top, seen = len(self._lead("")), Names()
        for keys, sizes in self._pages(prefix, lambda keys: [("STRLEN", key) for key in keys]):
            for raw, size in zip(keys, sizes, strict=True):
                if raw in seen:  # Redis may name a key twice
                    continue
                seen.add(raw)
                key = raw[top:].decode("utf-8", "surrogateescape")
                found = None if isinstance(size, Exception) else size or self.size(key)
                if found is not None or isinstance(size, Exception):
                    yield key, found

    def sibling(self, ending: str) -> RedisStore | None:
        """The keys under the prefix with the ending; a store that is a whole database has no place beside it."""
        return replace(self, prefix=self.prefix + ending) if self.prefix else None

    # How the server is asked

    @property
    def _client(self) -> Any:
        """This process's client, with a pool of connections."""
        return _clients.get((self.server, self.db, self.access), self._open)

    def _open(self) -> Any:
        """A client, which connects when it is used."""
        redis = library("redis", "redis")
        scheme, _, place = self.server.partition("://")
        host, _, port = place.rpartition(":")
        options: dict[str, Any] = {**_DEFAULTS, **json.loads(self.access)}
        options |= {"unix_socket_path": place} if scheme == _UNIX else {"host": host.strip("[]"), "port": int(port)}
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis(db=self.db, ssl=scheme == "rediss", retry=once, **options)

    def _raw(self, key: str) -> bytes:
        """The key of Redis."""
        raw = f"{self.prefix}:{key}" if self.prefix else key
        return raw.encode("utf-8", "surrogateescape")

    def _lead(self, prefix: str) -> bytes:
        """What keys of Redis below a prefix begin with."""
        return self._raw(prefix.rstrip("/") + "/" if prefix else "")

    def _ask(self, command: str, *args: Any, **options: Any) -> Any:
        """Send one command."""
        with told(self):
            return getattr(self._client, command)(*args, **options)

    def _together(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands with one request, to be carried out with none of another client in between."""
        with told(self), _Line(self._client) as line:
            line.send([("MULTI",), *commands, ("EXEC",)])
            for _ in range(len(commands) + 1):
                line.answer()
            answers: list[Any] = line.answer()
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    def _one_by_one(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands with one request. An answer may be the error that a key is none of a value."""
        with told(self), self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and answer_code(answer) != "WRONGTYPE":
                    raise answer
            return answers

    def _pages(self, prefix: str, about: About = lambda keys: ()) -> Iterator[tuple[list[bytes], list[Any]]]:
        """Keys of Redis below a prefix, page by page, and what commands about them gave; one request a page."""
        pattern = _as_pattern(self._lead(prefix))
        cursor, keys, more = 0, list[bytes](), True
        while keys or more:
            commands = [*about(keys)] if keys else []
            scan = [("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)] if more else []
            answers = self._one_by_one([*commands, *scan])
            if keys:
                yield keys, answers[: len(commands)]
            cursor, keys = answers[-1] if more else (0, [])
            more = int(cursor) != 0

    def _names(self, lead: bytes) -> Names | None:
        """Names directly below, those of folders with a slash; None where the server runs no scripts."""
        refused = library("redis", "redis").exceptions.ResponseError
        pattern, found, cursor = _as_pattern(lead), Names(), b"0"
        with told(self):
            try:
                while True:
                    cursor, names = self._client.eval(_NAMES, 0, cursor, pattern, _SCANNED, len(lead) + 1)
                    found.update(names)
                    if int(cursor) == 0:
                        return found
            except refused:
                return None  # if more is wrong than that, going on without the script says so

    def _put(self, command: str, key: str, value: Buffer, **options: Any) -> Any:
        """Send a value, if it is not more than the server takes: that would cut the connection."""
        data = whole(value)
        if len(data) > _LARGEST:
            self._check_limit(len(data))
        try:
            return self._ask(command, self._raw(key), data, **options)
        except (ConnectionError, StoreError):  # the server says what is wrong and hangs up: either may be seen first
            if len(data) > _LEAST_LIMIT:
                self._check_limit(len(data))
            raise

    def _check_limit(self, nbytes: int) -> None:
        """Refuse a value that is too large."""
        limit = self._limit()
        if nbytes > limit:
            raise UnsupportedError(
                f"a value of {nbytes:,} bytes is more than the {limit:,} that this server takes (proto-max-bulk-len): "
                "use smaller chunks or shards",
                url=self.url,
            )

    def _limit(self) -> int:
        """The most bytes the server takes at once; what it is by default, where it does not say."""
        try:
            return int(self._client.config_get("proto-max-bulk-len").get("proto-max-bulk-len", _LARGEST))
        except Exception:
            return _LARGEST


def _placed(address: Address) -> dict[str, Any]:
    """What host, port and database a URL names."""
    if address.scheme == _UNIX:
        return {}
    host, colon, port = address.hosts.rpartition(":")
    if not colon or address.hosts.endswith("]"):
        host, port = address.hosts, ""
    if not (port.isdecimal() or not port) or re.fullmatch(r"[^\s:/\[\]]*|\[[0-9A-Fa-f:.]+\]", host) is None:
        raise MetadataError("the URL has no host and port like redis://127.0.0.1:6379", field="url")
    db = address.path.strip("/")
    if not (db.isdecimal() or not db):
        raise MetadataError("the path of the URL has to be the number of a database, as in redis://host/0", field="url")
    tls = True if address.scheme == "rediss" else None
    return {"host": host or None, "port": port or None, "db": db or None, "ssl": tls}


def _server(address: Address, options: dict[str, Any]) -> str:
    """The server, of whose options only those of access remain."""
    if address.scheme == _UNIX:
        if address.hosts or not address.path.strip("/"):
            raise MetadataError("a socket is named by redis+unix:///path/of/socket", field="url")
        return f"{_UNIX}:///{address.path.strip('/')}"
    host, port = options.pop("host", "localhost"), options.pop("port", _PORT)
    tls = options.pop("ssl", False)
    if not tls and any(name.startswith("ssl_") for name in options):
        raise MetadataError("options of TLS (ssl_...) go with rediss:// or ssl=True", field="storage_options")
    return f"{'rediss' if tls else 'redis'}://{f'[{host}]' if ':' in host else host}:{port}"


def _span(byte_range: ByteRange) -> tuple[int, int] | None:
    """First and last byte as GETRANGE counts them; None for no bytes, which it cannot say.

    >>> _span(ByteRange(2, 3)), _span(ByteRange(-4)), _span(ByteRange(0, 0))
    ((2, 4), (-4, -1), None)
    """
    offset, length = byte_range.offset, byte_range.length
    if length is not None and length <= 0:
        return None
    if offset < 0:
        return max(offset, -_FAR), -1
    return min(offset, _FAR), -1 if length is None else min(offset + length - 1, _FAR)


def _cut(part: bytes, byte_range: ByteRange) -> bytes:
    """What is wanted of a part that goes to the end of the value."""
    return part if byte_range.length is None or len(part) <= byte_range.length else part[: byte_range.length]


def _name(rest: bytes) -> bytes:
    """The first name of a path, with a slash if there is more."""
    name, slash, _ = rest.partition(b"/")
    return name + slash


def _as_pattern(lead: bytes) -> bytes:
    r"""The pattern of keys that begin so.

    >>> _as_pattern(b"a[1]/")
    b'a\\[1\\]/*'
    """
    return re.sub(rb"([*?\[\]\\^-])", rb"\\\1", lead) + b"*"
