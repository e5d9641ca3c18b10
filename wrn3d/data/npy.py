"""Read .npy files, and refuse headers that claim more data than the file holds."""

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from wrn3d.data.resizing import resized_shape
from wrn3d.data.voxels import Voxels, as_voxels
from wrn3d.system.errors import DataError, UsageError, reason

DEFLATE_RATIO = 1032  # the highest compression ratio of Deflate, as in .npz and .nii.gz
LARGEST_HEADER = 4096  # bytes, for an array's type and shape


def read_npy(file: IO[bytes], name: str, size: int) -> npt.NDArray[Any]:
    """Return the array in an open file of `size` bytes.

    Raises ValueError if the header does not describe the rest of the file. This check comes before
    reading, since NumPy would allocate whatever size a header claims.
    """
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(file, max_header_size=LARGEST_HEADER)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects instead of numbers")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{name} does not hold the data that its header describes")
    file.seek(0)
    return np.lib.format.read_array(file, max_header_size=LARGEST_HEADER)


def open_array(path: Path) -> npt.NDArray[Any]:
    """Return the array in an .npy file, to be read when it is used; raise DataError if damaged."""
    try:
        array = np.load(path, mmap_mode="r", max_header_size=LARGEST_HEADER)
        if not isinstance(array, np.ndarray) or not array.size:
            raise ValueError("it holds no array of numbers")
        return array
    except Exception as error:  # NumPy raises nearly anything for a damaged file
        raise DataError(
            f"{path} cannot be read as a NumPy array ({reason(error)}): repair it, or leave it out"
        ) from error


def header_of(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the type of the array in an .npy file; raise as `open_array` does."""
    array = open_array(path)
    return array.shape, array.dtype


def as_volume(name: str, array: npt.NDArray[Any], expected: tuple[int, ...]) -> Voxels:
    """Return an array as a volume (D, H, W, C) for a network that takes the `expected` shape.

    The array may leave out the axis C if C is 1, and the axis D if D is 1. Raises DataError for
    numbers that `as_voxels` refuses, and for other proportions or channels.
    """
    try:
        voxels = as_voxels(f"the numbers in {name}", np.asarray(array))
    except UsageError as error:
        raise DataError(str(error)) from error
    volume = voxels.reshape(_with_all_axes(voxels.shape, expected))
    check_fits(name, volume.shape, expected)
    return volume


def fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether `as_volume` takes an array of this shape."""
    shape = _with_all_axes(shape, expected)
    same_channels = len(shape) == 4 and shape[-1] == expected[-1]
    return same_channels and resized_shape(shape[:3], max(expected[:3])) == tuple(expected[:3])


def check_fits(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise DataError unless `as_volume` takes an array of this shape."""
    if not fits(shape, expected):
        raise DataError(
            f"{name} does not fit the network (it has the shape {shape}): name a volume of the "
            f"proportions {'x'.join(map(str, expected))}"
        )


def _with_all_axes(shape: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with the axes that `as_volume` lets an array leave out."""
    if shape[-1:] != expected[-1:] or len(shape) < 3 + (expected[0] > 1):
        shape = (*shape, 1)
    return shape if len(shape) >= 4 else (1, *shape)
