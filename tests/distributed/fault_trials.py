"""A case and a folder -> the call made in processes that are killed, the reader beside them, and what came of it."""

import contextlib
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from .fault_cases import LINE, THREADS, perform, prepare
from .fault_checks import (
    computed,
    finished_journals,
    in_short,
    judge,
    look_at_array,
    look_at_objects,
    look_on,
    needless,
    noted_objects,
)

SECONDS = 60
MOMENTS = ("step", "step", "turn", "turn", "block", "object", "end", "time")
CHANGES = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
CHUNK = set("0123456789./c")


@dataclass(frozen=True)
class Kill:
    """When to kill whom: the whole job, or one of its workers."""

    moment: str
    share: float
    victim: str = "job"

    def __str__(self):
        return f"{self.victim} at {self.moment} {self.share:.3f}"


def kills_of(case):
    """For each attempt of a case when it is killed; the last one is not."""
    rng = random.Random(f"kills {case.seed}")
    attempts = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        moment = rng.choice(MOMENTS)
        if case.kind == "resize":
            moment = rng.choice(("step", "step", "time"))
        if case.runner == "workers":
            moment = rng.choice(("block", "object", "end", "turn", "time"))
        kills = [Kill(moment, rng.random())]
        if case.runner == "workers" and moment != "turn" and rng.random() < 0.6:
            kills = [Kill("block", rng.random() * 0.9, "worker"), *kills[: rng.randrange(2)]]
        attempts.append(kills)
    return [*attempts, []]


# ---- in the process that writes


