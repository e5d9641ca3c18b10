"""Take the batch at a position: a pure function of (data, seed, position)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import Labels, as_array, check_shape
from wrn3d.data.augmentation import Augmentation
from wrn3d.data.dataset import Dataset
from wrn3d.data.resizing import longest, resize
from wrn3d.data.voxels import is_float
from wrn3d.system.checks import require
from wrn3d.system.randomness import WORDS_PER_POSITION, random_words

Batch = tuple[npt.NDArray[np.float32], Labels]  # normalised volumes (N, D, H, W, C), labels (N,)


def batch_at(
    dataset: Dataset,
    seed: int,
    epoch: int,
    index: int,
    batch_size: int,
    augmentation: Augmentation | None = None,
    size: float = 1.0,
) -> Batch:
    """Return samples index ... index + batch_size - 1 of `epoch`, as float32 volumes and labels.

    The volumes are normalised, then augmented, then resized to the share `size` of their sides.
    """
    count = len(dataset.train_labels)
    rows = epoch_order(seed, epoch, count)[index : index + batch_size]
    volumes = dataset.normalise(dataset.train_volumes[rows])
    if augmentation:
        volumes = augmentation(volumes, seed, epoch, index, rows, count)
    if size != 1:
        volumes = resize(volumes, longest(volumes.shape[1:4], size))
    return volumes, dataset.train_labels[rows]


def own_batch(
    images: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    shapes: Sequence[tuple[int, ...]],
    classes: int,
) -> Batch:
    """Return a caller's batch as float32 volumes (N, D, H, W, C) and int64 labels (N,).

    Raises UsageError unless the images are floating point with one of `shapes` (D, H, W, C), and
    the labels are integers from 0 to `classes` - 1.
    """
    require(
        images is not None and labels is not None,
        "a batch of your own needs both images and labels: pass them, and a learning rate by its "
        "name, learning_rate=0.02",
    )
    volumes, labels = own_volumes("images", images, shapes), as_array("labels", labels)
    require(
        labels.shape == volumes.shape[:1]
        and labels.dtype.kind in "iu"
        and labels.min() >= 0
        and labels.max() < classes,
        f"labels must be {len(volumes)} whole numbers from 0 to {classes - 1}",
    )
    return volumes, labels.astype(np.int64)


def own_volumes(
    name: str, volumes: npt.ArrayLike | None, shapes: Sequence[tuple[int, ...]]
) -> npt.NDArray[np.float32]:
    """Return a caller's normalised volumes (N, D, H, W, C), an array or a tensor, as float32.

    Raises UsageError unless they are floating point with one of `shapes` (D, H, W, C).
    """
    array = as_array(name, volumes)
    require(
        is_float(array),
        f"{name} are {array.dtype}, but must be floating point and normalised: pass "
        f"env.dataset.normalise({name})",
    )
    check_shape(name, array, shapes)
    return array.astype(np.float32)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.intp]:
    """Return the permutation (count,) in which `epoch` visits the samples; read-only.

    It is an argsort of random words: NumPy's own shuffle may change with its version.
    """
    rows = -(-count // WORDS_PER_POSITION)
    words = random_words(seed, f"order of epoch {epoch}", 0, rows).ravel()[:count]
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False
    return order
