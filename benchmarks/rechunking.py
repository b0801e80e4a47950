"""A stored array in other chunks, on two processes: daskzarr, dask by tasks and by p2p, rechunker, cubed.

Run ``python -m benchmarks.rechunking --help``. Rechunker and cubed run in interpreters of their own, that
``DASKZARR_BENCH_RECHUNKER`` and ``DASKZARR_BENCH_CUBED`` name; without these they are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import psutil

import daskzarr
from benchmarks.paired import save
from benchmarks.peer_rechunk import Job
from benchmarks.read_write import field

SCRIPT = Path(__file__).with_name("peer_rechunk.py")
INTERPRETERS = {"rechunker": "DASKZARR_BENCH_RECHUNKER", "cubed": "DASKZARR_BENCH_CUBED"}
CONTENDERS = ("daskzarr", "dask tasks", "dask p2p", "rechunker", "cubed")
MAP = (361, 720)
SPAN = (720, 880)
SHIFT = 7919  # cells by which one step of the first axis moves the values
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Case:
    """A stored array: its shape, chunks, the chunks it is to have, and whether it is compressed."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    target: tuple[int, ...]
    compressed: bool

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return 4 * math.prod(self.shape)


def case_of(name: str, gigabytes: float, compressed: bool) -> Case:
    """The case of so many 10^9 bytes."""
    if name == "misaligned":
        steps = max(40, round(gigabytes * 1e9 / 4 / math.prod(SPAN)))
        return Case((steps, *SPAN), (20, 90, 110), (33, 64, 128), compressed)
    steps = max(1, round(gigabytes * 1e9 / 4 / math.prod(MAP)))
    edge = min(MAP[0], max(1, round(math.sqrt(1e6 / 4 / steps))))
    maps, pencils = (1, *MAP), (steps, edge, edge)
    chunks, target = (pencils, maps) if name == "pencils-to-maps" else (maps, pencils)
    return Case((steps, *MAP), chunks, target, compressed)


class Cells:
    """The cells of a case, any box of them at a time. A step of the first axis is the one before, shifted, plus one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._walk = field((1, math.prod(shape[1:])))[0]
        self._places = np.arange(self._walk.size).reshape(shape[1:])

    def box(self, steps: slice, *rest: slice) -> np.ndarray[Any, Any]:
        """These."""
        places = self._places[rest]
        found = np.empty((steps.stop - steps.start, *places.shape), "f4")
        for step, out in zip(range(steps.start, steps.stop), found, strict=True):
            np.take(self._walk, places + step * SHIFT, mode="wrap", out=out)
            out += step
        return found


def store(case: Case, place: str, zarr_format: int) -> None:
    """Write the source, a row of chunks at a time, by zarr-python."""
    import numcodecs
    import zarr

    codec = None
    if case.compressed:
        codec = zarr.codecs.ZstdCodec(level=0) if zarr_format == 3 else numcodecs.Zstd(level=0)
    stored = zarr.create_array(
        place, shape=case.shape, chunks=case.chunks, dtype="f4", compressors=codec, zarr_format=zarr_format
    )
    cells = Cells(case.shape)
    whole = [slice(0, length) for length in case.shape[1:]]
    for start in range(0, case.shape[0], case.chunks[0]):
        steps = slice(start, min(start + case.chunks[0], case.shape[0]))
        stored[steps] = cells.box(steps, *whole)


def check(case: Case, place: str) -> None:
    """Every cell of the target, chunk by chunk, and its chunks."""
    import zarr

    stored = zarr.open_array(place, mode="r")
    assert stored.chunks == case.target, stored.chunks
    cells = Cells(case.shape)
    starts = [range(0, length, chunk) for length, chunk in zip(case.shape, case.target, strict=True)]
    for corner in itertools.product(*starts):
        box = [slice(a, min(a + c, n)) for a, c, n in zip(corner, case.target, case.shape, strict=True)]
        assert np.array_equal(stored[tuple(box)], cells.box(*box)), (place, corner)


def size_of(folder: str) -> int:
    """Bytes of the files below a folder, also while they are being written."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it was renamed
                total += os.stat(f"{path}/{name}").st_size
    return total


