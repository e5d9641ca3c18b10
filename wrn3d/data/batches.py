"""What is seen at a position: a pure function of (data, seed, position)."""
from functools import lru_cache

import numpy as np

from wrn3d.data.resizing import longest, resize
from wrn3d.randomness import WORDS_PER_POSITION, random_words


def batch_at(dataset, seed, epoch, index, batch_size, augmentation=None, size=1.0):
    """(volumes (N, D, H, W, C) float32, labels (N,)): samples index ... index + batch_size - 1
    of `epoch`, normalised, augmented by an Augmentation, and resized to the share `size`."""
    count = len(dataset.train_labels)
    rows = epoch_order(seed, epoch, count)[index:index + batch_size]
    volumes = dataset.normalise(dataset.train_volumes[rows])
    if augmentation:
        volumes = augmentation(volumes, seed, epoch, index, rows, count)
    if size != 1:
        volumes = resize(volumes, longest(volumes.shape[1:4], size))
    return volumes, dataset.train_labels[rows]


@lru_cache(maxsize=2)
def epoch_order(seed, epoch, count):
    """The permutation (count,) in which `epoch` visits the samples; read-only.

    Sorting random words, and not NumPy's own shuffle, whose result may change with its version.
    """
    rows = -(-count // WORDS_PER_POSITION)
    words = random_words(seed, f"order of epoch {epoch}", 0, rows).ravel()[:count]
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False
    return order
