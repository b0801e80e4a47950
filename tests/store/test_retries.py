"""Requests that fail in ways that pass are tried again, within a budget; all others fail at once."""

import concurrent.futures
import errno
import pickle
import socket
import time
from dataclasses import FrozenInstanceError
from io import BytesIO
from urllib.error import HTTPError

import pytest

from daskzarr.errors import (
    CodecError,
    MetadataError,
    NodeNotFoundError,
    StoreError,
    StorePermissionError,
    UnsupportedError,
)
from daskzarr.stores import MappingStore, retries
from daskzarr.stores.retries import RetryBudget, get_many, is_transient, persist
from daskzarr.testing import FaultyStore, RecordingStore

QUICK = RetryBudget(seconds=5, attempts=4, first_wait=0.001)


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


PASSING_NUMBERS = (
    "EIO ESTALE EAGAIN EINTR ETIMEDOUT EBUSY ENETDOWN ENETUNREACH ENETRESET ECONNRESET ECONNABORTED EHOSTUNREACH EPIPE"
)
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
    *(told(Exception, status=status) for status in (200, 301, 400, 401, 403, 404, 412, 416)),
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
    assert RetryBudget() == retries.BUDGET == RetryBudget(60.0, 8, retries.FIRST_WAIT)
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

    def __init__(self, store, left):
        super().__init__(store, {})
        self.left = dict(left)

    def before(self, kind, key):
        if self.left.get(key, 0):
            self.left[key] -= 1
            raise TimeoutError(key)


@pytest.mark.parametrize(
    "left",
    [{}, {"k0": 1}, {"k4": 3}, {"k3": 2, "k4": 1, "missing": 2}, dict.fromkeys(KEYS, 1)],
    ids=["none", "first", "often", "several", "all"],
)
def test_values_come_in_order_though_requests_fail(left):
    recording = RecordingStore(MappingStore(VALUES))
    store = Flaky(recording, left)
    assert list(get_many(store, KEYS, budget=QUICK)) == [*VALUES.values(), None, b"3"]
    assert not any(store.left.values())


def test_what_came_before_a_failure_is_not_asked_for_again():
    recording = RecordingStore(MappingStore(VALUES))

    class Once(FaultyStore):
        def get_many(self, keys, traffic=None):
            asked.append(list(keys))
            for key in keys:
                if key == "k4" and len(asked) == 1:
                    raise ConnectionResetError(key)
                yield recording.get(key)

    asked = []
    assert list(get_many(Once(recording, {}), list(VALUES), budget=QUICK)) == list(VALUES.values())
    assert asked == [list(VALUES), list(VALUES)[5:]]
    assert recording.keys() == list(VALUES)


def test_a_key_that_keeps_failing_ends_it_after_the_values_before_it():
    store = FaultyStore(MappingStore(VALUES), {"k2": OSError(errno.EIO, "broken")})
    values = get_many(store, KEYS, budget=QUICK)
    assert [next(values), next(values)] == [b"0", b"1"]
    with pytest.raises(OSError, match="broken") as caught:
        next(values)
    assert caught.value.__notes__ == ["given up after 4 attempts"]


def test_a_key_that_is_refused_ends_it_at_once():
    recording = RecordingStore(FaultyStore(MappingStore(VALUES), {"k2": PermissionError("no")}))
    values = get_many(recording, ["k1", "k2"], budget=QUICK)
    assert next(values) == b"1"
    with pytest.raises(PermissionError):
        next(values)
    assert recording.count() == {"get_many": 2}


def test_nothing_is_asked_for_before_the_first_value_is_wanted():
    recording = RecordingStore(MappingStore(VALUES))
    values = get_many(recording, ["k1"], budget=QUICK)
    assert recording.requests == []
    assert list(values) == [b"1"]
    assert list(get_many(recording, [])) == []
