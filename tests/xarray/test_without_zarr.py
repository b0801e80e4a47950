"""Everything that has to do with xarray, and what is beside it, works in a process that has no zarr-python."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("without_zarr.py")
NAMES = [each.name for each in ast.parse(CASES.read_text()).body if getattr(each, "name", "").startswith("case_")]

WITHOUT = """
import runpy, sys

class Without:
    '''A finder of modules that finds all the other one does, but not zarr-python.'''
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *more):
        return None if name.split(".")[0] == "zarr" else self.finder.find_spec(name, *more)

sys.meta_path[:] = map(Without, sys.meta_path)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture(scope="module")
def results():
    """What each case raised, by a process of its own for all."""
    command = [sys.executable, "-c", WITHOUT, str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_it_works(results, name):
    assert results[name] is None, results[name]


def test_every_case_ran(results):
    assert sorted(results) == sorted(NAMES)
    assert len(NAMES) >= 13
