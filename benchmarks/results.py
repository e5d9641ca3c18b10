"""Measurements: one for each turn, appended to a CSV file and grouped for the tables."""

import csv
from dataclasses import asdict, dataclass, fields
from statistics import median

from benchmarks.cases import CASES
from benchmarks.contenders import MATMUL


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

    `images_per_second` is the training rate of the median iteration; of the matmul it is the rate
    that would take as many operations. The first iteration counts from the start of the process.
    Memory is the process's peak in training and after importing its libraries, 0 where the system
    does not tell.
    """

    images_per_second: float
    evaluated_per_second: float
    first_iteration_seconds: float
    peak_memory_bytes: int
    import_memory_bytes: int
    operations_per_second: float
    iteration_seconds: list[float]


class Row(list[Measurement]):
    """One contender's measurements on a case in a precision."""

    def median_of(self, name: str) -> float:
        """Return the median of a field over the turns."""
        return median(getattr(measurement, name) for measurement in self)

    @property
    def rate(self) -> float:
        """Training images/s, the median of the turns' medians."""
        return self.median_of("images_per_second")

    @property
    def spread(self) -> tuple[float, float]:
        """Images/s of the slowest and of the fastest iteration."""
        seconds = [one for measurement in self for one in measurement.iteration_seconds]
        return self[0].batch_size / max(seconds), self[0].batch_size / min(seconds)


class Group(dict[str, Row]):
    """{contender: its Row} of a case in a precision, without the matmul, which is its `limit`."""

    def __init__(self, case, precision):
        super().__init__()
        self.case, self.precision, self.matmul = case, precision, Row()
        self.title = f"{CASES[case].title}, {precision}"

    @property
    def limit(self) -> float | None:
        """Images/s at the matmul's rate, None if that was not measured."""
        return self.matmul.rate if self.matmul else None


def grouped(measurements) -> list[Group]:
    """Return a Group for each case and precision in which a network was measured."""
    groups = {}
    for one in measurements:
        key = one.case, one.precision
        group = groups.setdefault(key, Group(*key))
        row = group.matmul if one.contender == MATMUL else group.setdefault(one.contender, Row())
        row.append(one)
    return [group for group in groups.values() if group]


def append_csv(path, measurement) -> None:
    """Append a measurement to a CSV file, which begins with the names of its columns."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(measurement)])
        if not file.tell():
            writer.writeheader()
        seconds = " ".join(f"{value:.6f}" for value in measurement.iteration_seconds)
        writer.writerow(asdict(measurement) | {"iteration_seconds": seconds})
