"""Let contenders take turns, each in a process of its own, and keep what they measure."""

import csv
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, MATMUL, MATRIX_SIDE, STOCK
from benchmarks.processes import Figures, Turn, called, in_rounds
from wrn3d.system.errors import UserError

SECONDS = {"training": 0.4, "evaluation": 0.2, "start": 0.0}  # of a turn; at least one iteration
ROUNDS_OF_A_START = 4  # a start takes long: it has one round for so many of the others
# After so many rounds a rival below this share of the best one's rate is out.
TRIAL, LAGGING = {"training": 5, "evaluation": 5, "start": 2}, 0.8
# Assumed, for the time left. The processes of a group start at once, except at the work "start".
START_SECONDS = {"training": 3.5, "evaluation": 3, "start": 5}
COMPILE_SECONDS = {"training": 22, "evaluation": 10, "start": 30}
OPERATIONS_PER_SECOND = {"float32": 2e11, "bfloat16": 3.6e11}


class Group(NamedTuple):
    """Contenders that take turns at a work on a case in a precision."""

    work: str
    case: Case
    precision: str
    contenders: tuple[str, ...]

    @property
    def title(self) -> str:
        """Name in messages, such as "training WRN-16-4, images, batch 32, float32"."""
        return f"{self.work} {self.case.title}, {self.precision}"

    def rounds(self, rounds: int) -> int:
        """Return the number of rounds for a setting `rounds`."""
        return max(1, rounds // ROUNDS_OF_A_START) if self.work == "start" else rounds

    def seconds(self, rounds: int) -> float:
        """Return roughly the seconds that so many rounds take."""
        return sum(self._seconds_of(name, rounds) for name in self.contenders)

    def _seconds_of(self, name: str, rounds: int) -> float:
        start: float = START_SECONDS[self.work]
        start += COMPILE_SECONDS[self.work] if CONTENDERS[name].compiles else 0
        trial = min(rounds, TRIAL[self.work])
        if self.work == "start":
            return start * (trial if CONTENDERS[name].compiles else rounds)
        operations = self.case.batch_size * self.case.training_operations
        operations /= 3 if self.work == "evaluation" else 1  # no gradients
        operations *= 0 if name == MATMUL else 1
        turn = max(SECONDS[self.work], operations / OPERATIONS_PER_SECOND[self.precision])
        slow = name == STOCK or CONTENDERS[name].contiguous
        if slow and self.is_rival(name):
            return start + 2 * turn * trial  # it will lag behind
        return start + turn * rounds

    def is_rival(self, name: str) -> bool:
        """Return whether a contender is one of PyTorch's programs or, on images, stock Keras."""
        return CONTENDERS[name].is_rival or (name == STOCK and self.case.side is None)


@dataclass(frozen=True)
class Measurement:
    """A contender's turn; the fields are the columns of turns.csv.

    An iteration takes `seconds`, the mean of `iterations`, for so many `images`; a multiplication
    of the matmul counts as the images with as many operations in training. At the work "start" it
    is the first step, counted from the start of the process. Memory is the process's peak, and its
    peak after the imports, or 0 if the system does not report it.
    """

    work: str
    case: str
    precision: str
    contender: str
    round: int
    images: float
    seconds: float
    iterations: int
    memory_bytes: float
    import_memory_bytes: float

    @property
    def rate(self) -> float:
        """Images/s."""
        return self.images / self.seconds


def alternate(group: Group, rounds: int, failures: list[str]) -> Iterator[list[Measurement]]:
    """Let a group's contenders take turns; yield their measurements in each round.

    Adds a sentence to `failures` for each that fails, and goes on without it. After TRIAL rounds it
    goes on without the rivals that reach less than LAGGING of the best one's rate.
    """
    with ExitStack() as stack:
        turns: dict[str, Turn] = {}
        if group.work == "start":
            turns |= {name: partial(start_once, group, name) for name in group.contenders}
        else:  # all start at once: a start, or compiling, leaves a core idle now and then
            started = {
                name: stack.enter_context(participant(group, name)) for name in group.contenders
            }
            turns |= {
                name: turn for name, (ready, turn) in started.items() if guard(ready, failures)
            }
        measurements: list[Measurement] = []
        guarded = {name: partial(guard, turn, failures) for name, turn in turns.items()}
        for number, figures in enumerate(in_rounds(guarded, rounds), 1):
            found = [measured(group, number, name, one) for name, one in figures.items() if one]
            measurements += found
            yield found
            out = {name for name, one in figures.items() if not one}
            if number == TRIAL[group.work]:
                out |= lagging(group, measurements)
            for name in out:
                del guarded[name]


def participant(group: Group, name: str) -> Any:
    """Return the context of a contender's process, as `called` does."""
    request = {
        "work": group.work,
        "case": astuple(group.case),
        "precision": group.precision,
        "contender": name,
        "seconds": SECONDS[group.work],
    }
    command = [sys.executable, "-m", "benchmarks.participant"]
    return called(f"{name} in {group.title}", command, request, CUDA_VISIBLE_DEVICES="-1")


def start_once(group: Group, name: str) -> Figures:
    """Return the figures of a fresh process's start."""
    with participant(group, name) as (ready, _):
        figures = ready()
        return figures | {"seconds": figures["first step"], "iterations": 1}


def guard(turn: Turn, failures: list[str]) -> Figures:
    """Return a turn's figures; if it fails, add the reason to `failures` and return {}."""
    try:
        return turn()
    except UserError as error:
        failures.append(str(error))
        return {}


def measured(group: Group, number: int, name: str, figures: Figures) -> Measurement:
    """Return the measurement of a turn in a round."""
    images = float(group.case.batch_size)
    if name == MATMUL:
        images = 2 * MATRIX_SIDE**3 / group.case.training_operations
    return Measurement(
        work=group.work,
        case=group.case.name,
        precision=group.precision,
        contender=name,
        round=number,
        images=images,
        seconds=figures["seconds"],
        iterations=int(figures["iterations"]),
        memory_bytes=figures["memory"],
        import_memory_bytes=figures["import memory"],
    )


def lagging(group: Group, measurements: list[Measurement]) -> set[str]:
    """Return the rivals whose median rate is less than LAGGING of the best one's."""
    rates = {
        name: median(one.rate for one in measurements if one.contender == name)
        for name in {one.contender for one in measurements}
        if group.is_rival(name)
    }
    best = max((rate for name, rate in rates.items() if name != STOCK), default=0.0)
    return {name for name, rate in rates.items() if rate < LAGGING * best}


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append {column: value} to a CSV file, which begins with the names of its columns."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
