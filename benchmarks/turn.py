"""Measure one contender in a process of its own.

python -m benchmarks.turn '[{"round": 1, "case": "16-4", "contender": "keras", ...}, START]'
"""

import importlib
import json
import os
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from statistics import median

from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, MATMUL, MATRIX_SIDE
from benchmarks.processes import started
from benchmarks.results import Measurement, Turn
from wrn3d.system.errors import reason
from wrn3d.system.memory import peak_memory

SECONDS = 1.0  # timed in a turn
WARM_UP = 2  # the first iteration builds the graph, in the second memory settles
FEWEST = 3  # timed iterations


def measure(turn: Turn) -> Measurement:
    """Take a turn in a fresh process without GPUs; raise UserError if it fails."""
    request = json.dumps([asdict(turn), time.perf_counter()])
    command = [sys.executable, "-m", "benchmarks.turn", request]
    with started(turn.title, command, CUDA_VISIBLE_DEVICES="-1") as results:
        return Measurement(**next(results))


def take_turn(turn: Turn, start: float) -> Measurement:
    """Measure in this process, which began at the time `start` (all processes share the clock)."""
    case, contender = CASES[turn.case], CONTENDERS[turn.contender]
    if turn.contender == "stock":  # as a newcomer has it: importing wrn3d has set this
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    for library in contender.libraries:
        importlib.import_module(library)
    import_memory = peak_memory() or 0
    trainer = contender.make(case, turn.precision)
    laps = iterations(trainer.train, start)
    training_memory = peak_memory() or 0
    operations = case.batch_size * case.training_operations
    if turn.contender == MATMUL:
        operations = 2 * MATRIX_SIDE**3
    rate = operations / median(laps[WARM_UP:])
    return Measurement(
        **asdict(turn),
        images_per_second=rate / case.training_operations,
        evaluated_per_second=_evaluation_rate(trainer.evaluate, case.evaluation_batch),
        first_iteration_seconds=laps[0],
        peak_memory_bytes=training_memory,
        import_memory_bytes=import_memory,
        operations_per_second=rate,
        iteration_seconds=laps[WARM_UP:],
    )


def iterations(train, start) -> list[float]:
    """Train for the timed seconds; return the seconds of each iteration, the first from `start`."""
    ends = [start]

    def enough():
        ends.append(time.perf_counter())
        count = len(ends) - 1
        return count >= WARM_UP + FEWEST and ends[-1] - ends[WARM_UP] >= SECONDS

    train(enough)
    return [end - begin for begin, end in pairwise(ends)]


def _evaluation_rate(evaluate, batch_size):
    if evaluate is None:
        return 0.0
    evaluate()  # builds the graph
    ends = [time.perf_counter()]
    while ends[-1] - ends[0] < SECONDS / 2:
        evaluate()
        ends.append(time.perf_counter())
    return batch_size * (len(ends) - 1) / (ends[-1] - ends[0])


if __name__ == "__main__":
    try:
        fields, start = json.loads(sys.argv[1])
        print(json.dumps(asdict(take_turn(Turn(**fields), start))))
    except Exception as error:
        print(f"{type(error).__name__}: {reason(error)}", file=sys.stderr)
        sys.exit(1)
