"""Training speed, side by side, measured on this machine."""
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from wrn3d import runtime
from wrn3d.benchmark import picture, report
from wrn3d.benchmark.cases import CASES, QUICK
from wrn3d.benchmark.contenders import CONTENDERS, Matmul
from wrn3d.benchmark.turn import Failure, Turn, measure
from wrn3d.checks import check_count, check_number, require
from wrn3d.errors import UsageError, UserError, reason
from wrn3d.network import PRECISIONS, check_precision
from wrn3d.progress import Progress

QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured. Every contender has its turn, in a process of its own, then again."""

    quick: bool = False
    """One size, one round, float32: less than two minutes."""
    cases: tuple[str, ...] = ()
    """Which sizes, such as 16-4, or 16-1-32 for 32x32x32 volumes; all if none is named."""
    precisions: tuple[str, ...] = ()
    """float32, bfloat16; those for which the CPU has instructions if none is named."""
    contenders: tuple[str, ...] = ()
    """tensorlayer, keras, keras-fit, stock, torch-3d, torch-3d-last, torch-2d-last; or all."""
    rounds: int = 3
    """How often each contender has its turn."""
    seconds: float = 3.0
    """Timed seconds in a turn (three iterations at least), after two iterations that are not."""
    output: Path = Path("runs")
    """Folder in which benchmark-<time> is made."""


def main() -> int:
    """Measure, and show what came of it; returns the exit status."""
    config = tyro.cli(BenchmarkConfig, prog="python -m wrn3d.benchmark", description=__doc__)
    try:
        check(config)
        folder = make_folder(config.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    results, status = report.Results(), 0
    try:
        run(planned(config), results, folder)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        status = 128 + signal.SIGINT
    if results.groups():
        show(results, folder)
    return status


def check(config):
    """Raise UsageError for what cannot be measured."""
    for name, known in (("cases", CASES), ("contenders", CONTENDERS)):
        for value in getattr(config, name):
            require(value in known, f"{name} has {value!r}, but can have {', '.join(known)}")
    for precision in config.precisions:
        check_precision(precision)
    check_count("rounds", config.rounds)
    check_number("seconds", config.seconds)


def make_folder(output):
    """The new folder for the results; raises UsageError where it cannot be."""
    folder = output / time.strftime("benchmark-%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"output {output} cannot be written ({reason(error)}): "
                         "name another folder with --output") from error
    return folder


def planned(config):
    """[(round, Turn)] in the order in which they are taken; says what is left out."""
    contenders = config.contenders or tuple(CONTENDERS)
    missing = [name for name in contenders if not CONTENDERS[name].is_installed()]
    for name in missing:
        print(f"left out: {CONTENDERS[name].title}, whose {CONTENDERS[name].library} is not "
              "installed (pip install -r requirements-bench.txt)")
    precisions = config.precisions or PRECISIONS[:1 + runtime.cpu_has_bfloat16()]
    seconds, rounds = config.seconds, config.rounds
    if config.quick:
        precisions, rounds = config.precisions or PRECISIONS[:1], 1
        seconds = min(seconds, QUICK_SECONDS)
    if "bfloat16" not in precisions and not (config.quick or config.precisions):
        print("left out: bfloat16, for which this CPU has no instructions")
    turns = []
    for case in config.cases or (QUICK if config.quick else CASES):
        taking_part = [name for name in contenders if name not in missing
                       and not (CONTENDERS[name].images_only and CASES[case].side)]
        turns += [(number, Turn(name, case, precision, seconds))
                  for number in range(1, rounds + 1)
                  for precision in precisions for name in (Matmul.name, *taking_part)]
    return turns


def run(turns, results, folder):
    """Take the turns; each one's figures go to `results` and to turns.csv at once."""
    found = report.machine()
    report.write_machine(folder / "machine.json", found)
    print(report.machine_line(found), flush=True)
    with Progress(len(turns), "measuring") as progress:
        for number, turn in turns:
            try:
                figures = measure(turn)
            except Failure as failure:
                said = f"failed: {failure}"
            else:
                results.add(turn, figures)
                report.append_csv(folder / "turns.csv", number, turn, figures)
                said = report.figures_line(turn, figures)
            progress.advance()
            progress.print(f"round {number}  {turn.case:8}  {turn.precision:8}  "
                           f"{turn.contender:14} {said}")


def show(results, folder):
    """Print and write the tables, draw the picture, and say where they are."""
    text = f"{report.summary_table(results)}\n\n{report.detail_tables(results)}\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    picture.draw(results, folder / "benchmark.png")
    print(f"\n{text}\nin {folder}: benchmark.png, table.md, turns.csv, machine.json")


if __name__ == "__main__":
    sys.exit(main())
