"""Loss and accuracy on a split."""

from math import nan, prod
from typing import NamedTuple

import numpy as np

from wrn3d.data.augmentation import AXES
from wrn3d.distributed.workers import Worker

ALONE = Worker()
LARGEST_BATCH, LARGEST_VOXELS = 200, 2**20  # at most, in one batch


class EvalResult(NamedTuple):
    """Over a split: mean loss, share of right answers, the mean of that share over the classes,
    and the area under the ROC curve, nan where a class has no sample or a score is no number."""

    loss: float
    accuracy: float
    balanced_accuracy: float = nan
    auc: float = nan


class Predictions(NamedTuple):
    """Of a split: log probabilities (N, classes) float64, and the labels (N,)."""

    log_probabilities: np.ndarray
    labels: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """(N,), what each volume is taken for."""
        return self.log_probabilities.argmax(axis=1)


def predict_views(
    predict, dataset, split, track=iter, mirror_axes=(), worker=ALONE
) -> list[Predictions]:
    """Of `predict`, which takes normalised volumes (N, D, H, W, C) to logits (N, num_classes):
    those of a split's volumes, then of their mirror images along each of the AXES that are named
    and all of them together.

    `track` may wrap the list of batches, as a progress bar does. Several workers share the
    batches, and each has all predictions. Raises UsageError for a split that is not there.
    """
    volumes, labels = dataset.split(split)
    ways = _ways_to_mirror(volumes.shape, mirror_axes)
    scores = np.zeros((len(ways), len(labels), len(dataset.class_names)))
    for number, rows in enumerate(batches(volumes, track)):
        if number % worker.count == worker.index:
            normalised = dataset.normalise(volumes[rows])
            for way, found in zip(ways, scores, strict=True):
                view = np.ascontiguousarray(np.flip(normalised, way))
                found[rows] = log_probabilities(predict(view))
    [scores] = worker.sum([scores])
    return [Predictions(found, labels) for found in scores]


def _ways_to_mirror(shape, names):
    """Of volumes (N, D, H, W, C): the axes to flip, none of them at first."""
    ways = [()]
    for axis in (1 + AXES.index(name) for name in names):
        if shape[axis] > 1:
            ways += [(*way, axis) for way in ways]
    return ways


@np.errstate(invalid="ignore")  # after divergence
def mean_of(views) -> Predictions:
    """Of several views of the same split: the means of the probabilities."""
    together = np.logaddexp.reduce([view.log_probabilities for view in views])
    return Predictions(together - np.log(len(views)), views[0].labels)


def batches(volumes, track=iter):
    """Slices of volumes (N, D, H, W, C), each of as many as fit into memory; `track` as above."""
    size = min(LARGEST_BATCH, max(1, LARGEST_VOXELS // prod(volumes.shape[1:-1])))
    for start in track(range(0, len(volumes), size)):
        yield slice(start, start + size)


def measure(predictions) -> EvalResult:
    """What Predictions come to."""
    log_probabilities, labels = predictions
    right = predictions.classes == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    losses = -log_probabilities[np.arange(len(labels)), labels]
    return EvalResult(
        float(losses.mean()),
        float(right.mean()),
        float(np.mean(by_class)),
        _auc(np.exp(log_probabilities), labels),
    )


def _auc(probabilities, labels):
    """As MedMNIST's evaluator has it (Yang et al. 2023): of two classes the second one's, of more
    the mean over each against all others."""
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes or not np.isfinite(probabilities).all():
        return nan
    from sklearn.metrics import roc_auc_score  # which takes a second to import

    chosen = [1] if classes == 2 else range(classes)
    return float(
        np.mean([roc_auc_score(labels == label, probabilities[:, label]) for label in chosen])
    )


@np.errstate(invalid="ignore")  # after divergence
def log_probabilities(logits) -> np.ndarray:
    """Logits (N, classes) -> the same in float64, of which the exponentials sum to 1."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
