"""The contract of stores is kept by an honest store, and notices each way in which another one is not."""

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter

import pytest

from daskzarr.byte_range import ByteRange
from daskzarr.stores import Listing, Store, Traffic
from daskzarr.testing import StoreContract
from daskzarr.testing.contract import PROTOCOLS
from daskzarr.testing.other_process import in_another_process

VALUES, VERSIONS, SPOILED = {}, Counter(), set()
LOCK = threading.Lock()


def lead(prefix):
    return prefix.rstrip("/") + "/" if prefix else ""


class Honest:
    """A store that can do all that a store may do, in the plainest way."""

    shared = False

    def __init__(self, name, password="hunter2"):
        self.name = name
        self.password = password

    def __eq__(self, other):
        return type(other) is type(self) and other.name == self.name

    def __hash__(self):
        return hash(self.name)

    def __repr__(self):
        return f"{type(self).__name__}({self.name!r})"

    @property
    def url(self):
        return f"honest://{self.name}"

    @property
    def values(self):
        return VALUES.setdefault(self.name, {})

    def get(self, key, byte_range=None):
        if (self.name, key) in SPOILED:
            raise OSError("broken")
        value = self.values.get(key)
        return value if value is None or byte_range is None else byte_range.of(value)

    def get_many(self, keys, traffic=None):
        return map(self.get, keys)

    def get_ranges(self, key, byte_ranges, traffic=None):
        return [self.get(key, byte_range) for byte_range in byte_ranges]

    def read_into(self, key, target):
        value = self.get(key)
        if value is None:
            return None
        target[: len(value)] = value[: len(target)]
        return len(value)

    def set(self, key, value):
        VERSIONS[key] += 1
        self.values[key] = bytes(value)

    def create(self, key, value):
        with LOCK:
            if key in self.values:
                return False
            self.set(key, value)
            return True

    def append(self, key, value):
        with LOCK:
            self.set(key, self.values.get(key, b"") + bytes(value))

    def delete(self, key):
        self.values.pop(key, None)

    def delete_below(self, prefix):
        for key, _ in self.survey(prefix):
            self.delete(key)

    def survey(self, prefix):
        return iter([(key, len(value)) for key, value in list(self.values.items()) if key.startswith(lead(prefix))])

    def list_dir(self, prefix):
        rest = [key[len(lead(prefix)) :].partition("/") for key, _ in self.survey(prefix)]
        return Listing(
            tuple(sorted(name for name, slash, _ in rest if not slash)),
            tuple(sorted({name for name, slash, _ in rest if slash})),
        )

    def size(self, key):
        value = self.values.get(key)
        return None if value is None else len(value)

    def version(self, key):
        return VERSIONS[key] if key in self.values else None

    def leftovers(self, prefix):
        return iter(())

    def move_below(self, prefix, other, other_prefix):
        found = [key for key, _ in self.survey(prefix)]
        if not found or list(other.survey(other_prefix)):
            return False
        for key in found:
            other.set(lead(other_prefix) + key[len(lead(prefix)) :], self.values.pop(key))
        return True

    def synced(self):
        return self

    def finish(self):
        pass

    def sibling(self, ending):
        return type(self)(self.name + ending)


class HonestContract(StoreContract):
    secrets = ("hunter2",)
    store_class = Honest

    @pytest.fixture
    def store(self):
        store = self.store_class(uuid.uuid4().hex)
        yield store
        VALUES.clear()
        SPOILED.clear()

    def spoil(self, store, key):
        SPOILED.add((store.name, key))
        return True


class TestHonest(HonestContract):
    def test_is_tested_in_every_way(self, store):
        assert all(self.offered(store, protocol) is store for protocol in PROTOCOLS)


class TestHonestThatIsTestedForReadingAlone(HonestContract):
    protocols = (Store,)

    def seed(self, store, values):
        for key, value in values.items():
            store.set(key, value)


class TestHonestWithoutLists(HonestContract):
    without = tuple(protocol for protocol in PROTOCOLS if protocol.__name__ in ("ListableStore", "SurveyStore"))

    def test_is_tested_in_other_ways(self, store):
        assert [protocol.__name__ for protocol in PROTOCOLS if self.offered(store, protocol) is None] == [
            "ListableStore",
            "SurveyStore",
        ]


class TestHonestThatCannotCreate(HonestContract):
    class CannotCreate(Honest):
        can_create = False

        def create(self, key, value):
            raise AssertionError("asked to create")

    store_class = CannotCreate

    @pytest.fixture
    def store(self, monkeypatch):
        monkeypatch.setitem(globals(), "CannotCreate", self.CannotCreate)  # pickles by its name
        self.CannotCreate.__qualname__ = "CannotCreate"
        yield self.CannotCreate(uuid.uuid4().hex)
        VALUES.clear()


