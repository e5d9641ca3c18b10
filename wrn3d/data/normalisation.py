"""Normalise volumes by the mean and the standard deviation of a training split."""

import numpy as np
import numpy.typing as npt

from wrn3d.data.arrays import as_array, own_images
from wrn3d.data.voxels import Voxels


def mean(volumes: Voxels) -> npt.NDArray[np.float32]:
    """Return the mean of each voxel over volumes (N, D, H, W, C), (1, D, H, W, C) float32."""
    exact = np.float64 if volumes.dtype.kind == "f" else np.int64
    total = volumes.sum(axis=0, dtype=exact, keepdims=True)
    return np.asarray(total / len(volumes), np.float32)


def standard_deviation(volumes: Voxels) -> np.float32:
    """Return the standard deviation over all voxels of the volumes; 1 where it would be 0."""
    if volumes.dtype.kind == "f":
        variance = _variance(volumes)
    else:
        # A histogram of integers is exact, and needs no floating-point copy.
        lowest, levels = np.iinfo(volumes.dtype).min, np.iinfo(volumes.dtype).max + 1
        counts = np.zeros(levels - lowest, np.int64)
        for volume in volumes:
            indices = volume.ravel() if lowest == 0 else volume.ravel().astype(np.intp) - lowest
            counts += np.bincount(indices, minlength=len(counts))
        values = range(lowest, levels)
        sums = (sum(n * x**p for n, x in zip(counts.tolist(), values, strict=True)) for p in (1, 2))
        first, second = (float(one) / float(counts.sum()) for one in sums)
        variance = second - first**2
    return np.float32(np.sqrt(variance) or 1.0)


def _variance(volumes: Voxels) -> float:
    """Return the variance of floating-point volumes in two passes of float64."""
    centre = sum(float(volume.sum(dtype=np.float64)) for volume in volumes) / volumes.size
    squares = (np.square(volume.astype(np.float64) - centre).sum() for volume in volumes)
    return sum(map(float, squares)) / volumes.size


def normalise(
    volumes: npt.ArrayLike,
    mean: npt.NDArray[np.float32],
    std: np.float32 | npt.NDArray[np.float32],
    kind: npt.DTypeLike = np.uint8,
) -> npt.NDArray[np.float32]:
    """Return (volumes - mean) / std in float32, (N, D, H, W, C), as the original scripts do.

    `mean` is (1, D, H, W, C), `kind` the type of the data. Raises UsageError unless `volumes` are
    images of that size that `own_images` takes.
    """
    array = as_array("volumes", volumes)
    if array.ndim == 5 and not len(array):  # a split may be empty
        return np.zeros((0, *mean.shape[1:]), np.float32)
    normalised = own_images("volumes", array, mean.shape[1:], kind).astype(np.float32)
    # In place: fresh memory for each result would take longer than the arithmetic.
    normalised -= mean
    normalised /= std
    return normalised
