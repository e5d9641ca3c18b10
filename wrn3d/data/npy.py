"""NumPy's arrays in files, of which no header makes more than there is."""

import math
from pathlib import Path

import numpy as np

from wrn3d.data.resizing import resize_bytes, resized_shape
from wrn3d.system.errors import DataError, reason

LARGEST_HEADER = 4096  # bytes in which an array's type and shape are said


def read_npy(file, name, size) -> np.ndarray:
    """The array in an open file of `size` bytes; raises ValueError where its header says anything
    else than what follows, before that is read: NumPy would take the memory first."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(file, max_header_size=LARGEST_HEADER)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"{name} does not hold what its header says")
    file.seek(0)
    return np.lib.format.read_array(file, max_header_size=LARGEST_HEADER)


def read_volume(path, shape) -> np.ndarray:
    """A uint8 volume (D, H, W, C), or without C where that is 1, or an image without D, as one of
    `shape`, to which it is resized if it has the same proportions. Raises DataError."""
    path, (depth, *_, channels) = Path(path), shape
    try:
        with path.open("rb") as file:
            volume = read_npy(file, path.name, path.stat().st_size)
        if volume.dtype != np.uint8 or not volume.size:
            raise ValueError(f"it is {volume.dtype} of the shape {volume.shape}, not uint8")
        if volume.shape[-1] != channels or volume.ndim < 3 + (depth > 1):
            volume = volume[..., None]
        volume = volume if volume.ndim == 4 else volume[None]
        if volume.ndim != 4 or volume.shape[-1] != channels:
            raise ValueError(f"it has the shape {volume.shape}")
        if resized_shape(volume.shape[:3], max(shape[:3])) != tuple(shape[:3]):
            raise ValueError(f"it has other proportions, {volume.shape}")
        if volume.shape[:3] == tuple(shape[:3]):
            return volume
        return resize_bytes(volume[None], max(shape[:3]))[0]
    except Exception as error:  # NumPy raises nearly anything for a damaged file
        raise DataError(
            f"{path} is no volume that the network takes, uint8 in NumPy's .npy of "
            f"{'x'.join(map(str, shape))} ({reason(error)})"
        ) from error