# Stores that are not honest


def all_errors_at_once(self, keys, traffic=None):
    return iter([self.get(key) for key in keys])


def none_for_an_error(self, keys, traffic=None):
    for key in keys:
        try:
            yield self.get(key)
        except OSError:
            yield None


def end_for_an_error(self, keys, traffic=None):
    for key in keys:
        try:
            yield self.get(key)
        except OSError:
            return


def another_key_after_an_error(self, keys, traffic=None):
    class Values:
        def __init__(self):
            self.rest = list(keys)

        def __iter__(self):
            return self

        def __next__(this):
            if not this.rest:
                raise StopIteration
            key = this.rest.pop(0)
            try:
                return self.get(key)
            except OSError:
                this.rest.pop(0)
                raise

    return Values()


def as_many_as_requests(self, keys, traffic=None):
    return map(self.get, keys[: (traffic or Traffic()).requests])


def forgets_between(self, keys, traffic=None):
    for i, key in enumerate(keys):
        yield self.get(key) if i != 35 else None


def unlocked_create(self, key, value):
    if key in self.values:
        return False
    time.sleep(0.005)
    self.set(key, value)
    return True


def create_in_halves(self, key, value):
    if key in self.values:
        return False
    self.values[key] = bytes(value)[: len(value) // 2]
    time.sleep(0.01)
    self.set(key, value)
    return True


def create_over_nothing(self, key, value):
    if self.values.get(key):
        return False
    self.set(key, value)
    return True


def unlocked_append(self, key, value):
    before = self.values.get(key, b"")
    time.sleep(0.0002)
    self.set(key, before + bytes(value))


def append_in_halves(self, key, value):
    for half in (bytes(value)[:5], bytes(value)[5:]):
        Honest.append(self, key, half)
        time.sleep(0.0002)


def set_in_halves(self, key, value):
    self.values[key] = bytes(value)[: len(value) // 2]
    time.sleep(0.002)
    Honest.set(self, key, value)


def move_into_what_is_there(self, prefix, other, other_prefix):
    found = [key for key, _ in self.survey(prefix)]
    for key in found:
        other.set(lead(other_prefix) + key[len(lead(prefix)) :], self.values.pop(key))
    return bool(found)


class InsideItself(Honest):
    """Its sibling is a part of it."""

    def __init__(self, name, above=""):
        super().__init__(name)
        self.above = above

    def get(self, key, byte_range=None):
        return super().get(self.above + key, byte_range)

    def set(self, key, value):
        super().set(self.above + key, value)

    @property
    def url(self):
        return f"honest://{self.name}/{self.above}"

    def __eq__(self, other):
        return type(other) is type(self) and (other.name, other.above) == (self.name, self.above)

    __hash__ = Honest.__hash__

    def sibling(self, ending):
        return type(self)(self.name, ending)


def changed(**parts):
    """A class of stores that is honest but for some of its parts."""
    return type("Changed", (Honest,), parts)


def cut_short(self, key, byte_ranges, traffic=None):
    return [self.get(key, ByteRange(byte_range.offset, byte_range.length or 3)) for byte_range in byte_ranges]


def reading(how):
    """``get`` that differs."""
    return {"get": how}


DISHONEST = {
    "missing is empty": (reading(lambda s, k, r=None: Honest.get(s, k, r) or b""), "test_get_missing_is_none"),
    "ranges of missing are empty": (
        reading(lambda s, k, r=None: Honest.get(s, k, r) if r is None else Honest.get(s, k, r) or b""),
        "test_get_missing_is_none",
    ),
    "an empty value is missing": (reading(lambda s, k, r=None: Honest.get(s, k, r) or None), "test_empty_value"),
    "what came once is kept": (
        {"get_many": lambda s, keys, t=None: (s.__dict__.setdefault(k, Honest.get(s, k)) for k in keys)},
        "test_set_replaces_whole",
    ),
    "a set is not whole at once": ({"set": set_in_halves}, "test_readers_see_whole_values"),
    "the last of many is lost": (
        {"get_many": lambda s, keys, t=None: map(s.get, keys[:999])},
        "test_get_many_of_many",
    ),
    "traffic cuts short": ({"get_many": as_many_as_requests}, "test_get_many_of_any_traffic"),
    "others get between": ({"get_many": forgets_between}, "test_get_many_side_by_side"),
    "errors come at once": ({"get_many": all_errors_at_once}, "test_get_many_raises_at_the_turn_of_what_failed"),
    "an error is missing": ({"get_many": none_for_an_error}, "test_get_many_raises_at_the_turn_of_what_failed"),
    "an error is the end": ({"get_many": end_for_an_error}, "test_get_many_raises_at_the_turn_of_what_failed"),
    "an error takes one more": (
        {"get_many": another_key_after_an_error},
        "test_get_many_raises_at_the_turn_of_what_failed",
    ),
    "ranges are sorted": (
        {"get_ranges": lambda s, k, rs, t=None: [s.get(k, r) for r in sorted(rs, key=lambda r: r.offset)]},
        "test_get_ranges",
    ),
    "equal ranges are one": (
        {"get_ranges": lambda s, k, rs, t=None: [s.get(k, r) for r in dict.fromkeys(rs)]},
        "test_get_ranges",
    ),
    "open ranges are short": ({"get_ranges": cut_short}, "test_get_ranges"),
    "ranges of missing are none at all": (
        {"get_ranges": lambda s, k, rs, t=None: [] if s.get(k) is None else Honest.get_ranges(s, k, rs)},
        "test_get_ranges_of_missing_are_none",
    ),
    "a range at the end is missing": (
        {"get_ranges": lambda s, k, rs, t=None: [s.get(k, r) or None for r in rs]},
        "test_get_ranges_of_an_empty_value",
    ),
    "the size is remembered": (
        {
            "get_ranges": lambda s, k, rs, t=None: [
                (s.get(k) or b"")[slice(*r.bounds(s.__dict__.setdefault("size " + k, s.size(k))))] for r in rs
            ]
        },
        "test_get_ranges_of_what_is_there_now",
    ),
    "create looks, then writes": ({"create": unlocked_create}, "test_create_has_one_winner"),
    "create always wins": ({"create": lambda s, k, v: s.set(k, v) or True}, "test_create"),
    "create says nothing": ({"create": lambda s, k, v: Honest.create(s, k, v) or None}, "test_create"),
    "create is not whole at once": ({"create": create_in_halves}, "test_create_is_all_or_nothing"),
    "create takes empty for none": ({"create": create_over_nothing}, "test_create_beside_set"),
    "append loses": ({"append": unlocked_append}, "test_append_loses_nothing"),
    "append mixes": ({"append": append_in_halves}, "test_append_loses_nothing"),
    "append sets": ({"append": lambda s, k, v: s.set(k, v)}, "test_append"),
    "append needs a value": ({"append": lambda s, k, v: s.set(k, s.values[k] + v)}, "test_append"),
    "the version is the size": ({"version": lambda s, k: s.size(k)}, "test_version"),
    "the version is one of all": ({"version": lambda s, k: sum(VERSIONS.values())}, "test_version"),
    "the version of missing is 0": ({"version": lambda s, k: VERSIONS[k]}, "test_version"),
    "a survey leaves out what is hidden": (
        {"survey": lambda s, p: ((k, n) for k, n in Honest.survey(s, p) if not k.startswith("."))},
        "test_survey",
    ),
    "a survey begins with the same letters": (
        {"survey": lambda s, p: ((k, len(v)) for k, v in s.values.items() if k.startswith(p))},
        "test_survey",
    ),
    "a survey tells wrong sizes": (
        {"survey": lambda s, p: ((k, 3) for k, _ in Honest.survey(s, p))},
        "test_survey",
    ),
    "a survey is of a while ago": (
        {"survey": lambda s, p: iter(s.__dict__.setdefault("seen " + p, list(Honest.survey(s, p))))},
        "test_survey_is_up_to_date",
    ),
    "a survey quotes": (
        {"survey": lambda s, p: ((k.replace(" ", "%20"), n) for k, n in Honest.survey(s, p))},
        "test_survey_of_odd_keys",
    ),
    "the size of missing is 0": ({"size": lambda s, k: Honest.size(s, k) or 0}, "test_size"),
    "the size is of a while ago": (
        {"size": lambda s, k: s.__dict__.setdefault("n " + k, Honest.size(s, k))},
        "test_size_is_up_to_date",
    ),
    "it finishes once": ({"finish": lambda s: s.__dict__.__delitem__("name")}, "test_finish"),
    "each sibling is another": (
        {"sibling": lambda s, e: type(s)(s.name + e + str(random.random()))},
        "test_sibling_is_one_place",
    ),
    "all siblings are one": ({"sibling": lambda s, e: type(s)(s.name + ".x")}, "test_sibling_is_one_place"),
    "it is its own sibling": ({"sibling": lambda s, e: s}, "test_sibling_shares_nothing"),
    "a move adds to what is there": (
        {"move_below": move_into_what_is_there},
        "test_move_below_does_nothing_where_it_cannot",
    ),
    "a move of nothing is done": (
        {"move_below": lambda s, p, o, q: Honest.move_below(s, p, o, q) or not list(s.survey(p))},
        "test_move_below_does_nothing_where_it_cannot",
    ),
    "a move loses": (
        {"move_below": lambda s, p, o, q: Honest.move_below(s, p, o, q) and (o.delete(q + "/c/d") or True)},
        "test_move_below",
    ),
    "what is synced is elsewhere": ({"synced": lambda s: type(s)(s.name + ".synced")}, "test_synced"),
    "writes leave files": ({"leftovers": lambda s, p: iter(s.values)}, "test_leftovers"),
    "the password shows": ({"__repr__": lambda s: f"Store({s.password})"}, "test_shows_no_secret"),
    "the url has a login": (
        {"url": property(lambda s: f"x://me:pw@{s.name}")},
        "test_url_names_the_store_without_credentials",
    ),
    "copies differ": ({"__eq__": object.__eq__, "__hash__": object.__hash__}, "test_pickles"),
    "a flag is a number": ({"waits": 1}, "test_what_it_says_of_itself_is_a_bool"),
    "a delete takes what begins the same": (
        {"delete_below": lambda s, p: [s.delete(k) for k in list(s.values) if k.startswith(p)]},
        "test_delete_below",
    ),
    "a delete of missing is an error": (
        {"delete": lambda s, k: s.values.__delitem__(k)},
        "test_delete_of_missing_is_no_error",
    ),
    "threads that delete fail": (
        {"delete_below": lambda s, p: [s.values.__delitem__(k) or time.sleep(0.001) for k, _ in s.survey(p)]},
        "test_threads_that_delete_the_same",
    ),
}


@pytest.mark.parametrize(("parts", "test"), DISHONEST.values(), ids=list(DISHONEST))
def test_what_is_not_honest_is_noticed(monkeypatch, parts, test):
    monkeypatch.setitem(globals(), "Changed", changed(**parts))  # it pickles by its name
    globals()["Changed"].__module__ = __name__
    with pytest.raises((AssertionError, KeyError, AttributeError, OSError, pytest.fail.Exception)):
        run(globals()["Changed"], test)


def test_a_sibling_that_is_a_part_is_noticed():
    with pytest.raises(AssertionError):
        run(InsideItself, "test_sibling_shares_nothing")


@pytest.mark.parametrize("test", sorted({test for _, test in DISHONEST.values()}))
def test_what_is_honest_is_not_blamed(test):
    run(Honest, test)


def run(store_class, test):
    """One test of the contract, with a new store."""
    chosen = [5] if test.endswith("_of_any_traffic") else []
    try:
        getattr(HonestContract(), test)(store_class(uuid.uuid4().hex), *chosen)
    finally:
        VALUES.clear()
        SPOILED.clear()


# Other processes


STORES_THAT_FORK = """
import os, threading, time
from daskzarr.testing import other_process as child

child._PATIENCE = 1.0

class Works:
    def get(self, key): return b"1"
    def get_many(self, keys): return map(self.get, keys)

class InTheChild(Works):
    process = os.getpid()
    def get(self, key):
        return b"1" if os.getpid() == self.process else self.elsewhere()

class Hangs(InTheChild):
    def elsewhere(self): time.sleep(60)

class Raises(InTheChild):
    def elsewhere(self): raise OSError("not here")

class Dies(InTheChild):
    def elsewhere(self): os.abort()

class Lies(InTheChild):
    def elsewhere(self): return None

for store in (Works(), Hangs(), Raises(), Dies(), Lies()):
    print(*child.use_across_a_fork(store, ["a", "b"]), sep=", ")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_what_becomes_of_a_fork_is_told():
    done = subprocess.run([sys.executable, "-c", STORES_THAT_FORK], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "works, works",
        "hangs, works",
        "raises OSError: not here, works",
        "dies, works",
        "wrong, works",
    ]


def test_what_goes_wrong_in_another_process_is_told_here():
    assert in_another_process(divmod, 7, 2) == (3, 1)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        in_another_process(divmod, 7, 0)
    with pytest.raises(AssertionError, match="exit code 3"):
        in_another_process(os._exit, 3)
    with pytest.raises(AssertionError, match=r"said nothing for 0\.5 s"):
        in_another_process(time.sleep, 30, seconds=0.5)
