"""What a data set is: volumes and labels as arrays, and how they are normalised."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split; volumes are (N, D, H, W, C) uint8, labels (N,) int64.

    `title` is the name for people, `origin` where the arrays came from.
    """

    title: str
    origin: str
    class_names: tuple[str, ...]
    train_volumes: np.ndarray
    train_labels: np.ndarray
    test_volumes: np.ndarray
    test_labels: np.ndarray

    @property
    def volume_shape(self) -> tuple[int, int, int, int]:
        """(D, H, W, C)."""
        return self.train_volumes.shape[1:]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of each pixel over the training split, (1, D, H, W, C) float32."""
        total = self.train_volumes.sum(axis=0, dtype=np.int64, keepdims=True)
        return (total / len(self.train_volumes)).astype(np.float32)

    @cached_property
    def std(self) -> np.float32:
        """Standard deviation over all pixels of the training split, one number."""
        # From a histogram, in whole numbers: exact, and without a floating-point copy.
        counts = sum(np.bincount(volume.ravel(), minlength=256) for volume in self.train_volumes)
        values = np.arange(256)
        mean, mean_square = (float(counts @ values**n) / float(counts.sum()) for n in (1, 2))
        return np.float32(np.sqrt(mean_square - mean**2) or 1.0)

    def normalise(self, volumes: np.ndarray) -> np.ndarray:
        """(volumes - mean) / std in float32, as the original scripts do."""
        return (volumes.astype(np.float32) - self.mean) / self.std


def as_volumes(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) -> volumes of depth 1 (N, 1, H, W, C): the one place where it happens."""
    return np.ascontiguousarray(images).reshape(len(images), 1, *images.shape[1:])
