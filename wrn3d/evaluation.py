"""Loss and accuracy on a split."""
from math import prod
from typing import NamedTuple

import numpy as np

LARGEST_BATCH, LARGEST_VOXELS = 200, 2**20  # at most, in one batch


class EvalResult(NamedTuple):
    """Mean loss and accuracy over a split."""

    loss: float
    accuracy: float


def evaluate(predict, dataset, split, track=iter) -> EvalResult:
    """Of `predict`, which takes normalised volumes (N, D, H, W, C) to logits (N, num_classes).

    `track` may wrap the list of batches, as a progress bar does. Raises UsageError for a split
    that is not there.
    """
    volumes, labels = dataset.split(split)
    size = min(LARGEST_BATCH, max(1, LARGEST_VOXELS // prod(dataset.volume_shape[:-1])))
    losses, correct = [], 0
    for start in track(range(0, len(labels), size)):
        rows = slice(start, start + size)
        logits = predict(dataset.normalise(volumes[rows]))
        losses.append(_cross_entropies(logits, labels[rows]))
        correct += np.count_nonzero(logits.argmax(axis=1) == labels[rows])
    return EvalResult(float(np.concatenate(losses).mean()), float(correct) / len(labels))


def _cross_entropies(logits, labels):
    """Each sample's loss in float64, (N,)."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
