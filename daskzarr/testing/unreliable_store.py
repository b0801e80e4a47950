"""A store whose answers get lost, damaged, late or old by chance, the same ones each time, to see what comes of it."""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

from daskzarr.stores import TRAFFIC, Buffer, Store, SurveyStore, Traffic
from daskzarr.testing.past import Past
from daskzarr.testing.store_wrapper import StoreWrapper

_Answer = TypeVar("_Answer")

_LISTINGS = ("list_dir", "survey")


@dataclass(frozen=True, slots=True)
class Faults:
    """How probable it is for a request to go wrong, in each way in which one of its kind can.

    Parameters
    ----------
    before
        It times out, or its connection breaks, and nothing was done.
    after
        It times out, or its connection breaks, and all was done: only the answer is lost.
    cut
        The end of a value, or of a part of one, does not arrive, and nobody says so.
    longer
        There are bytes behind the end of a value, or of a part of one.
    stale
        A listing shows the store as it was some changes ago. It needs a store that can be surveyed.
    slow
        The answer takes ``seconds`` longer.
    seconds
        How long that is.
    """

    before: float = 0.0
    after: float = 0.0
    cut: float = 0.0
    longer: float = 0.0
    stale: float = 0.0
    slow: float = 0.0
    seconds: float = 0.002

    @classmethod
    def of(cls, share: float) -> Faults:
        """Every kind of fault, so that about this share of requests goes wrong.

        >>> Faults.of(0.3).cut
        0.06
        """
        each = round(share / 5, 12)
        return cls(before=2 * each, after=each, cut=each, longer=each, stale=5 * each, slow=0.01)


class _Fault(NamedTuple):
    """What happens to one request: the kind of fault, or ``""``; what else is left to chance; its number."""

    kind: str
    chance: Random
    number: int


