"""Measure a trained network on a data set: scores with intervals, as tables and as JSON."""

import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.dataset import Dataset
from wrn3d.data.load import load_dataset
from wrn3d.data.splitting import Fold
from wrn3d.runs.figures import drawable
from wrn3d.scores.scoring import F1, PRECISION, RECALL, RESAMPLES, Scorer, interval, resampled
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, MissingDataError, quoted
from wrn3d.system.reporting import markdown_table
from wrn3d.system.terminal import Progress
from wrn3d.system.words import per_cent
from wrn3d.training.classifier import Classifier
from wrn3d.training.config import DATA, WINDOW
from wrn3d.training.evaluation import (
    Predictions,
    measure,
    predict_views,
    way_text,
    ways_to_measure,
)

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "calibration_error": "calibration error",
    PRECISION: "precision",
    RECALL: "recall",
    F1: "F1",
}
OVERALL, OF_CLASSES = tuple(TITLES)[:4], tuple(TITLES)[4:]
LONGEST_TABLE = 20  # classes; the table has those with the lowest F1


class Measured(NamedTuple):
    """Predictions of some volumes, and the scores by name; of classes, an array (classes,).

    `draws` has the scores of each resample, (RESAMPLES, ...). All draws of as many volumes are the
    same, so those of two networks are pairs.
    """

    predictions: Predictions
    scores: dict[str, Any]
    draws: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def of(cls, predictions: Predictions, classes: int) -> "Measured":
        """Measure predictions, and RESAMPLES resamples of them."""
        scorer, count = Scorer(predictions, classes), len(predictions.labels)
        every = np.ones(count)
        with Progress(RESAMPLES, "intervals") as progress:
            draws = [
                scorer.overall(weights) | scorer.of_classes(weights)
                for weights in resampled(count, progress.track)
            ]
        return cls(
            predictions,
            scorer.overall(every) | scorer.of_classes(every),
            {score: np.array([draw[score] for draw in draws]) for score in TITLES},
        )

    def by_name(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores and intervals by name; `names` are the classes'."""
        content: dict[str, Any] = {
            "count": len(self.predictions.labels),
            "loss": as_json(measure(self.predictions, with_auc=False).loss),
            **{score: as_json(self.scores[score]) for score in OVERALL},
            "intervals": {score: as_json(*interval(self.draws[score])) for score in OVERALL},
        }
        content["classes"] = {
            name: {
                **{score: as_json(self.scores[score][label]) for score in OF_CLASSES},
                "intervals": {
                    score: as_json(*interval(self.draws[score][:, label])) for score in OF_CLASSES
                },
            }
            for label, name in enumerate(names)
        }
        return content


def as_json(*values: float) -> Any:
    """Return a number, or a list of several, with None for NaN, which JSON lacks."""
    numbers = [float(value) if isfinite(value) else None for value in values]
    return numbers if len(numbers) > 1 else numbers[0]


def own_data(classifier: Classifier, path: str | Path, data_dir: str | Path) -> Dataset:
    """Load the data set that a network was trained on, with its validation split.

    `path` is the network's file. An .npz file may also be in `data_dir`. Raises DataError if the
    data cannot be told or found, or differ.
    """
    settings = classifier.settings
    name = str(settings.get("dataset"))
    if (beside := Path(data_dir, name)).is_file():
        name = str(beside)
    advice = "name the data set with --dataset"
    try:
        dataset = load_dataset(
            name,
            data_dir,
            volume_size=settings.get("volume_size"),
            window=settings.get(WINDOW),
            class_names=settings.get("class_names", ()),
            fold=Fold(settings["fold"], settings["folds"]) if settings.get("folds") else None,
        )
    except (ValueError, MissingDataError) as error:
        raise DataError(
            f"{path} was trained on {name}, which cannot be loaded ({error}): {advice}"
        ) from error
    if settings.get(DATA) != dataset.fingerprint:
        raise DataError(f"{dataset.origin} holds other data than {path} was trained on: {advice}")
    return dataset.with_validation(settings.get("validation", 0))


def other_data(classifier: Classifier, name: str, data_dir: str | Path) -> tuple[Dataset, bool]:
    """Load a data set in the network's size; warn if its classes have other names.

    Returns it, and whether it is the one that the network was trained on. Raises UsageError if it
    does not fit the network.
    """
    shape, names = classifier.spec.input_shape, classifier.class_names
    dataset = load_dataset(
        name,
        data_dir,
        volume_size=max(shape[:3]),
        window=classifier.settings.get(WINDOW),
        grid=classifier.network.grid,
    )
    require(
        dataset.volume_shape == shape and len(dataset.class_names) == len(names),
        f"{dataset.title} has volumes {dataset.volume_shape} and {len(dataset.class_names)} "
        f"classes, but the network is for {shape} and {len(names)}: name other data with --dataset",
    )
    if list(dataset.class_names) != list(names):
        warnings.warn(
            f"{dataset.title} has the classes {_some(dataset.class_names)}, but the network knows "
            f"{_some(names)}",
            stacklevel=2,
        )
    is_own = dataset.fingerprint == classifier.settings.get(DATA)
    count = classifier.settings.get("validation", 0) if is_own else 0
    return dataset.with_validation(count), is_own


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names[:3])) + (", ..." if len(names) > 3 else "")


