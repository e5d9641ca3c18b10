"""Run one worker of a measurement.

python -m wrn3d.launch -n 2 benchmarks.scaling.turn '{"calls": FIFO, "case": [16, 4, 32, null]}'

The first worker reads the FIFO `calls`: for each line all workers take a few steps, and the first
one prints a line of JSON with the medians. It prints an empty one when all are warmed up.
"""

import json
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from benchmarks.contenders import TENSORLAYER_SCRIPT, environment
from wrn3d.system.exit_status import exit_status

WARM_UP, SUMS, FURTHER_SUMS = 2, 7, 4
SUM_SIZES = (4, 4_000, 400_000, 4_000_000, 40_000_000)  # bytes
TRAINING = {"momentum": 0.9, "nesterov": True, "augment": True}


def serve(calls, case, batch_norm="synchronised", **request) -> None:
    """Measure once for each line of the file `calls`."""
    env = environment(TENSORLAYER_SCRIPT, Case(*case), batch_norm=batch_norm, **TRAINING)
    for _ in range(WARM_UP):
        env.step()
    first = env.worker.index == 0
    if first:
        print("{}", flush=True)
    with open(calls) if first else nullcontext() as lines:
        while env.worker.all_max(int(first and bool(lines.readline()))):
            figures = measure(env, **request)
            if first:
                print(json.dumps(figures), flush=True)


def measure(env, steps, sums=False, checkpoint=False) -> dict[str, float]:
    """Return the median seconds of a step and of making a whole batch, and the bytes that go over
    the loopback in a step; on request the seconds of sums of several sizes and of a checkpoint."""
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


def seconds_of_sum(count, size) -> float:
    """Return the seconds of a sum inside a function, without the function's own: a function with
    FURTHER_SUMS more takes so much longer."""
    import tensorflow as tf

    from wrn3d.distributed import collectives

    array, key = tf.zeros(size // 4), collectives.first_key()

    def chain(length, first):
        @tf.function(autograph=False)
        def sums():
            total = array
            for number in range(length):
                total = collectives.reduce_over(count, total, first + number, "Add")
            return total

        sums()
        return median(seconds_of(sums) for _ in range(SUMS))

    return (chain(1 + FURTHER_SUMS, key) - chain(1, key + 1 + FURTHER_SUMS)) / FURTHER_SUMS


def seconds_of(call) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def loopback_bytes() -> int:
    """Return the bytes sent over the loopback so far (Linux)."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split()[9])
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(lambda: serve(**json.loads(sys.argv[1]))))
