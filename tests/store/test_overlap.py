"""Requests of one task that are under way at once: in order, within bounds, with errors at their turn, nothing left."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr.stores.overlap
from daskzarr.stores import MappingStore, RetryBudget, Traffic
from daskzarr.stores.overlap import InOrder, in_threads, on_loop, overlapped
from daskzarr.stores.retries import persist

ONE, THREE, SIXTEEN = (Traffic(requests=n) for n in (1, 3, 16))


class Refused(Exception):
    pass


class Waits:
    """The least of a store that overlaps."""

    url = "waits://"
    waits = True

    def get(self, key, byte_range=None):
        return None

    def get_many(self, keys, traffic=None):
        return iter([None] * len(keys))


@pytest.fixture
def loop():
    """An event loop that runs in a thread of its own, and what it complained of."""
    loop = asyncio.new_event_loop()
    loop.complaints = []
    loop.set_exception_handler(lambda _, context: loop.complaints.append(context["message"]))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
    assert loop.complaints == []


@pytest.fixture
def small_pool(monkeypatch):
    """Four threads for requests instead of many."""
    monkeypatch.setattr("daskzarr.stores.overlap._MOST_THREADS", 4)
    monkeypatch.setattr("daskzarr.stores.overlap._threads", None)
    yield
    daskzarr.stores.overlap._threads.shutdown()


@contextlib.contextmanager
def nothing_unraisable():
    """No error or warning comes from where none can be raised, such as a finaliser."""
    seen = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda it: seen.append(f"{it.exc_value!r} in {it.object!r}")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert seen == []
    assert [str(warning.message) for warning in warned if warning.category is not ResourceWarning] == []


class ByHand:
    """Requests that end when the test says so."""

    def __init__(self):
        self.futures = {}
        self.most = 0

    def start(self, item):
        self.futures[item] = Future()
        self.most = max(self.most, self.running())
        return self.futures[item]

    def running(self):
        return sum(not future.done() for future in self.futures.values())

    def end(self, item):
        """End the request of an item: one that is negative fails."""
        if item < 0:
            self.futures[item].set_exception(Refused(item))
        else:
            self.futures[item].set_result(item * 10)


def taken(results):
    """All results, and an error as the number it carries."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Refused as error:
            found.append(error.args[0])


def soon(condition):
    """Wait until something holds."""
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.005)
    return False


def run(code, seconds=60):
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


# Order and bounds


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 40), requests=st.integers(1, 6), seed=st.integers(0, 999), failing=st.sets(st.integers(1, 40))
)
def test_results_come_in_order_whatever_order_requests_end_in(count, requests, seed, failing):
    by_hand, chance = ByHand(), random.Random(seed)
    items = [-i if i in failing else i for i in range(count)]
    results = InOrder(by_hand.start, items, Traffic(requests=requests))
    found = []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(taken, results)
        while not answer.done():
            open_ones = [item for item, future in list(by_hand.futures.items()) if not future.done()]
            if open_ones:
                assert len(open_ones) <= requests
                by_hand.end(chance.choice(open_ones))
            time.sleep(0)
        found = answer.result()
    assert found == [item if item < 0 else item * 10 for item in items]
    assert by_hand.most <= requests
    assert list(by_hand.futures) == items


def test_no_more_than_asked_for_are_under_way_and_no_more_than_twice_that_are_kept():
    by_hand, drawn = ByHand(), []
    items = (drawn.append(i) or i for i in range(100))
    results = InOrder(by_hand.start, items, THREE)
    assert drawn == []  # nothing begins before something is asked for
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, results)
        assert soon(lambda: len(by_hand.futures) == 3)
        for late in (1, 2, 3, 4, 5):  # the first is late: others go on, up to a limit
            by_hand.end(late)
            assert soon(lambda late=late: len(by_hand.futures) == min(late + 3, 6))
        time.sleep(0.05)
        assert drawn == [0, 1, 2, 3, 4, 5]
        by_hand.end(0)
        assert first.result(10) == 0
    assert [next(results) for _ in range(1)] == [10]
    assert drawn[-1] <= 8
    assert by_hand.running() <= 3
    for i in range(6, 100):
        if i in by_hand.futures:
            by_hand.end(i)


