"""Read pixels from picture files."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn3d.system.errors import DataError, reason

ENDINGS = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}  # {channels: Pillow's mode}


def picture_size(file: Path) -> tuple[int, int]:
    """Return a picture's (height, width), EXIF rotation applied; raise DataError if damaged."""
    from PIL import ImageOps

    return _opened(file, lambda image: ImageOps.exif_transpose(image).size[::-1])


def read_picture(file: Path, size: tuple[int, int], channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a picture as (H, W, C) uint8, centre-cropped and resized to `size` (H, W).

    Applies the EXIF rotation. Raises DataError if the picture is damaged.
    """
    from PIL import ImageOps

    def pixels(image):
        image = ImageOps.exif_transpose(image).convert(MODES[channels])
        image = image if image.size[::-1] == size else ImageOps.fit(image, size[::-1])
        return np.asarray(image).reshape(*size, channels)

    return _opened(file, pixels)


def _opened(file, use):
    """Open a picture and return the result of `use` on it; raise DataError if that fails."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return use(image)
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise DataError(
            f"{file} cannot be read as a picture ({reason(error)}): repair it or delete it"
        ) from error
