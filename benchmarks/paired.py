"""Contenders that do the same work -> their times, taken in turn in one process, as medians and per-round ratios."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any


def measure(
    contenders: dict[str, Callable[[], Any]], rounds: int, base: str, prepare: Callable[[], Any] = lambda: None
) -> dict[str, dict[str, float]]:
    """Run every contender once a round, in an order that rotates, after one round that does not count.

    ``prepare`` runs before each, and is not timed.

    ``ratio`` is the median over the rounds of a contender's time by that of ``base`` in the same round: it stays put
    when the machine gets faster or slower as a whole.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for round_ in range(rounds + 1):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            prepare()
            gc.collect()
            start = time.perf_counter()
            result = contenders[name]()
            elapsed = time.perf_counter() - start
            del result
            if round_:
                times[name].append(elapsed)
    return {
        name: {
            "median_s": statistics.median(taken),
            "min_s": min(taken),
            "max_s": max(taken),
            "ratio": statistics.median(t / b for t, b in zip(taken, times[base], strict=True)),
        }
        for name, taken in times.items()
    }


def show(title: str, results: dict[str, dict[str, float]], base: str) -> None:
    """Print one case as a table."""
    print(f"\n{title}  (ratio to {base})")
    for name, row in sorted(results.items(), key=lambda item: item[1]["ratio"]):
        print(f"  {name:<34}{row['median_s'] * 1e3:>10.1f} ms   x {row['ratio']:<8.3g}", flush=True)


def save(path: str | None, results: dict[str, Any]) -> None:
    """Write all cases, and what they ran on, as JSON."""
    if path is None:
        return
    versions = {}
    for package in ("daskzarr", "dask", "distributed", "numpy", "numcodecs", "zarr", "tensorstore"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({"machine": machine, "versions": versions, "cases": results}, indent=2))


def pick(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that begin with the wanted text, or all of them."""
    return [name for name in names if name.startswith(wanted)]