def predicted(classifier: Classifier, dataset: Dataset, split: str) -> dict[str, Predictions]:
    """Return a network's predictions of a split in each of `ways_to_measure`.

    Mirror images are along the `flip_axes` of the network's run. Raises UsageError for a split that
    does not exist.
    """
    count = len(dataset.split(split)[1])
    with Progress(count, "evaluating") as progress:
        views = predict_views(
            classifier.logits,
            dataset,
            split,
            progress.track,
            classifier.settings.get("flip_axes", ()),
            normalise=classifier.normalise,
        )
    return ways_to_measure(views, dataset, split, len(views) > 1)


def measured(classifier: Classifier, dataset: Dataset, split: str) -> dict[str, Measured]:
    """Measure a network on a split in each of `ways_to_measure`; raises as `predicted` does."""
    ways, classes = predicted(classifier, dataset, split), len(dataset.class_names)
    return {name: Measured.of(predictions, classes) for name, predictions in ways.items()}


def score_table(results: Mapping[str, Measured]) -> str:
    """Return the scores with their intervals as a Markdown table."""
    split = next(iter(results))
    rows = [
        [
            split + way_text(name),
            f"{len(result.predictions.labels):,}",
            *(score_text(score, result.scores[score], result.draws[score]) for score in OVERALL),
        ]
        for name, result in results.items()
    ]
    return markdown_table(["measured", "volumes", *map(TITLES.__getitem__, OVERALL)], rows)


def class_table(result: Measured, names: Sequence[str]) -> str:
    """Return precision, recall and F1 of each class as a Markdown table.

    Of more than LONGEST_TABLE classes, it has those with the lowest F1.
    """
    counts = np.bincount(result.predictions.labels, minlength=len(names))
    order = np.argsort(np.nan_to_num(result.scores[F1]), kind="stable")[:LONGEST_TABLE]
    rows = [
        [
            drawable(names[label]),
            f"{counts[label]:,}",
            *(
                score_text(score, result.scores[score][label], result.draws[score][:, label])
                for score in OF_CLASSES
            ),
        ]
        for label in (order if len(names) > LONGEST_TABLE else range(len(names)))
    ]
    title = "class" if len(names) <= LONGEST_TABLE else f"the worst {LONGEST_TABLE} classes"
    return markdown_table([title, "volumes", *map(TITLES.__getitem__, OF_CLASSES)], rows)


def score_text(score: str, value: float, draws: npt.NDArray[np.float64]) -> str:
    """Return a score with its interval, such as "95.02 % (94.58 % to 95.44 %)"."""
    if not isfinite(value):
        return "undefined"
    low, high = interval(draws)
    first, *others = (f"{x:.3f}" if score == "auc" else per_cent(x) for x in (value, low, high))
    return f"{first} ({' to '.join(others)})"
