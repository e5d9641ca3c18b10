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
from benchmarks.contenders import CONTENDERS, MATMUL, MATRIX_SIDE
from benchmarks.processes import Figures, Turn, called, in_rounds
from wrn3d.system.errors import UserError

SECONDS = {"training": 0.4, "evaluation": 0.2, "start": 0.0}  # of a turn; at least one iteration
ROUNDS_OF_A_START = 4  # a start takes long: it has one round for so many of the others
TRIAL, LAGGING = 5, 0.8  # after so many rounds a rival below this share of the best rate is out
# Assumed, for the time left:
START_SECONDS, COMPILE_SECONDS = 7, {"training": 33, "evaluation": 17, "start": 33}
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
        compiled = sum(CONTENDERS[name].compiles for name in self.contenders)
        starts = len(self.contenders) * START_SECONDS + compiled * COMPILE_SECONDS[self.work]
        if self.work == "start":
            return rounds * starts
        operations = self.case.batch_size * self.case.training_operations
        operations /= 3 if self.work == "evaluation" else 1  # no gradients
        turn = max(SECONDS[self.work], operations / OPERATIONS_PER_SECOND[self.precision])
        turns = turn * len({*self.contenders} - {MATMUL}) + SECONDS[self.work]
        return starts + rounds * turns


@dataclass(frozen=True)
class Measurement:
    """A contender's turn; the fields are the columns of turns.csv.

    An iteration takes `seconds`, the mean of `iterations`, for so many `images`; a multiplication
    of the matmul counts as the images with as many operations in training. At the work "start" it
    is the first step. The first step counts from the start of the process. Memory is the process's
    peak, and its peak after importing the libraries, or 0 if the system does not report it.
    """

    work: str
    case: str
    precision: str
    contender: str
    round: int
    images: float
    seconds: float
    iterations: int
    first_step_seconds: float
    memory_bytes: float
    import_memory_bytes: float

    @property
    def rate(self) -> float:
        """Images/s."""
        return self.images / self.seconds


def alternate(group: Group, rounds: int, failures: list[str]) -> Iterator[list[Measurement]]:
    """Let a group's contenders take turns; yield their measurements in each round.

    Adds a sentence to `failures` for each that fails, and goes on without it. After TRIAL rounds it
    goes on without PyTorch's programs that reach less than LAGGING of the best one's rate.
    """
    with ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for name in group.contenders:
            if group.work == "start":
                turns[name] = partial(start_once, group, name)
                continue
            try:
                _, turns[name] = stack.enter_context(participant(group, name))
            except UserError as error:
                failures.append(str(error))
        measurements: list[Measurement] = []
        guarded = {name: partial(guard, turn, failures) for name, turn in turns.items()}
        for number, figures in enumerate(in_rounds(guarded, rounds), 1):
            found = [measured(group, number, name, one) for name, one in figures.items() if one]
            measurements += found
            yield found
            out = {name for name, one in figures.items() if not one}
            if number == TRIAL:
                out |= lagging(measurements)
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
        return ready | {"seconds": ready["first step"], "iterations": 1}


def guard(turn: Turn, failures: list[str]) -> Figures:
    """Take a turn; if it fails, add the reason to `failures` and return {}."""
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
        first_step_seconds=figures["first step"],
        memory_bytes=figures["memory"],
        import_memory_bytes=figures["import memory"],
    )


def lagging(measurements: list[Measurement]) -> set[str]:
    """Return PyTorch's programs whose median rate is less than LAGGING of the best one's."""
    rates = {
        name: median(one.rate for one in measurements if one.contender == name)
        for name in {one.contender for one in measurements}
        if CONTENDERS[name].is_rival
    }
    return {name for name, rate in rates.items() if rate < LAGGING * max(rates.values())}


def append_csv(path: Path, row: Mapping[str, Any]) -> None:
    """Append {column: value} to a CSV file, which begins with the names of its columns."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
