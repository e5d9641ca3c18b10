"""Measure one contender in a process of its own.

python -m benchmarks.turn '[{"round": 1, "case": "16-4", "contender": "keras", ...}, START]'
"""

import csv
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, MATMUL, MATRIX_SIDE, Enough
from benchmarks.processes import started
from wrn3d.system.errors import reason
from wrn3d.system.memory import peak_memory

SECONDS = 1.0  # timed in a turn
WARM_UP = 2  # the first iteration builds the graph; memory settles in the second
FEWEST = 3  # timed iterations


@dataclass(frozen=True)
class Turn:
    """One contender's turn on a case in a precision."""

    round: int
    case: str
    batch_size: int
    precision: str
    contender: str

    @property
    def title(self) -> str:
        """Name in messages, such as "keras on 16-4 in float32"."""
        return f"{self.contender} on {self.case} in {self.precision}"


@dataclass(frozen=True)
class Measurement(Turn):
    """The result of a turn; the fields are the columns of turns.csv.

    `images_per_second` is the training rate of the median iteration. For the matmul it is the rate
    that training would reach with as many operations per second. The first iteration counts from
    the start of the process. Memory is the process's peak in training and after importing its
    libraries, or 0 if the system does not report it.
    """

    images_per_second: float
    first_iteration_seconds: float
    peak_memory_bytes: int
    import_memory_bytes: int
    operations_per_second: float
    iteration_seconds: list[float]

    @property
    def row(self) -> dict[str, Any]:
        """The row of turns.csv."""
        seconds = " ".join(f"{value:.6f}" for value in self.iteration_seconds)
        return asdict(self) | {"iteration_seconds": seconds}


def measure(turn: Turn) -> Measurement:
    """Take a turn in a fresh process without GPUs; raise UserError if it fails."""
    request = json.dumps([asdict(turn), time.perf_counter()])
    command = [sys.executable, "-m", "benchmarks.turn", request]
    with started(turn.title, command, CUDA_VISIBLE_DEVICES="-1") as results:
        return Measurement(**next(results))


def take_turn(turn: Turn, start: float) -> Measurement:
    """Measure in this process, which began at the time `start` (all processes share the clock)."""
    case, contender = CASES[turn.case], CONTENDERS[turn.contender]
    if turn.contender == "stock":  # importing wrn3d has set it; a newcomer has not
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
        first_iteration_seconds=laps[0],
        peak_memory_bytes=training_memory,
        import_memory_bytes=import_memory,
        operations_per_second=rate,
        iteration_seconds=laps[WARM_UP:],
    )


def iterations(train: Callable[[Enough], None], start: float) -> list[float]:
    """Train for the timed seconds; return the seconds of each iteration, the first from `start`."""
    ends = [start]

    def enough():
        ends.append(time.perf_counter())
        count = len(ends) - 1
        return count >= WARM_UP + FEWEST and ends[-1] - ends[WARM_UP] >= SECONDS

    train(enough)
    return [end - begin for begin, end in pairwise(ends)]


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append {column: value} to a CSV file, which begins with the names of its columns."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    try:
        turn, start = json.loads(sys.argv[1])
        print(json.dumps(asdict(take_turn(Turn(**turn), start))))
    except Exception as error:
        print(f"{type(error).__name__}: {reason(error)}", file=sys.stderr)
        sys.exit(1)
