"""Measure a trained network on a data set: scores with intervals.

    python -m wrn3d.evaluate cifar10
    python -m wrn3d.evaluate runs/adrenal/best.safetensors --dataset adrenalmnist3d_64.npz

For a trained network of this package, it says whether the scores on its card come out again.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wrn3d.data.dataset import SPLITS
from wrn3d.data.duplicates import warn_of_duplicates
from wrn3d.system.checks import check_choice
from wrn3d.system.flags import run_command
from wrn3d.training import measuring, shipped
from wrn3d.training.classifier import Classifier
from wrn3d.training.config import DATA

SCORE = re.compile(r"[0-9.]+(?: %)? \([0-9.]+(?: %)? to [0-9.]+(?: %)?\)")


@dataclass(frozen=True)
class EvaluateConfig:
    """The network, and the data to measure it on."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """A trained network's name, such as cifar10, or a .safetensors file of a run. If the file has
    an EMA of the weights, that is used."""
    dataset: str | None = None
    """Data set, as for the scripts; by default the one that the network was trained on."""
    data_dir: Path = Path("data")
    """Folder of CIFAR-10 and CIFAR-100, which are downloaded to it if they are not there, and of
    the .npz file that a network was trained on."""
    split: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(SPLITS)}}}")] = "test"
    """Split to measure on."""
    json: bool = False
    """Print JSON."""


def main() -> int:
    """Measure as the command line asks; return what `exit_status` returns."""
    return run_command(evaluate, EvaluateConfig, "wrn3d.evaluate", __doc__)


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print the scores, and return the exit status.

    It is 1 if the card of a trained network has other scores. Raises UserError.
    """
    check_choice("split", config.split, SPLITS)
    classifier = Classifier(config.checkpoint)
    is_own = config.dataset is None
    if config.dataset is None:
        dataset = measuring.own_data(classifier, config.checkpoint, config.data_dir)
    else:
        dataset = measuring.other_data(classifier, config.dataset, config.data_dir)
        is_own = dataset.fingerprint == classifier.settings.get(DATA)
    warn_of_duplicates(dataset, stacklevel=1)
    results = measuring.measured(classifier, dataset, config.split)
    content = {name: result.as_json for name, result in results.items()}
    table = measuring.score_table(results)
    print(json.dumps(content, indent=2) if config.json else table)
    card = shipped.card(config.checkpoint)
    if config.split != "test" or card is None:
        return 0
    if not is_own:
        print(f"card       {card} is about other data: not compared", file=sys.stderr)
        return 0
    differing = difference(card.read_text(encoding="utf-8"), table)
    said = f"has other scores: {differing}" if differing else "is right"
    print(f"card       {card} {said}", file=sys.stderr)
    return 1 if differing else 0


def difference(card: str, table: str) -> str:
    """Return what differs between a card's scores and those of a table, or "" if nothing does.

    A tenth of the table's interval counts as the same: other CPUs round differently, so that a few
    volumes may get another class.
    """
    there, here = _scores(card), _scores(table)
    if {name: len(scores) for name, scores in there.items()} != {
        name: len(scores) for name, scores in here.items()
    }:
        return f"{', '.join(there) or 'none'} instead of {', '.join(here)}"
    for name, scores in here.items():
        for text, other in zip(scores, there[name], strict=True):
            numbers, others = _numbers(text), _numbers(other)
            tolerance = (numbers[2] - numbers[1]) / 10 if len(numbers) == 3 else 0
            pairs = zip(numbers, others, strict=False)
            if len(numbers) != len(others) or any(abs(a - b) > tolerance for a, b in pairs):
                return f"{name}: {other}, but here {text}"
    return ""


def _scores(text: str) -> dict[str, list[str]]:
    """Return {first cell: other cells} of each row of Markdown tables that ends in a score."""
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in rows if cells and SCORE.fullmatch(cells[-1])}


def _numbers(score: str) -> list[float]:
    return [float(number) for number in re.findall(r"[0-9.]+", score.replace(",", ""))]


if __name__ == "__main__":
    sys.exit(main())
