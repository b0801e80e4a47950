"""Requests that fail in ways that pass are tried again, within a budget; all others fail at once."""

import concurrent.futures
import email.utils
import errno
import http.client
import pickle
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.error import HTTPError, URLError

import pytest

from daskzarr.errors import (
    CodecError,
    MetadataError,
    NodeNotFoundError,
    StoreError,
    StorePermissionError,
    UnsupportedError,
)
from daskzarr.stores import MappingStore, RetryBudget, Traffic, retries
from daskzarr.stores.retries import attempts_of, get_many, is_transient, persist
from daskzarr.stores.traffic import FIRST_WAIT
from daskzarr.stores.transient import is_unreachable, wait_told
from daskzarr.testing import FaultyStore, RecordingStore

QUICK = RetryBudget(seconds=5, attempts=4, first_wait=0.001)
QUICK_TRAFFIC = Traffic(retries=QUICK)


def failing(*answers):
    """A request that answers with each of these in turn: an exception is raised."""
    waiting = iter(answers)

    def request(*args):
        made.append(args)
        answer = next(waiting)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    made = request.made = []
    return request


def told(kind, **attributes):
    """An exception of a client library: it is known by its attributes alone."""
    error = type("ClientError", (kind,), {})("the server says no")
    vars(error).update(attributes)
    return error


def botocore(status=None, code=None):
    """As S3's client gives it."""
    response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code, "Message": "m"}}
    return told(Exception, response=response)


def caused_by(error, cause):
    error.__cause__ = cause
    return error


PASSING_NUMBERS = "EIO ESTALE EAGAIN EINTR ETIMEDOUT EBUSY ENETDOWN ENETUNREACH ENETRESET ECONNRESET ECONNABORTED "
PASSING_NUMBERS += "EHOSTUNREACH EPIPE" + (" EREMOTEIO" if hasattr(errno, "EREMOTEIO") else "")
LASTING_NUMBERS = "ENOSPC EDQUOT EACCES EPERM ENOENT EROFS EISDIR ENOTDIR EEXIST ELOOP ENAMETOOLONG EINVAL EMFILE"

