"""The figures of all turns: kept by contender, and appended to a CSV as they come."""

import csv
from dataclasses import dataclass, field
from statistics import median

from benchmarks.cases import CASES
from benchmarks.ceiling import MATMUL

CSV_COLUMNS = (
    "round",
    "case",
    "batch_size",
    "precision",
    "contender",
    "images_per_second",
    "evaluated_per_second",
    "first_iteration_seconds",
    "peak_memory_bytes",
    "import_memory_bytes",
    "operations_per_second",
    "iteration_seconds",
)


@dataclass
class Row:
    """One contender on one case in one precision: the figures of its turns so far."""

    case: str
    contender: str
    turns: list = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Trained images/s, the median of the turns' medians."""
        return median(images_per_second(self.case, figures) for figures in self.turns)

    @property
    def lowest(self) -> float:
        """That of the slowest iteration."""
        return CASES[self.case].batch_size / max(max(turn.iterations) for turn in self.turns)

    @property
    def highest(self) -> float:
        """That of the fastest iteration."""
        return CASES[self.case].batch_size / min(min(turn.iterations) for turn in self.turns)

    def median_of(self, name) -> float:
        """The median over the turns of a figure."""
        return median(getattr(figures, name) for figures in self.turns)


@dataclass
class Group:
    """The rows {contender: Row} of one case in one precision, and the machine's limit for it."""

    case: str
    precision: str
    rows: dict = field(default_factory=dict)
    matmul: Row | None = None

    @property
    def title(self) -> str:
        return f"{CASES[self.case].title}, {self.precision}"

    @property
    def operations_per_second(self) -> float | None:
        """The matmul rate."""
        return self.matmul and self.matmul.median_of("operations_per_second")

    @property
    def limit(self) -> float | None:
        """The images/s that it allows."""
        if self.matmul is None:
            return None
        return self.operations_per_second / CASES[self.case].training_operations


class Results:
    """All groups, in the order in which they were first measured."""

    def __init__(self):
        self._groups = {}

    @property
    def groups(self) -> list[Group]:
        """Those in which a contender was measured."""
        return [group for group in self._groups.values() if group.rows]

    def add(self, turn, figures):
        """Note a turn's figures."""
        group = self._groups.setdefault(
            (turn.case, turn.precision), Group(turn.case, turn.precision)
        )
        new = Row(turn.case, turn.contender)
        if turn.contender == MATMUL:
            group.matmul = row = group.matmul or new
        else:
            row = group.rows.setdefault(turn.contender, new)
        row.turns.append(figures)


def images_per_second(case, figures) -> float:
    """A turn's rate of training, by its median iteration."""
    return CASES[case].batch_size / median(figures.iterations)


def append_csv(path, round_number, turn, figures):
    """Add a turn's raw figures to the file at `path`, which begins with its column names."""
    rate = images_per_second(turn.case, figures) if figures.iterations else 0
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(CSV_COLUMNS)
        writer.writerow(
            [
                round_number,
                turn.case,
                CASES[turn.case].batch_size,
                turn.precision,
                turn.contender,
                rate,
                figures.evaluation,
                figures.first_iteration,
                figures.peak_memory,
                figures.import_memory,
                figures.operations_per_second,
                " ".join(f"{value:.6f}" for value in figures.iterations),
            ]
        )
