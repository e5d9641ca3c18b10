"""Draw the curves of several runs in one picture.

python -m wrn3d.plot runs/first runs/second --output curves.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wrn3d.runs.curves import draw, read_curves
from wrn3d.runs.figures import figure_format
from wrn3d.system.checks import require
from wrn3d.system.flags import run_command


@dataclass(frozen=True)
class PlotConfig:
    """The flags of the command."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER...")]
    """Folders of runs, as given to --output."""
    output: Path = Path("curves.png")
    """Picture to write; its ending decides the format: .png, .pdf, .svg, ..."""


def main() -> int:
    """Run the command line and return its exit status, as `exit_status` does."""
    return run_command(plot, PlotConfig, "wrn3d.plot", __doc__)


def plot(config: PlotConfig) -> None:
    """Draw the picture and print its path; raise UserError if that fails."""
    require(config.runs, "no run is named: name the folder of at least one")
    figure_format(config.output)
    draw([read_curves(path) for path in config.runs], config.output)
    print(config.output)


if __name__ == "__main__":
    sys.exit(main())
