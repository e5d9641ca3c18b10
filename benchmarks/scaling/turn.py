"""What one worker of a measurement runs: turn.py '{"case": [16, 4, 32, null], ...}'.

The first worker prints a line of JSON: the median seconds of a step and of making a whole batch,
the bytes that went over the loopback in a step, the seconds of sums of several sizes, and those of
a checkpoint. With "calls", a FIFO, it takes its steps anew for each line that comes out of that,
and prints a line with the median seconds of one each time.
"""

import json
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from cifar_wide_resnet_tl import CNNEnv
from wrn3d.system.exit_status import exit_status

WARM_UP, SUMS, FURTHER = 2, 7, 4
SIZES = (4, 4_000, 400_000, 4_000_000, 40_000_000)  # bytes


class Environment(CNNEnv):
    """Of a benchmark's case, on its real data."""

    def __init__(self, case, batch_norm):
        self.case = case
        super().__init__(
            spec=case.spec,
            dataset="digits",
            batch_size=case.batch_size,
            momentum=0.9,
            nesterov=True,
            augment=True,
            batch_norm=batch_norm,
        )

    def load_data(self):
        return self.case.dataset()


def measure(case, steps, batch_norm="synchronised", sums=False, checkpoint=False):
    """(the worker's number, the figures by name) of training a Case, given as its fields."""
    env = warmed_up(case, batch_norm)
    before = loopback_bytes()
    seconds = [env.step().seconds for _ in range(steps)]
    found = {"step": median(seconds), "bytes": (loopback_bytes() - before) / steps}
    found["input"] = median(seconds_of(lambda: env.next_batch(env.batch_num)) for _ in range(steps))
    if sums:
        found["sums"] = {size: seconds_of_a_sum(env.worker.count, size) for size in SIZES}
    if checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            found["save"] = seconds_of(lambda: env.save(Path(folder) / "state.safetensors"))
    return env.worker.index, found


def warmed_up(case, batch_norm):
    """An environment of a Case's fields that has taken its first steps."""
    env = Environment(Case(*case), batch_norm)
    for _ in range(WARM_UP):
        env.step()
    return env


def measure_at_each_call(calls, case, steps, batch_norm="synchronised"):
    """Take the steps, and print the median seconds of one, for each line of the file `calls`, which
    the first worker reads."""
    env = warmed_up(case, batch_norm)
    first = env.worker.index == 0
    with open(calls) if first else nullcontext() as lines:
        while env.worker.all_max(int(first and bool(lines.readline()))):
            seconds = [env.step().seconds for _ in range(steps)]
            if first:
                print(median(seconds), flush=True)


def seconds_of_a_sum(count, size):
    """In a function, without what calling it costs: by how much longer several of them take."""
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

    return (chain(1 + FURTHER, key) - chain(1, key + 1 + FURTHER)) / FURTHER


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def loopback_bytes():
    """All that has been sent over the loopback so far (Linux)."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split()[9])
    return 0


def main():
    request = json.loads(sys.argv[1])
    if "calls" in request:
        return measure_at_each_call(**request)
    index, found = measure(**request)
    if index == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))
