"""A command that drives a peer in an environment of its own, and what it is to write and read -> what it did."""

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from .disagreements import DISAGREEMENTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Refused(Exception):
    """A peer would not do it; what it said."""


def python_of(environment):
    """The Python of an environment that ci/peers makes; without it the tests of that peer are skipped."""
    found = ROOT / f".venv-peers-{environment}" / "bin" / "python"
    if not found.exists():
        pytest.skip(f"{environment} is not here: ci/peers makes its environment", allow_module_level=True)
    return str(found)


def drive(command, driver, job, *more):
    """Run a driver with a job, a list of what to do, and give its answer: for each what it did, or its error."""
    with tempfile.TemporaryDirectory() as folder:
        order, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        order.write_text(json.dumps(job))
        done = subprocess.run(
            [*command, str(HERE / driver), *more, str(order), str(answer)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"NUMCODECS_ALLOW_UNSAFE_PICKLE_DECODE": "1"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(answer.read_text())


def did(answer):
    """What a driver did, or its error raised."""
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["did"]


@contextlib.contextmanager
def as_known(key, release):
    """What is within agrees bit for bit; or, with the key of a disagreement, fails in the way it says.

    A peer of another release may have mended it.
    """
    if key is None:
        yield
        return
    known = DISAGREEMENTS[key]
    failed = None
    try:
        yield
    except Exception as error:
        failed = "wrong" if isinstance(error, AssertionError) else "refuses"
    if release in known.release.split(", "):
        assert failed == known.effect, f"{known.peer} {release} was to be: {known.effect}; it is: {failed}"


def params(cases):
    """Cases as parameters of a test, under their names."""
    return [pytest.param(case, id=case.name) for case in cases]