def attempt(case, folder, number, steps, sabotage):
    """Make the call; ``steps`` says before which change of a file this process is to kill itself."""
    os.setpgid(0, 0)
    folder = Path(folder)
    output = os.open(folder / f"output-{number}", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        if sabotage is not None:
            SABOTAGES[sabotage]()
        with _runner(case, folder, number):
            if steps is not None:
                _count_changes(folder / "data", *steps)
            (folder / f"begun-{number}").touch()
            perform(case, folder / "data", folder / "log")
            (folder / f"done-{number}").touch()
            if case.runner == "workers":
                os.killpg(0, signal.SIGKILL)  # what a cluster does at leisure
    except BaseException:
        (folder / f"error-{number}").write_text(in_short())
        raise


@contextlib.contextmanager
def _runner(case, folder, number):
    """What runs the tasks: threads of this process, or two workers in processes of their own."""
    if case.runner == "threads":
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            yield
        return
    # Workers are forked from where this process is, which is fast, and are to die with it.
    join = f"import os; os.setpgid(0, {os.getpid()})"
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver", "distributed.worker.preload": [join]})
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with LocalCluster(**options, local_directory=str(folder / "scratch")) as cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        (folder / f"workers-{number}").write_text(json.dumps(pids))
        yield


def _count_changes(data, which, last):
    """Kill this process right before it changes a file below a folder for the ``last`` time.

    With ``which="turn"`` making a chunk does not count: documents, journals, and what moves or goes away do.
    """
    below, count = str(data), 0

    def before(event, args):
        nonlocal count
        if event == "open":
            if not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event not in CHANGES:
            return
        path = str(args[1] if event in ("os.link", "os.rename") else args[0])
        if path.startswith("/") and not path.startswith(below):
            return
        if which == "turn" and event in ("open", "os.link", "os.mkdir") and _is_chunk(path, event):
            return
        count += 1
        if count == last:
            os.killpg(0, signal.SIGKILL)
            time.sleep(SECONDS)

    sys.addaudithook(before)


def _is_chunk(path, event):
    """Whether a file may be a chunk, or a folder hold chunks."""
    return "__writes__" not in path and (event != "os.link" or set(os.path.basename(path)) <= CHUNK)


# ---- a write that does not keep what is promised: the harness has to notice


def _torn_writes():
    """Files are written in place, in two parts."""
    from daskzarr.stores.local import LocalStore

    def write(self, key, value):
        path, half = Path(self.root, key), len(value) // 2
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(bytes(value)[:half])
            time.sleep(0.02)
            file.write(bytes(value)[half:])

    LocalStore.set = write


def _lost_objects():
    """Of some objects nothing is written."""
    from daskzarr.stores.local import LocalStore

    write = LocalStore.set
    LocalStore.set = lambda self, key, value: None if _unlucky(key) else write(self, key, value)


def _lost_cells():
    """Of some objects the first cell is not written."""
    from daskzarr.chunk_io import writing

    encode = writing._encode

    def spoil(handle, index, cells, terms):
        if _unlucky("/".join(map(str, index))):
            cells = cells.copy()
            cells[(0,) * cells.ndim] = 0
        return encode(handle, index, cells, terms)

    writing._encode = spoil


def _forgetful():
    """What is noted as finished is not looked at."""
    from daskzarr.journal import Journal

    Journal.receipts = lambda self: {}


def _unlucky(key):
    """Whether a key is that of one of the chunks that suffer."""
    return set(key) <= CHUNK and sum(map(int, "".join(c if c.isdigit() else " " for c in key).split())) % 5 == 2


SABOTAGES = {
    "torn writes": _torn_writes,
    "lost objects": _lost_objects,
    "lost cells": _lost_cells,
    "forgetful": _forgetful,
}


# ---- the driver


@dataclass
class Outcome:
    """What came of a case."""

    case: str
    kind: str
    runner: str
    seconds: float = 0.0
    counts: Counter = field(default_factory=Counter)
    problems: list = field(default_factory=list)
    kills: list = field(default_factory=list)


class Trial:
    """One case on its way, in a folder of its own."""

    def __init__(self, case, folder, context, kills=None, sabotage=None):
        self.case, self.folder, self.context, self.sabotage = case, Path(folder), context, sabotage
        self.kills = kills_of(case) if kills is None else kills
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.outcome = Outcome(str(case), case.kind, case.runner)
        self.rng = random.Random(f"trial {case.seed}")
        self.before, self.done = set(), set()  # journals of what was finished before; objects that are finished

    def run(self, plant=None):
        """Run the case to its end. ``plant`` is called with the folder of the data before it is judged."""
        started = time.perf_counter()
        self.data.mkdir(parents=True)
        self.start(prepare, self.case, self.data).join()
        self.before = finished_journals(self.case, self.data)
        reader = self.start(look_on, self.case, self.data, self.folder / "stop", self.folder / "report")
        try:
            for number, kills in enumerate(self.kills):
                if self.attempt(number, kills):
                    break
        finally:
            (self.folder / "stop").touch()
            reader.join(SECONDS)
        self.hear(reader)
        if plant is not None:
            plant(self)
        self.outcome.problems += judge(self.case, self.data)
        self.outcome.counts["blocks"] = self.case.count
        self.outcome.counts["computed"] = len(computed(self.log, 0))
        self.outcome.seconds = time.perf_counter() - started
        return self.outcome

    def start(self, function, *args):
        """Run a function in a process of its own."""
        process = self.context.Process(target=function, args=args)
        process.start()
        return process

    def attempt(self, number, kills):
        """Make the call once; returns whether all is written."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        left, since = self.left(), time.time()
        ended = None
        process = self.start(attempt, self.case, self.folder, number, self.steps(kills, left), self.sabotage)
        self.outcome.counts["attempts"] += 1
        waiting = list(kills)
        begun, deadline = None, time.perf_counter() + SECONDS
        while process.exitcode is None:
            time.sleep(0.001)
            now = time.perf_counter()
            if begun is None and (self.folder / f"begun-{number}").exists():
                begun = now
            if now > deadline:
                self.outcome.problems.append(f"attempt {number} did not end")
                self.kill("job", process, number)
            elif begun is not None and waiting:
                count = self.count(offset)
                ended = ended or (now if count >= left[0] else None)
                if self.is_due(waiting[0], now - begun, count, left, since, ended and now - ended):
                    self.kill(waiting.pop(0).victim, process, number)
        process.join()
        _wait_for_group(process.pid)
        return self.look_back(number, process.exitcode, kills, offset)

    def left(self):
        """How many blocks have to be computed still, and objects to be written."""
        self.done = noted_objects(self.case, self.data)
        blocks = [first for first, keys in self.case.needs().items() if not keys <= self.done]
        return len(blocks), max(self.case.objects - len(self.done), 1)

    def steps(self, kills, left):
        """Before which change of a file the process kills itself, if it does."""
        if not kills or kills[0].moment not in ("step", "turn"):
            return None
        share, objects = kills[0].share, left[1]
        if kills[0].moment == "turn" or self.case.kind == "resize":
            return "turn", 1 + int(share * 30)
        # One in four of these is among the first changes.
        return "step", 1 + int(share * 4 * 20 if share < 0.25 else (share - 0.25) / 0.75 * (3 * objects + 20))

    def is_due(self, kill, seconds, count, left, since, after_end):
        """Whether the moment of a kill has come."""
        blocks, objects = left
        if kill.moment == "block":
            return count >= math.ceil(kill.share * blocks)
        if kill.moment == "object":
            return self.written(since) >= kill.share * objects
        if kill.moment == "end":
            return after_end is not None and after_end >= kill.share * 0.05
        return kill.moment == "time" and seconds >= kill.share * (0.4 + self.case.count * self.case.pause / THREADS)

    def count(self, offset):
        """How many blocks were computed since the log was so long."""
        return ((self.log.stat().st_size if self.log.exists() else 0) - offset) // LINE

    def written(self, since):
        """How many chunks were stored since a time."""
        count = 0
        for path, _, names in os.walk(self.data):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    count += set(name) <= CHUNK and os.stat(os.path.join(path, name)).st_mtime >= since
        return count

    def kill(self, victim, process, number):
        """SIGKILL, to one worker or to all processes of the job at once."""
        if victim == "worker":
            self.outcome.counts["workers killed"] += 1
        with contextlib.suppress(ProcessLookupError):
            if victim == "job":
                os.killpg(process.pid, signal.SIGKILL)
                process.kill()
            else:
                os.kill(json.loads((self.folder / f"workers-{number}").read_text())[0], signal.SIGKILL)

    def look_back(self, number, exitcode, kills, offset):
        """What an attempt left; returns whether it is to be the last one."""
        problems = self.outcome.problems
        problems += needless(self.case, self.done, computed(self.log, offset))
        error = self.folder / f"error-{number}"
        if error.exists():
            problems.append(f"attempt {number} failed: {error.read_text()}")
            return True
        killed = exitcode in (-signal.SIGKILL, 255)  # which is what the forking server says if it does not know
        if exitcode == 0 or (killed and (self.folder / f"done-{number}").exists()):
            return True
        self.outcome.counts["jobs killed"] += killed
        if not killed or not kills:
            output = (self.folder / f"output-{number}").read_text()
            problems.append(f"attempt {number} ended with {exitcode}: {output[-2000:]}")
            return True
        for target in self.case.targets:
            for look in (look_at_objects, look_at_array):
                found = look(self.case, target, self.data, self.outcome.counts)
                problems += [f"after attempt {number} was killed: {text}" for text in found]
        # What was overwritten from itself must not be written again: the source is gone.
        if self.case.kind == "overwrite" and finished_journals(self.case, self.data) - self.before:
            return True
        if self.rng.random() < 0.25:
            self.tear_a_log()
        return False

    def tear_a_log(self):
        """Cut the end off something noted, as when a machine dies."""
        logs = sorted(self.data.glob("*.daskzarr/**/__writes__/*/log-*"), key=lambda path: path.stat().st_mtime_ns)
        if logs and logs[-1].stat().st_size:
            self.outcome.counts["logs torn"] += 1
            os.truncate(logs[-1], self.rng.randrange(logs[-1].stat().st_size))

    def hear(self, reader):
        """What the reader saw."""
        if not (self.folder / "report").exists():
            reader.kill()
            self.outcome.problems.append("the reader did not end")
            return
        report = json.loads((self.folder / "report").read_text())
        self.outcome.counts.update(report["counts"])
        self.outcome.problems += [f"the reader: {text}" for text in report["problems"]]


def _wait_for_group(group):
    """Wait until no process of a group runs any more."""
    deadline = time.perf_counter() + SECONDS
    while time.perf_counter() < deadline and any(found == group for found in _groups_running()):
        time.sleep(0.005)


def _groups_running():
    """The groups of all processes that are not dead."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                state, _, group = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:3]
                if state not in "ZX":
                    yield int(group)
