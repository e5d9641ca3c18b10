"""Read .npy files, and refuse headers that claim more data than the file holds."""

import math
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from wrn3d.data.resizing import resized_shape
from wrn3d.system.errors import DataError, reason

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


def read_volume(path: str | Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Read a uint8 volume from an .npy file, to be resized to `shape` (D, H, W, C).

    The file may leave out the axis C if C is 1, and the axis D if D is 1. Raises DataError for a
    damaged file, another type, or proportions or channels that differ from `shape`.
    """
    path, (depth, *_, channels) = Path(path), shape
    try:
        with path.open("rb") as file:
            volume = read_npy(file, path.name, path.stat().st_size)
        if volume.dtype != np.uint8 or not volume.size:
            raise ValueError(f"it is {volume.dtype} of the shape {volume.shape}")
        if volume.shape[-1] != channels or volume.ndim < 3 + (depth > 1):
            volume = volume[..., None]
        volume = volume if volume.ndim == 4 else volume[None]
        if volume.ndim != 4 or volume.shape[-1] != channels:
            raise ValueError(f"it has the shape {volume.shape}")
        if resized_shape(volume.shape[:3], max(shape[:3])) != tuple(shape[:3]):
            raise ValueError(f"it has other proportions, {volume.shape}")
        return volume
    except Exception as error:  # NumPy raises nearly anything for a damaged file
        raise DataError(
            f"{path} does not fit the network ({reason(error)}): name a NumPy file (.npy) with a "
            f"uint8 volume of {'x'.join(map(str, shape))}"
        ) from error
