"""Ways to train, each in processes of its own, which take turns with those of the baseline."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases import Case
from benchmarks.processes import ROOT, in_rounds, started_workers

STEPS = 2  # in a turn; few, so that other load on the machine slows all of a round alike
START_SECONDS, OPERATIONS_PER_SECOND = 12, 2e11  # assumed, for the time left


class Way(NamedTuple):
    """How many workers divide the cores, how many shards a batch has, and which batch norm.

    With `older`, the version of the project that the results are compared with.
    """

    workers: int = 1
    shards: int = 1
    batch_norm: str = "synchronised"
    older: bool = False

    @property
    def title(self) -> str:
        """Name in tables, such as "two workers, S = 2, local"."""
        parts = ["baseline"] if self.older else []
        parts += ["two workers"] if self.workers == 2 else []
        parts.append(f"S = {self.shards}")
        return ", ".join([*parts, self.batch_norm] if self.shards > 1 else parts)

    def settings(self, precision: str) -> dict[str, Any]:
        """Return the CNNEnv's settings. With one shard older versions know them, too."""
        shards = {"shards": self.shards} if self.shards > 1 else {}
        return {"precision": precision, "batch_norm": self.batch_norm} | shards


BASELINE = Way(older=True)


class Group(NamedTuple):
    """Ways to train a network that take turns with the baseline."""

    case: Case
    precision: str
    ways: Sequence[Way]

    def seconds(self, rounds: int) -> float:
        """Return roughly the seconds that so many rounds take."""
        operations = STEPS * self.case.batch_size * self.case.training_operations
        turn = operations / OPERATIONS_PER_SECOND
        return (1 + len(self.ways)) * (START_SECONDS + rounds * turn)


@dataclass(frozen=True)
class Measurement:
    """A way's turn, and the baseline's in the same round; the fields are the columns of turns.csv.

    A step is the median of a turn. The first step counts from the start of the process.
    """

    case: str
    precision: str
    way: str
    step_seconds: float
    baseline_step_seconds: float
    first_step_seconds: float
    baseline_first_step_seconds: float
    memory_bytes: float
    baseline_memory_bytes: float


def groups_of_ways(cores: int, counts: Sequence[int], has_older: bool) -> list[list[Way]]:
    """Return the ways that take turns: few at once, since all of them hold memory.

    One worker has as many shards as `cores`, and the other `counts`. `has_older` tells whether the
    baseline is another version of the project.
    """
    most = 2 ** (cores.bit_length() - 1)  # shards that the cores can compute side by side
    norms = ("local", "synchronised")
    groups = [[Way(1, count, norm) for norm in norms] for count in dict.fromkeys((most, *counts))]
    if has_older:
        groups[0].insert(0, Way())
    return [*groups, [*(Way(2, most, norm) for norm in norms), BASELINE._replace(workers=2)]]


def alternate(group: Group, rounds: int, older: Path) -> Iterator[list[Measurement]]:
    """Let the baseline and a group's ways take turns; yield the ways' measurements in each round.

    The folder `older` has the baseline's version of the project. Raises UserError if one fails.
    """
    with ExitStack() as stack:
        turns = {
            way.title: stack.enter_context(
                started_workers(
                    way.workers,
                    group.case,
                    STEPS,
                    settings=way.settings(group.precision),
                    project=older if way.older else ROOT,
                )
            )
            for way in (BASELINE, *group.ways)
        }
        for figures in in_rounds(turns, rounds):
            baseline = figures.pop(BASELINE.title)
            yield [
                Measurement(
                    case=group.case.name,
                    precision=group.precision,
                    way=way,
                    step_seconds=own["step"],
                    baseline_step_seconds=baseline["step"],
                    first_step_seconds=own["first step"],
                    baseline_first_step_seconds=baseline["first step"],
                    memory_bytes=own["memory"],
                    baseline_memory_bytes=baseline["memory"],
                )
                for way, own in figures.items()
            ]
