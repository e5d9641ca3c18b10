"""Measure a trained network on a data set: scores with intervals, as a table."""

import warnings
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wrn3d.data.dataset import Dataset
from wrn3d.data.load import load_dataset
from wrn3d.system.checks import require
from wrn3d.system.errors import DataError, MissingDataError, quoted
from wrn3d.system.reporting import markdown_table
from wrn3d.system.terminal import Progress
from wrn3d.system.words import per_cent
from wrn3d.training.classifier import Classifier
from wrn3d.training.config import DATA, WINDOW
from wrn3d.training.evaluation import (
    EvalResult,
    accuracy_says_little,
    measure,
    predict_views,
    way_text,
    ways_to_measure,
)
from wrn3d.training.intervals import RESAMPLES, Interval, intervals

TITLES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}


class Measured(NamedTuple):
    """Scores of a number of `volumes`, and the 95 % intervals of some of them by name."""

    volumes: int
    scores: EvalResult
    intervals: dict[str, Interval]

    @property
    def as_json(self) -> dict[str, Any]:
        """The scores and intervals by name."""
        return {"count": self.volumes, **self.scores.as_json, "intervals": self.intervals}


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
            *(name, data_dir, settings.get("volume_size"), settings.get(WINDOW)),
            settings.get("class_names", ()),
        )
    except (ValueError, MissingDataError) as error:
        raise DataError(
            f"{path} was trained on {name}, which cannot be loaded ({error}): {advice}"
        ) from error
    if settings.get(DATA) != dataset.fingerprint:
        raise DataError(f"{dataset.origin} holds other data than {path} was trained on: {advice}")
    return dataset.with_validation(settings.get("validation", 0))


def other_data(classifier: Classifier, name: str, data_dir: str | Path) -> Dataset:
    """Load a data set in the network's size; warn if its classes have other names.

    Raises UsageError if it does not fit the network.
    """
    shape, names = classifier.spec.input_shape, classifier.class_names
    settings = name, data_dir, max(shape[:3]), classifier.settings.get(WINDOW)
    dataset = load_dataset(*settings, grid=classifier.network.grid)
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
    if dataset.fingerprint == classifier.settings.get(DATA):
        return dataset.with_validation(classifier.settings.get("validation", 0))
    return dataset


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names[:3])) + (", ..." if len(names) > 3 else "")


def measured(classifier: Classifier, dataset: Dataset, split: str) -> dict[str, Measured]:
    """Measure a network on a split in each of `ways_to_measure`.

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
    results = {}
    with_auc = accuracy_says_little(dataset)
    for name, predictions in ways_to_measure(views, dataset, split, len(views) > 1).items():
        result = measure(predictions, with_auc)
        shown = [score for score in TITLES if with_auc or score == "accuracy"]
        shown = [score for score in shown if not isnan(getattr(result, score))]
        with Progress(RESAMPLES, "intervals") as progress:
            found = intervals(predictions, shown, progress.track)
        results[name] = Measured(len(predictions.labels), result, found)
    return results


def score_table(results: Mapping[str, Measured]) -> str:
    """Return the scores with their intervals as a Markdown table."""
    split, first = next(iter(results.items()))
    titles = ["measured", "volumes", *(TITLES[score] for score in first.intervals)]
    rows = []
    for name, result in results.items():
        texts = (_score_text(result, score) for score in first.intervals)
        rows.append([split + way_text(name), f"{result.volumes:,}", *texts])
    return markdown_table(titles, rows)


def _score_text(result: Measured, score: str) -> str:
    numbers = getattr(result.scores, score), *result.intervals.get(score, (np.nan, np.nan))
    value, low, high = (f"{x:.3f}" if score == "auc" else per_cent(x) for x in numbers)
    return f"{value} ({low} to {high})"
