"""Loss and accuracy on a split."""
from math import prod
from typing import NamedTuple

import numpy as np

LARGEST_BATCH, LARGEST_VOXELS = 200, 2**20  # at most, in one batch


class EvalResult(NamedTuple):
    """Mean loss and accuracy over a split."""

    loss: float
    accuracy: float


def evaluate(predict, dataset, split, track=iter, mirror=False) -> EvalResult:
    """Of `predict`, which takes normalised volumes (N, D, H, W, C) to logits (N, num_classes).

    `track` may wrap the list of batches, as a progress bar does. With `mirror` the probabilities
    are the mean of a volume's and its mirror image's. Raises UsageError for a split that is not
    there.
    """
    volumes, labels = dataset.split(split)
    size = min(LARGEST_BATCH, max(1, LARGEST_VOXELS // prod(dataset.volume_shape[:-1])))
    losses, correct = [], 0
    for start in track(range(0, len(labels), size)):
        rows = slice(start, start + size)
        batch = dataset.normalise(volumes[rows])
        scores = _log_probabilities(predict(batch))
        if mirror:
            mirrored = _log_probabilities(predict(np.ascontiguousarray(batch[:, :, :, ::-1])))
            scores = np.logaddexp(scores, mirrored) - np.log(2)
        losses.append(-scores[np.arange(len(scores)), labels[rows]])
        correct += np.count_nonzero(scores.argmax(axis=1) == labels[rows])
    return EvalResult(float(np.concatenate(losses).mean()), float(correct) / len(labels))


def _log_probabilities(logits):
    """(N, classes) in float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
