"""Every benchmark runs, small, and its contenders agree."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import formats, read_write, rechunk_simulation, rechunking, stores
from benchmarks.paired import measure, save
from benchmarks.yardsticks import limit

SMALL = ((256, 512), (64, 128))


@pytest.mark.parametrize("codec", read_write.CODECS)
@pytest.mark.parametrize("case", read_write.CASES)
def test_contenders_agree(case, codec, tmp_path, monkeypatch):
    monkeypatch.setitem(read_write.SIZES, "small", SMALL)
    tiles = read_write.make(str(tmp_path / "source"), "small", codec)
    base, contenders = read_write.CASES[case](tiles)
    contenders = {
        name: run for name, run in contenders.items() if "zarr-python" not in name and "tensorstore" not in name
    }
    assert base in contenders
    results = {}
    for name, run in contenders.items():
        result = run()
        if case in ("write", "copy"):
            result = limit(replace(tiles, root=tiles.root + "-written"))
            read_write.shutil.rmtree(tiles.root + "-written")
        results[name] = result
    expected = read_write.field(SMALL[0]) + (case == "copy")
    for name, result in results.items():
        if case == "sum":
            assert math.isclose(result, expected.sum(dtype="f8"), rel_tol=1e-4), name
        elif case in ("write", "copy") or (case == "read" and "blocks" not in name):
            np.testing.assert_array_equal(result, expected, err_msg=name)


def test_ratios_are_to_the_base(tmp_path):
    calls = []
    results = measure(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, "a", lambda: calls.append("-")
    )
    assert results["a"]["ratio"] == 1
    assert calls == ["-", "a", "-", "b", "-", "b", "-", "a"] * 2
    save(str(tmp_path / "out.json"), {"case": results})
    assert json.loads((tmp_path / "out.json").read_text())["cases"]["case"]["b"]["ratio"] > 0


@pytest.mark.parametrize("case", formats.CASES)
def test_the_cases_of_the_formats_run(case, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "SHAPE", (128, 128))
    monkeypatch.setattr(formats, "SHARD", (64, 64))
    monkeypatch.setattr(formats, "INNER", (8, 8))
    for name, value in (("TEXTS", 50), ("RECORDS", 50), ("NODES", 5), ("READS", 2)):
        monkeypatch.setattr(formats, name, value)
    base, contenders = formats.CASES[case](str(tmp_path))
    assert base in contenders
    results = {name: run() for name, run in contenders.items()}
    if case == "sharded_whole":
        expected = formats.field((128, 128))
        assert all(np.array_equal(found, expected) for found in results.values())
    if case == "consolidated":
        assert set(results.values()) == {5}


@pytest.mark.parametrize("case", ["latency", "sqlite", "lmdb"])
def test_stores_do_the_same_as_loops(case, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "LATENCY", 0.0)
    done = []
    for part, (base, contenders, prepare) in stores.CASES[case](str(tmp_path), 40):
        assert base in contenders
        for run in contenders.values():
            prepare()
            run()
        done.append(part)
    assert done == (["read", "write"] if case == "latency" else ["get", "get_many", "set"])


def test_rechunking_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(rechunking, "MAP", (40, 60))
    case = rechunking.case_of("maps-to-pencils", 0.004, compressed=False)
    found = rechunking.compare(rechunking.Bench(case, str(tmp_path), "4 MB"), ["daskzarr", "dask tasks"], 1)
    assert found


@pytest.mark.parametrize("name", rechunk_simulation.DIRECTIONS)
def test_plans_of_a_large_array_are_simulated(name):
    plan = rechunk_simulation.plan_of(*rechunk_simulation.DIRECTIONS[name], 4_000_000_000, 1000)
    seconds, idle = rechunk_simulation.simulate(plan, 1000)
    work = sum(rechunk_simulation._seconds_a_task(plan, n) * stage.tasks for n, stage in enumerate(plan.stages))
    assert work / 1000 <= seconds * 1.02
    assert len(idle) == len(plan.stages)
    assert all(0 <= share < 1 for share in idle)


@pytest.mark.parametrize("gigabytes", [1, 4])
@pytest.mark.parametrize("name", ["maps to pencils", "maps to whole pencils", "blocks to pencils", "pencils to maps"])
def test_a_thousand_workers_have_something_to_do(name, gigabytes):
    plan = rechunk_simulation.plan_of(*rechunk_simulation.DIRECTIONS[name], gigabytes * 10**9, 1000)
    _, idle = rechunk_simulation.simulate(plan, 1000)
    assert max(idle) <= 0.2
