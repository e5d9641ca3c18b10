"""Volumes in another size."""
from functools import lru_cache
from math import prod

import numpy as np


def resized_shape(sides, longest):
    """(D, H, W) with its longest side as `longest`, in the same proportions; a 1 stays."""
    return tuple(1 if side == 1 else max(1, round(side * longest / max(sides))) for side in sides)


def resize(volumes, longest):
    """Volumes (N, D, H, W, C), float32, with another longest side.

    Linear interpolation between the centres of voxels; where it shrinks, over a window that is
    as much wider, so that nothing is skipped.
    """
    count, *sides, channels = volumes.shape
    for axis, side in enumerate(resized_shape(sides, longest)):
        if side != sides[axis]:
            matrix = _interpolation(sides[axis], side)
            # One small product a volume or slice, whose result does not depend on how many there
            # are; along the width all channels in one.
            if axis < 2:
                rows = volumes.reshape(count * prod(sides[:axis]), sides[axis], -1)
                volumes = matrix @ rows
            else:
                rows = volumes.reshape(count, -1, sides[axis] * channels)
                volumes = rows @ np.kron(matrix.T, np.eye(channels, dtype=np.float32))
            sides[axis] = side
            volumes = volumes.reshape(count, *sides, channels)
    return np.ascontiguousarray(volumes, np.float32)


def resize_bytes(volumes, longest):
    """The same for uint8, a volume at a time."""
    return np.stack([np.rint(resize(volume[None].astype(np.float32), longest)[0]).clip(0, 255)
                     .astype(np.uint8) for volume in volumes])


@lru_cache(maxsize=16)
def _interpolation(source, target):
    """(target, source) float32: each row the weights of one voxel of the result."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source) - centres[:, None]) / max(1.0, scale)
    weights = np.maximum(0.0, 1 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