@pytest.mark.parametrize("requests", [1, 2, 5])
def test_a_result_that_is_there_before_it_is_said_to_be_is_not_taken_for_the_last(requests):
    """A request is done some time before those who wait for it are told: a consumer may come between."""

    def start(item):
        future = Future()
        future.add_done_callback(lambda _: time.sleep(0.05))  # whoever was to be told after that has to wait
        threading.Timer(0.005, future.set_result, [item]).start()
        return future

    found = []
    for result in InOrder(start, range(7), Traffic(requests=requests)):
        found.append(result)
        time.sleep(0.02)
    assert found == list(range(7))


def test_nothing_is_lost_however_threads_take_turns():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(60):
            results = in_threads(lambda item: item, range(200), Traffic(requests=1 + turn % 3))
            found = []
            for result in results:
                found.append(result)
                sum(range(turn))
            assert found == list(range(200))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("traffic", [ONE, THREE, SIXTEEN], ids=lambda traffic: str(traffic.requests))
def test_calls_in_threads_overlap_as_far_as_they_may(traffic):
    lock, running, most = threading.Lock(), 0, 0

    def call(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return item * 2

    assert list(in_threads(call, range(60), traffic)) == [item * 2 for item in range(60)]
    assert most <= traffic.requests
    assert most > min(traffic.requests, 2) - 1


@pytest.mark.parametrize("traffic", [ONE, THREE, SIXTEEN], ids=lambda traffic: str(traffic.requests))
def test_coroutines_overlap_as_far_as_they_may(loop, traffic):
    running = most = 0

    async def call(item):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002 * random.random())
        running -= 1
        return item * 2

    assert list(on_loop(loop, call, range(60), traffic)) == [item * 2 for item in range(60)]
    assert most == traffic.requests


def test_nothing_is_asked_for_where_there_is_nothing():
    assert list(in_threads(str, [], SIXTEEN)) == []
    results = in_threads(str, iter([1]), SIXTEEN)
    assert [next(results, "over") for _ in range(3)] == ["1", "over", "over"]


# Errors


def call_unless_negative(item):
    if item < 0:
        raise Refused(item)
    return item


@pytest.mark.parametrize("traffic", [ONE, THREE, SIXTEEN], ids=lambda traffic: str(traffic.requests))
def test_an_error_comes_at_its_turn_and_the_rest_goes_on(loop, traffic):
    items = [0, 1, -2, -3, 4, 5, -6, 7]

    async def coroutine(item):
        await asyncio.sleep(0.001 * abs(item - 4))
        return call_unless_negative(item)

    assert taken(in_threads(call_unless_negative, items, traffic)) == items
    assert taken(on_loop(loop, coroutine, items, traffic)) == items
    with overlapped(Waits(), call_unless_negative, items, traffic) as results:
        assert taken(results) == items
    assert taken(in_threads(call_unless_negative, [-1] * 40, traffic)) == [-1] * 40


def test_an_error_in_the_items_loses_nothing_that_was_asked_for():
    def items():
        yield from (0, 1, 2)
        raise Refused(-3)

    results, found, errors = in_threads(str, items(), SIXTEEN), [], 0
    for _ in range(6):
        try:
            found.append(next(results))
        except Refused:
            errors += 1
        except StopIteration:
            pass
    assert found == ["0", "1", "2"]
    assert errors == 1


def test_what_cannot_be_asked_for_is_an_error_and_not_the_end():
    def start(item):
        if item == 2:
            raise Refused(-item)
        future = Future()
        future.set_result(item)
        return future

    results, found = InOrder(start, range(5), ONE), []
    with contextlib.suppress(StopIteration):
        while True:
            try:
                found.append(next(results))
            except Refused as error:
                found.append(error.args[0])
    assert found == [0, 1, -2, 3, 4]


def test_items_that_are_none_are_an_error_and_nothing_else():
    with nothing_unraisable(), pytest.raises(TypeError):
        in_threads(str, None, SIXTEEN)


