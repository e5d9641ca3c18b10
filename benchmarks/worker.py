"""Train in a worker, and measure a few steps at each call. `processes` starts it.

The process may have another version of the project to import, so this file uses little of it.

python benchmarks/worker.py '{"calls": FIFO, "start": SECONDS, "case": [16, 4, 32, null], ...}'

The first worker reads the FIFO `calls`: for each line all workers take a few steps, and the first
one prints a line of JSON with the figures. Its first line, {}, says that all are warmed up.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import reduce
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.contenders import TENSORLAYER_SCRIPT, environment
from wrn3d.distributed.workers import Worker
from wrn3d.system.exit_status import exit_status
from wrn3d.system.memory import peak_memory

if TYPE_CHECKING:  # slow to import, and some that import this module do without
    from wrn3d import TrainingEnvironment

ALONE = Worker()
SUMS, FURTHER_SUMS = 7, 4
SUM_SIZES = (4, 4_000, 400_000, 4_000_000, 40_000_000)  # bytes
TRAINING = {"momentum": 0.9, "nesterov": True, "augment": True}


def serve(
    calls: str, start: float, case: Sequence, settings: dict[str, Any], **request: Any
) -> None:
    """Measure once for each line of the file `calls`. The processes began at the time `start`."""
    env = environment(TENSORLAYER_SCRIPT, Case(*case), **TRAINING | settings)
    env.step()
    first_step = time.perf_counter() - start
    env.step()  # memory settles
    for _ in answer_calls(calls, {}, env.worker):
        tell(measure(env, **request) | {"first step": first_step}, env.worker)


def answer_calls(calls: str, ready: Mapping[str, float], worker: Worker = ALONE) -> Iterator[None]:
    """Print `ready`, and yield for each line of the file `calls`, in all workers."""
    tell(ready, worker)
    with nullcontext() if worker.index else open(calls, opener=_at_once) as lines:
        while worker.all_max(int(bool(lines and lines.readline()))):
            yield


def _at_once(path: str, flags: int) -> int:
    """Open a FIFO even if its writer has been killed: reading then finds its end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def tell(figures: Mapping[str, float], worker: Worker = ALONE) -> None:
    """Print figures as a line of JSON, if this is the first worker."""
    if worker.index == 0:
        print(json.dumps(figures), flush=True)


def measure(
    env: "TrainingEnvironment", steps: int, sums: bool = False, checkpoint: bool = False
) -> dict[str, float]:
    """Return the median seconds of a step and of making a whole batch, the bytes that go over the
    loopback in a step, and the sum of the workers' peaks of memory in bytes.

    `sums` adds the seconds of an all-reduce of each size, `checkpoint` those of a checkpoint.
    """
    before = loopback_bytes()
    seconds = [env.step().seconds for _ in range(steps)]
    figures = {"step": median(seconds), "bytes": (loopback_bytes() - before) / steps}
    batches = [seconds_of(lambda: env.next_batch(env.config.batch_size)) for _ in range(steps)]
    figures["input"] = median(batches)
    (memory,) = env.worker.sum([np.array([peak_memory() or 0], np.float64)])
    figures["memory"] = float(memory[0])
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
