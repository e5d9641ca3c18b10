"""Measure a trained network on a data set: scores with intervals, as tables and as JSON."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.dataset import Dataset
from wrn3d.runs.figures import drawable
from wrn3d.scores.scoring import (
    F1,
    PRECISION,
    RECALL,
    RESAMPLES,
    Interval,
    Scorer,
    exact_interval,
    interval,
    resampled,
)
from wrn3d.system.reporting import markdown_table
from wrn3d.system.terminal import Progress
from wrn3d.system.words import per_cent
from wrn3d.training.classifier import Classifier
from wrn3d.training.evaluation import (
    Predictions,
    mean_of,
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

    `draws` has the scores of each resample, (RESAMPLES, ...). All draws of the same volumes are the
    same, so those of two networks are pairs. `intervals` has the 95 % interval of each score, of
    classes a list of them.
    """

    predictions: Predictions
    scores: dict[str, Any]
    draws: dict[str, npt.NDArray[np.float64]]
    intervals: dict[str, Any]

    @classmethod
    def of(cls, predictions: Predictions, classes: int) -> "Measured":
        """Measure predictions, and RESAMPLES resamples of the volumes, or of their groups."""
        scorer, count = Scorer(predictions, classes), len(predictions.labels)
        groups, every = predictions.groups, np.ones(count)
        with Progress(RESAMPLES, "intervals") as progress:
            drawn = [
                scorer.overall(weights) | scorer.of_classes(weights)
                for weights in resampled(groups, progress.track)
            ]
        scores: dict[str, Any] = {**scorer.overall(every), **scorer.of_classes(every)}
        draws = {score: np.array([draw[score] for draw in drawn]) for score in TITLES}
        intervals: dict[str, Any] = {
            score: _interval(score, scores[score], draws[score], groups) for score in OVERALL
        }
        # The volumes that a class's share is of; F1 is no share.
        of_class = {PRECISION: predictions.classes, RECALL: predictions.labels}
        for score in OF_CLASSES:
            intervals[score] = [
                _interval(
                    score,
                    scores[score][one],
                    draws[score][:, one],
                    groups[of_class.get(score, predictions.labels) == one],
                )
                for one in range(classes)
            ]
        return cls(predictions, scores, draws, intervals)

    @property
    def _groups(self) -> dict[str, int]:
        """How many groups there are, if volumes belong together."""
        count = len(set(self.predictions.groups.tolist()))
        return {"groups": count} if count < len(self.predictions.labels) else {}

    def by_name(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores and intervals by name; `names` are the classes'."""
        content: dict[str, Any] = {
            "count": len(self.predictions.labels),
            **self._groups,
            "loss": as_json(measure(self.predictions, with_auc=False).loss),
            **{score: as_json(self.scores[score]) for score in OVERALL},
            "intervals": {score: as_json(*self.intervals[score]) for score in OVERALL},
        }
        content["classes"] = {
            name: {
                **{score: as_json(self.scores[score][label]) for score in OF_CLASSES},
                "intervals": {
                    score: as_json(*self.intervals[score][label]) for score in OF_CLASSES
                },
            }
            for label, name in enumerate(names)
        }
        return content


def _interval(
    score: str, value: float, draws: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]
) -> Interval:
    """Return the bootstrap interval of a score.

    If all resamples give the same value, as when all volumes are classified correctly, a share has
    the exact interval of as many samples as there are `groups`, and other scores have none: NaN.
    """
    if not isfinite(value) or not np.allclose(draws[np.isfinite(draws)], value, rtol=0):
        return interval(draws)
    is_share = score in ("accuracy", PRECISION, RECALL) and value in (0, 1)
    return exact_interval(value, len(np.unique(groups))) if is_share else (np.nan, np.nan)


def as_json(*values: float) -> Any:
    """Return a number, or a list of several, with None for NaN, which JSON lacks."""
    numbers = [float(value) if isfinite(value) else None for value in values]
    return numbers if len(numbers) > 1 else numbers[0]


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


def measured(
    classifiers: Sequence[Classifier], dataset: Dataset, split: str
) -> dict[str, Measured]:
    """Measure the mean of some networks on a split in each of `ways_to_measure`.

    Raises as `predicted` does.
    """
    found, classes = [predicted(one, dataset, split) for one in classifiers], dataset.class_names
    return {
        name: Measured.of(mean_of([ways[name] for ways in found]), len(classes))
        for name in found[0]
    }


def score_table(results: Mapping[str, Measured]) -> str:
    """Return the scores with their intervals as a Markdown table."""
    split = next(iter(results))
    rows = [
        [
            split + way_text(name),
            f"{len(result.predictions.labels):,}",
            *(
                score_text(score, result.scores[score], result.intervals[score])
                for score in OVERALL
            ),
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
                score_text(score, result.scores[score][label], result.intervals[score][label])
                for score in OF_CLASSES
            ),
        ]
        for label in (order if len(names) > LONGEST_TABLE else range(len(names)))
    ]
    title = "class" if len(names) <= LONGEST_TABLE else f"the worst {LONGEST_TABLE} classes"
    return markdown_table([title, "volumes", *map(TITLES.__getitem__, OF_CLASSES)], rows)


def score_text(score: str, value: float, ends: Interval) -> str:
    """Return a score with its interval, such as "95.02 % (94.58 % to 95.44 %)"."""
    if not isfinite(value):
        return "undefined"
    first, *others = (f"{x:.3f}" if score == "auc" else per_cent(x) for x in (value, *ends))
    return f"{first} ({' to '.join(others) if isfinite(ends[0]) else 'no interval'})"
