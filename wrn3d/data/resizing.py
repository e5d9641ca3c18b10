"""Volumes in another size."""
from functools import lru_cache

import numpy as np


def resized_shape(sides, longest):
    """(D, H, W) with its longest side as `longest`, in the same proportions; a 1 stays."""
    return tuple(1 if side == 1 else max(1, round(side * longest / max(sides))) for side in sides)


def resize(volumes, longest):
    """Volumes (N, D, H, W, C), float32, with another longest side.

    Linear interpolation between the centres of voxels; where it shrinks, over a window that is
    as much wider, so that nothing is skipped.
    """
    for axis, side in enumerate(resized_shape(volumes.shape[1:4], longest), start=1):
        if side != volumes.shape[axis]:
            matrix = _interpolation(volumes.shape[axis], side)
            volumes = np.moveaxis(np.tensordot(matrix, volumes, (1, axis)), 0, axis)
    return np.ascontiguousarray(volumes, np.float32)


def resize_bytes(volumes, longest):
    """The same for uint8, a volume at a time."""
    made = [np.rint(resize(volume[None].astype(np.float32), longest)[0]) for volume in volumes]
    return np.stack(made).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _interpolation(source, target):
    """(target, source) float32: each row the weights of one voxel of the result."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source) - centres[:, None]) / max(1.0, scale)
    weights = np.maximum(0.0, 1 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
