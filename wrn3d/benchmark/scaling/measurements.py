"""What is measured of the workers on this machine: turns, again and again in alternation."""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from statistics import mean, median

from wrn3d.benchmark.cases import Case
from wrn3d.errors import UserError
from wrn3d.progress import Progress
from wrn3d.workers import part

TURN = Path(__file__).with_name("turn.py")
ROOT = TURN.parents[3]
CASE = Case(16, 4, 64)  # the original's batch
TWICE = replace(CASE, batch_size=2 * CASE.batch_size)  # the recipes'
IMAGES = Case(28, 10, 16)
SMALLER = Case(16, 2, 2, 64)  # volumes that two cores can train on; more operations take longer
STEPS = 8


def throttled(megabits, command) -> list[str]:
    """The command with a loopback of its own, of so many Mbit/s."""
    return ["unshare", "--net", "sh", "-c", "ip link set lo up && tc qdisc add dev lo root tbf "
            f"rate {megabits}mbit burst 256kb latency 200ms && exec \"$@\"", "sh", *command]


def can_throttle() -> bool:
    """Whether this machine lets us (Linux, root)."""
    with suppress(OSError):
        return not subprocess.run(throttled(1000, ["true"]), capture_output=True).returncode
    return False


def turns(megabits) -> dict:
    """{name: a function that measures it}, with links of so many Mbit/s."""
    return {
        "one": partial(run, 1, CASE), "two": partial(run, 2, CASE, sums=True),
        "four": partial(run, 4, CASE, sums=True),
        "one, twice": partial(run, 1, TWICE), "two, twice": partial(run, 2, TWICE),
        "images": partial(run, 1, IMAGES, checkpoint=True),
        "fewer images": partial(run, 1, replace(IMAGES, batch_size=IMAGES.batch_size // 4)),
        "volumes": partial(run, 1, SMALLER),
        **{share: partial(side_by_side, replace(CASE, batch_size=CASE.batch_size // share))
           for share in (4, 2, 1)},
        **{f"two, {speed} Mbit/s{end}": partial(run, 2, CASE, megabits=speed, batch_norm=how)
           for speed in megabits for how, end in (("synchronised", ""), ("local", ", local"))}}


def in_rounds(turns, rounds) -> dict:
    """{name: the figures of each round}, every other round in reverse."""
    figures = {name: [] for name in turns}
    with Progress(rounds * len(turns), "measuring") as progress:
        for number in range(rounds):
            for name in list(turns)[::-1 if number % 2 else 1]:
                figures[name].append(turns[name]())
                progress.advance()
    return figures


def medians(figures) -> dict:
    """Of one turn's rounds, a number or {size: number} for each of its names."""
    first = figures[0]
    return {name: medians([one[name] for one in figures]) if isinstance(first[name], dict)
            else median(one[name] for one in figures) for name in first}


def side_by_side(case) -> dict:
    """The step of a worker alone on half the cores, while another one computes on the others."""
    cores = sorted(os.sched_getaffinity(0))
    halves = [set(cores[part(len(cores), index, 2)]) for index in range(2)]
    def on(half):
        os.sched_setaffinity(0, half)  # of this thread, from which the process has it
        return run(1, case)["step"]

    with ThreadPoolExecutor(2) as pool:
        return {"step": mean(pool.map(on, halves))}


def run(workers, case, steps=STEPS, megabits=None, **request) -> dict:
    """The figures of a turn, over a link of so many Mbit/s; raises UserError where it fails."""
    request |= {"case": astuple(case), "steps": steps}
    command = [sys.executable, "-m", "wrn3d.launch", "-n", str(workers), str(TURN),
               json.dumps(request)]
    if megabits:
        command = throttled(megabits, command)
    process = subprocess.run(command, text=True, capture_output=True,
                             env=os.environ | {"PYTHONPATH": str(ROOT)})
    if process.returncode:
        reasons = process.stderr.strip().splitlines() or ["no reason was given"]
        raise UserError(f"{workers} workers could not be measured: {reasons[-1]}")
    return json.loads(process.stdout.splitlines()[-1].removeprefix("[0] "))
