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
    import dask

    from tests.distributed.fault_cases import case_of
    from tests.distributed.fault_trials import Trial

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.distributed.fault_trials"])

    def one(seed):
        case, folder = case_of(seed, kind, runner), tempfile.mkdtemp(prefix=f"case-{seed}-", dir=keep)
        trial = Trial(case, folder, context)
        try:
            outcome = trial.run()
        except Exception:
            outcome = trial.outcome
            outcome.problems.append(f"the harness failed: {traceback.format_exc(limit=-4)}")
        if not keep or not outcome.problems:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    with dask.config.set(scheduler="sync"), ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, seeds)


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
    given = parser.parse_args()
    outcomes = []
    for outcome in run(range(given.first, given.first + given.cases), given.jobs, given.kind, given.runner, given.keep):
        outcomes.append(outcome)
        if outcome.problems:
            print("WRONG", outcome.case, *outcome.problems, sep="\n    ", flush=True)
    print(table(outcomes))
    if given.json:
        Path(given.json).write_text(json.dumps([vars(outcome) for outcome in outcomes]))
    return any(outcome.problems for outcome in outcomes)


if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    sys.exit(main())
