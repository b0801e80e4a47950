"""Random writes in real processes, killed and taken up again while a reader looks on: see faults.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("zarr", minversion="3")
pytest.importorskip("tensorstore")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

DRIVER = Path(__file__).with_name("faults.py")
CASES = 20


def run(*arguments):
    """Run the driver."""
    command = [sys.executable, str(DRIVER), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of the cases."""
    path = tmp_path_factory.mktemp("faults") / "outcomes.json"
    done = run(CASES, "--json", path)
    assert path.exists(), done.stdout + done.stderr
    print(done.stdout)
    return json.loads(path.read_text())


@pytest.mark.parametrize("number", range(CASES))
def test_a_write_that_is_killed_and_taken_up_again(outcomes, number):
    outcome = outcomes[number]
    assert not outcome["problems"], "\n".join([outcome["case"], *outcome["problems"]])


def test_the_cases_are_what_they_are_meant_to_be(outcomes):
    """Processes are killed, a reader reads, and finished blocks are not computed once more."""
    count = {
        key: sum(outcome["counts"].get(key, 0) for outcome in outcomes) for key in ("blocks", "computed", "objects")
    }
    assert {outcome["runner"] for outcome in outcomes} == {"threads", "workers"}
    assert sum(outcome["counts"].get("jobs killed", 0) for outcome in outcomes) >= CASES // 2
    assert count["objects"] > 100 * CASES
    assert count["computed"] < 2 * count["blocks"]


def test_faults_are_noticed():
    """Lost cells and objects, torn ones, leftovers, and work that is done again."""
    done = run(0, "--self-test")
    assert done.returncode == 0, done.stdout + done.stderr