def test_a_closed_loop_is_an_error_and_leaves_no_coroutine():
    loop = asyncio.new_event_loop()
    loop.close()

    async def call(item):
        return item

    with nothing_unraisable():
        results = on_loop(loop, call, range(3), THREE)
        with pytest.raises(RuntimeError, match="closed"):
            next(results)
        del results


def test_an_error_of_an_interpreter_kind_reaches_the_caller():
    def call(item):
        if item == 3:
            raise KeyboardInterrupt
        return item

    results = in_threads(call, range(6), ONE)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert list(results) == [4, 5]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals on this system")
def test_who_is_interrupted_leaves_nothing_under_way():
    lock, running, armed = threading.Lock(), 0, False

    def call(item):
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.001)
        with lock:
            running -= 1
        return item

    def interrupt(*_):
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for turn in range(30):
            found = []
            timer = threading.Timer(0.004 + turn * 0.0003, os.kill, [os.getpid(), signal.SIGUSR1])
            with contextlib.suppress(KeyboardInterrupt), overlapped(Waits(), call, range(9999), THREE) as results:
                armed = True
                timer.start()
                for result in results:
                    found.append(result)  # noqa: PERF402
            timer.join()
            assert not armed
            assert found == list(range(len(found)))
            assert soon(lambda: running == 0)  # one that was just being started is not waited for
            count = len(found)
            time.sleep(0.003)
            assert (running, len(found)) == (0, count)
    finally:
        armed = False
        signal.signal(signal.SIGUSR1, before)


# Left in the middle


def test_what_is_left_begins_no_more(small_pool):
    begun, gate = [], threading.Event()

    def call(item):
        begun.append(item)
        if item:
            gate.wait(10)
        return item

    with nothing_unraisable():
        results = in_threads(call, range(100), SIXTEEN)
        assert next(results) == 0
        assert soon(lambda: len(begun) == 5)  # as many as there are threads, and the one that is done
        del results
        gc.collect()
        gate.set()
        assert list(in_threads(str, range(8), THREE)) == list("01234567")
    assert len(begun) == 5


def test_threads_do_not_grow_with_what_is_left():
    def call(item):
        time.sleep(0.001)
        return item

    for _ in range(60):
        next(in_threads(call, range(100), SIXTEEN))
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("daskzarr-requests")]
    assert len(names) <= 128
    assert list(in_threads(call, range(40), SIXTEEN)) == list(range(40))


def test_coroutines_that_are_left_come_to_an_end(loop):
    begun, ended = [], []

    async def call(item):
        begun.append(item)
        try:
            await asyncio.sleep(0 if item == 0 else 30)
        finally:
            ended.append(item)
        return item

    with nothing_unraisable():
        results = on_loop(loop, call, range(1000), SIXTEEN)
        assert next(results) == 0
        del results
        gc.collect()
        assert soon(lambda: len(ended) == len(begun))
        assert soon(lambda: not asyncio.all_tasks(loop))
        assert len(begun) <= 18


def test_coroutines_that_have_not_begun_come_to_an_end(loop):
    """The loop is busy when they are given to it, and they are left before it comes to them."""
    begun, ended, busy, free = [], [], threading.Event(), threading.Event()

    async def call(item):
        begun.append(item)
        if item < 2:
            return item
        if item == 2:
            await asyncio.sleep(0.01)
            busy.set()
            free.wait(10)
        await asyncio.sleep(30)  # where what was cancelled ends
        ended.append(item)
        return item

    with nothing_unraisable():
        results = on_loop(loop, call, range(50), THREE)
        assert next(results) == 0
        busy.wait(10)
        assert next(results) == 1
        assert len(results._waiting) > 1  # more were asked for than could begin
        del results
        gc.collect()
        free.set()
        assert soon(lambda: not asyncio.all_tasks(loop))
        gc.collect()
    assert begun[:3] == [0, 1, 2]
    assert ended == []


def test_a_coroutine_that_fails_after_it_was_left_is_not_heard_of(loop):
    async def call(item):
        await asyncio.sleep(0.002 * item)
        raise Refused(-item)

    with nothing_unraisable():
        results = on_loop(loop, call, range(16), SIXTEEN)
        with pytest.raises(Refused):
            next(results)
        del results
        gc.collect()
        time.sleep(0.06)
        assert soon(lambda: not asyncio.all_tasks(loop))
        gc.collect()


