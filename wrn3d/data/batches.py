"""What is seen at a position: order, crop and flip as pure functions of (seed, position)."""
from functools import lru_cache

import numpy as np

from wrn3d.randomness import WORDS_PER_POSITION, random_words

CROP_PADDING = 4  # pixels on each side, reflected (paper, section 3)


def batch_at(dataset, seed, epoch, index, batch_size, augment):
    """(volumes (N, D, H, W, C) float32, labels (N,)): samples index ... index + batch_size - 1
    of `epoch`, normalised, and cropped and flipped where `augment` says so."""
    count = len(dataset.train_labels)
    rows = epoch_order(seed, epoch, count)[index:index + batch_size]
    volumes = dataset.normalise(dataset.train_volumes[rows])
    if augment:
        volumes = crop_and_flip(volumes, seed, epoch * count + index)
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


def crop_and_flip(volumes, seed, position):
    """The paper's augmentation: reflect-pad by 4, crop back at random, mirror half of them.

    volumes (N, D, H, W, C), the first one at `position` of the run, the next at position + 1, ...
    A real volume is cropped along its depth, too.
    """
    count, *sides = volumes.shape[:-1]
    words = random_words(seed, "crop and flip", position, count)
    axes = [_reflected(words[:, axis] % (2 * CROP_PADDING + 1), side) if side > 1
            else np.zeros((count, 1), np.intp) for axis, side in enumerate(sides)]
    mirrored = words[:, 3] % 2 == 1
    axes[2][mirrored] = axes[2][mirrored, ::-1]
    depths, rows, columns = axes
    return volumes[np.arange(count)[:, None, None, None], depths[:, :, None, None],
                   rows[:, None, :, None], columns[:, None, None, :]]


def _reflected(offsets, side):
    """(N, side) indices: a window at `offsets` of a side padded by reflection on both ends."""
    period = max(1, 2 * (side - 1))
    index = np.abs(offsets.astype(np.intp)[:, None] + np.arange(side) - CROP_PADDING) % period
    return np.minimum(index, period - index)
