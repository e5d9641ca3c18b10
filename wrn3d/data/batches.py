"""What is seen at a position: a pure function of (data, seed, position)."""

from functools import lru_cache

import numpy as np

from wrn3d.data.resizing import longest, resize
from wrn3d.system.checks import require
from wrn3d.system.errors import UsageError, reason
from wrn3d.system.randomness import WORDS_PER_POSITION, random_words


def batch_at(dataset, seed, epoch, index, batch_size, augmentation=None, size=1.0):
    """(volumes (N, D, H, W, C) float32, labels (N,)): samples index ... index + batch_size - 1
    of `epoch`, normalised, augmented by an Augmentation, and resized to the share `size`."""
    count = len(dataset.train_labels)
    rows = epoch_order(seed, epoch, count)[index : index + batch_size]
    volumes = dataset.normalise(dataset.train_volumes[rows])
    if augmentation:
        volumes = augmentation(volumes, seed, epoch, index, rows, count)
    if size != 1:
        volumes = resize(volumes, longest(volumes.shape[1:4], size))
    return volumes, dataset.train_labels[rows]


def own_batch(images, labels, shapes, classes):
    """(volumes (N, D, H, W, C) float32, labels (N,) int64) of what a program brings along: one of
    `shapes` (D, H, W, C), and whole numbers below `classes`.

    Raises UsageError for anything else.
    """
    require(
        images is not None and labels is not None,
        "a batch of your own is images and labels, "
        "both; a learning rate goes by its name, learning_rate=0.02",
    )
    images, labels = _array("images", images), _array("labels", labels)
    require(
        images.dtype.kind == "f",
        f"images are {images.dtype}, but must be floats: "
        "env.dataset.normalise(volumes) makes them of bytes",
    )
    images = images.astype(np.float32)
    check_volumes("images", images, shapes)
    require(
        labels.shape == images.shape[:1]
        and labels.dtype.kind in "iu"
        and labels.min() >= 0
        and labels.max() < classes,
        f"labels must be {len(images)} whole numbers from 0 to {classes - 1}",
    )
    return images, labels.astype(np.int64)


def _array(name, values):
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} are no array of numbers ({reason(error)})") from error


def check_volumes(name, volumes, shapes):
    """Raise UsageError unless `volumes` are some, each of one of `shapes`."""
    require(
        volumes.shape[1:] in shapes and len(volumes),
        f"{name} have the shape {volumes.shape}, but must be "
        + " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in shapes)
        + " with N from 1 up",
    )


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
