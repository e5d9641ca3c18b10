"""Measure training speed on this machine's CPU, side by side with stock Keras and PyTorch."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES, QUICK, precisions
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.report import Group, grouped
from benchmarks.turn import Measurement, Turn, append_csv, measure
from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import check_choice, check_count, check_each, require
from wrn3d.system.errors import UserError
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress
from wrn3d.system.words import counted


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure. In each round every contender runs in a process of its own."""

    quick: bool = False
    """Measure one size in float32 in one round: under two minutes."""
    cases: tuple[str, ...] = ()
    """Sizes, such as 16-4, or 16-1-32 for 32x32x32 volumes (default: all)."""
    contenders: tuple[str, ...] = ()
    """matmul, tensorlayer, keras, keras-fit, stock, torch-3d, torch-3d-last, torch-2d-last
    (default: all)."""
    rounds: int = 3
    """Turns of each contender."""
    output: Path = Path("runs")
    """Folder for the new folder benchmark-<time>."""


def main() -> int:
    """Measure and show the results; return the exit status (1: a turn failed)."""
    leave_others()
    return run_command(benchmark, BenchmarkConfig, "benchmarks", __doc__)


def benchmark(config: BenchmarkConfig) -> None:
    """Measure and show the results, also after Ctrl-C; raise UserError if a turn failed."""
    turns, notes = plan(config)
    description = machine.describe()
    notes = [machine.sentence(description), *notes]
    measurements: list[Measurement] = []
    failures: list[str] = []
    with new_folder(config.output, "benchmark") as folder:
        print("\n".join(notes), flush=True)
        try:
            with writing_to(folder):
                text = json.dumps(description, indent=2) + "\n"
                (folder / "machine.json").write_text(text, encoding="utf-8")
            take(turns, measurements, failures, folder)
        finally:
            if groups := grouped(measurements):
                show(groups, notes, folder)
    if failures:
        raise UserError(
            f"{len(failures)} of {counted(len(turns), 'turn')} failed; the first: {failures[0]}"
        )


def take(
    turns: Sequence[Turn], measurements: list[Measurement], failures: list[str], folder: Path
) -> None:
    """Take the turns. Add each at once to `measurements` and turns.csv, or to `failures`."""
    with Progress(len(turns), "measuring") as progress:
        for turn in turns:
            try:
                measurement = measure(turn)
            except UserError as error:
                failures.append(result := str(error))
            else:
                measurements.append(measurement)
                result = f"{turn.title}: {measurement.images_per_second:.1f} images/s"
                with writing_to(folder):
                    append_csv(folder / "turns.csv", measurement.row)
            progress.advance()
            progress.print(f"round {turn.round}  {result}")


def plan(config: BenchmarkConfig) -> tuple[list[Turn], list[str]]:
    """Return the turns in order and a sentence about each omission.

    Raises UsageError for invalid settings.
    """
    check_count("rounds", config.rounds)
    check_each("cases", config.cases, check_choice, CASES)
    check_each("contenders", config.contenders, check_choice, CONTENDERS)
    # The matmul always takes part.
    contenders = dict.fromkeys((MATMUL, *(config.contenders or CONTENDERS)))
    measured_precisions, notes = precisions(config.quick)
    turns = []
    for name in [name for name in contenders if not CONTENDERS[name].is_installed]:
        libraries = " or ".join(CONTENDERS[name].libraries)
        notes.append(
            f"without {CONTENDERS[name].title}: {libraries} is not installed (pip install -r "
            "requirements-bench.txt)"
        )
        del contenders[name]
    for case in [CASES[name] for name in config.cases or (QUICK if config.quick else CASES)]:
        names = [name for name in contenders if not (case.side and CONTENDERS[name].images_only)]
        require(
            names != [MATMUL],
            f"none of the contenders can be measured on {case.name}: install PyTorch (pip install "
            "-r requirements-bench.txt) or name others",
        )
        turns += [
            Turn(number + 1, case.name, case.batch_size, precision, name)
            for number in range(1 if config.quick else config.rounds)
            for precision in measured_precisions
            for name in names
        ]
    return turns, notes


def show(groups: Sequence[Group], notes: Sequence[str], folder: Path) -> None:
    """Print the tables; write them and the picture even if the output is a closed pipe."""
    tables = [report.summary_table(groups), report.detail_tables(groups), report.NOTES, *notes]
    text = "\n\n".join(tables) + "\n"
    try:
        print(f"\n{text}", flush=True)
    finally:
        with writing_to(folder):
            (folder / "table.md").write_text(text, encoding="utf-8")
            report.draw(groups, folder / "benchmark.png")
    print(f"in {folder}: benchmark.png, table.md, turns.csv, machine.json")


if __name__ == "__main__":
    sys.exit(main())
