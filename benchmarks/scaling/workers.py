"""Measure workers on this machine: alone and together, over fast and slow links."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from statistics import mean, median
from typing import Any

from benchmarks.cases import Case
from benchmarks.processes import Figures, Turn, in_rounds, started_workers
from wrn3d.distributed.workers import part
from wrn3d.system.terminal import Progress

CASE = Case(16, 4, 64)  # the original's batch size
TWICE = replace(CASE, batch_size=2 * CASE.batch_size)  # the recipes' batch size
IMAGES = Case(28, 10, 16)
FEWER_IMAGES = replace(IMAGES, batch_size=4)
VOLUMES = Case(16, 2, 2, 64)  # small enough for two cores
MEGABITS = (1000, 300, 100)  # throttled links, Mbit/s
STEPS = 8
ALTERNATING_STEPS = 3  # few, so that other load on the machine slows one worker and two alike


def throttled(megabits: int) -> list[str]:
    """Return what to write before a command to give it its own loopback interface at `megabits`
    Mbit/s (Linux, root)."""
    link = "ip link set lo up && tc qdisc add dev lo root tbf burst 256kb latency 200ms rate"
    return ["unshare", "--net", "sh", "-c", f'{link} {megabits}mbit && exec "$@"', "sh"]


def can_throttle() -> bool:
    """Return whether this machine allows throttled links."""
    with suppress(OSError):
        return not subprocess.run([*throttled(1000), "true"], capture_output=True).returncode
    return False


def turns(megabits: Sequence[int]) -> dict[str, Turn]:
    """Return {name: function that measures it}; `megabits` are the speeds of throttled links."""
    shares = [replace(CASE, batch_size=CASE.batch_size // share) for share in (4, 2, 1)]
    return {
        "two": partial(run, 2, CASE, sums=True),
        "four": partial(run, 4, CASE),
        "two, twice": partial(run, 2, TWICE),
        "images": partial(run, 1, IMAGES, checkpoint=True),
        "fewer images": partial(run, 1, FEWER_IMAGES),
        "volumes": partial(run, 1, VOLUMES),
        **{f"half of {case.batch_size}": partial(side_by_side, case) for case in shares},
        **{
            f"two, {speed} Mbit/s{end}": partial(
                run, 2, CASE, settings={"batch_norm": how}, before=throttled(speed)
            )
            for speed in megabits
            for how, end in (("synchronised", ""), ("local", ", local"))
        },
    }


def medians(turns: dict[str, Turn], rounds: int) -> dict[str, Figures]:
    """Take all turns in each round; return {name: medians}."""
    with Progress(rounds * len(turns), "measuring") as progress:
        measured = list(in_rounds(turns, rounds, progress.advance))
    return {
        name: {
            figure: median(one[name][figure] for one in measured) for figure in measured[0][name]
        }
        for name in turns
    }


def alternations(case: Case, count: int) -> list[tuple[float, float]]:
    """Return the seconds of a step of one worker and of two, `count` times in alternation."""
    with (
        started_workers(1, case, ALTERNATING_STEPS) as one,
        started_workers(2, case, ALTERNATING_STEPS) as two,
        Progress(2 * count, "one worker and two") as progress,
    ):
        rounds = in_rounds({"one": one, "two": two}, count, progress.advance)
        return [(figures["one"]["step"], figures["two"]["step"]) for figures in rounds]


def side_by_side(case: Case) -> Figures:
    """Measure a worker on half of the cores while another one computes on the other half."""
    cores = sorted(os.sched_getaffinity(0))

    def on_half(index):
        half = cores[part(len(cores), index, 2)]
        os.sched_setaffinity(0, half)  # of this thread; its child process inherits it
        return run(1, case)["step"]

    with ThreadPoolExecutor(2) as pool:
        return {"step": mean(pool.map(on_half, range(2)))}


def run(count: int, case: Case, **request: Any) -> Figures:
    """Start workers and return what they measure in one call."""
    with started_workers(count, case, STEPS, **request) as call:
        return call()