PASSING = [
    TimeoutError(),
    socket.timeout(),  # noqa: UP041
    concurrent.futures.TimeoutError(),
    ConnectionError(),
    ConnectionResetError(),
    ConnectionRefusedError(),
    BrokenPipeError(),
    *(OSError(getattr(errno, name), name) for name in PASSING_NUMBERS.split()),
    *(told(Exception, status=status) for status in (408, 429, 500, 502, 503, 504, 599)),
    *(told(OSError, status=503) for _ in "1"),
    told(Exception, status_code=429),
    told(Exception, code=500),
    HTTPError("http://x", 503, "busy", {}, BytesIO()),
    botocore(503),
    botocore(400, "RequestTimeout"),
    botocore(200, "SlowDown"),
    botocore(None, "InternalError"),
    caused_by(StoreError("failed"), OSError(errno.EIO, "broken")),
    caused_by(StoreError("failed"), TimeoutError()),
    caused_by(StoreError("failed"), caused_by(StoreError("failed"), told(Exception, status=500))),
]
LASTING = [
    PermissionError(errno.EACCES, "no"),
    FileNotFoundError(errno.ENOENT, "no"),
    FileExistsError(errno.EEXIST, "no"),
    *(OSError(getattr(errno, name), name) for name in LASTING_NUMBERS.split()),
    OSError("of what kind?"),
    Exception("unknown"),
    ValueError(),
    KeyError("a"),
    MemoryError(),
    RuntimeError(),
    CodecError("damaged"),
    MetadataError("wrong"),
    UnsupportedError("no"),
    NodeNotFoundError("nothing"),
    StoreError("failed"),
    StorePermissionError("refused"),
    caused_by(StoreError("failed"), PermissionError()),
    caused_by(StoreError("failed"), OSError(errno.ENOSPC, "full")),
    caused_by(StoreError("failed"), CodecError("damaged")),
    caused_by(CodecError("damaged"), TimeoutError()),
    told(PermissionError, status=503),
    told(FileNotFoundError, status=503),
    *(told(Exception, status=status) for status in (200, 301, 400, 401, 403, 404, 412, 416, 501, 505, 507)),
    told(Exception, status="503"),
    told(Exception, code="SlowDown"),
    told(Exception, response=None),
    told(Exception, response="503"),
    told(Exception, response={}),
    told(Exception, response={"ResponseMetadata": None, "Error": [503]}),
    told(Exception, response={"ResponseMetadata": {"HTTPStatusCode": [503]}, "Error": {"Code": ["SlowDown"]}}),
    HTTPError("http://x", 404, "no", {}, BytesIO()),
    botocore(403, "AccessDenied"),
    botocore(404, "NoSuchKey"),
    KeyboardInterrupt(),
    SystemExit(500),
    told(SystemExit, code=503),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_tried_again(error):
    assert is_transient(error)
    request = failing(error, error, b"1")
    assert persist(request, "a", 2, budget=QUICK) == b"1"
    assert request.made == [("a", 2)] * 3


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_lasts_is_raised_at_once(error):
    assert not is_transient(error)
    request = failing(error, b"1")
    with pytest.raises(type(error)) as caught:
        persist(request, "a", budget=QUICK)
    assert caught.value is error
    assert request.made == [("a",)]
    assert not hasattr(error, "__notes__")


def test_a_client_library_is_not_asked_for_more_than_needed():
    class Answer(Exception):
        status = 404

        @property
        def code(self):
            raise AssertionError("deprecated")

    assert not is_transient(Answer())


def test_what_is_raised_in_the_end_is_the_last_failure_itself():
    errors = [TimeoutError(i) for i in range(9)]
    request = failing(*errors)
    with pytest.raises(TimeoutError) as caught:
        persist(request, budget=QUICK)
    assert caught.value is errors[3]
    assert len(request.made) == 4
    assert caught.value.__notes__ == ["given up after 4 attempts"]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.__notes__ == caught.value.__notes__


def test_a_failure_that_lasts_ends_it_even_after_ones_that_pass():
    refused = PermissionError("no")
    request = failing(TimeoutError(), ConnectionError(), refused, b"1")
    with pytest.raises(PermissionError) as caught:
        persist(request, budget=QUICK)
    assert caught.value is refused
    assert len(request.made) == 3
    assert refused.__notes__ == ["given up after 3 attempts"]


def test_an_interrupt_is_not_kept_back():
    with pytest.raises(KeyboardInterrupt):
        persist(failing(TimeoutError(), KeyboardInterrupt(), b"1"), budget=QUICK)


def test_waits_grow_and_differ(monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            persist(failing(*[TimeoutError()] * 9), budget=RetryBudget(seconds=1000, attempts=5, first_wait=3.0))
    assert len(waits) == 50 * 4
    for i, longest in enumerate((3.0, 6.0, 12.0, 24.0)):
        seen = waits[i::4]
        assert all(longest / 2 <= wait <= longest for wait in seen)
        assert len(set(seen)) > 40


def test_time_runs_out():
    begun = time.perf_counter()
    request = failing(*[TimeoutError()] * 1000)
    with pytest.raises(TimeoutError) as caught:
        persist(request, budget=RetryBudget(seconds=0.2, attempts=1000, first_wait=0.03))
    assert 0.15 < time.perf_counter() - begun < 1
    assert 2 < len(request.made) < 20
    assert caught.value.__notes__ == [f"given up after {len(request.made)} attempts"]


def test_no_second_attempt_may_be_asked_for():
    request = failing(TimeoutError(), b"1")
    with pytest.raises(TimeoutError):
        persist(request, budget=RetryBudget(attempts=1))
    assert len(request.made) == 1


def test_the_budget_is_what_the_module_says(monkeypatch):
    assert RetryBudget() == retries.BUDGET == RetryBudget(60.0, 8, FIRST_WAIT)
    monkeypatch.setattr(retries, "BUDGET", RetryBudget(seconds=1, attempts=2, first_wait=0))
    request = failing(*[TimeoutError()] * 9)
    with pytest.raises(TimeoutError):
        persist(request)
    assert len(request.made) == 2
    with pytest.raises(FrozenInstanceError):
        retries.BUDGET.attempts = 3


def test_nothing_is_loaded_or_noted_where_nothing_fails():
    assert persist(dict, [("a", 1)]) == {"a": 1}
    assert persist(lambda: None) is None


# Several keys

VALUES = {f"k{i}": b"%d" % i for i in range(10)}
KEYS = [*VALUES, "missing", "k3"]


class Flaky(FaultyStore):
    """Fails at chosen keys a number of times each."""

    def __init__(self, store, left, error=None):
        super().__init__(store, {})
        self.left = dict(left)
        self.error = error

    def before(self, kind, key):
        if self.left.get(key, 0):
            self.left[key] -= 1
            raise self.error or TimeoutError(key)


@pytest.mark.parametrize(
    "left",
    [{}, {"k0": 1}, {"k4": 3}, {"k3": 2, "k4": 1, "missing": 2}, dict.fromkeys(KEYS, 1)],
    ids=["none", "first", "often", "several", "all"],
)
def test_values_come_in_order_though_requests_fail(left):
    recording = RecordingStore(MappingStore(VALUES))
    store = Flaky(recording, left)
    assert list(get_many(store, KEYS, QUICK_TRAFFIC)) == [*VALUES.values(), None, b"3"]
    assert not any(store.left.values())


def test_what_came_before_a_failure_is_not_asked_for_again():
    recording = RecordingStore(MappingStore(VALUES))

    class Once(FaultyStore):
        def get_many(self, keys, traffic):
            asked.append(list(keys))
            for key in keys:
                if key == "k4" and len(asked) == 1:
                    raise ConnectionResetError(key)
                yield recording.get(key)

    asked = []
    assert list(get_many(Once(recording, {}), list(VALUES), QUICK_TRAFFIC)) == list(VALUES.values())
    assert asked == [list(VALUES), list(VALUES)[5:]]
    assert recording.keys() == list(VALUES)


def test_a_key_that_keeps_failing_ends_it_after_the_values_before_it():
    store = FaultyStore(MappingStore(VALUES), {"k2": OSError(errno.EIO, "broken")})
    values = get_many(store, KEYS, QUICK_TRAFFIC)
    assert [next(values), next(values)] == [b"0", b"1"]
    with pytest.raises(OSError, match="broken") as caught:
        next(values)
    assert caught.value.__notes__ == ["given up after 4 attempts"]


def test_a_key_that_is_refused_ends_it_at_once():
    recording = RecordingStore(FaultyStore(MappingStore(VALUES), {"k2": PermissionError("no")}))
    values = get_many(recording, ["k1", "k2"], QUICK_TRAFFIC)
    assert next(values) == b"1"
    with pytest.raises(PermissionError):
        next(values)
    assert recording.count() == {"get_many": 2}


def test_nothing_is_asked_for_before_the_first_value_is_wanted():
    recording = RecordingStore(MappingStore(VALUES))
    values = get_many(recording, ["k1"], QUICK_TRAFFIC)
    assert recording.requests == []
    assert list(values) == [b"1"]
    assert list(get_many(recording, [])) == []


def test_how_often_it_was_tried_is_told():
    for left, times in (({"k2": 9}, 4), ({"k2": 9, "k1": 2}, 4)):
        values = get_many(Flaky(RecordingStore(MappingStore(VALUES)), left), KEYS, QUICK_TRAFFIC)
        with pytest.raises(TimeoutError) as caught:
            list(values)
        assert attempts_of(caught.value) == times
        assert attempts_of(pickle.loads(pickle.dumps(caught.value))) == times
        assert attempts_of(caused_by(StoreError("failed"), caught.value)) == times
    assert attempts_of(ValueError()) == attempts_of(caused_by(ValueError(), KeyError())) == 1
    with pytest.raises(PermissionError) as refused:
        persist(failing(TimeoutError(), PermissionError()), budget=QUICK)
    assert attempts_of(refused.value) == 2


def test_a_request_of_several_is_made_no_oftener_than_the_budget_says():
    recording = RecordingStore(MappingStore(VALUES))
    store = FaultyStore(recording, {"k2": TimeoutError()})
    counting = RecordingStore(store)
    with pytest.raises(TimeoutError):
        list(get_many(counting, ["k1", "k2"], QUICK_TRAFFIC))
    assert counting.keys().count("k2") == 4


# Client libraries


def instance(library, name, *args, **kwargs):
    """An exception of a library, if that is here."""
    module = pytest.importorskip(library)
    if not hasattr(module, name):
        pytest.skip(f"{library} has no {name} any more")
    return getattr(module, name)(*args, **kwargs)


def answered(status, headers=()):
    """The answer of a server, as requests gives it."""
    answer = pytest.importorskip("requests").Response()
    answer.status_code = status
    answer.headers.update(headers)
    return answer


def aiohttp_answer(status, headers=None):
    aiohttp = pytest.importorskip("aiohttp")
    from yarl import URL

    info = aiohttp.RequestInfo(URL("http://h/a"), "GET", {}, URL("http://h/a"))
    return aiohttp.ClientResponseError(info, (), status=status, message="m", headers=headers)


def connector_error(name, error):
    aiohttp = pytest.importorskip("aiohttp")
    key = aiohttp.client_reqrep.ConnectionKey("h", 80, False, True, None, None, None)
    return getattr(aiohttp, name)(key, error)


def s3(status, code, headers=None):
    """What s3fs makes of an answer."""
    errors = pytest.importorskip("s3fs.errors")
    about = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    answer = {"ResponseMetadata": about, "Error": {"Code": code, "Message": "m"}}
    return errors.translate_boto_error(instance("botocore.exceptions", "ClientError", answer, "GetObject"))


def azure_answer(status, headers=None, name="HttpResponseError"):
    class Answer:
        status_code, reason = status, "m"

    Answer.headers = headers or {}
    return instance("azure.core.exceptions", name, "m", response=Answer())


def mongo(code, labels=()):
    details = {"ok": 0, "code": code, "errmsg": "m", "errorLabels": list(labels)}
    return instance("pymongo.errors", "OperationFailure", "m", code, details)


def sqlite(number):
    error = sqlite3.OperationalError("m")
    error.sqlite_errorcode = number
    return error


def obstore(text):
    return instance("obstore.exceptions", "GenericError", text)


STATUS = "Generic S3 error: Error performing GET http://h/b/k in 1ms - Server returned non-2xx status code: {0} m: no"

OF_LIBRARIES_PASSING = {
    "aiohttp disconnected": lambda: instance("aiohttp", "ServerDisconnectedError"),
    "aiohttp payload": lambda: instance("aiohttp", "ClientPayloadError", "not completed"),
    "aiohttp connection": lambda: instance("aiohttp", "ClientConnectionError"),
    "aiohttp reset": lambda: instance("aiohttp", "ClientOSError", errno.ECONNRESET, "m"),
    "aiohttp timeout": lambda: instance("aiohttp", "ServerTimeoutError"),
    "aiohttp refused": lambda: connector_error("ClientConnectorError", OSError(errno.ECONNREFUSED, "m")),
    "aiohttp name for now": lambda: connector_error("ClientConnectorDNSError", socket.gaierror(socket.EAI_AGAIN, "m")),
    "aiohttp 503": lambda: aiohttp_answer(503),
    "name for now": lambda: socket.gaierror(socket.EAI_AGAIN, "m"),
    "botocore closed": lambda: instance("botocore.exceptions", "ConnectionClosedError", endpoint_url="u", error="e"),
    "botocore endpoint": lambda: instance(
        "botocore.exceptions", "EndpointConnectionError", endpoint_url="u", error="e"
    ),
    "botocore read": lambda: instance("botocore.exceptions", "ReadTimeoutError", endpoint_url="u", error="e"),
    "botocore connect": lambda: instance("botocore.exceptions", "ConnectTimeoutError", endpoint_url="u", error="e"),
    "botocore incomplete": lambda: instance(
        "botocore.exceptions", "IncompleteReadError", actual_bytes=1, expected_bytes=2
    ),
    "botocore stream": lambda: instance("botocore.exceptions", "ResponseStreamingError", error="e"),
    "botocore checksum": lambda: instance("botocore.exceptions", "FlexibleChecksumError", error_msg="e"),
    "aiobotocore read": lambda: instance("aiobotocore.response", "AioReadTimeoutError", endpoint_url="u", error="e"),
    "s3fs slow down": lambda: s3(503, "SlowDown"),
    "s3fs internal": lambda: s3(500, "InternalError"),
    "s3fs time-out": lambda: s3(400, "RequestTimeout"),
    "s3fs half a body": lambda: s3(400, "IncompleteBody"),
    "s3fs unknown 503": lambda: s3(503, "Other"),
    "s3fs unknown 429": lambda: s3(429, "Other"),
    "requests connection": lambda: instance("requests", "ConnectionError"),
    "requests timeout": lambda: instance("requests", "ReadTimeout"),
    "requests half a body": lambda: instance("requests.exceptions", "ChunkedEncodingError"),
    "requests 503": lambda: instance("requests", "HTTPError", response=answered(503)),
    "urllib3 protocol": lambda: instance("urllib3.exceptions", "ProtocolError", "m"),
    "urllib3 timeout": lambda: instance("urllib3.exceptions", "ReadTimeoutError", None, "/a", "m"),
    "urllib3 most": lambda: instance(
        "urllib3.exceptions", "MaxRetryError", None, "/a", instance("urllib3.exceptions", "ProtocolError", "m")
    ),
    "http.client half a body": lambda: http.client.IncompleteRead(b"1"),
    "urllib": lambda: URLError(ConnectionResetError()),
    "redis connection": lambda: instance("redis", "ConnectionError", "m"),
    "redis timeout": lambda: instance("redis", "TimeoutError", "m"),
    "redis loading": lambda: instance("redis", "BusyLoadingError", "m"),
    "redis cluster": lambda: instance("redis.exceptions", "ClusterDownError", "CLUSTERDOWN m"),
    "redis master": lambda: instance("redis.exceptions", "MasterDownError", "MASTERDOWN m"),
    "redis later": lambda: instance("redis.exceptions", "TryAgainError", "m"),
    "pymongo reconnect": lambda: instance("pymongo.errors", "AutoReconnect", "m"),
    "pymongo timeout": lambda: instance("pymongo.errors", "NetworkTimeout", "m"),
    "pymongo no server": lambda: instance("pymongo.errors", "ServerSelectionTimeoutError", "m"),
    "pymongo primary": lambda: instance("pymongo.errors", "NotPrimaryError", "m"),
    "pymongo pool": lambda: instance("pymongo.errors", "WaitQueueTimeoutError", "m"),
    "pymongo label": lambda: mongo(1, ["RetryableWriteError"]),
    "pymongo stepping down": lambda: mongo(189),
    "pymongo took too long": lambda: instance("pymongo.errors", "ExecutionTimeout", "m", 50),
    "azure request": lambda: instance("azure.core.exceptions", "ServiceRequestError", "m"),
    "azure response": lambda: instance("azure.core.exceptions", "ServiceResponseError", "m"),
    "azure timeout": lambda: instance("azure.core.exceptions", "ServiceResponseTimeoutError", "m"),
    "azure half a body": lambda: instance("azure.core.exceptions", "IncompleteReadError", "m"),
    "azure busy": lambda: azure_answer(503),
    "gcsfs 503": lambda: instance("gcsfs.retry", "HttpError", {"code": 503, "message": "m"}),
    "gcsfs 429 as text": lambda: instance("gcsfs.retry", "HttpError", {"code": "429", "message": "m"}),
    "gcsfs checksum": lambda: instance("gcsfs.retry", "ChecksumError"),
    "google transport": lambda: instance("google.auth.exceptions", "TransportError"),
    "google login for now": lambda: instance("google.auth.exceptions", "RefreshError", "m", retryable=True),
    "google 503": lambda: instance("google.api_core.exceptions", "ServiceUnavailable", "m"),
    "google retries": lambda: caused_by(
        instance("google.api_core.exceptions", "RetryError", "m", cause=None), TimeoutError()
    ),
    "sqlite busy": lambda: sqlite(sqlite3.SQLITE_BUSY),
    "sqlite snapshot": lambda: sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
    "sqlite locked": lambda: sqlite(sqlite3.SQLITE_LOCKED),
    "sqlite disk": lambda: sqlite(sqlite3.SQLITE_IOERR_READ),
    "lmdb readers": lambda: instance("lmdb", "ReadersFullError", "m"),
    "paramiko dropped": lambda: instance("paramiko", "SSHException", "Server connection dropped"),
    "paramiko channel": lambda: instance("paramiko", "ChannelException", 2, "connect failed"),
    "paramiko nobody": lambda: instance(
        "paramiko.ssh_exception", "NoValidConnectionsError", {("127.0.0.1", 1): OSError()}
    ),
    "paramiko end": EOFError,
    "asyncssh lost": lambda: instance("asyncssh", "ConnectionLost", "m"),
    "asyncssh sftp lost": lambda: instance("asyncssh", "SFTPConnectionLost", "m"),
    "fsspec": lambda: instance("fsspec.exceptions", "FSTimeoutError"),
    "obstore 503": lambda: obstore(STATUS.format(503)),
    "obstore 429": lambda: obstore(STATUS.format(429)),
    "obstore sending": lambda: obstore(
        "Generic S3 error: Error performing GET u in 2s - HTTP error: error sending request"
    ),
    "obstore half a body": lambda: obstore("Generic S3 error: HTTP error: request or response body error"),
    "ssl end": lambda: ssl.SSLEOFError(8, "m"),
    "some library with a cause": lambda: caused_by(RuntimeError("not reachable"), TimeoutError()),
}
OF_LIBRARIES_LASTING = {
    "aiohttp certificate": lambda: connector_error(
        "ClientConnectorCertificateError", ssl.SSLCertVerificationError(1, "m")
    ),
    "aiohttp no such name": lambda: connector_error("ClientConnectorDNSError", socket.gaierror(socket.EAI_NONAME, "m")),
    "aiohttp url": lambda: instance("aiohttp", "InvalidURL", "u"),
    "aiohttp 403": lambda: aiohttp_answer(403),
    "aiohttp 507": lambda: aiohttp_answer(507),
    "no such name": lambda: socket.gaierror(socket.EAI_NONAME, "m"),
    "botocore no login": lambda: instance("botocore.exceptions", "NoCredentialsError"),
    "botocore parameters": lambda: instance("botocore.exceptions", "ParamValidationError", report="r"),
    "botocore certificate": lambda: instance("botocore.exceptions", "SSLError", endpoint_url="u", error="e"),
    "s3fs refused": lambda: s3(403, "AccessDenied"),
    "s3fs missing": lambda: s3(404, "NoSuchKey"),
    "s3fs condition": lambda: s3(412, "PreconditionFailed"),
    "s3fs unknown 400": lambda: s3(400, "NotAsItShouldBe"),  # s3fs makes EIO of it
    "s3fs unknown 403": lambda: s3(403, "Other"),
    "s3fs no room": lambda: s3(507, "XMinioStorageFull"),
    "requests certificate": lambda: instance("requests.exceptions", "SSLError"),
    "requests url": lambda: instance("requests.exceptions", "InvalidURL"),
    "requests 403": lambda: instance("requests", "HTTPError", response=answered(403)),
    "urllib": lambda: URLError("unknown url type"),
    "redis login": lambda: instance("redis", "AuthenticationError", "m"),
    "redis refused": lambda: instance("redis.exceptions", "AuthorizationError", "m"),
    "redis may not": lambda: instance("redis.exceptions", "NoPermissionError", "m"),
    "redis memory": lambda: instance("redis.exceptions", "OutOfMemoryError", "m"),
    "redis answer": lambda: instance("redis", "ResponseError", "m"),
    "redis read only": lambda: instance("redis.exceptions", "ReadOnlyError", "m"),
    "pymongo login": lambda: mongo(18),
    "pymongo may not": lambda: mongo(13),
    "pymongo number like a status": lambda: mongo(503),
    "pymongo there": lambda: instance("pymongo.errors", "DuplicateKeyError", "m", 11000),
    "pymongo large": lambda: instance("pymongo.errors", "DocumentTooLarge", "m"),
    "pymongo url": lambda: instance("pymongo.errors", "InvalidURI", "m"),
    "azure login": lambda: azure_answer(403, name="ClientAuthenticationError"),
    "azure missing": lambda: azure_answer(404, name="ResourceNotFoundError"),
    "azure there": lambda: azure_answer(409, name="ResourceExistsError"),
    "gcsfs 401": lambda: instance("gcsfs.retry", "HttpError", {"code": 401, "message": "m"}),
    "gcsfs nothing": lambda: instance("gcsfs.retry", "HttpError"),
    "gcsfs never": lambda: instance("gcsfs.retry", "NonRetryableError"),
    "google login": lambda: instance("google.auth.exceptions", "RefreshError", "m"),
    "google no login": lambda: instance("google.auth.exceptions", "DefaultCredentialsError", "m"),
    "google 403": lambda: instance("google.api_core.exceptions", "Forbidden", "m"),
    "sqlite full": lambda: sqlite(sqlite3.SQLITE_FULL),
    "sqlite no table": lambda: sqlite(sqlite3.SQLITE_ERROR),
    "sqlite by words alone": lambda: sqlite3.OperationalError("locked"),
    "sqlite no database": lambda: sqlite3.DatabaseError("m"),
    "lmdb full": lambda: instance("lmdb", "DiskError", "m"),
    "paramiko login": lambda: instance("paramiko", "AuthenticationException", "m"),
    "paramiko host": lambda: instance("paramiko.ssh_exception", "IncompatiblePeer", "m"),
    "asyncssh login": lambda: instance("asyncssh", "PermissionDenied", "m"),
    "asyncssh host": lambda: instance("asyncssh", "HostKeyNotVerifiable", "m"),
    "asyncssh missing": lambda: instance("asyncssh", "SFTPNoSuchFile", "m"),
    "asyncssh quota": lambda: instance("asyncssh", "SFTPQuotaExceeded", "m"),
    "obstore 400": lambda: obstore(STATUS.format(400)),
    "obstore 501": lambda: obstore(STATUS.format(501)),
    "obstore certificate": lambda: obstore("HTTP error: error sending request: invalid peer certificate: Expired"),
    "obstore other": lambda: obstore("Generic LocalFileSystem error: Unable to open file"),
    "obstore refused": lambda: instance("obstore.exceptions", "PermissionDeniedError", STATUS.format(403)),
    "obstore login": lambda: instance("obstore.exceptions", "UnauthenticatedError", STATUS.format(401)),
    "ssl certificate": lambda: ssl.SSLCertVerificationError(1, "m"),
    "some library with a cause": lambda: caused_by(RuntimeError("not reachable"), PermissionError()),
    "a cause that does not count": lambda: caused_by(PermissionError("no"), TimeoutError()),
}


@pytest.mark.parametrize("make", OF_LIBRARIES_PASSING.values(), ids=list(OF_LIBRARIES_PASSING))
def test_what_passes_of_client_libraries(make):
    assert is_transient(make())
    assert is_transient(caused_by(StoreError("failed"), make()))


@pytest.mark.parametrize("make", OF_LIBRARIES_LASTING.values(), ids=list(OF_LIBRARIES_LASTING))
def test_what_lasts_of_client_libraries(make):
    assert not is_transient(make())


def test_no_client_library_is_loaded_to_judge_an_error():
    code = "import sys; from daskzarr.stores.transient import is_transient; "
    code += "is_transient(ValueError()); is_transient(TimeoutError()); "
    code += (
        "print({m.partition('.')[0] for m in sys.modules} & {'aiohttp', 'botocore', 'requests', 'redis', 'pymongo', "
    )
    code += "'azure', 'google', 'paramiko', 'asyncssh', 'obstore', 'lmdb'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_causes_that_go_in_a_circle_come_to_an_end():
    one, other = RuntimeError(1), RuntimeError(2)
    one.__cause__, other.__cause__ = other, one
    assert not is_transient(one)
    assert wait_told(one) is None
    assert attempts_of(one) == 1


# How long a server says to wait


def in_a_minute():
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)


WAITS = {
    "aiohttp": (lambda: aiohttp_answer(503, {"Retry-After": "3"}), 3),
    "botocore": (lambda: s3(503, "SlowDown", {"retry-after": "2"}), 2),
    "requests": (lambda: instance("requests", "HTTPError", response=answered(429, {"Retry-After": "5"})), 5),
    "azure": (lambda: azure_answer(503, {"Retry-After": "4"}), 4),
    "azure in milliseconds": (lambda: azure_answer(503, {"x-ms-retry-after-ms": "1500", "Retry-After": "2"}), 1.5),
    "google": (
        lambda: instance(
            "google.api_core.exceptions", "TooManyRequests", "m", response=answered(429, {"retry-after": "6"})
        ),
        6,
    ),
    "urllib": (lambda: HTTPError("http://x", 503, "busy", {"Retry-After": "8"}, BytesIO()), 8),
    "a date": (lambda: told(Exception, status=503, headers={"Retry-After": in_a_minute()}), 60),
    "a date gone by": (lambda: told(Exception, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0),
    "bytes": (lambda: told(Exception, headers={b"Retry-After": b"9"}), None),
    "of a cause": (lambda: caused_by(StoreError("m"), told(Exception, headers={"retry-AFTER": "1"})), 1),
    "nothing": (lambda: told(Exception, headers={}), None),
    "no headers": (lambda: told(Exception, headers="Retry-After"), None),
    "nonsense": (lambda: told(Exception, headers={"Retry-After": "soon"}), None),
    "minus": (lambda: told(Exception, headers={"Retry-After": "-5"}), None),
    "without end": (lambda: told(Exception, headers={"Retry-After": "9" * 400}), None),
    "a date out of time": (lambda: told(Exception, headers={"Retry-After": "Wed, 99 Oct 99999 07:28:00 GMT"}), None),
}


@pytest.mark.parametrize(("make", "seconds"), WAITS.values(), ids=list(WAITS))
def test_how_long_a_server_says_to_wait(make, seconds):
    found = wait_told(make())
    assert found == seconds if seconds in (None, 0) else found == pytest.approx(seconds, abs=30 if seconds == 60 else 0)


def test_a_server_is_not_asked_before_it_says(monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    later = told(Exception, status=503, headers={"Retry-After": "20"})
    assert persist(failing(later, TimeoutError(), b"1"), budget=RetryBudget(first_wait=0.1)) == b"1"
    assert waits[0] == 20
    assert waits[1] < 1
    waits.clear()
    values = get_many(Flaky(MappingStore(VALUES), {"k1": 1}, later), ["k0", "k1"], Traffic())
    assert list(values) == [b"0", b"1"]
    assert waits == [20]
    waits.clear()
    assert list(get_many(Flaky(MappingStore(VALUES), {"k1": 1}), ["k0", "k1"], Traffic())) == [b"0", b"1"]
    assert sum(waits) == 0


def test_a_server_is_not_waited_for_longer_than_the_budget(monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    later = told(Exception, status=503, headers={"Retry-After": "3600"})
    with pytest.raises(Exception, match="the server says no"):
        persist(failing(*[later] * 9), budget=RetryBudget(seconds=7, attempts=3))
    assert len(waits) == 2
    assert all(6 < wait <= 7 for wait in waits)


# Where nobody is


class Away:
    """A store on a server that cannot be reached so many times."""

    def __init__(self, url, times, error=None):
        self.url, self.left, self.made = url, times, 0
        self.error = error or ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def get(self, key, byte_range=None):
        self.made += 1
        if self.left:
            self.left -= 1
            raise self.error
        return b"1"

    def get_many(self, keys, traffic):
        return map(self.get, keys)


@pytest.fixture
def patience(monkeypatch):
    """None with a server that was not there yet, much with one that was."""
    monkeypatch.setattr(retries, "BUDGET", RetryBudget(seconds=20, attempts=40, first_wait=1e-9))
    monkeypatch.setattr(retries, "NOBODY_THERE", 0.0)
    monkeypatch.setattr(retries, "_answered", set())


def test_a_server_that_never_answered_is_not_waited_for(patience):
    away = Away("x://nobody:1/a", 5)
    with pytest.raises(ConnectionRefusedError) as caught:
        persist(away.get, "a")
    assert (away.made, attempts_of(caught.value)) == (1, 1)


@pytest.mark.parametrize("budget", [None, RetryBudget(20, 40, 1e-9)])
def test_chunks_are_of_servers_that_were_there(patience, budget):
    assert persist(Away("x://nobody:1/a", 5).get, "a", budget=budget) == b"1"
    assert list(get_many(Away("x://nobody:1/a", 5), ["a"])) == [b"1"]


def test_a_server_that_answered_is_waited_for(patience):
    for url in ("x://server:1/a", "x://server:1/a-journal"):
        away = Away(url, 0)
        assert persist(away.get, "a") == b"1"
        away.left = 5
        assert persist(away.get, "a") == b"1"
    with pytest.raises(ConnectionError):
        persist(Away("x://server:2/a", 5).get, "a")


def test_other_failures_and_requests_are_as_ever(patience):
    for error in (TimeoutError(), ConnectionResetError(), told(Exception, status=503)):
        assert persist(Away(f"x://{error!r}", 5, error).get, "a") == b"1"
    assert persist(failing(ConnectionRefusedError(), ConnectionRefusedError(), b"1"), "a") == b"1"


def test_what_answered_is_not_noted_without_end(patience):
    for i in range(3 * retries._MOST_NOTED):
        persist(Away(f"x://{i}/a", 0).get, "a")
    assert len(retries._answered) <= retries._MOST_NOTED


NOBODY = {
    "system": lambda: ConnectionRefusedError(),
    "number": lambda: OSError(errno.ECONNREFUSED, "m"),
    "no such name": lambda: socket.gaierror(socket.EAI_NONAME, "m"),
    "no name server": lambda: socket.gaierror(socket.EAI_AGAIN, "m"),
    "in a cause": lambda: caused_by(StoreError("m"), caused_by(RuntimeError("m"), ConnectionRefusedError())),
    "botocore": lambda: instance("botocore.exceptions", "EndpointConnectionError", endpoint_url="http://x"),
    "redis": lambda: ConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."),
    "pymongo": lambda: TimeoutError("ServerSelectionTimeoutError: 127.0.0.1:1: [Errno 111] Connection refused"),
    "obstore": lambda: ConnectionError("Generic S3 error: HTTP error: error sending request (Connection refused)"),
    "requests": lambda: ConnectionError(
        "HTTPConnectionPool(host='x', port=80): Max retries exceeded with url: /a "
        "(Caused by NameResolutionError(\"Failed to resolve 'x' ([Errno -2] Name or service not known)\"))"
    ),
}


@pytest.mark.parametrize("make", NOBODY.values(), ids=list(NOBODY))
def test_errors_that_say_that_nobody_is_there(make):
    assert is_unreachable(make())


@pytest.mark.parametrize(
    "error", [TimeoutError(), ConnectionResetError(), ConnectionError("the answer broke off"), botocore(503)]
)
def test_errors_that_say_that_somebody_is_there(error):
    assert not is_unreachable(error)
