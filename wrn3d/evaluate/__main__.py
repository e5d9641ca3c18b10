"""Measure a trained network on a data set: scores with intervals, and pictures.

    python -m wrn3d.evaluate cifar10
    python -m wrn3d.evaluate runs/adrenal --dataset adrenalmnist3d_64.npz --output adrenal-scores
    python -m wrn3d.evaluate runs/first runs/second

For a trained network of this package, it says whether the scores on its card are reproduced. Of two
networks, it says whether they differ.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from wrn3d.data.dataset import SPLITS
from wrn3d.data.duplicates import warn_of_duplicates
from wrn3d.evaluate.card_check import difference
from wrn3d.scores import measuring, results
from wrn3d.scores.comparison import compare
from wrn3d.scores.data import data_for
from wrn3d.scores.results import Evaluation
from wrn3d.system.checks import check_choice, require
from wrn3d.system.flags import run_command
from wrn3d.training import shipped
from wrn3d.training.classifier import Classifier
from wrn3d.training.ensemble import Ensemble, is_ensemble


@dataclass(frozen=True)
class EvaluateConfig:
    """The networks, and the data to measure them on."""

    checkpoints: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT [OTHER]")
    ]
    """A trained network's name, such as cifar10, a run's folder (its best checkpoint), a
    .safetensors file, or the folder of a cross-validation (the mean of its networks). If there is
    an EMA of the weights, that is used. A second one is compared with the first."""
    dataset: str | None = None
    """Data set, as for the scripts; by default the one that the network was trained on. Another
    table without a column split, or file with one split alone, is measured as a whole."""
    data_dir: Path = Path("data")
    """Folder of CIFAR-10 and CIFAR-100, which are downloaded to it if they are not there, and of
    the .npz file that a network was trained on."""
    split: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(SPLITS)}}}")] = "test"
    """Split to measure on."""
    json: bool = False
    """Print JSON."""
    output: Path | None = None
    """Folder to write scores.json, predictions.csv, confusion.png, mistakes.png, roc.png and
    reliability.png to."""


def main() -> int:
    """Measure as the command line asks; return what `exit_status` returns."""
    return run_command(evaluate, EvaluateConfig, "wrn3d.evaluate", __doc__)


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print the scores, and return the exit status.

    It is 1 if the card of a trained network has other scores. Raises UserError.
    """
    check_choice("split", config.split, SPLITS)
    require(
        1 <= len(config.checkpoints) <= 2,
        f"{len(config.checkpoints)} networks are named, but must be one, or two to compare",
    )
    evaluations = [_evaluation(path, config) for path in config.checkpoints]
    classes = {one.dataset.class_names for one in evaluations}
    require(
        len(classes) == 1,
        "the networks cannot be compared, as their classes are others or in another order",
    )
    content = _content(evaluations)
    if config.json:
        print(json.dumps(content, indent=2))
    else:
        results.show(evaluations)
    if config.output:
        results.write(config.output, evaluations, content)
    return max([_compare_with_card(one, config.split) for one in evaluations])


def _evaluation(path: Path, config: EvaluateConfig) -> Evaluation:
    """Measure one network, or the mean of a cross-validation's."""
    is_several = is_ensemble(path)
    members = Ensemble(path).members if is_several else [Classifier(path)]
    require(
        not is_several or (config.dataset and config.split == "test"),
        f"{path} is a cross-validation, whose held-out scores are in its scores.json: name other "
        "data to measure it on with --dataset, and only the split test",
    )
    dataset, is_own = data_for(members[0], path, config.dataset, config.data_dir, config.split)
    warn_of_duplicates(dataset, stacklevel=1)
    found = measuring.measured(members, dataset, config.split)
    volumes, _ = dataset.split(config.split)
    return Evaluation(path, dataset, found, is_own, volumes)


def _content(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the results as JSON has them; of two networks, also their comparison."""
    if len(evaluations) == 1:
        return evaluations[0].as_json
    first, second = evaluations
    return {
        "first": first.as_json,
        "second": second.as_json,
        "comparison": {
            name: compare(first.results[name], second.results[name]).as_json
            for name in first.results
            if name in second.results
        },
    }


def _compare_with_card(evaluation: Evaluation, split: str) -> int:
    """Say whether a trained network's card is right; return 1 if it is not."""
    card = shipped.card(evaluation.path)
    if split != "test" or card is None:
        return 0
    if not evaluation.is_own:
        print(f"card       {card} is about other data: not compared", file=sys.stderr)
        return 0
    table = measuring.score_table(evaluation.results)
    differing = difference(card.read_text(encoding="utf-8"), table)
    said = f"has other scores: {differing}" if differing else "is right"
    print(f"card       {card} {said}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
