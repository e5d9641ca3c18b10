"""Bring a picture or volume to a network's size in the way its data set was resized."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn3d.data.pictures import fit_picture
from wrn3d.data.resizing import resize_to, resized_shape
from wrn3d.data.voxels import Voxels, rounded
from wrn3d.system.checks import check_choice, check_count, check_each, require

MOST_VOXELS = 2**27  # that a checkpoint may ask for
INVALID = "its resizing is invalid"

Volume = Voxels  # (D, H, W, C)
Sides = tuple[int, ...]  # (D, H, W)


class Resizing(NamedTuple):
    """A step that resized a data set: its method, and the sides (D, H, W) after it.

    "nearest" repeats voxels, "linear" is `resizing.resize`, "bicubic" is Pillow's for pictures.
    """

    method: str
    sides: Sides


def fit(volume: Volume, sides: Sides, steps: Sequence[Resizing]) -> Volume:
    """Resize a volume to `sides` by the steps that gave a data set these sides.

    Only a picture (D == 1) may have other proportions; its centre is cut out.
    """
    if volume.shape[:3] == sides:
        return volume
    for step in steps:
        volume = _METHODS[step.method](volume, step.sides)
    return volume


def check_steps(steps: Any, sides: Sides) -> tuple[Resizing, ...]:
    """Return a checkpoint's steps to `sides` as Resizings; raise UsageError if invalid."""
    checked = check_each("resizing", steps, _check_step)
    require(len(checked) < 9 and (not checked or checked[-1].sides == sides), INVALID)
    require(all(step.sides[0] == 1 for step in checked if step.method == "bicubic"), INVALID)
    return checked


def _check_step(name: str, step: Any) -> Resizing:
    require(isinstance(step, (list, tuple)) and len(step) == 2, INVALID)
    sides = check_each(name, step[1], check_count)
    require(len(sides) == 3 and prod(sides) <= MOST_VOXELS, INVALID)
    return Resizing(check_choice(name, step[0], _METHODS), sides)


def _bicubic(volume: Volume, sides: Sides) -> Volume:
    """Resize the first slice, a picture."""
    return fit_picture(volume[0], (sides[1], sides[2]))[None]


def _linear(volume: Volume, sides: Sides) -> Volume:
    cropped = _cropped(volume, sides)
    return rounded(resize_to(cropped[None].astype(np.float32), sides)[0], volume.dtype)


def _nearest(volume: Volume, sides: Sides) -> Volume:
    """Repeat voxels; reduce as `_linear` does, so that every voxel counts."""
    cropped = _cropped(volume, sides)
    if max(cropped.shape[:3]) > max(sides):
        return _linear(cropped, sides)
    places = zip(cropped.shape, sides, strict=False)
    return cropped[np.ix_(*(np.arange(new) * old // new for old, new in places))]


_METHODS = {"nearest": _nearest, "linear": _linear, "bicubic": _bicubic}


def _cropped(volume: Volume, sides: Sides) -> Volume:
    """Cut a picture to the proportions of `sides`, at its centre."""
    return volume[_area(volume.shape[:3], sides)]


def _area(own: Sides, sides: Sides) -> tuple[slice, ...]:
    """Return the part of a volume with its `own` sides that comes to `sides`."""
    if sides[0] > 1 or resized_shape(own, max(sides)) == sides:
        return tuple(map(slice, own))
    scale = min(own[axis] / sides[axis] for axis in (1, 2))
    lengths = (1, *(min(own[axis], max(1, round(scale * sides[axis]))) for axis in (1, 2)))
    starts = [(side - length) // 2 for side, length in zip(own, lengths, strict=True)]
    return tuple(
        slice(start, start + length) for start, length in zip(starts, lengths, strict=True)
    )


def unfit(numbers: npt.NDArray[np.float32], own: Sides) -> npt.NDArray[np.float32]:
    """Bring numbers (D, H, W) for a volume that `fit` has resized to the volume's `own` sides.

    What `fit` has cut off becomes 0.
    """
    area, placed = _area(own, numbers.shape), np.zeros(own, np.float32)
    lengths = placed[area].shape
    placed[area] = resize_to(numbers[None, ..., None], lengths)[0, ..., 0]
    return placed