def test_calls_that_fail_after_they_were_left_are_not_heard_of():
    def call(item):
        time.sleep(0.002 * item)
        raise Refused(-item)

    with nothing_unraisable():
        results = in_threads(call, range(16), SIXTEEN)
        with pytest.raises(Refused):
            next(results)
        del results
        time.sleep(0.05)


def test_in_the_end_nothing_is_under_way(small_pool):
    begun, ended = [], []

    def call(item):
        begun.append(item)
        time.sleep(0.02)
        ended.append(item)
        return item

    for error in (None, Refused(-1)):
        with contextlib.suppress(Refused), overlapped(Waits(), call, range(100), SIXTEEN) as results:
            assert next(results) == 0
            if error is not None:
                raise error
        assert len(ended) == len(begun)  # none goes on behind the back of who left
        count = len(begun)
        time.sleep(0.05)
        assert len(begun) == count
    assert list(results) == []


def test_the_end_waits_for_no_one_elses_requests(small_pool):
    gate, begun = threading.Event(), []
    results = in_threads(begun.append, range(9), THREE)
    next(results)
    assert soon(lambda: len(begun) == 3)
    others = in_threads(lambda _: gate.wait(6), range(4), SIXTEEN)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, others)
        assert soon(lambda: others._running == 4)  # every thread is busy
        next(results)  # what is there already; two more are asked for, and do not begin
        began = time.monotonic()
        results.stop()
        took = time.monotonic() - began
        gate.set()
        waiting.result(20)
    others.stop()
    assert sorted(begun) == [0, 1, 2]
    assert took < 3


def test_in_the_end_no_coroutine_is_under_way(loop):
    ended = []

    async def call(item):
        try:
            await asyncio.sleep(0.001 if item == 0 else 30)
        finally:
            ended.append(item)
        return item

    results = on_loop(loop, call, range(100), THREE)
    assert next(results) == 0
    began = time.monotonic()
    results.stop()
    assert time.monotonic() - began < 10
    assert soon(lambda: not asyncio.all_tasks(loop))
    assert list(results) == []


def test_stopping_twice_and_before_the_beginning_is_no_error():
    results = in_threads(str, range(9), THREE)
    results.stop()
    results.stop()
    assert list(results) == []


def test_a_store_that_does_not_wait_is_asked_in_this_thread():
    with overlapped(MappingStore({}), lambda _: threading.current_thread(), range(3), SIXTEEN) as threads:
        assert set(threads) == {threading.current_thread()}
    with overlapped(Waits(), lambda _: threading.current_thread(), range(3), SIXTEEN) as threads:
        assert threading.current_thread() not in set(threads)


# In one another


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_calls_in_calls_come_to_an_end(small_pool, depth):
    def call(item, depth=depth):
        if not depth:
            return item
        return sum(in_threads(lambda inner: call(inner, depth - 1), range(item, item + 3), SIXTEEN))

    def expected(item, depth):
        return item if not depth else sum(expected(inner, depth - 1) for inner in range(item, item + 3))

    assert within(20, lambda: list(in_threads(call, range(40), SIXTEEN))) == [expected(i, depth) for i in range(40)]


def test_calls_in_calls_that_are_left_or_fail_come_to_an_end(small_pool):
    def call(item):
        if item % 3 == 0:
            return next(in_threads(str, range(item, 100), SIXTEEN))
        with overlapped(Waits(), call_unless_negative, [item, -item, item], SIXTEEN) as results:
            if item % 3 == 1:
                return str(next(results))
            return ",".join(map(str, taken(results)))

    expected = [f"{i},-{i},{i}" if i % 3 == 2 else f"{i}" for i in range(60)]
    assert within(20, lambda: list(in_threads(call, range(60), SIXTEEN))) == expected


