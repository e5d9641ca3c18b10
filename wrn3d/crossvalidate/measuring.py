"""Measure the runs of a cross-validation on the samples that each of them has not seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wrn3d.data.listing import joined
from wrn3d.scores.data import own_data
from wrn3d.scores.measuring import Measured, predicted
from wrn3d.scores.results import Evaluation
from wrn3d.training.checkpoint import checkpoint_file
from wrn3d.training.classifier import Classifier
from wrn3d.training.evaluation import Predictions


def measure_folds(output: Path, folders: Sequence[Path], data_dir: Path) -> Evaluation:
    """Return the results of the held-out samples of all runs together.

    It measures the last checkpoints: the best ones were chosen by these samples. Raises what
    `own_data` raises.
    """
    found: dict[str, list[Predictions]] = {}
    for folder in folders:
        path = checkpoint_file(folder, best=False)
        classifier = Classifier(path)
        dataset = own_data(classifier, path, data_dir)
        for name, predictions in predicted(classifier, dataset, "validation").items():
            found.setdefault(name, []).append(predictions)
    results = {
        name: Measured.of(_together(parts), len(dataset.class_names))
        for name, parts in found.items()
        if len(parts) == len(folders)  # not those without duplicates, if only some folds have any
    }
    return Evaluation(output, dataset, results, is_own=True)


def _together(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several splits as those of one."""
    return Predictions(
        np.concatenate([part.log_probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        joined([part.listing for part in parts]),
    )
