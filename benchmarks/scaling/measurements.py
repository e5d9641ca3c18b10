"""Measure workers on this machine, in rounds or by turns."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from statistics import mean, median

from benchmarks.cases import Case
from benchmarks.processes import started
from wrn3d.distributed.workers import part
from wrn3d.system.terminal import Progress

TURN = "benchmarks.scaling.turn"
CASE = Case(16, 4, 64)  # the original's batch size
TWICE = replace(CASE, batch_size=2 * CASE.batch_size)  # the recipes'
IMAGES = Case(28, 10, 16)
FEWER_IMAGES = replace(IMAGES, batch_size=4)
VOLUMES = Case(16, 2, 2, 64)  # small enough for two cores
MEGABITS = (1000, 300, 100)  # throttled links, Mbit/s
STEPS = 8
ALTERNATING_STEPS = 3  # so few that one worker and two meet the same machine


def throttled(megabits, command) -> list[str]:
    """Return the command with a loopback of its own at so many Mbit/s (Linux, root)."""
    link = "ip link set lo up && tc qdisc add dev lo root tbf burst 256kb latency 200ms rate"
    return ["unshare", "--net", "sh", "-c", f'{link} {megabits}mbit && exec "$@"', "sh", *command]


def can_throttle() -> bool:
    """Return whether this machine allows throttled links."""
    with suppress(OSError):
        return not subprocess.run(throttled(1000, ["true"]), capture_output=True).returncode
    return False


def turns(megabits) -> dict[str, Callable[[], dict]]:
    """Return {name: a function that measures it}, with links at so many Mbit/s."""
    shares = [replace(CASE, batch_size=CASE.batch_size // share) for share in (4, 2, 1)]
    return {
        "two": partial(run, 2, CASE, sums=True),
        "four": partial(run, 4, CASE),
        "two, twice": partial(run, 2, TWICE),
        "images": partial(run, 1, IMAGES, checkpoint=True),
        "fewer images": partial(run, 1, FEWER_IMAGES),
        "volumes": partial(run, 1, VOLUMES),
        **{case.batch_size: partial(side_by_side, case) for case in shares},
        **{
            f"two, {speed} Mbit/s{end}": partial(run, 2, CASE, megabits=speed, batch_norm=how)
            for speed in megabits
            for how, end in (("synchronised", ""), ("local", ", local"))
        },
    }


def in_rounds(turns, rounds) -> dict[str, dict[str, float]]:
    """Take all turns in each round, in reverse in every other; return {name: medians}."""
    measured = {name: [] for name in turns}
    with Progress(rounds * len(turns), "measuring") as progress:
        for number in range(rounds):
            for name in list(turns)[:: -1 if number % 2 else 1]:
                measured[name].append(turns[name]())
                progress.advance()
    return {
        name: {figure: median(one[figure] for one in results) for figure in results[0]}
        for name, results in measured.items()
    }


def alternations(case, count) -> list[tuple[float, float]]:
    """Return the seconds of a step of one worker and of two, `count` times in alternation."""
    seconds = []
    with (
        workers(1, case, steps=ALTERNATING_STEPS) as one,
        workers(2, case, steps=ALTERNATING_STEPS) as two,
        Progress(count, "one worker and two") as progress,
    ):
        for number in range(count):
            pair = [call()["step"] for call in ((one, two) if number % 2 else (two, one))]
            seconds.append(tuple(pair if number % 2 else pair[::-1]))
            progress.advance()
    return seconds


def side_by_side(case) -> dict[str, float]:
    """Measure a worker on half of the cores while another one computes on the other half."""

    cores = sorted(os.sched_getaffinity(0))

    def on_half(index):
        half = cores[part(len(cores), index, 2)]
        os.sched_setaffinity(0, half)  # of this thread, and its process inherits it
        return run(1, case)["step"]

    with ThreadPoolExecutor(2) as pool:
        return {"step": mean(pool.map(on_half, range(2)))}


def run(count, case, **request) -> dict[str, float]:
    """Return what new workers measure in one call."""
    with workers(count, case, **request) as call:
        return call()


@contextmanager
def workers(count, case, steps=STEPS, megabits=None, **request) -> Iterator[Callable[[], dict]]:
    """Start workers; give a function that has them measure and returns the result of `turn`.

    They share a link of `megabits` if given. Raises UserError if a worker fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        os.mkfifo(calls)
        request |= {"calls": str(calls), "case": astuple(case), "steps": steps}
        command = [sys.executable, "-m", "wrn3d.launch", "-n", str(count), TURN]
        command.append(json.dumps(request))
        if megabits:
            command = throttled(megabits, command)
        with (
            started(f"a measurement with {count} workers", command) as results,
            open(calls, "r+b", buffering=0) as fifo,  # "wb" would wait for a reader
        ):
            next(results)  # they are warmed up

            def call():
                fifo.write(b"\n")
                return next(results)

            yield call
