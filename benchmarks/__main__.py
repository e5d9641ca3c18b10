"""Training speed on this machine's CPU, side by side with what users would pick instead."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import picture, report
from benchmarks.cases import CASES, QUICK
from benchmarks.ceiling import MATMUL
from benchmarks.contenders import CONTENDERS
from benchmarks.results import Results, append_csv
from benchmarks.turn import Failure, Turn, measure
from wrn3d.distributed.workers import leave_others
from wrn3d.network.wide_resnet import PRECISIONS, check_precision
from wrn3d.system import machine
from wrn3d.system.checks import check_count, check_number, require
from wrn3d.system.errors import UserError
from wrn3d.system.exit_status import exit_status
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured. Every contender has its turn, in a process of its own, then again."""

    quick: bool = False
    """One size in float32, one round: under two minutes."""
    cases: tuple[str, ...] = ()
    """Which sizes, such as 16-4, or 16-1-32 for 32x32x32 volumes; all if none is named."""
    precisions: tuple[str, ...] = ()
    """float32, bfloat16; those for which the CPU has instructions if none is named."""
    contenders: tuple[str, ...] = ()
    """tensorlayer, keras, keras-fit, stock, torch-3d, torch-3d-last, torch-2d-last; all if none
    is named."""
    rounds: int = 3
    """How often each contender has its turn."""
    seconds: float = 1.0
    """Timed seconds in a turn (three iterations at least), after two iterations that are not."""
    output: Path = Path("runs")
    """Folder in which benchmark-<time> is made."""


def main() -> int:
    """Measure, and show what came of it.

    Returns the exit status: 0 where all was measured, 1 where a contender failed or a file could
    not be written, 2 for settings that cannot be, 130 after Ctrl-C, 141 without a reader.
    """
    leave_others()
    return exit_status(
        benchmark, tyro.cli(BenchmarkConfig, prog="python -m benchmarks", description=__doc__)
    )


def benchmark(config):
    """Measure what `config` says and show it, also after Ctrl-C; raises UserError."""
    check(config)
    notes = left_out(config)
    turns = planned(config)
    found = machine.describe()
    notes.insert(0, machine.sentence(found))
    results = Results()
    with new_folder(config.output, "benchmark") as folder:
        print("\n".join(notes), flush=True)
        try:
            with writing_to(folder):
                machine.write(folder / "machine.json", found)
            failures = run(turns, results, folder)
        finally:
            if results.groups:
                show(results, notes, folder)
    if failures:
        raise UserError(
            f"{len(failures)} of {len(turns)} turns failed, the first of them {failures[0]}"
        )


def check(config):
    """Raise UsageError for what cannot be measured."""
    for name, known in (("cases", CASES), ("contenders", CONTENDERS)):
        for value in getattr(config, name):
            require(value in known, f"{name} has {value!r}, but can have {', '.join(known)}")
    for precision in config.precisions:
        check_precision(precision)
    check_count("rounds", config.rounds)
    check_number("seconds", config.seconds)


def _cases(config):
    return config.cases or (QUICK if config.quick else tuple(CASES))


def _precisions(config):
    known = PRECISIONS if machine.cpu_has_bfloat16() and not config.quick else PRECISIONS[:1]
    return config.precisions or known


def _contenders(config):
    return config.contenders or tuple(CONTENDERS)


def left_out(config):
    """Sentences about what does not take part."""
    notes = [
        f"left out: {CONTENDERS[name].title}, whose {' or '.join(CONTENDERS[name].libraries)}"
        " is not installed (pip install -r requirements-bench.txt)"
        for name in _contenders(config)
        if not CONTENDERS[name].is_installed()
    ]
    if not config.precisions and "bfloat16" not in _precisions(config):
        why = (
            "which --quick does not measure"
            if config.quick
            else "for which no instructions of this CPU are known"
        )
        notes.append(f"left out: bfloat16, {why}")
    if any(CASES[case].side for case in _cases(config)):
        notes += [
            f"left out on volumes: {CONTENDERS[name].title}"
            for name in _contenders(config)
            if CONTENDERS[name].images_only
        ]
    return notes


def planned(config):
    """[(round, Turn)] in the order in which they are taken; raises UsageError if nobody is left."""
    rounds = 1 if config.quick else config.rounds
    turns = []
    for case in _cases(config):
        names = [
            name
            for name in _contenders(config)
            if CONTENDERS[name].is_installed()
            and not (CONTENDERS[name].images_only and CASES[case].side)
        ]
        require(
            names,
            f"none of the contenders can be measured on {case}: install torch (pip "
            "install -r requirements-bench.txt) or name others",
        )
        turns += [
            (number, Turn(name, case, precision, config.seconds))
            for number in range(1, rounds + 1)
            for precision in _precisions(config)
            for name in (MATMUL, *names)
        ]
    return turns


def run(turns, results, folder):
    """Take the turns; figures go to `results` and to turns.csv at once. Returns what failed."""
    failures = []
    with Progress(len(turns), "measuring") as progress:
        for number, turn in turns:
            try:
                figures = measure(turn)
                said = report.figures_line(turn, figures)
            except Failure as failure:
                said = f"failed: {failure}"
                failures.append(f"{turn.contender} on {turn.case} in {turn.precision}: {failure}")
            else:
                results.add(turn, figures)
                with writing_to(folder):
                    append_csv(folder / "turns.csv", number, turn, figures)
            progress.advance()
            progress.print(
                f"round {number}  {turn.case:8}  {turn.precision:8}  {turn.contender:14} {said}"
            )
    return failures


def show(results, notes, folder):
    """Print the tables and write them and the picture, each also where the other fails."""
    text = (
        "\n\n".join(
            [report.summary_table(results), report.detail_tables(results), report.NOTES, *notes]
        )
        + "\n"
    )
    try:
        print(f"\n{text}", flush=True)
    finally:
        with writing_to(folder):
            (folder / "table.md").write_text(text, encoding="utf-8")
            picture.draw(results, folder / "benchmark.png")
    print(f"in {folder}: benchmark.png, table.md, turns.csv, machine.json")


if __name__ == "__main__":
    sys.exit(main())
