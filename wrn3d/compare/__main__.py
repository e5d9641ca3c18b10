"""Train both scripts from the same start and say whether, and where, their results differ."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from wrn3d.compare import page, picture, report
from wrn3d.compare.comparison import Pair
from wrn3d.distributed.workers import leave_others
from wrn3d.runs.command import read_flags
from wrn3d.system import machine
from wrn3d.system.checks import check_count, check_number
from wrn3d.system.exit_status import exit_status
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress, fitted
from wrn3d.training.config import TrainingConfig

LINES = 10  # printed for a seed
DIFFERENT = 1  # exit status


@dataclass(frozen=True)
class CompareConfig(TrainingConfig):
    """A run's settings, and how it is compared."""

    seeds: int = 1
    """How many seeds, from --seed up; several give means and intervals."""
    tolerance: float = 0.0
    """Largest difference that still counts as agreement: of the losses, of logits and weights at
    the end, and where the sides first differ."""
    output: Path = Path("runs")
    """Folder in which compare-<time> is made."""

    def __post_init__(self):
        super().__post_init__()
        check_count("seeds", self.seeds)
        check_number("tolerance", self.tolerance)


def main() -> int:
    """Compare, and show what came of it.

    Returns the exit status: 0 where both sides agree; 1 where they do not, or where data or a
    folder cannot be used; 2 for settings that cannot be, 130 after Ctrl-C, 141 without a reader.
    """
    leave_others()
    outcome = []
    status = exit_status(
        lambda: outcome.append(
            run(read_flags(CompareConfig, prog="python -m wrn3d.compare", description=__doc__))
        )
    )
    return status or (0 if outcome[0] else DIFFERENT)


def run(config) -> bool:
    """Compare as `config` says, print and write the results, also of the seeds that were done
    before Ctrl-C or a failure; returns whether the sides agree."""
    comparisons = []
    with new_folder(config.output, "compare") as folder:
        try:
            for seed in range(config.seed, config.seed + config.seeds):
                comparisons.append(_compare(config, seed))
        finally:
            if comparisons:
                said = show(comparisons, config, folder)
    print(said)
    return all(comparison.agrees(config.tolerance) for comparison in comparisons)


def show(comparisons, config, folder) -> str:
    """Write the tables and pictures and print them; returns the verdict."""
    found, said = machine.describe(), report.verdict(comparisons, config.tolerance)
    agrees = all(comparison.agrees(config.tolerance) for comparison in comparisons)
    settings = asdict(config)
    with writing_to(folder):
        report.write_iterations(folder / "iterations.csv", comparisons)
        report.write_summary(folder / "summary.json", comparisons, said, settings, found)
        page.write(
            folder / "report.html",
            comparisons,
            said,
            agrees,
            picture.draw(comparisons, folder),
            settings,
            machine.sentence(found),
        )
    print(f"\n{report.text(comparisons)}\n\n{fitted(machine.sentence(found), indent=0)}\n")
    print(f"in {folder}: report.html, {', '.join(picture.PLOTS)}, iterations.csv, summary.json")
    return said


def _compare(config, seed):
    """The Comparison of one seed, while how it goes is printed."""
    with Pair(config.settings | {"seed": seed}) as pair:
        print(fitted(f"seed {seed}    {pair.title}"), flush=True)
        every = max(1, pair.total // LINES)
        with Progress(pair.total, f"seed {seed}") as progress:
            for number in range(1, pair.total + 1):
                losses = " and ".join(f"{result.loss:.6f}" for result in pair.step())
                said = str(pair.first or "the same so far")
                progress.advance(said)
                if number % every == 0 or number == pair.total:
                    progress.print(
                        f"iteration {number:{len(str(pair.total))}}/{pair.total}  "
                        f"loss {losses}  {said}"
                    )
        return pair.comparison(config.evaluate)


if __name__ == "__main__":
    sys.exit(main())
