"""Measure what shards gain or cost, beside one worker with S = 1.

python -m benchmarks.shards            # an hour on two cores; --quick: less than two minutes
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cases import CASES, precisions
from benchmarks.contenders import TENSORLAYER_SCRIPT
from benchmarks.processes import ROOT, require_cores_for_workers, started_workers
from benchmarks.shards import report
from benchmarks.shards.ways import Group, Measurement, alternate, groups_of_ways
from benchmarks.turns import append_csv
from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import check_choice, check_count, check_each, check_power_of_two, require
from wrn3d.system.errors import UserError
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress
from wrn3d.system.words import counted

SHARDED = {name: CASES[name] for name in ("16-1-b128", "16-4-b128", "28-4-b32", "16-1-32-b8")}
QUICK, QUICK_ROUNDS = ("16-1-b128",), 5


@dataclass(frozen=True)
class ShardsConfig:
    """What to measure. Long-lived processes take turns of a few steps."""

    quick: bool = False
    """Measure WRN-16-1 in float32, with few shards, in 5 rounds: under two minutes."""
    cases: tuple[str, ...] = ()
    """16-1-b128, 16-4-b128, 28-4-b32, or 16-1-32-b8 for 32x32x32 volumes (default: all)."""
    shards: tuple[int, ...] = (4, 8)
    """Numbers of shards of one worker, besides the number of cores."""
    rounds: int = 20
    """Turns of each process."""
    baseline: Path | None = None
    """Folder with the version of the project whose S = 1 is the baseline (default: this one)."""
    output: Path = Path("runs")
    """Folder for the new folder shards-<time>."""


def main() -> int:
    """Measure and show the results; return the exit status (1: a group of processes failed)."""
    leave_others()
    return run_command(benchmark, ShardsConfig, "benchmarks.shards", __doc__)


def benchmark(config: ShardsConfig) -> None:
    """Measure and show the results, also after Ctrl-C.

    Raises UsageError for invalid settings, and UserError if a group of processes failed.
    """
    groups, notes = plan(config)
    measurements: list[Measurement] = []
    failures: list[str] = []
    with new_folder(config.output, "shards") as folder:
        print("\n".join(notes), flush=True)
        try:
            take(groups, config, measurements, failures, folder)
        finally:
            if measurements:
                text = "\n\n".join([report.tables(measurements, SHARDED), report.NOTES, *notes])
                try:
                    print(f"\n{text}\n", flush=True)
                finally:  # also if the output is a closed pipe
                    with writing_to(folder):
                        (folder / "shards.md").write_text(f"{text}\n", encoding="utf-8")
                print(f"in {folder}: shards.md, turns.csv")
    if failures:
        raise UserError(
            f"{len(failures)} of {counted(len(groups), 'group')} failed; the first: {failures[0]}"
        )


def plan(config: ShardsConfig) -> tuple[list[Group], list[str]]:
    """Return the groups in order, and sentences about the machine, omissions and the baseline.

    Raises UsageError for invalid settings.
    """
    require_cores_for_workers()
    check_count("rounds", config.rounds, least=2)
    check_each("cases", config.cases, check_choice, SHARDED)
    check_each("shards", config.shards, check_power_of_two)
    older = config.baseline
    require(
        older is None or (older / f"{TENSORLAYER_SCRIPT}.py").is_file(),
        f"baseline is {older}, but must be a folder with a version of the project",
    )
    measured_precisions, omissions = precisions(config.quick)
    counts = () if config.quick else config.shards
    groups = [
        Group(case, precision, fitting)
        for case in [SHARDED[name] for name in config.cases or (QUICK if config.quick else SHARDED)]
        for precision in measured_precisions
        for ways in groups_of_ways(machine.usable_cores(), counts, older is not None)
        if (fitting := [way for way in ways if case.batch_size % way.shards == 0])
    ]
    baseline = f"the baseline is S = 1 of {f'the version in {older}' if older else 'this version'}"
    return groups, [machine.sentence(machine.describe()), *omissions, baseline]


def take(
    groups: Sequence[Group],
    config: ShardsConfig,
    measurements: list[Measurement],
    failures: list[str],
    folder: Path,
) -> None:
    """Measure the groups one after the other.

    Adds each round to `measurements`, each group to turns.csv, and each failed one to `failures`.
    """
    rounds = min(config.rounds, QUICK_ROUNDS) if config.quick else config.rounds
    older = (config.baseline or ROOT).resolve()
    total, done = sum(group.seconds(rounds) for group in groups), 0.0
    with started_workers(1, groups[0].case, steps=1):  # reads the libraries from the disk
        start = time.perf_counter()
    with Progress(round(total), "measuring, seconds") as progress:
        for group in groups:
            first, name = len(measurements), f"{group.case.title}, {group.precision}"
            try:
                for number, found in enumerate(alternate(group, rounds, older), 1):
                    measurements += found
                    progress.update(round(done + group.seconds(number)))
                result = report.summary(measurements[first:])
            except UserError as error:
                result = str(error)
                failures.append(f"{name}: {result}")
            finally:
                with writing_to(folder):
                    for one in measurements[first:]:
                        append_csv(folder / "turns.csv", asdict(one))
            done += group.seconds(rounds)
            left = (total / done - 1) * (time.perf_counter() - start) / 60
            progress.print(f"{name}: {result} ({counted(round(left), 'minute')} left)")


if __name__ == "__main__":
    sys.exit(main())
