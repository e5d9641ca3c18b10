"""Draw the curves of runs over each other.

python -m wrn3d.plot runs/first runs/second --output curves.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wrn3d.runs.curves import draw, read_curves
from wrn3d.system.checks import require
from wrn3d.system.exit_status import exit_status


@dataclass(frozen=True)
class PlotConfig:
    """What is drawn, and where."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER...")]
    """Folders of runs, as --output named them."""
    output: Path = Path("curves.png")
    """The PNG to write."""


def main() -> int:
    """Draw; returns the exit status, as `exit_status` says."""
    return exit_status(plot, tyro.cli(PlotConfig, prog="python -m wrn3d.plot", description=__doc__))


def plot(config):
    """Do what `config` says and print the file's name; raises UserError."""
    require(config.runs, "no runs are named: name the folders of some")
    draw([read_curves(path) for path in config.runs], config.output)
    print(config.output)


if __name__ == "__main__":
    sys.exit(main())
