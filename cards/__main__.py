"""Write the cards of the trained networks and the tables of results from the runs' own files."""

import sys
from dataclasses import dataclass
from pathlib import Path

from cards import tables
from cards.card import card
from cards.networks import read_networks, write_weights
from cards.runs import read_runs
from wrn3d.scores.data import own_data
from wrn3d.scores.measuring import measured, score_table
from wrn3d.system.checks import require
from wrn3d.system.errors import MissingDataError
from wrn3d.system.files import require_file, write_atomic
from wrn3d.system.flags import run_command
from wrn3d.training.classifier import Classifier

ROOT = Path(__file__).parents[1]
RESULTS, WEIGHTS = ROOT / "docs" / "results", ROOT / "weights"


@dataclass(frozen=True)
class CardsConfig:
    """Where the runs and the data are, if weights and scores are to be made anew."""

    runs: Path | None = None
    """Folder of the runs: write weights/ from their checkpoints."""
    data: Path | None = None
    """Folder of CIFAR-10, CIFAR-100 and the .npz files: measure the networks again. Without it the
    cards keep their scores."""


def main() -> int:
    """Write what the flags ask for; return what `exit_status` returns."""
    return run_command(write, CardsConfig, "cards", __doc__)


def write(config: CardsConfig) -> None:
    """Write weights, cards and tables, and print their names; raise UserError if that fails."""
    require(
        config.data or not config.runs,
        "new weights need new scores: name the folder of the data with --data, too",
    )
    runs = read_runs(RESULTS)
    for network in read_networks():
        if run := network.chosen(runs):
            weights = WEIGHTS / f"{network.name}.safetensors"
            path = weights.with_suffix(".md")
            if config.runs:
                path.unlink(missing_ok=True)  # its scores are of the old weights
                write_weights(run, config.runs / run.name, weights)
            require_file(weights, "name the folder of the runs with --runs")
            scores = _measure(weights, config.data) if config.data else _scores(path)
            count = len(network.own(runs))
            write_atomic(path, card(network, run, count, weights, scores).encode())
            print(path.relative_to(ROOT))
    if runs:
        results = {"images": tables.images_table(runs), "volumes": tables.volumes_table(runs)}
        tables.put(ROOT / "docs" / "results.md", results)
        tables.put(ROOT / "README.md", {"results": tables.summary_table(runs)})
        print("docs/results.md, README.md")


def _measure(weights: Path, data: Path) -> str:
    """Measure a network of weights/ on the test split; return the table of its scores."""
    classifier = Classifier(weights)
    return score_table(measured([classifier], own_data(classifier, weights, data), "test"))


def _scores(card: Path) -> str:
    """Return the table of scores of a card; raise MissingDataError if there is none."""
    lines = card.read_text(encoding="utf-8").splitlines() if card.exists() else []
    starts = [place for place, line in enumerate(lines) if line.startswith("| measured ")]
    if not starts:
        raise MissingDataError(f"{card} has no scores: name the folder of the data with --data")
    return "\n".join(lines[starts[0] : lines.index("", starts[0])])


if __name__ == "__main__":
    sys.exit(main())