# Measuring the processes


class Watch(threading.Thread):
    """Processes' memory and bytes by their own counters, every 20 ms, over those when it began.

    What is started later (in place of a killed worker) is compared with what the first workers had at the beginning,
    when they had imported everything.
    """

    def __init__(self, job: int, workers: list[int]) -> None:
        super().__init__(daemon=True)
        self._job = psutil.Process(job)
        self._workers = {pid: psutil.Process(pid) for pid in workers}
        self._others = {child.pid for child in self._job.children(recursive=True)} - set(workers)
        self._first = {pid: _counts(process) for pid, process in {job: self._job, **self._workers}.items()}
        self._new = {key: min(self._first[pid][key] for pid in workers) for key in self._first[job]}
        self._last: dict[int, dict[str, int]] = {}
        self.peak = dict.fromkeys(("workers", "worker", "client"), 0)
        self._end = threading.Event()
        self.start()

    def run(self) -> None:
        """Sample until the end."""
        for count in itertools.count():
            if count % 25 == 0:
                self._look_for_new()
            self._sample()
            if self._end.wait(0.02):
                return

    def stop(self) -> dict[str, Any]:
        """Bytes the workers read and wrote, those that are gone too, and the peaks of memory."""
        self._end.set()
        self.join()
        self._sample()
        workers = [counts for pid, counts in self._last.items() if pid != self._job.pid]
        return {"peak": self.peak} | {key: sum(counts[key] for counts in workers) for key in ("read", "written")}

    def _sample(self) -> None:
        alive = []
        for pid, process in {self._job.pid: self._job, **self._workers}.items():
            try:
                counts = _counts(process)
            except (psutil.Error, OSError):  # it was killed
                continue
            first = self._first.get(pid, self._new)
            self._last[pid] = {key: max(0, counts[key] - first[key]) for key in counts}
            alive.append(pid)
        memory = {pid: self._last[pid]["rss"] for pid in alive}
        client = memory.pop(self._job.pid, 0)
        found = {"workers": sum(memory.values()), "worker": max(memory.values(), default=0), "client": client}
        self.peak = {name: max(self.peak[name], value) for name, value in found.items()}

    def _look_for_new(self) -> None:
        try:
            children = self._job.children(recursive=True)
        except psutil.Error:  # all was killed
            return
        self._workers |= {child.pid: child for child in children if child.pid not in {*self._workers, *self._others}}


def _counts(process: psutil.Process) -> dict[str, int]:
    """Of one process."""
    io = process.io_counters()
    return {"rss": process.memory_info().rss, "read": io.read_chars, "written": io.write_chars}


# Running one job


