"""The embedded data set: real handwritten digits that scikit-learn ships."""

import numpy as np

from wrn3d.data.dataset import Dataset, as_volumes

TRAIN_COUNT = 1500  # of 1,797; the rest, from the end of the list, is the test split


def load() -> Dataset:
    """Alpaydin and Kaynak's digits: 8x8 scans with values 0 to 16, each pixel a 4x4 square of a
    32x32 RGB image."""
    import sklearn  # a second's work: not before it is needed
    from sklearn.datasets import load_digits

    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    large = gray.repeat(4, axis=1).repeat(4, axis=2)
    volumes = as_volumes(np.stack([large] * 3, axis=-1))
    labels = digits.target.astype(np.int64)
    return Dataset(
        "digits",
        f"scikit-learn {sklearn.__version__}",
        tuple("0123456789"),
        volumes[:TRAIN_COUNT],
        labels[:TRAIN_COUNT],
        volumes[TRAIN_COUNT:],
        labels[TRAIN_COUNT:],
    )
