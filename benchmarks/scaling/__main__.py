"""Measure the cost of several workers on this machine, and predict it for many.

python -m benchmarks.scaling            # half an hour; throttled links need root
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import require_cores_for_workers
from benchmarks.scaling import report
from benchmarks.scaling.workers import (
    CASE,
    MEGABITS,
    TWICE,
    alternations,
    can_throttle,
    medians,
    turns,
)
from wrn3d.distributed.workers import leave_others
from wrn3d.system import machine
from wrn3d.system.checks import check_count
from wrn3d.system.flags import run_command
from wrn3d.system.reporting import new_folder, writing_to


@dataclass(frozen=True)
class ScalingConfig:
    """How often to measure, and where the results go."""

    alternations: int = 40
    """Alternations between one worker and two, of a few steps each."""
    rounds: int = 5
    """Rounds of all other measurements."""
    output: Path = Path("runs")
    """Folder for the new folder scaling-<time>."""


def main() -> int:
    """Measure and predict; return the exit status."""
    leave_others()
    return run_command(scaling, ScalingConfig, "benchmarks.scaling", __doc__)


def scaling(config: ScalingConfig) -> None:
    """Measure, fit the model, and print and write its predictions.

    Raises UsageError if this machine's cores cannot be divided, and UserError if a worker fails.
    """
    require_cores_for_workers()
    check_count("alternations", config.alternations, least=2)
    check_count("rounds", config.rounds)
    texts = []

    def tell(text):
        print(f"{text}\n", flush=True)
        texts.append(text)

    with new_folder(config.output, "scaling") as folder:
        tell(machine.sentence(machine.describe()))
        for case in TWICE, CASE:
            tell(report.one_and_two(case, alternations(case, config.alternations)))
        figures = medians(turns(MEGABITS if can_throttle() else ()), config.rounds)
        work, network = report.fit(figures)
        tell(report.constants(work, network))
        tell(report.compared(figures, work, network))
        tables, rates = report.predict(report.works_at_scale(figures), work.lag, network)
        for table in tables:
            tell(table)
        with writing_to(folder):
            (folder / "scaling.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
            report.draw(rates, folder / "scaling.png")
        print(f"in {folder}: scaling.md, scaling.png")


if __name__ == "__main__":
    sys.exit(main())
