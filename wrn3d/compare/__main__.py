"""Train both scripts from the same start and report whether, and where, their results differ."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from wrn3d.compare import page, picture, report
from wrn3d.compare.comparison import Comparison, Pair
from wrn3d.distributed.workers import leave_others
from wrn3d.runs.command import read_flags
from wrn3d.system import machine
from wrn3d.system.checks import check_count, check_number
from wrn3d.system.exit_status import exit_status
from wrn3d.system.reporting import new_folder, writing_to
from wrn3d.system.terminal import Progress, fitted
from wrn3d.training.config import TrainingConfig

LINES = 10  # of progress for each seed
DIFFERENT = 1  # exit status


@dataclass(frozen=True)
class CompareConfig(TrainingConfig):
    """The settings of a run, and how to compare it."""

    seeds: int = 1
    """Number of seeds, counted up from --seed; with several the report has means and intervals."""
    tolerance: float = 0.0
    """Largest difference that still counts as agreement, between losses, logits, weights, and where
    the sides first differ."""
    output: Path = Path("runs")
    """Folder for the results; each comparison makes a folder compare-<time> in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("seeds", self.seeds)
        check_number("tolerance", self.tolerance)


def main() -> int:
    """Compare and print the verdict.

    Return 0 if both sides agree, 1 if they differ, and the status of `exit_status` after an error.
    """
    leave_others()
    return exit_status(lambda: run(read_flags(CompareConfig, "python -m wrn3d.compare", __doc__)))


def run(config: CompareConfig) -> int:
    """Compare with each seed, print and write the results, and return the exit status.

    After Ctrl-C or a failure it still writes the results of the finished seeds.
    """
    comparisons: list[Comparison] = []
    with new_folder(config.output, "compare") as folder:
        try:
            for seed in range(config.seed, config.seed + config.seeds):
                comparisons.append(_compare(config, seed))
        finally:
            if comparisons:
                verdict = write_results(comparisons, config, folder)
    print(verdict)
    return 0 if report.agree(comparisons, config.tolerance) else DIFFERENT


def write_results(comparisons: list[Comparison], config: CompareConfig, folder: Path) -> str:
    """Write the tables and pictures, print the tables, and return the verdict."""
    verdict = report.verdict(comparisons, config.tolerance)
    settings, described = asdict(config), machine.describe()
    sentence = machine.sentence(described)
    with writing_to(folder):
        report.write_iterations(folder / "iterations.csv", comparisons)
        report.write_summary(folder / "summary.json", comparisons, verdict, settings, described)
        pictures = picture.draw(comparisons, folder)
        agrees = report.agree(comparisons, config.tolerance)
        page.write(
            folder / "report.html", comparisons, verdict, agrees, pictures, settings, sentence
        )
    print(f"\n{report.text(comparisons)}\n\n{fitted(sentence, indent=0)}\n")
    print(f"in {folder}: report.html, {', '.join(picture.PLOTS)}, iterations.csv, summary.json")
    return verdict


def _compare(config, seed):
    """Train both sides with one seed, print their progress, and return their Comparison."""
    with Pair(config.settings | {"seed": seed}) as pair:
        print(fitted(f"seed {seed}    {pair.title}"), flush=True)
        every = max(1, pair.total // LINES)
        with Progress(pair.total, f"seed {seed}") as progress:
            for number in range(1, pair.total + 1):
                losses = " and ".join(f"{result.loss:.6f}" for result in pair.step())
                state = str(pair.first or "identical so far")
                progress.advance(state)
                if number % every == 0 or number == pair.total:
                    progress.print(
                        f"iteration {number:{len(str(pair.total))}}/{pair.total}  "
                        f"loss {losses}  {state}"
                    )
        return pair.comparison(config.evaluate)


if __name__ == "__main__":
    sys.exit(main())
