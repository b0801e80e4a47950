"""Plans for an array of 1.456 TB -> their numbers, and how long 1,000 workers stand idle, by a simulation of events.

Run ``python -m benchmarks.rechunk_simulation``. A task takes what the cost model says of its share, times a random
factor; it starts when a worker is free and what it waits for is done, the first group and the first stage first.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import defaultdict
from dataclasses import replace

import numpy as np

from daskzarr.block_grid import RegularCuts
from daskzarr.errors import PlanLimitError
from daskzarr.rechunk_plan import AHEAD, REMOTE, RechunkPlan, Task, Working, choose

SHAPE = (350640, 721, 1440)
DIRECTIONS = {
    "maps to pencils": ((1, 721, 1440), (8760, 20, 20)),
    "maps to whole pencils": ((1, 721, 1440), (350640, 5, 5)),
    "maps to days": ((1, 721, 1440), (24, 721, 1440)),
    "blocks to pencils": ((24, 180, 360), (8760, 20, 20)),
    "pencils to maps": ((8760, 20, 20), (1, 721, 1440)),
    "maps to shards": ((1, 721, 1440), (8760, 120, 120)),
}


def plan_of(source: tuple[int, ...], target: tuple[int, ...], max_mem: int, slots: int) -> RechunkPlan:
    """The plan for float32, with memory for two chunks beside each block."""
    cuts = [tuple(map(RegularCuts, (0, 0, 0), SHAPE, chunks)) for chunks in (source, target)]
    working = Working(source=8 * int(np.prod(source)), target=8 * int(np.prod(target)))
    return choose(Task(SHAPE, 4, cuts[0], cuts[1], max_mem, replace(REMOTE, slots=slots), working))


def simulate(plan: RechunkPlan, slots: int, spread: float = 0.15, seed: int = 0) -> tuple[float, list[float]]:
    """Seconds in all, and for each stage the share of all workers' time that was idle while it went on."""
    chance = random.Random(seed)
    members = _members(plan)
    seconds = [_seconds_a_task(plan, stage) for stage in range(len(plan.stages))]
    left = {key: count for key, count in members.items() if count}
    freed = -1  # the last group up to which all are done
    queue: list[tuple[int, int]] = sorted((group, stage) for stage, group in left)
    unfinished = dict(left)
    running: list[tuple[float, int, int]] = []
    busy: list[tuple[float, float, int]] = []
    now, free = 0.0, slots
    while unfinished:
        for group, stage in list(queue):
            if not free:
                break
            earlier_stage = stage and any(unfinished.get((stage - 1, g), 0) for g in range(group + 1))
            if earlier_stage or (stage == 0 and len(seconds) > 1 and group - AHEAD > freed):
                continue
            starting = min(free, left[stage, group])
            for _ in range(starting):
                end = now + seconds[stage] * max(chance.gauss(1, spread), 0.5)
                heapq.heappush(running, (end, stage, group))
                busy.append((now, end, stage))
            free -= starting
            left[stage, group] -= starting
            if not left[stage, group]:
                queue.remove((group, stage))
        now, stage, group = heapq.heappop(running)
        free += 1
        unfinished[stage, group] -= 1
        if not unfinished[stage, group]:
            del unfinished[stage, group]
        while freed + 1 < plan.groups.count and not any((s, freed + 1) in unfinished for s in range(len(seconds))):
            freed += 1
    return now, [_idle(busy, stage, slots) for stage in range(len(seconds))]


def _members(plan: RechunkPlan) -> dict[tuple[int, int], int]:
    """How many tasks each stage has in each group."""
    found: dict[tuple[int, int], int] = defaultdict(int)
    for stage, made in enumerate(plan.groups.made):
        counts = plan.stages[stage].blocks.numblocks
        each = int(np.prod(counts)) // counts[plan.groups.axis]
        for group in made:
            found[stage, int(group)] += each
    return found


def _seconds_a_task(plan: RechunkPlan, number: int) -> float:
    """What the cost model says of one task of a stage."""
    stage = plan.stages[number]
    n = stage.tasks
    work = stage.bytes_read / REMOTE.read + stage.bytes_written / REMOTE.write
    waits = (stage.gets * REMOTE.get + stage.puts * REMOTE.put) / REMOTE.requests
    return (work + waits) / n + REMOTE.task


def _idle(busy: list[tuple[float, float, int]], stage: int, slots: int) -> float:
    """The share of workers that do nothing between the first start and the last end of a stage's tasks."""
    start = min(a for a, _, s in busy if s == stage)
    stop = max(b for _, b, s in busy if s == stage)
    worked = sum(max(min(b, stop) - max(a, start), 0) for a, b, _ in busy)
    return 1 - worked / (slots * (stop - start))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--gigabytes", type=float, action="append", help="of memory a task: default 1, 4")
    options = parser.parse_args()
    for name, (source, target) in DIRECTIONS.items():
        for gigabytes in options.gigabytes or (1, 4):
            try:
                plan = plan_of(source, target, int(gigabytes * 1e9), options.slots)
            except PlanLimitError as error:
                print(f"{name}, {gigabytes:g} GB: {error}")
                continue
            total, idle = simulate(plan, options.slots)
            shares = ", ".join(f"{share:.0%}" for share in idle)
            print(
                f"{name}, {gigabytes:g} GB: {plan.kind}, {plan.tasks:,} tasks, {plan.gets:,} GETs, {plan.puts:,} PUTs, "
                f"x{plan.amplification:.2f}, scratch {plan.scratch / 1e9:,.0f} GB, {plan.groups.count} groups; "
                f"{total / 60:.1f} min, idle by stage: {shares}",
                flush=True,
            )


if __name__ == "__main__":
    main()