def test_many_tasks_share_the_threads(small_pool):
    def task(number):
        return list(in_threads(lambda item: item + number, range(30), SIXTEEN))

    def all_tasks():
        with ThreadPoolExecutor(12) as pool:
            return list(pool.map(task, range(24)))

    assert within(30, all_tasks) == [[item + number for item in range(30)] for number in range(24)]


def test_iterators_that_are_taken_in_turn_do_not_wait_for_each_other(small_pool):
    def all_of_them():
        return list(zip(*(in_threads(lambda item: item, range(50), SIXTEEN) for _ in range(10)), strict=True))

    assert within(20, all_of_them) == [(item,) * 10 for item in range(50)]


def test_a_request_may_be_tried_again_in_its_thread(small_pool):
    attempts, lock = {}, threading.Lock()

    def request(item):
        with lock:
            attempts[item] = attempts.get(item, 0) + 1
        if attempts[item] <= item % 3:
            raise TimeoutError
        return item

    def call(item):
        return persist(request, item, budget=RetryBudget(first_wait=0.001))

    assert list(in_threads(call, range(40), SIXTEEN)) == list(range(40))
    assert attempts == {item: item % 3 + 1 for item in range(40)}


def within(seconds, call):
    """What a call gives, which must not take longer."""
    answer = Future()

    def answered():
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=answered, daemon=True).start()
    return answer.result(seconds)


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own():
    out, err = run(
        """
        import os, signal, time, warnings
        from daskzarr.stores import Traffic
        from daskzarr.stores.overlap import in_threads

        warnings.simplefilter("ignore")

        def slow(item):
            time.sleep(0.02)
            return item

        begun = in_threads(slow, range(100), Traffic())
        assert next(begun) == 0  # threads are at work
        if (child := os.fork()) == 0:
            signal.alarm(20)
            found = list(in_threads(slow, range(20), Traffic()))
            os._exit(0 if found == list(range(20)) else 1)
        status = os.waitpid(child, 0)[1]
        print(status, list(begun) == list(range(1, 100)), list(in_threads(slow, range(3), Traffic())))
        """
    )
    assert out == "0 True [0, 1, 2]", err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_leaves_what_its_parent_began():
    out, err = run(
        """
        import gc, os, signal, time, warnings
        from daskzarr.stores import Traffic
        from daskzarr.stores.overlap import in_threads

        warnings.simplefilter("ignore")

        begun = in_threads(lambda item: time.sleep(0.02) or item, range(100), Traffic())
        assert next(begun) == 0
        if (child := os.fork()) == 0:
            signal.alarm(20)
            del begun  # waits for no thread that the child does not have
            gc.collect()
            os._exit(0)
        print(os.waitpid(child, 0)[1], len(list(begun)))
        """
    )
    assert out == "0 99", err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_from_a_thread_of_the_pool_works():
    out, err = run(
        """
        import os, signal, warnings
        from daskzarr.stores import Traffic
        from daskzarr.stores.overlap import in_threads

        warnings.simplefilter("ignore")

        def forks(_):
            if (child := os.fork()) == 0:
                signal.alarm(20)
                os._exit(0 if list(in_threads(abs, range(9), Traffic())) == list(range(9)) else 1)
            return os.waitpid(child, 0)[1]

        print(list(in_threads(forks, range(2), Traffic())))
        """
    )
    assert out == "[0, 0]", err


def test_a_process_ends_though_requests_were_left():
    began = time.monotonic()
    out, err = run(
        """
        import time
        from daskzarr.stores import Traffic
        from daskzarr.stores.overlap import in_threads

        results = in_threads(lambda item: time.sleep(0.05) or item, range(100_000), Traffic())
        print(next(results))
        """
    )
    assert (out, err) == ("0", "")
    assert time.monotonic() - began < 30


def test_a_process_that_ends_says_nothing_of_coroutines_that_were_left():
    out, err = run(
        """
        import asyncio, threading
        from daskzarr.stores import Traffic
        from daskzarr.stores.overlap import on_loop

        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        async def call(item):
            await asyncio.sleep(0 if item == 0 else 30)
            return item

        print(next(on_loop(loop, call, range(1000), Traffic())))
        """
    )
    assert (out, err) == ("0", "")
