"""What is measured of the workers on this machine: turns, again and again in alternation."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from statistics import mean, median

from benchmarks.cases import Case
from wrn3d.distributed.workers import part
from wrn3d.system.errors import UserError
from wrn3d.system.terminal import Progress

TURN = Path(__file__).with_name("turn.py")
ROOT = TURN.parents[2]
CASE = Case(16, 4, 64)  # the original's batch
TWICE = replace(CASE, batch_size=2 * CASE.batch_size)  # the recipes'
IMAGES = Case(28, 10, 16)
SMALLER = Case(16, 2, 2, 64)  # volumes that two cores can train on; more operations take longer
STEPS = 8
AT_A_CALL = 3  # so few that the machine is the same for one worker and for two


def throttled(megabits, command) -> list[str]:
    """The command with a loopback of its own, of so many Mbit/s."""
    return [
        "unshare",
        "--net",
        "sh",
        "-c",
        "ip link set lo up && tc qdisc add dev lo root tbf "
        f'rate {megabits}mbit burst 256kb latency 200ms && exec "$@"',
        "sh",
        *command,
    ]


def can_throttle() -> bool:
    """Whether this machine lets us (Linux, root)."""
    with suppress(OSError):
        return not subprocess.run(throttled(1000, ["true"]), capture_output=True).returncode
    return False


def turns(megabits) -> dict:
    """{name: a function that measures it}, with links of so many Mbit/s."""
    return {
        "two": partial(run, 2, CASE, sums=True),
        "four": partial(run, 4, CASE, sums=True),
        "two, twice": partial(run, 2, TWICE),
        "images": partial(run, 1, IMAGES, checkpoint=True),
        "fewer images": partial(run, 1, replace(IMAGES, batch_size=IMAGES.batch_size // 4)),
        "volumes": partial(run, 1, SMALLER),
        **{
            share: partial(side_by_side, replace(CASE, batch_size=CASE.batch_size // share))
            for share in (4, 2, 1)
        },
        **{
            f"two, {speed} Mbit/s{end}": partial(run, 2, CASE, megabits=speed, batch_norm=how)
            for speed in megabits
            for how, end in (("synchronised", ""), ("local", ", local"))
        },
    }


def in_rounds(turns, rounds) -> dict:
    """{name: the figures of each round}, every other round in reverse."""
    figures = {name: [] for name in turns}
    with Progress(rounds * len(turns), "measuring") as progress:
        for number in range(rounds):
            for name in list(turns)[:: -1 if number % 2 else 1]:
                figures[name].append(turns[name]())
                progress.advance()
    return figures


def medians(figures) -> dict:
    """Of one turn's rounds, a number or {size: number} for each of its names."""
    first = figures[0]
    return {
        name: medians([one[name] for one in figures])
        if isinstance(first[name], dict)
        else median(one[name] for one in figures)
        for name in first
    }


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
    command = turn_command(workers, case, steps, **request)
    if megabits:
        command = throttled(megabits, command)
    with started(workers, command) as lines:
        return list(lines)[-1]


def alternations(case, count) -> list[tuple[float, float]]:
    """The seconds of a step of one worker and of two, so many times by turns, a few steps each,
    every other time in reverse; those whose turn it is not wait."""
    found = []
    with (
        at_call(1, case) as one,
        at_call(2, case) as two,
        Progress(count, "one worker and two") as progress,
    ):
        for number in range(count):
            if number % 2:
                found.append((one(), two()))
            else:
                found.append((two(), one())[::-1])
            progress.advance()
    return found


@contextmanager
def at_call(workers, case):
    """A context with a function that has workers take AT_A_CALL steps, and returns the median
    seconds of one."""
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        os.mkfifo(calls)
        with (
            started(workers, turn_command(workers, case, AT_A_CALL, calls=str(calls))) as lines,
            open(calls, "r+b", buffering=0) as to_them,
        ):  # "wb" would wait for a reader

            def call():
                to_them.write(b"\n")
                return next(lines)

            call()  # after which they are warmed up
            yield call


def turn_command(workers, case, steps, **request) -> list[str]:
    """What starts the workers of a turn."""
    request |= {"case": astuple(case), "steps": steps}
    return [
        sys.executable,
        "-m",
        "wrn3d.launch",
        "-n",
        str(workers),
        str(TURN),
        json.dumps(request),
    ]


@contextmanager
def started(workers, command):
    """A context with what a process prints, line by line, which is ended when it is left. Raises
    UserError where the process has failed by the last line."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            text=True,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process,
    ):

        def lines():
            for line in process.stdout:
                if line.startswith("[0] "):
                    yield json.loads(line.removeprefix("[0] "))
            if process.wait():
                errors.seek(0)
                reasons = errors.read().strip().splitlines() or ["no reason was given"]
                raise UserError(f"{workers} workers could not be measured: {reasons[-1]}")

        try:
            yield lines()
        finally:
            process.terminate()
