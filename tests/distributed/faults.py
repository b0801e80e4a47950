"""Faults: random writes in real processes, killed at random moments and taken up again, while a reader looks on.

``python tests/distributed/faults.py 200`` runs many cases and prints what came of them. Every random choice comes from
the number of the case: ``python tests/distributed/faults.py 1 --first 37`` runs number 37 once more.

A case is a write (see fault_cases). A process of its own makes the call; it, or one of its workers, is killed with
SIGKILL at a moment that is drawn: after so many blocks or objects, at the end, at a time, or right before the process
changes a file for the n-th time. Then the same call is made again in a new process: up to three times it is killed, and
once it is not. Another process reads all the while. What is checked is in fault_checks.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask

ROOT = str(Path(__file__).parents[2])
COLUMNS = (
    ("blocks", "blocks"),
    ("computed", "computed"),
    ("attempts", "attempts"),
    ("jobs killed", "jobs killed"),
    ("workers killed", "workers killed"),
    ("logs torn", "logs torn"),
    ("objects", "objects read"),
    ("arrays", "arrays read"),
)
WORRIES = (
    ("wrong cells", ("cells", "shape")),
    ("half-written", ("bytes is",)),
    ("leftovers", ("leftover",)),
    ("needless", ("computed again",)),
)


def run(seeds, jobs=2, kind=None, runner=None, keep=None):
    """Run cases, and give each one's outcome once it is there."""
    from tests.distributed.fault_cases import case_of

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda seed: run_one(case_of(seed, kind, runner), keep), seeds)


def run_one(case, keep=None, plant=None, **options):
    """Run one case, and give its outcome."""
    from tests.distributed.fault_trials import Trial

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.distributed.fault_trials"])
    folder = tempfile.mkdtemp(prefix=f"case-{case.seed}-", dir=keep)
    trial = Trial(case, folder, context, **options)
    try:
        outcome = trial.run(plant)
    except Exception:
        outcome = trial.outcome
        outcome.problems.append(f"the harness failed: {traceback.format_exc(limit=-4)}")
    if not keep or not outcome.problems:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


# ---- does the harness notice?


def lose_a_cell(trial):
    """Change one cell of a stored object, decoded and encoded again."""
    from tests.distributed.fault_checks import handle_of

    target = trial.case.targets[0]
    path, pipeline = an_object(trial), handle_of(target, trial.data, target.new).pipeline
    cells = pipeline.decode(path.read_bytes()).copy()
    cells[(0,) * cells.ndim] = 0
    path.write_bytes(pipeline.encode(cells))


def an_object(trial):
    """A stored object."""
    target = trial.case.targets[0]
    return target.folder(trial.data) / min(target.new.objects)


def leave(name):
    """Something that leaves a file somewhere."""

    def plant(trial):
        path = trial.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")

    return plant


def forget_the_end(trial):
    """Make the journal one of a write that did not end."""
    next(trial.data.rglob("done.json")).unlink()


PLANTS = {
    "lost cell": (lose_a_cell, "wrong cells"),
    "lost object": (lambda trial: an_object(trial).unlink(), "lost objects"),
    "torn object": (lambda trial: os.truncate(an_object(trial), 3), "truncated"),
    "unfinished file": (leave(f"a.zarr/.0.{'a' * 32}.partial"), "leftover files"),
    "file beside": (leave("a.zarr.daskzarr/__staged__overwrite/zarr.json"), "leftover beside"),
    "file elsewhere": (leave("a.zarr.tmp"), "leftover: a.zarr.tmp"),
    "unfinished journal": (forget_the_end, "leftover journal"),
}
SABOTAGED = {
    "torn writes": "the reader: object",
    "lost objects": "lost objects",
    "lost cells": "wrong cells",
    "forgetful": "computed again",
}


def self_test(keep=None):
    """Plant faults, and say which of them were not noticed, and which were noticed where there are none."""
    from tests.distributed.fault_cases import case_of
    from tests.distributed.fault_trials import Kill

    cases = (case_of(seed, "new", "threads") for seed in range(1000))
    case = next(
        c for c in cases if c.targets[0].component is None and c.targets[0].new.zarr_format == 3 and c.count > 60
    )
    kills = [[Kill("block", 0.8)], []]
    missed = [f"without a fault: {text}" for text in run_one(case, keep, kills=kills).problems]
    for name, (plant, word) in PLANTS.items():
        problems = run_one(case, plant=plant, kills=[[]]).problems
        missed += [f"{name}: {problems}"] if not any(word in text for text in problems) else []
    for name, word in SABOTAGED.items():
        problems = run_one(case, sabotage=name, kills=kills).problems
        missed += [f"{name}: {problems}"] if not any(word in text for text in problems) else []
    return missed


# ---- the command line


def table(outcomes):
    """What came of many cases, by kind."""
    rows = [["", "cases", *(title for _, title in COLUMNS), *(title for title, _ in WORRIES), "other", "seconds"]]
    kinds = sorted({(o.kind, o.runner) for o in outcomes})
    for name in [*kinds, None]:
        some = [o for o in outcomes if name in (None, (o.kind, o.runner))]
        counts = sum((o.counts for o in some), Counter())
        sorts = Counter(sort(text) for o in some for text in o.problems)
        worries = [sorts[title] for title, _ in WORRIES] + [sorts["other"]]
        seconds = sum(o.seconds for o in some) / max(len(some), 1)
        label = "all" if name is None else " by ".join(name)
        rows.append([label, len(some), *(counts[key] for key, _ in COLUMNS), *worries, f"{seconds:.1f}"])
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def sort(problem):
    """Which column of the table a problem is counted in."""
    for title, words in WORRIES:
        if any(word in problem for word in words):
            return title
    return "other"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kind", help="only writes of this kind")
    parser.add_argument("--runner", choices=("threads", "workers"))
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--keep", help="folder in which cases that went wrong are kept")
    parser.add_argument("--json", help="file for all outcomes")
    parser.add_argument("--self-test", action="store_true", help="plant faults first: each has to be noticed")
    given = parser.parse_args()
    dask.config.set(scheduler="sync")
    missed = self_test(given.keep) if given.self_test else []
    if missed:
        print("NOT NOTICED", *missed, sep="\n    ")
    outcomes = []
    for outcome in run(range(given.first, given.first + given.cases), given.jobs, given.kind, given.runner, given.keep):
        outcomes.append(outcome)
        if outcome.problems:
            print("WRONG", outcome.case, *outcome.problems, sep="\n    ", flush=True)
    print(table(outcomes))
    if given.json:
        Path(given.json).write_text(json.dumps([vars(outcome) for outcome in outcomes]))
    return bool(missed) or any(outcome.problems for outcome in outcomes)


if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"  # of those who were killed
    sys.exit(main())
