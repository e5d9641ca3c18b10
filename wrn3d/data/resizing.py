"""Resize volumes by linear interpolation."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from wrn3d.data.voxels import Voxels, rounded

MOST_VALUES = 2**22  # values that resize_voxels converts to float32 at a time


def longest(sides: Sequence[int], share: float) -> int:
    """Return the longest of the sides (D, H, W), times `share`, in voxels."""
    return max(1, round(share * max(sides)))


def resized_shape(sides: Sequence[int], side: int) -> tuple[int, ...]:
    """Return (D, H, W) in the same proportions with `side` as the longest; a side of 1 stays."""
    return tuple(1 if one == 1 else max(1, round(one * side / max(sides))) for one in sides)


def resize(volumes: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Return volumes (N, D, H, W, C) float32 with `side` as their longest side.

    Interpolates linearly between the centres of voxels. When a side shrinks, the filter widens in
    proportion, so that every voxel counts (PyTorch's "bilinear" with antialiasing).
    """
    return resize_to(volumes, resized_shape(volumes.shape[1:-1], side))


def resize_to(volumes: npt.NDArray[np.float32], targets: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return volumes (N, D, H, W, C) float32 of the sides `targets` (D, H, W), as `resize` does."""
    count, *sides, channels = volumes.shape
    for axis, target in enumerate(targets):
        if target != sides[axis]:
            matrix = _interpolation(sides[axis], target)
            # One small matrix product per volume or slice: its result does not depend on how many
            # there are. Along the width, one product takes all channels.
            if axis < 2:
                rows = volumes.reshape(count * prod(sides[:axis]), sides[axis], -1)
                volumes = matrix @ rows
            else:
                rows = volumes.reshape(count, -1, sides[axis] * channels)
                volumes = rows @ np.kron(matrix.T, np.eye(channels, dtype=np.float32))
            sides[axis] = target
            volumes = volumes.reshape(count, *sides, channels)
    return np.ascontiguousarray(volumes, np.float32)


def resize_voxels(volumes: Voxels, side: int) -> Voxels:
    """Return volumes resized as `resize` does; integers are rounded.

    Converts no more than MOST_VALUES, or one volume, to float32 at a time.
    """
    together = max(1, MOST_VALUES // volumes[0].size)
    parts = (volumes[first : first + together] for first in range(0, len(volumes), together))
    resized = (resize(part.astype(np.float32), side) for part in parts)
    return np.concatenate([rounded(part, volumes.dtype) for part in resized])


@lru_cache(maxsize=16)
def _interpolation(source: int, target: int) -> npt.NDArray[np.float32]:
    """Return (target, source) float32: row i holds the weights of voxel i of the result."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source) - centres[:, None]) / max(1.0, scale)
    weights = np.maximum(0.0, 1 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