class UnreliableStore(StoreWrapper):
    """A store some of whose requests go wrong. Any number of threads may use it.

    What happens to a request follows from the seed and from how many requests were made before it. A value read by
    ``get_many`` is a request of its own. What goes wrong there is an error when its turn comes; then sometimes the
    iterator goes on, and sometimes it is over. A copy in another process begins to count anew.

    Parameters
    ----------
    store
        Where the values are: what is set there is whole, as it is promised to be.
    faults
        How often what goes wrong.
    seed
        Another one makes other requests fail.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> store = UnreliableStore(MappingStore({"a": b"123456"}), Faults(before=0.2, cut=0.2), seed=1)
    >>> def attempt():
    ...     try:
    ...         return store.get("a")
    ...     except (TimeoutError, ConnectionResetError) as error:
    ...         return type(error).__name__
    >>> [attempt() for _ in range(4)]
    [b'123', b'123456', 'TimeoutError', b'123456']
    >>> store.made["requests"], store.made["before"], store.made["cut"]
    (4, 1, 1)
    """

    faults: Faults
    seed: int
    _lock: threading.Lock
    _number: int
    _made: Counter[str]
    _past: Past

    def __init__(self, store: Store, faults: Faults, seed: int = 0) -> None:
        self._restore({"faults": faults, "seed": seed})

    @property
    def made(self) -> Counter[str]:
        """How many faults there were of each kind, and under ``"requests"`` how many requests."""
        with self._lock:
            return Counter(self._made)

    def asked(self, kind: str, key: str, request: Callable[..., _Answer], *args: Any) -> _Answer:
        """Make a request, and let it go wrong."""
        fault = self._next()
        self._fail(fault, "before", kind, key)
        stale = self._stale(fault, kind, key)
        if stale is not None:
            return cast(_Answer, stale)
        if self.faults.stale:
            self._past.note(self.store, kind, key)
        answer = request(*args)
        self._fail(fault, "after", kind, key)
        if kind == "get":
            return cast(_Answer, self._damaged(fault, cast("Buffer | None", answer)))
        if kind == "get_ranges":
            return cast(_Answer, self._with_one_damaged(fault, cast("Sequence[Buffer | None]", answer)))
        if kind == "read_into":
            return cast(_Answer, self._misread(fault, cast("int | None", answer), args[1]))
        return answer

    def get_many(self, keys: Sequence[str], traffic: Traffic = TRAFFIC) -> Iterator[Buffer | None]:
        """The values in order; what goes wrong with one is so at its turn."""
        return _Values(self, keys, iter(self.store.get_many(keys, traffic)))

    def in_turn(self, key: str, value: Buffer | None, ends: Callable[[], None]) -> Buffer | None:
        """One value of several that were asked for at once, as it arrives. If that fails, it may be the last."""
        fault = self._next()
        try:
            self._fail(fault, "before", "get_many", key)
            self._fail(fault, "after", "get_many", key)
        except OSError:
            if fault.chance.random() < 0.5:
                ends()
            raise
        return self._damaged(fault, value)

    def _next(self) -> _Fault:
        """What is to happen to the next request."""
        with self._lock:
            number = self._number
            self._number += 1
            self._made["requests"] += 1
        chance = Random((self.seed << 64) + number)
        if chance.random() < self.faults.slow:
            self._note("slow")
            time.sleep(self.faults.seconds)
        drawn = chance.random()
        for field, share in zip(fields(self.faults), astuple(self.faults), strict=True):
            if field.name == "stale":
                break
            if drawn < share:
                return _Fault(field.name, chance, number)
            drawn -= share
        return _Fault("", chance, number)

    def _note(self, kind: str) -> None:
        """Count a fault that was made."""
        with self._lock:
            self._made[kind] += 1

    def _fail(self, fault: _Fault, when: str, kind: str, key: str) -> None:
        """Raise, if that is the fault."""
        if fault.kind != when:
            return
        self._note(when)
        about = f"request {fault.number}, {kind} of {key!r}, was lost {when} it was answered"
        if fault.chance.random() < 0.5:
            raise TimeoutError(about)
        raise ConnectionResetError(errno.ECONNRESET, about)

    def _stale(self, fault: _Fault, kind: str, key: str) -> Any:
        """The listing of a while ago, if this request gets one; None otherwise."""
        if kind not in _LISTINGS or not isinstance(self.store, SurveyStore):
            return None
        if fault.chance.random() >= self.faults.stale:
            return None
        self._note("stale")
        past = self._past.survey(self.store, key, fault.chance)
        return Past.listing(past, key) if kind == "list_dir" else iter(past.items())

    def _damaged(self, fault: _Fault, value: Buffer | None) -> Buffer | None:
        """The value as it arrives."""
        if value is None or fault.kind not in ("cut", "longer"):
            return value
        whole = bytes(value)
        if fault.kind == "cut" and not whole:
            return value
        self._note(fault.kind)
        if fault.kind == "cut":
            return whole[: fault.chance.randrange(len(whole))]
        more = fault.chance.randrange(1, 64)
        return whole + (whole[:more] if fault.chance.random() < 0.5 else fault.chance.randbytes(more))

    def _with_one_damaged(self, fault: _Fault, parts: Sequence[Buffer | None]) -> Sequence[Buffer | None]:
        """Parts of a value as they arrive: one of them is damaged, or none."""
        if fault.kind not in ("cut", "longer") or not parts:
            return parts
        found = list(parts)
        i = fault.chance.randrange(len(found))
        found[i] = self._damaged(fault, found[i])
        return found

    def _misread(self, fault: _Fault, size: int | None, target: memoryview) -> int | None:
        """The size of a value as it seems, with memory to match."""
        if size is None or fault.kind not in ("cut", "longer") or (fault.kind == "cut" and not size):
            return size
        self._note(fault.kind)
        if fault.kind == "longer":
            return size + fault.chance.randrange(1, 64)
        less = fault.chance.randrange(size)
        if less < target.nbytes:
            target[less:] = b"\xaa" * (target.nbytes - less)
        return less

    def _state(self) -> dict[str, Any]:
        """How often what goes wrong."""
        return {"faults": self.faults, "seed": self.seed}

    def _restore(self, state: dict[str, Any]) -> None:
        """Begin to count."""
        self.faults, self.seed = state["faults"], state["seed"]
        self._lock = threading.Lock()
        self._number = 0
        self._made = Counter()
        self._past = Past()


class _Values:
    """Values of several keys, each a request that may go wrong."""

    def __init__(self, store: UnreliableStore, keys: Sequence[str], values: Iterator[Buffer | None]) -> None:
        self._store = store
        self._pairs = zip(keys, values, strict=True)

    def __iter__(self) -> Iterator[Buffer | None]:
        return self

    def __next__(self) -> Buffer | None:
        key, value = next(self._pairs)
        return self._store.in_turn(key, value, self._end)

    def _end(self) -> None:
        """Give nothing more."""
        self._pairs = zip((), (), strict=True)