@contextmanager
def started(job: Job, log: Path) -> Iterator[tuple[subprocess.Popen[str], TextIO, TextIO]]:
    """The job's process, its input and output; with all it started it is a process group, which is ended at the end."""
    python = os.environ[INTERPRETERS[job["contender"]]] if job["contender"] in INTERPRETERS else sys.executable
    command = [python, str(SCRIPT), json.dumps(job)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors, start_new_session=True, **pipes)
        try:
            yield process, cast(TextIO, process.stdin), cast(TextIO, process.stdout)
            with suppress(subprocess.TimeoutExpired):
                process.communicate("\n", timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(job: Job, log: Path, kill: str = "", at: float = 0) -> dict[str, Any]:
    """Do a job; kill one ``worker`` or ``all`` of it as soon as the target has ``at`` bytes."""
    os.sync()
    with started(job, log) as (process, to, back):
        ready = back.readline()
        if not ready:
            return {"error": _last_line(log)}
        first = json.loads(ready)
        watch = Watch(process.pid, first["workers"])
        print(file=to, flush=True)
        killed = False
        while not select.select([back], [], [], 0.05)[0]:
            if kill and not killed and size_of(job["target"]) >= at:
                killed = True
                if kill == "all":
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    os.kill(first["workers"][0], signal.SIGKILL)
        line = back.readline()
        measured = watch.stop()
    if not line and not (killed and kill == "all"):
        return {"error": _last_line(log)}
    return {**json.loads(line or "{}"), **measured, "killed": killed, "versions": first["versions"]}


def _last_line(log: Path) -> str:
    """What went wrong."""
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


class Bench:
    """The sources of a case in a folder, and the jobs on them."""

    def __init__(self, case: Case, folder: str, max_mem: str) -> None:
        self.case, self._folder, self._max_mem = case, folder, max_mem

    def job(self, contender: str, resume: bool = False, again: str = "") -> Job:
        """One contender's; its source is there, its target is not, unless it resumes."""
        zarr_format = 2 if contender == "rechunker" else 3
        source = f"{self._folder}/source-v{zarr_format}"
        if not Path(source).exists():
            store(self.case, source, zarr_format)
        if not resume:
            self.clear(again)
        return {
            "contender": contender,
            "source": source,
            "target": f"{self._folder}/work{again}/target",
            "scratch": f"{self._folder}/work{again}/scratch",
            "chunks": list(self.case.target),
            "max_mem": self._max_mem,
            "compressed": self.case.compressed,
            "resume": resume,
            "workers": WORKERS,
        }

    def clear(self, again: str = "") -> None:
        """Remove what a job wrote."""
        shutil.rmtree(f"{self._folder}/work{again}", ignore_errors=True)
        Path(f"{self._folder}/work{again}/scratch").mkdir(parents=True)

    def run(self, job: Job, **kill: Any) -> dict[str, Any]:
        """Do it."""
        return run(job, Path(f"{self._folder}/log"), **kill)

    def right(self, job: Job) -> bool:
        """Whether the target is what it has to be."""
        try:
            check(self.case, job["target"])
        except (AssertionError, FileNotFoundError) as error:
            print(f"  {job['contender']}: WRONG RESULT {error!r}", flush=True)
            return False
        return True

    def plan(self) -> dict[str, Any]:
        """What daskzarr means to do, and the number of tasks of Dask's graph."""
        import dask.array as da

        job = self.job("daskzarr")
        settings = {"max_mem": self._max_mem, "scratch": job["scratch"] + "/daskzarr"}
        plan: Any = daskzarr.plan_rechunk(job["source"], job["target"], self.case.target, **settings)
        print(plan.explain())
        names = ("kind", "tasks", "gets", "puts", "bytes_read", "bytes_written", "memory", "scratch")
        write = da.from_zarr(job["source"]).rechunk(self.case.target, method="tasks")
        write = write.to_zarr(job["target"], compute=False, compressors=None)
        graph = write.__dask_optimize__(write.__dask_graph__(), write.__dask_keys__())
        return {name: getattr(plan, name) for name in names} | {"dask_tasks": len(dict(graph))}


# The cases


def compare(bench: Bench, names: list[str], rounds: int) -> dict[str, Any]:
    """Every contender in turn, in an order that rotates."""
    plan = bench.plan()
    print(f"  tasks of Dask's graph: {plan['dask_tasks']}")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    right = {}
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            if runs[name] and "error" in runs[name][-1]:
                continue
            job = bench.job(name)
            runs[name].append(bench.run(job))
            if name not in right and "seconds" in runs[name][-1]:
                right[name] = bench.right(job)
            bench.clear()
    times = {
        name: statistics.median(run["seconds"] for run in found)
        for name, found in runs.items()
        if "error" not in found[-1]
    }
    best = min(
        (name for name in times if name != "daskzarr"), key=lambda name: times[name], default=next(iter(times), "")
    )
    results: dict[str, Any] = {"plan": plan, "case": asdict(bench.case), "best_peer": best}
    for name, found in runs.items():
        if "error" in found[-1]:
            results[name] = found[-1]
            print(f"  {name:<12} did not run: {found[-1]['error']}")
            continue
        row: dict[str, Any] = {"median_s": times[name], "ratio": times[name] / times[best], "right": right[name]}
        row |= {key: statistics.median(run[key] for run in found) for key in ("read", "written")}
        row |= {f"{key}_by_plan": row[key] / plan[f"bytes_{key}"] for key in ("read", "written")}
        row["peak"] = {key: max(run["peak"][key] for run in found) for key in found[0]["peak"]}
        results[name] = row | {"rounds": found}
        show(name, row, bench.case)
    return results


def show(name: str, row: dict[str, Any], case: Case) -> None:
    """Print one contender's row."""
    peak = ", ".join(f"{row['peak'][key] / 1e6:>4.0f} {key}" for key in ("workers", "worker", "client"))
    moved = ", ".join(
        f"{key} x {row[key] / case.nbytes:.2f} (of the plan {row[f'{key}_by_plan']:.2f})" for key in ("read", "written")
    )
    print(f"  {name:<12}{row['median_s']:>7.1f} s  x {row['ratio']:<6.2f} peak MB: {peak};  {moved}", flush=True)


def killing(bench: Bench, names: list[str], what: str) -> dict[str, Any]:
    """Kill a worker or everything when half the target is there; what is read and written, by the undisturbed run's."""
    results = {}
    for name in names:
        job = bench.job(name)
        calm = bench.run(job)
        if "error" in calm:
            print(f"  {name:<12} did not run: {calm['error']}")
            results[name] = calm
            continue
        half = size_of(job["target"]) / 2
        runs = [bench.run(job := bench.job(name), kill=what, at=half)]
        if what == "all":
            resume = name == "daskzarr"
            job = bench.job(name, resume=resume, again="" if resume else "-again")  # the peers begin anew
            runs.append(bench.run(job))
        row = {
            "killed": runs[0]["killed"],
            "error": next((run["error"] for run in runs if "error" in run), None),
            "calm_s": calm["seconds"],
            "last_s": runs[-1].get("seconds"),
            **{key: sum(run.get(key, 0) for run in runs) / max(1, calm[key]) for key in ("read", "written")},
            "moved": sum(run.get("read", 0) + run.get("written", 0) for run in runs) / (calm["read"] + calm["written"]),
        }
        row["right"] = row["error"] is None and bench.right(job)
        results[name] = row
        print(
            f"  {name:<12} read x {row['read']:.2f}, written x {row['written']:.2f}, both x {row['moved']:.2f}"
            f"; {row['calm_s']:.1f} s undisturbed; killed: {row['killed']}, right: {row['right']} {row['error'] or ''}",
            flush=True,
        )
        bench.clear()
    return results


def main() -> None:
    """Run the case that was asked for."""
    cases = ("maps-to-pencils", "pencils-to-maps", "misaligned", "kill-worker", "kill-all")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="maps-to-pencils", choices=cases)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--compressed", action="store_true", help="zstd; else the chunks are stored as they are")
    parser.add_argument("--max-mem", default="250 MB")
    parser.add_argument("--only", default="", help="only contenders with one of these texts, divided by |")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", help="where to work; a new folder is made there")
    parser.add_argument("--json", help="file for the results")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [n for n in CONTENDERS if any(text in n for text in given.only.split("|"))]
    for name in [n for n in names if n in INTERPRETERS and INTERPRETERS[n] not in os.environ]:
        names.remove(name)
        print(f"{name} is left out: {INTERPRETERS[name]} does not say which interpreter has it")
    case = case_of(given.case, given.gigabytes, given.compressed)
    title = f"{given.case}, {case.nbytes / 1e9:.2f} GB{', zstd' * case.compressed}"
    print(f"\n{title}: {case.shape} from {case.chunks} to {case.target}, at most {given.max_mem} a task")
    if "rechunker" in names:
        print("  rechunker reads and writes Zarr v2, the others v3")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(case, folder, given.max_mem)
        if given.case.startswith("kill-"):
            results = killing(bench, names, given.case.removeprefix("kill-"))
        else:
            results = compare(bench, names, given.rounds)
    save(given.json, {title: results})


if __name__ == "__main__":
    main()
