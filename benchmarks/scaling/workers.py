"""Measure workers on this machine. This module starts the workers; each runs it.

python -m wrn3d.launch -n 2 benchmarks.scaling.workers '{"calls": FIFO, "case": [16, 4, 32, null]}'

The first worker reads the FIFO `calls`: for each line all workers take a few steps, and the first
one prints a line of JSON with the medians. Its first line, {}, says that all are warmed up.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import astuple, replace
from functools import partial, reduce
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.cases import Case
from benchmarks.contenders import TENSORLAYER_SCRIPT, environment
from benchmarks.processes import started
from wrn3d import TrainingEnvironment
from wrn3d.distributed.workers import part
from wrn3d.system.exit_status import exit_status
from wrn3d.system.terminal import Progress
from wrn3d.system.words import counted

Figures = dict[str, float]  # what `measure` returns
Turn = Callable[[], Figures]
MODULE = "benchmarks.scaling.workers"
CASE = Case(16, 4, 64)  # the original's batch size
TWICE = replace(CASE, batch_size=2 * CASE.batch_size)  # the recipes' batch size
IMAGES = Case(28, 10, 16)
FEWER_IMAGES = replace(IMAGES, batch_size=4)
VOLUMES = Case(16, 2, 2, 64)  # small enough for two cores
MEGABITS = (1000, 300, 100)  # throttled links, Mbit/s
WARM_UP, SUMS, FURTHER_SUMS = 2, 7, 4
SUM_SIZES = (4, 4_000, 400_000, 4_000_000, 40_000_000)  # bytes
TRAINING = {"momentum": 0.9, "nesterov": True, "augment": True}
STEPS = 8
ALTERNATING_STEPS = 3  # few, so that other load on the machine slows one worker and two alike


def throttled(megabits: int, command: Sequence[str]) -> list[str]:
    """Return the command with its own loopback interface at `megabits` Mbit/s (Linux, root)."""
    link = "ip link set lo up && tc qdisc add dev lo root tbf burst 256kb latency 200ms rate"
    return ["unshare", "--net", "sh", "-c", f'{link} {megabits}mbit && exec "$@"', "sh", *command]


def can_throttle() -> bool:
    """Return whether this machine allows throttled links."""
    with suppress(OSError):
        return not subprocess.run(throttled(1000, ["true"]), capture_output=True).returncode
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
            f"two, {speed} Mbit/s{end}": partial(run, 2, CASE, megabits=speed, batch_norm=how)
            for speed in megabits
            for how, end in (("synchronised", ""), ("local", ", local"))
        },
    }


def in_rounds(turns: dict[str, Turn], rounds: int) -> dict[str, Figures]:
    """Take all turns in each round, in reverse in every other; return {name: medians}."""
    measured: dict[str, list[Figures]] = {name: [] for name in turns}
    with Progress(rounds * len(turns), "measuring") as progress:
        for number in range(rounds):
            for name in list(turns)[:: -1 if number % 2 else 1]:
                measured[name].append(turns[name]())
                progress.advance()
    return {
        name: {figure: median(one[figure] for one in results) for figure in results[0]}
        for name, results in measured.items()
    }


def alternations(case: Case, count: int) -> list[tuple[float, float]]:
    """Return the seconds of a step of one worker and of two, `count` times in alternation."""
    seconds = []
    with (
        started_workers(1, case, steps=ALTERNATING_STEPS) as one,
        started_workers(2, case, steps=ALTERNATING_STEPS) as two,
        Progress(count, "one worker and two") as progress,
    ):
        for number in range(count):
            second = None if number % 2 else two()["step"]  # two workers go first in even rounds
            first = one()["step"]
            seconds.append((first, second or two()["step"]))
            progress.advance()
    return seconds


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
    with started_workers(count, case, **request) as call:
        return call()


@contextmanager
def started_workers(
    count: int, case: Case, steps: int = STEPS, megabits: int | None = None, **request: Any
) -> Iterator[Turn]:
    """Start workers; yield a function that makes them measure and returns the result.

    The workers share a link of `megabits` Mbit/s if given. Raises UserError if a worker fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "calls"
        os.mkfifo(calls)
        request |= {"calls": str(calls), "case": astuple(case), "steps": steps}
        command = [sys.executable, "-m", "wrn3d.launch", "-n", str(count), MODULE]
        command.append(json.dumps(request))
        if megabits:
            command = throttled(megabits, command)
        with (
            started(f"measuring {counted(count, 'worker')}", command) as results,
            open(calls, "r+b", buffering=0) as fifo,  # "wb" would wait for a reader
        ):
            next(results)  # they are warmed up

            def call():
                fifo.write(b"\n")
                return next(results)

            yield call


def serve(calls: str, case: Sequence, batch_norm: str = "synchronised", **request: Any) -> None:
    """Measure once for each line of the file `calls`."""
    env = environment(TENSORLAYER_SCRIPT, Case(*case), batch_norm=batch_norm, **TRAINING)
    for _ in range(WARM_UP):
        env.step()
    first = env.worker.index == 0
    if first:
        print("{}", flush=True)
    with open(calls) if first else nullcontext() as lines:  # nobody else reads
        while env.worker.all_max(int(bool(lines and lines.readline()))):
            figures = measure(env, **request)
            if first:
                print(json.dumps(figures), flush=True)


def measure(
    env: TrainingEnvironment, steps: int, sums: bool = False, checkpoint: bool = False
) -> Figures:
    """Return the median seconds of a step and of making a whole batch, and the bytes that go over
    the loopback in a step.

    `sums` adds the seconds of an all-reduce of each size, `checkpoint` those of a checkpoint.
    """
    before = loopback_bytes()
    seconds = [env.step().seconds for _ in range(steps)]
    figures = {"step": median(seconds), "bytes": (loopback_bytes() - before) / steps}
    batches = [seconds_of(lambda: env.next_batch(env.config.batch_size)) for _ in range(steps)]
    figures["input"] = median(batches)
    if sums:
        figures |= {f"sum of {size}": seconds_of_sum(env.worker.count, size) for size in SUM_SIZES}
    if checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            figures["save"] = seconds_of(lambda: env.save(Path(folder) / "state.safetensors"))
    return figures


def seconds_of_sum(count: int, size: int) -> float:
    """Return the seconds of an all-reduce inside a graph, without the cost of calling the graph.

    They are the difference that FURTHER_SUMS more all-reduces make, divided by their number.
    """
    import tensorflow as tf

    from wrn3d.distributed import collectives

    array, key = tf.zeros(size // 4), collectives.first_key()

    def chain(length, first):
        def add(total, number):
            return collectives.reduce_over(count, total, first + number, "Add")

        sums = tf.function(lambda: reduce(add, range(length), array), autograph=False)
        sums()
        return median(seconds_of(sums) for _ in range(SUMS))

    return (chain(1 + FURTHER_SUMS, key) - chain(1, key + 1 + FURTHER_SUMS)) / FURTHER_SUMS


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def loopback_bytes() -> int:
    """Return the bytes sent over the loopback so far (Linux)."""
    return int(Path("/proc/net/dev").read_text().partition(" lo:")[2].split()[8])


if __name__ == "__main__":
    sys.exit(exit_status(lambda: serve(**json.loads(sys.argv[1]))))
