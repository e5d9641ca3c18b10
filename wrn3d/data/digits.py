"""Load the built-in data set: handwritten digits that scikit-learn ships."""

from importlib.metadata import distribution

import numpy as np

from wrn3d.data.arrays import as_volumes
from wrn3d.data.dataset import Dataset
from wrn3d.data.fitting import Resizing

TRAIN_COUNT = 1500  # of 1,797; the last 297 are the test split


def load() -> Dataset:
    """Return Alpaydin and Kaynak's digits as volumes (N, 1, 32, 32, 3).

    The scans are 8x8 with values 0 to 16. Each pixel becomes a grey square of 4x4 pixels.
    """
    # Importing scikit-learn only to read its file would take a second.
    package = distribution("scikit-learn")
    file = package.locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), delimiter=",")
    gray = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = gray.repeat(4, axis=1).repeat(4, axis=2)
    volumes = as_volumes(np.stack([large] * 3, axis=-1))
    labels = table[:, -1].astype(np.int64)
    return Dataset(
        "digits",
        f"scikit-learn {package.version}",
        tuple("0123456789"),
        volumes[:TRAIN_COUNT],
        labels[:TRAIN_COUNT],
        volumes[TRAIN_COUNT:],
        labels[TRAIN_COUNT:],
        resizing=(Resizing("nearest", volumes.shape[1:4]),),
    )
