"""Volumes in another size."""

from functools import lru_cache
from math import prod

import numpy as np

AT_ONCE = 2**22  # voxels


def longest(sides, share):
    """The longest of (D, H, W), times `share`."""
    return max(1, round(share * max(sides)))


def resized_shape(sides, side):
    """(D, H, W) with its longest side as `side`, in the same proportions; a 1 stays."""
    return tuple(1 if one == 1 else max(1, round(one * side / max(sides))) for one in sides)


def resize(volumes, side):
    """Volumes (N, D, H, W, C), float32, with `side` as their longest side.

    Linear interpolation between the centres of voxels; where it shrinks, over a window that is
    as much wider, so that nothing is skipped.
    """
    count, *sides, channels = volumes.shape
    for axis, target in enumerate(resized_shape(sides, side)):
        if target != sides[axis]:
            matrix = _interpolation(sides[axis], target)
            # One small product a volume or slice, whose result does not depend on how many there
            # are; along the width all channels in one.
            if axis < 2:
                rows = volumes.reshape(count * prod(sides[:axis]), sides[axis], -1)
                volumes = matrix @ rows
            else:
                rows = volumes.reshape(count, -1, sides[axis] * channels)
                volumes = rows @ np.kron(matrix.T, np.eye(channels, dtype=np.float32))
            sides[axis] = target
            volumes = volumes.reshape(count, *sides, channels)
    return np.ascontiguousarray(volumes, np.float32)


def resize_bytes(volumes, side):
    """The same for uint8, of which no more than AT_ONCE are numbers of four bytes at a time."""
    together = max(1, AT_ONCE // volumes[0].size)
    parts = (volumes[first : first + together] for first in range(0, len(volumes), together))
    return np.concatenate(
        [
            np.rint(resize(part.astype(np.float32), side)).clip(0, 255).astype(np.uint8)
            for part in parts
        ]
    )


@lru_cache(maxsize=16)
def _interpolation(source, target):
    """(target, source) float32: each row the weights of one voxel of the result."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source) - centres[:, None]) / max(1.0, scale)
    weights = np.maximum(0.0, 1 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
