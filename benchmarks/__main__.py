"""Compare training, evaluation and starts with stock Keras, PyTorch and ONNX Runtime on the CPU."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES, POSSIBLE, QUICK, WORKS, precisions
from benchmarks.contenders import CONTENDERS, MATMUL
from benchmarks.picture import draw
from benchmarks.report import Results, grouped
from benchmarks.turns import Group, Measurement, alternate, append_csv
from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import check_choice, check_count, check_each, require
from wrn3d.system.errors import UserError
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress
from wrn3d.system.words import counted

QUICK_ROUNDS = 5


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure. Long-lived processes take turns of a few steps."""

    quick: bool = False
    """Measure one size in float32 in 5 rounds, and torch.compile only in training: less than three
    minutes."""
    works: tuple[str, ...] = tuple(WORKS)
    """training, evaluation, start."""
    cases: tuple[str, ...] = ()
    """Sizes, such as 16-4-b32 for batches of 32 images, or 16-1-64-b2 for 64x64x64 volumes
    (default: all in training, 16-1 and 16-4 on images in evaluation, 16-4-b128 in start)."""
    contenders: tuple[str, ...] = ()
    """matmul, tensorlayer, tensorlayer-2, keras, stock, torch-2d, torch-2d-compiled, torch-3d,
    torch-3d-compiled, torch-3d-last, torch-3d-last-compiled, onnx (default: all but keras; the
    torch-3d ones only on volumes)."""
    rounds: int = 20
    """Turns of each process; starts are measured in a quarter as many rounds."""
    output: Path = Path("runs")
    """Folder for the new folder benchmark-<time>."""


def main() -> int:
    """Measure and show the results; return the exit status (1: a contender failed)."""
    leave_others()
    return run_command(benchmark, BenchmarkConfig, "benchmarks", __doc__)


def benchmark(config: BenchmarkConfig) -> None:
    """Measure and show the results, also after Ctrl-C; raise UserError if a contender failed."""
    groups, notes = plan(config)
    rounds = min(config.rounds, QUICK_ROUNDS) if config.quick else config.rounds
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
            take(groups, rounds, measurements, failures, folder)
        finally:
            if results := grouped(measurements):
                show(results, [*notes, *failures], folder)
    if failures:
        raise UserError(f"{counted(len(failures), 'contender')} failed; the first: {failures[0]}")


def take(
    groups: Sequence[Group],
    rounds: int,
    measurements: list[Measurement],
    failures: list[str],
    folder: Path,
) -> None:
    """Measure the groups one after the other.

    Adds each turn at once to `measurements` and turns.csv, and each failure to `failures`.
    """
    total, done = sum(group.seconds(group.rounds(rounds)) for group in groups), 0.0
    start = time.perf_counter()
    with Progress(round(total), "measuring, seconds") as progress:
        progress.print(f"about {counted(round(total / 60), 'minute')}")
        for group in groups:
            first, failed = len(measurements), len(failures)
            for number, found in enumerate(alternate(group, group.rounds(rounds), failures), 1):
                measurements += found
                with writing_to(folder):
                    for one in found:
                        append_csv(folder / "turns.csv", asdict(one))
                progress.update(round(done + group.seconds(number)))
            done += group.seconds(group.rounds(rounds))
            left = (total / done - 1) * (time.perf_counter() - start) / 60
            for failure in failures[failed:]:
                progress.print(failure)
            for results in grouped(measurements[first:]):
                progress.print(f"{group.title}: {report.line(results)}")
            progress.print(f"{counted(round(left), 'minute')} left")


def plan(config: BenchmarkConfig) -> tuple[list[Group], list[str]]:
    """Return the groups in order and a sentence about each omission.

    Raises UsageError for invalid settings.
    """
    check_count("rounds", config.rounds)
    check_each("works", config.works, check_choice, WORKS)
    check_each("cases", config.cases, check_choice, CASES)
    check_each("contenders", config.contenders, check_choice, CONTENDERS)
    measured_precisions, notes = precisions(config.quick)
    named, shorter = config.contenders, config.quick and not config.contenders
    chosen = [name for name in CONTENDERS if name in (*(named or CONTENDERS), MATMUL)]
    for one in [CONTENDERS[name] for name in chosen if not CONTENDERS[name].is_installed]:
        libraries = " or ".join(one.libraries)
        notes.append(
            f"without {one.title}: {libraries} is not installed (pip install -r "
            "requirements-bench.txt)"
        )
    groups = []
    for work in config.works:
        cases = config.cases or (QUICK if config.quick else WORKS)[work]
        for case in [CASES[name] for name in cases if name in POSSIBLE[work]]:
            for precision in measured_precisions:
                names = tuple(
                    name
                    for name in chosen
                    if CONTENDERS[name].is_installed
                    and CONTENDERS[name].takes_part(work, case, precision, bool(named))
                    and not (shorter and CONTENDERS[name].compiles and work != "training")
                )
                if {*names} - {MATMUL}:
                    groups.append(Group(work, case, precision, names))
    require(
        groups,
        "none of the contenders can be measured at these works and cases: install PyTorch (pip "
        "install -r requirements-bench.txt) or name others",
    )
    return groups, notes


def show(results: Sequence[Results], notes: Sequence[str], folder: Path) -> None:
    """Print the tables; write them and the picture even if the output is a closed pipe."""
    text = "\n\n".join([report.tables(results), report.NOTES, *notes]) + "\n"
    trained = [group for group in results if group.work == "training"]
    try:
        print(f"\n{text}", flush=True)
    finally:
        with writing_to(folder):
            (folder / "table.md").write_text(text, encoding="utf-8")
            if trained:
                draw(trained, folder / "benchmark.png")
    print(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    sys.exit(main())
